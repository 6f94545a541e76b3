"""Which part of self-play does what: the same run with one thing changed, several seeds each, paired.

Every arm starts from the same base, plays as many rollouts, and is measured on the same held-out tasks. Runs are
spread over processes, one thread and one core each. Writes one JSON with every score of every run, and a picture of the
gains and their intervals; what the JSON holds already is not run again. Run it with
`python examples/selfplay_arms.py --seeds 5 --out results/arms`.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import statistics
import tempfile
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress
from rich.table import Table

ARMS: dict[str, dict[str, Any]] = {
    "shared": {},  # one policy for both roles: the paradigm, and the default
    "copy": {"proposer": "copy"},  # the proposer has weights of its own
    "frozen": {"proposer": "frozen"},  # the proposer is never trained
    "generator": {"proposer": "generator"},  # nobody proposes: tasks are the generator's, as the held-out ones are
    "shuffled": {"shuffle_rewards": True},  # the control: the same rewards, dealt out at random
}
SHARED = {"env_options": {"level": [1, 2], "n_pairs": 6}, "device": "cpu", "threads": 1, "tensorboard": False}
SCORES = ((1.0, "pass@1", "temperature 1"), (0.0, "pass@1", "greedy"), (1.0, "pass@8", "one of eight"))


def run(arm: str, seed: int, core: int, folder: str, settings: dict[str, Any]) -> dict[str, Any]:
    """One run, in a process of its own."""
    from azr_agents import metrics
    from azr_agents.config import Config
    from azr_agents.train import train

    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {core})
    out = Path(folder) / f"{arm}-{seed}"
    train(Config.from_json(Config().to_json() | SHARED | ARMS[arm] | settings | {"seed": seed, "out": str(out)}))
    found = metrics.read(out)
    return {
        "arm": arm,
        "seed": seed,
        "seconds": round(sum(row["time/iteration"] for row in found.metrics), 1),
        "evaluations": [
            {key: round(value, 4) if isinstance(value, float) else value for key, value in row.items()}
            for row in found.evaluations
        ],
    }


def record(settings: dict[str, Any], runs: list[dict[str, Any]]) -> str:
    """What is kept of the runs: JSON, a run a line."""
    lines = ",\n".join(json.dumps(one) for one in runs)
    return f'{{"settings": {json.dumps(settings)},\n"runs": [\n{lines}\n]}}\n'


def gains(
    runs: list[dict[str, Any]], arm: str, split: str, temperature: float, name: str, mode: str
) -> dict[int, tuple[float, float]]:
    """(before, after) of every seed of an arm."""
    found = {}
    for one in runs:
        rows = [
            row[name]
            for row in one["evaluations"]
            if (row["split"], row["temperature"], row["mode"]) == (split, temperature, mode) and name in row
        ]
        if one["arm"] == arm and len(rows) > 1:
            found[one["seed"]] = rows[0], rows[-1]
    return found


Gained = tuple[float, list[float], tuple[float, float]]  # at the start, by each seed, 95 % interval; in points


def gained(runs: list[dict[str, Any]], arm: str, split: str, temperature: float, name: str, mode: str) -> Gained | None:
    """What an arm's seeds gained; the interval is over seeds. None where nothing was measured."""
    from azr_agents.evaluate import bootstrap

    pairs = gains(runs, arm, split, temperature, name, mode).values()
    if not pairs:
        return None
    points = [100 * (after - before) for before, after in pairs]
    return 100 * statistics.fmean(before for before, _ in pairs), points, bootstrap(points)


def table(runs: list[dict[str, Any]], arms: list[str], split: str, mode: str) -> Table:
    """Gains of every arm, in points."""
    shown = Table(
        "arm",
        "seeds",
        *[title for _, _, title in SCORES],
        title=f"held-out split {split}, {mode}: points gained (95 %)",
    )
    for arm in arms:
        cells = []
        for temperature, name, _ in SCORES:
            found = gained(runs, arm, split, temperature, name, mode)
            if found is None:
                cells.append("")
                continue
            start, points, (low, high) = found
            cells.append(f"{start:.1f} {statistics.fmean(points):+.1f} ({low:+.1f} to {high:+.1f})")
        shown.add_row(arm, str(sum(one["arm"] == arm for one in runs)), *cells)
    return shown


def differences(runs: list[dict[str, Any]], arms: list[str], split: str, mode: str, against: str = "shared") -> Table:
    """What every other arm gained more than one, seed by seed, in points."""
    from azr_agents.evaluate import bootstrap

    titles = [title for _, _, title in SCORES]
    shown = Table("arm", "seeds", *titles, title=f"{split}, {mode}: gained more than {against!r}, same seeds (95 %)")
    for arm in (one for one in arms if one != against):
        cells, seeds = [], set[int]()
        for temperature, name, _ in SCORES:
            mine, its = (gains(runs, one, split, temperature, name, mode) for one in (arm, against))
            seeds = mine.keys() & its.keys()
            more = [100 * (mine[seed][1] - its[seed][1]) for seed in sorted(seeds)]
            low, high = bootstrap(more) if more else (0.0, 0.0)
            cells.append(f"{statistics.fmean(more):+.1f} ({low:+.1f} to {high:+.1f})" if more else "")
        if seeds:
            shown.add_row(arm, str(len(seeds)), *cells)
    return shown


def picture(runs: list[dict[str, Any]], arms: list[str], split: str, mode: str) -> str:
    """The same as SVG: a dot for each seed, a bar for the interval, a line at no gain."""
    from azr_agents.charts import text, ticks

    rows = [
        (f"{arm}, {title}", found)
        for arm in arms
        for temperature, name, title in SCORES
        if (found := gained(runs, arm, split, temperature, name, mode)) is not None
    ]
    values = [0.0, *(point for _, (_, points, _) in rows for point in points)]
    low, high, bottom = min(values) - 1, max(values) + 1, 40 + 24 * len(rows)

    def across(value: float) -> float:
        return round(200 + 420 * (value - low) / (high - low), 1)

    marks = [
        f'<text x="10" y="20" font-weight="bold">{text(f"Points gained on held-out tasks ({split}, {mode})")}</text>'
    ]
    for at in ticks(low, high):
        marks += [
            f'<path d="M{across(at)} 30V{bottom}" stroke="{"#000" if at == 0 else "#ddd"}"/>',
            f'<text x="{across(at)}" y="{bottom + 16}" text-anchor="middle">{f"{at:+g}" if at else 0}</text>',
        ]
    for place, (label, (_, points, (least, most))) in enumerate(rows):
        y = 48 + 24 * place
        marks += [
            f'<text x="190" y="{y + 4}" text-anchor="end">{text(label)}</text>',
            f'<path d="M{across(least)} {y}H{across(most)}" stroke="#1f6feb" stroke-width="8" opacity=".35"/>',
            *(f'<circle cx="{across(point)}" cy="{y}" r="3" fill="#1f6feb"/>' for point in points),
        ]
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 640 {bottom + 26}" font-family="sans-serif" font-size="12">'
    return "\n".join([head, '<rect width="100%" height="100%" fill="#fff"/>', *marks, "</svg>\n"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--arms", nargs="+", default=list(ARMS), choices=list(ARMS))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--iterations", type=int, default=45)
    parser.add_argument("--eval-tasks", type=int, default=150)
    parser.add_argument("--splits", nargs="+", default=["test", "ood"])
    parser.add_argument("--model", default="code")
    parser.add_argument(
        "--processes", type=int, default=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1
    )
    parser.add_argument("--out", type=Path, default=Path("runs/arms"))
    parser.add_argument("--set", type=json.loads, default={}, metavar="JSON", help="further settings of every run")
    chosen = parser.parse_args()
    settings = {
        "iterations": chosen.iterations,
        "eval_tasks": chosen.eval_tasks,
        "eval_splits": chosen.splits,
        "model": chosen.model,
    } | chosen.set
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else [0]
    record_file = chosen.out.with_suffix(".json")
    runs: list[dict[str, Any]] = []
    if record_file.exists():
        there = json.loads(record_file.read_text())
        if there["settings"] != settings:
            parser.error(f"{record_file} holds runs with other settings: give another --out")
        runs = there["runs"]
    done = {(one["arm"], one["seed"]) for one in runs}
    jobs = [(arm, seed) for seed in range(chosen.seeds) for arm in chosen.arms if (arm, seed) not in done]
    os.environ["OMP_NUM_THREADS"] = "1"
    console = Console()
    with (
        tempfile.TemporaryDirectory() as folder,
        ProcessPoolExecutor(
            max(1, min(chosen.processes, len(jobs))), multiprocessing.get_context("spawn"), max_tasks_per_child=1
        ) as workers,
        Progress(console=console) as bar,
    ):
        task = bar.add_task("runs", total=len(jobs))
        waiting = [
            workers.submit(run, arm, seed, cores[place % len(cores)], folder, settings)
            for place, (arm, seed) in enumerate(jobs)
        ]
        for ended in as_completed(waiting):
            runs.append(ended.result())
            bar.advance(task)
            runs.sort(key=lambda one: ([*ARMS].index(one["arm"]), one["seed"]))
            record_file.parent.mkdir(parents=True, exist_ok=True)
            record_file.write_text(record(settings, runs))
    arms = list(dict.fromkeys(one["arm"] for one in runs))
    for split in chosen.splits:
        for mode in sorted({row["mode"] for one in runs for row in one["evaluations"] if row["split"] == split}):
            console.print(table(runs, arms, split, mode))
        console.print(differences(runs, arms, split, "all"))
        chosen.out.with_name(f"{chosen.out.name}-{split}.svg").write_text(picture(runs, arms, split, "all"))


if __name__ == "__main__":
    main()
