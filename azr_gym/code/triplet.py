"""The tasks of the code room as frozen values: `Triplet` (program, input, output) and `InductionTask`.

Programs, arguments and outputs are kept as text, in the one form in which `azr_sandbox.values` writes them. They are
data: nothing here runs.
"""

from __future__ import annotations

import ast
import functools
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Self

from azr_sandbox import NotPlainData, values

from ..errors import BadTask
from .normal import Form, form, syntax

MAX_PROGRAM_CHARS = 4_000
MAX_VALUE_CHARS = 1_000  # of one output, or of all arguments of a call together
MAX_MESSAGE_CHARS = 500
N_PAIRS = 10  # of an induction task by default; half are shown (arXiv 2505.03335, section 3.2)
MAX_PAIRS = 32
ENTRY = "f"


class WrongNumber(NotPlainData):
    """Arguments, but not as many as the function takes."""


class Mode(StrEnum):
    """What of (program, input, output) is to be found."""

    DEDUCTION = "deduction"  # the output
    ABDUCTION = "abduction"  # any input that gives the output
    INDUCTION = "induction"  # the program, from input/output pairs and a message


def render_arguments(arguments: Sequence[object]) -> str:
    """Arguments as they stand in a call: "[1, 2], 'a'".

    Raises:
        NotPlainData: they are not plain data, or longer than 1,000 characters.
    """
    text = ", ".join(values.render(argument, MAX_VALUE_CHARS) for argument in arguments)
    if len(text) > MAX_VALUE_CHARS:
        raise NotPlainData(f"arguments of more than {MAX_VALUE_CHARS:,} characters")
    return text


def parse_arguments(text: str, count: int | None = None) -> tuple[object, ...]:
    """Read arguments: "[1, 2], 'a'", or a whole call "f([1, 2], 'a')"; several lines are fine.

    Args:
        text: the arguments. Nothing of it is run.
        count: how many there must be; one tuple of that many is read as them, so that "(1, 2)" gives two.

    Raises:
        NotPlainData: anything else, or another number of arguments.
    """
    if len(text) > 4 * MAX_VALUE_CHARS:
        raise NotPlainData(f"arguments of more than {MAX_VALUE_CHARS:,} characters")
    text = text.strip()
    if text.startswith(ENTRY):
        rest = text[len(ENTRY) :].lstrip()
        if rest.startswith("(") and rest.endswith(")"):
            text = rest[1:-1].strip()
    read = values.parse(f"[{text}\n]")  # in brackets of its own, so that no bracket of the text can close another
    if type(read) is not list:
        raise NotPlainData("a bracket that was never opened")
    found = tuple(read)
    if count is not None and len(found) != count:
        inner = found[0] if len(found) == 1 else None
        if type(inner) is not tuple or len(inner) != count:
            raise WrongNumber(f"{len(found)} arguments where f takes {count}")
        found = inner
    return found


@functools.lru_cache(maxsize=8192)
def arity(program: str) -> int | None:
    """How many arguments the entry function takes; None where that is not one number, or cannot be read."""
    try:
        function = entry_function(syntax(program))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    if function is None or function.args.vararg or function.args.defaults or function.args.kwonlyargs:
        return None
    return len(function.args.posonlyargs) + len(function.args.args)


def entry_function(tree: ast.AST) -> ast.FunctionDef | None:
    """The definition of the entry function at the top level: the last one, as in Python."""
    body = tree.body if isinstance(tree, ast.Module) else []
    for statement in reversed(body):
        if isinstance(statement, ast.FunctionDef) and statement.name == ENTRY:
            return statement
    return None


def _digest(*parts: str | bytes) -> bytes:
    joined = b"\0".join(part if isinstance(part, bytes) else part.encode("utf-8", "surrogatepass") for part in parts)
    return hashlib.blake2b(joined, digest_size=16).digest()


def _check_text(value: object, called: str, most: int) -> None:
    if type(value) is not str:
        raise BadTask(f"{called} must be text, not {type(value).__name__}")
    if len(value) > most:
        raise BadTask(f"{called} has {len(value):,} characters; at most {most:,} are allowed")


def check_program(program: Any) -> Form:
    """A program's normal form.

    Raises:
        BadTask: it is no text, too long, or can not be read.
    """
    _check_text(program, "the program", MAX_PROGRAM_CHARS)
    try:
        return form(program)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise BadTask(f"the program can not be read: {type(error).__name__}") from None


def _check_pair(arguments: object, output: object) -> None:
    _check_text(arguments, "the arguments", MAX_VALUE_CHARS)
    _check_text(output, "the output", MAX_VALUE_CHARS)
    try:
        if render_arguments(parse_arguments(arguments)) != arguments:  # type: ignore[arg-type]
            raise NotPlainData("not as azr_sandbox.values writes them: build tasks with .of()")
        if values.render(values.parse(output)) != output:  # type: ignore[arg-type]
            raise NotPlainData("the output is not as azr_sandbox.values writes it: build tasks with .of()")
    except NotPlainData as error:
        raise BadTask(f"arguments or output are not plain data: {error}") from None


@dataclass(frozen=True, slots=True)
class CodeTask:
    """A task of the code room: a `Triplet` or an `InductionTask`. `CodeTask.from_json` reads either."""

    # What is asked of a task over and over is kept with it, and goes where it goes, to another process too.
    _form: Form = field(init=False, repr=False, compare=False)
    _key: bytes | None = field(default=None, init=False, repr=False, compare=False)

    if TYPE_CHECKING:  # both have these; a property here would be taken for a dataclass field's default

        @property
        def mode(self) -> Mode: ...  # noqa: D102
        @property
        def program(self) -> str: ...  # noqa: D102
        @property
        def calls(self) -> Sequence[str]: ...  # noqa: D102
        @property
        def id(self) -> str: ...  # noqa: D102
        def to_json(self) -> dict[str, Any]: ...  # noqa: D102

    @property
    def key(self) -> bytes:
        """Equal for the same mode, normalised program and arguments, in whatever order calls stand."""
        if self._key is None:
            calls = sorted(values.canonical(parse_arguments(one)) for one in self.calls)
            key = _digest(self.mode, self._form.key, *calls)
            object.__setattr__(self, "_key", key)
            return key
        return self._key

    def features(self) -> frozenset[str]:
        """Shingles of the program's skeleton: what it looks like without its names and constants."""
        return self._form.shingles()

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Triplet | InductionTask:
        """Read what `to_json` wrote.

        Raises:
            BadTask: it is no such task.
        """
        if not isinstance(data, Mapping) or data.get("mode") not in list(Mode):
            raise BadTask(f"a code task has a mode of {[str(mode) for mode in Mode]}")
        kind = InductionTask if data["mode"] == Mode.INDUCTION else Triplet
        return kind.from_json(data)


@dataclass(frozen=True, slots=True)
class Triplet(CodeTask):
    """A deduction or abduction task.

    Attributes:
        mode: deduction hides the output, abduction the arguments.
        program: Python source that defines `f`, at most 4,000 characters.
        arguments: of the call, as text: "[1, 2], 'a'", at most 1,000 characters.
        output: what the call returns, as text, at most 1,000 characters.

    Raises:
        BadTask: not text, too long, a program that Python can not read, or values that are not plain data.
    """

    mode: Mode
    program: str
    arguments: str
    output: str

    def __post_init__(self) -> None:
        if self.mode not in (Mode.DEDUCTION, Mode.ABDUCTION):
            raise BadTask(f"a Triplet is a task of deduction or abduction, not {self.mode!r}")
        object.__setattr__(self, "mode", Mode(self.mode))
        object.__setattr__(self, "_form", check_program(self.program))
        _check_pair(self.arguments, self.output)

    @classmethod
    def of(cls, mode: Mode | str, program: str, arguments: Sequence[object], output: object) -> Self:
        """Build a task from values.

        Raises:
            BadTask: as the class.
        """
        try:
            given, gives = render_arguments(arguments), values.render(output, MAX_VALUE_CHARS)
        except NotPlainData as error:
            raise BadTask(str(error)) from None
        return cls(mode, program, given, gives)  # type: ignore[arg-type]  # the class makes a Mode of it, or refuses

    @property
    def id(self) -> str:
        """Made of the mode, the program and the half that is shown."""
        shown = self.arguments if self.mode is Mode.DEDUCTION else self.output
        return _digest(self.mode, self.program, shown).hex()

    @property
    def calls(self) -> tuple[str, ...]:
        """The arguments, of one call."""
        return (self.arguments,)

    def to_json(self) -> dict[str, Any]:
        """As JSON data; the values stay text, for JSON knows neither tuples nor sets."""
        return {
            "mode": str(self.mode),
            "program": self.program,
            "arguments": self.arguments,
            "output": self.output,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Triplet:
        """Read what `to_json` wrote.

        Raises:
            BadTask: it is no such task.
        """
        return cls(**_fields(data, "mode", "program", "arguments", "output"))


@dataclass(frozen=True, slots=True)
class InductionTask(CodeTask):
    """An induction task: find the program.

    Attributes:
        program: the one that made the pairs; any that gives the hidden outputs is right.
        pairs: (arguments, output) as text; the first half is shown, the second half decides.
        message: a hint in words, at most 500 characters; may be "".

    Raises:
        BadTask: as `Triplet`, or fewer than two pairs.
    """

    program: str
    pairs: tuple[tuple[str, str], ...]
    message: str = ""

    @property
    def mode(self) -> Mode:
        """Always induction."""
        return Mode.INDUCTION

    def __post_init__(self) -> None:
        object.__setattr__(self, "_form", check_program(self.program))
        _check_text(self.message, "the message", MAX_MESSAGE_CHARS)
        if not isinstance(self.pairs, tuple) or len(self.pairs) < 2:
            raise BadTask("an induction task has at least two (arguments, output) pairs")
        if len(self.pairs) > MAX_PAIRS:
            raise BadTask(f"an induction task has at most {MAX_PAIRS} pairs, not {len(self.pairs):,}")
        for pair in self.pairs:
            if not isinstance(pair, tuple) or len(pair) != 2:
                raise BadTask("a pair is (arguments, output), both as text")
            _check_pair(*pair)

    @classmethod
    def of(cls, program: str, pairs: Iterable[tuple[Sequence[object], object]], message: str = "") -> Self:
        """Build a task from values.

        Raises:
            BadTask: as the class.
        """
        try:
            texts = tuple((render_arguments(given), values.render(output, MAX_VALUE_CHARS)) for given, output in pairs)
        except NotPlainData as error:
            raise BadTask(str(error)) from None
        return cls(program, texts, message)

    @property
    def shown(self) -> tuple[tuple[str, str], ...]:
        """The pairs that a solver sees: the first half."""
        return self.pairs[: len(self.pairs) // 2]

    @property
    def hidden(self) -> tuple[tuple[str, str], ...]:
        """The pairs that decide: the second half."""
        return self.pairs[len(self.pairs) // 2 :]

    @property
    def id(self) -> str:
        """Made of the shown pairs and the message."""
        return _digest(self.mode, repr(self.shown), self.message).hex()

    @property
    def calls(self) -> tuple[str, ...]:
        """The arguments of every call."""
        return tuple(arguments for arguments, _ in self.pairs)

    def to_json(self) -> dict[str, Any]:
        """As JSON data; the values stay text, for JSON knows neither tuples nor sets."""
        return {
            "mode": str(self.mode),
            "program": self.program,
            "pairs": [list(pair) for pair in self.pairs],
            "message": self.message,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> InductionTask:
        """Read what `to_json` wrote.

        Raises:
            BadTask: it is no such task.
        """
        read = _fields(data, "program", "pairs", "message")
        if not isinstance(read["pairs"], list) or not all(isinstance(pair, list) for pair in read["pairs"]):
            raise BadTask("pairs must be a list of [arguments, output]")
        return cls(read["program"], tuple(tuple(pair) for pair in read["pairs"]), read["message"])


def _fields(data: Mapping[str, Any], *names: str) -> dict[str, Any]:
    missing = [name for name in names if name not in data]
    if missing:
        raise BadTask(f"a task without {', '.join(missing)}")
    return {name: data[name] for name in names}


HELLO_WORLD = "def f(x):\n    return x"


def hello_world(mode: Mode | str = Mode.DEDUCTION) -> Triplet:
    """The identity of "Hello World", from which the paper's buffers start (arXiv 2505.03335, section 3.3.1). Empty as
    a task, and exempt from the refusals of empty tasks."""
    return Triplet.of(mode, HELLO_WORLD, ("Hello World",), "Hello World")
