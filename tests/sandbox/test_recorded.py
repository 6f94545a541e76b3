"""The test double answers as the real runner did, and says so when it can not."""

from __future__ import annotations

import pytest

from azr_sandbox import NotRecorded, Program, Runner, RunnerClosed, RunStatus
from azr_sandbox.recorded import RecordedRunner

PROGRAMS = [Program("def f(x): return x + 1", [(1,), (2.0,)]), Program("def f(x): return 1 / x", [(0,)])]


def test_it_answers_as_the_real_one_did(any_runner: Runner) -> None:
    recorder = RecordedRunner(source=any_runner)
    runs = recorder.run(PROGRAMS, times=2)
    [five] = recorder.evaluate(["2 + 3"])
    replay = RecordedRunner(recorder.answers)
    assert isinstance(replay, Runner)
    assert replay.run(PROGRAMS, times=2) == runs
    assert replay.evaluate(["2 + 3"]) == [five]
    assert five.value == 5
    assert replay.asked == PROGRAMS


def test_it_tells_apart_what_a_verdict_may_hang_on(any_runner: Runner) -> None:
    replay = RecordedRunner(dict(RecordedRunner(source=any_runner).answers))
    recorder = RecordedRunner(source=any_runner)
    recorder.run(PROGRAMS)
    replay = RecordedRunner(recorder.answers)
    for program, times, isolate in (
        (PROGRAMS[0], 2, False),
        (PROGRAMS[0], 1, True),
        (Program(PROGRAMS[0].source, [(1,), (2,)]), 1, False),
        (Program(PROGRAMS[0].source + "\n", PROGRAMS[0].calls), 1, False),
    ):
        with pytest.raises(NotRecorded, match="source"):
            replay.run([program], times, isolate)


def test_a_closed_one_says_so() -> None:
    replay = RecordedRunner()
    replay.close()
    with pytest.raises(RunnerClosed):
        replay.run([])


def test_all_repeats_are_recorded_though_the_first_is_enough(any_runner: Runner) -> None:
    unsteady = Program("seen = []\ndef f(x):\n    seen.append(x)\n    return len(seen)", [(1,)])
    recorder = RecordedRunner(source=any_runner)
    [run] = recorder.run([unsteady], times=2, enough=lambda place, run: True)
    assert run.status is RunStatus.NONDETERMINISTIC
    assert RecordedRunner(recorder.answers).run([unsteady], times=2) == [run]
