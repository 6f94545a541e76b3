"""Changes the weights: rollouts with advantages in, optimizer steps done. Knows no environment.

A prompt is run through the model once for all its replies: by `shared`, where the model is small and of the Llama
family; else they stand behind it in one row, where each sees the prompt and itself alone. Exact to rounding, and with
prompts of 512 tokens a quarter of the work.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from azr_gym.errors import BadArgument

from .distributed import Reduce, alone
from .hf import TokenReply
from .loss import count_terms, token_logprobs
from .presets import Preset, objective
from .shared import Sheet, lay_shared, micro_batches, predictions, suits

ROW_TOKENS = 256  # more of them: prompts are shared more, but more pairs of tokens do not see each other
SHARE = 2  # a row may be so many times as long as its prompt


class Pack(NamedTuple):
    """Replies in B rows of S tokens: a prompt, then replies to it, each of which sees the prompt and itself alone.

    There are K tokens to learn from, of R replies, the longest of L tokens.
    """

    ids_BS: Tensor
    owner_BS: Tensor  # 0 a prompt's token, 1.. the reply that a token belongs to, -1 a pad
    places_BS: Tensor  # positions: each reply's begin where its prompt ends
    source_K: Tensor  # where in the rows each token is predicted
    target_K: Tensor  # the token
    mask_RL: Tensor  # bool, True on tokens; in its order the K tokens stand


def pack(replies: Sequence[TokenReply], rows: Sequence[Sequence[int]], device: torch.device | str = "cpu") -> Pack:
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


def lay_out(replies: Sequence[TokenReply], chosen: Iterable[int], budget: int, row: int) -> Iterator[list[list[int]]]:
    """Cut replies into micro-batches of rows, for `pack`.

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


def logprobs(model: Any, laid: Pack | Sheet, temperature: float) -> tuple[Tensor, Tensor]:
    """Log-probabilities of the replies' tokens, and the entropy at each: lp_RL, entropy_RL; 0 on pads."""
    if isinstance(laid, Sheet):
        logits_NV, target_N = predictions(model, laid), laid.target_N
    else:
        logits_NV, target_N = _packed_logits(model, laid), laid.target_K
    lp_1N, entropy_1N = token_logprobs(logits_NV[None], target_N[None], temperature)
    return _spread(lp_1N[0], laid.mask_RL), _spread(entropy_1N[0], laid.mask_RL)


def _packed_logits(model: Any, packed: Pack) -> Tensor:
    """The logits of what comes at each of the K tokens, (K, V)."""
    skipped = int(packed.source_K.min()) if len(packed.ids_BS) == 1 else 0
    out = model(
        input_ids=packed.ids_BS,
        attention_mask=_attention(packed, model.dtype),
        position_ids=packed.places_BS,
        use_cache=False,
        logits_to_keep=packed.ids_BS.shape[1] - skipped,
    )
    logits_KV: Tensor = out.logits.flatten(0, 1)[packed.source_K - skipped]
    return logits_KV


def _spread(values_K: Tensor, mask_RL: Tensor) -> Tensor:
    """Values one after another, laid out where the mask is; 0 elsewhere."""
    blank_RL = torch.zeros(mask_RL.shape, dtype=values_K.dtype, device=values_K.device)
    return blank_RL.masked_scatter(mask_RL, values_K)


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


@dataclass(frozen=True)
class Batch:
    """What is learned from: replies, and for each an advantage and how strongly it is anchored to the reference."""

    replies: list[TokenReply]
    advantages: list[Tensor]  # one per reply, float32 (its tokens,)
    anchor: list[float]


class Learner:
    """A model, its optimizer and, where something is anchored, its reference.

    Weights in half precision are trained as float32 copies of them, which are rounded to the model after each step:
    bfloat16 has 8 bits, and a step of less than 1/512 of a weight would round to nothing, every time anew.

    Args:
        model: what is trained: its weights that require a gradient. DistributedDataParallel may be around it: it has
            made the ranks' weights equal, and no more of it is used, for it waits for every rank in every micro-batch.
        row: the algorithm.
        lr: AdamW's; `betas` (0.9, 0.98) and no weight decay.
        reference: the weights that the KL is to; None: there is none.
        temperature: that the replies were sampled with.
        max_grad_norm: gradients are clipped to it.
        budget: tokens of a micro-batch; padding counts where rows are padded.
        row_tokens: most tokens of a row, a prompt with replies that share it, for models that `shared` does not suit;
            0: every reply behind its own copy of the prompt, for models whose attention takes no mask of our own.
        max_tokens: of a reply; only aggregation "constant" divides by it.
        reduce: sums over ranks: counts, and gradients once a step, so that the ranks may have different numbers of
            micro-batches, or none.
        world: ranks.
    """

    def __init__(
        self,
        model: Any,
        row: Preset,
        lr: float,
        reference: Any | None = None,
        temperature: float = 1.0,
        max_grad_norm: float = 1.0,
        budget: int = 16_384,
        row_tokens: int = ROW_TOKENS,
        max_tokens: int | None = None,
        reduce: Reduce = alone,
        world: int = 1,
    ) -> None:
        self.model = model.module if isinstance(model, DistributedDataParallel) else model
        self.row, self.lr, self.reference = row, lr, reference
        self.temperature, self.max_grad_norm, self.budget = temperature, max_grad_norm, budget
        if getattr(self.model.config, "sliding_window", None):
            row_tokens = 0  # a mask of our own knows no window
        self.lean = row_tokens > 0 and suits(self.model) and (reference is None or suits(reference))
        self.row_tokens, self.max_tokens, self.reduce, self.world = row_tokens, max_tokens, reduce, world
        self.weights = [weight for weight in self.model.parameters() if weight.requires_grad]
        self.masters = [_master(weight) for weight in self.weights]
        self.optimizer = torch.optim.AdamW(self.masters, lr=lr, betas=(0.9, 0.98), weight_decay=0.0)

    def learn(self, batch: Batch, steps: int, rng: np.random.Generator, lr: float | None = None) -> dict[str, float]:
        """Go once over a batch, in so many optimizer steps. Replies to one prompt stay in one step.

        Args:
            batch: an empty one changes nothing.
            steps: how many.
            rng: draws which prompts stand in which step.
            lr: for these steps.

        Returns:
            Means over the batch: loss, entropy (nats per token), clip_fraction, kl (of what is anchored, nats per
            token), grad_norm, and sequences.
        """
        for group in self.optimizer.param_groups:
            group["lr"] = self.lr if lr is None else lr
        prompts = list(dict.fromkeys(reply.prompt_ids for reply in batch.replies))
        turn = {prompts[index]: place % steps for place, index in enumerate(rng.permutation(len(prompts)))}
        tally = _Tally()
        self.model.train()
        for step in range(steps):
            rows = [row for row, reply in enumerate(batch.replies) if turn[reply.prompt_ids] == step]
            if self.reduce(torch.tensor([len(rows)]))[0] > 0:
                self._step(batch, rows, tally)
        self.model.eval()
        return tally.means(len(batch.replies))

    @torch.no_grad()
    def reference_logprobs(self, replies: Sequence[TokenReply]) -> tuple[Tensor, Tensor]:
        """The replies' log-probabilities when they were sampled, and under the reference: two (replies, longest).

        Raises:
            BadArgument: there is no reference.
        """
        if self.reference is None:
            raise BadArgument("this algorithm has a KL to the base in its reward: a reference is needed")
        length_N = torch.tensor([len(reply.ids) for reply in replies])
        sampled_NL = _spread(_sampled(replies), torch.arange(int(length_N.max())) < length_N[:, None])
        found_NL, device = torch.zeros_like(sampled_NL), next(self.model.parameters()).device
        for rows in self._parts(replies, range(len(replies))):
            lp_RL, _ = logprobs(self.reference, self._laid(replies, rows, device), self.temperature)
            found_NL[list(chain(*rows)), : lp_RL.shape[1]] = lp_RL.cpu().float()
        return sampled_NL, found_NL

    def _parts(self, replies: Sequence[TokenReply], chosen: Iterable[int]) -> Iterator[list[list[int]]]:
        """Micro-batches, for `_laid`."""
        if self.lean:
            return micro_batches(self.model, replies, chosen, self.budget)
        return lay_out(replies, chosen, self.budget, self.row_tokens)

    def _laid(self, replies: Sequence[TokenReply], rows: Sequence[Sequence[int]], device: torch.device) -> Pack | Sheet:
        return lay_shared(replies, rows, device) if self.lean else pack(replies, rows, device)

    def _step(self, batch: Batch, rows: Sequence[int], tally: _Tally) -> None:
        lengths = [len(batch.replies[row].ids) for row in rows]  # none on a rank whose prompts stand in other steps
        mask_NL = torch.arange(max(lengths, default=0)) < torch.tensor(lengths)[:, None]
        terms = count_terms(mask_NL, self.row.aggregation, self.max_tokens, self.reduce)
        for weight in (*self.weights, *self.masters):
            weight.grad = None
        apart = [list(rows)]
        if self.reference is not None:  # what is anchored apart: the reference runs for that alone
            apart = [[row for row in rows if (batch.anchor[row] > 0) is held] for held in (False, True)]
        for part in chain.from_iterable(self._parts(batch.replies, some) for some in apart):
            self._loss(batch, part, terms, tally).backward()  # type: ignore[no-untyped-call]
            self._gather()
        self._average()
        norm = torch.nn.utils.clip_grad_norm_(self.masters, self.max_grad_norm)
        if torch.isfinite(norm):  # else the step would destroy the weights
            self.optimizer.step()
            self._round()
        tally.norms.append(float(norm))

    def _gather(self) -> None:
        """Add a micro-batch's gradients in half precision to their float32 sums."""
        for weight, master in zip(self.weights, self.masters, strict=True):
            if weight is not master and weight.grad is not None:
                master.grad = weight.grad.float() if master.grad is None else master.grad.add_(weight.grad)
                weight.grad = None

    def _average(self) -> None:
        """Every rank's gradients become their mean: the same number of sums on each, whatever it had to do."""
        for master in self.masters if self.world > 1 else ():
            master.grad = self.reduce(torch.zeros_like(master) if master.grad is None else master.grad) / self.world

    @torch.no_grad()
    def _round(self) -> None:
        """Give the model the float32 weights, in its precision."""
        for weight, master in zip(self.weights, self.masters, strict=True):
            if weight is not master:
                weight.copy_(master)

    def _loss(self, batch: Batch, rows: Sequence[Sequence[int]], terms: float, tally: _Tally) -> Tensor:
        device = next(self.model.parameters()).device
        laid, part = self._laid(batch.replies, rows, device), list(chain(*rows))
        mask_RL = laid.mask_RL
        old_RL = _spread(_sampled([batch.replies[row] for row in part]).to(device), mask_RL)
        advantages_RL = _spread(torch.cat([batch.advantages[row] for row in part]).to(device), mask_RL)
        anchor_R = torch.tensor([batch.anchor[row] for row in part], device=device)
        # First: it may be the model itself with its adapter off, and the backward pass may run the layers again.
        reference_RL = self._reference(laid, anchor_R) if self.row.kl_weight else None
        lp_RL, entropy_RL = logprobs(self.model, laid, self.temperature)
        loss, clipped_RL = objective(
            self.row,
            lp_RL,
            entropy_RL,
            old_RL,
            advantages_RL,
            mask_RL,
            terms,
            self.world,
            reference_RL if reference_RL is not None else lp_RL.detach(),
            anchor_R,
        )
        with torch.no_grad():
            tally.add(loss, lp_RL, old_RL, entropy_RL, clipped_RL, mask_RL, reference_RL, anchor_R)
        return loss

    @torch.no_grad()
    def _reference(self, laid: Pack | Sheet, anchor_R: Tensor) -> Tensor | None:
        """The reference's log-probabilities, where anything is anchored."""
        if self.reference is None or not bool((anchor_R > 0).any()):
            return None
        return logprobs(self.reference, laid, self.temperature)[0]


class _Tally:
    """Sums over micro-batches."""

    def __init__(self) -> None:
        self.loss = self.entropy = self.clipped = self.tokens = self.kl = self.anchored = 0.0
        self.norms: list[float] = []

    def add(
        self,
        loss: Tensor,
        lp_RL: Tensor,
        old_RL: Tensor,
        entropy_RL: Tensor,
        clipped_RL: Tensor,
        mask_RL: Tensor,
        reference_RL: Tensor | None,
        anchor_R: Tensor,
    ) -> None:
        self.loss += float(loss)
        self.entropy += float(entropy_RL[mask_RL].sum())
        self.clipped += float(clipped_RL[mask_RL].sum())
        self.tokens += float(mask_RL.sum())
        if reference_RL is not None:
            held_RL = mask_RL & (anchor_R[:, None] > 0)
            self.kl += float((lp_RL - reference_RL)[held_RL].sum())
            self.anchored += float(held_RL.sum())

    def means(self, sequences: int) -> dict[str, float]:
        tokens, steps = max(self.tokens, 1.0), max(len(self.norms), 1)
        return {
            "loss": self.loss / steps,
            "entropy": self.entropy / tokens,
            "clip_fraction": self.clipped / tokens,
            "kl": self.kl / max(self.anchored, 1.0),
            "grad_norm": sum(self.norms) / steps,
            "sequences": float(sequences),
        }


def _master(weight: Tensor) -> Tensor:
    """What the optimizer changes: the weight itself, or a float32 copy of one in half precision."""
    return weight if weight.dtype.itemsize >= 4 else torch.nn.Parameter(weight.detach().float())


def _sampled(replies: Sequence[TokenReply]) -> Tensor:
    """The log-probabilities of all tokens when they were sampled, one after another; float32."""
    values = chain.from_iterable(reply.logprobs for reply in replies)
    return torch.from_numpy(np.fromiter(values, np.float32, sum(len(reply.ids) for reply in replies)))
