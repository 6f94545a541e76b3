"""One iteration of self-play, from top to bottom: the page to read first.

Propose, solve, learnability, advantages, update (arXiv 2505.03335, algorithm 1). The attempts that measure a task's
difficulty are also what the solver learns from. Everything is a function of the weights, the pool, the settings and the
number of the iteration, so that a run that was stopped goes on exactly as it would have.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

from azr_gym import rewards
from azr_gym.agent import Agent
from azr_gym.errors import BadArgument
from azr_gym.pool import TaskPool
from azr_gym.roles import Outcome, Role
from azr_gym.task import Task

from .advantages import Groups
from .config import Config, Proposer, Seeding
from .hf import HFAgent, TokenReply
from .mix import Arenas, Pools
from .presets import estimate
from .rollout import Arena, Rollout
from .update import Batch, Learner

IDLE = 1e-6  # an advantage of less teaches nothing
REFILL_BELOW = 0.5  # share of the groups that teach something
Pool: TypeAlias = TaskPool[Any] | Pools  # of one environment, or of several
Ground: TypeAlias = Arena | Arenas


@dataclass
class Policy:
    """Weights, whoever plays with them, and what trains them.

    Attributes:
        agent: samples.
        learner: trains the same weights; None where they never change.
        baseline: state of a running baseline.
    """

    agent: HFAgent
    learner: Learner | None
    baseline: Tensor | None = None


@dataclass(frozen=True, slots=True)
class Round:
    """What one iteration played.

    Attributes:
        proposals: every proposal, its reward completed.
        groups: the attempts at each task.
        skipped: share of the groups that taught nothing.
    """

    proposals: list[Rollout]
    groups: list[list[Rollout]]
    skipped: float


class SelfPlay:
    """The loop's state: two policies (or one that plays both roles), the pool and the environments.

    Args:
        config: the settings.
        solver: who solves, and is trained.
        proposer: who proposes: the same object where weights are shared.
        pool: of tasks.
        arena: the environments, over the same pool.
    """

    def __init__(
        self, config: Config, solver: Policy, proposer: Policy, pool: Pool, arena: Ground, iteration: int = 0
    ) -> None:
        self.config, self.solver, self.proposer = config, solver, proposer
        self.pool, self.arena, self.iteration = pool, arena, iteration

    def iterate(self) -> tuple[Round, dict[str, float]]:
        """Play and learn once.

        Returns:
            What was played, and the update's metrics.
        """
        self.iteration += 1
        seed = _seed(self.config.seed, self.iteration)
        proposals = self.propose(seed)
        groups = self.solve(self.choose_tasks(proposals, seed), seed)
        played = Round(self.complete(proposals, groups), *self.refill(groups, seed))
        metrics = self.update(played, seed)
        self.arena.watch.lap("update")
        return played, metrics

    def propose(self, seed: int) -> list[Rollout]:
        """Every mode's proposals in one call of the agent; what is accepted goes to the pool."""
        if self.config.proposer is Proposer.GENERATOR:
            return []
        proposals = fitting(self.arena.propose(self.proposer.agent, seed), self.arena, self.solver.agent)
        for one in proposals:
            if one.task is not None:
                self.pool.add(one.task, "proposer")
        return proposals

    def choose_tasks(self, proposals: Sequence[Rollout], seed: int) -> list[Task]:
        """The accepted tasks, each once; filled up to `tasks` in each mode."""
        count, rng = self.config.tasks, np.random.default_rng([seed, 1])
        if self.config.proposer is Proposer.GENERATOR:
            return self.arena.fresh(count, seed)
        chosen: dict[bytes, Task] = {}
        for mode in self.arena.modes:
            tasks = {one.task.key: one.task for one in proposals if one.task is not None and one.mode == mode}
            wanted = max(count, len(tasks))  # a proposal that nobody tries has no worth
            if len(tasks) < count:
                old = self.pool.sample(rng, 2 * count, mode if self.pool.size(mode) else None)
                tasks |= {task.key: task for task in old if task.key not in chosen}
            chosen |= dict([*tasks.items()][:wanted])
        return [*chosen.values()]

    def solve(self, tasks: Sequence[Task], seed: int) -> list[list[Rollout]]:
        """Attempts at each task; the pool remembers how they went."""
        groups = self.arena.solve(self.solver.agent, tasks, seed)
        for group in groups:
            task = group[0].task
            assert task is not None
            self.pool.record(task, attempts=len(group), successes=sum(one.correct for one in group))
        return groups

    def complete(self, proposals: Sequence[Rollout], groups: Sequence[Sequence[Rollout]]) -> list[Rollout]:
        """Give each accepted proposal the reward for its task's difficulty."""
        rates = solve_rates(groups)
        alike = Counter(structure(one.task) for one in proposals if one.task is not None)
        config, made = self.config, []
        for one in proposals:
            if one.task is not None:
                worth = rewards.propose_reward(
                    config.reward, one.outcome, rates.get(one.task.key), config.learnability, config.reward_weight
                )
                shared = alike[structure(one.task)] if config.share_credit and worth > 0 else 1
                one = replace(one, reward=worth / shared)
            made.append(one)
        return made

    def refill(self, groups: list[list[Rollout]], seed: int) -> tuple[list[list[Rollout]], float]:
        """More tasks from the pool, while too few groups teach something; the groups, and the share that does not."""
        equal = [_equal(group) for group in groups]
        for turn in range(self.config.refill if len(self.pool) else 0):
            if sum(equal) <= (1 - REFILL_BELOW) * len(groups):
                break
            rng = np.random.default_rng([seed, 2, turn])
            drawn = self.pool.sample(rng, sum(equal), None, "learnability")
            more = self.solve([*{task.key: task for task in drawn}.values()], seed + 1 + turn)
            groups, equal = groups + more, equal + [_equal(group) for group in more]
        return groups, sum(equal) / len(equal)

    def update(self, played: Round, seed: int) -> dict[str, float]:
        """Turn rewards into advantages, one group for each (mode, role), and learn from them."""
        solved = list(chain.from_iterable(played.groups))
        rng = np.random.default_rng([seed, 3])
        if self.proposer is self.solver:
            return self._learn(self.solver, [*played.proposals, *solved], rng)
        metrics = self._learn(self.solver, solved, rng)
        if self.proposer.learner is not None and played.proposals:
            metrics["kl"] = self._learn(self.proposer, played.proposals, rng)["kl"]
        return metrics

    def _learn(self, policy: Policy, rollouts: Sequence[Rollout], rng: np.random.Generator) -> dict[str, float]:
        config, learner = self.config, policy.learner
        assert learner is not None
        batch = self.batch(policy, rollouts, rng)
        lr = config.lr * min(1.0, self.iteration / max(1, config.warm_up))
        if config.anneal_lr:
            lr *= max(0.0, 1.0 - (self.iteration - 1) / config.iterations)
        for _ in range(config.epochs):
            metrics = learner.learn(batch, config.steps, rng, lr) | {"lr": lr}
        policy.agent.version += 1
        return metrics

    def batch(self, policy: Policy, rollouts: Sequence[Rollout], rng: np.random.Generator) -> Batch:
        """Advantages of every rollout; then what teaches nothing is left out."""
        config, learner = self.config, policy.learner
        assert learner is not None
        replies = [_tokens(one) for one in rollouts]
        reward_N = torch.tensor([one.reward for one in rollouts])
        kinds = [(one.mode, one.role) for one in rollouts]
        if config.shuffle_rewards:
            reward_N = _shuffled(reward_N, kinds, rng)
        length_N = torch.tensor([len(reply.ids) for reply in replies])
        mask_NL = torch.arange(int(length_N.max())) < length_N[:, None]
        lp_NL, ref_lp_NL = learner.reference_logprobs(replies) if config.row.reward_kl_weight else (None, None)
        roles = Groups(*_numbered(kinds, [(mode, role) for mode in self.arena.modes for role in Role]))
        # A proposal is compared with its mode's proposals, whatever the prompt: each has one attempt.
        asked = [(one.role, one.prompt if one.role is Role.SOLVE else one.mode) for one in rollouts]
        prompts = Groups(*_numbered(asked))
        advantages_NL, policy.baseline = estimate(
            config.row, reward_N, mask_NL, roles, prompts, lp_NL, ref_lp_NL, policy.baseline
        )
        weight = {Role.SOLVE: 1.0, Role.PROPOSE: config.proposer_weight if policy is self.solver else 1.0}
        idle_N = (advantages_NL.abs() < IDLE).all(1)
        skipping = config.skip_idle and not config.kl_weight[Role.SOLVE]  # else they pull towards the base all the same
        kept = [
            index for index, one in enumerate(rollouts) if one.role is Role.PROPOSE or not skipping or not idle_N[index]
        ]
        weight_N = torch.tensor([weight[rollouts[index].role] for index in kept])
        weighed_K = (weight_N[:, None] * advantages_NL[kept])[mask_NL[kept]]
        return Batch(
            [replies[index] for index in kept],
            [*torch.split(weighed_K, length_N[kept].tolist())],
            [config.kl_weight[rollouts[index].role] for index in kept],
        )


def fitting(proposals: Iterable[Rollout], arena: Ground, solver: Agent) -> list[Rollout]:
    """Refuse what became a task that does not fit the solver's context: short programs have long outputs."""
    made = [*proposals]
    if not isinstance(solver, HFAgent):
        return made
    worth = rewards.propose_reward(arena.config.reward, Outcome.REFUSED)
    prompts = {place: arena.prompt(one.task) for place, one in enumerate(made) if one.task is not None}
    for place, reason in zip(prompts, solver.misfits([*prompts.values()]), strict=True):
        if reason:
            made[place] = replace(
                made[place], task=None, metrics={}, outcome=Outcome.REFUSED, reason=reason, reward=worth
            )
    return made


def fill(config: Config, pool: Pool, arena: Ground, proposer: Agent) -> None:
    """Fill an empty pool, so that there is something to show and something to solve.

    Raises:
        BadArgument: the base could not propose a single valid task.
    """
    if config.seeding is Seeding.GENERATOR:
        for task in arena.fresh(config.seed_tasks, _seed(config.seed, 0)):
            pool.add(task, "seed")
        return
    wanted, reasons = config.seed_tasks * len(arena.modes), Counter[str]()
    for turn in range(4 * max(1, config.seed_tasks // config.proposals)):
        for one in fitting(arena.propose(proposer, _seed(config.seed, -1 - turn)), arena, proposer):
            reasons[one.reason] += 1
            if one.task is not None:
                pool.add(one.task, "proposer")
        if len(pool) >= wanted:
            return
    if not len(pool):
        [(reason, _)] = reasons.most_common(1)
        raise BadArgument(
            f"the base proposed no valid task (most often: {reason}): take seeding='generator', or a stronger base"
        )


def base_strength(config: Config, pool: Pool, arena: Ground, agent: Agent) -> float:
    """Share of attempts at tasks of the pool that the base gets right.

    Raises:
        BadArgument: it is under `base_floor`.
    """
    rng = np.random.default_rng([config.seed, 4])
    tasks = [task for mode in arena.modes if pool.size(mode) for task in pool.sample(rng, config.tasks, mode)]
    groups = arena.solve(agent, tasks, _seed(config.seed, 0))
    share = float(np.mean([one.correct for group in groups for one in group]))
    if share < config.base_floor:
        raise BadArgument(
            f"the base solves {share:.1%} of the tasks that the pool begins with, and base_floor is "
            f"{config.base_floor:.0%}: from so weak a base self-play collapses. Take a stronger model, easier tasks "
            "(env_options level), or `azr base` to make one; base_floor=0 trains it all the same"
        )
    return share


def _seed(seed: int, iteration: int) -> int:
    """A seed of its own for each iteration of each run."""
    return int(np.random.SeedSequence([seed, iteration + 2**20]).generate_state(1, np.uint32)[0])


def solve_rates(groups: Iterable[Sequence[Rollout]]) -> dict[bytes, float]:
    """The share of the attempts at each task that were right, by the task's key."""
    return {group[0].task.key: sum(one.correct for one in group) / len(group) for group in groups if group[0].task}


def _equal(group: Sequence[Rollout]) -> bool:
    return len({one.reward for one in group}) == 1


def structure(task: Task) -> object:
    """Equal for tasks of one mode that are built alike."""
    return str(task.mode), task.features() or task.key


def _tokens(rollout: Rollout) -> TokenReply:
    assert isinstance(rollout.reply, TokenReply)
    return rollout.reply


def _numbered(keys: Sequence[Any], known: Sequence[Any] = ()) -> tuple[Tensor, int]:
    """A number for each key, alike for equal ones; and how many numbers there are."""
    numbers: Mapping[Any, int] = {key: place for place, key in enumerate(dict.fromkeys([*known, *keys]))}
    return torch.tensor([numbers[key] for key in keys], dtype=torch.long), len(numbers)


def _shuffled(reward_N: Tensor, keys: Sequence[Any], rng: np.random.Generator) -> Tensor:
    """The same rewards, dealt out anew inside each group."""
    dealt_N = reward_N.clone()
    for key in dict.fromkeys(keys):
        places = np.array([place for place, one in enumerate(keys) if one == key])
        dealt_N[places] = reward_N[rng.permutation(places)]
    return dealt_N
