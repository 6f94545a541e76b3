"""n patients who are worked up at the same time, in numpy: who comes, what an order reveals and costs, what is right.

Knows neither Gymnasium nor text; `tabular.py` shows it as environments.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from azr_gym.clinical.bank import PATIENTS, Bank, Layout, bank, layout
from azr_gym.clinical.criteria import Floats
from azr_gym.clinical.library import knowledge
from azr_gym.clinical.panels import Complaint
from azr_gym.clinical.workup import POINT, Terms
from azr_gym.errors import BadArgument
from azr_gym.roles import Split, choose

BLOCK = 256  # patients that a bed draws ahead
Integers = NDArray[np.int64]
Flags = NDArray[np.bool_]


class Ward:
    """N patients who are worked up at the same time.

    Args:
        form: the columns, orders and answers.
        patients: gives the bank; called when the first patient is wanted.
        beds: N.
        terms: what orders cost, and when an episode is cut off.

    Attributes:
        patient_N: who lies there, by the place in the bank.
        known_NW: the patient's bytes (see `Bank`), and 0 in the columns that nothing has revealed.
        ordered_NX: which actions were orders that have been paid.
        spent_N, steps_N: cost of the orders, and number of actions.
        action_N: what was done last.
        label_N: the action that names the diagnosis.
        right_N, missed_N: whether it was done last, and whether the episode ended without it where minutes matter.
    """

    def __init__(self, form: Layout, patients: Callable[[], Bank], beds: int, terms: Terms) -> None:
        self.form, self.beds, self.terms = form, beds, terms
        self.orders, self.values, self.nothing = len(form.panels), len(form.analytes), len(form.actions)
        self._patients = patients
        # By action; nothing is the last. Masks of bits, -1 or 0, say which of a patient's bytes are seen.
        self._reveals_XW = np.zeros((self.nothing + 1, form.start_KW.shape[1]), np.int8)
        self._reveals_XW[: self.orders] = -form.reveals_PW.astype(np.int8)
        self._start_KW = -form.start_KW.astype(np.int8)
        self._itself_XX = np.eye(self.nothing + 1, self.nothing, dtype=np.int8)
        self._itself_XX[self.orders :] = 0
        self._is_order_X = np.arange(self.nothing + 1) < self.orders
        self._is_answer_X = ~self._is_order_X & (np.arange(self.nothing + 1) < self.nothing)
        self._cost_X = np.zeros(self.nothing + 1)
        self._cost_X[: self.orders] = form.cost_P
        self._fee_X = terms.cost_weight * POINT * self._cost_X
        # By how much is left, up to the highest price: the actions that can be paid. Prices are whole numbers.
        self._payable_LX = np.ones((int(form.cost_P.max()) + 1, self.nothing), np.int8)
        self._payable_LX[:, : self.orders] = form.cost_P <= np.arange(len(self._payable_LX))[:, None]
        self._names_D = np.array(form.conditions, object)
        self._ahead_NB = np.zeros((beds, BLOCK), np.int64)
        self._next_N = np.full(beds, BLOCK)
        self.patient_N = np.zeros(beds, np.int64)
        self.known_NW = np.zeros((beds, form.start_KW.shape[1]), np.int8)
        self.ordered_NX = np.zeros((beds, self.nothing), np.int8)
        self.spent_N = np.zeros(beds)
        self.steps_N = np.zeros(beds, np.int64)
        self.action_N = np.zeros(beds, np.int64)
        self.label_N = np.zeros(beds, np.int64)
        self.right_N = np.zeros(beds, np.bool_)
        self.missed_N = np.zeros(beds, np.bool_)
        self._facts_NW = np.zeros_like(self.known_NW)
        self._scaled_NA = np.zeros((beds, self.values), np.float32)
        self._aged_N = np.zeros(beds, np.float32)
        self._female_N = np.zeros(beds, np.int64)
        self._urgent_N = np.zeros(beds, np.bool_)

    def __getstate__(self) -> dict[str, Any]:
        """A copy asks for the bank itself: a process has it once."""
        return {name: value for name, value in self.__dict__.items() if name != "bank"}

    @functools.cached_property
    def bank(self) -> Bank:
        """Everybody who may come."""
        return self._patients()

    def forget(self, beds: Integers) -> None:
        """These beds have new generators: what they have drawn ahead is void."""
        self._next_N[beds] = BLOCK

    def admit(self, beds: Integers, rng: Callable[[int], np.random.Generator]) -> None:
        """New patients for some beds.

        Args:
            beds: which, M.
            rng: the generator of a bed.
        """
        everybody, next_M = self.bank, self._next_N[beds]
        for place in np.flatnonzero(next_M == BLOCK):
            self._ahead_NB[beds[place]] = rng(int(beds[place])).integers(len(everybody), size=BLOCK)
            next_M[place] = 0
        self._next_N[beds] = next_M + 1
        row_M = self._ahead_NB[beds, next_M]
        facts_MW, label_M = everybody.facts_BW.take(row_M, axis=0), everybody.label_B.take(row_M)
        self.patient_N[beds] = row_M
        self._facts_NW[beds] = facts_MW
        self._scaled_NA[beds] = everybody.scaled_BA.take(row_M, axis=0)
        self._aged_N[beds] = everybody.aged_B.take(row_M)
        self._female_N[beds] = everybody.female_B.take(row_M)
        self._urgent_N[beds] = self.form.urgent_D.take(label_M)
        self.label_N[beds] = label_M + self.orders
        self.known_NW[beds] = facts_MW & self._start_KW.take(everybody.complaint_B.take(row_M), axis=0)
        self.ordered_NX[beds] = 0
        self.spent_N[beds], self.steps_N[beds] = 0.0, 0

    def step(self, action_N: Integers) -> tuple[NDArray[np.float64], Flags, Flags]:
        """Orders and answers: rewards, who has answered, who was cut off. `nothing` is an action of no effect."""
        answers_N = self._is_answer_X.take(action_N)  # take: a tenth of the time that indexing needs
        broke_N = self.spent_N + self._cost_X.take(action_N) > self.terms.budget
        done_N = np.where(broke_N, self.nothing, action_N)
        news_NW = self._reveals_XW.take(done_N, axis=0)
        news_NW &= self._facts_NW
        self.known_NW |= news_NW
        self.ordered_NX |= self._itself_XX.take(done_N, axis=0)
        self.spent_N += self._cost_X.take(done_N)
        self.steps_N += 1
        self.action_N = action_N
        cut_N = self._is_order_X.take(action_N) & (broke_N | (self.steps_N >= self.terms.max_steps))
        self.right_N = action_N == self.label_N
        self.missed_N = (answers_N | cut_N) & ~self.right_N & self._urgent_N
        reward_N = self.right_N - self._fee_X.take(done_N) - self.terms.critical_miss * self.missed_N
        return reward_N, answers_N, cut_N

    def observe(self, beds: Integers | slice = slice(None)) -> dict[str, NDArray[Any]]:
        """What is known of some patients, as arrays of their own."""
        known_NW = self.known_NW[beds]
        known_NA = known_NW[:, : self.values].copy()
        left_N = 1.0 - self.spent_N[beds] / max(self.terms.budget, 1e-9)
        return {
            "age": self._aged_N[beds].copy()[:, None],
            "budget": left_N.astype(np.float32)[:, None],
            "findings": known_NW[:, self.values :].astype(np.float32),
            "known": known_NA,
            "measured": self._scaled_NA[beds] * known_NA,
            "ordered": self.ordered_NX[beds].copy()[:, : self.orders],
            "sex": self._female_N[beds].copy(),
        }

    def masks(self, beds: Integers | slice = slice(None)) -> Flags:
        """Which actions make sense: orders that are new and can be paid, and every answer. Bool (N, P + D)."""
        left_N = np.minimum(self.terms.budget - self.spent_N[beds], len(self._payable_LX) - 1).astype(np.int64)
        mask_NX: Flags = self._payable_LX.take(left_N, axis=0) > self.ordered_NX[beds]
        return mask_NX

    def ends(self, beds: Integers | slice) -> dict[str, NDArray[Any]]:
        """What is told when episodes of these beds are over: the diagnoses; the rest for all N, False elsewhere."""
        return {
            "diagnosis": self._names_D[self.label_N[beds] - self.orders],
            "correct": self.right_N,
            "critical_miss": self.missed_N,
        }

    def complaint(self, bed: int) -> Complaint:
        """What a patient comes with."""
        return self.form.complaints[int(self.bank.complaint_B[self.patient_N[bed]])]

    def facts(self, beds: Integers | slice = slice(None), columns_W: Flags | bool = True) -> dict[str, Floats]:
        """What is known of some patients, in the library's units: see `Bank.told`.

        Args:
            beds: which patients.
            columns_W: age and sex, and what is known in these columns alone.
        """
        return self.bank.of(self.patient_N[beds]).told(self.form, self.known_NW[beds] * columns_W)

    def told(self, bed: int, columns_W: Flags | bool = True) -> dict[str, float]:
        """What is known of one."""
        return {name: float(value_1[0]) for name, value_1 in self.facts(slice(bed, bed + 1), columns_W).items()}

    def start(self, bed: int) -> Flags:
        """The columns that a patient came with."""
        start_W: Flags = self.form.start_KW[self.bank.complaint_B[self.patient_N[bed]]]
        return start_W

    def steps(self, bed: int) -> list[tuple[str, dict[str, float]]]:
        """The names of the panels that were ordered, with what they have shown that was not known before."""
        panels = np.flatnonzero(self.ordered_NX[bed])
        names = [knowledge().panels[self.form.panels[panel]].name for panel in panels]
        start_W = self.start(bed)
        news = [self.told(bed, self.form.reveals_PW[panel] & ~start_W) for panel in panels]
        return list(zip(names, news, strict=True))

    def verdict(self, bed: int) -> tuple[str, str]:
        """What was answered ("" for nothing), and what the patient has: names of conditions."""
        names = [""] * self.orders + [knowledge().conditions[one].name for one in self.form.conditions]
        return names[self.action_N[bed]], names[self.label_N[bed]]


def ward(
    beds: int,
    complaint: str = "chest_pain",
    split: Split | str = Split.TRAIN,
    max_steps: int = 20,
    budget: float = 60.0,
    cost_weight: float = 1.0,
    critical_miss: float = 0.5,
    patients: int = PATIENTS,
    bank_seed: int = 0,
) -> Ward:
    """A ward, once its options have been looked at.

    Raises:
        BadArgument: an option out of its range.
    """
    side = choose(Split, split, "split")
    if side not in (Split.TRAIN, Split.TEST):
        raise BadArgument(f"split must be 'train' or 'test', not {str(split)!r}")
    for name, number, least in (("patients", patients, 1), ("bank_seed", bank_seed, 0)):
        if isinstance(number, bool) or not isinstance(number, int) or number < least:
            raise BadArgument(f"{name} must be an int of at least {least}, not {number!r}")
    terms = Terms(budget, max_steps, cost_weight, critical_miss)
    return Ward(layout(complaint), functools.partial(bank, complaint, side, patients, bank_seed), beds, terms)
