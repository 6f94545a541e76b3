"""The transformers agent: exact log-probabilities, ids end to end, and replies that hang on their own prompt alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium as gym
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM, LlamaConfig, Qwen2Config

from azr_agents.hf import HFAgent, TokenReply, draw
from azr_agents.tokenizer import train_tokenizer
from azr_gym import Agent, BadArgument
from azr_gym.code import make_tasks
from azr_gym.code.prompts import answer, solve
from azr_gym.roles import PromptStyle

torch.set_num_threads(1)
TEXTS = [
    solve(task, PromptStyle.COMPACT) + answer(task, PromptStyle.COMPACT)
    for mode in ("deduction", "abduction", "induction")
    for task in make_tasks(60, mode)
]
TOKENIZER = train_tokenizer(TEXTS, 320)
PROMPTS = ["f(1) == ?\n? =", "def f(x):\n    return x[::-1]\nf('abc') == ?\n? =", "x", "f(?) == [1, 2, 3]\n? ="]


def model(kind: str = "llama", context: int = 256) -> Any:
    config = {"llama": LlamaConfig, "qwen2": Qwen2Config}[kind](
        vocab_size=len(TOKENIZER), hidden_size=32, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
        intermediate_size=64, max_position_embeddings=context, tie_word_embeddings=True, eos_token_id=TOKENIZER.eos_token_id,
    )  # fmt: skip
    torch.manual_seed(0)
    made = AutoModelForCausalLM.from_config(config).eval()  # type: ignore[no-untyped-call]
    with torch.no_grad():
        for weight in made.parameters():
            if weight.ndim > 1:
                weight.mul_(4.0)  # far from uniform
    return made


def agent(kind: str = "llama", **options: Any) -> HFAgent:
    return HFAgent(model(kind), TOKENIZER, **{"max_new_tokens": 24, **options})


@pytest.mark.parametrize("kind", ["llama", "qwen2"])
@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_logprobs_are_those_of_a_plain_forward_pass(kind: str, temperature: float) -> None:
    made = agent(kind, temperature=temperature)
    for group in made.reply(PROMPTS, 6, 3):
        for reply in group:
            ids = torch.tensor([*reply.prompt_ids, *reply.ids])[None]
            with torch.inference_mode():
                logits = made.model(input_ids=ids).logits[0, len(reply.prompt_ids) - 1 : -1].float() / temperature
            wanted = torch.log_softmax(logits, -1).gather(1, torch.tensor(reply.ids)[:, None])[:, 0]
            assert torch.allclose(torch.tensor(reply.logprobs), wanted, atol=2e-4)


def test_a_reply_hangs_on_its_own_prompt_place_and_seed() -> None:
    made = agent()
    together = made.reply(PROMPTS, 5, 7)
    assert together == made.reply(PROMPTS, 5, 7)
    alone = [made.reply([prompt], 5, 7)[0] for prompt in PROMPTS]
    assert [[reply.ids for reply in group] for group in together] == [[reply.ids for reply in group] for group in alone]
    fewer = made.reply(PROMPTS[::-1], 2, 7)[::-1]
    assert [[reply.ids for reply in group[:2]] for group in together] == [
        [reply.ids for reply in group] for group in fewer
    ]
    other = made.reply(PROMPTS, 5, 8)
    assert [reply.ids for reply in together[0]] != [reply.ids for reply in other[0]]
    assert len({reply.ids for reply in together[0]}) > 1


def test_equal_prompts_apart_get_the_replies_of_one_that_is_asked_so_often() -> None:
    made = agent(max_new_tokens=12, max_rows=4)
    apart = made.reply_apart(["a b", "c", "a b", "d e f", "c", "a b"], 5)
    [often], [twice], [once] = made.reply(["a b"], 3, 5), made.reply(["c"], 2, 5), made.reply(["d e f"], 1, 5)
    together = [often[0], twice[0], often[1], once[0], twice[1], often[2]]
    assert [one.ids for one in apart] == [one.ids for one in together]
    assert len({one.ids for one in often}) == 3
    assert made.reply_apart([], 5) == []


def test_making_the_batch_smaller_and_splitting_it_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    ids = [[reply.ids for reply in group] for group in agent().reply(PROMPTS, 8, 1)]
    assert [[reply.ids for reply in group] for group in agent(max_rows=9).reply(PROMPTS, 8, 1)] == ids
    monkeypatch.setattr("azr_agents.decode.COMPACT_BELOW", 0.0)
    assert [[reply.ids for reply in group] for group in agent().reply(PROMPTS, 8, 1)] == ids


def test_greedy_is_what_transformers_generates() -> None:
    made = agent(temperature=0.0)
    for prompt, [reply] in zip(PROMPTS, made.reply(PROMPTS, 1, 0), strict=True):
        ids = torch.tensor([made.encode([prompt])[0]])
        out = made.model.generate(ids, do_sample=False, max_new_tokens=24, pad_token_id=TOKENIZER.pad_token_id)
        assert tuple(out[0, ids.shape[1] :].tolist()) == reply.ids


def test_a_reply_ends_at_any_end_token_and_says_whether_it_did() -> None:
    made = agent()
    made.model.generation_config.eos_token_id = [TOKENIZER.eos_token_id, 10, 11, 12, 13]
    ends = set(HFAgent(made.model, TOKENIZER).end_ids)
    assert ends == {TOKENIZER.eos_token_id, 10, 11, 12, 13}
    replies = [reply for group in HFAgent(made.model, TOKENIZER, 24).reply(PROMPTS, 40, 0) for reply in group]
    for reply in replies:
        assert reply.finished == (reply.ids[-1] in ends)
        assert not ends & set(reply.ids[:-1])
        assert reply.finished or len(reply.ids) == 24
        assert len(reply.logprobs) == len(reply.ids)
    assert {reply.finished for reply in replies} == {True, False}


def test_it_plays_an_environment() -> None:
    made = agent()
    assert isinstance(made, Agent)
    env = gym.make("CodeTriplet-v0", prompt_style="compact")
    prompt, _ = env.reset(seed=0)
    [[reply]] = made.reply([prompt], 1, 0)
    assert isinstance(reply, TokenReply)
    assert env.step(reply.text)[2]


def test_no_prompts_no_replies() -> None:
    assert agent().reply([], 3, 0) == []


@given(chance=st.floats(0.0, 1.0, exclude_max=True), seed=st.integers(0, 1000))
def test_a_token_of_probability_zero_is_never_drawn(chance: float, seed: int) -> None:
    logits = torch.randn(1, 12, generator=torch.Generator().manual_seed(seed))
    logits[0, ::2] = -torch.inf
    token, logprob = draw(logits, torch.tensor([chance]), 1.0)
    assert int(token) % 2 == 1
    assert torch.isfinite(logprob).all()


def test_draws_have_the_models_distribution() -> None:
    logits = torch.tensor([[0.0, 1.0, 2.0, -1.0]])
    chances = (torch.arange(20_000) + 0.5) / 20_000
    tokens, _ = draw(logits.expand(20_000, 4), chances, 2.0)
    share = torch.bincount(tokens, minlength=4) / 20_000
    assert torch.allclose(share, torch.softmax(logits[0] / 2, -1), atol=1e-3)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: agent(temperature=-1.0), "temperature"),
        (lambda: agent(max_new_tokens=0), "max_new_tokens"),
        (lambda: agent(template="chatml"), "plain"),
        (lambda: agent(template="chat"), "no chat template"),
        (lambda: agent().reply(["x", ""], 1, 0), "no tokens"),
        (lambda: agent(max_new_tokens=250).reply(["x" * 40], 1, 0), "context of 256"),
    ],
)
def test_what_can_not_work_says_what_to_do(make: Any, words: str) -> None:
    with pytest.raises(BadArgument, match=words):
        make()


def test_a_tokenizer_without_an_end_is_refused() -> None:
    class Endless:
        eos_token_id = None

    endless = model()
    endless.generation_config.eos_token_id = None
    with pytest.raises(BadArgument, match="end token"):
        HFAgent(endless, Endless())


def test_a_saved_model_comes_back_and_an_empty_folder_says_so(tmp_path: Path) -> None:
    made = agent()
    with pytest.raises(BadArgument, match="no weights"):
        HFAgent.from_pretrained(tmp_path)
    made.model.save_pretrained(tmp_path)
    TOKENIZER.save_pretrained(tmp_path)
    again = HFAgent.from_pretrained(tmp_path, max_new_tokens=24)
    assert again.reply(PROMPTS, 3, 2) == made.reply(PROMPTS, 3, 2)


def test_templates_stand_round_the_prompt() -> None:
    made = agent(template="r1")
    text = TOKENIZER.decode(made.encode(["6 * 7?"])[0])
    assert text.endswith("User: 6 * 7?\nAssistant: <think>")


@given(st.text())
def test_the_tokenizer_gives_any_text_back(text: str) -> None:
    clean = text.encode("utf-8", "ignore").decode()
    ids = TOKENIZER(clean)["input_ids"]
    assert TOKENIZER.decode(ids, skip_special_tokens=True) == clean


def test_thoughts_are_text_and_digits_stand_alone() -> None:
    ids = TOKENIZER("<think>12</think>[345]")["input_ids"]
    assert TOKENIZER.decode(ids, skip_special_tokens=True) == "<think>12</think>[345]"
    assert len(ids) == 2 + 2 + 5
    assert TOKENIZER.eos_token_id is not None


def test_what_does_not_fit_is_told_of_each_prompt_as_encoding_tells_it() -> None:
    made = agent()
    long = "7 " * 10_000
    assert made.misfits([]) == []
    first, empty, last = made.misfits(["6 * 7?", "", long])
    assert first == ""
    for prompt, reason in (("", empty), (long, last)):
        with pytest.raises(BadArgument) as told:
            made.encode(["6 * 7?", prompt])
        assert str(told.value) == reason
