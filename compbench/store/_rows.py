"""The rows of parts, put into arrays: what `_parquet` reads of a file, or what is kept of it in memory."""

# pyright: reportUnknownParameterType=false
# pyarrow has no types

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import pyarrow as pa

from compbench.core.aliases import Bools, Floats
from compbench.store._arrays import lists, numbers
from compbench.store._parquet import ID, NO_CAPTION, SCORES, batches

__all__ = ["Rows", "fill_errors", "fill_scores", "together"]

_BYTES_TOGETHER = 16_000_000  # of kept rows that are put into arrays at once: as many errors as of a file


@dataclass(frozen=True, slots=True)
class Rows:
    """The rows of a part in its file, or those of neighbouring parts that are kept in memory."""

    path: Path
    columns: tuple[str, ...]
    kept: tuple[pa.Table, ...] = ()

    def batches(self, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """Pieces of some of the columns; the ids of examples are a dictionary."""
        if not self.kept:
            yield from batches(self.path, columns)
        else:
            rows = pa.concat_tables([table.select(columns) for table in self.kept])
            yield from rows.unify_dictionaries().combine_chunks().to_batches()


class _Part(Protocol):
    @property
    def path(self) -> Path: ...

    @property
    def columns(self) -> tuple[str, ...]: ...

    @property
    def rows(self) -> pa.Table | None: ...


def together(parts: Iterable[_Part]) -> Iterator[Rows]:
    """The rows of parts in their order, those of neighbours that are kept and alike at once: thousands cost as few."""
    first: _Part | None = None
    kept, n_bytes = list[pa.Table](), 0
    for part in parts:
        if first is not None and not (kept and _is_alike(kept[0], part.rows) and n_bytes <= _BYTES_TOGETHER):
            yield Rows(first.path, first.columns, tuple(kept))
            first, kept, n_bytes = None, [], 0
        first = first or part
        if part.rows is not None:
            kept.append(part.rows)
            n_bytes += part.rows.nbytes
    if first is not None:
        yield Rows(first.path, first.columns, tuple(kept))


def _is_alike(kept: pa.Table, rows: pa.Table | None) -> bool:
    return rows is not None and rows.schema.equals(kept.schema)


def fill_errors(
    part: Rows,
    place_of: Mapping[str, int],
    errors: Mapping[str, Floats],
    measured: Bools,
    *,
    with_no_caption: bool = False,
) -> None:
    """Put what a part knows into arrays [N, I, C, D], one for each column, and the mask; without any, the mask alone.

    `place_of` says at which N an example stands, where it is wanted at all. `with_no_caption`: the last caption of the
    arrays stands for no caption.
    """
    columns = [ID, "image", "caption", "draws", *errors]
    n_draws = measured.shape[-1]
    for batch in part.batches(columns):
        pairs = _pairs(batch, place_of, measured.shape[:3], with_no_caption)  # [rows]
        values, lengths = lists(batch.column("draws"))
        draws = numbers(values)  # [rows' draws]
        pairs = np.repeat(pairs, lengths)
        wanted = (pairs >= 0) & (draws < n_draws)
        places = pairs[wanted] * n_draws + draws[wanted]
        measured.reshape(-1)[places] = True
        for name, into in errors.items():
            into.reshape(-1)[places] = numbers(lists(batch.column(name))[0])[wanted]


def fill_scores(
    part: Rows, place_of: Mapping[str, int], scores: Floats, measured: Bools, *, with_no_caption: bool = False
) -> None:
    """Put what a part knows of examples into arrays [N, I, C], at the place of each."""
    for batch in part.batches(SCORES.names):
        pairs = _pairs(batch, place_of, measured.shape, with_no_caption)
        wanted = pairs >= 0
        measured.reshape(-1)[pairs[wanted]] = True
        scores.reshape(-1)[pairs[wanted]] = numbers(batch.column("score"))[wanted]


def _pairs(
    batch: pa.RecordBatch, place_of: Mapping[str, int], shape: tuple[int, ...], with_no_caption: bool
) -> np.ndarray:
    """[rows] int64: each row's place in an array [N, I, C] in C order, or -1 for a row that is not wanted."""
    ids = batch.column(ID)
    places = np.array([place_of.get(name, -1) for name in ids.dictionary.to_pylist()], np.int64)
    rows = places[numbers(ids.indices)]
    images, captions = numbers(batch.column("image")), numbers(batch.column("caption")).astype(np.int64)
    n_captions = shape[2] - with_no_caption
    captions = np.where(captions == NO_CAPTION, n_captions if with_no_caption else shape[2], captions)
    is_inside = (rows >= 0) & (images < shape[1]) & (captions < shape[2])
    return np.where(is_inside, (rows * shape[1] + images) * shape[2] + captions, -1)
