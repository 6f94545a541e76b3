"""Which part of self-play does what: the same run with one thing changed, several seeds each, paired.

Every arm starts from the same base, plays as many rollouts, and is measured on the same held-out tasks. Runs are
spread over processes, one thread and one core each. Writes one JSON with every score of every run, and one page with
the gains and their intervals. Run it with `python examples/selfplay_arms.py --seeds 5 --out results/arms`.
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
        "evaluations": found.evaluations,
        "seconds": sum(row["time/iteration"] for row in found.metrics),
    }


def gains(
    runs: list[dict[str, Any]], arm: str, split: str, temperature: float, name: str, mode: str
) -> list[tuple[float, float]]:
    """(before, after) of every seed of an arm."""
    found = []
    for one in runs:
        rows = [
            row[name]
            for row in one["evaluations"]
            if (row["split"], row["temperature"], row["mode"]) == (split, temperature, mode) and name in row
        ]
        if one["arm"] == arm and len(rows) > 1:
            found.append((rows[0], rows[-1]))
    return found


def table(runs: list[dict[str, Any]], arms: list[str], split: str, mode: str = "all") -> Table:
    """Gains of every arm, in points; the interval is over seeds."""
    from azr_agents.evaluate import bootstrap

    shown = Table(
        "arm",
        "seeds",
        *[title for _, _, title in SCORES],
        title=f"held-out split {split}, {mode}: points gained (95 %)",
    )
    for arm in arms:
        cells = []
        for temperature, name, _ in SCORES:
            pairs = gains(runs, arm, split, temperature, name, mode)
            if not pairs:
                cells.append("")
                continue
            gained = [100 * (after - before) for before, after in pairs]
            low, high = bootstrap(gained)
            start = 100 * statistics.fmean(before for before, _ in pairs)
            cells.append(f"{start:.1f} {statistics.fmean(gained):+.1f} ({low:+.1f} to {high:+.1f})")
        shown.add_row(arm, str(sum(one["arm"] == arm for one in runs)), *cells)
    return shown


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
    jobs = [(arm, seed) for seed in range(chosen.seeds) for arm in chosen.arms]
    os.environ["OMP_NUM_THREADS"] = "1"
    runs: list[dict[str, Any]] = []
    console = Console()
    with (
        tempfile.TemporaryDirectory() as folder,
        ProcessPoolExecutor(
            min(chosen.processes, len(jobs)), multiprocessing.get_context("spawn"), max_tasks_per_child=1
        ) as workers,
        Progress(console=console) as bar,
    ):
        task = bar.add_task("runs", total=len(jobs))
        waiting = [
            workers.submit(run, arm, seed, cores[place % len(cores)], folder, settings)
            for place, (arm, seed) in enumerate(jobs)
        ]
        for done in as_completed(waiting):
            runs.append(done.result())
            bar.advance(task)
            runs.sort(key=lambda one: (chosen.arms.index(one["arm"]), one["seed"]))
            chosen.out.parent.mkdir(parents=True, exist_ok=True)
            record = {"settings": settings | {"out": ""}, "arms": {arm: ARMS[arm] for arm in chosen.arms}, "runs": runs}
            chosen.out.with_suffix(".json").write_text(json.dumps(record) + "\n")
    for split in chosen.splits:
        console.print(table(runs, chosen.arms, split))


if __name__ == "__main__":
    main()
