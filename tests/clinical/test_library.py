"""The knowledge files: every mistake is one error that names file, record, key and reason; what ships has none."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from azr_gym.clinical import review
from azr_gym.clinical.library import BadKnowledge, knowledge, plain, read

GOOD = """
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

[[finding]]
id = "thirst"
name = "thirst"
kind = "symptom"

[[item]]
id = "sugar_rise"
name = "Rise of sugar"
unit = "g"
limits = [-9, 9]

[[derived]]
id = "sugar_before"
name = "Sugar before"
formula = "sugar - sugar_rise"
source = "book"

[[score]]
id = "sugar_score"
name = "Sugar score"
formula = "points(sugar_before > 2)"
range = [0, 1]
source = "book"

[[measured]]
id = "thirst"
when = "sugar > uln(sugar)"
labs = { sugar = [4, 5] }
source = "book"

[[condition]]
id = "sweetness"
name = "Sweetness"
system = "metabolic"
icd10cm = "E11.9"
acuity = 4
tier = "common"
presents = { thirst = 0.9 }
labs = { sugar = [3, 5] }

[[condition.rule]]
when = "sugar > uln(sugar) and thirst"
certainty = "definite"
source = "book"
seen = "https://example.org"
"""
CHAIN = """
[[finding]]
id = "drought"
name = "drought"
kind = "sign"
implies = ["thirst"]

[[finding]]
id = "dropsy"
name = "dropsy"
kind = "sign"
implies = ["drought"]

[[measured]]"""


def write(folder: Path, *texts: str) -> list[Path]:
    paths = [folder / f"{number}.toml" for number in range(len(texts))]
    for path, text in zip(paths, texts, strict=True):
        path.write_text(text)
    return paths


def test_what_is_written_is_read(tmp_path: Path) -> None:
    known = read(write(tmp_path, GOOD))
    assert known.conditions["sweetness"].labs["sugar"] == (3.0, 5.0)
    assert [check.condition.id for check in known.checks] == ["sweetness"]
    assert known.names["condition"]["sweetness"] == "sweetness"


@pytest.mark.parametrize(
    ("old", "new", "wanted"),
    [
        ('unit = "g"', "", "0.toml, analyte sugar: unit: it is missing"),
        ('unit = "g"', 'unit = "g"\ncolour = "red"', "0.toml, analyte sugar: colour: there is no such key"),
        ('unit = "g"', "unit = 3", "0.toml, analyte sugar: unit: 3 is no str"),
        ("reference = [1, 2]", "reference = [2, 1]", "analyte sugar: reference: [2, 1] is no [low, high]"),
        ("limits = [0, 9]", "limits = [0, 9]\nchildren = { 1 = [1, 2] }", "analyte sugar: children_source: nothing is"),
        ("limits = [0, 9]", "limits = [0, 9]\nchildren = { 5 = [1, 2], 1 = [1, 3] }", "children: ['5', '1'] do not ascend"),
        ("limits = [0, 9]", "limits = [0, 9]\nchildren = { young = [1, 2] }", "children: ['young'] are no ages in years"),
        ("limits = [0, 9]", "limits = [0, 9]\nchildren = { 1 = [1, 12] }", "children.1: [1.0, 12.0] is empty, or outside"),
        ("limits = [0, 9]", "limits = [0, 9]\ngirls = { 1 = [1, 2] }", "analyte sugar: girls: 1 is no age of children"),
        ('kind = "symptom"', 'kind = "feeling"', "finding thirst: kind: 'feeling' is none of symptom"),
        ('source = "book"\n\n[[finding]]', 'source = "page"\n\n[[finding]]', "analyte sugar: source: nothing is called 'page'"),
        ('tier = "common"', 'tier = "usual"', "condition sweetness: tier: 'usual' is none of very_common"),
        ("acuity = 4", "acuity = 6", "condition sweetness: acuity: 6 is none of 1 to 5"),
        ("thirst = 0.9", "thirst = 1.9", "presents.thirst: 1.9 is no share"),
        ("thirst = 0.9", "hunger = 0.9", "condition sweetness: presents: nothing is called 'hunger'"),
        ("sugar = [3, 5]", "sugar = [3, 50]", "labs.sugar: [3.0, 50.0] is empty, or outside"),
        ('certainty = "definite"', 'certainty = "sure"', "rule 1: certainty: 'sure' is none of definite"),
        ("uln(sugar) and", "uln(sugar) und", "condition sweetness: rule 1: when: "),
        ("and thirst", "and hunger", "rule 1: when: 'hunger' in "),
        ('id = "thirst"', 'id = "Thirst!"', "id: 'Thirst!' is no name"),
        ("sugar > uln(sugar)\"\nlabs", "sugar > uln(salt)\"\nlabs", "measured thirst: when: "),
        ('when = "sugar > uln(sugar)"\nlabs', "labs", "measured thirst: when: neither it nor unless is there"),
        ("[[measured]]", CHAIN, "finding dropsy: implies: thirst is missing, which drought implies"),
        ("sugar = [4, 5]", "sugar = [4, 50]", "measured thirst: labs: sugar is from 0 to 9"),
        ('[[measured]]\nid = "thirst"', '[[measured]]\nid = "hunger"', "measured hunger: id: nothing is called 'hunger'"),
        ("[[source]]", "[[sauce]]", "0.toml: [[sauce]] is none of"),
        ("[[source]]", "[[source", "0.toml: "),
        ("presents = {", 'parents = ["sweetness"]\npresents = {', "it comes back to itself: sweetness -> sweetness"),
        ('id = "thirst"', 'id = "sugar"', "sugar: two records of different kinds"),
        ('id = "sugar_rise"', 'id = "sugar"', "sugar: two records of different kinds"),
        ("limits = [-9, 9]", "limits = [9, -9]", "item sugar_rise: limits: [9, -9] is no [low, high]"),
        ("sugar_before > 2", "sugar_befor > 2", "score sugar_score: formula: "),
        ("uln(sugar) and thirst", "uln(sugar) and sugar_rise > 1", "rule 1: when: 'sugar_rise' in "),
        ("uln(sugar) and thirst", "uln(sugar) and sugar_before > 1", "rule 1: when: 'sugar_before' in "),
        ("uln(sugar) and thirst", "uln(sugar) and sugar_score > 0", "rule 1: when: 'sugar_score' in "),
    ],
)  # fmt: skip
def test_a_mistake_is_named(tmp_path: Path, old: str, new: str, wanted: str) -> None:
    assert old in GOOD
    with pytest.raises(BadKnowledge, match=re.escape(wanted)):
        read(write(tmp_path, GOOD.replace(old, new, 1)))


def test_nothing_is_defined_twice_nor_named_alike(tmp_path: Path) -> None:
    with pytest.raises(
        BadKnowledge, match=re.escape("1.toml, finding thirst: id: 0.toml, finding thirst has it already")
    ):
        read(write(tmp_path, GOOD, '[[finding]]\nid = "thirst"\nname = "more thirst"\nkind = "sign"'))
    with pytest.raises(BadKnowledge, match="'thirst' is a name of"):
        read(write(tmp_path, GOOD, '[[finding]]\nid = "dryness"\nname = "Thirst"\nkind = "sign"'))


# --- what ships -------------------------------------------------------------------------------------------------
NAN = float("nan")


@pytest.mark.parametrize(
    ("age", "female", "low", "high"),
    [
        (0.1, 1.0, 9, 9), (1.0, NAN, 10.5, 10.5), (2.0, 0.0, 11.5, 11.5), (11.9, 1.0, 11.5, 11.5), (17.0, 1.0, 12, 12), (17.0, 0.0, 13, 13), (17.0, NAN, 12, 13),
        (18.0, 1.0, 12, 12), (18.0, 0.0, 13, 13), (60.0, NAN, 12, 13), (NAN, 1.0, 9, 12), (NAN, 0.0, 9, 13), (NAN, NAN, 9, 13),
    ],
)  # fmt: skip
def test_a_reference_limit_is_of_the_age_and_sex_or_of_any_that_may_be(
    age: float, female: float, low: float, high: float
) -> None:
    """Haemoglobin's, which differs by both. In a batch with somebody else, and alone."""
    for others in ([], [40.0]):
        facts = {"age": np.array([age, *others]), "female": np.array([female, *([1.0] * len(others))])}
        found = knowledge().columns(facts, 1 + len(others)).number("haemoglobin lln")
        assert [np.broadcast_to(end, 1 + len(others))[0] for end in found] == [low, high]
    if age == age:
        by_sex = [knowledge().analytes["haemoglobin"].interval(sex, age)[0] for sex in (False, True)]
        assert (min(by_sex), max(by_sex)) == (low, high) or female == female


def test_it_is_broad() -> None:
    known = knowledge()
    assert len(known.conditions) >= 150
    assert len({one.system for one in known.conditions.values()}) >= 14
    assert len(known.scores) >= 25


def test_every_rule_has_a_source_with_a_year_and_a_page_where_it_was_seen() -> None:
    for check in knowledge().checks:
        source = knowledge().sources[check.rule.source]
        assert 1900 < source.year <= 2027, check.condition.id
        assert check.rule.seen.startswith("http"), check.condition.id


def test_every_code_is_a_leaf_of_icd_10_cm() -> None:
    codes = pytest.importorskip("simple_icd_10_cm", reason="no simple-icd-10-cm: codes can not be looked up")
    for one in knowledge().conditions.values():
        for code in (one.icd10cm, *one.codes):
            assert codes.is_valid_item(code), f"{one.id}: {code}"
        assert codes.is_leaf(one.icd10cm), f"{one.id}: {one.icd10cm}"


def test_every_finding_is_looked_at_or_shown() -> None:
    known = knowledge()
    used = {name for check in known.checks for name in check.criterion.names}
    used |= {name for one in known.conditions.values() for name in one.presents}
    used |= {name for one in known.formulas.values() for name in one.names}
    used |= {name for one in known.findings.values() for name in one.implies}
    assert len(set(known.findings) - used) < 0.1 * len(known.findings)


def test_plain_is_what_names_have_in_common() -> None:
    assert plain("Crohn's disease, ileal (active)") == "crohn s disease ileal active"
    assert plain("Neutrophils %") != plain("Neutrophils")
    assert plain("Henoch-Sch\u00f6nlein, 5 \u00b5L") == plain("Henoch-Schonlein 5 uL")


def test_the_page_of_sources_is_what_the_library_says() -> None:
    page = Path(review.__file__).parent / "knowledge" / "SOURCES.md"
    assert page.read_text("utf-8") == review.sources(knowledge()), "python -m azr_gym.clinical.review --sources"
