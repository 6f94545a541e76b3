"""One iteration of self-play, with scripts in the place of weights: what is proposed, tried, rewarded and learned from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from agents.small import JAIL, Player, Says, config, made, play, policy, programs, seeded
from hypothesis import given
from hypothesis import strategies as st

from azr_agents import selfplay
from azr_agents.config import Config
from azr_agents.hf import HFAgent, TokenReply
from azr_agents.measure import measure, samples
from azr_agents.metrics import describe
from azr_agents.rollout import Arena, Rollout, _ask_apart
from azr_agents.selfplay import Policy, Round, SelfPlay, base_strength, fill, fitting
from azr_gym import BadArgument, Outcome, Role, TaskPool
from azr_gym.code import CodeTask, Triplet, make_tasks
from azr_gym.code.generate import sample
from azr_gym.rewards import Learnability, Reward

BOTH = ("deduction", "abduction")
NO_ARENA: Any = None


def task(number: int = 0, body: str = "x + {0}") -> Triplet:
    return Triplet.of("deduction", "def f(x):\n    return " + body.format(number), (1,), number)


def attempts(one: Any, right: int, n: int = 4, wrong: float = -0.5) -> list[Rollout]:
    """A group of which so many are right."""
    prompt = f"{one.program}?"
    return [
        Rollout(
            Role.SOLVE, "deduction", prompt, made(prompt, f"{place}!" * (place + 1)),
            Outcome.CORRECT if place < right else Outcome.WRONG, "", 1.0 if place < right else wrong, one,
        )
        for place in range(n)
    ]  # fmt: skip


def proposal(one: Any, outcome: Outcome = Outcome.ACCEPTED, reward: float = 1.0, prompt: str = "#") -> Rollout:
    return Rollout(Role.PROPOSE, "deduction", prompt, made(prompt, "p"), outcome, "", reward, one)


def loop(settings: Config | None = None, pool: TaskPool[Any] | None = None, proposer: Any = None) -> SelfPlay:
    """The loop without environments, for the parts that need none."""
    solver = policy(Player())
    arena: Any = type("NoArena", (), {"modes": ("deduction",)})()
    return SelfPlay(settings or config(), solver, proposer or solver, pool or TaskPool(), arena)


# An iteration


def test_an_iteration_proposes_solves_rewards_and_learns() -> None:
    settings = config(refill=0)
    with Arena(settings, seeded(settings)) as arena:
        loop = play(settings, arena, Player(rights=[2]))
        played, learned = loop.iterate()
        learner: Any = loop.solver.learner
        [batch] = learner.batches
    assert loop.iteration == loop.solver.agent.version == 1
    assert [one.outcome for one in played.proposals] == [Outcome.ACCEPTED] * 6
    assert {one.task.key for one in played.proposals if one.task} == {group[0].task.key for group in played.groups}  # type: ignore[union-attr]
    assert [one.reward for one in played.proposals] == pytest.approx([0.5 / 6] * 6)  # 1 - p, shared by six alike
    assert [sum(one.correct for one in group) for group in played.groups] == [2] * 6
    assert all(one.task in loop.pool for one in played.proposals)
    assert len(loop.pool) == 12 + 6
    assert [loop.pool.entry(group[0].task).solve_rate for group in played.groups] == [0.5] * 6
    rollouts = [*played.proposals, *chain.from_iterable(played.groups)]
    assert [id(reply) for reply in batch.replies] == [id(one.reply) for one in rollouts]
    assert learned["lr"] == pytest.approx(settings.lr / settings.warm_up)
    assert (played.skipped, learned["loss"]) == (0.0, 0.0)


def test_a_batch_is_gone_over_as_often_as_asked_against_what_was_sampled() -> None:
    settings = config(epochs=3)
    with Arena(settings, seeded(settings)) as arena:
        loop = play(settings, arena, Player(rights=[2]))
        loop.iterate()
    learner: Any = loop.solver.learner
    first, *others = learner.batches
    assert [batch is first for batch in others] == [True, True]
    assert loop.solver.agent.version == 1


@pytest.mark.parametrize(
    ("anneal", "rates"),
    [(False, [0.1, 0.2, 0.3, 0.3, 0.3, 0.3]), (True, [0.1, 0.16, 0.18, 0.12, 0.06, 0.0])],
)
def test_the_learning_rate_warms_up_and_stays_or_falls(anneal: bool, rates: list[float]) -> None:
    settings = config(warm_up=3, lr=0.3, iterations=5, anneal_lr=anneal)
    with Arena(settings, seeded(settings)) as arena:
        loop = play(settings, arena, Player(rights=[2]))
        for _ in range(6):
            loop.iterate()
    learner: Any = loop.solver.learner
    assert learner.rates == pytest.approx(rates)


def test_an_iteration_is_a_function_of_its_number_and_the_pool() -> None:
    settings = config(modes=BOTH, proposals=4, tasks=5)

    def texts(first: int, seed: int = 0) -> list[Any]:
        with Arena(config(modes=BOTH, proposals=4, tasks=5, seed=seed), seeded(settings)) as arena:
            agent = Player(rights=[1, 3]).knows(*arena.pool)
            loop = play(replace(settings, seed=seed), arena, agent)
            loop.iteration = first
            played, _ = loop.iterate()
            return [(one.prompt, one.reply.text, one.reward) for one in [*played.proposals, *chain(*played.groups)]]

    assert texts(0) == texts(0)
    assert texts(0) != texts(1)
    assert texts(0) != texts(0, seed=1)


def test_what_was_played_is_measured_under_names_that_the_table_has() -> None:
    settings = config()
    with Arena(settings, seeded(settings)) as arena:
        loop = play(settings, arena, Player([*zip_three()], rights=[0, 2, 4]))
        played = loop.iterate()[0]
    found = measure(played, arena.modes)
    for name in found:
        describe(name)
    assert found["valid/deduction"] == pytest.approx(2 / 6)
    assert found["malformed/propose/deduction"] == pytest.approx(2 / 6)
    right = [sum(one.correct for one in group) for group in played.groups]
    assert found["difficulty/deduction"] == [right.count(count) for count in range(5)]
    assert found["accuracy/deduction"] == pytest.approx(sum(right) / 4 / len(right))
    assert found["tokens"] == sum(
        len(reply.ids)
        for one in [*played.proposals, *chain(*played.groups)]
        if isinstance(reply := one.reply, TokenReply)
    )
    shown = samples(played, 2)
    assert Counter((row["role"], row["mode"]) for row in shown) == {
        (Role.PROPOSE, "deduction"): 2,
        (Role.SOLVE, "deduction"): 2,
    }
    assert samples(played, 0) == []


def zip_three() -> Sequence[str]:
    """Two that are accepted, two that are refused, two that are malformed."""
    good = programs()
    return [next(good), "f(", "def f(x):\n    return x\nf(1)", next(good), "", "def f(x):\n    return 1\nf(1)"]


# Tasks to solve


def test_accepted_tasks_are_tried_and_the_rest_comes_from_the_pool_without_repeats() -> None:
    settings = config(modes=BOTH, tasks=6, proposals=3)
    with Arena(settings, seeded(settings, 30)) as arena:
        loop = play(settings, arena, Player([*zip_three()][:3]))
        proposals = loop.propose(1)
        tasks = loop.choose_tasks(proposals, 1)
    accepted = [one.task for one in proposals if one.task is not None]
    assert len(accepted) == 2  # one in each mode
    assert Counter(str(one.mode) for one in tasks) == {"deduction": 6, "abduction": 6}
    assert len({one.key for one in tasks}) == 12
    assert all(one in tasks for one in accepted)
    assert all(one in loop.pool for one in tasks)


def test_every_accepted_task_is_tried_also_where_there_are_more_than_asked_for() -> None:
    settings = config(tasks=2, proposals=8, refill=0)
    with Arena(settings, seeded(settings)) as arena:
        played, _ = play(settings, arena, Player(rights=[4])).iterate()
    assert len(played.groups) == 8
    assert {one.reward for one in played.proposals} == {0.0}  # all solved; untried they would be worth 1


def test_equal_proposals_are_one_task() -> None:
    settings = config(tasks=3, proposals=6, n_references=0)
    with Arena(settings, TaskPool()) as arena:
        loop = play(settings, arena, Player([next(programs())], rights=[1]))
        proposals = loop.propose(0)
        [one] = loop.choose_tasks(proposals, 0)
        completed = loop.complete(proposals, loop.solve([one], 0))
    assert (len(proposals), len(loop.pool)) == (6, 1)
    assert [one.reward for one in completed] == pytest.approx([0.75 / 6] * 6)


def test_a_mode_without_tasks_of_its_own_is_filled_with_others_once() -> None:
    settings = config(modes=BOTH, tasks=6)
    pool = seeded(config(), 60)  # deduction alone
    with Arena(settings, pool) as arena:
        loop = play(settings, arena, Player(["nothing"]))
        for seed in range(10):
            tasks = loop.choose_tasks([], seed)
            assert {str(one.mode) for one in tasks} == {"deduction"}
            assert len({one.key for one in tasks}) == len(tasks) == 12


def test_held_out_programs_never_enter_the_pool() -> None:
    rng = np.random.default_rng(0)
    held = [sample(rng, level=1, split="test", n_inputs=1) for _ in range(6)]
    texts = [f"{one.source}\nf({', '.join(map(repr, one.inputs[0]))})" for one in held]
    settings = config(seeding="proposer")
    with Arena(settings, TaskPool()) as arena:
        loop = play(settings, arena, Player(texts))
        proposals = loop.propose(0)
        assert [one.outcome for one in proposals] == [Outcome.REFUSED] * 6
        assert all("aside" in one.reason or "held" in one.reason for one in proposals)
        with pytest.raises(BadArgument):
            fill(settings, loop.pool, arena, Says(Player(texts)))
    assert len(loop.pool) == 0


def test_a_task_that_does_not_fit_the_solvers_context_is_refused(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = config(modes=("abduction",), max_new_tokens=24, seeding="proposer")
    solver = HFAgent.from_pretrained(base, max_new_tokens=24)
    texts = ["def f(x):\n    return [x] * 99\nf(7)", *islice(programs(), 5)]
    says = Says(Player(texts))
    monkeypatch.setattr(solver, "reply_apart", lambda prompts, seed: _ask_apart(says, prompts, seed))
    solver.model.config.max_position_embeddings = 100
    with Arena(settings, TaskPool()) as arena:
        [long, *short] = fitting(arena.propose(solver, 0), arena, solver)
        assert (long.outcome, long.task, long.reward) == (Outcome.REFUSED, None, -0.5)
        assert "do not fit the model's context of 100" in long.reason
        assert [one.outcome for one in short] == [Outcome.ACCEPTED] * 5
        fill(settings, arena.pool, arena, solver)
        assert not [task for task in arena.pool if "99" in task.program]
        solver.model.config.max_position_embeddings = 1000
        assert fitting(arena.propose(solver, 0), arena, solver)[0].reason != long.reason


# Rewards


@given(st.lists(st.integers(0, 4), min_size=1, max_size=6), st.sampled_from(Learnability))
def test_a_proposal_is_worth_what_its_task_teaches(rights: list[int], kind: Learnability) -> None:
    bodies = ("x + {0}", "[x, {0}]", "x - {0}", "(x, {0})", "x * {0}", "{0} ** x")  # of other structures
    tasks = [task(number, body) for number, body in zip(range(len(rights)), bodies, strict=False)]
    groups = [attempts(one, right) for one, right in zip(tasks, rights, strict=True)]
    completed = loop(config(learnability=kind)).complete([proposal(one) for one in tasks], groups)
    for right, one in zip(rights, completed, strict=True):
        p = right / 4
        by_hand = 0.0 if p in (0, 1) else 1 - p if kind is Learnability.INVERSE else 4 * p * (1 - p)
        assert one.reward == pytest.approx(by_hand)


def test_credit_is_divided_among_proposals_of_one_structure_and_otherwise_not() -> None:
    alike, other = [task(number) for number in (1, 2, 3)], task(4, "[x, {0}]")
    groups = [attempts(one, right) for one, right in zip([*alike, other], (1, 2, 0, 1), strict=True)]
    proposals = [proposal(one) for one in [*alike, other]]
    shared = loop().complete(proposals, groups)
    assert [one.reward for one in shared] == pytest.approx([0.75 / 3, 0.5 / 3, 0.0, 0.75])
    alone = loop(config(share_credit=False)).complete(proposals, groups)
    assert [one.reward for one in alone] == pytest.approx([0.75, 0.5, 0.0, 0.75])


def test_a_price_is_never_divided() -> None:
    alike = [task(1), task(2)]
    completed = loop(config(reward=Reward.AZR_CODE)).complete(
        [proposal(one) for one in alike], [attempts(alike[0], 0), attempts(alike[1], 2)]
    )
    assert [one.reward for one in completed] == pytest.approx([-0.5, 0.25])


def test_what_was_not_accepted_keeps_its_reward() -> None:
    kept = [proposal(None, Outcome.REFUSED, -0.5), proposal(None, Outcome.MALFORMED, -1.0)]
    assert loop().complete(kept, [attempts(task(), 2)]) == kept


def test_refused_and_malformed_proposals_pay() -> None:
    settings = config(proposals=6, n_references=0)
    with Arena(settings, TaskPool()) as arena:
        loop = play(settings, arena, Player([*zip_three()], rights=[1, 3]))
        proposals = loop.propose(0)
        completed = loop.complete(proposals, loop.solve(loop.choose_tasks(proposals, 0), 0))
    assert [one.reward for one in completed] == pytest.approx([0.75 / 2, -1.0, -0.5, 0.25 / 2, -1.0, -0.5])


# Refill


class Drawn(SelfPlay):
    """A loop whose attempts are right as often as a list says."""

    rights: Sequence[int] = ()
    seeds: list[int]

    def solve(self, tasks: Sequence[Any], seed: int) -> list[list[Rollout]]:
        self.seeds = [*getattr(self, "seeds", []), seed]
        return [attempts(one, self.rights[len(self.seeds) - 1]) for one in tasks]


def drawing(refill: int, rights: Sequence[int], pool: TaskPool[Any] | None = None) -> Drawn:
    made = loop(config(refill=refill), seeded(config(), 40) if pool is None else pool)
    drawn = Drawn(made.config, made.solver, made.proposer, made.pool, made.arena)
    drawn.rights = rights
    return drawn


def test_where_most_groups_teach_nothing_more_tasks_are_drawn_and_then_it_stops() -> None:
    groups = [attempts(task(number), right) for number, right in enumerate([0, 0, 4, 2])]
    drawn = drawing(5, [2, 2, 2])
    more, skipped = drawn.refill(groups, 10)
    assert more[:4] == groups
    assert 1 <= len(more) - 4 <= 3  # as many as taught nothing, each once
    assert drawn.seeds == [11]  # half of the groups teach now
    assert skipped == 3 / len(more)


def test_refill_gives_up_after_so_many_rounds_and_each_has_a_seed_of_its_own() -> None:
    groups = [attempts(task(number), 0) for number in range(4)]
    drawn = drawing(3, [0, 4, 0])
    more, skipped = drawn.refill(groups, 10)
    assert drawn.seeds == [11, 12, 13]
    assert skipped == 1.0
    assert len(more) > 7


@pytest.mark.parametrize(("refill", "rights"), [(0, [0, 0, 0]), (3, [0, 4, 2, 2]), (3, [2])])
def test_refill_draws_nothing_where_none_is_asked_for_or_half_of_the_groups_teach(
    refill: int, rights: list[int]
) -> None:
    groups = [attempts(task(number), right) for number, right in enumerate(rights)]
    drawn = drawing(refill, [])
    assert drawn.refill(groups, 0)[0] == groups


def test_an_empty_pool_has_nothing_to_refill_from() -> None:
    groups = [attempts(task(), 0)]
    assert drawing(3, [], TaskPool()).refill(groups, 0) == (groups, 1.0)


# Learning


def advantages(loop: SelfPlay, rollouts: Sequence[Rollout], who: Policy | None = None) -> dict[int, float]:
    """The advantage of each reply that is learned from, by its place among the rollouts; one for all its tokens."""
    batch = loop.batch(who or loop.solver, rollouts, np.random.default_rng(0))
    places = {id(one.reply): place for place, one in enumerate(rollouts)}
    for reply, row in zip(batch.replies, batch.advantages, strict=True):
        assert len(row) == len(reply.ids)
        assert len(set(row.tolist())) == 1
    return {places[id(reply)]: float(row[0]) for reply, row in zip(batch.replies, batch.advantages, strict=True)}


def test_attempts_that_all_went_alike_are_left_out_and_nothing_else_changes_by_it() -> None:
    rollouts = [*attempts(task(1), 0), *attempts(task(2), 4), *attempts(task(3), 1)]
    found = advantages(loop(), rollouts)
    assert list(found) == [8, 9, 10, 11]
    by_hand = np.array([0.0] * 8 + [1.125] + [-0.375] * 3)  # minus the mean of the task's attempts
    by_hand /= by_hand.std()
    assert [*found.values()] == pytest.approx(by_hand[8:], rel=1e-4)
    everything = advantages(loop(config(skip_idle=False)), rollouts)
    assert [*everything.values()] == pytest.approx(by_hand, rel=1e-4, abs=1e-6)


def test_where_all_attempts_of_a_role_are_compared_none_is_left_out() -> None:
    rollouts = [*attempts(task(1), 0), *attempts(task(2), 4), *attempts(task(3), 1)]
    rewards = np.array([one.reward for one in rollouts])
    by_hand = (rewards - rewards.mean()) / rewards.std()
    assert [*advantages(loop(config(algorithm="trr++")), rollouts).values()] == pytest.approx(by_hand, rel=1e-4)


def test_equal_proposals_are_learned_from() -> None:
    rollouts = [proposal(None, Outcome.REFUSED, -0.5, "#"), proposal(None, Outcome.REFUSED, -0.5, "#")]
    assert list(advantages(loop(), [*rollouts, proposal(None, Outcome.MALFORMED, -1.0, "##")])) == [0, 1, 2]


def test_roles_and_modes_have_baselines_of_their_own() -> None:
    solved, abduced = attempts(task(1), 2), [replace(one, mode="abduction") for one in attempts(task(2), 1)]
    proposals = [proposal(task(1), reward=0.8), proposal(None, Outcome.REFUSED, -0.5)]
    settings = config(modes=BOTH, proposer_weight=1.0)
    made = loop(settings)
    made.arena = type("NoArena", (), {"modes": BOTH})()
    found = advantages(made, [*proposals, *solved, *abduced])
    for part in ([0, 1], range(2, 6), range(6, 10)):
        values = np.array([found[place] for place in part])
        assert values.mean() == pytest.approx(0, abs=1e-5)
        assert values.std() == pytest.approx(1, abs=1e-3)


def test_proposers_weigh_less_only_where_they_share_weights_with_solvers() -> None:
    rollouts = [proposal(task(1), reward=0.8), proposal(None, Outcome.REFUSED, -0.4), *attempts(task(1), 2)]
    found = advantages(loop(config(proposer_weight=0.3)), rollouts)
    assert [found[0], found[1]] == pytest.approx([0.3, -0.3], rel=1e-3)
    assert found[2] == pytest.approx(1.0, rel=1e-3)
    own = policy(Player())
    apart = loop(config(proposer_weight=0.3, proposer="copy"), proposer=own)
    assert [*advantages(apart, rollouts[:2], own).values()] == pytest.approx([1.0, -1.0], rel=1e-3)


def test_each_role_is_anchored_as_the_settings_say() -> None:
    rollouts = [proposal(task(1), reward=0.8), *attempts(task(1), 2)]
    batch = loop(config(proposer_kl=0.2)).batch(loop().solver, rollouts, np.random.default_rng(0))
    assert batch.anchor == [0.2, 0.0, 0.0, 0.0, 0.0]


def test_a_running_baseline_goes_on_from_the_last_batch() -> None:
    made = loop(config(algorithm="trr++_running", proposer_kl=0.0))
    first = advantages(made, attempts(task(1), 1))
    assert [*first.values()] == pytest.approx([1.125, -0.375, -0.375, -0.375])
    second = advantages(made, attempts(task(2), 3))
    assert [*second.values()] == pytest.approx([1.125] * 3 + [-0.375])  # against the past, whose mean was -0.125


@given(st.integers(0, 100))
def test_shuffling_deals_the_same_rewards_out_in_each_mode_and_role(seed: int) -> None:
    rng = np.random.default_rng(seed)
    kinds = [str(kind) for kind in rng.integers(4, size=30)]
    rewards = torch.tensor(rng.random(30))
    dealt = selfplay._shuffled(rewards, kinds, rng)
    for kind in set(kinds):
        places = [place for place, one in enumerate(kinds) if one == kind]
        assert sorted(dealt[places].tolist()) == sorted(rewards[places].tolist())
    assert not torch.equal(dealt, rewards)


def test_with_shuffled_rewards_a_right_answer_is_worth_no_more_than_a_wrong_one() -> None:
    rollouts = list(chain(*(attempts(task(number), 2, 4) for number in range(200))))
    found = advantages(loop(config(shuffle_rewards=True, algorithm="trr++")), rollouts)
    right = np.array([found[place] for place, one in enumerate(rollouts) if one.correct])
    assert abs(right.mean()) < 0.15  # 400 of deviation 1: three standard errors; unshuffled it would be 1
    assert sorted(Counter(round(value, 3) for value in found.values()).values()) == [400, 400]


# Who proposes


@pytest.mark.parametrize("kind", ["shared", "copy", "frozen", "generator"])
def test_each_kind_of_proposer(kind: str) -> None:
    settings = config(proposer=kind, refill=0)
    own = {"copy": policy(Player()), "frozen": Policy(Says(Player()), None)}.get(kind)  # type: ignore[arg-type]
    with Arena(settings, seeded(settings)) as arena:
        made = play(settings, arena, Player(rights=[2]).knows(*arena.fresh(6, selfplay._seed(0, 1))), own)
        played, learned = made.iterate()
    learner: Any = made.solver.learner
    roles = [{Role.PROPOSE if reply.text.startswith("def") else Role.SOLVE for reply in batch.replies} for batch in learner.batches]  # fmt: skip
    assert len(played.proposals) == (0 if kind == "generator" else 6)
    assert len(made.pool) == (12 if kind == "generator" else 18)
    assert roles == [{Role.PROPOSE, Role.SOLVE} if kind == "shared" else {Role.SOLVE}]
    asked = [len(agent.asked) for agent in (made.solver.agent, made.proposer.agent)]  # type: ignore[attr-defined]
    assert (asked[0] > 1) == (kind == "shared")  # once by then for the solver alone
    if kind == "copy":
        [batch] = made.proposer.learner.batches  # type: ignore[union-attr]
        assert [id(reply) for reply in batch.replies] == [id(one.reply) for one in played.proposals]
        assert made.proposer.agent.version == 1
    if kind == "generator":
        assert {group[0].task.key for group in played.groups} == {one.key for one in arena_tasks(settings)}  # type: ignore[union-attr]
    assert len(played.groups) >= 1
    assert "kl" in learned


def arena_tasks(settings: Config) -> list[CodeTask]:
    with Arena(settings, TaskPool()) as arena:
        return arena.fresh(settings.tasks, selfplay._seed(settings.seed, 1))


# The beginning


def test_a_pool_is_filled_by_the_generator_alike_for_one_seed() -> None:
    def filled(seed: int) -> list[tuple[bytes, str]]:
        settings, pool = config(seed=seed, modes=BOTH), TaskPool[Any]()
        with Arena(settings, pool) as arena:
            fill(settings, pool, arena, Says(Player()))
        return [(entry.task.key, entry.origin) for entry in pool.entries()]

    assert filled(0) == filled(0) != filled(1)
    assert 20 <= len(filled(0)) <= 24
    assert {origin for _, origin in filled(0)} == {"seed"}


def test_a_pool_is_filled_by_what_the_base_proposes_until_there_is_enough() -> None:
    settings, pool = config(seeding="proposer", proposals=5, seed_tasks=8), TaskPool[Any]()
    agent = Says(Player())
    with Arena(settings, pool) as arena:
        fill(settings, pool, arena, agent)
    assert len(pool) == 10  # two rounds of five
    assert {entry.origin for entry in pool.entries()} == {"proposer"}


def test_a_base_that_proposes_nothing_is_told_what_to_do() -> None:
    settings = config(seeding="proposer")
    with (
        Arena(settings, TaskPool()) as arena,
        pytest.raises(BadArgument, match=r"\(most often: .*\): take seeding='generator'"),
    ):
        fill(settings, arena.pool, arena, Says(Player(["nothing"])))


def test_a_base_of_a_few_proposals_begins_with_these() -> None:
    settings = config(seeding="proposer")
    with Arena(settings, TaskPool()) as arena:
        fill(settings, arena.pool, arena, Says(Player([next(programs())])))
        assert len(arena.pool) == 1


def weak(right: int) -> Callable[[str, int], str]:
    return Player(rights=[right])


def test_how_strong_a_base_is_is_measured_and_not_written_down() -> None:
    settings = config(base_floor=0.25)
    pool = seeded(settings)
    with Arena(settings, pool) as arena:
        assert base_strength(settings, pool, arena, Says(Player(rights=[1]).knows(*pool))) == 0.25
    assert all(entry.attempts == 0 for entry in pool.entries())


def test_a_hopeless_base_is_refused_and_told_what_to_do() -> None:
    settings = config(base_floor=0.1)
    with Arena(settings, seeded(settings)) as arena:
        with pytest.raises(BadArgument, match=r"solves 0\.0%.*base_floor is 10%.*`azr base`.*base_floor=0 trains it"):
            base_strength(settings, arena.pool, arena, Says(weak(0)))
        free = replace(settings, base_floor=0.0)
        assert base_strength(free, arena.pool, arena, Says(weak(0))) == 0.0


def test_a_round_of_nothing_but_malformed_proposals_is_a_round() -> None:
    settings = config(modes=("deduction", "abduction", "induction"), env_options=JAIL)
    with Arena(settings, seeded(settings)) as arena:
        loop = play(settings, arena, lambda prompt, place: "?")
        played, _ = loop.iterate()
    assert {one.outcome for one in played.proposals} == {Outcome.MALFORMED}
    assert {one.reward for one in played.proposals} == {-1.0}
    assert played.skipped == 1.0
    assert isinstance(played, Round)
    assert {str(one.mode) for one in make_tasks(1, "deduction")} == {"deduction"}
