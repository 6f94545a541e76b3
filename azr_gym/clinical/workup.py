"""The work-up of a patient in text: what is known at first, what an order reveals and costs, when it is over.

The same costs and penalties as `ward.py` has in numbers; prompts are worded in `prompts.py`.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from typing import Any

from azr_gym import text as texts
from azr_gym.clinical import prompts
from azr_gym.clinical.library import AGE, FEMALE, MALE, PREGNANT, Kind, Library, plain
from azr_gym.clinical.match import Matcher
from azr_gym.clinical.panels import Complaint
from azr_gym.clinical.solve import Credit, diagnosed
from azr_gym.clinical.task import CaseTask, ClinicalTask, Facts, Mode, frozen
from azr_gym.errors import BadArgument
from azr_gym.roles import Outcome, PromptStyle
from azr_gym.room import Verdict

POINT = 0.01  # of reward: what one unit of a panel's cost is worth
URGENT = 1  # acuity of what must not be missed: minutes matter
TOLD = ("history",)  # panels that are told with the complaint, beside those that are `given`
MAX_ORDER_CHARS = 200
CHECK_UP = Complaint("check_up", "nothing of their own: something was found at a check-up", (), ())
ORDER = re.compile(
    r"(?:please\s+)?(?:order|ask|request|measure|examine|check|repeat|get|obtain|perform)\s+(?:(?:for|about|the|an?)\s+)*([^<>]+)",
    re.IGNORECASE,
)
DIAGNOSE = re.compile(r"(?:i\s+)?diagnos(?:e|is)\b\s*(?:is\b|:|=)?\s*([^<>]+)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Terms:
    """What a work-up costs.

    Attributes:
        budget: cost of all orders; at an order that would exceed it the episode is cut off.
        max_steps: orders of an episode; the last of them cuts it off.
        cost_weight: times 0.01 and an order's cost is what it takes from the reward.
        critical_miss: what is lost where the episode ends without the right diagnosis and minutes matter (acuity 1).

    Raises:
        BadArgument: a number out of its range.
    """

    budget: float = 60.0
    max_steps: int = 20
    cost_weight: float = 1.0
    critical_miss: float = 0.5

    def __post_init__(self) -> None:
        for name in ("budget", "cost_weight", "critical_miss"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < float("inf"):
                raise BadArgument(f"{name} must be a finite number of at least 0, not {value!r}")
        if isinstance(self.max_steps, bool) or not isinstance(self.max_steps, int) or self.max_steps < 1:
            raise BadArgument(f"max_steps must be an int of at least 1, not {self.max_steps!r}")

    @property
    def worst(self) -> float:
        """The least that an episode's costs and penalty can add to its reward."""
        return -(POINT * self.cost_weight * self.budget + self.critical_miss)


@dataclass(frozen=True, slots=True)
class Workup(ClinicalTask):
    """A case on its way.

    Attributes:
        case: the patient with everything.
        orders: what was ordered so far: ids of panels, one for each step; "" for what there is not.
    """

    case: CaseTask
    orders: tuple[str, ...] = ()

    @property
    def mode(self) -> Mode:
        """Of the case."""
        return self.case.mode

    @property
    def id(self) -> str:
        """Of the case."""
        return self.case.id

    @property
    def key(self) -> bytes:
        """Of the case."""
        return self.case.key

    def features(self) -> frozenset[str]:
        """Of the case."""
        return self.case.features()

    def to_json(self) -> dict[str, Any]:
        """The case; how far somebody came with it is no part of a task."""
        return self.case.to_json()

    def spent(self, known: Library) -> float:
        """Cost of all orders; a panel is paid once, and what is told is free."""
        return sum(known.panels[name].cost for name in {*self.orders} - {"", *TOLD})


def of(task: ClinicalTask) -> Workup:
    """A task as a work-up: one that begins, where it is a case."""
    if isinstance(task, Workup):
        return task
    assert isinstance(task, CaseTask)
    return Workup(task)


def complaints(known: Library) -> tuple[Complaint, ...]:
    """What somebody may come with: one of the library's complaints, a symptom of none of these, or nothing at all."""
    grouped = {name for one in known.complaints.values() for name in one.findings}
    symptoms = (name for name, one in known.findings.items() if one.kind is Kind.SYMPTOM and name not in grouped)
    return (*known.complaints.values(), *(_alone(known, name) for name in symptoms), CHECK_UP)


def comes_with(known: Library, there: AbstractSet[str]) -> Complaint:
    """Which of these it is, of somebody with such findings: a function of what it might be, and of nothing else."""
    fits = [name for name, one in known.complaints.items() if not there.isdisjoint(one.findings)]
    if fits:
        return known.complaints[_chosen(fits)]
    symptoms = sorted(name for name in there if name in known.findings and known.findings[name].kind is Kind.SYMPTOM)
    return _alone(known, _chosen(symptoms)) if symptoms else CHECK_UP


def complaint(known: Library, case: CaseTask) -> tuple[str, tuple[str, ...]]:
    """What a patient comes with, in words, and the findings that it is."""
    there = {name for name, value in case.facts if value == 1.0}
    one = comes_with(known, there)
    return one.name, tuple(sorted(there & {*one.findings}))


def _alone(known: Library, symptom: str) -> Complaint:
    return Complaint(symptom, known.findings[symptom].name, (symptom,), ())


def _chosen(options: list[str]) -> str:
    """One of several, always the same of the same."""
    digest = hashlib.blake2b(",".join(options).encode(), digest_size=8).digest()
    return options[int.from_bytes(digest) % len(options)]


def start(known: Library, case: CaseTask) -> dict[str, float]:
    """What is known at first: who it is, the complaint, what is told with it, and vital signs."""
    told = {AGE, FEMALE, MALE, PREGNANT, *complaint(known, case)[1]}
    for panel in known.panels.values():
        if panel.given or panel.id in TOLD:
            told.update(known.reveals[panel.id])
    return {name: value for name, value in case.facts if name in told}


def result(known: Library, case: CaseTask, panel: str) -> dict[str, float]:
    """What a panel shows of a patient: what is known of it."""
    shown = frozenset(known.reveals[panel])
    return {name: value for name, value in case.facts if name in shown}


def results(known: Library, workup: Workup) -> list[tuple[str, dict[str, float]]]:
    """Every order, and what it has shown."""
    return [(panel, result(known, workup.case, panel) if panel else {}) for panel in workup.orders]


def prompt(workup: Workup, known: Library, terms: Terms, style: PromptStyle) -> str:
    """What a solver reads now."""
    case, left = workup.case, (terms.budget - workup.spent(known), terms.max_steps - len(workup.orders))
    comes_with, shown = complaint(known, case)[0], results(known, workup)
    return prompts.work_up(known, start(known, case), comes_with, shown, left, case.question, style)


def steps(known: Library, workup: Workup) -> list[tuple[str, str]]:
    """What was ordered, and whether anything came of it."""
    return [
        (known.panels[panel].name if panel else "?", f"{len(facts)} results" if facts else "not available")
        for panel, facts in results(known, workup)
    ]


def seen(known: Library, workup: Workup) -> Facts:
    """Everything that is known so far."""
    facts = start(known, workup.case)
    for panel in workup.orders:
        facts |= result(known, workup.case, panel) if panel else {}
    return frozen(facts)


# --- actions --------------------------------------------------------------------------------------------------------
def read_order(text: str, known: Library) -> str | None:
    """The panel that a text orders, "" where there is no such order; None where it is no order.

    "order CBC", "ask about medicines"; a single value or finding orders the panel that shows it: "order troponin".
    """
    found = ORDER.fullmatch(" ".join(text.split()).rstrip(" .!?")) if len(text) <= MAX_ORDER_CHARS else None
    if found is None:
        return None
    name = plain(found[1])
    if name in known.names["panel"]:
        return known.names["panel"][name]
    fact = known.names["analyte"].get(name) or known.names["finding"].get(name)
    return next((panel for panel, facts in known.reveals.items() if fact in facts), "")


def judge(
    workup: Workup, text: str, known: Library, matcher: Matcher, credit: Credit, terms: Terms
) -> Verdict[ClinicalTask]:
    """Say what an action does: an order goes on, with the work-up as it then stands in `task`; a diagnosis ends it.

    Args:
        workup: as it stands.
        text: what was written: one order, or one diagnosis.
        known: the library.
        matcher: reads diagnoses.
        credit: for more general names.
        terms: what orders cost, and when it is over.
    """

    def action(line: str) -> tuple[str, str] | None:
        panel = read_order(line, known)
        if panel is not None:
            return ("order", panel)
        said = DIAGNOSE.fullmatch(line.strip())
        condition = matcher.read(said[1]) if said is not None else None
        return ("diagnose", condition) if condition is not None else None

    found = texts.find(text, action, tuple.__eq__)
    lost = 0.0 - terms.critical_miss * (known.conditions[workup.case.condition].acuity <= URGENT)
    match found.value:
        case None:
            reason = prompts.TWO_ACTIONS if found.contradiction else prompts.NO_ACTION
            return Verdict(Outcome.MALFORMED, reason, extra=lost)
        case ("diagnose", condition):
            verdict = diagnosed(workup.case, condition, matcher, credit)
            return verdict if verdict.outcome is Outcome.CORRECT else replace(verdict, extra=lost)
        case (_, panel):
            return _ordered(workup, panel, known, terms, lost)
    raise AssertionError(found)


def _ordered(workup: Workup, panel: str, known: Library, terms: Terms, lost: float) -> Verdict[ClinicalTask]:
    after = replace(workup, orders=(*workup.orders, panel))
    price = after.spent(known) - workup.spent(known)
    if after.spent(known) > terms.budget:
        return Verdict(Outcome.UNANSWERED, prompts.BUDGET_SPENT, extra=lost)
    paid = 0.0 - POINT * terms.cost_weight * price
    if len(after.orders) >= terms.max_steps:
        return Verdict(Outcome.UNANSWERED, prompts.NO_MORE_ORDERS, task=after, extra=paid + lost)
    if not panel:
        reason = prompts.NO_SUCH_ORDER
    elif panel in workup.orders or panel in TOLD or known.panels[panel].given:
        reason = prompts.KNOWN_ALREADY
    else:
        reason = prompts.ORDERED if result(known, workup.case, panel) else prompts.NOT_AVAILABLE
    return Verdict(Outcome.OPEN, reason, task=after, extra=paid)
