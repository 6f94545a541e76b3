"""What every task has, whatever its room."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Protocol


class Task(Protocol):
    """A task as a frozen value."""

    @property
    def mode(self) -> StrEnum:
        """One of the room's modes."""

    @property
    def id(self) -> str:
        """A name made of what a solver sees, and of nothing that it must find."""

    @property
    def key(self) -> bytes:
        """Equal for tasks that are the same. It depends on the answer: never shown."""

    def features(self) -> frozenset[str]:
        """A set whose overlap says how alike two tasks are; empty where novelty means nothing."""

    def to_json(self) -> dict[str, Any]:
        """The task as JSON data."""

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Task:
        """The task that `to_json` wrote.

        Raises:
            BadTask: the data is no such task.
        """
