"""What the engine and the store cost beside the network: `python -m tests.benchmarks.overhead [--classes] [--json]`.

A network that costs next to nothing is measured through `compbench.run`, so that all that is left is ours. Without
--classes: 2x2 examples from 10 to 10,000, every draw. With --classes: the published ImageNet schedule, 1,000 classes.
Each row is a process of its own, for its peak memory; evaluations and bytes are counted.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import rich.console
import rich.table
import torch
from torch import Tensor

import compbench
from compbench.core.aliases import Json
from compbench.core.examples import Classes, Example, Task
from compbench.core.measurements import Measurement
from compbench.core.metrics import CLASSIFYING
from compbench.core.models import ModelSpec, Runtime, Source
from compbench.diffusion.classifier import DiffusionClassifier
from compbench.diffusion.denoiser import Denoiser, Tabled
from compbench.diffusion.draws import seeded_bank
from compbench.schedules.schedule import Full, Schedule, entry_of
from compbench.schedules.staged import PUBLISHED
from tests.benchmarks.growth import grey, pairs


class Cheap(Denoiser):
    """A denoiser of one number a picture: its residual is a hash of picture, caption and timestep, and the noise's."""

    target, device, latent_shape = "v", torch.device("cpu"), (1, 1, 1)
    noising = Tabled.from_alphas_cumprod(torch.linspace(0.999, 0.005, 1000), "v")

    def __init__(self) -> None:
        self.n_evaluations = 0  # padding included

    def pixels(self, image: PIL.Image.Image) -> Tensor:
        return torch.tensor(float(image.getpixel((0, 0)))).view(1, 1, 1)  # pyright: ignore[reportArgumentType]

    def encode_pixels(self, pixels: Tensor) -> Tensor:
        return pixels

    def encode_captions(self, captions: Sequence[str]) -> Mapping[str, Tensor]:
        return {"number": torch.tensor([float((caption or "-1").split()[-1]) for caption in captions])}

    def errors(
        self, latents: Tensor, noise: Tensor, timesteps: Tensor, conditioning: Any, losses: Sequence[str]
    ) -> Tensor:
        self.n_evaluations += len(latents)
        phase = latents.flatten() * 12.9898 + conditioning["number"] * 78.233 + timesteps * 0.5
        return (1.0 + 0.1 * torch.sin(phase) + 0.1 * noise.flatten().abs()).expand(len(losses), -1)


class Timed(DiffusionClassifier):
    """Counts from its first example on: what the harness does to tell a price is not the run."""

    began = 0.0

    def score(self, examples: Sequence[Example], known: Mapping[str, Measurement]) -> Iterator[Measurement]:
        self.denoiser.n_evaluations, self.began = 0, time.perf_counter()  # pyright: ignore
        yield from super().score(examples, known)


@dataclass(frozen=True)
class CheapSpec(ModelSpec):
    """The model of a Cheap denoiser."""

    draws: int = 16
    batch_size: int = 1024
    schedule: Schedule = field(default=Full(), metadata={"option": False})
    built: list[Timed] = field(default_factory=list, compare=False, metadata={"option": False})

    def identity(self) -> Mapping[str, Json]:
        return {"kind": "cheap"} | entry_of(self.schedule)

    def view(self) -> Mapping[str, Json]:
        return {"n_draws": self.draws, "target": "native"}

    def build(self, source: Source | None, runtime: Runtime) -> DiffusionClassifier:
        where = Runtime("cpu", self.batch_size, say=runtime.say, advance=runtime.advance)
        self.built.append(Timed(Cheap(), seeded_bank(0), self.draws, where, schedule=self.schedule))  # pyright: ignore
        return self.built[-1]


def many_classes(n_classes: int, n_images: int) -> Task:
    """One caption a class, shared by all; images in turn of each class."""
    names = tuple(f"class {k}" for k in range(n_classes))
    truths = np.eye(n_classes, dtype=bool)[:, None]
    examples = [
        Example(f"{k:06d}", (grey(k),), names, truths[k % n_classes], {"class": (names[k % n_classes],)})
        for k in range(n_images)
    ]
    return Task("classes", examples, CLASSIFYING, classes=Classes(names, tuple(range(n_classes))))


def measured(n: int, *, classes: bool) -> dict[str, Any]:
    """One row."""
    if classes:
        task, spec = many_classes(1000, n), CheapSpec(draws=1000, schedule=PUBLISHED["imagenet"])
    else:
        task, spec = pairs(n), CheapSpec()
    with tempfile.TemporaryDirectory() as folder:
        run = compbench.run(task, model=spec, runs=folder, batch_size=spec.batch_size)
        (scorer,) = spec.built
        seconds, n_evaluations = time.perf_counter() - scorer.began, scorer.denoiser.n_evaluations  # pyright: ignore
        n_bytes = sum(path.stat().st_size for path in Path(folder).rglob("*") if path.is_file())
        n_errors = sum(int(str(part["n_errors"])) for part in run.parts())
    return {
        "examples": n,
        "network_evaluations": n_evaluations,
        "errors_stored": n_errors,
        "microseconds_per_evaluation": seconds / n_evaluations * 1e6,
        "seconds": seconds,
        "peak_memory_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "store_bytes": n_bytes,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--examples", type=int, nargs="+")
    parser.add_argument("--classes", action="store_true")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--row", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.row is not None:
        print(json.dumps(measured(arguments.row, classes=arguments.classes)))
        return
    sizes = arguments.examples or ([20, 200] if arguments.classes else [10, 100, 1_000, 10_000])
    flags = ["--classes"] if arguments.classes else []
    rows = [_in_its_own_process(n, flags) for n in sizes]
    print(json.dumps(rows, indent=2)) if arguments.json else _print(rows)


def _in_its_own_process(n: int, flags: Sequence[str]) -> dict[str, Any]:
    command = [sys.executable, "-m", "tests.benchmarks.overhead", "--row", str(n), *flags]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def _print(rows: Sequence[dict[str, Any]]) -> None:
    table = rich.table.Table(title="what is ours, beside a network that costs next to nothing")
    for heading in ("examples", "evaluations", "µs an evaluation", "peak memory", "stored", "bytes an error"):
        table.add_column(heading, justify="right")
    for row in rows:
        table.add_row(
            f"{row['examples']:,}",
            f"{row['network_evaluations']:,}",
            f"{row['microseconds_per_evaluation']:.2f}",
            f"{row['peak_memory_bytes'] / 2**20:,.0f} MiB",
            f"{row['store_bytes'] / 2**20:,.1f} MiB",
            f"{row['store_bytes'] / row['errors_stored']:.1f}",
        )
    rich.console.Console().print(table)


if __name__ == "__main__":
    main()
