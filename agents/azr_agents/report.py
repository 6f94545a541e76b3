"""A run as one HTML page that needs nothing else: no network, no scripts. Says what is shown; `charts` draws it.

Every text on the page goes through `charts.text`: a model's answers are other people's HTML. The page's own policy
forbids scripts on top of that. The page holds no clock, so that the same run gives the same page.
"""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from . import charts
from .charts import Axis, Column, Series, text
from .metrics import METRICS, TIMES, File, Metric, Run, Unit, lately, read, replace_file, warnings_of

POINTS = 200  # most that a line has: a picture shows no more
COLUMNS = 60  # most columns of a heat map
_LONGEST = 6000  # characters of a sample that are shown
_SAMPLES = 2  # of each role and mode at an iteration
_X = Axis("iteration")
_ABOVE = ("valid/{mode}", "unique/{mode}", "learnable/{mode}")
_HEALTH = ("entropy", "clip_fraction", "kl")

_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8"/>
<meta name="viewport" content="width=device-width, initial-scale=1"/>
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'"/>
<title>{title}</title>
<style>{style}</style>
</head>
<body>
<main>
{body}
</main>
</body>
</html>
"""

_STYLE = """
:root{color-scheme:light dark;--back:#fff;--panel:#f6f7f9;--line:#d5d9df;--ink:#1b1f24;--soft:#57606a;--bad:#a3261c}
@media (prefers-color-scheme:dark){
:root{--back:#14171b;--panel:#1d2127;--line:#3a414b;--ink:#e6e8eb;--soft:#a3acb8;--bad:#ff9b8f}}
*{box-sizing:border-box}
body{margin:0;background:var(--back);color:var(--ink);font:16px/1.5 system-ui,sans-serif}
main{max-width:72rem;margin:0 auto;padding:1rem}
h1{margin:.2rem 0;overflow-wrap:anywhere}
h2{margin:2.2rem 0 .5rem;padding-top:.6rem;border-top:1px solid var(--line)}
h3{margin:1.2rem 0 .4rem}
h4{margin:.6rem 0 .2rem}
a{color:inherit}
nav{display:flex;flex-wrap:wrap;gap:.2rem 1rem;font-size:.9rem}
.soft,.missing,small{color:var(--soft)}
.missing{border-left:3px solid var(--line);padding-left:.7rem}
.alarm{border-left:3px solid var(--bad);padding-left:.7rem}
.charts{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,25rem),1fr));gap:1rem}
figure,details{background:var(--panel);border:1px solid var(--line);border-radius:8px;padding:.7rem}
details{margin:.5rem 0}
summary{cursor:pointer;overflow-wrap:anywhere}
.wide{overflow-x:auto}
table{border-collapse:collapse;font-variant-numeric:tabular-nums}
th,td{padding:.25rem .6rem;text-align:right;border-bottom:1px solid var(--line);white-space:nowrap}
th:first-child,td:first-child{text-align:left}
.wide td:first-child{position:sticky;left:0;background:var(--back)}
thead th{text-align:center;vertical-align:bottom}
td small{display:block;line-height:1.1}
.first{border-left:1px solid var(--line)}
.words td{white-space:normal;text-align:left;overflow-wrap:anywhere;vertical-align:top}
pre{white-space:pre-wrap;overflow-wrap:anywhere;margin:.3rem 0 .8rem;padding:.6rem;background:var(--back);
border:1px solid var(--line);border-radius:6px;font:13px/1.45 ui-monospace,monospace;max-height:30rem;overflow-y:auto}
code{font-family:ui-monospace,monospace;font-size:.92em}
"""


def report(run_folder: str | os.PathLike[str], out: str | os.PathLike[str] | None = None) -> Path:
    """Write a run's page, whole or not at all. A run that is under way gets one too, which says what is missing.

    Args:
        run_folder: what `Log` wrote.
        out: the page's file; by default report.html in the folder.

    Returns:
        Where the page is.

    Raises:
        BadArgument: no such folder, or a damaged file in it.
    """
    folder = Path(run_folder)
    page = render(read(folder), folder.resolve().name)
    path = folder / "report.html" if out is None else Path(out)
    replace_file(path, page.encode())
    return path


def render(run: Run, name: str) -> str:
    """The page's text: HTML that is well-formed XML too."""
    sections = [
        ("Settings", _settings(run)),
        ("Held-out tasks", _held_out(run)),
        ("Accuracy in training", _curves(run, ["accuracy/{mode}"]) + _smoothing(run)),
        ("Proposals", _curves(run, _ABOVE)),
        ("Difficulty", _difficulty(run)),
        ("Health", _alarms(run) + _curves(run, _HEALTH)),
        ("Time", _times(run)),
        ("Samples", _samples(run)),
        ("Other curves", _others(run)),
        ("Glossary", _glossary(run)),
    ]
    links = "".join(f'<a href="#s{place}">{title}</a>' for place, (title, _) in enumerate(sections))
    parts = [f"<h1>{text(name)}</h1>", _state(run), f"<nav>{links}</nav>"]
    parts += [f'<h2 id="s{place}">{title}</h2>\n{inside}' for place, (title, inside) in enumerate(sections)]
    return _PAGE.format(title=text(name), style=charts.STYLE + _STYLE, body="\n".join(parts))


def rolling(
    points: Sequence[tuple[float, float]], window: int, most: int = POINTS
) -> tuple[list[tuple[float, float]], list[tuple[float, float, float]]]:
    """The mean and, one standard deviation to either side, the spread over the `window` points around each.

    At the ends the window is shorter. No more than `most` points are kept, the first and the last among them.

    Returns:
        The line, as (x, mean), and the band, as (x, low, high).
    """
    values = np.array([value for _, value in points], dtype=float)
    places = np.unique(np.linspace(0, len(points) - 1, min(len(points), most)).round().astype(int))
    line, band = [], []
    for place in places.tolist():
        near = values[max(0, place - (window - 1) // 2) : place + window // 2 + 1]
        with np.errstate(over="ignore", invalid="ignore"):  # a chart leaves out what is not finite
            at, mean, spread = points[place][0], float(near.mean()), float(near.std())
        line.append((at, mean))
        band.append((at, mean - spread, mean + spread))
    return line, band


def _missing(says: str) -> str:
    return f'<p class="missing">{says}</p>'


def _figures(drawn: Iterable[str]) -> str:
    return f'<div class="charts">{"".join(drawn)}</div>'


def _state(run: Run) -> str:
    """How far the run came, and what is not there."""
    if not run.metrics:
        return _missing(f"Nothing is trained yet: {File.METRICS} is empty or not there.")
    first, last = run.metrics[0]["iteration"], run.metrics[-1]["iteration"]
    wanted = run.config.get("iterations")
    done = f"Iterations {first} to {last}." if last != first else f"One iteration only: {last}."
    if isinstance(wanted, int) and last < wanted:
        done += f" Not finished: {wanted} are wanted."
    return f'<p class="soft">{done}</p>'


def _settings(run: Run) -> str:
    if not run.config:
        return _missing("No settings: config.json is empty or not there.")
    shown = {
        key: value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        for key, value in run.config.items()
    }
    rows = "".join(f"<tr><td><code>{text(key)}</code></td><td>{text(value)}</td></tr>" for key, value in shown.items())
    return f'<details><summary>{len(shown)} settings</summary><table class="words">{rows}</table></details>'


@dataclass(frozen=True, slots=True)
class _Measure:
    """A column of the headline table: one pass@k at one temperature."""

    key: str
    temperature: float

    @property
    def title(self) -> str:
        return "greedy" if not self.temperature else f"{self.key}, temperature {self.temperature:g}"

    def rows(self, run: Run, split: str, mode: str) -> list[Mapping[str, Any]]:
        """The evaluations of a split and mode that have it, the earliest first, one for each iteration."""
        mine = {
            row["iteration"]: row
            for row in run.evaluations
            if (row["split"], row["mode"], row["temperature"]) == (split, mode, self.temperature)
            and row.get(self.key) is not None
        }
        return [mine[iteration] for iteration in sorted(mine)]


def _measures(run: Run) -> list[_Measure]:
    """pass@1 where answers are sampled, greedy, and the greatest pass@k."""
    hot = sorted({row["temperature"] for row in run.evaluations if row["temperature"]}, reverse=True)
    cold = [0.0] if any(not row["temperature"] for row in run.evaluations) else []
    tries = {int(key[5:]) for row in run.evaluations for key in row if re.fullmatch(r"pass@[1-9][0-9]{0,5}", key)}
    best = [_Measure(f"pass@{max(tries)}", temperature) for temperature in hot] if max(tries, default=1) > 1 else []
    return [_Measure("pass@1", temperature) for temperature in [*hot, *cold]] + best


def _modes(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """Modes in the order of their first row, all of them together last."""
    return sorted(dict.fromkeys(row["mode"] for row in rows), key="all".__eq__)


def _held_out(run: Run) -> str:
    if not run.evaluations:
        return _missing(f"No evaluations yet: {File.EVALUATIONS} is empty or not there.")
    measures = _measures(run)
    heads = "".join(f'<th class="first" colspan="3">{text(measure.title)}</th>' for measure in measures)
    below = '<th class="first">before</th><th>after</th><th>points</th>' * len(measures)
    body = "".join(
        _split_rows(run, split, measures) for split in dict.fromkeys(row["split"] for row in run.evaluations)
    )
    seen = sorted({row["iteration"] for row in run.evaluations})
    note = (
        f"Before: iteration {seen[0]}; after: iteration {seen[-1]}; others are named in their cells."
        if len(seen) > 1
        else f"Only iteration {seen[0]} is evaluated yet: there is no after."
    )
    return (
        f'<div class="wide"><table><thead><tr><th rowspan="2"></th>{heads}</tr><tr>{below}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
        f'<p class="soft">Per cent of the tasks, with 95% intervals. pass@k: right at least once in k tries; '
        f"greedy: one try, always the likeliest token. A difference in bold: the intervals do not overlap. {note}</p>"
        + _held_out_curves(run, measures)
    )


def _split_rows(run: Run, split: str, measures: Sequence[_Measure]) -> str:
    rows = [f'<tr><th colspan="{1 + 3 * len(measures)}">{text(split)}</th></tr>']
    for mode in _modes(row for row in run.evaluations if row["split"] == split):
        cells = "".join(_before_after(run, measure, measure.rows(run, split, mode)) for measure in measures)
        rows.append(f"<tr><td>{text(mode)}</td>{cells}</tr>")
    return "".join(rows)


def _before_after(run: Run, measure: _Measure, rows: Sequence[Mapping[str, Any]]) -> str:
    """Three cells: the first evaluation, the last, and the points between them."""
    seen = [row["iteration"] for row in run.evaluations]
    none = "<td>\N{EN DASH}</td>"
    before = _score(measure, rows[0], min(seen)) if rows else "\N{EN DASH}"
    start = f'<td class="first">{before}</td>'
    if len(rows) < 2:
        return start + 2 * none
    return start + f"<td>{_score(measure, rows[-1], max(seen))}</td><td>{_points(measure, rows[0], rows[-1])}</td>"


def _interval(measure: _Measure, row: Mapping[str, Any]) -> tuple[float, float] | None:
    low, high = row.get(f"{measure.key}_low"), row.get(f"{measure.key}_high")
    return None if low is None or high is None else (low, high)


def _score(measure: _Measure, row: Mapping[str, Any], usual: int) -> str:
    around = _interval(measure, row)
    shown = f"{100 * row[measure.key]:.1f}"
    if around:
        shown += f"<small>{100 * around[0]:.1f} to {100 * around[1]:.1f}</small>"
    return shown if row["iteration"] == usual else f"{shown}<small>iteration {row['iteration']}</small>"


def _points(measure: _Measure, before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    shown = f"{100 * (after[measure.key] - before[measure.key]):+.1f}".replace("-", "\N{MINUS SIGN}")
    old, new = _interval(measure, before), _interval(measure, after)
    apart = old and new and (old[1] < new[0] or new[1] < old[0])
    return f"<b>{shown}</b>" if apart else shown


def _held_out_curves(run: Run, measures: Sequence[_Measure]) -> str:
    """For each split how its first measure went, where there is more than a before and an after."""
    measure, drawn = measures[0], []
    colours = _colours(run)
    for split in dict.fromkeys(row["split"] for row in run.evaluations):
        made = []
        for mode in _modes(row for row in run.evaluations if row["split"] == split):
            rows = measure.rows(run, split, mode)
            line = [(row["iteration"], row[measure.key]) for row in rows]
            band = [(row["iteration"], *around) for row in rows if (around := _interval(measure, row))]
            made.append(Series(mode, line, band, colours[mode]))
        if any(len(one.points) > 2 for one in made):
            drawn.append(charts.line_chart(made, f"{split}: {measure.title}", _X, _axis(METRICS["accuracy/{mode}"])))
    return _figures(drawn) if drawn else ""


def _colours(run: Run) -> dict[str, int]:
    """Each mode's colour, the same in every chart."""
    places = [row.match(name) or {} for name in run.names() for row in METRICS.values()]
    found = [place["mode"] for place in places if "mode" in place]
    return {mode: at for at, mode in enumerate(dict.fromkeys([*found, *_modes(run.evaluations)]))}


def _axis(row: Metric) -> Axis:
    return Axis(row.unit, low=None if row.unit in (Unit.REWARD, Unit.NONE) else 0.0, percent=row.unit is Unit.SHARE)


def _window(run: Run) -> int:
    return max(1, len(run.metrics) // 20)


def _curves(run: Run, patterns: Sequence[str]) -> str:
    """The charts of some rows of the table, and a word on those without values."""
    drawn = [chart for pattern in patterns for chart in _charts(run, METRICS[pattern])]
    absent = [_head(METRICS[pattern]) for pattern in patterns if not run.names(pattern)]
    single = _missing("One iteration only: points, and no spread.") if drawn and len(run.metrics) == 1 else ""
    without = _missing(f"Not measured: {', '.join(absent)}.") if absent else ""
    return (_figures(drawn) if drawn else "") + single + without


def _smoothing(run: Run) -> str:
    window = _window(run)
    if window == 1:
        return ""
    return (
        f'<p class="soft">In all curves of training a line is the mean over a window of {window} iterations, and its '
        "band one standard deviation to either side, within the window.</p>"
    )


def _head(row: Metric) -> str:
    """What comes before the places of a pattern: accuracy of accuracy/{mode}."""
    return row.pattern.partition("/{")[0]


def _charts(run: Run, row: Metric) -> list[str]:
    """One chart for all names of a row; one each where they are of different things."""
    names = run.names(row.pattern)
    groups = [[name] for name in names] if "{metric}" in row.pattern else ([names] if names else [])
    colours = _colours(run)
    drawn = []
    for group in groups:
        lines = [_curve(run, row, name, place, colours) for place, name in enumerate(group)]
        title = group[0] if "{metric}" in row.pattern else _head(row)
        drawn.append(charts.line_chart(lines, title, _X, _axis(row)))
    return drawn


def _curve(run: Run, row: Metric, name: str, place: int, colours: Mapping[str, int]) -> Series:
    places = row.match(name) or {}
    line, band = rolling(run.series(name), _window(run)) if run.series(name) else ([], [])
    if row.unit is Unit.SHARE:
        band = [(at, max(0.0, low), min(1.0, high)) for at, low, high in band]
    shared = "role" in places and "mode" in places  # two roles would have one colour
    colour = colours[places["mode"]] if "mode" in places and not shared else place
    return Series(" ".join(places.values()) or name, line, band if len(line) > 1 else [], colour)


def _binned(rows: Sequence[tuple[int, Sequence[float]]]) -> list[Column]:
    """Neighbouring iterations together, so that at most COLUMNS are left: their means, place by place."""
    size = math.ceil(len(rows) / COLUMNS) or 1
    width = max((len(values) for _, values in rows), default=0)
    columns = []
    for start in range(0, len(rows), size):
        part = rows[start : start + size]
        table = np.array([[*values, *[0.0] * (width - len(values))] for _, values in part], dtype=float)
        with np.errstate(over="ignore"):
            values = table.mean(0).tolist()
        columns.append(Column(part[0][0], part[-1][0], values))
    return columns


def _difficulty(run: Run) -> str:
    drawn = []
    row = METRICS["difficulty/{mode}"]
    for name in run.names(row.pattern):
        columns = _binned(run.series(name))
        if columns:
            most = len(columns[0].values) - 1
            mode = (row.match(name) or {})["mode"]
            y = Axis(f"rollouts right, of {most}")
            drawn.append(charts.heat_map(columns, [str(right) for right in range(most + 1)], mode, _X, y))
    if not drawn:
        return _missing("No histograms of difficulty yet.")
    note = '<p class="soft">How the tasks of each column spread over the number of rollouts that were right.</p>'
    return _figures(drawn) + note


def _alarms(run: Run) -> str:
    if not run.metrics:
        return ""
    found = warnings_of(lately(run.metrics) or run.metrics[-1])
    says = "".join(f'<p class="alarm">{text(message)}</p>' for message in found)
    return says or '<p class="soft">No alarm in the last iterations.</p>'


def _times(run: Run) -> str:
    whole = "time/iteration"
    names = [name for name in METRICS if name in TIMES and name != whole]
    rows = [
        (row["iteration"], [row.get(name) or 0.0 for name in names], row.get(whole) or 0.0)
        for row in run.metrics
        if any(row.get(name) is not None for name in (*names, whole))
    ]
    if not rows:
        return _missing("No times yet.")
    split = [(at, [*parts, max(0.0, total - sum(parts))]) for at, parts, total in rows]
    parts = [*(name.partition("/")[2] for name in names), "other"]
    chart = charts.stacked_bars(_binned(split), parts, "Seconds of an iteration", _X, Axis("s"))
    sums = [sum(values[place] for _, values in split) for place in range(len(parts))]
    shares = ", ".join(f"{part} {spent / (sum(sums) or 1):.0%}" for part, spent in zip(parts, sums, strict=True))
    return _figures([chart]) + f'<p class="soft">{sum(sums):,.0f} s in all: {shares}.</p>'


def _samples(run: Run) -> str:
    if not run.samples:
        return _missing(f"No samples yet: {File.SAMPLES} is empty or not there.")
    seen = sorted({row["iteration"] for row in run.samples})
    chosen = dict.fromkeys((seen[0], seen[len(seen) // 2], seen[-1]))
    return "".join(f"<h3>Iteration {at}</h3>{_samples_at(run, at)}" for at in chosen)


def _samples_at(run: Run, iteration: int) -> str:
    """A few rollouts of each role and mode."""
    groups: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    rows = [row for row in run.samples if row["iteration"] == iteration]
    for row in rows:
        groups.setdefault((row["role"], row["mode"]), []).append(row)
    shown = [row for group in groups.values() for row in group[:_SAMPLES]]
    more = len(rows) - len(shown)
    note = f'<p class="soft">{more} more in {File.SAMPLES}.</p>' if more else ""
    return "".join(map(_sample, shown)) + note


def _sample(row: Mapping[str, Any]) -> str:
    facts = [row["role"], row["mode"], row["outcome"]]
    facts += [f"{name.replace('_', ' ')} {row[name]}" for name in ("reward", "solve_rate") if row.get(name) is not None]
    reason = f"<p>{text(row['reason'])}</p>" if row.get("reason") else ""
    title = text(" \N{MIDDLE DOT} ".join(facts))
    return (
        f"<details><summary>{title}</summary><h4>Prompt</h4>{_quoted(row['prompt'])}"
        f"<h4>Answer</h4>{_quoted(row['text'])}<h4>Verdict: {text(row['outcome'])}</h4>{reason}</details>"
    )


def _quoted(said: str) -> str:
    """What was said, and of the very long only the beginning."""
    rest = len(said) - _LONGEST
    more = f'<p class="soft">and {rest:,} more characters</p>' if rest > 0 else ""
    return f"<pre>{text(said[:_LONGEST])}</pre>{more}"


def _others(run: Run) -> str:
    above = {"accuracy/{mode}", *_ABOVE, *_HEALTH, *TIMES}
    rows = [row for row in METRICS.values() if row.pattern not in above and not row.histogram]
    drawn = [chart for row in rows for chart in _charts(run, row)]
    if not drawn:
        return _missing("No others yet.")
    return f"<details><summary>{len(drawn)} charts</summary>{_figures(drawn)}</details>"


def _glossary(run: Run) -> str:
    """What the names mean that the run has."""
    rows = [row for row in METRICS.values() if run.names(row.pattern)]
    lines = "".join(
        f"<tr><td><code>{text(row.pattern)}</code></td><td>{row.unit}</td><td>{text(row.meaning)}</td></tr>"
        for row in rows
    )
    known = {name for row in rows for name in run.names(row.pattern)}
    strange = [text(name) for name in run.names() if name not in known]
    note = _missing(f"Not in the table of this version, and not shown: {', '.join(strange)}.") if strange else ""
    table = f'<div class="wide"><table class="words">{lines}</table></div>' if rows else _missing("No metrics yet.")
    return table + note
