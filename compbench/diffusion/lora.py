"""A LoRA added to the weights that it was trained on: W + (alpha / r) B A, in float32, before anything is cast.

Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models", ICLR 2022. Which names its layers have in the file of
whichever trainer is read by diffusers' own loader of the family; what does not fit is refused, where that only warns.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers.loaders import lora_pipeline
from diffusers.utils.state_dict_utils import (
    StateDictType,
    convert_state_dict_to_peft,
    convert_unet_state_dict_to_peft,
)
from safetensors import safe_open
from torch import Tensor, nn

from compbench.core.errors import DataError
from compbench.diffusion.parts import Parts
from compbench.diffusion.silence import quiet
from compbench.diffusion.weights import LOADING_ERRORS, check_finite
from compbench.registry.tensors import check_floats, named, read_headers

__all__ = ["add_lora"]

_A, _B, _ALPHA = ".lora_A.weight", ".lora_B.weight", "alpha:"
_TEXT_PREFIX = "text_model."
_OTHERS = ("dora_scale", "lora_magnitude_vector", "lokr_", "hada_")  # that are not products of two matrices


@dataclass(frozen=True, slots=True)
class _Product:
    """The sum that is added to a layer's weights: scale B A."""

    a: Tensor  # [r, in], or [r, in, h, w] of a convolution
    b: Tensor  # [out, r], or [out, r, 1, 1]
    scale: float

    def fits(self, weight: Tensor) -> bool:
        is_pair = self.a.shape[0] == self.b[0].numel()
        return is_pair and self.b.shape[0] == weight.shape[0] and self.a[0].numel() == weight[0].numel()

    def of(self, weight: Tensor) -> Tensor:
        return self.scale * (self.b.flatten(1) @ self.a.flatten(1)).reshape(weight.shape)


def add_lora(parts: Parts, file: Path, loader: str) -> Parts:
    """The parts, with the file's LoRA added to the weights of the network and the encoders: all of it, or DataError.

    `loader`: the class of diffusers that reads such files of the family, StableDiffusionXLLoraLoaderMixin for one.
    """
    what, components = f"the LoRA {str(file)!r}", parts.trained
    try:
        check_floats({name: tensor for name, tensor in read_headers([file]).items() if not _is_alpha(name)}, what)
        state, settings = _read(file)
        _check_kind(state, what)
        check_finite(state.items(), what)
        with quiet():
            layers, alphas = _named_by_diffusers(state, loader, parts)
            found = {name: _products(name, part, layers, alphas, settings) for name, part in components.items()}
    except (*LOADING_ERRORS, re.error) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise error if str(error).startswith(what) else DataError(f"{what} cannot be read: {reason[:300]}") from error
    unknown = [key for key in layers if key.partition(".")[0] not in components]
    if unknown or not any(found.values()):
        raise DataError(
            f"{what} has {len(unknown)} of {len(layers)} tensors for no part of model {parts.name!r} "
            f"({named(unknown)}); expected those of {', '.join(components)}: it was trained on another model"
        )
    for name, products in found.items():
        _check_fits(components[name], products, f"{what} does not fit the {name} of model {parts.name!r}")
    with torch.no_grad():
        for name, products in found.items():
            weights = _weights(components[name])
            for layer, product in products.items():
                weights[layer] += product.of(weights[layer])
    return parts


def _read(file: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors, in float32, and the settings of the training where the file has them."""
    with safe_open(file, "pt") as opened:
        written = (opened.metadata() or {}).get("lora_adapter_metadata")
        state = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118  # not a dict
    return {name: tensor.float() for name, tensor in state.items()}, _settings(written) if written else {}


def _settings(written: str) -> dict[str, Any]:
    settings = json.loads(written)
    if not isinstance(settings, dict):
        raise ValueError("its lora_adapter_metadata is not a JSON object")  # of what a file says
    return settings


def _is_alpha(name: str) -> bool:
    return name.rpartition(".")[2] == "alpha"


def _check_kind(state: Mapping[str, Tensor], what: str) -> None:
    if odd := [name for name in state if any(word in name for word in _OTHERS)]:
        raise DataError(
            f"{what} holds {len(odd)} tensors of a DoRA, LoKr or LoHa ({named(odd)}); expected the two matrices of a "
            "LoRA for each layer: merge it into its model with the program that made it, and save that"
        )


def _named_by_diffusers(
    state: dict[str, Tensor], loader: str, parts: Parts
) -> tuple[Mapping[str, Tensor], Mapping[str, float]]:
    """The tensors under the names of diffusers, and the alphas that a file holds as tensors of their own."""
    kind: Any = getattr(lora_pipeline, loader)
    options: dict[str, Any] = {"return_alphas": True} if loader.startswith("Flux") else {}
    if loader.startswith("StableDiffusion"):
        options = {"unet_config": parts.network.config}
    found = kind.lora_state_dict(dict(state), **options)
    layers, alphas = found if isinstance(found, tuple) else (found, {})
    return layers, {name: float(alpha) for name, alpha in (alphas or {}).items()}


def _products(
    name: str, part: Any, layers: Mapping[str, Tensor], alphas: Mapping[str, float], settings: Mapping[str, Any]
) -> dict[str, _Product]:
    """The sums for a component's layers."""
    prefix, is_text = f"{name}.", name.startswith("text_encoder")
    own = {key.removeprefix(prefix): tensor for key, tensor in layers.items() if key.startswith(prefix)}
    if not own:
        return {}
    for key, alpha in alphas.items():  # renamed with the matrix A that they belong to
        if key.startswith(prefix):
            base = key.removeprefix(prefix).removesuffix(".alpha")
            own[_ALPHA + (base if base.endswith("down.weight") else f"{base}.lora.down.weight")] = torch.tensor(alpha)
    own = _as_a_and_b(own, is_text=is_text)
    if is_text and not hasattr(part, "text_model"):  # transformers of another age calls them so
        own = {key.replace(_TEXT_PREFIX, "", 1): tensor for key, tensor in own.items()}
    named_a = {key.removesuffix(_A) for key in own if key.endswith(_A) and not key.startswith(_ALPHA)}
    known = {f"{start}{layer}{end}" for layer in named_a for start, end in (("", _A), ("", _B), (_ALPHA, _A))}
    odd = [*(own.keys() - known), *(f"no {layer}{_B}" for layer in named_a if f"{layer}{_B}" not in own)]
    if odd:
        raise ValueError(f"its {name} has tensors that are not a pair of matrices ({named(sorted(odd))})")
    given = {key.removeprefix(prefix): value for key, value in settings.items() if key.startswith(prefix)}
    if given.get("use_dora"):
        raise ValueError("it is a DoRA; expected the two matrices of a LoRA for each layer")
    return {
        layer: _Product(
            own[f"{layer}{_A}"],
            own[f"{layer}{_B}"],
            _scale(layer, own[f"{layer}{_B}"].shape[1], own.get(f"{_ALPHA}{layer}{_A}"), given),
        )
        for layer in sorted(named_a)
    }


def _as_a_and_b(own: dict[str, Tensor], *, is_text: bool) -> dict[str, Tensor]:
    """Under the names lora_A and lora_B, from those of older trainers."""
    if any(_A in key for key in own):
        return own
    if is_text:
        is_old = any("_lora." in key for key in own)
        return convert_state_dict_to_peft(own, StateDictType.DIFFUSERS_OLD if is_old else StateDictType.DIFFUSERS)
    return convert_unet_state_dict_to_peft(own)


def _scale(layer: str, rank: int, alpha: Tensor | None, settings: Mapping[str, Any]) -> float:
    """alpha / r: by the file's own alpha, else by the settings of its training, else 1."""
    if alpha is not None:
        return float(alpha) / rank
    if (given := settings.get("lora_alpha")) is None:
        return 1.0
    for pattern, value in (settings.get("alpha_pattern") or {}).items():
        if re.search(rf"(^|\.)({pattern})$", layer):
            given = value
            break
    return float(given) / (math.sqrt(rank) if settings.get("use_rslora") else rank)


def _weights(part: nn.Module) -> dict[str, Any]:
    """The weights by layer."""
    return {name.removesuffix(".weight"): weight for name, weight in part.named_parameters() if name.endswith("weight")}


def _check_fits(part: nn.Module, products: Mapping[str, _Product], what: str) -> None:
    weights = _weights(part)
    lacking = [layer for layer in products if layer not in weights]
    misshapen = [
        f"{layer} {(*product.b.shape[:1], *product.a.shape[1:])} for {tuple(weights[layer].shape)}"
        for layer, product in products.items()
        if layer in weights and not product.fits(weights[layer])
    ]
    if lacking or misshapen:
        told = _counted("that it does not have", lacking) + _counted("of another shape", misshapen)
        raise DataError(f"{what}: of {len(products)} layers {', '.join(told)}; it was trained on another model")


def _counted(words: str, names: Iterable[str]) -> list[str]:
    names = list(names)
    return [f"{len(names)} {words} ({named(names)})"] if names else []
