"""Whether a task can be run at all: its ids, pictures, captions and classes, looked at before anything is loaded."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from compbench.core.captions import caption_fault
from compbench.core.errors import DataError, UsageError
from compbench.core.examples import Example, Image, Task, Written
from compbench.core.plain_text import half_character

__all__ = ["check_written", "checked_task", "classes_of", "labelled"]

_OF_SCORES = re.compile(r"score_(\d+_(\d+|without)|true|false)")  # columns of a run's frame, beside its metrics'
_AFTER_METRICS = ("", "_tie", "_margin", "_raw", "_raw_tie", "_raw_margin")


def checked_task(task: Task) -> Task:
    """The task, its examples asked for once and for all; DataError for any that no model could be measured on."""
    task = _gathered(task)
    seen: set[str] = set()
    if not task.examples:
        raise DataError(f"task {task.name!r} has no examples")
    first, images = task.examples[0], None
    where = _what(first, task)
    shared = first.captions
    taken = {"id", "prediction", *(f"{name}{after}" for name in task.metrics for after in _AFTER_METRICS)}
    for example in task.examples:
        what = _what(example, task)
        if example.images is not images:  # those that examples share are looked at once
            _check_images(task, example, what)
        images = example.images
        if example.id in seen:
            raise DataError(f"{what} occurs twice; expected every id once")
        if not seen or example.captions is not shared:  # a thousand shared captions are looked at once
            _check_captions(task, example, shared, what)
        _check_matches(example, what)
        _check_tags(example, what, taken)
        seen.add(example.id)
    for image in first.images:
        _check_that_it_stays(image, where)
    return task


def _gathered(task: Task) -> Task:
    """The same task with examples that cannot change from one look to the next."""
    if type(task.examples) in (tuple, list):
        return task
    try:
        return replace(task, examples=tuple(task.examples))
    except TypeError as error:
        raise DataError(f"task {task.name!r} has {task.examples!r} for examples; expected a tuple of them") from error


def _what(example: object, task: Task) -> str:
    """The example in words; DataError where it is none, or has no name."""
    if not isinstance(example, Example):
        raise DataError(f"task {task.name!r} has a {type(example).__name__} among its examples; expected an Example")
    if not all(isinstance(text, str) for text in (example.id, example.group)):  # pyright: ignore
        raise DataError(
            f"an example of task {task.name!r} has the id {example.id!r} and the group {example.group!r}; expected text"
        )
    return f"example {example.id!r} of task {task.name!r}"


def _check_images(task: Task, example: Example, what: str) -> None:
    for image in example.images:
        source: Any = image.source
        if not isinstance(image.name, str):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise DataError(f"{what} has an image named {image.name!r}; expected text")
        if not callable(source) and not isinstance(source, Path | bytes | Written):
            raise DataError(
                f"image {image.name!r} of {what} has a {type(source).__name__} for its source; expected a Path, "
                "encoded bytes, or a function that gives a PIL image"
            )
    _check_names(task, (example.id, *(image.name for image in example.images)))


def _check_that_it_stays(image: Image, what: str) -> None:
    """DataError for a picture that is another one each time it is asked for: what is stored of it means nothing."""
    if image.sha256 is None and callable(image.source) and image.identity() != image.identity():
        raise DataError(
            f"image {image.name!r} of {what} is another picture each time it is read; expected a function that always "
            "gives the same"
        )


def _check_names(task: Task, names: Iterable[str]) -> None:
    for name in names:
        if half_character(name):
            raise DataError(
                f"{name!r} of task {task.name!r} is not the name of a file in UTF-8; rename the file (convmv -f "
                "latin1 -t utf8 does a folder) and rerun the command"
            )


def _check_matches(example: Example, what: str) -> None:
    """DataError for anything but a claim for each pair, and for examples that no score could be wrong, or right, on."""
    matches: Any = example.matches
    if not isinstance(matches, np.ndarray) or matches.dtype != bool:
        kind = f"an array of {matches.dtype}" if isinstance(matches, np.ndarray) else f"a {type(matches).__name__}"
        raise DataError(f"{what} has {kind} for its matches; expected a numpy array of bool, images by captions")
    if matches.shape != example.shape:
        raise DataError(f"{what} has matches {matches.shape}; expected {example.shape}, images by captions")
    if matches.size > 1 and (not matches.any() or matches.all()):
        which = "every" if matches.all() else "no"
        raise DataError(f"{what} has matches by which {which} caption is true of {which} image; expected some, not all")


def _check_tags(example: Example, what: str, taken: set[str]) -> None:
    tags_of: Any = example.tags
    if not isinstance(tags_of, Mapping):
        raise DataError(f"{what} has {tags_of!r} for its tags; expected a mapping of columns to tuples")
    for column, tags in tags_of.items():
        if isinstance(tags, str):  # else each letter is a tag
            raise DataError(f"{what} has the text {tags!r} for its tags {column!r}; expected a tuple, ({tags!r},)")
        if not isinstance(tags, tuple | list) or not all(isinstance(tag, str) for tag in (column, *tags)):
            raise DataError(f"{what} has {tags!r} for its tags {column!r}; expected a tuple of texts")
        if column in taken or _OF_SCORES.fullmatch(column):
            raise DataError(f"{what} has tags {column!r}, which is the name of a column of results; rename them")


def _check_captions(task: Task, example: Example, shared: tuple[str, ...], what: str) -> None:
    captions: Any = example.captions
    if isinstance(captions, str) or not all(isinstance(text, str) for text in captions):
        raise DataError(f"{what} has {captions!r} for its captions; expected a tuple of texts")
    for number, text in enumerate(example.captions):
        if fault := caption_fault(text):
            raise DataError(f"caption {number} of {what} {fault}")
    if task.classes is not None and example.captions != shared:
        raise DataError(
            f"{what} has other captions than the first example; the examples of a classification share them"
        )


def classes_of(task: Task) -> dict[str, tuple[str, ...]]:
    """Example id -> its class; UsageError where the task has none."""
    class_of = {example.id: example.tags.get("class", ()) for example in task.examples}
    if lacking := [example_id for example_id, its_class in class_of.items() if not its_class]:
        raise UsageError(
            f"images_per_class does not apply to task {task.name!r}: it has no classes (example {lacking[0]!r} has no "
            "tag 'class'); use limit"
        )
    return class_of


def check_written(task: Task, label: str, *, embeds_text: bool) -> None:
    """UsageError where captions are compared with captions and the model looks at pictures alone."""
    images = task.examples[0].images if task.examples else ()
    is_written = any(isinstance(image.source, Written) for image in images)
    if is_written and not embeds_text:
        raise UsageError(
            f"task {task.name!r} compares captions with captions, but {label} scores pictures: choose a model "
            f"that embeds captions on their own, such as a CLIP"
        )


def labelled(task: Task, label: str, space: str) -> Task:
    """The task as a model of labels takes it; UsageError, before any weights are fetched, where it knows others."""
    task = task.labelled or task
    its = None if task.classes is None or task.classes.labels is None else task.classes.label_space
    if its != space:
        has = f"has classes of {its!r}" if its else "has no classes with such labels"
        raise UsageError(f"{label} knows the labels of {space!r} alone; task {task.name!r} {has}: choose another model")
    return task
