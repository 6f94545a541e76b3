"""Every score on both sides of every threshold, worked examples that were published, and what must hold of any patient."""

from __future__ import annotations

import ast
import itertools
import math
from collections.abc import Callable, Iterator
from importlib.resources import files
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from azr_gym.clinical import scores
from azr_gym.clinical.case import closed
from azr_gym.clinical.library import PERSON, PREGNANT, read
from azr_gym.clinical.scores import Fact, Scored, compute, looks_at
from azr_gym.errors import BadArgument

FOLDER = files("azr_gym.clinical").joinpath("knowledge")
KNOWN = read([FOLDER.joinpath(f"{name}.toml") for name in ("analytes", "findings", "scores")])

LEADS = "i ii iii avl avf v1 v2 v3 v4 v5 v6".split()  # of an electrocardiogram, without aVR
# A patient of whom everything is known, and in whom nothing is wrong. Findings are absent.
WELL: dict[str, float] = {
    "age": 40, "female": 0, "male": 1, "pregnant": 0, "weight_kg": 70, "height_cm": 175,
    "temperature": 37, "heart_rate": 80, "respiratory_rate": 16, "systolic_bp": 120, "diastolic_bp": 80, "spo2": 98,
    "gcs": 15, "fio2": 21, "pao2": 95, "paco2": 40, "ph": 7.4, "bun": 14, "creatinine": 1, "baseline_creatinine": 1,
    "sodium": 140, "glucose": 100, "haematocrit": 42, "haemoglobin": 15, "platelets": 250, "bilirubin": 0.5,
    "direct_bilirubin": 0.1, "albumin": 4.2, "inr": 1, "leukocytes": 7, "neutrophil_percent": 60, "band_percent": 2,
    "ldh": 150, "ast": 20, "alt": 20, "alp": 80, "troponin_i": 0, "hs_troponin_i": 1, "troponin_t": 0,
    "hs_troponin_t": 1, "d_dimer": 200, "prothrombin_time": 12, "fibrinogen": 300, "reticulocyte_percent": 1,
    "mcv": 92, "crp": 2, "esr": 5, "rheumatoid_factor": 5, "anti_ccp": 5, "complement_c3": 120, "complement_c4": 30,
    "small_joints": 0, "large_joints": 0, "urine_output_ml_kg_h": 1, "urine_output_ml_day": 1500,
    "urine_protein_creatinine": 100, "chloride": 104, "bicarbonate": 24, "base_excess": 0, "potassium": 4,
    "calcium": 9.5, "ionised_calcium": 1.2, "phosphate": 3.5, "urate": 5, "gestational_weeks": 30,
    "fasting_glucose": 85, "glucose_2h": 110, "glucose_1h": 130, "gcs_eye": 4, "gcs_verbal": 5, "gcs_motor": 6,
    "haematocrit_fall": 0, "bun_rise": 0, "fluid_sequestration": 0, "organ_failure_hours": 0,
    "pancreatitis_complications": 0, "second_systolic_bp": 120, "second_diastolic_bp": 80, "hours_between_readings": 6,
    "urine_protein_24h": 100, "urine_albumin_creatinine": 5, "beta_hydroxybutyrate": 0.1, "magnesium": 2, "tsh": 2,
    "free_t4": 1.2, "dst_cortisol": 1, "qtc": 400, "qt_interval": 380, "fev1_fvc": 0.8, "fev1_percent": 100, "fev1_gain_percent": 2, "fev1_gain_ml": 50,
    "pef_variability": 5, "mmrc_dyspnoea": 0, "copd_assessment_test": 0, "copd_exacerbations_year": 0,
    "copd_admissions_year": 0, **dict.fromkeys((f"st_{lead}" for lead in LEADS), 0),
}  # fmt: skip
NOTHING = dict.fromkeys(KNOWN.findings, 0.0)


def limit(analyte: str, times: float = 1.0, plus: float = 0.0) -> float:
    return KNOWN.analytes[analyte].reference[1] * times + plus


def score(name: str, /, **facts: float) -> Scored:
    """A score of the well patient with something changed."""
    return compute(name, {**WELL, **NOTHING, **closed(facts, KNOWN)}, KNOWN)


F99, F100, F101, F102, F103, F104 = ((degrees - 32) / 1.8 for degrees in range(99, 105))
TINY = 1e-6
ANA, VENT, HALF = {"ana_positive": 1.0}, {"fio2": 50.0, "mechanical_ventilation": 1.0}, {"fio2": 50.0}
WOMAN = {"female": 1.0, "male": 0.0}
LOW, COPD, CALM = {"systolic_bp": 100.0, "diastolic_bp": 60.0}, {"fev1_fvc": 0.6}, {"albumin": 4.0}
GAP: dict[str, float] = {
    "sodium": 140,
    "bicarbonate": 14,
}  # chloride 126 - the gap; a delta ratio of a tenth of gap - 12
ACIDOSIS, ALKALOSIS = {"bicarbonate": 12.0}, {"bicarbonate": 34.0}
SEVERE_ALKALOSIS = {"bicarbonate": 50.0}
LYSIS = {"phosphate": 5.0, "urate": 9.0}
EXPECTING = WOMAN | {PREGNANT: 1.0}
BOTH = EXPECTING | {"systolic_bp": 150.0, "second_systolic_bp": 150.0}  # of the readings are raised
# (score, fact, one side, its points, the other side, its points, what else is changed)
SIDES: list[tuple[str, str, float, float, float, float, dict[str, float]]] = [
    (*row, {}) if len(row) == 6 else row
    for row in [
        ("wells_pe", "heart_rate", 100, 0, 101, 1.5),
        ("perc", "age", 49, 0, 50, 1), ("perc", "heart_rate", 99, 0, 100, 1), ("perc", "spo2", 95, 0, 94, 1),
        ("cha2ds2_vasc", "age", 64, 0, 65, 1), ("cha2ds2_vasc", "age", 74, 1, 75, 2),
        ("has_bled", "systolic_bp", 160, 0, 161, 1), ("has_bled", "creatinine", 2.26, 0, 2.27, 1),
        ("has_bled", "age", 65, 0, 66, 1),
        ("has_bled", "bilirubin", limit("bilirubin", 2), 0, limit("bilirubin", 2, 0.1), 1, {"ast": 500}),
        *(("has_bled", one, limit(one, 3), 0, limit(one, 3, 1), 1, {"bilirubin": 9}) for one in ("ast", "alt", "alp")),
        ("heart_score", "age", 45, 0, 46, 1), ("heart_score", "age", 64, 1, 65, 2),
        *(("heart_score", one, limit(one), 0, limit(one, 1.1), 1)
          for one in ("troponin_i", "hs_troponin_i", "troponin_t", "hs_troponin_t")),
        *(("heart_score", one, limit(one, 2.9), 1, limit(one, 3), 2)
          for one in ("troponin_i", "hs_troponin_i", "troponin_t", "hs_troponin_t")),
        ("timi_ua_nstemi", "age", 64, 0, 65, 1),
        *(("timi_ua_nstemi", one, limit(one), 0, limit(one, 1.1), 1)
          for one in ("troponin_i", "hs_troponin_i", "troponin_t", "hs_troponin_t")),
        ("curb65", "bun", 19.6, 0, 19.62, 1), ("curb65", "respiratory_rate", 29, 0, 30, 1),
        ("curb65", "systolic_bp", 90, 0, 89, 1), ("curb65", "diastolic_bp", 61, 0, 60, 1),
        ("curb65", "age", 64, 0, 65, 1),
        ("psi", "age", 40, 40, 41, 41), ("psi", "respiratory_rate", 29, 40, 30, 60),
        ("psi", "systolic_bp", 90, 40, 89, 60), ("psi", "temperature", 35, 40, 34.9, 55),
        ("psi", "temperature", 39.9, 40, 40, 55), ("psi", "heart_rate", 124, 40, 125, 50),
        ("psi", "ph", 7.35, 40, 7.34, 70), ("psi", "bun", 29, 40, 30, 60), ("psi", "sodium", 130, 40, 129, 60),
        ("psi", "glucose", 249, 40, 250, 50), ("psi", "haematocrit", 30, 40, 29, 50), ("psi", "pao2", 60, 40, 59, 50),
        ("psi", "spo2", 90, 40, 89, 50), ("psi", "gcs", 15, 40, 14, 60),
        ("qsofa", "respiratory_rate", 21, 0, 22, 1), ("qsofa", "systolic_bp", 101, 0, 100, 1),
        ("qsofa", "gcs", 15, 0, 14, 1),
        ("sirs", "temperature", 38, 0, 38.1, 1), ("sirs", "temperature", 36, 0, 35.9, 1),
        ("sirs", "heart_rate", 90, 0, 91, 1), ("sirs", "respiratory_rate", 20, 0, 21, 1),
        ("sirs", "paco2", 32, 0, 31, 1), ("sirs", "leukocytes", 12, 0, 12.1, 1), ("sirs", "leukocytes", 4, 0, 3.9, 1),
        ("sirs", "band_percent", 10, 0, 11, 1),
        ("sofa", "pao2", 200, 0, 199, 1, HALF), ("sofa", "pao2", 150, 1, 149, 2, HALF),
        ("sofa", "pao2", 100, 2, 99, 2, HALF), ("sofa", "pao2", 100, 2, 99, 3, VENT),
        ("sofa", "pao2", 50, 3, 49, 4, VENT), ("sofa", "fio2", 23.75, 0, 23.8, 1),
        *(("sofa", "platelets", at, points, at - 1, points + 1) for points, at in enumerate((150, 100, 50, 20))),
        *(("sofa", "bilirubin", at - 0.1, points, at, points + 1) for points, at in enumerate((1.2, 2, 6, 12))),
        *(("sofa", "creatinine", at - 0.1, points, at, points + 1) for points, at in enumerate((1.2, 2, 3.5, 5))),
        *(("sofa", "gcs", at, points, at - 1, points + 1) for points, at in enumerate((15, 13, 10, 6))),
        ("sofa", "diastolic_bp", 60, 0, 59, 1, {"systolic_bp": 90}),
        ("sofa", "systolic_bp", 90, 0, 89, 1, {"diastolic_bp": 60}),
        ("sofa", "urine_output_ml_day", 500, 0, 499, 3), ("sofa", "urine_output_ml_day", 200, 3, 199, 4),
        ("news2", "respiratory_rate", 8, 3, 9, 1), ("news2", "respiratory_rate", 11, 1, 12, 0),
        ("news2", "respiratory_rate", 20, 0, 21, 2), ("news2", "respiratory_rate", 24, 2, 25, 3),
        ("news2", "spo2", 96, 0, 95, 1), ("news2", "spo2", 94, 1, 93, 2), ("news2", "spo2", 92, 2, 91, 3),
        ("news2", "fio2", 21, 0, 22, 2),
        ("news2", "systolic_bp", 111, 0, 110, 1), ("news2", "systolic_bp", 101, 1, 100, 2),
        ("news2", "systolic_bp", 91, 2, 90, 3), ("news2", "systolic_bp", 219, 0, 220, 3),
        ("news2", "heart_rate", 40, 3, 41, 1), ("news2", "heart_rate", 50, 1, 51, 0),
        ("news2", "heart_rate", 90, 0, 91, 1), ("news2", "heart_rate", 110, 1, 111, 2),
        ("news2", "heart_rate", 130, 2, 131, 3), ("news2", "gcs", 15, 0, 14, 3),
        ("news2", "temperature", 35, 3, 35.1, 1), ("news2", "temperature", 36, 1, 36.1, 0),
        ("news2", "temperature", 38, 0, 38.1, 1), ("news2", "temperature", 39, 1, 39.1, 2),
        ("centor_mcisaac", "temperature", 38, 1, 38.1, 2), ("centor_mcisaac", "age", 2, 1, 3, 2),
        ("centor_mcisaac", "age", 14, 2, 15, 1), ("centor_mcisaac", "age", 44, 1, 45, 0),
        ("ranson_admission", "age", 55, 0, 56, 1), ("ranson_admission", "leukocytes", 16, 0, 16.1, 1),
        ("ranson_admission", "glucose", 200, 0, 201, 1), ("ranson_admission", "ldh", 350, 0, 351, 1),
        ("ranson_admission", "ast", 250, 0, 251, 1),
        ("bisap", "bun", 25, 0, 25.1, 1), ("bisap", "age", 60, 0, 61, 1), ("bisap", "gcs", 15, 0, 14, 1),
        ("bisap", "heart_rate", 90, 0, 91, 1, {"respiratory_rate": 21}),
        ("bisap", "respiratory_rate", 20, 0, 21, 1, {"heart_rate": 91}),
        ("bisap", "temperature", 38, 0, 38.1, 1, {"heart_rate": 91}),
        ("bisap", "leukocytes", 12, 0, 12.1, 1, {"heart_rate": 91}),
        ("bisap", "band_percent", 10, 0, 11, 1, {"heart_rate": 91}), ("bisap", "paco2", 32, 0, 31, 1, {"heart_rate": 91}),
        ("alvarado", "temperature", 37.2, 0, 37.3, 1), ("alvarado", "leukocytes", 10, 0, 10.1, 2),
        ("alvarado", "neutrophil_percent", 75, 0, 76, 1),
        ("glasgow_blatchford", "bun", 18.1, 0, 18.2, 2), ("glasgow_blatchford", "bun", 22.3, 2, 22.4, 3),
        ("glasgow_blatchford", "bun", 27.9, 3, 28, 4), ("glasgow_blatchford", "bun", 69.9, 4, 70, 6),
        ("glasgow_blatchford", "haemoglobin", 13, 0, 12.9, 1), ("glasgow_blatchford", "haemoglobin", 12, 1, 11.9, 3),
        ("glasgow_blatchford", "haemoglobin", 10, 3, 9.9, 6),
        ("glasgow_blatchford", "haemoglobin", 12, 0, 11.9, 1, WOMAN),
        ("glasgow_blatchford", "haemoglobin", 10, 1, 9.9, 6, WOMAN),
        ("glasgow_blatchford", "systolic_bp", 110, 0, 109, 1), ("glasgow_blatchford", "systolic_bp", 100, 1, 99, 2),
        ("glasgow_blatchford", "systolic_bp", 90, 2, 89, 3), ("glasgow_blatchford", "heart_rate", 99, 0, 100, 1),
        ("child_pugh", "bilirubin", 1.9, 5, 2, 6), ("child_pugh", "bilirubin", 3, 6, 3.1, 7),
        ("child_pugh", "albumin", 3.6, 5, 3.5, 6), ("child_pugh", "albumin", 2.8, 6, 2.7, 7),
        ("child_pugh", "inr", 1.6, 5, 1.7, 6), ("child_pugh", "inr", 2.3, 6, 2.4, 7),
        ("isth_dic", "platelets", 100, 0, 99, 1), ("isth_dic", "platelets", 50, 1, 49, 2),
        ("isth_dic", "d_dimer", limit("d_dimer"), 0, limit("d_dimer", 1, 1), 2), ("isth_dic", "d_dimer", 5000, 2, 5001, 3),
        ("isth_dic", "prothrombin_time", limit("prothrombin_time", 1, 2.9), 0, limit("prothrombin_time", 1, 3), 1),
        ("isth_dic", "prothrombin_time", limit("prothrombin_time", 1, 5.9), 1, limit("prothrombin_time", 1, 6), 2),
        ("isth_dic", "fibrinogen", 100, 0, 99, 1),
        ("plasmic", "platelets", 30, 4, 29, 5), ("plasmic", "reticulocyte_percent", 2.5, 4, 2.6, 5),
        ("plasmic", "bilirubin", 2.1, 4, 2.2, 5), ("plasmic", "direct_bilirubin", 0.4, 4, 0.3, 5, {"bilirubin": 2.4}),
        ("plasmic", "mcv", 90, 4, 89, 5), ("plasmic", "inr", 1.4, 4, 1.5, 3), ("plasmic", "creatinine", 1.9, 4, 2, 3),
        ("kdigo_aki_stage", "creatinine", 1.29, 0, 1.3, 1), ("kdigo_aki_stage", "creatinine", 1.99, 1, 2, 2),
        ("kdigo_aki_stage", "creatinine", 2.99, 2, 3, 3),
        ("kdigo_aki_stage", "creatinine", 2.29, 0, 2.3, 1, {"baseline_creatinine": 2}),
        ("kdigo_aki_stage", "creatinine", 0.59, 0, 0.6, 1, {"baseline_creatinine": 0.4}),
        ("kdigo_aki_stage", "creatinine", 3.99, 1, 4, 3, {"baseline_creatinine": 3.5}),
        ("kdigo_aki_stage", "creatinine", 4.19, 0, 4.2, 3, {"baseline_creatinine": 3.9}),
        ("kdigo_aki_stage", "baseline_creatinine", 0.7, 0, 0.6, 1, {"creatinine": 0.9}),
        ("kdigo_aki_stage", "urine_output_ml_kg_h", 0.5, 0, 0.49, 1),
        ("ra_2010", "large_joints", 1, 0, 2, 1), ("ra_2010", "small_joints", 0, 0, 1, 2),
        ("ra_2010", "small_joints", 3, 2, 4, 3), ("ra_2010", "large_joints", 9, 2, 10, 5, {"small_joints": 1}),
        *(("ra_2010", one, limit(one), 0, limit(one, 1, 1), 2) for one in ("rheumatoid_factor", "anti_ccp")),
        *(("ra_2010", one, limit(one, 3), 2, limit(one, 3, 1), 3) for one in ("rheumatoid_factor", "anti_ccp")),
        *(("ra_2010", one, limit(one), 0, limit(one, 1, 1), 1) for one in ("crp", "esr")),
        ("sle_2019", "temperature", 38.3, 0, 38.4, 2, ANA), ("sle_2019", "leukocytes", 4, 0, 3.9, 3, ANA),
        ("sle_2019", "platelets", 100, 0, 99, 4, ANA), ("sle_2019", "urine_protein_creatinine", 500, 0, 501, 4, ANA),
        *(("sle_2019", one, KNOWN.analytes[one].reference[0], 0, KNOWN.analytes[one].reference[0] - 1, 3, ANA)
          for one in ("complement_c3", "complement_c4")),
        ("sle_2019", "complement_c3", KNOWN.analytes["complement_c3"].reference[0], 3, 9, 4, ANA | {"complement_c4": 5}),
        *(("burch_wartofsky", "temperature", at - TINY, 5 * place, at, 5 * place + 5)
          for place, at in enumerate((F99, F100, F101, F102, F103, F104))),
        *(("burch_wartofsky", "heart_rate", at - 1, 5 * place, at, 5 * place + 5)
          for place, at in enumerate((90, 110, 120, 130, 140))),
        ("meld_3", "bilirubin", 1.1, 6, 1.2, 7), ("meld_3", "inr", 1, 6, 1.1, 7), ("meld_3", "creatinine", 1, 6, 1.1, 7),
        ("meld_3", "sodium", 137, 6, 136, 7), ("meld_3", "albumin", 3.5, 6, 3, 7),
        ("meld_na_2016", "creatinine", 1, 6, 1.1, 7), ("meld_na_2016", "inr", 1, 6, 1.1, 7),
        ("meld_na_2016", "bilirubin", 1.1, 7, 1.2, 7), ("meld_na_2016", "sodium", 120, 6, 137, 6),
        ("meld", "creatinine", 1, 6, 1.1, 7), ("meld", "inr", 1, 6, 1.1, 7), ("meld", "bilirubin", 1.1, 7, 1.4, 8),
        ("metabolic_acidosis_compensation", "paco2", 23.9, 0, 24, 1, ACIDOSIS),
        ("metabolic_acidosis_compensation", "paco2", 28, 1, 28.1, 2, ACIDOSIS),
        ("metabolic_acidosis_compensation", "bicarbonate", 12, 1, 11, 2, {"paco2": 28}),
        ("metabolic_alkalosis_compensation", "paco2", 44.9, 0, 45, 1, ALKALOSIS),
        ("metabolic_alkalosis_compensation", "paco2", 49, 1, 49.1, 2, ALKALOSIS),
        ("metabolic_alkalosis_compensation", "paco2", 52.9, 0, 53, 1, SEVERE_ALKALOSIS),
        ("metabolic_alkalosis_compensation", "paco2", 57, 1, 57.1, 2, SEVERE_ALKALOSIS),
        ("metabolic_alkalosis_compensation", "bicarbonate", 34, 1, 35, 0, {"paco2": 45}),
        ("delta_ratio_grade", "chloride", 110.1, 0, 110, 1, GAP), ("delta_ratio_grade", "chloride", 104.1, 1, 104, 2, GAP),
        ("delta_ratio_grade", "chloride", 94, 2, 93.9, 3, GAP),
        ("delta_ratio_grade", "sodium", 135.9, 0, 136, 1, {"bicarbonate": 14, "chloride": 106}),
        ("delta_ratio_grade", "bicarbonate", 23, 2, 23.1, 3, {"sodium": 140, "chloride": 103}),
        ("gcs_severity", "gcs", 8, 8, 9, 9), ("gcs_severity", "gcs", 12, 12, 13, 13),
        *((name, *row) for name in ("news2_scale_2", "news2") for row in (
            ("respiratory_rate", 8, 3, 9, 1), ("respiratory_rate", 11, 1, 12, 0), ("respiratory_rate", 20, 0, 21, 2),
            ("respiratory_rate", 24, 2, 25, 3), ("systolic_bp", 111, 0, 110, 1), ("systolic_bp", 101, 1, 100, 2),
            ("systolic_bp", 91, 2, 90, 3), ("systolic_bp", 219, 0, 220, 3), ("heart_rate", 40, 3, 41, 1),
            ("heart_rate", 50, 1, 51, 0), ("heart_rate", 90, 0, 91, 1), ("heart_rate", 110, 1, 111, 2),
            ("heart_rate", 130, 2, 131, 3), ("gcs", 15, 0, 14, 3), ("temperature", 35, 3, 35.1, 1),
            ("temperature", 36, 1, 36.1, 0), ("temperature", 38, 0, 38.1, 1), ("temperature", 39, 1, 39.1, 2))),
        ("news2_scale_2", "spo2", 83, 3, 84, 2), ("news2_scale_2", "spo2", 85, 2, 86, 1),
        ("news2_scale_2", "spo2", 87, 1, 88, 0), ("news2_scale_2", "spo2", 92, 0, 93, 0),
        ("news2_scale_2", "spo2", 92, 2, 93, 3, {"fio2": 28}), ("news2_scale_2", "spo2", 94, 3, 95, 4, {"fio2": 28}),
        ("news2_scale_2", "spo2", 96, 4, 97, 5, {"fio2": 28}), ("news2_scale_2", "fio2", 21, 0, 22, 5),
        *((name, *row) for name in ("ranson_48h", "ranson") for row in (
            ("haematocrit_fall", 10, 0, 10.1, 1), ("bun_rise", 5, 0, 5.1, 1), ("calcium", 8, 0, 7.9, 1),
            ("pao2", 60, 0, 59, 1), ("base_excess", -4, 0, -4.1, 1), ("fluid_sequestration", 6, 0, 6.1, 1))),
        ("ranson", "age", 55, 0, 56, 1), ("ranson", "leukocytes", 16, 0, 16.1, 1), ("ranson", "glucose", 200, 0, 201, 1),
        ("ranson", "ldh", 350, 0, 351, 1), ("ranson", "ast", 250, 0, 251, 1),
        *((name, *row) for name in ("ranson_gallstone_admission", "ranson_gallstone") for row in (
            ("age", 70, 0, 71, 1), ("leukocytes", 18, 0, 18.1, 1), ("glucose", 220, 0, 221, 1), ("ldh", 400, 0, 401, 1),
            ("ast", 250, 0, 251, 1))),
        *((name, *row) for name in ("ranson_gallstone_48h", "ranson_gallstone") for row in (
            ("haematocrit_fall", 10, 0, 10.1, 1), ("bun_rise", 2, 0, 2.1, 1), ("calcium", 8, 0, 7.9, 1),
            ("base_excess", -5, 0, -5.1, 1), ("fluid_sequestration", 4, 0, 4.1, 1))),
        ("atlanta_severity", "organ_failure_hours", 0, 0, 1, 1), ("atlanta_severity", "organ_failure_hours", 48, 1, 49, 2),
        ("atlanta_severity", "pancreatitis_complications", 0, 0, 1, 1),
        *(("who_anaemia_grade", "haemoglobin", at, grade, at - 0.1, grade + 1, {"age": age} | who)
          for age, who, limits in (
              (1, {}, (10.5, 10, 7)), (2, {}, (11, 10, 7)), (4.9, {}, (11, 10, 7)), (5, {}, (11.5, 11, 8)),
              (11.9, {}, (11.5, 11, 8)), (12, {}, (12, 11, 8)), (14.9, WOMAN, (12, 11, 8)), (15, WOMAN, (12, 11, 8)),
              (15, {}, (13, 11, 8)), (30, EXPECTING | {"gestational_weeks": 12}, (11, 10, 7)),
              (30, EXPECTING | {"gestational_weeks": 13}, (10.5, 10, 7)),
              (30, EXPECTING | {"gestational_weeks": 27}, (10.5, 10, 7)),
              (30, EXPECTING | {"gestational_weeks": 28}, (11, 10, 7)))
          for grade, at in enumerate(limits)),
        ("who_anaemia_grade", "age", 14.9, 0, 15, 1, {"haemoglobin": 12.5}),
        ("tumour_lysis_grade", "potassium", 5.9, 0, 6, 1, {"urate": 9}),
        ("tumour_lysis_grade", "phosphate", 4.4, 0, 4.5, 1, {"urate": 9}),
        ("tumour_lysis_grade", "urate", 7.9, 0, 8, 1, {"phosphate": 5}),
        ("tumour_lysis_grade", "calcium", 7.1, 0, 7, 1, {"urate": 9, "albumin": 4}),
        ("tumour_lysis_grade", "albumin", 3.9, 0, 4, 1, {"urate": 9, "calcium": 7}),
        ("tumour_lysis_grade", "ionised_calcium", 0.31, 0, 0.3, 1, {"urate": 9}),
        ("tumour_lysis_grade", "creatinine", 1.29, 1, 1.3, 2, LYSIS),
        ("tumour_lysis_grade", "creatinine", limit("creatinine", 1.5), 1, limit("creatinine", 1.5, 0.1), 2,
         LYSIS | {"baseline_creatinine": math.nan}),
        ("tumour_lysis_grade", "urine_output_ml_kg_h", 0.5, 1, 0.49, 2, LYSIS),
        ("gdm_ogtt", "fasting_glucose", 91, 0, 92, 1), ("gdm_ogtt", "glucose_1h", 179, 0, 180, 1),
        ("gdm_ogtt", "glucose_2h", 152, 0, 153, 1),
        ("pre_eclampsia_grade", "systolic_bp", 139, 0, 140, 1, BOTH),
        ("pre_eclampsia_grade", "second_systolic_bp", 139, 0, 140, 1, BOTH),
        ("pre_eclampsia_grade", "diastolic_bp", 89, 0, 90, 1, EXPECTING | {"second_diastolic_bp": 95}),
        ("pre_eclampsia_grade", "second_diastolic_bp", 89, 0, 90, 1, EXPECTING | {"diastolic_bp": 95}),
        ("pre_eclampsia_grade", "hours_between_readings", 3.9, 0, 4, 1, BOTH),
        ("pre_eclampsia_grade", "gestational_weeks", 19, 0, 20, 1, BOTH),
        ("pre_eclampsia_grade", "systolic_bp", 159, 1, 160, 3, BOTH | {"second_systolic_bp": 170}),
        ("pre_eclampsia_grade", "second_systolic_bp", 159, 1, 160, 3, BOTH | {"systolic_bp": 170}),
        ("pre_eclampsia_grade", "second_systolic_bp", 159, 0, 160, 3,
         BOTH | {"systolic_bp": 170, "hours_between_readings": 0.1}),
        ("pre_eclampsia_grade", "diastolic_bp", 109, 1, 110, 3, EXPECTING | {"second_diastolic_bp": 115}),
        ("pre_eclampsia_grade", "second_diastolic_bp", 109, 1, 110, 3, EXPECTING | {"diastolic_bp": 115}),
        ("pre_eclampsia_grade", "urine_protein_24h", 299, 1, 300, 2, BOTH),
        ("pre_eclampsia_grade", "urine_protein_creatinine", 299, 1, 300, 2, BOTH),
        ("pre_eclampsia_grade", "platelets", 100, 1, 99, 3, BOTH),
        ("pre_eclampsia_grade", "creatinine", 1.1, 1, 1.2, 3, BOTH),
        ("pre_eclampsia_grade", "creatinine", 0.9, 1, 1, 3, BOTH | {"baseline_creatinine": 0.5}),
        ("pre_eclampsia_grade", "baseline_creatinine", 0.6, 1, 0.5, 3, BOTH),
        *(("pre_eclampsia_grade", one, limit(one, 2, -1), 1, limit(one, 2), 3, BOTH) for one in ("ast", "alt")),
        ("st_elevation_criteria", "st_v2", 1.9, 0, 2, 1, {"st_v1": 1}), ("st_elevation_criteria", "st_v1", 0.9, 0, 1, 1, {"st_v2": 2}),
        ("st_elevation_criteria", "st_v3", 1.9, 0, 2, 1, {"st_v2": 2}), ("st_elevation_criteria", "st_v3", 1.9, 0, 2, 1, {"st_v4": 1}),
        ("st_elevation_criteria", "st_v3", 2.4, 0, 2.5, 1, {"st_v2": 2.5, "age": 39}),
        ("st_elevation_criteria", "age", 39, 0, 40, 1, {"st_v2": 2.4, "st_v3": 2.4}),
        ("st_elevation_criteria", "st_v3", 1.4, 0, 1.5, 1, {"st_v2": 1.5, **WOMAN}),
        ("st_elevation_criteria", "st_v3", 1.4, 0, 1.5, 1, {"st_v2": 1.5, "age": 39, **WOMAN}),
        *(("st_elevation_criteria", f"st_{one}", 0.9, 0, 1, 1, {f"st_{other}": 1})
          for one, other in map(str.split, ("v4 v5", "v5 v6", "v6 v5", "i avl", "avl i", "ii iii", "iii avf", "avf ii"))),
        ("qtc_grade", "qtc", 449, 0, 450, 1), ("qtc_grade", "qtc", 459, 0, 460, 1, WOMAN), ("qtc_grade", "qtc", 500, 1, 501, 2),
        *(("blood_pressure_category", "systolic_bp", *row, LOW)
          for row in ((119, 0, 120, 1), (129, 1, 130, 2), (139, 2, 140, 3), (180, 3, 181, 4))),
        *(("blood_pressure_category", "diastolic_bp", *row, LOW) for row in ((79, 0, 80, 2), (89, 2, 90, 3), (120, 3, 121, 4))),
        *(("blood_pressure_category_esc", "systolic_bp", *row, LOW) for row in ((119, 0, 120, 1), (139, 1, 140, 2))),
        *(("blood_pressure_category_esc", "diastolic_bp", *row, LOW) for row in ((69, 0, 70, 1), (89, 1, 90, 2))),
        ("gold_grade", "fev1_fvc", 0.7, 0, 0.69, 1), ("gold_grade", "fev1_fvc", 0.7, 0, 0.69, 4, {"fev1_percent": 20}),
        *(("gold_grade", "fev1_percent", *row, COPD) for row in ((80, 1, 79, 2), (50, 2, 49, 3), (30, 3, 29, 4))),
        ("gold_group", "mmrc_dyspnoea", 1, 1, 2, 2), ("gold_group", "copd_assessment_test", 9, 1, 10, 2),
        ("gold_group", "copd_exacerbations_year", 1, 1, 2, 3), ("gold_group", "copd_admissions_year", 0, 1, 1, 3),
        ("gold_group", "copd_exacerbations_year", 1, 2, 2, 3, {"mmrc_dyspnoea": 4}),
        ("airflow_variability", "pef_variability", 10, 0, 10.1, 1), ("airflow_variability", "pef_variability", 13, 0, 13.1, 1, {"age": 11}),
        ("airflow_variability", "age", 11, 0, 12, 1, {"pef_variability": 12}),
        ("airflow_variability", "fev1_gain_percent", 12, 0, 13, 1, {"fev1_gain_ml": 300}),
        ("airflow_variability", "fev1_gain_ml", 200, 0, 201, 1, {"fev1_gain_percent": 20}),
        ("airflow_variability", "age", 11, 0, 12, 1, {"fev1_gain_percent": 20, "fev1_gain_ml": 300}),
        ("dka_severity", "ph", 7.3, 0, 7.29, 1), ("dka_severity", "ph", 7.26, 1, 7.25, 2), ("dka_severity", "ph", 7, 2, 6.99, 3),
        ("dka_severity", "bicarbonate", 18, 0, 17, 1), ("dka_severity", "bicarbonate", 15, 1, 14, 2),
        ("dka_severity", "bicarbonate", 10, 2, 9, 3), ("dka_severity", "beta_hydroxybutyrate", 6, 0, 6.1, 3),
        ("hypoglycaemia_level", "glucose", 70, 0, 69, 1), ("hypoglycaemia_level", "glucose", 54, 1, 53, 2),
        *(("hypoglycaemia_level", "glucose", 70, 0, 69, 3, {one: 1.0}) for one in ("seizure", "coma", "altered_mental_status")),
        ("hypoglycaemia_level", "gcs", 15, 1, 14, 3, {"glucose": 60}),
        ("subclinical_hypothyroidism_grade", "tsh", limit("tsh"), 0, limit("tsh", 1, 0.01), 1),
        ("subclinical_hypothyroidism_grade", "tsh", 10, 1, 10.01, 2),
        ("subclinical_hypothyroidism_grade", "free_t4", 0.7, 0, 0.8, 2, {"tsh": 20}),
        ("subclinical_hypothyroidism_grade", "free_t4", limit("free_t4"), 1, limit("free_t4", 1, 0.1), 0, {"tsh": 6}),
        ("dexamethasone_suppression_grade", "dst_cortisol", 1.8, 0, 1.9, 1),
        ("dexamethasone_suppression_grade", "dst_cortisol", 5, 1, 5.1, 2),
        *(("hyponatraemia_grade", "sodium", at, grade, at - 1, grade + 1) for grade, at in enumerate((135, 130, 125))),
        *(("hypokalaemia_grade", "potassium", at, grade, at - 0.1, grade + 1) for grade, at in enumerate((3.5, 3, 2.5))),
        *(("hyperkalaemia_grade", "potassium", at - 0.1, grade, at, grade + 1) for grade, at in enumerate((5.5, 6, 6.5))),
        ("hypercalcaemia_grade", "calcium", 10.5, 0, 10.6, 1, CALM), ("hypercalcaemia_grade", "calcium", 11.9, 1, 12, 2, CALM),
        ("hypercalcaemia_grade", "calcium", 13.9, 2, 14, 3, CALM), ("hypercalcaemia_grade", "albumin", 4, 1, 3.5, 2, {"calcium": 11.6}),
        ("hypomagnesaemia_grade", "magnesium", 1.7, 0, 1.6, 1), ("hypomagnesaemia_grade", "magnesium", 1.2, 1, 1.1, 2),
        ("hypophosphataemia_grade", "phosphate", 2.5, 0, 2.4, 1), ("hypophosphataemia_grade", "phosphate", 1, 1, 0.9, 2),
        *(("kdigo_gfr_category", "egfr_ckdepi_2021", at, place, at - 0.1, place + 1)
          for place, at in enumerate((90, 60, 45, 30, 15), 1)),
        ("kdigo_gfr_category", "creatinine", 1, 1, 1.1, 2), ("kdigo_gfr_category", "age", 50, 1, 60, 2),
        ("kdigo_albuminuria_category", "urine_albumin_creatinine", 29, 1, 30, 2),
        ("kdigo_albuminuria_category", "urine_albumin_creatinine", 300, 2, 301, 3),
    ]
]  # fmt: skip


@pytest.mark.parametrize(("name", "fact", "one", "points", "other", "others", "more"), SIDES)
def test_both_sides_of_a_threshold(
    name: str, fact: str, one: float, points: float, other: float, others: float, more: dict[str, float]
) -> None:
    assert score(name, **{**more, fact: one}).value == points
    assert score(name, **{**more, fact: other}).value == others


# Findings that are there, and what the score is then. What a word stands for is in brackets: "female" changes the sex.
THERE = {
    "wells_pe": """unilateral_leg_swelling 0; calf_tenderness 0; unilateral_leg_swelling calf_tenderness 3;
        pe_most_likely 3; immobilisation 1.5; recent_surgery 1.5; immobilisation recent_surgery 1.5;
        venous_thromboembolism_history 1.5; haemoptysis 1; cancer_active 1""",
    "wells_dvt": """cancer_active 1; leg_paralysis_or_cast 1; immobilisation 1; recent_surgery 1;
        immobilisation recent_surgery 1; calf_tenderness 1; entire_leg_swelling 1; calf_swelling_over_3_cm 1;
        pitting_oedema_one_leg 1; collateral_superficial_veins 1; venous_thromboembolism_history 1;
        dvt_alternative_likely -2; dvt_alternative_likely calf_tenderness -1""",
    "perc": """unilateral_leg_swelling 1; haemoptysis 1; recent_surgery 1; trauma_recent 1;
        recent_surgery trauma_recent 1; venous_thromboembolism_history 1; female hormonal_contraception 1;
        female hormone_replacement 1""",
    "cha2ds2_vasc": """heart_failure_history 1; hypertension 1; diabetes 1; stroke_history 2; tia_history 2;
        stroke_history tia_history 2; vascular_disease_history 1; peripheral_artery_disease_history 1; female 1""",
    "has_bled": """dialysis 1; transplant_history 1; dialysis transplant_history 1; cirrhosis_history 1;
        stroke_history 1; bleeding_history 1; labile_inr 1; antiplatelet 1; nsaid 1; aspirin_use nsaid 1;
        alcohol_excess 1""",
    "heart_score": """history_moderately_suspicious 1; history_highly_suspicious 2; st_depression 2;
        ecg_nonspecific_repolarisation 1; t_wave_inversion 1; st_depression t_wave_inversion 2; coronary_disease 2;
        stroke_history 2; peripheral_artery_disease_history 2; hypertension 1; hypercholesterolaemia 1; diabetes 1;
        obesity 1; smoking 1; family_history_early_cardiac 1; smoking diabetes 1; smoking diabetes obesity 2;
        smoking diabetes coronary_disease 2""",
    "timi_ua_nstemi": """hypertension diabetes 0; hypertension diabetes smoking 1;
        hypercholesterolaemia family_history_early_cardiac smoking 1; coronary_stenosis 1; aspirin_use 1;
        recurrent_angina_24h 1; st_elevation 1; st_depression 1""",
    "curb65": "confusion 1; delirium 1",
    "psi": """female 30; nursing_home 50; cancer_active 70; cirrhosis_history 60; liver_disease_history 60;
        heart_failure_history 50; stroke_history 50; chronic_kidney_disease_history 50; altered_mental_status 60;
        cxr_pleural_effusion 50""",
    "qsofa": "altered_mental_status 1; confusion 1",
    "sofa": """vasopressor_low_dose 2; vasopressor_medium_dose 3; vasopressor_high_dose 4; mechanical_ventilation 0""",
    "news2": "altered_mental_status 3; supplemental_oxygen 2",
    "news2_scale_2": "altered_mental_status 3; supplemental_oxygen 5",
    "tumour_lysis_grade": "seizure 0; ecg_arrhythmia_new 0",
    "centor_mcisaac": "tonsillar_exudate 2; tender_cervical_nodes 2; cough 0",
    "bisap": "cxr_pleural_effusion 1; altered_mental_status 1",
    "alvarado": """pain_migration_to_rlq 1; anorexia 1; nausea 1; vomiting 1; nausea vomiting 1;
        right_lower_quadrant_tenderness 2; rebound_tenderness 1""",
    "glasgow_blatchford": """melaena 1; syncope 2; cirrhosis_history 2; liver_disease_history 2;
        heart_failure_history 2""",
    "child_pugh": "ascites 6; moderate_ascites 7; hepatic_encephalopathy 6; severe_hepatic_encephalopathy 7",
    "plasmic": "haptoglobin_undetectable 5; cancer_active 3; transplant_history 3",
    "kdigo_aki_stage": "low_urine_output_12h 2; low_urine_output_24h 3; anuria_12h 3; dialysis_for_aki 3",
    "ra_2010": "symptoms_over_6_weeks 1; symptoms_over_3_months 1",
    "sle_2019": """acute_cutaneous_lupus 0; ana_positive 0; ana_positive autoimmune_haemolysis 4;
        ana_positive delirium 2; ana_positive psychosis 3; ana_positive seizure 5;
        ana_positive seizure psychosis delirium 5; ana_positive non_scarring_alopecia 2; ana_positive oral_ulcers 2;
        ana_positive subacute_or_discoid_lupus 4; ana_positive acute_cutaneous_lupus 6;
        ana_positive acute_cutaneous_lupus oral_ulcers 6; ana_positive cxr_pleural_effusion 5;
        ana_positive pericardial_effusion 5; ana_positive acute_pericarditis_present 6;
        ana_positive inflammatory_joints 6; ana_positive lupus_nephritis_class_2_or_5 8;
        ana_positive lupus_nephritis_class_3_or_4 10; ana_positive antiphospholipid_positive 2;
        ana_positive anti_dsdna_positive 6; ana_positive anti_sm_positive 6;
        ana_positive anti_dsdna_positive anti_sm_positive 6""",
    "burch_wartofsky": """atrial_fibrillation_present 10; absent_p_waves 0; absent_p_waves irregular_rr 10;
        peripheral_oedema 5; pulmonary_crackles 10; cxr_pulmonary_oedema 15; peripheral_oedema cxr_pulmonary_oedema 15;
        agitation 10; delirium 20; psychosis 20; seizure 30; coma 30; agitation seizure 30; diarrhoea 10; nausea 10;
        vomiting 10; abdominal_pain 10; jaundice 20; jaundice nausea 20; thyroid_storm_precipitant 10""",
    "meld_3": "female 7; dialysis 18",
    "meld_na_2016": "dialysis 20",
    "meld": "dialysis 20",
}  # fmt: skip


def there() -> Iterator[tuple[str, str, float]]:
    for name, rows in THERE.items():
        for row in rows.split(";"):
            *words, points = row.split()
            yield name, " ".join(words), float(points)


@pytest.mark.parametrize(("name", "words", "points"), list(there()))
def test_points_of_findings(name: str, words: str, points: float) -> None:
    facts = dict.fromkeys(words.split(), 1.0)
    if "female" in facts:
        facts["male"] = 0.0
    assert score(name, **facts).value == points


# The same in patients who are not well.
IN_THE_ILL: list[tuple[str, dict[str, float], dict[str, float]]] = [
    ("tumour_lysis_grade", LYSIS, {"seizure": 2, "ecg_arrhythmia_new": 2}),
    ("pre_eclampsia_grade", BOTH, {
        "hypertension": 0, "cxr_pulmonary_oedema": 3, "new_visual_disturbance": 3, "severe_headache_unresponsive": 3,
        "severe_epigastric_or_ruq_pain_pregnancy": 3, "urine_protein_positive": 1}),
    ("pre_eclampsia_grade", BOTH | {"urine_protein_24h": math.nan, "urine_protein_creatinine": math.nan},
     {"urine_protein_positive": 2}),
    ("pre_eclampsia_grade", {"systolic_bp": 170, "second_systolic_bp": 170} | EXPECTING, {"hypertension": 0}),
]  # fmt: skip


@pytest.mark.parametrize(("name", "more", "findings"), IN_THE_ILL)
def test_points_of_findings_in_the_ill(name: str, more: dict[str, float], findings: dict[str, float]) -> None:
    for finding, points in findings.items():
        assert score(name, **more, **{finding: 1.0}).value == points, finding


def test_a_woman_who_is_not_pregnant_has_no_hypertension_of_pregnancy() -> None:
    assert score("pre_eclampsia_grade", **BOTH).value == 1
    assert score("pre_eclampsia_grade", **(BOTH | {PREGNANT: 0.0})).value == 0


def test_calcium_is_taken_as_it_is_where_albumin_is_not_known() -> None:
    lysis = {"urate": 9.0, "albumin": math.nan}
    assert score("tumour_lysis_grade", **lysis, calcium=7.0).value == 1
    assert score("tumour_lysis_grade", **lysis, calcium=7.1).value == 0


def test_the_tables_leave_no_item_out() -> None:
    seen: dict[str, set[str]] = {name: set() for name in KNOWN.scores}
    for name, more, findings in IN_THE_ILL:
        seen[name] |= {*more, *findings}
    for name, fact, *_, more in SIDES:
        seen[name] |= {fact, *more}
    for name, words, _ in there():
        seen[name] |= set(closed(dict.fromkeys(words.split(), 1.0), KNOWN))
    for name in KNOWN.scores:
        assert set(looks_at(name, KNOWN)) - seen[name] - set(KNOWN.formulas) - set(PERSON) == set(), name


@pytest.mark.parametrize("name", KNOWN.scores)
def test_bands_on_both_sides(name: str) -> None:
    starts = sorted((start, band) for band, start in KNOWN.scores[name].bands.items())
    assert not starts or starts[0][0] == KNOWN.scores[name].range[0]
    for place, (start, band) in enumerate(starts):
        assert compute(name, {name: start}, KNOWN).band == band
        if place:
            assert compute(name, {name: start - 0.5}, KNOWN).band == starts[place - 1][1]


# --- what somebody else computed ----------------------------------------------------------------------------------
EXAMPLES: list[tuple[str, dict[str, Fact], float]] = [
    # Manchester's and OPTN's examples of MELD, and others of the pages that stand at the scores' sources
    ("meld_3", {"male": 1, "bilirubin": 2, "creatinine": 1.5, "inr": 1.5, "sodium": 137, "albumin": 3}, 18),
    ("meld_initial", {"bilirubin": 2, "creatinine": 1.5, "inr": 1.5}, 17),
    ("meld", {"bilirubin": 2, "creatinine": 1.5, "inr": 1.5}, 17),
    # of Compensation-for-Acid-Base-Disorders: pCO2 60 and 20 mmHg
    ("respiratory_bicarbonate_acute", {"paco2": 60}, 26), ("respiratory_bicarbonate_acute", {"paco2": 20}, 20),
    ("respiratory_bicarbonate_chronic", {"paco2": 60}, 31), ("respiratory_bicarbonate_chronic", {"paco2": 20}, 16),
    ("meld_initial", {"bilirubin": 2, "creatinine": 1.2, "inr": 1.5}, 15),
    ("meld_na_2016", {"bilirubin": 2, "creatinine": 1.2, "inr": 1.5, "sodium": 135}, 17),
    ("meld_initial", {"bilirubin": 1.5, "creatinine": 1, "inr": 1.5}, 13),
    ("meld_na_2016", {"bilirubin": 1.5, "creatinine": 1, "inr": 1.5, "sodium": 135}, 15),
    ("isth_dic", {"platelets": 60, "d_dimer": 9000, "prothrombin_time": 17, "fibrinogen": 120}, 5),
    ("anion_gap", {"sodium": 138, "chloride": 90, "bicarbonate": 16}, 32),
    ("corrected_calcium", {"calcium": 8, "albumin": 2.5}, 9.2),
    ("shock_index", {"heart_rate": 110, "systolic_bp": 90}, 1.2222),
    ("ldl_friedewald", {"total_cholesterol": 230, "hdl": 47, "triglycerides": 123}, 158.4),
    ("bmi", {"weight_kg": 70, "height_cm": 175}, 22.857),
    # by hand
    ("map", {"systolic_bp": 120, "diastolic_bp": 80}, 93.333),
    ("pao2_fio2", {"pao2": 60, "fio2": 40}, 150),
    ("winters_pco2", {"bicarbonate": 12}, 26),
    ("delta_ratio", {"sodium": 140, "chloride": 100, "bicarbonate": 16}, 1.5),
    ("calculated_osmolality", {"sodium": 140, "glucose": 90, "bun": 14}, 290),
    ("osmolar_gap", {"sodium": 140, "glucose": 90, "bun": 14, "serum_osmolality": 320}, 30),
    ("osmolar_gap_ethanol", {"sodium": 140, "glucose": 90, "bun": 14, "serum_osmolality": 320, "ethanol": 92}, 10),
    ("effective_osmolality", {"sodium": 140, "glucose": 900}, 330),
    ("corrected_sodium", {"sodium": 130, "glucose": 600}, 138),
    ("corrected_sodium", {"sodium": 140, "glucose": 60}, 140),
    ("fena", {"urine_sodium": 40, "creatinine": 2, "sodium": 140, "urine_creatinine": 50}, 1.142857),
    ("saag", {"albumin": 3.1, "ascites_albumin": 1.2}, 1.9),
    ("alveolar_arterial_gradient", {"fio2": 21, "paco2": 40, "pao2": 90}, 9.73),
    ("fib4", {"age": 50, "ast": 40, "platelets": 200, "alt": 25}, 2),
    ("rumack_matthew_line", {"hours_since_ingestion": 4}, 150),
    ("rumack_matthew_line", {"hours_since_ingestion": 8}, 75),
    ("transferrin_saturation_computed", {"iron": 30, "tibc": 400}, 7.5),
    ("anion_gap_corrected", {"sodium": 140, "chloride": 105, "bicarbonate": 24, "albumin": 2}, 16),
    ("qtc_bazett", {"qt_interval": 400, "heart_rate": 75}, 447.2136),
    ("qtc_fridericia", {"qt_interval": 400, "heart_rate": 75}, 430.8869),
    ("qtc_framingham", {"qt_interval": 400, "heart_rate": 75}, 430.8),
    ("qtc_hodges", {"qt_interval": 400, "heart_rate": 75}, 426.25),
    ("metabolic_alkalosis_pco2", {"bicarbonate": 34}, 47), ("respiratory_bicarbonate_acute", {"paco2": 40}, 24),
    ("gcs_sum", {"gcs_eye": 1, "gcs_verbal": 1, "gcs_motor": 1}, 3),
    ("gcs_sum", {"gcs_eye": 3, "gcs_verbal": 4, "gcs_motor": 6}, 13),
    ("who_anaemia_limit", {"age": 0.5, "male": 1}, 10.5), ("who_anaemia_limit", {"age": 40, "male": 1}, 13),
    ("who_anaemia_limit", {"age": 40, "female": 1}, 12), ("who_anaemia_limit", {"age": 30, "pregnant": 1, "female": 1}, 10.5),
    ("ranson", {"age": 60, "leukocytes": 17, "glucose": 250, "ldh": 360, "ast": 300, "haematocrit_fall": 12, "bun_rise": 6,
                "calcium": 7, "pao2": 50, "base_excess": -5, "fluid_sequestration": 7}, 11),
    ("ranson_gallstone", {"age": 71, "leukocytes": 19, "glucose": 230, "ldh": 410, "ast": 260, "haematocrit_fall": 12,
                          "bun_rise": 3, "calcium": 7, "base_excess": -6, "fluid_sequestration": 5}, 10),
]  # fmt: skip


@pytest.mark.parametrize(("name", "facts", "answer"), EXAMPLES)
def test_worked_examples(name: str, facts: dict[str, Fact], answer: float) -> None:
    value = compute(name, facts, KNOWN).value
    assert value is not None
    assert math.isclose(value, answer, abs_tol=1e-3)


@pytest.mark.parametrize("formula", ["bazett", "fridericia", "framingham", "hodges"])
def test_qt_is_qtc_at_sixty_beats_a_minute(formula: str) -> None:
    assert compute(f"qtc_{formula}", {"qt_interval": 412, "heart_rate": 60}, KNOWN).value == pytest.approx(412)


CONTIGUOUS = {
    *map(frozenset, itertools.combinations(("ii", "iii", "avf"), 2)), frozenset({"i", "avl"}),
    *(frozenset({f"v{number}", f"v{number + 1}"}) for number in range(1, 6)),
}  # fmt: skip


@pytest.mark.parametrize("pair", list(itertools.combinations(LEADS, 2)))
def test_st_elevation_counts_in_contiguous_leads(pair: tuple[str, str]) -> None:
    levels = {f"st_{lead}": 3.0 for lead in pair}
    assert score("st_elevation_criteria", **levels).value == float(frozenset(pair) in CONTIGUOUS)
    assert compute("st_elevation_criteria", {"male": 1, **levels}, KNOWN).low == float(frozenset(pair) in CONTIGUOUS)
    assert score("st_elevation_criteria", **{f"st_{pair[0]}": 3.0}).value == 0


def test_calcium_is_corrected_where_albumin_is_known() -> None:
    assert compute("hypercalcaemia_grade", {"calcium": 11.9}, KNOWN).value == 1
    assert compute("hypercalcaemia_grade", {"calcium": 12}, KNOWN).value == 2
    assert compute("hypercalcaemia_grade", {"calcium": 12, "albumin": 4.5}, KNOWN).value == 1


def test_one_of_two_tests_is_enough() -> None:
    quiet: dict[str, Fact] = {"copd_exacerbations_year": 0, "copd_admissions_year": 0}
    assert compute("gold_group", quiet | {"mmrc_dyspnoea": 1}, KNOWN).band == "A"
    assert compute("gold_group", quiet | {"mmrc_dyspnoea": 2}, KNOWN).band == "B"
    assert compute("gold_group", quiet | {"copd_assessment_test": 9}, KNOWN).band == "A"
    assert compute("gold_group", quiet | {"copd_assessment_test": 10, "mmrc_dyspnoea": 0}, KNOWN).band == "B"
    assert compute("gold_group", quiet, KNOWN).band is None
    assert compute("gold_group", {"copd_admissions_year": 1}, KNOWN).band == "E"
    assert compute("airflow_variability", {"age": 30, "pef_variability": 11}, KNOWN).band == "excessive"
    assert compute("dka_severity", {"ph": 6.9}, KNOWN).band == "severe"
    assert compute("qtc_grade", {"qtc": 455}, KNOWN).band is None  # prolonged in a man
    assert compute("qtc_grade", {"qtc": 460}, KNOWN).band == "prolonged"


# --- any patient --------------------------------------------------------------------------------------------------
def at(value: float, *steps: tuple[float, int], otherwise: int = 0) -> int:
    """The points of the first step that a value does not exceed."""
    return next((points for end, points in steps if value <= end), otherwise)


def news2(p: dict[str, float]) -> float:
    return (
        at(p["respiratory_rate"], (8, 3), (11, 1), (20, 0), (24, 2), otherwise=3)
        + at(p["spo2"], (91, 3), (93, 2), (95, 1))
        + (2 if p["fio2"] > 21 or p["supplemental_oxygen"] else 0)
        + at(p["systolic_bp"], (90, 3), (100, 2), (110, 1), (219, 0), otherwise=3)
        + at(p["heart_rate"], (40, 3), (50, 1), (90, 0), (110, 1), (130, 2), otherwise=3)
        + (3 if p["gcs"] < 15 else 0)
        + at(p["temperature"], (35, 3), (36, 1), (38, 0), (39, 1), otherwise=2)
    )


def news2_scale_2(p: dict[str, float]) -> float:
    on_oxygen = p["fio2"] > 21 or p["supplemental_oxygen"]
    first = at(p["spo2"], (91, 3), (93, 2), (95, 1))
    high = at(p["spo2"], (92, 0), (94, 1), (96, 2), otherwise=3) if on_oxygen else 0
    return news2(p) - first + (at(p["spo2"], (83, 3), (85, 2), (87, 1)) or high)


def sofa(p: dict[str, float]) -> float:
    ratio, pressure = 100 * p["pao2"] / p["fio2"], (p["systolic_bp"] + 2 * p["diastolic_bp"]) / 3
    breathing = 0 if ratio >= 400 else 1 if ratio >= 300 else 2
    if p["mechanical_ventilation"] and ratio < 200:
        breathing = 4 if ratio < 100 else 3
    doses = [p["vasopressor_high_dose"], p["vasopressor_medium_dose"], p["vasopressor_low_dose"], pressure < 70]
    urine = p["urine_output_ml_day"]
    return (
        breathing
        + at(-p["platelets"], (-150, 0), (-100, 1), (-50, 2), (-20, 3), otherwise=4)
        + (5 - next(place for place, end in enumerate((12, 6, 2, 1.2, 0), 1) if p["bilirubin"] >= end))
        + next((points for points, there in zip((4, 3, 2, 1), doses, strict=True) if there), 0)
        + at(p["gcs"], (5, 4), (9, 3), (12, 2), (14, 1))
        + max(
            5 - next(place for place, end in enumerate((5, 3.5, 2, 1.2, 0), 1) if p["creatinine"] >= end),
            4 if urine < 200 else 3 if urine < 500 else 0,
        )
    )


def half_up(value: float) -> float:
    return math.floor(value + 0.5)


def meld_3(p: dict[str, float]) -> float:
    bilirubin, inr = max(p["bilirubin"], 1), max(p["inr"], 1)
    creatinine = 3.0 if p["dialysis"] else min(max(p["creatinine"], 1), 3)
    sodium, albumin = min(max(p["sodium"], 125), 137), min(max(p["albumin"], 1.5), 3.5)
    raw = (
        (1.33 if p["female"] else 0) + 4.56 * math.log(bilirubin) + 0.82 * (137 - sodium)
        - 0.24 * (137 - sodium) * math.log(bilirubin) + 9.09 * math.log(inr) + 11.14 * math.log(creatinine)
        + 1.85 * (3.5 - albumin) - 1.83 * (3.5 - albumin) * math.log(creatinine) + 6
    )  # fmt: skip
    return min(max(half_up(raw), 6), 40)


def meld_na(p: dict[str, float]) -> float:
    creatinine = 4.0 if p["dialysis"] else min(max(p["creatinine"], 1), 4)
    first = 0.957 * math.log(creatinine) + 0.378 * math.log(max(p["bilirubin"], 1)) + 1.12 * math.log(max(p["inr"], 1))
    meld = half_up(10 * (first + 0.643))
    sodium = min(max(p["sodium"], 125), 137)
    if meld > 11:
        meld = half_up(meld + 1.32 * (137 - sodium) - 0.033 * meld * (137 - sodium))
    return min(max(meld, 6), 40)


def egfr(p: dict[str, float]) -> float:
    kappa, alpha, factor = (0.7, -0.241, 1.012) if p["female"] else (0.9, -0.302, 1.0)
    ratio = p["creatinine"] / kappa
    return float(142 * min(ratio, 1) ** alpha * max(ratio, 1) ** -1.2 * 0.9938 ** p["age"] * factor)


BODY = {"age": (18.0, 95.0), "weight_kg": (40.0, 150.0), "height_cm": (140.0, 200.0)}


@st.composite
def patients(draw: st.DrawFn, name: str) -> dict[str, float]:
    """Everything that a score looks at, of somebody in whom nothing contradicts anything."""
    facts: dict[str, float] = {}
    for fact in (*looks_at(name, KNOWN), "age"):
        if fact in KNOWN.findings:
            facts[fact] = float(draw(st.booleans()))
        elif fact in KNOWN.analytes or fact in BODY:
            low, high, decimals = *BODY.get(fact, (0, 0)), 0
            if fact in KNOWN.analytes:
                one = KNOWN.analytes[fact]
                decimals = one.decimals
                low, high = max(one.limits[0], one.reference[0] / 4), min(one.limits[1], max(one.reference[1], 1) * 8)
            steps = 10**decimals
            facts[fact] = max(1, draw(st.integers(math.ceil(low * steps), math.floor(high * steps)))) / steps
        elif fact == PREGNANT:
            facts[fact] = float(draw(st.booleans()))
        elif fact in KNOWN.items:
            facts[fact] = draw(st.integers(*map(int, KNOWN.items[fact].limits)))
    facts = closed(facts, KNOWN)
    if "gcs" in facts:
        facts = closed(facts | {"altered_mental_status": float(facts["gcs"] < 15)}, KNOWN)
        if facts["gcs"] == 15:
            facts |= {fact: 0.0 for fact in facts if fact in KNOWN.findings and _clouds(fact)}
    female = float(draw(st.booleans()))
    facts |= {"female": female, "male": 1 - female}
    if PREGNANT in facts:
        facts[PREGNANT] *= female
    return facts | {one.id: 0.0 for one in KNOWN.findings.values() if one.id in facts and facts.get(one.sex) == 0}


def _clouds(finding: str) -> bool:
    return "altered_mental_status" in closed({finding: 1.0}, KNOWN)


REFERENCES: dict[str, Callable[[dict[str, float]], float]] = {
    "news2": news2, "news2_scale_2": news2_scale_2, "sofa": sofa, "meld_3": meld_3, "meld_na_2016": meld_na, "egfr_ckdepi_2021": egfr,
}  # fmt: skip


@pytest.mark.parametrize("name", REFERENCES)
@given(data=st.data())
def test_another_way_of_computing_it(name: str, data: st.DataObject) -> None:
    patient = data.draw(patients(name))
    value = compute(name, patient, KNOWN).value
    assert value is not None
    assert math.isclose(value, REFERENCES[name](patient), rel_tol=1e-9)


RISING = {
    "qtc_grade": "qtc", "blood_pressure_category": "systolic_bp diastolic_bp", "hyperkalaemia_grade": "potassium",
    "blood_pressure_category_esc": "systolic_bp diastolic_bp", "subclinical_hypothyroidism_grade": "tsh",
    "dexamethasone_suppression_grade": "dst_cortisol", "hypercalcaemia_grade": "calcium",
    "kdigo_gfr_category": "creatinine age", "kdigo_albuminuria_category": "urine_albumin_creatinine",
    "dka_severity": "beta_hydroxybutyrate",
    "kdigo_aki_stage": "creatinine", "sofa": "bilirubin creatinine", "curb65": "bun respiratory_rate age",
    "meld_3": "bilirubin inr creatinine", "meld_na_2016": "bilirubin inr creatinine", "news2": "fio2",
    "child_pugh": "bilirubin inr", "isth_dic": "d_dimer prothrombin_time", "psi": "age bun heart_rate glucose",
    "glasgow_blatchford": "bun heart_rate", "cha2ds2_vasc": "age", "has_bled": "creatinine systolic_bp age bilirubin",
    "heart_score": "age troponin_i", "timi_ua_nstemi": "age troponin_i", "ranson_admission": "age ldh ast glucose",
    "alvarado": "temperature leukocytes", "burch_wartofsky": "temperature heart_rate", "bisap": "bun age",
    "ra_2010": "small_joints large_joints crp anti_ccp", "calculated_osmolality": "sodium glucose bun",
    "qsofa": "respiratory_rate", "sirs": "heart_rate respiratory_rate band_percent", "wells_pe": "heart_rate",
    "centor_mcisaac": "temperature", "meld": "bilirubin inr creatinine", "metabolic_acidosis_compensation": "paco2",
    "metabolic_alkalosis_compensation": "paco2", "respiratory_bicarbonate_acute": "paco2", "gdm_ogtt": "fasting_glucose",
    "respiratory_bicarbonate_chronic": "paco2", "news2_scale_2": "fio2", "ranson": "age leukocytes",
    "ranson_gallstone": "age ldh", "gcs_severity": "gcs",
}  # fmt: skip
FALLING = {
    "gold_grade": "fev1_fvc fev1_percent", "dka_severity": "ph bicarbonate", "hypoglycaemia_level": "glucose",
    "hyponatraemia_grade": "sodium", "hypokalaemia_grade": "potassium", "hypomagnesaemia_grade": "magnesium",
    "hypophosphataemia_grade": "phosphate",
    "sofa": "platelets gcs systolic_bp pao2", "child_pugh": "albumin", "isth_dic": "platelets fibrinogen",
    "glasgow_blatchford": "haemoglobin systolic_bp", "news2": "spo2", "perc": "spo2", "plasmic": "platelets mcv inr",
    "egfr_ckdepi_2021": "creatinine age", "kdigo_aki_stage": "baseline_creatinine urine_output_ml_kg_h",
    "curb65": "systolic_bp diastolic_bp", "psi": "ph sodium haematocrit", "sle_2019": "leukocytes complement_c3",
    "qsofa": "systolic_bp gcs", "sirs": "paco2", "centor_mcisaac": "age", "ranson_48h": "calcium pao2",
    "ranson_gallstone_48h": "calcium", "who_anaemia_grade": "haemoglobin", "metabolic_acidosis_compensation":
    "bicarbonate",
}  # fmt: skip


@pytest.mark.parametrize("name", sorted({*RISING, *FALLING}))
@given(data=st.data())
def test_monotonous(name: str, data: st.DataObject) -> None:
    patient = data.draw(patients(name))
    before = compute(name, patient, KNOWN).value
    assert before is not None
    for table, sign in ((RISING, 1), (FALLING, -1)):
        for fact in table.get(name, "").split():
            low, high = KNOWN.analytes[fact].limits if fact in KNOWN.analytes else BODY[fact]
            more = min(high, max(low, patient[fact] + data.draw(st.sampled_from([0.1, 0.3, 1, 4, 20, 100]), fact)))
            later = patient | {fact: more}
            if "gcs" in later:
                clouded = float(later["gcs"] < 15)
                later |= {one: clouded for one in later if one == "altered_mental_status"}
            after = compute(name, later, KNOWN).value
            assert after is not None
            assert sign * after >= sign * before


@pytest.mark.parametrize("name", sorted({*RISING, *FALLING}))
def test_monotonous_in_the_well_patient_and_not_flat(name: str) -> None:
    more = {"sle_2019": ANA, "has_bled": {"ast": 500.0}, "gold_grade": COPD}.get(name, {})
    for table, sign in ((RISING, 1), (FALLING, -1)):
        for fact in table.get(name, "").split():
            low, high = BODY.get(fact, (0.0, 0.0))
            if fact in KNOWN.analytes:
                one = KNOWN.analytes[fact]
                low, high = max(one.limits[0], one.reference[0] / 8), min(one.limits[1], max(one.reference[1], 1) * 8)
            values = [low + (high - low) * step / 40 for step in range(41)]
            said = [compute(name, {**WELL, **NOTHING, **more, fact: value}, KNOWN).value for value in values]
            points = [sign * point for point in said if point is not None]
            assert points == sorted(points), fact
            assert points[0] < points[-1], fact


# A finding that is there only raises a score; these only lower it.
LOWERING = {
    "wells_dvt": "dvt_alternative_likely", "centor_mcisaac": "cough", "plasmic": "cancer_active transplant_history",
    "pre_eclampsia_grade": "hypertension",
}  # fmt: skip
FOUND = {name: [fact for fact in looks_at(name, KNOWN) if fact in KNOWN.findings] for name in KNOWN.scores}


@pytest.mark.parametrize("name", [name for name, findings in FOUND.items() if findings])
@settings(max_examples=15)
@given(data=st.data())
def test_a_finding_changes_a_score_one_way(name: str, data: st.DataObject) -> None:
    patient = data.draw(patients(name))
    before = compute(name, patient, KNOWN).value
    assert before is not None
    for finding in FOUND[name]:
        after = compute(name, closed(patient | {finding: 1.0}, KNOWN), KNOWN).value
        assert after is not None
        assert after <= before if finding in LOWERING.get(name, "").split() else after >= before, finding


def optional(name: str) -> set[str]:
    """What a score uses only where it is documented: leaving it out makes it absent, not unknown."""
    found = set()
    for one in {name, *looks_at(name, KNOWN)} & set(KNOWN.formulas):
        for node in ast.walk(ast.parse(" ".join(KNOWN.formulas[one].text.split()), mode="eval")):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Name)
                and node.func.id in ("documented", "known")
            ):
                inner = {leaf.id for leaf in ast.walk(node) if isinstance(leaf, ast.Name)} & KNOWN.formulas[one].names
                found |= inner | {leaf for derived in inner & set(KNOWN.formulas) for leaf in looks_at(derived, KNOWN)}
    return found


@pytest.mark.parametrize("name", [*KNOWN.scores, *KNOWN.derived])
@given(data=st.data())
def test_what_is_unknown_gives_bounds_that_hold_the_value(name: str, data: st.DataObject) -> None:
    patient = data.draw(patients(name))
    whole = compute(name, patient, KNOWN)
    if whole.value is None:  # a division by zero
        assert (whole.low, whole.high) == (-math.inf, math.inf)
        return
    fixed = {*optional(name), *PERSON, "altered_mental_status"}
    kept = {fact for fact in patient if fact in fixed or data.draw(st.booleans())}
    part = compute(name, {fact: value for fact, value in patient.items() if fact in kept}, KNOWN)
    assert part.low - 1e-9 <= whole.value <= part.high + 1e-9
    assert part.band in (None, whole.band)
    assert set(part.missing) <= set(patient) - kept
    less = compute(name, {fact: value for fact, value in patient.items() if fact in fixed}, KNOWN)
    assert less.low - 1e-9 <= part.low
    assert part.high <= less.high + 1e-9
    if name in KNOWN.scores:
        low, high = KNOWN.scores[name].range
        assert low <= part.low <= part.high <= high


# --- as a caller sees it ------------------------------------------------------------------------------------------
@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The functions of the small library: reading all of it takes longer."""
    monkeypatch.setattr(scores, "knowledge", lambda: KNOWN)
    scores._function.cache_clear()
    yield
    scores._function.cache_clear()


@pytest.mark.usefixtures("small")
def test_functions() -> None:
    facts: dict[str, Any] = {"confusion": True, "bun": 25, "respiratory_rate": 32, "systolic_bp": 85, "age": 70}
    found = scores.curb65(**facts, diastolic_bp=50)
    assert (found.value, found.band, found.missing) == (5, "high", ())
    assert scores.curb65(**facts) == Scored("curb65", 5, 5, "high", ("diastolic_bp",))
    assert scores.curb65(**(facts | {"age": None})) == Scored("curb65", 4, 5, "high", ("age", "diastolic_bp"))
    assert scores.curb65(age=70).value is None
    assert scores.curb65(delirium=True, age=70).low == 2
    assert "respiratory_rate" in str(scores.curb65.__doc__)
    assert "bun: 1 to 300 mg/dL." in str(scores.curb65.__doc__)
    assert "confusion: true or false." in str(scores.curb65.__doc__)
    assert "bun_rise (Rise of BUN since admission): -300 to 300 mg/dL." in str(scores.ranson_48h.__doc__)
    assert "From 3 on: high." in str(scores.curb65.__doc__)
    assert "curb65" in dir(scores)
    assert scores.curb65 is scores.curb65
    for name in scores.names():
        assert getattr(scores, name).__name__ == name


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: compute("curb56", {}), "no score 'curb56'; there is curb65"),
        (lambda: compute("curb65", {"bnu": 1}), "no fact 'bnu'; there is bun"),
        (lambda: scores.curb65(bnu=1), "curb65 looks at no fact 'bnu'; there is bun"),
        (lambda: scores.curb65(sodium=140), "curb65 looks at no fact 'sodium'"),
        (lambda: scores.curb65(confusion=0.5), "True or False, not 0.5"),
        (lambda: scores.curb65(bun=True), "bun is a number, not True"),
        (lambda: scores.curb65(bun="25"), "bun is a number, not '25'"),
        (lambda: scores.curb65(bun=math.inf), "bun is a number, not inf"),
        (lambda: scores.curb65(bun=-1), "bun is between 1 and 300 mg/dL, not -1"),
        (lambda: scores.curb65(age=140), "age is between 0 and 120 years, not 140"),
        (lambda: scores.gcs_sum(gcs_eye=0), "gcs_eye is between 1 and 4, not 0"),
        (lambda: scores.ranson_48h(fluid_sequestration=60), "fluid_sequestration is between -50 and 50 L, not 60"),
        (lambda: scores.curb65(confusion=False, delirium=True), "confusion can not be absent where there is delirium"),
        (lambda: scores.perc(female=True, male=True), "can not both be True"),
    ],
)
def test_mistakes_are_told(call: Callable[[], object], words: str) -> None:
    with pytest.raises(BadArgument) as caught:
        call()
    assert words in str(caught.value)


@pytest.mark.usefixtures("small")
def test_other_names_are_no_attributes() -> None:
    assert not hasattr(scores, "__wrapped__")
    with pytest.raises(AttributeError, match="curb65"):
        _ = scores.curb56


def test_what_follows_is_used() -> None:
    man = {"female": 0.0, "age": 40.0}
    assert compute("perc", man, KNOWN).high == 6  # no hormones
    assert compute("perc", {"male": 1.0, "age": 40.0}, KNOWN).high == 6
    assert compute("child_pugh", {"ascites": False}, KNOWN).high == 13  # no tense ascites either
    assert compute("child_pugh", {"moderate_ascites": True}, KNOWN).low == 7
    assert compute("curb65", {"age": math.nan}, KNOWN) == compute("curb65", {}, KNOWN)
    assert compute("curb65", {"curb65": 2}, KNOWN).band == "intermediate"  # what is given counts
    assert compute("sle_2019", {}, KNOWN).value == 0  # where only what is documented counts, the unknown is absent
    assert compute("sofa", WELL | NOTHING | {"pao2_fio2": 250}, KNOWN).value == 2
