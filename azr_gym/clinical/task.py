"""The tasks of the clinic: frozen values. Knows no rule; what a patient has is a field."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Self

from azr_gym.errors import BadTask

MAX_FACTS, MAX_QUESTION_CHARS = 300, 500
Fact = tuple[str, float]
Facts = tuple[Fact, ...]


class Mode(StrEnum):
    """What is hidden."""

    DEDUCTION = "deduction"  # patient -> diagnosis
    ABDUCTION = "abduction"  # diagnosis and a part of the patient -> a patient


def frozen(facts: Mapping[str, float] | Iterable[Fact]) -> Facts:
    """Facts as a value: in the order of their names.

    Raises:
        BadTask: a name that is none, or a value that is no finite number.
    """
    pairs = tuple(sorted(dict(facts).items()))
    for name, value in pairs:
        if not isinstance(name, str) or isinstance(value, bool) or not isinstance(value, int | float):
            raise BadTask(f"a fact is a name with a number, not {name!r}: {value!r}")
        if not math.isfinite(value):
            raise BadTask(f"{name} must be a finite number, not {value!r}")
    if len(pairs) > MAX_FACTS:
        raise BadTask(f"a patient has at most {MAX_FACTS} facts, not {len(pairs):,}")
    return tuple((name, float(value)) for name, value in pairs)


@dataclass(frozen=True, slots=True)
class CaseTask:
    """A patient, and what it is.

    Attributes:
        mode: deduction hides the condition; abduction hides `removed`.
        facts: what is shown of the patient: numbers in the library's units, 1 for true, 0 for false.
        condition: the id of the diagnosis.
        removed: abduction: facts that were taken out, so that the engine no longer says `condition`.
        question: what a proposer wants asked; "" for the usual question.

    Raises:
        BadTask: facts that are none, or a question that is too long.
    """

    mode: Mode
    facts: Facts
    condition: str
    removed: Facts = ()
    question: str = ""

    def __post_init__(self) -> None:
        if self.mode not in list(Mode):
            raise BadTask(f"a case is a task of {', '.join(Mode)}, not {self.mode!r}")
        object.__setattr__(self, "mode", Mode(self.mode))
        for name in ("facts", "removed"):
            object.__setattr__(self, name, frozen(getattr(self, name)))
        if not isinstance(self.condition, str) or not self.condition:
            raise BadTask(f"a condition is named by its id, not {self.condition!r}")
        if not isinstance(self.question, str) or len(self.question) > MAX_QUESTION_CHARS:
            raise BadTask(f"a question is a text of at most {MAX_QUESTION_CHARS} characters")
        if (self.mode is Mode.ABDUCTION) != bool(self.removed):
            raise BadTask("facts are removed in abduction, and only there")

    @property
    def whole(self) -> dict[str, float]:
        """The patient with everything."""
        return dict(self.facts) | dict(self.removed)

    @property
    def id(self) -> str:
        """Made of what a solver sees."""
        shown = [self.mode, list(self.facts), self.question, self.condition if self.mode is Mode.ABDUCTION else ""]
        return _digest(shown).hex()

    @property
    def key(self) -> bytes:
        """Equal for the same mode, patient and diagnosis."""
        return _digest([self.mode, sorted(self.whole.items()), sorted(dict(self.removed)), self.condition])

    def features(self) -> frozenset[str]:
        """The condition, and what is there."""
        there = (
            name if value in (0.0, 1.0) else f"{name}~{_coarse(value)}" for name, value in self.whole.items() if value
        )
        return frozenset([f"={self.condition}", *there])

    def to_json(self) -> dict[str, Any]:
        """As JSON data."""
        return {
            "mode": str(self.mode),
            "facts": dict(self.facts),
            "condition": self.condition,
            "removed": dict(self.removed),
            "question": self.question,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """Read what `to_json` wrote.

        Raises:
            BadTask: it is no such task.
        """
        names = ("mode", "facts", "condition", "removed", "question")
        if not isinstance(data, Mapping) or any(name not in data for name in names):
            raise BadTask(f"a clinical task has {', '.join(names)}")
        if not isinstance(data["facts"], Mapping) or not isinstance(data["removed"], Mapping):
            raise BadTask("facts and removed are tables of names and numbers")
        return cls(data["mode"], frozen(data["facts"]), data["condition"], frozen(data["removed"]), data["question"])


def _coarse(value: float) -> str:
    return f"{value:.1g}"


def _digest(parts: Any) -> bytes:
    return hashlib.blake2b(
        json.dumps(parts, ensure_ascii=False).encode("utf-8", "surrogatepass"), digest_size=16
    ).digest()
