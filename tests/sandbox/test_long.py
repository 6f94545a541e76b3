"""The long tests: ten thousand programs, good and bad in any mix, and then nothing is left; memory stays flat."""

from __future__ import annotations

import os
import shutil
import signal
import statistics
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from azr_sandbox import Program, Runner, make_runner, values
from azr_sandbox.runner import BoxRunner

from conftest import REAL, missing, real
from sandbox.helpers import assert_clean, box_processes, read_lines

pytestmark = pytest.mark.long

ORDINARY = [
    Program(line["code"], [values.parse(line["input"])])  # type: ignore[list-item]
    for line in read_lines("ordinary.jsonl")
]
# The quick ones: a loop that takes its whole second would make ten thousand take hours.
ATTACKS = [
    Program(line["code"], [(1,)])
    for line in read_lines("attacks.jsonl")
    if line["must"] != "timeout" and line["id"][:3] not in ("050", "074", "077", "081", "067", "118", "120")
]
FLOODS = [Program("import os\ndef f(x):\n while 1: os.write(x, b'x' * 65536)", [(fd,)]) for fd in (1, 2)]


def shared_memory() -> set[str]:
    return {*os.listdir("/dev/shm"), *Path("/proc/sysvipc/shm").read_text().splitlines()[1:]}


class Mix(RuleBasedStateMachine):
    """Any sequence of batches, good and bad."""

    name = ""

    @initialize()
    def start(self) -> None:
        self.runner: BoxRunner = real(self.name)
        self.processes, self.memory = box_processes(self.runner), shared_memory()

    @rule(batch=st.lists(st.integers(0, len(ATTACKS) - 1), min_size=1, max_size=30), times=st.sampled_from([1, 1, 2]))
    def attack(self, batch: list[int], times: int) -> None:
        for run in self.runner.run([ATTACKS[number] for number in batch], times=times):
            assert "BREACH" not in repr([c.value for c in run.calls])

    @rule(batch=st.lists(st.integers(0, len(ORDINARY) - 1), min_size=1, max_size=30), isolate=st.booleans())
    def work(self, batch: list[int], isolate: bool) -> None:
        runs = self.runner.run([ORDINARY[number] for number in batch], isolate_calls=isolate)
        assert {run.status for run in runs} == {"ok"}

    @rule(flood=st.sampled_from(FLOODS))
    def flood(self, flood: Program) -> None:
        assert self.runner.run([flood])[0].calls[0].status == "killed"

    @invariant()
    def nothing_is_left(self) -> None:
        if hasattr(self, "processes"):
            assert box_processes(self.runner) == self.processes
            assert shared_memory() == self.memory


def lap(runner: Runner) -> float:
    """Seconds of CPU that a clean program costs: what contamination or leftovers would raise."""
    runs = runner.run(ORDINARY[:100])
    return statistics.median(run.calls[0].cost.cpu_s for run in runs)


@pytest.mark.parametrize("name", REAL)
def test_ten_thousand_programs_in_any_mix_leave_nothing(name: str) -> None:
    runner = real(name)
    files = set(os.listdir("/tmp"))
    before = min(lap(runner) for _ in range(5))
    machine = type("Mix_" + name, (Mix,), {"name": name})
    # About 17 batches an example, about 15 programs a batch.
    run_state_machine_as_test(machine, settings=settings(max_examples=50, stateful_step_count=20))
    assert_clean(runner)
    after = min(lap(runner) for _ in range(5))
    assert after < 2 * before + 0.002, "the runner became slower"
    assert set(os.listdir("/tmp")) - files == set()


def resident_mb(pids: set[int]) -> float:
    total = 0
    for pid in pids:
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("RssAnon:"):
                total += int(line.split()[1])
    return total / 1024


@pytest.mark.parametrize("name", REAL)
def test_memory_stays_flat_over_a_hundred_thousand_executions(name: str) -> None:
    real(name)
    with make_runner(name) as runner:  # type: ignore[arg-type]
        assert isinstance(runner, BoxRunner)
        batch = [Program(f"def f(x):\n    return [x] * {n}\n", [(n,)] * 8) for n in range(125)]  # 1,000 executions
        for _ in range(10):
            runner.run(batch)
        pids = box_processes(runner)
        box, host = resident_mb(pids), resident_mb({os.getpid()})
        started = time.monotonic()
        for _ in range(100):
            runner.run(batch)
        assert box_processes(runner) == pids
        grown = (resident_mb(pids) - box, resident_mb({os.getpid()}) - host)
        print(
            f"{name}: 100,000 executions in {time.monotonic() - started:.0f} s; box {grown[0]:+.2f}, host {grown[1]:+.2f} MiB"
        )
        assert grown[0] < 2.0
        assert grown[1] < 5.0


class Engine:
    """A Docker engine of the test's own, to be killed. It comes back without a memory, as after a reinstallation."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.address, self.lives = folder, f"unix://{folder}/docker.sock", 0
        self.start()

    def start(self) -> None:
        self.lives += 1
        roots = {what: self.folder / f"{self.lives}-{what}" for what in ("data-root", "exec-root", "pidfile")}
        command = ["dockerd", "--bridge=none", "--iptables=false", "--host", self.address]
        command += [f"--{what}={path}" for what, path in roots.items()]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log)

    def wait(self) -> None:
        for _ in range(240):
            ping = ["docker", "--host", self.address, "version"]
            if subprocess.run(ping, capture_output=True, check=False).returncode == 0:
                return
            time.sleep(0.25)
        raise AssertionError((self.folder / "log").read_text()[-2000:])

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def clear(self) -> None:
        """End what a killed engine leaves behind: its containerd and shims."""
        self.process.terminate()
        self.process.wait()
        for entry in Path("/proc").iterdir():
            if entry.name.isdecimal():
                try:
                    command = (entry / "cmdline").read_bytes().decode("utf-8", "replace")
                except OSError:
                    continue
                if command.startswith(("containerd", "/usr/bin/containerd")) and str(self.folder) in command:
                    os.kill(int(entry.name), signal.SIGKILL)
        mounts = [line.split()[1] for line in Path("/proc/self/mounts").read_text().splitlines()]
        for mount in reversed([mount for mount in mounts if mount.startswith(str(self.folder))]):
            subprocess.run(["umount", "--lazy", mount], check=False)


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Iterator[Engine]:
    if os.geteuid() != 0 or shutil.which("dockerd") is None:
        missing("engine", "root and a `dockerd` of the test's own")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        engine = Engine(Path(folder))
        monkeypatch.setenv("DOCKER_HOST", engine.address)
        engine.wait()
        yield engine
        engine.clear()


WORK = [Program(f"def f(x): return x + {n}", [(n,)]) for n in range(300)]


@pytest.mark.parametrize("transport", ["unix", "stdio"])
def test_an_engine_that_dies_and_comes_back_loses_nothing(
    engine: Engine, transport: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from azr_sandbox import container

    def check(runner: Runner) -> None:
        assert [run.calls[0].value for run in runner.run(WORK)] == [2 * n for n in range(300)]

    monkeypatch.setattr(container, "_transports", lambda client, runtime: [transport])
    with make_runner("docker") as runner:
        assert isinstance(runner, BoxRunner)
        check(runner)
        engine.kill()
        if transport == "unix":  # the sockets do not need the engine
            check(runner)
            os.kill(runner.box.pid, signal.SIGKILL)
        threading.Timer(1.0, engine.start).start()
        check(runner)  # notices the loss, waits for the engine, builds the image, starts again
        check(runner)
    client = container.engine()
    assert client.containers.list(all=True) == []
    client.close()
