"""The U-Net's middle block read of pictures, and what it gave kept.

Latents and features are kept by the picture's digest as they are made: a killed process loses seconds of work, another
timestep needs no autoencoder, and a test set that shares pictures shares their features.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

import numpy as np
import PIL.Image
import torch
from torch import Tensor

from compbench.core import stages
from compbench.core.aliases import Floats
from compbench.core.examples import Image
from compbench.core.models import Runtime
from compbench.diffusion.devices import fitting, pick_device
from compbench.diffusion.families.sd_unet import UNetFamily
from compbench.diffusion.images import whole_picture
from compbench.diffusion.latent import LatentDenoiser
from compbench.diffusion.parts import Parts, Precision
from compbench_baselines.training import cache
from compbench_baselines.training.fit import one_thread
from compbench_baselines.training.probes import Probe, of_passes

if TYPE_CHECKING:
    from compbench_baselines.generative.features import SDFeatures

__all__ = ["MidBlock"]

_FIRST_BATCH_SIZE = {"cpu": 16}


class MidBlock:
    """Latents and features of pictures, made once."""

    def __init__(self, spec: SDFeatures, parts: Parts, weights: str, runtime: Runtime) -> None:
        self.device = pick_device(runtime.device)
        precision = Precision(getattr(torch, spec.dtype), encoders=torch.float32)
        self._denoiser = LatentDenoiser(UNetFamily(), parts, whole_picture, precision, self.device)
        self._spec, self._block, self._runtime = spec, parts.network.mid_block, runtime
        self._batch_size = runtime.batch_size or _FIRST_BATCH_SIZE.get(self.device.type, 64)
        self._weights = weights

    @cached_property
    def _latents(self) -> cache.Arrays:
        return cache.Arrays(cache.folder("features", self._spec.latents_as(self._weights)))

    @cached_property
    def _features(self) -> cache.Arrays:
        return cache.Arrays(cache.folder("features", self._spec.features_as(self._weights)))

    def names(self, images: Sequence[Image]) -> list[str]:
        """The names that pictures are cached under."""
        return [image.digest() for image in images]

    def make(self, images: Sequence[Image]) -> None:
        """Latents and features of all pictures are kept afterwards; what is kept already is not made again."""
        by_name = dict(zip(self.names(images), images, strict=True))
        lacking = self._features.lacking(list(by_name))
        told = partial(stages.tell, "sd-features: reading features", n_all=len(lacking), unit="pictures")
        start = 0
        try:
            while start < len(lacking):
                batch = partial(self._of_some, lacking[start:], by_name)
                features, self._batch_size = fitting(batch, self._batch_size, self.device, self._runtime.say)
                some = lacking[start : start + self._batch_size]
                self._features.add(some, features)
                self._runtime.advance(len(some))
                start += len(some)
                told(n_done=start)
        finally:  # also when the user stops it
            self._latents.flush()
            self._features.flush()

    def probe(self) -> tuple[Probe, tuple[int, ...]]:
        """The cost of a picture's latents and features, and the shape of the features."""
        pixels = self._denoiser.pixels(PIL.Image.new("RGB", (64, 64)))[None]
        shapes: list[tuple[int, ...]] = []

        def run(n: int) -> None:
            latents = self._denoiser.encode_pixels(pixels.expand(n, -1, -1, -1))
            shapes.append(self._of_latents(latents).shape[1:])

        return of_passes(run, self._batch_size), shapes[-1]

    def read(self, names: Sequence[str]) -> Floats:
        """[n, c] or [n, c, h, w] float32."""
        return self._features.read(names).astype(np.float32)

    def _of_some(self, names: Sequence[str], images: Mapping[str, Image], batch_size: int) -> Floats:
        """The features of the first pictures."""
        with one_thread():
            return self._of_latents(self._latents_of(names[:batch_size], images))

    def _latents_of(self, names: Sequence[str], images: Mapping[str, Image]) -> Tensor:
        """[n, c, h, w] float32."""
        if lacking := self._latents.lacking(names):
            pixels = torch.stack([self._denoiser.pixels(images[name].decode()) for name in lacking])
            made = self._denoiser.encode_pixels(pixels)
            self._latents.add(lacking, made.cpu().numpy())
        return torch.from_numpy(self._latents.read(names)).to(self.device)

    @torch.inference_mode()
    def _of_latents(self, latents: Tensor) -> Floats:
        """float16 maps [n, c, h, w], or their float32 means [n, c]."""
        spec, n = self._spec, len(latents)
        noise = torch.randn(latents.shape[1:], generator=torch.Generator().manual_seed(spec.seed)).to(self.device)
        conditioning = {name: states.expand(n, *states.shape[1:]) for name, states in self._conditioning().items()}
        timesteps = torch.full((n,), spec.timestep, device=self.device)
        captured: list[Tensor] = []
        handle = self._block.register_forward_hook(_stop_at(captured))  # pyright: ignore
        try:
            self._denoiser.residual(latents, noise.expand_as(latents), timesteps, conditioning)
        except _Captured:
            pass
        finally:
            handle.remove()
        (maps,) = captured
        pooled = maps.float().mean((2, 3)) if spec.is_pooled else maps.half()
        return pooled.cpu().numpy()

    def _conditioning(self) -> Mapping[str, Tensor]:
        return self._denoiser.encode_captions([self._spec.caption])


class _Captured(Exception):  # ends a forward pass; not an error
    """The middle block has spoken; the second half of the U-Net need not run."""


def _stop_at(captured: list[Tensor]) -> Any:
    def hook(module: object, inputs: object, output: Tensor) -> None:
        captured.append(output)
        raise _Captured

    return hook
