"""Proposals: what becomes a task, and one test per refusal. Everything that runs, runs in the real box."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import pytest

import azr_gym
from azr_gym import Outcome, TaskPool
from azr_gym.code import InductionTask, Mode, Refusal, Triplet, hello_world
from azr_gym.code.normal import held_out
from azr_gym.code.propose import MALFORMED, contains_program
from azr_gym.room import Brief
from azr_sandbox import Runner

GOOD = "def f(x):\n    return sorted(x)[1:]"


def fenced(program: str, *inputs: str, message: str | None = None) -> str:
    blocks = [f"```python\n{program}\n```"] if program else []
    blocks += [f"```input\n{one}\n```" for one in inputs]
    blocks += [f"```message\n{message}\n```"] if message is not None else []
    return "\n\n".join(blocks)


@pytest.fixture
def propose(any_runner: Runner) -> Any:
    """Step a proposer once: the info of the step."""

    def step(text: str, mode: str = "deduction", program: str | None = None, **options: Any) -> dict[str, Any]:
        env = gym.make("CodeTriplet-v0", role="propose", mode=mode, runner=any_runner, **options)
        env.reset(seed=0, options={"program": program} if program else None)
        return env.step(text)[4]

    return step


@pytest.mark.parametrize("mode", ["deduction", "abduction"])
def test_a_program_and_an_input_become_a_task(propose: Any, mode: str) -> None:
    info = propose(fenced(GOOD, "[3, 1, 2]"), mode)
    assert info["outcome"] is Outcome.ACCEPTED
    assert info["task"] == Triplet(Mode(mode), GOOD, "[3, 1, 2]", "[2, 3]")
    assert info["metrics"].keys() == {
        "ast_nodes", "cyclomatic", "halstead_volume", "halstead_difficulty", "novelty",
    }  # fmt: skip


def test_inputs_and_a_message_become_an_induction_task(propose: Any) -> None:
    inputs = [f"[{n}, 1, {n + 2}]" for n in range(10)]
    info = propose(fenced("", *inputs, message="Sorts, then drops one."), "induction", GOOD)
    assert info["outcome"] is Outcome.ACCEPTED
    task = info["task"]
    assert isinstance(task, InductionTask)
    assert task.message == "Sorts, then drops one."
    assert task.pairs[2] == ("[2, 1, 4]", "[2, 4]")
    assert len(task.shown) == len(task.hidden) == 5


def test_fewer_pairs_are_a_setting(propose: Any) -> None:
    info = propose("f([1])\nf([2, 3])\nf([4, 4, 5])\nf([])\n# Sorted, less one.", "induction", GOOD, n_pairs=4)
    assert info["outcome"] is Outcome.ACCEPTED


INVITED = {
    "nested functions": ("def f(x):\n    def g(y):\n        return y * 2\n    return [g(v) for v in x]", "[1, 2]"),
    "helper functions": ("def g(y):\n    return y + 1\n\ndef f(x):\n    return g(g(x))", "3"),
    "classes": ("class A:\n    def __init__(self, n):\n        self.n = n\n\ndef f(x):\n    return A(x).n + 1", "3"),
    "comments": ("# doubles\ndef f(x):\n    # here\n    return 2 * x  # so", "4"),
    "docstrings": ('def f(x):\n    """Doubles."""\n    return 2 * x', "4"),
    "imports": ("import math\nfrom collections import Counter\n\ndef f(x):\n    return math.gcd(*Counter(x).values())", "[1, 1]"),
    "multi-line inputs": (GOOD, "[\n  3,\n  1,\n  2,\n]"),
    "inf and nan": ("def f(x):\n    return [v == v for v in x]", "[inf, -inf, nan]"),
    "inf as an output": ("def f(x):\n    return x * 1e308 * 10", "2.5"),
    "several arguments": ("def f(a, b=2, *, c=3):\n    return a + b * c", "1, 5"),
    "input( and print( in texts": ("def f(x):\n    return x + 'print(input())'", "'print('"),
    "Assistant: in texts": ("def f(x):\n    return x.split('Assistant:')", "'User: a Assistant: b'"),
    "a generator inside": ("def f(n):\n    def g():\n        for i in range(n):\n            yield i * i\n    return sum(g())", "4"),
    "printing": ("def f(x):\n    print('hello', x)\n    return -x", "4"),
    "sets, tuples, dicts": ("def f(s, t, d):\n    return {k: (v in s, t) for k, v in d.items()}", "{1, 2}, (3,), {'a': 1}"),
    "None": ("def f(x):\n    return None if x else [x, x]", "1"),
    "deep recursion of its own": ("def f(n):\n    return 1 if n < 2 else n * f(n - 1)", "20"),
}  # fmt: skip


@pytest.mark.parametrize("mode", ["deduction", "abduction"])
@pytest.mark.parametrize("what", INVITED)
def test_what_the_prompt_invites_is_accepted(propose: Any, what: str, mode: str) -> None:
    program, given = INVITED[what]
    assert not held_out(program), "choose another example"
    for text in (fenced(program, given), f"Sure! Here it is:\n\n{fenced(program, given)}\n\nHope it helps."):
        info = propose(text, mode)
        assert info["outcome"] is Outcome.ACCEPTED, info["reason"]
    code = f"{program}\nf({given})"
    assert propose(code, mode)["outcome"] is Outcome.ACCEPTED
    assert propose(f"<think>hm</think>\n<answer>\n{code}\n</answer>", mode)["outcome"] is Outcome.ACCEPTED


REFUSED = {
    "": Refusal.NO_PROGRAM,
    "I would rather not.": Refusal.NO_PROGRAM,
    "<think>def f(x): return x": Refusal.NO_PROGRAM,
    fenced(GOOD): Refusal.NO_INPUT,
    fenced(GOOD, "[1]") + "\n" + fenced("def f(x):\n    return x + x", "[1]"): Refusal.CONTRADICTION,
    fenced("def f(x)\n    return x", "1"): Refusal.SYNTAX,
    fenced("def f(x):\n    return (" + "(" * 300 + ")" * 300 + ")", "1"): Refusal.SYNTAX,
    fenced("def g(x):\n    return x + 1", "1"): Refusal.NO_ENTRY,
    fenced("import os\ndef f(x):\n    return os.getpid() + x", "1"): Refusal.FORBIDDEN,
    fenced("def f(x):\n    return x.__class__.__name__", "1"): Refusal.FORBIDDEN,
    fenced("import random\ndef f(x):\n    return random.random() + x", "1"): Refusal.FORBIDDEN,
    fenced("import time\ndef f(x):\n    return time.time() > x", "1"): Refusal.FORBIDDEN,
    fenced("def f(x):\n    return eval(x)", "'1'"): Refusal.FORBIDDEN,
    fenced("def f(x):\n    return x + " + "1 + " * 1500 + "1", "1"): Refusal.TOO_LONG,
    fenced(GOOD, "[" + "1, " * 2000 + "]"): Refusal.TOO_LONG,
    fenced("def f(x):\n    return 'a' * x", "1001"): Refusal.TOO_LONG,
    fenced("def f(x):\n    return 'a' * x", "10**9"): Refusal.NOT_PLAIN_DATA,
    fenced("def f(x):\n    return 'a' * x", "100000"): Refusal.TOO_LONG,
    fenced(GOOD, "range(3)"): Refusal.NOT_PLAIN_DATA,
    fenced(GOOD, "__import__('os').getpid()"): Refusal.NOT_PLAIN_DATA,
    fenced(GOOD, "[1], [2]"): Refusal.WRONG_COUNT,
    fenced("def f(x):\n    return x", "4"): Refusal.IDENTITY,
    fenced("def f(x):\n    return [lambda: x, 1]", "1"): Refusal.NOT_PLAIN_DATA,
    fenced("class A:\n    pass\ndef f(x):\n    return [A(), x]", "1"): Refusal.NOT_PLAIN_DATA,
    fenced(GOOD, "[1]", "[2]"): Refusal.WRONG_COUNT,
    fenced("def f(x, y):\n    return x + x", "1, 2"): Refusal.UNUSED_ARGUMENT,
    fenced("def f(x, y):\n    z = y\n    return x + 1", "1, 2"): Refusal.UNUSED_ARGUMENT,
    fenced("def f(x):\n    return 5", "1"): Refusal.CONSTANT,
    fenced("def f(x):\n    x = 3\n    y = x\n    return [1, 2]", "1"): Refusal.CONSTANT,
    fenced("def f():\n    return 5", ""): Refusal.CONSTANT,
    fenced("def f(x):\n    while x: pass", "1"): Refusal.CONSTANT,
    fenced("def f(x):\n    return sorted(x, reverse=True)", "[3, 2, 1]"): Refusal.IDENTITY,
    fenced("def f(x):\n    return x[7] + 1", "[1]"): Refusal.RUNS_NOT,
    fenced("def f(x):\n    while x: x = 1\n    return x", "1"): Refusal.RUNS_NOT,
    fenced("def f(x):\n    return len('a' * (400 << 20)) + x", "1"): Refusal.RUNS_NOT,
    fenced("def f(x):\n    return hash(str(x))", "'a'"): Refusal.FORBIDDEN,
    fenced("def f(x):\n    return str(object()) + x", "'a'"): Refusal.NONDETERMINISTIC,
    fenced("def f(x):\n    return list({'a' * n for n in range(x)})", "12"): Refusal.NONDETERMINISTIC,
    fenced("seen = []\ndef f(x):\n    seen.append(x)\n    return len(seen) + x", "1"): Refusal.NONDETERMINISTIC,
    fenced("def f(x):\n    n = 0\n    for i in range(12_000_000 + x):\n        n += i\n    return n", "1"): Refusal.NEAR_LIMIT,
    fenced("def f(x):\n    return len(bytearray(120 << 20)) + x", "1"): Refusal.NEAR_LIMIT,
}  # fmt: skip


@pytest.mark.parametrize(("text", "refusal"), REFUSED.items(), ids=[f"{r}-{n}" for n, r in enumerate(REFUSED.values())])
def test_what_can_not_be_a_task_is_refused_by_name(propose: Any, text: str, refusal: Refusal) -> None:
    info = propose(text, "abduction", reward="azr")
    assert info.get("refusal") is refusal, info
    assert info["outcome"] is (Outcome.MALFORMED if refusal in MALFORMED else Outcome.REFUSED)
    assert info["reason"]
    assert info["task"] is None


def inputs(*numbers: int) -> list[str]:
    return [f"[{n}, {n + 1}]" for n in numbers]


REFUSED_INDUCTION = {
    "nothing": ("", Refusal.NO_INPUT),
    "no message": (fenced("", *inputs(*range(10))), Refusal.NO_MESSAGE),
    "nine inputs": (fenced("", *inputs(*range(9)), message="m"), Refusal.WRONG_COUNT),
    "a long message": (fenced("", *inputs(*range(10)), message="m" * 501), Refusal.TOO_LONG),
    "a hidden pair that is shown": (fenced("", *inputs(*range(9), 0), message="m"), Refusal.HIDDEN_EQUALS_SHOWN),
    "the program as message": (fenced("", *inputs(*range(10)), message=GOOD), Refusal.MESSAGE_CONTAINS_PROGRAM),
    "its line as message": (
        fenced("", *inputs(*range(10)), message="it gives sorted( x )[1:] of it"), Refusal.MESSAGE_CONTAINS_PROGRAM,
    ),
    "hidden pairs as message": (
        fenced("", *inputs(*range(10)), message="[7, 8] gives [8] and [9, 10] gives [10]"),
        Refusal.MESSAGE_CONTAINS_PAIRS,
    ),
    "control characters": (fenced("", *inputs(*range(10)), message="d\u200bef"), Refusal.FORBIDDEN),
    "an empty message": (fenced("", *inputs(*range(10)), message=" "), Refusal.NO_MESSAGE),
    "a repeated input": (fenced("", *inputs(0, 0, *range(2, 10)), message="m"), Refusal.REPEATED_INPUT),
    "the expression as message": (
        fenced("", *inputs(*range(10)), message="f(x) = sorted(x)[1:]"), Refusal.MESSAGE_CONTAINS_PROGRAM,
    ),
    "constant hidden outputs": (
        fenced("", *inputs(*range(5)), *(f"[{n}]" for n in range(5)), message="m"), Refusal.CONSTANT,
    ),
    "constant outputs": (fenced("", *(f"[{n}]" for n in range(10)), message="m"), Refusal.CONSTANT),
    "inputs on which it fails": (fenced("", *map(str, range(10)), message="m"), Refusal.RUNS_NOT),
    "expressions": (fenced("", *(f"list(range({n}))" for n in range(10)), message="m"), Refusal.NOT_PLAIN_DATA),
}  # fmt: skip


@pytest.mark.parametrize("what", REFUSED_INDUCTION)
def test_induction_proposals_are_refused_by_name(propose: Any, what: str) -> None:
    text, refusal = REFUSED_INDUCTION[what]
    assert propose(text, "induction", GOOD)["refusal"] is refusal


def test_an_identity_is_empty_for_induction_too(propose: Any) -> None:
    text = fenced("", *(f"[{n}]" for n in range(10)), message="m")
    assert propose(text, "induction", "def f(x):\n    return x[:]")["refusal"] is Refusal.IDENTITY


def test_every_refusal_has_a_test() -> None:
    tested = set(REFUSED.values()) | {refusal for _, refusal in REFUSED_INDUCTION.values()}
    assert set(Refusal) - tested == {Refusal.HELD_OUT, Refusal.DUPLICATE}


def test_programs_that_are_kept_aside_are_refused(propose: Any) -> None:
    program = next(p for n in range(99) if held_out(p := f"def f(x):\n    return {'-' * n}x + 1"))
    assert propose(fenced(program, "3"))["refusal"] is Refusal.HELD_OUT


def test_hello_world_is_exempt_from_the_refusals_of_empty_tasks(propose: Any) -> None:
    task = hello_world()
    info = propose(fenced(task.program, task.arguments))
    assert info["task"] == task


def test_a_duplicate_is_what_the_pool_held_at_reset_whatever_its_names_and_layout(any_runner: Runner) -> None:
    pool = TaskPool([Triplet.of("deduction", GOOD, ([3, 1],), [3])])
    env = gym.make("CodeTriplet-v0", role="propose", runner=any_runner, pool=pool)
    env.reset(seed=0)
    same = "def f(items):\n    # the rest\n    return sorted(items)[ 1 : ]"
    assert env.step(fenced(same, "[3,1]"))[4]["refusal"] is Refusal.DUPLICATE
    env.reset()
    accepted = env.step(fenced(same, "[3, 2]"))[4]["task"]
    assert len(pool) == 1, "an environment never writes to a pool"
    env.reset()
    assert pool.add(accepted)
    assert env.step(fenced(same, "[3, 2]"))[4]["outcome"] is Outcome.ACCEPTED, "it came after the reset"
    env.reset()
    assert env.step(fenced(same, "[3, 2]"))[4]["refusal"] is Refusal.DUPLICATE


def test_two_equal_proposals_in_one_vector_step_are_both_accepted(any_runner: Runner) -> None:
    pool: TaskPool[Any] = TaskPool()
    envs: Any = gym.make_vec("CodeTriplet-v0", 2, role="propose", runner=any_runner, pool=pool)
    envs.reset(seed=0)
    infos = envs.step([fenced(GOOD, "[3, 1]")] * 2)[4]["final_info"]
    assert infos["outcome"].tolist() == [Outcome.ACCEPTED] * 2
    assert [pool.add(task) for task in infos["task"]] == [True, False]


def test_novelty_is_the_share_of_structure_that_the_pool_has_not(any_runner: Runner) -> None:
    pool: TaskPool[Any] = TaskPool([Triplet.of("deduction", GOOD, ([3, 1],), [3])])
    env = gym.make("CodeTriplet-v0", role="propose", runner=any_runner, pool=pool)
    env.reset(seed=0)
    assert env.step(fenced(GOOD, "[5, 1]"))[4]["metrics"]["novelty"] == 0.0
    env.reset()
    other = "def f(d):\n    return {k: v * 2 for k, v in d.items() if v}"
    assert env.step(fenced(other, "{'a': 1}"))[4]["metrics"]["novelty"] > 0.5


def test_the_references_are_the_pools_and_as_many_as_asked(any_runner: Runner) -> None:
    tasks = [Triplet.of("deduction", GOOD, ([n, 1, 2],), sorted([n, 1, 2])[1:]) for n in range(40)]
    env: Any = gym.make("CodeTriplet-v0", role="propose", runner=any_runner, pool=TaskPool(tasks), n_references=5)
    prompt, _ = env.reset(seed=0)
    assert 3 <= prompt.count(GOOD) <= 5
    assert isinstance(env.unwrapped.episode.brief, Brief)
    prompt, _ = env.reset(options={"references": tasks[:2]})
    assert prompt.count(GOOD) == 2
    with pytest.raises(azr_gym.BadTask):
        env.reset(options={"references": ["def f(x): return x"]})


@pytest.mark.parametrize(
    "message",
    [
        "Sorts the list, then returns all but the first.",
        "returns x",
        "f is a function of a list",
        "def",
        "lambda calculus",
    ],
)
def test_messages_in_words_do_not_count_as_code(message: str) -> None:
    assert not contains_program(message, GOOD)


@pytest.mark.parametrize(
    "message",
    [
        "def f(x): return 1",
        "it is lambda x: x",
        "```\nx\n```",
        "return sorted(x)",
        "sorted (x)[1:]",
        "use\nsorted(x)[ 1: ]",
    ],
)
def test_messages_that_give_code_are_seen(message: str) -> None:
    assert contains_program(message, GOOD)


def test_an_integer_that_python_refuses_to_print_can_stand_in_a_program(any_runner: Runner) -> None:
    program = f"def f(x):\n    return x & 0x{'f' * 3900}"
    env: Any = gym.make("CodeTriplet-v0", role="propose", mode="induction", runner=any_runner)
    env.reset(seed=0, options={"program": program})
    inputs = "\n".join(f"f({n})" for n in range(10))
    assert env.step(f"{inputs}\n# Nothing changes.")[4]["refusal"] is Refusal.IDENTITY


def test_a_program_with_fences_in_it_is_shown_in_longer_ones(any_runner: Runner) -> None:
    program = "def f(x):\n    return x.split('```')"
    env: Any = gym.make("CodeTriplet-v0", role="propose", runner=any_runner)
    env.reset(seed=0)
    info = env.step(f"````python\n{program}\n````\n```input\n'a```b'\n```")[4]
    assert info["task"].output == "['a', 'b']"
    solver: Any = gym.make("CodeTriplet-v0", mode="induction", runner=any_runner)
    pairs = [((f"{n}```",), [str(n), ""]) for n in range(10)]
    prompt, _ = solver.reset(options={"task": InductionTask.of(program, pairs)})
    assert "````python\nf('0```')" in prompt
    assert solver.step(solver.unwrapped.oracle())[1] == 1.0


def test_comments_and_docstrings_are_dropped_and_what_is_left_does_the_same(propose: Any) -> None:
    program = (
        '# answer: 8\ndef f(a):\n    """It is 8.\n\n    Really.\n    """\n    b = a * 2  # 8\n\n    # so 8\n'
        "    text = '# not a comment'\n    return [b, text]"
    )
    info = propose(fenced(program, "4"))
    assert info["task"].program == "def f(a):\n    b = a * 2\n\n    text = '# not a comment'\n    return [b, text]"
    assert info["task"].output == "[8, '# not a comment']"


@pytest.mark.parametrize(
    "program",
    [
        "f = lambda x: 5",
        "class f:\n    def __new__(cls, x):\n        return 5",
        "def f(x):\n    return x * 2\nf = lambda x: 5",
        "def d(g):\n    return lambda x: 5\n@d\ndef f(x):\n    return x * 2",
        "if True:\n    def f(x):\n        return 5",
        "def f(x):\n    return x * 2\ndef g():\n    global f\n    f = 5",
        "from math import sqrt as f",
        "async def f(x):\n    return x * 2",
    ],
)
def test_an_entry_that_is_not_one_plain_function_is_refused(propose: Any, program: str) -> None:
    assert propose(fenced(program, "4"))["refusal"] is Refusal.NO_ENTRY


@pytest.mark.parametrize("extra", ["pass", "return 3\n    y = 5", "return 3"])
def test_dead_code_and_unused_helpers_make_no_new_task(extra: str) -> None:
    from azr_gym.code.normal import form

    plain = form("def f(x):\n    return x + 1")
    assert form(f"import math\nK = 3\ndef g(y):\n    return y\ndef f(x):\n    return x + 1\n    {extra}") == plain


def test_the_same_inputs_in_another_order_are_the_same_task() -> None:
    pairs = [((n,), n + 1) for n in range(10)]
    program = "def f(x):\n    return x + 1"
    assert InductionTask.of(program, pairs).key == InductionTask.of(program, pairs[::-1]).key


def test_a_copied_reference_is_a_duplicate_without_a_pool_too(any_runner: Runner) -> None:
    env: Any = gym.make("CodeTriplet-v0", role="propose", runner=any_runner)
    env.reset(seed=0)
    task = env.unwrapped.episode.brief.references[2]
    assert env.step(fenced(task.program, task.arguments))[4]["refusal"] is Refusal.DUPLICATE
