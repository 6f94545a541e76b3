"""Clinical scores and derived numbers, by name. Knows how to ask for them; how they are computed is in `scores.toml`.

`compute("curb65", facts)` takes a patient's facts. Every score and derived number is a function of its own too:
`scores.curb65(confusion=True, bun=25, respiratory_rate=32, systolic_bp=85, diastolic_bp=50, age=70)`. What is left out
is unknown, and makes the answer a range. `help(scores.curb65)` says what it looks at, in which units, and from where
it is.
"""

from __future__ import annotations

import difflib
import functools
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from azr_gym.clinical.case import closed
from azr_gym.clinical.criteria import bounds
from azr_gym.clinical.library import FEMALE, MALE, PERSON, Derived, Library, Score, Sex, knowledge
from azr_gym.clinical.plausible import BODY_LIMITS
from azr_gym.errors import BadArgument

Fact = float | bool | None
BODY_UNITS = {"age": "years", "weight_kg": "kg", "height_cm": "cm"}


@dataclass(frozen=True, slots=True)
class Scored:
    """What a score comes to.

    Attributes:
        name: its id.
        low, high: it lies between these; they are alike where everything that matters is known.
        band: the published band, where it is certain.
        missing: what it looks at and is unknown; not all of that need matter.
    """

    name: str
    low: float
    high: float
    band: str | None
    missing: tuple[str, ...]

    @property
    def value(self) -> float | None:
        """The score, where it is certain."""
        return self.low if self.low == self.high else None


def names(known: Library | None = None) -> tuple[str, ...]:
    """The ids of all scores and derived numbers."""
    known = known or knowledge()
    return (*known.scores, *known.derived)


def compute(name: str, facts: Mapping[str, Fact], known: Library | None = None) -> Scored:
    """A score, or a derived number, of one patient.

    What follows from the facts is used too: who is in coma has an altered mental status; without leg swelling none is
    unilateral. Facts that the score does not look at may be there. Where a score counts only what is documented, as
    those of lupus and rheumatoid arthritis do, the unknown is absent to it.

    Args:
        name: its id, one of `names()`.
        facts: by id: numbers in the library's units, findings as true or false. None and NaN mean unknown.
        known: the library that defines it.

    Raises:
        BadArgument: there is no such score or fact, a value can not be, or two facts contradict each other.
    """
    known = known or knowledge()
    one = _record(name, known)
    values = {fact: _value(fact, value, known) for fact, value in facts.items() if value is not None and value == value}
    values = consequences(values, known)
    columns = known.columns({fact: np.array([value], np.float64) for fact, value in values.items()}, 1)
    found = bounds(columns.number(name))
    least, most = one.range if isinstance(one, Score) else (-math.inf, math.inf)
    low, high = (np.clip(end, least, most).item() for end in (found.low, found.high))
    bands = {_band(end, one.bands) for end in (low, high)} if isinstance(one, Score) else {None}
    missing = sorted(set(looks_at(name, known)) - set(values) - set(known.formulas))
    return Scored(name, low, high, bands.pop() if len(bands) == 1 else None, tuple(missing))


def looks_at(name: str, known: Library | None = None) -> tuple[str, ...]:
    """The facts that a score hangs on, directly or through another one, and those others."""
    known = known or knowledge()
    one = _record(name, known).id
    return tuple(sorted(known.grounds(known.formulas[one].names)))


def consequences(facts: Mapping[str, float], known: Library) -> dict[str, float]:
    """Facts, with everything that follows from them: what they imply, what they exclude, and from the sex.

    Raises:
        BadArgument: what is said to be absent follows from what is there.
    """
    found = closed(facts, known)
    for name, value in facts.items():
        if found[name] != value:
            by = next(one for one in facts if facts[one] == 1.0 and name in closed({one: 1.0}, known) and one != name)
            raise BadArgument(f"{name} can not be absent where there is {by}, which implies it")
    for sex, other in ((FEMALE, MALE), (MALE, FEMALE)):
        if sex in facts and facts.get(other) == facts[sex]:
            raise BadArgument(f"{FEMALE} and {MALE} can not both be {bool(facts[sex])}")
        if sex in facts:
            found[other] = 1.0 - facts[sex]
    for one in known.findings.values():
        if one.sex is not Sex.ANY and found.get(str(one.sex)) == 0.0:
            found.setdefault(one.id, 0.0)
    fresh = True
    while fresh:
        fresh = False
        for one in known.findings.values():
            if one.id not in found and any(found.get(other) == 0.0 for other in one.implies):
                found[one.id], fresh = 0.0, True
    return found


def _record(name: str, known: Library) -> Score | Derived:
    if (found := known.scores.get(name) or known.derived.get(name)) is None:
        raise BadArgument(f"there is no score {name!r}{_like(name, names(known))}")
    return found


def _value(fact: str, value: float | bool, known: Library) -> float:
    """A fact's value, if it can be one."""
    if fact in known.findings or fact in PERSON:
        if value not in (0, 1):
            raise BadArgument(f"{fact} is a finding: it is True or False, not {value!r}")
    elif not any(fact in table for table in (known.analytes, known.items, BODY_LIMITS, known.formulas)):
        raise BadArgument(f"there is no fact {fact!r}{_like(fact, _facts(known))}")
    elif isinstance(value, bool | np.bool_) or not isinstance(value, int | float | np.number) or math.isinf(value):
        raise BadArgument(f"{fact} is a number, not {value!r}")
    elif fact not in known.formulas:
        low, high, unit = _limits(fact, known)
        if not low <= value <= high:
            raise BadArgument(f"{fact} is between {low:g} and {high:g}{unit}, not {value:g}")
    return float(value)


def _limits(fact: str, known: Library) -> tuple[float, float, str]:
    """The ends of a number, and its unit as it stands behind them."""
    if fact in BODY_LIMITS:
        return *BODY_LIMITS[fact], f" {BODY_UNITS[fact]}"
    one = known.analytes.get(fact) or known.items[fact]
    return *one.limits, "" if one.unit == "1" else f" {one.unit}"


def _facts(known: Library) -> Iterator[str]:
    for table in (known.analytes, known.items, known.findings, known.formulas, BODY_LIMITS, PERSON):
        yield from table


def _like(name: str, others: Iterator[str] | tuple[str, ...]) -> str:
    close = difflib.get_close_matches(name, list(others), 3)
    return f"; there is {', '.join(close)}" if close else ""


def _band(value: float, bands: Mapping[str, float]) -> str | None:
    return max((start, band) for band, start in bands.items() if start <= value)[1] if bands else None


# --- every score as a function -------------------------------------------------------------------------------------
@functools.cache
def _function(name: str) -> Callable[..., Scored]:
    """The function of a score of the library that comes with this package."""
    known = knowledge()
    one, items = _record(name, known), looks_at(name, known)
    asked = {*items, *PERSON}
    asked |= {finding.id for finding in known.findings.values() if asked & set(finding.implies)}

    def score(**facts: Fact) -> Scored:
        for fact in facts:
            if fact not in asked:
                raise BadArgument(f"{name} looks at no fact {fact!r}{_like(fact, tuple(asked))}")
        return compute(name, facts, known)

    source = known.sources[one.source]
    lines = [f"{one.name}.", "", "Looks at:", *(f"    {_described(fact, known)}" for fact in items), ""]
    if isinstance(one, Score):
        lines.append(f"From {one.range[0]:g} to {one.range[1]:g}.")
        lines += [f"From {start:g} on: {band}." for band, start in sorted(one.bands.items(), key=lambda pair: pair[1])]
    elif one.unit != "1":
        lines.append(f"In {one.unit}.")
    score.__name__ = score.__qualname__ = name
    lines += [f"{source.citation} ({source.year}).", "", "Raises:"]
    score.__doc__ = "\n".join(
        [*lines, "    BadArgument: a fact is none of these, a value can not be, or two contradict."]
    )
    return score


def _described(fact: str, known: Library) -> str:
    """A fact, and which values it takes."""
    if fact in known.formulas:
        return f"{fact}: computed, where it is not given."
    if fact in known.findings or fact in PERSON:
        return f"{fact}: true or false."
    low, high, unit = _limits(fact, known)
    name = f" ({known.items[fact].name})" if fact in known.items else ""
    return f"{fact}{name}: {low:g} to {high:g}{unit}."


def __getattr__(name: str) -> Callable[..., Scored]:
    if name.startswith("_") or name not in names():
        raise AttributeError(f"there is no score {name!r}{_like(name, names())}" if name[:1] != "_" else name)
    return _function(name)


def __dir__() -> list[str]:
    return sorted({*globals(), *names()})
