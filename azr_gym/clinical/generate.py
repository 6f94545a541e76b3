"""Draws patients: who they are, what is found, what is measured; the engine says what they have.

A patient is drawn for a condition, and kept where the engine agrees. How often a condition shows a finding, and where
its values lie, are design constants of the knowledge files: these are no epidemiological data. A finding that a
measured value decides (`knowledge/measured.toml`) is as the value says.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from azr_gym.clinical.criteria import Bools, Floats
from azr_gym.clinical.engine import Engine
from azr_gym.clinical.latent import agree
from azr_gym.clinical.library import (
    AGE,
    BODY,
    FEMALE,
    MALE,
    PERSON,
    PREGNANT,
    Analyte,
    Condition,
    Library,
    Range,
    Reading,
    Sex,
)

BATCH, DRAWS = 16, 40  # patients drawn at once for one, and how often
UNUSUAL_DRAWS = 3  # the same, where many a condition can not be had so
Z95 = 1.6449  # standard deviations from the median to the 95th percentile of a normal distribution
ASKED = 0.003  # share of the findings without a bearing on the condition that are looked for, and written down
SPREAD = 4.0  # standard deviations that a reference interval of 95% is wide, nearly
WEEKS = "gestational_weeks"  # the one value that only some have
CHARACTERISTIC = 0.9  # a finding of so many of a condition's patients is one that the typical patient has
DISTRACTED = 3.0  # times as common are findings without a bearing on the condition, where they are to distract
PANELS = 3  # of normal values that are measured to distract
VITALS = "vitals"  # the one panel that comes whole: of others the typical patient has what bears on the condition
MISSING = 0.6  # share of the facts that the diagnosis does not need which are unknown, where facts are missing


class Difficulty(StrEnum):
    """What makes a patient hard."""

    TYPICAL = "typical"  # has everything that is characteristic of the condition
    ATYPICAL = "atypical"  # lacks something characteristic; the engine says the condition all the same
    COMORBID = "comorbid"  # has two conditions that the engine finds, and ranks
    DISTRACTORS = "distractors"  # typical, with more that has no bearing on it: findings, normal values
    MISSING = "missing"  # typical, with much unknown that the diagnosis does not need


@dataclass(frozen=True, slots=True)
class Presentation:
    """How patients of a condition, or of two at once, present. F findings, in the library's order.

    Attributes:
        age: whom the conditions are found in, years.
        female: share of women.
        pregnant: share of the women who are.
        share_F: of the patients who have each finding of themselves, not because another one implies it.
        relevant_F: whether it is asked for in any case.
        named_F: whether a condition names it.
        characteristic: places of the findings that the typical patient has.
        labs: where 90% of the values lie of what the conditions set.
        measured: what is measured.
        fitted: what values are drawn to fit findings, where no condition sets them: readings with their place.
    """

    age: Range
    female: float
    pregnant: float
    share_F: Floats
    relevant_F: Bools
    named_F: Bools
    characteristic: tuple[int, ...]
    labs: Mapping[str, Range]
    measured: tuple[Analyte, ...]
    fitted: tuple[tuple[Reading, int], ...]


@dataclass(frozen=True, slots=True)
class Drawn:
    """Patients, and what the engine says of them.

    Attributes:
        facts: a column for each fact that is known of anybody, float64 (N,), NaN where it is unknown.
        kept_N: whether the engine's diagnosis is the condition that each was drawn for.
        first_N: the condition that the engine puts first, by its place among the ids; -1 where it gives none.
    """

    facts: dict[str, Floats]
    kept_N: Bools
    first_N: NDArray[np.int64]

    def patient(self, place: int) -> dict[str, float]:
        """What is known of one."""
        values = ((name, float(column[place])) for name, column in self.facts.items())
        return {name: value for name, value in values if not np.isnan(value)}


class Generator:
    """Draws patients of one condition at a time.

    Args:
        engine: that labels them.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine, self.library = engine, engine.library
        findings = [*self.library.findings.values()]
        self.place = {one.id: number for number, one in enumerate(findings)}
        self.background_F = np.array([one.background for one in findings])
        self.ages_F2 = np.array(
            [[max(one.age[0], one.usual_age[0]), min(one.age[1], one.usual_age[1])] for one in findings]
        )
        self.sexes_F = np.array([[*Sex].index(one.sex) for one in findings])
        self.implied = [(self.place[one.id], [self.place[name] for name in one.implies]) for one in findings]
        self.implied = [(place, others) for place, others in self.implied if others]
        self.panels = sorted({one.panel for one in self.library.analytes.values()} - {""})
        self._looked_at: dict[str, set[str]] = {}
        for check in self.engine.checks:
            self._looked_at.setdefault(check.condition.id, set()).update(check.criterion.names)
        self._presentations: dict[tuple[str, ...], Presentation] = {}

    def draw(
        self,
        rng: np.random.Generator,
        condition: str,
        count: int,
        difficulty: Difficulty = Difficulty.TYPICAL,
        beside: str | None = None,
        whole: bool = False,
    ) -> Drawn:
        """So many patients for a condition, and what the engine says of them; as `sample`."""
        facts = self.sample(rng, condition, count, difficulty, beside, whole)
        judged = self.engine.judge(self.library.columns(facts, count))
        diagnosed_N = judged.verdict_N == 0
        kept_N = diagnosed_N & (judged.first_N == self.engine.ids.index(condition))
        if beside is not None:
            stands_P = judged.condition_P == self.engine.ids.index(beside)
            kept_N &= np.isin(np.arange(count), judged.patient_P[stands_P])
        return Drawn(facts, kept_N, np.where(diagnosed_N, judged.first_N, -1))

    def sample(
        self,
        rng: np.random.Generator,
        condition: str,
        count: int,
        difficulty: Difficulty = Difficulty.TYPICAL,
        beside: str | None = None,
        whole: bool = False,
    ) -> dict[str, Floats]:
        """So many patients for a condition, whatever the engine says of them. A function of the generator's state.

        Args:
            rng: a numpy generator.
            condition: its id.
            count: N.
            difficulty: facts are not taken out here: that is `patient`'s, as it hangs on the diagnosis.
            beside: a second condition that they are to have.
            whole: everything is known: no finding is left unasked, and nothing unmeasured.

        Returns:
            A column for each fact that is known of anybody, float64 (N,), NaN where it is unknown.
        """
        one = self.presentation(condition) if beside is None else self.presentation(condition, beside)
        facts = _person(rng, one, count)
        own_FN, there_FN, known_FN = self._found(rng, one, facts, difficulty)
        measured: Sequence[Analyte] = one.measured
        everything = [*self.library.analytes.values()]
        if whole:
            known_FN[:], measured = True, everything
        elif difficulty is Difficulty.DISTRACTORS:
            panels = {self.panels[place] for place in rng.choice(len(self.panels), PANELS, replace=False)}
            measured = [analyte for analyte in everything if analyte in one.measured or analyte.panel in panels]
        self._values(rng, one, measured, facts, own_FN)
        self._decided(facts, there_FN, known_FN)
        return facts

    def patient(
        self,
        rng: np.random.Generator,
        condition: str,
        accept: Callable[[dict[str, float]], bool],
        difficulty: Difficulty = Difficulty.TYPICAL,
    ) -> dict[str, float] | None:
        """One patient whom the engine diagnoses so, and whom `accept` takes; None where many draws give none."""
        if difficulty is Difficulty.ATYPICAL and not self.presentation(condition).characteristic:
            return None
        others = self.others(condition) if difficulty is Difficulty.COMORBID else []
        if difficulty is Difficulty.COMORBID and not others:
            return None
        usual = difficulty not in (Difficulty.ATYPICAL, Difficulty.COMORBID)
        for _ in range(DRAWS if usual else UNUSUAL_DRAWS):
            beside = others[int(rng.integers(len(others)))] if others else None
            drawn = self.draw(rng, condition, BATCH, difficulty, beside)
            for place in np.flatnonzero(drawn.kept_N):
                known: dict[str, float] | None = drawn.patient(int(place))
                if difficulty is Difficulty.MISSING:
                    [known] = self.less(rng, [drawn.patient(int(place))])
                if known is not None and accept(known):
                    return known
        return None

    def presentation(self, *conditions: str) -> Presentation:
        """How patients with these conditions present."""
        if conditions not in self._presentations:
            self._presentations[conditions] = self._presentation([self.library.conditions[one] for one in conditions])
        return self._presentations[conditions]

    def atypical(self, facts: Mapping[str, float], condition: str) -> bool:
        """Whether a patient lacks something that is characteristic of a condition. Training patients never do."""
        names = [*self.place]
        return any(facts.get(names[place]) == 0.0 for place in self.presentation(condition).characteristic)

    def _presentation(self, ones: Sequence[Condition]) -> Presentation:
        known, first = self.library, ones[0]
        absent_F, named_F = np.ones(len(self.place)), np.zeros(len(self.place), np.bool_)
        labs: dict[str, Range] = {}
        names = known.grounds(frozenset().union(*(self._looked_at.get(one.id, set()) for one in ones)))
        for one in ones:
            labs = {**one.labs, **labs}
            for name, share in one.presents.items():
                if name not in PERSON:
                    absent_F[self.place[name]] *= 1 - share
                    named_F[self.place[name]] = True
        shares_F = np.where(named_F, 1 - absent_F, self.background_F)
        settled = {reading.record.id for reading in known.readings if settles(reading, labs)}
        characteristic = [
            self.place[name]
            for name, share in first.presents.items()
            if name not in PERSON and share >= CHARACTERISTIC and name not in settled
        ]
        shares_F[characteristic] = 1.0
        taken = any(known.analytes[name].panel == VITALS for name in labs if name in known.analytes)
        measured = [
            one
            for one in known.analytes.values()
            if one.id in names or one.id in labs or (taken and one.panel == VITALS)
        ]
        fitted = [
            (reading, self.place[reading.record.id])
            for reading in known.readings
            if named_F[self.place[reading.record.id]] and not set(reading.record.labs) <= set(labs)
        ]
        female = next((one.presents[FEMALE] for one in ones if FEMALE in one.presents), 0.5)
        sexes = {one.sex for one in ones} - {Sex.ANY}
        return Presentation(
            age=(max(one.age[0] for one in ones), min(one.age[1] for one in ones)),
            female=1.0 if Sex.FEMALE in sexes else 0.0 if Sex.MALE in sexes else female,
            pregnant=max(one.presents.get(PREGNANT, 0.0) for one in ones),
            share_F=shares_F,
            relevant_F=named_F | np.array([name in names for name in self.place]),
            named_F=named_F,
            characteristic=tuple(characteristic),
            labs=labs,
            measured=tuple(measured),
            fitted=tuple(fitted),
        )

    def others(self, condition: str) -> list[str]:
        """Conditions that a patient may have beside one: neither explains the other, nor is a kind of it."""
        known, one = self.library, self.library.conditions[condition]
        place, falls_C = self.engine.ids.index(condition), self.engine.falls_C
        return [
            other.id
            for number, other in enumerate(known.conditions.values())
            if number != place
            and number not in falls_C[place]
            and place not in falls_C[number]
            and max(one.age[0], other.age[0]) < min(one.age[1], other.age[1])
            and {one.sex, other.sex} != {Sex.FEMALE, Sex.MALE}
        ]

    def _found(
        self, rng: np.random.Generator, one: Presentation, facts: Mapping[str, Floats], difficulty: Difficulty
    ) -> tuple[Bools, Bools, Bools]:
        """Findings: who has each of themselves, who has it at all, and of whom it is known."""
        count, share_F, asked = len(facts[AGE]), one.share_F, ASKED
        if difficulty is Difficulty.DISTRACTORS:
            share_F = np.where(one.relevant_F, share_F, DISTRACTED * share_F)
            asked = DISTRACTED * ASKED
        possible_FN = self.possible(facts)
        own_FN = (rng.random((len(share_F), count)) < share_F[:, None]) & possible_FN
        if difficulty is Difficulty.ATYPICAL:
            self._without(own_FN, rng.choice(one.characteristic, count))
        there_FN = own_FN.copy()
        for place, others in self.implied:
            there_FN[others] |= own_FN[place]
        asked_FN = (rng.random(own_FN.shape) < asked) & possible_FN  # absent, and written down all the same
        return own_FN, there_FN, there_FN | asked_FN | one.relevant_F[:, None]

    def possible(self, person: Mapping[str, Floats]) -> Bools:
        """Who could have which finding, (F, N), of age and sex; what is unknown forbids nothing."""
        possible_FN = ~((person[AGE] < self.ages_F2[:, :1]) | (person[AGE] > self.ages_F2[:, 1:]))
        for number, sex in enumerate(Sex):
            if sex is not Sex.ANY:
                possible_FN &= (self.sexes_F != number)[:, None] | (person[str(sex)] != 0.0)
        return possible_FN

    def _without(self, own_FN: Bools, lacking_N: NDArray[np.int64]) -> None:
        """Take one finding from each patient, and whatever it follows from."""
        own_FN[lacking_N, np.arange(len(lacking_N))] = False
        for place, others in self.implied:
            own_FN[place] &= ~np.isin(lacking_N, others)

    def _values(
        self,
        rng: np.random.Generator,
        one: Presentation,
        measured: Sequence[Analyte],
        facts: dict[str, Floats],
        own_FN: Bools,
    ) -> None:
        count = len(facts[AGE])
        for analyte in measured:
            if analyte.id in one.labs:
                values_N = between(rng, one.labs[analyte.id], count)
            else:
                low_N, high_N = _reference(self.library, analyte.id, facts)
                values_N = (low_N + high_N) / 2 + rng.standard_normal(count) * (high_N - low_N) / SPREAD
                values_N = np.clip(values_N, low_N, high_N)
                for reading, place in one.fitted:
                    if ends := reading.record.labs.get(analyte.id):
                        values_N = np.where(own_FN[place], rng.uniform(*ends, count), values_N)
            facts[analyte.id] = values_N.astype(np.float64)
        agree(facts, one.labs)
        for analyte in measured:
            held_N = np.clip(facts[analyte.id], *analyte.limits)
            facts[analyte.id] = np.round(held_N, analyte.decimals).astype(np.float64)
        if WEEKS in facts:
            facts[WEEKS] = np.where(facts[PREGNANT] == 1.0, facts[WEEKS], np.nan)
        for name in BODY[1:]:
            if name in one.labs:
                facts[name] = np.round(between(rng, one.labs[name], count))

    def _decided(self, facts: dict[str, Floats], there_FN: Bools, known_FN: Bools) -> None:
        """Write the findings down: as the values say, and as they were drawn where these say nothing."""
        columns = self.library.columns({**facts, **self._written(there_FN, known_FN)}, there_FN.shape[1])
        for reading in self.library.readings:
            place = self.place[reading.record.id]
            truth = reading(columns)
            there_FN[place] = (there_FN[place] | truth.yes) & ~truth.no
            for other, implied in self.implied:
                if place in implied:
                    there_FN[other] &= ~truth.no
                if place == other:
                    there_FN[implied] |= truth.yes
        for place, others in self.implied:
            known_FN[others] |= there_FN[place] & known_FN[place]
        facts.update(self._written(there_FN, known_FN))

    def _written(self, there_FN: Bools, known_FN: Bools) -> dict[str, Floats]:
        written_FN = np.where(known_FN, there_FN.astype(np.float64), np.nan)
        return {
            name: written
            for name, written, known in zip(self.place, written_FN, np.logical_or.reduce(known_FN, axis=1), strict=True)
            if known
        }

    def less(self, rng: np.random.Generator, patients: Sequence[dict[str, float]]) -> list[dict[str, float] | None]:
        """The same patients, of whom less is known; None where the diagnosis does not stand then."""
        found = self.engine.diagnose(patients)
        fewer = []
        for facts, one in zip(patients, found, strict=True):
            needed = {*PERSON, AGE, *(one.primary.facts if one.primary is not None else ())}
            fewer.append({name: value for name, value in facts.items() if name in needed or rng.random() >= MISSING})
        said = self.engine.conditions(fewer)
        return [
            facts if condition == one.condition else None
            for facts, one, condition in zip(fewer, found, said, strict=True)
        ]


def settles(reading: Reading, labs: Mapping[str, Range]) -> bool:
    """Whether a condition sets values that say whether a finding is there."""
    names = reading.when.names if reading.unless is None else reading.when.names | reading.unless.names
    return not names.isdisjoint(labs)


def logarithmic(ends: Range) -> bool:
    """Whether values between these ends spread over orders of magnitude."""
    return ends[0] > 0 and ends[1] / ends[0] > 3


def between(rng: np.random.Generator, ends: tuple[float, float], count: int) -> Floats:
    """Values of which 90% lie between the ends; on a logarithmic scale where these are far apart."""
    low, high = ends
    log = logarithmic(ends)
    if log:
        low, high = np.log(low), np.log(high)
    values_N: Floats = (low + high) / 2 + rng.standard_normal(count) * (high - low) / (2 * Z95)
    return np.exp(values_N) if log else values_N


def _person(rng: np.random.Generator, one: Presentation, count: int) -> dict[str, Floats]:
    age_N = np.floor(rng.uniform(one.age[0], one.age[1] + 1, count))
    female_N = rng.random(count) < one.female
    pregnant_N = female_N & (rng.random(count) < one.pregnant)
    return {
        AGE: np.clip(age_N, *one.age),
        FEMALE: female_N.astype(np.float64),
        MALE: 1.0 - female_N,
        PREGNANT: pregnant_N.astype(np.float64),
    }


def _reference(library: Library, name: str, facts: Mapping[str, Floats]) -> tuple[Floats, Floats]:
    women, men = (library.analytes[name].interval(female) for female in (True, False))
    low_N, high_N = (np.where(facts[FEMALE] == 1.0, *ends) for ends in zip(women, men, strict=True))
    return low_N, high_N
