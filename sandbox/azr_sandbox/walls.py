"""The kernel's walls round a zygote and all that it forks: Landlock, seccomp, rlimits, capabilities.

Set once in the zygote and inherited, so that an execution pays nothing for them. Runs inside the box, at its start,
never while a program is near. Everything is spoken to the kernel directly (ctypes): the libraries that wrap these
calls build their filters too slowly to be worth a dependency, and the box has the standard library only.
"""

from __future__ import annotations

import ctypes
import os
import resource
import sys
from struct import pack

_libc = ctypes.CDLL(None, use_errno=True)
_syscall = _libc.syscall
_syscall.restype = ctypes.c_long


class NoWall(Exception):
    """The kernel refuses one of the walls."""


def _check(result: int, what: str) -> int:
    if result < 0:
        raise NoWall(f"{what}: {os.strerror(ctypes.get_errno())}")
    return result


# --- prctl ------------------------------------------------------------------------------------------------------
_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_SET_SECCOMP, _PR_SET_CHILD_SUBREAPER, _PR_SET_NO_NEW_PRIVS = 1, 4, 22, 36, 38
_libc.prctl.argtypes = [ctypes.c_int, ctypes.c_ulong, ctypes.c_ulong, ctypes.c_ulong, ctypes.c_ulong]


def die_with_parent() -> None:
    """Ask the kernel to kill this process when its parent dies. A change of uid forgets it."""
    _libc.prctl(_PR_SET_PDEATHSIG, 9, 0, 0, 0)


def adopt_orphans() -> None:
    """Become the parent of every descendant whose own parent dies. Old versions of gVisor can not; there the
    container's end is the broom."""
    _libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def hide_memory() -> None:
    """No other process of the same user may read or trace this one, and nobody may gain privileges from here on."""
    _check(_libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0), "not dumpable")
    _check(_libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "no new privileges")


# --- capabilities -----------------------------------------------------------------------------------------------
_CAP_KILL, _CAP_SETUID = 5, 7


def may_change_uid() -> bool:
    """Whether this process has the capability to take another uid."""
    with open("/proc/self/status") as status:
        held = next(int(line.split()[1], 16) for line in status if line.startswith("CapEff:"))
    return bool(held >> _CAP_SETUID & 1)


def keep_only_needed_capabilities() -> None:
    """A root zygote keeps the right to change its child's uid and to kill it. The child loses both with the uid."""
    keep = 1 << _CAP_KILL | 1 << _CAP_SETUID
    header, data = pack("<Ii", 0x20080522, 0), pack("<IIIIII", keep, keep, 0, 0, 0, 0)
    _check(_libc.capset(header, data), "drop capabilities")


# --- a view of its own ------------------------------------------------------------------------------------------
_CLONE_NEWNS, _CLONE_NEWUTS, _CLONE_NEWIPC, _CLONE_NEWNET = 0x00020000, 0x04000000, 0x08000000, 0x40000000
_MS_RDONLY, _MS_NOSUID, _MS_NODEV, _MS_REMOUNT, _MS_BIND, _MS_REC, _MS_PRIVATE = 1, 2, 4, 32, 4096, 16384, 1 << 18
_PIVOT_ROOT, _MNT_DETACH = 155, 2
_libc.mount.argtypes = [ctypes.c_char_p, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_ulong, ctypes.c_char_p]


def leave_the_machine(needed: list[str]) -> bool:
    """Move into namespaces of our own (mounts, network, IPC, host name) where only `needed` paths exist, read-only.

    False, and nothing has changed, where this process may not (it is not root over this machine).
    """
    if _libc.unshare(_CLONE_NEWNS | _CLONE_NEWUTS | _CLONE_NEWIPC | _CLONE_NEWNET) < 0:
        return False
    _mount(None, "/", None, _MS_REC | _MS_PRIVATE)
    kept: list[str] = []
    for path in sorted(map(os.path.realpath, needed), key=len):
        if not any(path == parent or path.startswith(parent + "/") for parent in kept):
            kept.append(path)
    # Held open, for the new root may be mounted over them.
    os.umask(0o22)  # what is made below must be readable by the uids of programs
    handles = [os.open(path, os.O_PATH | os.O_CLOEXEC) for path in kept]
    links = [(f"/{name}", os.readlink(f"/{name}")) for name in os.listdir("/") if os.path.islink(f"/{name}")]
    root = "/tmp"  # noqa: S108  # any folder serves: what is mounted there is seen by this process alone
    _mount("tmpfs", root, "tmpfs", _MS_NOSUID | _MS_NODEV, "mode=755")
    for path, handle in zip(kept, handles, strict=True):
        target = root + path
        os.makedirs(target if os.path.isdir(path) else os.path.dirname(target), 0o755, exist_ok=True)
        if not os.path.isdir(f"/proc/self/fd/{handle}"):
            os.close(os.open(target, os.O_CREAT | os.O_WRONLY, 0o644))
        elif not os.path.isdir(target):
            os.makedirs(target, 0o755)
        _mount(f"/proc/self/fd/{handle}", target, None, _MS_BIND | _MS_REC)
        if path not in ("/proc", "/dev/null"):
            _mount(None, target, None, _MS_BIND | _MS_REMOUNT | _MS_RDONLY | _MS_NOSUID | _MS_NODEV)
        os.close(handle)
    for link, to in links:
        os.symlink(to, root + link)
    os.chdir(root)
    _check(int(_syscall(_PIVOT_ROOT, b".", b".")), "pivot_root")
    _check(_libc.umount2(b".", _MNT_DETACH), "leave the old root")
    os.chdir("/")
    _mount(None, "/", None, _MS_REMOUNT | _MS_RDONLY | _MS_NOSUID | _MS_NODEV, "mode=755")
    return True


def _mount(source: str | None, target: str, kind: str | None, flags: int, data: str | None = None) -> None:
    words = [word.encode() if word is not None else None for word in (source, target, kind, data)]
    _check(_libc.mount(words[0], words[1], words[2], flags, words[3]), f"mount {target}")


# --- rlimits ----------------------------------------------------------------------------------------------------
def set_lasting_limits() -> None:
    """The limits that are the same for every program. RLIMIT_STACK makes the C stack alike in every box."""
    stack = 8 << 20
    for name, value in (
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_NOFILE, 32),
        (resource.RLIMIT_MEMLOCK, 0),
        (resource.RLIMIT_STACK, stack),
    ):
        resource.setrlimit(name, (value, value))


# --- Landlock ---------------------------------------------------------------------------------------------------
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_READ_FILE, _READ_DIR = 1 << 2, 1 << 3
_FS_RIGHTS_BY_ABI = {1: 13, 2: 14, 3: 15, 4: 15, 5: 16}  # how many file rights an ABI knows
_SCOPE_SIGNAL, _SCOPE_ALL = 2, 3


def landlock_abi() -> int:
    """The kernel's Landlock version, 0 where it has none. Signals can be scoped from 6 on (Linux 6.12)."""
    if sys.platform != "linux":
        return 0
    return max(0, int(_syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), 1)))


def _ruleset(file_rights: int, net_rights: int, scopes: int, abi: int) -> int:
    # An older kernel knows a shorter struct and refuses set bytes beyond it.
    words = 1 if abi < 4 else 2 if abi < 6 else 3
    attributes = pack("<QQQ", file_rights, net_rights, scopes)[: 8 * words]
    return _check(
        int(_syscall(_CREATE_RULESET, attributes, ctypes.c_size_t(len(attributes)), 0)), "create a Landlock ruleset"
    )


# Parts of the standard library's folder that no box shows: other people's packages, tests, windows, installers.
NOT_FOR_PROGRAMS = (
    "site-packages",
    "dist-packages",
    "test",
    "idlelib",
    "tkinter",
    "turtledemo",
    "ensurepip",
    "lib2to3",
)


def fence_files() -> None:
    """Leave this process and its children the standard library to read, and no other file, no TCP, no signal out.

    Raises:
        NoWall: the kernel has no Landlock.
    """
    abi = landlock_abi()
    if not abi:
        raise NoWall("the kernel has no Landlock")
    rights = (1 << _FS_RIGHTS_BY_ABI.get(min(abi, 5), 13)) - 1
    ruleset = _ruleset(rights, 3 if abi >= 4 else 0, _SCOPE_ALL if abi >= 6 else 0, abi)
    for directory in [path for path in sys.path if os.path.isdir(path)]:
        _allow(ruleset, directory, _READ_DIR)
        for name in os.listdir(directory):
            path = os.path.join(directory, name)
            outside = os.path.islink(path) and not os.path.realpath(path).startswith(os.path.realpath(directory) + "/")
            if not outside and name not in NOT_FOR_PROGRAMS:
                _allow(ruleset, path, _READ_FILE)
    _restrict(ruleset)


def _allow(ruleset: int, path: str, right: int) -> None:
    handle = os.open(path, os.O_PATH | os.O_CLOEXEC)
    rule = pack("<Qi", right, handle)
    result = _syscall(_ADD_RULE, ruleset, 1, rule, 0)
    os.close(handle)
    _check(int(result), f"allow reading {path}")


def _restrict(ruleset: int) -> None:
    _check(int(_syscall(_RESTRICT_SELF, ruleset, 0)), "restrict by Landlock")
    os.close(ruleset)


def signal_fence() -> int:
    """A ruleset to hold and to enter in each child: from inside, no signal leaves it. For a child with the uid of
    its zygote. -1 where the kernel can not (before Linux 6.12)."""
    abi = landlock_abi()
    return _ruleset(0, 0, _SCOPE_SIGNAL, abi) if abi >= 6 else -1


def enter_signal_fence(ruleset: int) -> None:
    """Enter `signal_fence()`, in the child."""
    _restrict(ruleset)


# --- seccomp ----------------------------------------------------------------------------------------------------
# Numbers of x86-64 (arch/x86/entry/syscalls/syscall_64.tbl). Python and its standard library need these; the zygote
# needs a few more (clone, setresuid, wait4, pidfd_open), all harmless from below.
_ALLOWED = {
    "read": 0, "write": 1, "open": 2, "close": 3, "stat": 4, "fstat": 5, "lstat": 6, "poll": 7, "lseek": 8, "mmap": 9,
    "mprotect": 10, "munmap": 11, "brk": 12, "rt_sigaction": 13, "rt_sigprocmask": 14, "rt_sigreturn": 15,
    "pread64": 17, "readv": 19, "writev": 20, "access": 21, "select": 23, "sched_yield": 24, "mremap": 25,
    "madvise": 28, "dup": 32, "dup2": 33, "nanosleep": 35, "getitimer": 36, "alarm": 37, "setitimer": 38, "exit": 60,
    "wait4": 61, "kill": 62, "getcwd": 79, "readlink": 89, "gettimeofday": 96, "getrlimit": 97,
    "getppid": 110, "setresuid": 117, "rt_sigpending": 127,
    "rt_sigtimedwait": 128, "rt_sigsuspend": 130, "sigaltstack": 131, "tkill": 200, "time": 201,
    "futex": 202, "getdents64": 217, "restart_syscall": 219, "clock_gettime": 228, "clock_getres": 229,
    "clock_nanosleep": 230, "exit_group": 231, "tgkill": 234, "waitid": 247, "openat": 257, "newfstatat": 262,
    "readlinkat": 267, "faccessat": 269, "pselect6": 270, "ppoll": 271, "set_robust_list": 273, "dup3": 292,
    "preadv": 295, "statx": 332, "rseq": 334, "landlock_restrict_self": 446,
    "pidfd_open": 434, "close_range": 436, "faccessat2": 439,
}  # fmt: skip
# Allowed for some values of one argument only: (number, index of the argument, values).
_FORK_FLAGS = 0x01200011  # CHILD_CLEARTID | CHILD_SETTID | SIGCHLD: fork, and no thread, no namespace
_ALLOWED_IF = {
    "ioctl": (16, 1, (0x5401, 0x541B, 0x5450, 0x5451)),  # TCGETS, FIONREAD, FIONCLEX, FIOCLEX
    "clone": (56, 0, (_FORK_FLAGS,)),
    # F_DUPFD, F_GETFD, F_SETFD, F_GETFL, F_DUPFD_CLOEXEC. Not F_SETFL: the flags of an inherited file are shared
    # with every later child, a mailbox of a few bits. Not F_SETOWN: it sends signals.
    "fcntl": (72, 1, (0, 1, 2, 3, 1030)),
    "prctl": (157, 0, (_PR_SET_PDEATHSIG, _PR_SET_SECCOMP)),  # both only take away
    "prlimit64": (302, 0, (0,)),  # of oneself only
}
# Killed, not refused: glibc would pass on the -1, or garbage, as if it were an answer.
_KILLED = {
    "getpid": 39,  # an answer that is different each time, in a one-bit form that no re-run would notice
    "sysinfo": 99,  # the machine's free memory
}
_ENOSYS = {"clone3": 435}  # glibc then falls back to clone, whose flags the filter can see
_KILL_PROCESS, _ERRNO, _ALLOW = 0x80000000, 0x00050000, 0x7FFF0000
_ARCH_X86_64 = 0xC000003E


def _load(offset: int) -> bytes:
    return pack("<HBBI", 0x20, 0, 0, offset)


def _jump_if_equal(value: int, skip_true: int, skip_false: int) -> bytes:
    return pack("<HBBI", 0x15, skip_true, skip_false, value)


def _end(action: int) -> bytes:
    return pack("<HBBI", 0x06, 0, 0, action)


def _filter() -> bytes:
    code = [_load(4), _jump_if_equal(_ARCH_X86_64, 1, 0), _end(_KILL_PROCESS), _load(0)]
    for numbers, action in (
        (_ALLOWED.values(), _ALLOW),
        (_KILLED.values(), _KILL_PROCESS),
        (_ENOSYS.values(), _ERRNO | 38),
    ):
        for number in numbers:
            code += [_jump_if_equal(number, 0, 1), _end(action)]
    for number, index, values in _ALLOWED_IF.values():
        tests = [_load(16 + 8 * index)]
        for value in values:
            tests += [_jump_if_equal(value, 0, 1), _end(_ALLOW)]
        tests.append(_end(_ERRNO | 1))
        code += [_jump_if_equal(number, 0, len(tests)), *tests]
    code.append(_end(_ERRNO | 1))  # everything else, x32's numbers too: EPERM
    return b"".join(code)


def filter_system_calls() -> None:
    """Leave this process and its children about 90 system calls. No socket, exec, thread, mount, ptrace, IPC, entropy.

    Raises:
        NoWall: not an x86-64 Linux, or the kernel refuses.
    """
    if sys.platform != "linux" or os.uname().machine != "x86_64":
        raise NoWall("the filter of system calls is written for x86-64 Linux")
    _install(_filter(), "filter system calls")


def _install(code: bytes, what: str) -> None:
    instructions = ctypes.create_string_buffer(code)
    program = ctypes.create_string_buffer(pack("<HxxxxxxQ", len(code) // 8, ctypes.addressof(instructions)))
    _check(_libc.prctl(_PR_SET_SECCOMP, 2, ctypes.addressof(program), 0, 0), what)


def refuse_signals() -> None:
    """Refuse every signal that this process would send: for a child with its zygote's uid on a kernel that can not
    scope signals (before Linux 6.12)."""
    code = _load(0)
    for name in ("kill", "tkill", "tgkill"):
        code += _jump_if_equal(_ALLOWED[name], 0, 1) + _end(_ERRNO | 1)
    _install(code + _end(_ALLOW), "refuse signals")
