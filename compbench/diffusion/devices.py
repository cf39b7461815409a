"""Devices, and what to do when their memory runs out."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any, TypeVar

import torch

from compbench.core.errors import RunError, UsageError

__all__ = [
    "autotunes_on",
    "fitting",
    "full_float32",
    "has_tf32",
    "in_tf32",
    "is_cramped",
    "is_out_of_memory",
    "lost_device",
    "pick_device",
]

Made = TypeVar("Made")

_FAILURES = ("CUDA error", "HIP error", "device lost")
_FULL = (
    "out of memory",
    "can't allocate memory",  # the CPU's allocator
    "not enough memory",  # the same on Windows
    "ALLOC_FAILED",  # cuBLAS, cuDNN 8, cuSOLVER, cuFFT
    "ALLOCATION_FAILED",  # cuDNN 9
    "miopenStatusAllocFailed",
    "unable to find an engine to execute this computation",  # torch, where no algorithm of cuDNN had the memory it took
)
_ROOM_TO_COMPUTE = 2_000_000_000  # bytes
_FIRST_WITH_TF32 = (8, 0)  # compute capability
_MORE_ROOM = (
    "stop other programs there, use a smaller dtype (--dtype bfloat16), another --device or a smaller model; all "
    "measurements so far are stored"
)


def pick_device(name: str = "auto") -> torch.device:
    """The device by name; `auto` is the first of cuda, mps and cpu that works here. UsageError when it is not there.

    `auto:2` is `auto` for the third process of a machine: where there are CUDA devices it takes the third, and so
    around when there are fewer devices than processes. A CUDA device becomes torch's current one: what is not told
    otherwise, streams and events among it, belongs to that.
    """
    device = _named(name)
    if device.type == "cuda":
        device = _indexed(device, torch.cuda.current_device)
        torch.cuda.set_device(device)
    return device


def _indexed(device: torch.device, current: Callable[[], int]) -> torch.device:
    """The device with its number: torch.device("cuda") is unequal to cuda:0, where a module on it says it is.

    >>> _indexed(torch.device("cuda"), lambda: 1), _indexed(torch.device("cuda:0"), lambda: 1)
    (device(type='cuda', index=1), device(type='cuda', index=0))
    """
    is_numbered = device.index is not None  # pyright: ignore[reportUnnecessaryComparison]
    return device if is_numbered or device.type == "cpu" else torch.device(device.type, current())


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
        raise UsageError(f"device {name!r} is not usable with this installation of torch; see `compbench doctor`")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UsageError(f"no device {name!r}: this machine has {torch.cuda.device_count()} CUDA device(s)")
    return device


def is_cramped(device: torch.device, n_bytes: int) -> bool:
    """Whether weights of so many bytes would leave a CUDA device no room to compute in."""
    return device.type == "cuda" and n_bytes + _ROOM_TO_COMPUTE > torch.cuda.mem_get_info(device)[0]


def autotunes_on(device: torch.device) -> bool:
    """Whether cuDNN may choose its algorithms by trying them: on a CUDA device, unless the process wants fixed ones."""
    return device.type == "cuda" and not _wants_same_bits()


def has_tf32(device: torch.device) -> bool:
    """Whether a device multiplies float32 with the ten bits of TF32: NVIDIA's do from Ampere on."""
    is_cuda = device.type == "cuda" and torch.version.cuda is not None
    return is_cuda and torch.cuda.get_device_capability(device) >= _FIRST_WITH_TF32


def fitting(
    run: Callable[[int], Made],
    batch_size: int,
    device: torch.device,
    say: Callable[[str], None],
    *,
    autotunes: bool = False,
) -> tuple[Made, int]:
    """The result of `run` and the batch size that fitted: halved, and said, as often as memory runs out.

    float32 is float32 inside. `autotunes`: see full_float32. RunError when one item does not fit, or when the device is
    lost.
    """
    with lost_device(device):
        while True:
            try:
                with full_float32(autotunes=autotunes):
                    return run(batch_size), batch_size
            except RuntimeError as error:
                if not is_out_of_memory(error):
                    raise
            batch_size = _halved(batch_size, device, say)  # here the frame that failed, and what it held, is gone


def is_out_of_memory(error: RuntimeError) -> bool:
    """Whether something did not fit: torch's own error, or what CPU, MPS, cuDNN, cuBLAS and their like say instead.

    >>> is_out_of_memory(RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"))
    True
    """
    if isinstance(error, RunError):  # one of ours, which says what to do
        return False
    return isinstance(error, torch.OutOfMemoryError) or any(words in str(error) for words in _FULL)


@contextmanager
def lost_device(device: torch.device) -> Generator[None]:
    """RunError, which says how to go on, in place of the error of a device that fails or is full in mid-run."""
    try:
        yield
    except RunError:
        raise
    except RuntimeError as error:
        reason = str(error).partition("\n")[0]
        if is_out_of_memory(error):
            raise RunError(f"out of memory on {device} ({reason}): {_MORE_ROOM}") from error
        if not any(word in str(error) for word in _FAILURES):
            raise
        raise RunError(
            f"the device {device} failed ({reason}); all measurements so far are stored: rerun the command, on "
            f"another --device if it fails again"
        ) from error


@contextmanager
def full_float32(*, is_deterministic: bool = False, autotunes: bool = False) -> Generator[None]:
    """float32 means float32, whatever the process has set: TF32 or bfloat16 inside would change decisions.

    Convolutions on Ampere and later are TF32 by default; torch.set_float32_matmul_precision, in a notebook say, makes
    matrix products TF32 on a GPU and bfloat16 on a CPU. All is as it was afterwards. `is_deterministic`: cuDNN takes
    only algorithms that give the same bits again, for a network that is trained. `autotunes`: on the first convolution
    of a shape cuDNN tries its algorithms and keeps the fastest for this thread, which another process may find to be
    another one; not where the same bits are asked for, here or by the process.
    """
    is_deterministic = is_deterministic or torch.backends.cudnn.deterministic
    is_tuned = autotunes and not is_deterministic and not _wants_same_bits()
    with _precision("ieee", benchmark=is_tuned, deterministic=is_deterministic):
        yield


@contextmanager
def in_tf32() -> Generator[None]:
    """Within full_float32: convolutions and matrix products of float32 in TF32, on a device that has it."""
    cudnn = torch.backends.cudnn
    with _precision("tf32", benchmark=cudnn.benchmark, deterministic=cudnn.deterministic):
        yield


def _wants_same_bits() -> bool:
    """Whether the process asks for algorithms that give the same bits again."""
    return torch.backends.cudnn.deterministic or torch.are_deterministic_algorithms_enabled()


@contextmanager
def _precision(float32: str, *, benchmark: bool, deterministic: bool) -> Generator[None]:
    """`float32`: ieee or tf32, which a CPU has not, where it is ieee too."""
    cudnn, is_tf32 = torch.backends.cudnn, float32 == "tf32"
    if not hasattr(torch.backends.cuda.matmul, "fp32_precision"):  # torch below 2.9
        before = torch.get_float32_matmul_precision()
        torch.set_float32_matmul_precision("high" if is_tf32 else "highest")
        try:
            with cudnn.flags(enabled=True, benchmark=benchmark, deterministic=deterministic, allow_tf32=is_tf32):
                yield
        finally:
            torch.set_float32_matmul_precision(before)
        return
    # not cudnn.flags, which fails where a notebook has used both the old switches and the new ones
    backends: Any = torch.backends
    wanted: list[tuple[Any, str, Any]] = [
        (backends.cuda.matmul, "fp32_precision", float32),
        (backends.cudnn.conv, "fp32_precision", float32),
        (backends.mkldnn.matmul, "fp32_precision", "ieee"),
        (backends.mkldnn.conv, "fp32_precision", "ieee"),
        (cudnn, "enabled", True),
        (cudnn, "benchmark", benchmark),
        (cudnn, "deterministic", deterministic),
    ]
    found = [(switch, name, getattr(switch, name)) for switch, name, _ in wanted]
    try:
        for switch, name, value in wanted:
            setattr(switch, name, value)
        yield
    finally:
        for switch, name, value in found:
            setattr(switch, name, value)


def _halved(batch_size: int, device: torch.device, say: Callable[[str], None]) -> int:
    """Half the batch size that did not fit, said in one line; RunError when it was 1."""
    if batch_size == 1:
        raise RunError(f"out of memory on {device} at batch size 1: {_MORE_ROOM}")
    say(f"out of memory: batch size {batch_size} → {batch_size // 2}")
    if device.type == "cuda":
        torch.cuda.empty_cache()
    return batch_size // 2
