"""Rewards: the table of presets exactly, learnability at its ends and between them, and one clear error for the rest."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from azr_gym import BadArgument, Outcome, Role
from azr_gym.rewards import Learnability, Reward, learnability, propose_reward, reward, solve_reward

rates = st.floats(0, 1)
inside = st.floats(0.001, 0.999)
ACCEPTED, REFUSED, MALFORMED = Outcome.ACCEPTED, Outcome.REFUSED, Outcome.MALFORMED


@pytest.mark.parametrize("kind", Learnability)
@pytest.mark.parametrize("rate", [0.0, 1.0, -0.0, 0, 1])
def test_what_nobody_or_everybody_solves_teaches_nothing(kind: Learnability, rate: float) -> None:
    assert learnability(rate, kind) == 0.0


def test_six_of_ten_gives_exactly_four_tenths() -> None:
    assert learnability(0.6) == 0.4


def test_the_paper_s_form_is_one_minus_p() -> None:
    assert [learnability(p) for p in (0.125, 0.25, 0.5, 0.875)] == [0.875, 0.75, 0.5, 0.125]


@given(inside, inside)
def test_one_minus_p_falls_as_tasks_get_easier(a: float, b: float) -> None:
    low, high = sorted((a, b))
    assert learnability(low) >= learnability(high)
    if high - low > 1e-9:
        assert learnability(low) > learnability(high)


@given(inside)
def test_four_p_one_minus_p_is_symmetric(p: float) -> None:
    assert math.isclose(learnability(p, "4p(1-p)"), learnability(1 - p, "4p(1-p)"), rel_tol=1e-9)


@given(rates)
def test_four_p_one_minus_p_is_greatest_in_the_middle(p: float) -> None:
    assert learnability(p, "4p(1-p)") <= learnability(0.5, "4p(1-p)") == 1.0


@given(rates, st.sampled_from(Learnability))
def test_learnability_lies_between_0_and_1(p: float, kind: Learnability) -> None:
    assert 0.0 <= learnability(p, kind) <= 1.0


@given(st.floats(5e-324, 1 - 2**-53), st.sampled_from(Learnability))
def test_learnability_is_above_0_strictly_between_the_ends(p: float, kind: Learnability) -> None:
    assert learnability(p, kind) > 0.0


@pytest.mark.parametrize("rate", [math.nan, -0.1, 1.1, math.inf, -math.inf, 1 + 2**-52, -5e-324])
@pytest.mark.parametrize("kind", Learnability)
def test_a_rate_out_of_range_is_refused(rate: float, kind: Learnability) -> None:
    with pytest.raises(BadArgument, match="between 0 and 1"):
        learnability(rate, kind)


@pytest.mark.parametrize("kind", ["", "p", "1 - p", "INVERSE", None, 1])
@pytest.mark.parametrize("rate", [0.0, 0.5, 1.0])
def test_an_unknown_learnability_is_refused_at_every_rate(kind: Any, rate: float) -> None:
    with pytest.raises(BadArgument, match=r"4p\(1-p\)"):
        learnability(rate, kind)


@pytest.mark.parametrize("preset", ["", "AZR", "sparse", None, 3, ["azr"]])
@pytest.mark.parametrize("outcome", Outcome)
def test_an_unknown_preset_is_refused_whatever_the_outcome(preset: Any, outcome: Outcome) -> None:
    for role in Role:
        with pytest.raises(BadArgument, match="azr_code"):
            reward(preset, role, outcome)


@pytest.mark.parametrize(
    ("preset", "correct", "wrong", "malformed"),
    [("binary", 1, 0, 0), ("azr", 1, -0.5, -1), ("azr_code", 1, -0.5, -1), ("lambda", 1, 0, 0)],
)
def test_the_solver_s_column_of_the_table(preset: str, correct: float, wrong: float, malformed: float) -> None:
    table = {Outcome.CORRECT: correct, Outcome.WRONG: wrong, MALFORMED: malformed}
    assert {outcome: solve_reward(preset, outcome) for outcome in table} == table
    assert {outcome: reward(Reward(preset), Role.SOLVE, outcome, 0.3) for outcome in table} == table


@pytest.mark.parametrize(
    ("preset", "untried", "none", "quarter", "all_", "refused", "malformed"),
    [
        ("binary", 1, 0, 0.75, 0, 0, 0),
        ("azr", 1, 0, 0.75, 0, -0.5, -1),
        ("azr_code", 1, -0.5, 0.75, -0.5, -0.5, -1),
        ("lambda", 0.5, 0, 0.375, 0, 0, 0),
    ],
)
def test_the_proposer_s_column_of_the_table(
    preset: str, untried: float, none: float, quarter: float, all_: float, refused: float, malformed: float
) -> None:
    worth = {rate: propose_reward(preset, ACCEPTED, rate, weight=0.5) for rate in (None, 0.0, 0.25, 1.0)}
    assert worth == {None: untried, 0.0: none, 0.25: quarter, 1.0: all_}
    assert propose_reward(preset, REFUSED, weight=0.5) == refused
    assert propose_reward(preset, MALFORMED, weight=0.5) == malformed
    assert reward(preset, Role.PROPOSE, ACCEPTED, 0.25, weight=0.5) == quarter


@given(st.sampled_from(Reward), st.sampled_from(Role), st.sampled_from(Outcome), rates | st.none())
def test_every_reward_lies_between_minus_1_and_1(
    preset: Reward, role: Role, outcome: Outcome, rate: float | None
) -> None:
    assert -1.0 <= reward(preset, role, outcome, rate) <= 1.0


@given(rates, st.floats(0, 100))
def test_the_weight_belongs_to_lambda_alone(rate: float, weight: float) -> None:
    for preset in Reward:
        light, heavy = (propose_reward(preset, ACCEPTED, rate, weight=one) for one in (1.0, weight))
        assert heavy == (weight * light if preset is Reward.LAMBDA else light)


@pytest.mark.parametrize("preset", Reward)
def test_a_valid_task_is_never_worth_less_than_a_refused_one(preset: Reward) -> None:
    for rate in (None, 0.0, 0.5, 1.0):
        assert propose_reward(preset, ACCEPTED, rate) >= propose_reward(preset, REFUSED, rate)
        assert propose_reward(preset, REFUSED, rate) >= propose_reward(preset, MALFORMED, rate)
