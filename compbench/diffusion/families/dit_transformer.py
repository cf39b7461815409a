"""Class-conditional diffusion transformers: a label takes the caption's place, and the variance is learned.

Peebles & Xie, "Scalable Diffusion Models with Transformers", ICCV 2023, as classifiers by Li et al. (ICCV 2023): the
network gives eps and the variance, and three errors are made of one pass.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from compbench.core.errors import DataError, UsageError
from compbench.core.file_list import FileList
from compbench.diffusion import loading
from compbench.diffusion.denoiser import Conditioning, Tabled, Target
from compbench.diffusion.family import ExtraLoss, Family, Timesteps
from compbench.diffusion.parts import Parts
from compbench.diffusion.silence import quiet
from compbench.diffusion.vlb import Bound
from compbench.diffusion.weights import LOADING_ERRORS
from compbench.registry import checkpoints
from compbench.registry.checkpoints import TRANSFORMER, VAE

__all__ = ["DiTFamily", "betas_of", "load"]


@dataclass(frozen=True)
class DiTFamily(Family):
    """It predicts eps on the one schedule that DiT is published with."""

    label_space: str = "imagenet"

    def check(self, parts: Parts) -> None:
        _check_is_supported(parts)

    def target(self, parts: Parts) -> Target:
        return "eps"

    def noising(self, parts: Parts, dtype: torch.dtype) -> Tabled:
        alphas_cumprod = (1 - betas_of(parts)).cumprod(0)  # float64
        return Tabled(alphas_cumprod.sqrt().float(), (1 - alphas_cumprod).sqrt().float())

    def conditioning(self, parts: Parts, captions: Sequence[str]) -> Conditioning:
        """Labels [C] of captions that are the numbers of classes, "207"; the empty one stands for no class."""
        no_class, known = int(parts.network.config["num_embeds_ada_norm"]), _id2label(parts.index)
        labels = [self._label(caption, known, parts.name) if caption else no_class for caption in captions]
        return {"class_labels": torch.tensor(labels)}

    def grid(self, parts: Parts) -> Timesteps:
        """Timesteps 2, 6, ..., 998.

        In the published run the i-th draw of them goes with the i-th of 1024 noises drawn at once after
        manual_seed(seed), for every image and class.
        """
        return np.arange(2, len(betas_of(parts)), 4)

    def extra_losses(self, parts: Parts, device: torch.device) -> Mapping[str, ExtraLoss]:
        bound = Bound.from_betas(betas_of(parts), device)
        return {"vlb": bound.bits}

    def _label(self, caption: str, known: Mapping[int, str], name: str) -> int:
        label = int(caption) if caption.isdecimal() else -1
        if label not in known:
            raise UsageError(
                f"model {name!r} has no label {caption!r}; expected one of {min(known)} to {max(known)} of "
                f"{self.label_space!r}"
            )
        return label


def load(folder: Path, name: str, say: Callable[[str], None]) -> Parts:
    """The parts of a folder in the layout of DiTPipeline, in float32 on the CPU; DataError for what is not one."""
    files = FileList.of_folder(folder)
    checkpoints.dit(files, name)
    weights = loading.weights_of(files, (TRANSFORMER, VAE), name, say, takes_pickles=True)
    try:
        scheduler = files.json("scheduler/scheduler_config.json")
        _check_schedule(scheduler, name)
        index = files.json("model_index.json")
        _ = _id2label(index)
    except LOADING_ERRORS as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{str(folder)!r} cannot be loaded ({error}); fetch or copy the model again") from error
    with quiet():
        transformer = loading.load_part(TRANSFORMER, folder, weights["transformer"], say)
        vae = loading.load_part(VAE, folder, weights["vae"], say)
    parts = Parts(name, transformer, vae, scheduler=scheduler, index=index)
    _check_is_supported(parts)
    return parts


def betas_of(parts: Parts) -> Tensor:
    """[T] float64, equally spaced."""
    config: Mapping[str, Any] = parts.scheduler
    return torch.linspace(config["beta_start"], config["beta_end"], config["num_train_timesteps"], dtype=torch.float64)


def _check_schedule(config: Mapping[str, Any], name: str) -> None:
    if config.get("beta_schedule") != "linear" or config.get("trained_betas") is not None:
        raise DataError(
            f"model {name!r} has the schedule {config.get('beta_schedule')!r} (scheduler/scheduler_config.json); "
            "expected 'linear', which DiT was trained with"
        )
    if config.get("prediction_type", "epsilon") != "epsilon":
        raise DataError(f"model {name!r} predicts {config['prediction_type']!r}; expected 'epsilon'")
    n_timesteps, most = config["num_train_timesteps"], loading.MAX_TIMESTEPS
    if not isinstance(n_timesteps, int) or not 1 < n_timesteps <= most:
        raise DataError(f"model {name!r} has num_train_timesteps {n_timesteps!r}; expected 2 to {most:,}")
    loading.check_betas(config, name)
    _ = config["beta_start"], config["beta_end"]


def _check_is_supported(parts: Parts) -> None:
    name, transformer, vae = parts.name, parts.network.config, parts.vae.config
    n_in, n_out = int(transformer["in_channels"]), transformer["out_channels"]
    if n_out != 2 * n_in:
        raise DataError(
            f"model {name!r} has {n_out or n_in} output channels for {n_in} of its latents; expected twice as many: "
            "eps and the variance of each"
        )
    if n_in != vae["latent_channels"]:
        raise DataError(
            f"model {name!r} has a transformer of {n_in} input channels on latents of {vae['latent_channels']}"
        )
    n_classes, named = int(transformer["num_embeds_ada_norm"]), _id2label(parts.index)
    if set(named) != set(range(n_classes)):
        raise DataError(
            f"model {name!r} names {len(named)} labels in model_index.json and was trained on "
            f"{n_classes}; expected the labels 0 to {n_classes - 1}"
        )


def _id2label(index: Mapping[str, Any]) -> Mapping[int, str]:
    if "id2label" not in index:
        raise ValueError("model_index.json names no labels: no id2label")
    return {int(key): str(label) for key, label in index["id2label"].items()}
