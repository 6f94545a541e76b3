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
from azr_agents.tokenizer import THINK
from azr_gym.errors import BadArgument
from azr_gym.roles import Role

torch.set_num_threads(1)
TOY = Recipe("xs", levels=(1,), examples=400, batch_tokens=1152, vocab_size=300, context=512, seed=3)


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return make_tokenizer(TOY)


@pytest.fixture(scope="module")
def corpus(tokenizer: Any) -> Corpus:
    return make_corpus(TOY, tokenizer)


def same(one: Corpus, other: Corpus) -> bool:
    return all(np.array_equal(getattr(one, name), getattr(other, name)) for name in ("ids", "weight", "start"))


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


def test_every_answer_has_its_end_and_what_comes_after_one_is_nothing_to_learn(tokenizer: Any, corpus: Corpus) -> None:
    seen, turns = Counter[float](), Counter[int]()
    for start, end in pairwise(corpus.start):
        ids, weights = corpus.ids[start:end], corpus.weight[start:end]
        ends = np.flatnonzero(ids == tokenizer.eos_token_id)
        assert ends[-1] == len(ids) - 1
        assert not weights[ends[:-1] + 1].any()
        answered = float(weights[-1])
        assert set(weights[ends].tolist()) == {answered}
        seen[answered] += 1
        turns[len(ends)] += 1
        begun = int(np.argmax(weights == weights[-1]))
        assert weights[begun - 1] == 0, "the last of a question may be a tag that tells to think"
        asked = tokenizer.decode(ids[:begun]).removesuffix(THINK)
        assert asked.endswith("? =") == (answered == SOLVE_WEIGHT)
    assert set(seen) == {SOLVE_WEIGHT, float(np.float16(PROPOSE_WEIGHT))}
    assert len(turns) > 2, "some programs are called more often than others"
    assert len(corpus.ids) == len(corpus.weight) == corpus.start[-1]


sizes = st.tuples(st.integers(1, 200), st.integers(0, 200))


@given(st.sampled_from(Role), st.lists(sizes, min_size=1, max_size=6))
def test_as_many_questions_as_fit_are_weighed(role: Role, turns: list[tuple[int, int]]) -> None:
    ids, runs = pretrain.weighed(role, [([7] * asked, [8] * said) for asked, said in turns], end=1)
    weights = [weight for weight, times in runs for _ in range(times)]
    assert len(ids) == len(weights) <= MAX_LENGTH
    kept, worth = ids.count(1), SOLVE_WEIGHT if role is Role.SOLVE else PROPOSE_WEIGHT
    assert len(ids) == sum(asked + said + 1 for asked, said in turns[:kept])
    if kept < len(turns):
        asked, said = turns[kept]
        assert len(ids) + asked + said >= MAX_LENGTH
    for place, (token, weight) in enumerate(zip(ids, weights, strict=True)):
        first = place > 0 and ids[place - 1] == 1
        last = ids[place + 1 : place + 2] != [7]
        assert weight == (worth if token != 7 else 0.0 if first or last else PROMPT_WEIGHT)


def test_examples_that_are_too_long_are_left_out(
    tokenizer: Any, corpus: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    lengths = np.diff(corpus.start)
    assert lengths.max() <= MAX_LENGTH
    limit = int(np.median(lengths))
    monkeypatch.setattr(pretrain, "MAX_LENGTH", limit)
    shorter = make_corpus(TOY, tokenizer)
    assert np.diff(shorter.start).max() <= limit
    assert len(corpus) / 2 < len(shorter) < len(corpus), "some are cut after a question, some left out"


# --- batches ----------------------------------------------------------------------------------------------------
def build(sizes: list[tuple[int, int, bool]]) -> Corpus:
    """Examples of (prompt, answer) tokens, whose tokens all are the example's number, counted from one."""
    lengths = [prompt + answer for prompt, answer, _ in sizes]
    return Corpus(
        np.repeat(np.arange(1, len(sizes) + 1, dtype=np.uint16), lengths),
        np.concatenate([worth(*one) for one in sizes]).astype(np.float16),
        np.concatenate([[0], np.cumsum(lengths)]),
    )


def worth(prompt: int, answer: int, solving: bool) -> list[float]:
    """The weights of an example's tokens."""
    return [PROMPT_WEIGHT] * prompt + [SOLVE_WEIGHT if solving else PROPOSE_WEIGHT] * answer


small_corpora = st.lists(st.tuples(st.integers(1, 70), st.integers(1, 60), st.booleans()), min_size=1, max_size=50)


@given(small_corpora, st.integers(MAX_LENGTH, 900), st.integers(0, 3), st.integers(1, 3))
def test_batches_hold_each_example_at_most_once_an_epoch_and_leave_out_what_fills_none(
    sizes: list[tuple[int, int, bool]], batch_tokens: int, seed: int, epochs: int
) -> None:
    recipe, made = Recipe(batch_tokens=batch_tokens, seed=seed, epochs=epochs), build(sizes)
    everything = [(batch.ids_BL.numpy(), batch.weight_BL.numpy()) for batch in batches(made, recipe)]
    assert len(everything) == count_batches(made, recipe)
    found = everything[: len(everything) // epochs]
    assert len(found) * epochs == len(everything)
    seen = [int(number) - 1 for ids, _ in found for number in ids[:, 0]]
    assert len(seen) == len(set(seen))
    padded = [-(-(prompt + answer) // BUCKET) * BUCKET for prompt, answer, _ in sizes]
    left = Counter(padded) - Counter(padded[one] for one in seen)
    assert all(count < batch_tokens // length for length, count in left.items())
    for batch_ids, batch_weight in everything:
        rows, length = batch_ids.shape
        assert rows == batch_tokens // length
        assert batch_weight.shape == (rows, length)
        for ids, weight in zip(batch_ids, batch_weight, strict=True):
            example = sizes[ids[0] - 1]
            pad = length - sum(example[:2])
            assert 0 <= pad < BUCKET
            assert ids.tolist() == [ids[0]] * (length - pad) + [0] * pad
            assert weight.tolist() == np.array([*worth(*example), *[0.0] * pad], np.float16).astype(np.float32).tolist()


def test_the_weights_are_those_of_the_recipe() -> None:
    assert (SOLVE_WEIGHT, PROPOSE_WEIGHT, PROMPT_WEIGHT) == (1.0, 0.3, 0.1)


def test_the_same_seed_gives_the_same_batches_and_another_another_order(corpus: Corpus) -> None:
    one, other, third = (list(batches(corpus, replace(TOY, seed=seed))) for seed in (3, 3, 4))
    assert all(torch.equal(a.ids_BL, b.ids_BL) for a, b in zip(one, other, strict=True))
    assert not all(torch.equal(a.ids_BL, b.ids_BL) for a, b in zip(one, third, strict=True))
    lengths = [batch.ids_BL.shape[1] for batch in one]
    assert lengths != sorted(lengths), "lengths come mixed"


def test_every_epoch_has_an_order_of_its_own(corpus: Corpus) -> None:
    found = list(batches(corpus, replace(TOY, epochs=2)))
    first, second = found[: len(found) // 2], found[len(found) // 2 :]
    assert not all(torch.equal(a.ids_BL, b.ids_BL) for a, b in zip(first, second, strict=True))


def test_batches_hold_the_corpus_word_for_word(tokenizer: Any, corpus: Corpus) -> None:
    known = Counter(tokenizer.decode(corpus.ids[start:end]) for start, end in pairwise(corpus.start))
    read = Counter(
        tokenizer.decode(ids[ids != tokenizer.pad_token_id]) for batch in batches(corpus, TOY) for ids in batch.ids_BL
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
    with torch.inference_mode():
        logprobs = torch.log_softmax(model(input_ids=batch.ids_BL).logits.double(), -1)
    total = weights = 0.0
    for row, (one, weight) in enumerate(zip(batch.ids_BL, batch.weight_BL, strict=True)):
        for place in range(1, len(one)):
            total -= float(logprobs[row, place - 1, one[place]] * weight[place])
            weights += float(weight[place])
    assert float(pretrain.Trainer(model, 1e-3, 50).step(batch)) == pytest.approx(total / weights, rel=1e-4)


def test_an_answer_counts_as_much_whatever_stands_beside_it(tokenizer: Any, corpus: Corpus) -> None:
    batch = next(batches(corpus, TOY))
    half = torch.arange(len(batch.ids_BL))[:, None] < len(batch.ids_BL) // 2

    def slope(weight_BL: torch.Tensor) -> torch.Tensor:
        trainer = pretrain.Trainer(make_model(TOY, tokenizer), 1e-3, 50)
        trainer.step(pretrain.Batch(batch.ids_BL, 1e-3 * weight_BL))  # so small that nothing is clipped
        return torch.cat([weight.grad.flatten() for weight in trainer.model.parameters()])

    parts = slope(batch.weight_BL * half) + slope(batch.weight_BL * ~half)
    torch.testing.assert_close(slope(batch.weight_BL), parts, rtol=1e-4, atol=1e-7)


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
        ({"env": "Chess-v0"}, "ClinicalCase-v0"), ({"size": "xxl"}, "'xs', 's', 'm', 'l'"), ({"examples": 0}, "above 0"), ({"epochs": 0}, "above 0"), ({"batch_tokens": MAX_LENGTH - 1}, "at least 384"),
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
