"""How a run shows on stderr that it moves: a bar on a terminal, a plain line every few seconds elsewhere.

Both are Reporters of the harness. Counts are of this run's remaining work; the rate is of what was done since start.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, TextIO

from compbench.core.printable import printable
from compbench_analysis.text.render import duration

if TYPE_CHECKING:
    from rich.progress import Progress

    from compbench.runs.reporter import Reporter
    from compbench.store.shards import Shard

__all__ = ["BarReporter", "LineReporter", "SilentReporter", "for_stderr"]

_SECONDS_BETWEEN_LINES = 5.0


def for_stderr(*, is_quiet: bool = False, shard: Shard | None = None) -> Reporter:
    """The reporter that fits where stderr goes; several processes, each a shard, write lines that name theirs."""
    if is_quiet:
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")  # read when huggingface_hub is imported
        return SilentReporter()
    if shard is not None and sys.stderr is not None:  # pyright: ignore[reportUnnecessaryComparison]
        return LineReporter(sys.stderr, prefix=f"shard {shard}: ")
    if sys.stderr is None:  # pyright: ignore[reportUnnecessaryComparison]  # a closed one
        return SilentReporter()
    return BarReporter() if sys.stderr.isatty() else LineReporter(sys.stderr)


class SilentReporter:
    """Says nothing at all."""

    def start(self, label: str, n_examples: int, n_done: int, n_pairs: int, n_evaluations: int | None) -> None: ...
    def advance(self, examples: int = 0, pairs: int = 0, evaluations: int = 0) -> None: ...
    def say(self, message: str) -> None: ...
    def stop(self) -> None: ...


@dataclass(slots=True)
class _Whole:
    """How far a grid of runs is: cells that failed are passed, and count."""

    n_examples: Sequence[int]  # of each cell
    position: int = 0  # of the cell that is measured, from 1

    def label(self, label: str) -> str:
        """'[2/6] shapes · tiny-sd'."""
        return f"[{self.position}/{len(self.n_examples)}] {label}"

    def count(self, tally: _Tally) -> str:
        """'424/2,400 examples of the grid'."""
        done = sum(self.n_examples[: self.position - 1]) + tally.n_before + tally.examples
        return f"{done:,}/{sum(self.n_examples):,} examples of the grid"


@dataclass(slots=True)
class _Tally:
    """What was done since start, of what there is to do."""

    n_examples: int  # of the whole run
    n_before: int  # of them stored by earlier runs
    n_pairs: int
    n_evaluations: int | None
    started: float
    examples: int = 0
    pairs: int = 0
    evaluations: int = 0
    whole: _Whole | None = None

    def add(self, examples: int, pairs: int, evaluations: int) -> None:
        self.examples += examples
        self.pairs += pairs
        self.evaluations += evaluations

    @property
    def work(self) -> tuple[int, int]:
        """(done, to do) in the finest unit that is counted: network evaluations, else pairs."""
        if self.n_evaluations:
            return min(self.evaluations, self.n_evaluations), self.n_evaluations
        return min(self.pairs, self.n_pairs), self.n_pairs

    def counts(self) -> list[str]:
        """['24/400 examples', '96/1,600 pairs', '3,072/51,200 evaluations']."""
        counts = [
            f"{self.n_before + self.examples:,}/{self.n_examples:,} examples",
            f"{self.pairs:,}/{self.n_pairs:,} pairs",
        ]
        if self.n_evaluations:
            counts.append(f"{self.evaluations:,}/{self.n_evaluations:,} evaluations")
        return [*counts, self.whole.count(self)] if self.whole is not None else counts

    def pace(self, now: float) -> list[str]:
        """['450/s', '1 min 47 s left'] of the finest unit; empty before anything is done."""
        done, to_do = self.work
        if not done or now <= self.started:
            return []
        rate = done / (now - self.started)
        return [f"{rate:,.0f}/s" if rate >= 10 else f"{rate:.2g}/s", f"{duration((to_do - done) / rate)} left"]


class LineReporter:
    """A line at most every five seconds, and one at the end; for logs and pipes."""

    def __init__(self, stream: TextIO, clock: Callable[[], float] = time.monotonic, prefix: str = "") -> None:
        self._stream, self._clock, self._prefix = stream, clock, prefix
        self._tally: _Tally | None = None
        self._whole: _Whole | None = None
        self._label, self._said, self._last = "", "", 0.0

    def begin_grid(self, n_examples: Sequence[int]) -> None:
        self._whole = _Whole(n_examples)

    def next_cell(self) -> None:
        if self._whole is not None:
            self._whole.position += 1

    def start(self, label: str, n_examples: int, n_done: int, n_pairs: int, n_evaluations: int | None) -> None:
        self._label, self._last = self._whole.label(label) if self._whole else label, self._clock()
        self._tally = _Tally(n_examples, n_done, n_pairs, n_evaluations, self._last, whole=self._whole)

    def advance(self, examples: int = 0, pairs: int = 0, evaluations: int = 0) -> None:
        if self._tally is None:
            return
        self._tally.add(examples, pairs, evaluations)
        if self._clock() - self._last >= _SECONDS_BETWEEN_LINES:
            self._last = self._clock()
            self._write(f"{self._label}: {', '.join(self._tally.counts() + self._tally.pace(self._last))}")

    def say(self, message: str) -> None:
        if message != self._said:  # models that follow each other say the same of their task
            self._write(message)
        self._said = message

    def stop(self) -> None:
        if self._tally is not None:
            seconds = self._clock() - self._tally.started
            self._write(f"{self._label}: {', '.join(self._tally.counts())} in {duration(seconds)}")
        self._tally = None

    def _write(self, message: str) -> None:
        # one write: the lines of several processes are not mixed; a closed or full stderr must not end a run
        with suppress(OSError, ValueError):
            self._stream.write(f"{self._prefix}{printable(message)}\n")
            self._stream.flush()


class BarReporter:
    """A rich progress bar on stderr; messages scroll above it."""

    def __init__(self) -> None:
        from rich.console import Console

        self._console = Console(stderr=True, highlight=False)
        self._progress: Progress | None = None
        self._tally: _Tally | None = None
        self._whole: _Whole | None = None
        self._said = ""

    def begin_grid(self, n_examples: Sequence[int]) -> None:
        self._whole = _Whole(n_examples)

    def next_cell(self) -> None:
        if self._whole is not None:
            self._whole.position += 1

    def start(self, label: str, n_examples: int, n_done: int, n_pairs: int, n_evaluations: int | None) -> None:
        from rich.progress import BarColumn, Progress, TextColumn
        from rich.table import Column

        self.stop()
        label = printable(self._whole.label(label) if self._whole else label)
        self._tally = _Tally(n_examples, n_done, n_pairs, n_evaluations, time.monotonic(), whole=self._whole)
        whole = Column(no_wrap=True, min_width=len(label))
        rest = Column(no_wrap=True, overflow="ellipsis", ratio=1)  # a narrow terminal loses counts, not the time left
        columns = (
            TextColumn("{task.description}", markup=False, table_column=whole),
            BarColumn(12, table_column=Column(min_width=12)),
            TextColumn("{task.fields[said]}", markup=False, table_column=rest),
        )
        progress = Progress(*columns, console=self._console, refresh_per_second=4, expand=True)
        progress.add_task(label, total=max(self._tally.work[1], 1), said=", ".join(self._tally.counts()))
        progress.start()
        self._progress = progress

    def advance(self, examples: int = 0, pairs: int = 0, evaluations: int = 0) -> None:
        if self._progress is None or self._tally is None:
            return
        self._tally.add(examples, pairs, evaluations)
        said = [*reversed(self._tally.pace(time.monotonic())), *self._tally.counts()]
        self._progress.update(self._progress.task_ids[0], completed=self._tally.work[0], said=", ".join(said))

    def say(self, message: str) -> None:
        if message != self._said:
            self._console.print(printable(message), markup=False, soft_wrap=True)
        self._said = message

    def stop(self) -> None:
        if self._progress is not None:
            self._progress.stop()
        self._progress = self._tally = None
