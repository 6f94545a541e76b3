"""Runs a language model a token at a time, many replies side by side. Three engines with one face.

`Plain` is transformers' own forward pass and takes any model. `Lean` takes models of the Llama family: it keeps the
prompt's keys and values once for all its replies, and writes a reply's own in place, where transformers copies the
whole cache for every token: about four times faster at a million parameters on a CPU. `Replayed` is `Lean` in tensors
that never move, so that a step on a GPU is one CUDA graph. All give the same logits to rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn import functional

COMPACT_BELOW = 0.7  # share of rows still running at which the batch is made smaller
APART_BELOW = 0.6  # share of the rows of an even number for each prompt, below which each goes on with its own prompt
ROOM = 16  # places for tokens that are made at a time
CAPTURE_FROM = 128  # rows: a graph takes as long to record as some hundred steps
HELD = 0.2  # share of a GPU's memory for the graphs that are kept: each has its own keys and values
SHRINK = 4  # rows go on in a graph that has so many times fewer of them
PROMPT_ROOM = 64  # places for a prompt in a graph: these, or twice as many over and over, that graphs are used again
LEAN = ("llama", "qwen2", "mistral")  # one decoder layer fits them all: RMSNorm, rotary positions, SwiGLU


class Engine(Protocol):
    """Prompts that have been read, and `n` replies to each on their way. Rows are prompt by prompt."""

    logits_RV: Tensor  # what comes next in each row

    def step(self, token_R: Tensor) -> Tensor:
        """Add a token to every row; gives what comes next, (rows, V)."""

    def smaller(self, going_R: Tensor) -> Tensor | None:
        """Which rows to go on with, where it pays to drop some that have ended; a few of them may stay."""

    def keep(self, rows: Tensor) -> None:
        """Go on with those rows, in that order: what `smaller` gave."""


def engine(
    model: Any, prompt_PT: Tensor, there_PT: Tensor, n: int, most: int, captures: Captures | None = None
) -> Engine:
    """Read prompts, padded on the left, and make ready for `n` replies of `most` tokens to each.

    Args:
        model: in evaluation mode.
        prompt_PT: token ids.
        there_PT: 1 on tokens, 0 on pads.
        n: replies to each prompt.
        most: tokens of each.
        captures: of this model; used, and added to, for large batches on a GPU.
    """
    places_PT = (there_PT.cumsum(1) - 1).clamp(min=0)
    out = model(input_ids=prompt_PT, attention_mask=there_PT, position_ids=places_PT, use_cache=True, logits_to_keep=1)
    cache, logits_RV = out.past_key_values, out.logits[:, -1].repeat_interleave(n, 0)
    if not fits(model):
        return Plain(model, cache, logits_RV, there_PT, n, most)
    if captures is None or prompt_PT.device.type != "cuda" or len(logits_RV) < CAPTURE_FROM:
        return Lean(model, cache, logits_RV, there_PT, n, most)
    return Replayed(model, cache, logits_RV, there_PT, n, most, captures)


def fits(model: Any) -> bool:
    """Whether `Lean` computes what this model does."""
    config: Any = getattr(model, "config", None)
    if getattr(config, "model_type", None) not in LEAN or not hasattr(getattr(model, "model", None), "rotary_emb"):
        return False
    window = getattr(config, "sliding_window", None) and getattr(config, "use_sliding_window", True)
    first = model.model.layers[0].self_attn
    if any(type(one) is not torch.nn.Linear for one in (first.q_proj, first.k_proj, first.v_proj)):
        return False  # with an adapter, or quantised
    steady = config.rope_parameters["rope_type"] not in ("dynamic", "longrope")  # these turn by the text's length
    return config.hidden_act == "silu" and steady and not window


class Plain:
    """transformers' forward pass on its own cache."""

    def __init__(self, model: Any, cache: Any, logits_RV: Tensor, there_PT: Tensor, n: int, most: int) -> None:
        self.model, self.cache, self.logits_RV = model, cache, logits_RV
        self.cache.batch_repeat_interleave(n)
        self.there_RT = there_PT.repeat_interleave(n, 0)
        self.place_R = self.there_RT.sum(1) - 1

    def step(self, token_R: Tensor) -> Tensor:
        """See `Engine`."""
        self.there_RT = torch.cat([self.there_RT, self.there_RT.new_ones(len(token_R), 1)], 1)
        self.place_R = self.place_R + 1
        out = self.model(
            input_ids=token_R[:, None],
            attention_mask=self.there_RT,
            position_ids=self.place_R[:, None],
            past_key_values=self.cache,
            use_cache=True,
            logits_to_keep=1,
        )
        logits_RV: Tensor = out.logits[:, -1]
        return logits_RV

    def smaller(self, going_R: Tensor) -> Tensor | None:
        """See `Engine`."""
        rows = going_R.nonzero()[:, 0]
        return rows if len(rows) < COMPACT_BELOW * len(going_R) else None

    def keep(self, rows: Tensor) -> None:
        """See `Engine`."""
        self.cache.batch_select_indices(rows)
        self.there_RT, self.place_R = self.there_RT[rows], self.place_R[rows]


class Layers:
    """What a step computes. P prompts with M replies each; H heads over G heads of keys and values, each of width D."""

    shape: tuple[int, int]  # P, M
    prompt_PGTD: list[tuple[Tensor, Tensor]]  # keys and values of the prompts, by layer
    bias_PT: Tensor  # very low where there is no token
    own: Tensor  # keys and values of the replies: layers, 2, R, G, S, D

    def __init__(self, model: Any) -> None:
        config = model.config
        self.model, self.layers = model, list(model.model.layers)
        self.heads, self.kv_heads = config.num_attention_heads, config.num_key_value_heads
        self.width = _width(config)
        self.first = [joined(layer.self_attn) for layer in self.layers]

    def _layers(self, token_R: Tensor, cos_R1D: Tensor, sin_R1D: Tensor) -> Tensor:
        def attend(number: int, query_RHD: Tensor, key_RGD: Tensor, value_RGD: Tensor) -> Tensor:
            return self._attend(query_RHD, number, *self._say(number, key_RGD, value_RGD))

        hidden_RC = through(self.model, token_R, cos_R1D, sin_R1D, self.first, attend)
        logits_RV: Tensor = self.model.lm_head(norm(self.model.model.norm, hidden_RC))
        return logits_RV

    def _say(self, number: int, key_RGD: Tensor, value_RGD: Tensor) -> Tensor:
        """Write down the newest token's keys and values; gives what is to be looked at: 2, R, G, S, D."""
        raise NotImplementedError

    def _unsaid(self, after_RGHS: Tensor) -> Tensor:
        """The scores of what was said; where nothing else stands there, as they are."""
        return after_RGHS

    def _attend(self, query_RHD: Tensor, number: int, own_RGSD: Tensor, value_RGSD: Tensor) -> Tensor:
        """Attention to the prompt, shared by its replies, and to what the reply has said: one softmax over both."""
        (prompts, replies), shared = self.shape, self.heads // self.kv_heads
        key_PGTD, said_PGTD = self.prompt_PGTD[number]
        query_RHD = query_RHD * self.width**-0.5
        query_PGND = query_RHD.view(prompts, replies, self.kv_heads, shared, -1).transpose(1, 2).flatten(2, 3)
        ahead_PGNT = query_PGND @ key_PGTD.transpose(2, 3) + self.bias_PT[:, None, None]
        ahead_RGHT = self._by_reply(ahead_PGNT, shared)
        query_RGHD = query_RHD.view(len(query_RHD), self.kv_heads, shared, -1)
        after_RGHS = self._unsaid(query_RGHD @ own_RGSD.transpose(2, 3))
        length = ahead_RGHT.shape[-1]
        weight = functional.softmax(torch.cat([ahead_RGHT, after_RGHS], -1), -1, dtype=torch.float32).to(own_RGSD.dtype)
        before = weight[..., :length].view(prompts, replies, self.kv_heads, shared, length).transpose(1, 2)
        seen_RGHD = self._by_reply(before.flatten(2, 3) @ said_PGTD, shared) + weight[..., length:] @ value_RGSD
        return seen_RGHD.flatten(1)

    def _by_reply(self, values_PGNX: Tensor, shared: int) -> Tensor:
        prompts, heads, _, last = values_PGNX.shape
        values_PGMHX = values_PGNX.reshape(prompts, heads, self.shape[1], shared, last)
        return values_PGMHX.transpose(1, 2).flatten(0, 1)


class Lean(Layers):
    """The layers on tensors that grow with the replies and shrink with their number."""

    def __init__(self, model: Any, cache: Any, logits_RV: Tensor, there_PT: Tensor, n: int, most: int) -> None:
        super().__init__(model)
        self.logits_RV, self.most = logits_RV, most
        self.prompt_PGTD = [(layer.keys, layer.values) for layer in cache.layers]
        self.shape, self.done = (len(there_PT), n), 0
        self.bias_PT = (there_PT == 0).to(model.dtype) * torch.finfo(model.dtype).min
        length_R = there_PT.sum(1).repeat_interleave(n, 0)
        places_RS = length_R[:, None] + torch.arange(most, device=length_R.device)
        self.cos_RSD, self.sin_RSD = model.model.rotary_emb(logits_RV.to(model.dtype), places_RS)
        room = (len(self.layers), 2, len(there_PT) * n, self.kv_heads, 0, self.width)
        self.own = torch.zeros(room, dtype=model.dtype, device=logits_RV.device)  # grows by ROOM

    def step(self, token_R: Tensor) -> Tensor:
        """See `Engine`."""
        at, self.done = self.done, self.done + 1
        if at == self.own.shape[-2]:
            self.own = torch.cat([self.own, self.own.new_zeros(*self.own.shape[:-2], ROOM, self.width)], -2)
        return self._layers(token_R, self.cos_RSD[:, at, None], self.sin_RSD[:, at, None])

    def _say(self, number: int, key_RGD: Tensor, value_RGD: Tensor) -> Tensor:
        """Write down the newest token's keys and values; gives those of all that was said."""
        own_2RGSD = self.own[number]
        own_2RGSD[0, :, :, self.done - 1], own_2RGSD[1, :, :, self.done - 1] = key_RGD, value_RGD
        return own_2RGSD[..., : self.done, :]

    def smaller(self, going_R: Tensor) -> Tensor | None:
        """See `Engine`. Every prompt keeps as many replies as that which has most of them going, or each its own."""
        going_PM = going_R.view(self.shape)
        count_P = going_PM.sum(1)
        most, total, prompts = int(count_P.max()), int(count_P.sum()), (count_P > 0).nonzero()[:, 0]
        even = len(prompts) * most
        if total < APART_BELOW * even and total < COMPACT_BELOW * len(going_R):
            return going_R.nonzero()[:, 0]
        if even >= COMPACT_BELOW * len(going_R):
            return None
        order_PM = torch.argsort(going_PM[prompts].long(), dim=1, descending=True, stable=True)
        rows_PM: Tensor = prompts[:, None] * self.shape[1] + order_PM[:, :most]
        return rows_PM.flatten()

    def keep(self, rows: Tensor) -> None:
        """See `Engine`. Where prompts keep different numbers of replies, each reply has a copy of its own then."""
        prompts, count_P = torch.unique_consecutive(rows // self.shape[1], return_counts=True)
        if int(count_P.min()) < int(count_P.max()):
            prompts = rows // self.shape[1]
        self.shape = (len(prompts), len(rows) // len(prompts))
        self.prompt_PGTD = [(keys[prompts], values[prompts]) for keys, values in self.prompt_PGTD]
        self.bias_PT, self.own = self.bias_PT[prompts], self.own[:, :, rows]
        self.cos_RSD, self.sin_RSD = self.cos_RSD[rows], self.sin_RSD[rows]


class Replayed:
    """`Lean` by CUDA graphs: one while most replies are on their way, and smaller ones for those that take longer."""

    def __init__(
        self, model: Any, cache: Any, logits_RV: Tensor, there_PT: Tensor, n: int, most: int, captures: Captures
    ) -> None:
        self.model, self.captures, self.logits_RV = model, captures, logits_RV
        self.now = self._captured(len(there_PT), n, _room_for(there_PT.shape[1]), most)
        self.now.load(cache, there_PT)

    def _captured(self, prompts: int, n: int, room: int, most: int) -> Captured:
        """A graph with room for that, a new one where there is none. It becomes the one that was used last."""
        key = (_power_of_two(prompts), n, room, most)
        made = self.captures.pop(key, None)
        left = HELD * _memory(self.model.device) - Captured.size_of(self.model, *key)
        while self.captures and sum(one.size for one in self.captures.values()) > left:
            del self.captures[next(iter(self.captures))]  # the one that was used longest ago
        made = made or Captured(self.model, *key)
        self.captures[key] = made
        return made

    def step(self, token_R: Tensor) -> Tensor:
        """See `Engine`. What it gives is overwritten by the next step."""
        return self.now.step(token_R)

    def smaller(self, going_R: Tensor) -> Tensor | None:
        """See `Engine`."""
        rows = going_R.nonzero()[:, 0]
        return rows if SHRINK * max(CAPTURE_FROM, _power_of_two(len(rows))) <= len(self.now.token_R) else None

    def keep(self, rows: Tensor) -> None:
        """See `Engine`. Each row has a prompt of its own from here on."""
        before = self.now
        self.now = self._captured(max(CAPTURE_FROM, len(rows)), 1, before.bias_PT.shape[1], before.most)
        self.now.go_on(before, rows)


class Captured(Layers):
    """The layers on tensors that never move: what is loaded is copied into them. On a GPU a step is one CUDA graph.

    It has room for as many prompts as it was made for, and no row leaves it before the last has ended.
    """

    def __init__(self, model: Any, prompts: int, n: int, room: int, most: int) -> None:
        super().__init__(model)
        self.most, self.shape = most, (prompts, n)
        rows, kind = prompts * n, {"dtype": model.dtype, "device": model.device}
        held = torch.zeros(len(self.layers), 2, prompts, self.kv_heads, room, self.width, **kind)
        self.prompt_PGTD = [(keys, values) for keys, values in held]
        self.bias_PT = torch.zeros(prompts, room, **kind)
        self.own = torch.zeros(len(self.layers), 2, rows, self.kv_heads, most, self.width, **kind)
        self.length_R, self.token_R, self.at = (
            torch.zeros(size, dtype=torch.long, device=model.device) for size in (rows, rows, 1)
        )
        self.place_S = torch.arange(most, device=model.device)
        self.next_RV = torch.zeros(rows, model.config.vocab_size, **kind)
        self.size = self.size_of(model, prompts, n, room, most)
        self.graph = self._record() if model.device.type == "cuda" else None

    @staticmethod
    def size_of(model: Any, prompts: int, n: int, room: int, most: int) -> int:
        """Bytes of keys and values, nearly all of what it holds."""
        config, places = model.config, prompts * (room + n * most)
        size = config.num_hidden_layers * config.num_key_value_heads * _width(config)
        return int(2 * size * places * model.dtype.itemsize)

    def load(self, cache: Any, there_PT: Tensor) -> None:
        """Begin with other prompts, and with the weights as they are now."""
        prompts, skipped = len(there_PT), self.bias_PT.shape[1] - there_PT.shape[1]
        self.bias_PT.fill_(torch.finfo(self.bias_PT.dtype).min)
        self.bias_PT[:prompts, skipped:].masked_fill_(there_PT.bool(), 0.0)
        for (keys, values), layer in zip(self.prompt_PGTD, cache.layers, strict=True):
            keys[:prompts, :, skipped:], values[:prompts, :, skipped:] = layer.keys, layer.values
        self.length_R[: prompts * self.shape[1]] = there_PT.sum(1).repeat_interleave(self.shape[1], 0)
        self.at.zero_()
        self._refresh()

    def go_on(self, before: Captured, rows: Tensor) -> None:
        """Take over some rows of another, each with its prompt and all that it has said."""
        count, prompts = len(rows), rows // before.shape[1]
        self.bias_PT.fill_(torch.finfo(self.bias_PT.dtype).min)
        self.bias_PT[:count] = before.bias_PT[prompts]
        for mine, others in zip(self.prompt_PGTD, before.prompt_PGTD, strict=True):
            for held, other in zip(mine, others, strict=True):
                held[:count] = other[prompts]
        self.own[:, :, :count] = before.own[:, :, rows]
        self.length_R[:count] = before.length_R[rows]
        self.at.copy_(before.at)
        self._refresh()

    def _refresh(self) -> None:
        for made, layer in zip(self.first, self.layers, strict=True):
            for held, fresh in zip(made, joined(layer.self_attn), strict=True):
                if held is not None and fresh is not None:
                    held.copy_(fresh)

    def step(self, token_R: Tensor) -> Tensor:
        """See `Engine`. What it gives is overwritten by the next step."""
        self.token_R[: len(token_R)] = token_R
        if self.graph is None:
            self._step()
        else:
            self.graph.replay()
        return self.next_RV[: len(token_R)]

    def _step(self) -> None:
        """A step in which nothing depends on what is in the tensors."""
        places_R1 = (self.length_R + self.at)[:, None]
        cos_R1D, sin_R1D = self.model.model.rotary_emb(self.next_RV.to(self.model.dtype), places_R1)
        self.next_RV.copy_(self._layers(self.token_R, cos_R1D, sin_R1D))
        self.at += 1

    def _record(self) -> Any:
        """The step as a CUDA graph. What its warm-up writes is overwritten or never seen."""
        side = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            self._step()
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        self.at.zero_()
        with torch.cuda.graph(graph):
            self._step()
        return graph

    def _say(self, number: int, key_RGD: Tensor, value_RGD: Tensor) -> Tensor:
        self.own[number, 0].index_copy_(2, self.at, key_RGD[:, :, None])
        self.own[number, 1].index_copy_(2, self.at, value_RGD[:, :, None])
        return self.own[number]

    def _unsaid(self, after_RGHS: Tensor) -> Tensor:
        return after_RGHS.masked_fill(self.place_S > self.at, torch.finfo(after_RGHS.dtype).min)


Captures = dict[tuple[int, int, int, int], Captured]  # by prompts, replies, room for a prompt, tokens of a reply


def _memory(device: torch.device) -> int:
    """Bytes of a device; of what is no GPU, as many as an ordinary one has."""
    return int(torch.cuda.mem_get_info(device)[1]) if device.type == "cuda" else 16 << 30


def _room_for(length: int) -> int:
    return PROMPT_ROOM * _power_of_two(-(-length // PROMPT_ROOM))


def _power_of_two(count: int) -> int:
    return 1 << (count - 1).bit_length()


Attend = Callable[[int, Tensor, Tensor, Tensor], Tensor]  # a layer's number, queries, keys, values: what is seen


def through(
    model: Any,
    token_T: Tensor,
    cos_T1D: Tensor,
    sin_T1D: Tensor,
    first: Sequence[tuple[Tensor, Tensor | None]],
    attend: Attend,
) -> Tensor:
    """The decoder's layers on tokens that meet in attention alone, (T, C).

    Args:
        model: that `fits`.
        token_T: ids.
        cos_T1D, sin_T1D: of their positions.
        first: of each layer, what `joined` gives.
        attend: given queries (T, H, D), turned, and keys and values (T, G, D), the keys turned; gives (T, H D).
    """
    heads, kv_heads = model.config.num_attention_heads, model.config.num_key_value_heads
    hidden_TC: Tensor = model.model.embed_tokens(token_T)
    for number, layer in enumerate(model.model.layers):
        made_TX = functional.linear(norm(layer.input_layernorm, hidden_TC), *first[number])
        made_TXD = made_TX.view(len(token_T), heads + 2 * kv_heads, -1)
        turned_TXD = turn(made_TXD[:, :-kv_heads], cos_T1D, sin_T1D)
        seen_TE = attend(number, turned_TXD[:, :heads], turned_TXD[:, heads:], made_TXD[:, -kv_heads:])
        hidden_TC = hidden_TC + layer.self_attn.o_proj(seen_TE)
        hidden_TC = hidden_TC + layer.mlp(norm(layer.post_attention_layernorm, hidden_TC))
    return hidden_TC


def _width(config: Any) -> int:
    """Of a head."""
    return int(getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads)


def joined(attention: Any) -> tuple[Tensor, Tensor | None]:
    """The weights that make queries, keys and values, as one matrix, and its bias."""
    made = (attention.q_proj, attention.k_proj, attention.v_proj)
    bias = None if made[0].bias is None else torch.cat([one.bias for one in made])
    return torch.cat([one.weight for one in made]), bias


def norm(module: Any, hidden_RC: Tensor) -> Tensor:
    """RMSNorm in one operation."""
    return functional.rms_norm(hidden_RC, hidden_RC.shape[-1:], module.weight, module.variance_epsilon)


def turn(values_RHD: Tensor, cos_R1D: Tensor, sin_R1D: Tensor) -> Tensor:
    """Rotary position embedding (arXiv 2104.09864), halves interleaved as transformers does."""
    first, second = values_RHD.chunk(2, -1)
    return values_RHD * cos_R1D + torch.cat([-second, first], -1) * sin_R1D
