"""A small tokenizer of our own, for small models of compact prompts. It reads any text and gives it back unchanged."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

PAD, END, THINK, THOUGHT = "<pad>", "<end>", "<think>", "</think>"
MIN_VOCAB = 256 + 4  # every byte, and these
CODE = r"\n +|\n|\d| ?[a-eA-E](?=[a-eA-E]*(?![A-Za-z_]))| ?[A-Za-z_]+| ?[^\sA-Za-z_\d]+| +"


def train_tokenizer(
    texts: Iterable[str], vocab_size: int = 384, max_length: int = 1024, split: str = CODE, words: Sequence[str] = ()
) -> Any:
    """Train a byte-level byte-pair encoding. A function of the texts and their order.

    Digits stand alone, so that a number is spelt one way. `CODE` lets the letters of words made of a to e stand alone
    too, which are the generator's strings: their letters can be counted and turned round. Line breaks with the
    indentation after them become words.

    Args:
        texts: what the model will read and write.
        vocab_size: how many tokens, `MIN_VOCAB` or more: bytes, those with a meaning of their own, and merges.
        max_length: the model's context, kept with the tokenizer.
        split: a regular expression of the pieces within which tokens are merged.
        words: pieces that are one token each, on top of `vocab_size`.

    Returns:
        a `PreTrainedTokenizerFast`.
    """
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(split), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size - 2,  # thinking's two tokens come on top
        special_tokens=[PAD, END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bare = (text.replace(THINK, "").replace(THOUGHT, "") for text in texts)  # they are tokens of their own below
    tokenizer.train_from_iterator(bare, trainer)
    if words:
        tokenizer.model = _with_words(tokenizer, words)
    made = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=tokenizer,
        pad_token=PAD,
        eos_token=END,
        model_max_length=max_length,
        clean_up_tokenization_spaces=False,
        split_special_tokens=True,  # a text that says <end> does not end
    )
    made.add_tokens([THINK, THOUGHT])  # words of the text, not special: an answer's reader must see them
    return made


def _with_words(tokenizer: Any, words: Sequence[str]) -> Any:
    """The tokenizer's merges, and words that need none."""
    from tokenizers import models

    model = json.loads(tokenizer.to_str())["model"]
    vocab: dict[str, int] = model["vocab"]
    for word in words:
        [(piece, _)] = tokenizer.pre_tokenizer.pre_tokenize_str(word)
        vocab.setdefault(piece, len(vocab))
    return models.BPE(vocab, [tuple(merge) for merge in model["merges"]], ignore_merges=True)
