"""The generator of programs: well typed, never failing, in their split, and what they give is what the box says."""

from __future__ import annotations

import ast
import hashlib
import io
import itertools
import keyword
import os
import subprocess
import sys
import tokenize
from collections import Counter
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from azr_gym.code import dice as dice_module
from azr_gym.code import draft as draft_module
from azr_gym.code import expression, generate, grammar
from azr_gym.code.dice import Dice
from azr_gym.code.draft import Draft
from azr_gym.code.expression import DeadEnd, call_of
from azr_gym.code.generate import LEVELS, MAX_CHARS, MAX_INPUTS, Sample, Split, sample
from azr_gym.code.normal import form, held_out
from azr_gym.errors import BadArgument
from azr_sandbox import Program, Runner, RunStatus
from azr_sandbox.values import canonical, equal, parse, render

SPLITS = get_args(Split)
seeds = st.integers(0, 2**32 - 1)
levels = st.sampled_from(LEVELS)
splits = st.sampled_from(SPLITS)


def draw(seed: int, **options: Any) -> Sample:
    return sample(np.random.default_rng(seed), **options)


def many(count: int, seed: int = 0, **options: Any) -> list[Sample]:
    rng = np.random.default_rng(seed)
    return [sample(rng, **options) for _ in range(count)]


def entry(source: str) -> ast.FunctionDef:
    return next(node for node in ast.parse(source).body if isinstance(node, ast.FunctionDef) and node.name == "f")


# --- a sample is what it says -----------------------------------------------------------------------------------
@given(seeds, levels, splits, st.integers(1, 12))
def test_a_sample_is_complete(seed: int, level: int, split: Split, n_inputs: int) -> None:
    found = draw(seed, level=level, split=split, n_inputs=n_inputs)
    function = entry(found.source)
    assert len(found.inputs) == len(found.outputs) == n_inputs
    assert len({canonical(arguments) for arguments in found.inputs}) == n_inputs
    assert all(len(arguments) == len(function.args.args) for arguments in found.inputs)
    assert not found.source.endswith("\n")
    name, value = found.trace[-1]
    assert name == "return"
    assert equal(value, found.outputs[0])
    assert max(map(len, found.source.split("\n"))) <= 100
    if split != "ood":
        assert len(function.body) == level
        assert len(found.trace) <= level


@given(seeds, levels, splits)
def test_values_are_short_plain_data(seed: int, level: int, split: Split) -> None:
    found = draw(seed, level=level, split=split, n_inputs=4)
    for value in (
        *(one for call in found.inputs for one in call),
        *found.outputs,
        *(value for _, value in found.trace),
    ):
        text = render(value)
        assert len(text) <= MAX_CHARS
        assert equal(parse(text), value)
        for part in _parts(value):
            if type(part) is int:
                assert abs(part) < 10_000
            elif type(part) is str:
                assert len(part) <= 16
            elif type(part) is not bool:
                assert len(part) <= 10


def _parts(value: Any) -> list[Any]:
    inside = [*value, *value.values()] if type(value) is dict else value if type(value) in (list, tuple) else []
    return [value, *(part for one in inside for part in _parts(one))]


@given(seeds, levels, splits)
def test_every_parameter_reaches_the_result(seed: int, level: int, split: Split) -> None:
    function = entry(draw(seed, level=level, split=split).source)
    assert {argument.arg for argument in function.args.args} <= _needed(function.body, set())


def _needed(body: list[ast.stmt], after: set[str]) -> set[str]:
    """The variables that a block needs, where `after` are needed when it has run: what else is assigned is dropped."""
    needed = set(after)
    for statement in reversed(body):
        reads = {node.id for node in ast.walk(statement) if isinstance(node, ast.Name) and type(node.ctx) is ast.Load}
        writes = {node.id for node in ast.walk(statement) if isinstance(node, ast.Name) and type(node.ctx) is ast.Store}
        if isinstance(statement, ast.Return):
            needed = reads
        elif isinstance(statement, ast.Assign):
            targets = {
                node.id for target in statement.targets for node in ast.walk(target) if isinstance(node, ast.Name)
            }
            if targets & needed:
                needed = needed - targets | reads
        elif writes & needed or any(isinstance(node, ast.Return | ast.Call) for node in ast.walk(statement)):
            needed = needed | reads
    return needed


@given(seeds, levels, splits, st.integers(1, 10))
def test_nothing_is_trivial(seed: int, level: int, split: Split, n_inputs: int) -> None:
    found = draw(seed, level=level, split=split, n_inputs=n_inputs)
    assert len(found.inputs[0]) > 1 or not equal(found.inputs[0][0], found.outputs[0])
    if n_inputs >= 3:
        assert len({canonical(output) for output in found.outputs}) > 1


def test_mostly_no_output_is_more_than_half() -> None:
    for level in LEVELS:
        found = many(200, level=level, n_inputs=10)
        most = [max(Counter(map(canonical, one.outputs)).values()) for one in found]
        assert sum(count <= 5 for count in most) >= 160


@given(seeds, levels, splits)
def test_no_brackets_are_idle(seed: int, level: int, split: Split) -> None:
    source = draw(seed, level=level, split=split).source
    tree, opened = ast.dump(ast.parse(source)), []
    for place, char in enumerate(source):
        if char == "(":
            opened.append(place)
        elif char == ")":
            start = opened.pop()
            before, inside, after = source[:start], source[start + 1 : place], source[place + 1 :]
            try:
                kind = type(ast.parse(inside or "()", mode="eval").body)
                if kind is not ast.Tuple and not (kind is ast.IfExp and before.endswith(" in ")):
                    assert ast.dump(ast.parse(before + inside + after)) != tree, source
            except SyntaxError:
                continue


# --- chance -----------------------------------------------------------------------------------------------------
@given(seeds, levels, splits, st.integers(1, 5))
def test_the_same_state_gives_the_same_sample(seed: int, level: int, split: Split, n_inputs: int) -> None:
    a, b = np.random.default_rng(seed), np.random.default_rng(seed)
    for _ in range(3):
        one, other = (sample(rng, level=level, split=split, n_inputs=n_inputs) for rng in (a, b))
        assert repr(one) == repr(other)
        assert a.bit_generator.state == b.bit_generator.state


PRINTED = """
import hashlib, numpy as np
from azr_gym.code.generate import LEVELS, sample
rng = np.random.default_rng(5)
found = [sample(rng, level=level, split=split, n_inputs=3) for level in LEVELS for split in ("train", "test", "ood")
         for _ in range(30)]
print(hashlib.sha256(repr(found).encode()).hexdigest())
"""


def test_the_same_sample_in_every_process() -> None:
    marks = {
        subprocess.run(
            [sys.executable, "-c", PRINTED], env={**os.environ, "PYTHONHASHSEED": hash_seed},
            capture_output=True, check=True,
        ).stdout
        for hash_seed in ("1", "2")
    }  # fmt: skip
    rng = np.random.default_rng(5)
    found = [
        sample(rng, level=level, split=split, n_inputs=3) for level in LEVELS for split in SPLITS for _ in range(30)
    ]
    assert marks == {hashlib.sha256(repr(found).encode()).hexdigest().encode() + b"\n"}


# --- splits -----------------------------------------------------------------------------------------------------
def structures(source: str) -> set[str]:
    """What only `split="ood"` may hold."""
    function, found = entry(source), set()
    if len(ast.parse(source).body) > 1 or any(
        isinstance(node, ast.FunctionDef) and node is not function for node in ast.walk(function)
    ):
        found.add("a helper function")
    if len(function.body) > max(LEVELS):
        found.add("many statements")
    for node in ast.walk(function):
        if isinstance(node, ast.While):
            found.add("while")
        elif isinstance(node, ast.For):
            inside = [inner for line in node.body for inner in ast.walk(line)]
            found |= {"if inside for"} if any(isinstance(inner, ast.If) for inner in inside) else set()
            found |= {"for inside for"} if any(isinstance(inner, ast.For) for inner in inside) else set()
        elif isinstance(node, ast.If):
            found |= {"if with two lines"} if len(node.body) > 1 or len(node.orelse) > 1 else set()
            found |= {"elif"} if any(isinstance(inner, ast.If) for inner in node.orelse) else set()
    found |= {"a kept variable"} if _keeps(function.body) else set()
    return found


def _keeps(body: list[ast.stmt]) -> bool:
    """Whether a variable is read after another statement computed something else. An empty start computes nothing."""
    fresh: dict[str, int] = {}  # variable: statements since it was assigned
    for statement in body:
        loads = {node.id for node in ast.walk(statement) if isinstance(node, ast.Name) and type(node.ctx) is ast.Load}
        stores = {node.id for node in ast.walk(statement) if isinstance(node, ast.Name) and type(node.ctx) is ast.Store}
        bound = {
            node.id for inner in ast.walk(statement) if isinstance(inner, ast.comprehension)
            for node in ast.walk(inner.target) if isinstance(node, ast.Name)
        }  # fmt: skip
        mutated = {
            node.value.id for node in ast.walk(statement)
            if isinstance(node, ast.Attribute) and node.attr == "append" and isinstance(node.value, ast.Name)
        } | {
            node.value.id for node in ast.walk(statement)
            if isinstance(node, ast.Subscript) and type(node.ctx) is ast.Store and isinstance(node.value, ast.Name)
        }  # fmt: skip
        if any(fresh.get(name, 0) > 0 for name in loads - bound):
            return True
        is_start = isinstance(statement, ast.Assign) and ast.unparse(statement.value) in ("0", "''", "[]", "{}")
        is_guard = isinstance(statement, ast.If) and isinstance(statement.body[0], ast.Return)
        if not is_start and not is_guard:
            fresh = {name: age + 1 for name, age in fresh.items()}
        fresh |= dict.fromkeys((stores - bound) | mutated, 0)
    return False


def test_train_and_test_never_meet() -> None:
    for level in LEVELS:
        for split, wanted in (("train", False), ("test", True)):
            for found in many(80, level=level, split=split):
                assert held_out(found.source) is wanted
                assert not structures(found.source), found.source


def test_every_ood_program_has_a_structure_of_its_own() -> None:
    seen: Counter[str] = Counter()
    for level in LEVELS:
        for found in many(150, level=level, split="ood"):
            own = structures(found.source)
            assert own, found.source
            seen.update(own)
    assert len(seen) == 8
    assert min(seen.values()) > 15


def test_a_program_brings_its_own_skeleton_along() -> None:
    for level in LEVELS:
        dice = Dice(np.random.default_rng(level))
        for _ in range(300):
            try:
                program = Draft(dice, level).write(level).program()
            except DeadEnd:
                continue
            before, after = grammar.around(grammar.PARAMETERS[: len(program.parameters)])
            inside = grammar.SEPARATOR.join(statement.skeleton for statement in program.statements)
            assert (before + inside + after).replace(grammar.SEPARATOR, " ") == form(program.source).skeleton


def test_ood_needs_few_words_of_its_own() -> None:
    words = {
        split: {
            token.string
            for level in LEVELS
            for found in many(1000 if split == "train" else 200, level=level, split=split)
            for token in tokenize.generate_tokens(io.StringIO(found.source).readline)
            if token.type in (tokenize.NAME, tokenize.OP)
        }
        for split in ("train", "ood")
    }
    assert words["ood"] - words["train"] <= {"while", "elif", "g"}
    assert not {word for word in words["train"] if keyword.iskeyword(word)} & {"while", "lambda", "import", "try"}


# --- levels and variety -----------------------------------------------------------------------------------------
def test_levels_grow() -> None:
    nodes, kinds = [], []
    for level in LEVELS:
        trees = [ast.parse(found.source) for found in many(300, level=level)]
        nodes.append(sum(len(list(ast.walk(tree))) for tree in trees))
        kinds.append({type(node) for tree in trees for node in ast.walk(tree)})
    assert nodes == sorted(nodes)
    assert ast.If not in kinds[0]
    assert ast.If in kinds[1]
    assert ast.For not in kinds[1]
    assert ast.For in kinds[2]


@pytest.mark.parametrize("level", LEVELS)
def test_programs_are_many(level: int) -> None:
    """A lower bound on how many there are, from how often one comes twice (Chao 1984)."""
    count = Counter(found.source for found in many(3000, level=level))
    once, twice = (sum(times == wanted for times in count.values()) for wanted in (1, 2))
    assert len(count) >= 3000 * (0.8 if level == 1 else 0.9)
    assert len(count) + once * (once - 1) / (2 * (twice + 1)) >= (10_000 if level == 1 else 30_000)


def test_no_operation_dominates() -> None:
    for level in LEVELS:
        count = Counter(form(found.source).skeleton for found in many(600, level=level))
        assert count.most_common(1)[0][1] <= 18


# --- the box ----------------------------------------------------------------------------------------------------
def test_the_box_says_the_same(any_runner: Runner) -> None:
    found = [one for level in LEVELS for split in SPLITS for one in many(30, 1, level=level, split=split, n_inputs=6)]
    runs = any_runner.run([Program(one.source, one.inputs) for one in found], times=2)
    for one, run in zip(found, runs, strict=True):
        assert run.status is RunStatus.OK, one.source
        for call, output in zip(run.calls, one.outputs, strict=True):
            assert equal(call.value, output), one.source


ODD: dict[str, list[Any]] = {  # inputs that the generator never draws
    grammar.BOOL: [True, False],
    grammar.CHAR: ["a", " ", "é", "\x00", "ß", "\U0010ffff"],
    grammar.DICT: [{}, {"": 0}, {"b": 3, "a": 3}, {"é": -(10**9)}],
    grammar.INT: [0, 1, -1, 7, -10, 10**9, -(10**30)],
    grammar.INTS: [[], [0], [5, -5, 5], [10**9, -(10**9)], list(range(40))],
    grammar.PAIR: [(0, 0), (-3, 10**9), (7, -7)],
    grammar.ROWS: [[], [[]], [[1], [], [2, 3]], [[0, 0], [0]]],
    grammar.STR: ["", " ", "aB", "é\n", "x" * 50, "²٣ ß"],
    grammar.STRS: [[], [""], ["b", "a", "b"], ["é", "aa", " "]],
}


def test_every_operation_is_defined_on_every_input(any_runner: Runner) -> None:
    dice = Dice(np.random.default_rng(0))
    programs, wanted = [], []
    for row in grammar.PRODUCTIONS:
        for _ in range(3):
            subject = grammar.name("x", row.subject)
            needed = [slot.type for slot in row.slots if not slot.literals]
            second = dice.pick(needed or [slot.type or grammar.BOOL for slot in row.slots] or [grammar.BOOL])
            y = grammar.name("y", second)
            beside = [y if slot.type == second else dice.pick(slot.literals) for slot in row.slots]
            calls = [(x, y) for x in ODD[row.subject] for y in ODD[second]]
            text = row.template.format(subject, *beside)
            programs.append(Program(f"def f(x, y):\n    return {text}", calls))
            compute = call_of(row.function, [subject, *beside])
            wanted.append([compute({"x": x, "y": y}) for x, y in calls])
    for program, run, values in zip(programs, any_runner.run(programs), wanted, strict=True):
        assert run.status is RunStatus.OK, program.source
        for call, value in zip(run.calls, values, strict=True):
            assert equal(call.value, value), program.source


def test_programs_are_defined_on_inputs_of_other_programs(any_runner: Runner) -> None:
    """Each on every kind of input of its types, odd ones too."""
    dice = Dice(np.random.default_rng(3))
    programs: list[Program] = []
    wanted = []
    while len(programs) < 200:
        try:
            draft = Draft(dice, 5)
            program = (draft.ood() if dice.next() < 0.5 else draft.write(5)).program()
        except DeadEnd:
            continue
        calls = list(itertools.product(*(ODD[one.type] for one in program.parameters)))
        programs.append(Program(program.source, calls))
        wanted.append([program(call) for call in calls])
    for one, run, values in zip(programs, any_runner.run(programs), wanted, strict=True):
        for call, value in zip(run.calls, values, strict=True):
            assert call.status in ("ok", "output_limit"), one.source
            assert call.status != "ok" or equal(call.value, value), one.source


def test_it_runs_no_text() -> None:
    for module in (dice_module, draft_module, expression, generate, grammar):
        tree = ast.parse(Path(str(module.__file__)).read_text())
        assert not {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)} & {"eval", "exec", "compile"}


# --- mistakes ---------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "options", [{"level": 0}, {"level": 6}, {"split": "dev"}, {"n_inputs": 0}, {"n_inputs": MAX_INPUTS + 1}]
)
def test_bad_arguments_say_what_is_allowed(options: dict[str, Any]) -> None:
    with pytest.raises(BadArgument, match=r"choose one of|must be 1 to 64"):
        draw(0, **options)


@pytest.mark.parametrize("options", [{"level": True}, {"level": "2"}, {"n_inputs": 1.0}])
def test_numbers_must_be_whole(options: dict[str, Any]) -> None:
    with pytest.raises(TypeError, match="must be an int"):
        draw(0, **options)


def test_the_dice_must_be_numpys() -> None:
    with pytest.raises(TypeError, match="default_rng"):
        sample(7)  # type: ignore[arg-type]


def test_the_most_inputs() -> None:
    assert len(draw(0, n_inputs=MAX_INPUTS, level=5).inputs) == MAX_INPUTS
