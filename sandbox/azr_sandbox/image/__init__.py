"""The box's image: which one a runner wants, and two ways to make it.

From the Dockerfile, where an engine can pull; or from this host's own interpreter, without any registry, in seconds. An
image is named after the Python it holds and a hash of the files inside, so a stale one is never used.
"""

from __future__ import annotations

import hashlib
import importlib.util
import io
import py_compile
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from .. import worker
from ..errors import Unavailable

if TYPE_CHECKING:
    from docker import DockerClient

REPOSITORY = "azr-sandbox"
PACKAGE = "/azr/azr_sandbox"  # where an image holds the files that run inside
LABEL = "azr-gym.python"  # where it says which interpreter to start
_HERE = Path(__file__).parent


def tag() -> str:
    """The name of the image that belongs to this version of the box and this Python, such as azr-sandbox:py3.11-..."""
    digest = hashlib.sha256()
    for name in (*worker.INSIDE, "image/Dockerfile"):
        digest.update((_HERE.parent / name).read_bytes())
    return f"{REPOSITORY}:py{sys.version_info[0]}.{sys.version_info[1]}-{digest.hexdigest()[:12]}"


def add_inside_files(archive: tarfile.TarFile, package: str) -> None:
    """Add the files that run inside, and their bytecode, to an archive, under the folder `package`. Nobody but root
    can read them."""
    for name in worker.INSIDE:
        source = _HERE.parent / name
        add_file(archive, f"{package}/{name}", source.read_bytes(), 0o400)
        with tempfile.TemporaryDirectory() as folder:
            # A zygote that had to compile its own code would carry 2 MB more into every fork.
            compiled = Path(folder) / "bytecode"
            py_compile.compile(
                str(source), str(compiled), name, invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH
            )
            cached = Path(importlib.util.cache_from_source(name)).as_posix()
            add_file(archive, f"{package}/{cached}", compiled.read_bytes(), 0o400)


def add_file(archive: tarfile.TarFile, name: str, content: bytes, mode: int = 0o644) -> None:
    """Add a file of root's to an archive."""
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = len(content), mode
    archive.addfile(entry, io.BytesIO(content))


def build(client: DockerClient) -> str:
    """Build the image from the Dockerfile, which pulls its base from a registry. Returns its name.

    Raises:
        Unavailable: the engine could not build it; with what it said.
    """
    import docker.errors

    context = io.BytesIO()
    with tarfile.open(fileobj=context, mode="w") as archive:
        archive.add(_HERE / "Dockerfile", "Dockerfile")
        add_inside_files(archive, "azr_sandbox")
    context.seek(0)
    version = f"{sys.version_info[0]}.{sys.version_info[1]}"
    try:
        client.images.build(
            fileobj=context, custom_context=True, tag=tag(), buildargs={"PYTHON_VERSION": version}, rm=True
        )
    except (docker.errors.BuildError, docker.errors.APIError) as error:
        raise Unavailable(
            f"the image could not be built from its Dockerfile ({error}). Where no registry can be reached: "
            "`azr image --from-host`"
        ) from None
    return tag()
