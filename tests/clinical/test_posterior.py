"""The posterior is that of the generator: a distribution, what enumeration of a tiny library gives, and calibrated."""

from __future__ import annotations

import collections
import functools
import itertools
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from azr_gym import BadArgument
from azr_gym.clinical.criteria import Floats
from azr_gym.clinical.engine import Engine, shared
from azr_gym.clinical.generate import Generator
from azr_gym.clinical.library import knowledge, read
from azr_gym.clinical.posterior import Posterior
from azr_gym.clinical.room import WEIGHTS

CHEST = ("nstemi", "acute_pericarditis", "pulmonary_embolism", "gord", "pneumothorax", "community_acquired_pneumonia")
TINY = """
[[source]]
id = "book"
citation = "A book"
year = 2020

[[analyte]]
id = "sugar"
name = "Sugar"
unit = "g"
reference = [1, 2]
limits = [0, 9]
panel = "blood"
source = "book"
{findings}
[[measured]]
id = "sweat"
when = "sugar > 4"
source = "book"
{conditions}
"""
FINDINGS = {"thirst": 0.1, "drought": 0.05, "cramp": 0.2, "sweat": 0.02}
PRESENTS = {
    "one": ("common", {"thirst": 0.5, "drought": 0.3}, [3, 6]),
    "two": ("rare", {"cramp": 0.6, "sweat": 0.4}, None),
    "three": ("very_common", {"drought": 0.7}, [2, 5]),
}


@functools.cache
def whole() -> Posterior:
    return Posterior(Generator(shared()))


@given(st.integers(0, 2**32), st.sampled_from(sorted(knowledge().conditions)), st.booleans())
@settings(max_examples=15)
def test_it_is_a_distribution(seed: int, condition: str, everything: bool) -> None:
    rng = np.random.default_rng(seed)
    facts = whole().generator.sample(rng, condition, 5, whole=everything)
    share_NC = whole()(facts)
    assert share_NC.shape == (5, len(knowledge().conditions))
    assert (share_NC >= 0).all()
    assert np.allclose(share_NC.sum(1), 1)
    assert (share_NC[:, whole().conditions.index(condition)] > 0).all()


def tiny(folder: Path) -> Generator:
    findings = "".join(
        f'[[finding]]\nid = "{name}"\nname = "{name}"\nkind = "sign"\nbackground = {share}\n'
        + ('implies = ["thirst"]\n' if name == "drought" else "")
        for name, share in FINDINGS.items()
    )
    conditions = "".join(
        f'[[condition]]\nid = "{name}"\nname = "{name}"\nsystem = "renal"\nicd10cm = "E11.9"\nacuity = 4\n'
        f'tier = "{tier}"\npresents = {{ {", ".join(f"{key} = {value}" for key, value in presents.items())} }}\n'
        + (f"labs = {{ sugar = {ends} }}\n" if ends else "")
        + '[[condition.rule]]\nwhen = "thirst"\ncertainty = "definite"\nsource = "book"\nseen = "https://example.org"\n'
        for name, (tier, presents, ends) in PRESENTS.items()
    )
    path = folder / "tiny.toml"
    path.write_text(TINY.format(findings=findings, conditions=conditions))
    return Generator(Engine(read([path])))


def by_enumeration(facts: dict[str, float]) -> dict[str, float]:
    """Sums over everything that the findings could be of themselves, in the words of the model."""
    share = {}
    for name, (tier, presents, _) in PRESENTS.items():
        total = 0.0
        for own in itertools.product((0, 1), repeat=len(FINDINGS)):
            draws = dict(zip(FINDINGS, own, strict=True))
            there = {**draws, "thirst": max(draws["thirst"], draws["drought"])}
            if all(there[one] == value for one, value in facts.items()):
                odds = [presents.get(one, FINDINGS[one]) for one in FINDINGS]
                total += math.prod([odd if draw else 1 - odd for odd, draw in zip(odds, own, strict=True)])
        share[name] = WEIGHTS[tier] * total
    return {name: value / sum(share.values()) for name, value in share.items()}


def test_it_is_what_enumeration_gives(tmp_path: Path) -> None:
    posterior = Posterior(tiny(tmp_path))
    for values in itertools.product((None, 0.0, 1.0), repeat=len(FINDINGS) - 1):  # the last hangs on a value
        facts = {name: value for name, value in zip(FINDINGS, values, strict=False) if value is not None}
        if facts and not (facts.get("drought") == 1.0 and facts.get("thirst") == 0.0):  # nobody has that
            found = posterior({name: np.array([value]) for name, value in facts.items()})[0]
            assert dict(zip(posterior.conditions, found, strict=True)) == pytest.approx(by_enumeration(facts))


def test_a_value_counts_by_how_often_it_is_drawn(tmp_path: Path) -> None:
    """The masses of values are the frequencies of a hundred thousand draws."""
    generator = tiny(tmp_path)
    posterior, rng = Posterior(generator), np.random.default_rng(0)
    grid = np.round(np.arange(0, 9.05, 0.1), 1)
    often = []
    for name in posterior.conditions:
        drawn = generator.sample(rng, name, 100_000, whole=True)["sugar"]
        often.append(WEIGHTS[PRESENTS[name][0]] * (np.histogram(drawn, np.append(grid, 9.1) - 0.05)[0] / len(drawn)))
    common = np.sum(often, 0) > 0.3
    wanted = np.array(often)[:, common] / np.sum(often, 0)[common]
    assert common.sum() > 25
    assert np.allclose(posterior({"sugar": grid[common]}), wanted.T, atol=0.03)


@pytest.mark.parametrize("sweat", [0.0, 1.0])
def test_a_finding_that_an_unknown_value_decides_counts_by_how_often_it_is_there(tmp_path: Path, sweat: float) -> None:
    generator = tiny(tmp_path)
    posterior, rng = Posterior(generator), np.random.default_rng(0)
    often = np.array(
        [
            WEIGHTS[PRESENTS[name][0]] * (generator.sample(rng, name, 20_000, whole=True)["sweat"] == sweat).mean()
            for name in posterior.conditions
        ]
    )
    assert posterior({"sweat": np.array([sweat])})[0] == pytest.approx(often / often.sum(), abs=0.04)


def shown_of(facts: dict[str, Floats], share: float, rng: np.random.Generator) -> dict[str, Floats]:
    return {name: np.where(rng.random(len(column)) < share, column, np.nan) for name, column in facts.items()}


@pytest.mark.parametrize("shown", [1.0, 0.3, 0.05])
def test_it_is_calibrated(shown: float) -> None:
    """Of patients who are drawn as the prior says, the posterior of what each has is as it expects of itself."""
    generator = Generator(shared())
    posterior = Posterior(generator, CHEST)
    rng, share = np.random.default_rng(1), np.exp(posterior.prior_C)
    of_truth, expected = [], []
    for place, condition in enumerate(posterior.conditions):
        facts = generator.sample(rng, condition, max(60, int(1200 * share[place])), whole=True)
        share_NC = posterior(shown_of(facts, shown, rng))
        weight = share[place] / len(share_NC)
        of_truth.append(weight * share_NC[:, place].sum())
        expected.append(weight * (share_NC**2).sum())
    assert sum(of_truth) == pytest.approx(sum(expected), abs=0.03)
    assert sum(of_truth) > 0.9 if shown == 1.0 else sum(of_truth) > 0.3


SALTS = ("sodium", "chloride", "bicarbonate", "albumin", "calcium", "lactate", "beta_hydroxybutyrate", "creatinine")
ALIKE = {  # conditions that differ in values which move each other
    "chloride": (
        SALTS,
        ("gastroenteritis", "obstructive_uropathy", "severe_malaria", "septic_shock", "panic_disorder"),
    ),
    "calcium": (
        ("albumin", "calcium"),
        ("nephrotic_syndrome", "long_qt_syndrome", "ckd_stage_4", "multiple_myeloma", "panic_disorder"),
    ),
    "ionised": (
        ("albumin", "calcium", "ionised_calcium"),
        ("nephrotic_syndrome", "hypocalcaemia", "ckd_stage_4", "hypercalcaemia", "panic_disorder"),
    ),
    "pressure": (
        ("systolic_bp", "diastolic_bp"),
        ("variceal_bleeding", "av_block_complete", "sepsis", "acute_tubular_necrosis", "nstemi", "panic_disorder"),
    ),
    "lipids": (
        ("total_cholesterol", "hdl", "ldl", "triglycerides"),
        ("nephrotic_syndrome", "hypercholesterolaemia", "metabolic_syndrome", "masld", "panic_disorder"),
    ),
    "breath": (
        ("ph", "paco2", "bicarbonate", "sodium", "chloride"),
        ("life_threatening_asthma", "respiratory_alkalosis", "ards_moderate", "panic_disorder"),
    ),
    "links": (
        (
            "bnp",
            "nt_probnp",
            "troponin_i",
            "hs_troponin_i",
            "troponin_t",
            "hs_troponin_t",
            "ast",
            "alt",
            "spo2",
            "pao2",
        ),
        ("hfpef", "hfref", "nstemi", "acute_myocarditis", "hepatitis_a", "autoimmune_hepatitis", "copd_exacerbation"),
    ),
    "children": (
        ("age", "female", "heart_rate", "respiratory_rate", "systolic_bp", "haemoglobin", "alp", "creatinine"),
        ("acute_otitis_media", "kawasaki_disease", "influenza", "urinary_tract_infection", "panic_disorder"),
    ),
    "drugs": (
        ("lithium_level", "digoxin_level", "lithium_treatment", "digoxin_treatment"),
        ("nephrogenic_diabetes_insipidus", "lithium_toxicity", "manic_episode", "panic_disorder"),
    ),
}


@pytest.mark.parametrize("shown", [1.0, 0.6])
@pytest.mark.parametrize("which", sorted(ALIKE))
def test_it_is_calibrated_where_nothing_but_values_that_move_each_other_is_known(which: str, shown: float) -> None:
    names, conditions = ALIKE[which]
    generator, each = Generator(shared()), 3000
    posterior, rng, of_truth, expected = Posterior(generator, conditions), np.random.default_rng(1), [], []
    for place, condition in enumerate(posterior.conditions):
        facts = generator.sample(rng, condition, each, whole=True)
        part = shown_of({name: facts[name] for name in names}, shown, rng)
        share_NC = posterior(part | {name: facts[name] for name in names if name == "age"})  # that is always known
        share_NC /= np.exp(posterior.prior_C)  # all alike common
        share_NC /= share_NC.sum(1, keepdims=True)
        of_truth.append(share_NC[:, place].mean())
        expected.append((share_NC**2).sum(1).mean())
    assert np.mean(of_truth) == pytest.approx(np.mean(expected), abs=0.01 if shown == 1.0 else 0.03)


@pytest.mark.parametrize("condition", ["ckd_stage_5", "pyloric_stenosis"])
def test_of_the_gas_two_values_are_drawn_and_the_third_counts_once(condition: str) -> None:
    """Of a condition that sets bicarbonate alone: how often a gas is drawn, against one that sets nothing."""
    generator, other = whole().generator, "panic_disorder"
    rng, count, names = np.random.default_rng(0), 200_000, ("ph", "paco2", "bicarbonate")
    posterior, often = Posterior(generator, [condition, other]), []
    for one in posterior.conditions:
        form, facts = (
            generator.presentation(one),
            {"age": np.full(count, 50.0), "female": np.ones(count), "pregnant": np.zeros(count)},
        )
        places = [place for place, name in enumerate(generator.library.analytes) if name in names]
        generator.measure(rng, form, places, facts, np.zeros((len(generator.place), count), np.bool_))
        often.append(collections.Counter(zip(*(facts[name].tolist() for name in names), strict=True)))
    common = [gas for gas in often[0] | often[1] if often[0][gas] + often[1][gas] > 400]
    found_NC = posterior(
        {name: np.array(column) for name, column in zip(names, zip(*common, strict=True), strict=True)}
    )
    odds_N = found_NC[:, 0] / np.exp(posterior.prior_C[0]) + found_NC[:, 1] / np.exp(posterior.prior_C[1])
    wanted = np.array([often[0][gas] / (often[0][gas] + often[1][gas]) for gas in common])
    assert len(common) > 50
    assert np.abs(found_NC[:, 0] / np.exp(posterior.prior_C[0]) / odds_N - wanted).mean() < 0.035


@pytest.mark.parametrize("whole_patients", [True, False])
@pytest.mark.parametrize("shown", [0.5, 0.05])
def test_the_truth_is_never_ruled_out(shown: float, whole_patients: bool) -> None:
    """Whatever part of a patient is known: what a condition's patients can have is possible for it."""
    rng, each, chosen = np.random.default_rng(2), 4, whole().conditions[::16]
    parts = [whole().generator.sample(rng, condition, each, whole=whole_patients) for condition in chosen]
    unknown_N = np.full(each, np.nan)
    facts = {name: np.concatenate([part.get(name, unknown_N) for part in parts]) for part in parts for name in part}
    share_NC = whole()(shown_of(facts, shown, rng))
    of_truth_N = share_NC[np.arange(len(share_NC)), np.repeat([whole().conditions.index(one) for one in chosen], each)]
    assert (of_truth_N > 0).all()


def test_what_nobody_can_have_leaves_the_prior(tmp_path: Path) -> None:
    posterior = Posterior(tiny(tmp_path))
    found = posterior({"age": np.array([3.0])})
    assert np.allclose(found, np.exp(posterior.prior_C))
    with pytest.raises(BadArgument, match="no condition"):
        Posterior(posterior.generator, ["four"])
