"""Any family's denoiser: pictures to latents, x_t, one pass of the network, and its errors."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from typing import Any

import diffusers
import PIL.Image
import torch
from torch import Tensor

from compbench.core.rules import INNER, WITHOUT
from compbench.diffusion._compiled import Compiled
from compbench.diffusion.denoiser import LOSSES, TARGETS, Conditioning, Denoiser
from compbench.diffusion.devices import in_tf32
from compbench.diffusion.draws import generator_of
from compbench.diffusion.engine import on_device
from compbench.diffusion.family import Family
from compbench.diffusion.images import Transform, overlooked
from compbench.diffusion.parts import Parts, Precision, dtype_name, placed_on

__all__ = ["LatentDenoiser"]

_ENCODED_AT_ONCE = 4  # pictures
_WORTH_KEEPING_PX = 256  # smaller pictures are encoded as fast as they are read


class LatentDenoiser(Denoiser):
    """A Denoiser over a family's network and its autoencoder."""

    def __init__(
        self,
        family: Family,
        parts: Parts,
        transform: Transform,
        precision: Precision,
        device: torch.device,
        *,
        size_px: int | None = None,
        sampled: int | None = None,
        is_cramped: bool = False,
    ) -> None:
        """`size_px`: the side of the pictures, where it is not what the network was configured for.

        `sampled`: the seed of the one sample that stands for a picture's posterior, in place of its mean. `is_cramped`:
        the device has no room for the text encoders beside the network.
        """
        family.check(parts)
        self._sampled = sampled
        self._autoencoder: str | None = None  # digested when it is first asked for
        self._no_caption: Conditioning | None = None  # encoded when guidance first asks for it
        self.target = family.target(parts)
        self.device, self._transform, self._precision = device, transform, precision
        side = family.side(parts) if size_px is None else size_px // parts.grain
        self.latent_shape = (int(parts.vae.config["latent_channels"]), side, side)
        self.size_px = side * parts.grain
        placed = parts.placed(device, precision, is_cramped=is_cramped)
        self.family, self.parts, self._is_cramped = family, replace(placed, size_px=self.size_px), is_cramped
        self._is_away = is_cramped  # the network, from the device
        self._network: Callable[..., Any] = self.parts.network
        self.noising = family.noising(parts, precision.arithmetic)
        self._noising = self.noising.on(device)
        self._extra = family.extra_losses(self.parts, device)

    @property
    def label_space(self) -> str:
        """Whose labels take the captions' place."""
        return self.family.label_space

    @property
    def dtype(self) -> str:
        """The network's dtype."""
        return dtype_name(self._precision.network)

    @property
    def autoencoder_dtype(self) -> str:
        """The autoencoder's dtype."""
        return dtype_name(self._precision.autoencoder)

    @property
    def engine(self) -> str:
        """Whether the network runs compiled, and in which mode, or eagerly."""
        return self._network.engine if isinstance(self._network, Compiled) else "eager"

    @property
    def autoencoder(self) -> str:
        """A digest of weights, settings, dtype, device and versions; empty for pictures that are small."""
        if self.size_px < _WORTH_KEEPING_PX:
            return ""
        if self._autoencoder is None:
            told = [repr(sorted(self.parts.vae.config.items(), key=str)), str(self._precision), str(self._sampled)]
            if self._precision.own is not None:
                told.append(f"{self._precision.own} {self._precision.is_tf32}")
            self._autoencoder = _digest(
                [*told, self._device_name, torch.__version__, diffusers.__version__], self.parts.vae
            )
        return self._autoencoder

    @property
    def _device_name(self) -> str:
        return torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else self.device.type

    @property
    def is_cramped(self) -> bool:
        return self._is_cramped

    @contextmanager
    def reading(self) -> Generator[None]:
        """Within it the text encoders are on the device, in the network's place where both do not fit."""
        if not self._is_cramped:
            yield
            return
        host, self._is_away = torch.device("cpu"), True
        self._move([self.parts.network], host)
        try:
            self._move([text.encoder for text in self.parts.texts], self.device)
            yield
        finally:
            self._move([text.encoder for text in self.parts.texts], host)
        self._fetch_network()

    def _fetch_network(self) -> None:
        self._move([self.parts.network], self.device)
        self._is_away = False

    def _move(self, modules: Sequence[Any], device: torch.device) -> None:
        for module in modules:
            placed_on(module, device, next(module.parameters()).dtype, is_borrowed=False)
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    @property
    def architecture(self) -> str:
        """A digest of its class, configuration and dtype, the latents' shape, the device and the version of torch."""
        network, parameter = self.parts.network, next(self.parts.network.parameters())
        told = [type(network).__name__, repr(sorted(network.config.items(), key=str)), self.dtype, str(parameter.dtype)]
        told += [str(self.latent_shape), self._device_name, torch.__version__]
        return hashlib.sha256("\n".join(told).encode()).hexdigest()

    def compile(self, mode: str, say: Callable[[str], None]) -> None:
        """Run the network through torch.compile from now on, or with mode "off" as it is."""
        self._network = self.parts.network if mode == "off" else Compiled(self.parts.network, mode, say)

    @property
    def overlooked(self) -> frozenset[str]:
        """The traits of an image that its transform ignores."""
        return overlooked(self._transform)

    def pixels(self, image: PIL.Image.Image) -> Tensor:
        """[3, side, side] float32 in [-1, 1]."""
        return self._transform(image, self.size_px)

    @torch.inference_mode()
    def encode_pixels(self, pixels: Tensor) -> Tensor:
        """[I, c, h, w]: the mean of the posterior, or the sample that was asked for, shifted and scaled as trained.

        An autoencoder without a posterior gives the latents themselves.
        """
        vae, dtype = self.parts.vae, self._precision.autoencoder
        with in_tf32() if self._precision.is_tf32 else nullcontext():
            posteriors = [
                vae.encode(on_device(some, self.device).to(dtype), return_dict=False)[0]
                for some in pixels.split(_ENCODED_AT_ONCE)
            ]
        means = [encoded if isinstance(encoded, Tensor) else encoded.mean for encoded in posteriors]
        latents = torch.cat(means).to(self._precision.arithmetic)
        if self._sampled is not None:
            std = torch.cat([posterior.std for posterior in posteriors]).to(latents)
            latents = latents + std * self._noise_of_pictures(pixels, latents)
        return (latents - (vae.config.get("shift_factor") or 0.0)) * vae.config["scaling_factor"]

    def _noise_of_pictures(self, pixels: Tensor, latents: Tensor) -> Tensor:
        """Seeded by what each picture looks like, so that a picture's sample is the same in every batch and run."""
        noises: list[Tensor] = []
        for picture in pixels:
            looks = hashlib.sha256(picture.contiguous().numpy().tobytes()).digest()
            noises.append(torch.randn(latents.shape[1:], generator=generator_of(self._sampled or 0, *looks)))
        return torch.stack(noises).to(latents)

    @torch.inference_mode()
    def encode_captions(self, captions: Sequence[str]) -> Conditioning:
        """The family's conditioning on each caption, with floats in the network's dtype."""
        encoded = self.family.conditioning(self.parts, captions)
        dtype = self._precision.network
        return {
            name: (tensor.to(dtype) if tensor.is_floating_point() else tensor).to(self.device)
            for name, tensor in encoded.items()
        }

    def too_long(self, captions: Sequence[str]) -> list[str]:
        return self.parts.too_long(captions)

    def alike(self, captions: Sequence[str]) -> list[str]:
        return self.parts.alike(captions)

    def special(self, captions: Sequence[str]) -> list[str]:
        return self.parts.special(captions)

    def errors(
        self, latents: Tensor, noise: Tensor, timesteps: Tensor, conditioning: Conditioning, losses: Sequence[str]
    ) -> Tensor:
        """[R, b] float32, all of one pass."""
        residual, rest = self._measured(latents, noise, timesteps, conditioning)
        without = self._without(latents, noise, timesteps) if INNER in losses else residual
        reduced: list[Tensor] = []
        for loss in losses:
            if loss in LOSSES:
                reduced.append(LOSSES[loss](residual))
            elif loss == INNER:
                reduced.append((residual * without).flatten(1).mean(1).float())
            elif loss == WITHOUT:
                reduced.append(LOSSES["l2"](without))
            else:
                reduced.append(self._extra[loss](residual, rest, timesteps))
        return torch.stack(reduced)

    def _without(self, latents: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """The residual without a caption, under the same draws."""
        if self._no_caption is None:
            self._no_caption = self.encode_captions([""])
        n = len(latents)
        conditioning = {name: tensor.expand(n, *tensor.shape[1:]) for name, tensor in self._no_caption.items()}
        return self.residual(latents, noise, timesteps, conditioning)

    def residual(self, latents: Tensor, noise: Tensor, timesteps: Tensor, conditioning: Conditioning) -> Tensor:
        """target - prediction, [b, c, h, w] in the dtype of the arithmetic."""
        return self._measured(latents, noise, timesteps, conditioning)[0]

    def _measured(
        self, latents: Tensor, noise: Tensor, timesteps: Tensor, conditioning: Conditioning
    ) -> tuple[Tensor, Tensor]:
        """target - prediction, and what the network gave beside its prediction. x_t is cast last."""
        if self._is_away:  # nobody read a caption ahead
            self._fetch_network()
        arithmetic = self._precision.arithmetic
        alpha, sigma = (tensor.view(-1, 1, 1, 1) for tensor in self._noising(timesteps))
        noise = noise.to(arithmetic)
        noised = (alpha * latents + sigma * noise).to(self._precision.network)
        output = self.family.predict(self._network, noised, timesteps, conditioning).to(arithmetic)
        prediction, rest = output[:, : latents.shape[1]], output[:, latents.shape[1] :]
        return TARGETS[self.target](latents, noise, alpha, sigma) - prediction, rest


def _digest(told: Sequence[str], module: torch.nn.Module) -> str:
    """The digest of some words and all weights."""
    made = hashlib.sha256("\n".join(told).encode())
    for key, weights in sorted(module.state_dict().items()):
        made.update(f"{key} {weights.dtype} {tuple(weights.shape)}".encode())
        made.update(weights.cpu().contiguous().flatten().view(torch.uint8).numpy())
    return made.hexdigest()
