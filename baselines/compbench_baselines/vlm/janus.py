"""Janus as a scorer of exact likelihoods: how likely its generation head makes a picture's tokens under a caption.

`--model janus-pro-1b`, `janus-pro-7b`, `janus:ORG/NAME` or `janus:PATH` (Wu et al., CVPR 2025; Chen et al., 2025). One
forward pass per pair, no noise, no draws. Captions of a picture are compared by log p(picture | caption), pictures of a
caption by the same less log p(picture | empty prompt), which is measured too. Torch-free.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from compbench.core.aliases import Json
from compbench.core.examples import Example
from compbench.core.file_list import FileList
from compbench.core.image_transforms import on_white, upright
from compbench.core.models import ResolvedModel, Runtime, Scorer, Source
from compbench_baselines.evaluations import of_images, of_pairs
from compbench_baselines.hub_models import FOLDER, Dtype, HubModel, architecture, not_a
from compbench_baselines.vlm._families import JANUS

if TYPE_CHECKING:
    import PIL.Image

__all__ = ["JANUS_PRO_1B", "JANUS_PRO_7B", "Janus", "from_address", "padded"]

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
class Janus(HubModel):
    """An autoregressive image model of transformers, by the likelihood of a picture's tokens."""

    scheme: ClassVar[str] = "janus"

    dtype: Dtype = field(
        default="auto",
        metadata={"help": "dtype of the language model; auto is float32, and pictures' tokens and scores always are"},
    )
    folder: Path | None = field(default=None, metadata=FOLDER)

    @property
    def citation(self) -> str:
        """BibTeX of the weights."""
        return _JANUS_PRO

    def resolved(self) -> ResolvedModel:
        return replace(super().resolved(), seen=padded, evaluations=_evaluations)

    def check(self, config: Mapping[str, Any], name: str) -> None:
        if architecture(config) != JANUS:
            raise not_a(f"a {JANUS}", config, name)

    def identity(self) -> Mapping[str, Json]:
        return {
            "scorer": self.scheme,
            "version": 1,
            "text": "log-likelihood",
            "image": "log-likelihood-less-empty-prompt",
            "empty_prompt": "padding",
            "dtype": self.settled_dtype,
        }

    def build(self, source: Source | None, runtime: Runtime) -> Scorer:
        from compbench_baselines.vlm import _janus_scorer as scorer

        return scorer.JanusScorer(*self.loaded(scorer.load, source, runtime), runtime)


def _evaluations(examples: Sequence[Example], files: Callable[[], FileList]) -> int:
    return of_pairs(examples, n_besides=1) + of_images(examples)


def from_address(address: str) -> Janus:
    """The model of `janus:ADDRESS`.

    >>> from_address("deepseek-community/Janus-Pro-1B").name
    'janus:deepseek-community/Janus-Pro-1B'
    """
    return Janus.at(address)


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


JANUS_PRO_1B = Janus("deepseek-community/Janus-Pro-1B")
JANUS_PRO_7B = Janus("deepseek-community/Janus-Pro-7B")
