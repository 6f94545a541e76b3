"""Log-probabilities of replies, prompts and replies in rows: for any model.

A prompt is run once for the replies behind it in its row, which see it and themselves alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .hf import TokenReply

SHARE = 2  # a row may be so many times as long as its prompt


class Pack(NamedTuple):
    """Replies in B rows of S tokens: a prompt, then replies to it, each of which sees the prompt and itself alone.

    There are N tokens to learn from, of R replies, the longest of L tokens.
    """

    ids_BS: Tensor
    owner_BS: Tensor  # 0 a prompt's token, 1.. the reply that a token belongs to, -1 a pad
    places_BS: Tensor  # positions: each reply's begin where its prompt ends
    source_N: Tensor  # where in the rows each token is predicted
    target_N: Tensor  # the token
    mask_RL: Tensor  # bool, True on tokens; in its order the N tokens stand


def lay(replies: Sequence[TokenReply], rows: Sequence[Sequence[int]], device: torch.device | str = "cpu") -> Pack:
    """Lay replies out.

    Args:
        replies: the batch.
        rows: which replies stand in each row: all to one prompt.
        device: of the tensors.
    """
    prompts = [replies[row[0]].prompt_ids for row in rows]
    pieces = [[prompt, *(replies[index].ids for index in row)] for prompt, row in zip(prompts, rows, strict=True)]
    size_P = np.array([len(piece) for line in pieces for piece in line])  # P pieces: prompts and replies, T tokens
    count_B = np.array([len(line) for line in pieces])
    line_P = np.repeat(np.arange(len(rows)), count_B)
    first_B = np.cumsum(count_B) - count_B  # where among the pieces each row's prompt is
    owner_P = np.arange(len(size_P)) - first_B[line_P]
    end_P = np.cumsum(size_P)
    ahead_P = size_P[first_B][line_P]  # tokens of its row's prompt
    start_P = (end_P - size_P) - (end_P - size_P)[first_B][line_P]  # where in its row each piece begins
    width = int((start_P + size_P).max())

    piece_T = np.repeat(np.arange(len(size_P)), size_P)
    place_T = np.arange(len(piece_T)) - (end_P - size_P)[piece_T]  # inside the piece
    token_T = np.fromiter(chain.from_iterable(chain.from_iterable(pieces)), np.int64, len(piece_T))
    said_T = owner_P[piece_T] > 0
    where_T = (width * line_P + start_P)[piece_T] + place_T
    before_T = np.where(place_T == 0, (width * line_P + ahead_P)[piece_T], where_T) - 1

    def laid(values_T: NDArray[np.int64], blank: int) -> Tensor:
        made = np.full(len(rows) * width, blank)
        made[where_T] = values_T
        return torch.from_numpy(made.reshape(len(rows), width))

    length_R = torch.from_numpy(size_P[owner_P > 0])
    parts = (
        laid(token_T, 0),
        laid(owner_P[piece_T], -1),
        laid(np.where(said_T, ahead_P[piece_T], 0) + place_T, 0),
        torch.from_numpy(before_T[said_T]),
        torch.from_numpy(token_T[said_T]),
        torch.arange(int(length_R.max())) < length_R[:, None],
    )
    return Pack(*(part.to(device) for part in parts))


def micro_batches(
    replies: Sequence[TokenReply], chosen: Iterable[int], budget: int, row: int
) -> Iterator[list[list[int]]]:
    """Cut replies into micro-batches of rows, for `lay`.

    Args:
        replies: the batch.
        chosen: which of them.
        budget: most tokens of a micro-batch, padding included; a longer row makes one of its own.
        row: most tokens of a row, but each holds at least one reply, and a long prompt as many tokens of replies as
            it has itself. 0: one reply in each.
    """
    open_rows: dict[tuple[int, ...], list[int]] = {}
    rows: list[list[int]] = []
    for index in chosen:
        prompt = replies[index].prompt_ids
        current = open_rows.get(prompt)
        if current is None or _width(replies, [*current, index]) > max(row, SHARE * len(prompt) * (row > 0)):
            current = open_rows[prompt] = []
            rows.append(current)
        current.append(index)
    part: list[list[int]] = []
    for one in sorted(rows, key=lambda one: _width(replies, one)):
        if part and (len(part) + 1) * _width(replies, one) > budget:
            yield part
            part = []
        part.append(one)
    if part:
        yield part


def _width(replies: Sequence[TokenReply], row: Sequence[int]) -> int:
    return len(replies[row[0]].prompt_ids) + sum(len(replies[index].ids) for index in row)


def predictions(model: Any, packed: Pack) -> Tensor:
    """The logits of what comes at each of the N tokens, (N, V)."""
    skipped = int(packed.source_N.min()) if len(packed.ids_BS) == 1 else 0
    out = model(
        input_ids=packed.ids_BS,
        attention_mask=_attention(packed, model.dtype),
        position_ids=packed.places_BS,
        use_cache=False,
        logits_to_keep=packed.ids_BS.shape[1] - skipped,
    )
    logits_NV: Tensor = out.logits.flatten(0, 1)[packed.source_N - skipped]
    return logits_NV


def _attention(packed: Pack, dtype: torch.dtype) -> Tensor:
    """Who sees whom. Rows of one reply each need no more than which tokens are there; any attention kernel knows that.

    Else what is added to the scores, (B, 1, S, S).
    """
    owner_BS = packed.owner_BS
    if int(owner_BS.max()) <= 1:
        return (owner_BS >= 0).long()
    before_SS = torch.ones(owner_BS.shape[1], owner_BS.shape[1], dtype=torch.bool, device=owner_BS.device).tril()
    mine_BSS = (owner_BS[:, None] == 0) | (owner_BS[:, None] == owner_BS[:, :, None])
    return (~(before_SS & mine_BSS)).to(dtype)[:, None] * torch.finfo(dtype).min
