"""`ClinicalCaseTabular-v0`: checkers clean, batched equals single, nothing told too early, and rewards as the page says."""

from __future__ import annotations

import copy
import json
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env, data_equivalence
from gymnasium.vector import AutoresetMode
from hypothesis import given, settings
from hypothesis import strategies as st

import azr_gym
from azr_gym.clinical.bank import FULL, bank, layout, scaled
from azr_gym.clinical.engine import shared
from azr_gym.clinical.library import AGE, FEMALE, MALE, PREGNANT, knowledge
from azr_gym.clinical.tabular import ClinicalCaseTabularEnv, ClinicalCaseTabularVectorEnv
from azr_gym.clinical.workup import comes_with
from azr_gym.errors import BadAction, BadArgument, WrongMoment
from azr_gym.roles import Split

FEW = {"patients": 600}  # drawn in a second or two


def make(**options: Any) -> ClinicalCaseTabularEnv:
    env = gym.make("ClinicalCaseTabular-v0", **{**FEW, **options}).unwrapped
    assert isinstance(env, ClinicalCaseTabularEnv)
    return env


def make_vec(num: int, **options: Any) -> ClinicalCaseTabularVectorEnv:
    envs = gym.make_vec("ClinicalCaseTabular-v0", num, "vector_entry_point", **{**FEW, **options})
    assert isinstance(envs, ClinicalCaseTabularVectorEnv)
    return envs


# --- the checkers -------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("complaint", ["chest_pain", "abdominal_pain", FULL])
@pytest.mark.parametrize("render_mode", [None, "ansi", "rgb_array"])
def test_gymnasiums_checker_is_clean(complaint: str, render_mode: str | None) -> None:
    check_env(make(complaint=complaint, render_mode=render_mode))


def test_the_other_id_is_the_same_environment() -> None:
    env = gym.make("azr_gym:ClinicalCaseTabular-v0", complaint="fever")
    assert isinstance(env.unwrapped, ClinicalCaseTabularEnv)
    assert azr_gym.__version__


@pytest.mark.parametrize("complaint", ["chest_pain", FULL])
def test_sb3s_checker_is_clean(complaint: str) -> None:
    pytest.importorskip("stable_baselines3", reason="no stable-baselines3: nobody to check with")
    from stable_baselines3.common.env_checker import check_env as check

    check(make(complaint=complaint))


# --- batched equals single ------------------------------------------------------------------------------------------
@pytest.mark.parametrize("complaint", ["chest_pain", FULL])
@settings(max_examples=8)
@given(
    seed=st.integers(0, 2**31),
    mode=st.sampled_from([AutoresetMode.SAME_STEP, AutoresetMode.NEXT_STEP]),
    choices=st.lists(st.lists(st.integers(0, 10**6), min_size=3, max_size=3), min_size=1, max_size=40),
    options=st.fixed_dictionaries({"max_steps": st.integers(1, 6), "budget": st.sampled_from([3.0, 9.0, 60.0])}),
)
def test_batched_equals_single(
    complaint: str, seed: int, mode: AutoresetMode, choices: list[list[int]], options: dict[str, Any]
) -> None:
    options |= {"complaint": complaint}
    batched = make_vec(3, autoreset_mode=mode, **options)
    single = gym.make_vec(
        "ClinicalCaseTabular-v0", 3, "sync", vector_kwargs={"autoreset_mode": mode}, **{**FEW, **options}
    )
    assert data_equivalence(batched.reset(seed=seed), single.reset(seed=seed))
    size = len(batched.form.actions)
    for row in choices:
        actions = np.array(row) % size
        assert data_equivalence(batched.step(actions), single.step(actions))
    assert data_equivalence(batched.reset(), single.reset())  # the generators have come to the same place


def test_the_same_seed_gives_the_same_patients_and_another_gives_others() -> None:
    first, second = make(), make()
    seen = [[env.reset(seed=seed)[0]["measured"].tolist() for seed in (1, 2, 3)] for env in (first, second)]
    assert seen[0] == seen[1]
    assert len({tuple(one) for one in seen[0]}) == 3
    assert [first.reset()[0]["measured"].tolist() for _ in range(40)] == [
        second.reset()[0]["measured"].tolist() for _ in range(40)
    ]


def test_who_comes_next_hangs_on_the_seed_alone_and_not_on_what_was_done() -> None:
    idle, busy = make(), make()
    idle.reset(seed=5)
    busy.reset(seed=5)
    for action in (0, 1, 2, busy.oracle()):
        busy.step(action)
    assert data_equivalence(idle.reset()[0], busy.reset()[0])


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda env: pickle.loads(pickle.dumps(env))], ids=["deep", "pickle"])
def test_a_copy_in_mid_episode_goes_on_alike_and_apart(copied: Any) -> None:
    env: Any
    for env, orders in ((make(), 0), (make_vec(3), np.zeros(3, np.int64))):
        env.reset(seed=3)
        env.step(orders)
        twin, kept = copied(env), copied(env)
        assert data_equivalence(env.step(env.oracle()), twin.step(twin.oracle()))
        for _ in range(300):  # more than are drawn ahead
            here, there = env.reset(), twin.reset()
        assert data_equivalence(here, there)
        twin.reset(seed=3)
        twin.step(orders)
        assert data_equivalence(kept.step(kept.oracle()), twin.step(twin.oracle()))  # what the others did is not seen


# --- what is told, and when -----------------------------------------------------------------------------------------
def test_nothing_is_known_but_complaint_person_and_vital_signs() -> None:
    env = make()
    form = env.form
    vitals = set(knowledge().reveals["vital_signs"])
    for seed in range(20):
        seen, info = env.reset(seed=seed)
        assert {name for name, known in zip(form.analytes, seen["known"], strict=True) if known} == vitals
        shown = {name for name, value in zip(form.findings, seen["findings"], strict=True) if value}
        assert shown == set(form.complaints[0].findings)
        assert 1.0 in [seen["findings"][form.findings.index(name)] for name in form.complaints[0].findings]
        assert set(info) == {"action_mask", "spent"}


@pytest.mark.parametrize("complaint", ["chest_pain", FULL])
def test_the_page_counts_right(complaint: str) -> None:
    form, page = layout(complaint), " ".join((ClinicalCaseTabularEnv.__doc__ or "").split())
    counts = [len(names) for names in (form.analytes, form.findings, form.panels, form.conditions)]
    assert f"| `{complaint}` | {' | '.join(f'{count:,}' for count in counts)} |" in page


def test_an_order_reveals_its_panel_and_nothing_else() -> None:
    env = make()
    form, known = env.form, knowledge()
    for order, panel in enumerate(form.panels):
        before, _ = env.reset(seed=order)
        after, reward, terminated, truncated, info = env.step(order)
        news = np.flatnonzero(after["findings"] != before["findings"])
        values = np.flatnonzero(after["known"] != before["known"])
        told = {form.findings[place] for place in news} | {form.analytes[place] for place in values}
        assert told
        assert told <= set(known.reveals[panel])
        assert set(known.reveals[panel]) & {*form.findings, *form.analytes} <= told | set(form.complaints[0].findings)
        assert reward == pytest.approx(-0.01 * known.panels[panel].cost)
        assert (terminated, truncated, info["spent"]) == (False, False, known.panels[panel].cost)
        assert set(info) == {"action_mask", "spent"}
        assert not info["action_mask"][order]


def test_two_patients_who_look_alike_are_told_alike() -> None:
    """Non-interference: with another label behind the same chart, nothing differs before the answer."""
    env = make(render_mode="ansi")
    env.reset(seed=3)
    before = (env.ward.observe(), env.ward.masks())
    drawn = env.render()
    env.ward.label_N += 1
    env.ward._urgent_N ^= True
    assert data_equivalence((env.ward.observe(), env.ward.masks()), before)
    assert env.render() == drawn
    orders = [env.step(order) for order in range(3)]
    assert all(set(info) == {"action_mask", "spent"} for *_, info in orders)


def test_the_label_is_the_engines_diagnosis_of_the_whole_patient() -> None:
    form, everybody = layout("chest_pain"), bank("chest_pain", Split.TRAIN, 600, 0)
    assert len(everybody) > 400
    agreed = 0
    for row in range(60):
        facts = {AGE: float(everybody.age_B[row]), FEMALE: float(everybody.female_B[row])}
        facts[MALE] = 1.0 - facts[FEMALE]
        facts |= dict(zip(form.analytes, everybody.raw_BA[row], strict=True))
        there = everybody.facts_BW[row, len(form.analytes) :] > 0
        facts |= {name: float(value) for name, value in zip(form.findings, there, strict=True)}
        label = form.conditions[everybody.label_B[row]]
        agreed += shared().diagnose([facts])[0].condition == label
    # What has no column can not be shown here; the rules behind the complaint look at none of it.
    assert agreed == 60


def test_everybody_comes_with_the_complaint() -> None:
    form, everybody = layout("fever"), bank("fever", Split.TRAIN, 600, 0)
    columns = [len(form.analytes) + form.findings.index(name) for name in form.complaints[0].findings]
    assert (everybody.facts_BW[:, columns] > 0).any(axis=1).all()


# --- the full level -------------------------------------------------------------------------------------------------
def test_the_full_level_has_every_condition_and_order() -> None:
    form, known = layout(FULL), knowledge()
    assert form.conditions == tuple(known.conditions)
    assert set(form.panels) == {name for name, panel in known.panels.items() if not panel.given}
    assert {*form.analytes, *form.findings} >= set().union(
        *({*layout(name).analytes, *layout(name).findings} for name in known.complaints)
    )
    assert len({one.id for one in form.complaints}) == len(form.complaints) > len(known.complaints)
    everybody = bank(FULL, Split.TRAIN, 1500, 0)
    assert len(set(everybody.label_B.tolist())) > 200


def test_of_the_full_level_each_is_known_by_the_own_complaint_alone() -> None:
    """As the work-up in text: the complaint is a function of what somebody might come with; vital signs besides."""
    env = make(complaint=FULL, render_mode="ansi")
    form, known, come = env.form, knowledge(), set()
    given = {name for panel in known.panels.values() if panel.given for name in known.reveals[panel.id]} | {PREGNANT}
    for seed in range(60):
        seen, _ = env.reset(seed=seed)
        told, complaint = env.ward.told(0), env.ward.complaint(0)
        row = env.ward.bank.facts_BW[env.ward.patient_N[0], len(form.analytes) :]
        assert complaint == comes_with(known, {form.findings[place] for place in np.flatnonzero(row > 0)})
        assert {name for name, value in zip(form.findings, seen["findings"], strict=True) if value} == {
            name for name in form.findings if name in given or name in complaint.findings
        }
        assert not complaint.findings or any(told[name] for name in complaint.findings)
        assert complaint.name in str(env.render())
        come.add(complaint.id)
    assert len(come) > 8


def test_a_patient_starts_alike_with_the_complaint_alone_and_at_the_full_level() -> None:
    few, full = layout("chest_pain"), layout(FULL)
    place = [one.id for one in full.complaints].index("chest_pain")
    few_W = dict(zip((*few.analytes, *few.findings), few.start_KW[0].tolist(), strict=True))
    full_W = dict(zip((*full.analytes, *full.findings), full.start_KW[place].tolist(), strict=True))
    assert {name: full_W[name] for name in few_W} == few_W


@pytest.mark.parametrize("complaint", ["chest_pain", FULL])
def test_no_skeleton_is_in_both_splits(complaint: str) -> None:
    train, test = (bank(complaint, split, 600, 0) for split in (Split.TRAIN, Split.TEST))
    assert len(train) + len(test) == 600
    assert 0.04 < len(test) / 600 < 0.25

    def skeletons(of: Any) -> set[bytes]:
        width = len(layout(complaint).analytes)
        sides = np.where(np.abs(of.scaled_BA) > 2.0001, np.sign(of.scaled_BA), 0)
        rows = np.concatenate([of.label_B[:, None], sides, of.facts_BW[:, width:]], axis=1).astype(np.int16)
        return {row.tobytes() for row in rows}

    assert not skeletons(train) & skeletons(test)


@given(st.floats(0, 1e6), st.sampled_from(sorted(knowledge().analytes)), st.integers(0, 1), st.floats(0, 100))
def test_scaled_values_lie_in_the_space_and_grow_with_the_value(raw: float, name: str, female: int, age: float) -> None:
    analyte = knowledge().analytes[name]
    who = np.full(2, female), np.full(2, age)
    low, high = scaled(analyte, np.array([raw, raw * 1.5 + 1e-6]), *who)
    assert -6.0 <= low <= high <= 6.0
    ends = np.array(analyte.interval(bool(female), age))
    if ends[0] < ends[1]:
        assert scaled(analyte, ends, *who)[1] == pytest.approx(2.0)


@settings(max_examples=20)
@given(st.lists(st.integers(0, 10**6), max_size=30), st.integers(0, 10**6))
def test_every_observation_lies_in_the_space_and_masks_are_kept(choices: list[int], seed: int) -> None:
    env = make(budget=15.0)
    observation, _ = env.reset(seed=seed)
    for choice in choices:
        assert env.observation_space.contains(observation)
        legal = np.flatnonzero(env.action_masks())
        observation, _, terminated, truncated, _ = env.step(int(legal[choice % len(legal)]))
        assert env.ward.spent_N[0] <= 15.0
        if terminated or truncated:
            observation, _ = env.reset()


# --- rewards and ends -----------------------------------------------------------------------------------------------
def label_of(env: ClinicalCaseTabularEnv, urgent: bool) -> None:
    """Reset until something of that kind is there."""
    for seed in range(200):
        env.reset(seed=seed)
        if bool(env.form.urgent_D[env.oracle() - len(env.form.panels)]) == urgent:
            return
    raise AssertionError("nobody")


def test_the_right_answer_scores_one() -> None:
    env = make()
    env.reset(seed=1)
    _, reward, terminated, truncated, info = env.step(env.oracle())
    assert (reward, terminated, truncated, info["correct"], info["critical_miss"]) == (1.0, True, False, True, False)
    assert info["diagnosis"] in env.form.conditions
    json.dumps({name: value for name, value in info.items() if name != "action_mask"})


@pytest.mark.parametrize(("urgent", "wanted"), [(True, -0.5), (False, 0.0)])
def test_a_wrong_answer_scores_nothing_and_less_where_minutes_matter(urgent: bool, wanted: float) -> None:
    env = make()
    label_of(env, urgent)
    first = len(env.form.panels)
    wrong = first if env.oracle() != first else first + 1
    _, reward, terminated, truncated, info = env.step(wrong)
    assert (reward, terminated, truncated) == (wanted, True, False)
    assert (info["correct"], info["critical_miss"]) == (False, urgent)


@pytest.mark.parametrize("urgent", [True, False])
def test_an_episode_is_cut_off_by_steps_and_by_money(urgent: bool) -> None:
    env = make(max_steps=3)
    label_of(env, urgent)
    for order in range(3):
        _, reward, terminated, truncated, info = env.step(order)
    assert (terminated, truncated, info["correct"], info["critical_miss"]) == (False, True, False, urgent)
    cost = float(env.form.cost_P[2])
    assert reward == pytest.approx(-0.01 * cost - 0.5 * urgent)

    env = make(budget=0)
    label_of(env, urgent)
    assert not env.action_masks()[: len(env.form.panels)].any()
    observation, reward, terminated, truncated, info = env.step(0)
    assert (terminated, truncated, info["spent"]) == (False, True, 0.0)
    assert reward == -0.5 * urgent
    assert not observation["ordered"].any()


@pytest.mark.parametrize("budget", [0.0, 1.0, 4.5, 1e300])
def test_the_mask_leaves_out_what_was_ordered_and_what_can_not_be_paid(budget: float) -> None:
    env = make(budget=budget, max_steps=99)
    env.reset(seed=1)
    cost_P, ordered = env.form.cost_P, list[int]()
    while True:
        wanted = [
            price <= budget - cost_P[ordered].sum() and panel not in ordered for panel, price in enumerate(cost_P)
        ]
        assert env.action_masks().tolist() == wanted + [True] * len(env.form.conditions)
        if not any(wanted):
            break
        ordered.append(wanted.index(True))
        assert env.step(ordered[-1])[2:4] == (False, False)


def test_an_answer_at_the_last_step_counts() -> None:
    env = make(max_steps=1)
    env.reset(seed=1)
    assert env.step(env.oracle())[1:4] == (1.0, True, False)


def test_orders_may_be_free() -> None:
    env = make(cost_weight=0.0, critical_miss=0.0)
    env.reset(seed=1)
    assert env.step(0)[1] == 0.0


# --- mistakes -------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        ({"complaint": "boredom"}, "complaint must be one of .*chest_pain"),
        ({"split": "ood"}, "split must be 'train' or 'test'"),
        ({"split": "all"}, "split must be one of"),
        ({"max_steps": 0}, "max_steps must be an int of at least 1"),
        ({"max_steps": True}, "max_steps must be an int of at least 1"),
        ({"patients": 2.5}, "patients must be an int of at least 1"),
        ({"bank_seed": -1}, "bank_seed must be an int of at least 0"),
        ({"budget": -1}, "budget must be a finite number of at least 0"),
        ({"budget": float("nan")}, "budget must be a finite number"),
        ({"cost_weight": -1}, "cost_weight must be a finite number of at least 0"),
        ({"critical_miss": "much"}, "critical_miss must be a finite number"),
        ({"render_mode": "human"}, "render_mode must be one of"),
    ],
)
def test_an_option_out_of_its_range_is_explained(options: dict[str, Any], wanted: str) -> None:
    with pytest.raises(BadArgument, match=wanted):
        ClinicalCaseTabularEnv(**options)
    with pytest.raises(BadArgument, match=wanted):
        ClinicalCaseTabularVectorEnv(2, **options)


def test_steps_at_the_wrong_moment_and_actions_that_are_none() -> None:
    env, envs = make(), make_vec(2, autoreset_mode="Disabled")
    with pytest.raises(WrongMoment):
        env.step(0)
    with pytest.raises(WrongMoment):
        envs.step(np.zeros(2, np.int64))
    env.reset(seed=0)
    envs.reset(seed=0)
    for wrong in (-1, len(env.form.actions), 1.5, "ecg", None):
        with pytest.raises(BadAction):
            env.step(wrong)  # type: ignore[arg-type]
    for wrongs in ([0], [0, 10**6], [0.0, 1.0], 3):
        with pytest.raises(BadAction):
            envs.step(wrongs)  # type: ignore[arg-type]
    env.step(env.oracle())
    with pytest.raises(WrongMoment):
        env.step(0)
    envs.step(np.array([envs.oracle()[0], 0]))
    with pytest.raises(WrongMoment, match="reset_mask"):
        envs.step(np.zeros(2, np.int64))
    for mask in (np.zeros(2, bool), [True, False], np.ones(3, bool)):
        with pytest.raises(BadArgument, match="reset_mask"):
            envs.reset(options={"reset_mask": mask})
    with pytest.raises(BadArgument, match="reset_mask alone"):
        envs.reset(options={"patient": 3})
    with pytest.raises(BadArgument, match="1 seeds for 2"):
        envs.reset(seed=[1])


def test_some_episodes_can_be_reset_alone() -> None:
    envs = make_vec(2, autoreset_mode="Disabled")
    envs.reset(seed=0)
    observed = envs.step(np.array([envs.oracle()[0], 0]))[0]
    again, info = envs.reset(options={"reset_mask": np.array([True, False])})
    assert again["ordered"][0].sum() == 0
    assert data_equivalence({k: v[1] for k, v in again.items()}, {k: v[1] for k, v in observed.items()})
    assert info["_spent"].tolist() == [True, False]


# --- for people -----------------------------------------------------------------------------------------------------
def test_the_chart_shows_what_is_known_and_the_truth_at_the_end_only() -> None:
    env = make(render_mode="ansi")
    env.reset(seed=2)
    truth = knowledge().conditions[env.form.conditions[env.oracle() - len(env.form.panels)]].name
    env.step(env.form.actions.index("order ecg"))
    shown = env.render()
    assert isinstance(shown, str)
    assert "chest pain" in shown
    assert "Spent" in shown
    assert truth not in shown
    wrong = len(env.form.panels) + (env.oracle() == len(env.form.panels))
    env.step(wrong)
    assert f"It was: {truth}" in " ".join(str(env.render()).split())


def test_a_batch_is_drawn_frame_by_frame() -> None:
    envs = make_vec(2, render_mode="rgb_array")
    envs.reset(seed=0)
    frames = envs.render()
    assert frames is not None
    assert [frame.ndim for frame in frames] == [3, 3]


# --- stable-baselines3 ----------------------------------------------------------------------------------------------
def test_the_bridge_plays_the_same_episodes() -> None:
    pytest.importorskip("stable_baselines3", reason="no stable-baselines3: nobody to hand the environment to")
    from azr_gym.interop.sb3 import VectorEnvAsVecEnv, make_vec_env

    venv = make_vec_env("ClinicalCaseTabular-v0", 3, seed=4, **FEW)
    envs = make_vec(3)
    assert data_equivalence(venv.reset(), envs.reset(seed=4)[0])
    rng = np.random.default_rng(0)
    ended = 0
    for _ in range(60):
        masks = np.stack(venv.env_method("action_masks"))
        assert np.array_equal(masks, envs.action_masks())
        actions = rng.integers(len(envs.form.actions), size=3)
        observed, rewards, done, infos = venv.step(actions)
        wanted, more, terminated, truncated, told = envs.step(actions)
        assert data_equivalence(observed, wanted)
        assert np.allclose(rewards, more)
        assert np.array_equal(done, terminated | truncated)
        for index in np.flatnonzero(done):
            ended += 1
            assert data_equivalence(infos[index]["terminal_observation"], told["final_obs"][index])
            assert infos[index]["TimeLimit.truncated"] == truncated[index]
            assert infos[index]["diagnosis"] == told["final_info"]["diagnosis"][index]
            assert "episode" in infos[index]
    assert ended > 10
    assert venv.get_attr("num_envs") == [3, 3, 3]
    with pytest.raises(BadArgument, match="SAME_STEP"):
        VectorEnvAsVecEnv(make_vec(2, autoreset_mode="NextStep"))


@pytest.mark.parametrize("name", ["MaskablePPO", "PPO", "A2C", "DQN"])
def test_agents_of_stable_baselines3_run(name: str) -> None:
    pytest.importorskip("sb3_contrib", reason="no sb3-contrib: no agents to run")
    import sb3_contrib
    import stable_baselines3
    import torch

    from azr_gym.interop.sb3 import make_vec_env

    agent = getattr(sb3_contrib, name, None) or getattr(stable_baselines3, name)
    extra: dict[str, Any] = {"DQN": {"learning_starts": 50, "buffer_size": 1000}, "A2C": {"n_steps": 5}}.get(
        name, {"n_steps": 32, "batch_size": 64, "n_epochs": 2}
    )
    torch.set_num_threads(1)
    model = agent("MultiInputPolicy", make_vec_env("ClinicalCaseTabular-v0", 4, **FEW), seed=0, device="cpu", **extra)
    model.learn(300)
    assert model.num_timesteps >= 300
    action, _ = model.predict(make().reset(seed=0)[0], deterministic=True)
    assert 0 <= int(action) < len(make().form.actions)


@pytest.mark.long
def test_the_example_learns_and_records(tmp_path: Path) -> None:
    pytest.importorskip("sb3_contrib", reason="no sb3-contrib: the example can not run")
    path, script = tmp_path / "scores.json", Path(__file__).parents[2] / "examples" / "sb3_clinical.py"
    command = [sys.executable, str(script), "--json-file", str(path), "--patients", "1000", "--timesteps", "200000"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    record = json.loads(path.read_text())
    assert record["timesteps"] <= 200_000
    assert [one["steps"] for one in record["curve"]] == sorted(one["steps"] for one in record["curve"])
    assert {one["episodes"] for one in record["scores"].values()} == {1000}
    assert record["scores"]["random"]["accuracy"] < 0.1
    assert record["scores"]["MaskablePPO"]["accuracy"] >= 0.8
    assert "MaskablePPO" in done.stdout
