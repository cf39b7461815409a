"""A plugin that does wrong where it is told to."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from compbench.core.examples import Task
from compbench.core.measurements import ScoreMatrix
from compbench.core.models import ModelSpec

__all__ = ["Faulty"]


@dataclass(frozen=True)
class Faulty(ModelSpec):
    """Does in each of its methods what it is told to do."""

    do: Mapping[str, Callable[[], Any]] = field(default_factory=dict, metadata={"option": False})

    def identity(self) -> Any:
        return self.do.get("identity", dict)()

    def build(self, source: object, runtime: object) -> Any:
        self.do.get("build", int)()
        return Scorer(self.do)


@dataclass
class Scorer:
    """Scores 1 and 0, but for what it is told to do."""

    do: Mapping[str, Callable[[], Any]]

    def prepare(self, task: Task) -> None:
        self.do.get("prepare", int)()

    def score(self, examples: Any, known: Any) -> Iterator[Any]:
        for example in examples:
            yield self.do["score"]() if "score" in self.do else ScoreMatrix(example.id, np.eye(2))
