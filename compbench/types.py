"""The nouns: what is asked (Example, Task), what is measured (Measurement, ScoreMatrix), who measures (Scorer).

numpy only. Axes are always [example N, image I, caption C, draw D]. A score is higher for a better
match; an error is lower.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, Self, TypeVar, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from compbench import image_files
from compbench.errors import DataError, RunError, UnreadableImage, UnreadableImages, UsageError

if TYPE_CHECKING:
    import PIL.Image

    from compbench.model_files import FileList

__all__ = [
    "UNREADABLE",
    "Bools",
    "Classes",
    "DataError",
    "DependsOnFiles",
    "DependsOnTask",
    "DrawTable",
    "ErrorTable",
    "Example",
    "Floats",
    "HalfPrecision",
    "Image",
    "Ints",
    "Json",
    "Learns",
    "Measurement",
    "MeasuresErrors",
    "Metric",
    "ModelSpec",
    "Overlooks",
    "Preparation",
    "Price",
    "Priced",
    "PricesLearning",
    "RunError",
    "Runtime",
    "ScoreMatrix",
    "ScoreTable",
    "Scorer",
    "Source",
    "Task",
    "TellsEngine",
    "TellsLesson",
    "UnreadableImage",
    "UnreadableImages",
    "UsageError",
    "joined",
    "unread",
]

Bools = NDArray[np.bool_]
Floats = NDArray[np.floating]
Ints = NDArray[np.integer]
Json = str | int | float | bool | None | Sequence["Json"] | Mapping[str, "Json"]

UNREADABLE = hashlib.sha256(b"unreadable").hexdigest()  # in place of the digest of what cannot be read


@dataclass(frozen=True, slots=True)
class Image:
    """A picture that is decoded only when asked for.

    `source` is a file, encoded bytes, or a function that gives either a PIL image or encoded bytes.
    """

    name: str
    source: Path | bytes | Callable[[], PIL.Image.Image | bytes]
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
        if not callable(self.source):
            return self.source
        try:
            return self.source()
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
    errors: Floats  # [N, I, C, D] float32; float64 where several reductions are summed
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


@dataclass(frozen=True, slots=True)
class Classes:
    """What the captions of a classification task stand for; every example has the same tuple of captions."""

    names: tuple[str, ...]  # length K, in the order of the source's own label file
    of_caption: tuple[int, ...]  # length C: the class, 0 to K-1, that each caption describes
    label_space: str = ""  # whose labels a class-conditional model must have been trained on: "imagenet", "digits"
    labels: tuple[int, ...] | None = None  # length C: each caption's label in that space; None where there is none
    words: tuple[str, ...] = ()  # length K: what a sentence calls each class; empty: its name


@dataclass(frozen=True)
class Task:
    """A named set of examples and the metrics that judge them.

    `revision` is a digest of ids, captions, matches and images: the same for a hub copy and a local one.
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
    return _Unread(**{each.name: getattr(task, each.name) for each in fields(task)})


def _revision(examples: Sequence[Example], classes: Classes | None) -> str:
    digest, shared = hashlib.sha256(), None
    if classes is not None and examples:
        shared = examples[0].captions
        asked = [list(shared), list(classes.of_caption), classes.label_space, classes.labels]
        digest.update(json.dumps(asked).encode() + b"\x1e")
    for example in sorted(examples, key=lambda each: each.id):
        own = () if example.captions is shared or example.captions == shared else example.captions
        parts = [example.id, *own, *(image.identity() for image in example.images)]
        digest.update(
            "\x1f".join(parts).encode(errors="surrogatepass") + np.packbits(example.matches).tobytes() + b"\x1e"
        )
    return digest.hexdigest()[:12]


@dataclass(frozen=True, slots=True)
class DrawTable:
    """The draws of a bank as stored with a run: what a rule needs to weigh them."""

    timesteps: Floats  # [D] of the noise schedule; whole numbers for Stable Diffusion
    alpha: Floats  # [D] float32, x_t = alpha x_0 + sigma eps
    sigma: Floats  # [D] float32
    target: str  # what the network predicts, hence what the stored errors are of: "eps" or "v"


@dataclass(frozen=True, slots=True)
class Measurement:
    """What a diffusion model was measured to: raw errors of one example, per draw."""

    example_id: str
    draws: Ints  # [D] int32, indices into the run's bank, ascending
    errors: Floats  # [I, C, D] float32
    measured: Bools  # [I, C, D]; False where a policy found the draw unnecessary
    others: Mapping[str, Floats] = field(default_factory=dict[str, Floats])  # further reductions: name -> [I, C, D]
    unconditional: Floats | None = None  # [I, D] float32: the error under the empty caption
    has_unconditional: Bools | None = None  # [I, D] where that was measured
    is_last: bool = True  # whether no further piece of the example follows


def joined(pieces: Iterable[Measurement]) -> list[Measurement]:
    """One Measurement per example, in the order of their first pieces; no two pieces hold the same error."""
    by_example: dict[str, list[Measurement]] = {}
    for piece in pieces:
        by_example.setdefault(piece.example_id, []).append(piece)
    wholes = [
        Measurement(
            example_id,
            np.concatenate([piece.draws for piece in its]),
            np.concatenate([piece.errors for piece in its], axis=-1),
            np.concatenate([piece.measured for piece in its], axis=-1),
            {name: np.concatenate([piece.others[name] for piece in its], axis=-1) for name in its[0].others},
            *_joined_unconditional(its),
            its[-1].is_last,
        )
        for example_id, its in by_example.items()
    ]
    return [_once(each) for each in wholes]


def _once(whole: Measurement) -> Measurement:
    """Each draw once: an example that takes long is handed on in parts of a draw."""
    draws, place = np.unique(whole.draws, return_inverse=True)
    if len(draws) == len(whole.draws):
        return whole

    def merged(values: NDArray[Any], mask: Bools) -> NDArray[Any]:
        into = np.zeros((*values.shape[:-1], len(draws)), values.dtype)
        *pair, column = np.nonzero(mask)
        into[(*pair, place[column])] = values[mask]
        return into

    measured, has = whole.measured, whole.has_unconditional
    return replace(
        whole,
        draws=draws,
        errors=merged(whole.errors, measured),
        measured=merged(measured, measured),
        others={name: merged(each, measured) for name, each in whole.others.items()},
        unconditional=None if whole.unconditional is None or has is None else merged(whole.unconditional, has),
        has_unconditional=None if has is None else merged(has, has),
    )


def _joined_unconditional(pieces: Sequence[Measurement]) -> tuple[Floats, Bools] | tuple[None, None]:
    if all(piece.unconditional is None for piece in pieces):
        return None, None
    errors: list[Floats] = []
    masks: list[Bools] = []
    for piece in pieces:
        shape = piece.errors.shape[0], len(piece.draws)
        errors.append(np.zeros(shape, np.float32) if piece.unconditional is None else piece.unconditional)
        masks.append(np.zeros(shape, bool) if piece.has_unconditional is None else piece.has_unconditional)
    return np.concatenate(errors, axis=-1), np.concatenate(masks, axis=-1)


@dataclass(frozen=True, slots=True)
class ScoreMatrix:
    """The scores of one example, [I, C]; higher is a better match."""

    example_id: str
    scores: Floats
    unconditional: Floats | None = None  # [I]: the score of no caption at all


class Scorer(Protocol):
    """Measures examples. `known` holds what is already stored of an example, by id.

    A ScoreMatrix is all of an example; its Measurements may come in several pieces, no error in two of them.
    """

    def prepare(self, task: Task) -> None: ...
    def score(
        self, examples: Sequence[Example], known: Mapping[str, Measurement]
    ) -> Iterator[ScoreMatrix | Measurement]: ...


@runtime_checkable
class Overlooks(Protocol):
    """A scorer whose published transform does not look at all there is in an image."""

    def overlooked(self) -> frozenset[str]:
        """Of "orientation" (EXIF) and "transparency"."""
        ...


@runtime_checkable
class MeasuresErrors(Protocol):
    """A scorer that yields Measurements; its draws are stored once a run."""

    def draw_table(self) -> DrawTable: ...


@dataclass(frozen=True, slots=True)
class Price:
    """What scoring costs: counted, and timed by a short probe."""

    evaluations_per_pair: int  # network evaluations a (image, caption) pair; 0 for embedding models
    flops_per_evaluation: float
    seconds_per_evaluation: float
    bytes_per_pair: int  # stored


@runtime_checkable
class Priced(Protocol):
    """A scorer that can tell its price before the run."""

    def price(self, examples: Sequence[Example]) -> Price: ...


@dataclass(frozen=True, slots=True)
class Preparation:
    """What a model that learns makes besides its scores: as much of it as the cache folder lacks, at most.

    An evaluation is one input's pass through the diffusion network. A guided step of a picture takes two; the features
    of a picture take one, which ends in the middle of the network and costs about half.
    """

    evaluations: int = 0
    pictures: int = 0  # generated
    trained: int = 0  # inputs that the classifier is trained on, each counted once per epoch
    bytes: int | None = 0  # of what is kept in the cache folder; None where the model's sizes are not known yet
    flops: float | None = None  # of all this; None where it cannot be told before the weights are here
    seconds: float | None = None  # from a short probe


@runtime_checkable
class PricesLearning(Protocol):
    """A scorer that learns, and can tell the price of what it has to make and to learn."""

    uses_network: bool  # whether it evaluates a diffusion network for that

    def priced(self, task: Task, lacking: Preparation) -> Preparation:
        """The same with operations, time and the bytes of the trained classifier."""
        ...


@runtime_checkable
class TellsEngine(Protocol):
    """A scorer whose last digits depend on how it computes: that is stored with every part of a run."""

    def computed_with(self) -> Mapping[str, Json]:
        """`engine`, eager or compiled, and `batch_size`."""
        ...


@runtime_checkable
class TellsLesson(Protocol):
    """A scorer that learns from pictures, which all parts of a run have to share."""

    def learned_from(self) -> str:
        """A digest of the pictures and their classes, once it is prepared."""
        ...


Made = TypeVar("Made")


class Keeps(Protocol):
    """What `make` gives, made once for each key while a command stays with one model."""

    def __call__(self, key: Hashable, make: Callable[[], Made]) -> Made: ...


def _made_anew(key: Hashable, make: Callable[[], Made]) -> Made:
    return make()


@dataclass(frozen=True, slots=True)
class Runtime:
    """Where and how to compute: nothing here may change a measurement."""

    device: str = "auto"  # auto, auto:1 (the second process of a machine), cpu, cuda, cuda:1, mps
    batch_size: int | None = None  # None: found automatically
    is_offline: bool = False
    say: Callable[[str], None] = lambda message: None  # one-line notes for the user, shown on stderr
    advance: Callable[[int], None] = lambda evaluations: None  # network evaluations just done
    kept: Keeps = _made_anew  # weights that a spec's next build, for another task, can use again


@dataclass(frozen=True, slots=True)
class Source:
    """Where a model's weights come from: a hub repository at a revision, or a local folder."""

    repo: str  # "org/name", or a path when `is_local`
    revision: str | None = None  # a commit; None: whatever `main` is when a run starts
    is_local: bool = False
    branch: str | None = field(default=None, compare=False, repr=False)  # that `revision` was looked up from
    instead: str = field(default="", compare=False, repr=False)  # how a local copy is given, for a message
    # the names of the files that `build` opens of a repository, DataError where it holds another kind of model;
    # None: it may open any of them
    opened: Callable[[FileList], Sequence[str]] | None = field(default=None, compare=False, repr=False)


class ModelSpec(Protocol):
    """What a user asks for after --model: a frozen dataclass whose fields are the options. Torch-free.

    A class that inherits from it has to say only `identity` and `build`.
    """

    def for_task(self, task: str | None) -> Self:
        """The same spec with every default that depends on the task filled in."""
        return self

    def source(self) -> Source | None:
        """Where the weights come from; None for a model that has none."""
        return None

    def identity(self) -> Mapping[str, Json]:
        """All that changes a measurement, apart from the weights: a run's key is made of it."""
        ...

    def view(self) -> Mapping[str, Json]:
        """Options that only choose how a stored measurement is read: draws, rule. Empty for most."""
        return {}

    def build(self, source: Source | None, runtime: Runtime) -> Scorer:
        """The scorer, weights loaded from the resolved `source`; the first place torch is imported."""
        ...


@runtime_checkable
class HalfPrecision(Protocol):
    """A spec whose network may run in half precision: `dtype` names it once the task is known."""

    @property
    def dtype(self) -> str: ...
    def in_float32(self) -> Self | None:
        """The same spec in float32; None where its protocol is half precision by definition."""
        ...


@runtime_checkable
class DependsOnTask(Protocol):
    """A spec that depends on more of a task than its name: its training split, what its captions stand for."""

    def on(self, task: Task) -> ModelSpec:
        """The same spec with that in its identity; UsageError where it cannot score the task."""
        ...


@runtime_checkable
class Learns(Protocol):
    """A spec whose model makes pictures or features, or is trained, before it scores; the cache folder keeps them."""

    fewer_by: str  # the option that narrows what is learned from

    def preparation(self, task: Task, examples: Sequence[Example], source: Source | None) -> Preparation:
        """What is still to be made for scoring `examples`; counted without weights, and without decoding a picture."""
        ...


@runtime_checkable
class DependsOnFiles(Protocol):
    """A spec whose measurements depend on what its weights' configuration says, the size of its pictures for one."""

    def with_files(self, files: Callable[[], FileList]) -> ModelSpec:
        """The same spec with that in its identity; `files` lists the repository, which may ask a hub."""
        ...
