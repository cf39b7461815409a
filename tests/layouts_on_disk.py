"""Small copies of data sets in their sources' own layouts, written as the sources write them."""

from __future__ import annotations

import io
import json
import pickle
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np
import PIL.Image
import scipy.io

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


class _Python2Pickler(pickle._Pickler):  # the one that is written in Python
    """Writes bytes as the strings of Python 2."""

    dispatch: ClassVar = dict(pickle._Pickler.dispatch)

    def save_string(self, text: bytes) -> None:
        self.write(pickle.BINSTRING + struct.pack("<i", len(text)) + text)
        self.memoize(text)

    dispatch[bytes] = save_string


def python2_pickle(value: object) -> bytes:
    """Protocol 2 of Python 2, naming numpy's modules as they were called then."""
    out = io.BytesIO()
    _Python2Pickler(out, protocol=2).dump(value)
    return out.getvalue().replace(b"numpy._core", b"numpy.core")


def cifar_python(root: Path, labels: Sequence[int]) -> Path:
    """cifar-10-batches-py: pickles as Python 2 wrote them. Test picture n has seed n."""
    folder = root / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    meta = {b"label_names": [name.encode() for name in CIFAR10], b"num_cases_per_batch": len(labels)}
    (folder / "batches.meta").write_bytes(python2_pickle(meta))
    for number, name in enumerate(["test_batch", *(f"data_batch_{n}" for n in range(1, 6))]):
        flat = [pixels(100 * number + n).transpose(2, 0, 1).ravel() for n in range(len(labels))]
        batch = {b"data": np.stack(flat), b"labels": list(labels), b"batch_label": name.encode()}
        (folder / name).write_bytes(python2_pickle(batch))
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
        for k in range(n):
            picture(root / split / name / f"{k}{suffix}", 1000 * number + k)
    return root


def stl10(root: Path, labels: Sequence[int]) -> Path:
    """stl10_binary: pictures with columns before rows, labels counted from 1; test picture n has seed n."""
    folder = root / "stl10_binary"
    folder.mkdir(parents=True)
    (folder / "class_names.txt").write_text("\n".join(STL10) + "\n")
    (folder / "fold_indices.txt").write_text("0 1\n")
    for number, split in enumerate(("test", "train", "unlabeled")):
        images = [pixels(100 * number + n, 96).transpose(2, 1, 0).tobytes() for n in range(len(labels))]
        (folder / f"{split}_X.bin").write_bytes(b"".join(images))
        (folder / f"{split}_y.bin").write_bytes(bytes(label + 1 for label in labels))
    return root


def food101(root: Path, names: Sequence[str]) -> Path:
    """food-101: pictures by class, lists as text and as JSON."""
    folder = root / "food-101"
    (folder / "meta").mkdir(parents=True)
    (folder / "meta" / "classes.txt").write_text("\n".join(names) + "\n")
    for first, split in enumerate(("test", "train")):
        listed = {name: [f"{name}/{7 * n + first}"] for n, name in enumerate(names)}
        for number, (stem,) in enumerate(listed.values()):
            picture(folder / "images" / f"{stem}.jpg", 1000 * first + number)
        lines = [stem for (stem,) in listed.values()]
        (folder / "meta" / f"{split}.txt").write_text("\n".join(lines) + "\n")
        (folder / "meta" / f"{split}.json").write_text(json.dumps(listed))
    return root


def aircraft(root: Path, names: Sequence[str]) -> Path:
    """fgvc-aircraft-2013b: one folder of pictures and lists of number and variant."""
    folder = root / "fgvc-aircraft-2013b" / "data"
    folder.mkdir(parents=True)
    (folder / "variants.txt").write_text("\n".join(names) + "\n")
    for first, split in enumerate(("test", "trainval")):
        numbers = {f"{(first + 1) * 100_000 + 37 * n % 9973:07d}": name for n, name in enumerate(names)}
        for k, (number, _) in enumerate(numbers.items()):
            picture(folder / "images" / f"{number}.jpg", 1000 * first + k)
        lines = [f"{number} {name}" for number, name in numbers.items()]
        (folder / f"images_variant_{split}.txt").write_text("\n".join(lines) + "\n")
    return root


def pets(root: Path, names: Sequence[str]) -> Path:
    """oxford-iiit-pet: one folder of pictures and lists of name, class, species and breed."""
    folder = root / "oxford-iiit-pet"
    (folder / "annotations").mkdir(parents=True)
    for first, split in enumerate(("test", "trainval")):
        stems = [f"{name.replace(' ', '_')}_{first + 1}" for name in names]
        for number, stem in enumerate(stems):
            picture(folder / "images" / f"{stem}.jpg", 1000 * first + number)
        lines = [f"{stem} {number + 1} 1 1" for number, stem in enumerate(stems)]
        (folder / "annotations" / f"{split}.txt").write_text("\n".join(lines) + "\n")
    return root


def flowers102(root: Path) -> Path:
    """flowers-102: pictures by number and two Matlab files; picture n of the test set shows flower 103 - n."""
    folder = root / "flowers-102"
    labels = np.array([*range(102, 0, -1), *range(1, 103)], np.uint8)
    for number in range(1, 205):
        picture(folder / "jpg" / f"image_{number:05d}.jpg", number)
    scipy.io.savemat(folder / "imagelabels.mat", {"labels": labels[None]})
    lists = {"tstid": np.arange(1, 103), "trnid": np.arange(103, 205), "valid": np.arange(1, 2)}
    scipy.io.savemat(folder / "setid.mat", {name: row[None].astype(np.uint16) for name, row in lists.items()})
    return root


def imagenet_kit(root: Path, wnids: Sequence[str], ids: Sequence[int], n_inner: int = 3) -> None:
    """The development kit: its own number of each class, which is not the label; inner nodes of WordNet come last."""
    folder = root / "ILSVRC2012_devkit_t12" / "data"
    folder.mkdir(parents=True)
    kind = [("ILSVRC2012_ID", object), ("WNID", object), ("words", object), ("gloss", object), ("num_children", object)]
    synsets = np.zeros((len(wnids) + n_inner, 1), kind)
    numbers = np.random.default_rng(0).permutation(len(wnids)) + 1
    for row, (number, wnid) in enumerate(zip(numbers, wnids, strict=True)):
        synsets[row, 0] = (int(number), wnid, "a word", "a gloss", 0)
    for row in range(n_inner):
        synsets[len(wnids) + row, 0] = (len(wnids) + row + 1, f"n9999999{row}", "inner", "inner", 2)
    scipy.io.savemat(folder / "meta.mat", {"synsets": synsets})
    truth = "\n".join(str(numbers[label]) for label in ids)
    (folder / "ILSVRC2012_validation_ground_truth.txt").write_text(truth + "\n")


def parquet(
    folder: Path, split: str, pictures: Sequence[bytes], labels: Sequence[int], names: Sequence[str], **columns: str
) -> Path:
    """`data/<split>-00000-of-00001.parquet` as the hub's data sets have it, with the names of the classes."""
    import datasets

    image, label = columns.get("image", "image"), columns.get("label", "label")
    stems = columns.get("paths", "").split()
    values = [{"bytes": content, "path": stems[n] if stems else None} for n, content in enumerate(pictures)]
    features = datasets.Features({image: datasets.Image(), label: datasets.ClassLabel(names=list(names))})
    (folder / "data").mkdir(parents=True, exist_ok=True)
    rows = datasets.Dataset.from_dict({image: values, label: list(labels)}, features=features)
    rows.to_parquet(folder / "data" / f"{split}-00000-of-00001.parquet")
    return folder
