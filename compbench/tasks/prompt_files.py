"""What the classes of a task are called and how they are asked for: CSV files of the form prompt,classname,classidx.

That is the form of the published ones. A class may have several prompts. See prompts/README.md for the sources.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from compbench.tasks.splits import same_name
from compbench.types import DataError

__all__ = ["Prompts", "labels", "read_prompts", "shipped", "wnids"]

_FOLDER = Path(__file__).parent / "prompts"
_COLUMNS = ("prompt", "classname", "classidx")


@dataclass(frozen=True, slots=True)
class Prompts:
    """The prompts of a task, class by class."""

    names: tuple[str, ...]  # length K
    captions: tuple[str, ...]  # length C
    of_caption: tuple[int, ...]  # length C: the class of each


@dataclass(frozen=True, slots=True)
class _Row:
    prompt: str
    name: str
    place: int
    where: str


def shipped(task: str) -> Prompts:
    """The published prompts of a task; ImageNet-V2 has ImageNet's."""
    task = "imagenet" if task == "imagenet-v2" else task
    return read_prompts([_FOLDER / f"{task}.csv"])


def read_prompts(files: Sequence[Path], known: Sequence[Sequence[str]] | None = None) -> Prompts:
    """The prompts of one or several files together.

    `known` are the names that each class of the task may go by, in its order (None: whatever the files say).
    DataError for a class that the task has not, that goes by another name, or that has no prompt, and where two files
    disagree.
    """
    rows = [row for file in files for row in _rows(Path(file).expanduser())]
    n_classes = len(known) if known is not None else 1 + max((row.place for row in rows), default=-1)
    names: dict[int, _Row] = {}
    for row in rows:
        if row.place >= n_classes:
            raise DataError(f"{row.where}: class {row.place} is outside the task's {n_classes}, numbered from 0")
        first = names.setdefault(row.place, row)
        if not same_name(first.name, row.name):
            raise DataError(
                f"{row.where} calls class {row.place} {row.name!r}, and {first.where} {first.name!r}; "
                "expected one name: the files number the classes differently"
            )
        if known is not None and not any(same_name(row.name, name) for name in known[row.place]):
            raise DataError(
                f"{row.where} calls class {row.place} {row.name!r}; "
                f"class {row.place} of this task is {known[row.place][0]!r}"
            )
    if lacking := [place for place in range(n_classes) if place not in names]:
        called = f" ({known[lacking[0]][0]!r})" if known is not None else ""
        raise DataError(
            f"{len(lacking)} of {n_classes} classes have no prompt in {' or '.join(map(str, files))}, "
            f"class {lacking[0]}{called} the first; expected at least one line for each"
        )
    rows.sort(key=lambda row: row.place)  # stable: within a class as in the files
    return Prompts(
        tuple(names[place].name for place in range(n_classes)),
        tuple(row.prompt for row in rows),
        tuple(row.place for row in rows),
    )


def wnids() -> tuple[str, ...]:
    """The 1,000 WordNet ids of ImageNet in the order of its labels."""
    return tuple((_FOLDER / "imagenet-wnids.txt").read_text(encoding="utf-8").split())


def labels(task: str) -> tuple[tuple[int, ...], ...]:
    """The ImageNet labels that each class of `imagenet-a` or `objectnet` stands for."""
    found: dict[int, list[int]] = {}
    with (_FOLDER / "imagenet-labels.csv").open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            if row["task"] == task:
                found.setdefault(int(row["classidx"]), []).append(int(row["label"]))
    return tuple(tuple(found[place]) for place in sorted(found))


def _rows(file: Path) -> list[_Row]:
    try:
        with file.open(newline="", encoding="utf-8-sig") as opened:
            reader = csv.DictReader(opened, skipinitialspace=True)
            columns = reader.fieldnames or ()
            if lacking := [name for name in _COLUMNS if name not in columns]:
                raise DataError(
                    f"prompts file {str(file)!r} has columns {', '.join(columns) or 'none'} and lacks "
                    f"{', '.join(lacking)}; expected {', '.join(_COLUMNS)}"
                )
            return [_row(row, f"line {reader.line_num} of {str(file)!r}") for row in reader]
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"prompts file {str(file)!r} cannot be read ({error}); expected a CSV file") from error


def _row(row: dict[str, str | None], where: str) -> _Row:
    prompt, name, place = ((row.get(column) or "").strip() for column in _COLUMNS)
    if not prompt or not name:
        raise DataError(f"{where} has an empty prompt or classname: {row}; expected both")
    if not place.isdecimal():
        raise DataError(f"{where} has classidx {place!r}; expected a whole number, counted from 0")
    return _Row(prompt, name, int(place), where)
