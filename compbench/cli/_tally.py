"""The progress of a run, in words for a log and as one line for a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from compbench.core.printable import width
from compbench_analysis.text.render import duration, size

__all__ = ["Stage", "Tally", "Whole", "bar_line", "roughly"]

_MOST_LABEL, _LEAST_BAR, _MOST_BAR = 30, 8, 24  # columns
_SPINNER = "|/-\\"


@dataclass(slots=True)
class Whole:
    """The progress of a grid of runs; failed cells count as passed."""

    n_examples: Sequence[int]  # of each cell
    position: int = 0  # of the cell that is measured, from 1

    def label(self, label: str) -> str:
        """'[2/6] shapes · tiny-sd'."""
        return f"[{self.position}/{len(self.n_examples)}] {label}"

    def words(self, tally: Tally) -> str:
        """'424 of all 2,400'."""
        done = sum(self.n_examples[: self.position - 1]) + tally.n_before + tally.examples
        return f"{done:,} of all {sum(self.n_examples):,}"


@dataclass(slots=True)
class Tally:
    """The work done since the start, out of all there is to do."""

    n_examples: int  # of the whole run
    n_before: int  # of them stored by earlier runs
    n_pairs: int
    n_evaluations: int | None
    started: float
    examples: int = 0
    pairs: int = 0
    evaluations: int = 0
    whole: Whole | None = None

    def add(self, examples: int, pairs: int, evaluations: int) -> None:
        self.examples += examples
        self.pairs += pairs
        self.evaluations += evaluations

    @property
    def n_done(self) -> int:
        """Examples that are stored, or about to be."""
        return self.n_before + self.examples

    @property
    def work(self) -> tuple[int, int]:
        """(done, to do) in the finest unit that is counted: network evaluations, else pairs."""
        if self.n_evaluations:
            return min(self.evaluations, self.n_evaluations), self.n_evaluations
        return min(self.pairs, self.n_pairs), self.n_pairs

    @property
    def is_finished(self) -> bool:
        return self.n_done >= self.n_examples

    def rate(self, now: float) -> float:
        """The rate in the finest unit, per second; 0 before anything is done."""
        return self.work[0] / (now - self.started) if now > self.started else 0.0

    def seconds_left(self, now: float) -> float | None:
        """None before anything is done."""
        done, to_do = self.work
        return (to_do - done) / self.rate(now) if self.rate(now) else None

    def words(self, now: float) -> str:
        """'120 of 400 examples, 2 min left'."""
        left = self.seconds_left(now)
        parts = [f"{self.n_done:,} of {self.n_examples:,} examples"]
        parts += [] if left is None else [f"{roughly(left)} left"]
        return ", ".join([*parts, *([] if self.whole is None else [self.whole.words(self)])])

    def line(self, label: str, now: float, n_columns: int, waiting: str = "") -> str:
        """The bar with per cent, time left and as much more as fits; before the first batch what is waited for."""
        done, to_do = self.work
        left, rate = self.seconds_left(now), self.rate(now)
        if left is None:
            parts = [waiting] if waiting else []
        else:
            unit = "evaluations" if self.n_evaluations else "pairs"
            parts = [f"{duration(left)} left", f"{rate:,.0f}/s" if rate >= 10 else f"{rate:.2g}/s"]
            parts += [f"{self.n_done:,}/{self.n_examples:,}", f"{done:,}/{to_do:,} {unit}"]
        return bar_line(label, done / max(to_do, 1), parts, n_columns)


@dataclass(slots=True)
class Stage:
    """A step before anything is measured."""

    what: str
    n_done: int
    n_all: int  # 0: not known
    unit: str  # B: bytes
    started: float
    first: int = 0  # what was done when it was first heard of

    def is_same(self, what: str, unit: str) -> bool:
        return (self.what.partition(",")[0], self.unit) == (what.partition(",")[0], unit)

    def words(self, now: float) -> str:
        """'small-resnet: training: 120 of 400 steps, 2 min left'."""
        left = self._left(now)
        return f"{self.what}: {self._counts()}" + ("" if left is None else f", {roughly(left)} left")

    def line(self, now: float, n_columns: int) -> str:
        """A bar where it is known how much there is to do, else a sign that moves and the time so far."""
        if self.n_all:
            left = self._left(now)
            parts = [*([] if left is None else [f"{duration(left)} left"]), self._counts()]
            return bar_line(self.what, self.n_done / self.n_all, parts, n_columns, most_label=n_columns - 34)
        seconds = now - self.started
        sign = _SPINNER[int(seconds * 4) % len(_SPINNER)]
        waited = f"  {duration(int(seconds))}" if seconds >= 3 else ""
        return f"{sign} {_cut(self.what, n_columns - 2 - len(waited))}{waited}"

    def _counts(self) -> str:
        if self.unit == "B":
            return f"{size(self.n_done)} of {size(self.n_all)}"
        return f"{self.n_done:,} of {self.n_all:,} {self.unit}".strip()

    def _left(self, now: float) -> float | None:
        done = self.n_done - self.first
        if done <= 0 or now <= self.started:
            return None
        return (self.n_all - self.n_done) * (now - self.started) / done


def bar_line(label: str, share: float, parts: Sequence[str], n_columns: int, most_label: int = _MOST_LABEL) -> str:
    """A bar with a label and what is known, at most so wide: the last parts give way first.

    >>> bar_line("shapes · tiny-sd", 0.5, ["35 s left", "320/s", "120/400"], 58)
    'shapes · tiny-sd  ━━━━━━━────────   50 %  35 s left  320/s'
    """
    label, percent = _cut(label, max(most_label, 8)), f"{100 * min(share, 1):3.0f} %"
    fixed = width(label) + len(percent) + 4 + _LEAST_BAR
    shown: list[str] = []
    for part in parts:
        if fixed + sum(2 + width(text) for text in (*shown, part)) > n_columns:
            break
        shown.append(part)
    n_bar = min(_MOST_BAR, n_columns - fixed + _LEAST_BAR - sum(2 + width(text) for text in shown))
    n_full = int(n_bar * min(share, 1))
    return "  ".join([label, "━" * n_full + "─" * (n_bar - n_full), percent, *shown])


def roughly(seconds: float) -> str:
    """A length of time in one unit.

    >>> roughly(35.4), roughly(150), roughly(9000), roughly(200_000)
    ('35 s', '2 min', '2 h', '2 days')
    """
    for unit, name in ((86_400, "days"), (3600, "h"), (60, "min")):
        if seconds >= 1.5 * unit:
            return f"{seconds / unit:.0f} {name}"
    return f"{seconds:.0f} s"


def _cut(text: str, n_columns: int) -> str:
    if width(text) <= n_columns:
        return text
    while width(text) > n_columns - 1:
        text = text[:-1]
    return f"{text}…"
