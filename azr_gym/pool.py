"""TaskPool: the store of valid tasks. Seeded sampling, no duplicates, bounded, statistics per task, atomic snapshots.

Environments only read it; whoever trains adds what was accepted and records what was solved. It keeps one append-only
list per mode; what was evicted leaves a hole, and the list is compacted when half of it is holes, so that adding,
evicting and sampling take the same time in a pool of ten tasks and of a million.
"""

from __future__ import annotations

import heapq
import json
import os
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Generic, Self, TypeVar

import numpy as np

from .errors import BadArgument, BadPoolFile, BadTask
from .roles import choose
from .task import Task

FORMAT, VERSION = "azr-gym pool", 1
_FLOOR = 0.05  # least weight of a task: what is solved now may be unsolved tomorrow
_RECENT = 256  # how many of the newest tasks `recent` draws from
_SLACK = 64  # holes that even a small list may have before it is compacted

T = TypeVar("T", bound=Task)


class Eviction(StrEnum):
    """Which task goes when a full pool gets a new one. The newest is never the one."""

    FIFO = "fifo"  # the oldest
    PRIORITY = "priority"  # the one that teaches least, the oldest of them


class Sampling(StrEnum):
    """How tasks are drawn, with replacement."""

    UNIFORM = "uniform"
    RECENT = "recent"  # uniformly from the newest 256
    LEARNABILITY = "learnability"  # by 4p(1-p) of the measured solve rate, at least 0.05; 1 where nobody has tried


@dataclass(slots=True)
class Entry(Generic[T]):
    """A task of the pool, and what is known of it.

    Attributes:
        task: the task.
        born: how many tasks had been added before it.
        attempts: how often somebody has tried to solve it.
        successes: how often that went well.
        origin: where it came from, such as "generator", "proposer", "seed".
    """

    task: T
    born: int
    attempts: int = 0
    successes: int = 0
    origin: str = ""

    @property
    def solve_rate(self) -> float | None:
        """Share of the attempts that went well; None before the first."""
        return self.successes / self.attempts if self.attempts else None

    @property
    def weight(self) -> float:
        """What the task has to teach, 0.05 to 1: by its measured solve rate with one success and one failure added,
        so that a first lucky attempt does not end a task's life."""
        if not self.attempts:
            return 1.0
        good, bad = self.successes + 1, self.attempts - self.successes + 1
        return max(_FLOOR, 4 * good * bad / (good + bad) ** 2)  # 4p(1-p), and bit for bit the same for p and 1-p


class TaskPool(Generic[T]):
    """A bounded set of tasks.

    Args:
        tasks: what it starts with.
        capacity: most tasks of each mode.
        eviction: "fifo" or "priority".

    Raises:
        BadArgument: a capacity below 1, or no such eviction.
    """

    def __init__(self, tasks: Iterable[T] = (), capacity: int = 16_384, eviction: Eviction | str = "fifo") -> None:
        if isinstance(capacity, bool) or not isinstance(capacity, int) or capacity < 1:
            raise BadArgument(f"a pool's capacity must be an int above 0, not {capacity!r}")
        self.capacity, self.eviction = capacity, choose(Eviction, eviction, "eviction")
        self.clock = 0  # tasks added so far
        self._shelves: dict[str, _Shelf[T]] = {}
        self._entries: dict[bytes, Entry[T]] = {}
        self._gone: dict[bytes, tuple[int, int]] = {}  # evicted: when born, when evicted
        self._features: dict[str, tuple[int, int]] = {}  # how many tasks have it, when the first of them was born
        for task in tasks:
            self.add(task, "seed")

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, task: T) -> bool:
        return task.key in self._entries

    def __iter__(self) -> Iterator[T]:
        return (entry.task for entry in self.entries())

    def __deepcopy__(self, memo: object) -> Self:
        """The pool itself: `env.spec` copies its arguments, and a copy of a pool would part from it."""
        return self

    def __repr__(self) -> str:
        sizes = ", ".join(f"{mode} {len(shelf)}" for mode, shelf in self._shelves.items())
        return f"<TaskPool: {sizes or 'empty'}; at most {self.capacity:,} a mode, {self.eviction}>"

    def size(self, mode: StrEnum | str) -> int:
        """How many tasks of a mode there are."""
        shelf = self._shelves.get(str(mode))
        return len(shelf) if shelf else 0

    def entries(self) -> Iterator[Entry[T]]:
        """Every task with its statistics, the oldest first."""
        return iter(self._entries.values())

    def entry(self, task: T) -> Entry[T]:
        """What is known of a task.

        Raises:
            BadTask: the pool does not hold it.
        """
        try:
            return self._entries[task.key]
        except KeyError:
            raise BadTask(f"the pool does not hold task {task.id}: add it first, or it was evicted") from None

    def add(self, task: T, origin: str = "") -> bool:
        """Add a task. False: it was there already, and nothing has changed."""
        key = task.key
        if key in self._entries:
            return False
        shelf = self._shelves.setdefault(str(task.mode), _Shelf())
        if len(shelf) == self.capacity:
            self._evict(shelf)
        self._put(Entry(task, self.clock, origin=origin), key)
        self.clock += 1
        return True

    def _put(self, entry: Entry[T], key: bytes, place: int | None = None) -> None:
        self._entries[key] = entry
        shelf = self._shelves.setdefault(str(entry.task.mode), _Shelf())
        shelf.append(entry, place)
        if self.eviction is Eviction.PRIORITY:
            shelf.rank(entry)
        for feature in entry.task.features():
            count, born = self._features.get(feature, (0, entry.born))
            self._features[feature] = (count + 1, born)

    def record(self, task: T, *, attempts: int, successes: int) -> None:
        """Remember how attempts to solve a task went. A task that was evicted meanwhile is passed over.

        Raises:
            BadArgument: not 0 <= successes <= attempts.
        """
        if not isinstance(attempts, int | np.integer) or not isinstance(successes, int | np.integer):
            raise BadArgument(f"attempts and successes are counted: {successes!r} of {attempts!r} are no ints")
        if not 0 <= successes <= attempts:
            raise BadArgument(f"successes lie between 0 and the attempts: {successes} of {attempts} do not")
        entry = self._entries.get(task.key)
        if entry is None:
            return
        entry.attempts += int(attempts)
        entry.successes += int(successes)
        if self.eviction is Eviction.PRIORITY:
            self._shelves[str(task.mode)].rank(entry)

    def sample(
        self,
        rng: np.random.Generator,
        count: int,
        mode: StrEnum | str | None = None,
        sampling: Sampling | str = Sampling.UNIFORM,
    ) -> list[T]:
        """Draw tasks, with replacement. A function of the generator's state and of the pool's history.

        Args:
            rng: where chance comes from.
            count: how many.
            mode: of which kind; None draws the kind of each first, each kind equally often.
            sampling: "uniform", "recent" or "learnability".

        Raises:
            BadArgument: there is nothing to draw from, or no such sampling.
        """
        how = choose(Sampling, sampling, "sampling")
        shelves = [shelf for name, shelf in sorted(self._shelves.items()) if len(shelf) and mode in (None, name)]
        if not shelves:
            wanted = "tasks" if mode is None else f"{mode} tasks"
            raise BadArgument(f"the pool holds no {wanted}: add some first, or leave the pool out")
        if len(shelves) == 1:
            return [shelves[0].draw(rng, how) for _ in range(count)]
        return [shelves[int(rng.integers(len(shelves)))].draw(rng, how) for _ in range(count)]

    def knew(self, key: bytes, clock: int) -> bool:
        """Whether the pool held a task of that key when its clock stood so."""
        entry = self._entries.get(key)
        if entry is not None and entry.born < clock:
            return True
        born, died = self._gone.get(key, (0, 0))
        return born < clock <= died

    def novelty(self, features: frozenset[str], clock: int) -> float:
        """Share of the features that no task had when the clock stood so, 0 to 1; 0 where there are none.

        What was evicted since then no longer counts.
        """
        if not features:
            return 0.0
        known = self._features
        old = sum(1 for feature in features if feature in known and known[feature][1] < clock)
        return 1.0 - old / len(features)

    def _evict(self, shelf: _Shelf[T]) -> None:
        entry = shelf.lowest() if self.eviction is Eviction.PRIORITY else shelf.oldest()
        shelf.remove(entry)
        key = entry.task.key
        del self._entries[key]
        self._gone.pop(key, None)  # so that it counts as the newest of them
        self._gone[key] = (entry.born, self.clock)
        while len(self._gone) > self.capacity:
            del self._gone[next(iter(self._gone))]
        for feature in entry.task.features():
            count, born = self._features.pop(feature)
            if count > 1:
                self._features[feature] = (count - 1, born)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a snapshot, whole or not at all: to a file beside it, which then takes its place.

        One JSON object a line: a header, then a task each with its statistics, the oldest first.

        Raises:
            OSError: the disk is full, or the folder is not there; an earlier snapshot stays as it was.
        """
        path = Path(path)
        part = path.with_name(f".{path.name}.{os.getpid()}.part")
        try:
            with part.open("w", encoding="utf-8") as file:
                file.writelines(self._lines())
                file.flush()
                os.fsync(file.fileno())
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)

    def _lines(self) -> Iterator[str]:
        header = {
            "format": FORMAT,
            "version": VERSION,
            "python": _python(),
            "capacity": self.capacity,
            "eviction": str(self.eviction),
            "clock": self.clock,
            "tasks": len(self),
        }
        yield json.dumps(header) + "\n"
        for entry in self.entries():
            line = {
                "task": entry.task.to_json(),
                "place": self._shelves[str(entry.task.mode)].place(entry),
                "born": entry.born,
                "attempts": entry.attempts,
                "successes": entry.successes,
                "origin": entry.origin,
            }
            yield json.dumps(line) + "\n"

    @classmethod
    def load(cls, path: str | os.PathLike[str], task_type: type[T]) -> TaskPool[T]:
        """Read a snapshot. It samples, evicts and ages on exactly as the pool that was saved.

        Args:
            path: what `save` wrote.
            task_type: the room's tasks, such as `azr_gym.code.CodeTask`.

        Raises:
            BadPoolFile: no pool, another version, another Python (outputs may differ), another room, or damaged.
            FileNotFoundError: nothing is there.
        """
        with Path(path).open("rb") as file:
            header = _header(path, file.readline())
            pool: TaskPool[T] = cls((), header["capacity"], header["eviction"])
            pool.clock = header["clock"]
            held: list[tuple[Entry[T], int]] = []
            keys: set[bytes] = set()
            for number, text in enumerate(file, 2):
                try:
                    entry, place = _entry(json.loads(text), task_type)
                    if entry.task.key in keys:
                        raise BadTask("the same task stands there twice")
                    if not (held[-1][0].born if held else -1) < entry.born < pool.clock:
                        raise BadTask(f"'born' must grow from line to line, and stay below {pool.clock}")
                except (ValueError, KeyError, TypeError, RecursionError) as error:
                    raise BadPoolFile(f"{path}, line {number}: {error or type(error).__name__}") from None
                keys.add(entry.task.key)
                held.append((entry, place))
        if len(held) != header["tasks"]:
            raise BadPoolFile(f"{path} ends early: {len(held):,} of {header['tasks']:,} tasks are there")
        sizes = Counter(str(entry.task.mode) for entry, _ in held)
        last: dict[str, int] = {}
        for number, (entry, place) in enumerate(held, 2):
            mode = str(entry.task.mode)
            if sizes[mode] > pool.capacity or not last.get(mode, -1) < place <= 2 * sizes[mode] + _SLACK:
                raise BadPoolFile(
                    f"{path}, line {number}: {sizes[mode]:,} {mode} tasks, and this one in place {place:,}"
                )
            last[mode] = place
            pool._put(entry, entry.task.key, place)
        return pool


class _Shelf(Generic[T]):
    """The tasks of one mode, in the order in which they came, with holes where some were evicted. The last place is
    never a hole: whatever is evicted makes room for a newer one."""

    def __init__(self) -> None:
        self._places: list[Entry[T] | None] = []
        self._held = 0
        self._oldest = 0  # nothing but holes before it
        self._ranks: list[tuple[float, int]] = []  # a heap of (weight, born), some of them out of date
        self._offset: dict[int, int] = {}  # born -> place

    def __len__(self) -> int:
        return self._held

    def place(self, entry: Entry[T]) -> int:
        return self._offset[entry.born]

    def append(self, entry: Entry[T], place: int | None = None) -> None:
        if place is not None:  # of a snapshot: its holes count, for chance falls on them too
            if not self._held:
                self._oldest = place
            self._places += [None] * (place - len(self._places))
        self._offset[entry.born] = len(self._places)
        self._places.append(entry)
        self._held += 1

    def rank(self, entry: Entry[T]) -> None:
        """Put an entry's present weight on the heap; older ones of it are passed over when they come up."""
        heapq.heappush(self._ranks, (entry.weight, entry.born))
        if len(self._ranks) > 4 * self._held + _SLACK:
            self._ranks = [(held.weight, held.born) for held in self._places if held is not None]
            heapq.heapify(self._ranks)

    def oldest(self) -> Entry[T]:
        entry = self._places[self._oldest]
        assert entry is not None
        return entry

    def lowest(self) -> Entry[T]:
        while True:
            weight, born = heapq.heappop(self._ranks)
            place = self._offset.get(born)
            entry = self._places[place] if place is not None else None
            if entry is not None and entry.weight == weight:
                return entry

    def remove(self, entry: Entry[T]) -> None:
        self._places[self._offset.pop(entry.born)] = None
        self._held -= 1
        if len(self._places) > 2 * self._held + _SLACK:
            self._places = [held for held in self._places if held is not None]
            self._offset = {held.born: place for place, held in enumerate(self._places) if held is not None}
            self._oldest = 0
        while self._oldest < len(self._places) and self._places[self._oldest] is None:
            self._oldest += 1

    def draw(self, rng: np.random.Generator, sampling: Sampling) -> T:
        """Draw by rejection: hardly more than half of the places are holes, and the least weight is 0.05."""
        size = len(self._places)
        start = max(self._oldest, size - _RECENT) if sampling is Sampling.RECENT else self._oldest
        while True:
            entry = self._places[int(rng.integers(start, size))]
            if entry is None:
                continue
            if sampling is not Sampling.LEARNABILITY or rng.random() < entry.weight:
                return entry.task


def _python() -> str:
    return f"{sys.version_info[0]}.{sys.version_info[1]}"


def _header(path: object, text: bytes) -> Mapping[str, Any]:
    try:
        header = json.loads(text)
        known = header["format"] == FORMAT
    except (ValueError, KeyError, TypeError, RecursionError):
        known = False
    if not known:
        raise BadPoolFile(f"{path} is no pool: TaskPool.save() writes them")
    if header.get("version") != VERSION:
        raise BadPoolFile(f"{path} is a pool of version {header.get('version')!r}, and this release reads {VERSION}")
    if header.get("python") != _python():
        raise BadPoolFile(
            f"{path} was made with Python {header.get('python')!r}, and this is {_python()}: outputs may differ. "
            "Use that Python, or make the pool again"
        )
    counts = [header.get(name) for name in ("capacity", "clock", "tasks")]
    if not all(map(_is_count, counts)) or not counts[0] or header.get("eviction") not in list(Eviction):
        raise BadPoolFile(f"{path}, line 1: the header is damaged")
    return header  # type: ignore[no-any-return]


def _is_count(value: object) -> bool:
    return type(value) is int and value >= 0


def _entry(line: Any, task_type: type[T]) -> tuple[Entry[T], int]:
    """A line of a snapshot: an entry, and its place in the list of its mode."""
    names = {"task", "place", "born", "attempts", "successes", "origin"}
    if not isinstance(line, dict) or line.keys() != names:
        raise BadTask(f"a line has {', '.join(sorted(names))}")
    place, born, attempts, successes = (line[name] for name in ("place", "born", "attempts", "successes"))
    if not all(map(_is_count, (place, born, attempts, successes))) or successes > attempts:
        raise BadTask("'place', 'born', 'attempts' and 'successes' are counts, and no more successes than attempts")
    if type(line["origin"]) is not str or not isinstance(line["task"], dict):
        raise BadTask("'origin' is text, and 'task' an object")
    task: Any = task_type.from_json(line["task"])
    return Entry(task, born, attempts, successes, line["origin"]), place
