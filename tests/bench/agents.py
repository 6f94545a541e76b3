"""Benchmarks of the learner: `make bench BENCH=agents`. One step of our loop against one of TRL's GRPOTrainer.

The same random model, prompts, number of replies and reward, on one thread; both sides alternate in each round, and the
ratio of their CPU times within a round is what counts. As in the loop, prompts whose answers were all worth the same
are not run through the model again: their gradient is zero. Needs the extra `bench` (TRL); without it only our side is
measured. The sandbox has no part in it.
"""

from __future__ import annotations

import importlib.util
import json
import logging
import os
import platform
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import tyro
from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast, Qwen2Config

from azr_agents.advantages import Groups
from azr_agents.hf import HFAgent
from azr_agents.presets import estimate, preset
from azr_agents.selfplay import IDLE
from azr_agents.update import Batch, Learner

PROMPTS, SAMPLES, NEW = 8, 8, 64
AIMS = {64: 2.0, 512: 4.0}


def tokenizer() -> Any:
    """One token a byte."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    words = {letter: number for number, letter in enumerate(letters)} | {"<pad>": 256, "<end>": 257}
    made = Tokenizer(models.BPE(words, []))
    made.pre_tokenizer, made.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=made, pad_token="<pad>", eos_token="<end>")  # type: ignore[no-untyped-call]


def model() -> Any:
    """A random Qwen2 of 0.82 million parameters."""
    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=260, hidden_size=128, num_hidden_layers=4, num_attention_heads=4, num_key_value_heads=2,
        intermediate_size=416, max_position_embeddings=1024, tie_word_embeddings=True, eos_token_id=257, pad_token_id=256,
        bos_token_id=None,
    )  # fmt: skip
    return AutoModelForCausalLM.from_config(config)  # type: ignore[no-untyped-call]


def reward(text: str) -> float:
    """The share of one letter."""
    return text.count("a") / max(1, len(text))


def prompts(length: int) -> list[str]:
    """Texts of so many bytes."""
    rng = np.random.default_rng(0)
    return ["".join(rng.choice(list("abcdefgh \n"), length)) for _ in range(PROMPTS)]


def ours(length: int) -> Callable[[], None]:
    """A step of our loop: sample, whiten by prompt, learn."""
    held, words, row = model(), tokenizer(), preset("grpo")
    agent = HFAgent(held, words, max_new_tokens=NEW)
    learner = Learner(held, preset("dapo"), 1e-6)
    asked, rng, step = prompts(length), np.random.default_rng(0), 0

    def run() -> None:
        nonlocal step
        step += 1
        replies = [reply for group in agent.reply(asked, SAMPLES, step) for reply in group]
        mask = torch.nn.utils.rnn.pad_sequence(
            [torch.ones(len(one.ids), dtype=torch.bool) for one in replies], batch_first=True
        )
        groups = Groups(torch.arange(PROMPTS).repeat_interleave(SAMPLES), PROMPTS)
        advantages, _ = estimate(row, torch.tensor([reward(one.text) for one in replies]), mask, groups, groups)
        kept = [
            at for at in range(len(replies)) if bool((advantages[at].abs() > IDLE).any())
        ]  # as the loop does: exact
        batch = Batch(
            [replies[at] for at in kept], [advantages[at, : len(replies[at].ids)] for at in kept], [0.0] * len(kept)
        )
        learner.learn(batch, 1, rng)

    return run


@contextmanager
def trl(length: int, steps: int) -> Iterator[Callable[[], float] | None]:
    """So many steps of TRL's trainer: gives the CPU seconds of one. None where TRL is not installed."""
    if importlib.util.find_spec("trl") is None:
        yield None
        return
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    from datasets import Dataset
    from transformers import TrainerCallback
    from trl import GRPOConfig, GRPOTrainer

    with tempfile.TemporaryDirectory() as folder:

        def run() -> float:
            marks: list[float] = []

            class Clock(TrainerCallback):
                def on_step_end(self, *_: Any, **__: Any) -> None:
                    marks.append(time.process_time())

            settings = GRPOConfig(
                output_dir=folder, max_steps=steps + 1, per_device_train_batch_size=PROMPTS * SAMPLES,
                num_generations=SAMPLES, max_completion_length=NEW, beta=0.0, learning_rate=1e-6, report_to=[],
                save_strategy="no", logging_strategy="no", use_cpu=True, bf16=False, gradient_checkpointing=False, disable_tqdm=True,
            )  # fmt: skip
            trainer = GRPOTrainer(
                model(), lambda completions, **_: [reward(one) for one in completions], settings,
                Dataset.from_dict({"prompt": prompts(length)}), processing_class=tokenizer(), callbacks=[Clock()],
            )  # fmt: skip
            trainer.train()
            return (marks[-1] - marks[0]) / steps

        yield run


def main(
    rounds: int = 5,
    lengths: tuple[int, ...] = (64, 512),
    json_file: Annotated[Path | None, tyro.conf.arg(name="json")] = None,
) -> None:
    """Measure, print, and write."""
    torch.set_num_threads(1)
    found: dict[str, list[float]] = {}
    with Progress(console=Console(stderr=True)) as progress:
        bar = progress.add_task("the learner", total=rounds * len(lengths))
        for length in lengths:
            mine = ours(length)
            mine()
            with trl(length, 3) as other:
                for _ in range(rounds):
                    started = time.process_time()
                    for _ in range(3):
                        mine()
                    spent = (time.process_time() - started) / 3
                    found.setdefault(f"samples/s, prompts of {length}", []).append(PROMPTS * SAMPLES / spent)
                    if other is not None:
                        found.setdefault(f"x TRL, prompts of {length}", []).append(other() / spent)
                    progress.advance(bar)
    medians = {name: statistics.median(values) for name, values in found.items()}
    table = Table("", "median", "aim", title="The learner, one thread", title_justify="left")
    for name, value in medians.items():
        aim = next((aim for length, aim in AIMS.items() if name == f"x TRL, prompts of {length}"), None)
        table.add_row(
            name, f"{value:,.1f}", "" if aim is None else f">= {aim:g}" + ("" if value >= aim else " (missed)")
        )
    Console().print(table)
    if json_file is not None:
        machine = {
            "cores": len(os.sched_getaffinity(0)),
            "python": platform.python_version(),
            "torch": torch.__version__,
        }
        json_file.write_text(json.dumps({"machine": machine, "medians": medians, "rounds": found}, indent=1) + "\n")


if __name__ == "__main__":
    tyro.cli(main)
