"""Labelled pictures as a reader finds them, whatever the layout, and what readers share."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import PIL.Image

from compbench.core.errors import DataError
from compbench.tasks._reading.texts import lines_of, read_text

__all__ = ["Layout", "Picture", "Split", "existing", "place_of", "read_lines"]


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture of a class, not decoded yet."""

    name: str  # of its file, or its number
    label: int  # the class, counted from 0 in the order of the source's own label file
    source: Path | Callable[[], PIL.Image.Image | bytes]


@dataclass(frozen=True, slots=True)
class Split:
    """The pictures of one split."""

    pictures: Sequence[Picture]
    labels: tuple[str, ...] | None  # what the source calls its classes, in its order; None where it names none
    origin: tuple[Path, ...]  # the files that the pictures and labels were read from
    notes: tuple[str, ...] = ()  # what was left out or had to be guessed


@dataclass(frozen=True, slots=True)
class Layout:
    """A layout of a data set on disk."""

    folder: str  # the name of its own folder, in which or beside which a user may stand
    mark: str  # a file or folder below it that shows the layout is there
    read: Callable[[Path, str], Split]  # (root, "test" or "train") -> its pictures; DataError for a missing split

    def root(self, place: Path) -> Path | None:
        """The layout's folder at `place` or directly below it."""
        return next((root for root in (place, place / self.folder) if (root / self.mark).exists()), None)


def existing(path: Path, expected: str) -> Path:
    """`path`; DataError with what was expected where there is nothing."""
    if not path.exists():
        raise DataError(f"no {path.name!r} in {str(path.parent)!r}; expected {expected}")
    if not path.is_file() and not path.is_dir():  # a pipe would be waited for, a device never ends
        raise DataError(f"{str(path)!r} is not a regular file; expected {expected}")
    return path


def read_lines(path: Path, expected: str) -> list[str]:
    """The lines of a text file that hold anything."""
    return [line.strip() for line in lines_of(read_text(existing(path, expected))) if line.strip()]


def place_of(label: str, labels: Mapping[str, int], where: str) -> int:
    """The number of a class; DataError where the label file does not know it."""
    if label not in labels:
        raise DataError(f"{where} has class {label!r}, which is not among the {len(labels)} of its label file")
    return labels[label]
