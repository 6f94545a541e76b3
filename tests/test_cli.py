"""The `azr` command, as a person calls it."""

from __future__ import annotations

import subprocess
import sys

import pytest

from conftest import real


def azr(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    import os

    command = [sys.executable, "-c", "from azr_gym.cli import main; main()", *arguments]
    everything = {**os.environ, "COLUMNS": "200", "NO_COLOR": "1", **environment}
    return subprocess.run(command, capture_output=True, text=True, env=everything, check=False)


def test_doctor_says_what_works() -> None:
    real("jail")
    done = azr("doctor")
    assert done.returncode == 0, done.stderr
    for word in ("Landlock", "Docker engine", "Runner jail", "`auto` takes"):
        assert word in done.stdout


def test_doctor_says_what_is_missing_and_what_to_do() -> None:
    done = azr("doctor", DOCKER_HOST="unix:///nonexistent.sock")
    assert "no Docker engine answers" in done.stdout
    assert "set DOCKER_HOST" in done.stdout


def test_doctor_cleans() -> None:
    real("docker")
    assert "leftover" in azr("doctor", "--clean").stdout


def test_image_is_built_from_the_host() -> None:
    real("docker")
    done = azr("image", "--from-host")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("azr-sandbox:py3.")


def test_bench_measures() -> None:
    real("jail")
    done = azr("bench", "--programs", "40")
    assert done.returncode == 0, done.stderr
    assert "programs/s" in done.stdout


@pytest.mark.parametrize("arguments", [("nonsense",), ("image", "--nonsense")])
def test_a_wrong_command_is_explained(arguments: tuple[str, ...]) -> None:
    done = azr(*arguments)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


def test_our_own_failures_are_one_line() -> None:
    done = azr("image", DOCKER_HOST="unix:///nonexistent.sock")
    assert done.returncode != 0
    assert "azr: no Docker engine answers" in done.stderr
    assert "Traceback" not in done.stderr
