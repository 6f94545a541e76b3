"""What a base of the code room reads: each prompt as the environment words it, each answer one that the environment takes."""

from __future__ import annotations

import ast
import functools
import itertools
import re
from collections import Counter
from dataclasses import replace
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from azr_agents import corpus
from azr_agents import corpus_code as code
from azr_agents.corpus import Example
from azr_agents.corpus_code import PAIRS, examples
from azr_agents.tokenizer import THINK, THOUGHT
from azr_gym.code.normal import held_out
from azr_gym.code.triplet import CodeTask, InductionTask, Mode, Triplet
from azr_gym.roles import Outcome, Role

from conftest import real

LEVELS = (1, 2, 2, 3)
CALL = re.compile(r"f\((.*)\) == (.*)")


def take(count: int, levels: tuple[int, ...] = LEVELS, seed: int = 0) -> list[Example]:
    """The first examples of a seed."""
    return list(itertools.islice(examples(np.random.default_rng(seed), levels), count))


@functools.cache
def plenty(told: float = corpus.TOLD_SHARE) -> list[Example]:
    """Examples that several tests count in; that share of the answers is told to think that can."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(corpus, "TOLD_SHARE", told)
        return take(4000)


def some(role: Role, mode: Mode, count: int = 20, seed: int = 1) -> list[Example]:
    """Examples of one kind, of every level."""
    kind = (
        one for one in examples(np.random.default_rng(seed), (1, 2, 3, 4, 5)) if (one.role, one.mode) == (role, mode)
    )
    return list(itertools.islice(kind, count))


def said(one: Example) -> str:
    """An answer without its thoughts."""
    return one.answer.rpartition(THOUGHT)[2].removeprefix(" ")


def question(one: Example) -> str:
    """A prompt without the tag that tells to think."""
    return one.prompt.removesuffix(THINK)


def thoughts(one: Example) -> list[str]:
    """What is thought, line by line."""
    return one.answer.removeprefix(THINK).partition(THOUGHT)[0].split("\n") if THOUGHT in one.answer else []


def task_of(one: Example) -> CodeTask:
    """The task that a solver's example is about. Where pairs are hidden, those that are shown stand for them."""
    if one.mode is Mode.INDUCTION:
        pairs = tuple((call[1], call[2]) for call in CALL.finditer(one.prompt))
        message = re.search("^# (.*)$", one.prompt, re.MULTILINE)
        return InductionTask(said(one), pairs * 2, message[1] if message else "")
    program, call = question(one).removesuffix("\n? =").rsplit("\n", 1)
    match = CALL.fullmatch(call)
    assert match is not None
    if one.mode is Mode.DEDUCTION:
        return Triplet(Mode.DEDUCTION, program, match[1], said(one))
    return Triplet(Mode.ABDUCTION, program, said(one), match[2])


def references_of(one: Example) -> list[Triplet]:
    """The references that a proposer's example shows. Their outputs are not shown: any will do."""
    shown = [piece.rpartition("\n") for piece in one.prompt.split("\n\n")[:-1]]
    return [Triplet(Mode(one.mode), program, call[2:-1], "0") for program, _, call in shown]


def programs(one: Example) -> set[str]:
    """Every program in an example, shown or answered."""
    found = re.findall(r"def f\(.*(?:\n    .*)*", one.prompt) + re.findall(r"def f\(.*(?:\n    .*)*", one.answer)
    assert len(found) == f"{one.prompt}\n{one.answer}".count("def f(")
    return set(found)


def batch(count: int, **options: Any) -> Any:
    runner = real("jail")
    return gym.make_vec(
        "CodeTriplet-v0", count, autoreset_mode="Disabled", prompt_style="compact", runner=runner, **options
    )


# --- as the environment has it ----------------------------------------------------------------------------------
@pytest.mark.parametrize("mode", Mode)
@pytest.mark.parametrize("n_pairs", PAIRS)
def test_a_solver_reads_what_the_environment_shows_and_its_answer_is_right(mode: Mode, n_pairs: int) -> None:
    found = some(Role.SOLVE, mode, seed=n_pairs)
    envs = batch(len(found), mode=mode, n_pairs=n_pairs)
    shown, _ = envs.reset(options={"tasks": [task_of(one) for one in found]})
    assert list(shown) == [question(one) for one in found]
    _, rewards, _, _, info = envs.step([one.answer for one in found])
    assert rewards.tolist() == [1.0] * len(found), info["reason"]
    assert any(thoughts(one) for one in found) == (mode is not Mode.INDUCTION)


@pytest.mark.parametrize("mode", [Mode.DEDUCTION, Mode.ABDUCTION])
def test_a_proposer_reads_what_the_environment_shows_and_its_proposal_is_accepted(mode: Mode) -> None:
    found = some(Role.PROPOSE, mode)
    envs = batch(len(found), role="propose", mode=mode)
    shown, _ = envs.reset(options={"references": [references_of(one) for one in found]})
    assert list(shown) == [one.prompt for one in found]
    info = envs.step([one.answer for one in found])[4]
    assert set(info["outcome"]) == {Outcome.ACCEPTED}, info["reason"]


@pytest.mark.parametrize("n_pairs", PAIRS)
def test_a_proposer_of_inputs_reads_what_the_environment_shows_and_they_are_accepted(n_pairs: int) -> None:
    found = [one for one in some(Role.PROPOSE, Mode.INDUCTION, 40) if one.answer.count("f(") == n_pairs]
    assert len(found) > 8
    envs = batch(len(found), role="propose", mode="induction", n_pairs=n_pairs)
    shown, _ = envs.reset(options={"programs": [one.prompt.rpartition("\n\n")[0] for one in found]})
    assert list(shown) == [one.prompt for one in found]
    info = envs.step([one.answer for one in found])[4]
    assert set(info["outcome"]) == {Outcome.ACCEPTED}, info["reason"]


def test_either_number_of_pairs_is_as_frequent() -> None:
    count = Counter(len(CALL.findall(one.prompt)) for one in some(Role.SOLVE, Mode.INDUCTION, 200))
    assert set(count) == {pairs // 2 for pairs in PAIRS}
    assert min(count.values()) > 60


# --- what is in it ----------------------------------------------------------------------------------------------
def test_examples_are_a_function_of_the_generator_s_state() -> None:
    assert take(200) == take(200)
    assert take(200) != take(200, seed=1)
    assert take(200) == take(300)[:200]


def test_no_program_is_held_out() -> None:
    found = {program for one in take(2500, (1, 2, 3, 4, 5)) for program in programs(one)}
    assert len(found) > 500
    assert not [program for program in found if held_out(program)]


def test_five_answers_come_to_one_proposal_and_three_of_them_are_programs() -> None:
    found = plenty()
    roles = Counter(one.role for one in found)
    assert 4.6 < roles[Role.SOLVE] / roles[Role.PROPOSE] < 5.4
    modes = Counter(one.mode for one in found if one.role is Role.SOLVE)
    assert modes[Mode.DEDUCTION] == pytest.approx(modes[Mode.ABDUCTION], rel=0.02)
    assert 2.7 < modes[Mode.INDUCTION] / modes[Mode.DEDUCTION] < 3.1


def test_a_level_named_twice_comes_twice_as_often() -> None:
    found = [
        task_of(one).program for one in take(2400, (1, 4, 4)) if (one.role, one.mode) == (Role.SOLVE, Mode.DEDUCTION)
    ]
    size = Counter(len(ast.parse(program).body[0].body) for program in found)  # type: ignore[attr-defined]
    assert set(size) == {1, 4}
    assert 1.6 < size[4] / size[1] < 2.5


def test_a_proposer_sees_no_one_or_two_references_and_not_its_own_program() -> None:
    count: Counter[int] = Counter()
    for one in plenty():
        if one.role is Role.PROPOSE and one.mode is not Mode.INDUCTION:
            shown = references_of(one)
            count[len(shown)] += 1
            program, _, call = one.answer.rpartition("\n")
            own = Triplet(Mode(one.mode), program, call[2:-1], "0")
            assert own.key not in [reference.key for reference in shown]
    assert set(count) == {0, 1, 2}
    assert min(count.values()) > 0.25 * sum(count.values())


# --- further questions ------------------------------------------------------------------------------------------
@pytest.mark.parametrize("mode", [Mode.DEDUCTION, Mode.ABDUCTION])
def test_further_questions_are_about_the_same_program_and_their_answers_are_right(mode: Mode) -> None:
    found = [one for one in some(Role.SOLVE, mode, seed=7) if one.more]
    assert len(found) > 10
    asked = []
    for one in found:
        program = question(one).removesuffix("\n? =").rsplit("\n", 1)[0]
        asked += [replace(one, prompt=program + question, answer=answer, more=()) for question, answer in one.more]
    envs = batch(len(asked), mode=mode)
    shown, _ = envs.reset(options={"tasks": [task_of(one) for one in asked]})
    assert list(shown) == [question(one) for one in asked]
    assert envs.step([one.answer for one in asked])[1].tolist() == [1.0] * len(asked)


def test_answers_that_think_go_on() -> None:
    found = [one for one in plenty() if one.role is Role.SOLVE and one.mode is not Mode.INDUCTION]
    assert max(len(one.more) for one in found if thoughts(one)) == code.MORE
    assert {one.prompt.endswith(THINK) for one in found if one.more and thoughts(one)} == {True, False}


# --- thoughts ---------------------------------------------------------------------------------------------------
def test_most_are_asked_to_think_and_of_the_others_few_do() -> None:
    for mode in (Mode.DEDUCTION, Mode.ABDUCTION):
        solved = [one for one in plenty() if (one.role, one.mode) == (Role.SOLVE, mode)]
        asked = [one for one in solved if one.prompt.endswith(THINK)]
        assert all(thoughts(one) and THINK not in one.answer for one in asked)
        assert 0.7 < len(asked) / len(solved) < corpus.TOLD_SHARE, "where nothing is on the way there is no thought"
        free = [one for one in solved if not one.prompt.endswith(THINK)]
        assert all(bool(thoughts(one)) == one.answer.startswith(THINK) for one in free)
        assert 0 < sum(map(bool, map(thoughts, free))) / len(free) < corpus.THOUGHT_SHARE


def test_only_solvers_of_deduction_and_abduction_think() -> None:
    kinds = {(one.role, one.mode) for one in plenty(1.0) if THOUGHT in one.answer}
    assert kinds == {(Role.SOLVE, Mode.DEDUCTION), (Role.SOLVE, Mode.ABDUCTION)}


def test_abduction_thinks_from_the_output_backwards() -> None:
    always = plenty(1.0)
    modes = (Mode.DEDUCTION, Mode.ABDUCTION)
    forth, back = ([one for one in always if (one.role, one.mode) == (Role.SOLVE, mode)] for mode in modes)
    assert [thoughts(one) for one in forth] == [thoughts(one)[::-1] for one in back]


def test_thoughts_are_steps_of_the_program_and_never_its_result() -> None:
    for one in plenty(1.0):
        for step in thoughts(one):
            text, _, value = step.rpartition(" = ")
            ast.parse(f"({text})", mode="eval")
            ast.literal_eval(value)
            assert text != "return"
