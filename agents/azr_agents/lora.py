"""Adapters in the place of weights: low-rank matrices beside a base that is frozen (LoRA, arXiv 2106.09685).

Policies share one base in memory, each with an adapter of its own; with none on it is the reference of a KL. The rest
of the learner is handed an `Adapted` as if it were a model. Needs the extra `lora`, which is peft.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from azr_gym.errors import BadArgument

SETTINGS, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"  # peft's names
PREFIX = "base_model.model."  # of peft's names of weights


def need_peft() -> Any:
    """The library.

    Raises:
        BadArgument: it is not installed.
    """
    try:
        import peft
    except ImportError as error:
        raise BadArgument(f'adapters need peft ({error}): pip install "azr-gym[lora]"') from None
    return peft


def add(base: Any, names: Sequence[str], rank: int, alpha: float, targets: Sequence[str], seed: int) -> None:
    """Put adapters into a base, and freeze the base.

    Args:
        base: a model of transformers.
        names: of the adapters: all that it will ever have.
        rank: of their matrices.
        alpha: what they add is scaled by alpha / rank.
        targets: names of the layers; none: all linear ones but the last.
        seed: of the matrices A; B are 0, so that at first they add nothing.

    Raises:
        BadArgument: peft is missing, or the base has no such layers.
    """
    peft = need_peft()
    if tied := _tied(base) & set(targets):
        raise BadArgument(f"lora_targets can not hold {', '.join(sorted(tied))}: input and output share these weights")
    kind = {"r": rank, "lora_alpha": alpha, "target_modules": list(targets) or "all-linear", "task_type": "CAUSAL_LM"}
    settings = {name: peft.LoraConfig(**kind, base_model_name_or_path=base.name_or_path) for name in names}
    with torch.random.fork_rng():
        torch.manual_seed(int(np.random.SeedSequence(seed).generate_state(1, np.uint32)[0]))
        try:
            tuner = peft.LoraModel(base, settings, names[0])
            for name in names[1:]:
                tuner.inject_adapter(base, name)
        except ValueError as error:
            raise BadArgument(f"lora_targets do not fit {base.config.model_type}: {error}") from None
    for name in names:
        for weight in weights_of(base, name).values():
            weight.requires_grad_().data = weight.data.float()  # in bfloat16 small steps would round to nothing


def _tied(base: Any) -> set[str]:
    """Names of layers that share their weights: with an adapter on one of them they would part."""
    if not base.config.tie_word_embeddings:
        return set()
    shared = (base.get_input_embeddings(), base.get_output_embeddings())
    return {name.rpartition(".")[2] for name, module in base.named_modules() if module in shared}


def layers(base: Any) -> dict[str, Any]:
    """The layers that have adapters, by their names in the base."""
    kind = need_peft().tuners.tuners_utils.BaseTunerLayer
    return {name: module for name, module in base.named_modules() if isinstance(module, kind)}


def weights_of(base: Any, name: str) -> dict[str, Tensor]:
    """An adapter's weights, by peft's names on disk."""
    return {
        PREFIX + ".".join(part for part in key.split(".") if part != name): weight
        for key, weight in base.named_parameters()
        if _belongs(key, name)
    }


def _belongs(key: str, name: str) -> bool:
    """Whether a weight of that name in the base is an adapter's."""
    return ".lora_" in key and name in key.split(".")


@torch.no_grad()
def load(base: Any, name: str, folder: Path) -> None:
    """Give an adapter the weights that a folder holds.

    Raises:
        BadArgument: they are damaged, or of another adapter.
    """
    try:
        saved, weights = load_file(folder / WEIGHTS), weights_of(base, name)
    except (OSError, SafetensorError) as error:
        raise BadArgument(f"{folder / WEIGHTS} is damaged: {error}") from None
    if {key: value.shape for key, value in saved.items()} != {key: value.shape for key, value in weights.items()}:
        raise BadArgument(f"{folder / WEIGHTS} is not an adapter of this base with these settings")
    for key, weight in weights.items():
        weight.data = saved[key].to(weight.device)  # float32, whatever the base has


class Adapted(torch.nn.Module):
    """A base with one of its adapters on, or with none.

    Its parameters are the adapter's. Those on one base put their own adapter on whenever they run, so a backward pass,
    which may run the layers again, must come before another of them runs.

    Args:
        base: what `add` has put adapters into.
        name: the adapter; None: none.
    """

    def __init__(self, base: Any, name: str | None = None) -> None:
        super().__init__()
        self.base, self.name = base, name
        self._layers = [*layers(base).values()]

    def forward(self, **inputs: Any) -> Any:
        """What the base gives, with this adapter on."""
        self._put_on()
        return self.base(**inputs)

    def _put_on(self) -> None:
        wanted = [] if self.name is None else [self.name]
        for layer in self._layers:
            if layer.active_adapters != wanted:
                layer.set_adapter(wanted)
                for key, weight in layer.named_parameters():  # whoever is on, all adapters are there to be trained
                    weight.requires_grad_(key.startswith("lora_"))

    def named_parameters(self, *options: Any, **more: Any) -> Iterator[tuple[str, torch.nn.Parameter]]:
        """The adapter's weights; with none on there are none."""
        for key, weight in super().named_parameters(*options, **more):
            if self.name is not None and _belongs(key, self.name):
                yield key, weight

    # What is asked of a model of transformers. No more: the lean decoder reads weights, and would miss the adapter.
    config = property(lambda self: self.base.config)
    generation_config = property(lambda self: self.base.generation_config)
    device = property(lambda self: self.base.device)
    dtype = property(lambda self: self.base.dtype)

    def save_pretrained(self, folder: Path) -> None:
        """Write the adapter alone, and as peft does: `PeftModel.from_pretrained(base, folder)` reads it."""
        folder.mkdir(parents=True, exist_ok=True)
        kept = {key: value.detach().cpu().contiguous() for key, value in weights_of(self.base, self.name or "").items()}
        save_file(kept, folder / WEIGHTS, {"format": "pt"})
        self.base.peft_config[self.name].save_pretrained(folder)

    @torch.no_grad()
    def merged(self) -> dict[str, Tensor]:
        """The weights of a plain model that computes the same, rounded to the base's precision."""
        weights = {
            key.replace(".base_layer.", "."): value
            for key, value in self.base.state_dict().items()
            if ".lora_" not in key
        }
        for name, layer in layers(self.base).items():
            weight = weights[f"{name}.weight"]
            added = layer.get_delta_weight(self.name).float()
            weights[f"{name}.weight"] = (weight.float() + added).to(weight.dtype).cpu()
        return weights


def save_whole(model: Any, folder: Path) -> None:
    """Write a model that plain transformers loads: an adapter is added to the base's weights."""
    if isinstance(model, Adapted):
        model.base.save_pretrained(folder, state_dict=model.merged())
    else:
        model.save_pretrained(folder)


def load_whole(folder: Path, **options: Any) -> Any:
    """The base of an adapter's folder, with the adapter added to its weights: a plain model of transformers."""
    peft = need_peft()
    from transformers import AutoModelForCausalLM

    settings = peft.LoraConfig.from_pretrained(str(folder))
    base: Any = AutoModelForCausalLM.from_pretrained(settings.base_model_name_or_path, **options)
    tuner = peft.LoraModel(base, settings, "default")
    load(base, "default", folder)
    return tuner.merge_and_unload()
