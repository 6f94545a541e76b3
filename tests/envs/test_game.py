"""Bad input gets one clear error each; solvers, pools, seeds and rewards do what they say."""

from __future__ import annotations

import copy
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from envs.agents import Scripted
from gymnasium.utils import seeding
from gymnasium.wrappers import RecordEpisodeStatistics

import azr_gym
from azr_gym import BadAction, BadAgent, BadArgument, BadPoolFile, BadTask, Outcome, Reply, TaskPool, WrongMoment
from azr_gym.batch import Generators
from azr_gym.code import CodeTask, Triplet, hello_world
from azr_sandbox import Runner

TASKS = [Triplet.of("deduction", "def f(x):\n    return x + 1", (n,), n + 1) for n in range(8)]
PROPOSAL = "def f(x):\n    return [x, x]\nf(1)"


class NoReply:
    """Not an agent."""


class TooFew:
    """Answers once, whatever it is asked."""

    def reply(self, prompts: Any, n: int, seed: int) -> Any:
        return [[Reply("1")] for _ in prompts]


class JustText(TooFew):
    def reply(self, prompts: Any, n: int, seed: int) -> Any:
        return [["1"] * n for _ in prompts]


BAD: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"role": "judge"}, BadArgument, "role must be one of .*propose.*solve"),
    ({"role": None}, BadArgument, "role"),
    ({"mode": "diagnosis"}, BadArgument, "mode must be one of .*deduction"),
    ({"mode": ()}, BadArgument, "mode"),
    ({"mode": ("deduction", "deduction")}, BadArgument, "mode"),
    ({"mode": 3}, BadArgument, "mode"),
    ({"split": "valid"}, BadArgument, "split must be one of .*train"),
    ({"reward": "big"}, BadArgument, "reward must be one of .*azr_code"),
    ({"learnability": "p"}, BadArgument, "learnability"),
    ({"prompt_style": "short"}, BadArgument, "compact"),
    ({"max_attempts": 0}, BadArgument, "max_attempts"),
    ({"max_attempts": True}, BadArgument, "max_attempts"),
    ({"n_rollouts": 0}, BadArgument, "n_rollouts"),
    ({"n_references": -1}, BadArgument, "n_references"),
    ({"reward_weight": float("nan")}, BadArgument, "reward_weight"),
    ({"role": "propose", "max_attempts": 2}, BadArgument, "one attempt"),
    ({"solver": Scripted(lambda prompt, place: "")}, BadArgument, "role='propose'"),
    ({"role": "propose", "solver": NoReply()}, BadAgent, "reply"),
    ({"pool": TASKS}, BadArgument, "TaskPool"),
    ({"pool": TaskPool(TASKS), "split": "test"}, BadArgument, "pool"),
    ({"level": 9}, BadArgument, "level"),
    ({"level": ()}, BadArgument, "level"),
    ({"n_pairs": 3}, BadArgument, "n_pairs"),
    ({"runner": "chroot"}, BadArgument, "docker"),
    ({"runner": 5}, BadArgument, "make_runner"),
    ({"colour": "red"}, BadArgument, "no option 'colour'.*pool"),
    ({"render_mode": "human"}, BadArgument, "ansi"),
]


@pytest.mark.parametrize(("options", "kind", "sentence"), BAD, ids=[str(options) for options, _, _ in BAD])
@pytest.mark.parametrize("face", ["single", "batch"])
def test_a_bad_option_says_what_would_be_good(options: dict[str, Any], kind: Any, sentence: str, face: str) -> None:
    from azr_gym.code.env import CodeTripletEnv, CodeTripletVectorEnv

    make: Any = CodeTripletEnv if face == "single" else CodeTripletVectorEnv
    with pytest.raises(kind, match=sentence):
        make(**options)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"num_envs": 0}, "num_envs"),
        ({"autoreset_mode": "NextStep"}, "SAME_STEP"),
        ({"autoreset_mode": 1}, "SAME_STEP"),
    ],
)
def test_a_bad_batch_says_what_would_be_good(options: dict[str, Any], sentence: str) -> None:
    from azr_gym.code.env import CodeTripletVectorEnv

    with pytest.raises(BadArgument, match=sentence):
        CodeTripletVectorEnv(**options)


@pytest.mark.parametrize("agent", [TooFew(), JustText()])
def test_a_solver_of_the_wrong_shape_is_named(agent: Any, any_runner: Runner) -> None:
    env = gym.make("CodeTriplet-v0", role="propose", solver=agent, runner=any_runner)
    env.reset(seed=0)
    with pytest.raises(BadAgent, match="repl"):
        env.step(PROPOSAL)


def test_steps_at_the_wrong_moment_are_refused() -> None:
    from azr_gym.code.env import CodeTripletEnv, CodeTripletVectorEnv

    env, envs = CodeTripletEnv(), CodeTripletVectorEnv(2, autoreset_mode="Disabled")
    for play in (lambda: env.step("1"), env.oracle, lambda: envs.step(["1", "2"]), envs.oracle):
        with pytest.raises(WrongMoment, match="reset"):
            play()
    env.reset(seed=0)
    envs.reset(seed=0)
    env.step("1")
    envs.step(["1", "2"])
    for play in (lambda: env.step("1"), env.oracle, lambda: envs.step(["1", "2"]), envs.oracle):
        with pytest.raises(WrongMoment, match="over"):
            play()


def test_a_batch_shows_its_episodes_once_they_have_begun() -> None:
    from azr_gym.code.env import CodeTripletVectorEnv

    envs = CodeTripletVectorEnv(3, autoreset_mode="Disabled")
    with pytest.raises(WrongMoment, match="reset"):
        _ = envs.episodes
    prompts, info = envs.reset(options={"tasks": [TASKS[2], TASKS[0], None]})
    assert [episode.task for episode in envs.episodes[:2]] == [TASKS[2], TASKS[0]]
    assert tuple(episode.prompt for episode in envs.episodes) == prompts
    assert [episode.task.id for episode in envs.episodes if episode.task] == info["task_id"].tolist()
    begun = envs.episodes
    envs.step(envs.oracle())
    assert all(now is then and now.over for now, then in zip(envs.episodes, begun, strict=True))


def test_a_batch_that_resets_itself_shows_the_episodes_that_follow() -> None:
    from azr_gym.code.env import CodeTripletVectorEnv

    envs = CodeTripletVectorEnv(2)
    envs.reset(seed=0)
    begun = envs.episodes
    prompts = envs.step(envs.oracle())[0]
    assert tuple(episode.prompt for episode in envs.episodes) == prompts
    assert not any(now is then or now.over for now, then in zip(envs.episodes, begun, strict=True))


@pytest.mark.parametrize("action", [None, 3, b"1", ["1"], np.array(["1"])])
def test_an_action_that_is_not_text_is_refused_and_the_episode_goes_on(action: Any) -> None:
    from azr_gym.code.env import CodeTripletEnv

    env = CodeTripletEnv()
    env.reset(seed=0)
    with pytest.raises(BadAction, match="text"):
        env.step(action)
    assert env.step(env.oracle())[1] == 1.0


@pytest.mark.parametrize("actions", ["ab", ["a"], ["a", "b", "c"], ["a", 3]])
def test_a_batch_wants_one_text_for_each(actions: Any) -> None:
    from azr_gym.code.env import CodeTripletVectorEnv

    envs = CodeTripletVectorEnv(2)
    envs.reset(seed=0)
    with pytest.raises(BadAction):
        envs.step(actions)
    assert envs.step(envs.oracle())[1].tolist() == [1.0, 1.0]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"tasks": TASKS}, "one entry for each"),
        ({"task": TASKS[0]}, "tasks"),
        ({"tasks": "ab"}, "list"),
        ({"reset_mask": [True, False]}, "numpy bool array"),
        ({"reset_mask": np.array([False, False])}, "True"),
        ({"reset_mask": np.array([1, 0])}, "bool"),
        ({"references": [None, [TASKS[0]]]}, "task"),
    ],
    ids=str,
)
def test_bad_options_of_a_batch_reset_are_refused(options: dict[str, Any], sentence: str) -> None:
    from azr_gym.code.env import CodeTripletVectorEnv

    envs = CodeTripletVectorEnv(2)
    envs.reset(seed=0)
    with pytest.raises(BadArgument, match=sentence):
        envs.reset(options=options)


@pytest.mark.parametrize("seed", [-1, 1.5, "a"])
def test_a_bad_seed_is_refused(seed: Any) -> None:
    with pytest.raises((gym.error.Error, TypeError, ValueError)):
        gym.make("CodeTriplet-v0").reset(seed=seed)


def test_a_pool_file_of_another_version_python_or_room_says_so(tmp_path: Path) -> None:
    path = tmp_path / "pool.jsonl"
    TaskPool(TASKS).save(path)
    good = path.read_text()
    for old, new, sentence in (
        ('"version": 1', '"version": 2', "version"),
        (f'"python": "{sys.version_info[0]}.{sys.version_info[1]}"', '"python": "2.7"', "2.7"),
        ('"mode": "deduction"', '"mode": "diagnosis"', "mode"),
        ("azr-gym pool", "something", "no pool"),
    ):
        assert old in good
        path.write_text(good.replace(old, new))
        with pytest.raises(BadPoolFile, match=sentence):
            TaskPool.load(path, CodeTask)


def test_tasks_come_from_the_pool() -> None:
    env = gym.make("CodeTriplet-v0", pool=TaskPool(TASKS))
    programs = {env.reset(seed=seed)[1]["input"] for seed in range(60)}
    assert programs == {str(n) for n in range(8)}


def test_an_empty_pool_says_what_to_do() -> None:
    with pytest.raises(BadArgument, match="add some"):
        gym.make("CodeTriplet-v0", pool=TaskPool(), mode="abduction").reset(seed=0)


def test_a_proposer_with_an_empty_pool_sees_examples_of_the_generator(any_runner: Runner) -> None:
    env = gym.make("CodeTriplet-v0", role="propose", pool=TaskPool(), runner=any_runner)
    assert env.reset(seed=0)[0].count("Example ") == 6


def test_copying_the_spec_copies_neither_pool_nor_solver_nor_runner(any_runner: Runner) -> None:
    solver, pool = Scripted(lambda prompt, place: "1"), TaskPool([hello_world()])
    env = gym.make("CodeTriplet-v0", role="propose", pool=pool, solver=solver, runner=any_runner)
    assert env.spec is not None
    kwargs = copy.deepcopy(env.spec).kwargs
    assert kwargs["pool"] is pool
    assert kwargs["solver"] is solver
    assert kwargs["runner"] is any_runner


@pytest.mark.parametrize(("right", "worth"), [(0, 0.0), (1, 0.875), (3, 0.625), (5, 0.375), (7, 0.125), (8, 0.0)])
def test_a_proposer_earns_the_learnability_of_its_task(any_runner: Runner, right: int, worth: float) -> None:
    solver = Scripted(lambda prompt, place: "[1, 1]" if place < right else "[2]")
    env = gym.make("CodeTriplet-v0", role="propose", solver=solver, runner=any_runner)
    env.reset(seed=0)
    _, reward, _, _, info = env.step(PROPOSAL)
    assert reward == info["learnability"] == worth
    assert info["solve_rate"] == right / 8


def test_a_solve_rate_of_six_in_ten_is_worth_four_tenths(any_runner: Runner) -> None:
    solver = Scripted(lambda prompt, place: "[1, 1]" if place < 6 else "[2]")
    env = gym.make("CodeTriplet-v0", role="propose", solver=solver, n_rollouts=10, runner=any_runner)
    env.reset(seed=0)
    assert env.step(PROPOSAL)[1] == pytest.approx(0.4, abs=1e-12)


def test_solvers_are_not_asked_where_nothing_was_accepted(any_runner: Runner) -> None:
    solver = Scripted(lambda prompt, place: "1")
    env = gym.make("CodeTriplet-v0", role="propose", solver=solver, runner=any_runner)
    env.reset(seed=0)
    assert env.step("nothing")[4]["outcome"] is Outcome.MALFORMED
    assert solver.asked == []


def test_batched_and_single_solvers_get_the_same_seeds(any_runner: Runner) -> None:
    single, batch = (Scripted(lambda prompt, place: "[1, 1]" if place % 3 else "1") for _ in range(2))
    env = gym.make("CodeTriplet-v0", role="propose", solver=single, runner=any_runner)
    envs: Any = gym.make_vec("CodeTriplet-v0", 2, role="propose", solver=batch, runner=any_runner)
    env.reset(seed=0)
    envs.reset(seed=0)
    for _ in range(3):
        _, reward, _, _, info = env.step(PROPOSAL)
        env.reset()
        _, rewards, _, _, infos = envs.step([PROPOSAL, PROPOSAL])
        assert rewards.tolist() == [reward, reward]
        assert [r.reply for r in infos["final_info"]["rollouts"][0]] == [r.reply for r in info["rollouts"]]
    assert [seed for _, _, seed in single.asked] == [seed for _, _, seed in batch.asked] == [0, 1, 2]


def test_max_episode_steps_truncates_a_batch_as_it_does_a_single_environment(any_runner: Runner) -> None:
    single = gym.make("CodeTriplet-v0", max_attempts=5, max_episode_steps=2, runner=any_runner)
    envs: Any = gym.make_vec("CodeTriplet-v0", 2, max_attempts=5, max_episode_steps=2, autoreset_mode="Disabled")
    single.reset(seed=0)
    envs.reset(seed=0)
    for _ in range(2):
        one, many = single.step("no"), envs.step(["no", "no"])
        assert one[2:4] == (bool(many[2][0]), bool(many[3][0]))
    assert one[3]


def test_episode_statistics_of_gymnasium_work_on_text() -> None:
    env = RecordEpisodeStatistics(gym.make("CodeTriplet-v0"))
    env.reset(seed=0)
    assert env.step(env.unwrapped.oracle())[4]["episode"]["r"] == 1.0  # type: ignore[attr-defined]


def test_stable_baselines3_is_told_where_to_go() -> None:
    pytest.importorskip("stable_baselines3")
    code = (
        "import gymnasium as gym, azr_gym\nfrom stable_baselines3 import PPO\n"
        "try:\n    PPO('MlpPolicy', gym.make('CodeTriplet-v0'))\n"
        "except Exception as error:\n    print(type(error).__name__, error)\n"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert re.search(r"NotNumeric .*ClinicalCaseTabular-v0", said)


def test_a_second_close_does_nothing_and_the_last_room_closes_the_shared_box(any_runner: Runner) -> None:
    from azr_gym.code import room

    name = any_runner.name
    one, two = (gym.make("CodeTriplet-v0", mode="abduction", runner=name) for _ in range(2))
    for env in (one, two):
        env.reset(seed=0)
        assert env.step(env.unwrapped.oracle())[1] == 1.0  # type: ignore[attr-defined]
    box = room._shared[name, None][0]
    one.close()
    one.close()
    assert room._shared[name, None][0] is box
    two.close()
    assert (name, None) not in room._shared
    with pytest.raises(azr_gym.AzrGymError):
        two.step("1")


def test_nothing_is_started_before_something_must_run() -> None:
    code = (
        "import sys, gymnasium as gym, azr_gym\n"
        "env = gym.make('CodeTriplet-v0'); env.reset(seed=0); env.step(env.unwrapped.oracle())\n"
        "print('docker' in sys.modules, 'azr_sandbox.jail' in sys.modules, 'torch' in sys.modules)"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said.split() == ["False"] * 3


@pytest.mark.parametrize(
    ("mode", "program", "arguments", "output"),
    [
        ("induction", "def f(x): return x", "1", "1"),
        ("deduction", "def f(x) return x", "1", "1"),
        ("deduction", "def f(x): return x", "1 +", "1"),
        ("deduction", "def f(x): return x", "1", "object()"),
        ("deduction", "def f(x): return x", "[1,2]", "1"),
        ("deduction", "def f(x): return x", "1", "'" + "a" * 1000 + "'"),
        ("deduction", None, "1", "1"),
    ],
)
def test_a_bad_task_is_refused_where_it_is_made(mode: Any, program: Any, arguments: str, output: str) -> None:
    with pytest.raises(BadTask):
        Triplet(mode, program, arguments, output)


@pytest.mark.parametrize("data", [{}, [], {"mode": "deduction"}, {"mode": "induction", "program": "", "pairs": 3}])
def test_data_that_is_no_task_is_refused(data: Any) -> None:
    with pytest.raises(BadTask):
        CodeTask.from_json(data)


def test_a_reset_of_a_batch_that_fails_changes_nothing() -> None:
    from azr_gym.code.env import CodeTripletVectorEnv

    envs, twin = CodeTripletVectorEnv(3), CodeTripletVectorEnv(3)
    assert envs.reset(seed=4)[0] == twin.reset(seed=4)[0]
    with pytest.raises(BadTask):
        envs.reset(seed=9, options={"tasks": [TASKS[0], None, "no task"]})
    assert envs.oracle() == twin.oracle()
    assert envs.step(envs.oracle())[0] == twin.step(twin.oracle())[0]


@pytest.mark.parametrize("program", ["x" * 4001, "def f(x) return", "def g(x): return x", 5])
def test_a_program_to_propose_for_is_checked_at_reset(program: Any, any_runner: Runner) -> None:
    env = gym.make("CodeTriplet-v0", role="propose", mode="induction", runner=any_runner)
    with pytest.raises(BadTask):
        env.reset(options={"program": program})


def test_a_runner_is_named_where_it_can_not_be_pickled(any_runner: Runner) -> None:
    import pickle

    with pytest.raises(TypeError, match="give its name"):
        pickle.dumps(any_runner)


def test_a_generator_is_made_when_it_is_asked_for_and_taken_back_as_it_was() -> None:
    made = Generators([None, None, None]).seeded([0, 1], [5, 6, None])
    assert [type(held) for held in made._held] == [int, int, type(None)]
    drawn = made[0].integers(1000, size=4).tolist()
    assert drawn == seeding.np_random(5)[0].integers(1000, size=4).tolist()
    again = made.seeded([0, 1], [None, 7, None])
    ahead = again[0].integers(1000, size=4).tolist()
    again.undo()
    assert made[0].integers(1000, size=4).tolist() == ahead
    with pytest.raises(gym.error.Error):
        made.seeded([0], [-1, None, None])
    assert type(made._held[1]) is int, "nobody asked"
