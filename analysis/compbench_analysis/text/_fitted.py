"""A grid as lines of a terminal: as wide as the screen at most, and nothing of it left out.

What is too wide gives way in this order: headings stand in several lines, prose is wrapped, the table is cut into bands
that each begin with the columns that name its rows, and at last a name stands in several lines.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import zip_longest
from typing import TYPE_CHECKING

from compbench.core.printable import padded, printable, width, wrapped

if TYPE_CHECKING:
    from compbench_analysis.text.render import Grid

__all__ = ["fitted", "natural_width", "sentences"]

_GAP = 2
_WIDEST_PROSE = 100  # columns: a longer line is hard to read
_NARROWEST_PROSE = 20
_LARGEST_NAMES = 0.55  # of the screen, where the table has to be cut


def fitted(grid: Grid, n_columns: int) -> list[str]:
    """Title, table and notes."""
    lines = sentences([grid.title] if grid.title else [], n_columns, "")
    for number, (columns, widths, sides) in enumerate(_bands(grid, n_columns)):
        header, *rows = (_row(row, widths, sides) for row in zip(*columns, strict=True))
        lines += [""] if number else []
        lines += [*header, "-" * _total(widths), *(line for row in rows for line in row)]
    lines += [""] if grid.rows and grid.notes else []
    return [*lines, *sentences(grid.notes, n_columns)]


def natural_width(grid: Grid) -> int:
    """The number of columns that the table takes when nothing gives way."""
    cells = [tuple(map(printable, row)) for row in (grid.header, *grid.rows)]
    return _total([max(map(width, column)) for column in zip(*cells, strict=True)])


def sentences(texts: Sequence[str], n_columns: int, indent: str = "  ") -> list[str]:
    """Each wrapped, its further lines indented."""
    lines: list[str] = []
    for text in texts:
        most = min(n_columns, _WIDEST_PROSE) if " " in text.strip() else n_columns  # a signature is one long word
        lines += wrapped(printable(text), most, indent)
    return lines


def _bands(grid: Grid, n_columns: int) -> Iterator[tuple[Sequence[tuple[str, ...]], Sequence[int], Sequence[str]]]:
    """The columns of the table with their widths and sides: all at once where they fit, else cut into bands."""
    if not grid.rows:
        return
    columns = list(zip(*(map(printable, row) for row in (grid.header, *grid.rows)), strict=True))
    sides, widths = grid.align or "l" * len(columns), [max(map(width, column)) for column in columns]
    if natural_width(grid) <= n_columns:
        yield columns, widths, sides
        return
    figures = zip(columns[grid.n_names :], sides[grid.n_names :], strict=True)
    wanted = [*widths[: grid.n_names], *(_least_of_heading(column, side) for column, side in figures)]
    if (wrapped_widths := _with_prose_wrapped(wanted, sides, n_columns)) is not None:
        yield columns, wrapped_widths, sides
        return
    for band, own in _cut(wanted, grid.n_names, n_columns):
        yield [columns[n] for n in band], own, [sides[n] for n in band]


def _least_of_heading(column: Sequence[str], side: str) -> int:
    """The width of a column whose heading may stand in several lines, none of them within a word."""
    heading, *rows = column
    first, *further = heading.split() or [""]
    n_indent = 1 if side == "l" else 0
    return max([*map(width, rows), width(first), *(n_indent + width(word) for word in further)])


def _with_prose_wrapped(wanted: Sequence[int], sides: str | Sequence[str], n_columns: int) -> list[int] | None:
    """The widths with those of prose made smaller; None where that is not enough."""
    widths = list(wanted)
    prose = [n for n, side in enumerate(sides) if side == "w"]
    while (n_over := _total(widths) - n_columns) > 0:
        widest = max(prose, key=lambda n: widths[n], default=None)
        if widest is None or widths[widest] <= _NARROWEST_PROSE:
            return None
        next_widest = max((widths[n] for n in prose if widths[n] < widths[widest]), default=_NARROWEST_PROSE)
        widths[widest] = max(widths[widest] - n_over, min(next_widest, widths[widest] - 1), _NARROWEST_PROSE)
    return widths


def _cut(wanted: Sequence[int], n_names: int, n_columns: int) -> Iterator[tuple[list[int], list[int]]]:
    """The columns of each band and their widths; the first `n_names` are part of all."""
    names = _names(wanted[:n_names], int(n_columns * _LARGEST_NAMES))
    band, widths = list(range(n_names)), list(names)
    for n in range(n_names, len(wanted)):
        if len(band) > n_names and _total([*widths, wanted[n]]) > n_columns:
            yield band, widths
            band, widths = list(range(n_names)), list(names)
        band.append(n)
        widths.append(min(wanted[n], n_columns - _total(widths) - _GAP))
    yield band, widths


def _names(wanted: Sequence[int], n_columns: int) -> list[int]:
    """The widths of the columns that name the rows, the widest made smaller until they fit."""
    widths = list(wanted)
    while _total(widths) > n_columns and max(widths) > 8:
        widths[widths.index(max(widths))] -= 1
    return widths


def _row(cells: Sequence[str], widths: Sequence[int], sides: Sequence[str]) -> list[str]:
    """The lines of a row, as many as its longest cell takes."""
    lines = [tuple(cells)]
    if any(width(cell) > n for cell, n in zip(cells, widths, strict=True)):
        parts = [
            wrapped(cell, n, " " if side == "l" and width(cell) > n else "")
            for cell, n, side in zip(cells, widths, sides, strict=True)
        ]
        lines = list(zip_longest(*parts, fillvalue=""))
    gap = " " * _GAP
    return [gap.join(padded(*cell) for cell in zip(line, widths, sides, strict=True)).rstrip() for line in lines]


def _total(widths: Sequence[int]) -> int:
    return sum(widths) + _GAP * max(len(widths) - 1, 0)
