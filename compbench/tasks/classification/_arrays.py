"""Pictures kept as arrays of pixels: CIFAR-10 (for Python and for other languages) and STL-10, as published.

The pickles of CIFAR-10 are read by an unpickler that makes arrays and nothing else, so that a file runs no code.
"""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image

from compbench.core.aliases import Ints
from compbench.core.errors import DataError
from compbench.tasks.classification._splits import Layout, Picture, Split, existing, read_lines

__all__ = ["CIFAR10_BINARY", "CIFAR10_PYTHON", "STL10"]

_CIFAR_PARTS = {"test": ("test_batch",), "train": tuple(f"data_batch_{n}" for n in range(1, 6))}
_CIFAR_SHAPE, _STL_SHAPE = (3, 32, 32), (3, 96, 96)


def _read_cifar_pickles(root: Path, split: str) -> Split:
    files = [existing(root / name, f"the {split} split of CIFAR-10 for Python") for name in _CIFAR_PARTS[split]]
    batches = [_unpickled(file, "data", "labels") for file in files]
    read = [_pixels_and_labels(file, batch) for file, batch in zip(files, batches, strict=True)]
    pixels, labels = np.concatenate([part for part, _ in read]), np.concatenate([part for _, part in read])
    names = _unpickled(root / "batches.meta", "label_names")["label_names"]
    return _split(pixels, labels, [_text(name) for name in names], (*files, root / "batches.meta"))


def _read_cifar_binaries(root: Path, split: str) -> Split:
    files = [existing(root / f"{name}.bin", f"the {split} split of CIFAR-10") for name in _CIFAR_PARTS[split]]
    names = read_lines(root / "batches.meta.txt", "the names of CIFAR-10's classes")
    size = 1 + int(np.prod(_CIFAR_SHAPE))  # a label and its pixels
    records = np.concatenate([_records(file, size) for file in files])
    pixels = records[:, 1:].reshape(-1, *_CIFAR_SHAPE)
    return _split(pixels, records[:, 0], names, (*files, root / "batches.meta.txt"))


def _read_stl(root: Path, split: str) -> Split:
    images, labels = (existing(root / f"{split}_{kind}.bin", f"the {split} split of STL-10") for kind in "Xy")
    names = read_lines(root / "class_names.txt", "the names of STL-10's classes")
    # columns before rows, as Matlab has them
    pixels = _records(images, int(np.prod(_STL_SHAPE))).reshape(-1, *_STL_SHAPE).swapaxes(2, 3)
    numbers = np.fromfile(labels, np.uint8).astype(int) - 1  # counted from 1
    if len(numbers) != len(pixels):
        raise DataError(f"{str(labels)!r} has {len(numbers)} labels for {len(pixels)} pictures; fetch or copy it again")
    return _split(pixels, numbers, names, (images, labels, root / "class_names.txt"))


CIFAR10_PYTHON = Layout("cifar-10-batches-py", "batches.meta", _read_cifar_pickles)
CIFAR10_BINARY = Layout("cifar-10-batches-bin", "batches.meta.txt", _read_cifar_binaries)
STL10 = Layout("stl10_binary", "class_names.txt", _read_stl)


def _split(pixels: np.ndarray, labels: Ints, names: list[str], origin: tuple[Path, ...]) -> Split:
    """`pixels` are [n, 3, height, width] uint8; a picture is known by its number in the file."""
    if len(labels) and not 0 <= labels.min() <= labels.max() < len(names):
        raise DataError(f"{str(origin[0])!r} has labels {labels.min()} to {labels.max()} of {len(names)} classes")
    pictures = [Picture(f"{n:06d}", int(label), partial(_picture, pixels, n)) for n, label in enumerate(labels)]
    return Split(pictures, tuple(names), origin)


def _pixels_and_labels(file: Path, batch: Mapping[str, Any]) -> tuple[np.ndarray, Ints]:
    """[n, 3, 32, 32] uint8 and [n]; DataError where they are not of one length, or a label is not a whole number."""
    try:
        pixels = np.asarray(batch["data"], np.uint8).reshape(-1, *_CIFAR_SHAPE)
        given = np.asarray(batch["labels"])
        labels = given.astype(int)
        if labels.shape != (len(pixels),) or (labels != given).any():
            raise ValueError(f"{given.size} labels for {len(pixels)} pictures, or a label that is not a whole number")
    except (ValueError, TypeError, OverflowError) as error:
        raise DataError(f"{str(file)!r} is not a batch of CIFAR-10 ({error}); fetch or copy it again") from error
    return pixels, labels


def _picture(pixels: np.ndarray, number: int) -> PIL.Image.Image:
    return PIL.Image.fromarray(np.ascontiguousarray(pixels[number].transpose(1, 2, 0)))


def _records(file: Path, size: int) -> np.ndarray:
    """[n, size] uint8, read from disk when used; DataError for a file that was cut off."""
    n_bytes = file.stat().st_size
    if n_bytes % size or not n_bytes:
        raise DataError(f"{str(file)!r} has {n_bytes} bytes; expected a multiple of {size}: fetch or copy it again")
    return np.memmap(file, np.uint8, "r").reshape(-1, size)


def _unpickled(file: Path, *wanted: str) -> dict[str, Any]:
    try:
        with file.open("rb") as opened:
            found = {_text(name): value for name, value in _Arrays(opened, encoding="bytes").load().items()}
    except (OSError, EOFError, ValueError, TypeError, AttributeError, pickle.UnpicklingError) as error:
        raise DataError(f"{str(file)!r} cannot be read ({error}); fetch or copy it again") from error
    if lacking := [name for name in wanted if name not in found]:
        raise DataError(f"{str(file)!r} has no {lacking[0]!r}: it is not a file of CIFAR-10; fetch or copy it again")
    return found


class _Arrays(pickle.Unpickler):
    """Makes arrays, and what they are made of."""

    def find_class(self, module_name: str, global_name: str, /) -> Any:
        made = {
            "_reconstruct": np.ndarray.__reduce__(np.zeros(0))[0],
            "ndarray": np.ndarray,
            "dtype": np.dtype,
            "encode": _encoded,
        }
        if module_name.partition(".")[0] in ("numpy", "_codecs") and global_name in made:
            return made[global_name]
        raise pickle.UnpicklingError(f"it wants {module_name}.{global_name}, which is not an array")


def _encoded(text: str, encoding: str = "latin1") -> bytes:
    """The bytes as pickle protocol 2 writes them."""
    return text.encode(encoding)


def _text(name: bytes | str) -> str:
    return name.decode() if isinstance(name, bytes) else name
