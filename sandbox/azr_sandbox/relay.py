"""Carries many channels over one pair of streams, for a box that no socket reaches. The same code at both ends.

Each piece on the stream is a channel's number, a length and bytes. Number 65535 is a ping: the host's end sends one
every few seconds, and the box's end gives up when it hears nothing for longer: a lease, so that no box outlives its
host. Queues are bounded by not reading from whoever fills them.
"""

from __future__ import annotations

import os
import select
import time
from struct import Struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_PIECE = Struct("<HI")
_PING = 0xFFFF
_CHUNK = 1 << 16
_ENOUGH = 1 << 20  # bytes waiting for one reader, before whoever writes to it is no longer read


class Relay:
    """Carry `channels` over a stream until either side of the stream ends.

    Args:
        stream_in: file descriptor to read pieces from.
        stream_out: file descriptor to write pieces to.
        channels: file descriptors of stream sockets, the same number at both ends.
        silence_s: give up after so many seconds without a byte.
        ping_s: send a ping every so many seconds.
        unwrap: turns what was read from the stream into pieces' bytes (Docker's attach puts headers between).
    """

    def __init__(
        self,
        stream_in: int,
        stream_out: int,
        channels: list[int],
        silence_s: float | None = None,
        ping_s: float | None = None,
        unwrap: Callable[[bytes], bytes] = lambda data: data,
    ) -> None:
        self.stream_in, self.stream_out, self.channels = stream_in, stream_out, channels
        self.silence_s, self.ping_s, self.unwrap = silence_s, ping_s, unwrap
        self.number = {fd: number for number, fd in enumerate(channels)}
        self.to_stream = bytearray()
        self.to_channel = {fd: bytearray() for fd in channels}
        self.unread = bytearray()  # from the stream, not whole yet
        for fd in {stream_in, stream_out, *channels}:
            os.set_blocking(fd, False)

    def run(self) -> None:
        """Carry until the stream, or any channel, ends."""
        heard = pinged = time.monotonic()
        while True:
            events = dict(self._poll())
            now = time.monotonic()
            if self.ping_s is not None and now - pinged >= self.ping_s:
                self.to_stream += _PIECE.pack(_PING, 0)
                pinged = now
            try:
                if events.get(self.stream_in, 0) & ~select.POLLOUT:
                    data = os.read(self.stream_in, _CHUNK)
                    if not data:
                        return
                    heard = now
                    self._from_stream(self.unwrap(data))
                for fd in self.channels:
                    if events.get(fd, 0) & ~select.POLLOUT:
                        data = os.read(fd, _CHUNK)
                        if not data:
                            return
                        self.to_stream += _PIECE.pack(self.number[fd], len(data)) + data
                    _pour(self.to_channel[fd], fd)
                _pour(self.to_stream, self.stream_out)
            except OSError:
                return
            if self.silence_s is not None and now - heard > self.silence_s:
                return

    def _poll(self) -> list[tuple[int, int]]:
        poll = select.poll()
        wanted = dict.fromkeys((self.stream_in, self.stream_out, *self.channels), 0)
        if all(len(queue) < _ENOUGH for queue in self.to_channel.values()):
            wanted[self.stream_in] |= select.POLLIN
        if self.to_stream:
            wanted[self.stream_out] |= select.POLLOUT
        for fd, queue in self.to_channel.items():
            if len(self.to_stream) < _ENOUGH:
                wanted[fd] |= select.POLLIN
            if queue:
                wanted[fd] |= select.POLLOUT
        for fd, events in wanted.items():
            poll.register(fd, events)
        return poll.poll(1000)

    def _from_stream(self, data: bytes) -> None:
        self.unread += data
        at = 0
        while len(self.unread) - at >= _PIECE.size:
            number, length = _PIECE.unpack_from(self.unread, at)
            if len(self.unread) - at - _PIECE.size < length:
                break
            at += _PIECE.size
            if number != _PING:
                self.to_channel[self.channels[number]] += self.unread[at : at + length]
            at += length
        del self.unread[:at]


def _pour(queue: bytearray, fd: int) -> None:
    try:
        while queue:
            del queue[: os.write(fd, queue[:_CHUNK])]
    except BlockingIOError:
        pass
