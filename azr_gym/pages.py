"""Writes each environment's page, beside its code, from its docstring, with a picture: `make pages`."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np


def ours() -> list[str]:
    """The ids of this suite's environments."""
    return [name for name, spec in gym.registry.items() if str(spec.entry_point).startswith("azr_gym.")]


def page(env_id: str) -> str:
    """The Markdown of a page: title, picture, docstring."""
    return f"# {env_id}\n\n![a task of {env_id}]({env_id}.png)\n\n{inspect.getdoc(_class(env_id))}\n"


def picture(env_id: str) -> np.ndarray[Any, Any]:
    """One solved task: uint8 (height, width, 3)."""
    env: Any = gym.make(env_id, render_mode="rgb_array").unwrapped
    env.reset(seed=7)
    env.step(env.oracle())
    frame: np.ndarray[Any, Any] = env.render()
    env.close()
    return frame


def folder(env_id: str) -> Path:
    """Where the page lies."""
    return Path(inspect.getfile(_class(env_id))).parent


def file(env_id: str) -> Path:
    """The page: `README.md`, or, where that is another environment's, one of the id's own name."""
    where = folder(env_id)
    first = next(name for name in ours() if folder(name) == where)
    return where / ("README.md" if env_id == first else f"{env_id}.md")


def _class(env_id: str) -> type[Any]:
    return gym.envs.registration.load_env_creator(gym.spec(env_id).entry_point)  # type: ignore[arg-type, return-value]


def write() -> None:
    """Write every page and picture."""
    from PIL import Image

    for env_id in ours():
        file(env_id).write_text(page(env_id), encoding="utf-8")
        Image.fromarray(picture(env_id)).save(folder(env_id) / f"{env_id}.png", optimize=True)


if __name__ == "__main__":
    import azr_gym  # noqa: F401  registers the ids

    write()
