"""Finds the answer in model text. Reads, never runs; every search is linear in the text's length.

An answer stands, from the most explicit to the least: in `<answer>` tags, in fenced blocks, or bare. The most
explicit form in which anything can be read counts, and chatter round it does not. Where there is neither tag nor
fence, single lines of bare text count, and where none can be read, `code` within a line. Thoughts in `<think>` tags
are no part of it. Text that only looks like a marker ("Assistant:") is nothing special. An answer may itself hold tags
or fences, in a string: a single line, and what is tagged as a whole, is read as a whole first. A fence is three or
more backticks or tildes, and ends at one of the same kind that is as long or longer.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

V = TypeVar("V")

_LABEL = re.compile(
    r"(?:so |and |thus |therefore )?(?:the )?(?:final |correct )?(?:answer|output|input|result|value|diagnosis)"
    r"(?: is)?\s*[:=]?\s+",
    re.IGNORECASE,
)
_FENCE = re.compile(r"(`{3,}|~{3,})(.*)", re.DOTALL)
_SPAN = re.compile(r"`([^`\n]+)`")
_MAX_LINES = 400  # of bare text that are looked at, the last ones


@dataclass(frozen=True, slots=True)
class Found(Generic[V]):
    """What a text says: `value`; or nothing readable (`missing`), or two different things (`contradiction`)."""

    value: V | None = None
    missing: bool = False
    contradiction: bool = False


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block: the first word after the fence in lower case, and what stands inside."""

    label: str
    body: str


def spoken(text: str) -> str | None:
    """The text after its thoughts, its lines ending as Python's; None where the last thought never ends."""
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    end = text.rfind("</think>")
    if end >= 0:
        text = text[end + len("</think>") :]
    return None if "<think>" in text else text


def tagged(text: str, tag: str = "answer") -> list[str]:
    """What stands in `<answer>` tags. A last tag that is not closed reaches to the end of the text."""
    opening, closing, found, at = f"<{tag}>", f"</{tag}>", [], 0
    while (start := text.find(opening, at)) >= 0:
        start += len(opening)
        end = text.find(closing, start)
        if end < 0:
            found.append(text[start:])
            break
        found.append(text[start:end])
        at = end + len(closing)
    return found


def blocks(text: str) -> list[Block]:
    """The fenced blocks. A last fence that is not closed reaches to the end of the text."""
    found: list[Block] = []
    fence, label, body = "", "", list[str]()
    for line in text.split("\n"):
        bare = line.strip()
        if fence:
            if bare.startswith(fence) and not bare.strip(fence[0]):
                found.append(Block(label, "\n".join(body)))
                fence = ""
            else:
                body.append(line)
        elif opening := _FENCE.match(bare):
            fence, rest = opening[1], opening[2].strip()
            if rest.endswith(fence):  # all on one line
                found.append(Block("", rest.strip(fence[0]).strip()))
                fence = ""
            label, body = (rest.split() or [""])[0].lower(), []
    if fence:
        found.append(Block(label, "\n".join(body)))
    return found


def _wholes(bare: str) -> Iterator[str]:
    """A single line, or what is tagged as a whole: an answer as it stands, whatever marks its strings hold."""
    if bare and "\n" not in bare:
        yield bare
    if bare.startswith("<answer>") and bare.endswith("</answer>") and not blocks(whole := _outermost(bare)):
        yield whole


def _forms(said: str) -> Iterator[list[str]]:
    """The texts of which one may be the answer, from the most explicit form to the least."""
    tags = tagged(said)
    fenced = [block.body for block in blocks(said)]
    if tags:
        yield [piece for tag in tags for piece in [block.body for block in blocks(tag)] or [tag]]
        yield [outermost] if (outermost := _outermost(said)) else []
    yield fenced
    yield [said] if said.strip() else []
    if not tags and not fenced:
        yield list(_lines(said))
        yield _SPAN.findall(said)[-_MAX_LINES:]


def _outermost(text: str) -> str:
    """From the first answer tag to the last, whatever stands between."""
    return text.partition("<answer>")[2].rpartition("</answer>")[0]


def find(text: str, read: Callable[[str], V | None], same: Callable[[V, V], bool]) -> Found[V]:
    """Find the one answer of a text.

    Args:
        text: what a model wrote.
        read: turns a candidate into a value, or None where it is none.
        same: whether two values are the same answer.

    Returns:
        The value; `missing` where no candidate can be read, `contradiction` where two of them differ.
    """
    for whole in _wholes(text.strip()):
        value = read(whole)
        if value is not None:
            return Found(value)
    said = spoken(text)
    if said is None:
        return Found(missing=True)
    for form in _forms(said):
        values = [value for one in form if (value := read(one)) is not None]
        if values:
            different = any(not same(values[0], other) for other in values[1:])
            return Found(contradiction=True) if different else Found(values[0])
    return Found(missing=True)


def _lines(text: str) -> Iterator[str]:
    """Lines that may be an answer by themselves, with or without words such as "the answer is"."""
    for line in text.split("\n")[-_MAX_LINES:]:
        bare = line.strip()
        if bare:
            label = _LABEL.match(bare)
            rest = bare[label.end() :] if label else bare
            yield rest.strip("`*") if len(rest) > 1 and rest[-1] != "." else rest[:-1].strip("`*") or rest
