"""Pictures that lie apart from the rows which name them: COCO's, Visual Genome's, a suite's own folder."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

import PIL.Image

from compbench.core.errors import DataError, MissingPictures
from compbench.core.examples import Image

__all__ = ["Box", "Folders", "cropped"]

Box = tuple[float, float, float, float]  # x, y, width, height in pixels
_SHOWN = 3
_NUMBER = re.compile(r"img(\d{1,9})\.jpe?g", re.IGNORECASE)


@dataclass
class Folders:
    """Folders that are searched for a picture by its name, in this order; what is in none of them is counted."""

    roots: Sequence[Path]
    whose: str  # for a message: "COCO val2017"
    found: dict[str, Path] = field(default_factory=dict[str, Path])
    missing: dict[str, None] = field(default_factory=dict[str, None])
    frames: dict[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])  # by folder

    @classmethod
    def below(cls, places: Sequence[Path], names: Sequence[str], whose: str) -> Folders:
        roots = [place / name for place in places for name in names]
        return cls([root for root in dict.fromkeys(roots) if root.is_dir()], whose)

    def path(self, name: Any, where: str) -> Path:
        """The file; where there is none, the one that would be expected, which cannot be read."""
        if not isinstance(name, str) or not name.strip():
            raise DataError(f"{where} names the picture {name!r}; expected the name of a file")
        if name in self.found:
            return self.found[name]
        relative = _relative(name, where)
        paths = [root / relative for root in self.roots]
        there = next((path for path in paths if path.is_file()), None)
        if there is None:
            self.missing[name] = None
        self.found[name] = there or (paths[0] if paths else Path(relative))
        return self.found[name]

    def numbered(self, folder: Any, where: str, n_expected: int = 10) -> tuple[str, ...]:
        """The names img<N>.jpg of a folder's pictures in the order of N; of one that is not there, missing ones."""
        if not isinstance(folder, str) or not folder.strip():
            raise DataError(f"{where} names the folder {folder!r}; expected the name of a folder of pictures")
        if folder not in self.frames:
            relative = _relative(folder, where)
            place = next((root / relative for root in self.roots if (root / relative).is_dir()), None)
            named = {} if place is None else {path.name: _NUMBER.fullmatch(path.name) for path in place.iterdir()}
            numbers = sorted((int(found[1]), name) for name, found in named.items() if found)
            names = [name for _, name in numbers] or [f"img{place}.jpg" for place in range(n_expected)]
            self.frames[folder] = tuple(f"{folder}/{name}" for name in names)
        return self.frames[folder]

    @property
    def _expected(self) -> str:
        if not self.whose:
            return "those that come with it, in the folder that --data names or one within it"
        return f"{self.whose}, in the folder that --images names, or --data, or one within it"

    def check(self, *, may_lack: bool) -> tuple[str, ...]:
        """A note on missing pictures, naming the first; MissingPictures where all are missing or none may be."""
        if not self.missing:
            return ()
        names = ", ".join(list(self.missing)[:_SHOWN]) + (", ..." if len(self.missing) > _SHOWN else "")
        searched = " or ".join(repr(str(root)) for root in self.roots) or "any folder"
        if len(self.missing) == len(self.found):
            raise MissingPictures(
                f"none of the {len(self.found):,} pictures is in {searched}: {names}; expected {self._expected}"
            )
        are = f"{len(self.missing):,} of {len(self.found):,} pictures are not in {searched}: {names}"
        if not may_lack:
            raise MissingPictures(
                f"{are}; expected {self._expected}. --skip-unreadable leaves out their examples, and the "
                f"signature says so"
            )
        return (are,)


def _relative(name: str, where: str) -> PurePosixPath:
    """A path that stays within whatever folder it is looked for in."""
    relative = PurePosixPath(name.replace("\\", "/"))
    if relative.is_absolute() or ".." in relative.parts or ":" in relative.parts[0]:
        raise DataError(f"{where} names the picture {name!r}; expected a name within the folder of pictures")
    return relative


def cropped(image: Image, box: Box) -> Image:
    """The part of a picture within a box, as ARO's authors cut it; DataError on a picture that was cut already."""
    return Image(image.name, partial(_crop, image, box))


def _crop(image: Image, box: Box) -> PIL.Image.Image:
    picture, (x, y, width, height) = image.decode(), box
    if picture.size == (round(width), round(height)) and (x, y) != (0, 0):
        raise DataError(
            f"picture {image.name!r} has the size of its box, {picture.width} x {picture.height}: it is already "
            f"cropped; expected the whole picture"
        )
    if x >= picture.width or y >= picture.height or width < 1 or height < 1:
        raise DataError(
            f"the box {box} of picture {image.name!r} lies outside its {picture.width} x {picture.height} pixels; "
            "expected the picture that the box was drawn on"
        )
    return picture.crop((int(x), int(y), int(x + width), int(y + height)))
