"""The engine's view of a diffusion or flow model: its training loss, and nothing else.

x_t = alpha x_0 + sigma eps. A model predicts eps, v = alpha eps - sigma x_0 (Salimans & Ho, "Progressive Distillation",
2022), x_0, or the flow's velocity u = eps - x_0 (Lipman et al., "Flow Matching", 2023). Errors are kept in the model's
own target: the others follow from it by a weight per draw (`compbench.core.rules`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Literal, Protocol

import PIL.Image
import torch
from torch import Tensor

from compbench.core.errors import DataError, UsageError

__all__ = ["LOSSES", "TARGETS", "Conditioning", "Denoiser", "Flow", "Noising", "Tabled", "Target", "reduced"]

Conditioning = Mapping[str, Tensor]  # each [C, ...]
Target = Literal["eps", "v", "x0", "flow"]
_HUBER = 0.1  # below it the loss is a square, above it straight


class Noising(Protocol):
    """alpha and sigma of a timestep, both float32: x_t = alpha x_0 + sigma eps."""

    def __call__(self, timesteps: Tensor) -> tuple[Tensor, Tensor]:
        """[b] timesteps, as the network is told them -> alpha [b], sigma [b]."""
        ...

    def on(self, device: torch.device) -> Noising:
        """The same for timesteps on a device."""
        ...


@dataclass(frozen=True, slots=True)
class Tabled:
    """alpha and sigma of whole timesteps, [T] float32 (or halves, where the published script is imitated)."""

    alpha: Tensor
    sigma: Tensor

    @classmethod
    def from_alphas_cumprod(cls, alphas_cumprod: Tensor, target: Target) -> Tabled:
        """Square roots in the dtype that is given: float16 reproduces the published script's rounding."""
        if target == "eps" and not (alphas_cumprod > 0).all():
            raise DataError(
                "the schedule ends at zero signal (zero terminal SNR) while the network predicts noise; there its "
                "error says nothing: such a model is trained for v_prediction, fix scheduler_config.json"
            )
        return cls(alphas_cumprod**0.5, (1 - alphas_cumprod) ** 0.5)

    def __call__(self, timesteps: Tensor) -> tuple[Tensor, Tensor]:
        return self.alpha[timesteps], self.sigma[timesteps]

    def on(self, device: torch.device) -> Tabled:
        return Tabled(self.alpha.to(device), self.sigma.to(device))


@dataclass(frozen=True, slots=True)
class Flow:
    """x_t = (1 - t) x_0 + t eps for any real t from 0 to 1, which the network is told as `scale` t."""

    scale: float = 1000.0

    def __call__(self, timesteps: Tensor) -> tuple[Tensor, Tensor]:
        sigma = timesteps.float() / self.scale
        return 1 - sigma, sigma

    def on(self, device: torch.device) -> Flow:
        return self


class Denoiser(Protocol):
    """A diffusion model seen only through its training loss. A class that inherits from it may leave the last out."""

    noising: Noising  # of timesteps on the CPU
    target: Target
    device: torch.device
    latent_shape: tuple[int, int, int]  # c, h, w

    def pixels(self, image: PIL.Image.Image) -> Tensor:
        """The input of `encode_pixels` for a picture, on the CPU; called from several threads."""
        ...

    def encode_pixels(self, pixels: Tensor) -> Tensor:
        """Latents [I, c, h, w] on the device, scaled as trained, of a stack of `pixels`."""
        ...

    def encode_captions(self, captions: Sequence[str]) -> Conditioning:
        """The network's conditioning on each caption, on the device."""
        ...

    def errors(
        self, latents: Tensor, noise: Tensor, timesteps: Tensor, conditioning: Conditioning, losses: Sequence[str]
    ) -> Tensor:
        """[R, b] float32: each loss of target - prediction, in the model's own target; no host synchronisation."""
        ...

    # what follows has an answer for a denoiser that knows nothing of it

    @property
    def label_space(self) -> str:
        """Whose labels take the captions' place; empty: it reads words."""
        return ""

    @property
    def dtype(self) -> str:
        """The network's dtype; empty where it is not known."""
        return ""

    @property
    def engine(self) -> str:
        """Whether the network runs compiled, and in which mode, or eagerly."""
        return "eager"

    @property
    def overlooked(self) -> frozenset[str]:
        """The traits of an image that its transform ignores."""
        return frozenset()

    @property
    def autoencoder(self) -> str:
        """A digest of all that latents follow from but the pixels, where they are worth keeping; else empty."""
        return ""

    @property
    def autoencoder_dtype(self) -> str:
        """The dtype that latents are made in; empty where it is not known."""
        return ""

    @property
    def is_cramped(self) -> bool:
        """Whether the device has no room for the text encoders beside the network: captions are read ahead."""
        return False

    def reading(self) -> AbstractContextManager[None]:
        """Within it the text encoders are on the device, and the network may have made room for them."""
        return nullcontext()

    @property
    def architecture(self) -> str:
        """A digest of all that the speed of the network follows from; empty where it is not known."""
        return ""

    def compile(self, mode: str, say: Callable[[str], None]) -> None:
        """Run the network through torch.compile from now on, or with mode "off" as it is."""

    def too_long(self, captions: Sequence[str]) -> list[str]:
        """The captions of which a text encoder sees only the beginning."""
        return []

    def alike(self, captions: Sequence[str]) -> list[str]:
        """The captions that another one equals as far as the text encoders read them."""
        return []

    def special(self, captions: Sequence[str]) -> list[str]:
        """The captions that spell a special token, which is not read as letters."""
        return []

    def residual(self, latents: Tensor, noise: Tensor, timesteps: Tensor, conditioning: Conditioning) -> Tensor:
        """target - prediction, [b, c, h, w], where a denoiser can show it; UsageError."""
        raise UsageError("this model shows no residual by position; a denoiser's method `residual` would")


def reduced(residual: Tensor, losses: Sequence[str]) -> Tensor:
    """[b, c, h, w] -> [R, b] float32."""
    return torch.stack([LOSSES[name](residual) for name in losses])


def mean_square(residual: Tensor) -> Tensor:
    """[b, c, h, w] -> [b] float32; halves stay halves until the end, where the published script is imitated."""
    return residual.square().flatten(1).mean(1).float()


def mean_absolute(residual: Tensor) -> Tensor:
    """[b, c, h, w] -> [b] float32: the L1 error of the paper's CIFAR-10, Pets, Flowers102 and STL-10 runs."""
    return residual.abs().flatten(1).mean(1).float()


def mean_huber(residual: Tensor) -> Tensor:
    """[b, c, h, w] -> [b] float32: 2 c (sqrt(r^2 + c^2) - c), c = 0.1, the pseudo-Huber loss that diffusers trains by.

    Charbonnier et al., "Deterministic Edge-Preserving Regularization in Computed Imaging", 1997; in diffusion models
    Song & Dhariwal, "Improved Techniques for Training Consistency Models", 2024.
    """
    return (2 * _HUBER * ((residual.square() + _HUBER**2).sqrt() - _HUBER)).flatten(1).mean(1).float()


LOSSES: Mapping[str, Callable[[Tensor], Tensor]] = {"l2": mean_square, "l1": mean_absolute, "huber": mean_huber}


def _eps(latents: Tensor, noise: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
    return noise


def _v(latents: Tensor, noise: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
    return alpha * noise - sigma * latents


def _x0(latents: Tensor, noise: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
    return latents


def _flow(latents: Tensor, noise: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
    return noise - latents


# latents, noise, alpha, sigma -> what the network was trained to predict
TARGETS: Mapping[Target, Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]] = {
    "eps": _eps,
    "v": _v,
    "x0": _x0,
    "flow": _flow,
}
