"""Every Hypothesis strategy of the suite."""

from __future__ import annotations

from hypothesis import strategies as st

text = st.text(max_size=20)  # lone surrogates and all
numbers = st.integers() | st.floats() | st.booleans()
hashable_scalars = st.none() | numbers | text | st.binary(max_size=20) | st.complex_numbers()


def _hashable(inner: st.SearchStrategy[object]) -> st.SearchStrategy[object]:
    return st.lists(inner, max_size=4).map(tuple) | st.frozensets(inner, max_size=4)


hashable = st.recursive(hashable_scalars, _hashable, max_leaves=8)


def _container(inner: st.SearchStrategy[object]) -> st.SearchStrategy[object]:
    return (
        st.lists(inner, max_size=5)
        | st.lists(inner, max_size=5).map(tuple)
        | st.dictionaries(hashable, inner, max_size=5)
        | st.sets(hashable, max_size=5)
        | st.frozensets(hashable, max_size=5)
    )


plain_data = st.recursive(hashable_scalars, _container, max_leaves=20)

# Text near the grammar of literals: brackets, signs, names, escapes, half of them broken.
literal_pieces = st.sampled_from(
    [*"()[]{},:+-*'\"\\ \n#.0123456789abejnx_", "None", "True", "inf", "nan", "set()", "frozenset(", "complex(1.0, 2.0)", "float('inf')", "b'", "f'", "...",
       "lambda: 0", "1e999", "0x", "__import__('os')", "9" * 50, "\\ud800", "if", " or ", "\x00", "é"]
)  # fmt: skip
literal_like = st.lists(literal_pieces, max_size=25).map("".join)

# Five different names that no builtin and no attribute of the tests has.
fresh_names = st.lists(st.from_regex(r"[a-zé_][a-z0-9_]{0,3}q", fullmatch=True), min_size=5, max_size=5, unique=True)

_PROGRAMS = [
    "def f(x):\n    return x",
    "def f(a, b):\n    c = a + b\n    return [c] * 2",
    "def f(s):\n    out = {}\n    for c in s:\n        out[c] = out.get(c, 0) + 1\n    return out",
    "import math\ndef f(n):\n    while n > 1:\n        n = math.isqrt(n)\n    return n",
    "class Box:\n    def __init__(self, v):\n        self.v = v\ndef f(x):\n    return Box(x).v",
    "def f(xs):\n    def g(x):\n        return x * 2 if x else None\n    return [g(x) for x in xs]",
    "def f(s):\n    return s.replace('<answer>', '').split('input') + ['```', 'print(1)']",
    "@lambda g: g\ndef f(x, *y):\n    try:\n        return x[0]\n    except (KeyError, IndexError) as e:\n        return str(e)",
    "def f(x):\n    match x:\n        case [a, *b]:\n            return b\n        case _:\n            return f'{x!r:>{8}}'",
]
sources = st.sampled_from(_PROGRAMS)

# Text as a model might write it, broken in every way.
model_pieces = st.sampled_from(
    ["<answer>", "</answer>", "<think>", "</think>", "```", "```python\n", "```input\n", "```message\n", "```\n", "\n```\n", "~~~~\n", "\n", "\r\n", "\r", "1", "[1, 2]",
     "'a", "'", "The answer is ", "Assistant: ", ".", "f(1)", "f(", ")", "def f(x):\n    return x\n", "def f(x, y): return y\n", "    x = 1\n", "import math\n", "# hm\n", "class A:\n",
     "x", " ", "\t", "\0", "\ud800", "é", "\\", "{", "}", ",", "@a\n", "*[1]", "x=1", "lambda: 0", "\x0c", "\u2028", "'''", "#"]
)  # fmt: skip
model_text = st.lists(model_pieces, max_size=30).map("".join)

# Values that fit into a task.
small_plain_data = st.recursive(
    st.none() | st.integers(-(10**20), 10**20) | st.floats() | st.booleans() | st.text(max_size=8) | st.binary(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.lists(inner, max_size=3).map(tuple) | st.dictionaries(st.text(max_size=4), inner, max_size=3)
        | st.sets(st.integers(), max_size=3) | st.frozensets(st.text(max_size=4), max_size=3)
    ),
    max_leaves=5,
)  # fmt: skip
