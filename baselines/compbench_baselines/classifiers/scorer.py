"""Scores by the logits of a network that knows classes: one forward pass a picture, whatever the number of captions."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from compbench.core.aliases import Floats, Ints
from compbench.core.examples import Example, Image, Task
from compbench.core.measurements import Measurement, ScoreMatrix
from compbench.core.models import Runtime
from compbench.diffusion.devices import fitting, pick_device
from compbench_baselines.training.fit import one_thread
from compbench_baselines.training.images import OVERLOOKED, Transform, batches

__all__ = ["ClassifierScorer", "logits"]


class ClassifierScorer:
    """A network for pictures and, for each caption of the task, which of its outputs is the score."""

    def __init__(
        self, network: nn.Module, transform: Transform, columns: Callable[[Task], Ints], runtime: Runtime
    ) -> None:
        self.device = pick_device(runtime.device)
        self._network, self._transform = network.to(self.device).eval().requires_grad_(False), transform
        self._columns_of, self._columns = columns, np.zeros(0, np.int64)
        self._runtime = runtime

    def prepare(self, task: Task) -> None:
        self._columns = self._columns_of(task)

    def overlooked(self) -> frozenset[str]:
        """Images become RGB as they lie in the file."""
        return OVERLOOKED

    def score(self, examples: Sequence[Example], known: Mapping[str, Measurement]) -> Iterator[ScoreMatrix]:
        found = logits(
            self._network, [example.images[0] for example in examples], self._transform, self.device, self._runtime
        )
        for example, of_outputs in zip(examples, found, strict=True):
            yield ScoreMatrix(example.id, of_outputs[None, self._columns])


def logits(
    network: nn.Module,
    images: Sequence[Image],
    transform: Transform,
    device: torch.device,
    runtime: Runtime,
    *,
    is_trained_here: bool = False,
) -> Iterator[Floats]:
    """[K] float64 for each picture, in float32 arithmetic; batches are halved when memory runs out.

    A network that was trained here computes on one thread, as it was trained: its scores are the same on any machine.
    """
    batch_size = runtime.batch_size or (32 if device.type == "cpu" else 256)
    chunks = [np.arange(start, min(start + batch_size, len(images))) for start in range(0, len(images), batch_size)]
    for pixels in batches(images, chunks, transform, runtime.say):
        start = 0
        while start < len(pixels):
            found, batch_size = fitting(
                partial(_outputs, network, pixels[start:], device, is_trained_here), batch_size, device, runtime.say
            )
            start += len(found)
            yield from found.cpu().double().numpy()


@torch.inference_mode()
def _outputs(
    network: nn.Module, pixels: Tensor, device: torch.device, is_trained_here: bool, batch_size: int
) -> Tensor:
    """[b, K] float32 of the first pictures."""
    with one_thread() if is_trained_here else nullcontext():
        return network(pixels[:batch_size].to(device)).float()
