"""What the engine sees of a diffusion model: its training loss, and nothing else.

x_t = alpha x_0 + sigma eps with alpha^2 + sigma^2 = 1 (variance preserving); a model predicts eps, v = alpha eps -
sigma x_0 (Salimans & Ho, "Progressive Distillation", 2022) or x_0. Errors are kept in the model's own target: the
other two follow from it by a weight per draw (`compbench.core.rules`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

import PIL.Image
import torch
from torch import Tensor

from compbench.core.errors import DataError

__all__ = ["LOSSES", "TARGETS", "Conditioning", "Denoiser", "ReadsText", "Noising", "Target", "reduced"]

Conditioning = Mapping[str, Tensor]  # each [C, ...]
Target = Literal["eps", "v", "x0"]


@dataclass(frozen=True, slots=True)
class Noising:
    """alpha and sigma of every timestep, [T] float32 (or halves, where the published script is imitated)."""

    alpha: Tensor
    sigma: Tensor

    @classmethod
    def from_alphas_cumprod(cls, alphas_cumprod: Tensor, target: Target) -> Noising:
        """Square roots in the dtype that is given: float16 reproduces the published script's rounding."""
        if target == "eps" and not (alphas_cumprod > 0).all():
            raise DataError(
                "the schedule ends at zero signal (zero terminal SNR) while the network predicts noise; there its "
                "error says nothing: such a model is trained for v_prediction, fix scheduler_config.json"
            )
        return cls(alphas_cumprod**0.5, (1 - alphas_cumprod) ** 0.5)


class Denoiser(Protocol):
    """A diffusion model seen only through its training loss."""

    noising: Noising  # on the CPU
    target: Target
    device: torch.device
    latent_shape: tuple[int, int, int]  # c, h, w

    def compile(self, mode: str, say: Callable[[str], None]) -> None:
        """From now on the network is run through torch.compile."""
        ...

    def pixels(self, image: PIL.Image.Image) -> Tensor:
        """What `encode_pixels` takes of a picture, on the CPU; called from several threads."""
        ...

    def encode_pixels(self, pixels: Tensor) -> Tensor:
        """Latents [I, c, h, w] on the device, scaled as trained, of a stack of `pixels`."""
        ...

    def encode_captions(self, captions: Sequence[str]) -> Conditioning:
        """What the network takes with each caption, on the device."""
        ...

    def too_long(self, captions: Sequence[str]) -> list[str]:
        """The captions of which the text encoder sees only the beginning."""
        ...

    def errors(
        self, latents: Tensor, noise: Tensor, timesteps: Tensor, conditioning: Conditioning, losses: Sequence[str]
    ) -> Tensor:
        """[R, b] float32: each loss of target - prediction, in the model's own target; no host synchronisation."""
        ...


@runtime_checkable
class ReadsText(Protocol):
    """A denoiser that can say how its text encoder reads a caption."""

    def alike(self, captions: Sequence[str]) -> list[str]:
        """The captions that another one equals as far as the text encoder reads them."""
        ...

    def special(self, captions: Sequence[str]) -> list[str]:
        """The captions that spell a special token, which is not read as letters."""
        ...


def reduced(residual: Tensor, losses: Sequence[str]) -> Tensor:
    """[b, c, h, w] -> [R, b] float32."""
    return torch.stack([LOSSES[name](residual) for name in losses])


def mean_square(residual: Tensor) -> Tensor:
    """[b, c, h, w] -> [b] float32; halves stay halves until the end, where the published script is imitated."""
    return residual.square().flatten(1).mean(1).float()


def mean_absolute(residual: Tensor) -> Tensor:
    """[b, c, h, w] -> [b] float32: the L1 error of the paper's CIFAR-10, Pets, Flowers102 and STL-10 runs."""
    return residual.abs().flatten(1).mean(1).float()


LOSSES: Mapping[str, Callable[[Tensor], Tensor]] = {"l2": mean_square, "l1": mean_absolute}


def _eps(latents: Tensor, noise: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
    return noise


def _v(latents: Tensor, noise: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
    return alpha * noise - sigma * latents


def _x0(latents: Tensor, noise: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
    return latents


# latents, noise, alpha, sigma -> what the network was trained to predict
TARGETS: Mapping[Target, Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]] = {"eps": _eps, "v": _v, "x0": _x0}
