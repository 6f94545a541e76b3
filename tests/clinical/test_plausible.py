"""What contradicts itself is refused where it is proposed, and nobody who is drawn is asked."""

from __future__ import annotations

import json
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

import azr_gym  # noqa: F401
from azr_gym.clinical import Refusal
from azr_gym.clinical.engine import shared
from azr_gym.clinical.generate import Generator
from azr_gym.clinical.library import Level, knowledge
from azr_gym.clinical.plausible import contradiction, rejected, remarks

CHEST = {"age": 65, "sex": "F", "symptoms": ["chest pain", "dyspnoea"], "labs": {"Troponin I": "0.8 ng/mL"}}


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ({"abg": {"pH": 7.0, "pCO2": 40, "HCO3": 24}}, "pH, pCO2 and bicarbonate do not belong together (Henderson-Hasselbalch)"),
        ({"signs": ["afebrile"], "temperature": "39.0 C"}, "the temperature is a fever, and fever is denied"),
        ({"temperature": "38.3 C (96.0 F)"}, "Body temperature: '38.3 C (96.0 F)' are two values"),
        ({"vitals": {"BP": "150/90", "MAP": 60}}, "Mean arterial pressure is said to be 60, and what it follows from makes it 110"),
    ],
)  # fmt: skip
def test_a_proposal_that_contradicts_itself_is_refused_with_the_reason(more: dict[str, Any], reason: str) -> None:
    env = gym.make("ClinicalCase-v0", role="propose", n_references=0)
    env.reset(seed=0)
    info = env.step(json.dumps({**CHEST, **more}))[4]
    assert (info["refusal"], info["reason"], info["task"]) == (Refusal.CONTRADICTION, reason, None)


def test_whoever_is_drawn_is_not_asked_and_yet_does_not_contradict_himself() -> None:
    known, generator = knowledge(), Generator(shared())
    refused = [criterion for one, criterion in known.implausible if one.level is Level.REFUSE]
    assert refused
    for condition in [*known.conditions][::12]:
        facts = generator.draw(np.random.default_rng(0), condition, 20).facts
        columns = known.columns(facts, 20)
        assert not [one.text for one in refused if one.sets(columns).yes], condition


def test_what_is_refused_of_a_proposal_is_no_reason_to_reject_a_patient() -> None:
    facts = {"age": 50.0, "female": 0.0, "male": 1.0, "fever": 0.0, "temperature": 39.0, "sodium": 400.0}
    levels = [one.level for one in remarks(facts, knowledge())]
    assert levels == [Level.REJECT, Level.REFUSE]
    assert contradiction(facts, knowledge()) == "the temperature is a fever, and fever is denied"
    one = {name: np.array([value]) for name, value in facts.items() if name != "sodium"}
    assert not rejected(knowledge().columns(one, 1), knowledge()).any()
