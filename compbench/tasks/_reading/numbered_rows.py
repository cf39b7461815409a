"""The rows of a table in jsonl, json, csv, tsv or parquet, each with the line that an editor shows it on.

A row that cannot be read is given with its fault, so that a user can be told of all of them at once. Nothing but the
text of the file, or one batch of a Parquet file, is in memory.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from compbench.core import regular_files
from compbench.core.cells import DELIMITERS, delimiter, unique_keys
from compbench.core.errors import DataError
from compbench.core.printable import from_cell
from compbench.tasks._reading.texts import is_lfs_pointer, lines_of, read_text

__all__ = ["SUFFIXES", "Row", "is_by_line", "rows_of"]

SUFFIXES = (".jsonl", ".csv", ".tsv", ".parquet", ".json")
_BATCH = 1000  # rows of a Parquet file that are in memory


@dataclass(frozen=True, slots=True)
class Row:
    """The cells of a row by column, or why it cannot be read."""

    number: int  # of its first line in a text file, else of the row, counted from 1
    cells: Mapping[str, Any] = field(default_factory=dict[str, Any])
    fault: str = ""


def is_by_line(path: Path) -> bool:
    """Whether the numbers of rows are those of lines."""
    return path.suffix.lower() in (*DELIMITERS, ".jsonl")


def rows_of(path: Path) -> Iterator[Row]:
    """The rows one by one, but for lines and rows in which nothing stands; cells of csv and tsv are text.

    DataError for a file that cannot be read at all, or whose header cannot.
    """
    suffix = path.suffix.lower()
    if suffix == ".parquet":
        return _parquet(path)
    if suffix == ".jsonl":
        return _json_lines(read_text(path))
    if suffix == ".json":
        return _json_list(read_text(path), path)
    if suffix in DELIMITERS:
        text = read_text(path)
        return _delimited(text, delimiter(text, DELIMITERS[suffix]), path)
    raise DataError(f"{str(path)!r} is of type {suffix or 'unknown'!r}; expected one of {', '.join(SUFFIXES)}")


# JSON


def _json_lines(text: str) -> Iterator[Row]:
    for number, line in enumerate(lines_of(text), 1):
        if not line.strip():
            continue
        try:
            value: object = json.loads(line, object_pairs_hook=unique_keys)
        except (ValueError, RecursionError) as error:
            yield Row(number, fault=f"is not a JSON object ({_reason(error)}); expected {{...}} on one line")
            continue
        yield _object(number, value)


def _json_list(text: str, path: Path) -> Iterator[Row]:
    try:
        values: object = json.loads(text, object_pairs_hook=unique_keys)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{str(path)!r} is not JSON ({_reason(error)}); write it again") from error
    if not isinstance(values, list):
        raise DataError(f"{str(path)!r} is not a JSON list; expected [{{...}}, {{...}}], an object for each example")
    for number, value in enumerate(values, 1):
        yield _object(number, value)


def _object(number: int, value: object) -> Row:
    if not isinstance(value, dict):
        return Row(number, fault=f"is not a JSON object, but {ascii(value)[:40]}; expected {{...}}")
    return Row(number, {str(name): cell for name, cell in value.items()})


def _reason(error: Exception) -> str:
    return "it is nested too deep" if isinstance(error, RecursionError) else str(error)


# csv and tsv


def _delimited(text: str, separator: str, path: Path) -> Iterator[Row]:
    # csv goes by line feeds and carriage returns alone: U+2028, U+0085 and the like may stand in a cell
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, skipinitialspace=True, strict=True)
    columns = _header(reader, path)
    while True:
        number = reader.line_num + 1
        try:
            cells = next(reader, None)
        except csv.Error as error:
            yield Row(number, fault=f"{_why(error)}; the rest was not read")
            return
        if cells is None:
            return
        if any(cell.strip() for cell in cells):
            yield _cells(number, columns, cells, separator)


def _header(reader: Any, path: Path) -> list[str]:
    try:
        columns: list[str] = next(row for row in reader if any(cell.strip() for cell in row))
    except StopIteration:
        raise DataError(f"{str(path)!r} is empty; expected a header, such as image,caption,foil") from None
    except csv.Error as error:
        raise DataError(f"line 1 of {str(path)!r} {_why(error)}") from error
    while not columns[-1].strip():
        columns.pop()
    for column, name in enumerate(columns, 1):
        if not name.strip():
            raise DataError(f"line {reader.line_num} of {str(path)!r} has no name for column {column}; add one")
    return columns


def _cells(number: int, columns: Sequence[str], cells: list[str], separator: str) -> Row:
    while len(cells) > len(columns) and not cells[-1].strip():
        cells.pop()
    if len(cells) != len(columns):
        hint = f"; put a text that holds {separator!r} in double quotes" if len(cells) > len(columns) else ""
        return Row(number, fault=f"has {len(cells)} cells, but the header has {len(columns)}{hint}")
    return Row(number, dict(zip(columns, map(from_cell, cells), strict=True)))


def _why(error: csv.Error) -> str:
    words = str(error)
    if "field limit" in words:
        return f"has a cell of more than {csv.field_size_limit():,} characters; cut it, or close its quotes"
    if "unexpected end" in words:
        return "opens double quotes that are never closed"
    return f"cannot be read ({words}); double a quote within quotes"


# Parquet


def _parquet(path: Path) -> Iterator[Row]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    number = 0
    with regular_files.opened(path) as opened:
        if is_lfs_pointer(opened.read(40)):
            raise DataError(f"{str(path)!r} is a Git LFS pointer, not the data: run `git lfs pull` there")
        opened.seek(0)
        try:
            file = pq.ParquetFile(opened)
            _check_columns(file.schema_arrow, path)
            for batch in file.iter_batches(_BATCH):
                for cells in batch.to_pylist():
                    number += 1
                    yield Row(number, cells)
        except (pa.ArrowException, OSError, ValueError, OverflowError, NotImplementedError) as error:
            if isinstance(error, DataError):
                raise
            where = f"row {number + 1} of {str(path)!r} or one after it" if number else repr(str(path))
            raise DataError(f"{where} cannot be read ({' '.join(str(error).split())}); write it again") from error


def _check_columns(schema: Any, path: Path) -> None:
    """DataError for encoded pictures: a table names its pictures."""
    import pyarrow as pa

    if len(set(schema.names)) < len(schema.names):
        raise DataError(f"{str(path)!r} has two columns of one name; expected each column once")
    for column in schema:
        inner = [field.type for field in column.type] if pa.types.is_struct(column.type) else [column.type]
        if any(pa.types.is_binary(kind) or pa.types.is_large_binary(kind) for kind in inner):
            raise DataError(
                f"column {column.name!r} of {str(path)!r} holds encoded pictures; expected the names of picture files: "
                "save each picture as a file beside the table"
            )
