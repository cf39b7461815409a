"""The Parquet files of a run: what each holds, and its checked reading.

Damage is seen: pages carry checksums, and a part carries the digest of its bytes in its name.
"""

# pyright: reportUnknownParameterType=false
# pyarrow has no types

from __future__ import annotations

import hashlib
import io
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from compbench.core.aliases import Bools, Floats, Json
from compbench.core.examples import ScoreTable
from compbench.core.measurements import DrawTable, Measurement, ScoreMatrix

__all__ = [
    "DamagedPart",
    "Checked",
    "checked",
    "column_of",
    "digest",
    "draws_table",
    "encode",
    "errors_table",
    "fill_errors",
    "fill_scores",
    "loss_in",
    "metadata",
    "name",
    "read",
    "read_draws",
    "recorded",
    "scores_table",
    "whole_scores_table",
]

ERRORS = pa.schema(
    {
        "example_id": pa.string(),
        "image": pa.int16(),
        "caption": pa.int16(),  # -1: no caption
        "draws": pa.list_(pa.int32()),  # indices into draws.parquet
        "errors": pa.list_(pa.float32()),  # one for each draw; a column more for each further loss
    }
)
NO_CAPTION = -1
_MAIN = "errors"  # the column of the squared error
SCORES = pa.schema({"example_id": pa.string(), "image": pa.int16(), "caption": pa.int16(), "score": pa.float64()})
DRAWS = pa.schema({"timestep": pa.float32(), "alpha": pa.float32(), "sigma": pa.float32(), "target": pa.string()})
_RECORD = b"record"
_ID = "example_id"
_PACKED = {"draws.list.element": "DELTA_BINARY_PACKED", "errors.list.element": "BYTE_STREAM_SPLIT"}
_DAMAGE = (pa.ArrowException, OSError, ValueError, KeyError)  # what pyarrow raises on a file that is not whole
_ROWS_AT_ONCE = 2_048  # with a thousand draws each, 16 MB
_SCORES_AT_ONCE = 131_072  # a few MB
_SMALL_BYTES = 1_000_000  # of a part that is read at once


class Rows(Protocol):
    """A part: its file, or all of its rows where they are kept in memory."""

    @property
    def path(self) -> Path: ...

    @property
    def rows(self) -> pa.Table | None: ...


class DamagedPart(ValueError):
    """A file that is not, or no longer, what was written."""


def errors_table(measurements: Sequence[Measurement]) -> pa.Table:
    """One row a pair; an error that was not measured is left out, and a pair without any."""
    ids, images, captions, lengths, draws = [], [], [], [], []
    names = sorted(map(column_of, measurements[0].errors), key=lambda name: name != _MAIN)
    errors: dict[str, list[np.ndarray]] = {name: [] for name in names}
    for each in measurements:
        n_images, n_captions, n_draws = each.measured.shape
        numbers = np.arange(n_captions)
        if each.has_null_caption:
            numbers[-1] = NO_CAPTION
        mask = each.measured.reshape(-1, n_draws)  # [pairs, D]
        has_any = mask.any(1)
        ids += [each.example_id] * int(has_any.sum())
        images.append(np.repeat(np.arange(n_images, dtype=np.int16), n_captions)[has_any])
        captions.append(np.tile(numbers.astype(np.int16), n_images)[has_any])
        lengths.append(mask.sum(1)[has_any])
        draws.append(np.broadcast_to(each.draw_ids.astype(np.int32), mask.shape)[mask])
        for loss, value in each.errors.items():
            errors[column_of(loss)].append(value.astype(np.float32).reshape(mask.shape)[mask])
    offsets = pa.array(np.concatenate([[0], np.cumsum(np.concatenate(lengths))]).astype(np.int32))
    columns = {
        "example_id": pa.array(ids, pa.string()),
        "image": pa.array(np.concatenate(images)),
        "caption": pa.array(np.concatenate(captions)),
        "draws": pa.ListArray.from_arrays(offsets, pa.array(np.concatenate(draws))),
    }
    columns |= {
        name: pa.ListArray.from_arrays(offsets, pa.array(np.concatenate(each))) for name, each in errors.items()
    }
    kept = [field for field in ERRORS if field.name != _MAIN]
    schema = pa.schema([*kept, *(pa.field(name, ERRORS.field(_MAIN).type) for name in names)])
    return pa.Table.from_arrays(list(columns.values()), schema=schema)


def column_of(loss: str) -> str:
    """The column that holds a loss."""
    return _MAIN if loss == "l2" else loss


def loss_in(column: str) -> str:
    """The loss that a column holds."""
    return "l2" if column == _MAIN else column


def scores_table(matrices: Sequence[ScoreMatrix]) -> pa.Table:
    """One row a pair, float64; the score of no caption stands under caption -1."""
    rows = [_score_rows(each) for each in matrices]
    lengths = [len(values) for _, _, values in rows]
    images, captions, values = (
        np.concatenate([np.zeros(0, dtype), *(row[column] for row in rows)])
        for column, dtype in enumerate((np.int16, np.int16, np.float64))
    )
    ids = np.repeat(np.array([each.example_id for each in matrices], object), lengths)
    columns = [pa.array(ids, pa.string()), pa.array(images), pa.array(captions), pa.array(values)]
    return pa.Table.from_arrays(columns, schema=SCORES)


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


def draws_table(draws: DrawTable) -> pa.Table:
    """The bank, one row a draw, and what the network predicts."""
    columns = [pa.array(np.asarray(each, np.float32)) for each in (draws.timesteps, draws.alpha, draws.sigma)]
    targets = pa.array([draws.target] * len(draws.alpha), pa.string())
    return pa.Table.from_arrays([*columns, targets], schema=DRAWS)


def encode(table: pa.Table, rows_in_group: int | None = None) -> memoryview:
    """The bytes of a Parquet file."""
    packed = {name: how for name, how in _PACKED.items() if name.split(".")[0] in table.column_names}
    names = [name for name in table.column_names if f"{name}.list.element" not in packed]
    out = io.BytesIO()
    pq.write_table(
        table,
        out,
        row_group_size=rows_in_group,
        compression="zstd",
        use_dictionary=names,  # pyright: ignore[reportArgumentType]
        column_encoding=packed or None,
        write_page_checksum=True,
    )
    return out.getbuffer()


def name(number: int, content: bytes | memoryview) -> str:
    """What the part with this content is called, e.g. 000001-5f2c9a1b03d4.parquet; later parts sort later."""
    return f"{number:06d}-{hashlib.sha256(content).hexdigest()[:12]}.parquet"


def digest(path: Path) -> str:
    """SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@dataclass(frozen=True)
class Checked:
    """What a part whose bytes are those that were written holds."""

    ids: tuple[str, ...]  # of its examples
    columns: tuple[str, ...]
    record: dict[str, Any] | None  # who measured it; None where it was written without one
    rows: pa.Table | None  # all of it, where it is small


def checked(path: Path, sha256: str | None = None) -> Checked:
    """What is in a part; DamagedPart when its bytes are not those that were written.

    They are known by the digest in the part's name, and by all of `sha256` where that is given. A small part is read
    once: its rows are those of the very bytes that were checked.
    """
    found = re.fullmatch(r"\d+-([0-9a-f]{12})", path.stem)
    try:
        content = path.read_bytes() if path.stat().st_size <= _SMALL_BYTES else None
        own = digest(path) if content is None else hashlib.sha256(content).hexdigest()
    except IsADirectoryError as error:
        raise DamagedPart("it is a folder") from error
    if found is None or not own.startswith(found[1]) or own != (sha256 or own):
        raise DamagedPart("its bytes are not those that were written")
    try:
        with pq.ParquetFile(path if content is None else pa.BufferReader(content), read_dictionary=[_ID]) as file:
            record = (file.schema_arrow.metadata or {}).get(_RECORD)
            rows = None if content is None else file.read()
            batches = file.iter_batches(_SCORES_AT_ONCE, columns=[_ID]) if rows is None else rows.to_batches()
            ids = tuple(dict.fromkeys(name for batch in batches for name in batch.column(_ID).dictionary.to_pylist()))
            columns = tuple(file.schema_arrow.names)
        return Checked(ids, columns, None if record is None else json.loads(record), rows)
    except (PermissionError, FileNotFoundError):
        raise
    except _DAMAGE as error:
        raise DamagedPart(str(error)) from error


def recorded(table: pa.Table, record: Mapping[str, Json]) -> pa.Table:
    """The table with the words of who measured it, which `record` reads back."""
    return table.replace_schema_metadata({_RECORD: json.dumps(record)})


def read(path: Path) -> pa.Table:
    """The whole file; DamagedPart when it is not as written."""
    batches = list(_batches(path, None))
    return pa.Table.from_batches(batches) if batches else metadata(path).empty_table()


def read_draws(path: Path) -> DrawTable:
    """The bank that `draws_table` made."""
    table = read(path)
    if table.schema.names != DRAWS.names or not len(table):
        raise DamagedPart(f"it has columns {table.schema.names} and {len(table)} rows")
    timesteps, alpha, sigma = (table.column(name).to_numpy() for name in DRAWS.names[:3])
    return DrawTable(timesteps, alpha, sigma, table.column("target")[0].as_py())


def metadata(path: Path) -> pa.Schema:
    """The columns of a file and the words stored with them."""
    try:
        return pq.read_schema(path)
    except _DAMAGE as error:
        raise DamagedPart(str(error)) from error


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
    arrays is no caption at all.
    """
    columns = [_ID, "image", "caption", "draws", *errors]
    n_draws = measured.shape[-1]
    for batch in _rows_of(part, columns, _ROWS_AT_ONCE):
        pairs = _pairs(batch, place_of, measured.shape[:3], with_no_caption)  # [rows]
        lists = batch.column("draws")
        draws = lists.flatten().to_numpy()  # [rows' draws]
        pairs = np.repeat(pairs, lists.value_lengths().to_numpy())
        wanted = (pairs >= 0) & (draws < n_draws)
        places = pairs[wanted] * n_draws + draws[wanted]
        measured.reshape(-1)[places] = True
        for name, into in errors.items():
            into.reshape(-1)[places] = batch.column(name).flatten().to_numpy()[wanted]


def fill_scores(
    part: Rows, place_of: Mapping[str, int], scores: Floats, measured: Bools, *, with_no_caption: bool = False
) -> None:
    """Put what a part knows of examples into arrays [N, I, C], at the place of each."""
    for batch in _rows_of(part, SCORES.names, _SCORES_AT_ONCE):
        pairs = _pairs(batch, place_of, measured.shape, with_no_caption)
        wanted = pairs >= 0
        measured.reshape(-1)[pairs[wanted]] = True
        scores.reshape(-1)[pairs[wanted]] = batch.column("score").to_numpy()[wanted]


def _rows_of(part: Rows, columns: Sequence[str], n_rows: int) -> Iterator[pa.RecordBatch]:
    if part.rows is None:
        yield from _batches(part.path, columns, n_rows)
    else:
        yield from part.rows.select(columns).to_batches()


def _pairs(
    batch: pa.RecordBatch, place_of: Mapping[str, int], shape: tuple[int, ...], with_no_caption: bool
) -> np.ndarray:
    """[rows] int64: each row's place in an array [N, I, C] in C order, or -1 for a row that is not wanted."""
    ids = batch.column(_ID)
    places = np.array([place_of.get(name, -1) for name in ids.dictionary.to_pylist()], np.int64)
    rows = places[ids.indices.to_numpy()]
    images, captions = batch.column("image").to_numpy(), batch.column("caption").to_numpy().astype(np.int64)
    n_captions = shape[2] - with_no_caption
    captions = np.where(captions == NO_CAPTION, n_captions if with_no_caption else shape[2], captions)
    is_inside = (rows >= 0) & (images < shape[1]) & (captions < shape[2])
    return np.where(is_inside, (rows * shape[1] + images) * shape[2] + captions, -1)


def _batches(path: Path, columns: Sequence[str] | None, n_rows: int = _ROWS_AT_ONCE) -> Iterator[pa.RecordBatch]:
    """Pieces of a file; the ids of examples are read as a dictionary where `columns` are named."""
    try:
        with pq.ParquetFile(
            path, page_checksum_verification=True, read_dictionary=None if columns is None else [_ID]
        ) as file:
            yield from file.iter_batches(n_rows, columns=columns)
    except (PermissionError, FileNotFoundError):
        raise
    except _DAMAGE as error:
        raise DamagedPart(str(error)) from error
