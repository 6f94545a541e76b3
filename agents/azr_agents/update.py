"""Changes the weights: rollouts with advantages in, optimizer steps done. Knows no environment.

A prompt is run through the model once for all its replies: by `shared`, where the model is small and of the Llama
family, else by `packed`. Exact to rounding, and with prompts of 512 tokens a quarter of the work.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from azr_gym.errors import BadArgument

from . import packed, shared
from .distributed import Reduce, alone
from .hf import TokenReply
from .loss import count_terms, token_logprobs
from .presets import Preset, objective

ROW_TOKENS = 256  # more of them: prompts are shared more, but more pairs of tokens do not see each other
Laid: TypeAlias = packed.Pack | shared.Sheet


def logprobs(model: Any, laid: Laid, temperature: float) -> tuple[Tensor, Tensor]:
    """Log-probabilities of the replies' tokens, and the entropy at each: lp_RL, entropy_RL; 0 on pads."""
    logits_NV = shared.predictions(model, laid) if isinstance(laid, shared.Sheet) else packed.predictions(model, laid)
    lp_1N, entropy_1N = token_logprobs(logits_NV[None], laid.target_N[None], temperature)
    return _spread(lp_1N[0], laid.mask_RL), _spread(entropy_1N[0], laid.mask_RL)


def _spread(values_N: Tensor, mask_RL: Tensor) -> Tensor:
    """Values one after another, laid out where the mask is; 0 elsewhere."""
    blank_RL = torch.zeros(mask_RL.shape, dtype=values_N.dtype, device=values_N.device)
    return blank_RL.masked_scatter(mask_RL, values_N)


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
        self.lean = row_tokens > 0 and shared.suits(self.model) and (reference is None or shared.suits(reference))
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
            return shared.micro_batches(self.model, replies, chosen, self.budget)
        return packed.micro_batches(replies, chosen, self.budget, self.row_tokens)

    def _laid(self, replies: Sequence[TokenReply], rows: Sequence[Sequence[int]], device: torch.device) -> Laid:
        return shared.lay(replies, rows, device) if self.lean else packed.lay(replies, rows, device)

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
    def _reference(self, laid: Laid, anchor_R: Tensor) -> Tensor | None:
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
