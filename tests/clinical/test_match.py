"""Answers are understood without a model: every name is its condition's and no other's; hedges and denials are none."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from azr_gym.clinical.library import knowledge
from azr_gym.clinical.match import matcher

MATCHER = matcher(knowledge())
NAMED = [(one.id, name) for one in knowledge().conditions.values() for name in (one.name, *one.aliases)]


def test_every_name_is_its_condition_s() -> None:
    frames = ("{}", "{}.", "Diagnosis: {}", "The diagnosis is {}.")
    texts = [(condition, frame.format(name)) for condition, name in NAMED for frame in frames]
    texts += [(condition, name.upper()) for condition, name in NAMED]
    assert not [(text, condition) for condition, text in texts if MATCHER.read(text) != condition]


def test_every_code_of_one_condition_alone_is_its() -> None:
    codes = [(code, one.id) for one in knowledge().conditions.values() for code in (one.icd10cm, *one.codes)]
    owners = {code: {other for again, other in codes if again == code} for code, _ in codes}
    assert {code: MATCHER.read(code) for code in owners} == {
        code: one.copy().pop() if len(one) == 1 else None for code, one in owners.items()
    }


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("Acute myocardial infarction (NSTEMI).", "nstemi"), ("I21.4", "nstemi"), ("i214", "nstemi"), ("NSTEMI (I21.4)", "nstemi"), ("an NSTEMI", "nstemi"),
        ("This is NSTEMI, not unstable angina", "nstemi"), ("non-ST-elevation myocardial infarction due to plaque rupture", "nstemi"), ("not NSTEMI", None),
        ("NSTEMI vs unstable angina", None), ("rule out NSTEMI", None), ("possible NSTEMI", None), ("NSTEMI or unstable angina", None), ("NSTEMI?", None),
        ("unstable angina", "unstable_angina"), ("no idea", None), ("", None), ("NSTEMI is unlikely", None),
    ],
)  # fmt: skip
def test_sentences_as_they_are_written(text: str, wanted: str | None) -> None:
    assert MATCHER.read(text) == wanted


@given(
    st.sampled_from(NAMED),
    st.sampled_from(
        [
            "not {}",
            "no {}",
            "{} or sarcoma of everything",
            "possible {}",
            "rule out {}",
            "{}?",
            "maybe {}",
            "{} was excluded",
        ]
    ),
)
def test_hedges_and_denials_commit_to_nothing(named: tuple[str, str], frame: str) -> None:
    text = frame.format(named[1])
    if text.casefold() not in {name.casefold() for _, name in NAMED}:
        assert MATCHER.read(text) is None


@given(st.text(max_size=120))
def test_any_text_is_read(text: str) -> None:
    found = MATCHER.read(text)
    assert found is None or found in knowledge().conditions
