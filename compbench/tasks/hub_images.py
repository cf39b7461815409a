"""Labelled pictures from a data set on the Hugging Face hub, or from a copy on disk, by the `datasets` library."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePath
from typing import Any

from compbench import hub
from compbench.tasks.splits import Picture, Split
from compbench.types import DataError

__all__ = ["HubData", "is_copy", "read_hub"]

_COPY_MARKS = ("*.parquet", "*/*.parquet", "dataset_dict.json", "dataset_info.json")


@dataclass(frozen=True, slots=True)
class HubData:
    """Where a data set is on the hub and what its columns are called."""

    repo: str
    revision: str | None = None  # a commit; None where none is known to us: then `main`
    splits: Mapping[str, str] | None = None  # "test" and "train" -> what the hub calls them; None: so
    image: str = "image"
    label: str = "label"


def is_copy(place: Path) -> bool:
    """Whether a folder holds a copy of a hub data set: Parquet files, or what `save_to_disk` writes."""
    return any(next(place.glob(mark), None) is not None for mark in _COPY_MARKS)


def read_hub(data: HubData, split: str, place: Path | None, is_offline: bool) -> Split:
    """The split's pictures from the hub at the pinned commit, or from the copy at `place`; none is decoded."""
    name = (data.splits or {}).get(split, split)
    rows = _load(data, name, place, is_offline)
    where = str(place) if place is not None else data.repo
    if lacking := [column for column in (data.image, data.label) if column not in rows.column_names]:
        raise DataError(
            f"{where!r} has columns {', '.join(rows.column_names)} and lacks {', '.join(lacking)}; "
            f"expected a copy of {data.repo}"
        )
    encoded = _undecoded(rows, data.image)
    labels = [int(each) for each in rows.data.column(data.label).to_pylist()]
    names = _file_names(encoded, data.image)
    pictures = [
        Picture(name or f"{n:06d}", label, partial(_bytes, encoded, data.image, n))
        for n, (label, name) in enumerate(zip(labels, names, strict=True))
    ]
    classes = getattr(rows.features[data.label], "names", None)
    if labels and classes and not 0 <= min(labels) <= max(labels) < len(classes):
        raise DataError(f"{where!r} has labels {min(labels)} to {max(labels)} of {len(classes)} classes")
    origin = tuple(Path(each["filename"]) for each in rows.cache_files)
    return Split(pictures, tuple(classes) if classes else None, origin)


def _load(data: HubData, split: str, place: Path | None, is_offline: bool) -> Any:
    import datasets

    try:
        if place is not None and any((place / mark).exists() for mark in _COPY_MARKS[2:]):
            stored = datasets.load_from_disk(str(place))
            return stored[split] if isinstance(stored, datasets.DatasetDict) else stored
        if place is not None:
            return datasets.load_dataset(str(place), split=split)
        config = datasets.DownloadConfig(local_files_only=is_offline)
        return datasets.load_dataset(data.repo, split=split, revision=data.revision, download_config=config)
    except (KeyError, ValueError) as error:
        if place is None and not _is_about_split(error):
            raise hub.explain(error, data.repo, "dataset") from error
        where = str(place) if place is not None else data.repo
        raise DataError(f"{where!r} has no split {split!r} that can be read ({_first_line(error)})") from error
    except Exception as error:
        raise hub.explain(error, data.repo, "dataset") from error


def _is_about_split(error: Exception) -> bool:
    return "split" in str(error).lower()


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _undecoded(rows: Any, column: str) -> Any:
    import datasets

    if not isinstance(rows.features[column], datasets.Image):
        raise DataError(f"column {column!r} holds {rows.features[column]}; expected pictures")
    return rows.cast_column(column, datasets.Image(decode=False))


def _file_names(rows: Any, column: str) -> Sequence[str | None]:
    """What the files were called, where the data set still knows it for every row and the names differ."""
    import pyarrow.compute as pc

    paths = pc.struct_field(rows.data.column(column), "path").to_pylist()  # pyright: ignore[reportAttributeAccessIssue]
    names = [PurePath(path).name if path else None for path in paths]
    return names if all(names) else [None] * len(names)


def _bytes(rows: Any, column: str, number: int) -> bytes:
    value = rows[number][column]
    if value["bytes"] is not None:
        return value["bytes"]
    return Path(value["path"]).read_bytes()
