"""Class-conditional diffusion transformers through diffusers, seen by the engine as a Denoiser.

Peebles & Xie, "Scalable Diffusion Models with Transformers", ICCV 2023, as classifiers by Li et al. (ICCV 2023): the
class label takes the caption's place, the network gives eps and the variance, and three errors are made of one pass.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import PIL.Image
import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.transformers.dit_transformer_2d import DiTTransformer2DModel
from torch import Tensor, nn

from compbench.core.errors import DataError, UsageError
from compbench.core.file_list import FileList
from compbench.core.models import Runtime, Source
from compbench.diffusion._compiled import Compiled
from compbench.diffusion.classifier import DiffusionClassifier
from compbench.diffusion.denoiser import Conditioning, Noising, Target
from compbench.diffusion.devices import pick_device
from compbench.diffusion.draws import DrawBank, paper_bank, seeded_bank
from compbench.diffusion.images import Transform, adm_centre_crop, overlooked, whole_picture
from compbench.diffusion.silence import quiet
from compbench.diffusion.vlb import Bound
from compbench.diffusion.weights import LOADING_ERRORS, load_network
from compbench.registry import checkpoints, repositories
from compbench.registry.checkpoints import TRANSFORMER, VAE
from compbench.schedules.schedule import Schedule

__all__ = ["Components", "DiTDenoiser", "classifier", "every_fourth", "fetch_folder", "load"]

Module = TypeVar("Module", bound=nn.Module)

_MAX_TIMESTEPS = 100_000
_ENCODED_AT_ONCE = 4  # pictures


@dataclass(frozen=True, slots=True)
class Components:
    """The parts of a DiTPipeline that an error needs."""

    transformer: DiTTransformer2DModel
    vae: AutoencoderKL
    betas: Tensor  # [T] float64
    id2label: Mapping[int, str]


class DiTDenoiser:
    """A Denoiser over a transformer that predicts eps and the variance, conditioned on a class label."""

    target: Target = "eps"

    def __init__(
        self,
        components: Components,
        *,
        label_space: str,
        transform: Transform,
        dtype: torch.dtype,
        device: torch.device,
        name: str,
    ) -> None:
        self.label_space, self.id2label, self.name = label_space, components.id2label, name
        self.device, self._transform, self._dtype = device, transform, dtype
        with quiet():
            self._transformer = _placed(components.transformer, device, dtype)
            self._vae = _placed(components.vae, device, torch.float32)
        self._network: Callable[..., Any] = self._transformer
        alphas_cumprod = (1 - components.betas).cumprod(0)
        self.noising = Noising(alphas_cumprod.sqrt().float(), (1 - alphas_cumprod).sqrt().float())
        self._alpha, self._sigma = self.noising.alpha.to(device), self.noising.sigma.to(device)
        self._bound = Bound.from_betas(components.betas, device)
        config = components.transformer.config
        side = int(config["sample_size"])
        self.latent_shape = (int(config["in_channels"]), side, side)
        self._no_class = int(config["num_embeds_ada_norm"])
        self._size_px = side * 2 ** (len(components.vae.config["block_out_channels"]) - 1)

    @property
    def engine(self) -> str:
        """Whether the transformer runs compiled, and in which mode, or eagerly."""
        return self._network.engine if isinstance(self._network, Compiled) else "eager"

    @property
    def dtype(self) -> str:
        """Of the transformer."""
        return str(self._dtype).removeprefix("torch.")

    def compile(self, mode: str, say: Callable[[str], None]) -> None:
        """From now on the transformer is run through torch.compile."""
        self._network = Compiled(self._transformer, mode, say)

    @property
    def overlooked(self) -> frozenset[str]:
        """The traits of an image that its transform ignores."""
        return overlooked(self._transform)

    def pixels(self, image: PIL.Image.Image) -> Tensor:
        """[3, side, side] float32 in [-1, 1]."""
        return self._transform(image, self._size_px)

    @torch.inference_mode()
    def encode_pixels(self, pixels: Tensor) -> Tensor:
        """[I, c, h, w] float32: the mean of the posterior, scaled as trained."""
        means = [
            self._vae.encode(some.to(self.device), return_dict=False)[0].mean for some in pixels.split(_ENCODED_AT_ONCE)
        ]
        return torch.cat(means) * self._vae.config["scaling_factor"]

    def encode_captions(self, captions: Sequence[str]) -> Conditioning:
        """Labels [C] of captions that are the numbers of classes, "207"; the empty one stands for no class."""
        labels = [self._label(caption) if caption else self._no_class for caption in captions]
        return {"class_labels": torch.tensor(labels, device=self.device)}

    def too_long(self, captions: Sequence[str]) -> list[str]:
        """None ever is."""
        return []

    def errors(
        self,
        latents: Tensor,
        noise: Tensor,
        timesteps: Tensor,
        conditioning: Conditioning,
        losses: Sequence[str],
    ) -> Tensor:
        """[R, b] float32 of one pass: mean squared and mean absolute error in eps, and the bound's term in bits."""
        alpha, sigma = (each[timesteps][:, None, None, None] for each in (self._alpha, self._sigma))
        noised = alpha * latents + sigma * noise
        output = self._network(
            noised.to(self._dtype), timestep=timesteps, class_labels=conditioning["class_labels"], return_dict=False
        )[0]
        eps, v = output.float().chunk(2, dim=1)
        error = noise - eps
        reduce: dict[str, Callable[[], Tensor]] = {
            "l2": lambda: error.square().flatten(1).mean(1),
            "l1": lambda: error.abs().flatten(1).mean(1),
            "vlb": lambda: self._bound.bits(error, v, timesteps),
        }
        return torch.stack([reduce[loss]() for loss in losses])

    def _label(self, caption: str) -> int:
        label = int(caption) if caption.isdecimal() else -1
        if label not in self.id2label:
            raise UsageError(
                f"model {self.name!r} has no label {caption!r}; expected one of {min(self.id2label)} to "
                f"{max(self.id2label)} of {self.label_space!r}"
            )
        return label


def classifier(
    components: Components,
    *,
    label_space: str,
    protocol: str,
    seed: int,
    dtype: str,
    n_draws: int,
    runtime: Runtime,
    name: str,
    schedule: Schedule,
    compile_mode: str = "auto",
) -> DiffusionClassifier:
    """The Diffusion Classifier over a DiT, as `protocol` measures."""
    is_published = protocol == "paper"
    device = pick_device(runtime.device)
    denoiser = DiTDenoiser(
        components,
        label_space=label_space,
        transform=adm_centre_crop if is_published else whole_picture,
        dtype=getattr(torch, dtype),
        device=device,
        name=name,
    )
    n_timesteps = len(components.betas)
    bank = every_fourth(seed, n_timesteps, is_published)
    return DiffusionClassifier(
        denoiser,
        bank,
        n_draws,
        runtime,
        losses=("l2", "l1", "vlb"),
        compile_mode=compile_mode,
        schedule=schedule,
    )


def every_fourth(seed: int, n_timesteps: int = 1000, is_published: bool = True) -> DrawBank:
    """Timesteps 2, 6, ..., 998 in balanced order.

    In the published run the i-th of them goes with the i-th of 1024 noises drawn at once after manual_seed(seed), for
    every image and class.
    """
    grid = np.arange(2, n_timesteps, 4)
    drawn = paper_bank(seed, len(grid)) if is_published else seeded_bank(seed, len(grid))
    return DrawBank(grid[drawn.timesteps], drawn.noise)


def fetch_folder(source: Source, is_offline: bool, name: str, say: Callable[[str], None] | None = None) -> Path:
    """The folder with the model's files; DataError, before any weight, for another kind of model."""
    opened = source.opened or partial(checkpoints.dit, name=name)
    return repositories.fetch_opened(replace(source, opened=opened), is_offline, say)


def load(folder: Path, name: str, say: Callable[[str], None]) -> Components:
    """The components of a folder in the layout of DiTPipeline, in float32 on the CPU; DataError for what is not one.

    Pickles are read by torch with weights_only, which runs no code of theirs, and that is said.
    """
    files = FileList.of_folder(folder)
    checkpoints.dit(files, name)
    weights = {part.name: checkpoints.weights_of(files, part, name, takes_pickles=True) for part in (TRANSFORMER, VAE)}
    if pickled := [part for part, its in weights.items() if its.files[0].endswith(".bin")]:
        say(f"{name}: {' and '.join(pickled)} are pickles (.bin), read as weights only: no code of theirs is run")
    if halves := [part for part, its in weights.items() if its.variant]:
        say(f"{name}: {', '.join(halves)} from fp16 weights, the only ones there are")
    try:
        betas = _betas(files.json("scheduler/scheduler_config.json"), name)
        id2label = _id2label(files.json("model_index.json"))
    except LOADING_ERRORS as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{str(folder)!r} cannot be loaded ({error}); fetch or copy the model again") from error
    with quiet():
        components = Components(
            transformer=load_network(DiTTransformer2DModel, folder, "transformer", weights["transformer"], say),
            vae=load_network(AutoencoderKL, folder, "vae", weights["vae"], say),
            betas=betas,
            id2label=id2label,
        )
    _check_is_supported(components, name)
    return components


def _placed(module: Module, device: torch.device, dtype: torch.dtype) -> Module:
    return module.to(device=device, dtype=dtype).eval().requires_grad_(False)


def _betas(config: Mapping[str, Any], name: str) -> Tensor:
    """[T] float64, equally spaced: the one schedule that DiT is published with."""
    if config.get("beta_schedule") != "linear" or config.get("trained_betas") is not None:
        raise DataError(
            f"model {name!r} has the schedule {config.get('beta_schedule')!r} (scheduler/scheduler_config.json); "
            "expected 'linear', which DiT was trained with"
        )
    if config.get("prediction_type", "epsilon") != "epsilon":
        raise DataError(f"model {name!r} predicts {config['prediction_type']!r}; expected 'epsilon'")
    n_timesteps = config["num_train_timesteps"]
    if not isinstance(n_timesteps, int) or not 1 < n_timesteps <= _MAX_TIMESTEPS:
        raise DataError(f"model {name!r} has num_train_timesteps {n_timesteps!r}; expected 2 to {_MAX_TIMESTEPS:,}")
    return torch.linspace(config["beta_start"], config["beta_end"], config["num_train_timesteps"], dtype=torch.float64)


def _check_is_supported(components: Components, name: str) -> None:
    transformer, vae = components.transformer.config, components.vae.config
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
    n_classes = int(transformer["num_embeds_ada_norm"])
    if set(components.id2label) != set(range(n_classes)):
        raise DataError(
            f"model {name!r} names {len(components.id2label)} labels in model_index.json and was trained on "
            f"{n_classes}; expected the labels 0 to {n_classes - 1}"
        )


def _id2label(index: Mapping[str, Any]) -> Mapping[int, str]:
    if "id2label" not in index:
        raise ValueError("model_index.json names no labels: no id2label")
    return {int(key): str(label) for key, label in index["id2label"].items()}
