"""Every exception that the suite raises. What a model writes never raises one: it becomes an `Outcome` with a reason.

AzrGymError
├── BadArgument (ValueError)    an option that does not exist or can not be combined; the message lists what can
│   ├── BadTask                 a task that is none, breaks its own invariants, or belongs to another room
│   └── BadPoolFile             a file of tasks of another version, another Python, or damaged
├── BadAction (TypeError)       an action that is none: not text, or no number of the space
├── BadAgent (TypeError)        an agent without `reply`, or whose replies have the wrong shape
└── WrongMoment                 a step before the first reset, or after the end of the episode
"""

from __future__ import annotations

from gymnasium.error import ResetNeeded


class AzrGymError(Exception):
    """The root: catch this to catch every failure of the suite itself."""


class BadArgument(AzrGymError, ValueError):
    """An option that does not exist, is out of its range, or can not be combined with another."""


class BadTask(BadArgument):
    """A task that is none, breaks its own invariants, or belongs to another room or mode."""


class BadPoolFile(BadArgument):
    """A file of tasks of another version or another Python, or a damaged one."""


class BadAction(AzrGymError, TypeError):
    """An action that is none: not text, or no number of the space."""


class BadAgent(AzrGymError, TypeError):
    """An agent without `reply`, or whose replies do not have the shape that was asked for."""


class WrongMoment(AzrGymError, ResetNeeded):
    """A step before the first reset, or after the end of the episode. Call `reset()`."""
