"""The quiet parser: the same trees as Python's own, and no warning for whatever text."""

from __future__ import annotations

import ast
import contextlib
import itertools
import warnings

import pytest

from azr_sandbox import quiet

from sandbox.helpers import read_lines

ORDINARY = read_lines("ordinary.jsonl")
NUMBERS = "1 12 1. 1.5 1_0 0x1 0xf 0b1 0o7 1e5 1e+5 1j 1.j 1.5e3j 0 00 0_0 1.5_5 .5 .5j 1_0.0_1".split()
BEHIND = ("or 2", "and 2", "if 1 else 2", "in x", "is x", "not in x", "for x in y", "else 1", " is 1", "()", "[1]")


@pytest.mark.parametrize("number", NUMBERS)
def test_a_number_before_a_word_warns_nobody(number: str) -> None:
    for behind, form in itertools.product(BEHIND, ("{}", "[{}]", "3 if {}", "x[{}:]", "assert ({}, 1)")):
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            with contextlib.suppress(SyntaxError):
                quiet.parse(form.format(number + behind))
        assert not said


@pytest.mark.parametrize("text", [r"'\d'", r"b'\d'", r"f'\d{x}'", r"'''\w'''"])
def test_an_unknown_escape_warns_nobody(text: str) -> None:
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        quiet.parse(text)
    assert not said


def test_the_nodes_are_those_of_ast_walk() -> None:
    for line in ORDINARY:
        found = quiet.nodes(line["code"])
        assert list(found) == list(ast.walk(found[0]))


@pytest.mark.parametrize("size", [10, 1 << 15])
def test_too_deep_is_refused_however_long(size: int) -> None:
    deep = "x" + ".a" * 250 + "\n" + "#" * size
    for read in (quiet.parse, quiet.nodes):
        with pytest.raises(RecursionError):
            read(deep)


def test_a_long_program_is_not_kept() -> None:
    long = "x = 1\n" + "#" * (1 << 15)
    assert quiet.nodes(long)[0] is not quiet.nodes(long)[0]
    assert quiet.nodes("x = 1")[0] is quiet.nodes("x = 1")[0]
