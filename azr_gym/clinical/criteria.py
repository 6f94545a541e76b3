"""The grammar of criteria: a text about facts, read as data, and judged for many patients at once.

    chest_pain and troponin_i > uln(troponin_i) and not documented(st_elevation)
    at_least(2, abdominal_pain, lipase > 3 * uln(lipase), pancreatic_inflammation)
    dka_severity >= 2 or ph < 7.3

Facts are findings (true, false) and analytes (numbers). What is not known stays so: every truth is one of three (Kleene
1938), every number an interval that holds it, and an unknown fact is the whole line. So `score >= 2` is true once the
points that are certain reach 2, and false once even the unknown ones could not.

A set of patients is an int whose bit i is patient i: one `&` of thousands of patients costs as much as one of a single
patient, a tenth of a microsecond.
"""

from __future__ import annotations

import ast
import functools
import math
import operator
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import inf, nan
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from azr_gym.errors import AzrGymError

MAX_CHARS, MAX_DEPTH = 2000, 40
LARGEST = sys.float_info.max
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Patients = int  # a set of them: bit i is patient i


class BadCriterion(AzrGymError):
    """A text that is no criterion; the message says where and why."""


class Truth(NamedTuple):
    """Of each patient: whether it is certainly so, and whether it is certainly not."""

    yes: Bools
    no: Bools


class Sets(NamedTuple):
    """The same: of which patients it is certainly so, and of which it is certainly not."""

    yes: Patients
    no: Patients


class Interval(NamedTuple):
    """Of each patient, or of all alike: the least and the greatest that a number can be. NaN, or all that lies between
    the infinities, where it is unknown. Where it is open for nobody both ends are one array."""

    low: Floats
    high: Floats


def exactly(value: Any) -> Interval:
    """A number that is nobody's in particular."""
    return Interval(value, value)


NOT_KNOWN: Final = Sets(0, 0)  # of anybody
UNKNOWN: Final = exactly(np.float64(nan))
NOTHING: Final = exactly(np.float64(0))


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
        self.everybody: Patients = (1 << size) - 1
        self._numbers: dict[str, Interval] = {}
        self._truths: dict[str, Sets] = {}

    def number(self, name: str) -> Interval:
        """A number."""
        if name not in self._numbers:
            if name in self.facts:
                self._numbers[name] = exactly(self.facts[name])
            else:
                self._numbers[name] = self.derived[name](self) if name in self.derived else UNKNOWN
        return self._numbers[name]

    def truth(self, name: str) -> Sets:
        """A finding."""
        return self._findings.get(name, NOT_KNOWN)

    @functools.cached_property
    def _findings(self) -> dict[str, Sets]:
        """Every fact as a finding: all at once is cheaper than one by one."""
        mask_MN, sets = np.empty((len(self.facts), self.size), np.bool_), []
        for value in (1.0, 0.0):
            for row, values_N in zip(mask_MN, self.facts.values(), strict=True):
                np.equal(values_N, value, out=row)
            sets.append(self.sets(mask_MN))
        return {name: Sets(yes, no) for name, yes, no in zip(self.facts, *sets, strict=True)}

    def once(self, text: str, judge: Judge) -> Sets:
        """What a part of a criterion says. It is judged once, however many criteria it stands in."""
        if text not in self._truths:
            self._truths[text] = judge(self)
        return self._truths[text]

    def sets(self, masks: Bools) -> list[Patients]:
        """The patients of each of some masks, bool (M, N)."""
        packed, width = np.packbits(masks, axis=1, bitorder="little").tobytes(), (self.size + 7) // 8
        return [int.from_bytes(packed[row * width : (row + 1) * width], "little") for row in range(len(masks))]

    def where(self, mask: Bools) -> Patients:
        """The patients of a mask, bool (N,), or () for all alike."""
        if mask.size == 1:
            return self.everybody if mask else 0
        return int.from_bytes(np.packbits(mask, bitorder="little").tobytes(), "little")

    def masks(self, sets: Sequence[Patients]) -> Bools:
        """Sets of patients as masks, bool (len(sets), N)."""
        width = (self.size + 7) // 8
        packed = np.frombuffer(b"".join([one.to_bytes(width, "little") for one in sets]), np.uint8)
        rows = np.unpackbits(packed.reshape(len(sets), width), axis=1, count=self.size, bitorder="little")
        return rows.view(np.bool_)

    def mask(self, one: Patients) -> Bools:
        """A set of patients as a mask, bool (N,)."""
        mask: Bools = self.masks([one])[0]
        return mask


@dataclass(frozen=True, slots=True)
class Criterion:
    """A criterion that has been read. `text` is as it was written; equal texts are equal criteria.

    Attributes:
        text: the criterion.
        names: everything that it looks at.
        needs: findings that whoever meets it has, and numbers that are known of them.
        sets: who meets it.
    """

    text: str
    names: frozenset[str]
    needs: frozenset[str]
    sets: Callable[[Columns], Sets]

    def __call__(self, columns: Columns) -> Truth:
        """Whether it is met."""
        return Truth(*columns.masks(self.sets(columns)))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Criterion) and other.text == self.text

    def __hash__(self) -> int:
        return hash(self.text)


@dataclass(frozen=True, slots=True)
class Formula:
    """A number that is computed from facts. `value` is what other numbers are computed from."""

    text: str
    names: frozenset[str]
    value: Callable[[Columns], Interval]

    def __call__(self, columns: Columns) -> Interval:
        """Its least and its greatest value, float64 (N,)."""
        return Interval(*(np.broadcast_to(end, columns.size) for end in bounds(self.value(columns))))


def criterion(text: str, vocabulary: Vocabulary) -> Criterion:
    """Read a criterion.

    Raises:
        BadCriterion: it is none.
    """
    reader = _Reader(text, vocabulary)
    judge = reader.truth(reader.tree)  # it notes the names
    return Criterion(text, frozenset(reader.names), reader.needs(reader.tree), judge)


def formula(text: str, vocabulary: Vocabulary) -> Formula:
    """Read a formula.

    Raises:
        BadCriterion: it is none.
    """
    reader = _Reader(text, vocabulary)
    value = reader.number(reader.tree)  # it notes the names
    return Formula(text, frozenset(reader.names), value)


# --- logic of three values, arithmetic of intervals ----------------------------------------------------------------
Judge = Callable[[Columns], Sets]
Value = Callable[[Columns], Interval]


def exact(value: Interval) -> bool:
    """Open for nobody: then both ends are computed at once."""
    return value.low is value.high


def bounds(value: Interval) -> Interval:
    """A number between minus and plus infinity where it is unknown."""
    lost = np.isnan(value.low) | np.isnan(value.high)
    if not lost.any():
        return value
    return Interval(np.where(lost, -inf, value.low), np.where(lost, inf, value.high))


def _corners(function: Callable[[Any, Any], Any], first: Interval, second: Interval) -> Interval:
    ends, others = (value[:1] if exact(value) else value for value in (first, second))
    with np.errstate(all="ignore"):
        corners = [function(a, b) for a in ends for b in others]
        if len(corners) == 1:
            return exactly(corners[0])
        return bounds(Interval(*(functools.reduce(end, corners) for end in (np.minimum, np.maximum))))


def _add(first: Interval, second: Interval) -> Interval:
    low = first.low + second.low
    return Interval(low, low if exact(first) and exact(second) else first.high + second.high)


def _subtract(first: Interval, second: Interval) -> Interval:
    low = first.low - second.high
    return Interval(low, low if exact(first) and exact(second) else first.high - second.low)


def _multiply(first: Interval, second: Interval) -> Interval:
    return _corners(operator.mul, first, second)


def _divide(first: Interval, second: Interval) -> Interval:
    found = _corners(operator.truediv, first, second)
    through_zero = (second.low <= 0) & (second.high >= 0)
    if not through_zero.any():
        return found
    return Interval(np.where(through_zero, -inf, found.low), np.where(through_zero, inf, found.high))


def _power(first: Interval, second: Interval) -> Interval:
    first, second = bounds(first), bounds(second)
    found = _corners(np.power, first, second)
    negative = first.low <= 0
    if not negative.any():
        return found
    return Interval(np.where(negative, -inf, found.low), np.where(negative, inf, found.high))


def _log(value: Interval) -> Interval:
    with np.errstate(all="ignore"):
        low = np.log(np.maximum(value.low, 0))
        return Interval(low, low if exact(value) else np.log(np.maximum(value.high, 0)))


def _less(first: Interval, second: Interval) -> Truth:
    return Truth(first.high < second.low, first.low >= second.high)


def _at_most(first: Interval, second: Interval) -> Truth:
    return Truth(first.high <= second.low, first.low > second.high)


def _equal(first: Interval, second: Interval) -> Truth:
    exact = (first.low == first.high) & (second.low == second.high)
    return Truth(exact & (first.low == second.low), (first.low > second.high) | (first.high < second.low))


COMPARISONS: Final[dict[type, Callable[[Interval, Interval], Truth]]] = {
    ast.Lt: _less, ast.LtE: _at_most, ast.Eq: _equal,
    ast.Gt: lambda first, second: _less(second, first), ast.GtE: lambda first, second: _at_most(second, first),
    ast.NotEq: lambda first, second: Truth(*_equal(first, second)[::-1]),
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
                parts = [self.truth(one) for one in values]
                return _every(parts) if isinstance(op, ast.And) else _some(parts)
            case ast.UnaryOp(op=ast.Not(), operand=operand):
                inner = self.truth(operand)
                return lambda columns: Sets(*inner(columns)[::-1])
            case ast.Compare(left=left, ops=ops, comparators=others):
                return self.comparison([left, *others], ops, node)
            case ast.Call(func=ast.Name(id=name), args=arguments, keywords=[]) if name in TESTS:
                return self.test(name, arguments, node)
            case ast.Name(id=name) if name in self.vocabulary.findings:
                self.names.add(name)
                return lambda columns: columns.truth(name)
            case ast.Constant(value=bool(value)):
                return lambda columns: Sets(*(columns.everybody, 0)[:: 1 if value else -1])
        raise self.refuse(node, "finding or test of one")

    def comparison(self, terms: list[ast.expr], ops: list[ast.cmpop], node: ast.expr) -> Judge:
        if not all(type(op) in COMPARISONS for op in ops):
            raise self.refuse(node, "comparison by <, <=, >, >=, == or !=")
        numbers, compare = [self.number(term) for term in terms], [COMPARISONS[type(op)] for op in ops]

        def pair(place: int) -> Judge:
            def judge(columns: Columns) -> Sets:
                first, second = numbers[place](columns), numbers[place + 1](columns)
                if first is UNKNOWN or second is UNKNOWN:
                    return NOT_KNOWN
                return Sets(*map(columns.where, compare[place](first, second)))

            text = ast.unparse(ast.Compare(terms[place], [ops[place]], [terms[place + 1]]))
            return lambda columns: columns.once(text, judge)

        return _every([pair(place) for place in range(len(ops))])

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
                return lambda columns: _settled_of(columns, columns.where(_known(columns.number(fact))))
        inner = self.truth(arguments[0])
        if name == "documented":
            return lambda columns: _settled_of(columns, inner(columns).yes)
        return lambda columns: _settled_of(columns, operator.or_(*inner(columns)))

    def needs(self, node: ast.expr) -> frozenset[str]:
        match node:
            case ast.BoolOp(op=op, values=values):
                parts = [self.needs(one) for one in values]
                return parts[0].union(*parts) if isinstance(op, ast.And) else parts[0].intersection(*parts)
            case ast.Call(func=ast.Name(id="documented"), args=[inner]):
                return self.needs(inner)
            case ast.Compare(left=left, comparators=others):
                return frozenset().union(*(self.needs(one) for one in (left, *others)))
            case ast.Name(id=name) if name in self.vocabulary.limits or name in self.vocabulary.findings:
                return frozenset([name])
        return frozenset()

    # numbers
    def number(self, node: ast.expr) -> Value:
        match node:
            case ast.Constant(value=int(value) | float(value)) if not isinstance(value, bool) and abs(value) <= LARGEST:
                constant = exactly(np.float64(value))
                return lambda columns: constant
            case ast.Name(id=name) if name in self.vocabulary.numbers:
                self.names.add(name)
                return lambda columns: columns.number(name)
            case ast.BinOp(left=left, op=op, right=right) if type(op) in ARITHMETIC:
                first, second, function = self.number(left), self.number(right), ARITHMETIC[type(op)]
                return lambda columns: _computed(function, first(columns), second(columns))
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                inner = self.number(operand)
                return lambda columns: _subtract(NOTHING, inner(columns))
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
                return lambda columns: _joined(join, [one(columns) for one in values])
            case "ln", [one]:
                inner = self.number(one)
                return lambda columns: _log(inner(columns))
            case "abs", [one]:
                inner = self.number(one)
                return lambda columns: _absolute(inner(columns))
            case "round", [one]:
                inner = self.number(one)
                return lambda columns: _rounded(inner(columns))
            case "points", [_, *_]:
                pairs = [self.point(one) for one in arguments]
                try:
                    return _points([judge for judge, _ in pairs], [worth for _, worth in pairs])
                except (OverflowError, ValueError):
                    raise self.refuse(node, "sum of finite points") from None
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


def _every(judges: list[Judge]) -> Judge:
    """And."""

    def judge(columns: Columns) -> Sets:
        yes, no = columns.everybody, 0
        for one in judges:
            truth = one(columns)
            yes, no = yes & truth.yes, no | truth.no
            if no == columns.everybody:
                break
        return Sets(yes, no)

    return judges[0] if len(judges) == 1 else judge


def _some(judges: list[Judge]) -> Judge:
    """Or."""

    def judge(columns: Columns) -> Sets:
        yes, no = 0, columns.everybody
        for one in judges:
            truth = one(columns)
            yes, no = yes | truth.yes, no & truth.no
            if yes == columns.everybody:
                break
        return Sets(yes, no)

    return judge


def _at_least(wanted: int, judges: list[Judge]) -> Judge:
    def judge(columns: Columns) -> Sets:
        yes, no = zip(*(one(columns) for one in judges), strict=True)
        return Sets(_reached(columns, wanted, yes), _reached(columns, len(judges) - wanted + 1, no))

    return judge


def _reached(columns: Columns, wanted: int, sets: Sequence[Patients]) -> Patients:
    """Who is in at least so many of the sets."""
    if wanted > len(sets):
        return 0
    in_so_many = [columns.everybody, *[0] * max(wanted, 0)]
    for one in sets:
        for count in range(len(in_so_many) - 1, 0, -1):
            in_so_many[count] |= in_so_many[count - 1] & one
    return in_so_many[-1]


def _points(judges: Sequence[Judge], worths: Sequence[float]) -> Value:
    """The sum of what is worth something, if it is so. Whole multiples of one unit are summed: that is exact.

    Raises:
        OverflowError, ValueError: worths that are infinite, or too far apart to have one.
    """
    exact_worths = [Fraction(repr(worth)) for worth in worths]
    per_point = math.lcm(*(worth.denominator for worth in exact_worths))
    units_I = np.array([float(worth * per_point) for worth in exact_worths])
    units = float(per_point)  # in a point

    def value(columns: Columns) -> Interval:
        certain, possible = list[Patients](), list[Patients]()
        for judge, worth in zip(judges, worths, strict=True):
            yes, no = judge(columns)
            sure, may_be = (certain, possible) if worth > 0 else (possible, certain)
            sure.append(yes)
            may_be.append(columns.everybody ^ no)
        if certain == possible:
            return exactly(units_I @ columns.masks(certain) / units)
        masks_EIN = columns.masks([*certain, *possible]).reshape(2, len(judges), columns.size)
        return Interval(*(units_I @ masks_EIN / units))

    return value


def _settled_of(columns: Columns, yes: Patients) -> Sets:
    """So of these, and not so of all others."""
    return Sets(yes, columns.everybody ^ yes)


def _known(value: Interval) -> Bools:
    known: Bools = np.isfinite(value.low) & (value.low == value.high)
    return known


def _computed(function: Callable[[Interval, Interval], Interval], first: Interval, second: Interval) -> Interval:
    if function is not _power and (first is UNKNOWN or second is UNKNOWN):
        return UNKNOWN
    return function(first, second)


def _joined(join: Callable[[Floats, Floats], Floats], values: list[Interval]) -> Interval:
    """The least, or the greatest, of numbers."""
    found = [bounds(value) for value in values]
    low = functools.reduce(join, [value.low for value in found])
    return Interval(low, low if all(map(exact, found)) else functools.reduce(join, [value.high for value in found]))


def _rounded(value: Interval) -> Interval:
    low = np.floor(value.low + 0.5)
    return Interval(low, low if exact(value) else np.floor(value.high + 0.5))


def _absolute(value: Interval) -> Interval:
    value = bounds(value)
    low, high = np.abs(value.low), np.abs(value.high)
    if exact(value):
        return Interval(low, low)
    spans = (value.low < 0) & (value.high > 0)
    return Interval(np.where(spans, 0.0, np.minimum(low, high)), np.maximum(low, high))
