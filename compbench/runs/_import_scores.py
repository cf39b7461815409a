"""Scores or choices of a model that cannot be run here, as a run like any other."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from compbench import registry
from compbench.core import disk
from compbench.core.aliases import Floats, Json
from compbench.core.cells import read_table
from compbench.core.errors import DataError
from compbench.core.examples import Example, Task
from compbench.core.measurements import ScoreMatrix
from compbench.core.printable import say
from compbench.runs._choices import FORMS, answerable
from compbench.runs._result_checks import LARGEST_SCORE
from compbench.store.key import RunKey
from compbench.store.provenance import here
from compbench.store.run import Run
from compbench.store.store import Store

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["import_scores"]

_COLUMNS = {column for form in FORMS for column in form}
_SURE_DIGITS = 15  # significant ones that every float64 holds
_N_NAMED = 3  # of the ids that are wrong


def import_scores(
    path: Path | str,
    *,
    task: str | Path | Task,
    name: str,
    data: Path | str | None = None,
    images: Path | str | None = None,
    runs: Path | str | None = None,
    is_offline: bool = False,
) -> Run:
    """Store the scores in a csv, tsv, json, jsonl or parquet file as the run of a model called `name`.

    Columns: id and scores, a list for each image with a number for each caption, as `export` writes them to .jsonl; or
    example_id, image, caption, score; or example_id, image, choice (the caption chosen for the image); or
    example_id, caption, choice_image. Images and captions are numbered from 0. Choices answer the text metric or the
    image metric alone; an empty choice is an abstention, which is wrong. Every example must be there, once.
    DataError names the file and the row of what is missing, doubled or no number.
    """
    path, name = disk.expanded(path), registry.checked_label(name)
    if isinstance(task, str | Path):
        task = registry.task(task, data=disk.given(data), images=disk.given(images), is_offline=is_offline)
    frame = _read(path, {example.id for example in task.examples})
    form = _form(frame, path)
    _check_ids(frame, task, path)
    results = _matrices(frame, form, task, path)
    if n_empty := int(np.isnan(frame[form[-1]].to_numpy(float)).sum()):
        say(f"{path.name}: {n_empty} of {len(frame)} choices are empty; an abstention counts as wrong, as a tie")
    store = Store(runs)
    described: dict[str, Json] = {"label": name, "options": {}, "imported": path.name, "form": list(form)}
    with store.writer(_key(task, name, form, results), answerable(task, form), model=described) as writer:
        run = writer.run
        writer.repair()
        done = run.done()
        if lacking := [result for result in results if result.example_id not in done]:
            writer.append(lacking, imported=path.name, **here(None))
        writer.settle(None)
    return run


def _read(path: Path, known: Collection[str]) -> pd.DataFrame:
    """The file's columns: ids as text, all others as numbers, NaN where a cell is empty."""
    frame = _apart(read_table(path), path)
    columns = {name: frame[name] for name in frame.columns if name in _COLUMNS}
    read = {
        name: [_id(cell, known) for cell in column] if name == "example_id" else _column(name, column, path)
        for name, column in columns.items()
    }
    if "score" in columns and "example_id" in columns:
        _check_digits(read["example_id"], columns["score"], read["score"], path)
    return _framed(read, frame.columns)


def _check_digits(ids: Iterable[object], cells: Iterable[object], scores: Iterable[object], path: Path) -> None:
    """DataError for scores of an example that would tie when they are stored and do not in the file."""
    written: dict[tuple[object, object], Decimal] = {}
    for example_id, cell, score in zip(ids, cells, scores, strict=True):
        is_long = len(cell) > _SURE_DIGITS if isinstance(cell, str) else isinstance(cell, int)
        if not is_long:
            continue
        exact = Decimal(str(cell).strip())
        if (other := written.setdefault((example_id, score), exact)) != exact:
            raise DataError(
                f"example {example_id!r} in {path.name!r} has the scores {other} and {exact}, which are equal in "
                "float64, in which they are stored; take away what they have in common"
            )


def _apart(frame: pd.DataFrame, path: Path) -> pd.DataFrame:
    """A row for each pair, where a row holds all scores of an example."""
    if not {"id", "scores"} <= set(frame.columns):
        return frame
    rows: list[tuple[object, int, int, object]] = []
    for number, (example_id, scores) in enumerate(zip(frame["id"], frame["scores"], strict=True), 1):
        for image, of_image in enumerate(_listed(scores, number, path)):
            pairs = enumerate(_listed(of_image, number, path))
            rows += [(example_id, image, caption, score) for caption, score in pairs]
    import pandas as pd

    return pd.DataFrame(rows, columns=["example_id", "image", "caption", "score"], dtype=object)


def _listed(values: object, row: int, path: Path) -> Sequence[object]:
    if isinstance(values, str):
        try:
            values = json.loads(values)
        except (ValueError, RecursionError):
            values = None
    if isinstance(values, np.ndarray):  # of a Parquet file
        return list(values)
    if not isinstance(values, list):
        raise DataError(
            f"row {row} of {path.name!r} has no readable scores; expected a list for each image with a number "
            "for each caption, such as [[0.2, 0.1]]"
        )
    return values  # pyright: ignore[reportUnknownVariableType]


def _framed(read: Mapping[str, Sequence[object]], names: Iterable[str]) -> pd.DataFrame:
    """The columns that are known, and empty ones for the names of the others."""
    import pandas as pd

    n_rows = len(next(iter(read.values()), ()))
    return pd.DataFrame({name: read.get(name, [None] * n_rows) for name in names if name})


def _id(cell: object, known: Collection[str]) -> str:
    """The id as text; whole numbers that a spreadsheet or pandas made 3.0 of are 3 where 3 is an id."""
    text = str(cell)
    if text not in known and text.endswith(".0") and text[:-2] in known:
        return text[:-2]
    return text


def _column(name: str, cells: Iterable[object], path: Path) -> list[float]:
    """The cells as numbers; DataError names the row of one that is none. An empty choice is NaN: an abstention."""
    numbers: list[float] = []
    for row, cell in enumerate(cells, 1):
        number = _number(cell)
        if number is None:
            raise DataError(f"row {row} of {path.name!r} has {name} {cell!r}; expected a number")
        numbers.append(number)
    return numbers


def _number(cell: object) -> float | None:
    if cell is None or (isinstance(cell, str) and not cell.strip()):
        return math.nan
    if isinstance(cell, bool | np.bool_):
        return None
    try:
        return float(cell)  # pyright: ignore[reportArgumentType]
    except (TypeError, ValueError, OverflowError):
        return None


def _form(frame: pd.DataFrame, path: Path) -> tuple[str, ...]:
    for form in FORMS:
        if set(form) <= set(frame.columns):
            return form
    forms = "; or ".join(", ".join(form) for form in FORMS)
    raise DataError(f"{path.name!r} has columns {', '.join(map(str, frame.columns))}; expected {forms}")


def _check_ids(frame: pd.DataFrame, task: Task, path: Path) -> None:
    found, known = set(frame["example_id"]), {example.id for example in task.examples}
    where = f"{path.name!r} and task {task.name!r}"
    if unknown := found - known:
        raise DataError(f"{where}: {_named(unknown)} are not examples of the task, such as {min(known)!r}")
    if missing := known - found:
        raise DataError(f"{where}: {_named(missing)} of {len(known)} examples have no row; give rows for all")


def _matrices(frame: pd.DataFrame, form: tuple[str, ...], task: Task, path: Path) -> list[ScoreMatrix]:
    """The scores of each example, in the task's order; choices become 1 for the chosen and 0 for the others."""
    keys = list(form[:-1])
    if is_twice := {str(example_id) for example_id in frame.loc[frame.duplicated(keys), "example_id"]}:
        raise DataError(f"{path.name!r} has two rows for the same {' and '.join(keys[1:])} in {_named(is_twice)}")
    rows = {str(example_id): part for example_id, part in frame.groupby("example_id", sort=False)}
    return [ScoreMatrix(example.id, _matrix(example, rows[example.id], form, path)) for example in task.examples]


def _matrix(example: Example, rows: pd.DataFrame, form: tuple[str, ...], path: Path) -> Floats:
    scores = np.full(example.shape, np.nan)
    n_images, n_captions = example.shape
    where = f"example {example.id!r} in {path.name!r}"
    if form[-1] == "score":
        images, captions = _numbers(rows, "image", n_images, where), _numbers(rows, "caption", n_captions, where)
        scores[images, captions] = rows["score"].to_numpy()
    elif form[-1] == "choice":
        scores[_numbers(rows, "image", n_images, where)] = _chosen(rows, "choice", n_captions, where)
    else:
        captions = _numbers(rows, "caption", n_captions, where)
        scores[:, captions] = _chosen(rows, "choice_image", n_images, where).T
    if not np.isfinite(scores).all():
        n_lacking = int((~np.isfinite(scores)).sum())
        raise DataError(f"{where} lacks a finite score for {n_lacking} of its {scores.size} pairs; give rows for all")
    if (largest := float(np.abs(scores).max(initial=0))) > LARGEST_SCORE:
        raise DataError(f"{where} has a score of {largest:.3g}; expected at most {LARGEST_SCORE:g}, of either sign")
    return scores


def _chosen(rows: pd.DataFrame, column: str, n: int, where: str) -> Floats:
    """[rows, n]: 1 for the chosen, 0 for the others; nothing is chosen by an abstention."""
    is_empty = np.isnan(rows[column].to_numpy(float))
    chosen = np.zeros((len(rows), n))
    chosen[~is_empty] = np.eye(n)[_numbers(rows.loc[~is_empty], column, n, where)]
    return chosen


def _numbers(rows: pd.DataFrame, column: str, n: int, where: str) -> np.ndarray:
    """A column of whole numbers from 0 to n - 1."""
    numbers = rows[column].to_numpy(float)
    if not (np.isin(numbers, np.arange(n))).all():
        found = ", ".join(f"{number:g}" for number in numbers)
        raise DataError(f"{where} has {column} {found}; expected whole numbers from 0 to {n - 1}, counted from 0")
    return numbers.astype(int)


def _key(task: Task, name: str, form: Sequence[str], results: Sequence[ScoreMatrix]) -> RunKey:
    digest = hashlib.sha256("".join(form).encode())
    for result in sorted(results, key=lambda each: each.example_id):
        digest.update(result.example_id.encode() + result.scores.astype("<f8").tobytes())
    measurement: Mapping[str, Json] = {"imported": digest.hexdigest()[:16]}
    return RunKey(task.name, task.revision, name, None, measurement)


def _named(ids: set[str]) -> str:
    """The number of ids and the first of them."""
    first = ", ".join(repr(example_id) for example_id in sorted(ids)[:_N_NAMED])
    return f"{len(ids)} ({first}{', ...' if len(ids) > _N_NAMED else ''})"
