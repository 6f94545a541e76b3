"""Several runs side by side, a process each: their progress is shown together, and what they say one by one."""

from __future__ import annotations

import multiprocessing
import sys
from collections.abc import Sequence
from multiprocessing import connection
from typing import Any

from rich.console import Console
from rich.text import Text

from azr_gym.errors import AzrGymError

from . import metrics
from .config import Config
from .train import interrupts, progress, says, train

SAID = "console.txt"  # in a run's folder: what it would have printed
LOOK = 1.0  # seconds between two looks at how far the runs are


def train_beside(configs: Sequence[Config], console: Console) -> bool:
    """Train several runs at once; each one's words are printed when all have ended, in the order given.

    Ctrl-C reaches every run: each ends its iteration, saves, and says how to go on.

    Args:
        configs: of runs in different folders.
        console: where a person sees how it goes.

    Returns:
        Whether all went to their end.
    """
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=_train, args=(config.to_json(), console.width)) for config in configs]
    with interrupts(), progress(console) as bar:
        tasks = [bar.add_task(config.out.name, total=config.iterations, says="measuring") for config in configs]
        for worker in workers:
            worker.start()
        going = workers
        while going:
            connection.wait([worker.sentinel for worker in going], timeout=LOOK)
            going = [worker for worker in workers if worker.is_alive()]
            for task, config in zip(tasks, configs, strict=True):
                if row := metrics.newest(config.out):
                    bar.update(task, completed=row["iteration"], says=says(row))
    for config, worker in zip(configs, workers, strict=True):
        path = config.out / SAID
        console.rule(config.out.name)
        console.print(Text(path.read_text(encoding="utf-8") if path.exists() else ""))
        if worker.exitcode:
            console.print(f"[red]{config.out} did not come to its end (exit status {worker.exitcode}).")
    return not any(worker.exitcode for worker in workers)


def _train(settings: dict[str, Any], width: int) -> None:
    """A run, in a process of its own."""
    config = Config.from_json(settings)
    config.out.mkdir(parents=True, exist_ok=True)
    with (config.out / SAID).open("w", encoding="utf-8") as file:
        console = Console(file=file, width=width)
        try:
            train(config, console=console)
        except AzrGymError as error:
            console.print(Text(str(error)))
            sys.exit(1)
