"""A patient's chart is drawn the same every time, whatever stands on it, and keeps what the patient has to itself."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

import azr_gym  # noqa: F401  registers the ids
from azr_gym.clinical import chart
from azr_gym.clinical.chart import HEIGHT, WIDTH, Chart, draw
from azr_gym.clinical.library import knowledge
from azr_gym.clinical.task import CaseTask, Mode, frozen

KNOWN = knowledge()
PERSON = {"age": 65.0, "female": 1.0, "male": 0.0, "pregnant": 0.0}
ANALYTES = sorted(KNOWN.analytes)


def has(picture: NDArray[np.uint8], ink: tuple[int, int, int], rows: slice = slice(None), columns: slice = slice(None)) -> bool:  # fmt: skip
    return bool((picture[rows, columns] == np.array(ink, np.uint8)).all(-1).any())


def case(**facts: float) -> CaseTask:
    return CaseTask(Mode.DEDUCTION, frozen(PERSON | facts), "nstemi")


@given(
    st.dictionaries(st.sampled_from(sorted(KNOWN.findings)), st.sampled_from([0.0, 1.0]), max_size=80),
    st.dictionaries(st.sampled_from(ANALYTES), st.floats(-1e9, 1e9) | st.sampled_from([0.0, 1.0, 70.0]), max_size=60),
    st.text(max_size=300), st.lists(st.tuples(st.text(max_size=20), st.text(max_size=200)), max_size=14), st.booleans(),
)  # fmt: skip
def test_any_chart_is_one_size_and_the_same_again(
    findings: dict[str, float], values: dict[str, float], text: str, steps: list[tuple[str, str]], good: bool
) -> None:
    facts = PERSON | {"weight_kg": 71.0} | findings | values
    drawn = Chart(facts, text, steps, text, text, text, good, text)
    first = draw(KNOWN, drawn)
    assert first.shape == (HEIGHT, WIDTH, 3)
    assert first.dtype == np.uint8
    assert first.tobytes() == draw(KNOWN, drawn).tobytes()


@pytest.mark.parametrize(("value", "ink"), [(140.0, None), (112.0, chart.LOW), (171.0, chart.HIGH)])
def test_a_value_has_the_colour_of_where_it_lies(value: float, ink: tuple[int, int, int] | None) -> None:
    picture = draw(KNOWN, Chart(PERSON | {"sodium": value}))
    inks = {one for one in (chart.LOW, chart.HIGH) if has(picture, one)}
    assert inks == ({ink} if ink else set())


@given(st.sampled_from(ANALYTES), st.floats(0, 1), st.floats(0, 1))
def test_what_is_higher_lies_further_right(name: str, one: float, other: float) -> None:
    analyte = KNOWN.analytes[name]
    (low, high), (least, most) = analyte.interval(True), analyte.limits
    less, more = sorted(least + share * (most - least) for share in (one, other))
    places = [chart._place(value, low, high, analyte.log) for value in (less, more)]
    assert 0 <= places[0] <= places[1] <= 1
    assert all(1 / 3 - 1e-9 <= chart._place(value, low, high, analyte.log) <= 2 / 3 + 1e-9 for value in (low, high))


def test_what_the_patient_has_is_drawn_when_it_is_over_and_not_before() -> None:
    env: Any = gym.make("ClinicalCase-v0", render_mode="rgb_array").unwrapped
    env.reset(seed=3)
    task = env.episode.task
    other = env.game.room.with_key(task, case())
    assert task.condition != other.condition
    room = env.game.room
    assert np.array_equal(env.render(), room.picture(other, None, None, False))
    [verdict] = room.judge([task], ["<answer>bananas</answer>"])
    assert np.array_equal(*(room.picture(one, "bananas", verdict, False) for one in (task, other)))
    assert not np.array_equal(*(room.picture(one, "bananas", verdict, True) for one in (task, other)))
    before = env.render()
    env.step(env.oracle())
    assert not np.array_equal(before, env.render())
    assert has(env.render(), chart.GOOD)
    assert not has(env.render(), chart.BAD)


def test_the_work_up_has_a_place_of_its_own() -> None:
    none, one, many = (draw(KNOWN, chart.of(KNOWN, case(fever=1.0), steps=[("order troponin", "0.8 ng/mL")] * count)) for count in (0, 1, 30))  # fmt: skip
    assert not has(none, chart.BAND, slice(200, None))
    assert has(one, chart.BAND, slice(600, 700), slice(626, None))
    assert has(many, chart.BAND, slice(500, 700), slice(626, None))
    assert np.array_equal(none[:, :620], many[:, :620])


def test_an_accepted_proposal_is_drawn_as_its_patient() -> None:
    env: Any = gym.make("ClinicalCase-v0", role="propose", render_mode="rgb_array").unwrapped
    env.reset(seed=0)
    assert env.render().shape[1] != WIDTH
    env.step(env.oracle())
    assert env.render().shape == (HEIGHT, WIDTH, 3)


def test_text_is_drawn_as_text_in_the_terminal() -> None:
    env: Any = gym.make("ClinicalCase-v0", render_mode="ansi").unwrapped
    env.reset(seed=0)
    assert "Patient: " in env.render()
