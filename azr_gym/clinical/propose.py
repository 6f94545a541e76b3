"""Decides whether a proposed patient may become a task. Reads, asks the engine once for a batch, and runs nothing."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from enum import StrEnum

from azr_gym.clinical.case import Parsed, Trouble, closed
from azr_gym.clinical.engine import Diagnosis, Engine
from azr_gym.clinical.engine import Verdict as Engines
from azr_gym.clinical.library import AGE, FEMALE, MALE, OLDEST, PREGNANT, Library, plain
from azr_gym.clinical.match import Matcher, spelt
from azr_gym.clinical.plausible import contradiction
from azr_gym.clinical.solve import other, read_patient
from azr_gym.clinical.task import CaseTask, ClinicalTask, Mode, frozen
from azr_gym.roles import Outcome
from azr_gym.room import Brief, Verdict

HELD_OUT_SHARE = 8  # one skeleton in so many is kept aside for tests


class Refusal(StrEnum):
    """Why a proposal is not a task. The first two are malformed: nothing was there to be checked."""

    MALFORMED = "malformed"  # no JSON object, or neither age nor sex in it
    NO_MESSAGE = "no_message"  # induction
    CONTRADICTION = "contradiction"  # a fact is given twice, and not alike, or facts contradict each other
    UNKNOWN_UNIT = "unknown_unit"
    IMPLAUSIBLE = "implausible"  # no such patient can be; the reason says why
    AMBIGUOUS = "ambiguous"  # two conditions, and nothing puts one first
    INSUFFICIENT = "insufficient"  # something urgent is not settled
    NO_DIAGNOSIS = "no_diagnosis"  # the engine knows nothing that it is
    LEAKS_DIAGNOSIS = "leaks_diagnosis"  # the text names the diagnosis
    NOTHING_TO_HIDE = "nothing_to_hide"  # abduction: who the patient is makes the diagnosis
    DUPLICATE = "duplicate"  # the pool holds it
    HELD_OUT = "held_out"  # its skeleton is kept aside for tests
    WRONG_COUNT = "wrong_count"  # induction: not as many patients as were asked for
    REPEATED_PATIENT = "repeated_patient"  # induction: two of them are the same
    UNDECIDED = "undecided"  # induction: whether a patient meets the rule is not settled
    ONE_LABEL = "one_label"  # induction: a half of the patients is all true or all false
    TOO_LONG = "too_long"  # induction: the message, or a patient
    FORBIDDEN = "forbidden"  # induction: control characters in the message
    MESSAGE_CONTAINS_RULE = "message_contains_rule"


TROUBLES = {
    Trouble.NO_JSON: Refusal.MALFORMED, Trouble.NO_PERSON: Refusal.MALFORMED,
    Trouble.CONTRADICTION: Refusal.CONTRADICTION, Trouble.UNKNOWN_UNIT: Refusal.UNKNOWN_UNIT,
}  # fmt: skip
ENGINE = {
    Engines.AMBIGUOUS: Refusal.AMBIGUOUS, Engines.INSUFFICIENT: Refusal.INSUFFICIENT,
    Engines.NO_DIAGNOSIS: Refusal.NO_DIAGNOSIS, Engines.IMPLAUSIBLE: Refusal.IMPLAUSIBLE,
}  # fmt: skip


def read(
    briefs: Sequence[Brief[ClinicalTask]], texts: Sequence[str], engine: Engine, matcher: Matcher
) -> list[Verdict[ClinicalTask]]:
    """Judge a batch of proposals.

    Args:
        briefs: what was asked for.
        texts: what was written, one per brief.
        engine: gives the diagnosis.
        matcher: knows the names that must not stand in a case.
    """
    parsed = [read_patient(text, engine.library) for text in texts]
    patients = [closed(one.facts, engine.library) if one.trouble is None else {} for one in parsed]
    found = iter(engine.diagnose([facts for facts in patients if facts]))
    return [
        _judge(brief, one, facts, next(found) if facts else None, engine, matcher)
        for brief, one, facts in zip(briefs, parsed, patients, strict=True)
    ]


def _judge(
    brief: Brief[ClinicalTask],
    parsed: Parsed,
    facts: Mapping[str, float],
    found: Diagnosis | None,
    engine: Engine,
    matcher: Matcher,
) -> Verdict[ClinicalTask]:
    if parsed.trouble is not None or found is None:
        refusal = TROUBLES[parsed.trouble] if parsed.trouble is not None else Refusal.MALFORMED
        return refused(refusal, parsed.reason)
    if found.verdict is not Engines.IMPLAUSIBLE and (reason := contradiction(facts, engine.library)):
        return refused(Refusal.CONTRADICTION, reason)
    if found.condition is None:
        return refused(ENGINE[found.verdict], other(found.verdict, facts, engine.library))
    if leak := leaks(parsed, found.condition, matcher):
        return refused(Refusal.LEAKS_DIAGNOSIS, f"the text names the diagnosis: {leak!r}")
    task = CaseTask(Mode.DEDUCTION, frozen(facts), found.condition, (), parsed.question)
    if brief.mode is Mode.ABDUCTION:
        [hidden] = hide([task], [found], engine)
        if hidden is None:
            return refused(Refusal.NOTHING_TO_HIDE, "whatever is left out, the diagnosis stands")
        task = hidden
    if held_out(task, engine.library):
        return refused(Refusal.HELD_OUT, "a patient like this one is kept aside for tests")
    return Verdict(Outcome.ACCEPTED, "", task=task, metrics={"facts": float(len(task.whole))})


def refused(refusal: Refusal, reason: str) -> Verdict[ClinicalTask]:
    """A proposal that is no task."""
    malformed = refusal in (Refusal.MALFORMED, Refusal.NO_MESSAGE)
    return Verdict(Outcome.MALFORMED if malformed else Outcome.REFUSED, reason, refusal)


def leaks(parsed: Parsed, condition: str, matcher: Matcher) -> str:
    """The name of the diagnosis, or of something it is a kind of, that a case gives away; "" for none.

    Only the facts and the question are ever shown: what else the text says, and what it claims, is no part of the case.
    """
    said = f" {spelt(plain(parsed.question))} "
    wanted = {condition, *matcher.ancestors[condition]}
    return next((name for name, one in matcher.names.items() if one in wanted and f" {name} " in said), "")


def hide(tasks: Sequence[CaseTask], found: Sequence[Diagnosis], engine: Engine) -> list[CaseTask | None]:
    """Take facts of each proof out, one after the other, until the engine no longer says the condition.

    In an order that hangs on the patient alone; one call of the engine for all patients. None where it says so whatever
    is left out.

    Args:
        tasks: of deduction.
        found: what the engine says of each: its task's condition.
        engine: that said it.
    """
    orders = [_order(task, diagnosis) for task, diagnosis in zip(tasks, found, strict=True)]
    said = iter(
        engine.conditions(
            [
                {name: value for name, value in task.facts if name not in order[: count + 1]}
                for task, order in zip(tasks, orders, strict=True)
                for count in range(len(order))
            ]
        )
    )
    return [_hidden(task, order, [next(said) for _ in order]) for task, order in zip(tasks, orders, strict=True)]


def _order(task: CaseTask, found: Diagnosis) -> list[str]:
    """The facts of a proof, in the order in which they are taken out."""
    assert found.primary is not None
    grounds = [name for name in found.primary.facts if name not in (AGE, FEMALE, MALE, PREGNANT)]
    seed = task.id
    return sorted(grounds, key=lambda name: hashlib.blake2b(f"{seed} {name}".encode(), digest_size=8).digest())


def _hidden(task: CaseTask, order: Sequence[str], said: Sequence[str | None]) -> CaseTask | None:
    count = next((count for count, condition in enumerate(said, 1) if condition != task.condition), 0)
    if not count:
        return None
    out, facts = order[:count], dict(task.facts)
    kept = frozen({name: value for name, value in task.facts if name not in out})
    return replace(task, mode=Mode.ABDUCTION, facts=kept, removed=frozen({name: facts[name] for name in out}))


def held_out(task: CaseTask, known: Library) -> bool:
    """Whether a patient's skeleton is kept aside: the condition, what is there, and which values are high or low."""
    parts = [task.condition]
    facts = task.whole
    for name, value in sorted(facts.items()):
        if name in known.findings and value:
            parts.append(name)
        elif name in known.analytes:
            analyte = known.analytes[name]
            low, high = analyte.interval(bool(facts.get(FEMALE)), facts.get(AGE, OLDEST))
            if not low <= value <= high:
                parts.append(f"{name}{'<' if value < low else '>'}")
    digest = hashlib.blake2b("\0".join(parts).encode(), digest_size=8).digest()
    return int.from_bytes(digest) % HELD_OUT_SHARE == 0
