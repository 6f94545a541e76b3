"""Charts: well-formed whatever goes in, nothing outside the picture, every number where it belongs."""

from __future__ import annotations

import math
import re
import xml.etree.ElementTree as ET
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from azr_agents import charts
from azr_agents.charts import Axis, Column, Series, heat_map, line_chart, stacked_bars, ticks

X = Axis("iteration")
NASTY = "</svg><script>alert(1)</script>&amp;\x00\ud800\u202e'\"]]>"

names = st.text(max_size=8) | st.just(NASTY)
numbers = st.floats()
iterations = st.integers(0, 10**6)
points = st.lists(st.tuples(iterations, numbers), max_size=6, unique_by=lambda point: point[0]).map(sorted)
bands = st.lists(st.tuples(iterations, numbers, numbers), max_size=6, unique_by=lambda point: point[0]).map(sorted)
series = st.lists(st.builds(Series, names, points, bands, st.integers(0, 40)), max_size=5)
columns = st.lists(st.builds(Column, iterations, iterations, st.lists(numbers, max_size=5)), max_size=6)
axes = st.builds(Axis, names, st.none() | st.just(0.0), st.booleans())


def parse(figure: str) -> ET.Element:
    root = ET.fromstring(figure)
    assert root.tag == "figure"
    return root


def sound(figure: str) -> None:
    """Well-formed, without scripts, and with finite numbers that lie in the picture."""
    root = parse(figure)
    assert {one.tag for one in root.iter()} <= {
        "figure",
        "figcaption",
        "p",
        "svg",
        "g",
        "path",
        "rect",
        "circle",
        "text",
        "title",
        "ul",
        "li",
    }
    for one in root.iter():
        for name in ("x", "y", "cx", "cy", "width", "height", "d", "transform"):
            for number in re.findall(r"-?[\d.]+(?:e[-+]?\d+)?|nan|inf", one.get(name, "")):
                assert -90.01 <= float(number) <= charts.WIDTH + 0.5, (one.tag, name, number)


@given(series, names, axes, axes)
def test_a_line_chart_is_sound_whatever_is_in_it(lines: list[Series], title: str, x: Axis, y: Axis) -> None:
    sound(line_chart(lines, title, x, y))


@given(columns, st.lists(names, max_size=5), names, axes, axes)
def test_heat_maps_and_bars_are_sound_whatever_is_in_them(
    cells: list[Column], rows: list[str], title: str, x: Axis, y: Axis
) -> None:
    sound(heat_map(cells, rows, title, x, y))
    sound(stacked_bars(cells, rows, title, x, y))


@given(st.text())
def test_any_text_becomes_text(said: str) -> None:
    element = ET.fromstring(
        f'<p title="{charts.text(said).replace(chr(10), " ").replace(chr(9), " ")}">{charts.text(said)}</p>'
    )
    assert not list(element)
    assert (element.text or "").isprintable() or set("\n\t") & set(said)
    if said.isprintable():
        assert (element.text or "", element.get("title")) == (said, said)


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("<b>&\"'", "&lt;b&gt;&amp;&quot;&#x27;"),
        ("\x00\x1b[31m", "\\x00\\x1b[31m"),
        ("\ud800", "\\ud800"),
        ("\u202e\u200b\ufffe", "\\u202e\\u200b\\ufffe"),
        ("a\n\tb\r", "a\n\tb\\r"),
        ("é漢", "é漢"),
        (3, "3"),
    ],
)
def test_what_can_not_be_seen_is_written_as_its_escape(said: object, shown: str) -> None:
    assert charts.text(said) == shown


@given(st.floats(-1e100, 1e100), st.floats(-1e100, 1e100), st.booleans())
def test_ticks_are_round_few_and_inside(a: float, b: float, whole: bool) -> None:
    low, high = charts._range([a, b], Axis(""))
    found = ticks(low, high, whole=whole)
    room = 1e-5 * max(high - low, 1.0 if whole else 0.0)
    assert all(low - room <= place <= high + room for place in found)
    assert len(found) <= 6
    assert len(found) >= 2 or whole
    if high - low > 1e-6 * max(abs(low), abs(high)):  # else the differences are of rounding
        assert {f"{later - earlier:.0e}"[0] for earlier, later in pairwise(found)} <= set("125")


@pytest.mark.parametrize(
    ("low", "high", "whole", "wanted"),
    [
        (0, 1, False, [0, 0.2, 0.4, 0.6, 0.8, 1]),
        (1, 200, True, [50, 100, 150, 200]),
        (0, 3, True, [0, 1, 2, 3]),
        (-0.1, 0.1, False, [-0.1, -0.05, 0, 0.05, 0.1]),
        (1, 1.5, True, [1]),
    ],
)
def test_ticks_by_example(low: float, high: float, whole: bool, wanted: list[float]) -> None:
    assert ticks(low, high, whole=whole) == pytest.approx(wanted)


@pytest.mark.parametrize(
    ("places", "percent", "wanted"),
    [
        ([0, 0.2, 0.4], True, ["0%", "20%", "40%"]),
        ([0, 0.005, 0.01], True, ["0.0%", "0.5%", "1.0%"]),
        ([0.0, 0.005], False, ["0.000", "0.005"]),
        ([9996, 9998, 10000], False, ["9,996", "9,998", "10,000"]),
        ([0, 2e-5, 4e-5], False, ["0e+00", "2e-05", "4e-05"]),
        ([10000000, 10000001], False, ["1.0000000e+07", "1.0000001e+07"]),
        ([], False, []),
    ],
)
def test_labels_of_ticks_tell_them_apart(places: list[float], percent: bool, wanted: list[str]) -> None:
    assert charts._ticked(places, percent) == wanted


def test_a_higher_value_stands_higher_and_a_later_one_further_right() -> None:
    root = parse(line_chart([Series("a", [(1, 0.0), (2, 1.0), (3, 0.5)])], "t", X, Axis("share")))
    dots = [(float(dot.attrib["cx"]), float(dot.attrib["cy"])) for dot in root.iter("circle")]
    assert len(dots) == 3
    assert dots[0][0] < dots[1][0] < dots[2][0]
    assert dots[1][1] < dots[2][1] < dots[0][1]


def test_a_band_goes_there_above_the_line_and_back_below_it() -> None:
    root = parse(line_chart([Series("a", [(0, 0.5), (1, 0.5)], [(0, 0.0, 1.0), (1, 0.25, 0.75)])], "t", X, Axis("y")))
    shape = next(path.attrib["d"] for path in root.iter("path") if path.get("fill-opacity"))
    corners = [tuple(map(float, corner.split())) for corner in shape.strip("MZ").split("L")]
    (a, top_a), (b, top_b), (c, low_b), (d, low_a) = corners
    assert a == d < b == c
    assert top_a < top_b < low_b < low_a


def test_every_series_has_a_tooltip_and_a_place_in_the_legend() -> None:
    root = parse(
        line_chart(
            [Series("a", [(1, 0.25), (9, 0.5)]), Series(NASTY, [(1, 0.1)], colour=1)],
            "t",
            X,
            Axis("share", percent=True),
        )
    )
    assert [title.text for title in root.iter("title")] == [
        "a: 50% at iteration 9, 25% at 1",
        f"{NASTY[:-6]}\\u202e'\"]]>: 10% at iteration 1".replace("\x00\ud800", "\\x00\\ud800"),
    ]
    assert len(list(root.iter("li"))) == 2


def test_axes_have_names_and_ticks() -> None:
    root = parse(line_chart([Series("a", [(0, 0.0), (10, 1.0)])], "t", X, Axis("share", percent=True)))
    said = [one.text for one in root.iter("text")]
    assert said[:6] == ["0%", "20%", "40%", "60%", "80%", "100%"]
    assert {"iteration", "share", "0", "10"} <= set(said)


def test_what_is_not_finite_is_left_out() -> None:
    whole = line_chart([Series("a", [(1, 1.0), (3, 2.0)])], "t", X, Axis("y"))
    assert line_chart([Series("a", [(1, 1.0), (2, math.nan), (3, 2.0), (4, math.inf)])], "t", X, Axis("y")) == whole


def test_colours_and_dashes_together_tell_many_series_apart() -> None:
    lines = [Series(str(place), [(0, place), (1, place)], colour=place) for place in range(24)]
    root = parse(line_chart(lines, "t", X, Axis("y")))
    looks = [
        (mark.get("stroke"), mark.get("stroke-dasharray"))
        for mark in root.iter("path")
        if mark.get("stroke-width") == "2"
    ]
    assert len(set(looks)) == 24


@pytest.mark.parametrize(
    "made",
    [
        line_chart([], "t", X, X),
        line_chart([Series("a", [(1, math.nan)])], "t", X, X),
        heat_map([], ["0"], "t", X, X),
        stacked_bars([], ["a"], "t", X, X),
        heat_map([Column(1, 1, [1])], [], "t", X, X),
    ],
)
def test_without_values_a_chart_says_so(made: str) -> None:
    root = parse(made)
    assert root.find("svg") is None
    assert root.findtext("p") == "No values."


def test_a_heat_map_shows_shares_of_each_column() -> None:
    root = parse(
        heat_map([Column(1, 2, [1, 3]), Column(3, 3, [0, 0]), Column(4, 4, [8])], ["0", "1"], "t", X, Axis("right"))
    )
    cells = [rect for rect in root.iter("rect") if rect.find("title") is not None]
    assert [cell.findtext("title") for cell in cells] == [
        "0: 25% (iteration 1 to 2)", "1: 75% (iteration 1 to 2)", "0: 0% (iteration 3)", "1: 0% (iteration 3)", "0: 100% (iteration 4)", "1: 0% (iteration 4)",
    ]  # fmt: skip
    assert [float(cell.attrib["fill-opacity"]) for cell in cells] == [0.25, 0.75, 0, 0, 1, 0]
    assert float(cells[0].attrib["y"]) > float(cells[1].attrib["y"]), "the first row lies at the bottom"
    assert float(cells[0].attrib["x"]) < float(cells[2].attrib["x"])


@pytest.mark.parametrize("draw", [heat_map, stacked_bars])
def test_few_columns_are_labelled_by_their_first_iteration(draw: Any) -> None:
    root = parse(draw([Column(10 * at, 10 * at + 9, [1.0]) for at in range(60)], ["0"], "t", X, Axis("y")))
    said = [one.text for one in root.iter("text") if one.get("text-anchor") == "middle"]
    assert said[-6:] == ["0", "100", "200", "300", "400", "500"]


def test_bars_stand_on_each_other_and_their_heights_are_in_proportion() -> None:
    root = parse(stacked_bars([Column(1, 1, [1.0, 3.0])], ["rollout", "update"], "t", X, Axis("s")))
    low, high = (rect for rect in root.iter("rect") if rect.find("title") is not None)
    assert float(high.attrib["height"]) == pytest.approx(3 * float(low.attrib["height"]), abs=0.1)
    assert float(high.attrib["y"]) + float(high.attrib["height"]) == pytest.approx(float(low.attrib["y"]), abs=0.02)
    assert low.findtext("title") == "rollout: 1 s (iteration 1)"


def test_the_palette_is_as_long_in_the_dark_as_in_the_light() -> None:
    light, dark = (
        charts.STYLE.count("--c0:"),
        [charts.STYLE.count(f"--c{place}:") for place in range(len(charts._LIGHT))],
    )
    assert light == 2
    assert set(dark) == {2}
