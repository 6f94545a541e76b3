"""Scripted agents and counting doubles for the tests of the environments."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from azr_gym import Reply
from azr_sandbox import Call, Program, Run, Runner


@dataclass(frozen=True)
class Numbered(Reply):
    """A reply that carries more than its text."""

    number: int


class Scripted:
    """Answers by a function of prompt and place; remembers what it was asked."""

    def __init__(self, say: Callable[[str, int], str]) -> None:
        self.say = say
        self.asked: list[tuple[list[str], int, int]] = []
        self.given: list[Numbered] = []

    def reply(self, prompts: Sequence[str], n: int, seed: int) -> list[list[Numbered]]:
        self.asked.append((list(prompts), n, seed))
        groups = [[Numbered(self.say(prompt, place), place) for place in range(n)] for prompt in prompts]
        self.given += [reply for group in groups for reply in group]
        return groups

    def __deepcopy__(self, memo: object) -> Scripted:
        return self


class Counting:
    """A runner that counts the calls of the one behind it."""

    def __init__(self, runner: Runner) -> None:
        self.runner, self.batches, self.sources = runner, 0, list[str]()
        self.programs: list[Program] = []
        self.name, self.python, self.guarantee = runner.name, runner.python, runner.guarantee

    def run(
        self,
        programs: Sequence[Program],
        times: Any = 1,
        isolate_calls: bool = False,
        give_up: bool = False,
        enough: Any = None,
    ) -> list[Run]:
        self.batches += 1
        self.programs += programs
        return self.runner.run(programs, times, isolate_calls, give_up, enough)

    def evaluate(self, expressions: Sequence[str]) -> list[Call]:
        return self.runner.evaluate(expressions)

    def close(self) -> None:
        pass

    def __deepcopy__(self, memo: object) -> Counting:
        return self
