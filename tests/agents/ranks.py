"""Two processes that meet over gloo: for what must come out alike however many ranks there are."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from agents.small import spawn

NO_GLOO = 77
PATIENCE = timedelta(seconds=100)  # with a rank that waits for another in vain


def two_ranks(work: Callable[[int], Any], folder: Path) -> list[Any]:
    """What `work(rank)` gives on each of two ranks. It is a function of a module: the processes look it up there."""
    if not (dist.is_available() and dist.is_gloo_available()):
        pytest.skip("gloo is missing: this build of torch has none")
    ranks = [spawn(_rank, work, rank, folder) for rank in (0, 1)]
    try:
        for one in ranks:
            one.join(2 * PATIENCE.seconds)
    finally:
        for one in ranks:
            one.kill()
    said = "\n".join(path.read_text() for path in sorted(folder.glob("*.txt")))
    codes = [one.exitcode for one in ranks]
    if NO_GLOO in codes:
        pytest.skip(f"gloo is missing: {said[:200]}")
    assert codes == [0, 0], said
    return [torch.load(folder / f"{rank}.pt") for rank in (0, 1)]


def _rank(work: Callable[[int], Any], rank: int, folder: Path) -> None:
    try:
        dist.init_process_group("gloo", f"file://{folder}/meet", PATIENCE, world_size=2, rank=rank)
    except (RuntimeError, ValueError) as error:
        (folder / f"{rank}.txt").write_text(str(error))
        sys.exit(NO_GLOO)
    try:
        torch.save(work(rank), folder / f"{rank}.pt")
    except BaseException:
        (folder / f"{rank}.txt").write_text(traceback.format_exc())
        raise
    dist.destroy_process_group()
