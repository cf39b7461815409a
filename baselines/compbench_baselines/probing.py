"""The cost of one input of a network, counted and timed before a run."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import NamedTuple

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from compbench.core.errors import UnreadableImage
from compbench.core.examples import Example, Image
from compbench.diffusion.devices import fitting

__all__ = ["Probe", "first_readable", "probed"]


class Probe(NamedTuple):
    """The cost of one input."""

    flops: float
    seconds: float
    batch_size: int  # that fitted


def probed(run: Callable[[int], object], batch_size: int, device: torch.device, say: Callable[[str], None]) -> Probe:
    """`run` puts so many inputs through the network: one is counted, and a batch timed after one to warm up."""
    # attention in its written-out form, since not every fused kernel is counted
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        run(1)
    seconds = 0.0
    for _ in range(2):
        began = time.perf_counter()
        _, batch_size = fitting(run, batch_size, device, say)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        seconds = (time.perf_counter() - began) / batch_size
    return Probe(float(counter.get_total_flops()), seconds, batch_size)


def first_readable(examples: Sequence[Example]) -> tuple[Example, Image]:
    """The first image that can be decoded, else the first: one bad image must not hide a price."""
    for example in examples:
        for image in example.images:
            with suppress(UnreadableImage):
                image.decode()
                return example, image
    return examples[0], examples[0].images[0]
