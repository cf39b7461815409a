"""Stable Diffusion through diffusers: the components of a pipeline, seen by the engine as a Denoiser.

The components are loaded one by one, so no safety checker is fetched; safetensors only, and no code from the hub.
"""

from __future__ import annotations

import copy
import hashlib
import json
import logging
from collections import Counter
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

import diffusers
import PIL.Image
import torch
import transformers
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.schedulers.scheduling_utils import SchedulerMixin
from safetensors import SafetensorError
from torch import Tensor, nn
from transformers import CLIPTextModel, CLIPTokenizer

from compbench import hub
from compbench.engine.compiled import Compiled
from compbench.engine.denoiser import TARGETS, Conditioning, Schedule, Target, reduced
from compbench.engine.errors import on_device
from compbench.scorers.images import Transform, overlooked
from compbench.scorers.tokenizers import load_tokenizer
from compbench.types import DataError, Source

__all__ = ["Components", "Precision", "StableDiffusionDenoiser", "components_of", "fetch_folder", "load_components"]

_TARGET_OF: dict[str, Target] = {"epsilon": "eps", "v_prediction": "v", "sample": "x0"}
_ENCODED_AT_ONCE = 4  # pictures; captions go sixteen times as many
_WEIGHTS = {"unet": "diffusion_pytorch_model", "vae": "diffusion_pytorch_model", "text_encoder": "model"}

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
        self, components: Components, transform: Transform, precision: Precision, device: torch.device, name: str
    ) -> None:
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
        side = int(self._unet.config["sample_size"])
        self.latent_shape = (int(self._unet.config["in_channels"]), side, side)
        self._size_px = side * 2 ** (len(self._vae.config["block_out_channels"]) - 1)

    def compile(self, mode: str, say: Callable[[str], None]) -> None:
        """From now on the U-Net is run through torch.compile."""
        self._network = Compiled(self._unet, mode, say)

    def fuse_projections(self) -> None:
        """Queries, keys and values of an attention in one product."""
        self._unet.fuse_qkv_projections()

    @property
    def overlooked(self) -> frozenset[str]:
        """What of an image its transform does not look at."""
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
        self, latents: Tensor, noise: Tensor, timesteps: Tensor, conditioning: Conditioning, reductions: Sequence[str]
    ) -> Tensor:
        """[R, b] float32."""
        return reduced(self.residual(latents, noise, timesteps, conditioning), reductions)

    def residual(self, latents: Tensor, noise: Tensor, timesteps: Tensor, conditioning: Conditioning) -> Tensor:
        """target - prediction, [b, c, h, w] in the dtype of the arithmetic."""
        alpha, sigma = (each[timesteps].view(-1, 1, 1, 1) for each in (self._alpha, self._sigma))
        noise = noise.to(self._precision.arithmetic)
        noised = alpha * latents + sigma * noise
        prediction = self._network(noised.to(self._precision.unet), timesteps, **conditioning, return_dict=False)[0]
        return TARGETS[self.target](latents, noise, alpha, sigma) - prediction.to(self._precision.arithmetic)


def fetch_folder(
    source: Source, files: Sequence[str], is_offline: bool, name: str, say: Callable[[str], None] | None = None
) -> Path:
    """The folder with the model's `files`."""
    return hub.fetch_whole(source, files, is_offline, lambda folder: _checked(folder, name), say)


def load_components(folder: Path) -> Components:
    """The components of a folder in the diffusers layout, in float32 on the CPU. DataError for damaged files."""
    options: dict[str, Any] = {"use_safetensors": True, "local_files_only": True}
    try:
        with quiet():
            return Components(
                unet=UNet2DConditionModel.from_pretrained(folder, subfolder="unet", low_cpu_mem_usage=False, **options),
                vae=AutoencoderKL.from_pretrained(folder, subfolder="vae", low_cpu_mem_usage=False, **options),
                text_encoder=CLIPTextModel.from_pretrained(folder / "text_encoder", **options).float(),
                tokenizer=load_tokenizer(folder / "tokenizer"),
                scheduler=_load_scheduler(folder),
            )
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        if isinstance(error, DataError):
            raise
        reason = str(error).strip().partition("\n")[0]
        raise DataError(f"{str(folder)!r} cannot be loaded ({reason}); fetch or copy the model again") from error


def components_of(pipeline: Any) -> Components:
    """The components of a StableDiffusionPipeline in memory, as they are."""
    parts = {field.name: getattr(pipeline, field.name) for field in fields(Components) if field.name != "is_borrowed"}
    return Components(**parts, is_borrowed=True)


def _checked(folder: Path, name: str) -> Path:
    """The folder, when it has every part; DataError says which it lacks."""
    for part in ("unet", "vae", "text_encoder", "tokenizer", "scheduler"):
        if not (folder / part).is_dir():
            raise DataError(
                f"model {name!r} has no {part}/ in {str(folder)!r}; expected the diffusers layout of Stable Diffusion "
                "(unet, vae, text_encoder, tokenizer, scheduler)"
            )
    for part, stem in _WEIGHTS.items():
        if not (folder / part / "config.json").is_file():
            raise DataError(f"model {name!r} has no {part}/config.json in {str(folder)!r}; fetch or copy it again")
        if not _has_weights(folder / part, stem):
            found = sorted(file.name for file in (folder / part).iterdir() if file.suffix != ".json") or ["no weights"]
            raise DataError(
                f"model {name!r} has {', '.join(found)} in {part}/ but no whole {stem}.safetensors; compbench reads "
                "safetensors alone, since other files can run code: load the pipeline with diffusers yourself, "
                "`pipeline.save_pretrained(PATH, safe_serialization=True)`, then --model sd:PATH"
            )
    return folder


def _has_weights(folder: Path, stem: str) -> bool:
    index = folder / f"{stem}.safetensors.index.json"
    if index.is_file():
        shards = set(json.loads(index.read_text())["weight_map"].values())
        return all((folder / shard).is_file() for shard in shards)
    return (folder / f"{stem}.safetensors").is_file()


def _load_scheduler(folder: Path) -> Any:
    try:
        config = json.loads((folder / "scheduler" / "scheduler_config.json").read_text())
    except (OSError, ValueError) as error:
        raise DataError(f"{str(folder)!r} has no readable scheduler/scheduler_config.json ({error})") from error
    kind = getattr(diffusers, str(config.get("_class_name")), None)
    if not (isinstance(kind, type) and issubclass(kind, SchedulerMixin)):
        raise DataError(
            f"{str(folder)!r} names a scheduler {config.get('_class_name')!r} that diffusers {diffusers.__version__} "
            "does not have; compbench runs no code from a model's folder"
        )
    return kind.from_config(config)  # pyright: ignore[reportAttributeAccessIssue]


def _check_is_supported(components: Components, name: str) -> None:
    unet, vae = components.unet.config, components.vae.config
    if unet["in_channels"] != vae["latent_channels"]:
        raise DataError(
            f"model {name!r} has a U-Net of {unet['in_channels']} input channels on latents of "
            f"{vae['latent_channels']}: inpainting, depth and editing models cannot be scored by their captions alone"
        )
    if unet["addition_embed_type"] is not None or unet["class_embed_type"] is not None:
        raise DataError(f"model {name!r} is conditioned on more than one text encoder's states; SDXL is not supported")
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
    had_bars = transformers.utils.logging.is_progress_bar_enabled()
    for logger in loggers:
        logger.set_verbosity(logging.CRITICAL)
    transformers.utils.logging.disable_progress_bar()
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.set_verbosity(level)
        if had_bars:
            transformers.utils.logging.enable_progress_bar()
