"""What runs inside the box: a template per hash seed, its warm zygotes, and a fresh child per program.

The first process (PID 1 of a container) starts the second template, forks its own zygotes and then only waits: if
any part dies, all die, and the host notices at once. A zygote owns one channel to the host. It reads a request's
header, never the program behind it: the child that it forks reads that, goes behind the last walls, runs it, writes
records to the zygote's pipe and exits. Whatever the child writes passes through one buffer that is wiped before the
next fork, so nothing of a program is left for the next one to find. Standard library only, and as little of it as
can be: every page that a zygote touches costs every child.
"""

from __future__ import annotations

import fcntl
import gc
import marshal
import os
import resource
import select
import sys
import time
from struct import Struct

from . import values, walls, wire
from .errors import NotPlainData, TooLong

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn

# How a box is started. The package itself is not imported: its `__init__` is the host's.
LAUNCHER = (
    "import sys; m = type(sys)('azr_sandbox'); m.__path__ = [sys.argv[1]]; sys.modules['azr_sandbox'] = m; "
    "from azr_sandbox import worker; getattr(worker, sys.argv[2])(sys.argv[3:])"
)
# -E is not among them: PYTHONHASHSEED must work. The environment holds nothing else.
PYTHON_FLAGS = ("-S", "-s", "-P", "-B", "-X", "utf8", "-W", "ignore")
INSIDE = ("errors.py", "relay.py", "values.py", "walls.py", "wire.py", "worker.py")  # the files that a box needs
FLAG_VIEW = "view"  # the box has left the machine's file system
FLAG_NO_FENCE = "no-fence"  # for a container runtime that brings its own kernel (gVisor): no Landlock, no seccomp

_SETUP_MS = 60_000  # for a request to arrive
_PATIENCE_MS = 20  # a child that lives longer is watched closely; almost none does
_IDLE_SHARE = 0.01  # of a core: less is idleness
_UID_SPAN = 1 << 12  # uids set aside for one box
_U32 = Struct("<I")


def environment(seed: int) -> dict[str, str]:
    """The whole environment of a box."""
    return {"PYTHONHASHSEED": str(wire.HASH_SEEDS[seed]), "TZ": "UTC0", "LC_ALL": "C.UTF-8"}


# --- start ------------------------------------------------------------------------------------------------------
def main(arguments: list[str]) -> NoReturn:
    """Start a box. Never returns.

    Args:
        arguments: the hash seed's index, the lowest uid for children (-1: they keep this one's), the transport
            ("fds", "unix:PATH" or "stdio"), the token that HELLO repeats, flags, the number of slots, then for "fds"
            one file descriptor per channel.
    """
    seed, uid_base, slots = int(arguments[0]), int(arguments[1]), int(arguments[5])
    transport, token, flags = arguments[2], [arguments[3]], arguments[4]
    # The token differs from box to box: it is emptied once it is used, so that no program's answer can hang on it.
    arguments[3], sys.argv[:], sys.orig_argv[:] = "", [""], [""]
    if seed == 0:
        os.chdir("/")
        walls.adopt_orphans()
        if os.geteuid() == 0:
            uid_base = pick_uids()
            if uid_base < 0:
                raise walls.NoWall("root can not give programs a uid of their own here: start it as an ordinary user")
            if transport == "fds" and walls.leave_the_machine(needed_paths()):
                flags += FLAG_VIEW
    channels = [int(fd) for fd in arguments[6:]] or connect(transport, token, slots)
    if seed == 0:
        start_twin(uid_base, token, flags, slots, channels[2 * slots :])
        channels = channels[: 2 * slots]
    else:
        walls.die_with_parent()
    zygotes = Zygotes(seed, uid_base, token, flags, channels)
    wait_and_end(zygotes.pids)


def connect(transport: str, token: list[str], slots: int) -> list[int]:
    """Open the channels: (seed, warm, slot), the slots first."""
    if transport == "stdio":
        return wire_to_stdio(4 * slots)
    import _socket  # `socket` itself would cost every child; the few bytes of its C half do not

    channels = []
    for index in range(4 * slots):
        channel = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
        channel.connect(transport.removeprefix("unix:"))
        channel.sendall(_U32.pack(index) + token[0].encode())
        channels.append(channel.detach())
    return channels


def wire_to_stdio(count: int) -> list[int]:
    """Fork the relay that carries all channels over stdin and stdout, and return this side's ends."""
    import _socket

    pairs = [_socket.socketpair() for _ in range(count)]
    if os.fork() == 0:
        from .relay import Relay

        walls.die_with_parent()
        for ours, _ in pairs:
            ours.close()
        Relay(0, 1, [theirs.detach() for _, theirs in pairs], silence_s=30.0).run()
        os._exit(0)
    null = os.open("/dev/null", os.O_RDWR)
    os.dup2(null, 0)
    os.dup2(null, 1)
    channels = []
    for ours, theirs in pairs:
        theirs.close()
        channels.append(ours.detach())
    return channels


def start_twin(uid_base: int, token: list[str], flags: str, slots: int, channels: list[int]) -> None:
    """Start the second template: the same program with another hash seed, so another interpreter."""
    for channel in channels:
        os.set_inheritable(channel, True)
    here = os.path.dirname(os.path.abspath(__file__))
    arguments = [
        sys.executable,
        *PYTHON_FLAGS,
        "-c",
        LAUNCHER,
        here,
        "main",
        "1",
        str(uid_base),
        "fds",
        token[0],
        flags,
    ]
    arguments += [str(slots), *map(str, channels)]
    if os.fork() == 0:
        try:
            os.execve(sys.executable, arguments, environment(1))  # noqa: S606
        except OSError as error:
            os.write(2, f"the second interpreter does not start: {error}\n".encode())
        finally:
            os._exit(127)
    for channel in channels:
        os.close(channel)


def needed_paths() -> list[str]:
    """What a jail with a view of its own must still see: the interpreter, its libraries and modules, and us."""
    with open("/proc/self/maps") as maps:
        mapped = {line.split(None, 5)[5].rstrip("\n") for line in maps if line.count("/")}
    libraries = [os.path.dirname(path) for path in mapped if ".so" in path]
    libraries += [path for path in ("/lib64",) if os.path.isdir(path)]  # the loader's own name is a link in there
    modules = [path for path in sys.path if os.path.isdir(path)]
    here = os.path.dirname(os.path.abspath(__file__))
    return [sys.executable, here, "/proc", "/dev/null", *libraries, *modules]


def pick_uids() -> int:
    """The lowest of a random span of uids inside this user namespace. Two boxes share no uid, but by ill luck: the
    kernel counts processes per uid. -1 where there is no room, or no right to change uid."""
    if not walls.may_change_uid():
        return -1
    low, high = 0, 0
    with open("/proc/self/uid_map") as table:
        for line in table:
            first, _, count = map(int, line.split())
            floor = 100_000 if first + count >= 100_000 + _UID_SPAN else 1000  # above the uids of people
            start, end = max(first, floor), min(first + count, 1 << 31)
            if end - start > high - low:
                low, high = start, end
    if high - low < _UID_SPAN:
        return -1
    return low + int.from_bytes(os.urandom(8), "little") % (high - low - _UID_SPAN + 1)


def wait_and_end(pids: set[int]) -> NoReturn:
    """Wait until any part of the box dies, then end all of it."""
    try:
        os.wait()
        for pid in pids:
            _kill(pid)
        while left := _children():  # the twin too, and a child whose zygote died, which comes to us
            for pid in left:
                _kill(pid)
            os.wait()
    finally:
        os._exit(0)


def _children() -> list[int]:
    try:
        with open(f"/proc/self/task/{os.getpid()}/children") as listing:
            return [int(pid) for pid in listing.read().split()]
    except OSError:
        return []


def _kill(pid: int) -> None:
    try:
        os.kill(pid, 9)
    except ProcessLookupError:
        pass


# --- zygotes ----------------------------------------------------------------------------------------------------
class Zygotes:
    """Forks one zygote per channel: first those without modules, then, with the modules imported, the warm ones."""

    def __init__(self, seed: int, uid_base: int, token: list[str], flags: str, channels: list[int]) -> None:
        self.pids: set[int] = set()
        slots = len(channels) // 2
        cores = sorted(os.sched_getaffinity(0))
        lifeline, _held = os.pipe()  # closes when this process dies; each zygote watches it, for itself and its child
        for warm in (0, 1):
            if warm:
                import_warm_modules(seed)
            names = name_exceptions()
            rehearse(names)
            gc.collect()
            gc.disable()
            gc.freeze()
            for slot in range(slots):
                channel = channels[warm * slots + slot]
                pid = os.fork()
                if pid == 0:
                    # A zygote and its children stay on one core: warm caches, 3 to 5% more programs.
                    os.sched_setaffinity(0, {cores[slot % len(cores)]})
                    # Opposite bits: no one-bit function of the uid is the same under both seeds.
                    uid = -1 if uid_base < 0 else uid_base + ((2 * slot + warm) ^ (_UID_SPAN - 1 if seed else 0))
                    _be_zygote(channel, lifeline, uid, token, flags, names)
                self.pids.add(pid)
            gc.unfreeze()
            gc.enable()
        for fd in (*channels, lifeline):
            os.close(fd)


def import_warm_modules(seed: int) -> None:
    """Import what `wire.WARM_MODULES` names, for every child to come."""
    # `random` and others ask to reseed themselves after every fork: 10 us, and entropy, for nothing.
    register, os.register_at_fork = os.register_at_fork, lambda **hooks: None
    for name in (*wire.WARM_MODULES, "signal"):
        __import__(name)
    os.register_at_fork = register
    sys.modules["random"].seed(seed)  # `statistics` brings it: the same numbers in every box, others in the twin


def name_exceptions() -> dict[type[BaseException], bytes]:
    """Every exception class that is known before a program runs, by identity: a namesake is not found here."""
    names, waiting = {}, [BaseException]
    while waiting:
        kind = waiting.pop()
        module = "" if kind.__module__ == "builtins" else kind.__module__ + "."
        names[kind] = (module + kind.__qualname__).encode()[: wire.MAX_ERROR_BYTES - 32]
        waiting += kind.__subclasses__()
    return names


def rehearse(names: dict[type[BaseException], bytes]) -> None:
    """Run programs of our own as a child would, so that the code and the parser's tables are warm: the first
    `compile` of a process alone takes 1 ms."""
    one = [wire.pack_arguments((1,))]
    work = wire.payload("def f(x):\n    return [x + 1]\n", "f", one, [0, 0])
    fail = wire.payload("def f(x):\n    return x[0]\n", "f", one, [0, 0])
    with open(os.devnull, "wb", buffering=0) as sink:
        for _ in range(8):
            for request in (work, fail):
                perform(request, sink.fileno(), 0, 1 << 16, names)
    sys.modules.pop("program", None)


def _be_zygote(
    channel: int, lifeline: int, uid: int, token: list[str], flags: str, names: dict[type[BaseException], bytes]
) -> NoReturn:
    try:
        zygote, hello = _set_up_zygote(channel, lifeline, uid, flags, names)
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


# A zygote's file descriptors, beside 0 (/dev/null), 1 and 2 (the prints' pipe). All are made before the first program,
# and a program can make none: each new pipe would tell, by its inode's number, how many were made before.
CHANNEL, LIFELINE, PRINTS, REPORT, REPORT_W, READY, READY_W = range(3, 10)


def _set_up_zygote(
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
    clear = [fcntl.fcntl(fd, fcntl.F_DUPFD, 64) for fd in wanted]  # of the places that others will take
    for place, fd in zip((*range(CHANNEL, READY_W + 1), 0, 1), clear, strict=True):
        os.dup2(fd, place)
    os.dup2(1, 2)
    # A host with many open files hands down channels with high numbers: every one of them must go.
    os.closerange(READY_W + 1, max(map(int, os.listdir("/proc/self/fd"))) + 1)
    for fd in (PRINTS, REPORT, READY):  # the reading ends only: the two ends of a pipe have flags of their own
        os.set_blocking(fd, False)
    walls.set_lasting_limits()
    if uid >= 0:
        os.setgroups([])
        os.setresgid(uid, uid, uid)
        walls.keep_only_needed_capabilities()
    walls.hide_memory()
    walls.adopt_orphans()
    with open("/proc/self/statm") as statm:
        address_space, resident = [int(word) * resource.getpagesize() for word in statm.read().split()[:2]]
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
    zygote = Zygote(uid, signals, "seccomp" in up, address_space, resident, names)
    return zygote, f"{sys.version_info[0]}.{sys.version_info[1]} {' '.join(up)}"


class Zygote:
    """Owns one channel; forks a child per request, waits for its end, reports how it ended.

    Between a fork and the child's end it touches as little memory as it can: the two share every page until one of
    them writes, and each such write is a page fault.
    """

    def __init__(
        self,
        uid: int,
        signals: int,
        fenced: bool,
        address_space: int,
        resident: int,
        names: dict[type[BaseException], bytes],
    ) -> None:
        self.uid, self.signals, self.fenced, self.names = uid, signals, fenced, names
        self.address_space, self.resident_kib = address_space, resident >> 10
        self.view = memoryview(bytearray(wire.MAX_FRAME))  # the child's report passes through; wiped before each fork
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
        header = _receive(CHANNEL, wire.REQUEST.size)
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
            _be_child(self, request)
        pidfd = os.pidfd_open(pid)
        ending = select.poll()
        ending.register(pidfd, select.POLLIN)
        ending.register(PRINTS, select.POLLIN)
        cause, printed = wire.EXITED, 0
        # Records are left in the pipe at first: most children are gone before it is full, and a zygote that woke at
        # each of 64 records would take their core.
        quick = ending.poll(_PATIENCE_MS) == [(pidfd, select.POLLIN)]  # it is gone, and has printed nothing
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
        if not (quick and self.fenced) and printed + self.drain_prints() > request[8] and cause == wire.EXITED:
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
                if self.uid < 0:  # kill(-1) would reach all of this user's processes: let the box end instead
                    os._exit(1)
                if os.fork() == 0:
                    try:
                        os.setresuid(self.uid, self.uid, self.uid)
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
                _kill(self.pid)
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
                _kill(self.pid)
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
        _kill(self.pid)
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
                self.records, self.cut[:] = self.records + 1, bytes(wire.RECORD.size)
                del self.cut[:]
                if self.records > self.most_records or self.skip > self.longest_record:
                    return False
        return True


def _receive(fd: int, size: int) -> bytes:
    """Exactly `size` bytes, or nothing at the end of the stream."""
    data = os.read(fd, size)
    if not data or len(data) == size:
        return data
    whole = bytearray(size)
    view, have = memoryview(whole), len(data)
    view[:have] = data
    while have < size:
        count = os.readv(fd, [view[have:]])
        if not count:
            return b""
        have += count
    return bytes(whole)


def _send(fd: int, *parts: bytes | memoryview) -> None:
    """Write all of it."""
    sent = os.writev(fd, parts)
    whole = sum(map(len, parts))
    if sent < whole:
        rest = memoryview(b"".join(parts))[sent:]
        while rest:
            rest = rest[os.write(fd, rest) :]


# --- children ---------------------------------------------------------------------------------------------------
def _be_child(zygote: Zygote, request: tuple[int, ...]) -> NoReturn:
    """Read the program, go behind the last walls, run it, write its records, exit. Never returns."""
    try:
        _, length, executions, cpu_ms, _, _, memory, output_bytes, _, flags = request
        work = _receive(CHANNEL, length)
        if len(work) != length:
            os._exit(1)
        os.closerange(CHANNEL, REPORT_W)
        if flags & wire.SQUEEZED:
            memory = memory // 4 * 3
        # The back-stop behind the zygote's own watch, which kills sooner.
        cpu_limit = (executions + 1) * cpu_ms // 1000 + 60
        resource.setrlimit(resource.RLIMIT_CPU, (cpu_limit, cpu_limit))
        room = zygote.address_space + memory
        resource.setrlimit(resource.RLIMIT_AS, (room, room))
        if zygote.fenced:  # gVisor knows no such limit
            resource.setrlimit(resource.RLIMIT_NPROC, (1, 1))
        if zygote.uid >= 0:
            os.setresuid(zygote.uid, zygote.uid, zygote.uid)
        elif zygote.signals >= 0:
            walls.enter_signal_fence(zygote.signals)
        else:
            walls.refuse_signals()
        os.write(READY_W, b"R")
        os.closerange(READY, READY_W + 1)
        held = [work]
        del work  # or this frame would keep the whole request in memory
        perform(held.pop(), REPORT_W, flags, output_bytes, zygote.names)
    finally:
        os._exit(0)


def perform(work: bytes, report: int, flags: int, output_bytes: int, names: dict[type[BaseException], bytes]) -> None:
    """Run a program and write its records.

    The functions used after the program has run are bound here before it: it may replace every name that it can
    reach. What it can reach anyway, with ctypes, gc or frames, is only its own report.
    """
    load, send, pack, render, exc_info = marshal.loads, os.write, wire.RECORD.pack, values.render, sys.exc_info
    set_depth, set_digits = sys.setrecursionlimit, sys.set_int_max_str_digits
    depth = 900 if flags & wire.SQUEEZED else 1000
    source, entry, blobs, order = load(work)
    del work

    def fail() -> None:
        kind, _, trace = exc_info()
        if kind is not None and issubclass(kind, MemoryError) and kind in names:
            send(report, pack(0, wire.NO_MEMORY))
            return
        line = 0
        if kind is not None and issubclass(kind, SyntaxError) and trace is not None and trace.tb_next is None:
            line = getattr(exc_info()[1], "lineno", 0) or 0
        while trace is not None:
            if trace.tb_frame.f_code.co_filename == "<program>":
                line = trace.tb_lineno
            trace = trace.tb_next
        text = names.get(kind, b"") + b"\0%d" % line  # type: ignore[arg-type]
        send(report, pack(len(text), wire.ERROR) + text)

    module = type(sys)("program")
    sys.modules["program"] = module
    set_depth(depth)
    try:
        if flags & wire.EXPRESSION:
            code = compile(source.strip(), "<program>", "eval", 0, True)
            function: Callable[..., object] = lambda: eval(code, module.__dict__)  # noqa: E731, S307
        else:
            exec(compile(source, "<program>", "exec", 0, True), module.__dict__)  # noqa: S102
            if order and entry not in module.__dict__:
                raise NameError(entry)
            function = module.__dict__.get(entry, fail)
    except BaseException:
        fail()
        return
    send(report, pack(0, wire.LOADED))
    for index in order:
        arguments = load(blobs[index])
        try:
            value = function(*arguments)
        except BaseException:
            set_depth(depth)
            fail()
            continue
        set_depth(depth)
        set_digits(4300)
        try:
            text = render(value, output_bytes).encode()
            if len(text) > output_bytes:
                raise TooLong
            send(report, pack(len(text), wire.VALUE) + text)
        except TooLong:
            send(report, pack(0, wire.TOO_LONG))
        except MemoryError:
            send(report, pack(0, wire.NO_MEMORY))
        except BaseException as error:
            del value
            if not isinstance(error, (NotPlainData, ValueError, RuntimeError)):
                fail()
            else:
                send(report, pack(0, wire.NOT_PLAIN))


def perform_once(arguments: list[str]) -> None:
    """Read one program from stdin, run it here and now, write its records to stdout: for the unsafe runner."""
    work = sys.stdin.buffer.read()
    report = os.dup(1)
    os.dup2(2, 1)
    perform(work, report, int(arguments[1]), int(arguments[0]), name_exceptions())
    os._exit(0)
