"""The defects that were measured in the paper's reference implementation, by name: none of them is here."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import pytest
from envs.agents import Counting, Scripted

from azr_gym import Outcome, TaskPool
from azr_gym.code import InductionTask, Mode, Refusal, Triplet
from azr_gym.rewards import propose_reward
from azr_sandbox import Runner

IDENTITY_LIST = "def f(x):\n    return [x, x]"


@pytest.fixture
def step(any_runner: Runner) -> Any:
    def play(text: str, task: Any = None, program: str | None = None, **options: Any) -> tuple[float, dict[str, Any]]:
        env = gym.make("CodeTriplet-v0", runner=any_runner, **options)
        env.reset(seed=0, options={"task": task} if task else {"program": program} if program else None)
        _, reward, _, _, info = env.step(text)
        return float(reward), info

    return play


def proposal(program: str, given: str) -> str:
    return f"```python\n{program}\n```\n```input\n{given}\n```"


def test_1_the_determinism_filter_fires(step: Any) -> None:
    for program in ("def f(x): return str(object()) + x", "def f(x): return str({'a', 'b', 'c', 'd', x})"):
        assert step(proposal(program, "'x'"), role="propose")[1]["refusal"] is Refusal.NONDETERMINISTIC


def test_2_a_long_value_refuses_the_proposal_and_is_never_cut(step: Any) -> None:
    program = "def f(x): return x * 401"
    assert step(proposal(program, "'ab'"), role="propose")[1]["task"].output == repr("ab" * 401)
    assert step(proposal(program, "'abcd'"), role="propose")[1]["refusal"] is Refusal.TOO_LONG


CHEATS = [
    "__import__('os')._exit(0)",
    "type('A', (), {'__eq__': lambda a, b: True})()",
    "(lambda: [x for x in ().__class__.__base__.__subclasses__()])()",
    "open('/etc/passwd').read()",
    "eval(input)",
    "globals()['answer']",
    "[answer for answer in [output]][0]",
    "f([1, 2], 3)",
    "...",
    "exit()",
    "(yield)",
    "x := 3",
]


@pytest.mark.parametrize("cheat", CHEATS)
def test_3_an_answer_is_data_and_never_evaluated(step: Any, cheat: str) -> None:
    deduction = Triplet.of("deduction", IDENTITY_LIST, (1,), [1, 1])
    abduction = Triplet.of("abduction", IDENTITY_LIST, (1,), [1, 1])
    for task in (deduction, abduction):
        for text in (cheat, f"<answer>{cheat}</answer>", f"```python\n{cheat}\n```"):
            assert step(text, task, mode=("deduction", "abduction"))[1]["outcome"] is Outcome.MALFORMED


PROGRAM_CHEATS = [
    "class A:\n    def __eq__(self, other): return True\ndef f(x): return A()",
    "class A(int):\n    def __eq__(self, other): return True\n    __hash__ = None\ndef f(x): return A()",
    "class A(list):\n    def __eq__(self, other): return True\ndef f(x): return A()",
    "import sys\ndef f(x): return sys._getframe(1).f_locals",
    "def f(x):\n    import gc\n    return gc.get_objects()",
    "def f(x): raise SystemExit(0)",
    "def f(x):\n    print('CORRECT')\n    return x",
    "import os\ndef f(x): os._exit(0)",
    "def f(*a, **k): return a",
    "f = print",
]


@pytest.mark.parametrize("cheat", PROGRAM_CHEATS)
def test_3_an_induction_answer_can_not_talk_its_way_to_a_reward(step: Any, cheat: str) -> None:
    task = InductionTask.of("def f(x):\n    return 2 * x", [((n,), 2 * n) for n in range(1, 11)])
    reward, info = step(cheat, task, mode="induction")
    assert reward == 0.0
    assert info["outcome"] in (Outcome.WRONG, Outcome.MALFORMED)


def test_4_every_hidden_case_counts(step: Any) -> None:
    task = InductionTask.of("def f(x):\n    return 2 * x", [((n,), 2 * n) for n in range(10)])
    reward, info = step("def f(x): return 2 * x if x == 5 else [][0]", task, mode="induction")
    assert reward == 0.0
    assert info["correctness"] == 0.2


def test_5_the_pool_lets_the_oldest_go_and_keeps_statistics_and_no_duplicates() -> None:
    tasks = [Triplet.of("deduction", f"def f(x):\n    return x + {n}", (1,), 1 + n) for n in range(5)]
    pool = TaskPool(tasks, capacity=3)
    assert list(pool) == tasks[2:]
    renamed = Triplet.of("deduction", "def f(y):\n    return y + 4  # same", (1,), 5)
    assert not pool.add(renamed)
    pool.record(tasks[4], attempts=8, successes=2)
    assert pool.entry(tasks[4]).solve_rate == 0.25


def test_6_what_the_prompt_invites_is_what_the_reader_accepts(any_runner: Runner) -> None:
    env: Any = gym.make("CodeTriplet-v0", role="propose", runner=any_runner)
    prompt, _ = env.reset(seed=0)
    assert "nested functions and classes are fine" in prompt
    nested = "class A:\n    pass\n\ndef f(x):\n    # nested\n    def g(y):\n        return y + 1\n    return g(x)"
    assert env.step(proposal(nested, "1"))[4]["outcome"] is Outcome.ACCEPTED
    # A proposer of deduction tasks is told that the output is to be found, one of abduction tasks that the input is.
    assert "must work out the output" in prompt
    env = gym.make("CodeTriplet-v0", role="propose", mode="abduction", runner=any_runner)
    assert "must find an input that gives it" in env.reset(seed=0)[0]


@pytest.mark.parametrize("solved", [0, 8])
def test_8_solve_rates_of_0_and_1_are_worth_nothing_and_not_less(any_runner: Runner, solved: int) -> None:
    solver = Scripted(lambda prompt, place: "[1, 1]" if place < solved else "no")
    for preset, worth in (("azr", 0.0), ("binary", 0.0), ("azr_code", -0.5)):
        env = gym.make("CodeTriplet-v0", role="propose", runner=any_runner, solver=solver, reward=preset)
        env.reset(seed=0)
        assert env.step(proposal(IDENTITY_LIST, "1"))[1] == worth
        assert propose_reward(preset, Outcome.ACCEPTED, solved / 8) == worth


def test_9_the_difficulty_rollouts_come_back_as_training_data(any_runner: Runner) -> None:
    solver = Scripted(lambda prompt, place: "1" if place % 2 else "none of it")
    counting = Counting(any_runner)
    envs: Any = gym.make_vec(
        "CodeTriplet-v0",
        3,
        role="propose",
        mode="abduction",
        runner=counting,
        solver=solver,
        n_rollouts=4,
        reward="azr",
    )
    envs.reset(seed=0)
    infos = envs.step([proposal(IDENTITY_LIST, "1"), "nothing", proposal(IDENTITY_LIST, "2")])[4]["final_info"]
    assert [(len(prompts), n) for prompts, n, _ in solver.asked] == [(2, 4)], "asked once, for the valid tasks"
    assert counting.batches == 2, "one call for the proposals, one for the replies"
    assert infos["rollouts"][1] == ()
    rollouts = [rollout for index in (0, 2) for rollout in infos["rollouts"][index]]
    assert [id(rollout.reply) for rollout in rollouts] == [id(reply) for reply in solver.given], "the same objects"
    assert [rollout.verdict.outcome for rollout in rollouts[:2]] == [Outcome.MALFORMED, Outcome.CORRECT]
    assert [rollout.reward for rollout in rollouts] == [-1.0, 1.0, -1.0, 1.0, -1.0, -0.5, -1.0, -0.5]
    assert infos["solve_rate"].tolist() == [0.5, 0.0, 0.0]
    assert all(rollout.prompt in solver.asked[0][0] for rollout in rollouts)


def test_12_empty_tasks_are_refused_by_name(step: Any) -> None:
    constant = proposal("def f(x):\n    y = x\n    return 5", "1")
    assert step(constant, role="propose")[1]["refusal"] is Refusal.CONSTANT
    unused = proposal("def f(x, y):\n    return x + 1", "1, 2")
    assert step(unused, role="propose")[1]["refusal"] is Refusal.UNUSED_ARGUMENT
    program = "def f(x):\n    return sum(x) * 3"
    same = "\n".join([*(f"f([{n}])" for n in (1, 2, 3, 4, 5, 6, 7, 8, 9, 1)), "# Three times the sum."])
    told = "\n".join([*(f"f([{n}])" for n in range(10)), "# It is sum(x) * 3"])
    options = {"role": "propose", "mode": "induction", "program": program}
    assert step(same, **options)[1]["refusal"] is Refusal.HIDDEN_EQUALS_SHOWN
    assert step(told, **options)[1]["refusal"] is Refusal.MESSAGE_CONTAINS_PROGRAM


HONEST = [
    ("def f(x):\n    return x['a']", "{'a': [1,\n 2]}", "[1,\n  2]"),
    ("def f(x):\n    return x / 2", "inf", "inf"),
    ("def f(x):\n    return [x, -x]", "nan", "[nan, nan]"),
    ("def f(x):\n    return x.upper()", "'print(1) input(2)'", "'PRINT(1) INPUT(2)'"),
]


@pytest.mark.parametrize(("program", "given", "output"), HONEST)
def test_13_honest_answers_are_not_lost(step: Any, program: str, given: str, output: str) -> None:
    from azr_sandbox import values

    task = Triplet.of("deduction", program, (values.parse(given),), values.parse(output))
    assert step(output, task)[1]["outcome"] is Outcome.CORRECT
    backwards = Triplet(Mode.ABDUCTION, task.program, task.arguments, task.output)
    assert step(given, backwards, mode="abduction")[1]["outcome"] is Outcome.CORRECT


def test_13_nested_helpers_are_a_right_answer(step: Any) -> None:
    task = InductionTask.of("def f(x):\n    return 2 * x", [((n,), 2 * n) for n in range(10)])
    answer = "def helper(y):\n    return y + y\n\ndef f(x):\n    def g(z):\n        return helper(z)\n    return g(x)"
    assert step(answer, task, mode="induction")[1]["outcome"] is Outcome.CORRECT


def test_14_assistant_in_a_response_replaces_nothing(step: Any) -> None:
    task = Triplet.of("deduction", IDENTITY_LIST, (1,), [1, 1])
    assert step("<answer>[2]</answer>\nAssistant: [1, 1]", task)[1]["outcome"] is Outcome.WRONG
    assert step("Assistant: 3 <answer>[1, 1]</answer>", task)[1]["outcome"] is Outcome.CORRECT
