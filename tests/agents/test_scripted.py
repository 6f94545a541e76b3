"""Agents without weights: each reply hangs on its own prompt, its place and the seed, and on nothing else."""

from __future__ import annotations

import copy
import doctest
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import pytest
from hypothesis import given
from hypothesis import strategies as st

from azr_agents import scripted
from azr_agents.scripted import Noisy, Oracle, Random, Scripted, Stubborn, chance
from azr_gym import Agent, BadAgent, BadArgument, Reply, WrongMoment
from azr_gym.agent import ask

AGENTS: dict[str, Callable[[], Agent]] = {
    "stubborn": lambda: Stubborn("a"),
    "random": lambda: Random(["a", "b", "c"]),
    "oracle": lambda: Oracle({"p": "a"}, "b"),
    "noisy": lambda: Noisy(Stubborn("a"), Random(["b", "c"]), 0.5),
    "noisier": lambda: Noisy(Noisy(Stubborn("a"), Stubborn("b"), 0.5), Random(["c", "d"]), 0.5),
}
prompt_lists = st.lists(st.text(max_size=8) | st.just("p"), max_size=6)


def texts(agent: Agent, prompts: Sequence[str], n: int, seed: int) -> list[list[str]]:
    return [[reply.text for reply in group] for group in ask(agent, prompts, n, seed)]


@pytest.mark.parametrize("name", AGENTS)
@given(prompts=prompt_lists, n=st.integers(1, 5), seed=st.integers(0, 2**63))
def test_a_reply_hangs_on_its_own_prompt_place_and_seed(name: str, prompts: list[str], n: int, seed: int) -> None:
    agent = AGENTS[name]()
    assert isinstance(agent, Agent)
    together = texts(agent, prompts, n, seed)
    assert together == [texts(agent, [prompt], n, seed)[0] for prompt in prompts]
    assert [group[:1] for group in together] == texts(AGENTS[name](), prompts, 1, seed)


@pytest.mark.parametrize("name", AGENTS)
def test_a_copy_is_the_agent_itself(name: str) -> None:
    agent = AGENTS[name]()
    assert copy.deepcopy({"solver": agent})["solver"] is agent


@given(st.text(), st.integers(0, 10), st.integers(0, 2**63), st.text(max_size=5))
def test_a_chance_is_a_number_from_0_to_below_1(prompt: str, place: int, seed: int, called: str) -> None:
    assert 0.0 <= chance(prompt, place, seed, called) < 1.0


def test_a_chance_is_uniform_and_the_same_on_every_machine() -> None:
    drawn = [chance("p", place, 0) for place in range(10_000)]
    shares = [sum(low / 10 <= one < (low + 1) / 10 for one in drawn) / 10_000 for low in range(10)]
    assert max(shares) < 0.11
    assert min(shares) > 0.09
    assert chance("f(1) == ?", 2, 3, "random") == 0.3882881842981848


def test_a_stubborn_agent_says_one_thing() -> None:
    assert texts(Stubborn("x"), ["p", "q"], 2, 0) == [["x", "x"], ["x", "x"]]


def test_a_random_agent_says_everything_it_may_equally_often() -> None:
    said = texts(Random(["a", "b", "c", "c"]), ["p"], 4000, 0)[0]
    assert {text: said.count(text) for text in "abc"} == {"a": 1015, "b": 965, "c": 2020}


def test_another_seed_place_or_prompt_is_another_draw() -> None:
    agent = Random([str(number) for number in range(1000)])
    [first, second], [other, _] = texts(agent, ["p", "q"], 2, 0)
    assert len({first, second, other, texts(agent, ["p"], 1, 1)[0][0]}) == 4


def test_an_oracle_answers_what_it_knows() -> None:
    assert texts(Oracle({"p": "a"}, "b"), ["p", "q"], 2, 0) == [["a", "a"], ["b", "b"]]
    assert texts(Oracle({}), ["p"], 1, 0) == [[""]]


@pytest.mark.parametrize("role", ["solve", "propose"])
def test_an_oracle_of_an_environment_scores_in_it(role: str, any_runner: Any) -> None:
    env = gym.make("CodeTriplet-v0", role=role, runner=any_runner)
    prompt, _ = env.reset(seed=3)
    [[reply]] = Oracle.of(env).reply([prompt], 1, 0)
    assert env.step(reply.text)[1] == 1.0


def test_an_oracle_of_batches_and_single_ones_scores_in_all() -> None:
    batch = gym.make_vec("CodeTriplet-v0", num_envs=5, mode="deduction", autoreset_mode="Disabled")
    single = gym.make("CodeTriplet-v0", prompt_style="compact")
    prompts, _ = batch.reset(seed=0)
    prompt, _ = single.reset(seed=0)
    agent = Oracle.of(batch, single)
    [*groups, [reply]] = agent.reply([*prompts, prompt], 1, 0)
    assert batch.step([group[0].text for group in groups])[1].tolist() == [1.0] * 5
    assert single.step(reply.text)[1] == 1.0
    with pytest.raises(WrongMoment, match="over"):
        Oracle.of(batch)


def test_an_oracle_wants_episodes() -> None:
    for env in (gym.make("CodeTriplet-v0"), gym.make_vec("CodeTriplet-v0", num_envs=2)):
        with pytest.raises(WrongMoment, match="reset"):
            Oracle.of(env)
    with pytest.raises(BadArgument, match="not CartPoleEnv"):
        Oracle.of(gym.make("CartPole-v1"))
    with pytest.raises(BadArgument, match="not int"):
        Oracle.of(3)


def test_a_noisy_agent_is_the_first_at_its_rate() -> None:
    def share(rate: float) -> float:
        return texts(Noisy(Stubborn("a"), Stubborn("b"), rate), ["p"], 1000, 0)[0].count("a") / 1000

    assert [share(rate) for rate in (0, 0.1, 0.5, 0.9, 1)] == [0.0, 0.102, 0.503, 0.893, 1.0]


def test_noise_inside_noise_tosses_a_coin_of_its_own() -> None:
    inner = Noisy(Stubborn("a"), Stubborn("b"), 0.5)
    said = texts(Noisy(inner, Stubborn("c"), 0.5), ["p"], 1000, 0)[0]
    assert {text: said.count(text) for text in "abc"} == {"a": 262, "b": 238, "c": 500}


def test_noise_hands_on_the_very_objects() -> None:
    @dataclass(frozen=True)
    class Tokens(Reply):
        ids: tuple[int, ...] = (1,)

    class Mine:
        def reply(self, prompts: Sequence[str], n: int, seed: int) -> list[list[Tokens]]:
            return [[Tokens("t")] * n for _ in prompts]

    [group] = Noisy(Mine(), Stubborn("s"), 0.5).reply(["p"], 20, 0)
    assert {type(reply) for reply in group} == {Tokens, Reply}


def test_a_script_of_ones_own_is_one_method() -> None:
    class Echo(Scripted):
        def say(self, prompt: str, place: int, seed: int) -> str:
            return f"{prompt}{place}{seed}"

    assert texts(Echo(), ["p"], 2, 7) == [["p07", "p17"]]


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: Random([]), BadArgument, "at least one"),
        (lambda: Random("ab"), BadArgument, "list"),
        (lambda: Noisy(Stubborn("a"), Stubborn("b"), 1.5), BadArgument, "rate"),
        (lambda: Noisy(Stubborn("a"), Stubborn("b"), float("nan")), BadArgument, "rate"),
        (lambda: Noisy(Stubborn("a"), Stubborn("b"), True), BadArgument, "rate"),
        (lambda: Noisy("a", Stubborn("b"), 0.5), BadAgent, "first must be an Agent"),  # type: ignore[arg-type]
        (lambda: Noisy(Stubborn("b"), None, 0.5), BadAgent, "second must be an Agent"),  # type: ignore[arg-type]
    ],
)
def test_what_can_not_work_says_what_to_do(make: Callable[[], Any], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        make()


def test_the_page_tells_the_truth() -> None:
    assert doctest.testmod(scripted).failed == 0
