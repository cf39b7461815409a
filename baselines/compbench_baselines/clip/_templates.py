"""Prompt templates: a class is what CLIP makes of its name in many sentences, averaged. Torch-free.

"a photo of a {}.", "a blurry photo of a {}." and so on: the embeddings of all sentences of a class are normalised,
averaged and normalised again (Radford et al. 2021, section 3.1.4). The lists and their sources are in templates.toml.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from importlib.resources import files
from pathlib import Path

import numpy as np

from compbench.core import disk
from compbench.core.aliases import Floats
from compbench.core.digests import digest_of
from compbench.core.errors import DataError, UsageError
from compbench.core.examples import Classes, Task

__all__ = ["OPTION", "class_embeddings", "digest_for", "named", "sentences", "templates_for", "words_of"]

OPTION: Mapping[str, str] = {
    "help": "sentences to put a class's name into and average: auto (those published for the data set, if any), "
    "none (the task's own captions), or a file with one template per line"
}


def templates_for(option: str, task: Task) -> tuple[str, ...]:
    """The templates of a task: those of its data set (auto), none at all, or the lines of a file.

    None for a task that is not a classification, and none by auto for one whose data set has no list.
    """
    if task.classes is None or option == "none":
        return ()
    if option == "auto":
        return named().get(task.name, ())
    return _from_file(disk.expanded(option))


def digest_for(option: str, task: Task) -> str | None:
    """The digest of the templates and the names that a task is classified with; None without templates."""
    chosen = templates_for(option, task)
    return digest_of([chosen, words_of(task.classes) if task.classes else ()]) if chosen else None


def sentences(templates: Sequence[str], classes: Classes) -> dict[int, list[str]]:
    """Class to its sentences, in the words that the prompts use for it.

    >>> sentences(("a {}.", "the {}."), Classes(("cat", "dog"), (0, 1)))
    {0: ['a cat.', 'the cat.'], 1: ['a dog.', 'the dog.']}
    """
    return {
        label: [template.replace("{}", words) for template in templates]
        for label, words in enumerate(words_of(classes))
    }


def words_of(classes: Classes) -> tuple[str, ...]:
    """The words for each class in a sentence: never a file's name, nor a suffix that tells two classes apart."""
    return classes.words or classes.names


def class_embeddings(
    task: Task, templates: Sequence[str], embed: Callable[[Sequence[str]], Floats]
) -> dict[str, Floats]:
    """Each caption to the embedding of its class, [d] float32 of unit length; `embed` gives unit rows [n, d].

    Classes of the same words tie. DataError where two classes of different words share a caption.
    """
    classes = task.classes
    assert classes is not None  # or there would be no templates
    of_class: dict[int, Floats] = {}
    for label, texts in sentences(templates, classes).items():
        mean = embed(texts).astype(np.float64).mean(0)
        of_class[label] = (mean / np.linalg.norm(mean)).astype(np.float32)
    words, named_by = words_of(classes), dict[str, int]()
    for caption, label in zip(task.examples[0].captions, classes.of_caption, strict=True):
        other = named_by.setdefault(caption, label)
        if words[other] != words[label]:
            raise DataError(
                f"task {task.name!r}: caption {caption!r} stands for {words[other]!r} and for "
                f"{words[label]!r}; templates need a caption for each, or -o templates=none"
            )
    return {caption: of_class[label] for caption, label in named_by.items()}


@cache
def named() -> Mapping[str, tuple[str, ...]]:
    """Task to its templates, from the lists that others have published."""
    lists = tomllib.loads(files("compbench_baselines").joinpath("templates.toml").read_text(encoding="utf-8"))
    return {task: tuple(group["templates"]) for group in lists.values() for task in group["tasks"]}


def _from_file(path: Path) -> tuple[str, ...]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(
            f"option 'templates' cannot be {str(path)!r} ({error}); expected auto, none or a file"
        ) from error
    lines = [line.strip() for line in text.split("\n")]
    templates = tuple(line for line in lines if line and not line.startswith("#"))
    for number, template in enumerate(templates, 1):
        if template.count("{}") != 1:
            raise DataError(
                f"template {number} of {str(path)!r}, {template!r}, has {template.count('{}')} places for the "
                "name of a class; expected one {}"
            )
    if not templates:
        raise DataError(f"{str(path)!r} has no templates; expected one per line, such as: a photo of a {{}}.")
    return templates
