"""The page of a run: it stands alone, nothing on it runs, it says what is missing, and its numbers are the run's."""

from __future__ import annotations

import json
import math
import random
import re
import statistics
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from azr_agents.metrics import METRICS, Log, Run, read
from azr_agents.report import COLUMNS, POINTS, render, report, rolling
from azr_gym import BadArgument

MODES = ("deduction", "abduction")
NASTY = "</title></style></pre></svg><script>alert(1)</script><img src=x onerror=alert(1)>&lt;\x00\x1b\ud800\u202e\r'\"]]>{x}%s"


def row(rng: random.Random, modes: tuple[str, ...] = MODES) -> dict[str, Any]:
    """A value for every row of the table."""
    made: dict[str, Any] = {}
    for metric in METRICS.values():
        for mode in modes:
            for role in ("solve", "propose"):
                name = metric.pattern.format(role=role, mode=mode, metric="novelty")
                made[name] = [rng.randrange(9) for _ in range(5)] if metric.histogram else rng.random()
    return made


def evaluation(
    iteration: int, mode: str = "deduction", split: str = "test", score: float = 0.3, **fields: Any
) -> dict[str, Any]:
    made = {"iteration": iteration, "split": split, "mode": mode, "tasks": 150, "samples": 8, "temperature": 1.0}
    for key in ("pass@1", "pass@8"):
        value = score + 0.2 * (key == "pass@8")
        made |= {key: value, f"{key}_low": value - 0.04, f"{key}_high": value + 0.04}
    return made | fields


def sample(iteration: int, **fields: Any) -> dict[str, Any]:
    made = {
        "iteration": iteration,
        "role": "solve",
        "mode": "deduction",
        "prompt": "f(1) == ?",
        "text": "1",
        "outcome": "correct",
        "reason": "",
        "reward": 1.0,
        "solve_rate": 0.5,
    }
    return made | fields


def write(
    folder: Path, count: int = 30, modes: tuple[str, ...] = MODES, evaluations: Any = (), samples: Any = ()
) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps({"iterations": 30, "lr": 0.0004, "proposer": "copy"}))
    rng = random.Random(0)
    with Log(folder, tensorboard=False) as log:
        for iteration in range(1, count + 1):
            log.write(iteration, row(rng, modes))
        for one in evaluations:
            log.evaluation(one)
        for one in samples:
            log.sample(one)
    return folder


def parsed(page: str) -> ET.Element:
    return ET.fromstring(page.removeprefix("<!DOCTYPE html>\n"))


def page_of(folder: Path) -> ET.Element:
    return parsed(report(folder).read_text(encoding="utf-8"))


def said(element: ET.Element) -> str:
    return " ".join("".join(element.itertext()).split())


def sections(page: ET.Element) -> dict[str, str]:
    """The text below each heading."""
    main, found, title = page.find("body/main"), dict[str, str](), ""
    for element in main if main is not None else ():
        if element.tag == "h2":
            title = said(element)
        found[title] = found.get(title, "") + " " + said(element) * (element.tag != "h2")
    return found


def charts_in(page: ET.Element) -> list[str]:
    return [said(caption) for caption in page.iter("figcaption")]


def safe(page: ET.Element) -> None:
    """Nothing runs, and nothing is fetched."""
    for element in page.iter():
        assert element.tag not in ("script", "img", "link", "iframe", "object", "embed", "form", "base"), element.tag
        for name, value in element.attrib.items():
            assert not name.startswith("on"), name
            assert name not in ("src", "srcset", "action", "data"), name
            assert name != "href" or value.startswith("#")
    style = said(next(page.iter("style")))
    assert "url(" not in style
    assert "@import" not in style


# A whole run.


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> ET.Element:
    evaluations = [
        evaluation(at, mode, split, 0.3 + at / 100 + 0.1 * bool(greedy), **greedy)
        for at in (0, 15, 30)
        for split in ("test", "ood")
        for mode in ("all", *MODES)
        for greedy in ({}, {"temperature": 0.0, "samples": 1})
    ]
    samples = [
        sample(at, role=role, mode=mode, text=f"answer {at}")
        for at in range(1, 31)
        for role in ("solve", "propose")
        for mode in MODES
        for _ in range(3)
    ]
    return page_of(write(tmp_path_factory.mktemp("runs") / "my run", evaluations=evaluations, samples=samples))


def test_the_page_stands_alone_and_nothing_on_it_runs(whole: ET.Element) -> None:
    safe(whole)
    policy = [
        meta.get("content", "") for meta in whole.iter("meta") if meta.get("http-equiv") == "Content-Security-Policy"
    ]
    assert policy == ["default-src 'none'; style-src 'unsafe-inline'"]


def test_it_is_made_for_light_and_dark_and_phones(whole: ET.Element) -> None:
    assert "prefers-color-scheme:dark" in said(next(whole.iter("style")))
    assert any(meta.get("name") == "viewport" for meta in whole.iter("meta"))


def test_it_names_the_run_and_its_settings(whole: ET.Element) -> None:
    assert said(next(whole.iter("h1"))) == said(next(whole.iter("title"))) == "my run"
    assert "proposercopy" in sections(whole)["Settings"]
    assert "Iterations 1 to 30." in sections(whole)[""]
    assert "Not finished" not in sections(whole)[""]


def test_every_metric_is_drawn_and_explained(whole: ET.Element) -> None:
    drawn = charts_in(whole)
    for metric in METRICS.values():
        head = metric.pattern.partition("/{")[0]
        wanted = {"task": "task/novelty", "difficulty": "deduction"}.get(
            head, "Seconds of an iteration" if head.startswith("time/") else head
        )
        assert wanted in drawn, metric.pattern
        assert metric.meaning in sections(whole)["Glossary"]


def test_no_section_says_that_something_is_missing(whole: ET.Element) -> None:
    assert [said(one) for one in whole.iter("p") if one.get("class") == "missing"] == []


def test_the_headline_shows_before_after_and_the_difference(whole: ET.Element) -> None:
    table = next(one for one in whole.iter("table") if one.find("thead") is not None)
    heads = [said(one) for one in table.findall("thead/tr")[0] if said(one)]
    assert heads == ["pass@1, temperature 1", "greedy", "pass@8, temperature 1"]
    rows = [[said(cell) for cell in line] for line in table.findall("tbody/tr")]
    assert [line[0] for line in rows] == [
        "test",
        "deduction",
        "abduction",
        "all",
        "ood",
        "deduction",
        "abduction",
        "all",
    ]
    assert rows[1][1:4] == ["30.026.0 to 34.0", "60.056.0 to 64.0", "+30.0"]
    assert rows[1][4:7] == ["40.036.0 to 44.0", "70.066.0 to 74.0", "+30.0"]
    assert rows[1][7:10] == ["50.046.0 to 54.0", "80.076.0 to 84.0", "+30.0"]
    assert {"test: pass@1, temperature 1", "ood: pass@1, temperature 1"} <= set(charts_in(whole))


def test_samples_are_of_the_first_the_middle_and_the_last_iteration(whole: ET.Element) -> None:
    assert [said(one) for one in whole.iter("h3")] == ["Iteration 1", "Iteration 16", "Iteration 30"]
    text = sections(whole)["Samples"]
    assert {f"answer {at}" for at in (1, 16, 30)} == set(re.findall(r"answer \d+", text))
    assert text.count("4 more in samples.jsonl.") == 3
    assert "solve · deduction · correct · reward 1.0 · solve rate 0.5" in text


def test_the_same_run_gives_the_same_page(tmp_path: Path) -> None:
    folder = write(tmp_path / "run", evaluations=[evaluation(0)], samples=[sample(1)])
    first = report(folder).read_bytes()
    assert report(folder, tmp_path / "other.html") == tmp_path / "other.html"
    assert (tmp_path / "other.html").read_bytes() == first


# Numbers.


@pytest.mark.parametrize(
    ("after", "shown", "bold"),
    [
        (0.25, "\N{MINUS SIGN}5.0", False),
        (0.2, "\N{MINUS SIGN}10.0", True),
        (0.3, "+0.0", False),
        (0.37, "+7.0", False),
        (0.39, "+9.0", True),
    ],
)
def test_a_difference_is_bold_where_the_intervals_are_apart(
    tmp_path: Path, after: float, shown: str, bold: bool
) -> None:
    folder = write(tmp_path / "run", evaluations=[evaluation(0, score=0.3), evaluation(30, score=after)])
    cell = next(one for one in page_of(folder).iter("td") if said(one) == shown)
    assert (cell.find("b") is not None) == bold


def test_an_evaluation_at_another_iteration_says_at_which(tmp_path: Path) -> None:
    folder = write(
        tmp_path / "run",
        evaluations=[evaluation(0), evaluation(30), evaluation(0, split="ood"), evaluation(20, split="ood")],
    )
    text = sections(page_of(folder))["Held-out tasks"]
    assert text.count("iteration 20") == 2, "pass@1 and pass@8"
    assert "Before: iteration 0; after: iteration 30" in text


def test_a_repeated_evaluation_counts_once_and_as_it_was_last(tmp_path: Path) -> None:
    folder = write(
        tmp_path / "run", evaluations=[evaluation(0, score=0.9), evaluation(0, score=0.3), evaluation(30, score=0.4)]
    )
    assert "+10.0" in sections(page_of(folder))["Held-out tasks"]


def test_scores_without_intervals_or_without_value_are_shown_as_far_as_they_go(tmp_path: Path) -> None:
    scores = ((0, 0.25), (5, None), (10, 0.5))
    rows = [
        {"iteration": at, "split": "test", "mode": "x", "temperature": 0.6, "pass@1": value} for at, value in scores
    ]
    page = page_of(write(tmp_path / "run", evaluations=rows))
    assert [said(cell) for cell in page.findall(".//tbody/tr/td")] == ["x", "25.0", "50.0", "+25.0"]
    assert "pass@1, temperature 0.6" in sections(page)["Held-out tasks"]


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=50), st.integers(1, 20))
def test_the_rolling_mean_is_the_mean_of_the_neighbours(values: list[float], window: int) -> None:
    line, band = rolling(list(enumerate(values)), window)
    assert [at for at, _ in line] == list(range(len(values)))
    for at, ((_, mean), (_, low, high)) in enumerate(zip(line, band, strict=True)):
        near = values[max(0, at - (window - 1) // 2) : at + window // 2 + 1]
        assert len(near) <= window
        assert mean == pytest.approx(statistics.fmean(near), abs=1e-6)
        assert (high - low) / 2 == pytest.approx(statistics.pstdev(near), abs=1e-3)


@given(st.integers(1, 3000), st.integers(2, 50))
def test_a_long_line_is_thinned_and_keeps_its_ends(count: int, most: int) -> None:
    line, _ = rolling([(at, 0.0) for at in range(count)], 5, most)
    assert len(line) == min(count, most)
    assert (line[0][0], line[-1][0]) == (0, count - 1)


def test_thousands_of_iterations_give_a_page_of_bounded_size(tmp_path: Path) -> None:
    sizes = []
    for count in (300, 3000):
        run = read(write(tmp_path / str(count), count=1))
        rng = random.Random(1)
        page = render(
            Run(run.config, tuple({"iteration": at, **row(rng)} for at in range(1, count + 1)), (), ()), "run"
        )
        sizes.append(len(page))
        root = parsed(page)
        heat = next(one for one in root.iter("figure") if said(one).startswith("deduction"))
        assert len([rect for rect in heat.iter("rect") if rect.find("title") is not None]) == COLUMNS * 5
        assert max(path.get("d", "").count("L") for path in root.iter("path")) <= 2 * POINTS
    assert sizes[1] < 1.2 * sizes[0]


def run_of(count: int, values: Callable[[int], dict[str, Any]]) -> Run:
    return Run({}, tuple({"iteration": at, **values(at)} for at in range(1, count + 1)), (), ())


def test_no_band_of_a_share_leaves_0_to_1() -> None:
    page = parsed(
        render(run_of(200, lambda at: {"accuracy/x": float(at % 10 > 0), "valid/x": float(at % 10 == 0)}), "run")
    )
    for name in ("accuracy", "valid"):
        chart = next(one for one in page.iter("figure") if said(one).startswith(name))
        shares = [float(tick.removesuffix("%")) for one in chart.iter("text") if (tick := said(one)).endswith("%")]
        assert shares == [0, 20, 40, 60, 80, 100] if name == "accuracy" else min(shares) == 0


def test_time_that_no_part_accounts_for_is_called_other() -> None:
    times = {"time/rollout": 1.0, "time/execute": 0.5, "time/update": 2.0, "time/iteration": 4.0}
    page = parsed(render(run_of(120, lambda at: times), "run"))
    assert "480 s in all: rollout 25%, execute 12%, update 50%, other 12%." in sections(page)["Time"]
    chart = next(one for one in page.iter("figure") if said(one).startswith("Seconds"))
    tips = [said(one) for one in chart.iter("title")]
    assert len(tips) == 4 * COLUMNS
    assert tips[0] == "rollout: 1 s (iteration 1 to 2)"
    assert tips[-1] == "other: 0.5 s (iteration 119 to 120)"


def test_numbers_at_the_end_of_floats_warn_of_nothing() -> None:
    safe(parsed(render(run_of(200, lambda at: {"loss": 1.7e308 * (-1) ** (at // 20), "time/rollout": 1.7e308}), "run")))


@pytest.mark.parametrize(("rows", "alarms"), [(1, 0), (5, 1)])
def test_one_bad_iteration_of_a_longer_run_is_no_alarm(tmp_path: Path, rows: int, alarms: int) -> None:
    folder = write(tmp_path / "run", count=6)
    with Log(folder, tensorboard=False) as log:
        for at in range(rows):
            log.write(7 + at, {"unique/deduction": 0.01, "entropy": 0.5})
    shown = [one for one in page_of(folder).iter("p") if one.get("class") == "alarm"]
    assert len(shown) == alarms


def test_alarms_of_the_last_iteration_are_shown(tmp_path: Path) -> None:
    folder = write(tmp_path / "run", count=2)
    with Log(folder, tensorboard=False) as log:
        log.write(3, {"unique/<b>": 0.01, "entropy": 0.5})
    page = page_of(folder)
    assert "only 1% of its <b> proposals are distinct" in sections(page)["Health"]
    assert len([one for one in page.iter("p") if one.get("class") == "alarm"]) == 1


# What is not there.


def test_an_empty_folder_gives_a_page_that_says_so(tmp_path: Path) -> None:
    page = page_of(tmp_path)
    safe(page)
    text = sections(page)
    assert "metrics.jsonl is empty or not there" in text[""]
    assert "config.json is empty or not there" in text["Settings"]
    assert "evaluations.jsonl is empty or not there" in text["Held-out tasks"]
    assert "samples.jsonl is empty or not there" in text["Samples"]
    assert "Not measured: valid, unique, learnable." in text["Proposals"]
    for title, says in (
        ("Difficulty", "No histograms"),
        ("Time", "No times"),
        ("Other curves", "No others"),
        ("Glossary", "No metrics"),
    ):
        assert says in text[title]


def test_a_run_under_way_says_how_far_it_is(tmp_path: Path) -> None:
    text = sections(page_of(write(tmp_path / "run", count=12, evaluations=[evaluation(0)])))
    assert "Iterations 1 to 12. Not finished: 30 are wanted." in text[""]
    assert "Only iteration 0 is evaluated yet" in text["Held-out tasks"]


def test_one_iteration_is_shown_as_points(tmp_path: Path) -> None:
    page = page_of(write(tmp_path / "run", count=1))
    assert "One iteration only: 1." in sections(page)[""]
    assert "no spread" in sections(page)["Accuracy in training"]
    chart = next(one for one in page.iter("figure") if said(one).startswith("accuracy"))
    assert len(list(chart.iter("circle"))) == len(MODES)


def test_metrics_of_another_version_are_named(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_text('{"iteration": 1, "karma": 3, "loss": 1.0}\n')
    text = sections(page_of(tmp_path))["Glossary"]
    assert "not shown: karma." in text
    assert METRICS["loss"].meaning in text


def test_metrics_without_a_single_value_are_no_curves(tmp_path: Path) -> None:
    with Log(tmp_path, tensorboard=False) as log:
        log.write(1, {"loss": math.nan, "accuracy/x": math.nan, "time/rollout": math.nan, "entropy": math.inf})
    safe(page_of(tmp_path))


def test_no_folder_and_damage_are_refused_and_no_page_is_left(tmp_path: Path) -> None:
    with pytest.raises(BadArgument, match="no such folder"):
        report(tmp_path / "there")
    (tmp_path / "metrics.jsonl").write_text("{\n")
    with pytest.raises(BadArgument, match="line 1"):
        report(tmp_path)
    assert not (tmp_path / "report.html").exists()


# Attacks: everything that a model, or a setting, may say.


def test_hostile_text_in_every_field_stays_text(tmp_path: Path) -> None:
    run = Run(
        {NASTY: NASTY, "nested": {"a": [NASTY]}, "iterations": NASTY},
        tuple({"iteration": at, **row(random.Random(at), (NASTY, "deduction")), NASTY: 1.0} for at in (1, 2, 3)),
        tuple({**evaluation(at, NASTY, NASTY), NASTY: NASTY, "tasks": NASTY} for at in (0, 1, 2, 3)),
        tuple(
            sample(
                at,
                **dict.fromkeys(("role", "mode", "prompt", "text", "outcome", "reason", "reward", "solve_rate"), NASTY),
            )
            for at in (1, 2)
        ),
    )
    page = render(run, NASTY)
    root = parsed(page)
    safe(root)
    shown = NASTY.replace("\x00\x1b\ud800\u202e\r", "\\x00\\x1b\\ud800\\u202e\\r")
    assert {pre.text for pre in root.iter("pre")} == {shown}
    assert next(root.iter("title")).text == shown
    assert not re.search("<script|<img|\x00|\x1b|\u202e", page)
    page.encode()


@settings(max_examples=40)
@given(st.text(max_size=20), st.text(max_size=20), st.floats(), st.lists(st.integers(0, 2**60), min_size=1, max_size=4))
def test_whatever_is_written_gives_a_sound_page(mode: str, text: str, value: float, counts: list[int]) -> None:
    number = value if math.isfinite(value) else None
    metrics = {
        f"accuracy/m{mode}": number,
        f"difficulty/m{mode}": counts,
        "time/rollout": number,
        "loss": number,
        "lr": number,
    }
    run = Run(
        {text: value},
        tuple({"iteration": at, **metrics} for at in range(30)),
        tuple(
            {
                "iteration": at,
                "split": text,
                "mode": mode,
                "temperature": abs(number or 0.0),
                "pass@1": number,
                "pass@1_low": number,
            }
            for at in range(4)
        ),
        (sample(1, mode=mode, text=text, prompt=text, reward=value),),
    )
    safe(parsed(render(run, text)))


def test_a_very_long_answer_is_cut_and_says_so(tmp_path: Path) -> None:
    folder = write(tmp_path / "run", count=1, samples=[sample(1, text="<" * 100_000)])
    assert "and 94,000 more characters" in sections(page_of(folder))["Samples"]
