"""The likelihood of a caption as text, without the picture: a language model alone on the task. Torch-free.

`--model text-prior:ORG/NAME` or `text-prior:PATH`, any causal language model of transformers. Where it beats chance,
the task's wrong captions are told by grammar or plausibility, and other models may be right without looking.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal

from compbench.core.aliases import Json
from compbench.core.examples import Example
from compbench.core.file_list import FileList
from compbench.core.models import ResolvedModel, Runtime, Scorer, Source
from compbench_baselines.evaluations import of_captions
from compbench_baselines.hub_models import HubModel, architecture, not_a

__all__ = ["LENGTH", "Length", "TextPrior", "from_address"]

Length = Literal["sum", "mean"]
LENGTH: Mapping[str, str] = {
    "help": "sum: a caption's log-likelihood, lower for longer ones; mean: the same per token",
}

_CAUSAL = ("ForCausalLM", "LMHeadModel")  # how the names of their classes end


@dataclass(frozen=True)
class TextPrior(HubModel):
    """A causal language model that scores captions without a picture."""

    scheme: ClassVar[str] = "text-prior"

    length: Length = field(default="sum", metadata=LENGTH)

    def identity(self) -> Mapping[str, Json]:
        return {"scorer": self.scheme, "version": 1, "length": self.length, "dtype": self.settled_dtype}

    def resolved(self) -> ResolvedModel:
        return replace(super().resolved(), evaluations=_evaluations)

    def check(self, config: Mapping[str, Any], name: str) -> None:
        if not architecture(config).endswith(_CAUSAL):
            raise not_a(f"a causal language model (...{' or ...'.join(_CAUSAL)})", config, name)

    def build(self, source: Source | None, runtime: Runtime) -> Scorer:
        from compbench_baselines.vlm import _text_prior_scorer as scorer

        return scorer.TextPriorScorer(*self.loaded(scorer.load, source, runtime), self.length == "mean", runtime)


def _evaluations(examples: Sequence[Example], files: Callable[[], FileList]) -> int:
    return of_captions(examples)


def from_address(address: str) -> TextPrior:
    """The model of `text-prior:ADDRESS`.

    >>> from_address("Qwen/Qwen3-0.6B").name
    'text-prior:Qwen/Qwen3-0.6B'
    """
    return TextPrior.at(address)
