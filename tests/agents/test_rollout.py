"""The arena: prompts, replies and verdicts stay together, and nothing but the arena's caller changes the pool."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from agents.small import JAIL, Player, Says, config, seeded
from gymnasium.vector import VectorEnv

from azr_agents.config import Config
from azr_agents.rollout import KEPT, Arena, Stopwatch, _ask_apart, task_type
from azr_gym import BadArgument, Outcome, Role, TaskPool
from azr_gym.code import CodeTask, make_tasks, prompts
from azr_gym.roles import PromptStyle

BOTH = ("deduction", "abduction")


def snapshot(pool: TaskPool[Any]) -> list[Any]:
    return [(entry.task, entry.born, entry.attempts, entry.successes, entry.origin) for entry in pool.entries()]


def test_every_phase_asks_the_agent_once_and_says_which_prompt_got_which_reply() -> None:
    settings = config(modes=BOTH, n_references=2)
    pool = seeded(settings)
    agent = Says(lambda prompt, place: f"{prompt} {place}")
    with Arena(settings, pool) as arena:
        proposals = arena.propose(agent, 5)
        assert len(agent.asked) <= 2  # prompts that came up more than once are asked apart
        tasks = [*pool][::5]
        groups = arena.solve(agent, tasks, 5)
    assert [one.mode for one in proposals] == ["deduction"] * 6 + ["abduction"] * 6
    assert {one.role for one in proposals} == {Role.PROPOSE}
    assert all(one.prompt.endswith(f"# {one.mode}\n") for one in proposals)
    assert all(one.reply.text.startswith(one.prompt) for one in proposals)
    assert agent.asked[-1][1:] == (4, 5)
    assert [group[0].task for group in groups] == tasks
    for task, group in zip(tasks, groups, strict=True):
        assert {(one.task, one.mode, one.role, one.prompt) for one in group} == {
            (task, task.mode, Role.SOLVE, group[0].prompt)
        }
        assert [one.reply.text for one in group] == [f"{group[0].prompt} {place}" for place in range(4)]
    given = {id(reply) for reply in agent.given}
    assert {id(one.reply) for one in [*proposals, *(one for group in groups for one in group)]} == given


def test_few_environments_are_kept_and_a_round_is_the_same_in_a_new_one() -> None:
    settings = config(modes=BOTH)
    pool = seeded(settings, 6)
    player = Player(rights=range(5)).knows(*pool)

    def play(arena: Arena, count: int) -> list[float]:
        return [one.reward for group in arena.solve(Says(player), [*pool][:count], 0) for one in group]

    with Arena(settings, pool) as arena:
        first = {count: play(arena, count) for count in range(1, 10)}
        assert [*arena._solve] == [4 * count for count in range(1, 10)][-KEPT:]
        assert play(arena, 7) == first[7]
        assert [*arena._solve][-1] == 28, "it was used last"
        assert {count: play(arena, count) for count in range(1, 10)} == first
        kept = [*arena._solve.values()]
    assert all(envs.closed for envs in kept)


def test_several_processes_judge_as_one_does() -> None:
    """Their modes are judged at the same time, in threads."""
    tasks: list[Any] = [*make_tasks(30, level=1)]

    def said(prompt: str, place: int) -> str:
        one, other = tasks[place % 30], tasks[place % 7]
        return prompts.proposal(one.program, other.arguments, PromptStyle.COMPACT)

    def play(processes: int) -> tuple[list[Any], list[Any]]:
        settings = config(modes=BOTH, proposals=70, tasks=20, env_processes=processes)
        pool = seeded(settings, 20)
        with Arena(settings, pool) as arena:
            made = arena.propose(Says(said), 3)
            groups = arena.solve(Says(Player(rights=range(5)).knows(*pool)), [*pool], 3)
        told = [(one.mode, one.reply.text, one.outcome, one.reason, one.reward, one.task) for one in made]
        return told, [[(one.outcome, one.reward) for one in group] for group in groups]

    alone = play(1)
    assert alone == play(2)
    assert {outcome for _, _, outcome, *_ in alone[0]} == {Outcome.ACCEPTED, Outcome.REFUSED}


def test_verdicts_are_those_of_their_own_replies() -> None:
    settings = config(modes=BOTH)
    pool = seeded(settings, 6)
    tasks = [*pool]
    player = Player(rights=range(5)).knows(*tasks)
    with Arena(settings, pool) as arena:
        groups = arena.solve(Says(player), tasks, 0)
    for number, group in enumerate(groups):
        assert [one.correct for one in group] == [place < min(number, 4) for place in range(4)]
        assert [one.reward for one in group] == [1.0 if one.correct else -0.5 for one in group]
        assert {one.reason for one in group if one.correct} <= {"that is right"}


def test_proposals_have_the_verdict_the_task_and_the_metrics_of_their_own_text() -> None:
    texts = ["nothing", "def f(x):\n    return x + 812\nf(3)", "def f(x):\n    return x\nf(3)"]
    texts += ["def f(x):\n    return [x, 915]\nf(4)", "", "def f(x):\n    return x * 77\nf(5)"]
    with Arena(config(n_references=0), TaskPool()) as arena:
        made = arena.propose(Says(Player(texts)), 0)
    assert [one.reply.text for one in made] == texts
    kinds = [Outcome.MALFORMED, Outcome.ACCEPTED, Outcome.REFUSED, Outcome.ACCEPTED, Outcome.MALFORMED]
    assert [one.outcome for one in made] == [*kinds, Outcome.ACCEPTED]
    for one, number in zip(made, ("", "812", "", "915", "", "77"), strict=True):
        assert (one.task is not None) == bool(number) == bool(one.metrics)
        assert one.task is None or number in str(one.task.to_json()["program"])
        assert one.reason
    assert made[1].task is not None
    assert made[1].task.output == "815"  # type: ignore[attr-defined]


def test_equal_prompts_get_replies_of_their_own() -> None:
    agent = Says(lambda prompt, place: f"{prompt}{place}")
    replies = [reply.text for reply in _ask_apart(agent, ["a", "b", "a", "c", "a", "b"], 3)]
    assert replies == ["a0", "b0", "a1", "c0", "a2", "b1"]
    assert sorted(agent.asked, key=lambda one: one[1]) == [(["c"], 1, 3), (["b"], 2, 3), (["a"], 3, 3)]
    assert _ask_apart(agent, [], 3) == []
    with Arena(config(n_references=0), TaskPool()) as arena:
        made = arena.propose(agent, 0)  # without references all prompts are alike
    assert len({one.prompt for one in made}) == 1
    assert len({one.reply.text for one in made}) == len(made) == 6


def test_the_arena_writes_nothing_to_the_pool() -> None:
    settings = config()
    pool = seeded(settings)
    before, clock = snapshot(pool), pool.clock
    with Arena(settings, pool) as arena:
        made = arena.propose(Says(Player()), 0)
        arena.solve(Says(Player()), [*pool], 0)
        arena.fresh(5, 0)
    assert {one.outcome for one in made} == {Outcome.ACCEPTED}
    assert (snapshot(pool), pool.clock) == (before, clock)


def test_prompts_are_a_function_of_the_seed_and_the_pool_and_of_nothing_before() -> None:
    settings = config(n_references=2)

    def prompts(arena: Arena, seed: int) -> list[str]:
        return [one.prompt for one in arena.propose(Says(Player()), seed)]

    with Arena(settings, seeded(settings)) as arena:
        first, other = prompts(arena, 1), prompts(arena, 2)
        arena.solve(Says(Player()), [*arena.pool], 9)
        assert prompts(arena, 1) == first != other
    with Arena(settings, seeded(settings)) as again:
        assert prompts(again, 2) == other


def test_fresh_tasks_are_a_function_of_the_seed_so_many_in_each_mode() -> None:
    with Arena(config(modes=("deduction", "abduction", "induction")), TaskPool()) as arena:
        tasks = arena.fresh(3, 8)
        assert [str(task.mode) for task in tasks] == ["deduction"] * 3 + ["abduction"] * 3 + ["induction"] * 3
        assert arena.fresh(3, 8) == tasks
        assert not {task.key for task in arena.fresh(3, 900)} & {task.key for task in tasks}
        assert task_type(config()) is CodeTask


def test_without_modes_all_are_played_and_without_tasks_nobody_is_asked() -> None:
    agent = Says(Player())
    with Arena(config(modes=()), TaskPool()) as arena:
        assert arena.modes == ("deduction", "abduction", "induction")
        assert arena.solve(agent, [], 0) == []
    assert agent.asked == []


def test_a_reply_may_be_any_text() -> None:
    texts = ["\ud800", "\0", "x" * 70_000, "f(" * 3000]
    with Arena(config(n_rollouts=4), TaskPool()) as arena:
        [group] = arena.solve(Says(lambda _, place: texts[place]), make_tasks(1, "deduction"), 0)
        assert not any(one.correct for one in group)
        made = arena.propose(Says(Player(texts)), 0)
    assert all(one.task is None and one.reward <= -0.5 for one in made)


# What can not be


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"env": "CartPole-v1", "env_options": {}}, "CartPole-v1 .*text"),
        ({"env": "Nowhere-v0"}, "Nowhere-v0 can not be played by both roles"),
        ({"env": "FrozenLake-v1", "env_options": {}}, "FrozenLake-v1 "),
        ({"env_options": {"levle": 2}}, "did you mean|has no option 'levle'"),
        ({"env_options": {"level": 9}}, "level must be one of"),
        ({"modes": ("seduction",)}, "mode must be one of"),
        ({"n_references": 11}, "n_references must be at most 10"),
    ],
)
def test_an_environment_that_can_not_be_played_so_is_refused_in_words(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(BadArgument, match=words):
        Arena(config(**changes), TaskPool())


@pytest.fixture
def closed(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The environments that were closed."""
    gone: list[Any] = []
    close = VectorEnv.close

    def note(self: Any, **options: Any) -> None:
        gone.append(self)
        close(self, **options)

    monkeypatch.setattr(VectorEnv, "close", note)
    return gone


class Breaks:
    def reply(self, prompts: Sequence[str], n: int, seed: int) -> Any:
        raise ConnectionError("no line")


def test_environments_are_closed_also_when_the_agent_fails(closed: list[Any]) -> None:
    with pytest.raises(ConnectionError), Arena(config(modes=BOTH), TaskPool()) as arena:
        arena.solve(Says(Player()), make_tasks(2, "deduction"), 0)
        opened = len(closed)
        arena.solve(Breaks(), make_tasks(3, "deduction"), 0)
    assert len(closed) - opened == 4  # two that propose, and one for each number of answers


def test_environments_are_closed_when_a_later_mode_is_none(closed: list[Any]) -> None:
    with pytest.raises(BadArgument):
        Arena(config(modes=("deduction", "seduction")), TaskPool())
    assert len(closed) == 1


def test_a_box_that_is_not_closed_does_not_stay(closed: list[Any]) -> None:
    from azr_gym.code import room

    with Arena(Config(env_options=JAIL, modes=("deduction",)), TaskPool()) as arena:
        arena.propose(Says(Player()), 0)
        assert ("jail", None) in room._shared
    assert ("jail", None) not in room._shared


def test_a_stopwatch_adds_up_what_has_a_name() -> None:
    watch = Stopwatch()
    for name in ("a", "b", "a"):
        watch.lap(name)
    assert set(watch.seconds) == {"a", "b"}
    assert min(watch.seconds.values()) >= 0
    watch.reset()
    assert watch.seconds == {}
