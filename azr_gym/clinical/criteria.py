"""The grammar of criteria: a text about facts, read as data, and judged for many patients at once.

    chest_pain and troponin_i > uln(troponin_i) and not documented(st_elevation)
    at_least(2, abdominal_pain, lipase > 3 * uln(lipase), pancreatic_inflammation)
    dka_severity >= 2 or ph < 7.3

Facts are findings (true, false) and analytes (numbers). What is not known stays so: every truth is one of three (Kleene
1938), every number an interval that holds it, and an unknown fact is the whole line. So `score >= 2` is true once the
points that are certain reach 2, and false once even the unknown ones could not.
"""

from __future__ import annotations

import ast
import functools
import operator
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from math import inf
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from azr_gym.errors import AzrGymError

MAX_CHARS, MAX_DEPTH = 2000, 40
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


class BadCriterion(AzrGymError):
    """A text that is no criterion; the message says where and why."""


class Truth(NamedTuple):
    """Of each patient: whether it is certainly so, and whether it is certainly not."""

    yes: Bools
    no: Bools


class Interval(NamedTuple):
    """Of each patient: the least and the greatest that a number can be."""

    low: Floats
    high: Floats


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """What a criterion may speak of.

    Attributes:
        findings: names that are true or false.
        numbers: names that have a value; analytes, derived values and scores alike.
        limits: reference limits of an analyte, as names of two columns: of `lln(x)` and `uln(x)`.
    """

    findings: frozenset[str]
    numbers: frozenset[str]
    limits: Mapping[str, tuple[str, str]]


class Columns:
    """The facts of a batch of patients. What is derived from them is computed once.

    Args:
        facts: a column for each fact that is known of anybody, float64 (N,): a number, 1 for true, 0 for false, NaN
            where it is unknown.
        size: N.
        derived: how a name that is no column is computed.
    """

    def __init__(
        self,
        facts: Mapping[str, Floats],
        size: int,
        derived: Mapping[str, Callable[[Columns], Interval]] | None = None,
    ) -> None:
        self.facts, self.size, self.derived = facts, size, derived or {}
        self._numbers: dict[str, Interval] = {}
        self._truths: dict[str, Truth] = {}
        self.nothing, self.all = np.zeros(size, np.bool_), np.ones(size, np.bool_)

    def number(self, name: str) -> Interval:
        """A number, between minus and plus infinity where it is unknown."""
        if name not in self._numbers:
            if name in self.facts:
                self._numbers[name] = _measured(self.facts[name])
            elif name in self.derived:
                self._numbers[name] = _settled(self.derived[name](self))
            else:
                self._numbers[name] = Interval(np.full(self.size, -inf), np.full(self.size, inf))
        return self._numbers[name]

    def truth(self, name: str) -> Truth:
        """A finding."""
        if name not in self._truths:
            values = self.facts.get(name)
            self._truths[name] = (
                Truth(self.nothing, self.nothing) if values is None else Truth(values == 1.0, values == 0.0)
            )
        return self._truths[name]


@dataclass(frozen=True, slots=True)
class Criterion:
    """A criterion that has been read. `text` is as it was written; equal texts are equal criteria."""

    text: str
    names: frozenset[str]
    _judge: Callable[[Columns], Truth]

    def __call__(self, columns: Columns) -> Truth:
        """Whether it is met."""
        return self._judge(columns)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Criterion) and other.text == self.text

    def __hash__(self) -> int:
        return hash(self.text)


@dataclass(frozen=True, slots=True)
class Formula:
    """A number that is computed from facts."""

    text: str
    names: frozenset[str]
    _value: Callable[[Columns], Interval]

    def __call__(self, columns: Columns) -> Interval:
        """Its value."""
        return self._value(columns)


def criterion(text: str, vocabulary: Vocabulary) -> Criterion:
    """Read a criterion.

    Raises:
        BadCriterion: it is none.
    """
    reader = _Reader(text, vocabulary)
    judge = reader.truth(reader.tree)  # it notes the names
    return Criterion(text, frozenset(reader.names), judge)


def formula(text: str, vocabulary: Vocabulary) -> Formula:
    """Read a formula.

    Raises:
        BadCriterion: it is none.
    """
    reader = _Reader(text, vocabulary)
    value = reader.number(reader.tree)  # it notes the names
    return Formula(text, frozenset(reader.names), value)


# --- logic of three values, arithmetic of intervals ----------------------------------------------------------------
Judge = Callable[[Columns], Truth]
Value = Callable[[Columns], Interval]


def both(first: Truth, second: Truth) -> Truth:
    """And."""
    return Truth(first.yes & second.yes, first.no | second.no)


def either(first: Truth, second: Truth) -> Truth:
    """Or."""
    return Truth(first.yes | second.yes, first.no & second.no)


def points(truth: Truth, worth: float) -> Interval:
    """So many points if it is so."""
    certain, possible = truth.yes * worth, ~truth.no * worth
    return Interval(np.minimum(certain, possible), np.maximum(certain, possible))


def _measured(values: Floats) -> Interval:
    unknown = np.isnan(values)
    if not unknown.any():
        return Interval(values, values)
    return Interval(np.where(unknown, -inf, values), np.where(unknown, inf, values))


def _settled(value: Interval) -> Interval:
    """Where arithmetic with the unknown gave nothing, nothing is known."""
    lost = np.isnan(value.low) | np.isnan(value.high)
    if not lost.any():
        return value
    return Interval(np.where(lost, -inf, value.low), np.where(lost, inf, value.high))


def _exact(value: Interval) -> bool:
    """Known of everybody: then both ends are one array, and are computed once."""
    return value.low is value.high


def _corners(function: Callable[[Any, Any], Any], first: Interval, second: Interval) -> Interval:
    with np.errstate(all="ignore"):
        if _exact(first) and _exact(second):
            found = function(first.low, second.low)
            return _settled(Interval(found, found))
        corners = [function(a, b) for a in first for b in second]
        low, high = (functools.reduce(end, corners) for end in (np.minimum, np.maximum))
    return _settled(Interval(low, high))


def _add(first: Interval, second: Interval) -> Interval:
    low = first.low + second.low
    return Interval(low, low if _exact(first) and _exact(second) else first.high + second.high)


def _subtract(first: Interval, second: Interval) -> Interval:
    low = first.low - second.high
    return Interval(low, low if _exact(first) and _exact(second) else first.high - second.low)


def _multiply(first: Interval, second: Interval) -> Interval:
    return _corners(operator.mul, first, second)


def _divide(first: Interval, second: Interval) -> Interval:
    found = _corners(operator.truediv, first, second)
    through_zero = (second.low <= 0) & (second.high >= 0)
    if not through_zero.any():
        return found
    return Interval(np.where(through_zero, -inf, found.low), np.where(through_zero, inf, found.high))


def _power(first: Interval, second: Interval) -> Interval:
    found = _corners(np.power, first, second)
    negative = first.low <= 0
    if not negative.any():
        return found
    return Interval(np.where(negative, -inf, found.low), np.where(negative, inf, found.high))


def _log(value: Interval) -> Interval:
    with np.errstate(all="ignore"):
        low, high = np.log(np.maximum(value.low, 0)), np.log(np.maximum(value.high, 0))
    return _settled(Interval(low, high))


def _less(first: Interval, second: Interval) -> Truth:
    return Truth(first.high < second.low, first.low >= second.high)


def _at_most(first: Interval, second: Interval) -> Truth:
    return Truth(first.high <= second.low, first.low > second.high)


def _equal(first: Interval, second: Interval) -> Truth:
    exact = (first.low == first.high) & (second.low == second.high)
    return Truth(exact & (first.low == second.low), (first.low > second.high) | (first.high < second.low))


def _swap(function: Callable[[Interval, Interval], Truth]) -> Callable[[Interval, Interval], Truth]:
    return lambda first, second: function(second, first)


def _opposite(truth: Truth) -> Truth:
    return Truth(truth.no, truth.yes)


COMPARISONS: Final[dict[type, Callable[[Interval, Interval], Truth]]] = {
    ast.Lt: _less, ast.LtE: _at_most, ast.Gt: _swap(_less), ast.GtE: _swap(_at_most), ast.Eq: _equal,
    ast.NotEq: lambda first, second: _opposite(_equal(first, second)),
}  # fmt: skip
ARITHMETIC: Final[dict[type, Callable[[Interval, Interval], Interval]]] = {
    ast.Add: _add, ast.Sub: _subtract, ast.Mult: _multiply, ast.Div: _divide, ast.Pow: _power,
}  # fmt: skip
FUNCTIONS = ("abs", "ln", "lln", "max", "min", "points", "round", "uln")
TESTS = ("at_least", "documented", "known")


class _Reader:
    """Turns a text into functions of columns. Knows nothing but the grammar: what it does not name is refused."""

    def __init__(self, text: str, vocabulary: Vocabulary) -> None:
        self.text, self.vocabulary, self.names = text, vocabulary, set[str]()
        if len(text) > MAX_CHARS:
            raise BadCriterion(f"a criterion has at most {MAX_CHARS:,} characters, not {len(text):,}")
        try:
            self.tree: ast.expr = ast.parse(" ".join(text.split()), mode="eval").body
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            raise BadCriterion(f"{text!r} can not be read: {error}") from None
        if max(_depths(self.tree)) > MAX_DEPTH:
            raise BadCriterion(f"a criterion is nested at most {MAX_DEPTH} deep")

    def refuse(self, node: ast.AST, wanted: str) -> BadCriterion:
        return BadCriterion(f"{ast.unparse(node)!r} in {self.text!r} is no {wanted}")

    # truths
    def truth(self, node: ast.expr) -> Judge:
        match node:
            case ast.BoolOp(op=op, values=values):
                join = both if isinstance(op, ast.And) else either
                return _folded(join, [self.truth(one) for one in values])
            case ast.UnaryOp(op=ast.Not(), operand=operand):
                inner = self.truth(operand)
                return lambda columns: _opposite(inner(columns))
            case ast.Compare(left=left, ops=ops, comparators=others):
                return self.comparison([left, *others], ops, node)
            case ast.Call(func=ast.Name(id=name), args=arguments, keywords=[]) if name in TESTS:
                return self.test(name, arguments, node)
            case ast.Name(id=name) if name in self.vocabulary.findings:
                self.names.add(name)
                return lambda columns: columns.truth(name)
            case ast.Constant(value=bool(value)):
                return lambda columns: Truth(*(columns.all, columns.nothing)[:: 1 if value else -1])
        raise self.refuse(node, "finding or test of one")

    def comparison(self, terms: list[ast.expr], ops: list[ast.cmpop], node: ast.expr) -> Judge:
        if not all(type(op) in COMPARISONS for op in ops):
            raise self.refuse(node, "comparison by <, <=, >, >=, == or !=")
        numbers, compare = [self.number(term) for term in terms], [COMPARISONS[type(op)] for op in ops]

        def pair(place: int) -> Judge:
            return lambda columns: compare[place](numbers[place](columns), numbers[place + 1](columns))

        return _folded(both, [pair(place) for place in range(len(ops))])

    def test(self, name: str, arguments: list[ast.expr], node: ast.expr) -> Judge:
        if name == "at_least":
            match arguments:
                case [ast.Constant(value=int(wanted)), _, *_] if not isinstance(wanted, bool):
                    return _at_least(wanted, [self.truth(one) for one in arguments[1:]])
            raise self.refuse(node, "at_least(n, ...) of findings or tests")
        if len(arguments) != 1:
            raise self.refuse(node, f"{name}(one fact)")
        match arguments[0]:
            case ast.Name(id=fact) if fact in self.vocabulary.numbers and name == "known":
                self.names.add(fact)
                return lambda columns: _known(columns.number(fact))
        inner = self.truth(arguments[0])
        if name == "documented":
            return lambda columns: Truth(yes := inner(columns).yes, ~yes)
        return lambda columns: Truth(known := operator.or_(*inner(columns)), ~known)

    # numbers
    def number(self, node: ast.expr) -> Value:
        match node:
            case ast.Constant(value=int(value) | float(value)) if not isinstance(value, bool):
                return lambda columns: Interval(*[np.full(columns.size, float(value))] * 2)  # one array
            case ast.Name(id=name) if name in self.vocabulary.numbers:
                self.names.add(name)
                return lambda columns: columns.number(name)
            case ast.BinOp(left=left, op=op, right=right) if type(op) in ARITHMETIC:
                first, second, function = self.number(left), self.number(right), ARITHMETIC[type(op)]
                return lambda columns: function(first(columns), second(columns))
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                inner = self.number(operand)
                return lambda columns: Interval(-(value := inner(columns)).high, -value.low)
            case ast.Call(func=ast.Name(id=name), args=arguments, keywords=[]) if name in FUNCTIONS:
                return self.function(name, arguments, node)
        raise self.refuse(node, "number, analyte or score")

    def function(self, name: str, arguments: list[ast.expr], node: ast.expr) -> Value:
        match name, arguments:
            case (("lln" | "uln"), [ast.Name(id=analyte)]) if analyte in self.vocabulary.limits:
                column = self.vocabulary.limits[analyte][name == "uln"]
                return lambda columns: columns.number(column)
            case (("min" | "max"), [_, _, *_]):
                values, join = [self.number(one) for one in arguments], np.minimum if name == "min" else np.maximum
                return lambda columns: Interval(*map(join.reduce, zip(*(one(columns) for one in values), strict=True)))
            case "ln", [one]:
                inner = self.number(one)
                return lambda columns: _log(inner(columns))
            case "abs", [one]:
                inner = self.number(one)
                return lambda columns: _absolute(inner(columns))
            case "round", [one]:
                inner = self.number(one)
                return lambda columns: Interval(*(np.floor(end + 0.5) for end in inner(columns)))
            case "points", [_, *_]:
                pairs = [self.point(one) for one in arguments]
                return lambda columns: _total(columns, [points(judge(columns), worth) for judge, worth in pairs])
        raise self.refuse(node, "known function of so many arguments")

    def point(self, node: ast.expr) -> tuple[Judge, float]:
        """One argument of `points`: `3 * (test)`."""
        match node:
            case ast.BinOp(left=ast.Constant(value=int(worth) | float(worth)), op=ast.Mult(), right=right):
                return self.truth(right), float(worth)
            case ast.BinOp(
                left=ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int(worth) | float(worth))),
                op=ast.Mult(), right=right,
            ):  # fmt: skip
                return self.truth(right), -float(worth)
        return self.truth(node), 1.0


def _depths(node: ast.AST, depth: int = 1) -> Iterator[int]:
    stack = [(node, depth)]
    while stack:
        one, depth = stack.pop()
        yield depth
        stack += [(child, depth + 1) for child in ast.iter_child_nodes(one)]


def _folded(join: Callable[[Truth, Truth], Truth], judges: list[Judge]) -> Judge:
    def judge(columns: Columns) -> Truth:
        found = judges[0](columns)
        for one in judges[1:]:
            found = join(found, one(columns))
        return found

    return judge


def _at_least(wanted: int, judges: list[Judge]) -> Judge:
    def judge(columns: Columns) -> Truth:
        truths = [one(columns) for one in judges]
        certain, excluded = (np.sum(part, axis=0) for part in zip(*truths, strict=True))
        return Truth(certain >= wanted, len(truths) - excluded < wanted)

    return judge


def _total(columns: Columns, parts: list[Interval]) -> Interval:
    total = Interval(np.zeros(columns.size), np.zeros(columns.size))
    for part in parts:
        total = _add(total, part)
    return total


def _known(value: Interval) -> Truth:
    known = np.isfinite(value.low) & (value.low == value.high)
    return Truth(known, ~known)


def _absolute(value: Interval) -> Interval:
    low, high = np.abs(value.low), np.abs(value.high)
    spans = (value.low < 0) & (value.high > 0)
    return Interval(np.where(spans, 0.0, np.minimum(low, high)), np.maximum(low, high))
