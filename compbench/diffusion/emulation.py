"""Half precision that a device only emulates: replaced by float32 and said, or refused, before a run has its key.

Emulated arithmetic is up to a thousand times slower than float32. A run's identity holds the dtype that was computed
in, so a run that falls back to float32 is another run. Torch is imported only where the device has to be looked at.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from compbench.core.errors import UsageError
from compbench.core.models import ResolvedModel

if TYPE_CHECKING:
    import torch

__all__ = ["falls_back", "gflops", "kind_of", "settled", "why_slow"]

# without any of these, Linux has no GPU that torch could use: NVIDIA, Tegra, AMD, and Windows' own through WSL
_GPU_NODES = ("nvidia*", "nvhost*", "nvgpu*", "nvmap", "kfd", "dxg")
_LEAST_SHARE = 0.5  # of float32's speed: native half precision is as fast or faster, emulated far slower
_PROBE_SECONDS = 0.02


def settled(label: str, model: ResolvedModel, device: str, say: Callable[[str], None]) -> ResolvedModel:
    """`model` as it can be computed on the device called `device`.

    A dtype that nobody asked for becomes float32 on a CPU, and on a GPU that emulates it. One that was asked for is
    refused where it is emulated, unless the device was named too: UsageError.
    """
    precision = model.precision
    if precision is None or precision.dtype == "float32":
        return model
    is_replaced = falls_back(
        label,
        precision.dtype,
        device,
        say,
        is_asked_for=precision.is_asked_for,
        has_float32=precision.in_float32 is not None,
    )
    return precision.in_float32() if is_replaced and precision.in_float32 is not None else model


def falls_back(
    label: str, dtype: str, device: str, say: Callable[[str], None], *, is_asked_for: bool, has_float32: bool
) -> bool:
    """Whether float32 takes the place of `dtype` on the device; UsageError where it would have to, and must not."""
    if is_asked_for and not device.startswith("auto"):
        if reason := why_slow(dtype, device):
            say(f"{label}: {reason}; it runs in {dtype} anyway, since dtype and device were both named")
        return False
    if not is_asked_for and has_float32 and kind_of(device) == "cpu":
        say(
            f"{label}: on a CPU the network runs in float32 instead of {dtype}; that is a separate run (dtype: "
            f"float32). To run {dtype} here, name both: --dtype {dtype} --device cpu (`compbench doctor` says how fast "
            "it is)"
        )
        return True
    reason = why_slow(dtype, device)
    if reason is None:
        return False
    if not is_asked_for and has_float32:
        say(
            f"{label}: {reason}, so the network runs in float32 instead of {dtype}, which is slower. That is a "
            f"separate run (dtype: float32)"
        )
        return True
    raise UsageError(
        f"{label} cannot run in {dtype}: {reason}. Use a device that supports {dtype}"
        + (", or --dtype float32" if has_float32 else ", or protocol=paper, which allows any dtype")
        + f"; to run it here anyway, name both: -o dtype={dtype} --device {kind_of(device)}"
    )


def why_slow(dtype: str, device: str) -> str | None:
    """The reason why `dtype` is slow on a device, in words; None where the device computes it itself."""
    kind = kind_of(device)
    if dtype == "float32":
        return None
    if kind == "cuda":
        return _why_slow_on_cuda(dtype, device)
    own, reference = gflops(dtype, kind), gflops("float32", kind)
    if own >= _LEAST_SHARE * reference:
        return None
    return f"this {_WORDS.get(kind, kind)} emulates {dtype} ({own:.2g} GFLOP/s, float32: {reference:.3g})"


def kind_of(device: str) -> str:
    """cpu, cuda or mps, for a device's name or auto."""
    if not device.startswith("auto"):
        return device.partition(":")[0]
    if "torch" not in sys.modules and sys.platform == "linux" and not any(_gpu_nodes()):
        return "cpu"
    import torch

    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


@cache
def gflops(dtype: str, kind: str) -> float:
    """10^9 operations a second of a matrix product and a convolution, whichever is slower; measured once a process."""
    import torch

    a = torch.ones(256, 256, dtype=getattr(torch, dtype), device=kind)
    pixels = torch.ones(1, 64, 32, 32, dtype=a.dtype, device=kind)
    kernel = torch.ones(64, 64, 3, 3, dtype=a.dtype, device=kind)
    product = 2 * 256**3 / _seconds(lambda: a @ a)
    convolution = 2 * 64 * 64 * 9 * 32 * 32 / _seconds(lambda: torch.conv2d(pixels, kernel, padding=1))
    return min(product, convolution) / 1e9


_WORDS = {"cpu": "CPU", "mps": "GPU"}


def _gpu_nodes() -> list[Path]:
    return [node for name in _GPU_NODES for node in Path("/dev").glob(name)]


def _why_slow_on_cuda(dtype: str, device: str) -> str | None:
    import torch

    if dtype != "bfloat16" or not torch.cuda.is_available():  # float16 is native wherever torch runs
        return None
    number = int(device.partition(":")[2] or 0) % torch.cuda.device_count()
    with torch.cuda.device(number):
        if torch.cuda.is_bf16_supported(including_emulation=False):
            return None
        return f"{torch.cuda.get_device_name(number)} emulates bfloat16 (--dtype float16 is fast there)"


def _seconds(compute: Callable[[], torch.Tensor]) -> float:
    """The least time that a call takes; the first loads kernels, and is taken where emulation makes it long."""
    import torch

    best, began = float("inf"), time.perf_counter()
    with torch.inference_mode():
        while True:
            start = time.perf_counter()
            compute().flatten()[0].item()  # waits for the device
            best = min(best, time.perf_counter() - start)
            if time.perf_counter() - began > _PROBE_SECONDS:
                return best
