"""Stable Diffusion through diffusers: the components of a pipeline, seen by the engine as a Denoiser.

The components are loaded one by one, so no safety checker is fetched; safetensors only, and no code from the hub.
"""

from __future__ import annotations

import copy
import hashlib
import json
import logging
from collections import Counter
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import diffusers
import PIL.Image
import torch
import transformers
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.schedulers.scheduling_utils import SchedulerMixin
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from compbench.core.errors import DataError
from compbench.core.file_list import FileList
from compbench.core.models import Source
from compbench.diffusion._compiled import Compiled
from compbench.diffusion._tokenizers import load_tokenizer
from compbench.diffusion.denoiser import TARGETS, Conditioning, Schedule, Target, reduced
from compbench.diffusion.engine import on_device
from compbench.diffusion.images import Transform, overlooked
from compbench.diffusion.weights import LOADING_ERRORS, load_network, load_whole
from compbench.registry import checkpoints, repositories
from compbench.registry.checkpoints import TEXT_ENCODER, UNET, VAE, Weights

__all__ = ["Components", "Precision", "StableDiffusionDenoiser", "components_of", "fetch_folder", "load_components"]

_TARGET_OF: dict[str, Target] = {"epsilon": "eps", "v_prediction": "v", "sample": "x0"}
_MAX_TIMESTEPS = 100_000
_ENCODED_AT_ONCE = 4  # pictures; captions go sixteen times as many

Module = TypeVar("Module", bound=nn.Module)


@dataclass(frozen=True, slots=True)
class Components:
    """The parts of a Stable Diffusion pipeline that an error needs."""

    unet: UNet2DConditionModel
    vae: AutoencoderKL
    text_encoder: CLIPTextModel
    tokenizer: CLIPTokenizer
    scheduler: Any  # of diffusers, any that has alphas_cumprod: the choice makes no difference
    is_borrowed: bool = False  # they belong to the user: moved or cast copies are used, never themselves

    def digest(self) -> str:
        """SHA-256 of all weights and of the schedule: what names a pipeline that has no commit."""
        digest = hashlib.sha256(json.dumps(_plain(self.scheduler.config), sort_keys=True).encode())
        for module in (self.unet, self.vae, self.text_encoder):
            for key, weights in sorted(module.state_dict().items()):
                digest.update(f"{key} {weights.dtype} {tuple(weights.shape)}".encode())
                digest.update(weights.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
        return digest.hexdigest()


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
        self.schedule = Schedule.from_alphas_cumprod(alphas_cumprod, self.target)
        self._alpha, self._sigma = self.schedule.alpha.to(device), self.schedule.sigma.to(device)
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

    def fuse_projections(self) -> None:
        """Queries, keys and values of an attention in one product."""
        self._unet.fuse_qkv_projections()

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


def fetch_folder(source: Source, is_offline: bool, name: str, say: Callable[[str], None] | None = None) -> Path:
    """The folder with the model's files; DataError, before any weight, for another kind of model."""
    opened = source.opened or partial(checkpoints.stable_diffusion, name=name)
    return repositories.fetch_opened(replace(source, opened=opened), is_offline, say)


def load_components(
    folder: Path, say: Callable[[str], None] = lambda message: None, name: str | None = None
) -> Components:
    """The components of a folder in the diffusers layout, in float32 on the CPU; DataError for what does not fit.

    `say` hears of fp16 weights where there are no others, and of a size of pictures that had to be corrected.
    """
    files, name = FileList.of_folder(folder), name or str(folder)
    checkpoints.stable_diffusion(files, name)
    weights = {part.name: checkpoints.weights_of(files, part, name) for part in (UNET, VAE, TEXT_ENCODER)}
    if halves := [part for part, its in weights.items() if its.variant]:
        say(f"{name}: {', '.join(halves)} from fp16 weights, the only ones there are")
    with quiet():
        unet = load_network(UNet2DConditionModel, folder, "unet", weights["unet"])
        _correct_size(unet, files, name, say)
        return Components(
            unet=unet,
            vae=load_network(AutoencoderKL, folder, "vae", weights["vae"]),
            text_encoder=_text_encoder(folder, weights["text_encoder"]),
            tokenizer=_tokenizer(folder),
            scheduler=_load_scheduler(folder, files),
        )


def components_of(pipeline: Any) -> Components:
    """The components of a StableDiffusionPipeline in memory, as they are."""
    parts = {field.name: getattr(pipeline, field.name) for field in fields(Components) if field.name != "is_borrowed"}
    return Components(**parts, is_borrowed=True)


def _text_encoder(folder: Path, weights: Weights) -> CLIPTextModel:
    place = folder / "text_encoder"

    def blank(config: Mapping[str, Any]) -> nn.Module:
        with torch.device("meta"):
            return CLIPTextModel(CLIPTextConfig.from_pretrained(place, local_files_only=True))

    def load() -> tuple[CLIPTextModel, Mapping[str, Any]]:
        return CLIPTextModel.from_pretrained(  # pyright: ignore[reportReturnType]
            place,
            use_safetensors=True,
            local_files_only=True,
            variant=weights.variant,
            output_loading_info=True,
            ignore_mismatched_sizes=True,
        )

    return load_whole(folder, "text_encoder", weights.files, blank, load)


def _tokenizer(folder: Path) -> CLIPTokenizer:
    try:
        return load_tokenizer(folder / "tokenizer")
    except DataError:
        raise
    except Exception as error:  # tokenizers raises bare Exception for a damaged file
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise DataError(f"{str(folder / 'tokenizer')!r} cannot be loaded ({reason}); fetch or copy it again") from error


def _correct_size(unet: Any, files: FileList, name: str, say: Callable[[str], None]) -> None:
    """As diffusers' own pipeline does."""
    configured, corrected, grain = checkpoints.sizes_px(files, name)
    if corrected != configured:
        unet.register_to_config(sample_size=corrected // grain)
        written_by = files.json("unet/config.json").get("_diffusers_version")
        say(
            f"{name}: its configuration was written by diffusers {written_by} and says {configured} px "
            f"(sample_size {configured // grain}); scored at {corrected} px, as diffusers corrects it. "
            f"-o size_px={configured} keeps the former"
        )


def _load_scheduler(folder: Path, files: FileList) -> Any:
    """The scheduler of scheduler_config.json; DataError where model_index.json names one of another schedule."""
    config = files.json("scheduler/scheduler_config.json")
    scheduler = _scheduler(config.get("_class_name"), config, folder)
    named_too = files.json("model_index.json").get("scheduler") if "model_index.json" in files.names else None
    if isinstance(named_too, list) and named_too and named_too[-1] != config.get("_class_name"):  # pyright: ignore
        other = _scheduler(named_too[-1], config, folder)  # pyright: ignore[reportUnknownArgumentType]
        ours, its = (getattr(each, "alphas_cumprod", None) for each in (scheduler, other))
        if isinstance(ours, Tensor) and not (isinstance(its, Tensor) and torch.equal(ours, its)):
            raise DataError(
                f"{str(folder)!r} names the scheduler {named_too[-1]!r} in model_index.json and "
                f"{config.get('_class_name')!r} in scheduler/scheduler_config.json, and their noise differs"
            )
    return scheduler


def _scheduler(class_name: object, config: Mapping[str, Any], folder: Path) -> Any:
    kind = getattr(diffusers, str(class_name), None)
    if not (isinstance(kind, type) and issubclass(kind, SchedulerMixin)):
        raise DataError(
            f"{str(folder)!r} names a scheduler {class_name!r} that diffusers {diffusers.__version__} "
            "does not have; compbench runs no code from a model's folder"
        )
    n_timesteps = config.get("num_train_timesteps", 1000)
    if not isinstance(n_timesteps, int) or not 0 < n_timesteps <= _MAX_TIMESTEPS:
        raise DataError(
            f"{str(folder)!r} has num_train_timesteps {n_timesteps!r} in scheduler/scheduler_config.json; expected "
            f"1 to {_MAX_TIMESTEPS:,}"
        )
    try:
        return kind.from_config(config)  # pyright: ignore[reportAttributeAccessIssue]
    except LOADING_ERRORS as error:
        raise DataError(f"scheduler/scheduler_config.json of {str(folder)!r} cannot be used ({error})") from error


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


def _plain(config: Any) -> dict[str, Any]:
    """A scheduler's settings without what names versions and private things."""
    return {key: repr(value) for key, value in dict(config).items() if not key.startswith("_")}


@contextmanager
def quiet() -> Generator[None]:
    """No progress bars and no advice from diffusers and transformers; errors still come."""
    loggers = [diffusers.utils.logging, transformers.utils.logging]
    levels = [logger.get_verbosity() for logger in loggers]
    with_bars = [logger for logger in loggers if logger.is_progress_bar_enabled()]
    for logger in loggers:
        logger.set_verbosity(logging.CRITICAL)
        logger.disable_progress_bar()
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.set_verbosity(level)
        for logger in with_bars:
            logger.enable_progress_bar()
