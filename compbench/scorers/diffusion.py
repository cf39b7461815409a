"""The Diffusion Classifier: how badly does a caption help the model to tell noise from picture?

Li et al., "Your Diffusion Model is Secretly a Zero-Shot Classifier", ICCV 2023. Latents are made once per image,
conditioning once per distinct caption, draws are shared by all pairs, and jobs (image, caption, draw) of several
examples go through the network in full batches.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Generic, TypeVar

import numpy as np
import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from compbench.engine.denoiser import Denoiser
from compbench.engine.draws import DrawBank
from compbench.engine.errors import ErrorEngine, first_batch_size
from compbench.types import (
    DataError,
    DrawTable,
    Example,
    Floats,
    Image,
    Ints,
    Measurement,
    Price,
    RunError,
    Runtime,
    Task,
)

__all__ = ["DiffusionClassifier"]

_BATCHES_A_CHUNK = 16  # between two host copies: what a killed process loses
_BYTES_PER_ERROR = 4

Key = TypeVar("Key", bound=Hashable)


class DiffusionClassifier:
    """A Scorer whose measurements are a denoiser's errors over the first `n_draws` draws of a bank."""

    def __init__(self, denoiser: Denoiser, bank: DrawBank, n_draws: int, runtime: Runtime) -> None:
        if n_draws > len(bank.timesteps):
            raise DataError(f"{n_draws} draws were asked for; the bank of this model has {len(bank.timesteps)}")
        self.denoiser, self.bank, self.n_draws = denoiser, bank, n_draws
        self._runtime = runtime
        self._batch_size = runtime.batch_size
        self._told: set[str] = set()

    @property
    def device(self) -> torch.device:
        return self.denoiser.device

    def prepare(self, task: Task) -> None:
        """Nothing to learn from the task; its captions are looked at before the first evaluation."""
        self._look_at_captions(task.examples)

    def draw_table(self) -> DrawTable:
        """The whole bank, so that any number of its draws can be weighed later."""
        schedule, timesteps = self.denoiser.schedule, torch.from_numpy(self.bank.timesteps)
        return DrawTable(
            timesteps=self.bank.timesteps.astype(np.float64),
            alpha=schedule.alpha[timesteps].float().numpy(),
            sigma=schedule.sigma[timesteps].float().numpy(),
            target=self.denoiser.target,
        )

    def score(self, examples: Sequence[Example], known: Mapping[str, Measurement]) -> Iterator[Measurement]:
        """The draws that `known` lacks, in order; an example that outlasts a chunk comes in several pieces.

        RunError names example, caption and draw of an error that is not finite; what came before it stands.
        """
        self._look_at_captions(examples)
        waiting = deque(work for each in examples if (work := _work(each, self.n_draws, known.get(each.id))).n_left)
        n_jobs = sum(work.n_left for work in waiting)
        if not n_jobs:
            return
        engine = self._engine(n_jobs, waiting[0].example, self._runtime.advance)
        latents = _Shelf(Counter(image for work in waiting for image in work.example.images), self._latents)
        states = _Shelf(Counter(text for work in waiting for text in work.example.captions), self._states)
        started: list[_Work] = []
        size = engine.batch_size
        while waiting or started:
            wanted = _BATCHES_A_CHUNK * engine.batch_size
            while waiting and sum(work.n_left for work in started) < wanted:
                started.append(waiting.popleft())
            self._measure(engine, started, latents, states, wanted)
            if engine.batch_size < size:  # memory ran out: the next call begins there
                self._batch_size = size = engine.batch_size
            yield from _ready(started, self.bank)
            for done in [work for work in started if not work.n_left]:
                started.remove(done)
                latents.release(done.example.images)
                states.release(done.example.captions)

    def price(self, examples: Sequence[Example], *, probe_seconds: float = 2.0) -> Price:
        """Counted on the real network, and timed for `probe_seconds` after one batch to warm up."""
        example = examples[0]
        n_jobs = self.n_draws * sum(len(each.images) * len(each.captions) for each in examples)
        engine = self._engine(n_jobs, example, lambda evaluations: None)
        latents, states = self._first_pair(example)
        jobs = np.zeros((engine.batch_size, 3), dtype=np.int64)
        jobs[:, 2] = np.arange(engine.batch_size) % self.n_draws
        n_batches, began = 0, time.perf_counter()
        engine.errors(latents, states, jobs)
        seconds = time.perf_counter() - began
        if seconds < probe_seconds:  # a slower machine is told by its first batch
            began = time.perf_counter()
            while (seconds := time.perf_counter() - began) < probe_seconds:
                engine.errors(latents, states, jobs)
                n_batches += 1
        return Price(
            evaluations_per_pair=self.n_draws,
            flops_per_evaluation=self._flops(engine, latents, states),
            seconds_per_evaluation=seconds / (max(n_batches, 1) * engine.batch_size),
            bytes_per_pair=self.n_draws * _BYTES_PER_ERROR,
        )

    def _measure(
        self,
        engine: ErrorEngine,
        works: Sequence[_Work],
        latents: _Shelf[Image],
        states: _Shelf[str],
        n_wanted: int,
    ) -> None:
        """The next `n_wanted` jobs of `works`, or all that are left, through the engine in one call."""
        images = list(dict.fromkeys(image for work in works for image in work.example.images))
        captions = list(dict.fromkeys(text for work in works for text in work.example.captions))
        row_of_image, row_of_caption = _rows(images), _rows(captions)
        jobs = np.concatenate([work.jobs_left(row_of_image, row_of_caption) for work in works])[:n_wanted]
        errors = engine.errors(latents.stacked(images)["latents"], states.stacked(captions), jobs)
        for work in works:
            errors = work.take(errors)

    def _engine(self, n_jobs: int, example: Example, advance: Callable[[int], None]) -> ErrorEngine:
        timesteps = torch.from_numpy(self.bank.timesteps[: self.n_draws]).to(self.device)
        engine = ErrorEngine(self.denoiser, self._noise, timesteps, 1, say=self._runtime.say, advance=advance)
        if self._batch_size is None:
            self._batch_size = first_batch_size(self.denoiser, self._probe(engine, example))
        engine.batch_size = min(self._batch_size, n_jobs)
        return engine

    @cached_property
    def _noise(self) -> Tensor:
        """[D, c, h, w] float32 on the device, made on the CPU so that every device sees the same."""
        return self.bank.noise(range(self.n_draws), self.denoiser.latent_shape).to(self.device)

    def _probe(self, engine: ErrorEngine, example: Example) -> Callable[[int], object]:
        """A function that runs one batch of a size."""
        silent = ErrorEngine(self.denoiser, engine.noise, engine.timesteps, 1)

        def run_batch(size: int) -> object:
            silent.batch_size = size
            return silent.errors(*self._first_pair(example), np.zeros((size, 3), dtype=np.int64))

        return run_batch

    def _first_pair(self, example: Example) -> tuple[Tensor, Mapping[str, Tensor]]:
        latents = self.denoiser.encode_images([example.images[0].decode()])
        return latents, self.denoiser.encode_captions(example.captions[:1])

    def _flops(self, engine: ErrorEngine, latents: Tensor, states: Mapping[str, Tensor]) -> float:
        """Of one evaluation; attention is counted in its written-out form, since not every fused kernel is counted."""
        with torch.inference_mode(), FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
            self.denoiser.residual(latents, engine.noise[:1], engine.timesteps[:1], states)
        return float(counter.get_total_flops())

    def _latents(self, images: Sequence[Image]) -> Mapping[str, Tensor]:
        return {"latents": self.denoiser.encode_images([image.decode() for image in images])}

    def _states(self, captions: Sequence[str]) -> Mapping[str, Tensor]:
        return self.denoiser.encode_captions(captions)

    def _look_at_captions(self, examples: Sequence[Example]) -> None:
        """DataError for an empty caption; the number of those too long for the text encoder is said once."""
        for example in examples:
            for number, caption in enumerate(example.captions):
                if not caption.strip():
                    raise DataError(
                        f"caption {number} of example {example.id!r} is empty; expected words that describe an image"
                    )
        captions = list({text: None for each in examples for text in each.captions if text not in self._told})
        self._told.update(captions)
        if too_long := self.denoiser.too_long(captions):
            self._runtime.say(
                f"{len(too_long)} of {len(captions)} distinct captions are longer than the text encoder's context; "
                f"it sees only their beginning, e.g. of {too_long[0]!r}"
            )


@dataclass
class _Work:
    """An example being measured; its jobs are ordered by draw, then image, then caption."""

    example: Example
    draws: Ints  # [D] int32
    errors: Floats  # [D, I, C] float32
    n_done: int = 0  # jobs measured
    n_given: int = 0  # draws that were handed on

    @property
    def n_left(self) -> int:
        return self.errors.size - self.n_done

    @property
    def n_ready(self) -> int:
        """Draws that are measured for every pair and not handed on."""
        return self.n_done // max(self.errors[0].size, 1) - self.n_given

    def jobs_left(self, row_of_image: Mapping[Image, int], row_of_caption: Mapping[str, int]) -> Ints:
        """[J, 3]: rows of image and caption among those of the chunk, and the draw."""
        draw, image, caption = np.unravel_index(np.arange(self.n_done, self.errors.size), self.errors.shape)
        images = np.array([row_of_image[each] for each in self.example.images])
        captions = np.array([row_of_caption[each] for each in self.example.captions])
        return np.stack([images[image], captions[caption], self.draws[draw]], axis=1)

    def take(self, errors: Floats) -> Floats:
        """Keep the errors of the next jobs; what belongs to other examples is returned."""
        n = min(self.n_left, len(errors))
        self.errors.reshape(-1)[self.n_done : self.n_done + n] = errors[:n]
        self.n_done += n
        return errors[n:]

    def fault(self, bank: DrawBank) -> RunError | None:
        """What to raise for the first error so far that is not a finite number; what came before it stays."""
        bad = np.flatnonzero(~np.isfinite(self.errors.reshape(-1)[: self.n_done]))
        if not len(bad):
            return None
        self.n_done = int(bad[0])
        d, image, caption = (int(each) for each in np.unravel_index(bad[0], self.errors.shape))
        draw = int(self.draws[d])
        return RunError(
            f"the network gave {self.errors[d, image, caption]} for example {self.example.id!r}, image {image}, "
            f"caption {caption} ({self.example.captions[caption]!r}), draw {draw} (timestep "
            f"{int(bank.timesteps[draw])}); what was measured before is stored. A wider dtype (float32) is the "
            "usual cure"
        )

    def measurement(self) -> Measurement:
        """The draws that are ready; they count as handed on."""
        ready = slice(self.n_given, self.n_given + self.n_ready)
        self.n_given = ready.stop
        errors = np.ascontiguousarray(np.moveaxis(self.errors[ready], 0, -1))  # [I, C, D]
        return Measurement(self.example.id, self.draws[ready], errors, np.ones(errors.shape, bool))


def _work(example: Example, n_draws: int, known: Measurement | None) -> _Work:
    """What an example still lacks: the draws that are not measured for each of its pairs."""
    have = set[int]() if known is None else set(known.draws[known.measured.all((0, 1))].tolist())
    draws = np.array([draw for draw in range(n_draws) if draw not in have], dtype=np.int32)
    return _Work(example, draws, np.empty((len(draws), *example.shape), dtype=np.float32))


def _ready(started: Sequence[_Work], bank: DrawBank) -> Iterator[Measurement]:
    """What can be handed on; a fault is raised after what was measured before it."""
    for work in started:
        fault = work.fault(bank)
        if work.n_ready:
            yield work.measurement()
        if fault is not None:
            raise fault


def _rows(keys: Sequence[Key]) -> dict[Key, int]:
    return {key: row for row, key in enumerate(keys)}


class _Shelf(Generic[Key]):
    """Encodes each distinct image or caption once, and forgets it after its last use."""

    def __init__(self, uses: Counter[Key], encode: Callable[[Sequence[Key]], Mapping[str, Tensor]]) -> None:
        self._uses, self._encode = uses, encode
        self._encoded: dict[Key, dict[str, Tensor]] = {}

    def stacked(self, keys: Sequence[Key]) -> dict[str, Tensor]:
        """name -> [len(keys), ...]; what is not on the shelf is encoded in one call."""
        lacking = [key for key in keys if key not in self._encoded]
        if lacking:
            encoded = self._encode(lacking)
            for row, key in enumerate(lacking):
                self._encoded[key] = {name: each[row].clone() for name, each in encoded.items()}
        names = self._encoded[keys[0]]
        return {name: torch.stack([self._encoded[key][name] for key in keys]) for name in names}

    def release(self, keys: Sequence[Key]) -> None:
        """One use less of each."""
        for key in keys:
            self._uses[key] -= 1
            if not self._uses[key]:
                del self._encoded[key]
