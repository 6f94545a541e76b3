"""What runs programs: the `Runner` protocol, the runner over a box, and `make_runner()`, which picks one.

Order of `auto`: Docker, then the embedded jail, then a refusal with instructions. Never silently to less: the log
says which one it is and what that guarantees, and so does `runner.guarantee`.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from types import TracebackType
from typing import Literal, Never, Protocol, Self, runtime_checkable

from . import dispatch, unsafe, wire
from .errors import BadProgram, BadRequest, RunnerClosed, SandboxLost, Unavailable
from .program import Call, Limits, Program, Run
from .repeat import Enough, Job, Plan

_log = logging.getLogger("azr_sandbox")
_TRIES = 3  # restarts in one batch before we give up
_PATIENCE_S = 30.0  # with an engine that is starting again
MAX_TIMES = 64


@runtime_checkable
class Runner(Protocol):
    """Whatever runs programs. Implemented by the box, the unsafe subprocess, and the public test double."""

    @property
    def name(self) -> str:
        """Which runner this is: "docker", "jail", "subprocess", "recorded"."""

    @property
    def python(self) -> str:
        """Minor version of the Python that runs the programs, such as "3.11". The same as the host's."""

    @property
    def guarantee(self) -> str:
        """What holds a program in, and what does not, in a sentence."""

    def run(
        self,
        programs: Sequence[Program],
        times: int | Sequence[int] = 1,
        isolate_calls: bool = False,
        give_up: bool = False,
        enough: Enough | None = None,
    ) -> list[Run]:
        """Run a batch on all slots and return one `Run` per program, in their order.

        No result depends on what else is in the batch or on its order.

        Args:
            programs: what to run.
            times: how many repeats must agree, for all or a number for each program; 1 makes each call once. From 2
                on every repeat is a fresh process with another hash seed, pid, uid and address layout that makes
                each call twice in two orders, and a difference gives `RunStatus.NONDETERMINISTIC`.
            isolate_calls: a child per call, where the calls of one program otherwise share one.
            give_up: where a call is killed or stopped at a limit, do not make the calls behind it: they end as it did.
                For whoever needs all of them, so that an endless loop costs its limit once a repeat.
            enough: asked after the first of a program's repeats, with its place in the batch and what came of it: True,
                and the others are not made. For whoever need not know of a wrong answer that it is wrong every time.
                It must not use this runner, which waits for it.

        Raises:
            BadRequest: something that can not be run; nothing has run.
            RunnerClosed: after `close()`.
            SandboxLost: the box died again and again. No verdict was made up.
        """

    def evaluate(self, expressions: Sequence[str]) -> list[Call]:
        """Evaluate Python expressions, such as "range(3)" turned into data by `list(range(3))`, each in a child of
        its own, never on the host.

        Raises:
            As `run`.
        """

    def close(self) -> None:
        """End the runner and everything that it started. A second call does nothing."""


class PlanRunner:
    """The part that every runner shares: checks what is asked, plans it, and reads the verdicts."""

    name = "runner"
    guarantee = ""
    python = ""

    def __init__(self, limits: Limits | None = None) -> None:
        self._limits = limits if limits is not None else Limits()
        if not isinstance(self._limits, Limits):
            raise BadRequest(f"limits must be a Limits, not {type(self._limits).__name__}")
        self._closed = False

    @property
    def limits(self) -> Limits:
        """What one call may use. Fixed when the runner is made: the box is built for it."""
        return self._limits

    def run(
        self,
        programs: Sequence[Program],
        times: int | Sequence[int] = 1,
        isolate_calls: bool = False,
        give_up: bool = False,
        enough: Enough | None = None,
    ) -> list[Run]:
        """See `Runner.run`."""
        plan = self._plan(programs, times, isolate_calls, give_up=give_up, enough=enough)
        self._execute(plan)
        return plan.runs()

    def evaluate(self, expressions: Sequence[str]) -> list[Call]:
        """See `Runner.evaluate`."""
        if isinstance(expressions, str) or not isinstance(expressions, Iterable):
            raise BadProgram("evaluate() takes a list of expressions")
        plan = self._plan([Program(text, [()], entry="expression") for text in expressions], 1, False, True)
        self._execute(plan)
        return [run.calls[0] for run in plan.runs()]

    def _plan(
        self,
        programs: Sequence[Program],
        times: int | Sequence[int],
        isolate: bool,
        expressions: bool = False,
        give_up: bool = False,
        enough: Enough | None = None,
    ) -> Plan:
        if self._closed:
            raise RunnerClosed("this runner is closed: make a new one with make_runner()")
        if isinstance(programs, Program) or not isinstance(programs, Iterable):
            raise BadProgram("run() takes a list of programs")
        programs = list(programs)
        for program in programs:
            if not isinstance(program, Program):
                kind = type(program).__name__
                raise BadProgram(f"run() takes Program values, not {kind}: write Program(source, [(argument,)])")
        numbers: list[int] = list(times) if isinstance(times, list | tuple) else [times]  # type: ignore[list-item]
        for number in numbers:
            if isinstance(number, bool) or not isinstance(number, int) or not 1 <= number <= MAX_TIMES:
                raise BadRequest(f"times must be an int from 1 to {MAX_TIMES}, or one such int for each program")
        if not isinstance(times, list | tuple):
            numbers *= len(programs)
        if len(numbers) != len(programs):
            raise BadRequest(f"{len(numbers)} times for {len(programs)} programs: give one number, or one for each")
        flags = wire.EXPRESSION if expressions else 0
        return Plan(programs, self.limits, numbers, isolate, flags, give_up, enough)

    def _execute(self, plan: Plan) -> None:
        raise NotImplementedError

    def close(self) -> None:
        """See `Runner.close`."""
        self._closed = True

    def __deepcopy__(self, memo: object) -> Self:
        """The runner itself: it stands for processes, and those have no copies."""
        return self

    def __reduce__(self) -> Never:
        raise TypeError("a runner stands for processes and can not be pickled: give its name, such as 'auto', instead")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<{self.name} runner, Python {self.python}: {self.guarantee}>"


class BoxRunner(PlanRunner):
    """Runs programs in a box, and starts that again when it is lost. Safe to share between threads; a forked process
    that inherits one gets a box of its own."""

    def __init__(
        self,
        name: str,
        guarantee: Callable[[tuple[str, ...]], str],
        start: Callable[[], dispatch.Box],
        limits: Limits | None = None,
    ) -> None:
        super().__init__(limits)
        self.name = name
        self._start, self._lock, self._dead = start, threading.Lock(), False
        _RUNNERS.add(self)
        self.box, self._owner = start(), os.getpid()
        self.python, self.walls, self.guarantee = self.box.python, self.box.walls, guarantee(self.box.walls)
        self._finalizer = weakref.finalize(self, _end, self.box, self._owner)

    def _execute(self, plan: Plan) -> None:
        with self._lock:
            if self._closed:
                raise RunnerClosed("this runner was closed by another thread")
            if self._owner != os.getpid():  # forked: the channels belong to our parent
                self._restart(close=False)
            elif self._dead:
                self._restart()
            unfinished: dict[int, Job] = {id(job): job for job in plan.jobs()}

            def finish(job: Job) -> Iterator[Job]:
                more = list(plan.take(job))
                del unfinished[id(job)]
                unfinished.update((id(new), new) for new in more)
                return iter(more)

            for tried in range(_TRIES + 1):
                try:
                    dispatch.execute(self.box, list(unfinished.values()), finish)
                    return
                except dispatch.Lost as error:
                    if tried == _TRIES:
                        raise SandboxLost(
                            f"the {self.name} box died {tried + 1} times in one batch, last: {error}. "
                            "`azr doctor` says what is wrong with it; nothing was judged"
                        ) from None
                    _log.warning("the %s box was lost (%s): starting it again, nothing is lost", self.name, error)
                    self._restart()
                except BaseException:  # an interrupt: what is in flight must not answer the next batch
                    self._restart()
                    raise

    def _restart(self, close: bool = True) -> None:
        self._dead = True
        self._finalizer.detach()
        if close:
            with contextlib.suppress(Exception):
                self.box.close()
        deadline = time.monotonic() + _PATIENCE_S
        while True:
            try:
                self.box, self._owner = self._start(), os.getpid()
                break
            except Unavailable as error:  # an engine that is itself starting again
                if time.monotonic() > deadline:
                    raise SandboxLost(f"the {self.name} box was lost and can not be started again: {error}") from None
                time.sleep(0.5)
        self._dead = False
        self._finalizer = weakref.finalize(self, _end, self.box, self._owner)

    def close(self) -> None:
        """See `Runner.close`."""
        super().close()
        if self._owner != os.getpid():
            return
        with self._lock:  # a batch of another thread ends first
            self._finalizer()


_RUNNERS: weakref.WeakSet[BoxRunner] = weakref.WeakSet()


def _unlock_after_fork() -> None:
    for runner in list(_RUNNERS):  # a thread of the parent may have held it; it is not here to let go
        runner._lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_unlock_after_fork)


def _end(box: dispatch.Box, owner: int) -> None:
    if owner == os.getpid():
        box.close()


class SubprocessRunner(PlanRunner):
    """Runs programs without any isolation (`unsafe.py`)."""

    name = "subprocess"
    guarantee = unsafe.GUARANTEE

    def __init__(self, limits: Limits | None, slots: int) -> None:
        super().__init__(limits)
        self.python, self._slots = f"{sys.version_info[0]}.{sys.version_info[1]}", slots

    def _execute(self, plan: Plan) -> None:
        unsafe.execute(plan, self._slots)


Name = Literal["auto", "docker", "jail", "subprocess"]


def make_runner(
    name: Name = "auto",
    limits: Limits | None = None,
    *,
    slots: int | None = None,
    allow_unsafe: bool = False,
    runtime: str | None = None,
    image: str | None = None,
) -> PlanRunner:
    """Make a runner.

    Args:
        name: "docker"; "jail" (x86-64 Linux); "auto": Docker where an engine answers, else the jail, else an error;
            "subprocess": no sandbox at all.
        limits: what one call may use.
        slots: how many programs run at a time; by default one per core of this process.
        allow_unsafe: must be True for "subprocess", which isolates nothing.
        runtime: Docker's container runtime; "runsc" is gVisor.
        image: Docker's image; by default the one that `azr image` builds.

    Raises:
        Unavailable: no such sandbox can work here; says why and how to get one.
        BadRequest: an unknown name, no positive number of slots, or "subprocess" without `allow_unsafe`.
    """
    if slots is None:
        slots = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if isinstance(slots, bool) or not isinstance(slots, int) or not 1 <= slots <= 256:
        raise BadRequest("slots must be an int from 1 to 256")
    if name in ("jail", "subprocess") and (runtime is not None or image is not None):
        raise BadRequest(f"runtime and image are for Docker: name='docker', not {name!r}")
    if name == "docker":
        return _docker(limits, slots, runtime, image)
    if name == "jail":
        return _jail(limits, slots)
    if name == "subprocess":
        if not allow_unsafe:
            raise BadRequest("'subprocess' is not a sandbox: say allow_unsafe=True to run programs without isolation")
        return SubprocessRunner(limits, slots)
    if name != "auto":
        raise BadRequest(f"no runner is called {name!r}: choose 'auto', 'docker', 'jail' or 'subprocess'")
    try:
        runner: PlanRunner = _docker(limits, slots, runtime, image)
        _say(logging.INFO, f"sandbox: docker. {runner.guarantee}")
        return runner
    except Unavailable as no_docker:
        if runtime is not None or image is not None:
            raise  # a container was asked for by its details
        try:
            runner = _jail(limits, slots)
        except Unavailable as no_jail:
            raise Unavailable(
                f"no sandbox can work here. Docker: {no_docker} Jail: {no_jail} `azr doctor` says more."
            ) from None
        _say(
            logging.WARNING,
            f"sandbox: the embedded jail, for Docker can not be used ({no_docker}). {runner.guarantee}",
        )
        return runner


@functools.cache
def _say(level: int, sentence: str) -> None:
    """Log a sentence, once a process."""
    _log.log(level, sentence)


def _docker(limits: Limits | None, slots: int, runtime: str | None, image: str | None) -> BoxRunner:
    from . import container

    checked = limits if limits is not None else Limits()
    return BoxRunner(
        "docker", lambda walls: container.GUARANTEE, container.starter(checked, slots, runtime, image), checked
    )


def _jail(limits: Limits | None, slots: int) -> BoxRunner:
    from . import jail

    return BoxRunner("jail", jail.guarantee, lambda: jail.start(slots), limits)
