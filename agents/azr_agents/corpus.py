"""What a small base model reads before it plays. Each environment has a file of its own; here is what they share."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from importlib import import_module
from itertools import cycle
from typing import Protocol, cast

import numpy as np

from azr_gym.roles import Role

from .tokenizer import THINK, THOUGHT

MODULES = {"CodeTriplet-v0": ".corpus_code", "ClinicalCase-v0": ".corpus_clinic"}  # by environment
PROPOSE_SHARE = 1 / 3  # of the proposals are kept: most of what is read are answers
TOLD_SHARE = 0.85  # of the answers that can think are told to, by a tag behind the question
THOUGHT_SHARE = 0.2  # of the others think by themselves
# Of programs and patients both: words may hold digits, and none begins with the space after a comma or a sign, so that
# a finding is one token wherever it stands.
MIXED = r"\n[+-] |, |\n +|\n|\d| ?[a-eA-E](?=[a-eA-E]*(?!\w))| ?[A-Za-z_]\w*| ?[^\sA-Za-z_\d]+| +"


@dataclass(frozen=True, slots=True)
class Example:
    """A prompt, what a good agent writes after it, and further questions about the same thing with their answers."""

    role: Role
    mode: StrEnum
    prompt: str
    answer: str
    more: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Style:
    """Whether answers think first, and whether they were told to."""

    thinks: bool
    told: bool

    @classmethod
    def drawn(cls, rng: np.random.Generator) -> Style:
        """Most are told to think; of the others few do.

        So a base can think, and hardly does: whether it pays is left to self-play.
        """
        told = rng.random() < TOLD_SHARE
        return cls(told or rng.random() < THOUGHT_SHARE, told)

    def turn(self, question: str, thought: str, answer: str) -> tuple[str, str]:
        """A prompt and what is written after it. Without a thought the answer stands alone."""
        if not (self.thinks and thought):
            return question, f" {answer}"
        said = f"{thought}{THOUGHT} {answer}"
        return (question + THINK, said) if self.told else (question, THINK + said)


def thinned(rng: np.random.Generator, made: Iterable[Example]) -> Iterator[Example]:
    """Every answer, and `PROPOSE_SHARE` of the proposals."""
    for example in made:
        if example.role is Role.SOLVE or rng.random() < PROPOSE_SHARE:
            yield example


class Source(Protocol):
    """A file of examples: its functions.

    Attributes:
        SPLIT: of `train_tokenizer`.
    """

    SPLIT: str

    def words(self) -> list[str]:
        """Of `train_tokenizer`."""
        ...

    def examples(self, rng: np.random.Generator, levels: Sequence[int]) -> Iterator[Example]:
        """Examples without end, of training tasks only. A function of the generator's state.

        Args:
            rng: a numpy generator.
            levels: of the environment's generator, where these are numbers; each equally often.
        """
        ...


class Several:
    """The examples of several environments, by turns."""

    SPLIT = MIXED

    def __init__(self, sources: Sequence[Source]) -> None:
        self.sources = sources

    def words(self) -> list[str]:
        """Those of all."""
        return [word for one in self.sources for word in one.words()]

    def examples(self, rng: np.random.Generator, levels: Sequence[int]) -> Iterator[Example]:
        """One of each, over and over."""
        parts = zip(self.sources, rng.spawn(len(self.sources)), strict=True)
        yield from map(next, cycle([one.examples(own, levels) for one, own in parts]))


def source(env: str | Sequence[str]) -> Source:
    """The examples of an environment, by its id in `MODULES`, or of several."""
    if not isinstance(env, str):
        return Several([source(one) for one in env])
    return cast(Source, import_module(MODULES[env], __package__))
