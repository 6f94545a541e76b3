"""The learner's commands: train, eval, report, base. `azr` mounts them when one is asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import tyro
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from azr_gym.roles import PromptStyle

from .config import Config, Options
from .evaluate import Score, at_temperature, evaluate, evaluate_file, table
from .hf import HFAgent, Template
from .pretrain import Recipe, make_base
from .report import report as make_report
from .train import Stopped, train


def train_command(config: Config, resume: bool = False) -> int:
    """Train a model by self-play.

    Args:
        config: every setting.
        resume: go on from the newest checkpoint in the run's folder, as if it had never stopped.
    """
    console = Console()
    try:
        folder = train(config, resume, console)
    except Stopped as stopped:
        console.print(f"[yellow]{stopped}")
        return 130
    except KeyboardInterrupt:
        console.print("[yellow]stopped at once; where there is a checkpoint, --resume goes on from it")
        return 130
    console.print(f"The trained model is in {folder / 'model'}; look at {folder / 'report.html'}")
    return 0


def eval_command(
    model: tyro.conf.Positional[str],
    env: str = "CodeTriplet-v0",
    env_options: Options = {},  # noqa: B006 (never changed)
    file: Path | None = None,
    splits: tuple[str, ...] = ("test", "ood"),
    tasks: int = 150,
    samples: int = 8,
    temperatures: tuple[float, ...] = (1.0, 0.0),
    prompt_style: PromptStyle = PromptStyle.COMPACT,
    template: Template = Template.PLAIN,
    max_new_tokens: int = 128,
    dtype: str = "float32",
    device: str = "cpu",
    seed: int = 0,
) -> int:
    """Measure a model on held-out tasks, or on a file of triplets.

    Args:
        model: a name of `bases`, a transformers directory, a run's `model` folder, or a name that the hub knows.
        env: id of the environment.
        env_options: for it, as JSON.
        file: JSON Lines of triplets, CRUXEval's shape too, instead of the environment's own tasks.
        splits: of the environment.
        tasks: per mode and split.
        samples: attempts at each; greedy ones once.
        temperatures: of sampling; 0 is greedy.
        prompt_style: "compact" or "full".
        template: how a prompt is put to the model.
        max_new_tokens: of an answer.
        dtype: of the weights.
        device: "cpu" or "cuda".
        seed: of the tasks and of the answers.
    """
    console = Console()
    player = HFAgent.from_pretrained(
        model, dtype=dtype, device=device, max_new_tokens=max_new_tokens, template=template
    )
    options: dict[str, Any] = {"prompt_style": prompt_style, "seed": seed} | env_options
    for temperature in temperatures:
        count = samples if temperature else 1
        with at_temperature(player, temperature), console.status(f"temperature {temperature:g}"):
            if file is not None:
                scores = evaluate_file(player, file, samples=count, **options)
            else:
                scores = _all_splits(player, env, splits, tasks, count, options)
        console.print(f"temperature {temperature:g}" if temperature else "greedy", style="bold")
        console.print(table(scores))
    return 0


def _all_splits(
    player: HFAgent, env: str, splits: tuple[str, ...], tasks: int, samples: int, options: dict[str, Any]
) -> list[Score]:
    return [
        score
        for split in splits
        for score in evaluate(player, env, split=split, tasks_per_mode=tasks, samples=samples, **options)
    ]


def report_command(run: tyro.conf.Positional[Path], out: Path | None = None) -> int:
    """Write a run's report: one HTML page that needs nothing else.

    Args:
        run: the run's folder.
        out: the page; by default report.html in that folder.
    """
    print(make_report(run, out))  # noqa: T201
    return 0


def base_command(
    recipe: Recipe,
    out: Path = Path("base"),
    device: str = "cpu",
    processes: int = 1,
) -> int:
    """Make a small base model from nothing: minutes on a GPU.

    Args:
        recipe: what is wanted.
        out: the transformers directory to write.
        device: "cpu" or "cuda".
        processes: that make examples.
    """
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns) as bar:
        tasks = {what: bar.add_task(what, total=None) for what in ("examples", "steps")}
        make_base(
            recipe, out, device, processes, lambda what, done, of: bar.update(tasks[what], completed=done, total=of)
        )
    print(out)  # noqa: T201
    return 0


COMMANDS = {
    "train": train_command,
    "eval": eval_command,
    "report": report_command,
    "base": base_command,
}
