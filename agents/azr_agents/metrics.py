"""What a run writes down and reads back: the table of metrics, the log, the alarms. Trains and draws nothing.

A run's folder holds config.json, metrics.jsonl (a line for each iteration), evaluations.jsonl, samples.jsonl and
tensorboard/. Lines are ASCII, whatever a model wrote. A number that is not finite is written as null, for JSON has no
word for it, and reads as None; curves step over it.
"""

from __future__ import annotations

import importlib
import json
import math
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from itertools import chain
from numbers import Integral, Real
from pathlib import Path
from typing import Any, Self

from azr_gym.errors import BadArgument
from azr_gym.roles import Role, choose

CONFIG = "config.json"
PROJECT = "azr-gym"  # what runs are filed under by a tracker


class File(StrEnum):
    """The files with a JSON object on each line."""

    METRICS = "metrics.jsonl"
    EVALUATIONS = "evaluations.jsonl"
    SAMPLES = "samples.jsonl"


class Tracker(StrEnum):
    """Where curves can go besides the folder: two packages with one interface."""

    WANDB = "wandb"
    TRACKIO = "trackio"


class Unit(StrEnum):
    """What a metric is counted in."""

    SHARE = "share"  # 0 to 1
    REWARD = "reward"
    TASKS = "tasks"
    SEQUENCES = "sequences"
    TOKENS = "tokens"
    NATS = "nats per token"
    SECONDS = "s"
    NONE = "number"


@dataclass(frozen=True, slots=True)
class Metric:
    """A row of the table.

    Attributes:
        pattern: the name, with {role}, {mode} and {metric} where names differ.
        unit: of its values.
        meaning: in one sentence.
        histogram: a value is a list of counts, not one number.
    """

    pattern: str
    unit: Unit
    meaning: str
    histogram: bool = False

    def match(self, name: str) -> dict[str, str] | None:
        """What stands in the places of the pattern; None where the name is another metric's."""
        found = _expression(self.pattern).fullmatch(name)
        return found.groupdict() if found else None


METRICS = {
    row.pattern: row
    for row in (
        Metric("reward/{role}/{mode}", Unit.REWARD, "Mean reward of a role's rollouts of a mode."),
        Metric("accuracy/{mode}", Unit.SHARE, "Share of the solver's rollouts that were correct."),
        Metric("malformed/{role}/{mode}", Unit.SHARE, "Share of a role's rollouts in which no answer could be read."),
        Metric("valid/{mode}", Unit.SHARE, "Share of the proposals that were accepted as tasks."),
        Metric("unique/{mode}", Unit.SHARE, "Distinct proposals among all proposals of the iteration."),
        Metric(
            "learnable/{mode}",
            Unit.SHARE,
            "Share of the tasks that were solved sometimes but not always: only these teach the solver.",
        ),
        Metric("difficulty/{mode}", Unit.TASKS, "How many tasks had 0, 1, ..., n of n rollouts right.", histogram=True),
        Metric("task/{metric}", Unit.NONE, "Mean of one of the environment's measures of a task, accepted proposals."),
        Metric("length/{role}", Unit.TOKENS, "Mean length of a role's replies."),
        Metric("cut/{role}", Unit.SHARE, "Share of a role's replies that were cut at the length limit."),
        Metric("entropy", Unit.NATS, "How undecided the policy is about its next token; near 0 it explores no more."),
        Metric("loss", Unit.NONE, "The objective that the update lowers; its height says little."),
        Metric("clip_fraction", Unit.SHARE, "Share of the tokens whose gradient the clip stopped: large steps."),
        Metric("kl", Unit.NATS, "How far the proposer has moved from its anchor."),
        Metric("grad_norm", Unit.NONE, "Length of the gradient, before it is clipped."),
        Metric("lr", Unit.NONE, "Learning rate."),
        Metric("sequences", Unit.SEQUENCES, "Replies that the iteration trained on."),
        Metric("skipped", Unit.SHARE, "Share of the groups left out because all their rewards were equal."),
        Metric("pool", Unit.TASKS, "Tasks in the pool."),
        Metric("tokens", Unit.TOKENS, "New tokens that the iteration sampled."),
        Metric("time/rollout", Unit.SECONDS, "Time to sample replies."),
        Metric("time/execute", Unit.SECONDS, "Time in the environments: running and judging what was written."),
        Metric("time/update", Unit.SECONDS, "Time to compute gradients and change the weights."),
        Metric("time/iteration", Unit.SECONDS, "Time of the whole iteration."),
    )
}

TIMES = frozenset(pattern for pattern, row in METRICS.items() if row.unit is Unit.SECONDS)
"""The names of values that are times: equal runs may differ in these and in no other."""

_PLACES = {"role": "|".join(Role), "mode": ".+", "metric": ".+"}


@cache
def _expression(pattern: str) -> re.Pattern[str]:
    parts = re.split(r"\{(\w+)\}", pattern)
    places = [f"(?P<{part}>{_PLACES[part]})" if odd % 2 else re.escape(part) for odd, part in enumerate(parts)]
    return re.compile("".join(places), re.DOTALL)


def describe(name: str) -> Metric:
    """The row of the table that a name belongs to.

    Raises:
        BadArgument: there is none; the message lists the patterns.
    """
    for row in METRICS.values():
        if row.match(name) is not None:
            return row
    raise BadArgument(f"there is no metric {name!r}; names are {list(METRICS)}")


class Log:
    """Writes a run's folder, a line at a time, so that a run that is killed loses at most the line it was writing.

    A folder that holds rows already is written on: at the end, or from `resume_at` on.

    Args:
        folder: the run's; made if it is not there.
        tensorboard: write TensorBoard's files too.
        track: "wandb" or "trackio"; each start is one run there, with the folder's name and its config.json.
        resume_at: the iteration that training goes on from. Rows of later ones, which a crash may have left, are cut.

    Raises:
        BadArgument: a package is missing, a negative `resume_at`, or a damaged file.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        tensorboard: bool = True,
        track: Tracker | str | None = None,
        resume_at: int | None = None,
    ) -> None:
        if resume_at is not None and resume_at < 0:
            raise BadArgument(f"resume_at must be an iteration, 0 or above, not {resume_at}")
        self.folder = Path(folder)
        tracker = None if track is None else _import_tracker(choose(Tracker, track, "track"))
        make_board = _import_tensorboard() if tensorboard else None
        self.folder.mkdir(parents=True, exist_ok=True)
        for file in File:
            _cut(self.folder / file, resume_at)
        self._last = max((row["iteration"] for row in _rows(self.folder / File.METRICS)), default=-1)
        purge = None if resume_at is None else resume_at + 1
        self._board = make_board and make_board(str(self.folder / "tensorboard"), purge_step=purge)
        self._tracker = tracker
        if tracker is not None:
            tracker.init(project=PROJECT, name=self.folder.resolve().name, config=_config(self.folder / CONFIG))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *failure: object) -> None:
        self.close()

    def write(self, iteration: int, values: Mapping[str, float | Sequence[int]]) -> None:
        """Add an iteration's metrics.

        Raises:
            BadArgument: a name that the table lacks, a value of the wrong kind, or an iteration that is there already.
        """
        clean = {name: _clean(name, value) for name, value in values.items()}
        if iteration <= self._last:
            raise BadArgument(
                f"{self.folder / File.METRICS} goes up to iteration {self._last} already, and {iteration} can not "
                "follow: take another folder, or resume_at"
            )
        self._append(File.METRICS, {"iteration": iteration, **clean})
        self._last = iteration
        counts = {name: value for name, value in clean.items() if isinstance(value, list)}
        scalars = {name: value for name, value in clean.items() if isinstance(value, int | float)}
        self._draw(iteration, scalars, counts)

    def evaluation(self, row: Mapping[str, Any]) -> None:
        """Add an evaluation: iteration, split, mode, temperature, samples, tasks, and pass@k with _low and _high.

        Raises:
            BadArgument: a field is missing or of the wrong kind.
        """
        clean = self._append(File.EVALUATIONS, row)
        place = f"held_out/{clean['split']}/{clean['mode']}/"
        greedy = "" if clean["temperature"] else "_greedy"
        scores = {key: value for key, value in clean.items() if key.startswith("pass@") and value is not None}
        self._draw(clean["iteration"], {f"{place}{key}{greedy}": value for key, value in scores.items()}, {})

    def sample(self, row: Mapping[str, Any]) -> None:
        """Add a rollout to read: iteration, role, mode, prompt, text, outcome, reason, reward, solve_rate.

        Raises:
            BadArgument: a field is missing or of the wrong kind.
        """
        self._append(File.SAMPLES, row)

    def close(self) -> None:
        """Write out what TensorBoard and the tracker still hold."""
        if self._board is not None:
            self._board.close()
        if self._tracker is not None:
            self._tracker.finish()
        self._board = self._tracker = None

    def _append(self, file: File, row: Mapping[str, Any]) -> dict[str, Any]:
        clean = {key: _plain(value) for key, value in row.items()}
        fault = _fault(file, clean)
        if fault:
            raise BadArgument(f"no line of {file}: {fault}")
        try:
            line = json.dumps(clean, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise BadArgument(f"no line of {file}: {error}") from None
        with (self.folder / file).open("ab") as out:
            out.write(line.encode("ascii") + b"\n")
        return clean

    def _draw(self, iteration: int, scalars: Mapping[str, float], counts: Mapping[str, list[int]]) -> None:
        if self._board is not None:
            for name, value in scalars.items():
                self._board.add_scalar(_tag(name), value, iteration)
            for name, histogram in counts.items():
                if any(histogram):
                    self._board.add_histogram_raw(_tag(name), **_moments(histogram), global_step=iteration)
            self._board.flush()
        if self._tracker is not None:
            self._tracker.log(dict(scalars), step=iteration)


def _import_tracker(tracker: Tracker) -> Any:
    try:
        return importlib.import_module(tracker)
    except ImportError as error:
        raise BadArgument(f"track={str(tracker)!r}: {error}; pip install azr-gym[track]") from None


def _import_tensorboard() -> Any:
    """Imported when asked for: it takes a second."""
    try:
        return importlib.import_module("torch.utils.tensorboard").SummaryWriter
    except ImportError as error:
        raise BadArgument(f"{error}; pip install azr-gym[agents], or tensorboard=False") from None


def _tag(name: str) -> str:
    """The name as protocol buffers can hold it: a mode may be any text, with lone surrogates too."""
    return name.encode("utf-8", "backslashreplace").decode()


def _moments(counts: Sequence[int]) -> dict[str, Any]:
    """A histogram over 0..n as TensorBoard takes it. Each bucket ends half-way to the next count."""
    held = [place for place, count in enumerate(counts) if count]
    return {
        "min": held[0],
        "max": held[-1],
        "num": sum(counts),
        "sum": sum(place * count for place, count in enumerate(counts)),
        "sum_squares": sum(place**2 * count for place, count in enumerate(counts)),
        "bucket_limits": [place + 0.5 for place in range(len(counts))],
        "bucket_counts": list(counts),
    }


def _plain(value: Any) -> Any:
    """An int or float of whatever is a number, numpy's too; None of what is not finite. Other things stay."""
    if isinstance(value, bool) or not isinstance(value, Real):
        return value
    if isinstance(value, Integral):
        return int(value)
    return float(value) if math.isfinite(value) else None


def _clean(name: str, value: object) -> Any:
    """A metric's value as it is written."""
    if not describe(name).histogram:
        if isinstance(value, bool) or not isinstance(value, Real):
            raise BadArgument(f"{name} is one number, not {value!r}; of a tensor take .item()")
        return _plain(value)
    counts = list(value) if isinstance(value, Iterable) else []
    if not counts or any(isinstance(one, bool) or not isinstance(one, Integral) or one < 0 for one in counts):
        raise BadArgument(f"{name} is a list of counts, not {value!r}")
    return [int(one) for one in counts]


@dataclass(frozen=True, slots=True)
class Run:
    """What a run wrote, each file in its order; what is not there is empty.

    Attributes:
        config: its settings.
        metrics: {"iteration": 1, name: number, list of counts or None}.
        evaluations: {"iteration", "split", "mode", "temperature", "pass@1", ...}.
        samples: {"iteration", "role", "mode", "prompt", "text", "outcome", ...}.
    """

    config: Mapping[str, Any]
    metrics: tuple[Mapping[str, Any], ...]
    evaluations: tuple[Mapping[str, Any], ...]
    samples: tuple[Mapping[str, Any], ...]

    def names(self, pattern: str | None = None) -> list[str]:
        """The metrics that the run has, in the order of their first values; those of one row of the table, or all."""
        seen = dict.fromkeys(chain.from_iterable(self.metrics))
        seen.pop("iteration", None)
        return [name for name in seen if pattern is None or METRICS[pattern].match(name) is not None]

    def series(self, name: str) -> list[tuple[int, Any]]:
        """(iteration, value) wherever the metric has one."""
        return [(row["iteration"], row[name]) for row in self.metrics if row.get(name) is not None]


def read(folder: str | os.PathLike[str]) -> Run:
    """Read a run, also one that is under way, or was killed in the middle of its last lines: these are left out.

    Raises:
        BadArgument: no folder, or damage of another kind; the message says in which file and line.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise BadArgument(f"{folder} is no run: no such folder")
    rows = {file: tuple(_rows(folder / file)) for file in File}
    return Run(_config(folder / CONFIG), rows[File.METRICS], rows[File.EVALUATIONS], rows[File.SAMPLES])


def newest(folder: str | os.PathLike[str]) -> dict[str, Any] | None:
    """The last whole row of a run's metrics, for who only looks on; None before there is one."""
    path = Path(folder) / File.METRICS
    lines = path.read_bytes().rsplit(b"\n", 2) if path.exists() else []
    return json.loads(lines[-2]) if len(lines) > 1 else None


def _config(path: Path) -> dict[str, Any]:
    if not path.exists():
        return {}
    try:
        config = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise BadArgument(f"{path}: {error}") from None
    if not isinstance(config, dict):
        raise BadArgument(f"{path}: settings are one JSON object")
    return config


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    return (row for _, row in _lines(path))


def _lines(path: Path) -> Iterator[tuple[bytes, dict[str, Any]]]:
    """Each line with its row. What follows the last line's end was torn, unless it is whole all the same."""
    *whole, rest = (path.read_bytes() if path.exists() else b"").split(b"\n")
    for number, line in enumerate(whole, 1):
        try:
            yield line, _parse(path, line)
        except (ValueError, RecursionError) as error:
            raise BadArgument(f"{path}, line {number}: {error}") from None
    try:
        last = _parse(path, rest)
    except (ValueError, RecursionError):
        return
    yield rest, last


def _parse(path: Path, line: bytes) -> dict[str, Any]:
    row = json.loads(line.decode("utf-8"), parse_constant=lambda _: None)
    fault = _fault(File(path.name), row)
    if fault:
        raise ValueError(fault)
    return dict(row)


_NUMBER, _TEXT = "a finite number", "a text"
_FIELDS = {
    File.METRICS: {},
    File.EVALUATIONS: {"split": _TEXT, "mode": _TEXT, "temperature": _NUMBER},
    File.SAMPLES: {"role": _TEXT, "mode": _TEXT, "prompt": _TEXT, "text": _TEXT, "outcome": _TEXT},
}


def _fault(file: File, row: object) -> str | None:
    """What keeps a value from being a row of the file; None: nothing."""
    if not isinstance(row, dict):
        return "not a JSON object"
    iteration = row.get("iteration")
    if type(iteration) is not int or not 0 <= iteration < 2**53:
        return f"iteration is {iteration!r}, not a number from 0 on"
    for field, kind in _FIELDS[file].items():
        value = row.get(field)
        if not (_finite(value) if kind == _NUMBER else isinstance(value, str)):
            return f"{field} is {value!r:.80}, not {kind}"
    for name, value in row.items():
        if not _may_be(file, name, value):
            return f"{name} is {value!r:.80}"
    return None


def _may_be(file: File, name: str, value: object) -> bool:
    """Whether a field can be read: metrics and pass@k are numbers or missing, and a metric may be a list of counts."""
    if file is File.METRICS and isinstance(value, list):
        return bool(value) and all(_finite(one) and one >= 0 for one in value)
    if file is File.METRICS or (file is File.EVALUATIONS and name.startswith("pass@")):
        return value is None or _finite(value)
    return True


def _finite(value: object) -> bool:
    try:
        return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)
    except OverflowError:  # an int beyond every float
        return False


def _cut(path: Path, last: int | None) -> None:
    """Drop the rows after iteration `last`, and in any case a torn line, so that the next one begins on its own."""
    if not path.exists():
        return
    kept = b"".join(line + b"\n" for line, row in _lines(path) if last is None or row["iteration"] <= last)
    if kept != path.read_bytes():
        replace_file(path, kept)


def replace_file(path: Path, data: bytes) -> None:
    """Write a file whole or not at all: to one beside it, which then takes its place."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with part.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


@dataclass(frozen=True, slots=True)
class Watch:
    """An alarm: what a metric should not fall below or rise above, and what to do when it does.

    Attributes:
        pattern: of the metric.
        says: the message, with {value} and {mode}.
        least: below it the alarm sounds.
        most: above it the alarm sounds.
        mean: look at the mean over all modes, not at each.
    """

    pattern: str
    says: str
    least: float = -math.inf
    most: float = math.inf
    mean: bool = False


LATELY = 5  # iterations
# 0.15: below it, runs on the small bases had fallen to one-statement programs and took 100 iterations to come back.
WATCHES = (
    Watch(
        "unique/{mode}",
        "The proposer repeats itself: only {value:.0%} of its {mode} proposals are distinct. Raise `proposer_kl`, "
        'lower `proposer_weight`, or give it weights of its own (`proposer="copy"`).',
        least=0.15,
    ),
    Watch(
        "learnable/{mode}",
        "There is nothing left to learn: only {value:.1%} of the tasks were solved sometimes but not always. See "
        "difficulty: where all are too easy or too hard, raise `proposer_kl` or lower `proposer_weight`, so that the "
        "proposer stays nearer to where it began.",
        least=0.05,
        mean=True,
    ),
    Watch(
        "valid/{mode}",
        "Proposals come to nothing: only {value:.1%} of those for {mode} were accepted. Raise `proposer_kl`, "
        'lower `lr`, or give it weights of its own (`proposer="copy"`).',
        least=0.1,
    ),
    Watch(
        "entropy",
        "The policy hardly explores any more: its entropy is {value:.3f} nats per token. Lower `lr`, and go back to a "
        "checkpoint from before it fell.",
        least=0.05,
    ),
    Watch("clip_fraction", "The steps are too large: {value:.1%} of the tokens were clipped. Lower `lr`.", most=0.05),
)


def lately(rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """The means of the last `LATELY` iterations' metrics: of a few proposals one iteration says little.

    Args:
        rows: of `Run.metrics`.

    Returns:
        What all of these have as a number; nothing where there are fewer iterations.
    """
    last = rows[-LATELY:]
    if len(last) < LATELY:
        return {}
    names = [name for name in last[0] if all(isinstance(row.get(name), int | float) for row in last)]
    return {name: sum(row[name] / LATELY for row in last) for name in names}  # the sum could be past all floats


def warnings_of(values: Mapping[str, object]) -> list[str]:
    """What an iteration's metrics warn of, in plain words, each with what to do. What is missing warns of nothing.

    Args:
        values: as given to `Log.write`, or a row of `Run.metrics`.
    """
    found = [message for watch in WATCHES for message in _alarms(watch, values)]
    if any(name in values and not _finite(values[name]) for name in ("loss", "grad_norm")):
        found.append("The loss or its gradient is not a finite number. Go back to a checkpoint, and lower `lr`.")
    return found


def _alarms(watch: Watch, values: Mapping[str, object]) -> list[str]:
    row, seen = METRICS[watch.pattern], list[tuple[str, float]]()
    for name, value in values.items():
        places = row.match(name)
        if places is not None and isinstance(value, Real) and _finite(value):
            seen.append((places.get("mode", ""), float(value)))
    if watch.mean and seen:
        seen = [("", sum(value for _, value in seen) / len(seen))]
    return [watch.says.format(mode=mode, value=value) for mode, value in seen if not watch.least <= value <= watch.most]
