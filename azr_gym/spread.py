"""Judges large batches in several processes: most of judging is reading texts, in Python.

Each process has a copy of the room, with a box of its own. What a room says of a text hangs on the text and what it is
about, so that it does not matter who says it; what hangs on the pool is asked where the pool is, by the game.
"""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import BrokenExecutor, ProcessPoolExecutor
from dataclasses import replace
from itertools import chain
from multiprocessing import util
from typing import Any, ClassVar, Generic, TypeVar

from .errors import AzrGymError, BadArgument
from .room import Brief, Room, Verdict
from .task import Task

T = TypeVar("T", bound=Task)
LEAST = 64  # texts that are worth sending to another process
PARTS = 4  # for each process: who has had easy ones takes another


class Judges(Generic[T]):
    """Processes that judge for a room, shared by all environments of this process that play it alike.

    Args:
        room: as `judge` and `read` of it, these judge. It is copied.
        processes: how many.

    Raises:
        BadArgument: a room that can not be copied to another process.
    """

    _open: ClassVar[dict[tuple[bytes, int], tuple[Judges[Any], set[int]]]] = {}  # and who uses them

    def __init__(self, room: Room[T], processes: int) -> None:
        self.room, self.processes = room, processes
        self._workers = self._start()

    def _start(self) -> ProcessPoolExecutor:
        spawn = multiprocessing.get_context("spawn")
        return ProcessPoolExecutor(self.processes, spawn, _begin, (self.room.share(),))

    @classmethod
    def of(cls, room: Room[T], processes: int, user: object) -> Judges[T]:
        """Those that are there for such a room already, or new ones. `leave` lets go of them."""
        try:
            key = (pickle.dumps(room), processes)
        except Exception as error:
            raise BadArgument(
                f"{room.id} can not be judged in other processes, for a part of it can not be copied there ({error}): "
                "name a runner ('docker', 'jail') instead of giving one, or take processes=1"
            ) from None
        if key not in cls._open:
            cls._open[key] = (cls(room, processes), set())
        judges, users = cls._open[key]
        users.add(id(user))
        return judges

    @classmethod
    def leave(cls, user: object) -> None:
        """Let go of what `of` gave; the last user ends the processes. A second call does nothing."""
        for key, (judges, users) in list(cls._open.items()):
            users.discard(id(user))
            if not users:
                del cls._open[key]
                judges._workers.shutdown()

    def judge(self, tasks: Sequence[T], texts: Sequence[str]) -> list[Verdict[T]]:
        """See `Room.judge`."""
        return self._spread(self.room.judge, _judge, tasks, texts)

    def read(self, briefs: Sequence[Brief[T]], texts: Sequence[str]) -> list[Verdict[T]]:
        """See `Room.read`."""
        return self._spread(self.room.read, _read, [replace(brief, pool=None) for brief in briefs], texts)

    def _spread(
        self,
        here: Callable[..., list[Verdict[T]]],
        there: Callable[..., Any],
        about: Sequence[Any],
        texts: Sequence[str],
    ) -> list[Verdict[T]]:
        size = max(LEAST, -(-len(texts) // (PARTS * self.processes)))
        if len(texts) <= size:
            return here(about, texts)
        starts = range(0, len(texts), size)
        parts = ([one[start : start + size] for start in starts] for one in (about, texts))
        try:
            return list(chain.from_iterable(self._workers.map(there, *parts)))
        except BrokenExecutor:
            self._workers.shutdown(wait=False)
            self._workers = self._start()
            raise AzrGymError(
                "a process that judges has died: either something ended it, as for want of memory (take fewer "
                '`processes`), or the script does its work outside `if __name__ == "__main__":`, and every process '
                "imports it"
            ) from None


_ours: Room[Any]  # in a process that judges


def _begin(room: Room[Any]) -> None:
    """In a new process. It ends with the one that made it, however that ends, and leaves Ctrl-C to it."""
    global _ours
    _ours = room
    signal.signal(signal.SIGINT, lambda *_: None)  # what the box runs does not inherit that
    util.Finalize(room, room.close, exitpriority=1)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _judge(tasks: Sequence[Any], texts: Sequence[str]) -> list[Verdict[Any]]:
    return _ours.judge(tasks, texts)


def _read(briefs: Sequence[Brief[Any]], texts: Sequence[str]) -> list[Verdict[Any]]:
    return _ours.read(briefs, texts)
