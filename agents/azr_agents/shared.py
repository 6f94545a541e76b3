"""Log-probabilities of replies, each prompt run once for all of its replies: for models of the Llama family.

Tokens stand one after another without padding wherever each counts for itself, which is nearly all of the work. Only
attention lays them out: prompts by themselves, and replies over the prompt that they share and what they have said.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel

from .decode import fits, joined, norm, through
from .hf import TokenReply

# Of prompts' attention; not cuDNN's, which is compiled for each shape anew: 10 ms, as long as a small model's step.
KERNELS = [SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH]
MOST_SCORES = 1 << 28  # of all layers at once: they are kept for the backward pass, a few times over


class Sheet(NamedTuple):
    """K tokens of P prompts, then of their replies, at most M to a prompt; T and L tokens of the longest.

    In the order of the K tokens of replies stand `target_N` and `source_N`.
    """

    ids_K: Tensor
    places_K: Tensor  # positions: each reply's begin where its prompt ends
    prompt_at: Tensor  # where each token of a prompt stands in P x T
    reply_at: Tensor  # where each token of a reply stands in P x M x L
    source_N: Tensor  # which of the K tokens predicts each token of a reply
    target_N: Tensor  # the token
    there_PT: Tensor  # bool
    mask_RL: Tensor  # bool: in its order the tokens of the replies stand
    most: int  # M


def suits(model: Any) -> bool:
    """Whether `predictions` computes what this model does, keeps what it would keep, and has room for its context."""
    if not fits(model) or any(getattr(module, "gradient_checkpointing", False) for module in model.modules()):
        return False
    if getattr(model.config, "attention_dropout", 0.0):
        return False
    return _matrices(model) * int(model.config.max_position_embeddings) ** 2 <= MOST_SCORES


def _matrices(model: Any) -> int:
    """Attention matrices of one pass."""
    return int(model.config.num_hidden_layers * model.config.num_attention_heads)


def lay(replies: Sequence[TokenReply], rows: Sequence[Sequence[int]], device: torch.device | str = "cpu") -> Sheet:
    """Lay replies out.

    Args:
        replies: the batch.
        rows: which replies have a prompt in common.
        device: of the tensors.
    """
    prompts, said = [replies[row[0]].prompt_ids for row in rows], [replies[index].ids for row in rows for index in row]
    size_P, size_R = (np.array([*map(len, pieces)]) for pieces in (prompts, said))
    count_P = np.array([*map(len, rows)])
    owner_R = np.repeat(np.arange(len(rows)), count_P)
    ahead, longest, most = int(size_P.sum()), int(size_R.max()), int(count_P.max())
    within_p, within_r = _within(size_P), _within(size_R)
    slot_R = most * owner_R + _within(count_P)
    last_R = (np.cumsum(size_P) - 1)[owner_R]  # of its prompt
    source_N = np.where(within_r == 0, np.repeat(last_R, size_R), ahead + np.arange(len(within_r)) - 1)
    ids_K = np.fromiter(chain.from_iterable(chain(prompts, said)), np.int64, ahead + len(within_r))
    parts = (
        ids_K,
        np.concatenate([within_p, np.repeat(size_P[owner_R], size_R) + within_r]),
        np.repeat(int(size_P.max()) * np.arange(len(rows)), size_P) + within_p,
        np.repeat(longest * slot_R, size_R) + within_r,
        source_N,
        ids_K[ahead:],
        np.arange(size_P.max()) < size_P[:, None],
        np.arange(longest) < size_R[:, None],
    )
    return Sheet(*[torch.from_numpy(part).to(device) for part in parts], most=most)  # type: ignore[arg-type, misc]


def _within(sizes: NDArray[np.int64]) -> NDArray[np.int64]:
    """0, 1, ... in each of some pieces that stand one after another."""
    return np.arange(int(sizes.sum())) - np.repeat(np.cumsum(sizes) - sizes, sizes)


def micro_batches(
    model: Any, replies: Sequence[TokenReply], chosen: Iterable[int], budget: int, most: int = MOST_SCORES
) -> Iterator[list[list[int]]]:
    """Cut replies into micro-batches of groups with a prompt in common, for `lay`, the shortest replies first.

    Args:
        model: that will read them.
        replies: the batch.
        chosen: which of them.
        budget: most tokens of a micro-batch; a larger group makes one of its own, as far as `most` lets it.
        most: attention scores of a micro-batch. A group that needs more is cut; a single reply may need more.
    """
    room = most // _matrices(model)
    whole: dict[tuple[int, ...], list[int]] = {}
    for index in chosen:
        whole.setdefault(replies[index].prompt_ids, []).append(index)
    rows = [
        (long, len(prompt), row)
        for prompt, group in whole.items()
        for long, row in _cut(replies, group, len(prompt), room)
    ]
    part: list[list[int]] = []
    wide = long = ahead = tokens = 0
    for length, before, row in sorted(rows, key=lambda one: one[:2]):
        size = before + sum(len(replies[index].ids) for index in row)
        wide, long, ahead, tokens = max(wide, len(row)), max(long, length), max(ahead, before), tokens + size
        if part and (tokens > budget or (len(part) + 1) * wide * long * (ahead + long) > room):
            yield part
            part, (wide, long, ahead, tokens) = [], (len(row), length, before, size)
        part.append(row)
    if part:
        yield part


def _cut(replies: Sequence[TokenReply], group: Sequence[int], ahead: int, room: int) -> Iterator[tuple[int, list[int]]]:
    """Replies to a prompt of `ahead` tokens, as many together as there is room for, and the longest's tokens."""
    row, long = list[int](), 0
    for index in group:
        longer = max(long, len(replies[index].ids))
        if row and (len(row) + 1) * longer * (ahead + longer) > room:
            yield long, row
            row, longer = [], len(replies[index].ids)
        row.append(index)
        long = longer
    yield long, row


def predictions(model: Any, sheet: Sheet) -> Tensor:
    """The logits of what comes at each token of the replies, (N, V)."""
    core = model.model
    cos_1KD, sin_1KD = core.rotary_emb(core.embed_tokens.weight, sheet.places_K[None])
    first = [joined(layer.self_attn) for layer in core.layers]
    hidden_KC = through(
        model, sheet.ids_K, cos_1KD[0, :, None], sin_1KD[0, :, None], first, lambda _, *parts: _attend(sheet, *parts)
    )
    logits_NV: Tensor = model.lm_head(norm(core.norm, hidden_KC[sheet.source_N]))
    return logits_NV


def _attend(sheet: Sheet, query_KHD: Tensor, key_KGD: Tensor, value_KGD: Tensor) -> Tensor:
    """Attention of every token, (K, H D): H heads over G heads of keys and values, S to each."""
    (prompts, ahead), longest, cut = sheet.there_PT.shape, sheet.mask_RL.shape[1], len(sheet.prompt_at)
    (_, heads, width), kv_heads = query_KHD.shape, key_KGD.shape[1]
    shared = heads // kv_heads

    def prompt(values_KXD: Tensor) -> Tensor:
        return _padded(values_KXD[:cut], sheet.prompt_at, prompts * ahead).view(prompts, ahead, -1, width)

    def reply(values_KXD: Tensor) -> Tensor:
        size = prompts * sheet.most * longest
        laid = _padded(values_KXD[cut:], sheet.reply_at, size)
        return laid.view(prompts, sheet.most, longest, kv_heads, -1, width).permute(0, 3, 1, 2, 4, 5)

    query_PHTD, key_PGTD, value_PGTD = (prompt(one).transpose(1, 2) for one in (query_KHD, key_KGD, value_KGD))
    with sdpa_kernel(KERNELS):
        seen_PHTD = functional.scaled_dot_product_attention(
            query_PHTD, key_PGTD.repeat_interleave(shared, 1), value_PGTD.repeat_interleave(shared, 1), is_causal=True
        )
    query_PGMQD = reply(query_KHD * width**-0.5).flatten(3, 4)  # Q: a reply's tokens, S queries of each
    key_PGMLD, value_PGMLD = (reply(one).squeeze(4) for one in (key_KGD, value_KGD))
    query_PGXD = query_PGMQD.flatten(2, 3)
    low, raised = torch.finfo(query_KHD.dtype).min, torch.promote_types(query_KHD.dtype, torch.float32)
    bias_P11T = (~sheet.there_PT).to(query_KHD.dtype)[:, None, None] * low
    later_LL = torch.ones(longest, longest, dtype=torch.bool, device=query_KHD.device).triu(1)
    bias_QL = (later_LL.to(query_KHD.dtype) * low).repeat_interleave(shared, 0)
    ahead_PGXT = (query_PGXD @ key_PGTD.transpose(2, 3) + bias_P11T).to(raised)
    after_PGXL = (query_PGMQD @ key_PGMLD.transpose(3, 4) + bias_QL).flatten(2, 3).to(raised)
    with torch.no_grad():
        top_PGX1 = torch.maximum(ahead_PGXT.amax(-1, keepdim=True), after_PGXL.amax(-1, keepdim=True))
    ahead_PGXT, after_PGXL = (ahead_PGXT - top_PGX1).exp(), (after_PGXL - top_PGX1).exp()
    whole_PGX1 = ahead_PGXT.sum(-1, keepdim=True) + after_PGXL.sum(-1, keepdim=True)
    own_PGMQD = after_PGXL.to(query_KHD.dtype).view(*query_PGMQD.shape[:4], longest) @ value_PGMLD
    said_PGXD = (ahead_PGXT.to(query_KHD.dtype) @ value_PGTD + own_PGMQD.flatten(2, 3)) / whole_PGX1
    said_PGMLSD = said_PGXD.view(prompts, kv_heads, sheet.most, longest, shared, width)
    told = (
        (seen_PHTD.transpose(1, 2), sheet.prompt_at),
        (said_PGMLSD.permute(0, 2, 3, 1, 4, 5).to(query_KHD.dtype), sheet.reply_at),
    )
    return torch.cat([laid.reshape(-1, heads * width)[at] for laid, at in told])


def _padded(values_NXD: Tensor, at: Tensor, size: int) -> Tensor:
    blank = torch.zeros(size, *values_NXD.shape[1:], dtype=values_NXD.dtype, device=values_NXD.device)
    return blank.index_copy(0, at, values_NXD)
