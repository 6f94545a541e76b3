"""Making a base: the same recipe gives the same corpus, batches and weights, and what comes out can be loaded."""

from __future__ import annotations

import inspect
import json
import re
from collections import Counter
from dataclasses import asdict, replace
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from azr_agents import pretrain
from azr_agents.hf import HFAgent
from azr_agents.pretrain import (
    BUCKET,
    MAX_LENGTH,
    PROMPT_WEIGHT,
    PROPOSE_WEIGHT,
    SIZES,
    SOLVE_WEIGHT,
    WARM_UP,
    Corpus,
    Recipe,
    batches,
    count_batches,
    make_base,
    make_corpus,
    make_model,
    make_tokenizer,
    schedule,
)
from azr_gym.errors import BadArgument

torch.set_num_threads(1)
TOY = Recipe("xs", (1,), examples=400, batch_tokens=1152, vocab_size=300, context=512, seed=3)


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return make_tokenizer(TOY)


@pytest.fixture(scope="module")
def corpus(tokenizer: Any) -> Corpus:
    return make_corpus(TOY, tokenizer)


def same(one: Corpus, other: Corpus) -> bool:
    return all(
        np.array_equal(getattr(one, name), getattr(other, name)) for name in ("ids", "start", "prompt", "weight")
    )


# --- the corpus -------------------------------------------------------------------------------------------------
def test_how_many_processes_make_the_corpus_changes_nothing(tokenizer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pretrain, "SHARD", 80)
    recipe, ticks = replace(TOY, examples=200), list[tuple[str, int, int]]()
    alone = make_corpus(recipe, tokenizer, tick=lambda *tick: ticks.append(tick))
    assert same(alone, make_corpus(recipe, tokenizer, processes=2))
    assert len(alone) == 200
    assert ticks == [("examples", done, 200) for done in (80, 160, 200)]


def test_shards_differ_and_so_do_seeds(tokenizer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pretrain, "SHARD", 50)
    found = make_corpus(replace(TOY, examples=100), tokenizer)
    half = found.start[50]
    assert not np.array_equal(found.ids[:half], found.ids[half:])
    assert not same(found, make_corpus(replace(TOY, examples=100, seed=4), tokenizer))


def test_an_example_is_a_prompt_an_answer_and_an_end(tokenizer: Any, corpus: Corpus) -> None:
    weights = Counter[float]()
    for (start, end), prompt, weight in zip(pairwise(corpus.start), corpus.prompt, corpus.weight, strict=True):
        asked, answer = corpus.ids[start : start + prompt], corpus.ids[start + prompt : end]
        assert answer[-1] == tokenizer.eos_token_id
        assert tokenizer.eos_token_id not in [*asked, *answer[:-1]]
        solving = tokenizer.decode(asked).endswith("? =")
        assert weight == np.float32(SOLVE_WEIGHT if solving else PROPOSE_WEIGHT)
        weights[float(weight)] += 1
    assert len(weights) == 2
    assert len(corpus.ids) == corpus.start[-1]


def test_examples_that_are_too_long_are_left_out(
    tokenizer: Any, corpus: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    lengths = np.diff(corpus.start)
    assert lengths.max() <= MAX_LENGTH
    limit = int(np.median(lengths))
    monkeypatch.setattr(pretrain, "MAX_LENGTH", limit)
    shorter = make_corpus(TOY, tokenizer)
    assert np.diff(shorter.start).tolist() == lengths[lengths <= limit].tolist()
    assert shorter.prompt.tolist() == corpus.prompt[lengths <= limit].tolist()


# --- batches ----------------------------------------------------------------------------------------------------
def build(sizes: list[tuple[int, int, bool]]) -> Corpus:
    """Examples of (prompt, answer) tokens, whose tokens all are the example's number, counted from one."""
    lengths = [prompt + answer for prompt, answer, _ in sizes]
    return Corpus(
        np.repeat(np.arange(1, len(sizes) + 1, dtype=np.uint16), lengths),
        np.concatenate([[0], np.cumsum(lengths)]),
        np.array([prompt for prompt, _, _ in sizes], np.int64),
        np.array([SOLVE_WEIGHT if solving else PROPOSE_WEIGHT for _, _, solving in sizes], np.float32),
    )


small_corpora = st.lists(st.tuples(st.integers(1, 70), st.integers(1, 60), st.booleans()), min_size=1, max_size=50)


@given(small_corpora, st.integers(MAX_LENGTH, 900), st.integers(0, 3))
def test_batches_hold_each_example_at_most_once_and_leave_out_what_fills_none(
    sizes: list[tuple[int, int, bool]], batch_tokens: int, seed: int
) -> None:
    recipe, made = Recipe(batch_tokens=batch_tokens, seed=seed), build(sizes)
    found = list(batches(made, recipe))
    assert len(found) == count_batches(made, recipe)
    seen = [int(number) - 1 for batch in found for number in batch.ids_bl[:, 0]]
    assert len(seen) == len(set(seen))
    padded = [-(-(prompt + answer) // BUCKET) * BUCKET for prompt, answer, _ in sizes]
    left = Counter(padded) - Counter(padded[one] for one in seen)
    assert all(count < batch_tokens // length for length, count in left.items())
    for batch in found:
        rows, length = batch.ids_bl.shape
        assert rows == batch_tokens // length
        assert batch.weight_bl.shape == (rows, length)
        for ids, weight in zip(batch.ids_bl, batch.weight_bl, strict=True):
            prompt, answer, solving = sizes[ids[0] - 1]
            pad = length - prompt - answer
            assert 0 <= pad < BUCKET
            assert ids.tolist() == [ids[0]] * (prompt + answer) + [0] * pad
            worth = [PROMPT_WEIGHT] * prompt + [SOLVE_WEIGHT if solving else PROPOSE_WEIGHT] * answer + [0.0] * pad
            assert weight.tolist() == np.array(worth, np.float32).tolist()


def test_the_weights_are_those_of_the_recipe() -> None:
    assert (SOLVE_WEIGHT, PROPOSE_WEIGHT, PROMPT_WEIGHT) == (1.0, 0.3, 0.1)


def test_the_same_seed_gives_the_same_batches_and_another_another_order(corpus: Corpus) -> None:
    one, other, third = (list(batches(corpus, replace(TOY, seed=seed))) for seed in (3, 3, 4))
    assert all(np.array_equal(a.ids_bl, b.ids_bl) for a, b in zip(one, other, strict=True))
    assert not all(np.array_equal(a.ids_bl, b.ids_bl) for a, b in zip(one, third, strict=True))
    lengths = [batch.ids_bl.shape[1] for batch in one]
    assert lengths != sorted(lengths), "lengths come mixed"


def test_batches_hold_the_corpus_word_for_word(tokenizer: Any, corpus: Corpus) -> None:
    known = Counter(tokenizer.decode(corpus.ids[start:end]) for start, end in pairwise(corpus.start))
    read = Counter(
        tokenizer.decode(ids[weight > 0])
        for batch in batches(corpus, TOY)
        for ids, weight in zip(batch.ids_bl, batch.weight_bl, strict=True)
    )
    assert read <= known
    assert read.total() > 0.8 * len(corpus)


# --- the model --------------------------------------------------------------------------------------------------
def test_the_table_of_sizes_says_the_parameters() -> None:
    said = dict(re.findall(r'"(\w+)": Size\(.*# ([\d.]+) million', inspect.getsource(pretrain)))
    vocabulary = type("", (), {"__len__": lambda self: 512, "eos_token_id": 1, "pad_token_id": 0})()
    with torch.device("meta"):
        found = {size: f"{make_model(Recipe(size), vocabulary).num_parameters() / 1e6:.2g}" for size in SIZES}
    assert found == said


def test_weights_hang_on_the_seed_alone(tokenizer: Any) -> None:
    state = torch.get_rng_state()
    one, other, third = (make_model(replace(TOY, seed=seed), tokenizer).lm_head.weight for seed in (0, 0, 1))
    assert torch.equal(one, other)
    assert not torch.equal(one, third)
    assert torch.equal(torch.get_rng_state(), state), "nobody else's chance is touched"


@pytest.mark.parametrize("steps", [WARM_UP + 1, 500, 20_000])
def test_the_learning_rate_warms_up_and_falls_to_a_twentieth(steps: int) -> None:
    rates = [schedule(step, steps) for step in range(1, steps + 1)]
    assert rates[: WARM_UP - 1] == pytest.approx([step / WARM_UP for step in range(1, WARM_UP)])
    assert max(rates) == rates[WARM_UP - 1] == 1.0
    assert rates[WARM_UP - 1 :] == sorted(rates[WARM_UP - 1 :], reverse=True)
    assert rates[-1] == pytest.approx(0.05)


@pytest.mark.parametrize("steps", [1, WARM_UP - 1, WARM_UP])
def test_a_short_run_has_a_learning_rate_too(steps: int) -> None:
    assert all(0.0 < schedule(step, steps) <= 1.0 for step in range(1, steps + 1))


def test_steps_learn_at_the_scheduled_rate(tokenizer: Any, corpus: Corpus) -> None:
    trainer = pretrain.Trainer(make_model(TOY, tokenizer), 1e-3, 50)
    for step, batch in enumerate([*batches(corpus, TOY)][:3], 1):
        trainer.step(batch)
        assert trainer.optimizer.param_groups[0]["lr"] == pytest.approx(1e-3 * schedule(step, 50))


def test_the_loss_is_that_of_the_weighted_tokens(tokenizer: Any, corpus: Corpus) -> None:
    model, batch = make_model(TOY, tokenizer), next(batches(corpus, TOY))
    ids = torch.from_numpy(batch.ids_bl)
    with torch.inference_mode():
        logprobs = torch.log_softmax(model(input_ids=ids).logits.double(), -1)
    total = weights = 0.0
    for row, (one, weight) in enumerate(zip(batch.ids_bl, batch.weight_bl, strict=True)):
        for place in range(1, len(one)):
            total -= float(logprobs[row, place - 1, one[place]] * weight[place])
            weights += float(weight[place])
    assert float(pretrain.Trainer(model, 1e-3, 50).step(batch)) == pytest.approx(total / weights, rel=1e-4)


# --- a base -----------------------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """A toy base, and what was ticked while it was made."""
    ticks: list[tuple[str, int, int]] = []
    out = tmp_path_factory.mktemp("bases") / "new" / "toy"
    folder = make_base(TOY, out, tick=lambda *tick: ticks.append(tick))
    assert folder == out
    return SimpleNamespace(folder=folder, ticks=ticks, record=json.loads((folder / "recipe.json").read_text()))


def test_a_toy_base_learns(base: SimpleNamespace) -> None:
    losses = [entry["loss"] for entry in base.record["log"]]
    assert np.mean(losses[-5:]) < np.mean(losses[:3]) - 1.0
    assert losses[0] == pytest.approx(np.log(TOY.vocab_size), abs=0.3), "it begins knowing nothing"


def test_a_base_can_be_loaded_and_answers(base: SimpleNamespace) -> None:
    agent = HFAgent.from_pretrained(base.folder, max_new_tokens=8)
    assert agent.model.dtype == torch.bfloat16
    replies = agent.reply(["def f(x):\n    return x + 1\nf(3) == ?\n? ="], 4, seed=0)
    assert [len(group) for group in replies] == [4]
    assert agent.end_ids == [agent.tokenizer.eos_token_id]


def test_the_recipe_lies_beside_the_base(base: SimpleNamespace, corpus: Corpus) -> None:
    record = base.record
    assert Recipe(**record["recipe"] | {"levels": tuple(record["recipe"]["levels"])}) == TOY
    assert record["recipe"] == json.loads(json.dumps(asdict(TOY)))
    assert record["steps"] == count_batches(corpus, TOY) == record["log"][-1]["step"]
    assert record["tokens"] == len(corpus.ids)
    assert record["parameters"] == HFAgent.from_pretrained(base.folder).model.num_parameters()
    assert record["device"] == "cpu"


def test_whoever_waits_is_told_how_far_it_is(base: SimpleNamespace) -> None:
    for what, total in (("examples", TOY.examples), ("steps", base.record["steps"])):
        done = [tick[1:] for tick in base.ticks if tick[0] == what]
        assert [number for number, _ in done] == sorted({number for number, _ in done})
        assert done[-1] == (total, total)


def test_the_same_recipe_gives_the_same_weights(base: SimpleNamespace, tmp_path: Path) -> None:
    again = make_base(TOY, tmp_path)
    assert (again / "model.safetensors").read_bytes() == (base.folder / "model.safetensors").read_bytes()
    assert (again / "tokenizer.json").read_bytes() == (base.folder / "tokenizer.json").read_bytes()


# --- mistakes ---------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"size": "xxl"}, "'xs', 's', 'm', 'l'"), ({"examples": 0}, "above 0"), ({"batch_tokens": MAX_LENGTH - 1}, "at least 384"),
        ({"levels": ()}, "levels"), ({"levels": (0,)}, "levels"), ({"levels": (1, 6)}, "1, 2, 3, 4, 5"), ({"vocab_size": 200}, "260"),
    ],
    ids=str,
)  # fmt: skip
def test_a_bad_recipe_says_what_would_be_good(options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(BadArgument, match=sentence):
        Recipe(**options)


def test_too_few_examples_are_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(BadArgument, match="batch_tokens"):
        make_base(replace(TOY, examples=20, batch_tokens=1 << 20), tmp_path / "base")
    assert not (tmp_path / "base").exists()
