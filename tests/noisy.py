"""A denoiser with known noise behind the real classifier, and tasks for it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import PIL.Image

from compbench.core.aliases import Json
from compbench.core.examples import Classes, Example, Image, Task
from compbench.core.metrics import CLASSIFYING, MATCHING
from compbench.core.models import ModelSpec, Runtime, Source
from compbench.diffusion.classifier import DiffusionClassifier
from compbench.diffusion.draws import seeded_bank
from compbench.schedules.schedule import Full, Schedule, entry_of
from fakes import RecordingDenoiser

N_BANK = 64


class Noisy(RecordingDenoiser):
    """Errors that scatter over draws: some comparisons are clear at once, others need the whole bank."""

    def residual(self, latents: Any, noise: Any, timesteps: Any, conditioning: Any) -> Any:
        import torch

        clear = super().residual(latents, noise, timesteps, conditioning)
        hashed = torch.sin(latents * 12.9898 + conditioning["number"].view(-1, 1, 1, 1) * 78.233 + noise * 43.1)
        return 1 + 0.002 * clear + 0.3 * hashed


@dataclass(frozen=True)
class NoisySpec(ModelSpec):
    schedule: Schedule = dataclasses.field(default=Full(), metadata={"option": False})
    built: list[Noisy] = dataclasses.field(default_factory=list, compare=False, metadata={"option": False})

    def identity(self) -> Mapping[str, Json]:
        return {"kind": "noisy"} | entry_of(self.schedule)

    def view(self) -> Mapping[str, Json]:
        return {"n_draws": N_BANK, "target": "native"}

    def build(self, source: Source | None, runtime: Runtime) -> DiffusionClassifier:
        self.built.append(Noisy())
        where = Runtime("cpu", 8, say=runtime.say, advance=runtime.advance)
        return DiffusionClassifier(self.built[-1], seeded_bank(0), N_BANK, where, schedule=self.schedule)


def grey(value: int) -> Image:
    return Image(f"{value}.png", lambda: PIL.Image.new("L", (2, 2), value), sha256=f"{value:064d}")


def pairs(n: int = 12) -> Task:
    eye = np.eye(2, dtype=bool)
    captions = [(f"caption {2 * k}", f"caption {2 * k + 1}") for k in range(n)]
    return Task(
        "pairs", [Example(f"{k:02d}", (grey(2 * k), grey(2 * k + 1)), captions[k], eye) for k in range(n)], MATCHING
    )


def classes(n_classes: int = 9, n: int = 8) -> Task:
    names = tuple(f"class {k}" for k in range(n_classes))
    truths = np.eye(n_classes, dtype=bool)[:, None]
    examples = [Example(f"{k:02d}", (grey(k),), names, truths[k % n_classes]) for k in range(n)]
    return Task("kinds", examples, CLASSIFYING, classes=Classes(names, tuple(range(n_classes))))
