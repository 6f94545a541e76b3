"""The learner's examples run, each in a process of its own, and say what they promise."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from azr_sandbox import Runner

EXAMPLES = Path(__file__).parents[2] / "examples"
BASE = Path(__file__).parents[2] / "agents" / "azr_agents" / "bases" / "code"


def run(name: str, *arguments: str, cwd: Path) -> str:
    """What an example prints."""
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / name), *arguments],
        capture_output=True, text=True, check=False, cwd=cwd, env=environment,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_one_file_loop_plays_and_measures(tmp_path: Path, any_runner: Runner) -> None:
    said = run("selfplay_one_file.py", "--iterations", "1", cwd=tmp_path)
    before, after = (float(share) for share in re.findall(r"held-out tasks solved (?:before|after): ([\d.]+)%", said))
    assert 15 < before < 60
    assert 10 < after < 65
    assert re.search(r"iteration 1: \d+ of 16 proposals valid, \d+ attempts right", said)


def test_an_agent_of_your_own_plays_both_roles(tmp_path: Path, any_runner: Runner) -> None:
    said = run("your_own_agent.py", cwd=tmp_path)
    assert "solved 11 of 200" in said
    assert "is worth" in said


def test_the_demo_plays_in_both_rooms_and_says_how_to_go_on(tmp_path: Path, any_runner: Runner) -> None:
    said = run("selfplay_demo.py", "--iterations", "1", "--eval-tasks", "4", "--out", "run", cwd=tmp_path)
    for room in ("code", "clinic"):
        folder = tmp_path / "run" / room
        assert f"run/{room}/report.html" in said
        assert (folder / "report.html").stat().st_size > 10_000
        assert (folder / "model" / "model.safetensors").exists()
        rows = [json.loads(line) for line in (folder / "evaluations.jsonl").read_text().splitlines()]
        assert {row["iteration"] for row in rows} == {0, 1}
    commands = re.findall(r"Longer: +\S*azr (.+)", said)
    assert len(commands) == 2
    for command in commands:
        short = ["--iterations", "1", "--eval-tasks", "1", "--eval-splits", "test"]
        longer = [sys.executable, "-c", "from azr_gym.cli import main; main()", *shlex.split(command), *short]
        done = subprocess.run(longer, capture_output=True, text=True, check=False, cwd=tmp_path)
        assert done.returncode == 0, done.stdout + done.stderr


def test_arms_are_compared_and_what_is_there_is_not_run_again(tmp_path: Path, any_runner: Runner) -> None:
    short = [
        "--iterations",
        "1",
        "--eval-tasks",
        "2",
        "--splits",
        "test",
        "--seeds",
        "1",
        "--set",
        '{"seed_tasks": 16}',
    ]
    said = run("selfplay_arms.py", "--arms", "generator", "--out", "arms", *short, cwd=tmp_path)
    assert "one of eight" in said
    [first] = json.loads((tmp_path / "arms.json").read_text())["runs"]
    assert (tmp_path / "arms-test.svg").read_text().count("<circle") == 3
    run("selfplay_arms.py", "--arms", "generator", "shuffled", "--out", "arms", *short, cwd=tmp_path)
    both = json.loads((tmp_path / "arms.json").read_text())["runs"]
    assert both[0] == first
    assert [one["arm"] for one in both] == ["generator", "shuffled"]
    other = [sys.executable, str(EXAMPLES / "selfplay_arms.py"), "--out", "arms", "--iterations", "2"]
    done = subprocess.run(other, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 2
    assert "holds runs with other settings" in done.stderr


@pytest.mark.parametrize("model", [BASE], ids=["code"])
def test_the_papers_settings_pass_a_dry_run(model: Path, tmp_path: Path, any_runner: Runner) -> None:
    run("train_code_7b.py", "--dry-run", str(model), "--out", "run", cwd=tmp_path)
    settings = json.loads((tmp_path / "run" / "config.json").read_text())
    assert (settings["algorithm"], settings["lr"], settings["proposer_kl"], settings["template"]) == (
        "trr++",
        1e-6,
        0,
        "r1",
    )
    assert len((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()) == 2
