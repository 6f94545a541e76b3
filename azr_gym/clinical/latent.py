"""Makes measured values belong together: what follows from others is computed, not drawn.

Only values that a condition does not set itself are changed, and those that it sets are drawn together where they go
together (`linked`); the identities are those that `knowledge/plausible.toml` checks. Lungs make up for a bicarbonate
that is low or high, and kidneys for a pCO2; chloride leaves the anion gap that albumin, lactate, ketones and failing
kidneys make; calcium goes with albumin, which binds it, and the ionised part with what is left. Calcium that a
condition sets is so corrected: as it were with albumin of 4 g/dL.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

import numpy as np

from azr_gym.clinical.criteria import Floats

Table = dict[str, Floats]
GAS = ("ph", "paco2")  # with bicarbonate, two of them make the third
BICARBONATES = ("arterial_bicarbonate", "bicarbonate")  # one and the same
PH_PK, SOLUBILITY = 6.1, 0.0307  # Henderson-Hasselbalch: see knowledge/plausible.toml
USUAL_PACO2, ALLOWANCE = 40.0, 2 / 5  # mmHg; how far from what is expected, for as far from usual
OTHER_CELLS = 7.0  # per cent of the leukocytes that are neither neutrophils, lymphocytes nor eosinophils
HELD = ("total_protein", "bilirubin", "hdl")  # drawn, and only held to a bound by what follows
HAEMATOCRIT = 3.0  # times haemoglobin in g/dL
USUAL_PH, USUAL_BICARBONATE = 7.40, 24.0
ALBUMIN = 4.0  # g/dL, that calcium and the anion gap are corrected to: see knowledge/scores.toml
USUAL = {  # what is drawn, and then moved: the intervals of knowledge/analytes.toml
    "calcium": (8.6, 10.2),
    "ionised_calcium": (1.16, 1.31),
    "chloride": (98.0, 106.0),
    "diastolic_bp": (60.0, 79.0),
}
IONISED_ALLOWANCE = 0.2  # mg/dL of calcium, either way: for the anions that bind it too (design)
DIASTOLIC = (0.5, 0.7)  # shares of the systolic pressure: see `diastolic_ends`
LEAST_LDL = 30.0  # mg/dL, that is left for it where HDL is held to a bound (design)
ANIONS = {  # how much of each is in a usual anion gap, and what 1 more adds to that, mmol/L: see `chloride_ends`
    "lactate": (2.2, 1.0),
    "beta_hydroxybutyrate": (0.4, 1.0),
    "creatinine": (1.3, 0.4),
}
USUAL_GAP, GAP_ALLOWANCE = 12.0, 1.5  # mmol/L; 12 +- 2 (see `chloride_ends`), less what writing whole numbers may add
DECIMALS = {
    "sodium": 0, "bicarbonate": 0, "albumin": 1, "lactate": 1, "beta_hydroxybutyrate": 1, "creatinine": 1, "paco2": 0,
    "calcium": 1, "systolic_bp": 0,
}  # fmt: skip
MOVED = {  # what others move, by which, and by which too where they are measured
    "calcium": (("albumin",), ()),
    "ionised_calcium": (("calcium",), ("albumin",)),
    "diastolic_bp": (("systolic_bp",), ()),
    "chloride": (("sodium", "bicarbonate"), ("albumin", *ANIONS)),
}
LINKS = {  # what lies where it lies among its condition's patients because another does: the correlation, see `linked`
    "nt_probnp": ("bnp", 0.97),
    "hs_troponin_i": ("troponin_i", 0.98),
    "hs_troponin_t": ("hs_troponin_i", 0.9),
    "troponin_t": ("hs_troponin_t", 0.98),
    "fev1_gain_percent": ("fev1_gain_ml", 0.995),
    "alt": ("ast", 0.95),
    "direct_bilirubin": ("bilirubin", 0.95),
    "pao2": ("spo2", 0.95),
}


def agree(facts: Table, given: Collection[str]) -> None:
    """Change what follows from other values, in place.

    Args:
        facts: columns of values that have been drawn.
        given: names that the condition sets itself: they stay, where anything else can give way.
    """
    _gas(facts, given)
    _calcium(facts, given)
    for name in ("ionised_calcium", "chloride", "diastolic_bp"):
        if moves(name, given) and name in facts and all(need in facts for need in MOVED[name][0]):
            facts[name] = _moved(name, facts)
    if "neutrophils" in given and "leukocytes" in facts and "neutrophil_percent" not in given:
        facts["neutrophil_percent"] = _percent_of_neutrophils(facts)
    for name, needs, value in FOLLOWS:
        if name in facts and name not in given and all(one in facts for one in needs):
            facts[name] = value(facts)
    if "lymphocyte_percent" in given and {"lymphocyte_percent", "neutrophil_percent"} <= facts.keys():
        facts["lymphocyte_percent"] = np.minimum(facts["lymphocyte_percent"], np.maximum(_others(facts) - 1, 0))
    if "direct_bilirubin" in facts and "bilirubin" in facts:  # where the total is given, the part gives way
        facts["direct_bilirubin"] = np.minimum(facts["direct_bilirubin"], facts["bilirubin"])


def moves(name: str, given: Collection[str]) -> bool:
    """Whether others move a value that a condition does not set; the diastolic pressure, where it sets the systolic."""
    return name in MOVED and name not in given and (name != "diastolic_bp" or "systolic_bp" in given)


def linked(name: str, given: Collection[str]) -> list[tuple[str, float]]:
    """What a value goes with where a condition sets both, the nearest first, with the correlation of each.

    A value that is high among those of its condition's patients, or its logarithm, makes the other high among its own.
    How closely is a design constant: near 1 where one quantity is given in two units or measured twice (of troponin I
    by two assays r = 0.92 is seen at https://pmc.ncbi.nlm.nih.gov/articles/PMC5447265), less where two go together.
    """
    found, share = list[tuple[str, float]](), 1.0
    while name in given and name in LINKS and LINKS[name][0] in given:
        name, closely = LINKS[name]
        share *= closely
        found.append((name, share))
    return found


def drawn_gas(given: Collection[str]) -> tuple[str, str]:
    """Which two of pH, pCO2 and bicarbonate are drawn, where all are measured."""
    bound = next((name for name in BICARBONATES if name in given), None)
    if bound is None or all(name in given for name in GAS):
        return GAS
    return bound, "ph" if "ph" in given else "paco2"


def expected_paco2(bicarbonate: Floats) -> Floats:
    """What the lungs make of pCO2, mmHg, where bicarbonate, mmol/L, is low or high.

    Low: 1.5 * bicarbonate + 8, give or take 2 (Winters: Albert MS, Dell RB, Winters RW. Ann Intern Med 1967;66:312-322;
    seen at https://rdrr.io/cran/cliot/man/winters_formula.html). High: 0.7 more for each 1 more of bicarbonate
    (seen at https://www.rrnursingschool.biz/renal-failure-2/figure-630.html), from 24 and 40 on. The two lines meet at
    19; from there to 24 the second is taken, which leaves the first by 2 at 21.5.
    """
    return np.minimum(1.5 * bicarbonate + 8, USUAL_PACO2 + 0.7 * (bicarbonate - 24))


def breath_alone(given: Collection[str]) -> bool:
    """Whether of the gas a condition sets pCO2 and nothing else: then pH follows."""
    return "paco2" in given and "ph" not in given and not any(name in given for name in BICARBONATES)


def expected_ph(paco2: Floats) -> Floats:
    """What pH is where pCO2, mmHg, has just become low or high, and bicarbonate gone with it.

    Bicarbonate is 24 at 40 mmHg, 0.1 more for each 1 more, 0.2 less for each 1 less (Narins RG, Emmett M. Medicine
    1980;59:161-187; seen at https://hkcfp.org.hk/Upload/HK_Practitioner/2005/hkp2005vol27aug/images/p295t03.html, which
    has 0.35 and 0.5 for what is chronic: a condition that is sets pH or bicarbonate too; 0.1 for what is high:
    https://accessmedicine.mhmedical.com/content.aspx?sectionid=271740462&bookid=3241).
    """
    paco2 = as_written({"paco2": paco2}, "paco2")
    away = paco2 - USUAL_PACO2
    found: Floats = PH_PK + np.log10((USUAL_BICARBONATE + np.minimum(0.1 * away, 0.2 * away)) / (SOLUBILITY * paco2))
    return found


def calcium_of_albumin(facts: Table) -> Floats:
    """How far calcium, mg/dL, is from the corrected one: 0.8 for each g/dL of albumin (Payne 1973: see scores.toml)."""
    return 0.8 * (as_written(facts, "albumin") - ALBUMIN)


def calcium_ends(facts: Table) -> tuple[Floats, Floats]:
    """Between which calcium, mg/dL, is where no condition sets it.

    The corrected one lies within the reference interval; with much albumin both do: a laboratory's healthy people have
    that too.
    """
    low, high = (end + calcium_of_albumin(facts) for end in USUAL["calcium"])
    high = np.minimum(high, USUAL["calcium"][1])
    return np.minimum(low, high), high


def ionised_ends(facts: Table) -> tuple[Floats, Floats]:
    """Between which ionised calcium, mmol/L, is where no condition sets it.

    It is the same share of the calcium that is corrected for albumin: the lower limit's of what is low, the upper one's
    of what is high, and of what lies between them it does too. (Some 40 to 50% of calcium is ionised, and 1.16 to 1.31
    mmol/L of 8.5 to 10.5 mg/dL is normal: https://dev.statpearls.com/point-of-care/23258.)
    """
    corrected = as_written(facts, "calcium") - (calcium_of_albumin(facts) if "albumin" in facts else 0)
    (low, high), ionised = USUAL["calcium"], USUAL["ionised_calcium"]

    def share_of(calcium: Floats) -> Floats:
        found: Floats = calcium * np.interp(calcium, (low, high), (ionised[0] / low, ionised[1] / high))
        return found

    less, more = corrected - IONISED_ALLOWANCE, corrected + IONISED_ALLOWANCE
    less = np.where(corrected >= low, np.maximum(less, low), less)
    return share_of(less), share_of(np.where(corrected <= high, np.minimum(more, high), more))


def diastolic_ends(facts: Table) -> tuple[Floats, Floats]:
    """Between which the diastolic pressure, mmHg, is where a condition sets the systolic alone.

    A pulse pressure under a quarter of the systolic one is narrow, and 40 mmHg usual (StatPearls NBK482408, as noted at
    https://cards-notes.pages.dev/pulse-pressure.html): here it is 0.3 to 0.5 of it, which is a design constant.
    """
    systolic = as_written(facts, "systolic_bp")
    return DIASTOLIC[0] * systolic, DIASTOLIC[1] * systolic


def chloride_ends(facts: Table) -> tuple[Floats, Floats]:
    """Between which chloride, mmol/L, is where no condition sets it: sodium - bicarbonate - a usual anion gap.

    Chloride makes up for bicarbonate that is lost (https://www.healthcare.uiowa.edu/path_handbook/handbook/test2734.html),
    and the gap stays at 12 +- 2 mmol/L (http://medcraveonline.com/JACCOA/JACCOA-05-00190.php; others: metabolic.toml).
    Albumin makes 2.5 of it for each g/dL (Figge 1998: see scores.toml); lactate and ketones are anions that it has in
    full (lactate: https://sage.cnpereading.com/doi/10.1177/08850666251411921). What failing kidneys keep back goes with
    creatinine: 0.4 for each mg/dL is a design constant. It makes 3 more of the usual stage 5, where 2.4 more than in
    stage 1 (Zijlstra 2023, https://ebusca.uv.mx/Record/pubmed-10539198/Details) and 2.6 more than 12 as dialysis begins
    (https://www.pubmed.gov/31984460/) were measured, without regard to albumin; in acute injury one half has a normal
    gap (Rocktaeschel 2003, https://www.doi.org/10.1186/cc2333).
    """
    gap: Floats = np.full(np.shape(facts["sodium"]), USUAL_GAP)
    if "albumin" in facts:
        gap = gap + 2.5 * (as_written(facts, "albumin") - ALBUMIN)
    for name, (usual, share) in ANIONS.items():
        if name in facts:
            gap = gap + share * np.fmax(as_written(facts, name) - usual, 0)
    middle = as_written(facts, "sodium") - as_written(facts, "bicarbonate") - gap
    return middle - GAP_ALLOWANCE, middle + GAP_ALLOWANCE


def as_written(facts: Table, name: str) -> Floats:
    """A value as the patient's chart has it, rounded."""
    found: Floats = np.round(facts[name], DECIMALS[name])
    return found


def _calcium(facts: Table, given: Collection[str]) -> None:
    if "calcium" in facts and "albumin" in facts:
        if "calcium" in given:
            facts["calcium"] = facts["calcium"] + calcium_of_albumin(facts)
        else:
            facts["calcium"] = _moved("calcium", facts)


def _moved(name: str, facts: Table) -> Floats:
    """Values that lie so between their ends as they lay between the usual ones."""
    (low, high), (least, most) = USUAL[name], ENDS[name](facts)
    return least + (facts[name] - low) / (high - low) * (most - least)


def _gas(facts: Table, given: Collection[str]) -> None:
    """pH, pCO2 and bicarbonate: two of them make the third. The two bicarbonates are one."""
    either = [name for name in BICARBONATES if name in facts]
    if "ph" not in facts or "paco2" not in facts:
        if len(either) == 2:
            first, second = either if either[0] in given else either[::-1]
            facts[second] = facts[first]
        return
    if breath_alone(given):
        facts["ph"] = expected_ph(facts["paco2"]) + ALLOWANCE * (facts["ph"] - USUAL_PH)
    first, second = drawn_gas(given)
    if first in BICARBONATES:
        bound = np.clip(facts[first], 1, 60)
        if second == "ph":
            facts["paco2"] = np.clip(bound / (SOLUBILITY * 10 ** (facts["ph"] - PH_PK)), 8, 150)
        elif "paco2" not in given:
            facts["paco2"] = expected_paco2(bound) + ALLOWANCE * (facts["paco2"] - USUAL_PACO2)
        if second == "paco2":
            facts["ph"] = PH_PK + np.log10(bound / (SOLUBILITY * facts["paco2"]))
    gas = SOLUBILITY * facts["paco2"] * 10 ** (facts["ph"] - PH_PK)
    for name in either:
        facts[name] = np.clip(gas, 1, 60)
    if "base_excess" in facts:  # Siggaard-Andersen 1977, for whole blood of 15 g/dL
        facts["base_excess"] = 0.93 * (np.clip(gas, 1, 60) - 24.4 + 14.8 * (facts["ph"] - 7.4))


def _percent_of_neutrophils(facts: Table) -> Floats:
    return np.clip(100 * facts["neutrophils"] / np.maximum(facts["leukocytes"], 0.1), 1, 92)


def _others(facts: Table) -> Floats:
    """Per cent of the leukocytes that are neither neutrophils nor eosinophils."""
    found: Floats = 100 - facts["neutrophil_percent"] - facts.get("eosinophil_percent", np.float64(2.0))
    return found


def _lymphocytes(facts: Table) -> Floats:
    found: Floats = np.clip(_others(facts) - OTHER_CELLS, 1, 97)
    return found


def _hdl(facts: Table) -> Floats:
    """No more than the other parts leave of the total."""
    rest = facts["total_cholesterol"] - np.minimum(facts.get("triglycerides", np.float64(0)), 400) / 5
    found: Floats = np.minimum(facts["hdl"], rest - LEAST_LDL)
    return found


def _ldl(facts: Table) -> Floats:
    """Friedewald 1972: total - HDL - triglycerides / 5, below 400 mg/dL of these."""
    rest = facts["total_cholesterol"] - facts["hdl"] - np.minimum(facts["triglycerides"], 400) / 5
    return np.maximum(rest, 5)


def _neutrophils(facts: Table) -> Floats:
    return facts["leukocytes"] * facts["neutrophil_percent"] / 100


def _osmolality(facts: Table) -> Floats:
    return 2 * facts["sodium"] + facts["glucose"] / 18 + facts["bun"] / 2.8 + 3


ENDS: dict[str, Callable[[Table], tuple[Floats, Floats]]] = {
    "calcium": calcium_ends,
    "ionised_calcium": ionised_ends,
    "chloride": chloride_ends,
    "diastolic_bp": diastolic_ends,
}
FOLLOWS: list[tuple[str, tuple[str, ...], Callable[[Table], Floats]]] = [  # what, from what, how; in this order
    ("haematocrit", ("haemoglobin",), lambda facts: HAEMATOCRIT * facts["haemoglobin"]),
    ("lymphocyte_percent", ("neutrophil_percent",), _lymphocytes),
    ("neutrophils", ("leukocytes", "neutrophil_percent"), _neutrophils),
    ("total_protein", ("albumin",), lambda facts: np.maximum(facts["total_protein"], facts["albumin"] + 1.5)),
    ("bilirubin", ("direct_bilirubin",), lambda facts: np.maximum(facts["bilirubin"], facts["direct_bilirubin"])),
    ("transferrin_saturation", ("iron", "tibc"), lambda facts: np.clip(100 * facts["iron"] / facts["tibc"], 1, 100)),
    ("hdl", ("total_cholesterol",), _hdl),
    ("ldl", ("total_cholesterol", "hdl", "triglycerides"), _ldl),
    ("serum_osmolality", ("sodium", "glucose", "bun"), _osmolality),
]
