"""Writes the README's tables of measured numbers from the recorded results: `python tests/bench/readme.py`."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "examples" / "results"
BOX = [  # (what the reader is told, name in the record, unit)
    ("small programs, all cores", "trivial, programs/s", " /s"),
    ("one program with 8 calls", "8 calls a program, calls/s", " calls/s"),
    ("one program with 64 calls", "64 calls a program, calls/s", " calls/s"),
    ("ordinary programs (19 lines), checked by two runs", "ordinary with times=2, programs/s", " /s"),
    ("one small program alone, median", "single run median, ms", " ms"),
    ("a pebble pool as AZR uses it, 8 calls a program", "pebble's best at 8 calls, calls/s", " calls/s"),
    ("a pebble pool, 50 calls to a task, no guard, 8 calls", "pebble, bare, 50 a task, 8 calls, calls/s", " calls/s"),
    ("small programs, against a fresh `python -I -c` each", "trivial, x fresh python -I -c", " x"),
    ("small programs, against `docker exec` each", "trivial, x docker exec", " x"),
    ("small programs, against fork + compile + pipe, times cores", "trivial, x floor times cores", " x"),
    ("small programs, against the pool as AZR uses it, one by one", "trivial, x pebble one by one", " x"),
    ("8 calls a program, against the pool as AZR uses it", "8 calls a program, x pebble's best", " x"),
    ("64 calls a program, against the pool as AZR uses it", "64 calls a program, x pebble's best", " x"),
    ("two runs of ordinary programs, against one", "times=2, x one run", " x"),
    ("programs with six imports, against none", "six imports, x none", " x"),
    ("10 endless loops (1 s) among 200, against their 5 s", "10 loops of 1 s among 200, x the 5 s they need", " x"),
    ("p99 of a single run, against the median", "single run p99, x median", " x"),
]
ENVIRONMENT = [
    ("solve deduction, answers bare (CPU of one core)", "deduction steps/s", " steps/s", ">= 20,000"),
    ("solve deduction, answers in tags (CPU of one core)", "deduction steps/s, answers in tags", " steps/s", ""),
    ("solve abduction", "abduction steps/s", " steps/s", ""),
    ("solve induction", "induction steps/s", " steps/s", ""),
    ("propose", "propose steps/s", " steps/s", ""),
    ("abduction, against the bare box", "abduction / programs/s", " x", ">= 0.8"),
    ("induction (two runs of five calls), against the bare box", "induction / programs/s", " x", ">= 0.35"),
    ("propose (two runs), against the bare box", "propose / programs/s", " x", ">= 0.35"),
    ("64 batched, against 64 single environments", "64 batched / 64 single", " x", ""),
    ("inserts into a pool of a million", "pool inserts/s, fifo", " /s", ""),
    ("samples from it, by learnability", "pool samples/s, fifo, learnability", " /s", ""),
]
CLINIC = [
    ("the engine, all rules, a batch (CPU of one core)", "engine, patients/s", " patients/s", ">= 50,000"),
    ("the same with proofs", "engine, patients/s, with proofs", " patients/s", ""),
    ("the engine, one patient alone", "one patient alone, ms", " ms", "<= 5.0"),
    ("the engine in a batch, against rules read one by one", "engine / naive engine", " x", ""),
    ("solve deduction in text, from a filled pool", "deduction steps/s", " steps/s", ">= 20,000"),
    ("the same, a thought before each answer", "deduction steps/s, after thoughts of their own", " steps/s", ""),
    ("solve abduction", "abduction steps/s", " steps/s", ""),
    ("propose", "proposals judged/s", " /s", ""),
    ("patients generated", "tasks generated/s", " /s", ""),
    ("`import azr_gym`, once gymnasium is there", "import beside gymnasium, s", " s", "<= 0.15"),
]
LEARNER = [
    ("a step, prompts of 64, against TRL's GRPOTrainer (CPU of one core)", "x TRL, prompts of 64", " x", ">= 2"),
    ("the same, prompts of 512", "x TRL, prompts of 512", " x", ">= 4"),
    (
        "self-play, 4,096 tasks an iteration, one H200, other runs on its host",
        "new tokens/s",
        " new tokens/s",
        ">= 150,000",
    ),
    ("of its time: sampling", "share of rollout", "", ""),
    ("judging, in 16 processes", "share of execute", "", ""),
    ("learning", "share of update", "", ""),
]


def number(value: float) -> str:
    """As a reader wants it."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 30 else f"{value:.2f}"


def missed(value: float, aim: str) -> str:
    """A remark where a number misses its aim."""
    parts = re.match(r"(>=|<=) ([\d.,]+)$", aim)
    if parts is None:
        return ""
    goal = float(parts[2].replace(",", ""))
    return "" if (value >= goal if parts[1] == ">=" else value <= goal) else " (missed)"


def box_table() -> str:
    """The sandbox's."""
    runners: dict[str, Any] = json.loads((RESULTS / "sandbox_bench.json").read_text())["runners"]
    lines = ["| 2 cores of a virtual machine, Python 3.11 | docker | jail | our aim |", "| --- | --- | --- | --- |"]
    for told, name, unit in BOX:
        cells, aim = [], ""
        for runner in ("docker", "jail"):
            ratio = runners[runner]["ratios"].get(name)
            value = ratio["is"] if ratio else runners[runner]["measured"].get(name)
            aim = ratio["wanted"] if ratio else aim
            cells.append("" if value is None else number(value) + unit + missed(value, aim))
        lines.append(f"| {told} | {cells[0]} | {cells[1]} | {aim.replace('aim ', '')} |")
    return "\n".join(lines)


def environment_table() -> str:
    """`CodeTriplet-v0`'s."""
    record = json.loads((RESULTS / "code_bench.json").read_text())
    return rows(f"`CodeTriplet-v0`, batches of 256, {record['machine']['runner']}", ENVIRONMENT, record)


def clinic_table() -> str:
    """`ClinicalCase-v0`'s."""
    record = json.loads((RESULTS / "clinical_bench.json").read_text())
    sizes = record["sizes"]
    busy = f"; {record['machine']['load']:.0f} processes on {record['machine']['cores']} cores meanwhile"
    return rows(
        f"`ClinicalCase-v0`, {sizes['rules']} rules, batches of 256 and {sizes['patients']:,}{busy}", CLINIC, record
    )


def learner_table() -> str:
    """The learner's, on a CPU and on a GPU."""
    parts = [json.loads((RESULTS / f"{name}_bench.json").read_text())["medians"] for name in ("agents", "gpu")]
    return rows("the learner, a model of a million parameters", LEARNER, {"medians": parts[0] | parts[1]})


def rows(title: str, told_of: list[tuple[str, str, str, str]], record: Any) -> str:
    """The table of one environment."""
    lines = [f"| {title} | | our aim |", "| --- | --- | --- |"]
    for told, name, unit, aim in told_of:
        value = record["medians"][name]
        lines.append(f"| {told} | {number(value)}{unit}{missed(value, aim)} | {aim} |")
    return "\n".join(lines)


def filled(text: str) -> str:
    """The README with its tables made anew."""
    tables = {"environment": environment_table, "clinic": clinic_table, "learner": learner_table, "box": box_table}
    for mark, table in tables.items():
        before, _, rest = text.partition(f"<!-- {mark} -->\n")
        text = f"{before}<!-- {mark} -->\n{table()}\n<!-- end -->{rest.partition('<!-- end -->')[2]}"
    return text


if __name__ == "__main__":
    readme = ROOT / "README.md"
    readme.write_text(filled(readme.read_text()))
