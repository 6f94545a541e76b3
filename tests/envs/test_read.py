"""Reading programs and proposals: what the prompts invite is accepted, chatter is harmless, no text raises."""

from __future__ import annotations

import textwrap
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from azr_gym.code import generate, prompts
from azr_gym.code.normal import form
from azr_gym.code.read import Draft, defines_entry, read_arguments, read_draft, read_program, read_value
from azr_gym.code.triplet import Mode, Triplet, parse_arguments
from azr_gym.roles import PromptStyle
from azr_gym.text import find
from azr_sandbox import values

from strategies import model_text, small_plain_data, sources

PROGRAM = "def f(x, y):\n    return x + y"
# What the proposer's prompt invites in so many words, and what models like to write.
INVITED = {
    "a nested function": "def f(x):\n    def g(y):\n        return y + 1\n    return g(x)",
    "a helper before": "def helper(x):\n    return x * 2\n\n\ndef f(x):\n    return helper(x)",
    "a helper after": "def f(x):\n    return helper(x)\n\ndef helper(x):\n    return x * 2",
    "a class": "class Box:\n    def __init__(self, v):\n        self.v = v\n\ndef f(x):\n    return Box(x).v",
    "comments": "# first\n\n# second\ndef f(x):  # third\n    # fourth\n    return x\n# the end",
    "a comment first": "#!/usr/bin/env python3\nimport math\n\ndef f(x):\n    return math.floor(x)",
    "a docstring": 'def f(x):\n    """Gives x.\n\n    input: x\n    """\n    return x',
    "a decorator": "from functools import cache\n\n@cache\ndef f(x):\n    return x",
    "a dataclass": "from dataclasses import dataclass\n\n@dataclass\nclass P:\n    x: int\n\ndef f(x):\n    return P(x).x",
    "the word input": "def f(input):\n    print(input)\n    answer = 'input:'\n    return answer + str(input)",
    "a constant": "import math\nLIMIT = 10\nTABLE = {\n    'a': 1,\n}\n\ndef f(x):\n    return min(x, LIMIT)",
    "a constant first": "LIMIT = 10\ndef f(x):\n    return min(x, LIMIT)",
    "answer tags in a string": "def f(x):\n    return x.replace('<answer>', '').replace('</answer>', '')",
    "an answer in a string": "def f(x):\n    return '<answer>1</answer>' + x",
    "fences in a string": "def f(x):\n    return '```python' + x + '```'",
    "tildes": "def f(x):\n    return ~~~x",
    "an async helper": "async def g(x):\n    return x\n\ndef f(x):\n    return g.__name__ + x",
    "type hints": "def f(x: list[int], *, k: int = 0) -> list[int]:\n    total: int = 0\n    return [total, *x]",
    "f is a lambda": "f = lambda x: x + 1",
    "f is a class": "class f:\n    def __new__(cls, x):\n        return x",
    "one line": "def f(x): return x",
    "blank lines": "\n\ndef f(x):\n\n    y = x\n\n\n    return y\n\n",
    "a call of itself": "def f(n):\n    return 1 if n < 2 else n * f(n - 1)",
    "tabs": "def f(x):\n\tif x:\n\t\treturn 1\n\treturn 2",
    "a multi-line string": "def f(x):\n    return '''\nHello\n  you\n''' + x",
    "a backslash": "def f(x):\n    y = x + \\\n        1\n    return y",
    "an invalid escape": "def f(x):\n    return '\\d' + x",
    "a try at the top": "try:\n    import math\nexcept ImportError:\n    math = None\n\ndef f(x):\n    return x",
}
BARE = set(INVITED) - {
    "a constant first",
    "a multi-line string",
    "a try at the top",
    "f is a lambda",
    "a comment first",
    "comments",
    "blank lines",
}
INPUTS = [
    "1",
    "1, 2",
    "[1,\n 2],\n'a'",
    "inf, nan, -inf",
    "'print(1)'",
    "{'input': [1]}",
    "''",
    "f(1, 2)",
    "'```'",
    "None",
    "(1, 2)",
    "'<answer>'",
    "b'\\x00'",
]


def fenced(program: str, given: str, fence: str = "```") -> str:
    return f"{fence}python\n{program}\n{fence}\n\n{fence}input\n{given}\n{fence}"


@pytest.mark.parametrize("name", INVITED)
@pytest.mark.parametrize("given", INPUTS)
def test_every_invited_program_and_input_is_read_from_blocks(name: str, given: str) -> None:
    assert read_draft(fenced(INVITED[name], given)) == Draft(INVITED[name].strip("\n"), (given,))


@pytest.mark.parametrize("name", INVITED)
def test_every_invited_program_is_read_from_code(name: str) -> None:
    source = INVITED[name].strip("\n")
    for call in ("f(1)", "f([1,\n 2], 'a')", "f(inf, nan)"):
        assert read_draft(f"{source}\n{call}") == Draft(source.rstrip(), (call,))


@pytest.mark.parametrize("name", INVITED)
def test_every_invited_program_is_an_answer(name: str) -> None:
    source = INVITED[name]
    for text in (source, f"```python\n{source}\n```", f"<answer>\n```python\n{source}\n```\n</answer>", f"<answer>{source}</answer>",
                 f"Sure!\n```python\n{source}\n```\nIt is f.", f"Sure!\n<answer>\n```python\n{source}\n```\n</answer>\nIt is f."):  # fmt: skip
        found = find(text, read_program, lambda a, b: a == b)
        assert found.value is not None, text
        assert found.value.strip() == source.strip()


@pytest.mark.parametrize("name", sorted(BARE))
def test_chatter_round_a_bare_program_is_cut_off(name: str) -> None:
    source = INVITED[name].strip()
    assert read_program(f"Here is my program:\n\n{source}\n\nI hope that it helps!") == source
    assert read_draft(f"Here you are.\n{source}\nf(1)\nThat is it.") == Draft(source, ("f(1)",))


@pytest.mark.parametrize(
    "chatter", ["Sure!", "<b>", "Note: f doubles.", "1. First\n2. Second", "Assistant:", "I use `f`.", "So:", "> quote"]
)
def test_chatter_round_blocks_is_harmless(chatter: str) -> None:
    text = f"{chatter}\n\n```python\n{PROGRAM}\n```\n{chatter}\n```input\n1, 2\n```\n{chatter}"
    assert read_draft(text) == Draft(PROGRAM, ("1, 2",))
    assert read_draft(f"{chatter}\n<answer>\n{fenced(PROGRAM, '1, 2')}\n</answer>\n{chatter}") == Draft(
        PROGRAM, ("1, 2",)
    )
    assert read_draft(f"<think>{chatter}```python\nno\n```</think>{text}") == Draft(PROGRAM, ("1, 2",))


@pytest.mark.parametrize("label", ["python", "Python", "py", "python3", "", "code", "program"])
def test_a_program_s_label_is_no_matter(label: str) -> None:
    assert read_draft(f"```{label}\n{PROGRAM}\n```\n```input\n1, 2\n```") == Draft(PROGRAM, ("1, 2",))


def test_an_unlabelled_block_without_a_program_is_an_input() -> None:
    assert read_draft(f"```python\n{PROGRAM}\n```\n```\n1, 2\n```") == Draft(PROGRAM, ("1, 2",))


def test_a_python_block_of_calls_alone_is_an_input() -> None:
    assert read_draft(f"```python\n{PROGRAM}\n```\n```python\nf(1, 2)\n```") == Draft(PROGRAM, ("f(1, 2)",))


def test_an_output_block_is_passed_over() -> None:
    assert read_draft(fenced(PROGRAM, "1, 2") + "\n```output\n3\n```") == Draft(PROGRAM, ("1, 2",))


def test_the_call_may_stand_in_the_program_s_block() -> None:
    assert read_draft(f"```python\n{PROGRAM}\n\nf(1, 2)\n```") == Draft(PROGRAM, ("f(1, 2)",))


def test_longer_fences_hold_programs_with_fences() -> None:
    source = 'def f(x):\n    return """\n```\n""" + x'
    for fence in ("````", "~~~", "~~~~~"):
        assert read_draft(fenced(source, "'a'", fence)) == Draft(source, ("'a'",))


def test_windows_line_endings_are_python_s() -> None:
    assert read_draft(fenced(PROGRAM, "1, 2").replace("\n", "\r\n")) == Draft(PROGRAM, ("1, 2",))


@pytest.mark.parametrize(
    "text",
    [
        fenced(PROGRAM, "1, 2") + "\n" + fenced("def f(x, y):\n    return x", "1, 2"), f"<answer>{PROGRAM}\nf(1, 2)</answer> or <answer>{PROGRAM}\nf(2, 1)</answer>",
        f"<answer>{fenced(PROGRAM, '1, 2')}</answer> <answer>\n{fenced('def f(x, y): return 0', '1')}\n</answer>", "```message\na\n```\n```message\nb\n```\n```input\n1\n```",
    ],
)  # fmt: skip
def test_two_different_proposals_are_a_contradiction(text: str) -> None:
    assert read_draft(text).contradiction


def test_the_same_proposal_twice_is_one() -> None:
    both = f"<answer>\n{fenced(PROGRAM, '1, 2')}\n</answer>\n" * 2
    assert read_draft(both) == Draft(PROGRAM, ("1, 2",))


TEN = [f"[{n}], 'a{n}'" for n in range(10)]


def test_ten_inputs_as_ten_blocks() -> None:
    blocks = "\n".join(f"{n}.\n```input\n{given}\n```" for n, given in enumerate(TEN))
    assert read_draft(f"{blocks}\n```message\nAdds.\n```") == Draft(None, tuple(TEN), "Adds.")


def test_ten_inputs_as_one_block_of_ten_lines() -> None:
    draft = read_draft("```inputs\n" + "\n".join(TEN) + "\n```\n```message\nAdds.\n```")
    assert (draft.message, [line for one in draft.inputs for line in one.split("\n")]) == ("Adds.", TEN)


@pytest.mark.parametrize(
    "frame", ["{}", "```python\n{}\n```", "```\n{}\n```", "<answer>{}</answer>", "Sure:\n\n{}\n\nThat is all."]
)
def test_ten_inputs_as_ten_calls(frame: str) -> None:
    calls = [f"f({given})" for given in TEN]
    draft = read_draft(frame.format("\n".join([*calls, "# Adds the", "# two."])))
    assert draft == Draft(None, tuple(calls), "Adds the two.")


def test_calls_may_run_over_several_lines() -> None:
    draft = read_draft("f([1,\n   2],\n  'é')\nf([3], 'é'); f([4], 'b')\n# hm")
    assert draft == Draft(None, ("f([1,\n   2],\n  'é')", "f([3], 'é')", "f([4], 'b')"), "hm")


@pytest.mark.parametrize(
    "text",
    ["", "hello", "<think>" + fenced(PROGRAM, "1"), "```\n```", "<answer></answer>", "1, 2", "# only a comment", "\0"],
)
def test_a_text_without_a_proposal_has_none(text: str) -> None:
    assert read_draft(text).program is None


@pytest.mark.parametrize("name", INVITED)
@pytest.mark.parametrize("before", [" ", "  ", "\n ", " \n\n  ", "\t"])
def test_an_answer_may_begin_with_a_space(name: str, before: str) -> None:
    source = INVITED[name].strip("\n")
    assert read_program(before + source) == source
    assert read_draft(f"{before}{source}\nf(1)") == Draft(source, ("f(1)",))
    assert find(f"<think>x = 1</think>{before}{source}", read_program, str.__eq__).value == source


@pytest.mark.parametrize("name", sorted(set(INVITED) - {"a multi-line string"}))
@pytest.mark.parametrize("margin", ["    ", " ", "\t"])
def test_an_answer_may_be_indented_as_a_whole(name: str, margin: str) -> None:
    source = INVITED[name].strip("\n")
    found, draft = (
        read(textwrap.indent(f"{source}{after}", margin))
        for read, after in ((read_program, ""), (read_draft, "\nf(1)"))
    )
    assert isinstance(found, str)
    assert isinstance(draft, Draft)
    assert draft.program is not None
    assert form(found).key == form(draft.program).key == form(source).key
    assert draft.inputs == ("f(1)",)


@pytest.mark.parametrize("before", ["", " ", "\n"])
def test_blank_lines_in_a_string_stay_as_they_are(before: str) -> None:
    source = "def f(x):\n    y = '''\n   \n\n  \t\nend'''\n    return x + y"
    assert read_program(before + source) == source
    assert read_draft(f"{before}{source}\nf('a')") == Draft(source, ("f('a')",))
    assert read_draft(fenced(source, "'a'")) == Draft(source, ("'a'",))


@given(sources, st.lists(small_plain_data, min_size=1, max_size=3), st.sampled_from(PromptStyle))
def test_what_the_prompts_write_is_read(source: str, given: list[object], style: PromptStyle) -> None:
    task = Triplet.of(Mode.DEDUCTION, source, given, 0)
    draft = read_draft(prompts.proposal(source, task.arguments, style))
    assert draft.program == source
    assert [values.equal(parse_arguments(one), tuple(given)) for one in draft.inputs] == [True]


@given(
    st.lists(st.lists(small_plain_data, min_size=1, max_size=2), min_size=1, max_size=6), st.sampled_from(PromptStyle)
)
def test_inputs_as_the_prompts_write_them_are_read(inputs: list[list[object]], style: PromptStyle) -> None:
    texts = [Triplet.of(Mode.DEDUCTION, PROGRAM, one, 0).arguments for one in inputs]
    draft = read_draft(prompts.inputs_proposal(texts, "Work out the rule.", style))
    assert (draft.program, draft.message) == (None, "Work out the rule.")
    assert [values.equal(parse_arguments(a), tuple(b)) for a, b in zip(draft.inputs, inputs, strict=True)] == [
        True
    ] * len(inputs)


def test_generated_programs_are_read_back() -> None:
    rng = np.random.default_rng(3)
    for level in generate.LEVELS:
        for _ in range(20):
            made = generate.sample(rng, level=level)
            for style in PromptStyle:
                text = Triplet.of("deduction", made.source, made.inputs[0], made.outputs[0]).arguments
                assert read_draft(prompts.proposal(made.source, text, style)).program == made.source


@given(model_text | st.text())
def test_no_text_raises(text: str) -> None:
    draft = read_draft(text)
    assert not (draft.contradiction and draft.program)
    read_value(text), read_program(text), read_arguments(text, 1)


@pytest.mark.parametrize(
    ("source", "defines"),
    [("def f(): pass", True), ("async def f(): pass", True), ("class f: pass", True), ("f = 1", True), ("def g():\n    def f(): pass", False), ("g = f", False), ("f()", False), ("", False),
     ("f: object = len", True), ("g = f = len", True)],
)  # fmt: skip
def test_defining_the_entry(source: str, defines: bool) -> None:
    assert defines_entry(source) == defines


@pytest.mark.parametrize("piece", ["f()\n", "f(1)\n# a\n", "f(1);", "```input\n1\n```\n", "```\nf(1)\n```\n", "def f(x): return x\n", "<answer>f(1)</answer>", "```python\nf(1)\n```\n",
                                   "# a\n", "```message\na\n```\n", "x = 1\n", "import a\n", "    x\n", "\n", "f(", "@a\n", "<answer>", "'''\n"])  # fmt: skip
def test_the_longest_hostile_proposal_is_read_in_no_time(piece: str) -> None:
    start = time.process_time()
    for length in (20_000, 65_536):
        read_draft((piece * (length // len(piece) + 1))[:length])
    assert time.process_time() - start < 10  # measured: 0.3 s at most; quadratic work takes minutes
