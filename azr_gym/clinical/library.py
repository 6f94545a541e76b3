"""The knowledge files together: read, bound to each other, checked and frozen. Judges nobody.

Every `knowledge/*.toml` may hold any of the tables `source`, `analyte`, `finding`, `measured`, `item`, `derived`,
`score`, `implausible`, `condition`, `panel` and `complaint`; a condition holds its rules. What one file defines, every
other may use. A mistake is one error that names the file, the record, the key and the reason.
"""

from __future__ import annotations

import functools
import re
import tomllib
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.resources import files
from importlib.resources.abc import Traversable
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from azr_gym.clinical.criteria import (
    BadCriterion,
    Columns,
    Criterion,
    Floats,
    Formula,
    Interval,
    Truth,
    Vocabulary,
    criterion,
    exactly,
    formula,
)
from azr_gym.clinical.panels import BadPanel, Complaint, Panel, check, revealed
from azr_gym.clinical.records import (
    AGE,
    BODY,
    FEMALE,
    MALE,
    OLDEST,
    PERSON,
    PREGNANT,
    TIERS,
    Analyte,
    BadKnowledge,
    Certainty,
    Condition,
    Derived,
    Finding,
    Implausible,
    Item,
    Kind,
    Level,
    Measured,
    Range,
    Rule,
    Score,
    Sex,
    Source,
    record,
)

__all__ = [
    "AGE", "BODY", "FEMALE", "MALE", "OLDEST", "PERSON", "PREGNANT", "TIERS", "Analyte", "BadKnowledge", "Certainty",
    "Check", "Condition", "Derived", "Finding", "Implausible", "Item", "Kind", "Level", "Library", "Measured", "Range",
    "Reading", "Rule", "Score", "Sex", "Source", "knowledge", "mentioned", "most_words", "plain", "read",
]  # fmt: skip


class Reading(NamedTuple):
    """What values say of a finding, read."""

    record: Measured
    when: Criterion
    unless: Criterion | None

    def __call__(self, columns: Columns) -> Truth:
        """Whether the finding must be there, and whether it can not be."""
        there = self.when(columns)
        return there if self.unless is None else Truth(there.yes, self.unless(columns).yes)


class Check(NamedTuple):
    """A rule that has been read."""

    condition: Condition
    rule: Rule
    criterion: Criterion


@dataclass(frozen=True, slots=True, eq=False)
class Library:
    """Everything that is known, by id."""

    sources: Mapping[str, Source]
    analytes: Mapping[str, Analyte]
    findings: Mapping[str, Finding]
    items: Mapping[str, Item]
    derived: Mapping[str, Derived]
    scores: Mapping[str, Score]
    conditions: Mapping[str, Condition]
    vocabulary: Vocabulary
    names: Mapping[str, Mapping[str, str]]  # by kind, one of `NAMED`: the id of every `plain` name
    absences: Mapping[str, str]  # the finding that is not there, of every `plain` way to say so that is more than "no"
    longest_finding: int  # words of the longest name of one
    formulas: Mapping[str, Formula]  # of derived numbers and scores
    derived_columns: Mapping[str, Callable[[Columns], Interval]]  # of those, and of reference limits
    implausible: tuple[tuple[Implausible, Criterion], ...]
    checks: tuple[Check, ...]  # every rule, in the order of the conditions' ids
    readings: tuple[Reading, ...]  # what follows from a finding stands before it
    panels: Mapping[str, Panel]
    complaints: Mapping[str, Complaint]
    reveals: Mapping[str, tuple[str, ...]]  # the facts of every panel: each of one panel alone

    def columns(self, facts: Mapping[str, Any], size: int) -> Columns:
        """Facts of a batch, with everything that is derived from them."""
        return Columns(facts, size, self.derived_columns)

    def called(self, name: str) -> str:
        """A fact as people call it."""
        one = self.analytes.get(name) or self.findings.get(name)
        return one.name if one is not None else name.replace("_", " ")

    def grounds(self, names: Iterable[str]) -> frozenset[str]:
        """Names with everything that they hang on: a score with its items."""
        found, todo = set[str](), [*names]
        while todo:
            name = todo.pop()
            if name not in found:
                found.add(name)
                todo += self.formulas[name].names if name in self.formulas else ()
        return frozenset(found)

    def ancestors(self, condition: str) -> frozenset[str]:
        """Everything that a condition is a kind of."""
        found: set[str] = set()
        todo = [*self.conditions[condition].parents]
        while todo:
            if (one := todo.pop()) not in found:
                found.add(one)
                todo += self.conditions[one].parents
        return frozenset(found)


def _limit(ages: Sequence[float], table_G2: Floats, columns: Columns) -> Interval:
    """A reference limit: of women, of men, of the patient's age, or any of these where sex or age is unknown."""
    low_2 = high_2 = table_G2[0]
    if len(table_G2) > 1:
        age_N = np.broadcast_to(columns.number(AGE).low, columns.size)
        low_2 = high_2 = table_G2[np.searchsorted(ages, age_N, "right") - 1].T
        if (unknown_N := np.isnan(age_N)).any():
            low_2, high_2 = (np.where(unknown_N, end_2[:, None], low_2) for end_2 in (table_G2.min(0), table_G2.max(0)))
    elif low_2[0] == low_2[1]:
        return exactly(low_2[0])
    truth, sex_N = columns.truth(FEMALE), columns.number(FEMALE).low
    is_female, is_male = sex_N == 1.0, sex_N == 0.0
    if truth.yes | truth.no == columns.everybody:
        low = np.where(is_female, low_2[1], low_2[0])
        return exactly(low) if low_2 is high_2 else Interval(low, np.where(is_female, high_2[1], high_2[0]))
    ends = ((low_2, np.minimum(*low_2)), (high_2, np.maximum(*high_2)))
    return Interval(*(np.where(is_female, end[1], np.where(is_male, end[0], either)) for end, either in ends))


@functools.cache
def knowledge() -> Library:
    """The knowledge that comes with this package. Read once, when it is first needed."""
    return read(sorted(_tomls(files("azr_gym.clinical").joinpath("knowledge")), key=lambda file: file.name))


def _tomls(folder: Traversable) -> Iterator[Traversable]:
    return (one for one in folder.iterdir() if one.name.endswith(".toml"))


KINDS: dict[str, Any] = {
    "source": Source, "analyte": Analyte, "finding": Finding, "item": Item, "derived": Derived, "score": Score,
    "condition": Condition, "implausible": Implausible, "panel": Panel, "complaint": Complaint, "measured": Measured,
}  # fmt: skip
NAMED = ("analyte", "finding", "derived", "condition", "panel", "complaint")  # what people call by more than one name


def read(found: Iterable[Traversable]) -> Library:
    """Read knowledge files, and check that everything they speak of is there.

    Raises:
        BadKnowledge: the first mistake: file, record, key and reason.
    """
    tables: dict[str, dict[str, Any]] = {kind: {} for kind in KINDS}
    where: dict[int, str] = {}
    for file in found:
        try:
            data = tomllib.loads(file.read_text("utf-8"))
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise BadKnowledge(f"{file.name}: {error}") from None
        for kind, rows in data.items():
            if kind not in KINDS or not isinstance(rows, list):
                raise BadKnowledge(f"{file.name}: [[{kind}]] is none of {', '.join(f'[[{one}]]' for one in KINDS)}")
            for row in rows:
                place = f"{file.name}, {kind} {row.get('id', '?')}"
                made = record(KINDS[kind], row, place)
                if made.id in tables[kind]:
                    raise BadKnowledge(f"{place}: id: {where[id(tables[kind][made.id])]} has it already")
                tables[kind][made.id] = made
                where[id(made)] = place
    ordered = {kind: MappingProxyType(dict(sorted(rows.items()))) for kind, rows in tables.items()}
    return _bound(ordered, {kind: {one: where[id(row)] for one, row in rows.items()} for kind, rows in tables.items()})


# --- what one record says of another -------------------------------------------------------------------------------
def _bound(tables: Mapping[str, Mapping[str, Any]], where: Mapping[str, Mapping[str, str]]) -> Library:
    findings, analytes, items = tables["finding"], tables["analyte"], tables["item"]
    computed = {**tables["derived"], **tables["score"]}
    vocabulary = Vocabulary(
        frozenset([*findings, *PERSON]),
        frozenset([*analytes, *BODY, *computed]),
        MappingProxyType({one: (f"{one} lln", f"{one} uln") for one in analytes}),
    )
    ids = [*findings, *PERSON, *analytes, *BODY, *items, *computed]
    if twice := sorted(name for name in set(ids) if ids.count(name) > 1):
        raise BadKnowledge(f"{twice[0]}: two records of different kinds have this id")
    formulas, wider = {}, replace(vocabulary, numbers=vocabulary.numbers | items.keys())
    for kind in ("derived", "score"):
        for one in tables[kind].values():
            formulas[one.id] = _read_text(formula, one.formula, wider, f"{where[kind][one.id]}: formula")
    vocabulary = replace(vocabulary, numbers=vocabulary.numbers - _asking(formulas, items))
    _acyclic(
        {name: [one for one in made.names if one in formulas] for name, made in formulas.items()}, "formula", where
    )
    conditions: Mapping[str, Condition] = tables["condition"]
    checks = []
    for condition in conditions.values():
        place = where["condition"][condition.id]
        _check_condition(condition, tables, place)
        for number, rule in enumerate(condition.rule, 1):
            read_rule = _read_text(criterion, rule.when, vocabulary, f"{place}: rule {number}: when")
            checks.append(Check(condition, rule, read_rule))
    _acyclic({one.id: [*one.parents] for one in conditions.values()}, "condition", where)
    _acyclic({one.id: [*one.manifestation_of] for one in conditions.values()}, "condition", where)
    implausible = tuple(
        (one, _read_text(criterion, one.when, vocabulary, f"{where['implausible'][one.id]}: when"))
        for one in tables["implausible"].values()
    )
    for analyte in analytes.values():
        _check_children(analyte, tables["source"], where["analyte"][analyte.id])
    for kind in ("analyte", "derived", "score", "implausible", "measured"):
        for one in tables[kind].values():
            _known(one.source, tables["source"], f"{where[kind][one.id]}: source")
    for one in findings.values():
        for other in one.implies:
            _known(other, findings, f"{where['finding'][one.id]}: implies")
            if left := sorted({*findings[other].implies} - {*one.implies}):
                raise BadKnowledge(f"{where['finding'][one.id]}: implies: {left[0]} is missing, which {other} implies")
    readings = [
        _reading(one, findings, analytes, vocabulary, where["measured"][one.id]) for one in tables["measured"].values()
    ]
    readings.sort(key=lambda one: len(findings[one.record.id].implies))
    limits = {
        column: functools.partial(_limit, analyte.starts, np.array(analyte.intervals)[..., place])
        for analyte in analytes.values()
        for place, column in enumerate(vocabulary.limits[analyte.id])
    }
    names = {kind: _names(tables[kind].values(), where[kind]) for kind in NAMED}
    absences = _absences(findings.values(), names["finding"], where["finding"])
    return Library(
        sources=tables["source"],
        analytes=analytes,
        findings=findings,
        items=items,
        derived=tables["derived"],
        scores=tables["score"],
        conditions=conditions,
        vocabulary=vocabulary,
        names=MappingProxyType(names),
        absences=MappingProxyType(absences),
        longest_finding=most_words(names["finding"]),
        formulas=MappingProxyType(formulas),
        derived_columns=MappingProxyType({**{name: one.value for name, one in formulas.items()}, **limits}),
        implausible=implausible,
        checks=tuple(checks),
        readings=tuple(readings),
        panels=tables["panel"],
        complaints=tables["complaint"],
        reveals=_reveals(tables, where),
    )


def _asking(formulas: Mapping[str, Formula], items: Iterable[str]) -> set[str]:
    """The formulas that hang on an item."""
    found = set(items)
    while more := {name for name, made in formulas.items() if name not in found and made.names & found}:
        found |= more
    return found


def _check_children(one: Analyte, sources: Mapping[str, Any], place: str) -> None:
    try:
        starts = one.starts
    except ValueError:
        raise BadKnowledge(f"{place}: children: {[*one.children, *one.older]} are no ages in years") from None
    if [*starts] != sorted(set(starts)):
        raise BadKnowledge(f"{place}: children: {[*one.children, *one.older]} do not ascend")
    if left := sorted(set(one.girls) - set(one.children)):
        raise BadKnowledge(f"{place}: girls: {left[0]} is no age of children")
    for name, (low, high) in (*one.children.items(), *one.girls.items()):
        if not one.limits[0] <= low < high <= one.limits[1]:
            raise BadKnowledge(f"{place}: children.{name}: [{low}, {high}] is empty, or outside of its limits")
    for name, (low, high) in one.older.items():
        if not one.limits[0] <= low < high <= one.limits[1]:
            raise BadKnowledge(f"{place}: older.{name}: [{low}, {high}] is empty, or outside of its limits")
    if one.children:
        _known(one.children_source, sources, f"{place}: children_source")


def _reading(
    one: Measured, findings: Mapping[str, Any], analytes: Mapping[str, Any], vocabulary: Vocabulary, place: str
) -> Reading:
    _known(one.id, findings, f"{place}: id")
    for name, (low, high) in one.labs.items():
        _known(name, analytes, f"{place}: labs")
        least, most = analytes[name].limits
        if not least <= low <= high <= most:
            raise BadKnowledge(f"{place}: labs: {name} is from {least:g} to {most:g}, not from {low:g} to {high:g}")
    if not one.when and not one.unless:
        raise BadKnowledge(f"{place}: when: neither it nor unless is there")
    when = _read_text(criterion, one.when or "False", vocabulary, f"{place}: when")
    unless = _read_text(criterion, one.unless, vocabulary, f"{place}: unless") if one.unless else None
    return Reading(one, when, unless)


def _reveals(tables: Mapping[str, Mapping[str, Any]], where: Mapping[str, Mapping[str, str]]) -> Any:
    """Which facts a panel reveals; panels and complaints have been checked then."""
    try:
        check(tables["panel"], tables["complaint"], tables)
        return revealed(tables["panel"], tables["analyte"], tables["finding"])
    except BadPanel as error:
        raise BadKnowledge(f"{where[error.kind][error.record]}: {error}") from None


def _read_text(reader: Any, text: str, vocabulary: Vocabulary, place: str) -> Any:
    try:
        return reader(text, vocabulary)
    except BadCriterion as error:
        raise BadKnowledge(f"{place}: {error}") from None


def _known(name: str, table: Mapping[str, Any], place: str) -> None:
    if name not in table:
        raise BadKnowledge(f"{place}: nothing is called {name!r}")


def _check_condition(one: Condition, tables: Mapping[str, Mapping[str, Any]], place: str) -> None:
    if one.acuity not in range(1, 6):
        raise BadKnowledge(f"{place}: acuity: {one.acuity} is none of 1 to 5")
    if one.tier not in TIERS:
        raise BadKnowledge(f"{place}: tier: {one.tier!r} is none of {', '.join(TIERS)}")
    for other in (*one.parents, *one.manifestation_of):
        _known(other, tables["condition"], f"{place}: parents or manifestation_of")
    for name, share in one.presents.items():
        if name not in PERSON:
            _known(name, tables["finding"], f"{place}: presents")
        if not 0.0 <= share <= 1.0:
            raise BadKnowledge(f"{place}: presents.{name}: {share} is no share from 0 to 1")
    for name, (low, high) in one.labs.items():
        _known(name, {**tables["analyte"], **dict.fromkeys(BODY)}, f"{place}: labs")
        limits = tables["analyte"][name].limits if name in tables["analyte"] else (0, 300)
        if not limits[0] <= low < high <= limits[1]:
            raise BadKnowledge(f"{place}: labs.{name}: [{low}, {high}] is empty, or outside of its limits {limits}")
    for rule in one.rule:
        _known(rule.source, tables["source"], f"{place}: rule: source")


def _acyclic(edges: Mapping[str, list[str]], kind: str, where: Mapping[str, Mapping[str, str]]) -> None:
    done: set[str] = set()

    def walk(name: str, path: tuple[str, ...]) -> None:
        if name in path:
            raise BadKnowledge(f"{kind} {name}: it comes back to itself: {' -> '.join([*path, name])}")
        if name not in done:
            for other in edges.get(name, []):
                walk(other, (*path, name))
            done.add(name)

    for name in edges:
        walk(name, ())


def plain(text: str) -> str:
    """A name as it is compared: small letters, no marks on them nor between words."""
    small = text.casefold().replace("%", " percent ")
    if not small.isascii():
        letters = unicodedata.normalize("NFKD", small).replace("\u03bc", "u")  # micro
        small = "".join(one for one in letters if not unicodedata.combining(one))
    return " ".join(re.sub(r"[^a-z0-9]+", " ", small).split())


def _names(records: Iterable[Any], where: Mapping[str, str]) -> Mapping[str, str]:
    """Every name of the records of a kind, and whose it is: no two have one in common."""
    taken: dict[str, str] = {}
    for one in records:
        for text in {plain(name) for name in (one.id, one.name, *one.aliases)}:
            if text in taken:
                raise BadKnowledge(f"{where[one.id]}: aliases: {text!r} is a name of {taken[text]} too")
            taken[text] = one.id
    return MappingProxyType(taken)


def _absences(records: Iterable[Finding], names: Mapping[str, str], where: Mapping[str, str]) -> dict[str, str]:
    """The findings whose absence has words of its own, by those words: no finding is called so."""
    found = {plain(text): one.id for one in records for text in (one.absence, *one.denials) if text != f"no {one.name}"}
    for text, one in found.items():
        if text in names:
            raise BadKnowledge(f"{where[one]}: denied: {text!r} is a name of {names[text]}")
    return found


def mentioned(text: str, names: Mapping[str, str], longest: int) -> list[str]:
    """Whose names stand in a plain text: at every place the longest one, which no other then shares a word with.

    Args:
        text: in the form of `plain`.
        names: whose each name is.
        longest: words of the longest name.
    """
    words, place, found = text.split(), 0, list[str]()
    while place < len(words):
        step = 1
        for size in range(min(longest, len(words) - place), 0, -1):
            if (one := names.get(" ".join(words[place : place + size]))) is not None:
                found.append(one)
                step = size
                break
        place += step
    return found


def most_words(names: Iterable[str]) -> int:
    """How many words the longest of some names has."""
    return max((name.count(" ") + 1 for name in names), default=1)
