"""The README says what is true: its program runs, and prints what stands below it, on the first screen."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from azr_sandbox import Runner

README = (Path(__file__).parents[1] / "README.md").read_text()


def test_the_first_program_prints_what_it_says(any_runner: Runner) -> None:
    found = re.search(r"```python\n(.*?)```\n```text\n(.*?)```", README, re.DOTALL)
    assert found is not None
    assert README[: found.end()].count("\n") < 25
    source, printed = found.groups()
    done = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, check=True)
    assert done.stdout == printed


def test_every_file_that_it_names_is_there() -> None:
    root = Path(__file__).parents[1]
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        assert (root / target).exists(), target


def test_doctests_of_the_public_modules() -> None:
    import doctest

    from azr_sandbox import recorded

    assert doctest.testmod(recorded).attempted > 0
    assert doctest.testmod(recorded).failed == 0
