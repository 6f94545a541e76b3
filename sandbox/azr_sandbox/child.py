"""One child, from its fork to its end: reads its request, goes behind the last walls, runs the program, reports, exits.

What a program can reach here, with ctypes, gc or frames, is only its own report. Standard library only.
"""

from __future__ import annotations

import marshal
import os
import resource
import sys

from . import values, walls, wire
from .errors import NotPlainData, TooLong

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn

# A zygote's file descriptors, beside 0 (/dev/null), 1 and 2 (the prints' pipe). All are made before the first program,
# and a program can make none: each new pipe would tell, by its inode's number, how many were made before.
CHANNEL, LIFELINE, PRINTS, REPORT, REPORT_W, READY, READY_W = range(3, 10)


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
            os._exit(1)
        os.closerange(CHANNEL, REPORT_W)
        if flags & wire.SQUEEZED:
            memory = memory // 4 * 3
        # The back-stop behind the zygote's own watch, which kills sooner.
        cpu_limit = (executions + 1) * cpu_ms // 1000 + 60
        resource.setrlimit(resource.RLIMIT_CPU, (cpu_limit, cpu_limit))
        room = cell.address_space + memory
        resource.setrlimit(resource.RLIMIT_AS, (room, room))
        if cell.fenced:  # gVisor knows no such limit
            resource.setrlimit(resource.RLIMIT_NPROC, (1, 1))
        if cell.uid >= 0:
            os.setresuid(cell.uid, cell.uid, cell.uid)
        elif cell.signals >= 0:
            walls.enter_signal_fence(cell.signals)
        else:
            walls.refuse_signals()
        os.write(READY_W, b"R")
        os.closerange(READY, READY_W + 1)
        held = [work]
        del work  # or this frame would keep the whole request in memory
        perform(held.pop(), REPORT_W, flags, output_bytes, cell.names)
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


def receive(fd: int, size: int) -> bytes:
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
