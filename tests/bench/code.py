"""Benchmarks of `CodeTriplet-v0`: `make bench`. Steps a second of the batched environment against the bare box.

Prints a table; `--json FILE` writes the numbers. The box and the environment are measured alternately in each round,
and ratios within a round are compared. What never runs a program is measured in CPU time.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import gymnasium as gym
import numpy as np
import tyro
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

import azr_gym
from azr_gym import TaskPool
from azr_gym.code import Mode, Triplet
from azr_gym.code.room import CodeRoom
from azr_gym.code.triplet import InductionTask, parse_arguments
from azr_gym.roles import Split
from azr_sandbox import Program, make_runner

N = 256  # episodes in a batch
AIMS: dict[str, float] = {
    "deduction steps/s": 20_000,
    "abduction / programs/s": 0.8,
    "induction / programs/s": 0.35,
    "propose / programs/s": 0.35,
}


@dataclass
class Measured:
    """Numbers by name, one a round."""

    rounds: dict[str, list[float]] = field(default_factory=dict)

    def note(self, name: str, value: float) -> None:
        """Keep a number of this round."""
        self.rounds.setdefault(name, []).append(value)

    def medians(self) -> dict[str, float]:
        """One number per name."""
        return {name: statistics.median(values) for name, values in self.rounds.items()}


def rate(work: Callable[[], Any], count: int, clock: Callable[[], float] = time.perf_counter) -> float:
    """How many of `count` things a second."""
    started = clock()
    work()
    return count / (clock() - started)


def solver(envs: Any, answers: dict[str, str], steps: int) -> Callable[[], None]:
    """Steps of a batch in which every answer is right."""
    state = {"infos": envs.reset(seed=0)[1]}

    def work() -> None:
        for _ in range(steps):
            texts = [answers[task] for task in state["infos"]["task_id"]]
            state["infos"] = envs.step(texts)[4]

    work()
    return work


def tasks(mode: Mode, count: int) -> list[Any]:
    """Generated tasks of a mode."""
    room, rng = CodeRoom(), np.random.default_rng(1)
    return [room.make(rng, mode, Split.TRAIN) for _ in range(count)]


def answer(task: Any) -> str:
    """The right text."""
    if isinstance(task, InductionTask):
        return task.program
    assert isinstance(task, Triplet)
    return task.output if task.mode is Mode.DEDUCTION else task.arguments


def measure_box(found: Measured, runner: Any, rounds: int, tick: Callable[[], None]) -> None:
    """Environments that run programs, each against the bare box on programs of the same kind."""
    pools = {mode: tasks(mode, 2000) for mode in Mode}
    bare = [Program(task.program, [parse_arguments(task.arguments)]) for task in pools[Mode.ABDUCTION][:N]]
    work = {}
    for mode in Mode:
        envs = gym.make_vec("CodeTriplet-v0", N, mode=mode, pool=TaskPool(pools[mode]), runner=runner)
        work[mode] = solver(envs, {task.id: answer(task) for task in pools[mode]}, 1)
    proposer: Any = gym.make_vec("CodeTriplet-v0", N, role="propose", pool=TaskPool(), runner=runner, n_references=0)
    proposals = [f"{task.program}\nf({task.arguments})" for task in pools[Mode.DEDUCTION][:N]]
    proposer.reset(seed=0)
    singles: list[Any] = [
        gym.make("CodeTriplet-v0", mode="abduction", pool=TaskPool(pools[Mode.ABDUCTION]), runner=runner)
        for _ in range(64)
    ]

    def one_by_one() -> None:
        for env in singles:
            env.reset(seed=0)
            env.step(env.unwrapped.oracle())

    batch_64 = gym.make_vec("CodeTriplet-v0", 64, mode="abduction", pool=TaskPool(pools[Mode.ABDUCTION]), runner=runner)
    sixty_four = solver(batch_64, {task.id: answer(task) for task in pools[Mode.ABDUCTION]}, 1)
    for _ in range(rounds):
        base = rate(lambda: runner.run(bare), N)
        found.note("programs/s of the bare box", base)
        for name, job in (
            ("abduction", work[Mode.ABDUCTION]),
            ("induction", work[Mode.INDUCTION]),
            ("propose", lambda: proposer.step(proposals)),
        ):
            speed = rate(job, N)
            found.note(f"{name} steps/s", speed)
            found.note(f"{name} / programs/s", speed / base)
        batched, single = rate(sixty_four, 64), rate(one_by_one, 64)
        found.note("64 batched / 64 single", batched / single)
        tick()


def measure_host(found: Measured, rounds: int, tick: Callable[[], None]) -> None:
    """What runs nothing: CPU time of one core."""
    pool = tasks(Mode.DEDUCTION, 20_000)
    answers = {task.id: answer(task) for task in pool}
    wrapped = {task: f"I think it is\n<answer>{text}</answer>" for task, text in answers.items()}
    envs = gym.make_vec("CodeTriplet-v0", N, pool=TaskPool(pool, capacity=20_000))
    bare, chatty = solver(envs, answers, 20), solver(envs, wrapped, 20)
    fresh = gym.make_vec("CodeTriplet-v0", N)
    fresh.reset(seed=0)
    for _ in range(rounds):
        found.note("deduction steps/s", rate(bare, 20 * N, time.process_time))
        found.note("deduction steps/s, answers in tags", rate(chatty, 20 * N, time.process_time))
        found.note("deduction steps/s, fresh tasks", rate(lambda: fresh.step(["1"] * N), N, time.process_time))
        tick()


def measure_pool(found: Measured, size: int, tick: Callable[[], None]) -> None:
    """A pool of a million tasks, of which the last tenth evicts others."""
    program = "def f(x):\n    return x + 1"
    many = [Triplet(Mode.DEDUCTION, program, str(number), str(number + 1)) for number in range(size)]
    tick()
    for eviction in ("fifo", "priority"):
        pool: TaskPool[Any] = TaskPool(capacity=size - size // 10, eviction=eviction)
        started = time.perf_counter()
        for task in many:
            pool.add(task)
        found.note(f"pool inserts/s, {eviction}", size / (time.perf_counter() - started))
        tick()
        rng = np.random.default_rng(0)
        for sampling in ("uniform", "recent", "learnability"):
            started = time.perf_counter()
            pool.sample(rng, 20_000, None, sampling)
            found.note(f"pool samples/s, {eviction}, {sampling}", 20_000 / (time.perf_counter() - started))
        tick()


def main(
    runner: Annotated[str, tyro.conf.arg(help="docker, jail or auto")] = "auto",
    rounds: int = 9,
    pool_size: int = 1_000_000,
    json_file: Annotated[Path | None, tyro.conf.arg(name="json")] = None,
) -> None:
    """Measure, print, and write."""
    found = Measured()
    with Progress(console=Console(stderr=True)) as progress, make_runner(runner) as box:  # type: ignore[arg-type]
        bar = progress.add_task("CodeTriplet-v0", total=2 * rounds + 5)
        measure_host(found, rounds, lambda: progress.advance(bar))
        measure_box(found, box, rounds, lambda: progress.advance(bar))
        measure_pool(found, pool_size, lambda: progress.advance(bar))
        name = box.name
    medians = found.medians()
    table = Table("", "median", "aim", title=f"CodeTriplet-v0, {name}", title_justify="left")
    for key, value in medians.items():
        aim = AIMS.get(key)
        shown = f"{value:,.0f}" if value > 100 else f"{value:.2f}"
        verdict = "" if aim is None else f">= {aim:,}" + ("" if value >= aim else " (missed)")
        table.add_row(key, shown, verdict)
    Console().print(table)
    if json_file is not None:
        machine = {"cores": len(os.sched_getaffinity(0)), "python": platform.python_version(), "runner": name}
        record = {"version": azr_gym.__version__, "machine": machine, "medians": medians, "rounds": found.rounds}
        json_file.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    tyro.cli(main)
