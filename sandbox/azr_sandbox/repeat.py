"""Plans the executions of a batch, and turns what came back into verdicts. Runs nothing itself.

With `times=1` a program's calls are made once, in one child. With more, each repeat has children of its own
(another hash seed, pid, uid and address layout; every second one with tighter memory and recursion limits) that make
each call twice, in two orders. All executions of a call must agree. A child that was killed in one call costs its
neighbours nothing: the calls behind it are made in a child of their own.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from math import ceil

from . import values, wire
from .errors import BadProgram, NotPlainData
from .program import Call, CallStatus, Cost, ErrorInfo, Limits, Program, Run, RunStatus

Enough = Callable[[int, Run], bool]  # whether a program's first repeat tells all that somebody wants to know
_RESUMED = 64  # calls in a job that goes on where a child was killed: the next death must not resend them all


@dataclass(slots=True)
class Job:
    """One child: the executions `order` of one program's calls. `report` is what it wrote, `verdict` how it ended."""

    program: int
    repeat: int
    order: tuple[int, ...]
    request: bytes
    kind: int  # of zygote: 2 * hash seed + warm
    ticket: int  # what the answer must repeat
    patience_s: float
    report: bytes = b""
    verdict: tuple[int, ...] | None = None


@dataclass(slots=True)
class _Outcome:
    """One execution of one call. `text` is the value's, or the error's. It is read only where it must be: reading
    costs the host more than writing costs a program."""

    status: CallStatus
    text: bytes = b""

    def agrees(self, other: _Outcome) -> bool:
        if self == other:
            return True
        if self.status is not other.status or self.status is not CallStatus.OK or not (self.text and other.text):
            return False
        try:
            return values.equal(_value(self), _value(other))  # the order of a dict does not count
        except NotPlainData:
            return False


class Plan:
    """A batch on its way: makes the jobs, takes them back, and holds every call's outcomes."""

    def __init__(
        self,
        programs: Sequence[Program],
        limits: Limits,
        times: Sequence[int],
        isolate_calls: bool,
        flags: int = 0,
        give_up: bool = False,
        enough: Enough | None = None,
    ) -> None:
        self.programs, self.limits, self.times, self.flags = programs, limits, times, flags  # times: by program
        self.isolate_calls, self.give_up, self.enough = isolate_calls, give_up, enough
        self.left = [0] * len(programs)  # by program: jobs of the first repeat that are on their way
        self.arguments: list[list[bytes]] = []  # packed, by program and call
        for position, program in enumerate(programs):
            packed = []
            for number, call in enumerate(program.calls):
                try:
                    values.check(tuple(call))
                except NotPlainData as error:
                    raise NotPlainData(f"program {position}, call {number}: {error}") from None
                packed.append(wire.pack_arguments(call))
                if len(packed[-1]) + len(program.source) * 4 > wire.MAX_PAYLOAD // 2:
                    raise BadProgram(f"program {position}, call {number}: more than {wire.MAX_PAYLOAD >> 21} MiB")
            self.arguments.append(packed)
        # By program, repeat and call: its outcomes in the order of execution.
        self.outcomes: list[list[list[list[_Outcome]]]] = [
            [[[] for _ in program.calls] for _ in range(repeats)]
            for program, repeats in zip(programs, times, strict=True)
        ]
        self.loads: list[list[_Outcome]] = [[] for _ in programs]  # by program: how each child's load went
        self.costs: list[list[Cost | None]] = [[None] * len(program.calls) for program in programs]

    def jobs(self) -> Iterator[Job]:
        """Every job of the batch, the first repeats first; only these, where more may not be needed."""
        for repeat in range(max(self.times, default=0) if self.enough is None else 1):
            for index, times in enumerate(self.times):
                if repeat < times:
                    yield from self._repeat(index, repeat)

    def _repeat(self, index: int, repeat: int) -> Iterator[Job]:
        for calls in self._groups(index):
            yield self._job(index, repeat, calls if self.times[index] == 1 else _mirrored(calls, repeat))

    def _groups(self, index: int) -> Iterator[tuple[int, ...]]:
        """The calls that share a child: all of a program's, unless its request or its report would be too large."""
        most = (
            wire.MAX_REPORT_BYTES
            // (self.limits.output_bytes + wire.RECORD.size)
            // (1 if self.times[index] == 1 else 2)
        )
        most, group, room = 1 if self.isolate_calls else max(1, most), list[int](), wire.MAX_PAYLOAD // 2
        for call, packed in enumerate(self.arguments[index]):
            if group and (len(group) == most or len(packed) > room):
                yield tuple(group)
                group, room = [], wire.MAX_PAYLOAD // 2
            group.append(call)
            room -= len(packed)
        yield tuple(group)

    def _job(self, index: int, repeat: int, order: tuple[int, ...]) -> Job:
        program, limits = self.programs[index], self.limits
        calls = sorted(set(order))
        place = {call: position for position, call in enumerate(calls)}
        packed, ticket = self.arguments[index], int.from_bytes(os.urandom(8), "little")
        payload = wire.payload(
            program.source, program.entry, [packed[call] for call in calls], [place[call] for call in order]
        )
        flags = self.flags | (wire.SQUEEZED if repeat % 2 else 0)
        header = wire.REQUEST.pack(
            wire.MAGIC, len(payload), len(order), ceil(limits.cpu_s * 1e3), ceil(limits.wall_s * 1e3),
            ceil(limits.idle_s * 1e3), limits.memory_mb << 20, limits.output_bytes, limits.print_bytes, flags, ticket,
        )  # fmt: skip
        kind = 2 * (repeat % len(wire.HASH_SEEDS)) + wire.needs_imports(program.source)
        patience_s = (len(order) + 1) * limits.wall_s + 90.0
        self.left[index] += repeat == 0
        return Job(index, repeat, order, header + payload, kind, ticket, patience_s)

    def take(self, job: Job) -> Iterator[Job]:
        """Take a job back, with its report. Yields the jobs for what a killed child could not get to, and for further
        repeats where the first leaves something to be known."""
        yield from self._unanswered(job)
        index = job.program
        self.left[index] -= job.repeat == 0
        first = job.repeat == 0 == self.left[index] and self.times[index] > 1  # and all of it
        if first and self.enough is not None and not self.enough(index, self._run(index)):
            for repeat in range(1, self.times[index]):
                yield from self._repeat(index, repeat)

    def _unanswered(self, job: Job) -> Iterator[Job]:
        """Note what a job did; yields the jobs for what its child could not get to."""
        assert job.verdict is not None
        order, outcomes, loads = job.order, self.outcomes[job.program][job.repeat], self.loads[job.program]
        records = wire.read_records(job.report, len(order), self.limits.output_bytes)
        ended, rest = _ending(job.verdict), 0
        if job.verdict[0] == wire.FLOODED:
            # Who printed how much is not known by call, and how far a child came before it was killed is chance.
            if len(set(order)) > 1:
                yield from (self._job(job.program, job.repeat, (call,) * order.count(call)) for call in set(order))
                return
            records = None
        if records is None:
            loads.append(_Outcome(CallStatus.KILLED))
            found = [_Outcome(CallStatus.KILLED)] * len(order)
        elif not records or records[0][0] != wire.LOADED:  # it never got to a call
            loads.append(_Outcome(_STATUS[records[0][0]], records[0][1]) if records else ended)
            found = [loads[-1]] * len(order)
        else:
            found = [_Outcome(_STATUS[tag], text) for tag, text in records[1:]]
            clean = bool(order) or job.verdict[:3] == (wire.EXITED, 0, 0)
            loads.append(_Outcome(CallStatus.OK) if clean else ended)
            rest = max(0, len(order) - len(found) - 1)
            if len(found) < len(order):
                found.append(ended)
            if self.give_up:
                found += [ended] * rest
                rest = 0
        for call, outcome in zip(order, found, strict=False):
            outcomes[call].append(outcome)
        cost, costs = _cost(job.verdict, found), self.costs[job.program]
        for call in set(order[: len(found)]):
            costs[call] = _dearer(costs[call], cost)
        left = order[len(order) - rest :] if rest else ()
        for start in range(0, len(left), _RESUMED):
            yield self._job(job.program, job.repeat, left[start : start + _RESUMED])

    def runs(self) -> list[Run]:
        """Every program's verdict."""
        return [self._run(index) for index in range(len(self.programs))]

    def _run(self, index: int) -> Run:
        repeats, loads = self.outcomes[index], self.loads[index]
        calls = tuple(
            _call(repeats[0][call][0], self.costs[index][call]) for call in range(len(self.programs[index].calls))
        )
        if self.times[index] > 1:
            alike = [list(chain.from_iterable(found)) for found in zip(*repeats, strict=True)] + [loads]
            if any(not found[0].agrees(other) for found in alike for other in found[1:]):
                return Run(RunStatus.NONDETERMINISTIC, calls)
        bad = any(load.status is not CallStatus.OK for load in loads)
        bad = bad or any(call.status is not CallStatus.OK for call in calls)
        return Run(RunStatus.ERROR if bad else RunStatus.OK, calls)


def _mirrored(calls: tuple[int, ...], repeat: int) -> tuple[int, ...]:
    """With more than one repeat each call is made twice, in two orders."""
    return calls + calls[::-1] if repeat % 2 == 0 else calls[::-1] + calls


_STATUS = {
    wire.VALUE: CallStatus.OK,
    wire.ERROR: CallStatus.ERROR,
    wire.NO_MEMORY: CallStatus.MEMORY_LIMIT,
    wire.NOT_PLAIN: CallStatus.NOT_PLAIN_DATA,
    wire.TOO_LONG: CallStatus.OUTPUT_LIMIT,
}


def _ending(verdict: tuple[int, ...]) -> _Outcome:
    """What became of the call that a child was in when it ended."""
    cause, signal, *_ = verdict
    if cause == wire.OUT_OF_CPU or (cause == wire.EXITED and signal == 24):  # SIGXCPU, the back-stop
        return _Outcome(CallStatus.CPU_LIMIT)
    return _Outcome(CallStatus.WALL_LIMIT if cause == wire.OUT_OF_WALL else CallStatus.KILLED)


def _value(outcome: _Outcome) -> object:
    """The value of an outcome. A child writes only what `render` gives: other text is a forgery, and no data.

    Raises:
        NotPlainData: it is a forgery.
    """
    try:
        text = outcome.text.decode("utf-8")
    except UnicodeDecodeError:
        raise NotPlainData("not UTF-8") from None
    return values.parse(text)


def _call(outcome: _Outcome, cost: Cost | None) -> Call:
    assert cost is not None
    if outcome.status is CallStatus.OK:
        try:
            return Call(CallStatus.OK, _value(outcome), None, cost)
        except NotPlainData:
            return Call(CallStatus.NOT_PLAIN_DATA, None, None, cost)
    if outcome.status is not CallStatus.ERROR:
        return Call(outcome.status, None, None, cost)
    kind, _, line = outcome.text.partition(b"\0")
    known = kind.decode("ascii", "replace") or None
    return Call(CallStatus.ERROR, None, ErrorInfo(known, int(line) or None if line.isdigit() else None), cost)


def _cost(verdict: tuple[int, ...], found: Sequence[_Outcome]) -> Cost:
    _, _, _, cpu_us, wall_us, memory_kib = verdict
    return Cost(cpu_us / 1e6, wall_us / 1e6, memory_kib / 1024, max((len(one.text) for one in found), default=0))


def _dearer(a: Cost | None, b: Cost) -> Cost:
    if a is None:
        return b
    return Cost(
        max(a.cpu_s, b.cpu_s),
        max(a.wall_s, b.wall_s),
        max(a.memory_mb, b.memory_mb),
        max(a.output_bytes, b.output_bytes),
    )
