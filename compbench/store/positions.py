"""Scores by position: what each place of a grid over the image adds to a stored score."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownParameterType=false
# pyarrow has no types

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from compbench.core.aliases import Floats
from compbench.store._parquet import BY_POSITION, ID
from compbench.store._rows import Rows
from compbench.store.run import Run

__all__ = ["are_stored", "by_position"]

_COLUMNS = (ID, "image", "caption", BY_POSITION.name)


def are_stored(run: Run) -> bool:
    """Whether a run holds the scores of any example by position."""
    return any(BY_POSITION.name in part.columns for part in run.contents.parts.usable().parts)


def by_position(run: Run, example_id: str) -> Floats | None:
    """[I, C, h, w] float32 of an example's own captions; None where they are not stored, or not all of them."""
    parts = run.contents.parts
    n_images, n_captions = run.contents.matches[example_id].shape
    found: dict[tuple[int, int], Floats] = {}

    def read(part: Rows) -> None:
        if BY_POSITION.name not in part.columns:
            return
        for rows in _rows_of(part, example_id):
            pairs = zip(rows.column("image").to_pylist(), rows.column("caption").to_pylist(), strict=True)
            grids = rows.column(BY_POSITION.name).to_pylist()
            found.update((pair, np.array(grid, np.float32)) for pair, grid in zip(pairs, grids, strict=True) if grid)

    parts.read_each(parts.usable(), [example_id], read)
    wanted = [(image, caption) for image in range(n_images) for caption in range(n_captions)]
    if not all(pair in found for pair in wanted):
        return None
    return np.stack([found[pair] for pair in wanted]).reshape(n_images, n_captions, *found[0, 0].shape)


def _rows_of(part: Rows, example_id: str) -> Iterator[pa.RecordBatch]:
    for piece in part.batches(_COLUMNS):
        yield piece.filter(pa.array([name == example_id for name in piece.column(ID).to_pylist()]))
