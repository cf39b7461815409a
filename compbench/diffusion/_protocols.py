"""The protocols: which draws, which part of the picture, which precision."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from compbench.core.models import Runtime
from compbench.diffusion.classifier import DiffusionClassifier
from compbench.diffusion.components import Components
from compbench.diffusion.devices import pick_device
from compbench.diffusion.draws import DrawBank, antithetic_bank, paper_bank, per_image, seeded_bank
from compbench.diffusion.images import centre_crop, rgb_centre_crop, whole_picture
from compbench.diffusion.unet import Precision, StableDiffusionDenoiser
from compbench.schedules.schedule import Schedule

__all__ = ["classifier", "precision"]


def classifier(
    components: Components,
    *,
    protocol: str,
    seed: int,
    dtype: str,
    n_draws: int,
    runtime: Runtime,
    name: str,
    schedule: Schedule,
    losses: Sequence[str] = ("l2",),
    unconditional: bool = False,
    compile_mode: str = "auto",
    noise: str = "independent",
    size_px: int | None = None,
    is_rgb_first: bool = False,
) -> DiffusionClassifier:
    """The Diffusion Classifier over a pipeline's components, as `protocol` measures.

    `is_rgb_first`: the published transform follows a loader that converts to RGB, as those of the data sets do.
    """
    is_ours = protocol == "compbench"
    device = pick_device(runtime.device)
    published = rgb_centre_crop if is_rgb_first else centre_crop
    denoiser = StableDiffusionDenoiser(
        components,
        transform=whole_picture if is_ours else published,
        precision=precision(protocol, dtype),
        device=device,
        name=name,
        size_px=size_px,
    )
    n_timesteps = len(denoiser.noising.alpha)
    return DiffusionClassifier(
        denoiser,
        _bank(noise, seed, n_timesteps, is_ours=is_ours),
        n_draws,
        runtime,
        losses=losses,
        unconditional=unconditional,
        compile_mode=compile_mode,
        schedule=schedule,
    )


def _bank(noise: str, seed: int, n_timesteps: int, *, is_ours: bool) -> DrawBank:
    if noise == "antithetic":
        return antithetic_bank(seed, n_timesteps)
    bank = seeded_bank(seed, n_timesteps) if is_ours else paper_bank(seed, n_timesteps)
    return per_image(bank, seed) if noise == "per-image" else bank


def precision(protocol: str, dtype: str) -> Precision:
    """compbench: only the U-Net is in `dtype`. paper: every network is. published-fp16: everything is, even the noise.

    The published script halves its noise schedule too, which is off by 7 % in sigma at the first timesteps.
    """
    network = getattr(torch, dtype)
    if protocol == "compbench":
        return Precision(unet=network, encoders=torch.float32)
    if protocol == "paper":
        return Precision(unet=network, encoders=network)
    return Precision(unet=network, encoders=network, arithmetic=network)
