"""How probable each condition is, given what is known of patients: by enumeration, under the generator's own model.

The model is that of `generate.Generator.sample`: priors by tier, age and sex; findings that are there or not
independently of each other, or follow from another one; values that are drawn, fitted to a finding, or computed from
others. Where all is known it is exact, but for what is said here:

- The engine's acceptance of a patient is left out, and so is why something is unknown: that a deciding test which is
  not positive is told of no patient of its condition.
- Two findings that are there, and may both follow from a third of which nothing is known, count as independent.
- A finding that values decide counts, where these are unknown, as often as drawn patients of the condition have it
  (where such patients need not be measured, its own share is half of that); several that one value decides count as
  independent. One that is not of every age and sex is possible, and never sure, where these are unknown.
- A value that follows from others counts, where any of these is unknown, as its own and as drawn patients have it, in
  equal parts: a patient of whom the others are not even measured has its own. What is given of the others is not used.
- Calcium and chloride, which others move, count so where these are known (lactate, ketones and creatinine, where the
  condition sets them), and else as values that follow; likewise ionised calcium, and the diastolic pressure of
  conditions that set the systolic alone.
- Values whose reference interval differs by age count as independent of each other where the age is unknown.
- What goes with another value (`latent.linked`) counts by the nearest of these that is known, as it is written down.
- Of pH, pCO2 and bicarbonate, where all are known, the two count that are drawn; rounding blurs what follows.
- A computed value counts 1 where it follows from the others but for rounding, and else one in a million. Total protein,
  bilirubin, HDL, and lymphocytes that a condition sets, which are only held to their bounds by others, count as drawn.
  Weight and height do not count.

So what a condition's patients can have never counts as impossible for it, however little is known of them.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from azr_gym.clinical.criteria import Bools, Floats
from azr_gym.clinical.generate import SPREAD, WEEKS, Z95, Generator, Presentation, law, logarithmic, people
from azr_gym.clinical.latent import (
    ALLOWANCE,
    ANIONS,
    BICARBONATES,
    ENDS,
    FOLLOWS,
    GAS,
    HELD,
    MOVED,
    USUAL_PACO2,
    USUAL_PH,
    breath_alone,
    calcium_of_albumin,
    drawn_gas,
    expected_paco2,
    expected_ph,
    linked,
    moves,
)
from azr_gym.clinical.library import AGE, FEMALE, MALE, OLDEST, PREGNANT, Analyte, Range, Sex
from azr_gym.clinical.room import WEIGHTS
from azr_gym.errors import BadArgument

NEVER = -1e6  # the logarithm of 0, which sums and products bear
MISFIT = math.log(1e-6)  # of a value that does not follow from the others
DRAWS = 400  # patients that are counted, where a law has no formula
SMOOTH = 0.2  # standard deviations: as near as that, drawn values count for one
LEAST = 1e-3  # of such laws is even: nothing that was not drawn is impossible
HANGS_ON = {name: frozenset(needs) for name, needs, _ in FOLLOWS} | {
    "neutrophil_percent": frozenset(["neutrophils"]),
    "lymphocyte_percent": frozenset(["neutrophil_percent", "eosinophil_percent", "neutrophils"]),
    **{name: frozenset([*needs, *others]) for name, (needs, others) in MOVED.items()},
    "chloride": frozenset([*MOVED["chloride"][0], *MOVED["chloride"][1], *GAS, *BICARBONATES]),
    **{name: frozenset([*GAS, *BICARBONATES]) for name in (*GAS, *BICARBONATES, "base_excess")},
}
IF_SET = (*HELD, "diastolic_bp")  # hang on others only where the condition sets these

_tail = np.frompyfunc(lambda z: 0.5 * math.erfc(z / math.sqrt(2)), 1, 1)  # of the normal distribution, above z


class Posterior:
    """The posterior of conditions.

    Args:
        generator: whose patients these could be.
        conditions: ids of those that are possible; none named: all.

    Attributes:
        conditions: the ids, in the order of the columns of the result.

    Raises:
        BadArgument: an id of no condition.
    """

    def __init__(self, generator: Generator, conditions: Sequence[str] = ()) -> None:
        known = generator.library
        if unknown := sorted(set(conditions) - set(known.conditions)):
            raise BadArgument(f"{unknown[0]!r} is no condition of the library")
        self.generator, self.library = generator, known
        self.conditions = tuple(conditions or known.conditions)
        self.forms = [generator.presentation(one) for one in self.conditions]
        tiers_C = np.array([WEIGHTS[known.conditions[one].tier] for one in self.conditions])
        self.prior_C = np.log(tiers_C / tiers_C.sum())
        self.share_CF = np.array([one.share_F for one in self.forms])
        self.implying: dict[int, list[int]] = {}
        for place, others in generator.implied.items():
            for other in others:
                self.implying.setdefault(other, []).append(place)
        ages_F2, sexes_F = generator.ages_F2, generator.sexes_F  # not everybody can have such findings
        self.limited_F = (ages_F2[:, 0] > 0) | (ages_F2[:, 1] < OLDEST) | (sexes_F != [*Sex].index(Sex.ANY))
        self.given = {name: np.array([name in one.labs for one in self.forms]) for name in known.analytes}
        self.alike = {name: self._alike(name) for name in known.analytes}
        self._drawn: dict[object, Floats] = {}

    def __call__(self, facts: Mapping[str, Floats]) -> Floats:
        """The probability of each condition.

        Args:
            facts: a column for each fact that is known of anybody, float64 (N,), NaN where it is unknown.

        Returns:
            (N, C), rows that sum to 1. Where no condition can have the facts, it is the prior of the conditions.
        """
        count = len(next(iter(facts.values())))
        log_NC = self._who(facts, count) + self._found(facts, count) + self._measured(facts, count)
        log_NC = np.where(log_NC < NEVER / 2, -np.inf, log_NC) + self.prior_C
        lost_N = np.isneginf(log_NC).all(1)
        log_NC[lost_N] = self.prior_C
        share_NC: Floats = np.exp(log_NC - log_NC.max(1, keepdims=True))
        share_NC /= share_NC.sum(1, keepdims=True)
        return share_NC

    def _who(self, facts: Mapping[str, Floats], count: int) -> Floats:
        log_NC = np.zeros((count, len(self.forms)))
        age_N, female_N, pregnant_N = (facts.get(name, np.full(count, np.nan)) for name in (AGE, FEMALE, PREGNANT))
        for place, one in enumerate(self.forms):
            log_NC[:, place] += np.where(np.isnan(age_N), 0, _log(_of_age(age_N, one.age)))
            log_NC[:, place] += _binary(female_N, one.female)
            log_NC[:, place] += _binary(pregnant_N, np.where(female_N == 0.0, 0.0, one.pregnant))
        return log_NC

    def _found(self, facts: Mapping[str, Floats], count: int) -> Floats:
        names = [*self.generator.place]
        there_NF = np.stack([facts.get(name, np.full(count, np.nan)) for name in names], axis=1)
        settled_NF, vague_NF = self._settled(facts, count)
        there_NF[settled_NF] = np.nan
        can_NF = self.generator.possible(self._person(facts, count)).T
        lacks_NF = there_NF == 0.0
        for other, places in self.implying.items():
            lacks_NF[:, places] |= there_NF[:, [other]] == 0.0
        alone_F = np.array([place not in self.implying for place in range(len(names))])
        has_NF = (there_NF == 1.0) & alone_F
        log_NC = self._log(lacks_NF & can_NF, vague_NF, False) + self._log(has_NF & can_NF, vague_NF, True)
        log_NC += (has_NF & ~can_NF).any(1)[:, None] * NEVER
        free_NF = can_NF & ~lacks_NF
        for other, places in self.implying.items():
            rows = np.flatnonzero((there_NF[:, other] == 1.0) & ~(there_NF[:, places] == 1.0).any(1))
            sources = [other, *places]
            log_RC = self._log(free_NF[rows][:, sources], vague_NF[rows][:, sources], False, sources)
            log_NC[rows] += _log(1 - np.exp(log_RC))
        return log_NC

    def _log(self, who_NP: Bools, vague_NP: Bools, there: bool, places: Sequence[int] | None = None) -> Floats:
        """The logarithm of the share of patients who have, or lack, some findings of themselves: by patient, (N, C)."""
        chosen = slice(None) if places is None else [*places]
        log_NC: Floats = np.zeros((len(who_NP), len(self.forms)))
        for part_NP, vague in ((who_NP & ~vague_NP, False), (who_NP & vague_NP, True)):
            if part_NP.any():
                share_CP = (self.vague_shares if vague else self.share_CF)[:, chosen]
                log_NC += part_NP @ _log(share_CP if there else 1 - share_CP).T
        return log_NC

    @functools.cached_property
    def vague_shares(self) -> Floats:
        """The shares where values that decide a finding are unknown: of drawn patients, but for what implies it."""
        share_CF: Floats = np.minimum(self.share_CF, 1 - LEAST)
        rng = np.random.default_rng(0)
        for row_F, condition, form in zip(share_CF, self.conditions, self.forms, strict=True):
            measured = {self.generator.analytes[place].id for place in form.measured}
            facts = self.generator.sample(rng, condition, DRAWS, whole=True)
            for reading, values, _, place, implying in reversed(self.generator.readings):
                lack = np.mean(facts[reading.record.id] != 1.0)
                others = np.prod(1 - row_F[implying])  # nothing that implies it is there
                drawn, own = 1 - lack / max(others, LEAST), row_F[place]
                share = (drawn + own) / 2 if values.isdisjoint(measured) else drawn
                row_F[place] = np.clip(share, LEAST, 1 - LEAST)
        return share_CF

    def _settled(self, facts: Mapping[str, Floats], count: int) -> tuple[Bools, Bools]:
        """Which findings are as a value says, and tell nothing more; and which hang on a value that is unknown."""
        settled_NF = np.zeros((count, len(self.generator.place)), np.bool_)
        person = self._person(facts, count)
        vague_NF = np.isnan(person[AGE] + person[FEMALE])[:, None] & self.limited_F
        columns = self.library.columns(facts, count)
        for reading, values, _, place, _ in self.generator.readings:
            truth = reading(columns)
            settled_NF[:, place] |= truth.yes | truth.no
            for name in values:
                vague_NF[:, place] |= np.isnan(facts[name]) if name in facts else True
            for other, implied in self.generator.implied.items():
                if place in implied:
                    settled_NF[:, other] |= truth.no
                if place == other:
                    settled_NF[:, implied] |= truth.yes[:, None]
        return settled_NF, vague_NF

    def _person(self, facts: Mapping[str, Floats], count: int) -> dict[str, Floats]:
        """Who they are: what is unknown of anybody forbids no finding."""
        unknown_N = np.full(count, np.nan)
        female_N = facts.get(FEMALE, unknown_N)
        return {AGE: facts.get(AGE, unknown_N), FEMALE: female_N, MALE: facts.get(MALE, 1.0 - female_N)}

    def _measured(self, facts: Mapping[str, Floats], count: int) -> Floats:
        log_NC, facts = np.zeros((count, len(self.forms))), _copied(facts)
        can_FN = self.generator.possible(self._person(facts, count))
        computed = {name: (needs, value) for name, needs, value in FOLLOWS if name not in HELD}
        with np.errstate(all="ignore"):
            for name, analyte in self.library.analytes.items():
                if name not in facts or name == WEEKS:
                    continue
                known_N = ~np.isnan(facts[name])
                counts_NC = known_N[:, None] & self._counts(name, facts, count)
                log_N = np.zeros(count)
                for places in self.alike[name]:
                    rows = np.flatnonzero(counts_NC[:, places].any(1))
                    needed = {name, AGE, FEMALE, *HANGS_ON.get(name, ())}
                    needed |= {other for other, _ in linked(name, self.forms[places[0]].labs)}
                    part = {key: column[rows] for key, column in facts.items() if key in needed}
                    log_N[rows] = _log(self._mass(self.forms[places[0]], analyte, part, can_FN[:, rows]))
                    log_NC[:, places] += np.where(counts_NC[:, places], log_N[:, None], 0.0)
                if name in computed and all(need in facts for need in computed[name][0]):
                    wanted_N = computed[name][1](dict(facts))
                    slack_N = np.maximum(0.02 * np.abs(wanted_N), 2.5 * 10.0**-analyte.decimals)
                    astray_N = np.abs(facts[name] - wanted_N) > slack_N
                    log_NC += np.where(~counts_NC & (known_N & astray_N)[:, None], MISFIT, 0.0)
        return log_NC

    def _counts(self, name: str, facts: Mapping[str, Floats], count: int) -> Bools:
        """Where a value was drawn, and not computed from others: by patient and condition."""
        drawn_NC = np.ones((count, len(self.forms)), np.bool_)

        def all_known(names: Sequence[str]) -> Bools:
            columns = [facts.get(one, np.full(count, np.nan)) for one in names]
            known_N: Bools = np.logical_and.reduce(~np.isnan(np.stack(columns)), axis=0)
            return known_N

        if name in (*GAS, *BICARBONATES, "base_excess"):
            gas_N, either = all_known(GAS), _either(facts)
            all_N = gas_N & all_known(either)
            for place, one in enumerate(self.forms):
                first, second = drawn_gas(one.labs)
                own = next((other for other in either if other in one.labs), either[-1])  # the other is its copy
                drawn = (own if first in BICARBONATES else first, second)
                alone = name not in BICARBONATES or name == own
                drawn_NC[:, place] = np.where(all_N, name in drawn, np.where(gas_N, name in GAS, alone))
        if name == "neutrophil_percent":
            counted_C = self.given["neutrophils"] & ~self.given[name]
            drawn_NC &= ~(counted_C & all_known(["neutrophils", "leukocytes"])[:, None])
        for follows, needs, _ in FOLLOWS:
            if follows == name and name not in HELD:
                drawn_NC &= self.given[name] | ~all_known(needs)[:, None]
        return drawn_NC

    def _alike(self, name: str) -> list[list[int]]:
        """Conditions by the distribution of a value, who the patient is aside."""
        groups: dict[object, list[int]] = {}
        for place, one in enumerate(self.forms):
            groups.setdefault(self._law(one, name), []).append(place)
        return [*groups.values()]

    def _law(self, one: Presentation, name: str) -> object:
        """What a value's distribution hangs on, who the patient is aside."""
        if name in one.labs and name not in MOVED:
            return one.labs[name], *((other, closely, one.labs[other]) for other, closely in linked(name, one.labs))
        others = tuple((other, one.labs[other]) for other in sorted(HANGS_ON.get(name, ())) if other in one.labs)
        fits = tuple(
            (place, one.share_F[place], reading.record.labs[name])
            for reading, place in one.fitted
            if name in reading.record.labs
        )
        return name, one.labs.get(name), others, fits, self._ages(one, self.library.analytes[name])

    def _ages(self, one: Presentation, analyte: Analyte) -> tuple[float, ...]:
        """The shares of such patients at the ages by which an analyte's reference interval differs; () where all are
        in the last of them."""
        edges = np.clip([*analyte.starts, np.inf], one.age[0], one.age[1] + 1)
        shares = np.diff(edges) / (one.age[1] + 1 - one.age[0])
        return tuple(np.round(shares, 3).tolist()) if shares[-1] < 1 else ()

    def _usual_mass(self, one: Presentation, analyte: Analyte, facts: Mapping[str, Floats], female: bool) -> Floats:
        """The probability of values that nothing sets, at the patient's age; where that is unknown, at those of the
        condition."""
        values_N, half = facts[analyte.id], 0.5 * 10.0**-analyte.decimals
        shares = self._ages(one, analyte)
        if not shares:
            return _clipped_mass(values_N, half, *analyte.usual(female))
        age_N = facts.get(AGE, np.full(len(values_N), np.nan))
        ends_G2 = np.array([analyte.usual(female, start) for start in analyte.starts])
        low_N, high_N = ends_G2[np.searchsorted(analyte.starts, age_N, "right") - 1].T
        mass_N = _clipped_mass(values_N, half, low_N, high_N)
        if len(rows := np.flatnonzero(np.isnan(age_N))):
            mass_N[rows] = sum(
                share * _clipped_mass(values_N[rows], half, *ends_2)
                for share, ends_2 in zip(shares, ends_G2, strict=True)
                if share
            )
        return mass_N

    def _mass(self, one: Presentation, analyte: Analyte, facts: Mapping[str, Floats], can_FN: Bools) -> Floats:
        """The probability of values as they are written, with so many decimals."""
        values_N, half = facts[analyte.id], 0.5 * 10.0**-analyte.decimals
        if analyte.id in one.labs:
            mass_N: Floats = _normal_mass(values_N, half, one.labs[analyte.id], analyte.limits)
            for other, closely in reversed(linked(analyte.id, one.labs)):  # of the nearest that is known
                if other in facts:
                    away_N = closely * _deviation(facts[other], one.labs[other], self.library.analytes[other])
                    share = math.sqrt(1 - closely**2)
                    fits_N = _normal_mass(values_N, half, one.labs[analyte.id], analyte.limits, away_N, share)
                    mass_N = np.where(np.isnan(away_N), mass_N, (1 - LEAST) * fits_N + LEAST * mass_N)
            if analyte.id == "calcium":
                mass_N = (mass_N + self._counted_mass(one, analyte, values_N, half, one.female)) / 2
                mass_N = self._moved_mass(one, analyte, facts, mass_N)
            return mass_N
        female_N = facts.get(FEMALE, np.full(len(values_N), np.nan))
        women_N, men_N = (self._usual_mass(one, analyte, facts, sex) for sex in (True, False))
        others = HANGS_ON.get(analyte.id, frozenset())
        if others and (analyte.id not in IF_SET or not others.isdisjoint(one.labs)):
            women_N = (women_N + self._counted_mass(one, analyte, values_N, half, 1.0)) / 2
            men_N = (men_N + self._counted_mass(one, analyte, values_N, half, 0.0)) / 2
        share_N = np.where(np.isnan(female_N), one.female, female_N)
        mass_N = share_N * women_N + (1 - share_N) * men_N
        if moves(analyte.id, one.labs):
            mass_N = self._moved_mass(one, analyte, facts, mass_N)
        for reading, place in one.fitted:
            if analyte.id in reading.record.labs and not moves(analyte.id, one.labs):
                low, high = reading.record.labs[analyte.id]
                overlap_N = np.minimum(values_N + half, high) - np.maximum(values_N - half, low)
                fits_N = np.clip(overlap_N, 0, None) / (high - low)
                mass_N = mass_N + one.share_F[place] * can_FN[place] * (fits_N - mass_N)
        if analyte.id == "ph" and breath_alone(one.labs) and "paco2" in facts:
            usual_N = USUAL_PH + (values_N - expected_ph(facts["paco2"])) / ALLOWANCE
            fits_N = _clipped_mass(usual_N, half / ALLOWANCE, *analyte.usual(False))
            mass_N = np.where(np.isnan(facts["paco2"]), mass_N, fits_N)
        if analyte.id == "paco2" and drawn_gas(one.labs)[0] in BICARBONATES:
            ph_N, bound_N = (facts.get(name, np.full(len(values_N), np.nan)) for name in ("ph", _either(facts)[0]))
            fits_N = _compensated_mass(values_N, half, bound_N, analyte.usual(False))
            mass_N = np.where(np.isnan(ph_N + bound_N), mass_N, fits_N)
        return mass_N

    def _moved_mass(self, one: Presentation, analyte: Analyte, facts: Mapping[str, Floats], mass_N: Floats) -> Floats:
        """The same, of a value that others move: `mass_N` where one of those that matter is unknown."""
        values_N, half, table = facts[analyte.id], 0.5 * 10.0**-analyte.decimals, dict(facts)
        needs, others = MOVED[analyte.id]
        matter = [*needs, *(other for other in others if other in one.labs or other not in ANIONS)]
        if not all(name in facts for name in matter):
            return mass_N
        if analyte.id in one.labs:
            moved_N = _normal_mass(values_N - calcium_of_albumin(table), half, one.labs[analyte.id], analyte.limits)
        else:
            moved_N = _clipped_mass(values_N, half, *ENDS[analyte.id](table))
        return np.where(np.isnan(np.stack([facts[name] for name in matter])).any(0), mass_N, moved_N)

    def _counted_mass(
        self, one: Presentation, analyte: Analyte, values_N: Floats, half: float, female: float
    ) -> Floats:
        """The same, of a value that follows from others which are unknown: of drawn women, or men."""
        key = self._law(one, analyte.id), female
        if key not in self._drawn:
            rng = np.random.default_rng(0)
            facts = people(rng, replace(one, female=female), DRAWS)
            names = {analyte.id, *HANGS_ON[analyte.id]}
            needs = [place for place, name in enumerate(self.library.analytes) if name in names]
            self.generator.measure(rng, one, needs, facts, np.zeros((len(self.generator.place), DRAWS), np.bool_))
            self._drawn[key] = np.sort(facts[analyte.id])
        drawn_S, (low, high) = self._drawn[key], analyte.limits
        near = max(half, SMOOTH * float(drawn_S.std()))
        upto_N, under_N = (np.searchsorted(drawn_S, values_N + near * side, "right") for side in (1, -1))
        return (1 - LEAST) * half / near * (upto_N - under_N) / DRAWS + LEAST * 2 * half / (high - low)


def _either(facts: Mapping[str, Floats]) -> Sequence[str]:
    """The bicarbonates that there are columns of; one of them where there is none."""
    return [name for name in BICARBONATES if name in facts] or BICARBONATES[:1]


def _copied(facts: Mapping[str, Floats]) -> Mapping[str, Floats]:
    """The facts, where the two bicarbonates are one: known of both, or of none."""
    either = _either(facts)
    if len(either) < 2:
        return facts
    one_N, other_N = (facts[name] for name in either)
    copies = np.where(np.isnan(one_N), other_N, one_N), np.where(np.isnan(other_N), one_N, other_N)
    return {**facts, **dict(zip(either, copies, strict=True))}


def _log(share: Floats) -> Floats:
    with np.errstate(divide="ignore"):
        found: Floats = np.maximum(np.log(np.maximum(share, 0.0)), NEVER)
    return found


def _binary(there_N: Floats, share: Floats | float) -> Floats:
    return np.where(
        np.isnan(there_N), 0.0, np.where(there_N == 1.0, _log(np.asarray(share)), _log(1 - np.asarray(share)))
    )


def _of_age(age_N: Floats, ends: Range) -> Floats:
    """The share of an age, in whole years between ends that need not be whole."""
    low, high = ends
    years_N = np.minimum(np.floor(age_N) + 1, high + 1) - np.maximum(np.floor(age_N), low)
    years_N = np.where(age_N == low, math.floor(low) + 1 - low, years_N)
    years_N = np.where(age_N == high, high + 1 - math.floor(high), years_N) if high % 1 else years_N
    return np.where((age_N >= low) & (age_N <= high), np.clip(years_N, 0, None) / (high + 1 - low), 0.0)


def _deviation(values_N: Floats, ends: Range, analyte: Analyte) -> Floats:
    """How far values lie from the middle of those of which 90% lie between ends, in standard deviations."""
    middle, spread, log = law(ends)
    if log:
        values_N = np.log(np.maximum(values_N, 0.5 * 10.0**-analyte.decimals))
    found: Floats = (values_N - middle) / spread
    return found


def _normal_mass(
    values_N: Floats, half: float, ends: Range, limits: Range, away: Floats | float = 0.0, share: float = 1.0
) -> Floats:
    """Of values of which 90% lie between ends, held within limits, and rounded; where something is known that they go
    with, so many standard deviations away, with a share of the spread."""
    low, high = ends
    below_N, above_N = values_N - half, values_N + half
    edge_low_N, edge_high_N = below_N <= limits[0], above_N >= limits[1]
    if logarithmic(ends):
        low, high = math.log(low), math.log(high)
        below_N, above_N = np.log(np.maximum(below_N, 1e-300)), np.log(np.maximum(above_N, 1e-300))
    middle, spread = (low + high) / 2, (high - low) / (2 * Z95)
    return _between(
        np.where(edge_low_N, -np.inf, ((below_N - middle) / spread - away) / share),
        np.where(edge_high_N, np.inf, ((above_N - middle) / spread - away) / share),
    )


def _clipped_mass(values_N: Floats, half: float, low: float | Floats, high: float | Floats) -> Floats:
    """Of normal values: around the middle of a reference interval, held within it, and rounded."""
    below_N, above_N = values_N - half, values_N + half
    inside_N = (above_N >= low) & (below_N <= high)
    if np.all(np.equal(low, high)):
        return inside_N.astype(np.float64)
    middle, spread = (low + high) / 2, (high - low) / SPREAD
    lower_N = np.where(below_N <= low, -np.inf, (below_N - middle) / spread)
    upper_N = np.where(above_N >= high, np.inf, (above_N - middle) / spread)
    return np.where(inside_N, _between(lower_N, np.maximum(upper_N, lower_N)), 0.0)


def _compensated_mass(values_N: Floats, half: float, bound_N: Floats, usual: Range) -> Floats:
    """Of pCO2 that makes up for a bicarbonate, and of the pH that follows: it has more decimals than its grounds."""
    near = half + 0.5 * 1.5  # as much as rounding may move it: see `expected_paco2`
    usual_N = USUAL_PACO2 + (values_N - expected_paco2(bound_N)) / ALLOWANCE
    share_N = np.minimum(0.01 * math.log(10) * bound_N, 1.0)  # of the pH that a bicarbonate without decimals allows
    return _clipped_mass(usual_N, near / ALLOWANCE, *usual) * half / near * share_N


def _between(lower_N: Floats, upper_N: Floats) -> Floats:
    """The mass of the normal distribution between two of its values: from the nearer tail, which loses nothing."""
    turned_N: NDArray[np.bool_] = lower_N + upper_N < 0
    near_N, far_N = np.where(turned_N, -upper_N, lower_N), np.where(turned_N, -lower_N, upper_N)
    found: Floats = (_tail(near_N) - _tail(far_N)).astype(np.float64)
    return found
