"""What all tests share: Hypothesis profiles, and the real runners or the reason why one is missing."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from azr_sandbox import Runner, SandboxError, make_runner
from azr_sandbox.runner import BoxRunner

_COMMON = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow, HealthCheck.function_scoped_fixture]}
settings.register_profile("test", derandomize=True, **_COMMON)  # type: ignore[arg-type]
settings.register_profile("long", max_examples=1000, print_blob=True, **_COMMON)  # type: ignore[arg-type]
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "test"))

REAL = ("docker", "jail")


def missing(name: str, reason: str) -> None:
    """Skip, in one line; or fail where AZR_REQUIRE names what is missing."""
    if name in os.environ.get("AZR_REQUIRE", "").split(","):
        pytest.fail(f"AZR_REQUIRE names {name}, but: {reason}")
    pytest.skip(f"{name} is missing: {reason}")


@functools.cache
def _start(name: str) -> BoxRunner | str:
    try:
        runner = make_runner(name)  # type: ignore[arg-type]
        assert isinstance(runner, BoxRunner)
        return runner
    except SandboxError as error:
        return str(error)


def real(name: str) -> BoxRunner:
    """The real runner of that name, started once; skips where it can not be had."""
    runner = _start(name)
    if isinstance(runner, str):
        missing(name, runner)
        raise AssertionError("unreachable")
    return runner


@pytest.fixture(scope="session", autouse=True)
def _close_runners() -> Iterator[None]:
    yield
    for name in REAL:
        runner = _start(name) if _start.cache_info().currsize else ""
        if not isinstance(runner, str):
            runner.close()


@pytest.fixture(params=REAL)
def runner(request: pytest.FixtureRequest) -> BoxRunner:
    """Each real runner in turn."""
    return real(request.param)


@pytest.fixture
def any_runner() -> Runner:
    """One real runner: Docker's, else the jail's."""
    return real("docker" if not isinstance(_start("docker"), str) else "jail")
