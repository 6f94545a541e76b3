"""The clinical engine once more, as one would write it first: a patient at a time, a rule at a time, recursively.

Tests compare the real engine with it; the benchmark says how much faster that one is. Shares no code with it but the
knowledge: every criterion is read by Python's parser, and walked over for each patient.
"""

from __future__ import annotations

import ast
import functools
import itertools
import math
import operator
from collections.abc import Mapping

from azr_gym.clinical.engine import EVERYDAY, URGENT, Verdict
from azr_gym.clinical.library import AGE, FEMALE, MALE, TIERS, Condition, Level, Library, Sex
from azr_gym.clinical.plausible import BODY_LIMITS

Facts = Mapping[str, float]
Range = tuple[float, float]
ANY: Range = (-math.inf, math.inf)
ARITHMETIC = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv, ast.Pow: operator.pow,
}  # fmt: skip


@functools.cache
def tree(text: str) -> ast.expr:
    """A criterion or a formula."""
    return ast.parse(" ".join(text.split()), mode="eval").body


class Patient:
    """One patient.

    Args:
        facts: what is known; a value that is NaN is not.
        known: the library.
    """

    def __init__(self, facts: Facts, known: Library) -> None:
        self.facts = {name: value for name, value in facts.items() if not math.isnan(value)}
        self.known = known

    def has(self, finding: str) -> bool | None:
        """Whether a finding is there; None where that is not known."""
        return {1.0: True, 0.0: False}.get(self.facts.get(finding, math.nan))

    def truth(self, node: ast.expr) -> bool | None:
        """Whether something is so."""
        match node:
            case ast.BoolOp(op=op, values=values):
                settles = isinstance(op, ast.Or)
                found = [self.truth(one) for one in values]
                return settles if settles in found else None if None in found else not settles
            case ast.UnaryOp(operand=operand):
                said = self.truth(operand)
                return None if said is None else not said
            case ast.Compare(left=left, ops=ops, comparators=others):
                terms = [self.number(one) for one in (left, *others)]
                pairs = [compared(op, *pair) for op, pair in zip(ops, itertools.pairwise(terms), strict=True)]
                return False if False in pairs else None if None in pairs else True
            case ast.Call(func=ast.Name(id="at_least"), args=[ast.Constant(value=int(wanted)), *tests]):
                found = [self.truth(one) for one in tests]
                return (
                    True
                    if found.count(True) >= wanted
                    else None
                    if len(found) - found.count(False) >= wanted
                    else False
                )
            case ast.Call(func=ast.Name(id="documented"), args=[test]):
                return self.truth(test) is True
            case ast.Call(func=ast.Name(id="known"), args=[ast.Name(id=name)]) if name in self.known.vocabulary.numbers:
                low, high = self.number(ast.Name(name))
                return low == high and math.isfinite(low)
            case ast.Call(func=ast.Name(id="known"), args=[test]):
                return self.truth(test) is not None
            case ast.Constant(value=bool(value)):
                return value
            case ast.Name(id=name):
                return self.has(name)
        raise AssertionError(ast.unparse(node))

    def number(self, node: ast.expr) -> Range:
        """Between what a number lies."""
        match node:
            case ast.Constant(value=int(value) | float(value)):
                return (float(value), float(value))
            case ast.Name(id=name) if name in self.facts:
                return (self.facts[name], self.facts[name])
            case ast.Name(id=name) if name in self.known.formulas:
                return self.number(tree(self.known.formulas[name].text))
            case ast.Name():
                return ANY
            case ast.UnaryOp(operand=operand):
                low, high = self.number(operand)
                return (-high, -low)
            case ast.BinOp(left=left, op=op, right=right):
                return computed(op, self.number(left), self.number(right))
            case ast.Call(func=ast.Name(id="lln" | "uln" as limit), args=[ast.Name(id=analyte)]):
                return self.limit(analyte, limit == "uln")
            case ast.Call(func=ast.Name(id="points"), args=arguments):
                return self.points(arguments)
            case ast.Call(func=ast.Name(id="min" | "max" as name), args=arguments):
                lows, highs = zip(*map(self.number, arguments), strict=True)
                return (min(lows), min(highs)) if name == "min" else (max(lows), max(highs))
            case ast.Call(func=ast.Name(id=name), args=[argument]):
                low, high = self.number(argument)
                if name == "abs":
                    return (0.0 if low < 0 < high else min(abs(low), abs(high)), max(abs(low), abs(high)))
                if name == "ln":
                    return (logarithm(low), logarithm(high))
                return (rounded(low), rounded(high))
        raise AssertionError(ast.unparse(node))

    def limit(self, analyte: str, upper: bool) -> Range:
        """A reference limit."""
        one, age, is_female = self.known.analytes[analyte], self.facts.get(AGE), self.has(FEMALE)
        ages = one.starts if age is None else (age,)
        sexes = (False, True) if is_female is None else (is_female,)
        limits = [one.interval(sex, years)[upper] for sex in sexes for years in ages]
        return (min(limits), max(limits))

    def points(self, arguments: list[ast.expr]) -> Range:
        """The sum of what is worth something, if it is so."""
        low = high = 0.0
        for one in arguments:
            worth, test = 1.0, one
            if isinstance(one, ast.BinOp):
                worth, test = self.number(one.left)[0], one.right
            said = self.truth(test)
            low += worth * (said is True if worth > 0 else said is not False)
            high += worth * (said is not False if worth > 0 else said is True)
        return (low, high)

    def can_have(self, one: Condition) -> bool:
        """Whether sex and age allow it."""
        other = {Sex.ANY: "", Sex.FEMALE: MALE, Sex.MALE: FEMALE}[one.sex]
        return self.has(other) is not True and one.age[0] <= self.facts.get(AGE, one.age[0]) <= one.age[1]

    def can_be(self) -> bool:
        """Whether there are such patients."""
        for name, value in self.facts.items():
            limits = BODY_LIMITS.get(name) or (self.known.analytes[name].limits if name in self.known.analytes else ANY)
            if not limits[0] <= value <= limits[1]:
                return False
            finding = self.known.findings.get(name)
            if finding is not None and value == 1.0:
                other = {Sex.ANY: "", Sex.FEMALE: MALE, Sex.MALE: FEMALE}[finding.sex]
                if self.has(other) or not finding.age[0] <= self.facts.get(AGE, finding.age[0]) <= finding.age[1]:
                    return False
        rejected = (one for one, _ in self.known.implausible if one.level is Level.REJECT)
        return not any(self.truth(tree(one.when)) for one in rejected)


def compared(op: ast.cmpop, first: Range, second: Range) -> bool | None:
    """Whether one number stands so to another; None where that is open."""
    match op:
        case ast.Gt() | ast.GtE():
            return compared(ast.Lt() if isinstance(op, ast.Gt) else ast.LtE(), second, first)
        case ast.Lt():
            return True if first[1] < second[0] else False if first[0] >= second[1] else None
        case ast.LtE():
            return True if first[1] <= second[0] else False if first[0] > second[1] else None
    apart = first[0] > second[1] or first[1] < second[0]
    alike = first[0] == first[1] == second[0] == second[1]
    return None if not apart and not alike else alike == isinstance(op, ast.Eq)


def computed(op: ast.operator, first: Range, second: Range) -> Range:
    """Arithmetic of what is open: the least and the greatest that can come out."""
    if isinstance(op, ast.Div) and second[0] <= 0 <= second[1]:
        return ANY
    if isinstance(op, ast.Pow) and first[0] <= 0:
        return ANY
    if isinstance(op, ast.Add | ast.Sub):
        ends = [
            ARITHMETIC[type(op)](a, b)
            for a, b in zip(first, second if isinstance(op, ast.Add) else second[::-1], strict=True)
        ]
    else:
        ends = [power(a, b) if isinstance(op, ast.Pow) else ARITHMETIC[type(op)](a, b) for a in first for b in second]
    return ANY if any(map(math.isnan, ends)) else (min(ends), max(ends))


def power(base: float, exponent: float) -> float:
    """Infinite where it is too large."""
    try:
        return float(base**exponent)
    except OverflowError:
        return math.inf


def rounded(value: float) -> float:
    """Halves up."""
    return math.floor(value + 0.5) if math.isfinite(value) else value


def logarithm(value: float) -> float:
    """Of nothing, minus infinity."""
    return math.log(value) if value > 0 else -math.inf


def diagnose(facts: Facts, known: Library) -> tuple[Verdict, str | None]:
    """What the engine should say of a patient: the verdict, and the diagnosis where there is one."""
    patient, surest, is_open = Patient(facts, known), dict[str, int](), False
    for check in known.checks:
        one = check.condition
        if not patient.can_have(one):
            continue
        met = patient.truth(tree(check.rule.when))
        if met:
            surest[one.id] = min(surest.get(one.id, 9), check.rule.certainty)
        if met is None and one.acuity <= URGENT:
            named = check.criterion.names & set(known.findings)
            is_open |= any(patient.has(name) and known.findings[name].background < EVERYDAY for name in named)
    fallen = set().union(*(known.ancestors(one) for one in surest))
    fallen |= {one for one in surest if surest.keys() & set(known.conditions[one].manifestation_of)}
    ranked = sorted(rank(patient, known.conditions[one], surest[one]) for one in surest.keys() - fallen)
    if not patient.can_be():
        return Verdict.IMPLAUSIBLE, None
    if len(ranked) > 1 and ranked[0][:4] == ranked[1][:4]:
        return Verdict.AMBIGUOUS, None
    if ranked:
        return Verdict.DIAGNOSIS, ranked[0][-1]
    return (Verdict.INSUFFICIENT if is_open else Verdict.NO_DIAGNOSIS), None


def rank(patient: Patient, one: Condition, certainty: int) -> tuple[int, int, int, int, int, str]:
    """Certainty, acuity, findings explained, facts that the longest rule looks at, tier, id: the least stands first."""
    checks = [check for check in patient.known.checks if check.condition is one]
    looked_at = [check.criterion.names for check in checks]
    fits = set(one.presents).union(*looked_at) & set(patient.known.findings)
    explained = sum(patient.has(name) is True for name in fits)
    return (certainty, one.acuity, -explained, -max(map(len, looked_at)), TIERS.index(one.tier), one.id)
