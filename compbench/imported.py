"""Scores or choices of a model that cannot be run here, as a run like any other."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from compbench import disk, registry
from compbench.provenance import here
from compbench.store import Run, RunKey, Store
from compbench.types import DataError, Example, Floats, Json, ScoreMatrix, Task

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["import_scores"]

# the columns of each form, and which metrics it can answer (None: all the task has)
_FORMS: dict[tuple[str, ...], tuple[str, ...] | None] = {
    ("example_id", "image", "caption", "score"): None,
    ("example_id", "image", "choice"): ("text",),  # the caption chosen for each image
    ("example_id", "caption", "choice_image"): ("image",),  # the image chosen for each caption
}
_N_NAMED = 3  # of the ids that are wrong


def import_scores(
    path: Path | str,
    *,
    task: str | Task,
    name: str,
    data: Path | str | None = None,
    runs: Path | str | None = None,
    is_offline: bool = False,
) -> Run:
    """Store the scores in a csv, tsv, parquet or jsonl file as the run of a model called `name`.

    Columns: example_id, image, caption, score; or example_id, image, choice (the caption chosen for the image); or
    example_id, caption, choice_image. Images and captions are numbered from 0. Choices answer the text metric or the
    image metric alone. Every example must be there, once.
    """
    path = disk.expanded(path)
    if isinstance(task, str):
        task = registry.task(task, data=None if data is None else disk.expanded(data), is_offline=is_offline)
    frame = _read(path)
    form = _form(frame, path)
    _check_ids(frame, task, path)
    results = _matrices(frame, form, task, path)
    store = Store(runs)
    described: dict[str, Json] = {"label": name, "options": {}, "imported": path.name, "form": list(form)}
    run = store.open(_key(task, name, form, results), _answerable(task, form), model=described)
    with run.locked():
        run.repair()
        done = run.done()
        if lacking := [each for each in results if each.example_id not in done]:
            run.append(lacking, imported=path.name, **here(None))
        run.settle(None)
    return run


def _read(path: Path) -> pd.DataFrame:
    """The file's columns: ids as text, all others as numbers, NaN where they are none."""
    import pandas as pd

    readers = {
        ".csv": lambda: pd.read_csv(path, dtype={"example_id": str}),
        ".tsv": lambda: pd.read_csv(path, dtype={"example_id": str}, sep="\t"),
        ".parquet": lambda: pd.read_parquet(path),
        ".jsonl": lambda: pd.DataFrame(
            [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
        ),
    }
    if path.suffix not in readers:
        raise DataError(f"cannot read {path.name!r}; expected one of {', '.join(readers)}")
    try:
        frame = readers[path.suffix]()
    except (OSError, ValueError) as error:
        what = f"expected a {path.suffix[1:]} file with a header"
        raise DataError(f"cannot read {str(path)!r} ({error}); {what}") from error
    numbers = {
        name: frame[name].astype(str) if name == "example_id" else pd.to_numeric(frame[name], errors="coerce")
        for name in frame.columns
    }
    return pd.DataFrame(numbers)


def _form(frame: pd.DataFrame, path: Path) -> tuple[str, ...]:
    for form in _FORMS:
        if set(form) <= set(frame.columns):
            return form
    forms = "; or ".join(", ".join(form) for form in _FORMS)
    raise DataError(f"{path.name!r} has columns {', '.join(map(str, frame.columns))}; expected {forms}")


def _check_ids(frame: pd.DataFrame, task: Task, path: Path) -> None:
    found, known = set(frame["example_id"]), {each.id for each in task.examples}
    where = f"{path.name!r} and task {task.name!r}"
    if unknown := found - known:
        raise DataError(f"{where}: {_named(unknown)} are not examples of the task, such as {min(known)!r}")
    if missing := known - found:
        raise DataError(f"{where}: {_named(missing)} of {len(known)} examples have no row; give rows for all")


def _matrices(frame: pd.DataFrame, form: tuple[str, ...], task: Task, path: Path) -> list[ScoreMatrix]:
    """The scores of each example, in the task's order; choices become 1 for the chosen and 0 for the others."""
    keys = list(form[:-1])
    if is_twice := {str(each) for each in frame.loc[frame.duplicated(keys), "example_id"]}:
        raise DataError(f"{path.name!r} has two rows for the same {' and '.join(keys[1:])} in {_named(is_twice)}")
    rows = {str(example_id): part for example_id, part in frame.groupby("example_id", sort=False)}
    return [ScoreMatrix(each.id, _matrix(each, rows[each.id], form, path)) for each in task.examples]


def _matrix(example: Example, rows: pd.DataFrame, form: tuple[str, ...], path: Path) -> Floats:
    scores = np.full(example.shape, np.nan)
    n_images, n_captions = example.shape
    where = f"example {example.id!r} in {path.name!r}"
    if form[-1] == "score":
        images, captions = _numbers(rows, "image", n_images, where), _numbers(rows, "caption", n_captions, where)
        scores[images, captions] = rows["score"].to_numpy()
    elif form[-1] == "choice":
        scores[_numbers(rows, "image", n_images, where)] = np.eye(n_captions)[
            _numbers(rows, "choice", n_captions, where)
        ]
    else:
        chosen = np.eye(n_images)[_numbers(rows, "choice_image", n_images, where)]  # [captions, I]
        scores[:, _numbers(rows, "caption", n_captions, where)] = chosen.T
    if not np.isfinite(scores).all():
        n_lacking = int((~np.isfinite(scores)).sum())
        raise DataError(f"{where} lacks a finite score for {n_lacking} of its {scores.size} pairs; give rows for all")
    return scores


def _numbers(rows: pd.DataFrame, column: str, n: int, where: str) -> np.ndarray:
    """A column of whole numbers from 0 to n - 1."""
    numbers = rows[column].to_numpy()
    if not (np.isin(numbers, np.arange(n))).all():
        raise DataError(f"{where} has {column} {rows[column].tolist()}; expected whole numbers from 0 to {n - 1}")
    return numbers.astype(int)


def _key(task: Task, name: str, form: Sequence[str], results: Sequence[ScoreMatrix]) -> RunKey:
    digest = hashlib.sha256("".join(form).encode())
    for each in sorted(results, key=lambda each: each.example_id):
        digest.update(each.example_id.encode() + each.scores.astype("<f8").tobytes())
    measurement: Mapping[str, Json] = {"imported": digest.hexdigest()[:16]}
    return RunKey(task.name, task.revision, name, None, measurement)


def _answerable(task: Task, form: tuple[str, ...]) -> Task:
    names = _FORMS[form]
    if names is None:
        return task
    metrics = {name: metric for name, metric in task.metrics.items() if name in names}
    return Task(task.name, task.examples, metrics, task.description, task.citation, task.is_gated, task.tag_order)


def _named(ids: set[str]) -> str:
    """The number of ids and the first of them."""
    first = ", ".join(repr(each) for each in sorted(ids)[:_N_NAMED])
    return f"{len(ids)} ({first}{', ...' if len(ids) > _N_NAMED else ''})"
