"""The settings of a run: they come back from JSON, and what can not be is refused in words."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from azr_agents.config import LEAST, OURS, WEIGHTS, Config, Proposer, Seeding
from azr_agents.hf import Template
from azr_agents.loss import KL
from azr_agents.presets import PRESETS, preset
from azr_gym import BadArgument
from azr_gym.rewards import Learnability, Reward
from azr_gym.roles import PromptStyle, Role

settings = st.fixed_dictionaries(
    {},
    optional={
        "model": st.text(min_size=1),
        "out": st.sampled_from(["runs/a", "b"]).map(Path),
        "iterations": st.integers(1, 10**9),
        "seed": st.integers(0, 2**70),
        "env_options": st.dictionaries(st.text().filter(lambda name: name not in OURS), st.integers() | st.text()),
        "modes": st.sampled_from([(), ("deduction",), ("abduction", "induction")]),
        "prompt_style": st.sampled_from(PromptStyle),
        "template": st.sampled_from(Template),
        "seeding": st.sampled_from(Seeding),
        "proposer": st.sampled_from([one for one in Proposer if one is not Proposer.ADAPTER]),
        "lora_targets": st.sampled_from([(), ("q_proj", "v_proj")]),
        "algorithm": st.sampled_from(sorted(PRESETS)),
        "reward": st.sampled_from(Reward),
        "learnability": st.sampled_from(Learnability),
        "lr": st.floats(0, 1),
        "temperature": st.floats(0.1, 2),
        "eval_splits": st.sampled_from([(), ("test",), ("test", "ood")]),
        "track": st.sampled_from([None, "wandb"]),
        "shuffle_rewards": st.booleans(),
    },
)


@given(settings)
def test_settings_come_back_from_json(given: dict[str, Any]) -> None:
    config = Config(**given)
    again = Config.from_json(json.loads(json.dumps(config.to_json())))
    assert again == config
    assert all(type(getattr(again, one.name)) is type(getattr(config, one.name)) for one in fields(Config))


def test_words_are_taken_for_members_of_their_vocabulary() -> None:
    config = Config(proposer="copy", reward="lambda", template="r1")  # type: ignore[arg-type]
    assert (config.proposer, config.reward, config.template) == (Proposer.COPY, Reward.LAMBDA, Template.R1)


def test_every_setting_is_explained() -> None:
    page = Config.__doc__ or ""
    assert [one.name for one in fields(Config) if f"        {one.name}: " not in page] == []


def test_a_setting_of_another_version_is_named() -> None:
    with pytest.raises(BadArgument, match="unknown to this version of azr-gym: colour, sound"):
        Config.from_json({"sound": 1, "iterations": 3, "colour": "red"})


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"algorithm": "ppo"}, r"preset must be one of .*'trr\+\+'.*not 'ppo'"),
        ({"proposer": "nobody"}, "proposer must be one of .*'shared'"),
        ({"reward": "sparse"}, "reward must be one of"),
        ({"learnability": "p"}, "learnability must be one of"),
        ({"seeding": "none"}, "seeding must be one of"),
        ({"template": "chatml"}, "template must be one of"),
        ({"prompt_style": "long"}, "prompt_style must be one of"),
        ({"temperature": 0.0}, "temperature must be above 0"),
        ({"temperature": float("nan")}, "temperature must be above 0"),
        ({"lr": float("nan")}, "lr must be a finite number"),
        ({"n_rollouts": 1}, "n_rollouts must be a whole number of at least 2"),
        ({"iterations": "3"}, "iterations must be a whole number"),
        ({"tasks": True}, "tasks must be a whole number"),
        ({"track": "carrier pigeon"}, "track must be one of"),
        ({"dtype": "float8"}, "dtype must be one of"),
        ({"modes": ("deduction", "deduction")}, "modes must be different ones"),
        ({"proposer": "adapter"}, "proposer='adapter' is an adapter beside the solver's: give lora_rank too"),
        ({"proposer": "copy", "lora_rank": 8}, "take proposer='adapter' and not 'copy'"),
        ({"env_options": [1]}, "env_options must be a JSON object"),
        ({"env_options": {"split": "test"}}, "env_options can not hold split"),
        ({"env_options": {"mode": "deduction", "level": 2}}, "env_options can not hold mode: "),
    ],
)
def test_what_can_not_be_is_refused_in_words(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(BadArgument, match=words):
        Config(**changes)


@pytest.mark.parametrize("name", [*LEAST, *WEIGHTS])
def test_a_number_below_its_least_is_refused_and_the_least_is_not(name: str) -> None:
    least = LEAST.get(name, 0)
    assert getattr(Config(**{name: least}), name) == least  # type: ignore[arg-type]
    with pytest.raises(BadArgument, match=f"^{name} must be .* at least {least}, not {least - 1}"):
        Config(**{name: least - 1})  # type: ignore[arg-type]


# The algorithm's KL, and the proposers' own


@pytest.mark.parametrize("name", sorted(PRESETS))
@pytest.mark.parametrize("proposer_kl", [0.0, 0.2])
def test_solvers_have_the_algorithms_kl_and_proposers_at_least_theirs(name: str, proposer_kl: float) -> None:
    config, own = Config(algorithm=name, proposer_kl=proposer_kl), preset(name)
    assert config.kl_weight == {Role.SOLVE: own.kl_weight, Role.PROPOSE: max(own.kl_weight, proposer_kl)}
    anchored = max(own.kl_weight, proposer_kl) > 0
    assert config.row.kl_weight == (1.0 if anchored else 0.0)  # else each sequence's weight would count twice


@pytest.mark.parametrize("proposer", ["frozen", "generator"])
def test_proposers_that_are_never_trained_are_not_anchored(proposer: Proposer) -> None:
    config = Config(proposer=proposer, proposer_kl=0.2)
    assert config.kl_weight == {Role.SOLVE: 0.0, Role.PROPOSE: 0.0}
    assert config.row.kl_weight == 0.0
    assert Config(proposer=proposer, algorithm="grpo").kl_weight == {Role.SOLVE: 0.04, Role.PROPOSE: 0.0}


def test_a_row_without_kl_of_its_own_gets_an_unbiased_one_and_keeps_the_rest() -> None:
    row = Config(algorithm="trr++", proposer_kl=0.2).row
    assert row.kl is KL.K3_RATIO
    assert (row.whiten_key, row.entropy_weight, row.clip_high) == (preset("trr++").whiten_key, 0.001, 0.28)
    assert Config(algorithm="reinforce++_baseline").row.kl is KL.K2  # its own
