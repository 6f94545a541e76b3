"""`CodeTriplet-v0`: the code room as a Gymnasium environment, one at a time and batched."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from azr_sandbox import Runner

from ..base import TaskEnv
from ..batch import BatchTaskEnv
from .room import CodeRoom
from .triplet import N_PAIRS


class CodeTripletEnv(TaskEnv):
    """DOC"""

    def __init__(
        self,
        *,
        level: int | Sequence[int] = 2,
        n_pairs: int = N_PAIRS,
        runner: Runner | str = "auto",
        render_mode: str | None = None,
        **options: Any,
    ) -> None:
        super().__init__(CodeRoom(level, n_pairs, runner), render_mode, **options)


class CodeTripletVectorEnv(BatchTaskEnv):
    """`CodeTripletEnv`, n at once: one call of the sandbox per step. See `BatchTaskEnv` for its own options."""

    def __init__(
        self,
        num_envs: int = 1,
        *,
        level: int | Sequence[int] = 2,
        n_pairs: int = N_PAIRS,
        runner: Runner | str = "auto",
        **options: Any,
    ) -> None:
        super().__init__(CodeRoom(level, n_pairs, runner), num_envs, **options)
