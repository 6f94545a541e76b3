"""A base that is made once."""

from __future__ import annotations

from pathlib import Path

import pytest
from agents.small import make_base


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model directory of `small.make_base`."""
    return make_base(tmp_path_factory.mktemp("base"))
