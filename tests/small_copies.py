"""Every data set of the command in a small copy, one folder a task: a picture of each class, Winoground seven pairs."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import PIL.Image

import layouts_on_disk as layouts
from compbench.tasks.classification import _prompt_files
from winoground_files import write_parquet

__all__ = ["TASKS", "write"]


def write(root: Path, tasks: Iterable[str] | None = None) -> Path:
    """`<root>/<task>` in the layout of the task's source, for all of TASKS or some; `root` itself."""
    for task in TASKS if tasks is None else tasks:
        (root / task).mkdir(parents=True)
        TASKS[task](root / task)
    return root


def _aircraft(folder: Path) -> None:
    spelled = {"F-16A_B": "F-16A/B", "F_A-18": "F/A-18"}
    layouts.aircraft(folder, [spelled.get(name, name) for name in _names("fgvc-aircraft")])


def _imagenet_v2(folder: Path) -> None:
    names = [str(label) for label in range(1000)]
    _one_picture_each(folder / "imagenetv2-matched-frequency-format-val", names, lambda n: f"{n:04x}.jpeg")


def _imagenet_a(folder: Path) -> None:
    wnids = _prompt_files.wnids()
    names = [wnids[label] for (label,) in _prompt_files.labels("imagenet-a")]
    _one_picture_each(folder / "imagenet-a", names, lambda n: f"{n}.jpg")


TASKS: dict[str, Callable[[Path], object]] = {
    "winoground": write_parquet,
    "food101": lambda folder: layouts.food101(folder, _names("food101")),
    "cifar10": lambda folder: layouts.cifar_python(folder, range(10)),
    "fgvc-aircraft": _aircraft,
    "pets": lambda folder: layouts.pets(folder, [name.title() for name in _names("pets")]),
    "flowers102": layouts.flowers102,
    "stl10": lambda folder: layouts.stl10(folder, range(10)),
    "imagenet": lambda folder: _one_picture_each(
        folder / "val", _prompt_files.wnids(), lambda n: f"ILSVRC2012_val_{n + 1:08d}.JPEG"
    ),
    "imagenet-v2": _imagenet_v2,
    "imagenet-a": _imagenet_a,
    "objectnet": lambda folder: _one_picture_each(
        folder / "objectnet-1.0" / "images", [*_names("objectnet"), "squeegee"], lambda n: f"{n:x}.png"
    ),
    "imagefolder": lambda folder: layouts.class_folders(folder, ("red dog", "blue cat")),
}


def _names(task: str) -> tuple[str, ...]:
    return _prompt_files.shipped(task).names


def _one_picture_each(root: Path, names: Sequence[str], file_name: Callable[[int], str]) -> None:
    """A picture in each folder, none like another."""
    for number, name in enumerate(names):
        (root / name).mkdir(parents=True)
        path = root / name / file_name(number)
        out = io.BytesIO()
        PIL.Image.fromarray(layouts.pixels(number, 12)).save(out, "PNG" if path.suffix == ".png" else "JPEG")
        path.write_bytes(out.getvalue())
