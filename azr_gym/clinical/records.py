"""What the knowledge files hold: the kinds of records, and how a row of a file becomes one. Looks at one row at a time.

A mistake is one error that names the file, the record, the key and the reason.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields
from enum import IntEnum, StrEnum
from types import MappingProxyType
from typing import Any, TypeVar, get_type_hints

from azr_gym.errors import AzrGymError

MALE, FEMALE, PREGNANT, AGE = "male", "female", "pregnant", "age"
PERSON = (MALE, FEMALE, PREGNANT)  # findings that every patient may have
WEIGHT, HEIGHT = "weight_kg", "height_cm"
BODY = (AGE, WEIGHT, HEIGHT)  # numbers that every patient may have
TIERS = ("very_common", "common", "uncommon", "rare", "very_rare")
OPPOSITE = {"positive": "negative", "detected": "not detected", "reactive": "not reactive"}  # of a test
NAME = re.compile(r"[a-z][a-z0-9_]*")
OLDEST = 120.0  # years
Range = tuple[float, float]


class BadKnowledge(AzrGymError):
    """A mistake in the knowledge files."""


class Certainty(IntEnum):
    """How much a rule says. The surest rule that is met decides."""

    DEFINITE = 0
    PROBABLE = 1
    POSSIBLE = 2


class Kind(StrEnum):
    """What a finding is, and so where it is found."""

    SYMPTOM = "symptom"
    SIGN = "sign"
    HISTORY = "history"
    MEDICATION = "medication"
    ECG = "ecg"
    IMAGING = "imaging"
    TEST = "test"  # a laboratory result that is positive or negative
    COURSE = "course"  # how it went, or how it answered to something


class Level(StrEnum):
    """What an implausible fact does to a case."""

    REJECT = "reject"
    REFUSE = "refuse"  # who proposes it; whoever is drawn is not asked
    WARN = "warn"


class Sex(StrEnum):
    """Who can have it."""

    ANY = "any"
    MALE = "male"
    FEMALE = "female"


@dataclass(frozen=True, slots=True)
class Source:
    """Where something is from."""

    id: str
    citation: str
    year: int
    address: str = ""  # where it was read


@dataclass(frozen=True, slots=True)
class Analyte:
    """Something that is measured."""

    id: str
    name: str
    unit: str
    reference: Range  # adults; both ends belong to it
    limits: Range  # outside of it no value can be
    source: str  # of the reference interval
    female: Range | None = None  # reference interval of women, where it differs
    units: Mapping[str, float] = field(default_factory=dict)  # other units: times this is the value in `unit`
    aliases: tuple[str, ...] = ()
    loinc: str = ""
    panel: str = ""  # what is ordered to have it measured
    decimals: int = 1
    log: bool = False  # whether values spread over orders of magnitude
    exogenous: bool = False  # there is none of it in whoever took none; the reference interval is that of treatment
    children: Mapping[str, Range] = field(default_factory=dict)  # reference intervals below so many years, ascending
    girls: Mapping[str, Range] = field(default_factory=dict)  # of girls below so many years, where theirs differ
    children_source: str = ""  # of both
    older: Mapping[str, Range] = field(default_factory=dict)  # usual values from so many years on: for drawing patients

    @property
    def printed_unit(self) -> str:
        """The unit as people print it: "°C", "mmHg"; none for what is a mere number."""
        said = self.unit.replace("[", "").replace("]", "")
        return {"1": "", "Cel": "\N{DEGREE SIGN}C", "pH": ""}.get(said, said)

    @property
    def starts(self) -> tuple[float, ...]:
        """From which ages on, in years, the reference interval, or where usual values lie, is another one."""
        return (0.0, *map(float, (*self.children, *self.older)))

    @property
    def intervals(self) -> tuple[tuple[Range, Range], ...]:
        """The reference intervals from each of `starts` on: of boys or men, of girls or women."""
        return tuple((self.interval(False, start), self.interval(True, start)) for start in self.starts)

    def usual(self, female: bool, age: float = OLDEST) -> Range:
        """Where values of a woman or a man of that age lie whom nothing ails."""
        if self.exogenous:
            return (0.0, 0.0)
        elder = [ends for since, ends in self.older.items() if age >= float(since)]
        return elder[-1] if elder else self.interval(female, age)

    def interval(self, female: bool, age: float = OLDEST) -> Range:
        """The reference interval of a woman or a man, or of a girl or a boy of that age in years."""
        for below, ends in self.children.items():
            if age < float(below):
                return self.girls.get(below, ends) if female else ends
        return self.female if female and self.female is not None else self.reference


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is there or not."""

    id: str
    name: str
    kind: Kind
    aliases: tuple[str, ...] = ()
    background: float = 0.02  # share of the patients that have it without a condition of ours to explain it (design)
    sex: Sex = Sex.ANY
    age: Range = (0, 120)  # at others nobody can have it
    usual_age: Range = (0, 120)  # at others nobody has it whom the generator draws
    implies: tuple[str, ...] = ()  # what is there too where this is
    denied: str = ""  # how a chart says that it is not there, where "no" before its name says it badly
    denials: tuple[str, ...] = ()  # other words for that, which are read and never written

    @property
    def absence(self) -> str:
        """How a chart says that it is not there: "no fever", "HBsAg negative"."""
        start, _, last = self.name.rpartition(" ")
        return self.denied or (f"{start} {OPPOSITE[last]}" if start and last in OPPOSITE else f"no {self.name}")


@dataclass(frozen=True, slots=True)
class Measured:
    """What measured values say of a finding.

    Attributes:
        id: the finding's.
        source: of the numbers in it.
        when: where this is met the finding is there.
        unless: where this is met it is not; where it is left out, wherever `when` is not met.
        labs: values of patients who have the finding, evenly between the ends, where their condition sets none. A
            design constant.
    """

    id: str
    source: str
    when: str = ""
    unless: str = ""
    labs: Mapping[str, Range] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Derived:
    """A number that is computed from others.

    Attributes:
        formula: how.
        aliases: other names.
        units: other units: times this is the value in `unit`.
        stated: how far from it what a text says it is may be, [below, above]. A design constant. Without it that is
            not compared.
    """

    id: str
    name: str
    formula: str
    source: str
    unit: str = ""
    aliases: tuple[str, ...] = ()
    units: Mapping[str, float] = field(default_factory=dict)
    stated: Range | None = None


@dataclass(frozen=True, slots=True)
class Item:
    """A number that a score asks for and no patient here holds, as a change since another day: no rule looks at it."""

    id: str
    name: str
    unit: str
    limits: Range


@dataclass(frozen=True, slots=True)
class Score:
    """A clinical score."""

    id: str
    name: str
    formula: str
    range: Range
    source: str
    bands: Mapping[str, float] = field(default_factory=dict)  # name: from this value on


@dataclass(frozen=True, slots=True)
class Rule:
    """When a condition is there.

    Attributes:
        when: the criterion.
        certainty: of a patient who meets it.
        source: of every number in it.
        seen: the page where its thresholds were read.
        note: what a reader should know.
    """

    when: str
    certainty: Certainty
    source: str
    seen: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class Condition:
    """A diagnosis.

    Attributes:
        id: its name in code.
        name: as a clinician writes it.
        system: the organ system.
        icd10cm: its code in ICD-10-CM; several conditions may share one.
        acuity: 1 minutes matter, 2 hours, 3 days, 4 weeks, 5 chronic or benign.
        tier: how common it is: one of `TIERS`. A design constant, no epidemiology.
        rule: its rules.
        presents: the share of its patients that have a finding. A design constant unless its rule's source says it.
        labs: where 90% of its patients' values lie, [5th, 95th percentile]. A design constant, likewise.
        aliases: other names; no other condition has one of them.
        codes: further ICD-10-CM codes that an answer may give.
        parents: what it is a kind of.
        manifestation_of: conditions that explain it: where one of them is there, this is no diagnosis of its own.
        sex, age: who can have it.
    """

    id: str
    name: str
    system: str
    icd10cm: str
    acuity: int
    tier: str
    rule: tuple[Rule, ...]
    presents: Mapping[str, float] = field(default_factory=dict)
    labs: Mapping[str, Range] = field(default_factory=dict)
    aliases: tuple[str, ...] = ()
    codes: tuple[str, ...] = ()
    parents: tuple[str, ...] = ()
    manifestation_of: tuple[str, ...] = ()
    sex: Sex = Sex.ANY
    age: Range = (18, 95)


@dataclass(frozen=True, slots=True)
class Implausible:
    """What can not be, or hardly."""

    id: str
    when: str
    level: Level
    reason: str
    source: str


# --- a row of a file ----------------------------------------------------------------------------------------------
T = TypeVar("T")


def record(kind: type[T], row: Mapping[str, Any], place: str) -> T:
    """A record of a kind from its row.

    Args:
        kind: one of the classes above, or another whose fields are of their types.
        row: as the file has it.
        place: file and record, for the error.

    Raises:
        BadKnowledge: a key that does not exist or is missing, or a value of another type.
    """
    known = {one.name: one for one in fields(kind)}  # type: ignore[arg-type]
    if unknown := sorted(set(row) - set(known)):
        raise BadKnowledge(f"{place}: {unknown[0]}: there is no such key; there are {', '.join(known)}")
    missing = [
        name
        for name, one in known.items()
        if name not in row and one.default is MISSING and one.default_factory is MISSING
    ]
    if missing:
        raise BadKnowledge(f"{place}: {missing[0]}: it is missing")
    hints = get_type_hints(kind)
    values = {name: _value(hints[name], value, f"{place}: {name}") for name, value in row.items()}
    if "id" in values and not NAME.fullmatch(values["id"]):
        raise BadKnowledge(f"{place}: id: {values['id']!r} is no name of a to z, 0 to 9 and _")
    return kind(**values)


def _value(wanted: Any, value: Any, place: str) -> Any:
    """A value of a record, as its type wants it."""
    if wanted is str or wanted is bool or wanted is int:
        if type(value) is not wanted or value == "":
            raise BadKnowledge(f"{place}: {value!r} is no {wanted.__name__}")
        return value
    if wanted is float:
        if type(value) not in (int, float):
            raise BadKnowledge(f"{place}: {value!r} is no number")
        return float(value)
    if isinstance(wanted, type) and issubclass(wanted, StrEnum):
        if value not in list(wanted):
            raise BadKnowledge(f"{place}: {value!r} is none of {', '.join(wanted)}")
        return wanted(value)
    if wanted is Certainty:
        names = [one.name.lower() for one in Certainty]
        if value not in names:
            raise BadKnowledge(f"{place}: {value!r} is none of {', '.join(names)}")
        return Certainty[value.upper()]
    if wanted in (Range, Range | None):
        ends = value if isinstance(value, list) and len(value) == 2 else []
        if not ends or any(type(end) not in (int, float) for end in ends) or ends[0] > ends[1]:
            raise BadKnowledge(f"{place}: {value!r} is no [low, high]")
        return (float(ends[0]), float(ends[1]))
    if wanted == tuple[Rule, ...]:
        if not isinstance(value, list) or not value:
            raise BadKnowledge(f"{place}: a condition has at least one rule")
        return tuple(record(Rule, row, f"{place} {number}") for number, row in enumerate(value, 1))
    if wanted == tuple[str, ...]:
        if not isinstance(value, list) or len(set(map(str, value))) < len(value):
            raise BadKnowledge(f"{place}: {value!r} is no list of different texts")
        return tuple(_value(str, one, place) for one in value)
    if not isinstance(value, dict):
        raise BadKnowledge(f"{place}: {value!r} is no table")
    inner = float if wanted == Mapping[str, float] else Range
    return MappingProxyType({name: _value(inner, one, f"{place}.{name}") for name, one in value.items()})
