"""One child, from its fork to its end: reads its request, goes behind the last walls, runs the program, reports, exits.

What a program can reach here, with ctypes, gc or frames, is only its own report. Standard library only.
"""

from __future__ import annotations

# By name: in a child, where no code is warm, to look a name up in a module writes to the pages of the module, of the
# name and of a type, and the kernel copies each.
from marshal import loads
from os import _exit, closerange, read, readv, setresuid, write
from resource import RLIMIT_AS, RLIMIT_CPU, RLIMIT_NPROC, setrlimit
from sys import exc_info, modules, set_int_max_str_digits, setrecursionlimit

from . import walls, wire
from .errors import NotPlainData, TooLong
from .values import render
from .wire import EXPRESSION, LOADED, SQUEEZED, VALUE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, NoReturn

# A zygote's file descriptors, beside 0 (/dev/null), 1 and 2 (the prints' pipe). All are made before the first program,
# and a program can make none: each new pipe would tell, by its inode's number, how many were made before.
CHANNEL, LIFELINE, PRINTS, REPORT, REPORT_W, READY, READY_W = range(3, 10)

_Module = type(wire)
_pack_record = wire.RECORD.pack


class Cell:
    """What a zygote has ready for its children.

    Attributes:
        uid: the uid that a child takes; -1: it keeps its zygote's.
        signals: a Landlock ruleset that a child with its zygote's uid enters; -1: the kernel has none.
        fenced: whether Landlock and seccomp are up.
        address_space: bytes that the warm interpreter has mapped.
        names: every exception class that is known before a program runs.
    """

    def __init__(
        self, uid: int, signals: int, fenced: bool, address_space: int, names: dict[type[BaseException], bytes]
    ) -> None:
        self.uid, self.signals, self.fenced, self.address_space, self.names = uid, signals, fenced, address_space, names


def live(cell: Cell, request: tuple[int, ...]) -> NoReturn:
    """Read the program, go behind the last walls, run it, write its records, exit. Never returns."""
    try:
        _, length, executions, cpu_ms, _, _, memory, output_bytes, _, flags = request
        work = receive(CHANNEL, length)
        if len(work) != length:
            _exit(1)
        closerange(CHANNEL, REPORT_W)
        if flags & SQUEEZED:
            memory = memory // 4 * 3
        # The back-stop behind the zygote's own watch, which kills sooner.
        cpu_limit = (executions + 1) * cpu_ms // 1000 + 60
        setrlimit(RLIMIT_CPU, (cpu_limit, cpu_limit))
        room = cell.address_space + memory
        setrlimit(RLIMIT_AS, (room, room))
        if cell.fenced:  # gVisor knows no such limit
            setrlimit(RLIMIT_NPROC, (1, 1))
        if cell.uid >= 0:
            setresuid(cell.uid, cell.uid, cell.uid)
        elif cell.signals >= 0:
            walls.enter_signal_fence(cell.signals)
        else:
            walls.refuse_signals()
        write(READY_W, b"R")
        closerange(READY, READY_W + 1)
        held = [work]
        del work  # or this frame would keep the whole request in memory
        perform(held.pop(), REPORT_W, flags, output_bytes, cell.names)
    finally:
        _exit(0)


def perform(work: bytes, report: int, flags: int, output_bytes: int, names: dict[type[BaseException], bytes]) -> None:
    """Run a program and write its records.

    The functions used after the program has run are bound here before it: it may replace every name that it can
    reach. What it can reach anyway, with ctypes, gc or frames, is only its own report.
    """
    load, send, pack, show, failure, last = loads, write, _pack_record, render, _failure, exc_info
    set_depth, set_digits = setrecursionlimit, set_int_max_str_digits
    depth = 900 if flags & SQUEEZED else 1000
    source, entry, blobs, order = load(work)
    del work
    module = _Module("program")
    modules["program"] = module
    set_depth(depth)
    try:
        if flags & EXPRESSION:
            code = compile(source.strip(), "<program>", "eval", 0, True)
            function: Callable[..., object] = lambda: eval(code, module.__dict__)  # noqa: E731, S307
        else:
            exec(compile(source, "<program>", "exec", 0, True), module.__dict__)  # noqa: S102
            if order and entry not in module.__dict__:
                raise NameError(entry)
            function = module.__dict__.get(entry, failure)
    except BaseException:
        send(report, failure(names, pack, last))
        return
    send(report, pack(0, LOADED))
    for index in order:
        arguments = load(blobs[index])
        try:
            value = function(*arguments)
        except BaseException:
            set_depth(depth)
            send(report, failure(names, pack, last))
            continue
        set_depth(depth)
        set_digits(4300)
        try:
            text = show(value, output_bytes).encode()
            if len(text) > output_bytes:
                raise TooLong
            send(report, pack(len(text), VALUE) + text)
        except TooLong:
            send(report, pack(0, wire.TOO_LONG))
        except MemoryError:
            send(report, pack(0, wire.NO_MEMORY))
        except BaseException as error:
            del value
            if not isinstance(error, (NotPlainData, ValueError, RuntimeError)):
                send(report, failure(names, pack, last))
            else:
                send(report, pack(0, wire.NOT_PLAIN))


def _failure(
    names: dict[type[BaseException], bytes], pack: Callable[[int, int], bytes], exc_info: Callable[[], Any]
) -> bytes:
    """The record of the exception that is being handled."""
    kind, error, trace = exc_info()
    if kind is not None and issubclass(kind, MemoryError) and kind in names:
        return pack(0, wire.NO_MEMORY)
    line = 0
    if kind is not None and issubclass(kind, SyntaxError) and trace is not None and trace.tb_next is None:
        line = getattr(error, "lineno", 0) or 0
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == "<program>":
            line = trace.tb_lineno
        trace = trace.tb_next
    text = names.get(kind, b"") + b"\0%d" % line
    return pack(len(text), wire.ERROR) + text


def receive(fd: int, size: int) -> bytes:
    """Exactly `size` bytes, or nothing at the end of the stream."""
    data = read(fd, size)
    if not data or len(data) == size:
        return data
    whole = bytearray(size)
    view, have = memoryview(whole), len(data)
    view[:have] = data
    while have < size:
        count = readv(fd, [view[have:]])
        if not count:
            return b""
        have += count
    return bytes(whole)
