"""Tasks from files: rows become tasks only where the box agrees; expressions run in the box and nowhere else."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from azr_gym import BadPoolFile
from azr_gym.code import Mode, Skipped, load_tasks
from azr_sandbox import Runner

ROWS: list[tuple[dict[str, object], str | None]] = [
    ({"code": "def f(x):\n    return x[::-1]", "input": "[1, 2]", "output": "[2, 1]", "id": "sample_0"}, None),
    ({"code": "def f(a, b):\n    return a * b", "input": "'ab'.upper(), 2", "output": "'AB' * 2"}, None),
    ({"program": "def f(x):\n    return sum(x)", "arguments": "range(4)"}, "plain data"),
    ({"program": "def f(x):\n    return sum(x)", "arguments": "list(range(4))"}, None),
    ({"code": "def f(x):\n    return x + 1", "input": "1", "output": "3"}, "another output"),
    ({"code": "def f(x):\n    return x[9]", "input": "[]", "output": "0"}, "IndexError"),
    ({"code": "def f(x):\n    return str(object())", "input": "1"}, "different results"),
    ({"code": "def f(x):\n    return 'a' * x", "input": "5000"}, "limit"),
    ({"code": "def f(x):\n    return x", "input": "1 +"}, "SyntaxError"),
    ({"code": "def f(x):\n    return x", "input": "open('/tmp/azr_was_here', 'w')"}, "raised|stopped"),
    ({"code": "def f(x)", "input": "1"}, "SyntaxError"),
]


def write(path: Path, rows: list[object]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_rows_become_tasks_where_the_box_agrees_and_are_named_where_not(any_runner: Runner, tmp_path: Path) -> None:
    tasks, skipped = load_tasks(write(tmp_path / "rows.jsonl", [row for row, _ in ROWS]), any_runner)
    good = [row for row, reason in ROWS if reason is None]
    assert len(tasks) == 2 * len(good)
    assert [task.mode for task in tasks[:2]] == [Mode.DEDUCTION, Mode.ABDUCTION]
    assert tasks[2].arguments == "'AB', 2"
    assert tasks[2].output == "'ABAB'"
    assert tasks[4].arguments == "[0, 1, 2, 3]"
    wanted = [(number, reason) for number, (_, reason) in enumerate(ROWS, 1) if reason]
    assert [one.row for one in skipped] == [number for number, _ in wanted]
    for one, (_, reason) in zip(skipped, wanted, strict=True):
        assert isinstance(one, Skipped)
        assert re.search(str(reason), one.reason), one
    assert not Path("/tmp/azr_was_here").exists()


def test_the_modes_are_a_choice(any_runner: Runner, tmp_path: Path) -> None:
    tasks, _ = load_tasks(write(tmp_path / "rows.jsonl", [ROWS[0][0]]), any_runner, ["abduction"])
    assert [task.mode for task in tasks] == [Mode.ABDUCTION]


@pytest.mark.parametrize("line", ["not json", "[1]", '{"code": "def f(x): return x"}', '{"code": 3, "input": "1"}'])
def test_a_line_that_is_no_row_is_named_with_file_and_line(any_runner: Runner, tmp_path: Path, line: str) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps(ROWS[0][0]) + "\n" + line + "\n")
    with pytest.raises(BadPoolFile, match=r"rows.jsonl, line 2"):
        load_tasks(path, any_runner)
