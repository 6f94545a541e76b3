"""Drops what a program only says to its readers: comments and docstrings. What a solver sees must not whisper."""

from __future__ import annotations

import ast
import io
import tokenize

from azr_sandbox import quiet

from .normal import form


def without_remarks(source: str) -> str:
    """The program without comments and docstrings; as it was where they can not be told from the rest.

    Raises:
        SyntaxError, ValueError, RecursionError, MemoryError: Python can not read it.
    """
    lines = source.split("\n")
    docs = [part for node in quiet.nodes(source) for part in _remarks(node)]
    if not docs and "#" not in source:
        return source
    try:
        found = list(tokenize.generate_tokens(io.StringIO(source).readline))
    except (tokenize.TokenError, SyntaxError):
        return source
    gone: set[int] = set()
    for token in found:
        if token.type == tokenize.COMMENT:
            row, column = token.start
            lines[row - 1] = lines[row - 1][:column].rstrip()
            if not lines[row - 1]:
                gone.add(row - 1)
    for part in docs:
        if _alone(part, lines):
            gone |= set(range(part.lineno - 1, part.end_lineno or part.lineno))
    kept = "\n".join(line for row, line in enumerate(lines) if row not in gone)
    try:
        same = form(kept).key == form(source).key
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        same = False
    return kept if same else source


def _remarks(node: ast.AST) -> list[ast.Expr]:
    """Constants that stand as statements beside others: docstrings and their like."""
    body = getattr(node, "body", None)
    if not isinstance(body, list) or len(body) < 2:
        return []
    return [part for part in body if isinstance(part, ast.Expr) and isinstance(part.value, ast.Constant)]


def _alone(node: ast.Expr, lines: list[str]) -> bool:
    """Whether nothing else stands on a statement's lines."""
    first, last = lines[node.lineno - 1].encode(), lines[(node.end_lineno or node.lineno) - 1].encode()
    return not first[: node.col_offset].strip() and not last[node.end_col_offset :].strip()
