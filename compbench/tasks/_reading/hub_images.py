"""Labelled pictures from a data set on the Hugging Face hub, or from a copy on disk, by the `datasets` library."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Collection, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePath
from typing import Any

from compbench.core.errors import DataError
from compbench.core.image_files import Stored
from compbench.core.models import Source
from compbench.registry import hub
from compbench.tasks._reading.digests import file_stamp
from compbench.tasks._reading.names import ClassNames, nfc
from compbench.tasks._reading.parquet_files import files_of_split, not_data
from compbench.tasks.classification._splits import Picture, Split

__all__ = ["HubData", "is_copy", "read_hub"]

_ANYWHERE = ("*.parquet", "*/*.parquet", "*/*/*.parquet", "snapshots/*/*/*.parquet")


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
    return any(next(place.glob(pattern), None) is not None for pattern in _ANYWHERE)


def read_hub(
    data: HubData, split: str, place: Path | None, is_offline: bool, known: Sequence[Collection[str]]
) -> Split:
    """The split's pictures from the hub at the pinned commit, or from the copy at `place`; none is decoded.

    Only the files of that split are fetched. `known` are the names that each class may go by where labels are text.
    """
    name = (data.splits or {}).get(split, split)
    patterns = [f"*{name}-*.parquet", f"*{name}/*.parquet", f"{name}.parquet"]
    folder = place or hub.fetch(Source(data.repo, data.revision), patterns, is_offline, repo_type="dataset")
    files = files_of_split(folder, name)
    where = str(folder) if place is not None else data.repo
    if not files:
        raise DataError(f"{where!r} has no split {name!r}; expected Parquet files such as data/{name}-*.parquet")
    rows = _rows(files, name)
    if lacking := [column for column in (data.image, data.label) if column not in rows.column_names]:
        raise DataError(
            f"{where!r} has columns {', '.join(rows.column_names)} and lacks {', '.join(lacking)}; "
            f"expected a copy of {data.repo}"
        )
    return _split(_undecoded(rows, data.image, where), data, where, tuple(files), known)


def _rows(files: Sequence[Path], split: str) -> Any:
    """The rows of the files, on disk where the library keeps them."""
    import datasets

    _check_files(files)
    # its own cache goes by the files' paths and times of change: a file replaced with its time kept is stale there
    stamps = hashlib.sha256("\n".join(map(file_stamp, files)).encode()).hexdigest()[:16]
    data_files = {split: [str(file) for file in files]}
    try:
        with _quiet():
            return datasets.load_dataset("parquet", f"compbench-{stamps}", data_files=data_files, split=split)
    except Exception as error:  # the library wraps whatever a damaged file raises
        first = (str(error.__cause__ or error).strip().splitlines() or [type(error).__name__])[0]
        names = ", ".join(file.name for file in files)
        raise DataError(
            f"{names} of {str(files[0].parent)!r} cannot be read ({first}); fetch or copy it again"
        ) from error


@contextmanager
def _quiet() -> Generator[None]:
    """No lines of the datasets library, whose errors say the same, and no bars where nobody watches them."""
    import datasets

    level, is_without = datasets.logging.get_verbosity(), datasets.are_progress_bars_disabled()
    datasets.logging.set_verbosity(datasets.logging.CRITICAL)
    if not sys.stderr.isatty():
        datasets.disable_progress_bars()
    try:
        yield
    finally:
        datasets.logging.set_verbosity(level)
        if not is_without:
            datasets.enable_progress_bars()


def _check_files(files: Sequence[Path]) -> None:
    """DataError for a file that is not Parquet, which the library would name by the first of all its files."""
    for file in files:
        try:
            with file.open("rb") as opened:
                if opened.read(4) == b"PAR1":
                    continue
            why = not_data(file)
        except OSError as error:
            raise DataError(f"{str(file)!r} cannot be read ({error.strerror}); fetch or copy it again") from error
        raise DataError(f"{str(file)!r} {why}")


def _split(rows: Any, data: HubData, where: str, files: tuple[Path, ...], known: Sequence[Collection[str]]) -> Split:
    classes = getattr(rows.features[data.label], "names", None)
    labels = _labels(rows.data.column(data.label).to_pylist(), data.label, where, known)
    names = [None] * len(labels) if data.is_numbered else _file_names(rows, data.image)
    if len(set(zip(names, labels, strict=True))) < len(labels):  # they do not tell the pictures of a class apart
        names = [None] * len(labels)
    if labels and classes and not 0 <= min(labels) <= max(labels) < len(classes):
        row = next(n for n, label in enumerate(labels) if not 0 <= label < len(classes))
        raise DataError(
            f"row {row} of {where!r} has label {labels[row]}; expected 0 to {len(classes) - 1} (-1 stands for a "
            "picture whose label is kept back)"
        )
    pictures = [
        Picture(name or f"{n:06d}", label, Stored(partial(_bytes, rows, data.image, n), f"row {n} of {where!r}"))
        for n, (label, name) in enumerate(zip(labels, names, strict=True))
    ]
    order = None if classes is None or data.has_other_names else tuple(classes)
    is_text = str(getattr(rows.features[data.label], "dtype", "")).endswith("string")
    is_guessed = classes is None and not is_text
    note = f"{where!r} does not name its classes: its labels are read as numbers in the published order"
    return Split(pictures, order, files, (note,) if is_guessed else ())


def _labels(values: Sequence[object], column: str, where: str, known: Sequence[Collection[str]]) -> list[int]:
    """The class of each row, given as a whole number or by its name; DataError names the row of another one."""
    names, known_text = ClassNames(known), dict[str, int]()
    labels: list[int] = []
    for row, value in enumerate(values):
        what = f"row {row} of {where!r}"
        if isinstance(value, str):
            if value not in known_text:
                known_text[value] = _named(value, names, column, what)
            labels.append(known_text[value])
        elif isinstance(value, int | float) and not isinstance(value, bool) and value == value // 1:
            labels.append(int(value))
        else:
            got = "no label" if value is None else f"label {value!r}"
            raise DataError(f"{what} has {got} in column {column!r}; expected the number of its class, or its name")
    return labels


def _named(text: str, names: ClassNames, column: str, what: str) -> int:
    number = names.number(text, what)
    if number is None and text.isascii() and text.isdecimal() and len(text) < 10:
        return int(text)
    if number is None:
        raise DataError(
            f"{what} has label {text[:60]!r} in column {column!r}, which is not the name of any class of the task"
        )
    return number


def _undecoded(rows: Any, column: str, where: str) -> Any:
    """The rows with encoded pictures in `column`: {bytes, path} or plain bytes, whoever wrote them."""
    import datasets

    feature: Any = rows.features[column]
    if isinstance(feature, datasets.Image):
        return rows.cast_column(column, datasets.Image(decode=False))
    fields = dict(feature) if isinstance(feature, Mapping) else {"bytes": feature}  # pyright: ignore
    kind = str(getattr(fields.get("bytes"), "dtype", None))
    if kind in ("binary", "large_binary"):
        return rows
    if kind in ("string", "large_string", "null") or "path" in fields:
        raise DataError(
            f"column {column!r} of {where!r} holds paths of pictures, not the pictures; expected the encoded pictures: "
            "copy the whole data set, or give a folder with one folder of pictures for each class"
        )
    raise DataError(f"column {column!r} of {where!r} holds {feature}; expected encoded pictures")


def _file_names(rows: Any, column: str) -> Sequence[str | None]:
    """The original file names, where the data set still has them for every row."""
    values = rows.data.column(column)
    if not isinstance(rows.features[column], Mapping) and "path" not in str(values.type):
        return [None] * len(values)
    import pyarrow.compute as pc

    paths = pc.struct_field(values, "path").to_pylist()  # pyright: ignore[reportAttributeAccessIssue]
    return [nfc(PurePath(path).name) for path in paths] if all(paths) else [None] * len(paths)


def _bytes(rows: Any, column: str, number: int) -> bytes:
    value = rows[number][column]
    encoded = value.get("bytes") if isinstance(value, dict) else value
    if not isinstance(encoded, bytes) or not encoded:
        raise DataError(f"row {number} has no picture in column {column!r}; expected the encoded picture itself")
    return encoded
