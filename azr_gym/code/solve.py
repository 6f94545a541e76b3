"""Judges answers. Runs nothing itself: it asks the box, and compares plain data here. The key never leaves the host."""

from __future__ import annotations

import functools
import marshal
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from azr_sandbox import CallStatus, Program, Run, Runner, RunStatus, values
from azr_sandbox.screen import Finding, screen

from .. import text as texts
from ..roles import Outcome
from ..room import Verdict
from . import prompts
from .normal import form
from .read import read_arguments, read_program, read_value
from .triplet import ENTRY, MAX_VALUE_CHARS, CodeTask, InductionTask, Mode, Triplet, arity, parse_arguments


@dataclass(frozen=True, slots=True)
class _Pending:
    """An answer that must run before it can be judged: the program with its inputs, and never what they should give.

    Answers of one `key` to one task are one answer.
    """

    task: CodeTask
    key: object
    program: Program


def judge(tasks: Sequence[CodeTask], answers: Sequence[str], box: Callable[[], Runner]) -> list[Verdict[CodeTask]]:
    """Judge a batch of answers, with one call of the box for whatever must run. Programs that do right must do so
    again; those that do not need not.

    Args:
        tasks: what was asked.
        answers: what was written, one text per task.
        box: gives the runner; not called where nothing has to run.
    """
    looked = [_look(task, answer) for task, answer in zip(tasks, answers, strict=True)]
    pending = {(one.task, one.key): one for one in looked if isinstance(one, _Pending)}
    if not pending:
        return looked  # type: ignore[return-value]
    different = list(pending.values())
    runs = box().run(
        [one.program for one in different],
        [2 if isinstance(one.task, InductionTask) else 1 for one in different],
        give_up=True,
        enough=lambda place, run: _compare(different[place].task, run) is not _RIGHT,
    )
    found = {at: _compare(one.task, run) for (at, one), run in zip(pending.items(), runs, strict=True)}
    return [found[one.task, one.key] if isinstance(one, _Pending) else one for one in looked]


def _look(task: CodeTask, answer: str) -> Verdict[CodeTask] | _Pending:
    if isinstance(task, InductionTask):
        return _look_at_program(task, answer)
    assert isinstance(task, Triplet)
    if task.mode is Mode.DEDUCTION:
        if answer == task.output:  # the commonest case, without Python's parser
            return _RIGHT
        value = texts.find(answer, _value_key, bytes.__eq__)
        if value.value is None:
            return _unreadable(task.mode, value)
        return _RIGHT if value.value == _value_key(task.output) else _NOT_THAT
    count = arity(task.program)
    arguments = texts.find(answer, lambda text: read_arguments(text, count), values.equal)
    if arguments.value is None:
        return _unreadable(task.mode, arguments)
    key = marshal.dumps(arguments.value, 2)  # type: ignore[arg-type]  # plain data, all of it
    return _Pending(task, key, Program(task.program, [arguments.value], ENTRY))


def _look_at_program(task: InductionTask, answer: str) -> Verdict[CodeTask] | _Pending:
    program = texts.find(answer, read_program, lambda a, b: form(a).key == form(b).key)
    if program.value is None:
        return _unreadable(task.mode, program)
    finding = look(program.value)
    if finding is not None:
        return Verdict(Outcome.WRONG, prompts.FORBIDDEN.format(finding.detail))
    return _Pending(task, program.value, Program(program.value, _hidden(task)[0], ENTRY))


@functools.lru_cache(maxsize=1024)
def _hidden(task: InductionTask) -> tuple[list[tuple[object, ...]], list[bytes | None]]:
    """The hidden calls, and what their values must be equal to. Remembered: a task is answered by many rollouts."""
    return [parse_arguments(given) for given, _ in task.hidden], [_value_key(output) for _, output in task.hidden]


def _value_key(text: str) -> bytes | None:
    """Equal for texts of equal values; None where a text is none."""
    return _short_value_key(text) if len(text) <= MAX_VALUE_CHARS else _key_of(text)


def _key_of(text: str) -> bytes | None:
    value = read_value(text)
    return None if value is None else values.canonical(value[0])


_short_value_key = functools.lru_cache(maxsize=4096)(_key_of)  # rollouts repeat themselves


@functools.lru_cache(maxsize=8192)
def look(source: str) -> Finding | None:
    """The screen's finding on a source, remembered likewise."""
    return screen(source)


def _compare(task: CodeTask, run: Run) -> Verdict[CodeTask]:
    if isinstance(task, Triplet):
        call = run.calls[0]
        if call.status is not CallStatus.OK:
            return Verdict(Outcome.WRONG, prompts.FAILED.format(prompts.ending(call)))
        return _RIGHT if values.canonical(call.value) == _value_key(task.output) else _NOT_THAT_OUTPUT
    assert isinstance(task, InductionTask)
    hits = sum(
        call.status is CallStatus.OK and values.canonical(call.value) == key
        for call, key in zip(run.calls, _hidden(task)[1], strict=True)
    )
    share = hits / len(run.calls)
    if run.status is RunStatus.NONDETERMINISTIC:
        return Verdict(Outcome.WRONG, prompts.NONDETERMINISTIC, correctness=share)
    if share == 1.0:
        return _RIGHT
    failed = next((call for call in run.calls if call.status is not CallStatus.OK), None)
    why = prompts.NOT_EVERY_OUTPUT if failed is None else prompts.FAILS_ON_ONE
    return Verdict(Outcome.WRONG, why, correctness=share)


def _unreadable(mode: Mode, found: texts.Found[Any]) -> Verdict[CodeTask]:
    return Verdict(Outcome.MALFORMED, prompts.CONTRADICTION if found.contradiction else prompts.UNREADABLE[mode])


_RIGHT: Verdict[CodeTask] = Verdict(Outcome.CORRECT, prompts.RIGHT, correctness=1.0)
_NOT_THAT: Verdict[CodeTask] = Verdict(Outcome.WRONG, prompts.NOT_THAT_VALUE)
_NOT_THAT_OUTPUT: Verdict[CodeTask] = Verdict(Outcome.WRONG, prompts.NOT_THAT_OUTPUT)
