"""Every numeric limit of every rule divides patients where its text says: below it, on it, and above.

A patient who meets the rule is taken, and whatever else would meet it in place of the limit is forgotten; then one value
is moved across, and nothing else. Items of scores have tests of their own in `test_scores.py`.
"""

from __future__ import annotations

import ast
import functools
import operator
import re
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import pytest

from azr_gym.clinical.criteria import criterion, formula
from azr_gym.clinical.engine import PERSONAL, shared
from azr_gym.clinical.generate import Generator
from azr_gym.clinical.library import knowledge

OPERATORS: dict[type[ast.cmpop], Callable[[float, float], bool]] = {
    ast.Lt: operator.lt, ast.LtE: operator.le, ast.Gt: operator.gt, ast.GtE: operator.ge,
}  # fmt: skip
MIRRORED: dict[type[ast.cmpop], type[ast.cmpop]] = {ast.Lt: ast.Gt, ast.LtE: ast.GtE, ast.Gt: ast.Lt, ast.GtE: ast.LtE}
NUMBERS = knowledge().vocabulary.numbers
DRAWN, MADE, TRIED = 20, 160, 240  # patients a rule
Facts = dict[str, float]


class Limit(NamedTuple):
    """A comparison of a rule.

    Attributes:
        rule: its place among the library's rules.
        name: the number that is compared.
        holds: how.
        bound: with what.
        speaks_for: whether the rule asks that it be so, or not so.
    """

    rule: int
    name: str
    holds: Callable[[float, float], bool]
    bound: str
    speaks_for: bool

    def __str__(self) -> str:
        condition = knowledge().checks[self.rule].condition
        number = self.rule - next(n for n, one in enumerate(knowledge().checks) if one.condition is condition) + 1
        return f"{condition.id}-{number}-{self.name}-{self.holds.__name__}-{self.bound}"


def truths(node: ast.expr, speaks_for: bool) -> Iterator[tuple[str, ast.cmpop, ast.expr, bool]]:
    """The comparisons in a test, and whether it asks for them."""
    match node:
        case ast.BoolOp(values=values):
            for one in values:
                yield from truths(one, speaks_for)
        case ast.UnaryOp(op=ast.Not(), operand=one):
            yield from truths(one, not speaks_for)
        case ast.Call(func=ast.Name(id="at_least" | "documented"), args=arguments):
            for one in arguments:
                yield from truths(one, speaks_for)
        case ast.Compare(left=left, ops=ops, comparators=others):
            for first, op, second in zip([left, *others], ops, others, strict=False):
                for number, against, way in ((first, second, op), (second, first, MIRRORED.get(type(op), ast.Eq)())):
                    if isinstance(number, ast.Name) and number.id in NUMBERS and type(way) in OPERATORS:
                        yield number.id, way, against, speaks_for
                        break
                    yield from points(number, speaks_for == isinstance(way, ast.Gt | ast.GtE))


def points(node: ast.expr, speaks_for: bool) -> Iterator[tuple[str, ast.cmpop, ast.expr, bool]]:
    """The comparisons that a sum of points rests on."""
    match node:
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            yield from points(left, speaks_for)
            yield from points(right, speaks_for)
        case ast.Call(func=ast.Name(id="max" | "min"), args=arguments):
            for one in arguments:
                yield from points(one, speaks_for)
        case ast.Call(func=ast.Name(id="points"), args=arguments):
            for one in arguments:
                match one:
                    case ast.BinOp(left=worth, op=ast.Mult(), right=test):
                        yield from truths(test, speaks_for != isinstance(worth, ast.UnaryOp))
                    case _:
                        yield from truths(one, speaks_for)


TREES = [ast.parse(" ".join(check.rule.when.split()), mode="eval").body for check in knowledge().checks]
LIMITS = sorted(
    {
        Limit(number, name, OPERATORS[type(way)], ast.unparse(against), speaks_for)
        for number, tree in enumerate(TREES)
        for name, way, against, speaks_for in truths(tree, True)
    },
    key=str,
)
UNFELT = {  # nothing hangs on these, whoever the patient is
    "acute_alcoholic_hepatitis-2-alt-lt-400": "AST below 400 is more than 1.5 times ALT",
    "acute_alcoholic_hepatitis-3-alt-lt-400": "AST below 400 is more than 1.5 times ALT",
    "dermatomyositis-1-age-lt-40": "from 40 on age is worth more",
    "dermatomyositis-2-age-lt-40": "from 40 on age is worth more",
    "polymyositis-1-age-lt-40": "from 40 on age is worth more",
    "heart_failure-1-age-ge-50": "below 50 less NT-proBNP is enough",
    "hit-2-platelets-lt-20": "from 20 on platelets are worth more",
}


LITERALS = {  # findings that a rule names, and whether it asks for them
    number: {
        node.id: not re.search(rf"not (documented\()?{node.id}\b", ast.unparse(tree))
        for node in ast.walk(tree)
        if isinstance(node, ast.Name) and node.id in knowledge().findings
    }
    for number, tree in enumerate(TREES)
}


@functools.cache
def drawn(condition: str) -> list[Facts]:
    """Patients of the generator: some of whom little is known, and some of whom all is."""
    generator, rng, rows = Generator(shared()), np.random.default_rng(0), list[Facts]()
    for whole in (False, True):
        facts = generator.sample(rng, condition, DRAWN, whole=whole)
        rows += [{name: float(column[place]) for name, column in facts.items()} for place in range(DRAWN)]
    return [{name: value for name, value in row.items() if not np.isnan(value)} for row in rows]


def computed(text: str, facts: Facts) -> float:
    """What a formula is of a patient."""
    columns = knowledge().columns({name: np.array([value]) for name, value in facts.items()}, 1)
    low, high = formula(text, knowledge().vocabulary)(columns)
    return float(low[0]) if low[0] == high[0] else np.nan


@functools.cache
def patients(rule: int) -> list[Facts]:
    """Patients who may meet a rule: drawn ones, and others made of what it names. What it computes is known as such."""
    check, rng, limits = knowledge().checks[rule], np.random.default_rng(0), [one for one in LIMITS if one.rule == rule]
    names = shared().grounds_K[rule] | PERSONAL
    rows = [{name: value for name, value in facts.items() if name in names} for facts in drawn(check.condition.id)]
    for facts in rows:
        values = {name: computed(name, facts) for name in check.criterion.names if name in knowledge().formulas}
        facts.update((name, value) for name, value in values.items() if not np.isnan(value))
    for _ in range(MADE):
        facts = dict(rows[int(rng.integers(len(rows)))])
        facts.update((name, float(asked)) for name, asked in LITERALS[rule].items() if rng.random() < 0.8)
        for limit in limits:
            if rng.random() < 0.6:
                facts |= around(limit, facts)[int(rng.integers(3))]
        for name in sorted(check.criterion.names - PERSONAL):
            if rng.random() < 0.2:
                facts.pop(name, None)
        rows.append(facts)
    return rows


def at(limit: Limit, facts: Facts) -> float:
    """The limit of a patient: it may hang on who they are, or on another value."""
    try:
        return float(limit.bound)
    except ValueError:
        return computed(limit.bound, {name: value for name, value in facts.items() if name != limit.name})


def around(limit: Limit, facts: Facts) -> list[Facts]:
    """A patient with the value just below the limit, on it, and just above."""
    bound = at(limit, facts)
    step = max(abs(bound), 1.0) * 1e-6
    return [facts | {limit.name: bound + away} for away in (-step, 0.0, step)]


def wanted(limit: Limit, rows: list[Facts]) -> list[bool]:
    """What the text of the rule says of each, if all hangs on the limit. Nobody has what is not found at their age."""
    low, high = knowledge().checks[limit.rule].condition.age
    return [
        low <= one.get("age", low) <= high and limit.holds(one[limit.name], at(limit, one)) == limit.speaks_for
        for one in rows
    ]


def judged(rule: int, rows: list[Facts]) -> list[bool]:
    """Whether the engine counts the rule as met."""
    found = shared().judge(shared()._columns(rows))
    return [bool(found.met.get(rule, 0) >> place & 1) for place in range(len(rows))]


def met(rule: int, rows: list[Facts]) -> list[bool]:
    """The same, of the rule's criterion alone: it is quicker, and finds out whom to ask the engine about."""
    alike: dict[frozenset[str], list[int]] = {}  # a number that one of a batch brings along is computed for none of it
    for place, facts in enumerate(rows):
        alike.setdefault(frozenset(facts.keys() & knowledge().formulas.keys()), []).append(place)
    found_N = np.zeros(len(rows), np.bool_)
    for places in alike.values():
        names = sorted(set().union(*(rows[place] for place in places)))
        table = {name: np.array([rows[place].get(name, np.nan) for place in places]) for name in names}
        found_N[places] = knowledge().checks[rule].criterion(knowledge().columns(table, len(places))).yes
    return found_N.tolist()


def hanging(limit: Limit) -> Facts | None:
    """A patient who meets the rule on one side of the limit and not on the other; None where none is found."""
    rows = patients(limit.rule)
    sides = [(below, above) for below, _, above in (around(limit, facts) for facts in rows)]
    if limit.holds(0.0, 1.0) != limit.speaks_for:
        sides = [(above, below) for below, above in sides]
    right, wrong = (met(limit.rule, [side[place] for side in sides]) for place in (0, 1))
    for facts, asked, other in zip(rows, right, wrong, strict=True):
        if asked and not other:
            return facts
    kept = knowledge().grounds(criterion(f"{limit.name} < {limit.bound}", knowledge().vocabulary).names)
    rng = np.random.default_rng(0)
    for place in rng.permutation(np.flatnonzero(right))[:TRIED]:
        asked_of, other_of = (dict(side) for side in sides[place])
        for name in rng.permutation(sorted(asked_of.keys() - kept - {"age", "female", "male"})).tolist():
            if met(limit.rule, [{key: value for key, value in asked_of.items() if key != name}])[0]:
                del asked_of[name], other_of[name]
        if not met(limit.rule, [other_of])[0]:
            return asked_of
    return None


@pytest.mark.parametrize("limit", LIMITS, ids=str)
def test_a_value_is_judged_on_either_side_of_a_limit_and_on_it_as_the_rule_says(limit: Limit) -> None:
    facts = hanging(limit)
    if str(limit) in UNFELT:
        assert facts is None, "a patient hangs on this limit: it is to be tested"
        return
    assert facts is not None, "no patient hangs on this limit"
    rows = around(limit, facts)
    assert judged(limit.rule, rows) == wanted(limit, rows)


def test_what_is_said_to_be_unfelt_is_a_limit() -> None:
    assert set(UNFELT) <= set(map(str, LIMITS))
    assert len(set(map(str, LIMITS))) == len(LIMITS) > 900
