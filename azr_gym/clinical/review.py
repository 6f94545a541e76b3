"""Shows knowledge files to whoever reviews them: `python -m azr_gym.clinical.review [FILE ...]`.

For every condition: what the engine diagnoses it by, from which source, how many of the patients drawn for it really
get it, and what the others get instead. Named files are read alone, with those of analytes, findings and scores.
"""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from azr_gym.clinical.engine import Engine
from azr_gym.clinical.generate import Generator
from azr_gym.clinical.library import BadKnowledge, Library, knowledge, read

SHARED = ("analytes.toml", "findings.toml", "scores.toml")
DRAWS = 200  # patients a condition


def table(known: Library, draws: int = DRAWS, seed: int = 0) -> Table:
    """A row for each condition, by organ system."""
    engine = Engine(known)
    generator, rng = Generator(engine), np.random.default_rng(seed)
    shown = Table("system", "condition", "ICD-10-CM", "diagnosed by", "source", "kept", "else", title="Conditions")
    for one in sorted(known.conditions.values(), key=lambda one: (one.system, one.id)):
        drawn = generator.draw(rng, one.id, draws)
        others = Counter(engine.ids[place] if place >= 0 else "none" for place in drawn.first_N[~drawn.kept_N])
        sources = dict.fromkeys(f"{known.sources[rule.source].id}" for rule in one.rule)
        shown.add_row(
            one.system,
            one.id,
            one.icd10cm,
            "\n".join(f"{rule.certainty.name.lower()}: {rule.when}" for rule in one.rule),
            ", ".join(sources),
            f"{drawn.kept_N.mean():.0%}",
            ", ".join(f"{name} {count / draws:.0%}" for name, count in others.most_common(3)),
        )
    return shown


def sources(known: Library) -> str:
    """The page that lists every source: `knowledge/SOURCES.md`."""
    lines = [
        f"- `{one.id}`: {one.citation} ({one.year}).{f' Read at <{one.address}>.' if one.address else ''}"
        for one in known.sources.values()
    ]
    return "\n".join([SOURCES, *lines, ""])


SOURCES = """# Sources of the clinical knowledge

Every rule, reference interval and score names one of these, and each rule the page where its thresholds were read.
Thresholds are facts, put in our own words. Shares of patients (`presents`), intervals of their values (`labs`), priors
(`tier`) and backgrounds are design constants of the simulator, and have no source. What could not be seen is listed in
[LEFT_OUT.md](LEFT_OUT.md).

This material contains content from LOINC (http://loinc.org). LOINC is copyright (c) 1995-2026, Regenstrief Institute,
Inc. and the Logical Observation Identifiers Names and Codes (LOINC) Committee and is available at no cost under the
license at http://loinc.org/license. LOINC(R) is a registered United States trademark of Regenstrief Institute, Inc.
ICD-10-CM is the work of the National Center for Health Statistics (US). No content of SNOMED CT or ATC is used.

Made by `python -m azr_gym.clinical.review --sources`.
"""


def main() -> None:
    """Print the table, or the first mistake."""
    if sys.argv[1:] == ["--sources"]:
        (Path(__file__).parent / "knowledge" / "SOURCES.md").write_text(sources(knowledge()), "utf-8")
        return
    console = Console(width=200)
    try:
        if paths := [Path(name) for name in sys.argv[1:]]:
            folder = Path(__file__).parent / "knowledge"
            shared = [folder / name for name in SHARED if (folder / name).exists()]
            known = read([*shared, *(path for path in paths if path.name not in SHARED)])
        else:
            known = knowledge()
    except BadKnowledge as error:
        raise SystemExit(str(error)) from None
    console.print(table(known))
    console.print(f"{len(known.conditions)} conditions, {len(known.checks)} rules, {len(known.sources)} sources")


if __name__ == "__main__":
    main()
