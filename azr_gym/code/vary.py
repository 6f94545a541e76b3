"""Other inputs like the ones that are known: for baselines that propose induction tasks. Pure functions of chance."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from azr_sandbox import values

_PLAIN: tuple[object, ...] = (0, 1, 2, 3, 5, 8, -1, "abc", "hello world", [1, 2, 3], [3, 1, 2, 5], {"a": 1}, (1, 2))


def variations(
    rng: np.random.Generator, known: Sequence[tuple[object, ...]], count: int, wanted: int
) -> list[tuple[object, ...]]:
    """At most `wanted` different tuples of `count` arguments: those known, changed copies, some common values."""
    found: dict[bytes, tuple[object, ...]] = {}
    starts = [given for given in known if len(given) == count]
    for given in starts:
        found[values.canonical(given)] = given
    for _ in range(4 * wanted):
        if len(found) >= wanted:
            break
        if starts and rng.random() < 0.9:
            start = starts[int(rng.integers(len(starts)))]
            made = tuple(_vary(rng, value, 0) for value in start)
        else:
            made = tuple(_PLAIN[int(rng.integers(len(_PLAIN)))] for _ in range(count))
        if found.setdefault(values.canonical(made), made) is made:
            starts.append(made)  # further changes begin here too: one integer has few neighbours
    return list(found.values())[:wanted]


def _vary(rng: np.random.Generator, value: object, depth: int) -> object:
    if isinstance(value, bool):
        return bool(rng.integers(2))
    if isinstance(value, int):
        return value + int(rng.integers(-9, 10))
    if isinstance(value, float):
        return value + float(rng.integers(-9, 10))
    if isinstance(value, str):
        letters = list(value) or list("abc")
        rng.shuffle(letters)
        return "".join(letters[: int(rng.integers(len(letters) + 1))]) + "abcde"[: int(rng.integers(3))]
    if isinstance(value, list | tuple) and depth < 8:
        kept = [_vary(rng, item, depth + 1) for item in value if rng.random() < 0.9]
        if value and rng.random() < 0.3:
            kept.append(_vary(rng, value[0], depth + 1))
        return kept if isinstance(value, list) else tuple(_vary(rng, item, depth + 1) for item in value)
    if isinstance(value, dict):
        return {key: _vary(rng, item, depth + 1) for key, item in value.items() if rng.random() < 0.8}
    return value
