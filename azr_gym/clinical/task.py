"""The tasks of the clinic: frozen values. Knows no rule; what a patient has is a field."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Self

from azr_gym.errors import BadTask

MAX_FACTS, MAX_QUESTION_CHARS = 300, 500
MAX_RULE_CHARS, MAX_MESSAGE_CHARS = 400, 500
N_PAIRS = 10  # patients of an induction task; half are shown
MAX_PAIRS = 32
MAX_FACTS_EACH = 40  # of a patient among several: a prompt shows half of them
Fact = tuple[str, float]
Facts = tuple[Fact, ...]
Pair = tuple[Facts, bool]
FEATURE = re.compile(r"[a-z_]\w*|[<>=]+")


class Mode(StrEnum):
    """What is hidden."""

    DEDUCTION = "deduction"  # patient -> diagnosis
    ABDUCTION = "abduction"  # diagnosis and a part of the patient -> a patient
    INDUCTION = "induction"  # patients with labels -> the rule that gave them


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


class ClinicalTask:
    """A task of the clinic: a `CaseTask` or an `InductionTask`. `ClinicalTask.from_json` reads either."""

    __slots__ = ()

    if TYPE_CHECKING:  # both have these; a property here would be taken for a dataclass field's default

        @property
        def mode(self) -> Mode: ...  # noqa: D102
        @property
        def id(self) -> str: ...  # noqa: D102
        @property
        def key(self) -> bytes: ...  # noqa: D102
        def features(self) -> frozenset[str]: ...  # noqa: D102
        def to_json(self) -> dict[str, Any]: ...  # noqa: D102

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> CaseTask | InductionTask:
        """Read what `to_json` wrote.

        Raises:
            BadTask: it is no such task.
        """
        if not isinstance(data, Mapping) or data.get("mode") not in list(Mode):
            raise BadTask(f"a clinical task has a mode of {[str(mode) for mode in Mode]}")
        kind = InductionTask if data["mode"] == Mode.INDUCTION else CaseTask
        return kind.from_json(data)


@dataclass(frozen=True, slots=True)
class CaseTask(ClinicalTask):
    """A deduction or abduction task: a patient, and what it is.

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
    _id: str = field(default="", init=False, repr=False, compare=False)  # once it was asked for

    def __post_init__(self) -> None:
        if self.mode not in (Mode.DEDUCTION, Mode.ABDUCTION):
            raise BadTask(f"a case is a task of deduction or abduction, not {self.mode!r}")
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
        if not self._id:
            condition = self.condition if self.mode is Mode.ABDUCTION else ""
            shown = [self.mode, list(self.facts), self.question, condition]
            object.__setattr__(self, "_id", _digest(shown).hex())
        return self._id

    def __hash__(self) -> int:
        return hash(self.id)

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


@dataclass(frozen=True, slots=True)
class InductionTask(ClinicalTask):
    """Find the rule that gave patients their labels.

    Attributes:
        rule: a criterion of `azr_gym.clinical.criteria`, as text, at most 400 characters; any that gives the hidden
            labels is right.
        pairs: (facts, label): patients, and whether they meet the rule. The first half is shown, the second half
            decides; either half has both labels.
        message: a hint in words, at most 500 characters; may be "".

    Raises:
        BadTask: texts that are none or too long, facts that are none, fewer than four patients or more than 32, or a
            half with one label.
    """

    rule: str
    pairs: tuple[Pair, ...]
    message: str = ""

    @property
    def mode(self) -> Mode:
        """Always induction."""
        return Mode.INDUCTION

    def __post_init__(self) -> None:
        for text, called, most in (
            (self.rule, "rule", MAX_RULE_CHARS),
            (self.message, "message", MAX_MESSAGE_CHARS),
        ):
            if not isinstance(text, str) or len(text) > most:
                raise BadTask(f"a {called} is a text of at most {most} characters")
        if not isinstance(self.pairs, tuple) or not 4 <= len(self.pairs) <= MAX_PAIRS:
            raise BadTask(f"an induction task has 4 to {MAX_PAIRS} (facts, label) pairs")
        if not all(isinstance(pair, tuple) and len(pair) == 2 and isinstance(pair[1], bool) for pair in self.pairs):
            raise BadTask("a pair is (facts, label), and a label is true or false")
        object.__setattr__(self, "pairs", tuple((frozen(facts), label) for facts, label in self.pairs))
        if any(len(facts) > MAX_FACTS_EACH for facts, _ in self.pairs):
            raise BadTask(f"a patient of an induction task has at most {MAX_FACTS_EACH} facts")
        if not (mixed(self.shown) and mixed(self.hidden)):
            raise BadTask("either half of the patients has both labels")

    @property
    def shown(self) -> tuple[Pair, ...]:
        """The patients that a solver sees: the first half."""
        return self.pairs[: len(self.pairs) // 2]

    @property
    def hidden(self) -> tuple[Pair, ...]:
        """The patients that decide: the second half."""
        return self.pairs[len(self.pairs) // 2 :]

    @property
    def id(self) -> str:
        """Made of the shown patients, their labels and the message."""
        return _digest([self.mode, self.shown, self.message]).hex()

    @property
    def key(self) -> bytes:
        """Equal for the same rule, apart from its spaces, and the same patients, in whatever order."""
        return _digest([self.mode, "".join(self.rule.split()), sorted(self.pairs)])

    def features(self) -> frozenset[str]:
        """What the rule is made of: its names, and the words and marks that join them."""
        return frozenset(FEATURE.findall(self.rule))

    def to_json(self) -> dict[str, Any]:
        """As JSON data."""
        pairs = [[dict(facts), label] for facts, label in self.pairs]
        return {"mode": str(self.mode), "rule": self.rule, "pairs": pairs, "message": self.message}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """Read what `to_json` wrote.

        Raises:
            BadTask: it is no such task.
        """
        if not isinstance(data, Mapping) or any(name not in data for name in ("rule", "pairs", "message")):
            raise BadTask("an induction task has rule, pairs, message")
        pairs = data["pairs"]
        if not isinstance(pairs, list) or not all(
            isinstance(pair, list) and len(pair) == 2 and isinstance(pair[0], Mapping) for pair in pairs
        ):
            raise BadTask("pairs must be a list of [facts, label], and facts a table of names and numbers")
        return cls(data["rule"], tuple((frozen(facts), label) for facts, label in pairs), data["message"])


def mixed(pairs: Iterable[tuple[Any, bool]]) -> bool:
    """Whether both labels are there."""
    return len({label for _, label in pairs}) == 2


def _coarse(value: float) -> str:
    return f"{value:.1g}"


def _digest(parts: Any) -> bytes:
    return hashlib.blake2b(
        json.dumps(parts, ensure_ascii=False).encode("utf-8", "surrogatepass"), digest_size=16
    ).digest()
