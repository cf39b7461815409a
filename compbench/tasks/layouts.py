"""Rows with images, in the two layouts in which the hub keeps such data sets.

Parquet files whose image columns hold {bytes, path}, or a JSON-lines file beside images.zip (or a folder
`images`). Only the text is read at once; an image column of a row is a function that gives the encoded bytes.
"""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path, PurePosixPath
from typing import Any

from compbench import image_files
from compbench.types import DataError

__all__ = ["Rows", "read_rows"]

_PARQUET = ("*.parquet", "data/*.parquet", "*/test/*.parquet", "snapshots/*/data/*.parquet")
_JSONL = ("examples.jsonl", "data/examples.jsonl", "snapshots/*/data/examples.jsonl")
_COLUMNS_KEPT = 8  # image columns of row groups that stay in memory; the hub's groups have about 100 rows


@dataclass(frozen=True, slots=True)
class Rows:
    """What was read and from where."""

    rows: Sequence[Mapping[str, Any]]  # image columns: Callable[[], bytes]
    files: tuple[Path, ...]


def read_rows(place: Path, text_columns: Sequence[str], image_columns: Sequence[str], expected: str) -> Rows:
    """The rows of the data set at `place`, a folder in either layout or a Parquet or JSON-lines file.

    DataError says what was found and what was `expected` where there is none, or where a column is missing.
    """
    place = place.expanduser()
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
    for pattern in patterns:
        if files := sorted(place.glob(pattern)):
            if other := [file for file in files if not file.is_file()]:
                raise DataError(f"{str(other[0])!r} is not a regular file; copy or fetch it again")
            folders = sorted({str(file.parent) for file in files})
            if len(folders) > 1:
                raise DataError(f"{str(place)!r} holds several copies: {', '.join(folders)}; name one of them")
            return files
    return []


def _inventory(place: Path) -> str:
    if place.is_file():
        return f"a file of type {place.suffix or 'unknown'!r}"
    names = sorted(entry.name + "/" * entry.is_dir() for entry in place.iterdir() if not entry.name.startswith("."))
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return (", ".join(names[:5]) + more) or "an empty folder"


# Parquet


def _one_split(files: list[Path]) -> list[Path]:
    """The files of the test split, all of them: `test-00000-of-00002.parquet` promises a second one."""
    files = [file for file in files if file.name.startswith("test")] or files
    promised = {int(match[1]) for file in files if (match := re.search(r"-of-(\d+)\.parquet$", file.name))}
    if promised and promised != {len(files)}:
        raise DataError(
            f"found {len(files)} of {' or '.join(map(str, sorted(promised)))} Parquet files in "
            f"{str(files[0].parent)!r}; give the folder that holds all of them, or fetch it again"
        )
    return files


def _read_parquet(files: list[Path], text_columns: Sequence[str], image_columns: Sequence[str]) -> Rows:
    rows: list[Mapping[str, Any]] = []
    for path in files:
        file = _ParquetFile(path)
        _require(file.columns(), [*text_columns, *image_columns], path)
        for number, row in enumerate(file.text(text_columns)):
            group, index = file.locate(number)
            images = {column: partial(file.image, group, index, column) for column in image_columns}
            rows.append({**row, **images})
    return Rows(rows, tuple(files))


class _ParquetFile:
    """One Parquet file whose row groups of images are read when asked for and the last few kept."""

    def __init__(self, path: Path) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        self.path = path
        try:
            with pq.ParquetFile(path) as file:
                self._schema = file.schema_arrow
                sizes = [file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)]
        except (pa.ArrowInvalid, OSError) as error:
            raise DataError(f"{str(path)!r} {_not_data(path)} ({error})") from error
        self._places = [(group, index) for group, size in enumerate(sizes) for index in range(size)]
        self._group = lru_cache(_COLUMNS_KEPT)(self._read_group)

    def columns(self) -> list[str]:
        return self._schema.names

    def text(self, columns: Sequence[str]) -> list[dict[str, Any]]:
        """The rows without their images."""
        import pyarrow.parquet as pq

        with pq.ParquetFile(self.path) as file:
            return file.read(list(columns)).to_pylist()

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
        import pyarrow.parquet as pq

        with pq.ParquetFile(self.path) as file:
            return file.read_row_group(group, [column]).column(0)


def _not_data(path: Path) -> str:
    """Why a file that should hold data does not, and what to do."""
    with path.open("rb") as file:
        if file.read(40).startswith(b"version https://git-lfs"):
            return "is a Git LFS pointer, not the data: run `git lfs pull` there"
    return "is damaged: fetch or copy it again"


# JSON lines and images.zip


def _read_jsonl(path: Path, text_columns: Sequence[str], image_columns: Sequence[str]) -> Rows:
    read, names, source = _open_images(path.parent)
    rows: list[Mapping[str, Any]] = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        if not line.strip():
            continue
        try:
            row: dict[str, Any] = dict(json.loads(line))
        except (ValueError, TypeError) as error:
            raise DataError(f"line {number} of {str(path)!r} is no JSON object ({error}); copy it again") from error
        _require(row, [*text_columns, *image_columns], path, f"line {number}: ")
        rows.append({**row, **{column: partial(read, _member(names, row[column], source)) for column in image_columns}})
    return Rows(rows, (path, source))


def _open_images(folder: Path) -> tuple[Callable[[str], bytes], Mapping[str, str], Path]:
    """How to read a picture, the pictures by name without extension, and the archive or folder they are in."""
    archive, loose = folder / "images.zip", folder / "images"
    if archive.is_file():
        try:
            with zipfile.ZipFile(archive) as file:
                members = [name for name in file.namelist() if not name.startswith("__MACOSX")]
        except (zipfile.BadZipFile, OSError) as error:
            raise DataError(f"{str(archive)!r} {_not_data(archive)} ({error})") from error
        return partial(_read_member, archive), {PurePosixPath(name).stem: name for name in members}, archive
    if loose.is_dir():
        return partial(_read_loose, loose), {file.stem: file.name for file in loose.iterdir()}, loose
    raise DataError(
        f"examples without images in {str(folder)!r}: expected images.zip (or images/) beside examples.jsonl"
    )


def _member(names: Mapping[str, str], wanted: object, source: Path) -> str:
    """The member that an example names, with or without its extension."""
    name = names.get(str(wanted)) or names.get(PurePosixPath(str(wanted)).stem)
    if name is None:
        raise DataError(f"no image {wanted!r} in {str(source)!r} ({len(names)} images); fetch or copy it again")
    return name


def _read_member(archive: Path, name: str) -> bytes:
    # opened anew each time: an open archive cannot be shared with worker processes
    try:
        with zipfile.ZipFile(archive) as file:
            return image_files.read_member(file, name)
    except (zipfile.BadZipFile, OSError) as error:
        raise DataError(f"image {name!r} in {str(archive)!r} cannot be read ({error}); copy it again") from error


def _read_loose(folder: Path, name: str) -> bytes:
    try:
        return image_files.read_file(folder / name)
    except DataError as error:
        raise DataError(f"image {name!r} in {str(folder)!r} cannot be read ({error}); copy it again") from error


def _require(found: Iterable[str], columns: Sequence[str], path: Path, where: str = "") -> None:
    lacking = [column for column in columns if column not in set(found)]
    if lacking:
        raise DataError(
            f"{str(path)!r}: {where}no column {', '.join(map(repr, lacking))}; found {', '.join(sorted(found))}; "
            f"expected {', '.join(columns)}"
        )
