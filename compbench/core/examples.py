"""Images, examples and tasks.

Axes are always [example N, image I, caption C, draw D].
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from compbench.core import image_files
from compbench.core.aliases import Bools, Floats
from compbench.core.errors import DataError, UnreadableImage

if TYPE_CHECKING:
    import PIL.Image

__all__ = [
    "ALL_SCORES",
    "Classes",
    "ErrorTable",
    "Example",
    "Image",
    "Metric",
    "ScoreTable",
    "Task",
    "UNREADABLE",
    "Written",
    "unread",
]

ALL_SCORES = "all scores"  # what a metric hangs on that text, image and group do not decide
UNREADABLE = hashlib.sha256(b"unreadable").hexdigest()  # in place of the digest of what cannot be read


@dataclass(frozen=True, slots=True)
class Written:
    """A caption in a picture's place, where captions are compared with captions."""

    text: str


@dataclass(frozen=True, slots=True)
class Image:
    """A picture that is decoded only when asked for.

    `source` is a file, encoded bytes, or a function that gives either a PIL image or encoded bytes.

    >>> import PIL.Image
    >>> Image("red", lambda: PIL.Image.new("RGB", (32, 32), "red")).decode().size
    (32, 32)
    """

    name: str
    source: Path | bytes | Callable[[], PIL.Image.Image | bytes] | Written
    sha256: str | None = None  # what `identity` gives, where it is known without reading the image

    def decode(self) -> PIL.Image.Image:
        """The first frame in a mode that becomes RGB without loss of range; UnreadableImage names it where it cannot.

        The mode is the file's own, but 16-bit grey is scaled to 8 bits.
        """
        where = self.source.where if isinstance(self.source, image_files.Stored) else ""
        return image_files.decode(self.name, self._content(), where)

    def digest(self) -> str:
        """SHA-256 of the encoded file, or of the pixels where there is no file; UnreadableImage where it cannot be had.

        That of a 16-bit grey image says also that it is scaled.
        """
        if self.sha256 is not None:
            return self.sha256
        if isinstance(self.source, Written):
            return hashlib.sha256(b"written\x1f" + self.source.text.encode()).hexdigest()
        source = self._content()
        if isinstance(source, bytes):
            return image_files.digest_of_bytes(source)
        if isinstance(source, Path):
            try:
                return image_files.digest(source)
            except DataError as error:
                raise UnreadableImage(self.name, f"image {self.name!r}: {error}") from error
        return hashlib.sha256(source.mode.encode() + repr(source.size).encode() + source.tobytes()).hexdigest()

    def identity(self) -> str:
        """The digest, or that there is none: what tells two states of an image apart, one of them unreadable."""
        try:
            return self.digest()
        except UnreadableImage:
            return UNREADABLE

    def _content(self) -> Path | PIL.Image.Image | bytes:
        if isinstance(self.source, Written):
            raise UnreadableImage(
                self.name, f"image {self.name!r} is a caption in a picture's place: {self.source.text!r}"
            )
        if not callable(self.source):
            return self.source
        try:
            content = self.source()
            if not image_files.is_content(content):
                raise DataError(f"its source gave a {type(content).__name__}; expected a PIL image or encoded bytes")
            return content
        except UnreadableImage as error:
            if error.name == self.name:
                raise
            raise UnreadableImage(self.name, f"image {self.name!r}: {error}") from error  # one image made of another
        except MemoryError:
            raise
        except Exception as error:  # of a damaged archive or table, from whichever library reads it
            why = str(error) if isinstance(error, DataError) else f"{type(error).__name__}: {error}"
            raise UnreadableImage(self.name, f"image {self.name!r} cannot be read: {why}") from error


@dataclass(frozen=True, slots=True)
class Example:
    """Images and captions to be matched.

    >>> Example("0", (), ("a", "b"), np.zeros((0, 2), bool)).shape
    (0, 2)

    >>> import PIL.Image
    >>> red = Image("red", lambda: PIL.Image.new("RGB", (32, 32), "red"))
    >>> Example("1", (red,), ("a red square", "a blue square"), np.array([[True, False]])).shape
    (1, 2)
    """

    id: str
    images: tuple[Image, ...]  # length I
    captions: tuple[str, ...]  # length C
    matches: Bools  # [I, C] which caption truly describes which image
    tags: Mapping[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])  # column -> values
    group: str = ""  # examples that share an image or a source; "" stands for the example's own id

    @property
    def shape(self) -> tuple[int, int]:
        """(I, C)."""
        return len(self.images), len(self.captions)


@dataclass(frozen=True, slots=True)
class ScoreTable:
    """The scores of many examples of one shape, ready for a metric."""

    ids: tuple[str, ...]  # length N
    scores: Floats  # [N, I, C] float64
    matches: Bools  # [N, I, C]
    unconditional: Floats | None = None  # [N, I] float64: the score of no caption at all, where it was measured


@dataclass(frozen=True, slots=True)
class ErrorTable:
    """The raw errors of some examples of one shape, each measured on the same leading draws of the bank."""

    ids: tuple[str, ...]  # length N
    errors: Floats  # [N, I, C, D] float32; float64 where several losses are summed
    matches: Bools  # [N, I, C]
    unconditional: Floats | None = None  # [N, I, D]: the error without a caption, where a rule reads it


@dataclass(frozen=True, slots=True)
class Metric:
    """A per-example outcome: right or wrong for each example of a ScoreTable."""

    name: str
    outcome: Callable[[ScoreTable], Bools]  # -> [N]
    ties: Callable[[ScoreTable], Bools]  # -> [N] wrong only because two scores are equal
    chance: Callable[[Bools], float | None]  # matches [I, C] -> its closed-form value for random scores
    applies: Callable[[tuple[int, int]], bool]  # (I, C) -> whether the metric exists for the shape
    is_per_class: bool = False  # its number is the mean over classes of the mean outcome of a class's examples
    column: str = "class"  # the tag column that says which class; an example without that tag does not count
    unit: str = ""  # the tag column of units: an example is right where all of its unit are; "" where each stands alone
    unit_size: int = 1  # examples; those of a unit that lacks some do not count
    # of text, image and group the outcome that it follows from; ALL_SCORES where it needs more than any of them
    hangs_on: str = ""


@dataclass(frozen=True, slots=True)
class Classes:
    """The classes that a classification task's captions stand for; every example has the same tuple of captions."""

    names: tuple[str, ...]  # length K, in the order of the source's own label file
    of_caption: tuple[int, ...]  # length C: the class, 0 to K-1, that each caption describes
    label_space: str = ""  # whose labels a class-conditional model must have been trained on: "imagenet", "digits"
    labels: tuple[int, ...] | None = None  # length C: each caption's label in that space; None where there is none
    words: tuple[str, ...] = ()  # length K: what a sentence calls each class; empty: its name


@dataclass(frozen=True)
class Task:
    """A named set of examples and the metrics that judge them.

    `revision` is a digest of ids, captions, matches and images: the same for a hub copy and a local one.

    >>> import PIL.Image
    >>> from compbench.core.metrics import MATCHING
    >>> red = Image("red", lambda: PIL.Image.new("RGB", (32, 32), "red"))
    >>> example = Example("1", (red,), ("a red square", "a blue square"), np.array([[True, False]]))
    >>> len(Task("one-square", (example,), MATCHING).revision)
    12
    """

    name: str
    examples: Sequence[Example]
    metrics: Mapping[str, Metric]
    description: str = ""
    citation: str = ""  # BibTeX
    is_gated: bool = False  # its images and captions must not be copied into what is shared
    tag_order: Mapping[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])
    classes: Classes | None = None  # of a classification task: what the captions, shared by all examples, stand for
    training: Callable[[], Sequence[Example]] | None = None  # its training split, for models that learn from one
    labelled: Task | None = None  # the same pictures with a caption for each label, where a class has several labels
    folder: Path | None = None  # of a user's own pictures: links that lead out of it are said
    origin: str = ""  # the commit that was read, "hf:org/name@commit", where its data were fetched
    notes: tuple[str, ...] = ()  # what its reader left out or had to guess: said once, wherever the task is read

    @cached_property
    def revision(self) -> str:
        """Twelve hex digits; reads every image once, and the captions of a classification task once for all."""
        return _revision(self.examples, self.classes)

    @cached_property
    def training_revision(self) -> str | None:
        """The same of the training split; None where there is none."""
        return None if self.training is None else _revision(self.training(), self.classes)


@dataclass(frozen=True)
class _Unread(Task):
    """A task whose training split was not read."""

    @property
    def training_revision(self) -> str | None:  # pyright: ignore[reportIncompatibleVariableOverride]
        return None if self.training is None else "not read"


def unread(task: Task) -> Task:
    """The same task, whose training revision says that its pictures were not read."""
    return _Unread(**{field_.name: getattr(task, field_.name) for field_ in fields(task)})


def _revision(examples: Sequence[Example], classes: Classes | None) -> str:
    digest, shared = hashlib.sha256(), None
    if classes is not None and examples:
        shared = examples[0].captions
        asked = [list(shared), list(classes.of_caption), classes.label_space, classes.labels]
        digest.update(json.dumps(asked).encode() + b"\x1e")
    images, identities = None, list[str]()
    for example in sorted(examples, key=lambda each: each.id):
        own = () if example.captions is shared or example.captions == shared else example.captions
        if example.images is not images:  # a thousand pictures that examples share are looked at once
            images, identities = example.images, [image.identity() for image in example.images]
        parts = [example.id, *own, *identities]
        digest.update(
            "\x1f".join(parts).encode(errors="surrogatepass") + np.packbits(example.matches).tobytes() + b"\x1e"
        )
    return digest.hexdigest()[:12]
