"""A long frame's rows as a table: what stands down the side, what across the top, and a value in each cell."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

__all__ = ["Pivot", "pivot"]

Row = TypeVar("Row")
Down = TypeVar("Down", bound=Hashable)
Across = TypeVar("Across", bound=Hashable)
Value = TypeVar("Value")


@dataclass(frozen=True)
class Pivot(Generic[Down, Across, Value]):
    """The cells, and both sides in the order in which the rows name them."""

    down: tuple[Down, ...]
    across: tuple[Across, ...]
    cells: dict[tuple[Down, Across], Value]

    def lines(
        self, missing: Value, *, down: Sequence[Down] | None = None, across: Sequence[Across] | None = None
    ) -> list[list[Value]]:
        """The cells line by line, for these sides in this order (None: all as they are)."""
        columns = self.across if across is None else across
        return [
            [self.cells.get((line, column), missing) for column in columns]
            for line in (self.down if down is None else down)
        ]

    def turned(self) -> Pivot[Across, Down, Value]:
        """Down is across."""
        return Pivot(self.across, self.down, {(column, line): value for (line, column), value in self.cells.items()})


def pivot(
    rows: Iterable[Row],
    down: Callable[[Row], Down],
    across: Callable[[Row], Across],
    value: Callable[[Row], Value],
) -> Pivot[Down, Across, Value]:
    """Each row as a cell; of several rows of one cell the last counts.

    >>> table = pivot(["a1", "a2", "b1"], lambda row: row[0], lambda row: row[1], str.upper)
    >>> table.lines("")
    [['A1', 'A2'], ['B1', '']]
    """
    cells = {(down(row), across(row)): value(row) for row in rows}
    return Pivot(tuple(dict.fromkeys(d for d, _ in cells)), tuple(dict.fromkeys(a for _, a in cells)), cells)
