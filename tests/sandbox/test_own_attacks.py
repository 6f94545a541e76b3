"""Attacks of our own, one per test: the reward cheats that the reference implementation falls for, and every hole that
was once found in this box."""

from __future__ import annotations

import pytest

from azr_sandbox import CallStatus, Limits, NotPlainData, Program, RunStatus, make_runner, values, wire
from azr_sandbox.repeat import Plan
from azr_sandbox.runner import BoxRunner

from conftest import real
from sandbox.helpers import assert_clean, box_processes, call

INNOCENT = [Program(f"def f(x): return x + {n}", [(n,)]) for n in range(40)]
RIGHT = [2 * n for n in range(40)]


def frames_of(body: str) -> str:
    """A program that looks at every local of every frame below it."""
    return (
        "import sys\ndef f(*_):\n    found = []\n    frame = sys._getframe(1)\n    while frame:\n"
        "        for name, value in list(frame.f_locals.items()):\n"
        f"            {body}\n        frame = frame.f_back\n    return found\n"
    )


# --- cheats of the reward -----------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "source",
    [
        "class A:\n    def __eq__(self, o): return True\n    def __repr__(self): return '1'\ndef f(x): return A()",
        "class A(str):\n    def __repr__(self): return '1'\ndef f(x): return A('2')",
        "class M(type):\n    __eq__ = lambda s, o: True\n    __hash__ = lambda s: hash(int)\nclass A(metaclass=M): pass\ndef f(x): return A()",
        "class A(list):\n    def __iter__(self): return iter([1])\ndef f(x): return A()",
        "class A(dict):\n    def items(self): return [(1, 1)]\ndef f(x): return {1: A()}",
        "def f(x):\n    class A:\n        __class__ = int\n    return A()",
        "def f(x): yield 1",
        "async def f(x): return 1",
        "def f(x): return f",
        "def f(x): raise SystemExit(0)",
        "import sys\ndef f(x): sys.exit()",
        "import os\ndef f(x): os.abort()",
        "import os\nos.write(1, b'1')\nos._exit(0)",
    ],
)
def test_an_object_that_plays_a_value_is_none(runner: BoxRunner, source: str) -> None:
    assert call(runner, source, 1).status is not CallStatus.OK


@pytest.mark.parametrize(
    "answer", ["1) or True #", "__import__('os').system('id')", "(f:=lambda *a: 1)", "[1][0]", "open('x')"]
)
def test_an_answer_is_data_or_nothing(answer: str) -> None:
    with pytest.raises(NotPlainData):
        values.parse(answer)


def test_a_program_that_replaces_builtins_and_modules_harms_itself_alone(runner: BoxRunner) -> None:
    source = (
        "import builtins, json, math, os, sys, marshal\nfor name in dir(builtins):\n"
        "    if name.islower() and name not in ('setattr', 'dir'): setattr(builtins, name, None)\n"
        "os.write = os._exit = marshal.loads = json.dumps = math.sqrt = sys.exc_info = None\n"
        "sys.modules.clear()\ndef f(x): return x"
    )
    runner.run([Program(source, [(1,)] * 3)] * 4, times=2)
    assert_clean(runner)


@pytest.mark.parametrize(
    "record", [b"\x01\x00\x00\x00V1", b"\x00\x00\x00\x00L", b"L3:vT", b"\xff\xff\xff\xffV", b"\x04\x00\x00\x00EX\x000"]
)
def test_a_forged_report_is_refused_whole(runner: BoxRunner, record: bytes) -> None:
    source = f"import os\ndef f(x):\n    os.write({7}, {record!r})\n    return 5"
    result = call(runner, source, 1)
    assert result.status is not CallStatus.OK
    assert call(runner, "def f(x): return x", 1).value == 1


def test_a_forger_that_exits_at_once_gets_its_own_forgery_and_nobody_elses(runner: BoxRunner) -> None:
    source = "import os\ndef f(x):\n    os.write(7, b'\\x01\\0\\0\\0V9')\n    os._exit(0)"
    forger = Program(source, [(1,)])
    runs = runner.run([forger, *INNOCENT, forger])
    assert [run.calls[0].value for run in runs[1:-1]] == RIGHT


# --- what was found in this box, and mended ------------------------------------------------------------------------
def test_arguments_that_look_like_requests_smuggle_nothing(runner: BoxRunner) -> None:
    inner = wire.payload("def f(x): return 'FORGED'", "f", [wire.pack_arguments((1,))], [0])
    header = wire.REQUEST.pack(wire.MAGIC, len(inner), 1, 60_000, 60_000, 60_000, 1 << 28, 1 << 14, 1 << 20, 0, 0)
    block = (header + inner).ljust(4568, b"\0")
    smuggler = Program("def f(*a): return len(a)", [(block * 55,)] * 60)
    with make_runner(runner.name, Limits(cpu_s=0.05)) as own:  # type: ignore[arg-type]
        runs = own.run([smuggler, *INNOCENT])
        assert [run.calls[0].value for run in runs[1:]] == RIGHT
        assert {c.value for c in runs[0].calls} == {1}
        assert [run.calls[0].value for run in own.run(INNOCENT)] == RIGHT


def test_large_arguments_are_split_not_refused(runner: BoxRunner) -> None:
    [run] = runner.run([Program("def f(x): return len(x)", [("x" * 1_000_000,)] * 50)])
    assert {c.value for c in run.calls} == {1_000_000}


def test_each_call_starts_with_a_clock_of_its_own(runner: BoxRunner) -> None:
    source = "import time\ndef f(x):\n    end = time.process_time() + x\n    while time.process_time() < end: pass"
    with make_runner(runner.name, Limits(cpu_s=0.5), slots=1) as own:  # type: ignore[arg-type]
        [run] = own.run([Program(source, [(0.3,)] * 4)])
    assert [c.status for c in run.calls] == ["ok"] * 4


@pytest.mark.parametrize(
    "text", [b"0x" + b"f" * 4000, b"[" * 65 + b"]" * 65, b"[" * 64 + b" " + b"]" * 64, b"\xff", b"1 + 1"]
)
def test_forged_texts_end_no_batch(runner: BoxRunner, text: bytes) -> None:
    source = (
        "import os, struct, itertools\nn = itertools.count()\ndef f(x):\n"
        f"    text = {text!r} + b' ' * next(n)\n"
        "    os.write(7, struct.pack('<IB', len(text), ord('V')) + text)\n    os._exit(0)"
    )
    runs = runner.run([Program(source, [(1,)]), *INNOCENT], times=2)
    assert [run.calls[0].value for run in runs[1:]] == RIGHT
    assert runs[0].status is not RunStatus.OK or values.render(runs[0].calls[0].value)


def test_a_child_can_not_take_its_readiness_back(runner: BoxRunner) -> None:
    """By reading the pipes that it holds, through /proc where that is there."""
    source = (
        "import os\ndef f(x):\n    for n in range(64):\n        try:\n"
        "            fd = os.open('/proc/self/fd/%d' % n, os.O_RDONLY | os.O_NONBLOCK)\n            os.read(fd, 99)\n"
        "        except OSError: pass\n    os._exit(0)"
    )
    before = box_processes(runner)
    assert call(runner, source, 1).status is CallStatus.KILLED
    assert box_processes(runner) == before


def test_no_frame_holds_anything_of_the_program_before(runner: BoxRunner) -> None:
    marker = 211
    # The marks are written so that the program does not find itself.
    mark = "'MAIL' + 'BOX'"
    look = frames_of(f"found += [name] if value in ({marker - 1} + 1, {mark}) or {mark} in repr(value)[:2000] else []")
    with make_runner(runner.name, slots=1) as own:  # type: ignore[arg-type]
        for _ in range(3):
            call(own, f"import os\ndef f(x): os._exit({marker})", "MAILBOX")
            assert call(own, look).value == []


def test_no_frame_holds_the_token(runner: BoxRunner) -> None:
    look = frames_of("found += [v for v in repr(value).replace(chr(39), ' ').split() if len(v) == 32 and v.isalnum()]")
    assert call(runner, look).value == []


@pytest.mark.parametrize("what", ["os.getuid()", "os.geteuid()", "os.getgid()", "threading.get_native_id()"])
def test_a_program_can_not_ask_who_it_is(runner: BoxRunner, what: str) -> None:
    answers = {repr(c.value) for c in (call(runner, f"import os, threading\ndef f(): return {what}") for _ in range(4))}
    assert len(answers) == 1
    with make_runner(runner.name, slots=1) as other:  # type: ignore[arg-type]
        assert repr(call(other, f"import os, threading\ndef f(): return {what}").value) in answers


@pytest.mark.parametrize(
    "make", ["os.pipe()", "os.memfd_create('x')", "os.eventfd(0)", "__import__('socket').socketpair()"]
)
def test_a_program_can_make_no_file(runner: BoxRunner, make: str) -> None:
    """Not even a pipe: the number of its inode would tell how many were made before."""
    result = call(runner, f"import os\ndef f(): return bool({make})")
    assert (result.status, result.error and result.error.type) == (CallStatus.ERROR, "PermissionError")


@pytest.mark.parametrize(
    "change",
    [
        "fcntl.fcntl({fd}, fcntl.F_SETFL, os.O_NONBLOCK | os.O_APPEND)",
        "fcntl.fcntl({fd}, 1031, 4096)",
        "os.set_blocking({fd}, False)",
        "fcntl.ioctl({fd}, 0x5421, struct.pack('i', 1))",
        "fcntl.flock({fd}, fcntl.LOCK_EX)",
        "os.fchmod({fd}, 0o777)",
        "os.utime({fd})",
    ],
)
@pytest.mark.parametrize("fd", [0, 1, 7])
def test_a_shared_file_can_not_be_used_as_a_mailbox(runner: BoxRunner, change: str, fd: int) -> None:
    source = f"import fcntl, os, struct\ndef f(): return {change.format(fd=fd)}"
    assert call(runner, source).status is CallStatus.ERROR


def test_limits_of_the_zygote_can_not_be_changed(runner: BoxRunner) -> None:
    source = "import os, resource\ndef f(): return resource.prlimit(os.getppid(), resource.RLIMIT_CPU, (1, 1))"
    assert call(runner, source).status is CallStatus.ERROR


def test_many_dying_calls_do_not_cost_the_square_of_their_number(runner: BoxRunner) -> None:
    run = runner.run([Program("import os\ndef f(x): os._exit(1)", [("x" * 50_000,)] * 100)])[0]
    assert {c.status for c in run.calls} == {"killed"}


def test_a_value_is_read_once_however_often_it_was_made(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    parse = values.parse

    def count(text: str) -> object:
        read.append(text)
        return parse(text)

    monkeypatch.setattr(values, "parse", count)
    plan = Plan([Program("", [(1,)])], Limits(), [4], False)
    report = wire.RECORD.pack(0, wire.LOADED) + 2 * (wire.RECORD.pack(3, wire.VALUE) + b"{1}")
    for job in plan.jobs():
        job.report, job.verdict = report, (wire.EXITED, 0, 0, 1, 1, 1)
        assert list(plan.take(job)) == []
    assert plan.runs()[0].calls[0].value == {1}
    assert read == ["{1}"]


def test_root_without_the_right_to_change_uid_is_refused() -> None:
    import os
    import subprocess
    import sys

    real("jail")
    if os.geteuid() != 0:
        pytest.skip("only root can lose its rights")
    code = "from azr_sandbox import make_runner; make_runner('jail', slots=1)"
    command = ["setpriv", "--bounding-set=-setuid", "--inh-caps=-setuid", sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "ordinary user" in done.stderr


def test_closing_while_another_thread_runs_leaves_nothing() -> None:
    import threading

    real("jail")
    runner = make_runner("jail", slots=1)
    assert isinstance(runner, BoxRunner)
    results: list[object] = []
    loop = Program("def f():\n    for i in range(10**6): pass\n    return 1", [()] * 10)
    thread = threading.Thread(target=lambda: results.append(runner.run([loop])[0].status))
    thread.start()
    pid = runner.box.pid
    runner.close()
    thread.join()
    from pathlib import Path

    assert not Path(f"/proc/{pid}").exists()
    assert runner.box.pid == pid, "no second box was started"


def test_no_frame_holds_the_ticket(runner: BoxRunner) -> None:
    look = frames_of("found += [v for v in (value if type(value) is tuple else ()) if type(v) is int and v >= 2**40]")
    assert call(runner, look).value == []


@pytest.mark.parametrize(("limit", "printed"), [(1 << 20, 1_060_000), (1000, 60_000), (1000, 9_000)])
def test_who_prints_too_much_is_killed_always(limit: int, printed: int) -> None:
    real("jail")
    flooder = Program(f"def f(x): print('a' * {printed}, flush=True)", [(1,), (2,)])
    quiet = Program("def f(x): print('a' * 400, flush=True)", [(1,)])
    with make_runner("jail", Limits(print_bytes=limit)) as own:
        runs = own.run([flooder, quiet] * 20, times=2)
        assert {(run.status, *(c.status for c in run.calls)) for run in runs[::2]} == {("error", "killed", "killed")}
        assert {run.status for run in runs[1::2]} == {"ok"}


@pytest.mark.parametrize(
    "source",
    [
        "import os\nos.write(7, b'\\xff' * 20)",
        "import os\nos.write(7, b'\\0\\0\\0\\0L')\nos._exit(9)",
        "import os\nos.write(7, b'\\0\\0\\0\\0L')\nwhile 1: pass",
        "while 1: pass",
        "import os\nos._exit(0)",
    ],
)
def test_a_program_without_calls_is_not_ok_when_it_dies(runner: BoxRunner, source: str) -> None:
    assert {run.status for run in runner.run([Program(source, [])] * 2, times=2)} == {"error"}


def test_a_host_with_many_open_files_shares_none_with_programs() -> None:
    import os
    import resource

    real("jail")
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    if before[1] < 8192:
        pytest.skip("this user may not open 5,000 files")
    resource.setrlimit(resource.RLIMIT_NOFILE, (8192, before[1]))
    held = [os.open("/dev/null", os.O_RDONLY) for _ in range(4200)]
    try:
        with make_runner("jail", slots=2) as own:
            source = "import os\ndef f():\n    return [fd for fd in range(8192) if _open(fd)]\n"
            source += "def _open(fd):\n    try: return os.fstat(fd)\n    except OSError: return None\n"
            assert call(own, source).value == [0, 1, 2, 7]
    finally:
        for fd in held:
            os.close(fd)
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_a_death_in_a_large_program_resends_little() -> None:
    plan = Plan([Program("", [("x" * 1000,)] * 512)], Limits(), [1], False)
    [job] = plan.jobs()
    sent, waiting = 0, [job]
    while waiting:
        job = waiting.pop()
        sent += len(job.request)
        job.report, job.verdict = (
            wire.RECORD.pack(0, wire.LOADED),
            (wire.EXITED, 0, 1, 1, 1, 1),
        )  # dies in its first call
        waiting += plan.take(job)
    assert {c.status for c in plan.runs()[0].calls} == {"killed"}
    assert sent < 40 * 512 * 1000


def test_stateful_programs_are_seen_however_they_are_split(monkeypatch: pytest.MonkeyPatch) -> None:
    real("jail")
    monkeypatch.setattr(wire, "MAX_REPORT_BYTES", 5 * (Limits().output_bytes + wire.RECORD.size))
    program = Program("n = 0\ndef f():\n    global n\n    n += 1\n    return n", [()] * 6)
    with make_runner("jail") as own:
        assert own.run([program], times=2)[0].status is RunStatus.NONDETERMINISTIC
        assert [c.value for c in own.run([Program("def f(x): return x", [(n,) for n in range(20)])])[0].calls] == [
            *range(20)
        ]
