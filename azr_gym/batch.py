"""BatchTaskEnv: n episodes at once. n texts in, one call of the sandbox or the engine, n rewards out.

The same episodes, bit for bit, as `SyncVectorEnv` over single environments.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from gymnasium.utils import seeding
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from .base import TaskEnv, check_render_mode, draw
from .errors import BadAction, BadArgument, WrongMoment
from .game import Episode, Game
from .room import Room
from .spaces import Prompt
from .spread import Judges

_NUMBERS = (int, float, bool)
_PLURAL = {"tasks": "task", "references": "references", "programs": "program", "rules": "rule"}


class BatchTaskEnv(VectorEnv[tuple[str, ...], Sequence[str], np.ndarray[Any, Any]]):
    """The face that `gym.make_vec` gives.

    Args:
        room: the domain.
        num_envs: how many episodes are played at once.
        autoreset_mode: SAME_STEP: an episode that ends is followed by the next in the same step, and its last
            observation and info are in `final_obs` and `final_info`. DISABLED: whoever steps resets, all or by
            `options={"reset_mask": bool array}`.
        max_episode_steps: truncates an episode after so many steps.
        render_mode: as the single environment; `render()` gives one frame per episode.
        processes: that judge a batch of more than 64 texts; 1: this one. They change nothing but the time, and pay from
            some thousands. A script that asks for several keeps its own work under `if __name__ == "__main__":`, for
            they import it.
        **options: see `azr_gym.game.Play`.

    Raises:
        BadArgument: an option that does not exist or can not be combined.
    """

    metadata: ClassVar[dict[str, Any]] = TaskEnv.metadata  # type: ignore[misc]

    def __init__(
        self,
        room: Room[Any],
        num_envs: int = 1,
        autoreset_mode: AutoresetMode | str = AutoresetMode.SAME_STEP,
        max_episode_steps: int | None = None,
        render_mode: str | None = None,
        processes: int = 1,
        **options: Any,
    ) -> None:
        if isinstance(num_envs, bool) or not isinstance(num_envs, int) or num_envs < 1:
            raise BadArgument(f"num_envs must be an int above 0, not {num_envs!r}")
        allowed = (AutoresetMode.SAME_STEP, AutoresetMode.DISABLED)
        if autoreset_mode not in (*allowed, *(mode.value for mode in allowed)):
            raise BadArgument(
                "autoreset_mode must be AutoresetMode.SAME_STEP or DISABLED ('SameStep', 'Disabled'): the next-step "
                "mode spends every second step of a one-turn task on the reset"
            )
        check_render_mode(render_mode)
        if isinstance(processes, bool) or not isinstance(processes, int) or processes < 1:
            raise BadArgument(f"processes must be an int above 0, not {processes!r}")
        self.game = Game(room, options)
        if processes > 1:
            self.game.judges = Judges.of(room, processes, self.game)
        self.num_envs, self.render_mode, self.max_episode_steps = num_envs, render_mode, max_episode_steps
        self.autoreset_mode = AutoresetMode(autoreset_mode)
        self.metadata = {**TaskEnv.metadata, "autoreset_mode": self.autoreset_mode}  # type: ignore[misc]
        self.single_observation_space = self.single_action_space = Prompt()
        self.observation_space = self.action_space = batch_space(Prompt(), num_envs)
        self._rngs = Generators([None] * num_envs)
        self._episodes: list[Episode[Any] | None] = [None] * num_envs
        self._shown: list[Episode[Any] | None] = [None] * num_envs  # what render() draws
        self._observations = [""] * num_envs
        self._lengths = [0] * num_envs
        self._steps = 0

    def reset(
        self,
        *,
        seed: int | Sequence[int | None] | None = None,
        options: dict[str, Any] | None = None,
    ) -> tuple[tuple[str, ...], dict[str, Any]]:
        """Begin episodes.

        Args:
            seed: an int seeds episode i with seed + i, as `SyncVectorEnv`; or one per episode.
            options: `{"tasks": [...]}` (solve), `{"references": [[...], ...]}` and the room's own (propose), one entry
                per episode, None to draw as usual; `{"reset_mask": bool array}` resets only some.

        Returns:
            One prompt per episode, and `info` as arrays with masks.

        Raises:
            BadArgument: a list of another length, a mask that is none, or options that can not be played.
        """
        options = dict(options or {})
        mask = self._mask(options.pop("reset_mask", None))
        wanted = self._options(options)
        if seed is None or isinstance(seed, int):
            seeds: list[int | None] = [None if seed is None else seed + index for index in range(self.num_envs)]
        else:
            seeds = list(seed)
        if len(seeds) != self.num_envs:
            raise BadArgument(f"{len(seeds)} seeds for {self.num_envs} environments: give one for each")
        reset = [int(index) for index in np.flatnonzero(mask)]
        rngs = self._rngs.seeded(reset, seeds)
        try:
            episodes = self.game.deal_many(lambda place: rngs[reset[place]], [wanted[index] for index in reset])
        except BaseException:  # nothing has changed, for any of them
            rngs.undo()
            raise
        if any(seeds[index] is not None for index in reset):
            self._steps = 0
        self._rngs = rngs
        infos: list[dict[str, Any] | None] = [None] * self.num_envs
        for index, episode in zip(reset, episodes, strict=True):
            infos[index] = self._begin(index, episode)
        return tuple(self._observations), columns(infos)

    def _begin(self, index: int, episode: Episode[Any]) -> dict[str, Any]:
        self._episodes[index] = self._shown[index] = episode
        self._observations[index], self._lengths[index] = episode.prompt, 0
        return dict(episode.info)

    def step(
        self, actions: Iterable[str]
    ) -> tuple[tuple[str, ...], np.ndarray[Any, Any], np.ndarray[Any, Any], np.ndarray[Any, Any], dict[str, Any]]:
        """Judge one text per episode, all in one call.

        Returns:
            Prompts, rewards float64 (n,), terminations and truncations bool (n,), and `info` as arrays with masks.

        Raises:
            WrongMoment: an episode is over, or was never begun.
            BadAction: not one text per episode.
        """
        texts = list(actions) if isinstance(actions, Iterable) and not isinstance(actions, str) else [actions]
        if len(texts) != self.num_envs or isinstance(actions, str):
            raise BadAction(f"{len(texts)} actions for {self.num_envs} episodes: give a list with one text for each")
        episodes = self._playing()
        turns = self.game.step(episodes, texts, self._steps)
        self._steps += 1
        self._shown = list(episodes)
        self._lengths = [length + 1 for length in self._lengths]
        terminated = np.array([turn.terminated for turn in turns], bool)
        truncated = np.array([turn.truncated for turn in turns], bool)
        if self.max_episode_steps is not None:
            truncated |= ~terminated & (np.array(self._lengths) >= self.max_episode_steps)
            for index in np.flatnonzero(truncated):
                episodes[index].over = True
        rewards = np.array([turn.reward for turn in turns], np.float64)
        infos: list[dict[str, Any] | None] = [turn.info for turn in turns]
        self._observations = [turn.observation for turn in turns]
        if self.autoreset_mode is AutoresetMode.SAME_STEP:
            ended = np.flatnonzero(terminated | truncated)
            dealt = self.game.deal_many(lambda place: self._rngs[ended[place]], [None] * len(ended))
            for index, episode in zip(ended, dealt, strict=True):
                last = {"final_obs": self._observations[index], "final_info": infos[index]}
                shown = self._shown[index]
                infos[index] = last | self._begin(int(index), episode)
                self._shown[index] = shown
        return tuple(self._observations), rewards, terminated, truncated, columns(infos)

    def _playing(self) -> list[Episode[Any]]:
        if any(episode is None for episode in self._episodes):
            raise WrongMoment("there are no episodes yet: call reset() first")
        return self._episodes  # type: ignore[return-value]

    @property
    def episodes(self) -> tuple[Episode[Any], ...]:
        """What is being played, one for each: the trainer's view, with the tasks and their keys.

        Raises:
            WrongMoment: there are no episodes yet.
        """
        return tuple(self._playing())

    def oracle(self) -> tuple[str, ...]:
        """One action per episode that scores."""
        return tuple(self.game.oracle(self._rngs[place], episode) for place, episode in enumerate(self._playing()))

    def render(self) -> tuple[Any, ...] | None:
        """One frame per episode: the one that has just ended, else the one that is being played."""
        if self.render_mode is None:
            return None
        self._playing()
        mode = self.render_mode
        return tuple(draw(self.game, episode, mode) for episode in self._shown if episode is not None)

    def close_extras(self, **kwargs: Any) -> None:
        """Let go of the sandbox, and of other processes, if the environment made any."""
        Judges.leave(self.game)
        self.game.judges = self.game.room
        self.game.room.close()

    def _mask(self, mask: Any) -> np.ndarray[Any, Any]:
        if mask is None:
            return np.ones(self.num_envs, bool)
        good = isinstance(mask, np.ndarray) and mask.shape == (self.num_envs,) and mask.dtype == np.bool_
        if not good or not mask.any():
            raise BadArgument(f"reset_mask must be a numpy bool array of shape ({self.num_envs},) with a True in it")
        return mask  # type: ignore[no-any-return]

    def _options(self, options: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Options of the batch, one dict per episode."""
        singles: list[dict[str, Any]] = [{} for _ in range(self.num_envs)]
        for name, values in options.items():
            if name not in _PLURAL:
                raise BadArgument(f"reset of a batch knows the options {', '.join(_PLURAL)}, reset_mask; not {name!r}")
            if isinstance(values, str) or not isinstance(values, Sequence) or len(values) != self.num_envs:
                raise BadArgument(
                    f"options[{name!r}] must be a list with one entry for each of {self.num_envs} episodes"
                )
            for single, value in zip(singles, values, strict=True):
                if value is not None:
                    single[_PLURAL[name]] = value
        return singles


class Generators:
    """A generator for each episode, made when it is first asked for: who is given a task may never draw.

    Args:
        held: a generator, or what one is to be seeded with; None: with chance.
    """

    def __init__(self, held: list[np.random.Generator | int | None]) -> None:
        self._held, self._before = held, dict[int, Any]()

    def __getitem__(self, index: int) -> np.random.Generator:
        held = self._held[index]
        if not isinstance(held, np.random.Generator):
            held = self._held[index] = seeding.np_random(held)[0]
        return held

    def seeded(self, places: Sequence[int], seeds: Sequence[int | None]) -> Generators:
        """The same, those at some places from new seeds where there are any. `undo` takes back what is drawn there."""
        made = Generators(list(self._held))
        for place in places:
            seed, held = seeds[place], self._held[place]
            if seed is not None:
                made._held[place] = _checked(seed)
            elif isinstance(held, np.random.Generator):
                made._before[place] = held.bit_generator.state
        return made

    def undo(self) -> None:
        """Put generators that were there before back to where they were."""
        for place, state in self._before.items():
            self[place].bit_generator.state = state


def _checked(seed: int) -> int:
    if type(seed) is not int or seed < 0:
        seeding.np_random(seed)  # says what is wrong with it
    return seed


def columns(infos: Sequence[dict[str, Any] | None]) -> dict[str, Any]:
    """Infos of single environments as Gymnasium's vector info: an array and a mask `_key` per key, dicts recursively.

    Equal to folding `VectorEnv._add_info` over them, but by column.
    """
    n = len(infos)
    given = [(index, info) for index, info in enumerate(infos) if info]
    result: dict[str, Any] = {}
    for key in dict.fromkeys(key for _, info in given for key in info):
        places = [index for index, info in given if key in info]
        result[key] = _column(key, places, [info[key] for _, info in given if key in info], n)
        mask = np.zeros(n, bool)
        mask[places] = True
        result[f"_{key}"] = mask
    return result


def _column(key: str, places: list[int], values: list[Any], n: int) -> Any:
    first = values[0]
    if isinstance(first, dict) and key != "final_obs":
        nested: list[dict[str, Any] | None] = [None] * n
        for place, value in zip(places, values, strict=True):
            nested[place] = value
        return columns(nested)
    if type(first) in _NUMBERS:
        array = np.zeros(n, type(first))
        array[places] = values
        return array
    if len(places) == n:
        return np.fromiter(values, object, n)
    array = np.full(n, None, object)
    for place, value in zip(places, values, strict=True):
        array[place] = value
    return array
