"""Plain data: what is rendered is read back, equal means equal, and text is data or refused."""

from __future__ import annotations

import ast
import contextlib
import math
import warnings

import pytest
from hypothesis import given
from hypothesis import strategies as st

from azr_sandbox import NotPlainData, TooLong, values

from strategies import literal_like, plain_data


@given(plain_data)
def test_rendered_values_are_read_back(value: object) -> None:
    assert values.equal(values.parse(values.render(value)), value)


@given(plain_data)
def test_rendering_is_stable(value: object) -> None:
    text = values.render(value)
    assert values.render(values.parse(text)) == text


@given(plain_data, plain_data)
def test_equal_is_equality_of_canonical_bytes(a: object, b: object) -> None:
    assert values.equal(a, b) == (values.canonical(a) == values.canonical(b))
    assert values.equal(a, a)
    if values.equal(a, b) and "nan" not in repr(a):
        assert a == b


_NEARLY_SIMPLE = st.text("[]" * 2 + ",'  " + '\\"\n\té0019--_.True', max_size=12)  # what short cuts could get wrong


@given(_NEARLY_SIMPLE | literal_like)
def test_what_is_read_without_the_parser_is_what_the_parser_reads(text: str) -> None:
    simple = values._simple(text.strip())
    if simple is not None:
        assert values.equal(simple, ast.literal_eval(text.strip()))


@pytest.mark.parametrize("text", ["1", "-7", "0", "True", "'a, b'", "[1, -2]", "['a', 'b']", "[[1, 2]\n]", "[True]"])
def test_common_values_need_no_parser(text: str) -> None:
    assert values.equal(values._simple(text), ast.literal_eval(text))


@pytest.mark.parametrize(
    "text", ["01", "[01]", "--1", "- 1", "1_0", "\uff11", "[1,]", "[]", "['a'b']", "'\\n'", "None", ""]
)
def test_what_is_not_simple_goes_to_the_parser(text: str) -> None:
    assert values._simple(text) is None


def test_any_depth_of_brackets_is_read_or_refused() -> None:
    for deep in ("[" * 100_000, "[ " * 100_000 + "]" * 100_000, "[" + "[1], " * 10_000 + "]"):
        with contextlib.suppress(NotPlainData):
            values.parse(deep)


@pytest.mark.parametrize(
    ("a", "b"),
    [(1, 1.0), (1, True), (0, False), ([1], (1,)), ({1}, frozenset({1})), ("1", b"1"), (1.0, 1 + 0j), ("", None)],
)
def test_equality_is_type_exact(a: object, b: object) -> None:
    assert not values.equal(a, b)


@pytest.mark.parametrize(
    ("a", "b"),
    [
        (math.nan, -math.nan),
        (0.0, -0.0),
        ({1: 2, 3: 4}, {3: 4, 1: 2}),
        ([math.nan], [math.nan]),
        ({"b", "a"}, {"a", "b"}),
    ],
)
def test_what_counts_as_equal(a: object, b: object) -> None:
    assert values.equal(a, b)


def test_dicts_keep_their_order_and_sets_are_sorted() -> None:
    assert values.render({"b": 1, "a": 2}) == "{'b': 1, 'a': 2}"
    assert values.render({3, 1, 2}) == "{1, 2, 3}"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("inf", math.inf), ("-inf", -math.inf), ("float('inf')", math.inf), ("set()", set()), ("frozenset()", frozenset()),
        ("frozenset({1})", frozenset({1})), (" [1,\n 2] ", [1, 2]), ("1_000", 1000), ("0x1F", 31), ("'a' 'b'", "ab"),
        ("1+2j", 1 + 2j), ("(1,)", (1,)), ("1,", (1,)), ("1 # a comment", 1), ("'\\d'", "\\d"), ("--1", 1),
    ],
)  # fmt: skip
def test_what_text_may_say(text: str, value: object) -> None:
    assert values.equal(values.parse(text), value)


@pytest.mark.parametrize(
    "text",
    [
        "", "f(1)", "[x]", "1 + 1", "'a' * 3", "...", "lambda: 0", "f'{1}'", "[*[1]]", "{**{}}", "a.b", "__import__('os')",
        "1) or True #", "(x:=1)", "[i for i in ()]", "set([1])", "float('1')", "complex('1')", "frozenset(set=1)",
        "{[]: 1}", "{{}}", "not 1", "-'a'", "1 if 1 else 2", "True + 1j", "\x00", "9" * 5000, "[" * 100 + "]" * 100,
        "(" * 50000, "-" * 50000 + "1", "1+" * 50000 + "1", "a." * 50000 + "a", "[" * 70 + "]" * 70, "\ud800",
    ],
    ids=lambda text: repr(text[:20]),
)  # fmt: skip
def test_what_text_may_not_say(text: str) -> None:
    with pytest.raises(NotPlainData):
        values.parse(text)


@given(literal_like | st.text(max_size=60))
def test_any_text_is_data_or_refused(text: str) -> None:
    try:
        value = values.parse(text)
    except NotPlainData:
        return
    assert values.equal(values.parse(values.render(value)), value)


@given(literal_like)
def test_what_python_reads_as_a_literal_is_read_alike(text: str) -> None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            expected = ast.literal_eval(text.strip())
        values.render(expected)
    except Exception:
        return
    assert values.equal(values.parse(text), expected)


class Sneaky(int):
    __eq__ = lambda self, other: True  # noqa: E731
    __hash__ = int.__hash__


@pytest.mark.parametrize(
    "value", [Sneaky(1), [Sneaky(1)], {Sneaky(1): 1}, object(), range(3), iter([]), ..., bytearray()]
)
def test_subclasses_and_objects_are_not_plain(value: object) -> None:
    with pytest.raises(NotPlainData):
        values.render(value)
    with pytest.raises(NotPlainData):
        values.canonical(value)


def test_cycles_and_shared_bombs_are_refused() -> None:
    cycle: list[object] = []
    cycle.append(cycle)
    bomb: list[object] = [1]
    for _ in range(55):
        bomb = [bomb, bomb]
    for value in (cycle, bomb):
        with pytest.raises(NotPlainData):
            values.render(value)


@pytest.mark.parametrize(
    "value",
    [list(range(10**6)), "x" * 101, 7 ** (10**5), {"k": ["y" * 60, "z" * 60]}, [[]] * 60],
    ids=["elements", "text", "integer", "nested", "brackets"],
)
def test_long_values_are_refused_not_cut(value: object) -> None:
    with pytest.raises(TooLong):
        values.render(value, max_chars=100)


@given(plain_data, st.integers(0, 60))
def test_the_limit_is_on_the_text(value: object, limit: int) -> None:
    text = values.render(value)
    if len(text) <= limit:
        assert values.render(value, limit) == text
    else:
        with pytest.raises(TooLong):
            values.render(value, limit)
