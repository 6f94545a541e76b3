"""Measuring an agent: the estimators against exact enumeration, and scripted agents whose score is known."""

from __future__ import annotations

import doctest
import io
import json
import math
from collections.abc import Callable, Iterator, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from envs.agents import Counting
from gymnasium.vector import VectorEnv
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from transformers import AutoModelForCausalLM, LlamaConfig

from azr_agents import evaluate as page
from azr_agents.evaluate import (
    Score,
    at_temperature,
    bootstrap,
    difference,
    evaluate,
    evaluate_file,
    pass_at_k,
    table,
    task_seeds,
)
from azr_agents.hf import HFAgent
from azr_agents.scripted import Noisy, Oracle, Stubborn
from azr_agents.tokenizer import train_tokenizer
from azr_gym import Agent, BadAgent, BadArgument, BadPoolFile, Outcome, Reply
from azr_sandbox import Runner

torch.set_num_threads(1)
DEDUCTION: dict[str, Any] = {"modes": "deduction", "tasks_per_mode": 40, "samples": 8}
UNSURE = "I do not know."
rates = st.lists(st.floats(-1.0, 1.0), min_size=1, max_size=40)


def oracle(modes: Sequence[str] = ("deduction",), count: int = 40, seed: int = 0, **options: Any) -> Oracle:
    """Knows the tasks that `evaluate` draws."""
    batches = []
    for mode in modes:
        batch = gym.make_vec("CodeTriplet-v0", num_envs=count, mode=mode, **{"split": "test", **options})
        batch.reset(seed=task_seeds(mode, count, seed))  # type: ignore[arg-type]
        batches.append(batch)
    return Oracle.of(*batches)


def half(seed: int = 0) -> Noisy:
    return Noisy(oracle(seed=seed), Stubborn(UNSURE), 0.5)


class Warm:
    """An agent with a temperature that remembers how it was asked."""

    def __init__(self, inner: Agent, temperature: float = 1.0) -> None:
        self.inner, self.temperature = inner, temperature
        self.asked: list[tuple[int, int, int, float]] = []

    def reply(self, prompts: Sequence[str], n: int, seed: int) -> Sequence[Sequence[Reply]]:
        self.asked.append((len(prompts), n, seed, self.temperature))
        return self.inner.reply(prompts, n, seed)


# pass@k


@given(st.integers(1, 9).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n), st.integers(1, n))))
def test_pass_at_k_is_the_share_of_subsets_with_a_right_sample(case: tuple[int, int, int]) -> None:
    n, right, k = case
    subsets = list(combinations(range(n), k))
    exact = sum(any(sample < right for sample in subset) for subset in subsets) / len(subsets)
    assert float(pass_at_k(right, n, k)) == pytest.approx(exact, abs=1e-12)


@given(st.floats(0.0, 1.0), st.integers(1, 12), st.data())
def test_pass_at_k_is_unbiased(rate: float, n: int, data: st.DataObject) -> None:
    k = data.draw(st.integers(1, n))
    chances = [math.comb(n, right) * rate**right * (1 - rate) ** (n - right) for right in range(n + 1)]
    expected = float(np.dot(chances, pass_at_k(range(n + 1), n, k)))
    assert expected == pytest.approx(1 - (1 - rate) ** k, abs=1e-9)


def test_pass_at_k_keeps_the_shape_and_is_exact_at_the_ends() -> None:
    found = pass_at_k([[0, 1], [7, 8]], 8, 8)
    assert found.tolist() == [[0.0, 1.0], [1.0, 1.0]]
    assert pass_at_k(range(9), 8, 1) == pytest.approx(np.arange(9) / 8)
    assert pass_at_k([], 8, 1).shape == (0,)


def test_pass_at_k_holds_where_binomials_overflow() -> None:
    found = pass_at_k([0, 1, 50_000, 99_999], 100_000, 50_000)
    assert found == pytest.approx([0.0, 0.5, 1.0, 1.0])
    assert np.diff(pass_at_k(range(2001), 2000, 37)).min() >= 0


# intervals


@given(rates, st.integers(0, 5))
def test_an_interval_lies_within_the_values_and_hangs_on_its_arguments(values: list[float], seed: int) -> None:
    low, high = bootstrap(values, seed, 200)
    assert min(values) <= low <= high <= max(values)
    assert (low, high) == bootstrap(values[::-1], seed, 200)


def test_an_interval_has_the_quantiles_of_the_exact_bootstrap() -> None:
    values, n, rate = [1.0] * 6 + [0.0] * 14, 20, 0.3  # a resample's mean is binomial
    sums = np.cumsum([math.comb(n, right) * rate**right * (1 - rate) ** (n - right) for right in range(n + 1)])
    exact = tuple(int(np.searchsorted(sums, level)) / n for level in (0.025, 0.975))
    assert bootstrap(values, resamples=50_000) == pytest.approx(exact)


def test_an_interval_agrees_with_drawing_the_tasks_themselves() -> None:
    generator = np.random.default_rng(0)
    values = generator.random(60)
    means = values[generator.integers(60, size=(20_000, 60))].mean(1)
    assert bootstrap(values, resamples=20_000) == pytest.approx(np.quantile(means, [0.025, 0.975]), abs=2e-3)


@given(st.floats(-1.0, 1.0), st.integers(1, 30))
def test_equal_values_leave_no_room(value: float, count: int) -> None:
    assert bootstrap([value] * count, resamples=20) == (value, value)


def test_a_higher_level_and_fewer_tasks_are_wider() -> None:
    def width(count: int, level: float) -> float:
        low, high = bootstrap([0.0, 1.0] * count, level=level)
        return high - low

    assert width(100, 0.95) < width(100, 0.99) < width(10, 0.99)


def test_nineteen_of_twenty_intervals_hold_the_truth() -> None:
    generator = np.random.default_rng(0)
    ends = [bootstrap(generator.random(100) < 0.4, seed, 500) for seed in range(400)]
    assert 0.93 < sum(low <= 0.4 <= high for low, high in ends) / 400 < 0.97


def test_a_paired_difference_drops_what_is_common() -> None:
    generator = np.random.default_rng(0)
    hard = generator.random(100)
    before, after = hard * 0.8, hard * 0.8 + 0.1
    assert difference(before, after) == pytest.approx((0.1, 0.1))
    assert difference(after, before) == pytest.approx((-0.1, -0.1))
    alone = bootstrap(after)
    assert alone[1] - alone[0] > 0.05


@given(rates)
def test_no_difference_is_none(values: list[float]) -> None:
    assert difference(values, values, resamples=20) == (0.0, 0.0)


# scores


def test_a_row_has_exactly_these_fields() -> None:
    row = Score("test", "all", 4, 1.0, (0, 1, 2, 4)).row(7)
    names = ["iteration", "split", "mode", "tasks", "samples", "temperature"]
    names += ["pass@1", "pass@1_low", "pass@1_high", "pass@4", "pass@4_low", "pass@4_high"]
    assert list(row) == names
    assert [row[name] for name in names[:6]] == [7, "test", "all", 4, 4, 1.0]
    assert (row["pass@1"], row["pass@4"]) == (7 / 16, 0.75)
    assert row["pass@1_low"] < row["pass@1"] < row["pass@1_high"]
    assert json.loads(json.dumps(row)) == row
    assert list(Score("test", "all", 1, None, (0, 1)).row(0)) == names[:9]


@given(st.lists(st.integers(0, 8), min_size=1, max_size=30))
def test_more_samples_can_only_help(correct: list[int]) -> None:
    score = Score("test", "all", 8, None, tuple(correct))
    passes = [score.pass_at(k) for k in range(1, 9)]
    assert passes == sorted(passes)
    assert score.pass_at(1) == pytest.approx(sum(correct) / 8 / len(correct))
    assert score.pass_at(8) == pytest.approx(sum(count > 0 for count in correct) / len(correct))
    for k in (1, 8):
        low, high = score.interval(k)
        assert low <= score.pass_at(k) + 1e-12
        assert high >= score.pass_at(k) - 1e-12


def test_a_gain_is_paired_and_of_the_same_tasks_only() -> None:
    before, after = (Score("test", "all", 2, 1.0, correct, ("a", "b", "c")) for correct in ((0, 1, 2), (1, 2, 2)))
    gain, low, high = after.gain(before)
    assert gain == pytest.approx(1 / 3)
    assert 0 <= low <= gain <= high <= 0.5
    assert before.gain(before) == (0.0, 0.0, 0.0)
    for other in (Score("test", "all", 2, 1.0, (0, 1, 2), ("a", "b", "x")), Score("test", "all", 2, 1.0, (0, 1))):
        with pytest.raises(BadArgument, match="different tasks"):
            after.gain(other)


# evaluations


def test_an_oracle_is_right_everywhere_and_the_box_is_asked_once_a_mode(any_runner: Runner) -> None:
    runner = Counting(any_runner)
    modes = ["deduction", "abduction", "induction"]
    agent = Warm(oracle(modes, 5), 0.7)
    scores = evaluate(agent, tasks_per_mode=5, samples=3, seed=0, runner=runner)
    assert [score.mode for score in scores] == [*modes, "all"]
    assert [score.tasks for score in scores] == [5, 5, 5, 15]
    assert all(score.pass_at(k) == 1.0 for score in scores for k in (1, 3))
    assert {(score.split, score.samples, score.temperature) for score in scores} == {("test", 3, 0.7)}
    assert scores[-1].task_ids == tuple(one for score in scores[:3] for one in score.task_ids)
    assert agent.asked == [(15, 3, 0, 0.7)]
    assert runner.batches == 2  # abduction and induction; a deduction is compared as data


@pytest.mark.parametrize("split", ["train", "test", "ood"])
def test_an_oracle_is_right_in_every_split(split: str) -> None:
    [score] = evaluate(oracle(split=split), **{**DEDUCTION, "samples": 2}, split=split)
    assert (score.split, score.pass_at(1)) == (split, 1.0)


def test_a_stubborn_agent_is_nearly_always_wrong() -> None:
    [score] = evaluate(Stubborn("<answer>[]</answer>"), modes="deduction", tasks_per_mode=100, samples=2)
    assert score.pass_at(1) == score.pass_at(2) < 0.1
    assert score.temperature is None


def test_a_solver_that_is_right_every_other_time_scores_a_half() -> None:
    agent = half()
    [score] = evaluate(agent, **DEDUCTION)
    groups = agent.reply(list(oracle().answers), 8, 0)
    assert score.correct == tuple(sum(reply.text != UNSURE for reply in group) for group in groups)
    assert score.pass_at(1) == pytest.approx(0.5, abs=0.1)  # 40 tasks of 8 samples: 4 standard errors
    assert score.pass_at(8) > 0.9


def test_the_same_seed_gives_the_same_score_and_another_gives_other_tasks() -> None:
    [first] = evaluate(half(), **DEDUCTION)
    assert evaluate(half(), **DEDUCTION) == [first]
    [other] = evaluate(half(1), **DEDUCTION, seed=1)
    assert not set(first.task_ids) & set(other.task_ids)
    [fewer] = evaluate(half(), **{**DEDUCTION, "tasks_per_mode": 10})
    assert (fewer.correct, fewer.task_ids) == (first.correct[:10], first.task_ids[:10])


def test_a_mode_is_measured_alike_with_and_without_others(any_runner: Runner) -> None:
    options: dict[str, Any] = {"tasks_per_mode": 6, "samples": 4, "runner": any_runner}
    agent = Noisy(oracle(["abduction", "deduction"], 6), Stubborn(""), 0.5)
    [together, _, _] = evaluate(agent, modes=("abduction", "deduction"), **options)
    assert evaluate(agent, modes=["abduction"], **options) == [together]
    assert 0 < together.pass_at(1) < 1


def test_single_environments_judge_alike() -> None:
    agent, env = half(), gym.make("CodeTriplet-v0", split="test")
    [score] = evaluate(agent, **DEDUCTION)
    for seed, task_id, right in list(zip(task_seeds("deduction", 40), score.task_ids, score.correct, strict=True))[:12]:
        prompt, info = env.reset(seed=seed)
        assert info["task_id"] == task_id
        outcomes = []
        for reply in agent.reply([prompt], 8, 0)[0]:
            env.reset(seed=seed)
            outcomes.append(env.step(reply.text)[4]["outcome"])
        assert outcomes.count(Outcome.CORRECT) == right


def test_seeds_of_tasks_are_neither_shared_nor_out_of_range() -> None:
    seeds = [seed for mode in ("deduction", "abduction") for start in (0, 1) for seed in task_seeds(mode, 500, start)]
    assert len(set(seeds)) == 2000
    assert min(seeds) >= 0
    assert max(seeds) < 2**63
    assert task_seeds("deduction", 1) == [3779461067750993728]


def test_options_reach_the_environment() -> None:
    agent = oracle(prompt_style="compact", level=1)
    assert evaluate(agent, **DEDUCTION, prompt_style="compact", level=1)[0].pass_at(1) == 1.0
    assert evaluate(agent, **DEDUCTION)[0].pass_at(1) == 0.0


@pytest.fixture
def open_environments(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Any]]:
    """The vector environments that were made and not closed."""
    alive: list[Any] = []
    make, close = gym.make_vec, VectorEnv.close

    def made(*args: Any, **options: Any) -> Any:
        alive.append(make(*args, **options).unwrapped)
        return alive[-1]

    def closed(self: Any, **options: Any) -> None:
        alive.remove(self)
        close(self, **options)

    monkeypatch.setattr(gym, "make_vec", made)
    monkeypatch.setattr(VectorEnv, "close", closed)
    yield alive
    assert not alive


class Broken:
    """An agent that fails."""

    def reply(self, prompts: Sequence[str], n: int, seed: int) -> Any:
        raise ConnectionError("no line")


def test_environments_are_closed_when_the_agent_fails(open_environments: list[Any]) -> None:
    with pytest.raises(ConnectionError, match="no line"):
        evaluate(Broken(), tasks_per_mode=2)
    assert not open_environments


def test_environments_are_closed_when_a_later_mode_is_none(open_environments: list[Any]) -> None:
    with pytest.raises(BadArgument, match="mode must be one of"):
        evaluate(Stubborn(""), modes=("deduction", "seduction"), tasks_per_mode=2)
    evaluate(Stubborn(""), tasks_per_mode=2, samples=1)
    assert not open_environments


# files


ROWS = [
    {"code": "def f(x):\n    return x[::-1]", "input": "[1, 2]", "output": "[2, 1]", "id": "sample_0"},
    {"code": "def f(a, b):\n    return a * b", "input": "'ab', 2", "output": "'abab'"},
    {"code": "def f(x):\n    return x + 1", "input": "1", "output": "3"},  # not so
    {"code": "def f(x):\n    return sum(x)", "input": "[1, 2, 3]"},
]


def write(path: Path, rows: Sequence[dict[str, str]] = ROWS) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_a_file_is_a_split_of_its_own(any_runner: Runner, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    agent = Warm(Stubborn("<answer>[2, 1]</answer>"))
    scores = evaluate_file(agent, write(tmp_path / "cruxeval.jsonl"), samples=2, runner=any_runner)
    assert [(score.split, score.mode, score.tasks) for score in scores] == [
        ("cruxeval", "deduction", 3), ("cruxeval", "abduction", 3), ("cruxeval", "all", 6),
    ]  # fmt: skip
    assert [score.correct for score in scores[:2]] == [(2, 0, 0), (0, 0, 0)]
    assert agent.asked == [(6, 2, 0, 1.0)]
    assert "rows left out because they are no tasks: 1" in caplog.text
    assert "row 3: gives another output than the file says" in caplog.text


def test_a_file_in_one_mode_any_right_input_counts(any_runner: Runner, tmp_path: Path) -> None:
    path = write(tmp_path / "rows.jsonl", ROWS[3:])
    [score] = evaluate_file(Stubborn("<answer>[6]</answer>"), path, modes="abduction", runner=any_runner)
    assert (score.mode, score.pass_at(1)) == ("abduction", 1.0)


def test_a_file_without_tasks_says_why(any_runner: Runner, tmp_path: Path) -> None:
    for rows, words in ((ROWS[2:3], "row 1: gives another output"), ((), "holds no task")):
        with pytest.raises(BadArgument, match=words):
            evaluate_file(Stubborn(""), write(tmp_path / "rows.jsonl", rows), runner=any_runner)
    with pytest.raises(BadPoolFile, match="line 1"):
        evaluate_file(Stubborn(""), write(tmp_path / "rows.jsonl", [{"code": "x"}]), runner=any_runner)


# temperature


def test_a_temperature_is_set_for_a_while() -> None:
    agent = Warm(half())
    with at_temperature(agent, 0) as cold:
        [greedy] = evaluate(cold, **{**DEDUCTION, "samples": 1})
    assert (greedy.temperature, greedy.greedy, agent.temperature) == (0, True, 1.0)
    with pytest.raises(ConnectionError), at_temperature(agent, 2.0):
        raise ConnectionError
    assert agent.temperature == 1.0
    assert evaluate(agent, **DEDUCTION, temperature=0.3)[0].temperature == 0.3


def tiny() -> HFAgent:
    prompts = [gym.make("CodeTriplet-v0", prompt_style="compact", level=1).reset(seed=seed)[0] for seed in range(60)]
    tokenizer = train_tokenizer(prompts, 320)
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=32, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
        intermediate_size=64, max_position_embeddings=256, tie_word_embeddings=True, eos_token_id=tokenizer.eos_token_id,
    )  # fmt: skip
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config).eval()  # type: ignore[no-untyped-call]
    return HFAgent(model, tokenizer, max_new_tokens=8)


def test_a_language_model_is_measured_sampled_and_greedy() -> None:
    agent = tiny()
    options: dict[str, Any] = {"modes": "deduction", "tasks_per_mode": 30, "level": 1, "prompt_style": "compact"}
    [sampled] = evaluate(agent, samples=4, **options)
    assert evaluate(agent, samples=4, **options) == [sampled]
    with at_temperature(agent, 0.0):
        [greedy] = evaluate(agent, samples=1, **options)
        [again] = evaluate(agent, samples=1, seed=0, **options)
    assert greedy == again
    assert (sampled.temperature, greedy.temperature) == (1.0, 0.0)
    assert sampled.task_ids == greedy.task_ids
    assert sampled.pass_at(1) < 0.1


# the table


def shown(*args: Any, width: int = 80) -> str:
    console = Console(width=width, record=True, file=io.StringIO())
    console.print(table(*args))
    return console.export_text()


IDS = tuple(map(str, range(150)))
SAMPLED = [Score(split, "deduction", 8, 1.0, (0, 4, 8) * 50, IDS) for split in ("test", "ood")]
GREEDY = [Score("test", "deduction", 1, 0.0, (0, 1, 1) * 50, IDS)]
BEFORE = [Score("test", "deduction", 8, 1.0, (0, 0, 8) * 50, IDS)]


def between(low: float, high: float) -> list[str]:
    return [f"({100 * low:.1f},", f"{100 * high:.1f})"]


def test_a_person_reads_everything_in_80_columns() -> None:
    text = shown([*SAMPLED, *GREEDY], BEFORE)
    lines = [line.split() for line in text.splitlines() if line.strip()]
    assert lines[0] == ["split", "mode", "tasks", "pass@1", "greedy", "pass@8", "gain"]
    sampled, gain = between(*SAMPLED[0].interval()), between(*SAMPLED[0].gain(BEFORE[0])[1:])
    assert lines[2] == ["test", "deduction", "150", "50.0", *sampled, "66.7", "66.7", "+16.7", *gain]
    assert lines[3] == ["ood", "deduction", "150", "50.0", *sampled, "66.7"]


def test_greedy_alone_makes_a_row() -> None:
    text = shown(GREEDY)
    assert "gain" not in text
    assert text.splitlines()[3].split() == ["test", "deduction", "150", "66.7", *between(*GREEDY[0].interval())]


def test_a_gain_is_green_and_a_loss_red() -> None:
    def gain(new: Sequence[Score], old: Sequence[Score]) -> str:
        return str(next(iter(table(new, old).columns[-1].cells)))

    assert gain(SAMPLED, BEFORE).startswith("[green]+")
    assert gain(BEFORE, SAMPLED[:1]).startswith("[red]-")
    assert gain(BEFORE, BEFORE) == "+0.0 (0.0, 0.0)"
    with pytest.raises(BadArgument, match="different tasks"):
        table(SAMPLED, [Score("test", "deduction", 8, 1.0, (0, 0, 8) * 50, tuple(map(str, range(1, 151))))])


def test_the_name_of_a_file_is_no_markup() -> None:
    assert "[red]x" in shown([Score("[red]x", "all", 2, None, (1,))])


# what can not work


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: pass_at_k(1, 4, 5), BadArgument, "pass@5 needs"),
        (lambda: pass_at_k(1, 4, 0), BadArgument, "pass@0 needs"),
        (lambda: pass_at_k(1, 0, 1), BadArgument, "which is 0"),
        (lambda: pass_at_k(1, 4, 1.5), BadArgument, "whole k"),  # type: ignore[arg-type]
        (lambda: pass_at_k([5], 4, 1), BadArgument, "from 0 to 4"),
        (lambda: pass_at_k([-1], 4, 1), BadArgument, "from 0 to 4"),
        (lambda: pass_at_k([0.5], 4, 1), BadArgument, "integers"),
        (lambda: bootstrap([]), BadArgument, "at least one value"),
        (lambda: bootstrap([0.0, math.nan]), BadArgument, "finite"),
        (lambda: bootstrap([0.0], resamples=0), BadArgument, "resamples"),
        (lambda: bootstrap([0.0], level=1.0), BadArgument, "level"),
        (lambda: difference([0.0], [0.0, 1.0]), BadArgument, "1 before and 2 after"),
        (lambda: Score("test", "all", 8, None, ()), BadArgument, "count for each task"),
        (lambda: Score("test", "all", 8, None, (1, 2), ("a",)), BadArgument, "ids: 1"),
        (lambda: Score("test", "all", 8, None, (9,)), BadArgument, "from 0 to 8"),
        (lambda: Score("test", "all", 8, None, (1,)).pass_at(9), BadArgument, "pass@9"),
        (lambda: evaluate("me"), BadAgent, "agent must be an Agent"),  # type: ignore[arg-type]
        (lambda: evaluate_file(None, "x.jsonl"), BadAgent, "agent must be an Agent"),  # type: ignore[arg-type]
        (lambda: evaluate(Stubborn(""), samples=0), BadArgument, "samples must be an int of at least 1"),
        (lambda: evaluate(Stubborn(""), samples=True), BadArgument, "samples must be an int of at least 1"),
        (lambda: evaluate(Stubborn(""), tasks_per_mode=0), BadArgument, "tasks_per_mode must be"),
        (lambda: evaluate(Stubborn(""), split="dev"), BadArgument, "split must be one of"),
        (lambda: evaluate(Stubborn(""), modes=()), BadArgument, "modes must be"),
        (lambda: evaluate(Stubborn(""), modes=("deduction", "deduction")), BadArgument, "different"),
        (lambda: evaluate(Stubborn(""), modes="seduction"), BadArgument, "mode must be one of"),
        (lambda: evaluate(Stubborn(""), role="propose"), BadArgument, "sets role itself"),
        (lambda: evaluate(Stubborn(""), max_attempts=3), BadArgument, "one attempt"),
        (lambda: evaluate(Stubborn(""), levle=3), BadArgument, "did you mean|has no option 'levle'"),
        (lambda: evaluate(Stubborn(""), "CartPole-v1"), BadArgument, "CartPole-v1 can not be played"),
        (lambda: at_temperature(Stubborn(""), 0).__enter__(), BadArgument, "no temperature"),
        (lambda: at_temperature(Warm(Stubborn("")), -1).__enter__(), BadArgument, "at least 0"),
        (lambda: at_temperature(Warm(Stubborn("")), math.nan).__enter__(), BadArgument, "finite"),
        (lambda: evaluate_file(Stubborn(""), "nowhere.jsonl"), FileNotFoundError, "nowhere"),
    ],
)  # fmt: skip
def test_what_can_not_work_says_what_to_do(make: Callable[[], Any], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        make()


def test_an_agent_whose_replies_have_another_shape_is_refused() -> None:
    class Silent:
        def reply(self, prompts: Sequence[str], n: int, seed: int) -> list[list[Reply]]:
            return [[] for _ in prompts]

    with pytest.raises(BadAgent, match="8 replies to each of 40 prompts"):
        evaluate(Silent(), **DEDUCTION)


def test_the_page_tells_the_truth() -> None:
    assert doctest.testmod(page).failed == 0


def test_an_episode_of_several_steps_is_refused_and_not_counted_as_wrong() -> None:
    with pytest.raises(BadArgument, match="up to 20 steps"):
        evaluate(Oracle({}), "ClinicalCase-v0", modes="deduction", tasks_per_mode=1, samples=1, workup="sequential")
