"""The work left for a model that learns, counted without weights and without decoding a picture. Torch-free.

What is kept in the cache folder costs nothing. Whether a training picture is a test picture saved once more is known
only of pictures that were looked at before; until then it counts as one that is learned from.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from compbench.core.aliases import Json
from compbench.core.examples import Example, Image, Task
from compbench_baselines.training import cache as kept
from compbench_baselines.training._near_copies import are_looks_kept
from compbench_baselines.training.labels import chosen, training_images

__all__ = ["Lesson", "is_trained", "lacking", "lesson", "scored"]


@dataclass(frozen=True, slots=True)
class Lesson:
    """The pictures that a classifier learns from."""

    images: tuple[Image, ...]
    digest: str | None  # of the pictures and their classes; None where some would have to be decoded to know it


def lesson(task: Task, model: str, per_class: int | None) -> Lesson:
    """The result of `training_images`, as far as it is known without decoding."""
    examples, _ = chosen(task, model, per_class)
    shown = [example.images[0] for example in examples]
    if not are_looks_kept([*(image for example in task.examples for image in example.images), *shown]):
        return Lesson(tuple(shown), None)
    known = training_images(task, model, lambda message: None, per_class=per_class)
    return Lesson(known.images, known.digest)


def lacking(kind: str, about: Mapping[str, Json] | None, images: Sequence[Image]) -> list[Image]:
    """The pictures of which nothing is kept under `about`, each once; all of them where `about` is not known.

    Pictures are read only where something is kept that may be of one of them.
    """
    place = None if about is None else kept.place(kind, about)
    if place is None or not any(place.glob("*.safetensors")):
        return list({image.sha256 or id(image): image for image in images}.values())
    by_name = {image.digest(): image for image in images}
    return [by_name[name] for name in kept.Arrays(place).lacking(list(by_name))]


def is_trained(about: Mapping[str, Json]) -> bool:
    """Whether a classifier of that description is kept, trained to the end."""
    place = kept.place("trained", about)
    return (place / "model.safetensors").is_file() or _is_fitted(place / "logistic.npz")


def _is_fitted(file: Path) -> bool:
    try:
        with np.load(file, allow_pickle=False) as stored:
            return bool(stored["is_finished"])
    except (OSError, ValueError, KeyError):  # there is none, or it is damaged: the run says so
        return False


def scored(examples: Sequence[Example]) -> list[Image]:
    """The pictures of examples that have one each."""
    return [example.images[0] for example in examples]
