"""What can be ordered, and what people come with. Says which facts an order reveals; orders nothing.

Every fact is revealed by exactly one panel: what an analyte's `panel` names, what a panel lists, and, of some kinds of
findings, whatever no panel lists.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Any


class BadPanel(ValueError):
    """A panel or a complaint that does not fit the rest.

    Args:
        kind: "panel", "complaint", "finding" or "analyte".
        record: whose mistake it is.
        problem: key and reason.
    """

    def __init__(self, kind: str, record: str, problem: str) -> None:
        super().__init__(problem)
        self.kind, self.record = kind, record


class Work(StrEnum):
    """What an order is for whoever carries it out."""

    QUESTION = "question"
    EXAMINATION = "examination"
    LABORATORY = "laboratory"
    TRACING = "tracing"  # of the body's own signals
    IMAGING = "imaging"
    PROCEDURE = "procedure"  # enters the body


@dataclass(frozen=True, slots=True)
class Panel:
    """What is ordered together.

    Attributes:
        id: its name in code.
        name: as a clinician orders it.
        work: what kind of an order.
        cost: price, time and harm in one whole number, in hundredths of a right diagnosis. A design constant.
        analytes: values of `Analyte.panel` that it measures; an analyte without one is named by its id.
        findings: that it shows.
        rest: kinds of findings: it shows those that no panel lists.
        aliases: other names; no other panel has one of them.
        given: it is known before anything is ordered.
    """

    id: str
    name: str
    work: Work
    cost: float
    analytes: tuple[str, ...] = ()
    findings: tuple[str, ...] = ()
    rest: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()
    given: bool = False


@dataclass(frozen=True, slots=True)
class Complaint:
    """What somebody comes with, and what may be behind it.

    Attributes:
        id: its name in code.
        name: as a clinician writes it.
        findings: whoever comes with it has one of them.
        conditions: what it may be. A choice for the simulator, and no complete differential diagnosis.
        aliases: other names.
    """

    id: str
    name: str
    findings: tuple[str, ...]
    conditions: tuple[str, ...]
    aliases: tuple[str, ...] = ()


def revealed(
    panels: Mapping[str, Panel], analytes: Mapping[str, Any], findings: Mapping[str, Any]
) -> Mapping[str, tuple[str, ...]]:
    """The facts that each panel reveals, in the order of their names. Without panels there is nothing to reveal.

    Raises:
        BadPanel: a panel speaks of what is not there, or a fact belongs to none or to several.
    """
    if not panels:
        return MappingProxyType({})
    group = {name: one.panel or name for name, one in analytes.items()}
    of_group = _owners(panels, "analytes", group.values(), "no analyte has the panel {!r}")
    of_finding = _owners(panels, "findings", findings, "nothing is called {!r}")
    of_kind = _owners(panels, "rest", {one.kind for one in findings.values()}, "no finding is of the kind {!r}")
    found: dict[str, list[str]] = {one: [] for one in panels}
    for name, wanted in group.items():
        if wanted not in of_group:
            raise BadPanel("analyte", name, f"panel: no [[panel]] measures {wanted!r}: put it into one's analytes")
        found[of_group[wanted]].append(name)
    for name, one in findings.items():
        owner = of_finding.get(name, of_kind.get(one.kind))
        if owner is None:
            raise BadPanel("finding", name, "no [[panel]] shows it: put it into one's findings")
        found[owner].append(name)
    for name, facts in found.items():
        if not facts:
            raise BadPanel("panel", name, "findings: it reveals nothing")
    return MappingProxyType({name: tuple(sorted(facts)) for name, facts in found.items()})


def _owners(panels: Mapping[str, Panel], key: str, known: Iterable[str], unknown: str) -> dict[str, str]:
    """Which panel lists what under a key: never two the same."""
    there, owners = set(known), dict[str, str]()
    for panel in panels.values():
        for name in getattr(panel, key):
            if name not in there:
                raise BadPanel("panel", panel.id, f"{key}: {unknown.format(name)}")
            if name in owners:
                raise BadPanel("panel", panel.id, f"{key}: {owners[name]} has {name!r} already")
            owners[name] = panel.id
    return owners


def check(panels: Mapping[str, Panel], complaints: Mapping[str, Complaint], tables: Mapping[str, Any]) -> None:
    """Raise where a number is out of range, or a complaint has nothing to do with what is behind it.

    Args:
        panels: by id.
        complaints: by id.
        tables: the records of the kinds "finding" and "condition", by id.

    Raises:
        BadPanel: the first mistake.
    """
    for panel in panels.values():
        if panel.cost not in range(101):
            raise BadPanel("panel", panel.id, f"cost: {panel.cost} is no whole number from 0 to 100")
    for one in complaints.values():
        if len(one.conditions) < 2:
            raise BadPanel("complaint", one.id, "conditions: with less than two there is nothing to find out")
        for kind, names in (("finding", one.findings), ("condition", one.conditions)):
            for name in names:
                if name not in tables[kind]:
                    raise BadPanel("complaint", one.id, f"{kind}s: nothing is called {name!r}")
        for name in one.conditions:
            shares = tables["condition"][name].presents
            if not any(shares.get(finding, 0.0) > 0.0 for finding in one.findings):
                raise BadPanel("complaint", one.id, f"conditions: {name} presents none of {', '.join(one.findings)}")
