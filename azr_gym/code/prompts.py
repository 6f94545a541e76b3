"""Every word that a model reads in the code room. Each prompt states exactly what the reader of its answer accepts.

`full` is natural language, for pretrained models. `compact` is Python with a few marks, for small models: a task ends
in `? =`, and the answer is what `?` stands for.
"""

from __future__ import annotations

from azr_sandbox import Call, CallStatus

from ..roles import PromptStyle
from ..room import Brief, Verdict
from .triplet import (
    MAX_MESSAGE_CHARS,
    MAX_PROGRAM_CHARS,
    MAX_VALUE_CHARS,
    CodeTask,
    InductionTask,
    Mode,
    Triplet,
)

_MODULES = "math, re, string, collections, itertools, functools, operator, json, datetime, decimal, fractions"
_VALUES = (
    "Values are Python literals: numbers (inf and nan too), strings, bytes, True, False, None, lists, tuples, dicts, "
    "sets and set()."
)
ANY_HINT = "Work out the rule."  # of a baseline that proposes induction tasks
_ANSWER = "Think it through first if you like; then put {what} between <answer> and </answer>."

# Why an answer is not right: what `info` says, and a second attempt reads. Never the key.
RIGHT = "that is right"
CONTRADICTION = "two answers that differ: give one"
UNREADABLE = {
    Mode.DEDUCTION: "no value could be read: write one Python value",
    Mode.ABDUCTION: "no input could be read: write the arguments of f as Python values",
    Mode.INDUCTION: "no program could be read: write Python code that defines f",
}
NOT_THAT_VALUE = "f does not return that value"
NOT_THAT_OUTPUT = "f of that input returns another value"
FAILED = "f of that input {}"
FORBIDDEN = "the program uses something forbidden: {}"
NONDETERMINISTIC = "the program gives different results when it is run again"
NOT_EVERY_OUTPUT = "the program does not give every hidden output"
FAILS_ON_ONE = "the program fails on one of the hidden inputs"  # how and where would tell of the input
_ENDINGS = {
    CallStatus.CPU_LIMIT: "ran too long",
    CallStatus.WALL_LIMIT: "ran too long",
    CallStatus.MEMORY_LIMIT: "needed too much memory",
    CallStatus.OUTPUT_LIMIT: "returned too long a value",
    CallStatus.NOT_PLAIN_DATA: "returned something that is not plain data",
    CallStatus.KILLED: "was stopped by the sandbox",
}


def ending(call: Call) -> str:
    """How a call that gave no value ended."""
    if call.status is CallStatus.ERROR and call.error is not None:
        where = f" in line {call.error.line}" if call.error.line else ""
        return f"raised {call.error.type or 'an exception of its own'}{where}"
    return _ENDINGS[call.status]


def solve(task: CodeTask, style: PromptStyle) -> str:
    """What a solver reads. The key of the task is not looked at."""
    if isinstance(task, InductionTask):
        return _induction(task, style)
    assert isinstance(task, Triplet)
    if style is PromptStyle.COMPACT:
        if task.mode is Mode.DEDUCTION:
            return f"{task.program}\nf({task.arguments}) == ?\n? ="
        return f"{task.program}\nf(?) == {task.output}\n? ="
    program = _fence("python", task.program)
    if task.mode is Mode.DEDUCTION:
        return (
            f"Here is a Python program.\n\n{program}\n\nIt is called as\n\n"
            f"{_fence('python', f'f({task.arguments})')}\n\n"
            f"Which value does this call return? {_VALUES}\n{_ANSWER.format(what='that one value')}\n"
        )
    return (
        f"Here is a Python program.\n\n{program}\n\nA call of f has returned\n\n{_fence('output', task.output)}\n\n"
        "Find an input that gives this output. Any such input is right, it need not be the one that was used. "
        f"Write the arguments as they stand between the brackets of the call, separated by commas. {_VALUES}\n"
        f"{_ANSWER.format(what='the arguments')}\n"
    )


def _induction(task: InductionTask, style: PromptStyle) -> str:
    pairs = "\n".join(f"f({arguments}) == {output}" for arguments, output in task.shown)
    if style is PromptStyle.COMPACT:
        message = f"# {_one_line(task.message)}\n" if task.message else ""
        return f"{pairs}\n{message}? ="
    message = f"\n\nWhoever wrote it says of it:\n\n{_fence('message', task.message)}" if task.message else ""
    return (
        f"A hidden Python function f gives these results.\n\n{_fence('python', pairs)}{message}\n\n"
        "Write a Python program that defines f, with the same results here and on other inputs that are not shown. "
        f"It must give the same result every time, and may import {_MODULES}.\n"
        f"{_ANSWER.format(what='the program, as a ```python block,')}\n"
    )


def propose(brief: Brief[CodeTask], n_pairs: int, style: PromptStyle) -> str:
    """What a proposer reads."""
    if brief.mode is Mode.INDUCTION:
        return _propose_inputs(brief.subject.program, n_pairs, style)
    references = [task for task in brief.references if isinstance(task, Triplet)]
    if style is PromptStyle.COMPACT:
        shown = "".join(f"{task.program}\nf({task.arguments})\n\n" for task in references)
        return f"{shown}# {brief.mode}\n"
    wanted = {
        Mode.DEDUCTION: "Another model will see the program and the input, and must work out the output.",
        Mode.ABDUCTION: "Another model will see the program and its output, and must find an input that gives it.",
    }[Mode(brief.mode)]
    examples = "\n\n".join(
        f"Example {number}:\n\n{_fence('python', task.program)}\n\n{_fence('input', task.arguments)}\n\n"
        f"{_fence('output', task.output)}"
        for number, task in enumerate(references, 1)
    )
    seen = f"These exist already; yours must differ from them.\n\n{examples}\n\n" if examples else ""
    return (
        f"Invent a Python program and an input for it. {wanted} The best task is one that it solves sometimes, and "
        f"not always.\n\n{seen}"
        "What you write:\n"
        "- A ```python block with a function f, at the top level. Helper functions, nested functions and classes "
        f"are fine; comments are dropped. You may import {_MODULES}.\n"
        "- An ```input block with the arguments of f, as they stand between the brackets of the call, separated by "
        f"commas, also where they stand on several lines. {_VALUES}\n\n"
        "What makes it a task:\n"
        "- The result is such a value too, and not the input itself.\n"
        "- The result depends on every parameter of f, and on nothing else: no randomness, no clock, no files, no "
        "printing that matters. It is the same whenever the program is run.\n"
        f"- It runs in far less than a second. The program has at most {MAX_PROGRAM_CHARS:,} characters, the input and "
        f"the output {MAX_VALUE_CHARS:,} each.\n"
    )


def _propose_inputs(program: str, n_pairs: int, style: PromptStyle) -> str:
    if style is PromptStyle.COMPACT:
        return f"{program}\n\n# induction {n_pairs}\n"
    return (
        f"Here is a Python program.\n\n{_fence('python', program)}\n\n"
        f"Invent {n_pairs} inputs for it, and a message. Another model will see your message, the first "
        f"{n_pairs // 2} inputs and their outputs, and must write the program; it is tested on the other "
        f"{n_pairs - n_pairs // 2}. The best task is one that it solves sometimes, and not always.\n\n"
        "What you write:\n"
        f"- {n_pairs} ```input blocks, each with the arguments of f as they stand between the brackets of the call, "
        f"separated by commas. {_VALUES}\n"
        f"- A ```message block of at most {MAX_MESSAGE_CHARS} characters: a hint in words, without code.\n\n"
        "What makes it a task:\n"
        "- The program runs on every input, and neither the first nor the second half of the outputs is all the same.\n"
        "- All inputs differ, and together they show what the program does.\n"
    )


def answer(task: CodeTask, style: PromptStyle) -> str:
    """A right answer, as a solver would write it."""
    if isinstance(task, InductionTask):
        return (
            task.program if style is PromptStyle.COMPACT else f"<answer>\n{_fence('python', task.program)}\n</answer>"
        )
    assert isinstance(task, Triplet)
    value = task.output if task.mode is Mode.DEDUCTION else task.arguments
    return value if style is PromptStyle.COMPACT else f"<answer>{value}</answer>"


def proposal(program: str, arguments: str, style: PromptStyle) -> str:
    """A program and an input, as a proposer would write them."""
    if style is PromptStyle.COMPACT:
        return f"{program}\nf({arguments})"
    return f"{_fence('python', program)}\n\n{_fence('input', arguments)}"


def inputs_proposal(inputs: list[str], message: str, style: PromptStyle) -> str:
    """Inputs and a message, as a proposer would write them."""
    if style is PromptStyle.COMPACT:
        return "\n".join([*(f"f({arguments})" for arguments in inputs), f"# {_one_line(message)}"])
    return "\n\n".join([*(_fence("input", arguments) for arguments in inputs), _fence("message", message)])


def retry(prompt: str, text: str, verdict: Verdict[CodeTask], style: PromptStyle) -> str:
    """The prompt of a further attempt: what was asked, what was answered, and why that is not right."""
    said = text if len(text) <= MAX_PROGRAM_CHARS else text[:MAX_PROGRAM_CHARS] + " ..."
    if style is PromptStyle.COMPACT:
        return f"{prompt}{said}\n# {verdict.reason}\n? ="
    return f"{prompt}\nYou have answered\n\n{said}\n\nThat is not right: {verdict.reason}. Answer again.\n"


def _fence(label: str, body: str) -> str:
    """A fence that is longer than any in the body."""
    ticks = "```"
    while ticks in body:
        ticks += "`"
    return f"{ticks}{label}\n{body}\n{ticks}"


def _one_line(text: str) -> str:
    return " ".join(text.split())
