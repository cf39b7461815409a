"""Weights take no more memory than they need: read in the network's own dtype, with the same numbers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import tiny_pipelines
from compbench import registry
from compbench.diffusion.parts import Precision

BF16 = Precision(torch.bfloat16, encoders=torch.float32)


def loaded(folder: Path, dtype: str) -> Any:
    _, spec = registry.model(f"diffusion:{folder}")
    return spec._family.load(folder, "tiny", [].append, dtype=dtype)  # type: ignore[attr-defined]


def numbers(module: nn.Module) -> dict[str, torch.Tensor]:
    return {**dict(module.named_parameters()), **dict(module.named_buffers())}


@pytest.mark.parametrize("family", tiny_pipelines.MADE)
def test_weights_read_in_half_are_those_that_are_rounded_afterwards(
    folder_of: Callable[[str], Path], family: str
) -> None:
    whole, half = (loaded(folder_of(family), dtype) for dtype in ("float32", "bfloat16"))
    assert next(half.network.parameters()).dtype == torch.bfloat16
    assert next(half.vae.parameters()).dtype == torch.float32
    for parts in (whole, half):
        for text in parts.texts:
            is_half = text.is_large and parts is half
            assert next(text.encoder.parameters()).dtype == (torch.bfloat16 if is_half else torch.float32)
    whole, half = (parts.placed(torch.device("cpu"), BF16) for parts in (whole, half))
    for name, module in whole.trained.items():
        other = numbers(half.trained[name])
        for key, tensor in numbers(module).items():
            assert tensor.dtype == other[key].dtype, key
            assert torch.equal(tensor, other[key]), key


def test_float16_is_read_in_float32_whose_range_it_lacks(folder_of: Callable[[str], Path]) -> None:
    assert next(loaded(folder_of("sd3"), "float16").network.parameters()).dtype == torch.float32
