"""Saves a run and goes on from there as if it had never stopped. A checkpoint is there as a whole, or not at all.

```
RUN/checkpoints/000050/
    model/                  the solver, as transformers reads it; where adapters are trained, its adapter as peft does
    proposer/               the proposer, where it has weights of its own
    optimizer.safetensors   Adam's moments, and the float32 weights that `model/` holds rounded; the proposer's too
    pool.jsonl              every task, with its statistics; of several environments pool-0.jsonl, pool-1.jsonl
    state.json              the iteration, the settings, running baselines
```
Nothing in it is a pickle. There is no generator's state to be saved: every iteration draws from a seed of its own.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from azr_gym.errors import AzrGymError, BadArgument
from azr_gym.roles import Role

from . import mix
from .config import Config
from .selfplay import Policy, Pool, SelfPlay
from .update import Learner

FORMAT, VERSION = "azr-gym checkpoint", 1
KEPT = 2  # the newest ones
FOLDERS = {Role.SOLVE: "model", Role.PROPOSE: "proposer"}
POOL = "pool.jsonl"
MASTER = "master"  # beside the names that AdamW gives its moments
FREE = (  # settings in which a run may go on differently: they change what is written, not what is learned
    "out", "iterations", "eval_every", "eval_tasks", "eval_samples", "eval_splits", "checkpoint_every", "keep_samples",
    "tensorboard", "track", "max_rows",
)  # fmt: skip


class NotSaved(AzrGymError):
    """Something could not be written. The newest checkpoint is untouched."""


@contextmanager
def writing(what: str, run: Path) -> Iterator[None]:
    """Say what could not be written, and what to do.

    Raises:
        NotSaved: the disk is full, or can not be written to.
    """
    try:
        yield
    except NotSaved:
        raise
    except Exception as error:
        if not isinstance(error, OSError) and "os error" not in str(error):  # Rust's, of safetensors and tokenizers
            raise
        last = latest(run)
        advice = (
            f"{last} is whole: make room, and go on from it with --resume" if last else "make room, and begin again"
        )
        raise NotSaved(f"{what} could not be written: {error}. {advice}") from error


def save(play: SelfPlay, run: Path) -> Path:
    """Write a checkpoint of the run's present state, and let go of old ones.

    Raises:
        NotSaved: the disk is full, or can not be written to.
    """
    folder = run / "checkpoints" / f"{play.iteration:06d}"
    part = folder.with_name(f".{folder.name}.part")
    for left in folder.parent.glob(".*.part"):  # by a run that was killed
        shutil.rmtree(left, ignore_errors=True)
    try:
        with writing(f"the checkpoint of iteration {play.iteration}", run):
            part.mkdir(parents=True)
            _write(play, part)
            shutil.rmtree(folder, ignore_errors=True)
            part.replace(folder)
            _sync(folder.parent)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    for old in checkpoints(run)[:-KEPT]:
        shutil.rmtree(old, ignore_errors=True)
    return folder


def checkpoints(run: Path) -> list[Path]:
    """The run's checkpoints, the oldest first."""
    whole = [one for one in (run / "checkpoints").glob("*") if one.name.isdecimal() and (one / "state.json").is_file()]
    return sorted(whole, key=lambda one: int(one.name))


def latest(run: Path) -> Path | None:
    """The newest checkpoint; None where there is none."""
    return next(iter(checkpoints(run)[::-1]), None)


def _policies(play: SelfPlay) -> dict[str, Policy]:
    """Whose weights are trained, by the folder they are saved in."""
    own = play.proposer is not play.solver and play.proposer.learner is not None
    return {FOLDERS[Role.SOLVE]: play.solver} | ({FOLDERS[Role.PROPOSE]: play.proposer} if own else {})


def _write(play: SelfPlay, folder: Path) -> None:
    moments: dict[str, Tensor] = {}
    baselines: dict[str, Any] = {}
    for name, policy in _policies(play).items():
        policy.agent.model.save_pretrained(folder / name)
        policy.agent.tokenizer.save_pretrained(folder / name)
        assert policy.learner is not None
        moments |= {f"{name}.{key}": value for key, value in flatten(policy.learner).items()}
        baselines[name] = None if policy.baseline is None else policy.baseline.tolist()
    save_file(moments, folder / "optimizer.safetensors")
    play.pool.save(folder / POOL)
    state = {
        "format": FORMAT,
        "version": VERSION,
        "iteration": play.iteration,
        "config": play.config.to_json(),
        "baselines": baselines,
        "torch": torch.__version__,
    }
    (folder / "state.json").write_text(json.dumps(state, indent=1) + "\n")
    for path in (*folder.rglob("*"), folder):
        _sync(path)


def _sync(path: Path) -> None:
    """Have it on the disk before the folder takes its name."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def flatten(learner: Learner) -> dict[str, Tensor]:
    """A learner's state as tensors by name: `12.exp_avg` is the optimizer's for the twelfth weight.

    `12.master` is that weight in float32, where the model has it in half precision.
    """
    found: dict[tuple[int, str], Tensor] = {
        (index, key): value
        for index, state in learner.optimizer.state_dict()["state"].items()
        for key, value in state.items()
    }
    for index, (weight, master) in enumerate(zip(learner.weights, learner.masters, strict=True)):
        found |= {} if master is weight else {(index, MASTER): master}
    return {f"{index}.{key}": value.detach().cpu().contiguous() for (index, key), value in found.items()}


@torch.no_grad()
def unflatten(learner: Learner, saved: Mapping[str, Tensor]) -> None:
    """Put back what `flatten` gave."""
    states: dict[int, dict[str, Tensor]] = {}
    for name, value in saved.items():
        index, _, key = name.partition(".")
        if key == MASTER:
            learner.masters[int(index)].copy_(value)
        else:
            states.setdefault(int(index), {})[key] = value
    learner.optimizer.load_state_dict({"state": states, "param_groups": learner.optimizer.state_dict()["param_groups"]})


def read_state(folder: Path, config: Config) -> dict[str, Any]:
    """A checkpoint's state.json, for a run that goes on with these settings.

    Raises:
        BadArgument: no checkpoint, one of another version, or settings that would train something else.
    """
    try:
        state: dict[str, Any] = json.loads((folder / "state.json").read_text())
        kind, then = (state["format"], state["version"]), dict(state["config"])
        int(state["iteration"]), dict(state["baselines"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BadArgument(
            f"{folder / 'state.json'} is damaged ({error!r}): remove {folder}, and --resume goes on from the one before"
        ) from None
    if kind != (FORMAT, VERSION):
        raise BadArgument(f"{folder} is no checkpoint of this version: it says {kind}, not {(FORMAT, VERSION)}")
    now = config.to_json()
    other = {name for name in now if json.loads(json.dumps(now[name])) != then.get(name) and name not in FREE}
    if other:
        changes = "; ".join(f"{name} was {then.get(name)!r} and is {now[name]!r}" for name in sorted(other))
        raise BadArgument(
            f"the run in {folder.parent.parent} had other settings: {changes}. Give the same, or another --out"
        )
    return state


def restore(play: SelfPlay, folder: Path, state: Mapping[str, Any]) -> None:
    """Put the optimizers and baselines of a checkpoint into a run whose models and pool were loaded from it.

    Raises:
        BadArgument: the checkpoint is damaged.
    """
    try:
        moments = load_file(folder / "optimizer.safetensors")
    except (OSError, SafetensorError) as error:
        raise BadArgument(f"{folder / 'optimizer.safetensors'} is damaged: {error}") from None
    for name, policy in _policies(play).items():
        assert policy.learner is not None
        mine = {key.removeprefix(f"{name}."): value for key, value in moments.items() if key.startswith(f"{name}.")}
        unflatten(policy.learner, mine)
        kept = state["baselines"][name]
        policy.baseline = None if kept is None else torch.tensor(kept, dtype=torch.float64)
        policy.agent.version = state["iteration"]
    play.iteration = state["iteration"]


def load_pool(folder: Path, config: Config) -> Pool:
    """The pool of a checkpoint."""
    return mix.load_pool(config, folder / POOL)
