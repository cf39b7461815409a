"""Who measures: model specs, scorers, and what the harness may know about them. Torch-free."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, Self, TypeVar, runtime_checkable

from compbench.core.aliases import Json
from compbench.core.examples import Example, Task
from compbench.core.file_list import FileList
from compbench.core.measurements import DrawTable, Measurement, ScoreMatrix

if TYPE_CHECKING:
    pass

__all__ = [
    "DependsOnFiles",
    "DependsOnTask",
    "HalfPrecision",
    "Keeps",
    "Learns",
    "MeasuredAnew",
    "MeasuresErrors",
    "ModelSpec",
    "Overlooks",
    "Preparation",
    "Price",
    "Priced",
    "PricesLearning",
    "Runtime",
    "Scorer",
    "Source",
    "TellsEngine",
    "TellsLesson",
    "TellsScale",
]


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


@runtime_checkable
class TellsScale(Protocol):
    """A scorer whose scores are read as probabilities by numbers that were learned: stored with every part of a run."""

    def scale(self) -> Mapping[str, float]:
        """`logit_scale` and, of a sigmoid loss, `logit_bias`: sigmoid(scale · score + bias). Empty where unknown."""
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

    >>> from dataclasses import dataclass
    >>> @dataclass(frozen=True)
    ... class Brightness(ModelSpec):
    ...     weight: float = 1.0  # an option: -o weight=2
    ...     def identity(self):
    ...         return {"scorer": "brightness", "version": 1, "weight": self.weight}
    ...     def build(self, source, runtime): ...  # a Scorer
    >>> Brightness(weight=2).identity()
    {'scorer': 'brightness', 'version': 1, 'weight': 2}
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
class MeasuredAnew(Protocol):
    """A spec of an object in memory, of which it may not be known whether a stored run is of the same."""

    def why_anew(self) -> str:
        """What about it is not known, as the beginning of a sentence; empty where it has a whole identity."""
        ...

    def in_measurement(self, mark: str) -> ModelSpec:
        """The same spec with the mark of one measurement in its identity, which no other run has."""
        ...


@runtime_checkable
class DependsOnFiles(Protocol):
    """A spec whose measurements depend on what its weights' configuration says, the size of its pictures for one."""

    def with_files(self, files: Callable[[], FileList]) -> ModelSpec:
        """The same spec with that in its identity; `files` lists the repository, which may ask a hub."""
        ...
