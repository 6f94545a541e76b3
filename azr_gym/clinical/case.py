"""Reads patients from text, as people and models write them. What it says is data: nothing is ever run.

`parse_case` takes JSON of almost any shape (curly quotes, bullets, fences, chatter around it, a comma too many), keys
by any name of the library, findings in words; single values are read in `values.py`. It never raises on a text: what
can not be read is a note, and what makes the patient unreadable is a trouble.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Any

import numpy as np

from azr_gym.clinical.library import (
    AGE,
    FEMALE,
    MALE,
    PREGNANT,
    Analyte,
    Derived,
    Kind,
    Library,
    knowledge,
    mentioned,
    plain,
)
from azr_gym.clinical.values import (
    NUMBER,
    TRANSLATION,
    Disagreement,
    UnknownUnit,
    Unreadable,
    amount_of,
    dashed,
    graded,
    number_of,
    spelled,
    truth,
)

MAX_CHARS, MAX_DEPTH = 20_000, 24


class Trouble(StrEnum):
    """Why a text is no patient."""

    NO_JSON = "no_json"
    NO_PERSON = "no_person"  # no age, or no sex
    UNKNOWN_UNIT = "unknown_unit"
    CONTRADICTION = "contradiction"


@dataclass(frozen=True, slots=True)
class Parsed:
    """What was read.

    Attributes:
        facts: what is known of the patient: numbers in the library's units, 1 for true and 0 for false.
        notes: what was left aside, in words.
        trouble: why this is no patient; None where it is one.
        reason: the same in words.
        question: what the text asks of whoever reads the case, where it asks anything.
    """

    facts: Mapping[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    trouble: Trouble | None = None
    reason: str = ""
    question: str = ""


def parse_case(text: str, known: Library | None = None, part: bool = False) -> Parsed:
    """Read a patient from a text.

    The notation of `prompts.compact` is read too: "65 F", "+ chest_pain, dyspnoea", "- fever", "troponin_i 0.8".

    Args:
        text: whatever somebody wrote.
        known: the library whose names count.
        part: the rest of the patient is known: who it is may be left out, and nothing is taken to be so that the text
            does not say. A part may be empty.
    """
    reader = Reader(known or knowledge(), part)
    if (short := COMPACT.match(text)) is not None:
        return reader.compact(short, text[short.end() :])
    data = json_object(text)
    if isinstance(data, dict):
        return reader.read(data)
    if part:
        return reader.compact(None, text[:MAX_CHARS])
    return Parsed(trouble=Trouble.NO_JSON, reason="there is no JSON object: write the patient as one")


def json_object(text: str) -> Any:
    """The largest JSON object of a text, mended where that is clear."""
    import json_repair

    clean = unicodedata.normalize("NFKC", text[:MAX_CHARS].translate(TRANSLATION)).translate(TRANSLATION)
    start = clean.find("{")
    if start < 0:
        return None
    end = clean.rfind("}")
    body = clean[start : end + 1 if end > start else None]
    depth = deepest = 0
    for character in body:
        depth += (character in "{[") - (character in "}]")
        deepest = max(deepest, depth)
    if deepest > MAX_DEPTH:
        return None
    try:
        found = json_repair.loads(body)
    except (RecursionError, ValueError, IndexError):
        return None
    if isinstance(found, list):
        found = max((one for one in found if isinstance(one, dict)), key=len, default=None)
    return found


NEGATIONS = re.compile(
    r"^(?:no|not|non|denies|denied|without|negative for|absent|never|ex|former|no history of|no known)\s+"
)
NEGATED = re.compile(r"\s+(?:negative|absent|denied|none|not (?:present|detected|found|seen))$")
COMPACT = re.compile(r"\s*(\d+(?:\.\d+)?) ([FM])( pregnant)?(?=\n|$)")
SEXES = {
    **dict.fromkeys(["f", "female", "woman", "girl"], FEMALE),
    **dict.fromkeys(["m", "male", "man", "boy"], MALE),
}
BODY_NAMES = {"weight": "weight_kg", "weight kg": "weight_kg", "height": "height_cm", "height cm": "height_cm"}
BODY_UNITS = {
    "weight_kg": {"": 1.0, "kg": 1.0, "g": 0.001, "lb": 0.45359237, "lbs": 0.45359237},  # the international pound, 1959
    "height_cm": {"": 1.0, "cm": 1.0, "m": 100.0, "mm": 0.1},
}
PRESSURE = frozenset(["bp", "blood pressure"])
QUESTION = frozenset(["prompt", "question", "task"])
CLAIMS = frozenset(["claimed diagnosis", "diagnosis", "answer", "hidden diagnosis", "label"])  # are no facts
MEASURED = re.compile(r"\s*(.+?)\s*[:=\s]\s*([<>~]?\s*\.?\d.*)", re.DOTALL)  # "TSH 8 mU/L"


class Reader:
    """Fills the facts of one patient, or of a part of one."""

    def __init__(self, known: Library, part: bool = False) -> None:
        self.facts, self.notes, self.known, self.part = dict[str, float](), list[str](), known, part
        self.analytes, self.findings = known.names["analyte"], known.names["finding"]  # the id of every name
        self.claims = list[tuple[Derived, float]]()  # what is said of numbers that follow from facts
        self.trouble: tuple[Trouble, str] | None = None
        self.question = ""

    def read(self, data: Mapping[str, Any]) -> Parsed:
        """What stands in a table, with everything that was put before."""
        self.table(data)
        self.compare()
        if not self.part:
            person = AGE in self.facts and FEMALE in self.facts
            self.facts.setdefault(PREGNANT, 0.0)  # whoever is pregnant is said to be
            if self.trouble is None and not person:
                self.trouble = (Trouble.NO_PERSON, 'age and sex are missing: write "age": 54, "sex": "F"')
        facts = MappingProxyType(dict(sorted(self.facts.items())))
        trouble, reason = self.trouble or (None, "")
        return Parsed(facts, tuple(self.notes), trouble, reason, self.question[:500])

    def compact(self, person: re.Match[str] | None, rest: str) -> Parsed:
        """The compact notation: who it is, and the lines after that."""
        if person is not None:
            self.age(person[1])
            self.sex(person[2])
            if person[3]:
                self.put(PREGNANT, 1.0)
        for line in map(str.strip, rest.split("\n")):
            sign, body = line[:1], line[1:] if line[:1] in "+-" else line
            for part in filter(None, map(str.strip, body.split(","))):
                name, _, value = part.partition(" ")
                said = plain(spelled(part))
                if sign in ("+", "-") and said in self.findings:
                    self.put(self.findings[said], float(sign == "+"))
                elif said != plain(part) and self.phrase(said):
                    pass  # "urine ketones -"
                elif plain(name) in BODY_NAMES and value:
                    self.size(BODY_NAMES[plain(name)], value)
                elif value and self.numeric(plain(name)):
                    self.entry(name, value)
                else:
                    self.notes.append(f"{part!r} is nothing that is known here")
        return self.read({})

    def table(self, data: Mapping[str, Any]) -> None:
        """A table of keys and values."""
        for key, value in data.items():
            self.entry(str(key), value)

    def entry(self, called: str, value: Any) -> None:
        """What stands under a key."""
        key = plain(re.sub(r"\(.*?\)", "", called)) or plain(called)
        if key in QUESTION and isinstance(value, str):
            self.question = value
        elif key in CLAIMS and isinstance(value, str):
            pass
        elif key == AGE:
            self.age(value)
        elif key in ("sex", "gender"):
            self.sex(value)
        elif key == PREGNANT or key == "pregnancy":
            self.put(PREGNANT, float(truth(value) or 0))
        elif key in PRESSURE:
            self.pressure(value)
        elif key in BODY_NAMES:
            self.size(BODY_NAMES[key], value)
        elif (analyte := self.analyte(key)) is not None:
            self.measured(analyte, value, called)
        elif (found := self.named(key)) is not None and not isinstance(value, dict | list):
            self.stated(*found, value)
        elif key in self.known.names["derived"] and (not isinstance(value, dict) or "value" in value):
            self.claimed(self.known.derived[self.known.names["derived"][key]], value)
        elif isinstance(value, dict):
            self.table(value)
        elif isinstance(value, list):
            for one in value:
                self.item(one)
        elif isinstance(value, str):
            self.text(value)
        else:
            self.notes.append(f"{key!r} is nothing that is known here")

    def item(self, value: Any) -> None:
        """One element of a list."""
        if isinstance(value, dict):
            name, amount = value.get("name") or value.get("test"), value.get("value", value.get("result"))
            if isinstance(name, str) and amount is not None:
                self.entry(name, value if "unit" in value or "units" in value else amount)
            else:
                self.table(value)
        elif isinstance(value, str):
            head, mark, rest = value.partition(":")
            if not (mark and self.numeric(plain(head))) and (measured := MEASURED.fullmatch(value)) is not None:
                head, rest = measured[1], measured[2]
            if self.numeric(plain(head)):
                self.entry(head, rest)
            else:
                self.text(value)

    def age(self, value: Any) -> None:
        """An age in years, or in months."""
        found = NUMBER.search(str(value))
        if found is not None:
            months = 12.0 if re.search("month|mo\\b", str(value)) else 1.0
            years = amount_of(found) / months
            if 0 <= years <= 120:
                self.put(AGE, years)
                return
        self.notes.append(f"{value!r} is no age in years")

    def sex(self, value: Any) -> None:
        """A sex, by any word for it."""
        found = SEXES.get(plain(str(value)))
        if found is None:
            self.notes.append(f"{value!r} is no sex: write F or M")
            return
        self.put(FEMALE, float(found == FEMALE))
        self.put(MALE, float(found == MALE))

    def size(self, name: str, value: Any) -> None:
        """How heavy or tall somebody is."""
        found = re.fullmatch(r"\s*(\d{1,6}(?:\.\d{1,6})?)\s*([a-z]*)\s*", str(value).casefold())
        factor = BODY_UNITS[name].get(found[2]) if found is not None else None
        if found is None or factor is None:
            self.notes.append(f"{value!r} is no {name.partition('_')[0]}: write 80 kg, or 175 cm")
        else:
            self.put(name, float(found[1]) * factor)

    def pressure(self, value: Any) -> None:
        """A blood pressure, both of its values."""
        found = re.search(r"(\d{2,3})\s*/\s*(\d{2,3})", str(value))
        if found is None:
            self.notes.append(f"{value!r} is no blood pressure: write 120/80")
            return
        self.put("systolic_bp", float(found[1]))
        self.put("diastolic_bp", float(found[2]))

    def measured(self, name: str, value: Any, called: str) -> None:
        """A value of an analyte, under the name that it goes by there."""
        analyte = self.known.analytes[name]
        share = self.known.analytes.get(share_of(name))
        if share is not None and "percent" in plain(called):
            analyte, share = share, None
        try:
            amount = number_of(value, analyte, called)
        except UnknownUnit as error:
            if share is not None and "percent" in plain(str(value)):
                self.measured(share.id, value, called)
            elif plain(called) in self.known.names["derived"]:  # lymphocytes, which are read in per cent, as a count
                self.claimed(self.known.derived[self.known.names["derived"][plain(called)]], value)
            else:
                self.unreadable(analyte.name, error, Trouble.UNKNOWN_UNIT)
        except Unreadable as error:
            self.unreadable(analyte.name, error, Trouble.CONTRADICTION if isinstance(error, Disagreement) else None)
        else:
            if amount is not None:
                self.put(analyte.id, amount)

    def unreadable(self, name: str, error: Unreadable, trouble: Trouble | None) -> None:
        """Note a value that is none."""
        self.notes.append(f"{name}: {error}")
        if trouble is not None and self.trouble is None:
            self.trouble = (trouble, f"{name}: {error}")

    def analyte(self, said: str) -> str | None:
        """The analyte that a plain text is the name of: "lymphocytes percent" are lymphocytes that are given in it."""
        if said in self.analytes:
            return self.analytes[said]
        name = self.analytes.get(re.sub(r"^percent | percent$", "", said))
        if name is None or self.known.analytes[name].unit == "%":
            return name
        return share_of(name) if share_of(name) in self.known.analytes else None

    def numeric(self, said: str) -> bool:
        """Whether a plain text is the name of something that has a value."""
        return said in PRESSURE or said in self.known.names["derived"] or self.analyte(said) is not None

    def claimed(self, derived: Derived, value: Any) -> None:
        """What a number is said to be that follows from facts: no fact, but it may contradict them."""
        anything = (-math.inf, math.inf)
        like = Analyte(derived.id, derived.name, derived.unit, anything, anything, derived.source, units=derived.units)
        try:
            amount = number_of(value, like)
        except Unreadable as error:
            self.unreadable(derived.name, error, Trouble.CONTRADICTION if isinstance(error, Disagreement) else None)
            return
        self.notes.append(f"{derived.name} is computed, and not read")
        if amount is not None and derived.stated is not None:
            self.claims.append((derived, amount))

    def compare(self) -> None:
        """Whether numbers that follow from facts are what they are said to be."""
        for derived, amount in self.claims:
            columns = self.known.columns({name: np.array([value]) for name, value in self.facts.items()}, 1)
            low, high = (float(end[0]) for end in self.known.formulas[derived.id](columns))
            below, above = derived.stated or (-math.inf, math.inf)
            if self.trouble is None and (amount < low + below or amount > high + above):
                reason = f"{derived.name} is said to be {amount:g}, and what it follows from makes it {low:.3g}"
                self.trouble = (Trouble.CONTRADICTION, reason)

    def named(self, said: str) -> tuple[str, float] | None:
        """The finding that a plain text is the name of, 1, or whose absence it says, 0."""
        if said in self.findings:
            return self.findings[said], 1.0
        return (self.known.absences[said], 0.0) if said in self.known.absences else None

    def stated(self, finding: str, there: float, value: Any) -> None:
        """A finding, or its absence, under whose name a value stands."""
        said = truth(value)
        if said is None and self.known.findings[finding].kind is Kind.TEST and (graded(value) or dashed(value)):
            said = graded(value)
        if said is not None:
            self.put(finding, there if said else 1.0 - there)
        elif isinstance(value, str) and value:
            self.text(value)

    def text(self, text: str) -> None:
        """Findings in words: "no fever, productive cough; denies chest pain"."""
        if not self.phrase(plain(spelled(text))):  # a name may hold a comma, or "with"
            for part in re.split(r"[,;.\n]| and | but | with ", text):
                said = plain(spelled(part))
                if said and not self.phrase(said) and not self.within(said):
                    self.notes.append(f"{part.strip()!r} is nothing that is known here")

    def phrase(self, said: str) -> bool:
        """Read a plain text that is one finding, there or not."""
        bare = NEGATIONS.sub("", said)
        for name, turned in ((said, False), (bare, True), (NEGATED.sub("", said), True)):
            if (found := self.named(name)) is not None:
                finding, there = found
                self.put(finding, 1.0 - there if turned else there)
                return True
        return False

    def within(self, said: str) -> bool:
        """Read the findings that stand in a plain text. A "no" before them denies all, but for one whose name it is."""
        bare = NEGATED.sub("", NEGATIONS.sub("", said))
        denied = bare != said
        there, rest = ([*mentioned(one, self.findings, self.known.longest_finding)] for one in (said, bare))
        for one in there or rest:
            self.put(one, float(not denied or one not in rest))
        return bool(there or rest)

    def put(self, name: str, value: float) -> None:
        """Note a fact. Two that contradict each other make the patient unreadable."""
        before = self.facts.get(name)
        if before is not None and before != value and self.trouble is None:
            self.trouble = (Trouble.CONTRADICTION, f"{name.replace('_', ' ')} is given twice, and not alike")
        self.facts[name] = value


def share_of(name: str) -> str:
    """How the analyte is called that gives the cells of another one in per cent."""
    return f"{name.removesuffix('s')}_percent"


def closed(facts: Mapping[str, float], known: Library) -> dict[str, float]:
    """Facts with what they imply: epigastric pain is abdominal pain."""
    found = dict(facts)
    todo = [name for name, value in facts.items() if value == 1.0 and name in known.findings]
    while todo:
        for other in known.findings[todo.pop()].implies:
            if found.get(other) != 1.0:
                found[other] = 1.0
                todo.append(other)
    return found
