"""A baseline after *Synthetic SD Data* of Li et al.'s Table 1: a classifier of pictures that Stable Diffusion made.

A labelled set is generated from the task's captions, a ResNet learns from 90 % of it, the other 10 % choose among its
epochs, and it is then tested on real pictures. The paper made 10,000 pictures per class, by Stable Diffusion 2.0, and
trained a ResNet-50 on 90 % of them; ours are 500 unless `n_per_class` says otherwise. Sampler, steps and guidance are
not known to be the paper's; optimiser, schedule, epochs and augmentation are our own. Torch-free until `build`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Literal, Self

from compbench.core.aliases import Json
from compbench.core.digests import digest_of
from compbench.core.errors import UsageError
from compbench.core.examples import Classes, Example, Task
from compbench.core.models import Learning, ModelSpec, Preparation, ResolvedModel, Runtime, Source, in_precision
from compbench.diffusion.families.stable_diffusion import Dtype, StableDiffusion
from compbench_baselines.classifiers.trained import VERSION
from compbench_baselines.generative._diffusion_model import base_model, known_word, settled_dtype, sizes_of, source_of
from compbench_baselines.generative._wanted import wanted_pictures
from compbench_baselines.training import cache
from compbench_baselines.training.labels import classes_of
from compbench_baselines.training.preparations import is_trained

if TYPE_CHECKING:
    from compbench_baselines.training.scorer import TrainedScorer

__all__ = ["SyntheticSD"]

_NAME = "synthetic-sd"


@dataclass(frozen=True)
class SyntheticSD(ModelSpec):
    """Pictures made by Stable Diffusion from the task's captions, and a ResNet trained on them. None: by the base."""

    base: str = field(default="sd2", metadata={"help": "sd2, sd2.1, sd1.5, tiny-sd ..., or a folder or org/name"})
    n_per_class: int | None = field(
        default=None, metadata={"help": "pictures per class; none: 500, and 16 for tiny-sd (the paper: 10000)"}
    )
    steps: int | None = field(default=None, metadata={"help": "steps of DDIM; none: 25, and 10 for tiny-sd"})
    guidance_scale: float | None = field(
        default=None, metadata={"help": "scale of classifier-free guidance; none: 7.5, and 3 for tiny-sd"}
    )
    seed: int = field(default=0, metadata={"help": "seed for the pictures' noise and for the training"})
    architecture: str = field(
        default="auto",
        metadata={"help": "small-resnet or a name of timm; auto: resnet50, and small-resnet for tiny-sd"},
    )
    size_px: int | None = field(
        default=None, metadata={"help": "side of its input pictures; none: 224, and 32 for small-resnet"}
    )
    epochs: int | None = field(
        default=None, metadata={"help": "passes over the pictures; none: 90, and 20 for small-resnet"}
    )
    augment: Literal["auto", "true", "false"] = field(
        default="auto", metadata={"help": "random parts, mirrored, to learn from; auto: not for small-resnet"}
    )
    dtype: Dtype = field(
        default="auto",
        metadata={"help": "dtype of the diffusion model; auto is bfloat16, and float32 without a GPU or for tiny-sd"},
    )
    asked: str | None = field(default=None, metadata={"option": False})  # digest of the classes' captions

    def __post_init__(self) -> None:
        base_model(self.base, _NAME)
        least = {"n_per_class": 2, "steps": 1, "size_px": 8, "epochs": 1, "guidance_scale": 0}
        for name, at_least in least.items():
            value = getattr(self, name)
            if value is not None and not value >= at_least:
                raise UsageError(f"model {_NAME!r} cannot take {name}={value}; expected {at_least} or more")

    @property
    def model(self) -> StableDiffusion:
        """The diffusion model."""
        return base_model(self.base, _NAME)

    @property
    def citation(self) -> str:
        """BibTeX of the diffusion model and of the paper that has this baseline."""
        return self.model.citation

    def resolve(self, task: Task | None) -> ResolvedModel:
        settled = self.settled()
        if task is not None:
            asked = digest_of([*task.examples[0].captions, *classes_of(task, _NAME).of_caption])
            settled = replace(settled, asked=asked)
        resolved = partial(SyntheticSD._resolved, is_narrowed=self.n_per_class is not None)
        return in_precision(settled, self.dtype == settled.dtype, resolved)

    def _resolved(self, is_narrowed: bool) -> ResolvedModel:
        return replace(
            super().resolve(None),
            files=self.model.resolve(None).files,
            learning=Learning("n_per_class", is_narrowed, False, self.preparation),
        )

    def settled(self) -> Self:
        """Every `auto` and None filled in."""
        is_small = self.model.is_small
        architecture = self.architecture
        if architecture == "auto":
            architecture = "small-resnet" if is_small else "resnet50"
        is_small_resnet = architecture == "small-resnet"
        augment = self.augment if self.augment != "auto" else "false" if is_small_resnet else "true"
        return replace(
            self,
            n_per_class=self.n_per_class or (16 if is_small else 500),
            steps=self.steps or (10 if is_small else 25),
            guidance_scale=_or(self.guidance_scale, 3.0 if is_small else 7.5),
            architecture=architecture,
            size_px=self.size_px or (32 if is_small_resnet else 224),
            epochs=self.epochs or (20 if is_small_resnet else 90),
            augment=augment,
            dtype=settled_dtype(self.dtype, self.model),
        )

    def source(self) -> Source | None:
        return source_of(self.model)

    def generated(self) -> Mapping[str, Json]:
        """All that decides a picture beside its caption and its number, apart from the weights."""
        settled = self.settled()
        return {
            "sampler": "ddim",
            "steps": settled.steps,
            "guidance_scale": settled.guidance_scale,
            "seed": settled.seed,
            "dtype": settled.dtype,
        }

    def learned(self) -> Mapping[str, Json]:
        """All that decides the classifier, apart from the pictures."""
        settled = self.settled()
        names = ("n_per_class", "architecture", "size_px", "epochs", "augment", "seed")
        return {name: getattr(settled, name) for name in names}

    def pictures_as(self, weights: str) -> Mapping[str, Json]:
        """The names that pictures are cached under."""
        return {"weights": weights, **self.generated()}

    def trained_as(self, weights: str, captions: Sequence[str], classes: Classes) -> Mapping[str, Json]:
        """The key that the classifier is cached under."""
        asked = {"captions": [*captions], "classes": [*classes.of_caption]}
        return {**self.pictures_as(weights), **self.learned(), "version": VERSION, **asked}

    def preparation(self, task: Task, examples: Sequence[Example], source: Source | None) -> Preparation:
        """Pictures that are not made yet, `steps` evaluations each and twice as many when guided, and the training."""
        settled, classes = self.settled(), classes_of(task, _NAME)
        captions, weights = task.examples[0].captions, known_word(source)
        wanted, _, is_held_out = wanted_pictures(captions, classes, settled.n_per_class or 0)
        n_lacking, is_known = len(wanted), False
        if weights is not None:
            folder = cache.place("synthetic", self.pictures_as(weights))
            n_lacking = sum(not example.file(folder).is_file() for example in wanted) if folder.is_dir() else n_lacking
            is_known = is_trained(self.trained_as(weights, captions, classes))
        per_picture = (settled.steps or 0) * (2 if (settled.guidance_scale or 0) > 1 else 1)
        sizes = sizes_of(self.model, source)
        return Preparation(
            evaluations=n_lacking * per_picture,
            pictures=n_lacking,
            trained=0 if is_known else (settled.epochs or 0) * int((~is_held_out).sum()),
            bytes=None if sizes is None else n_lacking * 3 * sizes.px**2,  # as PNG: no more than its pixels
        )

    def identity(self) -> Mapping[str, Json]:
        return {"scorer": _NAME, "version": VERSION, **self.generated(), **self.learned(), "asked": self.asked}

    def build(self, source: Source | None, runtime: Runtime) -> TrainedScorer:
        from compbench_baselines.generative._diffusion_model import components, word_for
        from compbench_baselines.generative._synthetic_scorer import synthetic_scorer

        settled = self.settled()
        parts = components(settled.model, source, runtime, owner=_NAME)
        assert source is not None  # or there would be no components
        return synthetic_scorer(settled, parts, word_for(source), runtime)


def _or(value: float | None, otherwise: float) -> float:
    """0 is a value."""
    return otherwise if value is None else value
