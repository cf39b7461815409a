"""Small parts put together: fewer files to open and to keep, the same errors bit for bit.

A compacted part holds the rows of consecutive parts in their order, each with the number of its part, and the lines of
parts.jsonl that say who measured them. As soon as it is there, readers pass over the parts it was made of; then its own
line is written, then those parts are removed. A process that dies at any of these steps leaves a run that reads as
before, and whoever repairs it next removes what is left.
"""

# pyright: reportUnknownParameterType=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyarrow has no types

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from compbench.core import disk
from compbench.store import _lines, _parquet
from compbench.store._arrays import lists, numbers
from compbench.store._parts import Part, Parts

__all__ = ["compact", "is_worthwhile"]

_LEAST_PARTS = 64  # fewer cost no reader anything
_BYTES = 16_000_000  # of a compacted part
_ERRORS = 12_000_000  # of its examples and all draws up to its last: what a reader has in memory at once


@dataclass(frozen=True, slots=True)
class _Piece:
    """A small part that was read."""

    part: Part
    rows: Any
    n_errors: int  # with those between that were not measured


def is_worthwhile(parts: Parts) -> bool:
    """Whether a run has so many small parts that fewer would be read faster."""
    return sum(_is_small(part) for part in parts.usable().parts) >= _LEAST_PARTS


def compact(parts: Parts) -> None:
    """Put neighbouring small parts together; the caller holds write.lock."""
    with disk.writing(parts.folder):
        written = {_write(parts.folder, group, parts) for group in _groups(parts) if len(group) > 1}
        for part in [part for part in parts.usable().parts if part.path in written]:
            disk.append_line(parts.folder / _lines.NAME, parts.line_of(part))
        parts.remove_compacted()


def _is_small(part: Part) -> bool:
    return part.size <= _parquet.SMALL_BYTES


def _groups(parts: Parts) -> Iterator[list[_Piece]]:
    """Small parts that stand beside each other and have the same columns, as many as fit in one."""
    group: list[_Piece] = []
    size = n_errors = 0  # of the group
    for part in parts.usable().parts:
        rows = _parquet.checked(part.path).rows if _is_small(part) else None
        piece = None if rows is None else _Piece(part, rows, _n_errors(rows))
        if group and not (
            piece is not None
            and part.columns == group[0].part.columns
            and size + part.size <= _BYTES
            and n_errors + piece.n_errors <= _ERRORS
        ):
            yield group
            group, size, n_errors = [], 0, 0
        if piece is not None:
            group.append(piece)
            size, n_errors = size + part.size, n_errors + piece.n_errors
    yield group


def _n_errors(rows: Any) -> int:
    if "draws" not in rows.column_names:
        return len(rows)
    draws = [numbers(lists(chunk)[0]) for chunk in rows.column("draws").chunks]
    return len(rows) * (1 + max((int(own.max()) for own in draws if len(own)), default=0))


def _write(folder: Path, group: Sequence[_Piece], parts: Parts) -> Path:
    """The file of a group, which counts in its place from now on; it sorts where its last part did."""
    lines = [parts.lines_of_members(piece.part) for piece in group]
    before = [piece.part for piece in group if piece.part.members]
    replaced = [name for part in before for name in (part.name, *part.replaced)]
    table = _parquet.compacted([piece.rows for piece in group], lines, replaced)
    n_draws = sum(piece.n_errors for piece in group)
    content = _parquet.encode(table, rows_in_group=_parquet.rows_at_once(len(table), n_draws))
    last = group[-1].part.path
    path = last.with_name(_parquet.name(int(last.name.split("-")[0]), content))
    disk.write(path, content)
    return path
