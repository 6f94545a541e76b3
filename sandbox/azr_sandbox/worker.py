"""The start of a box: a template per hash seed, and its warm zygotes.

The first process (PID 1 of a container) starts the second template, forks its own zygotes and then only waits: if
any part dies, all die, and the host notices at once. `zygote.py` serves requests, `child.py` runs programs. Standard
library only, and as little of it as can be: every page that a zygote touches costs every child.
"""

from __future__ import annotations

import gc
import os
import sys
from struct import Struct

from . import child, pages, walls, wire
from .zygote import FLAG_NO_FENCE, FLAG_VIEW, be_zygote, kill

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

# How a box is started. The package itself is not imported: its `__init__` is the host's.
LAUNCHER = (
    "import sys; m = type(sys)('azr_sandbox'); m.__path__ = [sys.argv[1]]; sys.modules['azr_sandbox'] = m; "
    "from azr_sandbox import worker; getattr(worker, sys.argv[2])(sys.argv[3:])"
)
# -E is not among them: PYTHONHASHSEED must work. The environment holds nothing else.
PYTHON_FLAGS = ("-S", "-s", "-P", "-B", "-X", "utf8", "-W", "ignore")
# The files that a box needs.
INSIDE = ("child.py", "errors.py", "pages.py", "relay.py", "values.py", "walls.py", "wire.py", "worker.py", "zygote.py")

_UID_SPAN = 1 << 12  # uids set aside for one box
_U32 = Struct("<I")


def environment(seed: int) -> dict[str, str]:
    """The whole environment of a box."""
    bind = {"LD_BIND_NOW": "1"}  # the loader binds every function at the start, none in each child
    return {"PYTHONHASHSEED": str(wire.HASH_SEEDS[seed]), "TZ": "UTC0", "LC_ALL": "C.UTF-8", **bind}


def command(
    python: str, package: str, transport: str, token: str, flags: str, slots: int, seed: int = 0, uid_base: int = -1
) -> list[str]:
    """The command line that starts a box, or its twin: see `main` for what the words mean."""
    words = [str(seed), str(uid_base), transport, token, flags, str(slots)]
    return [python, *PYTHON_FLAGS, "-c", LAUNCHER, package, "main", *words]


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
    """Open the channels, ordered by seed, then by warmth, then by slot."""
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
    arguments = command(sys.executable, here, "fds", token[0], flags, slots, seed=1, uid_base=uid_base)
    arguments += map(str, channels)
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
            kill(pid)
        while left := _children():  # the twin too, and a child whose zygote died, which comes to us
            for pid in left:
                kill(pid)
            os.wait()
    finally:
        os._exit(0)


def _children() -> list[int]:
    try:
        with open(f"/proc/self/task/{os.getpid()}/children") as listing:
            return [int(pid) for pid in listing.read().split()]
    except OSError:
        return []


# --- zygotes ----------------------------------------------------------------------------------------------------
class Zygotes:
    """Forks one zygote per channel: first those without modules, then, with the modules imported, the warm ones."""

    def __init__(self, seed: int, uid_base: int, token: list[str], flags: str, channels: list[int]) -> None:
        self.pids: set[int] = set()
        if FLAG_NO_FENCE not in flags:
            pages.enlarge_code()
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
                    if slots >= len(cores):
                        # A zygote and its children stay on one core: warm caches, 3 to 5% more programs. Fewer slots
                        # are left to the kernel: several such boxes would all crowd on the first cores.
                        os.sched_setaffinity(0, {cores[slot % len(cores)]})
                    # Opposite bits: no one-bit function of the uid is the same under both seeds.
                    uid = -1 if uid_base < 0 else uid_base + ((2 * slot + warm) ^ (_UID_SPAN - 1 if seed else 0))
                    be_zygote(channel, lifeline, uid, token, flags, names)
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
                child.perform(request, sink.fileno(), 0, 1 << 16, names)
    sys.modules.pop("program", None)


def perform_once(arguments: list[str]) -> None:
    """Read one program from stdin, run it here and now, write its records to stdout: for the unsafe runner."""
    work = sys.stdin.buffer.read()
    report = os.dup(1)
    os.dup2(2, 1)
    child.perform(work, report, int(arguments[1]), int(arguments[0]), name_exceptions())
    os._exit(0)
