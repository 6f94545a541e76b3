"""Induction in the clinic: rules are read as data and bounded, patients stand on both sides, proposals are looked at."""

from __future__ import annotations

import ast
import json
import time
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from azr_gym import BadArgument, BadTask, TaskPool
from azr_gym.clinical import CaseTask, InductionTask, Mode, Refusal
from azr_gym.clinical.library import Level, knowledge
from azr_gym.clinical.plausible import remarks
from azr_gym.clinical.prompts import GRAMMAR
from azr_gym.clinical.room import ClinicalRoom
from azr_gym.clinical.rules import MAX_FACTS, Rulebook, written
from azr_gym.clinical.task import MAX_FACTS_EACH, ClinicalTask, mixed
from azr_gym.roles import PromptStyle, Split
from azr_gym.testing import check_task_env

BOOK = Rulebook(knowledge())
ROOM = ClinicalRoom()
RULE = "fever and not cough"
seeds = st.integers(0, 2**32 - 1)


@pytest.mark.parametrize("style", PromptStyle)
@pytest.mark.parametrize("role", ["solve", "propose"])
def test_the_contract_is_kept(role: str, style: str) -> None:
    check_task_env(gym.make("ClinicalCase-v0", role=role, mode="induction", prompt_style=style))


def test_rules_of_two_organ_systems_are_out_of_the_ordinary() -> None:
    env: Any = gym.make("ClinicalCase-v0", mode="induction", split="ood")
    for seed in range(60):
        env.reset(seed=seed)
        rule = BOOK.read(env.unwrapped.episode.task.rule)
        assert rule is not None
        systems = [
            {check.condition.system for check in knowledge().checks if name in check.criterion.names}
            for name in rule.criterion.names - {"age", "female", "male", "pregnant"}
        ]
        assert len(set.union(*systems)) > 1
        assert env.step(env.unwrapped.oracle())[1] == 1.0


# --- tasks ----------------------------------------------------------------------------------------------------------
@settings(max_examples=40, deadline=None)
@given(seeds, st.sampled_from(list(Split)))
def test_a_drawn_task_has_both_labels_in_both_halves_and_nobody_who_can_not_be(seed: int, split: Split) -> None:
    task = ROOM.make(np.random.default_rng(seed), Mode.INDUCTION, split)
    assert isinstance(task, InductionTask)
    rule = BOOK.read(task.rule)
    assert rule is not None
    assert split is Split.OOD or rule.held_out is (split is Split.TEST)
    assert len(BOOK.grounds(rule) - {"age", "female", "male", "pregnant"}) <= MAX_FACTS * (1 + (split is Split.OOD))
    patients = tuple(facts for facts, _ in task.pairs)
    assert len(set(patients)) == 10
    assert BOOK.labels(rule, patients) == tuple(label for _, label in task.pairs)  # and none is unknown
    assert mixed(task.shown)
    assert mixed(task.hidden)
    for facts in patients:
        assert not [one for one in remarks(dict(facts), knowledge()) if one.level is Level.REJECT]
        assert BOOK.grounds(rule) <= dict(facts).keys()
    again = ClinicalTask.from_json(json.loads(json.dumps(task.to_json())))
    assert (again, again.key, again.id) == (task, task.key, task.id)


def test_a_skeleton_forgets_numbers_and_order_and_nothing_else() -> None:
    def skeleton(text: str) -> str:
        rule = BOOK.read(text)
        assert rule is not None
        return rule.skeleton

    assert skeleton("fever and temperature > 38") == skeleton("39.5 < temperature and fever")
    assert skeleton("at_least(2, fever, cough, dyspnoea)") == skeleton("at_least(1, dyspnoea, fever, cough)")
    assert skeleton("fever and cough") != skeleton("fever or cough")
    assert skeleton("temperature > 38") != skeleton("temperature < 38")
    assert skeleton("temperature > 38") != skeleton("heart_rate > 38")


def test_rules_are_written_as_they_are_read() -> None:
    for check in knowledge().checks:
        tree = ast.parse(" ".join(check.rule.when.split()), mode="eval").body
        assert ast.dump(ast.parse(written(tree), mode="eval").body) == ast.dump(tree)
    rule = BOOK.read("fever and (not cough) and not (dyspnoea or(age>3))")
    assert rule is not None
    assert rule.text == "fever and not cough and not (dyspnoea or age > 3)"


PATIENTS = tuple(((("age", 30.0 + place), ("cough", float(place % 2))), place % 2 == 0) for place in range(10))


@pytest.mark.parametrize(
    "broken",
    [
        {}, {"rule": RULE, "message": ""}, {"rule": 3, "pairs": [], "message": ""}, {"rule": RULE, "pairs": {}, "message": ""},
        {"rule": RULE, "pairs": [[{}, True]], "message": ""}, {"rule": RULE, "pairs": [[{"age": 3}, 1]] * 10, "message": ""},
        {"rule": RULE, "pairs": [[{"age": 3}, True]] * 10, "message": ""}, {"rule": "x" * 401, "pairs": [], "message": ""},
        {"rule": RULE, "pairs": [[[1], True]] * 10, "message": ""}, {"rule": RULE, "pairs": [[{}, True], [{}, False]] * 40, "message": ""},
    ],
)  # fmt: skip
def test_what_is_no_task_is_refused(broken: dict[str, Any]) -> None:
    with pytest.raises(BadTask):
        ClinicalTask.from_json({"mode": "induction", **broken})


def test_a_task_of_another_library_is_refused_before_it_is_played() -> None:
    task = InductionTask("phlogiston_high", PATIENTS)
    with pytest.raises(BadTask, match="no rule of this version"):
        gym.make("ClinicalCase-v0", mode="induction").reset(options={"task": task})
    with pytest.raises(BadTask, match="at most 40 facts"):
        InductionTask(
            RULE, tuple(((*((f"f{n}", 1.0) for n in range(MAX_FACTS_EACH + 1)),), lab) for _, lab in PATIENTS)
        )


def test_findings_of_children_and_of_grown_people_stand_in_one_rule() -> None:
    findings = knowledge().findings.values()
    young = next(one.id for one in findings if one.age[1] <= 5)
    old = next(one.id for one in findings if one.age[0] >= 12)
    rule = BOOK.read(f"{young} or {old}")
    assert rule is not None
    pairs = BOOK.pairs(np.random.default_rng(0), rule)
    assert pairs is not None
    assert not any(dict(facts).get(young) and dict(facts).get(old) for facts, _ in pairs)


# --- answers --------------------------------------------------------------------------------------------------------
def judge(answer: str, task: InductionTask | None = None) -> Any:
    return ROOM.judge([task or InductionTask("not cough", PATIENTS)], [answer])[0]


@pytest.mark.parametrize(
    "answer",
    ["not cough", "<answer>not cough</answer>", "not (cough)", "```\nnot cough\n```", "<think>cough?</think>not  cough", "not cough or age > 119"],
)  # fmt: skip
def test_any_rule_that_gives_the_hidden_labels_is_right(answer: str) -> None:
    assert judge(answer).outcome == "correct"


@pytest.mark.parametrize(
    ("answer", "outcome", "share"),
    [
        ("cough", "wrong", 0.0), ("age > 200", "wrong", 0.6), ("fever", "wrong", 0.0), ("True", "wrong", 0.4), ("I do not know.", "malformed", 0.0),
        ("<answer>cough</answer> <answer>not cough</answer>", "malformed", 0.0), ("phlogiston_high", "malformed", 0.0), ("age", "malformed", 0.0),
    ],
)  # fmt: skip
def test_other_answers_are_not(answer: str, outcome: str, share: float) -> None:
    verdict = judge(answer)
    assert (verdict.outcome, verdict.correctness) == (outcome, pytest.approx(share))


@pytest.mark.parametrize(
    "hostile",
    [
        "not " * 99 + "cough", "(" * 150 + "cough" + ")" * 150, "age > " + "9" * 300, "age > 1e999", "-" * 390 + "age > 1", "age ** 9 ** 9 ** 9 ** 9 > 1",
        "at_least(" + "9" * 30 + ", cough, fever)", "__import__('os').system('true')", "cough if cough else fever", "[cough for cough in ()]", "cough or 'x'", "age > 1or cough",
        "'\\d'", "cough\x00", "\ud800", "cough and" * 40, "age / (age - age) > 1", "ln(0) > 1", "1 / 0 > age", "age > 1e9 * 1e9 * 1e9 * 1e9",
    ],
)  # fmt: skip
def test_hostile_rules_cost_little_and_score_nothing(hostile: str) -> None:
    before = time.perf_counter()
    assert judge(hostile).outcome != "correct"
    assert judge("\n".join([hostile] * (60_000 // len(hostile)))).outcome != "correct"
    assert time.perf_counter() - before < 30  # a bound on work, not a measurement


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=80) | st.lists(st.sampled_from("cough fever age and or not ( ) > < == 3 38.5 at_least(1, , uln(age) ln( ** / known( documented(".split()), max_size=12).map(" ".join))  # fmt: skip
def test_any_text_is_judged(text: str) -> None:
    assert judge(text).outcome in ("correct", "wrong", "malformed")


def test_the_prompt_shows_a_grammar_that_is_read() -> None:
    examples = GRAMMAR.split("look like these:\n")[1].splitlines()
    assert len(examples) == 3
    assert all(BOOK.read(one) for one in examples)


# --- proposals ------------------------------------------------------------------------------------------------------
def row(place: int, **more: Any) -> dict[str, Any]:
    """A patient who has fever at even places, and a cough at none."""
    return {"age": 30 + place, "sex": "F", "symptoms": ["no cough", "no fever" if place % 2 else "fever"], **more}


def propose(proposal: object, rule: str = RULE, **options: Any) -> dict[str, Any]:
    env = gym.make("ClinicalCase-v0", role="propose", mode="induction", **options)
    env.reset(seed=0, options={"rule": rule})
    text = proposal if isinstance(proposal, str) else json.dumps(proposal)
    return env.step(text)[4]


def good(**change: Any) -> dict[str, Any]:
    return {
        "patients": [row(place) for place in range(10)],
        "message": "one thing must be there, one must not",
        **change,
    }


def changed(place: int, **more: Any) -> dict[str, Any]:
    return good(patients=[row(one, **(more if one == place else {})) for one in range(10)])


COMPACT = "\n".join(f"{30 + place} F\n{'-' if place % 2 else '+'} fever\n- cough" for place in range(10))


@pytest.mark.parametrize("text", [good(), f"<answer>{json.dumps(good())}</answer>", f"{COMPACT}\n# a hint"])
def test_ten_patients_and_a_message_become_a_task_that_its_rule_solves(text: object) -> None:
    info = propose(text)
    assert info["outcome"] == "accepted", info["reason"]
    task = info["task"]
    assert [label for _, label in task.pairs] == [True, False] * 5
    assert task.message
    assert info["metrics"]["novelty"] == 1.0
    for answer in (RULE, "fever"):
        assert judge(answer, task).outcome == "correct"
    prompt = ROOM.prompt(task, PromptStyle.COMPACT)
    assert task.message in prompt
    assert RULE not in prompt


@pytest.mark.parametrize(
    ("proposal", "refusal"),
    [
        ("nothing", Refusal.MALFORMED), ({"message": "a hint"}, Refusal.MALFORMED), ({"patients": [], "message": "a hint"}, Refusal.MALFORMED),
        (changed(3, age="old"), Refusal.MALFORMED), (good(message=""), Refusal.NO_MESSAGE), (good(message=[3]), Refusal.NO_MESSAGE), (COMPACT, Refusal.NO_MESSAGE),
        (good(patients=[row(place) for place in range(9)]), Refusal.WRONG_COUNT), (good(patients=[row(place) for place in range(90)]), Refusal.WRONG_COUNT),
        (changed(3, age=30, symptoms=["no cough", "fever"]), Refusal.REPEATED_PATIENT), (changed(4, pregnant=True, sex="M"), Refusal.IMPLAUSIBLE),
        (changed(4, vitals={"temperature": "99 C"}), Refusal.IMPLAUSIBLE), (changed(4, labs={"Troponin I": "0.8 bananas"}), Refusal.UNKNOWN_UNIT),
        (changed(4, symptoms=["fever", "no fever"]), Refusal.CONTRADICTION), (changed(4, symptoms=["fever"]), Refusal.UNDECIDED),
        (good(patients=[row(place if place < 5 else 2 * place) for place in range(10)]), Refusal.ONE_LABEL), (good(message="x" * 501), Refusal.TOO_LONG),
        (changed(4, symptoms=["no cough", "fever", *[one.name for one in list(knowledge().findings.values())[:60] if one.sex == "any"]]), Refusal.TOO_LONG),
        (good(message="look \x1b[2J"), Refusal.FORBIDDEN), (good(message="they have fever and no cough"), Refusal.MESSAGE_CONTAINS_RULE),
        (good(message="it is: FEVER  AND not cough"), Refusal.MESSAGE_CONTAINS_RULE),
        (f"<answer>{json.dumps(good())}</answer> <answer>{json.dumps(changed(3, age=77))}</answer>", Refusal.CONTRADICTION),
    ],
)  # fmt: skip
def test_what_is_no_proposal_is_refused_with_a_reason(proposal: object, refusal: Refusal) -> None:
    info = propose(proposal)
    assert info["refusal"] is refusal, info["reason"]
    assert info["reason"]
    assert info["task"] is None
    assert info["outcome"] == ("malformed" if refusal in (Refusal.MALFORMED, Refusal.NO_MESSAGE) else "refused")


def test_a_message_may_name_what_matters_without_its_numbers() -> None:
    patients = [row(place, vitals={"temperature": 39.5 if place % 2 else 36.8}) for place in range(10)]
    for message, accepted in (("mind the temperature", True), ("temperature beyond 38.2", False)):
        info = propose(good(patients=patients, message=message), rule="temperature > 38.2")
        assert (info["task"] is not None) is accepted, info["reason"]


def test_rules_that_are_kept_aside_and_tasks_that_the_pool_holds_are_refused() -> None:
    rng = np.random.default_rng(0)
    aside = ROOM.make(rng, Mode.INDUCTION, Split.TEST)
    assert isinstance(aside, InductionTask)
    env = gym.make("ClinicalCase-v0", role="propose", mode="induction")
    env.reset(options={"rule": aside})
    info = env.step(json.dumps(good()))[4]
    assert info["refusal"] is Refusal.HELD_OUT
    with pytest.raises(BadTask, match="nothing was found to propose"):
        env.reset(options={"rule": aside})
        env.unwrapped.oracle()  # type: ignore[attr-defined]
    task = propose(good())["task"]
    assert propose(good(patients=good()["patients"][::-1]), pool=TaskPool([task]))["refusal"] is Refusal.DUPLICATE


@pytest.mark.parametrize(
    ("options", "error"),
    [({"rule": "cough and"}, BadTask), ({"rule": 3}, BadTask), ({"references": []}, BadArgument), ({"rules": RULE}, BadArgument)],
)  # fmt: skip
def test_mistakes_of_the_caller_are_one_clear_error(options: dict[str, Any], error: type[Exception]) -> None:
    env = gym.make("ClinicalCase-v0", role="propose", mode="induction")
    with pytest.raises(error):
        env.reset(options=options)


def test_a_rule_to_propose_for_is_one_of_the_pool_or_of_a_diagnosis_there() -> None:
    rng = np.random.default_rng(1)
    task = ROOM.make(rng, Mode.INDUCTION, Split.TRAIN)
    assert isinstance(task, InductionTask)
    assert ROOM.brief(rng, Mode.INDUCTION, TaskPool([task]), 3).subject == task.rule
    case = CaseTask(Mode.DEDUCTION, (("age", 60.0), ("female", 0.0), ("male", 1.0)), "primary_hypothyroidism")
    said = {ROOM.brief(rng, Mode.INDUCTION, TaskPool([case]), 3).subject for _ in range(5)}
    criteria = {
        name for check in knowledge().checks if check.condition.id == case.condition for name in check.criterion.names
    }
    assert all(BOOK.read(one).criterion.names <= criteria for one in said)  # type: ignore[union-attr]


def test_conditions_without_a_rule_to_draw_are_told_so() -> None:
    made, told = list[Any](), list[str]()
    for condition in list(knowledge().conditions)[::40]:
        for split in (Split.TRAIN, Split.TEST):
            try:
                made.append(ClinicalRoom(conditions=[condition]).make(np.random.default_rng(0), Mode.INDUCTION, split))
            except BadArgument as error:
                told.append(str(error))
    assert len(made) > 10
    assert told
    assert all("name more of them" in one for one in told)


def test_batched_is_single() -> None:
    options: dict[str, Any] = {"mode": ("induction", "deduction"), "autoreset_mode": "Disabled"}
    envs: Any = gym.make_vec("ClinicalCase-v0", num_envs=5, **options)
    prompts, _ = envs.reset(seed=7)
    for place in range(5):
        assert gym.make("ClinicalCase-v0", mode=("induction", "deduction")).reset(seed=7 + place)[0] == prompts[place]
    assert envs.step(envs.unwrapped.oracle())[1].tolist() == [1.0] * 5
    proposers: Any = gym.make_vec(
        "ClinicalCase-v0", num_envs=2, role="propose", mode="induction", autoreset_mode="Disabled"
    )
    prompts, _ = proposers.reset(seed=1, options={"rules": [RULE, None]})
    assert RULE in prompts[0]
    assert proposers.step([json.dumps(good())] * 2)[1][0] == 1.0
