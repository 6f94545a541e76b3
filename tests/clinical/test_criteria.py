"""The grammar of criteria: three truths, intervals, and nothing of Python beside them."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from azr_gym.clinical.criteria import BadCriterion, Columns, Vocabulary, criterion, formula

WORDS = Vocabulary(frozenset("abc"), frozenset(["x", "y", "score"]), {"x": ("x lln", "x uln")})
NAN = math.nan
logic = st.recursive(
    st.sampled_from([*"abc", "x > 2", "y <= 1", "x + y < 4", "x * y >= 2", "known(x)"]),
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from(["and", "or"]), inner).map(lambda parts: f"({' '.join(parts)})"),
        inner.map(lambda one: f"(not {one})"),
        inner.map(lambda one: f"documented({one})"),
        st.lists(inner, min_size=2, max_size=3).map(lambda parts: f"at_least(2, {', '.join(parts)})"),
    ),
    max_leaves=6,
)
values = {
    **{name: st.sampled_from([0.0, 1.0, NAN]) for name in "abc"},
    **{name: st.sampled_from([-1.0, 0.0, 1.0, 2.0, 2.5, 3.0, NAN]) for name in "xy"},
}
patients = st.lists(st.fixed_dictionaries(values), min_size=1, max_size=4)


def judge(text: str, rows: list[dict[str, float]]) -> list[bool | None]:
    """True, False or unknown, for each patient."""
    columns = Columns({name: np.array([row[name] for row in rows]) for name in rows[0]}, len(rows))
    truth = criterion(text, WORDS)(columns)
    assert not (truth.yes & truth.no).any()
    return [True if yes else False if no else None for yes, no in zip(*truth, strict=True)]


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("a and b", [True, False, False]), ("a or c", [True, None, None]), ("not b", [False, None, True]),
        ("at_least(2, a, b, c)", [True, None, None]), ("documented(b)", [True, False, False]),
        ("known(b)", [True, False, True]), ("known(x)", [True, False, True]), ("x > 2", [True, None, False]),
        ("1 < x <= 3", [True, None, True]), ("x == 3", [True, None, False]), ("x != 3", [False, None, True]),
        ("True", [True] * 3), ("not False and a", [True, False, None]),
    ],
)  # fmt: skip
def test_unknown_is_not_false(text: str, wanted: list[bool | None]) -> None:
    rows = [
        {"a": 1.0, "b": 1.0, "c": 0.0, "x": 3.0},
        {"a": 0.0, "b": NAN, "c": NAN, "x": NAN},
        {"a": NAN, "b": 0.0, "c": NAN, "x": 2.0},
    ]
    assert judge(text, rows) == wanted


@given(logic, patients)
def test_what_is_settled_stays_so_whatever_becomes_known(text: str, rows: list[dict[str, float]]) -> None:
    if "known" in text or "documented" in text:  # these are about what is known
        return
    for row, said in zip(rows, judge(text, rows), strict=True):
        gaps = [name for name, value in row.items() if math.isnan(value)]
        choices = [(0.0, 1.0) if name in "abc" else (-1.0, 0.0, 2.0, 3.0) for name in gaps]
        filled = [row | dict(zip(gaps, chosen, strict=True)) for chosen in itertools.product(*choices)]
        found = judge(text, filled)
        assert None not in found
        if said is not None:
            assert set(found) == {said}


@given(logic, patients)
def test_a_batch_is_its_patients(text: str, rows: list[dict[str, float]]) -> None:
    assert judge(text, rows) == [judge(text, [row])[0] for row in rows]


@given(logic, patients)
def test_not_turns_yes_and_no_round(text: str, rows: list[dict[str, float]]) -> None:
    turned = {True: False, False: True, None: None}
    assert judge(f"not {text}", rows) == [turned[said] for said in judge(text, rows)]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("x + y * 2", 7.0), ("x - y", 1.0), ("-x / y", -1.5), ("x ** 2", 9.0), ("min(x, y)", 2.0), ("max(x, y, 9)", 9.0),
        ("abs(y - x)", 1.0), ("ln(x)", math.log(3)), ("points(2 * a, 3 * b, -1 * (x > 2), c)", 1.0), ("uln(x)", 5.0),
    ],
)  # fmt: skip
def test_formulas_compute(text: str, value: float) -> None:
    facts = {"x": 3.0, "y": 2.0, "a": 1.0, "b": 0.0, "c": 0.0, "x uln": 5.0}
    columns = Columns({name: np.array([number]) for name, number in facts.items()}, 1)
    assert [float(end[0]) for end in formula(text, WORDS)(columns)] == pytest.approx([value, value])


@given(
    st.fixed_dictionaries(values),
    st.sampled_from(["x + y", "x - y", "x * y", "x / y", "abs(x)", "max(x, y)", "points(2 * a, -1 * b)"]),
)
def test_an_interval_holds_whatever_the_unknown_is(row: dict[str, float], text: str) -> None:
    def bounds(facts: dict[str, float]) -> tuple[float, float]:
        low, high = formula(text, WORDS)(Columns({name: np.array([value]) for name, value in facts.items()}, 1))
        return float(low[0]), float(high[0])

    low, high = bounds(row)
    for number, truth in itertools.product((-2.0, 0.5, 3.0), (0.0, 1.0)):
        whole = {
            name: (number if name in "xy" else truth) if math.isnan(value) else value for name, value in row.items()
        }
        one, other = bounds(whole)
        if one == other:  # a division by nothing stays open
            assert low <= one <= high


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("__import__('os').system('true')", "no finding"), ("a.real", "no finding"), ("lambda: a", "no finding"), ("x", "no finding"),
        ("[a for a in b]", "no finding"), ("a and", "can not be read"), ("d or a", "no finding"), ("x > 'a'", "no number"),
        ("a > 1", "no number"), ("x in y", "comparison"), ("at_least(a, b)", "at_least"), ("at_least(True, a)", "at_least"),
        ("known(a, b)", "known"), ("x > open(y)", "no number"), ("x > y.real", "no number"), ("a if b else c", "no finding"),
        ("x > 1" + " and a" * 500, "characters"), ("(" * 60 + "a" + ")" * 60 + "and a" , None), ("not " * 60 + "a", "deep"), ("", "can not be read"),
        ("x > uln(y)", "no known function"), ("x > 2 * uln(q)", "no known function"), ("\x00", "can not be read"),
        ("x > 1e999", "no number"), (f"x > 1{'0' * 400}", "no number"), ("points(1e999 * a, b) > 1", "no sum"), ("points(1e-300 * a, 1e300 * b) > 1", "no sum"),
    ],
)  # fmt: skip
def test_nothing_but_the_grammar_is_read(text: str, why: str | None) -> None:
    if why is None:  # brackets alone nest nothing
        criterion(text, WORDS)
        return
    with pytest.raises(BadCriterion, match=why):
        criterion(text, WORDS)


@given(logic, patients)
def test_who_meets_it_has_what_it_needs(text: str, rows: list[dict[str, float]]) -> None:
    needs = criterion(text, WORDS).needs
    for row, said in zip(rows, judge(text, rows), strict=True):
        if said:
            assert all(row[name] == 1.0 if name in "abc" else not math.isnan(row[name]) for name in needs)


def test_points_are_summed_exactly() -> None:
    columns = Columns({name: np.ones(3) for name in "abc"}, 3)
    low, high = formula("points(0.1 * a, 0.2 * b, -0.7 * c)", WORDS)(columns)
    assert low.tolist() == high.tolist() == [-0.4] * 3


@pytest.mark.parametrize(("wanted", "said"), [(0, True), (2, True), (3, None), (4, False), (10**12, False)])
def test_at_least_so_many(wanted: int, said: bool | None) -> None:
    assert judge(f"at_least({wanted}, a, b, c, x > 2)", [{"a": 1.0, "b": 1.0, "c": 0.0, "x": NAN}]) == [said]


@given(st.text(max_size=60) | st.text("abcxy()><=+-*/. 0123456789,andor", max_size=60))
def test_any_text_is_a_criterion_or_refused(text: str) -> None:
    try:
        found: Any = criterion(text, WORDS)
    except BadCriterion:
        return
    found(Columns({"a": np.array([1.0])}, 1))
