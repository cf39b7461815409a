"""The Diffusion Classifier: how badly does a caption help the model to tell noise from picture?

Li et al., "Your Diffusion Model is Secretly a Zero-Shot Classifier", ICCV 2023. Latents are made once per image,
conditioning once per distinct caption, draws are shared by all pairs, and jobs (image, caption, draw) of several
examples go through the network in full batches.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache, cached_property, partial
from types import TracebackType
from typing import Generic, Self, TypeVar

import numpy as np
import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from compbench.core.aliases import Floats, Ints, Json
from compbench.core.errors import DataError, RunError, UnreadableImage, UsageError, nan_advice
from compbench.core.examples import Classes, Example, Image, Task
from compbench.core.measurements import DrawTable, Measurement
from compbench.core.models import Price, Runtime
from compbench.core.rules import Rule, n_known
from compbench.diffusion._encoding import FixedBatches
from compbench.diffusion._work import Fault, PolicyOf, Work
from compbench.diffusion.denoiser import Conditioning, Denoiser, ReadsText
from compbench.diffusion.devices import lost_device
from compbench.diffusion.draws import DrawBank
from compbench.diffusion.engine import ErrorEngine, OwnNoise, Pending, first_batch_size, on_device
from compbench.schedules.adaptive import Adaptive, Weighted

__all__ = ["DiffusionClassifier"]

_BATCHES_A_CHUNK = 16  # between two host copies, at most
_SECONDS_A_CHUNK = 1.0  # so that slow evaluations are handed on soon: a killed process loses what is on its way
_SECONDS_WITHOUT_NEWS = 1.0  # after which what there is of an example is handed on
_CHUNKS_QUEUED = {"cuda": 2}  # so that the device has work while the host reads; elsewhere there is nothing to hide
_BYTES_PER_ERROR = 4
_NOISE_SHARE = 0.25  # of a CUDA device's free memory: a larger bank stays on the host
_PICTURES_AHEAD = 32
_PICTURES_AT_ONCE = 4  # encoded, at most
_CAPTIONS_AT_ONCE = 64
_JOBS_WORTH_COMPILING = 20_000  # compiling takes a minute or two
_THREADS = 4  # that decode pictures
_NO_CAPTION = ""

Key = TypeVar("Key", bound=Hashable)


class DiffusionClassifier:
    """A Scorer whose measurements are a denoiser's errors over the first `n_draws` draws of a bank."""

    def __init__(
        self,
        denoiser: Denoiser,
        bank: DrawBank,
        n_draws: int,
        runtime: Runtime,
        *,
        losses: Sequence[str] = ("l2",),
        unconditional: bool = False,
        adaptive: Adaptive | None = None,
        policy_of: PolicyOf | None = None,
        compile_mode: str = "off",
    ) -> None:
        """`adaptive` or `policy_of` give the policy of an example; None: every draw of every pair.

        `compile_mode` is off, auto (on a CUDA device where it pays), or a mode of torch.compile.
        """
        if n_draws > len(bank.timesteps):
            raise DataError(f"{n_draws} draws were asked for; the bank of this model has {len(bank.timesteps)}")
        self.denoiser, self.bank, self.n_draws = denoiser, bank, n_draws
        self.losses, self.unconditional = tuple(losses), unconditional
        self._adaptive, self._policy_of = adaptive, policy_of
        self._compile_mode, self._runtime = compile_mode, runtime
        self._batch_size = runtime.batch_size
        self._told: set[str] = set()
        self._labels: tuple[str, ...] | None = None  # in place of captions, for a class-conditional model
        self._encoders: tuple[FixedBatches[Tensor], FixedBatches[str]] | None = None  # of pictures, of captions

    @property
    def device(self) -> torch.device:
        return self.denoiser.device

    def prepare(self, task: Task) -> None:
        """Its captions are looked at before the first evaluation; a class-conditional model needs its labels."""
        if self._adaptive is not None:
            self._policy_of = partial(_policy, self._adaptive, self.draw_table(), task.classes)
        if self.bank.own is not None and any(len(each.images) > 1 for each in task.examples):
            self._runtime.say(
                f"task {task.name!r} compares images with one another, and noise=per-image gives each its own noise: "
                "their scores scatter more than under shared noise, and image and group scores with them"
            )
        label_space = getattr(self.denoiser, "label_space", None)
        if label_space is not None:
            self._labels = _labels(task, label_space)
        else:
            self._look_at_captions(task.examples)
        self._encoders = self._encoders_of(task.examples)

    def computed_with(self) -> Mapping[str, Json]:
        """The engine and the batch size, which move the last digits of errors."""
        return {"engine": getattr(self.denoiser, "engine", "eager"), "batch_size": self._batch_size}

    def overlooked(self) -> frozenset[str]:
        """The traits of an image that its transform ignores."""
        return getattr(self.denoiser, "overlooked", frozenset())

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
        """What `known` lacks, draw by draw; an example that outlasts a chunk, or a round, comes in several pieces.

        RunError names example, caption and draw of an error that is not finite; what came before it stands.
        """
        if self._labels is None:
            self._look_at_captions(examples)
        works = (self._work(example, known.get(example.id)) for example in examples)
        first = next((work for work in works if work.n_left), None)
        if first is None:
            return
        engine = self._engine(self._n_jobs(examples, known), first.example, self._runtime.advance)
        images = Counter(image for each in examples for image in each.images)
        captions = Counter(text for each in examples for text in self._captions(each))
        encode_pixels, encode_captions = self._encoders or self._encoders_of(examples)
        with _Ahead(images, lambda image: self.denoiser.pixels(image.decode())) as ahead:
            latents = _Shelf(images, lambda some: encode_pixels(ahead.take(some)))
            states = _Shelf(captions, encode_captions)
            size = engine.batch_size
            for piece in _Line(engine, latents, states, self.bank).measured(first, works):
                if engine.batch_size < size:  # memory ran out: the next call begins there
                    self._batch_size = size = engine.batch_size
                yield piece

    def price(self, examples: Sequence[Example], *, probe_seconds: float = 2.0) -> Price:
        """Counted on the real network, and timed for `probe_seconds` after one batch to warm up."""
        example = _first_readable(examples)
        n_jobs = self.n_draws * sum(len(each.images) * len(each.captions) for each in examples)
        engine = self._engine(n_jobs, example, lambda evaluations: None, will_run=False)
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

    def _work(self, example: Example, known: Measurement | None) -> Work:
        policy = None if self._policy_of is None else self._policy_of(example)
        rule = Rule() if self._adaptive is None else self._adaptive.rule
        return Work(example, self._captions(example), self.losses, self.n_draws, policy, known, rule)

    def _encoders_of(self, examples: Sequence[Example]) -> tuple[FixedBatches[Tensor], FixedBatches[str]]:
        """Encoders of pictures and of captions, with batches as large as the largest example of a task needs."""
        n_images = max((len(each.images) for each in examples), default=1)
        # not counting "no caption": whether that is measured too must not move the other captions' states
        n_captions = max((len(each.captions) for each in examples), default=1)
        denoiser, say = self.denoiser, self._runtime.say
        return (
            FixedBatches(
                lambda pixels: {"latents": denoiser.encode_pixels(torch.stack(list(pixels)))},
                max(1, min(n_images, _PICTURES_AT_ONCE)),
                self.device,
                say,
            ),
            FixedBatches(denoiser.encode_captions, max(1, min(n_captions, _CAPTIONS_AT_ONCE)), self.device, say),
        )

    def _captions(self, example: Example) -> tuple[str, ...]:
        """What the network is given, no caption last where that is asked for."""
        captions = example.captions if self._labels is None else self._labels
        return (*captions, _NO_CAPTION) if self.unconditional else captions

    def _n_jobs(self, examples: Sequence[Example], known: Mapping[str, Measurement]) -> int:
        """At most so many."""
        n_all = self.n_draws * sum(len(each.images) * len(self._captions(each)) for each in examples)
        rule = Rule(draws=self.n_draws, unconditional=self.unconditional)
        return n_all - sum(n_known(measurement, rule) for measurement in known.values())

    def _engine(
        self, n_jobs: int, example: Example, advance: Callable[[int], None], *, will_run: bool = True
    ) -> ErrorEngine:
        timesteps = torch.from_numpy(self.bank.timesteps[: self.n_draws]).to(self.device)
        engine = ErrorEngine(
            self.denoiser,
            self._noise,
            timesteps,
            1,
            losses=self.losses,
            say=self._runtime.say,
            advance=advance,
        )
        if self._batch_size is None:
            self._batch_size = first_batch_size(self.denoiser, self._probe(engine, example))
        engine.batch_size = self._batch_size  # also for fewer jobs: another shape would move their errors
        if will_run:  # once the batch size is known: each shape is compiled anew
            self._compile_if_it_pays(n_jobs)
        return engine

    def _compile_if_it_pays(self, n_jobs: int) -> None:
        mode = self._compile_mode
        if mode == "auto":
            mode = "default" if self.device.type == "cuda" and n_jobs >= _JOBS_WORTH_COMPILING else "off"
        if mode != "off":
            self._compile_mode = "off"  # done once
            self.denoiser.compile(mode, self._runtime.say)

    @cached_property
    def _noise(self) -> Tensor:
        """[D, c, h, w] float32, made on the CPU so that every device sees the same."""
        if self.bank.own is not None:  # comes with the jobs; what is timed and tried out has one for all
            return self.bank.noise([0], self.denoiser.latent_shape).to(self.device).expand(self.n_draws, -1, -1, -1)
        noise = self.bank.noise(range(self.n_draws), self.denoiser.latent_shape)
        if self.device.type == "cuda" and noise.nbytes > _NOISE_SHARE * torch.cuda.mem_get_info(self.device)[0]:
            return noise
        return noise.to(self.device)

    def _probe(self, engine: ErrorEngine, example: Example) -> Callable[[int], object]:
        """A function that runs one batch of a size."""
        silent = ErrorEngine(self.denoiser, engine.noise, engine.timesteps, 1, losses=self.losses)
        pair = cache(self._first_pair)  # encoded before memory is measured

        def run_batch(size: int) -> object:
            silent.batch_size = size
            return silent.errors(*pair(example), np.zeros((size, 3), dtype=np.int64))

        return run_batch

    def _first_pair(self, example: Example) -> tuple[Tensor, Conditioning]:
        """A picture and no caption: as costly as any caption, and known to a model that is not prepared."""
        encode_pixels, encode_captions = self._encoders_of([])
        latents = encode_pixels([self.denoiser.pixels(example.images[0].decode())])["latents"]
        return latents, encode_captions([_NO_CAPTION])

    def _flops(self, engine: ErrorEngine, latents: Tensor, states: Conditioning) -> float:
        """Of one evaluation; attention is counted in its written-out form, since not every fused kernel is counted."""
        noise = engine.noise[:1].to(self.device)
        with torch.inference_mode(), FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
            self.denoiser.errors(latents, noise, engine.timesteps[:1], states, self.losses)
        return float(counter.get_total_flops())

    def _look_at_captions(self, examples: Sequence[Example]) -> None:
        """DataError for an empty caption; the number of those too long for the text encoder is said once."""
        distinct = {id(each.captions): each for each in examples}  # the classes of a task are one tuple
        for example in distinct.values():
            for number, caption in enumerate(example.captions):
                if not caption.strip():
                    raise DataError(
                        f"caption {number} of example {example.id!r} is empty; expected words that describe an image"
                    )
        texts = dict.fromkeys(text for each in distinct.values() for text in each.captions)
        captions = [text for text in texts if text not in self._told]
        self._told.update(captions)
        reads = self.denoiser if isinstance(self.denoiser, ReadsText) else None
        if too_long := self.denoiser.too_long(captions):
            n_alike = len(reads.alike(too_long)) if reads is not None else 0
            alike = f", and {n_alike} of them differ only after that: their errors are the same" if n_alike else ""
            self._runtime.say(
                f"{len(too_long)} of {len(captions)} distinct captions are longer than the text encoder's context; "
                f"it sees only their beginning{alike}, e.g. of {too_long[0][:80]!r}"
            )
        if reads is not None and (special := reads.special(captions)):
            self._runtime.say(
                f"{len(special)} of {len(captions)} distinct captions spell a special token of the tokenizer, which "
                f"reads it as that token and not as these letters: {special[0][:80]!r} the first"
            )


def _first_readable(examples: Sequence[Example]) -> Example:
    """The first example whose first image can be decoded, else the first: one bad image must not hide a price."""
    for example in examples:
        try:
            example.images[0].decode()
        except UnreadableImage:
            continue
        return example
    return examples[0]


def _policy(adaptive: Adaptive, draws: DrawTable, classes: Classes | None, example: Example) -> Weighted:
    return adaptive.policy(example.id, example.matches, draws, classes)


def _labels(task: Task, label_space: str) -> tuple[str, ...]:
    """The label of each caption of a task, as text; UsageError where the model was not trained on such labels."""
    classes = task.classes
    if classes is None or classes.labels is None or classes.label_space != label_space:
        has = "no classes" if classes is None else f"classes of {classes.label_space or 'no label space'!r}"
        raise UsageError(
            f"a class-conditional model of {label_space!r} cannot score task {task.name!r}, which has {has}; "
            f"expected a classification task whose classes are labels of {label_space!r}"
        )
    return tuple(map(str, classes.labels))


class _Line:
    """Examples on their way through the engine: started, queued on the device, handed on."""

    def __init__(self, engine: ErrorEngine, latents: _Shelf[Image], states: _Shelf[str], bank: DrawBank) -> None:
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
        while n_left < n_wanted and (work := next((each for each in others if each.n_left), None)) is not None:
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
                raise _fault(work, fault, self._bank, getattr(self._engine.denoiser, "dtype", None))
            if work.is_finished:
                self._active.remove(work)
                self._latents.release(work.example.images)
                self._states.release(work.captions)


def _fault(work: Work, fault: Fault, bank: DrawBank, dtype: object) -> RunError:
    value, image, caption, draw = fault
    return RunError(
        f"the network gave {value} for example {work.example.id!r}, image {image}, caption {caption} "
        f"({work.captions[caption]!r}), draw {draw} (timestep {int(bank.timesteps[draw])}); what was measured before "
        f"is stored: {nan_advice(dtype)}"
    )


class _Ahead:
    """Pictures made into pixels by threads, a few before they are asked for."""

    def __init__(self, images: Iterable[Image], pixels: Callable[[Image], Tensor]) -> None:
        self._coming, self._pixels = iter(images), pixels
        self._futures: dict[Image, Future[Tensor]] = {}
        self._pool = ThreadPoolExecutor(_THREADS)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)

    def take(self, images: Sequence[Image]) -> list[Tensor]:
        """The pixels of `images`; DataError names one that cannot be decoded."""
        wanted = set(images)
        for image in self._coming:
            self._futures[image] = self._pool.submit(self._pixels, image)
            if len(self._futures) >= _PICTURES_AHEAD and wanted <= self._futures.keys():
                break
        return [self._futures.pop(image).result() for image in images]


class _Shelf(Generic[Key]):
    """Encodes each distinct image or caption once, and gives its row to another after its last use."""

    def __init__(self, uses: Counter[Key], encode: Callable[[Sequence[Key]], Conditioning]) -> None:
        self._uses, self._encode = uses, encode
        self._row: dict[Key, int] = {}
        self._free: list[int] = []
        self.tensors: dict[str, Tensor] = {}  # name -> [rows, ...]

    def rows(self, keys: Sequence[Key]) -> list[int]:
        """Where each of `keys` stands in `tensors`; those that do not are encoded in one call."""
        lacking = list(dict.fromkeys(key for key in keys if key not in self._row))
        if lacking:
            encoded = self._encode(lacking)
            self._make_room(len(lacking), encoded)
            taken = [self._free.pop() for _ in lacking]
            self._row |= zip(lacking, taken, strict=True)
            for name, each in encoded.items():
                rows = on_device(torch.tensor(taken), each.device)
                self.tensors[name].index_copy_(0, rows, each)
        return [self._row[key] for key in keys]

    def release(self, keys: Iterable[Key]) -> None:
        """One use less of each."""
        for key in keys:
            self._uses[key] -= 1
            if not self._uses[key]:
                self._free.append(self._row.pop(key))

    def _make_room(self, n: int, like: Conditioning) -> None:
        if n <= len(self._free):
            return
        n_rows = len(self._row) + len(self._free)
        n_more = max(n - len(self._free), n_rows)
        for name, each in like.items():
            more = each.new_zeros((n_more, *each.shape[1:]))
            self.tensors[name] = torch.cat([self.tensors[name], more]) if n_rows else more
        self._free += range(n_rows, n_rows + n_more)
