"""The published Winoground loop, slow and literal: one pair at a time, one batch of timesteps at a time.

Written from the protocol's description alone and using nothing of compbench: what compbench's engine is compared with.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import torch
import torch.nn.functional as F
from diffusers import StableDiffusionPipeline

__all__ = ["encode_caption", "encode_image", "literal_errors", "load", "pair_errors", "published_noise", "sd3_residual"]


def load(folder: Path, dtype: torch.dtype = torch.float32) -> Any:
    """The whole pipeline, as a user of diffusers loads it."""
    pipeline = StableDiffusionPipeline.from_pretrained(
        folder, safety_checker=None, requires_safety_checker=False, low_cpu_mem_usage=False
    )
    for module in (pipeline.unet, pipeline.vae, pipeline.text_encoder):
        module.to(dtype)
    return pipeline


def published_noise(shape: tuple[int, ...], seed: int = 42, n: int = 1024) -> torch.Tensor:
    """`n` noises drawn at once after torch.manual_seed(seed), on the CPU."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return torch.randn(n, *shape)


@torch.no_grad()
def sd3_residual(pipeline: Any, latents: torch.Tensor, encoded: Any, noise: torch.Tensor, t: float) -> torch.Tensor:
    """noise - latents less the prediction; `encoded` is what the pipeline's own encode_prompt gives."""
    states, _, pooled, _ = encoded
    timestep = torch.tensor([t], dtype=torch.float32)
    predicted = pipeline.transformer(
        hidden_states=pipeline.scheduler.scale_noise(latents, timestep, noise),
        timestep=timestep,
        encoder_hidden_states=states,
        pooled_projections=pooled,
    )[0]
    return noise - latents - predicted


@torch.no_grad()
def encode_image(pipeline: Any, image: PIL.Image.Image) -> torch.Tensor:
    """Resize the shorter side, crop the centre, RGB, [-1, 1]; the mean of the posterior, scaled."""
    size = pipeline.unet.config.sample_size * 2 ** (len(pipeline.vae.config.block_out_channels) - 1)
    width, height = image.size
    if width < height:
        width, height = size, int(size * height / width)
    else:
        width, height = int(size * width / height), size
    image = image.resize((width, height), PIL.Image.Resampling.BICUBIC)
    left, top = round((width - size) / 2.0), round((height - size) / 2.0)
    image = image.crop((left, top, left + size, top + size)).convert("RGB")
    pixels = (torch.from_numpy(np.array(image)).permute(2, 0, 1)[None].float() / 255 - 0.5) / 0.5
    latent = pipeline.vae.encode(pixels.to(pipeline.vae.device, pipeline.vae.dtype)).latent_dist.mean
    return latent * pipeline.vae.config.scaling_factor


@torch.no_grad()
def encode_caption(pipeline: Any, caption: str) -> torch.Tensor:
    """[1, tokens, width], the last hidden state."""
    tokens = pipeline.tokenizer(
        [caption],
        padding="max_length",
        max_length=pipeline.tokenizer.model_max_length,
        truncation=True,
        return_tensors="pt",
    )
    return pipeline.text_encoder(tokens.input_ids.to(pipeline.text_encoder.device))[0]


@torch.no_grad()
def pair_errors(
    pipeline: Any,
    latent: torch.Tensor,
    text: torch.Tensor,
    noise: torch.Tensor,
    timesteps: Sequence[int],
    batch_size: int = 32,
    loss: str = "l2",
) -> np.ndarray:
    """[T] mean squared (l2) or absolute (l1) error between the noise and the noise predicted, of one pair."""
    alphas_cumprod = pipeline.scheduler.alphas_cumprod.to("cpu", latent.dtype)
    errors = torch.zeros(len(timesteps))
    for start in range(0, len(timesteps), batch_size):
        batch = torch.tensor(timesteps[start : start + batch_size])
        alpha = (alphas_cumprod[batch] ** 0.5).view(-1, 1, 1, 1).to(latent.device)
        sigma = ((1 - alphas_cumprod[batch]) ** 0.5).view(-1, 1, 1, 1).to(latent.device)
        eps = noise[batch].to(latent)
        told = batch.to(latent.device).half() if latent.dtype == torch.float16 else batch.to(latent.device)
        noised = latent * alpha + eps * sigma
        prediction = pipeline.unet(noised, told, encoder_hidden_states=text.repeat(len(batch), 1, 1)).sample
        if pipeline.scheduler.config.prediction_type == "v_prediction":
            prediction = alpha * prediction + sigma * noised
        apart = F.mse_loss if loss == "l2" else F.l1_loss
        error = apart(eps, prediction, reduction="none").mean(dim=(1, 2, 3))
        errors[start : start + batch_size] = error.detach().cpu()
    return errors.numpy()


def literal_errors(
    folder: Path,
    images: Sequence[PIL.Image.Image],
    captions: Sequence[str],
    timesteps: Sequence[int],
    dtype: torch.dtype = torch.float32,
) -> np.ndarray:
    """[I, C, T] eps errors of every pair, one pair after the other."""
    pipeline = load(folder, dtype)
    latents = [encode_image(pipeline, image) for image in images]
    noise = published_noise(tuple(latents[0].shape[1:]))
    return np.stack(
        [
            np.stack(
                [
                    pair_errors(pipeline, latent, encode_caption(pipeline, caption), noise, timesteps)
                    for caption in captions
                ]
            )
            for latent in latents
        ]
    )


def by_the_paper(error_of, n_classes: int, to_keep, n_samples):
    """Stage by stage, one error at a time -> the class predicted, and per stage {(class, t)} newly evaluated."""
    most = max(n_samples)
    grid = list(range(1000 // most // 2, 1000, 1000 // most))
    evaluated: list[int] = []
    errors: dict[int, list[float]] = {c: [] for c in range(n_classes)}
    remaining, stages = list(range(n_classes)), []
    for keep, n in zip(to_keep, n_samples, strict=True):
        spread = grid[len(grid) // n // 2 :: len(grid) // n]
        new = [t for t in spread if t not in evaluated]
        evaluated += new
        for c in remaining:
            errors[c] += [error_of(c, t) for t in new]
        stages.append({(c, t) for c in remaining for t in new})
        means = {c: sum(errors[c]) / len(errors[c]) for c in remaining}
        remaining = sorted(remaining, key=lambda c: (means[c], c))[:keep]
    return remaining[0], stages
