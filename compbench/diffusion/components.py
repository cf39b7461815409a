"""The components of a Stable Diffusion pipeline, from a folder in the diffusers layout or from a pipeline in memory.

They are loaded one by one, so no safety checker is fetched; safetensors only, and no code from the hub.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import partial
from pathlib import Path
from typing import Any

import diffusers
import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.schedulers.scheduling_utils import SchedulerMixin
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from compbench.core.errors import DataError
from compbench.core.file_list import FileList
from compbench.core.models import Source
from compbench.diffusion._tokenizers import load_tokenizer
from compbench.diffusion.silence import quiet
from compbench.diffusion.weights import LOADING_ERRORS, load_network, load_whole
from compbench.registry import checkpoints, repositories
from compbench.registry.checkpoints import TEXT_ENCODER, UNET, VAE, Weights
from compbench.registry.tensors import read_headers

__all__ = ["Components", "components_of", "fetch_folder", "load_components"]

_MAX_TIMESTEPS = 100_000
_TEXT_PREFIX = "text_model."


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


def fetch_folder(source: Source, is_offline: bool, name: str, say: Callable[[str], None] | None = None) -> Path:
    """The folder with the model's files; DataError, before any weight, for another kind of model."""
    opened = source.opened or partial(checkpoints.stable_diffusion, name=name)
    return repositories.fetch_opened(replace(source, opened=opened), is_offline, say)


def load_components(
    folder: Path,
    say: Callable[[str], None] = lambda message: None,
    name: str | None = None,
    *,
    size_px: int | None = None,
) -> Components:
    """The components of a folder in the diffusers layout, in float32 on the CPU; DataError for what does not fit.

    `say` hears of fp16 weights where there are no others, of float64 weights, and of a size of pictures that had to be
    corrected, unless it is `size_px` that will be used.
    """
    files, name = FileList.of_folder(folder), name or str(folder)
    checkpoints.stable_diffusion(files, name)
    weights = {part.name: checkpoints.weights_of(files, part, name) for part in (UNET, VAE, TEXT_ENCODER)}
    if halves := [part for part, its in weights.items() if its.variant]:
        say(f"{name}: {', '.join(halves)} from fp16 weights, the only ones there are")
    with quiet():
        unet = load_network(UNet2DConditionModel, folder, "unet", weights["unet"], say)
        _correct_size(unet, files, name, say if size_px is None else lambda message: None)
        return Components(
            unet=unet,
            vae=load_network(AutoencoderKL, folder, "vae", weights["vae"], say),
            text_encoder=_text_encoder(folder, weights["text_encoder"], say),
            tokenizer=_tokenizer(folder),
            scheduler=_load_scheduler(folder, files),
        )


def components_of(pipeline: Any) -> Components:
    """The components of a StableDiffusionPipeline in memory, as they are."""
    parts = {field.name: getattr(pipeline, field.name) for field in fields(Components) if field.name != "is_borrowed"}
    return Components(**parts, is_borrowed=True)


def _text_encoder(folder: Path, weights: Weights, say: Callable[[str], None]) -> CLIPTextModel:
    place, paths = folder / "text_encoder", [folder / file for file in weights.files]

    def blank(config: Mapping[str, Any]) -> nn.Module:
        with torch.device("meta"):
            return CLIPTextModel(CLIPTextConfig.from_pretrained(place, local_files_only=True))

    def load() -> tuple[CLIPTextModel, Mapping[str, Any]]:
        if _lacks_prefix(blank({}).state_dict(), read_headers(paths)):
            return _prefixed(place, paths)
        return CLIPTextModel.from_pretrained(  # pyright: ignore[reportReturnType]
            place,
            use_safetensors=True,
            local_files_only=True,
            variant=weights.variant,
            output_loading_info=True,
            ignore_mismatched_sizes=True,
        )

    return load_whole(folder, "text_encoder", weights.files, blank, load, say)


def _lacks_prefix(own: Iterable[str], stored: Iterable[str]) -> bool:
    """Whether a network's tensors are all called `text_model....` here and never so in the file.

    So transformers of another age calls them: later ones write none and read either, earlier ones read their own alone.

    >>> _lacks_prefix(["text_model.embeddings.weight"], ["embeddings.weight"])
    True
    """
    is_prefixed = all(name.startswith(_TEXT_PREFIX) for name in own)
    return is_prefixed and not any(name.startswith(_TEXT_PREFIX) for name in stored)


def _prefixed(place: Path, paths: Sequence[Path]) -> tuple[CLIPTextModel, Mapping[str, Any]]:
    """The text encoder with the prefix put before its tensors, and what did not fit, as transformers says it."""
    network = CLIPTextModel(CLIPTextConfig.from_pretrained(place, local_files_only=True))
    own = {name: tuple(each.shape) for name, each in network.state_dict().items()}
    stored = {_TEXT_PREFIX + name: each for path in paths for name, each in load_file(path).items()}
    misshapen = [
        (name, tuple(each.shape), own[name])
        for name, each in stored.items()
        if name in own and tuple(each.shape) != own[name]
    ]
    wrong = {name for name, _, _ in misshapen}
    found = network.load_state_dict({name: each for name, each in stored.items() if name not in wrong}, strict=False)
    missing = set(found.missing_keys) - wrong
    return network, {"missing_keys": missing, "unexpected_keys": found.unexpected_keys, "mismatched_keys": misshapen}


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


def _plain(config: Any) -> dict[str, Any]:
    """A scheduler's settings without what names versions and private things."""
    return {key: repr(value) for key, value in dict(config).items() if not key.startswith("_")}
