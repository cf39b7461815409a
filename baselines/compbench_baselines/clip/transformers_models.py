"""CLIP's relatives and image-text matchers of transformers, by the class that their config.json names. Torch-free.

`--model transformers:ORG/NAME` or `transformers:PATH`; @REVISION pins a hub revision. CLIPs, MetaCLIPs and SigLIPs
score by the cosine of their embeddings, BLIP and BLIP-2 by the log-odds of their matching head.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Self

from compbench.core import disk
from compbench.core.aliases import Json
from compbench.core.digests import digest_of
from compbench.core.errors import DataError
from compbench.core.examples import Task
from compbench.core.models import ModelSpec, ResolvedModel, Runtime, Scorer, Source
from compbench_baselines.clip._kinds import Head, kind_of
from compbench_baselines.clip._templates import templates_for, words_of
from compbench_baselines.hub_models import Address, address_of, architecture, resolved, source_of

__all__ = [
    "BLIP2_ITM",
    "BLIP_ITC",
    "BLIP_ITM",
    "BLIP_ITM_LARGE",
    "TransformersModel",
    "from_address",
]

Dtype = Literal["auto", "float32", "bfloat16", "float16"]
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
class TransformersModel(ModelSpec):
    """A dual or cross encoder in transformers' own layout."""

    repo: str = field(default="", metadata=_FIXED)
    revision: str | None = field(default=None, metadata=_FIXED)
    is_local: bool = field(default=False, metadata=_FIXED)
    head: Head = field(
        default="auto",
        metadata={
            "help": "auto: the image-text matching head where there is one, else the cosine of the embeddings; itc: "
            "the cosine of a model that has a matching head too"
        },
    )
    dtype: Dtype = field(
        default="auto",
        metadata={"help": "dtype of the network; auto is float32, half precision makes ties (scores are float32)"},
    )
    templates: str = field(
        default="auto",
        metadata={
            "help": "sentences to put a class's name into and average: auto (those published for the data set, if "
            "any), none (the task's own captions), or a file with one template per line"
        },
    )
    folder: Path | None = field(default=None, metadata={"help": "a local copy instead of the hub's"})
    classes: str | None = field(default=None, metadata=_FIXED)  # digest of the templates and names of the task
    paper: str = field(default="", repr=False, metadata=_FIXED)  # BibTeX

    def __post_init__(self) -> None:
        if self.folder is not None:
            address_of(str(disk.expanded(self.folder).absolute()), "transformers")

    @property
    def name(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The address of this model."""
        return f"transformers:{self._address}"

    @property
    def _address(self) -> Address:
        if self.folder is not None:
            return Address(str(disk.expanded(self.folder).resolve()), is_local=True)
        return Address(self.repo, self.revision, self.is_local)

    @property
    def citation(self) -> str:
        """BibTeX of the weights where they have a name here."""
        return self.paper

    @property
    def _dtype(self) -> Dtype:
        return "float32" if self.dtype == "auto" else self.dtype

    def resolve(self, task: Task | None) -> ResolvedModel:
        return resolved(self if task is None else self._on(task), self._dtype, task)

    def _on(self, task: Task) -> Self:
        chosen = templates_for(self.templates, task)
        words = words_of(task.classes) if task.classes else ()
        return dataclasses.replace(self, classes=digest_of([chosen, words]) if chosen else None)

    def source(self) -> Source:
        return source_of(self._address, self.name, self._check, "transformers")

    def identity(self) -> Mapping[str, Json]:
        identity: dict[str, Json] = {"scorer": "transformers", "version": 1, "head": self.head}
        identity["dtype"] = self._dtype
        return identity | ({"templates": self.classes} if self.classes else {})

    def _check(self, config: Mapping[str, Any], name: str) -> None:
        kind = kind_of(config, name)
        if self.head == "itc" and not kind.has_matching_head:
            raise DataError(
                f"model {name!r} is a {architecture(config)}, which scores by the cosine alone; leave out head=itc"
            )

    def build(self, source: Source | None, runtime: Runtime) -> Scorer:
        from compbench_baselines.clip import _transformers_loading as loading

        assert source is not None
        dtype = self._dtype
        loaded = runtime.kept(("transformers", source, dtype), lambda: loading.load(source, self.name, dtype, runtime))
        return loading.scorer(loaded, self.head, self.templates, runtime)


def from_address(address: str) -> TransformersModel:
    """The model of `transformers:ADDRESS`.

    >>> from_address("openai/clip-vit-base-patch32").name
    'transformers:openai/clip-vit-base-patch32'
    """
    found = address_of(address, "transformers")
    return TransformersModel(found.repo, found.revision, found.is_local)


BLIP_ITM = TransformersModel("Salesforce/blip-itm-base-coco", paper=_BLIP)
BLIP_ITM_LARGE = TransformersModel("Salesforce/blip-itm-large-coco", paper=_BLIP)
BLIP_ITC = TransformersModel("Salesforce/blip-itm-base-coco", head="itc", paper=_BLIP)
BLIP2_ITM = TransformersModel("Salesforce/blip2-itm-vit-g", paper=_BLIP2)
