"""What a small base of the code room reads: its generator's programs, worded as the room words its prompts.

Every program gives six examples, one for each role in each mode, and further programs one of induction, which is the
hardest to learn. Most answers of deduction and abduction think first: between think tags, the values that the program
computes on the way, operation by operation; in abduction from the output backwards.

Thinking answers go on: more calls of the same program, each with its answer. A small model learns what an operation
does from answers, and a program that is read once for several of them teaches more in the same number of tokens.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence

import numpy as np

from azr_gym.code import prompts
from azr_gym.code.generate import Sample, sample
from azr_gym.code.room import mixed
from azr_gym.code.triplet import InductionTask, Mode, Triplet
from azr_gym.roles import PromptStyle, Role
from azr_gym.room import Brief

from .corpus import Example, Style, thinned
from .tokenizer import CODE

COMPACT = PromptStyle.COMPACT
MAX_REFERENCES = 2  # shown to a proposer: none, one or two, equally often
PAIRS = (6, 10)  # of an induction task
FURTHER = 2  # programs more for each: of these induction alone is asked
MORE = 3  # further calls of a program, at most, where answers think
SPLIT = CODE


def words() -> list[str]:
    """None: programs are made of few words, which merges find."""
    return []


def examples(rng: np.random.Generator, levels: Sequence[int]) -> Iterator[Example]:
    """Examples without end, of training programs only. A function of the generator's state.

    Args:
        rng: a numpy generator.
        levels: of `azr_gym.code.generate.sample`; each equally often, so name one twice to have it twice as often.
    """
    shown: deque[Triplet] = deque(maxlen=32)  # what references are drawn from
    while True:
        made = _program(rng, levels, operations=True)
        triplet = Triplet.of(Mode.DEDUCTION, made.source, made.inputs[0], made.outputs[0])
        yield from thinned(rng, _examples(rng, made, triplet, shown))
        shown.append(triplet)
        further = (_induction(rng, _program(rng, levels)) for _ in range(FURTHER))
        yield from (_found(task) for task in further if task is not None)


def _program(rng: np.random.Generator, levels: Sequence[int], operations: bool = False) -> Sample:
    count = int(rng.choice(PAIRS))
    return sample(rng, level=int(rng.choice(levels)), n_inputs=count, operations=operations)


def _induction(rng: np.random.Generator, made: Sample) -> InductionTask | None:
    """A task with a hint or without; None where the outputs say too little."""
    pairs = mixed(list(zip(made.inputs, made.outputs, strict=True)))
    return InductionTask.of(made.source, pairs, prompts.ANY_HINT if rng.random() < 0.5 else "") if pairs else None


def _found(task: InductionTask) -> Example:
    return Example(Role.SOLVE, Mode.INDUCTION, prompts.solve(task, COMPACT), f" {task.program}")


def _examples(rng: np.random.Generator, made: Sample, triplet: Triplet, shown: Sequence[Triplet]) -> Iterator[Example]:
    for mode in (Mode.DEDUCTION, Mode.ABDUCTION):
        yield _solved(made, mode, Style.drawn(rng))
        task = Triplet(mode, triplet.program, triplet.arguments, triplet.output)
        asked = prompts.propose(Brief(mode, _references(rng, shown)), 0, COMPACT)
        yield Example(Role.PROPOSE, mode, asked, prompts.proposal(task.program, task.arguments, COMPACT))
    if induction := _induction(rng, made):
        yield _found(induction)
        inputs = [arguments for arguments, _ in induction.pairs]
        asked = prompts.propose(Brief(Mode.INDUCTION, subject=triplet), len(inputs), COMPACT)
        yield Example(Role.PROPOSE, Mode.INDUCTION, asked, prompts.inputs_proposal(inputs, prompts.ANY_HINT, COMPACT))


def _references(rng: np.random.Generator, shown: Sequence[Triplet]) -> tuple[Triplet, ...]:
    count = min(len(shown), int(rng.integers(MAX_REFERENCES + 1)))
    return tuple(dict.fromkeys(shown[int(rng.integers(len(shown)))] for _ in range(count)))


def _solved(made: Sample, mode: Mode, style: Style) -> Example:
    """Calls of a program, one after the other; more than one where it thinks."""
    turns = []
    for place in range(min(len(made.inputs), 1 + MORE * style.thinks)):
        task = Triplet.of(mode, made.source, made.inputs[place], made.outputs[place])
        question, answer = prompts.solve(task, COMPACT), prompts.answer(task, COMPACT)
        turns.append(style.turn(question, _thought(made.traces[place], mode), answer))
    (prompt, answer), *others = turns
    return Example(
        Role.SOLVE, mode, prompt, answer, tuple((asked.removeprefix(made.source), said) for asked, said in others)
    )


def _thought(trace: Sequence[tuple[str, object]], mode: Mode) -> str:
    """The values on the way to the output, or back from it; nothing where there is no way."""
    steps = [f"{name} = {value!r}" for name, value in trace[:-1]]
    return "\n".join(steps if mode is Mode.DEDUCTION else reversed(steps))
