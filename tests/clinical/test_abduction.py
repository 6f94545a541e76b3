"""Abduction: what was given stands as given, what is added makes the diagnosis, and nothing else counts."""

from __future__ import annotations

import functools
from typing import Any

import gymnasium as gym
import pytest
from hypothesis import given
from hypothesis import strategies as st

import azr_gym  # noqa: F401
from azr_gym.clinical import CaseTask, Mode, prompts
from azr_gym.clinical.engine import shared
from azr_gym.clinical.library import AGE, FEMALE, MALE, PREGNANT, knowledge
from azr_gym.clinical.solve import completed
from azr_gym.roles import Outcome, PromptStyle
from azr_gym.room import Verdict

STYLES = [*PromptStyle]


@functools.cache
def tasks() -> list[CaseTask]:
    envs: Any = gym.make_vec("ClinicalCase-v0", 24, mode="abduction", autoreset_mode="Disabled")
    envs.reset(seed=5)
    return [episode.task for episode in envs.unwrapped.episodes]


def judge(task: CaseTask, text: str, style: str = "compact") -> dict[str, Any]:
    env = gym.make("ClinicalCase-v0", mode="abduction", prompt_style=style)
    env.reset(options={"task": task})
    return env.step(text)[4]


def fact(**facts: float) -> CaseTask:
    """A woman of 40 with hypothyroidism, of whom the TSH was taken out, and whatever else is given."""
    person = {AGE: 40.0, FEMALE: 1.0, MALE: 0.0, PREGNANT: 0.0, "free_t4": 0.4}
    return CaseTask(Mode.ABDUCTION, tuple((person | facts).items()), "primary_hypothyroidism", (("tsh", 30.0),))


# --- what is right ----------------------------------------------------------------------------------------------
@pytest.mark.parametrize("style", STYLES)
def test_what_was_taken_out_is_right_and_so_is_the_whole_patient(style: PromptStyle) -> None:
    envs: Any = gym.make_vec(
        "ClinicalCase-v0", len(tasks()), mode="abduction", prompt_style=style, autoreset_mode="Disabled"
    )
    wholes = [prompts.patient(knowledge(), task.whole, style) for task in tasks()]
    for answers in (None, wholes, [f"<think>so\n</think>\n{whole}" for whole in wholes]):
        envs.reset(options={"tasks": tasks()})
        _, rewards, _, _, info = envs.step(answers or envs.unwrapped.oracle())
        assert rewards.tolist() == [1.0] * len(tasks()), info["reason"]


def test_the_answer_names_what_is_added_and_nothing_that_was_given() -> None:
    for task in tasks():
        said = prompts.answer(knowledge(), task, PromptStyle.COMPACT)
        given = {name for name, _ in task.facts}
        assert {name for name, _ in task.removed} <= {*said.replace(",", " ").split()}
        assert not given & {*said.replace(",", " ").split()}


@pytest.mark.parametrize(
    "text",
    [
        "tsh 30", " tsh 30\n", "+ fatigue\n- fever\ntsh 30, heart_rate 60", "40 F\ntsh 30", "<answer>tsh 30</answer>", '{"TSH": "30 mU/L"}',
        '{"age": 40, "sex": "F", "labs": {"TSH": "30 mU/L"}}', '```json\n{"labs": ["TSH 30"]}\n```', "free_t4 0.4, tsh 30",
    ],
)  # fmt: skip
@pytest.mark.parametrize("style", STYLES)
def test_additions_are_read_however_they_are_written(text: str, style: PromptStyle) -> None:
    info = judge(fact(), text, style)
    assert info["outcome"] == Outcome.CORRECT, info["reason"]


def test_a_value_may_be_repeated_as_it_is_shown_and_stays_as_it_was() -> None:
    task = fact(free_t4=0.4049)
    for text in ("free_t4 0.4, tsh 30", '{"labs": {"free T4": "0.40 ng/dL", "TSH": 30}}'):
        assert judge(task, text)["outcome"] == Outcome.CORRECT
    whole = completed(task, {"free_t4": 0.4, "tsh": 30.0}, knowledge())
    assert not isinstance(whole, Verdict)
    assert whole["free_t4"] == 0.4049


def test_a_pregnant_patient_stays_pregnant_though_the_answer_does_not_say_so() -> None:
    pregnant = fact(pregnant=1.0, gestational_weeks=20.0)
    for text in ("tsh 30", "40 F\ntsh 30", "40 F pregnant\ntsh 30", '{"age": 40, "sex": "F", "labs": {"tsh": 30}}'):
        assert judge(pregnant, text)["outcome"] == Outcome.CORRECT


# --- what is wrong ----------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("text", "changed"),
    [
        ("41 F\ntsh 30", "age"), ("40 M\ntsh 30", "female"), ("40 F pregnant\ntsh 30", "pregnant"), ('{"sex": "M", "tsh": 30}', "female"),
        ('{"age": 39, "tsh": 30}', "age"), ('{"pregnant": true, "tsh": 30}', "pregnant"), ("free_t4 0.6, tsh 30", "free T4"),
        ("- fever\ntsh 30", "fever"), ('{"symptoms": ["no fever"], "tsh": 30}', "fever"), ("+ fever, abdominal_pain\ntsh 30", "abdominal pain"),
        ("+ epigastric_pain\ntsh 30", "abdominal pain"),  # it implies what is said not to be there
    ],
)  # fmt: skip
def test_what_was_given_can_not_be_changed(text: str, changed: str) -> None:
    info = judge(fact(fever=1.0, abdominal_pain=0.0), text)
    assert info["outcome"] == Outcome.WRONG
    assert changed.casefold() in info["reason"].casefold()
    assert "must stay as it was given" in info["reason"]


@pytest.mark.parametrize("style", STYLES)
def test_an_answer_that_adds_nothing_says_so(style: PromptStyle) -> None:
    for text in ("", "{}", "<answer></answer>", "nothing", '{"diagnosis": "hypothyroidism"}', "<think>tsh 30"):
        info = judge(fact(), text, style)
        assert (info["outcome"], info["reason"]) == (Outcome.MALFORMED, prompts.NOTHING_ADDED)
    for text in ("40 F", "free_t4 0.4", '{"age": 40, "sex": "F", "labs": {"free T4": 0.4}}'):
        info = judge(fact(), text, style)
        assert (info["outcome"], info["reason"]) == (Outcome.WRONG, prompts.NOTHING_ADDED)


def test_what_can_not_be_is_wrong_and_what_can_not_be_read_is_malformed() -> None:
    assert judge(fact(), "tsh 30, heart_rate 900")["outcome"] == Outcome.WRONG
    assert judge(fact(), "tsh 30 bananas")["outcome"] == Outcome.MALFORMED
    assert judge(fact(), "+ fever\n- fever\ntsh 30")["outcome"] == Outcome.MALFORMED


# --- properties -------------------------------------------------------------------------------------------------
NAMES = [AGE, FEMALE, MALE, PREGNANT, *knowledge().findings, *knowledge().analytes]


@given(st.data())
def test_completing_a_patient_never_changes_what_was_given(data: st.DataObject) -> None:
    task = data.draw(st.sampled_from(tasks()))
    shown = dict(task.facts)
    names = data.draw(st.lists(st.sampled_from(NAMES) | st.sampled_from([*shown]), min_size=1, max_size=12))
    added = {
        name: shown[name] if name in shown and data.draw(st.booleans()) else data.draw(st.sampled_from([0.0, 1.0, 50]))
        for name in names
    }
    whole = completed(task, added, knowledge())
    if isinstance(whole, Verdict):
        assert whole.outcome is Outcome.WRONG
    else:
        assert {name: whole[name] for name in shown} == shown
        assert {*added} <= {*whole}
        assert not any(abs(added[name] - shown[name]) > 0.51 for name in added if name in shown)


@given(st.text() | st.lists(st.sampled_from([*"+-,\n {}", "fever", "tsh 30", "40 F", *NAMES[::50]])).map("".join))
def test_any_text_is_judged_and_right_only_where_the_engine_says_so(text: str) -> None:
    task = fact()
    info = judge(task, text)
    if info["outcome"] == Outcome.CORRECT:
        assert "tsh" in text
    else:
        assert info["reason"]


def test_what_was_given_alone_is_never_the_diagnosis() -> None:
    said = shared().conditions([dict(task.facts) for task in tasks()])
    assert all(one != task.condition for one, task in zip(said, tasks(), strict=True))
