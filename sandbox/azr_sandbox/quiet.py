"""Python's own parser, without its warnings: '\\d' and `1or 2` warn when they are merely read. Runs nothing."""

from __future__ import annotations

import ast
import os
import threading
import warnings

_LOCK = threading.Lock()  # the list of warning filters belongs to all threads


def _unlock_after_fork() -> None:
    global _LOCK
    _LOCK = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_unlock_after_fork)


def parse(text: str, mode: str = "exec") -> ast.AST:
    """Parse a source.

    Raises:
        SyntaxError, ValueError, RecursionError, MemoryError, OverflowError: Python can not read it.
    """
    with _LOCK, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return ast.parse(text, mode=mode)
