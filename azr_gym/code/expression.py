"""Grows expressions: operations of the `grammar` on names that are there. Each is a text and a function at once."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

from azr_gym.code.dice import Dice, Weighted, weighted
from azr_gym.code.grammar import (
    BOOL,
    FORMS,
    HEADS,
    LOOPS,
    PRODUCTIONS,
    Env,
    Expr,
    Form,
    Head,
    Loop,
    Production,
    Slot,
    Want,
    head_skeleton,
    rank,
    skeleton,
)  # fmt: skip
from azr_gym.code.inside import Step, inside, running


class DeadEnd(Exception):
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
def heads_of(subject: str, needs: str) -> Weighted[Head] | None:
    """The loop heads over a value of that type that give what is needed."""
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
def loops_for(names: tuple[Expr, ...], taken: str) -> Weighted[Loop] | None:
    """The gathering loops that these names allow."""
    return weighted((row, row.weight) for row in LOOPS if row.name != taken and _possible(names, row.wants))


def call_of(function: Callable[..., Any], arguments: Sequence[Expr]) -> Callable[[Env], Any]:
    """The function of what its arguments are."""
    runs = [argument.run for argument in arguments]
    if len(runs) == 1:
        a = runs[0]
        return lambda env: function(a(env))
    if len(runs) == 2:
        a, b = runs
        return lambda env: function(a(env), b(env))
    return lambda env: function(*[run(env) for run in runs])


def made_of(
    template: str,
    arguments: Sequence[Expr],
    kind: str,
    looseness: int,
    run: Callable[[Env], Any],
    parts: Sequence[Expr] | None = None,
    inner: Callable[[Env], Iterable[Step]] = lambda env: (),
) -> Expr:
    """A template with its arguments put in: in the text and in the skeleton. `parts` are the arguments, if not said."""
    shape = skeleton(template).format(*[argument.skeleton for argument in arguments])
    held = tuple(arguments if parts is None else parts)
    return Expr(template.format(*arguments), shape, kind, looseness, run, held, inner)


def operations(piece: Expr, env: Env) -> Iterator[Step]:
    """(text, value) of every operation in a piece that is computed once, in their order; the last is its own."""
    yield from within(piece, env)
    if piece.parts and piece.type:
        yield piece.text, piece.run(env)


def within(piece: Expr, env: Env) -> Iterator[Step]:
    """The same without its own."""
    for part in piece.parts:
        yield from operations(part, env)
    yield from piece.inner(env)


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
        raise DeadEnd
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


def make_operation(
    dice: Dice, scope: Scope, subject: Expr, result: str = "", *, plain: bool = False, haste: float = 0.6
) -> Expr:
    """One operation on the subject."""
    scope.use(subject)
    needs, named = _needs(dice, scope, subject, haste), subject.text.isidentifier()
    table = _productions(subject.type, result, needs, named, plain)
    table = table or _productions(subject.type, result, "", named, plain)
    if table is None:
        raise DeadEnd
    row = dice.choose(table)
    arguments = [subject, *[_fill(dice, scope, slot, subject) for slot in row.slots]]
    run = call_of(row.function, arguments)
    return made_of(row.template, arguments, row.result, row.rank, run, None, partial(_inside, row.template, arguments))


def _inside(template: str, arguments: Sequence[Expr], env: Env) -> list[Step]:
    return inside(template, arguments, [argument.run(env) for argument in arguments])


class Rounds(NamedTuple):
    """A head with its subject: "v in sorted(x)", the names that it binds, and the environment of each round."""

    head: Expr
    names: tuple[Expr, ...]
    each: Callable[[Env], Iterator[Env]]


def make_rounds(dice: Dice, scope: Scope, subject: Expr) -> Rounds:
    """A head over the subject, for a loop or a comprehension."""
    scope.use(subject)
    table = heads_of(subject.type, _needs(dice, scope, subject, 0.6)) or heads_of(subject.type, "")
    if table is None:
        raise DeadEnd
    row = dice.choose(table)
    arguments = [subject, *[_fill(dice, scope, slot, subject) for slot in row.slots]]
    items = call_of(row.items, arguments)
    first, second = row.names[0].text, row.names[-1].text

    def one(env: Env) -> Iterator[Env]:
        for env[first] in items(env):  # noqa: B020
            yield env

    def two(env: Env) -> Iterator[Env]:
        for env[first], env[second] in items(env):  # noqa: B020
            yield env

    shape = head_skeleton(row.template).format(*[argument.skeleton for argument in arguments])
    head = Expr(row.template.format(*arguments), shape, "", ATOM, items, tuple(arguments))
    return Rounds(head, row.names, one if len(row.names) == 1 else two)


def make_bodies(dice: Dice, scope: Scope, names: tuple[Expr, ...], wants: tuple[Want, ...]) -> list[Expr]:
    """What is done in each round. Every name that the head binds is used."""
    inner = Scope([*names, *scope.variables], [*names, *scope.pending])
    bodies = [_body(dice, inner, names, want) for want in wants]
    if any(one in inner.pending for one in names):
        raise DeadEnd
    scope.pending = inner.pending
    return bodies


def _body(dice: Dice, scope: Scope, names: tuple[Expr, ...], want: Want) -> Expr:
    bare = dice.next() < 0.5 and bool(_subjects(names, want, True)) if want.bare is None else want.bare
    subjects = _subjects(names, want, bare)
    if not subjects:
        raise DeadEnd
    subject = subjects[-1] if dice.next() < 0.7 else dice.pick(subjects)
    if not bare:
        return make_operation(dice, scope, subject, want.type, plain=True, haste=0.9)
    scope.use(subject)
    return subject


def make_comprehension(dice: Dice, scope: Scope, subject: Expr) -> Expr:
    """A comprehension over the subject."""
    head, names, each = make_rounds(dice, scope, subject)
    table = _forms(names)
    if table is None:
        raise DeadEnd
    form = dice.choose(table)
    bodies = make_bodies(dice, scope, names, form.wants)
    function, fold, runs = form.function, form.fold, [body.run for body in bodies]
    whole = [head, *bodies]

    def gather(env: Env) -> Any:
        return function(each(env), *runs)

    if fold is None:
        return made_of(form.template, whole, form.result, ATOM, gather, [head])
    value = made_of(form.template, whole, form.result, ATOM, lambda env: fold(gather(env)), [head])
    return value if fold is not sum else value._replace(inner=lambda env: running(value.text, gather(env)))


ATOM = rank("")


def make_choice(dice: Dice, scope: Scope, subject: Expr) -> Expr:
    """`a if test else b`, all three about the same variable."""
    test = make_test(dice, scope, subject)
    yes = make_operation(dice, scope, subject, plain=True)
    no = subject if yes.type == subject.type else make_operation(dice, scope, subject, yes.type, plain=True)
    if yes.text == no.text:
        raise DeadEnd
    run = call_of(lambda test, yes, no: yes if test else no, [test, yes, no])
    return made_of("{1:or} if {0:or} else {2}", [test, yes, no], yes.type, 0, run, [test])


def make_test(dice: Dice, scope: Scope, subject: Expr) -> Expr:
    """A condition on the subject."""
    if subject.type != BOOL or dice.next() < 0.3:
        return make_operation(dice, scope, subject, BOOL, plain=True)
    scope.use(subject)
    return subject


# --- programs ---------------------------------------------------------------------------------------------------
