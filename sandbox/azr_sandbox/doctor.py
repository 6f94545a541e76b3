"""Says what sandboxes this machine can have, why, and how to fix what is missing. Starts each one to find out."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass

from . import container, image, jail, walls
from .errors import SandboxError, Unavailable
from .program import Limits, Program
from .runner import make_runner


@dataclass(frozen=True, slots=True)
class Check:
    """One finding: what was looked at, whether it is well, what was seen, and what to do about it ("" if well)."""

    name: str
    good: bool
    seen: str
    fix: str = ""


def examine() -> list[Check]:
    """Look at everything a runner needs. Takes a few seconds; leaves nothing behind."""
    return [*_machine(), *_engine(), _try("docker"), _try("jail")]


def _machine() -> list[Check]:
    abi = walls.landlock_abi()
    scope = "signals scoped" if abi >= 6 else "signals refused by seccomp instead"
    return [
        Check("Python", True, f"{sys.version.split()[0]} on {sys.platform} {os.uname().machine}"),
        Check(
            "Landlock",
            abi > 0,
            f"version {abi}, {scope}" if abi else "not in this kernel",
            "" if abi else "boot Linux 5.13 or newer with `landlock` in lsm=, or use Docker",
        ),
        Check(
            "Own uids",
            True,
            "one per slot" if os.geteuid() == 0 and walls.may_change_uid() else "no: programs keep this user's uid",
        ),
    ]


def _engine() -> list[Check]:
    try:
        client = container.engine()
    except Unavailable as error:
        return [Check("Docker engine", False, str(error), "install and start Docker, or set DOCKER_HOST")]
    with_image = any(image.tag() in found.tags for found in client.images.list(name=image.REPOSITORY))
    version = client.version()
    runtimes = ", ".join(sorted(client.info().get("Runtimes", {})))
    checks = [
        Check("Docker engine", True, f"{version['Version']}, runtimes {runtimes}"),
        Check(
            "Image",
            with_image,
            image.tag() + ("" if with_image else " is not there"),
            "" if with_image else "`azr image --from-host` (seconds, no registry) or `azr image`",
        ),
    ]
    left = container.leftovers(client)
    if left:
        checks.append(Check("Leftovers", False, f"{len(left)} containers without an owner", "`azr doctor --clean`"))
    client.close()
    return checks


def _try(name: str) -> Check:
    try:
        with make_runner(name, Limits(), slots=1) as runner:  # type: ignore[arg-type]
            [run] = runner.run([Program("def f(x): return x + 1", [(41,)])], times=2)
            right = run.calls[0].value == 42
            return Check(f"Runner {name}", right, f"runs. {runner.guarantee}", "" if right else "please report this")
    except SandboxError as error:
        fix = jail.why_not() or "see the lines above" if name == "jail" else "see the lines above"
        return Check(f"Runner {name}", False, str(error), fix)
