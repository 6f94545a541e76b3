"""Normal forms of a program: when two programs are the same, and which are kept aside. Parses, never runs.

Comments, layout, docstrings, annotations and what is never reached or used do not count. Names that the program binds
itself are numbered in the order in which they appear; names that it does not (`sorted`, `.append`, modules) stay, and
so does a bound name that is also a builtin's or an attribute's: two programs of one normal form do the same. The
*skeleton* also forgets constants, and which bound name is which.
"""

from __future__ import annotations

import ast
import builtins
import functools
import hashlib
from dataclasses import dataclass
from typing import Any

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
    ast.MatchMapping: "rest",
    ast.alias: "asname",
    ast.arg: "arg",
}
_OF_SITE = {"copyright", "credits", "exit", "help", "license", "quit"}  # builtins in some processes only
_BUILTINS = frozenset(name for name in dir(builtins) if name[0] != "_") - _OF_SITE
_FIELDS: dict[type[ast.AST], tuple[str, ...]] = {}
_END = "."
_EXITS = (ast.Return, ast.Raise, ast.Break, ast.Continue)
# A program that reads its own text may hang on what is left out here: such are equal only where their texts are.
_TELLTALES = ("__doc__", "__name__", "__qualname__", "dataclass", "__annotations__")


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
    skeleton: str

    def shingles(self) -> frozenset[str]:
        """Every three neighbouring words of the skeleton: a set whose distances say how alike two programs are."""
        words = self.skeleton.split(" ")
        return frozenset(map(" ".join, zip(words, words[1:], words[2:], strict=False)))


def syntax(source: str) -> ast.Module:
    """The syntax tree of a program. It is shared by all who look at the program: nobody changes it.

    Raises:
        SyntaxError, ValueError, RecursionError, MemoryError: Python can not read it.
    """
    tree = quiet.nodes(source)[0]
    assert isinstance(tree, ast.Module)
    return tree


@functools.lru_cache(maxsize=4096)
def form(source: str) -> Form:
    """Read a program's normal form.

    Raises:
        SyntaxError, ValueError, RecursionError, MemoryError: Python can not read it.
    """
    words: list[str] = []
    names: list[int] = []  # places in `words`
    constants: list[int] = []
    bound: set[str] = set()
    fixed = set(_BUILTINS)  # attributes, keywords and modules too: where one of those says a name, it can not change
    nodes = 0
    tree = syntax(source)
    stack: list[Any] = [ast.Module(_used(source), []) if len(tree.body) > 1 else tree]
    while stack:
        item: Any = stack.pop()
        kind: type[Any] = type(item)
        if kind is list:
            stack.append(_END)
            stack.extend(reversed(_telling(item)))
        elif issubclass(kind, ast.AST):
            if kind is ast.AnnAssign and item.value is not None:
                item, kind = ast.Assign([item.target], item.value), ast.Assign
            elif kind is ast.JoinedStr:  # Python 3.12 puts empty pieces in
                item = ast.JoinedStr([part for part in item.values if getattr(part, "value", None) != ""])
            nodes += 1
            words.append(kind.__name__)
            if kind is ast.Name:
                names.append(len(words))
                words.append(item.id)
                if type(item.ctx) is not ast.Load:
                    bound.add(item.id)
            elif kind is ast.Constant:
                constants.append(len(words))
                words.append(_constant(item.value))
            elif kind is ast.Global or kind is ast.Nonlocal:
                names.extend(range(len(words), len(words) + len(item.names)))
                words.extend(item.names)
                bound.update(item.names)
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
        else:
            words.append(item if type(item) is str else repr(item))
            fixed.add(words[-1])
    numbers: dict[str, str] = {}
    skeleton = words.copy()
    for place in names:
        name = words[place]
        skeleton[place] = "_" if name in bound else "=" + name
        renamed = name in bound and name not in fixed
        words[place] = numbers.setdefault(name, str(len(numbers))) if renamed else "=" + name
    for place in constants:
        skeleton[place] = words[place].partition(" ")[0]
    mark = hashlib.blake2b("\x1f".join(skeleton).encode("utf-8", "surrogatepass"), digest_size=8).digest()
    whole = source.strip() if any(word in source for word in _TELLTALES) else "\x1f".join(words)
    key = hashlib.blake2b(whole.encode("utf-8", "surrogatepass"), digest_size=16).digest()
    return Form(key, int.from_bytes(mark) % HELD_OUT_SHARE == 0, nodes, " ".join(skeleton))


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


def _telling(parts: list[Any]) -> list[Any]:
    """Of a block, what does something: no docstrings, no `pass`, nothing behind an exit. Other lists as they are."""
    kept: list[Any] = []
    for part in parts:
        kind = type(part)
        if kind is ast.Pass or (kind is ast.Expr and type(part.value) is ast.Constant):
            continue
        kept.append(part)
        if kind in _EXITS:
            break
    return kept


def _used(source: str) -> list[ast.stmt]:
    """The statements of a program without imports, definitions and constants that nothing mentions."""
    names_read = (node for node in quiet.nodes(source) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load))
    read = {node.id for node in names_read}
    read.add("f")
    kept: list[ast.stmt] = []
    for part in syntax(source).body:
        names = None
        if isinstance(part, ast.Import | ast.ImportFrom):
            names = {alias.asname or alias.name.partition(".")[0] for alias in part.names}
        elif isinstance(part, ast.FunctionDef | ast.ClassDef) and not part.decorator_list:
            names = {part.name}
        elif isinstance(part, ast.Assign) and isinstance(part.value, ast.Constant):
            names = {getattr(target, "id", "f") for target in part.targets}
        if names is None or names & read or "*" in names:
            kept.append(part)
    return kept


def _constant(value: object) -> str:
    """Its type, then itself. Hexadecimal, for Python refuses to print integers of more than 4,300 digits."""
    return f"{type(value).__name__} {hex(value) if type(value) is int else repr(value)}"
