"""The workers of one command, where it asks for some: started when something is to be measured, ended with it."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from compbench.core import stages
from compbench.core.errors import UsageError
from compbench.store.shards import shard_here

if TYPE_CHECKING:
    from compbench.core.models import ResolvedModel
    from compbench.runs._crew import Crew
    from compbench.runs.interrupts import Interrupts
    from compbench.runs.reporter import Reporter
    from compbench.runs.request import RunRequest
    from compbench.runs.resolve import ResolvedRun
    from compbench.store.writer import RunWriter

__all__ = ["Workers", "tell_idle", "workers_of"]


@contextmanager
def workers_of(request: RunRequest) -> Generator[Workers | None]:
    """The workers that a request asks for; None where this process measures by itself."""
    if request.workers is None:
        yield None
        return
    if shard_here(None) is not None:
        raise UsageError(
            "workers=ray starts a process per GPU by itself: run the command once, not under torchrun or srun"
        )
    workers = Workers(request)
    try:
        yield workers
    finally:
        workers.close()


def tell_idle(device: str, say: Callable[[str], None]) -> None:
    """Say that other GPUs of this machine have nothing to do, where this process has one and was not told which."""
    torch: Any = sys.modules.get("torch")
    if device != "auto" or torch is None or not torch.cuda.is_available() or shard_here(None) is not None:
        return
    if (n_gpus := torch.cuda.device_count()) > 1:
        say(
            f"this machine has {n_gpus} GPUs, and this process uses one: --workers ray uses all of them (pip install "
            "'compbench[ray]')"
        )


class Workers:
    """A crew that is there as soon as it is needed, and serves all runs of a command in turn."""

    def __init__(self, request: RunRequest) -> None:
        _, _, number = str(request.workers).partition(":")
        self._n_asked = int(number) if number else None
        self._address, self._device = request.ray_address or os.environ.get("RAY_ADDRESS"), request.device
        self._crew: Crew | None = None

    def settled(self, label: str, model: ResolvedModel, device: str, say: Callable[[str], None]) -> ResolvedModel:
        """`model` in the dtype that a worker's device computes in; see emulation.settled."""
        if model.precision is None or model.precision.dtype == "float32":
            return model
        return self._started().settled(label, model, device, say)

    def measuring(
        self, request: RunRequest, reporter: Reporter
    ) -> Callable[[ResolvedRun, RunWriter, Interrupts, set[str]], None]:
        """A function that measures what `request` asks for, but for examples that are known to be unreadable."""

        def measure(asked: ResolvedRun, writer: RunWriter, interrupts: Interrupts, skipped: set[str]) -> None:
            from compbench.runs._crew import Lead

            ids = [example_id for example_id in asked.own_ids if example_id not in skipped]
            Lead(self._started(), request, asked, writer, reporter, interrupts).measure(ids, skipped)

        return measure

    def close(self) -> None:
        if self._crew is not None:
            self._crew.close()

    def _started(self) -> Crew:
        if self._crew is None:
            from compbench.runs._ray import RayCrew

            stages.tell("starting Ray" if self._address is None else f"joining Ray at {self._address}")
            self._crew = RayCrew(self._address, self._n_asked, self._device)
        return self._crew
