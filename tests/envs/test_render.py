"""What a person is shown: model text moves no cursor and hides nothing, and a hostile one costs little."""

from __future__ import annotations

import re
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from azr_gym.render import COLUMNS, Section, ansi, picture, printable

from strategies import model_text

COLOURS = re.compile(r"\x1b\[[0-9;]*m")
HOSTILE = [
    "\x1b[2J", "\x1b]0;title\x07", "\x1b[31mred", "\x9b31m", "\r", "a\rb", "\b\b\b", "\x00", "\x7f", "\u202eevil", "\u2066x\u2069", "\u200fx", "\u200ex", "\u061cx", "\u2028", "\u2029",
    "\ud800", "\x0c\x0b", "\x1b", "\x1b[", "\x85", "[bold]no markup[/bold]", "[/]", "[link=http://a]x[/link]", ":smile:",
]  # fmt: skip
FORBIDDEN = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")

sections = st.lists(
    st.builds(Section, st.sampled_from(["prompt", "f does", *HOSTILE]), st.text(max_size=60) | model_text | st.sampled_from(HOSTILE),
              st.sampled_from([None, "python"]), st.sampled_from([None, True, False])), max_size=4,
)  # fmt: skip


@given(sections)
@settings(max_examples=60)
def test_nothing_but_our_colours_reaches_the_terminal(shown: list[Section]) -> None:
    assert not FORBIDDEN.search(COLOURS.sub("", ansi(shown)))


@pytest.mark.parametrize("text", HOSTILE, ids=ascii)
@pytest.mark.parametrize("language", [None, "python"])
def test_hostile_text_is_shown_and_not_obeyed(text: str, language: str | None) -> None:
    for section in (Section("title", f"before {text} after", language), Section(text, "")):
        drawn = COLOURS.sub("", ansi([section]))
        assert not FORBIDDEN.search(drawn)
        assert "before" in drawn or section.title == text
    if text.isprintable():
        assert text in COLOURS.sub("", ansi([Section("title", f"x {text} y", language)]))


def test_windows_line_endings_are_line_endings() -> None:
    assert printable("a\r\nb\rc") == "a\nb\N{MIDDLE DOT}c"


@given(sections)
@settings(max_examples=30)
def test_a_picture_is_rows_of_coloured_pixels(shown: list[Section]) -> None:
    image = picture(shown)
    assert image.dtype == np.uint8
    assert image.ndim == 3
    assert image.shape[1:] == (1_184, 3)
    assert image.flags.writeable


@given(sections)
@settings(max_examples=20)
def test_the_same_sections_look_the_same(shown: list[Section]) -> None:
    assert ansi(shown) == ansi(shown)
    assert np.array_equal(picture(shown), picture(shown))


def test_different_answers_look_different() -> None:
    one, other = (picture([Section("answer", text)]) for text in ("1", "2"))
    assert not np.array_equal(one, other)


def test_good_is_green_and_bad_is_red() -> None:
    good, bad, neither = (ansi([Section("verdict", "x", good=value)]) for value in (True, False, None))
    assert ("32m" in good, "31m" in bad, "36m" in neither) == (True, True, True)
    assert COLOURS.sub("", good) == COLOURS.sub("", bad) == COLOURS.sub("", neither)


@pytest.mark.parametrize("language", [None, "python"])
def test_long_lines_wrap_and_nothing_is_lost(language: str | None) -> None:
    text = "".join(chr(ord("a") + n % 26) for n in range(1_000))
    lines = COLOURS.sub("", ansi([Section("t", text, language)])).split("\n")
    assert max(map(len, lines)) <= COLUMNS
    assert "".join(line.strip() for line in lines[1:]) == text


@pytest.mark.parametrize(
    "shown",
    [[], [Section("", "")], [Section("only a title", "")], [Section("", "", "python")], [Section("t", "\n\n")]],
    ids=str,
)
def test_empty_sections_can_be_drawn(shown: list[Section]) -> None:
    ansi(shown)
    assert picture(shown).size > 0


def test_what_is_left_out_is_marked() -> None:
    for text in ("line\n" * 1_000, "a" * 60_000):
        assert COLOURS.sub("", ansi([Section("t", text)])).rstrip().endswith("...")
    short = "line\n" * 399
    assert "..." not in ansi([Section("t", short)])


def test_a_language_that_does_not_exist_is_prose() -> None:
    assert "text" in COLOURS.sub("", ansi([Section("t", "text", "klingon")]))


PIECES = ["\n", "a", "\t", "漢", "def f(x): return x\n", "f'{", "@a", "\x1b[2J"]


@pytest.mark.parametrize("piece", PIECES, ids=ascii)
@pytest.mark.parametrize("language", [None, "python"])
def test_the_longest_text_is_drawn_in_bounded_time_and_space(piece: str, language: str | None) -> None:
    text = (piece * 65_536)[:65_536]
    start = time.process_time()
    shown = [Section("t", text, language)]
    assert len(ansi(shown)) < 500_000
    assert picture(shown).shape[0] <= 24 * 404
    assert time.process_time() - start < 15  # measured: 1 s at most
