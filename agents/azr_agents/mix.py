"""A run over several environments. It looks like one: an arena and a pool that hand each task to its own.

A mode is named after its environment there, such as "CodeTriplet-v0/deduction". The rest of the learner knows the names
of modes alone, so that baselines, metrics and what is tried are kept apart by environment as they are by mode.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import numpy as np

from azr_gym.agent import Agent
from azr_gym.errors import BadArgument
from azr_gym.pool import Entry, Sampling, TaskPool
from azr_gym.task import Task

from .config import Config
from .rollout import Arena, Rollout, Stopwatch, task_type

APART = 7_368_787  # between the seeds of two environments: the first one's are those of a run of its own


class Pools:
    """A pool for each environment.

    Args:
        pools: by the environment's id.
        kinds: the type of each environment's tasks, in the same order.

    Raises:
        BadArgument: two environments have tasks of one type, and could not be told apart.
    """

    def __init__(self, pools: Mapping[str, TaskPool[Any]], kinds: Sequence[type]) -> None:
        self.pools, self.kinds = dict(pools), dict(zip(pools, kinds, strict=True))
        if len(set(kinds)) < len(kinds):
            raise BadArgument(f"the tasks of {', '.join(pools)} are of one type: play them in runs of their own")

    def env(self, task: Any) -> str:
        """The id of a task's environment."""
        return next(env for env, kind in self.kinds.items() if isinstance(task, kind))

    def __len__(self) -> int:
        return sum(map(len, self.pools.values()))

    def __contains__(self, task: Any) -> bool:
        return task in self.pools[self.env(task)]

    def entry(self, task: Any) -> Entry[Any]:
        """As `TaskPool.entry`."""
        return self.pools[self.env(task)].entry(task)

    def size(self, mode: str) -> int:
        """How many tasks of a mode there are."""
        env, bare = mode.rsplit("/", 1)
        return self.pools[env].size(bare)

    def add(self, task: Task, origin: str = "") -> bool:
        """As `TaskPool.add`."""
        return self.pools[self.env(task)].add(task, origin)

    def record(self, task: Task, *, attempts: int, successes: int) -> None:
        """As `TaskPool.record`."""
        self.pools[self.env(task)].record(task, attempts=attempts, successes=successes)

    def sample(
        self, rng: np.random.Generator, count: int, mode: str | None = None, sampling: Sampling | str = Sampling.UNIFORM
    ) -> list[Any]:
        """As `TaskPool.sample`; without a mode the environment of each task is drawn first, each equally often."""
        if mode is not None:
            env, bare = mode.rsplit("/", 1)
            return self.pools[env].sample(rng, count, bare, sampling)
        held = [pool for pool in self.pools.values() if len(pool)]
        if not held:
            raise BadArgument("the pools hold no tasks: add some first")
        return [held[int(rng.integers(len(held)))].sample(rng, 1, None, sampling)[0] for _ in range(count)]

    def save(self, path: Path) -> None:
        """A file for each pool, in the order of the environments: pool.jsonl becomes pool-0.jsonl, pool-1.jsonl."""
        for place, pool in enumerate(self.pools.values()):
            pool.save(path.with_stem(f"{path.stem}-{place}"))


class Arenas:
    """An arena for each environment.

    Args:
        config: the run's settings.
        pool: of the same environments.

    Raises:
        BadArgument: an environment can not be played so.
    """

    def __init__(self, config: Config, pool: Pools) -> None:
        self.config, self.pool, self.watch = config, pool, Stopwatch()
        with ExitStack() as stack:
            self.arenas = {
                env: stack.enter_context(Arena(own, pool.pools[env])) for env, own in config.by_env().items()
            }
            self._open = stack.pop_all()
        for arena in self.arenas.values():
            arena.watch = self.watch
        self.modes = tuple(mode_in(env, mode) for env, arena in self.arenas.items() for mode in arena.modes)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *failure: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the environments."""
        self._open.close()

    def prompt(self, task: Task) -> str:
        """As `Arena.prompt`."""
        return self.arenas[self.pool.env(task)].prompt(task)

    def propose(self, agent: Agent, seed: int) -> list[Rollout]:
        """As `Arena.propose`, with one call of the agent for each environment."""
        made: list[Rollout] = []
        for place, (env, arena) in enumerate(self.arenas.items()):
            made += _named(env, arena.propose(agent, seed + APART * place))
        return made

    def solve(self, agent: Agent, tasks: Sequence[Task], seed: int) -> list[list[Rollout]]:
        """As `Arena.solve`, with one call of the agent for each environment."""
        envs = [self.pool.env(task) for task in tasks]
        groups = {}
        for place, (env, arena) in enumerate(self.arenas.items()):
            own = [task for task, its in zip(tasks, envs, strict=True) if its == env]
            groups[env] = iter(arena.solve(agent, own, seed + APART * place))
        return [_named(env, next(groups[env])) for env in envs]

    def fresh(self, count: int, seed: int) -> list[Any]:
        """As `Arena.fresh`."""
        arenas = enumerate(self.arenas.values())
        return [task for place, arena in arenas for task in arena.fresh(count, seed + APART * place)]


def mode_in(env: str, mode: str) -> str:
    """The name of an environment's mode in a run over several."""
    return f"{env}/{mode}"


def _named(env: str, rollouts: Iterable[Rollout]) -> list[Rollout]:
    return [replace(one, mode=mode_in(env, one.mode)) for one in rollouts]


def make_pool(config: Config) -> TaskPool[Any] | Pools:
    """An empty pool for the run's environment, or one for each."""
    return _pool(config, {env: TaskPool(capacity=config.pool_capacity) for env in config.envs})


def load_pool(config: Config, path: Path) -> TaskPool[Any] | Pools:
    """What the pool of `make_pool` saved."""
    kinds = [*enumerate(map(task_type, config.by_env().values()))]
    if len(kinds) == 1:
        return TaskPool.load(path, kinds[0][1])
    files = (TaskPool.load(path.with_stem(f"{path.stem}-{place}"), kind) for place, kind in kinds)
    return _pool(config, dict(zip(config.envs, files, strict=True)))


def _pool(config: Config, pools: Mapping[str, TaskPool[Any]]) -> TaskPool[Any] | Pools:
    if len(pools) == 1:
        return pools[config.envs[0]]
    return Pools(pools, [task_type(own) for own in config.by_env().values()])


def make_arena(config: Config, pool: TaskPool[Any] | Pools) -> Arena | Arenas:
    """The run's environment over its pool, or all of them over theirs."""
    return Arenas(config, pool) if isinstance(pool, Pools) else Arena(config, pool)
