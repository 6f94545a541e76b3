"""Draws what an environment shows to a person: coloured text, or the same as a picture. Knows no domain."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

COLUMNS = 96
_SCALE = 2  # of the bitmap font, 6 x 11 pixels a character
_MARGIN = 16
_PAPER, _INK = (24, 26, 31), (220, 223, 228)
_MAX_LINES, _MAX_CHARS = 400, 20_000  # of a section's text, and lines of a picture: "..." stands for the rest
_CONTROL = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\U000e0000-\U000e007f\ud800-\udfff]"
)


@dataclass(frozen=True, slots=True)
class Section:
    """A titled piece of what is shown.

    Attributes:
        title: a word or two.
        text: what stands under it.
        language: of a source, for its colours, such as "python"; None for prose.
        good: True and False colour the title green and red.
    """

    title: str
    text: str
    language: str | None = None
    good: bool | None = None


def printable(text: str) -> str:
    """The text without what moves a cursor, recolours a terminal or reverses a line: model text is data here too."""
    return _CONTROL.sub("\N{MIDDLE DOT}", text.replace("\r\n", "\n"))


def _shown(text: str) -> str:
    lines = printable(text[:_MAX_CHARS]).expandtabs(4).split("\n")
    whole = len(text) <= _MAX_CHARS and len(lines) <= _MAX_LINES
    return "\n".join(lines if whole else [*lines[:_MAX_LINES], "..."])


def panels(sections: Sequence[Section]) -> RenderableType:
    """The sections as something that `rich` prints."""
    from rich.console import Group
    from rich.syntax import Syntax
    from rich.text import Text

    parts: list[Any] = []
    for section in sections:
        colour = {None: "bold cyan", True: "bold green", False: "bold red"}[section.good]
        parts.append(Text(printable(section.title), colour))
        body = _shown(section.text)
        if section.language is None:
            parts.append(Text(body))
        else:
            parts.append(Syntax(body, section.language, theme="ansi_dark", word_wrap=True, background_color="default"))
        parts.append(Text())
    return Group(*parts)


def _console(file: io.StringIO) -> Console:
    from rich.console import Console

    return Console(
        file=file, force_terminal=True, color_system="truecolor", width=COLUMNS, height=50, legacy_windows=False,
        _environ={},
    )  # fmt: skip


def ansi(sections: Sequence[Section]) -> str:
    """The sections as text with ANSI colours, 96 columns wide."""
    file = io.StringIO()
    _console(file).print(panels(sections), end="")
    return file.getvalue()


def picture(sections: Sequence[Section]) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """The sections as a picture: uint8 (height, width, 3), 1,184 wide. Characters beyond Latin-1 are drawn as "?"."""
    from PIL import Image, ImageDraw, ImageFont
    from rich.segment import Segment
    from rich.terminal_theme import MONOKAI

    console = _console(io.StringIO())
    lines = console.render_lines(panels(sections), console.options)
    if len(lines) > _MAX_LINES:
        lines = [*lines[:_MAX_LINES], [Segment("...")]]
    font = ImageFont.load_default_imagefont()
    wide, high = 6, 12
    small = Image.new("RGB", (COLUMNS * wide + _MARGIN, len(lines) * high + _MARGIN), _PAPER)
    pen = ImageDraw.Draw(small)
    for row, line in enumerate(lines):
        column = 0
        for segment in line:
            colour = segment.style.color if segment.style else None
            ink = _INK if colour is None or colour.is_default else tuple(colour.get_truecolor(MONOKAI))
            shown = segment.text.encode("latin-1", "replace").decode("latin-1")
            pen.text((_MARGIN // 2 + column * wide, _MARGIN // 2 + row * high), shown, ink, font)
            column += len(shown)
    big = small.resize((small.width * _SCALE, small.height * _SCALE), Image.Resampling.NEAREST)
    return np.array(big)
