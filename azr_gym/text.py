"""Finds the answer in model text. Reads, never runs; every search is linear in the text's length.

An answer stands, from the most explicit to the least: in `<answer>` tags, in fenced blocks, or bare. The most
explicit form that is there counts, and chatter round it does not. Thoughts in `<think>` tags are no part of it. Text
that only looks like a marker ("Assistant:") is nothing special.
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
    """The text after its thoughts; None where the last thought never ends."""
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
    label, body = "", list[str]()
    inside = False
    for line in text.split("\n"):
        bare = line.strip()
        if not inside:
            if bare.startswith("```"):
                if len(bare) > 6 and bare.endswith("```"):  # all on one line
                    found.append(Block("", bare.strip("`").strip()))
                else:
                    label, body, inside = (bare[3:].split() or [""])[0].lower(), [], True
        elif bare == "```":
            found.append(Block(label, "\n".join(body)))
            inside = False
        else:
            body.append(line)
    if inside:
        found.append(Block(label, "\n".join(body)))
    return found


def candidates(text: str) -> list[str]:
    """The texts of which one may be the answer: what the most explicit form holds."""
    tags = tagged(text)
    pieces = tags or [text]
    fenced = [block.body for piece in pieces for block in blocks(piece)]
    return fenced or tags


def find(text: str, read: Callable[[str], V | None], same: Callable[[V, V], bool]) -> Found[V]:
    """Find the one answer of a text.

    Args:
        text: what a model wrote.
        read: turns a candidate into a value, or None where it is none.
        same: whether two values are the same answer.

    Returns:
        The value; `missing` where no candidate can be read, `contradiction` where two of them differ.
    """
    said = spoken(text)
    if said is None:
        return Found(missing=True)
    explicit = candidates(said)
    if explicit:
        return _agreed([value for one in explicit if (value := read(one)) is not None], same)
    whole = read(said)
    if whole is not None:
        return Found(whole)
    return _agreed([value for one in _lines(said) if (value := read(one)) is not None], same)


def _lines(text: str) -> Iterator[str]:
    """Lines that may be an answer by themselves, with or without words such as "the answer is"."""
    for line in text.split("\n")[-_MAX_LINES:]:
        bare = line.strip()
        if bare:
            label = _LABEL.match(bare)
            rest = bare[label.end() :] if label else bare
            yield rest.strip("`*") if len(rest) > 1 and rest[-1] != "." else rest[:-1].strip("`*") or rest


def _agreed(values: list[V], same: Callable[[V, V], bool]) -> Found[V]:
    if not values:
        return Found(missing=True)
    if any(not same(values[0], other) for other in values[1:]):
        return Found(contradiction=True)
    return Found(values[0])
