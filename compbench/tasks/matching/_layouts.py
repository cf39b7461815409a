"""Rows with images, in the two layouts in which the hub keeps such data sets.

Parquet files whose image columns hold {bytes, path}, or a JSON-lines file beside images.zip (or a folder
`images`). Only the text is read at once; an image column of a row is a function that gives the encoded bytes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

from compbench.core import disk
from compbench.core.errors import DataError
from compbench.tasks._reading.archives import open_pictures
from compbench.tasks._reading.parquet_files import first_there, not_data, whole
from compbench.tasks._reading.texts import check_text, lines_of, read_text

__all__ = ["PLACE", "ParquetFile", "Rows", "read_rows"]

PLACE = ""  # the key under which a row says where it stands, for a message; no column is called so

_PARQUET = ("*.parquet", "data/*.parquet", "*/test/*.parquet", "snapshots/*/data/*.parquet")
_JSONL = ("examples.jsonl", "data/examples.jsonl", "snapshots/*/data/examples.jsonl")
_COLUMNS_KEPT = 8  # image columns of row groups that stay in memory; the hub's groups have about 100 rows


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows, and where they were read from."""

    rows: Sequence[Mapping[str, Any]]  # image columns: Callable[[], bytes]
    files: tuple[Path, ...]


def read_rows(place: Path, text_columns: Sequence[str], image_columns: Sequence[str], expected: str) -> Rows:
    """The rows of the data set at `place`, a folder in either layout or a Parquet or JSON-lines file.

    DataError says what was found and what was `expected` where there is none, or where a column is missing.
    """
    place = disk.expanded(place)
    if not place.exists():
        raise DataError(f"no file or folder {str(place)!r}; expected {expected}")
    if not place.is_file() and not place.is_dir():
        raise DataError(f"{str(place)!r} is not a regular file; expected {expected}")
    if files := _find(place, ".parquet", _PARQUET):
        return _read_parquet(_one_split(files), text_columns, image_columns)
    if files := _find(place, ".jsonl", _JSONL):
        return _read_jsonl(files[0], text_columns, image_columns)
    raise DataError(f"no data set at {str(place)!r}: found {_inventory(place)}; expected {expected}")


def _find(place: Path, suffix: str, patterns: Iterable[str]) -> list[Path]:
    """The files of the first pattern that has any; they must lie in one folder."""
    if place.is_file():
        return [place] if place.suffix == suffix else []
    return first_there(place, patterns)


def _inventory(place: Path) -> str:
    if place.is_file():
        return f"a file of type {place.suffix or 'unknown'!r}"
    names = sorted(entry.name + "/" * entry.is_dir() for entry in place.iterdir() if not entry.name.startswith("."))
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return (", ".join(names[:5]) + more) or "an empty folder"


# Parquet


def _one_split(files: list[Path]) -> list[Path]:
    """The files of the test split, all of them; where no name tells the split, all files."""
    test = [file for file in files if re.match(r"test\b", file.name)]
    if not test and any(re.match(r"(train|validation|val|dev)\b", file.name) for file in files):
        raise DataError(
            f"{str(files[0].parent)!r} holds {', '.join(file.name for file in files[:3])} and no file of the test "
            "split; expected test-*.parquet"
        )
    return whole(test or files)


def _read_parquet(files: list[Path], text_columns: Sequence[str], image_columns: Sequence[str]) -> Rows:
    rows: list[Mapping[str, Any]] = []
    for path in files:
        file = ParquetFile(path)
        _require(file.columns(), [*text_columns, *image_columns], path)
        for number, row in enumerate(file.text(text_columns)):
            group, index = file.locate(number)
            images = {column: partial(file.image, group, index, column) for column in image_columns}
            where = f"row {number} of {str(path)!r}"
            _check_texts(row, text_columns, where)
            rows.append({**row, **images, PLACE: where})
    return Rows(rows, tuple(files))


class ParquetFile:
    """A Parquet file whose row groups of images are read on demand, with the last few kept."""

    def __init__(self, path: Path) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        self.path = path
        try:
            with pq.ParquetFile(path) as file:
                self._schema = file.schema_arrow
                sizes = [file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)]
        except (pa.ArrowException, OSError) as error:
            raise DataError(f"{str(path)!r} {not_data(path)} ({error})") from error
        self._places = [(group, index) for group, size in enumerate(sizes) for index in range(size)]
        self._group = lru_cache(_COLUMNS_KEPT)(self._read_group)

    def columns(self) -> list[str]:
        return self._schema.names

    def text(self, columns: Sequence[str]) -> list[dict[str, Any]]:
        """The rows without their images."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            with pq.ParquetFile(self.path) as file:
                return file.read(list(columns)).to_pylist()
        except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
            raise DataError(f"{str(self.path)!r} {not_data(self.path)} ({error})") from error

    def locate(self, number: int) -> tuple[int, int]:
        """(row group, row within it)."""
        return self._places[number]

    def image(self, group: int, index: int, column: str) -> bytes:
        value = self._group(group, column)[index].as_py()
        encoded = value.get("bytes") if isinstance(value, dict) else value
        if not isinstance(encoded, bytes) or not encoded:
            raise DataError(
                f"column {column!r} of {str(self.path)!r} holds no image bytes in row {index} of group {group}; "
                "expected the encoded picture itself, not a path to it"
            )
        return encoded

    def _read_group(self, group: int, column: str) -> Any:
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            with pq.ParquetFile(self.path) as file:
                return file.read_row_group(group, [column]).column(0)
        except (pa.ArrowException, OSError) as error:
            raise DataError(f"column {column!r} of {str(self.path)!r} {not_data(self.path)} ({error})") from error


# JSON lines and images.zip


def _read_jsonl(path: Path, text_columns: Sequence[str], image_columns: Sequence[str]) -> Rows:
    lines = lines_of(read_text(path))
    pictures = open_pictures(path.parent)
    rows: list[Mapping[str, Any]] = []
    for number, line in enumerate(lines, start=1):
        if line.strip():
            where = f"line {number} of {str(path)!r}"
            row = _object(line, where)
            _require(row, [*text_columns, *image_columns], path, f"line {number}: ")
            _check_texts(row, text_columns, where)
            images = {column: pictures.reader(row[column], f"{where}: {column}") for column in image_columns}
            rows.append({**row, **images, PLACE: where})
    return Rows(rows, (path, *pictures.files))


def _object(line: str, where: str) -> dict[str, Any]:
    try:
        row: object = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where} is not a JSON object ({error}); copy it again") from error
    if not isinstance(row, dict):
        raise DataError(f"{where} is not a JSON object, but {line.strip()[:60]!r}; expected an example for each line")
    return row  # pyright: ignore[reportUnknownVariableType]


def _check_texts(row: Mapping[str, Any], columns: Sequence[str], where: str) -> None:
    for column in columns:
        if isinstance(row[column], str):
            check_text(row[column], f"{where}: {column}")


def _require(found: Iterable[str], columns: Sequence[str], path: Path, where: str = "") -> None:
    lacking = [column for column in columns if column not in set(found)]
    if lacking:
        raise DataError(
            f"{str(path)!r}: {where}no column {', '.join(map(repr, lacking))}; found {', '.join(sorted(found))}; "
            f"expected {', '.join(columns)}"
        )
