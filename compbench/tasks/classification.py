"""Zero-shot and class-conditional classification: the data sets of "Your Diffusion Model is Secretly a Zero-Shot
Classifier" (Li et al., ICCV 2023), and a folder of your own.

Every example has one picture; all share the captions, one or more for each class. The prompts are the published ones
(prompts/README.md says where from); `--prompts FILE` takes others. `--data PATH` is a folder in the source's own
layout (as torchvision keeps it), a copy of the hub's data set, or one folder for each class; without it the hub's data
set is fetched, where there is one. The pictures and their ids are the same whichever way. The training split, for
models that learn from one, is read when such a model asks for it.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import PIL.Image

from compbench.metrics import CLASSIFYING
from compbench.tasks import arrays, prompt_files
from compbench.tasks.digests import file_stamp, with_digests
from compbench.tasks.folders import class_folders, read_folders, split_folder
from compbench.tasks.hub_images import HubData, is_copy, read_hub
from compbench.tasks.prompt_files import Prompts
from compbench.tasks.splits import Layout, Picture, Split, same_name
from compbench.types import Classes, DataError, Example, Image, Task

__all__ = ["DataSet", "PromptFiles", "cifar10", "examples_of", "imagefolder", "load"]

PromptFiles = Path | Sequence[Path] | None


@dataclass(frozen=True, slots=True)
class DataSet:
    """What there is to know of a data set before it is read."""

    name: str
    about: str
    citation: str
    layouts: tuple[Layout, ...] = ()
    hub: HubData | None = None
    source: str = ""  # where to get it, for a message
    has_training: bool = True
    has_unique_names: bool = False  # no two of its files have the same name, so that a class's folder says nothing
    is_pixels: bool = False  # published as pixels: every copy is one picture, however it was encoded
    border_px: int = 0  # cut off on every side
    ignores_others: bool = False  # folders of classes that are no part of the task
    label_space: str = ""
    aliases: Callable[[], Sequence[Sequence[str]]] | None = None  # further names of each class
    labels: Callable[[], Sequence[int]] | None = None  # of each class in `label_space`


def load(data_set: DataSet, data: Path | None, is_offline: bool, prompts: PromptFiles) -> Task:
    """The task: its test split now, its training split when asked for."""
    known = _known(data_set)
    asked = _asked(data_set, known, prompts)
    read = partial(_read, data_set, known, None if data is None else data.expanduser(), is_offline)
    split = read("test")
    examples = with_digests(
        examples_of(split, "test", asked, partial(_file_name, data_set, known)),
        [data_set.name, *map(file_stamp, dict.fromkeys(split.origin))],
    )
    labels = None if data_set.labels is None else data_set.labels()
    return Task(
        name=data_set.name,
        examples=_cropped(examples, data_set.border_px),
        metrics=CLASSIFYING,
        description=f"{data_set.about}\n\n{__doc__ or ''}",
        citation=data_set.citation,
        tag_order={"class": asked.names},
        classes=Classes(
            asked.names,
            asked.of_caption,
            data_set.label_space,
            None if labels is None else tuple(labels[place] for place in asked.of_caption),
        ),
        training=partial(_training, data_set, known, asked, read) if data_set.has_training else None,
    )


def examples_of(
    split: Split, split_name: str, prompts: Prompts, file_name: Callable[[Picture], str]
) -> tuple[Example, ...]:
    """An example for each picture, by id; captions and each class's matches are shared objects."""
    of_caption = np.array(prompts.of_caption)
    matches = [of_caption[None] == place for place in range(len(prompts.names))]  # each [1, C]
    for each in matches:
        each.setflags(write=False)
    examples = [
        Example(
            id=(name := f"{split_name}/{file_name(picture)}"),
            images=(Image(name, picture.source),),
            captions=prompts.captions,
            matches=matches[picture.label],
            tags={"class": (prompts.names[picture.label],)},
        )
        for picture in split.pictures
    ]
    return tuple(sorted(examples, key=lambda each: each.id))


def _known(data_set: DataSet) -> list[tuple[str, ...]]:
    """The names that each class goes by, the shipped one first."""
    names = prompt_files.shipped(data_set.name).names
    further = data_set.aliases() if data_set.aliases is not None else [()] * len(names)
    return [(name, *more) for name, more in zip(names, further, strict=True)]


def _asked(data_set: DataSet, known: Sequence[Sequence[str]], prompts: PromptFiles) -> Prompts:
    """The prompts to be used; every class has a name of its own."""
    files = [prompts] if isinstance(prompts, Path | str) else list(prompts or ())
    asked = prompt_files.read_prompts(files, known) if files else prompt_files.shipped(data_set.name)
    times = Counter(asked.names)
    names = tuple(
        f"{name} ({known[n][1]})" if times[name] > 1 and len(known[n]) > 1 else name
        for n, name in enumerate(asked.names)
    )
    return replace(asked, names=names)


def _read(
    data_set: DataSet, known: Sequence[Sequence[str]], data: Path | None, is_offline: bool, split_name: str
) -> Split:
    split, where = _found(data_set, known, data, is_offline, split_name)
    if split.labels is not None:
        _check_order(split.labels, known, where)
    seen = {picture.label for picture in split.pictures}
    if lacking := [names[0] for n, names in enumerate(known) if n not in seen]:
        raise DataError(
            f"{where}: {len(lacking)} of {len(known)} classes have no picture in the {split_name} split, "
            f"{lacking[0]!r} the first; expected the whole data set"
        )
    if data_set.is_pixels:
        pictures = [replace(each, source=partial(_pixels, Image(each.name, each.source))) for each in split.pictures]
        return replace(split, pictures=pictures)
    return split


def _found(
    data_set: DataSet, known: Sequence[Sequence[str]], data: Path | None, is_offline: bool, split_name: str
) -> tuple[Split, str]:
    """The split in whichever way it is there, and where that was."""
    if data is None:
        if data_set.hub is None:
            raise DataError(
                f"{data_set.name} is on no hub that compbench reads; get it from {data_set.source} and give --data PATH"
            )
        return read_hub(data_set.hub, split_name, None, is_offline), data_set.hub.repo
    if not data.is_dir():
        raise DataError(f"no folder {str(data)!r}; expected {_expected(data_set)}")
    for layout in data_set.layouts:
        if (root := layout.root(data)) is not None:
            return layout.read(root, split_name), str(root)
    if is_copy(data):
        return read_hub(data_set.hub or HubData(data_set.name), split_name, data, is_offline), str(data)
    return read_folders(data, split_name, known, ignores_others=data_set.ignores_others), str(data)


def _expected(data_set: DataSet) -> str:
    layouts = [f"{layout.folder}/" for layout in data_set.layouts]
    return f"{' or '.join([*layouts, 'one folder for each class'])} of {data_set.name}, from {data_set.source}"


def _check_order(labels: Sequence[str], known: Sequence[Sequence[str]], where: str) -> None:
    """DataError unless the source's own label file has our classes in our order."""
    if len(labels) != len(known):
        raise DataError(f"{where} has {len(labels)} classes; the task has {len(known)}")
    for n, (label, names) in enumerate(zip(labels, known, strict=True)):
        if not any(same_name(label, name) for name in names):
            raise DataError(
                f"class {n} of {where} is {label!r}, and of the task {names[0]!r}; expected the published label file"
            )


def _training(
    data_set: DataSet, known: Sequence[Sequence[str]], asked: Prompts, read: Callable[[str], Split]
) -> Sequence[Example]:
    examples = examples_of(read("train"), "train", asked, partial(_file_name, data_set, known))
    return _cropped(examples, data_set.border_px)


def _file_name(data_set: DataSet, known: Sequence[Sequence[str]], picture: Picture) -> str:
    """What an id says of a picture: the same for every copy of the data set."""
    name = re.sub(r"_n\d{8}(?=\.\w+$)", "", picture.name) if data_set.label_space == "imagenet" else picture.name
    return name if data_set.has_unique_names else f"{known[picture.label][0]}/{name}"


def _pixels(image: Image) -> PIL.Image.Image:
    return image.decode().convert("RGB")


def _cropped(examples: tuple[Example, ...], border_px: int) -> tuple[Example, ...]:
    """The examples without the border of their pictures; the digest stays that of the file."""
    if not border_px:
        return examples
    return tuple(
        replace(each, images=tuple(replace(image, source=partial(_crop, image, border_px)) for image in each.images))
        for each in examples
    )


def _crop(image: Image, border_px: int) -> PIL.Image.Image:
    picture = image.decode()
    return picture.crop((border_px, border_px, picture.width - border_px, picture.height - border_px))


CIFAR10 = DataSet(
    name="cifar10",
    about="CIFAR-10: 10,000 test pictures of 32 x 32 pixels in 10 classes.",
    citation="""\
@techreport{krizhevsky2009learning,
  title = {Learning Multiple Layers of Features from Tiny Images},
  author = {Krizhevsky, Alex},
  institution = {University of Toronto},
  year = {2009},
}
""",
    layouts=(arrays.CIFAR10_PYTHON, arrays.CIFAR10_BINARY),
    hub=HubData("uoft-cs/cifar10", "0b2714987fa478483af9968de7c934580d0bb9a2", image="img"),
    source="https://www.cs.toronto.edu/~kriz/cifar.html",
    has_unique_names=True,
    is_pixels=True,
)


def cifar10(data: Path | None = None, is_offline: bool = False, prompts: PromptFiles = None) -> Task:
    """CIFAR-10."""
    return load(CIFAR10, data, is_offline, prompts)


def imagefolder(data: Path | None = None, prompts: PromptFiles = None) -> Task:
    """Your own pictures: `--data PATH` with one folder for each class (or `test` and `train` of them).

    The classes are the folders in alphabetical order, the prompts "a photo of a CLASS." unless `--prompts` has others.
    """
    if data is None:
        raise DataError("imagefolder needs --data PATH: a folder with one folder of pictures for each class")
    place = data.expanduser()
    if not place.is_dir():
        raise DataError(f"no folder {str(place)!r}; expected one with a folder of pictures for each class")
    folders = [(each.name,) for each in class_folders(split_folder(place, "test"))]
    if len(folders) < 2:
        raise DataError(f"{str(place)!r} has {len(folders)} folders of classes; expected two or more")
    files = [prompts] if isinstance(prompts, Path | str) else list(prompts or ())
    spoken = [(f"a photo of a {name.replace('_', ' ')}.", n) for n, (name,) in enumerate(folders)]
    names = tuple(name for (name,) in folders)
    asked = prompt_files.read_prompts(files, folders) if files else Prompts(names, (), ()).captioned(spoken)
    own = DataSet("imagefolder", imagefolder.__doc__ or "", "")
    split = read_folders(place, "test", folders)
    examples = examples_of(split, "test", asked, partial(_file_name, own, folders))
    return Task(
        name="imagefolder",
        examples=with_digests(examples, [str(place), *map(file_stamp, split.origin)]),
        metrics=CLASSIFYING,
        description=imagefolder.__doc__ or "",
        tag_order={"class": asked.names},
        classes=Classes(asked.names, asked.of_caption),
        training=partial(_training, own, folders, asked, partial(_read, own, folders, place, True)),
    )
