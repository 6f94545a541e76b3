"""The log of a run: the table of names, what is written, what a crash leaves, what is read back, the alarms."""

from __future__ import annotations

import importlib
import json
import math
import os
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from azr_agents.metrics import (
    LATELY,
    METRICS,
    TIMES,
    WATCHES,
    File,
    Log,
    Unit,
    describe,
    lately,
    newest,
    read,
    warnings_of,
)
from azr_gym import BadArgument

ROW: dict[str, Any] = {"accuracy/deduction": 0.5, "difficulty/deduction": [1, 0, 3], "entropy": 0.7, "pool": 12}
EVALUATION = {
    "iteration": 0,
    "split": "test",
    "mode": "all",
    "tasks": 9,
    "samples": 8,
    "temperature": 1.0,
    "pass@1": 0.31,
    "pass@1_low": 0.2,
    "pass@1_high": 0.4,
}
SAMPLE = {
    "iteration": 1,
    "role": "solve",
    "mode": "deduction",
    "prompt": "f(1)",
    "text": "1",
    "outcome": "correct",
    "reason": "",
    "reward": 1.0,
    "solve_rate": None,
}

sound = st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(2**60), 2**60)
anything = st.text(max_size=10)


def log(folder: Path, **options: Any) -> Log:
    return Log(folder, **{"tensorboard": False, **options})


def lines(folder: Path, file: File = File.METRICS) -> list[Any]:
    return [json.loads(line) for line in (folder / file).read_text().splitlines()]


def three(folder: Path) -> None:
    """A run of three iterations, with a line of each kind for each."""
    with log(folder) as made:
        for iteration in (1, 2, 3):
            made.write(iteration, {**ROW, "loss": float(iteration)})
            made.evaluation({**EVALUATION, "iteration": iteration})
            made.sample({**SAMPLE, "iteration": iteration})


# The table.


@pytest.mark.parametrize(
    ("name", "pattern", "places"),
    [
        ("reward/solve/deduction", "reward/{role}/{mode}", {"role": "solve", "mode": "deduction"}),
        ("reward/propose/a/b\n.", "reward/{role}/{mode}", {"role": "propose", "mode": "a/b\n."}),
        ("length/propose", "length/{role}", {"role": "propose"}),
        ("task/novelty", "task/{metric}", {"metric": "novelty"}),
        ("entropy", "entropy", {}),
        ("time/rollout", "time/rollout", {}),
    ],
)
def test_a_name_finds_its_row(name: str, pattern: str, places: dict[str, str]) -> None:
    assert describe(name).pattern == pattern
    assert describe(name).match(name) == places


@pytest.mark.parametrize(
    "name",
    [
        "",
        "accuracy",
        "accuracy/",
        "reward/judge/deduction",
        "reward/solve",
        "entropy2",
        "xentropy",
        "time/sleep",
        "iteration",
        "length/deduction",
    ],
)
def test_a_name_that_the_table_lacks_is_refused(name: str) -> None:
    with pytest.raises(BadArgument, match="there is no metric"):
        describe(name)


@given(anything)
def test_every_name_that_a_row_makes_is_that_rows_alone(mode: str) -> None:
    for row in METRICS.values():
        name = row.pattern.format(role="solve", mode="m" + mode, metric="x" + mode)
        assert [other for other in METRICS.values() if other.match(name) is not None] == [row]


def test_every_row_has_a_meaning_in_one_sentence() -> None:
    for row in METRICS.values():
        assert row.meaning[0].isupper(), row
        assert row.meaning.endswith("."), row
        assert ". " not in row.meaning, row


def test_times_are_what_is_counted_in_seconds() -> None:
    assert sorted(TIMES) == ["time/execute", "time/iteration", "time/rollout", "time/update"]
    assert all(describe(name).unit is Unit.SECONDS for name in TIMES)


# Writing.


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"seed": 3}')
    three(tmp_path)
    run = read(tmp_path)
    assert run.config == {"seed": 3}
    assert run.metrics == tuple({"iteration": at, **ROW, "loss": float(at)} for at in (1, 2, 3))
    assert run.evaluations == tuple({**EVALUATION, "iteration": at} for at in (1, 2, 3))
    assert run.samples == tuple({**SAMPLE, "iteration": at} for at in (1, 2, 3))
    assert run.series("loss") == [(1, 1.0), (2, 2.0), (3, 3.0)]
    assert run.names() == [*ROW, "loss"]
    assert run.names("accuracy/{mode}") == ["accuracy/deduction"]


@given(st.dictionaries(anything, sound, max_size=4), st.text(max_size=30))
def test_any_mode_and_any_text_come_back_as_they_were(
    tmp_path_factory: Any, values: dict[str, float], said: str
) -> None:
    folder = tmp_path_factory.mktemp("run")
    row = {f"accuracy/m{mode}": value for mode, value in values.items()}
    with log(folder) as made:
        made.write(0, row)
        made.sample({**SAMPLE, "prompt": said, "text": said, "mode": said, "reason": said})
    run = read(folder)
    assert run.metrics == ({"iteration": 0, **row},)
    assert run.samples[0]["text"] == run.samples[0]["mode"] == run.samples[0]["reason"] == said
    assert (folder / File.SAMPLES).read_bytes().isascii()


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, np.float32("nan")])
def test_what_is_not_finite_is_null_and_a_gap(tmp_path: Path, value: float) -> None:
    with log(tmp_path) as made:
        made.write(1, {"loss": value, "kl": 0.5})
        made.evaluation({**EVALUATION, "pass@1": value})
    assert lines(tmp_path) == [{"iteration": 1, "loss": None, "kl": 0.5}]
    assert lines(tmp_path, File.EVALUATIONS)[0]["pass@1"] is None
    assert read(tmp_path).series("loss") == []
    assert read(tmp_path).names() == ["loss", "kl"]


def test_numpys_numbers_are_numbers(tmp_path: Path) -> None:
    with log(tmp_path) as made:
        made.write(1, {"loss": np.float32(0.5), "pool": np.int64(3), "difficulty/x": np.array([1, 2])})  # type: ignore[dict-item]
    assert lines(tmp_path) == [{"iteration": 1, "loss": 0.5, "pool": 3, "difficulty/x": [1, 2]}]


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("acuracy/deduction", 0.5, "there is no metric"),
        ("accuracy/deduction", [1, 2], "one number"),
        ("accuracy/deduction", "0.5", "one number"),
        ("accuracy/deduction", None, "one number"),
        ("accuracy/deduction", True, "one number"),
        ("difficulty/deduction", 3, "list of counts"),
        ("difficulty/deduction", [], "list of counts"),
        ("difficulty/deduction", "12", "list of counts"),
        ("difficulty/deduction", [1, -1], "list of counts"),
        ("difficulty/deduction", [0.5], "list of counts"),
    ],
)
def test_a_wrong_name_or_value_is_refused_and_nothing_is_written(
    tmp_path: Path, name: str, value: Any, says: str
) -> None:
    made = log(tmp_path)
    with pytest.raises(BadArgument, match=says):
        made.write(1, {"loss": 1.0, name: value})
    assert not (tmp_path / File.METRICS).exists()
    made.write(1, {"loss": 1.0})
    assert len(lines(tmp_path)) == 1


@pytest.mark.parametrize(
    "change",
    [
        {"iteration": -1},
        {"iteration": 1.5},
        {"iteration": None},
        {"mode": None},
        {"split": 3},
        {"temperature": math.nan},
        {"pass@1": "all"},
        {"note": {1, 2}},
    ],
)
def test_a_wrong_evaluation_is_refused_and_nothing_is_written(tmp_path: Path, change: dict[str, Any]) -> None:
    with pytest.raises(BadArgument, match="evaluations"):
        log(tmp_path).evaluation({**EVALUATION, **change})
    assert not (tmp_path / File.EVALUATIONS).exists()


def test_what_else_a_sample_says_stays_as_it_is(tmp_path: Path) -> None:
    more = {"finished": True, "facts": [1, "a", None], "wall_s": np.float32(0.5)}
    log(tmp_path).sample({**SAMPLE, **more})
    assert (tmp_path / File.SAMPLES).read_text().endswith('"finished": true, "facts": [1, "a", null], "wall_s": 0.5}\n')


@pytest.mark.parametrize("field", ["iteration", "role", "mode", "prompt", "text", "outcome"])
def test_a_sample_without_a_field_is_refused(tmp_path: Path, field: str) -> None:
    with pytest.raises(BadArgument, match=field):
        log(tmp_path).sample({key: value for key, value in SAMPLE.items() if key != field})


def test_an_iteration_is_written_once_also_by_a_second_log(tmp_path: Path) -> None:
    three(tmp_path)
    made = log(tmp_path)
    for iteration in (1, 3):
        with pytest.raises(BadArgument, match="resume_at"):
            made.write(iteration, ROW)
    made.write(4, ROW)
    with pytest.raises(BadArgument, match="up to iteration 4"):
        made.write(4, ROW)
    assert [row["iteration"] for row in lines(tmp_path)] == [1, 2, 3, 4]


def test_a_line_is_on_the_disk_before_the_log_is_closed(tmp_path: Path) -> None:
    made = log(tmp_path)
    made.write(1, ROW)
    assert len(read(tmp_path).metrics) == 1


# After a crash.


@pytest.mark.parametrize("at", [0, 1, 2, 3, 9])
def test_a_resumed_run_forgets_what_came_later(tmp_path: Path, at: int) -> None:
    three(tmp_path)
    with log(tmp_path, resume_at=at) as made:
        for file in File:
            assert [row["iteration"] for row in lines(tmp_path, file)] == [one for one in (1, 2, 3) if one <= at]
        made.write(at + 1, ROW)
    assert lines(tmp_path)[-1]["iteration"] == at + 1
    assert not list(tmp_path.glob(".*")), "nothing is left beside the files"


@given(st.integers(0, 200), st.sampled_from(list(File)))
def test_wherever_a_line_was_torn_the_lines_before_it_are_whole(tmp_path_factory: Any, cut: int, file: File) -> None:
    folder = tmp_path_factory.mktemp("run")
    three(folder)
    whole = (folder / file).read_bytes()
    (folder / file).write_bytes(whole[: max(0, len(whole) - cut)])
    left = whole[: max(0, len(whole) - cut)]
    count = left.count(b"\n") + (cut > 0 and whole[len(left) : len(left) + 1] == b"\n")
    rows = {
        File.METRICS: read(folder).metrics,
        File.EVALUATIONS: read(folder).evaluations,
        File.SAMPLES: read(folder).samples,
    }
    assert [row["iteration"] for row in rows[file]] == [1, 2, 3][:count]
    log(folder)
    assert (folder / file).read_bytes() == b"".join(whole.splitlines(keepends=True)[:count])


@pytest.mark.parametrize(
    "torn", [b"\xff\xfe", b"\0\0\0", b'{"iteration": 4, "text": "\xc3', b"[[[[", b'"', b"4", b"null", b"[" * 100_000]
)
def test_any_torn_end_is_left_out(tmp_path: Path, torn: bytes) -> None:
    three(tmp_path)
    with (tmp_path / File.METRICS).open("ab") as file:
        file.write(torn)
    assert len(read(tmp_path).metrics) == 3
    log(tmp_path, resume_at=3).write(4, ROW)
    assert [row["iteration"] for row in lines(tmp_path)] == [1, 2, 3, 4]


BROKEN = [b"{", b"", b"null", b"[]", b"\xff", b'{"iteration": "1"}', b'{"iteration": true}', b'{"iteration": -1}', b"{}", b'{"iteration": 1e3}', b"[" * 100_000, b'{"iteration": 2, "loss": "low"}', b'{"iteration": 2, "loss": 1' + b"0" * 400 + b"}", b'{"iteration": 2, "difficulty/x": ["1"]}', b'{"iteration": 2, "loss": 1e999}']  # fmt: skip


@pytest.mark.parametrize("broken", BROKEN, ids=lambda line: repr(line[:24]))
def test_damage_inside_a_file_is_named_with_file_and_line(tmp_path: Path, broken: bytes) -> None:
    three(tmp_path)
    rows = (tmp_path / File.METRICS).read_bytes().splitlines()
    (tmp_path / File.METRICS).write_bytes(b"\n".join([rows[0], broken, rows[2], b""]))
    for attempt in (lambda: read(tmp_path), lambda: log(tmp_path, resume_at=1)):
        with pytest.raises(BadArgument, match=r"metrics\.jsonl, line 2: "):
            attempt()


@pytest.mark.parametrize(
    ("file", "change"),
    [(File.EVALUATIONS, {"mode": 3}), (File.EVALUATIONS, {"pass@8": "x"}), (File.SAMPLES, {"text": None})],
)
def test_a_field_of_the_wrong_kind_is_damage(tmp_path: Path, file: File, change: dict[str, Any]) -> None:
    three(tmp_path)
    with (tmp_path / file).open("a") as out:
        out.write(json.dumps({**(EVALUATION if file is File.EVALUATIONS else SAMPLE), **change}) + "\n")
    with pytest.raises(BadArgument, match=rf"{file}, line 4: {next(iter(change))}"):
        read(tmp_path)


@pytest.mark.parametrize("config", ["{", "[]", "\udcff", "[" * 100_000])
def test_damaged_settings_are_named(tmp_path: Path, config: str) -> None:
    (tmp_path / "config.json").write_bytes(config.encode(errors="surrogateescape"))
    with pytest.raises(BadArgument, match=r"config\.json"):
        read(tmp_path)


def test_an_empty_folder_is_an_empty_run_and_no_folder_is_none(tmp_path: Path) -> None:
    run = read(tmp_path)
    assert (run.config, run.metrics, run.evaluations, run.samples) == ({}, (), (), ())
    with pytest.raises(BadArgument, match="no such folder"):
        read(tmp_path / "there")


def test_a_cut_that_fails_leaves_the_file_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    three(tmp_path)
    before = (tmp_path / File.METRICS).read_bytes()

    def full(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="disk full"):
        log(tmp_path, resume_at=1)
    assert (tmp_path / File.METRICS).read_bytes() == before
    assert not list(tmp_path.glob(".*"))


def test_who_reads_while_a_file_is_cut_sees_all_of_it(tmp_path: Path) -> None:
    three(tmp_path)
    whole = (tmp_path / File.METRICS).read_bytes()
    with (tmp_path / File.METRICS).open("rb") as reader:
        log(tmp_path, resume_at=1)
        assert reader.read() == whole
    assert len(lines(tmp_path)) == 1


def test_words_for_numbers_that_are_none_are_read_as_none(tmp_path: Path) -> None:
    (tmp_path / File.METRICS).write_text('{"iteration": 1, "loss": NaN, "kl": -Infinity}\n')
    assert read(tmp_path).metrics == ({"iteration": 1, "loss": None, "kl": None},)


def test_a_negative_iteration_to_resume_at_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadArgument, match="resume_at"):
        log(tmp_path, resume_at=-1)


# TensorBoard and trackers.


def events(folder: Path) -> Any:
    from tensorboard.backend.event_processing.event_accumulator import (  # type: ignore[import-untyped]
        EventAccumulator,
    )

    found = EventAccumulator(str(folder / "tensorboard"))
    found.Reload()
    return found


def test_tensorboard_gets_scalars_histograms_and_evaluations(tmp_path: Path) -> None:
    with Log(tmp_path) as made:
        made.write(1, {**ROW, "loss": math.nan, "difficulty/empty": [0, 0], "valid/\ud800": 0.5})
        made.evaluation(EVALUATION)
        made.evaluation({**EVALUATION, "temperature": 0.0})
    found = events(tmp_path)
    tags = set(found.Tags()["scalars"])
    held_out = {"held_out/test/all/pass@1", "held_out/test/all/pass@1_greedy"}
    assert {"accuracy/deduction", "entropy", "pool"} | held_out <= tags
    assert "loss" not in tags
    assert found.Tags()["histograms"] == ["difficulty/deduction"]
    assert [(event.step, event.value) for event in found.Scalars("accuracy/deduction")] == [(1, 0.5)]
    value = found.Histograms("difficulty/deduction")[0].histogram_value
    assert (value.num, value.sum, value.sum_squares, value.min, value.max) == (4, 6, 12, 0, 2)
    assert (list(value.bucket_limit), list(value.bucket)) == ([0.5, 1.5, 2.5], [1, 0, 3])


def test_a_resumed_run_has_no_second_curve_in_tensorboard(tmp_path: Path) -> None:
    for value, options in ((0.25, {}), (0.75, {"resume_at": 1})):
        with Log(tmp_path, **options) as made:  # type: ignore[arg-type]
            for iteration in range(2 if options else 1, 4):
                made.write(iteration, {"entropy": value})
    assert [event.value for event in events(tmp_path).Scalars("entropy")] == [0.25, 0.75, 0.75]


class Recorder(types.ModuleType):
    """A tracker that remembers what it was told."""

    def __init__(self) -> None:
        super().__init__("tracker")
        self.calls: list[tuple[str, Any]] = []

    def init(self, **options: Any) -> None:
        self.calls.append(("init", options))

    def log(self, values: dict[str, float], step: int) -> None:
        self.calls.append((f"log {step}", values))

    def finish(self) -> None:
        self.calls.append(("finish", None))


@pytest.mark.parametrize("track", ["wandb", "trackio"])
def test_a_tracker_gets_settings_and_scalars(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, track: str) -> None:
    tracker = Recorder()
    monkeypatch.setitem(sys.modules, track, tracker)
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "config.json").write_text('{"seed": 3}')
    with log(folder, track=track) as made:
        made.write(1, {**ROW, "loss": math.inf})
        made.evaluation({**EVALUATION, "iteration": 1})
    made.close()
    assert [name for name, _ in tracker.calls] == ["init", "log 1", "log 1", "finish"]
    assert tracker.calls[0][1] == {"project": "azr-gym", "name": "mine", "config": {"seed": 3}}
    assert tracker.calls[1][1] == {"accuracy/deduction": 0.5, "entropy": 0.7, "pool": 12}
    assert tracker.calls[2][1]["held_out/test/all/pass@1"] == 0.31


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"track": "wandb"}, r"azr-gym\[track\]"),
        ({"track": "trackio"}, r"azr-gym\[track\]"),
        ({"track": "paper"}, "wandb"),
        ({"tensorboard": True}, r"azr-gym\[agents\]"),
    ],
)
def test_a_missing_package_is_named_before_anything_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any], says: str
) -> None:
    real = importlib.import_module

    def without(name: str, package: str | None = None) -> Any:
        if name in ("wandb", "trackio", "torch.utils.tensorboard"):
            raise ModuleNotFoundError(f"No module named {name!r}")
        return real(name, package)

    monkeypatch.setattr(importlib, "import_module", without)
    with pytest.raises(BadArgument, match=says):
        log(tmp_path / "run", **options)
    assert not (tmp_path / "run").exists()


# Alarms.

WELL = {
    "unique/deduction": 0.9,
    "unique/induction": 0.15,
    "learnable/a": 0.0,
    "learnable/b": 0.1,
    "valid/deduction": 0.1,
    "entropy": 0.05,
    "clip_fraction": 0.05,
    "loss": 1.0,
}


@pytest.mark.parametrize(
    ("change", "parts"),
    [
        ({}, None),
        (
            {"unique/deduction": 0.149},
            ("repeats itself", "15%", "deduction", "proposer_kl", "proposer_weight", 'proposer="copy"'),
        ),
        ({"learnable/b": 0.099}, ("nothing left to learn", "5.0%", "proposer_weight")),
        ({"valid/deduction": 0.09}, ("9.0%", "deduction", "accepted", "proposer_kl", "lr")),
        ({"entropy": 0.049}, ("0.049", "nats", "lr")),
        ({"clip_fraction": 0.051}, ("5.1%", "clipped", "lr")),
        ({"loss": math.nan}, ("not a finite number", "lr")),
        ({"grad_norm": None}, ("not a finite number", "checkpoint")),
        ({"unique/{x}": 0.0}, ("{x}",)),
        ({"unique/deduction": None}, None),
        ({"entropy": math.nan}, None),
        ({"loss": np.float32(2.0)}, None),
    ],
)
def test_an_alarm_says_what_is_wrong_and_what_to_do(change: dict[str, Any], parts: tuple[str, ...] | None) -> None:
    found = warnings_of({**WELL, **change})
    assert len(found) == (parts is not None)
    assert all(part in message for message in found for part in parts or ())


def test_no_metrics_no_alarm() -> None:
    assert warnings_of({}) == []


def test_the_newest_row_is_the_last_whole_one(tmp_path: Path) -> None:
    assert newest(tmp_path) is None
    for text, found in (("", None), ('{"iter', None), ('{"a": 1}\n', 1), ('{"a": 1}\n{"a": 2}\n{"a"', 2)):
        (tmp_path / File.METRICS).write_text(text)
        row = newest(tmp_path)
        assert (row and row["a"]) == found


def test_lately_is_the_mean_of_the_last_iterations_and_nothing_of_fewer() -> None:
    rows = [{"iteration": at, "valid/deduction": at % 2, "difficulty/deduction": [1, 2]} for at in range(20)]
    assert lately(rows[: LATELY - 1]) == {}
    found = lately(rows)
    assert found["valid/deduction"] == pytest.approx(np.mean([row["valid/deduction"] for row in rows[-LATELY:]]))
    assert "difficulty/deduction" not in found
    assert warnings_of(found) == []
    assert len(warnings_of(lately([{**row, "valid/deduction": 0} for row in rows]))) == 1
    broken = [*rows[:-1], {**rows[-1], "valid/deduction": 1, "loss": math.nan}]
    assert warnings_of(lately([{"loss": 1.0, **row} for row in broken]))


@given(
    st.dictionaries(
        st.sampled_from([watch.pattern.format(mode="x") for watch in WATCHES]), st.floats() | st.none() | sound
    )
)
def test_whatever_the_values_are_there_is_an_answer(values: dict[str, Any]) -> None:
    assert len(warnings_of(values)) <= len(values)
