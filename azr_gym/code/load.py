"""Loads tasks from files of other people: CRUXEval's shape, and JSON Lines of your own.

Whatever stands in such a file is run in the box alone: inputs and outputs may be expressions, and a row becomes a task
only if its program, run twice, gives one value, the one that the file says.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from azr_sandbox import Call, CallStatus, NotPlainData, Program, Runner, RunStatus, make_runner, values

from ..errors import BadPoolFile, BadTask
from ..roles import choose
from .prompts import ending
from .triplet import ENTRY, Mode, Triplet

_MAX_ROW = 100_000  # characters of a program, an input or an output
_PROGRAM, _INPUT = ("code", "program"), ("input", "arguments")


@dataclass(frozen=True, slots=True)
class Skipped:
    """A row that did not become a task: its number from 1, and why."""

    row: int
    reason: str


def load_tasks(
    path: str | os.PathLike[str],
    runner: Runner | str = "auto",
    modes: Iterable[Mode | str] = (Mode.DEDUCTION, Mode.ABDUCTION),
) -> tuple[list[Triplet], list[Skipped]]:
    """Read triplets from JSON Lines.

    Args:
        path: one object a line with `code` (or `program`), `input` (or `arguments`) and, if known, `output`. Input and
            output are Python expressions, "[1, 2], 'a'"; the function is called `f`. That is CRUXEval's shape
            (arXiv 2401.03065); other keys are passed over.
        runner: the box in which programs and expressions run; by its name, one is made and closed.
        modes: one triplet is made for each.

    Returns:
        The tasks, row by row, and the rows that are none: those that raise, are not deterministic, are too long, or
        give something else than the file says.

    Raises:
        BadPoolFile: a line that is no JSON object, or has no program or input.
        FileNotFoundError: nothing is there.
    """
    if isinstance(runner, str):
        with make_runner(runner) as made:  # type: ignore[arg-type]
            return load_tasks(path, made, modes)
    kinds = [choose(Mode, mode, "mode") for mode in modes]
    lines = Path(path).read_bytes().split(b"\n")
    rows = [_row(path, number, line) for number, line in enumerate(lines, 1) if line.strip()]
    skipped = {row.number: f"more than {_MAX_ROW:,} characters" for row in rows if row.size > _MAX_ROW}
    rows = [row for row in rows if row.number not in skipped]
    given = _evaluate(runner, [f"[{row.given}\n]" for row in rows], [row.number for row in rows], skipped)
    told = [row for row in rows if row.output is not None and row.number in given]
    outputs = _evaluate(runner, [f"[{row.output}\n]" for row in told], [row.number for row in told], skipped)
    able = [row for row in rows if row.number in given and row.number not in skipped]
    runs = runner.run([Program(row.program, [given[row.number]], ENTRY) for row in able], times=2)
    tasks: list[Triplet] = []
    for row, run in zip(able, runs, strict=True):
        call = run.calls[0]
        if run.status is RunStatus.NONDETERMINISTIC:
            skipped[row.number] = "gives different results when it is run again"
        elif call.status is not CallStatus.OK:
            skipped[row.number] = f"the program {ending(call)}"
        elif row.number in outputs and not values.equal(outputs[row.number], [call.value]):
            skipped[row.number] = "gives another output than the file says"
        else:
            try:
                tasks += [Triplet.of(kind, row.program, given[row.number], call.value) for kind in kinds]
            except BadTask as error:
                skipped[row.number] = str(error)
    return tasks, [Skipped(number, reason) for number, reason in sorted(skipped.items())]


@dataclass(frozen=True, slots=True)
class _Row:
    number: int
    program: str
    given: str
    output: str | None

    @property
    def size(self) -> int:
        return max(len(self.program), len(self.given), len(self.output or ""))


def _row(path: object, number: int, line: bytes) -> _Row:
    try:
        data: Any = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise BadPoolFile(f"{path}, line {number}: no JSON ({error})") from None
    if not isinstance(data, Mapping):
        raise BadPoolFile(f"{path}, line {number}: an object is wanted, with code and input")
    program = next((data[key] for key in _PROGRAM if key in data), None)
    given = next((data[key] for key in _INPUT if key in data), None)
    output = data.get("output")
    if not isinstance(program, str) or not isinstance(given, str) or not isinstance(output, str | None):
        raise BadPoolFile(f"{path}, line {number}: code and input (and output, where it is known) must be texts")
    return _Row(number, program, given, output)


def _evaluate(
    runner: Runner, expressions: Sequence[str], numbers: Sequence[int], skipped: dict[int, str]
) -> dict[int, Any]:
    """Values by row: read as data where that is all they are, evaluated in the box where not."""
    found: dict[int, Any] = {}
    harder: list[tuple[int, str]] = []
    for number, expression in zip(numbers, expressions, strict=True):
        try:
            found[number] = values.parse(expression)
        except NotPlainData:
            harder.append((number, expression))
    calls: list[Call] = runner.evaluate([expression for _, expression in harder]) if harder else []
    for (number, _), call in zip(harder, calls, strict=True):
        if call.status is CallStatus.OK:
            found[number] = call.value
        else:
            skipped[number] = f"its input or output {ending(call)}"
    for number in [number for number, value in found.items() if type(value) is not list]:
        del found[number]  # brackets of its own
        skipped[number] = "its input or output is no list of expressions"
    return found
