"""What host and box agree on: the frames of a channel, the records of a child, the modules that are warm.

A channel is one stream socket between the host and one zygote. Host to zygote: a request header, then the payload,
which only the forked child reads. Zygote to host: frames of a kind and a length. A child's own report is a stream of
records inside `DATA` frames; it was written next to hostile code, so the host reads it strictly and by the byte.
Nothing here runs or evaluates anything. This file also runs inside the box: it imports little.
"""

from __future__ import annotations

import marshal
from struct import Struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

# --- what is warm -----------------------------------------------------------------------------------------------
# Imported once, before any program is forked: `dataclasses` alone would cost every child about 10 ms. A program
# without the word "import" runs in a zygote without them, where a fork is cheaper still. The screen allows these only.
WARM_MODULES = (
    "abc", "array", "base64", "binascii", "bisect", "calendar", "cmath", "collections", "collections.abc",
    "contextlib", "copy", "dataclasses", "datetime", "decimal", "difflib", "enum", "fractions", "functools",
    "graphlib", "hashlib", "heapq", "itertools", "json", "math", "numbers", "operator", "re", "statistics", "string",
    "struct", "textwrap", "types", "typing", "unicodedata",
)  # fmt: skip

HASH_SEEDS = (0, 2_863_311_530)  # PYTHONHASHSEED of the first and the second execution: fixed, so verdicts repeat


def needs_imports(source: str) -> bool:
    """Whether a program must be forked from the zygote whose modules are warm. A function of the source alone."""
    return "import" in source


# --- requests: host -> child ------------------------------------------------------------------------------------
MAGIC = 0x31525A41  # "AZR1"
# magic, payload bytes, executions, cpu ms, wall ms, idle ms, memory bytes, output bytes, print bytes, flags, ticket
REQUEST = Struct("<IIIIIIQIIIQ")
SQUEEZED = 1  # run inside tighter limits: a result that changes hangs on a limit
EXPRESSION = 2  # the source is one expression, not a module
MAX_PAYLOAD = 1 << 24  # of one child


def pack_arguments(call: Sequence[object]) -> bytes:
    """The arguments of one call as bytes: plain data, lone surrogates and all.

    marshal version 2 keeps no references, so that two arguments never share an object by accident. It is read only
    inside the box, by a process that dies after it.
    """
    return marshal.dumps(tuple(call), 2)  # type: ignore[arg-type]


def payload(source: str, entry: str, arguments: Sequence[bytes], order: Sequence[int]) -> bytes:
    """Pack what a child needs: the source, the entry, each call's packed arguments, the order to make the calls in."""
    return marshal.dumps((source, entry, tuple(arguments), tuple(order)), 2)


# --- replies: zygote -> host ------------------------------------------------------------------------------------
FRAME = Struct("<IBI")  # magic, kind, bytes that follow
HELLO, DATA, END = 1, 2, 3
MAX_FRAME = 1 << 16

# cause, signal, exit code, cpu us, wall us, KiB of peak resident memory beyond an idle child's, the request's ticket:
# a number that the host draws for each request, so that no other bytes can pass for one
VERDICT = Struct("<BBBQQQQ")
EXITED, OUT_OF_CPU, OUT_OF_WALL, FLOODED, STOPPED = 0, 1, 2, 3, 4


class Garbled(Exception):
    """The other side does not speak this protocol."""


class Frames:
    """Cuts a zygote's byte stream into frames. Holds at most one frame that is not whole yet."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> Iterator[tuple[int, bytes]]:
        """Yield (kind, body) for every frame that is whole now.

        Raises:
            Garbled: a wrong magic, an unknown kind, or a frame over 64 KiB.
        """
        rest, at = (self._rest + data if self._rest else data), 0
        while len(rest) - at >= FRAME.size:
            magic, kind, length = FRAME.unpack_from(rest, at)
            if magic != MAGIC or not HELLO <= kind <= END or length > MAX_FRAME:
                raise Garbled("not a frame of the box")
            if len(rest) - at - FRAME.size < length:
                break
            at += FRAME.size
            yield kind, rest[at : at + length]
            at += length
        self._rest = rest[at:]

    @property
    def pending(self) -> bool:
        """Whether there are bytes of a frame that is not whole."""
        return bool(self._rest)


# --- records: child -> host, carried inside DATA frames -----------------------------------------------------------
RECORD = Struct("<IB")  # bytes that follow, tag
LOADED, VALUE, ERROR, NO_MEMORY, NOT_PLAIN, TOO_LONG = b"LVEMPO"
MAX_ERROR_BYTES = 256
MAX_REPORT_BYTES = 1 << 26  # of one child: the host makes no request that could bring more


def read_records(stream: bytes, executions: int, output_bytes: int) -> list[tuple[int, bytes]] | None:
    """Read a child's whole report, or None where it is not one.

    A report is `LOADED` and then at most one record per execution, or the one record of a load that failed. It may
    stop early, between two records or inside one (the child was killed), but it holds nothing else.

    Args:
        stream: every byte that the child wrote.
        executions: how many records may follow `LOADED`.
        output_bytes: longest value, in bytes.
    """
    records: list[tuple[int, bytes]] = []
    at, end, head, most = 0, len(stream), RECORD.size, executions + 1
    longest = {LOADED: 0, NO_MEMORY: 0, ERROR: MAX_ERROR_BYTES}  # what may come next, and how long
    while end - at >= head:
        length, tag = RECORD.unpack_from(stream, at)
        if length > longest.get(tag, -1):
            return None
        at += head
        if end - at < length:
            return records
        records.append((tag, stream[at : at + length]))
        at += length
        if len(records) == 1 and tag == LOADED:
            longest = {VALUE: output_bytes, ERROR: MAX_ERROR_BYTES, NO_MEMORY: 0, NOT_PLAIN: 0, TOO_LONG: 0}
        if len(records) == most or records[0][0] != LOADED:
            longest = {}
    return None if at < end and not longest else records  # a few bytes behind the last record
