"""Draws patients: who they are, what is found, what is measured; the engine says what they have.

A patient is drawn for a condition, and kept where the engine agrees. How often a condition shows a finding, and where
its values lie, are design constants of the knowledge files: these are no epidemiological data. A finding that a
measured value decides (`knowledge/measured.toml`) is as the value says. A test that would make a diagnosis definite,
and is not positive in a patient whose diagnosis stands without it, was not done: it is unknown, but of whole patients.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Generator as Steps
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from azr_gym.clinical.case import closed
from azr_gym.clinical.criteria import Bools, Floats
from azr_gym.clinical.engine import Diagnosis, Engine
from azr_gym.clinical.latent import LINKS, agree, moves
from azr_gym.clinical.library import (
    AGE,
    BODY,
    FEMALE,
    MALE,
    PERSON,
    PREGNANT,
    Certainty,
    Condition,
    Kind,
    Range,
    Reading,
    Sex,
)
from azr_gym.clinical.records import HEIGHT, WEIGHT

T = TypeVar("T")
BATCH, DRAWS = 16, 40  # patients drawn at once for one, and how often
UNUSUAL_DRAWS = 3  # the same, where many a condition can not be had so
Z95 = 1.6449  # standard deviations from the median to the 95th percentile of a normal distribution
ASKED = 0.003  # share of the findings with a background that are looked for without a bearing, and written down
SPEECHLESS = ("coma", "pulselessness")  # findings of people who tell nothing
SPREAD = 4.0  # standard deviations that a reference interval of 95% is wide, nearly
DONE = (Kind.IMAGING, Kind.TEST)  # findings that somebody has to order
WEEKS = "gestational_weeks"  # the one value that only some have
TALLER = 6.35  # cm of men above the middle of both sexes, and of women below it: a design constant
CHARACTERISTIC = 0.9  # a finding of so many of a condition's patients is one that the typical patient has
DISTRACTED = 3.0  # times as common are findings without a bearing on the condition, where they are to distract
PANELS = 3  # of normal values, that are measured to distract
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
class Laws:
    """How the values are distributed that a condition sets: normally, or their logarithm is. A analytes.

    Attributes:
        set_A: which are set.
        middle_A, spread_A: the median, and one standard deviation; 0 of the others.
        log_A: whether these are logarithms.
        links: places of a value and of what it goes with, and how closely: see `latent.linked`.
    """

    set_A: Bools
    middle_A: Floats
    spread_A: Floats
    log_A: Bools
    links: tuple[tuple[int, int, float], ...]


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
        deciding_F: whether it is a test that was not done where it is not positive: see `Generator.deciding`.
        characteristic: places of the findings that the typical patient has, but for such tests.
        labs: where 90% of the values lie of what the conditions set.
        measured: places of what is measured, among the library's analytes.
        fitted: what values are drawn to fit findings, where no condition sets them: readings with their place. Those of
            findings that a condition names, and of drugs that are taken.
        laws: how what the conditions set is distributed.
    """

    age: Range
    female: float
    pregnant: float
    share_F: Floats
    relevant_F: Bools
    named_F: Bools
    deciding_F: Bools
    characteristic: tuple[int, ...]
    labs: Mapping[str, Range]
    measured: tuple[int, ...]
    fitted: tuple[tuple[Reading, int], ...]
    laws: Laws


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
        return known(self.facts, place)


Found = tuple[dict[str, float], Diagnosis]  # a patient, and what the engine says
Search = Steps[list[dict[str, float]], list[Diagnosis], T]  # asks about patients, and is told; T in the end


def together(engine: Engine, searches: Sequence[Search[T]]) -> list[T]:
    """Carry searches out side by side, with one call of the engine for what all of them ask at a time."""
    found, answers = dict[int, T](), dict[int, list[Diagnosis] | None](dict.fromkeys(range(len(searches))))
    while answers:
        asked = dict[int, list[dict[str, float]]]()
        for place, answer in answers.items():
            try:
                asked[place] = searches[place].send(answer)  # type: ignore[arg-type]  # None begins
            except StopIteration as end:
                found[place] = end.value
        said = iter(engine.diagnose([one for patients in asked.values() for one in patients]) if asked else ())
        answers = {place: [next(said) for _ in patients] for place, patients in asked.items()}
    return [found[place] for place in range(len(searches))]


class Generator:
    """Draws patients of one condition at a time.

    Args:
        engine: that labels them.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine, self.library = engine, engine.library
        findings = [*self.library.findings.values()]
        self.ids, self.place = [one.id for one in findings], {one.id: place for place, one in enumerate(findings)}
        self.background_F = np.array([one.background for one in findings])
        self.asked_F = np.where(self.background_F > 0, ASKED, 0.0)
        self.told_F = np.array([one.kind is Kind.SYMPTOM for one in findings])
        self.speechless = np.array([self.place[name] for name in SPEECHLESS if name in self.place], np.intp)
        self.ages_F2 = np.array(
            [[max(one.age[0], one.usual_age[0]), min(one.age[1], one.usual_age[1])] for one in findings]
        )
        self.sexes_F = np.array([[*Sex].index(one.sex) for one in findings])
        implied = [(self.place[one.id], [self.place[name] for name in one.implies]) for one in findings]
        self.implied = {place: others for place, others in implied if others}
        self.analytes = [*self.library.analytes.values()]
        self.limits_A2 = np.array([one.limits for one in self.analytes], np.float64)
        self.scale_A = 10.0 ** np.array([one.decimals for one in self.analytes])
        self.starts = sorted({start for one in self.analytes for start in one.starts})  # of ages, years
        ends_AW2 = np.array(  # where values lie that no condition sets: of men and of women from each of the ages on
            [[one.usual(sex, age) for age in self.starts for sex in (False, True)] for one in self.analytes]
        )
        self.low_AW, self.high_AW = np.moveaxis(ends_AW2, -1, 0).copy()
        self.readings = [self._hangs(reading) for reading in self.library.readings]
        read = {self.place[name] for _, _, names, _, _ in self.readings for name in names}
        self.read = np.array(sorted(read), np.intp)  # the findings that these look at
        self._looked_at: dict[str, set[str]] = {}
        for check in self.engine.checks:
            self._looked_at.setdefault(check.condition.id, set()).update(check.criterion.names)
        self.panels, self.panel_shares = self._usual_panels()
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
            whole: everything is known: no finding is left unasked, and nothing unmeasured that belongs to a panel.

        Returns:
            A column for each fact that is known of anybody, float64 (N,), NaN where it is unknown.
        """
        one = self.presentation(condition) if beside is None else self.presentation(condition, beside)
        facts = people(rng, one, count)
        own_FN, there_FN, known_FN = self._found(rng, one, facts, difficulty)
        measured: Sequence[int] = one.measured
        if whole:
            known_FN[:] = True
            measured = sorted({*one.measured, *(place for place, one in enumerate(self.analytes) if one.panel)})
        elif difficulty is Difficulty.DISTRACTORS:
            panels = rng.choice(self.panels, min(PANELS, len(self.panels)), replace=False, p=self.panel_shares)
            more = (place for place, analyte in enumerate(self.analytes) if analyte.panel in panels)
            measured = sorted({*one.measured, *more})
        self.measure(rng, one, measured, facts, own_FN)
        self._decided(facts, there_FN, known_FN, self.told_F & ~one.relevant_F & (not whole))
        return facts

    def patient(
        self,
        rng: np.random.Generator,
        condition: str,
        accept: Callable[[dict[str, float]], bool],
        difficulty: Difficulty = Difficulty.TYPICAL,
    ) -> dict[str, float] | None:
        """One patient whom the engine diagnoses so, and whom `accept` takes; None where many draws give none."""
        [found] = together(self.engine, [self.search(rng, condition, accept, difficulty)])
        return found[0] if found is not None else None

    def search(
        self,
        rng: np.random.Generator,
        condition: str,
        accept: Callable[[dict[str, float]], bool],
        difficulty: Difficulty = Difficulty.TYPICAL,
    ) -> Search[Found | None]:
        """The same, for `together`: asks about the likely patient first, and then about the others of a draw."""
        if difficulty is Difficulty.ATYPICAL and not self.presentation(condition).characteristic:
            return None
        others = self.others(condition) if difficulty is Difficulty.COMORBID else []
        if difficulty is Difficulty.COMORBID and not others:
            return None
        usual, less = difficulty not in (Difficulty.ATYPICAL, Difficulty.COMORBID), difficulty is Difficulty.MISSING
        for _ in range(DRAWS if usual else UNUSUAL_DRAWS):
            beside = others[int(rng.integers(len(others)))] if others else None
            facts = self.sample(rng, condition, BATCH, difficulty, beside)
            drawn = (one for one in (known(facts, place) for place in range(BATCH)) if less or accept(one))
            while some := [*itertools.islice(drawn, 1 if usual else BATCH)]:
                usual = False
                for one, found in zip(some, (yield some), strict=True):
                    if found.condition != condition or (beside and beside not in found.conditions):
                        continue
                    if not less:
                        return one, found
                    fewer = self._fewer(rng, one, found)
                    if accept(fewer):
                        [again] = yield [fewer]
                        if again.condition == condition:
                            return fewer, again
        return None

    def presentation(self, *conditions: str) -> Presentation:
        """How patients with these conditions present."""
        if conditions not in self._presentations:
            self._presentations[conditions] = self._presentation([self.library.conditions[one] for one in conditions])
        return self._presentations[conditions]

    def atypical(self, facts: Mapping[str, float], condition: str) -> bool:
        """Whether a patient lacks something that is characteristic of a condition. Training patients never do."""
        return any(facts.get(self.ids[place]) == 0.0 for place in self.presentation(condition).characteristic)

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
        deciding = frozenset[str]().union(*(self.deciding(one) for one in ones))
        taken = any(known.analytes[name].panel == VITALS for name in labs if name in known.analytes)
        measured = [
            place
            for place, one in enumerate(self.analytes)
            if one.id in names or one.id in labs or (taken and one.panel == VITALS)
        ]
        fitted = [
            (reading, self.place[reading.record.id])
            for reading in known.readings
            if not set(reading.record.labs) <= set(labs)
            and (
                named_F[self.place[reading.record.id]]
                or any(known.analytes[name].exogenous for name in reading.record.labs)
            )
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
            deciding_F=np.array([name in deciding for name in self.place]),
            characteristic=tuple(place for place in characteristic if self.ids[place] not in deciding),
            labs=labs,
            measured=tuple(measured),
            fitted=tuple(fitted),
            laws=self._laws(labs),
        )

    def deciding(self, one: Condition) -> frozenset[str]:
        """The images and tests of a condition that make it definite and that it does without: where one is not positive
        in a patient who has it, it was not done. Its definite rules look at them and its other rules do not, and no
        value decides them."""
        names: dict[bool, frozenset[str]] = {}
        for check in self.engine.checks:
            if check.condition.id == one.id:
                sure = check.rule.certainty is Certainty.DEFINITE
                names[sure] = names.get(sure, frozenset()) | self.library.grounds(check.criterion.names)
        if len(names) < 2:
            return frozenset()
        valued = {reading.record.id for reading in self.library.readings}
        return frozenset(
            name
            for name in names[True] - names[False] - valued
            if one.presents.get(name) and self.library.findings[name].kind in DONE
        )

    def _usual_panels(self) -> tuple[list[str], Floats]:
        """Panels that may be measured to distract, and how often: as conditions look at them. None has a drug level."""
        often = Counter[str]()
        for one in self.library.conditions.values():
            names = self.library.grounds({*self._looked_at.get(one.id, ()), *one.labs})
            often.update({analyte.panel for analyte in self.analytes if analyte.id in names})
        for analyte in self.analytes:
            if analyte.exogenous or not analyte.panel:
                del often[analyte.panel]
        panels = sorted(often)
        return panels, np.array([often[one] for one in panels]) / often.total()

    def _laws(self, labs: Mapping[str, Range]) -> Laws:
        where = {analyte.id: place for place, analyte in enumerate(self.analytes)}
        links = tuple(
            (where[name], where[other], closely)
            for name, (other, closely) in LINKS.items()
            if name in labs and other in labs
        )
        set_A, log_A = np.zeros((2, len(self.analytes)), np.bool_)
        middle_A, spread_A = np.zeros((2, len(self.analytes)))
        for place, analyte in enumerate(self.analytes):
            if analyte.id in labs:
                set_A[place] = True
                middle_A[place], spread_A[place], log_A[place] = law(labs[analyte.id])
        return Laws(set_A, middle_A, spread_A, log_A, links)

    def _hangs(self, reading: Reading) -> tuple[Reading, frozenset[str], list[str], int, list[int]]:
        """A reading with the values that it hangs on, the findings that it looks at, its place, and what implies it."""
        names = reading.when.names | (reading.unless.names if reading.unless is not None else frozenset())
        values = self.library.grounds(names) & {*self.library.analytes, *BODY[1:], PREGNANT}
        place = self.place[reading.record.id]
        return (
            reading,
            values,
            sorted(names & {*self.place}),
            place,
            [other for other, implied in self.implied.items() if place in implied],
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
        count, share_F, asked_F = len(facts[AGE]), one.share_F, self.asked_F
        if difficulty is Difficulty.DISTRACTORS:
            share_F = np.where(one.relevant_F, share_F, DISTRACTED * share_F)
            asked_F = DISTRACTED * asked_F
        possible_FN = self.possible(facts)
        own_FN = (rng.random((len(share_F), count)) < share_F[:, None]) & possible_FN
        if difficulty is Difficulty.ATYPICAL:
            self._without(own_FN, rng.choice(one.characteristic, count))
        there_FN = own_FN.copy()
        for place in np.flatnonzero(own_FN.any(1)).tolist():
            if place in self.implied:
                there_FN[self.implied[place]] |= own_FN[place]
        asked_FN = (rng.random(own_FN.shape) < asked_F[:, None]) & possible_FN  # absent, and written down all the same
        return own_FN, there_FN, there_FN | ((asked_FN | one.relevant_F[:, None]) & ~one.deciding_F[:, None])

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
        for place, others in self.implied.items():
            own_FN[place] &= ~np.isin(lacking_N, others)

    def measure(
        self,
        rng: np.random.Generator,
        one: Presentation,
        measured: Sequence[int],
        facts: dict[str, Floats],
        own_FN: Bools,
    ) -> None:
        """Add columns of values to `facts`, in place: rounded, within their limits, in agreement with each other."""
        places, laws, female_N = [*measured], one.laws, (facts[FEMALE] == 1.0).astype(np.int64)
        who_N = 2 * (np.searchsorted(self.starts, facts[AGE], "right") - 1) + female_N
        low_MN, high_MN = self.low_AW[places][:, who_N], self.high_AW[places][:, who_N]
        normal_MN, set_M = rng.standard_normal(low_MN.shape), laws.set_A[places]
        for place, other, closely in laws.links:
            if place in places and other in places:
                row, its = places.index(place), places.index(other)
                normal_MN[row] = closely * normal_MN[its] + np.sqrt(1 - closely**2) * normal_MN[row]
        values_MN = np.clip((low_MN + high_MN) / 2 + normal_MN * (high_MN - low_MN) / SPREAD, low_MN, high_MN)
        values_MN[set_M] = (laws.middle_A[places, None] + normal_MN * laws.spread_A[places, None])[set_M]
        log_M = laws.log_A[places]
        values_MN[log_M] = np.exp(values_MN[log_M])
        facts.update(zip((self.analytes[place].id for place in places), values_MN, strict=True))
        for reading, place in one.fitted:
            if own_FN[place].any():
                for name, ends in reading.record.labs.items():
                    if name in facts and name not in one.labs and not moves(name, one.labs):
                        facts[name] = np.where(own_FN[place], rng.uniform(*ends, own_FN.shape[1]), facts[name])
        agree(facts, one.labs)
        places = [place for place, analyte in enumerate(self.analytes) if analyte.id in facts]
        names, scale_M1 = [self.analytes[place].id for place in places], self.scale_A[places, None]
        values_MN = np.array([facts[name] for name in names])
        values_MN = np.clip(values_MN, self.limits_A2[places, :1], self.limits_A2[places, 1:])
        facts.update(zip(names, np.round(values_MN * scale_M1) / scale_M1, strict=True))
        if WEEKS in facts:
            facts[WEEKS] = np.where(facts[PREGNANT] == 1.0, facts[WEEKS], np.nan)
        self._body(rng, one, facts)

    def _body(self, rng: np.random.Generator, one: Presentation, facts: dict[str, Floats]) -> None:
        """Add height and weight where a condition sets them: men are taller, and the taller of either sex heavier, so
        that the body mass index is as if all had the height in the middle."""
        tall_N = np.ones(len(facts[AGE]))
        for name in (HEIGHT, WEIGHT):
            if name in one.labs:
                body_N = between(rng, one.labs[name], len(tall_N)) * tall_N
                if name == HEIGHT:
                    body_N += np.where(facts[FEMALE] == 1.0, -TALLER, TALLER)
                    tall_N = (body_N / law(one.labs[name])[0]) ** 2
                facts[name] = np.round(body_N)

    def _decided(self, facts: dict[str, Floats], there_FN: Bools, known_FN: Bools, told_F: Bools) -> None:
        """Write the findings down: as the values say, and as they were drawn where these say nothing.

        Some, `told_F`, are unknown of who can tell nothing, but for what follows from others.
        """
        read = self._written(there_FN, known_FN, self.read)
        columns = self.library.columns({**facts, **read}, there_FN.shape[1])
        for reading, values, names, place, implying in self.readings:
            if values.isdisjoint(facts) and read.keys().isdisjoint(names):
                continue
            truth = reading(columns)
            there_FN[place] = (there_FN[place] | truth.yes) & ~truth.no
            if implying:
                there_FN[implying] &= ~truth.no
            if place in self.implied:
                there_FN[self.implied[place]] |= truth.yes
        known_FN &= ~(told_F[:, None] & there_FN[self.speechless].any(0))
        for place in np.flatnonzero(there_FN.any(1)).tolist():
            if place in self.implied:
                known_FN[self.implied[place]] |= there_FN[place] & known_FN[place]
        facts.update(self._written(there_FN, known_FN, np.arange(len(self.ids))))

    def _written(self, there_FN: Bools, known_FN: Bools, places: NDArray[np.intp]) -> dict[str, Floats]:
        """Columns of the findings, of some, that are known of anybody: NaN where one is unknown."""
        chosen = places[known_FN[places].any(1)]
        written_PN = np.where(known_FN[chosen], there_FN[chosen], np.nan)
        return dict(zip((self.ids[place] for place in chosen.tolist()), written_PN, strict=True))

    def less(self, rng: np.random.Generator, patients: Sequence[dict[str, float]]) -> list[dict[str, float] | None]:
        """The same patients, of whom less is known; None where the diagnosis does not stand then."""
        found = self.engine.diagnose(patients)
        fewer = [self._fewer(rng, facts, one) for facts, one in zip(patients, found, strict=True)]
        said = self.engine.conditions(fewer)
        return [
            facts if condition == one.condition else None
            for facts, one, condition in zip(fewer, found, said, strict=True)
        ]

    def _fewer(self, rng: np.random.Generator, facts: Mapping[str, float], found: Diagnosis) -> dict[str, float]:
        """A patient without much that the diagnosis does not need; what follows from a finding is known with it."""
        needed = {*PERSON, AGE, *(found.primary.facts if found.primary is not None else ())}
        left = {name: value for name, value in facts.items() if name in needed or rng.random() >= MISSING}
        return closed(left, self.library)


def known(facts: Mapping[str, Floats], place: int) -> dict[str, float]:
    """What is known of one of some patients."""
    values = ((name, float(column[place])) for name, column in facts.items())
    return {name: value for name, value in values if value == value}


def settles(reading: Reading, labs: Mapping[str, Range]) -> bool:
    """Whether a condition sets values that say whether a finding is there."""
    names = reading.when.names if reading.unless is None else reading.when.names | reading.unless.names
    return not names.isdisjoint(labs)


def logarithmic(ends: Range) -> bool:
    """Whether values between these ends spread over orders of magnitude."""
    return ends[0] > 0 and ends[1] / ends[0] > 3


def law(ends: Range) -> tuple[float, float, bool]:
    """The median and a standard deviation of values of which 90% lie between the ends, and whether of the logarithm."""
    log = logarithmic(ends)
    low, high = (np.log(ends[0]), np.log(ends[1])) if log else ends
    return float(low + high) / 2, float(high - low) / (2 * Z95), log


def between(rng: np.random.Generator, ends: Range, count: int) -> Floats:
    """Values of which 90% lie between the ends; on a logarithmic scale where these are far apart."""
    middle, spread, log = law(ends)
    values_N: Floats = middle + rng.standard_normal(count) * spread
    return np.exp(values_N) if log else values_N


def people(rng: np.random.Generator, one: Presentation, count: int) -> dict[str, Floats]:
    """Who they are: age, sex and pregnancy."""
    age_N = np.floor(rng.uniform(one.age[0], one.age[1] + 1, count))
    female_N = rng.random(count) < one.female
    pregnant_N = female_N & (rng.random(count) < one.pregnant)
    return {
        AGE: np.clip(age_N, *one.age),
        FEMALE: female_N.astype(np.float64),
        MALE: 1.0 - female_N,
        PREGNANT: pregnant_N.astype(np.float64),
    }
