"""Asking an agent: one question for all, the same objects back, and one clear error for every wrong shape."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from azr_gym import Agent, BadAgent, Reply
from azr_gym.agent import ask, check_agent


@dataclass(frozen=True)
class Tokens(Reply):
    """A reply that carries more."""

    ids: tuple[int, ...] = ()


class Scripted:
    """Gives what it is told to give, and keeps what it was asked."""

    def __init__(self, answer: Any) -> None:
        self.answer, self.asked = answer, list[Any]()

    def reply(self, prompts: Sequence[str], n: int, seed: int) -> Any:
        self.asked.append((prompts, n, seed))
        return self.answer(prompts, n) if callable(self.answer) else self.answer


def echo(prompts: Sequence[str], n: int) -> list[list[Reply]]:
    return [[Reply(f"{prompt}{index}") for index in range(n)] for prompt in prompts]


@given(st.lists(st.text(), min_size=1, max_size=5), st.integers(1, 4), st.integers(0, 2**63))
def test_an_agent_is_asked_once_for_everything(prompts: list[str], n: int, seed: int) -> None:
    agent = Scripted(echo)
    assert ask(agent, prompts, n, seed) == echo(prompts, n)
    assert agent.asked == [(prompts, n, seed)]


def test_the_same_objects_come_back() -> None:
    given = [[Tokens("a", (1,)), Tokens("b", (2,))]]
    found = ask(Scripted(given), ["p"], 2, 0)
    assert all(one is other for one, other in zip(found[0], given[0], strict=True))


def test_an_agent_may_not_change_the_caller_s_prompts() -> None:
    prompts = ("a", "b")

    def greedy(asked: list[str], n: int) -> list[list[Reply]]:
        answer = echo(asked, n)
        asked.clear()
        return answer

    assert len(ask(Scripted(greedy), prompts, 1, 0)) == 2


def test_nobody_is_asked_nothing() -> None:
    agent = Scripted(None)
    assert ask(agent, [], 3, 0) == []
    assert agent.asked == []


def test_generators_and_tuples_will_do() -> None:
    def lazily(prompts: Sequence[str], n: int) -> Iterator[Iterator[Reply]]:
        return (iter(group) for group in echo(prompts, n))

    assert ask(Scripted(lazily), ["a", "b"], 2, 0) == echo(["a", "b"], 2)
    assert ask(Scripted(((Reply("x"),),)), ["a"], 1, 0) == [[Reply("x")]]


def test_a_subclass_of_str_is_text() -> None:
    class Text(str):
        __slots__ = ()

    assert ask(Scripted([[Reply(Text("x"))]]), ["a"], 1, 0)[0][0].text == "x"


class Lookalike:
    text = "x"


R = Reply("x")


@pytest.mark.parametrize(
    "answer",
    [
        None, 3, R, "xy", [], [[R]], [[R], [R]], [[R, R], [R]], [[R, R]], [[R, R]] * 3, [[R, R, R]] * 2, [[], []], [R, R], ["xy", "xy"], [["x", "y"]] * 2, [None, None], [[None, R]] * 2,
        [[Lookalike(), R]] * 2, [[Reply(None), R]] * 2, [[Reply(b"x"), R]] * 2, [3, 4], {"a": 1, "b": 2},  # type: ignore[arg-type]
    ],
    ids=lambda answer: repr(answer)[:30],
)  # fmt: skip
def test_replies_of_another_shape_are_refused(answer: Any) -> None:
    with pytest.raises(BadAgent, match=r"2 replies to each of 2 prompts|Reply"):
        ask(Scripted(answer), ["a", "b"], 2, 0)


def test_an_agent_s_own_error_is_passed_on() -> None:
    def broken(prompts: Sequence[str], n: int) -> Iterator[list[Reply]]:
        yield [Reply("x")]
        raise ConnectionError("no line")

    with pytest.raises(ConnectionError, match="no line"):
        ask(Scripted(broken), ["a", "b"], 1, 0)


def test_whatever_replies_is_an_agent() -> None:
    assert isinstance(Scripted(None), Agent)
    check_agent(Scripted(None), "solver")


@pytest.mark.parametrize(
    "thing", [None, "solver", 3, len, object(), type("No", (), {"reply": 3})()], ids=lambda thing: type(thing).__name__
)
def test_what_can_not_reply_is_no_agent(thing: Any) -> None:
    with pytest.raises(BadAgent, match=r"solver must be an Agent.*reply\(prompts, n, seed\)"):
        check_agent(thing, "solver")
