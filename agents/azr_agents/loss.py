"""What is minimised: log-probabilities and advantages become one number. Pure functions; knows no model and no reward.

Shapes: N sequences, L positions, V tokens of the vocabulary. `mask_NL` (bool) is True on the tokens that the policy
wrote; elsewhere no value is read and no gradient flows. Half precision is raised to float32, float64 stays as it is.

Every loss is per token until `aggregate`, which divides by a count over the **whole** optimizer step, all micro-batches
and ranks (`count_terms`): a mean of means over ragged micro-batches is another loss.
"""

# ruff: noqa: S105 (a name ends in its shape; a token is no password)
from __future__ import annotations

from enum import StrEnum

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from azr_gym.errors import BadArgument
from azr_gym.roles import choose

from .distributed import Reduce, alone

_RANGE = 20.0  # log-ratios are held inside +-20: exp(20) is 5e8, and float32 ends at exp(88)


class Ratio(StrEnum):
    """Whose probability the policy ratio compares."""

    TOKEN = "token"  # each token's: PPO
    SEQUENCE = "sequence"  # the whole answer's, the product of its tokens': the answer is one action


class KL(StrEnum):
    """Estimators whose gradient, as a loss, is that of KL(pi || ref)."""

    K2 = "k2"  # on-policy samples only
    K3_RATIO = "k3_ratio"  # any samples


class Aggregation(StrEnum):
    """Over what the loss is a mean."""

    TOKEN = "token"  # tokens: long answers weigh more
    SEQUENCE = "sequence"  # sequences, each the mean of its tokens: a long answer's tokens weigh less
    CONSTANT = "constant"  # sequences times a fixed length: every token weighs the same in every step


class Correction(StrEnum):
    """What is done where the engine that sampled is not the model that trains."""

    TOKEN_CLAMP = "token_clamp"  # each token's weight, clamped
    SEQUENCE_MASK = "sequence_mask"  # the whole sequence's weight; 0 outside the limits


def _raise(values: Tensor) -> Tensor:
    return values.to(torch.promote_types(values.dtype, torch.float32))


def _log_ratio(over_NL: Tensor, under_NL: Tensor, mask_NL: Tensor) -> Tensor:
    """log(over / under) where the mask is, else 0: a pad's infinity would give a gradient of NaN even times zero."""
    return torch.where(mask_NL, _raise(over_NL) - _raise(under_NL), 0.0).clamp(-_RANGE, _RANGE)


def _gather(logits_NLV: Tensor, ids_NL: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    lp_NLV = (_raise(logits_NLV) / temperature).log_softmax(-1)
    finite_NLV = lp_NLV.clamp(min=torch.finfo(lp_NLV.dtype).min)  # a forbidden token adds 0 to the entropy, not NaN
    return lp_NLV.gather(-1, ids_NL[..., None])[..., 0], -(finite_NLV.exp() * finite_NLV).sum(-1)


def token_logprobs(
    logits_NLV: Tensor, ids_NL: Tensor, temperature: float = 1.0, chunk: int | None = None
) -> tuple[Tensor, Tensor]:
    """Log-probability of each token and entropy at its place, under softmax(logits / temperature).

    Args:
        logits_NLV: position l predicts `ids_NL[:, l]`: the caller has shifted.
        ids_NL: token ids.
        temperature: that of sampling; the entropy is that of the tempered policy too.
        chunk: at most so many positions are in float32 at once, and made again in the backward pass: N x chunk x V.

    Returns:
        lp_NL and entropy_NL.
    """
    if temperature <= 0:
        raise BadArgument(f"a temperature is above 0: {temperature!r} is not")
    if chunk is None:
        return _gather(logits_NLV, ids_NL, temperature)
    cuts = [slice(start, start + chunk) for start in range(0, ids_NL.shape[1], chunk)]
    parts = [checkpoint(_gather, logits_NLV[:, c], ids_NL[:, c], temperature, use_reentrant=False) for c in cuts]
    return torch.cat([lp for lp, _ in parts], 1), torch.cat([entropy for _, entropy in parts], 1)


def policy_loss(
    lp_NL: Tensor,
    old_lp_NL: Tensor,
    advantages_NL: Tensor,
    mask_NL: Tensor,
    clip_low: float = 0.2,
    clip_high: float = 0.2,
    dual_clip: float | None = None,
    ratio: Ratio | str = Ratio.TOKEN,
) -> tuple[Tensor, Tensor]:
    """The clipped surrogate, per token: max(-A rho, -A clip(rho, 1 - low, 1 + high)), rho = pi / pi_old.

    PPO (arXiv 1707.06347, eq. 7); high above low is clip-higher (DAPO, arXiv 2503.14476, sec. 3.1). With limits 1 and
    inf nothing is clipped. Dual clip (arXiv 1912.09729): where A < 0 the loss stays under -A c.

    Returns:
        loss_NL, and clipped_NL: True on tokens whose gradient the clip took away.
    """
    log_NL = _log_ratio(lp_NL, old_lp_NL, mask_NL)
    if choose(Ratio, ratio, "ratio") is Ratio.SEQUENCE:
        log_NL = log_NL.sum(1, keepdim=True).clamp(-_RANGE, _RANGE).expand_as(log_NL)
    rho_NL, gain_NL = log_NL.exp(), torch.where(mask_NL, _raise(advantages_NL), 0.0)
    loss_NL = torch.maximum(-gain_NL * rho_NL, -gain_NL * rho_NL.clamp(1 - clip_low, 1 + clip_high))
    clipped_NL = ((gain_NL > 0) & (rho_NL > 1 + clip_high)) | ((gain_NL < 0) & (rho_NL < 1 - clip_low))
    if dual_clip is not None:
        if dual_clip <= 1 + clip_high:
            raise BadArgument(f"dual_clip lies above 1 + clip_high = {1 + clip_high}: {dual_clip} does not")
        capped_NL = (gain_NL < 0) & (rho_NL > dual_clip)
        loss_NL, clipped_NL = torch.where(capped_NL, -gain_NL * dual_clip, loss_NL), clipped_NL | capped_NL
    return loss_NL, clipped_NL


def kl_loss(
    lp_NL: Tensor, ref_lp_NL: Tensor, mask_NL: Tensor, kind: KL | str = KL.K2, old_lp_NL: Tensor | None = None
) -> Tensor:
    """A loss per token whose expected gradient is that of KL(pi || ref).

    k2 = (log pi - log ref)^2 / 2, for samples of pi itself. k3_ratio = rho (ref/pi - 1 - log ref/pi), for samples of
    pi_old: rho = pi / pi_old is differentiated too. (Estimators: J. Schulman, "Approximating KL divergence", 2020.)

    Raises:
        BadArgument: k1, whose expected gradient is zero; plain k3, whose gradient is that of KL(ref || pi).
    """
    if kind == "k1":
        raise BadArgument("k1 as a loss has an expected gradient of zero: use k2 or k3_ratio, or k1 in the reward")
    if kind == "k3":
        raise BadArgument("k3 without its ratio descends KL(ref || pi), the other one: use k3_ratio or k2")
    log_NL = _log_ratio(ref_lp_NL, lp_NL, mask_NL)
    match choose(KL, kind, "KL"):
        case KL.K2:
            return 0.5 * log_NL.square()
        case KL.K3_RATIO:
            if old_lp_NL is None:
                raise BadArgument("k3_ratio needs the log-probabilities under the policy that sampled")
            return _log_ratio(lp_NL, old_lp_NL, mask_NL).exp() * (log_NL.exp() - 1 - log_NL)


@torch.no_grad()
def rollout_weight(
    old_lp_NL: Tensor, rollout_lp_NL: Tensor, mask_NL: Tensor, kind: Correction | str, low: float, high: float
) -> Tensor:
    """Importance weights pi_old / pi_rollout for a loss whose tokens another engine sampled; a constant, no gradient.

    `token_clamp` bounds each token's weight; `sequence_mask` gives every token of a sequence the product of its tokens'
    weights, or 0 where that lies outside the limits. OpenRLHF clamps to [0.5, 5], TRL masks above 3.
    """
    log_NL = _log_ratio(old_lp_NL, rollout_lp_NL, mask_NL)
    match choose(Correction, kind, "correction"):
        case Correction.TOKEN_CLAMP:
            return torch.where(mask_NL, log_NL.exp().clamp(low, high), 0.0)
        case Correction.SEQUENCE_MASK:
            whole_N1 = log_NL.sum(1, keepdim=True).exp()
            return torch.where(mask_NL & (whole_N1 >= low) & (whole_N1 <= high), whole_N1, 0.0)


@torch.no_grad()
def count_terms(
    mask_NL: Tensor, how: Aggregation | str, max_tokens: int | None = None, reduce: Reduce = alone
) -> float:
    """What `aggregate` divides by in an optimizer step: tokens, sequences that have any, these times `max_tokens`."""
    tokens, sequences = reduce(torch.stack([mask_NL.sum(), mask_NL.any(1).sum()])).tolist()
    how = choose(Aggregation, how, "aggregation")
    if how is Aggregation.CONSTANT and max_tokens is None:
        raise BadArgument("aggregation constant divides by a length budget: give max_tokens")
    counts = {Aggregation.TOKEN: tokens, Aggregation.SEQUENCE: sequences}
    return float(counts.get(how, sequences * (max_tokens or 0)))


def aggregate(loss_NL: Tensor, mask_NL: Tensor, how: Aggregation | str, terms: float, world: int = 1) -> Tensor:
    """A micro-batch's share of the step's loss: shares add up to it, however the step is cut.

    Mean over tokens (DAPO, arXiv 2503.14476, sec. 3.3), over sequences of their means (GRPO, arXiv 2402.03300), or over
    sequences of sums over a constant (Dr.GRPO, arXiv 2503.20783).

    Args:
        loss_NL: per token.
        mask_NL: what counts.
        how: over what the loss is a mean.
        terms: `count_terms` of the whole optimizer step, all ranks.
        world: number of ranks whose gradients are averaged: DDP and FSDP divide by it, so the loss is multiplied.
    """
    loss_NL = torch.where(mask_NL, loss_NL, 0.0)
    if choose(Aggregation, how, "aggregation") is Aggregation.SEQUENCE:
        loss_NL = loss_NL / mask_NL.sum(1, keepdim=True).clamp(min=1)
    return loss_NL.sum() * (world / max(terms, 1.0))
