"""`ClinicalCase-v0`: the clinic as a Gymnasium environment, one at a time and batched."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..base import TaskEnv
from ..batch import BatchTaskEnv
from .room import ClinicalRoom
from .solve import Credit


class ClinicalCaseEnv(TaskEnv):
    """Patients: one agent invents them, one says what they have. A rules engine with cited guidelines is the judge.

    A research simulator: a simplified rule set over synthetic patients. Not a medical device, not validated, and not
    for any decision about a real person.

    ```python
    import gymnasium as gym
    import azr_gym

    env = gym.make("ClinicalCase-v0", role="solve", mode="deduction")
    prompt, info = env.reset(seed=0)
    prompt, reward, terminated, truncated, info = env.step("<answer>NSTEMI</answer>")
    ```

    Modes: deduction (patient -> diagnosis), abduction (a diagnosis and a part of a patient -> a patient).

    Args:
        credit: "exact", or "hierarchical": a more general name counts half in `info["correctness"]`.
        conditions: ids of conditions that generated patients have; none named: all.
        render_mode: None, "ansi" or "rgb_array".
        options: those that every environment of the suite has: see `CodeTripletEnv`.
    """

    def __init__(
        self,
        *,
        credit: Credit | str = Credit.EXACT,
        conditions: Sequence[str] = (),
        render_mode: str | None = None,
        **options: Any,
    ) -> None:
        super().__init__(ClinicalRoom(credit, conditions), render_mode, **options)


class ClinicalCaseVectorEnv(BatchTaskEnv):
    """`ClinicalCaseEnv`, n at once: one call of the engine per step. See `BatchTaskEnv` for its own options."""

    def __init__(
        self,
        num_envs: int = 1,
        *,
        credit: Credit | str = Credit.EXACT,
        conditions: Sequence[str] = (),
        **options: Any,
    ) -> None:
        super().__init__(ClinicalRoom(credit, conditions), num_envs, **options)
