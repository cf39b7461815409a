"""A classifier that learns on the spot and then scores. What differs from model to model is two functions."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from compbench.core.aliases import Floats, Json
from compbench.core.examples import Classes, Example, Image, Task
from compbench.core.measurements import Measurement, ScoreMatrix
from compbench.core.models import Preparation
from compbench_baselines.training import cache
from compbench_baselines.training.images import OVERLOOKED
from compbench_baselines.training.labels import Labelled, classes_of, for_captions, training_images

__all__ = ["Classify", "Learned", "TrainedScorer", "of_training_split"]

Classify = Callable[[Sequence[Image]], Iterable[Floats]]  # of each picture the scores of the classes, [K] float64


@dataclass(frozen=True, slots=True)
class Learned:
    """A trained classifier, and what it learned from."""

    classify: Classify
    lesson: str = ""  # the digest of the training pictures and their classes; empty: it learned from none of the task's


@dataclass
class TrainedScorer:
    """Learns when it is prepared, unless that was kept, and scores a caption by the class that it describes."""

    name: str  # of the model
    device: object
    learn: Callable[[Task, Classes], Learned]
    # what is lacking, for so many classes, with the operations, the time and the bytes of what is learned
    cost: Callable[[int, Preparation], Preparation]
    uses_network: bool = field(default=False, kw_only=True)  # a diffusion network, for what it learns from
    overlooks: frozenset[str] = field(default=OVERLOOKED, kw_only=True)  # images become RGB as they lie in the file
    _classes: Classes = field(init=False)
    _learned: Learned = field(init=False)  # there once it is prepared, which the harness does first

    def prepare(self, task: Task) -> None:
        self._classes = classes_of(task, self.name)
        self._learned = self.learn(task, self._classes)

    def priced(self, task: Task, lacking: Preparation) -> Preparation:
        return self.cost(len(classes_of(task, self.name).names), lacking)

    def learned_from(self) -> str:
        return self._learned.lesson

    def overlooked(self) -> frozenset[str]:
        return self.overlooks

    def score(self, examples: Sequence[Example], known: Mapping[str, Measurement]) -> Iterator[ScoreMatrix]:
        found = self._learned.classify([example.images[0] for example in examples])
        for example, of_classes in zip(examples, found, strict=True):
            yield ScoreMatrix(example.id, for_captions(of_classes[None], self._classes))


def of_training_split(
    name: str,
    per_class: int | None,
    kept_as: Callable[[str], Mapping[str, Json]],
    train: Callable[[Labelled, Path], Classify],
    say: Callable[[str], None],
) -> Callable[[Task, Classes], Learned]:
    """To learn from the task's training split, or from `per_class` pictures of each class.

    `kept_as` says, by the digest of the pictures, what decides the classifier; `train` does so in the folder that is
    given, or loads what lies there.
    """

    def learn(task: Task, classes: Classes) -> Learned:
        shown = training_images(task, name, say, per_class=per_class)
        path = cache.folder("trained", kept_as(shown.digest))
        with cache.locked(path, say):
            return Learned(train(shown, path), shown.digest)

    return learn
