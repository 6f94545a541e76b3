"""A zygote: owns one channel to the host, forks a child per request, watches it, reports how it ended.

It reads a request's header, never the program behind it. Whatever a child writes passes through one buffer that is
wiped before the next fork, so nothing of a program is left for the next one to find. Standard library only.
"""

from __future__ import annotations

import os
import resource
import select
import sys
import time

from . import pages, walls, wire
from .child import CHANNEL, LIFELINE, PRINTS, READY, READY_W, REPORT, Cell, live, receive

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

FLAG_VIEW = "view"  # the box has left the machine's file system
FLAG_NO_FENCE = "no-fence"  # for a container runtime that brings its own kernel (gVisor): no Landlock, no seccomp

_SETUP_MS = 60_000  # for a request to arrive
_PATIENCE_MS = 20  # a child that lives longer is watched closely; almost none does
_IDLE_SHARE = 0.01  # of a core: less is idleness


def be_zygote(
    channel: int, lifeline: int, uid: int, token: list[str], flags: str, names: dict[type[BaseException], bytes]
) -> NoReturn:
    """Become a zygote: raise the walls, greet the host, serve. Never returns."""
    try:
        zygote, hello = _set_up(channel, lifeline, uid, flags, names)
        hello = f"{token[0]} {hello}"
        _send(CHANNEL, wire.FRAME.pack(wire.MAGIC, wire.HELLO, len(hello)) + hello.encode())
        token.clear()
        del hello
        zygote.serve()
    except BaseException as error:
        message = f"!{type(error).__name__}: {error}".encode()[:4096]
        _send(CHANNEL, wire.FRAME.pack(wire.MAGIC, wire.HELLO, len(message)) + message)
    finally:
        os._exit(0)


def _set_up(
    channel: int, lifeline: int, uid: int, flags: str, names: dict[type[BaseException], bytes]
) -> tuple[Zygote, str]:
    """Arrange the file descriptors and raise the walls. Returns the zygote, and what it says of itself."""
    try:
        os.close(os.pidfd_open(os.getpid()))
    except OSError:
        raise walls.NoWall("this kernel has no pidfd_open: Linux 5.3, or a newer gVisor") from None
    prints, report, ready = (os.pipe2(os.O_CLOEXEC) for _ in range(3))
    null = os.open("/dev/null", os.O_RDONLY)
    wanted = (channel, lifeline, prints[0], *report, *ready, null, prints[1])
    top = max(map(int, os.listdir("/proc/self/fd"))) + 1
    clear = [os.dup2(fd, top + number) for number, fd in enumerate(wanted)]  # of the places that others will take
    for place, fd in zip((*range(CHANNEL, READY_W + 1), 0, 1), clear, strict=True):
        os.dup2(fd, place)
    os.dup2(1, 2)
    # A host with many open files hands down channels with high numbers: every one of them must go.
    os.closerange(READY_W + 1, top + len(wanted))
    for fd in (PRINTS, REPORT, READY):  # the reading ends only: the two ends of a pipe have flags of their own
        os.set_blocking(fd, False)
    walls.set_lasting_limits()
    if uid >= 0:
        os.setgroups([])
        os.setresgid(uid, uid, uid)
        walls.keep_only_needed_capabilities()
    walls.hide_memory()
    walls.adopt_orphans()
    statm = os.open("/proc/self/statm", os.O_RDONLY)
    up, signals = [], -1
    if FLAG_NO_FENCE not in flags:
        walls.fence_files()
        up.append(f"landlock-{walls.landlock_abi()}")
        signals = walls.signal_fence() if uid < 0 else -1
        walls.filter_system_calls()
        up.append("seccomp")
    if FLAG_VIEW in flags:
        up.append("view")
    if uid >= 0:
        up.append("uid")
    elif signals >= 0:
        up.append("signal-scope")
    os.environ.clear()
    pages.fill_holes()
    address_space = int(os.read(statm, 100).split()[0]) * resource.getpagesize()
    os.close(statm)
    pid = os.fork()  # a child that does nothing: what it holds all the same is not a program's
    if pid == 0:
        os._exit(0)
    resident_kib = os.wait4(pid, 0)[2].ru_maxrss
    zygote = Zygote(Cell(uid, signals, "seccomp" in up, address_space, names), resident_kib)
    return zygote, f"{sys.version_info[0]}.{sys.version_info[1]} {' '.join(up)}"


class Zygote:
    """Owns one channel; forks a child per request, waits for its end, reports how it ended.

    Between a fork and the child's end it touches as little memory as it can: the two share every page until one of
    them writes, and each such write is a page fault.
    """

    def __init__(self, cell: Cell, resident_kib: int) -> None:
        self.cell, self.resident_kib = cell, resident_kib
        self.view = memoryview(bytearray(wire.MAX_FRAME))  # the child's report passes through; wiped before each fork
        self.ending = select.poll()  # made once: whatever is made after a fork lies on a page to be copied
        self.ending.register(PRINTS, select.POLLIN)
        self.held = 0  # bytes of it in the buffer

    def serve(self) -> None:
        """Answer requests until the host, or the template, goes away."""
        idle = select.poll()
        idle.register(CHANNEL, select.POLLIN)
        idle.register(LIFELINE, 0)
        # Nothing of a request may stay behind in this frame: the next program can read it.
        while LIFELINE not in dict(idle.poll()) and self._answer():
            pass

    def _answer(self) -> bool:
        """Answer one request. False when the host has gone."""
        header = receive(CHANNEL, wire.REQUEST.size)
        if not header:
            return False
        request = wire.REQUEST.unpack(header)
        if request[0] != wire.MAGIC or request[1] > wire.MAX_PAYLOAD:
            return False
        del header
        started = time.monotonic()
        pid = os.fork()
        if pid == 0:
            request = request[:-1]  # the ticket is not for programs, which can read this frame
            live(self.cell, request)
        pidfd = os.pidfd_open(pid)
        self.ending.register(pidfd, select.POLLIN)  # the same number each time
        cause, printed = wire.EXITED, 0
        # Records are left in the pipe at first: most children are gone before it is full, and a zygote that woke at
        # each of 64 records would take their core.
        quick = self.ending.poll(_PATIENCE_MS) == [(pidfd, select.POLLIN)]  # it is gone, and has printed nothing
        if not quick:
            watch = _Watch(self, pid, pidfd, started, request)
            cause, printed = watch.until_it_ends(), watch.printed
        _, status, usage = os.wait4(pid, 0)
        wall_us = int((time.monotonic() - started) * 1e6)
        os.close(pidfd)
        if quick and not _is_ready():
            # It ended before it had read its request: what is left of that in the channel must not pass for the next.
            os._exit(1)
        self._sweep()
        while self.drain():
            pass
        if not (quick and self.cell.fenced) and printed + self.drain_prints() > request[8] and cause == wire.EXITED:
            cause = wire.FLOODED
        ended_by = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
        code = os.WEXITSTATUS(status) if os.WIFEXITED(status) else 0
        cpu_us = int((usage.ru_utime + usage.ru_stime) * 1e6)
        memory_kib = max(0, usage.ru_maxrss - self.resident_kib)
        self._report(wire.VERDICT.pack(cause, ended_by, code, cpu_us, wall_us, memory_kib, request[10]))
        return True

    def drain(self) -> int:
        """Move what the child has written into the buffer, which goes on to the host when it is full. Returns how
        many bytes there were; 0 when the pipe is empty."""
        if self.held == wire.MAX_FRAME:
            self._send_held()
        try:
            count = os.readv(REPORT, [self.view[self.held :]])
        except BlockingIOError:
            return 0
        self.held += count
        return count

    def drain_prints(self) -> int:
        """Throw away what was printed; return how many bytes that was."""
        if self.held == wire.MAX_FRAME:
            self._send_held()
        printed = 0
        try:
            for _ in range(64):  # more than the pipe holds; who prints faster than we read is seen at the next look
                count = os.readv(PRINTS, [self.view[self.held :]])
                self.view[self.held : self.held + count] = bytes(count)
                printed += count
        except BlockingIOError:
            pass
        return printed

    def _report(self, verdict: bytes) -> None:
        """Send what is held, and the verdict behind it; leave the buffer wiped."""
        self._send_held(wire.FRAME.pack(wire.MAGIC, wire.END, len(verdict)) + verdict)

    def _send_held(self, behind: bytes = b"") -> None:
        held = self.view[: self.held]
        _send(CHANNEL, wire.FRAME.pack(wire.MAGIC, wire.DATA, self.held), held, behind)
        held[:] = bytes(self.held)
        self.held = 0

    def _sweep(self) -> None:
        """Kill and reap whatever a child left behind. The limits on processes leave nothing, where they hold."""
        while True:
            try:
                pid, _ = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                if self.cell.uid < 0:  # kill(-1) would reach all of this user's processes: let the box end instead
                    os._exit(1)
                if os.fork() == 0:
                    try:
                        os.setresuid(self.cell.uid, self.cell.uid, self.cell.uid)
                        os.kill(-1, 9)
                    finally:
                        os._exit(0)
                os.waitpid(-1, 0)


def _is_ready() -> bool:
    """Whether the child has read its request and is behind its walls: it wrote one byte to a pipe that it then closed,
    before it touched the program, which can neither forge the byte nor take it back."""
    try:
        return os.read(READY, 1) == b"R"
    except BlockingIOError:
        return False


class _Watch:
    """A child that lives long: its clocks, its limits, its floods."""

    def __init__(self, zygote: Zygote, pid: int, pidfd: int, started: float, request: tuple[int, ...]) -> None:
        self.zygote, self.pid, self.pidfd, self.started = zygote, pid, pidfd, started
        _, _, executions, cpu_ms, wall_ms, idle_ms, _, output_bytes, self.print_bytes, _, _ = request
        self.cpu_s, self.wall_s, self.idle_s = cpu_ms / 1e3, wall_ms / 1e3, idle_ms / 1e3
        self.most_records, self.longest_record = executions + 1, max(output_bytes, wire.MAX_ERROR_BYTES)
        self.clock = (~pid << 3) | 2  # the kernel's name for that process's CPU clock
        self.printed = 0
        self.records, self.skip = 0, 0  # begun; bytes to the next header
        self.cut = bytearray()  # a header that a read cut in two

    def until_it_ends(self) -> int:
        """Wait for the child's end, or bring it about. Returns the cause, a number of `wire`."""
        zygote, poll = self.zygote, select.poll()
        for fd in (self.pidfd, READY):
            poll.register(fd, select.POLLIN)
        for fd in (CHANNEL, LIFELINE):  # a host, or a template, that goes away
            poll.register(fd, 0)
        # A large request takes its time to arrive, and that is not the program's.
        while not _is_ready():
            events = dict(poll.poll(_SETUP_MS))
            if not events or CHANNEL in events or LIFELINE in events or (self.pidfd in events and READY not in events):
                kill(self.pid)
                os._exit(1)
        poll.unregister(READY)
        for fd in (REPORT, PRINTS):
            poll.register(fd, select.POLLIN)
        cpu_mark, wall_mark = self._clocks()  # at the last record: each call has its own limits
        idle_cpu, idle_wall = cpu_mark, wall_mark
        while True:
            cpu, now = self._clocks()
            if cpu - cpu_mark >= self.cpu_s:
                return self._kill(wire.OUT_OF_CPU)
            if now - wall_mark >= self.wall_s:
                return self._kill(self._why_idle())
            if now - idle_wall >= self.idle_s:
                if cpu - idle_cpu < _IDLE_SHARE * (now - idle_wall):
                    return self._kill(self._why_idle())
                idle_cpu, idle_wall = cpu, now
            wait_s = min(cpu_mark + self.cpu_s - cpu, wall_mark + self.wall_s - now, idle_wall + self.idle_s - now)
            events = dict(poll.poll(max(1.0, wait_s * 1e3)))
            if CHANNEL in events or LIFELINE in events:
                kill(self.pid)
                os._exit(0)
            if self.pidfd in events:
                return wire.EXITED
            if REPORT in events:
                before = self.records
                count = zygote.drain()
                if not self._count_records(zygote.view[zygote.held - count : zygote.held]):
                    return self._kill(wire.FLOODED)
                if self.records > before:
                    cpu_mark, wall_mark = self._clocks()
            if PRINTS in events:
                self.printed += zygote.drain_prints()
                if self.printed > self.print_bytes:
                    return self._kill(wire.FLOODED)

    def _clocks(self) -> tuple[float, float]:
        """The child's CPU clock and the wall's, in seconds. A child that has just ended has used nothing more."""
        try:
            return time.clock_gettime(self.clock), time.monotonic()
        except OSError:
            return 0.0, self.started

    def _why_idle(self) -> int:
        stopped = os.waitid(os.P_PIDFD, self.pidfd, os.WSTOPPED | os.WNOHANG | os.WNOWAIT)
        return wire.STOPPED if stopped is not None else wire.OUT_OF_WALL

    def _kill(self, cause: int) -> int:
        kill(self.pid)
        return cause

    def _count_records(self, fresh: memoryview) -> bool:
        """Count the records that begin in what was just read. False when there are too many, or one is too long."""
        at = 0
        while at < len(fresh):
            if self.skip:
                step = min(self.skip, len(fresh) - at)
                at, self.skip = at + step, self.skip - step
                continue
            take = min(wire.RECORD.size - len(self.cut), len(fresh) - at)
            self.cut += fresh[at : at + take]
            at += take
            if len(self.cut) == wire.RECORD.size:
                self.skip, _ = wire.RECORD.unpack(self.cut)
                self.records += 1
                self.cut[:] = bytes(wire.RECORD.size)  # wiped, then emptied: a later program must not find it in memory
                self.cut.clear()
                if self.records > self.most_records or self.skip > self.longest_record:
                    return False
        return True


def kill(pid: int) -> None:
    """Kill a process that may be gone already."""
    try:
        os.kill(pid, 9)
    except ProcessLookupError:
        pass


def _send(fd: int, *parts: bytes | memoryview) -> None:
    """Write all of it."""
    sent = os.writev(fd, parts)
    whole = sum(map(len, parts))
    if sent < whole:
        rest = memoryview(b"".join(parts))[sent:]
        while rest:
            rest = rest[os.write(fd, rest) :]
