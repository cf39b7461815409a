"""Small classifiers that are trained on the spot, on a task's training split. Torch-free; see _small_scorers.py.

They say how hard a task is for a model that may see its pictures: what a class-conditional diffusion model is compared
with. A trained one is kept under the digest of what it learned from, so the shifted versions of a test set share it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from compbench.core.aliases import Json
from compbench.core.errors import UsageError
from compbench.core.examples import Example, Task
from compbench.core.models import Learning, ModelSpec, Preparation, ResolvedModel, Runtime, Source
from compbench_baselines.training.labels import classes_of
from compbench_baselines.training.preparations import is_trained, lesson

if TYPE_CHECKING:
    from compbench_baselines.training.scorer import TrainedScorer

__all__ = ["VERSION", "LogisticRegression", "SmallResNet", "check_per_class", "few", "training_digest"]

# 2: trained on one thread, without pictures that look like test pictures
VERSION = 2

_FIXED = {"option": False}
_SKLEARN = """@article{pedregosa2011scikit,
  title   = {Scikit-learn: Machine Learning in {P}ython},
  author  = {Pedregosa, F. and Varoquaux, G. and Gramfort, A. and Michel, V. and Thirion, B. and Grisel, O. and Blondel,
             M. and Prettenhofer, P. and Weiss, R. and Dubourg, V. and Vanderplas, J. and Passos, A. and Cournapeau, D.
             and Brucher, M. and Perrot, M. and Duchesnay, E.},
  journal = {Journal of Machine Learning Research},
  volume  = {12},
  pages   = {2825--2830},
  year    = {2011}
}
"""
_TIMM = """@software{wightman2019timm,
  title  = {PyTorch Image Models},
  author = {Wightman, Ross},
  year   = {2019},
  doi    = {10.5281/zenodo.4414861}
}
"""


@dataclass(frozen=True)
class SmallResNet(ModelSpec):
    """A ResNet of some 80,000 weights, trained on the task's training split."""

    size_px: int = field(default=32, metadata={"help": "side of its input pictures"})
    epochs: int = field(default=20, metadata={"help": "passes over the training split"})
    seed: int = field(default=0, metadata={"help": "seed for its first weights and the order of the pictures"})
    train_per_class: int | None = field(
        default=None, metadata={"help": "training pictures per class, a seeded subset; none: all"}
    )
    training: str | None = field(default=None, metadata=_FIXED)  # digest of the training split

    def __post_init__(self) -> None:
        _check_size(self.size_px, "small-resnet", at_least=8)
        check_per_class(self.train_per_class, "small-resnet")
        if self.epochs < 1:
            raise UsageError(f"model 'small-resnet' cannot take epochs={self.epochs}; expected 1 or more")

    @property
    def citation(self) -> str:
        """BibTeX of the library that its layers come from."""
        return _TIMM

    def resolve(self, task: Task | None) -> ResolvedModel:
        settled = self if task is None else replace(self, training=training_digest(task, "small-resnet"))
        learning = Learning("train_per_class", self.train_per_class is not None, True, self.preparation)
        return replace(ModelSpec.resolve(settled, task), learning=learning)

    def identity(self) -> Mapping[str, Json]:
        return {
            "scorer": "small-resnet",
            "version": VERSION,
            "size_px": self.size_px,
            "epochs": self.epochs,
            "seed": self.seed,
            "training": self.training,
            **few(self.train_per_class),
        }

    def trained_as(self, pictures: str) -> Mapping[str, Json]:
        """The key that the trained model is cached under."""
        about = {"model": "small-resnet", "version": VERSION, "pictures": pictures, "size_px": self.size_px}
        return {**about, "epochs": self.epochs, "seed": self.seed}

    def preparation(self, task: Task, examples: Sequence[Example], source: Source | None) -> Preparation:
        """The training."""
        learned = lesson(task, "small-resnet", self.train_per_class)
        is_known = learned.digest is not None and is_trained(self.trained_as(learned.digest))
        return Preparation(trained=0 if is_known else self.epochs * len(learned.images))

    def build(self, source: Source | None, runtime: Runtime) -> TrainedScorer:
        from compbench_baselines.classifiers._small_scorers import resnet_scorer

        return resnet_scorer(self, runtime)


@dataclass(frozen=True)
class LogisticRegression(ModelSpec):
    """scikit-learn's logistic regression on the pixels, fitted to the task's training split."""

    size_px: int = field(default=16, metadata={"help": "side of its input pictures"})
    c: float = field(default=0.1, metadata={"help": "the inverse of the L2 penalty, scikit-learn's C"})
    train_per_class: int | None = field(
        default=None, metadata={"help": "training pictures per class, a seeded subset; none: all"}
    )
    training: str | None = field(default=None, metadata=_FIXED)  # digest of the training split

    def __post_init__(self) -> None:
        _check_size(self.size_px, "logistic-regression", at_least=1)
        check_per_class(self.train_per_class, "logistic-regression")
        if not self.c > 0:
            raise UsageError(f"model 'logistic-regression' cannot take c={self.c}; expected more than 0")

    @property
    def citation(self) -> str:
        """BibTeX of the library that fits it."""
        return _SKLEARN

    def resolve(self, task: Task | None) -> ResolvedModel:
        settled = self if task is None else replace(self, training=training_digest(task, "logistic-regression"))
        learning = Learning("train_per_class", self.train_per_class is not None, True, self.preparation)
        return replace(ModelSpec.resolve(settled, task), learning=learning)

    def identity(self) -> Mapping[str, Json]:
        return {
            "scorer": "logistic-regression",
            "version": VERSION,
            "size_px": self.size_px,
            "c": self.c,
            "training": self.training,
            **few(self.train_per_class),
        }

    def trained_as(self, pictures: str) -> Mapping[str, Json]:
        """The key that the trained model is cached under."""
        about = {"model": "logistic-regression", "version": VERSION, "pictures": pictures}
        return {**about, "size_px": self.size_px, "c": self.c}

    def preparation(self, task: Task, examples: Sequence[Example], source: Source | None) -> Preparation:
        """The fit, which reads the pictures until it converges; they are counted once."""
        learned = lesson(task, "logistic-regression", self.train_per_class)
        is_known = learned.digest is not None and is_trained(self.trained_as(learned.digest))
        return Preparation(trained=0 if is_known else len(learned.images))

    def build(self, source: Source | None, runtime: Runtime) -> TrainedScorer:
        from compbench_baselines.classifiers._small_scorers import logistic_scorer

        return logistic_scorer(self, runtime)


def training_digest(task: Task, model: str) -> str:
    """The training split's entry in a run's key; UsageError where there is none."""
    classes_of(task, model)
    digest = task.training_revision
    if digest is None:
        raise UsageError(
            f"model {model!r} learns from a task's training split, and task {task.name!r} has none; "
            "expected a task that comes with one"
        )
    return digest


def few(per_class: int | None) -> dict[str, Json]:
    """The entry in a run's identity for a training split that was cut."""
    return {} if per_class is None else {"train_per_class": per_class}


def check_per_class(per_class: int | None, model: str) -> None:
    """UsageError where no picture of a class would be left."""
    if per_class is not None and per_class < 1:
        raise UsageError(f"model {model!r} cannot take train_per_class={per_class}; expected 1 or more")


def _check_size(size_px: int, model: str, *, at_least: int) -> None:
    if size_px < at_least:
        raise UsageError(f"model {model!r} cannot take size_px={size_px}; expected {at_least} or more")
