"""Everything that is wrong with a table of examples, each fault with the place where a user finds it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

__all__ = ["Problem", "Problems", "merged"]

_MOST_KEPT = 1000


@dataclass(frozen=True, slots=True)
class Problem:
    """A fault: its file, its line (or row, in a file without lines), its column, and a description."""

    file: str
    line: int | None  # or row, where the file has no lines; None: of the whole file
    column: str  # "": of the whole row
    problem: str
    is_of_picture: bool = False  # the file of a picture is there and cannot be read
    unit: str = "line"

    def __str__(self) -> str:
        place = [] if self.line is None else [f"{self.unit} {self.line}"]
        column = [f"column {self.column!r}"] if self.column else []
        return f"{', '.join([*place, *column, '']).removesuffix(', ')}: {self.problem}".removeprefix(": ")


@dataclass(slots=True)
class Problems:
    """The first faults of a file, and how many there are."""

    file: str
    unit: str = "line"  # or row
    kept: list[Problem] = field(default_factory=list[Problem])
    n_all: int = 0
    n_fatal: int = 0  # all but those of the files of pictures

    def add(self, line: int | None, column: str, problem: str, *, is_of_picture: bool = False) -> None:
        """Add a fault; beyond a thousand they are only counted."""
        self.n_all += 1
        self.n_fatal += not is_of_picture
        if len(self.kept) < _MOST_KEPT:
            self.kept.append(Problem(self.file, line, column, problem, is_of_picture, self.unit))


def merged(problems: Iterable[Problem]) -> list[tuple[Problem, int]]:
    """Problems of the same words in the same column as one, the first, and how many they are; which lines is said.

    >>> faults = [Problem("a.csv", line, "foil", "is empty") for line in (2, 3, 9)]
    >>> [(str(problem), n) for problem, n in merged(faults)]
    [("line 2, column 'foil': is empty; the same in 2 more lines, the last 9", 3)]
    """
    alike: dict[tuple[str, str], list[Problem]] = {}
    for problem in problems:
        alike.setdefault((problem.column, problem.problem), []).append(problem)
    return [(_of_all(same), len(same)) for same in alike.values()]


def _of_all(same: list[Problem]) -> Problem:
    first, last, n_more = same[0], same[-1].line, len(same) - 1
    if not n_more:
        return first
    n_others = f"{first.unit} {last}" if n_more == 1 else f"{n_more:,} more {first.unit}s, the last {last}"
    return replace(first, problem=f"{first.problem}; the same in {n_others}")
