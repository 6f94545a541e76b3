"""Which parameters of a program reach its result. A look at the syntax, which errs on the side of "reaches"."""

from __future__ import annotations

import ast
import builtins
from collections.abc import Iterable
from dataclasses import dataclass, field

from azr_sandbox import quiet

_RESULT = ""  # stands for what the function gives back
_WORLD = "*"  # stands for every name that the function does not bind itself: its module, with helpers and globals
_BUILTINS = frozenset(dir(builtins))
_SEES_ALL = frozenset({"locals", "vars", "dir", "eval", "exec", "globals"})  # whoever mentions one may read any name
_MANY = 64  # names of a function; with more, each is said to reach: the work grows with their square
_BLOCKS = ("body", "orelse", "finalbody")
_NOTHING_MORE = ("ctx", "op", "ops")  # fields whose nodes name nothing
_HOLDERS = (ast.stmt, ast.ExceptHandler, ast.match_case)
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
_SCOPES = (*_FUNCTIONS, ast.ClassDef)
_EXITS = (ast.Return, ast.Break, ast.Continue, ast.Raise)


@dataclass(slots=True)
class _Flow:
    """What is known of a function's names; those of nested functions are thrown together with its own.

    Attributes:
        bound: names that it binds.
        sources: for each name, the names on which it may depend.
        kin: for each name, those with which it may share an object, it too: what changes one changes all.
        changes: (name, names that decide how) wherever an object may change in place.
    """

    bound: set[str]
    sources: dict[str, set[str]] = field(default_factory=dict)
    kin: dict[str, set[str]] = field(default_factory=dict)
    changes: list[tuple[str, set[str]]] = field(default_factory=list)

    def depends(self, name: str, on: set[str]) -> None:
        self.sources.setdefault(name, set()).update(on)

    def share(self, names: set[str]) -> None:
        together = names.union(*(self.kin.get(name, ()) for name in names))
        for name in together:
            self.kin[name] = together

    def names(self, nodes: Iterable[ast.AST]) -> set[str]:
        """Names that some nodes mention, builtins left out."""
        found = {node.id for node in nodes if isinstance(node, ast.Name)}
        return {name if name in self.bound else _WORLD for name in found if name in self.bound or name not in _BUILTINS}


def idle_parameters(function: ast.FunctionDef | ast.AsyncFunctionDef) -> list[str]:
    """Parameters on which the result can not depend.

    A name depends on every name that an assignment to it mentions, or that decides whether the assignment is made.
    An object that is changed in place is changed under every name that may hold it.
    """
    if set(parameters(function)) <= _given_back(function):  # the commonest case by far
        return []
    if any(isinstance(node, ast.Name) and node.id in _SEES_ALL for node in quiet.walk(function)):
        return []
    flow = _Flow(_bound(function))
    if len(flow.bound) > _MANY:
        return []
    _collect(function.body, set(), _RESULT, flow)
    for name, on in flow.changes:
        for one in flow.kin.get(name, {name}):
            flow.depends(one, on)
    reached = _closure({_RESULT}, flow.sources)
    return [name for name in parameters(function) if name not in reached]


def _given_back(function: ast.FunctionDef | ast.AsyncFunctionDef) -> set[str]:
    """Names that the function's own returns mention, and those that are assigned to them: a quick look, which finds
    no more than the whole one does."""
    sources: dict[str, set[str]] = {}
    found: set[str] = set()
    todo = [*function.body]
    while todo:
        statement = todo.pop()
        if isinstance(statement, _SCOPES):
            continue
        head = [node for node in _head(statement) if type(node) is ast.Name]
        names = {node.id for node in head}
        if type(statement) is ast.Return:
            found |= names
        for node in head:
            if type(node.ctx) is ast.Store and node.id not in _BUILTINS:
                sources.setdefault(node.id, set()).update(names)
        for block in _blocks(statement):
            todo += block
    return _closure(found, sources)


def _closure(names: set[str], sources: dict[str, set[str]]) -> set[str]:
    """The names, and all on which they depend."""
    reached, todo = set(names), [*names]
    while todo:
        fresh = sources.get(todo.pop(), set()) - reached
        reached |= fresh
        todo += fresh
    return reached


def _blocks(statement: ast.stmt) -> list[list[ast.stmt]]:
    """The blocks of statements inside a statement."""
    blocks = [getattr(statement, name, []) for name in _BLOCKS]
    return blocks + [part.body for name in ("handlers", "cases") for part in getattr(statement, name, [])]


def parameters(function: ast.FunctionDef | ast.AsyncFunctionDef) -> list[str]:
    """The names of every kind of parameter."""
    spec = function.args
    every = [*spec.posonlyargs, *spec.args, *spec.kwonlyargs, *filter(None, (spec.vararg, spec.kwarg))]
    return [parameter.arg for parameter in every]


def _bound(function: ast.AST) -> set[str]:
    """Names that a function or one inside it binds, but for those that it declares to be its module's."""
    bound, world = set[str](), set[str]()
    for node in quiet.walk(function):
        bound |= _binds(node)
        if isinstance(node, ast.arg):
            bound.add(node.arg)
        elif isinstance(node, ast.Global):
            world |= set(node.names)
    return bound - world


def _binds(node: ast.AST) -> set[str]:
    match node:
        case ast.Name(id=name, ctx=ast.Store() | ast.Del()):
            return {name}
        case ast.MatchAs(name=str(name)) | ast.MatchStar(name=str(name)) | ast.MatchMapping(rest=str(name)):
            return {name}
        case ast.ExceptHandler(name=str(name)) | ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
            return {name}
        case ast.ClassDef(name=name):
            return {name}
        case ast.alias(name=name, asname=asname):
            return {(asname or name).partition(".")[0]}
    return set()


def _collect(body: list[ast.stmt], context: set[str], result: str, flow: _Flow) -> None:
    """Note what each statement does.

    Args:
        body: the statements.
        context: names that decide whether we come here.
        result: what takes the values that are returned.
        flow: where it is noted.
    """
    for statement in body:
        head = _head(statement)
        own = context | flow.names(head)
        if isinstance(statement, ast.Try | ast.TryStar | ast.With | ast.AsyncWith):  # what fails inside decides what
            own = own.union(*(flow.names(quiet.walk(part)) for part in statement.body))  # comes after it
        blocks = _blocks(statement)
        inside = own if any(blocks) else context
        if isinstance(statement, (*_FUNCTIONS, ast.ClassDef)):
            name = statement.name if statement.name in flow.bound else _WORLD
            mentioned = flow.names(quiet.walk(statement))
            flow.share({name} | mentioned)
            flow.depends(name, own if isinstance(statement, _FUNCTIONS) else own | mentioned)
            if isinstance(statement, _FUNCTIONS):
                for parameter in parameters(statement):
                    flow.depends(parameter, {name})
                    flow.share({name, parameter})
            _collect(statement.body, {name}, name if isinstance(statement, _FUNCTIONS) else result, flow)
            continue
        _note(head, own, flow)
        if isinstance(statement, ast.Assert | ast.Raise):
            flow.depends(_RESULT, own)  # even inside a nested function
        everything = quiet.walk(statement)
        if any(isinstance(node, _EXITS) for node in everything):
            flow.depends(result, own if isinstance(statement, ast.Return) else inside)
        if any(isinstance(node, ast.Yield | ast.YieldFrom) for node in everything):
            flow.depends(result, own)
        for block in blocks:
            _collect(block, inside, result, flow)


def _head(statement: ast.stmt) -> list[ast.AST]:
    """The nodes of a statement, without those inside its blocks."""
    found: list[ast.AST] = [statement]
    for node in found:  # and what is added meanwhile
        if type(node) is not ast.Name:  # a name has none
            found += quiet.children(node, _BLOCKS if isinstance(node, _HOLDERS) else _NOTHING_MORE)
    return found


def _note(head: list[ast.AST], own: set[str], flow: _Flow) -> None:
    """Note what the nodes of one statement bind, which names may share an object by it, and what they may change."""
    targets = {name if name in flow.bound else _WORLD for node in head for name in _binds(node)}
    for name in targets:
        flow.depends(name, own)
    if targets:
        flow.share(targets | flow.names(head))
    for node in head:
        match node:
            case ast.Call() | ast.AugAssign():
                changed = flow.names(quiet.walk(node if isinstance(node, ast.Call) else node.target))
            case ast.Attribute(ctx=ast.Store() | ast.Del()) | ast.Subscript(ctx=ast.Store() | ast.Del()):
                changed = flow.names(quiet.walk(node.value))
                flow.share(changed | flow.names(head))
            case _:
                continue
        flow.changes += [(name, own) for name in changed]
