"""Adapters: they change nothing until they are trained, nothing but them is trained, and none sees another's."""

from __future__ import annotations

import sys
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from agents.ranks import two_ranks
from agents.small import config, need_peft
from agents.test_update import FULL, batch_of, learned, learner_of, model, near, replies_to, said_by, weights_of
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel
from transformers import AutoModelForCausalLM, AutoTokenizer

from azr_agents import lora, metrics, train
from azr_agents.decode import fits
from azr_agents.distributed import sum_over_ranks
from azr_agents.hf import HFAgent
from azr_agents.presets import preset
from azr_agents.update import Batch
from azr_gym import BadArgument
from azr_gym.roles import Role

torch.set_num_threads(1)
IDS = torch.tensor([[5, 3, 8, 1, 2]])


@pytest.fixture(autouse=True)
def _peft(request: pytest.FixtureRequest) -> None:
    if "without_peft" not in request.fixturenames:
        need_peft()


@pytest.fixture
def without_peft(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "peft", None)


def adapted(kind: str = "llama", names: tuple[str, ...] = ("one", "other"), **options: Any) -> list[lora.Adapted]:
    """A base's adapters, far from where they begin; and last the base without any."""
    base = model(kind, dtype=options.pop("dtype", torch.float32))
    lora.add(base, names, **{"rank": 3, "alpha": 6.0, "targets": (), "seed": 0, **options})
    g = torch.Generator().manual_seed(1)
    for name in names:
        for weight in lora.weights_of(base, name).values():
            weight.data += 0.3 * torch.randn(weight.shape, generator=g)
    return [lora.Adapted(base, name).eval() for name in (*names, None)]


def logits(some: Any) -> Tensor:
    with torch.no_grad():
        found: Tensor = some(input_ids=IDS).logits
    return found


def bits(some: lora.Adapted, name: str) -> Tensor:
    return torch.cat([weight.detach().flatten().clone() for weight in lora.weights_of(some.base, name).values()])


# What an adapter is


@pytest.mark.parametrize("kind", ["llama", "qwen2", "mistral with a window"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_new_adapter_changes_nothing(kind: str, dtype: torch.dtype) -> None:
    plain, base = model(kind, dtype=dtype), model(kind, dtype=dtype)
    lora.add(base, ("one", "other"), 3, 6.0, (), 0)
    for name in ("one", "other", None):
        assert torch.equal(logits(lora.Adapted(base, name)), logits(plain))
    assert {weight.dtype for weight in lora.weights_of(base, "one").values()} == {torch.float32}
    assert torch.equal(lora.Adapted(base, None).base.lm_head.weight, plain.lm_head.weight)


def test_adapters_on_one_base_do_not_see_each_other() -> None:
    one, other, bare = adapted()
    apart = [logits(some) for some in (one, other, bare)]
    assert not torch.allclose(apart[0], apart[1])
    assert torch.equal(apart[2], logits(model()))
    for turn in (2, 0, 1, 0, 2, 1):
        assert torch.equal(logits((one, other, bare)[turn]), apart[turn])


def test_the_seed_decides_how_an_adapter_begins_and_nothing_else_is_drawn() -> None:
    torch.manual_seed(7)
    before = torch.random.get_rng_state()
    made = []
    for seed in (0, 0, 1, 2**70):
        base = model()
        torch.random.set_rng_state(before)
        lora.add(base, ("one", "other"), 3, 6.0, (), seed)
        made.append(
            [torch.cat([*map(torch.flatten, lora.weights_of(base, name).values())]) for name in ("one", "other")]
        )
        assert torch.equal(torch.random.get_rng_state(), before)
    assert torch.equal(made[0][0], made[1][0])
    assert len({tuple(one.tolist()) for some in made for one in some}) == 6, "every seed, and both adapters"


@pytest.mark.parametrize("targets", [(), ("v_proj",), ("q_proj", "down_proj")])
def test_the_weights_to_train_are_the_adapters_own(targets: tuple[str, ...]) -> None:
    one, other, bare = adapted(targets=targets)
    for some, name in ((one, "one"), (other, "other"), (one, "one")):
        for player in (bare, other):  # whoever has played
            logits(player)
        trained = {id(weight) for weight in some.parameters() if weight.requires_grad}
        assert trained == {id(weight) for weight in lora.weights_of(some.base, name).values()}
        assert len(trained) == 2 * 2 * (len(targets) or 7), "A and B in both layers"
    assert [*bare.parameters()] == []
    adapters = {id(weight) for name in ("one", "other") for weight in lora.weights_of(one.base, name).values()}
    assert {id(weight) for weight in one.base.parameters() if weight.requires_grad} == adapters


# Sampling


@pytest.mark.parametrize("targets", [(), ("v_proj",), ("down_proj",)])
def test_replies_are_sampled_with_the_adapter_on(targets: tuple[str, ...], base: Path) -> None:
    player = HFAgent.from_pretrained(base, dtype="float32", max_new_tokens=12)
    bare = player.reply(["f(1)", "x"], 3, 0)
    lora.add(player.model, ("one",), 3, 6.0, targets, 0)
    for weight in lora.weights_of(player.model, "one").values():
        weight.data += 0.1 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(0))
    one, none = lora.Adapted(player.model, "one").eval(), lora.Adapted(player.model, None).eval()
    assert not fits(one), "the lean decoder reads the base's weights"
    player.model = none
    for mine, theirs in zip(chain(*player.reply(["f(1)", "x"], 3, 0)), chain(*bare), strict=True):
        assert mine.ids == theirs.ids
        assert mine.logprobs == pytest.approx(theirs.logprobs, abs=1e-4)
    player.model = one
    groups = player.reply(["f(1)", "x"], 3, 0)
    assert groups != bare
    for reply in chain(*groups):
        with torch.no_grad():
            found = one(input_ids=torch.tensor([[*reply.prompt_ids, *reply.ids]])).logits[
                0, len(reply.prompt_ids) - 1 : -1
            ]
        wanted = found.log_softmax(-1).gather(1, torch.tensor(reply.ids)[:, None])[:, 0]
        torch.testing.assert_close(torch.tensor(reply.logprobs), wanted, atol=1e-4, rtol=1e-4)


# Training


def of_own(some: lora.Adapted) -> Tensor:
    """The gradient of an adapter's weights."""
    assert some.name is not None
    return torch.cat([weight.grad.flatten() for weight in lora.weights_of(some.base, some.name).values()])  # type: ignore[union-attr]


def test_nothing_but_its_own_weights_learns() -> None:
    one, other, bare = adapted()
    logits(other)  # somebody else has played
    learner = learner_of(one, FULL, lr=0.01, reference=bare)
    mine, theirs = bits(one, "one"), bits(one, "other")
    logits(bare)
    learner.learn(batch_of(replies_to()), 2, np.random.default_rng(0))
    assert not torch.equal(bits(one, "one"), mine)
    assert torch.equal(bits(one, "other"), theirs)
    assert torch.equal(logits(bare), logits(model()))


def test_the_gradient_is_that_of_a_model_with_a_reference_beside_it() -> None:
    one, _, bare = adapted()
    batch = batch_of(said_by(one))
    learned_with = []
    for reference in (bare, model()):
        learner_of(one, FULL, reference=reference, row_tokens=40, budget=80).learn(batch, 1, np.random.default_rng(0))
        learned_with.append(of_own(one).clone())
    near(*learned_with)


def test_an_adapters_gradient_is_that_of_the_weights_it_adds_to() -> None:
    one, _, bare = adapted(targets=("q_proj",))
    batch = batch_of(said_by(one))
    learner_of(one, FULL, reference=bare).learn(batch, 1, np.random.default_rng(0))
    whole = model()
    whole.load_state_dict(one.merged())
    learned(whole, FULL, batch, reference=model())
    for number, layer in enumerate(one.base.model.layers):
        slope = whole.model.layers[number].self_attn.q_proj.weight.grad
        matrices = layer.self_attn.q_proj
        a, b = matrices.lora_A["one"].weight, matrices.lora_B["one"].weight
        near(b.grad, 2.0 * slope @ a.detach().T)  # alpha / rank is 2
        near(a.grad, 2.0 * b.detach().T @ slope)


def test_gradient_checkpointing_changes_no_gradient() -> None:
    one, other, bare = adapted()
    batch, found = batch_of(said_by(one)), []
    learner = learner_of(one, FULL, reference=bare)
    for enable in (
        lambda: None,
        getattr(one.base, "activation_checkpointing_enable", one.base.gradient_checkpointing_enable),
    ):
        enable()
        logits(other)
        learner.learn(batch, 1, np.random.default_rng(0))
        found.append(of_own(one).clone())
    near(found[1], found[0])


def step(prompts: slice, wrapped: bool = False) -> Tensor:
    """The adapter's weights after learning from some of the prompts of one fixed batch."""
    one, _, bare = adapted()
    batch = batch_of(replies_to())
    asked = list(dict.fromkeys(reply.prompt_ids for reply in batch.replies))[prompts]
    mine = [index for index, reply in enumerate(batch.replies) if reply.prompt_ids in asked]
    part = Batch(*([some[index] for index in mine] for some in (batch.replies, batch.advantages, batch.anchor)))  # type: ignore[arg-type]
    ranks: dict[str, Any] = {"reduce": sum_over_ranks, "world": 2} if wrapped else {}
    learner = learner_of(DistributedDataParallel(one) if wrapped else one, FULL, lr=0.01, reference=bare, **ranks)
    learner.optimizer = torch.optim.SGD(learner.masters)  # type: ignore[assignment]
    learner.learn(part, 1, np.random.default_rng(0))
    return bits(one, "one")


def on_a_rank(rank: int) -> Tensor:
    """What each of two processes comes to, with a part of the batch."""
    return step(slice(0, 1) if rank == 0 else slice(1, 4), wrapped=True)


def test_two_ranks_learn_what_one_learns(tmp_path: Path) -> None:
    whole = step(slice(0, 4))
    assert not torch.allclose(whole, bits(adapted()[0], "one"), atol=1e-3)
    for found in two_ranks(on_a_rank, tmp_path):
        torch.testing.assert_close(found, whole, atol=1e-6, rtol=1e-5)


# On disk


@pytest.mark.parametrize("kind", ["llama", "qwen2"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_merged_it_is_a_plain_model(kind: str, dtype: torch.dtype, tmp_path: Path) -> None:
    one, other, _ = adapted(kind, dtype=dtype)
    for some in (other, one):
        lora.save_whole(some, tmp_path)
        plain = AutoModelForCausalLM.from_pretrained(tmp_path, dtype="auto")
        assert plain.state_dict().keys() == model(kind).state_dict().keys()
        assert plain.dtype is dtype
        assert fits(plain)
        gone = (logits(plain) - logits(some)).norm() / logits(some).norm()
        assert gone < (1e-5 if dtype is torch.float32 else 0.1), "but for the rounding of weights and of activations"
    assert torch.equal(logits(one), logits(adapted(kind, dtype=dtype)[0])), "saving changes nothing"


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("targets", [(), ("v_proj", "up_proj")])
def test_a_folder_of_an_adapter_is_read_back(tied: bool, targets: tuple[str, ...], base: Path, tmp_path: Path) -> None:
    player = HFAgent.from_pretrained(base, dtype="float32", max_new_tokens=12)
    if not tied:
        player.model.config.tie_word_embeddings = False
        player.model.lm_head.weight = torch.nn.Parameter(player.model.lm_head.weight + 0.1)
        player.model.save_pretrained(tmp_path / "base")
        player.tokenizer.save_pretrained(tmp_path / "base")
        player = HFAgent.from_pretrained(tmp_path / "base", dtype="float32", max_new_tokens=12)
    lora.add(player.model, ("one", "other"), 3, 6.0, targets, 0)
    for weight in lora.weights_of(player.model, "other").values():
        weight.data += 0.1 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(0))
    player.model = lora.Adapted(player.model, "other").eval()
    player.model.save_pretrained(tmp_path / "adapter")
    player.tokenizer.save_pretrained(tmp_path / "adapter")
    again = HFAgent.from_pretrained(tmp_path / "adapter", dtype="float32", max_new_tokens=12)
    assert fits(again.model), "the adapter is added to the weights, and the lean decoder has them all"
    torch.testing.assert_close(logits(again.model), logits(player.model), atol=1e-5, rtol=1e-5)
    lora.load(player.model.base, "one", tmp_path / "adapter")
    assert torch.equal(logits(lora.Adapted(player.model.base, "one")), logits(player.model))


@pytest.mark.filterwarnings("ignore::FutureWarning")  # of peft, to transformers
def test_peft_reads_what_is_written(base: Path, tmp_path: Path) -> None:
    import peft

    load: Any = AutoModelForCausalLM.from_pretrained
    whole = load(base)
    lora.add(whole, ("one",), 3, 6.0, (), 0)
    for weight in lora.weights_of(whole, "one").values():
        weight.data += 0.1
    one = lora.Adapted(whole, "one")
    one.save_pretrained(tmp_path)
    torch.testing.assert_close(logits(peft.PeftModel.from_pretrained(load(base), tmp_path)), logits(one))


@pytest.mark.parametrize("spoil", ["cut", "missing", "rank", "targets"])
def test_another_adapter_is_refused(spoil: str, tmp_path: Path) -> None:
    one, other, _ = adapted()
    one.save_pretrained(tmp_path)
    path = tmp_path / lora.WEIGHTS
    if spoil == "cut":
        path.write_bytes(path.read_bytes()[:100])
    elif spoil == "missing":
        path.unlink()
    elif spoil == "rank":
        _, other, _ = adapted(rank=2)
    else:
        _, other, _ = adapted(targets=("q_proj",))
    with pytest.raises(BadArgument, match="damaged" if spoil in ("cut", "missing") else "not an adapter of this base"):
        lora.load(other.base, "other", tmp_path)


# What can not be


def test_without_peft_it_says_how_to_get_it(without_peft: None, base: Path, tmp_path: Path) -> None:
    words = r'adapters need peft .*: pip install "azr-gym\[lora\]"$'
    with pytest.raises(BadArgument, match=words):
        train.policies(config(model=str(base), lora_rank=2))
    (tmp_path / lora.SETTINGS).write_text("{}")
    (tmp_path / lora.WEIGHTS).touch()
    AutoTokenizer.from_pretrained(base).save_pretrained(tmp_path)
    with pytest.raises(BadArgument, match=words):
        HFAgent.from_pretrained(tmp_path)


@pytest.mark.parametrize(
    ("targets", "words"),
    [
        (("no_such_layer",), "lora_targets do not fit llama: .*no_such_layer"),
        (("lm_head",), "lora_targets can not hold lm_head: input and output share"),
        (("q_proj", "embed_tokens"), "can not hold embed_tokens"),
    ],
)
def test_targets_that_can_not_be_are_named(targets: tuple[str, ...], words: str, base: Path) -> None:
    with pytest.raises(BadArgument, match=words):
        train.policies(config(model=str(base), lora_rank=2, lora_targets=targets))


# Runs


@pytest.mark.parametrize(
    ("changes", "adapters"),
    [({}, ["solve"]), ({"proposer": "adapter"}, ["solve", "propose"]), ({"proposer": "frozen"}, ["solve"]),
     ({"proposer": "generator"}, ["solve"])],
)  # fmt: skip
def test_whoever_plays_there_is_one_base(
    changes: dict[str, Any], adapters: list[str], base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded: list[Any] = []
    load = train.agent

    def counted(*given: Any) -> Any:
        loaded.append(load(*given))
        return loaded[-1]

    monkeypatch.setattr(train, "agent", counted)
    solver, proposer = train.policies(config(model=str(base), lora_rank=2, algorithm="grpo", **changes))
    [whole] = [one.model for one in loaded]
    assert solver.learner is not None
    reference = solver.learner.reference
    assert reference is not None
    assert reference.name is None
    assert all(one.base is whole for one in (solver.agent.model, proposer.agent.model, reference))
    assert [*whole.peft_config] == adapters
    assert solver.agent.model.name == Role.SOLVE
    names = {"adapter": Role.PROPOSE, "frozen": None}
    assert proposer.agent.model.name == names.get(changes.get("proposer", ""), Role.SOLVE)
    if changes == {"proposer": "adapter"}:
        assert proposer.learner is not None
        assert not {*map(id, proposer.learner.masters)} & {*map(id, solver.learner.masters)}


@pytest.mark.parametrize("proposer", ["shared", "adapter"])
def test_a_run_with_adapters_ends_in_a_model_that_plain_transformers_loads(
    proposer: str, base: Path, tmp_path: Path
) -> None:
    settings = config(
        model=str(base), out=tmp_path / "run", seeding="proposer", iterations=2, lora_rank=4, lr=1e-2, proposer=proposer,
        gradient_checkpointing=True,
    )  # fmt: skip
    out = train.train(settings)
    assert all(row["grad_norm"] > 0 for row in metrics.read(out).metrics)
    whole, before = (AutoModelForCausalLM.from_pretrained(one) for one in (out / "model", base))
    assert not torch.allclose(weights_of(whole), weights_of(before), atol=1e-4)
    saved = HFAgent.from_pretrained(out / "checkpoints" / "000002" / "model", dtype="float32")
    torch.testing.assert_close(weights_of(saved.model), weights_of(whole), atol=1e-6, rtol=1e-5)
    assert (out / "checkpoints" / "000002" / "proposer").exists() == (proposer == "adapter")
    assert preset(settings.algorithm).kl_weight == 0
