"""Says in numbers what an iteration has played: the rows of `metrics.METRICS` that are about rollouts. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from azr_gym.roles import Outcome, Role

from .rollout import Rollout
from .selfplay import Round, solve_rates, structure

Values = dict[str, Any]


def measure(played: Round, modes: Sequence[str]) -> Values:
    """Metrics by name, of what was played."""
    solved = [one for group in played.groups for one in group]
    everything = [*played.proposals, *solved]
    found: Values = {"skipped": played.skipped, "tokens": sum(_length(one) for one in everything)}
    for role in Role:
        found |= _replies(role, [one for one in everything if one.role is role])
    for mode in modes:
        found |= _proposals(mode, [one for one in played.proposals if one.mode == mode])
        found |= _attempts(mode, [group for group in played.groups if group[0].mode == mode])
    return found | _tasks(one.metrics for one in played.proposals if one.task is not None)


def _replies(role: Role, rollouts: Sequence[Rollout]) -> Values:
    if not rollouts:
        return {}
    cut = _mean(not getattr(one.reply, "finished", True) for one in rollouts)
    return {f"length/{role}": _mean(map(_length, rollouts)), f"cut/{role}": cut}


def _proposals(mode: str, proposals: Sequence[Rollout]) -> Values:
    if not proposals:
        return {}
    kinds = {structure(one.task) if one.task is not None else one.reply.text for one in proposals}
    return {
        f"reward/propose/{mode}": _mean(one.reward for one in proposals),
        f"malformed/propose/{mode}": _mean(one.outcome is Outcome.MALFORMED for one in proposals),
        f"valid/{mode}": _mean(one.task is not None for one in proposals),
        f"unique/{mode}": len(kinds) / len(proposals),
    }


def _attempts(mode: str, groups: Sequence[Sequence[Rollout]]) -> Values:
    if not groups:
        return {}
    attempts = [one for group in groups for one in group]
    right = [sum(one.correct for one in group) for group in groups]
    most = max(map(len, groups))
    return {
        f"reward/solve/{mode}": _mean(one.reward for one in attempts),
        f"malformed/solve/{mode}": _mean(one.outcome is Outcome.MALFORMED for one in attempts),
        f"accuracy/{mode}": _mean(one.correct for one in attempts),
        f"learnable/{mode}": _mean(0 < count < len(group) for count, group in zip(right, groups, strict=True)),
        f"difficulty/{mode}": [right.count(count) for count in range(most + 1)],
    }


def _tasks(metrics: Iterable[Mapping[str, float]]) -> Values:
    columns: dict[str, list[float]] = {}
    for one in metrics:
        for name, value in one.items():
            columns.setdefault(name, []).append(value)
    return {f"task/{name}": _mean(values) for name, values in columns.items()}


def samples(played: Round, count: int) -> list[dict[str, Any]]:
    """Some rollouts to be read: the first `count` of each role and mode, as lines of samples.jsonl."""
    rates = solve_rates(played.groups)
    taken: dict[tuple[Role, str], int] = {}
    rows = []
    for one in [*played.proposals, *(group[0] for group in played.groups)]:
        kind = (one.role, one.mode)
        taken[kind] = taken.get(kind, 0) + 1
        if taken[kind] <= count:
            rows.append(
                {
                    "role": one.role,
                    "mode": one.mode,
                    "prompt": one.prompt,
                    "text": one.reply.text,
                    "outcome": one.outcome,
                    "reason": one.reason,
                    "reward": one.reward,
                    "solve_rate": rates.get(one.task.key) if one.task is not None else None,
                }
            )
    return rows


def _length(rollout: Rollout) -> int:
    return len(getattr(rollout.reply, "ids", ()))


def _mean(values: Iterable[float]) -> float:
    held = list(values)
    return sum(held) / len(held)
