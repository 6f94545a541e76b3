"""Whole patients in bulk, for `ClinicalCaseTabular-v0`: everything that an order could reveal is there already.

A patient is drawn by the generator for a condition behind the complaint, as often as the condition is common, and
everything is known of them. The label is what the engine says of the whole patient; who does not come with the
complaint, or has something else, is left out.
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
from azr_gym.clinical.library import AGE, FEMALE, PREGNANT, Analyte, Library, knowledge
from azr_gym.clinical.panels import Complaint
from azr_gym.clinical.propose import HELD_OUT_SHARE
from azr_gym.clinical.room import WEIGHTS
from azr_gym.clinical.workup import URGENT
from azr_gym.errors import AzrGymError, BadArgument
from azr_gym.roles import Split

PATIENTS = 8192
ROUNDS, SPARE = 50, 1.1  # how often patients are drawn at most, and how many more than seem to be needed
LIMIT = 6.0  # of a scaled value: three times as far from the middle as the ends of the reference interval
OLDEST = 120.0  # years


@dataclass(frozen=True, slots=True)
class Layout:
    """Which columns, orders and answers there are for a complaint.

    A fact has a column where a condition behind the complaint looks at it or shows it. Shapes: P orders, D answers,
    W = A + F columns, analytes first.

    Attributes:
        complaint: what everybody comes with.
        panels: ids of the panels that reveal any of the columns, P.
        conditions: ids of the answers, D.
        analytes, findings: the columns, A and F.
        actions: what each action does, P + D: "order ecg", "diagnose nstemi".
        reveals_PW: which columns a panel reveals.
        start_W: which are known before anything is ordered.
        cost_P: what a panel costs.
        urgent_D: whether an answer must not be missed.
    """

    complaint: Complaint
    panels: tuple[str, ...]
    conditions: tuple[str, ...]
    analytes: tuple[str, ...]
    findings: tuple[str, ...]
    actions: tuple[str, ...]
    reveals_PW: NDArray[np.bool_]
    start_W: NDArray[np.bool_]
    cost_P: Floats
    urgent_D: NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Bank:
    """B whole patients.

    Attributes:
        chart_BW: scaled values (see `scaled`), then findings: 1 there, -1 not; float32.
        measured_BA: whether there is such a value at all (nobody has weeks of gestation who is not pregnant).
        raw_BA: values in the library's units.
        age_B: in years.
        female_B: 1 women, 0 men.
        label_B: the diagnosis, by its place among the layout's conditions.
    """

    chart_BW: NDArray[np.float32]
    measured_BA: NDArray[np.bool_]
    raw_BA: Floats
    age_B: Floats
    female_B: NDArray[np.int64]
    label_B: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.label_B)

    def of(self, rows: NDArray[np.int64]) -> Bank:
        """Some of the patients."""
        return Bank(*(getattr(self, one.name)[rows] for one in fields(self)))


@functools.cache
def layout(complaint: str) -> Layout:
    """The columns, orders and answers of a complaint.

    Raises:
        BadArgument: there is no such complaint.
    """
    known = knowledge()
    if complaint not in known.complaints:
        raise BadArgument(f"complaint must be one of {', '.join(known.complaints)}, not {complaint!r}")
    one = known.complaints[complaint]
    matters = _matters(known, one.conditions) | set(one.findings)
    given = {name for panel in known.panels.values() if panel.given for name in known.reveals[panel.id]}
    shown = {panel: set(facts) & matters for panel, facts in known.reveals.items() if not known.panels[panel].given}
    panels = tuple(panel for panel, facts in shown.items() if facts - set(one.findings))
    wanted = given.union(one.findings, matters & {PREGNANT}, *(shown[panel] for panel in panels))
    analytes = tuple(name for name in known.analytes if name in wanted)
    findings = tuple(name for name in (*known.findings, PREGNANT) if name in wanted)
    columns = (*analytes, *findings)
    return Layout(
        complaint=one,
        panels=panels,
        conditions=one.conditions,
        analytes=analytes,
        findings=findings,
        actions=(*(f"order {panel}" for panel in panels), *(f"diagnose {name}" for name in one.conditions)),
        reveals_PW=np.array([[name in shown[panel] for name in columns] for panel in panels]),
        start_W=np.array([name in given or name in one.findings or name == PREGNANT for name in columns]),
        cost_P=np.array([known.panels[panel].cost for panel in panels]),
        urgent_D=np.array([known.conditions[name].acuity <= URGENT for name in one.conditions]),
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
        complaint: its id.
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
    parts, share = list[Bank](), 0.5
    for _ in range(ROUNDS):
        wanted = patients - sum(map(len, parts))
        if wanted <= 0:
            return _joined(parts)
        counts_D = rng.multinomial(int(SPARE * wanted / share) + 64, tiers / tiers.sum())
        found = _patients(generator, rng, form, counts_D)
        parts.append(found.of(rng.permutation(len(found))[:wanted]))
        share = max(len(found) / counts_D.sum(), 0.02)
    raise AzrGymError(f"hardly anybody drawn for {complaint} gets one of its diagnoses: look at its conditions")


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
    comes_N = np.logical_or.reduce([facts[name] == 1.0 for name in form.complaint.findings])
    unknown_N = np.full(count, np.nan)
    raw_NA = np.stack([facts.get(name, unknown_N) for name in form.analytes], axis=1)
    female_N = (facts[FEMALE] == 1.0).astype(np.int64)
    analytes = [engine.library.analytes[name] for name in form.analytes]
    scaled_NA = np.stack([scaled(one, raw_NA[:, a], female_N) for a, one in enumerate(analytes)], axis=1)
    there_NF = np.stack([np.where(facts[name] == 1.0, 1.0, -1.0) for name in form.findings], axis=1)
    chart_NW = np.concatenate([np.nan_to_num(scaled_NA), there_NF], axis=1).astype(np.float32)
    everybody = Bank(chart_NW, ~np.isnan(raw_NA), raw_NA, facts[AGE], female_N, label_N)
    return everybody.of(np.flatnonzero(comes_N & (label_N >= 0)))


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


def scaled(analyte: Analyte, raw_N: Floats, female_N: NDArray[np.int64]) -> Floats:
    """Values as an agent sees them: -2 and 2 are the ends of the reference interval, and -6 and 6 the ends of all.

    What spreads over orders of magnitude is scaled by its logarithm, from a twentieth of the upper end on where the
    lower one is 0.
    """
    ends = np.array([analyte.interval(False), analyte.interval(True)])[female_N]
    low_N, high_N = ends[:, 0], ends[:, 1]
    if analyte.log:
        low_N = np.where(low_N > 0, low_N, high_N / 20)
        raw_N, low_N, high_N = (np.log(np.maximum(values, 1e-9)) for values in (raw_N, low_N, high_N))
    width_N = np.maximum(high_N - low_N, 1e-9)
    found_N: Floats = np.clip((raw_N - (low_N + high_N) / 2) * 4 / width_N, -LIMIT, LIMIT)
    return found_N


def _held_out(whole: Bank, form: Layout) -> NDArray[np.bool_]:
    """Whose skeleton is kept aside: the diagnosis, what is there, and which values are high or low."""
    width = len(form.analytes)
    values_BA, there_BF = whole.chart_BW[:, :width], whole.chart_BW[:, width:] > 0
    sides_BA = np.sign(values_BA) * (np.abs(values_BA) > 2.0001)  # rounded values may lie a hair outside
    skeletons = np.concatenate([whole.label_B[:, None], sides_BA, there_BF], axis=1).astype(np.int8)
    digests = (hashlib.blake2b(row.tobytes(), digest_size=8).digest() for row in skeletons)
    return np.array([int.from_bytes(digest) % HELD_OUT_SHARE == 0 for digest in digests], np.bool_)
