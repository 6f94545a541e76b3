"""Chance for the generator: weighted tables, and numbers drawn a block at a time."""

from __future__ import annotations

import itertools
from bisect import bisect
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Generic, NamedTuple, TypeVar

import numpy as np

T = TypeVar("T")


class Weighted(NamedTuple, Generic[T]):
    """Things and how often each is drawn: their weights, summed up to exactly 1."""

    items: tuple[T, ...]
    sums: tuple[float, ...]


def weighted(rows: Iterable[tuple[T, float]]) -> Weighted[T] | None:
    """A table to draw from; None without rows."""
    rows = list(rows)
    total = sum(weight for _, weight in rows)
    sums = list(itertools.accumulate(weight / total for _, weight in rows))
    return Weighted(tuple(item for item, _ in rows), (*sums[:-1], 1.0)) if rows else None


class Dice:
    """Draws in blocks: a call of a numpy generator costs as much as ten of these."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.next: Callable[[], float] = self._stream(rng).__next__  # 0 <= x < 1

    @staticmethod
    def _stream(rng: np.random.Generator) -> Iterator[float]:
        while True:
            yield from rng.random(128).tolist()

    def within(self, low: int, high: int) -> int:
        """Low and high included."""
        return low + int(self.next() * (high - low + 1))

    def pick(self, items: Sequence[T]) -> T:
        """Any of the items."""
        return items[int(self.next() * len(items))]

    def choose(self, table: Weighted[T]) -> T:
        """One item, by weight."""
        return table.items[bisect(table.sums, self.next())]


# --- expressions ------------------------------------------------------------------------------------------------
