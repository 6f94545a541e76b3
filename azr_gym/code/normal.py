"""Normal forms of a program: when two programs are the same, and which are kept aside. Parses, never runs.

Comments, layout, docstrings and annotations do not count. Names that the program binds itself are numbered in the
order in which they appear; names that it does not (`sorted`, `.append`, modules) stay. The *skeleton* also forgets
constants, and which bound name is which.
"""

from __future__ import annotations

import ast
import functools
import hashlib
from dataclasses import dataclass

from azr_sandbox import quiet

HELD_OUT_SHARE = 8  # one skeleton in eight is never trained on

_IGNORED = frozenset({"ctx", "type_comment", "kind", "annotation", "returns", "type_params", "type_ignores", "simple"})
_BINDERS = {  # fields that hold the name of something that the program makes
    ast.FunctionDef: "name",
    ast.AsyncFunctionDef: "name",
    ast.ClassDef: "name",
    ast.ExceptHandler: "name",
    ast.MatchAs: "name",
    ast.MatchStar: "name",
    ast.arg: "arg",
}
_FIELDS: dict[type[ast.AST], tuple[str, ...]] = {}
_END = "."


@dataclass(frozen=True, slots=True)
class Form:
    """A program's normal form.

    Attributes:
        key: 16 bytes, equal for programs that differ in layout, comments and names only.
        held_out: the program's skeleton is one of those kept aside (`split="test"`).
        nodes: size of the syntax tree, layout and docstrings left out.
        skeleton: the tree as words, without constants and own names.
    """

    key: bytes
    held_out: bool
    nodes: int
    skeleton: tuple[str, ...]

    def shingles(self) -> frozenset[str]:
        """Every three neighbouring words of the skeleton: a set whose distances say how alike two programs are."""
        words = self.skeleton
        return frozenset(map(" ".join, zip(words, words[1:], words[2:], strict=False)))


@functools.lru_cache(maxsize=8192)
def form(source: str) -> Form:
    """Read a program's normal form.

    Raises:
        SyntaxError, ValueError, RecursionError, MemoryError: Python can not read it.
    """
    words: list[str] = []
    names: list[int] = []  # places in `words`
    constants: list[int] = []
    bound: set[str] = set()
    nodes = 0
    stack: list[object] = [quiet.parse(source)]
    while stack:
        item = stack.pop()
        if isinstance(item, ast.AST):
            kind = type(item)
            nodes += 1
            words.append(kind.__name__)
            if kind is ast.Name:
                names.append(len(words))
                words.append(item.id)  # type: ignore[attr-defined]
                if type(item.ctx) is not ast.Load:  # type: ignore[attr-defined]
                    bound.add(item.id)  # type: ignore[attr-defined]
            elif kind is ast.Constant:
                constants.append(len(words))
                words.append(_constant(item.value))  # type: ignore[attr-defined]
            else:
                binder = _BINDERS.get(kind)
                for field in reversed(_FIELDS.get(kind) or _fields(kind)):
                    value = getattr(item, field, None)
                    if field == binder and value is not None:
                        names.append(len(words))
                        words.append(value)
                        bound.add(value)
                    else:
                        stack.append(value)
        elif type(item) is list:
            stack.append(_END)
            stack.extend(part for part in reversed(item) if not _says_nothing(part))
        else:
            words.append(item if type(item) is str else repr(item))
    for place in names:
        if words[place] not in bound:
            words[place] = "=" + words[place]
    numbers: dict[str, str] = {}
    skeleton = words.copy()
    for place in names:
        name = words[place]
        if name[0] != "=":
            words[place] = numbers.setdefault(name, str(len(numbers)))
            skeleton[place] = "_"
    for place in constants:
        skeleton[place] = words[place].partition(" ")[0]
    mark = hashlib.blake2b("\x1f".join(skeleton).encode("utf-8", "surrogatepass"), digest_size=8).digest()
    key = hashlib.blake2b("\x1f".join(words).encode("utf-8", "surrogatepass"), digest_size=16).digest()
    return Form(key, int.from_bytes(mark) % HELD_OUT_SHARE == 0, nodes, tuple(skeleton))


def held_out(source: str) -> bool:
    """Whether the program belongs to `split="test"`: one skeleton in eight, by a hash that never changes.

    Raises:
        SyntaxError, ValueError, RecursionError, MemoryError: Python can not read it.
    """
    return form(source).held_out


def _fields(kind: type[ast.AST]) -> tuple[str, ...]:
    found = tuple(field for field in kind._fields if field not in _IGNORED)
    _FIELDS[kind] = found
    return found


def _says_nothing(node: object) -> bool:
    """A docstring, or another constant that stands alone as a statement."""
    return type(node) is ast.Expr and type(node.value) is ast.Constant


def _constant(value: object) -> str:
    """Its type, then itself. Hexadecimal, for Python refuses to print integers of more than 4,300 digits."""
    return f"{type(value).__name__} {hex(value) if type(value) is int else repr(value)}"
