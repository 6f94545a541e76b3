"""Fuzz of the protocol, on the host's side and on the box's: garbage is refused, never believed, never a hang."""

from __future__ import annotations

import contextlib
import os
import socket

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from azr_sandbox import wire
from azr_sandbox.relay import Relay

from conftest import missing

frames = st.tuples(st.sampled_from([wire.HELLO, wire.DATA, wire.END]), st.binary(max_size=200))
record = st.tuples(st.sampled_from(list(b"LVEMPO")), st.binary(max_size=40))


def packed(kind: int, body: bytes) -> bytes:
    return wire.FRAME.pack(wire.MAGIC, kind, len(body)) + body


@given(st.lists(frames, max_size=8), st.lists(st.integers(1, 50), min_size=1))
def test_frames_are_cut_alike_however_they_arrive(sent: list[tuple[int, bytes]], sizes: list[int]) -> None:
    stream, reader, got = b"".join(packed(*frame) for frame in sent), wire.Frames(), []
    while stream:
        size = sizes[len(stream) % len(sizes)]
        got += list(reader.feed(stream[:size]))
        stream = stream[size:]
    assert got == sent


@given(st.binary(min_size=wire.FRAME.size, max_size=100))
def test_garbage_is_no_frame(data: bytes) -> None:
    try:
        list(wire.Frames().feed(data))
    except wire.Garbled:
        return
    assert data.startswith(wire.FRAME.pack(wire.MAGIC, 1, 0)[:4])


def test_a_frame_can_not_be_huge() -> None:
    with pytest.raises(wire.Garbled):
        list(wire.Frames().feed(wire.FRAME.pack(wire.MAGIC, wire.DATA, 1 << 30)))


@given(st.binary(max_size=300), st.integers(0, 5))
def test_any_report_is_read_or_refused(stream: bytes, executions: int) -> None:
    records = wire.read_records(stream, executions, 30)
    assert records is None or len(records) <= executions + 1


@given(st.lists(record, max_size=8), st.integers(0, 5), st.integers(0, 300))
def test_only_an_honest_report_is_read(sent: list[tuple[int, bytes]], executions: int, cut: int) -> None:
    stream = b"".join(wire.RECORD.pack(len(body), tag) + body for tag, body in sent)[:cut]
    records = wire.read_records(stream, executions, 30)
    if records is None:
        return
    assert records == sent[: len(records)]
    tags = [tag for tag, _ in records]
    assert wire.LOADED not in tags[1:]
    assert len(tags) <= 1 or tags[0] == wire.LOADED


def test_a_report_with_a_tail_is_refused() -> None:
    whole = wire.RECORD.pack(0, wire.LOADED) + wire.RECORD.pack(1, wire.VALUE) + b"1"
    assert wire.read_records(whole, 1, 10) is not None
    for tail in (b"x", wire.RECORD.pack(1, wire.VALUE) + b"2", b"L3:vT"):
        assert wire.read_records(whole + tail, 1, 10) is None


def test_the_zygote_refuses_a_host_that_speaks_garbage(jail_channel: socket.socket) -> None:
    jail_channel.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n" + bytes(100))
    jail_channel.settimeout(10)
    with contextlib.suppress(ConnectionResetError):
        assert jail_channel.recv(100) == b""


cut_short = st.builds(
    lambda numbers, rest: wire.REQUEST.pack(wire.MAGIC, 1000 + numbers[0], *numbers[1:]) + rest,
    st.tuples(*[st.integers(0, 2**32 - 1001)] * 10),
    st.binary(max_size=200),
)


@settings(max_examples=20)
@given(st.binary(min_size=wire.REQUEST.size, max_size=300) | cut_short)
def test_no_garbage_gets_an_answer_from_a_zygote(data: bytes) -> None:
    from azr_sandbox import jail

    if reason := jail.why_not():
        missing("jail", reason)
    box = jail.start(1)
    try:
        channel = box.channels[0]
        channel.sendall(data)
        channel.shutdown(socket.SHUT_WR)
        channel.settimeout(10)
        with contextlib.suppress(ConnectionResetError):
            assert channel.recv(100) == b""
    finally:
        box.close()


@pytest.fixture
def jail_channel():  # type: ignore[no-untyped-def]
    from azr_sandbox import jail

    if reason := jail.why_not():
        missing("jail", reason)
    box = jail.start(1)
    yield box.channels[0]
    box.close()


@given(st.lists(st.tuples(st.integers(0, 2), st.binary(min_size=1, max_size=3000)), max_size=20))
def test_a_relay_pair_carries_every_channel_whole(sent: list[tuple[int, bytes]]) -> None:
    import threading

    left, right = socket.socketpair()
    near = [socket.socketpair() for _ in range(3)]
    far = [socket.socketpair() for _ in range(3)]
    relays = [
        Relay(left.fileno(), left.fileno(), [inner.fileno() for _, inner in near], ping_s=0.01),
        Relay(right.fileno(), right.fileno(), [inner.fileno() for _, inner in far], silence_s=5.0),
    ]
    threads = [threading.Thread(target=relay.run) for relay in relays]
    for thread in threads:
        thread.start()
    for number, body in sent:
        near[number][0].sendall(body)
    for number in range(3):
        expected = b"".join(body for to, body in sent if to == number)
        got = b""
        far[number][0].settimeout(10)
        while len(got) < len(expected):
            got += far[number][0].recv(1 << 16)
        assert got == expected
    for pair in [*near, *far]:
        pair[0].close()
    for thread in threads:
        thread.join(10)
        assert not thread.is_alive()
    for end in [left, right, *(pair[1] for pair in [*near, *far])]:
        end.close()


def test_a_relay_gives_up_on_silence() -> None:
    ours, theirs = socket.socketpair()
    channel, other = socket.socketpair()
    Relay(theirs.fileno(), theirs.fileno(), [channel.fileno()], silence_s=0.1).run()
    for end in (ours, theirs, channel, other):
        end.close()


def test_the_container_profile_allows_all_that_the_inner_filter_allows() -> None:
    import json
    from pathlib import Path

    from azr_sandbox import walls

    profile = json.loads((Path(walls.__file__).parent / "image" / "seccomp.json").read_text())
    allowed = {name for rule in profile["syscalls"] for name in rule["names"]}
    assert profile["defaultAction"] == "SCMP_ACT_ERRNO"
    assert {*walls._ALLOWED, *walls._ALLOWED_IF} <= allowed
    assert not allowed & {
        "mount",
        "ptrace",
        "bpf",
        "unshare",
        "io_uring_setup",
        "keyctl",
        "userfaultfd",
        "open_by_handle_at",
    }
    assert os.path.exists(walls.__file__)
