"""Trains a classifier of the features that the U-Net's middle block gives, and scores with it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from compbench.core.aliases import Floats, Ints
from compbench.core.examples import Image
from compbench.core.models import Preparation, Runtime
from compbench_baselines.generative._mid_block import MidBlock
from compbench_baselines.training.fit import Job, Recipe, fit, one_thread
from compbench_baselines.training.labels import Labelled
from compbench_baselines.training.logistic import fit_logistic, line_bytes
from compbench_baselines.training.networks import small_resnet
from compbench_baselines.training.probes import with_training
from compbench_baselines.training.scorer import Classify, TrainedScorer, of_training_split

if TYPE_CHECKING:
    from compbench_baselines.generative.features import SDFeatures

__all__ = ["features_scorer"]

_NAME = "sd-features"
_AT_ONCE = 256  # pictures
_Head = Callable[[Floats], Floats]  # features [n, ...] float32 -> scores of the classes [n, K] float64


def features_scorer(spec: SDFeatures, block: MidBlock, weights: str, runtime: Runtime) -> TrainedScorer:
    """A classifier of a picture's features, which are read of the training split as far as they are not kept."""

    def train(shown: Labelled, folder: Path) -> Classify:
        block.make(shown.images)
        return _classify(block, _trained(spec, block, shown, folder, runtime.say))

    def cost(n_classes: int, lacking: Preparation) -> Preparation:
        """The cost of encoder, half a network and training; a regression is not timed."""
        probe, shape = block.probe()
        flops, seconds = lacking.evaluations * probe.flops, lacking.evaluations * probe.seconds
        if spec.head == "logistic":
            n_bytes = line_bytes(n_classes, int(np.prod(shape))) if lacking.trained else 0
            known = None if lacking.bytes is None else lacking.bytes + n_bytes
            return replace(lacking, bytes=known, flops=flops, seconds=seconds)
        network = small_resnet(n_classes, shape[0], spec.seed)
        return with_training(lacking, network, shape, block.device, flops, seconds)

    learn = of_training_split(_NAME, spec.train_per_class, partial(spec.trained_as, weights), train, runtime.say)
    return TrainedScorer(_NAME, block.device, learn, cost, uses_network=True, overlooks=frozenset())


def _classify(block: MidBlock, head: _Head) -> Classify:
    def classify(images: Sequence[Image]) -> Iterator[Floats]:
        for start in range(0, len(images), _AT_ONCE):
            some = images[start : start + _AT_ONCE]
            block.make(some)
            yield from head(block.read(block.names(some)))

    return classify


def _trained(spec: SDFeatures, block: MidBlock, shown: Labelled, folder: Path, say: Callable[[str], None]) -> _Head:
    names = block.names(shown.images)
    if spec.head == "logistic":
        line = fit_logistic(_flat(block.read(names)), shown.labels, folder, c=spec.c, name=_NAME, say=say)
        return lambda features: line.scores(_flat(features))
    network = small_resnet(shown.n_classes, block.read(names[:1]).shape[1], spec.seed)
    recipe = Recipe(n_epochs=spec.epochs, learning_rate=3e-3, seed=spec.seed)
    network = fit(network, Job(_NAME, _Maps(block, names), shown.labels, recipe, folder, block.device, say))
    return lambda maps: _outputs(network, maps, block.device)


@dataclass(frozen=True, slots=True)
class _Maps:
    """Feature maps read from the disk batch by batch."""

    block: MidBlock
    names: Sequence[str]

    def batches(self, chunks: Iterable[Ints], epoch: int | None) -> Iterator[Tensor]:
        for chunk in chunks:
            wanted: list[int] = chunk.tolist()
            yield torch.from_numpy(self.block.read([self.names[index] for index in wanted]))


def _flat(features: Floats) -> Floats:
    """[n, ...] -> [n, d] float64."""
    return features.reshape(len(features), -1).astype(np.float64)


@torch.inference_mode()
def _outputs(network: torch.nn.Module, maps: Floats, device: torch.device) -> Floats:
    with one_thread():
        return network(torch.from_numpy(maps).to(device)).double().cpu().numpy()
