"""Sends jobs to the zygotes of a box and collects their reports; notices at once when the box is lost.

One thread, one loop, all slots. A slot is a core's worth of zygotes (two hash seeds, with and without warm modules),
of which one works at a time. Knows nothing of programs or verdicts.
"""

from __future__ import annotations

import select
import socket
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from . import wire
from .errors import Unavailable
from .repeat import Job

KINDS = 2 * len(wire.HASH_SEEDS)  # zygotes per slot
_AHEAD = 4  # jobs in a slot: one that works, the others so that it need not wait for us
_QUEUED_BYTES = 1 << 16  # requests this small can wait in a socket while its zygote works, and never block us


class Lost(Exception):
    """The box died, or does not speak our protocol any more. What it had not answered is unanswered."""


@dataclass(slots=True)
class Box:
    """A running box.

    Attributes:
        channels: one stream socket per zygote, ordered by (kind, slot).
        end: ends the box and everything in it, for good.
        pid: of its first process, as this machine counts; 0 where it runs elsewhere.
        python: minor version inside, such as "3.11".
        walls: the kernel layers that are up, such as ("landlock-7", "seccomp", "uid").
    """

    channels: list[socket.socket]
    end: Callable[[], None]
    pid: int = 0
    python: str = ""
    walls: tuple[str, ...] = ()

    def close(self) -> None:
        """End it: the zygotes see their channels close, and whoever does not go is made to."""
        for channel in self.channels:
            channel.close()
        self.end()

    def greet(self, token: str, timeout_s: float, explain: Callable[[], str]) -> None:
        """Wait for every zygote's HELLO.

        Raises:
            Unavailable: a zygote did not come up; with what the box said of it.
        """
        deadline = time.monotonic() + timeout_s
        for channel in self.channels:
            channel.settimeout(max(0.1, deadline - time.monotonic()))
            try:
                header = _exactly(channel, wire.FRAME.size)
                magic, kind, length = wire.FRAME.unpack(header)
                if magic != wire.MAGIC or kind != wire.HELLO or length > wire.MAX_FRAME:
                    raise Lost("no greeting")
                said = _exactly(channel, length).decode("utf-8", "replace")
            except (OSError, Lost) as error:
                raise Unavailable(f"the box did not start: {error}. {explain()}".strip()) from None
            heard, _, rest = said.partition(" ")
            if said.startswith("!") or heard != token:
                raise Unavailable(f"the box did not start: {said.lstrip('!')}")
            self.python, *walls = rest.split()
            self.walls = tuple(walls)
            channel.settimeout(30.0)  # for sending only: receiving waits in the loop


def _exactly(channel: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        more = channel.recv(size - len(data))
        if not more:
            raise Lost("a channel closed")
        data += more
    return data


@dataclass(slots=True)
class _Slot:
    number: int
    kind: int = 0
    flying: deque[Job] = field(default_factory=deque)
    since: float = 0.0
    frames: wire.Frames = field(default_factory=wire.Frames)
    report: list[bytes] = field(default_factory=list)
    size: int = 0


def execute(box: Box, jobs: Iterable[Job], finish: Callable[[Job], Iterable[Job]]) -> None:
    """Run jobs until none is left. `finish` takes each finished job and may give further ones.

    Raises:
        Lost: the box is gone; the jobs that `finish` has not been given are unanswered.
    """
    waiting: list[deque[Job]] = [deque() for _ in range(KINDS)]
    for job in jobs:
        waiting[job.kind].append(job)
    slots = [_Slot(number) for number in range(len(box.channels) // KINDS)]
    owner = {channel.fileno(): (slots[index % len(slots)], channel) for index, channel in enumerate(box.channels)}
    poll = select.poll()
    for fd in owner:
        poll.register(fd, select.POLLIN)
    for slot in slots:
        _load(box, slot, waiting, len(slots))
    while any(slot.flying for slot in slots):
        for fd, _ in poll.poll(1000):
            slot, channel = owner[fd]
            for job in _receive(channel, slot):
                for more in finish(job):
                    waiting[more.kind].append(more)
            _load(box, slot, waiting, len(slots))
        now = time.monotonic()
        for slot in slots:
            if slot.flying and now - slot.since > slot.flying[0].patience_s:
                raise Lost("a zygote is silent")
            if not slot.flying:  # it was idle when another slot's job gave a further one
                _load(box, slot, waiting, len(slots))
    if any(slot.frames.pending or slot.report for slot in slots):
        raise Lost("a zygote says more than it was asked")


def _load(box: Box, slot: _Slot, waiting: list[deque[Job]], slots: int) -> None:
    """Give a slot its next job; and some to hold ready, while there is plenty for everyone."""
    if not slot.flying:
        if not waiting[slot.kind]:
            slot.kind = next((kind for kind in range(KINDS) if waiting[kind]), slot.kind)
        if not waiting[slot.kind]:
            return
        slot.since = time.monotonic()
        _submit(box, slot, waiting[slot.kind].popleft(), slots)
    queue = waiting[slot.kind]
    while len(slot.flying) < _AHEAD and len(queue) > 8 * slots and len(queue[0].request) <= _QUEUED_BYTES // _AHEAD:
        _submit(box, slot, queue.popleft(), slots)


def _submit(box: Box, slot: _Slot, job: Job, slots: int) -> None:
    slot.flying.append(job)
    try:
        box.channels[slot.kind * slots + slot.number].sendall(job.request)
    except OSError as error:
        raise Lost(f"a zygote does not listen: {error}") from None


def _receive(channel: socket.socket, slot: _Slot) -> Iterator[Job]:
    try:
        data = channel.recv(1 << 18)
    except OSError as error:
        raise Lost(f"a channel broke: {error}") from None
    if not data or not slot.flying:
        raise Lost("a channel closed")
    try:
        for kind, body in slot.frames.feed(data):
            if kind == wire.DATA:
                slot.report.append(body)
                slot.size += len(body)
                if slot.size > 2 * wire.MAX_REPORT_BYTES:
                    raise Lost("a zygote sends more than a child can write")
            elif kind == wire.END and len(body) == wire.VERDICT.size and slot.flying:
                job = slot.flying.popleft()
                *verdict, ticket = wire.VERDICT.unpack(body)
                if ticket != job.ticket:
                    raise Lost("a zygote answers what was not asked")
                job.report, job.verdict = b"".join(slot.report), tuple(verdict)
                slot.report, slot.size, slot.since = [], 0, time.monotonic()
                yield job
            else:  # its last words, if it could still say them
                raise Lost(f"a zygote gave up: {body[:200].decode('utf-8', 'replace').lstrip('!')}")
    except wire.Garbled as error:
        raise Lost(str(error)) from None
