"""The vocabularies that all rooms share. Each room adds its own modes and refusals."""

from __future__ import annotations

from enum import StrEnum
from typing import TypeVar

from .errors import BadArgument

E = TypeVar("E", bound=StrEnum)


class Role(StrEnum):
    """Who the agent is in an episode."""

    PROPOSE = "propose"  # writes a task
    SOLVE = "solve"  # answers one


class Outcome(StrEnum):
    """What became of a text."""

    CORRECT = "correct"  # solve: the right answer
    WRONG = "wrong"  # solve: an answer, but not a right one
    OPEN = "open"  # solve: no answer yet; the episode goes on with more to read
    UNANSWERED = "unanswered"  # solve: cut off before there was an answer
    ACCEPTED = "accepted"  # propose: a valid new task
    REFUSED = "refused"  # propose: a well-formed proposal that can not become a task
    MALFORMED = "malformed"  # either: nothing in the text could be read as what was asked for


class Split(StrEnum):
    """Where tasks come from. `train` and `test` never share a skeleton; `ood` has structures that neither has."""

    TRAIN = "train"
    TEST = "test"
    OOD = "ood"


class PromptStyle(StrEnum):
    """How a prompt is worded."""

    FULL = "full"  # natural language, for pretrained models
    COMPACT = "compact"  # few tokens, for small models


def choose(kind: type[E], value: object, called: str) -> E:
    """The member of a vocabulary that a text names.

    Raises:
        BadArgument: there is none; the message lists them.
    """
    if isinstance(value, kind):  # each step asks
        return value
    if isinstance(value, str) and value in list(kind):
        return kind(value)
    raise BadArgument(f"{called} must be one of {[str(one) for one in kind]}, not {value!r}")
