"""A base that is made once, and Ctrl-C as a terminal has it."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
from agents.small import make_base

signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs inherit that it is ignored


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model directory of `small.make_base`."""
    return make_base(tmp_path_factory.mktemp("base"))
