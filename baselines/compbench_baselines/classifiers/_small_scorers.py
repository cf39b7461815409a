"""The small classifiers' scorers: a ResNet of pixels, and a logistic regression of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from compbench.core.aliases import Floats, Ints
from compbench.core.examples import Image
from compbench.core.models import Preparation, Runtime
from compbench.diffusion.devices import pick_device
from compbench_baselines.classifiers.scorer import logits
from compbench_baselines.training.fit import Job, Recipe, fit, one_thread
from compbench_baselines.training.images import batches, to_pixels
from compbench_baselines.training.labels import Labelled
from compbench_baselines.training.logistic import fit_logistic, line_bytes
from compbench_baselines.training.networks import SMALL_RESNET, new_network
from compbench_baselines.training.probes import with_training
from compbench_baselines.training.scorer import Classify, TrainedScorer, of_training_split

if TYPE_CHECKING:
    from compbench_baselines.classifiers.trained import LogisticRegression, SmallResNet

__all__ = ["logistic_scorer", "resnet_scorer"]

_BATCH = 256


@dataclass(frozen=True, slots=True)
class InMemory:
    """Inputs that fit in memory, [n, ...]."""

    values: Tensor

    def batches(self, chunks: Iterable[Ints], epoch: int | None) -> Iterator[Tensor]:
        return (self.values[chunk] for chunk in chunks)


def resnet_scorer(spec: SmallResNet, runtime: Runtime) -> TrainedScorer:
    """A small ResNet of the task's own training split."""
    name, device, px, say = "small-resnet", pick_device(runtime.device), spec.size_px, runtime.say

    def train(shown: Labelled, folder: Path) -> Classify:
        inputs = InMemory(torch.from_numpy(_pixels(shown.images, px, say)))
        job = Job(name, inputs, shown.labels, Recipe(n_epochs=spec.epochs, seed=spec.seed), folder, device, say)
        network = fit(new_network(SMALL_RESNET, shown.n_classes, spec.seed), job)
        return lambda images: logits(network, images, to_pixels(px), device, runtime, is_trained_here=True)

    def cost(n_classes: int, lacking: Preparation) -> Preparation:
        return with_training(lacking, new_network(SMALL_RESNET, n_classes, spec.seed), (3, px, px), device)

    learn = of_training_split(name, spec.train_per_class, spec.trained_as, train, say)
    return TrainedScorer(name, device, learn, cost)


def logistic_scorer(spec: LogisticRegression, runtime: Runtime) -> TrainedScorer:
    """A logistic regression of the task's own training split; how long it takes to converge is not known before."""
    name = "logistic-regression"

    def inputs(pixels: Floats) -> Floats:
        """[n, d] float64: all pixels of all channels."""
        return pixels.reshape(len(pixels), -1).astype(np.float64)

    def train(shown: Labelled, folder: Path) -> Classify:
        shown_inputs = inputs(_pixels(shown.images, spec.size_px, runtime.say))
        line = fit_logistic(shown_inputs, shown.labels, folder, c=spec.c, name=name, say=runtime.say)

        def classify(images: Sequence[Image]) -> Iterator[Floats]:
            for pixels in batches(images, _chunks(images), to_pixels(spec.size_px), runtime.say):
                with one_thread():
                    found = line.scores(inputs(pixels.numpy()))
                yield from found

        return classify

    def cost(n_classes: int, lacking: Preparation) -> Preparation:
        return replace(lacking, bytes=line_bytes(n_classes, 3 * spec.size_px**2) if lacking.trained else 0)

    learn = of_training_split(name, spec.train_per_class, spec.trained_as, train, runtime.say)
    return TrainedScorer(name, "cpu", learn, cost)


def _pixels(images: Sequence[Image], size_px: int, say: Callable[[str], None]) -> Floats:
    """[n, 3, size_px, size_px] float32."""
    return torch.cat(list(batches(images, _chunks(images), to_pixels(size_px), say))).numpy()


def _chunks(images: Sequence[Image]) -> list[Ints]:
    return [np.arange(start, min(start + _BATCH, len(images))) for start in range(0, len(images), _BATCH)]
