"""azr_gym: Absolute Zero self-play as Gymnasium environments.

Importing it registers the environments:

>>> import gymnasium as gym, azr_gym
>>> env = gym.make("CodeTriplet-v0", role="solve", mode="deduction")
"""

from gymnasium.envs.registration import register

from .agent import Agent, Reply
from .errors import AzrGymError, BadAction, BadAgent, BadArgument, BadPoolFile, BadTask, WrongMoment
from .pool import TaskPool
from .roles import Outcome, PromptStyle, Role, Split

__version__ = "0.1.0"
__all__ = [
    "Agent",
    "AzrGymError",
    "BadAction",
    "BadAgent",
    "BadArgument",
    "BadPoolFile",
    "BadTask",
    "Outcome",
    "PromptStyle",
    "Reply",
    "Role",
    "Split",
    "TaskPool",
    "WrongMoment",
]

register(
    "CodeTriplet-v0",
    entry_point="azr_gym.code.env:CodeTripletEnv",
    vector_entry_point="azr_gym.code.env:CodeTripletVectorEnv",
)
register(
    "ClinicalCase-v0",
    entry_point="azr_gym.clinical.env:ClinicalCaseEnv",
    vector_entry_point="azr_gym.clinical.env:ClinicalCaseVectorEnv",
)
register(
    "ClinicalCaseTabular-v0",
    entry_point="azr_gym.clinical.tabular:ClinicalCaseTabularEnv",
    vector_entry_point="azr_gym.clinical.tabular:ClinicalCaseTabularVectorEnv",
)
