"""The clinical room: what `ClinicalCase-v0` adds to the shared game. The engine is its judge; it runs nothing."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np

from azr_gym.clinical import induction, prompts, propose, solve, workup
from azr_gym.clinical.engine import Diagnosis, Engine, shared
from azr_gym.clinical.generate import Difficulty, Generator, Search, together
from azr_gym.clinical.library import Library
from azr_gym.clinical.match import Matcher, matcher
from azr_gym.clinical.rules import Rule, Rulebook
from azr_gym.clinical.solve import Credit
from azr_gym.clinical.task import CaseTask, ClinicalTask, InductionTask, Mode, frozen
from azr_gym.clinical.workup import Terms
from azr_gym.errors import BadArgument, BadTask
from azr_gym.pool import TaskPool
from azr_gym.render import Section
from azr_gym.roles import PromptStyle, Role, Split, choose
from azr_gym.room import Brief, Room, Verdict

WEIGHTS = {"very_common": 30.0, "common": 10.0, "uncommon": 3.0, "rare": 1.0, "very_rare": 0.3}  # per 1,000 (design)
TRIES, MANY = 20, 500  # at a proposal for a rule, or a rule of a condition; at any rule
NO_RULES = "hardly any rule of split {} comes of these conditions: name more of them, or none"
LEVELS = {  # of the patients of each split; the first where none is named, or, of split="ood", either
    Split.TRAIN: (Difficulty.TYPICAL, Difficulty.DISTRACTORS, Difficulty.MISSING),
    Split.TEST: (Difficulty.TYPICAL, Difficulty.DISTRACTORS, Difficulty.MISSING),
    Split.OOD: (Difficulty.ATYPICAL, Difficulty.COMORBID),
}


class ClinicalRoom(Room[ClinicalTask]):
    """Patients and diagnoses.

    Args:
        credit: "exact", or "hierarchical": a more general name of the diagnosis counts half in `info["correctness"]`.
        conditions: ids of the conditions that patients are drawn for; none named: all, common ones more often.
        level: what makes patients hard, or a tuple of such levels to mix. Atypical and comorbid patients are of
            split="ood" alone, and it has no others; None: there these two, elsewhere typical patients.
        sequential: what a work-up costs, where the solver orders what it wants to know; None: everything is shown.

    Raises:
        BadArgument: an option out of its range.
    """

    id = "ClinicalCase-v0"
    duplicate = propose.Refusal.DUPLICATE
    target = "diagnosis"
    modes: ClassVar[type[Mode]] = Mode
    task_type = ClinicalTask
    roles = (Role.SOLVE, Role.PROPOSE)
    splits: tuple[Split, ...] = (Split.TRAIN, Split.TEST, Split.OOD)

    def __init__(
        self,
        credit: Credit | str = Credit.EXACT,
        conditions: Sequence[str] = (),
        level: Difficulty | str | Sequence[Difficulty | str] | None = None,
        sequential: Terms | None = None,
    ) -> None:
        self.credit = choose(Credit, credit, "credit")
        if isinstance(conditions, str) or not all(isinstance(one, str) for one in conditions):
            raise BadArgument(f"conditions must be a list of ids, not {conditions!r}")
        self.conditions = tuple(conditions)
        named = (level,) if isinstance(level, str) else () if level is None else tuple(level)
        self.levels = tuple(choose(Difficulty, one, "level") for one in named)
        self.splits = tuple(split for split, levels in LEVELS.items() if set(self.levels) <= set(levels))
        if level is not None and not (self.levels and self.splits):
            raise BadArgument(
                f"level must be of {[str(one) for one in LEVELS[Split.TRAIN]]}, or, with split='ood', of "
                f"{[str(one) for one in LEVELS[Split.OOD]]}, or a tuple of one kind, not {level!r}"
            )
        self.sequential = sequential
        if sequential is not None:
            self.worst_extra, self.most_steps = sequential.worst, sequential.max_steps

    def admit(self, role: Role, modes: Sequence[Any]) -> None:
        """A work-up is for solvers of deduction.

        Raises:
            BadArgument: anything else.
        """
        if self.sequential is not None and (role is not Role.SOLVE or tuple(modes) != (Mode.DEDUCTION,)):
            raise BadArgument(
                "workup='sequential' is played with role='solve', mode='deduction', target diagnosis, and with nothing "
                f"else: not with role={str(role)!r}, mode={', '.join(modes)}"
            )

    @property
    def engine(self) -> Engine:
        """The judge; the knowledge is read when it is first needed."""
        return shared()

    @property
    def library(self) -> Library:
        """What the judge knows."""
        return self.engine.library

    def make(self, rng: np.random.Generator, mode: Any, split: Split) -> ClinicalTask:
        """A patient of the generator, or patients with labels, of a condition that is drawn first."""
        return self.make_many([rng], [mode], split)[0]

    def make_many(self, rngs: Sequence[np.random.Generator], modes: Sequence[Any], split: Split) -> list[ClinicalTask]:
        """The same of each generator, with a call of the engine for all patients that are drawn at a time."""
        made: list[ClinicalTask | None] = [
            self._rule_task(rng, split) if mode is Mode.INDUCTION else None
            for rng, mode in zip(rngs, modes, strict=True)
        ]
        while left := [place for place, task in enumerate(made) if task is None]:
            found = together(self.engine, [self._search(rngs[place], split) for place in left])
            whole = {place: one for place, one in zip(left, found, strict=True) if modes[place] is Mode.ABDUCTION}
            hidden = propose.hide(*_columns([*whole.values()]), self.engine) if whole else []
            for place, (task, _) in zip(left, found, strict=True):
                made[place] = task
            for place, one in zip(whole, hidden, strict=True):
                made[place] = one
        return [task for task in made if task is not None]

    def _search(self, rng: np.random.Generator, split: Split) -> Search[tuple[CaseTask, Diagnosis]]:
        """A task of deduction, with what the engine says of the patient; see `generate.together`."""
        ids, share = _share(self.conditions)
        generator, levels = _generator(), self._levels(split)
        while True:
            condition = ids[int(rng.choice(len(ids), p=share))]
            difficulty = levels[int(rng.integers(len(levels)))]
            accept = functools.partial(self._is_of, split, condition)
            found = yield from generator.search(rng, condition, accept, difficulty)
            if found is not None:
                return CaseTask(Mode.DEDUCTION, frozen(found[0]), condition), found[1]

    def _levels(self, split: Split) -> Sequence[Difficulty]:
        levels = [one for one in self.levels if one in LEVELS[split]]
        return levels or LEVELS[split][: 2 if split is Split.OOD else 1]

    def _rule_task(self, rng: np.random.Generator, split: Split) -> InductionTask:
        for _ in range(MANY):
            rule = self._rule(rng, split)
            pairs = _rulebook().pairs(rng, rule)
            if pairs is not None:
                return InductionTask(rule.text, pairs)
        raise BadArgument(NO_RULES.format(split))

    def _rule(self, rng: np.random.Generator, split: Split, condition: str | None = None) -> Rule:
        """A rule of a split; of a condition that is drawn first, where none is given, or where that one has no such."""
        ids, share = _share(self.conditions)
        draw = _rulebook().join if split is Split.OOD else _rulebook().draw
        for attempt in range(MANY):
            given = condition if attempt < TRIES else None
            rule = draw(rng, given or ids[int(rng.choice(len(ids), p=share))])
            if rule is not None and (split is Split.OOD or rule.held_out == (split is Split.TEST)):
                return rule
        raise BadArgument(NO_RULES.format(split))

    def _is_of(self, split: Split, condition: str, facts: dict[str, float]) -> bool:
        task = CaseTask(Mode.DEDUCTION, frozen(facts), condition)
        return split is Split.OOD or propose.held_out(task, self.library) == (split is Split.TEST)

    def check(self, task: Any) -> ClinicalTask:
        """The task, if it is a patient with a condition that this version knows, or a rule that it can read.

        Raises:
            BadTask: it is not.
        """
        checked = super().check(task)
        if isinstance(checked, InductionTask):
            if _rulebook().read(checked.rule) is None:
                raise BadTask(f"{checked.rule!r} is no rule of this version's knowledge: make the task anew")
            return checked
        assert isinstance(checked, CaseTask)
        if checked.condition not in self.library.conditions:
            raise BadTask(f"{checked.condition!r} is no condition of this version's knowledge: make the task anew")
        return checked

    def prompt(self, task: ClinicalTask, style: PromptStyle) -> str:
        """What a solver reads."""
        if self.sequential is not None:
            return workup.prompt(workup.of(task), self.library, self.sequential, style)
        return prompts.solve(self.library, task, style)

    def public(self, task: ClinicalTask) -> dict[str, Any]:
        """`facts`, pairs of a name and a value; in abduction the `condition` too. induction: `shown`, a tuple of
        (facts, label), and `message`. In a work-up the `facts` that are known so far, the `orders`, and what they have
        cost: `spent`."""
        if self.sequential is not None:
            now = workup.of(task)
            facts = workup.seen(self.library, now)
            return {"facts": facts, "orders": now.orders, "spent": float(now.spent(self.library))}
        if isinstance(task, InductionTask):
            return {"shown": task.shown, "message": task.message}
        assert isinstance(task, CaseTask)
        shown: dict[str, Any] = {"facts": task.facts}
        return shown if task.mode is Mode.DEDUCTION else shown | {"condition": task.condition}

    def judge(self, tasks: Sequence[ClinicalTask], texts: Sequence[str]) -> list[Verdict[ClinicalTask]]:
        """Judge answers; one call of the engine for all patients among them."""
        if self.sequential is not None:
            return [
                workup.judge(workup.of(task), text, self.library, _matcher(), self.credit, self.sequential)
                for task, text in zip(tasks, texts, strict=True)
            ]
        cases = [(task, text) for task, text in zip(tasks, texts, strict=True) if isinstance(task, CaseTask)]
        judged = iter(solve.judge(*_columns(cases), self.engine, _matcher(), self.credit))
        return [
            induction.judge(task, text, _rulebook()) if isinstance(task, InductionTask) else next(judged)
            for task, text in zip(tasks, texts, strict=True)
        ]

    def answer(self, task: ClinicalTask, style: PromptStyle) -> str:
        """A right answer."""
        if self.sequential is not None:
            return prompts.answer(self.library, workup.of(task).case, style, "diagnose ")
        return prompts.answer(self.library, task, style)

    def with_key(self, task: ClinicalTask, other: ClinicalTask) -> ClinicalTask:
        """`task` with what a solver must find taken from `other`, a task of the same mode."""
        if isinstance(task, InductionTask) and isinstance(other, InductionTask):
            return InductionTask(other.rule, task.shown + other.hidden, task.message)
        assert isinstance(task, CaseTask)
        assert isinstance(other, CaseTask)
        if task.mode is Mode.DEDUCTION:
            return CaseTask(task.mode, task.facts, other.condition, (), task.question)
        return CaseTask(task.mode, task.facts, task.condition, other.removed, task.question)

    def brief(
        self, rng: np.random.Generator, mode: Any, pool: TaskPool[ClinicalTask] | None, references: int
    ) -> Brief[ClinicalTask]:
        """Deduction, abduction: references. Induction: a rule: a task's of the pool, or one of its diagnosis."""
        if mode is not Mode.INDUCTION:
            return super().brief(rng, mode, pool, references)
        task = self.check(pool.sample(rng, 1)[0]) if pool is not None and len(pool) else None
        if isinstance(task, InductionTask):
            return Brief(mode, subject=task.rule, pool=pool)
        condition = task.condition if isinstance(task, CaseTask) else None
        return Brief(mode, subject=self._rule(rng, Split.TRAIN, condition).text, pool=pool)

    def brief_from(
        self, mode: Any, pool: TaskPool[ClinicalTask] | None, options: Mapping[str, Any]
    ) -> Brief[ClinicalTask]:
        """`references` for deduction and abduction; `rule` (a text, or a task) for induction."""
        wanted = "rule" if mode is Mode.INDUCTION else "references"
        if set(options) != {wanted}:
            raise BadArgument(f"a proposer of {mode} tasks takes the option {wanted!r}, not {sorted(options)}")
        if mode is not Mode.INDUCTION:
            return super().brief_from(mode, pool, options)
        given = options["rule"]
        text = given.rule if isinstance(given, InductionTask) else given
        rule = _rulebook().read(text) if isinstance(text, str) else None
        if rule is None:
            raise BadTask(f"options['rule'] must be a rule of azr_gym.clinical.criteria, not {given!r}")
        return Brief(mode, subject=rule.text, pool=pool)

    def scene(
        self, task: ClinicalTask | Brief[ClinicalTask], text: str | None, verdict: Verdict[Any] | None, over: bool
    ) -> list[Section]:
        """What is asked and answered; the key only when the episode is over."""
        shown = super().scene(task, text, verdict, over)
        if verdict is not None:
            key = verdict.task if isinstance(task, Brief) else task if over else None
            if key is not None:
                key = key if self.sequential is None else workup.of(key).case
                shown.append(Section("in fact", prompts.key(self.library, key)))
        return shown

    def picture(self, shown: Any, text: str | None, verdict: Verdict[Any] | None, over: bool) -> Any:
        """A patient's chart; of an accepted proposal its patient's. Everything else is drawn as text."""
        from azr_gym.clinical import chart

        if self.sequential is not None:
            now = workup.of(shown)
            known_now = replace(now.case, facts=workup.seen(self.library, now))
            steps = workup.steps(self.library, now)
            return chart.draw(self.library, chart.of(self.library, known_now, text, verdict, over, steps))
        task = verdict.task if isinstance(shown, Brief) and verdict is not None else shown
        if not isinstance(task, CaseTask):
            return super().picture(shown, text, verdict, over)
        return chart.draw(self.library, chart.of(self.library, task, text, verdict, over))

    def propose_prompt(self, brief: Brief[ClinicalTask], style: PromptStyle) -> str:
        """What a proposer reads."""
        return prompts.propose(self.library, brief, style)

    def read(self, briefs: Sequence[Brief[ClinicalTask]], texts: Sequence[str]) -> list[Verdict[ClinicalTask]]:
        """Judge proposals."""
        cases = [(one, text) for one, text in zip(briefs, texts, strict=True) if one.mode is not Mode.INDUCTION]
        judged = iter(propose.read(*_columns(cases), self.engine, _matcher()))
        return [
            induction.read(one, text, _rulebook()) if one.mode is Mode.INDUCTION else next(judged)
            for one, text in zip(briefs, texts, strict=True)
        ]

    def proposal(self, rng: np.random.Generator, brief: Brief[ClinicalTask], style: PromptStyle) -> str:
        """A patient of the generator that the pool does not hold; for induction, patients on both sides of the rule.

        Raises:
            BadTask: the rule is kept aside, or hardly anybody is on one side of it.
        """
        if brief.mode is Mode.INDUCTION:
            return self._inputs(rng, brief, style)
        while True:
            [(task, _)] = together(self.engine, [self._search(rng, Split.TRAIN)])
            text = prompts.patient(self.library, task.whole, style)
            [verdict] = self.read([brief], [text])
            if verdict.task is not None:
                return text

    def _inputs(self, rng: np.random.Generator, brief: Brief[ClinicalTask], style: PromptStyle) -> str:
        rule = _rulebook().read(brief.subject)
        for _ in range(TRIES):
            pairs = _rulebook().pairs(rng, rule) if rule is not None else None
            facts = [facts for facts, _ in pairs or ()]
            text = prompts.inputs_proposal(self.library, facts, prompts.ANY_HINT, style)
            [verdict] = self.read([brief], [text])
            if verdict.task is not None:
                return text
        raise BadTask(f"nothing was found to propose for the rule {brief.subject!r}: {verdict.reason}")


def _columns(rows: Sequence[tuple[Any, Any]]) -> tuple[list[Any], list[Any]]:
    return [row[0] for row in rows], [row[1] for row in rows]


@functools.cache
def _rulebook() -> Rulebook:
    return Rulebook(shared().library)


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
