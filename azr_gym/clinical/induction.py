"""Induction in the clinic: judges rules that solvers write, and decides whether proposed patients may become a task.

Rules are read and judged in `rules.py`; the key never leaves here.
"""

from __future__ import annotations

import ast
import json
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from azr_gym import text as texts
from azr_gym.clinical import prompts
from azr_gym.clinical.case import Parsed, closed, json_object, parse_case
from azr_gym.clinical.engine import Verdict as Engines
from azr_gym.clinical.library import Library, mentioned, most_words, plain
from azr_gym.clinical.plausible import rejected
from azr_gym.clinical.propose import TROUBLES, Refusal, refused
from azr_gym.clinical.rules import Rule, Rulebook, columns_of
from azr_gym.clinical.solve import other
from azr_gym.clinical.task import (
    MAX_FACTS_EACH,
    MAX_MESSAGE_CHARS,
    N_PAIRS,
    ClinicalTask,
    Facts,
    InductionTask,
    frozen,
    mixed,
)
from azr_gym.render import printable
from azr_gym.roles import Outcome
from azr_gym.room import Brief, Verdict

PERSON_LINE = re.compile(r"^[ \t]*(?=\d+(?:\.\d+)? [FM](?: pregnant)?[ \t]*$)", re.MULTILINE)  # a patient begins
NUMBER = re.compile(r"\d+(?:\.\d+)?")
MOST_READ = 4 * N_PAIRS  # patients of a text; whoever writes more has not done what was asked for


# --- answers --------------------------------------------------------------------------------------------------------
def judge(task: InductionTask, answer: str, book: Rulebook) -> Verdict[ClinicalTask]:
    """Judge a rule on the hidden patients: it is right where it settles every one of them as the hidden rule does."""
    found = texts.find(answer, book.read, lambda a, b: a.text == b.text)
    if found.value is None:
        return Verdict(Outcome.MALFORMED, prompts.TWO_RULES if found.contradiction else prompts.NO_RULE)
    said = book.labels(found.value, tuple(facts for facts, _ in task.hidden))
    share = sum(one is label for one, (_, label) in zip(said, task.hidden, strict=True)) / len(task.hidden)
    if share == 1.0:
        return Verdict(Outcome.CORRECT, prompts.RIGHT_RULE, correctness=1.0)
    return Verdict(Outcome.WRONG, prompts.UNSETTLED if None in said else prompts.OTHER_LABELS, correctness=share)


# --- proposals ------------------------------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class _Draft:
    """A proposal as it was written."""

    patients: tuple[Parsed, ...] = ()
    message: str | None = None


class _Refused(Exception):
    """Leaves a check early; caught in this file."""

    def __init__(self, refusal: Refusal, reason: str) -> None:
        super().__init__(reason)
        self.refusal = refusal


def read(brief: Brief[ClinicalTask], text: str, book: Rulebook) -> Verdict[ClinicalTask]:
    """Judge a proposal: ten patients and a message for the rule that the brief names.

    Args:
        brief: what was asked for; its subject is the rule, as text.
        text: what was written.
        book: gives the labels.
    """
    rule = book.read(brief.subject)
    assert rule is not None  # a brief is made of a rule that was read
    try:
        task = _task(rule, _draft(text, book.known), book)
    except _Refused as no:
        return refused(no.refusal, str(no))
    numbers = {"facts": float(len(book.grounds(rule)))}
    return Verdict(Outcome.ACCEPTED, "a new task", task=task, metrics=numbers)


def _draft(text: str, known: Library) -> _Draft:
    """A proposal: in tags, in a fence, or bare.

    Raises:
        _Refused: two that differ.
    """
    said = texts.spoken(text) or ""
    for pieces in (texts.tagged(said), [block.body for block in texts.blocks(said)], [said]):
        drafts = [draft for draft in (_read_piece(piece, known) for piece in pieces) if draft.patients]
        if any(draft != drafts[0] for draft in drafts):
            raise _Refused(Refusal.CONTRADICTION, "two different proposals stand in the text: write one")
        if drafts:
            return drafts[0]
    return _Draft()


def _read_piece(text: str, known: Library) -> _Draft:
    if PERSON_LINE.search(text):
        lines = text.strip("\n").split("\n")
        message = "\n".join(line.lstrip("# ") for line in lines if line.startswith("#"))
        rest = "\n".join(line for line in lines if not line.startswith(("#", "=")))
        parts = [part for part in PERSON_LINE.split(rest) if part.strip()]
        return _Draft(tuple(parse_case(part, known) for part in parts[:MOST_READ]), message)
    data = json_object(text)
    rows = data.get("patients") if isinstance(data, dict) else None
    if not isinstance(rows, list):
        return _Draft()
    said = data.get("message")
    patients = tuple(parse_case(json.dumps(row), known) for row in rows[:MOST_READ])
    return _Draft(patients, said if isinstance(said, str) else None)


def _task(rule: Rule, draft: _Draft, book: Rulebook) -> InductionTask:
    if not draft.patients:
        raise _Refused(Refusal.MALFORMED, f"no patients were found: write {N_PAIRS} of them")
    if draft.message is None or not draft.message.strip():
        raise _Refused(Refusal.NO_MESSAGE, "no message was found: give a hint in words")
    if len(draft.patients) != N_PAIRS:
        raise _Refused(Refusal.WRONG_COUNT, f"{len(draft.patients)} patients where {N_PAIRS} are asked for")
    _check_message(draft.message, rule, book.known)
    if rule.held_out:
        raise _Refused(Refusal.HELD_OUT, "rules of this structure are kept aside for tests")
    patients = tuple(_facts(number, one, book.known) for number, one in enumerate(draft.patients, 1))
    if len(set(patients)) < N_PAIRS:
        raise _Refused(Refusal.REPEATED_PATIENT, "two patients are the same: give different ones")
    _check_possible(patients, book.known)
    labels = book.labels(rule, patients)
    if None in labels:
        reason = f"whether patient {labels.index(None) + 1} meets the rule is not settled: say what it looks at"
        raise _Refused(Refusal.UNDECIDED, reason)
    pairs = tuple((facts, bool(label)) for facts, label in zip(patients, labels, strict=True))
    half = N_PAIRS // 2
    if not (mixed(pairs[:half]) and mixed(pairs[half:])):
        raise _Refused(Refusal.ONE_LABEL, f"the first {half} and the last {half} must each hold both labels")
    return InductionTask(rule.text, pairs, draft.message)


def _check_message(message: str, rule: Rule, known: Library) -> None:
    if len(message) > MAX_MESSAGE_CHARS:
        raise _Refused(Refusal.TOO_LONG, f"the message has more than {MAX_MESSAGE_CHARS} characters")
    if printable(message) != message:
        raise _Refused(Refusal.FORBIDDEN, "the message holds control characters: use words")
    if tells_rule(message, rule, known):
        raise _Refused(Refusal.MESSAGE_CONTAINS_RULE, "the message gives the rule away: use a hint in words")


def tells_rule(message: str, rule: Rule, known: Library) -> bool:
    """Whether a message gives the rule away: a test of it as it is written there, or all its facts and numbers."""
    said = "".join(unicodedata.normalize("NFKC", message).casefold().split())
    tree = ast.parse(rule.text, mode="eval")
    tests = (node for node in ast.walk(tree) if isinstance(node, ast.Compare | ast.BoolOp | ast.Call | ast.UnaryOp))
    if any("".join(ast.unparse(node).split()) in said for node in tests):
        return True
    names = {**known.names["analyte"], **known.names["finding"]}
    words = plain(message)
    facts = {*mentioned(words, names, most_words(names))}
    facts |= {name for name in rule.criterion.names if f" {plain(name)} " in f" {words} "}
    numbers = {float(number) for number in NUMBER.findall(message)}
    constants = (node.value for node in ast.walk(tree) if isinstance(node, ast.Constant))
    wanted = {float(value) for value in constants if isinstance(value, int | float)}
    return rule.criterion.names <= facts and wanted <= numbers


def _facts(number: int, parsed: Parsed, known: Library) -> Facts:
    if parsed.trouble is not None:
        raise _Refused(TROUBLES[parsed.trouble], f"patient {number}: {parsed.reason}")
    facts = closed(parsed.facts, known)
    if len(facts) > MAX_FACTS_EACH:
        raise _Refused(Refusal.TOO_LONG, f"patient {number}: a patient has at most {MAX_FACTS_EACH} facts here")
    return frozen(facts)


def _check_possible(patients: Sequence[Facts], known: Library) -> None:
    for place in map(int, np.flatnonzero(rejected(known.columns(columns_of(patients), len(patients)), known))):
        why = other(Engines.IMPLAUSIBLE, dict(patients[place]), known)
        raise _Refused(Refusal.IMPLAUSIBLE, f"patient {place + 1}: {why}")
