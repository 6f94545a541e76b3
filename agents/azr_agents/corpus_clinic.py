"""What a small base of the clinic reads: its generator's patients, worded as the room words its prompts.

Every patient gives four examples, one for each role in deduction and abduction, and a rule is drawn beside it that
gives two of induction. Most answers about patients think first, between think tags: of the facts that the diagnosis
rests on, the values outside their reference interval and the findings that are there. In abduction these are the ones
that are known already. It is easier to write than the answer, and makes the answer easier.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from azr_gym.clinical import prompts, propose
from azr_gym.clinical.engine import shared
from azr_gym.clinical.generate import Difficulty, Generator
from azr_gym.clinical.library import AGE, FEMALE, OLDEST, PERSON, Library
from azr_gym.clinical.room import WEIGHTS
from azr_gym.clinical.rules import Rulebook
from azr_gym.clinical.task import CaseTask, InductionTask, Mode, frozen
from azr_gym.roles import PromptStyle, Role
from azr_gym.room import Brief

from .corpus import Example, Style, thinned

COMPACT = PromptStyle.COMPACT
LEVELS = (Difficulty.TYPICAL, Difficulty.TYPICAL, Difficulty.DISTRACTORS, Difficulty.MISSING)  # each equally often
CONDITIONS = 4  # whose patients come mixed
PATIENTS = 256  # drawn at once for a condition: the rules are judged in one call, which costs as much for a few
FLATTENED = 0.5  # power of the conditions' weights: common ones come oftener, and the rarest still hundreds of times
MAX_REFERENCES = 2  # shown to a proposer, of other conditions than its own
SPLIT = r"\n[+-] |\n|, | ?\d| ?[A-Z](?!\w)|\w+| ?[^\s\w]+| +"  # a name is one piece, whatever stands before it


def words() -> list[str]:
    """The names of facts and conditions: a token each, else a patient is twice as long."""
    known = shared().library
    return [*known.findings, *known.analytes, *known.conditions]


def examples(rng: np.random.Generator, levels: Sequence[int]) -> Iterator[Example]:
    """Examples without end, of training patients and rules only. A function of the generator's state.

    Args:
        rng: a numpy generator.
        levels: of other environments: here patients of all `LEVELS` are mixed.
    """
    generator, book = Generator(shared()), Rulebook(shared().library)
    while True:
        tasks = _patients(rng, generator)
        found = generator.engine.diagnose([task.whole for task in tasks])
        hidden = propose.hide(tasks, found, generator.engine)
        for place in map(int, rng.permutation(len(tasks))):
            proof = found[place].primary
            assert proof is not None  # a task has a diagnosis
            references = _references(rng, tasks, tasks[place].condition)
            made = [
                _solved(rng, book.known, tasks[place], proof.facts),
                _proposed(book.known, tasks[place], references),
            ]
            if (part := hidden[place]) is not None:  # else who the patient is makes the diagnosis
                references = _references(rng, tasks, part.condition)
                made += [_solved(rng, book.known, part, proof.facts), _proposed(book.known, part, references)]
            yield from thinned(rng, [*made, *_ruled(rng, book)])


@functools.cache
def _shares() -> tuple[list[str], NDArray[np.float64]]:
    """Conditions, and how often each."""
    known = shared().library.conditions
    weights = np.array([WEIGHTS[one.tier] for one in known.values()]) ** FLATTENED
    return [*known], weights / weights.sum()


def _patients(rng: np.random.Generator, generator: Generator) -> list[CaseTask]:
    """Training patients of a few conditions, as tasks of deduction."""
    tasks = []
    ids, share = _shares()
    for condition in map(str, rng.choice(ids, CONDITIONS, replace=False, p=share)):
        level = LEVELS[int(rng.integers(len(LEVELS)))]
        drawn = generator.draw(rng, condition, PATIENTS, level)
        patients = [drawn.patient(int(place)) for place in np.flatnonzero(drawn.kept_N)]
        kept = generator.less(rng, patients) if level is Difficulty.MISSING else patients
        some = (CaseTask(Mode.DEDUCTION, frozen(facts), condition) for facts in kept if facts is not None)
        tasks += [task for task in some if not propose.held_out(task, generator.library)]
    return tasks


def _references(rng: np.random.Generator, tasks: Sequence[CaseTask], condition: str) -> tuple[CaseTask, ...]:
    """None to two, of other conditions: a proposer that repeats what it is shown invents nothing."""
    some = (tasks[int(rng.integers(len(tasks)))] for _ in range(int(rng.integers(MAX_REFERENCES + 1))))
    return tuple(dict.fromkeys(one for one in some if one.condition != condition))


def _solved(rng: np.random.Generator, known: Library, task: CaseTask, proof: Mapping[str, float]) -> Example:
    shown = dict(task.facts)
    thought = _grounds(known, {name: value for name, value in proof.items() if name in shown}, shown)
    question, answer = prompts.solve(known, task, COMPACT), prompts.answer(known, task, COMPACT)
    return Example(Role.SOLVE, task.mode, *Style.drawn(rng).turn(question, thought, answer))


def _proposed(known: Library, task: CaseTask, references: tuple[CaseTask, ...]) -> Example:
    asked = prompts.propose(known, Brief(task.mode, references), COMPACT)
    return Example(Role.PROPOSE, task.mode, asked, prompts.patient(known, task.whole, COMPACT))


def _grounds(known: Library, proof: Mapping[str, float], shown: Mapping[str, float]) -> str:
    """What a proof looks at: the values outside their reference interval, and the findings that are there."""
    there = [name for name, value in proof.items() if name in known.findings and name not in PERSON and value]
    marks = {name: _mark(known, name, proof[name], shown) for name in proof if name in known.analytes}
    lines = [", ".join(f"{name}{mark}" for name, mark in marks.items() if mark), ", ".join(there)]
    return "\n".join(line for line in lines if line)


def _mark(known: Library, name: str, value: float, person: Mapping[str, float]) -> str:
    low, high = known.analytes[name].interval(bool(person.get(FEMALE)), person.get(AGE, OLDEST))
    return "<" if value < low else ">" if value > high else ""


def _ruled(rng: np.random.Generator, book: Rulebook) -> Iterator[Example]:
    """A rule that is to be found, and patients that are invented for it."""
    task = _rule(rng, book)
    answer = f" {prompts.answer(book.known, task, COMPACT)}"
    yield Example(Role.SOLVE, task.mode, prompts.solve(book.known, task, COMPACT), answer)
    asked = prompts.propose(book.known, Brief(task.mode, subject=task.rule), COMPACT)
    patients = [facts for facts, _ in task.pairs]
    proposal = prompts.inputs_proposal(book.known, patients, prompts.ANY_HINT, COMPACT)
    yield Example(Role.PROPOSE, task.mode, asked, proposal)


def _rule(rng: np.random.Generator, book: Rulebook) -> InductionTask:
    """A training rule with its patients; half of the tasks have a message."""
    ids, share = _shares()
    while True:
        rule = book.draw(rng, ids[int(rng.choice(len(ids), p=share))])
        pairs = book.pairs(rng, rule) if rule is not None and not rule.held_out else None
        if rule is not None and pairs is not None:
            return InductionTask(rule.text, pairs, prompts.ANY_HINT if rng.random() < 0.5 else "")
