"""What happens when parts of the box die: noticed at once, started again, the batch re-run, nothing lost, no orphan."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from azr_sandbox import Program, SandboxLost, Unavailable, make_runner
from azr_sandbox.runner import BoxRunner

from conftest import REAL, real
from sandbox.helpers import box_processes, call, descendants

BATCH = [
    Program(f"def f(x):\n    n = 0\n    for i in range(3000): n += i\n    return x + {i}\n", [(i,)]) for i in range(400)
]
ANSWERS = [2 * i for i in range(400)]


@pytest.fixture(params=REAL)
def own(request: pytest.FixtureRequest) -> Iterator[BoxRunner]:
    """A runner of this test's own, to be broken."""
    real(request.param)
    with make_runner(request.param) as runner:
        assert isinstance(runner, BoxRunner)
        yield runner


def wait_until(true: object, seconds: float = 15.0) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if true():  # type: ignore[operator]
            return True
        time.sleep(0.05)
    return False


def gone(pids: set[int]) -> bool:
    return not any(Path(f"/proc/{pid}").exists() and "Z" not in _state(pid) for pid in pids)


def _state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return "Z"


def test_a_zygote_that_dies_between_batches_loses_nothing(own: BoxRunner) -> None:
    before = box_processes(own)
    os.kill(max(before), signal.SIGKILL)
    assert [run.calls[0].value for run in own.run(BATCH)] == ANSWERS
    assert gone(before), "the old box must be gone as a whole"


def test_a_box_killed_during_a_batch_loses_nothing(own: BoxRunner) -> None:
    before = box_processes(own)
    killer = threading.Timer(0.1, os.kill, (own.box.pid, signal.SIGKILL))
    killer.start()
    assert [run.calls[0].value for run in own.run(BATCH, times=2)] == ANSWERS
    killer.join()
    assert gone(before)


def test_a_batch_that_can_not_be_saved_raises(own: BoxRunner) -> None:
    def kill_whatever_runs() -> None:
        while not done.wait(0.02):
            try:
                os.kill(own.box.pid, signal.SIGKILL)
            except ProcessLookupError:
                continue

    done = threading.Event()
    killer = threading.Thread(target=kill_whatever_runs)
    killer.start()
    try:
        with pytest.raises((SandboxLost, Unavailable)):
            own.run([Program("def f():\n while 1: pass", [()])])
    finally:
        done.set()
        killer.join()
    assert call(own, "def f(): return 1").value == 1, "the runner lives on"


def test_an_interrupted_batch_does_not_answer_the_next_one(own: BoxRunner) -> None:
    timer = threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        own.run([Program("def f():\n while 1: pass", [()])] * 4)
    timer.join()
    assert [run.calls[0].value for run in own.run(BATCH[:50])] == ANSWERS[:50]


def test_nothing_is_left_after_close(own: BoxRunner) -> None:
    pids = box_processes(own)
    fds = len(os.listdir("/proc/self/fd"))
    own.run(BATCH[:20])
    own.close()
    assert wait_until(lambda: gone(pids))
    assert len(os.listdir("/proc/self/fd")) < fds


HOST = """
import os, sys, threading, time
from azr_sandbox import Program, make_runner
runner = make_runner(sys.argv[1], slots=1)
print(runner.box.pid, flush=True)
sleepers = [Program("import time\\ndef f(): time.sleep(1000)", [()])]
if sys.argv[2] == "busy":
    runner.run(sleepers)
time.sleep(1000)
"""


@pytest.mark.parametrize("state", ["idle", "busy"])
@pytest.mark.parametrize("name", REAL)
def test_no_box_outlives_its_host_not_even_after_sigkill(name: str, state: str) -> None:
    real(name)
    with tempfile.TemporaryDirectory(prefix="host-", dir="/tmp") as folder:  # a short name: sockets' are short
        command = [sys.executable, "-c", HOST, name, state]
        host = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ | {"TMPDIR": folder})
        assert host.stdout is not None
        pid = int(host.stdout.readline())
        time.sleep(0.5)
        pids = descendants(pid)
        assert len(pids) >= 5
        host.kill()
        host.wait()
        host.stdout.close()
        assert wait_until(lambda: gone(pids))
        assert wait_until(lambda: not os.listdir(folder))


def test_a_killed_template_takes_its_sleeping_child_along() -> None:
    real("jail")
    with make_runner("jail", slots=1) as runner:
        assert isinstance(runner, BoxRunner)
        thread = threading.Thread(target=call, args=(runner, "import time\ndef f(): time.sleep(60)"))
        thread.start()
        assert wait_until(lambda: len(box_processes(runner)) > 6)
        pids = box_processes(runner)
        os.kill(runner.box.pid, signal.SIGKILL)
        assert wait_until(lambda: gone(pids))
        thread.join()


def test_a_container_that_is_removed_by_hand_is_replaced() -> None:
    real("docker")
    from azr_sandbox import container

    with make_runner("docker", slots=1) as runner:
        assert isinstance(runner, BoxRunner)
        client = container.engine()
        [ours] = [c for c in client.containers.list() if _pid(c) == runner.box.pid]
        threading.Timer(0.1, ours.remove, kwargs={"force": True}).start()
        assert [run.calls[0].value for run in runner.run(BATCH)] == ANSWERS
        client.close()


def _pid(container: object) -> int:
    container.reload()  # type: ignore[attr-defined]
    return int(container.attrs["State"]["Pid"])  # type: ignore[attr-defined]


def test_attached_stdio_works_too_and_has_a_lease(monkeypatch: pytest.MonkeyPatch) -> None:
    real("docker")
    from azr_sandbox import container

    monkeypatch.setattr(container, "_transports", lambda client, runtime: ["stdio"])
    with make_runner("docker") as runner:
        assert isinstance(runner, BoxRunner)
        pids = box_processes(runner)
        assert [run.calls[0].value for run in runner.run(BATCH, times=2)] == ANSWERS
        big = runner.run([Program("def f(x): return x * 16_000", [("a",)] * 80)])[0]
        assert {len(str(c.value)) for c in big.calls} == {16_000}
        os.kill(runner.box.pid, signal.SIGKILL)
        assert [run.calls[0].value for run in runner.run(BATCH)] == ANSWERS
        assert wait_until(lambda: gone(pids))
        pids = box_processes(runner)
    assert wait_until(lambda: gone(pids))


def test_leftovers_are_found_and_removed() -> None:
    real("docker")
    from azr_sandbox import container

    client = container.engine()
    labels = {container.OWNER: container.owner().rpartition(":")[0] + ":0"}  # our pid, but started at another time
    image = container.ensure_image(client)
    stray = client.containers.create(image, ["/nothing"], labels=labels, network_mode="none")
    mine = client.containers.create(
        image, ["/nothing"], labels={container.OWNER: container.owner()}, network_mode="none"
    )
    try:
        assert stray.id in [found.id for found in container.leftovers(client)]
        assert stray.short_id in container.clean(client)
        assert mine.id not in [found.id for found in container.leftovers(client)]
    finally:
        mine.remove()
        client.close()


def test_without_an_engine_auto_says_so_and_takes_the_jail(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    real("jail")
    monkeypatch.setenv("DOCKER_HOST", "unix:///nonexistent/docker.sock")
    with pytest.raises(Unavailable, match="DOCKER_HOST"):
        make_runner("docker")
    with caplog.at_level("WARNING"), make_runner("auto", slots=1) as runner:
        assert runner.name == "jail"
        assert call(runner, "def f(): return 7").value == 7
    assert "no Docker engine answers" in caplog.text
    assert "jail" in caplog.text


def test_with_an_engine_auto_takes_docker() -> None:
    real("docker")
    with make_runner("auto", slots=1) as runner:
        assert runner.name == "docker"


def test_where_nothing_can_work_auto_refuses_with_instructions(monkeypatch: pytest.MonkeyPatch) -> None:
    from azr_sandbox import walls

    monkeypatch.setenv("DOCKER_HOST", "unix:///nonexistent/docker.sock")
    monkeypatch.setattr(walls, "landlock_abi", lambda: 0)
    with pytest.raises(Unavailable, match=r"DOCKER_HOST.*Landlock"):
        make_runner("auto")


def test_another_minor_version_inside_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    real("docker")
    from azr_sandbox import VersionMismatch, container

    monkeypatch.setattr(container, "_here", lambda: "3.99")
    with pytest.raises(VersionMismatch, match=r"3\.99"):
        make_runner("docker", slots=1)


def test_the_jail_works_for_an_ordinary_user() -> None:
    """As a user without rights: the attacks on the zygote fail there too."""
    if os.geteuid() != 0:
        pytest.skip("only root can become another user; for an ordinary user every jail test is this one")
    real("jail")
    python = "/usr/bin/python3"
    probe = subprocess.run([python, "-c", "import sys; assert sys.version_info >= (3, 11)"], check=False)
    if probe.returncode:
        pytest.skip("no interpreter that another user can read")
    import shutil

    import azr_sandbox

    copy = Path(tempfile.mkdtemp())
    copy.chmod(0o755)
    shutil.copytree(Path(azr_sandbox.__file__).parent, copy / "azr_sandbox")
    script = textwrap.dedent(
        """
        from azr_sandbox import Program, make_runner
        hostile = [
            "import os\\ndef f():\\n os.kill(os.getppid(), 9)\\n return 'BREACH'",
            "import os\\ndef f():\\n os.kill(-1, 9)\\n os._exit(0)",  # success is no proof: the kernel says so to anybody
            "import os\\ndef f():\\n os.fork()\\n return 'BREACH'",
            "def f(): return open('/etc/passwd').read()",
            "import resource, os\\ndef f():\\n resource.prlimit(os.getppid(), resource.RLIMIT_CPU, (1, 1))\\n return 'BREACH'",
        ]
        with make_runner("jail", slots=1) as runner:
            before = runner.box.pid
            runs = runner.run([Program(source, [()]) for source in hostile])
            assert not [run for run in runs if run.status == "ok"], runs
            assert runner.run([Program("def f(): return 42", [()])], times=2)[0].calls[0].value == 42
            assert runner.box.pid == before
            print(*runner.walls)
        """
    )
    command = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", python, "-B", "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, cwd=copy, check=False)
    shutil.rmtree(copy)
    assert done.returncode == 0, done.stderr
    assert "seccomp" in done.stdout
    assert "uid" not in done.stdout
