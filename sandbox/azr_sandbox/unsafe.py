"""NOT a sandbox: a fresh interpreter per child, with nothing between the program and this machine.

For a look on a system that has neither Docker nor the jail, with programs that you trust. Limits: a time for each
child on the wall clock, nothing else. Never chosen by `auto`.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor

from . import wire, worker
from .repeat import Job, Plan

GUARANTEE = "NOT A SANDBOX: a program can read, write and send whatever this user can; only the wall clock limits it"


def execute(plan: Plan, slots: int) -> None:
    """Run a plan, `slots` interpreters at a time."""
    with ThreadPoolExecutor(slots) as pool:
        jobs = list(plan.jobs())
        while jobs:
            done = pool.map(lambda job: _run(job, plan.limits.cpu_s), jobs)
            jobs = [more for job in done for more in plan.take(job)]


def _run(job: Job, call_s: float) -> Job:
    """Run one job in an interpreter of its own."""
    (_, _, executions, _, _, _, _, output_bytes, _, flags, _) = wire.REQUEST.unpack_from(job.request)
    command = [sys.executable, *worker.PYTHON_FLAGS, "-c", worker.LAUNCHER, os.path.dirname(__file__), "perform_once"]
    environment = worker.environment(job.repeat % len(wire.HASH_SEEDS))
    started, cause, code = time.monotonic(), wire.EXITED, 0
    with tempfile.TemporaryFile() as report:
        try:
            done = subprocess.run(
                [*command, str(output_bytes), str(flags)],
                input=job.request[wire.REQUEST.size :],
                stdout=report,
                stderr=subprocess.DEVNULL,
                env=environment if os.name == "posix" else {**os.environ, **environment},
                timeout=call_s * max(1, executions) + 1.0,
                check=False,
            )
            code = done.returncode
        except subprocess.TimeoutExpired:
            cause = wire.OUT_OF_WALL
        report.seek(0)
        job.report = report.read(2 * wire.MAX_REPORT_BYTES)
    wall_us = int((time.monotonic() - started) * 1e6)
    job.verdict = (cause, max(0, -code), max(0, code), wall_us, wall_us, 0)
    return job
