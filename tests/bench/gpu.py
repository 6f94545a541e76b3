"""Benchmark of whole self-play on a GPU: `python tests/bench/gpu.py --json FILE`. New tokens a second, and where time goes.

Everything that an iteration does is in it: proposals and attempts are sampled, run in the box, rewarded and learned
from. The first iterations, in which CUDA graphs are recorded, are left out. It needs a GPU; `make bench` leaves it out.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import tempfile
from pathlib import Path
from typing import Annotated

import torch
import tyro
from rich.console import Console
from rich.table import Table

from azr_agents import metrics
from azr_agents.config import Config
from azr_agents.train import train

AIM = 150_000  # new tokens a second, end to end, at 0.9 million parameters
PARTS = ("rollout", "execute", "update")
WARM_UP = 2  # iterations


def main(
    proposals: int = 4096,
    tasks: int = 4096,
    iterations: int = 6,
    model: str = "code",
    json_file: Annotated[Path | None, tyro.conf.arg(name="json")] = None,
) -> None:
    """Measure, print, and write. `proposals` and `tasks` are of all three modes together, at most 2 below."""
    with tempfile.TemporaryDirectory() as folder:
        config = Config(
            model=model, out=Path(folder) / "run", iterations=WARM_UP + iterations, proposals=proposals // 3, tasks=tasks // 3,
            seed_tasks=256, env_options={"level": [1, 2], "n_pairs": 6}, device="cuda", dtype="bfloat16", max_rows=16_384,
            update_tokens=131_072, env_processes=len(os.sched_getaffinity(0)), eval_tasks=1, eval_splits=("test",), checkpoint_every=1000, tensorboard=False,
        )  # fmt: skip
        train(config, console=Console(stderr=True))
        rows = metrics.read(config.out).metrics[WARM_UP:]
    speed = [row["tokens"] / row["time/iteration"] for row in rows]
    split = {part: statistics.median(row[f"time/{part}"] / row["time/iteration"] for row in rows) for part in PARTS}
    found = {
        "new tokens/s": statistics.median(speed),
        "new tokens": statistics.median(row["tokens"] for row in rows),
        "seconds": statistics.median(row["time/iteration"] for row in rows),
    } | {f"share of {part}": share for part, share in split.items()}
    table = Table("", "median", "aim", title=f"Self-play on {torch.cuda.get_device_name()}", title_justify="left")
    for name, value in found.items():
        aim = f">= {AIM:,}" + ("" if value >= AIM else " (missed)") if name == "new tokens/s" else ""
        table.add_row(name, f"{value:,.2f}" if value < 100 else f"{value:,.0f}", aim)
    Console().print(table)
    if json_file is not None:
        machine = {
            "gpu": torch.cuda.get_device_name(),
            "cores": len(os.sched_getaffinity(0)),
            "python": platform.python_version(),
            "torch": torch.__version__,
        }
        settings = {"proposals": proposals // 3, "tasks": tasks // 3, "n_rollouts": config.n_rollouts, "model": model}
        kept = [{name: row[name] for name in row if name == "tokens" or name.startswith("time/")} for row in rows]
        record = {"machine": machine, "settings": settings, "medians": found, "iterations": kept}
        json_file.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    tyro.cli(main)
