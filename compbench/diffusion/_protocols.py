"""The protocols: which draws, which part of the picture, which precision."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from compbench.core.errors import DataError, UsageError
from compbench.core.models import Runtime
from compbench.diffusion.classifier import DiffusionClassifier
from compbench.diffusion.devices import has_tf32, is_cramped, pick_device
from compbench.diffusion.draws import DrawBank, antithetic_bank, paper_bank, per_image, seeded_bank, stepped_bank
from compbench.diffusion.family import Family, Timesteps
from compbench.diffusion.images import Transform, centre_crop, squeezed, whole_picture
from compbench.diffusion.latent import LatentDenoiser
from compbench.diffusion.parts import Parts, Precision
from compbench.schedules.schedule import Schedule

__all__ = ["Measuring", "precision"]

_N_TIMESTEPS = 1000
# the published loops: range(10, 990, 1000 // 10), and every 33rd of a scheduler's table, from 10 or, of a flow, 20 on
_STEPS = {"diffusion-itm": np.arange(10, 990, 100), "self-bench": np.arange(32, 990, 33)}
_FLOW_STEPS = np.arange(20, 980, 33)
_TRANSFORMS = {"compbench": whole_picture, "diffusion-itm": squeezed, "self-bench": squeezed}


@dataclass(frozen=True, slots=True, kw_only=True)
class Measuring:
    """The settings by which the errors of a pipeline are measured, with nothing left open."""

    protocol: str
    seed: int
    dtype: str  # of the network
    draws: int
    schedule: Schedule
    losses: Sequence[str] = ("l2",)
    unconditional: bool = False
    compile_mode: str = "auto"
    noise: str = "independent"
    size_px: int | None = None  # the side of the pictures, where it is not what the network was configured for
    crop: Transform = centre_crop  # under the paper's protocols; others take the whole picture
    keeps_encoders: bool = False  # in float32, under every protocol
    vae_dtype: str = "auto"  # of the autoencoder: that of the text encoders, or another, or tf32
    autotune: bool = True  # whether cuDNN may choose its algorithms by trying them, on a CUDA device

    def classifier(self, family: Family, parts: Parts, runtime: Runtime) -> DiffusionClassifier:
        """The Diffusion Classifier over a pipeline's parts."""
        stages, device = precision(self.protocol, self.dtype), pick_device(runtime.device)
        stages = replace(stages, encoders=torch.float32) if self.keeps_encoders else stages
        stages = _with_autoencoder(stages, self.vae_dtype, device)
        denoiser = LatentDenoiser(
            family,
            parts,
            _TRANSFORMS.get(self.protocol, self.crop),
            stages,
            device,
            size_px=self.size_px,
            sampled=self.seed if self.protocol == "self-bench" else None,
            is_cramped=is_cramped(device, parts.bytes_on(device, stages)) and bool(parts.texts),
        )
        return DiffusionClassifier(
            denoiser,
            _bank(self.noise, self.seed, family.grid(denoiser.parts), self.protocol, parts.name),
            self.draws,
            runtime,
            losses=self.losses,
            unconditional=self.unconditional,
            compile_mode="off" if self.compile_mode == "auto" and device.type != "cuda" else self.compile_mode,
            autotunes=self.autotune,
            schedule=self.schedule,
        )


def _with_autoencoder(stages: Precision, dtype: str, device: torch.device) -> Precision:
    """With the autoencoder in a dtype of its own; UsageError where the device has no TF32."""
    if dtype == "auto":
        return stages
    if dtype != "tf32":
        return replace(stages, own=getattr(torch, dtype))
    if not has_tf32(device):
        raise UsageError(
            f"the device {device} has no TF32, which NVIDIA's GPUs have from Ampere on (A100, RTX 30); leave "
            "vae_dtype=tf32 out, or use vae_dtype=float32"
        )
    return replace(stages, own=torch.float32, is_tf32=True)


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
