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
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from compbench.core.aliases import Bools, Floats, Json
from compbench.core.examples import Example
from compbench.core.measurements import DrawTable, Measurement, ScoreMatrix

__all__ = [
    "DamagedPart",
    "check",
    "column_of",
    "digest",
    "draws_table",
    "encode",
    "errors_table",
    "examples_table",
    "fill_errors",
    "fill_scores",
    "loss_in",
    "metadata",
    "name",
    "read",
    "read_draws",
    "read_examples",
    "record",
    "recorded",
    "scores_table",
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
_PACKED = {"draws.list.element": "DELTA_BINARY_PACKED", "errors.list.element": "BYTE_STREAM_SPLIT"}
_DAMAGE = (pa.ArrowException, OSError, ValueError, KeyError)  # what pyarrow raises on a file that is not whole
_ROWS_AT_ONCE = 2_048  # with a thousand draws each, 16 MB
_SCORES_AT_ONCE = 131_072  # a few MB


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


def encode(table: pa.Table) -> memoryview:
    """The bytes of a Parquet file."""
    packed = {name: how for name, how in _PACKED.items() if name.split(".")[0] in table.column_names}
    names = [name for name in table.column_names if f"{name}.list.element" not in packed]
    out = io.BytesIO()
    pq.write_table(
        table,
        out,
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


def check(path: Path, sha256: str | None = None) -> list[str]:
    """The ids of the examples in a part; DamagedPart when its bytes are not those that were written.

    They are known by the digest in the part's name, and by all of `sha256` where that is given.
    """
    found = re.fullmatch(r"\d+-([0-9a-f]{12})", path.stem)
    try:
        its = digest(path)
        is_as_written = found is not None and its.startswith(found[1]) and its == (sha256 or its)
    except IsADirectoryError as error:
        raise DamagedPart("it is a folder") from error
    if not is_as_written:
        raise DamagedPart("its bytes are not those that were written")
    ids: dict[str, None] = {}
    for batch in _batches(path, ["example_id"]):
        ids |= dict.fromkeys(batch.column("example_id").unique().to_pylist())
    return list(ids)


def recorded(table: pa.Table, record: Mapping[str, Json]) -> pa.Table:
    """The table with the words of who measured it, which `record` reads back."""
    return table.replace_schema_metadata({_RECORD: json.dumps(record)})


def record(path: Path) -> dict[str, Any] | None:
    """The record of who measured a part, kept in the part; None where it was written without one."""
    words = (metadata(path).metadata or {}).get(_RECORD)
    return None if words is None else json.loads(words)


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
    path: Path, ids: Sequence[str], errors: Mapping[str, Floats], measured: Bools, *, with_no_caption: bool = False
) -> None:
    """Put what a part knows of the examples `ids` into arrays [N, I, C, D], one for each column; without any, the mask.

    `with_no_caption`: the last caption of the arrays is no caption at all.
    """
    columns = ["example_id", "image", "caption", "draws", *errors]
    n_draws = measured.shape[-1]
    for batch in _batches(path, columns):
        pairs = _pairs(batch, ids, measured.shape[:3], with_no_caption)  # [rows]
        lists = batch.column("draws")
        draws = lists.flatten().to_numpy()  # [rows' draws]
        pairs = np.repeat(pairs, lists.value_lengths().to_numpy())
        wanted = (pairs >= 0) & (draws < n_draws)
        places = pairs[wanted] * n_draws + draws[wanted]
        measured.reshape(-1)[places] = True
        for name, into in errors.items():
            into.reshape(-1)[places] = batch.column(name).flatten().to_numpy()[wanted]


def fill_scores(
    path: Path, ids: Sequence[str], scores: Floats, measured: Bools, *, with_no_caption: bool = False
) -> None:
    """Put what a part knows of the examples `ids` into arrays [N, I, C]."""
    for batch in _batches(path, SCORES.names, _SCORES_AT_ONCE):
        pairs = _pairs(batch, ids, measured.shape, with_no_caption)
        wanted = pairs >= 0
        measured.reshape(-1)[pairs[wanted]] = True
        scores.reshape(-1)[pairs[wanted]] = batch.column("score").to_numpy()[wanted]


def _pairs(batch: pa.RecordBatch, ids: Sequence[str], shape: tuple[int, ...], with_no_caption: bool) -> np.ndarray:
    """[rows] int64: each row's place in an array [N, I, C] in C order, or -1 for a row that is not wanted."""
    wanted = pa.array(ids, pa.string())
    found = pc.index_in(batch.column("example_id"), value_set=wanted)  # pyright: ignore[reportAttributeAccessIssue]
    rows = found.fill_null(-1).to_numpy().astype(np.int64)
    images, captions = batch.column("image").to_numpy(), batch.column("caption").to_numpy().astype(np.int64)
    n_captions = shape[2] - with_no_caption
    captions = np.where(captions == NO_CAPTION, n_captions if with_no_caption else shape[2], captions)
    is_inside = (rows >= 0) & (images < shape[1]) & (captions < shape[2])
    return np.where(is_inside, (rows * shape[1] + images) * shape[2] + captions, -1)


def _batches(path: Path, columns: Sequence[str] | None, n_rows: int = _ROWS_AT_ONCE) -> Iterator[pa.RecordBatch]:
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            yield from file.iter_batches(n_rows, columns=columns)
    except (PermissionError, FileNotFoundError):
        raise
    except _DAMAGE as error:
        raise DamagedPart(str(error)) from error
