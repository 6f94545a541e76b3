"""Diagnoses: facts in, exactly one answer out, with its proof. Pure and deterministic; reads no text.

A patient who can not be is told so. Else all rules are judged, three-valued. Of the conditions whose rules are met
those fall that are the more general name of another one, and those that another one explains. What is left is ranked by
one total order, so that one stands first. Patients come in batches; a single one is a batch of one.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from azr_gym.clinical.criteria import Columns, Interval, Patients, bounds
from azr_gym.clinical.library import (
    AGE,
    BODY,
    FEMALE,
    MALE,
    PERSON,
    TIERS,
    Certainty,
    Library,
    Sex,
    Source,
    knowledge,
)
from azr_gym.clinical.plausible import rejected

URGENT = 2  # an acuity up to this one is not left open
EVERYDAY = 0.03  # a finding that so many people have without a reason speaks for nothing urgent
LAST = 4096  # more than there are conditions
PERSONAL = frozenset([*PERSON, AGE])
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

    @property
    def conditions(self) -> list[str]:
        """The ids of everything that is there, the diagnosis first."""
        return [one.condition for one in (self.primary, *self.secondary) if one is not None]


def diagnose(facts: Facts) -> Diagnosis:
    """One patient's diagnosis, with its proof."""
    return shared().diagnose([facts])[0]


def explain(found: Diagnosis) -> str:
    """A diagnosis as a clinician would write it."""
    return shared().explain(found)


@dataclass(frozen=True, slots=True)
class Judged:
    """What was found of N patients, and P pairs of a patient with a condition whose rules are met.

    Attributes:
        verdict_N: index into the members of `Verdict`.
        first_N: index of the condition that stands first; -1 where there is none.
        patient_P, condition_P: the pairs that are left, by patient, and for each in the order of their rank.
        certainty_P: of the surest rule that is met.
        met: for rules that anybody meets: who does.
        open: for rules that settle something urgent and are not settled, though a finding speaks for them: of whom.
    """

    verdict_N: NDArray[np.int64]
    first_N: NDArray[np.int64]
    patient_P: NDArray[np.int64]
    condition_P: NDArray[np.int64]
    certainty_P: NDArray[np.int8]
    met: Mapping[int, Patients]
    open: Mapping[int, Patients]


class Engine:
    """The rules of a library, ready to judge.

    A rule is judged where something that it looks at is known of anybody: else nobody can meet it.

    Args:
        known: the library.
    """

    def __init__(self, known: Library) -> None:
        self.library, self.checks = known, known.checks
        self.ids = [*known.conditions]
        conditions = [*known.conditions.values()]
        place = {name: number for number, name in enumerate(self.ids)}
        self.of_K = [place[check.condition.id] for check in self.checks]
        self.rules_C: list[list[int]] = [[] for _ in conditions]
        self.acuity_C = np.array([one.acuity for one in conditions], np.int64)
        self.tier_C = np.array([TIERS.index(one.tier) for one in conditions], np.int64)
        self.falls_C = [{place[other] for other in one.manifestation_of} for one in conditions]  # where one is there
        for one in conditions:
            for other in known.ancestors(one.id):
                self.falls_C[place[other]].add(place[one.id])
        self.row = {name: number for number, name in enumerate(sorted(known.findings))}
        fits: list[set[int]] = [set() for _ in conditions]
        self.facts_C = np.zeros(len(place), np.int64)  # how much a condition's longest rule looks at
        self.grounds_K = [known.grounds(check.criterion.names) - set(known.formulas) for check in self.checks]
        self.about: dict[str, list[int]] = {}  # the rules that hang on a fact
        self.always: list[int] = []  # those that hang on who the patient is, and on nothing else
        for number, check in enumerate(self.checks):
            condition = place[check.condition.id]
            self.rules_C[condition].append(number)
            grounds = known.grounds(check.criterion.names) - PERSONAL
            for name in grounds:
                self.about.setdefault(name, []).append(number)
            if not grounds:
                self.always.append(number)
            self.facts_C[condition] = max(self.facts_C[condition], len(check.criterion.names))
            for name in (*check.criterion.names, *check.condition.presents):
                if name in self.row:
                    fits[condition].add(self.row[name])
        longest = max(map(len, fits))  # findings that a condition has; the others' lists are filled up with none
        self.fits_CL = np.array([[*sorted(one), *[len(self.row)] * (longest - len(one))] for one in fits], np.int64)
        telling = {name for name, one in known.findings.items() if one.background < EVERYDAY}
        self.anchors = [
            check.criterion.names & telling if check.condition.acuity <= URGENT else frozenset[str]()
            for check in self.checks
        ]

    def judge(self, columns: Columns) -> Judged:
        """Judge a batch."""
        met, left_open = self._tried(columns)
        patient_P, condition_P, certainty_P = self._left(columns, met)
        key_P = self._keys(columns, patient_P, condition_P, certainty_P)
        order = np.lexsort((key_P, patient_P))
        patient_P, condition_P, certainty_P, key_P = (
            patient_P[order], condition_P[order], certainty_P[order], key_P[order],
        )  # fmt: skip
        first_N, alike_N = _first(patient_P, condition_P, key_P, columns.size)
        verdict_N = self._verdicts(columns, first_N, alike_N, left_open)
        return Judged(verdict_N, first_N, patient_P, condition_P, certainty_P, met, left_open)

    def _tried(self, columns: Columns) -> tuple[dict[int, Patients], dict[int, Patients]]:
        """Who meets each rule, and of whom it is open."""
        met, left_open = dict[int, Patients](), dict[int, Patients]()
        can_have = functools.cache(functools.partial(_can_have, columns, bounds(columns.number(AGE))))
        there = {name for name in columns.facts if name not in self.row or columns.truth(name).yes}
        for rule in sorted({*self.always, *(rule for name in columns.facts for rule in self.about.get(name, ()))}):
            check, anchors = self.checks[rule], self.anchors[rule]
            if anchors.isdisjoint(there) and not check.criterion.needs <= there:
                continue
            if not (who := can_have(check.condition.sex, check.condition.age)):
                continue
            spoken, truth = _union(columns.truth(name).yes for name in anchors), check.criterion.sets(columns)
            if yes := who & truth.yes:
                met[rule] = yes
            if waiting := who & spoken & ~(truth.yes | truth.no):
                left_open[rule] = waiting
        return met, left_open

    def _left(
        self, columns: Columns, met: Mapping[int, Patients]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int8]]:
        """The pairs of a patient with a condition that are left, and how certain each is."""
        sure: dict[int, list[Patients]] = {}  # by condition and certainty
        for rule, who in met.items():
            sure.setdefault(self.of_K[rule], [0] * len(Certainty))[self.checks[rule].rule.certainty] |= who
        there = {condition: _union(levels) for condition, levels in sure.items()}
        rows = list[tuple[int, Certainty, Patients]]()
        for condition, levels in sure.items():
            left = there[condition] & ~_union(there.get(other, 0) for other in self.falls_C[condition])
            for certainty, who in zip(Certainty, levels, strict=True):
                rows.append((condition, certainty, left & who))
                left &= ~who
        there_RN = columns.masks([who for _, _, who in rows])
        row_P, patient_P = np.divmod(np.flatnonzero(there_RN), columns.size)
        condition_R, certainty_R = (np.array([row[part] for row in rows], np.int64) for part in (0, 1))
        return patient_P, condition_R[row_P], certainty_R[row_P].astype(np.int8)

    def _keys(
        self,
        columns: Columns,
        patient_P: NDArray[np.int64],
        condition_P: NDArray[np.int64],
        certainty_P: NDArray[np.int8],
    ) -> NDArray[np.int64]:
        """Certainty, acuity, findings explained, facts looked at, tier, id: the least stands first."""
        explained_P = np.zeros(len(patient_P), np.int64)
        several_P = np.bincount(patient_P, minlength=1)[patient_P] > 1  # else there is nothing to rank
        if several_P.any():
            explained_P[several_P] = self._explained(columns, patient_P[several_P], condition_P[several_P])
        key_P: NDArray[np.int64] = certainty_P.astype(np.int64) * 8 + self.acuity_C[condition_P]
        key_P = key_P * 1024 + (1023 - np.minimum(explained_P, 1023))
        key_P = key_P * 64 + (63 - np.minimum(self.facts_C[condition_P], 63))
        return (key_P * 8 + self.tier_C[condition_P]) * LAST + condition_P

    def _explained(
        self, columns: Columns, patient_P: NDArray[np.int64], condition_P: NDArray[np.int64]
    ) -> NDArray[np.int64]:
        """How many of a patient's findings a condition has."""
        names = [name for name in columns.facts if name in self.row]
        there_MN = columns.masks([*(columns.truth(name).yes for name in names), 0])
        place_F = np.full(len(self.row) + 1, len(names))  # in that matrix; its last row is the finding that nobody has
        place_F[[self.row[name] for name in names]] = np.arange(len(names))
        found_PL = there_MN[place_F[self.fits_CL[condition_P]], patient_P[:, np.newaxis]]
        return np.asarray(found_PL.sum(axis=1), np.int64)

    def _verdicts(
        self,
        columns: Columns,
        first_N: NDArray[np.int64],
        alike_N: NDArray[np.bool_],
        left_open: Mapping[int, Patients],
    ) -> NDArray[np.int64]:
        verdicts, open_N = [*Verdict], columns.mask(_union(left_open.values()))
        found_N = np.where(open_N, verdicts.index(Verdict.INSUFFICIENT), verdicts.index(Verdict.NO_DIAGNOSIS))
        found_N = np.where(first_N >= 0, verdicts.index(Verdict.DIAGNOSIS), found_N)
        found_N = np.where(alike_N, verdicts.index(Verdict.AMBIGUOUS), found_N)
        return np.where(rejected(columns, self.library), verdicts.index(Verdict.IMPLAUSIBLE), found_N)

    def diagnose(self, patients: Sequence[Facts]) -> list[Diagnosis]:
        """Diagnoses with their proofs."""
        judged = self.judge(self._columns(patients))
        return [self._answer(judged, place, facts) for place, facts in enumerate(patients)]

    def conditions(self, patients: Sequence[Facts]) -> list[str | None]:
        """The ids of the diagnoses alone, without their proofs; None where there is none."""
        judged = self.judge(self._columns(patients))
        sure_N = judged.verdict_N == [*Verdict].index(Verdict.DIAGNOSIS)
        return [self.ids[first] if sure else None for first, sure in zip(judged.first_N, sure_N, strict=True)]

    def _columns(self, patients: Sequence[Facts]) -> Columns:
        """A column for each fact that is known of anybody. A patient knows few of them."""
        table: dict[str, NDArray[np.float64]] = {}
        for place, facts in enumerate(patients):
            for name, value in facts.items():
                if name not in table:
                    table[name] = np.full(len(patients), np.nan)
                table[name][place] = value
        return self.library.columns(table, len(patients))

    def _answer(self, judged: Judged, place: int, facts: Facts) -> Diagnosis:
        verdict = [*Verdict][judged.verdict_N[place]]
        pairs = slice(*np.searchsorted(judged.patient_P, [place, place + 1]))
        certain = [Certainty(int(one)) for one in judged.certainty_P[pairs]]
        proofs = [
            self._proof(judged, int(one), certainty, place, facts)
            for one, certainty in zip(judged.condition_P[pairs], certain, strict=True)
        ]
        if verdict is Verdict.DIAGNOSIS:
            return Diagnosis(verdict, proofs[0], tuple(proofs[1:]))
        if verdict is Verdict.INSUFFICIENT:
            return Diagnosis(verdict, missing=self._missing(judged, place, facts))
        return Diagnosis(verdict, secondary=tuple(proofs))

    def _proof(self, judged: Judged, condition: int, certainty: Certainty, place: int, facts: Facts) -> Proof:
        met = [
            rule
            for rule in self.rules_C[condition]
            if self.checks[rule].rule.certainty == certainty and _has(judged.met.get(rule, 0), place)
        ]
        names = PERSONAL.union(*(self.grounds_K[rule] for rule in met))
        checks = [self.checks[rule] for rule in met]
        sources = dict.fromkeys(check.rule.source for check in checks)
        return Proof(
            self.ids[condition], certainty, tuple(check.rule.when for check in checks),
            {name: facts[name] for name in sorted(names) if name in facts},
            tuple(self.library.sources[one] for one in sources),
        )  # fmt: skip

    def _missing(self, judged: Judged, place: int, facts: Facts) -> tuple[str, ...]:
        rules = [rule for rule, who in judged.open.items() if _has(who, place)]
        wanted = frozenset[str]().union(*(self.grounds_K[rule] for rule in rules))
        return tuple(sorted(wanted - set(facts) - PERSONAL))

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
                wanted = ", ".join(map(self.library.called, found.missing))
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
                parts.append(f"{analyte.name} {value:g} {analyte.printed_unit}".strip())
            elif name in self.library.findings:
                finding = self.library.findings[name]
                parts.append(finding.name if value else finding.absence)
            elif name in BODY[1:]:
                said, _, unit = name.partition("_")
                parts.append(f"{said} {value:g} {unit}")
        return ", ".join(parts) or "of who the patient is"


@functools.cache
def shared() -> Engine:
    """The engine of the knowledge that comes with this package."""
    return Engine(knowledge())


def _can_have(columns: Columns, years: Interval, sex: Sex, age: tuple[float, float]) -> Patients:
    """Who can have a condition of that sex and age; what is unknown forbids nothing."""
    fits = columns.where((years.low <= age[1]) & (years.high >= age[0]))
    return fits if sex is Sex.ANY else fits & ~columns.truth(MALE if sex is Sex.FEMALE else FEMALE).yes


def _union(sets: Iterable[Patients]) -> Patients:
    return functools.reduce(operator.or_, sets, 0)


def _has(one: Patients, place: int) -> bool:
    return bool(one >> place & 1)


def _first(
    patient_P: NDArray[np.int64], condition_P: NDArray[np.int64], key_P: NDArray[np.int64], size: int
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """The condition that stands first, -1 for none; and where the next differs from it by tier and name alone."""
    first_N, alike_N = np.full(size, -1), np.zeros(size, np.bool_)
    begins = np.flatnonzero(np.diff(patient_P, prepend=-1))
    first_N[patient_P[begins]] = condition_P[begins]
    rest = begins[begins + 1 < len(patient_P)]
    rest = rest[patient_P[rest] == patient_P[rest + 1]]
    same = key_P[rest] // (8 * LAST) == key_P[rest + 1] // (8 * LAST)
    alike_N[patient_P[rest[same]]] = True
    return first_N, alike_N
