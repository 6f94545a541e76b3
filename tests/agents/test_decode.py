"""Decoding: both engines give the logits of a whole forward pass, at every step, whatever has been dropped on the way."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor
from transformers import (
    AutoModelForCausalLM,
    GemmaConfig,
    GPT2Config,
    LlamaConfig,
    MistralConfig,
    MixtralConfig,
    OPTConfig,
    Qwen2Config,
    Qwen3Config,
)

from azr_agents import decode
from azr_agents.decode import (
    APART_BELOW,
    COMPACT_BELOW,
    PROMPT_ROOM,
    ROOM,
    Captured,
    Captures,
    Engine,
    Lean,
    Plain,
    Replayed,
    engine,
    fits,
)
from azr_agents.hf import HFAgent, TokenReply, draw
from azr_agents.tokenizer import train_tokenizer

torch.set_num_threads(1)
TOKENIZER = train_tokenizer(["a"], 258)
WORDS = len(TOKENIZER)
LENGTHS = (5, 1, 9, 4)  # of prompts
SHAPE: dict[str, Any] = {
    "vocab_size": WORDS, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
    "max_position_embeddings": 128, "bos_token_id": None, "eos_token_id": TOKENIZER.eos_token_id, "pad_token_id": 0,
}  # fmt: skip
GROUPED = SHAPE | {"num_key_value_heads": 2}
LLAMA3 = {"rope_type": "llama3", "rope_theta": 100.0, "factor": 4.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
          "original_max_position_embeddings": 32}  # fmt: skip
FITTING: dict[str, Any] = {
    "llama": lambda: LlamaConfig(**GROUPED),
    "llama, one key head for all": lambda: LlamaConfig(**SHAPE, num_key_value_heads=1, tie_word_embeddings=True),
    "llama, biases and wide heads": lambda: LlamaConfig(**GROUPED, attention_bias=True, mlp_bias=True, head_dim=16),
    "llama, stretched positions": lambda: LlamaConfig(**GROUPED, rope_parameters=LLAMA3),
    "qwen2": lambda: Qwen2Config(**GROUPED),
    "mistral": lambda: MistralConfig(**GROUPED, sliding_window=None, head_dim=16),
}
OTHERS: dict[str, Any] = {
    "mistral with a window": lambda: MistralConfig(**GROUPED, sliding_window=6),
    "qwen2 with windows": lambda: Qwen2Config(**GROUPED, use_sliding_window=True, sliding_window=6, max_window_layers=1),
    "llama with another activation": lambda: LlamaConfig(**GROUPED, hidden_act="gelu"),
    "qwen3": lambda: Qwen3Config(**GROUPED, head_dim=8),
    "gemma": lambda: GemmaConfig(**GROUPED, head_dim=8, hidden_act="silu"),
    "mixtral": lambda: MixtralConfig(**GROUPED, num_local_experts=2, sliding_window=None),
    "gpt2": lambda: GPT2Config(vocab_size=WORDS, n_embd=32, n_layer=2, n_head=4, n_positions=128, bos_token_id=1, eos_token_id=1),
    "opt": lambda: OPTConfig(vocab_size=WORDS, hidden_size=32, ffn_dim=48, num_hidden_layers=2, num_attention_heads=4,
                             max_position_embeddings=128, word_embed_proj_dim=32, bos_token_id=1, eos_token_id=1),
}  # fmt: skip


def model(config: Any, dtype: torch.dtype = torch.float32) -> Any:
    """A random model, every bias and norm of it too."""
    torch.manual_seed(0)
    made = AutoModelForCausalLM.from_config(config).eval()  # type: ignore[no-untyped-call]
    with torch.no_grad():
        for weight in made.parameters():
            weight.add_(0.2 * torch.randn_like(weight))
    return made.to(dtype)


@pytest.fixture(scope="module")
def llama() -> Any:
    return model(FITTING["llama"]())


def prompts_of(lengths: tuple[int, ...] | list[int], seed: int = 0) -> list[list[int]]:
    g = torch.Generator().manual_seed(seed)
    return [torch.randint(WORDS, (length,), generator=g).tolist() for length in lengths]


def start(model: Any, prompts: list[list[int]], n: int, most: int, lean: bool) -> Engine:
    """The engine asked for, prompts padded on the left with a token that is not theirs."""
    longest = max(map(len, prompts))
    ids_PT = torch.tensor([[7] * (longest - len(prompt)) + prompt for prompt in prompts])
    there_PT = torch.tensor([[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in prompts])
    with patch.object(decode, "fits", lambda _: lean):
        return engine(model, ids_PT, there_PT, n, most)


@dataclass
class Walk:
    """What an engine said at each step, and of which rows of the first batch."""

    rows: list[Tensor]
    logits: list[Tensor]


@torch.inference_mode()
def walk(model: Any, prompts: list[list[int]], n: int, ends: list[int], lean: bool, said_RS: Tensor) -> Walk:
    """Say `said_RS`, dropping rows that have ended whenever the engine offers it. `ends`: each row's last step."""
    running = start(model, prompts, n, max(ends), lean)
    assert isinstance(running, Lean | Replayed if lean else Plain)
    live = torch.arange(len(ends))
    made = Walk([live], [running.logits_RV])
    for step in range(max(ends)):
        kept = running.smaller(torch.tensor(ends)[live] > step)
        if kept is not None:
            running.keep(kept)
            live = live[kept]
        made.rows.append(live)
        made.logits.append(running.step(said_RS[live, step]).clone())
    return made


@torch.inference_mode()
def whole(model: Any, prompts: list[list[int]], n: int, said_RS: Tensor) -> Tensor:
    """The same logits from a forward pass over each row by itself, without a cache: (R, steps + 1, V)."""
    found = []
    for row, said in enumerate(said_RS.tolist()):
        ids = torch.tensor([[*prompts[row // n], *said]])
        found.append(model(input_ids=ids, use_cache=False).logits[0, len(prompts[row // n]) - 1 :])
    return torch.stack(found)


def check(model: Any, prompts: list[list[int]], n: int, ends: list[int], lean: bool, atol: float) -> Walk:
    said_RS = torch.randint(WORDS, (len(ends), max(ends)), generator=torch.Generator().manual_seed(1))
    wanted_RSV = whole(model, prompts, n, said_RS).float()
    made = walk(model, prompts, n, ends, lean, said_RS)
    for step, (rows, logits) in enumerate(zip(made.rows, made.logits, strict=True)):
        torch.testing.assert_close(logits.float(), wanted_RSV[rows, step], atol=atol, rtol=1e-4)
    return made


@pytest.mark.parametrize("lean", [False, True], ids=["plain", "lean"])
@pytest.mark.parametrize("kind", FITTING)
def test_every_step_has_the_logits_of_a_whole_forward_pass(kind: str, lean: bool) -> None:
    steps = ROOM + 3  # the room for tokens grows on the way
    ends = [steps, 2, 9, 4, 4, 4, 2, 2, 2, 1, steps - 1, 12]
    made = check(model(FITTING[kind]()), prompts_of(LENGTHS), 3, ends, lean, 2e-4)
    assert len({len(rows) for rows in made.rows}) > 2, "nothing was dropped"


@pytest.mark.parametrize("kind", OTHERS)
def test_what_lean_can_not_do_plain_does(kind: str) -> None:
    made = model(OTHERS[kind]())
    assert not fits(made)
    check(made, prompts_of(LENGTHS), 2, [14, 3, 1, 5, 5, 2, 14, 9], False, 5e-4)


@pytest.mark.parametrize("kind", FITTING)
def test_the_family_fits(kind: str) -> None:
    assert fits(model(FITTING[kind]()))


# --- in tensors that never move: what a GPU records, run here step by step -----------------------------------------
@pytest.mark.parametrize("kind", FITTING)
def test_tensors_that_never_move_give_the_same_logits(kind: str) -> None:
    made, n, most = model(FITTING[kind]()), 3, 7
    captured = Captured(made, 8, n, PROMPT_ROOM, most)
    for turn, lengths in enumerate([LENGTHS, (3, 17), (1, 1, 1, 1, 1, 30, 2, 2)]):  # loaded again and again
        with torch.no_grad():
            made.model.layers[0].self_attn.k_proj.weight.mul_(1.1)  # and the weights have been trained on
        prompts, rows = prompts_of(lengths, turn), len(lengths) * n
        said_RS = torch.randint(WORDS, (rows, most), generator=torch.Generator().manual_seed(turn))
        wanted_RSV = whole(made, prompts, n, said_RS)
        longest = max(lengths)
        ids_PT = torch.tensor([[7] * (longest - len(prompt)) + prompt for prompt in prompts])
        there_PT = torch.tensor([[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in prompts])
        with torch.inference_mode():
            lean = engine(made, ids_PT, there_PT, n, most)
            places_PT = (there_PT.cumsum(1) - 1).clamp(min=0)
            out = made(input_ids=ids_PT, attention_mask=there_PT, position_ids=places_PT, use_cache=True)
            captured.load(out.past_key_values, there_PT)
            for step in range(most):
                found = captured.step(said_RS[:, step])
                torch.testing.assert_close(found, lean.step(said_RS[:, step]), atol=1e-5, rtol=1e-5)
                torch.testing.assert_close(found, wanted_RSV[:, step + 1], atol=2e-4, rtol=1e-4)


@settings(max_examples=25, deadline=None)
@given(data=st.data(), lengths=st.lists(st.integers(1, 12), min_size=1, max_size=4), n=st.integers(1, 4))
def test_rows_that_take_longer_go_on_in_smaller_graphs(
    llama: Any, data: st.DataObject, lengths: list[int], n: int
) -> None:
    rows = len(lengths) * n
    ends = data.draw(st.lists(st.integers(1, 7), min_size=rows, max_size=rows), label="ends")
    shrink = data.draw(st.integers(2, 4), label="shrink")
    held = data.draw(st.sampled_from([0, 200_000, 1 << 30]), label="bytes held")
    captures: Captures = {}

    def replayed(model: Any, cache: Any, logits: Tensor, there: Tensor, n: int, most: int) -> Replayed:
        return Replayed(model, cache, logits, there, n, most, captures)

    with patch.multiple(decode, Lean=replayed, CAPTURE_FROM=1, HELD=1.0, _memory=lambda device: held, SHRINK=shrink):
        made = check(llama, prompts_of(lengths), n, ends, True, 2e-4)
    assert len(captures) == 1 or sum(one.size for one in captures.values()) <= held
    for step, kept in enumerate(made.rows[1:]):
        assert {row for row, end in enumerate(ends) if end > step} <= set(kept.tolist())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here: nothing can be captured")
def test_an_agent_says_the_same_from_graphs() -> None:
    made = model(FITTING["llama"]()).cuda()
    agent = HFAgent(made, TOKENIZER, ROOM + 4)
    for turn in range(3):
        with patch.object(decode, "CAPTURE_FROM", 1):
            graphs = agent.reply(TEXTS, 5, turn)
        with patch.object(decode, "CAPTURE_FROM", 1000):
            eager = agent.reply(TEXTS, 5, turn)
        assert [[one.ids for one in group] for group in graphs] == [[one.ids for one in group] for group in eager]
        with torch.no_grad():
            made.lm_head.weight.mul_(1.1)
    assert agent.captures


def test_a_window_that_is_switched_off_is_none() -> None:
    assert fits(model(Qwen2Config(**GROUPED, use_sliding_window=False, sliding_window=6)))


@pytest.mark.parametrize("kind", ["dynamic", "longrope"])
def test_positions_that_turn_otherwise_in_longer_texts_are_not_made_ahead(kind: str) -> None:
    rope: dict[str, Any] = {"rope_type": kind, "rope_theta": 100.0, "factor": 4.0}
    if kind == "longrope":
        rope |= {"short_factor": [1.0] * 4, "long_factor": [3.0] * 4, "original_max_position_embeddings": 16}
    made = model(LlamaConfig(**GROUPED, rope_parameters=rope))
    assert not fits(made)


@pytest.mark.parametrize("lean", [False, True], ids=["plain", "lean"])
@pytest.mark.parametrize("kind", ["llama", "qwen2"])
def test_in_half_precision_the_logits_are_near(kind: str, lean: bool) -> None:
    made = model(FITTING[kind](), torch.bfloat16)
    exact = model(FITTING[kind]())
    prompts, ends = prompts_of(LENGTHS), [6, 3, 2, 6, 1, 1, 5, 4]
    said_RS = torch.randint(WORDS, (len(ends), max(ends)), generator=torch.Generator().manual_seed(1))
    wanted_RSV = whole(exact, prompts, 2, said_RS)
    found = walk(made, prompts, 2, ends, lean, said_RS)
    for step, (rows, logits) in enumerate(zip(found.rows, found.logits, strict=True)):
        assert logits.dtype == torch.bfloat16
        apart = (logits.float() - wanted_RSV[rows, step]).square().mean().sqrt()
        assert apart < 0.03 * wanted_RSV.std()


@pytest.mark.parametrize("lean", [False, True], ids=["plain", "lean"])
def test_double_precision_works_too(lean: bool) -> None:
    check(model(FITTING["llama"](), torch.float64), prompts_of(LENGTHS), 2, [6, 3, 2, 6, 1, 1, 5, 4], lean, 1e-5)


@settings(max_examples=40)
@given(data=st.data(), lengths=st.lists(st.integers(1, 12), min_size=1, max_size=4), n=st.integers(1, 4))
def test_whatever_ends_when_the_others_go_on_alike(llama: Any, data: st.DataObject, lengths: list[int], n: int) -> None:
    rows = len(lengths) * n
    ends = data.draw(st.lists(st.integers(1, 7), min_size=rows, max_size=rows), label="ends")
    share = data.draw(st.sampled_from([0.0, 0.5, COMPACT_BELOW, 1.0]), label="compact below")
    with patch.object(decode, "COMPACT_BELOW", share), patch.object(decode, "ROOM", 3):
        check(llama, prompts_of(lengths), n, ends, True, 2e-4)


@given(st.integers(1, 6), st.integers(1, 6), st.sampled_from([0.3, COMPACT_BELOW, 1.0]), st.data())
def test_lean_keeps_every_row_that_goes_on_and_no_more_than_it_must(
    prompts: int, n: int, share: float, data: st.DataObject
) -> None:
    going = torch.tensor(data.draw(st.lists(st.booleans(), min_size=prompts * n, max_size=prompts * n), label="going"))
    assume(going.any())
    made = Lean.__new__(Lean)
    made.shape = (prompts, n)
    with patch.object(decode, "COMPACT_BELOW", share):
        rows = made.smaller(going)
    count_P = going.view(prompts, n).sum(1)
    even, total = int((count_P > 0).sum() * count_P.max()), int(going.sum())  # as many for each prompt that has any
    fewest = total if total < min(APART_BELOW * even, share * len(going)) else even
    if rows is None:
        assert fewest >= share * len(going)
        return
    assert len(rows) == fewest < share * len(going)
    assert set(going.nonzero()[:, 0].tolist()) <= set(rows.tolist())
    assert len(set(rows.tolist())) == len(rows)
    assert (rows // n).tolist() == sorted((rows // n).tolist()), "rows stand prompt by prompt"


@given(st.lists(st.booleans(), min_size=1, max_size=20).map(torch.tensor))
def test_plain_keeps_the_rows_that_go_on_and_no_other(going: Tensor) -> None:
    rows = Plain.__new__(Plain).smaller(going)
    if rows is None:
        assert going.sum() >= COMPACT_BELOW * len(going)
    else:
        assert rows.tolist() == going.nonzero()[:, 0].tolist()
        assert len(rows) < COMPACT_BELOW * len(going)


TEXTS = ["a", "some words", "x" * 30, "f(1) == ?", "some words", "\n"]


def said(made: HFAgent, prompts: list[str], n: int, lean: bool) -> list[TokenReply]:
    with patch.object(decode, "fits", lambda _: lean):
        return [reply for group in made.reply(prompts, n, 3) for reply in group]


def same(made: HFAgent, prompts: list[str], n: int) -> list[TokenReply]:
    """What is said through either engine."""
    lean, plain = said(made, prompts, n, True), said(made, prompts, n, False)
    assert [reply.ids for reply in lean] == [reply.ids for reply in plain]
    assert [(reply.text, reply.finished) for reply in lean] == [(reply.text, reply.finished) for reply in plain]
    for one, other in zip(lean, plain, strict=True):
        assert one.logprobs == pytest.approx(other.logprobs, abs=2e-4)
    return lean


@pytest.mark.parametrize("kind", FITTING)
def test_an_agent_says_the_same_through_either_engine(kind: str) -> None:
    replies = same(HFAgent(model(FITTING[kind]()), TOKENIZER, ROOM + 4), TEXTS, 5)
    assert len({reply.ids for reply in replies}) == 5 * len(set(TEXTS))


@pytest.mark.parametrize(("prompts", "n", "most"), [(["a"], 1, 1), (["a"], 1, ROOM), (["ab"], 7, 2), (TEXTS, 1, 1)])
def test_the_smallest_batches_work_too(llama: Any, prompts: list[str], n: int, most: int) -> None:
    for reply in same(HFAgent(llama, TOKENIZER, most), prompts, n):
        assert 1 <= len(reply.ids) <= most


def test_a_reply_ends_at_whichever_end_token_comes_first(llama: Any) -> None:
    made = HFAgent(llama, TOKENIZER, 30)
    made.end_ids = list(range(0, WORDS, 18))
    replies = same(made, TEXTS, 10)
    assert {reply.finished for reply in replies} == {True, False}
    assert len({reply.ids[-1] for reply in replies if reply.finished}) > 3
    for reply in replies:
        assert not set(made.end_ids) & set(reply.ids[:-1])
        assert reply.finished == (reply.ids[-1] in made.end_ids)
        assert reply.finished or len(reply.ids) == 30


def test_all_replies_may_end_at_once(llama: Any) -> None:
    at_once = HFAgent(llama, TOKENIZER, 8)
    at_once.end_ids = list(range(WORDS))
    assert {len(reply.ids) for reply in same(at_once, TEXTS, 3)} == {1}
    later = HFAgent(llama, TOKENIZER, 8, temperature=0.0)
    [first] = said(later, ["ab"], 1, False)
    later.end_ids = [first.ids[4]]
    together = same(later, ["ab"], 4)
    assert {reply.ids for reply in together} == {first.ids[: first.ids.index(first.ids[4]) + 1]}
    assert all(reply.finished for reply in together)


def test_the_likeliest_token_is_one_whoever_computes_it(llama: Any) -> None:
    prompts = prompts_of(LENGTHS)
    with torch.inference_mode():
        first = [start(llama, prompts, 2, 4, lean).logits_RV for lean in (True, False)]
    tokens = [draw(logits, torch.zeros(8), 0.0)[0].tolist() for logits in first]
    assert tokens[0] == tokens[1]
    assert tokens[0][::2] == tokens[0][1::2], "replies to one prompt begin alike"
