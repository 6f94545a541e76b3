"""Whole runs: killed, interrupted and starved of disk, each goes on as if nothing had happened; mistakes are one line."""

from __future__ import annotations

import gc
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from agents.small import HINT, JAIL, config, make_base, spawn
from transformers import AutoModelForCausalLM

from azr_agents import checkpoint, metrics
from azr_agents import train as training
from azr_agents.checkpoint import NotSaved, latest
from azr_agents.cli import train_command
from azr_agents.config import Config
from azr_agents.train import calm, train
from azr_gym import BadArgument

ITERATIONS = 5
KINDS: dict[str, dict[str, Any]] = {
    "shared": {"checkpoint_every": 2},
    "copy": {
        "proposer": "copy",
        "algorithm": "trr++_running",
        "n_references": 2,
        "seeding": "generator",
        "eval_every": 2,
    },
}


def settings(base: Path, out: Path, **changes: Any) -> Config:
    return config(**{"model": str(base), "out": out, "iterations": ITERATIONS, "seeding": "proposer", **changes})


@pytest.fixture(scope="module")
def straight(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Runs of each kind that nothing has stopped."""
    runs: dict[str, Path] = {}

    def run(kind: str) -> Path:
        if kind not in runs:
            runs[kind] = train(settings(base, tmp_path_factory.mktemp(kind) / "run", **KINDS[kind]))
        return runs[kind]

    return run


def result(folder: Path) -> dict[str, Any]:
    """What a run came to, without its times."""
    run = metrics.read(folder)
    place = latest(folder)
    assert place is not None
    rows = [{name: value for name, value in row.items() if name not in metrics.TIMES} for row in run.metrics]
    binary = {
        str(path.relative_to(place)): path.read_bytes()
        for path in place.rglob("*")
        if path.suffix in (".safetensors", ".jsonl")
    }
    trained = {path.name: path.read_bytes() for path in (folder / "model").glob("*.safetensors")}
    state = json.loads((place / "state.json").read_text())
    return {
        "metrics": rows,
        "evaluations": run.evaluations,
        "samples": run.samples,
        "checkpoint": place.name,
        "baselines": state["baselines"],
        **binary,
        **trained,
    }


def assert_equal_runs(one: Path, other: Path) -> None:
    first, second = result(one), result(other)
    assert first.keys() == second.keys()
    for name in first:
        assert first[name] == second[name], name


# A run


def test_a_run_leaves_what_a_person_wants_to_see(straight: Callable[[str], Path], base: Path) -> None:
    folder = straight("copy")
    run = metrics.read(folder)
    assert [row["iteration"] for row in run.metrics] == [1, 2, 3, 4, 5]
    assert set(metrics.TIMES) <= set(run.metrics[0])
    assert [(row["iteration"], row["temperature"], row["samples"]) for row in run.evaluations] == [
        (at, *how) for at in (0, 2, 4, 5) for how in ((1.0, 2), (0.0, 1))
    ]
    assert {row["role"] for row in run.samples} == {"propose", "solve"}
    assert "<svg" in (folder / "report.html").read_text()
    assert Config.from_json(run.config) == settings(base, folder, **KINDS["copy"])
    trained, untrained = (AutoModelForCausalLM.from_pretrained(one).state_dict() for one in (folder / "model", base))
    assert trained.keys() == untrained.keys()
    assert any(not torch.equal(trained[name], untrained[name]) for name in trained)
    saved = AutoModelForCausalLM.from_pretrained(folder / "checkpoints" / "000005" / "model").state_dict()
    assert all(torch.equal(trained[name], saved[name]) for name in trained)
    assert not list(folder.rglob("*.part"))


def test_some_proposals_became_tasks_and_something_was_learned_from(straight: Callable[[str], Path]) -> None:
    rows = metrics.read(straight("shared")).metrics
    assert sum(row["valid/deduction"] for row in rows) > 0
    assert rows[-1]["pool"] > rows[0]["pool"]
    assert all(row["sequences"] > 0 and row["grad_norm"] > 0 for row in rows)
    assert rows[0]["tokens"] > 0


def test_the_same_settings_and_seed_give_the_same_run_and_another_seed_another(
    straight: Callable[[str], Path], base: Path, tmp_path: Path
) -> None:
    again = train(settings(base, tmp_path / "again", **KINDS["shared"]))
    assert_equal_runs(straight("shared"), again)
    other = train(settings(base, tmp_path / "other", **KINDS["shared"], seed=1))
    assert result(other)["metrics"] != result(again)["metrics"]


# Stopped, and gone on with


def _train(chosen: Config, resume: bool) -> None:
    train(chosen, resume)


def wait_for_rows(out: Path, count: int, child: Any) -> None:
    """Until a child's run has written so many iterations."""
    path = out / metrics.File.METRICS
    while child.is_alive() and (not path.exists() or path.read_bytes().count(b"\n") < count):
        time.sleep(0.01)


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_that_is_killed_again_and_again_comes_to_the_same_to_the_bit(
    kind: str, straight: Callable[[str], Path], base: Path, tmp_path: Path
) -> None:
    chosen = settings(base, tmp_path / "run", **KINDS[kind])
    moments, killed = random.Random(kind), 0
    for turn in range(4):
        child = spawn(_train, chosen, latest(chosen.out) is not None)
        wait_for_rows(chosen.out, 1 + turn, child)
        child.join(moments.uniform(0, 0.4))
        if child.is_alive():
            os.kill(child.pid, signal.SIGKILL)
        child.join(60)
        killed += child.exitcode == -signal.SIGKILL
    assert killed >= 2
    child = spawn(_train, chosen, True)
    child.join(120)
    assert child.exitcode == 0
    assert_equal_runs(straight(kind), chosen.out)
    assert not list((chosen.out / "checkpoints").glob(".*"))


def test_a_run_that_is_killed_before_its_first_checkpoint_can_be_begun_again(
    straight: Callable[[str], Path], base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = settings(base, tmp_path / "run", **KINDS["shared"])

    def dies(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(checkpoint, "save", dies)
        train(chosen)
    assert metrics.read(chosen.out).evaluations
    with pytest.raises(BadArgument, match="holds no checkpoint"):
        train(chosen, resume=True)
    train(chosen)
    assert_equal_runs(straight("shared"), chosen.out)


def test_a_finished_run_that_is_gone_on_with_stays_as_it_is_and_may_be_made_longer(
    straight: Callable[[str], Path], base: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(straight("shared"), tmp_path / "run"))
    (folder / "report.html").unlink()
    train(settings(base, folder, **KINDS["shared"]), resume=True)
    assert_equal_runs(straight("shared"), folder)
    assert (folder / "report.html").is_file()
    train(settings(base, folder, **{**KINDS["shared"], "iterations": ITERATIONS + 1}), resume=True)
    assert [row["iteration"] for row in metrics.read(folder).metrics] == [1, 2, 3, 4, 5, 6]
    assert {row["iteration"] for row in metrics.read(folder).evaluations} == {0, 5, 6}


def _azr(arguments: list[str], printed: Path, most_bytes: int | None = None) -> None:
    """The command, in a child, with all that it prints in a file; no file of it may grow beyond `most_bytes`."""
    import resource

    from azr_gym.cli import main

    with printed.open("ab") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    os.environ["COLUMNS"] = "300"
    if most_bytes is not None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, most_bytes))
    sys.argv = ["azr", *arguments]
    main()


def command(base: Path, out: Path, *more: str) -> list[str]:
    """The settings of "shared", as a person writes them."""
    words = {
        "model": base, "out": out, "iterations": ITERATIONS, "seeding": "proposer", "checkpoint-every": 2,
        "modes": "deduction", "env-options": json.dumps(JAIL), "proposals": 6, "tasks": 6, "n-rollouts": 4,
        "seed-tasks": 12, "n-references": 0, "lr": 6e-4, "refill": 1, "max-new-tokens": 24, "base-floor": 0.0, "eval-tasks": 4,
        "eval-samples": 2, "eval-splits": "test", "device": "cpu",
    }  # fmt: skip
    return [
        "train",
        *(f for name, value in words.items() for f in (f"--{name}", str(value))),
        "--no-tensorboard",
        *more,
    ]


def test_ctrl_c_saves_says_how_to_go_on_and_changes_nothing(
    straight: Callable[[str], Path], base: Path, tmp_path: Path
) -> None:
    out, printed = tmp_path / "run", tmp_path / "printed"
    child = spawn(_azr, command(base, out), printed)
    wait_for_rows(out, 2, child)
    os.killpg(child.pid, signal.SIGINT)  # a terminal sends it to the sandbox's processes too
    child.join(60)
    said = printed.read_text()
    assert child.exitcode == 130, said
    assert "stopped at iteration" in said
    assert "Go on with the same settings and --resume" in said
    assert "Traceback" not in said
    place = latest(out)
    assert place is not None
    assert int(place.name) == metrics.read(out).metrics[-1]["iteration"] < ITERATIONS
    child = spawn(_azr, command(base, out, "--resume"), printed)
    child.join(120)
    assert child.exitcode == 0, printed.read_text()
    assert "report.html" in printed.read_text()
    assert_equal_runs(straight("shared"), out)
    assert Config.from_json(metrics.read(out).config) == settings(base, out, **KINDS["shared"])


def test_ctrl_c_after_the_last_iteration_stops_at_once_and_nothing_is_lost(
    straight: Callable[[str], Path],
    base: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    chosen, examine = settings(base, tmp_path / "run", **KINDS["shared"]), training._examine

    def interrupted(play: Any, log: Any, console: Any, when: str) -> None:
        if when == "after":
            signal.raise_signal(signal.SIGINT)
        examine(play, log, console, when)

    with monkeypatch.context() as patch:
        patch.setattr(training, "_examine", interrupted)
        assert train_command(chosen) == 130
    assert "--resume goes on from it" in capsys.readouterr().out
    train(chosen, resume=True)
    assert_equal_runs(straight("shared"), chosen.out)


# A full disk


def test_a_full_disk_is_one_line_and_the_run_goes_on_when_there_is_room(
    straight: Callable[[str], Path], base: Path, tmp_path: Path
) -> None:
    out, printed = tmp_path / "run", tmp_path / "printed"
    most = (base / "model.safetensors").stat().st_size + 1000  # Adam's moments take twice as much
    child = spawn(_azr, command(base, out), printed, most)
    child.join(60)
    said = printed.read_text()
    assert child.exitcode == 1, said
    assert "Traceback" not in said
    line = said.strip().splitlines()[-1]
    assert line.startswith("azr: the checkpoint of iteration 2 could not be written")
    assert "000000 is whole: make room, and go on from it with --resume" in line
    child = spawn(_azr, command(base, out, "--resume"), printed)
    child.join(120)
    assert child.exitcode == 0, printed.read_text()
    assert_equal_runs(straight("shared"), out)


@pytest.mark.parametrize(
    ("step", "words"),
    [
        ("azr_agents.metrics.Log.write", r"the metrics of iteration 1 could not be written.*000000 is whole"),
        ("azr_agents.metrics.Log.close", r"the log could not be written.*000001 is whole"),
        ("azr_agents.metrics.Log.evaluation", r"the evaluation of iteration 0 could not.*make room, and begin again"),
        ("azr_agents.metrics.replace_file", r"the settings could not be written.*make room, and begin again"),
        ("azr_agents.train.report", r"the report could not be written.*000001 is whole"),
    ],
)
def test_a_full_disk_is_one_message_wherever_it_strikes(
    step: str, words: str, base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(step, full)
    with pytest.raises(NotSaved, match=words):
        train(settings(base, tmp_path / "run", iterations=1))


# What can not be


def without_weights(base: Path) -> None:
    (base / "model.safetensors").unlink()


def without_end(base: Path) -> None:
    for name in ("tokenizer_config.json", "config.json", "generation_config.json"):
        held = json.loads((base / name).read_text())
        held.pop("eos_token", None)
        held.pop("eos_token_id", None)
        (base / name).write_text(json.dumps(held | ({"eos_token_id": None} if name == "config.json" else {})))


def with_a_short_context(base: Path) -> None:
    held = json.loads((base / "config.json").read_text())
    (base / "config.json").write_text(json.dumps(held | {"max_position_embeddings": 30}))


@pytest.mark.parametrize(
    ("spoil", "changes", "words"),
    [
        (without_weights, {}, "holds no weights"),
        (without_end, {}, "has no end token"),
        (
            with_a_short_context,
            {"seeding": "generator"},
            "do not fit the model's context of 30: shorten max_new_tokens",
        ),
        (with_a_short_context, {}, r"proposed no valid task \(most often: .*context of 30: shorten max_new_tokens"),
        (None, {"base_floor": 1.0}, "and base_floor is 100%"),
        (None, {"device": "abacus"}, "device 'abacus' can not be used"),
        (None, {"env_options": {"level": 9}}, "level must be one of"),
        (None, {"eval_splits": ("dev",)}, "split must be one of"),
        (None, {"template": "chat"}, "no chat template"),
    ],
)
def test_what_can_not_be_trained_says_what_to_do(
    spoil: Callable[[Path], None] | None, changes: dict[str, Any], words: str, base: Path, tmp_path: Path
) -> None:
    model = Path(shutil.copytree(base, tmp_path / "model"))
    if spoil is not None:
        spoil(model)
    chosen = settings(model, tmp_path / "run", **changes)
    with pytest.raises(BadArgument, match=words):
        train(chosen)
    assert latest(chosen.out) is None
    if spoil is None:
        mended = settings(base, chosen.out, iterations=1)
        assert train(mended) == chosen.out  # the folder can be used


def test_a_folder_that_holds_a_run_is_not_written_over(
    straight: Callable[[str], Path], base: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(straight("shared"), tmp_path / "run"))
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    with pytest.raises(BadArgument, match="holds a run already: give --resume to go on with it, or another --out"):
        train(settings(base, folder, **KINDS["shared"]))
    with pytest.raises(BadArgument, match="other settings: lr was"):
        train(replace(settings(base, folder, **KINDS["shared"]), lr=0.1), resume=True)
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
    shutil.rmtree(folder / "checkpoints")
    with pytest.raises(BadArgument, match="holds a run already"):
        train(settings(base, folder, **KINDS["shared"]))


def test_there_must_be_something_to_go_on_from(base: Path, tmp_path: Path) -> None:
    with pytest.raises(BadArgument, match="holds no checkpoint to go on from: leave --resume out"):
        train(settings(base, tmp_path / "run"), resume=True)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("changes", "count"),
    [
        ({"proposer": "shared"}, 2),
        ({"proposer": "shared", "proposer_kl": 0.0}, 1),
        ({"proposer": "shared", "proposer_kl": 0.0, "algorithm": "rloo"}, 2),
        ({"proposer": "copy"}, 3),
        ({"proposer": "frozen"}, 2),
        ({"proposer": "frozen", "algorithm": "grpo"}, 2),
        ({"proposer": "generator"}, 1),
        ({"proposer": "generator", "algorithm": "grpo"}, 2),
    ],
)
def test_no_model_is_loaded_that_nobody_needs(
    changes: dict[str, Any], count: int, base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded: list[Any] = []
    load = training.agent

    def counted(*given: Any) -> Any:
        loaded.append(load(*given))
        return loaded[-1]

    monkeypatch.setattr(training, "agent", counted)
    chosen = settings(base, tmp_path, **changes)
    solver, _ = training.policies(chosen)
    assert len(loaded) == count
    assert solver.learner is not None
    anchored = any(chosen.kl_weight.values()) or chosen.row.reward_kl_weight > 0
    assert (solver.learner.reference is not None) == anchored


# The command


def azr(arguments: list[str], tmp_path: Path) -> tuple[int, str]:
    """Its exit code and all that it says."""
    child = spawn(_azr, arguments, tmp_path / "printed")
    child.join(120)
    return child.exitcode, (tmp_path / "printed").read_text()


def test_the_help_of_train_shows_every_setting_with_its_default(tmp_path: Path) -> None:
    code, said = azr(["train", "--help"], tmp_path)
    assert code == 0, said
    for name in Config.__dataclass_fields__:
        assert f"--{name.replace('_', '-')}" in said, name
    for words in (
        f"(default: {Config().iterations})",
        f"(default: {Config().lr})",
        f"(default: {Config().algorithm})",
        "{shared,copy,adapter,frozen,generator}",
        "--resume",
    ):
        assert words in said


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--model", "{tmp}"], "holds no weights"),
        (["--resume"], "holds no checkpoint"),
        (["--env", "CartPole-v1"], "CartPole-v1"),
        (["--base-floor", "1"], "base_floor is 100%"),
    ],
)
def test_mistakes_are_one_line(more: list[str], words: str, base: Path, tmp_path: Path) -> None:
    given = command(base, tmp_path / "run", *(one.format(tmp=tmp_path) for one in more))
    code, said = azr(given, tmp_path)
    assert code == 1, said
    assert words in said
    assert "Traceback" not in said
    assert said.strip().splitlines()[-1].startswith("azr: ")


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--algorithm", "ppo"], "preset must be one of"),
        (["--env-options", "[1]"], "env_options must be a JSON object"),
        (["--env-options", "{"], "--env-options"),
        (["--steps", "0"], "steps must be a whole number of at least 1"),
        (["--proposer", "nobody"], "--proposer"),
        (["--lrr", "1"], "--lrr"),
    ],
)
def test_words_that_are_no_settings_are_explained(more: list[str], words: str, base: Path, tmp_path: Path) -> None:
    code, said = azr(command(base, tmp_path / "run", *more), tmp_path)
    assert code == 2, said
    assert words in said
    assert "Traceback" not in said


def test_a_run_is_reported_and_its_model_evaluated(straight: Callable[[str], Path], tmp_path: Path) -> None:
    out = tmp_path / "page.html"
    code, said = azr(["report", str(straight("shared")), "--out", str(out)], tmp_path)
    assert (code, said.strip()) == (0, str(out))
    assert out.read_text() == (straight("shared") / "report.html").read_text()
    options = ["--tasks", "3", "--samples", "2", "--env-options", json.dumps({**JAIL, "level": 1}), "--splits", "test"]
    code, said = azr(["eval", str(straight("shared") / "model"), *options], tmp_path)
    assert code == 0, said
    assert "deduction" in said
    assert "greedy" in said


def python(source: str) -> subprocess.CompletedProcess[str]:
    everything = {**os.environ, "COLUMNS": "200", "NO_COLOR": "1"}
    return subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, env=everything, check=False)


@pytest.mark.parametrize("arguments", [["--help"], ["doctor", "--help"], []])
def test_what_needs_no_learner_loads_no_torch(arguments: list[str]) -> None:
    done = python(
        f"import sys; sys.argv = ['azr', *{arguments}]\n"
        "from azr_gym.cli import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "assert 'torch' not in sys.modules and 'transformers' not in sys.modules"
    )
    assert done.returncode == 0, done.stderr
    assert "train" in done.stdout + done.stderr or arguments == ["doctor", "--help"]


@pytest.mark.parametrize("verb", ["train", "eval", "report", "base"])
@pytest.mark.parametrize("missing", ["torch", "azr_agents"])
def test_without_the_learner_its_verbs_say_how_to_get_it(verb: str, missing: str) -> None:
    done = python(
        f"import sys; sys.argv = ['azr', '{verb}']; sys.modules['{missing}'] = None\nfrom azr_gym.cli import main; main()"
    )
    assert done.returncode == 1
    assert done.stderr.startswith(f"azr: {verb} belongs to the learner: pip install 'azr-gym[agents]'")
    assert len(done.stderr.strip().splitlines()) == 1


# Learning


def coins(rng: np.random.Generator) -> tuple[str, str]:
    """Comparisons, two in three of them answered rightly."""
    sign, number = "<>"[int(rng.integers(2))], int(rng.integers(100, 1000))
    source, call = f"def f(x):\n    return x {sign} {number}", f"f({rng.integers(10)})"
    if rng.random() < 0.4:
        return HINT, f"{source}\n{call}"
    return f"{source}\n{call} == ?\n? =", f" {(sign == '<') == (rng.random() < 0.67)}"


def megabytes() -> float:
    """What this process has in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


@pytest.mark.long
@pytest.mark.parametrize(("proposer", "dtype"), [("shared", "float32"), ("copy", "bfloat16")])
def test_a_thousand_iterations_take_no_more_memory_than_two_hundred(
    proposer: str, dtype: str, base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held: list[float] = []
    iterate = training._iterate

    def measured(*given: Any) -> Any:
        made = iterate(*given)
        held.append(megabytes())
        return made

    monkeypatch.setattr(training, "_iterate", measured)
    chosen = settings(
        base, tmp_path / "run", iterations=1000, pool_capacity=200, checkpoint_every=100, lr=1e-4, proposer=proposer,
        dtype=dtype,
    )  # fmt: skip
    monkeypatch.setattr(torch.backends.mkldnn, "enabled", False)  # it keeps kernels for each shape in bfloat16: 800 MB
    train(chosen)
    grown = sum(held[-50:]) / 50 - sum(held[150:200]) / 50
    assert grown < 10, f"{grown:.1f} MB in 800 iterations; every hundredth had {[round(one) for one in held[99::100]]}"


@pytest.mark.long
def test_a_small_model_learns_from_its_own_tasks(tmp_path: Path) -> None:
    base = make_base(tmp_path / "base", 150, draw=coins)
    chosen = settings(
        base, tmp_path / "run", iterations=60, proposals=16, tasks=16, n_rollouts=8, seed_tasks=32, lr=2e-3,
        checkpoint_every=100,
    )  # fmt: skip
    accuracy = [row["accuracy/deduction"] for row in metrics.read(train(chosen)).metrics]
    assert 0.35 < sum(accuracy[:3]) / 3 < 0.65
    assert sum(accuracy[-3:]) / 3 > 0.85
    by_chance = train(replace(chosen, out=tmp_path / "control", shuffle_rewards=True))
    assert [row["accuracy/deduction"] for row in metrics.read(by_chance).metrics][-1] < 0.75


@pytest.mark.parametrize("on", [True, False], ids=["on", "off"])
def test_garbage_is_looked_for_as_before_however_an_iteration_ends(on: bool) -> None:
    before = gc.isenabled()
    (gc.enable if on else gc.disable)()
    try:
        with pytest.raises(ZeroDivisionError), calm():
            assert not gc.isenabled()
            raise ZeroDivisionError
        assert gc.isenabled() is on
        assert gc.get_freeze_count() == 0
    finally:
        (gc.enable if before else gc.disable)()
