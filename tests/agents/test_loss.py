"""The loss: closed forms by exact enumeration, gradients against finite differences, and cuts that change nothing."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from azr_agents.advantages import returns_to_go, token_rewards
from azr_agents.loss import (
    KL,
    Aggregation,
    Ratio,
    aggregate,
    count_terms,
    kl_loss,
    policy_loss,
    rollout_weight,
    token_logprobs,
)
from azr_gym import BadArgument

torch.set_num_threads(1)

# A policy over five actions, its reference, and an older policy that sampled: log-probabilities, float64.
POLICY = torch.tensor([0.3, -1.0, 0.7, 0.0, 1.2], dtype=torch.float64)
REFERENCE = torch.tensor([-0.4, 0.5, 0.1, 0.9, 0.2], dtype=torch.float64).log_softmax(0)
OLD = torch.tensor([0.1, -0.6, 0.9, 0.4, 0.8], dtype=torch.float64).log_softmax(0)
ALL = torch.ones(5, 1, dtype=torch.bool)


def column(lp_V: Tensor) -> Tensor:
    """Every action once, as a sequence of one token."""
    return lp_V[:, None]


def gradient(of: Callable[[Tensor], Tensor], sampler: Tensor | None = None) -> Tensor:
    """Of the expectation of a per-action loss under a sampler that does not depend on the parameters."""
    theta = POLICY.clone().requires_grad_()
    lp = theta.log_softmax(0)
    weight = (lp if sampler is None else sampler).exp().detach()
    return torch.autograd.grad((weight[:, None] * of(column(lp))).sum(), theta)[0]


def kl_gradient(forward: bool = False) -> Tensor:
    """Of KL(pi || ref), or of KL(ref || pi), by autograd on the sum itself."""
    theta = POLICY.clone().requires_grad_()
    lp = theta.log_softmax(0)
    kl = (REFERENCE.exp() * (REFERENCE - lp)).sum() if forward else (lp.exp() * (lp - REFERENCE)).sum()
    return torch.autograd.grad(kl, theta)[0]


def k1(lp: Tensor) -> Tensor:
    return lp - column(REFERENCE)


def k2(lp: Tensor) -> Tensor:
    return kl_loss(lp, column(REFERENCE), ALL, "k2")


def k3(lp: Tensor) -> Tensor:
    """The plain estimator: where pi_old is pi at every parameter, the ratio is 1 and has no gradient."""
    return kl_loss(lp, column(REFERENCE), ALL, "k3_ratio", lp)


def test_k1_and_k3_estimate_the_divergence_and_k2_does_not() -> None:
    lp = POLICY.log_softmax(0)
    kl = float((lp.exp() * (lp - REFERENCE)).sum())
    mean = {name: float((lp.exp()[:, None] * of(column(lp))).sum()) for name, of in (("1", k1), ("2", k2), ("3", k3))}
    assert mean["1"] == pytest.approx(kl, rel=1e-12)
    assert mean["3"] == pytest.approx(kl, rel=1e-12)
    assert abs(mean["2"] - kl) > 0.01 * kl


def test_k1_as_a_loss_would_do_nothing() -> None:
    torch.testing.assert_close(gradient(k1), torch.zeros_like(POLICY))


def test_k2_as_a_loss_descends_the_divergence() -> None:
    torch.testing.assert_close(gradient(k2), kl_gradient())


def test_plain_k3_as_a_loss_descends_the_other_divergence() -> None:
    torch.testing.assert_close(gradient(k3), kl_gradient(forward=True))
    assert not torch.allclose(kl_gradient(), kl_gradient(forward=True), rtol=0.05)


@pytest.mark.parametrize("sampler", [POLICY.log_softmax(0), OLD], ids=["on-policy", "off-policy"])
def test_k3_with_its_ratio_descends_the_divergence_whoever_sampled(sampler: Tensor) -> None:
    found = gradient(lambda lp: kl_loss(lp, column(REFERENCE), ALL, KL.K3_RATIO, column(sampler)), sampler)
    torch.testing.assert_close(found, kl_gradient())


@pytest.mark.parametrize("kind", ["k1", "k3"])
def test_estimators_with_a_wrong_gradient_are_refused(kind: str) -> None:
    with pytest.raises(ValueError, match="k3_ratio"):
        kl_loss(column(OLD), column(REFERENCE), ALL, kind)


def test_k3_needs_to_know_who_sampled() -> None:
    with pytest.raises(BadArgument, match="sampled"):
        kl_loss(column(OLD), column(REFERENCE), ALL, "k3_ratio")


def test_k1_in_the_reward_descends_the_divergence_of_whole_answers() -> None:
    """Two tokens of three, enumerated: returns-to-go through REINFORCE give -grad KL of the joint distribution."""
    theta = torch.linspace(-1, 1, 12, dtype=torch.float64).reshape(4, 3).requires_grad_()
    ref = torch.linspace(1, -0.5, 12, dtype=torch.float64).cos().reshape(4, 3).log_softmax(-1)
    ids_NL = torch.cartesian_prod(torch.arange(3), torch.arange(3))
    context_NL = torch.stack([torch.full((9,), 3), ids_NL[:, 0]], dim=1)  # the start, then the first token
    mask_NL = torch.ones(9, 2, dtype=torch.bool)
    lp_NL, _ = token_logprobs(theta[context_NL], ids_NL)
    ref_NL = ref[context_NL].gather(-1, ids_NL[..., None])[..., 0]
    chance_N = lp_NL.sum(1).exp()
    kl = (chance_N * (lp_NL - ref_NL).sum(1)).sum()
    (expected,) = torch.autograd.grad(kl, theta, retain_graph=True)
    values_NL = returns_to_go(token_rewards(torch.zeros(9), mask_NL, 1.0, lp_NL, ref_NL), mask_NL)
    loss_NL, _ = policy_loss(lp_NL, lp_NL.detach(), values_NL, mask_NL)
    (found,) = torch.autograd.grad((chance_N.detach()[:, None] * loss_NL).sum(), theta)
    torch.testing.assert_close(found, expected, atol=1e-7, rtol=1e-6)  # rewards are float32


@pytest.mark.parametrize(
    ("advantage", "ratio", "dual", "loss", "slope"),
    [
        (1.0, 1.27, None, -1.27, -1.27),  # inside: the gradient by lp is -A rho
        (1.0, 1.29, None, -1.28, 0.0),  # up far enough
        (1.0, 0.5, None, -0.5, -0.5),  # down by mistake: pulled back with full force
        (-1.0, 0.81, None, 0.81, 0.81),
        (-1.0, 0.79, None, 0.8, 0.0),  # down far enough
        (-1.0, 1.5, None, 1.5, 1.5),  # up by mistake
        (-1.0, 2.9, 3.0, 2.9, 2.9),
        (-1.0, 3.1, 3.0, 3.0, 0.0),  # so far up that one token would rule the step
        (1.0, 3.1, 3.0, -1.28, 0.0),
    ],
)
def test_the_clip_takes_the_gradient_exactly_where_it_should(
    advantage: float, ratio: float, dual: float | None, loss: float, slope: float
) -> None:
    lp = torch.tensor([[math.log(ratio)]], dtype=torch.float64, requires_grad=True)
    value, clipped = policy_loss(lp, torch.zeros(1, 1), torch.tensor([[advantage]]), ALL[:1], 0.2, 0.28, dual)
    (found,) = torch.autograd.grad(value.sum(), lp)
    assert value.item() == pytest.approx(loss)
    assert found.item() == pytest.approx(slope)
    assert bool(clipped) == (slope == 0)


def test_a_dual_clip_below_the_clip_is_refused() -> None:
    with pytest.raises(BadArgument, match="dual_clip"):
        policy_loss(column(OLD), column(OLD), torch.ones(5, 1), ALL, dual_clip=1.1)


@pytest.mark.parametrize("ratio", Ratio)
@pytest.mark.parametrize("clip", [(0.2, 0.28), (1.0, math.inf)])
def test_where_nothing_has_moved_the_gradient_is_that_of_reinforce(ratio: Ratio, clip: tuple[float, float]) -> None:
    torch.manual_seed(0)
    lp = -torch.rand(4, 3, dtype=torch.float64).requires_grad_()
    mask = torch.arange(3)[None] < torch.tensor([3, 1, 2, 0])[:, None]
    advantages = torch.randn(4, 1, dtype=torch.float64).expand(4, 3)
    loss, clipped = policy_loss(lp, lp.detach(), advantages, mask, *clip, ratio=ratio)
    how = Aggregation.SEQUENCE if ratio is Ratio.SEQUENCE else Aggregation.TOKEN
    (found,) = torch.autograd.grad(aggregate(loss, mask, how, 1), lp)
    torch.testing.assert_close(found, torch.where(mask, -advantages, 0.0))
    assert not clipped.any()


def test_a_sequence_ratio_is_the_product_of_its_tokens() -> None:
    lp, old = torch.tensor([[-1.0, -2.0, -9.0]]), torch.tensor([[-1.1, -2.3, -1.0]])
    mask = torch.tensor([[True, True, False]])
    loss, _ = policy_loss(lp, old, torch.ones(1, 3), mask, 1.0, math.inf, ratio="sequence")
    assert loss.tolist()[0] == pytest.approx([-math.exp(0.4), -math.exp(0.4), 0])


@given(st.integers(0, 2**31), st.sampled_from([None, 2.0]), st.sampled_from(Ratio), st.sampled_from(KL))
def test_gradients_equal_finite_differences(seed: int, dual: float | None, ratio: Ratio, kind: KL) -> None:
    g = torch.Generator().manual_seed(seed)
    logits = torch.randn(2, 3, 4, generator=g, dtype=torch.float64, requires_grad=True)
    ids, mask = torch.randint(4, (2, 3), generator=g), torch.tensor([[True, True, False], [True, True, True]])
    old, ref, gain = (torch.randn(2, 3, generator=g, dtype=torch.float64) for _ in range(3))

    point = logits.detach()
    lp, _ = token_logprobs(point, ids, 0.7)
    frozen = lp.clone()  # old and ref are constants: the same at both ends of a difference

    def of(logits: Tensor) -> Tensor:
        lp, entropy = token_logprobs(logits, ids, temperature=0.7)
        surrogate, _ = policy_loss(lp, frozen + 0.5 * old, gain, mask, dual_clip=dual, ratio=ratio)
        pull = kl_loss(lp, frozen + 0.5 * ref, mask, kind, frozen + 0.5 * old)
        return aggregate(surrogate + 0.1 * pull - 0.01 * entropy, mask, "sequence", 2)

    (found,) = torch.autograd.grad(of(logits), logits)
    step, numeric = 1e-6, torch.zeros_like(point)
    for i in range(point.numel()):
        nudge = torch.zeros(point.numel(), dtype=torch.float64)
        nudge[i] = step
        with torch.no_grad():
            up, down = of(point + nudge.view_as(point)), of(point - nudge.view_as(point))
        numeric.view(-1)[i] = (up - down) / (2 * step)
    torch.testing.assert_close(found, numeric, atol=1e-7, rtol=1e-5)


cuts = st.lists(st.integers(0, 3), min_size=9, max_size=9)  # the micro-batch of each of nine sequences


@given(st.integers(0, 2**31), cuts, st.sampled_from(Aggregation))
def test_any_split_into_micro_batches_gives_the_same_loss_and_gradient(
    seed: int, parts: list[int], how: Aggregation
) -> None:
    g = torch.Generator().manual_seed(seed)
    lp = -torch.rand(9, 6, generator=g, dtype=torch.float64).requires_grad_()
    gain = torch.randn(9, 6, generator=g, dtype=torch.float64)
    mask = torch.arange(6)[None] < torch.randint(0, 7, (9, 1), generator=g)
    terms = count_terms(mask, how, max_tokens=6)

    def share(rows: Tensor) -> Tensor:
        width = max(1, int(mask[rows].sum(1).max())) if rows.any() else 1  # each micro-batch is padded to its own width
        at = lp[rows][:, :width]
        loss, _ = policy_loss(at, at.detach() - 0.1, gain[rows][:, :width], mask[rows][:, :width])
        return aggregate(loss, mask[rows][:, :width], how, terms)

    whole = share(torch.ones(9, dtype=torch.bool))
    cut = torch.stack([share(torch.tensor(parts) == part) for part in range(4)]).sum()
    torch.testing.assert_close(cut, whole)
    torch.testing.assert_close(*(torch.autograd.grad(loss, lp)[0] for loss in (cut, whole)))


def test_aggregation_by_hand() -> None:
    loss = torch.tensor([[1.0, 2.0, 3.0], [5.0, 99.0, 99.0], [99.0, 99.0, 99.0]])
    mask = torch.tensor([[True, True, True], [True, False, False], [False, False, False]])
    for how, terms, mean in (("token", 4, 11 / 4), ("sequence", 2, (2 + 5) / 2), ("constant", 20, 11 / 20)):
        assert count_terms(mask, how, max_tokens=10) == terms
        assert float(aggregate(loss, mask, how, terms)) == pytest.approx(mean)
        assert float(aggregate(loss, mask, how, terms, world=4)) == pytest.approx(4 * mean)
    with pytest.raises(BadArgument, match="max_tokens"):
        count_terms(mask, "constant")


def test_a_step_without_tokens_is_zero_not_nan() -> None:
    mask = torch.zeros(2, 3, dtype=torch.bool)
    assert float(aggregate(torch.full((2, 3), torch.nan), mask, "token", count_terms(mask, "token"))) == 0


@pytest.mark.parametrize("dirt", [torch.nan, torch.inf, -torch.inf, -1e9])
@pytest.mark.parametrize("kind", KL)
@pytest.mark.parametrize("ratio", Ratio)
def test_nothing_under_the_mask_reaches_loss_or_gradient(dirt: float, kind: KL, ratio: Ratio) -> None:
    lp = -torch.rand(2, 3).requires_grad_()
    mask = torch.tensor([[True, True, False], [True, False, False]])
    dirty = torch.where(mask, lp.detach(), dirt)
    loss, _ = policy_loss(lp, dirty, torch.where(mask, 1.0, dirt), mask, ratio=ratio)
    loss = loss + kl_loss(lp, dirty - 0.1, mask, kind, dirty)
    value = aggregate(loss, mask, "token", 3)
    (found,) = torch.autograd.grad(value, lp)
    assert value.isfinite()
    assert found.isfinite().all()
    assert not found[~mask].any()


def test_policies_that_have_parted_far_stay_finite() -> None:
    lp = torch.tensor([[-200.0, -1e-3]], requires_grad=True)
    mask = torch.ones(1, 2, dtype=torch.bool)
    for gain in (1.0, -1.0):
        loss, _ = policy_loss(lp, torch.tensor([[-1e-3, -200.0]]), torch.full((1, 2), gain), mask)
        loss = loss + kl_loss(lp, torch.tensor([[-1e-3, -200.0]]), mask, "k3_ratio", lp.detach())
        (found,) = torch.autograd.grad(loss.sum(), lp)
        assert loss.isfinite().all()
        assert found.isfinite().all()


@given(st.integers(0, 2**31), st.floats(0.2, 3.0), st.integers(1, 8))
def test_log_probabilities_are_those_of_the_tempered_categorical_however_they_are_chunked(
    seed: int, temperature: float, chunk: int
) -> None:
    g = torch.Generator().manual_seed(seed)
    logits = (5 * torch.randn(2, 6, 7, generator=g)).requires_grad_()
    ids = torch.randint(7, (2, 6), generator=g)
    wanted = (logits.double() / temperature).log_softmax(-1)
    lp, entropy = token_logprobs(logits, ids, temperature)
    torch.testing.assert_close(lp.double(), wanted.gather(-1, ids[..., None])[..., 0], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(entropy.double(), -(wanted.exp() * wanted).sum(-1), atol=1e-5, rtol=1e-5)
    lp_cut, entropy_cut = token_logprobs(logits, ids, temperature, chunk)
    torch.testing.assert_close(lp_cut, lp, atol=0, rtol=0)
    torch.testing.assert_close(entropy_cut, entropy, atol=0, rtol=0)
    whole, cut = (torch.autograd.grad((a + b).sum(), logits)[0] for a, b in ((lp, entropy), (lp_cut, entropy_cut)))
    torch.testing.assert_close(cut, whole, atol=1e-6, rtol=1e-6)


def test_half_precision_logits_are_raised_before_the_softmax() -> None:
    logits = torch.randn(2, 3, 50).bfloat16()
    lp, entropy = token_logprobs(logits, torch.zeros(2, 3, dtype=torch.long), 0.7)
    again, _ = token_logprobs(logits.float(), torch.zeros(2, 3, dtype=torch.long), 0.7)
    assert lp.dtype is entropy.dtype is torch.float32
    assert torch.equal(lp, again)


def test_a_forbidden_token_leaves_entropy_and_gradient_finite() -> None:
    logits = torch.tensor([[[0.0, 0.0, -torch.inf]]], requires_grad=True)
    lp, entropy = token_logprobs(logits, torch.tensor([[0]]))
    (found,) = torch.autograd.grad((lp + entropy).sum(), logits)
    assert entropy.item() == pytest.approx(math.log(2))
    assert found.flatten().tolist() == pytest.approx([0.5, -0.5, 0.0])


@pytest.mark.parametrize("temperature", [0.0, -1.0])
def test_a_temperature_that_is_none_is_refused(temperature: float) -> None:
    with pytest.raises(BadArgument, match="temperature"):
        token_logprobs(torch.zeros(1, 1, 2), torch.zeros(1, 1, dtype=torch.long), temperature)


def test_weights_for_another_sampler_by_hand() -> None:
    weights = torch.tensor([[0.1, 2.0, 8.0], [1.5, 1.5, 7.0], [2.0, 2.0, 1.0]])
    mask = torch.tensor([[True, True, True], [True, True, False], [True, True, True]])
    zeros = torch.zeros(3, 3)
    token = rollout_weight(weights.log(), zeros, mask, "token_clamp", 0.5, 5.0)
    assert token.flatten().tolist() == pytest.approx([0.5, 2, 5, 1.5, 1.5, 0, 2, 2, 1])
    sequence = rollout_weight(weights.log(), zeros, mask, "sequence_mask", 0.0, 3.0)
    assert sequence.flatten().tolist() == pytest.approx([1.6] * 3 + [2.25, 2.25, 0] + [0] * 3)
    assert not rollout_weight(weights.log().requires_grad_(), zeros, mask, "token_clamp", 0, 9).requires_grad


def test_a_corrected_loss_is_exact_where_no_weight_is_bounded() -> None:
    """Sampled by another engine, weighted back: the expectation under the training policy, by enumeration."""
    lp, other = column(POLICY.log_softmax(0)), column(OLD)
    loss, _ = policy_loss(lp, lp, torch.arange(5.0)[:, None], ALL)
    weight = rollout_weight(lp, other, ALL, "token_clamp", 0, math.inf)
    torch.testing.assert_close((other.exp() * weight * loss).sum(), (lp.exp() * loss).sum())
