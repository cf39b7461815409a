"""Which class a picture shows, and which classes the captions of a task stand for. Torch-free."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from compbench.core.aliases import Bools, Floats, Ints
from compbench.core.digests import digest_of
from compbench.core.errors import DataError, UsageError
from compbench.core.examples import Classes, Example, Image, Task
from compbench.core.subsets import subset_per_class
from compbench_baselines.training._near_copies import copies_of

__all__ = ["Labelled", "chosen", "classes_of", "for_captions", "training_images"]


@dataclass(frozen=True, slots=True)
class Labelled:
    """Pictures and their classes."""

    images: tuple[Image, ...]
    labels: Ints  # [n] int64, 0 to n_classes - 1
    n_classes: int
    digest: str  # of the pictures and their labels: what a trained model is kept under


def classes_of(task: Task, model: str) -> Classes:
    """The classes that the captions stand for; UsageError for a task that is not a classification task."""
    if task.classes is None:
        raise UsageError(
            f"model {model!r} predicts a picture's class, but task {task.name!r} has none: its captions differ from "
            "example to example; expected a classification task"
        )
    return task.classes


def for_captions(class_scores: Floats, classes: Classes) -> Floats:
    """[n, K] scores of the classes as [n, C] scores of the captions: the prompts of a class share its score."""
    return class_scores[:, np.asarray(classes.of_caption)]


def chosen(task: Task, model: str, per_class: int | None) -> tuple[list[Example], dict[str, int]]:
    """The examples of the training split, at most `per_class` of each class, and the class of each by its id.

    Test pictures may be among them. UsageError where a task has no training split.
    """
    classes = classes_of(task, model)
    if task.training is None:
        raise UsageError(
            f"model {model!r} learns from a task's training split, and task {task.name!r} has none; "
            "expected a task that comes with one"
        )
    examples, label_of = task.training(), _Labels(classes, task.name)
    labels = {example.id: label_of(example) for example in examples}
    ids = set(subset_per_class(labels, per_class) if per_class is not None else labels)
    return [example for example in examples if example.id in ids], labels


def training_images(task: Task, model: str, say: Callable[[str], None], *, per_class: int | None = None) -> Labelled:
    """The training split without the pictures that are test pictures too, in other bytes or another size perhaps.

    `per_class` leaves a seeded subset of each class. `say` hears how many pictures there are and how many were left
    out. UsageError where a task has no training split, DataError where it lacks a class.
    """
    classes = classes_of(task, model)
    examples, labels = chosen(task, model, per_class)
    tested = [image for example in task.examples for image in example.images]
    shown = [example.images[0] for example in examples]
    is_copy = copies_of(tested, shown, say)
    kept = [
        (image, labels[example.id])
        for example, image, is_known in zip(examples, shown, is_copy, strict=True)
        if not is_known
    ]
    if len(kept) < len(shown):
        say(
            f"{model}: {len(shown) - len(kept)} of {len(shown)} training pictures are also test pictures, or look "
            f"like one; they are left out of training"
        )
    return _labelled(kept, classes, task.name)


def _labelled(shown: Sequence[tuple[Image, int]], classes: Classes, task: str) -> Labelled:
    labels = np.array([label for _, label in shown], dtype=np.int64)
    counts = np.bincount(labels, minlength=len(classes.names))  # [K]
    if not counts.all():
        lacking = [classes.names[k] for k in np.flatnonzero(counts == 0)]
        raise DataError(
            f"the training split of task {task!r} has no picture of class {lacking[0]!r}, nor of {len(lacking) - 1} "
            "others; expected at least one of each class"
        )
    images = tuple(image for image, _ in shown)
    digest = digest_of([[image.digest(), label] for image, label in shown])
    return Labelled(images, labels, len(classes.names), digest)


class _Labels:
    """The class that an example's matching captions describe; examples of one class may share the array of matches."""

    def __init__(self, classes: Classes, task: str) -> None:
        self._classes, self._task = classes, task
        self._known: dict[int, tuple[Bools, int]] = {}  # by the identity of the array, which is kept alive here

    def __call__(self, example: Example) -> int:
        of_caption = self._classes.of_caption
        if len(example.images) != 1 or len(example.captions) != len(of_caption):
            raise DataError(
                f"training example {example.id!r} of task {self._task!r} has {example.shape[0]} pictures and "
                f"{example.shape[1]} captions; expected 1 picture and the {len(of_caption)} captions of the task"
            )
        if id(example.matches) not in self._known:
            self._known[id(example.matches)] = example.matches, self._label(example)
        return self._known[id(example.matches)][1]

    def _label(self, example: Example) -> int:
        labels = np.unique(np.asarray(self._classes.of_caption)[example.matches[0]])
        if len(labels) != 1:
            raise DataError(
                f"training example {example.id!r} of task {self._task!r} has {len(labels)} classes; expected one"
            )
        return int(labels[0])
