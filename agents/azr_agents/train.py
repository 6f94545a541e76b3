"""A run from its first line to its last: opens what it needs, iterates, evaluates, writes down, saves, reports."""

from __future__ import annotations

import gc
import json
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from copy import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from azr_gym.errors import AzrGymError, BadArgument
from azr_gym.roles import Role

from . import checkpoint, lora, metrics
from .config import Config, Proposer
from .evaluate import ALL, Score, at_temperature, evaluate, table, together
from .hf import HFAgent
from .measure import measure, samples
from .metrics import LATELY, Log, lately, warnings_of
from .mix import make_arena, make_pool, mode_in
from .report import report
from .selfplay import Policy, SelfPlay, base_strength, fill
from .update import Learner


def train(config: Config, resume: bool = False, console: Console | None = None) -> Path:
    """Train a model by self-play.

    Args:
        config: every setting.
        resume: go on from the newest checkpoint in `config.out`.
        console: where a person sees how it goes; None: nowhere.

    Returns:
        The run's folder: `model/` is the trained model, `report.html` what to look at.

    Raises:
        BadArgument: settings that can not be, a base that is too weak, or a folder that holds another run.
        NotSaved: the disk is full. What was saved before is whole.
        Stopped: somebody pressed Ctrl-C. Everything up to then is saved.
    """
    torch.set_num_threads(config.threads)
    console = console or Console(quiet=True)
    start = _start(config, resume)
    with ExitStack() as stack:
        play = stack.enter_context(_open(config, start, console))
        stack.enter_context(checkpoint.writing("the log", config.out))  # TensorBoard's thread tells when it is closed
        log = stack.enter_context(Log(config.out, config.tensorboard, config.track, play.iteration if start else None))
        before: list[Score] = []
        if start is None:
            before = _examine(play, log, console, "before")
            checkpoint.save(play, config.out)  # so that there is one to go on from, however soon the run is killed
        if _play_on(play, log, console):
            raise Stopped(
                f"stopped at iteration {play.iteration}, and saved. Go on with the same settings and --resume"
            )
        console.print(table(_examine(play, log, console, "after"), before))
        with checkpoint.writing("the trained model", config.out):
            lora.save_whole(play.solver.agent.model, config.out / "model")
            play.solver.agent.tokenizer.save_pretrained(config.out / "model")
    with checkpoint.writing("the report", config.out):
        report(config.out)
    return config.out


class Stopped(AzrGymError):
    """The run was interrupted, and saved."""


def _start(config: Config, resume: bool) -> Path | None:
    """The checkpoint to go on from; None for a new run."""
    found = checkpoint.latest(config.out)
    if resume and found is None:
        raise BadArgument(f"{config.out} holds no checkpoint to go on from: leave --resume out to begin a run")
    if not resume and (found or (config.out / metrics.File.METRICS).exists()):
        raise BadArgument(f"{config.out} holds a run already: give --resume to go on with it, or another --out")
    return found if resume else None


@contextmanager
def _open(config: Config, start: Path | None, console: Console) -> Iterator[SelfPlay]:
    """Models, pool and environments: new ones, or those of a checkpoint."""
    state = checkpoint.read_state(start, config) if start else None
    with checkpoint.writing("the settings", config.out):
        config.out.mkdir(parents=True, exist_ok=True)
        metrics.replace_file(config.out / metrics.CONFIG, (json.dumps(config.to_json(), indent=1) + "\n").encode())
        for file in metrics.File if start is None else ():  # of a run that was killed before its first checkpoint
            (config.out / file).unlink(missing_ok=True)
    with console.status("loading"):
        solver, proposer = policies(config, start)
    pool = make_pool(config) if start is None else checkpoint.load_pool(start, config)
    with make_arena(config, pool) as arena:
        play = SelfPlay(config, solver, proposer, pool, arena)
        if start is not None and state is not None:
            checkpoint.restore(play, start, state)
        else:
            with console.status("filling the pool"):
                fill(config, pool, arena, proposer.agent)
                share = base_strength(config, pool, arena, solver.agent)
            console.print(f"The base solves {share:.0%} of the attempts at {config.tasks} tasks of each mode.")
        yield play


def policies(config: Config, start: Path | None = None) -> tuple[Policy, Policy]:
    """Who solves and who proposes, with fresh optimizers: from the base, or from a checkpoint.

    The base itself is loaded where it is needed, once: as what the KL is to, and as a frozen proposer.
    """
    load = (_adapters if config.lora_rank else _copies)(config, start)
    anchored = any(config.kl_weight.values()) or config.row.reward_kl_weight > 0
    base = load(None) if anchored or config.proposer is Proposer.FROZEN else None
    reference = base.model if base is not None and anchored else None
    solver = _trained(config, load(Role.SOLVE), reference)
    match config.proposer:
        case Proposer.SHARED:
            return solver, solver
        case Proposer.COPY | Proposer.ADAPTER:
            return solver, _trained(config, load(Role.PROPOSE), reference)
        case Proposer.FROZEN:
            assert base is not None
            return solver, Policy(base, None)
        case Proposer.GENERATOR:  # nobody proposes: at most the pool is filled, while the solver still is the base
            return solver, Policy(solver.agent, None)


Load = Callable[[Role | None], HFAgent]  # who plays a role; None: the base


def _copies(config: Config, start: Path | None) -> Load:
    """A model for each."""
    return lambda role: agent(config, start / checkpoint.FOLDERS[role] if start and role else config.model)


def _adapters(config: Config, start: Path | None) -> Load:
    """One model for all, with an adapter for each role."""
    base = agent(config, config.model)
    roles = (Role.SOLVE, Role.PROPOSE) if config.proposer is Proposer.ADAPTER else (Role.SOLVE,)
    lora.add(base.model, roles, config.lora_rank, config.lora_alpha, config.lora_targets, config.seed)

    def load(role: Role | None) -> HFAgent:
        if start and role:
            lora.load(base.model, role, start / checkpoint.FOLDERS[role])
        player = copy(base)
        player.model = lora.Adapted(base.model, role).eval()
        return player

    return load


def agent(config: Config, model: str | Path) -> HFAgent:
    """A model that plays as the settings say."""
    device = ("cuda" if torch.cuda.is_available() else "cpu") if config.device == "auto" else config.device
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise BadArgument(f"device {device!r} can not be used: {str(error).splitlines()[0]}") from None
    return HFAgent.from_pretrained(
        model,
        dtype=config.dtype,
        device=device,
        max_new_tokens=config.max_new_tokens,
        temperature=config.temperature,
        template=config.template,
        max_rows=config.max_rows,
    )


def _trained(config: Config, player: HFAgent, reference: Any) -> Policy:
    if config.gradient_checkpointing:
        base = player.model.base if isinstance(player.model, lora.Adapted) else player.model
        getattr(base, "activation_checkpointing_enable", base.gradient_checkpointing_enable)()
    learner = Learner(
        player.model,
        config.row,
        config.lr,
        reference,
        config.temperature,
        config.max_grad_norm,
        config.update_tokens,
        config.row_tokens,
        config.max_new_tokens,
    )
    return Policy(player, learner)


def _play_on(play: SelfPlay, log: Log, console: Console) -> bool:
    """Iterate to the end, or until somebody presses Ctrl-C; says whether somebody did."""
    config, stopping, rows = play.config, False, list[dict[str, Any]]()
    with interrupts() as stopped, calm(), progress(console) as bar:
        task = bar.add_task("self-play", total=config.iterations, completed=play.iteration, says="")
        while play.iteration < config.iterations and not stopping:
            rows = [*rows, _iterate(play, log)][-LATELY:]
            bar.update(task, completed=play.iteration, says=says(rows[-1]))
            warned = warnings_of(lately(rows)) if play.iteration % LATELY == 0 else []  # of each iteration once
            for warning in warned:
                bar.console.print(f"[yellow]iteration {play.iteration}: {warning}")
            if config.eval_every and play.iteration % config.eval_every == 0 and play.iteration < config.iterations:
                _examine(play, log, bar.console, f"iteration {play.iteration}")
            stopping = bool(stopped)
            if play.iteration % config.checkpoint_every == 0 or stopping or play.iteration >= config.iterations:
                checkpoint.save(play, config.out)
    return stopping


def _iterate(play: SelfPlay, log: Log) -> dict[str, Any]:
    watch = play.arena.watch
    watch.reset()
    played, learned = play.iterate()
    values = measure(played, play.arena.modes) | learned | {"pool": len(play.pool)}
    rows = samples(played, play.config.keep_samples)
    del played
    gc.collect()
    watch.lap("rest")
    values |= {f"time/{name}": watch.seconds.get(name, 0.0) for name in ("rollout", "execute", "update")}
    values["time/iteration"] = sum(watch.seconds.values())
    with checkpoint.writing(f"the metrics of iteration {play.iteration}", play.config.out):
        log.write(play.iteration, values)
        for row in rows:
            log.sample({"iteration": play.iteration, **row})
    return values


@contextmanager
def calm() -> Iterator[None]:
    """No search for garbage amid an iteration, which may make objects by the million: `_iterate` ends with one."""
    before = gc.isenabled()
    gc.collect()
    gc.freeze()  # what is there now stays
    gc.disable()
    try:
        yield
    finally:
        gc.unfreeze()
        if before:
            gc.enable()


def says(row: dict[str, Any]) -> str:
    """The numbers that matter, in the progress bar."""
    shown = []
    for name in ("accuracy", "valid", "unique"):
        held = [value for key, value in row.items() if key.startswith(f"{name}/")]
        if held:
            shown.append(f"{name} {sum(held) / len(held):.0%}")
    return "  ".join(shown)


def _examine(play: SelfPlay, log: Log, console: Console, when: str) -> list[Score]:
    """Held-out scores at temperature 1 and greedy, written down once: a run may have been killed at this."""
    out = play.config.out
    with console.status(f"evaluating, {when}"):
        scores = held_out(play.config, play.solver.agent)
    there = metrics.read(out).evaluations
    with checkpoint.writing(f"the evaluation of iteration {play.iteration}", out):
        for row in (score.row(play.iteration) for score in scores):
            if row not in there:
                log.evaluation(row)
    return scores


def held_out(config: Config, player: HFAgent) -> list[Score]:
    """Scores of every split: sampled at temperature 1, and greedy."""
    scores: list[Score] = []
    for split in config.eval_splits:
        for temperature, count in ((1.0, config.eval_samples), (0.0, 1)):
            with at_temperature(player, temperature):
                found = {env: _scores(own, player, split, count) for env, own in config.by_env().items()}
            scores += _together(found) if len(found) > 1 else found[config.envs[0]]
    return scores


def _scores(config: Config, player: HFAgent, split: str, samples: int) -> list[Score]:
    """Of one environment."""
    assert isinstance(config.env, str)
    return evaluate(
        player,
        config.env,
        split=split,
        modes=config.modes or None,
        tasks_per_mode=config.eval_tasks,
        samples=samples,
        prompt_style=config.prompt_style,
        **config.env_options,
    )


def _together(found: Mapping[str, Sequence[Score]]) -> list[Score]:
    """Of several: each one's, their modes named after it, and one of all tasks."""
    modes = [one for scores in found.values() for one in scores if one.mode != ALL]
    named = [replace(one, mode=mode_in(env, one.mode)) for env, scores in found.items() for one in scores]
    return [*named, together(modes)]


@contextmanager
def interrupts() -> Iterator[list[int]]:
    """Ctrl-C lets the iteration end: the list is filled. A second one stops at once."""
    caught: list[int] = []

    def note(number: int, frame: object) -> None:
        if caught:
            raise KeyboardInterrupt
        caught.append(number)

    try:
        before = signal.signal(signal.SIGINT, note)
    except ValueError:  # not the main thread: nobody can press anything
        yield caught
        return
    try:
        yield caught
    finally:
        signal.signal(signal.SIGINT, before)


def progress(console: Console) -> Progress:
    """A bar for each run: how many iterations are done, and what a row `says`."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[says]}"),
        TimeRemainingColumn(),
        console=console,
    )
