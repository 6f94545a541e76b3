"""The generator of programs: well typed, never failing, in their split, and what they give is what the box says."""

from __future__ import annotations

import ast
import contextlib
import hashlib
import io
import itertools
import keyword
import os
import subprocess
import sys
import tokenize
from collections import Counter
from collections.abc import Iterable
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
from azr_gym.code.generate import LEVELS, MAX_CHARS, MAX_INPUTS, Sample, Split, fits, sample
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
found = [sample(rng, level=level, split=split, n_inputs=3, operations=number % 2 == 0)
         for level in LEVELS for split in ("train", "test", "ood") for number in range(30)]
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
        sample(rng, level=level, split=split, n_inputs=3, operations=number % 2 == 0)
        for level in LEVELS
        for split in SPLITS
        for number in range(30)
    ]
    assert marks == {hashlib.sha256(repr(found).encode()).hexdigest().encode() + b"\n"}


# --- what is computed on the way --------------------------------------------------------------------------------
Steps = list[tuple[str, str]]  # what, and its value's text


def told(found: Sample) -> Steps:
    return [(plain(text), repr(value)) for text, value in found.trace]


def plain(text: str) -> str:
    """A step's text as Python would write it."""
    return text if text in ("return", "a, b") else ast.unparse(ast.parse(text, mode="eval"))


def once(steps: Steps) -> Steps:
    """The steps, none of them the same as the one before it."""
    return [step for step, _ in itertools.groupby(steps)]


def come_in_order(steps: Steps, among: Steps) -> bool:
    rest = iter(among)
    return all(step in rest for step in steps)


class Telling(ast.NodeTransformer):
    """Rewrites a program so that it tells of every expression and every assignment, as Python computes them."""

    def __init__(self, targets: list[str]) -> None:
        self.targets = targets  # of the statements, as far as they are reached

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.FunctionDef:
        if node.name == "f":
            body = list(zip(node.body, [*self.targets, *[""] * len(node.body)], strict=False))
            node.body = [line for statement, target in body for line in self.tell(statement, target)]
        return node

    def tell(self, statement: ast.stmt, target: str) -> list[ast.stmt]:
        """The statement, then its variable; after each round too, where it is a loop."""
        note = ast.parse(f"tell({target!r}, ({target}))").body if target not in ("", "return") else []
        if isinstance(statement, ast.For):
            inner = statement
            while isinstance(inner.body[0], ast.For):
                inner = inner.body[0]
            inner.body += note
        return [self.visit(statement), *note]

    def visit_Return(self, node: ast.Return) -> ast.Return:
        assert node.value is not None
        node.value = _call("return", self.visit(node.value))
        return node

    def visit(self, node: ast.AST) -> Any:
        if isinstance(node, ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp):
            text = ast.unparse(node)
            node.generators[0].iter = self.visit(node.generators[0].iter)  # computed once, and the rest in each round
            return _call(text, node)
        if not isinstance(node, ast.expr) or isinstance(node, ast.Name | ast.Constant | ast.Slice | ast.Starred):
            return super().visit(node)
        if isinstance(getattr(node, "ctx", None), ast.Store):
            return node
        text = ast.unparse(node)
        if text.startswith("sum(") and isinstance(node, ast.Call) and len(node.args) == 1:
            return _call(
                text, ast.Call(ast.Name("summed", ast.Load()), [ast.Constant(text), *map(self.visit, node.args)], [])
            )
        if isinstance(node, ast.BoolOp) and len(node.values) > 2:  # a or b or c: a or b comes first
            node.values = [ast.BoolOp(node.op, node.values[:-1]), node.values[-1]]
        return _call(text, super().visit(node))


def _call(text: str, value: ast.expr) -> ast.expr:
    return ast.Call(ast.Name("tell", ast.Load()), [ast.Constant(text), value], [])


def really(source: str, arguments: tuple[object, ...], targets: list[str]) -> Steps:
    """What Python itself computes on the way, in its order. Generated programs are trusted here."""
    log: Steps = []

    def tell(text: str, value: Any) -> Any:
        with contextlib.suppress(TypeError):  # neither a type of the generator's, nor a value that it could tell
            if type(value) in (bool, int, str, list, tuple, dict) and fits(value):
                log.append((text, repr(value)))
        return value

    def summed(text: str, items: Iterable[int]) -> int:
        terms = list(items)
        tell("accumulate" + text.removeprefix("sum"), list(itertools.accumulate(terms)))
        return sum(terms)

    scope: dict[str, Any] = {"tell": tell, "summed": summed}
    exec(compile(ast.fix_missing_locations(Telling(targets).visit(ast.parse(source))), "f", "exec"), scope)
    scope["f"](*arguments)
    return log


@given(seeds, levels, splits, st.integers(1, 5))
def test_telling_operations_changes_nothing_else(seed: int, level: int, split: Split, n_inputs: int) -> None:
    a, b = np.random.default_rng(seed), np.random.default_rng(seed)
    brief = sample(a, level=level, split=split, n_inputs=n_inputs)
    full = sample(b, level=level, split=split, n_inputs=n_inputs, operations=True)
    assert a.bit_generator.state == b.bit_generator.state
    for what in ("source", "inputs", "outputs"):
        assert repr(getattr(brief, what)) == repr(getattr(full, what))
    assert come_in_order(once(told(brief)), told(full))
    assert told(brief)[-1] == told(full)[-1]


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("level", LEVELS)
def test_every_step_is_what_python_computes_at_that_moment(level: int, split: Split) -> None:
    plain_rng, rng = (np.random.default_rng(level) for _ in range(2))
    for _ in range(60):
        brief = sample(plain_rng, level=level, split=split)
        found = sample(rng, level=level, split=split, operations=True)
        targets = [name for name, _ in brief.trace]
        happened = really(found.source, found.inputs[0], targets)
        assert come_in_order(told(found), happened), found.source
        assignments = [[step for step in steps if step[0] in targets] for steps in (told(found), happened)]
        assert once(assignments[0]) == once(assignments[1]), "every assignment is told, and of a loop every round"


@given(seeds, levels, splits)
def test_no_step_repeats_its_neighbour_and_every_value_is_short(seed: int, level: int, split: Split) -> None:
    found = draw(seed, level=level, split=split, operations=True)
    assert told(found) == once(told(found))
    assert all(fits(value) for _, value in found.trace)


def test_what_only_changes_the_order_of_a_dict_is_told() -> None:
    found = (step for one in many(1500, level=3, operations=True) for step in itertools.pairwise(one.trace))
    assert any(before == after and repr(before) != repr(after) for before, after in found)


def test_every_condition_that_is_looked_at_is_told() -> None:
    count = 0
    for split in SPLITS:
        for found in many(250, level=4, split=split, operations=True):
            body = entry(found.source).body
            tests = [
                node.test
                for line in body
                if isinstance(line, ast.If)
                for node in ast.walk(line)
                if isinstance(node, ast.If)
            ]
            conditions = {ast.unparse(test) for test in tests if not isinstance(test, ast.Name)}
            happened = {text for text, _ in really(found.source, found.inputs[0], [])}
            assert conditions & happened <= {text for text, _ in told(found)}, found.source
            count += len(conditions & happened)
    assert count > 200


def test_operations_within_a_statement_are_told() -> None:
    found = many(300, level=1, operations=True)
    texts = [(plain(text).replace("accumulate(", "sum("), one.source) for one in found for text, _ in one.trace]
    assert all(text in ast.unparse(entry(source).body[-1]) for text, source in texts)
    assert sum(len(one.trace) > 1 for one in found) > 150, "most programs of level 1 have two operations"


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
