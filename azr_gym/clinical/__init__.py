"""The clinical room: patients and diagnoses, proposed and solved, with a rules engine as the judge.

A research simulator: not a medical device, not validated, and not for any decision about a real person.
"""

from .case import Parsed, parse_case
from .engine import Diagnosis, Engine, diagnose, explain
from .library import BadKnowledge, Library, knowledge
from .propose import Refusal
from .task import CaseTask, ClinicalTask, InductionTask, Mode

__all__ = [
    "BadKnowledge",
    "CaseTask",
    "ClinicalTask",
    "Diagnosis",
    "Engine",
    "InductionTask",
    "Library",
    "Mode",
    "Parsed",
    "Refusal",
    "diagnose",
    "explain",
    "knowledge",
    "parse_case",
]
