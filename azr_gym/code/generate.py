"""Draws random small programs with inputs: the tasks of this room, endlessly, without a model and without the box.

A program is grown forwards from its parameters, one operation of the `grammar` on another, so that it is well typed,
ends, never fails on an input of its types, and every parameter reaches the result. Each piece is a text and a
function at once: nothing written here is ever run as text.
"""

from __future__ import annotations

import functools
import hashlib
import itertools
from bisect import bisect
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, Final, Generic, Literal, NamedTuple, TypeVar, get_args

import numpy as np

from azr_gym.code.grammar import (
    BOOL,
    DICT,
    FORMS,
    HEADS,
    INT,
    INTS,
    LETTERS,
    LOOPS,
    PAIR,
    PARAMETERS,
    PRODUCTIONS,
    ROWS,
    SEPARATOR,
    STR,
    STRS,
    WHILES,
    Env,
    Expr,
    Form,
    Head,
    Loop,
    Production,
    Slot,
    Want,
    around,
    empty,
    head_skeleton,
    indent,
    name,
    rank,
    skeleton,
)  # fmt: skip
from azr_gym.code.normal import HELD_OUT_SHARE
from azr_gym.errors import BadArgument

LEVELS: Final = (1, 2, 3, 4, 5)
Split = Literal["train", "test", "ood"]

MAX_INPUTS = 64
MAX_INT = 10_000  # every integer is smaller, in size
MAX_ITEMS = 10  # of a container
MAX_STR = 16  # characters of a string
MAX_CHARS = 120  # of a value's text
MAX_LINE = 80  # of a statement, without its place in the body


@dataclass(frozen=True, slots=True)
class Sample:
    """A program, inputs, and what it makes of them.

    Attributes:
        source: the program, whose entry is `f`, without a last newline.
        inputs: distinct argument tuples.
        outputs: `f` of each.
        trace: for `inputs[0]`, (variable, value) after each statement of the body that was reached, a loop or an `if`
            being one; `("a, b", (1, 2))` where two are assigned; where an early return is passed by, the variable that
            goes on. The last is `("return", value)`.
    """

    source: str
    inputs: tuple[tuple[object, ...], ...]
    outputs: tuple[object, ...]
    trace: tuple[tuple[str, object], ...]


def sample(rng: np.random.Generator, *, level: int = 2, split: Split = "train", n_inputs: int = 1) -> Sample:
    """Draw a program and inputs. The same state of `rng` gives the same sample, on every machine.

    A program of level n has n statements at the top of its body:

    - 1: one expression, of one or two operations.
    - 2: also comprehensions, `if`, unpacking, now and then a second parameter.
    - 3: also `if`/`else`, `a if c else b`, early returns, and loops that gather (a start and a loop: two statements).
    - 4, 5: the same, longer, with two parameters more often.

    `split="train"` never gives a program that is held out (`normal.held_out`), `"test"` only such. An `"ood"` program
    holds a structure that no program of another split does, and else follows its level:

    - a helper function above `f`
    - `while`
    - `if` inside `for`
    - `for` inside `for`
    - `if` with two lines
    - `elif`
    - a variable kept while another statement computes something else
    - six or seven statements

    A program gives different outputs for different inputs, and not its only argument for `inputs[0]`. With more than
    one input at most half of the outputs are one value, where some tries find such inputs.

    Of 150,000 samples of level 1, 42% are distinct programs (130,000 were met in 400,000 samples); of levels 2 to 5,
    90%, 93%, 99% and 99%.

    Args:
        rng: a numpy generator; how much of it is used varies.
        level: 1 to 5.
        split: "train", "test" or "ood".
        n_inputs: 1 to 64.

    Raises:
        BadArgument: an argument is out of its range.
        TypeError: `rng` is no numpy Generator, or a number is no int.
    """
    _check(rng, level, split, n_inputs)
    dice = Dice(rng)
    for _ in range(MAX_PROGRAMS):
        try:
            program = (Draft(dice, level).ood() if split == "ood" else Draft(dice, level).write(level)).program()
        except _DeadEnd:
            continue
        if split != "ood" and _held_out(program) != (split == "test"):
            continue
        if found := _sample(dice, program, n_inputs):
            return found
    raise RuntimeError(f"no program of level {level} for split {split!r} in {MAX_PROGRAMS} draws; please report this")


MAX_PROGRAMS = 100_000  # draws for one sample: the loop ends. One in fifteen serves even for split="test".


def _check(rng: object, level: object, split: object, n_inputs: object) -> None:
    if not isinstance(rng, np.random.Generator):
        raise TypeError(f"rng must be a numpy Generator, not {type(rng).__name__}: write np.random.default_rng(seed)")
    for what, value in (("level", level), ("n_inputs", n_inputs)):
        if isinstance(value, bool) or not isinstance(value, int | np.integer):
            raise TypeError(f"{what} must be an int, not {type(value).__name__}")
    if level not in LEVELS:
        raise BadArgument(f"there is no level {level}: choose one of {', '.join(map(str, LEVELS))}")
    if split not in get_args(Split):
        raise BadArgument(f"there is no split {split!r}: choose one of {', '.join(get_args(Split))}")
    if not 1 <= n_inputs <= MAX_INPUTS:  # type: ignore[operator]
        raise BadArgument(f"n_inputs must be 1 to {MAX_INPUTS}, not {n_inputs}")


# --- chance -----------------------------------------------------------------------------------------------------
T = TypeVar("T")


class Weighted(NamedTuple, Generic[T]):
    """Things and how often each is drawn: their weights, summed up to exactly 1."""

    items: tuple[T, ...]
    sums: tuple[float, ...]


def weighted(rows: Iterable[tuple[T, float]]) -> Weighted[T] | None:
    """A table to draw from; None without rows."""
    rows = list(rows)
    total = sum(weight for _, weight in rows)
    sums = list(itertools.accumulate(weight / total for _, weight in rows))
    return Weighted(tuple(item for item, _ in rows), (*sums[:-1], 1.0)) if rows else None


class Dice:
    """Draws in blocks: a call of a numpy generator costs as much as ten of these."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.next: Callable[[], float] = self._stream(rng).__next__  # 0 <= x < 1

    @staticmethod
    def _stream(rng: np.random.Generator) -> Iterator[float]:
        while True:
            yield from rng.random(128).tolist()

    def within(self, low: int, high: int) -> int:
        """Low and high included."""
        return low + int(self.next() * (high - low + 1))

    def pick(self, items: Sequence[T]) -> T:
        """Any of the items."""
        return items[int(self.next() * len(items))]

    def choose(self, table: Weighted[T]) -> T:
        """One item, by weight."""
        return table.items[bisect(table.sums, self.next())]


# --- expressions ------------------------------------------------------------------------------------------------
class _DeadEnd(Exception):
    """No row fits: this program is given up, and another is drawn."""


class Scope:
    """The variables that may be read, and those that still must be."""

    def __init__(self, variables: list[Expr], pending: list[Expr]) -> None:
        self.variables = variables
        self.pending = pending

    def use(self, variable: Expr) -> None:
        """It need not be read any more."""
        if variable in self.pending:
            self.pending = [other for other in self.pending if other is not variable]


@functools.cache
def _productions(subject: str, result: str, needs: str, named: bool, plain: bool) -> Weighted[Production] | None:
    """The operations on a subject: with that result, with a slot for a variable of type `needs` ("": any)."""
    return weighted(
        (row, row.weight)
        for row in PRODUCTIONS
        if row.subject == subject
        and result in ("", row.result)
        and all(slot.literals or slot.type == needs for slot in row.slots)
        and (not needs or any(slot.type == needs for slot in row.slots))
        and (named or not row.repeats)
        and (row.plain or not plain)
    )


@functools.cache
def _heads(subject: str, needs: str) -> Weighted[Head] | None:
    return weighted(
        (row, row.weight)
        for row in HEADS
        if row.subject == subject and all(slot.literals or slot.type == needs for slot in row.slots)
    )


@functools.cache
def _subjects(names: tuple[Expr, ...], want: Want, bare: bool) -> tuple[Expr, ...]:
    """The elements that can be, or become, what is wanted."""
    if bare:
        return tuple(one for one in names if one.type == want.type)
    return tuple(one for one in names if _productions(one.type, want.type, "", True, True))


def _possible(names: tuple[Expr, ...], wants: tuple[Want, ...]) -> bool:
    return all(_subjects(names, want, bool(want.bare)) for want in wants)


@functools.cache
def _forms(names: tuple[Expr, ...]) -> Weighted[Form] | None:
    return weighted((row, row.weight) for row in FORMS if _possible(names, row.wants))


@functools.cache
def _loops(names: tuple[Expr, ...], taken: str) -> Weighted[Loop] | None:
    return weighted((row, row.weight) for row in LOOPS if row.name != taken and _possible(names, row.wants))


def _call(function: Callable[..., Any], arguments: Sequence[Expr]) -> Callable[[Env], Any]:
    """The function of what its arguments are."""
    runs = [argument.run for argument in arguments]
    if len(runs) == 1:
        a = runs[0]
        return lambda env: function(a(env))
    if len(runs) == 2:
        a, b = runs
        return lambda env: function(a(env), b(env))
    return lambda env: function(*[run(env) for run in runs])


def _made(template: str, arguments: Sequence[Expr], kind: str, looseness: int, run: Callable[[Env], Any]) -> Expr:
    """A template with its arguments put in: in the text and in the skeleton."""
    shape = skeleton(template).format(*[argument.skeleton for argument in arguments])
    return Expr(template.format(*arguments), shape, kind, looseness, run)


def _fill(dice: Dice, scope: Scope, slot: Slot, subject: Expr) -> Expr:
    """What stands beside the subject: a variable that must be used, one that may, or a constant."""
    if slot.type:
        for variable in scope.pending:
            if variable.type == slot.type and variable.text != subject.text:
                scope.use(variable)
                return variable
        if not slot.literals or dice.next() < 0.3:
            others = [one for one in scope.variables if one.type == slot.type and one.text != subject.text]
            if others:
                return dice.pick(others)
    if not slot.literals:
        raise _DeadEnd
    return dice.pick(slot.literals)


def _needs(dice: Dice, scope: Scope, subject: Expr, haste: float) -> str:
    """The type of a variable that the next operation should take in; "" for none."""
    for variable in scope.pending:
        if variable.text != subject.text and dice.next() < haste:
            return variable.type
    if len(scope.variables) > 1 and dice.next() < 0.2:
        other = dice.pick(scope.variables)
        return other.type if other.text != subject.text else ""
    return ""


def _operation(
    dice: Dice, scope: Scope, subject: Expr, result: str = "", *, plain: bool = False, haste: float = 0.6
) -> Expr:
    """One operation on the subject."""
    scope.use(subject)
    needs, named = _needs(dice, scope, subject, haste), subject.text.isidentifier()
    table = _productions(subject.type, result, needs, named, plain)
    table = table or _productions(subject.type, result, "", named, plain)
    if table is None:
        raise _DeadEnd
    row = dice.choose(table)
    arguments = [subject, *[_fill(dice, scope, slot, subject) for slot in row.slots]]
    return _made(row.template, arguments, row.result, row.rank, _call(row.function, arguments))


class Rounds(NamedTuple):
    """A head with its subject: "v in sorted(x)", the names that it binds, and the environment of each round."""

    head: Expr
    names: tuple[Expr, ...]
    each: Callable[[Env], Iterator[Env]]


def _rounds(dice: Dice, scope: Scope, subject: Expr) -> Rounds:
    scope.use(subject)
    table = _heads(subject.type, _needs(dice, scope, subject, 0.6)) or _heads(subject.type, "")
    if table is None:
        raise _DeadEnd
    row = dice.choose(table)
    arguments = [subject, *[_fill(dice, scope, slot, subject) for slot in row.slots]]
    items = _call(row.items, arguments)
    first, second = row.names[0].text, row.names[-1].text

    def one(env: Env) -> Iterator[Env]:
        for env[first] in items(env):  # noqa: B020
            yield env

    def two(env: Env) -> Iterator[Env]:
        for env[first], env[second] in items(env):  # noqa: B020
            yield env

    shape = head_skeleton(row.template).format(*[argument.skeleton for argument in arguments])
    head = Expr(row.template.format(*arguments), shape, "", _ATOM, items)
    return Rounds(head, row.names, one if len(row.names) == 1 else two)


def _bodies(dice: Dice, scope: Scope, names: tuple[Expr, ...], wants: tuple[Want, ...]) -> list[Expr]:
    """What is done in each round. Every name that the head binds is used."""
    inner = Scope([*names, *scope.variables], [*names, *scope.pending])
    bodies = [_body(dice, inner, names, want) for want in wants]
    if any(one in inner.pending for one in names):
        raise _DeadEnd
    scope.pending = inner.pending
    return bodies


def _body(dice: Dice, scope: Scope, names: tuple[Expr, ...], want: Want) -> Expr:
    bare = dice.next() < 0.5 and bool(_subjects(names, want, True)) if want.bare is None else want.bare
    subjects = _subjects(names, want, bare)
    if not subjects:
        raise _DeadEnd
    subject = subjects[-1] if dice.next() < 0.7 else dice.pick(subjects)
    if not bare:
        return _operation(dice, scope, subject, want.type, plain=True, haste=0.9)
    scope.use(subject)
    return subject


def _comprehension(dice: Dice, scope: Scope, subject: Expr) -> Expr:
    head, names, each = _rounds(dice, scope, subject)
    table = _forms(names)
    if table is None:
        raise _DeadEnd
    form = dice.choose(table)
    bodies = _bodies(dice, scope, names, form.wants)
    function, runs = form.function, [body.run for body in bodies]
    return _made(form.template, [head, *bodies], form.result, _ATOM, lambda env: function(each(env), *runs))


_ATOM = rank("")


def _choice(dice: Dice, scope: Scope, subject: Expr) -> Expr:
    """`a if test else b`, all three about the same variable."""
    test = _test(dice, scope, subject)
    yes = _operation(dice, scope, subject, plain=True)
    no = subject if yes.type == subject.type else _operation(dice, scope, subject, yes.type, plain=True)
    if yes.text == no.text:
        raise _DeadEnd
    run = _call(lambda test, yes, no: yes if test else no, [test, yes, no])
    return _made("{1:or} if {0:or} else {2}", [test, yes, no], yes.type, 0, run)


def _test(dice: Dice, scope: Scope, subject: Expr) -> Expr:
    """A condition on the subject."""
    if subject.type != BOOL or dice.next() < 0.3:
        return _operation(dice, scope, subject, BOOL, plain=True)
    scope.use(subject)
    return subject


# --- programs ---------------------------------------------------------------------------------------------------
class Statement(NamedTuple):
    """A statement at the top of the body.

    Attributes:
        text: its lines, those inside it indented by four.
        skeleton: its part of the program's skeleton.
        target: the variable it is about.
        run: does it, in the environment.
    """

    text: str
    skeleton: str
    target: str
    run: Callable[[Env], object]

    @property
    def is_wide(self) -> bool:
        """Whether a line is too long to be read with ease."""
        return len(self.text) > MAX_LINE and max(map(len, self.text.split("\n"))) > MAX_LINE


class Program(NamedTuple):
    """A program in both forms."""

    helper: str  # the text before `f`
    parameters: tuple[Expr, ...]
    statements: tuple[Statement, ...]

    @property
    def source(self) -> str:
        """Its text."""
        head = f"{self.helper}def f({', '.join([one.text for one in self.parameters])}):"
        return "\n    ".join([head, *[statement.text.replace("\n", "\n    ") for statement in self.statements]])

    def trace(self, arguments: Iterable[object]) -> list[tuple[str, Any]]:
        """(variable, value) after each statement; the last is ("return", value)."""
        env: Env = dict(zip(PARAMETERS, arguments, strict=False))
        trace: list[tuple[str, Any]] = []
        for statement in self.statements:
            statement.run(env)
            if "return" in env:
                return [*trace, ("return", env["return"])]
            trace.append((statement.target, env[statement.target]))
        raise AssertionError("a program ends with a return")

    def __call__(self, arguments: Iterable[object]) -> Any:
        """What it returns."""
        env: Env = dict(zip(PARAMETERS, arguments, strict=False))
        for statement in self.statements:
            statement.run(env)
            if "return" in env:
                break
        return env["return"]


LOCALS: Final = {
    BOOL: "ok", DICT: "d", INT: "n", INTS: "xs", PAIR: "p", ROWS: "rows", STR: "s", STRS: "words",
}  # fmt: skip
EMPTY: Final = {
    kind: empty(kind, make)
    for kind, make in ((BOOL, bool), (DICT, dict), (INT, int), (INTS, list), (ROWS, list), (STR, str), (STRS, list))
}
_FIRST: Final = {INTS: 5.0, STR: 4.5, INT: 4.0, STRS: 3.0, DICT: 2.5, PAIR: 1.5, ROWS: 1.5}
_SECOND: Final = {INT: 5.0, STR: 2.5, INTS: 2.0, BOOL: 1.5}
_TWO_PARAMETERS: Final = {1: 0.0, 2: 0.15, 3: 0.3, 4: 0.4, 5: 0.5}  # share of the programs of a level


@functools.cache
def _signatures(level: int) -> Weighted[tuple[Expr, ...]]:
    """The parameters, one or two, in either order."""
    two = _TWO_PARAMETERS[level]
    rows: list[tuple[tuple[str, ...], float]] = [
        ((first,), weight * (1 - two) / sum(_FIRST.values())) for first, weight in _FIRST.items()
    ]
    for (first, weight), (second, times) in itertools.product(_FIRST.items(), _SECOND.items()):
        share = two * weight * times / sum(_FIRST.values()) / sum(_SECOND.values())
        rows += [((first, second), share * 0.7), ((second, first), share * 0.3)]
    table = weighted((tuple(map(name, PARAMETERS, types)), share) for types, share in rows if share)
    assert table
    return table


class Draft:
    """A program while it is written. `current` is what the next statement goes on with."""

    def __init__(self, dice: Dice, level: int) -> None:
        self.dice = dice
        self.level = level
        self.parameters = dice.choose(_signatures(level))
        self.untouched = list(self.parameters)  # not yet assigned to
        self.scope = Scope(self.untouched, self.untouched)
        subjects = [one for one in self.parameters if one.type not in (BOOL, INT)]
        self.current = dice.pick(subjects or self.parameters)
        self.statements: list[Statement] = []
        self.helper = ""
        self.size = level  # statements that there are to be

    def write(self, size: int) -> Draft:
        """Add statements until there are `size`, the last of them a return."""
        self.size = size
        while (room := self.size - len(self.statements)) > 1:
            table = _statements(self.level, room, self.current.text.isidentifier(), self.current.type == PAIR)
            self.dice.choose(table)(self)
        if room:
            self.finish()
        return self

    def program(self) -> Program:
        """What was written, once it is finished."""
        if self.scope.pending or any(statement.is_wide for statement in self.statements):
            raise _DeadEnd
        return Program(self.helper, self.parameters, tuple(self.statements))

    # the statements
    def add(self, template: str, arguments: Sequence[Expr], target: str, run: Callable[[Env], object]) -> None:
        """Write a statement."""
        shape = skeleton(template).format(*[argument.skeleton for argument in arguments])
        self.statements.append(Statement(template.format(*arguments), shape, target, run))

    def set(self, target: str, value: Expr) -> None:
        """`x = sorted(x)`."""
        run = value.run
        self.add(f"{target} = {{}}", [value], target, lambda env: env.__setitem__(target, run(env)))

    def go_on(self, current: Expr) -> None:
        """From now on the current variable and the parameters are read, nothing else."""
        self.untouched = [one for one in self.untouched if one.text != current.text]
        self.scope.variables = [*self.untouched, current]
        self.current = current

    def go_on_with(self, value: Expr) -> None:
        """Assign a value to a variable and go on with that."""
        target = self.name_for(value.type)
        self.set(target, value)
        self.go_on(name(target, value.type))

    def name_for(self, kind: str) -> str:
        """The current variable's name for a value of its type, else a name that tells the type."""
        return self.current.text if self.current.type == kind and self.current.text.isidentifier() else LOCALS[kind]

    def assign(self) -> None:
        """`x = sorted(x)`."""
        value = self.expression()
        self.go_on_with(value)

    def expression(self) -> Expr:
        """One operation or two."""
        value = self.step(self.current)
        return self.step(value) if self.dice.next() < (0.8 if self.level == 1 else 0.35) else value

    def step(self, subject: Expr) -> Expr:
        """An operation, a comprehension or a choice."""
        if self.level > 1:
            kind = self.dice.next()
            if kind < 0.3 and _heads(subject.type, ""):
                pending = self.scope.pending
                try:
                    return _comprehension(self.dice, self.scope, subject)
                except _DeadEnd:
                    self.scope.pending = pending
            if 0.3 < kind < 0.37 and self.level > 2 and subject.text.isidentifier():
                return _choice(self.dice, self.scope, subject)
        return _operation(self.dice, self.scope, subject)

    def test(self) -> Expr:
        """A condition, rather on a parameter that is still to be used."""
        others = [one for one in self.scope.pending if one.text != self.current.text]
        return _test(self.dice, self.scope, others[0] if others and self.dice.next() < 0.6 else self.current)

    def branch(self) -> None:
        """`if n > 3:` and one line."""
        test = self.test()
        value = _operation(self.dice, self.scope, self.current, self.current.type)
        self.branches([(test, value)], None)

    def either(self) -> None:
        """`if`, `else`, one line each."""
        test = self.test()
        yes = _operation(self.dice, self.scope, self.current)
        no = _operation(self.dice, self.scope, self.current, yes.type)
        if no.text == yes.text:
            raise _DeadEnd
        self.branches([(test, yes)], no)

    def branches(self, cases: list[tuple[Expr, Expr]], rest: Expr | None) -> None:
        """`if`, `elif` ..., `else`: all assign the same variable."""
        target = self.name_for(cases[0][1].type)
        words = ["if {}", *["elif {}"] * (len(cases) - 1), *["else"] * (rest is not None)]
        template = "\n".join(f"{word}:\n    {target} = {{}}" for word in words)
        values = [*chain(*cases), *([rest] if rest else [])]

        def run(env: Env) -> None:
            value = next((value for test, value in cases if test.run(env)), rest)
            if value:
                env[target] = value.run(env)

        self.add(template, values, target, run)
        self.go_on(name(target, cases[0][1].type))

    def guard(self) -> None:
        """An early return, and the return."""
        test = self.test()
        value = self.step(self.current)
        current = self.current
        if value.type in EMPTY and self.dice.next() < 0.35:
            early = EMPTY[value.type]
        elif value.type == current.type and self.dice.next() < 0.5:
            early = current
        else:
            early = _operation(self.dice, self.scope, current, value.type, plain=True)

        def run(env: Env) -> None:
            if test.run(env):
                env["return"] = early.run(env)

        self.add("if {}:\n    return {}", [test, early], current.text, run)
        self.give_back(value)

    def loop(self) -> None:
        """`total = 0`, and a loop that adds to it."""
        pending = self.scope.pending
        try:
            self.loop_over()
        except _DeadEnd:
            self.scope.pending = pending
            self.assign()

    def loop_over(self, inner: bool = False) -> None:
        """`total = 0`, and a loop that adds to it; with a condition inside if `inner`."""
        head, names, each = _rounds(self.dice, self.scope, self.current)
        self.gather([head], names, each, inner)

    def gather(
        self,
        heads: list[Expr],
        names: tuple[Expr, ...],
        each: Callable[[Env], Iterator[Env]],
        inner: bool = False,
    ) -> None:
        """`total = 0`, loops in each other, and in them a line that adds to it."""
        table = _loops(names, self.current.text)
        if table is None:
            raise _DeadEnd
        row = self.dice.choose(table)
        bodies = _bodies(self.dice, self.scope, names, (*row.wants, *[Want(BOOL, False)] * inner))
        function, target = row.function, row.name
        runs = [body.run for body in bodies[: len(row.wants)]]

        def run(env: Env) -> None:
            for inside in each(env):
                if not inner or bodies[-1].run(inside):
                    inside[target] = function(inside[target], *[body(inside) for body in runs])

        lines = [f"for {{{len(bodies) + place}}}:" for place in range(len(heads))]
        lines += [f"if {{{len(row.wants)}}}:"] * inner + [row.line]
        self.set(target, EMPTY[row.type])
        self.add("\n".join(map(indent, lines, range(4))), [*bodies, *heads], target, run)
        self.go_on(name(target, row.type))

    def unpack(self) -> None:
        """`a, b = p`, and an expression of both."""
        a, b, run = name("a", INT), name("b", INT), self.current.run
        self.scope.use(self.current)

        def unpack(env: Env) -> None:
            env["a, b"] = env["a"], env["b"] = run(env)

        self.add("a, b = {}", [self.current], "a, b", unpack)
        self.scope.variables = [*self.untouched, a, b]
        self.scope.pending = [b, *self.scope.pending]
        self.current = _operation(self.dice, self.scope, a, haste=1.0)
        if b in self.scope.pending:
            raise _DeadEnd

    def finish(self) -> None:
        """`return`, of something new or of what there is."""
        often = 0.1 if self.level == 2 else 0.3  # "x = sorted(x)", "return x" is a level 1 in two lines
        bare = self.statements and not self.scope.pending and self.dice.next() < often
        value = self.current if bare else self.expression()
        while self.scope.pending and len(value.text) < 60:
            value = _operation(self.dice, self.scope, value, haste=1.0)
        self.give_back(value)

    def give_back(self, value: Expr) -> None:
        """`return`."""
        run = value.run
        self.add("return {}", [value], "return", lambda env: env.__setitem__("return", run(env)))

    # what only split="ood" has
    def ood(self) -> Draft:
        """Write a program with one structure that the other splits never hold."""
        structure = self.dice.pick(OOD)
        if structure is Draft.longer:
            return self.write(LEVELS[-1] + self.dice.within(1, 2))
        if self.level > 2 and self.dice.next() < 0.5:
            self.assign()
        structure(self)
        return self.write(max(self.level, len(self.statements) + 1))

    def longer(self) -> None:
        """More statements than any level has."""

    def use_helper(self) -> None:
        """A function of its own above `f`."""
        v, value = name("v", self.current.type), self.current
        body = _operation(self.dice, Scope([v], [v]), v)
        if body.type == v.type and self.dice.next() < 0.5:
            body = _operation(self.dice, Scope([v], []), body)
        self.helper = f"def g(v):\n    return {body}\n\n"
        self.scope.use(value)
        for _ in range(2 if body.type == v.type and self.dice.next() < 0.3 else 1):
            value = _made("g({})", [value], body.type, _ATOM, _call(lambda v: body.run({"v": v}), [value]))
        self.go_on_with(value)

    def loop_while(self) -> None:
        """A loop with a condition."""
        rows = [row for row in WHILES if row.type == self.current.type]
        if not rows:
            raise _DeadEnd
        row, target = self.dice.pick(rows), self.current.text
        constants = [self.dice.pick(slot.literals) for slot in row.slots]
        values = [constant.run({}) for constant in constants]

        def run(env: Env) -> None:
            while row.test(env[target], *values):
                env[target] = row.function(env[target], *values)

        self.scope.use(self.current)
        self.add(f"while {row.head}:\n    {target} = {row.line}", [self.current, *constants], target, run)
        self.go_on(name(target, row.type))

    def filter_inside(self) -> None:
        """`if` inside `for`."""
        self.loop_over(inner=True)

    def nest(self) -> None:
        """`for` inside `for`."""
        outer = _rounds(self.dice, self.scope, self.current)
        inner = _rounds(self.dice, Scope([], []), outer.names[-1])
        if len(outer.names) + len(inner.names) > 2:
            raise _DeadEnd

        def each(env: Env) -> Iterator[Env]:
            for outside in outer.each(env):
                yield from inner.each(outside)

        self.gather([outer.head, inner.head], inner.names, each)

    def branch_of_two(self) -> None:
        """`if` with two lines."""
        target, test = self.current.text, self.test()
        values = [_operation(self.dice, self.scope, self.current, self.current.type) for _ in range(2)]

        def run(env: Env) -> None:
            if test.run(env):
                for value in values:
                    env[target] = value.run(env)

        self.add(f"if {{}}:\n    {target} = {{}}\n    {target} = {{}}", [test, *values], target, run)
        self.go_on(name(target, self.current.type))

    def branch_of_three(self) -> None:
        """`elif`."""
        cases: list[tuple[Expr, Expr]] = []
        for _ in range(2):
            kind = cases[0][1].type if cases else ""
            cases.append((self.test(), _operation(self.dice, self.scope, self.current, kind)))
        self.branches(cases, _operation(self.dice, self.scope, self.current, cases[0][1].type))

    def keep(self) -> None:
        """A variable kept while another is computed."""
        kind = self.current.type
        kept = _operation(self.dice, self.scope, self.current, STR if kind == INT else INT)
        variable = name(LOCALS[kept.type], kept.type)
        self.set(variable.text, kept)
        self.go_on_with(_operation(self.dice, self.scope, self.current, kind))
        self.scope.pending = [variable, *self.scope.pending]
        self.current = _operation(self.dice, self.scope, self.current, haste=1.0)
        if variable in self.scope.pending:
            raise _DeadEnd


OOD: Final = (
    Draft.longer, Draft.use_helper, Draft.loop_while, Draft.filter_inside,
    Draft.nest, Draft.branch_of_two, Draft.branch_of_three, Draft.keep,
)  # fmt: skip
_STATEMENTS: Final[list[tuple[Callable[[Draft], None], int, int, float]]] = [  # (what, from level, statements, weight)
    (Draft.assign, 1, 1, 5),
    (Draft.branch, 2, 1, 2),
    (Draft.unpack, 2, 1, 8),
    (Draft.either, 3, 1, 2),
    (Draft.guard, 3, 2, 3),
    (Draft.loop, 3, 2, 4),
]
_NEED_A_NAME = (Draft.branch, Draft.either, Draft.guard)


@functools.cache
def _statements(level: int, room: int, named: bool, pair: bool) -> Weighted[Callable[[Draft], None]]:
    """The statements that may come next, where so many are still to be written, the return among them."""
    table = weighted(
        (what, weight)
        for what, least, count, weight in _STATEMENTS
        if level >= least
        and (room == 2 if what is Draft.guard else room > count)
        and (named or what not in _NEED_A_NAME)
        and (pair or what is not Draft.unpack)
    )
    assert table
    return table


# --- inputs -----------------------------------------------------------------------------------------------------
_RANGES: Final = ((0, 9), (0, 9), (0, 20), (-9, 9), (-20, 20), (10, 99))
_INT_RANGES: Final = (*_RANGES, (100, 999))
_ALPHABETS: Final = (LETTERS, LETTERS, LETTERS + LETTERS.upper(), LETTERS + " ", LETTERS[:2], LETTERS[:3] + "123")
_SIZES: Final = (0, 1, 2, 2, 3, 3, 3, 4, 4, 4, 5, 5, 5, 6, 6, 7)  # of a list; an empty one now and then
_FEW: Final = (0, 1, 1, 2, 2, 2, 3, 3, 3, 4)


def _int(dice: Dice) -> int:
    return dice.within(*dice.pick(_INT_RANGES))


def _ints(dice: Dice, sizes: Sequence[int] = _SIZES) -> list[int]:
    (low, high), draw = dice.pick(_RANGES), dice.next
    return [low + int(draw() * (high - low + 1)) for _ in range(dice.pick(sizes))]


def _str(dice: Dice, sizes: Sequence[int] = _SIZES) -> str:
    alphabet, draw = dice.pick(_ALPHABETS), dice.next
    return "".join([alphabet[int(draw() * len(alphabet))] for _ in range(dice.pick(sizes))])


def _dict(dice: Dice) -> dict[str, int]:
    return {dice.pick(LETTERS): value for value in _ints(dice)}


DRAW: Final[dict[str, Callable[[Dice], object]]] = {
    BOOL: lambda dice: dice.next() < 0.5,
    DICT: _dict,
    INT: _int,
    INTS: _ints,
    PAIR: lambda dice: (_int(dice), _int(dice)),
    ROWS: lambda dice: [_ints(dice, _FEW) for _ in range(dice.pick(_FEW))],
    STR: _str,
    STRS: lambda dice: [_str(dice, _FEW) for _ in range(dice.pick(_SIZES[:-3]))],
}


class Case(NamedTuple):
    """Arguments and what the program makes of them."""

    arguments: tuple[object, ...]
    output: Any


def _cases(dice: Dice, program: Program, count: int) -> list[Case] | None:
    """Different inputs that show what the program does, or None where some tries find too few.

    Not all outputs are equal, and at most half are, if the tries allow. For one input there are two cases to choose
    from: their outputs differ.
    """
    types = [one.type for one in program.parameters]
    draws = [DRAW[kind] for kind in types]
    key_of = _key if DICT in types else repr
    most = max(1, count // 2)  # outputs that are one value
    seen: set[str] = set()
    outputs: Counter[str] = Counter()
    chosen: list[Case] = []
    spare: list[Case] = []
    for _ in range(3 * count + 2):
        arguments = tuple([draw(dice) for draw in draws])
        if (key := key_of(arguments)) in seen:
            continue
        seen.add(key)
        output = program(arguments)
        if not _small(output) or len(key := _key(output)) > MAX_CHARS:
            continue
        outputs[key] += 1
        (chosen if outputs[key] <= most else spare).append(Case(arguments, output))
        if len(outputs) > 1 and len(chosen) >= count:
            return chosen
    cases = [*chosen, *spare]
    return cases[:count] if len(cases) >= count and len(outputs) > 1 else None


def _sample(dice: Dice, program: Program, count: int) -> Sample | None:
    """The program with inputs, one that shows something first; None where there are too few."""
    cases = _cases(dice, program, count)
    if cases is None:
        return None
    if count == 1 and dice.next() < 0.5:  # a rare output is asked for as often as a frequent one
        cases.reverse()
    for case in cases:
        if len(case.arguments) > 1 or case.output != case.arguments[0]:
            trace = program.trace(case.arguments)
            if all(fits(value) for _, value in trace):
                cases = [case, *[other for other in cases if other is not case]][:count]
                return Sample(
                    program.source,
                    tuple(case.arguments for case in cases),
                    tuple(case.output for case in cases),
                    tuple(trace),
                )
    return None


def _key(value: object) -> str:
    """Text that is equal for equal values: the order of a dict does not count."""
    if type(value) is dict:
        return repr(sorted(value.items()))
    if type(value) is tuple:
        return ";".join(map(_key, value))
    return repr(value)


def fits(value: object) -> bool:
    """Whether a value is short enough to be shown."""
    return _small(value) and len(repr(value)) <= MAX_CHARS


def _small(value: Any) -> bool:
    kind = type(value)
    if kind is int:
        return bool(-MAX_INT < value < MAX_INT)
    if kind is str:
        return len(value) <= MAX_STR
    if kind is bool:
        return True
    if kind is dict:
        return len(value) <= MAX_ITEMS and all(map(_small, value)) and all(map(_small, value.values()))
    return len(value) <= MAX_ITEMS and all(map(_small, value))


# --- held out ---------------------------------------------------------------------------------------------------
def _held_out(program: Program) -> bool:
    """`normal.held_out`, without parsing. A skeleton knows neither constants nor the names that a program binds."""
    before, after = around(PARAMETERS[: len(program.parameters)])
    skeleton = SEPARATOR.join([statement.skeleton for statement in program.statements])
    mark = hashlib.blake2b(f"{before}{skeleton}{after}".encode(), digest_size=8).digest()
    return int.from_bytes(mark) % HELD_OUT_SHARE == 0
