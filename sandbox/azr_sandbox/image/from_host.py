"""Makes the box's image from this host's own interpreter, without any registry: binary, standard library, libraries.

The same Python as the trainer's, to the patch version. Linux with glibc only.
"""

from __future__ import annotations

import io
import os
import re
import struct
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from .. import jail, walls
from ..errors import Unavailable
from . import LABEL, PACKAGE, REPOSITORY, add_file, add_inside_files, tag

if TYPE_CHECKING:
    from docker import DockerClient


def build(client: DockerClient) -> str:
    """Build the image and import it into the engine. Returns its name.

    Raises:
        Unavailable: this host is not Linux with glibc, or the engine refuses.
    """
    import docker.errors

    if sys.platform != "linux":
        raise Unavailable("only a Linux host's interpreter can run in a container: build with `azr image`")
    with tempfile.NamedTemporaryFile(suffix=".tar") as file:
        with tarfile.open(fileobj=file, mode="w") as archive:
            interpreter = _add_python(archive)
            add_file(archive, "etc/passwd", b"root:x:0:0::/:/sbin/nologin\n")
            add_inside_files(archive, PACKAGE.lstrip("/"))
            for folder in ("proc", "sys", "dev", "run", "run/azr", "tmp"):
                _add_folder(archive, folder)
        file.flush()
        try:
            client.api.import_image_from_file(
                file.name, repository=REPOSITORY, tag=tag().partition(":")[2], changes=[f"LABEL {LABEL}={interpreter}"]
            )
        except docker.errors.APIError as error:
            raise Unavailable(f"the engine refuses the image: {error}") from None
    return tag()


def _add_python(archive: tarfile.TarFile) -> str:
    interpreter = jail.interpreter()
    library = Path(sysconfig.get_path("stdlib"))
    files = {interpreter}
    binaries = [interpreter]
    for folder, folders, names in os.walk(library):
        folders[:] = [name for name in folders if name not in walls.NOT_FOR_PROGRAMS and not name.startswith("config-")]
        for name in names:
            path = os.path.join(folder, name)
            files.add(path)
            if name.endswith(".so"):
                binaries.append(path)
    files |= _libraries(binaries)
    for path in sorted(files):
        # Links are followed: the name that a program asks for must be there.
        entry = archive.gettarinfo(os.path.realpath(path), path.lstrip("/"))
        entry.uid = entry.gid = 0
        entry.uname = entry.gname = ""
        entry.mode = 0o755 if entry.mode & 0o100 else 0o644
        with open(path, "rb") as content:
            aligned = "/libpython" in path
            archive.addfile(entry, io.BytesIO(_align(content.read())) if aligned else content)
    return interpreter


def _align(library: bytes) -> bytes:
    """Ask the loader for an address that huge pages fit: on a container's file system the kernel does not see to it,
    and `pages.enlarge_code` would find room for half of the code. 8% more programs."""
    if library[:6] != b"\x7fELF\x02\x01":
        return library
    (header,) = struct.unpack_from("<Q", library, 32)
    while struct.unpack_from("<I", library, header) != (1,):  # not a segment to load
        header += 56
    return library[: header + 48] + struct.pack("<Q", 1 << 21) + library[header + 56 :]


def _libraries(binaries: list[str]) -> set[str]:
    """The shared libraries that binaries need, the dynamic linker among them, by the loader's own word."""
    try:
        said = subprocess.run(["ldd", *binaries], capture_output=True, text=True, check=False).stdout
    except FileNotFoundError:
        raise Unavailable("`ldd` is missing: only a glibc system's interpreter can be packed") from None
    return set(re.findall(r"(?:=> )?(/\S+) \(0x[0-9a-f]+\)", said))


def _add_folder(archive: tarfile.TarFile, name: str) -> None:
    entry = tarfile.TarInfo(name)
    entry.type, entry.mode = tarfile.DIRTYPE, 0o755
    archive.addfile(entry)
