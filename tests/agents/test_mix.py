"""One run over the code room and the clinic: each task goes to its own, and the run stops and goes on to the bit."""

from __future__ import annotations

import functools
import io
import itertools
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from agents.small import JAIL, Player, Says, config, policy
from rich.console import Console

from azr_agents import metrics
from azr_agents import train as training
from azr_agents.checkpoint import latest
from azr_agents.config import Config
from azr_agents.corpus import source
from azr_agents.evaluate import Score, table
from azr_agents.measure import measure, samples
from azr_agents.metrics import describe
from azr_agents.mix import Arenas, Pools, load_pool, make_arena, make_pool
from azr_agents.pretrain import Recipe, make_corpus, make_tokenizer
from azr_agents.rollout import Arena
from azr_agents.selfplay import SelfPlay, base_strength, fill
from azr_agents.train import train
from azr_gym import BadArgument, TaskPool
from azr_gym.clinical import ClinicalTask, knowledge, prompts
from azr_gym.code import CodeTask
from azr_gym.roles import PromptStyle

CODE, CLINIC = ENVS = ("CodeTriplet-v0", "ClinicalCase-v0")
OPTIONS = {CODE: JAIL, CLINIC: {"conditions": ["nstemi", "sepsis", "hypoglycaemia"]}}
DEDUCTION = tuple(f"{env}/deduction" for env in ENVS)


def settings(**changes: Any) -> Config:
    return config(**{"env": ENVS, "env_options": OPTIONS, "proposals": 4, "tasks": 4, "seed_tasks": 6, **changes})


class Both(Player):
    """Proposes programs and patients, each where it is asked to; of what it does not know it says nothing."""

    def __init__(self, patients: Sequence[str], **options: Any) -> None:
        super().__init__(**options)
        self.patients = itertools.cycle(patients)

    def knows(self, *tasks: Any) -> Both:
        for task in tasks:
            if isinstance(task, ClinicalTask):
                asked, said = (word(knowledge(), task, PromptStyle.COMPACT) for word in (prompts.solve, prompts.answer))
                self.answers[asked] = said
            else:
                super().knows(task)
        return self

    def __call__(self, prompt: str, place: int) -> str:
        if "# patient" in prompt:
            return next(self.patients)
        if prompt.endswith("? =") and "def f" not in prompt:
            return self.answers.get(prompt, "nothing")
        return super().__call__(prompt, place)


@functools.cache
def patients() -> tuple[str, ...]:
    """What is proposed: patients of the generator."""
    envs: Any = gym.make_vec(CLINIC, 12, autoreset_mode="Disabled")
    envs.reset(seed=77)
    tasks = [episode.task for episode in envs.unwrapped.episodes]
    return tuple(prompts.patient(knowledge(), task.whole, PromptStyle.COMPACT) for task in tasks)


@contextmanager
def world(chosen: Config) -> Iterator[tuple[Pools, Arenas]]:
    """Pools with tasks of the generators, and arenas over them."""
    pool = make_pool(chosen)
    with make_arena(chosen, pool) as arena:
        assert isinstance(pool, Pools)
        assert isinstance(arena, Arenas)
        for task in arena.fresh(chosen.seed_tasks, 3):
            assert pool.add(task, "seed")
        yield pool, arena


@pytest.fixture
def opened() -> Iterator[tuple[Pools, Arenas]]:
    with world(settings(modes=("deduction", f"{CODE}/abduction"))) as found:
        yield found


# --- pools and arenas -------------------------------------------------------------------------------------------
def test_modes_are_named_after_their_environments(opened: tuple[Pools, Arenas]) -> None:
    pool, arena = opened
    assert arena.modes == (f"{CODE}/deduction", f"{CODE}/abduction", f"{CLINIC}/deduction")
    assert [pool.size(mode) for mode in arena.modes] == [6, 6, 6]
    assert pool.size(f"{CLINIC}/abduction") == 0
    assert len(pool) == 18


def test_every_task_lies_with_its_own_kind_and_is_drawn_from_there(opened: tuple[Pools, Arenas]) -> None:
    pool, _ = opened
    rng = np.random.default_rng(0)
    for env, kind in ((CODE, CodeTask), (CLINIC, ClinicalTask)):
        own = pool.sample(rng, 40, f"{env}/deduction")
        assert all(isinstance(task, kind) and task.mode == "deduction" and task in pool for task in own)
        assert not pool.add(own[0])
        pool.record(own[0], attempts=4, successes=1)
        assert pool.entry(own[0]) is pool.pools[env].entry(own[0])
        assert pool.entry(own[0]).solve_rate == 0.25
    for how in ("uniform", "learnability"):
        drawn = Counter(pool.env(task) for task in pool.sample(rng, 400, sampling=how))
        assert drawn.total() == 400
        assert 140 < drawn[CODE] < 260
    with pytest.raises(BadArgument, match="no tasks"):
        make_pool(settings()).sample(rng, 1)


def test_proposals_and_attempts_are_those_of_each_environment_alone(opened: tuple[Pools, Arenas]) -> None:
    pool, arena = opened
    player = Both(patients()).knows(*(task for one in pool.pools.values() for task in one))
    made = arena.propose(Says(player), 5)
    assert Counter(one.mode for one in made) == dict.fromkeys(arena.modes, 4)
    assert {one.mode for one in made if one.task is not None} == {*arena.modes}
    for one in made:
        assert one.task is None or one.mode == f"{pool.env(one.task)}/{one.task.mode}"
    tasks = pool.sample(np.random.default_rng(1), 12)
    agent = Says(player)
    groups = arena.solve(agent, tasks, 5)
    assert [group[0].task for group in groups] == tasks
    assert len(agent.asked) == 2, "one call for each environment"
    for task, group in zip(tasks, groups, strict=True):
        assert {(one.mode, one.prompt, one.correct) for one in group} == {
            (f"{pool.env(task)}/{task.mode}", arena.prompt(task), True)
        }
    assert arena.solve(agent, [], 5) == []


def test_the_first_environment_plays_as_in_a_run_of_its_own(opened: tuple[Pools, Arenas]) -> None:
    pool, arena = opened
    own = settings(modes=("deduction", f"{CODE}/abduction")).by_env()[CODE]
    with Arena(own, pool.pools[CODE]) as alone:
        first = [(one.prompt, one.reply.text, one.reward) for one in alone.propose(Says(Both(patients())), 5)]
        mixed = [(one.prompt, one.reply.text, one.reward) for one in arena.propose(Says(Both(patients())), 5)]
        assert mixed[: len(first)] == first
        assert arena.fresh(2, 9)[:4] == alone.fresh(2, 9)


def test_pools_come_back_from_their_files(opened: tuple[Pools, Arenas], tmp_path: Path) -> None:
    pool, _ = opened
    pool.save(tmp_path / "pool.jsonl")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["pool-0.jsonl", "pool-1.jsonl"]
    again = load_pool(settings(), tmp_path / "pool.jsonl")
    rngs = [np.random.default_rng(2) for _ in range(2)]
    assert again.sample(rngs[0], 30) == pool.sample(rngs[1], 30)


def test_a_proposer_that_is_shown_nothing_is_asked_differently_in_each() -> None:
    with world(settings(n_references=0)) as (_, arena):
        asked = [
            {one.prompt for one in arena.propose(Says(Both(patients())), 0) if one.mode == mode} for mode in DEDUCTION
        ]
    assert not asked[0] & asked[1]


# --- an iteration -----------------------------------------------------------------------------------------------
def test_an_iteration_plays_both_and_keeps_their_baselines_apart() -> None:
    chosen = settings(modes=("deduction",), algorithm="trr++", refill=0, skip_idle=False)
    with world(chosen) as (pool, arena):
        solver = policy(Both(patients(), rights=[2]).knows(*pool.pools[CLINIC]))
        loop = SelfPlay(chosen, solver, solver, pool, arena)
        played, _ = loop.iterate()
        learner: Any = solver.learner
        [batch] = learner.batches
    found = measure(played, arena.modes)
    for name in found:
        describe(name)
    assert {name for name in found if name.startswith("accuracy/")} == {f"accuracy/{mode}" for mode in DEDUCTION}
    assert {row["mode"] for row in samples(played, 1)} == {*DEDUCTION}
    assert all(one.task in pool for one in played.proposals if one.task is not None)
    kinds = [(one.mode, one.role) for one in [*played.proposals, *itertools.chain(*played.groups)]]
    sums: dict[Any, float] = {}
    for kind, row in zip(kinds, batch.advantages, strict=True):
        sums[kind] = sums.get(kind, 0.0) + float(row.mean())
    assert len(sums) == 4
    assert sums == pytest.approx(dict.fromkeys(sums, 0.0), abs=1e-3), "each is centred on its own mean"


def test_a_pool_is_filled_with_both_and_the_base_is_tried_at_both() -> None:
    chosen = settings(modes=("deduction",))
    pool = make_pool(chosen)
    with make_arena(chosen, pool) as arena:
        agent = Says(Both(patients()))
        fill(chosen, pool, arena, agent)
        assert [pool.size(mode) for mode in DEDUCTION] == [6, 6]
        assert base_strength(chosen, pool, arena, agent) == pytest.approx(0.5)  # every program, and no patient


def saved(run: Path) -> dict[str, bytes]:
    """The weights, moments and tasks of a run's last checkpoint."""
    place = latest(run)
    assert place is not None
    files = (path for path in place.rglob("*") if path.suffix in (".safetensors", ".jsonl"))
    return {str(path.relative_to(place)): path.read_bytes() for path in files}


# --- a run ------------------------------------------------------------------------------------------------------
def test_a_run_over_both_goes_on_to_the_bit(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = settings(modes=("deduction",), model=str(base), iterations=3, n_references=1, eval_tasks=2)
    straight = train(replace(chosen, out=tmp_path / "straight"))
    stopped = replace(chosen, out=tmp_path / "stopped")
    iterate = training._iterate

    def dies(play: SelfPlay, log: Any) -> dict[str, Any]:
        if play.iteration == 2:
            raise ArithmeticError
        return iterate(play, log)

    with monkeypatch.context() as patch, pytest.raises(ArithmeticError):
        patch.setattr(training, "_iterate", dies)
        train(stopped)
    train(stopped, resume=True)
    ours, theirs = (metrics.read(folder) for folder in (straight, stopped.out))
    for one, other in zip(ours.metrics, theirs.metrics, strict=True):
        assert {k: v for k, v in one.items() if k not in metrics.TIMES} == {
            k: v for k, v in other.items() if k not in metrics.TIMES
        }
    assert (ours.evaluations, ours.samples) == (theirs.evaluations, theirs.samples)
    files = [saved(straight), saved(stopped.out)]
    assert files[0] == files[1]
    assert {"pool-0.jsonl", "pool-1.jsonl", "optimizer.safetensors", "model/model.safetensors"} <= {*files[0]}
    modes = [*DEDUCTION, "all"]
    assert [row["mode"] for row in ours.evaluations if row["iteration"] == 3] == modes + modes
    assert all(mode in (straight / "report.html").read_text() for mode in DEDUCTION)
    assert Config.from_json(ours.config) == replace(chosen, out=straight)
    with pytest.raises(BadArgument, match="env was"):
        train(config(model=str(base), out=stopped.out), resume=True)


def test_a_terminal_of_80_columns_shows_every_mode_of_both_in_full() -> None:
    page = Console(width=80, file=io.StringIO())
    scores = [Score("test", mode, 8, 1.0, (8,) * 150) for mode in (*DEDUCTION, f"{CODE}/all", "all")]
    page.print(table(scores, scores))
    shown = page.file.getvalue()  # type: ignore[attr-defined]
    assert [shown.count(part) for part in (f"{CODE}/", f"{CLINIC}/", "deduction", "\N{HORIZONTAL ELLIPSIS}")] == [
        2,
        1,
        2,
        0,
    ]


# --- a base for both --------------------------------------------------------------------------------------------
def test_a_base_reads_examples_of_both_by_turns() -> None:
    both = source(ENVS)
    read = [*itertools.islice(both.examples(np.random.default_rng(0), (1,)), 40)]
    assert read == [*itertools.islice(both.examples(np.random.default_rng(0), (1,)), 40)]
    first, second = np.random.default_rng(0).spawn(2)
    assert read[::2] == [*itertools.islice(source(CODE).examples(first, (1,)), 20)]
    assert read[1::2] == [*itertools.islice(source(CLINIC).examples(second, (1,)), 20)]


def test_a_tokenizer_for_both_has_the_clinic_s_words_and_gives_any_text_back() -> None:
    recipe = Recipe(env=ENVS, examples=300, levels=(1,), vocab_size=400)
    tokenizer = make_tokenizer(recipe)
    assert all(len(tokenizer(word)["input_ids"]) == 1 for word in source(CLINIC).words())
    pieces = [tokenizer.decode([one]) for one in tokenizer("\n+ fever, spo2_low\nspo2 94")["input_ids"]]
    assert pieces[:2] == ["\n+ ", "fever"]
    assert pieces[-4:] == ["spo2", " ", "9", "4"]
    for one in itertools.islice(source(ENVS).examples(np.random.default_rng(1), (1,)), 60):
        assert tokenizer.decode(tokenizer(one.prompt + one.answer)["input_ids"]) == one.prompt + one.answer
    corpus = make_corpus(replace(recipe, examples=40), tokenizer)
    assert 30 <= len(corpus) <= 40
    assert Recipe(**json.loads(json.dumps(asdict(recipe))) | {"env": ENVS, "levels": (1,)}) == recipe
    for wrong in ((), (CODE, CODE), (CODE, "Chess-v0"), "Chess-v0"):
        with pytest.raises(BadArgument, match="env must be one of"):
            Recipe(env=wrong)


# --- settings ---------------------------------------------------------------------------------------------------
def test_settings_of_each_are_those_of_a_run_of_it_alone() -> None:
    own = settings(modes=("deduction", f"{CLINIC}/induction"), lr=0.25).by_env()
    assert own[CODE] == settings(env=CODE, env_options=JAIL, modes=("deduction",), lr=0.25)
    assert own[CLINIC] == settings(env=CLINIC, env_options=OPTIONS[CLINIC], modes=("deduction", "induction"), lr=0.25)
    assert own[CODE].by_env() == {CODE: own[CODE]}
    assert Config.from_json(json.loads(json.dumps(settings().to_json()))) == settings()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"env": (CODE, CODE)}, "different ones"), ({"env": ()}, "different ones"), ({"env": (CODE,)}, "by its id alone"),
        ({"env_options": {"level": 1}}, r"env_options\['level'\] is of no environment of this run"), ({"env_options": {CODE: 1}}, "JSON object"),
        ({"env_options": {CODE: {"split": "test"}}}, "can not hold split"), ({"modes": ("deduction", f"{CODE}/deduction")}, "different ones"),
        ({"modes": ("Chess-v0/deduction",)}, "mode 'Chess-v0/deduction' is of no"), ({"modes": (f"{CODE}/deduction",)}, f"name none of {CLINIC}"),
    ],
)  # fmt: skip
def test_what_can_not_be_is_refused_in_words(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(BadArgument, match=words):
        settings(**changes)


def test_tasks_that_can_not_be_told_apart_are_refused() -> None:
    with pytest.raises(BadArgument, match="of one type"):
        Pools({"A-v0": TaskPool(), "B-v0": TaskPool()}, [CodeTask, CodeTask])


def test_of_one_environment_there_is_one_arena_and_one_pool() -> None:
    chosen = config()
    pool = make_pool(chosen)
    with make_arena(chosen, pool) as arena:
        assert (type(pool), type(arena)) == (TaskPool, Arena)
        assert arena.modes == ("deduction",)
