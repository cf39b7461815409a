"""The protocols: which draws, which part of the picture, which precision."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from compbench.core.models import Runtime
from compbench.diffusion.classifier import DiffusionClassifier
from compbench.diffusion.devices import pick_device
from compbench.diffusion.draws import DrawBank, antithetic_bank, paper_bank, per_image, seeded_bank
from compbench.diffusion.family import Family, Timesteps
from compbench.diffusion.images import Transform, centre_crop, whole_picture
from compbench.diffusion.latent import LatentDenoiser
from compbench.diffusion.parts import Parts, Precision
from compbench.schedules.schedule import Schedule

__all__ = ["Measuring", "precision"]


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
    crop: Transform = centre_crop  # under a published protocol; compbench's own takes the whole picture
    keeps_encoders: bool = False  # in float32, under every protocol

    def classifier(self, family: Family, parts: Parts, runtime: Runtime) -> DiffusionClassifier:
        """The Diffusion Classifier over a pipeline's parts."""
        stages = precision(self.protocol, self.dtype)
        denoiser = LatentDenoiser(
            family,
            parts,
            whole_picture if self._is_ours else self.crop,
            replace(stages, encoders=torch.float32) if self.keeps_encoders else stages,
            pick_device(runtime.device),
            size_px=self.size_px,
        )
        return DiffusionClassifier(
            denoiser,
            _bank(self.noise, self.seed, family.grid(parts), is_ours=self._is_ours),
            self.draws,
            runtime,
            losses=self.losses,
            unconditional=self.unconditional,
            compile_mode=self.compile_mode,
            schedule=self.schedule,
        )

    @property
    def _is_ours(self) -> bool:
        return self.protocol == "compbench"


def _bank(noise: str, seed: int, grid: Timesteps, *, is_ours: bool) -> DrawBank:
    """A bank over the timesteps of a grid."""
    if noise == "antithetic":
        bank = antithetic_bank(seed, len(grid))
    else:
        bank = seeded_bank(seed, len(grid)) if is_ours else paper_bank(seed, len(grid))
        bank = per_image(bank, seed) if noise == "per-image" else bank
    return bank.over(grid)


def precision(protocol: str, dtype: str) -> Precision:
    """compbench: only the network is in `dtype`. paper: every network is. published-fp16: all is, even the noise.

    The published script halves its noise schedule too, which is off by 7 % in sigma at the first timesteps.
    """
    network = getattr(torch, dtype)
    if protocol == "compbench":
        return Precision(network, encoders=torch.float32)
    if protocol == "paper":
        return Precision(network, encoders=network)
    return Precision(network, encoders=network, arithmetic=network)
