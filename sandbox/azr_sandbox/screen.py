"""A static look at a source: hygiene, never the boundary. Runs nothing.

It refuses what no re-run can notice (one bit of a clock is the same twice as often as not) and what has no business
in a task: modules beyond an allow list, dunder attributes, entropy, files, code made at run time. What it lets
through is still held by the walls of the box; what it refuses wrongly is a false alarm, and the rate is measured
(`tests/bench`).
"""

from __future__ import annotations

import ast
import functools
import importlib
import re
import types
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from . import quiet
from .errors import BadProgram
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
    CodeType FunctionType ForwardRef Formatter get_type_hints make_dataclass
    bltns builtins codecs copyreg importlib inspect io linecache locale os posix random sys threading time warnings
    """.split()
)
# Private by their look, public by their documentation.
_PLAIN_PRIVATES = frozenset(
    """
    _asdict _field_defaults _fields _generate_next_value_ _ignore_ _make _missing_ _name_ _order_ _replace _value_
    """.split()
)
_GETTERS = ("attrgetter", "methodcaller")  # read attributes by a text
_DUNDER = re.compile(r"__\w+__")
_FORMAT_FIELD = re.compile(r"\{([^{}]*)")  # "{0.now}".format(x) reads attributes too


def screen(source: str) -> Finding | None:
    """Look at a source. None: nothing to object to.

    Raises:
        BadProgram: the source is not a str. On text it raises nothing: what Python can not read is a `Rule.SYNTAX`.
    """
    if type(source) is not str:
        raise BadProgram(f"a source must be text, not {type(source).__name__}")
    try:
        nodes = quiet.nodes(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError, OverflowError) as error:
        return Finding(Rule.SYNTAX, str(error)[:200], getattr(error, "lineno", None))
    look = _Look(nodes)
    for node in look.nodes:
        finding = look.at(node)
        if finding is not None:
            return finding
    return None


@functools.cache
def _public(module: str) -> frozenset[str]:
    """The documented names of an allowed module, and its allowed submodules."""
    loaded = importlib.import_module(module)
    names = getattr(loaded, "__all__", None) or [name for name in dir(loaded) if not name.startswith("_")]
    own = {name for name in names if not isinstance(getattr(loaded, name, None), types.ModuleType)}
    return frozenset(own | {name.rpartition(".")[2] for name in ALLOWED_MODULES if name.startswith(module + ".")})


# The kinds of nodes that say anything here: half of a tree are operators, loads and stores.
_TELLING = frozenset({
    ast.Name, ast.Constant, ast.Call, ast.Attribute, ast.arg, ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef,
    ast.Import, ast.ImportFrom, ast.AnnAssign, ast.MatchClass,
})  # fmt: skip


class _Look:
    """One source, looked at node by node."""

    def __init__(self, nodes: Iterable[ast.AST]) -> None:
        self.nodes = [node for node in nodes if type(node) in _TELLING]
        self.modules: dict[str, str] = {}  # what a name stands for
        self.privates = set(_PLAIN_PRIVATES)  # names with an underscore that the program itself defines
        rebound = set[str]()
        self.owners = set[int]()  # the nodes before a dot, and getters that are called on the spot
        for node in self.nodes:
            match node:
                case ast.Import(names=names):
                    for alias in names:
                        self.modules[alias.asname or alias.name.partition(".")[0]] = (
                            alias.name if alias.asname else alias.name.partition(".")[0]
                        )
                case (
                    ast.FunctionDef(name=name)
                    | ast.AsyncFunctionDef(name=name)
                    | ast.ClassDef(name=name)
                    | ast.Name(id=name, ctx=ast.Store())
                    | ast.arg(arg=name)
                ):
                    self.privates.add(name)
                    rebound.add(name)
                case ast.Attribute(attr=name, ctx=ast.Store()):
                    self.privates.add(name)
            if isinstance(node, ast.Attribute):
                self.owners.add(id(node.value))
            if isinstance(node, ast.Call):
                self.owners.add(id(node.func))
        for name in rebound & set(self.modules):  # it may stand for something else here: `string`, `copy`
            del self.modules[name]

    def at(self, node: ast.AST) -> Finding | None:
        """What there is to object to at this very node."""
        line = getattr(node, "lineno", None)
        match node:
            case ast.Import(names=names):
                for alias in names:
                    if alias.name not in ALLOWED_MODULES:
                        return Finding(Rule.IMPORT, alias.name, line)
            case ast.ImportFrom(module=module, names=names, level=level):
                if module == "__future__" and not level:
                    return None
                if level or module not in ALLOWED_MODULES:
                    return Finding(Rule.IMPORT, "." * level + (module or ""), line)
                for alias in names:
                    if alias.name != "*" and (alias.name not in _public(module) or alias.name in _BANNED_ATTRIBUTES):
                        return Finding(Rule.IMPORT, f"{module}.{alias.name}", line)
            case ast.Name(id=name):
                if name in BANNED_NAMES:
                    return Finding(Rule.NAME, name, line)
                if id(node) not in self.owners and name in ("getattr", "hasattr", *_GETTERS):
                    return Finding(Rule.NAME, f"{name} that is not called on the spot", line)
                if id(node) not in self.owners and name in self.modules and isinstance(node.ctx, ast.Load):
                    return Finding(Rule.NAME, f"the module {name} as a value", line)
            case ast.Attribute(value=owner, attr=name):
                module = self.modules.get(owner.id) if isinstance(owner, ast.Name) else None
                unknown = module in ALLOWED_MODULES and name not in _public(module or "")
                if unknown or self.bad_attribute(name) or (name in _GETTERS and id(node) not in self.owners):
                    return Finding(Rule.ATTRIBUTE, name, line)
            case (
                ast.arg(annotation=ast.Constant(value=str() as text))
                | ast.FunctionDef(returns=ast.Constant(value=str() as text))
                | ast.AsyncFunctionDef(returns=ast.Constant(value=str() as text))
                | ast.AnnAssign(annotation=ast.Constant(value=str() as text))
            ) if "(" in text or "__" in text:
                return Finding(Rule.ATTRIBUTE, "code in an annotation", line)
            case ast.MatchClass(kwd_attrs=names):
                for name in names:
                    if self.bad_attribute(name):
                        return Finding(Rule.ATTRIBUTE, name, line)
            case ast.Constant(value=str() as text):
                if _DUNDER.fullmatch(text) and text not in _PLAIN_DUNDERS | {"__main__"}:
                    return Finding(Rule.ATTRIBUTE, text[:80], line)
                for name in ".".join(_FORMAT_FIELD.findall(text)).replace("[", ".").split("."):
                    if self.bad_attribute(re.split(r"\W", name)[0]):
                        return Finding(Rule.ATTRIBUTE, name, line)
            case ast.Call(func=ast.Name(id="getattr" | "hasattr"), args=arguments):
                beginning = _beginning(arguments[1]) if len(arguments) > 1 else None
                if beginning is None or self.bad_attribute(beginning):
                    return Finding(Rule.ATTRIBUTE, beginning or "a name made at run time", line)
            case ast.Call(func=ast.Name(id=getter) | ast.Attribute(attr=getter), args=arguments) if getter in _GETTERS:
                for argument in arguments[: 1 if getter == "methodcaller" else None]:
                    beginning = _beginning(argument)
                    if beginning is None or any(map(self.bad_attribute, beginning.split("."))):
                        return Finding(Rule.ATTRIBUTE, beginning or "a name made at run time", line)
        return None

    def bad_attribute(self, name: str) -> bool:
        if name in _BANNED_ATTRIBUTES:
            return True
        if _DUNDER.fullmatch(name):
            return name not in _PLAIN_DUNDERS
        return name.startswith("_") and name not in self.privates


def _beginning(node: ast.expr) -> str | None:
    """What an attribute's name surely begins with; None where that may be an underscore."""
    match node:
        case ast.Constant(value=str() as text) | ast.JoinedStr(values=[ast.Constant(value=str() as text), *_]):
            return text if text[:1] != "_" or text in _PLAIN_DUNDERS else None
        case ast.BinOp(left=left, op=ast.Add()):
            return _beginning(left)
    return None
