"""Benchmarks of the box: `make bench`. Everything is measured in one run, in rounds, against what else one could do.

Prints a table; `--json FILE` writes the numbers. Ratios are what counts: machines differ and are noisy, so each
round measures all rivals, and medians over the rounds are compared.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import platform
import re
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro
from pebble import ProcessPool
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from azr_sandbox import Limits, Program, SandboxError, make_runner, values
from azr_sandbox import screen as screening
from azr_sandbox.runner import BoxRunner
from azr_sandbox.wire import WARM_MODULES

CORES = len(os.sched_getaffinity(0))
TRIVIAL = [Program(f"def f(x):\n    return x + {number}\n", [(number,)]) for number in range(200)]
ORDINARY = [
    json.loads(line) for line in (Path(__file__).parents[1] / "sandbox" / "ordinary.jsonl").read_text().splitlines()
]
PRELOAD = "".join(f"import {name}\n" for name in WARM_MODULES)
IMPORTS = "import collections\nimport dataclasses\nimport decimal\nimport json\nimport math\nimport re\n"
FLOOR = """
import gc, os, sys, time
gc.disable()
compile('def f(x):\\n return x', 'p', 'exec')
def one(number):
    r, w = os.pipe()
    if os.fork() == 0:
        space = {}
        exec(compile('def f(x):\\n    return x + %d\\n' % number, 'p', 'exec'), space)
        os.write(w, repr(space['f'](number)).encode())
        os._exit(0)
    os.close(w); os.read(r, 100); os.close(r); os.wait()
for number in range(30): one(number)
started = time.perf_counter()
for number in range(200): one(number)
print(200 / (time.perf_counter() - started))
"""


def rate(work: Callable[[], Any], count: int) -> float:
    """How many of `count` things a second."""
    started = time.perf_counter()
    work()
    return count / (time.perf_counter() - started)


# --- the rivals -------------------------------------------------------------------------------------------------
def floor(preload: str) -> float:
    """Fork, compile, run, pipe, wait: one process, nothing safe about it. Programs/s on one core."""
    command = [sys.executable, "-I", "-S", "-c", preload + FLOOR]
    return float(subprocess.run(command, capture_output=True, check=True).stdout)


def _script(program: Program) -> str:
    return f"{program.source}\nprint(repr(f(*{tuple(program.calls[0])!r})))"


def fresh_interpreters() -> float:
    """A new interpreter per program, all cores busy."""

    def one(program: Program) -> None:
        subprocess.run([sys.executable, "-I", "-c", _script(program)], capture_output=True, check=True)

    with ThreadPoolExecutor(CORES) as pool:
        return rate(lambda: list(pool.map(one, TRIVIAL[:40])), 40)


@contextmanager
def exec_container() -> Iterator[Callable[[], float]]:
    """`docker exec` per program in a running container, all cores busy."""
    from azr_sandbox import container, image, jail

    client = container.engine()
    name = container.ensure_image(client)
    python = client.images.get(name).labels[image.LABEL]
    box = client.containers.run(
        name, [jail.interpreter() if python is None else python, "-c", "import time; time.sleep(3600)"],
        detach=True, network_mode="none", auto_remove=True,
    )  # fmt: skip

    def one(program: Program) -> None:
        assert box.exec_run([python, "-I", "-c", _script(program)]).exit_code == 0

    def measure() -> float:
        with ThreadPoolExecutor(CORES) as pool:
            return rate(lambda: list(pool.map(one, TRIVIAL[:16])), 16)

    try:
        yield measure
    finally:
        box.kill()
        client.close()


def exec_bare(job: tuple[str, str]) -> str:
    """The least that can be done with a program: no isolation, no limit."""
    space: dict[str, Any] = {}
    exec(job[0], space)
    return repr(eval(job[1], space))


def exec_as_azr(job: tuple[str, str]) -> tuple[str, str]:
    """What AZR's executor does with a program, in the pool's worker: stdout captured, an alarm round each of the two
    steps, no isolation."""

    def late(number: int, frame: object) -> None:
        raise TimeoutError

    @contextlib.contextmanager
    def alarm() -> Iterator[None]:
        before = signal.signal(signal.SIGALRM, late)
        signal.setitimer(signal.ITIMER_REAL, 10)
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)

    space: dict[str, Any] = {}
    if re.search(r"(\s|^)?input\(", job[0]):
        return "", "Error"
    with contextlib.redirect_stdout(io.StringIO()):
        with alarm():
            exec(job[0], space)
        with alarm():
            answer = eval(job[1], space)
    return repr(answer), "Done"


class Pebble:
    """A pebble ProcessPool with two workers: the pool of AZR's executor. One task per call."""

    def __init__(self, pool: ProcessPool) -> None:
        self.pool = pool
        self.one_by_one(TRIVIAL[:10])

    def _jobs(self, programs: list[Program]) -> list[tuple[str, str]]:
        return [(program.source, f"f(*{tuple(call)!r})") for program in programs for call in program.calls]

    def _map(self, work: Callable[[Any], Any], jobs: list[tuple[str, str]], chunk: int) -> None:
        list(self.pool.map(work, jobs, chunksize=chunk, timeout=10 * chunk).result())

    def one_by_one(self, programs: list[Program]) -> float:
        """As AZR runs a single program: hand it in, wait for it. Calls/s."""
        jobs = self._jobs(programs)

        def work() -> None:
            for job in jobs:
                self._map(exec_as_azr, [job], 1)

        return rate(work, len(jobs))

    def batch(self, programs: list[Program]) -> float:
        """As AZR runs a batch: all handed in at once, a task each. Calls/s."""
        jobs = self._jobs(programs)
        return rate(lambda: self._map(exec_as_azr, jobs, 1), len(jobs))

    def bare_chunks(self, programs: list[Program]) -> float:
        """As AZR does not: 50 to a task, and no guard at all. Calls/s."""
        jobs = self._jobs(programs)
        return rate(lambda: self._map(exec_bare, jobs, 50), len(jobs))


# --- the box ----------------------------------------------------------------------------------------------------
def with_calls(count: int, programs: int) -> list[Program]:
    return [Program(program.source, [(call,) for call in range(count)]) for program in TRIVIAL[:programs]]


def ordinary() -> list[Program]:
    return [Program(line["code"], [values.parse(line["input"])]) for line in ORDINARY]  # type: ignore[list-item]


def seconds(runner: BoxRunner, programs: list[Program], **options: Any) -> float:
    return 1 / rate(lambda: runner.run(programs, **options), 1)


def measure(name: str, rounds: int, step: Callable[[], None]) -> dict[str, list[float]]:
    """All numbers of one runner and its rivals, by round."""
    found: dict[str, list[float]] = {}

    def note(key: str, value: float) -> None:
        found.setdefault(key, []).append(value)
        step()

    with ExitStack() as stack:
        runner = stack.enter_context(make_runner(name))  # type: ignore[arg-type]
        assert isinstance(runner, BoxRunner)
        pebble = Pebble(stack.enter_context(ProcessPool(max_workers=2)))
        docker_exec = None
        if name == "docker":
            docker_exec = stack.enter_context(exec_container())
        plain, imports = TRIVIAL, [Program(IMPORTS + program.source, program.calls) for program in TRIVIAL]
        exits = [
            Program("import os\n" + program.source.replace("return", "os._exit(0) or"), program.calls)
            for program in TRIVIAL
        ]
        normal = [Program("import os\n" + program.source, program.calls) for program in TRIVIAL]
        many = ordinary()
        runner.run(plain)
        for _ in range(rounds):
            note("floor per core, programs/s", floor(""))
            note("floor per core with our modules at hand, programs/s", floor(PRELOAD))
            note("trivial, programs/s", len(plain) / seconds(runner, plain))
            note("fresh python -I -c, programs/s", fresh_interpreters())
            if docker_exec is not None:
                note("docker exec, programs/s", docker_exec())
            note("pebble one by one, programs/s", pebble.one_by_one(plain))
            for calls, programs in ((8, 200), (64, 60)):
                work = with_calls(calls, programs)
                note(f"{calls} calls a program, calls/s", programs * calls / seconds(runner, work))
                note(
                    f"pebble's best at {calls} calls, calls/s",
                    max(pebble.one_by_one(work[:10]), pebble.batch(work[:60])),
                )
                note(f"pebble, bare, 50 a task, {calls} calls, calls/s", pebble.bare_chunks(work))
            once, twice = seconds(runner, many), seconds(runner, many, times=2)
            note("ordinary, programs/s", len(many) / once)
            note("ordinary with times=2, programs/s", len(many) / twice)
            note("times=2, x one run", twice / once)
            note("six imports, x none", seconds(runner, imports) / seconds(runner, plain))
            note("os._exit, x a normal end", seconds(runner, exits) / seconds(runner, normal))
        loops = [
            Program("def f(x):\n    while True: pass\n" if number % 20 == 7 else p.source, p.calls)
            for number, p in enumerate(plain)
        ]
        share = 10 * 1.0 / CORES
        note(f"10 loops of 1 s among 200, x the {share:g} s they need", seconds(runner, loops) / share)
    with make_runner(name) as runner:  # type: ignore[arg-type]
        assert isinstance(runner, BoxRunner)
        runner.run(plain)
        laps = [seconds(runner, [program]) for _ in range(rounds) for program in plain]
        note("single run median, ms", 1e3 * statistics.median(laps))
        note("single run p99, x median", sorted(laps)[int(0.99 * len(laps))] / statistics.median(laps))
    return found


def ratios(m: dict[str, list[float]]) -> Iterator[tuple[str, float, str]]:
    """(what, measured, wanted): the median over the rounds of what was measured in the same round."""

    def over(a: str, b: str, times: float = 1.0) -> float:
        return statistics.median(one / (times * other) for one, other in zip(m[a], m[b], strict=True))

    trivial = "trivial, programs/s"
    yield "trivial, x fresh python -I -c", over(trivial, "fresh python -I -c, programs/s"), ">= 8"
    if "docker exec, programs/s" in m:
        yield "trivial, x docker exec", over(trivial, "docker exec, programs/s"), ">= 80"
    yield "trivial, x floor times cores", over(trivial, "floor per core, programs/s", CORES), ">= 0.75"
    with_modules = "floor per core with our modules at hand, programs/s"
    yield "trivial, x that floor with our modules", over(trivial, with_modules, CORES), ""
    yield "trivial, x pebble one by one", over(trivial, "pebble one by one, programs/s"), "aim 1.0"
    for calls, wanted in ((8, ">= 2"), (64, ">= 10")):
        best = f"pebble's best at {calls} calls, calls/s"
        yield f"{calls} calls a program, x pebble's best", over(f"{calls} calls a program, calls/s", best), wanted
    for key, wanted in (
        ("times=2, x one run", "<= 2.5"),
        ("six imports, x none", "<= 1.5"),
        (next(key for key in m if "loops" in key), "<= 1.15"),
        ("os._exit, x a normal end", "about 1"),
        ("single run p99, x median", "<= 4"),
    ):
        yield key, statistics.median(m[key]), wanted


def false_alarms() -> dict[str, Any]:
    """How many ordinary programs the screen refuses, and how long a look takes."""
    started = time.perf_counter()
    found = [(line["id"], finding) for line in ORDINARY if (finding := screening.screen(line["code"]))]
    each_us = 1e6 * (time.perf_counter() - started) / len(ORDINARY)
    return {
        "programs": len(ORDINARY),
        "refused": {name: f"{finding.rule}: {finding.detail}" for name, finding in found},
        "us a look": each_us,
    }


@dataclass(frozen=True)
class Options:
    """Benchmarks of the sandbox."""

    rounds: int = 7  # of everything; medians are reported
    runners: tuple[str, ...] = ("docker", "jail")
    json: Annotated[str, tyro.conf.arg(help="write the numbers there too")] = ""


def main(options: Options) -> None:
    console = Console()
    result: dict[str, Any] = {
        "machine": {"cores": CORES, "python": platform.python_version(), "kernel": platform.release()},
        "limits": repr(Limits()),
        "screen": false_alarms(),
        "runners": {},
    }
    with Progress(console=Console(stderr=True)) as progress:
        for name in options.runners:
            task = progress.add_task(name, total=options.rounds * 17 + 3)
            try:
                m = measure(name, options.rounds, lambda task=task: progress.advance(task))  # type: ignore[misc]
            except SandboxError as error:
                console.print(f"{name}: not here. {error}")
                continue
            result["runners"][name] = {
                "measured": {key: statistics.median(by_round) for key, by_round in m.items()},
                "ratios": {what: {"is": value, "wanted": wanted} for what, value, wanted in ratios(m)},
            }
    for name, numbers in result["runners"].items():
        table = Table(name, "", "wanted")
        for key, value in numbers["measured"].items():
            table.add_row(key, f"{value:,.2f}" if value < 100 else f"{value:,.0f}", "")
        table.add_section()
        for key, row in numbers["ratios"].items():
            table.add_row(key, f"{row['is']:.2f}", row["wanted"])
        console.print(table)
    alarms = result["screen"]
    console.print(
        f"screen: {len(alarms['refused'])} of {alarms['programs']} ordinary programs refused, {alarms['us a look']:.0f} us a look"
    )
    for name, why in alarms["refused"].items():
        console.print(f"  {name}: {why}")
    if options.json:
        Path(options.json).write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main(tyro.cli(Options))
