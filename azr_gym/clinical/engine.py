"""Diagnoses: facts in, exactly one answer out, with its proof. Pure and deterministic; reads no text.

A patient who can not be is told so. Else all rules are judged, three-valued. Of the conditions whose rules are met
those fall that are the more general name of another one, and those that another one explains. What is left is ranked by
one total order, so that one stands first. Patients come in batches; a single one is a batch of one.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from azr_gym.clinical.criteria import Columns
from azr_gym.clinical.library import AGE, FEMALE, MALE, PERSON, TIERS, Certainty, Check, Library, Sex, Source, knowledge
from azr_gym.clinical.plausible import rejected

URGENT = 2  # an acuity up to this one is not left open
NOT_MET = len(Certainty)
Facts = Mapping[str, float]  # of one patient: numbers, 1 for true and 0 for false; what is unknown is not there


class Verdict(StrEnum):
    """What the engine says of a patient."""

    DIAGNOSIS = "diagnosis"
    NO_DIAGNOSIS = "no_diagnosis"
    INSUFFICIENT = "insufficient"  # something urgent may be there: what is missing would settle it
    AMBIGUOUS = "ambiguous"  # two conditions, and nothing that puts one first
    IMPLAUSIBLE = "implausible"


@dataclass(frozen=True, slots=True)
class Proof:
    """Why a condition is there.

    Attributes:
        condition: its id.
        certainty: of the surest rule that is met.
        rules: the rules of that certainty that are met.
        facts: what they look at, and what is known of it.
        sources: where the rules are from.
    """

    condition: str
    certainty: Certainty
    rules: tuple[str, ...]
    facts: Facts
    sources: tuple[Source, ...]


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """The engine's answer about one patient.

    Attributes:
        verdict: which kind of answer.
        primary: the diagnosis, where there is one.
        secondary: what else is there, in order.
        missing: facts that would settle what may be there and is urgent.
    """

    verdict: Verdict
    primary: Proof | None = None
    secondary: tuple[Proof, ...] = ()
    missing: tuple[str, ...] = ()

    @property
    def condition(self) -> str | None:
        """The id of the diagnosis."""
        return self.primary.condition if self.primary is not None else None


def diagnose(facts: Facts) -> Diagnosis:
    """One patient's diagnosis, with its proof."""
    return shared().diagnose([facts])[0]


def explain(found: Diagnosis) -> str:
    """A diagnosis as a clinician would write it."""
    return shared().explain(found)


@dataclass(frozen=True, slots=True)
class Judged:
    """What was found of N patients.

    Attributes:
        verdict_N: index into the members of `Verdict`.
        first_N: index of the condition that stands first; -1 where there is none.
        second_N: and of the next.
        surest_CN: the surest certainty of each condition's rules that are met; `NOT_MET`.
        left_CN: what is left of the candidates.
        key_CN: what they are ranked by.
        truths: of each rule, in the order of `Library.checks`.
    """

    verdict_N: NDArray[np.int64]
    first_N: NDArray[np.int64]
    second_N: NDArray[np.int64]
    surest_CN: NDArray[np.int8]
    left_CN: NDArray[np.bool_]
    key_CN: NDArray[np.int64]
    unknown_KN: NDArray[np.bool_]
    met_KN: NDArray[np.bool_]


class Engine:
    """The rules of a library, ready to judge.

    Args:
        known: the library.
    """

    def __init__(self, known: Library) -> None:
        self.library, self.checks = known, known.checks
        self.ids = [*known.conditions]
        conditions = [*known.conditions.values()]
        place = {name: number for number, name in enumerate(self.ids)}
        self.of_K = np.array([place[check.condition.id] for check in self.checks], np.int64)
        self.certainty_K = np.array([check.rule.certainty for check in self.checks], np.int8)
        self.acuity_C = np.array([one.acuity for one in conditions], np.int64)
        self.tier_C = np.array([TIERS.index(one.tier) for one in conditions], np.int64)
        self.below_CC, self.explains_CC = (np.zeros((len(place), len(place)), np.float32) for _ in range(2))
        for one in conditions:
            for other in known.ancestors(one.id):
                self.below_CC[place[other], place[one.id]] = 1.0
            for other in one.manifestation_of:
                self.explains_CC[place[one.id], place[other]] = 1.0
        self.findings = sorted(known.findings)
        column = {name: number for number, name in enumerate(self.findings)}
        self.fits_CF = np.zeros((len(place), len(column)), np.float32)
        self.facts_C = np.zeros(len(place), np.int64)  # how much a condition's longest rule looks at
        for check in self.checks:
            number = place[check.condition.id]
            self.facts_C[number] = max(self.facts_C[number], len(check.criterion.names))
            for name in (*check.criterion.names, *check.condition.presents):
                if name in column:
                    self.fits_CF[number, column[name]] = 1.0

    def judge(self, columns: Columns) -> Judged:
        """Judge a batch."""
        size, count = columns.size, len(self.ids)
        met_KN, unknown_KN = (np.zeros((len(self.checks), size), np.bool_) for _ in range(2))
        surest_CN = np.full((count, size), NOT_MET, np.int8)
        impossible_CN = self._impossible(columns)
        for number, check in enumerate(self.checks):
            truth = check.criterion(columns)
            possible = ~impossible_CN[self.of_K[number]]
            met_KN[number] = truth.yes & possible
            unknown_KN[number] = ~(truth.yes | truth.no) & possible
            row = surest_CN[self.of_K[number]]
            np.minimum(row, np.where(met_KN[number], self.certainty_K[number], NOT_MET), out=row)
        there_CN = surest_CN < NOT_MET
        fall_CN = ((self.below_CC + self.explains_CC) @ there_CN.astype(np.float32)) > 0
        left_CN = there_CN & ~fall_CN
        key_CN = np.where(left_CN, self._keys(columns, surest_CN), np.iinfo(np.int64).max)
        first_N, second_N = _two_least(key_CN)
        verdict_N = self._verdicts(columns, key_CN, first_N, second_N, unknown_KN)
        return Judged(verdict_N, first_N, second_N, surest_CN, left_CN, key_CN, unknown_KN, met_KN)

    def _impossible(self, columns: Columns) -> NDArray[np.bool_]:
        """Conditions that a patient of that sex or age can not have."""
        male, female, age = columns.truth(MALE).yes, columns.truth(FEMALE).yes, columns.number(AGE)
        rows = []
        for one in self.library.conditions.values():
            wrong = male if one.sex is Sex.FEMALE else female if one.sex is Sex.MALE else columns.nothing
            rows.append(wrong | (age.low > one.age[1]) | (age.high < one.age[0]))
        return np.stack(rows) if rows else np.zeros((0, columns.size), np.bool_)

    def _keys(self, columns: Columns, surest_CN: NDArray[np.int8]) -> NDArray[np.int64]:
        """Certainty, acuity, findings explained, facts looked at, tier, id: the least stands first."""
        there_FN = np.stack([columns.truth(name).yes for name in self.findings] or [columns.nothing])
        if not self.findings:
            there_FN = there_FN[:0]
        explained_CN = (self.fits_CF @ there_FN.astype(np.float32)).astype(np.int64)
        keys_CN: NDArray[np.int64] = surest_CN.astype(np.int64) * 8 + self.acuity_C[:, None]
        keys_CN = keys_CN * 1024 + (1023 - np.minimum(explained_CN, 1023))
        keys_CN = keys_CN * 64 + (63 - np.minimum(self.facts_C, 63))[:, None]
        return (keys_CN * 8 + self.tier_C[:, None]) * 4096 + np.arange(len(self.ids))[:, None]

    def _verdicts(
        self,
        columns: Columns,
        key_CN: NDArray[np.int64],
        first_N: NDArray[np.int64],
        second_N: NDArray[np.int64],
        unknown_KN: NDArray[np.bool_],
    ) -> NDArray[np.int64]:
        verdicts = [*Verdict]
        some_N, two_N, places = first_N >= 0, second_N >= 0, np.arange(columns.size)
        alike_N = two_N & (
            key_CN[first_N, places] // (8 * 4096) == key_CN[np.where(two_N, second_N, 0), places] // (8 * 4096)
        )
        open_N = np.zeros(columns.size, np.bool_)
        for number, check in enumerate(self.checks):
            if check.condition.acuity <= URGENT:
                open_N |= unknown_KN[number] & self._anchored(check, columns)
        found_N = np.where(open_N, verdicts.index(Verdict.INSUFFICIENT), verdicts.index(Verdict.NO_DIAGNOSIS))
        found_N = np.where(some_N, verdicts.index(Verdict.DIAGNOSIS), found_N)
        found_N = np.where(alike_N, verdicts.index(Verdict.AMBIGUOUS), found_N)
        return np.where(rejected(columns, self.library), verdicts.index(Verdict.IMPLAUSIBLE), found_N)

    def _anchored(self, check: Check, columns: Columns) -> NDArray[np.bool_]:
        """Whether a finding that the rule looks at is there."""
        found = columns.nothing
        for name in check.criterion.names:
            if name in self.library.findings and name not in PERSON:
                found = found | columns.truth(name).yes
        return found

    def diagnose(self, patients: Sequence[Facts]) -> list[Diagnosis]:
        """Diagnoses with their proofs."""
        names = sorted({name for facts in patients for name in facts})
        table = {name: np.array([facts.get(name, np.nan) for facts in patients], np.float64) for name in names}
        judged = self.judge(self.library.columns(table, len(patients)))
        return [self._answer(judged, place, facts) for place, facts in enumerate(patients)]

    def _answer(self, judged: Judged, place: int, facts: Facts) -> Diagnosis:
        verdict = [*Verdict][judged.verdict_N[place]]
        order = np.argsort(judged.key_CN[:, place], kind="stable")
        proofs = [self._proof(judged, int(one), place, facts) for one in order if judged.left_CN[one, place]]
        if verdict is Verdict.DIAGNOSIS:
            return Diagnosis(verdict, proofs[0], tuple(proofs[1:]))
        if verdict is Verdict.INSUFFICIENT:
            return Diagnosis(verdict, missing=self._missing(judged, place, facts))
        return Diagnosis(verdict, secondary=tuple(proofs))

    def _proof(self, judged: Judged, condition: int, place: int, facts: Facts) -> Proof:
        certainty = Certainty(int(judged.surest_CN[condition, place]))
        met = [
            check
            for number, check in enumerate(self.checks)
            if self.of_K[number] == condition and judged.met_KN[number, place] and check.rule.certainty == certainty
        ]
        names = self._grounds(frozenset().union(*(check.criterion.names for check in met)))
        sources = dict.fromkeys(check.rule.source for check in met)
        return Proof(
            self.ids[condition], certainty, tuple(check.rule.when for check in met),
            {name: facts[name] for name in sorted(names) if name in facts},
            tuple(self.library.sources[one] for one in sources),
        )  # fmt: skip

    def _grounds(self, names: frozenset[str]) -> frozenset[str]:
        """The facts that names hang on: a score's items; and always who the patient is."""
        found, todo = {*PERSON, AGE}, [*names]
        while todo:
            name = todo.pop()
            if name in self.library.formulas:
                todo += self.library.formulas[name].names - found
            found.add(name)
        return frozenset(found)

    def _missing(self, judged: Judged, place: int, facts: Facts) -> tuple[str, ...]:
        columns = self.library.columns({name: np.array([value]) for name, value in facts.items()}, 1)
        wanted: set[str] = set()
        for number, check in enumerate(self.checks):
            urgent = check.condition.acuity <= URGENT and judged.unknown_KN[number, place]
            if urgent and self._anchored(check, columns)[0]:
                wanted |= self._grounds(check.criterion.names) - set(facts) - set(self.library.formulas)
        return tuple(sorted(wanted - {*PERSON, AGE}))

    def explain(self, found: Diagnosis) -> str:
        """The answer as a clinician would write it."""
        match found.verdict:
            case Verdict.DIAGNOSIS if found.primary is not None:
                lines = [f"{self._name(found.primary)} ({found.primary.certainty.name.lower()})."]
                lines += [f"  Because {self._because(found.primary)}."]
                lines += [f"  {one.citation} ({one.year})." for one in found.primary.sources]
                if found.secondary:
                    lines.append(f"Also: {', '.join(map(self._name, found.secondary))}.")
                return "\n".join(lines)
            case Verdict.INSUFFICIENT:
                wanted = ", ".join(self._fact(name) for name in found.missing)
                return f"Not enough is known to leave something urgent aside. Still to be known: {wanted}."
            case Verdict.IMPLAUSIBLE:
                return "There is no such patient."
            case Verdict.AMBIGUOUS:
                return f"Nothing puts one of these first: {', '.join(map(self._name, found.secondary))}."
        return "Nothing that the rules know is there."

    def _name(self, proof: Proof) -> str:
        return self.library.conditions[proof.condition].name

    def _because(self, proof: Proof) -> str:
        parts = []
        for name, value in proof.facts.items():
            if name in self.library.analytes:
                analyte = self.library.analytes[name]
                parts.append(f"{analyte.name} {value:g} {analyte.unit}".strip())
            elif name in self.library.findings:
                parts.append(self.library.findings[name].name if value else f"no {self.library.findings[name].name}")
        return ", ".join(parts) or "of who the patient is"

    def _fact(self, name: str) -> str:
        for table in (self.library.analytes, self.library.findings):
            if name in table:
                return str(table[name].name)
        return name.replace("_", " ")


@functools.cache
def shared() -> Engine:
    """The engine of the knowledge that comes with this package."""
    return Engine(knowledge())


def _two_least(key_CN: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The places of the least and the next of each column; -1 where there is none."""
    none, places = np.iinfo(np.int64).max, np.arange(key_CN.shape[1])
    if not len(key_CN):
        return np.full(key_CN.shape[1], -1), np.full(key_CN.shape[1], -1)
    first_N = key_CN.argmin(0)
    rest_CN = key_CN.copy()
    rest_CN[first_N, places] = none
    second_N = rest_CN.argmin(0)
    least_N, next_N = key_CN[first_N, places], rest_CN[second_N, places]
    return np.where(least_N == none, -1, first_N), np.where(next_N == none, -1, second_N)
