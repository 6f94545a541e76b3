"""The text space: what Gymnasium expects of a space, and one sentence for whoever expects an array."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.vector.utils import batch_space, concatenate, create_empty_array, iterate
from hypothesis import given
from hypothesis import strategies as st

from azr_gym import BadArgument
from azr_gym.spaces import MAX_CHARS, NotNumeric, Prompt


@given(st.text(max_size=60), st.integers(1, 60))
def test_a_text_belongs_to_the_space_if_it_is_short_enough(text: str, most: int) -> None:
    assert (text in Prompt(most)) == (len(text) <= most)


@pytest.mark.parametrize("text", ["", "\ud800", "\0", "漢", "a" * MAX_CHARS])
def test_any_character_will_do_and_none_too(text: str) -> None:
    assert text in Prompt()


@pytest.mark.parametrize(
    "thing", [None, 1, b"a", ["a"], np.array("a"), "a" * (MAX_CHARS + 1)], ids=lambda thing: type(thing).__name__
)
def test_what_is_no_text_does_not_belong(thing: Any) -> None:
    assert thing not in Prompt()


@given(st.integers(0, 2**31), st.integers(1, 100))
def test_samples_are_the_seed_s_and_belong(seed: int, most: int) -> None:
    one, other = Prompt(most, seed), Prompt(most)
    other.seed(seed)
    drawn = [one.sample() for _ in range(5)]
    assert drawn == [other.sample() for _ in range(5)]
    assert all(type(text) is str and text in one for text in drawn)


def test_samples_differ() -> None:
    space = Prompt(seed=0)
    assert len({space.sample() for _ in range(100)}) > 90


def test_a_seed_is_given_back() -> None:
    assert Prompt().seed(7) == 7


@pytest.mark.parametrize("mask", [np.ones(3, np.int8), "x", ()])
def test_masks_are_refused(mask: Any) -> None:
    for words in ({"mask": mask}, {"probability": mask}):
        with pytest.raises(BadArgument, match="mask"):
            Prompt().sample(**words)


@pytest.mark.parametrize("most", [0, -1, True, 1.0, "9", None, np.nan])
def test_a_bad_length_is_refused(most: Any) -> None:
    with pytest.raises(BadArgument, match="max_length"):
        Prompt(most)


def test_spaces_of_one_length_are_equal() -> None:
    assert Prompt(5, seed=1) == Prompt(5, seed=2) != Prompt(6)
    assert hash(Prompt(5)) == hash(Prompt(5))
    assert Prompt(5) != gym.spaces.Text(5)
    assert repr(Prompt(5)) == "Prompt(5)"


@pytest.mark.parametrize(
    "again",
    [copy.deepcopy, copy.copy, lambda space: pickle.loads(pickle.dumps(space))],
    ids=["deep copy", "copy", "pickle"],
)
def test_a_copy_is_equal_and_goes_on_alike(again: Any) -> None:
    space = Prompt(50, seed=3)
    space.sample()
    other = again(space)
    state = copy.deepcopy(space.np_random.bit_generator.state)
    drawn = [space.sample() for _ in range(3)]
    other.np_random.bit_generator.state = state
    assert other == space
    assert [other.sample() for _ in range(3)] == drawn


def test_a_pickled_space_draws_on_where_it_stood() -> None:
    space = Prompt(50, seed=3)
    other = pickle.loads(pickle.dumps(space))
    assert [other.sample() for _ in range(3)] == [space.sample() for _ in range(3)]


@pytest.mark.parametrize("words", [(), ("a",), ("a", "", "\ud800")])
def test_texts_are_json_already(words: tuple[str, ...]) -> None:
    space = Prompt()
    assert space.from_jsonable(space.to_jsonable(words)) == list(words)


def test_gymnasium_can_batch_it() -> None:
    space = Prompt(9, seed=1)
    batch = batch_space(space, 3)
    drawn = batch.sample()
    assert drawn in batch
    assert len(set(drawn)) > 1
    assert list(iterate(batch, ("a", "b", "c"))) == ["a", "b", "c"]
    empty: Any = create_empty_array(space, 2)
    assert tuple(concatenate(space, ["a", "b"], empty)) == ("a", "b")


def test_gymnasium_finds_it_equal_to_itself_in_other_spaces() -> None:
    both = gym.spaces.Dict({"text": Prompt(9), "number": gym.spaces.Discrete(3)})
    assert both.contains({"text": "a", "number": 1})
    assert both == copy.deepcopy(both)


def test_it_is_no_array_and_says_where_arrays_are() -> None:
    with pytest.raises(NotNumeric, match="ClinicalCaseTabular-v0"):
        _ = Prompt().shape
    assert isinstance(NotNumeric("x"), TypeError)
    assert not Prompt().is_np_flattenable
    assert Prompt().dtype is None
