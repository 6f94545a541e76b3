"""Advantages: the numbers of the papers, what whitening promises, and everything that must not change it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from azr_agents.advantages import (
    Baseline,
    Groups,
    Unit,
    group_baseline,
    returns_to_go,
    running_baseline,
    token_rewards,
    whiten,
)
from azr_gym import BadArgument

torch.set_num_threads(1)


@dataclass(frozen=True)
class Batch:
    """Rewards, one per sequence; its length; its group."""

    reward_N: Tensor
    mask_NL: Tensor
    groups: Groups

    @property
    def values_NL(self) -> Tensor:
        return self.reward_N[:, None] * self.mask_NL


def mask_of(lengths: list[int], width: int | None = None) -> Tensor:
    return torch.arange(width or max(lengths))[None] < torch.tensor(lengths)[:, None]


rewards = st.sampled_from([-1.0, -0.5, 0.0, 0.1, 1 / 3, 0.4, 0.875, 1.0])


@st.composite
def batches(draw: st.DrawFn) -> Batch:
    n = draw(st.integers(1, 14))
    count = draw(st.integers(1, 4))
    reward = draw(st.lists(rewards, min_size=n, max_size=n))
    lengths = draw(st.lists(st.integers(1, 6), min_size=n, max_size=n))
    group = draw(st.lists(st.integers(0, count - 1), min_size=n, max_size=n))
    return Batch(torch.tensor(reward), mask_of(lengths), Groups(torch.tensor(group), count))


units = st.sampled_from(Unit)


def test_sequence_and_token_units_give_the_published_numbers() -> None:
    values_NL = torch.tensor([1.0, -1.0])[:, None].expand(2, 90)
    mask_NL, groups = mask_of([10, 90]), Groups(torch.zeros(2, dtype=torch.long), 1)
    by_sequence = whiten(values_NL, mask_NL, groups)
    by_token = whiten(values_NL, mask_NL, groups, "token")
    assert by_sequence[:, 0].tolist() == pytest.approx([1, -1], abs=1e-6)
    assert by_token[:, 0].tolist() == pytest.approx([3, -1 / 3], abs=1e-6)
    assert not by_token[0, 10:].any()


@given(batches(), units)
def test_whitened_groups_have_mean_zero_and_variance_one_or_are_zero(batch: Batch, unit: Unit) -> None:
    white_NL = whiten(batch.values_NL, batch.mask_NL, batch.groups, unit).double()
    for group in range(batch.groups.count):
        rows = batch.groups.id_N == group
        white, mask = white_NL[rows], batch.mask_NL[rows]
        sample = white[:, 0] if unit is Unit.SEQUENCE else white[mask]
        if len(set(batch.reward_N[rows].tolist())) < 2:
            assert not white.any()
        else:
            assert float(sample.mean()) == pytest.approx(0, abs=1e-5)
            assert float(sample.square().mean()) == pytest.approx(1, abs=1e-4)
            assert float(sample.abs().max()) <= (len(sample) - 1) ** 0.5 + 1e-5
        assert not white[~mask].any()


@given(batches(), units, st.lists(st.floats(-50, 50), min_size=4, max_size=4), st.floats(0.1, 10))
def test_whitening_ignores_a_constant_and_a_positive_scale_per_group(
    batch: Batch, unit: Unit, shifts: list[float], scale: float
) -> None:
    moved_N = (scale * batch.reward_N.double() + torch.tensor(shifts)[batch.groups.id_N]).double()
    was = whiten(batch.values_NL, batch.mask_NL, batch.groups, unit, eps=0.0)
    now = whiten(moved_N[:, None] * batch.mask_NL, batch.mask_NL, batch.groups, unit, eps=0.0)
    # What is left is the rounding of the moved rewards to float32: 50 / 2^24 over a deviation of 0.003.
    torch.testing.assert_close(now, was, atol=2e-3, rtol=0)


@given(batches(), units, st.integers(0, 5), st.integers(0, 5))
def test_whitening_ignores_padding_and_whatever_stands_there(batch: Batch, unit: Unit, left: int, right: int) -> None:
    was = whiten(batch.values_NL, batch.mask_NL, batch.groups, unit)
    dirty_NL = torch.where(batch.mask_NL, batch.values_NL, torch.nan)
    pad = torch.nn.functional.pad
    now = whiten(pad(dirty_NL, (left, right), value=torch.inf), pad(batch.mask_NL, (left, right)), batch.groups, unit)
    torch.testing.assert_close(now, pad(was, (left, right)), atol=1e-6, rtol=1e-6)


@given(batches(), units, st.randoms(use_true_random=False))
def test_whitening_follows_a_permutation_of_the_rows(batch: Batch, unit: Unit, random: object) -> None:
    order = list(range(len(batch.reward_N)))
    random.shuffle(order)  # type: ignore[attr-defined]
    was = whiten(batch.values_NL, batch.mask_NL, batch.groups, unit)
    moved = Groups(batch.groups.id_N[order], batch.groups.count)
    now = whiten(batch.values_NL[order], batch.mask_NL[order], moved, unit)
    torch.testing.assert_close(now, was[order], atol=1e-6, rtol=1e-6)


@given(batches())
def test_a_group_whitened_by_sequence_equals_numpy(batch: Batch) -> None:
    white_N = whiten(batch.values_NL, batch.mask_NL, batch.groups)[:, 0].numpy()
    reward, group = batch.reward_N.numpy().astype(np.float64), batch.groups.id_N.numpy()
    expected = np.zeros_like(reward)
    for one in set(group):
        mine = reward[group == one]
        if len(set(mine)) > 1:
            expected[group == one] = (mine - mine.mean()) / np.sqrt(mine.var() + 1e-8)
    np.testing.assert_allclose(white_N, expected, rtol=2e-7, atol=1e-12)  # one rounding to float32


@pytest.mark.parametrize("value", [0.1, 1 / 3, -0.7, 1e4])
@pytest.mark.parametrize("n", [1, 2, 3, 64, 4096])
@pytest.mark.parametrize("unit", Unit)
def test_equal_rewards_give_exact_zeros(value: float, n: int, unit: Unit) -> None:
    groups = Groups(torch.zeros(n, dtype=torch.long), 1)
    mask_NL = mask_of([1 + i % 7 for i in range(n)])
    assert not whiten(torch.full(mask_NL.shape, value), mask_NL, groups, unit).any()


def test_a_large_offset_costs_no_digits() -> None:
    groups = Groups(torch.zeros(4, dtype=torch.long), 1)
    white = whiten(torch.tensor([[10000.0], [10001.0], [10000.0], [10001.0]]), mask_of([1] * 4), groups)
    assert white[:, 0].tolist() == pytest.approx([-1, 1, -1, 1], abs=1e-5)


def test_sequences_without_tokens_count_for_nothing() -> None:
    mask_NL, groups = mask_of([2, 0, 3]), Groups(torch.zeros(3, dtype=torch.long), 1)
    white = whiten(torch.tensor([[1.0], [77.0], [0.0]]).expand(3, 3), mask_NL, groups)
    assert white[:, 0].tolist() == pytest.approx([1, 0, -1], abs=1e-6)


@given(batches())
def test_leave_one_out_is_the_mean_of_the_others(batch: Batch) -> None:
    out_N = group_baseline(batch.reward_N, batch.groups, Baseline.LEAVE_ONE_OUT)
    mean_N = group_baseline(batch.reward_N, batch.groups, Baseline.MEAN)
    for i, (reward, group) in enumerate(zip(batch.reward_N.tolist(), batch.groups.id_N.tolist(), strict=True)):
        mine = [r for r, g in zip(batch.reward_N.tolist(), batch.groups.id_N.tolist(), strict=True) if g == group]
        n, mean = len(mine), sum(mine) / len(mine)
        if n == 1:
            assert float(out_N[i]) == float(mean_N[i]) == 0
            continue
        others = (sum(mine) - reward) / (n - 1)
        assert float(mean_N[i]) == pytest.approx(reward - mean, abs=1e-6)
        assert float(out_N[i]) == pytest.approx(reward - others, abs=1e-6)
        assert float(out_N[i]) == pytest.approx((reward - mean) * n / (n - 1), abs=1e-6)


def test_no_baseline_leaves_the_rewards_and_a_running_one_is_sent_elsewhere() -> None:
    reward_N, groups = torch.tensor([1.0, 0.5]), Groups(torch.tensor([0, 0]), 1)
    assert group_baseline(reward_N, groups, "none").tolist() == [1.0, 0.5]
    with pytest.raises(BadArgument, match="running_baseline"):
        group_baseline(reward_N, groups, "running")
    with pytest.raises(BadArgument, match="leave_one_out"):
        group_baseline(reward_N, groups, "median")


def test_a_running_baseline_is_the_decayed_mean_of_the_past() -> None:
    groups = Groups(torch.tensor([0, 0, 2]), 3)
    first, state = running_baseline(torch.tensor([1.0, 0.0, 1.0]), groups, None, 0.9)
    assert first.tolist() == [0.5, -0.5, 0.0]  # no past: its own mean
    second, state = running_baseline(torch.tensor([1.0, 1.0, 0.0]), groups, state, 0.9)
    assert second.tolist() == [0.5, 0.5, -1.0]  # the past's 0.5 and 1, not today's 1 and 0
    third, after = running_baseline(torch.tensor([0.0]), Groups(torch.tensor([0]), 3), state, 0.9)
    assert float(third[0]) == pytest.approx(-(0.9 * 0.5 + 1) / 1.9)  # weights 0.09 and 0.1
    assert torch.equal(after[1:], state[1:])  # groups without members keep theirs
    assert not after[1].any()


def test_returns_step_over_what_the_environment_said() -> None:
    mask_NL = torch.tensor([[True, False, True]])
    assert returns_to_go(torch.tensor([[0.0, 0.0, 1.0]]), mask_NL).tolist() == [[1, 0, 1]]
    assert returns_to_go(torch.tensor([[0.0, torch.nan, 1.0]]), mask_NL, gamma=0.5).tolist() == [[0.5, 0, 1]]
    two_turns = torch.tensor([[False, True, True, False, False, True, False]])
    reward = torch.tensor([[9.0, 0.0, 1.0, 9.0, 9.0, 2.0, 9.0]])
    assert returns_to_go(reward, two_turns, gamma=0.5).tolist() == [[0, 1, 2, 0, 0, 2, 0]]


def test_a_reward_stands_on_the_last_token_and_kl_on_every_one() -> None:
    mask_NL = torch.tensor([[True, True, False, True, False], [True, False, False, False, False], [False] * 5])
    reward_N = torch.tensor([1.0, -1.0, 5.0])
    assert token_rewards(reward_N, mask_NL).tolist() == [[0, 0, 0, 1, 0], [-1, 0, 0, 0, 0], [0] * 5]
    lp_NL = torch.full((3, 5), -1.0)
    ref_NL = torch.where(mask_NL, -3.0, torch.nan)
    priced = token_rewards(reward_N, mask_NL, 0.25, lp_NL, ref_NL)
    assert priced.tolist() == [[-0.5, -0.5, 0, 0.5, 0], [-1.5, 0, 0, 0, 0], [0] * 5]
    only_first = token_rewards(reward_N, mask_NL, torch.tensor([0.25, 0.0, 0.0]), lp_NL, ref_NL)
    assert only_first.tolist() == [[-0.5, -0.5, 0, 0.5, 0], [-1, 0, 0, 0, 0], [0] * 5]
    with pytest.raises(BadArgument, match="log-probabilities"):
        token_rewards(reward_N, mask_NL, 0.25)


def test_an_unknown_unit_is_refused() -> None:
    with pytest.raises(BadArgument, match="sequence"):
        whiten(torch.ones(1, 1), mask_of([1]), Groups(torch.zeros(1, dtype=torch.long), 1), "word")
