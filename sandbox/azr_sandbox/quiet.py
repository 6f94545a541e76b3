"""Python's own parser, without its warnings: '\\d' and `1or 2` warn when they are merely read. Runs nothing."""

from __future__ import annotations

import ast
import os
import threading
import warnings

MAX_DEPTH = 200  # of a syntax tree
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
    with _LOCK, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tree = ast.parse(text, mode=mode)
    if len(text) > MAX_DEPTH:  # a level takes a character at least
        _check_depth(tree)
    return tree


def _check_depth(tree: ast.AST) -> None:
    level, depth = [tree], 0
    while level:
        depth += 1
        if depth > MAX_DEPTH:
            raise RecursionError(f"a syntax tree deeper than {MAX_DEPTH}")
        level = [child for node in level for child in ast.iter_child_nodes(node)]
