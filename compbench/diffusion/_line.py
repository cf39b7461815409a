"""Examples on their way through the engine, in chunks of full batches, so that device and host wait little."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from compbench.core.aliases import Floats, Ints
from compbench.core.errors import RunError, nan_advice
from compbench.core.examples import Image
from compbench.core.measurements import Measurement
from compbench.diffusion._shelf import Shelf
from compbench.diffusion._work import Fault, Work
from compbench.diffusion.devices import lost_device
from compbench.diffusion.draws import DrawBank
from compbench.diffusion.engine import ErrorEngine, OwnNoise, Pending, on_device

__all__ = ["Line"]

_BATCHES_A_CHUNK = 16  # between two host copies, at most
_SECONDS_A_CHUNK = 1.0  # so that slow evaluations are handed on soon: a killed process loses what is on its way
_SECONDS_WITHOUT_NEWS = 1.0  # after which what there is of an example is handed on
_CHUNKS_QUEUED = {"cuda": 2}  # so that the device has work while the host reads; elsewhere there is nothing to hide


class Line:
    """Examples on their way through the engine: started, queued on the device, handed on."""

    def __init__(self, engine: ErrorEngine, latents: Shelf[Image], states: Shelf[str], bank: DrawBank) -> None:
        self._engine, self._latents, self._states, self._bank = engine, latents, states, bank
        self._active: list[Work] = []
        self._n_batches = 1  # of a chunk: the first one tells how long a batch takes

    def measured(self, first: Work, others: Iterator[Work]) -> Iterator[Measurement]:
        """The errors of all that comes, in pieces."""
        self._begin(first)
        queued: deque[tuple[Pending, list[tuple[Work, int]], float]] = deque()
        depth = _CHUNKS_QUEUED.get(self._engine.denoiser.device.type, 1)
        last = 0.0
        while True:
            while len(queued) < depth and (chunk := self._chunk(others)):
                began = time.perf_counter()
                queued.append((self._start(chunk), chunk, began))
            if not queued:
                return
            pending, chunk, began = queued.popleft()
            errors = pending.result()  # [R, J]
            now = time.perf_counter()
            self._pace(errors.shape[1], now - max(began, last))
            last = now
            yield from self._handed_on(errors, chunk)

    def _pace(self, n_jobs: int, seconds: float) -> None:
        """The next chunk takes about a second, if that is a batch or more."""
        seconds_a_batch = seconds * self._engine.batch_size / n_jobs
        self._n_batches = max(1, min(_BATCHES_A_CHUNK, int(_SECONDS_A_CHUNK / max(seconds_a_batch, 1e-6))))

    def _start(self, chunk: Sequence[tuple[Work, int]]) -> Pending:
        own = None if self._bank.own is None else self._own_noise(chunk)
        jobs = np.concatenate([work.take_jobs(n) for work, n in chunk])
        return self._engine.start(self._latents.tensors["latents"], self._states.tensors, jobs, own)

    def _own_noise(self, chunk: Sequence[tuple[Work, int]]) -> OwnNoise:
        """The noise of the chunk's images: each draw of an image once, whatever the number of captions."""
        denoiser, noise, rows, n_noises = self._engine.denoiser, list[Tensor](), list[Ints](), 0
        for work, n in chunk:
            distinct, its_rows = np.unique(work.coming(n), axis=0, return_inverse=True)
            rows.append(its_rows.reshape(-1) + n_noises)
            n_noises += len(distinct)
            for image in np.unique(distinct[:, 0]).tolist():
                draws = distinct[distinct[:, 0] == image, 1].tolist()
                noise.append(self._bank.noise_of(work.example.id, image)(draws, denoiser.latent_shape))
        where = torch.from_numpy(np.concatenate(rows).astype(np.int64))
        return OwnNoise(on_device(torch.cat(noise), denoiser.device), on_device(where, denoiser.device))

    def _begin(self, work: Work) -> None:
        with lost_device(self._engine.denoiser.device):
            work.place(self._latents.rows(work.example.images), self._states.rows(work.captions))
        self._active.append(work)

    def _chunk(self, others: Iterator[Work]) -> list[tuple[Work, int]]:
        """Works and how many jobs of each; more examples are started until the chunk is full."""
        n_wanted = self._n_batches * self._engine.batch_size
        n_left = sum(work.n_left for work in self._active)
        while n_left < n_wanted and (work := next((other for other in others if other.n_left), None)) is not None:
            self._begin(work)
            n_left += work.n_left
        chunk: list[tuple[Work, int]] = []
        for work in self._active:
            n = min(work.n_left, n_wanted)
            n_wanted -= n
            chunk += [(work, n)] if n else []
        return chunk

    def _handed_on(self, errors: Floats, chunk: list[tuple[Work, int]]) -> Iterator[Measurement]:
        """Pass on the draws that errors [R, J] complete, and parts of slow examples; a fault is raised last."""
        is_full, start = errors.shape[1] >= _BATCHES_A_CHUNK * self._engine.batch_size, 0
        for work, n in chunk:
            fault = work.put(errors[:, start : start + n])
            start += n
            is_long = work.seconds_since_news > _SECONDS_WITHOUT_NEWS
            if work.is_finished or is_full or is_long or fault is not None:
                news = work.news(with_parts=is_long and fault is None)
                if news is not None:
                    yield news
            if fault is not None:
                raise self._fault(work, fault)
            if work.is_finished:
                self._active.remove(work)
                self._latents.release(work.example.images)
                self._states.release(work.captions)

    def _fault(self, work: Work, fault: Fault) -> RunError:
        value, image, caption, draw = fault
        denoiser = self._engine.denoiser
        (row,) = self._latents.rows(work.example.images[image : image + 1])
        if not self._latents.tensors["latents"][row].isfinite().all():
            return _overflow(work, image, denoiser.autoencoder_dtype)
        return RunError(
            f"the network gave {value} for example {work.example.id!r}, image {image}, caption {caption} "
            f"({work.captions[caption]!r}), draw {draw} (timestep {self._bank.timesteps[draw]:g}); earlier "
            f"measurements are stored: {nan_advice(denoiser.dtype)}"
        )


def _overflow(work: Work, image: int, dtype: str) -> RunError:
    """The error that names the autoencoder, where already the latents are not finite."""
    advice = nan_advice("")
    if dtype == "float16":
        advice = "some autoencoders overflow in float16, SDXL's among them: use -o vae_dtype=float32 or bfloat16"
    return RunError(
        f"the autoencoder{f' ({dtype})' if dtype else ''} gave no finite latents for example {work.example.id!r}, "
        f"image {image}; earlier measurements are stored: {advice}"
    )
