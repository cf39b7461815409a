"""Classification tasks from data sets of labelled pictures, in whichever layout.

`--data PATH` is a folder in the source's own layout (as torchvision keeps it), a copy of the hub's data set, or one
folder for each class; without it the hub's data set is fetched, where there is one. The pictures and their ids are the
same whichever way. Every example has one picture; all share the captions, one or more for each class.
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

from compbench.core import disk
from compbench.core.aliases import Bools
from compbench.core.errors import DataError
from compbench.core.examples import Classes, Example, Image, Task
from compbench.core.metrics import CLASSIFYING
from compbench.tasks._reading.digests import file_stamp, with_digests
from compbench.tasks._reading.hub_images import HubData, is_copy, read_hub
from compbench.tasks._reading.names import ClassNames, nfc
from compbench.tasks.classification import _prompt_files
from compbench.tasks.classification._folders import class_folders, read_folders, split_folder
from compbench.tasks.classification._prompt_files import Prompts
from compbench.tasks.classification._splits import Layout, Picture, Split
from compbench.tasks.classification.imagenet_training import FromImageNet

__all__ = ["DataSet", "PromptFiles", "chosen_prompts", "examples_of", "load", "load_folder"]

PromptFiles = Path | Sequence[Path] | None
_WNID = re.compile(r"_(n\d{8})(?=\.\w+$)")  # the hub's ImageNet adds it to a file's name


@dataclass(frozen=True, slots=True)
class DataSet:
    """The facts about a data set that are known before it is read."""

    name: str
    about: str
    citation: str
    layouts: tuple[Layout, ...] = ()
    hub: HubData | None = None
    source: str = ""  # where to get it, for a message
    n_published: int | None = None  # pictures of its test split
    has_training: bool = True  # False: models learn from ImageNet's, whose labels its classes have
    has_unique_names: bool = False  # no two of its files have the same name, so that a class's folder says nothing
    is_pixels: bool = False  # published as pixels: every copy is one picture, however it was encoded
    border_px: int = 0  # cut off on every side
    ignores_others: bool = False  # folders of classes that are not part of the task
    label_space: str = ""
    aliases: Callable[[], Sequence[Sequence[str]]] | None = None  # further names of each class
    labels: Callable[[], Sequence[Sequence[int]]] | None = None  # in `label_space`, of each class one or several


def load(data_set: DataSet, data: Path | None, is_offline: bool, prompts: PromptFiles) -> Task:
    """The task: its test split now, its training split when asked for."""
    shipped = _prompt_files.shipped(data_set.name)
    further = data_set.aliases() if data_set.aliases is not None else [()] * len(shipped.names)
    known = [(name, *more) for name, more in zip(shipped.names, further, strict=True)]
    place = None if data is None else disk.expanded(data)
    asked = chosen_prompts(shipped, known, prompts)
    task = _task(data_set, known, asked, partial(_read, data_set, known, place, is_offline))
    if data_set.has_training or data_set.labels is None:
        return task
    from_imagenet = FromImageNet(data_set.name, place, data_set.labels(), partial(_examples, asked))
    return replace(task, training=from_imagenet)


def load_folder(data_set: DataSet, place: Path, prompts: PromptFiles) -> Task:
    """The task of a folder with one folder for each class: these in alphabetical order are the classes.

    The prompts are "a photo of a CLASS." unless there are `prompts`.
    """
    if not place.is_dir():
        raise DataError(f"no folder {str(place)!r}; expected one with a folder of pictures for each class")
    own = dict.fromkeys(nfc(folder.name) for folder in class_folders(split_folder(place, "test")))
    known = [(name,) for name in own]
    if len(known) < 2:
        raise DataError(f"{str(place)!r} has {len(known)} folders of classes; expected two or more")
    names = tuple(name for (name,) in known)
    spoken = tuple(f"a photo of a {name.replace('_', ' ')}." for name in names)
    own = Prompts(names, spoken, tuple(range(len(names))))
    return _task(data_set, known, chosen_prompts(own, known, prompts), partial(_read, data_set, known, place, True))


def examples_of(split: Split, ids: Sequence[str], prompts: Prompts) -> tuple[Example, ...]:
    """An example for each picture of a split, by id; captions and each class's matches are shared objects."""
    matches = _matches(prompts)
    examples = [
        Example(
            id=example_id,
            images=(Image(example_id, picture.source),),
            captions=prompts.captions,
            matches=matches[picture.label],
            tags={"class": (prompts.names[picture.label],)},
        )
        for example_id, picture in zip(ids, split.pictures, strict=True)
    ]
    return tuple(sorted(examples, key=lambda each: each.id))


def _examples(prompts: Prompts, split: Split, ids: Sequence[str]) -> tuple[Example, ...]:
    return examples_of(split, ids, prompts)


def chosen_prompts(shipped: Prompts, known: Sequence[Sequence[str]], prompts: PromptFiles) -> Prompts:
    """The prompts to be used; every class has a name of its own."""
    files = [prompts] if isinstance(prompts, Path | str) else list(prompts or ())
    asked = _prompt_files.read_prompts(files, known) if files else shipped
    times = Counter(asked.names)
    names = tuple(
        f"{name} ({known[n][1]})" if times[name] > 1 and len(known[n]) > 1 else name
        for n, name in enumerate(asked.names)
    )
    return replace(asked, names=names, words=_prompt_files.words_of(asked))


def _task(data_set: DataSet, known: Sequence[Sequence[str]], asked: Prompts, read: Callable[[str], Split]) -> Task:
    split = read("test")
    made = examples_of(split, _ids(data_set, known, split, "test"), asked)
    origin = [data_set.name, *map(file_stamp, dict.fromkeys(split.origin))]
    task = Task(
        name=data_set.name,
        examples=_cropped(with_digests(made, origin), data_set.border_px),
        metrics=CLASSIFYING,
        description=data_set.about,
        citation=data_set.citation,
        tag_order={"class": asked.names},
        classes=Classes(asked.names, asked.of_caption, data_set.label_space, _one_label(data_set, asked), asked.words),
        training=partial(_training, data_set, known, asked, read) if data_set.has_training else None,
        notes=tuple(f"{data_set.name}: {note}" for note in (*_size_note(data_set, len(made)), *split.notes)),
    )
    return replace(task, labelled=_labelled(data_set, task))


def _size_note(data_set: DataSet, n_here: int) -> tuple[str, ...]:
    """The note that there are fewer or more pictures than were published."""
    if data_set.n_published in (None, n_here):
        return ()
    return (f"{n_here:,} pictures in the test split; the published one has {data_set.n_published:,}",)


def _one_label(data_set: DataSet, asked: Prompts) -> tuple[int, ...] | None:
    """The label of each caption, where every class has exactly one."""
    labels = data_set.labels() if data_set.labels is not None else ()
    if not labels or any(len(label) > 1 for label in labels):
        return None
    return tuple(labels[place][0] for place in asked.of_caption)


def _labelled(data_set: DataSet, task: Task) -> Task | None:
    """The same pictures with a caption for each label, the prompt of ImageNet's class: the best one speaks for its
    class, as the best prompt does. None where a class has one label, and `task` says it.
    """
    labels = data_set.labels() if data_set.labels is not None else ()
    if all(len(label) == 1 for label in labels) or task.classes is None:
        return None
    names, spoken = task.classes.names, _prompt_files.shipped("imagenet").captions
    pairs = [(label, place) for place, own in enumerate(labels) for label in own]
    prompts = Prompts(names, tuple(spoken[label] for label, _ in pairs), tuple(place for _, place in pairs))
    matches = _matches(prompts)
    place_of = {name: place for place, name in enumerate(names)}
    examples = [
        replace(example, captions=prompts.captions, matches=matches[place_of[example.tags["class"][0]]])
        for example in task.examples
    ]
    classes = Classes(
        names, prompts.of_caption, data_set.label_space, tuple(label for label, _ in pairs), task.classes.words
    )
    return replace(task, examples=tuple(examples), classes=classes)


def _matches(prompts: Prompts) -> list[Bools]:
    """[1, C] of each class; not to be written to, since many examples share it."""
    of_caption = np.array(prompts.of_caption)
    matches: list[Bools] = [of_caption[None] == place for place in range(len(prompts.names))]
    for match in matches:
        match.setflags(write=False)
    return matches


def _read(
    data_set: DataSet, known: Sequence[Sequence[str]], data: Path | None, is_offline: bool, split_name: str
) -> Split:
    split, where = _found(data_set, known, data, is_offline, split_name)
    if split.labels is not None:
        _check_order(split.labels, known, where)
    for picture in split.pictures:
        _check_label(picture, known, where)
    seen = {picture.label for picture in split.pictures}
    if lacking := [names[0] for n, names in enumerate(known) if n not in seen]:
        raise DataError(
            f"{where}: {len(lacking)} of {len(known)} classes have no picture in the {split_name} split, "
            f"{lacking[0]!r} the first; expected the whole data set"
        )
    if data_set.is_pixels:
        pictures = [
            replace(picture, source=partial(_pixels, Image(picture.name, picture.source))) for picture in split.pictures
        ]
        return replace(split, pictures=pictures)
    return split


def _found(
    data_set: DataSet, known: Sequence[Sequence[str]], data: Path | None, is_offline: bool, split_name: str
) -> tuple[Split, str]:
    """The split in whichever way it is there, and where that was."""
    if data is None:
        if data_set.hub is None:
            raise DataError(
                f"{data_set.name} is not on a hub that compbench reads; get it from {data_set.source} and give "
                f"--data PATH"
            )
        return read_hub(data_set.hub, split_name, None, is_offline, known), data_set.hub.repo
    if not data.is_dir():
        raise DataError(f"no folder {str(data)!r}; expected {_expected(data_set)}")
    for layout in data_set.layouts:
        if (root := layout.root(data)) is not None:
            return layout.read(root, split_name), str(root)
    if is_copy(data):
        return read_hub(data_set.hub or HubData(data_set.name), split_name, data, is_offline, known), str(data)
    return read_folders(data, split_name, known, ignores_others=data_set.ignores_others), str(data)


def _expected(data_set: DataSet) -> str:
    layouts = [f"{layout.folder}/" for layout in data_set.layouts]
    return f"{' or '.join([*layouts, 'one folder for each class'])} of {data_set.name}, from {data_set.source}"


def _check_order(labels: Sequence[str], known: Sequence[Sequence[str]], where: str) -> None:
    """DataError unless the source's own label file has our classes in our order."""
    if len(labels) != len(known):
        raise DataError(f"{where} has {len(labels)} classes; the task has {len(known)}")
    names_of = ClassNames(known)
    for n, (label, names) in enumerate(zip(labels, known, strict=True)):
        if n not in names_of.numbers(label):
            raise DataError(
                f"class {n} of {where} is {label!r}, and of the task {names[0]!r}; expected the published label file"
            )


def _check_label(picture: Picture, known: Sequence[Sequence[str]], where: str) -> None:
    """DataError for a label outside the classes, or one that the WordNet id in the file's name denies."""
    if not 0 <= picture.label < len(known):
        raise DataError(
            f"picture {picture.name!r} of {where} has label {picture.label}; the task has {len(known)} classes"
        )
    wnid = _WNID.search(picture.name)
    if wnid is not None and wnid[1] not in known[picture.label]:
        raise DataError(
            f"picture {picture.name!r} of {where} has label {picture.label}, which is {known[picture.label][-1]}; "
            "expected the classes in the order of their WordNet ids"
        )


def _training(
    data_set: DataSet, known: Sequence[Sequence[str]], asked: Prompts, read: Callable[[str], Split]
) -> Sequence[Example]:
    split = read("train")
    return _cropped(examples_of(split, _ids(data_set, known, split, "train"), asked), data_set.border_px)


def _ids(data_set: DataSet, known: Sequence[Sequence[str]], split: Split, split_name: str) -> list[str]:
    """The same for every copy of the data set: the split and the file's name, with the class where names recur."""
    names = [picture.name for picture in split.pictures]
    if data_set.label_space == "imagenet":
        names = [_WNID.sub("", name) for name in names]
    if not data_set.has_unique_names or len(set(names)) < len(names):
        names = [f"{known[picture.label][0]}/{name}" for name, picture in zip(names, split.pictures, strict=True)]
    return [f"{split_name}/{name}" for name in names]


def _pixels(image: Image) -> PIL.Image.Image:
    return image.decode().convert("RGB")


def _cropped(examples: tuple[Example, ...], border_px: int) -> tuple[Example, ...]:
    """The examples without the border of their pictures; the digest stays that of the file."""
    if not border_px:
        return examples
    return tuple(
        replace(
            example, images=tuple(replace(image, source=partial(_crop, image, border_px)) for image in example.images)
        )
        for example in examples
    )


def _crop(image: Image, border_px: int) -> PIL.Image.Image:
    picture = image.decode()
    return picture.crop((border_px, border_px, picture.width - border_px, picture.height - border_px))
