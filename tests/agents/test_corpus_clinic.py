"""What a base of the clinic reads: each prompt as the environment words it, each answer one that the environment takes."""

from __future__ import annotations

import functools
import itertools
import re
from collections import Counter
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from azr_agents import corpus_clinic
from azr_agents.corpus import Example
from azr_agents.corpus_clinic import SPLIT, examples, words
from azr_agents.pretrain import Recipe, make_corpus, make_tokenizer
from azr_agents.tokenizer import THINK, THOUGHT, train_tokenizer
from azr_gym.clinical import prompts
from azr_gym.clinical.case import parse_case
from azr_gym.clinical.engine import shared
from azr_gym.clinical.library import AGE, FEMALE, PERSON, knowledge
from azr_gym.clinical.propose import held_out
from azr_gym.clinical.rules import Rulebook
from azr_gym.clinical.task import N_PAIRS, CaseTask, Facts, InductionTask, Mode, frozen
from azr_gym.roles import Outcome, Role

CASES = (Mode.DEDUCTION, Mode.ABDUCTION)


def take(count: int, seed: int = 0) -> list[Example]:
    """The first examples of a seed: a few patients each of many conditions."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(corpus_clinic, "CONDITIONS", 10)
        patch.setattr(corpus_clinic, "PATIENTS", 16)
        return list(itertools.islice(examples(np.random.default_rng(seed), ()), count))


@functools.cache
def plenty() -> list[Example]:
    """Examples that several tests look at."""
    return take(1400)


def cases() -> list[Example]:
    return [one for one in plenty() if one.mode in CASES]


def some(role: Role, mode: Mode, count: int = 60) -> list[Example]:
    return [one for one in plenty() if (one.role, one.mode) == (role, mode)][:count]


def said(one: Example) -> str:
    """An answer without its thoughts."""
    return one.answer.rpartition(THOUGHT)[2].removeprefix(" ")


def question(one: Example) -> str:
    """A prompt without the tag that tells to think."""
    return one.prompt.removesuffix(THINK)


def thoughts(one: Example) -> list[str]:
    """What is thought, line by line."""
    return one.answer.removeprefix(THINK).partition(THOUGHT)[0].split("\n") if THOUGHT in one.answer else []


def facts_of(text: str) -> dict[str, float]:
    """A patient in the compact notation."""
    parsed = parse_case(text)
    assert (parsed.trouble, parsed.notes) == (None, ())
    return dict(parsed.facts)


def task_of(one: Example) -> CaseTask:
    """The task that a solver's example is about."""
    patient, _, asked = question(one).rpartition("\n")
    facts = facts_of(patient)
    if one.mode is Mode.DEDUCTION:
        return CaseTask(Mode.DEDUCTION, frozen(facts), said(one))
    added = parse_case(said(one), part=True)
    assert added.notes == ()
    return CaseTask(Mode.ABDUCTION, frozen(facts), asked.removesuffix(" ? ="), frozen(added.facts))


def patients_of(one: Example) -> list[dict[str, float]]:
    """Every whole patient in an example."""
    if one.role is Role.SOLVE:
        return [task_of(one).whole]
    return [facts_of(part) for part in (*one.prompt.split("\n\n")[:-1], one.answer)]


def batch(count: int, **options: Any) -> Any:
    return gym.make_vec("ClinicalCase-v0", count, autoreset_mode="Disabled", prompt_style="compact", **options)


# --- as the environment has it ----------------------------------------------------------------------------------
@pytest.mark.parametrize("mode", CASES)
def test_a_solver_reads_what_the_environment_shows_and_its_answer_is_right(mode: Mode) -> None:
    found = some(Role.SOLVE, mode)
    envs = batch(len(found), mode=mode)
    for answers in ([one.answer for one in found], [said(one) for one in found]):  # with thoughts, and without
        shown, _ = envs.reset(options={"tasks": [task_of(one) for one in found]})
        assert list(shown) == [question(one) for one in found]
        _, rewards, _, _, info = envs.step(answers)
        assert rewards.tolist() == [1.0] * len(found), info["reason"]
    assert any(thoughts(one) for one in found)


def test_the_engine_says_what_the_examples_say() -> None:
    tasks = [task_of(one) for mode in CASES for one in some(Role.SOLVE, mode)]
    assert shared().conditions([task.whole for task in tasks]) == [task.condition for task in tasks]
    parts = [task for task in tasks if task.mode is Mode.ABDUCTION]
    left = shared().conditions([dict(task.facts) for task in parts])
    assert not [task for task, condition in zip(parts, left, strict=True) if condition == task.condition]


@pytest.mark.parametrize("mode", CASES)
def test_a_proposer_reads_what_the_environment_shows_and_its_proposal_is_accepted(mode: Mode) -> None:
    found = some(Role.PROPOSE, mode, 30)
    references = []
    for one in found:
        shown = [frozen(patient) for patient in patients_of(one)[:-1]]
        references.append([CaseTask(Mode.DEDUCTION, patient, next(iter(knowledge().conditions))) for patient in shown])
    envs = batch(len(found), role="propose", mode=mode)
    shown, _ = envs.reset(options={"references": references})
    assert list(shown) == [one.prompt for one in found]
    info = envs.step([one.answer for one in found])[4]
    assert set(info["outcome"]) == {Outcome.ACCEPTED}, info["reason"]
    assert {len(one) for one in references} == {0, 1, 2}


def labelled(one: Example) -> list[tuple[Facts, bool]]:
    """The patients that an example of induction shows, with their labels."""
    parts = re.split(r"^= (true|false)\n", one.prompt, flags=re.MULTILINE)
    pairs = zip(parts[:-1:2], parts[1::2], strict=True)
    return [(frozen(facts_of(patient)), label == "true") for patient, label in pairs]


def test_a_solver_of_induction_reads_what_the_environment_shows_and_its_rule_is_right() -> None:
    found, book = some(Role.SOLVE, Mode.INDUCTION), Rulebook(knowledge())
    tasks = []
    for one in found:
        rule = book.read(said(one))
        assert rule is not None
        assert not rule.held_out
        shown = labelled(one)
        assert [*book.labels(rule, tuple(facts for facts, _ in shown))] == [label for _, label in shown]
        others = book.pairs(np.random.default_rng(0), rule)
        assert others is not None
        message = prompts.ANY_HINT if "#" in one.prompt else ""
        tasks.append(InductionTask(said(one), (*shown, *others[N_PAIRS // 2 :]), message))
    envs = batch(len(found), mode="induction")
    shown, _ = envs.reset(options={"tasks": tasks})
    assert list(shown) == [one.prompt for one in found]
    _, rewards, _, _, info = envs.step([one.answer for one in found])
    assert rewards.tolist() == [1.0] * len(found), info["reason"]
    assert len({task.message for task in tasks}) == 2


def test_a_proposer_of_induction_reads_a_rule_and_its_patients_are_accepted() -> None:
    found = some(Role.PROPOSE, Mode.INDUCTION, 20)
    envs = batch(len(found), role="propose", mode="induction")
    shown, _ = envs.reset(options={"rules": [one.prompt.partition("\n")[0] for one in found]})
    assert list(shown) == [one.prompt for one in found]
    info = envs.step([one.answer for one in found])[4]
    assert set(info["outcome"]) == {Outcome.ACCEPTED}, info["reason"]


# --- what is in it ----------------------------------------------------------------------------------------------
def test_examples_are_a_function_of_the_generator_s_state() -> None:
    assert take(100) == plenty()[:100]
    assert take(100) != take(100, seed=1)


def test_no_patient_is_held_out() -> None:
    whole = [frozen(patient) for one in cases() for patient in patients_of(one)]
    said_N = shared().conditions([dict(patient) for patient in whole])
    assert None not in said_N
    tasks = [CaseTask(Mode.DEDUCTION, patient, str(one)) for patient, one in zip(whole, said_N, strict=True)]
    assert not [task for task in tasks if held_out(task, knowledge())]


def test_three_answers_come_to_one_proposal_and_the_modes_are_even() -> None:
    roles, modes = Counter(one.role for one in plenty()), Counter(one.mode for one in plenty())
    assert 2.4 < roles[Role.SOLVE] / roles[Role.PROPOSE] < 3.6
    assert set(modes) == set(Mode)
    assert min(modes.values()) > 0.85 * max(modes.values())


def test_references_are_of_other_conditions() -> None:
    patients = [patients_of(one) for one in cases() if one.role is Role.PROPOSE]
    found = iter(shared().conditions([*itertools.chain.from_iterable(patients)]))
    for *shown, own in ([next(found) for _ in some] for some in patients):
        assert own not in shown


# --- thoughts ---------------------------------------------------------------------------------------------------
def test_most_answers_about_patients_think_for_they_are_told_to_and_nothing_else_does() -> None:
    for mode in CASES:
        found = some(Role.SOLVE, mode, 10_000)
        told = [one for one in found if one.prompt.endswith(THINK)]
        assert all(thoughts(one) and THINK not in one.answer for one in told)
        assert 0.6 < len(told) / len(found) < 0.95
        free = [one for one in found if not one.prompt.endswith(THINK)]
        # A fifth of those who could, and these are few: who has something to think of is mostly told to.
        assert 0.02 < sum(bool(thoughts(one)) for one in free) / len(free) < 0.35
    others = [one for one in plenty() if one.role is Role.PROPOSE or one.mode is Mode.INDUCTION]
    assert not any(THINK in one.prompt + one.answer for one in others)


@pytest.mark.parametrize("mode", CASES)
def test_thoughts_are_of_what_is_known_that_the_diagnosis_rests_on(mode: Mode) -> None:
    found, known, seen = [one for one in some(Role.SOLVE, mode, 10_000) if thoughts(one)], knowledge(), set()
    proofs = shared().diagnose([task_of(one).whole for one in found])
    for one, proof in zip(found, proofs, strict=True):
        facts, called = dict(task_of(one).facts), [name for line in thoughts(one) for name in line.split(", ")]
        for name in called:
            if name[-1] in "<>":
                low, high = known.analytes[name[:-1]].interval(bool(facts[FEMALE]), facts[AGE])
                assert facts[name[:-1]] < low if name[-1] == "<" else facts[name[:-1]] > high
            else:
                assert facts[name] == 1.0
            seen.add(name[-1] in "<>")
        assert proof.primary is not None
        there = {name for name, value in proof.primary.facts.items() if name in known.findings and value}
        assert {name for name in called if name[-1] not in "<>"} == (there & {*facts}) - set(PERSON)
    assert seen == {True, False}


def test_patients_of_all_levels_are_read() -> None:
    sizes = [len(task_of(one).facts) for one in some(Role.SOLVE, Mode.DEDUCTION, 10_000)]
    assert np.quantile(sizes, 0.9) > 2.5 * np.quantile(sizes, 0.1)


# --- the tokenizer and the corpus -------------------------------------------------------------------------------
@functools.cache
def tokenizer() -> Any:
    return train_tokenizer([one.prompt + one.answer for one in plenty()], 400, split=SPLIT, words=words())


def pieces(text: str) -> list[str]:
    return [tokenizer().decode([one]) for one in tokenizer()(text)["input_ids"]]


def test_every_name_is_one_token_wherever_it_stands() -> None:
    for name in words():
        assert pieces(name) == [name]
        assert pieces(f"\n+ fever, {name}\n{name} 12") == ["\n+ ", "fever", ", ", name, "\n", name, " 1", "2"]


@given(st.text() | st.lists(st.sampled_from([*"\n+-,. 0é", *words()[::100], "65 F"]), max_size=9).map("".join))
def test_any_text_comes_back_unchanged(text: str) -> None:
    assert tokenizer().decode(tokenizer()(text)["input_ids"]) == text


def test_how_many_processes_make_the_corpus_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("azr_agents.pretrain.SHARD", 60)
    recipe = Recipe(env="ClinicalCase-v0", examples=120, vocab_size=400)
    made = make_tokenizer(recipe)
    one, other = (make_corpus(recipe, made, processes) for processes in (1, 2))
    assert len(one) > 110, "few are too long"
    assert all(np.array_equal(getattr(one, name), getattr(other, name)) for name in ("ids", "weight", "start"))
    assert not np.array_equal(one.ids[: one.start[60]], one.ids[one.start[60] :]), "shards differ"
