"""Tasks of the code room: invariants, identity, JSON, and arguments that are data or refused."""

from __future__ import annotations

import copy
import json
import pickle
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from azr_gym.code import triplet
from azr_gym.code.normal import form
from azr_gym.code.triplet import (
    MAX_MESSAGE_CHARS,
    MAX_PROGRAM_CHARS,
    MAX_VALUE_CHARS,
    CodeTask,
    InductionTask,
    Mode,
    Triplet,
    arity,
    hello_world,
    parse_arguments,
    render_arguments,
)
from azr_gym.errors import BadTask
from azr_sandbox import NotPlainData, values

from strategies import literal_like, plain_data, small_plain_data, sources

triplet_modes = st.sampled_from([Mode.DEDUCTION, Mode.ABDUCTION])
triplets = st.builds(Triplet.of, triplet_modes, sources, st.lists(small_plain_data, max_size=3), small_plain_data)
pairs = st.lists(st.tuples(st.lists(small_plain_data, max_size=3), small_plain_data), min_size=2, max_size=6)
inductions = st.builds(InductionTask.of, sources, pairs, st.text(max_size=50))
tasks = triplets | inductions


@given(tasks)
def test_tasks_come_back_from_json(task: CodeTask) -> None:
    again = CodeTask.from_json(json.loads(json.dumps(task.to_json())))
    assert again == task
    assert (again.id, again.key, again.mode) == (task.id, task.key, task.mode)


@given(tasks)
def test_tasks_can_be_pickled_and_copied(task: CodeTask) -> None:
    assert pickle.loads(pickle.dumps(task)) == copy.deepcopy(task) == task


@given(st.lists(plain_data, max_size=4))
def test_arguments_are_read_as_they_were_written(arguments: list[object]) -> None:
    try:
        text = render_arguments(arguments)
    except NotPlainData:
        assume(False)
    assert values.equal(parse_arguments(text), tuple(arguments))
    assert values.equal(parse_arguments(f"f({text})"), tuple(arguments))
    assert values.equal(parse_arguments(f" f (\n{text},\n)\n" if text else "f()"), tuple(arguments))
    assert values.equal(parse_arguments(text, len(arguments)), tuple(arguments))


@pytest.mark.parametrize(
    ("text", "count", "found"),
    [
        ("", None, ()), ("", 0, ()), ("f()", 0, ()), ("()", 0, ()), ("()", 1, ((),)), ("1", None, (1,)), ("1,", 1, (1,)), ("1, 2", None, (1, 2)),
        ("f(1, 2)", 2, (1, 2)), ("(1, 2)", 2, (1, 2)), ("(1, 2)", 1, ((1, 2),)), ("(1, 2)", None, ((1, 2),)), ("((1, 2), 3)", 2, ((1, 2), 3)), ("((1, 2))", 2, (1, 2)),
        ("(1,)", 1, ((1,),)), ("((1, 2),)", 1, (((1, 2),),)), ("(1), (2)", 2, (1, 2)), ("f((1), (2))", 2, (1, 2)), ("'f(1)'", 1, ("f(1)",)), ("\"'\", '\"'", 2, ("'", '"')),
        ("'a, b'", 1, ("a, b",)), ("'('", 1, ("(",)), ("')'", 1, (")",)), ("'# no comment'", 1, ("# no comment",)), ("f", None, None), ("frozenset({1})", 1, (frozenset({1}),)),
        ("frozenset()", 1, (frozenset(),)), ("f(frozenset({1}), float('inf'))", 2, (frozenset({1}), float("inf"))), ("float('-inf'), -inf", 2, (float("-inf"), float("-inf"))),
        ("1, # one\n2 # two", 2, (1, 2)), ("[1,\n 2],\n 'a',\n", 2, ([1, 2], "a")), ("1, # one, two,", 1, (1,)), ("1 #", 1, (1,)), ("# nothing", 0, ()), ("f(1) # (two)", None, None),
        ("1\\\n, 2", 2, (1, 2)), ("f(1),", None, None), ("'''a\nb'''", 1, ("a\nb",)), ("{'k': [1]}, {1}, b'x', 1e3, 1+2j", 5, ({"k": [1]}, {1}, b"x", 1e3, 1 + 2j)),
    ],
)  # fmt: skip
def test_arguments_as_people_write_them(text: str, count: int | None, found: tuple[object, ...] | None) -> None:
    if found is None:
        with pytest.raises(NotPlainData):
            parse_arguments(text, count)
    else:
        assert values.equal(parse_arguments(text, count), found)


@pytest.mark.parametrize(
    "text",
    [
        "f(1), f(2)", "f(1), (2)", "f(1)(2)", "f(1) + (2)", "f(1) == (2)", "f(1) or (2)", "1), (2", "1], [2", "1][0", "1] + [2", "1]\n[2", "1); f(2", "1), f(2", "*[1]", "f(*[1])",
        "**{}", "x=1", "f(x=1)", "f(f(1))", "g(1)", "__import__('os')", "f(__import__('os').system('true'))", "x", "[x for x in ()]", "i for i in [1]", "lambda: 1", "(x := 1)",
        "f'{1}'", "1 if 1 else 2", "a.b", "...", "f(...)", "await f", "yield", ",", ",,", "1,,", ",1", "f(,)", "1 2", "1; 2", "1\n2", "(", ")", "]", "[", "f(", "f)", "f(]", "'",
        "\0", "\ud800", "1\n]#", "#]\n[", "1 #\n]", "9" * 4_001, "[" * 300, "(" * 4_000, "1," * 2_001, "f((((1", "-" * 3_000 + "1", "not 1", "1 < 2", "[][0]", "\\\n]",
    ],
    ids=lambda text: repr(text[:24]),
)  # fmt: skip
def test_what_is_no_data_is_refused(text: str) -> None:
    with pytest.raises(NotPlainData):
        parse_arguments(text)


@given(literal_like | st.text(max_size=40), st.none() | st.integers(0, 3))
def test_any_text_is_arguments_or_refused(text: str, count: int | None) -> None:
    try:
        found = parse_arguments(text, count)
    except NotPlainData:
        return
    assert type(found) is tuple
    assert count in (None, len(found))
    assert values.equal(parse_arguments(render_arguments(found)), found)


@given(literal_like)
def test_brackets_of_the_text_close_only_each_other(text: str) -> None:
    with pytest.raises(NotPlainData):
        parse_arguments(f"1], [{text}")


def test_a_number_of_arguments_is_insisted_upon() -> None:
    for text in ("1, 2", "(1, 2, 3)", "[1, 2]", "", "((1, 2), 3, 4)"):
        with pytest.raises(NotPlainData):
            parse_arguments(text, 2 if text != "1, 2" else 1)


@pytest.mark.parametrize(
    ("program", "count"),
    [
        ("def f(): pass", 0), ("def f(a, /, b): pass", 2), ("def f(*a): pass", None), ("def f(a, b=1): pass", None), ("def f(a, *, k): pass", None), ("def g(a): pass", None),
        ("f = lambda x: x", None), ("def f(a): pass\ndef f(a, b): pass", 2), ("class f: pass", None), ("async def f(a): pass", None), ("def f(", None), ("\0", None),
        ("(" * 1_000, None), ("def g():\n    def f(a): pass", None), ("", None), ("'\\d'\ndef f(x): return 1if x else'\\d'", 1),
    ],
)  # fmt: skip
def test_arity(program: str, count: int | None) -> None:
    assert arity(program) == count


@given(triplets, small_plain_data)
def test_an_id_does_not_depend_on_what_is_hidden(task: Triplet, other: object) -> None:
    hidden = values.render(other)
    if task.mode is Mode.DEDUCTION:
        assert Triplet(task.mode, task.program, task.arguments, hidden).id == task.id
    else:
        assert Triplet(task.mode, task.program, render_arguments([other]), task.output).id == task.id


@given(inductions, inductions)
def test_an_induction_id_depends_on_the_shown_pairs_and_the_message_alone(a: InductionTask, b: InductionTask) -> None:
    half = len(a.pairs) // 2
    swapped = InductionTask(b.program, a.pairs[:half] + b.pairs[:1] * (len(a.pairs) - half), a.message)
    assert swapped.id == a.id
    assert (a.id == b.id) == ((a.shown, a.message) == (b.shown, b.message))


@given(tasks, tasks)
def test_different_tasks_have_different_keys(a: CodeTask, b: CodeTask) -> None:
    if a.key == b.key:
        assert a.mode == b.mode
        assert form(a.program).key == form(b.program).key


def test_a_key_does_not_depend_on_names_or_layout() -> None:
    one = Triplet.of("deduction", "def f(x):\n    return x + 1", [2], 3)
    other = Triplet.of("deduction", "def f(number):  # adds\n    'doc'\n\n    return number+1", [2], 3)
    assert one.key == other.key
    assert one.id != other.id


@pytest.mark.parametrize(
    "other",
    [("abduction", "def f(x):\n    return x", [1, 2]), ("deduction", "def f(x):\n    return -x", [1, 2]), ("deduction", "def f(x):\n    return x", [1, 3]),
     ("deduction", "def f(x):\n    return x", [(1, 2)]), ("deduction", "def f(x):\n    return x", [1.0, 2]), ("deduction", "def f(x):\n    return x", [True, 2])],
)  # fmt: skip
def test_a_key_depends_on_mode_program_and_arguments(other: tuple[str, str, list[object]]) -> None:
    assert Triplet.of(*other, 0).key != Triplet.of("deduction", "def f(x):\n    return x", [1, 2], 0).key


def test_a_key_does_not_depend_on_the_output() -> None:
    assert (
        Triplet.of("deduction", "def f(x): return x", [1], 1).key
        == Triplet.of("deduction", "def f(x): return x", [1], 2).key
    )


def test_the_order_of_a_dict_or_set_is_no_part_of_the_key() -> None:
    one, other = (Triplet.of("deduction", "def f(x): return x", [given], 1) for given in ({1: 2, 3: 4}, {3: 4, 1: 2}))
    assert one.key == other.key


def test_half_of_the_pairs_is_shown_and_the_rest_hidden() -> None:
    for count in range(2, 12):
        task = InductionTask.of("def f(x): return x", [([i], i) for i in range(count)])
        assert task.shown + task.hidden == task.pairs
        assert len(task.shown) == count // 2


GOOD: dict[str, Any] = {"mode": "deduction", "program": "def f(x):\n    return x", "arguments": "1", "output": "1"}
PAIRS: dict[str, Any] = {
    "mode": "induction",
    "program": "def f(x):\n    return x",
    "pairs": [["1", "1"], ["2", "2"]],
    "message": "",
}


@pytest.mark.parametrize(
    ("start", "change"),
    [
        (GOOD, {"mode": "nonsense"}), (GOOD, {"mode": None}), (GOOD, {"mode": ["deduction"]}), (GOOD, {"mode": {}}), (GOOD, {"mode": "induction"}), (GOOD, {"program": None}),
        (GOOD, {"program": "def f(:"}), (GOOD, {"program": "\0"}), (GOOD, {"program": "#" * (MAX_PROGRAM_CHARS + 1)}), (GOOD, {"program": "(" * 3_000}), (GOOD, {"program": ["x"]}),
        (GOOD, {"program": "\ud800"}), (GOOD, {"program": "x = " + "-" * 3_990 + "1"}), (GOOD, {"arguments": 1}), (GOOD, {"arguments": "x"}), (GOOD, {"arguments": "1,"}), (GOOD, {"arguments": "f(1)"}),
        (GOOD, {"arguments": " 1"}), (GOOD, {"arguments": "[1,2]"}), (GOOD, {"arguments": "'" + "a" * MAX_VALUE_CHARS + "'"}), (GOOD, {"output": "0x1"}), (GOOD, {"output": ""}), (GOOD, {"output": None}),
        (GOOD, {"output": "1, 2"}), (GOOD, {"output": "print(1)"}), (PAIRS, {"mode": "abduction"}), (PAIRS, {"pairs": []}), (PAIRS, {"pairs": [["1", "1"]]}), (PAIRS, {"pairs": None}), (PAIRS, {"pairs": "12"}),
        (PAIRS, {"pairs": [["1"], ["2"]]}), (PAIRS, {"pairs": [["1", "1", "1"]] * 2}), (PAIRS, {"pairs": ["12", "34"]}), (PAIRS, {"pairs": [[1, 1], [2, 2]]}), (PAIRS, {"pairs": [["1", "1"], None]}),
        (PAIRS, {"pairs": {"1": "1", "2": "2"}}), (PAIRS, {"message": None}), (PAIRS, {"message": "a" * (MAX_MESSAGE_CHARS + 1)}), (PAIRS, {"program": ""  "return ("}),
    ],
    ids=lambda data: repr(data)[:40],
)  # fmt: skip
def test_data_that_is_no_task_is_refused(start: dict[str, Any], change: dict[str, Any]) -> None:
    with pytest.raises(BadTask):
        CodeTask.from_json(start | change)


@pytest.mark.parametrize("start", [GOOD, PAIRS])
def test_data_that_lacks_a_field_is_refused(start: dict[str, Any]) -> None:
    for name in start:
        with pytest.raises(BadTask):
            CodeTask.from_json({key: value for key, value in start.items() if key != name})
    for data in (None, [], "text", 3, [start]):
        with pytest.raises(BadTask):
            CodeTask.from_json(data)  # type: ignore[arg-type]


json_data = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)


@given(st.sampled_from([GOOD, PAIRS]), st.dictionaries(st.sampled_from([*GOOD, *PAIRS, "id"]), json_data, max_size=3))
def test_any_json_is_a_task_or_refused(start: dict[str, Any], change: dict[str, Any]) -> None:
    try:
        task = CodeTask.from_json(start | change)
    except BadTask:
        return
    assert CodeTask.from_json(task.to_json()) == task


@pytest.mark.parametrize(
    "value", [object(), "a" * MAX_VALUE_CHARS, 10**5000, [[]] * 600, range(3)], ids=lambda value: type(value).__name__
)
def test_values_that_no_task_can_hold_are_refused(value: object) -> None:
    with pytest.raises(BadTask):
        Triplet.of("deduction", "def f(x): return x", [value], 1)
    with pytest.raises(BadTask):
        Triplet.of("deduction", "def f(x): return x", [1], value)
    with pytest.raises(BadTask):
        InductionTask.of("def f(x): return x", [([1], 1), ([value], 1)])


@pytest.mark.parametrize("mode", ["nonsense", "induction", None, 3])
def test_a_triplet_of_another_mode_is_refused(mode: Any) -> None:
    with pytest.raises(BadTask):
        Triplet.of(mode, "def f(x): return x", [1], 1)


def test_tasks_are_frozen() -> None:
    with pytest.raises(AttributeError):
        hello_world().output = "1"  # type: ignore[misc]
    assert hello_world() == hello_world("deduction") != hello_world("abduction")


def test_features_are_those_of_the_program_s_shape() -> None:
    one, other = (Triplet.of("deduction", f"def f(x):\n    return x + {n}", [n], 2 * n) for n in (1, 2))
    assert one.features() == other.features() == InductionTask.of(one.program, [([1], 2), ([2], 3)]).features()


@pytest.mark.parametrize(
    "task",
    [
        Triplet.of("deduction", "def f(x):\n    return x + 1", (1,), 2),
        InductionTask.of("def f(x):\n    return x + 1", [((n,), n + 1) for n in range(4)]),
    ],
    ids=["triplet", "induction"],
)
def test_what_a_task_has_computed_goes_where_it_goes(task: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    key, features = task.key, task.features()
    there = pickle.loads(pickle.dumps(task))
    monkeypatch.setattr(triplet, "form", None)  # whoever reads the program again fails
    monkeypatch.setattr(triplet, "parse_arguments", None)
    assert (there, there.key, there.features()) == (task, key, features)
