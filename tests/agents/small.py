"""What the learner's tests share: settings of seconds, scripted agents that propose, and a base of a few thousand weights
that can play a little."""

from __future__ import annotations

import importlib.util
import itertools
import os
from collections.abc import Callable, Iterator, Sequence
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoModelForCausalLM, LlamaConfig

from azr_agents.config import Config
from azr_agents.hf import TokenReply
from azr_agents.rollout import Arena
from azr_agents.selfplay import Policy, SelfPlay
from azr_agents.tokenizer import train_tokenizer
from azr_gym import TaskPool
from azr_gym.code import make_tasks

from conftest import missing

torch.set_num_threads(1)
JAIL = {"runner": "jail", "level": 1}
HINT = "# deduction\n"  # the end of a prompt for a proposer of deduction tasks


def config(**changes: Any) -> Config:
    """Settings of a run of seconds: deduction alone, tried in the jail."""
    quick: dict[str, Any] = {
        "modes": ("deduction",), "env_options": JAIL, "proposals": 6, "tasks": 6, "n_rollouts": 4, "seed_tasks": 12,
        "n_references": 0,
        "max_new_tokens": 24, "base_floor": 0.0, "eval_tasks": 4, "eval_samples": 2, "eval_splits": ("test",),
        "iterations": 3, "lr": 6e-4, "refill": 1, "checkpoint_every": 1, "device": "cpu", "tensorboard": False,
    }  # fmt: skip
    return Config(**(quick | changes))


def need_peft() -> None:
    """Skip where adapters can not be had."""
    if importlib.util.find_spec("peft") is None:
        missing("peft", 'pip install "azr-gym[lora]"')


# Scripts


class Says:
    """Answers by a function of the prompt and of the reply's place among those to it, with tokens that mean nothing.

    Its replies are of different lengths, and remembered in the order in which they were given.
    """

    version = 0

    def __init__(self, say: Callable[[str, int], str]) -> None:
        self.say = say
        self.asked: list[tuple[list[str], int, int]] = []
        self.given: list[TokenReply] = []

    def reply(self, prompts: Sequence[str], n: int, seed: int) -> list[list[TokenReply]]:
        self.asked.append((list(prompts), n, seed))
        groups = [[made(prompt, self.say(prompt, place)) for place in range(n)] for prompt in prompts]
        self.given += [reply for group in groups for reply in group]
        return groups

    def __deepcopy__(self, memo: object) -> Says:
        return self


def made(prompt: str, text: str) -> TokenReply:
    """A reply as a model would give it; its ids are letters."""
    ids = tuple(ord(letter) % 250 for letter in text[:7]) or (1,)
    asked = tuple(ord(letter) % 250 for letter in prompt[-9:])
    return TokenReply(text, asked, ids, tuple(-1.0 - place / 10 for place in range(len(ids))), True, 0)


def programs() -> Iterator[str]:
    """Proposals that are accepted, all of one structure and no two equal."""
    for number in itertools.count(100):
        yield f"def f(x):\n    return x + {number}\nf({number + 1})"


class Player:
    """Proposes by a list, over and over, and solves every task as often as `rights` says, by turns.

    Args:
        proposals: what it proposes.
        rights: how many of the attempts at the first task are right, at the second, and so on; the last holds for all
            that follow. None: all are.
    """

    def __init__(self, proposals: Sequence[str] | None = None, rights: Sequence[int] = ()) -> None:
        self.proposals = itertools.cycle(proposals) if proposals is not None else programs()
        self.rights, self.seen = list(rights), dict[str, int]()
        self.answers: dict[str, str] = {}

    def knows(self, *tasks: Any) -> Player:
        """Tell it the answers to tasks."""
        from azr_gym.code import prompts
        from azr_gym.roles import PromptStyle

        for task in tasks:
            self.answers[prompts.solve(task, PromptStyle.COMPACT)] = prompts.answer(task, PromptStyle.COMPACT)
        return self

    def __call__(self, prompt: str, place: int) -> str:
        if prompt.endswith("? ="):
            number = self.seen.setdefault(prompt, len(self.seen))
            right = self.rights[min(number, len(self.rights) - 1)] if self.rights else place + 1
            return self._answer(prompt) if place < right else "'no such thing'"
        return next(self.proposals)

    def _answer(self, prompt: str) -> str:
        if prompt in self.answers:
            return self.answers[prompt]
        space: dict[str, Any] = {}
        source, _, call = prompt.removesuffix("\n? =").rpartition("\n")
        exec(source, space)
        if call.startswith("f(?)"):
            return next(str(given) for given in range(10_000) if eval(call.replace("?", str(given)), space))
        return repr(eval(call.removesuffix(" == ?"), space))


class Learns:
    """A learner that writes down what it is given."""

    def __init__(self) -> None:
        self.batches: list[Any] = []
        self.rates: list[float] = []

    def learn(self, batch: Any, steps: int, rng: np.random.Generator, lr: float) -> dict[str, float]:
        self.batches.append(batch)
        self.rates.append(lr)
        return {"loss": 0.0, "kl": float(len(self.batches))}

    def reference_logprobs(self, replies: Sequence[TokenReply]) -> Any:
        raise AssertionError("nobody asked for a KL in the reward")


def policy(say: Callable[[str, int], str]) -> Any:
    """A script in the place of weights."""
    return Policy(Says(say), Learns())  # type: ignore[arg-type]


def seeded(settings: Config, count: int = 12) -> TaskPool[Any]:
    """A pool with tasks of the generator in each mode."""
    pool: TaskPool[Any] = TaskPool()
    for mode in settings.modes:
        for task in make_tasks(count, mode, 1, seed=1):
            pool.add(task, "seed")
    return pool


def play(settings: Config, arena: Arena, say: Callable[[str, int], str], proposer: Any = None) -> SelfPlay:
    """The loop, with a script that plays both roles, or one for each."""
    solver = policy(say)
    return SelfPlay(settings, solver, proposer or solver, arena.pool, arena)


# Children


def spawn(target: Callable[..., None], *given: Any) -> Any:
    """A child process that has torch already, in a group of its own as a terminal would make one."""
    context = get_context("forkserver")
    llama = [f"transformers.models.{name}" for name in ("llama.modeling_llama", "auto.modeling_auto")]
    context.set_forkserver_preload(["azr_agents.train", "azr_agents.cli", "pytest", "hypothesis", *llama])
    child = context.Process(target=_lead, args=(target, *given))
    child.start()
    return child


def _lead(target: Callable[..., None], *given: Any) -> None:
    os.setsid()
    target(*given)


# A base


Draw = Callable[[np.random.Generator], tuple[str, str]]
KINDS = ("x + {0}", "[x, {0}]", "x - {0}", "({0}, x)")


def lines(rng: np.random.Generator) -> tuple[str, str]:
    """A prompt and an answer of a game that a small model can learn: proposals, and what a program returns."""

    one, other = rng.integers(10, size=2)
    source = "def f(x):\n    return " + KINDS[int(rng.integers(len(KINDS)))].format(one)
    call = f"f({other})"
    if rng.random() < 0.4:
        return HINT, f"{source}\n{call}"
    space: dict[str, Any] = {}
    exec(source, space)
    return f"{source}\n{call} == ?\n? =", f" {eval(call, space)!r}"


def make_base(folder: Path, steps: int = 150, seed: int = 0, draw: Draw = lines) -> Path:
    """A Llama of 30,000 weights that has read what `draw` gives. Of `lines`: many of its proposals are valid, and some of its answers right."""
    rng = np.random.default_rng(seed)
    tokenizer = train_tokenizer(["".join(draw(rng)) for _ in range(300)], 290)
    shape = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=32, num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=2,
        intermediate_size=64, max_position_embeddings=1024, tie_word_embeddings=True, bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model: Any = AutoModelForCausalLM.from_config(shape)  # type: ignore[no-untyped-call]
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2, betas=(0.9, 0.98))
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = 1e-2 * min(1.0, step / 10, 1.05 - step / steps)
        pairs = [draw(rng) for _ in range(32)]
        prompts, answers = (tokenizer(list(texts))["input_ids"] for texts in zip(*pairs, strict=True))
        rows = [[*prompt, *answer, tokenizer.eos_token_id] for prompt, answer in zip(prompts, answers, strict=True)]
        ids = torch.nn.utils.rnn.pad_sequence([torch.tensor(row) for row in rows], batch_first=True)
        labels = torch.full_like(ids, -100)
        for place, (prompt, row) in enumerate(zip(prompts, rows, strict=True)):
            labels[place, len(prompt) : len(row)] = ids[place, len(prompt) : len(row)]
        model(input_ids=ids, labels=labels).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    model.eval().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
