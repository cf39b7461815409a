"""The identity of a run: what decides its folder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from compbench.core.aliases import Json
from compbench.core.digests import digest_of
from compbench.core.disk import slug

__all__ = ["MEASUREMENT_VERSION", "RunKey"]

MEASUREMENT_VERSION = 1  # raised when a change of the code changes what is measured


@dataclass(frozen=True, slots=True)
class RunKey:
    """All that changes a measurement, and nothing else: two keys are equal exactly when their folders are."""

    task: str
    task_revision: str
    model: str  # the label
    weights: str | None  # "hf:org/name@commit" or "sha256:..."; None for a model without weights
    measurement: Mapping[str, Json]  # a model's identity()

    @property
    def digest(self) -> str:
        """Twelve hex digits."""
        words = {"measurement_version": MEASUREMENT_VERSION, **self.to_json()}
        return digest_of(words, is_compact=True, allow_nan=False)

    @property
    def folder(self) -> Path:
        """Relative to the store's root."""
        return Path(slug(self.task), slug(self.model), self.digest)

    def to_json(self) -> dict[str, Json]:
        """The fields, as run.json holds them."""
        return {
            "task": self.task,
            "task_revision": self.task_revision,
            "model": self.model,
            "weights": self.weights,
            "measurement": dict(self.measurement),
        }
