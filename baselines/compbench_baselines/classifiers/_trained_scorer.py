"""Trains the small classifiers where their weights are not kept already, and scores with them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn

from compbench.core.aliases import Floats, Ints, Json
from compbench.core.examples import Classes, Example, Image, Task
from compbench.core.measurements import Measurement, ScoreMatrix
from compbench.core.models import Preparation, Runtime
from compbench.diffusion.devices import pick_device
from compbench_baselines.classifiers.scorer import logits
from compbench_baselines.training import cache
from compbench_baselines.training.fit import Job, Recipe, fit, one_thread
from compbench_baselines.training.images import OVERLOOKED, batches, to_pixels
from compbench_baselines.training.labels import classes_of, for_captions, training_images
from compbench_baselines.training.logistic import Line, fit_logistic, line_bytes
from compbench_baselines.training.networks import SMALL_RESNET, new_network
from compbench_baselines.training.probes import with_training

__all__ = ["InMemory", "LogisticScorer", "ResNetScorer"]

_BATCH = 256


class Learning(Protocol):
    """A spec's settings for training."""

    @property
    def size_px(self) -> int: ...
    @property
    def train_per_class(self) -> int | None: ...
    def trained_as(self, pictures: str) -> Mapping[str, Json]: ...


class OfNetwork(Learning, Protocol):
    @property
    def epochs(self) -> int: ...
    @property
    def seed(self) -> int: ...


class OfRegression(Learning, Protocol):
    @property
    def c(self) -> float: ...


@dataclass(frozen=True, slots=True)
class InMemory:
    """Inputs that fit in memory, [n, ...]."""

    values: Tensor

    def batches(self, chunks: Iterable[Ints], epoch: int | None) -> Iterator[Tensor]:
        return (self.values[chunk] for chunk in chunks)


class ResNetScorer:
    """A small ResNet of the task's own training split."""

    uses_network = False

    def __init__(self, spec: OfNetwork, runtime: Runtime) -> None:
        self._spec, self._runtime = spec, runtime
        self.device = pick_device(runtime.device)
        self._network: nn.Module | None = None
        self._classes: Classes | None = None
        self._lesson = ""  # the digest of what it learned from

    def prepare(self, task: Task) -> None:
        """Train, or load what was trained on the same pictures before."""
        spec, name = self._spec, "small-resnet"
        self._classes = classes_of(task, name)
        shown = training_images(task, name, self._runtime.say, per_class=spec.train_per_class)
        self._lesson = shown.digest
        recipe = Recipe(n_epochs=spec.epochs, seed=spec.seed)
        path = cache.folder("trained", spec.trained_as(shown.digest))
        with cache.locked(path, self._runtime.say):
            pixels = torch.from_numpy(_pixels(shown.images, spec.size_px))
            everything = np.arange(len(shown.labels))
            job = Job(
                name,
                InMemory(pixels),
                shown.labels,
                everything,
                everything[:0],
                recipe,
                path,
                self.device,
                self._runtime.say,
            )
            self._network = fit(new_network(SMALL_RESNET, shown.n_classes, spec.seed), job)

    def priced(self, task: Task, lacking: Preparation) -> Preparation:
        """With the operations, the time and the bytes of the training."""
        spec, n_classes = self._spec, len(classes_of(task, "small-resnet").names)
        network = new_network(SMALL_RESNET, n_classes, spec.seed)
        return with_training(lacking, network, (3, spec.size_px, spec.size_px), self.device)

    def learned_from(self) -> str:
        """The digest of the training pictures and their classes."""
        return self._lesson

    def overlooked(self) -> frozenset[str]:
        """Images become RGB as they lie in the file."""
        return OVERLOOKED

    def score(self, examples: Sequence[Example], known: Mapping[str, Measurement]) -> Iterator[ScoreMatrix]:
        assert self._network is not None  # the harness prepares first
        assert self._classes is not None
        images = [example.images[0] for example in examples]
        found = logits(
            self._network, images, to_pixels(self._spec.size_px), self.device, self._runtime, is_trained_here=True
        )
        for example, of_classes in zip(examples, found, strict=True):
            yield ScoreMatrix(example.id, for_captions(of_classes[None], self._classes))


class LogisticScorer:
    """A logistic regression of the task's own training split."""

    uses_network = False

    def __init__(self, spec: OfRegression, runtime: Runtime) -> None:
        self._spec, self._runtime = spec, runtime
        self.device = "cpu"
        self._line: Line | None = None
        self._classes: Classes | None = None
        self._lesson = ""  # the digest of what it learned from

    def prepare(self, task: Task) -> None:
        """Fit, or load what was fitted to the same pictures before."""
        spec, name = self._spec, "logistic-regression"
        self._classes = classes_of(task, name)
        shown = training_images(task, name, self._runtime.say, per_class=spec.train_per_class)
        self._lesson = shown.digest
        path = cache.folder("trained", spec.trained_as(shown.digest))
        with cache.locked(path, self._runtime.say):
            self._line = fit_logistic(
                self._inputs(shown.images), shown.labels, path, c=spec.c, name=name, say=self._runtime.say
            )

    def priced(self, task: Task, lacking: Preparation) -> Preparation:
        """With the bytes of the fit; how long it takes to converge is not known before."""
        n_classes = len(classes_of(task, "logistic-regression").names)
        return replace(lacking, bytes=line_bytes(n_classes, 3 * self._spec.size_px**2) if lacking.trained else 0)

    def learned_from(self) -> str:
        """The digest of the training pictures and their classes."""
        return self._lesson

    def overlooked(self) -> frozenset[str]:
        """Images become RGB as they lie in the file."""
        return OVERLOOKED

    def score(self, examples: Sequence[Example], known: Mapping[str, Measurement]) -> Iterator[ScoreMatrix]:
        assert self._line is not None  # the harness prepares first
        assert self._classes is not None
        for start in range(0, len(examples), _BATCH):
            some = examples[start : start + _BATCH]
            with one_thread():
                found = self._line.scores(self._inputs([example.images[0] for example in some]))
            found = for_captions(found, self._classes)
            for example, of_captions in zip(some, found, strict=True):
                yield ScoreMatrix(example.id, of_captions[None])

    def _inputs(self, images: Sequence[Image]) -> Floats:
        """[n, d] float64: all pixels of all channels."""
        return _pixels(images, self._spec.size_px).reshape(len(images), -1).astype(np.float64)


def _pixels(images: Sequence[Image], size_px: int) -> Floats:
    """[n, 3, size_px, size_px] float32."""
    chunks = [np.arange(start, min(start + _BATCH, len(images))) for start in range(0, len(images), _BATCH)]
    return torch.cat(list(batches(images, chunks, to_pixels(size_px)))).numpy()
