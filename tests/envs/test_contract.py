"""Every registered environment keeps the contract, in every role, mode, style and preset."""

from __future__ import annotations

import itertools
import subprocess
import sys
import textwrap
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode

import azr_gym
import azr_gym.code.env
from azr_gym import testing
from azr_gym.code import Mode
from azr_gym.testing import ContractError, check_task_env

from conftest import REAL, real

IDS = [spec for spec in gym.registry if spec in ("CodeTriplet-v0",)]
MIXED = tuple(Mode)


@pytest.fixture(params=REAL)
def runner_name(request: pytest.FixtureRequest) -> str:
    real(request.param)
    return str(request.param)


@pytest.fixture
def box() -> str:
    try:
        real("docker")
    except pytest.skip.Exception:
        real("jail")
        return "jail"
    return "docker"


def test_everything_of_ours_that_is_registered_is_tested() -> None:
    ours = [name for name, spec in gym.registry.items() if str(spec.entry_point).startswith("azr_gym")]
    clinic = ["ClinicalCase-v0", "ClinicalCaseTabular-v0"]
    assert ours == [*IDS, *clinic], "the clinic's contracts: tests/clinical/test_clinical_room.py, test_tabular.py"


@pytest.mark.parametrize("role", ["solve", "propose"])
@pytest.mark.parametrize("mode", [*Mode, MIXED])
def test_the_contract_holds(role: str, mode: Any, runner_name: str) -> None:
    check_task_env(gym.make("CodeTriplet-v0", role=role, mode=mode, runner=runner_name))


@pytest.mark.parametrize("role", ["solve", "propose"])
@pytest.mark.parametrize(
    "options",
    [
        {"prompt_style": "compact"},
        {"reward": "azr"},
        {"reward": "azr_code"},
        {"reward": "lambda", "reward_weight": 0.5},
        {"split": "test"},
        {"split": "ood"},
        {"level": (1, 3, 5), "n_pairs": 4},
    ],
    ids=str,
)
def test_the_contract_holds_with_other_options(role: str, options: dict[str, Any], box: str) -> None:
    check_task_env(gym.make("CodeTriplet-v0", role=role, mode=MIXED, runner=box, **options))


def test_the_contract_holds_with_several_attempts(box: str) -> None:
    check_task_env(gym.make("CodeTriplet-v0", mode=MIXED, max_attempts=3, runner=box))


@pytest.mark.parametrize("role", ["solve", "propose"])
@pytest.mark.parametrize("mode", list(Mode))
@pytest.mark.parametrize("style", ["full", "compact"])
@pytest.mark.parametrize("render_mode", ["ansi", "rgb_array", None])
def test_gymnasiums_own_checker_is_clean(role: str, mode: str, style: str, render_mode: str | None, box: str) -> None:
    env = gym.make("CodeTriplet-v0", role=role, mode=mode, prompt_style=style, render_mode=render_mode, runner=box)
    check_env(env.unwrapped)
    env.close()


def _play(envs: Any, n: int, steps: int = 6) -> list[Any]:
    """Vector steps with answers that are right or wrong by turns, as plain data."""
    prompts, infos = envs.reset(seed=5)
    seen: list[Any] = [list(prompts), infos]
    for step in range(steps):
        actions = [
            info_answer(infos, index) if (step + index) % 2 else testing.NONSENSE[index % 7] for index in range(n)
        ]
        prompts, rewards, terminated, truncated, infos = envs.step(actions)
        seen += [list(prompts), rewards.tolist(), terminated.tolist(), truncated.tolist(), infos]
    envs.close()
    return seen


def info_answer(infos: dict[str, Any], index: int) -> str:
    """An answer that hangs on what the agent sees; sometimes right."""
    return str(infos["output"][index]) if infos.get("_output", [False] * 99)[index] else "f(0)\n<answer>0</answer>"


@pytest.mark.parametrize("role", ["solve", "propose"])
def test_sync_async_and_batched_runs_agree_bit_for_bit(role: str, box: str) -> None:
    n = 4
    options: dict[str, Any] = {"role": role, "mode": MIXED, "runner": box, "level": 1}
    same_step: dict[str, Any] = {"autoreset_mode": AutoresetMode.SAME_STEP}
    batched = _play(gym.make_vec("CodeTriplet-v0", n, **options), n)
    sync = _play(gym.make_vec("CodeTriplet-v0", n, "sync", same_step, **options), n)
    # shared_memory=False: Gymnasium can not share text, and says so.
    spread = {**same_step, "shared_memory": False, "context": "spawn"}
    apart = _play(gym.make_vec("CodeTriplet-v0", n, "async", spread, **options), n)
    for left, right in ((batched, sync), (batched, apart)):
        assert all(testing.same_info(a, b) if isinstance(a, dict) else a == b for a, b in zip(left, right, strict=True))


def test_async_with_shared_memory_is_refused_and_never_silently_wrong() -> None:
    with pytest.raises(ValueError, match="shared_memory"):
        gym.make_vec("CodeTriplet-v0", 2, "async")


def test_resets_by_mask_begin_what_single_environments_begin(box: str) -> None:
    n = 4
    envs: Any = gym.make_vec("CodeTriplet-v0", n, autoreset_mode="Disabled", mode=MIXED, runner=box)
    singles = [gym.make("CodeTriplet-v0", mode=MIXED, runner=box) for _ in range(n)]
    prompts, _ = envs.reset(seed=1)
    assert list(prompts) == [single.reset(seed=1 + index)[0] for index, single in enumerate(singles)]
    texts = envs.oracle()
    prompts, rewards, terminated, _, infos = envs.step(texts)
    assert rewards.tolist() == [1.0] * n
    assert terminated.all()
    assert list(prompts) == [""] * n
    assert "final_info" not in infos
    for single, text in zip(singles, texts, strict=True):
        single.step(text)
    mask = np.array([True, False, True, False])
    prompts, infos = envs.reset(options={"reset_mask": mask})
    for index in range(n):
        assert prompts[index] == (singles[index].reset()[0] if mask[index] else "")
    assert infos["_mode"].tolist() == mask.tolist()
    with pytest.raises(azr_gym.WrongMoment):
        envs.step(["x"] * n)


SCRIPT = """
import hashlib, sys
import gymnasium as gym, azr_gym
from azr_gym.code import Mode
runner = sys.argv[1]
seen = []
for role in ("solve", "propose"):
    env = gym.make("CodeTriplet-v0", role=role, mode=tuple(Mode), runner=runner)
    prompt, info = env.reset(seed=11)
    for episode in range(6):
        text = env.unwrapped.oracle() if episode % 3 else "f(1) [1]"
        step = env.step(text)
        info_text = sorted((key, str(value)) for key, value in step[4].items() if key != "metrics")
        seen.append((prompt, sorted(info), text, step[:4], info_text, sorted(step[4].get("metrics", {}).items())))
        prompt, info = env.reset()
    env.close()
print(hashlib.sha256(repr(seen).encode()).hexdigest())
"""


def test_the_same_episodes_in_another_process_with_another_hash_seed_and_in_the_other_sandbox() -> None:
    names = [name for name in REAL if _has(name)]
    if not names:
        real("jail")
    digests = set()
    for name, hash_seed in itertools.product(names, ("0", "1", "4242")):
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", textwrap.dedent(SCRIPT), name],
            env={"PYTHONHASHSEED": hash_seed, "PATH": "/usr/bin:/bin:/usr/sbin:/sbin", **_docker()},
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        digests.add(done.stdout)
    assert len(digests) == 1


def _has(name: str) -> bool:
    try:
        real(name)
    except pytest.skip.Exception:
        return False
    return True


def _docker() -> dict[str, str]:
    import os

    return {name: value for name, value in os.environ.items() if name.startswith("DOCKER_")}


class Leaky(azr_gym.code.env.CodeTripletEnv):
    """Tells the key in `info`."""

    def reset(self, **kwargs: Any) -> tuple[str, dict[str, Any]]:
        prompt, info = super().reset(**kwargs)
        task: Any = self.episode.task
        return prompt, info | {"note": task.output}


class Clock(azr_gym.code.env.CodeTripletEnv):
    """Counts across episodes, whatever the seed."""

    count = 0

    def reset(self, **kwargs: Any) -> tuple[str, dict[str, Any]]:
        prompt, info = super().reset(**kwargs)
        Clock.count += 1
        return prompt, info | {"count": Clock.count}


class Generous(azr_gym.code.env.CodeTripletEnv):
    """Rewards by rules that its batched twin does not have."""

    def step(self, action: str) -> Any:
        observation, reward, *rest = super().step(action)
        return observation, reward + 0.5, *rest


class Global(azr_gym.code.env.CodeTripletEnv):
    """Uses the global generator."""

    def step(self, action: str) -> Any:
        np.random.random()
        return super().step(action)


@pytest.mark.parametrize(
    ("broken", "sentence"),
    [(Leaky, "leaks"), (Clock, "determin|different|again"), (Generous, "differ"), (Global, "global")],
)
def test_the_kit_finds_what_is_broken(broken: Any, sentence: str) -> None:
    with pytest.raises((ContractError, AssertionError), match=f"(?i){sentence}"):
        check_task_env(broken())
