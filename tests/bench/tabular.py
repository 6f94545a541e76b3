"""Benchmarks of `ClinicalCaseTabular-v0`: `make bench BENCH=tabular`. Against Gymnasium's own vectorised CartPole.

Prints a table; `--json FILE` writes the numbers. All are measured alternately in each round, in CPU time of one core,
and ratios within a round are compared. CartPole resets in the next step; so that is what it is compared with.
ICU-Sepsis (arXiv 2406.05646) takes its turn where it is installed, as with `pip install -e ".[bench]"`: it is not
batched.
"""

from __future__ import annotations

import importlib.util
import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import gymnasium as gym
import numpy as np
import tyro
from gymnasium.vector import AutoresetMode
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

import azr_gym

N = 1024  # episodes in a batch
STEPS = 200  # in a round
ANSWERS = 0.2  # share of actions that are diagnoses: an episode has five steps
AIMS = {
    "steps/s": 400_000,
    "steps/s, reset in the same step": 400_000,
    "steps/s / CartPole's": 1.0,
    "steps/s / ICU-Sepsis's": 10.0,
}


def rate(work: Callable[[], Any], count: int) -> float:
    """How many of `count` things a second of one core."""
    started = time.process_time()
    work()
    return count / (time.process_time() - started)


def stepper(envs: Any, actions: list[Any]) -> Callable[[], None]:
    """Steps of a batch."""
    envs.reset(seed=0)

    def work() -> None:
        for step in range(STEPS):
            envs.step(actions[step % len(actions)])

    work()
    return work


def single(env: Any, actions: list[Any]) -> Callable[[], None]:
    """Steps of one environment."""
    env.reset(seed=0)

    def work() -> None:
        for row in actions[:2]:
            for action in row:
                _, _, terminated, truncated, _ = env.step(action)
                if terminated or truncated:
                    env.reset()

    return work


def icu_sepsis(rng: np.random.Generator) -> Callable[[], None] | None:
    """Steps of one ICU-Sepsis; None where that is not installed."""
    if importlib.util.find_spec("icu_sepsis") is None:
        return None
    return single(gym.make("icu_sepsis:Sepsis/ICU-Sepsis-v2").unwrapped, [*rng.integers(5, size=(2, N, 2))])


def main(
    rounds: int = 9,
    complaint: str = "chest_pain",
    json_file: Annotated[Path | None, tyro.conf.arg(name="json")] = None,
) -> None:
    """Measure, print, and write."""
    options: dict[str, Any] = {"vectorization_mode": "vector_entry_point"}
    ours: dict[AutoresetMode, Any] = {
        mode: gym.make_vec("ClinicalCaseTabular-v0", N, **options, autoreset_mode=mode, complaint=complaint)
        for mode in (AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP)
    }
    form, rng = ours[AutoresetMode.NEXT_STEP].form, np.random.default_rng(0)
    orders = rng.integers(len(form.panels), size=(50, N))
    answers = rng.integers(len(form.panels), len(form.actions), size=(50, N))
    actions = list(np.where(rng.random((50, N)) < ANSWERS, answers, orders))
    pushes = list(rng.integers(2, size=(50, N)))
    started = time.process_time()
    work = {mode: stepper(envs, actions) for mode, envs in ours.items()}
    found: dict[str, list[float]] = {"seconds to draw the bank, and 400 steps": [time.process_time() - started]}
    cartpole = stepper(gym.make_vec("CartPole-v1", N, **options), pushes)
    alone = single(gym.make("ClinicalCaseTabular-v0", complaint=complaint).unwrapped, actions)
    sepsis = icu_sepsis(rng)
    with Progress(console=Console(stderr=True)) as progress:
        for _ in progress.track(range(rounds), description="ClinicalCaseTabular-v0"):
            base = rate(cartpole, STEPS * N)
            next_step = rate(work[AutoresetMode.NEXT_STEP], STEPS * N)
            same_step = rate(work[AutoresetMode.SAME_STEP], STEPS * N)
            one = rate(alone, 2 * N)
            measured = {
                "steps/s": next_step,
                "steps/s, reset in the same step": same_step,
                "CartPole steps/s": base,
                "steps/s / CartPole's": next_step / base,
                "steps/s, reset in the same step / CartPole's": same_step / base,
                "steps/s, one at a time": one,
            }
            if sepsis is not None:
                icu = rate(sepsis, 2 * N)
                measured |= {
                    "ICU-Sepsis steps/s, one at a time": icu,
                    "steps/s / ICU-Sepsis's": next_step / icu,
                    "steps/s, reset in the same step / ICU-Sepsis's": same_step / icu,
                    "steps/s, one at a time / ICU-Sepsis's": one / icu,
                }
            for name, value in measured.items():
                found.setdefault(name, []).append(value)
    medians = {name: statistics.median(values) for name, values in found.items()}
    table = Table("", "median", "aim", title=f"ClinicalCaseTabular-v0, {N:,} at once", title_justify="left")
    for key, value in medians.items():
        aim = AIMS.get(key)
        verdict = "" if aim is None else f">= {aim:,}" + ("" if value >= aim else " (missed)")
        table.add_row(key, f"{value:,.0f}" if value > 100 else f"{value:.2f}", verdict)
    Console().print(table)
    if json_file is not None:
        machine = {"cores": len(os.sched_getaffinity(0)), "python": platform.python_version()}
        record = {"version": azr_gym.__version__, "machine": machine, "medians": medians, "rounds": found}
        json_file.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    tyro.cli(main)
