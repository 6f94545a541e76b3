"""Decides whether a proposal may become a task. Runs nothing itself: it looks, then asks the box once for a batch."""

from __future__ import annotations

import ast
import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from azr_sandbox import Call, CallStatus, Limits, NotPlainData, Program, Run, Runner, RunStatus, quiet, values
from azr_sandbox.screen import Rule

from ..errors import BadTask
from ..render import printable
from ..roles import Outcome
from ..room import Brief, Verdict
from .flow import idle_parameters, parameters
from .metrics import complexity
from .normal import form, syntax
from .prompts import ending
from .read import Draft, has_plain_entry, read_draft
from .solve import look
from .tidy import without_remarks
from .triplet import (
    ENTRY,
    HELLO_WORLD,
    MAX_MESSAGE_CHARS,
    MAX_PROGRAM_CHARS,
    MAX_VALUE_CHARS,
    CodeTask,
    InductionTask,
    Mode,
    Triplet,
    WrongNumber,
    arity,
    entry_function,
    parse_arguments,
    render_arguments,
)

SHARE_OF_LIMITS = 0.25  # a task must stay under this share of each: what hangs on a limit hangs on the machine


class Refusal(StrEnum):
    """Why a proposal is not a task. The first four are malformed: nothing was there to be checked."""

    NO_PROGRAM = "no_program"
    NO_INPUT = "no_input"
    NO_MESSAGE = "no_message"
    CONTRADICTION = "contradiction"  # two different proposals in one text
    SYNTAX = "syntax"  # Python can not read the program
    NO_ENTRY = "no_entry"  # it does not define f once, as a plain function
    FORBIDDEN = "forbidden"  # an import beyond the allow list, a dunder, a clock: see azr_sandbox.screen
    TOO_LONG = "too_long"  # the program, an input, the output or the message; nothing is ever cut
    NOT_PLAIN_DATA = "not_plain_data"  # an input or the output
    WRONG_COUNT = "wrong_count"  # not as many inputs as were asked for, or arguments as f takes
    HELD_OUT = "held_out"  # its skeleton is kept aside for tests
    DUPLICATE = "duplicate"  # the pool holds it
    UNUSED_ARGUMENT = "unused_argument"  # the result can not depend on one of several parameters
    CONSTANT = "constant"  # the result can not depend on the input, or is the same for every input
    IDENTITY = "identity"  # the output is the input
    RUNS_NOT = "runs_not"  # it raises, or is stopped at a limit
    NONDETERMINISTIC = "nondeterministic"  # two runs differ
    NEAR_LIMIT = "near_limit"  # it needs more than a quarter of a limit
    HIDDEN_EQUALS_SHOWN = "hidden_equals_shown"  # a hidden pair is among the shown ones
    REPEATED_INPUT = "repeated_input"  # two inputs of an induction proposal are the same
    MESSAGE_CONTAINS_PROGRAM = "message_contains_program"
    MESSAGE_CONTAINS_PAIRS = "message_contains_pairs"  # two or more hidden inputs with their outputs


MALFORMED = frozenset({Refusal.NO_PROGRAM, Refusal.NO_INPUT, Refusal.NO_MESSAGE, Refusal.CONTRADICTION})


@dataclass(frozen=True, slots=True)
class _Refused(Exception):
    """Leaves a check early; caught in this file."""

    refusal: Refusal
    reason: str


@dataclass(frozen=True, slots=True)
class Context:
    """The program that an induction proposal is about, and arguments that are known to suit it."""

    program: str
    arguments: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A proposal that looks right, and must now run."""

    mode: Mode
    program: str
    inputs: tuple[tuple[object, ...], ...]
    message: str
    complexity: Mapping[str, float]  # measured with the look, while the syntax tree is at hand


def read(
    briefs: Sequence[Brief[CodeTask]], texts: Sequence[str], n_pairs: int, box: Callable[[], Runner], limits: Limits
) -> list[Verdict[CodeTask]]:
    """Judge a batch of proposals, with one call of the box for all that look right.

    Args:
        briefs: what was asked for.
        texts: what was written, one per brief.
        n_pairs: how many inputs an induction proposal has.
        box: gives the runner; not called where nothing has to run.
        limits: those of the box, of which a task may use a quarter.
    """
    looked = [_look(brief, text, n_pairs) for brief, text in zip(briefs, texts, strict=True)]
    candidates = [one for one in looked if isinstance(one, _Candidate)]
    programs = [Program(one.program, one.inputs, ENTRY) for one in candidates]
    runs = iter(box().run(programs, times=2, give_up=True) if programs else ())
    return [_finish(one, next(runs), limits) if isinstance(one, _Candidate) else one for one in looked]


def _refused(refusal: Refusal, reason: str) -> Verdict[CodeTask]:
    return Verdict(Outcome.MALFORMED if refusal in MALFORMED else Outcome.REFUSED, reason, refusal)


def _look(brief: Brief[CodeTask], text: str, n_pairs: int) -> _Candidate | Verdict[CodeTask]:
    try:
        draft = read_draft(text)
        if draft.contradiction:
            raise _Refused(Refusal.CONTRADICTION, "two different proposals stand in the text: write one")
        if brief.mode is Mode.INDUCTION:
            return _look_at_inputs(brief, draft, n_pairs)
        return _look_at_program(brief, draft)
    except _Refused as refused:
        return _refused(refused.refusal, refused.reason)


def _look_at_program(brief: Brief[CodeTask], draft: Draft) -> _Candidate:
    program = draft.program
    if program is None:
        raise _Refused(Refusal.NO_PROGRAM, "no program was found: write Python code that defines f")
    if len(program) > MAX_PROGRAM_CHARS:
        raise _Refused(Refusal.TOO_LONG, f"the program has more than {MAX_PROGRAM_CHARS:,} characters")
    try:
        normal = form(program)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise _Refused(Refusal.SYNTAX, f"Python can not read the program: {type(error).__name__}") from None
    if not has_plain_entry(program):
        why = f"the program must define {ENTRY} once, as a plain function at its top level"
        raise _Refused(Refusal.NO_ENTRY, why)
    if not draft.inputs:
        raise _Refused(Refusal.NO_INPUT, "no input was found: write the arguments of f")
    if len(draft.inputs) > 1:
        raise _Refused(Refusal.WRONG_COUNT, f"{len(draft.inputs)} inputs where one is asked for")
    finding = look(program)
    if finding is not None:
        rule = Refusal.SYNTAX if finding.rule is Rule.SYNTAX else Refusal.FORBIDDEN
        raise _Refused(rule, f"forbidden: {finding.detail}")
    if normal.held_out:
        raise _Refused(Refusal.HELD_OUT, "programs of this structure are kept aside for tests")
    program = without_remarks(program)
    arguments = _arguments(draft.inputs[0], arity(program))
    if not _is_seed(normal.key, arguments):
        _check_flow(program)
    return _Candidate(Mode(brief.mode), program, (arguments,), "", complexity(program))


def _look_at_inputs(brief: Brief[CodeTask], draft: Draft, n_pairs: int) -> _Candidate:
    program, message = brief.subject.program, draft.message
    if not draft.inputs:
        raise _Refused(Refusal.NO_INPUT, f"no inputs were found: write {n_pairs} of them")
    if message is None or not message.strip():
        raise _Refused(Refusal.NO_MESSAGE, "no message was found: describe in words what the program does")
    inputs = draft.inputs
    if len(inputs) == 1 and n_pairs > 1 and "\n" in inputs[0].strip():
        inputs = tuple(line for line in inputs[0].split("\n") if line.strip())  # one block, an input a line
    if len(inputs) != n_pairs:
        raise _Refused(Refusal.WRONG_COUNT, f"{len(inputs)} inputs where {n_pairs} are asked for")
    if len(message) > MAX_MESSAGE_CHARS:
        raise _Refused(Refusal.TOO_LONG, f"the message has more than {MAX_MESSAGE_CHARS} characters")
    if printable(message) != message:
        raise _Refused(Refusal.FORBIDDEN, "the message holds control characters: use words")
    if contains_program(message, program):
        raise _Refused(Refusal.MESSAGE_CONTAINS_PROGRAM, "the message gives the program away: use words")
    count = arity(program)
    calls = tuple(_arguments(one, count) for one in inputs)
    half = n_pairs // 2
    shown, hidden = ({values.canonical(call) for call in part} for part in (calls[:half], calls[half:]))
    if shown & hidden:
        raise _Refused(
            Refusal.HIDDEN_EQUALS_SHOWN, f"inputs {half + 1} to {n_pairs} must differ from those before them"
        )
    if len(shown) + len(hidden) < n_pairs:
        raise _Refused(Refusal.REPEATED_INPUT, "two inputs are the same: give different ones")
    return _Candidate(Mode.INDUCTION, program, calls, message, complexity(program))


def _arguments(text: str, count: int | None) -> tuple[object, ...]:
    try:
        arguments = parse_arguments(text, count)
        render_arguments(arguments)  # not too long, once written out
    except WrongNumber as error:
        raise _Refused(Refusal.WRONG_COUNT, str(error)) from None
    except NotPlainData as error:
        long = len(text) > MAX_VALUE_CHARS
        raise _Refused(Refusal.TOO_LONG if long else Refusal.NOT_PLAIN_DATA, f"the input: {error}") from None
    return arguments


def _is_seed(key: bytes, arguments: tuple[object, ...]) -> bool:
    """The identity of "Hello World", with which everything begins: exempt from the refusals of empty tasks."""
    return key == form(HELLO_WORLD).key and arguments == ("Hello World",)


def _check_flow(program: str) -> None:
    function = entry_function(syntax(program))
    assert function is not None  # `has_plain_entry` has seen it
    idle = idle_parameters(function)
    if len(idle) == len(parameters(function)):
        raise _Refused(Refusal.CONSTANT, "the result does not depend on the input")
    if idle:
        raise _Refused(Refusal.UNUSED_ARGUMENT, f"the result does not depend on {', '.join(idle)[:100]}")


def contains_program(message: str, program: str) -> bool:
    """Whether a message gives the program away: a definition, a lambda, a fence, or a line of the body."""
    if re.search(r"(?i)```|~~~|\bdef\s+\w+\s*\(|\blambda\b[^:\n]*:|\breturn\s+\S*[\[\](){}+*/%<>=-]", message):
        return True
    said = "".join(unicodedata.normalize("NFKC", message).split())
    lines = ("".join(line.split()) for line in program.split("\n"))
    pieces = {line for line in lines if len(line) >= 8 and not line.startswith("def")} | _pieces(program)
    return any(piece in said for piece in pieces)


def contains_pairs(message: str, pairs: Sequence[tuple[str, str]]) -> bool:
    """Whether a message names two or more of the pairs: their arguments, and their output."""
    return sum(all(re.search(rf"(?<!\w){re.escape(one)}(?!\w)", message) for one in pair) for pair in pairs) > 1


def _pieces(program: str) -> set[str]:
    """What a program computes, as Python would write it, without spaces: values that it returns or gives names to."""
    pieces: set[str] = set()
    for node in quiet.nodes(program):
        value = getattr(node, "value", None)
        if isinstance(node, ast.Return | ast.Assign | ast.AugAssign | ast.NamedExpr | ast.Yield) and value is not None:
            try:
                piece = "".join(ast.unparse(value).split())
            except (RecursionError, ValueError):  # too deep, or an integer that Python refuses to print
                continue
            if len(piece) > 2 and not isinstance(value, ast.Constant | ast.Name):
                pieces.add(piece)
    return pieces


def _finish(candidate: _Candidate, run: Run, limits: Limits) -> Verdict[CodeTask]:
    try:
        task = _task(candidate, run, limits)
    except _Refused as refused:
        return _refused(refused.refusal, refused.reason)
    _ = task.key  # computed here: many processes judge, and one asks for it
    return Verdict(Outcome.ACCEPTED, "a new task", task=task, metrics=candidate.complexity)


def _task(candidate: _Candidate, run: Run, limits: Limits) -> Triplet | InductionTask:
    if run.status is RunStatus.NONDETERMINISTIC:
        raise _Refused(Refusal.NONDETERMINISTIC, "the program gives different results when it is run again")
    for call in run.calls:
        _check_call(call, limits)
    if run.status is not RunStatus.OK:
        raise _Refused(Refusal.RUNS_NOT, "the program did not end as a program should")
    outputs = [call.value for call in run.calls]
    if not _is_seed(form(candidate.program).key, candidate.inputs[0]):
        same = [
            len(given) == 1 and values.equal(given[0], out)
            for given, out in zip(candidate.inputs, outputs, strict=True)
        ]
        if all(same):
            raise _Refused(Refusal.IDENTITY, "the output is the input: nothing is left to find")
        if candidate.mode is Mode.INDUCTION and not tells_something(outputs):
            raise _Refused(Refusal.CONSTANT, "all shown or all hidden inputs give the same output")
    try:
        if candidate.mode is Mode.INDUCTION:
            pairs = zip(candidate.inputs, outputs, strict=True)
            task = InductionTask.of(candidate.program, pairs, candidate.message)
            if contains_pairs(task.message, task.hidden):
                raise _Refused(Refusal.MESSAGE_CONTAINS_PAIRS, "the message tells hidden inputs with their outputs")
            return task
        return Triplet.of(candidate.mode, candidate.program, candidate.inputs[0], outputs[0])
    except BadTask as error:  # all but the output's length was checked before
        raise _Refused(Refusal.TOO_LONG, f"the output: {error}") from None


def tells_something(outputs: Sequence[object]) -> bool:
    """Whether either half of an induction task's outputs has two that differ; a half of one needs none."""
    keys, half = [values.canonical(output) for output in outputs], len(outputs) // 2
    return half < 2 or (len(set(keys[:half])) > 1 and len(set(keys[half:])) > 1)


def _check_call(call: Call, limits: Limits) -> None:
    match call.status:
        case CallStatus.OK:
            pass
        case CallStatus.NOT_PLAIN_DATA:
            raise _Refused(Refusal.NOT_PLAIN_DATA, "the program returns something that is not plain data")
        case CallStatus.OUTPUT_LIMIT:
            raise _Refused(Refusal.TOO_LONG, "the program returns too long a value")
        case _:
            raise _Refused(Refusal.RUNS_NOT, f"the program {ending(call)}")
    cost, share = call.cost, SHARE_OF_LIMITS
    near = (
        cost.cpu_s > share * limits.cpu_s
        or cost.wall_s > share * limits.wall_s
        or cost.memory_mb > share * limits.memory_mb
        or cost.output_bytes > share * limits.output_bytes
    )
    if near:
        raise _Refused(Refusal.NEAR_LIMIT, f"the program needs more than {share:.0%} of a limit")
