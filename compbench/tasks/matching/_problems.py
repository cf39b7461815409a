"""Everything that is wrong with a table of examples, each fault with the place where a user finds it."""

from __future__ import annotations

from dataclasses import dataclass, field

__all__ = ["Problem", "Problems"]

_MOST_KEPT = 1000


@dataclass(frozen=True, slots=True)
class Problem:
    """One fault: in which file, on which line (or row of a file without lines), in which column, and what."""

    file: str
    line: int | None  # None: of the whole file
    column: str  # "": of the whole row
    problem: str
    is_of_picture: bool = False  # the file of a picture is there and cannot be read

    def __str__(self) -> str:
        place = [] if self.line is None else [f"line {self.line}"]
        column = [f"column {self.column!r}"] if self.column else []
        return f"{', '.join([*place, *column, '']).removesuffix(', ')}: {self.problem}".removeprefix(": ")


@dataclass(slots=True)
class Problems:
    """The first faults of a file, and how many there are."""

    file: str
    kept: list[Problem] = field(default_factory=list[Problem])
    n_all: int = 0
    n_fatal: int = 0  # all but those of the files of pictures

    def add(self, line: int | None, column: str, problem: str, *, is_of_picture: bool = False) -> None:
        """One more; of more than a thousand the rest are counted."""
        self.n_all += 1
        self.n_fatal += not is_of_picture
        if len(self.kept) < _MOST_KEPT:
            self.kept.append(Problem(self.file, line, column, problem, is_of_picture))

    def told(self, most: int) -> str:
        """The first `most` in one line, and how many more there are."""
        shown = [str(problem) for problem in self.kept[:most]]
        more = [f"... and {self.n_all - len(shown):,} more"] if self.n_all > len(shown) else []
        return "; ".join([*shown, *more])
