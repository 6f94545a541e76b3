"""A domain of your own. The room makes tasks, words prompts and judges texts; the rest is there. This prints

solve: Write two whole numbers above 1 whose product is 5440. -> 85 and 64 -> reward 1.0
propose: Write two whole numbers above 1 with a product unlike [5440, 1456]. -> 24 and 88 -> reward 1.0
"""

import re
from dataclasses import asdict, dataclass
from enum import StrEnum
from functools import partial

import gymnasium as gym

from azr_gym.base import TaskEnv
from azr_gym.roles import Outcome, Role
from azr_gym.room import Room, Verdict
from azr_gym.testing import check_task_env

Mode = StrEnum("Mode", ["FACTOR"])
MALFORMED = Verdict(Outcome.MALFORMED, "two whole numbers above 1 are wanted")


@dataclass(frozen=True)
class Product:
    """Two numbers. Any two above 1 with the same product are an answer."""

    a: int
    b: int
    mode = Mode.FACTOR
    id = property(lambda self: str(self.a * self.b))  # what a solver sees
    key = property(lambda self: self.id.encode())  # what makes two tasks the same
    features, to_json, from_json = frozenset, asdict, classmethod(lambda cls, data: cls(**data))


class FactoringRoom(Room):
    id, target, modes, task_type, roles = "Factoring-v0", "factors", Mode, Product, tuple(Role)

    def make(self, rng, mode, split):
        return Product(*map(int, rng.integers(2, 100, size=2)))

    def prompt(self, task, style):
        return f"Write two whole numbers above 1 whose product is {task.id}."

    def propose_prompt(self, brief, style):
        return f"Write two whole numbers above 1 with a product unlike {[one.a * one.b for one in brief.references]}."

    def answer(self, task, style):
        return f"{task.a} and {task.b}"

    def proposal(self, rng, brief, style):
        return self.answer(self.make(rng, brief.mode, None), style)

    def with_key(self, task, other):  # another key, the same prompt
        return Product(task.b, task.a)

    def judge_one(self, task, text):
        if (found := read(text)) is None:
            return MALFORMED
        return Verdict(Outcome.CORRECT) if found.id == task.id else Verdict(Outcome.WRONG, "their product is another")

    def read_one(self, brief, text):
        return Verdict(Outcome.ACCEPTED, task=found) if (found := read(text)) else MALFORMED


def read(text):  # model text is data: it is never run
    a, b, *rest = [*map(int, re.findall(r"\d{1,9}", text[:1000])), 0, 0]
    return Product(a, b) if a > 1 and b > 1 and len(rest) == 2 else None


gym.register("Factoring-v0", entry_point=partial(TaskEnv, FactoringRoom()))

if __name__ == "__main__":
    for role in Role.SOLVE, Role.PROPOSE:
        env = gym.make("Factoring-v0", role=role, n_references=2)
        prompt, action = env.reset(seed=0)[0], env.unwrapped.oracle()
        print(f"{role}: {prompt} -> {action} -> reward {env.step(action)[1]}")
        check_task_env(env)  # raises where the contract is broken
