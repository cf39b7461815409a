"""A worker: one of several processes that measure a run together, block by block as its driver says.

It finds the run by itself, from the request, and writes its own parts. Only notes and counts go back.
"""

from __future__ import annotations

import os
import queue
import socket
import threading
import time
import traceback
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from compbench.core.errors import RunError, UnreadableImages
from compbench.runs._loop import evaluate
from compbench.runs._messages import Advanced, Failed, Finished, Joined, Message, Order, Said, Stopped
from compbench.runs._scorer_cache import ScorerCache
from compbench.runs._storing import Led
from compbench.runs.interrupts import Interrupts
from compbench.runs.resolve import ResolvedRun, resolve
from compbench.store import provenance
from compbench.store.writer import RunWriter

if TYPE_CHECKING:
    from compbench.core.models import Scorer
    from compbench.runs.request import RunRequest

__all__ = ["Worker"]

_SECONDS_BETWEEN_COUNTS = 1.0


class Worker:
    """Measures in a thread of its own what it is told, one thing at a time, and can be listened to meanwhile."""

    def __init__(self) -> None:
        self._told: queue.SimpleQueue[Message] = queue.SimpleQueue()
        self._reporter = _Telling(self._told)
        self._interrupts = Interrupts()
        self._orders: queue.SimpleQueue[Callable[[], Message]] | None = None
        self._cache: tuple[RunRequest, ScorerCache] | None = None
        self._bench: _Bench | None = None

    def begin(self, order: Order) -> None:
        """Join in what is ordered."""
        self._start(lambda: self._join(order))

    def measure(self, ids: Sequence[str]) -> None:
        """Measure what the run lacks of these examples."""
        self._start(lambda: self._measure(ids))

    def conclude(self) -> None:
        """Store what the run's schedule concludes of the examples that it has measured."""
        self._start(self._conclude)

    def heard(self, seconds: float) -> list[Message]:
        """All it has to tell, after at most so many seconds of waiting for it."""
        found: list[Message] = []
        with suppress(queue.Empty):
            found.append(self._told.get(timeout=seconds))
            while True:
                found.append(self._told.get_nowait())
        return found

    def stop(self) -> None:
        """Store what is measured, and end the block at the next result."""
        self._interrupts.ask()

    def _start(self, do: Callable[[], Message]) -> None:
        self._interrupts = Interrupts()  # a stop is for what was going on when it came
        if self._orders is None:  # one thread for all: what cuDNN found to be fastest is known to its thread alone
            self._orders = queue.SimpleQueue()
            threading.Thread(target=self._work, args=(self._orders,), name="compbench-worker", daemon=True).start()
        self._orders.put(do)

    def _work(self, orders: queue.SimpleQueue[Callable[[], Message]]) -> None:
        while True:
            self._do(orders.get())

    def _do(self, do: Callable[[], Message]) -> None:
        try:
            message = do()
        except KeyboardInterrupt:
            message = Stopped()
        except BaseException as error:
            message = _failed(error, is_at_start=self._bench is None)
        self._reporter.flush()
        self._told.put(message)

    def _join(self, order: Order) -> Joined:
        self._bench = None
        if order.compbench != (own := provenance.version()):
            raise RunError(f"compbench {own} is installed there, and {order.compbench} here: install the same version")
        with suppress(OSError):  # absolute paths may do
            os.chdir(order.folder)
        request = order.request
        if request.is_offline:
            os.environ["HF_HUB_OFFLINE"] = "1"  # before huggingface_hub is imported
        with request.reading_images():
            with self._reporter.muted():  # the driver has resolved it too
                asked = resolve(request, self._reporter.say)
            if asked.key.digest != order.digest:
                raise RunError(
                    f"its run would be {asked.key.digest}, not {order.digest}: its data, its weights or the dtype that "
                    "its device computes in differ from the other workers'"
                )
            cache = self._cache_for(request)
            scorer = cache.scorer(asked)
        writer = RunWriter(asked.open())
        self._bench = _Bench(request, asked, cache, scorer, writer)
        device = provenance.device_name(cache.device_of(scorer)) or "cpu"
        return Joined(socket.gethostname(), os.getpid(), device)

    def _cache_for(self, request: RunRequest) -> ScorerCache:
        """The one of the order before where only the task differs: its weights are loaded."""
        model_alone = replace(request, task="", data=None, images=None, prompts=(), limit=None, images_per_class=None)
        if self._cache is None or self._cache[0] != model_alone:
            if self._cache is not None:
                self._cache[1].forget()
            self._cache = model_alone, ScorerCache(request, self._reporter)
        return self._cache[1]

    def _measure(self, ids: Sequence[str]) -> Finished:
        assert self._bench is not None
        try:
            with self._bench.request.reading_images():
                self._bench.measure(ids, self._reporter, self._interrupts)
        except UnreadableImages as found:
            return Finished(tuple((error.name, str(error)) for error in found.errors))
        return Finished()

    def _conclude(self) -> Finished:
        assert self._bench is not None
        self._bench.conclude()
        return Finished()


class _Bench:
    """A run with all that a worker needs to measure it."""

    def __init__(
        self, request: RunRequest, asked: ResolvedRun, cache: ScorerCache, scorer: Scorer, writer: RunWriter
    ) -> None:
        self.request = request
        self._asked, self._cache, self._scorer, self._writer = asked, cache, scorer, writer
        self._led = Led()
        self._measured: list[str] = []

    def conclude(self) -> None:
        self._writer.conclude(self._measured)

    def measure(self, ids: Sequence[str], reporter: _Telling, interrupts: Interrupts) -> None:
        self._measured += ids
        evaluate(
            self._asked.task,
            self._scorer,
            self._writer,
            ids,
            reporter=reporter,
            interrupts=interrupts,
            device=self._cache.device_of(self._scorer),
            rule=self._asked.rule,
            spent=lambda: self._cache.n_evaluations,
            led=self._led,
        )


class _Telling:
    """A reporter that passes notes and counts on, the latter about once a second."""

    def __init__(self, told: queue.SimpleQueue[Message]) -> None:
        self._told, self._evaluations, self._last = told, 0, time.monotonic()
        self._is_muted = False

    @contextmanager
    def muted(self) -> Generator[None]:
        """No note is passed on meanwhile."""
        self._is_muted = True
        try:
            yield
        finally:
            self._is_muted = False

    def start(self, label: str, n_examples: int, n_done: int, n_pairs: int, n_evaluations: int | None) -> None: ...
    def stop(self) -> None: ...

    def advance(self, examples: int = 0, pairs: int = 0, evaluations: int = 0) -> None:
        self._evaluations += evaluations
        if time.monotonic() - self._last >= _SECONDS_BETWEEN_COUNTS:
            self.flush()

    def say(self, message: str) -> None:
        if not self._is_muted:
            self._told.put(Said(message))

    def flush(self) -> None:
        """Tell what was counted since the last time."""
        self._last = time.monotonic()
        if self._evaluations:
            self._told.put(Advanced(self._evaluations))
            self._evaluations = 0


def _failed(error: BaseException, *, is_at_start: bool) -> Failed:
    # the disk's own errors come as they are, or as the RunError that was raised from them
    is_of_disk = isinstance(error, OSError) or (isinstance(error, RunError) and isinstance(error.__cause__, OSError))
    details = "".join(traceback.format_exception(error))
    return Failed(type(error).__name__, str(error), socket.gethostname(), details, is_of_disk, is_at_start)
