"""Judges answers in the clinic. Asks the engine, and no model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum

from azr_gym import text as texts
from azr_gym.clinical import prompts
from azr_gym.clinical.case import Parsed, closed, parse_case
from azr_gym.clinical.engine import Diagnosis, Engine
from azr_gym.clinical.engine import Verdict as Engines
from azr_gym.clinical.library import PREGNANT, Level, Library
from azr_gym.clinical.match import Matcher
from azr_gym.clinical.plausible import remarks
from azr_gym.clinical.task import CaseTask, ClinicalTask, Mode
from azr_gym.roles import Outcome
from azr_gym.room import Verdict

TOLERANCE = 0.51  # of the last place that a value is written with


class Credit(StrEnum):
    """What an answer that is not quite the diagnosis is worth."""

    EXACT = "exact"  # nothing
    HIERARCHICAL = "hierarchical"  # a more general name of it is half right: in `correctness`, not in the reward


def judge(
    tasks: Sequence[CaseTask], answers: Sequence[str], engine: Engine, matcher: Matcher, credit: Credit
) -> list[Verdict[ClinicalTask]]:
    """Judge a batch of answers, with one call of the engine for all patients among them.

    Args:
        tasks: what was asked.
        answers: what was written, one text per task.
        engine: of the library that the tasks are from.
        matcher: likewise.
        credit: for more general names.
    """
    looked = [_look(task, answer, engine.library, matcher, credit) for task, answer in zip(tasks, answers, strict=True)]
    patients = [one for one in looked if isinstance(one, dict)]
    found = iter(engine.diagnose(patients) if patients else ())
    return [
        _compare(task, one, next(found), engine.library) if isinstance(one, dict) else one
        for task, one in zip(tasks, looked, strict=True)
    ]


def _look(
    task: CaseTask, answer: str, known: Library, matcher: Matcher, credit: Credit
) -> Verdict[ClinicalTask] | dict[str, float]:
    if task.mode is Mode.DEDUCTION:
        return _named(task, answer, matcher, credit)
    parsed = read_patient(answer, known, part=True)
    if parsed.trouble is not None:
        return Verdict(Outcome.MALFORMED, prompts.NO_PATIENT.format(parsed.reason))
    if not parsed.facts:
        return Verdict(Outcome.MALFORMED, prompts.NOTHING_ADDED)
    return completed(task, parsed.facts, known)


def completed(task: CaseTask, said: Mapping[str, float], known: Library) -> Verdict[ClinicalTask] | dict[str, float]:
    """The patient as it was given, with what an answer adds; the answer need not repeat what it was given."""
    given = {PREGNANT: 0.0, **dict(task.facts)}  # whoever is pregnant is said to be
    facts = closed({**said, **given}, known)
    for name, value in given.items():
        if facts[name] != value or not _same(known, name, value, said.get(name, value)):
            return Verdict(Outcome.WRONG, prompts.CHANGED.format(known.called(name)))
    return facts if facts != closed(given, known) else Verdict(Outcome.WRONG, prompts.NOTHING_ADDED)


def _named(task: CaseTask, answer: str, matcher: Matcher, credit: Credit) -> Verdict[ClinicalTask]:
    found = texts.find(answer, matcher.read, str.__eq__)
    if found.value is None:
        reason = prompts.CONTRADICTION if found.contradiction else prompts.UNREADABLE
        return Verdict(Outcome.MALFORMED, reason)
    return diagnosed(task, found.value, matcher, credit)


def diagnosed(task: CaseTask, condition: str, matcher: Matcher, credit: Credit) -> Verdict[ClinicalTask]:
    """Judge a diagnosis."""
    if condition == task.condition:
        return Verdict(Outcome.CORRECT, prompts.RIGHT, correctness=1.0)
    general = credit is Credit.HIERARCHICAL and condition in matcher.ancestors.get(task.condition, frozenset())
    return Verdict(Outcome.WRONG, prompts.WRONG, correctness=0.5 if general else 0.0)


def read_patient(answer: str, known: Library, part: bool = False) -> Parsed:
    """The patient of an answer, or the part of one: in tags, in a fence, or bare."""
    said = texts.spoken(answer) or ""
    for piece in (*texts.tagged(said), *(block.body for block in texts.blocks(said))):
        parsed = parse_case(piece, known, part)
        if parsed.trouble is None:
            return parsed
    return parse_case(said, known, part)


def _same(known: Library, name: str, wanted: float, given: float) -> bool:
    places = known.analytes[name].decimals if name in known.analytes else 1
    slack = TOLERANCE * 10.0**-places if name not in known.findings else 0.0
    return abs(given - wanted) <= slack


def _compare(task: CaseTask, facts: Mapping[str, float], found: Diagnosis, known: Library) -> Verdict[ClinicalTask]:
    if found.condition == task.condition:
        return Verdict(Outcome.CORRECT, prompts.RIGHT, correctness=1.0)
    if found.condition is not None:
        return Verdict(Outcome.WRONG, prompts.OTHER_DIAGNOSIS)
    return Verdict(Outcome.WRONG, other(found.verdict, facts, known))


def other(verdict: Engines, facts: Mapping[str, float], known: Library) -> str:
    """Why the engine gives no diagnosis."""
    said = prompts.OTHER[verdict]
    if verdict is Engines.IMPLAUSIBLE:
        reasons = [one.reason for one in remarks(facts, known) if one.level is Level.REJECT]
        return said.format(reasons[0] if reasons else "it contradicts itself")
    return said
