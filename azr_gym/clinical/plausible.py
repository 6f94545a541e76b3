"""Says what in a patient can not be, or hardly. Judges no diagnosis.

Single values have limits, findings belong to a sex and an age, and facts may contradict each other: those lines stand
in `knowledge/plausible.toml`. What is unknown contradicts nothing.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from azr_gym.clinical.criteria import Bools, Columns, Patients
from azr_gym.clinical.library import AGE, FEMALE, MALE, Level, Library, Sex

BODY_LIMITS = {AGE: (0.0, 120.0), "weight_kg": (0.3, 650.0), "height_cm": (20.0, 275.0)}


@dataclass(frozen=True, slots=True)
class Remark:
    """One thing that can not be, or hardly."""

    level: Level
    reason: str


def remarks(facts: Mapping[str, float], known: Library) -> list[Remark]:
    """What is to be said of one patient; what is rejected first."""
    found = [Remark(level, reason) for level, reason, there in _found(_alone(facts, known), known, [*Level]) if there]
    return sorted(found, key=lambda one: [*Level].index(one.level))


def contradiction(facts: Mapping[str, float], known: Library) -> str:
    """What contradicts itself in a patient whom somebody proposes, beside what can not be at all; "" for nothing."""
    found = _found(_alone(facts, known), known, [Level.REFUSE])
    return next((reason for _, reason, there in found if there), "")


def rejected(columns: Columns, known: Library) -> Bools:
    """Which patients of a batch can not be."""
    bad = (who for _, _, who in _found(columns, known, [Level.REJECT]))
    return columns.mask(functools.reduce(operator.or_, bad, 0))


def _alone(facts: Mapping[str, float], known: Library) -> Columns:
    """A batch of one patient."""
    return known.columns({name: np.array([value], np.float64) for name, value in facts.items()}, 1)


def _found(columns: Columns, known: Library, levels: Collection[Level]) -> Iterator[tuple[Level, str, Patients]]:
    """What is to be said at these levels, and of whom. Limits, and what is not of a sex or age, are rejected."""
    for name, values_N in columns.facts.items() if Level.REJECT in levels else ():
        if name in known.analytes or name in BODY_LIMITS:
            low, high = known.analytes[name].limits if name in known.analytes else BODY_LIMITS[name]
            if outside := columns.where((values_N < low) | (values_N > high)):
                yield Level.REJECT, f"{known.called(name)} is between {low:g} and {high:g}", outside
        elif name in known.findings:
            yield from _belongs(columns, known, name)
    for one, criterion in known.implausible:
        if one.level in levels:
            yield one.level, one.reason, criterion.sets(columns).yes


def _belongs(columns: Columns, known: Library, name: str) -> Iterator[tuple[Level, str, Patients]]:
    """Whether a finding is one of this sex and age."""
    finding = known.findings[name]
    if finding.sex is not Sex.ANY:
        other = columns.truth(MALE if finding.sex is Sex.FEMALE else FEMALE).yes
        yield Level.REJECT, f"{finding.name} is not found in that sex", columns.truth(name).yes & other
    if finding.age != (0, 120):
        age = columns.number(AGE)
        young_or_old = columns.where((age.high < finding.age[0]) | (age.low > finding.age[1]))
        yield Level.REJECT, f"{finding.name} is not found at that age", columns.truth(name).yes & young_or_old
