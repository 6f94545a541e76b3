"""Patients are read from whatever people and models write, and nothing that is written raises."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from azr_gym.clinical import prompts
from azr_gym.clinical.case import Trouble, closed, parse_case
from azr_gym.clinical.library import knowledge
from azr_gym.clinical.plausible import contradiction, remarks
from azr_gym.clinical.values import Disagreement, UnknownUnit, Unreadable, number_of
from azr_gym.roles import PromptStyle

SEED = """Here is a case for you:
```json
{
\u2022 \u201cage\u201d: 65,
\u2022 \u201csex\u201d: \u201cF\u201d,
\u2022 \u201csymptoms\u201d: [\u201cchest pain\u201d, \u201cshortness of breath\u201d, \u201cdiaphoresis\u201d],
\u2022 \u201cvitals\u201d: {\u201cBP\u201d: \u201c150/90\u201d, \u201cHR\u201d: 110, \u201cSpO\u2082\u201d: \u201c94%\u201d},
\u2022 \u201clabs\u201d: {\u201cTroponin I\u201d: \u201c0.8 ng/mL\u201d, \u201cCK-MB\u201d: 7,},
\u2022 \u201cprompt\u201d: \u201cWhat is the most likely diagnosis?\u201d
}}
```
Good luck!"""


def test_curly_quotes_bullets_fences_and_a_bracket_too_many_are_read() -> None:
    found = parse_case(SEED)
    assert found.trouble is None, found.reason
    wanted = {
        "age": 65, "female": 1, "male": 0, "pregnant": 0, "chest_pain": 1, "dyspnoea": 1, "diaphoresis": 1, "systolic_bp": 150,
        "diastolic_bp": 90, "heart_rate": 110, "spo2": 94, "troponin_i": 0.8, "ckmb": 7,
    }  # fmt: skip
    assert dict(found.facts) == wanted
    assert found.question == "What is the most likely diagnosis?"


@pytest.mark.parametrize(
    ("text", "name", "wanted"),
    [
        ("0.8 ng/mL", "troponin_i", 0.8), ("<0.01", "troponin_i", 0.01), ("13,400/mm3", "leukocytes", 13.4), ("12 x10^9/L", "leukocytes", 12.0),
        ("25 x 10^4 /uL", "platelets", 250.0), ("1,7 mg/dL", "creatinine", 1.7), ("88 umol/L", "creatinine", 0.995), ("88 \u00b5mol/L", "creatinine", 0.995),
        ("110-120", "heart_rate", 115.0), ("88 to 110 bpm", "heart_rate", 99.0), ("38.3\u00b0C (100.9\u00b0F)", "temperature", 38.3),
        ("100.9", "temperature", 38.278), ("36.8\u2103 (98.2\u2109)", "temperature", 36.8), ("98.6 F", "temperature", 37.0), (0.94, "spo2", 94.0),
        ("94 %", "spo2", 94.0), ("normal", "tsh", 2.45), ("5.6 mmol/L", "glucose", 100.89), ("48 mmol/mol", "hba1c", 6.542), (13400, "leukocytes", 13.4),
        ("1.7 mg/dL (elevated)", "creatinine", 1.7), ({"value": 8, "unit": "mU/L"}, "tsh", 8.0), (["1.0", "2.4 mg/dL"], "creatinine", 2.4), ("+3.5", "potassium", 3.5),
    ],
)  # fmt: skip
def test_values_as_they_are_written(text: object, name: str, wanted: float) -> None:
    assert number_of(text, knowledge().analytes[name]) == pytest.approx(wanted, rel=1e-3)


@pytest.mark.parametrize(
    ("called", "text", "name", "wanted"),
    [
        ("urea", "40 mg/dL", "bun", 18.66), ("serum urea", "6.5 mmol/L", "bun", 18.21), ("BUN", "40 mg/dL", "bun", 40.0), ("blood urea nitrogen", 40, "bun", 40.0),
        ("BUN", "0.4 g/L urea", "bun", 18.66), ("D-dimer", "300 ng/mL DDU", "d_dimer", 600.0), ("D-dimer (DDU)", "0.3 mg/L", "d_dimer", 600.0),
        ("D-dimer", "0.3 ug{DDU}/mL", "d_dimer", 600.0), ("D-dimer", "300 ng/mL (DDU)", "d_dimer", 600.0), ("D-dimer (FEU)", 500, "d_dimer", 500.0),
        ("D-dimer (FEU)", "300 ng/mL DDU", "d_dimer", 600.0), ("D-dimer", "0.5 ug FEU/mL", "d_dimer", 500.0), ("D-dimer", "500 ng/mL", "d_dimer", 500.0),
    ],
)  # fmt: skip
def test_the_same_unit_of_another_thing_is_another_amount(called: str, text: object, name: str, wanted: float) -> None:
    assert number_of(text, knowledge().analytes[name], called) == pytest.approx(wanted, rel=1e-3)


@pytest.mark.parametrize(
    ("called", "text", "name"),
    [
        ("urea", 40, "bun"), ("urea", "40 (high)", "bun"), ("D-dimer DDU", "250 high", "d_dimer"), ("BUN", "40 pints of urea", "bun"),
        ("D-dimer", "500 ng/mL FEU, 250 ng/mL DDU", "d_dimer"), ("TSH", "8 bananas", "tsh"),
    ],
)  # fmt: skip
def test_a_unit_that_does_not_say_how_much_it_is_is_unknown(called: str, text: object, name: str) -> None:
    with pytest.raises(UnknownUnit):
        number_of(text, knowledge().analytes[name], called)


@pytest.mark.parametrize(
    ("text", "name", "wanted"),
    [
        ("38.3 C (100.9 F)", "temperature", 38.3), ("38 C (101 F)", "temperature", 38.0), ("101 fahrenheit", "temperature", 38.333),
        ("100.9 F / 38.3 C", "temperature", 38.278), ("38.3 (100.9 F)", "temperature", 38.3), ("38.3 C (96.0 F yesterday)", "temperature", 38.3),
        ("100 mg/dL (5.6 mmol/L)", "glucose", 100.0), ("1.7 mg/dL, 150 umol/L", "creatinine", 1.7), ("8.0 x10^9/L (8,000/uL)", "leukocytes", 8.0),
        ("1.7 mg/dL (0.7 mg/dL)", "creatinine", 1.7), ("1.7 mg/dL (reference 53-106 umol/L)", "creatinine", 1.7),
    ],
)  # fmt: skip
def test_a_value_may_be_given_in_two_units(text: str, name: str, wanted: float) -> None:
    assert number_of(text, knowledge().analytes[name]) == pytest.approx(wanted, rel=1e-3)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("38.3 C (96.0 F)", "temperature"), ("38.3 (96.0 F)", "temperature"), ("96.0 F / 38.3 C", "temperature"), ("38.3 C (100.2 F)", "temperature"),
        ("100 mg/dL (7.0 mmol/L)", "glucose"), ("8.0 x10^9/L (12,000/uL)", "leukocytes"),
    ],
)  # fmt: skip
def test_two_units_that_disagree_are_a_contradiction(text: str, name: str) -> None:
    with pytest.raises(Disagreement):
        number_of(text, knowledge().analytes[name])
    found = parse_case(json.dumps({"age": 50, "sex": "M", "labs": {name: text}}))
    assert (found.trouble, name in found.facts) == (Trouble.CONTRADICTION, False)
    assert "two values" in found.reason


@pytest.mark.parametrize("text", ["", "?", "unknown", "not specified", "pending", "N/A"])
def test_what_is_not_known_stays_so(text: str) -> None:
    assert number_of(text, knowledge().analytes["tsh"]) is None


@pytest.mark.parametrize("text", ["12 bananas", "high", True, "mg/dL", 10**400, math.inf, math.nan, f"5-{'9' * 400}"])
def test_what_is_no_value_is_said_to_be_none(text: object) -> None:
    with pytest.raises(Unreadable):
        number_of(text, knowledge().analytes["tsh"])


@pytest.mark.parametrize(
    ("text", "trouble"),
    [
        ("no patient here", Trouble.NO_JSON), ("", Trouble.NO_JSON), ('{"age": 4', Trouble.NO_PERSON), ("{}", Trouble.NO_PERSON), ("{" * 500, Trouble.NO_JSON),
        ('{"age": 40, "sex": "F", "labs": {"TSH": "8 bananas"}}', Trouble.UNKNOWN_UNIT), ('{"age": 40}', Trouble.NO_PERSON),
        ('{"age": "1,234,567", "sex": "F"}', Trouble.NO_PERSON), ('{"age": 40, "sex": "F", "labs": {"urea": 40}}', Trouble.UNKNOWN_UNIT),
        ('{"age": 40, "sex": "F", "symptoms": ["chest pain", "no chest pain"]}', Trouble.CONTRADICTION), ('{"age": 400, "sex": "F"}', Trouble.NO_PERSON),
    ],
)  # fmt: skip
def test_what_is_no_patient_is_told_why(text: str, trouble: Trouble) -> None:
    found = parse_case(text)
    assert found.trouble is trouble
    assert found.reason


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("HBsAg: negative", {"hbsag_positive": 0.0}), ("non-smoker", {"smoking": 0.0}), ("ex-smoker", {"smoking": 0.0}),
        ("chest pain not present", {"chest_pain": 0.0}), ("denies chest pain", {"chest_pain": 0.0}), ("severe chest pain, no fever", {"chest_pain": 1.0, "fever": 0.0}),
        ("fever, no urine output", {"fever": 1.0, "anuria_12h": 1.0}), ("no urine output since yesterday", {"anuria_12h": 1.0}),
        ("no P waves or chest pain", {"absent_p_waves": 1.0, "chest_pain": 0.0}), ("fever, HBsAg not detected", {"hbsag_positive": 0.0}),
        ("fever, urate crystals in the joint fluid", {"msu_crystals": 1.0}), ("no urate crystals in the joint fluid", {"msu_crystals": 0.0}), ("not relieved by rest; cough", {"relieved_by_rest": 0.0}),
        ("no fever or cough", {"fever": 0.0, "cough": 0.0}), ("chest pain; denied dyspnea", {"chest_pain": 1.0, "dyspnoea": 0.0}), ("history of smoking", {"smoking": 1.0}),
    ],
)  # fmt: skip
def test_findings_in_words(text: str, wanted: dict[str, float]) -> None:
    found = parse_case(json.dumps({"age": 50, "sex": "M", "complaint": text}))
    assert {name: found.facts.get(name) for name in wanted} == wanted


DIPSTICK = {
    "urine ketones": "urine_ketones_positive", "ketonuria": "urine_ketones_positive", "urine protein": "urine_protein_positive", "proteinuria": "urine_protein_positive",
    "glycosuria": "urine_glucose_positive", "leukocyte esterase": "urine_leukocytes_positive", "nitrites": "urine_nitrite_positive", "urine blood": "urine_blood_positive",
}  # fmt: skip


@pytest.mark.parametrize(
    "grade", ["trace", "Trace (5)", "1+", "2+", "3 +", "4+", "+4", "+", "++", "+++ (large)", "moderate", "+ve"]
)
@pytest.mark.parametrize("called", DIPSTICK)
def test_a_grade_of_a_dipstick_says_that_it_is_there(called: str, grade: str) -> None:
    for labs in ({called: grade}, [f"{called} {grade}"], [f"{called}: {grade}"], [{"name": called, "value": grade}]):
        found = parse_case(json.dumps({"age": 50, "sex": "M", "labs": labs}))
        assert (found.facts.get(DIPSTICK[called]), found.notes, found.trouble) == (1.0, (), None), labs


@pytest.mark.parametrize("minus", ["-", "\u2212", "(-)", "-ve", "\u2013"])
@pytest.mark.parametrize("called", ["urine ketones", "nitrites", "glycosuria", "urine glucose"])
def test_a_minus_says_that_it_is_not_there(called: str, minus: str) -> None:
    finding = knowledge().names["finding"][called]
    labs: list[object] = [{called: minus}, [f"{called} {minus}"], [f"{called}: {minus}"], f"cough, {called} {minus}"]
    texts = [json.dumps({"age": 30, "sex": "F", "labs": one}) for one in labs]
    for text in [*texts, f"30 F\n{called} {minus}", f"30 F\n+ cough, {called} {minus}"]:
        assert parse_case(text).facts[finding] == 0.0, text


def test_a_grade_is_no_number() -> None:
    parsed = parse_case('{"age": 30, "sex": "F", "urine": {"glucose": "3+"}, "base_excess": "+3"}')
    assert "glucose" not in parsed.facts
    assert parsed.facts["base_excess"] == 3


@pytest.mark.parametrize(("called", "value"), [("urine ketones", "negative"), ("urine protein", "none"), ("urine ketones", "5+"), ("chest pain", "4+"), ("chest pain", "-")])  # fmt: skip
def test_what_is_no_grade_does_not(called: str, value: str) -> None:
    found = parse_case(json.dumps({"age": 50, "sex": "M", "labs": {called: value}}))
    assert 1.0 not in {found.facts.get(name) for name in ("urine_ketones_positive", "urine_protein_positive", "chest_pain", "urine_nitrite_positive")}  # fmt: skip


@pytest.mark.parametrize(
    ("labs", "wanted"),
    [
        ({"neutrophils": "80 %"}, {"neutrophil_percent": 80.0}), ({"neutrophils (%)": 80}, {"neutrophil_percent": 80.0}), ({"lymphocytes %": 15}, {"lymphocyte_percent": 15.0}),
        ({"% eosinophils": 4}, {"eosinophil_percent": 4.0}), (["Neutrophils 80%", "Lymphocytes %: 15"], {"neutrophil_percent": 80.0, "lymphocyte_percent": 15.0}),
        ({"neutrophils": {"value": 80, "unit": "%"}}, {"neutrophil_percent": 80.0}), ({"neutrophils": "80 percent"}, {"neutrophil_percent": 80.0}),
        ({"neutrophils": "6.4 x10^9/L (80 %)"}, {"neutrophils": 6.4}), ({"neutrophils": 6.4}, {"neutrophils": 6.4}), ({"lymphocytes": 15}, {"lymphocyte_percent": 15.0}),
    ],
)  # fmt: skip
def test_a_differential_in_per_cent(labs: object, wanted: dict[str, float]) -> None:
    found = parse_case(json.dumps({"age": 50, "sex": "M", "labs": labs}))
    assert found.trouble is None, found.reason
    assert {name: value for name, value in found.facts.items() if name in knowledge().analytes} == wanted


@pytest.mark.parametrize("count", ["2.0 x10^9/L", "2000/uL"])
def test_a_count_of_cells_that_are_read_in_per_cent_is_left_aside(count: str) -> None:
    found = parse_case(json.dumps({"age": 50, "sex": "M", "labs": {"lymphocytes": count}}))
    assert (found.trouble, "lymphocyte_percent" in found.facts, len(found.notes)) == (None, False, 1)


def test_a_differential_over_a_hundred_can_not_be() -> None:
    reason = "the differential count adds up to more than 100%"
    found = parse_case('{"age": 50, "sex": "M", "labs": {"neutrophils": "80 %", "lymphocytes %": "30"}}')
    assert contradiction(found.facts, knowledge()) == reason
    found = parse_case('{"age": 50, "sex": "M", "labs": {"neutrophils": "80 %", "lymphs %": 15, "% eosinophils": 10}}')
    assert [one.reason for one in remarks(found.facts, knowledge())] == [reason]


SALTS = {"Na": 140, "Cl": 104, "HCO3": 24}


@pytest.mark.parametrize(
    ("said", "agrees"),
    [
        ({**SALTS, "anion gap": 12}, True), ({**SALTS, "AG": "16 mEq/L"}, True), ({**SALTS, "anion gap": 30}, False), ({**SALTS, "anion gap (mmol/L)": 8}, False),
        ({"BP": "120/80", "MAP": "93 mmHg"}, True), ({"BP": "120/80", "MAP": 60}, False), ({"MAP": "12.4 kPa", "BP": "120/80"}, True), ({"BMI": 22.9, "weight": "70 kg", "height": "175 cm"}, True),
        ({"BMI": "31 kg/m2", "weight": "70 kg", "height": "175 cm"}, False), ({"Na": 140, "Cl": 104, "anion gap": 30}, True), ({"BMI": 31, "weight": "70 kg"}, True), ({"MAP": "normal", "BP": "120/80"}, True),
        ({"MAP": "high", "BP": "120/80"}, True),
    ],
)  # fmt: skip
def test_what_a_computed_number_is_said_to_be_must_follow(said: dict[str, object], agrees: bool) -> None:
    found = parse_case(json.dumps({"age": 50, "sex": "M", "labs": said}))
    assert found.trouble is (None if agrees else Trouble.CONTRADICTION)
    assert agrees or "is said to be" in found.reason
    assert not {"anion_gap", "map", "bmi"} & set(found.facts)


def test_a_computed_number_may_stand_in_a_line() -> None:
    lines = ["Na 140", "Cl 104", "HCO3 24", "anion gap 30"]
    assert parse_case(json.dumps({"age": 50, "sex": "M", "labs": lines})).trouble is Trouble.CONTRADICTION
    assert parse_case("50 M\nsodium 140, chloride 104, bicarbonate 24\nanion_gap 30").trouble is Trouble.CONTRADICTION


GAS = {"pH": 7.0, "pCO2": 40, "HCO3": 24}


@pytest.mark.parametrize(
    ("said", "agrees"),
    [
        ({"labs": GAS}, False), ({"abg": GAS}, False), ({"labs": {**GAS, "HCO3": 10}}, True), ({"labs": {**GAS, "HCO3": 15}}, True), ({"labs": {"pH": 7.0, "HCO3": 24}}, True),
        ({"symptoms": ["no fever"], "temperature": 39.0}, False), ({"symptoms": ["afebrile"], "temperature": "38.3 C"}, False), ({"general": "afebrile, tired", "temperature": 37.9}, True),
        ({"symptoms": ["fever"], "temperature": 39.0}, True), ({"symptoms": ["no fever"]}, True), ({"temperature": 39.0}, True),
    ],
)  # fmt: skip
def test_facts_that_contradict_each_other_are_refused(said: dict[str, object], agrees: bool) -> None:
    found = parse_case(json.dumps({"age": 50, "sex": "M", **said}))
    assert found.trouble is None, found.reason
    assert bool(contradiction(found.facts, knowledge())) is not agrees


def test_afebrile_is_without_fever() -> None:
    assert parse_case('{"age": 50, "sex": "M", "signs": ["afebrile"]}').facts["fever"] == 0.0
    assert parse_case('{"age": 50, "sex": "M", "signs": {"afebrile": true}}').facts["fever"] == 0.0


@pytest.mark.parametrize("there", [True, False])
def test_every_finding_is_read_as_charts_say_it(there: bool) -> None:
    for one in knowledge().findings.values():
        found = parse_case(json.dumps({"age": 50, "sex": "M", "findings": [one.name if there else one.absence]}))
        said = {name: value for name, value in found.facts.items() if name in knowledge().findings}
        assert said == {one.id: float(there)}, one.absence


def test_absence_is_said_as_people_say_it() -> None:
    first = ("a ", "an ", "the ", "no ", "not ", "normal ", "absent ", "relieved ", "worse ", "better ")
    assert not [one.absence for one in knowledge().findings.values() if one.absence.removeprefix("no ").startswith(first) and one.absence.startswith("no ")]  # fmt: skip


def test_a_key_may_say_that_something_is_not_there() -> None:
    found = parse_case('{"age": 50, "sex": "M", "previous seizures": true, "HBsAg": "negative"}')
    assert (found.facts["no_previous_seizures"], found.facts["hbsag_positive"]) == (0.0, 0.0)


def test_values_may_stand_in_a_list_of_lines() -> None:
    found = parse_case(
        '{"age": 50, "sex": "M", "labs": ["TSH 8 mU/L", "Troponin I: <0.01 ng/mL", "BP 150/90", "Urea = 40 mg/dL"]}'
    )
    wanted = {"tsh": 8.0, "troponin_i": 0.01, "systolic_bp": 150.0, "diastolic_bp": 90.0, "bun": 18.66}
    assert {name: found.facts[name] for name in wanted} == pytest.approx(wanted, rel=1e-3)


def test_what_a_text_claims_is_no_fact() -> None:
    said = '{"age": 50, "sex": "M", "symptoms": ["cough"]'
    assert parse_case(f'{said}, "claimed_diagnosis": "chest pain"}}') == parse_case(f"{said}}}")


@given(st.text(max_size=200) | st.text('{}[]",:agesexFM0123456789. -<>/', max_size=200))
def test_any_text_is_read_or_refused(text: str) -> None:
    found = parse_case(text)
    assert (found.trouble is None) == (found.reason == "")
    assert all(math.isfinite(value) for value in found.facts.values())


scalars = st.none() | st.booleans() | st.floats() | st.text(max_size=12)
keys = st.sampled_from("age sex labs TSH BP symptoms x name value unit pregnant".split())
junk: st.SearchStrategy[object] = st.deferred(
    lambda: scalars | st.lists(junk, max_size=3) | st.dictionaries(keys, junk, max_size=4)
)


@given(junk)
def test_any_json_is_read_or_refused(data: object) -> None:
    found = parse_case(json.dumps({"age": 50, "sex": "F", "more": data}))
    assert all(math.isfinite(value) for value in found.facts.values())


names = sorted(knowledge().findings)
numbers = sorted(knowledge().analytes)


@given(
    st.dictionaries(st.sampled_from(names), st.sampled_from([0.0, 1.0]), max_size=8),
    st.dictionaries(st.sampled_from(numbers), st.floats(0, 1), max_size=8),
    st.integers(2, 100), st.booleans(), st.sampled_from(PromptStyle),
)  # fmt: skip
def test_a_written_patient_is_read_back(
    findings: dict[str, float], shares: dict[str, float], age: int, female: bool, style: PromptStyle
) -> None:
    known = knowledge()
    analytes = known.analytes
    values = {name: round(analytes[name].limits[0] + share * (analytes[name].limits[1] - analytes[name].limits[0]), analytes[name].decimals) for name, share in shares.items()}  # fmt: skip
    facts = {"age": float(age), "female": float(female), "male": float(not female), "pregnant": 0.0} | findings | values
    text = prompts.patient(known, facts, style)
    found = parse_case(text.removeprefix("<answer>").removesuffix("</answer>"))
    assert found.trouble is None, found.reason
    assert dict(found.facts) == pytest.approx(facts)


@given(st.dictionaries(st.sampled_from(names), st.sampled_from([0.0, 1.0]), max_size=12))
def test_what_follows_is_found_at_once(findings: dict[str, float]) -> None:
    found = closed(findings, knowledge())
    assert closed(found, knowledge()) == found
    assert all(found[name] == 1.0 for name, value in findings.items() if value)


def test_what_is_implied_is_there_too() -> None:
    assert closed({"epigastric_pain": 1.0}, knowledge())["abdominal_pain"] == 1.0
    assert "abdominal_pain" not in closed({"epigastric_pain": 0.0}, knowledge())


@pytest.mark.parametrize(
    "text",
    [
        '{"age": 40, "sex": "M", "weight": "110 kg", "height": "1.75 m"}', '{"age": 40, "sex": "M", "labs": {"weight_kg": 110.0, "height_cm": 175}}',
        "40 M\nheight_cm 175, weight_kg 110",
    ],
)  # fmt: skip
def test_how_heavy_and_how_tall_somebody_is(text: str) -> None:
    facts = parse_case(text).facts
    assert (facts["weight_kg"], facts["height_cm"]) == (110.0, 175.0)
    assert parse_case(text).notes == ()


def test_a_weight_that_is_none_is_said_to_be_none() -> None:
    found = parse_case('{"age": 40, "sex": "M", "weight": "12 stone"}')
    assert "weight_kg" not in found.facts
    assert found.notes == ("'12 stone' is no weight: write 80 kg, or 175 cm",)
