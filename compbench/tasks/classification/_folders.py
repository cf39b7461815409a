"""Pictures in one folder for each class: `<split>/<class>/*.jpg`, or `<class>/*.jpg` for a test set alone."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

from compbench.core.errors import DataError
from compbench.tasks._reading.names import ClassNames, nfc
from compbench.tasks._reading.scan import folders_in, holds_pictures, is_junk, left_out, pictures_below
from compbench.tasks.classification._splits import Picture, Split

__all__ = ["SPLITS", "class_folders", "read_folders", "split_folder"]

SPLITS = {"test": ("test", "val", "validation"), "train": ("train", "trainval", "training")}
_OF_ANY_SPLIT = frozenset(name for names in SPLITS.values() for name in names)


def read_folders(place: Path, split: str, known: Sequence[Collection[str]], *, ignores_others: bool = False) -> Split:
    """The pictures of the classes below `place`; a class goes by any of its `known` names, in the task's order.

    Folders within a class folder are read too. DataError for a folder that is none of the classes (unless
    `ignores_others`), for a class that has two folders, and for a class without pictures.
    """
    root = split_folder(place, split)
    by_class, notes = _by_class(root, known, ignores_others=ignores_others)
    found = {number: pictures_below(folder) for number, folder in by_class.items()}
    if lacking := [n for n in range(len(known)) if n not in found or not found[n].pictures]:
        name = next(iter(known[lacking[0]]))
        raise DataError(
            f"{len(lacking)} of {len(known)} classes have no picture in {str(root)!r}, {name!r} the first; "
            "expected a folder with pictures for each class"
        )
    pictures = [
        Picture(nfc(file.relative_to(by_class[n]).as_posix()), n, file)
        for n in sorted(found)
        for file in found[n].pictures
    ]
    others = [file for n in sorted(found) for file in found[n].others]
    files = tuple(picture.source for picture in pictures if isinstance(picture.source, Path))
    return Split(pictures, None, files, (*_split_notes(place, split), *notes, *left_out(others, root)))


def split_folder(place: Path, split: str) -> Path:
    """The folder that holds the class folders of a split; DataError where there is no such split.

    A split folder holds folders: one called "train" that holds pictures is the class of trains.
    """
    if named := _named_splits(place, SPLITS[split]):
        return named[0]
    if split == "test" and not _named_splits(place, _OF_ANY_SPLIT):
        return place
    raise DataError(
        f"{str(place)!r} has no split {split!r}; expected a folder {' or '.join(SPLITS[split])} that holds one folder "
        "of pictures for each class"
    )


def class_folders(root: Path) -> list[Path]:
    """The folders of classes, in the order of their composed names.

    Hidden folders are none, nor is one that begins with "_" and holds no picture.
    """
    shown = [folder for folder in folders_in(root) if not folder.name.startswith(".")]
    own = [folder for folder in shown if not folder.name.startswith("_") or pictures_below(folder).pictures]
    return sorted(own, key=lambda each: nfc(each.name))


def _by_class(
    root: Path, known: Sequence[Collection[str]], *, ignores_others: bool
) -> tuple[dict[int, Path], tuple[str, ...]]:
    """The folder of each class, and the notes on what else lies in `root`."""
    names, by_class = ClassNames(known), dict[int, Path]()
    others: list[Path] = []
    for folder in folders_in(root):
        number = names.number(folder.name, f"folder {str(folder)!r}")
        if number is not None and number in by_class:
            is_one_name = nfc(folder.name) == nfc(by_class[number].name)
            why = " (one name in composed and in decomposed Unicode)" if is_one_name else ""
            raise DataError(
                f"folders {str(by_class[number])!r} and {str(folder)!r} are the same class{why}; "
                "expected one: join them"
            )
        if number is not None:
            by_class[number] = folder
        elif folder.name.startswith((".", "_")):
            others.append(folder)
        elif not ignores_others:
            raise DataError(
                f"folder {str(folder)!r} is none of the task's {len(known)} classes; "
                f"expected folders named like {', '.join(sorted(map(str, next(iter(known), ()))))}"
            )
    loose = [path for path in root.iterdir() if not path.is_dir() and not is_junk(path.name)]
    return by_class, left_out([*others, *sorted(loose)], root, "in no folder of a class")


def _named_splits(place: Path, names: Collection[str]) -> list[Path]:
    """The folders among `names` that are splits: they hold folders, and pictures only by mistake."""
    there = {folder.name: folder for folder in folders_in(place)}
    named = [there[name] for name in names if name in there and _holds_folders(there[name])]
    if not any(holds_pictures(folder) for folder in named):
        return named
    beside = [folder for name, folder in there.items() if name not in _OF_ANY_SPLIT]
    if not any(holds_pictures(folder) for folder in beside):
        return named
    return [folder for folder in named if not holds_pictures(folder)]  # the others are classes like those beside them


def _holds_folders(folder: Path) -> bool:
    return any(not inner.name.startswith(".") for inner in folders_in(folder))


def _split_notes(place: Path, split: str) -> tuple[str, ...]:
    """The note that one of several test splits was taken."""
    named = _named_splits(place, SPLITS[split])
    if len(named) < 2:
        return ()
    return (f"{str(named[0])!r} is read, {' and '.join(repr(folder.name) for folder in named[1:])} beside it is not",)
