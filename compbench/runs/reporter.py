"""The interface through which a run reports its progress."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from compbench.core import printable

__all__ = ["QuietReporter", "Reporter", "SpansGrid"]


class Reporter(Protocol):
    """Hears of a run's start, of what was just done, and of one-line notes."""

    def start(self, label: str, n_examples: int, n_done: int, n_pairs: int, n_evaluations: int | None) -> None:
        """`n_done` of `n_examples` are stored already; pairs and network evaluations are those still to do."""
        ...

    def advance(self, examples: int = 0, pairs: int = 0, evaluations: int = 0) -> None: ...
    def say(self, message: str) -> None: ...
    def stop(self) -> None: ...


@runtime_checkable
class SpansGrid(Protocol):
    """A reporter that also shows how far a grid of several runs is."""

    def begin_grid(self, n_examples: Sequence[int]) -> None:
        """The examples of each cell, in the order in which they are measured."""
        ...

    def next_cell(self) -> None: ...


class QuietReporter:
    """Shows no progress; notes go to stderr."""

    def start(self, label: str, n_examples: int, n_done: int, n_pairs: int, n_evaluations: int | None) -> None: ...
    def advance(self, examples: int = 0, pairs: int = 0, evaluations: int = 0) -> None: ...

    def say(self, message: str) -> None:
        printable.say(message)

    def stop(self) -> None: ...
