"""The code room: programs, inputs and outputs, proposed and solved. `README.md` beside this file is its page."""

from .propose import Refusal
from .triplet import CodeTask, InductionTask, Mode, Triplet, hello_world

__all__ = ["CodeTask", "InductionTask", "Mode", "Refusal", "Triplet", "hello_world"]
