"""Janus as a scorer of exact likelihoods: how likely its generation head makes a picture's tokens under a caption.

`--model janus-pro-1b`, `janus-pro-7b`, `janus:ORG/NAME` or `janus:PATH` (Wu et al., CVPR 2025; Chen et al., 2025). One
forward pass per pair, no noise, no draws. Captions of a picture are compared by log p(picture | caption), pictures of a
caption by the same less log p(picture | empty prompt), which is measured too. Torch-free.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from compbench.core import disk
from compbench.core.aliases import Json
from compbench.core.errors import DataError
from compbench.core.examples import Task
from compbench.core.image_transforms import on_white, upright
from compbench.core.models import ModelSpec, ResolvedModel, Runtime, Scorer, Source
from compbench_baselines.hub_models import Address, address_of, architecture, resolved, source_of

if TYPE_CHECKING:
    import PIL.Image

__all__ = ["CLASS", "JANUS_PRO_1B", "JANUS_PRO_7B", "Janus", "from_address", "padded"]

Dtype = Literal["auto", "float32", "bfloat16", "float16"]
CLASS = "JanusForConditionalGeneration"
_SCHEME = "janus"
_FIXED = {"option": False}
_GREY = (127, 127, 127)  # what Janus-Pro's image processor pads with
_JANUS_PRO = """@article{chen2025januspro,
  title   = {{Janus-Pro}: Unified Multimodal Understanding and Generation with Data and Model Scaling},
  author  = {Chen, Xiaokang and Wu, Zhiyu and Liu, Xingchao and Pan, Zizheng and Liu, Wen and Xie, Zhenda and Yu,
             Xingkai and Ruan, Chong},
  journal = {arXiv:2501.17811},
  year    = {2025}
}
"""


@dataclass(frozen=True)
class Janus(ModelSpec):
    """An autoregressive image model of transformers, by the likelihood of a picture's tokens."""

    repo: str = field(default="", metadata=_FIXED)
    revision: str | None = field(default=None, metadata=_FIXED)
    is_local: bool = field(default=False, metadata=_FIXED)
    dtype: Dtype = field(
        default="auto",
        metadata={"help": "dtype of the language model; auto is float32, and pictures' tokens and scores always are"},
    )
    folder: Path | None = field(default=None, metadata={"help": "a local copy in place of the hub's"})

    def __post_init__(self) -> None:
        if self.folder is not None:
            address_of(str(disk.expanded(self.folder).absolute()), _SCHEME)

    @property
    def name(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The address of this model."""
        return f"{_SCHEME}:{self._address}"

    @property
    def citation(self) -> str:
        """BibTeX of the weights."""
        return _JANUS_PRO

    @property
    def _address(self) -> Address:
        if self.folder is not None:
            return Address(str(disk.expanded(self.folder).resolve()), is_local=True)
        return Address(self.repo, self.revision, self.is_local)

    @property
    def _dtype(self) -> Dtype:
        return "float32" if self.dtype == "auto" else self.dtype

    def resolve(self, task: Task | None) -> ResolvedModel:
        return replace(resolved(self, self._dtype, task), seen=padded)

    def source(self) -> Source:
        return source_of(self._address, self.name, _check, _SCHEME)

    def identity(self) -> Mapping[str, Json]:
        return {
            "scorer": _SCHEME,
            "version": 1,
            "text": "log-likelihood",
            "image": "log-likelihood less the empty prompt's",
            "empty_prompt": "padding",
            "dtype": self._dtype,
        }

    def build(self, source: Source | None, runtime: Runtime) -> Scorer:
        from compbench_baselines.vlm import _janus_scorer as scorer

        assert source is not None
        loaded = runtime.kept((_SCHEME, source, self._dtype), lambda: scorer.load(source, self._dtype, runtime))
        return scorer.JanusScorer(*loaded, runtime)


def from_address(address: str) -> Janus:
    """The model of `janus:ADDRESS`.

    >>> from_address("deepseek-community/Janus-Pro-1B").name
    'janus:deepseek-community/Janus-Pro-1B'
    """
    found = address_of(address, _SCHEME)
    return Janus(found.repo, found.revision, found.is_local)


def padded(picture: PIL.Image.Image) -> PIL.Image.Image:
    """The picture in the middle of a grey square, as the model sees it.

    >>> import PIL.Image
    >>> padded(PIL.Image.new("RGB", (40, 30))).getpixel((0, 0))
    (127, 127, 127)
    """
    import PIL.Image

    whole = on_white(upright(picture))
    side = max(whole.size)
    square = PIL.Image.new("RGB", (side, side), _GREY)
    square.paste(whole, ((side - whole.width) // 2, (side - whole.height) // 2))
    return square


def _check(config: Mapping[str, Any], name: str) -> None:
    """DataError for another class."""
    given = architecture(config)
    if given != CLASS:
        what = f"is a {given}" if given else "names no class in its config.json"
        raise DataError(f"model {name!r} {what}; expected a {CLASS}")


JANUS_PRO_1B = Janus("deepseek-community/Janus-Pro-1B")
JANUS_PRO_7B = Janus("deepseek-community/Janus-Pro-7B")
