"""The workers of one command: started when something is to be measured, ended with it.

Where a command says nothing, the GPUs of this machine are used, if there are several and Ray is installed.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from compbench.core import stages
from compbench.core.errors import UsageError
from compbench.core.packages import Package
from compbench.store.shards import shard_here

if TYPE_CHECKING:
    from compbench.core.models import ResolvedModel
    from compbench.runs._crew import Crew
    from compbench.runs.interrupts import Interrupts
    from compbench.runs.reporter import Reporter
    from compbench.runs.request import RunRequest
    from compbench.runs.resolve import ResolvedRun
    from compbench.store.writer import RunWriter

__all__ = ["Measures", "Workers", "gpus_here", "tell_idle", "workers_of"]

# measures what a run lacks, but for examples that are known to be unreadable
Measures: TypeAlias = "Callable[[ResolvedRun, RunWriter, Interrupts, set[str]], None]"

_RAY = Package("ray", "", "ray")
_WORTH_STARTING = 8  # examples left per GPU; a worker takes some ten seconds to start


@contextmanager
def workers_of(request: RunRequest) -> Generator[Workers | None]:
    """The workers that a request asks for, or that there are by default; None where this process measures by itself."""
    n_gpus = _n_by_default(request)
    if request.workers in (None, "none") and n_gpus == 0:
        yield None
        return
    if shard_here(None) is not None:
        raise UsageError(
            "workers=ray starts a process per GPU by itself: run the command once, not under torchrun or srun"
        )
    workers = Workers(request, n_gpus)
    try:
        yield workers
    finally:
        workers.close()


def gpus_here() -> int:
    """The number of NVIDIA GPUs that this process may use, without loading torch."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is None:
        return len(list(Path("/dev").glob("nvidia[0-9]*")))
    return len([name for name in visible.split(",") if name.strip() not in ("", "-1", "NoDevFiles")])


def _n_by_default(request: RunRequest) -> int:
    """The GPUs that are used where nothing is said of workers; 0 where there are none by default.

    Objects in memory stay in this process, which also measures by itself where it was told its device or its share.
    """
    is_by_name = isinstance(request.model, str) and isinstance(request.task, str | Path)
    is_told = request.is_told_where or shard_here(None) is not None
    if is_told or not is_by_name or _RAY.is_missing:
        return 0
    n_gpus = gpus_here()
    return n_gpus if n_gpus > 1 else 0


def tell_idle(say: Callable[[str], None]) -> None:
    """Say that other GPUs of this machine have nothing to do, where this process has one and was not told which."""
    torch: Any = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_available() or shard_here(None) is not None:
        return
    if (n_gpus := torch.cuda.device_count()) > 1:
        say(
            f"this machine has {n_gpus} GPUs, and this process uses one: --workers ray uses all of them (pip install "
            "'compbench[ray]')"
        )


class Workers:
    """A crew that is there as soon as it is needed, and serves all runs of a command in turn."""

    def __init__(self, request: RunRequest, n_by_default: int = 0) -> None:
        """`n_by_default` GPUs of this machine are used unasked, where a run is worth it; 0: workers are asked for."""
        _, _, number = str(request.workers or "").partition(":")
        self._n_asked, self._n_by_default = int(number) if number else None, n_by_default
        self._address, self._device = request.ray_address or os.environ.get("RAY_ADDRESS"), request.device
        if n_by_default:
            self._address = "local"
        self._crew: Crew | None = None

    def settled(self, label: str, model: ResolvedModel, device: str, say: Callable[[str], None]) -> ResolvedModel:
        """`model` in the dtype that a worker's device computes in; see emulation.settled."""
        if self._n_by_default:  # a GPU of this machine, as it would be without workers
            from compbench.diffusion import emulation

            return emulation.settled(label, model, device, say)
        if model.precision is None or model.precision.dtype == "float32":
            return model
        return self._started().settled(label, model, device, say)

    def measuring(self, request: RunRequest, reporter: Reporter, by_itself: Measures) -> Measures:
        """A function that measures what `request` asks for, but for examples that are known to be unreadable.

        What is not worth the workers that there are by default is left to `by_itself`.
        """

        def measure(asked: ResolvedRun, writer: RunWriter, interrupts: Interrupts, skipped: set[str]) -> None:
            from compbench.runs._crew import Lead

            if self._n_by_default:
                if not self._is_worth(asked, writer):
                    by_itself(asked, writer, interrupts, skipped)
                    return
                reporter.say(f"using the {self._n_by_default} GPUs of this machine (--workers none: one of them)")
            ids = [example_id for example_id in asked.own_ids if example_id not in skipped]
            Lead(self._started(), request, asked, writer, reporter, interrupts).measure(ids, skipped)

        return measure

    def close(self) -> None:
        if self._crew is not None:
            self._crew.close()

    def _is_worth(self, asked: ResolvedRun, writer: RunWriter) -> bool:
        """Whether a model computes on a GPU, alike in every process, and long enough."""
        has_weights = asked.model.source is not None and asked.model.learning is None
        return has_weights and len(asked.missing(writer.run)) >= _WORTH_STARTING * self._n_by_default

    def _started(self) -> Crew:
        if self._crew is None:
            from compbench.runs._ray import RayCrew

            stages.tell("starting Ray" if self._address is None else f"joining Ray at {self._address}")
            self._crew = RayCrew(self._address, self._n_asked, self._device)
        return self._crew
