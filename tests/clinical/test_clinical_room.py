"""`ClinicalCase-v0` keeps the contract of the suite; what may become a task, and what may not, and why."""

from __future__ import annotations

import json
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

import azr_gym  # noqa: F401
from azr_gym import BadArgument, BadTask, Reply, TaskPool
from azr_gym.clinical import CaseTask, Mode, Refusal, diagnose, parse_case, prompts
from azr_gym.clinical.engine import shared
from azr_gym.clinical.generate import Difficulty, Generator
from azr_gym.clinical.library import knowledge
from azr_gym.clinical.propose import held_out
from azr_gym.clinical.room import ClinicalRoom
from azr_gym.roles import PromptStyle, Split
from azr_gym.testing import check_task_env

ROLES, STYLES = ("solve", "propose"), ("full", "compact")
CHEST = {
    "age": 65, "sex": "F", "symptoms": ["chest pain", "dyspnoea", "diaphoresis"],
    "vitals": {"BP": "150/90", "HR": 110, "SpO2": "94%"}, "labs": {"Troponin I": "0.8 ng/mL", "CK-MB": "7 ng/mL"},
}  # fmt: skip


@pytest.mark.parametrize(
    ("role", "mode", "style"), [("solve", "deduction", "full"), ("propose", "abduction", "compact")]
)
def test_the_contract_is_kept(role: str, mode: str, style: str) -> None:
    check_task_env(gym.make("ClinicalCase-v0", role=role, mode=mode, prompt_style=style, n_references=1))


@pytest.mark.long
@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("mode", Mode)
@pytest.mark.parametrize("role", ROLES)
def test_the_contract_is_kept_in_every_way(role: str, mode: Mode, style: str) -> None:
    check_task_env(gym.make("ClinicalCase-v0", role=role, mode=mode, prompt_style=style, n_references=1))


def step(text: str, **options: Any) -> dict[str, Any]:
    env = gym.make("ClinicalCase-v0", role="propose", n_references=0, **options)
    env.reset(seed=0)
    return env.step(text)[4]


def test_a_case_becomes_a_task_whose_oracle_solves_it() -> None:
    info = step(json.dumps(CHEST))
    if info["refusal"] is Refusal.HELD_OUT:  # one in eight is
        info = step(json.dumps({**CHEST, "symptoms": ["chest pain", "dyspnoea"]}))
    assert info["outcome"] == "accepted", info["reason"]
    assert info["task"].condition == "nstemi"
    env = gym.make("ClinicalCase-v0")
    env.reset(options={"task": info["task"]})
    assert env.step("<answer>NSTEMI</answer>")[1] == 1.0


@pytest.mark.parametrize(
    ("case", "refusal"),
    [
        ("nothing", Refusal.MALFORMED), ({"sex": "F"}, Refusal.MALFORMED), ({**CHEST, "pregnant": True, "sex": "M"}, Refusal.IMPLAUSIBLE),
        ({**CHEST, "labs": {"Troponin I": "0.8 bananas"}}, Refusal.UNKNOWN_UNIT), ({**CHEST, "labs": {"Troponin I": "9000 ng/mL"}}, Refusal.IMPLAUSIBLE),
        ({"age": 30, "sex": "F"}, Refusal.NO_DIAGNOSIS), ({"age": 60, "sex": "M", "symptoms": ["chest pain"]}, Refusal.INSUFFICIENT),
        ({**CHEST, "prompt": "Is this an NSTEMI?"}, Refusal.LEAKS_DIAGNOSIS), ({**CHEST, "symptoms": ["chest pain", "no chest pain"]}, Refusal.CONTRADICTION),
        ({"age": 50, "sex": "M", "labs": {"magnesium": "1.0 mg/dL", "potassium": "2.2 mmol/L"}}, Refusal.AMBIGUOUS),
    ],
)  # fmt: skip
def test_what_is_no_task_is_refused_with_a_reason(case: Any, refusal: Refusal) -> None:
    info = step(case if isinstance(case, str) else json.dumps(case))
    assert info["refusal"] is refusal
    assert info["reason"]
    assert info["task"] is None


@pytest.mark.parametrize("text", ["NSTEMI", "<answer>non-ST elevation myocardial infarction</answer>", "I21.4"])
def test_the_patient_with_an_nstemi_has_that_and_no_unstable_angina(text: str) -> None:
    facts = parse_case(json.dumps(CHEST)).facts
    task = CaseTask(Mode.DEDUCTION, tuple(facts.items()), str(diagnose(facts).condition))
    env = gym.make("ClinicalCase-v0")
    for said, worth, outcome in (("unstable angina", 0.0, "wrong"), (text, 1.0, "correct")):
        env.reset(options={"task": task})
        _, reward, terminated, _, info = env.step(said)
        assert (reward, terminated, info["outcome"], info["correctness"]) == (worth, True, outcome, worth)


@pytest.mark.parametrize("style", PromptStyle)
def test_a_patient_of_the_test_split_is_refused_to_proposers(style: PromptStyle) -> None:
    for split, refusal in (("test", Refusal.HELD_OUT), ("train", None)):
        env: Any = gym.make("ClinicalCase-v0", split=split)
        for seed in range(3):
            env.reset(seed=seed)
            task = env.unwrapped.episode.task
            info = step(prompts.patient(knowledge(), task.whole, style), prompt_style=style)
            assert info["refusal"] is refusal, info["reason"]
            assert info["task"] == (None if refusal else task)


def test_a_patient_that_the_pool_holds_is_a_duplicate() -> None:
    pool: TaskPool[CaseTask] = TaskPool()
    for symptoms in (["chest pain", "dyspnoea"], ["chest pain", "diaphoresis"]):
        info = step(json.dumps({**CHEST, "symptoms": symptoms}), pool=None)
        if info["task"] is not None:
            pool.add(info["task"])
            assert step(json.dumps({**CHEST, "symptoms": symptoms}), pool=pool)["refusal"] is Refusal.DUPLICATE
    assert len(pool)


def test_splits_share_no_skeleton() -> None:
    for split, wanted in (("train", False), ("test", True)):
        env: Any = gym.make("ClinicalCase-v0", split=split)
        for seed in range(5):
            env.reset(seed=seed)
            assert held_out(env.unwrapped.episode.task, knowledge()) is wanted


@pytest.mark.parametrize("level", Difficulty)
def test_a_level_s_patients_are_what_it_says(level: Difficulty) -> None:
    out_of_the_ordinary = level in (Difficulty.ATYPICAL, Difficulty.COMORBID)
    env: Any = gym.make("ClinicalCase-v0", level=str(level), split="ood" if out_of_the_ordinary else "train")
    generator = Generator(shared())
    for seed in range(3):
        env.reset(seed=seed)
        task = env.unwrapped.episode.task
        found = shared().diagnose([task.whole])[0]
        assert found.condition == task.condition
        assert generator.atypical(task.whole, task.condition) or level is not Difficulty.ATYPICAL
        assert out_of_the_ordinary or not generator.atypical(task.whole, task.condition)
        assert len(found.secondary) or level is not Difficulty.COMORBID


def test_levels_belong_to_their_splits() -> None:
    for level, split in (("atypical", "train"), ("comorbid", "test"), (("typical", "missing"), "ood")):
        with pytest.raises(BadArgument, match="split"):
            gym.make("ClinicalCase-v0", level=level, split=split)
    none: tuple[str, ...] = ()
    for unknown in ("hard", ("typical", "comorbid"), none):
        with pytest.raises(BadArgument, match="level must be"):
            gym.make("ClinicalCase-v0", level=unknown)


def test_levels_mix() -> None:
    env: Any = gym.make("ClinicalCase-v0", level=("missing", "distractors"), conditions=["nstemi"])
    sizes = []
    for seed in range(8):
        env.reset(seed=seed)
        sizes.append(len(env.unwrapped.episode.task.facts))
    assert max(sizes) > 1.5 * min(sizes)


class Always:
    """Says one thing."""

    def __init__(self, text: str) -> None:
        self.text = text

    def reply(self, prompts: list[str], n: int, seed: int) -> list[list[Reply]]:
        return [[Reply(self.text)] * n for _ in prompts]


def test_what_the_solver_always_knows_is_worth_nothing() -> None:
    env = gym.make("ClinicalCase-v0", role="propose", solver=Always("NSTEMI"), n_rollouts=4, n_references=0)
    env.reset(seed=0)
    for symptoms in (["chest pain", "dyspnoea"], ["chest pain", "diaphoresis"], ["chest pain"]):
        env.reset(seed=0)
        _, reward, _, _, info = env.step(json.dumps({**CHEST, "symptoms": symptoms}))
        assert reward == 0.0
        if info["task"] is not None:
            assert info["solve_rate"] == 1.0
            return
    pytest.fail("every case was held out")


def test_a_more_general_name_counts_half_where_asked() -> None:
    task = CaseTask(Mode.DEDUCTION, (("age", 60.0), ("female", 0.0), ("male", 1.0)), "nstemi")
    for credit, share in (("exact", 0.0), ("hierarchical", 0.5)):
        env = gym.make("ClinicalCase-v0", credit=credit)
        env.reset(options={"task": task})
        _, reward, _, _, info = env.step("acute myocardial infarction")
        assert (reward, info["correctness"]) == (0.0, share)


def test_mistakes_of_the_caller_are_one_clear_error() -> None:
    with pytest.raises(BadArgument, match="credit"):
        gym.make("ClinicalCase-v0", credit="some")
    with pytest.raises(BadArgument, match="no condition"):
        gym.make("ClinicalCase-v0", conditions=["flu of the soul"]).reset(seed=0)
    with pytest.raises(BadTask, match="no condition of this version"):
        gym.make("ClinicalCase-v0").reset(options={"task": CaseTask(Mode.DEDUCTION, (("age", 3.0),), "nonsense")})


def test_a_task_survives_json() -> None:
    env: Any = gym.make("ClinicalCase-v0", mode="abduction")
    env.reset(seed=3)
    task = env.unwrapped.episode.task
    again = CaseTask.from_json(json.loads(json.dumps(task.to_json())))
    assert (again, again.key, again.id) == (task, task.key, task.id)
    for broken in (
        {},
        {**task.to_json(), "mode": "guess"},
        {**task.to_json(), "facts": [1]},
        {**task.to_json(), "facts": {"age": float("nan")}},
    ):
        with pytest.raises(BadTask):
            CaseTask.from_json(broken)


def test_batched_is_single() -> None:
    envs: Any = gym.make_vec("ClinicalCase-v0", num_envs=4, mode=("deduction", "abduction"), autoreset_mode="Disabled")
    prompts, _ = envs.reset(seed=7)
    for place in range(4):
        env = gym.make("ClinicalCase-v0", mode=("deduction", "abduction"))
        assert env.reset(seed=7 + place)[0] == prompts[place]
    assert envs.step(envs.unwrapped.oracle())[1].tolist() == [1.0] * 4


def test_patients_drawn_side_by_side_are_those_of_one_at_a_time() -> None:
    room, modes = ClinicalRoom(), [Mode.DEDUCTION, Mode.ABDUCTION, Mode.DEDUCTION, Mode.INDUCTION, Mode.ABDUCTION]
    together = room.make_many([np.random.default_rng(seed) for seed in range(5)], modes, Split.TRAIN)
    alone = [room.make(np.random.default_rng(seed), mode, Split.TRAIN) for seed, mode in enumerate(modes)]
    assert together == alone
