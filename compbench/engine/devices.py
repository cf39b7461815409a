"""Where to compute, and what to do when its memory runs out."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager

import torch

from compbench.types import RunError, UsageError

__all__ = ["full_float32", "halved", "is_out_of_memory", "lost_device", "pick_device", "usable_dtype"]


_FAILURES = ("CUDA error", "HIP error", "device lost")


def pick_device(name: str = "auto") -> torch.device:
    """The device by name; `auto` is the first of cuda, mps and cpu that works here. UsageError when it is not there.

    `auto:2` is `auto` for the third process of a machine: where there are CUDA devices it takes the third, and so
    around when there are fewer devices than processes. A CUDA device becomes torch's current one: what is not told
    otherwise, streams and events among it, belongs to that.
    """
    device = _named(name)
    if device.type == "cuda" and device.index is not None:  # pyright: ignore[reportUnnecessaryComparison]
        torch.cuda.set_device(device)
    return device


def _named(name: str) -> torch.device:
    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        return torch.device(next(kind for kind, is_there in available.items() if is_there))
    if name.startswith("auto:") and name[5:].isdecimal():
        n_devices = torch.cuda.device_count() if available["cuda"] else 0
        return torch.device("cuda", int(name[5:]) % n_devices) if n_devices else _named("auto")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise UsageError(f"no device named {name!r}; expected auto, cpu, cuda, cuda:1 or mps") from None
    if not available.get(device.type, False):
        raise UsageError(f"device {name!r} is not usable with this installation of torch; `compbench doctor` says more")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UsageError(f"no device {name!r}: this machine has {torch.cuda.device_count()} CUDA device(s)")
    return device


def usable_dtype(name: str, device: torch.device, say: Callable[[str], None]) -> str:
    """The dtype asked for; float32, and said, on a CUDA device without bfloat16 arithmetic of its own."""
    if name != "bfloat16" or device.type != "cuda" or torch.cuda.is_bf16_supported(including_emulation=False):
        return name
    say(
        f"{torch.cuda.get_device_name(device)} has no bfloat16: the network runs in float32, which is slower and "
        "differs from other devices by rounding alone (--dtype float16 is the fast choice here, as a run of its own)"
    )
    return "float32"


def is_out_of_memory(error: RuntimeError) -> bool:
    """Whether a batch did not fit; the allocators of CPU and MPS have no class of their own."""
    words = ("can't allocate memory", "out of memory")
    return isinstance(error, torch.OutOfMemoryError) or any(each in str(error) for each in words)


def halved(batch_size: int, device: torch.device, say: Callable[[str], None]) -> int:
    """Half the batch size that did not fit, said in one line; RunError when it was 1."""
    if batch_size == 1:
        raise RunError(
            f"out of memory on {device} at batch size 1: stop other programs there, use a smaller dtype "
            "(--dtype bfloat16), another --device or a smaller model; what was measured is stored"
        )
    say(f"out of memory: batch size {batch_size} → {batch_size // 2}")
    if device.type == "cuda":
        torch.cuda.empty_cache()
    return batch_size // 2


@contextmanager
def lost_device(device: torch.device) -> Generator[None]:
    """RunError, which says how to go on, in place of the error that a driver gives when a device fails in mid-run."""
    try:
        yield
    except RuntimeError as error:
        if is_out_of_memory(error) or not any(
            word in str(error) for word in ("CUDA error", "HIP error", "device lost")
        ):
            raise
        reason = str(error).partition("\n")[0]
        raise RunError(
            f"the device {device} failed ({reason}); what was measured is stored: give the same command again, on "
            "another --device if it fails anew"
        ) from error


@contextmanager
def full_float32() -> Generator[None]:
    """float32 means float32: cuDNN would round convolutions to TF32, whose errors change decisions."""
    with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=False, allow_tf32=False):
        yield
