"""Rewards: correctness, format, learnability, and how a preset puts them together. Pure functions.

| preset | solve: correct / wrong or unanswered / malformed | propose: valid / refused / malformed |
|---|---|---|
| `binary` | 1 / 0 / 0 | learnability (1 where nobody solves) / 0 / 0 |
| `azr` | 1 / -0.5 / -1 | learnability (1 where nobody solves) / -0.5 / -1 (arXiv 2505.03335, eq. 6) |
| `azr_code` | as `azr` | as `azr`, but -0.5 where the solve rate is 0 or 1, as the paper's code does |
| `lambda` | 1 / 0 / 0 | lambda times learnability / 0 / 0 |
"""

from __future__ import annotations

from enum import StrEnum

from .errors import BadArgument
from .roles import Outcome, Role, choose


class Learnability(StrEnum):
    """What a solve rate is worth to whoever proposed the task."""

    INVERSE = "1-p"  # arXiv 2505.03335, eq. 4
    VARIANCE = "4p(1-p)"  # four times the variance of a coin that falls so: 1 at p = 0.5


class Reward(StrEnum):
    """The presets of the table above."""

    BINARY = "binary"
    AZR = "azr"
    AZR_CODE = "azr_code"
    LAMBDA = "lambda"


def learnability(solve_rate: float, kind: Learnability | str = Learnability.INVERSE) -> float:
    """How much a task of that solve rate has to teach, 0 to 1.

    A task that nobody solves, or that everybody solves, teaches nothing: 0 at both ends. Between them 1 - p
    (arXiv 2505.03335, eq. 4), or 4p(1-p), which is symmetric.

    >>> learnability(0.6)
    0.4

    Raises:
        BadArgument: the rate is not in [0, 1], or there is no such kind.
    """
    kind = choose(Learnability, kind, "learnability")
    if not 0.0 <= solve_rate <= 1.0:
        raise BadArgument(f"a solve rate lies between 0 and 1: {solve_rate!r} does not")
    if solve_rate in (0.0, 1.0):
        return 0.0
    match kind:
        case Learnability.INVERSE:
            return 1.0 - solve_rate
        case Learnability.VARIANCE:
            return 4.0 * solve_rate * (1.0 - solve_rate)


def solve_reward(preset: Reward | str, outcome: Outcome) -> float:
    """A solver's reward for the outcome of an episode; a step after which it goes on is worth nothing.

    Raises:
        BadArgument: there is no such preset.
    """
    preset = choose(Reward, preset, "reward")
    if outcome is Outcome.CORRECT:
        return 1.0
    if outcome is Outcome.OPEN or preset in (Reward.BINARY, Reward.LAMBDA):
        return 0.0
    return -1.0 if outcome is Outcome.MALFORMED else -0.5


def propose_reward(
    preset: Reward | str,
    outcome: Outcome,
    solve_rate: float | None = None,
    kind: Learnability | str = Learnability.INVERSE,
    weight: float = 1.0,
) -> float:
    """A proposer's reward.

    Args:
        preset: one of the table above.
        outcome: accepted, refused or malformed.
        solve_rate: mean correctness of the solver's attempts; None where nobody has tried: a valid task is worth 1.
        kind: which learnability.
        weight: the lambda of preset `lambda`; unused by the others.

    Raises:
        BadArgument: no such preset or learnability, or a rate that is not in [0, 1].
    """
    preset = choose(Reward, preset, "reward")
    if outcome is not Outcome.ACCEPTED:
        if preset in (Reward.BINARY, Reward.LAMBDA):
            return 0.0
        return -1.0 if outcome is Outcome.MALFORMED else -0.5
    if preset is Reward.AZR_CODE and solve_rate in (0.0, 1.0):
        return -0.5
    worth = 1.0 if solve_rate is None else learnability(solve_rate, kind)
    return weight * worth if preset is Reward.LAMBDA else worth


def reward(
    preset: Reward | str,
    role: Role,
    outcome: Outcome,
    solve_rate: float | None = None,
    kind: Learnability | str = Learnability.INVERSE,
    weight: float = 1.0,
) -> float:
    """The reward of either role."""
    if role is Role.SOLVE:
        return solve_reward(preset, outcome)
    return propose_reward(preset, outcome, solve_rate, kind, weight)
