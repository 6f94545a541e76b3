"""What a runner promises, on the real ones: verdicts, order, independence, errors before anything runs."""

from __future__ import annotations

import math
import multiprocessing
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from azr_sandbox import (
    BadLimits,
    BadProgram,
    BadRequest,
    Call,
    CallStatus,
    Limits,
    NotPlainData,
    Program,
    Run,
    Runner,
    RunnerClosed,
    RunStatus,
    make_runner,
    values,
)
from azr_sandbox.runner import BoxRunner

from sandbox.helpers import call, read_lines
from strategies import plain_data

ORDINARY = [
    Program(line["code"], [values.parse(line["input"])])  # type: ignore[list-item]
    for line in read_lines("ordinary.jsonl")
]


def plain(run: Run) -> tuple[object, ...]:
    """A run without what is never compared."""
    return (run.status, *((c.status, values.canonical(c.value), c.error) for c in run.calls))


def test_the_value_comes_back(runner: Runner) -> None:
    assert call(runner, "def f(x, y):\n    return [x, y]", 1, "é\ud800").value == [1, "é\ud800"]


def test_calls_keep_their_order(runner: Runner) -> None:
    [run] = runner.run([Program("def f(x): return x", [(i,) for i in range(300)])])
    assert [c.value for c in run.calls] == list(range(300))


def test_a_program_without_calls_is_loaded(runner: Runner) -> None:
    good, bad = runner.run([Program("x = 1", []), Program("1/0", [])])
    assert (good.status, bad.status) == (RunStatus.OK, RunStatus.ERROR)


def test_an_empty_batch_is_empty(runner: Runner) -> None:
    assert runner.run([]) == []


@given(st.lists(plain_data, max_size=3))
def test_arguments_arrive_as_they_are(any_runner: Runner, arguments: list[object]) -> None:
    value = call(any_runner, "def f(*a): return list(a)", *arguments).value
    assert values.equal(value, arguments)


def test_arguments_are_fresh_for_each_call(runner: Runner) -> None:
    shared = [3]
    [run] = runner.run([Program("def f(x, y):\n    x.append(1)\n    return x, y", [(shared, shared)] * 2)], times=2)
    assert run.status is RunStatus.OK
    assert [c.value for c in run.calls] == [([3, 1], [3])] * 2


@pytest.mark.parametrize(
    ("source", "kind", "line"),
    [
        ("def f(x):\n    return x / 0", "ZeroDivisionError", 2),
        ("def f(x):\n  return (", "SyntaxError", 2),
        ("y = 1\nboom\ndef f(x): pass", "NameError", 2),
        ("def g(x): pass", "NameError", None),
        ("class ZeroDivisionError(Exception): pass\ndef f(x): raise ZeroDivisionError", None, 2),
        ("import json\ndef f(x): json.loads('{')", "json.decoder.JSONDecodeError", 2),
        ("def f(x): raise SystemExit", "SystemExit", 1),
        ("def f(x): raise KeyboardInterrupt", "KeyboardInterrupt", 1),
        ("def f(x): return f(x)", "RecursionError", 1),
        ("import nonsense\ndef f(x): pass", "ModuleNotFoundError", 1),
        ("def f(): pass", "TypeError", None),
        ("\x00", "ValueError", None),
        ("f = 3", "TypeError", None),
    ],
)
def test_errors_are_told_by_identity_and_line(runner: Runner, source: str, kind: str | None, line: int | None) -> None:
    result = call(runner, source, 1)
    assert result.status is CallStatus.ERROR
    assert result.error is not None
    assert result.error.type in (kind, "SyntaxError" if kind == "ValueError" else kind)
    assert result.error.line == line


@pytest.mark.parametrize(
    ("source", "status"),
    [
        ("def f(x):\n while 1: pass", CallStatus.CPU_LIMIT),
        ("import time\ndef f(x): time.sleep(60)", CallStatus.WALL_LIMIT),
        ("def f(x): return bytearray(1 << 30)", CallStatus.MEMORY_LIMIT),
        ("def f(x): return 'x' * 100_000", CallStatus.OUTPUT_LIMIT),
        ("def f(x): return object()", CallStatus.NOT_PLAIN_DATA),
        ("import os\ndef f(x): os._exit(0)", CallStatus.KILLED),
        ("import os\ndef f(x): os.kill(0, 19)", CallStatus.KILLED),
        ("def f(x):\n while 1: print('x' * 9999)", CallStatus.KILLED),
    ],
)
def test_every_limit_has_its_status(runner: Runner, source: str, status: CallStatus) -> None:
    assert call(runner, source, 1).status is status


def test_one_call_that_hangs_costs_its_neighbours_nothing(runner: Runner) -> None:
    source = "import os\ndef f(x):\n    while x == 1: pass\n    if x == 3: os._exit(0)\n    return x"
    [run] = runner.run([Program(source, [(i,) for i in range(6)])])
    assert [c.value for c in run.calls] == [0, None, 2, None, 4, 5]
    assert [c.status for c in run.calls] == ["ok", "cpu_limit", "ok", "killed", "ok", "ok"]


def test_each_call_has_the_whole_cpu_limit(runner: Runner) -> None:
    source = "def f(x):\n    n = 0\n    for i in range(x): n += i\n    return n"
    lap = call(runner, source, 10**6).cost.cpu_s
    calls = math.ceil(1.6 / lap)  # 1.6 s in all, under a limit of 1 s a call
    [run] = runner.run([Program(source, [(10**6,)] * calls)])
    assert run.status is RunStatus.OK


def test_isolated_calls_share_nothing(runner: Runner) -> None:
    program = Program("n = 0\ndef f():\n    global n\n    n += 1\n    return n", [()] * 3)
    shared, isolated = runner.run([program])[0], runner.run([program], isolate_calls=True)[0]
    assert [c.value for c in shared.calls] == [1, 2, 3]
    assert [c.value for c in isolated.calls] == [1, 1, 1]
    assert runner.run([program], times=2)[0].status is RunStatus.NONDETERMINISTIC


@pytest.mark.parametrize(
    "source",
    [
        "def f(x): return hash('a')",
        "def f(x): return id(x)",
        "import random\ndef f(x): return random.random()",
        "import time\ndef f(x): return time.time_ns()",
        "seen = []\ndef f(x):\n    seen.append(x)\n    return len(seen)",
        "d = 0\ndef g():\n    global d\n    d += 1\n    g()\ndef f(x):\n    try: g()\n    except RecursionError: return d",
        "def f(x):\n    try: bytearray(220 << 20)\n    except MemoryError: return 'small'\n    return 'big'",
    ],
)
def test_what_differs_between_runs_is_seen(runner: Runner, source: str) -> None:
    for _ in range(3):
        assert runner.run([Program(source, [(1,)])], times=2)[0].status is RunStatus.NONDETERMINISTIC


def test_the_order_of_a_dict_is_no_difference_and_the_value_is_the_first_runs(runner: Runner) -> None:
    program = Program("def f(): return {k: 1 for k in {'a', 'b', 'c', 'd', 'e'}}", [()])
    runs = runner.run([program] * 3, times=2)
    assert [run.status for run in runs] == [RunStatus.OK] * 3
    assert len({values.render(run.calls[0].value) for run in runs}) == 1


def test_each_program_of_a_batch_may_be_run_a_different_number_of_times(runner: Runner) -> None:
    unsteady = Program("def f(x): return hash('a')", [(1,)])
    assert [run.status for run in runner.run([unsteady, unsteady, ORDINARY[0]], times=[1, 2, 3])] == [
        RunStatus.OK, RunStatus.NONDETERMINISTIC, RunStatus.OK,
    ]  # fmt: skip


def test_where_the_first_repeat_is_enough_the_others_are_not_made(runner: Runner) -> None:
    unsteady = Program("def f(x): return hash('a')", [(1,)])  # differs from repeat to repeat, not within one
    dies, ends = Program("import os\ndef f(x): os._exit(x)", [(0,), (0,)]), Program("def f(x): return x", [(3,)])
    asked: list[tuple[int, RunStatus]] = []

    def enough(place: int, run: Run) -> bool:
        asked.append((place, run.status))
        return place in (0, 3)

    runs = runner.run([unsteady, unsteady, dies, ends, ends], times=[2, 2, 2, 3, 1], enough=enough)
    assert [run.status for run in runs] == [
        RunStatus.OK, RunStatus.NONDETERMINISTIC, RunStatus.ERROR, RunStatus.OK, RunStatus.OK,
    ]  # fmt: skip
    assert sorted(asked) == [(0, RunStatus.OK), (1, RunStatus.OK), (2, RunStatus.ERROR), (3, RunStatus.OK)]
    assert [plain(run) for run in runs[2:]] == [plain(run) for run in runner.run([dies, ends, ends], times=[2, 3, 1])]


def test_ordinary_programs_are_deterministic(runner: Runner) -> None:
    for program, run in zip(ORDINARY, runner.run(ORDINARY, times=2), strict=True):
        assert run.status is RunStatus.OK, program.source


def test_both_boxes_agree_on_ordinary_programs() -> None:
    from conftest import real

    docker, jail = (real(name).run(ORDINARY) for name in ("docker", "jail"))
    assert [plain(run) for run in docker] == [plain(run) for run in jail]


ODD = [
    Program("def f(x):\n while x: pass\n return x", [(0,), (1,), (0,)]),
    Program("import os\ndef f(x): os._exit(x)", [(0,)]),
    Program("def f(x): return x.append", [([],)]),
    Program("import sys\nsys.setrecursionlimit(50)\ndef f(x): return [x]", [(1,)]),
    Program("import builtins\nbuiltins.len = None\ndef f(x): return x", [(1,)]),
]


@given(
    st.lists(st.sampled_from([*ORDINARY[:40], *ODD[1:]]), min_size=1, max_size=12), st.randoms(use_true_random=False)
)
def test_no_result_depends_on_the_batch_or_its_order(any_runner: Runner, batch: list[Program], random: object) -> None:
    alone = [plain(any_runner.run([program])[0]) for program in batch]
    order = list(range(len(batch)))
    random.shuffle(order)  # type: ignore[attr-defined]
    together = any_runner.run([batch[index] for index in order])
    assert [alone[index] for index in order] == [plain(run) for run in together]


def test_expressions_are_evaluated_in_the_box(runner: Runner) -> None:
    texts = [
        "list(range(3))",
        " 'a'.upper()\n",
        "dict(k=1)",
        "1) or True #",
        "open('/etc/passwd')",
        "x = 1",
        "(lambda: 3)()",
    ]
    calls = runner.evaluate(texts)
    assert [c.value for c in calls] == [[0, 1, 2], "A", {"k": 1}, None, None, None, 3]
    assert [c.status for c in calls] == ["ok", "ok", "ok", "error", "error", "error", "ok"]


def test_a_cost_is_measured_outside(runner: Runner) -> None:
    cheap, dear = (
        call(runner, "def f(): return 1"),
        call(runner, "def f():\n for i in range(10**7): pass\n return 'xxxx'"),
    )
    assert 0 < cheap.cost.cpu_s < dear.cost.cpu_s < 10
    assert dear.cost.output_bytes == 6
    assert call(runner, "def f():\n x = b'x' * (60 << 20)\n return 1").cost.memory_mb > 50


@pytest.mark.parametrize(
    ("make", "kind"),
    [
        (lambda: Program(3, []), BadProgram),  # type: ignore[arg-type]
        (lambda: Program("x" * (1 << 21), []), BadProgram),
        (lambda: Program("", [1]), BadProgram),  # type: ignore[list-item]
        (lambda: Program("", [()] * 5000), BadProgram),
        (lambda: Program("", 1), BadProgram),  # type: ignore[arg-type]
        (lambda: Program("", [], entry="f()"), BadProgram),
        (lambda: Program("", [], entry="f" * 2000), BadProgram),
        (lambda: Limits(cpu_s=0), BadLimits),
        (lambda: Limits(memory_mb=-1), BadLimits),
        (lambda: Limits(wall_s=math.nan), BadLimits),
        (lambda: Limits(output_bytes=2**40), BadLimits),
        (lambda: Limits(memory_mb=1.5), BadLimits),  # type: ignore[arg-type]
        (lambda: Limits(cpu_s=True), BadLimits),
        (lambda: make_runner("nonsense"), BadRequest),  # type: ignore[arg-type]
        (lambda: make_runner("subprocess"), BadRequest),
        (lambda: make_runner("jail", slots=0), BadRequest),
        (lambda: make_runner("jail", runtime="runsc"), BadRequest),
        (lambda: make_runner("jail", {"cpu_s": 1}), BadRequest),  # type: ignore[arg-type]
    ],
)
def test_bad_requests_say_so_at_once(make: object, kind: type[Exception]) -> None:
    with pytest.raises(kind):
        make()  # type: ignore[operator]


@pytest.mark.parametrize(
    ("ask", "kind"),
    [
        (lambda r: r.run([Program("def f(x): pass", [(object(),)])]), NotPlainData),
        (lambda r: r.run(["def f(): pass"]), BadProgram),
        (lambda r: r.run(Program("def f(): pass", [()])), BadProgram),
        (lambda r: r.run([], times=0), BadRequest),
        (lambda r: r.run([], times="2"), BadRequest),
        (lambda r: r.run([Program("", [])] * 2, times=[1]), BadRequest),
        (lambda r: r.run([Program("", [])], times=[0]), BadRequest),
        (lambda r: r.evaluate("1"), BadRequest),
        (lambda r: r.evaluate([1]), BadProgram),
    ],
)
def test_bad_batches_say_so_before_anything_runs(runner: Runner, ask: object, kind: type[Exception]) -> None:
    with pytest.raises(kind):
        ask(runner)  # type: ignore[operator]


def test_limits_hold_as_they_are_set() -> None:
    from conftest import real

    real("jail")
    with make_runner("jail", Limits(cpu_s=0.2, memory_mb=32, output_bytes=10), slots=1) as small:
        slow = call(small, "def f():\n while 1: pass")
        assert slow.status is CallStatus.CPU_LIMIT
        assert slow.cost.cpu_s < 0.8
        assert call(small, "def f(): return bytearray(40 << 20)").status is CallStatus.MEMORY_LIMIT
        assert call(small, "def f(): return '12345678'").status is CallStatus.OK
        assert call(small, "def f(): return '123456789'").status is CallStatus.OUTPUT_LIMIT


def test_a_closed_runner_says_so() -> None:
    from conftest import real

    real("jail")
    with make_runner("jail", slots=1) as closed:
        pass
    closed.close()
    with pytest.raises(RunnerClosed):
        closed.run([])


def test_threads_share_a_runner(runner: Runner) -> None:
    results: dict[int, list[Call]] = {}

    def work(number: int) -> None:
        results[number] = [call(runner, "def f(x): return x", number) for _ in range(20)]

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(c.value == number for number, calls in results.items() for c in calls)


def _in_a_fork(runner: BoxRunner, answer: object) -> None:
    answer.put((call(runner, "def f(x): return x + 1", 1).value, runner.box.pid))  # type: ignore[attr-defined]
    runner.close()


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_process_gets_a_box_of_its_own(runner: BoxRunner) -> None:
    context = multiprocessing.get_context("fork")
    answers = context.SimpleQueue()
    child = context.Process(target=_in_a_fork, args=(runner, answers))
    child.start()
    value, pid = answers.get()
    child.join()
    assert value == 2
    assert pid != runner.box.pid
    assert call(runner, "def f(x): return x + 1", 1).value == 2


def test_the_runner_says_what_it_is(runner: Runner) -> None:
    assert isinstance(runner, Runner)
    assert runner.name in ("docker", "jail")
    assert "kernel" in runner.guarantee
