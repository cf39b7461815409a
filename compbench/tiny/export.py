# pyright: reportArgumentType=false
# (diffusers annotates its constructors too narrowly)
"""Writes trained tiny models in the layouts that diffusers and open_clip load."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import open_clip
import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.transformers.transformer_sd3 import SD3Transformer2DModel
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import StableDiffusionPipeline
from diffusers.pipelines.stable_diffusion_3.pipeline_stable_diffusion_3 import StableDiffusion3Pipeline
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from diffusers.schedulers.scheduling_flow_match_euler_discrete import FlowMatchEulerDiscreteScheduler
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from compbench.diffusion.silence import quiet

__all__ = [
    "CLIP_MEAN",
    "CLIP_STD",
    "TINY_CLIP",
    "ClipSizes",
    "new_clip",
    "rounded",
    "save_clip",
    "save_sd",
    "save_sd3",
]

_MANTISSA = 10  # bits of float16

CLIP_MEAN = (0.4, 0.4, 0.4)
CLIP_STD = (0.25, 0.25, 0.25)


@dataclass(frozen=True, slots=True)
class ClipSizes:
    """The differences between the small CLIPs: the name, the side of its patches, the width of its text tower."""

    name: str = "tiny-clip"
    patch_px: int = 16
    width: int = 96


TINY_CLIP = ClipSizes()


def clip_config(tokenizer: CLIPTokenizer, sizes: ClipSizes = TINY_CLIP) -> dict[str, Any]:
    """The open_clip configuration: a 4-layer ViT and a 3-layer causal text tower."""
    return {
        "embed_dim": sizes.width,
        "vision_cfg": {
            "image_size": 64,
            "layers": 4,
            "width": 128,
            "head_width": 32,
            "patch_size": sizes.patch_px,
            "mlp_ratio": 3.0,
        },
        "text_cfg": {
            "context_length": tokenizer.model_max_length,
            "vocab_size": len(tokenizer),
            "width": sizes.width,
            "heads": 4,
            "layers": 3,
            "hf_tokenizer_name": sizes.name,  # open_clip reads the tokenizer beside this file when it loads a folder
        },
    }


def new_clip(tokenizer: CLIPTokenizer, sizes: ClipSizes = TINY_CLIP) -> nn.Module:
    """An untrained open_clip model of `clip_config`."""
    return open_clip.CLIP(**clip_config(tokenizer, sizes))


def save_clip(folder: Path, clip: nn.Module, tokenizer: CLIPTokenizer, sizes: ClipSizes = TINY_CLIP) -> None:
    """A folder that `open_clip.create_model_and_transforms("local-dir:...")` loads; float16 weights."""
    folder.mkdir(parents=True, exist_ok=True)
    weights = {key: value.half().contiguous() for key, value in clip.state_dict().items()}
    save_file(weights, folder / "open_clip_model.safetensors")
    preprocess = {"mean": CLIP_MEAN, "std": CLIP_STD, "interpolation": "bicubic", "resize_mode": "shortest"}
    config = {"model_cfg": clip_config(tokenizer, sizes), "preprocess_cfg": preprocess}
    (folder / "open_clip_config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    tokenizer.save_pretrained(folder)


def save_sd(
    folder: Path,
    vae: AutoencoderKL,
    unet: UNet2DConditionModel,
    text_encoder: CLIPTextModel,
    tokenizer: CLIPTokenizer,
    scheduler: DDIMScheduler,
    stored_bits: int = _MANTISSA,
) -> None:
    """A folder that `StableDiffusionPipeline.from_pretrained` loads; float16 safetensors."""
    pipeline = StableDiffusionPipeline(
        vae=vae,
        unet=unet,
        text_encoder=text_encoder,
        tokenizer=tokenizer,
        scheduler=scheduler,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    _save(pipeline, folder, stored_bits)


def save_sd3(
    folder: Path,
    vae: AutoencoderKL,
    transformer: SD3Transformer2DModel,
    text_encoders: Sequence[CLIPTextModelWithProjection],
    tokenizer: CLIPTokenizer,
    scheduler: FlowMatchEulerDiscreteScheduler,
    stored_bits: int = _MANTISSA,
) -> None:
    """A folder that `StableDiffusion3Pipeline.from_pretrained` loads, without a T5; float16 safetensors.

    Nothing takes the T5's place: the pipeline is to be called with `max_sequence_length=0`, as its index says.
    """
    first, second = text_encoders
    pipeline = StableDiffusion3Pipeline(
        transformer=transformer,
        scheduler=scheduler,
        vae=vae,
        text_encoder=first,
        tokenizer=tokenizer,
        text_encoder_2=second,
        tokenizer_2=tokenizer,
        text_encoder_3=None,
        tokenizer_3=None,
    )
    pipeline.register_to_config(_max_sequence_length=0)
    _save(pipeline, folder, stored_bits)


def rounded(weights: Tensor, bits: int) -> Tensor:
    """float16 with `bits` of the mantissa's ten, to nearest and ties to even: the other bits are zero and compress.

    >>> rounded(torch.tensor([1.0, 1.06, -1.07, 0.3]), 3).tolist()
    [1.0, 1.0, -1.125, 0.3125]
    """
    lost = _MANTISSA - bits
    if not 0 <= lost < _MANTISSA:
        raise ValueError(f"bits must be 1 to {_MANTISSA}, got {bits}")
    if lost == 0:
        return weights.half()
    whole = weights.half().view(torch.int16).int()
    nearest = whole + (1 << lost - 1) - 1 + (whole >> lost & 1)
    return (nearest & -(1 << lost)).to(torch.int16).view(torch.float16)


def _save(pipeline: StableDiffusionPipeline | StableDiffusion3Pipeline, folder: Path, stored_bits: int) -> None:
    with quiet():  # of parts to be kept in float32, of which there are none
        pipeline.to(torch.float16)
    networks = [part for part in pipeline.components.values() if isinstance(part, nn.Module)]
    with torch.no_grad():
        for weights in (weights for network in networks for weights in network.parameters()):
            weights.copy_(rounded(weights, stored_bits))
    with quiet():  # of the T5 that is not there
        pipeline.save_pretrained(folder, safe_serialization=True)
