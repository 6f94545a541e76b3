"""What a domain supplies. A room makes tasks, words prompts, judges answers and reads proposals; everything else
(episodes, rewards, batches, the pool) is shared. A third domain is a third room: `examples/your_own_env.py`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

import numpy as np

from .errors import BadArgument, BadTask
from .roles import Outcome, PromptStyle, Role, Split
from .task import Task

if TYPE_CHECKING:
    from .pool import TaskPool
    from .render import Section


T = TypeVar("T", bound=Task)


@dataclass(frozen=True)
class Brief(Generic[T]):
    """What a proposer is asked for.

    Attributes:
        mode: the kind of task wanted.
        references: tasks shown as examples.
        subject: what the proposal must be about, in modes where there is such a thing: the room's own value.
        pool: where a proposal would be a duplicate; judged as it was when the brief was made.
    """

    mode: StrEnum
    references: tuple[T, ...] = ()
    subject: Any = None
    pool: TaskPool[T] | None = None
    born: int = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "born", self.pool.clock if self.pool is not None else 0)

    def knows(self, key: bytes) -> bool:
        """Whether a reference has that key, or the pool held a task of it when the brief was made."""
        if any(task.key == key for task in self.references):
            return True
        return self.pool is not None and self.pool.knew(key, self.born)

    def novelty(self, features: frozenset[str]) -> float:
        """Share of the features that no task of the pool had then, 0 to 1."""
        return self.pool.novelty(features, self.born) if self.pool is not None else 1.0


@dataclass(frozen=True)
class Verdict(Generic[T]):
    """What a room says of a text.

    Attributes:
        outcome: what became of it.
        reason: a sentence for people, and for a second attempt. Never the key.
        refusal: of the room's enum, where it has one and a proposal was not accepted.
        correctness: share of the task that an answer gets right, 0 to 1; rewards look at the outcome alone.
        task: what an accepted proposal became; of an answer, the task as it stands now, where it stands otherwise: its
            prompt is what the solver reads next (`Outcome.OPEN`).
        metrics: numbers about that task.
        extra: added to the preset's reward: what a step costs, or a mistake.
    """

    outcome: Outcome
    reason: str = ""
    refusal: StrEnum | None = None
    correctness: float = 0.0
    task: T | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)
    extra: float = 0.0


class Room(ABC, Generic[T]):
    """A domain. Subclass it, and hand it to `TaskEnv` and `BatchTaskEnv`.

    Everything is a function of its arguments: a room holds settings, and no state of any episode.
    """

    id: ClassVar[str]  # of its environment, such as "CodeTriplet-v0"
    target: ClassVar[str]  # what solvers are asked for
    modes: ClassVar[type[StrEnum]]
    task_type: ClassVar[type[Any]]
    roles: ClassVar[tuple[Role, ...]] = (Role.SOLVE,)
    splits: tuple[Split, ...] = (Split.TRAIN,)
    duplicate: StrEnum | None = None  # the refusal of a proposal that is no new task; None: it has no name
    worst_extra: float = 0.0  # the least that the `extra` of an episode's verdicts comes to
    most_steps: int = 1  # of an attempt at a task

    def admit(self, role: Role, modes: Sequence[StrEnum]) -> None:
        """Look at how the room is to be played, once, when its environment is made.

        Raises:
            BadArgument: its own settings do not allow that; the message lists what they do.
        """

    @abstractmethod
    def make(self, rng: np.random.Generator, mode: StrEnum, split: Split) -> T:
        """A fresh task."""

    def make_many(self, rngs: Sequence[np.random.Generator], modes: Sequence[StrEnum], split: Split) -> list[T]:
        """A fresh task of each generator: those that `make` gives. Override this where a batch is cheaper."""
        return [self.make(rng, mode, split) for rng, mode in zip(rngs, modes, strict=True)]

    @abstractmethod
    def prompt(self, task: T, style: PromptStyle) -> str:
        """What a solver reads. Looks at nothing that belongs to the key."""

    def judge(self, tasks: Sequence[T], texts: Sequence[str]) -> list[Verdict[T]]:
        """Say of each text whether it answers its task. Override this where a batch is cheaper than its parts."""
        return [self.judge_one(task, text) for task, text in zip(tasks, texts, strict=True)]

    def judge_one(self, task: T, text: str) -> Verdict[T]:
        """Say whether a text answers a task. Never raises on a text."""
        raise NotImplementedError

    @abstractmethod
    def answer(self, task: T, style: PromptStyle) -> str:
        """A text that `judge` finds correct."""

    @abstractmethod
    def with_key(self, task: T, other: T) -> T:
        """`task` with the key of `other`: for tests that what a solver sees does not depend on the key."""

    def public(self, task: T) -> dict[str, Any]:
        """What a solver's prompt tells, as data, for `info`."""
        return {}

    def retry(self, prompt: str, text: str, verdict: Verdict[T], style: PromptStyle) -> str:
        """The prompt of a second attempt."""
        return f"{prompt}\n\nYour last answer was {verdict.outcome}: {verdict.reason}\nTry again.\n"

    def brief(self, rng: np.random.Generator, mode: StrEnum, pool: TaskPool[T] | None, references: int) -> Brief[T]:
        """What to ask a proposer for: by default `references` tasks of the pool, or fresh ones where it has none."""
        return Brief(mode, tuple(self.examples(rng, mode, pool, references)), pool=pool)

    def brief_from(self, mode: StrEnum, pool: TaskPool[T] | None, options: Mapping[str, Any]) -> Brief[T]:
        """A brief of somebody's own choice (`reset(options={"references": [...]})`).

        Raises:
            BadTask: a reference that is no task of this room.
            BadArgument: an option that this room does not know.
        """
        unknown = set(options) - {"references"}
        if unknown:
            raise BadArgument(f"{self.id} knows no option {sorted(unknown)} when proposing: give 'references'")
        return Brief(mode, tuple(map(self.check, options["references"])), pool=pool)

    def examples(self, rng: np.random.Generator, mode: StrEnum, pool: TaskPool[T] | None, count: int) -> list[T]:
        """Tasks of one mode: the pool's, or fresh ones where it has none."""
        if pool is not None and pool.size(mode):
            return list({task.key: task for task in pool.sample(rng, count, mode)}.values())
        return [self.make(rng, mode, Split.TRAIN) for _ in range(count)]

    def propose_prompt(self, brief: Brief[T], style: PromptStyle) -> str:
        """What a proposer reads."""
        raise NotImplementedError

    def read(self, briefs: Sequence[Brief[T]], texts: Sequence[str]) -> list[Verdict[T]]:
        """Say of each proposal whether it is a task; not whether it is a new one: `against_pool` asks that afterwards.

        Override this where a batch is cheaper than its parts.
        """
        return [self.read_one(brief, text) for brief, text in zip(briefs, texts, strict=True)]

    def read_one(self, brief: Brief[T], text: str) -> Verdict[T]:
        """Say whether a proposal is a task. Never raises on a text."""
        raise NotImplementedError

    def against_pool(self, brief: Brief[T], verdict: Verdict[T]) -> Verdict[T]:
        """A verdict of `read`, once the pool has been asked: what it holds is refused, what it does not is so new."""
        if verdict.task is None:
            return verdict
        if brief.knows(verdict.task.key):
            return Verdict(Outcome.REFUSED, "a reference is this task, or the pool holds it", self.duplicate)
        return replace(verdict, metrics={**verdict.metrics, "novelty": brief.novelty(verdict.task.features())})

    def share(self) -> Room[T]:
        """The room as one of several processes judges with it."""
        return self

    def proposal(self, rng: np.random.Generator, brief: Brief[T], style: PromptStyle) -> str:
        """A text that `read` accepts: a fresh task of the generator."""
        raise NotImplementedError

    def scene(self, task: T | Brief[T], text: str | None, verdict: Verdict[T] | None, over: bool) -> list[Section]:
        """What a person sees: the question, and, once there is one, the last answer with its verdict. The key may be
        shown when the episode is over."""
        from .render import Section

        asked = self.propose_prompt(task, PromptStyle.FULL) if isinstance(task, Brief) else None
        shown = [Section("prompt", asked or self.prompt(task, PromptStyle.FULL))]  # type: ignore[arg-type]
        if text is not None and verdict is not None:
            shown += [Section("answer", text), Section(verdict.outcome, verdict.reason, good=verdict_is_good(verdict))]
        return shown

    def picture(self, shown: T | Brief[T], text: str | None, verdict: Verdict[T] | None, over: bool) -> Any:
        """The same as a picture, uint8 (height, width, 3). Override this where a person expects to see one."""
        from .render import picture

        return picture(self.scene(shown, text, verdict, over))

    def check(self, task: Any) -> T:
        """The task, if it is one of this room's.

        Raises:
            BadTask: it is not.
        """
        if not isinstance(task, self.task_type):
            raise BadTask(
                f"{self.id} plays {self.task_type.__name__} tasks, not {type(task).__name__}: "
                "give it a task of its own room"
            )
        return task  # type: ignore[no-any-return]

    def close(self) -> None:
        """Let go of what the room holds. A second call does nothing."""


def verdict_is_good(verdict: Verdict[Any]) -> bool:
    """Whether the text did what it was asked for."""
    return verdict.outcome in (Outcome.CORRECT, Outcome.ACCEPTED, Outcome.OPEN)
