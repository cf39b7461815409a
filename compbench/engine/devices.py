"""Where to compute."""

from __future__ import annotations

import torch

from compbench.types import UsageError

__all__ = ["pick_device"]


def pick_device(name: str = "auto") -> torch.device:
    """The device by name; `auto` is the first of cuda, mps and cpu that works here. UsageError when it is not there."""
    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        return torch.device(next(kind for kind, is_there in available.items() if is_there))
    try:
        device = torch.device(name)
    except RuntimeError:
        raise UsageError(f"no device named {name!r}; expected auto, cpu, cuda, cuda:1 or mps") from None
    if not available.get(device.type, False):
        raise UsageError(f"device {name!r} is not usable with this installation of torch; `compbench doctor` says more")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UsageError(f"no device {name!r}: this machine has {torch.cuda.device_count()} CUDA device(s)")
    return device
