"""Agents without weights: for tests, for baselines, and to see what a score means. Nothing is learned here.

Each reply is a function of its own prompt, its place among the replies and the seed, as `azr_gym.Agent` asks.

>>> from azr_agents.scripted import Noisy, Random, Stubborn
>>> agent = Noisy(Stubborn("<answer>1</answer>"), Random(["<answer>2</answer>", "<answer>3</answer>"]), rate=0.5)
>>> [reply.text for reply in agent.reply(["f(1) == ?"], n=3, seed=3)[0]]
['<answer>3</answer>', '<answer>2</answer>', '<answer>2</answer>']
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, Self

from azr_gym.agent import Agent, Reply, ask, check_agent
from azr_gym.base import TaskEnv
from azr_gym.batch import BatchTaskEnv
from azr_gym.errors import BadArgument


def chance(prompt: str, place: int, seed: int, called: str = "") -> float:
    """A number in [0, 1) that hangs on its arguments alone, the same on every machine.

    Args:
        prompt: what was asked.
        place: of the reply among those to its prompt, from 0.
        seed: of the whole question.
        called: what it is for: two uses of other names are independent.
    """
    words = f"{called}\0{place}\0{seed}\0{prompt}".encode("utf-8", "surrogatepass")
    digest = hashlib.blake2b(words, digest_size=8).digest()
    return (int.from_bytes(digest) >> 11) / 2**53  # 53 bits: all that a float below 1 can hold


class Scripted(ABC):
    """An agent whose replies are given by `say`. Subclass it for a script of your own."""

    @abstractmethod
    def say(self, prompt: str, place: int, seed: int) -> str:
        """The text of one reply."""

    def reply(self, prompts: Sequence[str], n: int, seed: int) -> list[list[Reply]]:
        """Answer each prompt `n` times."""
        return [[Reply(self.say(prompt, place, seed)) for place in range(n)] for prompt in prompts]

    def __deepcopy__(self, memo: object) -> Self:
        """The agent itself: `env.spec` copies its arguments, and a script never changes."""
        return self


class Stubborn(Scripted):
    """Always says the same.

    Args:
        text: what it says.
    """

    def __init__(self, text: str) -> None:
        self.text = text

    def say(self, prompt: str, place: int, seed: int) -> str:
        """The text."""
        return self.text


class Random(Scripted):
    """Draws each reply from some texts, all equally likely.

    Args:
        texts: what it may say; a text that stands there twice is twice as likely.

    Raises:
        BadArgument: there is nothing to say.
    """

    def __init__(self, texts: Sequence[str]) -> None:
        if isinstance(texts, str) or not texts:
            raise BadArgument("texts must be a list with at least one text in it")
        self.texts = tuple(texts)

    def say(self, prompt: str, place: int, seed: int) -> str:
        """One of the texts."""
        return self.texts[int(chance(prompt, place, seed, "random") * len(self.texts))]


class Oracle(Scripted):
    """Knows the answers to some prompts.

    Args:
        answers: what it says, by prompt.
        fallback: what it says to any other prompt.
    """

    def __init__(self, answers: Mapping[str, str], fallback: str = "") -> None:
        self.answers, self.fallback = dict(answers), fallback

    @classmethod
    def of(cls, *envs: Any, fallback: str = "") -> Self:
        """The agent that scores in the episodes which environments are playing just now.

        Args:
            *envs: environments of this suite, single or batched, after their reset; wrapped or not.
            fallback: what it says to any other prompt.

        Raises:
            BadArgument: an environment that has no oracle.
            WrongMoment: one that was never reset, or whose episode is over.
        """
        answers: dict[str, str] = {}
        for env in envs:
            answers |= _answers(getattr(env, "unwrapped", env))
        return cls(answers, fallback)

    def say(self, prompt: str, place: int, seed: int) -> str:
        """The answer, where it is known."""
        return self.answers.get(prompt, self.fallback)


def _answers(env: object) -> dict[str, str]:
    if isinstance(env, TaskEnv):
        return {env.episode.prompt: env.oracle()}
    if isinstance(env, BatchTaskEnv):
        prompts = [episode.prompt for episode in env.episodes]
        return dict(zip(prompts, env.oracle(), strict=True))
    raise BadArgument(f"an oracle knows the environments of this suite, not {type(env).__name__}: gym.make gives one")


class Noisy:
    """Replies as one agent at some rate, and as another otherwise: a solver that is right every other time.

    Args:
        first: gives a reply with probability `rate`.
        second: gives it otherwise.
        rate: 0 to 1. Which of them it is hangs on the reply's prompt, its place and the seed.

    Raises:
        BadAgent: `first` or `second` can not reply.
        BadArgument: a rate out of its range.
    """

    def __init__(self, first: Agent, second: Agent, rate: float) -> None:
        check_agent(first, "first")
        check_agent(second, "second")
        if isinstance(rate, bool) or not isinstance(rate, int | float) or not 0 <= rate <= 1:
            raise BadArgument(f"rate must be a number from 0 to 1, not {rate!r}")
        self.first, self.second, self.rate = first, second, rate
        # One inside another must toss a coin of its own, or the outer one would decide for both.
        self.depth: int = 1 + max(getattr(agent, "depth", 0) for agent in (first, second))

    def reply(self, prompts: Sequence[str], n: int, seed: int) -> list[list[Reply]]:
        """Answer each prompt `n` times. Both agents are asked for everything: the replies are their own objects."""
        firsts, seconds = ask(self.first, prompts, n, seed), ask(self.second, prompts, n, seed)
        return [
            [(one if self._is_first(prompt, place, seed) else other)[place] for place in range(n)]
            for prompt, one, other in zip(prompts, firsts, seconds, strict=True)
        ]

    def _is_first(self, prompt: str, place: int, seed: int) -> bool:
        return chance(prompt, place, seed, f"noisy {self.depth}") < self.rate

    def __deepcopy__(self, memo: object) -> Self:
        """The agent itself: `env.spec` copies its arguments, and what is inside may be dear."""
        return self
