"""Reads patients from text, as people and models write them. What it says is data: nothing is ever run.

`parse_case` takes JSON of almost any shape (curly quotes, bullets, fences, chatter around it, a comma too many), keys
by any name of the library, values with units, signs and remarks. It never raises on a text: what can not be read is a
note, and what makes the patient unreadable is a trouble.
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

from azr_gym.clinical.library import AGE, FEMALE, MALE, PREGNANT, Analyte, Library, knowledge, mentioned, plain

MAX_CHARS, MAX_DEPTH = 20_000, 24
TRANSLATION = {
    **dict.fromkeys(map(ord, "\u201c\u201d\u201e\u201f\u2033"), '"'),
    **dict.fromkeys(map(ord, "\u2018\u2019\u201a\u201b\u2032"), "'"),
    **dict.fromkeys(map(ord, "\u2022\u25e6\u25aa\u2023"), None),  # bullets
    **dict.fromkeys(map(ord, "\u2013\u2014\u2212\u2011"), "-"),
    **dict.fromkeys(map(ord, "\u00b5\u03bc"), "u"),
    **dict.fromkeys(map(ord, "\u00d7"), "x"),
    **dict.fromkeys(map(ord, "\u00a0"), " "),
}


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
        claim: the diagnosis that the text claims, where it claims one.
    """

    facts: Mapping[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    trouble: Trouble | None = None
    reason: str = ""
    question: str = ""
    claim: str = ""


def parse_case(text: str, known: Library | None = None) -> Parsed:
    """Read a patient from a text.

    The notation of `prompts.compact` is read too: "65 F", "+ chest_pain, dyspnoea", "- fever", "troponin_i 0.8".

    Args:
        text: whatever somebody wrote.
        known: the library whose names count.
    """
    known = known or knowledge()
    if (short := COMPACT.match(text)) is not None:
        return _Reader(known).compact(short, text[short.end() :])
    data = _json(text)
    if not isinstance(data, dict):
        return Parsed(trouble=Trouble.NO_JSON, reason="there is no JSON object: write the patient as one")
    return _Reader(known).read(data)


def _json(text: str) -> Any:
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


# --- values -------------------------------------------------------------------------------------------------------
NUMBER = re.compile(
    r"[<>\u2264\u2265~]?\s*([+-]?\d{1,3}(?:[,\s]\d{3})+(?:\.\d+)?|[+-]?\d+(?:[.,]\d+)?|[+-]?\.\d+)"
    r"\s*(?:[x*]\s*10\s*\^?\s*(\d+))?"
)
RANGE = re.compile(r"^\s*(\d+(?:\.\d+)?)\s*(?:-|to)\s*(\d+(?:\.\d+)?)")
YES = frozenset("yes true positive pos present detected reactive abnormal elevated".split()) | {"1"}
NO = frozenset("no false negative neg absent none normal nonreactive never denied denies former ex".split()) | {
    "not detected",
    "non reactive",
    "0",
}
UNKNOWN = frozenset(
    ["", "unknown", "not specified", "pending", "not done", "n a", "na", "not available", "null", "none"]
)
NEGATIONS = re.compile(
    r"^(?:no|not|non|denies|denied|without|negative for|absent|never|ex|former|no history of|no known)\s+"
)
NEGATED = re.compile(r"\s+(?:negative|absent|denied|none|not (?:present|detected|found|seen))$")
ASSERTIONS = re.compile(
    r"^(?:has|reports|history of|known|presence of|complains of|positive for|recent|severe|mild|moderate|acute|sudden|"
    r"worsening)\s+"
)


COMPACT = re.compile(r"\s*(\d+(?:\.\d+)?) ([FM])( pregnant)?(?=\n|$)")


class Unreadable(ValueError):
    """A value that is no value, with the reason."""


def number_of(value: object, analyte: Analyte) -> float | None:
    """A value in the analyte's own unit; None where the text says that it is unknown.

    Numbers, "0.8 ng/mL", "<0.01", "13,400/mm3", "1,7 mg/dL", "110-120" (its middle), "94%", 0.94 for a percentage,
    "38.3 C (100.9 F)", "normal" (the middle of the reference interval). Without a unit it is in the analyte's own.

    Raises:
        Unreadable: it is no such value, or its unit is unknown.
    """
    if isinstance(value, bool):
        raise Unreadable("true or false is no number")
    if isinstance(value, list):
        value = value[-1] if value else ""
    if isinstance(value, dict):
        unit = value.get("unit") or value.get("units") or ""
        value = f"{value.get('value', '')} {unit}"
    if isinstance(value, int | float):
        return _scaled(float(value), "", analyte)
    text = unicodedata.normalize("NFKC", str(value).translate(TRANSLATION)).strip()
    if plain(text) in UNKNOWN:
        return None
    if plain(text) == "normal":
        return sum(analyte.reference) / 2
    if (both := RANGE.match(text)) is not None and float(both[2]) > float(both[1]):
        return _scaled((float(both[1]) + float(both[2])) / 2, text[both.end() :], analyte)
    found = NUMBER.search(text)
    if found is None:
        raise Unreadable(f"{text!r} is no number")
    digits, rest = found[1].replace(" ", ""), text[found.end() :]
    grouped = re.fullmatch(r"[+-]?\d{1,3}(,\d{3})+(\.\d+)?", digits)
    amount = float(digits.replace(",", "" if grouped else "."))
    if found[2] is not None:
        powered = f"10^{found[2]}{rest}"  # "x 10^9/L" is a unit where cells are counted so
        if _unit(analyte.unit).startswith(_unit(f"10^{found[2]}/")):
            rest = powered
        else:
            amount *= 10.0 ** min(int(found[2]), 30)
    if not math.isfinite(amount):
        raise Unreadable(f"{text!r} is no number")
    return _scaled(amount, rest, analyte)


def _unit(text: str) -> str:
    return re.sub(r"[\s*^]", "", text.translate(TRANSLATION).casefold().replace("per", "/"))


def _scaled(amount: float, rest: str, analyte: Analyte) -> float:
    """An amount with the text after it, in the analyte's own unit."""
    written = re.split(r"[(;\[]|\s(?:and|on|at|with)\s", rest.strip())[0].strip(" .,+")
    unit = _unit(written)
    low, high = analyte.limits
    if analyte.unit == "Cel":
        hot = unit.endswith("f") or (not unit and amount > high)
        return (amount - 32) / 1.8 if hot else amount
    if analyte.unit == "%" and unit in ("", "%"):
        share = not unit and 0 < amount <= 1 and low >= 1
        return amount * 100 if share else amount
    if analyte.id == "hba1c" and unit == "mmol/mol":
        return 0.0915 * amount + 2.15  # IFCC to NGSP (Hoelzel 2004)
    if unit in ("", _unit(analyte.unit)) or not re.search(r"[a-z%/]", unit):
        return _plausible(amount, analyte)
    for name, factor in analyte.units.items():
        if unit == _unit(name):
            return amount * factor
    if re.fullmatch(r"(bpm|beats/min(ute)?|breaths/min(ute)?|/min(ute)?)", unit) and "min" in analyte.unit:
        return amount
    if plain(written) in ("high", "low", "elevated", "raised", "decreased", "h", "l", "normal"):
        return _plausible(amount, analyte)
    raise Unreadable(f"{written!r} is no unit of {analyte.name}: write {analyte.unit}")


def _plausible(amount: float, analyte: Analyte) -> float:
    """Without a unit: the analyte's own, or, where the value can not be that, the only other one in which it can be."""
    low, high = analyte.limits
    if low <= amount <= high:
        return amount
    others = {amount * factor for factor in analyte.units.values() if low <= amount * factor <= high}
    return others.pop() if len(others) == 1 else amount


# --- patients -----------------------------------------------------------------------------------------------------
SEXES = {
    "f": FEMALE,
    "female": FEMALE,
    "woman": FEMALE,
    "girl": FEMALE,
    "m": MALE,
    "male": MALE,
    "man": MALE,
    "boy": MALE,
}
PRESSURE = frozenset(["bp", "blood pressure"])
QUESTION = frozenset(["prompt", "question", "task"])
CLAIM = frozenset(["claimed diagnosis", "diagnosis", "answer", "hidden diagnosis", "label"])


class _Reader:
    """Fills the facts of one patient."""

    def __init__(self, known: Library) -> None:
        self.facts, self.notes, self.known = dict[str, float](), list[str](), known
        self.analytes, self.findings = known.names["analyte"], known.names["finding"]  # the id of every name
        self.trouble: tuple[Trouble, str] | None = None
        self.question = self.claim = ""

    def read(self, data: Mapping[str, Any]) -> Parsed:
        self.table(data)
        person = AGE in self.facts and FEMALE in self.facts
        self.facts.setdefault(PREGNANT, 0.0)  # whoever is pregnant is said to be
        if self.trouble is None and not person:
            self.trouble = (Trouble.NO_PERSON, 'age and sex are missing: write "age": 54, "sex": "F"')
        facts = MappingProxyType(dict(sorted(self.facts.items())))
        trouble, reason = self.trouble or (None, "")
        return Parsed(facts, tuple(self.notes), trouble, reason, self.question[:500], self.claim[:200])

    def compact(self, person: re.Match[str], rest: str) -> Parsed:
        """The compact notation: who it is, and the lines after that."""
        self.age(person[1])
        self.sex(person[2])
        self.put(PREGNANT, float(person[3] is not None))
        for line in rest.split("\n"):
            sign, body = line[:1], line[1:] if line[:1] in "+-" else line
            for part in filter(None, map(str.strip, body.split(","))):
                name, _, value = part.partition(" ")
                if sign in ("+", "-") and plain(part) in self.findings:
                    self.put(self.findings[plain(part)], float(sign == "+"))
                elif plain(name) in self.analytes and value:
                    self.measured(self.analytes[plain(name)], value)
                else:
                    self.notes.append(f"{part!r} is nothing that is known here")
        return self.read({})

    def table(self, data: Mapping[str, Any]) -> None:
        for key, value in data.items():
            self.entry(plain(re.sub(r"\(.*?\)", "", str(key))) or plain(str(key)), value)

    def entry(self, key: str, value: Any) -> None:
        """One key with its value."""
        if key in QUESTION and isinstance(value, str):
            self.question = value
        elif key in CLAIM and isinstance(value, str):
            self.claim = value
        elif key == AGE:
            self.age(value)
        elif key in ("sex", "gender"):
            self.sex(value)
        elif key == PREGNANT or key == "pregnancy":
            self.put(PREGNANT, float(self.truth(value) or 0))
        elif key in PRESSURE:
            self.pressure(value)
        elif key in self.analytes:
            self.measured(self.analytes[key], value)
        elif key in self.findings and not isinstance(value, dict | list):
            self.stated(self.findings[key], value)
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
                self.entry(plain(name), value if "unit" in value or "units" in value else amount)
            else:
                self.table(value)
        elif isinstance(value, str):
            head, mark, rest = value.partition(":")
            if mark and plain(head) in self.analytes:
                self.entry(plain(head), rest)
            else:
                self.text(value)

    def age(self, value: Any) -> None:
        found = NUMBER.search(str(value))
        if found is not None:
            months = 12.0 if re.search("month|mo\\b", str(value)) else 1.0
            years = float(found[1].replace(",", ".")) / months
            if 0 <= years <= 120:
                self.put(AGE, years)
                return
        self.notes.append(f"{value!r} is no age in years")

    def sex(self, value: Any) -> None:
        found = SEXES.get(plain(str(value)))
        if found is None:
            self.notes.append(f"{value!r} is no sex: write F or M")
            return
        self.put(FEMALE, float(found == FEMALE))
        self.put(MALE, float(found == MALE))

    def pressure(self, value: Any) -> None:
        found = re.search(r"(\d{2,3})\s*/\s*(\d{2,3})", str(value))
        if found is None:
            self.notes.append(f"{value!r} is no blood pressure: write 120/80")
            return
        self.put("systolic_bp", float(found[1]))
        self.put("diastolic_bp", float(found[2]))

    def measured(self, name: str, value: Any) -> None:
        analyte = self.known.analytes[name]
        try:
            amount = number_of(value, analyte)
        except Unreadable as error:
            self.notes.append(f"{analyte.name}: {error}")
            if "unit" in str(error) and self.trouble is None:
                self.trouble = (Trouble.UNKNOWN_UNIT, f"{analyte.name}: {error}")
            return
        if amount is not None:
            self.put(analyte.id, amount)

    def truth(self, value: Any) -> bool | None:
        if isinstance(value, bool):
            return value
        said = plain(str(value))
        words = said.split()
        if said in UNKNOWN - NO:
            return None
        if said in NO or (words and words[0] in NO):
            return False
        return True if said in YES or (words and words[0] in YES) else None

    def stated(self, finding: str, value: Any) -> None:
        truth = self.truth(value)
        if truth is not None:
            self.put(finding, float(truth))
        elif isinstance(value, str) and value:
            self.text(value)

    def text(self, text: str) -> None:
        """Findings in words: "no fever, productive cough; denies chest pain"."""
        whole = plain(text)
        for name, there in ((whole, 1.0), (NEGATIONS.sub("", whole), 0.0)):  # a name may hold a comma, or "with"
            if name in self.findings:
                self.put(self.findings[name], there)
                return
        for part in re.split(r"[,;.\n]| and | but | with ", text):
            said = plain(part)
            denied = NEGATIONS.match(said) is not None or NEGATED.search(said) is not None
            bare = ASSERTIONS.sub("", NEGATED.sub("", NEGATIONS.sub("", said)))
            names = [name for name in (said, NEGATIONS.sub("", said), bare) if name in self.findings]
            found = [self.findings[name] for name in names[:1]]
            found = found or mentioned(bare, self.findings, self.known.longest_finding)
            for one in found:
                self.put(one, float(not denied))
            if said and not found:
                self.notes.append(f"{part.strip()!r} is nothing that is known here")

    def put(self, name: str, value: float) -> None:
        """Note a fact. Two that contradict each other make the patient unreadable."""
        before = self.facts.get(name)
        if before is not None and before != value and self.trouble is None:
            self.trouble = (Trouble.CONTRADICTION, f"{name.replace('_', ' ')} is given twice, and not alike")
        self.facts[name] = value


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
