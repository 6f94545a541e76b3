"""Plays: prompts go to an agent, its replies to the environments. The only module that steps one in training.

Everything is judged in batches, one step of one vector environment for each mode and role. The environments are reset
with seeds of their own each time, so that an iteration is a function of its seed, the pool and the weights.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from itertools import chain
from time import perf_counter
from typing import Any, Self

import gymnasium as gym

from azr_gym.agent import Agent, Reply, ask
from azr_gym.batch import BatchTaskEnv
from azr_gym.errors import BadArgument
from azr_gym.pool import TaskPool
from azr_gym.roles import Outcome, Role
from azr_gym.room import Room
from azr_gym.task import Task

from .config import Config
from .evaluate import check_one_step
from .hf import HFAgent

KEPT = 4  # environments for solvers: an iteration needs one, and one more for each `refill`


@dataclass(frozen=True, slots=True)
class Rollout:
    """A reply and what became of it.

    Attributes:
        role: who wrote it.
        mode: of the task.
        prompt: what was asked.
        reply: the object that the agent gave.
        outcome: what the environment said.
        reason: why, in words.
        reward: of the environment's preset; a proposal's is completed when its task has been tried.
        task: what was solved, or what an accepted proposal became.
        metrics: of an accepted task.
    """

    role: Role
    mode: str
    prompt: str
    reply: Reply
    outcome: Outcome
    reason: str
    reward: float
    task: Task | None
    metrics: Mapping[str, float] = field(default_factory=dict)

    @property
    def correct(self) -> bool:
        """Whether a solver's answer was right."""
        return self.outcome is Outcome.CORRECT


class Stopwatch:
    """Seconds by name."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._started = perf_counter()

    def reset(self) -> None:
        """Begin again."""
        self.seconds, self._started = {}, perf_counter()

    def lap(self, name: str) -> None:
        """Add what has gone by since the last lap."""
        now = perf_counter()
        self.seconds[name] = self.seconds.get(name, 0.0) + now - self._started
        self._started = now


class Arena:
    """The environments of a run, all over one pool: of one id, for each mode and role. `mix.Arenas` has several ids.

    Args:
        config: the run's settings.
        pool: what proposers are shown, what a proposal must differ from, and where tasks are filled up from. Nothing
            is written to it here.

    Raises:
        BadArgument: the environment can not be played so.
    """

    def __init__(self, config: Config, pool: TaskPool[Any]) -> None:
        self.config, self.pool, self.watch = config, pool, Stopwatch()
        self._open = ExitStack()
        with ExitStack() as stack:
            self.modes = config.modes or tuple(str(mode) for mode in _room(config).modes)
            self._propose = {
                mode: stack.enter_context(closing(_make(config, config.proposals, "propose", mode, pool)))
                for mode in self.modes
            }
            self._solve: dict[int, BatchTaskEnv] = {}  # by how many they judge; the last used stands last
            self._open = stack.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *failure: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the environments."""
        while self._solve:
            self._solve.popitem()[1].close()
        self._open.close()

    def prompt(self, task: Task) -> str:
        """What a solver of a task reads."""
        return next(iter(self._propose.values())).game.room.prompt(task, self.config.prompt_style)

    def propose(self, agent: Agent, seed: int) -> list[Rollout]:
        """`config.proposals` proposals in each mode, from one call of the agent."""
        self.watch.lap("rest")
        asked = {
            mode: envs.reset(seed=seed + 1_000_003 * place)[0]
            for place, (mode, envs) in enumerate(self._propose.items())
        }
        self.watch.lap("execute")
        prompts = [prompt for mode in self.modes for prompt in asked[mode]]
        replies = _ask_apart(agent, prompts, seed)
        self.watch.lap("rollout")
        count = self.config.proposals

        def judged(place: int) -> list[Rollout]:
            mode, part = self.modes[place], replies[place * count : (place + 1) * count]
            return _judged(self._propose[mode], Role.PROPOSE, asked[mode], part, [mode] * count)

        if self.config.env_processes > 1:
            with ThreadPoolExecutor(len(self.modes)) as threads:
                made = [*chain.from_iterable(threads.map(judged, range(len(self.modes))))]
        else:  # there is nobody else to work meanwhile
            made = [*chain.from_iterable(map(judged, range(len(self.modes))))]
        self.watch.lap("execute")
        return made

    def solve(self, agent: Agent, tasks: Sequence[Task], seed: int) -> list[list[Rollout]]:
        """`config.n_rollouts` attempts at each task, from one call of the agent: a list per task."""
        n = self.config.n_rollouts
        if not tasks:
            return []
        self.watch.lap("rest")
        envs = self._solvers(len(tasks) * n)
        prompts = envs.reset(seed=seed, options={"tasks": [task for task in tasks for _ in range(n)]})[0]
        self.watch.lap("execute")
        replies = [reply for group in ask(agent, prompts[::n], n, seed) for reply in group]
        self.watch.lap("rollout")
        modes = [str(task.mode) for task in tasks for _ in range(n)]
        made = _judged(envs, Role.SOLVE, prompts, replies, modes, [task for task in tasks for _ in range(n)])
        self.watch.lap("execute")
        return [made[start : start + n] for start in range(0, len(made), n)]

    def fresh(self, count: int, seed: int) -> list[Any]:
        """Training tasks of the environment's generator, `count` of each mode."""
        made: list[Any] = []
        for place, mode in enumerate(self.modes):
            with closing(_make(self.config, count, "solve", mode, None)) as envs:
                envs.reset(seed=seed + 1_000_003 * place)
                made += [episode.task for episode in envs.episodes]
        return made

    def _solvers(self, count: int) -> BatchTaskEnv:
        """The environment that judges so many answers at once.

        A few are kept: there are as many counts as a round can have tasks, and each holds what it judged last.
        """
        made = self._solve.pop(count, None) or _make(self.config, count, "solve", tuple(self.modes), None)
        self._solve[count] = made
        if len(self._solve) > KEPT:
            self._solve.pop(next(iter(self._solve))).close()
        return made


def _ask_apart(agent: Agent, prompts: Sequence[str], seed: int) -> list[Reply]:
    """One reply to each prompt. Equal prompts get different replies: they are one prompt asked several times."""
    if isinstance(agent, HFAgent):
        return [*agent.reply_apart(prompts, seed)]
    counts = Counter(prompts)
    groups: dict[str, list[Reply]] = {}
    for size in sorted(set(counts.values())):
        same = [prompt for prompt, count in counts.items() if count == size]
        groups |= dict(zip(same, ask(agent, same, size, seed), strict=True))
    taken = {prompt: iter(group) for prompt, group in groups.items()}
    return [next(taken[prompt]) for prompt in prompts]


def _judged(
    envs: BatchTaskEnv,
    role: Role,
    prompts: Sequence[str],
    replies: Sequence[Reply],
    modes: Sequence[str],
    tasks: Sequence[Task] | None = None,
) -> list[Rollout]:
    _, rewards, _, _, infos = envs.step([reply.text for reply in replies])
    metrics = infos.get("metrics", {})
    return [
        Rollout(
            role,
            modes[index],
            prompts[index],
            reply,
            infos["outcome"][index],
            infos["reason"][index],
            float(rewards[index]),
            tasks[index] if tasks is not None else infos["task"][index],
            {name: float(metrics[name][index]) for name in _names(metrics) if metrics[f"_{name}"][index]},
        )
        for index, reply in enumerate(replies)
    ]


def _names(metrics: Mapping[str, Any]) -> list[str]:
    return [name for name in metrics if not name.startswith("_")]


def task_type(config: Config) -> Any:
    """What a file of the pool holds."""
    return _room(config).task_type


def _room(config: Config) -> Room[Any]:
    """The environment's room, for what it says of itself."""
    with closing(_make(config, 1, "solve", None, None)) as envs:
        return envs.game.room


def _make(
    config: Config, count: int, role: str, mode: str | tuple[str, ...] | None, pool: TaskPool[Any] | None
) -> BatchTaskEnv:
    options: dict[str, Any] = {"role": role, "reward": config.reward, "prompt_style": config.prompt_style}
    options |= {"learnability": config.learnability, "reward_weight": config.reward_weight}
    options |= {"processes": config.env_processes}
    options |= {} if mode is None else {"mode": mode}
    options |= {} if pool is None else {"pool": pool}
    if role == Role.PROPOSE:
        options["n_references"] = config.n_references
    assert isinstance(config.env, str)  # a run over several has an arena for each
    try:
        made = gym.make_vec(
            config.env, num_envs=count, autoreset_mode="Disabled", **(options | config.env_options)
        ).unwrapped
    except (TypeError, gym.error.Error) as error:
        raise BadArgument(f"{config.env} can not be played by both roles, as a batch of texts: {error}") from error
    if not isinstance(made, BatchTaskEnv):
        made.close()
        raise BadArgument(f"{config.env} is not an environment of texts: take one such as CodeTriplet-v0")
    check_one_step(made, config.env)
    return made
