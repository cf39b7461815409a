"""Model specs, scorers, and what the harness may know about them. Torch-free."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeVar, runtime_checkable

from compbench.core.aliases import Json
from compbench.core.errors import UsageError
from compbench.core.examples import Example, Task
from compbench.core.file_list import FileList
from compbench.core.measurements import DrawTable, Measurement, ScoreMatrix
from compbench.core.rules import Rule

if TYPE_CHECKING:
    import PIL.Image

__all__ = [
    "Cost",
    "Costed",
    "HalfPrecision",
    "Keeps",
    "Learning",
    "MeasuresErrors",
    "ModelSpec",
    "Overlooks",
    "Preparation",
    "Price",
    "Priced",
    "PricesLearning",
    "ResolvedModel",
    "Runtime",
    "Scorer",
    "Sending",
    "Sends",
    "Source",
    "Taught",
    "TellsAnswers",
    "TellsDevice",
    "TellsEngine",
    "TellsLesson",
    "TellsScale",
    "in_precision",
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
        """The traits it ignores, out of "orientation" (EXIF) and "transparency"."""
        ...


@runtime_checkable
class MeasuresErrors(Protocol):
    """A scorer that yields Measurements; its draws are stored once a run."""

    def draw_table(self) -> DrawTable: ...


@runtime_checkable
class TellsDevice(Protocol):
    """A scorer that computes on a device of its own choice, or that it was given."""

    @property
    def device(self) -> object: ...


@dataclass(frozen=True, slots=True)
class Price:
    """The cost of scoring: counted, and timed by a short probe."""

    evaluations_per_pair: int  # network evaluations a (image, caption) pair; 0 for embedding models
    flops_per_evaluation: float
    seconds_per_evaluation: float
    bytes_per_pair: int  # stored


@runtime_checkable
class Priced(Protocol):
    """A scorer that can tell its price before the run."""

    def price(self, examples: Sequence[Example]) -> Price: ...


@dataclass(frozen=True, slots=True)
class Cost:
    """The cost of scoring some examples where it is not a multiple of their pairs: counted, timed by a short probe."""

    evaluations: int  # of the network, one for each input that goes through it
    flops: float
    seconds: float
    bytes: int  # stored


@runtime_checkable
class Costed(Protocol):
    """A scorer of scores that evaluates a network, and can tell at what cost before the run."""

    def scoring_cost(self, examples: Sequence[Example]) -> Cost: ...


@dataclass(frozen=True, slots=True)
class Preparation:
    """An upper bound on what a model that learns still has to make besides its scores: all that the cache folder lacks.

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
        """A digest of the pictures and their classes, once it is prepared; empty where it learned from none."""
        ...


@runtime_checkable
class TellsScale(Protocol):
    """A scorer whose scores are read as probabilities by numbers that were learned: stored with every part of a run."""

    def scale(self) -> Mapping[str, float]:
        """`logit_scale` and, of a sigmoid loss, `logit_bias`: sigmoid(scale · score + bias). Empty where unknown."""
        ...


@runtime_checkable
class TellsAnswers(Protocol):
    """A scorer that asks a service, which nobody else can run again: what is known of its answers is stored."""

    def answered(self) -> Mapping[str, Json]:
        """Facts about the results since the last call: `first` and `last`, the days of their answers; `served_by`, the
        models as the service names them; `upper_bounds` or `abstentions`, how many, by the ids of examples.
        """
        ...


@dataclass(frozen=True, slots=True)
class Sending:
    """The pictures and captions that a model sends over the network to score examples."""

    requests: int  # at most
    bytes: int  # about, in all of them
    to: str
    what: str


@runtime_checkable
class Sends(Protocol):
    """A scorer that sends pictures or captions to a service, and can tell before the run."""

    def sending(self, examples: Sequence[Example]) -> Sending: ...


Made = TypeVar("Made")


class Keeps(Protocol):
    """A cache of what `make` returns, one entry for each key while a command stays with one model."""

    def __call__(self, key: Hashable, make: Callable[[], Made]) -> Made: ...


def _made_anew(key: Hashable, make: Callable[[], Made]) -> Made:
    return make()


@dataclass(frozen=True, slots=True)
class Runtime:
    """The settings of where and how to compute; none may change a measurement."""

    device: str = "auto"  # auto, auto:1 (the second process of a machine), cpu, cuda, cuda:1, mps
    batch_size: int | None = None  # None: found automatically
    is_offline: bool = False
    say: Callable[[str], None] = lambda message: None  # one-line notes for the user, shown on stderr
    advance: Callable[[int], None] = lambda evaluations: None  # network evaluations just done
    kept: Keeps = _made_anew  # weights that a spec's next build, for another task, can use again


@dataclass(frozen=True, slots=True)
class Source:
    """The source of a model's weights: a hub repository at a revision, or a local folder."""

    repo: str  # "org/name", or a path when `is_local`
    revision: str | None = None  # a commit; None: whatever `main` is when a run starts
    is_local: bool = False
    branch: str | None = field(default=None, compare=False, repr=False)  # that `revision` was looked up from
    instead: str = field(default="", compare=False, repr=False)  # how a local copy is given, for a message
    # the names of the files that `build` opens of a repository, DataError where it holds another kind of model;
    # None: it may open any of them
    opened: Callable[[FileList], Sequence[str]] | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class HalfPrecision:
    """The dtype of a network that may run in half precision, and what it falls back to."""

    dtype: str
    is_asked_for: bool  # False: it was left to the model
    # the same model in float32; None where its protocol is half precision by definition
    in_float32: Callable[[], ResolvedModel] | None = field(compare=False)


@dataclass(frozen=True, slots=True)
class Learning:
    """A note that a model makes pictures or features, or is trained, before it scores; the cache folder keeps them."""

    fewer_by: str  # the option that narrows what is learned from
    is_narrowed: bool  # whether it does
    has_split: bool  # whether it learns from the task's training split, which is then a part of its identity
    # what is still to be made for scoring examples; counted without weights, and without decoding a picture
    preparation: Callable[[Task, Sequence[Example], Source | None], Preparation] = field(compare=False)


class Taught(Protocol):
    """The lesson that a schedule takes from an earlier run."""

    def said(self, task: Task, ids: Sequence[str]) -> str:
        """A sentence on what that cost, and whether it contains examples that are asked for here."""
        ...

    def to_json(self, task: Task, ids: Sequence[str]) -> dict[str, Json]:
        """The same for run.json."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ResolvedModel:
    """A model with nothing left open: all that may be known about it before it is built. Torch-free.

    >>> from compbench import registry
    >>> resolved = registry.model("chance", {"seed": 3}).spec.resolve(None)
    >>> resolved.identity, resolved.source
    ({'scorer': 'chance', 'version': 1, 'seed': 3}, None)
    """

    spec: ModelSpec  # with every option that was left to the task filled in
    identity: Mapping[str, Json]  # all that changes a measurement, apart from the weights: a run's key is made of it
    build: Callable[[Source | None, Runtime], Scorer]  # see ModelSpec
    view: Mapping[str, Json] = field(default_factory=dict[str, Json])  # see ModelSpec
    source: Source | None = None  # of the weights; None for a model that has none
    files: tuple[str, ...] = ()  # patterns of what is fetched of a hub repository; empty where that is not known
    bytes_to_fetch: Callable[[], int | None] | None = None  # of weights that have no source; None: none are fetched
    citation: str = ""  # BibTeX
    label_space: str = ""  # whose labels it knows, where it does not read captions: "imagenet", "digits"
    embeds_text: bool = False  # whether it can compare a caption with a caption
    precision: HalfPrecision | None = None  # where the network may run in half precision
    learning: Learning | None = None  # where something is made or trained before it scores
    taught: Taught | None = None  # where an earlier run decides what is measured
    # a picture as the network sees it, beneath the map of scores that are stored by position
    seen: Callable[[PIL.Image.Image], PIL.Image.Image] | None = None
    # where it tells no scores but chooses: among the captions of an image, or the images of a caption
    chooses: Literal["", "captions", "images"] = ""
    # why no stored run can be known to be of the same model, as the beginning of a sentence; empty where one can
    why_anew: str = ""
    # the same model with what its weights' configuration decides, the size of its pictures for one; it is given how to
    # list the repository, which may ask a hub
    with_files: Callable[[Callable[[], FileList]], ResolvedModel] | None = None
    # how many a model of scores takes for examples, told before its weights are here; None: it evaluates no network
    evaluations: Callable[[Sequence[Example], Callable[[], FileList]], int] | None = None
    # of one evaluation, by the configuration of weights that are not here; None where that cannot be told
    flops_per_evaluation: Callable[[FileList], float | None] | None = None
    # the bytes of a device's memory that its weights take at the least, likewise
    device_bytes: Callable[[FileList], int | None] | None = None

    @property
    def rule(self) -> Rule:
        """The rule that the view stands for."""
        return Rule.of_view(self.view)


def in_precision(
    spec: Any, is_asked_for: bool, resolve: Callable[[Any], ResolvedModel], *, is_fixed: bool = False
) -> ResolvedModel:
    """`resolve` of a spec whose option `dtype` is settled, with the same model in float32 to fall back to.

    `is_asked_for`: the user named the dtype. `is_fixed`: it is half precision by definition, and cannot fall back.
    """
    model, again = resolve(spec), partial(in_precision, is_asked_for=is_asked_for, resolve=resolve, is_fixed=is_fixed)
    in_float32 = None if is_fixed else lambda: again(replace(spec, dtype="float32"))

    def with_files(files: Callable[[], FileList]) -> ResolvedModel:
        assert model.with_files is not None
        return again(model.with_files(files).spec)

    precision = HalfPrecision(spec.dtype, is_asked_for, in_float32)
    return replace(model, precision=precision, with_files=model.with_files and with_files)


class ModelSpec:
    """A model as named after --model: a frozen dataclass whose fields are the options. Torch-free.

    A class that inherits from it has to say only `identity` and `build`. A model that depends on the task, or of which
    more is to be known, says so in a `resolve` of its own.

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

    name: str = ""  # of an object that is run without one; empty: that of its class

    @property
    def citation(self) -> str:
        """BibTeX of the model and of its method."""
        return ""

    def identity(self) -> Mapping[str, Json]:
        """All that changes a measurement, apart from the weights: a run's key is made of it."""
        raise UsageError(f"model {type(self).__name__!r} has no identity(); expected one that says what it measures")

    def build(self, source: Source | None, runtime: Runtime) -> Scorer:
        """The scorer, weights loaded from `source` at a commit; the first place torch is imported."""
        raise UsageError(f"model {type(self).__name__!r} has no build(); expected one that gives a scorer")

    def source(self) -> Source | None:
        """The source of the weights; None for a model that has none."""
        return None

    def view(self) -> Mapping[str, Json]:
        """The reading of stored errors, in the words of run.json: n_draws, target, reduction, unconditional.

        Empty for a model that gives scores.
        """
        return {}

    def resolve(self, task: Task | None) -> ResolvedModel:
        """The model on a task, or on pictures of one's own (None); UsageError where it cannot score them."""
        return ResolvedModel(
            spec=self,
            identity=self.identity(),
            build=self.build,
            view=self.view(),
            source=self.source(),
            citation=self.citation,
        )
