"""Says what in a patient can not be, or hardly. Judges no diagnosis.

Single values have limits, findings belong to a sex and an age, and facts may contradict each other: those lines stand
in `knowledge/plausible.toml`. What is unknown contradicts nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from azr_gym.clinical.criteria import Columns
from azr_gym.clinical.library import AGE, FEMALE, MALE, Level, Library, Sex

BODY_LIMITS = {AGE: (0.0, 120.0), "weight_kg": (0.3, 650.0), "height_cm": (20.0, 275.0)}


@dataclass(frozen=True, slots=True)
class Remark:
    """One thing that can not be, or hardly."""

    level: Level
    reason: str


def remarks(facts: Mapping[str, float], known: Library) -> list[Remark]:
    """What is to be said of one patient; what is rejected first."""
    columns = known.columns({name: np.array([value], np.float64) for name, value in facts.items()}, 1)
    found = [Remark(level, reason) for level, reason, there_N in _found(columns, known) if there_N[0]]
    return sorted(found, key=lambda one: one.level is Level.WARN)


def rejected(columns: Columns, known: Library) -> NDArray[np.bool_]:
    """Which patients of a batch can not be."""
    bad_N = columns.nothing.copy()
    for level, _, there_N in _found(columns, known):
        if level is Level.REJECT:
            bad_N |= there_N
    return bad_N


def _found(columns: Columns, known: Library) -> Iterator[tuple[Level, str, NDArray[np.bool_]]]:
    for name, values_N in columns.facts.items():
        if name in known.analytes or name in BODY_LIMITS:
            low, high = known.analytes[name].limits if name in known.analytes else BODY_LIMITS[name]
            yield (
                Level.REJECT,
                f"{known.called(name)} is between {low:g} and {high:g}",
                (values_N < low) | (values_N > high),
            )
        elif name in known.findings:
            yield from _belongs(columns, known, name)
    for one, criterion in known.implausible:
        yield one.level, one.reason, criterion(columns).yes


def _belongs(columns: Columns, known: Library, name: str) -> Iterator[tuple[Level, str, NDArray[np.bool_]]]:
    """Whether a finding is one of this sex and age."""
    finding, there_N = known.findings[name], columns.truth(name).yes
    if finding.sex is not Sex.ANY:
        other = columns.truth(MALE if finding.sex is Sex.FEMALE else FEMALE).yes
        yield Level.REJECT, f"{finding.name} is not found in that sex", there_N & other
    if finding.age != (0, 120):
        age = columns.number(AGE)
        young_or_old = (age.high < finding.age[0]) | (age.low > finding.age[1])
        yield Level.REJECT, f"{finding.name} is not found at that age", there_N & young_or_old
