"""Patients become FHIR bundles and come back as they were; bundles of others are read as far as they are understood."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from azr_gym.clinical.case import Trouble
from azr_gym.clinical.engine import shared
from azr_gym.clinical.fhir import from_bundle, to_bundle
from azr_gym.clinical.generate import Generator
from azr_gym.clinical.library import knowledge
from azr_gym.errors import BadArgument

bundles = pytest.importorskip("fhir.resources.R4B.bundle", reason="the extra fhir is not installed")
LOINC = "http://loinc.org"


def bundle(*resources: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"resourceType": "Bundle", "type": "collection", "entry": [{"resource": one} for one in resources]} | more


def observed(code: str = "", text: str = "", **value: Any) -> dict[str, Any]:
    coding = {"coding": [{"system": LOINC, "code": code}]} if code else {}
    return {"resourceType": "Observation", "status": "final", "code": coding | ({"text": text} if text else {})} | value


def quantity(value: object, code: str) -> dict[str, Any]:
    return {"value": value, "code": code, "system": "http://unitsofmeasure.org"}


WOMAN = {"resourceType": "Patient", "gender": "female", "birthDate": "1970-03-01"}
AGE = observed("30525-0", valueQuantity=quantity(50, "a"))


@settings(max_examples=60)
@given(st.sampled_from(sorted(knowledge().conditions)), st.integers(0, 2**32 - 1))
def test_a_drawn_patient_comes_back_as_it_was(condition: str, seed: int) -> None:
    drawn = Generator(shared()).draw(np.random.default_rng(seed), condition, 1)
    patient = {name: float(column[0]) for name, column in drawn.facts.items() if not np.isnan(column[0])}
    made = to_bundle(patient)
    text = made.model_dump_json()
    assert bundles.Bundle.model_validate_json(text) == made == to_bundle(patient)
    for form in (made, text, text.encode(), json.loads(text)):
        found = from_bundle(form)
        assert (dict(found.facts), found.notes, found.trouble) == (patient, (), None)


def test_every_fact_has_a_form() -> None:
    known = knowledge()
    everything = dict.fromkeys(known.findings, 1.0) | {
        one.id: round(one.limits[1], one.decimals) for one in known.analytes.values()
    }
    for facts in (dict(list(everything.items())[at : at + 200]) for at in range(0, len(everything), 200)):
        person = {"age": 40.0, "female": 1.0, "male": 0.0, "pregnant": 1.0, "weight_kg": 71.5, "height_cm": 168.0}
        assert dict(from_bundle(to_bundle(facts | person)).facts) == facts | person


def test_nothing_of_snomed_ct_is_written_and_codes_are_whose_they_say() -> None:
    text = to_bundle(
        {"age": 40.0, "female": 1.0, "male": 0.0, "smoking": 1.0, "tsh": 8.0, "fever": 0.0}
    ).model_dump_json()
    systems = {
        one["system"]
        for entry in json.loads(text)["entry"]
        for one in entry["resource"].get("code", {}).get("coding", [])
    }
    assert systems == {
        LOINC,
        "https://azr-gym.example/fhir/CodeSystem/finding",
        "https://azr-gym.example/fhir/CodeSystem/analyte",
    }
    assert "snomed" not in text


@pytest.mark.parametrize(
    ("resource", "name", "wanted"),
    [
        (observed("2345-7", valueQuantity=quantity(5.6, "mmol/L")), "glucose", 100.89),
        (observed("22664-7", "Urea", valueQuantity=quantity(40, "mg/dL")), "bun", 18.66),
        (observed(text="TSH", valueQuantity={"value": 8, "unit": "mIU/L"}), "tsh", 8.0),
        (observed("8310-5", valueQuantity=quantity(101.3, "[degF]")), "temperature", 38.5),
        (observed("8867-4", valueQuantity=quantity(110, "{beats}/min")), "heart_rate", 110.0),
        (observed("6690-2", valueQuantity=quantity(13.4, "10*3/uL")), "leukocytes", 13.4),
        (observed("29463-7", valueQuantity=quantity(154, "[lb_av]")), "weight_kg", 69.85),
        (observed("10839-9", valueString="<0.01 ng/mL"), "troponin_i", 0.01),
        (observed(text="HBsAg", valueCodeableConcept={"text": "Negative"}), "hbsag_positive", 0.0),
        (observed(text="fever", valueBoolean=True), "fever", 1.0),
        ({"resourceType": "Condition", "code": {"text": "Hypertension"}}, "hypertension", 1.0),
        ({"resourceType": "Condition", "code": {"coding": [{"display": "smoker"}]}, "verificationStatus": {"coding": [{"code": "refuted"}]}}, "smoking", 0.0),
        (observed("85354-9", component=[observed("8480-6", valueQuantity=quantity(150, "mm[Hg]")), observed("8462-4", valueQuantity=quantity(90, "mm[Hg]"))]), "diastolic_bp", 90.0),
        (observed("82810-3", valueCodeableConcept={"coding": [{"system": LOINC, "code": "LA15173-0"}]}), "pregnant", 1.0),
    ],
)  # fmt: skip
def test_what_others_write_is_read(resource: dict[str, Any], name: str, wanted: float) -> None:
    found = from_bundle(bundle(WOMAN, AGE, resource))
    assert found.trouble is None, found.reason
    assert found.facts[name] == pytest.approx(wanted, rel=1e-3), found.notes


@pytest.mark.parametrize(
    "resource",
    [
        observed("2345-7", valueQuantity=quantity(5.6, "bananas")), observed("2345-7", valueQuantity=quantity(None, "mmol/L")), observed("2345-7"),
        observed("99999-9", "Sodium of the moon", valueQuantity=quantity(5, "mmol/L")), {"resourceType": "Encounter"}, {"resourceType": "Condition"}, {},
        observed("2345-7", valueQuantity=quantity(5.6, "mmol/L")) | {"status": "entered-in-error"}, observed("29463-7", valueQuantity=quantity(10**400, "kg")),
        {"resourceType": "Condition", "code": {"text": "Hypertension"}, "clinicalStatus": {"coding": [{"code": "resolved"}]}},
    ],
)  # fmt: skip
def test_what_is_not_understood_is_listed(resource: dict[str, Any]) -> None:
    found = from_bundle(bundle(WOMAN, AGE, resource))
    assert found.trouble is None
    assert found.notes
    assert set(found.facts) == {"age", "female", "male", "pregnant"}


def test_of_several_values_the_latest_counts() -> None:
    early, late = ({"effectiveDateTime": f"2024-01-{day}T08:00:00Z"} for day in ("01", "03"))
    found = from_bundle(
        bundle(
            WOMAN,
            observed("2345-7", valueQuantity=quantity(200, "mg/dL")) | late,
            observed("2345-7", valueQuantity=quantity(90, "mg/dL")) | early,
        )
    )
    assert (found.facts["glucose"], found.facts["age"]) == (200.0, 53.0)
    assert found.notes


def test_without_an_age_or_with_two_people_it_is_no_patient() -> None:
    assert from_bundle(bundle(WOMAN)).trouble is Trouble.NO_PERSON
    assert from_bundle(bundle(WOMAN, timestamp="2024-01-01T00:00:00Z")).facts["age"] == 53.0
    assert from_bundle(bundle(WOMAN, WOMAN, AGE)).trouble is Trouble.CONTRADICTION


@pytest.mark.parametrize(
    "thing", ["", "no JSON", "[]", "{}", b"\xff", {}, {"resourceType": "Patient"}, None, 3, [], "[" * 100_000]
)
def test_what_is_no_bundle_is_refused(thing: Any) -> None:
    with pytest.raises(BadArgument, match="Bundle"):
        from_bundle(thing)


def test_what_the_library_does_not_know_is_refused() -> None:
    for facts in ({"bananas": 1.0}, {"tsh": float("nan")}):
        with pytest.raises(BadArgument):
            to_bundle(facts)


words = st.sampled_from(
    [
        "resourceType",
        "entry",
        "resource",
        "code",
        "coding",
        "text",
        "system",
        "value",
        "valueQuantity",
        "valueString",
        "unit",
        "status",
        "gender",
        "birthDate",
        "timestamp",
        "component",
        "effectiveDateTime",
        "subject",
    ]
)
texts = st.sampled_from(
    [
        "Bundle",
        "Patient",
        "Observation",
        "Condition",
        "MedicationStatement",
        "final",
        "female",
        "2020-01-01",
        LOINC,
        "2345-7",
        "30525-0",
        "82810-3",
        "29463-7",
        "a",
        "kg",
        "mg/dL",
        "TSH",
        "fever",
    ]
) | st.text(max_size=6)
data = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(words, inner, max_size=5),
    max_leaves=30,
)
odd = st.fixed_dictionaries({"resourceType": st.sampled_from(["Patient", "Observation", "Condition", "MedicationStatement"])}, optional={"code": st.fixed_dictionaries({"coding": st.lists(st.fixed_dictionaries({"system": st.just(LOINC), "code": texts}) | data, max_size=2), "text": texts | data}) | data, "valueQuantity": st.fixed_dictionaries({"value": st.floats() | data, "code": texts}) | data, "gender": data, "birthDate": data, "status": data, "component": data, "verificationStatus": data, "effectiveDateTime": data})  # fmt: skip


@given(st.lists(odd | data, max_size=6), data)
def test_no_bundle_is_too_odd(resources: list[Any], when: Any) -> None:
    found = from_bundle(
        {"resourceType": "Bundle", "entry": [{"resource": one} for one in resources], "timestamp": when}
    )
    assert (found.trouble is None) == (found.reason == "")
    assert all(np.isfinite(value) for value in found.facts.values())
