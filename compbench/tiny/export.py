# pyright: reportArgumentType=false
# (diffusers annotates its constructors too narrowly)
"""Writes trained tiny models in the layouts that diffusers and open_clip load."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import open_clip
import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import StableDiffusionPipeline
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from safetensors.torch import save_file
from torch import nn
from transformers import CLIPTextModel, CLIPTokenizer

__all__ = ["CLIP_MEAN", "CLIP_STD", "TINY_CLIP", "ClipSizes", "new_clip", "save_clip", "save_sd"]

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
    pipeline.to(torch.float16).save_pretrained(folder, safe_serialization=True)
