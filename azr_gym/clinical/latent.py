"""Makes measured values belong together: what follows from others is computed, not drawn.

Only values that a condition does not set itself are changed; the identities are those that `knowledge/plausible.toml`
checks, and lungs make up for a bicarbonate that is low or high.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

import numpy as np

from azr_gym.clinical.criteria import Floats

Table = dict[str, Floats]
GAS = ("ph", "paco2")  # with bicarbonate, two of them make the third
BICARBONATES = ("arterial_bicarbonate", "bicarbonate")  # one and the same
PH_PK, SOLUBILITY = 6.1, 0.0307  # Henderson-Hasselbalch: see knowledge/plausible.toml
USUAL_PACO2, ALLOWANCE = 40.0, 2 / 5  # mmHg; how far from what is expected, for as far from usual: see `expected_paco2`
OTHER_CELLS = 7.0  # per cent of the leukocytes that are neither neutrophils, lymphocytes nor eosinophils
HELD = ("total_protein", "bilirubin")  # drawn, and only held to a bound by what follows
HAEMATOCRIT = 3.0  # times haemoglobin in g/dL


def agree(facts: Table, given: Collection[str]) -> None:
    """Change what follows from other values, in place.

    Args:
        facts: columns of values that have been drawn.
        given: names that the condition sets itself: they stay, where anything else can give way.
    """
    _gas(facts, given)
    if "neutrophils" in given and "leukocytes" in facts and "neutrophil_percent" not in given:
        facts["neutrophil_percent"] = _percent_of_neutrophils(facts)
    for name, needs, value in FOLLOWS:
        if name in facts and name not in given and all(one in facts for one in needs):
            facts[name] = value(facts)
    if "direct_bilirubin" in facts and "bilirubin" in facts:  # where the total is given, the part gives way
        facts["direct_bilirubin"] = np.minimum(facts["direct_bilirubin"], facts["bilirubin"])


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


def _gas(facts: Table, given: Collection[str]) -> None:
    """pH, pCO2 and bicarbonate: two of them make the third. The two bicarbonates are one."""
    either = [name for name in BICARBONATES if name in facts]
    if "ph" not in facts or "paco2" not in facts:
        if len(either) == 2:
            first, second = either if either[0] in given else either[::-1]
            facts[second] = facts[first]
        return
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


def _lymphocytes(facts: Table) -> Floats:
    rest = 100 - OTHER_CELLS - facts["neutrophil_percent"] - facts.get("eosinophil_percent", np.float64(2.0))
    found: Floats = np.clip(rest, 1, 97)
    return found


def _ldl(facts: Table) -> Floats:
    """Friedewald 1972: total - HDL - triglycerides / 5, below 400 mg/dL of these."""
    rest = facts["total_cholesterol"] - facts["hdl"] - np.minimum(facts["triglycerides"], 400) / 5
    return np.maximum(rest, 5)


def _neutrophils(facts: Table) -> Floats:
    return facts["leukocytes"] * facts["neutrophil_percent"] / 100


def _osmolality(facts: Table) -> Floats:
    return 2 * facts["sodium"] + facts["glucose"] / 18 + facts["bun"] / 2.8 + 3


FOLLOWS: list[tuple[str, tuple[str, ...], Callable[[Table], Floats]]] = [  # what, from what, how; in this order
    ("haematocrit", ("haemoglobin",), lambda facts: HAEMATOCRIT * facts["haemoglobin"]),
    ("lymphocyte_percent", ("neutrophil_percent",), _lymphocytes),
    ("neutrophils", ("leukocytes", "neutrophil_percent"), _neutrophils),
    ("total_protein", ("albumin",), lambda facts: np.maximum(facts["total_protein"], facts["albumin"] + 1.5)),
    ("bilirubin", ("direct_bilirubin",), lambda facts: np.maximum(facts["bilirubin"], facts["direct_bilirubin"])),
    ("transferrin_saturation", ("iron", "tibc"), lambda facts: np.clip(100 * facts["iron"] / facts["tibc"], 1, 100)),
    ("ldl", ("total_cholesterol", "hdl", "triglycerides"), _ldl),
    ("serum_osmolality", ("sodium", "glucose", "bun"), _osmolality),
]
