"""Hand-made pieces whose answers can be checked by hand."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import PIL.Image

from compbench.core.aliases import Json
from compbench.core.examples import Example, Image, Task
from compbench.core.measurements import DrawTable, Measurement, ScoreMatrix
from compbench.core.metrics import MATCHING
from compbench.core.models import ModelSpec, Runtime, Source

TAGS = ("Object", "Relation", "Both")


def example(number: int, *, colour: int = 0) -> Example:
    """A 2x2 example with plain grey pictures; example n carries the tag number n modulo 3."""
    images = tuple(
        Image(f"{number}-{side}.png", lambda grey=grey: PIL.Image.new("RGB", (8, 8), (grey,) * 3))
        for side, grey in enumerate((number % 200, 200 + colour))
    )
    captions = (f"caption zero of {number}", f"caption one of {number}")
    return Example(f"{number:04d}", images, captions, np.eye(2, dtype=bool), {"tag": (TAGS[number % 3],)})


def task(n: int = 12, name: str = "fake") -> Task:
    """`n` examples of `example`."""
    return Task(name, tuple(example(i) for i in range(n)), MATCHING, tag_order={"tag": TAGS})


@dataclass
class PerfectScorer:
    """Score 1 for a match, 0 otherwise; remembers which examples it was asked about."""

    asked: list[str] = field(default_factory=list[str])

    def prepare(self, task: Task) -> None:
        self.task = task

    def score(self, examples: Sequence[Example], known: Mapping[str, Measurement]) -> Iterator[ScoreMatrix]:
        for example in examples:
            self.asked.append(example.id)
            yield ScoreMatrix(example.id, example.matches.astype(np.float64))


@dataclass
class ErrorScorer:
    """Error d + 1 at draw d for a wrong pair and d for a right one: the score of every draw count is known."""

    n_draws: int = 4
    n_bank: int = 10
    measured_draws: list[tuple[str, int]] = field(default_factory=list[tuple[str, int]])

    def prepare(self, task: Task) -> None:
        self.task = task

    def draw_table(self) -> DrawTable:
        ramp = np.linspace(0.1, 0.9, self.n_bank, dtype=np.float32)
        return DrawTable(np.arange(self.n_bank), np.sqrt(1 - ramp**2), ramp, "v")

    def score(self, examples: Sequence[Example], known: Mapping[str, Measurement]) -> Iterator[Measurement]:
        for example in examples:
            have = set(known[example.id].draw_ids.tolist()) if example.id in known else set[int]()
            draws = np.array([d for d in range(self.n_draws) if d not in have], dtype=np.int32)
            self.measured_draws += [(example.id, int(d)) for d in draws]
            errors = draws[None, None, :] + (~example.matches)[..., None].astype(np.float32)
            yield Measurement(example.id, draws, {"l2": errors.astype(np.float32)}, np.ones(errors.shape, bool))


@dataclass(frozen=True)
class Spec(ModelSpec):
    """A ModelSpec around one of the scorers above."""

    kind: str = "perfect"
    draws: int | None = None

    def identity(self) -> Mapping[str, Json]:
        return {"kind": self.kind}

    def view(self) -> Mapping[str, Json]:
        return {} if self.kind == "perfect" else {"n_draws": self.draws or 4, "target": "native"}

    def build(self, source: Source | None, runtime: Runtime) -> PerfectScorer | ErrorScorer:
        return PerfectScorer() if self.kind == "perfect" else ErrorScorer(self.draws or 4)


@dataclass
class HashScorer:
    """Errors that look random and depend on (example, pair, draw) alone, one example every `seconds`."""

    n_draws: int
    n_bank: int = 16
    seconds: float = 0.0

    def prepare(self, task: Task) -> None:
        pass

    def draw_table(self) -> DrawTable:
        ramp = np.linspace(0.1, 0.9, self.n_bank, dtype=np.float32)
        return DrawTable(np.arange(self.n_bank), np.sqrt(1 - ramp**2), ramp, "v")

    def score(self, examples: Sequence[Example], known: Mapping[str, Measurement]) -> Iterator[Measurement]:
        for example in examples:
            time.sleep(self.seconds)
            have = set(known[example.id].draw_ids.tolist()) if example.id in known else set[int]()
            draws = np.array([d for d in range(self.n_draws) if d not in have], dtype=np.int32)
            seed = int.from_bytes(example.id.encode(), "big")
            errors = np.random.default_rng(seed).random((*example.shape, self.n_bank), np.float32)[..., draws]
            yield Measurement(example.id, draws, {"l2": errors}, np.ones(errors.shape, bool))


@dataclass(frozen=True)
class HashSpec(ModelSpec):
    """The model of a HashScorer; its pace is no part of its identity."""

    draws: int = 8
    seconds: float = 0.0
    n_bank: int = field(default=16, metadata={"option": False})

    def identity(self) -> Mapping[str, Json]:
        return {"bank": self.n_bank}

    def view(self) -> Mapping[str, Json]:
        return {"n_draws": self.draws, "target": "native"}

    def build(self, source: Source | None, runtime: Runtime) -> HashScorer:
        return HashScorer(self.draws, self.n_bank, self.seconds)


@dataclass(frozen=True)
class GivenSpec(ModelSpec):
    """The model of a scorer that the test holds in its hands, or of none: then building it fails the test."""

    scorer: Any = field(default=None, metadata={"option": False})
    view_of: Mapping[str, Json] = field(default_factory=dict[str, Json], metadata={"option": False})
    weights: Source | None = field(default=None, metadata={"option": False})

    def source(self) -> Source | None:
        return self.weights

    def identity(self) -> Mapping[str, Json]:
        return {"kind": "given"}

    def view(self) -> Mapping[str, Json]:
        return self.view_of

    def build(self, source: Source | None, runtime: Runtime) -> Any:
        assert self.scorer is not None, "the model was built although nothing lacked"
        return self.scorer


class RecordingDenoiser:
    """A denoiser whose errors are known: its residual is caption number / 10 + timestep / 1000, and the image's grey.

    Remembers the size of each batch and which (image, caption, timestep) it was asked for. Latents carry the grey of
    the picture, conditioning the number that ends the caption, -1 for no caption. Above `fits` jobs a batch is out of
    memory.
    """

    def __init__(self, *, n_timesteps: int = 1000, fits: int = 1_000_000, target: str = "v") -> None:
        import torch

        from compbench.diffusion.denoiser import Tabled

        ramp = torch.linspace(0.999, 0.005, n_timesteps)
        self.noising = Tabled.from_alphas_cumprod(ramp, "v")
        self.label_space, self.dtype, self.engine, self.overlooked = "", "", "eager", frozenset()
        self.is_cramped, self.autoencoder, self.autoencoder_dtype, self.architecture = False, "", "", ""
        self.target, self.device, self.latent_shape = target, torch.device("cpu"), (1, 2, 2)
        self.fits = fits
        self.batch_sizes: list[int] = []
        self.jobs: list[tuple[int, int, int]] = []  # (grey, caption number, timestep), padding included
        self.images_encoded: list[int] = []
        self.captions_encoded: list[str] = []
        self.broken: tuple[int, int] | None = None  # (caption number, timestep) that gives NaN

    def compile(self, mode, say):
        say(f"compiled: {mode}")

    def pixels(self, image):
        import torch

        return torch.tensor(float(image.convert("L").getpixel((0, 0))))

    def encode_pixels(self, pixels):
        self.images_encoded += pixels.int().tolist()
        return pixels.view(-1, 1, 1, 1).expand(-1, 1, 2, 2).clone()

    def encode_captions(self, captions):
        import torch

        self.captions_encoded += captions
        numbers = [float(caption.split()[-1]) if caption else -1.0 for caption in captions]
        return {"number": torch.tensor(numbers)}

    def too_long(self, captions):
        return [caption for caption in captions if len(caption.split()) > 10]

    def alike(self, captions):
        return []

    def special(self, captions):
        return []

    def errors(self, latents, noise, timesteps, conditioning, losses):
        from compbench.diffusion.denoiser import reduced

        return reduced(self.residual(latents, noise, timesteps, conditioning), losses)

    def residual(self, latents, noise, timesteps, conditioning):
        import torch

        self.batch_sizes.append(len(latents))
        if len(latents) > self.fits:
            raise torch.OutOfMemoryError("out of memory")
        numbers = conditioning["number"]
        greys = latents[:, 0, 0, 0]
        self.jobs += zip(greys.int().tolist(), numbers.int().tolist(), timesteps.tolist(), strict=True)
        values = numbers / 10 + timesteps / 1000 + greys
        if self.broken is not None:
            is_broken = (numbers == self.broken[0]) & (timesteps == self.broken[1])
            values = torch.where(is_broken, torch.nan, values)
        return values.view(-1, 1, 1, 1).expand(-1, 1, 2, 2)
