"""A crew whose workers are threads of this process: the real driver and the real workers, without Ray."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from compbench.core.models import ResolvedModel
from compbench.runs import harness
from compbench.runs._crew import Lead
from compbench.runs._messages import Died, Failed, Finished, Message, Order, Stopped
from compbench.runs._worker import Worker
from compbench.runs.interrupts import Interrupts
from compbench.runs.reporter import QuietReporter
from compbench.runs.request import RunRequest
from compbench.runs.resolve import ResolvedRun, resolve
from compbench.store.run import Run
from compbench.store.writer import RunWriter

__all__ = ["Heard", "ThreadCrew", "led"]


class Heard(QuietReporter):
    """Remembers what it is told."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.examples = self.pairs = 0
        self.started: list[tuple[int, int]] = []

    def start(self, label: str, n_examples: int, n_done: int, n_pairs: int, n_evaluations: int | None) -> None:
        self.started.append((n_examples, n_done))

    def advance(self, examples: int = 0, pairs: int = 0, evaluations: int = 0) -> None:
        self.examples += examples
        self.pairs += pairs

    def say(self, message: str) -> None:
        self.said.append(message)


@dataclass
class ThreadCrew:
    """`n` workers; `order_of` is how each hears an order, `dies` says before which examples a worker is gone."""

    n: int = 2
    order_of: Callable[[str, Order], Order] = lambda worker, order: order
    dies: Callable[[str, Sequence[str]], bool] = lambda worker, ids: False
    workers: dict[str, Worker] = field(default_factory=dict[str, Worker])
    given: list[tuple[str, tuple[str, ...]]] = field(default_factory=list[tuple[str, tuple[str, ...]]])
    n_started: int = 0
    n_retired: int = 0
    _order: Order | None = None
    _dead: list[str] = field(default_factory=list[str])
    _busy: set[str] = field(default_factory=set[str])

    @property
    def n_wanted(self) -> int:
        return self.n - self.n_retired

    def begin(self, order: Order) -> None:
        self._order = order
        for name, worker in self.workers.items():
            worker.begin(self.order_of(name, order))
        self._fill()

    def measure(self, worker: str, ids: Sequence[str]) -> None:
        self.given.append((worker, tuple(ids)))
        if self.dies(worker, ids):
            self._dead.append(worker)
            del self.workers[worker]
        else:
            self._busy.add(worker)
            self.workers[worker].measure(ids)

    def conclude(self, worker: str) -> None:
        self._busy.add(worker)
        self.workers[worker].conclude()

    def heard(self, seconds: float) -> list[tuple[str, Message]]:
        found: list[tuple[str, Message]] = [(worker, Died("it was killed")) for worker in self._dead]
        self._dead = []
        self._fill()
        until = time.monotonic() + seconds
        while not found and time.monotonic() < until:
            found += [(name, message) for name, worker in self.workers.items() for message in worker.heard(0.002)]
        self._busy -= {name for name, message in found if isinstance(message, Finished | Stopped | Failed)}
        return found

    def replace(self, worker: str) -> None:
        self.workers.pop(worker, None)

    def retire(self, worker: str) -> None:
        self.n_retired += 1
        self.workers.pop(worker, None)

    def rest(self) -> None:
        for worker in self._busy & self.workers.keys():
            self.workers[worker].stop()
        until = time.monotonic() + 10
        while self._busy & self.workers.keys() and time.monotonic() < until:
            self.heard(0.05)
        self._order = None

    def close(self) -> None: ...

    def settled(self, label: str, model: ResolvedModel, device: str, say: Callable[[str], None]) -> ResolvedModel:
        return model

    def _fill(self) -> None:
        while self._order is not None and len(self.workers) + len(self._dead) < self.n_wanted:
            self.n_started += 1
            name = f"worker {self.n_started}"
            self.workers[name] = Worker()
            self.workers[name].begin(self.order_of(name, self._order))


def led(
    crew: ThreadCrew, task: object, spec: object, runs: Path, reporter: Heard | None = None, **settings: object
) -> Run:
    """The run of `task` and `spec`, measured by a crew."""
    reporter = reporter or Heard()
    request = RunRequest(task=task, model=spec, runs=runs, **settings)  # pyright: ignore[reportArgumentType]

    def measure(asked: ResolvedRun, writer: RunWriter, interrupts: Interrupts, skipped: set[str]) -> None:
        ids = [example_id for example_id in asked.own_ids if example_id not in skipped]
        Lead(crew, request, asked, writer, reporter, interrupts).measure(ids, skipped)

    with request.reading_images():
        finished = harness.finish(resolve(request, reporter.say), reporter, measure)
    if finished.unreadable is not None:
        raise finished.unreadable
    return finished.run
