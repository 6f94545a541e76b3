"""Whole patients in bulk, for `ClinicalCaseTabular-v0`: everything that an order could reveal is there already.

A patient is drawn by the generator for a condition behind the complaint, as often as the condition is common, and
everything is known of them. The label is what the engine says of the whole patient; who does not come with the
complaint, or has something else, is left out. With `FULL` any complaint will do, and there are all conditions.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from azr_gym.clinical.criteria import Floats
from azr_gym.clinical.engine import Engine, Verdict, shared
from azr_gym.clinical.generate import Generator
from azr_gym.clinical.library import AGE, FEMALE, MALE, PREGNANT, Analyte, Library, knowledge
from azr_gym.clinical.panels import Complaint
from azr_gym.clinical.propose import HELD_OUT_SHARE
from azr_gym.clinical.room import WEIGHTS
from azr_gym.clinical.workup import URGENT, comes_with, complaints
from azr_gym.errors import AzrGymError, BadArgument
from azr_gym.roles import Split

FULL = "full"  # of complaints: any of them, and all conditions
PATIENTS = 8192
SPARE, MOST = 1.1, 20_000  # how many more patients are drawn than seem to be needed, and how many at once at most
LEAST, ENOUGH = 0.02, 1000  # share of them that must be of use, once so many have been drawn
LIMIT = 6.0  # of a scaled value: three times as far from the middle as the ends of the reference interval
OLDEST = 120.0  # years


@dataclass(frozen=True, slots=True)
class Layout:
    """Which columns, orders and answers there are for a complaint, or for all.

    A fact has a column where one of the conditions looks at it or shows it. Shapes: K complaints, P orders, D answers,
    W = A + F columns, analytes first.

    Attributes:
        complaints: what people come with, K: one, or whatever there is.
        panels: ids of the panels that reveal any of the columns, P.
        conditions: ids of the answers, D.
        analytes, findings: the columns, A and F.
        actions: what each action does, P + D: "order ecg", "diagnose nstemi".
        reveals_PW: which columns a panel reveals.
        start_KW: which are known before anything is ordered.
        cost_P: what a panel costs.
        urgent_D: whether an answer must not be missed.
    """

    complaints: tuple[Complaint, ...]
    panels: tuple[str, ...]
    conditions: tuple[str, ...]
    analytes: tuple[str, ...]
    findings: tuple[str, ...]
    actions: tuple[str, ...]
    reveals_PW: NDArray[np.bool_]
    start_KW: NDArray[np.bool_]
    cost_P: Floats
    urgent_D: NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Bank:
    """B whole patients.

    Attributes:
        facts_BW: a byte for each column. A value: 1 where there is such a value at all (nobody has weeks of gestation
            who is not pregnant), else 0. A finding: 1 there, -1 not.
        scaled_BA: values as an agent sees them (see `scaled`), 0 where there is none; float32.
        raw_BA: the same in the library's units, NaN where there is none.
        age_B: in years.
        aged_B: the same as an agent sees it, as a share of `OLDEST`; float32.
        female_B: 1 women, 0 men.
        complaint_B, label_B: what they come with, and the diagnosis: by their places in the layout.
    """

    facts_BW: NDArray[np.int8]
    scaled_BA: NDArray[np.float32]
    raw_BA: Floats
    age_B: Floats
    aged_B: NDArray[np.float32]
    female_B: NDArray[np.int64]
    complaint_B: NDArray[np.int64]
    label_B: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.label_B)

    def of(self, rows: NDArray[np.int64]) -> Bank:
        """Some of the patients."""
        return Bank(*(getattr(self, one.name)[rows] for one in fields(self)))

    def told(self, form: Layout, known_BW: NDArray[np.integer]) -> dict[str, Floats]:
        """Facts in the library's units: 1 for what is there, 0 for what is not, NaN for what is unknown.

        Args:
            form: the layout.
            known_BW: what is known of each: 0 in the columns that are not.

        Returns:
            A column for each fact that is known of anybody, and for age and sex: float64 (B,).
        """
        female_B, values = self.female_B.astype(np.float64), len(form.analytes)
        found = {AGE: self.age_B, FEMALE: female_B, MALE: 1.0 - female_B}
        for place in np.flatnonzero(known_BW.any(0)).tolist():
            name = (form.analytes + form.findings)[place]
            value_B = self.raw_BA[:, place] if place < values else np.where(self.facts_BW[:, place] > 0, 1.0, 0.0)
            found[name] = np.where(known_BW[:, place], value_B, np.nan)
        return found


@functools.cache
def layout(complaint: str) -> Layout:
    """The columns, orders and answers of a complaint, or of all (`FULL`).

    Raises:
        BadArgument: there is no such complaint.
    """
    known = knowledge()
    if complaint == FULL:
        comes, conditions = complaints(known), tuple(known.conditions)
    elif complaint in known.complaints:
        comes, conditions = (known.complaints[complaint],), known.complaints[complaint].conditions
    else:
        raise BadArgument(f"complaint must be one of {', '.join(known.complaints)}, or {FULL}, not {complaint!r}")
    told = [set(one.findings) for one in comes]
    matters = _matters(known, conditions).union(*told)
    given = {name for panel in known.panels.values() if panel.given for name in known.reveals[panel.id]}
    shown = {panel: set(facts) & matters for panel, facts in known.reveals.items() if not known.panels[panel].given}
    panels = tuple(panel for panel, facts in shown.items() if any(facts - findings for findings in told))
    wanted = given.union(matters & {PREGNANT}, *told, *(shown[panel] for panel in panels))
    analytes = tuple(name for name in known.analytes if name in wanted)
    findings = tuple(name for name in (*known.findings, PREGNANT) if name in wanted)
    columns = (*analytes, *findings)
    return Layout(
        complaints=comes,
        panels=panels,
        conditions=conditions,
        analytes=analytes,
        findings=findings,
        actions=(*(f"order {panel}" for panel in panels), *(f"diagnose {name}" for name in conditions)),
        reveals_PW=np.array([[name in shown[panel] for name in columns] for panel in panels]),
        start_KW=np.array([[name in given or name in one or name == PREGNANT for name in columns] for one in told]),
        cost_P=np.array([known.panels[panel].cost for panel in panels]),
        urgent_D=np.array([known.conditions[name].acuity <= URGENT for name in conditions]),
    )


def _matters(known: Library, conditions: tuple[str, ...]) -> set[str]:
    """Every fact that some conditions look at or show."""
    rules = [check.criterion.names for check in known.checks if check.condition.id in conditions]
    shown = {name for one in conditions for name in (*known.conditions[one].presents, *known.conditions[one].labs)}
    return shown.union(known.grounds(frozenset().union(*rules)))


@functools.lru_cache(maxsize=32)
def bank(complaint: str, split: Split, patients: int, seed: int) -> Bank:
    """The patients of a split: "test" has those whose skeleton is kept aside, about one in eight.

    Made once for the same arguments in a process: some seconds for thousands of patients.

    Args:
        complaint: its id, or `FULL`.
        split: "train" or "test".
        patients: how many there are in both splits together.
        seed: of the draw.
    """
    whole, form = _drawn(complaint, patients, seed), layout(complaint)
    chosen = _held_out(whole, form) == (split is Split.TEST)
    if not chosen.any():
        raise BadArgument(f"none of {patients} patients is of the split {split}: draw more")
    return whole.of(np.flatnonzero(chosen))


@functools.lru_cache(maxsize=16)
def _drawn(complaint: str, patients: int, seed: int) -> Bank:
    form, engine = layout(complaint), shared()
    generator, rng = Generator(engine), np.random.default_rng(seed)
    tiers = np.array([WEIGHTS[engine.library.conditions[name].tier] for name in form.conditions])
    parts, share, drawn, kept = list[Bank](), 0.5, 0, 0
    while (wanted := patients - sum(map(len, parts))) > 0:
        counts_D = rng.multinomial(min(int(SPARE * wanted / share) + 64, MOST), tiers / tiers.sum())
        found = _patients(generator, rng, form, counts_D)
        drawn, kept = drawn + int(counts_D.sum()), kept + len(found)
        share = max(len(found) / int(counts_D.sum()), LEAST)
        if drawn > ENOUGH and kept < LEAST * drawn:
            raise AzrGymError(f"hardly anybody drawn for {complaint} gets one of its diagnoses: look at its conditions")
        parts.append(found.of(rng.permutation(len(found))[:wanted]))
    return _joined(parts)


def _joined(parts: Sequence[Bank]) -> Bank:
    return Bank(*(np.concatenate([getattr(part, one.name) for part in parts]) for one in fields(Bank)))


def _patients(generator: Generator, rng: np.random.Generator, form: Layout, counts_D: NDArray[np.int64]) -> Bank:
    """Whole patients, so many drawn for each condition: those who come and have one of the diagnoses."""
    engine, tables = generator.engine, list[dict[str, Floats]]()
    for condition, count in zip(form.conditions, counts_D.tolist(), strict=True):
        if count:
            tables.append(generator.sample(rng, condition, count, whole=True))
    facts, count = _stacked(tables), int(counts_D.sum())
    label_N = _labels(engine, form, facts, count)
    unknown_N = np.full(count, np.nan)
    raw_NA = np.stack([facts.get(name, unknown_N) for name in form.analytes], axis=1)
    female_N = (facts[FEMALE] == 1.0).astype(np.int64)
    analytes = [engine.library.analytes[name] for name in form.analytes]
    scaled_NA = np.stack([scaled(one, raw_NA[:, a], female_N, facts[AGE]) for a, one in enumerate(analytes)], axis=1)
    there_NF = np.stack([facts[name] == 1.0 for name in form.findings], axis=1)
    facts_NW = np.concatenate([~np.isnan(raw_NA), np.where(there_NF, 1, -1)], axis=1).astype(np.int8)
    seen_NA = np.nan_to_num(scaled_NA).astype(np.float32)
    complaint_N = _complaints(engine.library, form, there_NF)
    aged_N = (facts[AGE] / OLDEST).astype(np.float32)
    everybody = Bank(facts_NW, seen_NA, raw_NA, facts[AGE], aged_N, female_N, complaint_N, label_N)
    return everybody.of(np.flatnonzero((complaint_N >= 0) & (label_N >= 0)))


def _complaints(known: Library, form: Layout, there_NF: NDArray[np.bool_]) -> NDArray[np.int64]:
    """What each patient comes with, by its place in the layout; -1 for anything else."""
    if len(form.complaints) == 1:
        places = [form.findings.index(name) for name in form.complaints[0].findings]
        return np.where(there_NF[:, places].any(1), 0, -1)
    place, names = {one.id: place for place, one in enumerate(form.complaints)}, np.array(form.findings)
    return np.array([place[comes_with(known, {*names[there_F].tolist()}).id] for there_F in there_NF])


def _stacked(tables: Sequence[dict[str, Floats]]) -> dict[str, Floats]:
    """Tables of patients as one; what a table lacks is unknown."""
    names = dict.fromkeys(name for table in tables for name in table)
    unknown = [np.full(len(table[AGE]), np.nan) for table in tables]
    return {
        name: np.concatenate([table.get(name, blank_N) for table, blank_N in zip(tables, unknown, strict=True)])
        for name in names
    }


def _labels(engine: Engine, form: Layout, facts: dict[str, Floats], count: int) -> NDArray[np.int64]:
    """The engine's diagnoses, by their places among the answers; -1 for any other answer."""
    judged = engine.judge(engine.library.columns(facts, count))
    place_C = np.full(len(engine.ids) + 1, -1)
    for place, name in enumerate(form.conditions):
        place_C[engine.ids.index(name)] = place
    diagnosed_N = judged.verdict_N == [*Verdict].index(Verdict.DIAGNOSIS)
    return np.where(diagnosed_N, place_C[judged.first_N], -1)


def scaled(analyte: Analyte, raw_N: Floats, female_N: NDArray[np.int64], age_N: Floats) -> Floats:
    """Values as an agent sees them: -2 and 2 are the ends of the reference interval, and -6 and 6 the ends of all.

    What spreads over orders of magnitude is scaled by its logarithm, from a twentieth of the upper end on where the
    lower one is 0.
    """
    low_N, high_N = np.array(analyte.intervals)[np.searchsorted(analyte.starts, age_N, "right") - 1, female_N].T
    if analyte.log:
        low_N = np.where(low_N > 0, low_N, high_N / 20)
        raw_N, low_N, high_N = (np.log(np.maximum(values, 1e-9)) for values in (raw_N, low_N, high_N))
    width_N = np.maximum(high_N - low_N, 1e-9)
    found_N: Floats = np.clip((raw_N - (low_N + high_N) / 2) * 4 / width_N, -LIMIT, LIMIT)
    return found_N


def _held_out(whole: Bank, form: Layout) -> NDArray[np.bool_]:
    """Whose skeleton is kept aside: the diagnosis, what is there, and which values are high or low."""
    values_BA, there_BF = whole.scaled_BA, whole.facts_BW[:, len(form.analytes) :] > 0
    sides_BA = np.sign(values_BA) * (np.abs(values_BA) > 2.0001)  # rounded values may lie a hair outside
    parts = (whole.label_B[:, None], sides_BA, there_BF)  # a label above 127 becomes another byte: no harm is done
    skeletons = np.concatenate([part.astype(np.int8) for part in parts], axis=1)
    digests = (hashlib.blake2b(row.tobytes(), digest_size=8).digest() for row in skeletons)
    return np.array([int.from_bytes(digest) % HELD_OUT_SHARE == 0 for digest in digests], np.bool_)
