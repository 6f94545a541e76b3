"""Several runs side by side: each comes to what it comes to alone, and what stops one is said."""

from __future__ import annotations

import io
import os
import signal
from pathlib import Path
from typing import Any

from agents.small import config, spawn
from agents.test_train import assert_equal_runs, wait_for_rows
from rich.console import Console

from azr_agents import metrics
from azr_agents.beside import SAID, train_beside
from azr_agents.checkpoint import latest
from azr_agents.config import Config
from azr_agents.train import train


def settings(base: Path, out: Path, **changes: Any) -> Config:
    return config(model=str(base), out=out, **changes)


def heard() -> tuple[Console, io.StringIO]:
    """A console, and what is printed there."""
    file = io.StringIO()
    return Console(file=file, width=100), file


def test_side_by_side_is_as_alone(base: Path, tmp_path: Path) -> None:
    console, file = heard()
    both = [settings(base, tmp_path / f"run{seed}", seed=seed) for seed in (0, 1)]
    assert train_beside(both, console)
    for one in both:
        alone = train(settings(base, tmp_path / "alone" / one.out.name, seed=one.seed))
        assert_equal_runs(alone, one.out)
        assert one.out.name in file.getvalue()
        assert (one.out / SAID).read_text() in file.getvalue()
    assert "gain: of pass@1, since the start" in (both[0].out / SAID).read_text()


def test_what_stops_one_is_said_and_the_other_goes_to_its_end(base: Path, tmp_path: Path) -> None:
    console, file = heard()
    weak, fine = settings(base, tmp_path / "weak", base_floor=1.0), settings(base, tmp_path / "fine")
    assert not train_beside([weak, fine], console)
    said = " ".join(file.getvalue().split())
    assert "base_floor" in said
    assert said.count("did not come to its end (exit status 1)") == 1
    assert metrics.read(fine.out).metrics[-1]["iteration"] == fine.iterations
    assert (fine.out / "report.html").is_file()


def _beside(configs: list[Config]) -> None:
    train_beside(configs, Console(quiet=True))


def test_ctrl_c_saves_every_run(base: Path, tmp_path: Path) -> None:
    both = [settings(base, tmp_path / f"run{seed}", seed=seed, iterations=1000) for seed in (0, 1)]
    child = spawn(_beside, both)
    for one in both:
        wait_for_rows(one.out, 2, child)
    os.killpg(child.pid, signal.SIGINT)
    child.join(60)
    assert child.exitcode == 0
    for one in both:
        assert "Go on with the same settings and --resume" in (one.out / SAID).read_text().replace("\n", " ")
        place = latest(one.out)
        assert place is not None
        assert int(place.name) == metrics.read(one.out).metrics[-1]["iteration"] < one.iterations
