"""CLIP's relatives and image-text matchers of transformers, by the class that their config.json names. Torch-free.

`--model transformers:ORG/NAME` or `transformers:PATH`; @REVISION pins a hub revision. CLIPs, MetaCLIPs and SigLIPs
score by the cosine of their embeddings, BLIP and BLIP-2 by the log-odds of their matching head.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Self

from compbench.core.aliases import Json
from compbench.core.errors import DataError
from compbench.core.examples import Example, Task
from compbench.core.file_list import FileList
from compbench.core.models import ResolvedModel, Runtime, Scorer, Source
from compbench_baselines.clip._kinds import Head, kind_of
from compbench_baselines.clip._templates import OPTION, digest_for
from compbench_baselines.evaluations import of_images, of_pairs
from compbench_baselines.hub_models import CONFIG, FOLDER, Dtype, HubModel, architecture

__all__ = [
    "BLIP2_ITM",
    "BLIP_ITC",
    "BLIP_ITM",
    "BLIP_ITM_LARGE",
    "TransformersModel",
    "from_address",
]

_FIXED = {"option": False}


_BLIP = """@inproceedings{li2022blip,
  title     = {{BLIP}: Bootstrapping Language-Image Pre-training for Unified Vision-Language Understanding and
               Generation},
  author    = {Li, Junnan and Li, Dongxu and Xiong, Caiming and Hoi, Steven},
  booktitle = {International Conference on Machine Learning},
  year      = {2022}
}
"""
_BLIP2 = """@inproceedings{li2023blip2,
  title     = {{BLIP-2}: Bootstrapping Language-Image Pre-training with Frozen Image Encoders and Large Language
               Models},
  author    = {Li, Junnan and Li, Dongxu and Savarese, Silvio and Hoi, Steven},
  booktitle = {International Conference on Machine Learning},
  year      = {2023}
}
"""


@dataclass(frozen=True)
class TransformersModel(HubModel):
    """A dual or cross encoder in transformers' own layout."""

    scheme: ClassVar[str] = "transformers"

    dtype: Dtype = field(
        default="auto",
        metadata={"help": "dtype of the network; auto is float32, half precision makes ties (scores are float32)"},
    )
    head: Head = field(
        default="auto",
        metadata={
            "help": "auto: the image-text matching head where there is one, else the cosine of the embeddings; itc: "
            "the cosine of a model that has a matching head too"
        },
    )
    templates: str = field(default="auto", metadata=OPTION)
    folder: Path | None = field(default=None, metadata=FOLDER)
    classes: str | None = field(default=None, metadata=_FIXED)  # digest of the templates and names of the task
    paper: str = field(default="", repr=False, metadata=_FIXED)  # BibTeX

    @property
    def citation(self) -> str:
        """BibTeX of the weights where they have a name here."""
        return self.paper

    def on(self, task: Task) -> Self:
        return dataclasses.replace(self, classes=digest_for(self.templates, task))

    def identity(self) -> Mapping[str, Json]:
        identity: dict[str, Json] = {"scorer": "transformers", "version": 1, "head": self.head}
        identity["dtype"] = self.settled_dtype
        return identity | ({"templates": self.classes} if self.classes else {})

    def resolved(self) -> ResolvedModel:
        return dataclasses.replace(super().resolved(), evaluations=self._evaluations)

    def check(self, config: Mapping[str, Any], name: str) -> None:
        kind = kind_of(config, name)
        if self.head == "itc" and not kind.has_matching_head:
            raise DataError(
                f"model {name!r} is a {architecture(config)}, which scores by the cosine alone; leave out head=itc"
            )

    def _evaluations(self, examples: Sequence[Example], files: Callable[[], FileList]) -> int:
        """0 of embeddings, which are not counted."""
        is_matcher = self.head != "itc" and kind_of(files().json(CONFIG), self.name).has_matching_head
        return of_images(examples) + of_pairs(examples) if is_matcher else 0

    def build(self, source: Source | None, runtime: Runtime) -> Scorer:
        from compbench_baselines.clip import _transformers_loading as loading

        assert source is not None
        dtype = self.settled_dtype
        loaded = runtime.kept((self.scheme, source, dtype), lambda: loading.load(source, self.name, dtype, runtime))
        return loading.scorer(loaded, self.head, self.templates, runtime)


def from_address(address: str) -> TransformersModel:
    """The model of `transformers:ADDRESS`.

    >>> from_address("openai/clip-vit-base-patch32").name
    'transformers:openai/clip-vit-base-patch32'
    """
    return TransformersModel.at(address)


BLIP_ITM = TransformersModel("Salesforce/blip-itm-base-coco", paper=_BLIP)
BLIP_ITM_LARGE = TransformersModel("Salesforce/blip-itm-large-coco", paper=_BLIP)
BLIP_ITC = TransformersModel("Salesforce/blip-itm-base-coco", head="itc", paper=_BLIP)
BLIP2_ITM = TransformersModel("Salesforce/blip2-itm-vit-g", paper=_BLIP2)
