"""What an answer was worth beside others: rewards become advantages. Pure functions; knows no model and no loss.

Shapes: N sequences, L positions, G groups. `mask_NL` (bool) is True on the tokens that the policy wrote, its end token
included, and False on prompts, pads and what an environment said. What stands where it is False is never read, not even
NaN. Statistics are sums in float64, so that a group's offset costs no digits; everything else is float32.

Standard deviations are those of the population, with eps inside the square root. A whitened value never exceeds
sqrt(members - 1) whatever eps is, so eps only keeps noise from being blown up: 1e-8, a deviation of 0.0001.
A group with fewer than two members, or without variance, has nothing to teach: it gets zeros.
"""

# ruff: noqa: S105 (a name ends in its shape; a token is no password)
from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import torch
from torch import Tensor

from azr_gym.errors import BadArgument
from azr_gym.roles import choose

from .distributed import Reduce, alone

_ROUNDING = 1e-12  # a variance below this share of the mean square is what float64 sums leave of none


class Unit(StrEnum):
    """What counts as one in a group's statistics."""

    SEQUENCE = "sequence"  # every answer counts the same: arXiv 2505.03335, eq. 8 as written
    TOKEN = "token"  # every token does, so long answers weigh more: what verl and OpenRLHF compute


class Baseline(StrEnum):
    """What is subtracted from a reward."""

    NONE = "none"
    MEAN = "mean"  # of its group
    LEAVE_ONE_OUT = "leave_one_out"  # of the others of its group
    RUNNING = "running"  # of its group in the past: `running_baseline`


@dataclass(frozen=True, slots=True)
class Groups:
    """Which group each sequence belongs to: its (task, role), or its prompt."""

    id_N: Tensor  # integers 0..count-1
    count: int  # the same on every rank, also where a rank has no member of some group


def _sums(groups: Groups, reduce: Reduce, *columns_N: Tensor) -> Tensor:
    """The sum of each column over each group, all ranks together: columns x G, float64."""
    rows_NC = torch.stack([column_N.double() for column_N in columns_N], dim=1)
    return reduce(rows_NC.new_zeros(groups.count, len(columns_N)).index_add(0, groups.id_N, rows_NC)).T


def _mean_and_variance(count_G: Tensor, sum_G: Tensor, square_G: Tensor) -> tuple[Tensor, Tensor]:
    """Each group's mean and population variance; a variance of 0 where there is none or fewer than two members."""
    mean_G, mean_square_G = sum_G / count_G.clamp(min=1), square_G / count_G.clamp(min=1)
    variance_G = mean_square_G - mean_G**2
    return mean_G, torch.where((count_G < 2) | (variance_G <= _ROUNDING * mean_square_G), 0.0, variance_G)


@torch.no_grad()
def whiten(
    values_NL: Tensor,
    mask_NL: Tensor,
    groups: Groups,
    unit: Unit | str = Unit.SEQUENCE,
    eps: float = 1e-8,
    reduce: Reduce = alone,
) -> Tensor:
    """Centre and scale each value inside its group: (v - mean_g) / sqrt(var_g + eps).

    With (task, role) groups this is TRR++ (arXiv 2505.03335, eq. 8), with one group for all the global normalisation of
    REINFORCE++ (arXiv 2501.03262), with the samples of one prompt as a group GRPO (arXiv 2402.03300).

    Rewards of +1 on 10 tokens and -1 on 90 become +1 and -1 by sequence, but +3.00 and -0.333 by token.

    Returns:
        advantages_NL, 0 where the mask is.
    """
    unit = choose(Unit, unit, "unit")
    values_NL = torch.where(mask_NL, values_NL.float(), 0.0).double()
    length_N = mask_NL.sum(1)
    weight_N, share_N = length_N, torch.ones_like(length_N)
    if unit is Unit.SEQUENCE:
        weight_N, share_N = (length_N > 0).long(), length_N.clamp(min=1)
    sums_N, squares_N = values_NL.sum(1) / share_N, values_NL.square().sum(1) / share_N
    mean_G, variance_G = _mean_and_variance(*_sums(groups, reduce, weight_N, sums_N, squares_N))
    scale_G = torch.where(variance_G > 0, (variance_G + eps).rsqrt(), 0.0)
    white_NL = (values_NL - mean_G[groups.id_N, None]) * scale_G[groups.id_N, None]
    return torch.where(mask_NL, white_NL, 0.0).float()


@torch.no_grad()
def group_baseline(reward_N: Tensor, groups: Groups, kind: Baseline | str, reduce: Reduce = alone) -> Tensor:
    """Subtract from each reward the mean of its group, or of the group's others. Groups may differ in size.

    RLOO (arXiv 2402.14740): R_i - mean_{j != i} R_j = (R_i - mean) n / (n - 1). A group of one gets zero.
    """
    kind = choose(Baseline, kind, "baseline")
    if kind is Baseline.RUNNING:
        raise BadArgument("a running baseline has a state: call running_baseline")
    if kind is Baseline.NONE:
        return reward_N.float()
    count_G, sum_G = _sums(groups, reduce, torch.ones_like(reward_N), reward_N)
    centred_N = reward_N.double() - (sum_G / count_G.clamp(min=1))[groups.id_N]
    if kind is Baseline.LEAVE_ONE_OUT:
        centred_N = centred_N * (count_G / (count_G - 1).clamp(min=1))[groups.id_N]
    return torch.where(count_G[groups.id_N] < 2, 0.0, centred_N).float()


@torch.no_grad()
def running_baseline(
    reward_N: Tensor, groups: Groups, state_G2: Tensor | None = None, decay: float = 0.9, reduce: Reduce = alone
) -> tuple[Tensor, Tensor]:
    """Subtract the exponential running mean of the group's past rewards (REINFORCE with a moving average).

    The baseline is the one from before this batch, so that it does not depend on the actions it judges. A group
    never seen before is compared with its own mean. A group without members keeps its state.

    `state_G2` is what the last call returned: decayed sum of batch means, decayed weight (float64); None at the start.

    Returns:
        advantages_N and the new state_G2.
    """
    count_G, sum_G = _sums(groups, reduce, torch.ones_like(reward_N), reward_N)
    now_G = sum_G / count_G.clamp(min=1)
    past_G2 = torch.zeros_like(torch.stack([now_G, now_G], dim=1)) if state_G2 is None else state_G2
    baseline_G = torch.where(past_G2[:, 1] > 0, past_G2[:, 0] / past_G2[:, 1], now_G)
    mixed_G2 = decay * past_G2 + (1 - decay) * torch.stack([now_G, torch.ones_like(now_G)], dim=1)
    state_G2 = torch.where(count_G[:, None] > 0, mixed_G2, past_G2)
    return (reward_N.double() - baseline_G[groups.id_N]).float(), state_G2


@torch.no_grad()
def token_rewards(
    reward_N: Tensor,
    mask_NL: Tensor,
    kl_weight: float | Tensor = 0.0,
    lp_NL: Tensor | None = None,
    ref_lp_NL: Tensor | None = None,
) -> Tensor:
    """An answer's reward on its last token, and on every token the price of leaving the reference.

    r_t = R [t = last] - kl_weight (log pi - log ref)_t, the estimator k1 (REINFORCE++, arXiv 2501.03262): through
    REINFORCE its gradient is that of -KL(pi || ref). An answer without tokens has nowhere to put its reward.
    `kl_weight` is one number, or one per sequence: say, 0 for solvers. `lp_NL` is of the policy that sampled.
    """
    place_NL = mask_NL.cumsum(1)
    last_NL = mask_NL & (place_NL == place_NL[:, -1:])
    rewards_NL = torch.where(last_NL, reward_N.float()[:, None], 0.0)
    if lp_NL is None or ref_lp_NL is None:
        if torch.as_tensor(kl_weight).any():
            raise BadArgument(
                "KL in the reward needs log-probabilities of policy and reference: give them, or weight 0"
            )
        return rewards_NL
    weight_N1 = torch.as_tensor(kl_weight, dtype=torch.float32, device=reward_N.device).reshape(-1, 1)
    return rewards_NL - torch.where(mask_NL, weight_N1 * (lp_NL.float() - ref_lp_NL.float()), 0.0)


@torch.no_grad()
def returns_to_go(rewards_NL: Tensor, mask_NL: Tensor, gamma: float = 1.0) -> Tensor:
    """G_t = r_t + gamma G_next, where next is the policy's next token.

    What an environment says between two turns (mask 0) is stepped over: it neither resets the return nor discounts it.
    Rewards [0, 0, 1] with mask [1, 0, 1] give [1, 0, 1].
    """
    returns_NL = torch.zeros_like(rewards_NL, dtype=torch.float32)
    future_N = returns_NL.new_zeros(len(returns_NL))
    for t in reversed(range(rewards_NL.shape[1])):
        future_N = torch.where(mask_NL[:, t], rewards_NL[:, t].float() + gamma * future_N, future_N)
        returns_NL[:, t] = torch.where(mask_NL[:, t], future_N, 0.0)
    return returns_NL
