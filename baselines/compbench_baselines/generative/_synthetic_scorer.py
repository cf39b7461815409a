"""Has the pictures made, trains a network on them, and scores real pictures with it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from torch import Tensor, nn

from compbench.core.aliases import Ints, Json
from compbench.core.examples import Classes, Example, Image, Task
from compbench.core.measurements import Measurement, ScoreMatrix
from compbench.core.models import Preparation, Runtime
from compbench.diffusion.devices import pick_device
from compbench.diffusion.parts import Parts
from compbench_baselines.classifiers.scorer import logits
from compbench_baselines.generative._generator import Generator
from compbench_baselines.generative._wanted import wanted_pictures
from compbench_baselines.training import cache
from compbench_baselines.training.fit import Job, Recipe, fit
from compbench_baselines.training.images import OVERLOOKED, Transform, batches, cropped, to_pixels
from compbench_baselines.training.labels import classes_of, for_captions
from compbench_baselines.training.networks import SMALL_RESNET, new_network
from compbench_baselines.training.probes import of_passes, with_training

__all__ = ["SyntheticScorer"]

_NAME = "synthetic-sd"
_PROBED_ROWS = 16


class OfPictures(Protocol):
    """A settled spec's settings for the pictures and for the classifier that learns from them."""

    @property
    def seed(self) -> int: ...
    @property
    def n_per_class(self) -> int | None: ...
    @property
    def architecture(self) -> str: ...
    @property
    def size_px(self) -> int | None: ...
    @property
    def augment(self) -> str: ...
    @property
    def epochs(self) -> int | None: ...
    def generated(self) -> Mapping[str, Json]: ...
    def pictures_as(self, weights: str) -> Mapping[str, Json]: ...
    def trained_as(self, weights: str, captions: Sequence[str], classes: Classes) -> Mapping[str, Json]: ...


class SyntheticScorer:
    """A network that has seen nothing but generated pictures."""

    uses_network = True

    def __init__(self, spec: OfPictures, parts: Parts, weights: str, runtime: Runtime) -> None:
        self._spec, self._runtime, self._weights = spec, runtime, weights
        self._pictures_as = spec.pictures_as(weights)
        self.device = pick_device(runtime.device)
        self._generator = Generator(parts, spec.generated(), cache.place("synthetic", self._pictures_as), runtime)
        self._transform: Transform = (cropped if spec.augment == "true" else to_pixels)(spec.size_px or 0)
        self._network: nn.Module | None = None
        self._classes: Classes | None = None

    def prepare(self, task: Task) -> None:
        """Make the pictures and train on them, as far as that was not done before."""
        spec = self._spec
        self._classes = classes = classes_of(task, _NAME)
        captions = task.examples[0].captions
        wanted, labels, is_held_out = wanted_pictures(captions, classes, spec.n_per_class or 0)
        path = cache.folder("trained", spec.trained_as(self._weights, captions, classes))
        self._generator.folder = cache.folder("synthetic", self._pictures_as)
        with cache.locked(path, self._runtime.say), cache.locked(self._generator.folder, self._runtime.say):
            files = self._generator.make(wanted)
            job = Job(
                _NAME,
                _Files(files, self._transform, spec.seed),
                labels,
                np.flatnonzero(~is_held_out),
                np.flatnonzero(is_held_out),
                _recipe(spec),
                path,
                self.device,
                self._runtime.say,
            )
            self._network = fit(new_network(spec.architecture, len(classes.names), spec.seed), job)

    def priced(self, task: Task, lacking: Preparation) -> Preparation:
        """With the operations and the time of the network's steps, the decoder and the training."""
        spec, n_classes = self._spec, len(classes_of(task, _NAME).names)
        flops = seconds = 0.0
        if lacking.evaluations:
            step = of_passes(self._generator.evaluate, _PROBED_ROWS)
            decoded = of_passes(self._generator.decode, _PROBED_ROWS)
            flops += lacking.evaluations * step.flops + lacking.pictures * decoded.flops
            seconds += lacking.evaluations * step.seconds + lacking.pictures * decoded.seconds
        network = new_network(spec.architecture, n_classes, spec.seed)
        return with_training(lacking, network, (3, spec.size_px or 0, spec.size_px or 0), self.device, flops, seconds)

    def overlooked(self) -> frozenset[str]:
        """Images become RGB as they lie in the file."""
        return OVERLOOKED

    def score(self, examples: Sequence[Example], known: Mapping[str, Measurement]) -> Iterator[ScoreMatrix]:
        assert self._network is not None  # the harness prepares first
        assert self._classes is not None
        images = [example.images[0] for example in examples]
        found = logits(self._network, images, self._transform, self.device, self._runtime, is_trained_here=True)
        for example, of_classes in zip(examples, found, strict=True):
            yield ScoreMatrix(example.id, for_captions(of_classes[None], self._classes))


def _recipe(spec: OfPictures) -> Recipe:
    is_small = spec.architecture == SMALL_RESNET
    return Recipe(
        n_epochs=spec.epochs or 0,
        batch_size=32 if is_small else 256,
        learning_rate=1e-2 if is_small else 1e-3,
        seed=spec.seed,
    )


@dataclass(frozen=True, slots=True)
class _Files:
    """Pictures on disk, augmented anew in each epoch where the transform does so."""

    files: Sequence[Path]
    transform: Transform
    seed: int

    def batches(self, chunks: Iterable[Ints], epoch: int | None) -> Iterator[Tensor]:
        images = [Image(file.name, file) for file in self.files]
        return batches(images, chunks, self.transform, None if epoch is None else (self.seed, epoch))
