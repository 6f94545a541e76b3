"""Charts as text: pure functions from numbers to a <figure> of inline SVG. Knows nothing of runs and reads no file.

What comes out is well-formed XML, whatever text and finite or infinite numbers go in, and needs neither scripts nor a
network. Colours are CSS variables of `STYLE`, so that one page serves light and dark; a series beyond the last colour
is told by its dashes.
"""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from dataclasses import dataclass

# Okabe and Ito's colours, told apart by the colour-blind: darker ones on white, lighter ones on black.
_LIGHT = ("#0072b2", "#b35900", "#00795a", "#a8437f", "#6b5b00", "#3d3d3d")
_DARK = ("#56b4e9", "#e69f00", "#2fc79a", "#e59ac5", "#f0e442", "#d0d0d0")
_DASHES = ("none", "7 3", "2 3", "9 3 2 3")


def _variables(colours: Sequence[str]) -> str:
    return "".join(f"--c{place}:{colour};" for place, colour in enumerate(colours))


STYLE = f"""
:root{{{_variables(_LIGHT)}}}
@media (prefers-color-scheme:dark){{:root{{{_variables(_DARK)}}}}}
figure{{margin:0;min-width:0}}
figcaption{{font-weight:600;margin-bottom:.2rem}}
svg{{width:100%;height:auto;display:block;overflow:visible}}
svg text{{font:11px system-ui,sans-serif;fill:currentColor}}
@media (max-width:30rem){{svg text{{font-size:14px}}}}
svg .grid{{stroke:currentColor;stroke-opacity:.15}}
svg .axis{{stroke:currentColor;stroke-opacity:.6}}
.legend{{list-style:none;display:flex;flex-wrap:wrap;gap:.1rem 1rem;margin:.2rem 0 0;padding:0;font-size:.85rem}}
.legend svg{{display:inline-block;width:1.8rem;height:.7rem;vertical-align:baseline;margin-right:.3rem}}
"""

WIDTH, HEIGHT = 440, 220  # narrow, so that letters stay legible on a phone
_LEFT, _RIGHT, _TOP, _BOTTOM = 60, 10, 10, 38
_HUGE = 1e100  # beyond it a chart would be of rounding errors


@dataclass(frozen=True, slots=True)
class Series:
    """A line, and what lies around it.

    Attributes:
        name: in the legend and the tooltip.
        points: (x, y), by rising x; those that are not finite are left out.
        band: (x, low, high) around the line.
        colour: which of the palette; the same thing has the same one in all charts of a page.
    """

    name: str
    points: Sequence[tuple[float, float]]
    band: Sequence[tuple[float, float, float]] = ()
    colour: int = 0


@dataclass(frozen=True, slots=True)
class Axis:
    """How values are shown.

    Attributes:
        label: what they are.
        low: where the axis begins at the latest; None: at the least value.
        percent: values are shares, shown as per cent.
    """

    label: str
    low: float | None = None
    percent: bool = False


@dataclass(frozen=True, slots=True)
class Column:
    """Some iterations that are drawn together.

    Attributes:
        first: of these iterations.
        last: of these iterations.
        values: what each row of a heat map or each part of a bar is worth, 0 or above.
    """

    first: int
    last: int
    values: Sequence[float]


@dataclass(frozen=True, slots=True)
class _Scale:
    """From values to places in the picture."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)


def text(value: object) -> str:
    """Anything as HTML text or as an attribute's value. What can not be seen is written as its escape: `\\x00`,
    `\\ud800`, `\\u202e`; only line ends and tabs stay."""
    seen = (one if one.isprintable() or one in "\n\t" else one.encode("unicode_escape").decode() for one in str(value))
    return html.escape("".join(seen))


def line_chart(series: Sequence[Series], title: str, x: Axis, y: Axis) -> str:
    """Lines over x with their bands, axes, a tooltip for each, and a legend where there are several."""
    kept = [made for made in map(_bounded, series) if made.points]
    if not kept:
        return _figure(title, '<p class="missing">No values.</p>')
    xs = [point[0] for one in kept for point in (*one.points, *one.band)]
    ys = [value for one in kept for point in (*one.points, *one.band) for value in point[1:]]
    across = _Scale(*_range(xs, Axis("")), _LEFT, WIDTH - _RIGHT)
    up = _Scale(*_range(ys, y), HEIGHT - _BOTTOM, _TOP)
    marks = [_frame(across, up, x, y, ticks(across.low, across.high, whole=True))]
    marks += [_band(one, across, up) for one in kept if one.band]
    marks += [_line(one, across, up, x, y) for one in kept]
    legend = _legend([(one.name, one.colour) for one in kept]) if len(kept) > 1 else ""
    return _figure(title, _svg(title, marks) + legend)


def heat_map(columns: Sequence[Column], rows: Sequence[str], title: str, x: Axis, y: Axis) -> str:
    """How each column's values are spread over the rows, the first row at the bottom; a column's shares add up to 1."""
    if not columns or not rows:
        return _figure(title, '<p class="missing">No values.</p>')
    shares = [_shares(column, len(rows)) for column in columns]
    most = max(max(column) for column in shares) or 1.0
    across = _Scale(0, len(columns), _LEFT, WIDTH - _RIGHT)
    up = _Scale(0, len(rows), HEIGHT - _BOTTOM, _TOP)
    wide, high = across(1) - across(0), up(0) - up(1)
    cells = [
        f'<rect x="{across(at):.2f}" y="{up(row + 1):.2f}" width="{wide + 0.3:.2f}" height="{high + 0.3:.2f}" '
        f'fill="var(--c0)" fill-opacity="{share / most:.3f}">'
        f"<title>{text(f'{rows[row]}: {share:.0%} ({_span(columns[at], x)})')}</title></rect>"
        for at, column in enumerate(shares)
        for row, share in enumerate(column)
    ]
    step = math.ceil(len(rows) / 12)
    names = "".join(
        f'<text x="{_LEFT - 5}" y="{up(row + 0.5) + 4:.1f}" text-anchor="end">{text(rows[row])}</text>'
        for row in range(0, len(rows), step)
    )
    key = "".join(f'<rect x="{9 * one}" width="9" height="12" fill-opacity="{one / 9:.2f}"/>' for one in range(10))
    legend = (
        f'<ul class="legend"><li>0% <svg viewBox="0 0 90 12" style="width:6rem" fill="var(--c0)" aria-hidden="true">'
        f"{key}</svg> {most:.0%} of a column</li></ul>"
    )
    return _figure(title, _svg(title, [*cells, names, _labels(x, y), _below(columns, across)]) + legend)


def stacked_bars(columns: Sequence[Column], parts: Sequence[str], title: str, x: Axis, y: Axis) -> str:
    """A bar for each column, its parts on top of each other, the first at the bottom."""
    if not columns or not parts:
        return _figure(title, '<p class="missing">No values.</p>')
    values = [[max(0.0, _clamp(value)) for value in column.values[: len(parts)]] for column in columns]
    across = _Scale(0, len(columns), _LEFT, WIDTH - _RIGHT)
    up = _Scale(*_range([sum(column) for column in values], Axis("", low=0)), HEIGHT - _BOTTOM, _TOP)
    wide = 0.9 * min(across(1) - across(0), 40)
    marks = [_grid(up, y), _labels(x, y), _below(columns, across)]
    for place, part in enumerate(parts):
        bars = []
        for at, column in enumerate(values):
            top, bottom = up(sum(column[: place + 1])), up(sum(column[:place]))
            says = (
                f"{part}: {_short(column[place] if place < len(column) else 0.0)} {y.label} ({_span(columns[at], x)})"
            )
            bars.append(
                f'<rect x="{across(at + 0.5) - wide / 2:.2f}" y="{top:.2f}" width="{wide:.2f}" '
                f'height="{bottom - top:.2f}"><title>{text(says)}</title></rect>'
            )
        marks.append(f'<g fill="{_colour(place)}">{"".join(bars)}</g>')
    legend = _legend([(part, place) for place, part in enumerate(parts)], filled=True)
    return _figure(title, _svg(title, marks) + legend)


def ticks(low: float, high: float, count: int = 5, whole: bool = False) -> list[float]:
    """Round numbers from low to high, about `count` of them: steps of 1, 2 or 5 times a power of ten.

    Args:
        low: the least that is shown.
        high: the greatest, above low.
        count: how many there should be.
        whole: only whole numbers, such as iterations.
    """
    step = 10.0 ** math.floor(math.log10((high - low) / count))
    step *= next(factor for factor in (1, 2, 5, 10, 20) if step * factor * count >= (high - low) * 0.999)
    step = max(step, 1.0) if whole else step
    first, last = math.ceil(low / step - 1e-6), math.floor(high / step + 1e-6)
    return [place * step for place in range(first, last + 1)]


def _clamp(value: float) -> float:
    return 0.0 if math.isnan(value) else max(-_HUGE, min(_HUGE, value))


def _bounded(one: Series) -> Series:
    points = [(at, _clamp(value)) for at, value in one.points if math.isfinite(value)]
    band = [(at, _clamp(low), _clamp(high)) for at, low, high in one.band if math.isfinite(low + high)]
    return Series(one.name, points, band, one.colour)


def _range(values: Sequence[float], axis: Axis) -> tuple[float, float]:
    """From the least to the greatest, and in any case more than a point."""
    low, high = min(values), max(values)
    low = low if axis.low is None else min(low, axis.low)
    if high - low <= 1e-9 * max(abs(low), abs(high), 1e-30):
        room = 0.1 * abs(low) or 1.0
        return (low if axis.low == low else low - room), high + room
    return low, high


def _shares(column: Column, rows: int) -> list[float]:
    values = [max(0.0, _clamp(value)) for value in column.values[:rows]]
    values += [0.0] * (rows - len(values))
    total = sum(values)
    return [value / total if total else 0.0 for value in values]


def _span(column: Column, axis: Axis) -> str:
    return f"{axis.label} {column.first}" + (f" to {column.last}" if column.last != column.first else "")


def _short(value: float, percent: bool = False) -> str:
    if percent:
        return f"{100 * value:.3g}%"
    if value == 0 or 1e-3 <= abs(value) < 1e6:
        return f"{value:,.4g}" if abs(value) < 1e4 else f"{value:,.0f}"
    return f"{value:.3g}"


def _ticked(places: Sequence[float], percent: bool = False) -> list[str]:
    """Labels with as many digits as tell them apart, and no more."""
    shown = [100 * place if percent else place for place in places]
    step, most = (shown[1] - shown[0] if len(shown) > 1 else 1.0), max(map(abs, shown), default=0.0)
    if step < 1e-4 or most >= 1e6:
        return [f"{place:.{max(0, math.ceil(math.log10(max(most / step, 1.0))) - 1)}e}" for place in shown]
    digits = max(0, math.ceil(-math.log10(step) - 1e-9))
    return [f"{place:,.{digits}f}{'%' * percent}" for place in shown]


def _colour(place: int) -> str:
    return f"var(--c{place % len(_LIGHT)})"


def _dash(place: int) -> str:
    return _DASHES[place // len(_LIGHT) % len(_DASHES)]


def _figure(title: str, inside: str) -> str:
    return f"<figure><figcaption>{text(title)}</figcaption>{inside}</figure>"


def _svg(title: str, marks: Sequence[str]) -> str:
    return f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{text(title)}">{"".join(marks)}</svg>'


def _legend(entries: Sequence[tuple[str, int]], filled: bool = False) -> str:
    items = []
    for name, place in entries:
        mark = '<rect width="28" height="12" stroke="none"/>' if filled else '<path d="M0 6H28"/>'
        items.append(
            f'<li><svg viewBox="0 0 28 12" fill="{_colour(place)}" stroke="{_colour(place)}" stroke-width="3" '
            f'stroke-dasharray="{_dash(place)}" aria-hidden="true">{mark}</svg>{text(name)}</li>'
        )
    return f'<ul class="legend">{"".join(items)}</ul>'


def _frame(across: _Scale, up: _Scale, x: Axis, y: Axis, places: Sequence[float]) -> str:
    below = [_tick(across(place), label) for place, label in zip(places, _ticked(places), strict=True)]
    return _grid(up, y) + _labels(x, y) + "".join(below)


def _grid(up: _Scale, y: Axis) -> str:
    places = ticks(up.low, up.high)
    lines = [
        f'<path class="grid" d="M{_LEFT} {up(place):.1f}H{WIDTH - _RIGHT}"/>'
        f'<text x="{_LEFT - 5}" y="{up(place) + 4:.1f}" text-anchor="end">{label}</text>'
        for place, label in zip(places, _ticked(places, y.percent), strict=True)
    ]
    return "".join(lines)


def _labels(x: Axis, y: Axis) -> str:
    """The axes' lines and names."""
    middle, half = (_LEFT + WIDTH - _RIGHT) / 2, (_TOP + HEIGHT - _BOTTOM) / 2
    return (
        f'<path class="axis" fill="none" d="M{_LEFT} {_TOP}V{HEIGHT - _BOTTOM}H{WIDTH - _RIGHT}"/>'
        f'<text x="{middle}" y="{HEIGHT - 4}" text-anchor="middle">{text(x.label)}</text>'
        f'<text transform="translate(11 {half}) rotate(-90)" text-anchor="middle">{text(y.label)}</text>'
    )


def _tick(at: float, label: str) -> str:
    foot = HEIGHT - _BOTTOM
    return (
        f'<path class="axis" d="M{at:.1f} {foot}v4"/>'
        f'<text x="{at:.1f}" y="{foot + 16}" text-anchor="middle">{text(label)}</text>'
    )


def _below(columns: Sequence[Column], across: _Scale) -> str:
    """At most six columns have their first iteration written below them."""
    step = math.ceil(len(columns) / 6)
    return "".join(_tick(across(at + 0.5), str(columns[at].first)) for at in range(0, len(columns), step))


def _path(points: Sequence[tuple[float, float]], across: _Scale, up: _Scale) -> str:
    return "L".join(f"{across(x):.1f} {up(y):.1f}" for x, y in points)


def _band(one: Series, across: _Scale, up: _Scale) -> str:
    top = [(x, high) for x, _, high in one.band]
    bottom = [(x, low) for x, low, _ in reversed(one.band)]
    if len(one.band) == 1:
        return f'<path d="M{_path(top + bottom, across, up)}" stroke="{_colour(one.colour)}" stroke-opacity="0.6"/>'
    return f'<path d="M{_path(top + bottom, across, up)}Z" fill="{_colour(one.colour)}" fill-opacity="0.15"/>'


def _line(one: Series, across: _Scale, up: _Scale, x: Axis, y: Axis) -> str:
    """The line, and an unseen broad one that a pointer finds more easily. Few points are shown as such."""
    (first, begin), (last, end) = one.points[0], one.points[-1]
    says = f"{one.name}: {_short(end, y.percent)} at {x.label} {_short(last)}"
    if len(one.points) > 1:
        says += f", {_short(begin, y.percent)} at {_short(first)}"
    d, colour = f"M{_path(one.points, across, up)}", _colour(one.colour)
    dots = [f'<circle cx="{across(a):.1f}" cy="{up(b):.1f}" r="3"/>' for a, b in one.points if len(one.points) <= 12]
    return (
        f'<g fill="{colour}"><title>{text(says)}</title>'
        f'<path d="{d}" fill="none" stroke="{colour}" stroke-width="2" stroke-dasharray="{_dash(one.colour)}" '
        f'stroke-linejoin="round"/>{"".join(dots)}'
        f'<path d="{d}" fill="none" stroke="transparent" stroke-width="12" pointer-events="stroke"/></g>'
    )
