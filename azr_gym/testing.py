"""The contract kit: `check_task_env(env)` plays an environment and says in a sentence what it breaks.

Our own environments are tested with it, and anybody's can be.

>>> import gymnasium as gym, azr_gym
>>> from azr_gym.testing import check_task_env
>>> check_task_env(gym.make("CodeTriplet-v0"))
"""

from __future__ import annotations

import json
import math
import pickle
import random
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode

from .base import TaskEnv
from .batch import BatchTaskEnv, columns
from .errors import BadAction, WrongMoment
from .pool import TaskPool
from .rewards import Reward, reward
from .roles import Outcome, Role
from .spaces import Prompt

NONSENSE = (
    "",
    " ",
    "I do not know.",
    "<answer>",
    "<answer></answer>",
    "<think>",
    "```",
    "```python\n```",
    "```input\n```",
    "Assistant: <answer>yes</answer> <answer>no</answer>",
    "\x00\x1b[2J\u202e\ud800",
    "(" * 500,
    "[" * 50_000,
    "-" * 50_000,
    "<answer>" * 5_000,
    "9" * 5_000,
    "x = " * 200,
    "def f(x):\n" * 100,
    "__import__('os')._exit(0)",
    '{"a": NaN}',
    "\N{PILE OF POO}" * 20_000,
    "a" * 70_000,
)


class ContractError(AssertionError):
    """An environment breaks the contract; the message says how."""


def check_task_env(env: gym.Env[Any, Any], episodes: int = 4, seed: int = 0) -> None:
    """Check everything that the contract asks of an environment.

    Gymnasium's own checker; the same seed and actions give the same episode, in a copy that was pickled and in a batch;
    another seed gives another; no global generator is touched; the oracle scores; nonsense never raises and never
    scores; rewards stay in the preset's range; a prompt does not depend on the key; tasks survive JSON and a pool;
    steps at the wrong moment are refused; closing twice is fine.

    Args:
        env: an environment built on `TaskEnv`, wrapped or not. It is reset and closed.
        episodes: how many are played for each check.
        seed: of the first.

    Raises:
        ContractError: the contract is broken.
    """
    task_env = env.unwrapped
    _demand(isinstance(task_env, TaskEnv), f"{type(task_env).__name__} is not built on azr_gym.base.TaskEnv")
    assert isinstance(task_env, TaskEnv)
    check_env(task_env, skip_render_check=task_env.spec is None)
    with _untouched_globals():
        _check_moments(_copy(task_env))
        _check_spaces(task_env)
        _check_determinism(task_env, episodes, seed)
        _check_oracle(_copy(task_env), episodes, seed)
        _check_nonsense(_copy(task_env), seed)
        _check_pickling(_copy(task_env), seed)
        if task_env.game.play.role is Role.SOLVE:
            _check_key(_copy(task_env), episodes, seed)
        _check_batch(task_env, episodes, seed)
        _check_tasks(_copy(task_env), episodes, seed)
    env.close()
    env.close()


def _demand(good: object, sentence: str) -> None:
    if not good:
        raise ContractError(sentence)


def _copy(env: TaskEnv) -> TaskEnv:
    try:
        return pickle.loads(pickle.dumps(env))  # type: ignore[no-any-return]  # noqa: S301  our own bytes
    except (pickle.PicklingError, TypeError, AttributeError) as error:
        raise ContractError(f"the environment can not be pickled, as AsyncVectorEnv must: {error}") from None


@contextmanager
def _untouched_globals() -> Iterator[None]:
    before = random.getstate(), repr(np.random.get_state())
    yield
    _demand(before == (random.getstate(), repr(np.random.get_state())), "a global random generator was used")


def _check_moments(env: TaskEnv) -> None:
    fresh = type(env).__new__(type(env))
    fresh.__dict__ |= {**env.__dict__, "_episode": None}
    for call in (lambda: fresh.step("x"), fresh.oracle):
        _must_raise(WrongMoment, call, "step() and oracle() before the first reset()")
    env.reset(seed=0)
    _must_raise(BadAction, lambda: env.step(3), "an action that is not text")  # type: ignore[arg-type]
    for _ in range(env.game.play.max_attempts):
        env.step("")
    _must_raise(WrongMoment, lambda: env.step(""), "step() after the end of the episode")


def _must_raise(kind: type[Exception], call: Any, what: str) -> None:
    try:
        call()
    except kind:
        return
    raise ContractError(f"{what} must raise {kind.__name__}")


def _check_spaces(env: TaskEnv) -> None:
    _demand(isinstance(env.observation_space, Prompt), "the observation space must be azr_gym.spaces.Prompt")
    _demand(isinstance(env.action_space, Prompt), "the action space must be azr_gym.spaces.Prompt")


def _play(env: TaskEnv, episodes: int, seed: int) -> list[Any]:
    """Episodes in which right and wrong answers take turns: everything that was seen."""
    seen: list[Any] = []
    for episode in range(episodes):
        prompt, info = env.reset(seed=seed if episode == 0 else None)
        seen.append((prompt, info))
        over = False
        while not over:
            step = env.step(env.oracle() if episode % 2 == 0 else NONSENSE[episode % 7])
            _demand(step[0] in env.observation_space, "an observation is not in the observation space")
            _demand(not step[2] or step[0] == "", 'the observation after the last step must be ""')
            _demand(type(step[1]) is float, f"a reward must be a float, not {type(step[1]).__name__}")
            seen.append(step)
            over = step[2] or step[3]
    return seen


def _check_determinism(env: TaskEnv, episodes: int, seed: int) -> None:
    one, two = _copy(env), _copy(env)
    seen = _play(one, episodes, seed)
    _demand(seen == _play(two, episodes, seed), "the same seed and actions gave different episodes")
    _demand(seen == _play(one, episodes, seed), "reset(seed) does not begin the same episodes again")
    others = [_play(one, episodes, other) for other in range(seed + 1, seed + 4)]
    _demand(any(other != seen for other in others), "four different seeds gave the same episodes")


def _check_oracle(env: TaskEnv, episodes: int, seed: int) -> None:
    role = env.game.play.role
    wanted = Outcome.CORRECT if role is Role.SOLVE else Outcome.ACCEPTED
    for episode in range(episodes):
        env.reset(seed=seed + episode)
        text = env.oracle()
        _demand(text == env.oracle(), "oracle() must give the same text when it is asked twice")
        info = env.step(text)[4]
        _demand(info["outcome"] is wanted, f"the oracle's text {text[:200]!r} is {info['outcome']}: {info['reason']}")


def _range(env: TaskEnv) -> tuple[float, float]:
    play = env.game.play
    bad = Outcome.MALFORMED
    low = min(0.0, reward(play.reward, play.role, bad)) + env.game.room.worst_extra
    return low, play.reward_weight if play.reward is Reward.LAMBDA and play.role is Role.PROPOSE else 1.0


def _check_nonsense(env: TaskEnv, seed: int) -> None:
    low, high = _range(env)
    for number, text in enumerate(NONSENSE):
        env.reset(seed=seed + number)
        step = env.step(text)
        good = math.isfinite(step[1]) and low <= step[1] <= high
        _demand(good, f"nonsense {text[:40]!r} gave the reward {step[1]}, and the preset's range is {low} to {high}")
        good = step[4]["outcome"] not in (Outcome.CORRECT, Outcome.ACCEPTED)
        _demand(good, f"nonsense {text[:40]!r} was {step[4]['outcome']}")


def _check_pickling(env: TaskEnv, seed: int) -> None:
    env.reset(seed=seed)
    twin = _copy(env)
    text = env.oracle()
    _demand(env.step(text) == twin.step(text), "an environment that was pickled in mid-episode steps differently")
    _demand(env.reset() == twin.reset(), "an environment that was pickled draws other episodes")


def _check_batch(env: TaskEnv, episodes: int, seed: int, n: int = 3) -> None:
    singles = [_copy(env) for _ in range(n)]
    room = _copy(env).game.room
    batch = BatchTaskEnv(room, n, AutoresetMode.SAME_STEP, **env.game.options)
    observations, infos = batch.reset(seed=seed)
    first = [single.reset(seed=seed + index) for index, single in enumerate(singles)]
    _same(observations, infos, [prompt for prompt, _ in first], [info for _, info in first])
    for number in range(episodes):
        texts = [
            single.oracle() if (number + index) % 2 == 0 else NONSENSE[(number + index) % 7]
            for index, single in enumerate(singles)
        ]
        observations, rewards, over, _, infos = batch.step(texts)
        wanted_observations, wanted_infos = [], []
        for index, (single, text) in enumerate(zip(singles, texts, strict=True)):
            observation, worth, ended, _, info = single.step(text)
            _demand(worth == rewards[index] and ended == over[index], "batched and single rewards or ends differ")
            if ended:
                last = {"final_obs": observation, "final_info": info}
                observation, info = single.reset()
                info = last | info
            wanted_observations.append(observation)
            wanted_infos.append(info)
        _same(observations, infos, wanted_observations, wanted_infos)
    batch.close()
    batch.close()


def _same(observations: Any, infos: Any, wanted: list[str], wanted_infos: list[dict[str, Any]]) -> None:
    _demand(list(observations) == wanted, "batched and single environments show different prompts")
    _demand(same_info(infos, columns(wanted_infos)), "batched and single environments give different infos")


def same_info(a: Any, b: Any) -> bool:
    """Whether two vector infos are equal: keys, types, masks and values."""
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(same_info(a[key], b[key]) for key in a)
    if isinstance(a, np.ndarray) and isinstance(b, np.ndarray):
        return bool(a.dtype == b.dtype and a.shape == b.shape and a.tolist() == b.tolist())
    return bool(a == b)


def _check_key(env: TaskEnv, episodes: int, seed: int) -> None:
    room, play = env.game.room, env.game.play
    rng = np.random.default_rng(seed)
    swapped = 0
    for mode in play.mode:
        tasks = [room.make(rng, mode, play.split) for _ in range(4 * episodes)]
        for task, other in pairwise(tasks):
            twin = room.with_key(task, other)
            swapped += twin != task
            one, two = env.reset(seed=seed, options={"task": task}), env.reset(seed=seed, options={"task": twin})
            _demand(one == two, "with another key, the prompt or the info of reset() changes: the key leaks")
    _demand(
        swapped,
        "room.with_key(task, other) never changed a task: a task holds its answer, take the other's",
    )


def _check_tasks(env: TaskEnv, episodes: int, seed: int) -> None:
    """Tasks, and what was accepted as one, survive JSON and a pool, and can be solved."""
    room, play = env.game.room, env.game.play
    tasks: list[Any] = []
    for episode in range(episodes):
        env.reset(seed=seed + episode)
        if play.role is Role.PROPOSE:
            text = env.oracle()
            tasks.append(env.step(text)[4]["task"])
            brief = env.episode.brief
            assert brief is not None
            again = room.read([replace(brief, pool=None)], [text])[0]
            _demand(again.task == tasks[-1], "an accepted proposal, judged again without a pool, is not the same task")
            known = room.against_pool(replace(brief, pool=TaskPool(tasks[-1:])), again)
            _demand(known.task is None, "a proposal that the pool holds is accepted: its task.key has changed")
        else:
            tasks.append(env.episode.task)
    for task in tasks:
        twin = room.task_type.from_json(json.loads(json.dumps(task.to_json())))
        _demand(twin == task and twin.key == task.key and twin.id == task.id, "a task does not survive JSON")
        verdict = room.judge([task], [room.answer(task, play.prompt_style)])[0]
        _demand(verdict.outcome is Outcome.CORRECT, f"room.answer() of a task is {verdict.outcome}: {verdict.reason}")
    swapped = [room.answer(task, play.prompt_style) for task in [*tasks[1:], tasks[0]]]
    verdicts = room.judge(tasks, swapped)
    good = any(verdict.outcome is not Outcome.CORRECT for verdict in verdicts)
    _demand(good or len({task.key for task in tasks}) == 1, "the answers to other tasks are all judged correct")
    pool: TaskPool[Any] = TaskPool(tasks)
    with tempfile.TemporaryDirectory() as folder:
        pool.save(Path(folder, "pool.jsonl"))
        loaded = TaskPool.load(Path(folder, "pool.jsonl"), room.task_type)
    _demand(list(loaded) == list(pool), "tasks do not survive TaskPool.save() and load()")
