# pyright: reportArgumentType=false
"""Untrained pipelines of each family, made of its real classes and saved in the hub's own file set."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    EulerDiscreteScheduler,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from compbench.tiny.tokenizer import make_tokenizer

__all__ = ["MADE", "sdxl"]

_GRAIN = 4  # pixels a latent: smaller than the hub's, which is 8


def sdxl(folder: Path, prediction_type: str = "epsilon", **saved: Any) -> Path:
    """32 px pictures, 8x8x4 latents; two CLIPs of width 16 and 24."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        unet = UNet2DConditionModel(
            sample_size=8,
            in_channels=4,
            out_channels=4,
            block_out_channels=(16, 32),
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
            layers_per_block=1,
            transformer_layers_per_block=(1, 2),
            attention_head_dim=(2, 4),
            cross_attention_dim=40,
            use_linear_projection=True,
            norm_num_groups=4,
            addition_embed_type="text_time",
            addition_time_embed_dim=8,
            projection_class_embeddings_input_dim=24 + 6 * 8,
        )
        pipeline = StableDiffusionXLPipeline(
            vae=vae(4, 0.13025),
            text_encoder=clip(CLIPTextModel, 16),
            text_encoder_2=clip(CLIPTextModelWithProjection, 24),
            tokenizer=make_tokenizer(),
            tokenizer_2=make_tokenizer(),
            unet=unet,
            scheduler=diffusion_scheduler(prediction_type),
            add_watermarker=False,
        )
    return _saved(pipeline, folder, **saved)


def vae(latent_channels: int, scaling_factor: float, shift_factor: float | None = None) -> AutoencoderKL:
    return AutoencoderKL(
        block_out_channels=(8, 8, 8),
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        layers_per_block=1,
        latent_channels=latent_channels,
        norm_num_groups=2,
        mid_block_add_attention=False,
        sample_size=32,
        scaling_factor=scaling_factor,
        shift_factor=shift_factor,
    )


def clip(kind: Any, width: int) -> Any:
    tokenizer = make_tokenizer()
    return kind(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=width,
            intermediate_size=2 * width,
            num_hidden_layers=3,
            num_attention_heads=2,
            max_position_embeddings=tokenizer.model_max_length,
            projection_dim=width,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )


def diffusion_scheduler(prediction_type: str) -> Any:
    """As SDXL is published; its velocity is another scheduler's."""
    settings: dict[str, Any] = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
    if prediction_type != "epsilon":
        return DDIMScheduler(prediction_type=prediction_type, clip_sample=False, **settings)
    return EulerDiscreteScheduler(timestep_spacing="leading", steps_offset=1, **settings)


def _saved(pipeline: Any, folder: Path, *, sharded: str = "", variant: str | None = None) -> Path:
    """`sharded`: the largest file of weights; `variant`: a part of their names, such as fp16."""
    options: dict[str, Any] = {"variant": variant} | ({"max_shard_size": sharded} if sharded else {})
    pipeline.save_pretrained(folder, **options)
    return folder


MADE: dict[str, Callable[..., Path]] = {
    "sdxl": sdxl,
    "sdxl-v": partial(sdxl, prediction_type="v_prediction"),
}
