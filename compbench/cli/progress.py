"""Progress on stderr: one line redrawn in place on a terminal, one line per minute elsewhere.

Both are Reporters of the harness, and hear what is done before anything is measured. Counts are of this run's remaining
work; the rate is of what was done since start.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Protocol, TextIO

from compbench.cli._tally import Stage, Tally, Whole
from compbench.core import stages
from compbench.core.printable import printable, screen_width, wrapped
from compbench.runs.reporter import Reporter
from compbench_analysis.text.render import duration

if TYPE_CHECKING:
    from rich.live import Live

    from compbench.store.shards import Shard

__all__ = ["BarReporter", "LineReporter", "SilentReporter", "TellsStages", "for_stderr", "shown"]

_SECONDS_BETWEEN_LINES = 60.0
_SPARE = 3  # columns: what a terminal echoes of Ctrl-C must not break the line


class TellsStages(Reporter, Protocol):
    """A reporter that hears of stages, and leaves the terminal as it found it."""

    def stage(self, what: str, n_done: int = 0, n_all: int = 0, unit: str = "") -> bool: ...
    def close(self) -> None: ...


def for_stderr(*, is_quiet: bool = False, shard: Shard | None = None) -> TellsStages:
    """The reporter that fits where stderr goes; several processes, each a shard, write lines that name theirs."""
    if is_quiet:
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")  # read when huggingface_hub is imported
        return SilentReporter()
    if shard is not None and sys.stderr is not None:  # pyright: ignore[reportUnnecessaryComparison]
        return LineReporter(sys.stderr, prefix=f"shard {shard}: ")
    if sys.stderr is None:  # pyright: ignore[reportUnnecessaryComparison]  # a closed one
        return SilentReporter()
    return BarReporter() if sys.stderr.isatty() else LineReporter(sys.stderr)


@contextmanager
def shown(reporter: TellsStages) -> Generator[None]:
    """While it lasts the reporter hears of all that is done; then the terminal is as it was."""
    with stages.heard(reporter.stage):
        try:
            yield
        finally:
            reporter.close()


class SilentReporter:
    """Says nothing at all."""

    def start(self, label: str, n_examples: int, n_done: int, n_pairs: int, n_evaluations: int | None) -> None: ...
    def advance(self, examples: int = 0, pairs: int = 0, evaluations: int = 0) -> None: ...
    def say(self, message: str) -> None: ...
    def stop(self) -> None: ...
    def close(self) -> None: ...

    def stage(self, what: str, n_done: int = 0, n_all: int = 0, unit: str = "") -> bool:
        return True


class LineReporter:
    """A line at most once a minute, and one at the end; for logs and pipes. Each note is said once."""

    def __init__(self, stream: TextIO, clock: Callable[[], float] = time.monotonic, prefix: str = "") -> None:
        self._stream, self._clock, self._prefix = stream, clock, prefix
        self._tally: Tally | None = None
        self._stage: Stage | None = None
        self._whole: Whole | None = None
        self._label, self._said, self._last = "", set[str](), clock()

    def begin_grid(self, n_examples: Sequence[int]) -> None:
        self._whole = Whole(n_examples)

    def next_cell(self) -> None:
        if self._whole is not None:
            self._whole.position += 1

    def start(self, label: str, n_examples: int, n_done: int, n_pairs: int, n_evaluations: int | None) -> None:
        self._label, self._last, self._stage = self._whole.label(label) if self._whole else label, self._clock(), None
        self._tally = Tally(n_examples, n_done, n_pairs, n_evaluations, self._last, whole=self._whole)

    def advance(self, examples: int = 0, pairs: int = 0, evaluations: int = 0) -> None:
        if self._tally is not None:
            self._tally.add(examples, pairs, evaluations)
            if self._is_time():
                self._write(f"{self._label}: {self._tally.words(self._last)}")

    def stage(self, what: str, n_done: int = 0, n_all: int = 0, unit: str = "") -> bool:
        """Only what can be counted, and lasts, is told."""
        self._stage = _next_stage(self._stage, what, n_done, n_all, unit, self._clock())
        if n_all and self._is_time():
            self._write(self._stage.words(self._last))
        return False

    def say(self, message: str) -> None:
        if message not in self._said:
            self._said.add(message)
            self._write(message)

    def stop(self) -> None:
        if self._tally is not None:
            seconds = self._clock() - self._tally.started
            n_examples = f"{self._tally.n_done:,} of {self._tally.n_examples:,} examples"
            self._write(f"{self._label}: {n_examples} in {duration(seconds)}")
        self._tally = None

    def close(self) -> None: ...

    def _is_time(self) -> bool:
        now = self._clock()
        if now - self._last < _SECONDS_BETWEEN_LINES:
            return False
        self._last = now
        return True

    def _write(self, message: str) -> None:
        # one write: the lines of several processes are not mixed; a closed or full stderr must not end a run
        with suppress(OSError, ValueError):
            self._stream.write(f"{self._prefix}{printable(message)}\n")
            self._stream.flush()


class BarReporter:
    """A status line at the foot of the terminal, redrawn in place; each note is printed once, above it."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        from rich.console import Console

        self._console, self._clock = Console(stderr=True, highlight=False), clock
        self._live: Live | None = None
        self._tally: Tally | None = None
        self._stage: Stage | None = None
        self._whole: Whole | None = None
        self._label, self._said = "", set[str]()

    def begin_grid(self, n_examples: Sequence[int]) -> None:
        self._whole = Whole(n_examples)

    def next_cell(self) -> None:
        if self._whole is not None:
            self._whole.position += 1

    def start(self, label: str, n_examples: int, n_done: int, n_pairs: int, n_evaluations: int | None) -> None:
        self.stop()
        self._label = printable(self._whole.label(label) if self._whole else label)
        self._tally = Tally(n_examples, n_done, n_pairs, n_evaluations, self._clock(), whole=self._whole)
        self._show()

    def advance(self, examples: int = 0, pairs: int = 0, evaluations: int = 0) -> None:
        if self._tally is not None:
            self._tally.add(examples, pairs, evaluations)

    def stage(self, what: str, n_done: int = 0, n_all: int = 0, unit: str = "") -> bool:
        self._stage = _next_stage(self._stage, printable(what), n_done, n_all, unit, self._clock())
        self._show()
        return True

    def say(self, message: str) -> None:
        if message not in self._said:
            self._said.add(message)
            text = "\n".join(wrapped(printable(message), screen_width()))
            self._console.print(text, markup=False, soft_wrap=True)

    def stop(self) -> None:
        """The last state stays on the screen, once."""
        tally, line = self._tally, self._line()
        self.close()
        if tally is not None and tally.is_finished:
            line = f"{self._label}: {tally.n_examples:,} examples in {duration(self._clock() - tally.started)}"
        if tally is not None:
            self._console.print(line, markup=False, soft_wrap=True)

    def close(self) -> None:
        if self._live is not None:
            self._live.stop()
        self._live = self._tally = self._stage = None

    def _show(self) -> None:
        if self._live is None:
            from rich.live import Live
            from rich.text import Text

            def drawn() -> Text:
                return Text(self._line(), no_wrap=True, overflow="crop")

            self._live = Live(console=self._console, get_renderable=drawn, transient=True, redirect_stdout=False)
            with suppress(OSError, ValueError):  # a closed or full stderr must not end a run
                self._live.start()

    def _line(self) -> str:
        now, n_columns = self._clock(), screen_width() - _SPARE
        if self._tally is not None:
            waiting = "" if self._stage is None else self._stage.what
            return self._tally.line(self._label, now, n_columns, waiting)
        return "" if self._stage is None else self._stage.line(now, n_columns)


def _next_stage(before: Stage | None, what: str, n_done: int, n_all: int, unit: str, now: float) -> Stage:
    """The stage that is told of; one that goes on keeps its beginning."""
    if before is not None and before.is_same(what, unit) and before.n_all:
        return Stage(what, n_done, n_all, unit, before.started, before.first)
    return Stage(what, n_done, n_all, unit, now, n_done)
