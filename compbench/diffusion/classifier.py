"""The Diffusion Classifier: how badly does a caption help the model to tell noise from picture?

Li et al., "Your Diffusion Model is Secretly a Zero-Shot Classifier", ICCV 2023. Latents are made once per image (by
its content, where that is known), conditioning once per distinct caption, draws are shared by all pairs, and jobs
(image, caption, draw) of several examples go through the network in full batches.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache, cached_property, partial

import numpy as np
import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from compbench.core import stages
from compbench.core.aliases import Json
from compbench.core.errors import DataError, UnreadableImage, UsageError
from compbench.core.examples import Classes, Example, Task
from compbench.core.measurements import DrawTable, Measurement
from compbench.core.models import Price, Runtime
from compbench.core.rules import Rule, n_known
from compbench.core.shared_images import one_per_content
from compbench.diffusion._ahead import Ahead
from compbench.diffusion._break_even import Compiling
from compbench.diffusion._encoding import Encode, FixedBatches
from compbench.diffusion._kept_latents import KeptLatents
from compbench.diffusion._line import Line
from compbench.diffusion._read_ahead import ReadAhead
from compbench.diffusion._shelf import Shelf
from compbench.diffusion._work import PolicyOf, Work
from compbench.diffusion.denoiser import Conditioning, Denoiser
from compbench.diffusion.devices import autotunes_on
from compbench.diffusion.draws import DrawBank
from compbench.diffusion.engine import ErrorEngine, first_batch_size, stacked
from compbench.schedules.policies import Policy
from compbench.schedules.racing import Racing
from compbench.schedules.schedule import Full, Schedule
from compbench.schedules.staged import Staged

__all__ = ["DiffusionClassifier"]

_BYTES_PER_ERROR = 4
_NOISE_SHARE = 0.25  # of a CUDA device's free memory: a larger bank stays on the host
_PICTURES_AT_ONCE = 4  # encoded, at most
_CAPTIONS_AT_ONCE = 64
_NO_CAPTION = ""
_FULL = Full()


class DiffusionClassifier:
    """A Scorer whose measurements are a denoiser's errors over the first `draws` draws of a bank."""

    def __init__(
        self,
        denoiser: Denoiser,
        bank: DrawBank,
        draws: int,
        runtime: Runtime,
        *,
        losses: Sequence[str] = ("l2",),
        unconditional: bool = False,
        schedule: Schedule = _FULL,
        policy_of: PolicyOf | None = None,
        compile_mode: str = "off",
        autotunes: bool = False,
    ) -> None:
        """`policy_of` gives the policy of an example in place of the schedule's.

        `compile_mode` is off, auto (where it pays), or a mode of torch.compile. `autotunes`: see full_float32.
        """
        if draws > len(bank.timesteps):
            raise DataError(f"{draws} draws were asked for; the bank of this model has {len(bank.timesteps)}")
        self.denoiser, self.bank, self.draws = denoiser, bank, draws
        self.losses, self.unconditional = tuple(losses), unconditional
        self._schedule, self._policy_of = schedule, policy_of
        self._compiling, self._runtime = Compiling(denoiser, compile_mode, runtime.say), runtime
        self._autotunes = autotunes and autotunes_on(denoiser.device)
        self._largest = 1, 1  # the most images and captions that an example of the task has
        self._batch_size = runtime.batch_size
        self._told: set[str] = set()
        self._labels: tuple[str, ...] | None = None  # in place of captions, for a class-conditional model
        self._read = ReadAhead(denoiser)  # where the text encoders have to leave
        self._encoders: tuple[Encode[Tensor], Encode[str]] | None = None  # of pictures, of captions

    @property
    def device(self) -> torch.device:
        return self.denoiser.device

    def prepare(self, task: Task) -> None:
        """Its captions are looked at before the first evaluation; a class-conditional model needs its labels."""
        if not isinstance(self._schedule, Full):
            self._policy_of = partial(_policy, self._schedule, self.draw_table(), task.classes)
        if self.bank.own is not None and any(len(example.images) > 1 for example in task.examples):
            self._runtime.say(
                f"task {task.name!r} compares images with one another, and noise=per-image gives each its own noise: "
                "their scores scatter more than under shared noise, and image and group scores with them"
            )
        if self.denoiser.label_space:
            self._labels = _labels(task, self.denoiser.label_space)
        else:
            self._look_at_captions(task.examples)
        self._largest = _largest(task.examples)
        self._encoders = self._encoders_of(*self._largest)

    def follow(self, schedule: Schedule) -> None:
        """Measure examples by `schedule` from the next `prepare` on: a first wave has taught it more."""
        self._schedule = schedule

    def computed_with(self) -> Mapping[str, Json]:
        """The engine and the batch size, which move the last digits of errors."""
        engine = self.denoiser.engine + (", autotuned" if self._autotunes else "")
        return {"engine": engine, "batch_size": self._batch_size}

    def overlooked(self) -> frozenset[str]:
        """The traits of an image that its transform ignores."""
        return self.denoiser.overlooked

    def draw_table(self) -> DrawTable:
        """The whole bank, so that any number of its draws can be weighed later."""
        alpha, sigma = self.denoiser.noising(torch.from_numpy(self.bank.timesteps))
        return DrawTable(
            timesteps=self.bank.timesteps.astype(np.float64),
            alpha=alpha.float().numpy(),
            sigma=sigma.float().numpy(),
            target=self.denoiser.target,
        )

    def score(self, examples: Sequence[Example], known: Mapping[str, Measurement]) -> Iterator[Measurement]:
        """Measure what `known` lacks, draw by draw; an example that outlasts a chunk or round comes in several pieces.

        RunError names example, caption and draw of an error that is not finite; what came before it stands.
        """
        if self._labels is None:
            self._look_at_captions(examples)
        examples = one_per_content(examples)
        works = (self._work(example, known.get(example.id)) for example in examples)
        first = next((work for work in works if work.n_left), None)
        if first is None:
            return
        stages.tell("encoding")
        images = Counter(image for example in examples for image in example.images)
        captions = Counter(text for example in examples for text in self._captions(example))
        encode_pixels, encode_captions = self._encoders or self._encoders_of(*_largest(examples))
        if self.denoiser.is_cramped:  # before anything else is there
            self._read.read([*captions, _NO_CAPTION], encode_captions, self._runtime.say)
            encode_captions = self._read
        engine = self._engine(self._n_jobs(examples, known), first.example, self._runtime.advance)
        with Ahead(images, lambda image: self.denoiser.pixels(image.decode())) as ahead:
            latents = Shelf(images, lambda some: encode_pixels(ahead.take(some)))
            states = Shelf(captions, encode_captions)
            size = engine.batch_size
            stages.tell("first batch")
            for piece in Line(engine, latents, states, self.bank).measured(first, works):
                if engine.batch_size < size:  # memory ran out: the next call begins there
                    self._batch_size = size = engine.batch_size
                yield piece
        if told := ahead.waiting.told():
            self._runtime.say(told)

    def price(self, examples: Sequence[Example], *, probe_seconds: float = 2.0) -> Price:
        """Counted on the real network, and timed for `probe_seconds` after one batch to warm up."""
        example = _first_readable(examples)
        n_jobs = self.draws * sum(len(example.images) * len(example.captions) for example in examples)
        engine = self._engine(n_jobs, example, lambda evaluations: None, will_run=False)
        latents, states = self._first_pair(example)
        jobs = np.zeros((engine.batch_size, 3), dtype=np.int64)
        jobs[:, 2] = np.arange(engine.batch_size) % self.draws
        n_batches, began = 0, time.perf_counter()
        engine.errors(latents, states, jobs)
        seconds = time.perf_counter() - began
        if seconds < probe_seconds:  # a slower machine is told by its first batch
            began = time.perf_counter()
            while (seconds := time.perf_counter() - began) < probe_seconds:
                engine.errors(latents, states, jobs)
                n_batches += 1
        return Price(
            evaluations_per_pair=self.draws,
            flops_per_evaluation=self._flops(engine, latents, states),
            seconds_per_evaluation=seconds / (max(n_batches, 1) * engine.batch_size),
            bytes_per_pair=self.draws * _BYTES_PER_ERROR,
        )

    def _work(self, example: Example, known: Measurement | None) -> Work:
        policy = None if self._policy_of is None else self._policy_of(example)
        rule = Rule() if isinstance(self._schedule, Full) else self._schedule.rule
        return Work(example, self._captions(example), self.losses, self.draws, policy, known, rule)

    def _encoders_of(self, n_images: int, n_captions: int, *, keeps: bool = True) -> tuple[Encode[Tensor], Encode[str]]:
        """Encoders of pictures and of captions, with batches as large as the largest example of a task needs.

        `keeps`: whether latents may be left in the cache folder for a later run.
        """
        denoiser, say = self.denoiser, self._runtime.say
        pictures: FixedBatches[Tensor] = FixedBatches(
            lambda pixels: {"latents": denoiser.encode_pixels(stacked(pixels, self.device))},
            max(1, min(n_images, _PICTURES_AT_ONCE)),
            self.device,
            say,
            autotunes=self._autotunes,
        )
        captions = FixedBatches(denoiser.encode_captions, max(1, min(n_captions, _CAPTIONS_AT_ONCE)), self.device, say)
        autoencoder = denoiser.autoencoder if keeps else ""
        if autoencoder and self._autotunes:
            autoencoder += " autotuned"
        return KeptLatents(pictures, autoencoder, self.device, say) if autoencoder else pictures, captions

    def _captions(self, example: Example) -> tuple[str, ...]:
        """The captions that the network is given, with the empty one last where that is asked for."""
        captions = example.captions if self._labels is None else self._labels
        return (*captions, _NO_CAPTION) if self.unconditional else captions

    def _n_jobs(self, examples: Sequence[Example], known: Mapping[str, Measurement]) -> int:
        """As many as the schedule plans; of a race, which nobody knows before, at most so many."""
        n_all = sum(len(example.images) * self._n_per_image(len(self._captions(example))) for example in examples)
        rule = Rule(draws=self.draws, unconditional=self.unconditional)
        return n_all - sum(n_known(measurement, rule) for measurement in known.values())

    def _n_per_image(self, n_captions: int) -> int:
        if isinstance(self._schedule, Staged):
            return self._schedule.n_evaluations(n_captions)
        return self.draws * n_captions

    def _engine(
        self, n_jobs: int, example: Example, advance: Callable[[int], None], *, will_run: bool = True
    ) -> ErrorEngine:
        timesteps = torch.from_numpy(self.bank.timesteps[: self.draws]).to(self.device)
        engine = ErrorEngine(
            self.denoiser,
            self._noise,
            timesteps,
            1,
            losses=self.losses,
            say=self._runtime.say,
            advance=advance,
            autotunes=self._autotunes,
        )
        pair = cache(partial(self._first_pair, example))  # encoded before memory is measured
        if self._batch_size is None:
            # not tuned: that is for the one shape that stays
            self._batch_size = first_batch_size(self.denoiser, self._probe(engine, pair, autotunes=False))
        engine.batch_size = self._batch_size  # also for fewer jobs: another shape would move their errors
        if will_run:  # once the batch size is known: each shape is compiled again
            probe = self._probe(engine, pair, autotunes=self._autotunes)
            self._compiling.before(n_jobs, engine.batch_size, probe)
        return engine

    @cached_property
    def _noise(self) -> Tensor:
        """[D, c, h, w] float32, made on the CPU so that every device sees the same."""
        if self.bank.own is not None:  # comes with the jobs; what is timed and tried out has one for all
            return self.bank.noise([0], self.denoiser.latent_shape).to(self.device).expand(self.draws, -1, -1, -1)
        noise = self.bank.noise(range(self.draws), self.denoiser.latent_shape)
        if self.device.type == "cuda" and noise.nbytes > _NOISE_SHARE * torch.cuda.mem_get_info(self.device)[0]:
            return noise
        return noise.to(self.device)

    def _probe(
        self, engine: ErrorEngine, pair: Callable[[], tuple[Tensor, Conditioning]], *, autotunes: bool
    ) -> Callable[[int], object]:
        """A function that runs one batch of a size."""
        silent = ErrorEngine(self.denoiser, engine.noise, engine.timesteps, 1, losses=self.losses, autotunes=autotunes)

        def run_batch(size: int) -> object:
            silent.batch_size = size
            return silent.errors(*pair(), np.zeros((size, 3), dtype=np.int64))

        return run_batch

    def _first_pair(self, example: Example) -> tuple[Tensor, Conditioning]:
        """A picture and no caption: as costly as any caption, and known to a model that is not prepared."""
        # in batches of the run's own shape, the only one to be tuned; a dry run writes nothing
        encode_pixels, encode_captions = self._encoders_of(*self._largest, keeps=False)
        latents = encode_pixels([self.denoiser.pixels(example.images[0].decode())])["latents"]
        if self.denoiser.is_cramped:
            self._read.read([_NO_CAPTION], encode_captions, lambda message: None)
            return latents, self._read([_NO_CAPTION])
        return latents, encode_captions([_NO_CAPTION])

    def _flops(self, engine: ErrorEngine, latents: Tensor, states: Conditioning) -> float:
        """The operations of one evaluation; attention in its written-out form, as not every fused kernel is counted."""
        noise = engine.noise[:1].to(self.device)
        with torch.inference_mode(), FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
            self.denoiser.errors(latents, noise, engine.timesteps[:1], states, self.losses)
        return float(counter.get_total_flops())

    def _look_at_captions(self, examples: Sequence[Example]) -> None:
        """DataError for an empty caption; the number of those too long for the text encoder is said once."""
        distinct = {id(example.captions): example for example in examples}  # the classes of a task are one tuple
        for example in distinct.values():
            for number, caption in enumerate(example.captions):
                if not caption.strip():
                    raise DataError(
                        f"caption {number} of example {example.id!r} is empty; expected words that describe an image"
                    )
        texts = dict.fromkeys(text for example in distinct.values() for text in example.captions)
        captions = [text for text in texts if text not in self._told]
        self._told.update(captions)
        if too_long := self.denoiser.too_long(captions):
            n_alike = len(self.denoiser.alike(too_long))
            alike = f", and {n_alike} of them differ only after that: their errors are the same" if n_alike else ""
            self._runtime.say(
                f"{len(too_long)} of {len(captions)} distinct captions are longer than the text encoder's context; "
                f"it sees only their beginning{alike}, e.g. of {too_long[0][:80]!r}"
            )
        if special := self.denoiser.special(captions):
            self._runtime.say(
                f"{len(special)} of {len(captions)} distinct captions spell a special token of the tokenizer, "
                f"which reads it as that token, not as text: {special[0][:80]!r} the first"
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


def _largest(examples: Sequence[Example]) -> tuple[int, int]:
    """The most images and the most captions that one of them has.

    Not counting "no caption": whether that is measured too must not move the other captions' states.
    """
    n_images = max((len(example.images) for example in examples), default=1)
    return n_images, max((len(example.captions) for example in examples), default=1)


def _policy(schedule: Staged | Racing, draws: DrawTable, classes: Classes | None, example: Example) -> Policy:
    return schedule.policy(example.id, example.matches, draws, classes)


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
