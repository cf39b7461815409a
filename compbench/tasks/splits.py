"""Labelled pictures as a reader finds them, whatever the layout, and what readers share."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import PIL.Image

from compbench import image_files
from compbench.types import DataError

__all__ = ["PICTURES", "Layout", "Picture", "Split", "existing", "place_of", "plain", "read_lines", "same_name"]

PICTURES = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp"})


@dataclass(frozen=True, slots=True)
class Picture:
    """One picture of a class, not decoded yet."""

    name: str  # of its file, or its number
    label: int  # the class, counted from 0 in the order of the source's own label file
    source: Path | Callable[[], PIL.Image.Image | bytes]


@dataclass(frozen=True, slots=True)
class Split:
    """The pictures of one split."""

    pictures: Sequence[Picture]
    labels: tuple[str, ...] | None  # what the source calls its classes, in its order; None where it names none
    origin: tuple[Path, ...]  # the files that the pictures and labels were read from


@dataclass(frozen=True, slots=True)
class Layout:
    """One way in which a data set lies on disk."""

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
    try:
        text = image_files.read_file(existing(path, expected)).decode()
        return [line.strip() for line in text.splitlines() if line.strip()]
    except UnicodeDecodeError as error:
        raise DataError(f"{str(path)!r} cannot be read ({error}); fetch or copy it again") from error


def place_of(label: str, labels: Mapping[str, int], where: str) -> int:
    """The number of a class; DataError where the label file does not know it."""
    if label not in labels:
        raise DataError(f"{where} has class {label!r}, which is not among the {len(labels)} of its label file")
    return labels[label]


def same_name(one: str, other: str) -> bool:
    """Whether two spellings are one class: case and what stands between words do not count.

    >>> same_name("apple_pie", "Apple pie"), same_name("F-16A_B", "F-16A/B"), same_name("cat", "cats")
    (True, True, False)
    """
    return plain(one) == plain(other)


def plain(name: str) -> str:
    """A name without case and without what stands between its words."""
    return re.sub(r"[^a-z0-9]+", " ", name.casefold()).strip()
