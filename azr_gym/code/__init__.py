"""The code room: programs, inputs and outputs, proposed and solved. `README.md` beside this file is its page."""

from .load import Skipped, load_tasks
from .propose import Refusal
from .room import make_tasks
from .triplet import CodeTask, InductionTask, Mode, Triplet, hello_world

__all__ = [
    "CodeTask",
    "InductionTask",
    "Mode",
    "Refusal",
    "Skipped",
    "Triplet",
    "hello_world",
    "load_tasks",
    "make_tasks",
]
