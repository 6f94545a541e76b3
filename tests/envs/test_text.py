"""Finding the answer in model text: chatter is harmless, contradictions are seen, and no text costs more than its length."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from azr_gym import text as texts
from azr_gym.code.normal import form
from azr_gym.code.read import read_arguments, read_program, read_value
from azr_gym.text import Block, Found, blocks, find, spoken, tagged
from azr_sandbox import values

from strategies import model_text, plain_data

CHATTER = [
    "", "Sure!", "Assistant:", "User: what is it?\nAssistant: let me see.", "Let me think step by step.\n\n1) f doubles x.", "# Answer",
    "The answer is below.", "It is `obvious`, **really**.", "\\boxed{}", "I'd say (maybe) [so]...", "\r", "<b>html</b>", "x == y?",
]  # fmt: skip


def value(text: str) -> object:
    """The value found; "missing" and "contradiction" in angle brackets."""
    found = find(text, read_value, values.equal)
    return found.value[0] if found.value else "<contradiction>" if found.contradiction else "<missing>"


@given(plain_data)
def test_an_answer_in_tags_is_found_whatever_it_is(answer: object) -> None:
    assert values.equal(value(f"<answer>{values.render(answer)}</answer>"), answer)


@given(plain_data)
def test_a_bare_answer_is_found_whatever_it_is(answer: object) -> None:
    assert values.equal(value(values.render(answer)), answer)


@pytest.mark.parametrize(
    "answer",
    [
        "<answer>",
        "</answer>",
        "<answer>1</answer>",
        "<think>",
        "</think>",
        "```",
        "```\n5\n```",
        "~~~",
        "Assistant:",
        "answer: 5",
        "5.",
    ],
)
def test_a_string_may_hold_any_marker(answer: str) -> None:
    assert value(f"<answer>{answer!r}</answer>") == answer
    assert value(f"\n <answer> {answer!r} \n</answer>\n") == answer
    assert value(f"\n {answer!r}\n") == answer


@pytest.mark.parametrize("answer", ["<answer>", "</answer>", "a</answer>b<answer>c", "```\n5\n```"])
@pytest.mark.parametrize("chatter", CHATTER)
def test_a_string_with_tags_is_found_among_chatter_too(answer: str, chatter: str) -> None:
    assert value(f"{chatter}\n<answer>{answer!r}</answer>\n{chatter}") == answer


@pytest.mark.parametrize("before", CHATTER)
@pytest.mark.parametrize("after", ["", "That is it.", "Assistant: no, wait", "</s>"])
@pytest.mark.parametrize("form", ["<answer>[1, 2]</answer>", "<answer>\n[1,\n 2]\n</answer>", "```python\n[1, 2]\n```", "```\n[1, 2]\n```",
                                  "~~~\n[1, 2]\n~~~", "<answer>\n```\n[1, 2]\n```\n</answer>", "<answer>[1, 2]", "```[1, 2]```"])  # fmt: skip
def test_chatter_round_an_answer_is_harmless(before: str, form: str, after: str) -> None:
    if not (after and form.endswith(("<answer>[1, 2]", "[1, 2]```"))):
        assert value(f"{before}\n{form}\n{after}") == [1, 2]


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("The answer is 42.", 42), ("Output: [1, 2]", [1, 2]), ("so the final answer is: 'a'", "a"), ("**42**", 42), ("`42`", 42), ("Answer = 7", 7),
        ("I think so.\n\n[1, 2]", [1, 2]), ("42\nThat is all.", 42), ("5\n5", 5), ("Result: -inf", float("-inf")), ("value is\n3", 3),
        ("[1,\n 2,\n 3]", [1, 2, 3]), ("{'a': 1,\n 'b': 2}\n", {"a": 1, "b": 2}), ("'''a\nb'''", "a\nb"), ("1.", 1.0), ("Answer: 0.5.", 0.5), ("None", None),
        ("Assistant: 5\n7", 7), ("nan.", "<missing>"), ("...", "<missing>"), (".", "<missing>"), ("", "<missing>"), ("answer", "<missing>"),
    ],
)  # fmt: skip
def test_bare_answers_are_read_line_by_line(text: str, answer: object) -> None:
    if text == "nan.":
        assert values.equal(value(text), float("nan"))
    else:
        assert value(text) == answer


@pytest.mark.parametrize("text", ["f(3) == 4", "x = 4", "4 == 4", "f(3)", "4 (four)", "about 4", "2 + 2"])
def test_an_equation_is_no_value(text: str) -> None:
    assert value(text) == "<missing>"


@pytest.mark.parametrize(
    "text",
    [
        "<answer>1</answer> <answer>2</answer>", "<answer>1</answer><answer>True</answer>", "```\n1\n```\n```\n2\n```", "1\n2", "The answer is 1.\nThe answer is 2.",
        "<answer>```\n1\n```\n```\n2\n```</answer>", "<answer>1</answer> no: <answer>\n```\n2\n```\n</answer>", "<answer>1</answer> or <answer>2",
    ],
)  # fmt: skip
def test_two_answers_that_differ_are_a_contradiction(text: str) -> None:
    assert value(text) == "<contradiction>"


@pytest.mark.parametrize(
    "text",
    [
        "<answer>1</answer> <answer> 1 </answer>", "```\n1\n```\n```\n0x1\n```", "1\n1", "<answer>1</answer> well, <answer>hm</answer>",
        "<answer>```\n1\n```</answer> so <answer>1</answer>",
    ],
)  # fmt: skip
def test_equal_answers_are_one(text: str) -> None:
    assert value(text) == 1


def test_the_most_explicit_form_counts() -> None:
    assert value("```\n1\n```\n<answer>2</answer>\n3") == 2
    assert value("1\n```\n2\n```\n3") == 2
    assert value("<answer>I give up</answer>\n```\n2\n```") == 2
    assert value("<answer>I give up</answer>\n3") == "<missing>"


@pytest.mark.parametrize(
    "thought", ["", "so 5?", "<answer>5</answer>", "```\n5\n```", "5", "<think>", "<answer>", "```"]
)
def test_thoughts_do_not_count(thought: str) -> None:
    assert value(f"<think>{thought}</think>\n<answer>7</answer>") == 7
    assert value(f"{thought}</think>7") == 7
    assert value(f"<think>{thought}</think>") == "<missing>"
    assert value(f"<think>{thought}") == "<missing>"
    assert value(f"<think>a</think>8<think>{thought}</think>7") == 7
    assert value(f"<answer>7</answer><think>{thought}") == "<missing>"


def test_an_answer_inside_thoughts_is_not_taken_for_a_tagged_text() -> None:
    assert value("<think>hm</think><answer>1</answer>") == 1
    assert value("<answer>1</answer></think>") == "<missing>"
    assert value("<answer>1</answer></think><answer>2</answer>") == 2


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("```\na\n```", [Block("", "a")]),
        ("```Python extra words\r\na\r\n```", [Block("python", "a\r")]),
        ("  ```\n  a\n  ```  ", [Block("", "  a")]),
        ("```\na", [Block("", "a")]),
        ("```", [Block("", "")]),
        ("```a```", [Block("", "a")]),
        ("````\n```\na\n```\n````", [Block("", "```\na\n```")]),
        ("~~~\n```\n~~~", [Block("", "```")]),
        ("```\n~~~\n```", [Block("", "~~~")]),
        ("```\na\n`````", [Block("", "a")]),
        ("````\na\n```\nb", [Block("", "a\n```\nb")]),
        ("```\n```python\na\n```", [Block("", "```python\na")]),
        ("``\na\n``", []),
        ("see ```a``` there", []),
        ("```x\n1\n```\nand\n```y\n2\n```", [Block("x", "1"), Block("y", "2")]),
    ],
)
def test_fences(text: str, found: list[Block]) -> None:
    assert blocks(text) == found


@pytest.mark.parametrize(
    ("text", "found"),
    [("", []), ("<answer>", [""]), ("<answer></answer>", [""]), ("</answer>1<answer>2", ["2"]), ("<answer>1<answer>2</answer>3</answer>", ["1<answer>2"]),
     ("<Answer>1</Answer>", []), ("<answer >1</answer>", [])],
)  # fmt: skip
def test_tags(text: str, found: list[str]) -> None:
    assert tagged(text) == found


def test_an_unclosed_tag_or_fence_reaches_to_the_end() -> None:
    assert value("<answer>[1,\n2]") == [1, 2]
    assert value("so:\n```python\n[1,\n2]") == [1, 2]


@pytest.mark.parametrize("ending", ["\r\n", "\r", "\n"])
def test_any_line_ending_will_do(ending: str) -> None:
    for text in (
        "so\n```python\n[1,\n2]\n```\nyes",
        "so\n<answer>\n[1,\n2]\n</answer>",
        "so\n\n[1, 2]\n\nyes",
        "<think>\n</think>\n[1,\n2]\n",
    ):
        assert value(text.replace("\n", ending)) == [1, 2]
    program = find("```\ndef f(x):\n    return x\n```".replace("\n", ending), read_program, lambda a, b: a == b)
    assert program.value == "def f(x):\n    return x"


@given(model_text | st.text())
def test_any_text_is_an_answer_or_none(text: str) -> None:
    for read in (read_value, lambda one: read_arguments(one, None), lambda one: read_arguments(one, 2)):
        found = find(text, read, values.equal)
        assert (found.value is None) == (found.missing or found.contradiction)
    find(text, read_program, lambda a, b: form(a).key == form(b).key)
    spoken(text)


@given(model_text)
def test_what_is_read_comes_from_the_text(text: str) -> None:
    plain = text.replace("\r\n", "\n").replace("\r", "\n")
    seen: list[str] = []
    assert find(text, seen.append, lambda a, b: True) == Found(missing=True)
    assert all(one in plain or one in text for one in seen)


LENGTH = 65_536
PIECES = [
    "<answer>", "</answer>", "<answer>1</answer>", "<answer>[]</answer>", "```", "```\n", "```\n[]\n```\n", "~~~\n", "`", "<think>", "</think>", "(", "\n[", "[]\n",
    "[1],\n", "answer ", "answer:", "The answer is ", "f(", "f()\n", "f(1)\n# a\n", "def f(x):\n", "def f(x):return x\n", "```\ndef f(x):return x\n```\n",
    "<answer>def f(x):return x</answer>", "```input\n1\n```\n", "import a\n", "from a", "\n ", "a = ", "\n", "\r", "\\\n", "'", "# \n", "a=1\n", "-", "'''\n", "\0", "\ud800\n", " ",
]  # fmt: skip


@pytest.mark.parametrize("piece", PIECES, ids=repr)
def test_what_is_handed_on_grows_no_faster_than_the_text(piece: str) -> None:
    for length in (LENGTH // 4, LENGTH):
        text = (piece * (length // len(piece) + 1))[:length]
        seen: list[str] = []
        find(text, seen.append, lambda a, b: True)
        assert sum(map(len, seen)) <= 8 * length
        assert len(seen) <= length // 4 + texts._MAX_LINES + 8


@pytest.mark.parametrize("piece", PIECES, ids=repr)
def test_the_longest_hostile_text_is_read_in_no_time(piece: str) -> None:
    text = (piece * (LENGTH // len(piece) + 1))[:LENGTH]
    start = time.process_time()
    find(text, read_value, values.equal)
    find(text, lambda one: read_arguments(one, None), values.equal)
    find(text, read_program, lambda a, b: form(a).key == form(b).key)
    assert time.process_time() - start < 10  # measured: 0.2 s at most; quadratic work takes minutes


def test_code_within_a_line_is_an_answer_where_no_line_is_one() -> None:
    assert value("So `f` returns `[1, 3]` here.") == [1, 3]
    assert value("It is `1`, no, `2`.") == "<contradiction>"
    assert value("First `9` maybe.\n7\n") == 7
