"""Judging in several processes changes nothing but the time."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from unittest.mock import patch

import gymnasium as gym
import pytest

from azr_gym import BadArgument, TaskPool, spread
from azr_gym.code import Triplet, make_tasks
from azr_gym.code import room as code_room
from azr_gym.code.room import CodeRoom
from azr_gym.errors import AzrGymError
from azr_sandbox import Unavailable, make_runner

CODE = {"runner": "jail", "mode": ("deduction", "abduction", "induction")}
CLINIC = {"mode": ("deduction", "abduction")}


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(spread, "LEAST", 2)
    yield
    assert not spread.Judges._open, "processes stay"


def envs(name: str, processes: int, **options: Any) -> Any:
    return gym.make_vec(name, num_envs=9, autoreset_mode="Disabled", processes=processes, **options).unwrapped


def played(made: Any, texts: list[str] | None = None) -> tuple[Any, ...]:
    """What comes of the oracle's texts, some of them spoilt."""
    made.reset(seed=4)
    texts = texts or [text if place % 3 else text[: len(text) // 2] for place, text in enumerate(made.oracle())]
    *turn, infos = made.step(texts)
    shown = {key: list(infos[key]) for key in ("outcome", "reason", "refusal", "task", "correctness") if key in infos}
    numbers = {key: value.tolist() for key, value in infos.get("metrics", {}).items()}
    return [[*part] for part in turn], shown, numbers, texts


@pytest.mark.parametrize(("name", "options"), [("CodeTriplet-v0", CODE), ("ClinicalCase-v0", CLINIC)])
@pytest.mark.parametrize("role", ["solve", "propose"])
def test_several_processes_say_what_one_says(name: str, options: dict[str, Any], role: str) -> None:
    one, several = envs(name, 1, role=role, **options), envs(name, 2, role=role, **options)
    try:
        alone = played(one)
        assert played(several) == alone
        assert len({str(kind) for kind in alone[1]["outcome"]}) > 1, "all texts had one outcome: nothing was compared"
    finally:
        one.close()
        several.close()


def test_the_pool_is_asked_where_it_is() -> None:
    pool = TaskPool(make_tasks(40, "deduction"))
    options = {"role": "propose", "mode": "deduction", "runner": "jail", "n_references": 0, "pool": pool}
    one, several = envs("CodeTriplet-v0", 1, **options), envs("CodeTriplet-v0", 2, **options)
    texts = played(one)[3]
    [known] = make_tasks(1, "deduction", seed=9)
    assert isinstance(known, Triplet)
    pool.add(known)
    texts[1] = f"```python\n{known.program}\n```\n```input\n{known.arguments}\n```"
    alone = played(one, texts)
    assert played(several, texts) == alone
    one.close()
    several.close()
    assert alone[1]["refusal"][1] == "duplicate"
    assert min(new for new, task in zip(alone[2]["novelty"], alone[1]["task"], strict=True) if task) < 1.0


def test_who_lost_a_process_is_told_and_the_next_step_has_new_ones() -> None:
    made = envs("CodeTriplet-v0", 2, **CODE)
    texts = played(made)[3]
    for process in multiprocessing.active_children():
        process.kill()
    made.reset(seed=4)
    with pytest.raises(AzrGymError, match="has died: either something ended it"):
        made.step(texts)
    assert played(made, texts)[0][2].count(True) == 9
    made.close()


def test_a_room_is_copied_with_what_it_has_of_its_own() -> None:
    class Mine(CodeRoom):
        pass

    made = Mine(3, 4, "jail").share()
    assert (type(made), made.levels, made.n_pairs, made.slots) == (Mine, (3,), 4, 2)
    assert CodeRoom().slots is None


def test_what_a_room_raises_in_another_process_is_raised_here() -> None:
    made = envs("CodeTriplet-v0", 2, role="solve", mode="abduction", runner="docker")
    made.reset(seed=0)
    texts = made.oracle()
    with patch.dict(os.environ, {"DOCKER_HOST": "unix:///nowhere.sock"}), pytest.raises(Unavailable, match="nowhere"):
        made.step(texts)
    made.close()


def test_environments_that_play_alike_share_their_processes_and_the_last_ends_them() -> None:
    one, other = envs("CodeTriplet-v0", 2, **CODE), envs("CodeTriplet-v0", 2, **CODE)
    assert one.game.judges is other.game.judges
    one.close()
    one.close()
    assert played(other)[0][2].count(True) == 9
    other.close()


def test_a_runner_of_ones_own_can_not_be_in_another_process() -> None:
    with make_runner("jail") as own, pytest.raises(BadArgument, match="name a runner"):
        envs("CodeTriplet-v0", 2, runner=own)


@pytest.mark.parametrize("processes", [0, True, 1.5, "2"])
def test_processes_are_counted(processes: Any) -> None:
    with pytest.raises(BadArgument, match="processes must be an int above 0"):
        envs("CodeTriplet-v0", processes)


PARENT = """
import gymnasium, azr_gym, time, multiprocessing
from azr_gym import spread
if __name__ == "__main__":
    spread.LEAST = 2
    envs = gymnasium.make_vec("CodeTriplet-v0", num_envs=8, mode="abduction", runner="jail", processes=2).unwrapped
    envs.reset(seed=0)
    envs.step(envs.oracle())
    print(*(one.pid for one in multiprocessing.active_children()), flush=True)
    time.sleep(600)
"""


def test_they_end_with_the_process_that_made_them_however_that_ends(tmp_path: Path) -> None:
    script = tmp_path / "parent.py"
    script.write_text(PARENT)
    with subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True) as parent:
        try:
            assert parent.stdout is not None
            pids = [int(pid) for pid in parent.stdout.readline().split()]
        finally:
            parent.kill()
    assert len(pids) == 2
    for _ in range(600):
        if not any(alive(pid) for pid in pids):
            return
        time.sleep(0.05)
    pytest.fail("they live on")


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_threads_that_ask_at_once_share_one_box(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[object] = []

    def slow(name: str, slots: int | None = None) -> object:
        time.sleep(0.05)
        made.append(object())
        return made[-1]

    monkeypatch.setattr(code_room, "_shared", {})
    monkeypatch.setattr(code_room, "make_runner", slow)
    rooms = [CodeRoom() for _ in range(4)]
    with ThreadPoolExecutor(4) as threads:
        boxes = [*threads.map(CodeRoom.box, rooms)]
    assert len(made) == 1
    assert boxes == made * 4
