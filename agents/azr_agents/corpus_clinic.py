"""What a small base of the clinic reads: its generator's patients, worded as the room words its prompts.

Every patient gives four examples, one for each role in each mode. Some answers think first, between think tags. In
deduction: the values outside their reference interval, and the findings that the diagnosis rests on. In abduction: what
is to be added. Each is easier to write than the answer, and makes the answer easier. Induction is not there yet.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from azr_gym.clinical import prompts, propose
from azr_gym.clinical.engine import Diagnosis, shared
from azr_gym.clinical.generate import Generator
from azr_gym.clinical.library import AGE, FEMALE, PERSON, Library
from azr_gym.clinical.room import WEIGHTS
from azr_gym.clinical.task import CaseTask, Mode, frozen
from azr_gym.roles import PromptStyle, Role
from azr_gym.room import Brief

from .corpus import Example
from .tokenizer import THINK, THOUGHT

COMPACT = PromptStyle.COMPACT
CONDITIONS = 4  # whose patients come mixed
PATIENTS = 256  # drawn at once for a condition: the rules are judged in one call, which costs as much for a few
FLATTENED = 0.5  # power of the conditions' weights: common ones come oftener, and the rarest still hundreds of times
THOUGHT_SHARE = 0.3  # of the answers
MAX_REFERENCES = 2  # shown to a proposer, of other conditions than its own
PROPOSE_SHARE = 1 / 3  # of the proposals are kept: three answers to one of them
SPLIT = r"\n[+-] |\n|, | ?\d| ?[A-Z](?!\w)|\w+| ?[^\s\w]+| +"  # a name is one piece, whatever stands before it


def words() -> list[str]:
    """The names of facts and conditions: a token each, else a patient is twice as long."""
    known = shared().library
    return [*known.findings, *known.analytes, *known.conditions]


def examples(rng: np.random.Generator, levels: Sequence[int]) -> Iterator[Example]:
    """Examples without end, of training patients only. A function of the generator's state.

    Args:
        rng: a numpy generator.
        levels: nothing yet: this generator has none.
    """
    generator = Generator(shared())
    while True:
        tasks = _patients(rng, generator)
        found = generator.engine.diagnose([task.whole for task in tasks])
        hidden = propose.hide(tasks, found, generator.engine)
        for place in rng.permutation(len(tasks)):
            for example in _examples(rng, generator.library, tasks, hidden[place], found[place], int(place)):
                if example.role is Role.SOLVE or rng.random() < PROPOSE_SHARE:
                    yield example


def _patients(rng: np.random.Generator, generator: Generator) -> list[CaseTask]:
    """Training patients of a few conditions, as tasks of deduction."""
    known = generator.library.conditions
    weights = np.array([WEIGHTS[one.tier] for one in known.values()]) ** FLATTENED
    tasks = []
    for condition in rng.choice([*known], CONDITIONS, replace=False, p=weights / weights.sum()):
        drawn = generator.draw(rng, str(condition), PATIENTS)
        names, values_MN = np.array([*drawn.facts]), np.stack([*drawn.facts.values()])
        for place in np.flatnonzero(drawn.kept_N):
            known_M = ~np.isnan(values_MN[:, place])
            facts = dict(zip(names[known_M].tolist(), values_MN[known_M, place].tolist(), strict=True))
            task = CaseTask(Mode.DEDUCTION, frozen(facts), str(condition))
            if not propose.held_out(task, generator.library):
                tasks.append(task)
    return tasks


def _examples(
    rng: np.random.Generator,
    known: Library,
    tasks: Sequence[CaseTask],
    hidden: CaseTask | None,
    found: Diagnosis,
    place: int,
) -> Iterator[Example]:
    task = tasks[place]
    yield _solved(known, task, _grounds(known, found) if rng.random() < THOUGHT_SHARE else "")
    yield _proposed(known, task, _references(rng, tasks, task.condition))
    if hidden is not None:  # else who the patient is makes the diagnosis
        yield _solved(known, hidden, _removed(known, hidden) if rng.random() < THOUGHT_SHARE else "")
        yield _proposed(known, hidden, _references(rng, tasks, task.condition))


def _references(rng: np.random.Generator, tasks: Sequence[CaseTask], condition: str) -> tuple[CaseTask, ...]:
    """None to two, of other conditions: a proposer that repeats what it is shown invents nothing."""
    some = (tasks[int(rng.integers(len(tasks)))] for _ in range(int(rng.integers(MAX_REFERENCES + 1))))
    return tuple(dict.fromkeys(one for one in some if one.condition != condition))


def _solved(known: Library, task: CaseTask, thought: str) -> Example:
    thinking = f"{THINK}{thought}{THOUGHT}" if thought else ""
    answer = f"{thinking} {prompts.answer(known, task, COMPACT)}"
    return Example(Role.SOLVE, task.mode, prompts.solve(known, task, COMPACT), answer)


def _proposed(known: Library, task: CaseTask, references: tuple[CaseTask, ...]) -> Example:
    asked = prompts.propose(known, Brief(task.mode, references), COMPACT)
    return Example(Role.PROPOSE, task.mode, asked, prompts.patient(known, task.whole, COMPACT))


def _grounds(known: Library, found: Diagnosis) -> str:
    """The values outside their reference interval, and the findings that are there, of those that a proof looks at."""
    assert found.primary is not None
    facts = found.primary.facts
    there = [name for name, value in facts.items() if name in known.findings and name not in PERSON and value]
    marks = {name: _mark(known, name, facts) for name in facts if name in known.analytes}
    lines = [", ".join(f"{name}{mark}" for name, mark in marks.items() if mark), ", ".join(there)]
    return "\n".join(line for line in lines if line)


def _mark(known: Library, name: str, facts: Mapping[str, float]) -> str:
    low, high = known.analytes[name].interval(bool(facts.get(FEMALE)))
    return "<" if facts[name] < low else ">" if facts[name] > high else ""


def _removed(known: Library, task: CaseTask) -> str:
    """What is to be added, in the lines of the compact notation."""
    return prompts.compact(known, {AGE: 0.0, **dict(task.removed)}).partition("\n")[2]
