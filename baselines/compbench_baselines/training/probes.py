"""Operations and time of one input, counted and timed on a network that is here."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from compbench.core.models import Preparation
from compbench_baselines.training.fit import one_thread

__all__ = ["Probe", "of_passes", "with_training"]

_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class Probe:
    """The cost of one input."""

    flops: float
    seconds: float


def of_passes(run: Callable[[int], object], at_once: int) -> Probe:
    """The cost of one input of `run`, which takes a number of inputs and comes back when they are done."""
    with one_thread():
        # attention in its written-out form, since not every fused kernel is counted
        with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
            run(1)
        began = time.perf_counter()
        run(1)
        seconds = time.perf_counter() - began
        if seconds > _SECONDS:  # a slow machine is told by one input
            return Probe(float(counter.get_total_flops()), seconds)
        run(at_once)
        n_done, began = 0, time.perf_counter()
        while not n_done or time.perf_counter() - began < _SECONDS:
            run(at_once)
            n_done += at_once
        return Probe(float(counter.get_total_flops()), (time.perf_counter() - began) / n_done)


def with_training(
    lacking: Preparation,
    network: nn.Module,
    shape: tuple[int, ...],
    device: torch.device,
    flops: float = 0.0,
    seconds: float = 0.0,
) -> Preparation:
    """The work left with its operations, time and bytes: for pictures and features, and for the training.

    `network` is untrained and takes inputs of `shape`.
    """
    if lacking.trained:
        n_bytes = sum(tensor.numel() * tensor.element_size() for tensor in network.state_dict().values())
        probe = _of_training(network.to(device).train(), shape, device)
        flops, seconds = flops + lacking.trained * probe.flops, seconds + lacking.trained * probe.seconds
        lacking = replace(lacking, bytes=None if lacking.bytes is None else lacking.bytes + n_bytes)
    return replace(lacking, flops=flops, seconds=seconds)


def _of_training(network: nn.Module, shape: tuple[int, ...], device: torch.device) -> Probe:
    """Forwards and backwards."""

    def step(n_pairs: int) -> None:  # normalisation over a batch needs two inputs
        outputs: Tensor = network(torch.zeros((2 * n_pairs, *shape), device=device))
        F.cross_entropy(outputs, torch.zeros(len(outputs), dtype=torch.long, device=device)).backward()
        float(outputs.detach().sum())  # waits for the device

    pair = of_passes(step, 16)
    return Probe(pair.flops / 2, pair.seconds / 2)
