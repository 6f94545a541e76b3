"""The rules of induction: read as data, drawn from the library's criteria, and patients on both sides of them.

A rule that a model writes is bounded before it is judged: its length, its depth, its numbers; nothing of it is run.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from azr_gym.clinical.criteria import BadCriterion, Columns, Criterion, Floats, Truth, criterion
from azr_gym.clinical.latent import agree
from azr_gym.clinical.library import AGE, BODY, FEMALE, MALE, PERSON, PREGNANT, Library, Sex
from azr_gym.clinical.plausible import rejected
from azr_gym.clinical.task import MAX_FACTS_EACH, MAX_RULE_CHARS, N_PAIRS, Facts, Pair, frozen
from azr_sandbox import quiet

HELD_OUT_SHARE = 8  # one skeleton in so many is kept aside for tests
LARGEST = 1e9  # number in a rule
MAX_FACTS = 8  # that a drawn rule hangs on, apart from who the patient is
CROWD, DRAWS = 96, 3  # patients drawn at once for a rule, and how often before it is given up
PARTS = (1, 2, 2, 3)  # conjuncts of a criterion that a drawn rule keeps
ARGUMENTS = 4  # most arguments of a list that it keeps
SHIFTED = 0.5  # share of the thresholds that are moved
NORMAL = 0.25  # share of the values that lie within the reference interval whatever the rule says
BESIDE = 3  # facts without a bearing on the rule that are known of everybody
ADULTS = (18.0, 90.0)
BODIES = {"weight_kg": (45.0, 120.0), "height_cm": (150.0, 195.0)}  # of grown people
JOINS = (ast.And(), ast.Or())
PERSONAL = frozenset([*PERSON, AGE])
MIRRORED: dict[type[ast.cmpop], type[ast.cmpop]] = {ast.Gt: ast.Lt, ast.GtE: ast.LtE}


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule that has been read.

    Attributes:
        text: as `written` writes it.
        criterion: the same, ready to judge.
    """

    text: str
    criterion: Criterion

    @property
    def skeleton(self) -> str:
        """Which facts are joined how: without numbers, what has no order in the order of its text."""
        return written(_bare(ast.parse(self.text, mode="eval").body))

    @property
    def held_out(self) -> bool:
        """Whether rules of this skeleton are kept aside for tests."""
        return int.from_bytes(hashlib.blake2b(self.skeleton.encode(), digest_size=8).digest()) % HELD_OUT_SHARE == 0


def written(node: ast.expr) -> str:
    """A rule as text, with no more brackets than it needs: `ast.unparse` puts some round every `not`."""
    match node:
        case ast.BoolOp(op=op, values=values):
            parts = [f"({written(one)})" if isinstance(one, ast.BoolOp) else written(one) for one in values]
            return f" {'and' if isinstance(op, ast.And) else 'or'} ".join(parts)
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            return f"not ({written(operand)})" if isinstance(operand, ast.BoolOp) else f"not {written(operand)}"
        case ast.Call(func=ast.Name(id=name), args=arguments, keywords=[]):
            return f"{name}({', '.join(map(written, arguments))})"
    return ast.unparse(node)


def _small(node: ast.AST) -> bool:
    value = node.value if isinstance(node, ast.Constant) else 0
    return isinstance(value, int | float) and math.isfinite(value) and abs(value) <= LARGEST


def _bare(node: ast.expr) -> ast.expr:
    """A rule without its numbers, in one order."""
    for name, inner in ast.iter_fields(node):
        if isinstance(inner, ast.expr):
            setattr(node, name, _bare(inner))
        elif isinstance(inner, list):
            setattr(node, name, [_bare(one) if isinstance(one, ast.expr) else one for one in inner])
    match node:
        case ast.Constant(value=int() | float()):
            return ast.Constant(0)
        case ast.Compare(left=left, ops=[op], comparators=[right]) if type(op) in MIRRORED:
            return ast.Compare(right, [MIRRORED[type(op)]()], [left])
        case ast.BoolOp(values=values):
            values.sort(key=written)
        case ast.Call(func=ast.Name(id="at_least" | "points" | "min" | "max"), args=arguments):
            arguments.sort(key=written)
    return node


def columns_of(patients: Sequence[Facts]) -> dict[str, Floats]:
    """Patients as columns of facts, NaN where one is unknown."""
    rows = [dict(facts) for facts in patients]
    return {name: np.array([row.get(name, np.nan) for row in rows], np.float64) for name in sorted(set().union(*rows))}


def judged(rule: Rule, columns: Columns) -> Truth:
    """Who meets a rule."""
    with np.errstate(all="ignore"):  # a rule may compute nonsense, and is then met by nobody
        return rule.criterion(columns)


class _Simpler(ast.NodeTransformer):
    """Fewer arguments, nothing about what is documented or known (everything is), some thresholds moved."""

    def __init__(self, rng: np.random.Generator, known: Library) -> None:
        self.rng, self.known = rng, known

    def _some(self, values: list[ast.expr]) -> list[ast.expr]:
        places = sorted(self.rng.permutation(len(values))[:ARGUMENTS].tolist())
        return [values[place] for place in places]

    def visit_BoolOp(self, node: ast.BoolOp) -> ast.AST:
        self.generic_visit(node)
        if isinstance(node.op, ast.Or):
            node.values = self._some(node.values)
        return node

    def visit_Call(self, node: ast.Call) -> ast.AST:
        self.generic_visit(node)
        match node:
            case ast.Call(func=ast.Name(id="documented"), args=[inner]):
                return inner
            case ast.Call(func=ast.Name(id="at_least"), args=[ast.Constant(value=int(wanted)), *others]):
                some = self._some(others)
                node.args = [ast.Constant(min(wanted, len(some))), *some]
        return node

    def visit_Compare(self, node: ast.Compare) -> ast.AST:
        self.generic_visit(node)
        match node:
            case ast.Compare(left=ast.Name(id=name), comparators=[ast.Constant(value=int(cut) | float(cut))]):
                if name in self.known.analytes and self.rng.random() < SHIFTED:
                    node.comparators = [ast.Constant(self._moved(name, float(cut)))]
        return node

    def _moved(self, name: str, cut: float) -> float:
        analyte = self.known.analytes[name]
        moved = round(cut + float(self.rng.uniform(-0.5, 0.5)) * _width(self.known, name), analyte.decimals)
        low, high = analyte.limits
        if not low < moved < high:
            return cut
        return int(moved) if moved.is_integer() else moved


def _width(known: Library, name: str) -> float:
    """Of the reference interval; of a part of what is possible, where it is a single value."""
    (low, high), (least, most) = known.analytes[name].reference, known.analytes[name].limits
    return high - low or (most - least) / 20


def _number(node: ast.expr, known: Library) -> float | None:
    match node:
        case ast.Constant(value=int(value) | float(value)):
            return float(value)
        case ast.Call(func=ast.Name(id="uln" | "lln" as end), args=[ast.Name(id=name)]) if name in known.analytes:
            return known.analytes[name].reference[end == "uln"]
        case ast.BinOp(left=ast.Constant(value=int(times) | float(times)), op=ast.Mult(), right=right):
            limit = _number(right, known)
            return None if limit is None else times * limit
    return None


def _halves(rng: np.random.Generator, sides: Mapping[bool, list[Facts]], half: int) -> tuple[Pair, ...]:
    """Two halves with both labels, in an order that tells nothing."""
    found: list[Pair] = []
    for _ in range(2):
        met = int(rng.integers(half // 2, half - half // 2 + 1))  # nearly half of them
        part = [(sides[label].pop(), label) for label, size in ((True, met), (False, half - met)) for _ in range(size)]
        found += [part[place] for place in rng.permutation(half)]
    return tuple(found)


class Rulebook:
    """Reads rules, draws them, and draws patients for them.

    Args:
        known: the library, whose names a rule speaks of and whose criteria rules are drawn from.
    """

    def __init__(self, known: Library) -> None:
        self.known = known
        self._known_rule = functools.lru_cache(maxsize=8192)(self._read)  # rollouts repeat themselves
        self.labels = functools.lru_cache(maxsize=2048)(self._labels)
        self._columns = functools.lru_cache(maxsize=512)(self._columns_of)  # a task is answered by many rollouts
        self._criteria: dict[str, list[str]] = {}  # of each condition
        for check in known.checks:
            self._criteria.setdefault(check.condition.id, []).append(" ".join(check.criterion.text.split()))
        self._having: dict[str, list[str]] = {}  # the conditions whose patients have a fact
        for one in known.conditions.values():
            for name in (*one.presents, *one.labs):
                self._having.setdefault(name, []).append(one.id)

    def read(self, text: str) -> Rule | None:
        """A rule from a text; None where it is none, or beyond what a rule may be."""
        if len(text) > MAX_RULE_CHARS or "</" in text:  # a tag: the parser is slow to refuse it
            return None
        return self._known_rule(text)

    def _read(self, text: str) -> Rule | None:
        try:
            tree = quiet.parse(" ".join(text.split()), "eval")
            if not isinstance(tree, ast.Expression) or not all(map(_small, ast.walk(tree))):
                return None
            normal = written(tree.body)
            return Rule(normal, criterion(normal, self.known.vocabulary))
        except (SyntaxError, ValueError, RecursionError, MemoryError, OverflowError, BadCriterion):
            return None

    def grounds(self, rule: Rule) -> frozenset[str]:
        """The facts that a rule hangs on, those of its scores included."""
        return frozenset(name for name in self.known.grounds(rule.criterion.names) if name not in self.known.formulas)

    def _labels(self, rule: Rule, patients: tuple[Facts, ...]) -> tuple[bool | None, ...]:
        """Whether each patient meets a rule; None where that is not settled."""
        yes_N, no_N = judged(rule, self._columns(patients))
        return tuple(
            True if yes else False if no else None for yes, no in zip(yes_N.tolist(), no_N.tolist(), strict=True)
        )

    def _columns_of(self, patients: tuple[Facts, ...]) -> Columns:
        return self.known.columns(columns_of(patients), len(patients))

    def draw(self, rng: np.random.Generator, condition: str) -> Rule | None:
        """A rule made of a condition's criterion: some of its parts, some of its thresholds moved.

        Args:
            rng: a numpy generator.
            condition: its id.

        Returns:
            None where what was drawn hangs on too much, or on who the patient is alone.
        """
        criteria = self._criteria[condition]
        body = ast.parse(criteria[int(rng.integers(len(criteria)))], mode="eval").body
        parts = body.values if isinstance(body, ast.BoolOp) and isinstance(body.op, ast.And) else [body]
        parts.sort(key=lambda part: isinstance(part, ast.UnaryOp))  # what is there before what is not
        more = PARTS[int(rng.integers(len(PARTS)))] - 1
        kept = [parts[0], *(parts[1:][place] for place in rng.permutation(len(parts) - 1)[:more])]
        simpler = [_Simpler(rng, self.known).visit(part) for part in kept]
        rule = self.read(written(simpler[0] if len(kept) == 1 else ast.BoolOp(ast.And(), simpler)))
        return rule if rule is not None and 1 <= len(self.grounds(rule) - PERSONAL) <= MAX_FACTS else None

    def join(self, rng: np.random.Generator, condition: str) -> Rule | None:
        """A condition's rule, and with `or` or `and` the rule of a condition of another organ system: a structure that
        no single criterion has. None as `draw`, or where it is too long."""
        here = self.known.conditions[condition].system
        others = [one.id for one in self.known.conditions.values() if one.system != here]
        rules = [self.draw(rng, one) for one in (condition, others[int(rng.integers(len(others)))])]
        parts = [ast.parse(rule.text, mode="eval").body for rule in rules if rule is not None]
        return self.read(written(ast.BoolOp(JOINS[int(rng.integers(2))], parts))) if len(parts) == 2 else None

    def pairs(self, rng: np.random.Generator, rule: Rule, count: int = N_PAIRS) -> tuple[Pair, ...] | None:
        """Different patients with their labels, both labels in either half, nothing unknown that the rule looks at.

        Args:
            rng: a numpy generator.
            rule: gives the labels.
            count: how many patients, an even number.

        Returns:
            (facts, label) of each, or None where hardly anybody is on one side of the rule.
        """
        sides: dict[bool, dict[Facts, None]] = {True: {}, False: {}}  # in the order of drawing
        for _ in range(DRAWS):
            table = self._crowd(rng, rule)
            columns = self.known.columns(table, CROWD)
            possible_N = ~rejected(columns, self.known)
            for label, there_N in zip((True, False), judged(rule, columns), strict=True):
                for place in np.flatnonzero(there_N & possible_N)[:count]:
                    row = ((name, float(column[place])) for name, column in table.items())
                    facts = frozen((name, value) for name, value in row if not math.isnan(value))
                    if len(facts) <= MAX_FACTS_EACH:
                        sides[label][facts] = None
            half = count // 2
            if min(len(side) for side in sides.values()) >= 2 * (half - half // 2):
                return _halves(rng, {label: [*side] for label, side in sides.items()}, half)
        return None

    def _crowd(self, rng: np.random.Generator, rule: Rule) -> dict[str, Floats]:
        """Patients of whom everything is known that the rule looks at, and a little beside: columns of `CROWD`."""
        grounds = self.grounds(rule)
        names = [*sorted(grounds), *self._beside(rng, grounds)]
        findings = [name for name in names if name in self.known.findings]
        analytes = [name for name in names if name in self.known.analytes]
        cuts = self._cuts(rule)
        table = self._people(rng, grounds, findings, cuts.get(AGE, ()))
        for name in findings:
            table[name] = (rng.random(CROWD) < 0.5).astype(np.float64)
        for name in findings:
            for other in self.known.findings[name].implies:
                table[other] = np.where(table[name] == 1.0, 1.0, table.get(other, np.nan))
        for name in analytes:
            table[name] = self._values(rng, name, cuts.get(name, ()))
        for name in sorted(BODIES.keys() & grounds):
            table[name] = np.round(rng.uniform(*BODIES[name], CROWD))
        agree(table, ["chloride"])  # as drawn: a rule may ask for any anion gap
        for name in analytes:
            analyte = self.known.analytes[name]
            table[name] = np.round(np.clip(table[name], *analyte.limits), analyte.decimals).astype(np.float64)
        return table

    def _beside(self, rng: np.random.Generator, grounds: Collection[str]) -> list[str]:
        """Facts that conditions have which share a fact with the rule: near enough to mislead."""
        near = sorted({one for name in grounds for one in self._having.get(name, ())} or self.known.conditions)
        one = self.known.conditions[near[int(rng.integers(len(near)))]]
        left = [name for name in (*one.presents, *one.labs) if name not in (*grounds, *PERSON, *BODY)]
        return [left[place] for place in rng.permutation(len(left))[:BESIDE]]

    def _people(
        self,
        rng: np.random.Generator,
        grounds: frozenset[str],
        findings: Sequence[str],
        cuts: Sequence[float],
    ) -> dict[str, Floats]:
        """Who they are: of a sex and an age in which the findings can be."""
        looked = [self.known.findings[name] for name in findings]
        sexes = {one.sex for one in looked} - {Sex.ANY}
        share = 0.5 if len(sexes) != 1 else float(sexes == {Sex.FEMALE})
        female_N = rng.random(CROWD) < (0.8 if PREGNANT in grounds else share)
        least = max((one.age[0] for one in looked), default=0)
        most = min((one.age[1] for one in looked), default=120)
        if least > most:  # findings of children and of grown people: nobody has both
            least, most = 0, 120
        ends = (max(least, ADULTS[0]), min(most, ADULTS[1]))
        age_N = rng.uniform(*(ends if ends[0] < ends[1] else (least, most)), CROWD)
        for cut in cuts:
            near_N = rng.random(CROWD) < 0.6
            age_N = np.where(near_N, np.clip(cut + rng.uniform(-12, 12, CROWD), least, most), age_N)
        return {
            AGE: np.floor(age_N),
            FEMALE: female_N.astype(np.float64),
            MALE: (~female_N).astype(np.float64),
            PREGNANT: (female_N & (rng.random(CROWD) < 0.5 * (PREGNANT in grounds))).astype(np.float64),
        }

    def _values(self, rng: np.random.Generator, name: str, cuts: Sequence[float]) -> Floats:
        """Values to either side of the thresholds of a rule, or of the reference limits: never just at one."""
        low, high = self.known.analytes[name].reference
        ends = np.array([*cuts] or (low, high), np.float64)
        end_N = ends[rng.integers(len(ends), size=CROWD)]
        side_N = np.where(rng.random(CROWD) < 0.5, -1.0, 1.0)
        beyond_N = np.maximum(np.maximum(low - end_N, end_N - high), 0)  # a threshold far out is far from everybody
        scale_N = np.maximum(_width(self.known, name), beyond_N / 2)
        far_N = np.exp(rng.uniform(np.log(0.2), np.log(2.0), CROWD)) * scale_N
        return np.where(rng.random(CROWD) < NORMAL, rng.uniform(low, high, CROWD), end_N + side_N * far_N)

    def _cuts(self, rule: Rule) -> dict[str, list[float]]:
        """What a rule compares each fact with, where that is a number or a reference limit."""
        found: dict[str, list[float]] = {}
        for node in ast.walk(ast.parse(rule.text, mode="eval")):
            if isinstance(node, ast.Compare):
                sides = [node.left, *node.comparators]
                names = [side.id for side in sides if isinstance(side, ast.Name)]
                numbers = [number for side in sides if (number := _number(side, self.known)) is not None]
                for name in names:
                    found.setdefault(name, []).extend(numbers)
        return found
