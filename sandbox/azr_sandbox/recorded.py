"""The public test double: a runner that answers from what a real one once said. Starts nothing, isolates nothing.

>>> from azr_sandbox.recorded import RecordedRunner, key
>>> from azr_sandbox import Call, CallStatus, Cost, Program, Run, RunStatus
>>> program = Program("def f(x): return x + 1", [(1,)])
>>> said = Run(RunStatus.OK, (Call(CallStatus.OK, 2, None, Cost(0.0, 0.0, 0.0, 1)),))
>>> RecordedRunner({key(program): said}).run([program])[0].calls[0].value
2
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Self

from . import values
from .errors import BadProgram, NotRecorded, RunnerClosed
from .program import Call, CallStatus, Program, Run, RunStatus
from .repeat import Enough
from .runner import Runner

Key = tuple[str, str, bytes, int, bool, bool]


def key(program: Program, times: int = 1, isolate_calls: bool = False, give_up: bool = False) -> Key:
    """What an answer is found by: all that a verdict may hang on, but the limits: keep one recording for each."""
    calls = values.canonical([tuple(call) for call in program.calls])
    return (program.source, program.entry, calls, times, isolate_calls, give_up)


def expression_key(expression: str) -> Key:
    """What the answer of an expression is found by; it is recorded as a run of one call."""
    return (expression, "", b"", 1, False, False)


class RecordedRunner:
    """Answers from a dict; with `source`, asks that runner for what is missing and keeps the answers.

    Attributes:
        answers: the runs by `key()`; pickle or copy it to keep them.
        asked: every program that `run` was given, in order.

    Raises:
        NotRecorded: it was asked for something it has no answer to, and has no `source`.
    """

    name = "recorded"
    guarantee = "runs nothing: answers from recordings"

    def __init__(self, answers: Mapping[Key, Run] | None = None, source: Runner | None = None) -> None:
        self.answers = dict(answers or {})
        self.asked: list[Program] = []
        self._source = source
        self._closed = False
        self.python = source.python if source is not None else f"{sys.version_info[0]}.{sys.version_info[1]}"

    def run(
        self,
        programs: Sequence[Program],
        times: int | Sequence[int] = 1,
        isolate_calls: bool = False,
        give_up: bool = False,
        enough: Enough | None = None,
    ) -> list[Run]:
        """See `azr_sandbox.Runner.run`. All repeats are recorded, whether the first is `enough` or not."""
        self._check()
        programs = list(programs)
        for program in programs:
            if not isinstance(program, Program):
                raise BadProgram(f"run() takes Program values, not {type(program).__name__}")
        self.asked += programs
        each = [times] * len(programs) if isinstance(times, int) else list(times)
        keys = [key(program, number, isolate_calls, give_up) for program, number in zip(programs, each, strict=True)]
        missing = [place for place, at in enumerate(keys) if at not in self.answers]
        if missing:
            source = self._ask(programs[missing[0]].source)
            runs = source.run(
                [programs[place] for place in missing],
                [each[place] for place in missing],
                isolate_calls,
                give_up,
            )
            self.answers.update((keys[place], run) for place, run in zip(missing, runs, strict=True))
        return [self.answers[at] for at in keys]

    def __deepcopy__(self, memo: object) -> Self:
        """The double itself, as a real runner."""
        return self

    def evaluate(self, expressions: Sequence[str]) -> list[Call]:
        """See `azr_sandbox.Runner.evaluate`."""
        self._check()
        missing = [text for text in expressions if expression_key(text) not in self.answers]
        if missing:
            for text, call in zip(missing, self._ask(missing[0]).evaluate(missing), strict=True):
                status = RunStatus.OK if call.status is CallStatus.OK else RunStatus.ERROR
                self.answers[expression_key(text)] = Run(status, (call,))
        return [self.answers[expression_key(text)].calls[0] for text in expressions]

    def _ask(self, what: str) -> Runner:
        if self._source is None:
            raise NotRecorded(f"never recorded: {what[:80]!r}. Give RecordedRunner a source to record from")
        return self._source

    def _check(self) -> None:
        if self._closed:
            raise RunnerClosed("this runner is closed")

    def close(self) -> None:
        """Refuse further questions. The source stays open: it is its owner's."""
        self._closed = True
