"""Panels and complaints: every fact is revealed exactly once, and every mistake in them is named."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from azr_gym.clinical.library import AGE, PERSON, BadKnowledge, knowledge, read

BASE = """
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
source = "book"
panel = "sweets"

[[analyte]]
id = "salt"
name = "Salt"
unit = "g"
reference = [1, 2]
limits = [0, 9]
source = "book"

[[finding]]
id = "thirst"
name = "thirst"
kind = "symptom"

[[finding]]
id = "hunger"
name = "hunger"
kind = "symptom"
"""
PANELS = """
[[panel]]
id = "blood"
name = "blood test"
work = "laboratory"
cost = 2
aliases = ["bloods"]
analytes = ["sweets", "salt"]
findings = ["hunger"]

[[panel]]
id = "talk"
name = "questions"
work = "question"
cost = 1
rest = ["symptom"]

[[complaint]]
id = "dry"
name = "a dry mouth"
findings = ["thirst"]
conditions = ["one", "two"]
"""
CONDITIONS = "".join(
    f"""
[[condition]]
id = "{name}"
name = "{name} disease"
system = "metabolic"
icd10cm = "E11.9"
acuity = 4
tier = "common"
presents = {{ thirst = 0.9 }}
[[condition.rule]]
when = "sugar > uln(sugar) and thirst"
certainty = "definite"
source = "book"
seen = "https://example.org"
"""
    for name in ("one", "two")
)


def write(folder: Path, panels: str) -> list[Path]:
    paths = [folder / "base.toml", folder / "panels.toml"]
    for path, text in zip(paths, (BASE + CONDITIONS, panels), strict=True):
        path.write_text(text)
    return paths


def test_a_panel_reveals_what_it_lists_and_the_rest_of_its_kinds(tmp_path: Path) -> None:
    known = read(write(tmp_path, PANELS))
    assert known.reveals == {"blood": ("hunger", "salt", "sugar"), "talk": ("thirst",)}
    assert known.names["panel"]["bloods"] == "blood"
    assert known.names["complaint"]["a dry mouth"] == "dry"


def test_without_panels_nothing_has_to_be_revealed(tmp_path: Path) -> None:
    assert read(write(tmp_path, "")).reveals == {}


@pytest.mark.parametrize(
    ("old", "new", "wanted"),
    [
        ('"sweets", ', "", "base.toml, analyte sugar: panel: no [[panel]] measures 'sweets'"),
        (', "salt"', "", "base.toml, analyte salt: panel: no [[panel]] measures 'salt'"),
        ('"salt"]', '"salt", "pepper"]', "panels.toml, panel blood: analytes: no analyte has the panel 'pepper'"),
        ('"hunger"', '"hunger", "anger"', "panels.toml, panel blood: findings: nothing is called 'anger'"),
        ('rest = ["symptom"]', "", "base.toml, finding thirst: no [[panel]] shows it"),
        ('rest = ["symptom"]', 'rest = ["sign"]', "panels.toml, panel talk: rest: no finding is of the kind 'sign'"),
        ('rest = ["symptom"]', 'findings = ["hunger"]\nrest = ["symptom"]', "talk: findings: blood has 'hunger' already"),
        ('"hunger"', '"hunger", "thirst"', "panels.toml, panel talk: findings: it reveals nothing"),
        ("cost = 2", "cost = -2", "panels.toml, panel blood: cost: -2.0 is no whole number from 0 to 100"),
        ("cost = 2", "cost = 2.5", "panels.toml, panel blood: cost: 2.5 is no whole number from 0 to 100"),
        ("cost = 2", "cost = nan", "panels.toml, panel blood: cost: nan is no whole number from 0 to 100"),
        ('work = "question"', 'work = "chat"', "panels.toml, panel talk: work: 'chat' is none of question"),
        ('"bloods"', '"questions"', "is a name of blood too"),
        ('["thirst"]', '["thurst"]', "panels.toml, complaint dry: findings: nothing is called 'thurst'"),
        ('["thirst"]', '["hunger"]', "panels.toml, complaint dry: conditions: one presents none of hunger"),
        ('"two"]', '"three"]', "panels.toml, complaint dry: conditions: nothing is called 'three'"),
        (', "two"]', "]", "panels.toml, complaint dry: conditions: with less than two"),
    ],
)  # fmt: skip
def test_a_mistake_is_named(tmp_path: Path, old: str, new: str, wanted: str) -> None:
    assert old in PANELS
    with pytest.raises(BadKnowledge, match=re.escape(wanted)):
        read(write(tmp_path, PANELS.replace(old, new, 1)))


# --- what ships -------------------------------------------------------------------------------------------------
def test_every_fact_is_revealed_exactly_once() -> None:
    known = knowledge()
    facts = [name for names in known.reveals.values() for name in names]
    assert sorted(facts) == sorted([*known.findings, *known.analytes])
    assert not {*PERSON, AGE} & set(facts)  # they are known from the start


def test_what_is_asked_is_a_symptom_and_what_is_imaged_an_image() -> None:
    known = knowledge()
    for panel, kind in (("symptoms_heart", "symptom"), ("ecg", "ecg"), ("chest_xray", "imaging"), ("course", "course")):
        shown = [known.findings[name] for name in known.reveals[panel] if name in known.findings]
        assert {str(one.kind) for one in shown} == {kind}, panel


def test_vital_signs_are_given_and_cost_nothing_and_all_else_costs() -> None:
    known = knowledge()
    assert {one.id for one in known.panels.values() if one.given} == {"vital_signs"}
    assert all((one.cost == 0) == one.given for one in known.panels.values())
    assert {"heart_rate", "systolic_bp", "spo2", "temperature"} <= set(known.reveals["vital_signs"])


@pytest.mark.parametrize(
    "said", ["CBC", "troponin", "ECG", "chest X-ray", "LFTs", "ABG", "TFTs", "urine dipstick", "LP"]
)
def test_people_name_panels_as_they_are_used_to(said: str) -> None:
    assert " ".join(said.casefold().replace("-", " ").split()) in knowledge().names["panel"]


def test_complaints_are_broad_and_each_has_something_urgent_behind_it() -> None:
    known = knowledge()
    assert {"chest_pain", "dyspnoea", "abdominal_pain", "fever", "headache"} <= set(known.complaints)
    for one in known.complaints.values():
        assert 10 <= len(one.conditions) <= 20, one.id
        assert min(known.conditions[name].acuity for name in one.conditions) <= 2, one.id
