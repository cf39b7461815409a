"""The rows of a suite as its authors keep them: JSON or CSV files, Parquet or Arrow tables; pictures are not opened.

A row is a dict by column; one that is a list has the columns "0", "1" and so on. Beside its own columns it has its
KEY (of a JSON object, else its number), its SPLIT (which file it is of) and its PLACE for a message. An image column
of a table is a function that gives the encoded bytes; in JSON and CSV files it is the name of a file.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from compbench.core.errors import DataError
from compbench.tasks._reading.archives import Pictures, open_archive
from compbench.tasks._reading.parquet_files import files_of_split, first_there, not_data
from compbench.tasks._reading.texts import read_text
from compbench.tasks.matching._layouts import PLACE, ParquetFile

__all__ = [
    "KEY",
    "PLACE",
    "SPLIT",
    "ArrowTable",
    "FirstOf",
    "Found",
    "JsonFiles",
    "ParquetTable",
    "QuestionFile",
    "Reader",
    "Row",
]

Row = Mapping[str, Any]
KEY, SPLIT = "\0key", "\0split"  # no column is called so
_SIDES = (
    "",
    "data",
    "annotations",
    "dataset",
    "captions",
    "data/clevr/captions",
)  # folders in which copies keep the files of rows


@dataclass(frozen=True, slots=True)
class Found:
    """The rows, the files they were read from, and the archive that holds their pictures, where there is one."""

    rows: Sequence[Row]
    files: tuple[Path, ...]
    archive: Pictures | None = None
    origin: str = ""  # the commit that they were fetched at
    root: Path | None = None  # the folder that was fetched


class Reader(Protocol):
    @property
    def patterns(self) -> tuple[str, ...]: ...  # of the files to fetch from a hub
    @property
    def expected(self) -> str: ...  # the files, for a message
    def read(self, place: Path) -> Found | None: ...  # None where `place` has no such files


@dataclass(frozen=True, slots=True)
class JsonFiles:
    """A JSON file per split, an object of rows by key or a list of rows; perhaps all in one zip with the pictures."""

    files: Mapping[str, str]  # split -> name of the file
    further: tuple[str, ...] = ()  # patterns of a hub's other files
    folder: str = ""  # of a repository's or an archive's own, which copies have or have not
    archive: str = ""  # a zip that holds `folder`

    @property
    def patterns(self) -> tuple[str, ...]:
        if self.archive:
            return (self.archive,)
        return (*(f"*{name}" for name in self.files.values()), *self.further)

    @property
    def expected(self) -> str:
        names = list(self.files.values())
        listed = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
        return listed + (f", or {self.archive}" if self.archive else "")

    def read(self, place: Path) -> Found | None:
        folders = [place / self.folder / side for side in _SIDES] + [place / side for side in _SIDES]
        for folder in dict.fromkeys(folders):
            paths = {split: _one_of(folder, name) for split, name in self.files.items()}
            if all(paths.values()):
                rows = [
                    row
                    for split, path in paths.items()
                    if path is not None
                    for row in _json_rows(read_text(path), split, str(path))
                ]
                return Found(rows, tuple(path for path in paths.values() if path is not None))
            if any(paths.values()):
                lacking = [name for split, name in self.files.items() if paths[split] is None]
                raise DataError(f"{str(folder)!r} lacks {', '.join(lacking)}; expected {self.expected}")
        return self._packed(place) if self.archive else None

    def _packed(self, place: Path) -> Found | None:
        path = place if place.name == self.archive else place / self.archive
        if not path.is_file():
            return None
        members = open_archive(path)
        rows: list[Row] = []
        for split, name in self.files.items():
            where = f"{self.folder}/{name}" if self.folder else name
            content = members.reader(where, f"{str(path)!r}")()
            try:
                text = content.decode("utf-8-sig")
            except UnicodeDecodeError as error:
                raise DataError(f"{where!r} in {str(path)!r} is not UTF-8 ({error}); fetch it again") from error
            rows += _json_rows(text, split, f"{path}/{where}")
        return Found(rows, (path,), members)


@dataclass(frozen=True, slots=True)
class QuestionFile:
    """A CSV file with a header, perhaps beside a zip with its pictures."""

    name: str
    columns: tuple[str, ...]
    further: tuple[str, ...] = ()
    archive: str = ""

    @property
    def patterns(self) -> tuple[str, ...]:
        return (self.name, *self.further, *([self.archive] if self.archive else []))

    @property
    def expected(self) -> str:
        return self.name + (f" and {self.archive}, packed or unpacked," if self.archive else "")

    def read(self, place: Path) -> Found | None:
        path = place / self.name
        if not path.is_file():
            return None
        lines = [line for line in csv.reader(io.StringIO(read_text(path), newline="")) if any(line)]
        header = tuple(cell.strip() for cell in lines[0]) if lines else ()
        _require(header, self.columns, path)
        rows: list[Row] = []
        for number, line in enumerate(lines[1:]):
            where = f"row {number} of {str(path)!r}"
            if len(line) != len(header):
                raise DataError(f"{where} has {len(line)} cells; expected {len(header)}: {', '.join(header)}")
            rows.append({**dict(zip(header, line, strict=True)), **_own(number, "", where)})
        packed = place / self.archive
        return Found(rows, (path,), open_archive(packed) if self.archive and packed.is_file() else None)


@dataclass(frozen=True, slots=True)
class ParquetTable:
    """The Parquet files of one split, pictures inside."""

    split: str
    images: tuple[str, ...]
    columns: tuple[str, ...]  # those without pictures that must be there
    optional: tuple[str, ...] = ()  # those that are read where a copy has them

    @property
    def patterns(self) -> tuple[str, ...]:
        return (f"*{self.split}-*.parquet", f"*{self.split}/*.parquet", f"{self.split}.parquet")

    @property
    def expected(self) -> str:
        return f"data/{self.split}-*.parquet with columns {', '.join((*self.images, *self.columns))}"

    def read(self, place: Path) -> Found | None:
        files = [place] if place.suffix == ".parquet" and place.is_file() else files_of_split(place, self.split)
        if not files:
            return None
        rows: list[Row] = []
        for path in files:
            table = ParquetFile(path)
            _require(table.columns(), (*self.images, *self.columns), path)
            wanted = [*self.columns, *(name for name in self.optional if name in table.columns())]
            for number, row in enumerate(table.text(wanted)):
                group, index = table.locate(number)
                images = {name: partial(table.image, group, index, name) for name in self.images}
                rows.append({**row, **images, **_own(len(rows), self.split, f"row {number} of {str(path)!r}")})
        return Found(rows, tuple(files))


@dataclass(frozen=True, slots=True)
class ArrowTable:
    """The Arrow files that `save_to_disk` of the `datasets` library writes for a split, pictures inside."""

    split: str
    images: tuple[str, ...]
    columns: tuple[str, ...]

    @property
    def patterns(self) -> tuple[str, ...]:
        return ("*.arrow",)

    @property
    def expected(self) -> str:
        return f"{self.split}/data-*.arrow with columns {', '.join((*self.images, *self.columns))}"

    def read(self, place: Path) -> Found | None:
        names = [f"{side}data-*-of-*.arrow" for side in (f"{self.split}/", "", f"*/{self.split}/", "*/")]
        files = first_there(place, names) if place.is_dir() else []
        rows: list[Row] = []
        for path in files:
            table = _arrow_table(path)
            _require(table.schema.names, (*self.images, *self.columns), path)
            for number, row in enumerate(table.select(list(self.columns)).to_pylist()):
                images = {name: partial(_arrow_image, table, number, name, path) for name in self.images}
                rows.append({**row, **images, **_own(len(rows), self.split, f"row {number} of {str(path)!r}")})
        return Found(rows, tuple(files)) if files else None


@dataclass(frozen=True, slots=True)
class FirstOf:
    """Several layouts of the same data; a hub has the last."""

    readers: tuple[Reader, ...]

    @property
    def patterns(self) -> tuple[str, ...]:
        return self.readers[-1].patterns

    @property
    def expected(self) -> str:
        return ", or ".join(reader.expected for reader in self.readers)

    def read(self, place: Path) -> Found | None:
        return next((found for reader in self.readers if (found := reader.read(place)) is not None), None)


def _own(number: int, split: str, where: str) -> dict[str, str]:
    return {KEY: str(number), SPLIT: split, PLACE: where}


def _one_of(folder: Path, name: str) -> Path | None:
    """The file, whichever of hyphens and underscores a copy writes."""
    for spelling in dict.fromkeys((name, name.replace("-", "_"), name.replace("_", "-"))):
        if (folder / spelling).is_file():
            return folder / spelling
    return None


def _json_rows(text: str, split: str, where: str) -> list[Row]:
    try:
        content: Any = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where!r} is not JSON ({error}); copy or fetch it again") from error
    keyed = list(content.items()) if isinstance(content, dict) else None
    if keyed is None and isinstance(content, list):
        keyed = [(str(number), row) for number, row in enumerate(content)]  # pyright: ignore[reportUnknownVariableType]
    if keyed is None:
        raise DataError(f"{where!r} holds a {type(content).__name__}; expected an object or a list of rows")
    rows: list[Row] = []
    for key, row in keyed:
        place = f"row {key!r} of {where!r}"
        columns = {str(n): cell for n, cell in enumerate(row)} if isinstance(row, list) else row
        if not isinstance(columns, dict):
            raise DataError(f"{place} is {str(row)[:60]!r}; expected an object or a list")
        rows.append({**columns, KEY: str(key), SPLIT: split, PLACE: place})
    return rows


def _require(found: Sequence[str], columns: Sequence[str], path: Path) -> None:
    if lacking := [name for name in columns if name not in found]:
        raise DataError(
            f"{str(path)!r} has no column {', '.join(map(repr, lacking))}; found {', '.join(found)}; expected "
            f"{', '.join(columns)}"
        )


def _arrow_table(path: Path) -> Any:
    import pyarrow as pa

    try:
        with pa.memory_map(str(path)) as file:
            return pa.ipc.open_stream(file).read_all()
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{str(path)!r} {not_data(path)} ({error})") from error


def _arrow_image(table: Any, number: int, column: str, path: Path) -> bytes:
    value = table.column(column)[number].as_py()
    encoded = value.get("bytes") if isinstance(value, dict) else value
    if not isinstance(encoded, bytes) or not encoded:
        raise DataError(
            f"column {column!r} of {str(path)!r} holds no image bytes in row {number}; expected the encoded picture"
        )
    return encoded
