"""What people look at: the game in the terminal, the pages, the doctests."""

from __future__ import annotations

import doctest
import importlib
import importlib.util
import pkgutil
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import gymnasium as gym
import numpy as np
import pytest
from PIL import Image

import azr_gym
import azr_sandbox
from azr_gym import pages

from conftest import real


def play(typed: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from azr_gym.cli import main; main()", "play", *arguments]
    return subprocess.run(command, input=typed, capture_output=True, text=True, check=False)


def test_a_person_plays_and_is_told_what_was_right() -> None:
    done = play("nonsense\n\n", "CodeTriplet-v0", "--episodes", "1", "--seed", "3")
    assert done.returncode == 0, done.stderr
    for words in ("CodeTriplet, deduction", "def f(", "malformed", "in fact", "reward 0", "0 in 1 episodes"):
        assert words in done.stdout


def test_a_person_may_ask_for_an_answer_and_win() -> None:
    shown = play("?\n", "CodeTriplet-v0", "--episodes", "1", "--seed", "3").stdout
    answer = shown[shown.index("<answer>") : shown.index("</answer>")] + "</answer>"
    done = play(f"{answer}\n\n", "CodeTriplet-v0", "--episodes", "1", "--seed", "3")
    assert "1 in 1 episodes" in done.stdout


def test_a_person_proposes() -> None:
    real("jail")
    typed = "def f(x):\n    return [x, x]\nf(3)\n\n"
    done = play(typed, "CodeTriplet-v0", "--role", "propose", "--episodes", "1")
    assert "accepted" in done.stdout
    assert "f(3) == [3, 3]" in done.stdout


def test_a_person_diagnoses_a_patient() -> None:
    game = ("ClinicalCase-v0", "--episodes", "1", "--seed", "3")
    done = play("?\nnonsense\n\n", *game)
    assert done.returncode == 0, done.stderr
    for words in ("Patient:", "malformed", "in fact", "reward 0", "0 in 1 episodes"):
        assert words in done.stdout
    shown, told = done.stdout.split("malformed")
    answer = shown[shown.rindex("<answer>") : shown.rindex("</answer>")] + "</answer>"
    assert answer.removeprefix("<answer>").removesuffix("</answer>") in told
    done = play(f"{answer}\n\n", *game)
    assert "correct" in done.stdout
    assert "1 in 1 episodes" in done.stdout


@pytest.mark.parametrize("mode", ["deduction", "abduction", "induction"])
def test_a_person_is_told_the_key_when_the_episode_is_over_and_not_before(mode: str) -> None:
    env = gym.make("ClinicalCase-v0", mode=mode, max_attempts=2, render_mode="ansi").unwrapped
    env.reset(seed=5)
    env.step("<answer>nonsense</answer>")
    assert "in fact" not in str(env.render())
    env.step("<answer>nonsense</answer>")
    assert "in fact" in str(env.render())


def test_a_person_is_told_the_diagnosis_of_a_lost_work_up() -> None:
    game = ("ClinicalCase-v0", "--workup", "sequential", "--episodes", "1", "--seed", "3")
    done = play("order blood count\n\ndiagnose nothing at all\n\ndiagnose scurvy\n\n", *game)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("in fact") == 1


def test_the_end_of_the_input_ends_the_game() -> None:
    done = play("", "CodeTriplet-v0")
    assert done.returncode == 0
    assert "0 in 0 episodes" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("Nope-v0",), "doesn't exist"),
        (("CartPole-v1",), "CodeTriplet-v0"),
        (("CodeTriplet-v0", "--mode", "x"), "deduction"),
    ],
)
def test_a_game_that_is_none_is_explained_in_a_line(arguments: tuple[str, ...], words: str) -> None:
    done = play("", *arguments)
    assert done.returncode == 1
    assert words in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("env_id", pages.ours())
def test_each_page_is_made_from_its_docstring_and_picture(env_id: str) -> None:
    folder = pages.folder(env_id)
    assert pages.file(env_id).read_text() == pages.page(env_id), "`make pages` writes it"
    assert np.array_equal(np.array(Image.open(folder / f"{env_id}.png")), pages.picture(env_id)), "`make pages`"


PROGRAMS = re.findall(r"^```python\n(.*?)^```$", pages.page("CodeTriplet-v0"), re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize(("source", "printed"), list(zip(PROGRAMS, [r"0\.0 wrong", r"2\d\d 8"], strict=True)))
def test_the_programs_of_the_page_run(source: str, printed: str, tmp_path: Path) -> None:
    real("jail")
    source = source.replace("pool.jsonl", str(tmp_path / "pool.jsonl"))
    done = subprocess.run([sys.executable, "-W", "error", "-c", source], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert re.match(printed, done.stdout)


def test_the_third_domain_keeps_the_contract_and_is_short() -> None:
    path = Path(__file__).parents[2] / "examples" / "your_own_env.py"
    source = path.read_text()
    assert source.count("\n") < 80
    done = subprocess.run([sys.executable, "-W", "error", str(path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for line in done.stdout.splitlines():
        assert line in source, "the docstring shows what the file prints"


def modules() -> list[str]:
    found: list[str] = []
    for package in (azr_gym, azr_sandbox):
        found += [one.name for one in pkgutil.walk_packages(package.__path__, package.__name__ + ".")]
    return [package.__name__ for package in (azr_gym, azr_sandbox)] + [
        name for name in found if ">>> " in _source(name)
    ]


def _source(name: str) -> str:
    spec = importlib.util.find_spec(name)
    return Path(spec.origin).read_text() if spec and spec.origin else ""


@pytest.mark.parametrize("name", modules())
def test_the_examples_in_docstrings_run(name: str) -> None:
    module: ModuleType = importlib.import_module(name)
    assert doctest.testmod(module).failed == 0
