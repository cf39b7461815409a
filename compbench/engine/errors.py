"""The error engine: jobs (image, caption, draw) in full batches of one shape, one host copy a call."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from compbench.engine.denoiser import Conditioning, Denoiser, mean_square
from compbench.engine.devices import full_float32, halved, is_out_of_memory
from compbench.types import Floats, Ints

__all__ = ["ErrorEngine", "first_batch_size"]

_LARGEST_BATCH = 64  # beyond it a U-Net of Stable Diffusion gains nothing
_CPU_POSITIONS = 2048  # latent positions a batch: what stays in a core's cache


class ErrorEngine:
    """Measures errors in batches of a constant size, halved when memory runs out.

    `noise` [D, c, h, w] float32 and `timesteps` [D] int64 are the draws that jobs index, on the denoiser's device.
    """

    def __init__(
        self,
        denoiser: Denoiser,
        noise: Tensor,
        timesteps: Tensor,
        batch_size: int,
        *,
        say: Callable[[str], None] = lambda message: None,
        advance: Callable[[int], None] = lambda evaluations: None,
    ) -> None:
        self.denoiser, self.noise, self.timesteps = denoiser, noise, timesteps
        self.batch_size = batch_size
        self._say, self._advance = say, advance

    @torch.inference_mode()
    def errors(self, latents: Tensor, conditioning: Conditioning, jobs: Ints) -> Floats:
        """[J] float32: the mean squared error of each job, a row (image, caption, draw) of `jobs` [J, 3]."""
        rows = torch.from_numpy(np.ascontiguousarray(jobs, dtype=np.int64)).to(self.denoiser.device)
        errors = torch.empty(len(jobs), dtype=torch.float32, device=self.denoiser.device)
        start = 0
        with full_float32():
            while start < len(jobs):
                measured = self._try(latents, conditioning, rows, start)
                if measured is None:
                    self.batch_size = halved(self.batch_size, self.denoiser.device, self._say)
                    continue
                stop = min(start + len(measured), len(jobs))
                errors[start:stop] = measured[: stop - start]
                self._advance(stop - start)
                start = stop
        return errors.cpu().numpy()  # the one transfer of the call: not per batch

    def _try(self, latents: Tensor, conditioning: Conditioning, rows: Tensor, start: int) -> Tensor | None:
        """The errors of one batch [b], its tail filled up with the last job; None when memory ran out."""
        batch = torch.arange(start, start + self.batch_size, device=rows.device).clamp_(max=len(rows) - 1)
        image, caption, draw = rows[batch].unbind(1)
        try:
            residual = self.denoiser.residual(
                latents[image],
                self.noise[draw],
                self.timesteps[draw],
                {name: each[caption] for name, each in conditioning.items()},
            )
            return mean_square(residual)
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            return None  # the caller halves after this frame, and what it holds, is gone


def first_batch_size(denoiser: Denoiser, run_batch: Callable[[int], object]) -> int:
    """A batch size to begin with.

    On a CUDA device the memory of an evaluation is measured by `run_batch` on 1 and 2 jobs, and the batch takes at
    most 3/4 of what is free; elsewhere a batch fills the cache.
    """
    if denoiser.device.type != "cuda":
        _, height, width = denoiser.latent_shape
        return max(2, min(_LARGEST_BATCH, _CPU_POSITIONS // (height * width)))
    run_batch(1)  # the first call also loads libraries and kernels
    one, two = (_peak_bytes(denoiser.device, run_batch, size) for size in (1, 2))
    free, _ = torch.cuda.mem_get_info(denoiser.device)
    fitting = int(0.75 * free / max(two - one, 1))
    return 1 << max(0, min(fitting, _LARGEST_BATCH).bit_length() - 1)  # a power of two


def _peak_bytes(device: torch.device, run_batch: Callable[[int], object], size: int) -> int:
    torch.cuda.reset_peak_memory_stats(device)
    run_batch(size)
    return torch.cuda.max_memory_allocated(device)
