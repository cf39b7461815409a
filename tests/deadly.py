"""A model that kills its own process, once, in the middle of a batch: as an operating system out of memory does."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from compbench.core.models import Runtime, Source
from compbench.diffusion.classifier import DiffusionClassifier
from compbench.diffusion.draws import seeded_bank
from noisy import N_BANK, Noisy, NoisySpec

__all__ = ["DeadlySpec"]


@dataclass(frozen=True)
class DeadlySpec(NoisySpec):
    """Measures as NoisySpec does, at `seconds` a batch, and dies at the evaluation `at` if nobody did before.

    The file `grave` then holds a copy of run.json as it was; `runs` is where that is.
    """

    at: int = field(default=0, metadata={"option": False})
    seconds: float = field(default=0.02, metadata={"option": False})
    runs: str = field(default="", metadata={"option": False})
    grave: str = field(default="", metadata={"option": False})

    def build(self, source: Source | None, runtime: Runtime) -> DiffusionClassifier:
        where = Runtime("cpu", 8, say=runtime.say, advance=runtime.advance)
        return DiffusionClassifier(_Deadly(self), seeded_bank(0), N_BANK, where, schedule=self.schedule)


class _Deadly(Noisy):
    def __init__(self, spec: DeadlySpec) -> None:
        super().__init__()
        self._spec, self._n_left = spec, spec.at

    def residual(self, latents: Any, noise: Any, timesteps: Any, conditioning: Any) -> Any:
        time.sleep(self._spec.seconds)
        self._n_left -= len(latents)
        if self._n_left < 0 and self._dies():
            os.kill(os.getpid(), signal.SIGKILL)
        return super().residual(latents, noise, timesteps, conditioning)

    def _dies(self) -> bool:
        """Whether it is the first to, of all processes."""
        try:
            with open(self._spec.grave, "xb") as grave:
                (words,) = Path(self._spec.runs).rglob("run.json")
                grave.write(words.read_bytes())
        except FileExistsError:
            return False
        return True
