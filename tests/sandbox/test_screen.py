"""The screen: what it must see, what it must let pass, and that no text breaks it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from azr_sandbox.screen import Rule, screen

from sandbox.helpers import read_lines
from strategies import literal_like

ORDINARY = read_lines("ordinary.jsonl")


@pytest.mark.parametrize(
    ("source", "rule"),
    [
        ("import os", Rule.IMPORT),
        ("import os.path as p", Rule.IMPORT),
        ("from time import time_ns", Rule.IMPORT),
        ("import random", Rule.IMPORT),
        ("def f():\n    import secrets", Rule.IMPORT),
        ("from . import x", Rule.IMPORT),
        ("from statistics import random", Rule.IMPORT),
        ("from collections import _sys", Rule.IMPORT),
        ("import statistics\nstatistics.random.random()", Rule.ATTRIBUTE),
        ("import collections as c\nc._sys", Rule.ATTRIBUTE),
        ("().__class__.__bases__", Rule.ATTRIBUTE),
        ("'{0.__class__}'.format(1)", Rule.ATTRIBUTE),
        ("'{0.__class__.y}'.format(1)", Rule.ATTRIBUTE),
        ("'{0.gi_frame.f_locals.y} {1}'.format(1, 2)", Rule.ATTRIBUTE),
        ("getattr(1, '__class__')", Rule.ATTRIBUTE),
        ("getattr(1, '__cla' + 'ss__')", Rule.ATTRIBUTE),
        ("import operator\noperator.attrgetter('__class__')", Rule.ATTRIBUTE),
        ("import datetime\ndef f(): return datetime.datetime.now().microsecond % 2", Rule.ATTRIBUTE),
        ("from datetime import date\ndate.today()", Rule.ATTRIBUTE),
        ("def g():\n    yield\ng().gi_frame", Rule.ATTRIBUTE),
        ("def f(x): return hash(x) % 2", Rule.NAME),
        ("def f(x): return id(x) % 2", Rule.NAME),
        ("eval('1')", Rule.NAME),
        ("open('x')", Rule.NAME),
        ("e = __import__", Rule.NAME),
        ("__builtins__", Rule.NAME),
        ("import enum\nenum.bltns.exec('1')", Rule.ATTRIBUTE),
        ("from enum import bltns", Rule.IMPORT),
        ("from functools import singledispatch\ndef g(x: 'G.append(1)'): ...", Rule.ATTRIBUTE),
        ("def f(x):\n    match x:\n        case object(__globals__=g): return g", Rule.ATTRIBUTE),
        (
            "import datetime\ndef f(x):\n    match datetime.datetime:\n        case type(now=n): return n()",
            Rule.ATTRIBUTE,
        ),
        ("from operator import attrgetter\nattrgetter('now')", Rule.ATTRIBUTE),
        ("import operator\noperator.attrgetter('_' * 2 + 'globals' + '_' * 2)", Rule.ATTRIBUTE),
        ("import operator\noperator.methodcaller('now')", Rule.ATTRIBUTE),
        ("import operator\ng = operator.attrgetter\ng('now')", Rule.ATTRIBUTE),
        ("g = getattr\ng(1, 'now')", Rule.NAME),
        ("import datetime\ngetattr(*(datetime.date, 'today'))", Rule.ATTRIBUTE),
        ("list(map(getattr, [1], ['now']))", Rule.NAME),
        ("import functools\nfunctools.partial(getattr, 1)", Rule.NAME),
        ("import string\nstring.Formatter().get_field('0.now', (1,), {})", Rule.ATTRIBUTE),
        ("'{0.now}'.format(1)", Rule.ATTRIBUTE),
        ("import typing\nt = typing\nt._eval_type", Rule.NAME),
        ("import contextlib\nc = contextlib.redirect_stdout(None)\nc._old_targets", Rule.ATTRIBUTE),
        ("import calendar\ncalendar.main(['x'])", Rule.ATTRIBUTE),
        ("def f(:", Rule.SYNTAX),
        ("\x00", Rule.SYNTAX),
        ("(" * 10_000, Rule.SYNTAX),
    ],
)
def test_what_it_refuses(source: str, rule: Rule) -> None:
    finding = screen(source)
    assert finding is not None
    assert finding.rule is rule


def test_a_finding_says_where() -> None:
    finding = screen("x = 1\nimport os\n")
    assert finding is not None
    assert (finding.detail, finding.line) == ("os", 2)


@pytest.mark.parametrize(
    "source",
    [
        "import math, re, json\nfrom collections import Counter, defaultdict\ndef f(x): return math.sqrt(x)",
        "from __future__ import annotations\nclass A:\n    def __init__(self): super().__init__()\n    def __eq__(self, o): ...",
        "class S(set):\n    def __contains__(self, x): return True",
        "from operator import attrgetter, itemgetter\nimport operator\nsorted([], key=attrgetter('a.b'))\noperator.methodcaller('strip')",
        "class A:\n    _all = []\n    def __init__(self): self._x = 1\n    def __eq__(self, other): return self._x == other._x",
        "from collections import namedtuple\ndef f(p): return p._replace(x=1)._asdict()",
        "import collections.abc, datetime as dt\ncollections.abc.Mapping\ndt.date(2020, 1, 1).isoformat()",
        "from collections import abc\nfrom math import *\nabc.Iterable",
        "import copy, string\ndef f(string):\n    copy = string.upper()\n    return copy",
        "class A:\n    async def _q(self): return 1\n    def go(self): return self._q",
        "if __name__ == '__main__':\n    print(1)",
        "def f(x): return getattr(x, 'real') + len(type(x).__name__)",
        "class A:\n    def go(self, what): return getattr(self, f'do_{what}')() or getattr(self, 'on_' + what)()",
        "def f(s): return s.format(1) + '{} {0[1]} {a.b}'",
    ],
)
def test_what_it_lets_pass(source: str) -> None:
    assert screen(source) is None


def test_false_alarms_on_ordinary_programs_stay_rare() -> None:
    refused = [line["id"] for line in ORDINARY if screen(line["code"]) is not None]
    assert len(refused) <= len(ORDINARY) // 50, refused


@given(literal_like | st.text(max_size=80))
def test_no_text_breaks_it(source: str) -> None:
    screen(source)
