"""Makes measured values belong together: what follows from others is computed, not drawn.

Only values that a condition does not set itself are changed; the identities are those that `knowledge/plausible.toml`
checks.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

import numpy as np

from azr_gym.clinical.criteria import Floats

Table = dict[str, Floats]
PH_PK, SOLUBILITY = 6.1, 0.0307  # Henderson-Hasselbalch: see knowledge/plausible.toml
OTHER_CELLS = 7.0  # per cent of the leukocytes that are neither neutrophils, lymphocytes nor eosinophils
HELD = ("total_protein",)  # drawn, and only held to a bound by what follows
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
    if "direct_bilirubin" in facts and "bilirubin" in facts:
        facts["direct_bilirubin"] = np.minimum(facts["direct_bilirubin"], facts["bilirubin"])


def _gas(facts: Table, given: Collection[str]) -> None:
    """pH, pCO2 and bicarbonate: two of them make the third. The two bicarbonates are one."""
    either = [name for name in ("arterial_bicarbonate", "bicarbonate") if name in facts]
    if "ph" not in facts or "paco2" not in facts:
        if len(either) == 2:
            first, second = either if either[0] in given else either[::-1]
            facts[second] = facts[first]
        return
    bound = [name for name in either if name in given]
    if bound and "paco2" in given and "ph" not in given:
        facts["ph"] = PH_PK + np.log10(facts[bound[0]] / (SOLUBILITY * facts["paco2"]))
    elif bound and "ph" in given and "paco2" not in given:
        facts["paco2"] = np.clip(facts[bound[0]] / (SOLUBILITY * 10 ** (facts["ph"] - PH_PK)), 8, 150)
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
    ("transferrin_saturation", ("iron", "tibc"), lambda facts: np.clip(100 * facts["iron"] / facts["tibc"], 1, 100)),
    ("ldl", ("total_cholesterol", "hdl", "triglycerides"), _ldl),
    ("serum_osmolality", ("sodium", "glucose", "bun"), _osmolality),
]
