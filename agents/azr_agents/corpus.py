"""What a small base model reads before it plays. Each environment has a file of its own; here is what they share."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from importlib import import_module
from typing import Protocol, cast

import numpy as np

from azr_gym.roles import Role

MODULES = {"CodeTriplet-v0": ".corpus_code", "ClinicalCase-v0": ".corpus_clinic"}  # by environment


@dataclass(frozen=True, slots=True)
class Example:
    """A prompt, what a good agent writes after it, and further questions about the same thing with their answers."""

    role: Role
    mode: StrEnum
    prompt: str
    answer: str
    more: tuple[tuple[str, str], ...] = ()


class Source(Protocol):
    """A file of examples.

    Attributes:
        SPLIT: of `train_tokenizer`.
    """

    SPLIT: str

    @staticmethod
    def words() -> list[str]:
        """Of `train_tokenizer`."""
        ...

    @staticmethod
    def examples(rng: np.random.Generator, levels: Sequence[int]) -> Iterator[Example]:
        """Examples without end, of training tasks only. A function of the generator's state.

        Args:
            rng: a numpy generator.
            levels: of the environment's generator; each equally often.
        """
        ...


def source(env: str) -> Source:
    """The examples of an environment, by its id in `MODULES`."""
    return cast(Source, import_module(MODULES[env], __package__))
