"""Every exception that the box raises. A program's own failure is never one of them: it is a `Run`.

SandboxError
├── BadRequest (ValueError)      what was asked for can not be run; nothing ran
│   ├── BadProgram               a source that is not text, calls that are not argument tuples, too many of them
│   ├── BadLimits                a limit that is zero, negative or beyond what the box can enforce
│   └── NotPlainData             a value, or a text, that is not plain data
│       └── TooLong              plain data by its types, but with more text than the limit
├── Unavailable                  no sandbox of the kind that was asked for can work here; says how to get one
│   └── VersionMismatch          the box runs another minor version of Python than the host
├── SandboxLost                  the box died under a batch, and again each time it was restarted
├── RunnerClosed                 a runner was used after `close()`
└── NotRecorded (LookupError)    a `RecordedRunner` was asked for something it has no answer to
"""

from __future__ import annotations


class SandboxError(Exception):
    """The root: catch this to catch every failure of the box itself."""


class BadRequest(SandboxError, ValueError):
    """What was asked for can not be run. Raised before anything runs."""


class BadProgram(BadRequest):
    """A source that is not text, an entry that is not a name, or calls that are not argument tuples."""


class BadLimits(BadRequest):
    """A limit that is not a positive number, or is beyond what the box can enforce."""


class NotPlainData(BadRequest):
    """A value, or a text, that is not plain data (see `azr_sandbox.values`)."""


class TooLong(NotPlainData):
    """Plain data by its types, but with more text than the limit."""


class Unavailable(SandboxError):
    """No sandbox of the kind that was asked for can work here. The message says how to get one."""


class VersionMismatch(Unavailable):
    """The box runs another minor version of Python than the host: results would not mean the same."""


class SandboxLost(SandboxError):
    """The box died under a batch, and again after each restart. No verdict was made up for what was lost."""


class RunnerClosed(SandboxError):
    """A runner was used after `close()`. Make a new one with `make_runner()`."""


class NotRecorded(SandboxError, LookupError):
    """A `RecordedRunner` has no answer for what it was asked."""
