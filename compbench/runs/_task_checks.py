"""Whether a task can be run at all: its ids, captions and classes, looked at before anything is loaded."""

from __future__ import annotations

from collections.abc import Iterable

from compbench.core.captions import caption_fault
from compbench.core.errors import DataError, UsageError
from compbench.core.examples import Example, Task, Written
from compbench.core.plain_text import half_character

__all__ = ["check_task", "check_written", "classes_of", "labelled"]


def check_task(task: Task) -> None:
    """DataError for examples that no model could be measured on."""
    seen: set[str] = set()
    if not task.examples:
        raise DataError(f"task {task.name!r} has no examples")
    shared = task.examples[0].captions
    images = None
    for example in task.examples:
        what = f"example {example.id!r} of task {task.name!r}"
        own = () if example.images is images else example.images  # those that examples share are looked at once
        images = example.images
        _check_names(task, (example.id, *(image.name for image in own)))
        if example.id in seen:
            raise DataError(f"{what} occurs twice; expected every id once")
        if example.matches.shape != example.shape:
            raise DataError(f"{what} has matches {example.matches.shape}; expected {example.shape}, images by captions")
        _check_tags(example, what)
        if not seen or example.captions is not shared:  # a thousand shared captions are looked at once
            _check_captions(task, example, shared, what)
        seen.add(example.id)


def _check_names(task: Task, names: Iterable[str]) -> None:
    for name in names:
        if half_character(name):
            raise DataError(
                f"{name!r} of task {task.name!r} is not the name of a file in UTF-8; rename the file (convmv -f "
                "latin1 -t utf8 does a folder) and rerun the command"
            )


def _check_tags(example: Example, what: str) -> None:
    for column, tags in example.tags.items():
        if isinstance(tags, str):  # pyright: ignore[reportUnnecessaryIsInstance]  # else each letter is a tag
            raise DataError(f"{what} has the text {tags!r} for its tags {column!r}; expected a tuple, ({tags!r},)")


def _check_captions(task: Task, example: Example, shared: tuple[str, ...], what: str) -> None:
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
