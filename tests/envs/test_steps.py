"""An episode of several steps: a room may say that it goes on, at a cost, until there is an answer or it is cut off."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from typing import Any

import numpy as np
import pytest

from azr_gym import Outcome, WrongMoment
from azr_gym.base import TaskEnv
from azr_gym.batch import BatchTaskEnv
from azr_gym.room import Room, Verdict
from azr_gym.testing import check_task_env

Mode = StrEnum("Mode", ["GUESS"])
COST, LAST = 0.1, 4


@dataclass(frozen=True)
class Number:
    """A number from 0 to 9, the remainder of its division by 3 (told), and what was asked about it."""

    number: int
    asked: tuple[int, ...] = ()
    mode = Mode.GUESS
    id = property(lambda self: str(self.number % 3))
    key = property(lambda self: bytes([self.number]))
    features, to_json = frozenset, asdict

    @classmethod
    def from_json(cls, data: Any) -> Number:
        return cls(data["number"], tuple(data["asked"]))


class GuessingRoom(Room[Any]):
    """Ask "> 4" at a cost of 0.1, at most four times; "7" answers."""

    id, target, modes, task_type, worst_extra = "Guessing-v0", "number", Mode, Number, -COST * LAST

    def make(self, rng: np.random.Generator, mode: StrEnum, split: Any) -> Number:
        return Number(int(rng.integers(9)))

    def prompt(self, task: Number, style: Any) -> str:
        return " ".join(f"{'above' if task.number > one else 'at most'} {one}." for one in task.asked) + f"?{task.id}"

    def public(self, task: Number) -> dict[str, Any]:
        return {"asked": task.asked}

    def answer(self, task: Number, style: Any) -> str:
        return str(task.number)

    def with_key(self, task: Number, other: Number) -> Number:
        return replace(task, number=(task.number + 3) % 9)

    def judge_one(self, task: Number, text: str) -> Verdict[Any]:
        if text.startswith("> ") and text[2:].isdecimal() and len(text) < 9:
            if len(task.asked) == LAST:
                return Verdict(Outcome.UNANSWERED, "that was one too many")
            asked = replace(task, asked=(*task.asked, int(text[2:])))
            return Verdict(Outcome.OPEN, "asked", task=asked, extra=-COST)
        if not text.isdecimal() or len(text) > 9:
            return Verdict(Outcome.MALFORMED, "no number")
        return Verdict(Outcome.CORRECT if int(text) == task.number else Outcome.WRONG)


def test_the_contract_is_kept() -> None:
    check_task_env(TaskEnv(GuessingRoom()))
    check_task_env(TaskEnv(GuessingRoom(), max_attempts=2, reward="azr"))


def test_a_step_may_answer_nothing_and_cost_something() -> None:
    env = TaskEnv(GuessingRoom(), reward="azr")
    prompt, info = env.reset(options={"task": Number(7)})
    assert (prompt, info["asked"]) == ("?1", ())
    for number, (asked, wanted) in enumerate([(4, "above 4.?1"), (8, "above 4. at most 8.?1")], 1):
        prompt, reward, terminated, truncated, info = env.step(f"> {asked}")
        assert (prompt, reward, terminated, truncated) == (wanted, -COST, False, False)
        assert (info["outcome"], info["attempt"], len(info["asked"])) == (Outcome.OPEN, 0, number)
    prompt, reward, terminated, truncated, info = env.step(env.oracle())
    assert (prompt, reward, terminated, truncated, info["attempt"]) == ("", 1.0, True, False, 1)
    with pytest.raises(WrongMoment):
        env.step("> 3")


def test_what_is_cut_off_is_truncated_and_worth_what_a_wrong_answer_is() -> None:
    env = TaskEnv(GuessingRoom(), reward="azr", max_attempts=3)
    env.reset(seed=0)
    for _ in range(LAST):
        assert not any(env.step("> 4")[2:4])
    prompt, reward, terminated, truncated, info = env.step("> 4")
    assert (prompt, reward, terminated, truncated) == ("", -0.5, False, True)
    assert info["outcome"] is Outcome.UNANSWERED
    with pytest.raises(WrongMoment):
        env.step("3")


def test_questions_are_no_attempts() -> None:
    env = TaskEnv(GuessingRoom(), max_attempts=2)
    env.reset(options={"task": Number(7)})
    assert env.step("1")[2] is False
    prompt, *_ = env.step("> 4")
    assert prompt == "above 4.?1"
    assert env.step("7")[1:3] == (1.0, True)


def test_a_batch_goes_on_where_it_must_and_begins_again_where_it_ends() -> None:
    envs = BatchTaskEnv(GuessingRoom(), 3)
    envs.reset(options={"tasks": [Number(1), Number(2), Number(3)]}, seed=0)
    for _ in range(LAST):
        prompts, rewards, terminated, truncated, infos = envs.step(
            ["> 1", "> 1", "3" if envs.episodes[2].task == Number(3) else "> 0"]
        )
    assert prompts[:2] == ("at most 1. at most 1. at most 1. at most 1.?1", "above 1. above 1. above 1. above 1.?2")
    prompts, rewards, terminated, truncated, infos = envs.step(["> 1", "2", "> 1"])
    assert rewards.tolist() == [0.0, 1.0, -COST]
    assert (terminated.tolist(), truncated.tolist()) == ([False, True, False], [True, False, False])
    assert [prompt[0] for prompt in prompts[:2]] == ["?", "?"]
    assert infos["final_info"]["outcome"].tolist()[:2] == [Outcome.UNANSWERED, Outcome.CORRECT]
    assert infos["final_info"]["asked"][1] == (1,) * LAST
