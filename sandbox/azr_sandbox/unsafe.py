"""NOT a sandbox: a fresh interpreter per child, with nothing between the program and this machine.

For a look on a system that has neither Docker nor the jail, with programs that you trust. Limits: the wall clock,
nothing else. Never chosen by `auto`.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor

from . import wire, worker
from .program import Limits
from .repeat import Job, Plan
from .runner import PlanRunner


class SubprocessRunner(PlanRunner):
    """Runs programs without any isolation. See the module."""

    name = "subprocess"
    guarantee = (
        "NOT A SANDBOX: a program can read, write and send whatever this user can; only the wall clock limits it"
    )

    def __init__(self, limits: Limits | None, slots: int) -> None:
        super().__init__(limits)
        self.python, self._slots = f"{sys.version_info[0]}.{sys.version_info[1]}", slots

    def _execute(self, plan: Plan) -> None:
        with ThreadPoolExecutor(self._slots) as pool:
            jobs = list(plan.jobs())
            while jobs:
                jobs = [more for job in pool.map(self._one, jobs) for more in plan.take(job)]

    def _one(self, job: Job) -> Job:
        (_, _, executions, _, _, _, _, output_bytes, _, flags, _) = wire.REQUEST.unpack_from(job.request)
        where = os.path.dirname(__file__)
        command = [
            sys.executable,
            *worker.PYTHON_FLAGS,
            "-c",
            worker.LAUNCHER,
            where,
            "perform_once",
            str(output_bytes),
            str(flags),
        ]
        environment = worker.environment(job.repeat % len(wire.HASH_SEEDS))
        started, cause, code = time.monotonic(), wire.EXITED, 0
        with tempfile.TemporaryFile() as report:
            try:
                done = subprocess.run(
                    command,
                    input=job.request[wire.REQUEST.size :],
                    stdout=report,
                    stderr=subprocess.DEVNULL,
                    env=environment if os.name == "posix" else {**os.environ, **environment},
                    timeout=self.limits.cpu_s * max(1, executions) + 1.0,
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
