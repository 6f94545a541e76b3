"""Makes a small base model from nothing: a tokenizer, a transformers architecture, and some passes over the `corpus`.

A base must be able to play before self-play can teach it: from bases that solved a few percent every run collapsed.
The recipe is seeded. On a GPU each length of batch is one CUDA graph, forward, backward and optimizer in one.
"""

from __future__ import annotations

import itertools
import json
import math
import multiprocessing
import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from azr_gym.code.generate import LEVELS
from azr_gym.errors import BadArgument
from azr_gym.roles import Role

from .corpus import MODULES, source
from .tokenizer import MIN_VOCAB, train_tokenizer

BUCKET = 32  # batches are padded to a multiple of it
MAX_LENGTH = 384  # longer examples are left out: fewer than one in a thousand
SHARD = 4096  # examples that one process makes at a time
WARM_UP = 100  # steps
SOLVE_WEIGHT, PROPOSE_WEIGHT, PROMPT_WEIGHT = 1.0, 0.3, 0.1  # of a token in the loss

Tick = Callable[[str, int, int], None]  # what is counted, how many are done, of how many


@dataclass(frozen=True, slots=True)
class Size:
    """The shape of a Llama: width, layers, heads, inner width; and the learning rate that suits it."""

    width: int
    layers: int
    heads: int
    inner: int
    lr: float


SIZES = {  # parameters with a vocabulary of 512
    "xs": Size(96, 3, 3, 256, 3e-3),  # 0.38 million
    "s": Size(128, 4, 4, 384, 3e-3),  # 0.92 million
    "m": Size(256, 4, 4, 768, 1e-3),  # 3.5 million
    "l": Size(512, 6, 8, 1536, 6e-4),  # 21 million
}


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a base is made. The same recipe gives the same examples, in the same order.

    Attributes:
        size: a name of `SIZES`.
        env: id of the environment that the base is to play; or several ids, whose examples come by turns.
        levels: of the code room's generator; each equally often, so a level that is named twice comes twice as often.
            The clinic's patients are of several levels always.
        examples: how many are made.
        epochs: how often they are read, in another order each time.
        batch_tokens: tokens of a step, padding included.
        vocab_size: of the tokenizer; the names that an environment has come on top.
        context: most tokens of a prompt and its reply, for whoever uses the model.
        seed: of the examples, their order and the weights.
    """

    size: str = "xs"
    env: str | tuple[str, ...] = "CodeTriplet-v0"
    levels: tuple[int, ...] = (1, 2, 2, 3)
    examples: int = 4_000_000
    epochs: int = 1
    batch_tokens: int = 32_768
    vocab_size: int = 512
    context: int = 1024
    seed: int = 0

    def __post_init__(self) -> None:
        if self.size not in SIZES:
            raise BadArgument(f"size must be one of {list(SIZES)}, not {self.size!r}")
        envs = [self.env] if isinstance(self.env, str) else self.env
        if not envs or len(set(envs)) < len(envs) or not set(envs) <= set(MODULES):
            raise BadArgument(f"env must be one of {list(MODULES)}, or different ones of them, not {self.env!r}")
        if not self.levels or not set(self.levels) <= set(LEVELS):
            raise BadArgument(f"levels must be some of {LEVELS}, not {self.levels!r}")
        if min(self.examples, self.epochs) < 1 or self.batch_tokens < MAX_LENGTH or self.vocab_size < MIN_VOCAB:
            raise BadArgument(
                f"examples and epochs must be above 0, batch_tokens at least {MAX_LENGTH}, and vocab_size at least "
                f"{MIN_VOCAB}"
            )


@dataclass(frozen=True, slots=True)
class Corpus:
    """Examples as tokens, one after another: example i is `ids[start[i] : start[i + 1]]`."""

    ids: NDArray[np.uint16]
    weight: NDArray[np.float16]  # of each token in the loss
    start: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.start) - 1


def make_tokenizer(recipe: Recipe) -> Any:
    """The tokenizer of a recipe."""
    count = min(recipe.examples, 12_000)
    made = source(recipe.env)
    some = itertools.islice(made.examples(np.random.default_rng([recipe.seed, 0]), recipe.levels), count)
    texts = (one.prompt + one.answer for one in some)
    return train_tokenizer(texts, recipe.vocab_size, recipe.context, made.SPLIT, made.words())


def make_corpus(recipe: Recipe, tokenizer: Any, processes: int = 1, tick: Tick | None = None) -> Corpus:
    """Make the examples of a recipe, in as many processes; how many changes nothing."""
    jobs = [
        (recipe, tokenizer, shard, min(SHARD, recipe.examples - shard * SHARD))
        for shard in range(math.ceil(recipe.examples / SHARD))
    ]
    shards = []
    for number, shard in enumerate(_parallel(jobs, processes), 1):
        shards.append(shard)
        if tick is not None:
            tick("examples", min(number * SHARD, recipe.examples), recipe.examples)
    lengths = np.concatenate([np.diff(shard.start) for shard in shards])
    return Corpus(
        np.concatenate([shard.ids for shard in shards]),
        np.concatenate([shard.weight for shard in shards]),
        np.concatenate([[0], np.cumsum(lengths)]),
    )


def _parallel(jobs: Sequence[tuple[Any, ...]], processes: int) -> Iterator[Corpus]:
    if processes == 1:
        yield from map(_shard, jobs)
        return
    with ProcessPoolExecutor(processes, multiprocessing.get_context("spawn")) as workers:
        yield from workers.map(_shard, jobs)


def _shard(job: tuple[Recipe, Any, int, int]) -> Corpus:
    recipe, tokenizer, number, count = job
    rng = np.random.default_rng([recipe.seed, 1, number])
    made = list(itertools.islice(source(recipe.env).examples(rng, recipe.levels), count))
    turns = [[(one.prompt, one.answer), *one.more] for one in made]
    texts = list(chain.from_iterable(chain.from_iterable(turns)))
    encoded = iter([found.ids for found in tokenizer.backend_tokenizer.encode_batch(texts)])
    ids, runs, start = list[int](), list[tuple[float, int]](), [0]
    for one, asked in zip(made, turns, strict=True):
        row, weights = weighed(one.role, [(next(encoded), next(encoded)) for _ in asked], tokenizer.eos_token_id)
        if row:
            ids += row
            runs += weights
            start.append(len(ids))
    weight, times = zip(*runs, strict=True)
    return Corpus(np.array(ids, np.uint16), np.repeat(np.array(weight, np.float16), times), np.array(start, np.int64))


def weighed(
    role: Role, turns: Sequence[tuple[list[int], list[int]]], end: int
) -> tuple[list[int], list[tuple[float, int]]]:
    """The tokens of questions with their answers, as many as fit into `MAX_LENGTH`, and runs of (weight, how many).

    Each answer has its end. What comes after one, the first token of the next question, is nothing to learn; nor is a
    question's last, which may be a tag that tells to think: who learns to write it would think unasked.
    """
    weight = SOLVE_WEIGHT if role is Role.SOLVE else PROPOSE_WEIGHT
    row, runs = list[int](), list[tuple[float, int]]()
    for asked, said in turns:
        if len(row) + len(asked) + len(said) >= MAX_LENGTH:
            break
        first = int(bool(row))
        last = int(len(asked) > first)
        runs += [(0.0, first), (PROMPT_WEIGHT, len(asked) - first - last), (0.0, last), (weight, len(said) + 1)]
        row += [*asked, *said, end]
    return row, runs


class Batch(NamedTuple):
    """Tokens padded to the right, and each one's weight in the loss; both (rows, length), on the device."""

    ids_BL: Tensor
    weight_BL: Tensor


def count_batches(corpus: Corpus, recipe: Recipe) -> int:
    """How many `batches` there are."""
    sizes, members = np.unique(_padded(corpus), return_counts=True)
    return recipe.epochs * int((members // np.maximum(1, recipe.batch_tokens // sizes)).sum())


def _padded(corpus: Corpus) -> NDArray[np.int64]:
    return -(-np.diff(corpus.start) // BUCKET) * BUCKET


def batches(corpus: Corpus, recipe: Recipe, device: str = "cpu") -> Iterator[Batch]:
    """Every example once an epoch, in batches of one length, in a seeded order. What fills no batch is left out.

    The corpus lies on the device: put together on the host, the batches of a small model take longer than its steps.
    """
    ids_N = torch.from_numpy(corpus.ids.view(np.int16)).to(device)
    weight_N = torch.from_numpy(corpus.weight).to(device)
    size = np.diff(corpus.start)
    for members, length in _order(corpus, recipe):
        start_B, size_B = (torch.from_numpy(part[members]).to(device) for part in (corpus.start, size))
        place_L = torch.arange(length, device=device)
        where_BL = (start_B[:, None] + place_L).clamp(max=len(ids_N) - 1)
        inside_BL = place_L < size_B[:, None]
        yield Batch(ids_N[where_BL].long() * inside_BL, weight_N[where_BL].float() * inside_BL)


def _order(corpus: Corpus, recipe: Recipe) -> Iterator[tuple[NDArray[np.int64], int]]:
    """Which examples stand in each batch, and to what length they are padded."""
    lengths = _padded(corpus)
    for epoch in range(recipe.epochs):
        rng = np.random.default_rng([recipe.seed, 2, epoch])
        groups: list[tuple[NDArray[np.int64], int]] = []
        for length in map(int, np.unique(lengths)):
            rows = max(1, recipe.batch_tokens // length)
            members = rng.permutation(np.flatnonzero(lengths == length))
            groups += [(group, length) for group in members[: len(members) // rows * rows].reshape(-1, rows)]
        yield from (groups[place] for place in rng.permutation(len(groups)))


def make_model(recipe: Recipe, tokenizer: Any) -> Any:
    """A Llama with random weights."""
    from transformers import AutoModelForCausalLM, LlamaConfig

    size = SIZES[recipe.size]
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=size.width,
        num_hidden_layers=size.layers,
        num_attention_heads=size.heads,
        num_key_value_heads=size.heads,
        intermediate_size=size.inner,
        max_position_embeddings=recipe.context,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    with torch.random.fork_rng():
        torch.manual_seed(recipe.seed)
        return AutoModelForCausalLM.from_config(config, attn_implementation="sdpa")  # type: ignore[no-untyped-call]


class Trainer:
    """The weights, their optimizer, and one step; on a GPU one CUDA graph for each shape of batch."""

    def __init__(self, model: Any, lr: float, steps: int) -> None:
        self.model, self.peak, self.steps, self.done = model.train(), lr, steps, 0
        self.device = next(model.parameters()).device
        self.on_gpu = self.device.type == "cuda"
        # A number would be baked into the graph at its first value; only a tensor on the device can change.
        self.lr = torch.tensor(0.0, device=self.device) if self.on_gpu else 0.0
        self.optimizer = torch.optim.AdamW(
            model.parameters(), lr=self.lr, betas=(0.9, 0.98), weight_decay=0.01, capturable=self.on_gpu
        )
        self._graphs: dict[tuple[int, ...], tuple[Any, Batch, Tensor]] = {}

    def step(self, batch: Batch) -> Tensor:
        """Learn from a batch; gives its loss, on the device."""
        self.done += 1
        now = self.peak * schedule(self.done, self.steps)
        if not self.on_gpu:
            for group in self.optimizer.param_groups:
                group["lr"] = now
            return self._learn(batch)
        self.lr.fill_(now)  # type: ignore[union-attr]
        shape = tuple(batch.ids_BL.shape)
        if shape not in self._graphs:
            self._graphs[shape] = self._capture(batch)
        graph, held, loss = self._graphs[shape]
        held.ids_BL.copy_(batch.ids_BL)
        held.weight_BL.copy_(batch.weight_BL)
        graph.replay()
        return loss

    def _learn(self, batch: Batch) -> Tensor:
        """A step; gives the loss of the weighted tokens.

        What is learned from is their sum, not their mean: long thoughts stand in batches of their own, and each token
        would count less there than a short answer's does among its prompts. A base that read thoughts in 30% of the
        answers then thought in 13%.
        """
        ids_BL, weight_BL = batch
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.on_gpu, cache_enabled=False):
            logits = self.model(input_ids=ids_BL, use_cache=False).logits[:, :-1]
        weight = weight_BL[:, 1:].flatten()
        losses = functional.cross_entropy(logits.float().flatten(0, 1), ids_BL[:, 1:].flatten(), reduction="none")
        total = (losses * weight).sum()
        self.optimizer.zero_grad(set_to_none=True)
        (total / weight_BL.numel()).backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        return total.detach() / weight.sum()

    def _capture(self, batch: Batch) -> tuple[Any, Batch, Tensor]:
        """Record a step. Recording runs nothing, but its warm-up does: the weights are put back."""
        kept = {name: value.clone() for name, value in self.model.state_dict().items()}
        moments = {key: {k: v.clone() for k, v in state.items()} for key, state in self.optimizer.state.items()}
        side = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(3):
                self._learn(batch)
        torch.cuda.current_stream().wait_stream(side)
        self.optimizer.zero_grad(set_to_none=True)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            loss = self._learn(batch)
        with torch.no_grad():
            for name, value in self.model.state_dict().items():
                value.copy_(kept[name])
            for key, state in self.optimizer.state.items():
                for name, value in state.items():
                    value.copy_(moments[key][name]) if key in moments else value.zero_()
        return graph, batch, loss


def schedule(step: int, steps: int) -> float:
    """The share of the learning rate at a step: a warm-up, then half a cosine down to a twentieth."""
    rest = (step - WARM_UP) / max(1, steps - WARM_UP)
    return step / WARM_UP if step < WARM_UP else 0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * min(1.0, rest)))


def make_base(
    recipe: Recipe,
    out: str | os.PathLike[str],
    device: str = "cpu",
    processes: int = 1,
    tick: Tick | None = None,
) -> Path:
    """Make a base from nothing, and write it as a transformers directory in bfloat16, with its recipe and its log.

    Args:
        recipe: what is wanted.
        out: the directory; made where it is not there.
        device: "cpu" or "cuda".
        processes: that make examples.
        tick: called with what is counted ("examples" or "steps"), how many are done, and of how many.

    Returns:
        The directory.
    """
    tokenizer = make_tokenizer(recipe)
    corpus = make_corpus(recipe, tokenizer, processes, tick)
    return train_base(recipe, tokenizer, corpus, out, device, tick)


def train_base(
    recipe: Recipe,
    tokenizer: Any,
    corpus: Corpus,
    out: str | os.PathLike[str],
    device: str = "cpu",
    tick: Tick | None = None,
) -> Path:
    """The second half of `make_base`: for several sizes of one corpus."""
    folder, started, steps = Path(out), time.perf_counter(), count_batches(corpus, recipe)
    if steps < 1:
        raise BadArgument("the examples fill no batch: ask for more of them, or for fewer batch_tokens")
    folder.mkdir(parents=True, exist_ok=True)
    model = make_model(recipe, tokenizer).to(device)
    trainer, log = Trainer(model, SIZES[recipe.size].lr, steps), []
    for batch in batches(corpus, recipe, device):
        loss = trainer.step(batch)
        if trainer.done % max(1, steps // 100) == 0:
            log.append({"step": trainer.done, "loss": round(float(loss), 4)})
            if tick is not None:
                tick("steps", trainer.done, steps)
    model.eval().to(torch.bfloat16).cpu().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    record = {
        "recipe": asdict(recipe),
        "parameters": model.num_parameters(),
        "tokens": len(corpus.ids),
        "steps": steps,
        "seconds": round(time.perf_counter() - started, 1),
        "device": torch.cuda.get_device_name() if device == "cuda" else device,
        "log": log,
    }
    (folder / "recipe.json").write_text(json.dumps(record, indent=1) + "\n")
    return folder
