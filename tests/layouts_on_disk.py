"""Small copies of data sets in their sources' own layouts, written as the sources write them."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import PIL.Image

CIFAR10 = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
STL10 = ("airplane", "bird", "car", "cat", "deer", "dog", "horse", "monkey", "ship", "truck")


def pixels(seed: int, size: int = 32) -> np.ndarray:
    """[size, size, 3] uint8."""
    return np.random.default_rng(seed).integers(0, 256, (size, size, 3), np.uint8)


def picture(path: Path, seed: int, size: int = 8) -> Path:
    """A picture file, its folders made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    PIL.Image.fromarray(pixels(seed, size)).save(path)
    return path


def cifar_python(root: Path, labels: Sequence[int]) -> Path:
    """cifar-10-batches-py: pickles of protocol 2, keys in bytes, as Python 2 wrote them. Test picture n has seed n."""
    folder = root / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    meta = {b"label_names": [name.encode() for name in CIFAR10], b"num_cases_per_batch": len(labels)}
    (folder / "batches.meta").write_bytes(pickle.dumps(meta, protocol=2))
    for number, name in enumerate(["test_batch", *(f"data_batch_{n}" for n in range(1, 6))]):
        flat = [pixels(100 * number + n).transpose(2, 0, 1).ravel() for n in range(len(labels))]
        batch = {b"data": np.stack(flat), b"labels": list(labels), b"batch_label": name.encode()}
        (folder / name).write_bytes(pickle.dumps(batch, protocol=2))
    return root


def cifar_binary(root: Path, labels: Sequence[int]) -> Path:
    """cifar-10-batches-bin with the same pictures."""
    folder = root / "cifar-10-batches-bin"
    folder.mkdir(parents=True)
    (folder / "batches.meta.txt").write_text("\n".join(CIFAR10) + "\n\n")
    for number, name in enumerate(["test_batch", *(f"data_batch_{n}" for n in range(1, 6))]):
        records = [
            bytes([label]) + pixels(100 * number + n).transpose(2, 0, 1).tobytes() for n, label in enumerate(labels)
        ]
        (folder / f"{name}.bin").write_bytes(b"".join(records))
    return root


def class_folders(root: Path, names: Sequence[str], *, split: str = "test", n: int = 1, suffix: str = ".png") -> Path:
    """`<root>/<split>/<name>/0.png` ..., pixels that differ."""
    for number, name in enumerate(names):
        for each in range(n):
            picture(root / split / name / f"{each}{suffix}", 1000 * number + each)
    return root
