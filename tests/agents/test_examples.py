"""The learner's examples run, each in a process of its own, and say what they promise."""

from __future__ import annotations

import json
import os
import re
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


def test_the_demo_writes_a_model_and_a_report(tmp_path: Path, any_runner: Runner) -> None:
    said = run("selfplay_demo.py", "--iterations", "1", "--eval-tasks", "4", "--out", "run", cwd=tmp_path)
    assert "report.html" in said
    assert (tmp_path / "run" / "report.html").stat().st_size > 10_000
    assert (tmp_path / "run" / "model" / "model.safetensors").exists()
    rows = [json.loads(line) for line in (tmp_path / "run" / "evaluations.jsonl").read_text().splitlines()]
    assert {row["iteration"] for row in rows} == {0, 1}


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
