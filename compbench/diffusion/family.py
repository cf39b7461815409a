"""A family of diffusion models over an autoencoder's latents: what is its own, and nothing that families share."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from compbench.core.aliases import Floats, Ints

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from compbench.diffusion.denoiser import Conditioning, Noising, Target
    from compbench.diffusion.parts import Parts


__all__ = ["ExtraLoss", "Family", "Timesteps"]

Timesteps = Ints | Floats
ExtraLoss = Callable[..., "Tensor"]  # residual, what the network gave beside its prediction, timesteps -> [b] float32


class Family:
    """The conditioning, the noising and the prediction target of a family of networks.

    Inherit from it and say what differs. Placing, pictures, latents, batches, compiling and the errors themselves are
    `LatentDenoiser`'s. Import torch inside the methods where the family's options must be listed without it.
    """

    label_space: str = ""  # whose labels take the captions' place; empty: it reads words

    def check(self, parts: Parts) -> None:
        """DataError where the parts do not belong together, or are not of this family."""

    def target(self, parts: Parts) -> Target:
        """The quantity that the network was trained to predict: as its scheduler's configuration says."""
        from compbench.diffusion import loading

        return loading.target_of(parts.scheduler, parts.name)

    def noising(self, parts: Parts, dtype: torch.dtype) -> Noising:
        """alpha and sigma of a timestep, for timesteps on the CPU: those of its scheduler's table."""
        from compbench.diffusion import loading
        from compbench.diffusion.denoiser import Tabled

        alphas_cumprod = loading.alphas_cumprod_of(parts.scheduler, parts.name).to("cpu", dtype)
        return Tabled.from_alphas_cumprod(alphas_cumprod, self.target(parts))

    def conditioning(self, parts: Parts, captions: Sequence[str]) -> Conditioning:
        """The network's conditioning on each caption, under its own argument names; no guidance."""
        raise NotImplementedError

    def predict(
        self, network: Callable[..., Any], noised: Tensor, timesteps: Tensor, conditioning: Conditioning
    ) -> Tensor:
        """[b, c or more, h, w]; of more channels the first are the prediction, the rest a learned variance."""
        return network(noised, timestep=timesteps, **conditioning, return_dict=False)[0]

    def grid(self, parts: Parts) -> Timesteps:
        """[T] the timesteps that draws are of, ascending: int64, or float32 as a flow's network is told them.

        The parts are placed: their network is in the dtype that it computes in, and the size of the pictures is known.
        """
        return np.arange(len(parts.scheduler.alphas_cumprod))

    def side(self, parts: Parts) -> int:
        """The side of the latents that the network was configured for."""
        return int(parts.network.config["sample_size"])

    def extra_losses(self, parts: Parts, device: torch.device) -> Mapping[str, ExtraLoss]:
        """Losses besides l2 and l1 that one pass of the network gives."""
        return {}
