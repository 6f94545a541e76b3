"""Grows a program, statement by statement, over the `expression`s that its names allow. Draws no inputs."""

from __future__ import annotations

import copy
import functools
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from typing import Any, Final, NamedTuple

from azr_gym.code.dice import Dice, Weighted, weighted
from azr_gym.code.expression import (
    ATOM,
    DeadEnd,
    Scope,
    call_of,
    heads_of,
    loops_for,
    made_of,
    make_bodies,
    make_choice,
    make_comprehension,
    make_operation,
    make_rounds,
    make_test,
    operations,
    within,
)
from azr_gym.code.grammar import (
    BOOL,
    DICT,
    INT,
    INTS,
    PAIR,
    PARAMETERS,
    ROWS,
    STR,
    STRS,
    WHILES,
    Env,
    Expr,
    Want,
    empty,
    indent,
    name,
    skeleton,
)  # fmt: skip

MAX_LEVEL = 5
MAX_LINE = 80  # of a statement, without its place in the body


Watch = Callable[[Env], Iterable[tuple[str, Any]]]


class Statement(NamedTuple):
    """A statement at the top of the body.

    Attributes:
        text: its lines, those inside it indented by four.
        skeleton: its part of the program's skeleton.
        target: the variable it is about.
        run: does it, in the environment.
        watch: (text, value) of what it computes on the way, in an environment that it may change.
    """

    text: str
    skeleton: str
    target: str
    run: Callable[[Env], object]
    watch: Watch

    @property
    def is_wide(self) -> bool:
        """Whether a line is too long to be read with ease."""
        return len(self.text) > MAX_LINE and any(len(line) > MAX_LINE for line in self.text.split("\n"))


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

    def trace(self, arguments: Iterable[object], operations: bool = False) -> list[tuple[str, Any]]:
        """(variable, value) after each statement; the last is ("return", value). Operations on the way, if wanted."""
        env: Env = dict(zip(PARAMETERS, arguments, strict=False))
        trace: list[tuple[str, Any]] = []
        for statement in self.statements:
            if operations:
                trace += statement.watch(copy.deepcopy(env))
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
            raise DeadEnd
        return Program(self.helper, self.parameters, tuple(self.statements))

    # the statements
    def add(
        self,
        template: str,
        arguments: Sequence[Expr],
        target: str,
        run: Callable[[Env], object],
        watch: Watch | None = None,
    ) -> None:
        """Write a statement. What is watched is, if not said, all that its arguments compute but their own values."""
        shape = skeleton(template).format(*[argument.skeleton for argument in arguments])
        watch = watch or (lambda env: chain.from_iterable(within(argument, env) for argument in arguments))
        self.statements.append(Statement(template.format(*arguments), shape, target, run, watch))

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
            if kind < 0.3 and heads_of(subject.type, ""):
                pending = self.scope.pending
                try:
                    return make_comprehension(self.dice, self.scope, subject)
                except DeadEnd:
                    self.scope.pending = pending
            if 0.3 < kind < 0.37 and self.level > 2 and subject.text.isidentifier():
                return make_choice(self.dice, self.scope, subject)
        return make_operation(self.dice, self.scope, subject)

    def test(self) -> Expr:
        """A condition, rather on a parameter that is still to be used."""
        others = [one for one in self.scope.pending if one.text != self.current.text]
        return make_test(self.dice, self.scope, others[0] if others and self.dice.next() < 0.6 else self.current)

    def branch(self) -> None:
        """`if n > 3:` and one line."""
        test = self.test()
        value = make_operation(self.dice, self.scope, self.current, self.current.type)
        self.branches([(test, value)], None)

    def either(self) -> None:
        """`if`, `else`, one line each."""
        test = self.test()
        yes = make_operation(self.dice, self.scope, self.current)
        no = make_operation(self.dice, self.scope, self.current, yes.type)
        if no.text == yes.text:
            raise DeadEnd
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

        def watch(env: Env) -> Iterator[tuple[str, Any]]:
            for test, value in cases:
                yield from operations(test, env)
                if test.run(env):
                    yield from within(value, env)
                    return
            if rest:
                yield from within(rest, env)

        self.add(template, values, target, run, watch)
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
            early = make_operation(self.dice, self.scope, current, value.type, plain=True)

        def run(env: Env) -> None:
            if test.run(env):
                env["return"] = early.run(env)

        self.add("if {}:\n    return {}", [test, early], current.text, run, lambda env: operations(test, env))
        self.give_back(value)

    def loop(self) -> None:
        """`total = 0`, and a loop that adds to it."""
        pending = self.scope.pending
        try:
            self.loop_over()
        except DeadEnd:
            self.scope.pending = pending
            self.assign()

    def loop_over(self, inner: bool = False) -> None:
        """`total = 0`, and a loop that adds to it; with a condition inside if `inner`."""
        head, names, each = make_rounds(self.dice, self.scope, self.current)
        self.gather([head], names, each, inner)

    def gather(
        self,
        heads: list[Expr],
        names: tuple[Expr, ...],
        each: Callable[[Env], Iterator[Env]],
        inner: bool = False,
    ) -> None:
        """`total = 0`, loops in each other, and in them a line that adds to it."""
        table = loops_for(names, self.current.text)
        if table is None:
            raise DeadEnd
        row = self.dice.choose(table)
        bodies = make_bodies(self.dice, self.scope, names, (*row.wants, *[Want(BOOL, False)] * inner))
        function, target = row.function, row.name
        runs = [body.run for body in bodies[: len(row.wants)]]

        def run(env: Env) -> None:
            for inside in each(env):
                if not inner or bodies[-1].run(inside):
                    inside[target] = function(inside[target], *[body(inside) for body in runs])

        def watch(env: Env) -> Iterator[tuple[str, Any]]:
            for head in heads[:1]:
                yield from within(head, env)
            for inside in each(env):
                if not inner or bodies[-1].run(inside):
                    inside[target] = function(inside[target], *[body(inside) for body in runs])
                    yield target, copy.copy(inside[target])

        lines = [f"for {{{len(bodies) + place}}}:" for place in range(len(heads))]
        lines += [f"if {{{len(row.wants)}}}:"] * inner + [row.line]
        self.set(target, EMPTY[row.type])
        self.add("\n".join(map(indent, lines, range(4))), [*bodies, *heads], target, run, watch)
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
        self.current = make_operation(self.dice, self.scope, a, haste=1.0)
        if b in self.scope.pending:
            raise DeadEnd

    def finish(self) -> None:
        """`return`, of something new or of what there is."""
        often = 0.1 if self.level == 2 else 0.3  # "x = sorted(x)", "return x" is a level 1 in two lines
        bare = self.statements and not self.scope.pending and self.dice.next() < often
        value = self.current if bare else self.expression()
        while self.scope.pending and len(value.text) < 60:
            value = make_operation(self.dice, self.scope, value, haste=1.0)
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
            return self.write(MAX_LEVEL + self.dice.within(1, 2))
        if self.level > 2 and self.dice.next() < 0.5:
            self.assign()
        structure(self)
        return self.write(max(self.level, len(self.statements) + 1))

    def longer(self) -> None:
        """More statements than any level has."""

    def use_helper(self) -> None:
        """A function of its own above `f`."""
        v, value = name("v", self.current.type), self.current
        body = make_operation(self.dice, Scope([v], [v]), v)
        if body.type == v.type and self.dice.next() < 0.5:
            body = make_operation(self.dice, Scope([v], []), body)
        self.helper = f"def g(v):\n    return {body}\n\n"
        self.scope.use(value)
        for _ in range(2 if body.type == v.type and self.dice.next() < 0.3 else 1):
            value = made_of("g({})", [value], body.type, ATOM, call_of(lambda v: body.run({"v": v}), [value]))
        self.go_on_with(value)

    def loop_while(self) -> None:
        """A loop with a condition."""
        rows = [row for row in WHILES if row.type == self.current.type]
        if not rows:
            raise DeadEnd
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
        outer = make_rounds(self.dice, self.scope, self.current)
        inner = make_rounds(self.dice, Scope([], []), outer.names[-1])
        if len(outer.names) + len(inner.names) > 2:
            raise DeadEnd

        def each(env: Env) -> Iterator[Env]:
            for outside in outer.each(env):
                yield from inner.each(outside)

        self.gather([outer.head, inner.head], inner.names, each)

    def branch_of_two(self) -> None:
        """`if` with two lines."""
        target, test = self.current.text, self.test()
        values = [make_operation(self.dice, self.scope, self.current, self.current.type) for _ in range(2)]

        def run(env: Env) -> None:
            if test.run(env):
                for value in values:
                    env[target] = value.run(env)

        template = f"if {{}}:\n    {target} = {{}}\n    {target} = {{}}"
        self.add(template, [test, *values], target, run, lambda env: operations(test, env))
        self.go_on(name(target, self.current.type))

    def branch_of_three(self) -> None:
        """`elif`."""
        cases: list[tuple[Expr, Expr]] = []
        for _ in range(2):
            kind = cases[0][1].type if cases else ""
            cases.append((self.test(), make_operation(self.dice, self.scope, self.current, kind)))
        self.branches(cases, make_operation(self.dice, self.scope, self.current, cases[0][1].type))

    def keep(self) -> None:
        """A variable kept while another is computed."""
        kind = self.current.type
        kept = make_operation(self.dice, self.scope, self.current, STR if kind == INT else INT)
        variable = name(LOCALS[kept.type], kept.type)
        self.set(variable.text, kept)
        self.go_on_with(make_operation(self.dice, self.scope, self.current, kind))
        self.scope.pending = [variable, *self.scope.pending]
        self.current = make_operation(self.dice, self.scope, self.current, haste=1.0)
        if variable in self.scope.pending:
            raise DeadEnd


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
