"""Benchmarks of `ClinicalCase-v0`: `make bench`. Engine, generator and text environment, each in CPU time of one core.

Prints a table; `--json FILE` writes the numbers. What is compared is measured alternately in each round, and ratios
within a round are compared. The naive engine (`naive.py`) takes patients one by one and walks over every rule's text.
"""

from __future__ import annotations

import functools
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import gymnasium as gym
import numpy as np
import tyro
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

sys.path.append(str(Path(__file__).parents[1]))

from bench import naive
from bench.code import Measured, rate, solver

import azr_gym
from azr_gym import TaskPool
from azr_gym.clinical.engine import Engine, shared
from azr_gym.clinical.generate import Generator
from azr_gym.clinical.propose import hide
from azr_gym.clinical.room import ClinicalRoom
from azr_gym.clinical.task import CaseTask, Mode, frozen
from azr_gym.roles import PromptStyle, Split

N = 256  # episodes in a batch
PATIENTS = 4096  # in a batch of the engine
EACH = 14  # patients drawn for each condition
PROPOSED = 1024  # of the patients
CASES = 20  # how many are read by the naive engine, and judged alone, in a round
AIMS: dict[str, tuple[str, float]] = {
    "engine, patients/s": (">=", 50_000),
    "one patient alone, ms": ("<=", 5.0),
    "deduction steps/s": (">=", 20_000),
    "import beside gymnasium, s": ("<=", 0.15),
}
IMPORT = "import gymnasium, time; start = time.process_time(); import azr_gym; print(time.process_time() - start)"


def patients(engine: Engine, tick: Callable[[], None]) -> list[dict[str, float]]:
    """Patients of all conditions, as far as the engine agrees, in random order."""
    rng, generator, rows = np.random.default_rng(0), Generator(engine), list[dict[str, float]]()
    for condition in engine.ids:
        drawn = generator.draw(rng, condition, EACH)
        for place in np.flatnonzero(drawn.kept_N):
            row = {name: float(column[place]) for name, column in drawn.facts.items()}
            rows.append({name: value for name, value in row.items() if value == value})
        tick()
    return [rows[place] for place in rng.permutation(len(rows))[:PATIENTS]]


def measure_engine(found: Measured, rows: list[dict[str, float]], rounds: int, tick: Callable[[], None]) -> None:
    """All rules on a batch, on one patient, and read naively."""
    engine = shared()
    known = engine.library
    table = {name: np.full(len(rows), np.nan) for name in dict.fromkeys(name for row in rows for name in row)}
    for place, row in enumerate(rows):
        for name, value in row.items():
            table[name][place] = value

    def alone(some: list[dict[str, float]]) -> None:
        for row in some:
            engine.diagnose([row])

    def naively(some: list[dict[str, float]]) -> None:
        for row in some:
            naive.diagnose(row, known)

    for job in (alone, naively):
        job(rows[:CASES])
    for number in range(rounds):
        some = rows[number * CASES : (number + 1) * CASES]
        batch = rate(lambda: engine.judge(known.columns(table, len(rows))), len(rows), time.process_time)
        single = rate(functools.partial(alone, some), len(some), time.process_time)
        slow = rate(functools.partial(naively, some), len(some), time.process_time)
        found.note("engine, patients/s", batch)
        found.note("engine, patients/s, with proofs", rate(lambda: engine.diagnose(rows), len(rows), time.process_time))
        found.note("one patient alone, ms", 1000 / single)
        found.note("engine / naive engine", batch / slow)
        found.note("one patient alone / naive engine", single / slow)
        tick()


def measure_text(found: Measured, rows: list[dict[str, float]], rounds: int, tick: Callable[[], None]) -> None:
    """Episodes of the batched text environment, and the generator."""
    engine, room = shared(), ClinicalRoom()
    said = engine.conditions(rows)
    tasks = [CaseTask(Mode.DEDUCTION, frozen(row), one) for row, one in zip(rows, said, strict=True) if one]
    many = [replace(task, question=f"What is it? ({number})") for number in range(5) for task in tasks]
    found_hidden = hide(tasks[:PROPOSED], engine.diagnose([task.whole for task in tasks[:PROPOSED]]), engine)
    hidden = [task for task in found_hidden if task is not None]
    rng = np.random.default_rng(1)

    def episodes(pool: list[CaseTask], steps: int, thinks: bool = False) -> tuple[Callable[[], Any], int]:
        envs = gym.make_vec("ClinicalCase-v0", N, mode=pool[0].mode, pool=TaskPool(pool, capacity=len(pool)))
        answers = {task.id: room.answer(task, PromptStyle.FULL) for task in pool}
        return solver(Thinker(envs) if thinks else envs, answers, steps), steps * N

    proposer: Any = gym.make_vec("ClinicalCase-v0", N, role="propose", pool=TaskPool(), n_references=0)
    proposer.reset(seed=0)
    proposals = [room.answer(task, PromptStyle.FULL) for task in hidden[:N]]
    jobs: dict[str, tuple[Callable[[], Any], int]] = {
        "deduction steps/s": episodes(tasks, 40),
        "deduction steps/s, after thoughts of their own": episodes(tasks, 40, thinks=True),
        "deduction steps/s, a pool five times what is remembered": episodes(many, 8),
        "abduction steps/s": episodes(hidden, 1),
        "proposals judged/s": (lambda: proposer.step(proposals), N),
        "tasks generated/s": (lambda: [room.make(rng, Mode.DEDUCTION, Split.TRAIN) for _ in range(10)], 10),
    }
    for name, (job, count) in jobs.items():  # not by turns: what one remembers another would push out
        job()
        for _ in range(rounds):
            found.note(name, rate(job, count, time.process_time))
        tick()


class Thinker:
    """A batch of episodes, with a thought of its own before each answer."""

    def __init__(self, envs: Any) -> None:
        self.envs, self.reset, self.thoughts = envs, envs.reset, 0

    def step(self, texts: list[str]) -> Any:
        """One step."""
        self.thoughts += 1
        return self.envs.step([f"<think>It fits ({self.thoughts}).</think>\n{text}" for text in texts])


def measure_import(found: Measured, rounds: int) -> None:
    """What `import azr_gym` costs once gymnasium is there."""
    for _ in range(rounds):
        done = subprocess.run([sys.executable, "-c", IMPORT], capture_output=True, text=True, check=True)
        found.note("import beside gymnasium, s", float(done.stdout))


def main(rounds: int = 9, json_file: Annotated[Path | None, tyro.conf.arg(name="json")] = None) -> None:
    """Measure, print, and write."""
    found = Measured()
    with Progress(console=Console(stderr=True)) as progress:
        engine = shared()
        bar = progress.add_task("ClinicalCase-v0", total=len(engine.ids) + rounds + 6)
        rows = patients(engine, lambda: progress.advance(bar))
        measure_engine(found, rows, rounds, lambda: progress.advance(bar))
        measure_text(found, rows, rounds, lambda: progress.advance(bar))
        measure_import(found, rounds)
    medians = found.medians()
    rules = f"{len(engine.ids)} conditions, {len(engine.checks)} rules, {len(rows):,} patients"
    table = Table("", "median", "aim", title=f"ClinicalCase-v0, {rules}", title_justify="left")
    for key, value in medians.items():
        shown = f"{value:,.0f}" if value > 100 else f"{value:.3g}"
        sign, aim = AIMS.get(key, ("", value))
        missed = value < aim if sign == ">=" else value > aim
        table.add_row(key, shown, f"{sign} {aim:,}{' (missed)' if missed else ''}" if sign else "")
    Console().print(table)
    if json_file is not None:
        machine = {
            "cores": len(os.sched_getaffinity(0)),
            "python": platform.python_version(),
            "load": os.getloadavg()[1],  # processes that wanted to run, on average over five minutes
        }
        sizes = {"conditions": len(engine.ids), "rules": len(engine.checks), "patients": len(rows)}
        record = {"version": azr_gym.__version__, "machine": machine, "sizes": sizes}
        json_file.write_text(json.dumps(record | {"medians": medians, "rounds": found.rounds}, indent=1) + "\n")


if __name__ == "__main__":
    tyro.cli(main)
