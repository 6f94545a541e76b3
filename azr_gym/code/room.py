"""The code room: what `CodeTriplet-v0` adds to the shared game. Holds the box, and asks for it only when something
must run."""

from __future__ import annotations

import copy
import os
import threading
from collections.abc import Mapping, Sequence
from itertools import zip_longest
from typing import Any, ClassVar

import numpy as np

from azr_sandbox import CallStatus, Limits, NotPlainData, Program, Runner, make_runner, values

from ..errors import BadArgument, BadTask
from ..pool import TaskPool
from ..render import Section
from ..roles import PromptStyle, Role, Split, choose
from ..room import Brief, Room, Verdict, verdict_is_good
from . import generate, prompts, propose, solve
from .propose import Context
from .read import defines_entry
from .triplet import (
    ENTRY,
    MAX_PAIRS,
    MAX_VALUE_CHARS,
    N_PAIRS,
    CodeTask,
    InductionTask,
    Mode,
    Triplet,
    arity,
    check_program,
    parse_arguments,
    render_arguments,
)
from .vary import variations

Pair = tuple[Sequence[object], object]
_RUNNERS = ("auto", "docker", "jail")
_shared: dict[tuple[str, int | None], tuple[Runner, set[int]]] = {}  # one box of a kind, and the rooms that use it
_starting = threading.Lock()  # of a box: who asks meanwhile waits for it


class CodeRoom(Room[CodeTask]):
    """Programs, inputs and outputs.

    Args:
        level: difficulty of generated programs, 1 to 5, or a tuple of levels to mix.
        n_pairs: input/output pairs of an induction task, an even number; half are shown.
        runner: "auto", "docker", "jail", or a runner of your own, which you close.

    Raises:
        BadArgument: an option out of its range.
    """

    id = "CodeTriplet-v0"
    target = "triplet"
    modes: ClassVar[type[Mode]] = Mode
    task_type = CodeTask
    roles = (Role.SOLVE, Role.PROPOSE)
    splits = (Split.TRAIN, Split.TEST, Split.OOD)
    duplicate = propose.Refusal.DUPLICATE
    slots: int | None = None  # programs that its box runs at a time; one per core

    def __init__(self, level: int | Sequence[int] = 2, n_pairs: int = N_PAIRS, runner: Runner | str = "auto") -> None:
        self.levels = (level,) if isinstance(level, int) else tuple(level)
        if not self.levels or any(type(one) is not int or one not in generate.LEVELS for one in self.levels):
            raise BadArgument(f"level must be one of {generate.LEVELS}, or a tuple of them, not {level!r}")
        if type(n_pairs) is not int or not 2 <= n_pairs <= MAX_PAIRS or n_pairs % 2:
            raise BadArgument(f"n_pairs must be an even int from 2 to {MAX_PAIRS}, not {n_pairs!r}")
        if isinstance(runner, str) and runner not in _RUNNERS:
            raise BadArgument(f"runner must be one of {_RUNNERS} or a runner, not {runner!r}")
        if not isinstance(runner, str | Runner):
            raise BadArgument(f"runner must be one of {_RUNNERS} or have run() and evaluate(): make_runner() gives one")
        self.n_pairs, self._runner = n_pairs, runner

    def box(self) -> Runner:
        """The runner; a shared one is started by the first room that needs it.

        Raises:
            Unavailable: no sandbox can work here.
        """
        if not isinstance(self._runner, str):
            return self._runner
        key = (self._runner, self.slots)
        with _starting:
            if key not in _shared:
                _shared[key] = (make_runner(self._runner, slots=self.slots), set())  # type: ignore[arg-type]
            runner, users = _shared[key]
            users.add(id(self))
        return runner

    def share(self) -> CodeRoom:
        """The same with a box of two slots: one program is sent while another runs."""
        room = copy.copy(self)
        room.slots = 2
        return room

    def close(self) -> None:
        """Let go of the shared box; the last room closes it."""
        for name, (runner, users) in list(_shared.items()):
            users.discard(id(self))
            if not users:
                del _shared[name]
                runner.close()

    def __del__(self) -> None:
        for _, users in _shared.values():
            users.discard(id(self))

    def make(self, rng: np.random.Generator, mode: Any, split: Split) -> CodeTask:
        """A task of the generator."""
        level = self.levels[0] if len(self.levels) == 1 else self.levels[int(rng.integers(len(self.levels)))]
        induction = mode is Mode.INDUCTION
        made = generate.sample(rng, level=level, split=split.value, n_inputs=self.n_pairs if induction else 1)
        if not induction:
            return Triplet.of(mode, made.source, made.inputs[0], made.outputs[0])
        pairs = mixed(list(zip(made.inputs, made.outputs, strict=True)))
        return InductionTask.of(made.source, pairs) if pairs else self.make(rng, mode, split)

    def prompt(self, task: CodeTask, style: PromptStyle) -> str:
        """What a solver reads."""
        return prompts.solve(task, style)

    def retry(self, prompt: str, text: str, verdict: Verdict[CodeTask], style: PromptStyle) -> str:
        """The prompt of a further attempt."""
        return prompts.retry(prompt, text, verdict, style)

    def public(self, task: CodeTask) -> dict[str, Any]:
        """deduction: program, input. abduction: program, output. induction: shown, a tuple of pairs; message."""
        if isinstance(task, InductionTask):
            return {"shown": task.shown, "message": task.message}
        assert isinstance(task, Triplet)
        if task.mode is Mode.DEDUCTION:
            return {"program": task.program, "input": task.arguments}
        return {"program": task.program, "output": task.output}

    def judge(self, tasks: Sequence[CodeTask], texts: Sequence[str]) -> list[Verdict[CodeTask]]:
        """Judge answers; one call of the box for all that must run."""
        return solve.judge(tasks, texts, self.box)

    def answer(self, task: CodeTask, style: PromptStyle) -> str:
        """A right answer."""
        return prompts.answer(task, style)

    def with_key(self, task: CodeTask, other: CodeTask) -> CodeTask:
        """`task` with what a solver must find taken from `other`, a task of the same mode."""
        if isinstance(task, InductionTask) and isinstance(other, InductionTask):
            half = len(task.pairs) // 2
            return InductionTask(other.program, task.pairs[:half] + other.pairs[len(other.pairs) // 2 :], task.message)
        assert isinstance(task, Triplet)
        assert isinstance(other, Triplet)
        if task.mode is Mode.DEDUCTION:
            return Triplet(task.mode, task.program, task.arguments, other.output)
        return Triplet(task.mode, task.program, other.arguments, task.output)

    def brief(
        self, rng: np.random.Generator, mode: Any, pool: TaskPool[CodeTask] | None, references: int
    ) -> Brief[CodeTask]:
        """Deduction, abduction: references. Induction: a program of the pool, of whatever mode."""
        if mode is not Mode.INDUCTION:
            return super().brief(rng, mode, pool, references)
        filled = pool is not None and len(pool) > 0
        task = pool.sample(rng, 1)[0] if filled else self.make(rng, mode, Split.TRAIN)  # type: ignore[union-attr]
        return Brief(mode, subject=_context(task), pool=pool)

    def brief_from(self, mode: Any, pool: TaskPool[CodeTask] | None, options: Mapping[str, Any]) -> Brief[CodeTask]:
        """`references` for deduction and abduction; `program` (source, or a task) for induction."""
        wanted = "program" if mode is Mode.INDUCTION else "references"
        if set(options) != {wanted}:
            raise BadArgument(f"a proposer of {mode} tasks takes the option {wanted!r}, not {sorted(options)}")
        if mode is not Mode.INDUCTION:
            return super().brief_from(mode, pool, options)
        program = options["program"]
        if isinstance(program, CodeTask):
            return Brief(mode, subject=_context(program), pool=pool)
        check_program(program)
        if not defines_entry(program):
            raise BadTask(f"options['program'] must be Python source that defines {ENTRY}, or a task with a program")
        return Brief(mode, subject=Context(program), pool=pool)

    def propose_prompt(self, brief: Brief[CodeTask], style: PromptStyle) -> str:
        """What a proposer reads."""
        return prompts.propose(brief, self.n_pairs, style)

    def read(self, briefs: Sequence[Brief[CodeTask]], texts: Sequence[str]) -> list[Verdict[CodeTask]]:
        """Judge proposals; one call of the box for all that look right."""
        return propose.read(briefs, texts, self.n_pairs, self.box, self._limits())

    def _limits(self) -> Limits:
        limits = getattr(self._runner, "limits", None)
        return limits if isinstance(limits, Limits) else Limits()

    def proposal(self, rng: np.random.Generator, brief: Brief[CodeTask], style: PromptStyle) -> str:
        """A program of the generator that the pool does not hold; for induction, inputs on which the program runs."""
        if brief.mode is Mode.INDUCTION:
            return prompts.inputs_proposal(self._inputs(rng, brief.subject), prompts.ANY_HINT, style)
        while True:
            task = self.make(rng, brief.mode, Split.TRAIN)
            assert isinstance(task, Triplet)
            if not brief.knows(task.key):
                return prompts.proposal(task.program, task.arguments, style)

    def _inputs(self, rng: np.random.Generator, subject: Context) -> list[str]:
        """Different inputs on which a program runs, tried in the box, those with outputs of their own first."""
        count = arity(subject.program)
        seeds = [parse_arguments(one) for one in subject.arguments]
        tried = variations(rng, seeds, 1 if count is None else count, 8 * self.n_pairs)
        [run] = self.box().run([Program(subject.program, tried, ENTRY)])
        good: list[Pair] = []
        for given, call in zip(tried, run.calls, strict=True):
            if call.status is CallStatus.OK:
                try:
                    render_arguments(given)
                    values.render(call.value, MAX_VALUE_CHARS)
                except NotPlainData:
                    continue
                good.append((given, call.value))
        groups: dict[bytes, list[Pair]] = {}
        for pair in good:
            groups.setdefault(values.canonical(pair[1]), []).append(pair)
        by_turns = [pair for turn in zip_longest(*groups.values()) for pair in turn if pair is not None]
        chosen = by_turns[: self.n_pairs]
        return [render_arguments(given) for given, _ in mixed(chosen) or chosen]

    def scene(
        self, task: CodeTask | Brief[CodeTask], text: str | None, verdict: Verdict[CodeTask] | None, over: bool
    ) -> list[Section]:
        """The task as a person reads it; the key only when the episode is over."""
        shown = _brief_scene(task) if isinstance(task, Brief) else _task_scene(task)
        if text is not None and verdict is not None:
            shown += [Section("answer", text), Section(verdict.outcome, verdict.reason, good=verdict_is_good(verdict))]
            key = verdict.task if isinstance(task, Brief) else task if over else None
            if isinstance(key, InductionTask):
                shown.append(Section("program", key.program, "python"))
            elif isinstance(key, Triplet):
                shown.append(Section("in fact", f"f({key.arguments}) == {key.output}", "python"))
        return shown


def _unlock_after_fork() -> None:
    global _starting
    _starting = threading.Lock()  # a thread of the parent may have held it; it is not here to let go


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_unlock_after_fork)


def mixed(pairs: list[Pair]) -> list[Pair]:
    """The pairs in an order in which either half has two outputs that differ; none where there is no such order."""
    groups: dict[bytes, list[Pair]] = {}
    for pair in pairs:
        groups.setdefault(values.canonical(pair[1]), []).append(pair)
    half, (common, *others) = len(pairs) // 2, sorted(groups.values(), key=len, reverse=True)
    rare = [pair for group in others for pair in group]
    if half < 2:
        return pairs
    if len(rare) < 2:
        return []
    if len(common) == 1:  # all differ
        return pairs
    first, second = [common[0], rare[0]], [common[1], rare[1]]
    rest = [pair for pair in pairs if not any(pair is used for used in (*first, *second))]
    return [*first, *rest[: half - 2], *second, *rest[half - 2 :]]


def make_tasks(
    count: int,
    mode: Mode | str = Mode.DEDUCTION,
    level: int | Sequence[int] = 2,
    split: Split | str = "train",
    seed: int = 0,
) -> list[CodeTask]:
    """Tasks of the generator, to begin a pool with or to evaluate on. A function of its arguments.

    Raises:
        BadArgument: no such mode, level or split.
    """
    room, rng = CodeRoom(level), np.random.default_rng(seed)
    kind, part = choose(Mode, mode, "mode"), choose(Split, split, "split")
    return [room.make(rng, kind, part) for _ in range(count)]


def _context(task: CodeTask) -> Context:
    if isinstance(task, InductionTask):
        return Context(task.program, tuple(arguments for arguments, _ in task.pairs))
    assert isinstance(task, Triplet)
    return Context(task.program, (task.arguments,))


def _task_scene(task: CodeTask) -> list[Section]:
    title = f"CodeTriplet, {task.mode}"
    if isinstance(task, InductionTask):
        pairs = "\n".join(f"f({arguments}) == {output}" for arguments, output in task.shown)
        return [
            Section(title, pairs, "python"),
            Section("message", task.message or "none"),
            Section("which program?", "it is tested on other inputs"),
        ]
    assert isinstance(task, Triplet)
    if task.mode is Mode.DEDUCTION:
        return [
            Section(title, task.program, "python"),
            Section("what does it return?", f"f({task.arguments}) == ?", "python"),
        ]
    return [
        Section(title, task.program, "python"),
        Section("which input gives this?", f"f(?) == {task.output}", "python"),
    ]


def _brief_scene(brief: Brief[CodeTask]) -> list[Section]:
    title = f"CodeTriplet, propose {brief.mode}"
    if brief.mode is Mode.INDUCTION:
        return [Section(f"{title}: inputs and a message for", brief.subject.program, "python")]
    known = [
        Section("known", f"{one.program}\nf({one.arguments}) == {one.output}", "python")
        for one in brief.references
        if isinstance(one, Triplet)
    ]
    return [Section(f"{title}: a program and an input", ""), *known]
