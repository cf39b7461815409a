"""Scores drawn at random: what a model must beat, by simulation.

Each example's scores come from (seed, its id) alone, so they do not depend on the order of the examples.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Self

import numpy as np

from compbench.core.aliases import Json
from compbench.core.examples import Example, Task
from compbench.core.measurements import Measurement, ScoreMatrix
from compbench.core.models import ModelSpec, ResolvedModel, Runtime, Source

__all__ = ["Chance"]


@dataclass(frozen=True)
class Chance(ModelSpec):
    """Independent uniform scores; spec and scorer in one."""

    seed: int = field(default=0, metadata={"help": "another seed gives other scores"})

    def resolve(self, task: Task | None) -> ResolvedModel:
        return replace(ModelSpec.resolve(self, task), embeds_text=True)  # whatever is compared

    def identity(self) -> Mapping[str, Json]:
        return {"scorer": "chance", "version": 1, "seed": self.seed}

    def build(self, source: Source | None, runtime: Runtime) -> Self:
        return self

    def prepare(self, task: Task) -> None: ...

    def score(self, examples: Sequence[Example], known: Mapping[str, Measurement]) -> Iterator[ScoreMatrix]:
        for example in examples:
            digest = hashlib.sha256(f"{self.seed}/{example.id}".encode()).digest()
            rng = np.random.default_rng(int.from_bytes(digest))
            yield ScoreMatrix(example.id, rng.random(example.shape))
