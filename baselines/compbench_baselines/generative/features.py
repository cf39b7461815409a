"""A baseline after *SD Features* of Li et al.'s Table 1: a classifier of what the U-Net makes of a picture. Torch-free.

The middle block of Stable Diffusion's U-Net is read at one timestep, under an empty caption, for each picture of the
training split, and a classifier learns the classes from that. It has seen labelled pictures: it is not zero-shot.
Of the paper's it is known that intermediate features of the U-Net go into a "ResNet-based" classifier that learns from
the whole training split; the block, the timestep, the small ResNet and its training are our own choices.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal, Self

from compbench.core.aliases import Json
from compbench.core.errors import UsageError
from compbench.core.examples import Example, Task
from compbench.core.file_list import FileList
from compbench.core.models import Learning, ModelSpec, Preparation, ResolvedModel, Runtime, Source, in_precision
from compbench.diffusion.families.stable_diffusion import Dtype, StableDiffusion
from compbench_baselines.classifiers.trained import VERSION, check_per_class, few, training_digest
from compbench_baselines.generative._diffusion_model import base_model, known_word, settled_dtype, sizes_of, source_of
from compbench_baselines.training.preparations import is_trained, lacking, lesson, scored

if TYPE_CHECKING:
    from compbench_baselines.training.scorer import TrainedScorer

__all__ = ["SDFeatures"]

_NAME = "sd-features"


@dataclass(frozen=True)
class SDFeatures(ModelSpec):
    """Features of a Stable Diffusion's middle block and a classifier of them, trained on the task's training split."""

    base: str = field(default="sd2", metadata={"help": "sd2, sd2.1, sd1.5, tiny-sd ..., or a folder or org/name"})
    timestep: int = field(default=100, metadata={"help": "timestep of the noise added to the picture, 0 to 999"})
    caption: str = field(default="", metadata={"help": "the caption given to the U-Net with every picture"})
    seed: int = field(
        default=0, metadata={"help": "seed for the noise, which all pictures share, and for the training"}
    )
    head: Literal["resnet", "logistic"] = field(
        default="resnet", metadata={"help": "the classifier: a small ResNet, or scikit-learn's logistic regression"}
    )
    pooled: Literal["auto", "true", "false"] = field(
        default="auto", metadata={"help": "whether features are averaged over the picture; auto: for logistic"}
    )
    c: float = field(
        default=0.1, metadata={"help": "the inverse of the L2 penalty of the logistic regression, scikit-learn's C"}
    )
    epochs: int = field(default=30, metadata={"help": "the small ResNet's passes over the training split"})
    dtype: Dtype = field(
        default="auto",
        metadata={"help": "dtype of the U-Net; auto is bfloat16, and float32 without a GPU or for tiny-sd"},
    )
    train_per_class: int | None = field(
        default=None, metadata={"help": "training pictures per class, a seeded subset; none: all"}
    )
    training: str | None = field(default=None, metadata={"option": False})  # digest of the training split
    measured_px: int | None = field(default=None, metadata={"option": False})  # where not as the weights' config says

    def __post_init__(self) -> None:
        base_model(self.base, _NAME)
        check_per_class(self.train_per_class, _NAME)
        if not 0 <= self.timestep < 1000:
            raise UsageError(f"model {_NAME!r} cannot take timestep={self.timestep}; expected 0 to 999")
        if self.head == "resnet" and self.pooled == "true":
            raise UsageError(f"model {_NAME!r}: head=resnet needs maps of features; expected pooled=false or auto")
        if not self.c > 0 or self.epochs < 1:
            raise UsageError(f"model {_NAME!r} cannot take c={self.c}, epochs={self.epochs}; expected more than 0")

    @property
    def model(self) -> StableDiffusion:
        """The diffusion model."""
        return base_model(self.base, _NAME)

    @property
    def is_pooled(self) -> bool:
        """Whether a picture's features are [c] and not [c, h, w]."""
        return self.pooled == "true" or (self.pooled == "auto" and self.head == "logistic")

    @property
    def citation(self) -> str:
        """BibTeX of the diffusion model and of the paper that has this baseline."""
        return self.model.citation

    def resolve(self, task: Task | None) -> ResolvedModel:
        settled = replace(self, dtype=settled_dtype(self.dtype, self.model))
        if task is not None:
            settled = replace(settled, training=training_digest(task, _NAME))
        return in_precision(settled, self.dtype == settled.dtype, SDFeatures._resolved)

    def _resolved(self) -> ResolvedModel:
        def with_files(files: Callable[[], FileList]) -> ResolvedModel:
            return self.with_files(files)._resolved()

        return replace(
            super().resolve(None),
            files=self.model.resolve(None).files,
            learning=Learning("train_per_class", self.train_per_class is not None, True, self.preparation),
            with_files=with_files,
        )

    def source(self) -> Source | None:
        return source_of(self.model)

    def with_files(self, files: Callable[[], FileList]) -> Self:
        return replace(self, measured_px=self.model.with_files(files).measured_px)

    def measured(self) -> Mapping[str, Json]:
        """All that decides the features of a picture, apart from the weights."""
        return {
            "block": "mid",
            "timestep": self.timestep,
            "caption": self.caption,
            "seed": self.seed,
            "pooled": self.is_pooled,
            "dtype": settled_dtype(self.dtype, self.model),
            **self.size(),
        }

    def size(self) -> Mapping[str, Json]:
        """The side of the pictures, where it is another than the weights' configuration says."""
        return {} if self.measured_px is None else {"size_px": self.measured_px}

    def latents_as(self, weights: str) -> Mapping[str, Json]:
        """The key that latents are cached under."""
        return {"weights": weights, "picture": "whole", "of": "latents", **self.size()}

    def features_as(self, weights: str) -> Mapping[str, Json]:
        """The key that features are cached under."""
        return {**self.latents_as(weights), "of": "features", **self.measured()}

    def trained_as(self, weights: str, pictures: str) -> Mapping[str, Json]:
        """The key that the classifier is cached under."""
        return {**self.features_as(weights), **self.learned(), "version": VERSION, "pictures": pictures}

    def learned(self) -> Mapping[str, Json]:
        """All that decides the classifier, apart from the features."""
        if self.head == "logistic":
            return {"head": self.head, "c": self.c}
        return {"head": self.head, "epochs": self.epochs, "seed": self.seed}

    def identity(self) -> Mapping[str, Json]:
        trained = {"training": self.training, **few(self.train_per_class)}
        return {"scorer": _NAME, "version": VERSION, **self.measured(), **self.learned(), **trained}

    def preparation(self, task: Task, examples: Sequence[Example], source: Source | None) -> Preparation:
        """The work left: one evaluation for each picture without features, learned from or scored, and the training.

        A logistic regression reads its pictures until it converges; they are counted once.
        """
        weights, learned = known_word(source), lesson(task, _NAME, self.train_per_class)
        images = [*learned.images, *scored(examples)]
        without = lacking("features", None if weights is None else self.features_as(weights), images)
        n_latents = len(lacking("features", None if weights is None else self.latents_as(weights), without))
        is_known = None not in (weights, learned.digest) and is_trained(
            self.trained_as(str(weights), str(learned.digest))
        )
        sizes, n_epochs = sizes_of(self.model, source, self.measured_px), 1 if self.head == "logistic" else self.epochs
        n_bytes = None
        if sizes is not None:
            of_features = sizes.middle_channels * (4 if self.is_pooled else 2 * sizes.middle_side**2)  # bytes of floats
            n_bytes = len(without) * of_features + n_latents * 4 * sizes.latents
        return Preparation(len(without), 0, 0 if is_known else n_epochs * len(learned.images), n_bytes)

    def build(self, source: Source | None, runtime: Runtime) -> TrainedScorer:
        from compbench_baselines.generative._diffusion_model import components, word_for
        from compbench_baselines.generative._features_scorer import features_scorer
        from compbench_baselines.generative._mid_block import MidBlock

        parts = components(self.model, source, runtime, owner=_NAME)
        assert source is not None  # or there would be no components
        settled, weights = replace(self, dtype=settled_dtype(self.dtype, self.model)), word_for(source)
        return features_scorer(settled, MidBlock(settled, parts, weights, runtime), weights, runtime)
