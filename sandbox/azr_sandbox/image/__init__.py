"""The box's image: which one a runner wants, and two ways to make it.

From the Dockerfile, where an engine can pull; or from this host's own interpreter, without any registry, in about two
seconds. An image is named after the Python it holds and a hash of the files inside, so a stale one is never used.
"""

from __future__ import annotations

import hashlib
import io
import sys
import tarfile
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
    """Add the files that run inside to an archive, under the folder `package`. Nobody but root can read them."""
    for name in worker.INSIDE:
        content = (_HERE.parent / name).read_bytes()
        entry = tarfile.TarInfo(f"{package}/{name}")
        entry.size, entry.mode = len(content), 0o400
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
