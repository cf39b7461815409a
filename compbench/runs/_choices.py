"""Choices in place of scores: the forms that they come in, and which metrics of a task they can answer."""

from __future__ import annotations

from dataclasses import replace

from compbench.core.errors import UsageError
from compbench.core.examples import Task

__all__ = ["FORMS", "FORM_OF", "answerable"]

# the columns of each form, and which metrics it can answer (None: all the task has)
FORMS: dict[tuple[str, ...], tuple[str, ...] | None] = {
    ("example_id", "image", "caption", "score"): None,
    ("example_id", "image", "choice"): ("text",),  # the caption chosen for each image
    ("example_id", "caption", "choice_image"): ("image",),  # the image chosen for each caption
}
FORM_OF = {  # what a model chooses among
    "captions": ("example_id", "image", "choice"),
    "images": ("example_id", "caption", "choice_image"),
}


def answerable(task: Task, form: tuple[str, ...]) -> Task:
    """The task with the metrics that the form can answer; UsageError where that is none."""
    names = FORMS[form]
    if names is None:
        return task
    metrics = {name: metric for name, metric in task.metrics.items() if name in names}
    if not metrics:
        raise UsageError(
            f"choices answer {names[0]!r} alone, and task {task.name!r} asks for {', '.join(task.metrics)}; expected "
            "scores"
        )
    return replace(task, metrics=metrics)
