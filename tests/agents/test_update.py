"""The update: however a batch is laid out, cut or spread, its gradient is that of each reply behind its own prompt."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
import torch
from agents.ranks import two_ranks
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel
from transformers import AutoModelForCausalLM, GPT2Config, LlamaConfig, MistralConfig, Qwen2Config

from azr_agents import packed, shared
from azr_agents.distributed import sum_over_ranks
from azr_agents.hf import HFAgent, TokenReply
from azr_agents.loss import KL, count_terms, token_logprobs
from azr_agents.presets import PRESETS, Preset, objective, preset
from azr_agents.tokenizer import train_tokenizer
from azr_agents.update import Batch, Learner, logprobs
from azr_gym import BadArgument

torch.set_num_threads(1)
HUGE = 10**9
WORDS = 40
SHAPE: dict[str, Any] = {
    "vocab_size": WORDS, "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 128, "bos_token_id": None, "eos_token_id": 1, "pad_token_id": 0,
}  # fmt: skip
EAGER: dict[str, Any] = {"attn_implementation": "eager"}
CONFIGS: dict[str, Any] = {
    "llama": lambda: LlamaConfig(**SHAPE),
    "llama, eager": lambda: LlamaConfig(**SHAPE, **EAGER),
    "qwen2": lambda: Qwen2Config(**SHAPE),
    "mistral with a window": lambda: MistralConfig(**SHAPE, sliding_window=12),
    "gpt2": lambda: GPT2Config(vocab_size=WORDS, n_embd=16, n_layer=2, n_head=2, n_positions=128, bos_token_id=1, eos_token_id=1,
                               resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0),
}  # fmt: skip
FULL = replace(preset("grpo"), entropy_weight=0.1)  # every term of the loss
LAYOUTS = [(0, HUGE), (0, 1), (0, 60), (64, HUGE), (64, 1), (30, 70), (256, 16_384), (HUGE, HUGE)]  # row_tokens, budget


def model(kind: str = "llama", seed: int = 0, words: int = WORDS, dtype: torch.dtype = torch.float32) -> Any:
    """A random model, every bias and norm of it too."""
    config = CONFIGS[kind]()
    config.vocab_size = words
    torch.manual_seed(seed)
    made = AutoModelForCausalLM.from_config(config).eval()  # type: ignore[no-untyped-call]
    with torch.no_grad():
        for weight in made.parameters():
            weight.add_(0.2 * torch.randn_like(weight))
    return made.to(dtype)


def replies_to(counts: Sequence[int] = (4, 1, 3, 2), seed: int = 0) -> list[TokenReply]:
    """So many replies to each prompt, all of different lengths and mixed up; sampled by nobody in particular."""
    g = np.random.default_rng(seed)
    made = []
    for count in counts:
        prompt = tuple(g.integers(WORDS, size=g.integers(1, 14)).tolist())
        for _ in range(count):
            ids = tuple(g.integers(WORDS, size=g.integers(1, 12)).tolist())
            made.append(TokenReply("", prompt, ids, tuple((-3 * g.random(len(ids))).tolist()), True, 0))
    return [made[index] for index in g.permutation(len(made))]


def said_by(model: Any, counts: Sequence[int] = (4, 1, 3, 2), temperature: float = 1.0) -> list[TokenReply]:
    """The same replies with the log-probabilities of a policy a little older than the model."""
    replies, g = replies_to(counts), torch.Generator().manual_seed(5)
    with torch.no_grad():
        lp_NL, _ = one_by_one(model, replies, temperature)
    old_NL = lp_NL + 0.1 * torch.randn(lp_NL.shape, generator=g)
    return [
        replace(one, logprobs=tuple(old[: len(one.ids)].tolist())) for one, old in zip(replies, old_NL, strict=True)
    ]


def batch_of(replies: list[TokenReply], seed: int = 0, anchored: bool = True) -> Batch:
    """Random advantages; every second reply is anchored."""
    g = torch.Generator().manual_seed(seed)
    advantages = [torch.randn(len(reply.ids), generator=g) for reply in replies]
    return Batch(replies, advantages, [0.5 * (index % 2) * anchored for index in range(len(replies))])


def one_by_one(model: Any, replies: Sequence[TokenReply], temperature: float = 1.0) -> tuple[Tensor, Tensor]:
    """Log-probabilities and entropies from a plain forward pass over each prompt with its reply."""
    found = []
    for reply in replies:
        logits = model(input_ids=torch.tensor([[*reply.prompt_ids, *reply.ids]]), use_cache=False).logits
        found.append(token_logprobs(logits[:, len(reply.prompt_ids) - 1 : -1], torch.tensor([reply.ids]), temperature))
    pad = torch.nn.utils.rnn.pad_sequence
    return tuple(pad([one[part][0] for one in found], batch_first=True) for part in (0, 1))  # type: ignore[return-value]


def mask_of(replies: Sequence[TokenReply]) -> Tensor:
    return torch.nn.utils.rnn.pad_sequence([torch.ones(len(one.ids), dtype=torch.bool) for one in replies], True)


def weights_of(model: Any) -> Tensor:
    return torch.cat([weight.detach().flatten().clone() for weight in model.parameters()])


def gradient_of(model: Any) -> Tensor:
    return torch.cat([weight.grad.flatten().clone() for weight in model.parameters()])


def learner_of(model: Any, row: Preset, **options: Any) -> Learner:
    """One that leaves its gradient behind, and the weights as they were."""
    return Learner(model, row, **{"lr": 0.0, "max_grad_norm": float("inf"), "max_tokens": 16, **options})


def learned(model: Any, row: Preset, batch: Batch, steps: int = 1, seed: int = 0, **options: Any) -> Tensor:
    """The gradient of an optimizer step over the whole batch; of the last, where there are several."""
    learner_of(model, row, **options).learn(batch, steps, np.random.default_rng(seed))
    return gradient_of(model)


def wanted(model: Any, row: Preset, batch: Batch, reference: Any = None, temperature: float = 1.0) -> Tensor:
    """That gradient by the shortest way: every reply behind its own prompt, all in one loss."""
    model.zero_grad()
    mask_NL = mask_of(batch.replies)
    lp_NL, entropy_NL = one_by_one(model, batch.replies, temperature)
    pad = torch.nn.utils.rnn.pad_sequence
    with torch.no_grad():
        ref_NL = one_by_one(reference, batch.replies, temperature)[0] if reference is not None else lp_NL.detach()
    loss, _ = objective(
        row,
        lp_NL,
        entropy_NL,
        pad([torch.tensor(reply.logprobs) for reply in batch.replies], True),
        pad(batch.advantages, True),
        mask_NL,
        count_terms(mask_NL, row.aggregation, 16),
        1,
        ref_NL,
        torch.tensor(batch.anchor),
    )
    loss.backward()  # type: ignore[no-untyped-call]
    return gradient_of(model)


def near(found: Tensor, expected: Tensor) -> None:
    """Equal up to 1e-5 of the largest: sums in another order round otherwise."""
    scale = float(expected.abs().max())
    assert scale > 1e-3, "a gradient of nothing proves nothing"
    torch.testing.assert_close(found, expected, atol=1e-5 * scale, rtol=1e-4)


# How replies are laid out


@given(
    counts=st.lists(st.integers(1, 6), min_size=1, max_size=5),
    seed=st.integers(0, 99),
    budget=st.integers(1, 200),
    row=st.integers(0, 100),
    data=st.data(),
)
def test_every_chosen_reply_stands_in_one_row_behind_its_prompt(
    counts: list[int], seed: int, budget: int, row: int, data: st.DataObject
) -> None:
    replies = replies_to(counts, seed)
    chosen = sorted(data.draw(st.sets(st.integers(0, len(replies) - 1)), label="chosen"))
    parts = list(packed.micro_batches(replies, chosen, budget, row))
    assert sorted(chain(*chain(*parts))) == chosen
    for part in parts:
        widths = []
        for one in part:
            assert len({replies[index].prompt_ids for index in one}) == 1, "a row mixes prompts"
            widths.append(len(replies[one[0]].prompt_ids) + sum(len(replies[index].ids) for index in one))
            assert widths[-1] <= max(row, packed.SHARE * len(replies[one[0]].prompt_ids)) or len(one) == 1
        assert max(widths) * len(part) <= budget or len(part) == 1
    if row == 0:
        assert all(len(one) == 1 for one in chain(*parts))


def test_with_room_enough_a_prompt_is_read_once() -> None:
    replies = replies_to((4, 1, 3, 2))
    [part] = packed.micro_batches(replies, range(len(replies)), HUGE, HUGE)
    assert sorted(map(len, part)) == [1, 2, 3, 4]


@pytest.mark.parametrize("kind", CONFIGS)
@pytest.mark.parametrize(("row_tokens", "budget"), LAYOUTS)
def test_logprobs_are_those_of_a_plain_forward_pass(kind: str, row_tokens: int, budget: int) -> None:
    made, replies = model(kind), replies_to()
    with torch.no_grad():
        lp_NL, entropy_NL = one_by_one(made, replies, 0.7)
        row_tokens = learner_of(made, FULL, row_tokens=row_tokens).row_tokens  # no longer than the model's window
        for rows in packed.micro_batches(replies, range(len(replies)), budget, row_tokens):
            for how in (packed.lay, shared.lay) if shared.suits(made) else (packed.lay,):
                laid: Any = how(replies, rows)
                lp_RL, entropy_RL = logprobs(made, laid, 0.7)
                part, length = list(chain(*rows)), lp_RL.shape[1]
                assert torch.equal(laid.mask_RL, mask_of(replies)[part, :length])
                torch.testing.assert_close(lp_RL, lp_NL[part, :length], atol=1e-5, rtol=1e-5)
                torch.testing.assert_close(entropy_RL, entropy_NL[part, :length], atol=1e-5, rtol=1e-5)


def test_models_of_the_llama_family_read_a_prompt_once_and_others_do_not() -> None:
    assert {kind: learner_of(model(kind), FULL).lean for kind in CONFIGS} == {
        kind: kind in ("llama", "llama, eager", "qwen2") for kind in CONFIGS
    }


def test_a_model_whose_context_would_need_too_much_room_is_left_to_its_own_attention() -> None:
    made = model()
    assert learner_of(made, FULL).lean
    assert not learner_of(made, FULL, reference=model("gpt2")).lean
    made.config.max_position_embeddings = 32_768
    assert not learner_of(made, FULL).lean
    made.config.max_position_embeddings, made.config.attention_dropout = 128, 0.1
    assert not learner_of(made, FULL).lean


@given(
    counts=st.lists(st.integers(1, 6), min_size=1, max_size=6),
    seed=st.integers(0, 99),
    budget=st.integers(1, 200),
    most=st.integers(8, 20_000),
    data=st.data(),
)
def test_every_chosen_reply_stands_in_one_group_with_its_prompt(
    counts: list[int], seed: int, budget: int, most: int, data: st.DataObject
) -> None:
    replies = replies_to(counts, seed)
    chosen = sorted(data.draw(st.sets(st.integers(0, len(replies) - 1)), label="chosen"))
    parts = list(shared.micro_batches(_LLAMA, replies, chosen, budget, most))
    assert sorted(chain(*chain(*parts))) == chosen
    for part in parts:
        assert all(len({replies[index].prompt_ids for index in row}) == 1 for row in part), "a group mixes prompts"
        tokens = [len(replies[row[0]].prompt_ids) + sum(len(replies[index].ids) for index in row) for row in part]
        assert sum(tokens) <= budget or len(part) == 1
        ahead, long = (
            max(map(len, some))
            for some in zip(*((one.prompt_ids, one.ids) for one in (replies[i] for i in chain(*part))), strict=True)
        )
        kept = 2 * 4 * len(part) * max(map(len, part)) * long * (ahead + long)
        assert kept <= most or sum(map(len, part)) == 1


@settings(max_examples=25)
@given(st.lists(st.integers(1, 5), min_size=1, max_size=4), st.integers(0, 99), st.integers(1, 300), st.integers(0, 90))
def test_logprobs_do_not_hang_on_the_layout(counts: list[int], seed: int, budget: int, row: int) -> None:
    made, replies = _LLAMA, replies_to(counts, seed)
    with torch.no_grad():
        lp_NL, _ = one_by_one(made, replies)
        for rows in packed.micro_batches(replies, range(len(replies)), budget, row):
            for laid in (packed.lay(replies, rows), shared.lay(replies, rows)):
                lp_RL, _ = logprobs(made, laid, 1.0)
                torch.testing.assert_close(lp_RL, lp_NL[list(chain(*rows)), : lp_RL.shape[1]], atol=1e-5, rtol=1e-5)


def test_a_reply_without_tokens_takes_none_from_its_neighbours() -> None:
    replies = replies_to((2, 2))
    replies[1] = replace(replies[1], ids=(), logprobs=())
    with torch.no_grad():
        lp_NL, _ = one_by_one(_LLAMA, [reply for reply in replies if reply.ids])
        for row_tokens in (0, HUGE):
            [rows] = packed.micro_batches(replies, range(4), HUGE, row_tokens)
            for laid in (packed.lay(replies, rows), shared.lay(replies, rows)):
                lp_RL, _ = logprobs(_LLAMA, laid, 1.0)
                found_RL = lp_RL[torch.tensor(list(chain(*rows))).argsort()][[0, 2, 3]]
                torch.testing.assert_close(found_RL, lp_NL[:, : found_RL.shape[1]], atol=1e-5, rtol=1e-5)


# The gradient


@pytest.mark.parametrize("name", PRESETS)
def test_each_algorithm_has_the_gradient_of_replies_one_by_one(name: str) -> None:
    made = model()
    batch = batch_of(said_by(made))
    expected = wanted(made, preset(name), batch, _OTHER)
    near(learned(made, preset(name), batch, reference=_OTHER, row_tokens=40, budget=80), expected)


@pytest.mark.parametrize("kind", ["qwen2", "mistral with a window"])
@pytest.mark.parametrize(("row_tokens", "budget"), LAYOUTS)
def test_the_gradient_does_not_hang_on_the_layout(kind: str, row_tokens: int, budget: int) -> None:
    made = model(kind)
    batch = batch_of(said_by(made, temperature=0.8))
    reference = model(kind, seed=1)
    expected = wanted(made, FULL, batch, reference, 0.8)
    options = {"reference": reference, "temperature": 0.8, "row_tokens": row_tokens, "budget": budget}
    near(learned(made, FULL, batch, **options), expected)


def test_gradient_checkpointing_changes_no_gradient() -> None:
    made = model()
    batch = batch_of(said_by(made))
    plain = learned(made, FULL, batch, reference=_OTHER)
    getattr(made, "activation_checkpointing_enable", made.gradient_checkpointing_enable)()  # its new name, its old one
    runs = 0

    def count(*_: object) -> None:
        nonlocal runs
        runs += 1

    made.model.layers[0].mlp.register_forward_pre_hook(count)
    near(learned(made, FULL, batch, reference=_OTHER), plain)
    assert runs == 4, "two micro-batches, what is anchored and what is not; each layer runs again in the backward pass"
    assert not made.training


def test_the_gradient_is_the_slope_of_the_loss() -> None:
    made = model("gpt2", dtype=torch.float64)  # whose norms are not in float32
    batch = batch_of(said_by(made))
    reference = model("gpt2", seed=1, dtype=torch.float64)
    learner = learner_of(made, FULL, reference=reference, row_tokens=40, budget=80)
    step = 1e-5

    def loss() -> float:
        return learner.learn(batch, 1, np.random.default_rng(0))["loss"]

    loss()
    layer = made.transformer.h[0]
    slopes = {
        weight: weight.grad.clone() for weight in (layer.attn.c_attn.bias, layer.ln_1.weight, made.lm_head.weight)
    }
    for weight, slope in slopes.items():
        place = slope.abs().flatten().argmax()
        flat = weight.data.view(-1)
        flat[place] += step
        up = loss()
        flat[place] -= 2 * step
        down = loss()
        flat[place] += step
        assert (up - down) / (2 * step) == pytest.approx(float(slope.flatten()[place]), rel=1e-6)


# What a step does


def test_what_was_just_sampled_has_a_ratio_of_one() -> None:
    tokenizer = train_tokenizer(["a"], 258)
    sampler = HFAgent(model(words=len(tokenizer)), tokenizer, 20, temperature=0.9)
    replies = [reply for group in sampler.reply(["a", "some words", "x" * 17], 6, 0) for reply in group]
    row = replace(preset("trr++"), clip_low=1e-4, clip_high=1e-4)
    found = learner_of(sampler.model, row, temperature=0.9).learn(batch_of(replies), 2, np.random.default_rng(0))
    assert found["clip_fraction"] == 0
    assert found["sequences"] == 18
    stale = [replace(reply, logprobs=tuple(value - 0.01 for value in reply.logprobs)) for reply in replies]
    found = learner_of(sampler.model, row, temperature=0.9).learn(batch_of(stale), 2, np.random.default_rng(0))
    assert 0.3 < found["clip_fraction"] < 0.7, "raised already: clipped where the advantage is above 0"


def test_the_metrics_are_means_over_the_batch() -> None:
    made, batch = model(), batch_of(replies_to())
    with torch.no_grad():
        lp_NL, entropy_NL = one_by_one(made, batch.replies)
        ref_NL, _ = one_by_one(_OTHER, batch.replies)
    mask_NL = mask_of(batch.replies)
    held_NL = mask_NL & (torch.tensor(batch.anchor)[:, None] > 0)
    for row_tokens, budget in LAYOUTS:
        learner = learner_of(made, FULL, reference=_OTHER, row_tokens=row_tokens, budget=budget)
        found = learner.learn(batch, 2, np.random.default_rng(0))
        assert found["entropy"] == pytest.approx(float(entropy_NL[mask_NL].mean()), rel=1e-5)
        assert found["kl"] == pytest.approx(float((lp_NL - ref_NL)[held_NL].mean()), rel=1e-4)


@settings(max_examples=20)
@given(st.lists(st.integers(1, 5), min_size=1, max_size=6), st.integers(1, 4), st.integers(0, 9))
def test_replies_to_one_prompt_stay_in_one_step(counts: list[int], steps: int, seed: int) -> None:
    replies, parts = replies_to(counts, seed), Learner._parts
    done: list[list[int]] = []

    def spy(self: Learner, replies: Sequence[TokenReply], chosen: Sequence[int]) -> Any:
        done.append(list(chosen))
        return parts(self, replies, chosen)

    learner = learner_of(_TINY, preset("trr++"))
    with patch.object(Learner, "_parts", spy):
        learner.learn(batch_of(replies), steps, np.random.default_rng(seed))
    prompts = {reply.prompt_ids for reply in replies}
    assert len(done) == min(steps, len(prompts))
    assert sorted(chain(*done)) == list(range(len(replies)))
    assert sum(len({replies[index].prompt_ids for index in step}) for step in done) == len(prompts)


def test_which_prompts_stand_together_is_drawn() -> None:
    batch = batch_of(replies_to((1, 1, 1, 1)))
    last = [learned(_TINY, FULL, batch, steps=2, seed=seed) for seed in (0, 0, 1, 2, 3)]
    assert torch.equal(last[0], last[1])
    assert len({tuple(gradient.tolist()) for gradient in last}) > 2


def test_an_empty_batch_changes_nothing() -> None:
    made = model()
    before = weights_of(made)
    found = learner_of(made, FULL, lr=0.1).learn(Batch([], [], []), 3, np.random.default_rng(0))
    assert torch.equal(weights_of(made), before)
    assert set(found.values()) == {0.0}


def test_a_rank_without_rows_counts_along_with_the_others() -> None:
    def calls(batch: Batch) -> list[tuple[torch.Size, torch.dtype]]:
        said: list[tuple[torch.Size, torch.dtype]] = []

        def another_rank_has_some(values: Tensor) -> Tensor:
            said.append((values.shape, values.dtype))
            return values + 1

        learner_of(_TINY, preset("trr++"), reduce=another_rank_has_some).learn(batch, 3, np.random.default_rng(0))
        return said

    assert calls(Batch([], [], [])) == calls(batch_of(replies_to((2,)))) == calls(batch_of(replies_to((2, 1, 1))))


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_gradient_that_is_no_number_leaves_the_weights_alone(bad: float) -> None:
    made, batch = model(), batch_of(replies_to())
    before = weights_of(made)
    learner = learner_of(made, preset("trr++"), lr=0.1, max_grad_norm=1.0)
    broken = Batch(batch.replies, [torch.full_like(values, bad) for values in batch.advantages], batch.anchor)
    assert not np.isfinite(learner.learn(broken, 1, np.random.default_rng(0))["grad_norm"])
    assert torch.equal(weights_of(made), before)
    learner.learn(batch, 1, np.random.default_rng(0))
    after = weights_of(made)
    assert torch.isfinite(after).all()
    assert not torch.equal(after, before), "the next step works"


def test_gradients_are_clipped_to_their_norm() -> None:
    made, batch = model(), batch_of(replies_to())
    whole = learned(made, FULL, batch)
    found = learner_of(made, FULL, max_grad_norm=0.01).learn(batch, 1, np.random.default_rng(0))
    assert found["grad_norm"] == pytest.approx(float(whole.norm()), rel=1e-4)
    torch.testing.assert_close(gradient_of(made), whole * 0.01 / whole.norm(), atol=1e-7, rtol=1e-3)


def test_a_step_is_as_long_as_its_rate() -> None:
    made, batch = model(), batch_of(replies_to())
    before = weights_of(made)
    learner = learner_of(made, FULL, lr=0.5)
    learner.learn(batch, 1, np.random.default_rng(0), lr=1e-3)
    assert float((weights_of(made) - before).abs().max()) == pytest.approx(1e-3, rel=0.01), "Adam's first step is lr"
    before = weights_of(made)
    learner.learn(batch, 1, np.random.default_rng(0))
    assert float((weights_of(made) - before).abs().max()) > 0.1


# Half precision


class Slope(torch.nn.Module):
    """One weight of 1 in bfloat16."""

    config = SimpleNamespace()

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(1, dtype=torch.bfloat16))


class Downhill(Learner):
    """The gradient is the micro-batch's first advantage, and the model is not asked."""

    def _loss(self, batch: Batch, rows: Sequence[Sequence[int]], terms: float, tally: Any) -> Tensor:
        slope: Tensor = self.model.weight.sum() * batch.advantages[rows[0][0]][0]
        return slope


def slopes(*values: float) -> Batch:
    """A micro-batch for each, where the budget is 1."""
    replies = [TokenReply("", (place,), (1,), (-1.0,), True, 0) for place, _ in enumerate(values)]
    return Batch(replies, [torch.tensor([value]) for value in values], [0.0] * len(values))


def test_steps_of_a_millionth_of_a_weight_add_up() -> None:
    made = Slope()
    learner = Downhill(made, preset("trr++"), lr=1e-6)

    def walk(steps: int) -> float:
        for _ in range(steps):
            learner.learn(slopes(1.0), 1, np.random.default_rng(0))
        return made.weight.item()

    assert walk(1000) == 1.0, "the nearest bfloat16 is 1/256 away"
    assert learner.masters[0].item() == pytest.approx(1 - 1000e-6, abs=2e-5)  # 2 % of float32 near 1
    assert walk(2000) == 1 - 1 / 256, "more than half of the way"
    assert made.weight.dtype is torch.bfloat16


def test_micro_batches_in_half_precision_are_summed_in_float32() -> None:
    learner = Downhill(Slope(), preset("trr++"), lr=0.0, max_grad_norm=float("inf"), budget=1)
    found = learner.learn(slopes(256.0, *[1.0] * 64), 1, np.random.default_rng(0))
    assert found["grad_norm"] == 320, "in bfloat16 256 + 1 is 256"


def test_a_gradient_left_by_somebody_else_is_not_learned_from() -> None:
    made = Slope()
    learner = Downhill(made, preset("trr++"), lr=0.0, max_grad_norm=float("inf"))
    made.weight.grad = torch.full_like(made.weight, 7.0)
    assert learner.learn(slopes(1.0), 1, np.random.default_rng(0))["grad_norm"] == 1


def test_float32_is_trained_itself_as_by_plain_adamw() -> None:
    made, batch = model(), batch_of(replies_to())
    learned(made, FULL, batch)
    plain = [torch.nn.Parameter(weight.detach().clone()) for weight in made.parameters()]
    for copy, weight in zip(plain, made.parameters(), strict=True):
        copy.grad = weight.grad
    torch.optim.AdamW(plain, lr=0.01, betas=(0.9, 0.98), weight_decay=0.0).step()
    learner = learner_of(made, FULL, lr=0.01)
    assert all(master is weight for master, weight in zip(learner.masters, made.parameters(), strict=True))
    learner.learn(batch, 1, np.random.default_rng(0))
    assert torch.equal(weights_of(made), torch.cat([weight.detach().flatten() for weight in plain]))


def test_bfloat16_learns_nearly_what_float32_learns() -> None:
    exact, rough = model(), model().to(torch.bfloat16)
    batch, rng = batch_of(said_by(exact)), np.random.default_rng(0)
    before = weights_of(exact)
    for made in (exact, rough):
        learner = learner_of(made, FULL, lr=1e-4)
        for _ in range(20):
            learner.learn(batch, 1, rng)
    moved = weights_of(exact) - before
    found = torch.cat([master.detach().flatten() for master in learner.masters]) - before
    assert float(torch.nn.functional.cosine_similarity(found, moved, 0)) > 0.9
    assert torch.equal(weights_of(rough), (before + found).bfloat16())


# The reference


class Untouchable(torch.nn.Module):
    """A reference that must not be asked."""

    def forward(self, **_: Any) -> Any:
        raise AssertionError("the reference was asked")


def test_where_nothing_is_anchored_the_reference_plays_no_part() -> None:
    made, batch = model(), batch_of(replies_to(), anchored=False)
    row = replace(FULL, kl_weight=10.0)
    near(learned(made, row, batch, reference=Untouchable()), learned(made, row, batch, reference=None))
    anchored = batch_of(replies_to())
    near(learned(made, replace(row, kl_weight=0.0), anchored, reference=Untouchable()), learned(made, row, batch))
    assert not torch.allclose(learned(made, row, anchored, reference=_OTHER), learned(made, row, batch), rtol=0.1)


@pytest.mark.parametrize("kind", KL)
def test_an_anchor_draws_the_model_to_its_reference(kind: KL) -> None:
    tokenizer = train_tokenizer(["a"], 258)
    made, reference = model(words=len(tokenizer)), model(seed=1, words=len(tokenizer))
    before = weights_of(reference)
    sampler = HFAgent(made, tokenizer, 3)
    row = replace(preset("dr.grpo"), kl=kind, kl_weight=1.0)
    learner = Learner(made, row, 0.02, reference, max_tokens=3)
    ids = torch.tensor(sampler.encode(["abcd"]))

    def divergence() -> float:
        with torch.no_grad():
            ours, theirs = (one(input_ids=ids).logits[0, -1].log_softmax(-1) for one in (made, reference))
        return float((ours.exp() * (ours - theirs)).sum())

    gone = [divergence()]
    for turn in range(12):
        [group] = sampler.reply(["abcd"], 64, turn)
        learner.learn(
            Batch(list(group), [torch.zeros(len(one.ids)) for one in group], [1.0] * 64), 1, np.random.default_rng(0)
        )
        gone.append(divergence())
    assert gone[6] < gone[0]
    assert gone[12] < 0.5 * gone[0]
    assert torch.equal(weights_of(reference), before)


@pytest.mark.parametrize(("row_tokens", "budget"), LAYOUTS)
def test_reference_logprobs_come_in_the_order_of_the_replies(row_tokens: int, budget: int) -> None:
    replies = replies_to()
    learner = learner_of(_TINY, FULL, reference=_OTHER, temperature=0.7, row_tokens=row_tokens, budget=budget)
    sampled_NL, found_NL = learner.reference_logprobs(replies)
    with torch.no_grad():
        lp_NL, _ = one_by_one(_OTHER, replies, 0.7)
    torch.testing.assert_close(found_NL, lp_NL, atol=1e-5, rtol=1e-5)
    for row, reply in enumerate(replies):
        assert sampled_NL[row, : len(reply.ids)].tolist() == pytest.approx(reply.logprobs)
        assert not sampled_NL[row, len(reply.ids) :].any()


def test_without_a_reference_it_says_so() -> None:
    with pytest.raises(BadArgument, match="reference is needed"):
        learner_of(_TINY, FULL).reference_logprobs(replies_to())


# Learning


@pytest.mark.parametrize("name", ["trr++", "rloo", "dr.grpo"])
def test_a_rewarded_token_becomes_likely(name: str) -> None:
    tokenizer = train_tokenizer(["a"], 258)
    made = model(words=len(tokenizer))
    sampler = HFAgent(made, tokenizer, 1)
    learner = Learner(made, preset(name), 0.02, max_tokens=1)
    ids = torch.tensor(sampler.encode(["ab"]))

    def chances() -> Tensor:
        with torch.no_grad():
            chance_V: Tensor = made(input_ids=ids).logits[0, -1].softmax(-1)
        return chance_V

    token = int(chances().argsort(descending=True)[9])  # seen now and then
    before = float(chances()[token])
    for turn in range(40):
        [group] = sampler.reply(["ab"], 64, turn)
        reward = torch.tensor([float(reply.ids[0] == token) for reply in group])
        advantages = list((reward - reward.mean())[:, None] / (reward.std() + 0.1))
        learner.learn(Batch(list(group), advantages, [0.0] * 64), 1, np.random.default_rng(turn))
    assert before < 0.1
    assert float(chances()[token]) > 0.5


# Two processes


def shares(rows: slice, learn: Callable[[Any, Batch], None]) -> Tensor:
    """The weights after learning from some of the prompts of one fixed batch."""
    made, batch = model(), batch_of(replies_to((4, 1, 3, 2, 2)))
    prompts = list(dict.fromkeys(reply.prompt_ids for reply in batch.replies))[rows]
    mine = [index for index, reply in enumerate(batch.replies) if reply.prompt_ids in prompts]
    parts = (batch.replies, batch.advantages, batch.anchor)
    learn(made, Batch(*([part[index] for index in mine] for part in parts)))  # type: ignore[arg-type]
    return weights_of(made)


def sgd(model: Any, batch: Batch, **options: Any) -> None:
    """A step whose gradient's length matters, and is clipped."""
    learner = learner_of(model, FULL, lr=0.1, max_grad_norm=2.0, reference=_OTHER, budget=50, **options)
    learner.optimizer = torch.optim.SGD(model.parameters())  # type: ignore[assignment]
    learner.learn(batch, 1, np.random.default_rng(0))


def on_a_rank(rank: int) -> dict[str, Tensor]:
    """The weights that each of the two processes comes to."""

    def learn(model: Any, batch: Batch) -> None:
        sgd(model, batch, reduce=sum_over_ranks, world=2)

    def wrapped(model: Any, batch: Batch) -> None:
        learn(DistributedDataParallel(model), batch)

    return {
        "halves": shares(slice(0, 2) if rank == 0 else slice(2, 5), learn),
        "one does nothing": shares(slice(0, 0) if rank == 0 else slice(0, 5), learn),
        "halves, wrapped": shares(slice(0, 2) if rank == 0 else slice(2, 5), wrapped),
        "one does nothing, wrapped": shares(slice(0, 0) if rank == 0 else slice(0, 5), wrapped),
    }


def test_two_ranks_learn_what_one_learns(tmp_path: Path) -> None:
    whole, before = shares(slice(0, 5), sgd), weights_of(model())
    assert float((whole - before).abs().max()) > 1e-3
    for rank in two_ranks(on_a_rank, tmp_path):
        for found in rank.values():
            torch.testing.assert_close(found, whole, atol=1e-6, rtol=1e-5)


_LLAMA, _OTHER, _TINY = model(), model(seed=1), model(seed=2)
