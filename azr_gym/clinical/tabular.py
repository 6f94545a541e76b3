"""`ClinicalCaseTabular-v0`: the work-up of a patient in numbers, one at a time and batched.

Draws nobody (`bank.py`) and computes nothing (`ward.py`): the single environment is a ward of one bed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from gymnasium.utils import seeding
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from azr_gym.base import RENDER_MODES, check_render_mode
from azr_gym.clinical import prompts
from azr_gym.clinical.bank import LIMIT, PATIENTS, Layout
from azr_gym.clinical.chart import Chart, draw
from azr_gym.clinical.library import AGE, FEMALE, Library, knowledge
from azr_gym.clinical.ward import Flags, Integers, Ward, ward
from azr_gym.errors import BadAction, BadArgument, WrongMoment
from azr_gym.render import Section, ansi
from azr_gym.roles import Split

Observation = dict[str, Any]


def _spaces(form: Layout) -> tuple[spaces.Dict, spaces.Discrete]:
    orders, values, findings = len(form.panels), len(form.analytes), len(form.findings)
    observed = spaces.Dict(
        {
            "age": spaces.Box(0.0, 1.0, (1,), np.float32),
            "budget": spaces.Box(0.0, 1.0, (1,), np.float32),
            "findings": spaces.Box(-1.0, 1.0, (findings,), np.float32),
            "known": spaces.MultiBinary(values),
            "measured": spaces.Box(-LIMIT, LIMIT, (values,), np.float32),
            "ordered": spaces.MultiBinary(orders),
            "sex": spaces.Discrete(2),
        }
    )
    return observed, spaces.Discrete(orders + len(form.conditions))


class ClinicalCaseTabularEnv(gym.Env[Observation, np.int64]):
    """The work-up of a patient in numbers: order panels at a cost, then diagnose. For agents that read no text.

    > **A research simulator.** Its engine is a simplified rule set for making and checking synthetic patients. It is
    > not a medical device, has not been validated, and must not be used for any decision about a real person. How
    > common things are, how patients present and what orders cost are design constants and no epidemiology.

    ```python
    import gymnasium as gym
    import azr_gym  # registers the ids; gym.make("azr_gym:ClinicalCaseTabular-v0") does without

    env = gym.make("ClinicalCaseTabular-v0", complaint="chest_pain")
    observation, info = env.reset(seed=0)
    panel = env.unwrapped.form.actions.index("order cardiac_markers")
    observation, reward, terminated, truncated, info = env.step(panel)
    print(env.unwrapped.action_masks().sum(), "actions make sense now")
    ```

    Somebody comes with a complaint; complaint, age, sex and vital signs are known. Each order reveals the facts of one
    panel. The right answer is what the rules engine says of the whole patient, whether or not it was looked for. Rules
    and reference intervals are those of `ClinicalCase-v0`; [SOURCES.md](knowledge/SOURCES.md) lists
    where they are from.

    ## Observation

    `Dict`; A values and F findings are those that one of the D conditions behind the complaint looks at or shows, P are
    the panels that reveal any of them.

    | key | space | |
    |---|---|---|
    | `age` | `Box(0, 1, (1,))` | years / 120 |
    | `sex` | `Discrete(2)` | 1 women, 0 men |
    | `measured` | `Box(-6, 6, (A,))` | -2 and 2 are the ends of the reference interval; 0 where unknown |
    | `known` | `MultiBinary(A)` | which values are known |
    | `findings` | `Box(-1, 1, (F,))` | 1 there, -1 not there, 0 unknown |
    | `ordered` | `MultiBinary(P)` | which panels have been ordered |
    | `budget` | `Box(0, 1, (1,))` | what is left |

    | complaint | A | F | P | D |
    |---|---|---|---|---|
    | `chest_pain` | 16 | 90 | 24 | 15 |
    | `full` | 151 | 1,160 | 78 | 427 |

    Boxes are float32. `env.unwrapped.form` names the columns (`analytes`, `findings`) and the `actions`;
    `gymnasium.wrappers.FlattenObservation` makes one vector of it.

    ## Actions

    `Discrete(P + D)`: 0 to P - 1 order a panel, the rest name one of the D conditions.
    `action_masks()`, also `info["action_mask"]` (int8), leaves out what has been ordered and what can not be paid.

    ## Reward and end

    | what | reward | |
    |---|---|---|
    | an order | -0.01 x its cost x `cost_weight` | a question costs 1, a CT 8, an angiography 15 |
    | the right diagnosis | 1 | terminates |
    | a wrong one | 0, or -`critical_miss` where minutes matter (acuity 1) | terminates |
    | step `max_steps` is an order, or one that can not be paid | as a wrong one | truncates |

    At the end `info` has the `diagnosis`, whether the answer is `correct`, and whether it is a `critical_miss`; before
    that it has `spent` and `action_mask` alone.

    ## Arguments

    | name | default | |
    |---|---|---|
    | `complaint` | `"chest_pain"` | or another `[[complaint]]` of `knowledge/panels.toml`; `"full"`: see below |
    | `split` | `"train"` | `"test"`: patients whose skeleton (diagnosis, findings, what is high or low) is kept aside |
    | `max_steps` | 20 | steps of an episode |
    | `budget` | 60 | cost of all orders |
    | `cost_weight` | 1 | 0: orders are free |
    | `critical_miss` | 0.5 | |
    | `patients`, `bank_seed` | 8192, 0 | how many are drawn for both splits, and the seed of that |
    | `render_mode` | `None` | `"ansi"`, `"rgb_array"` |

    Patients are drawn in bulk when the first one is wanted, once in a process (some seconds), and a function of
    `patients` and `bank_seed` alone; the environment's own generator says who comes next. `gym.make_vec` gives the
    same episodes batched: 1,024 at once play 2.6 million steps a second on one core of a busy machine, and 0.9 million
    where `SAME_STEP` keeps the last observations. In the same run (`tests/bench/tabular.py`) Gymnasium's CartPole
    played 4.8 million; alone the environment played 9,600, and ICU-Sepsis, which is not batched, 22,000.

    ## The full level

    With `complaint="full"` all conditions are open. People come with any of the complaints, with a symptom that belongs
    to none of them, or, something having been found at a check-up, with nothing of their own; as in the work-up of
    `ClinicalCase-v0` that hangs on their symptoms alone, and what it is about is known at first. One who fits several
    complaints comes with one of them. Rare conditions are rare here too: 8,192 patients have some 410 of the 427;
    `patients` draws more.

    ## Learning

    ```python
    from sb3_contrib import MaskablePPO
    from azr_gym.interop.sb3 import make_vec_env  # pip install "azr-gym[sb3]"

    model = MaskablePPO("MultiInputPolicy", make_vec_env("ClinicalCaseTabular-v0", 32)).learn(100_000)
    ```

    `examples/sb3_clinical.py` trains it; the others are policies of `azr_gym.clinical.baselines`. 2,000 patients of the
    test split, `chest_pain`:

    | | right | urgent, missed | orders | cost | reward |
    |---|---|---|---|---|---|
    | random | 7.3% | 40.6% | 1.5 | 5.1 | -0.181 |
    | the commonest diagnosis | 16.4% | 43.2% | 0 | 0 | -0.052 |
    | Bayes, no order | 56.6% | 15.4% | 0 | 0 | 0.489 |
    | Bayes, orders what tells most (upper reference) | 99.7% | 0.4% | 1.5 | 1.8 | 0.977 |
    | MaskablePPO, 294,912 steps | 92.5% | 2.8% | 1.6 | 2.6 | 0.885 |

    Bayes takes the posterior of the model that draws the patients, given what is known. At the `full` level the
    commonest diagnosis is right for 1.6% of 2,000 patients, and Bayes without an order for 29.2%. With 5.8 orders each
    it is right for 88.0% of 300; that takes some minutes.

    ## Versions

    - v0: the first.
    """

    metadata: ClassVar[dict[str, Any]] = {"render_modes": RENDER_MODES, "render_fps": 1}  # type: ignore[misc]

    def __init__(
        self,
        complaint: str = "chest_pain",
        split: Split | str = Split.TRAIN,
        max_steps: int = 20,
        budget: float = 60.0,
        cost_weight: float = 1.0,
        critical_miss: float = 0.5,
        patients: int = PATIENTS,
        bank_seed: int = 0,
        render_mode: str | None = None,
    ) -> None:
        check_render_mode(render_mode)
        self.render_mode = render_mode
        self.ward = ward(1, complaint, split, max_steps, budget, cost_weight, critical_miss, patients, bank_seed)
        self.observation_space, self.action_space = _spaces(self.form)
        self._begun = self._over = False

    @property
    def form(self) -> Layout:
        """The columns, orders and answers."""
        return self.ward.form

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """The next patient comes. There are no options."""
        super().reset(seed=seed)
        bed = np.zeros(1, np.int64)
        if seed is not None:
            self.ward.forget(bed)
        self.ward.admit(bed, lambda _: self.np_random)
        self._begun, self._over = True, False
        return self._observation(), {"action_mask": self._mask(), "spent": 0.0}

    def step(self, action: np.int64 | int) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Order a panel, or diagnose.

        Raises:
            WrongMoment: there is no episode, or it is over.
            BadAction: it is no action.
        """
        if not self._begun or self._over:
            raise WrongMoment("there is no episode, or it is over: call reset() first")
        action_1 = _actions([action], 1, len(self.form.actions))
        reward_1, terminated_1, truncated_1 = self.ward.step(action_1)
        terminated, truncated = bool(terminated_1[0]), bool(truncated_1[0])
        self._over = terminated or truncated
        info: dict[str, Any] = {"action_mask": self._mask(), "spent": float(self.ward.spent_N[0])}
        if self._over:
            ends = self.ward.ends(np.zeros(1, np.int64))
            info |= {name: value.tolist()[0] for name, value in ends.items()}
        return self._observation(), float(reward_1[0]), terminated, truncated, info

    def _observation(self) -> Observation:
        return {name: values[0] for name, values in self.ward.observe().items()}

    def _mask(self) -> NDArray[np.int8]:
        return self.action_masks().astype(np.int8)

    def action_masks(self) -> Flags:
        """Which actions make sense: bool (P + D,). sb3-contrib asks for it."""
        mask_X: Flags = self.ward.masks()[0]
        return mask_X

    def oracle(self) -> int:
        """The action that names the diagnosis. For tests and baselines."""
        return int(self.ward.label_N[0])

    def render(self) -> str | NDArray[np.uint8] | None:
        """What is known of the patient, and, once there is one, the verdict. A text, or uint8 (height, width, 3)."""
        if self.render_mode is None:
            gym.logger.warn("render() without render_mode: give one to gym.make, 'ansi' or 'rgb_array'")
            return None
        if not self._begun:
            raise WrongMoment("there is nobody yet: call reset() first")
        frame: str | NDArray[np.uint8] = _drawn(self.ward, 0, self._over, self.render_mode)
        return frame


class ClinicalCaseTabularVectorEnv(VectorEnv[Observation, Integers, NDArray[Any]]):
    """`ClinicalCaseTabularEnv` for many patients at once, in numpy: the same episodes as `SyncVectorEnv` of them.

    Args:
        num_envs: how many.
        autoreset_mode: SAME_STEP: an episode that ends is followed by the next in the same step, and its last
            observation and info are in `final_obs` and `final_info`. NEXT_STEP: the next step is the reset. DISABLED:
            whoever steps resets, all or by `options={"reset_mask": bool array}`.
        render_mode: as the single environment; `render()` gives one frame per episode.
        **options: as the single environment.
    """

    metadata: ClassVar[dict[str, Any]] = ClinicalCaseTabularEnv.metadata  # type: ignore[misc]

    def __init__(
        self,
        num_envs: int = 1,
        autoreset_mode: AutoresetMode | str = AutoresetMode.SAME_STEP,
        render_mode: str | None = None,
        **options: Any,
    ) -> None:
        if isinstance(num_envs, bool) or not isinstance(num_envs, int) or num_envs < 1:
            raise BadArgument(f"num_envs must be an int above 0, not {num_envs!r}")
        if autoreset_mode not in (*AutoresetMode, *(mode.value for mode in AutoresetMode)):
            raise BadArgument(f"autoreset_mode must be one of {[*AutoresetMode]}, not {autoreset_mode!r}")
        check_render_mode(render_mode)
        self.num_envs, self.render_mode = num_envs, render_mode
        self.autoreset_mode = AutoresetMode(autoreset_mode)
        self.metadata = {**type(self).metadata, "autoreset_mode": self.autoreset_mode}  # type: ignore[misc]
        self.ward = ward(num_envs, **options)
        self.single_observation_space, self.single_action_space = _spaces(self.form)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self._rngs: list[np.random.Generator | None] = [None] * num_envs
        self._done_N = np.ones(num_envs, np.bool_)  # over, or never begun
        self._begun = False

    @property
    def form(self) -> Layout:
        """The columns, orders and answers."""
        return self.ward.form

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """New patients.

        Args:
            seed: an int seeds episode i with seed + i, as `SyncVectorEnv`; or one per episode.
            options: `{"reset_mask": bool array}` resets only some.
        """
        mask_N = self._reset_mask(options or {})
        one_each = seed is None or isinstance(seed, int)
        seeds = [None if seed is None else seed + bed for bed in range(self.num_envs)] if one_each else [*seed]  # type: ignore[operator, misc]
        if len(seeds) != self.num_envs:
            raise BadArgument(f"{len(seeds)} seeds for {self.num_envs} environments: give one for each")
        beds = np.flatnonzero(mask_N)
        for bed in beds:
            if seeds[bed] is not None or self._rngs[bed] is None:
                self._rngs[bed] = seeding.np_random(seeds[bed])[0]
                self.ward.forget(np.array([bed]))
        self._admit(beds)
        self._begun = True
        return self.ward.observe(), self._info(beds, mask_N, ended=False)

    def _admit(self, beds: Integers) -> None:
        self.ward.admit(beds, lambda bed: self._rngs[bed])  # type: ignore[arg-type, return-value]
        self._done_N[beds] = False

    def _reset_mask(self, options: dict[str, Any]) -> Flags:
        if unknown := set(options) - {"reset_mask"}:
            raise BadArgument(f"reset knows the option reset_mask alone, not {unknown.pop()!r}")
        mask_N = options.get("reset_mask")
        if mask_N is None:
            return np.ones(self.num_envs, np.bool_)
        good = isinstance(mask_N, np.ndarray) and mask_N.shape == (self.num_envs,) and mask_N.dtype == np.bool_
        if not good or not mask_N.any():
            raise BadArgument(f"reset_mask must be a numpy bool array of shape ({self.num_envs},) with a True in it")
        return mask_N  # type: ignore[no-any-return]

    def step(self, actions: Integers) -> tuple[Observation, NDArray[np.float64], Flags, Flags, dict[str, Any]]:
        """Order panels, or diagnose: one action for each.

        Returns:
            Observations, rewards float64 (N,), terminations and truncations bool (N,), and `info` as arrays with masks.

        Raises:
            WrongMoment: an episode was never begun, or, with DISABLED, is over.
            BadAction: not one action for each.
        """
        if not self._begun:
            raise WrongMoment("there are no episodes yet: call reset() first")
        action_N = _actions(actions, self.num_envs, len(self.form.actions))
        waiting = np.flatnonzero(self._done_N)  # nobody, unless the next step is the reset
        if len(waiting):
            if self.autoreset_mode is not AutoresetMode.NEXT_STEP:
                raise WrongMoment("some episodes are over: reset them, with options={'reset_mask': ...}")
            action_N[waiting] = self.ward.nothing
        reward_N, terminated_N, truncated_N = self.ward.step(action_N)
        self._done_N = done_N = terminated_N | truncated_N
        ended, info = np.flatnonzero(done_N), dict[str, Any]()
        if self.autoreset_mode is AutoresetMode.SAME_STEP:
            if len(ended):
                info = self._last(ended, done_N)
                self._admit(ended)
        else:
            if len(waiting):
                self._admit(waiting)
            if len(ended):
                info = _folded(self.ward.ends(ended), ended, done_N)
        info |= self._info(slice(None), np.ones(self.num_envs, np.bool_), ended=False)
        return self.ward.observe(), reward_N, terminated_N, truncated_N, info

    def _info(self, beds: Integers | slice, told_N: Flags, ended: bool) -> dict[str, Any]:
        """What some beds are told, as Gymnasium folds it: an array and a mask for each name."""
        told: dict[str, NDArray[Any]] = {
            "action_mask": self.ward.masks(beds).view(np.int8),
            "spent": self.ward.spent_N[beds].copy(),
        }
        return _folded(told | self.ward.ends(beds) if ended else told, beds, told_N)

    def _last(self, beds: Integers, done_N: Flags) -> dict[str, Any]:
        """`final_obs` and `final_info` of the episodes that have just ended."""
        observed = self.ward.observe(beds)
        final_obs = np.full(self.num_envs, None, object)
        rows: list[Observation] = [{} for _ in range(len(beds))]
        for name, values in observed.items():
            for row, value in zip(rows, values, strict=True):
                row[name] = value
        final_obs[beds] = rows
        return {
            "final_obs": final_obs,
            "_final_obs": done_N.copy(),
            "final_info": self._info(beds, done_N, ended=True),
            "_final_info": done_N.copy(),
        }

    def action_masks(self) -> Flags:
        """Which actions make sense: bool (N, P + D)."""
        return self.ward.masks()

    def oracle(self) -> Integers:
        """The actions that name the diagnoses. For tests and baselines."""
        return self.ward.label_N.copy()

    def render(self) -> tuple[Any, ...] | None:
        """One frame per episode."""
        if self.render_mode is None:
            return None
        if not self._begun:
            raise WrongMoment("there is nobody yet: call reset() first")
        return tuple(_drawn(self.ward, bed, bool(self._done_N[bed]), self.render_mode) for bed in range(self.num_envs))


def _folded(told: dict[str, NDArray[Any]], beds: Integers | slice, told_N: Flags) -> dict[str, Any]:
    """What some beds are told, for all of them: None, False or 0 for the others, and a mask beside each array."""
    info: dict[str, Any] = {}
    for name, values in told.items():
        if len(values) < len(told_N):
            everybody = np.full((len(told_N), *values.shape[1:]), None if values.dtype == object else 0, values.dtype)
            everybody[beds] = values
            values = everybody
        info[name], info[f"_{name}"] = values, told_N.copy()
    return info


def _actions(actions: Any, count: int, size: int) -> Integers:
    """So many actions, of so many that there are."""
    found = np.asarray(actions)
    if found.shape == (count,) and found.dtype.kind in "iu":
        found = found.astype(np.int64)
        if found.view(np.uint64).max() < size:  # what is below 0 is huge
            return found
    raise BadAction(f"give {count} ints from 0 to {size - 1}, one for each episode; not {actions!r}")


def _drawn(ward: Ward, bed: int, over: bool, mode: str) -> Any:
    """A bed's chart, for people."""
    known, facts, complaint = knowledge(), ward.told(bed), ward.complaint(bed).name
    steps = [(name, _told(known, news, facts)) for name, news in ward.steps(bed)]
    answer, truth = ward.verdict(bed) if over else ("", "")
    good, outcome = over and answer == truth, ("right" if answer == truth else "wrong" if answer else "cut off")
    if mode == "rgb_array":
        asked = f"What does this patient with {complaint} have?"
        verdict = (answer or "none", outcome, "", good, truth) if over else ()
        return draw(known, Chart(facts, asked, steps, *verdict))
    who = prompts.person(facts)
    start = _told(known, ward.told(bed, ward.start(bed)), facts)
    sections = [Section(f"{who[0].upper()}{who[1:]}: {complaint}", start)]
    sections += [Section(name[0].upper() + name[1:], told) for name, told in steps]
    sections.append(Section("Spent", f"{ward.spent_N[bed]:g} of {ward.terms.budget:g}"))
    if over:
        said = f"{answer or 'none'}: {outcome}" + ("" if good else f". It was: {truth}")
        sections.append(Section("Diagnosis", said, good=good))
    return ansi(sections)


def _told(known: Library, facts: dict[str, float], person: dict[str, float]) -> str:
    """Facts as people write them; H and L mark what is out of the person's reference interval."""
    said = []
    for name, value in facts.items():
        if name in known.analytes:
            analyte = known.analytes[name]
            low, high = analyte.interval(bool(person[FEMALE]), person[AGE])
            mark = " H" if value > high else " L" if value < low else ""
            said.append(f"{analyte.name} {prompts.amount(known, name, value)} {analyte.printed_unit}".rstrip() + mark)
        elif name in known.findings:
            said.append(known.findings[name].name if value else known.findings[name].absence)
    return "; ".join(said)
