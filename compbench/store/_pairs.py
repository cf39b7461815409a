"""Measurements as the rows of a part, one per pair of image and caption."""

# pyright: reportUnknownParameterType=false
# pyarrow has no types

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import pyarrow as pa

from compbench.core.examples import ScoreTable
from compbench.core.measurements import Measurement, ScoreMatrix
from compbench.store._parquet import BY_POSITION, ERRORS, NO_CAPTION, SCORES, column_of

__all__ = ["errors_table", "scores_table", "whole_scores_table"]

_MAIN = column_of("l2")


def errors_table(measurements: Sequence[Measurement]) -> pa.Table:
    """A table of errors, one row per pair; errors that were not measured are left out, as are pairs without any."""
    ids, images, captions, lengths, draws = [], [], [], [], []
    names = sorted(map(column_of, measurements[0].errors), key=lambda name: name != _MAIN)
    errors: dict[str, list[np.ndarray]] = {name: [] for name in names}
    for measurement in measurements:
        n_images, n_captions, n_draws = measurement.measured.shape
        numbers = np.arange(n_captions)
        if measurement.has_null_caption:
            numbers[-1] = NO_CAPTION
        mask = measurement.measured.reshape(-1, n_draws)  # [pairs, D]
        has_any = mask.any(1)
        ids += [measurement.example_id] * int(has_any.sum())
        images.append(np.repeat(np.arange(n_images, dtype=np.int16), n_captions)[has_any])
        captions.append(np.tile(numbers.astype(np.int16), n_images)[has_any])
        lengths.append(mask.sum(1)[has_any])
        draws.append(np.broadcast_to(measurement.draw_ids.astype(np.int32), mask.shape)[mask])
        for loss, value in measurement.errors.items():
            errors[column_of(loss)].append(value.astype(np.float32).reshape(mask.shape)[mask])
    offsets = pa.array(np.concatenate([[0], np.cumsum(np.concatenate(lengths))]).astype(np.int32))
    columns = {
        "example_id": pa.array(ids, pa.string()),
        "image": pa.array(np.concatenate(images)),
        "caption": pa.array(np.concatenate(captions)),
        "draws": pa.ListArray.from_arrays(offsets, pa.array(np.concatenate(draws))),
    }
    columns |= {
        name: pa.ListArray.from_arrays(offsets, pa.array(np.concatenate(lists))) for name, lists in errors.items()
    }
    kept = [field for field in ERRORS if field.name != _MAIN]
    schema = pa.schema([*kept, *(pa.field(name, ERRORS.field(_MAIN).type) for name in names)])
    return pa.Table.from_arrays(list(columns.values()), schema=schema)


def scores_table(matrices: Sequence[ScoreMatrix]) -> pa.Table:
    """A table of scores, one row per pair, float64; the score without a caption has caption -1.

    With a column more where some scores have their parts by position.
    """
    rows = [_score_rows(matrix) for matrix in matrices]
    lengths = [len(values) for _, _, values in rows]
    images, captions, values = (
        np.concatenate([np.zeros(0, dtype), *(row[column] for row in rows)])
        for column, dtype in enumerate((np.int16, np.int16, np.float64))
    )
    ids = np.repeat(np.array([matrix.example_id for matrix in matrices], object), lengths)
    columns = [pa.array(ids, pa.string()), pa.array(images), pa.array(captions), pa.array(values)]
    table = pa.Table.from_arrays(columns, schema=SCORES)
    if all(matrix.by_position is None for matrix in matrices):
        return table
    return table.append_column(BY_POSITION, pa.concat_arrays(list(map(_by_position, matrices))))


def whole_scores_table(tables: Iterable[ScoreTable], ids: Sequence[str]) -> pa.Table:
    """`scores_table` of the examples `ids`, in that order, which stand in tables of one shape each."""
    places = {name: place for place, name in enumerate(ids)}
    columns: dict[str, list[np.ndarray]] = {name: [] for name in ["place", *SCORES.names[1:]]}
    for table in tables:
        n, n_images, n_captions = table.scores.shape
        scores, captions = table.scores, np.arange(n_captions, dtype=np.int16)
        images = np.repeat(np.arange(n_images, dtype=np.int16), n_captions)
        captions, values = np.tile(captions, n_images), scores.reshape(n, -1)
        if table.unconditional is not None:  # after those with captions
            images = np.concatenate([images, np.arange(n_images, dtype=np.int16)])
            captions = np.concatenate([captions, np.full(n_images, NO_CAPTION, np.int16)])
            values = np.concatenate([values, table.unconditional], axis=1)
        columns["place"].append(np.repeat([places[name] for name in table.ids], values.shape[1]))
        columns["image"].append(np.tile(images, n))
        columns["caption"].append(np.tile(captions, n))
        columns["score"].append(values.astype(np.float64).ravel())
    empty = zip(columns, (np.int64, np.int16, np.int16, np.float64), strict=True)
    joined = {name: np.concatenate([np.zeros(0, dtype), *columns[name]]) for name, dtype in empty}
    order = np.argsort(joined["place"], kind="stable")
    names = pa.DictionaryArray.from_arrays(pa.array(joined["place"][order]), pa.array(ids, pa.string()))
    rest = [pa.array(joined[name][order]) for name in SCORES.names[1:]]
    return pa.Table.from_arrays([names.cast(pa.string()), *rest], schema=SCORES)


def _by_position(matrix: ScoreMatrix) -> pa.Array:
    """A grid per row of `_score_rows`, in the same order; null where there is none."""
    n_without = 0 if matrix.unconditional is None else len(matrix.unconditional)
    if matrix.by_position is None:
        return pa.nulls(matrix.scores.size + n_without, BY_POSITION.type)
    height, width = matrix.by_position.shape[2:]
    values = pa.array(matrix.by_position.astype(np.float32).ravel())
    lines = pa.ListArray.from_arrays(np.arange(0, len(values) + 1, width, dtype=np.int32), values)
    grids = pa.ListArray.from_arrays(np.arange(0, len(lines) + 1, height, dtype=np.int32), lines)
    return pa.concat_arrays([grids.cast(BY_POSITION.type), pa.nulls(n_without, BY_POSITION.type)])


def _score_rows(matrix: ScoreMatrix) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Images, captions, scores."""
    images, captions = np.indices(matrix.scores.shape, dtype=np.int16).reshape(2, -1)
    values = matrix.scores.astype(np.float64).ravel()
    if matrix.unconditional is not None:
        n_images = len(matrix.unconditional)
        images = np.concatenate([images, np.arange(n_images, dtype=np.int16)])
        captions = np.concatenate([captions, np.full(n_images, NO_CAPTION, np.int16)])
        values = np.concatenate([values, matrix.unconditional.astype(np.float64)])
    return images, captions, values
