"""The table of algorithms: each row against numpy, and the seed objective against the exact gradient."""

from __future__ import annotations

import dataclasses
import math
import random

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor

from azr_agents.advantages import Groups
from azr_agents.loss import count_terms, token_logprobs
from azr_agents.presets import PRESETS, estimate, objective, preset
from azr_gym import BadArgument
from azr_gym.rewards import Reward, reward
from azr_gym.roles import Outcome, Role

torch.set_num_threads(1)

Array = npt.NDArray[np.float64]

# Twelve answers, four to a prompt; roles 0, 1, 1; the last prompt teaches nothing.
REWARD = torch.tensor([1.0, -0.5, -0.5, 1.0, 0.375, 0.875, -1.0, 0.0, 1.0, 1.0, 1.0, 1.0])
LENGTH = torch.tensor([3, 5, 1, 2, 5, 4, 1, 1, 2, 3, 4, 5])
MASK = torch.arange(5)[None] < LENGTH[:, None]
PROMPTS = Groups(torch.arange(12) // 4, 3)
ROLES = Groups(torch.tensor([0] * 4 + [1] * 8), 2)
LP = -torch.linspace(0.1, 3, 60).reshape(12, 5)
REF = LP.flip(0) - 0.2


def by_preset(name: str, **changes: object) -> Array:
    row = dataclasses.replace(preset(name), **changes)  # type: ignore[arg-type]
    return estimate(row, REWARD, MASK, ROLES, PROMPTS, LP, REF)[0].double().numpy()


def whitened(values: Array, groups: Tensor | None = None) -> Array:
    """By sequence, in numpy."""
    out = np.zeros_like(values)
    ids = np.zeros(len(values)) if groups is None else groups.numpy()
    for one in set(ids.tolist()):
        mine = values[ids == one]
        if mine.std() > 0:
            out[ids == one] = (mine - mine.mean()) / np.sqrt(mine.var() + 1e-8)
    return out


R, M = REWARD.double().numpy(), MASK.numpy()
CENTRED = (R.reshape(3, 4) - R.reshape(3, 4).mean(1, keepdims=True)).reshape(12)


@pytest.mark.parametrize(
    ("name", "per_sequence"),
    [
        ("trr++", whitened(R, ROLES.id_N)),
        ("grpo", whitened(R, PROMPTS.id_N)),
        ("dapo", whitened(R, PROMPTS.id_N)),
        ("dr.grpo", CENTRED),
    ],
)
def test_advantages_of_the_whole_answer_equal_numpy(name: str, per_sequence: Array) -> None:
    np.testing.assert_allclose(by_preset(name), per_sequence[:, None] * M, rtol=2e-7, atol=1e-12)


def test_rloo_charges_the_whole_answer_for_its_divergence() -> None:
    total = R - 0.05 * ((LP - REF).double().numpy() * M).sum(1)
    centred = (total.reshape(3, 4) - total.reshape(3, 4).mean(1, keepdims=True)).reshape(12) * 4 / 3
    np.testing.assert_allclose(by_preset("rloo"), centred[:, None] * M, rtol=1e-5, atol=1e-6)


def test_reinforce_plus_plus_charges_each_token_from_there_on_and_whitens_all_tokens() -> None:
    cost = 0.01 * (LP - REF).double().numpy() * M
    returns = R[:, None] - cost[:, ::-1].cumsum(1)[:, ::-1]
    tokens = returns[M]
    expected = np.where(M, (returns - tokens.mean()) / np.sqrt(tokens.var() + 1e-8), 0)
    np.testing.assert_allclose(by_preset("reinforce++"), expected, rtol=1e-5, atol=1e-6)


def test_reinforce_plus_plus_with_baseline_centres_by_prompt_and_scales_by_batch() -> None:
    spread = CENTRED[:, None] * M
    tokens = spread[M]
    expected = np.where(M, (spread - tokens.mean()) / np.sqrt(tokens.var() + 1e-8), 0)
    np.testing.assert_allclose(by_preset("reinforce++_baseline"), expected, rtol=1e-5, atol=1e-6)


def test_the_token_weighted_variant_weighs_tokens() -> None:
    expected = np.zeros_like(R)
    for role in (0, 1):
        rows = ROLES.id_N.numpy() == role
        tokens = np.repeat(R[rows], LENGTH.numpy()[rows])
        expected[rows] = (R[rows] - tokens.mean()) / np.sqrt(tokens.var() + 1e-8)
    np.testing.assert_allclose(by_preset("trr++_token"), expected[:, None] * M, rtol=1e-6, atol=1e-7)


def test_the_running_variant_hands_its_state_on() -> None:
    row = preset("trr++_running")
    first, state = estimate(row, REWARD, MASK, ROLES, PROMPTS)
    second, _ = estimate(row, REWARD + 1, MASK, ROLES, PROMPTS, state_G2=state)
    torch.testing.assert_close(second, first + MASK.float())
    assert estimate(preset("trr++"), REWARD, MASK, ROLES, PROMPTS)[1] is None


@pytest.mark.parametrize("name", PRESETS)
def test_a_pad_row_changes_nothing(name: str) -> None:
    def advantages(pads: int) -> Tensor:
        reward_N = torch.cat([REWARD, torch.full((pads,), 9.0)])
        mask_NL, lp_NL, ref_NL = (torch.nn.functional.pad(x, (0, 0, 0, pads)) for x in (MASK, LP, REF))
        roles, prompts = (Groups(torch.nn.functional.pad(g.id_N, (0, pads)), g.count) for g in (ROLES, PROMPTS))
        return estimate(preset(name), reward_N, mask_NL, roles, prompts, lp_NL, ref_NL)[0]

    torch.testing.assert_close(advantages(2)[:12], advantages(0))
    assert not advantages(2)[12:].any()


def grpo_in_numpy(lp: Array, old: Array, ref: Array, clip: float, beta: float) -> float:
    """GRPO's loss (arXiv 2402.03300), its KL term with the ratio."""
    gain, total = whitened(R, PROMPTS.id_N), 0.0
    for i, length in enumerate(LENGTH.tolist()):
        p, q, r = lp[i, :length], old[i, :length], ref[i, :length]
        rho = np.exp(p - q)
        surrogate = np.minimum(rho * gain[i], rho.clip(1 - clip, 1 + clip) * gain[i])
        total -= float((surrogate - beta * rho * (np.exp(r - p) - (r - p) - 1)).mean()) / len(R)
    return total


def test_the_loss_of_grpo_equals_ten_lines_of_numpy() -> None:
    lp, old, ref = (x.double() for x in (LP, LP + 0.3 * torch.sin(torch.arange(60.0)).reshape(12, 5), REF))
    row = preset("grpo")
    advantages, _ = estimate(row, REWARD, MASK, ROLES, PROMPTS)
    terms = count_terms(MASK, row.aggregation)
    loss, _ = objective(row, lp, torch.zeros(12, 5), old, advantages, MASK, terms, ref_lp_NL=ref)
    expected = grpo_in_numpy(lp.numpy(), old.numpy(), ref.numpy(), 0.2, 0.04)
    assert float(loss) == pytest.approx(expected, rel=1e-6)  # advantages are float32


@pytest.mark.parametrize("name", PRESETS)
def test_every_row_gives_a_finite_gradient_and_says_where_it_comes_from(name: str) -> None:
    row = preset(name)
    assert row.name == name == name.lower()
    lp = LP.clone().requires_grad_()
    advantages, _ = estimate(row, REWARD, MASK, ROLES, PROMPTS, LP, REF)
    terms = count_terms(MASK, row.aggregation, max_tokens=8)
    entropy = -lp * lp.exp()
    loss, clipped = objective(row, lp, entropy, LP, advantages, MASK, terms, 1, REF)
    (found,) = torch.autograd.grad(loss, lp)
    assert found.isfinite().all()
    assert found[MASK].any()
    assert not found[~MASK].any()
    assert not clipped.any()
    root = {"trr++_token": "trr++", "trr++_running": "trr++"}.get(name, name)
    assert "arXiv" in preset(root).source or root == "lambda"


def test_kl_may_hold_the_proposers_alone() -> None:
    row = dataclasses.replace(preset("trr++"), kl_weight=0.2, entropy_weight=0.0)
    lp = LP.clone().requires_grad_()
    anchor = (ROLES.id_N == 1).float()
    loss, _ = objective(row, lp, lp, LP, torch.zeros(12, 5), MASK, 36, 1, REF, anchor)
    (found,) = torch.autograd.grad(loss, lp)
    assert not found[ROLES.id_N == 0].any()
    torch.testing.assert_close(found, 0.2 * (LP - REF) / 36 * MASK * anchor[:, None])


def test_entropy_is_wanted_not_avoided() -> None:
    entropy = torch.rand(12, 5).requires_grad_()
    loss, _ = objective(preset("trr++"), LP, entropy, LP, torch.zeros(12, 5), MASK, 36)
    (found,) = torch.autograd.grad(loss, entropy)
    torch.testing.assert_close(found, -0.001 / 36 * MASK)


def test_a_missing_reference_is_said() -> None:
    with pytest.raises(BadArgument, match=r"grpo.*reference"):
        objective(preset("grpo"), LP, LP, LP, LP, MASK, 1)
    with pytest.raises(BadArgument, match="reference"):
        estimate(preset("rloo"), REWARD, MASK, ROLES, PROMPTS)


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(BadArgument) as caught:
        preset("ppo")
    assert all(repr(name) in str(caught.value) for name in PRESETS)


# The seed objective, by enumeration of every answer of two tokens over an alphabet of three, for both roles.
# One table of parameters holds both: a row for the start of each role, a row for each first token (shared).
ROLE = (Role.PROPOSE, Role.SOLVE)
ANSWERS = torch.cartesian_prod(torch.arange(3), torch.arange(3))  # 9 x 2
WEIGHT = 0.7  # lambda


def worth(role: Role, answer: int) -> float:
    """The reward of preset `lambda` of the environments: an arbitrary but fixed verdict on each answer."""
    if role is Role.SOLVE:
        outcome = (Outcome.CORRECT, Outcome.WRONG, Outcome.MALFORMED)[answer % 3]
        return reward(Reward.LAMBDA, role, outcome)
    outcome = Outcome.ACCEPTED if answer not in (2, 6) else Outcome.REFUSED
    return reward(Reward.LAMBDA, role, outcome, solve_rate=(answer % 5) / 4, weight=WEIGHT)


WORTH = torch.tensor([[worth(role, answer) for answer in range(9)] for role in ROLE])


def log_probabilities(theta: Tensor, role_N: Tensor, answer_N: Tensor) -> Tensor:
    ids_NL = ANSWERS[answer_N]
    return token_logprobs(theta[torch.stack([role_N, 2 + ids_NL[:, 0]], dim=1)], ids_NL)[0]


def exact(theta: Tensor) -> Tensor:
    """L = - sum over roles and answers of pi_role(answer) R_role(answer): its gradient is the one of the seed's L."""
    total = torch.zeros((), dtype=torch.float64)
    for role in (0, 1):
        chance = log_probabilities(theta, torch.full((9,), role), torch.arange(9)).sum(1).exp()
        total = total - (chance * WORTH[role].double()).sum()
    return total


def test_the_seed_objective_has_its_exact_gradient() -> None:
    """Preset `lambda` on every pair of answers of each role, weighted by its chance: the leave-one-out baseline is unbiased."""
    generator = torch.Generator().manual_seed(1)
    theta = torch.randn(5, 3, generator=generator, dtype=torch.float64).requires_grad_()
    assert {0.0, 1.0} < set(WORTH.flatten().tolist())  # learnability at its ends and between, and correctness
    role_N, first_N, second_N = torch.cartesian_prod(torch.arange(2), torch.arange(9), torch.arange(9)).T
    pairs = torch.arange(len(role_N))
    role_N, answer_N, pair_N = role_N.repeat(2), torch.cat([first_N, second_N]), pairs.repeat(2)
    lp_NL, mask_NL = log_probabilities(theta, role_N, answer_N), torch.ones(len(role_N), 2, dtype=torch.bool)
    chance_N = lp_NL.sum(1).exp().detach().reshape(2, -1).prod(0).repeat(2)
    groups = Groups(pair_N, len(pairs))
    row = preset("lambda")
    advantages, _ = estimate(row, WORTH[role_N, answer_N], mask_NL, groups, groups)
    loss, _ = objective(
        row, lp_NL, lp_NL, lp_NL.detach(), advantages, mask_NL, terms=2, weight_NL=chance_N[:, None]
    )  # two sequences a pair
    (found,) = torch.autograd.grad(loss, theta)
    (wanted,) = torch.autograd.grad(exact(theta), theta)
    torch.testing.assert_close(found, wanted, atol=1e-7, rtol=1e-6)
    for _ in range(5):  # and the exact gradient is that of differences
        i, j, step = random.Random(_).randrange(5), random.Random(_ + 9).randrange(3), 1e-6
        nudge = torch.zeros(5, 3, dtype=torch.float64)
        nudge[i, j] = step
        slope = (exact(theta.detach() + nudge) - exact(theta.detach() - nudge)) / (2 * step)
        assert found[i, j].item() == pytest.approx(slope.item(), abs=1e-6)
    assert math.isclose(found[:2].sum().item(), 0, abs_tol=1e-7)  # a softmax does not feel a constant


def test_lambda_zero_trains_the_solver_alone() -> None:
    assert reward(Reward.LAMBDA, Role.PROPOSE, Outcome.ACCEPTED, 0.5, weight=0.0) == 0
    zero_N = torch.zeros(4)
    groups = Groups(torch.zeros(4, dtype=torch.long), 1)
    advantages, _ = estimate(preset("lambda"), zero_N, torch.ones(4, 2, dtype=torch.bool), groups, groups)
    assert not advantages.any()
