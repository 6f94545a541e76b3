"""The attack corpus, one test per attack and runner, without the screen. `attacks.jsonl` says what must hold.

refused: no value came out and the effect did not happen (in the group `nondet`: nothing came out of two runs);
killed, timeout: that status; harmless: any value without BREACH.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from azr_sandbox import CallStatus, NotPlainData, Program, RunStatus, values
from azr_sandbox.runner import BoxRunner
from azr_sandbox.screen import screen

from sandbox.helpers import assert_clean, box_processes, read_lines

ATTACKS = read_lines("attacks.jsonl")
# What no re-run can notice reliably. Everything else must hold without the screen.
SCREEN_ONLY = {
    "148-one-bit-clock": "one bit of the clock is the same in all four executions once in eight times",
}
CANARY, CANARY_FOLDER = Path("/tmp/azr_canary"), Path("/tmp/azr_canary_dir")
EFFECTS = [Path(name) for name in ("/tmp/azr_x", "/tmp/azr_link", "/tmp/azr_d0", "/tmp/azr_pwned", "/dev/shm/azr_x")]


@pytest.fixture(scope="module", autouse=True)
def canary() -> Iterator[None]:
    CANARY.write_text("alive")
    CANARY_FOLDER.mkdir(exist_ok=True)
    (CANARY_FOLDER / "file").write_text("alive")
    CANARY.chmod(0o666)
    CANARY_FOLDER.chmod(0o777)
    yield
    CANARY.unlink()
    shutil.rmtree(CANARY_FOLDER)


@pytest.mark.parametrize("attack", ATTACKS, ids=[attack["id"] for attack in ATTACKS])
def test_attack_fails(attack: dict[str, Any], runner: BoxRunner) -> None:
    if attack["id"] in SCREEN_ONLY:
        assert screen(attack["code"]) is not None, SCREEN_ONLY[attack["id"]]
        return
    before = box_processes(runner)
    try:
        arguments = (values.parse(attack["input"]),)
    except NotPlainData:  # an attack by its input: it is no data, and as an expression nothing comes of it
        assert attack["must"] == "refused"
        assert runner.evaluate([attack["input"]])[0].status is not CallStatus.OK
    else:
        times = 2 if attack["group"] == "nondet" else 1
        [run] = runner.run([Program(attack["code"], [arguments])], times=times)
        status, value = run.calls[0].status, run.calls[0].value
        match attack["must"]:
            case "refused":
                assert run.status is not RunStatus.OK
            case "killed":
                assert status is CallStatus.KILLED
            case "timeout":
                assert status in (CallStatus.CPU_LIMIT, CallStatus.WALL_LIMIT)
            case "harmless":
                assert "BREACH" not in repr(value)
            case other:
                raise AssertionError(other)
    assert CANARY.read_text() == "alive"
    assert (CANARY_FOLDER / "file").read_text() == "alive"
    assert not [path for path in EFFECTS if path.exists() or path.is_symlink()]
    assert box_processes(runner) == before, "a process was left behind, or a zygote had to be replaced"
    assert_clean(runner)
