"""Answers: the oracle's scores, other values never do, and no text whatsoever raises."""

from __future__ import annotations

import math
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import azr_gym
from azr_gym import Outcome
from azr_gym.code import InductionTask, Mode, Triplet
from azr_gym.code.prompts import NONDETERMINISTIC
from azr_gym.code.room import CodeRoom
from azr_gym.roles import PromptStyle, Split
from azr_sandbox import Runner, values

from conftest import real
from strategies import literal_like, plain_data

PROGRAM = "def f(x, y):\n    return [v * y for v in x]"
DEDUCTION = Triplet.of("deduction", PROGRAM, ([1, 2], 3), [3, 6])
ABDUCTION = Triplet.of("abduction", PROGRAM, ([1, 2], 3), [3, 6])
DOUBLE = "def f(x):\n    return 2 * x"
INDUCTION = InductionTask.of(DOUBLE, [((n,), 2 * n) for n in range(10)], "Twice as much.")


@pytest.fixture
def answer(any_runner: Runner) -> Any:
    def step(task: Any, text: str, **options: Any) -> dict[str, Any]:
        env = gym.make("CodeTriplet-v0", mode=tuple(Mode), runner=any_runner, **options)
        env.reset(seed=0, options={"task": task})
        return env.step(text)[4]

    return step


RIGHT = {
    DEDUCTION: [
        "[3, 6]", "[3,6]", " [ 3 ,\n 6 ] ", "<answer>[3, 6]</answer>", "It is\n```python\n[3, 6]\n```\nindeed.",
        "<think>[1, 2] perhaps <answer>4</answer></think> The answer is [3, 6].", "Answer: [3, 6]",
        "<answer>[3, 6]</answer> again <answer>[3,6]</answer>", "<answer>```\n[3, 6]\n```</answer>",
        "Assistant: <answer>[3, 6]</answer>",
    ],
    ABDUCTION: [
        "[1, 2], 3", "([1, 2], 3)", "f([1, 2], 3)", "[3, 6], 1", "<answer>[3, 6], 1</answer>", "```input\n[\n 1,\n 2\n],\n3\n```",
        "Input: [1, 2], 3", "[3, 6], True", "[1, 2], 3,",
    ],
    INDUCTION: [
        DOUBLE, "def f(x): return x + x", f"```python\n{DOUBLE}\n```", f"Sure:\n\n{DOUBLE}\n\nThat is it.",
        f"<answer>{DOUBLE}</answer>", "f = lambda x: x * 2", "import operator\nf = lambda x: operator.mul(x, 2)",
        "class f:\n    def __new__(cls, x):\n        return x * 2", f"```python\n{DOUBLE}\n```\nor, the same,\n```python\n{DOUBLE}\n```",
    ],
}  # fmt: skip
WRONG = {
    DEDUCTION: ["[6, 3]", "[3, 6.0]", "(3, 6)", "'[3, 6]'", "[3, True]", "None"],
    ABDUCTION: ["[1, 2], 4", "[1], 3", "1, 2", "None, None", "'ab', 3", "[10**9], 1".replace("10**9", "1000000000")],
    INDUCTION: [
        "def f(x): return x", "def f(x): return 3 * x", "def f(x): raise ValueError", "def f(x):\n    while True: pass",
        "def f(): return 1", "import os\ndef f(x): return 2 * x", "def f(x): return float(2 * x)", "f = 3",
        "n = 0\ndef f(x):\n    global n\n    n += 1\n    return 2 * x + n // 4",
    ],
}  # fmt: skip
MALFORMED = {
    DEDUCTION: ["", "three and six", "f([1, 2], 3)", "[3, 6", "<answer></answer>", "<think>[3, 6]", "<answer>[3, 6]</answer><answer>[6]</answer>"],
    ABDUCTION: ["", "[1, 2]", "x", "f(x, y)", "[1, 2], 3, 4", "__import__('os'), 1", "<answer>[1, 2], 3</answer><answer>[3, 6], 1</answer>"],
    INDUCTION: ["", "2 * x", "def g(x): return 2 * x", "def f(x) return 2 * x", f"```python\n{DOUBLE}\n```\n```python\ndef f(x): return x\n```"],
}  # fmt: skip
CASES = [
    (task, text, outcome)
    for table, outcome in ((RIGHT, Outcome.CORRECT), (WRONG, Outcome.WRONG), (MALFORMED, Outcome.MALFORMED))
    for task, texts in table.items()
    for text in texts
]


@pytest.mark.parametrize(("task", "text", "outcome"), CASES)
def test_each_text_gets_its_outcome(answer: Any, task: Any, text: str, outcome: Outcome) -> None:
    info = answer(task, text)
    assert info["outcome"] is outcome, info["reason"]
    assert info["reason"]


def test_induction_counts_every_hidden_case_and_says_the_share(answer: Any) -> None:
    info = answer(INDUCTION, "def f(x):\n    return 2 * x if x < 8 else 1 // 0")
    assert info["outcome"] is Outcome.WRONG
    assert info["correctness"] == 0.6
    assert answer(INDUCTION, "def f(x): return 2 * x if x != 7 else 0", reward="azr")["correctness"] == 0.8


def test_induction_looks_at_the_hidden_half_alone(answer: Any) -> None:
    assert answer(INDUCTION, "def f(x): return 2 * x if x > 4 else 0")["outcome"] is Outcome.CORRECT


@given(seed=st.integers(0, 2**32), mode=st.sampled_from(list(Mode)), style=st.sampled_from(list(PromptStyle)),
       split=st.sampled_from(list(Split)), level=st.integers(1, 5))  # fmt: skip
def test_the_oracle_always_scores(seed: int, mode: Mode, style: PromptStyle, split: Split, level: int) -> None:
    room = CodeRoom(level=level, runner=real("jail"))
    task = room.make(np.random.default_rng(seed), mode, split)
    assert room.judge([task], [room.answer(task, style)])[0].outcome is Outcome.CORRECT


@given(value=plain_data)
def test_another_value_never_scores(value: object) -> None:
    text = values.render(value)
    verdict = CodeRoom().judge([DEDUCTION], [text])[0]
    assert (verdict.outcome is Outcome.CORRECT) == values.equal(value, [3, 6])


@given(value=plain_data)
def test_every_value_that_a_program_may_return_can_be_answered(value: object) -> None:
    text = values.render(value)
    if len(text) > 1000:
        return
    task = Triplet("deduction", PROGRAM, "[1], 2", text)  # type: ignore[arg-type]
    assert CodeRoom().judge([task], [f"So:\n<answer>{text}</answer>"])[0].outcome is Outcome.CORRECT


@given(text=st.text() | literal_like, mode=st.sampled_from(list(Mode)), role=st.sampled_from(["solve", "propose"]))
def test_any_text_gives_a_finite_reward_and_never_an_exception(text: str, mode: Mode, role: str) -> None:
    env = gym.make("CodeTriplet-v0", role=role, mode=mode, runner=real("jail"), reward="azr")
    env.reset(seed=0)
    reward = float(env.step(text)[1])
    assert math.isfinite(reward)
    assert -1.0 <= reward <= 1.0


@pytest.mark.parametrize("task", [DEDUCTION, ABDUCTION, INDUCTION])
def test_a_second_attempt_is_told_why_and_never_the_key(task: Any, any_runner: Runner) -> None:
    env = gym.make("CodeTriplet-v0", mode=tuple(Mode), runner=any_runner, max_attempts=2)
    prompt, _ = env.reset(options={"task": task})
    wrong, right = WRONG[task][0], RIGHT[task][0]
    again, reward, terminated, _, info = env.step(wrong)
    assert (reward, terminated, info["outcome"], info["attempt"]) == (0.0, False, Outcome.WRONG, 1)
    assert again.startswith(prompt.rstrip("\n"))
    assert wrong in again
    assert info["reason"] in again
    if isinstance(task, Triplet):
        hidden = task.output if task.mode is Mode.DEDUCTION else task.arguments
        assert hidden not in again
    assert env.step(right)[1:3] == (1.0, True)


def test_attempts_come_to_an_end(any_runner: Runner) -> None:
    env = gym.make("CodeTriplet-v0", runner=any_runner, max_attempts=3, reward="azr")
    env.reset(seed=0)
    steps = [env.step("no")[1:3] for _ in range(3)]
    assert steps == [(0.0, False), (0.0, False), (-1.0, True)]


def test_info_tells_the_public_half(any_runner: Runner) -> None:
    env = gym.make("CodeTriplet-v0", mode=tuple(Mode), runner=any_runner)
    seen = [env.reset(options={"task": task})[1] for task in (DEDUCTION, ABDUCTION, INDUCTION)]
    common = {"role", "mode", "target", "task_id"}
    assert [set(info) - common for info in seen] == [{"program", "input"}, {"program", "output"}, {"shown", "message"}]
    assert seen[2]["shown"] == tuple((str(n), str(2 * n)) for n in range(5))


def test_the_box_gets_inputs_and_never_what_they_should_give(any_runner: Runner) -> None:
    from envs.agents import Counting

    counting = Counting(any_runner)
    envs: Any = gym.make_vec("CodeTriplet-v0", 3, mode=tuple(Mode), runner=counting)
    envs.reset(options={"tasks": [DEDUCTION, ABDUCTION, INDUCTION]})
    envs.step([RIGHT[task][0] for task in (DEDUCTION, ABDUCTION, INDUCTION)])
    assert counting.batches == 1, "one call of the box per vector step"
    assert [program.source for program in counting.programs] == [PROGRAM, DOUBLE]
    assert counting.programs[1].calls == tuple((n,) for n in range(5, 10))


def test_equal_answers_run_once(any_runner: Runner) -> None:
    from envs.agents import Counting

    counting = Counting(any_runner)
    envs: Any = gym.make_vec("CodeTriplet-v0", 6, mode=tuple(Mode), runner=counting)
    envs.reset(options={"tasks": [ABDUCTION] * 3 + [INDUCTION] * 3})
    wrong = "def f(x):\n    return x"
    _, rewards, *_ = envs.step(["[9], 9", "f([9], 9)", " [9],9 "] + [wrong] * 3)
    assert counting.batches == 1
    assert [program.source for program in counting.programs] == [PROGRAM, wrong]
    assert not rewards.any()


def test_a_program_that_is_right_once_and_then_no_more_is_wrong(any_runner: Runner) -> None:
    env: Any = gym.make("CodeTriplet-v0", mode=Mode.INDUCTION, runner=any_runner)
    env.reset(options={"task": INDUCTION})
    tired = "def f(x, seen=[]):\n    seen.append(x)\n    return 2 * x if len(seen) <= 5 else 0"  # right at first
    _, reward, _, _, info = env.step(tired)
    assert (reward, info["reason"]) == (0.0, NONDETERMINISTIC)


def test_render_shows_the_task_then_the_answer(any_runner: Runner) -> None:
    env: Any = gym.make("CodeTriplet-v0", mode=tuple(Mode), runner=any_runner, render_mode="ansi")
    env.reset(options={"task": DEDUCTION})
    assert "[3, 6]" not in plain(env.render())
    env.step("\x1b[31mnope")
    shown = plain(env.render())
    assert "[3, 6]" in shown
    assert "nope" in shown
    assert "malformed" in shown
    assert "\x1b" not in shown


def plain(text: str) -> str:
    import re

    return re.sub(r"\x1b\[[0-9;]*m", "", text)


def test_pictures_are_the_same_scene(any_runner: Runner) -> None:
    env: Any = gym.make("CodeTriplet-v0", role="propose", runner=any_runner, render_mode="rgb_array")
    env.reset(seed=1)
    before = env.render()
    env.step(env.unwrapped.oracle())
    after = env.render()
    assert before.dtype == after.dtype == np.uint8
    assert before.shape[1:] == after.shape[1:] == (before.shape[1], 3)
    assert after.shape[0] > before.shape[0]


def test_a_task_of_another_room_or_mode_is_refused(any_runner: Runner) -> None:
    env = gym.make("CodeTriplet-v0", runner=any_runner)
    with pytest.raises(azr_gym.BadTask, match="CodeTriplet-v0 plays"):
        env.reset(options={"task": "def f(x): return x"})
    with pytest.raises(azr_gym.BadArgument, match="abduction"):
        env.reset(options={"task": ABDUCTION})


HOSTILE = {
    "sets in sets, which take twice as long to pack with each": "frozenset({" * 28 + "1" + "})" * 28,
    "a getattr of a thousand sums": "def f(x):\n return getattr(x," + "+".join(["a"] * 1000) + ")",
    "a deep tree": "def f(x):\n return " + "-" * 2940 + "x",
    "a long chain of elif": "def f(x):\n if x:0\n" + " elif x:0\n" * 390 + " return x",
    "names by the hundred": "def f(x):\n for " + ",".join(chr(0x4E00 + n) for n in range(500)) + " in x:x()\n return x",
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
@pytest.mark.parametrize("task", [DEDUCTION, ABDUCTION, INDUCTION])
def test_hostile_texts_are_answered_soon_and_alike_however_deep_the_caller_stands(
    answer: Any, task: Any, text: str
) -> None:
    def deeper(levels: int) -> Any:
        return deeper(levels - 1) if levels else answer(task, text)

    shallow = answer(task, text)
    assert shallow["outcome"] in (Outcome.WRONG, Outcome.MALFORMED)
    assert deeper(400) == shallow


def test_an_endless_loop_costs_its_limit_once_a_run(any_runner: Runner) -> None:
    import time

    tasks = [InductionTask.of(DOUBLE, [((n,), 2 * n) for n in range(32)])]
    started = time.process_time(), time.monotonic()
    verdict = CodeRoom(runner=any_runner).judge(tasks, ["def f(x):\n    while True: pass"])[0]
    assert verdict.outcome is Outcome.WRONG
    assert time.monotonic() - started[1] < 16, "32 calls of a second each would take far longer"


def test_why_a_hidden_input_fails_is_not_told(answer: Any) -> None:
    info = answer(INDUCTION, "def f(x):\n    if x == 7:\n        raise KeyError\n    return 2 * x")
    assert "KeyError" not in info["reason"]
    assert "line" not in info["reason"]


def test_the_key_is_not_drawn_before_the_last_attempt(any_runner: Runner) -> None:
    env: Any = gym.make("CodeTriplet-v0", runner=any_runner, render_mode="ansi", max_attempts=2)
    env.reset(options={"task": DEDUCTION})
    env.step("[1]")
    assert "in fact" not in plain(env.render())
    env.step("[1]")
    assert "in fact" in plain(env.render())
