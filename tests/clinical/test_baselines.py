"""Baselines act on what is known alone, keep to the masks, and stand in the order that their knowledge gives them."""

from __future__ import annotations

import functools
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from azr_gym.clinical import baselines
from azr_gym.clinical.bank import bank, scaled
from azr_gym.clinical.baselines import Bayes, InformationGain, Policy, evaluate
from azr_gym.clinical.library import knowledge
from azr_gym.roles import Split

FEW: dict[str, Any] = {"patients": 600}
PLAYED: dict[str, Any] = {"split": "test"}


def play(policy: Policy, count: int = 150) -> baselines.Score:
    """Patients of another bank than examples are taken from."""
    options: dict[str, Any] = {"patients": 1500, "bank_seed": 1, "split": "test"}
    return evaluate(lambda *seen: checked(policy, *seen), count, **options)


def checked(policy: Policy, observed: dict[str, Any], masks: Any, facts: dict[str, Any]) -> Any:
    actions = policy(observed, masks, facts)
    assert masks[np.arange(len(masks)), actions].all()
    return actions


@functools.cache
def informed() -> InformationGain:
    return InformationGain(**FEW)


@pytest.fixture(scope="module")
def scores() -> dict[str, baselines.Score]:
    return {
        "random": play(baselines.random(np.random.default_rng(0))),
        "prior": play(baselines.prior(**FEW)),
        "bayes": play(Bayes()),
        "gain": play(informed()),
    }


def test_who_knows_more_does_better(scores: dict[str, baselines.Score]) -> None:
    assert scores["random"].accuracy < 0.15  # one in fifteen, and nobody is given a hint
    assert scores["random"].accuracy < scores["prior"].accuracy < 0.4
    assert scores["prior"].accuracy + 0.1 < scores["bayes"].accuracy < 0.8
    assert scores["gain"].accuracy > 0.85
    assert scores["gain"].reward > scores["bayes"].reward > scores["prior"].reward > scores["random"].reward


def test_only_who_orders_pays(scores: dict[str, baselines.Score]) -> None:
    assert scores["prior"].orders == scores["prior"].cost == scores["bayes"].cost == 0
    assert 0 < scores["gain"].orders <= scores["gain"].cost


def test_a_score_is_a_function_of_the_seed() -> None:
    policy = Bayes()
    first, again, other = (evaluate(policy, 40, seed, **FEW, **PLAYED) for seed in (1, 1, 3))
    assert first == again
    assert first != other


@settings(max_examples=20)
@given(seed=st.integers(0, 10**6), orders=st.lists(st.integers(0, 10**6), max_size=8))
def test_beliefs_are_probabilities_and_an_order_is_expected_to_tell_nothing_or_more(
    seed: int, orders: list[int]
) -> None:
    policy = informed()
    env: Any = gym.make("ClinicalCaseTabular-v0", **FEW).unwrapped
    env.reset(seed=seed)
    for order in orders:
        env.step(order % len(env.form.panels))
    belief = policy.posterior(env.ward.facts())
    assert belief.shape == (1, len(env.form.conditions))
    assert belief.sum() == pytest.approx(1.0)
    assert (belief >= 0).all()
    assert policy.gain(belief[0]).shape == (len(env.form.panels),)
    certain = np.eye(len(env.form.conditions))[0]
    assert policy.gain(certain) == pytest.approx(0.0, abs=1e-3)


def test_beliefs_hold_what_they_promise() -> None:
    """Of diagnoses that are believed with 90% and more, at least eight in ten are right, once everything is known."""
    policy, others = Bayes(), bank("chest_pain", Split.TEST, 600, 1)
    belief = policy.posterior(others.told(policy.form, others.facts_BW))
    sure = belief.max(1) > 0.9
    assert sure.mean() > 0.5
    assert (belief.argmax(1) == others.label_B)[sure].mean() > 0.8


@settings(max_examples=10)
@given(seed=st.integers(0, 10**6), orders=st.lists(st.integers(0, 10**6), max_size=6))
def test_what_baselines_are_told_is_what_was_revealed(seed: int, orders: list[int]) -> None:
    """The facts are those of the observation: as many, of the same sign, and in their units the bank's own."""
    env: Any = gym.make("ClinicalCaseTabular-v0", **FEW).unwrapped
    observed, _ = env.reset(seed=seed)
    for order in orders:
        observed = env.step(order % len(env.form.panels))[0]
    facts, form = env.ward.told(0), env.form
    assert {name for name in form.analytes if name in facts} == {
        name for name, known in zip(form.analytes, observed["known"], strict=True) if known
    }
    said = {name: 2 * facts[name] - 1 for name in form.findings if name in facts}
    assert said == {name: there for name, there in zip(form.findings, observed["findings"], strict=True) if there}
    for name, value in facts.items():
        if name in form.analytes:
            place = form.analytes.index(name)
            female, age = np.array([int(facts["female"])]), np.array([facts["age"]])
            again = scaled(knowledge().analytes[name], np.array([value]), female, age)[0]
            assert observed["measured"][place] == pytest.approx(again, abs=1e-5)
