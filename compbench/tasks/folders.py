"""Pictures in one folder for each class: `<split>/<class>/*.jpg`, or `<class>/*.jpg` for a test set alone."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

from compbench.tasks.splits import PICTURES, Picture, Split, plain
from compbench.types import DataError

__all__ = ["SPLITS", "class_folders", "read_folders", "split_folder"]

SPLITS = {"test": ("test", "val", "validation"), "train": ("train", "trainval", "training")}


def read_folders(place: Path, split: str, known: Sequence[Collection[str]], *, ignores_others: bool = False) -> Split:
    """The pictures of the classes below `place`; a class goes by any of its `known` names, in the task's order.

    DataError for a folder that is none of them (unless `ignores_others`), for a class that has two folders, and for
    a class without pictures.
    """
    root = split_folder(place, split)
    number_of = {plain(each): n for n, names in reversed(list(enumerate(known))) for each in names}
    by_class: dict[int, Path] = {}
    for folder in class_folders(root):
        number = number_of.get(plain(folder.name))
        if number is None and ignores_others:
            continue
        if number is None:
            raise DataError(
                f"folder {str(folder)!r} is none of the task's {len(known)} classes; "
                f"expected folders named like {', '.join(sorted(map(str, next(iter(known), ()))))}"
            )
        if number in by_class:
            raise DataError(f"folders {str(by_class[number])!r} and {str(folder)!r} are the same class; expected one")
        by_class[number] = folder
    files = {number: _pictures(folder) for number, folder in by_class.items()}
    if lacking := [n for n in range(len(known)) if not files.get(n)]:
        name = next(iter(known[lacking[0]]))
        raise DataError(
            f"{len(lacking)} of {len(known)} classes have no picture in {str(root)!r}, {name!r} the first; "
            "expected a folder with pictures for each class"
        )
    pictures = [Picture(file.name, n, file) for n in sorted(files) for file in files[n]]
    return Split(pictures, None, tuple(picture.source for picture in pictures if isinstance(picture.source, Path)))


def split_folder(place: Path, split: str) -> Path:
    """Where the classes of a split are; DataError where there is no such split."""
    named = [place / name for name in SPLITS[split] if (place / name).is_dir()]
    if named:
        return named[0]
    has_splits = any((place / name).is_dir() for names in SPLITS.values() for name in names)
    if split == "test" and not has_splits:
        return place
    raise DataError(
        f"{str(place)!r} has no split {split!r}; expected a folder {' or '.join(SPLITS[split])} with one folder a class"
    )


def class_folders(root: Path) -> list[Path]:
    """The folders of classes, by name."""
    return sorted(each for each in root.iterdir() if each.is_dir() and not each.name.startswith((".", "_")))


def _pictures(folder: Path) -> list[Path]:
    return sorted(file for file in folder.iterdir() if file.suffix.lower() in PICTURES)
