"""Variations of inputs: plain data, different, as many as wanted at most, and a function of chance alone."""

from __future__ import annotations

import copy

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from azr_gym.code.vary import variations
from azr_sandbox import values

from strategies import small_plain_data

knowns = st.lists(st.lists(small_plain_data, max_size=3).map(tuple), max_size=4)
counts, wanted, seeds = st.integers(0, 3), st.integers(0, 40), st.integers(0, 99)


def made(known: list[tuple[object, ...]], count: int, most: int, seed: int) -> list[tuple[object, ...]]:
    return variations(np.random.default_rng(seed), known, count, most)


@given(knowns, counts, wanted, seeds)
def test_they_are_different_plain_data_of_the_right_number(
    known: list[tuple[object, ...]], count: int, most: int, seed: int
) -> None:
    found = made(known, count, most, seed)
    assert len(found) <= most
    assert all(type(one) is tuple and len(one) == count for one in found)
    assert len({values.canonical(one) for one in found}) == len(found)


@given(knowns, counts, wanted, seeds)
def test_they_are_a_function_of_chance(known: list[tuple[object, ...]], count: int, most: int, seed: int) -> None:
    assert values.equal(made(known, count, most, seed), made(known, count, most, seed))


@given(knowns, counts, seeds)
def test_what_is_known_comes_first_and_is_left_as_it_was(
    known: list[tuple[object, ...]], count: int, seed: int
) -> None:
    before = copy.deepcopy(known)
    found = made(known, count, 40, seed)
    assert values.equal(known, before)
    first = {values.canonical(one): one for one in known if len(one) == count}
    assert values.equal(found[: len(first)], list(first.values()))


@given(st.lists(small_plain_data, min_size=1, max_size=3), seeds)
def test_changed_copies_keep_their_types(known: list[object], seed: int) -> None:
    start = tuple(known)
    common = {int, str, list, dict, tuple}
    for one in made([start], len(start), 20, seed):
        assert all(type(new) is type(old) or type(new) in common for new, old in zip(one, start, strict=True))


def test_without_anything_known_common_values_are_given() -> None:
    assert len(made([], 1, 10, 0)) >= 8
    assert len(made([], 2, 10, 0)) == 10
    assert made([], 0, 10, 0) == [()]


def test_plenty_of_different_inputs_are_found() -> None:
    for start in ((5,), ("hello",), ([1, 2, 3],), ({"a": 1, "b": 2},), (1.5, 2), ((1, "a"), [True])):
        assert len(made([start], len(start), 80, 0)) >= 60, start


def test_deep_values_are_varied_without_end_of_stack() -> None:
    deep: object = 1
    for _ in range(60):
        deep = [deep]
    assert made([(deep,)], 1, 5, 0)
