"""azr_sandbox: runs programs that a model wrote, fast, safely and reproducibly. Knows nothing of learning."""

from .errors import (
    BadLimits,
    BadProgram,
    BadRequest,
    NotPlainData,
    NotRecorded,
    RunnerClosed,
    SandboxError,
    SandboxLost,
    TooLong,
    Unavailable,
    VersionMismatch,
)
from .program import Call, CallStatus, Cost, ErrorInfo, Limits, Program, Run, RunStatus
from .runner import Runner, make_runner

__all__ = [
    "BadLimits",
    "BadProgram",
    "BadRequest",
    "Call",
    "CallStatus",
    "Cost",
    "ErrorInfo",
    "Limits",
    "NotPlainData",
    "NotRecorded",
    "Program",
    "Run",
    "RunStatus",
    "Runner",
    "RunnerClosed",
    "SandboxError",
    "SandboxLost",
    "TooLong",
    "Unavailable",
    "VersionMismatch",
    "make_runner",
]
