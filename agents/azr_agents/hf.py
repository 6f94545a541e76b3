"""The transformers Agent: samples from any `AutoModelForCausalLM`, with a key-value cache and exact log-probabilities.

Token ids go end to end: what was sampled is what is trained on, and nothing is decoded and encoded again. A prompt is
run once and its cache repeated for its n replies; rows that are finished leave the batch. A reply hangs on its own
prompt, its place and the seed, not on the batch it was sampled in.
"""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import accumulate
from pathlib import Path
from typing import Any, Self, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from azr_gym.agent import Reply
from azr_gym.errors import BadArgument
from azr_gym.roles import choose

from . import lora
from .decode import Captures, engine

V = TypeVar("V")
BASES = Path(__file__).parent / "bases"
R1 = (
    "A conversation between User and Assistant. The Assistant first thinks, between <think> and </think>, and then "
    "gives the User the answer, between <answer> and </answer>.\nUser: {}\nAssistant: <think>"
)


class Template(StrEnum):
    """How a prompt is put to the model."""

    PLAIN = "plain"  # as it is, for base models trained on it
    CHAT = "chat"  # the tokenizer's own chat template
    R1 = "r1"  # think, then answer, in tags: for base models without a template of their own


@dataclass(frozen=True)
class TokenReply(Reply):
    """A reply with what training needs.

    Attributes:
        prompt_ids: the prompt's tokens.
        ids: the sampled tokens, the end token included where there is one.
        logprobs: of each sampled token, at the temperature that it was sampled with; float32.
        finished: an end token was sampled; False: the reply was cut at `max_new_tokens`.
        version: of the weights that sampled it.
    """

    prompt_ids: tuple[int, ...]
    ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    finished: bool
    version: int


class HFAgent:
    """An `azr_gym.Agent` over a causal language model of transformers.

    Args:
        model: the model, on whatever device it is.
        tokenizer: its tokenizer; it must have an end token.
        max_new_tokens: most tokens of a reply.
        temperature: above 0; 0 takes the likeliest token.
        template: "plain", "chat" or "r1".
        max_rows: replies that are sampled at once.

    Raises:
        BadArgument: no end token, no chat template where one is asked for, or an option out of range.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        max_new_tokens: int = 64,
        temperature: float = 1.0,
        template: Template | str = Template.PLAIN,
        max_rows: int = 1024,
    ) -> None:
        if max_new_tokens < 1 or max_rows < 1 or not 0.0 <= temperature < float("inf"):
            raise BadArgument("max_new_tokens and max_rows must be above 0, and temperature at least 0")
        self.model, self.tokenizer = model, tokenizer
        self.max_new_tokens, self.temperature, self.max_rows = max_new_tokens, temperature, max_rows
        self.template = choose(Template, template, "template")
        self.version = 0  # whoever trains counts it up
        self.captures: Captures = {}
        self.end_ids = _end_ids(model, tokenizer)
        if self.template is Template.CHAT and not getattr(tokenizer, "chat_template", None):
            raise BadArgument("the tokenizer has no chat template: take template='r1' or 'plain'")

    @classmethod
    def from_pretrained(
        cls, path: str | os.PathLike[str], *, dtype: str = "auto", device: str = "cpu", **options: Any
    ) -> Self:
        """Load a model directory, a base that is shipped (a folder of `bases`), or a name that the hub knows.

        A folder may hold an adapter, as peft writes it: it is added to its base's weights.

        Raises:
            BadArgument: a directory without weights or tokenizer, or an adapter's where peft is missing.
        """
        from transformers import AutoModelForCausalLM, AutoTokenizer
        from transformers.utils.logging import disable_progress_bar

        disable_progress_bar()  # type: ignore[no-untyped-call]
        shipped = BASES / path
        folder = shipped if not Path(path).exists() and (shipped / "config.json").is_file() else Path(path)
        if folder.is_dir() and not any(folder.glob("*.safetensors")) and not any(folder.glob("*.bin")):
            raise BadArgument(f"{folder} holds no weights: model.save_pretrained() writes them")
        try:
            tokenizer = AutoTokenizer.from_pretrained(folder)
            load: Any = lora.load_whole if (folder / lora.SETTINGS).is_file() else AutoModelForCausalLM.from_pretrained
            model = load(folder, dtype=dtype).to(device).eval()
        except (OSError, ValueError) as error:
            raise BadArgument(f"{path} can not be loaded as a causal language model: {error}") from None
        return cls(model, tokenizer, **options)

    def __deepcopy__(self, memo: object) -> Self:
        """The agent itself: `env.spec` copies its arguments, and a model is dear."""
        return self

    def encode(self, prompts: Sequence[str]) -> list[list[int]]:
        """The token ids of prompts, in the template.

        Raises:
            BadArgument: a prompt without tokens, or one that leaves no room for a reply in the model's context.
        """
        encoded = self._ids(prompts)
        ends = [min(encoded, key=len), max(encoded, key=len)] if encoded else []
        if reason := next(filter(None, map(self._misfit, ends)), ""):
            raise BadArgument(reason)
        return encoded

    def misfits(self, prompts: Sequence[str]) -> list[str]:
        """Why `encode` would refuse each prompt; "" where it would not."""
        return [*map(self._misfit, self._ids(prompts))]

    def _ids(self, prompts: Sequence[str]) -> list[list[int]]:
        if self.template is Template.CHAT:
            turns = [[{"role": "user", "content": prompt}] for prompt in prompts]
            encoded = [
                self.tokenizer.apply_chat_template(turn, add_generation_prompt=True, return_dict=False)
                for turn in turns
            ]
        else:
            texts = [R1.format(prompt) if self.template is Template.R1 else prompt for prompt in prompts]
            encoded = self.tokenizer(texts)["input_ids"] if texts else []
        return [list(ids) for ids in encoded]

    def _misfit(self, ids: Sequence[int]) -> str:
        room = getattr(self.model.config, "max_position_embeddings", None)
        if not ids:
            return "a prompt has no tokens, so that nothing says what comes first: put something into it"
        if room is not None and len(ids) + self.max_new_tokens > room:
            return (
                f"a prompt of {len(ids)} tokens and a reply of {self.max_new_tokens} do not fit the model's context of "
                f"{room}: shorten max_new_tokens, show fewer references, or take prompt_style='compact'"
            )
        return ""

    def reply(self, prompts: Sequence[str], n: int, seed: int) -> list[list[TokenReply]]:
        """Sample `n` replies to each prompt."""
        return self._reply(prompts, n, lambda index: _chances(prompts[index], n, seed, self.max_new_tokens))

    def reply_apart(self, prompts: Sequence[str], seed: int) -> list[TokenReply]:
        """Sample a reply to each prompt; a prompt that stands there k times gets what `reply` gives with `n` = k."""
        counts, places = Counter[str](), list[int]()
        for prompt in prompts:
            places.append(counts[prompt])
            counts[prompt] += 1
        chances = {prompt: _chances(prompt, n, seed, self.max_new_tokens) for prompt, n in counts.items()}
        groups = self._reply(prompts, 1, lambda index: chances[prompts[index]][places[index], None])
        return [reply for [reply] in groups]

    def _reply(
        self, prompts: Sequence[str], n: int, chances: Callable[[int], NDArray[np.float64]]
    ) -> list[list[TokenReply]]:
        """Replies in parts of `max_rows`; `chances` gives (n, max_new_tokens) for the prompt at a place."""
        encoded = self.encode(prompts)
        order = sorted(range(len(prompts)), key=lambda index: len(encoded[index]))  # neighbours are of one length
        replies: list[list[TokenReply]] = [[] for _ in prompts]
        share = max(1, self.max_rows // n)
        for start in range(0, len(order), share):
            part = order[start : start + share]
            groups = self._sample([encoded[index] for index in part], n, np.concatenate([*map(chances, part)]))
            for index, group in zip(part, groups, strict=True):
                replies[index] = group
        return replies

    @torch.inference_mode()
    def _sample(self, encoded: Sequence[list[int]], n: int, chance: NDArray[np.float64]) -> list[list[TokenReply]]:
        device, rows, most = self.model.device, len(encoded) * n, self.max_new_tokens
        running = engine(self.model, *_pad_left(encoded, device), n, most, self.captures)
        logits_LV = running.logits_RV
        chance_RT = torch.from_numpy(chance).to(device)
        end_E = torch.tensor(self.end_ids, device=device)
        tokens_RT = torch.zeros(rows, most, dtype=torch.long, device=device)
        logprobs_RT = torch.zeros(rows, most, device=device)
        lengths_R = torch.full((rows,), most, device=device)
        finished_R = torch.zeros(rows, dtype=torch.bool, device=device)
        live_L = torch.arange(rows, device=device)  # rows of the batch that is run, by their place among all
        for step in range(most):
            token_L, logprob_L = draw(logits_LV, chance_RT[live_L, step], self.temperature)
            tokens_RT[live_L, step], logprobs_RT[live_L, step] = token_L, logprob_L
            ended_L = torch.isin(token_L, end_E) & ~finished_R[live_L]
            lengths_R[live_L[ended_L]] = step + 1
            finished_R[live_L[ended_L]] = True
            going_L = ~finished_R[live_L]
            if step + 1 == most or not bool(going_L.any()):
                break
            kept = running.smaller(going_L)
            if kept is not None:
                running.keep(kept)
                live_L, token_L = live_L[kept], token_L[kept]
            logits_LV = running.step(token_L)
        return self._replies(encoded, n, tokens_RT, logprobs_RT, lengths_R, finished_R)

    def _replies(
        self,
        encoded: Sequence[list[int]],
        n: int,
        tokens_RT: Tensor,
        logprobs_RT: Tensor,
        lengths_R: Tensor,
        finished_R: Tensor,
    ) -> list[list[TokenReply]]:
        written_RT = torch.arange(tokens_RT.shape[1], device=tokens_RT.device) < lengths_R[:, None]
        lengths, finished = lengths_R.tolist(), finished_R.tolist()
        ids = _cut(tokens_RT[written_RT].tolist(), lengths)
        logprobs = _cut(logprobs_RT[written_RT].tolist(), lengths)
        texts = self._decode([row[:-1] if done else row for row, done in zip(ids, finished, strict=True)])
        asked = [prompt for prompt in map(tuple, encoded) for _ in range(n)]
        made = [TokenReply(*parts, self.version) for parts in zip(texts, asked, ids, logprobs, finished, strict=True)]
        return [made[start : start + n] for start in range(0, len(made), n)]

    def _decode(self, ids: Sequence[Sequence[int]]) -> list[str]:
        """The texts of token ids, without special tokens; a fast tokenizer reads them all in one call."""
        if getattr(self.tokenizer, "is_fast", False):
            return list(self.tokenizer.backend_tokenizer.decode_batch(ids, skip_special_tokens=True))
        texts: list[str] = self.tokenizer.batch_decode(
            ids, skip_special_tokens=True, clean_up_tokenization_spaces=False
        )
        return texts


def _cut(values: list[V], lengths: Sequence[int]) -> list[tuple[V, ...]]:
    """Values one after another, in pieces of these lengths."""
    ends = list(accumulate(lengths))
    return [tuple(values[end - length : end]) for end, length in zip(ends, lengths, strict=True)]


def draw(logits_RV: Tensor, chance_R: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """Draw a token from each row by inverting the cumulative distribution at `chance_R` in [0, 1).

    Returns:
        token_R, and its log-probability logprob_R at that temperature, float32. Temperature 0 takes the likeliest, with
        its log-probability at temperature 1.
    """
    scaled_RV = logits_RV.float() / (temperature or 1.0)
    logprobs_RV = torch.log_softmax(scaled_RV, -1)
    if temperature == 0.0:
        token_R = logprobs_RV.argmax(-1)
    else:
        sums_RV = logprobs_RV.exp().double().cumsum(-1)
        goal_R1 = (chance_R.double() * sums_RV[:, -1])[:, None]
        token_R = torch.searchsorted(sums_RV, goal_R1, right=True)[:, 0].clamp(max=logits_RV.shape[-1] - 1)
    return token_R, logprobs_RV.gather(-1, token_R[:, None])[:, 0]


def _chances(prompt: str, n: int, seed: int, most: int) -> NDArray[np.float64]:
    """Numbers in [0, 1), (n, most), that hang on the prompt and the seed: more replies begin with those of fewer."""
    digest = hashlib.blake2b(prompt.encode("utf-8", "surrogatepass"), digest_size=16, salt=b"azr", person=b"reply")
    digest.update(f"\0{seed}".encode())
    return np.random.Generator(np.random.Philox(key=int.from_bytes(digest.digest()))).random((n, most))


def _pad_left(encoded: Sequence[list[int]], device: torch.device) -> tuple[Tensor, Tensor]:
    longest = max(1, *map(len, encoded))
    ids_PT = torch.zeros(len(encoded), longest, dtype=torch.long)
    mask_PT = torch.zeros_like(ids_PT)
    for row, ids in enumerate(encoded):
        ids_PT[row, longest - len(ids) :] = torch.tensor(ids, dtype=torch.long)
        mask_PT[row, longest - len(ids) :] = 1
    return ids_PT.to(device), mask_PT.to(device)


def _end_ids(model: Any, tokenizer: Any) -> list[int]:
    """Every token that ends a reply: the generation config may name several (Qwen has two)."""
    configured = getattr(getattr(model, "generation_config", None), "eos_token_id", None)
    found = list(configured) if isinstance(configured, list | tuple) else [configured]
    ends = sorted({one for one in [*found, tokenizer.eos_token_id] if one is not None})
    if not ends:
        raise BadArgument("the tokenizer has no end token, and a reply would never end: set tokenizer.eos_token")
    return ends
