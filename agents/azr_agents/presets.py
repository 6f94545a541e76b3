"""One table of algorithms: each row is the arguments of the functions in `advantages` and `loss`, and nothing else.

Change a row by `dataclasses.replace(preset("trr++"), kl_weight=0.2)`. `estimate` and `objective` are the only readers.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from math import inf

import torch
from torch import Tensor

from azr_gym.errors import BadArgument

from .advantages import Baseline, Groups, Unit, group_baseline, returns_to_go, running_baseline, token_rewards, whiten
from .distributed import Reduce, alone
from .loss import KL, Aggregation, Ratio, aggregate, kl_loss, policy_loss


class Key(StrEnum):
    """Which sequences are compared with each other."""

    ROLE = "role"  # those of one (env id, target, mode, role)
    PROMPT = "prompt"  # the samples of one prompt
    BATCH = "batch"  # all


@dataclass(frozen=True, slots=True)
class Preset:
    """A row of the table. Defaults are PPO's clip on token ratios, and nothing added."""

    name: str
    source: str
    baseline: Baseline = Baseline.NONE
    baseline_key: Key = Key.PROMPT
    decay: float = 0.9  # of a running baseline
    whiten_key: Key | None = None  # None: advantages are not scaled
    whiten_unit: Unit = Unit.SEQUENCE
    reward_kl_weight: float = 0.0  # k1, inside the reward
    kl: KL = KL.K2
    kl_weight: float = 0.0  # of the KL loss
    entropy_weight: float = 0.0
    ratio: Ratio = Ratio.TOKEN
    clip_low: float = 0.2
    clip_high: float = 0.2
    dual_clip: float | None = None
    aggregation: Aggregation = Aggregation.TOKEN


PRESETS = {
    row.name: row
    for row in (
        Preset(
            "trr++",
            "Absolute Zero, arXiv 2505.03335, eq. 8: baseline and scale per (task, role); no KL; its script's clip",
            whiten_key=Key.ROLE,
            entropy_weight=0.001,
            clip_high=0.28,
        ),
        Preset(
            "trr++_attempts",
            "TRR++ (arXiv 2505.03335) for several attempts at a task: minus their mean, scale per (task, role)",
            baseline=Baseline.MEAN,
            whiten_key=Key.ROLE,
            entropy_weight=0.001,
            clip_high=0.28,
        ),
        Preset(
            "trr++_token",
            "the same as verl, and so the reference implementation, computes it: statistics over tokens",
            whiten_key=Key.ROLE,
            whiten_unit=Unit.TOKEN,
            entropy_weight=0.001,
            clip_high=0.28,
        ),
        Preset(
            "trr++_running",
            "the same roles, each with the running mean of its past rewards as baseline; no scale",
            baseline=Baseline.RUNNING,
            baseline_key=Key.ROLE,
            entropy_weight=0.001,
            clip_high=0.28,
        ),
        Preset(
            "lambda",
            "L = -E[(R_correct + lambda R_learn) log pi_role], unbiased: REINFORCE with a baseline for each role",
            baseline=Baseline.LEAVE_ONE_OUT,
            baseline_key=Key.ROLE,
            ratio=Ratio.SEQUENCE,
            clip_low=1.0,
            clip_high=inf,
            aggregation=Aggregation.SEQUENCE,
        ),
        Preset(
            "reinforce++",
            "REINFORCE++, arXiv 2501.03262: k1 in the reward (weight: OpenRLHF's default), one scale for the batch",
            whiten_key=Key.BATCH,
            whiten_unit=Unit.TOKEN,
            reward_kl_weight=0.01,
        ),
        Preset(
            "reinforce++_baseline",
            "REINFORCE++ with baseline, arXiv 2501.03262: minus the prompt's mean, one scale, k2 as a loss",
            baseline=Baseline.MEAN,
            whiten_key=Key.BATCH,
            whiten_unit=Unit.TOKEN,
            kl_weight=0.01,
        ),
        Preset(
            "grpo",
            "DeepSeekMath, arXiv 2402.03300: whitened by prompt, mean of means; its k3 loss has the ratio here",
            whiten_key=Key.PROMPT,
            kl=KL.K3_RATIO,
            kl_weight=0.04,
            aggregation=Aggregation.SEQUENCE,
        ),
        Preset(
            "rloo",
            "arXiv 2402.14740: an answer is one action, minus the mean of the others; k1 in the reward (weight: TRL's)",
            baseline=Baseline.LEAVE_ONE_OUT,
            reward_kl_weight=0.05,
            ratio=Ratio.SEQUENCE,
            clip_low=1.0,
            clip_high=inf,
            aggregation=Aggregation.SEQUENCE,
        ),
        Preset(
            "dr.grpo",
            "arXiv 2503.20783: GRPO without its two divisions, by the deviation and by the length",
            baseline=Baseline.MEAN,
            aggregation=Aggregation.CONSTANT,
        ),
        Preset(
            "dapo",
            "arXiv 2503.14476: clip-higher, mean over tokens (a run refills groups by `refill`)",
            whiten_key=Key.PROMPT,
            clip_high=0.28,
        ),
    )
}


def preset(name: str) -> Preset:
    """The row of that name.

    Raises:
        BadArgument: there is none; the message lists them.
    """
    if name not in PRESETS:
        raise BadArgument(f"preset must be one of {list(PRESETS)}, not {name!r}")
    return PRESETS[name]


def estimate(
    row: Preset,
    reward_N: Tensor,
    mask_NL: Tensor,
    roles: Groups,
    prompts: Groups,
    lp_NL: Tensor | None = None,
    ref_lp_NL: Tensor | None = None,
    state_G2: Tensor | None = None,
    reduce: Reduce = alone,
) -> tuple[Tensor, Tensor | None]:
    """A batch's advantages by a row of the table.

    Where the row has a baseline an answer is one action: its whole reward is compared, KL included. Where it has none
    every token gets the return from there on. A sequence without tokens, a pad row, is in no group.

    Args:
        row: the preset.
        reward_N: one reward per sequence.
        mask_NL: the policy's tokens.
        roles: the (task, role) of each sequence, numbered alike on every rank.
        prompts: its prompt. The samples of one prompt stay on one rank, so these are never summed over ranks.
        lp_NL: log-probabilities under the policy that sampled; only for a row with KL in its reward.
        ref_lp_NL: and under the reference.
        state_G2: of a running baseline, as returned by the last call.
        reduce: sums over ranks.

    Returns:
        advantages_NL, and the new state of a running baseline; a row without one returns what it was given.
    """
    everything = Groups(torch.zeros_like(roles.id_N), 1)
    keys = {Key.ROLE: (roles, reduce), Key.PROMPT: (prompts, alone), Key.BATCH: (everything, reduce)}
    rewards_NL = token_rewards(reward_N, mask_NL, row.reward_kl_weight, lp_NL, ref_lp_NL)
    if row.baseline is Baseline.NONE:
        values_NL = returns_to_go(rewards_NL, mask_NL)
    else:
        some_N = mask_NL.any(1)
        groups, over = keys[row.baseline_key]
        members, whole_N = Groups(groups.id_N[some_N], groups.count), rewards_NL.sum(1)
        if row.baseline is Baseline.RUNNING:
            whole_N[some_N], state_G2 = running_baseline(whole_N[some_N], members, state_G2, row.decay, over)
        else:
            whole_N[some_N] = group_baseline(whole_N[some_N], members, row.baseline, over)
        values_NL = torch.where(mask_NL, whole_N[:, None], 0.0)
    if row.whiten_key is not None:
        groups, over = keys[row.whiten_key]
        values_NL = whiten(values_NL, mask_NL, groups, row.whiten_unit, reduce=over)
    return values_NL, state_G2


def objective(
    row: Preset,
    lp_NL: Tensor,
    entropy_NL: Tensor,
    old_lp_NL: Tensor,
    advantages_NL: Tensor,
    mask_NL: Tensor,
    terms: float,
    world: int = 1,
    ref_lp_NL: Tensor | None = None,
    anchor_N: Tensor | None = None,
    weight_NL: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """A micro-batch's share of the loss by a row of the table: surrogate + KL - entropy.

    Args:
        row: the preset.
        lp_NL: log-probabilities, with gradient.
        entropy_NL: entropy at each place, with gradient where the row gives it weight.
        old_lp_NL: log-probabilities under the policy that sampled.
        advantages_NL: from `estimate`.
        mask_NL: the policy's tokens.
        terms: `count_terms(mask, row.aggregation, ...)` of the whole optimizer step, all ranks.
        world: number of ranks whose gradients are averaged.
        ref_lp_NL: log-probabilities under the reference; only for a row with a KL loss.
        anchor_N: scales the KL loss of each sequence: say, 1 for proposers and 0 for solvers.
        weight_NL: `rollout_weight`, where another engine sampled.

    Returns:
        The loss, and clipped_NL of `policy_loss`.
    """
    loss_NL, clipped_NL = policy_loss(
        lp_NL, old_lp_NL, advantages_NL, mask_NL, row.clip_low, row.clip_high, row.dual_clip, row.ratio
    )
    if weight_NL is not None:
        loss_NL = loss_NL * weight_NL
    if row.kl_weight:
        if ref_lp_NL is None:
            raise BadArgument(f"preset {row.name!r} has a KL loss: give the reference's log-probabilities, or weight 0")
        pull_NL = row.kl_weight * kl_loss(lp_NL, ref_lp_NL, mask_NL, row.kl, old_lp_NL)
        loss_NL = loss_NL + (pull_NL if anchor_N is None else anchor_N[:, None] * pull_NL)
    if row.entropy_weight:
        loss_NL = loss_NL - row.entropy_weight * entropy_NL
    return aggregate(loss_NL, mask_NL, row.aggregation, terms, world), clipped_NL
