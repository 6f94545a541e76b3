"""Draws random small programs with inputs: the tasks of this room, endlessly, without a model and without the box.

A program is grown forwards from its parameters, one operation of the `grammar` on another, so that it is well typed,
ends, never fails on an input of its types, and every parameter reaches the result. Each piece is a text and a
function at once: nothing written here is ever run as text.
"""

from __future__ import annotations

import hashlib
import itertools
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, NamedTuple, get_args

import numpy as np

from azr_gym.code.dice import Dice
from azr_gym.code.draft import MAX_LEVEL, Draft, Program
from azr_gym.code.expression import DeadEnd
from azr_gym.code.grammar import (
    BOOL,
    DICT,
    INT,
    INTS,
    LETTERS,
    PAIR,
    PARAMETERS,
    ROWS,
    SEPARATOR,
    STR,
    STRS,
    around,
)  # fmt: skip
from azr_gym.code.normal import HELD_OUT_SHARE
from azr_gym.errors import BadArgument

LEVELS: Final = tuple(range(1, MAX_LEVEL + 1))
Split = Literal["train", "test", "ood"]

MAX_INPUTS = 64
MAX_INT = 10_000  # every integer is smaller, in size
MAX_ITEMS = 10  # of a container
MAX_STR = 16  # characters of a string
MAX_CHARS = 120  # of a value's text


@dataclass(frozen=True, slots=True)
class Sample:
    """A program, inputs, and what it makes of them.

    Attributes:
        source: the program, whose entry is `f`, without a last newline.
        inputs: distinct argument tuples.
        outputs: `f` of each.
        traces: of the first input, or of each where operations are traced.
    """

    source: str
    inputs: tuple[tuple[object, ...], ...]
    outputs: tuple[object, ...]
    traces: tuple[tuple[tuple[str, object], ...], ...]

    @property
    def trace(self) -> tuple[tuple[str, object], ...]:
        """For `inputs[0]`, (variable, value) after each statement of the body that was reached.

        A loop or an `if` is one; `("a, b", (1, 2))` where two are assigned; where an early return is passed by, the
        variable that goes on. The last is `("return", value)`.
        """
        return self.traces[0]


def sample(
    rng: np.random.Generator, *, level: int = 2, split: Split = "train", n_inputs: int = 1, operations: bool = False
) -> Sample:
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
        operations: every input is traced, with what is computed within a statement too, as (its text, value), and a
            loop's variable after each round. A step that repeats the one before it is told once, one whose value is too
            long is not. It changes nothing else.

    Raises:
        BadArgument: an argument is out of its range.
        TypeError: `rng` is no numpy Generator, or a number is no int.
    """
    _check(rng, level, split, n_inputs)
    dice = Dice(rng)
    for _ in range(MAX_PROGRAMS):
        try:
            program = (Draft(dice, level).ood() if split == "ood" else Draft(dice, level).write(level)).program()
        except DeadEnd:
            continue
        if split != "ood" and _held_out(program) != (split == "test"):
            continue
        if found := _sample(dice, program, n_inputs, operations):
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


def _sample(dice: Dice, program: Program, count: int, operations: bool) -> Sample | None:
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
                traces = [_operations(program, one) for one in cases] if operations else [tuple(trace)]
                inputs, outputs = zip(*cases, strict=True)
                return Sample(program.source, inputs, outputs, tuple(traces))
    return None


def _operations(program: Program, case: Case) -> tuple[tuple[str, object], ...]:
    """Every step that can be shown, once where it is repeated."""
    steps = (step for step in program.trace(case.arguments, True) if fits(step[1]))
    return tuple(next(same) for _, same in itertools.groupby(steps, repr))


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
    if value is None:  # in dict.fromkeys(x), on the way to something else
        return False
    return len(value) <= MAX_ITEMS and all(map(_small, value))


# --- held out ---------------------------------------------------------------------------------------------------
def _held_out(program: Program) -> bool:
    """`normal.held_out`, without parsing. A skeleton knows neither constants nor the names that a program binds."""
    before, after = around(PARAMETERS[: len(program.parameters)])
    skeleton = SEPARATOR.join([statement.skeleton for statement in program.statements])
    mark = hashlib.blake2b(f"{before}{skeleton}{after}".encode(), digest_size=8).digest()
    return int.from_bytes(mark) % HELD_OUT_SHARE == 0
