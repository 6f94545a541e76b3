"""Drawn patients agree with themselves, whatever they are drawn for; what is hard about one is really there."""

from __future__ import annotations

import functools
import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from azr_gym.clinical import prompts
from azr_gym.clinical.case import closed, parse_case
from azr_gym.clinical.criteria import Floats
from azr_gym.clinical.engine import shared
from azr_gym.clinical.generate import SPEECHLESS, WEEKS, Difficulty, Generator
from azr_gym.clinical.latent import (
    ANIONS,
    DECIMALS,
    LINKS,
    USUAL,
    agree,
    breath_alone,
    expected_paco2,
    expected_ph,
    linked,
    moves,
)
from azr_gym.clinical.library import PREGNANT, Condition, Kind, knowledge

CONDITIONS = sorted(knowledge().conditions)
PATIENTS = 12
seeds, conditions = st.integers(0, 2**32), st.sampled_from(CONDITIONS)


@functools.cache
def generator() -> Generator:
    return Generator(shared())


def contradictions(facts: dict[str, Floats]) -> list[str]:
    """Findings that the values of a patient contradict."""
    columns = knowledge().columns(facts, PATIENTS)
    said = {one.record.id: one(columns) for one in knowledge().readings if one.record.id in facts}
    return [
        name
        for name, truth in said.items()
        if ((facts[name] == 1.0) & truth.no | (facts[name] == 0.0) & truth.yes).any()
    ]


@given(seeds, conditions, st.sampled_from(Difficulty), st.booleans())
@settings(max_examples=120)
def test_no_finding_contradicts_its_value(seed: int, condition: str, difficulty: Difficulty, whole: bool) -> None:
    if difficulty is Difficulty.ATYPICAL and not generator().presentation(condition).characteristic:
        return
    rng = np.random.default_rng(seed)
    assert not contradictions(generator().sample(rng, condition, PATIENTS, difficulty, whole=whole))


@given(seeds, conditions, conditions)
@settings(max_examples=40)
def test_nor_does_one_of_two_conditions_at_once(seed: int, condition: str, other: str) -> None:
    if other in generator().others(condition):
        rng = np.random.default_rng(seed)
        assert not contradictions(generator().sample(rng, condition, PATIENTS, beside=other))


@given(seeds, conditions)
@settings(max_examples=40)
def test_what_follows_from_a_finding_is_there(seed: int, condition: str) -> None:
    facts = generator().sample(np.random.default_rng(seed), condition, PATIENTS)
    for finding in knowledge().findings.values():
        there_N = facts.get(finding.id, np.zeros(PATIENTS)) == 1.0
        if there_N.any():
            assert all((facts[other][there_N] == 1.0).all() for other in finding.implies)


@given(seeds, conditions, st.sampled_from([Difficulty.TYPICAL, Difficulty.DISTRACTORS]))
@settings(max_examples=40)
def test_what_nobody_has_by_chance_is_not_looked_for_by_chance(
    seed: int, condition: str, difficulty: Difficulty
) -> None:
    facts, findings = (
        generator().sample(np.random.default_rng(seed), condition, PATIENTS, difficulty),
        knowledge().findings,
    )
    relevant_F = generator().presentation(condition).relevant_F
    for name, relevant in zip(generator().ids, relevant_F, strict=True):
        if name in facts and not relevant and findings[name].background == 0:
            assert not (facts[name] == 0.0).any()


@given(
    seeds, st.sampled_from(["opioid_overdose", "myxoedema_coma", "severe_hypoglycaemia", "ventricular_fibrillation"])
)
@settings(max_examples=40)
def test_who_is_in_a_coma_or_without_a_pulse_complains_of_nothing(seed: int, condition: str) -> None:
    facts, findings = generator().sample(np.random.default_rng(seed), condition, 64), knowledge().findings
    speechless_N = np.any([facts[name] == 1.0 for name in SPEECHLESS if name in facts], axis=0)
    assert speechless_N.any()
    asked = {*itertools.compress(generator().ids, generator().presentation(condition).relevant_F)}
    asked |= {other for name in asked for other in findings[name].implies}
    for name in facts.keys() & findings.keys() - asked:
        if findings[name].kind is Kind.SYMPTOM:
            follows = [one for one in facts.keys() & findings.keys() if name in findings[one].implies]
            known_N = ~np.isnan(facts[name]) & ~np.any(
                [facts[one] == 1.0 for one in follows] or [speechless_N & False], axis=0
            )
            assert not (known_N & speechless_N).any()


@pytest.mark.parametrize(
    ("condition", "greater", "lesser"),
    [
        ("acute_otitis_media", "tm_bulging_moderate", "tm_bulging_mild"),
        ("hit", "platelet_fall_over_half", "platelet_fall_30_to_50"),
        ("fibromyalgia", "wpi_7_or_more", "wpi_4_to_6"),
    ],
)
def test_of_two_grades_a_patient_has_one(condition: str, greater: str, lesser: str) -> None:
    facts = generator().sample(np.random.default_rng(0), condition, 400)
    assert not ((facts[greater] == 1.0) & (facts[lesser] == 1.0)).any()
    assert (facts[greater] == 1.0).any()
    assert (facts[lesser] == 1.0).any()


def test_who_is_pregnant_takes_no_contraception() -> None:
    for place, condition in enumerate(CONDITIONS):
        facts = generator().sample(np.random.default_rng(place), condition, 64)
        if "hormonal_contraception" in facts:
            assert not ((facts[PREGNANT] == 1.0) & (facts["hormonal_contraception"] == 1.0)).any()


@given(seeds, conditions)
@settings(max_examples=20)
def test_of_a_patient_of_whom_less_is_known_nothing_else_is_read(seed: int, condition: str) -> None:
    rng = np.random.default_rng(seed)
    drawn = generator().draw(rng, condition, PATIENTS)
    whole = [drawn.patient(int(place)) for place in np.flatnonzero(drawn.kept_N)]
    for facts, before in zip(generator().less(rng, whole), whole, strict=True):
        if facts is not None:
            assert facts.items() <= before.items()
            text = prompts.compact(knowledge(), facts)
            assert closed(parse_case(text).facts, knowledge()) == facts


@given(seeds, conditions, st.sampled_from(Difficulty))
@settings(max_examples=60)
def test_a_test_that_decides_is_positive_or_was_not_done(seed: int, condition: str, difficulty: Difficulty) -> None:
    if difficulty is Difficulty.ATYPICAL and not generator().presentation(condition).characteristic:
        return
    facts = generator().sample(np.random.default_rng(seed), condition, PATIENTS, difficulty)
    for name in generator().deciding(knowledge().conditions[condition]):
        assert not (facts.get(name, np.zeros(0)) == 0.0).any()


def test_which_tests_decide() -> None:
    """Those that a definite rule looks at and no weaker one: no sign, nothing that a value says, no item of a score."""
    deciding = {name: generator().deciding(one) for name, one in knowledge().conditions.items()}
    assert deciding["diverticulitis"] == {"ct_diverticulitis"}
    assert deciding["ischaemic_stroke"] == {"ct_ischaemic_stroke", "mri_acute_infarct"}
    assert deciding["acute_epiglottitis"] == {"epiglottis_swollen"}
    assert not deciding["prolactinoma"] & {"prolactin_over_250"}  # its value says it
    assert not deciding["autoimmune_hepatitis"]  # points, of which the weaker rule asks for fewer
    assert not deciding["sle"]  # one rule: nothing stands without it
    drawn = generator().sample(np.random.default_rng(0), "diverticulitis", 400)["ct_diverticulitis"]
    assert 0.2 < np.isnan(drawn).mean() < 0.4
    assert (drawn[~np.isnan(drawn)] == 1.0).all()


def test_a_sign_without_a_value_of_its_condition_brings_one() -> None:
    """Confusion in sepsis lowers the coma scale, which no septic patient sets."""
    assert "gcs" not in knowledge().conditions["sepsis"].labs
    facts = generator().sample(np.random.default_rng(0), "sepsis", 300)
    confused_N = facts["confusion"] == 1.0
    assert 0.2 < confused_N.mean() < 0.8
    assert (facts["gcs"][confused_N] < 15).all()
    assert (facts["gcs"][facts["altered_mental_status"] == 0.0] == 15).all()


@given(seeds, conditions)
@settings(max_examples=40)
def test_nobody_has_what_is_not_usual_at_that_age(seed: int, condition: str) -> None:
    facts = generator().sample(np.random.default_rng(seed), condition, PATIENTS)
    for name, finding in knowledge().findings.items():
        low, high = finding.usual_age
        implied = any(name in one.implies for one in knowledge().findings.values())
        if name in facts and not implied:
            ages = facts["age"][facts[name] == 1.0]
            assert ((ages >= low) & (ages <= high)).all()


@given(seeds, conditions)
@settings(max_examples=40)
def test_nothing_is_unknown_of_a_whole_patient(seed: int, condition: str) -> None:
    facts = generator().sample(np.random.default_rng(seed), condition, 3, whole=True)
    assert set(facts) >= {*knowledge().findings, *(one.id for one in knowledge().analytes.values() if one.panel)}
    assert not any(np.isnan(column).any() for name, column in facts.items() if name != WEEKS)
    assert WEEKS not in facts or (np.isnan(facts[WEEKS]) == (facts["pregnant"] == 0.0)).all()


TREATMENTS = {"lithium_level": "lithium_treatment", "digoxin_level": "digoxin_treatment"}
EXOGENOUS = [one.id for one in knowledge().analytes.values() if one.exogenous]


@given(seeds, conditions)
@settings(max_examples=40)
def test_what_has_to_be_taken_is_neither_there_without_a_reason_nor_measured(seed: int, condition: str) -> None:
    rng, form = np.random.default_rng(seed), generator().presentation(condition)
    looked_at = {generator().analytes[place].id for place in form.measured}
    distracted = generator().sample(rng, condition, PATIENTS, Difficulty.DISTRACTORS)
    whole = generator().sample(rng, condition, PATIENTS, whole=True)
    for name in EXOGENOUS:
        assert name not in distracted or name in looked_at
        taken_N = whole.get(TREATMENTS.get(name, ""), np.zeros(PATIENTS)) == 1.0
        assert name in form.labs or (whole[name][~taken_N] == 0.0).all()


@given(seeds, conditions)
@settings(max_examples=40)
def test_whoever_takes_a_drug_has_a_level_of_treatment(seed: int, condition: str) -> None:
    whole = generator().sample(np.random.default_rng(seed), condition, 400, whole=True)
    for name, treatment in TREATMENTS.items():
        low, high = knowledge().analytes[name].interval(False)
        if name not in knowledge().conditions[condition].labs:
            inside_N = (whole[name] >= low) & (whole[name] <= high)
            assert (inside_N == (whole[treatment] == 1.0)).all()


def test_some_take_such_a_drug_whom_no_condition_makes_to() -> None:
    whole = generator().sample(np.random.default_rng(0), "migraine_without_aura", 4000, whole=True)
    assert 2 < whole["lithium_treatment"].sum() < 40
    assert whole["digoxin_treatment"].sum() > 2


def test_what_many_conditions_look_at_distracts_more_often() -> None:
    rng, often = np.random.default_rng(0), dict.fromkeys(("haemoglobin", "csf_protein", "adamts13_activity"), 0)
    for _ in range(400):
        facts = generator().sample(rng, "migraine_without_aura", 1, Difficulty.DISTRACTORS)
        often = {name: count + (name in facts) for name, count in often.items()}
    assert often["haemoglobin"] > 5 * often["csf_protein"] > 5 * often["adamts13_activity"]


def test_a_total_gives_way_to_a_part_that_is_given() -> None:
    both = {"bilirubin": np.array([0.5, 4.0]), "direct_bilirubin": np.array([2.0, 2.0])}
    for name, total, part in (("direct_bilirubin", [2.0, 4.0], [2.0, 2.0]), ("bilirubin", [0.5, 4.0], [0.5, 2.0])):
        facts = dict(both)
        agree(facts, [name])
        assert facts["bilirubin"].tolist() == total
        assert facts["direct_bilirubin"].tolist() == part


@given(seeds, st.sampled_from([one.id for one in knowledge().conditions.values() if "lymphocyte_percent" in one.labs]))
@settings(max_examples=40)
def test_a_differential_count_is_no_more_than_the_leukocytes(seed: int, condition: str) -> None:
    facts = generator().sample(np.random.default_rng(seed), condition, 200, whole=True)
    whole_N = facts["neutrophil_percent"] + facts["eosinophil_percent"] + facts["lymphocyte_percent"]
    assert (whole_N <= 101)[facts["neutrophil_percent"] + facts["eosinophil_percent"] <= 100].all()
    assert (whole_N <= 101).mean() > 0.98


SETS_BICARBONATE = [
    one.id
    for one in knowledge().conditions.values()
    if not {"ph", "paco2"} & {*one.labs} and {"arterial_bicarbonate", "bicarbonate"} & {*one.labs}
]


@given(seeds, st.sampled_from(SETS_BICARBONATE))
@settings(max_examples=40)
def test_a_bicarbonate_that_the_condition_sets_stays_and_the_gas_follows(seed: int, condition: str) -> None:
    facts = generator().sample(np.random.default_rng(seed), condition, 400, whole=True)
    low, high = knowledge().conditions[condition].labs["bicarbonate"]
    inside = (facts["bicarbonate"] >= np.floor(low)) & (facts["bicarbonate"] <= np.ceil(high))
    assert inside.mean() > 0.8  # of the nine in ten that lie there
    assert (facts["arterial_bicarbonate"] == facts["bicarbonate"]).all()
    expected_N = expected_paco2(facts["bicarbonate"])
    assert (np.abs(facts["paco2"] - expected_N) <= 2 + 1.5 / 2 + 1 / 2).all()  # and both are rounded to whole numbers
    least_N, most_N = (
        6.1 + np.log10((facts["bicarbonate"] + end) / (0.0307 * (facts["paco2"] - end))) for end in (-0.5, 0.5)
    )
    assert ((facts["ph"] > least_N - 0.006) & (facts["ph"] < most_N + 0.006)).all()


def test_lungs_make_up_for_a_bicarbonate_as_is_published() -> None:
    assert expected_paco2(np.array([8.0, 12.0, 24.0, 34.0])).tolist() == [20.0, 26.0, 40.0, 47.0]


CHILDREN = [one.id for one in knowledge().analytes.values() if one.children]


@given(seeds, st.sampled_from([one.id for one in knowledge().conditions.values() if one.age[0] < 12]))
@settings(max_examples=40)
def test_what_no_condition_sets_is_normal_at_that_age(seed: int, condition: str) -> None:
    facts = generator().sample(np.random.default_rng(seed), condition, 100, whole=True)
    form = generator().presentation(condition)
    fitted = {name for reading, _ in form.fitted for name in reading.record.labs}
    for name in {*CHILDREN} - {*form.labs} - fitted - {"haematocrit"} & {*facts}:  # which follows from haemoglobin
        ends = [
            knowledge().analytes[name].usual(bool(sex), age)
            for age, sex in zip(facts["age"], facts["female"], strict=True)
        ]
        low_N, high_N = np.array(ends).T
        assert ((facts[name] >= low_N) & (facts[name] <= high_N)).all(), name


def test_what_latent_knows_of_analytes_is_what_they_are() -> None:
    analytes = knowledge().analytes
    assert {name: analytes[name].decimals for name in DECIMALS} == DECIMALS
    for name, (usual, _) in ANIONS.items():
        assert analytes[name].interval(True)[1] <= analytes[name].interval(False)[1] == usual
    for name, ends in USUAL.items():
        assert analytes[name].interval(False) == analytes[name].interval(True) == ends


SETS_LINKED = [one for one in knowledge().conditions.values() if any(linked(name, one.labs) for name in LINKS)]


@pytest.mark.parametrize("whole", [True, False])
def test_what_goes_together_is_drawn_together(whole: bool) -> None:
    """As closely as `linked` says, but for rounding; each alone lies where its condition has it."""

    def steps(one: Condition, name: str) -> float:
        low, high = one.labs[name]
        return (high - low) * 10.0 ** knowledge().analytes[name].decimals

    assert len(SETS_LINKED) > 50
    for one in SETS_LINKED:
        facts = generator().sample(np.random.default_rng(0), one.id, 1500, whole=whole)
        for name in LINKS:
            for other, closely in linked(name, one.labs):
                if min(steps(one, name), steps(one, other)) < 10:
                    continue
                rank, its = (facts[which].argsort(kind="stable").argsort() for which in (name, other))
                assert np.corrcoef(rank, its)[0, 1] > closely - 0.1, (one.id, name, other)
            if linked(name, one.labs):
                low, high = one.labs[name]
                half = 0.5 * 10.0 ** -knowledge().analytes[name].decimals
                inside = (facts[name] >= low - half) & (facts[name] <= high + half)
                assert inside.mean() > 0.85, (one.id, name)


@pytest.mark.parametrize(
    ("condition", "name", "other", "ends"),
    [
        ("hfref", "nt_probnp", "bnp", (3, 12)),  # 6.25 in the middle (https://pubmed.ncbi.nlm.nih.gov/32065760/)
        ("nstemi", "hs_troponin_i", "troponin_i", (400, 2500)),  # 1,000, of ng/L and ng/mL
        ("acute_alcoholic_hepatitis", "ast", "alt", (1.6, 4)),  # the De Ritis ratio
        ("hepatitis_a", "ast", "alt", (0.4, 1.6)),
        ("pancreatic_cancer", "direct_bilirubin", "bilirubin", (0.35, 1)),
    ],
)
def test_the_ratio_of_two_is_one_that_there_is(
    condition: str, name: str, other: str, ends: tuple[float, float]
) -> None:
    facts = generator().sample(np.random.default_rng(0), condition, 1000)
    ratio_N = facts[name] / facts[other]
    assert ((ratio_N >= ends[0]) & (ratio_N <= ends[1])).mean() > 0.97
    assert ends[0] < np.median(ratio_N) < ends[1]


@pytest.mark.parametrize("condition", ["obesity", "diabetes_type_2", "cushing_syndrome"])
def test_men_are_taller_and_no_fatter(condition: str) -> None:
    facts = generator().sample(np.random.default_rng(0), condition, 4000)
    index_N, women = facts["weight_kg"] / (facts["height_cm"] / 100) ** 2, facts["female"] == 1.0
    assert 11 < facts["height_cm"][~women].mean() - facts["height_cm"][women].mean() < 15
    assert abs(index_N[~women].mean() - index_N[women].mean()) < 0.8
    assert index_N.max() < 60


def test_the_systolic_pressure_rises_with_age_and_its_reference_interval_does_not() -> None:
    analyte = knowledge().analytes["systolic_bp"]
    assert analyte.interval(False, 80) == analyte.interval(False, 30) == analyte.usual(False, 30)
    facts = generator().sample(np.random.default_rng(0), "lyme_disease", 4000, whole=True)
    young, old = (facts["systolic_bp"][who] for who in ((facts["age"] > 18) & (facts["age"] < 45), facts["age"] >= 65))
    assert young.max() <= 119
    assert 5 < old.mean() - young.mean() < 20
    assert old.max() <= 129


def corrected(facts: dict[str, Floats]) -> Floats:
    return facts["calcium"] + 0.8 * (4 - facts["albumin"])


@given(seeds, conditions)
@settings(max_examples=60)
def test_corrected_calcium_is_normal_where_no_condition_sets_it(seed: int, condition: str) -> None:
    facts = generator().sample(np.random.default_rng(seed), condition, 100, whole=True)
    labs = knowledge().conditions[condition].labs
    if "calcium" in labs:
        low, high = labs["calcium"]
        assert ((corrected(facts) > low - 0.06) & (corrected(facts) < high + 0.06)).mean() > 0.75
    else:
        least, most = USUAL["calcium"]
        assert ((corrected(facts) > least - 0.06) & (corrected(facts) < most + 0.06)).all()
        assert (facts["calcium"] <= most).all()


@given(seeds, conditions)
@settings(max_examples=60)
def test_the_anion_gap_is_normal_but_for_what_adds_to_it_where_no_condition_sets_chloride(
    seed: int, condition: str
) -> None:
    facts = generator().sample(np.random.default_rng(seed), condition, 100, whole=True)
    if "chloride" not in knowledge().conditions[condition].labs:
        gap = facts["sodium"] - facts["chloride"] - facts["bicarbonate"] + 2.5 * (4 - facts["albumin"])
        gap -= sum(share * np.maximum(facts[name] - usual, 0) for name, (usual, share) in ANIONS.items())
        assert ((gap > 10 - 1e-6) & (gap < 14 + 1e-6)).all()


def test_failing_kidneys_raise_the_anion_gap_and_often_above_the_normal_one() -> None:
    rng, often = np.random.default_rng(0), {}
    for condition in ("ckd_stage_1", "acute_kidney_injury", "ckd_stage_5"):
        facts = generator().sample(rng, condition, 2000, whole=True)
        gap = facts["sodium"] - facts["chloride"] - facts["bicarbonate"] + 2.5 * (4 - facts["albumin"])
        often[condition] = (gap > 14).mean()
    assert often["ckd_stage_1"] == 0 < often["acute_kidney_injury"] < 0.5 < often["ckd_stage_5"] < 0.9


@given(seeds, conditions)
@settings(max_examples=60)
def test_ionised_calcium_is_low_high_or_normal_as_the_corrected_one_is(seed: int, condition: str) -> None:
    facts = generator().sample(np.random.default_rng(seed), condition, 100, whole=True)
    (low, high), (least, most), slack = USUAL["calcium"], USUAL["ionised_calcium"], 0.25  # what moves it, and rounding
    sides_N = np.where(corrected(facts) < low - slack, -1, np.where(corrected(facts) > high + slack, 1, 0))
    ionised_N = np.where(facts["ionised_calcium"] < least, -1, np.where(facts["ionised_calcium"] > most, 1, 0))
    inside_N = (corrected(facts) >= low) & (corrected(facts) <= high)
    assert (ionised_N[inside_N] == 0).all()
    assert (ionised_N[sides_N != 0] == sides_N[sides_N != 0]).all()


SETS_SYSTOLIC = [one.id for one in knowledge().conditions.values() if moves("diastolic_bp", one.labs)]


@given(seeds, st.sampled_from(SETS_SYSTOLIC))
@settings(max_examples=40)
def test_where_a_condition_sets_the_systolic_pressure_alone_the_diastolic_follows(seed: int, condition: str) -> None:
    facts = generator().sample(np.random.default_rng(seed), condition, 200)
    pulse_N = 1 - facts["diastolic_bp"] / facts["systolic_bp"]
    assert ((pulse_N > 0.29) & (pulse_N < 0.51)).all()


@given(seeds, conditions)
@settings(max_examples=60)
def test_hdl_and_ldl_are_parts_of_the_cholesterol(seed: int, condition: str) -> None:
    facts = generator().sample(np.random.default_rng(seed), condition, 200, whole=True)
    assert (facts["hdl"] + facts["ldl"] <= facts["total_cholesterol"] + 1).all()


def test_lack_of_magnesium_keeps_pth_from_rising_with_low_calcium() -> None:
    facts = generator().sample(np.random.default_rng(0), "hypomagnesaemia", 1000, whole=True)
    low_N = corrected(facts) < 8.5
    assert low_N.mean() > 0.3
    assert (facts["pth"][low_N] <= 65).mean() > 0.9


def test_carbon_dioxide_that_is_kept_for_long_is_made_up_for() -> None:
    """3.5 to 4 mmol/L for 10 mmHg, give or take 2; where it is acute, 1."""
    for condition in ("copd_exacerbation", "chronic_hypercapnic_respiratory_failure"):
        facts = generator().sample(np.random.default_rng(0), condition, 1000, whole=True)
        less_N, more_N = (24 + slope * (facts["paco2"] - 40) for slope in (0.35, 0.4))
        bound_N = facts["arterial_bicarbonate"]
        assert ((bound_N > less_N - 2.5) & (bound_N < more_N + 2.5)).mean() > 0.9


def test_chloride_makes_up_for_a_bicarbonate_that_is_lost() -> None:
    facts = generator().sample(np.random.default_rng(0), "gastroenteritis", 2000, whole=True)
    low_N = facts["bicarbonate"] <= 19
    assert low_N.sum() > 100
    assert facts["chloride"][low_N].mean() > facts["chloride"][facts["bicarbonate"] >= 25].mean() + 4


SETS_BREATH = [one.id for one in knowledge().conditions.values() if breath_alone(one.labs)]


@given(seeds, st.sampled_from(SETS_BREATH))
@settings(max_examples=40)
def test_where_a_condition_sets_pco2_alone_the_gas_is_of_an_acute_disorder(seed: int, condition: str) -> None:
    facts = generator().sample(np.random.default_rng(seed), condition, 400, whole=True)
    expected_N = expected_ph(facts["paco2"])
    assert (np.abs(facts["ph"] - expected_N) <= 0.05 * 2 / 5 + 0.005 + 1e-9).all()
    away_N = facts["paco2"] - 40
    bound_N = 24 + np.where(away_N > 0, 0.1, 0.2) * away_N
    assert (np.abs(facts["bicarbonate"] - bound_N) <= 0.075 * bound_N + 0.5).all()  # 0.02 of pH, half a mmHg
    assert (facts["ph"][facts["paco2"] >= 55] < 7.35).all()
    assert (facts["ph"][facts["paco2"] <= 28] > 7.45).all()


def test_kidneys_make_up_for_a_breath_as_is_published() -> None:
    """1 mmol/L of bicarbonate more for 10 mmHg more, 2 less for 10 less: 26 at 60 mmHg, 20 at 20."""
    for paco2, bound in ((40.0, 24.0), (60.0, 26.0), (80.0, 28.0), (30.0, 22.0), (20.0, 20.0)):
        assert np.isclose(0.0307 * paco2 * 10 ** (expected_ph(np.array(paco2)) - 6.1), bound)
