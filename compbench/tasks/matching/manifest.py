"""Your own pictures and captions: a folder with metadata.jsonl, .csv, .tsv, .json or .parquet beside the pictures.

A row is an example. Its columns, of which the first three forms need no thought:

- image, caption, foil: one picture, its caption, and one that is wrong; wrong_1, wrong_2 ... for more of them
- image_0, image_1, caption_0, caption_1: caption_0 is true of image_0, caption_1 of image_1; counted from 0 or from 1
- image_0, image_1, caption: the caption is true of the first picture
- images, captions: lists, in JSON, of any length; matches, a list of 1 and 0 for each picture, says which captions are
  true of it. Without it: the n-th caption of the n-th picture; of one picture or one caption the first of the others

file_name stands for image and text for caption, as in an image folder of the Hugging Face hub. id names the example
(else the number of its row), group those that share a source. Every other column is a tag, several apart by ";".
Names of pictures are relative to the folder and never leave it. Examples may be of different shapes.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from compbench.core import disk
from compbench.core.errors import DataError, UsageError
from compbench.core.examples import Example, Task
from compbench.core.links import n_outside
from compbench.core.metrics import MATCHING
from compbench.registry.task_names import MANIFESTS, on_lost_letters
from compbench.tasks._reading.digests import file_stamp, with_digests
from compbench.tasks._reading.numbered_rows import is_by_line, rows_of
from compbench.tasks._reading.scan import folders_in
from compbench.tasks.matching._manifest_columns import columns_of
from compbench.tasks.matching._manifest_pictures import Pictures
from compbench.tasks.matching._manifest_rows import example_of
from compbench.tasks.matching._problems import Problem, Problems, merged

__all__ = ["Inspection", "Problem", "inspect", "manifest", "merged"]

_MOST_TOLD = 10  # problems in the one message of a run; `compbench check` tells them all
_MOST_TAGS = 100  # columns
_EXPECTED = ", ".join(MANIFESTS)


@dataclass(frozen=True)
class Inspection:
    """The contents of a manifest, and everything that is wrong with it."""

    file: Path
    examples: Sequence[Example]  # those that are whole
    problems: Sequence[Problem]  # the first thousand
    n_problems: int
    formats: Mapping[str, int]  # of the pictures that can be read: how many of each
    sizes: frozenset[tuple[int, int]]  # width, height of these
    files: Sequence[Path]  # of pictures, each once
    notes: tuple[str, ...]

    @property
    def shapes(self) -> Mapping[tuple[int, int], int]:
        """The number of examples for each shape (I, C) of pictures and captions."""
        return Counter(example.shape for example in self.examples)

    @property
    def tags(self) -> Mapping[str, Mapping[str, int]]:
        """Column -> tag -> how many examples have it."""
        counted: dict[str, Counter[str]] = {}
        for example in self.examples:
            for column, values in example.tags.items():
                counted.setdefault(column, Counter()).update(values)
        return counted


def manifest(place: Path, name: str, *, skip_unreadable: bool = False) -> Task:
    """The task in a folder with a manifest, or in the manifest itself; no picture is decoded.

    DataError tells the first problems where there are any. With `skip_unreadable` pictures that are there and cannot
    be read are none: whoever measures leaves their examples out.
    """
    found = inspect(place)
    told = [problem for problem in found.problems if not (skip_unreadable and problem.is_of_picture)]
    if told:
        raise DataError(_told(found, told, place))
    examples = with_digests(found.examples, [file_stamp(path) for path in sorted(found.files)])
    notes = (*on_lost_letters(place, name), *found.notes)
    return Task(name, examples, MATCHING, _description(found), folder=found.file.parent, notes=notes)


def inspect(place: Path) -> Inspection:
    """All that a manifest holds, its pictures known by their headers; DataError where there is no manifest to read."""
    file = _file(disk.expanded(place))
    problems = Problems(file.name, "line" if is_by_line(file) else "row")
    pictures = Pictures(file.parent)
    examples: list[Example] = []
    line_of: dict[str, int] = {}
    alike: dict[str, None] = {}
    answers: dict[str, None] = {}
    for number, row in enumerate(rows_of(file), 1):
        columns = columns_of(tuple(row.cells))
        alike.update(dict.fromkeys(columns.alike))
        answers.update(dict.fromkeys(columns.answers))
        example = example_of(row, number, pictures, problems)
        if example is None:
            continue
        if example.id in line_of:
            problems.add(row.number, "id", f"{example.id!r} is the id of {problems.unit} {line_of[example.id]} too")
        line_of.setdefault(example.id, row.number)
        examples.append(example)
    if not examples and not problems.n_all:
        problems.add(None, "", "holds no example; expected a row for each")
    untagged = {column: () for example in examples for column in example.tags}
    if len(untagged) > _MOST_TAGS:
        problems.add(None, "", f"has {len(untagged):,} columns of tags; expected at most {_MOST_TAGS}")
        untagged = {}
    whole, n_sharing = _grouped([replace(example, tags={**untagged, **example.tags}) for example in examples])
    return Inspection(
        file,
        whole,
        problems.kept,
        problems.n_all,
        pictures.formats,
        frozenset(pictures.sizes),
        pictures.paths(),
        (
            *_on_columns(file, tuple(alike)),
            *_on_answers(file, tuple(answers)),
            *_on_groups(file, n_sharing),
            *_on_shares(file, whole, any(example.group for example in examples)),
        ),
    )


def outside(found: Inspection) -> int:
    """The number of pictures that are links out of the folder; DataError where links are not followed."""
    return n_outside(found.files, found.file.parent)


def _grouped(examples: list[Example]) -> tuple[list[Example], int]:
    """The examples, those of the same pictures in one group unless the manifest has groups; and how many are in one."""
    if any(example.group for example in examples):
        return examples, 0
    of_pictures: dict[frozenset[str], list[Example]] = {}
    for example in examples:
        of_pictures.setdefault(frozenset(image.name for image in example.images), []).append(example)
    shared = {example.id: alike[0].id for alike in of_pictures.values() if len(alike) > 1 for example in alike}
    return [
        replace(example, group=shared[example.id]) if example.id in shared else example for example in examples
    ], len(shared)


def _file(place: Path) -> Path:
    """The manifest in a folder, or the one given; UsageError or DataError where there is none, or more than one."""
    if not os.path.exists(place):  # not Path.exists, which raises for a name that is too long
        raise DataError(f"no file or folder {str(place)!r}; expected a folder with {_EXPECTED}")
    if not os.path.isdir(place):
        return place
    found = [place / name for name in MANIFESTS if os.path.exists(place / name)]
    if len(found) > 1:
        names = " and ".join(file.name for file in found)
        raise UsageError(f"{str(place)!r} holds {names}; name one of them: {found[0]}")
    if not found:
        inner = next(
            (folder / name for folder in folders_in(place) for name in MANIFESTS if os.path.exists(folder / name)), None
        )
        hint = "" if inner is None else f"; there is one in {str(inner.parent)!r}: give that folder"
        raise DataError(f"no table of examples in {str(place)!r}; expected one of {_EXPECTED}{hint}")
    return found[0]


def _told(found: Inspection, told: Sequence[Problem], place: Path) -> str:
    n_problems = found.n_problems - (len(found.problems) - len(told))
    what = "a problem" if n_problems == 1 else f"{n_problems:,} problems"
    shown = merged(told)[:_MOST_TOLD]
    named = "; ".join(str(problem) for problem, _ in shown)
    n_more = n_problems - sum(n for _, n in shown)
    more = f"; ... and {n_more:,} more (compbench check {place})" if n_more else ""
    return f"{str(found.file)!r} has {what}: {named}{more}"


def _on_columns(file: Path, alike: Sequence[str]) -> tuple[str, ...]:
    """The note on columns that might be taken for something else than tags."""
    if not alike:
        return ()
    is_read = "is read as a tag" if len(alike) == 1 else "are read as tags"
    return (f"{file.name}: {', '.join(map(repr, alike[:5]))} {is_read}, not as pictures or captions",)


def _on_answers(file: Path, answers: Sequence[str]) -> tuple[str, ...]:
    """The note on columns that seem to say which caption is right, where their order is what says it."""
    if not answers:
        return ()
    is_read = "is read as a tag and does" if len(answers) == 1 else "are read as tags and do"
    return (
        f"{file.name}: {', '.join(map(repr, answers[:5]))} {is_read} not say which caption is right; of several "
        "captions of one picture, or pictures of one caption, the first is: a column matches says otherwise",
    )


def _on_shares(file: Path, examples: Sequence[Example], is_grouped: bool) -> tuple[str, ...]:
    """The note on examples that have some of their pictures from another one, which no group says."""
    if is_grouped:
        return ()
    of_picture: dict[str, set[str]] = {}
    for example in examples:
        for image in example.images:
            of_picture.setdefault(image.name, set()).add(example.group or example.id)
    n = sum(any(len(of_picture[image.name]) > 1 for image in example.images) for example in examples)
    if not n:
        return ()
    return (
        f"{file.name}: {n:,} examples share some of their pictures with another and not all; intervals treat them as "
        "independent (a column named group says which are not)",
    )


def _on_groups(file: Path, n_sharing: int) -> tuple[str, ...]:
    if not n_sharing:
        return ()
    return (
        f"{file.name}: {n_sharing:,} examples share their pictures with another; intervals treat those as one "
        f"source (a column named group overrides this)",
    )


def _description(found: Inspection) -> str:
    shapes = ", ".join(f"{n_images}x{n_captions}" for n_images, n_captions in sorted(found.shapes))
    return f"Own pictures and captions from {found.file.name}: examples of {shapes} pictures and captions."
