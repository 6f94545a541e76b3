"""A static look at a source: hygiene, never the boundary. Runs nothing.

It refuses what no re-run can notice (one bit of a clock is the same twice as often as not) and what has no business
in a task: modules beyond an allow list, dunder attributes, entropy, files, code made at run time. What it lets
through is still held by the walls of the box; what it refuses wrongly is a false alarm, and the rate is measured
(`tests/bench`).
"""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from enum import StrEnum

from . import quiet
from .wire import WARM_MODULES


class Rule(StrEnum):
    """What the screen refuses."""

    SYNTAX = "syntax"  # Python can not read it
    IMPORT = "import"  # a module beyond the allow list
    NAME = "name"  # a builtin that reads files, makes code, or answers differently each time
    ATTRIBUTE = "attribute"  # a dunder, a frame, a clock, a module behind a module


@dataclass(frozen=True, slots=True)
class Finding:
    """Why a source is refused: the rule, what was found, and its line from 1 (None where there is none)."""

    rule: Rule
    detail: str
    line: int | None


ALLOWED_MODULES = frozenset(WARM_MODULES)
BANNED_NAMES = frozenset(
    """
    __build_class__ __builtins__ __import__ __loader__ __spec__ breakpoint compile copyright credits dir eval exec exit
    globals hash help id input license locals memoryview open quit vars
    """.split()
)
# What ordinary classes define, call on super() or read. None of them leads to a frame, a module or a type.
_PLAIN_DUNDERS = frozenset(
    """
    __abs__ __add__ __and__ __bool__ __call__ __contains__ __delete__ __delitem__ __doc__ __enter__ __eq__ __exit__
    __float__ __floordiv__ __ge__ __get__ __getitem__ __gt__ __iadd__ __init__ __init_subclass__ __int__ __invert__
    __iter__ __le__ __len__ __lt__ __missing__ __mod__ __mul__ __name__ __ne__ __neg__ __new__ __next__ __or__ __pos__
    __post_init__ __pow__ __qualname__ __radd__ __repr__ __reversed__ __rmul__ __rsub__ __set__ __set_name__ __setitem__
    __str__ __sub__ __truediv__ __wrapped__ __xor__
    """.split()
)
# Frames and the insides of generators; clocks; code made from text or by hand; modules that hide behind allowed ones.
_BANNED_ATTRIBUTES = frozenset(
    """
    ag_await ag_code ag_frame co_code co_consts co_names cr_await cr_code cr_frame f_back f_builtins f_code f_globals
    f_locals gi_code gi_frame gi_yieldfrom tb_frame tb_next with_traceback
    now today utcnow
    CodeType FunctionType ForwardRef get_type_hints make_dataclass
    builtins codecs copyreg importlib inspect io linecache locale os posix random sys threading time warnings
    """.split()
)
_DUNDER = re.compile(r"__\w+__")
_FORMAT_DUNDER = re.compile(r"\{[^{}]*[.\[]_")  # "{0.__class__}".format(x) reads attributes too


def screen(source: str) -> Finding | None:
    """Look at a source. None: nothing to object to.

    Raises nothing on any text: what Python can not read is a `Rule.SYNTAX` finding.
    """
    try:
        tree = quiet.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        return Finding(Rule.SYNTAX, str(error)[:200], getattr(error, "lineno", None))
    modules: set[str] = set()
    for node in ast.walk(tree):
        finding = _look(node, modules)
        if finding is not None:
            return finding
    return None


def _look(node: ast.AST, modules: set[str]) -> Finding | None:
    match node:
        case ast.Import(names=names):
            for alias in names:
                if alias.name not in ALLOWED_MODULES:
                    return Finding(Rule.IMPORT, alias.name, node.lineno)
                modules.add((alias.asname or alias.name).partition(".")[0])
        case ast.ImportFrom(module=module, names=names, level=level):
            if level or module not in ALLOWED_MODULES | {"__future__"}:
                return Finding(Rule.IMPORT, "." * level + (module or ""), node.lineno)
            for alias in names:
                if alias.name.startswith("_") or alias.name in _BANNED_ATTRIBUTES:
                    return Finding(Rule.IMPORT, f"{module}.{alias.name}", node.lineno)
        case ast.Name(id=name) if name in BANNED_NAMES:
            return Finding(Rule.NAME, name, node.lineno)
        case ast.Attribute(value=owner, attr=name):
            hidden = name.startswith("_") and isinstance(owner, ast.Name) and owner.id in modules
            dunder = _DUNDER.fullmatch(name) and name not in _PLAIN_DUNDERS
            if hidden or dunder or name in _BANNED_ATTRIBUTES:
                return Finding(Rule.ATTRIBUTE, name, node.lineno)
        case ast.Constant(value=str() as text):
            if (_DUNDER.fullmatch(text) and text not in _PLAIN_DUNDERS | {"__main__"}) or _FORMAT_DUNDER.search(text):
                return Finding(Rule.ATTRIBUTE, text[:80], node.lineno)
        case ast.Call(func=ast.Name(id="getattr" | "hasattr"), args=[_, name_node, *_]):
            beginning = _beginning(name_node)
            if beginning is None or beginning in _BANNED_ATTRIBUTES:
                return Finding(Rule.ATTRIBUTE, beginning or "a name made at run time", node.lineno)
    return None


def _beginning(node: ast.expr) -> str | None:
    """What an attribute's name surely begins with; None where that may be an underscore."""
    match node:
        case ast.Constant(value=str() as text) | ast.JoinedStr(values=[ast.Constant(value=str() as text), *_]):
            return text if text[:1] != "_" or text in _PLAIN_DUNDERS else None
        case ast.BinOp(left=left, op=ast.Add()):
            return _beginning(left)
    return None
