"""The main job, small: two models of a million parameters play against themselves, one in each room, a thread each.

One proposes programs and solves them, the other invents patients with abdominal pain, diagnoses them, and completes
others to a diagnosis. Each is measured on held-out tasks, plays for a few minutes, and is measured again. No data, no
GPU, no Docker needed. Run it with `make demo`; `--iterations` makes it shorter or longer, `--rooms code` or `--rooms
clinic` plays in one room alone.

Measured (means of 8 seeds, examples/results/selfplay_code.json, 45 iterations, and selfplay_clinic.json, 60), held-out
tasks solved at temperature 1 and greedily: programs 28.4% to 47.4% and 33.8% to 53.5%; diagnoses 52.4% to 78.4% and
67.3% to 81.3%.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import sys
import time
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from azr_agents.beside import train_beside
from azr_agents.config import Config
from azr_gym.clinical.library import knowledge

ROOMS = {
    "code": Config(
        model="code",
        iterations=40,
        env_options={"level": [1, 2], "n_pairs": 6},
        proposals=8,  # of each mode; an iteration's other tasks come from the pool
        seed_tasks=512,
        max_new_tokens=160,
        eval_splits=("test",),
        checkpoint_every=20,
    ),
    "clinic": Config(
        model="clinic",
        iterations=60,
        env="ClinicalCase-v0",
        env_options={"conditions": list(knowledge().complaints["abdominal_pain"].conditions)},
        modes=("deduction", "abduction"),
        proposals=8,
        seed_tasks=512,
        max_new_tokens=224,
        eval_splits=("test",),
        checkpoint_every=30,
    ),
}
LONGER = ("env", "modes", "env_options", "proposals", "seed_tasks", "max_new_tokens")  # for who goes on from here


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--rooms", nargs="+", default=list(ROOMS), choices=list(ROOMS))
    parser.add_argument("--iterations", type=int)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--eval-tasks", type=int, default=150)
    chosen = parser.parse_args()
    out = chosen.out or Path("runs") / time.strftime("demo-%Y%m%d-%H%M%S")
    configs = [
        replace(
            ROOMS[room],
            out=out / room,
            iterations=ROOMS[room].iterations if chosen.iterations is None else chosen.iterations,
            seed=chosen.seed,
            eval_tasks=chosen.eval_tasks,
        )
        for room in dict.fromkeys(chosen.rooms)
    ]
    console = Console()
    if not train_beside(configs, console):
        sys.exit(1)
    console.rule("what next")
    for config in configs:
        console.print(
            f"Open {config.out / 'report.html'} in a browser: curves, difficulty, and what it wrote.", soft_wrap=True
        )
    for config in configs:
        console.print(f"Longer:  {_command(config)}", soft_wrap=True, highlight=False)
    console.print("How it works, in one file:  examples/selfplay_one_file.py")


def _command(config: Config) -> str:
    """Training that goes on from a run's model, with its settings."""
    azr = os.path.relpath(Path(sys.executable).with_name("azr"))
    words = [azr, "train", "--model", f"{config.out / 'model'}", "--out", f"{config.out}-longer"]
    for name in LONGER:
        match getattr(config, name):
            case dict() as options if options:
                words += [_flag(name), json.dumps(options)]
            case tuple() as names if names:
                words += [_flag(name), *names]
            case str() | int() as value:
                words += [_flag(name), str(value)]
    return shlex.join(words)


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


if __name__ == "__main__":
    main()
