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
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from compbench.core.aliases import Json
from compbench.core.measurements import DrawTable
from compbench.store._arrays import numbers
from compbench.store._damage import Damaged, check_digest

__all__ = [
    "BY_POSITION",
    "ERRORS",
    "ID",
    "NO_CAPTION",
    "PART",
    "SCORES",
    "SMALL_BYTES",
    "Checked",
    "Member",
    "batches",
    "checked",
    "column_of",
    "compacted",
    "decoding",
    "digest",
    "draws_table",
    "encode",
    "loss_in",
    "metadata",
    "name",
    "read",
    "read_draws",
    "recorded",
    "rows_at_once",
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
BY_POSITION = pa.field("by_position", pa.list_(pa.list_(pa.float32())))  # [h, w], beside a score that is their sum
DRAWS = pa.schema({"timestep": pa.float32(), "alpha": pa.float32(), "sigma": pa.float32(), "target": pa.string()})
_RECORD = b"record"
ID = "example_id"
_PACKED = {
    "draws.list.element": "DELTA_BINARY_PACKED",
    "errors.list.element": "BYTE_STREAM_SPLIT",
    "by_position.list.element.list.element": "BYTE_STREAM_SPLIT",
}
# what pyarrow raises on a file that is not whole
_DAMAGE = (pa.ArrowException, OSError, ValueError, KeyError, TypeError)
_ERRORS_AT_ONCE = 2_097_152  # 16 MB, with the numbers of their draws
_ROWS_AT_ONCE = 2_048, 131_072  # at least and at most: a few MB of scores
SMALL_BYTES = 1_000_000  # of a part that is read at once
PART = "part"  # the column of a compacted part: which of the parts it was made of holds the row
_HOLDS, _REPLACED = b"holds", b"replaced"


def column_of(loss: str) -> str:
    """The column that holds a loss."""
    return _MAIN if loss == "l2" else loss


def loss_in(column: str) -> str:
    """The loss that a column holds."""
    return "l2" if column == _MAIN else column


def draws_table(draws: DrawTable) -> pa.Table:
    """The bank, one row a draw, and what the network predicts."""
    columns = [pa.array(np.asarray(column, np.float32)) for column in (draws.timesteps, draws.alpha, draws.sigma)]
    targets = pa.array([draws.target] * len(draws.alpha), pa.string())
    return pa.Table.from_arrays([*columns, targets], schema=DRAWS)


@contextmanager
def decoding() -> Generator[None]:
    """Damaged where what is read within is not a whole Parquet file; one that may not be opened is not Damaged."""
    try:
        yield
    except (PermissionError, FileNotFoundError, Damaged):
        raise
    except _DAMAGE as error:
        raise Damaged(str(error)) from error


def encode(table: pa.Table, rows_in_group: int | None = None) -> memoryview:
    """The bytes of a Parquet file."""
    packed = {name: how for name, how in _PACKED.items() if name.split(".")[0] in table.column_names}
    names = [name for name in table.column_names if name not in {column.split(".")[0] for column in packed}]
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
    """The file name of the part with this content, e.g. 000001-5f2c9a1b03d4.parquet; later parts sort later."""
    return f"{number:06d}-{hashlib.sha256(content).hexdigest()[:12]}.parquet"


def digest(path: Path) -> str:
    """SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@dataclass(frozen=True)
class Member:
    """A part as it was before it was compacted with others."""

    name: str  # relative to the run's folder
    words: dict[str, Any]  # its line in parts.jsonl: size, digest, and who measured it
    ids: tuple[str, ...]  # of its examples


@dataclass(frozen=True)
class Checked:
    """The contents of a part whose bytes are those that were written."""

    ids: tuple[str, ...]  # of its examples
    columns: tuple[str, ...]
    record: dict[str, Any] | None  # who measured it; None where it was written without one
    rows: pa.Table | None  # all of it, where it is small
    members: tuple[Member, ...] = ()  # the parts that it was made of, as they were written
    replaced: tuple[str, ...] = ()  # compacted parts that it was made of


def checked(path: Path, sha256: str | None = None) -> Checked:
    """The contents of a part; Damaged when its bytes have changed since it was written.

    They are known by the digest in the part's name, and by all of `sha256` where that is given. A small part is read
    once: its rows are those of the very bytes that were checked.
    """
    found = re.fullmatch(r"\d+-([0-9a-f]{12})", path.stem)
    try:
        content = path.read_bytes() if path.stat().st_size <= SMALL_BYTES else None
        own = digest(path) if content is None else hashlib.sha256(content).hexdigest()
    except IsADirectoryError as error:
        raise Damaged("it is a folder") from error
    check_digest(own, sha256)
    check_digest(own[:12], found[1] if found else "")
    with decoding():
        with pq.ParquetFile(path if content is None else pa.BufferReader(content), read_dictionary=[ID]) as file:
            schema = file.schema_arrow
            words = schema.metadata or {}
            record = words.get(_RECORD)
            holds, replaced = (json.loads(words[name]) if name in words else [] for name in (_HOLDS, _REPLACED))
            rows = None if content is None else file.read(use_threads=False)  # of few rows: threads would only wait
            wanted = [ID, PART] if holds else [ID]
            pieces = file.iter_batches(_ROWS_AT_ONCE[1], columns=wanted) if rows is None else rows.to_batches()
            ids_of = _ids_by_part(pieces, len(holds))
            columns = tuple(name for name in schema.names if name != PART)
        members = tuple(
            Member(held["part"], {name: value for name, value in held.items() if name != "part"}, ids)
            for held, ids in zip(holds, ids_of, strict=bool(holds))
        )
        every = tuple(dict.fromkeys(name for ids in ids_of for name in ids))
        return Checked(every, columns, None if record is None else json.loads(record), rows, members, tuple(replaced))


def _ids_by_part(pieces: Iterable[pa.RecordBatch], n_parts: int) -> list[tuple[str, ...]]:
    """The examples of each of the parts that a compacted part was made of, in order; of all rows where it was not."""
    found: list[dict[str, None]] = [{} for _ in range(n_parts or 1)]
    for piece in pieces:
        names = piece.column(ID).dictionary.to_pylist()
        if not n_parts:
            found[0] |= dict.fromkeys(names)
            continue
        names = np.array(names, object)
        codes, parts = numbers(piece.column(ID).indices), numbers(piece.column(PART))
        changes = np.flatnonzero(np.diff(parts, prepend=-1))
        for start, end in zip(changes, [*changes[1:], len(parts)], strict=True):
            own = codes[start:end]
            first = np.sort(np.unique(own, return_index=True)[1])
            found[int(parts[start])] |= dict.fromkeys(names[own[first]].tolist())
    return list(map(tuple, found))


def compacted(
    tables: Sequence[pa.Table], members: Sequence[Sequence[Mapping[str, Json]]], replaced: Sequence[str]
) -> pa.Table:
    """The rows of several parts one after the other, each with the part that it was written in.

    `members` are the lines of parts.jsonl for each table: several where it was compacted before, as `replaced` were.
    """
    numbered, number = list[pa.Table](), 0
    for table, lines in zip(tables, members, strict=True):
        own = numbers(table.column(PART)) if PART in table.column_names else np.zeros(len(table), np.int32)
        rest = table.drop_columns([PART]) if PART in table.column_names else table
        text = rest.column(ID).cast(pa.string())
        rest = rest.set_column(rest.schema.get_field_index(ID), ID, text)
        numbered.append(rest.append_column(PART, pa.array((own + number).astype(np.int32))))
        number += len(lines)
    whole = pa.concat_tables([table.replace_schema_metadata() for table in numbered])
    holds = [line for lines in members for line in lines]
    return whole.replace_schema_metadata({_HOLDS: json.dumps(holds), _REPLACED: json.dumps(list(replaced))})


def recorded(table: pa.Table, record: Mapping[str, Json]) -> pa.Table:
    """The table with the words of who measured it, which `record` reads back."""
    return table.replace_schema_metadata({_RECORD: json.dumps(record)})


def read(path: Path) -> pa.Table:
    """The whole file; Damaged when it is not as written."""
    pieces = list(batches(path, None))
    return pa.Table.from_batches(pieces) if pieces else metadata(path).empty_table()


def read_draws(path: Path) -> DrawTable:
    """The bank that `draws_table` made."""
    table = read(path)
    if table.schema.names != DRAWS.names or not len(table):
        raise Damaged(f"it has columns {table.schema.names} and {len(table)} rows")
    timesteps, alpha, sigma = (numbers(table.column(name)) for name in DRAWS.names[:3])
    return DrawTable(timesteps, alpha, sigma, table.column("target")[0].as_py())


def metadata(path: Path) -> pa.Schema:
    """The columns of a file and the words stored with them."""
    with decoding():
        return pq.read_schema(path)


def batches(path: Path, columns: Sequence[str] | None) -> Iterator[pa.RecordBatch]:
    """Pieces of a file; the ids of examples are read as a dictionary where `columns` are named."""
    with (
        decoding(),
        pq.ParquetFile(
            path, page_checksum_verification=True, read_dictionary=None if columns is None else [ID]
        ) as file,
    ):
        about = file.metadata
        groups = [about.row_group(n) for n in range(about.num_row_groups)]
        chunks = [group.column(n) for group in groups for n in range(group.num_columns)]
        n_draws = sum(chunk.num_values for chunk in chunks if chunk.path_in_schema.startswith("draws."))
        yield from file.iter_batches(rows_at_once(about.num_rows, n_draws), columns=columns)


def rows_at_once(n_rows: int, n_draws: int) -> int:
    """The number of rows of a part to decode at once; `n_draws` counts all that they hold."""
    least, most = _ROWS_AT_ONCE
    return min(max(_ERRORS_AT_ONCE * n_rows // max(n_draws, 1), least), most)
