"""Measures an agent on tasks that it was not trained on. Trains nothing, writes nothing.

One question to the agent for everything, and one step of one environment per mode: each task stands in the batch once
per sample. Every number comes with its interval, and two agents are compared on the same tasks.

>>> from azr_agents.evaluate import evaluate
>>> from azr_agents.scripted import Stubborn
>>> [score] = evaluate(Stubborn("<answer>0</answer>"), modes="deduction", tasks_per_mode=20, samples=1)
>>> score.mode, score.tasks, score.pass_at(1)
('deduction', 20, 0.0)
"""

from __future__ import annotations

import hashlib
import logging
import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import gymnasium as gym
import numpy as np
from numpy.typing import ArrayLike, NDArray

from azr_gym.agent import Agent, Reply, ask, check_agent
from azr_gym.batch import BatchTaskEnv
from azr_gym.errors import BadArgument
from azr_gym.roles import Outcome

if TYPE_CHECKING:
    from rich.table import Table

Floats = NDArray[np.float64]
A = TypeVar("A", bound=Agent)
ALL = "all"  # the mode of a score over all modes together
_OURS = ("role", "mode", "autoreset_mode", "num_envs", "max_attempts")  # what an evaluation decides itself
_log = logging.getLogger(__name__)


def pass_at_k(correct: ArrayLike, n: int, k: int) -> Floats:
    """The chance that at least one of `k` samples is right, estimated from `n` of them without bias.

    `1 - C(n - c, k) / C(n, k)` (Chen et al. 2021, arXiv 2107.03374, eq. 1), as the product
    `1 - (1 - k/n) (1 - k/(n - 1)) ... (1 - k/(n - c + 1))`, which no large binomial can overflow.

    Args:
        correct: how many samples of each task are right, integers 0..n, of any shape.
        n: samples per task.
        k: 1..n.

    Returns:
        One number from 0 to 1 per task, in the shape of `correct`.

    Raises:
        BadArgument: `k` is not in 1..n, or a count not in 0..n.
    """
    counts = np.asarray(correct)
    if not 1 <= k <= n or k != int(k):
        raise BadArgument(f"pass@{k} needs a whole k from 1 to the number of samples of each task, which is {n}")
    if counts.size and (counts.dtype.kind not in "iu" or counts.min() < 0 or counts.max() > n):
        raise BadArgument(f"correct must be integers from 0 to {n}, the number of samples")
    factors = np.maximum(0.0, 1.0 - k / np.arange(n, 0, -1))  # below 0 only where the product is 0 already
    none_right = np.concatenate([[1.0], np.cumprod(factors)])  # by how many of the n are right
    return np.asarray(1.0 - none_right[counts.astype(np.intp)], np.float64)


def bootstrap(values: ArrayLike, seed: int = 0, resamples: int = 2000, level: float = 0.95) -> tuple[float, float]:
    """An interval for the mean over tasks, by the percentile bootstrap.

    Efron and Tibshirani 1993, An Introduction to the Bootstrap, chapter 13. A resample's mean hangs only on how often
    it holds each different value, and those counts are multinomial; so they are drawn, and not the tasks.

    Args:
        values: one finite number per task.
        seed: of the resamples. The result is a function of the arguments, and not of the order of the values.
        resamples: how often the tasks are drawn again.
        level: the share of the resamples' means that lie inside, above 0 and below 1.

    Returns:
        Its lower and its upper end. Where all values are equal both are that value: nothing varies in what was seen,
        which for a few tasks says little about others.

    Raises:
        BadArgument: no values, one that is not finite, or an option out of its range.
    """
    sample = np.asarray(values, np.float64).ravel()
    if not sample.size or not np.isfinite(sample).all():
        raise BadArgument("a bootstrap needs at least one value, and finite ones")
    if resamples < 1 or not 0.0 < level < 1.0:
        raise BadArgument(f"resamples must be at least 1 and level between 0 and 1, not {resamples!r} and {level!r}")
    different, counts = np.unique(sample, return_counts=True)
    draws = np.random.default_rng(seed).multinomial(sample.size, counts / sample.size, resamples)
    means = np.clip(draws @ different / sample.size, different[0], different[-1])  # rounding stays inside
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def difference(
    before: ArrayLike, after: ArrayLike, seed: int = 0, resamples: int = 2000, level: float = 0.95
) -> tuple[float, float]:
    """An interval for the mean gain from `before` to `after` on the same tasks: `bootstrap` of the gain of each.

    Paired, because how hard a task is is common to both and falls out: the interval is narrower than from two samples.

    Args:
        before: one number per task.
        after: one number for each of the same tasks, in the same order.
        seed: see `bootstrap`.
        resamples: see `bootstrap`.
        level: see `bootstrap`.

    Raises:
        BadArgument: not as many numbers after as before, or what `bootstrap` refuses.
    """
    old, new = np.asarray(before, np.float64), np.asarray(after, np.float64)
    if old.shape != new.shape:
        raise BadArgument(f"a difference is of the same tasks: there are {old.size} before and {new.size} after")
    return bootstrap(new - old, seed, resamples, level)


@dataclass(frozen=True, slots=True)
class Score:
    """How an agent did on the tasks of one mode, or of all together.

    Attributes:
        split: where the tasks are from: "train", "test", "ood", or the name of a file without its ending.
        mode: of the tasks; "all": every mode's.
        samples: replies per task.
        temperature: that they were sampled at; 0 is greedy; None where the agent has none.
        correct: how many of a task's replies are right, 0..samples, task by task.
        task_ids: which tasks they are, so that only scores on the same ones are compared.

    Raises:
        BadArgument: no tasks, a count out of its range, or not as many ids as counts.
    """

    split: str
    mode: str
    samples: int
    temperature: float | None
    correct: tuple[int, ...]
    task_ids: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.correct or len(self.task_ids) not in (0, len(self.correct)):
            raise BadArgument(f"a score has a count for each task: {len(self.correct)}, ids: {len(self.task_ids)}")
        self.values(1)

    @property
    def tasks(self) -> int:
        """How many tasks there were."""
        return len(self.correct)

    @property
    def greedy(self) -> bool:
        """Whether each reply was the likeliest."""
        return self.temperature == 0

    def values(self, k: int = 1) -> Floats:
        """`pass_at_k` of each task, float64 (tasks,)."""
        return pass_at_k(self.correct, self.samples, k)

    def pass_at(self, k: int = 1) -> float:
        """Mean of `pass_at_k` over the tasks, 0 to 1.

        Raises:
            BadArgument: `k` is not in 1..samples.
        """
        return float(self.values(k).mean())

    def interval(self, k: int = 1) -> tuple[float, float]:
        """The 95 % interval of `pass_at(k)`, over the tasks (`bootstrap`)."""
        return bootstrap(self.values(k))

    def gain(self, before: Score, k: int = 1) -> tuple[float, float, float]:
        """What `pass_at(k)` gained since `before`, -1 to 1, and its paired 95 % interval (`difference`).

        Raises:
            BadArgument: `before` is of other tasks.
        """
        if before.tasks != self.tasks or (before.task_ids and self.task_ids and before.task_ids != self.task_ids):
            raise BadArgument(
                f"the two scores of split {self.split}, mode {self.mode} are of different tasks: evaluate both with "
                "the same seed, tasks_per_mode and options"
            )
        return (self.pass_at(k) - before.pass_at(k), *difference(before.values(k), self.values(k)))

    def row(self, iteration: int) -> dict[str, Any]:
        """The score as a line of a run's evaluations.jsonl.

        Args:
            iteration: of the training, when it was measured.

        Returns:
            iteration, split, mode, tasks, samples, temperature, and "pass@k" with "pass@k_low" and "pass@k_high" for
            k = 1 and k = samples.
        """
        row: dict[str, Any] = {"iteration": iteration, "split": self.split, "mode": self.mode, "tasks": self.tasks}
        row |= {"samples": self.samples, "temperature": self.temperature}
        for k in sorted({1, self.samples}):
            low, high = self.interval(k)
            row |= {f"pass@{k}": self.pass_at(k), f"pass@{k}_low": low, f"pass@{k}_high": high}
        return row


def evaluate(
    agent: Agent,
    env_id: str = "CodeTriplet-v0",
    *,
    split: str = "test",
    modes: str | Sequence[str] | None = None,
    tasks_per_mode: int = 150,
    samples: int = 8,
    seed: int = 0,
    temperature: float | None = None,
    **env_options: Any,
) -> list[Score]:
    """Measure an agent on tasks of an environment's generator.

    Args:
        agent: whoever answers. It is asked once, for all modes.
        env_id: the environment.
        split: of the generator's tasks: "test" (kept aside from training), "ood" (other structures) or "train".
        modes: the environment's modes to play; None plays them all.
        tasks_per_mode: how many tasks of each. Fewer are the first of more.
        samples: replies per task.
        seed: of the tasks and of the replies.
        temperature: what to write into the scores; None takes the agent's own, where it has one.
        **env_options: for the environment, such as `level=2` and `prompt_style="compact"`.

    Returns:
        One score per mode, and where there are several modes, last, one of all tasks with mode "all".

    Raises:
        BadAgent: the agent can not reply, or replies in another shape.
        BadArgument: an option out of its range, or one that the environment does not know.
    """
    check_agent(agent, "agent")
    _check(samples, tasks_per_mode, env_options)
    options = {**env_options, "split": split}
    kinds = [modes] if isinstance(modes, str) else _modes(env_id, options) if modes is None else list(modes)
    _check_modes(kinds)
    tasks: dict[str, list[Any]] = {}
    for mode in kinds:
        with closing(_make(env_id, tasks_per_mode, {**options, "mode": mode})) as envs:
            envs.reset(seed=task_seeds(mode, tasks_per_mode, seed))
            tasks[mode] = [episode.task for episode in envs.episodes]
    return _examine(agent, env_id, split, tasks, options, samples, seed, temperature)


def evaluate_file(
    agent: Agent,
    path: str | os.PathLike[str],
    *,
    modes: str | Sequence[str] = ("deduction", "abduction"),
    samples: int = 8,
    seed: int = 0,
    temperature: float | None = None,
    runner: Any = "auto",
    **env_options: Any,
) -> list[Score]:
    """Measure an agent on triplets from a file, such as CRUXEval's.

    Args:
        agent: whoever answers. It is asked once, for all modes.
        path: JSON Lines as `azr_gym.code.load_tasks` reads them. Rows that are no tasks are logged and left out.
        modes: which part of a triplet is asked for.
        samples: replies per task.
        seed: of the replies.
        temperature: what to write into the scores; None takes the agent's own, where it has one.
        runner: the box, as `CodeTriplet-v0` takes it.
        **env_options: for the environment, such as `prompt_style="compact"`.

    Returns:
        As `evaluate`; the split is the file's name without its ending.

    Raises:
        BadAgent: the agent can not reply, or replies in another shape.
        BadPoolFile: a line that is no row.
        BadArgument: no row became a task, or an option out of its range.
    """
    from azr_gym.code.load import load_tasks

    check_agent(agent, "agent")
    _check(samples, 1, env_options)
    kinds = [modes] if isinstance(modes, str) else list(modes)
    _check_modes(kinds)
    tasks, skipped = load_tasks(path, runner, kinds)
    first = f", row {skipped[0].row}: {skipped[0].reason}" if skipped else ""
    if not tasks:
        raise BadArgument(f"{path} holds no task of mode {', '.join(kinds)}{first}")
    if skipped:
        _log.warning("%s: rows left out because they are no tasks: %d%s", path, len(skipped), first)
    by_mode = {mode: [task for task in tasks if task.mode == mode] for mode in kinds}
    options = {**env_options, "runner": runner}
    return _examine(agent, "CodeTriplet-v0", Path(path).stem, by_mode, options, samples, seed, temperature)


def task_seeds(mode: str, count: int, seed: int = 0) -> list[int]:
    """The seeds with which `evaluate` resets: task `i` of a mode is what `reset(seed=task_seeds(...)[i])` shows.

    Hashes, because neighbouring numbers would be shared: by the next seed's evaluation, by other modes (the same
    program twice is not two independent tasks), and by a training run that begins at 0.

    Returns:
        `count` integers from 0 to 2**63 - 1.
    """
    texts = (f"evaluate\0{mode}\0{seed}\0{index}" for index in range(count))
    return [int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest()) >> 1 for text in texts]


@contextmanager
def at_temperature(agent: A, temperature: float) -> Iterator[A]:
    """Let an agent sample at another temperature for a while.

    Greedy: `with at_temperature(agent, 0): evaluate(agent, samples=1)`.

    Args:
        agent: one with an attribute `temperature`, such as `HFAgent`.
        temperature: at least 0; 0 takes the likeliest token.

    Raises:
        BadArgument: the agent has no temperature, or none can be so.
    """
    if not hasattr(agent, "temperature"):
        raise BadArgument(f"{type(agent).__name__} has no temperature to set")
    if not 0.0 <= temperature < math.inf:
        raise BadArgument(f"temperature must be a finite number of at least 0, not {temperature!r}")
    before = agent.temperature
    agent.temperature = temperature
    try:
        yield agent
    finally:
        agent.temperature = before


def table(scores: Iterable[Score], baseline: Iterable[Score] | None = None) -> Table:
    """What a person reads after an evaluation, in percent with 95 % intervals.

    Args:
        scores: sampled ones each make a row; a greedy one stands in the row of its split and mode, or makes one.
        baseline: of an agent before, on the same tasks; the last column is the gain in pass@1 since, paired.

    Raises:
        BadArgument: a score and its baseline are of different tasks.
    """
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    shown, old = list(scores), list(baseline or ())
    depths = sorted({score.samples for score in shown if score.samples > 1 and not score.greedy})
    # No frame: with one, a row would not fit a terminal of 80 columns.
    made = Table("split", box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    made.add_column("mode", no_wrap=True)
    made.caption = "in percent, with 95 % intervals" + ("; gain: of pass@1, since the start" if old else "")
    for name in ("tasks", "pass@1", "greedy", *(f"pass@{k}" for k in depths), *(["gain"] if old else [])):
        made.add_column(name, justify="right")
    for score in (score for score in shown if not score.greedy or _partner(score, shown, greedy=False) is None):
        sampled, greedy = (None, score) if score.greedy else (score, _partner(score, shown, greedy=True))
        cells = [str(score.tasks), _percent(sampled, 1, True), _percent(greedy, 1, sampled is None)]
        cells += [_percent(sampled, k) for k in depths]
        cells += [_gain(score, _partner(score, old, greedy=score.greedy))] if old else []
        mode = score.mode.replace("/", "/\n")  # of a run over several environments
        made.add_row(escape(score.split), escape(mode), *cells)
    return made


def _partner(score: Score, among: Sequence[Score], greedy: bool) -> Score | None:
    fits = (one for one in among if (one.split, one.mode, one.greedy) == (score.split, score.mode, greedy))
    return next(fits, None)


def _percent(score: Score | None, k: int, interval: bool = False) -> str:
    if score is None or k > score.samples:
        return ""
    low, high = score.interval(k) if interval else (0.0, 0.0)
    return f"{100 * score.pass_at(k):.1f}" + (f" ({100 * low:.1f}, {100 * high:.1f})" if interval else "")


def _gain(score: Score, before: Score | None) -> str:
    """Green where the whole interval is a gain, red where it is a loss."""
    if before is None:
        return ""
    gain, low, high = (100 * number for number in score.gain(before))
    colour = "[green]" if low > 0 else "[red]" if high < 0 else ""
    return f"{colour}{gain:+.1f} ({low:.1f}, {high:.1f})"


def _check(samples: object, tasks: object, options: Mapping[str, Any]) -> None:
    for called, value in (("samples", samples), ("tasks_per_mode", tasks)):
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise BadArgument(f"{called} must be an int of at least 1, not {value!r}")
    if taken := [name for name in _OURS if name in options]:
        raise BadArgument(f"an evaluation sets {', '.join(taken)} itself: one attempt at each task, in the modes given")


def _check_modes(modes: Sequence[str]) -> None:
    if not modes or len(set(modes)) < len(modes):
        raise BadArgument(f"modes must be one mode, or different ones, not {modes!r}")


def _make(env_id: str, count: int, options: Mapping[str, Any]) -> BatchTaskEnv:
    try:
        made = gym.make_vec(env_id, num_envs=count, autoreset_mode="Disabled", role="solve", **options).unwrapped
    except TypeError as error:
        raise BadArgument(f"{env_id} can not be played as a batch of texts to solve: {error}") from error
    if not isinstance(made, BatchTaskEnv):
        made.close()
        raise BadArgument(f"{env_id} is not an environment of texts: take one of this suite, such as CodeTriplet-v0")
    check_one_step(made, env_id)
    return made


def check_one_step(envs: BatchTaskEnv, env_id: str) -> None:
    """Close environments whose episodes go on after a reply: here a reply is all there is.

    Raises:
        BadArgument: they are such.
    """
    if envs.game.room.most_steps > 1:
        envs.close()
        raise BadArgument(
            f"{env_id} takes up to {envs.game.room.most_steps} steps with these options, and here an episode is one "
            "reply: leave out the option (workup), or play it with gym.make"
        )


def _modes(env_id: str, options: Mapping[str, Any]) -> list[str]:
    with closing(_make(env_id, 1, options)) as envs:
        return [str(mode) for mode in envs.game.room.modes]


@dataclass(frozen=True, slots=True)
class _Sheet:
    """The tasks of one mode, and the environment that plays each of them `samples` times side by side."""

    mode: str
    samples: int
    envs: BatchTaskEnv
    prompts: tuple[str, ...]  # one per task
    task_ids: tuple[str, ...]

    def mark(self, groups: Iterable[Sequence[Reply]]) -> tuple[int, ...]:
        """How many replies are right, task by task."""
        outcomes = self.envs.step([reply.text for group in groups for reply in group])[4]["outcome"]
        right = np.array([outcome == Outcome.CORRECT for outcome in outcomes])
        return tuple(right.reshape(-1, self.samples).sum(1).tolist())


def _hand_out(envs: BatchTaskEnv, mode: str, samples: int, tasks: Sequence[Any]) -> _Sheet:
    prompts, infos = envs.reset(seed=0, options={"tasks": [task for task in tasks for _ in range(samples)]})
    return _Sheet(mode, samples, envs, prompts[::samples], tuple(infos["task_id"][::samples].tolist()))


def _examine(
    agent: Agent,
    env_id: str,
    split: str,
    tasks: Mapping[str, Sequence[Any]],  # by mode
    options: Mapping[str, Any],
    samples: int,
    seed: int,
    temperature: float | None,
) -> list[Score]:
    heat = getattr(agent, "temperature", None) if temperature is None else temperature
    scores: list[Score] = []
    with ExitStack() as stack:
        sheets: list[_Sheet] = []
        for mode, held in tasks.items():
            envs = stack.enter_context(closing(_make(env_id, samples * len(held), {**options, "mode": mode})))
            sheets.append(_hand_out(envs, mode, samples, held))
        replies = iter(ask(agent, [prompt for sheet in sheets for prompt in sheet.prompts], samples, seed))
        for sheet in sheets:
            correct = sheet.mark(islice(replies, len(sheet.prompts)))
            scores.append(Score(split, sheet.mode, samples, heat, correct, sheet.task_ids))
    return scores + ([together(scores)] if len(scores) > 1 else [])


def together(scores: Sequence[Score]) -> Score:
    """All tasks as one score."""
    first = scores[0]
    correct = tuple(count for score in scores for count in score.correct)
    ids = tuple(one for score in scores for one in score.task_ids)
    return Score(first.split, ALL, first.samples, first.temperature, correct, ids)
