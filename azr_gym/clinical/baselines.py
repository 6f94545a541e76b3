"""What learners of `ClinicalCaseTabular-v0` are measured against, and the measuring. All act on what is known alone.

A policy is a function of what is known of a batch of patients: as observations, action masks, and facts in units (see
`Ward.facts`), which do not end at -6 and 6. It gives one action for each.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode
from numpy.typing import NDArray

from azr_gym.clinical.bank import PATIENTS, Bank, bank, layout
from azr_gym.clinical.criteria import Floats
from azr_gym.clinical.engine import shared
from azr_gym.clinical.generate import Generator
from azr_gym.clinical.posterior import Posterior
from azr_gym.clinical.ward import Flags, Integers
from azr_gym.roles import Split

Policy = Callable[[dict[str, NDArray[Any]], Flags, dict[str, Floats]], Integers]
ENOUGH = 0.99  # probability of a diagnosis that needs no further order
LEAST = 0.01  # nats: where no order is expected to tell more, it diagnoses
EXAMPLES = 120  # patients whose results stand for what an order may show: as many of each diagnosis, and at least one
UNLIKELY, RULED_OUT = 1e-6, 1e-12  # probabilities: of what an order is not tried for, and of what counts as impossible


@dataclass(frozen=True, slots=True)
class Score:
    """How a policy has done.

    Attributes:
        accuracy: share of right diagnoses.
        missed: share of patients with something urgent that was not found.
        cost: of the orders, a patient.
        orders: a patient.
        reward: a patient.
        episodes: how many there were.
    """

    accuracy: float
    missed: float
    cost: float
    orders: float
    reward: float
    episodes: int


def evaluate(policy: Policy, episodes: int = 2000, seed: int = 0, **options: Any) -> Score:
    """Let a policy work up so many patients, a batch of them.

    Args:
        policy: gives the actions.
        episodes: how many.
        seed: episode i begins with seed + i.
        **options: see the environment.
    """
    envs: Any = gym.make_vec(
        "ClinicalCaseTabular-v0", episodes, "vector_entry_point", autoreset_mode=AutoresetMode.NEXT_STEP, **options
    )
    observed, _ = envs.reset(seed=seed)
    playing = np.ones(episodes, np.bool_)
    reward, cost, orders = np.zeros(episodes), np.zeros(episodes), np.zeros(episodes)
    right, missed = np.zeros(episodes, np.bool_), np.zeros(episodes, np.bool_)
    while playing.any():
        rows, actions = np.flatnonzero(playing), np.zeros(episodes, np.int64)
        seen = {name: values[rows] for name, values in observed.items()}
        actions[rows] = policy(seen, envs.action_masks()[rows], envs.ward.facts(rows))
        orders += playing & (actions < len(envs.form.panels))
        observed, rewards, terminated, truncated, info = envs.step(actions)
        reward += np.where(playing, rewards, 0.0)
        ended = playing & (terminated | truncated)
        if ended.any():
            right[ended], missed[ended] = info["correct"][ended], info["critical_miss"][ended]
            cost[ended] = info["spent"][ended]
        playing &= ~ended
    return Score(
        float(right.mean()), float(missed.mean()), float(cost.mean()), float(orders.mean()), float(reward.mean()),
        episodes,
    )  # fmt: skip


def random(rng: np.random.Generator) -> Policy:
    """Any action that makes sense."""

    return lambda _, masks, __: np.argmax(rng.random(masks.shape) * masks, axis=1)


def prior(complaint: str = "chest_pain", patients: int = PATIENTS, bank_seed: int = 0) -> Policy:
    """The commonest diagnosis, at once."""
    form, everybody = layout(complaint), bank(complaint, Split.TRAIN, patients, bank_seed)
    answer = len(form.panels) + int(np.bincount(everybody.label_B).argmax())
    return lambda _, masks, __: np.full(len(masks), answer)


class Bayes:
    """Names the likeliest diagnosis at once, by the posterior of the generator's model (`posterior.py` says how exact).

    Args:
        complaint: as the environment.
    """

    def __init__(self, complaint: str = "chest_pain") -> None:
        self.form = layout(complaint)
        self.posterior = Posterior(Generator(shared()), self.form.conditions)

    def __call__(self, _: dict[str, NDArray[Any]], masks: Flags, facts: dict[str, Floats]) -> Integers:
        """Diagnose."""
        actions: Integers = len(self.form.panels) + self.posterior(facts).argmax(1)
        return actions


class InformationGain(Bayes):
    """Orders what is expected to tell most about the diagnosis for its cost; then names the likeliest one.

    What is known counts exactly. What an order may show, and how that moves beliefs, is taken from patients of the
    training split on their arrival: as if it were independent of what other orders have shown.

    Args:
        complaint, patients, bank_seed: as the environment.
        seed: which patients stand for the others.
    """

    def __init__(
        self, complaint: str = "chest_pain", patients: int = PATIENTS, bank_seed: int = 0, seed: int = 0
    ) -> None:
        super().__init__(complaint)
        form, everybody, rng = self.form, bank(complaint, Split.TRAIN, patients, bank_seed), np.random.default_rng(seed)
        self.label_S = np.repeat(np.unique(everybody.label_B), max(1, EXAMPLES // len(form.conditions)))
        rows = [rng.choice(np.flatnonzero(everybody.label_B == label)) for label in self.label_S]
        some = everybody.of(np.array(rows))
        start_SW = form.start_KW[some.complaint_B]
        before_SD = self._log(some, start_SW)
        self.says_PSD = np.stack([self._log(some, start_SW | panel_W) - before_SD for panel_W in form.reveals_PW])

    def _log(self, some: Bank, known_SW: Flags) -> NDArray[np.float64]:
        """The logarithm of the posterior of some patients, of whom some columns are known."""
        found_SD: NDArray[np.float64] = np.log(
            np.maximum(self.posterior(some.told(self.form, some.facts_BW * known_SW)), RULED_OUT)
        )
        return found_SD

    def __call__(self, _: dict[str, NDArray[Any]], masks: Flags, facts: dict[str, Floats]) -> Integers:
        """Order, or diagnose."""
        belief_ND = self.posterior(facts)
        actions: Integers = len(self.form.panels) + belief_ND.argmax(1)
        for place in np.flatnonzero(belief_ND.max(1) < ENOUGH):
            gain_P = np.where(masks[place, : len(self.form.panels)], self.gain(belief_ND[place]), 0.0)
            if gain_P.max() > LEAST:
                actions[place] = np.argmax(gain_P / self.form.cost_P)
        return actions

    def gain(self, belief_D: NDArray[np.float64]) -> NDArray[np.float64]:
        """How much each order is expected to tell about the diagnosis, in nats: (P,)."""
        likely_D = belief_D > UNLIKELY
        likely_S = likely_D[self.label_S]
        weight_S, before_D = belief_D[self.label_S[likely_S]], belief_D[likely_D]
        if not len(weight_S):
            return np.zeros(len(self.says_PSD))
        says_PSD = self.says_PSD[np.ix_(np.ones(len(self.says_PSD), np.bool_), likely_S, likely_D)]
        left_P = _entropy(_normal(np.log(before_D) + says_PSD)) @ weight_S / weight_S.sum()
        gain_P: NDArray[np.float64] = _entropy(before_D) - left_P
        return gain_P


def _normal(log: NDArray[Any]) -> NDArray[np.float64]:
    share = np.exp(log - log.max(-1, keepdims=True))
    found: NDArray[np.float64] = share / share.sum(-1, keepdims=True)
    return found


def _entropy(share: NDArray[Any]) -> NDArray[np.float64]:
    nats: NDArray[np.float64] = -(share * np.log(np.maximum(share, 1e-300))).sum(-1)
    return nats
