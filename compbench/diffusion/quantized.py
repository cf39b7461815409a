"""A network whose weights are held in fewer bits, and widened layer by layer as they are used."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch

from compbench.core.errors import DataError
from compbench.diffusion.parts import FP8, Parts
from compbench.diffusion.silence import quiet
from compbench.registry.tensors import named

__all__ = ["in_fp8"]


def in_fp8(parts: Parts, dtype: torch.dtype) -> Parts:
    """The network with the weights of its layers in float8 (e4m3), a byte each; `dtype` is what it computes in.

    Which layers stay as they are is said by its class in diffusers: norms, position tables, the first and the last.
    """
    with quiet():
        network: Any = parts.network.to(dtype)
    large = {name for name, weight in network.named_parameters() if weight.abs().max() > torch.finfo(FP8).max}
    network.enable_layerwise_casting(storage_dtype=FP8, compute_dtype=dtype)
    held = {name for name, weight in network.named_parameters() if weight.dtype == FP8}
    if too_large := sorted(large & held):
        raise DataError(
            f"model {parts.name!r} has weights beyond float8's 448 ({named(too_large)}); leave quantize=fp8 out"
        )
    return replace(parts, network=network)
