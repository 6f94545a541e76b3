"""Reads programs, inputs and values out of candidate texts. Parses as data, never runs.

A proposal is read in either of two forms:

- fenced: a ```python block, an ```input block (ten of them for induction), a ```message block;
- as code: the program, then a call of `f` for each input, then for induction the message as a comment.
"""

from __future__ import annotations

import ast
import functools
import re
import textwrap
from dataclasses import dataclass

from azr_sandbox import NotPlainData, quiet, values

from .. import text as texts
from .normal import form, syntax
from .triplet import ENTRY, MAX_MESSAGE_CHARS, MAX_PROGRAM_CHARS, MAX_VALUE_CHARS, parse_arguments

_CODE_LINE = re.compile(r"(?:\s+\S|def\b|async def\b|class\b|import\b|from\b|@|#|[)\]}]|\w+\s*=|f\s*\()")
_FIRST_LINE = re.compile(r"^(?:def |async def |class |import |from \w+ import|@\w)", re.MULTILINE)
_PYTHON = ("python", "py", "python3", "program", "code")
_BINDERS = frozenset({
    ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Name, ast.alias, ast.Global, ast.ExceptHandler,
    ast.MatchAs, ast.MatchStar,
})  # fmt: skip
_TOO_DEEP = (SyntaxError, ValueError, RecursionError, MemoryError, OverflowError)


def read_value(text: str) -> tuple[object] | None:
    """A value, in a tuple of its own, for None is a value too."""
    try:
        return (values.parse(text, 4 * MAX_VALUE_CHARS),)
    except NotPlainData:
        return None


def read_arguments(text: str, count: int | None) -> tuple[object, ...] | None:
    """Arguments of a call."""
    try:
        return parse_arguments(text, count)
    except NotPlainData:
        return None


def read_program(text: str) -> str | None:
    """A program that defines the entry function, chatter before and after it cut off."""
    for take in (_whole, _dedented, _cut):
        source = take(text)
        if source and len(source) <= MAX_PROGRAM_CHARS:
            try:
                form(source)
                if defines_entry(source):
                    return source
            except _TOO_DEEP:
                continue
    return None


@functools.lru_cache(maxsize=8192)
def defines_entry(source: str) -> bool:
    """Whether a source that Python can read binds the entry's name at its top level."""
    for node in syntax(source).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and node.name == ENTRY:
            return True
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        if any(isinstance(target, ast.Name) and target.id == ENTRY for target in targets):
            return True
    return False


def has_plain_entry(source: str) -> bool:
    """Whether the entry is one undecorated function at the top level, and its name is bound nowhere else."""
    bound = 0
    for node in quiet.nodes(source):
        if type(node) not in _BINDERS:
            continue
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                bound += name == ENTRY
            case ast.Name(id=name, ctx=ast.Store() | ast.Del()):
                bound += name == ENTRY
            case ast.alias(name=name, asname=asname):
                bound += ENTRY in (name, asname)
            case ast.Global(names=names):
                bound += ENTRY in names
            case ast.ExceptHandler(name=str(name)) | ast.MatchAs(name=str(name)) | ast.MatchStar(name=str(name)):
                bound += name == ENTRY
    plain = [node for node in syntax(source).body if isinstance(node, ast.FunctionDef) and node.name == ENTRY]
    return bound == 1 and len(plain) == 1 and not plain[0].decorator_list


def _whole(text: str) -> str:
    """The text from its first letter: an answer after `? =` begins with a space."""
    return text.lstrip().rstrip("\n")


def _dedented(text: str) -> str:
    """The text without what indents all of it; nothing where nothing does."""
    return textwrap.dedent(text).strip("\n") if text.strip("\n")[:1].isspace() else ""


def _cut(text: str) -> str:
    """From the first line of bare text that begins code to the last that can belong to it."""
    first = _FIRST_LINE.search(text)
    if first is None:
        return ""
    lines = text[first.start() :].split("\n")
    while lines and not _CODE_LINE.match(lines[-1]):
        lines.pop()
    return "\n".join(lines)


@dataclass(frozen=True, slots=True)
class Draft:
    """A proposal as it was written, before anything is checked. What is missing is None, or an empty tuple.

    Attributes:
        program: source; None where none was found.
        inputs: the arguments of each call, as text.
        message: the hint.
        contradiction: two different proposals stand in the text.
    """

    program: str | None = None
    inputs: tuple[str, ...] = ()
    message: str | None = None
    contradiction: bool = False


def read_draft(text: str) -> Draft:
    """Read a proposal: from `<answer>` tags, or from the whole text where what they hold is none."""
    said = texts.spoken(text)
    if said is None:
        return Draft()
    best = Draft()
    for pieces in (texts.tagged(said), [said]):
        drafts = [draft for draft in map(_read_piece, pieces) if draft != Draft()]
        if drafts:
            found = drafts[0] if all(draft == drafts[0] for draft in drafts) else Draft(contradiction=True)
            if any(draft.inputs and (draft.program or draft.message) for draft in drafts):
                return found
            best = best if best != Draft() else found
    return best


def _read_piece(text: str) -> Draft:
    fenced = texts.blocks(text)
    if not fenced:
        return _read_code(text)
    programs: list[str] = []
    inputs: list[str] = []
    messages: list[str] = []
    for block in fenced:
        if block.label in ("message", "msg"):
            messages.append(block.body)
        elif block.label in ("input", "inputs", "", *_PYTHON) and (calls := _read_calls(block.body)):
            inputs += calls.inputs
            messages += filter(None, [calls.message])
        elif block.label in ("input", "inputs"):
            inputs.append(block.body)
        elif block.label in _PYTHON or read_program(block.body) is not None or _FIRST_LINE.search(block.body):
            programs.append(block.body.strip("\n"))
        elif not block.label:
            inputs.append(block.body)
    if any(program != programs[0] for program in programs) or any(one != messages[0] for one in messages):
        return Draft(contradiction=True)
    message = messages[0].strip() if messages else None
    if programs and not inputs:
        code = _read_code(programs[0])
        return Draft(code.program, code.inputs, message if message is not None else code.message)
    return Draft(programs[0] if programs else None, tuple(inputs), message)


def _read_calls(text: str) -> Draft | None:
    """Calls of the entry and comments, where a text is nothing else."""
    if not re.match(r"\s*(?:f\s*\(|#)", text):
        return None
    draft = _read_code(text)
    return draft if draft.inputs and draft.program is None else None


def _read_code(text: str) -> Draft:
    """A program, then calls of the entry, then the message in comments; or calls and message alone."""
    for take in (_whole, _dedented, _cut, _calls):
        source = take(text)
        if not source.strip() or len(source) > MAX_PROGRAM_CHARS + 16 * MAX_VALUE_CHARS:
            continue
        try:
            body = quiet.parse(source).body  # type: ignore[attr-defined]
        except _TOO_DEEP:
            continue
        last = len(body)
        while last and _is_call(body[last - 1]):
            last -= 1
        calls = body[last:]
        if not calls and not any(map(_is_definition, body)):
            continue
        lines = source.split("\n")
        start = calls[0].lineno - 1 if calls else len(lines)
        program = "\n".join(lines[:start]).rstrip() if last else None
        inputs = tuple(_segment(lines, call.value) for call in calls)
        comments = [line.strip().lstrip("#").strip() for line in lines[start:] if line.strip().startswith("#")]
        return Draft(program, inputs, " ".join(comments)[: MAX_MESSAGE_CHARS + 1] or None)
    first = _FIRST_LINE.search(text)
    return Draft(text[first.start() :].strip()) if first else Draft()


def _segment(lines: list[str], node: ast.expr) -> str:
    """A node's own text. `ast.get_source_segment` splits the whole source anew for each node."""
    part = [line.encode("utf-8", "surrogatepass") for line in lines[node.lineno - 1 : node.end_lineno]]
    part[-1] = part[-1][: node.end_col_offset]
    part[0] = part[0][node.col_offset :]
    return b"\n".join(part).decode("utf-8", "surrogatepass")


def _calls(text: str) -> str:
    """The lines of bare text that are calls of the entry, or comments."""
    return "\n".join(line.strip() for line in text.split("\n") if re.match(r"\s*(?:f\s*\(|#)", line))


def _is_call(node: ast.stmt) -> bool:
    value = node.value if isinstance(node, ast.Expr) else None
    return isinstance(value, ast.Call) and isinstance(value.func, ast.Name) and value.func.id == ENTRY


def _is_definition(node: ast.stmt) -> bool:
    return isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Assign | ast.Import)
