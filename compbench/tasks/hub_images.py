"""Labelled pictures from a data set on the Hugging Face hub, or from a copy on disk, by the `datasets` library."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import partial
from pathlib import Path, PurePath
from typing import Any

from compbench import hub
from compbench.tasks.splits import Picture, Split
from compbench.types import DataError, Source

__all__ = ["HubData", "is_copy", "read_hub"]


@dataclass(frozen=True, slots=True)
class HubData:
    """Where a data set is on the hub and what its columns are called."""

    repo: str
    revision: str | None = None  # a commit; None where none is known to us: then `main`
    splits: Mapping[str, str] | None = None  # "test" and "train" -> what the hub calls them; None: so
    image: str = "image"
    label: str = "label"
    is_numbered: bool = False  # a picture is known by its number, as in the arrays that the source published
    has_other_names: bool = False  # it calls the classes otherwise than anybody else: its names prove no order


def is_copy(place: Path) -> bool:
    """Whether a folder holds a copy of a hub data set: Parquet files."""
    return any(next(place.glob(pattern), None) is not None for pattern in ("*.parquet", "*/*.parquet"))


def read_hub(data: HubData, split: str, place: Path | None, is_offline: bool) -> Split:
    """The split's pictures from the hub at the pinned commit, or from the copy at `place`; none is decoded.

    Only the files of that split are fetched.
    """
    name = (data.splits or {}).get(split, split)
    patterns = [f"*{name}-*.parquet", f"*{name}/*.parquet", f"{name}.parquet"]
    folder = place or hub.fetch(Source(data.repo, data.revision), patterns, is_offline, repo_type="dataset")
    files = sorted(
        file
        for file in folder.rglob("*.parquet")
        if any(fnmatch(file.relative_to(folder).as_posix(), each) for each in patterns)
    )
    where = str(folder) if place is not None else data.repo
    if other := [file for file in files if not file.is_file()]:
        raise DataError(f"{str(other[0])!r} is not a regular file; copy or fetch it again")
    if not files:
        raise DataError(f"{where!r} has no split {name!r}; expected Parquet files such as data/{name}-*.parquet")
    rows = _rows(files, name)
    if lacking := [column for column in (data.image, data.label) if column not in rows.column_names]:
        raise DataError(
            f"{where!r} has columns {', '.join(rows.column_names)} and lacks {', '.join(lacking)}; "
            f"expected a copy of {data.repo}"
        )
    return _split(_undecoded(rows, data.image), data, where, tuple(files))


def _rows(files: Sequence[Path], split: str) -> Any:
    """The rows of the files, on disk where the library keeps them."""
    import datasets

    try:
        return datasets.load_dataset("parquet", data_files={split: [str(file) for file in files]}, split=split)
    except Exception as error:  # the library wraps whatever a damaged file raises
        first = (str(error.__cause__ or error).strip().splitlines() or [type(error).__name__])[0]
        names = ", ".join(file.name for file in files)
        raise DataError(
            f"{names} of {str(files[0].parent)!r} cannot be read ({first}); fetch or copy it again"
        ) from error


def _split(rows: Any, data: HubData, where: str, files: tuple[Path, ...]) -> Split:
    labels = [int(each) for each in rows.data.column(data.label).to_pylist()]
    names = [None] * len(labels) if data.is_numbered else _file_names(rows, data.image)
    classes = getattr(rows.features[data.label], "names", None)
    if labels and classes and not 0 <= min(labels) <= max(labels) < len(classes):
        raise DataError(f"{where!r} has labels {min(labels)} to {max(labels)} of {len(classes)} classes")
    pictures = [
        Picture(name or f"{n:06d}", label, partial(_bytes, rows, data.image, n))
        for n, (label, name) in enumerate(zip(labels, names, strict=True))
    ]
    return Split(pictures, None if classes is None or data.has_other_names else tuple(classes), files)


def _undecoded(rows: Any, column: str) -> Any:
    import datasets

    if not isinstance(rows.features[column], datasets.Image):
        raise DataError(f"column {column!r} holds {rows.features[column]}; expected pictures")
    return rows.cast_column(column, datasets.Image(decode=False))


def _file_names(rows: Any, column: str) -> Sequence[str | None]:
    """What the files were called, where the data set still knows it of every row."""
    import pyarrow.compute as pc

    paths = pc.struct_field(rows.data.column(column), "path").to_pylist()  # pyright: ignore[reportAttributeAccessIssue]
    return [PurePath(path).name for path in paths] if all(paths) else [None] * len(paths)


def _bytes(rows: Any, column: str, number: int) -> bytes:
    encoded = rows[number][column]["bytes"]
    if not encoded:
        raise DataError(f"row {number} has no picture in column {column!r}; expected the encoded picture itself")
    return encoded
