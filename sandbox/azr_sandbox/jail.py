"""The embedded sandbox, where no Docker engine answers: the same worker, behind the kernel's own walls.

Landlock (no file but the standard library's), seccomp (about 90 system calls), rlimits; when the host process is root
also a uid of its own per slot and, where it may mount, a view of the interpreter alone. As an ordinary user names and
sizes of files can be probed, contents can not be read. There is no memory cap over all children, only one for each.
"""

from __future__ import annotations

import compileall
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile

from . import dispatch, walls, worker
from .errors import Unavailable


def guarantee(walls: tuple[str, ...]) -> str:
    """What a jail with these walls holds in, and what not."""
    layers = "Landlock, seccomp, rlimits" + (", a uid of its own" if "uid" in walls else "")
    layers += ", a view of the interpreter alone" if "view" in walls else ""
    gaps = "" if "view" in walls else "names and sizes of this machine's files can be probed, "
    return (
        f"kernel-enforced file, network, process and signal isolation of every program ({layers}); {gaps}no memory cap "
        "over all programs together; the kernel is shared"
    )


REQUIRED = {"landlock", "seccomp"}


def why_not() -> str | None:
    """Why the jail can not work here, with what to do about it; None where it can."""
    if sys.platform != "linux" or os.uname().machine != "x86_64":
        return "the jail needs x86-64 Linux: use a Docker engine instead (`make_runner('docker')`)"
    if not walls.landlock_abi():
        return (
            "this kernel has no Landlock (Linux 5.13 and `landlock` in the lsm= list of its command line): "
            "use a Docker engine instead, or boot with Landlock"
        )
    if not hasattr(os, "pidfd_open"):
        return "this Python was built without pidfd_open: use CPython 3.11 or newer on Linux"
    return None


def start(slots: int) -> dispatch.Box:
    """Start a jail with `slots` slots.

    Raises:
        Unavailable: it can not work here; says why and what to do.
    """
    if reason := why_not():
        raise Unavailable(reason)
    for name in worker.INSIDE:  # a zygote that had to compile its own code would carry 2 MB more into every fork
        compileall.compile_file(os.path.join(os.path.dirname(__file__), name), quiet=2)
    try:
        pairs = [socket.socketpair() for _ in range(dispatch.KINDS * slots)]
    except OSError as error:
        raise Unavailable(f"{slots} slots need {2 * dispatch.KINDS * slots} open files (ulimit -n): {error}") from None
    token, complaints = secrets.token_hex(16), tempfile.TemporaryFile()
    arguments = worker.command(interpreter(), os.path.dirname(__file__), "fds", token, "-", slots)
    try:
        process = subprocess.Popen(
            arguments + [str(theirs.fileno()) for _, theirs in pairs],
            env=worker.environment(0),
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=complaints,
            pass_fds=[theirs.fileno() for _, theirs in pairs],
            start_new_session=True,
        )
    except OSError as error:
        complaints.close()
        for ours, theirs in pairs:
            ours.close()
            theirs.close()
        raise Unavailable(f"this user may not start {interpreter()}: {error}") from None
    for _, theirs in pairs:
        theirs.close()

    def end() -> None:
        try:
            process.wait(2.0)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        complaints.close()

    def explain() -> str:
        complaints.seek(0)
        return complaints.read().decode("utf-8", "replace")[-2000:]

    box = dispatch.Box([ours for ours, _ in pairs], end, process.pid)
    try:
        box.greet(token, 30.0, explain)
        missing = {wall for wall in REQUIRED if not any(up.startswith(wall) for up in box.walls)}
        if missing:
            raise Unavailable(f"the jail came up without {', '.join(sorted(missing))}")
    except Unavailable:
        box.close()
        raise
    return box


def interpreter() -> str:
    """The interpreter behind a virtual environment: its standard library is the one the jail reads."""
    return os.path.realpath(getattr(sys, "_base_executable", None) or sys.executable)
