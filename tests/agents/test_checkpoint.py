"""Checkpoints: what is read back is what was written, to the bit; and a crash never leaves half of one."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from agents.small import config, need_peft, spawn
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from azr_agents import checkpoint, train
from azr_agents.checkpoint import KEPT, NotSaved, checkpoints, flatten, latest, read_state, restore, save
from azr_agents.config import Config
from azr_agents.rollout import Arena
from azr_agents.selfplay import SelfPlay, fill
from azr_gym import BadArgument, TaskPool


@contextmanager
def run(settings: Config, iterations: int = 0, start: Path | None = None) -> Iterator[SelfPlay]:
    """A run's loop, as `train` opens it, so many iterations on."""
    solver, proposer = train.policies(settings, start)
    pool: Any = TaskPool(capacity=settings.pool_capacity)
    state = read_state(start, settings) if start else None
    if start:
        pool = checkpoint.load_pool(start, settings)
    with Arena(settings, pool) as arena:
        play = SelfPlay(settings, solver, proposer, pool, arena)
        if start and state:
            restore(play, start, state)
        else:
            fill(settings, pool, arena, proposer.agent)
        for _ in range(iterations):
            play.iterate()
        yield play


def bits(play: SelfPlay) -> dict[str, Any]:
    """Everything that decides how a run goes on."""
    pool: Any = play.pool
    found: dict[str, Any] = {"iteration": play.iteration, "clock": pool.clock}
    for name, policy in (("solver", play.solver), ("proposer", play.proposer)):
        found |= {f"{name}.{key}": value.clone() for key, value in policy.agent.model.state_dict().items()}
        found[f"{name}.version"] = policy.agent.version
        found[f"{name}.baseline"] = policy.baseline
        if policy.learner is not None:
            assert policy.learner.optimizer.state
            found |= {f"{name}.{key}": value.clone() for key, value in flatten(policy.learner).items()}
    found["pool"] = [
        (entry.task.to_json(), entry.born, entry.attempts, entry.successes, entry.origin) for entry in pool.entries()
    ]
    return found


def same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return one.keys() == other.keys() and all(
        torch.equal(value, other[key]) and value.dtype is other[key].dtype
        if isinstance(value, torch.Tensor)
        else value == other[key]
        for key, value in one.items()
    )


@pytest.fixture(scope="module")
def settings(base: Path) -> Config:
    return config(model=str(base), seeding="proposer")


@pytest.fixture(scope="module")
def saved(settings: Config, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run's folder with one checkpoint, not to be changed."""
    folder = tmp_path_factory.mktemp("saved")
    with run(settings, 2) as play:
        save(play, folder)
    return folder


@pytest.fixture
def folder(saved: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    return Path(shutil.copytree(saved, tmp_path / "run"))


@pytest.mark.parametrize(
    "changes",
    [
        {"proposer": "shared", "algorithm": "trr++_running"},
        {"proposer": "copy", "algorithm": "trr++_running", "proposer_kl": 0.0},
        {"proposer": "frozen"},
        {"proposer": "copy", "dtype": "bfloat16", "pool_capacity": 9},
        {"lora_rank": 2, "lr": 1e-2, "dtype": "bfloat16"},
        {"lora_rank": 2, "lr": 1e-2, "proposer": "adapter", "algorithm": "trr++_running"},
    ],
    ids=["running", "copy", "frozen", "bfloat16", "lora", "adapter"],
)
def test_what_is_restored_is_what_was_saved_and_goes_on_alike(
    settings: Config, changes: dict[str, Any], tmp_path: Path
) -> None:
    chosen = Config(**{**settings.__dict__, **changes})
    if chosen.lora_rank:
        need_peft()
    with run(chosen, 2) as play:
        place = save(play, tmp_path)
        before = bits(play)
        assert (before["solver.baseline"] is None) == (chosen.algorithm != "trr++_running")
        play.iterate()
        after = bits(play)
    with run(chosen, 0, place) as again:
        assert same(bits(again), before)
        again.iterate()
        assert same(bits(again), after)
    assert not same(before, after)


def test_the_model_is_one_that_plain_transformers_loads(saved: Path) -> None:
    place = latest(saved)
    assert place == saved / "checkpoints" / "000002"
    model: Any = AutoModelForCausalLM.from_pretrained(place / "model")
    tokenizer = AutoTokenizer.from_pretrained(place / "model")
    ids = tokenizer("# deduction\n", return_tensors="pt")
    out = model.generate(**ids, max_new_tokens=30, do_sample=False)
    assert "def f(x):\n    return" in tokenizer.decode(out[0])


def test_nothing_in_a_checkpoint_is_a_pickle(saved: Path) -> None:
    files = [path for path in saved.rglob("*") if path.is_file()]
    assert {path.suffix for path in files} <= {".json", ".jsonl", ".safetensors"}
    assert load_file(saved / "checkpoints" / "000002" / "optimizer.safetensors")


def test_old_checkpoints_go_but_for_the_newest(settings: Config, tmp_path: Path) -> None:
    with run(settings) as play:
        for play.iteration in (1, 5, 999_999, 1_000_000):  # names grow longer
            save(play, tmp_path)
    assert [one.name for one in checkpoints(tmp_path)] == ["999999", "1000000"]
    assert KEPT == 2
    assert latest(tmp_path) == tmp_path / "checkpoints" / "1000000"


def test_a_folder_of_another_name_is_no_checkpoint(folder: Path) -> None:
    for name in (".000009.part", "000003", "000004 copy", "best"):
        (folder / "checkpoints" / name).mkdir()
    (folder / "checkpoints" / "000004 copy" / "state.json").write_text("{}")
    assert [one.name for one in checkpoints(folder)] == ["000002"]
    assert latest(folder / "nowhere") is None


# Other settings, other files


def test_other_settings_are_named(settings: Config, folder: Path) -> None:
    place = folder / "checkpoints" / "000002"
    other = Config(**{**settings.__dict__, "lr": 0.5, "seed": 3, "eval_tasks": 77})
    with pytest.raises(BadArgument, match=r"other settings: lr was 0\.0006 and is 0\.5; seed was 0 and is 3\. Give"):
        read_state(place, other)


@pytest.mark.parametrize("name", checkpoint.FREE)
def test_what_changes_no_learning_may_change(settings: Config, folder: Path, name: str) -> None:
    other: dict[str, Any] = {"out": Path("elsewhere"), "eval_splits": ("ood",), "tensorboard": True, "track": "wandb"}
    changed = Config(**{**settings.__dict__, name: other.get(name, 61)})
    assert getattr(changed, name) != getattr(settings, name)
    assert read_state(folder / "checkpoints" / "000002", changed)["iteration"] == 2


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "3", "null", '{"format": "azr-gym checkpoint", "version": 1}', "\0\0\0", '"x"'],
)
def test_a_damaged_state_says_so_and_what_to_do(settings: Config, folder: Path, text: str) -> None:
    place = folder / "checkpoints" / "000002"
    (place / "state.json").write_text(text)
    with pytest.raises(BadArgument, match=r"state\.json is damaged .*remove .*000002, and --resume goes on"):
        read_state(place, settings)


@pytest.mark.parametrize("change", [{"version": 99}, {"format": "something else"}])
def test_a_checkpoint_of_another_version_is_refused(settings: Config, folder: Path, change: dict[str, Any]) -> None:
    path = folder / "checkpoints" / "000002" / "state.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(BadArgument, match="no checkpoint of this version"):
        read_state(path.parent, settings)


@pytest.mark.parametrize("name", ["optimizer.safetensors", "pool.jsonl"])
@pytest.mark.parametrize("keep", [0, 100, 0.5])
def test_other_damage_is_named_too(settings: Config, folder: Path, name: str, keep: float) -> None:
    place = folder / "checkpoints" / "000002"
    whole = (place / name).read_bytes()
    (place / name).write_bytes(whole[: int(keep * len(whole)) if keep < 1 else int(keep)])
    with pytest.raises(BadArgument, match=name), run(settings, 0, place):
        pass


# Crashes in the middle of writing


def unchanged(folder: Path, settings: Config) -> None:
    """The former checkpoint is there, whole, and the newest."""
    place = folder / "checkpoints" / "000002"
    assert latest(folder) == place
    with run(settings, 0, place) as play:
        assert play.iteration == 2


STEPS: list[tuple[str, str]] = [
    ("azr_agents.checkpoint.save_file", "optimizer"),
    ("azr_agents.checkpoint._sync", "the disk"),
    ("azr_gym.pool.TaskPool.save", "pool"),
    ("pathlib.Path.write_text", "state"),
    ("pathlib.Path.replace", "name"),
]


@pytest.mark.parametrize(
    "failure",
    [OSError(28, "No space left on device"), Exception("No space left on device (os error 28)")],
    ids=["os", "rust"],
)
@pytest.mark.parametrize("step", [step for step, _ in STEPS], ids=[name for _, name in STEPS])
def test_a_failure_in_the_middle_leaves_the_former_checkpoint_whole(
    settings: Config, folder: Path, step: str, failure: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*args: Any, **options: Any) -> None:
        raise failure

    with run(settings) as play:
        play.iteration = 3
        with monkeypatch.context() as patch:
            patch.setattr(step, full)
            with pytest.raises(NotSaved, match=r"iteration 3 .*No space left.*000002 is whole: make room.*--resume"):
                save(play, folder)
    assert [one.name for one in (folder / "checkpoints").iterdir()] == ["000002"]
    unchanged(folder, settings)


def test_our_own_mistakes_are_not_taken_for_a_full_disk(
    settings: Config, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def wrong(*_: Any) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(checkpoint, "_sync", wrong)
    with run(settings) as play, pytest.raises(ZeroDivisionError):
        save(play, folder)
    assert [one.name for one in (folder / "checkpoints").iterdir()] == ["000002"]


def _limited(settings: Config, folder: Path, size: int) -> None:
    """Save where no file may grow beyond `size` bytes: the kernel's own refusal, wherever it strikes."""
    import resource

    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    with run(settings) as play:
        play.iteration = 3
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
        try:
            save(play, folder)
        except NotSaved as error:
            os._exit(41 if "is whole" in str(error) else 42)
    os._exit(0)


@pytest.mark.parametrize("size", [0, 3000, 100_000])
def test_a_disk_that_is_really_full_is_one_message(settings: Config, folder: Path, size: int) -> None:
    child = spawn(_limited, settings, folder, size)
    child.join(60)
    assert child.exitcode == 41
    unchanged(folder, settings)


def _dies(settings: Config, folder: Path, count: int) -> None:
    """Is killed at the so-manyth file that is made safe."""
    sync, left = checkpoint._sync, [count]

    def last(path: Path) -> None:
        left[0] -= 1
        if left[0] < 0:
            os.kill(os.getpid(), signal.SIGKILL)
        sync(path)

    checkpoint._sync = last
    with run(settings) as play:
        play.iteration = 3
        save(play, folder)
    os._exit(0)


def test_a_kill_in_the_middle_leaves_the_former_checkpoint_whole(settings: Config, folder: Path) -> None:
    for count in (0, 4):
        child = spawn(_dies, settings, folder, count)
        child.join(60)
        assert child.exitcode == -signal.SIGKILL
        assert any(one.name.endswith(".part") for one in (folder / "checkpoints").iterdir())
        unchanged(folder, settings)
    with run(settings) as play:
        play.iteration = 3
        save(play, folder)
    assert sorted(one.name for one in (folder / "checkpoints").iterdir()) == ["000002", "000003"]
