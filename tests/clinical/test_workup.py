"""The work-up in text: results come from the patient and cost what they cost, nothing is told that was not ordered."""

from __future__ import annotations

import functools
from dataclasses import replace
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from azr_gym import BadArgument, TaskPool, WrongMoment
from azr_gym.clinical import CaseTask, Mode, workup
from azr_gym.clinical.library import Kind, knowledge
from azr_gym.clinical.room import ClinicalRoom
from azr_gym.clinical.task import frozen
from azr_gym.clinical.workup import Terms, Workup, complaint, read_order, result, seen, start
from azr_gym.roles import PromptStyle, Split
from azr_gym.testing import check_task_env

KNOWN = knowledge()
ROOM = ClinicalRoom(sequential=Terms())
PANELS = sorted(KNOWN.panels)
CHEST = CaseTask(
    Mode.DEDUCTION,
    frozen({"age": 65, "female": 1, "male": 0, "pregnant": 0, "chest_pain": 1, "dyspnoea": 1, "diabetes": 1, "smoking": 0,
            "heart_rate": 110, "troponin_i": 0.8}),
    "nstemi",
)  # fmt: skip


@functools.cache
def case(seed: int) -> CaseTask:
    made = ClinicalRoom().make(np.random.default_rng(seed), Mode.DEDUCTION, Split.TRAIN)
    assert isinstance(made, CaseTask)
    return made


cases = st.integers(0, 19).map(case)
orders = st.lists(st.sampled_from([*PANELS, ""]), max_size=12).map(tuple)


def begin(task: CaseTask = CHEST, **options: Any) -> tuple[Any, str]:
    env: Any = gym.make("ClinicalCase-v0", workup="sequential", **options)
    return env, env.reset(seed=0, options={"task": task})[0]


@pytest.mark.parametrize("style", PromptStyle)
def test_the_contract_is_kept(style: str) -> None:
    check_task_env(gym.make("ClinicalCase-v0", workup="sequential", prompt_style=style, reward="azr", max_attempts=2))


# --- what is known --------------------------------------------------------------------------------------------------
def test_an_episode_begins_with_complaint_history_and_vital_signs() -> None:
    env, prompt = begin()
    for told in ("65-year-old woman", f"Complaint: {complaint(KNOWN, CHEST)[0]}.", "diabetes", "Heart rate: 110"):
        assert told in prompt
    for hidden in ("Troponin", "0.8", "NSTEMI", "nstemi"):
        assert hidden not in prompt
    info = env.unwrapped.episode.info
    assert {*complaint(KNOWN, CHEST)[1], "diabetes", "heart_rate"} <= dict(info["facts"]).keys()
    assert not {"troponin_i"} & dict(info["facts"]).keys()


@settings(max_examples=60, deadline=None)
@given(cases, orders, st.sampled_from(list(PromptStyle)), st.randoms(use_true_random=False))
def test_nothing_is_told_that_was_not_ordered(
    task: CaseTask, ordered: tuple[str, ...], style: PromptStyle, dice: Any
) -> None:
    now = Workup(task, ordered)
    open_facts = dict(seen(KNOWN, now))
    assert open_facts.items() <= dict(task.facts).items()
    for name in dict(task.facts).keys() - open_facts.keys():
        assert name not in start(KNOWN, task)
        assert not any(name in KNOWN.reveals[panel] for panel in ordered if panel)
    comes_with = {name for one in KNOWN.complaints.values() for name in one.findings}
    comes_with |= {name for name, one in KNOWN.findings.items() if one.kind is Kind.SYMPTOM}
    hidden = [name for name, _ in task.facts if name not in open_facts and name not in comes_with]
    other = {
        name: 1.0 - value if name in KNOWN.findings else value * dice.uniform(0.5, 2)
        for name, value in task.facts
        if name in hidden
    }
    twin = replace(task, facts=frozen(dict(task.facts) | other), condition="influenza")
    assert complaint(KNOWN, twin) == complaint(KNOWN, task)
    assert ROOM.prompt(Workup(twin, ordered), style) == ROOM.prompt(now, style)
    assert ROOM.public(Workup(twin, ordered)) == ROOM.public(now)


@settings(max_examples=60, deadline=None)
@given(cases, orders.filter(bool))
def test_results_are_the_patients_and_add_up(task: CaseTask, ordered: tuple[str, ...]) -> None:
    before, after = Workup(task, ordered[:-1]), Workup(task, ordered)
    facts = result(KNOWN, task, ordered[-1]) if ordered[-1] else {}
    assert dict(seen(KNOWN, after)) == dict(seen(KNOWN, before)) | facts
    assert before.spent(KNOWN) <= after.spent(KNOWN) <= sum(KNOWN.panels[one].cost for one in ordered if one)
    assert len(ROOM.prompt(after, PromptStyle.FULL)) < 65_536


def test_everything_together_is_the_whole_patient() -> None:
    for seed in range(20):
        whole = dict(seen(KNOWN, Workup(case(seed), tuple(PANELS))))
        assert {name: value for name, value in case(seed).facts if name not in ("weight_kg", "height_cm")} == {
            name: value for name, value in whole.items() if name not in ("weight_kg", "height_cm")
        }


# --- actions --------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("text", "panel"),
    [
        ("order troponin", "cardiac_markers"), ("Order a CBC.", "blood_count"), ("order ECG", "ecg"), ("ask history", "history"), ("ask about medicines", "medicines"),
        ("order ABG", "arterial_gas"), ("order BMP", "metabolic_panel"), ("order head CT", "ct_head"), ("please check the electrolytes", "metabolic_panel"),
        ("ask for dyspnoea", "symptoms_breathing"), ("order unicorn", ""), ("NSTEMI", None), ("diagnose NSTEMI", None), ("in order to", None), ("", None), ("order " + "x" * 300, None),
    ],
)  # fmt: skip
def test_orders_are_read(text: str, panel: str | None) -> None:
    assert read_order(text, KNOWN) == panel


def test_every_panel_is_ordered_by_each_of_its_names() -> None:
    for panel in KNOWN.panels.values():
        for name in (panel.id, panel.name, *panel.aliases):
            assert read_order(f"order {name}", KNOWN) == panel.id


def test_an_order_shows_its_results_and_costs_once() -> None:
    env, _ = begin()
    prompt, reward, terminated, truncated, info = env.step("<answer>order troponin</answer>")
    assert (reward, terminated, truncated) == (pytest.approx(-0.03), False, False)
    assert (info["outcome"], info["orders"], info["spent"]) == ("open", ("cardiac_markers",), 3.0)
    assert "0.8 ng/mL" in prompt
    assert "57" in prompt
    assert env.step("order cardiac markers")[1] == 0.0
    prompt, reward, *_, info = env.step("order CBC")
    assert (reward, info["reason"]) == (pytest.approx(-0.02), "that is not available")
    assert "Not available" in prompt
    assert env.step("order unicorn")[4]["reason"] == "there is no such order"
    assert env.step("ask history")[1:3] == (0.0, False)
    prompt, reward, terminated, truncated, info = env.step("diagnose NSTEMI")
    assert (prompt, reward, terminated, truncated, info["outcome"]) == ("", 1.0, True, False, "correct")
    with pytest.raises(WrongMoment):
        env.step("order ECG")


@pytest.mark.parametrize(
    ("text", "outcome", "reward"),
    [
        ("diagnose NSTEMI", "correct", 1.0), ("<answer>Diagnosis: I21.4</answer>", "correct", 1.0), ("diagnose influenza", "wrong", -0.5), ("NSTEMI", "malformed", -0.5),
        ("no idea", "malformed", -0.5), ("diagnose NSTEMI or influenza", "malformed", -0.5), ("<answer>order ECG</answer><answer>diagnose NSTEMI</answer>", "malformed", -0.5),
    ],
)  # fmt: skip
def test_a_diagnosis_ends_it_and_what_is_urgent_must_not_be_missed(text: str, outcome: str, reward: float) -> None:
    for acuity, task in ((1, CHEST), (5, replace(CHEST, condition="primary_hypothyroidism"))):
        if acuity == 5 and outcome == "correct":
            continue
        env, _ = begin(task)
        _, worth, terminated, truncated, info = env.step(text)
        assert (info["outcome"], terminated, truncated) == (outcome, True, False)
        assert worth == (reward if acuity == 1 else 0.0)
    assert KNOWN.conditions["nstemi"].acuity == 1


def test_the_penalty_comes_with_the_last_attempt_and_beside_the_preset() -> None:
    env, _ = begin(max_attempts=2, reward="azr", critical_miss=0.25)
    prompt, reward, over, *_ = env.step("diagnose influenza")
    assert (reward, over) == (0.0, False)
    assert "not the diagnosis" in prompt
    assert env.step("order ECG")[2] is False
    assert env.step("diagnose influenza")[1] == -0.75


def test_a_spent_budget_cuts_the_episode_off() -> None:
    env, _ = begin(budget=10.0, cost_weight=2.0)
    assert env.step("order MRI")[1:4] == (pytest.approx(-0.2), False, False)
    prompt, reward, terminated, truncated, info = env.step("order ECG")
    assert (prompt, reward, terminated, truncated) == ("", -0.5, False, True)
    assert (info["outcome"], info["spent"]) == ("unanswered", 10.0)
    with pytest.raises(WrongMoment):
        env.step("diagnose NSTEMI")


def test_the_last_order_cuts_the_episode_off() -> None:
    env, _ = begin(max_steps=2, critical_miss=0.0)
    assert env.step("order unicorn")[1:4] == (0.0, False, False)
    _, reward, terminated, truncated, info = env.step("order ECG")
    assert (reward, terminated, truncated, info["spent"]) == (pytest.approx(-0.02), False, True, 2.0)
    assert info["orders"] == ("", "ecg")


def test_a_more_general_name_counts_half_where_asked() -> None:
    env, _ = begin(credit="hierarchical")
    assert env.step("diagnose acute myocardial infarction")[4]["correctness"] == 0.5


# --- how it is played -----------------------------------------------------------------------------------------------
@settings(max_examples=10, deadline=None)
@given(
    st.integers(0, 1000),
    st.lists(
        st.sampled_from(["order ECG", "order troponin", "ask course", "order MRI", "?", "diagnose gout"]), max_size=5
    ),
)
def test_the_same_seed_and_actions_give_the_same_episode_batched_or_not(seed: int, actions: list[str]) -> None:
    options: dict[str, Any] = {
        "workup": "sequential",
        "budget": 12.0,
        "max_attempts": 2,
        "conditions": ("nstemi", "gout"),
    }
    envs: Any = gym.make_vec("ClinicalCase-v0", num_envs=2, **options)
    singles = [gym.make("ClinicalCase-v0", **options) for _ in range(2)]
    prompts, _ = envs.reset(seed=seed)
    assert list(prompts) == [env.reset(seed=seed + place)[0] for place, env in enumerate(singles)]
    for number in range(len(actions)):
        texts = [actions[(number + place) % len(actions)] for place in range(2)]
        prompts, rewards, over, cut, infos = envs.step(texts)
        for place, (env, text) in enumerate(zip(singles, texts, strict=True)):
            prompt, reward, terminated, truncated, info = env.step(text)
            ended = terminated or truncated
            assert (reward, terminated, truncated) == (rewards[place], over[place], cut[place])
            last = infos["final_info"] if ended else infos
            assert (info["outcome"], info["orders"], info["spent"]) == tuple(
                last[key][place] for key in ("outcome", "orders", "spent")
            )
            assert prompts[place] == (env.reset()[0] if ended else prompt)


def test_a_pool_of_cases_is_played() -> None:
    env: Any = gym.make("ClinicalCase-v0", workup="sequential", pool=TaskPool([CHEST]))
    assert "chest pain" in env.reset(seed=1)[0]
    assert env.step(env.unwrapped.oracle())[1] == 1.0


@pytest.mark.parametrize("mode", ["ansi", "rgb_array"])
def test_it_can_be_seen(mode: str) -> None:
    env, _ = begin(render_mode=mode)
    env.step("order troponin")
    frame: Any = env.render()
    assert "0.8" in frame if mode == "ansi" else frame.shape == (820, 1200, 3)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"role": "propose"}, "role='solve', mode='deduction'"), ({"mode": "abduction"}, "role='solve', mode='deduction'"), ({"mode": ("deduction", "induction")}, "mode='deduction'"),
        ({"workup": "parallel"}, "'sequential' or None"), ({"budget": -1}, "budget"), ({"budget": float("nan")}, "budget"), ({"max_steps": 0}, "max_steps"), ({"critical_miss": "much"}, "critical_miss"),
        ({"workup": None, "budget": 3}, "is for workup='sequential'"),
    ],
)  # fmt: skip
def test_other_combinations_are_one_clear_error(options: dict[str, Any], words: str) -> None:
    with pytest.raises(BadArgument, match=words):
        gym.make("ClinicalCase-v0", **{"workup": "sequential", **options})
    with pytest.raises(BadArgument, match=words):
        gym.make_vec("ClinicalCase-v0", num_envs=2, **{"workup": "sequential", **options})


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=60) | st.lists(st.sampled_from(["order", "ask", "ECG", "diagnose", "NSTEMI", "<answer>", "</answer>", "\n", "history", "and"]), max_size=8).map(" ".join))  # fmt: skip
def test_any_text_is_judged(text: str) -> None:
    verdict = ROOM.judge([CHEST], [text])[0]
    assert verdict.outcome in ("open", "correct", "wrong", "malformed")
    assert (verdict.task is not None) is (verdict.outcome == "open")
    assert workup.POINT * 15 + 0.5 >= -verdict.extra >= 0
