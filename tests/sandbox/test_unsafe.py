"""The subprocess runner: the same verdicts, no isolation, and it says so."""

from __future__ import annotations

from azr_sandbox import Limits, Program, make_runner


def test_it_runs_and_says_that_it_is_no_sandbox() -> None:
    with make_runner("subprocess", Limits(cpu_s=1.0), allow_unsafe=True) as runner:
        assert "NOT A SANDBOX" in runner.guarantee
        sources = [
            "def f(x): return [x, 'é']",
            "def f(x):\n    print('noise')\n    return 1 / 0",
            "def f(x):\n    while 1: pass",
            "def f(x): return object()",
            "import os\ndef f(x): os._exit(3)",
        ]
        runs = runner.run([Program(source, [(1,)]) for source in sources])
        assert [run.calls[0].status for run in runs] == ["ok", "error", "wall_limit", "not_plain_data", "killed"]
        assert runs[0].calls[0].value == [1, "é"]
        assert runner.run([Program("def f(): return hash('a')", [()])], times=2)[0].status == "nondeterministic"
