"""Counts what makes the host wait for the device."""

from __future__ import annotations

from typing import Any

import torch
from torch.overrides import TorchFunctionMode

__all__ = ["HostSyncs"]

# copies to the host, reads of single numbers, and functions whose result has a size that only the device knows
_WAITING = {
    torch.Tensor.cpu,
    torch.Tensor.tolist,
    torch.Tensor.item,
    torch.Tensor.__bool__,
    torch.Tensor.__float__,
    torch.Tensor.__int__,
    torch.Tensor.__index__,
    torch.Tensor.nonzero,
    torch.Tensor.masked_select,
    torch.nonzero,
    torch.masked_select,
    torch.unique,
}


class HostSyncs(TorchFunctionMode):
    """`with HostSyncs() as syncs: ...; syncs.n` counts calls that would wait for a CUDA device, made on any device."""

    def __init__(self) -> None:
        super().__init__()
        self.n = 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.n += func in _WAITING
        return func(*args, **(kwargs or {}))
