"""The protocols: which draws, which part of the picture, which precision."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from compbench.core.errors import DataError
from compbench.core.models import Runtime
from compbench.diffusion.classifier import DiffusionClassifier
from compbench.diffusion.devices import pick_device
from compbench.diffusion.draws import DrawBank, antithetic_bank, paper_bank, per_image, seeded_bank, stepped_bank
from compbench.diffusion.family import Family, Timesteps
from compbench.diffusion.images import centre_crop, rgb_centre_crop, squeezed, whole_picture
from compbench.diffusion.latent import LatentDenoiser
from compbench.diffusion.parts import Parts, Precision
from compbench.schedules.schedule import Schedule

__all__ = ["classifier", "precision"]

_N_TIMESTEPS = 1000
# the published loops: range(10, 990, 1000 // 10), and every 33rd of a scheduler's table, from 10 or, of a flow, 20 on
_STEPS = {"diffusion-itm": np.arange(10, 990, 100), "self-bench": np.arange(32, 990, 33)}
_FLOW_STEPS = np.arange(20, 980, 33)
_TRANSFORMS = {"compbench": whole_picture, "diffusion-itm": squeezed, "self-bench": squeezed}


def classifier(
    family: Family,
    parts: Parts,
    *,
    protocol: str,
    seed: int,
    dtype: str,
    draws: int,
    runtime: Runtime,
    schedule: Schedule,
    losses: Sequence[str] = ("l2",),
    unconditional: bool = False,
    compile_mode: str = "auto",
    noise: str = "independent",
    size_px: int | None = None,
    is_rgb_first: bool = False,
    keeps_encoders: bool = False,
) -> DiffusionClassifier:
    """The Diffusion Classifier over a pipeline's parts, as `protocol` measures.

    `is_rgb_first`: the published transform follows a loader that converts to RGB, as those of the data sets do.
    `keeps_encoders`: they stay in float32 under every protocol.
    """
    published = rgb_centre_crop if is_rgb_first else centre_crop
    transform = _TRANSFORMS.get(protocol, published)
    device = pick_device(runtime.device)
    stages = precision(protocol, dtype)
    stages = replace(stages, encoders=torch.float32) if keeps_encoders else stages
    sampled = seed if protocol == "self-bench" else None
    denoiser = LatentDenoiser(family, parts, transform, stages, device, size_px=size_px, sampled=sampled)
    return DiffusionClassifier(
        denoiser,
        _bank(noise, seed, family.grid(parts), protocol, parts.name),
        draws,
        runtime,
        losses=losses,
        unconditional=unconditional,
        compile_mode=compile_mode,
        schedule=schedule,
    )


def _bank(noise: str, seed: int, grid: Timesteps, protocol: str, name: str) -> DrawBank:
    """A bank over the timesteps of a grid."""
    if (steps := _STEPS.get(protocol)) is not None:
        if len(grid) != _N_TIMESTEPS:
            raise DataError(
                f"model {name!r} has {len(grid)} timesteps; protocol={protocol} is of {_N_TIMESTEPS}: expected another"
            )
        is_flow = np.issubdtype(grid.dtype, np.floating)  # whose published grid counts from the last timestep
        return stepped_bank(seed, _N_TIMESTEPS - 1 - _FLOW_STEPS[::-1] if is_flow else steps).over(grid)
    is_ours = protocol == "compbench"
    if noise == "antithetic":
        bank = antithetic_bank(seed, len(grid))
    else:
        bank = seeded_bank(seed, len(grid)) if is_ours else paper_bank(seed, len(grid))
        bank = per_image(bank, seed) if noise == "per-image" else bank
    return bank.over(grid)


def precision(protocol: str, dtype: str) -> Precision:
    """compbench: only the network is in `dtype`. published-fp16: all is, even the noise. Else every network is.

    The published script halves its noise schedule too, which is off by 7 % in sigma at the first timesteps.
    """
    network = getattr(torch, dtype)
    if protocol == "compbench":
        return Precision(network, encoders=torch.float32)
    if protocol == "published-fp16":
        return Precision(network, encoders=network, arithmetic=network)
    return Precision(network, encoders=network)
