"""The game that every room plays: deals episodes, judges texts in batches, gives rewards.

Single and batched environments are thin faces of this file: a single one is a batch of one. One call of the room
judges a whole batch; where proposals are tried on a solver, one `solver.reply` and one more call of the room.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Any, Generic, TypeVar

import numpy as np

from . import rewards
from .agent import Agent, Reply, ask, check_agent
from .errors import BadAction, BadArgument, WrongMoment
from .pool import TaskPool
from .rewards import Learnability, Reward
from .roles import Outcome, PromptStyle, Role, Split, choose
from .room import Brief, Room, Verdict
from .spaces import MAX_CHARS
from .spread import Judges
from .task import Task

T = TypeVar("T", bound=Task)
MAX_REFERENCES = 10


@dataclass(frozen=True, slots=True)
class Rollout(Generic[T]):
    """An attempt at a proposed task: training data for the solver. `reply` is the object that the agent gave."""

    prompt: str
    reply: Reply
    verdict: Verdict[T]
    reward: float


@dataclass(slots=True)
class Episode(Generic[T]):
    """One task on its way: what is asked, and how often it was tried."""

    mode: StrEnum
    prompt: str
    info: dict[str, Any]  # of `reset`
    task: T | None = None
    brief: Brief[T] | None = None
    attempt: int = 0
    over: bool = False
    text: str | None = None
    verdict: Verdict[T] | None = None


@dataclass(frozen=True, slots=True)
class Turn:
    """What `step` returns for one episode."""

    observation: str
    reward: float
    terminated: bool
    info: dict[str, Any]
    truncated: bool = False


@dataclass(frozen=True)
class Play:
    """The options that every room shares.

    Attributes:
        role: "solve" or "propose".
        mode: one of the room's modes, or a tuple of them to mix: each episode draws one.
        pool: a `TaskPool` to draw tasks and references from; None: the room's generator makes them.
        split: of the generator's tasks: "train", "test" (kept aside from training), "ood" (other structures).
        reward: a preset of `azr_gym.rewards`: "binary", "azr", "azr_code", "lambda".
        reward_weight: the lambda of preset "lambda".
        learnability: "1-p" or "4p(1-p)".
        solver: an `Agent` on which accepted proposals are tried; None: a valid proposal is worth 1.
        n_rollouts: how often it tries each.
        n_references: most tasks shown to a proposer.
        prompt_style: "full" (natural language) or "compact" (few tokens).
        max_attempts: solve: a wrong answer is told so, and may be mended, until there were so many. Rewarded is the
            last attempt; those before it get 0.
    """

    role: Role = Role.SOLVE
    mode: tuple[StrEnum, ...] = ()
    pool: TaskPool[Any] | None = None
    split: Split = Split.TRAIN
    reward: Reward = Reward.BINARY
    reward_weight: float = 1.0
    learnability: Learnability = Learnability.INVERSE
    solver: Agent | None = None
    n_rollouts: int = 8
    n_references: int = 6
    prompt_style: PromptStyle = PromptStyle.FULL
    max_attempts: int = 1


def _count(value: object, called: str, least: int = 1) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise BadArgument(f"{called} must be an int of at least {least}, not {value!r}")


def play(room: Room[Any], options: Mapping[str, Any]) -> Play:
    """Check the shared options.

    Raises:
        BadArgument: an option that does not exist, is out of range, or can not be combined.
        BadAgent: a solver that is no `Agent`.
    """
    known = [field.name for field in fields(Play)]
    for name in options:
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            hint = f"did you mean {near[0]!r}?" if near else f"beside its own it knows {', '.join(known)}"
            raise BadArgument(f"{room.id} has no option {name!r}: {hint}")
    given = dict(options)
    for name, kind in (
        ("role", Role),
        ("split", Split),
        ("reward", Reward),
        ("learnability", Learnability),
        ("prompt_style", PromptStyle),
    ):
        if name in given:
            given[name] = choose(kind, given[name], name)
    mode = given.get("mode", next(iter(room.modes)))
    modes = (mode,) if isinstance(mode, str) or not isinstance(mode, Sequence) else tuple(mode)
    if not modes or len(set(modes)) < len(modes):
        raise BadArgument(f"mode must be a mode or a tuple of different ones, of {[str(one) for one in room.modes]}")
    given["mode"] = tuple(choose(room.modes, one, "mode") for one in modes)
    made = Play(**given)
    if made.role not in room.roles:
        raise BadArgument(f"{room.id} is played in role {' or '.join(room.roles)}, not {made.role}")
    if made.split not in room.splits:
        raise BadArgument(f"{room.id} has tasks of split {' or '.join(room.splits)}, not {made.split}")
    if made.pool is not None and not isinstance(made.pool, TaskPool):
        raise BadArgument(f"pool must be a TaskPool, not {type(made.pool).__name__}: TaskPool.load() reads a file")
    if made.pool is not None and made.split is not Split.TRAIN:
        raise BadArgument(f"tasks come from the pool or from split {made.split}, not from both: leave one out")
    if made.solver is not None:
        check_agent(made.solver, "solver")
        if made.role is Role.SOLVE:
            raise BadArgument("a solver judges proposals: give it with role='propose'")
    _count(made.n_rollouts, "n_rollouts")
    _count(made.n_references, "n_references", 0)
    if made.n_references > MAX_REFERENCES:
        raise BadArgument(
            f"n_references must be at most {MAX_REFERENCES}: a prompt has {MAX_CHARS:,} characters at most"
        )
    _count(made.max_attempts, "max_attempts")
    if made.max_attempts > 1 and made.role is Role.PROPOSE:
        raise BadArgument("max_attempts is for solvers: a proposal has one attempt")
    weight = made.reward_weight
    if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 <= weight < float("inf"):
        raise BadArgument(f"reward_weight must be a finite number of at least 0, not {weight!r}")
    return made


class Game(Generic[T]):
    """A room, and how it is played."""

    def __init__(self, room: Room[T], options: Mapping[str, Any]) -> None:
        self.room, self.options, self.play = room, dict(options), play(room, options)
        self.judges: Room[T] | Judges[T] = room
        room.admit(self.play.role, self.play.mode)

    def deal(self, rng: np.random.Generator, options: Mapping[str, Any] | None = None) -> Episode[T]:
        """Begin an episode.

        Raises:
            BadTask, BadArgument: what `options` ask for can not be played.
        """
        return self.deal_many(lambda _: rng, [options])[0]

    def deal_many(
        self, rng_of: Callable[[int], np.random.Generator], options: Sequence[Mapping[str, Any] | None]
    ) -> list[Episode[T]]:
        """Begin episodes, each as `deal` would; the room makes all tasks that are to be made in one call.

        Args:
            rng_of: gives the generator of the episode at a place; not asked where nothing is drawn.
            options: of each episode.
        """
        if self.play.role is Role.PROPOSE:
            return [self._deal_proposal(rng_of(place), one or {}) for place, one in enumerate(options)]
        found = [self._given(one) if one else self._drawn(rng_of(place)) for place, one in enumerate(options)]
        wanted = {place: one for place, one in enumerate(found) if isinstance(one, StrEnum)}
        made = iter(self.room.make_many([rng_of(place) for place in wanted], [*wanted.values()], self.play.split))
        tasks = [next(made) if isinstance(one, StrEnum) else one for one in found]
        different = {id(task): task for task in tasks}  # attempts at one task are asked alike
        asked = {at: self._asked(task) for at, task in different.items()}
        return [Episode(task.mode, *asked[id(task)], task) for task in tasks]

    def _given(self, options: Mapping[str, Any]) -> T:
        """The task that an episode is to be about."""
        if unknown := set(options) - {"task"}:
            raise BadArgument(f"a solver's reset knows the option 'task', not {sorted(unknown)}")
        task: T = self.room.check(options["task"])
        if task.mode not in self.play.mode:
            modes = ", ".join(self.play.mode)
            raise BadArgument(f"this environment plays {modes}, and the task is one of {task.mode}")
        return task

    def _drawn(self, rng: np.random.Generator) -> T | StrEnum:
        """A task of the pool, or the mode of one that is to be made."""
        mode, pool = self._mode(rng), self.play.pool
        return pool.sample(rng, 1, mode)[0] if pool is not None else mode

    def _asked(self, task: T) -> tuple[str, dict[str, Any]]:
        """What is read at the start, and `info`: the same for all attempts at a task."""
        info = self._info(task.mode) | {"task_id": task.id, **self.room.public(task)}
        return self.room.prompt(task, self.play.prompt_style), info

    def _deal_proposal(self, rng: np.random.Generator, options: Mapping[str, Any]) -> Episode[T]:
        play, mode = self.play, self._mode(rng)
        if options:
            brief = self.room.brief_from(mode, play.pool, options)
        else:
            brief = self.room.brief(rng, mode, play.pool, play.n_references)
        return Episode(mode, self.room.propose_prompt(brief, play.prompt_style), self._info(mode), brief=brief)

    def _mode(self, rng: np.random.Generator) -> StrEnum:
        modes = self.play.mode
        return modes[0] if len(modes) == 1 else modes[int(rng.integers(len(modes)))]

    def _info(self, mode: StrEnum) -> dict[str, Any]:
        return {"role": self.play.role, "mode": mode, "target": self.room.target}

    def step(self, episodes: Sequence[Episode[T]], texts: Sequence[object], seed: int) -> list[Turn]:
        """Judge one text per episode.

        Args:
            episodes: none of them over; they are changed.
            texts: what the agent wrote.
            seed: handed to the solver, where there is one.

        Raises:
            WrongMoment: an episode is over.
            BadAction: a text that is none.
        """
        read = []
        for index, (episode, text) in enumerate(zip(episodes, texts, strict=True)):
            if episode.over:
                which = f"episode {index}" if len(episodes) > 1 else "this episode"
                raise WrongMoment(f"{which} is over: call reset() before the next step()")
            if not isinstance(text, str):
                raise BadAction(f"an action is text, not {type(text).__name__}: give what the agent wrote as a str")
            read.append(text if len(text) <= MAX_CHARS else "")
        turns = self._solve(episodes, read) if self.play.role is Role.SOLVE else self._propose(episodes, read, seed)
        for turn, text in zip(turns, texts, strict=True):
            if len(text) > MAX_CHARS:  # type: ignore[arg-type]
                turn.info["reason"] = f"the text has more than {MAX_CHARS:,} characters"
        return turns

    def _solve(self, episodes: Sequence[Episode[T]], texts: Sequence[str]) -> list[Turn]:
        play, turns = self.play, []
        verdicts = self.judges.judge([episode.task for episode in episodes], texts)  # type: ignore[misc]
        for episode, text, verdict in zip(episodes, texts, verdicts, strict=True):
            episode.text, episode.verdict = text, verdict
            if verdict.task is not None:  # it stands otherwise now
                episode.task, episode.prompt = verdict.task, self.room.prompt(verdict.task, play.prompt_style)
                episode.info = episode.info | self.room.public(verdict.task)
            episode.attempt += verdict.outcome is not Outcome.OPEN
            cut = verdict.outcome is Outcome.UNANSWERED
            episode.over = verdict.outcome is Outcome.CORRECT or cut or episode.attempt >= play.max_attempts
            info = episode.info | {
                "outcome": verdict.outcome,
                "reason": verdict.reason,
                "correctness": verdict.correctness,
                "attempt": episode.attempt,
            }
            if verdict.outcome is Outcome.OPEN:
                turns.append(Turn(episode.prompt, verdict.extra, False, info))
            elif episode.over:
                worth = rewards.solve_reward(play.reward, verdict.outcome) + verdict.extra
                turns.append(Turn("", worth, not cut, info, cut))
            else:
                again = self.room.retry(episode.prompt, text, verdict, play.prompt_style)
                turns.append(Turn(again[-MAX_CHARS:], 0.0, False, info))
        return turns

    def _propose(self, episodes: Sequence[Episode[T]], texts: Sequence[str], seed: int) -> list[Turn]:
        play, turns = self.play, []
        briefs: list[Brief[T]] = [episode.brief for episode in episodes]  # type: ignore[misc]
        verdicts = [*map(self.room.against_pool, briefs, self.judges.read(briefs, texts))]
        tries = self._try([verdict.task for verdict in verdicts if verdict.task is not None], seed)
        for episode, text, verdict in zip(episodes, texts, verdicts, strict=True):
            episode.attempt, episode.over, episode.text, episode.verdict = 1, True, text, verdict
            info = episode.info | {"outcome": verdict.outcome, "reason": verdict.reason, "attempt": 1}
            info |= {"refusal": verdict.refusal, "task": verdict.task, "metrics": dict(verdict.metrics)}
            rate = None
            if play.solver is not None:
                rollouts = next(tries) if verdict.task is not None else ()
                solved = sum(one.verdict.outcome is Outcome.CORRECT for one in rollouts)
                rate = solved / play.n_rollouts
                info |= {
                    "rollouts": rollouts,
                    "solve_rate": rate,
                    "learnability": rewards.learnability(rate, play.learnability),
                }
            if verdict.task is not None:
                info["task_id"] = verdict.task.id
            worth = rewards.propose_reward(play.reward, verdict.outcome, rate, play.learnability, play.reward_weight)
            turns.append(Turn("", worth, True, info))
        return turns

    def _try(self, tasks: Sequence[T], seed: int) -> Any:
        """Let the solver try every accepted task: an iterator of one tuple of rollouts per task."""
        play = self.play
        if play.solver is None:
            return iter(())
        prompts = [self.room.prompt(task, play.prompt_style) for task in tasks]
        groups = ask(play.solver, prompts, play.n_rollouts, seed)
        replies = [reply for group in groups for reply in group]
        asked = [index for index, group in enumerate(groups) for _ in group]
        texts = [reply.text if len(reply.text) <= MAX_CHARS else "" for reply in replies]
        verdicts = self.judges.judge([tasks[index] for index in asked], texts) if texts else []
        rollouts = [
            Rollout(prompts[index], reply, verdict, rewards.solve_reward(play.reward, verdict.outcome))
            for index, reply, verdict in zip(asked, replies, verdicts, strict=True)
        ]
        n = play.n_rollouts
        return (tuple(rollouts[start : start + n]) for start in range(0, len(rollouts), n))

    def oracle(self, rng: np.random.Generator, episode: Episode[T]) -> str:
        """A text that does what the episode asks for. The generator is left as it was."""
        if episode.over:
            raise WrongMoment("this episode is over: call reset() first")
        if episode.task is not None:
            return self.room.answer(episode.task, self.play.prompt_style)
        assert episode.brief is not None
        far = np.random.Generator(rng.bit_generator.jumped())  # type: ignore[attr-defined]
        return self.room.proposal(far, episode.brief, self.play.prompt_style)
