"""Draws patients: who they are, what is found, what is measured; the engine says what they have.

A patient is drawn for a condition, and kept where the engine agrees. How often a condition shows a finding, and where
its values lie, are design constants of the knowledge files: these are no epidemiological data.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from azr_gym.clinical.criteria import Floats
from azr_gym.clinical.engine import Engine
from azr_gym.clinical.latent import agree
from azr_gym.clinical.library import AGE, BODY, FEMALE, MALE, PREGNANT, Condition, Library, Sex

BATCH, DRAWS = 16, 40  # patients drawn at once for one, and how often
Z95 = 1.6449  # standard deviations from the median to the 95th percentile of a normal distribution
ASKED = 0.008  # share of the findings without a bearing on the condition that are looked for, and written down
SPREAD = 4.0  # standard deviations that a reference interval of 95% is wide, nearly


@dataclass(frozen=True, slots=True)
class Drawn:
    """Patients, and what the engine says of them.

    Attributes:
        facts: a column for each fact, float64 (N,), NaN where it is unknown.
        kept_N: whether the engine's diagnosis is the condition that each was drawn for.
        first_N: the condition that the engine puts first, by its place among the ids; -1 where it gives none.
    """

    facts: dict[str, Floats]
    kept_N: NDArray[np.bool_]
    first_N: NDArray[np.int64]


class Generator:
    """Draws patients of one condition at a time.

    Args:
        engine: that labels them.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine, self.library = engine, engine.library

    def draw(self, rng: np.random.Generator, condition: str, count: int) -> Drawn:
        """So many patients for a condition. A function of the generator's state.

        Args:
            rng: a numpy generator.
            condition: its id.
            count: N.
        """
        one = self.library.conditions[condition]
        facts = _person(rng, one, count)
        names = self._looked_at(one)
        self._findings(rng, one, facts, names)
        self._values(rng, one, facts, names)
        judged = self.engine.judge(self.library.columns(facts, count))
        diagnosed_N = judged.verdict_N == 0
        place = self.engine.ids.index(condition)
        return Drawn(facts, diagnosed_N & (judged.first_N == place), np.where(diagnosed_N, judged.first_N, -1))

    def patient(
        self, rng: np.random.Generator, condition: str, accept: Callable[[dict[str, float]], bool]
    ) -> dict[str, float] | None:
        """One patient whom the engine diagnoses so, and whom `accept` takes; None where many draws give none."""
        for _ in range(DRAWS):
            drawn = self.draw(rng, condition, BATCH)
            for place in np.flatnonzero(drawn.kept_N):
                facts = {name: float(column[place]) for name, column in drawn.facts.items()}
                known = {name: value for name, value in facts.items() if not np.isnan(value)}
                if accept(known):
                    return known
        return None

    def _looked_at(self, one: Condition) -> set[str]:
        """Every fact that the condition's rules look at, directly or through a score."""
        rules = [check.criterion.names for check in self.engine.checks if check.condition is one]
        return set(self.library.grounds(frozenset().union(*rules)))

    def _findings(self, rng: np.random.Generator, one: Condition, facts: dict[str, Floats], names: set[str]) -> None:
        count, relevant = len(facts[AGE]), {*names, *one.presents}
        for finding in self.library.findings.values():
            share = one.presents.get(finding.id, finding.background)
            possible_N = (facts[AGE] >= finding.age[0]) & (facts[AGE] <= finding.age[1])
            if finding.sex is not Sex.ANY:
                possible_N &= facts[str(finding.sex)] == 1.0
            there_N = (rng.random(count) < share) & possible_N
            asked_N = (rng.random(count) < ASKED) & possible_N  # absent, and written down all the same
            known_N = there_N | asked_N | (finding.id in relevant)
            facts[finding.id] = np.where(known_N, there_N.astype(np.float64), np.nan)
        for finding in self.library.findings.values():
            for other in finding.implies:
                facts[other] = np.where(facts[finding.id] == 1.0, 1.0, facts[other])

    def _values(self, rng: np.random.Generator, one: Condition, facts: dict[str, Floats], names: set[str]) -> None:
        panels = {self.library.analytes[name].panel for name in one.labs if name in self.library.analytes}
        for analyte in self.library.analytes.values():
            wanted = analyte.id in names or analyte.id in one.labs or (analyte.panel and analyte.panel in panels)
            if not wanted:
                continue
            count = len(facts[AGE])
            if analyte.id in one.labs:
                values_N = between(rng, one.labs[analyte.id], count)
            else:
                low_N, high_N = _reference(self.library, analyte.id, facts)
                values_N = (low_N + high_N) / 2 + rng.standard_normal(count) * (high_N - low_N) / SPREAD
                values_N = np.clip(values_N, low_N, high_N)
            facts[analyte.id] = values_N.astype(np.float64)
        agree(facts, one.labs)
        for analyte in self.library.analytes.values():
            if analyte.id in facts:
                held_N = np.clip(facts[analyte.id], *analyte.limits)
                facts[analyte.id] = np.round(held_N, analyte.decimals).astype(np.float64)
        for name in BODY[1:]:
            if name in one.labs:
                facts[name] = np.round(between(rng, one.labs[name], len(facts[AGE])))


def between(rng: np.random.Generator, ends: tuple[float, float], count: int) -> Floats:
    """Values of which 90% lie between the ends; on a logarithmic scale where these are far apart."""
    low, high = ends
    log = low > 0 and high / low > 3
    if log:
        low, high = np.log(low), np.log(high)
    values_N: Floats = (low + high) / 2 + rng.standard_normal(count) * (high - low) / (2 * Z95)
    return np.exp(values_N) if log else values_N


def _person(rng: np.random.Generator, one: Condition, count: int) -> dict[str, Floats]:
    age_N = np.floor(rng.uniform(one.age[0], one.age[1] + 1, count))
    female_N = rng.random(count) < {Sex.ANY: 0.5, Sex.FEMALE: 1.0, Sex.MALE: 0.0}[one.sex]
    if one.presents.get(FEMALE) is not None:
        female_N = rng.random(count) < one.presents[FEMALE]
    pregnant_N = female_N & (rng.random(count) < one.presents.get(PREGNANT, 0.0))
    return {
        AGE: np.clip(age_N, *one.age),
        FEMALE: female_N.astype(np.float64),
        MALE: 1.0 - female_N,
        PREGNANT: pregnant_N.astype(np.float64),
    }


def _reference(library: Library, name: str, facts: dict[str, Floats]) -> tuple[Floats, Floats]:
    women, men = (library.analytes[name].interval(female) for female in (True, False))
    low_N, high_N = (np.where(facts[FEMALE] == 1.0, *ends) for ends in zip(women, men, strict=True))
    return low_N, high_N
