"""ImageNet's training split for the test sets of its classes, which have none of their own.

A class may have several of ImageNet's labels, as ObjectNet's do: a picture of any of them is of the class.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from compbench.core.errors import DataError
from compbench.core.examples import Example
from compbench.tasks._reading.scan import folders_in
from compbench.tasks.classification._folders import SPLITS, read_folders
from compbench.tasks.classification._prompt_files import wnids
from compbench.tasks.classification._splits import Split

__all__ = ["FromImageNet"]


@dataclass(frozen=True)
class FromImageNet:
    """The training split of a task: called, it reads the pictures; DataError where they are nowhere."""

    task: str
    data: Path | None  # of the task: ImageNet's training split is in it or in the folder `imagenet` beside it
    labels: Sequence[Sequence[int]]  # ImageNet's, of each class
    examples_of: Callable[[Split, Sequence[str]], Sequence[Example]]  # of a split and the ids of its pictures
    imagenet: Path | None = None  # a copy of ImageNet that is known to be somewhere else

    def __call__(self) -> Sequence[Example]:
        root, known = self._root(), wnids()
        of_label = [(label, number) for number, labels in enumerate(self.labels) for label in labels]
        split = read_folders(root, "train", [(known[label],) for label, _ in of_label], ignores_others=True)
        ids = [f"train/{known[of_label[picture.label][0]]}/{picture.name}" for picture in split.pictures]
        pictures = [replace(picture, label=of_label[picture.label][1]) for picture in split.pictures]
        return self.examples_of(replace(split, pictures=pictures), ids)

    def _root(self) -> Path:
        """The folder that holds the training split."""
        for place in self._places():
            if _holds_training(place):
                return place
        places = " or ".join(repr(str(place / "train")) for place in self._places())
        raise DataError(
            f"task {self.task!r} has no training split; models learn from ImageNet's, one folder per WordNet id "
            f"(n01440764 ...): put it at {places or 'DATA/train and give --data DATA'}"
        )

    def _places(self) -> list[Path]:
        own = [] if self.data is None else [self.data, self.data.resolve().parent / "imagenet"]
        return list(dict.fromkeys([*own, *([] if self.imagenet is None else [self.imagenet])]))


def _holds_training(place: Path) -> bool:
    ids = set(wnids())
    folders = [place / name for name in SPLITS["train"] if (place / name).is_dir()]
    return any(inner.name in ids for folder in folders for inner in folders_in(folder))
