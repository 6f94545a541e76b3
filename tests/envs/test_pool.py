"""The pool against a model of a few lines: what it holds, evicts, draws and remembers; and snapshots, whole or refused."""

from __future__ import annotations

import copy
import json
import os
import pickle
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from azr_gym import BadArgument, BadPoolFile, BadTask, TaskPool
from azr_gym.code import CodeTask, InductionTask, Triplet, hello_world
from azr_gym.pool import Eviction, Sampling


class Kind(StrEnum):
    A = "a"
    B = "b"


@dataclass(frozen=True)
class Light:
    """A task that costs nothing."""

    number: int
    mode: Kind = Kind.A

    @property
    def id(self) -> str:
        return f"{self.mode}{self.number}"

    @property
    def key(self) -> bytes:
        return self.id.encode()

    def features(self) -> frozenset[str]:
        return frozenset({f"even {self.number % 2 == 0}", f"tens {self.number // 10}", self.id})

    def to_json(self) -> dict[str, Any]:
        return {"number": self.number, "mode": str(self.mode)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Light:
        if type(data.get("number")) is not int or data.get("mode") not in list(Kind):
            raise BadTask("no light task")
        return cls(data["number"], Kind(data["mode"]))


lights = st.builds(Light, st.integers(0, 40), st.sampled_from(Kind))
evictions = st.sampled_from(Eviction)
history = st.lists(st.tuples(lights, st.integers(0, 4), st.integers(0, 4)), max_size=150)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def draws(pool: TaskPool[Light], seed: int = 0, count: int = 40) -> list[Light]:
    """What the pool gives in every way of sampling."""
    dice = rng(seed)
    modes = [None, *(kind for kind in Kind if pool.size(kind))]
    return [task for how in Sampling for mode in modes for task in pool.sample(dice, count, mode, how)]


def live(pool: TaskPool[Light], steps: list[tuple[Light, int, int]]) -> TaskPool[Light]:
    """Let a pool live through additions and records."""
    for task, attempts, extra in steps:
        pool.add(task)
        pool.record(task, attempts=attempts + extra, successes=attempts)
    return pool


def books(pool: TaskPool[Light]) -> list[tuple[object, ...]]:
    return [(e.task, e.born, e.attempts, e.successes, e.origin) for e in pool.entries()]


class PoolMachine(RuleBasedStateMachine):
    """The pool beside a list of (task, born, attempts, successes), and a diary of who was there when."""

    @initialize(capacity=st.integers(1, 6), eviction=evictions)
    def begin(self, capacity: int, eviction: Eviction) -> None:
        self.pool: TaskPool[Light] = TaskPool((), capacity, eviction)
        self.held: dict[bytes, list[Any]] = {}
        self.diary: list[set[bytes]] = [set()]  # who was there when the clock stood so
        self.evicted: list[bytes] = []

    @rule(task=lights)
    def add(self, task: Light) -> None:
        new = self.pool.add(task, "test")
        assert new == (task.key not in self.held)
        if not new:
            return
        same = [row for row in self.held.values() if row[0].mode == task.mode]
        if len(same) == self.pool.capacity:
            weight = self.weight if self.pool.eviction is Eviction.PRIORITY else lambda row: 0
            gone = min(same, key=lambda row: (weight(row), row[1]))[0].key
            del self.held[gone]
            self.evicted = [key for key in self.evicted if key != gone] + [gone]
        self.held[task.key] = [task, len(self.diary) - 1, 0, 0]
        self.diary.append(set(self.held))
        assert task in self.pool

    @staticmethod
    def weight(row: list[Any]) -> float:
        good, bad = row[3] + 1, row[2] - row[3] + 1
        return max(0.05, 4 * good * bad / (good + bad) ** 2) if row[2] else 1.0

    @rule(task=lights, successes=st.integers(0, 5), failures=st.integers(0, 5))
    def record(self, task: Light, successes: int, failures: int) -> None:
        self.pool.record(task, attempts=successes + failures, successes=successes)
        if row := self.held.get(task.key):
            row[2] += successes + failures
            row[3] += successes

    @rule(seed=st.integers(0, 99), how=st.sampled_from(Sampling))
    def sample(self, seed: int, how: Sampling) -> None:
        if not self.held:
            return
        drawn = self.pool.sample(rng(seed), 5, None, how)
        assert drawn == self.pool.sample(rng(seed), 5, None, how)
        assert all(task.key in self.held for task in drawn)

    @rule(task=lights, back=st.integers(0, 12))
    def knew(self, task: Light, back: int) -> None:
        if task.key in self.evicted[: -self.pool.capacity]:
            return  # so long ago that it may be forgotten
        clock = max(0, len(self.diary) - 1 - back)
        stays = [task.key in day for day in self.diary]
        last_stay = len(stays) - 1 - stays[::-1].index(True) if True in stays else -1
        while last_stay > 0 and stays[last_stay - 1]:
            last_stay -= 1
        if clock >= last_stay:  # of two stays, the last is remembered
            assert self.pool.knew(task.key, clock) == stays[clock]

    @rule()
    def save_and_load(self) -> None:
        with tempfile.TemporaryDirectory() as folder:  # a stateful test has no fixtures
            self.pool.save(Path(folder, "pool"))
            again = TaskPool.load(Path(folder, "pool"), Light)
        assert books(again) == books(self.pool)
        if self.held:
            assert draws(again, count=5) == draws(self.pool, count=5)
        self.pool = again
        self.evicted = []
        self.diary = [set() for _ in self.diary[:-1]] + [self.diary[-1]]

    @invariant()
    def agree(self) -> None:
        assert [[e.task, e.born, e.attempts, e.successes] for e in self.pool.entries()] == list(self.held.values())
        assert list(self.pool) == [row[0] for row in self.held.values()]
        assert len(self.pool) == len(self.held)
        for kind in Kind:
            assert self.pool.size(kind) == sum(row[0].mode == kind for row in self.held.values()) <= self.pool.capacity
        assert self.pool.clock == len(self.diary) - 1


PoolMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None, derandomize=True)
TestPoolAgainstItsModel = PoolMachine.TestCase


# Adding and evicting ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("eviction", Eviction)
@pytest.mark.parametrize("capacity", [1, 2, 10])
def test_a_thousand_tasks_pass_through_a_small_pool(eviction: Eviction, capacity: int) -> None:
    pool: TaskPool[Light] = TaskPool((), capacity, eviction)
    for number in range(1_000):
        assert pool.add(Light(number))
        assert Light(number) in pool
        assert len(pool) == min(number + 1, capacity)
        pool.sample(rng(number), 1)
    assert pool.clock == 1_000
    assert len(pool._shelves["a"]._places) <= 2 * capacity + 65


def test_the_oldest_goes_first() -> None:
    pool = TaskPool([Light(n) for n in range(4)], capacity=3)
    assert list(pool) == [Light(1), Light(2), Light(3)]
    pool.add(Light(0))
    assert list(pool) == [Light(2), Light(3), Light(0)]


def test_the_task_that_teaches_least_goes_first() -> None:
    pool = TaskPool([Light(n) for n in range(4)], capacity=4, eviction="priority")
    for number, successes in enumerate([5, 10, 0, 4]):
        pool.record(Light(number), attempts=10, successes=successes)
    pool.add(Light(4))
    assert Light(1) not in pool  # the older of the two extremes
    pool.add(Light(5))
    assert Light(2) not in pool
    pool.record(Light(0), attempts=10**6, successes=0)
    pool.add(Light(6))
    assert Light(0) not in pool


def test_each_mode_has_room_of_its_own() -> None:
    pool = TaskPool([Light(n, kind) for n in range(5) for kind in Kind], capacity=3)
    assert (pool.size("a"), pool.size(Kind.B), pool.size("c"), len(pool)) == (3, 3, 0, 6)


def test_a_task_twice_changes_nothing() -> None:
    pool = TaskPool([Light(1)])
    pool.record(Light(1), attempts=3, successes=1)
    assert not pool.add(Light(1), "again")
    assert books(pool) == [(Light(1), 0, 3, 1, "seed")]


def test_programs_that_differ_in_names_are_one_task() -> None:
    pool: TaskPool[CodeTask] = TaskPool()
    assert pool.add(Triplet.of("deduction", "def f(x):\n    return x + 1", [1], 2))
    assert not pool.add(Triplet.of("deduction", "def f(y):  # again\n    return y + 1", [1], 2))


@pytest.mark.parametrize("capacity", [0, -1, True, 1.5, "3", None])
def test_a_bad_capacity_is_refused(capacity: Any) -> None:
    with pytest.raises(BadArgument, match="capacity"):
        TaskPool((), capacity)


@pytest.mark.parametrize("eviction", ["", "lru", None, 1])
def test_a_bad_eviction_is_refused(eviction: Any) -> None:
    with pytest.raises(BadArgument, match="priority"):
        TaskPool((), 1, eviction)


# Records --------------------------------------------------------------------------------------------------------------


def test_the_record_of_an_evicted_task_is_passed_over() -> None:
    pool = TaskPool([Light(1), Light(2)], capacity=1, eviction="priority")
    pool.record(Light(1), attempts=5, successes=5)
    assert books(pool) == [(Light(2), 1, 0, 0, "seed")]
    with pytest.raises(BadTask, match="evicted"):
        pool.entry(Light(1))


@pytest.mark.parametrize(
    ("attempts", "successes"), [(1, 2), (-1, -1), (1, -1), (0.5, 0.5), (float("nan"), 0), ("1", "1"), (None, 0)]
)
def test_counts_that_are_none_are_refused(attempts: Any, successes: Any) -> None:
    pool = TaskPool([Light(1)])
    with pytest.raises(BadArgument):
        pool.record(Light(1), attempts=attempts, successes=successes)
    assert pool.entry(Light(1)).attempts == 0


def test_numpy_counts_can_be_saved(tmp_path: Path) -> None:
    pool = TaskPool([Light(1)])
    counts: Any = (np.int64(3), np.sum([True, False]))
    pool.record(Light(1), attempts=counts[0], successes=counts[1])
    pool.save(tmp_path / "pool")
    assert books(TaskPool.load(tmp_path / "pool", Light)) == [(Light(1), 0, 3, 1, "seed")]


@given(st.integers(0, 50), st.integers(0, 50))
def test_a_weight_lies_between_a_twentieth_and_one(successes: int, failures: int) -> None:
    pool = TaskPool([Light(1)])
    pool.record(Light(1), attempts=successes + failures, successes=successes)
    entry = pool.entry(Light(1))
    assert 0.05 <= entry.weight <= 1.0
    assert entry.solve_rate == (successes / (successes + failures) if successes + failures else None)


# Sampling -------------------------------------------------------------------------------------------------------------


@given(history, evictions, st.integers(1, 30), st.integers(0, 9))
def test_sampling_is_a_function_of_seed_and_history(
    steps: list[tuple[Light, int, int]], eviction: Eviction, capacity: int, seed: int
) -> None:
    one, other = (live(TaskPool((), capacity, eviction), steps) for _ in range(2))
    if len(one):
        assert draws(one, seed) == draws(other, seed)


def test_recent_draws_the_newest_256_only() -> None:
    pool = TaskPool([Light(n) for n in range(1_000)])
    drawn = {task.number for task in pool.sample(rng(), 5_000, Kind.A, "recent")}
    assert drawn == set(range(744, 1_000))


def test_uniform_draws_everything_alike() -> None:
    pool = TaskPool([Light(n) for n in range(90)], capacity=50)
    counts = Counter(task.number for task in pool.sample(rng(), 50_000))
    assert set(counts) == set(range(40, 90))
    assert max(counts.values()) < 1.25 * min(counts.values())


def test_holes_do_not_bend_the_odds() -> None:
    pool = TaskPool([Light(n) for n in range(60)], capacity=60, eviction="priority")
    for number in range(10, 50):
        pool.record(Light(number), attempts=10, successes=10)
    for number in range(60, 80):
        pool.add(Light(number))
    counts = Counter(task.number for task in pool.sample(rng(), 60_000))
    assert len(counts) == 60
    assert max(counts.values()) < 1.25 * min(counts.values())


def test_learnability_prefers_middling_tasks() -> None:
    pool = TaskPool([Light(n) for n in range(3)])
    for number, successes in enumerate([0, 50, 100]):
        pool.record(Light(number), attempts=100, successes=successes)
    counts = Counter(task.number for task in pool.sample(rng(), 10_000, sampling="learnability"))
    assert counts[1] > 8 * max(counts[0], counts[2])
    assert min(counts[0], counts[2]) > 200  # and the others never vanish


def test_without_a_mode_each_kind_is_drawn_equally_often() -> None:
    pool = TaskPool([Light(n) for n in range(99)] + [Light(0, Kind.B)])
    kinds = Counter(task.mode for task in pool.sample(rng(), 4_000))
    assert abs(kinds[Kind.B] - 2_000) < 200


@pytest.mark.parametrize("how", ["", "newest", None, 3])
def test_a_bad_sampling_is_refused(how: Any) -> None:
    with pytest.raises(BadArgument, match="learnability"):
        TaskPool([Light(1)]).sample(rng(), 1, None, how)


def test_there_is_nothing_to_draw_from_an_empty_pool() -> None:
    empty: TaskPool[Light] = TaskPool()
    with pytest.raises(BadArgument, match="holds no tasks"):
        empty.sample(rng(), 1)
    with pytest.raises(BadArgument, match="holds no b tasks"):
        TaskPool([Light(1)]).sample(rng(), 1, "b")


# As of --------------------------------------------------------------------------------------------------------------


def test_what_the_pool_knew_is_as_of_its_clock() -> None:
    pool = TaskPool([Light(1)], capacity=1)
    assert (pool.knew(Light(1).key, 0), pool.knew(Light(1).key, 1)) == (False, True)
    pool.add(Light(2))
    assert [pool.knew(Light(1).key, clock) for clock in (0, 1, 2)] == [False, True, False]
    assert [pool.knew(Light(2).key, clock) for clock in (0, 1, 2)] == [False, False, True]
    assert not pool.knew(b"nobody", 2)


def test_novelty_is_as_of_the_clock() -> None:
    pool = TaskPool([Light(1)])
    before = pool.clock
    pool.add(Light(12))
    assert pool.novelty(Light(12).features(), before) == 1.0
    assert pool.novelty(Light(12).features(), pool.clock) == 0.0
    assert pool.novelty(Light(14).features(), pool.clock) == pytest.approx(1 / 3)
    assert pool.novelty(frozenset(), pool.clock) == 0.0


@given(history, evictions)
def test_features_are_those_of_the_tasks_held(steps: list[tuple[Light, int, int]], eviction: Eviction) -> None:
    pool = live(TaskPool((), 5, eviction), steps)
    expected = Counter(feature for task in pool for feature in task.features())
    assert {name: count for name, (count, _) in pool._features.items()} == expected


# Snapshots ------------------------------------------------------------------------------------------------------------


@given(history, history, evictions, st.integers(1, 30))
def test_a_loaded_pool_lives_on_as_the_one_that_was_saved(
    tmp_path: Path,
    before: list[tuple[Light, int, int]],
    after: list[tuple[Light, int, int]],
    eviction: Eviction,
    capacity: int,
) -> None:
    pool = live(TaskPool((), capacity, eviction), before)
    pool.save(tmp_path / "pool")
    again = TaskPool.load(tmp_path / "pool", Light)
    for step in range(0, len(after) + 10, 10):
        assert books(again) == books(pool)
        assert again.clock == pool.clock
        assert {n: [p and p.task for p in s._places] for n, s in again._shelves.items()} == {
            n: [p and p.task for p in s._places] for n, s in pool._shelves.items()
        }
        if len(pool):
            assert draws(again, step, 10) == draws(pool, step, 10)
        for one in (pool, again):
            live(one, after[step : step + 10])
    pool.save(tmp_path / "one")
    again.save(tmp_path / "other")
    assert (tmp_path / "one").read_bytes() == (tmp_path / "other").read_bytes()


@pytest.mark.parametrize("eviction", Eviction)
def test_a_long_life_survives_a_snapshot(tmp_path: Path, eviction: Eviction) -> None:
    dice = rng(7)
    steps: list[tuple[Light, int, int]] = []
    for _ in range(6_000):
        number, successes, failures = map(int, dice.integers([5_000, 5, 5]))
        steps.append((Light(number, Kind.B if dice.random() < 0.3 else Kind.A), successes, failures))
    pool = live(TaskPool((), 300, eviction), steps[:4_000])
    pool.save(tmp_path / "pool")
    again = TaskPool.load(tmp_path / "pool", Light)
    assert draws(again, 1, 500) == draws(pool, 1, 500)
    assert books(live(again, steps[4_000:])) == books(live(pool, steps[4_000:]))
    assert draws(again, 2, 500) == draws(pool, 2, 500)


def test_code_tasks_come_back(tmp_path: Path) -> None:
    tasks = [
        hello_world(),
        hello_world("abduction"),
        InductionTask.of("def f(x): return x", [([1], 1), ([2], 2)], "\ud800 é \u2028"),
    ]
    pool: TaskPool[CodeTask] = TaskPool(tasks)
    pool.save(tmp_path / "pool")
    assert list(TaskPool.load(tmp_path / "pool", CodeTask)) == tasks


def test_an_empty_pool_comes_back(tmp_path: Path) -> None:
    TaskPool((), 7, "priority").save(tmp_path / "pool")
    again = TaskPool.load(tmp_path / "pool", Light)
    assert (len(again), again.capacity, again.eviction, again.clock) == (0, 7, Eviction.PRIORITY, 0)


@pytest.mark.parametrize("where", ["fsync", "replace"])
def test_a_crash_while_saving_leaves_the_last_snapshot(
    tmp_path: Path, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    TaskPool([Light(1)]).save(tmp_path / "pool")

    def fail(*_: object) -> None:
        raise OSError("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(os, where, fail)
        patch.setattr(Path, "replace", fail)
        with pytest.raises(OSError, match="disk is full"):
            TaskPool([Light(2)]).save(tmp_path / "pool")
    assert list(TaskPool.load(tmp_path / "pool", Light)) == [Light(1)]
    assert [one.name for one in tmp_path.iterdir()] == ["pool"]


def test_a_task_that_can_not_be_written_leaves_the_last_snapshot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = TaskPool([Light(n) for n in range(9)])
    pool.save(tmp_path / "pool")
    monkeypatch.setattr(
        Light, "to_json", lambda self: {"number": self.number, "mode": object() if self.number == 5 else "a"}
    )
    with pytest.raises(TypeError):
        pool.save(tmp_path / "pool")
    assert len(TaskPool.load(tmp_path / "pool", Light)) == 9
    assert [one.name for one in tmp_path.iterdir()] == ["pool"]


def test_a_killed_process_leaves_the_last_snapshot(tmp_path: Path) -> None:
    code = (
        "import sys; from azr_gym import TaskPool; from azr_gym.code import Triplet\n"
        "many = [Triplet.of('deduction', 'def f(x): return x', [n], n) for n in range(400)]\n"
        "TaskPool(many[:3]).save(sys.argv[1])\n"
        "print('saved', flush=True)\n"
        "pools = [TaskPool(many[:size]) for size in (400, 200)]\n"
        "while True:\n    for pool in pools: pool.save(sys.argv[1])\n"
    )
    path = tmp_path / "pool"
    for wait in (0.0, 0.05, 0.13):
        child = subprocess.Popen([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE, text=True)
        assert child.stdout is not None
        with child.stdout:
            assert child.stdout.readline() == "saved\n"
            time.sleep(0.1 + wait)
            child.send_signal(signal.SIGKILL)
            child.wait()
        assert len(TaskPool.load(path, CodeTask)) in (3, 200, 400)
    TaskPool([hello_world()]).save(path)
    assert len(TaskPool.load(path, CodeTask)) == 1


def test_a_folder_that_is_not_there_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="no-folder"):
        TaskPool([Light(1)]).save(tmp_path / "no-folder" / "pool")
    with pytest.raises(FileNotFoundError):
        TaskPool.load(tmp_path / "pool", Light)


Lines = list[Any]


def _edit(number: int, **change: Any) -> Callable[[Lines], Lines]:
    return lambda lines: [line | change if at == number else line for at, line in enumerate(lines)]


def _raw(number: int, text: str) -> Callable[[Lines], Lines]:
    return lambda lines: [text if at == number else line for at, line in enumerate(lines)]


DAMAGE: dict[str, Callable[[Lines], Lines]] = {
    "another version": _edit(0, version=2), "no version": _edit(0, version=None), "another python": _edit(0, python="2.7"), "another format": _edit(0, format="tar"), "no header": lambda lines: lines[1:],
    "an empty file": lambda lines: [], "garbage": _raw(0, "\x80garbage"), "a header that is a list": _raw(0, "[1]"), "a header that is null": _raw(0, "null"), "a deep header": _raw(0, "[" * 100_000),
    "a capacity of nothing": _edit(0, capacity=0), "a capacity of text": _edit(0, capacity="9"), "a capacity that is true": _edit(0, capacity=True), "no capacity": _edit(0, capacity=None),
    "another eviction": _edit(0, eviction="lru"), "a list of evictions": _edit(0, eviction=["fifo"]), "a negative clock": _edit(0, clock=-1), "a clock of text": _edit(0, clock="5"), "a clock that is late": _edit(0, clock=3),
    "fewer tasks": lambda lines: lines[:-1], "more tasks": lambda lines: [*lines, lines[-1] | {"born": 6, "task": {"number": 77, "mode": "a"}}], "tasks as text": _edit(0, tasks="5"), "a lie about the tasks": _edit(0, tasks=10**12),
    "a capacity that is exceeded": _edit(0, capacity=2), "a truncated line": _raw(5, '{"task": {"num'), "garbage in the middle": _raw(3, "\x00\x01"), "an empty line": _raw(3, ""), "a line that is a list": _raw(3, "[]"),
    "a line that is null": _raw(3, "null"), "a line that is text": _raw(3, '"task"'), "a line that is a number": _raw(3, "7"), "a deep line": _raw(3, "[" * 100_000), "a long number": _raw(3, "9" * 10_000),
    "the same task twice": _edit(3, task={"number": 1, "mode": "a"}), "another room's task": _edit(3, task=hello_world().to_json()), "no task": _edit(3, task=None), "a task of text": _edit(3, task="x"), "a task of a list": _edit(3, task=[1]),
    "more successes than attempts": _edit(3, attempts=1, successes=2), "negative attempts": _edit(3, attempts=-1, successes=-1), "attempts of text": _edit(3, attempts="1"), "attempts that are nan": _edit(3, attempts=float("nan")),
    "attempts that are true": _edit(3, attempts=True), "half an attempt": _edit(3, attempts=0.5), "a place far away": _edit(3, place=10**12), "a place beyond all memory": _edit(5, place=10**30), "a negative place": _edit(1, place=-1),
    "a place of text": _edit(3, place="2"), "a place that is a float": _edit(3, place=2.0), "a place that is taken": _edit(3, place=1), "a place before the last": _edit(3, place=0), "no place": _edit(3, place=None),
    "born out of order": _edit(3, born=0), "born twice": _edit(3, born=1), "born before time": _edit(1, born=-1), "born in the future": _edit(5, born=99), "born as text": _edit(3, born="2"), "born as a float": _edit(3, born=2.0),
    "an origin of numbers": _edit(3, origin=5), "a field too many": _edit(3, more=1), "a field too few": lambda lines: [{k: v for k, v in line.items() if k != "born"} for line in lines],
}  # fmt: skip


@pytest.mark.parametrize("name", DAMAGE)
def test_a_damaged_file_is_one_clear_error(tmp_path: Path, name: str) -> None:
    path = tmp_path / "pool"
    TaskPool([Light(n) for n in range(5)], capacity=5).save(path)
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    edited = DAMAGE[name](lines)
    path.write_bytes(
        "".join((one if isinstance(one, str) else json.dumps(one)) + "\n" for one in edited).encode("latin-1")
    )
    with pytest.raises(BadPoolFile, match=r"pool(, line [1-7]:| is | ends | was )"):
        TaskPool.load(path, Light)


@given(st.binary(max_size=80), st.integers(0, 600), st.integers(0, 40))
def test_any_damage_is_found_or_harmless(tmp_path: Path, junk: bytes, at: int, cut: int) -> None:
    path = tmp_path / "pool"
    TaskPool([Light(n) for n in range(5)], capacity=5).save(path)
    whole = path.read_bytes()
    path.write_bytes(whole[:at] + junk + whole[at + cut :])
    try:
        again = TaskPool.load(path, Light)
    except BadPoolFile:
        return
    assert len(again) == 5
    draws(again)


def test_a_python_pool_says_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "pool"
    TaskPool([Light(1)]).save(path)
    path.write_text(
        path.read_text().replace(f'"python": "{sys.version_info[0]}.{sys.version_info[1]}"', '"python": "3.1"')
    )
    with pytest.raises(BadPoolFile, match=r"Python '3\.1'.*make the pool again"):
        TaskPool.load(path, Light)


# As a value -----------------------------------------------------------------------------------------------------------


def test_a_deep_copy_is_the_pool_itself() -> None:
    pool = TaskPool([Light(1)])
    assert copy.deepcopy({"pool": pool})["pool"] is pool


@given(history, evictions)
def test_a_pickled_pool_is_the_same_pool(steps: list[tuple[Light, int, int]], eviction: Eviction) -> None:
    pool = live(TaskPool((), 6, eviction), steps)
    again = pickle.loads(pickle.dumps(pool))
    assert books(again) == books(pool)
    if len(pool):
        assert draws(again) == draws(pool)


def test_its_text_says_what_it_holds() -> None:
    assert repr(TaskPool([Light(1), Light(2, Kind.B)])) == "<TaskPool: a 1, b 1; at most 16,384 a mode, fifo>"
    assert repr(TaskPool()) == "<TaskPool: empty; at most 16,384 a mode, fifo>"


@pytest.mark.parametrize("eviction", Eviction)
def test_a_large_pool_is_as_quick_as_a_small_one(tmp_path: Path, eviction: Eviction) -> None:
    start = time.process_time()
    pool: TaskPool[Light] = TaskPool((Light(n) for n in range(50_000)), 20_000, eviction)
    for number in range(30_000, 50_000, 2):
        pool.record(Light(number), attempts=4, successes=number % 5)
    pool.sample(rng(), 20_000, sampling="learnability")
    pool.save(tmp_path / "pool")
    assert len(TaskPool.load(tmp_path / "pool", Light)) == 20_000
    assert time.process_time() - start < 20  # measured: 1.5 s; one quadratic step would take minutes
