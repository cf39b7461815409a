"""Picture files beside lists of which is in which split: Food-101, FGVC-Aircraft, Oxford-IIIT Pets, Flowers-102."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from compbench.core.errors import DataError
from compbench.tasks.classification._splits import Layout, Picture, Split, existing, place_of, read_lines

__all__ = ["AIRCRAFT", "FLOWERS102", "FOOD101", "PETS"]


def _read_food(root: Path, split: str) -> Split:
    listed, names = root / "meta" / f"{split}.txt", root / "meta" / "classes.txt"
    places = {name: n for n, name in enumerate(read_lines(names, "the classes of Food-101"))}
    pictures: list[Picture] = []
    for line in read_lines(listed, f"the list of Food-101's {split} split"):
        label = place_of(line.partition("/")[0], places, f"line {line!r} of {str(listed)!r}")
        pictures.append(_picture(root / "images", f"{line}.jpg", label))
    return Split(pictures, tuple(places), (listed, names, *_files(pictures)))


def _read_aircraft(root: Path, split: str) -> Split:
    folder = root / "data"
    listed = folder / f"images_variant_{'test' if split == 'test' else 'trainval'}.txt"
    places = {name: n for n, name in enumerate(read_lines(folder / "variants.txt", "the variants of FGVC-Aircraft"))}
    pictures: list[Picture] = []
    for line in read_lines(listed, f"the list of FGVC-Aircraft's {split} split"):
        number, _, variant = line.partition(" ")
        label = place_of(variant, places, f"line {line!r} of {str(listed)!r}")
        pictures.append(_picture(folder / "images", f"{number}.jpg", label))
    return Split(pictures, tuple(places), (listed, folder / "variants.txt", *_files(pictures)))


def _read_pets(root: Path, split: str) -> Split:
    listed = root / "annotations" / f"{'test' if split == 'test' else 'trainval'}.txt"
    pictures: list[Picture] = []
    names: dict[int, str] = {}
    for line in read_lines(listed, f"the list of Oxford-IIIT Pets' {split} split"):
        words = line.split()  # name, class counted from 1, cat or dog, breed within cats or dogs
        if line.startswith("#"):
            continue
        if len(words) != 4 or not words[1].isdecimal():
            raise DataError(
                f"line {line!r} of {str(listed)!r} does not name a picture and its class; fetch or copy it again"
            )
        label, breed = int(words[1]) - 1, words[0].rpartition("_")[0]
        if names.setdefault(label, breed) != breed:
            raise DataError(
                f"line {line!r} of {str(listed)!r} has class {words[1]}, which is {names[label]!r} on a line before; "
                "fetch or copy it again"
            )
        pictures.append(_picture(root / "images", f"{words[0]}.jpg", label))
    ordered = tuple(names[label] for label in sorted(names))
    return Split(pictures, ordered, (listed, *_files(pictures)))


def _read_flowers(root: Path, split: str) -> Split:
    numbers = _matlab(root / "setid.mat", "tstid" if split == "test" else "trnid")
    label_of = _matlab(root / "imagelabels.mat", "labels")  # of every picture, counted from 1
    pictures: list[Picture] = []
    for number in sorted(numbers):
        if not 1 <= number <= len(label_of):
            raise DataError(f"{str(root / 'setid.mat')!r} names picture {number} of {len(label_of)}; copy it again")
        pictures.append(_picture(root / "jpg", f"image_{number:05d}.jpg", label_of[number - 1] - 1))
    return Split(pictures, None, (root / "setid.mat", root / "imagelabels.mat", *_files(pictures)))


FOOD101 = Layout("food-101", "meta/classes.txt", _read_food)
AIRCRAFT = Layout("fgvc-aircraft-2013b", "data/variants.txt", _read_aircraft)
PETS = Layout("oxford-iiit-pet", "annotations", _read_pets)
FLOWERS102 = Layout("flowers-102", "imagelabels.mat", _read_flowers)


def _picture(folder: Path, name: str, label: int) -> Picture:
    """A listed picture; DataError where its file is not there, or where the list leads out of its folder."""
    file = folder / name
    if ".." in file.parts or not file.is_relative_to(folder):
        raise DataError(f"a list names {name!r}, which lies outside {str(folder)!r}; fetch or copy the list again")
    return Picture(file.name, label, existing(file, "every listed picture: fetch or copy the data set again"))


def _files(pictures: list[Picture]) -> list[Path]:
    return [picture.source for picture in pictures if isinstance(picture.source, Path)]


def _matlab(file: Path, name: str) -> list[int]:
    """The whole numbers of a variable in a Matlab file."""
    import scipy.io

    existing(file, "the lists of Flowers-102")
    try:
        stored: Mapping[str, Any] = scipy.io.loadmat(str(file), variable_names=[name])
        values = stored[name].ravel()
        if any(value != int(value) for value in values):
            raise ValueError("not whole numbers")
        return [int(value) for value in values]
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise DataError(f"{str(file)!r} has no {name!r} that can be read ({error}); fetch or copy it again") from error
