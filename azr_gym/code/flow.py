"""Which parameters of a program reach its result. A look at the syntax, which errs on the side of "reaches"."""

from __future__ import annotations

import ast

_SCOPES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
_RESULT = ""  # stands for what the function gives back


def idle_parameters(function: ast.FunctionDef | ast.AsyncFunctionDef) -> list[str]:
    """Parameters on which the result can not depend.

    A name depends on every name that an assignment to it mentions, or that decides whether the assignment is made.
    """
    sources: dict[str, set[str]] = {}
    _collect(function.body, set(), sources)
    reached, todo = {_RESULT}, [_RESULT]
    while todo:
        for name in sources.get(todo.pop(), set()) - reached:
            reached.add(name)
            todo.append(name)
    spec = function.args
    every = [*spec.posonlyargs, *spec.args, *spec.kwonlyargs, *filter(None, (spec.vararg, spec.kwarg))]
    return [parameter.arg for parameter in every if parameter.arg not in reached]


def _collect(body: list[ast.stmt], context: set[str], sources: dict[str, set[str]]) -> None:
    """Fill in, for each name, the names that it may depend on. `context`: names that decide whether we come here."""
    for statement in body:
        blocks = [getattr(statement, field, []) for field in ("body", "orelse", "finalbody")]
        blocks += [handler.body for handler in getattr(statement, "handlers", [])]
        blocks += [case.body for case in getattr(statement, "cases", [])]
        own = context | _mentioned(statement, own=True)
        if isinstance(statement, ast.Try | ast.TryStar):  # what fails in the block decides what comes after it
            own = own.union(*map(_mentioned, statement.body))
        if isinstance(statement, ast.Return | ast.Raise | ast.Assert | ast.Global | ast.Nonlocal):
            own |= set(getattr(statement, "names", []))
            sources.setdefault(_RESULT, set()).update(own)
        elif isinstance(statement, _SCOPES):
            sources.setdefault(statement.name, set()).update(own | _mentioned(statement))
            continue
        inside = own if any(blocks) else context
        for name in _changed(statement):
            sources.setdefault(name, set()).update(own)
        if any(isinstance(part, ast.Yield | ast.YieldFrom) for part in ast.walk(statement)):
            sources.setdefault(_RESULT, set()).update(own)
        if any(isinstance(part, ast.Return | ast.Break | ast.Continue | ast.Raise) for part in ast.walk(statement)):
            sources.setdefault(_RESULT, set()).update(inside)
        for block in blocks:
            _collect(block, inside, sources)


def _mentioned(statement: ast.AST, own: bool = False) -> set[str]:
    """Names that are read; with `own`, not those inside the blocks of the statement."""
    found, todo = set[str](), [statement]
    while todo:
        node = todo.pop()
        if isinstance(node, ast.Name):
            found.add(node.id)
        for field, value in ast.iter_fields(node):
            if own and node is statement and field in ("body", "orelse", "finalbody", "handlers", "cases"):
                continue
            parts = value if isinstance(value, list) else [value]
            todo += [part for part in parts if isinstance(part, ast.AST)]
    if own and isinstance(statement, ast.Match):
        for case in statement.cases:
            found |= _mentioned(case.pattern) | (_mentioned(case.guard) if case.guard else set())
    return found


def _changed(statement: ast.stmt) -> set[str]:
    """Names that the statement may change: targets, captures, and whatever a method is called on or is passed on."""
    found = set[str]()
    todo: list[ast.AST] = [statement]
    while todo:
        node = todo.pop()
        match node:
            case ast.Name(id=name, ctx=ast.Store() | ast.Del()):
                found.add(name)
            case ast.MatchAs(name=str(name)) | ast.MatchStar(name=str(name)) | ast.ExceptHandler(name=str(name)):
                found.add(name)
            case ast.Call():
                found |= {part.id for part in ast.walk(node) if isinstance(part, ast.Name)}
            case ast.Attribute(ctx=ast.Store()) | ast.Subscript(ctx=ast.Store() | ast.Del()):
                found |= {part.id for part in ast.walk(node.value) if isinstance(part, ast.Name)}
            case ast.alias(name=name, asname=asname):
                found.add((asname or name).partition(".")[0])
        for field, value in ast.iter_fields(node):
            if node is statement and field in ("body", "orelse", "finalbody", "handlers", "cases"):
                continue
            parts = value if isinstance(value, list) else [value]
            todo += [part for part in parts if isinstance(part, ast.AST)]
    return found
