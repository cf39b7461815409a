"""A run whose errors tell right from wrong at some timesteps alone, and are noise or misleading at all others."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import PIL.Image

import compbench
from compbench.core.aliases import Json
from compbench.core.examples import Example, Image, Task
from compbench.core.measurements import DrawTable, Measurement
from compbench.core.metrics import MATCHING
from compbench.core.models import ModelSpec, Runtime, Source
from compbench.store.run import Run

N_EXAMPLES = 120
N_DRAWS = 50


@dataclass(frozen=True)
class Planted(ModelSpec):
    """Wrong pairs err 0.3 more at t from 400 to 600; elsewhere errors scatter by 1 and tell nothing."""

    def identity(self) -> Mapping[str, Json]:
        return {"kind": "planted"}

    def view(self) -> Mapping[str, Json]:
        return {"n_draws": N_DRAWS, "target": "native"}

    def build(self, source: Source | None, runtime: Runtime) -> Planted:
        return self

    def prepare(self, task: Task) -> None: ...

    def draw_table(self) -> DrawTable:
        t = np.random.default_rng(1).permutation(N_DRAWS) * (1000 / N_DRAWS)
        sigma = (0.05 + 0.9 * t / 1000).astype(np.float32)
        return DrawTable(t, np.sqrt(1 - sigma**2), sigma, "eps")

    def score(self, examples: Sequence[Example], known: Mapping[str, Measurement]) -> Iterator[Measurement]:
        t = self.draw_table().timesteps
        tells = (t >= 400) & (t < 600)
        for example in examples:
            rng = np.random.default_rng(int(example.id))
            scatter = rng.normal(size=(*example.shape, N_DRAWS)) * np.where(tells, 0.1, 1.0)
            wrong = np.where(tells, 0.3, 0.0) * ~example.matches[..., None]
            errors = (5 + scatter + wrong).astype(np.float32)
            yield Measurement(example.id, np.arange(N_DRAWS), {"l2": errors}, np.ones(errors.shape, bool))


def planted(root: Path) -> Run:
    """A run on `task`."""
    return compbench.run(task(), model=Planted(), runs=root)


def task() -> Task:
    """120 examples, half of them tagged first and half second."""

    def picture() -> PIL.Image.Image:
        return PIL.Image.new("L", (2, 2))

    eye = np.eye(2, dtype=bool)
    examples = [
        Example(
            str(k),
            (Image(f"{k}a.png", picture), Image(f"{k}b.png", picture)),
            (f"caption a of {k}", f"caption b of {k}"),
            eye,
            {"half": ("first" if k < N_EXAMPLES // 2 else "second",)},
        )
        for k in range(N_EXAMPLES)
    ]
    return Task("planted", tuple(examples), MATCHING)
