"""n patients who are worked up at the same time, in numpy: who comes, what an order reveals and costs, what is right.

Knows neither Gymnasium nor text; `tabular.py` shows it as environments.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from azr_gym.clinical.bank import OLDEST, PATIENTS, Bank, Layout, bank, layout
from azr_gym.clinical.library import AGE, FEMALE, MALE, knowledge
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
    """

    def __init__(self, form: Layout, patients: Callable[[], Bank], beds: int, terms: Terms) -> None:
        self.form, self.beds, self.terms = form, beds, terms
        self.orders, self.answers = len(form.panels), len(form.conditions)
        self._patients = patients
        nothing = [(0, 1), (0, 0)]  # one row more: of no panel
        self._reveals_PW = np.pad(form.reveals_PW, nothing)
        self._panel_PP = np.pad(np.eye(self.orders, dtype=np.bool_), nothing)
        self._cost_P = np.append(form.cost_P, 0.0)
        self._ahead_NB = np.zeros((beds, BLOCK), np.int64)
        self._next_N = np.full(beds, BLOCK)
        width, values = len(form.analytes) + len(form.findings), len(form.analytes)
        self.patient_N = np.zeros(beds, np.int64)
        self.seen_NW = np.zeros((beds, width), np.bool_)
        self.ordered_NP = np.zeros((beds, self.orders), np.bool_)
        self.spent_N = np.zeros(beds)
        self.steps_N = np.zeros(beds, np.int64)
        self.answer_N = np.full(beds, -1)
        self._chart_NW = np.zeros((beds, width), np.float32)
        self._measured_NA = np.zeros((beds, values), np.bool_)
        self._age_N1 = np.zeros((beds, 1), np.float32)
        self._female_N = np.zeros(beds, np.int64)
        self._label_N = np.zeros(beds, np.int64)
        self._urgent_N = np.zeros(beds, np.bool_)

    @property
    def bank(self) -> Bank:
        """Everybody who may come."""
        return self._patients()

    def forget(self, beds: Integers) -> None:
        """These beds have new generators: what they have drawn ahead is void."""
        self._next_N[beds] = BLOCK

    def admit(self, beds: Integers, rng: Callable[[int], np.random.Generator]) -> None:
        """New patients for some beds.

        Args:
            beds: which.
            rng: the generator of a bed.
        """
        everybody = self.bank
        for bed in beds[self._next_N[beds] == BLOCK]:
            self._ahead_NB[bed] = rng(int(bed)).integers(len(everybody), size=BLOCK)
            self._next_N[bed] = 0
        rows = self._ahead_NB[beds, self._next_N[beds]]
        self._next_N[beds] += 1
        self.patient_N[beds] = rows
        self.seen_NW[beds] = self.form.start_W
        self.ordered_NP[beds] = False
        self.spent_N[beds], self.steps_N[beds], self.answer_N[beds] = 0.0, 0, -1
        self._chart_NW[beds] = everybody.chart_BW.take(rows, axis=0)
        self._measured_NA[beds] = everybody.measured_BA[rows]
        self._age_N1[beds, 0] = everybody.age_B[rows] / OLDEST
        self._female_N[beds] = everybody.female_B[rows]
        self._label_N[beds] = label = everybody.label_B[rows]
        self._urgent_N[beds] = self.form.urgent_D[label]

    def step(self, action_N: Integers, acting_N: Flags) -> tuple[NDArray[np.float64], Flags, Flags]:
        """Orders and answers: rewards, who has answered, who was cut off. Who does not act keeps everything."""
        orders_N = acting_N & (action_N < self.orders)
        answers_N = acting_N & ~orders_N
        price_N = self._cost_P[np.where(orders_N, action_N, self.orders)]
        paid_N = orders_N & (self.spent_N + price_N <= self.terms.budget)
        panel_N = np.where(paid_N, action_N, self.orders)
        price_N = self._cost_P[panel_N]
        self.seen_NW |= self._reveals_PW.take(panel_N, axis=0)  # a tenth of the time that indexing takes
        self.ordered_NP |= self._panel_PP.take(panel_N, axis=0)
        self.spent_N += price_N
        self.steps_N += acting_N
        np.copyto(self.answer_N, action_N - self.orders, where=answers_N)
        right_N = answers_N & (self.answer_N == self._label_N)
        cut_N = orders_N & (~paid_N | (self.steps_N >= self.terms.max_steps))
        missed_N = self._urgent_N & ((answers_N & ~right_N) | cut_N)
        reward_N = right_N - self.terms.cost_weight * POINT * price_N - self.terms.critical_miss * missed_N
        return reward_N, answers_N, cut_N

    def observe(self, beds: Integers | slice = slice(None)) -> dict[str, NDArray[Any]]:
        """What is known of some patients, as arrays of their own."""
        values = len(self.form.analytes)
        seen_NW, left_N = self.seen_NW[beds], 1.0 - self.spent_N[beds] / max(self.terms.budget, 1e-9)
        shown_NW = self._chart_NW[beds] * seen_NW
        return {
            "age": self._age_N1[beds].copy(),
            "budget": np.clip(left_N, 0.0, 1.0).astype(np.float32)[:, None],
            "findings": shown_NW[:, values:],
            "known": (seen_NW[:, :values] & self._measured_NA[beds]).view(np.int8),
            "measured": shown_NW[:, :values],
            "ordered": self.ordered_NP[beds].astype(np.int8),
            "sex": self._female_N[beds].copy(),
        }

    def masks(self, beds: Integers | slice = slice(None)) -> Flags:
        """Which actions make sense: orders that are new and can be paid, and every answer. Bool (N, P + D)."""
        ordered_NP = self.ordered_NP[beds]
        mask_NX = np.ones((len(ordered_NP), self.orders + self.answers), np.bool_)
        left_N1 = (self.terms.budget - self.spent_N[beds])[:, None]
        np.logical_and(~ordered_NP, self.form.cost_P <= left_N1, out=mask_NX[:, : self.orders])
        return mask_NX

    def ends(self, beds: Integers | slice) -> dict[str, NDArray[Any]]:
        """What is told of these beds when their episodes are over."""
        right = self.answer_N[beds] == self._label_N[beds]
        names = np.array(self.form.conditions, object)
        return {
            "diagnosis": names[self._label_N[beds]],
            "correct": right,
            "critical_miss": self._urgent_N[beds] & ~right,
        }

    def right(self) -> Integers:
        """The actions that name the diagnoses."""
        return self._label_N + self.orders

    def facts(self, bed: int, columns_W: Flags | None = None) -> dict[str, float]:
        """What is known of a patient, in the library's units: 1 for what is there and 0 for what is not.

        Args:
            bed: whose.
            columns_W: of these columns alone; without them of everything, age and sex too.
        """
        form, values = self.form, len(self.form.analytes)
        raw_A = self.bank.raw_BA[self.patient_N[bed]]
        seen_W = self.seen_NW[bed] if columns_W is None else self.seen_NW[bed] & columns_W
        found: dict[str, float] = {}
        if columns_W is None:
            female = float(self._female_N[bed])
            found = {AGE: float(self.bank.age_B[self.patient_N[bed]]), FEMALE: female, MALE: 1.0 - female}
        for place in np.flatnonzero(seen_W):
            if place >= values:
                found[form.findings[place - values]] = float(self._chart_NW[bed, place] > 0)
            elif self._measured_NA[bed, place]:
                found[form.analytes[place]] = float(raw_A[place])
        return found

    def steps(self, bed: int) -> list[tuple[str, dict[str, float]]]:
        """The names of the panels that were ordered, with what they have shown that was not known before."""
        panels = np.flatnonzero(self.ordered_NP[bed])
        names = [knowledge().panels[self.form.panels[panel]].name for panel in panels]
        news = [self.facts(bed, self.form.reveals_PW[panel] & ~self.form.start_W) for panel in panels]
        return list(zip(names, news, strict=True))

    def verdict(self, bed: int) -> tuple[str, str]:
        """What was answered ("" for nothing), and what the patient has: names of conditions."""
        names = [knowledge().conditions[one].name for one in self.form.conditions]
        answer = int(self.answer_N[bed])
        return names[answer] if answer >= 0 else "", names[self._label_N[bed]]


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
    return Ward(layout(complaint), lambda: bank(complaint, side, patients, bank_seed), beds, terms)
