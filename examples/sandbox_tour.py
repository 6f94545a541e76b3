"""A tour of the box: good, wrong, slow and hostile programs run side by side, and a table says what became of each.

Run it with `make tour`. It needs no Docker: where no engine answers, the embedded jail is used.
"""

from __future__ import annotations

import time

from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from azr_sandbox import Program, make_runner

TOUR = [
    ("run-length code", "def f(s):\n    from itertools import groupby\n    return [(c, len(list(g))) for c, g in groupby(s)]", "aaabcc"),
    ("primes below n", "def f(n):\n    return [p for p in range(2, n) if all(p % d for d in range(2, int(p**0.5) + 1))]", 30),
    ("collatz", "def f(n):\n    steps = 0\n    while n != 1:\n        n = 3 * n + 1 if n % 2 else n // 2\n        steps += 1\n    return steps", 27),
    ("a mistake", "def f(x):\n    return x['key']", {"other": 1}),
    ("order of a set", "def f(s):\n    return list(set(s))", "sandbox"),
    ("reads the clock", "import time\ndef f(x):\n    return time.time()", 0),
    ("never ends", "def f(x):\n    while True:\n        x += 1", 0),
    ("eats memory", "def f(x):\n    return bytearray(2**40)", 0),
    ("reads a secret", "def f(x):\n    return open('/etc/shadow').read()", 0),
    ("phones home", "import socket\ndef f(x):\n    socket.create_connection(('192.0.2.1', 80))", 0),
    ("starts a shell", "import subprocess\ndef f(x):\n    return subprocess.check_output(['id'])", 0),
    ("fork bomb", "import os\ndef f(x):\n    while True:\n        os.fork()", 0),
    ("kills its parent", "import os\ndef f(x):\n    os.kill(os.getppid(), 9)", 0),
    ("crashes Python", "import ctypes\ndef f(x):\n    ctypes.string_at(0)", 0),
    ("fakes equality", "class Right(int):\n    __eq__ = lambda self, other: True\ndef f(x):\n    return Right(0)", 0),
    ("exits as if all were well", "import os\ndef f(x):\n    os._exit(0)", 0),
]  # fmt: skip


def main() -> None:
    """Run the tour, then a thousand programs."""
    console = Console()
    with make_runner("auto") as runner:
        console.print(f"[bold]{runner.name}[/]: {runner.guarantee}\n")
        table = Table("program", "verdict of two runs", "value, or what stopped it")
        runs = runner.run([Program(source, [(argument,)]) for _, source, argument in TOUR], times=2)
        for (name, _, _), run in zip(TOUR, runs, strict=True):
            call = run.calls[0]
            colour = {"ok": "green", "error": "red", "nondeterministic": "yellow"}[run.status]
            seen = repr(call.value) if call.status == "ok" else call.status.value
            if call.error is not None:
                seen = f"{call.error.type} in line {call.error.line}"
            table.add_row(name, f"[{colour}]{run.status}", seen[:60])
        console.print(table)
        batches = [[Program(f"def f(x):\n    return x * {n}\n", [(n,)]) for n in range(100)] for _ in range(20)]
        started = time.perf_counter()
        with Progress(console=console, transient=True) as progress:
            right = sum(
                run.calls[0].value == n * n
                for batch in progress.track(batches, description="2,000 programs, each in a process of its own")
                for n, run in enumerate(runner.run(batch))
            )
        rate = 2000 / (time.perf_counter() - started)
        console.print(f"{right:,} of 2,000 small programs right, {rate:,.0f} programs a second")


if __name__ == "__main__":
    main()
