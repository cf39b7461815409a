"""Reads the U-Net's middle block, keeps what it reads, and trains a classifier of it.

Latents and features are kept by the picture's digest as they are made: a killed process loses seconds of work, another
timestep needs no autoencoder, and a test set that shares pictures shares their features.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import PIL.Image
import torch
from torch import Tensor

from compbench.core import stages
from compbench.core.aliases import Floats, Ints, Json
from compbench.core.examples import Classes, Example, Image, Task
from compbench.core.measurements import Measurement, ScoreMatrix
from compbench.core.models import Preparation, Runtime
from compbench.diffusion import StableDiffusion
from compbench.diffusion.devices import fitting, pick_device
from compbench.diffusion.families.sd_unet import UNetFamily
from compbench.diffusion.images import whole_picture
from compbench.diffusion.latent import LatentDenoiser
from compbench.diffusion.parts import Parts, Precision
from compbench_baselines.training import cache
from compbench_baselines.training.fit import Job, Recipe, fit, one_thread
from compbench_baselines.training.labels import Labelled, classes_of, for_captions, training_images
from compbench_baselines.training.logistic import fit_logistic, line_bytes
from compbench_baselines.training.networks import small_resnet
from compbench_baselines.training.probes import Probe, of_passes, with_training

__all__ = ["FeatureScorer", "MidBlock"]

_NAME = "sd-features"
_FIRST_BATCH_SIZE = {"cpu": 16}
_PREDICTED_AT_ONCE = 256
_Classify = Callable[[Floats], Floats]  # features [n, ...] float32 -> scores of the classes [n, K]


class OfFeatures(Protocol):
    """A spec's settings for the features and for the classifier that learns from them."""

    @property
    def model(self) -> StableDiffusion: ...
    @property
    def dtype(self) -> str: ...
    @property
    def timestep(self) -> int: ...
    @property
    def caption(self) -> str: ...
    @property
    def seed(self) -> int: ...
    @property
    def is_pooled(self) -> bool: ...
    @property
    def head(self) -> str: ...
    @property
    def c(self) -> float: ...
    @property
    def epochs(self) -> int: ...
    @property
    def train_per_class(self) -> int | None: ...
    def latents_as(self, weights: str) -> Mapping[str, Json]: ...
    def features_as(self, weights: str) -> Mapping[str, Json]: ...
    def trained_as(self, weights: str, pictures: str) -> Mapping[str, Json]: ...


class MidBlock:
    """Latents and features of pictures, made once."""

    def __init__(self, spec: OfFeatures, parts: Parts, weights: str, runtime: Runtime) -> None:
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
        told = partial(stages.tell, f"{_NAME}: reading features", n_all=len(lacking), unit="pictures")
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


class _Captured(Exception):  # ends a forward pass, is no error
    """The middle block has spoken; the second half of the U-Net need not run."""


def _stop_at(captured: list[Tensor]) -> Any:
    def hook(module: object, inputs: object, output: Tensor) -> None:
        captured.append(output)
        raise _Captured

    return hook


@dataclass(frozen=True, slots=True)
class _Maps:
    """Feature maps read from the disk batch by batch."""

    block: MidBlock
    names: Sequence[str]

    def batches(self, chunks: Iterable[Ints], epoch: int | None) -> Iterator[Tensor]:
        for chunk in chunks:
            wanted: list[int] = chunk.tolist()
            yield torch.from_numpy(self.block.read([self.names[index] for index in wanted]))


class FeatureScorer:
    """A classifier of a picture's features."""

    uses_network = True

    def __init__(self, spec: OfFeatures, parts: Parts, weights: str, runtime: Runtime) -> None:
        self._spec, self._runtime, self._weights = spec, runtime, weights
        self._block = MidBlock(spec, parts, weights, runtime)
        self.device = self._block.device
        self._classify: _Classify | None = None
        self._classes: Classes | None = None
        self._lesson = ""  # the digest of what it learned from

    def prepare(self, task: Task) -> None:
        """Read the features of the training split and train on them, as far as that was not done before."""
        self._classes = classes_of(task, _NAME)
        shown = training_images(task, _NAME, self._runtime.say, per_class=self._spec.train_per_class)
        self._lesson = shown.digest
        path = cache.folder("trained", self._spec.trained_as(self._weights, shown.digest))
        with cache.locked(path, self._runtime.say):
            self._block.make(shown.images)
            self._classify = self._trained(shown, path)

    def priced(self, task: Task, lacking: Preparation) -> Preparation:
        """With the operations and the time of encoder, half a network and training; a regression is not timed."""
        probe, shape = self._block.probe()
        flops, seconds = lacking.evaluations * probe.flops, lacking.evaluations * probe.seconds
        n_classes = len(classes_of(task, _NAME).names)
        if self._spec.head == "logistic":
            n_bytes = line_bytes(n_classes, int(np.prod(shape))) if lacking.trained else 0
            known = None if lacking.bytes is None else lacking.bytes + n_bytes
            return replace(lacking, bytes=known, flops=flops, seconds=seconds)
        network = small_resnet(n_classes, shape[0], self._spec.seed)
        return with_training(lacking, network, shape, self.device, flops, seconds)

    def learned_from(self) -> str:
        """The digest of the training pictures and their classes."""
        return self._lesson

    def score(self, examples: Sequence[Example], known: Mapping[str, Measurement]) -> Iterator[ScoreMatrix]:
        assert self._classes is not None  # the harness prepares first
        assert self._classify is not None
        for start in range(0, len(examples), _PREDICTED_AT_ONCE):
            some = examples[start : start + _PREDICTED_AT_ONCE]
            images = [example.images[0] for example in some]
            self._block.make(images)
            found = for_captions(self._classify(self._block.read(self._block.names(images))), self._classes)
            for example, of_captions in zip(some, found, strict=True):
                yield ScoreMatrix(example.id, of_captions[None])

    def _trained(self, shown: Labelled, path: Path) -> _Classify:
        spec, names, say = self._spec, self._block.names(shown.images), self._runtime.say
        if spec.head == "logistic":
            line = fit_logistic(_flat(self._block.read(names)), shown.labels, path, c=spec.c, name=_NAME, say=say)
            return lambda features: line.scores(_flat(features))
        network = small_resnet(shown.n_classes, self._block.read(names[:1]).shape[1], spec.seed)
        everything = np.arange(len(names))
        recipe = Recipe(n_epochs=spec.epochs, learning_rate=3e-3, seed=spec.seed)
        inputs = _Maps(self._block, names)
        job = Job(_NAME, inputs, shown.labels, everything, everything[:0], recipe, path, self.device, say)
        network = fit(network, job)
        return lambda maps: _outputs(network, maps, self.device)


def _flat(features: Floats) -> Floats:
    """[n, ...] -> [n, d] float64."""
    return features.reshape(len(features), -1).astype(np.float64)


@torch.inference_mode()
def _outputs(network: torch.nn.Module, maps: Floats, device: torch.device) -> Floats:
    with one_thread():
        return network(torch.from_numpy(maps).to(device)).double().cpu().numpy()
