"""The small tokenizer: any text comes back, what is counted stands alone, and only the end token ends."""

from __future__ import annotations

import copy
import itertools
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoTokenizer

from azr_agents.corpus_code import examples
from azr_agents.tokenizer import END, MIN_VOCAB, PAD, THINK, THOUGHT, train_tokenizer

TEXTS = [one.prompt + one.answer for one in itertools.islice(examples(np.random.default_rng(0), (1, 2, 3)), 600)]
TOKENIZER = train_tokenizer(TEXTS, 400)

ODD = st.sampled_from(
    [THINK, THOUGHT, PAD, END, "<", "think>", "\r\n", "\t", "\x00", "\n    ", "  ", "\u200d", "\u2028", "e\u0301", "é", "\ufeff",
     "👩‍👩‍👧", "\U0010ffff", "\u017f", "Ⅷ", "٣", "²", "Ġ", "Ċ", "▁", "##", "'s", " .", " ,", "?", "0", "a", "Z", "_"]
)  # fmt: skip
odd_text = st.lists(ODD | st.text(max_size=5), max_size=12).map("".join)


def ids(text: str, tokenizer: Any = TOKENIZER) -> list[int]:
    found: list[int] = tokenizer(text)["input_ids"]
    return found


def pieces(text: str) -> list[str]:
    """The tokens of a text, each as text."""
    return [TOKENIZER.decode([one]) for one in ids(text)]


@given(st.text() | odd_text)
def test_any_text_comes_back_unchanged(text: str) -> None:
    assert TOKENIZER.decode(ids(text)) == text
    assert TOKENIZER.decode(ids(text), skip_special_tokens=True) == text


@given(st.text(max_size=8), st.integers(0, 10**12), st.text(max_size=8))
def test_digits_stand_alone(before: str, number: int, after: str) -> None:
    digits = str(number)
    found = pieces(f"{before}={digits}={after}")
    assert [one for one in found if any(char in "0123456789" for char in one)] == [
        char for char in f"{before}{digits}{after}" if char in "0123456789"
    ]


@given(
    st.from_regex("[a-eA-E]{1,9}", fullmatch=True),
    st.sampled_from(["f('{}')", "x = '{}'\n", "['{}', '{}']", "{}", "'-{}1'"]),
)
def test_the_letters_of_the_generator_s_strings_stand_alone(word: str, frame: str) -> None:
    text = frame.replace("{}", word)
    assert [one for one in pieces(text) if any(char in word for char in one)] == [char for char in text if char in word]


@given(st.from_regex("[a-eA-E]{1,9}", fullmatch=True))
def test_a_space_before_them_joins_the_first_at_most(word: str) -> None:
    found = pieces(f"'x {word}'")
    assert [one.strip() for one in found if one.strip() and one.strip() in word] == list(word)


@pytest.mark.parametrize("word", ["return", " for", " in", " if", "def", "len"])
def test_words_of_programs_stay_whole(word: str) -> None:
    assert pieces(f"\n    {word} x")[1:-1] == [word] or pieces(f"x{word} x")[1:-1] == [word]


@pytest.mark.parametrize("line", ["\n", "\n    ", "\n        "])
def test_a_line_break_and_its_indentation_are_one_word(line: str) -> None:
    assert line in pieces(f"x{line}return x")


@pytest.mark.parametrize("tag", [THINK, THOUGHT])
def test_a_think_tag_is_one_token_and_survives_decoding(tag: str) -> None:
    assert len(ids(tag)) == 1
    assert pieces(f"a{tag}b ") == ["a", tag, "b", " "]
    assert TOKENIZER.decode(ids(tag), skip_special_tokens=True) == tag
    assert tag not in TOKENIZER.all_special_tokens


def test_the_end_is_special_and_vanishes_in_decoding() -> None:
    assert {PAD, END} == set(TOKENIZER.all_special_tokens)
    assert (TOKENIZER.eos_token, TOKENIZER.pad_token, TOKENIZER.pad_token_id) == (END, PAD, 0)
    assert TOKENIZER.decode([*ids("a"), TOKENIZER.eos_token_id], skip_special_tokens=True) == "a"


def test_a_text_that_names_the_end_does_not_end(tmp_path: Path) -> None:
    TOKENIZER.save_pretrained(tmp_path)
    others = (AutoTokenizer.from_pretrained(tmp_path), pickle.loads(pickle.dumps(TOKENIZER)), copy.deepcopy(TOKENIZER))
    for one in (TOKENIZER, *others):
        assert not {one.eos_token_id, one.pad_token_id} & set(ids(f"x = '{END}{PAD}'", one))


def test_it_is_the_same_after_saving_and_loading(tmp_path: Path) -> None:
    TOKENIZER.save_pretrained(tmp_path)
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    assert loaded.model_max_length == TOKENIZER.model_max_length == 1024
    for text in [*TEXTS[:100], f"{THINK}x = 1{THOUGHT} [1]", "é\r\n\t 👩‍👩‍👧"]:
        assert ids(text, loaded) == ids(text)
        assert loaded.decode(ids(text, loaded)) == text


def test_training_is_a_function_of_the_texts() -> None:
    again = train_tokenizer(iter(TEXTS), 400)
    assert again.backend_tokenizer.to_str() == TOKENIZER.backend_tokenizer.to_str()
    assert again.backend_tokenizer.to_str() != train_tokenizer(TEXTS[:50], 400).backend_tokenizer.to_str()


@pytest.mark.parametrize("size", [MIN_VOCAB, 320, 400])
def test_it_has_as_many_tokens_as_were_asked_for(size: int) -> None:
    assert len(train_tokenizer(TEXTS, size)) == size


def test_think_tags_teach_it_nothing() -> None:
    """They are tokens of their own: no merge is spent on their letters."""
    bare = [text.replace(THINK, "").replace(THOUGHT, "") for text in TEXTS]
    assert bare != TEXTS
    assert train_tokenizer(bare, 400).get_vocab() == TOKENIZER.get_vocab()
