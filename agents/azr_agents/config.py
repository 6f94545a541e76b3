"""Every setting of a run, with its default and the reason for it: `azr train --help` is made from this page."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import tyro

from azr_gym.errors import BadArgument
from azr_gym.rewards import Learnability, Reward
from azr_gym.roles import PromptStyle, Role, choose

from .hf import Template
from .loss import KL
from .metrics import Tracker
from .presets import Preset, preset

Options = Annotated[dict[str, Any], tyro.conf.arg(metavar="JSON", constructor=json.loads)]
OURS = frozenset(
    "role mode pool processes split solver max_attempts n_references prompt_style reward reward_weight "
    "learnability".split()
)  # options of an environment that a run gives it itself
LEAST = dict.fromkeys(
    "iterations proposals tasks seed_tasks steps epochs eval_tasks eval_samples checkpoint_every max_new_tokens "
    "max_rows threads env_processes pool_capacity".split(),
    1,
) | {
    "n_rollouts": 2,
    **dict.fromkeys("seed n_references refill eval_every keep_samples warm_up lora_rank".split(), 0),
}
DTYPES = ("float32", "bfloat16", "auto")
WEIGHTS = "lr max_grad_norm lora_alpha proposer_weight proposer_kl reward_weight base_floor".split()


class Proposer(StrEnum):
    """Whose weights propose."""

    SHARED = "shared"  # one policy for both roles: the paradigm
    COPY = "copy"  # weights of its own, trained on proposals alone
    ADAPTER = "adapter"  # an adapter of its own, beside the solver's on one base
    FROZEN = "frozen"  # the base, never trained
    GENERATOR = "generator"  # nobody: tasks come from the environment's generator


class Seeding(StrEnum):
    """What the pool begins with."""

    GENERATOR = "generator"  # tasks of the environment's generator
    PROPOSER = "proposer"  # what the base itself proposes, before anything is trained


@dataclass(frozen=True)
class Config:
    """A run. Numbers that are marked (prototype) made small models learn, and without them they collapsed.

    Attributes:
        model: a name of `bases`, a transformers directory, or a name that the hub knows.
        out: the run's folder.
        iterations: propose, solve, update: so many times.
        seed: of everything: the same settings and seed give the same run on the same machine.
        env: id of a registered environment that keeps the contract of this suite; or several ids, which one model plays
            in one run, each iteration all of them.
        env_options: for the environment, as JSON: such as {"level": [1, 2]}. Of several by id:
            {"ClinicalCase-v0": {"level": "missing"}}.
        modes: which of its modes to play; none named: all. Of several "deduction" is every one's, and
            "CodeTriplet-v0/deduction" one's.
        prompt_style: "compact" for small models, "full" for pretrained ones.
        template: how a prompt is put to the model: "plain", "chat" or "r1".
        proposals: per mode and iteration.
        tasks: to solve, per mode and iteration: all that was accepted, and where that is less, some from the pool.
        n_rollouts: attempts at each task: they measure its difficulty and train the solver.
        n_references: tasks of the pool that a proposer is shown.
        seed_tasks: in the pool at the start, per mode.
        seeding: "generator" or "proposer".
        pool_capacity: tasks of each mode; the oldest go first. A proposal that the pool holds is a duplicate.
        proposer: "shared", "copy", "adapter" (with `lora_rank`), "frozen" or "generator".
        algorithm: a row of `presets.PRESETS`. "trr++" compares an attempt with those at all other tasks of its mode;
            the default first with those at its own task. One run each on an earlier base: the default gained as much
            in 33 iterations (held-out, +3.9 points at temperature 1, +2.7 greedy) as "trr++" in 64 (+3.6, +1.4).
        reward: a row of `azr_gym.rewards`.
        learnability: "1-p" or "4p(1-p)".
        reward_weight: the lambda of reward "lambda".
        lr: AdamW's, after the warm-up. 4e-4 suits a million parameters (8e-4 made them forget what they were not
            asked); 1e-6 is the paper's for 7 billion.
        warm_up: iterations.
        anneal_lr: lower the learning rate in a straight line, to nothing after the last iteration. What small models
            lose in a run is mostly the noise of single steps: with it two runs of 40 iterations from an earlier base
            gained 4.3 points at temperature 1 and 1.8 greedily on held-out tasks; at a constant 4e-4 they gained 1.2
            and lost 4.1. A run that is resumed for more iterations goes on at the rate that these call for.
        steps: optimizer steps in which a batch is gone over once; 1 is strictly on-policy where `epochs` is 1 too.
        epochs: times that each iteration's batch is gone over, its clipped ratios always to the policy that sampled.
            The metrics are of the last time.
        max_grad_norm: gradients are clipped to it.
        lora_rank: above 0 the base is frozen, and adapters of that rank are trained beside it: so few weights that what
            the optimizer holds hardly counts, and a KL's reference is the base with no adapter on. Checkpoints hold
            the adapter, `model/` the sum of both, which plain transformers loads. Adapters take about ten times the
            `lr` ("LoRA Without Regret", Schulman et al. 2025). 0: all weights are trained.
        lora_alpha: what an adapter adds is scaled by lora_alpha / lora_rank, so that an `lr` suits every rank.
        lora_targets: names of the layers that get one, such as q_proj; none named: all linear ones but the last, which
            learned better than attention's alone (the same source).
        proposer_weight: of the proposers' advantages (prototype). The paper has 1.
        proposer_kl: weight of the proposers' KL to the base (prototype): it keeps them diverse. The paper has 0.
        share_credit: a proposal's learnability is divided among the iteration's proposals of the same structure
            (prototype).
        skip_idle: attempts whose advantage is 0 are not run through the model: where a task's attempts are compared
            with each other, those at tasks that all or none of them solved. Less than half of the work, and exact.
        refill: where less than half of the groups teach something, so many more rounds of tasks are drawn from the
            pool, those that are solved sometimes first. 0 as default: from a small pool the same tasks come back and
            are learned by heart (their share solved rose from .27 to .44, that of held-out ones stood still).
        base_floor: the least share of seed tasks that the base must solve; 0 trains whatever it is. From .04 every
            run of the prototype collapsed, from .23 none did.
        temperature: of sampling, in training.
        max_new_tokens: of a reply.
        max_rows: replies that are sampled at once.
        update_tokens: tokens that are run through the model at once; padding counts where rows are padded.
        row_tokens: most tokens of a prompt and replies that share it in the update, for models that `shared` does not
            suit; 0: a prompt for each reply, for any.
        gradient_checkpointing: less memory, more time.
        dtype: of the weights: "float32", "bfloat16" or "auto". What is trained has a float32 copy beside bfloat16, or
            small steps would round to nothing: 20 bytes a weight, where "float32" takes 16.
        device: "cpu", "cuda" or "auto".
        threads: of torch on a CPU; a second one made small models slower.
        env_processes: that judge proposals and answers in training; several pay from thousands in an iteration.
        eval_every: iterations between evaluations; there is one before and one after in any case. 0: only these.
        eval_tasks: held-out tasks per mode and split.
        eval_samples: attempts at each.
        eval_splits: of the environment: "test", "ood".
        checkpoint_every: iterations; there is one at the end in any case.
        keep_samples: rollouts per iteration that are kept to be read, per mode and role.
        tensorboard: write its files too.
        track: "wandb" or "trackio": send the metrics there too.
        shuffle_rewards: a control: rewards are dealt out at random inside their group. Nothing should be learned.
    """

    model: str = "code"
    out: Path = Path("runs/selfplay")
    iterations: int = 200
    seed: int = 0

    env: str | tuple[str, ...] = "CodeTriplet-v0"
    env_options: Options = field(default_factory=dict)
    modes: tuple[str, ...] = ()
    prompt_style: PromptStyle = PromptStyle.COMPACT
    template: Template = Template.PLAIN

    proposals: int = 16
    tasks: int = 16
    n_rollouts: int = 8
    n_references: int = 2
    seed_tasks: int = 64
    seeding: Seeding = Seeding.GENERATOR
    pool_capacity: int = 16_384

    proposer: Proposer = Proposer.SHARED
    algorithm: str = "trr++_attempts"
    reward: Reward = Reward.AZR
    learnability: Learnability = Learnability.INVERSE
    reward_weight: float = 1.0
    lr: float = 4e-4
    warm_up: int = 5
    anneal_lr: bool = True
    steps: int = 2
    epochs: int = 1
    max_grad_norm: float = 1.0
    lora_rank: int = 0
    lora_alpha: float = 32.0
    lora_targets: tuple[str, ...] = ()
    proposer_weight: float = 0.3
    proposer_kl: float = 0.2
    share_credit: bool = True
    skip_idle: bool = True
    refill: int = 0
    base_floor: float = 0.1

    temperature: float = 1.0
    max_new_tokens: int = 128
    max_rows: int = 1024
    update_tokens: int = 2048
    row_tokens: int = 256
    gradient_checkpointing: bool = False
    dtype: str = "float32"
    device: str = "auto"
    threads: int = 1
    env_processes: int = 1

    eval_every: int = 0
    eval_tasks: int = 150
    eval_samples: int = 8
    eval_splits: tuple[str, ...] = ("test", "ood")
    checkpoint_every: int = 50
    keep_samples: int = 2
    tensorboard: bool = True
    track: str | None = None
    shuffle_rewards: bool = False

    def __post_init__(self) -> None:
        for name, kind in (
            ("prompt_style", PromptStyle),
            ("template", Template),
            ("seeding", Seeding),
            ("proposer", Proposer),
            ("reward", Reward),
            ("learnability", Learnability),
        ):
            object.__setattr__(self, name, choose(kind, getattr(self, name), name))
        preset(self.algorithm)
        for name, least in LEAST.items():
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise BadArgument(f"{name} must be a whole number of at least {least}, not {value!r}")
        for name in WEIGHTS:
            if not 0.0 <= getattr(self, name) < float("inf"):
                raise BadArgument(f"{name} must be a finite number of at least 0, not {getattr(self, name)!r}")
        if not 0.0 < self.temperature < float("inf"):
            raise BadArgument("temperature must be above 0 in training: without chance nothing is explored")
        if self.track is not None:
            choose(Tracker, self.track, "track")
        if self.dtype not in DTYPES:
            raise BadArgument(f"dtype must be one of {DTYPES}, not {self.dtype!r}")
        if self.proposer is Proposer.ADAPTER and not self.lora_rank:
            raise BadArgument("proposer='adapter' is an adapter beside the solver's: give lora_rank too, such as 16")
        if self.proposer is Proposer.COPY and self.lora_rank:
            raise BadArgument("with lora_rank the base is frozen and shared: take proposer='adapter' and not 'copy'")
        if len(set(self.modes)) < len(self.modes):
            raise BadArgument(f"modes must be different ones, not {', '.join(self.modes)}")
        if not isinstance(self.env_options, Mapping):
            raise BadArgument(f'env_options must be a JSON object such as {{"level": 2}}, not {self.env_options!r}')
        if not isinstance(self.env, str):
            self._check_several(self.env)
        elif taken := sorted(OURS & set(self.env_options)):
            raise BadArgument(f"env_options can not hold {', '.join(taken)}: a run sets them by its other settings")

    def _check_several(self, envs: tuple[str, ...]) -> None:
        if not envs or len(set(envs)) < len(envs):
            raise BadArgument(f"env must be an id, or different ones, not {envs!r}")
        if len(envs) == 1:
            raise BadArgument(f"one environment is given by its id alone: env={envs[0]!r}")
        named = {env: f"env_options[{env!r}]" for env in self.env_options}
        named |= {env: f"the mode {mode!r}" for mode in self.modes if (env := mode.rpartition("/")[0])}
        if strange := sorted(set(named) - set(envs)):
            raise BadArgument(f"{named[strange[0]]} is of no environment of this run, which are {', '.join(envs)}")
        for env, own in self.by_env().items():
            if self.modes and not own.modes:
                raise BadArgument(f"modes name none of {env}: name one of its own, or leave it out of env")

    @property
    def envs(self) -> tuple[str, ...]:
        """The ids of the environments."""
        return (self.env,) if isinstance(self.env, str) else self.env

    def by_env(self) -> dict[str, Config]:
        """The settings by environment, each as for a run of that one alone."""
        if isinstance(self.env, str):
            return {self.env: self}
        parts = [mode.rpartition("/") for mode in self.modes]
        return {
            env: replace(
                self,
                env=env,
                env_options=self.env_options.get(env, {}),
                modes=tuple(mode for its, _, mode in parts if its in ("", env)),
            )
            for env in self.env
        }

    @property
    def kl_weight(self) -> dict[Role, float]:
        """Of each role's KL to the base, as a loss: the algorithm's, and for proposers at least `proposer_kl`.

        0 for proposers that are never trained.
        """
        own = preset(self.algorithm).kl_weight
        learns = self.proposer not in (Proposer.FROZEN, Proposer.GENERATOR)
        return {Role.SOLVE: own, Role.PROPOSE: max(own, self.proposer_kl) if learns else 0.0}

    @property
    def row(self) -> Preset:
        """The algorithm; its KL has weight 1 here, for `kl_weight` is given with each sequence."""
        row = preset(self.algorithm)
        kind = row.kl if row.kl_weight else KL.K3_RATIO
        return replace(row, kl=kind, kl_weight=float(any(self.kl_weight.values())))

    def to_json(self) -> dict[str, Any]:
        """Plain data, as config.json holds it."""
        return {name: str(value) if isinstance(value, Path) else value for name, value in asdict(self).items()}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Config:
        """What `to_json` wrote.

        Raises:
            BadArgument: a setting that this version does not know.
        """
        known = {one.name for one in fields(cls)}
        if unknown := sorted(set(data) - known):
            raise BadArgument(f"these settings are unknown to this version of azr-gym: {', '.join(unknown)}")
        given: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in data.items()
        }
        return cls(**{**given, "out": Path(given.get("out", cls.out))})
