"""The clinical room: what `ClinicalCase-v0` adds to the shared game. The engine is its judge; it runs nothing."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from azr_gym.clinical import prompts, propose, solve
from azr_gym.clinical.engine import Engine, shared
from azr_gym.clinical.generate import Generator
from azr_gym.clinical.library import Library
from azr_gym.clinical.match import Matcher, matcher
from azr_gym.clinical.solve import Credit
from azr_gym.clinical.task import CaseTask, Mode, frozen
from azr_gym.errors import BadArgument, BadTask
from azr_gym.roles import PromptStyle, Role, Split, choose
from azr_gym.room import Brief, Room, Verdict

WEIGHTS = {"very_common": 30.0, "common": 10.0, "uncommon": 3.0, "rare": 1.0, "very_rare": 0.3}  # per 1,000 (design)


class ClinicalRoom(Room[CaseTask]):
    """Patients and diagnoses.

    Args:
        credit: "exact", or "hierarchical": a more general name of the diagnosis counts half in `info["correctness"]`.
        conditions: ids of the conditions that patients are drawn for; none named: all, common ones more often.

    Raises:
        BadArgument: an option out of its range.
    """

    id = "ClinicalCase-v0"
    target = "diagnosis"
    modes: ClassVar[type[Mode]] = Mode
    task_type = CaseTask
    roles = (Role.SOLVE, Role.PROPOSE)
    splits = (Split.TRAIN, Split.TEST)

    def __init__(self, credit: Credit | str = Credit.EXACT, conditions: Sequence[str] = ()) -> None:
        self.credit = choose(Credit, credit, "credit")
        if isinstance(conditions, str) or not all(isinstance(one, str) for one in conditions):
            raise BadArgument(f"conditions must be a list of ids, not {conditions!r}")
        self.conditions = tuple(conditions)

    @property
    def engine(self) -> Engine:
        """The judge; the knowledge is read when it is first needed."""
        return shared()

    @property
    def library(self) -> Library:
        """What the judge knows."""
        return self.engine.library

    def make(self, rng: np.random.Generator, mode: Any, split: Split) -> CaseTask:
        """A patient of the generator, of a condition that is drawn first."""
        ids, share = _share(self.conditions)
        generator = _generator()
        while True:
            condition = ids[int(rng.choice(len(ids), p=share))]
            facts = generator.patient(rng, condition, functools.partial(self._is_of, split, condition))
            if facts is not None:
                task = CaseTask(Mode.DEDUCTION, frozen(facts), condition)
                found = task if mode is Mode.DEDUCTION else self._hidden(task)
                if found is not None:
                    return found

    def _is_of(self, split: Split, condition: str, facts: dict[str, float]) -> bool:
        task = CaseTask(Mode.DEDUCTION, frozen(facts), condition)
        return propose.held_out(task, self.library) == (split is Split.TEST)

    def _hidden(self, task: CaseTask) -> CaseTask | None:
        return propose.hide([task], self.engine.diagnose([task.whole]), self.engine)[0]

    def check(self, task: Any) -> CaseTask:
        """The task, if it is a patient whom this engine diagnoses as the task says.

        Raises:
            BadTask: it is not.
        """
        checked = super().check(task)
        if checked.condition not in self.library.conditions:
            raise BadTask(f"{checked.condition!r} is no condition of this version's knowledge: make the task anew")
        return checked

    def prompt(self, task: CaseTask, style: PromptStyle) -> str:
        """What a solver reads."""
        return prompts.solve(self.library, task, style)

    def public(self, task: CaseTask) -> dict[str, Any]:
        """`facts`, pairs of a name and a value; in abduction the `condition` too."""
        shown: dict[str, Any] = {"facts": task.facts}
        return shown if task.mode is Mode.DEDUCTION else shown | {"condition": task.condition}

    def judge(self, tasks: Sequence[CaseTask], texts: Sequence[str]) -> list[Verdict[CaseTask]]:
        """Judge answers; one call of the engine for all patients among them."""
        return solve.judge(tasks, texts, self.engine, _matcher(), self.credit)

    def answer(self, task: CaseTask, style: PromptStyle) -> str:
        """A right answer."""
        return prompts.answer(self.library, task, style)

    def with_key(self, task: CaseTask, other: CaseTask) -> CaseTask:
        """`task` with what a solver must find taken from `other`, a task of the same mode."""
        if task.mode is Mode.DEDUCTION:
            return CaseTask(task.mode, task.facts, other.condition, (), task.question)
        return CaseTask(task.mode, task.facts, task.condition, other.removed, task.question)

    def picture(self, shown: Any, text: str | None, verdict: Verdict[Any] | None, over: bool) -> Any:
        """A patient's chart; of an accepted proposal its patient's. Everything else is drawn as text."""
        from azr_gym.clinical import chart

        task = verdict.task if isinstance(shown, Brief) and verdict is not None else shown
        if not isinstance(task, CaseTask):
            return super().picture(shown, text, verdict, over)
        return chart.draw(self.library, chart.of(self.library, task, text, verdict, over))

    def propose_prompt(self, brief: Brief[CaseTask], style: PromptStyle) -> str:
        """What a proposer reads."""
        return prompts.propose(self.library, brief, style)

    def read(self, briefs: Sequence[Brief[CaseTask]], texts: Sequence[str]) -> list[Verdict[CaseTask]]:
        """Judge proposals."""
        return propose.read(briefs, texts, self.engine, _matcher())

    def proposal(self, rng: np.random.Generator, brief: Brief[CaseTask], style: PromptStyle) -> str:
        """A patient of the generator that the pool does not hold."""
        while True:
            text = prompts.patient(self.library, self.make(rng, Mode.DEDUCTION, Split.TRAIN).whole, style)
            [verdict] = self.read([brief], [text])
            if verdict.task is not None:
                return text


@functools.cache
def _generator() -> Generator:
    return Generator(shared())


@functools.cache
def _matcher() -> Matcher:
    return matcher(shared().library)


@functools.cache
def _share(conditions: tuple[str, ...]) -> tuple[list[str], Any]:
    """Conditions to draw patients for, and how often each."""
    known = shared().library.conditions
    if unknown := sorted(set(conditions) - set(known)):
        raise BadArgument(f"{unknown[0]!r} is no condition; azr_gym.clinical.knowledge().conditions lists them")
    ids = [*(conditions or known)]
    weights = np.array([WEIGHTS[known[one].tier] for one in ids])
    return ids, weights / weights.sum()
