"""Stable Diffusion as a Denoiser: a U-Net, its autoencoder and its text encoder, as the engine sees them."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import PIL.Image
import torch
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from torch import Tensor, nn

from compbench.core.errors import DataError
from compbench.diffusion._compiled import Compiled
from compbench.diffusion.components import Components
from compbench.diffusion.denoiser import TARGETS, Conditioning, Noising, Target, reduced
from compbench.diffusion.engine import on_device
from compbench.diffusion.images import Transform, overlooked
from compbench.diffusion.silence import quiet

__all__ = ["Precision", "StableDiffusionDenoiser"]

_TARGET_OF: dict[str, Target] = {"epsilon": "eps", "v_prediction": "v", "sample": "x0"}
_ENCODED_AT_ONCE = 4  # pictures; captions go sixteen times as many

Module = TypeVar("Module", bound=nn.Module)


@dataclass(frozen=True, slots=True)
class Precision:
    """The dtype of each stage; what is not named is float32."""

    unet: torch.dtype
    encoders: torch.dtype  # of the autoencoder and the text encoder
    arithmetic: torch.dtype = torch.float32  # schedule, noise, latents, x_t and errors


class StableDiffusionDenoiser:
    """A Denoiser over a U-Net that predicts eps, v or x_0, its autoencoder and its text encoder."""

    def __init__(
        self,
        components: Components,
        transform: Transform,
        precision: Precision,
        device: torch.device,
        name: str,
        *,
        size_px: int | None = None,
    ) -> None:
        """`size_px`: the side of the pictures, where it is not what the U-Net was configured for."""
        _check_is_supported(components, name)
        self.target: Target = _target(components.scheduler, name)
        self.device, self._transform, self._precision = device, transform, precision
        is_borrowed = components.is_borrowed
        self._unet = _placed(components.unet, device, precision.unet, is_borrowed)
        self._vae = _placed(components.vae, device, precision.encoders, is_borrowed)
        self._text_encoder = _placed(components.text_encoder, device, precision.encoders, is_borrowed)
        self._network: Callable[..., Any] = self._unet
        self._tokenizer = components.tokenizer
        n_positions = int(components.text_encoder.config.max_position_embeddings)
        self.context_length = min(int(components.tokenizer.model_max_length), n_positions)
        alphas_cumprod = _alphas_cumprod(components.scheduler, name).to("cpu", precision.arithmetic)
        self.noising = Noising.from_alphas_cumprod(alphas_cumprod, self.target)
        self._alpha, self._sigma = self.noising.alpha.to(device), self.noising.sigma.to(device)
        grain = 2 ** (len(self._vae.config["block_out_channels"]) - 1)
        side = int(self._unet.config["sample_size"]) if size_px is None else size_px // grain
        self.latent_shape = (int(self._unet.config["in_channels"]), side, side)
        self._size_px = side * grain

    @property
    def dtype(self) -> str:
        """Of the U-Net."""
        return str(self._precision.unet).removeprefix("torch.")

    @property
    def engine(self) -> str:
        """Whether the U-Net runs compiled, and in which mode, or eagerly."""
        return self._network.engine if isinstance(self._network, Compiled) else "eager"

    def compile(self, mode: str, say: Callable[[str], None]) -> None:
        """From now on the U-Net is run through torch.compile."""
        self._network = Compiled(self._unet, mode, say)

    @property
    def overlooked(self) -> frozenset[str]:
        """The traits of an image that its transform ignores."""
        return overlooked(self._transform)

    def pixels(self, image: PIL.Image.Image) -> Tensor:
        """[3, side, side] float32 in [-1, 1]."""
        return self._transform(image, self._size_px)

    @torch.inference_mode()
    def encode_pixels(self, pixels: Tensor) -> Tensor:
        """[I, c, h, w]: the mean of the posterior, not a sample, shifted and scaled as trained."""
        means = [
            self._vae.encode(on_device(some, self.device).to(self._precision.encoders), return_dict=False)[0].mean
            for some in pixels.split(_ENCODED_AT_ONCE)
        ]
        means = torch.cat(means).to(self._precision.arithmetic)
        shift = self._vae.config.get("shift_factor") or 0.0
        return (means - shift) * self._vae.config["scaling_factor"]

    @torch.inference_mode()
    def encode_captions(self, captions: Sequence[str]) -> Conditioning:
        """The last hidden state of the padded captions, [C, tokens, width]; no guidance."""
        ids = self._tokenizer(
            list(captions),
            padding="max_length",
            truncation=True,
            max_length=self.context_length,
            return_tensors="pt",
        ).input_ids
        states = [self._text_encoder(some.to(self.device))[0] for some in ids.split(16 * _ENCODED_AT_ONCE)]
        return {"encoder_hidden_states": torch.cat(states).to(self._precision.unet)}

    def too_long(self, captions: Sequence[str]) -> list[str]:
        """The captions with more tokens than the text encoder takes, its start and end tokens included."""
        if not captions:  # which the tokenizer does not take
            return []
        with quiet():  # the tokenizer warns of each
            ids = self._tokenizer(list(captions), truncation=False).input_ids
        return [text for text, each in zip(captions, ids, strict=True) if len(each) > self.context_length]

    def alike(self, captions: Sequence[str]) -> list[str]:
        """The captions that another one equals as far as the text encoder reads them."""
        if not captions:
            return []
        ids = self._tokenizer(list(captions), truncation=True, max_length=self.context_length).input_ids
        read = [tuple(each) for each in ids]
        times = Counter(read)
        return [text for text, each in zip(captions, read, strict=True) if times[each] > 1]

    def special(self, captions: Sequence[str]) -> list[str]:
        """The captions that spell the token of a start or an end, which is not read as letters."""
        ends: tuple[object, ...] = (self._tokenizer.bos_token, self._tokenizer.eos_token)
        tokens = [each for each in ends if isinstance(each, str) and each]
        return [text for text in captions if any(token in text for token in tokens)]

    def errors(
        self, latents: Tensor, noise: Tensor, timesteps: Tensor, conditioning: Conditioning, losses: Sequence[str]
    ) -> Tensor:
        """[R, b] float32."""
        return reduced(self.residual(latents, noise, timesteps, conditioning), losses)

    def residual(self, latents: Tensor, noise: Tensor, timesteps: Tensor, conditioning: Conditioning) -> Tensor:
        """target - prediction, [b, c, h, w] in the dtype of the arithmetic."""
        alpha, sigma = (each[timesteps].view(-1, 1, 1, 1) for each in (self._alpha, self._sigma))
        noise = noise.to(self._precision.arithmetic)
        noised = alpha * latents + sigma * noise
        prediction = self._network(noised.to(self._precision.unet), timesteps, **conditioning, return_dict=False)[0]
        return TARGETS[self.target](latents, noise, alpha, sigma) - prediction.to(self._precision.arithmetic)


def _check_is_supported(components: Components, name: str) -> None:
    unet, vae = components.unet.config, components.vae.config
    if unet["in_channels"] != vae["latent_channels"]:
        raise DataError(
            f"model {name!r} has a U-Net of {unet['in_channels']} input channels on latents of "
            f"{vae['latent_channels']}: inpainting, depth and editing models cannot be scored by their captions alone"
        )
    if unet["addition_embed_type"] is not None or unet["class_embed_type"] is not None:
        raise DataError(f"model {name!r} is conditioned on more than one text encoder's states; SDXL is not supported")
    if unet["time_cond_proj_dim"] is not None:
        raise DataError(
            f"model {name!r} is a latent consistency model (LCM), which is not supported: its network takes a guidance "
            "scale and is distilled to jump, so its error does not say how well a caption fits"
        )
    width, expected = components.text_encoder.config.hidden_size, unet["cross_attention_dim"]
    if isinstance(expected, int) and width != expected:
        raise DataError(
            f"model {name!r} has a text encoder of width {width} and a U-Net that attends to width {expected}; they do "
            "not belong together"
        )
    n_tokens, n_known = len(components.tokenizer), int(components.text_encoder.config.vocab_size)
    if n_tokens > n_known:
        raise DataError(
            f"model {name!r} has a tokenizer of {n_tokens:,} tokens and a text encoder that knows {n_known:,}; they do "
            "not belong together"
        )
    if not isinstance(unet["sample_size"], int):
        raise DataError(
            f"model {name!r} has sample_size {unet['sample_size']!r} in unet/config.json; expected a number"
        )


def _target(scheduler: Any, name: str) -> Target:
    prediction_type = scheduler.config.get("prediction_type", "epsilon")
    if prediction_type not in _TARGET_OF:
        raise DataError(
            f"model {name!r} predicts {prediction_type!r} (scheduler/scheduler_config.json); "
            f"expected one of {', '.join(_TARGET_OF)}"
        )
    return _TARGET_OF[prediction_type]


def _alphas_cumprod(scheduler: Any, name: str) -> Tensor:
    alphas_cumprod = getattr(scheduler, "alphas_cumprod", None)
    if not isinstance(alphas_cumprod, Tensor):
        raise DataError(
            f"model {name!r} has a {type(scheduler).__name__} without alphas_cumprod; "
            "expected the variance-preserving schedule of Stable Diffusion"
        )
    return alphas_cumprod.detach().float()


def _placed(module: Module, device: torch.device, dtype: torch.dtype, is_borrowed: bool) -> Module:
    """The module in evaluation mode on `device`; a borrowed one is copied where it would have to change."""
    parameter = next(module.parameters())
    is_right = not module.training and parameter.dtype == dtype and parameter.device == device
    if is_borrowed and is_right:
        return module
    with quiet():
        module = (copy.deepcopy(module) if is_borrowed else module).to(device=device, dtype=dtype).eval()
    if device.type == "cuda" and isinstance(module, UNet2DConditionModel):
        module.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    return module.requires_grad_(False)
