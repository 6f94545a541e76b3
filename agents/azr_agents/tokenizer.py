"""A small tokenizer of our own, for small models of compact prompts. It reads any text and gives it back unchanged."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

PAD, END, THINK, THOUGHT = "<pad>", "<end>", "<think>", "</think>"
MIN_VOCAB = 256 + 4  # every byte, and these


def train_tokenizer(texts: Iterable[str], vocab_size: int = 384, max_length: int = 1024) -> Any:
    """Train a byte-level byte-pair encoding. A function of the texts and their order.

    Digits stand alone, so that a number is spelt one way, and so do the letters of words made of a to e, which are the
    generator's strings: their letters can be counted and turned round. Line breaks with the indentation after them
    become words.

    Args:
        texts: what the model will read and write.
        vocab_size: how many tokens, `MIN_VOCAB` or more: bytes, those with a meaning of their own, and merges.
        max_length: the model's context, kept with the tokenizer.

    Returns:
        a `PreTrainedTokenizerFast`.
    """
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    split = Regex(r"\n +|\n|\d| ?[a-eA-E](?=[a-eA-E]*(?![A-Za-z_]))| ?[A-Za-z_]+| ?[^\sA-Za-z_\d]+| +")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(split, "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
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
