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
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from compbench.core.aliases import Bools, Floats, Json
from compbench.core.examples import Example
from compbench.core.measurements import DrawTable

__all__ = [
    "ERRORS",
    "NO_CAPTION",
    "SCORES",
    "Checked",
    "DamagedPart",
    "checked",
    "column_of",
    "digest",
    "draws_table",
    "encode",
    "examples_table",
    "fill_errors",
    "fill_scores",
    "loss_in",
    "metadata",
    "name",
    "read",
    "read_draws",
    "read_examples",
    "recorded",
]

# where all examples share their captions, these stand once in the file's metadata; captions and matches are null
EXAMPLES = pa.schema(
    {
        "id": pa.string(),
        "captions": pa.list_(pa.string()),
        "image_names": pa.list_(pa.string()),
        "matches": pa.list_(pa.list_(pa.bool_())),  # [I, C]
        "true_pairs": pa.list_(pa.int32()),  # with shared captions: what matches holds, as image * C + caption
        "tags": pa.string(),  # a JSON object: column -> values
        "group": pa.string(),
        "order": pa.int32(),
    }
)
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
_SHARED = b"captions"
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


def examples_table(examples: Sequence[Example]) -> pa.Table:
    """What an analysis needs of the examples, so that it never needs the task; captions that all share stand once."""
    shared = _shared_captions(examples)
    rows = [
        {
            "id": example.id,
            "captions": list(example.captions) if shared is None else None,
            "image_names": [image.name for image in example.images],
            "matches": example.matches.tolist() if shared is None else None,
            "true_pairs": np.flatnonzero(example.matches) if shared is not None else None,
            "tags": json.dumps({name: list(values) for name, values in example.tags.items()}, ensure_ascii=False),
            "group": example.group or example.id,
            "order": order,
        }
        for order, example in enumerate(examples)
    ]
    if shared is None:
        return pa.Table.from_pylist(rows, EXAMPLES.remove(EXAMPLES.get_field_index("true_pairs")))
    words = {_SHARED: json.dumps(shared, ensure_ascii=False)}
    return pa.Table.from_pylist(rows, EXAMPLES).replace_schema_metadata(words)


def read_examples(path: Path) -> pd.DataFrame:
    """What `examples_table` holds, one row an example: captions a tuple, matches [I, C], tags a mapping.

    Shared captions are one tuple, and the matches of a class one array, which cannot be written to.
    """
    table = read(path)
    try:
        return _examples_frame(table)
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        raise DamagedPart(f"it does not hold examples: {error}") from error


def _examples_frame(table: pa.Table) -> pd.DataFrame:
    frame = table.to_pandas()
    words = (table.schema.metadata or {}).get(_SHARED)
    frame["tags"] = [json.loads(each) for each in frame["tags"]]
    frame["image_names"] = [tuple(each) for each in frame["image_names"]]
    if words is None:
        frame["matches"] = [np.array([list(row) for row in each], dtype=bool) for each in frame["matches"]]
        frame["captions"] = [tuple(each) for each in frame["captions"]]
        return frame
    shared = tuple(json.loads(words))
    matches_of = cache(partial(_matches, len(shared)))
    pairs = zip(frame["image_names"], frame.pop("true_pairs"), strict=True)
    frame["matches"] = [matches_of(len(names), tuple(each.tolist())) for names, each in pairs]
    frame["captions"] = [shared] * len(frame)
    return frame


def _shared_captions(examples: Sequence[Example]) -> tuple[str, ...] | None:
    """The captions that all of several examples have."""
    first = examples[0].captions if len(examples) > 1 else None
    return first if all(each.captions is first or each.captions == first for each in examples) else None


def _matches(n_captions: int, n_images: int, true_pairs: tuple[int, ...]) -> Bools:
    matches = np.zeros((n_images, n_captions), bool)
    matches.reshape(-1)[list(true_pairs)] = True
    matches.setflags(write=False)
    return matches


def column_of(loss: str) -> str:
    """The column that holds a loss."""
    return _MAIN if loss == "l2" else loss


def loss_in(column: str) -> str:
    """The loss that a column holds."""
    return "l2" if column == _MAIN else column


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
