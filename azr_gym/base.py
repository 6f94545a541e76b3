"""TaskEnv: one task, one text, one verdict, as a Gymnasium environment. The game itself is in `game.py`."""

from __future__ import annotations

from typing import Any, ClassVar

import gymnasium as gym
import numpy as np

from .errors import BadArgument, WrongMoment
from .game import Episode, Game
from .room import Room
from .spaces import Prompt

RENDER_MODES = ["ansi", "rgb_array"]


class TaskEnv(gym.Env[str, str]):
    """The face that `gym.make` gives. A room's environment is a subclass whose constructor makes the room.

    Observation: the prompt, as text (`Prompt`). Action: what the agent writes, as text (`Prompt`).
    After the last step the observation is "".

    Args:
        room: the domain.
        render_mode: "ansi" (coloured text), "rgb_array" (a picture: the same, or what the room draws), or None.
        **options: see `azr_gym.game.Play`.

    Raises:
        BadArgument: an option that does not exist or can not be combined.
    """

    metadata: ClassVar[dict[str, Any]] = {"render_modes": RENDER_MODES, "render_fps": 1}  # type: ignore[misc]

    def __init__(self, room: Room[Any], render_mode: str | None = None, **options: Any) -> None:
        check_render_mode(render_mode)
        self.game = Game(room, options)
        self.render_mode = render_mode
        self.observation_space, self.action_space = Prompt(), Prompt()
        self._episode: Episode[Any] | None = None
        self._steps = 0  # since the generator was seeded: what a solver gets as its seed

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[str, dict[str, Any]]:
        """Begin an episode.

        Args:
            seed: seeds the environment's own generator.
            options: solve: `{"task": t}`; propose: `{"references": [...]}` and what the room adds to that.

        Returns:
            The prompt, and `info` with role, mode, target, task id and what the prompt tells as data.
        """
        super().reset(seed=seed)
        if seed is not None:
            self._steps = 0
        self._episode = self.game.deal(self.np_random, options)
        return self._episode.prompt, dict(self._episode.info)

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        """Judge what the agent wrote.

        Returns:
            The next prompt or "", the reward, whether the episode is over, whether it was cut off, and `info` with the
            outcome, the reason, and for a proposer its accepted task.

        Raises:
            WrongMoment: there is no episode, or it is over.
            BadAction: the action is not text.
        """
        turn = self.game.step([self.episode], [action], self._steps)[0]
        self._steps += 1
        return turn.observation, turn.reward, turn.terminated, turn.truncated, turn.info

    @property
    def episode(self) -> Episode[Any]:
        """The episode that is being played.

        Raises:
            WrongMoment: before the first reset.
        """
        if self._episode is None:
            raise WrongMoment("there is no episode yet: call reset() first")
        return self._episode

    def oracle(self) -> str:
        """An action that scores: solving, the right answer; proposing, a valid task. For tests and baselines."""
        return self.game.oracle(self.np_random, self.episode)

    def render(self) -> str | np.ndarray[Any, Any] | None:
        """The task, and, once there is one, the answer and its verdict. A text, or uint8 (height, width, 3)."""
        if self.render_mode is None:
            gym.logger.warn("render() without render_mode: give one to gym.make, 'ansi' or 'rgb_array'")
            return None
        return draw(self.game, self.episode, self.render_mode)

    def close(self) -> None:
        """Let go of the sandbox, if the environment made one. A second call does nothing."""
        self.game.room.close()


def check_render_mode(mode: str | None) -> None:
    """Raise where there is no such way to render.

    Raises:
        BadArgument: it is neither None nor one of `RENDER_MODES`.
    """
    if mode is not None and mode not in RENDER_MODES:
        raise BadArgument(f"render_mode must be one of {RENDER_MODES} or None, not {mode!r}")


def draw(game: Game[Any], episode: Episode[Any], mode: str) -> str | np.ndarray[Any, Any]:
    """Render an episode."""
    from . import render

    room, shown = game.room, episode.task if episode.task is not None else episode.brief
    if mode == "rgb_array":
        return room.picture(shown, episode.text, episode.verdict, episode.over)  # type: ignore[no-any-return]
    return render.ansi(room.scene(shown, episode.text, episode.verdict, episode.over))
