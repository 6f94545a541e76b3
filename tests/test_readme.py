"""The README says what is true: its program runs, and prints what stands below it, on the first screen."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from azr_sandbox import Runner

README = (Path(__file__).parents[1] / "README.md").read_text()


PROGRAMS = re.findall(r"```python\n(.*?)```\n(?:```text\n(.*?)```)?", README, re.DOTALL)


def test_the_first_program_stands_on_the_first_screen() -> None:
    found = re.search(r"```python\n(.*?)```\n```text\n(.*?)```", README, re.DOTALL)
    assert found is not None
    assert README[: found.end()].count("\n") < 25


@pytest.mark.parametrize(("source", "printed"), PROGRAMS)
def test_each_program_runs_and_prints_what_it_says(source: str, printed: str, any_runner: Runner) -> None:
    done = subprocess.run([sys.executable, "-W", "error", "-c", source], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert printed in ("", done.stdout)


def test_every_file_that_it_names_is_there() -> None:
    root = Path(__file__).parents[1]
    for target in re.findall(r"\]\(((?!https:)[^)#]+)\)", README):
        assert (root / target).exists(), target


def test_its_numbers_are_those_of_the_recorded_benchmarks() -> None:
    from bench.readme import filled

    assert filled(README) == README, "`python tests/bench/readme.py` writes them"
