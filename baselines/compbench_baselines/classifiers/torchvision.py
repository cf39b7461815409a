"""torchvision's ImageNet classifiers, those of the paper's Table 3: which weights. Torch-free until `build`.

The paper's ResNets and ViTs are torchvision's first weights, `IMAGENET1K_V1`: its ResNet-50 has no example of
ImageNet-A right, and those pictures were chosen because a ResNet-50 of that training fails on them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from compbench.core import disk
from compbench.core.aliases import Ints, Json
from compbench.core.errors import DataError, UsageError
from compbench.core.examples import Task
from compbench.core.models import ModelSpec, ResolvedModel, Runtime, Source
from compbench_baselines.training.labels import classes_of

if TYPE_CHECKING:
    from compbench_baselines.classifiers.scorer import ClassifierScorer

__all__ = [
    "RESNET18",
    "RESNET34",
    "RESNET50",
    "RESNET101",
    "VIT_B_16",
    "VIT_L_16",
    "VIT_L_32",
    "ImageClassifier",
    "labels_of",
]

_IMAGENET = "imagenet"
N_IMAGENET = 1000
_FIXED = {"option": False}
_TORCHVISION = """@software{torchvision2016,
  title  = {TorchVision: PyTorch's Computer Vision library},
  author = {{TorchVision maintainers and contributors}},
  year   = {2016},
  url    = {https://github.com/pytorch/vision}
}
"""
_RESNET = """@inproceedings{he2016deep,
  title     = {Deep Residual Learning for Image Recognition},
  author    = {He, Kaiming and Zhang, Xiangyu and Ren, Shaoqing and Sun, Jian},
  booktitle = {IEEE Conference on Computer Vision and Pattern Recognition},
  year      = {2016}
}
"""
_VIT = """@inproceedings{dosovitskiy2021image,
  title     = {An Image is Worth 16x16 Words: Transformers for Image Recognition at Scale},
  author    = {Dosovitskiy, Alexey and Beyer, Lucas and Kolesnikov, Alexander and Weissenborn, Dirk and Zhai, Xiaohua
               and Unterthiner, Thomas and Dehghani, Mostafa and Minderer, Matthias and Heigold, Georg and Gelly,
               Sylvain and Uszkoreit, Jakob and Houlsby, Neil},
  booktitle = {International Conference on Learning Representations},
  year      = {2021}
}
"""


@dataclass(frozen=True)
class ImageClassifier(ModelSpec):
    """A network that knows the 1,000 classes of ImageNet; a caption's score is the logit of its ImageNet label."""

    name: str = field(default="", metadata=_FIXED)
    builder: str = field(default="", metadata=_FIXED)  # of torchvision.models
    pinned: str = field(default="", metadata=_FIXED)  # the weights by torchvision's name
    file: str = field(default="", metadata=_FIXED)  # their file, named after the first digits of its SHA-256

    weights: Path | None = field(
        default=None, metadata={"help": "a file with a state dict of the same architecture, instead of torchvision's"}
    )

    def __post_init__(self) -> None:
        if self.weights is not None and not disk.expanded(self.weights).is_file():
            raise UsageError(
                f"model {self.name!r}: no file {str(self.weights)!r}; expected a state dict (.pth or .safetensors)"
            )

    @property
    def citation(self) -> str:
        """BibTeX of the architecture and of the library that trained it."""
        return (_VIT if self.builder.startswith("vit") else _RESNET) + _TORCHVISION

    def resolve(self, task: Task | None) -> ResolvedModel:
        if task is not None:
            labels_of(task.labelled or task, self.name)  # tells before torch is imported what cannot be scored
        return replace(super().resolve(task), label_space=_IMAGENET, bytes_to_fetch=self.bytes_to_fetch)

    def source(self) -> Source | None:
        """A file of the user's; torchvision fetches its own."""
        return None if self.weights is None else Source(str(disk.expanded(self.weights)), is_local=True)

    def bytes_to_fetch(self) -> int:
        """The size of torchvision's file where it is not in torch's cache; imports torchvision, which knows it."""
        import torch.hub
        import torchvision.models

        if self.weights is not None or (Path(torch.hub.get_dir()) / "checkpoints" / self.file).is_file():
            return 0
        megabytes: float = torchvision.models.get_weight(self.pinned).meta["_file_size"]
        return int(megabytes * (1 << 20))

    def identity(self) -> Mapping[str, Json]:
        identity: dict[str, Json] = {"scorer": "image-classifier", "version": 1, "architecture": self.builder}
        identity["weights"] = self.file if self.weights is None else "local"  # whose digest is part of the key
        return identity

    def build(self, source: Source | None, runtime: Runtime) -> ClassifierScorer:
        from compbench_baselines.classifiers import _torchvision_weights
        from compbench_baselines.classifiers.scorer import ClassifierScorer

        file = None if source is None else Path(source.repo)
        network, transform = _torchvision_weights.load(self, file, is_offline=runtime.is_offline, say=runtime.say)
        return ClassifierScorer(network, transform, lambda task: labels_of(task, self.name), runtime)


def labels_of(task: Task, model: str) -> Ints:
    """[C]: each caption's ImageNet label; several captions may share a class, each with a label of its own."""
    classes = classes_of(task, model)
    if classes.label_space != _IMAGENET or classes.labels is None:
        known = f"are those of {classes.label_space!r}" if classes.label_space else "have no number in any data set"
        raise UsageError(
            f"model {model!r} knows only ImageNet's classes, but the classes of task {task.name!r} {known}; "
            "expected imagenet or a task of its labels (imagenet-v2, imagenet-a, objectnet)"
        )
    return _checked(classes.labels, task.name)


def _checked(labels: tuple[int, ...], task: str) -> Ints:
    if outside := [label for label in labels if not 0 <= label < N_IMAGENET]:
        raise DataError(f"task {task!r} has the ImageNet label {outside[0]}; expected 0 to {N_IMAGENET - 1}")
    return np.array(labels, dtype=np.int64)


def _pinned(name: str, weights: str, file: str) -> ImageClassifier:
    return ImageClassifier(name, name.replace("-", "_"), f"{weights}.IMAGENET1K_V1", file)


RESNET18 = _pinned("resnet18", "ResNet18_Weights", "resnet18-f37072fd.pth")
RESNET34 = _pinned("resnet34", "ResNet34_Weights", "resnet34-b627a593.pth")
RESNET50 = _pinned("resnet50", "ResNet50_Weights", "resnet50-0676ba61.pth")
RESNET101 = _pinned("resnet101", "ResNet101_Weights", "resnet101-63fe2227.pth")
VIT_B_16 = _pinned("vit-b-16", "ViT_B_16_Weights", "vit_b_16-c867db91.pth")
VIT_L_16 = _pinned("vit-l-16", "ViT_L_16_Weights", "vit_l_16-852ce7e3.pth")
VIT_L_32 = _pinned("vit-l-32", "ViT_L_32_Weights", "vit_l_32-c7638314.pth")
