"""Numbers about programs: known values, no warnings, no exceptions for what a proposal may be."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given

from azr_gym.code import generate
from azr_gym.code.metrics import complexity
from azr_gym.code.normal import form

from strategies import sources


@given(sources)
def test_every_number_is_finite_and_none_is_negative(source: str) -> None:
    measured = complexity(source)
    assert set(measured) == {"ast_nodes", "cyclomatic", "halstead_volume", "halstead_difficulty"}
    assert all(type(value) is float and math.isfinite(value) and value >= 0 for value in measured.values())


def test_generated_programs_have_numbers() -> None:
    rng = np.random.default_rng(0)
    for level in generate.LEVELS:
        for _ in range(10):
            assert complexity(generate.sample(rng, level=level).source)["ast_nodes"] > 5


def test_known_programs_have_known_numbers() -> None:
    plain = complexity("def f(x):\n    return x + 1")
    assert plain == {
        "ast_nodes": 9.0,
        "cyclomatic": 1.0,
        "halstead_volume": 4.754887502163469,
        "halstead_difficulty": 0.5,
    }
    branched = complexity("def f(x):\n    if x > 0 and x < 9:\n        return x + 1\n    return x")
    assert branched["cyclomatic"] == 3.0


def test_layout_names_and_docstrings_do_not_count() -> None:
    one = complexity("def f(x):\n    return x + 1")
    other = complexity("# hm\n\ndef f(number):\n    'Adds.'\n\n    return (number\n        + 1)")
    assert one == other


def test_more_branches_are_more_complex() -> None:
    sizes = [complexity("def f(x):\n" + "    if x: x += 1\n" * count + "    return x") for count in range(1, 6)]
    for name in ("ast_nodes", "cyclomatic", "halstead_volume"):
        values = [one[name] for one in sizes]
        assert values == sorted(values)
        assert values[0] < values[-1]


@pytest.mark.parametrize(
    "source",
    [
        "def f(x): return '\\d'", "def f(x): return 1if x else 2", "def f(x): return x is 1", "", "pass", "'doc'", "def f(x):\n    try:\n        pass\n    except* ValueError:\n        pass",
        "def f(x):\n    match x:\n        case {'a': [1, *_], **r} if r: return 1\n        case None | True: return 2", "async def f(x):\n    async with x as y, z: return [i async for i in y]",
        "def f(x): return f'{x!r:>{x}}' f'{{'", "class f:\n    x: int = 1\n    y: str\n    def g(self, /, a, *b, c=1, **d): return lambda q: q", "def f(x):\n    x @= 1\n    del x\n    global y\n    y = not -~x",
        "def f(*x): return [*x, {**y}], (yield), (z := 1)", "import a.b as c\nfrom . import d\nfrom e import *", "@f\ndef f(x):\n    while x:\n        assert x\n        continue\n    else:\n        raise", "x: int",
        "def f(x): return x if x else (x or x and x) < 1 < 2 != 3 in [] is None", "def f(x): return '\\ud800'", "def f(x): return 0x" + "f" * 3_900, "def f(x): return b'a' + 1j + ...", "return 1",
        "def f(x): return " + "(" * 90 + "x" + ")" * 90, "def f(x): return " + "x + " * 150 + "x", "def f(x): return " + "-" * 150 + "x", "def f(x): return x" + "[0]" * 150, "def f(x): return x" + ".a" * 150,
        "def f(x):\n" + "".join("    " + " " * i + "if x:\n" for i in range(60)) + " " * 70 + "return 1", "def f(x): return " + "lambda: " * 90 + "x", "f = lambda x: x", "def f(x): return [" + "x, " * 1_200 + "]",
    ],
    ids=lambda source: repr(source[:40]),
)  # fmt: skip
def test_any_program_that_can_be_read_has_numbers(source: str) -> None:
    measured = complexity(source)
    assert measured["ast_nodes"] == form(source).nodes
    assert all(math.isfinite(value) for value in measured.values())
