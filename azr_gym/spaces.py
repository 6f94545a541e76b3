"""The text space. Gymnasium's own `Text` lists its whole alphabet: too slow for Unicode, and "" is not in it."""

from __future__ import annotations

import string
from collections.abc import Iterable
from typing import Any, Never

import numpy as np
from gymnasium import Space
from gymnasium.spaces.space import MaskNDArray

from .errors import AzrGymError, BadArgument

MAX_CHARS = 65_536
_ALPHABET = np.array(list(string.printable))


class NotNumeric(AzrGymError, TypeError):
    """A text space was asked for the shape of an array."""


class Prompt(Space[str]):
    """Unicode text of at most `max_length` characters, "" included.

    `sample()` draws printable ASCII of at most 64 characters from the space's own generator.

    Raises:
        BadArgument: `max_length` is not a positive int.
        NotNumeric: somebody asks for `shape`, as stable-baselines3 does.
    """

    def __init__(self, max_length: int = MAX_CHARS, seed: int | np.random.Generator | None = None) -> None:
        if isinstance(max_length, bool) or not isinstance(max_length, int) or max_length < 1:
            raise BadArgument(f"max_length must be an int above 0, not {max_length!r}")
        self.max_length = max_length
        super().__init__(None, None, seed)

    @property
    def shape(self) -> Never:
        """A text has none.

        Raises:
            NotNumeric: always.
        """
        raise NotNumeric(
            "this environment speaks text, and an agent for arrays (stable-baselines3 and its kind) can not learn from "
            'that: use gym.make("ClinicalCaseTabular-v0"), or plug in an agent that writes text'
        )

    @property
    def is_np_flattenable(self) -> bool:
        """Never: text is not a fixed number of features."""
        return False

    def sample(self, mask: MaskNDArray | None = None, probability: MaskNDArray | None = None) -> str:
        """Draw a text. Masks mean nothing here and are refused."""
        if mask is not None or probability is not None:
            raise BadArgument("a Prompt space takes no mask: leave it out")
        length = int(self.np_random.integers(min(self.max_length, 64) + 1))
        return "".join(self.np_random.choice(_ALPHABET, size=length))

    def contains(self, x: Any) -> bool:
        """Whether `x` is a text that is short enough."""
        return isinstance(x, str) and len(x) <= self.max_length

    def to_jsonable(self, sample_n: Iterable[str]) -> list[str]:
        """Texts are JSON already."""
        return list(sample_n)

    def from_jsonable(self, sample_n: list[str]) -> list[str]:
        """Texts are JSON already."""
        return list(sample_n)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Prompt) and other.max_length == self.max_length

    def __hash__(self) -> int:
        return hash((Prompt, self.max_length))

    def __repr__(self) -> str:
        return f"Prompt({self.max_length})"
