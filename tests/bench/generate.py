"""Benchmarks of the generator of programs: how fast, how many, how long. One core, in CPU time.

Prints a table, a row for each level; `--json FILE` writes the numbers.
"""

from __future__ import annotations

import json
import os
import platform
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, get_args

import numpy as np
import tyro
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from azr_gym.code.generate import LEVELS, Sample, Split, sample


def timed(rng: np.random.Generator, count: int, **options: Any) -> tuple[list[Sample], float]:
    """Samples, and how many of them a second of CPU time gives."""
    started = time.process_time()
    found = [sample(rng, **options) for _ in range(count)]
    return found, count / (time.process_time() - started)


def measure(level: int, split: Split, count: int) -> dict[str, float]:
    """The numbers of one level. Nothing is warmed up but the tables."""
    rng = np.random.default_rng(0)
    timed(rng, 500, level=level, split=split)
    found, one = timed(rng, count, level=level, split=split)
    _, ten = timed(rng, count // 10, level=level, split=split, n_inputs=10)
    times = Counter(program.source for program in found)
    once, twice = (sum(seen == wanted for seen in times.values()) for wanted in (1, 2))
    return {
        "samples/s, 1 input": one,
        "samples/s, 10 inputs": ten,
        "distinct share": len(times) / count,
        "programs there are, at least": len(times) + once * (once - 1) / (2 * (twice + 1)),  # Chao 1984
        "statements": sum(len(program.trace) for program in found) / count,
        "characters": sum(len(program.source) for program in found) / count,
    }


@dataclass(frozen=True)
class Options:
    """Benchmarks of the generator."""

    samples: int = 20_000  # of each level
    splits: tuple[Split, ...] = ("train",)
    json: Annotated[str, tyro.conf.arg(help="write the numbers there too")] = ""


def main(options: Options) -> None:
    result: dict[str, Any] = {
        "machine": {"cores": len(os.sched_getaffinity(0)), "python": platform.python_version()},
        "samples": options.samples,
        "splits": {},
    }
    with Progress(console=Console(stderr=True)) as progress:
        task = progress.add_task("generate", total=len(options.splits) * len(LEVELS))
        for split in options.splits:
            rows = result["splits"][split] = {}
            for level in LEVELS:
                rows[level] = measure(level, split, options.samples)
                progress.advance(task)
    for split in get_args(Split):
        if rows := result["splits"].get(split):
            table = Table(split, *rows[LEVELS[0]])
            for level, numbers in rows.items():
                table.add_row(
                    str(level), *(f"{value:,.0f}" if value > 100 else f"{value:.2f}" for value in numbers.values())
                )
            Console().print(table)
    if options.json:
        Path(options.json).write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main(tyro.cli(Options))
