"""The value types of the box: what is asked (`Program`, `Limits`) and what comes back (`Run`). Runs nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from enum import StrEnum

from .errors import BadLimits, BadProgram

MAX_CALLS = 4096  # of one program
MAX_SOURCE_CHARS = 1 << 20


@dataclass(frozen=True, slots=True)
class Program:
    """A source, and the calls of its entry function that are to be made.

    Attributes:
        source: Python source text. It is run in a fresh process of the box, never on the host.
        calls: one tuple of arguments per call, plain data only. Without calls the source is only loaded.
        entry: the function to call.

    Raises:
        BadProgram: the source is not text or longer than 1 Mi characters, the entry is not a name, a call is not a
            tuple or list of arguments, or there are more than 4,096 calls.
    """

    source: str
    calls: Sequence[Sequence[object]]
    entry: str = "f"

    def __post_init__(self) -> None:
        if type(self.source) is not str:
            raise BadProgram(f"a source must be text, not {type(self.source).__name__}")
        if len(self.source) > MAX_SOURCE_CHARS:
            raise BadProgram(f"a source may have {MAX_SOURCE_CHARS:,} characters, this one has {len(self.source):,}")
        if type(self.entry) is not str or len(self.entry) > 1000 or not self.entry.isidentifier():
            raise BadProgram("the entry must be the name of a function")
        if not isinstance(self.calls, (list, tuple)):
            raise BadProgram(f"calls must be a list of argument tuples, not {type(self.calls).__name__}")
        if len(self.calls) > MAX_CALLS:
            raise BadProgram(f"a program may have {MAX_CALLS:,} calls, this one has {len(self.calls):,}: split it")
        for call in self.calls:
            if not isinstance(call, (list, tuple)):
                kind = type(call).__name__
                raise BadProgram(f"a call is a tuple of arguments, not {kind}: write (x,) for one argument")
        object.__setattr__(self, "calls", tuple(tuple(call) for call in self.calls))


@dataclass(frozen=True, slots=True)
class Limits:
    """What one call may use; a program of n calls may take n times as long. The kernel enforces them, times to about
    20 ms; a program can not raise them.

    Attributes:
        cpu_s: seconds of the child's own CPU clock, so that a busy machine makes nobody late.
        wall_s: seconds on the wall clock, the back-stop for a program that is kept from its core.
        idle_s: seconds on the wall clock without using the CPU: a program that sleeps or has stopped itself.
        memory_mb: MiB of address space beyond what the warm interpreter has (`MemoryError` in the program).
        output_bytes: bytes of the value's text.
        print_bytes: bytes that a child prints to stdout and stderr, all its calls together; they are thrown away.

    Raises:
        BadLimits: a limit is not a finite number above zero, or is above its ceiling.
    """

    cpu_s: float = 1.0
    wall_s: float = 10.0
    idle_s: float = 2.0
    memory_mb: int = 256
    output_bytes: int = 16 * 1024
    print_bytes: int = 1024 * 1024

    def __post_init__(self) -> None:
        for field in fields(self):
            value, (kind, ceiling) = getattr(self, field.name), _CEILINGS[field.name]
            if isinstance(value, bool) or not isinstance(value, (int, float) if kind is float else int):
                wanted, kind_is = "a number" if kind is float else "an int", type(value).__name__
                raise BadLimits(f"{field.name} must be {wanted}, not {kind_is}")
            if not 0 < value <= ceiling:  # false for nan too
                raise BadLimits(f"{field.name} must be above 0 and at most {ceiling:,}")


_CEILINGS: dict[str, tuple[type, int]] = {
    "cpu_s": (float, 3600),
    "wall_s": (float, 36_000),
    "idle_s": (float, 36_000),
    "memory_mb": (int, 64 * 1024),
    "output_bytes": (int, 1024 * 1024),
    "print_bytes": (int, 64 * 1024 * 1024),
}


class CallStatus(StrEnum):
    """How one call ended."""

    OK = "ok"  # a value came out
    ERROR = "error"  # an exception, at load or in the call
    CPU_LIMIT = "cpu_limit"
    WALL_LIMIT = "wall_limit"  # too long on the wall clock, or asleep
    MEMORY_LIMIT = "memory_limit"  # a MemoryError
    OUTPUT_LIMIT = "output_limit"  # plain data, but too long
    NOT_PLAIN_DATA = "not_plain_data"
    KILLED = "killed"  # a signal, an exit without exception, a forbidden system call, a flood, a report that is none


class RunStatus(StrEnum):
    """How a program's run ended."""

    OK = "ok"  # every call is ok
    ERROR = "error"  # some call is not ok
    NONDETERMINISTIC = "nondeterministic"  # two executions of one call differed


@dataclass(frozen=True, slots=True)
class ErrorInfo:
    """The exception that ended a call.

    Attributes:
        type: its class, judged by identity, not by name: "ValueError", or "json.decoder.JSONDecodeError" for one of
            the standard library; None for a class that the program made itself.
        line: the line of the source where it was raised, from 1; None where no line of the program took part.
    """

    type: str | None
    line: int | None


@dataclass(frozen=True, slots=True)
class Cost:
    """What the child used that made a call, all its calls together. Measured outside it; never compared.

    Attributes:
        cpu_s: seconds of CPU, user and system.
        wall_s: seconds on the wall clock.
        memory_mb: MiB of peak resident memory beyond the warm interpreter.
        output_bytes: bytes of the longest value, or error, that it reported.
    """

    cpu_s: float
    wall_s: float
    memory_mb: float
    output_bytes: int


@dataclass(frozen=True, slots=True)
class Call:
    """How one call ended: `value` where the status is ok, `error` where it is error."""

    status: CallStatus
    value: object
    error: ErrorInfo | None
    cost: Cost


@dataclass(frozen=True, slots=True)
class Run:
    """How a program ran: one `Call` for each of its calls, in their order."""

    status: RunStatus
    calls: tuple[Call, ...]
