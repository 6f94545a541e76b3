"""The Docker runner: one hardened, persistent container with the warm worker inside.

No network, no IPC, no log, a read-only root, no capability but three that the worker needs to change and kill its
children's uids (a program has none), no new privileges, memory and process limits, our own seccomp profile; inside,
the same walls as in the jail. Its channels are unix sockets in a bind-mounted folder; where that does not work (a
remote engine, gVisor) they are carried over attached stdio, with a lease.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import socket
import struct
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import dispatch, image, worker
from .errors import Unavailable, VersionMismatch
from .program import Limits
from .relay import Relay
from .zygote import FLAG_NO_FENCE

if TYPE_CHECKING:
    from docker import DockerClient
    from docker.models.containers import Container

GUARANTEE = (
    "kernel-enforced isolation in a container that shares this machine's kernel: a vulnerability of the kernel "
    "reachable through about 90 system calls would break it; for hostile code use runtime='runsc' or a virtual machine"
)
OWNER = "azr-gym.owner"  # the label of every container of ours: host name, pid, start time of the process
_START_S = 30.0
_PING_S = 5.0  # the lease's renewal; the relay inside gives up after 30 s


def engine() -> DockerClient:
    """A client of the Docker engine that the environment names.

    Raises:
        Unavailable: no engine answers; with what to do.
    """
    import docker
    import docker.errors

    client = None
    try:
        _knock(_address())
        client = docker.from_env(timeout=60)
        client.ping()
    except (docker.errors.DockerException, OSError) as error:
        if client is not None:
            client.close()
        reason = (isinstance(error, OSError) and error.strerror) or str(error).splitlines()[0][:200]
        raise Unavailable(
            f"no Docker engine answers at {_address()} ({reason}): start one, or let DOCKER_HOST name it"
        ) from None
    return client


def _address() -> str:
    return os.environ.get("DOCKER_HOST") or "unix:///var/run/docker.sock"


def _knock(address: str) -> None:
    """Raise OSError where nobody listens at a unix socket: the SDK would leak a socket to find out."""
    if address.startswith("unix://"):
        with socket.socket(socket.AF_UNIX) as probe:
            probe.connect(address.removeprefix("unix://"))


def starter(limits: Limits, slots: int, runtime: str | None, name: str | None) -> Callable[[], dispatch.Box]:
    """A function that starts a container whenever it is called, with what it takes fixed here."""
    chosen: list[str] = []  # the transport that worked, once one has

    def start() -> dispatch.Box:
        client = engine()
        try:
            wanted = name or ensure_image(client)
        except (Unavailable, OSError) as error:
            client.close()
            raise Unavailable(str(error)) from None
        transports = chosen or _transports(client, runtime)
        for transport in transports:
            try:
                box = _start(client, wanted, limits, slots, runtime, transport)
            except VersionMismatch:
                raise
            except Unavailable:
                if transport == transports[-1]:
                    raise
                continue
            chosen[:] = [transport]
            return box
        raise AssertionError("unreachable")

    return start


def _transports(client: DockerClient, runtime: str | None) -> list[str]:
    """The ways to reach the box, the best first. A bind-mounted socket needs an engine on this machine and a runtime
    that shares its kernel."""
    local = client.api.base_url.startswith("http+docker://") and sys.platform == "linux"
    return ["unix", "stdio"] if local and not runtime_is_gvisor(runtime) else ["stdio"]


def _here() -> str:
    """This Python's minor version."""
    return f"{sys.version_info[0]}.{sys.version_info[1]}"


def runtime_is_gvisor(runtime: str | None) -> bool:
    """Whether a container runtime brings its own kernel, which knows neither Landlock nor our filter."""
    return runtime is not None and "runsc" in runtime


def ensure_image(client: DockerClient) -> str:
    """The image's name; it is built from this host's interpreter where the engine has none yet.

    Raises:
        Unavailable: it is not there and can not be built from this host.
    """
    import docker.errors

    try:
        client.images.get(image.tag())
    except docker.errors.ImageNotFound:
        from .image import from_host

        try:
            return from_host.build(client)
        except Unavailable as error:
            raise Unavailable(f"the image {image.tag()} is missing: run `azr image`. ({error})") from None
    return image.tag()


def _start(
    client: DockerClient, name: str, limits: Limits, slots: int, runtime: str | None, transport: str
) -> dispatch.Box:
    import docker.errors

    token, gvisor = secrets.token_hex(16), runtime_is_gvisor(runtime)
    folder = tempfile.mkdtemp(prefix="azr-") if transport == "unix" else None
    try:
        container = _create(client, name, limits, slots, runtime, transport, token, folder)
    except (docker.errors.DockerException, OSError) as error:
        _remove_folder(folder)
        client.close()
        raise Unavailable(f"the engine can not make the container: {str(error).splitlines()[0][:500]}") from None
    address = _address()
    said: list[bytes] = []
    closing: list[Callable[[], Any]] = []

    def end() -> None:
        for close in closing:
            with contextlib.suppress(OSError):
                close()
        with contextlib.suppress(docker.errors.DockerException, OSError):
            _knock(address)
            container.remove(force=True)
        _remove_folder(folder)
        client.close()

    def explain() -> str:
        return b"".join(said).decode("utf-8", "replace")[-2000:]

    try:
        attached = client.api.attach_socket(
            container.id, params={"stdin": transport == "stdio", "stdout": 1, "stderr": 1, "stream": 1}
        )
        stream = getattr(attached, "_sock", attached)
        closing += [attached.close, stream.close]
        if transport == "unix":
            listener = _listen(folder or "")
            closing.append(listener.close)
            container.start()
            channels = list(_accept(listener, container, dispatch.KINDS * slots, token, stream, said))
            listener.close()
            _remove_folder(folder)  # every channel stands: even a host that is killed leaves no file behind
        else:
            container.start()
            channels = _carry(stream, dispatch.KINDS * slots, said)
        container.reload()
        box = dispatch.Box(channels, end, container.attrs["State"].get("Pid", 0))
        box.greet(token, _START_S, explain)
    except (docker.errors.DockerException, OSError) as error:
        end()
        raise Unavailable(f"the container does not start ({transport}): {error} {explain()}".strip()) from None
    except Unavailable:
        end()
        raise
    if box.python != _here():
        box.close()
        raise VersionMismatch(f"the image {name} holds Python {box.python}, this is {_here()}: build it by `azr image`")
    if "uid" not in box.walls and not gvisor:
        box.close()
        raise Unavailable("the container can not give programs a uid of their own: it must start as root inside")
    return box


def _create(
    client: DockerClient,
    name: str,
    limits: Limits,
    slots: int,
    runtime: str | None,
    transport: str,
    token: str,
    folder: str | None,
) -> Container:
    import docker.types

    gvisor = runtime_is_gvisor(runtime)
    labels = client.images.get(name).labels
    where = "stdio" if transport == "stdio" else "unix:/run/azr/box"
    flags = FLAG_NO_FENCE if gvisor else "-"
    profile = (Path(__file__).parent / "image" / "seccomp.json").read_text()
    # Every program at its limit at once must fit: else the kernel kills a neighbour.
    memory_mb = slots * (limits.memory_mb + 64) + 256
    return client.containers.create(
        name,
        worker.command(labels.get(image.LABEL, "python3"), image.PACKAGE, where, token, flags, slots),
        environment=worker.environment(0),
        network_mode="none",
        ipc_mode="none",
        log_config=docker.types.LogConfig(type="none"),
        read_only=True,
        cap_drop=["ALL"],
        cap_add=["SETUID", "SETGID", "KILL"],
        security_opt=["no-new-privileges"] + ([] if gvisor else [f"seccomp={profile}"]),
        pids_limit=6 * slots + 16 + (512 if gvisor else 0),  # gVisor's own threads are counted
        mem_limit=f"{memory_mb}m",
        memswap_limit=f"{memory_mb}m",
        ulimits=[
            docker.types.Ulimit(name="core", soft=0, hard=0),
            docker.types.Ulimit(name="nofile", soft=256 + 16 * slots, hard=256 + 16 * slots),
        ],
        user="0:0",
        working_dir="/",
        runtime=runtime,
        auto_remove=True,
        stdin_open=transport == "stdio",
        tty=False,
        labels={OWNER: owner()},
        volumes={folder: {"bind": "/run/azr", "mode": "ro"}} if folder else {},
    )


# --- unix sockets -----------------------------------------------------------------------------------------------
def _listen(folder: str) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX)
    path = os.path.join(folder, "box")
    listener.bind(path)
    os.chmod(folder, 0o711)  # noqa: S103  # the container's root may be another user here; nobody can list the random name
    os.chmod(path, 0o666)  # noqa: S103
    listener.listen(4096)
    listener.settimeout(0.1)
    return listener


def _accept(
    listener: socket.socket, container: Container, count: int, token: str, stream: socket.socket, said: list[bytes]
) -> Iterator[socket.socket]:
    channels: dict[int, socket.socket] = {}
    deadline = time.monotonic() + _START_S
    stream.settimeout(0.0)
    while len(channels) < count:
        try:
            channel, _ = listener.accept()
        except TimeoutError:
            gone = False
            with contextlib.suppress(BlockingIOError):
                data = stream.recv(1 << 16)
                said.append(data[8:])
                gone = not data
            if gone or time.monotonic() > deadline:
                raise OSError("no zygote connects") from None
            continue
        channel.settimeout(5.0)
        opening = channel.recv(4 + len(token), socket.MSG_WAITALL)
        number = struct.unpack_from("<I", opening)[0] if len(opening) == 4 + len(token) else count
        if number >= count or not secrets.compare_digest(opening[4:].decode("ascii", "replace"), token):
            channel.close()
            continue
        channels[number] = channel
    yield from (channels[number] for number in range(count))


def _remove_folder(folder: str | None) -> None:
    if folder is not None:
        shutil.rmtree(folder, ignore_errors=True)


# --- attached stdio ---------------------------------------------------------------------------------------------
def _carry(stream: socket.socket, count: int, said: list[bytes]) -> list[socket.socket]:
    """Carry the channels over an attached stream, in a thread of its own."""
    pairs = [socket.socketpair() for _ in range(count)]
    relay = Relay(
        stream.fileno(),
        stream.fileno(),
        [theirs.fileno() for _, theirs in pairs],
        ping_s=_PING_S,
        unwrap=_Demultiplexer(said),
    )

    def carry() -> None:
        try:
            relay.run()
        finally:
            for _, theirs in pairs:
                theirs.close()

    threading.Thread(target=carry, name="azr-relay", daemon=True).start()
    return [ours for ours, _ in pairs]


class _Demultiplexer:
    """Takes Docker's headers out of an attached stream: stdout is ours, stderr is kept to explain a failure."""

    def __init__(self, said: list[bytes]) -> None:
        self.said, self.rest = said, bytearray()

    def __call__(self, data: bytes) -> bytes:
        self.rest += data
        ours, at = bytearray(), 0
        while len(self.rest) - at >= 8:
            kind, length = struct.unpack_from(">BxxxI", self.rest, at)
            if len(self.rest) - at - 8 < length:
                break
            piece = self.rest[at + 8 : at + 8 + length]
            at += 8 + length
            if kind == 1:
                ours += piece
            elif len(self.said) < 100:
                self.said.append(bytes(piece))
        del self.rest[:at]
        return bytes(ours)


# --- leftovers --------------------------------------------------------------------------------------------------
def owner() -> str:
    """Names this process beyond doubt: host, pid, and when it started."""
    return f"{socket.gethostname()}:{os.getpid()}:{_started(os.getpid())}"


def _started(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except OSError:
        return "?"


def leftovers(client: DockerClient) -> list[Container]:
    """The containers of this host whose process is gone."""

    def alive(label: str) -> bool:
        host, pid, started = label.rsplit(":", 2)
        return host != socket.gethostname() or _started(int(pid)) == started

    found = client.containers.list(all=True, filters={"label": OWNER})
    return [container for container in found if not alive(container.labels[OWNER])]


def clean(client: DockerClient) -> list[str]:
    """Remove the leftovers. Returns their short ids."""
    import docker.errors

    removed = []
    for container in leftovers(client):
        with contextlib.suppress(docker.errors.DockerException):
            container.remove(force=True)
        removed.append(container.short_id)
    return removed
