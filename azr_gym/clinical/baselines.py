"""What learners of `ClinicalCaseTabular-v0` are measured against, and the measuring. All act on observations alone.

A policy is a function of a batch of observations and of the action masks: it gives one action for each.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode
from numpy.typing import NDArray

from azr_gym.clinical.bank import LIMIT, OLDEST, PATIENTS, bank, layout
from azr_gym.clinical.ward import Flags, Integers
from azr_gym.roles import Split

Policy = Callable[[dict[str, NDArray[Any]], Flags], Integers]
BINS = 12  # of scaled values and of age
SMOOTH = 0.5  # patients that each bin, and each of there and not there, has besides those of the bank
ENOUGH = 0.99  # probability of a diagnosis that needs no further order
LEAST = 0.01  # nats that an order must be expected to tell
TRIED = 8  # patients of each diagnosis whose results stand for what an order may show


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
        actions = policy(observed, envs.action_masks())
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

    def act(_: dict[str, NDArray[Any]], masks: Flags) -> Integers:
        actions: Integers = np.argmax(rng.random(masks.shape) * masks, axis=1)
        return actions

    return act


def prior(complaint: str = "chest_pain", patients: int = PATIENTS, bank_seed: int = 0) -> Policy:
    """The commonest diagnosis, at once."""
    form, everybody = layout(complaint), bank(complaint, Split.TRAIN, patients, bank_seed)
    answer = len(form.panels) + int(np.bincount(everybody.label_B).argmax())
    return lambda _, masks: np.full(len(masks), answer)


class Bayes:
    """What to believe after what is known, counted from the patients of the training split.

    Facts are taken as independent given the diagnosis: nearly how the generator draws them.

    Args:
        complaint, patients, bank_seed: as the environment.
    """

    def __init__(self, complaint: str = "chest_pain", patients: int = PATIENTS, bank_seed: int = 0) -> None:
        self.form = form = layout(complaint)
        everybody = bank(complaint, Split.TRAIN, patients, bank_seed)
        answers, values = len(form.conditions), len(form.analytes)
        one_BD = np.eye(answers)[everybody.label_B]
        count_D = one_BD.sum(0)
        self.prior_D = np.log((count_D + SMOOTH) / (count_D + SMOOTH).sum())
        there_BF = everybody.chart_BW[:, values:] > 0
        share_FD = (there_BF.T @ one_BD + SMOOTH) / (count_D + 2 * SMOOTH)
        self.there_FD, self.absent_FD = np.log(share_FD), np.log1p(-share_FD)
        bins_BA = _bins(everybody.chart_BW[:, :values])
        known_BA = everybody.measured_BA
        self.value_AKD = np.stack([_histogram(bins_BA[:, a], one_BD, known_BA[:, a]) for a in range(values)])
        everyone_B = np.ones(len(everybody), np.bool_)
        self.age_KD = _histogram(_aged(everybody.age_B / OLDEST), one_BD, everyone_B)
        female_D = (everybody.female_B @ one_BD + SMOOTH) / (count_D + 2 * SMOOTH)
        self.sex_2D = np.log([1 - female_D, female_D])

    def columns(self, measured_NA: NDArray[Any], known_NA: NDArray[Any], findings_NF: NDArray[Any]) -> NDArray[Any]:
        """What each known fact says of each diagnosis: log-likelihoods (N, W, D), 0 where it is not known."""
        bins_NA = _bins(measured_NA)
        value_NAD = self.value_AKD[np.arange(bins_NA.shape[1]), bins_NA] * (known_NA > 0)[:, :, None]
        finding_NFD = (findings_NF > 0)[:, :, None] * self.there_FD + (findings_NF < 0)[:, :, None] * self.absent_FD
        return np.concatenate([value_NAD, finding_NFD], axis=1)

    def posterior(self, observed: dict[str, NDArray[Any]]) -> NDArray[np.float64]:
        """The probability of each diagnosis: (N, D)."""
        log_ND = self.prior_D + self.age_KD[_aged(observed["age"][:, 0])] + self.sex_2D[observed["sex"]]
        log_ND = log_ND + self.columns(observed["measured"], observed["known"], observed["findings"]).sum(1)
        return _normal(log_ND)

    def __call__(self, observed: dict[str, NDArray[Any]], masks: Flags) -> Integers:
        """The likeliest diagnosis, at once."""
        actions: Integers = len(self.form.panels) + self.posterior(observed).argmax(1)
        return actions


class InformationGain(Bayes):
    """Orders what is expected to tell most about the diagnosis for its cost; then names the likeliest one.

    What an order may show is taken from patients of the training split.

    Args:
        complaint, patients, bank_seed: as the environment.
        seed: which patients stand for the others.
    """

    def __init__(
        self, complaint: str = "chest_pain", patients: int = PATIENTS, bank_seed: int = 0, seed: int = 0
    ) -> None:
        super().__init__(complaint, patients, bank_seed)
        form, values = self.form, len(self.form.analytes)
        everybody = bank(complaint, Split.TRAIN, patients, bank_seed)
        rng = np.random.default_rng(seed)
        labels = np.repeat(np.unique(everybody.label_B), TRIED)
        self.label_S = labels
        rows = np.array([rng.choice(np.flatnonzero(everybody.label_B == label)) for label in labels])
        some = everybody.of(rows)
        says_SWD = self.columns(some.chart_BW[:, :values], some.measured_BA, some.chart_BW[:, values:])
        new_PW = (form.reveals_PW & ~form.start_W).astype(np.float64)
        self.says_PSD = np.einsum("pw,swd->psd", new_PW, says_SWD)

    def __call__(self, observed: dict[str, NDArray[Any]], masks: Flags) -> Integers:
        """Order, or diagnose."""
        belief_ND = self.posterior(observed)
        actions: Integers = len(self.form.panels) + belief_ND.argmax(1)
        for place in np.flatnonzero(belief_ND.max(1) < ENOUGH):
            gain_P = np.where(masks[place, : len(self.form.panels)], self.gain(belief_ND[place]), 0.0)
            if gain_P.max() > LEAST:
                actions[place] = np.argmax(gain_P / self.form.cost_P)
        return actions

    def gain(self, belief_D: NDArray[np.float64]) -> NDArray[np.float64]:
        """How much each order is expected to tell about the diagnosis, in nats: (P,)."""
        weight_S = belief_D[self.label_S] / TRIED
        likely = weight_S > 1e-6
        after_PSD = _normal(np.log(np.maximum(belief_D, 1e-12)) + self.says_PSD[:, likely])
        left_P = (_entropy(after_PSD) * weight_S[likely]).sum(1) / weight_S[likely].sum()
        gain_P: NDArray[np.float64] = _entropy(belief_D) - left_P
        return gain_P


def _bins(scaled: NDArray[Any]) -> Integers:
    return np.asarray(np.clip((scaled + LIMIT) * BINS / (2 * LIMIT), 0, BINS - 1), np.int64)


def _aged(age: NDArray[Any]) -> Integers:
    return np.asarray(np.clip(age * BINS, 0, BINS - 1), np.int64)


def _histogram(bin_B: Integers, one_BD: NDArray[Any], known_B: Flags) -> NDArray[np.float64]:
    """Log of the share of each bin among the patients of each diagnosis: (K, D)."""
    count_KD = np.full((BINS, one_BD.shape[1]), SMOOTH)
    np.add.at(count_KD, bin_B[known_B], one_BD[known_B])
    share_KD: NDArray[np.float64] = np.log(count_KD / count_KD.sum(0))
    return share_KD


def _normal(log: NDArray[Any]) -> NDArray[np.float64]:
    share = np.exp(log - log.max(-1, keepdims=True))
    found: NDArray[np.float64] = share / share.sum(-1, keepdims=True)
    return found


def _entropy(share: NDArray[Any]) -> NDArray[np.float64]:
    nats: NDArray[np.float64] = -(share * np.log(np.maximum(share, 1e-300))).sum(-1)
    return nats
