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
