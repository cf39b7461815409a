"""A suite is a row of data: where it comes from, how its files name images and captions, and what its paper prints.

`--data DIR` is a copy of the authors' files, pictures inside or in a folder beside them (`picture_folders`); without
it a pinned revision is fetched, where one is public. `--images DIR` is the folder of pictures that lie elsewhere, such
as COCO's. Pictures that are missing are counted and named before anything is measured.

A suite may be judged by several protocols, and figures of two of them cannot be compared. One that is not the
official one is asked for by name, `mmvp-vlm+2x2`, and stands in the task's name: in a run's key, its signature and
every table.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from compbench.core import disk
from compbench.core.aliases import Bools
from compbench.core.errors import DataError, UsageError
from compbench.core.examples import Example, Image, Task, Written
from compbench.core.metrics import BY_NAME
from compbench.core.models import Source
from compbench.core.sheets import TaskSheet
from compbench.core.suggestions import did_you_mean
from compbench.registry import hub
from compbench.registry.git_files import GitFiles
from compbench.tasks._reading.digests import file_stamp, with_digests
from compbench.tasks._reading.texts import check_text
from compbench.tasks.matching._suite_pictures import Folders, cropped
from compbench.tasks.matching._suite_rows import KEY, PLACE, SPLIT, Found, Reader, Row

__all__ = ["MATCHED", "OFFICIAL", "Fields", "Protocol", "Suite", "unchanged"]

OFFICIAL = "official"
MATCHED = ("text", "image", "group")
BOX = "\0box"  # a row's box, where the part within it is what is scored


def unchanged(rows: Sequence[Row]) -> Sequence[Row]:
    return rows


@dataclass(frozen=True, slots=True)
class Fields:
    """Which columns hold what, a column of several as a list. Of several images each has the caption in its place.

    Of one image the first `n_true` captions are true. `tags`: column of tags -> column of the row, or SPLIT. A missing
    value is not a tag.
    """

    images: tuple[str, ...]
    captions: tuple[str, ...]
    n_true: int = 1
    right: str = ""  # a column with the place of the right one, of one image's captions or one caption's images
    frames: str = ""  # a column with a folder whose pictures, in the order of their numbers, are the images
    places: str = ""  # a column with the places of those of them that are asked
    id: str = KEY
    group: str = ""  # of examples that are not independent; "", or where a row lacks it: those of one picture
    tags: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True, slots=True)
class Protocol:
    """A way to judge a suite: its metrics, and how its rows are changed first."""

    about: str
    metrics: tuple[str, ...]
    prepare: Callable[[Sequence[Row]], Sequence[Row]] = unchanged
    n_published: int | None = None  # where it asks other examples than the official one
    fields: Fields | None = None  # where it asks other columns


@dataclass(frozen=True)
class Suite:
    """A task that is called with where its files are."""

    name: str
    about: str
    citation: str
    origin: str  # where its files are to be had, with the revision that was read
    licence: str  # and gate, and size
    n_published: int | None  # examples under the official protocol; None where no source says it
    reader: Reader
    fields: Fields
    protocols: Mapping[str, Protocol]
    whose_pictures: str = ""  # "" where they are inside
    picture_folders: tuple[str, ...] = ()  # relative to DIR
    remote: Source | GitFiles | None = None  # a data set of the hub, or files of a repository
    tag_order: Mapping[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])

    def __call__(
        self,
        data: Path | None = None,
        images: Path | None = None,
        is_offline: bool = False,
        protocol: Sequence[str] = (),
        skip_unreadable: bool = False,
    ) -> Task:
        chosen = self._chosen(protocol)
        self._check_images(images)
        found = self._found(data, is_offline)
        rows = chosen.prepare(found.rows)
        fields = chosen.fields or self.fields
        pictures = self._pictures(data, images, found, rows, fields)
        examples = tuple(self._example(row, pictures, fields) for row in rows)
        self._check(examples, found)
        missing = pictures.check(may_lack=skip_unreadable) if isinstance(pictures, Folders) else ()
        stamped = dict.fromkeys([*found.files, *_files_of(pictures)])
        examples = with_digests(examples, [self.name, *protocol, *map(file_stamp, stamped)])
        return Task(
            name="+".join([self.name, *(choice for choice in protocol if choice != OFFICIAL)]),
            examples=_grouped(examples),
            metrics={name: BY_NAME[name] for name in chosen.metrics},
            description=self.description(chosen),
            citation=self.citation,
            tag_order=self.tag_order,
            folder=images,
            origin=found.origin,
            notes=tuple(
                f"{self.name}: {note}"
                for note in (*self._commit_note(found), *self._count_note(chosen, examples), *missing)
            ),
        )

    def description(self, chosen: Protocol) -> str:
        """A description of the suite: what it is, where it comes from, and its licence."""
        parts = [self.about, chosen.about, f"From {self.origin}. {self.licence}."]
        parts += [f"Pictures: {self.whose_pictures}."] if self.whose_pictures else []
        return "\n".join(part for part in parts if part)

    def sheet(self) -> TaskSheet:
        """The suite's protocols, and where its parts come from."""
        remote = "" if self.remote is None else "fetched" + ("" if self._is_pinned else ", at whatever main is")
        n = "" if self.n_published is None else f"{self.n_published:,}"
        facts = {
            "examples": n,
            "captions": f"{self.origin}; {remote or 'give --data DIR'}",
            "pictures": f"{self.whose_pictures}; give --images DIR" if self.whose_pictures else "with the captions",
            "licence": self.licence,
        }
        named = {f"{self.name}+{name}" if name != OFFICIAL else self.name: of for name, of in self.protocols.items()}
        return TaskSheet(
            self.about,
            {name: (protocol.metrics, protocol.about) for name, protocol in named.items()},
            {name: fact for name, fact in facts.items() if fact},
        )

    @property
    def _is_pinned(self) -> bool:
        return isinstance(self.remote, GitFiles) or (self.remote is not None and hub.is_pinned(self.remote))

    def _chosen(self, protocol: Sequence[str]) -> Protocol:
        if len(protocol) > 1:
            raise UsageError(f"task {self.name!r} takes one protocol, got {' and '.join(protocol)}")
        name = protocol[0] if protocol else OFFICIAL
        if name not in self.protocols:
            raise UsageError(f"task {self.name!r} has no protocol {name!r}; {did_you_mean(name, list(self.protocols))}")
        return self.protocols[name]

    def _found(self, data: Path | None, is_offline: bool) -> Found:
        place = None if data is None else disk.expanded(data)
        if place is not None and not place.exists():
            raise DataError(f"no file or folder {str(place)!r}; expected {self._wanted()}")
        found = None if place is None else self.reader.read(place)
        if found is None and self.remote is not None and (place is None or self.whose_pictures):
            place, origin = self._fetched(self.remote, is_offline)  # DIR has the pictures
            if (found := self.reader.read(place)) is not None:
                return replace(found, origin=origin, root=place)
        if found is not None:
            return found
        if place is None:
            raise DataError(f"{self.name} is not on a hub that compbench reads; give --data DIR with {self._wanted()}")
        raise DataError(f"no data of {self.name} in {str(place)!r}; expected {self._wanted()}")

    def _fetched(self, remote: Source | GitFiles, is_offline: bool) -> tuple[Path, str]:
        """The folder, and the commit that it is of."""
        if isinstance(remote, GitFiles):
            return remote.fetch(is_offline), f"github:{remote.repository}@{remote.commit}"
        folder = hub.fetch(remote, self.reader.patterns, is_offline, repo_type="dataset")
        return folder, f"hf:{remote.repo}@{folder.name}"  # a cache has a folder for each commit

    def _check_images(self, images: Path | None) -> None:
        """UsageError where the task has no use for a folder of pictures, DataError where there is none."""
        if images is None:
            return
        if not self.whose_pictures:
            raise UsageError(f"task {self.name!r} has its pictures with its data; leave out --images {images}")
        if not images.is_dir():
            what = "is a file" if images.exists() else "is not there"
            raise DataError(f"--images {str(images)!r} {what}; expected the folder with {self.whose_pictures}")

    def _wanted(self) -> str:
        pictures = f", and {self.whose_pictures}" if self.whose_pictures else ""
        folders = [name for name in self.picture_folders if name]
        inside = f" in a folder {' or '.join(folders)} of it" if folders else ""
        apart = ", or elsewhere with --images" if self.whose_pictures else ""
        return f"{self.reader.expected} from {self.origin}{pictures}{inside}{apart}"

    def _pictures(
        self, data: Path | None, images: Path | None, found: Found, rows: Sequence[Row], fields: Fields
    ) -> Any:
        if images is not None:
            cells = [rows[0].get(name) for name in fields.images if rows]
            if any(isinstance(cell, Written) for cell in cells):
                raise UsageError(f"this protocol of {self.name!r} reads only captions; leave out --images {images}")
            if found.archive is not None or any(map(callable, cells)):
                raise UsageError(
                    f"{found.files[0].name} of task {self.name!r} has its pictures inside; leave out --images {images}"
                )
            return Folders.below([images], ("", *self.picture_folders), self.whose_pictures)
        if found.archive is not None:
            return found.archive
        places = [] if data is None else [disk.expanded(data)]
        places += [found.root] if found.root is not None else []
        return Folders.below(places, (*self.picture_folders, ""), self.whose_pictures)

    def _example(self, row: Row, pictures: Any, fields: Fields) -> Example:
        own = _id_of(row, fields)
        named = _frames(row, fields, pictures) if fields.frames else _several(row, fields.images)
        images = tuple(_image(cell, row, f"{own}/{column}", pictures) for column, cell in named)
        captions = tuple(_caption(cell, row, column) for column, cell in _several(row, fields.captions))
        matches = _matches(row, fields, (len(images), len(captions)))
        tags = {name: _tag(row, column) for name, column in fields.tags.items()}
        group = str(row.get(fields.group) or "") if fields.group else ""
        return Example(own, images, captions, matches, tags, group)

    def _check(self, examples: Sequence[Example], found: Found) -> None:
        where = repr(str(found.files[0].parent))
        if not examples:
            raise DataError(f"{where} holds no example of {self.name}; expected {self.reader.expected}")
        seen: set[str] = set()
        for example in examples:
            if example.id in seen:
                raise DataError(f"{where} holds the id {example.id!r} twice; copy or fetch it again")
            seen.add(example.id)

    def _commit_note(self, found: Found) -> tuple[str, ...]:
        """Which commit was read, where the suite is pinned to none."""
        if not found.origin or not isinstance(self.remote, Source) or self._is_pinned:
            return ()
        return (f"main of {self.remote.repo} is commit {found.origin.rpartition('@')[2]}",)

    def _count_note(self, chosen: Protocol, examples: Sequence[Example]) -> tuple[str, ...]:
        expected = chosen.n_published or self.n_published
        if expected in (None, len(examples)):
            return ()
        return (f"{expected:,} examples expected, {len(examples):,} found",)


def _files_of(pictures: Any) -> list[Path]:
    return list(dict.fromkeys(pictures.found.values())) if isinstance(pictures, Folders) else list(pictures.files)


def _grouped(examples: Sequence[Example]) -> tuple[Example, ...]:
    """Examples with the same first picture are one group, where no other was named."""
    return tuple(
        example if example.group else replace(example, group=str(example.images[0].sha256)[:16]) for example in examples
    )


def _id_of(row: Row, fields: Fields) -> str:
    value = _cell(row, fields.id)
    if not isinstance(value, int | str) or isinstance(value, bool) or not str(value).strip():
        raise DataError(f"{row[PLACE]} has id {value!r}; expected a whole number or text")
    return f"{row[SPLIT]}/{value}" if row[SPLIT] and fields.tags.get("tag") == SPLIT else str(value)


def _several(row: Row, columns: Sequence[str]) -> Iterator[tuple[str, Any]]:
    """Column and cell; each of those of a column that holds a list."""
    for column in columns:
        cell = _cell(row, column)
        if not isinstance(cell, list | tuple):
            yield column, cell
            continue
        if not cell:
            raise DataError(f"{row[PLACE]} has an empty list {column}; expected at least one")
        for place, part in enumerate(cell):  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]
            yield f"{column}_{place}", part


def _frames(row: Row, fields: Fields, pictures: Any) -> Iterator[tuple[str, Any]]:
    """The pictures of the row's folder, or those at its places."""
    names = pictures.numbered(_cell(row, fields.frames), str(row[PLACE]))
    for place in row[fields.places] if fields.places else range(len(names)):
        if isinstance(place, bool) or not isinstance(place, int) or not 0 <= place < len(names):
            raise DataError(f"{row[PLACE]} asks for picture {place!r} of {len(names)}; expected 0 to {len(names) - 1}")
        yield fields.frames, names[place]


def _matches(row: Row, fields: Fields, shape: tuple[int, int]) -> Bools:
    """[I, C]"""
    n = max(shape)
    if not fields.right:
        return (np.arange(n) < fields.n_true)[None] if shape[0] == 1 else np.eye(*shape, dtype=bool)
    place = row.get(fields.right)
    if isinstance(place, bool) or not isinstance(place, int) or not 0 <= place < n:
        what = fields.right.strip("\0")
        raise DataError(f"{row[PLACE]} has the {what} {place!r}; expected the place of the right one, 0 to {n - 1}")
    return (np.arange(n) == place).reshape(shape)


def _image(value: Any, row: Row, own: str, pictures: Any) -> Image:
    name = own if callable(value) or isinstance(value, Written) else str(value)
    if callable(value) or isinstance(value, Written):
        source: Any = value
    elif isinstance(pictures, Folders):
        source = pictures.path(value, str(row[PLACE]))
    else:
        source = pictures.reader(value, str(row[PLACE]))
    image = Image(name, source)
    if (box := row.get(BOX)) is not None:
        return cropped(Image(f"{own.rpartition('/')[0]}/{name}", source), box)
    return image


def _caption(caption: Any, row: Row, column: str) -> str:
    """The caption without blanks around it."""
    if not isinstance(caption, str) or not caption.strip():
        raise DataError(f"{row[PLACE]} has an empty {column}: {caption!r}; expected a sentence")
    check_text(caption, f"{row[PLACE]}: {column}")
    return caption.strip()


def _tag(row: Row, column: str) -> tuple[str, ...]:
    value = row.get(column)
    values = value if isinstance(value, list | tuple) else () if value in (None, "") else (value,)
    return tuple(str(value).strip() for value in values)


def _cell(row: Row, column: str) -> Any:
    if column not in row:
        known = ", ".join(name for name in row if not name.startswith("\0") and name)
        raise DataError(f"{row[PLACE]} lacks {column!r}; found {known}")
    return row[column]
