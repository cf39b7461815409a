"""The likelihood of a caption as a vision-language model's answer to a picture. Torch-free.

`--model caption-likelihood:ORG/NAME` or `caption-likelihood:PATH`, the models of VQAScore. `-o less=text` subtracts the
caption's log-likelihood without the picture, so that captions are not told by their grammar alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal

from compbench.core.aliases import Json
from compbench.core.errors import UsageError
from compbench.core.examples import Example
from compbench.core.file_list import FileList
from compbench.core.models import ResolvedModel, Runtime, Scorer, Source
from compbench_baselines.evaluations import of_captions, of_images_by_window, of_pairs
from compbench_baselines.hub_models import HubModel
from compbench_baselines.vlm._families import check_class
from compbench_baselines.vlm.text_prior import LENGTH, Length

__all__ = ["CaptionLikelihood", "from_address"]


@dataclass(frozen=True)
class CaptionLikelihood(HubModel):
    """A vision-language model that captions each picture."""

    scheme: ClassVar[str] = "caption-likelihood"

    question: str = field(default="", metadata={"help": "what is said beside the picture; empty: the picture alone"})
    length: Length = field(default="sum", metadata=LENGTH)
    less: Literal["nothing", "text"] = field(
        default="nothing",
        metadata={"help": "text: less the caption's log-likelihood by the same model without the picture"},
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if "{}" in self.question:
            raise UsageError(
                f"option 'question' cannot be {self.question!r}: the caption is what the model answers, so "
                "the question has no {} for it; vqascore asks about captions"
            )

    def identity(self) -> Mapping[str, Json]:
        return {
            "scorer": self.scheme,
            "version": 1,
            "question": self.question,
            "length": self.length,
            "less": self.less,
            "dtype": self.settled_dtype,
        }

    def resolved(self) -> ResolvedModel:
        return replace(super().resolved(), evaluations=self._evaluations)

    def check(self, config: Mapping[str, Any], name: str) -> None:
        check_class(config, name)

    def _evaluations(self, examples: Sequence[Example], files: Callable[[], FileList]) -> int:
        n_unseen = of_captions(examples) if self.less == "text" else 0
        return of_images_by_window(examples) + of_pairs(examples) + n_unseen

    def build(self, source: Source | None, runtime: Runtime) -> Scorer:
        from compbench_baselines.vlm._caption_scorer import CaptionScorer
        from compbench_baselines.vlm._pair_scorer import load

        parts = self.loaded(load, source, runtime)
        return CaptionScorer(*parts, self.question, self.length == "mean", self.less == "text", runtime)


def from_address(address: str) -> CaptionLikelihood:
    """The model of `caption-likelihood:ADDRESS`.

    >>> from_address("Qwen/Qwen2.5-VL-7B-Instruct").name
    'caption-likelihood:Qwen/Qwen2.5-VL-7B-Instruct'
    """
    return CaptionLikelihood.at(address)
