"""Has the pictures made, trains a network on them, and scores real pictures with it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor

from compbench.core.aliases import Ints
from compbench.core.examples import Classes, Image, Task
from compbench.core.models import Preparation, Runtime
from compbench.diffusion.parts import Parts
from compbench_baselines.classifiers.scorer import logits
from compbench_baselines.generative._generator import Generator
from compbench_baselines.generative._wanted import wanted_pictures
from compbench_baselines.training import cache
from compbench_baselines.training.fit import Job, Recipe, fit
from compbench_baselines.training.images import Transform, batches, cropped, to_pixels
from compbench_baselines.training.networks import SMALL_RESNET, new_network
from compbench_baselines.training.probes import of_passes, with_training
from compbench_baselines.training.scorer import Learned, TrainedScorer

if TYPE_CHECKING:
    from compbench_baselines.generative.synthetic import SyntheticSD

__all__ = ["synthetic_scorer"]

_NAME = "synthetic-sd"
_PROBED_ROWS = 16


def synthetic_scorer(spec: SyntheticSD, parts: Parts, weights: str, runtime: Runtime) -> TrainedScorer:
    """A network that has seen nothing but generated pictures; `spec` is settled."""
    about, say, px = spec.pictures_as(weights), runtime.say, spec.size_px or 0
    generator = Generator(parts, spec.generated(), cache.place("synthetic", about), runtime)
    device = generator.device
    transform: Transform = (cropped if spec.augment == "true" else to_pixels)(px)

    def learn(task: Task, classes: Classes) -> Learned:
        captions = task.examples[0].captions
        wanted, labels, is_held_out = wanted_pictures(captions, classes, spec.n_per_class or 0)
        path = cache.folder("trained", spec.trained_as(weights, captions, classes))
        generator.folder = cache.folder("synthetic", about)
        with cache.locked(path, say), cache.locked(generator.folder, say):
            pictures = _Files(generator.make(wanted), transform, spec.seed, say)
            job = Job(_NAME, pictures, labels, _recipe(spec), path, device, say, is_held_out)
            network = fit(new_network(spec.architecture, len(classes.names), spec.seed), job)
        return Learned(lambda images: logits(network, images, transform, device, runtime, is_trained_here=True))

    def cost(n_classes: int, lacking: Preparation) -> Preparation:
        """The cost of the network's steps, the decoder and the training."""
        flops = seconds = 0.0
        if lacking.evaluations:
            step = of_passes(generator.evaluate, _PROBED_ROWS)
            decoded = of_passes(generator.decode, _PROBED_ROWS)
            flops += lacking.evaluations * step.flops + lacking.pictures * decoded.flops
            seconds += lacking.evaluations * step.seconds + lacking.pictures * decoded.seconds
        network = new_network(spec.architecture, n_classes, spec.seed)
        return with_training(lacking, network, (3, px, px), device, flops, seconds)

    return TrainedScorer(_NAME, device, learn, cost, uses_network=True)


def _recipe(spec: SyntheticSD) -> Recipe:
    is_small = spec.architecture == SMALL_RESNET
    return Recipe(
        n_epochs=spec.epochs or 0,
        batch_size=32 if is_small else 256,
        learning_rate=1e-2 if is_small else 1e-3,
        seed=spec.seed,
    )


@dataclass(frozen=True, slots=True)
class _Files:
    """Pictures on disk, augmented again in each epoch where the transform does so."""

    files: Sequence[Path]
    transform: Transform
    seed: int
    say: Callable[[str], None]

    def batches(self, chunks: Iterable[Ints], epoch: int | None) -> Iterator[Tensor]:
        images = [Image(file.name, file) for file in self.files]
        say = self.say if epoch == 0 else _nothing  # every epoch waits alike
        return batches(images, chunks, self.transform, say, None if epoch is None else (self.seed, epoch))


def _nothing(message: str) -> None: ...
