"""The `azr` command: doctor, image, play, bench. Each command is one function, and imports what it needs when asked.

The learner's commands (train, eval, report, base) are mounted here when `azr_agents` brings them.
"""

from __future__ import annotations

import importlib
import logging
import sys
import time
from collections.abc import Callable
from typing import Any, Literal

import gymnasium as gym
import tyro

from .errors import AzrGymError, BadArgument


def doctor(clean: bool = False) -> int:
    """Show which sandboxes this machine can have, why, and how to fix what is missing.

    Args:
        clean: remove containers whose process is gone.
    """
    from rich.console import Console
    from rich.table import Table

    from azr_sandbox import container, doctor

    console = Console()
    if clean:
        client = container.engine()
        removed = container.clean(client)
        client.close()
        console.print(f"removed {len(removed)} leftover containers {' '.join(removed)}")
    with console.status("looking"):
        checks = doctor.examine()
    table = Table("", "", "seen", "to do", title="azr doctor", title_justify="left")
    for check in checks:
        table.add_row("[green]ok" if check.good else "[red]no", check.name, check.seen, check.fix)
    console.print(table)
    runs = [check for check in checks if check.name.startswith("Runner") and check.good]
    console.print("`auto` takes " + runs[0].name.removeprefix("Runner ") if runs else "[red]no sandbox can work here")
    return 0 if runs else 1


def image(from_host: bool = False) -> int:
    """Build the image of the Docker sandbox and print its name.

    Args:
        from_host: build it from this host's own interpreter, without any registry, instead of from the Dockerfile.
    """
    from rich.console import Console

    from azr_sandbox import container
    from azr_sandbox import image as images
    from azr_sandbox.image import from_host as host_image

    client, started = container.engine(), time.perf_counter()
    with Console(stderr=True).status("building"):
        name = (host_image if from_host else images).build(client)
    size_mb = client.images.get(name).attrs["Size"] / 1e6
    client.close()
    print(f"{name}  {size_mb:.0f} MB  {time.perf_counter() - started:.1f} s")
    return 0


def play(
    env_id: tyro.conf.Positional[str],
    role: Literal["solve", "propose"] = "solve",
    mode: str | None = None,
    level: int | None = None,
    workup: str | None = None,
    episodes: int = 5,
    seed: int | None = None,
) -> int:
    """Play an environment in the terminal.

    Args:
        env_id: such as CodeTriplet-v0.
        role: solve tasks, or propose them.
        mode: what is to be found; by default the environment's first.
        level: how hard, where the environment has levels.
        workup: "sequential" where a patient's results must be ordered first.
        episodes: how many tasks.
        seed: begins the same game again.
    """
    from .base import TaskEnv
    from .play import play as play_on

    options: dict[str, Any] = {
        name: value for name, value in {"mode": mode, "level": level, "workup": workup}.items() if value is not None
    }
    try:
        env = gym.make(env_id, role=role, **options).unwrapped
    except TypeError:
        env = None
    if not isinstance(env, TaskEnv):
        raise BadArgument(f"{env_id} is not an environment of texts: play one of this suite, such as CodeTriplet-v0")
    try:
        play_on(env, episodes, seed)
    finally:
        env.close()
    return 0


def bench(programs: int = 1000) -> int:
    """Measure how fast this machine's sandboxes run programs.

    Args:
        programs: how many are run for each number.
    """
    from rich.console import Console
    from rich.table import Table

    from azr_sandbox import Program, SandboxError, make_runner

    table = Table("runner", "programs/s", "with times=2", "calls/s, 8 a program", title="azr bench")
    batch = [Program(f"def f(x):\n    return x + {number}\n", [(number,)]) for number in range(programs)]
    eights = [Program(program.source, [(call,) for call in range(8)]) for program in batch[: programs // 4]]
    for name in ("docker", "jail"):
        try:
            with make_runner(name) as runner, Console(stderr=True).status(f"measuring {name}"):
                runner.run(batch[:50])
                rates = []
                for work, times, calls in ((batch, 1, 1), (batch, 2, 1), (eights, 1, 8)):
                    started = time.perf_counter()
                    runner.run(work, times=times)
                    rates.append(f"{calls * len(work) / (time.perf_counter() - started):,.0f}")
            table.add_row(name, *rates)
        except SandboxError as error:
            table.add_row(name, f"not here: {error}")
    Console().print(table)
    return 0


LEARNER = {
    "train": "Train a model by self-play.",
    "eval": "Measure a model on held-out tasks, or on a file of triplets.",
    "report": "Write a run's report: one HTML page.",
    "base": "Make a small base model from nothing.",
}


def learner(asked: str | None) -> dict[str, Any]:
    """The learner's commands: themselves where one is asked for, else only their names, for torch takes seconds.

    Raises:
        BadArgument: the learner is not installed.
    """
    if asked in LEARNER:
        try:
            return dict(importlib.import_module("azr_agents.cli").COMMANDS)
        except ImportError as error:
            raise BadArgument(f"{asked} belongs to the learner: pip install 'azr-gym[agents]' ({error})") from None
    return {name: _named(says) for name, says in LEARNER.items()}


def _named(says: str) -> Callable[[], int]:
    def command() -> int:
        return 0

    command.__doc__ = says
    return command


def main() -> None:
    """Run the `azr` command."""
    from azr_sandbox import SandboxError

    logging.basicConfig(format="%(message)s", level=logging.INFO)
    try:
        commands: dict[str, Callable[..., int]] = {"doctor": doctor, "image": image, "play": play, "bench": bench}
        code = tyro.extras.subcommand_cli_from_dict(
            commands | learner(next(iter(sys.argv[1:]), None)),
            prog="azr",
            description="Environments of propose and solve, and the sandbox under them.",
            config=(tyro.conf.OmitArgPrefixes, tyro.conf.EnumChoicesFromValues),
        )
    except (SandboxError, AzrGymError, gym.error.Error) as error:
        raise SystemExit(f"azr: {error}") from None
    raise SystemExit(code)
