"""The error engine: jobs (image, caption, draw) in full batches of one shape, one host copy a call."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor

from compbench.core.aliases import Floats, Ints
from compbench.diffusion.denoiser import Conditioning, Denoiser
from compbench.diffusion.devices import fitting, lost_device

__all__ = ["ErrorEngine", "OwnNoise", "Pending", "first_batch_size", "on_device", "stacked"]

_SECONDS_BETWEEN_LOOKS = 0.001
_LARGEST_BATCH = 64  # beyond it a U-Net of Stable Diffusion gains nothing
_CPU_POSITIONS = 2048  # latent positions a batch: what stays in a core's cache


@dataclass(frozen=True, slots=True)
class Pending:
    """Errors on their way to the host."""

    _errors: Tensor  # [R, J], on the host
    _copied: torch.cuda.Event | None
    _device: torch.device  # where they were measured

    def result(self) -> Floats:
        """[R, J] float32; waits until they are there. RunError when the device is lost."""
        if self._copied is not None:
            with lost_device(self._device):
                while not self._copied.query():  # not synchronize(), in which Python hears no signal
                    time.sleep(_SECONDS_BETWEEN_LOOKS)
        return self._errors.numpy()


@dataclass(frozen=True, slots=True)
class OwnNoise:
    """The noise of some jobs, where it is not the same for all images."""

    noise: Tensor  # [k, c, h, w] float32 on the device
    rows: Tensor  # [J] int64 on the device: which of them each job has


class ErrorEngine:
    """Measures errors in batches of a constant size, halved when memory runs out.

    In a batch of one shape the error of a job does not depend on its neighbours or its place, bit for bit; another
    shape makes a library choose another algorithm, and moves errors by rounding.

    `noise` [D, c, h, w] float32 and `timesteps` [D] int64 are the draws that jobs index. Timesteps are on the
    denoiser's device; so is the noise, unless it is too much for it: then each batch brings its own. `autotunes`: cuDNN
    may choose its algorithms by trying them, which it does once for a shape.
    """

    def __init__(
        self,
        denoiser: Denoiser,
        noise: Tensor,
        timesteps: Tensor,
        batch_size: int,
        *,
        losses: Sequence[str] = ("l2",),
        say: Callable[[str], None] = lambda message: None,
        advance: Callable[[int], None] = lambda evaluations: None,
        autotunes: bool = False,
    ) -> None:
        self.denoiser, self.noise, self.timesteps = denoiser, noise, timesteps
        self.batch_size, self.losses = batch_size, tuple(losses)
        self._say, self._advance, self._autotunes = say, advance, autotunes

    def errors(self, latents: Tensor, conditioning: Conditioning, jobs: Ints) -> Floats:
        """[R, J] float32: each loss of the error of each job, a row (image, caption, draw) of `jobs` [J, 3]."""
        return self.start(latents, conditioning, jobs).result()

    @torch.inference_mode()
    def start(self, latents: Tensor, conditioning: Conditioning, jobs: Ints, own: OwnNoise | None = None) -> Pending:
        """The same without waiting for a CUDA device: what it has to do is queued when this returns.

        `own` stands in place of the noise of the jobs' draws.
        """
        device = self.denoiser.device
        rows = on_device(torch.from_numpy(np.ascontiguousarray(jobs, dtype=np.int64)), device)
        errors = torch.empty((len(self.losses), len(jobs)), dtype=torch.float32, device=device)
        start = 0
        with lost_device(device):
            while start < len(jobs):
                batch = partial(self._batch, latents, conditioning, rows, jobs, own, start)
                measured, self.batch_size = fitting(
                    batch, self.batch_size, device, self._say, autotunes=self._autotunes
                )
                stop = min(start + self.batch_size, len(jobs))
                errors[:, start:stop] = measured[:, : stop - start]
                self._advance(stop - start)
                start = stop
            return _to_host(errors)  # the one transfer of the call: not per batch

    def _batch(
        self,
        latents: Tensor,
        conditioning: Conditioning,
        rows: Tensor,
        jobs: Ints,
        own: OwnNoise | None,
        start: int,
        size: int,
    ) -> Tensor:
        """The errors of one batch [R, size], its tail filled up with the last job."""
        batch = torch.arange(start, start + size, device=rows.device).clamp_(max=len(rows) - 1)
        image, caption, draw = rows[batch].unbind(1)
        return self.denoiser.errors(
            latents[image],
            self._noise_of(draw, jobs[start : start + size, 2]) if own is None else own.noise[own.rows[batch]],
            self.timesteps[draw],
            {name: tensor[caption] for name, tensor in conditioning.items()},
            self.losses,
        )

    def _noise_of(self, draw: Tensor, draws: Ints) -> Tensor:
        if self.noise.device == draw.device:
            return self.noise[draw]
        filled = np.concatenate([draws, np.repeat(draws[-1:], len(draw) - len(draws))])
        return on_device(self.noise[torch.from_numpy(filled)], draw.device)


def first_batch_size(denoiser: Denoiser, run_batch: Callable[[int], object]) -> int:
    """A batch size to begin with.

    On a CUDA device the memory of an evaluation is measured by `run_batch` on 1 and 2 jobs, and the batch takes at
    most 3/4 of what is free; elsewhere a batch fills the cache.
    """
    if denoiser.device.type != "cuda":
        _, height, width = denoiser.latent_shape
        return max(2, min(_LARGEST_BATCH, _CPU_POSITIONS // (height * width)))
    # the first call also loads libraries and kernels; what is tried out here is not tuned, for another shape is to come
    run_batch(1)
    one, two = (_peak_bytes(denoiser.device, run_batch, size) for size in (1, 2))
    free, _ = torch.cuda.mem_get_info(denoiser.device)
    fitting = int(0.75 * free / max(two - one, 1))
    return 1 << max(0, min(fitting, _LARGEST_BATCH).bit_length() - 1)  # a power of two


def on_device(tensor: Tensor, device: torch.device) -> Tensor:
    """A copy that a CUDA device fetches when it comes to it, so that the host need not wait."""
    if device.type != "cuda":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)


def stacked(tensors: Sequence[Tensor], device: torch.device) -> Tensor:
    """A stack on the host: in pinned memory where a CUDA device is to fetch it, so that it is copied there once."""
    first = tensors[0]
    if device.type != "cuda":
        return torch.stack(list(tensors))
    pinned = torch.empty((len(tensors), *first.shape), dtype=first.dtype, pin_memory=True)
    return torch.stack(list(tensors), out=pinned)


def _to_host(errors: Tensor) -> Pending:
    if errors.device.type != "cuda":
        return Pending(errors.cpu(), None, errors.device)
    host = torch.empty(errors.shape, dtype=errors.dtype, pin_memory=True)
    host.copy_(errors, non_blocking=True)
    copied = torch.cuda.Event()
    copied.record(torch.cuda.current_stream(errors.device))  # of this device, whichever is the current one
    return Pending(host, copied, errors.device)


def _peak_bytes(device: torch.device, run_batch: Callable[[int], object], size: int) -> int:
    torch.cuda.reset_peak_memory_stats(device)
    run_batch(size)
    return torch.cuda.max_memory_allocated(device)
