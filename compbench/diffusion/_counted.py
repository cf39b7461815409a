"""Floating-point operations of one evaluation, counted on the configuration alone: no weights, no memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import diffusers
import torch
import transformers
from diffusers.models.transformers.dit_transformer_2d import DiTTransformer2DModel
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from compbench.core.file_list import FileList
from compbench.diffusion.pipeline import PipelineFamily
from compbench.diffusion.silence import quiet
from compbench.diffusion.weights import LOADING_ERRORS
from compbench.registry.checkpoints import TEXT_ENCODER, UNET, VAE, Part
from compbench.registry.tensors import check_counts

__all__ = ["dit_flops", "pipeline_flops", "unet_bytes", "unet_flops", "weight_bytes"]

_ITEM = {"float32": 4, "bfloat16": 2, "float16": 2, "fp8": 1}
_MAX_LAYERS = 1000  # where no weights are here to say how many there can be


def unet_flops(files: FileList, size_px: int | None, grain: int) -> float | None:
    """Operations of Stable Diffusion's U-Net at `size_px`; None where its configuration makes no network."""
    config, text = files.json("unet/config.json"), files.json("text_encoder/config.json")

    def evaluate() -> None:
        unet: Any = UNet2DConditionModel.from_config(config)
        side = unet.config["sample_size"] if size_px is None else size_px // grain
        states = torch.zeros(1, int(text.get("max_position_embeddings", 77)), unet.config["cross_attention_dim"])
        unet(torch.zeros(1, unet.config["in_channels"], side, side), _timestep(), encoder_hidden_states=states)

    return _counted(config, evaluate)


def pipeline_flops(family: PipelineFamily, files: FileList, size_px: int) -> float | None:
    """Operations of a family's network at `size_px`; None where its configuration makes no network."""
    part = family.layout.network
    config, side = files.json(f"{part.name}/config.json"), size_px // family.grain(files)
    kind: Any = getattr(diffusers, part.classes[0])

    def evaluate() -> None:
        network: Any = kind.from_config(config).requires_grad_(False)  # some give a weight to a layer as its input
        told = {name: torch.zeros(1, *shape) for name, shape in family.shapes(network.config, files).items()}
        noised = torch.zeros(1, network.config["in_channels"] // family.packed**2, side, side)
        family.predict(network, noised, _timestep(), told)

    return _counted(config, evaluate)


def weight_bytes(files: FileList, parts: Sequence[tuple[Part, str]]) -> int | None:
    """Bytes of the weights of some parts, each in a dtype; None where a configuration makes no network."""
    n_bytes = 0
    for part, dtype in parts:
        config = files.json(f"{part.name}/config.json")
        try:
            check_counts(config, _MAX_LAYERS, "the configuration")
            with quiet(), torch.device("meta"):
                n_bytes += sum(tensor.numel() for tensor in _blank(part, config).parameters()) * _ITEM[dtype]
        except LOADING_ERRORS:  # a run says what is wrong
            return None
    return n_bytes


def unet_bytes(files: FileList, dtype: str, encoders: str, vae: str) -> int | None:
    """`weight_bytes` of a Stable Diffusion 1 or 2."""
    return weight_bytes(files, ((UNET, dtype), (VAE, vae), (TEXT_ENCODER, encoders)))


def _blank(part: Part, config: Mapping[str, Any]) -> torch.nn.Module:
    """The network of a configuration, of diffusers or of transformers."""
    if (kind := getattr(diffusers, part.classes[0], None)) is not None:
        return kind.from_config(config)
    kind = getattr(transformers, part.classes[0])
    return kind(kind.config_class.from_dict(dict(config)))


def dit_flops(files: FileList) -> float | None:
    """Operations of a DiT's transformer; None where its configuration makes no network."""
    config = files.json("transformer/config.json")

    def evaluate() -> None:
        network: Any = DiTTransformer2DModel.from_config(config)
        side = network.config["sample_size"]
        latents = torch.zeros(1, network.config["in_channels"], side, side)
        network(latents, timestep=_timestep(), class_labels=_timestep())

    return _counted(config, evaluate)


def _timestep() -> torch.Tensor:
    return torch.zeros(1, dtype=torch.long)


def _counted(config: Mapping[str, Any], evaluate: Callable[[], None]) -> float | None:
    try:
        check_counts(config, _MAX_LAYERS, "the configuration")
        with quiet(), torch.device("meta"), torch.inference_mode(), sdpa_kernel(SDPBackend.MATH):
            with FlopCounterMode(display=False) as counter:
                evaluate()
            return float(counter.get_total_flops())
    except LOADING_ERRORS:  # a run says what is wrong
        return None
