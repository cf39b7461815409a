"""The names and prompts of a task's classes: CSV files of the form prompt,classname,classidx.

That is the form of the published ones. A class may have several prompts. See prompts/README.md for the sources.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from compbench.core import disk
from compbench.core.errors import DataError
from compbench.tasks._reading.names import ClassNames, nfc, same_name
from compbench.tasks._reading.texts import check_text, read_text

__all__ = ["Prompts", "labels", "read_prompts", "shipped", "wnids", "words_of"]

_FOLDER = Path(__file__).parent / "prompts"
_COLUMNS = ("prompt", "classname", "classidx")


@dataclass(frozen=True, slots=True)
class Prompts:
    """The prompts of a task, class by class."""

    names: tuple[str, ...]  # length K
    captions: tuple[str, ...]  # length C
    of_caption: tuple[int, ...]  # length C: the class of each
    words: tuple[str, ...] = ()  # length K: what the prompts call each class; empty where nobody has asked


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
    rows = [row for file in files for row in _rows(disk.expanded(file))]
    n_classes = len(known) if known is not None else 1 + max((row.place for row in rows), default=-1)
    names: dict[int, _Row] = {}
    names_of = None if known is None else ClassNames(known)
    for row in rows:
        if row.place >= n_classes:
            raise DataError(f"{row.where}: class {row.place} is outside the task's {n_classes}, numbered from 0")
        first = names.setdefault(row.place, row)
        if not same_name(first.name, row.name):
            raise DataError(
                f"{row.where} calls class {row.place} {row.name!r}, and {first.where} {first.name!r}; "
                "expected one name: the files number the classes differently"
            )
        if known is not None and names_of is not None and row.place not in names_of.numbers(row.name):
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


def words_of(prompts: Prompts) -> tuple[str, ...]:
    """The words of the prompts for each class: its name where a prompt has it as it stands.

    >>> words_of(Prompts(("hot_dog", "butchers_knife"), ("a photo of hot dog.", "a photo of butcher's knife."), (0, 1)))
    ('hot dog', "butcher's knife")
    """
    pairs = zip(reversed(prompts.captions), reversed(prompts.of_caption), strict=True)
    first = {place: prompt for prompt, place in pairs}
    spoken = [first[place] for place in range(len(prompts.names))]
    start, end = _frame(spoken)
    return tuple(_words(name, prompt, start, end) for name, prompt in zip(prompts.names, spoken, strict=True))


def _words(name: str, prompt: str, start: str, end: str) -> str:
    if name.casefold() in prompt.casefold():
        return name
    parts = [re.escape(part) for part in re.split(r"[\W_]+", name) if part]
    if parts and (match := re.search(r"[\W_]+".join(parts), prompt, re.IGNORECASE)):
        return match[0]
    within = prompt.removeprefix(start).removesuffix(end)
    return within if start and within else name.replace("_", " ")


def _frame(prompts: Sequence[str]) -> tuple[str, str]:
    """The beginning and the end that all prompts share, in whole words."""
    start = _shared_start(prompts)
    end = _shared_start([prompt[::-1] for prompt in prompts])[::-1]
    return start[: start.rfind(" ") + 1], (match[0] if (match := re.search(r"[^\w].*$", end)) else "")


def _shared_start(texts: Sequence[str]) -> str:
    """The longest text that all begin with."""
    lowest, highest = min(texts), max(texts)
    n_same = next((n for n, (low, other) in enumerate(zip(lowest, highest, strict=False)) if low != other), len(lowest))
    return lowest[:n_same]


def _rows(file: Path) -> list[_Row]:
    try:
        return list(_parsed(file))
    except DataError as error:
        raise DataError(f"prompts file: {error}") from error


def _parsed(file: Path) -> Iterator[_Row]:
    reader = csv.reader(io.StringIO(read_text(file), newline=""), skipinitialspace=True, strict=True)
    columns: list[str] = []
    number = 1  # of the line on which a row begins
    try:
        for cells in reader:
            where = f"line {number} of {str(file)!r}"
            if not columns:
                columns = _columns(cells, file)
            elif cells:
                yield _row(columns, cells, where)
            number = reader.line_num + 1
    except csv.Error as error:
        limit = f"a cell has more than {csv.field_size_limit():,} characters"
        known = {"unexpected end": "a quotation mark is not closed", "field larger": limit}
        why = next((words for start, words in known.items() if str(error).startswith(start)), str(error))
        raise DataError(f"line {number} of {str(file)!r} cannot be read ({why}); expected a CSV file") from error
    if not columns:
        _columns([], file)


def _columns(found: list[str], file: Path) -> list[str]:
    if lacking := [name for name in _COLUMNS if name not in found]:
        raise DataError(
            f"{str(file)!r} has columns {', '.join(found) or 'none'} and lacks {', '.join(lacking)}; "
            f"expected {', '.join(_COLUMNS)}, separated by commas"
        )
    return found


def _row(columns: Sequence[str], cells: Sequence[str], where: str) -> _Row:
    if len(cells) > len(columns):
        raise DataError(
            f"{where} has {len(cells)} cells for {len(columns)} columns; put a prompt that holds a comma between "
            "quotation marks"
        )
    row = dict(zip(columns, cells, strict=False))
    prompt, name, place = (nfc(row.get(column, "").strip()) for column in _COLUMNS)
    if not prompt or not name:
        raise DataError(f"{where} has an empty prompt or classname: {', '.join(cells)}; expected both")
    for column, text in zip(_COLUMNS, (prompt, name), strict=False):
        check_text(text, f"{where}: {column}")
    if not re.fullmatch("[0-9]{1,9}", place):
        raise DataError(f"{where} has classidx {place[:30]!r}; expected a whole number, counted from 0")
    return _Row(prompt, name, int(place), where)
