"""The language of the generated tasks, as tables: what one operation, one comprehension, one loop may look like.

Every row pairs a text with a function that computes the same, so that a program's values are known without running
its text. Every row is defined on every value of its types and ends fast. Draws nothing itself: `generate` does.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from itertools import chain, pairwise
from operator import itemgetter
from typing import Any, Final, NamedTuple

from azr_gym.code.normal import form

Env = dict[str, Any]  # a program's variables, by name; what it has returned stands under "return"

BOOL: Final = "bool"
CHAR: Final = "char"  # a str of one character: what a loop over a str gives
DICT: Final = "dict[str, int]"
INT: Final = "int"
INTS: Final = "list[int]"
PAIR: Final = "tuple[int, int]"
ROWS: Final = "list[list[int]]"
STR: Final = "str"
STRS: Final = "list[str]"

# How tightly a text binds, loosest first: a choice, the operators, and what needs no brackets ever.
RANKS: Final = ("", "or", "and", "not", "<", "|", "+", "*", "-", "**", ".")
_OPERATORS: Final = (
    " if ", " or ", " and ", "^not ", " (in|==|!=|<|>|<=|>=) ", r" \| ", r" [+-] ", r" (\*|//|%) ", "^-", r" \*\* ", "",
)  # fmt: skip
_RANK: Final = {symbol: rank for rank, symbol in enumerate(RANKS)}
_BRACKETS: Final = re.compile(r"\([^()]*\)|\[[^][]*\]|\{[^{}]*\}")


def rank(template: str) -> int:
    """How tightly a template's outermost operator binds: an index of `RANKS`."""
    while (outer := _BRACKETS.sub("", template)) != template:
        template = outer
    return next(rank for rank, pattern in enumerate(_OPERATORS) if re.search(pattern, template))


class Expr(NamedTuple):
    """A piece of a program: its text, its skeleton, its type, how tightly it binds, and what it computes.

    `parts` are the pieces that are computed before it, once each, whatever the names in it stand for; `inner` tells
    what it computes itself on the way, as (text, value).

    In a template `{:+}` asks for a text that binds as tightly as a sum or tighter, else puts brackets round it.
    """

    text: str
    skeleton: str
    type: str
    rank: int
    run: Callable[[Env], Any]
    parts: tuple[Expr, ...] = ()
    inner: Callable[[Env], Iterable[tuple[str, Any]]] = lambda env: ()

    def __format__(self, spec: str) -> str:
        return self.text if self.rank >= _RANK[spec] else f"({self.text})"


@cache
def name(text: str, kind: str) -> Expr:
    """A variable."""
    return Expr(text, skeleton("x"), kind, _RANK["."], itemgetter(text))


def literal(value: int | str, kind: str) -> Expr:
    """A constant."""
    text = repr(value)
    blank = "''" if text[0] == "'" else "-1" if text[0] == "-" else "1"
    return Expr(text, _constant_skeleton(blank), kind, rank(text), lambda env: value)


def empty(kind: str, make: Callable[[], object]) -> Expr:
    """A constant of a type that can be added to: a new one each time."""
    text = repr(make())
    return Expr(text, _constant_skeleton(text.replace("{}", "{{}}")), kind, _RANK["."], lambda env: make())


# --- skeletons --------------------------------------------------------------------------------------------------
# To parse every program would take longer than to draw it. Every piece brings its skeleton along instead, as its
# template's with those of its arguments put in; a program's is that of its statements, one after the other.
PARAMETERS: Final = ("x", "y")
OWN: Final = (*PARAMETERS, *"abcdikmnprsvw", "ok", "out", "rows", "total", "words", "xs")  # every variable's name
SEPARATOR: Final = "\x1f"


class _Field(str):
    """Stands for an argument, whatever brackets its place asks for."""

    __slots__ = ()

    def __format__(self, spec: str) -> str:
        return str(self)


_FIELDS: Final = [_Field(f"field{number}") for number in range(6)]


def _words(source: str) -> str:
    return form(source).skeleton.replace(" ", SEPARATOR)


@cache
def around(parameters: tuple[str, ...]) -> tuple[str, str]:
    """A program's skeleton before and after its statements."""
    before, _, after = _words(f"def f({', '.join(parameters)}):\n    break").partition("Break")
    return before, after


@cache
def skeleton(template: str) -> str:
    """The skeleton of an expression or a statement, with a field for that of each argument."""
    text = re.sub(r"for (field\d)(?! in)", r"for \1.head in \1", template.format(*_FIELDS))
    before, after = around(OWN)
    inside = _words(f"def f({', '.join(OWN)}):\n" + indent(text))
    inside = inside[len(before) : -len(after)].removeprefix("Expr" + SEPARATOR)
    inside = re.sub("Attribute Name =field. head Name =field(.)".replace(" ", SEPARATOR), r"{\1}", inside)
    return re.sub("Name =field(.)".replace(" ", SEPARATOR), r"{\1}", inside)


def _constant_skeleton(text: str) -> str:
    return skeleton(f"return {text}").removeprefix("Return" + SEPARATOR)  # alone it would say nothing


@cache
def head_skeleton(template: str) -> str:
    """The skeleton of a head, "v in {}"."""
    inside, _, _ = skeleton(f"for {template}:\n    break").partition(SEPARATOR + "Break")
    return inside.removeprefix("For" + SEPARATOR)


def indent(text: str, times: int = 1) -> str:
    """The lines moved to the right."""
    return "\n".join("    " * times + line for line in text.split("\n"))


# --- what stands beside an operation's subject ------------------------------------------------------------------
class Slot(NamedTuple):
    """An argument: a variable of that type, or one of the constants.

    Attributes:
        type: of the variable; "" where it must be a constant.
        literals: the constants, the frequent ones repeated; none where it must be a variable.
    """

    type: str
    literals: tuple[Expr, ...] = ()


def _constant(kind: str, *values: int | str) -> Slot:
    return Slot("", tuple(literal(value, kind) for value in values))


def _either(kind: str, *values: int | str) -> Slot:
    return Slot(kind, tuple(literal(value, kind) for value in values))


LETTERS: Final = "abcde"
AN_INT, A_STR, A_BOOL, AN_INTS, A_STRS = Slot(INT), Slot(STR), Slot(BOOL), Slot(INTS), Slot(STRS)
NUMBER = _either(INT, *[*range(1, 10)] * 4, *[*range(10, 30)] * 2, *range(30, 100))
FACTOR = _either(INT, 2, 2, 3, 3, *range(4, 13))
INDEX = _either(INT, 1, 1, 2, 2, 3, 3, 4, -1, -2, -3)
DIVISOR = _constant(INT, 2, 2, 3, 3, *range(4, 13))
LENGTH = _constant(INT, 1, 2, 2, 3, 3, 4, 5)
TWICE = _constant(INT, 2, 2, 3)
BOUND = _constant(INT, *range(1, 30))
REST = _constant(INT, 0, 0, 1)
DEFAULT = _constant(INT, 0, 0, 0, 1, -1)
WORD = _either(STR, *LETTERS * 6, *LETTERS.upper() * 2, *"- !x", *[a + b for a in LETTERS for b in LETTERS])
LETTER = _constant(STR, *LETTERS * 2, *LETTERS.upper(), " ")
KEY = _either(STR, *LETTERS)
GLUE = _constant(STR, "", "", " ", " ", "-", ", ", "+")
ANSWER = _constant(STR, "yes", "no", "up", "down", "odd", "even", *LETTERS)


# --- operations -------------------------------------------------------------------------------------------------
class Production(NamedTuple):
    """One operation. The template's field 0 is the subject, the others are the slots in their order."""

    subject: str
    template: str
    result: str
    weight: float
    function: Callable[..., Any]
    slots: tuple[Slot, ...]
    rank: int  # of the whole
    repeats: bool  # the subject stands there more than once: it should be a plain name
    plain: bool  # short enough to stand inside a comprehension or a condition


def _of(subject: str, *rows: tuple[Any, ...]) -> list[Production]:
    """Rows (template, result, weight, function, slots...) of one subject."""
    return [
        Production(
            subject, template, result, weight, function, tuple(slots),
            rank=rank(template),
            repeats=len(re.findall(r"\{0", template)) > 1,
            plain=not re.search(r" (for|if) ", template),
        )
        for template, result, weight, function, *slots in rows
    ]  # fmt: skip


def _digits(number: int) -> list[int]:
    return [int(c) for c in str(abs(number))]


def _shift(char: str, by: int) -> str:
    return chr((ord(char) - 97 + by) % 26 + 97)


def _unique(items: Iterable[Any]) -> list[Any]:
    return list(dict.fromkeys(items))


def _counts(items: Any) -> dict[Any, int]:
    return {item: items.count(item) for item in items}


def _rotate(items: Any, by: int) -> Any:
    return items[by:] + items[:by]


def _starts_or_ends(text: str, start: str, end: str) -> bool:
    return text.startswith(start) or text.endswith(end)


def _sums(items: list[int]) -> list[int]:
    return [sum(items[: i + 1]) for i in range(len(items))]


def _pieces(items: list[int], size: int) -> list[list[int]]:
    return [items[i : i + size] for i in range(0, len(items), size)]


def _dot(a: list[int], b: list[int]) -> int:
    return sum(v * w for v, w in zip(a, b, strict=False))


PRODUCTIONS: Final[list[Production]] = [
    *_of(
        INT,
        ("{:+} + {:*}", INT, 3, operator.add, NUMBER),
        ("{:+} - {:*}", INT, 3, operator.sub, NUMBER),
        ("{1:+} - {0:*}", INT, 1, lambda n, m: m - n, NUMBER),
        ("{:*} * {:-}", INT, 3, operator.mul, FACTOR),
        ("{:*} // {:-}", INT, 2, operator.floordiv, DIVISOR),
        ("{:*} % {:-}", INT, 2, operator.mod, DIVISOR),
        ("{:.} ** 2", INT, 1, lambda n: n**2),
        ("-{:**}", INT, 0.7, operator.neg),
        ("abs({})", INT, 1, abs),
        ("max({}, {})", INT, 1.5, max, NUMBER),
        ("min({}, {})", INT, 1.5, min, NUMBER),
        ("abs({:+} - {:*})", INT, 1.5, lambda n, m: abs(n - m), NUMBER),
        ("{0} * ({0} + {1})", INT, 1, lambda n, m: n * (n + m), NUMBER),
        ("{0} - {0} % {1}", INT, 1, lambda n, m: n - n % m, DIVISOR),
        ("{0} // {1} + {0} % {1}", INT, 1, lambda n, m: n // m + n % m, DIVISOR),
        ("len(str({}))", INT, 0.7, lambda n: len(str(n))),
        ("int(str(abs({}))[::-1])", INT, 0.7, lambda n: int(str(abs(n))[::-1])),
        ("sum(int(c) for c in str(abs({})))", INT, 0.7, lambda n: sum(_digits(n))),
        ("{0} if {1} else -{0}", INT, 1, lambda n, ok: n if ok else -n, A_BOOL),
        ("{0} + {2} if {1} else {0}", INT, 1, lambda n, ok, m: n + m if ok else n, A_BOOL, NUMBER),
        ("{:+} > {:+}", BOOL, 1, operator.gt, NUMBER),
        ("{:+} < {:+}", BOOL, 1, operator.lt, NUMBER),
        ("{:+} >= {:+}", BOOL, 0.5, operator.ge, NUMBER),
        ("{:+} == {:+}", BOOL, 0.5, operator.eq, FACTOR),
        ("{:*} % {:-} == {}", BOOL, 1.5, lambda n, m, rest: n % m == rest, DIVISOR, REST),
        ("{:*} % {:-} < {}", BOOL, 0.7, lambda n, m, k: n % m < k, _constant(INT, *range(4, 13)), TWICE),
        ("{0} > {1} and {0} % {2} == 0", BOOL, 0.7, lambda n, k, m: n > k and n % m == 0, NUMBER, DIVISOR),
        ("{0} < {1} or {0} % {2} == 0", BOOL, 0.7, lambda n, k, m: n < k or n % m == 0, NUMBER, DIVISOR),
        ("str({})", STR, 1, str),
        ("str({})[::-1]", STR, 1, lambda n: str(n)[::-1]),
        ("{1:+} + str({0})", STR, 1.5, lambda n, s: s + str(n), WORD),
        ("{1:*} * ({0:*} % {2})", STR, 1.5, lambda n, s, m: s * (n % m), WORD, DIVISOR),
        ("[{}, {}]", INTS, 1, lambda n, m: [n, m], NUMBER),
        ("[{0}, {0} + {1}]", INTS, 1, lambda n, m: [n, n + m], NUMBER),
        ("[{1}] * ({0:*} % {2})", INTS, 1, lambda n, m, k: [m] * (n % k), NUMBER, DIVISOR),
        ("list(range({:*} % {:-}))", INTS, 1.5, lambda n, m: list(range(n % m)), DIVISOR),
        ("[int(c) for c in str(abs({}))]", INTS, 1, _digits),
        ("({}, {})", PAIR, 1, lambda n, m: (n, m), NUMBER),
        ("({1}, {0})", PAIR, 0.7, lambda n, m: (m, n), NUMBER),
        ("divmod({}, {})", PAIR, 2, divmod, DIVISOR),
        ("(min({0}, {1}), max({0}, {1}))", PAIR, 1, lambda n, m: (min(n, m), max(n, m)), NUMBER),
    ),
    *_of(
        BOOL,
        ("not {:not}", BOOL, 0.5, operator.not_),
        ("{:and} and {:not}", BOOL, 1, lambda p, q: p and q, A_BOOL),
        ("{:or} or {:and}", BOOL, 1, lambda p, q: p or q, A_BOOL),
        ("{:+} == {:+}", BOOL, 1, operator.eq, A_BOOL),
        ("int({})", INT, 0.5, int),
        ("{1} if {0:or} else {2}", INT, 1, lambda p, n, m: n if p else m, NUMBER, NUMBER),
        ("{1} if {0:or} else {2}", STR, 2, lambda p, s, t: s if p else t, ANSWER, ANSWER),
    ),
    *_of(
        CHAR,
        ("{:.}.upper()", STR, 2, str.upper),
        ("{:.}.lower()", STR, 1, str.lower),
        ("{:.}.swapcase()", STR, 1, str.swapcase),
        ("{:*} * {:-}", STR, 1.5, operator.mul, TWICE),
        ("{:*} * ({:*} % {:-})", STR, 5, lambda c, n, m: c * (n % m), AN_INT, DIVISOR),
        ("{:+} + str({})", STR, 2, lambda c, n: c + str(n), AN_INT),
        ("{:+} + {:*}", STR, 1, operator.add, WORD),
        ("{1:+} + {0:*}", STR, 1, lambda c, s: s + c, WORD),
        ("chr((ord({:}) - 97 + {:*}) % 26 + 97)", STR, 1.5, _shift, FACTOR),
        ("ord({}) % {:-}", INT, 1, lambda c, m: ord(c) % m, DIVISOR),
        ("ord({}) - {:*}", INT, 1, lambda c, n: ord(c) - n, _constant(INT, 96, 97, 64)),
        ("{:|} in {:|}", BOOL, 2, lambda c, s: c in s, _constant(STR, "abc", "bcd", "aeiou", "ABC", "ace")),
        ("{:+} == {:+}", BOOL, 1, operator.eq, LETTER),
        ("{:+} != {:+}", BOOL, 1.5, operator.ne, LETTER),
        ("{:+} < {:+}", BOOL, 1, operator.lt, KEY),
        ("{:+} > {:+}", BOOL, 1, operator.gt, KEY),
        ("{:.}.isupper()", BOOL, 1, str.isupper),
        ("{:.}.islower()", BOOL, 1, str.islower),
        ("{:.}.isalpha()", BOOL, 0.7, str.isalpha),
    ),
    *_of(
        STR,
        ("{:.}.upper()", STR, 0.8, str.upper),
        ("{:.}.lower()", STR, 0.8, str.lower),
        ("{:.}.swapcase()", STR, 0.8, str.swapcase),
        ("{:.}.title()", STR, 0.5, str.title),
        ("{:.}.capitalize()", STR, 0.5, str.capitalize),
        ("{:.}.strip()", STR, 0.5, str.strip),
        ("{:.}.strip({})", STR, 0.8, str.strip, KEY),
        ("{:.}[::-1]", STR, 1.5, lambda s: s[::-1]),
        ("{:.}[::2]", STR, 0.8, lambda s: s[::2]),
        ("{:.}[{}:]", STR, 2, lambda s, i: s[i:], INDEX),
        ("{:.}[:{}]", STR, 2, lambda s, i: s[:i], INDEX),
        ("{:.}[{}::2]", STR, 0.8, lambda s, i: s[i::2], LENGTH),
        ("{:.}.replace({}, {})", STR, 3, str.replace, LETTER, WORD),
        ("{:.}.replace({}, '')", STR, 1, lambda s, a: s.replace(a, ""), LETTER),
        ("{:+} + {:*}", STR, 2, operator.add, WORD),
        ("{1:+} + {0:*}", STR, 2, lambda s, t: t + s, WORD),
        ("{1:+} + {0:*} + {1:*}", STR, 1, lambda s, t: t + s + t, _constant(STR, *"!-*_+. ab")),
        ("{:*} * {:-}", STR, 1, operator.mul, TWICE),
        ("{0} + {0}[::-1]", STR, 0.8, lambda s: s + s[::-1]),
        ("{0}[{1}:] + {0}[:{1}]", STR, 1.5, _rotate, INDEX),
        ("''.join(sorted({}))", STR, 1, lambda s: "".join(sorted(s))),
        ("''.join(dict.fromkeys({}))", STR, 0.8, lambda s: "".join(_unique(s))),
        ("max({}, default='')", STR, 0.6, lambda s: max(s, default="")),
        ("min({}, default='')", STR, 0.6, lambda s: min(s, default="")),
        ("{:.}.ljust({}, {})", STR, 0.8, str.ljust, _constant(INT, *range(4, 10)), _constant(STR, *"-.*x_")),
        ("{:.}.rjust({}, {})", STR, 0.8, str.rjust, _constant(INT, *range(4, 10)), _constant(STR, *"-.*x_")),
        ("{:*} * ({:*} % {})", STR, 2, lambda s, n, m: s * (n % m), AN_INT, LENGTH),
        ("{0}[::-1] if {1} else {0}", STR, 1, lambda s, ok: s[::-1] if ok else s, A_BOOL),
        ("{0}.upper() if {1} else {0}", STR, 1, lambda s, ok: s.upper() if ok else s, A_BOOL),
        ("len({})", INT, 2, len),
        ("len(set({}))", INT, 1, lambda s: len(set(s))),
        ("{:.}.count({})", INT, 2, str.count, KEY),
        ("{:.}.find({})", INT, 1.5, str.find, KEY),
        ("len({:.}.split())", INT, 0.6, lambda s: len(s.split())),
        ("list({})", STRS, 1, list),
        ("sorted({})", STRS, 1, sorted),
        ("sorted(set({}))", STRS, 1, lambda s: sorted(set(s))),
        ("{:.}.split()", STRS, 1, str.split),
        ("{:.}.split({})", STRS, 2, str.split, LETTER),
        ("[{}, {}]", STRS, 1, lambda s, t: [s, t], WORD),
        ("{{c: {0}.count(c) for c in {0}}}", DICT, 1.5, _counts),
        ("{{{}: {}}}", DICT, 1, lambda s, n: {s: n}, NUMBER),
        ("{0} == {0}[::-1]", BOOL, 1, lambda s: s == s[::-1]),
        ("{1:|} in {0:|}", BOOL, 2, operator.contains, KEY),
        ("{:.}.startswith({})", BOOL, 1.5, str.startswith, KEY),
        ("{0}.startswith({1}) or {0}.endswith({2})", BOOL, 1, _starts_or_ends, KEY, KEY),
        ("len({0}) > {1} and {2} in {0}", BOOL, 1, lambda s, n, t: len(s) > n and t in s, LENGTH, KEY),
        ("{:.}.endswith({})", BOOL, 1.5, str.endswith, KEY),
        ("len({}) > {:+}", BOOL, 2, lambda s, n: len(s) > n, LENGTH),
        ("len({}) % 2 == {}", BOOL, 0.7, lambda s, rest: len(s) % 2 == rest, REST),
        ("{:.}.islower()", BOOL, 0.6, str.islower),
    ),
    *_of(
        INTS,
        ("sorted({})", INTS, 1.5, sorted),
        ("sorted({}, reverse=True)", INTS, 1, lambda xs: sorted(xs, reverse=True)),
        ("sorted({}, key=abs)", INTS, 0.7, lambda xs: sorted(xs, key=abs)),
        ("{:.}[::-1]", INTS, 1.5, lambda xs: xs[::-1]),
        ("{:.}[::2]", INTS, 1, lambda xs: xs[::2]),
        ("{:.}[{}:]", INTS, 2, lambda xs, i: xs[i:], INDEX),
        ("{:.}[:{}]", INTS, 2, lambda xs, i: xs[:i], INDEX),
        ("{:.}[{}::2]", INTS, 0.7, lambda xs, i: xs[i::2], LENGTH),
        ("{:+} + [{}]", INTS, 2, lambda xs, n: [*xs, n], NUMBER),
        ("[{1}] + {0:*}", INTS, 2, lambda xs, n: [n, *xs], NUMBER),
        ("{:+} + {:*}", INTS, 1.5, operator.add, AN_INTS),
        ("{:*} * 2", INTS, 0.7, lambda xs: xs * 2),
        ("{0}[{1}:] + {0}[:{1}]", INTS, 2, _rotate, INDEX),
        ("{0} + {0}[::-1]", INTS, 0.7, lambda xs: xs + xs[::-1]),
        ("{0} + [sum({0})]", INTS, 1, lambda xs: [*xs, sum(xs)]),
        ("{0} + [len({0})]", INTS, 0.7, lambda xs: [*xs, len(xs)]),
        ("sorted(set({}))", INTS, 1, lambda xs: sorted(set(xs))),
        ("list(dict.fromkeys({}))", INTS, 0.7, _unique),
        ("sorted({}, reverse={})", INTS, 2, lambda xs, down: sorted(xs, reverse=down), A_BOOL),
        ("{0}[::-1] if {1} else {0}", INTS, 1, lambda xs, ok: xs[::-1] if ok else xs, A_BOOL),
        (
            "[b - a for a, b in zip({0}, {0}[1:])]",
            INTS,
            1,
            lambda xs: [b - a for a, b in pairwise(xs)],
        ),
        (
            "[a + b for a, b in zip({0}, {0}[1:])]",
            INTS,
            1,
            lambda xs: [a + b for a, b in pairwise(xs)],
        ),
        ("[sum({0}[:i + 1]) for i in range(len({0}))]", INTS, 0.7, _sums),
        ("[a + b for a, b in zip({}, {})]", INTS, 2, lambda p, q: [a + b for a, b in zip(p, q, strict=False)], AN_INTS),
        (
            "[max(a, b) for a, b in zip({}, {})]",
            INTS,
            1,
            lambda p, q: [max(a, b) for a, b in zip(p, q, strict=False)],
            AN_INTS,
        ),
        ("[v for v in {:or} if v not in {:|}]", INTS, 2, lambda p, q: [v for v in p if v not in q], AN_INTS),
        ("sorted(set({}) & set({}))", INTS, 1, lambda p, q: sorted(set(p) & set(q)), AN_INTS),
        ("sum({})", INT, 1.5, sum),
        ("len({})", INT, 1.5, len),
        ("len(set({}))", INT, 1, lambda xs: len(set(xs))),
        ("max({}, default={})", INT, 1.5, lambda xs, n: max(xs, default=n), DEFAULT),
        ("min({}, default={})", INT, 1.5, lambda xs, n: min(xs, default=n), DEFAULT),
        ("{:.}.count({})", INT, 1.5, list.count, NUMBER),
        ("{0}[0] if {0} else {1}", INT, 1, lambda xs, n: xs[0] if xs else n, DEFAULT),
        ("{0}[-1] if {0} else {1}", INT, 1, lambda xs, n: xs[-1] if xs else n, DEFAULT),
        ("{0}[{1} % len({0})] if {0} else {2}", INT, 2, lambda xs, i, n: xs[i % len(xs)] if xs else n, AN_INT, DEFAULT),
        ("{0}.index({1}) if {1} in {0} else -1", INT, 1.5, lambda xs, n: xs.index(n) if n in xs else -1, AN_INT),
        ("sum({0}) // len({0}) if {0} else {1}", INT, 1, lambda xs, n: sum(xs) // len(xs) if xs else n, DEFAULT),
        ("sum({}) % {:-}", INT, 1.5, lambda xs, m: sum(xs) % m, DIVISOR),
        ("max({0}, default=0) - min({0}, default=0)", INT, 1, lambda xs: max(xs, default=0) - min(xs, default=0)),
        ("sum({:.}[{}:])", INT, 1, lambda xs, i: sum(xs[i:]), INDEX),
        ("sum(a * b for a, b in zip({}, {}))", INT, 1.5, _dot, AN_INTS),
        ("(len({0}), sum({0}))", PAIR, 1, lambda xs: (len(xs), sum(xs))),
        ("(min({0}, default=0), max({0}, default=0))", PAIR, 1, lambda xs: (min(xs, default=0), max(xs, default=0))),
        ("({0}.count({1}), len({0}))", PAIR, 0.7, lambda xs, n: (xs.count(n), len(xs)), NUMBER),
        ("[{0}[:{1}], {0}[{1}:]]", ROWS, 1.5, lambda xs, i: [xs[:i], xs[i:]], INDEX),
        ("[{0}[i:i + {1}] for i in range(0, len({0}), {1})]", ROWS, 1.5, _pieces, TWICE),
        ("[{0}, {0}[::-1]]", ROWS, 1, lambda xs: [xs, xs[::-1]]),
        ("list(map(str, {}))", STRS, 1, lambda xs: list(map(str, xs))),
        ("{1:.}.join(map(str, {0}))", STR, 2, lambda xs, glue: glue.join(map(str, xs)), GLUE),
        ("{1:|} in {0:|}", BOOL, 1.5, operator.contains, NUMBER),
        ("{0} == sorted({0})", BOOL, 1, lambda xs: xs == sorted(xs)),
        ("{0} == {0}[::-1]", BOOL, 0.6, lambda xs: xs == xs[::-1]),
        ("len({}) > {:+}", BOOL, 1.5, lambda xs, n: len(xs) > n, LENGTH),
        ("sum({}) > {:+}", BOOL, 1.5, lambda xs, n: sum(xs) > n, NUMBER),
        ("len({0}) > {1} and {0}[0] > {2}", BOOL, 1, lambda xs, k, n: len(xs) > k and xs[0] > n, LENGTH, NUMBER),
        ("len(set({0})) < len({0})", BOOL, 0.7, lambda xs: len(set(xs)) < len(xs)),
        ("sum({}) % 2 == {}", BOOL, 1, lambda xs, rest: sum(xs) % 2 == rest, REST),
    ),
    *_of(
        STRS,
        ("sorted({})", STRS, 1.5, sorted),
        ("sorted({}, key=len)", STRS, 1.5, lambda ws: sorted(ws, key=len)),
        ("sorted({}, reverse=True)", STRS, 1, lambda ws: sorted(ws, reverse=True)),
        ("{:.}[::-1]", STRS, 1.5, lambda ws: ws[::-1]),
        ("{:.}[{}:]", STRS, 2, lambda ws, i: ws[i:], INDEX),
        ("{:.}[:{}]", STRS, 2, lambda ws, i: ws[:i], INDEX),
        ("{:+} + [{}]", STRS, 2, lambda ws, w: [*ws, w], WORD),
        ("[{1}] + {0:*}", STRS, 1.5, lambda ws, w: [w, *ws], WORD),
        ("{0}[{1}:] + {0}[:{1}]", STRS, 1, _rotate, INDEX),
        ("sorted(set({}))", STRS, 1, lambda ws: sorted(set(ws))),
        ("list(dict.fromkeys({}))", STRS, 1, _unique),
        ("sorted({}, reverse={})", STRS, 1.5, lambda ws, down: sorted(ws, reverse=down), A_BOOL),
        ("{1:.}.join({0})", STR, 3, lambda ws, glue: glue.join(ws), GLUE),
        ("{1:.}.join({0})", STR, 2, lambda ws, glue: glue.join(ws), A_STR),
        ("max({}, key=len, default={})", STR, 1.5, lambda ws, w: max(ws, key=len, default=w), KEY),
        ("min({}, default={})", STR, 1, lambda ws, w: min(ws, default=w), KEY),
        ("{0}[0] if {0} else {1}", STR, 1.5, lambda ws, w: ws[0] if ws else w, KEY),
        ("{0}[-1] if {0} else {1}", STR, 1.5, lambda ws, w: ws[-1] if ws else w, KEY),
        ("{0}[{1} % len({0})] if {0} else ''", STR, 2, lambda ws, i: ws[i % len(ws)] if ws else "", AN_INT),
        ("len({})", INT, 1, len),
        ("len(set({}))", INT, 1, lambda ws: len(set(ws))),
        ("{:.}.count({})", INT, 1.5, list.count, WORD),
        ("sum(map(len, {}))", INT, 1.5, lambda ws: sum(map(len, ws))),
        ("max(map(len, {}), default={})", INT, 1.5, lambda ws, n: max(map(len, ws), default=n), DEFAULT),
        ("list(map(len, {}))", INTS, 2, lambda ws: list(map(len, ws))),
        ("{{w: {0}.count(w) for w in {0}}}", DICT, 1.5, _counts),
        ("{{w: len(w) for w in {:or}}}", DICT, 1.5, lambda ws: {w: len(w) for w in ws}),
        ("{1:|} in {0:|}", BOOL, 2, operator.contains, WORD),
        ("len({}) > {:+}", BOOL, 1.5, lambda ws, n: len(ws) > n, LENGTH),
        ("{0} == sorted({0})", BOOL, 1, lambda ws: ws == sorted(ws)),
    ),
    *_of(
        DICT,
        ("{:|} | {{{}: {}}}", DICT, 2, lambda d, k, n: d | {k: n}, KEY, NUMBER),
        ("{{{1}: {2}}} | {0:+}", DICT, 1, lambda d, k, n: {k: n} | d, KEY, NUMBER),
        ("dict(sorted({:.}.items()))", DICT, 1, lambda d: dict(sorted(d.items()))),
        ("{:.}.get({}, {})", INT, 5, dict.get, KEY, NUMBER),
        ("sum({:.}.values())", INT, 1.5, lambda d: sum(d.values())),
        ("max({:.}.values(), default={})", INT, 1, lambda d, n: max(d.values(), default=n), DEFAULT),
        ("min({:.}.values(), default={})", INT, 1, lambda d, n: min(d.values(), default=n), DEFAULT),
        ("len({})", INT, 1, len),
        (
            "{0}.get({1}, {3}) + {0}.get({2}, {3})",
            INT,
            1.5,
            lambda d, k, q, n: d.get(k, n) + d.get(q, n),
            KEY,
            KEY,
            DEFAULT,
        ),
        ("list({})", STRS, 1, list),
        ("sorted({})", STRS, 1.5, sorted),
        ("sorted({0}, key={0}.get)", STRS, 1.5, lambda d: sorted(d, key=d.get)),
        ("list({:.}.values())", INTS, 1.5, lambda d: list(d.values())),
        ("sorted({:.}.values())", INTS, 1.5, lambda d: sorted(d.values())),
        ("max({0}, key={0}.get, default={1})", STR, 1.5, lambda d, k: max(d, key=d.get, default=k), KEY),
        ("min({0}, key={0}.get, default={1})", STR, 1.5, lambda d, k: min(d, key=d.get, default=k), KEY),
        ("{1:.}.join({0})", STR, 1, lambda d, glue: glue.join(d), GLUE),
        ("{1:|} in {0:|}", BOOL, 2, operator.contains, KEY),
        ("{:.}.get({}, {}) > {:+}", BOOL, 1.5, lambda d, k, n, m: d.get(k, n) > m, KEY, DEFAULT, NUMBER),
        ("len({}) > {:+}", BOOL, 1, lambda d, n: len(d) > n, LENGTH),
    ),
    *_of(
        PAIR,
        ("{:.}[0]", INT, 1, itemgetter(0)),
        ("{:.}[1]", INT, 1, itemgetter(1)),
        ("sum({})", INT, 1, sum),
        ("max({})", INT, 1, max),
        ("min({})", INT, 1, min),
        ("{0}[0] * {0}[1]", INT, 1, lambda p: p[0] * p[1]),
        ("{0}[0] - {0}[1]", INT, 1, lambda p: p[0] - p[1]),
        ("{0}[0] + {0}[1] * {1}", INT, 1, lambda p, n: p[0] + p[1] * n, FACTOR),
        ("abs({0}[0] - {0}[1])", INT, 1, lambda p: abs(p[0] - p[1])),
        ("{:.}[::-1]", PAIR, 1, lambda p: p[::-1]),
        ("({0}[0] + {1}, {0}[1])", PAIR, 1.5, lambda p, n: (p[0] + n, p[1]), NUMBER),
        ("({0}[1], {0}[0] * {1})", PAIR, 1.5, lambda p, n: (p[1], p[0] * n), FACTOR),
        ("({0}[0] + {0}[1], {0}[0] - {0}[1])", PAIR, 1, lambda p: (p[0] + p[1], p[0] - p[1])),
        ("(min({0}), max({0}))", PAIR, 1, lambda p: (min(p), max(p))),
        ("list({})", INTS, 1, list),
        ("sorted({})", INTS, 1, sorted),
        ("[*{0}, sum({0})]", INTS, 1, lambda p: [*p, sum(p)]),
        ("{0}[0] > {0}[1]", BOOL, 1, lambda p: p[0] > p[1]),
        ("sum({}) > {:+}", BOOL, 1, lambda p, n: sum(p) > n, NUMBER),
        ("{1:|} in {0:|}", BOOL, 1, operator.contains, NUMBER),
        ("{:.}[0] % {:-} == {}", BOOL, 1, lambda p, m, rest: p[0] % m == rest, DIVISOR, REST),
    ),
    *_of(
        ROWS,
        ("{:.}[::-1]", ROWS, 1, lambda rows: rows[::-1]),
        ("{:.}[{}:]", ROWS, 1.5, lambda rows, i: rows[i:], INDEX),
        ("sorted({})", ROWS, 1, sorted),
        ("sorted({}, key=len)", ROWS, 1, lambda rows: sorted(rows, key=len)),
        ("sorted({}, key=sum)", ROWS, 1, lambda rows: sorted(rows, key=sum)),
        ("{:+} + [[{}]]", ROWS, 1.5, lambda rows, n: [*rows, [n]], NUMBER),
        ("[list(r) for r in zip(*{})]", ROWS, 1, lambda rows: [list(r) for r in zip(*rows, strict=False)]),
        ("sum({}, [])", INTS, 1.5, lambda rows: list(chain(*rows))),
        ("[v for r in {:or} for v in r]", INTS, 1.5, lambda rows: [v for r in rows for v in r]),
        ("list(map(sum, {}))", INTS, 1.5, lambda rows: list(map(sum, rows))),
        ("list(map(len, {}))", INTS, 1.5, lambda rows: list(map(len, rows))),
        ("max({}, key=len, default=[])", INTS, 1.5, lambda rows: max(rows, key=len, default=[])),
        ("max({}, key=sum, default=[])", INTS, 1.5, lambda rows: max(rows, key=sum, default=[])),
        ("{0}[0] if {0} else [{1}]", INTS, 1.5, lambda rows, n: rows[0] if rows else [n], DEFAULT),
        ("len({})", INT, 1, len),
        ("sum(map(sum, {}))", INT, 1.5, lambda rows: sum(map(sum, rows))),
        ("max(map(len, {}), default={})", INT, 1.5, lambda rows, n: max(map(len, rows), default=n), DEFAULT),
        ("max(map(sum, {}), default={})", INT, 1.5, lambda rows, n: max(map(sum, rows), default=n), DEFAULT),
        ("[{1}] in {0:|}", BOOL, 1, lambda rows, n: [n] in rows, FACTOR),
        ("len({}) > {:+}", BOOL, 1, lambda rows, n: len(rows) > n, LENGTH),
        ("any({})", BOOL, 0.7, any),
        ("all({})", BOOL, 0.7, all),
    ),
]


# --- what is done for each element ------------------------------------------------------------------------------
class Head(NamedTuple):
    """What a comprehension or a loop runs over: "v in x". The last of its names is what the body is about."""

    subject: str
    template: str
    names: tuple[Expr, ...]
    weight: float
    items: Callable[..., Iterable[Any]]  # of the subject and the slots
    slots: tuple[Slot, ...] = ()


V, W, AT, K, C, R, EACH = (
    name("v", INT), name("w", INT), name("i", INT), name("k", STR), name("c", CHAR), name("r", INTS), name("w", STR),
)  # fmt: skip

HEADS: Final[list[Head]] = [
    Head(INTS, "v in {:or}", (V,), 5, iter),
    Head(INTS, "i, v in enumerate({})", (AT, V), 1.5, enumerate),
    Head(INTS, "v, w in zip({}, {})", (V, W), 4, lambda p, q: zip(p, q, strict=False), (AN_INTS,)),
    Head(INT, "i in range({:*} % {:-})", (AT,), 2, lambda n, m: range(n % m), (DIVISOR,)),
    Head(INT, "i in range(1, {:*} % {:-} + 1)", (AT,), 1, lambda n, m: range(1, n % m + 1), (DIVISOR,)),
    Head(STR, "c in {:or}", (C,), 5, iter),
    Head(STR, "i, c in enumerate({})", (AT, C), 1.5, enumerate),
    Head(STRS, "w in {:or}", (EACH,), 5, iter),
    Head(DICT, "k, v in {:.}.items()", (K, V), 5, dict.items),
    Head(DICT, "v in {:.}.values()", (V,), 1.5, dict.values),
    Head(DICT, "k in {:or}", (K,), 1, iter),
    Head(ROWS, "r in {:or}", (R,), 5, iter),
    Head(PAIR, "v in {:or}", (V,), 1, iter),
]


class Want(NamedTuple):
    """What a body is to be: an expression of that type.

    Attributes:
        bare: the element itself (True), something made of it (False), or either (None).
    """

    type: str
    bare: bool | None = None


class Form(NamedTuple):
    """A comprehension: the head is field 0 of its template, the bodies are the others."""

    template: str
    wants: tuple[Want, ...]
    result: str
    weight: float
    function: Callable[..., Any]  # of the environments of all rounds, and the bodies
    fold: Callable[[Any], Any] | None = None  # of what the function gives


Envs = Iterator[Env]
Body = Callable[[Env], Any]


def _map(envs: Envs, body: Body) -> list[Any]:
    return [body(env) for env in envs]


def _filter(envs: Envs, body: Body, test: Body) -> list[Any]:
    return [body(env) for env in envs if test(env)]


_TEST = Want(BOOL, False)
FORMS: Final[list[Form]] = [
    *(
        Form("[{1} for {0}]", (Want(element, False),), result, 3, _map)
        for element, result in ((INT, INTS), (STR, STRS), (INTS, ROWS))
    ),
    *(
        Form("[{1} for {0} if {2:or}]", (Want(element, True), _TEST), result, 2.5, _filter)
        for element, result in ((INT, INTS), (STR, STRS), (CHAR, STRS), (INTS, ROWS))
    ),
    *(
        Form("[{1} for {0} if {2:or}]", (Want(element, False), _TEST), result, 1, _filter)
        for element, result in ((INT, INTS), (STR, STRS))
    ),
    Form("sum({1} for {0})", (Want(INT, False),), INT, 1.5, _map, sum),
    Form("sum({1} for {0})", (Want(BOOL, False),), INT, 1.5, _map, sum),
    Form("sum({1} for {0} if {2:or})", (Want(INT, True), _TEST), INT, 1.5, _filter, sum),
    Form("max(({1} for {0}), default=0)", (Want(INT, False),), INT, 1, _map, lambda items: max(items, default=0)),
    Form("any({1} for {0})", (Want(BOOL, False),), BOOL, 1, _map, any),
    Form("all({1} for {0})", (Want(BOOL, False),), BOOL, 1, _map, all),
    Form("''.join({1} for {0})", (Want(STR, False),), STR, 2.5, _map, "".join),
    Form("' '.join({1} for {0})", (Want(STR, False),), STR, 1, _map, " ".join),
    Form("''.join({1} for {0} if {2:or})", (Want(CHAR, True), _TEST), STR, 2.5, _filter, "".join),
    *(
        Form(
            "{{{1}: {2} for {0}}}",
            (Want(key, True), Want(INT, False)),
            DICT,
            2,
            lambda envs, key, value: {key(env): value(env) for env in envs},
        )
        for key in (STR, CHAR)
    ),
    Form(
        "{{{1}: {2} for {0} if {3:or}}}",
        (Want(STR, True), Want(INT), _TEST),
        DICT,
        2,
        lambda envs, key, value, test: {key(env): value(env) for env in envs if test(env)},
    ),
    Form(
        "{{str({1}): {2} for {0}}}",
        (Want(INT, True), Want(INT)),
        DICT,
        1,
        lambda envs, key, value: {str(key(env)): value(env) for env in envs},
    ),
]


class Loop(NamedTuple):
    """A loop that gathers, from nothing: the line is done in each round, and the bodies are its fields."""

    name: str
    type: str
    line: str
    wants: tuple[Want, ...]
    weight: float
    function: Callable[..., Any]  # of what was gathered and the bodies' values: what is gathered then


def _count(counts: dict[str, int], key: str, by: int) -> dict[str, int]:
    return counts | {key: counts.get(key, 0) + by}


_KEYS = (Want(STR, True), Want(CHAR, True))
LOOPS: Final[list[Loop]] = [
    Loop("total", INT, "total += {0}", (Want(INT),), 3, operator.add),
    Loop("total", INT, "total = {0:+} - total", (Want(INT),), 1, lambda total, n: n - total),
    Loop("total", INT, "total = (total * 2 + {0:*}) % 100", (Want(INT),), 1, lambda total, n: (total * 2 + n) % 100),
    Loop("total", INT, "total = max(total, {0})", (Want(INT, False),), 1, max),
    Loop("out", INTS, "out.append({0})", (Want(INT, False),), 2, lambda out, n: [*out, n]),
    Loop("out", INTS, "out = [{0}] + out", (Want(INT),), 1, lambda out, n: [n, *out]),
    Loop("out", INTS, "out.append(sum(out) + {0:*})", (Want(INT),), 1, lambda out, n: [*out, sum(out) + n]),
    Loop("out", STRS, "out.append({0})", (Want(STR, False),), 2, lambda out, s: [*out, s]),
    Loop("out", STR, "out += {0}", (Want(STR, False),), 3, operator.add),
    Loop("out", STR, "out = {0:+} + out", (Want(STR),), 1, lambda out, s: s + out),
    Loop("out", STR, "out = {0:+} + out", (Want(CHAR, True),), 1, lambda out, s: s + out),
    *(Loop("d", DICT, "d[{0}] = d.get({0}, 0) + 1", (key,), 1, lambda d, k: _count(d, k, 1)) for key in _KEYS),
    *(Loop("d", DICT, "d[{0}] = d.get({0}, 0) + {1:*}", (key, Want(INT, False)), 1.5, _count) for key in _KEYS),
    *(Loop("d", DICT, "d[{0}] = {1}", (key, Want(INT, False)), 1, lambda d, k, n: d | {k: n}) for key in _KEYS),
    Loop("d", DICT, "d[str({0})] = {1}", (Want(INT, True), Want(INT, False)), 1, lambda d, k, n: d | {str(k): n}),
]  # fmt: skip


class While(NamedTuple):
    """A loop with a condition, which ends because each round comes nearer to it. Only in `split="ood"`."""

    type: str
    head: str
    line: str
    test: Callable[..., bool]  # of the value and the slots' values
    function: Callable[..., Any]
    slots: tuple[Slot, ...]


def _longer(items: Any, size: int, _: int) -> bool:
    return len(items) > size


def _shorter(items: Any, size: int, _: object) -> bool:
    return len(items) < size


def _cut(items: Any, _: int, by: int) -> Any:
    return items[by:]


WHILES: Final[list[While]] = [
    While(INT, "{0} > {1}", "{0} // {2}", lambda n, k, m: n > k, lambda n, k, m: n // m, (BOUND, DIVISOR)),
    While(STR, "len({0}) > {1}", "{0}[{2}:]", _longer, _cut, (LENGTH, TWICE)),
    While(STR, "len({0}) < {1}", "{0} + {2}", _shorter, lambda s, n, t: s + t, (LENGTH, LETTER)),
    While(INTS, "len({0}) > {1}", "{0}[{2}:]", _longer, _cut, (LENGTH, TWICE)),
    While(INTS, "len({0}) < {1}", "{0} + [{2}]", _shorter, lambda xs, _, m: [*xs, m], (LENGTH, BOUND)),
    While(INTS, "sum({0}) > {1}", "{0}[1:]", lambda xs, n: sum(xs) > n, lambda xs, n: xs[1:], (BOUND,)),
    While(STRS, "len({0}) > {1}", "{0}[:-1]", lambda ws, n: len(ws) > n, lambda ws, n: ws[:-1], (LENGTH,)),
]  # fmt: skip
