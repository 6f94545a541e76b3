"""What is measured: every factor between units is computed again from molar masses, LOINC codes have their check digit."""

from __future__ import annotations

import re

import pytest

from azr_gym.clinical.library import knowledge

ANALYTES = knowledge().analytes
# Conventional atomic weights, IUPAC.
ATOMS = {
    "H": 1.008, "C": 12.011, "N": 14.007, "O": 15.999, "Mg": 24.305, "P": 30.973762, "S": 32.06, "Ca": 40.078,
    "Fe": 55.845, "Co": 58.933194, "I": 126.90447, "Pb": 207.2,
}  # fmt: skip
# g/mol: of what a molecule weighs that is no small one, as laboratories take it.
USUAL = {
    "bnp": 3464, "nt_probnp": 8457, "acth": 4541, "pth": 9425, "crp": 105_000, "ferritin": 445_000,
    "haemoglobin": 16_114,  # of a monomer
    "triglycerides": 885.7,
}  # fmt: skip
FORMULAS = {
    "bun": "N2", "creatinine": "C4H7N3O", "glucose": "C6H12O6", "calcium": "Ca", "ionised_calcium": "Ca",
    "magnesium": "Mg", "phosphate": "P", "bilirubin": "C33H36N4O6", "direct_bilirubin": "C33H36N4O6",
    "urate": "C5H4N4O3", "lactate": "C3H6O3", "ammonia": "NH3", "beta_hydroxybutyrate": "C4H8O3",
    "total_cholesterol": "C27H46O", "hdl": "C27H46O", "ldl": "C27H46O", "morning_cortisol": "C21H30O5",
    "dst_cortisol": "C21H30O5", "stimulated_cortisol": "C21H30O5", "urine_free_cortisol": "C21H30O5",
    "aldosterone": "C21H28O5", "free_t4": "C15H11I4NO4", "total_t3": "C15H12I3NO4", "vitamin_d": "C27H44O2",
    "vitamin_b12": "C63H88CoN14O14P", "folate": "C19H19N7O6", "iron": "Fe", "tibc": "Fe", "salicylate": "C7H6O3",
    "ethanol": "C2H6O", "digoxin_level": "C41H64O14", "paracetamol_level": "C8H9NO2", "homocysteine": "C4H9NO2S",
    "lead_level": "Pb", "fasting_glucose": "C6H12O6", "glucose_2h": "C6H12O6", "csf_glucose": "C6H12O6",
    "baseline_creatinine": "C4H7N3O", "urine_creatinine": "C4H7N3O",
    "urine_protein_creatinine": "C4H7N3O", "urine_albumin_creatinine": "C4H7N3O",  # per mole of it
}  # fmt: skip
CHARGE = {"calcium": 2, "ionised_calcium": 2, "magnesium": 2}
PREFIX = {"": 1.0, "d": 1e-1, "c": 1e-2, "m": 1e-3, "u": 1e-6, "mc": 1e-6, "n": 1e-9, "p": 1e-12, "f": 1e-15}
AMOUNT = re.compile(r"(|d|c|m|u|mc|n|p)(mol|g|Eq)/(|d|m|u)L")
# US conventional to SI units, as three tables print them: `lab_units_csmu`, `lab_units_icar`, `lab_ashp`.
PRINTED = [
    ("albumin", "g/L", 10), ("total_protein", "g/L", 10), ("aldosterone", "pmol/L", 27.74),
    ("bilirubin", "umol/L", 17.1), ("calcium", "mmol/L", 0.2495), ("total_cholesterol", "mmol/L", 0.02586),
    ("acth", "pmol/L", 0.22), ("morning_cortisol", "nmol/L", 27.59), ("creatinine", "umol/L", 88.4),
    ("digoxin_level", "nmol/L", 1.281), ("ethanol", "mmol/L", 0.217), ("fibrinogen", "g/L", 0.01),
    ("glucose", "mmol/L", 0.05551), ("phosphate", "mmol/L", 0.3229), ("triglycerides", "mmol/L", 0.01129),
    ("bun", "mmol/L", 0.357), ("urate", "umol/L", 59.48), ("alt", "ukat/L", 0.01667), ("lithium_level", "mEq/L", 1),
    ("paracetamol_level", "umol/L", 6.616), ("salicylate", "mmol/L", 0.0724),
]  # fmt: skip


def molar_mass(name: str) -> float:
    """In g/mol."""
    parts = re.findall(r"([A-Z][a-z]?)(\d*)", FORMULAS.get(name, ""))
    return USUAL.get(name) or sum(ATOMS[atom] * int(count or 1) for atom, count in parts)


def moles(unit: str, name: str) -> float:
    """What 1 of the unit is, in mol/L."""
    found = AMOUNT.fullmatch(unit)
    assert found
    size = PREFIX[found[1]] / PREFIX[found[3]]
    if found[2] == "g":
        assert molar_mass(name), "no formula: what is it made of?"
        return size / molar_mass(name)
    return size / CHARGE.get(name, 1) if found[2] == "Eq" else size


def other_amounts() -> list[tuple[str, str]]:
    """Analytes with units that are another amount than their own: moles where it is a mass, say."""
    amounts = (
        (one, unit, AMOUNT.fullmatch(one.unit), AMOUNT.fullmatch(unit))
        for one in ANALYTES.values()
        for unit in one.units
    )
    return [(one.id, unit) for one, unit, own, there in amounts if own and there and own[2] != there[2]]


@pytest.mark.parametrize(("name", "other"), other_amounts())
def test_a_factor_is_what_molar_masses_say(name: str, other: str) -> None:
    one = ANALYTES[name]
    assert one.units[other] == pytest.approx(moles(other, name) / moles(one.unit, name), rel=1e-4)


def test_a_mass_in_a_volume_is_the_same_whatever_it_is_of() -> None:
    for one in ANALYTES.values():
        for unit, factor in one.units.items():
            own, there = AMOUNT.fullmatch(one.unit), AMOUNT.fullmatch(unit)
            if own and there and own[2] == there[2]:
                ratio = PREFIX[there[1]] / PREFIX[there[3]] / (PREFIX[own[1]] / PREFIX[own[3]])
                assert factor == pytest.approx(ratio, rel=1e-4), f"{one.id}: {unit}"


@pytest.mark.parametrize(("name", "other", "printed"), PRINTED)
def test_a_factor_is_what_is_printed(name: str, other: str, printed: float) -> None:
    one = ANALYTES[name]
    assert 1 / one.units[other] == pytest.approx(printed, rel=2.5e-3)  # three digits


def test_what_is_no_amount_in_a_volume_goes_by_molar_mass_too() -> None:
    assert ANALYTES["urine_free_cortisol"].units["nmol/24 h"] == pytest.approx(
        molar_mass("urine_free_cortisol") / 1000, rel=1e-4
    )
    for name in ("urine_protein_creatinine", "urine_albumin_creatinine"):
        assert ANALYTES[name].units["mg/mmol"] == pytest.approx(1000 / molar_mass(name), rel=1e-4)


@pytest.mark.parametrize("name", [one.id for one in ANALYTES.values() if one.loinc])
def test_a_loinc_code_has_its_check_digit(name: str) -> None:
    found = re.fullmatch(r"([1-9]\d{2,6})-(\d)", ANALYTES[name].loinc)
    assert found
    doubled = [int(digit) * (2 if place % 2 == 0 else 1) for place, digit in enumerate(reversed(found[1]))]
    assert -sum(value // 10 + value % 10 for value in doubled) % 10 == int(found[2])  # mod 10, as of credit cards


def test_no_two_analytes_share_a_loinc_code() -> None:
    codes = [one.loinc for one in ANALYTES.values() if one.loinc]
    assert len(codes) == len(set(codes))
