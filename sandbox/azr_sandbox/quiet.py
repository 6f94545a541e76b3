"""Python's own parser, without its warnings: '\\d' and `1or 2` warn when they are merely read. Runs nothing."""

from __future__ import annotations

import ast
import functools
import os
import re
import threading
import warnings
from collections.abc import Collection

MAX_DEPTH = 200  # of a syntax tree
_MAY_WARN = re.compile(r"\\|[0-9]\.?[A-Za-z]")
_REMEMBERED_CHARS = 1 << 14  # longer programs are rare, and their trees large
_LOCK = threading.Lock()  # the list of warning filters belongs to all threads


def _unlock_after_fork() -> None:
    global _LOCK
    _LOCK = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_unlock_after_fork)


def parse(text: str, mode: str = "exec") -> ast.AST:
    """Parse a source.

    Raises:
        SyntaxError, ValueError, RecursionError, MemoryError, OverflowError: Python can not read it. RecursionError
            too where the tree is deeper than 200 nodes: how deep Python itself goes hangs on who calls it.
    """
    tree = _parse(text, mode)
    if len(text) > MAX_DEPTH:  # a level takes a character at least
        walk(tree)
    return tree


def nodes(source: str) -> tuple[ast.AST, ...]:
    """Every node of a program, its module first, in the order of `ast.walk`. Read once for all who look at the
    program: nobody changes it.

    Raises:
        As `parse`.
    """
    return _remembered(source) if len(source) <= _REMEMBERED_CHARS else _read(source)


def _read(source: str) -> tuple[ast.AST, ...]:
    return tuple(walk(_parse(source, "exec")))


_remembered = functools.lru_cache(maxsize=128)(_read)


def _parse(text: str, mode: str) -> ast.AST:
    if not _MAY_WARN.search(text):  # without the filter a short text takes half the time
        return ast.parse(text, mode=mode)
    with _LOCK, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return ast.parse(text, mode=mode)


def walk(tree: ast.AST) -> list[ast.AST]:
    """As `ast.walk`, in half its time; RecursionError where the tree is deeper than 200 nodes."""
    found, level, depth = list[ast.AST](), [tree], 0
    while level:
        depth += 1
        if depth > MAX_DEPTH:
            raise RecursionError(f"a syntax tree deeper than {MAX_DEPTH}")
        found += level
        below = list[ast.AST]()
        for node in level:
            for name in node._fields:
                value = getattr(node, name, None)
                if type(value) is list:
                    below += [part for part in value if isinstance(part, ast.AST)]
                elif isinstance(value, ast.AST):
                    below.append(value)
        level = below
    return found


def children(node: ast.AST, without: Collection[str] = ()) -> list[ast.AST]:
    """As `ast.iter_child_nodes`, in half its time, but for the fields named."""
    found = list[ast.AST]()
    for name in node._fields:
        if name not in without:
            value = getattr(node, name, None)
            if type(value) is list:
                found += [part for part in value if isinstance(part, ast.AST)]
            elif isinstance(value, ast.AST):
                found.append(value)
    return found
