"""Hands a batched environment to stable-baselines3. Needs the extra: `pip install azr-gym[sb3]`.

```python
from sb3_contrib import MaskablePPO
from azr_gym.interop.sb3 import make_vec_env

model = MaskablePPO("MultiInputPolicy", make_vec_env("ClinicalCaseTabular-v0", 64)).learn(100_000)
```
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from stable_baselines3.common.vec_env.base_vec_env import VecEnv, VecEnvStepReturn
from stable_baselines3.common.vec_env.vec_monitor import VecMonitor

from azr_gym.errors import BadArgument


def make_vec_env(env_id: str, num_envs: int, seed: int = 0, **options: Any) -> VecMonitor:
    """A batched environment for stable-baselines3, which keeps the returns of its episodes.

    Args:
        env_id: such as "ClinicalCaseTabular-v0".
        num_envs: how many episodes are played at once.
        seed: episode i begins with seed + i.
        **options: see the environment.
    """
    venv = VectorEnvAsVecEnv(
        gym.make_vec(env_id, num_envs, "vector_entry_point", autoreset_mode=AutoresetMode.SAME_STEP, **options)
    )
    venv.seed(seed)
    return VecMonitor(venv)


class VectorEnvAsVecEnv(VecEnv):
    """A vector environment of Gymnasium as a `VecEnv`: the same episodes, one call for all of them.

    Args:
        envs: it resets in the same step (`AutoresetMode.SAME_STEP`). Where it has `action_masks()`, bool (N, actions),
            sb3-contrib finds them.

    Raises:
        BadArgument: it resets otherwise: the last observations of its episodes could not be handed on.
    """

    def __init__(self, envs: VectorEnv[Any, Any, Any]) -> None:
        if envs.metadata.get("autoreset_mode") is not AutoresetMode.SAME_STEP:
            raise BadArgument("autoreset_mode must be AutoresetMode.SAME_STEP: VecEnv has no step for resets alone")
        self.envs = envs
        self._actions: np.ndarray[Any, Any] | None = None
        self.render_mode = envs.render_mode
        super().__init__(envs.num_envs, envs.single_observation_space, envs.single_action_space)

    def reset(self) -> Any:
        """First observations of new episodes."""
        seeds = self._seeds if any(seed is not None for seed in self._seeds) else None
        observations, infos = self.envs.reset(seed=seeds)  # type: ignore[arg-type]
        self.reset_infos = self._single(infos)
        self._reset_seeds()
        self._reset_options()
        return observations

    def step_async(self, actions: np.ndarray[Any, Any]) -> None:
        """Keep the actions."""
        self._actions = actions

    def step_wait(self) -> VecEnvStepReturn:
        """Play them. `infos` is a list with a dict for each; "terminal_observation" stands in those that have ended."""
        observations, rewards, terminated, truncated, infos = self.envs.step(self._actions)
        done = terminated | truncated
        singles: list[dict[str, Any]] = [{} for _ in range(self.num_envs)]
        if done.any():
            lasts = self._single(infos["final_info"], np.flatnonzero(done))
            for index in np.flatnonzero(done):
                cut = bool(truncated[index] and not terminated[index])
                ended = {"terminal_observation": infos["final_obs"][index], "TimeLimit.truncated": cut}
                singles[index] = lasts[index] | ended
        return observations, rewards.astype(np.float32), done, singles

    def _single(self, infos: dict[str, Any], places: Iterable[int] | None = None) -> list[dict[str, Any]]:
        """Infos of a batch as one dict for each; of those that are asked for."""
        found: list[dict[str, Any]] = [{} for _ in range(self.num_envs)]
        names = [name for name in infos if not name.startswith("_")]
        for index in range(self.num_envs) if places is None else places:
            found[index] = {name: infos[name][index] for name in names if infos[f"_{name}"][index]}
        return found

    def close(self) -> None:
        """Close the environment."""
        self.envs.close()

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        """An attribute, once for each episode: all share the batched environment's."""
        return [getattr(self.envs, attr_name)] * len(self._places(indices))

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        """Set an attribute of the batched environment; of some episodes alone it can not be done."""
        if indices is not None:
            raise BadArgument("all episodes share one environment: an attribute can not be set for some of them")
        setattr(self.envs, attr_name, value)

    def env_method(self, method_name: str, *args: Any, indices: Any = None, **kwargs: Any) -> list[Any]:
        """Call a method that answers for all episodes, and give the answers of some: such as `action_masks`."""
        answers: Sequence[Any] = getattr(self.envs, method_name)(*args, **kwargs)
        return [answers[index] for index in self._places(indices)]

    def env_is_wrapped(self, wrapper_class: type[Any], indices: Any = None) -> list[bool]:
        """Nothing is wrapped."""
        return [False] * len(self._places(indices))

    def get_images(self) -> Sequence[np.ndarray[Any, Any] | None]:
        """One picture of each episode."""
        frames: Any = self.envs.render()
        return [None] * self.num_envs if frames is None else list(frames)

    def _places(self, indices: Any) -> list[int]:
        return list(self._get_indices(indices))
