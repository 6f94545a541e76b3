"""Small helpers of the sandbox's tests."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from azr_sandbox import Call, Program, Runner
from azr_sandbox.runner import BoxRunner

HERE = Path(__file__).parent


def read_lines(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (HERE / name).read_text().splitlines()]


def call(runner: Runner, source: str, *arguments: object, times: int = 1) -> Call:
    """Run one program with one call."""
    [run] = runner.run([Program(source, [arguments])], times=times)
    return run.calls[0]


def descendants(root: int) -> set[int]:
    """The pids of every process below `root`, zombies too."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue
    found, fresh = {root}, {root}
    while fresh:
        fresh = {pid for pid, parent in parents.items() if parent in fresh} - found
        found |= fresh
    return found


def box_processes(runner: BoxRunner) -> set[int]:
    assert runner.box.pid, "the box runs on another machine"
    return descendants(runner.box.pid)


CLEAN = """
import json, math, random

def f(x):
    cases = [x + 1, [1, 2, 3][::-1], "aé".upper(), {"k": (1, 2.5)}, sorted({3, 1, 2}), 7 * 7, repr(7), str(8), 10**20]
    cases += [math.sqrt(16), json.dumps({"a": [1]}), int("12"), len("abc"), bool([]), max(1, 2), sum([1, 2]), 1 == 1]
    return cases
"""
CLEAN_ANSWER = [
    6, [3, 2, 1], "AÉ", {"k": (1, 2.5)}, [1, 2, 3], 49, "7", "8", 10**20,
    4.0, '{"a": [1]}', 12, 3, False, 2, 3, True,
]  # fmt: skip


def assert_clean(runner: Runner) -> None:
    """A clean program gives its right answer, on every slot and under both hash seeds."""
    for run in runner.run([Program(CLEAN, [(5,)])] * 4, times=2):
        assert run.status == "ok"
        assert run.calls[0].value == CLEAN_ANSWER
