"""The likelihood of a caption as text, without the picture: a language model alone on the task. Torch-free.

`--model text-prior:ORG/NAME` or `text-prior:PATH`, any causal language model of transformers. Where it beats chance,
the task's wrong captions are told by grammar or plausibility, and other models may be right without looking.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from compbench.core.aliases import Json
from compbench.core.errors import DataError
from compbench.core.examples import Task
from compbench.core.models import ModelSpec, ResolvedModel, Runtime, Scorer, Source
from compbench_baselines.hub_models import Address, address_of, architecture, resolved, source_of

__all__ = ["TextPrior", "from_address"]

Dtype = Literal["auto", "float32", "bfloat16", "float16"]
_SCHEME = "text-prior"
_CAUSAL = ("ForCausalLM", "LMHeadModel")  # how the names of their classes end
_FIXED = {"option": False}


@dataclass(frozen=True)
class TextPrior(ModelSpec):
    """A causal language model that scores captions without a picture."""

    repo: str = field(default="", metadata=_FIXED)
    revision: str | None = field(default=None, metadata=_FIXED)
    is_local: bool = field(default=False, metadata=_FIXED)
    length: Literal["sum", "mean"] = field(
        default="sum",
        metadata={"help": "sum: a caption's log-likelihood, lower for longer ones; mean: the same per token"},
    )
    dtype: Dtype = field(default="auto", metadata={"help": "dtype of the network; auto is float32"})

    @property
    def name(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The address of this model."""
        return f"{_SCHEME}:{self._address}"

    @property
    def _address(self) -> Address:
        return Address(self.repo, self.revision, self.is_local)

    @property
    def _dtype(self) -> Dtype:
        return "float32" if self.dtype == "auto" else self.dtype

    def resolve(self, task: Task | None) -> ResolvedModel:
        return resolved(self, self._dtype, task)

    def source(self) -> Source:
        return source_of(self._address, self.name, _check, _SCHEME)

    def identity(self) -> Mapping[str, Json]:
        return {"scorer": _SCHEME, "version": 1, "length": self.length, "dtype": self._dtype}

    def build(self, source: Source | None, runtime: Runtime) -> Scorer:
        from compbench_baselines.vlm import _text_prior_scorer as scorer

        assert source is not None
        loaded = runtime.kept((_SCHEME, source, self._dtype), lambda: scorer.load(source, self._dtype, runtime))
        return scorer.TextPriorScorer(*loaded, self.length == "mean", runtime)


def from_address(address: str) -> TextPrior:
    """The model of `text-prior:ADDRESS`.

    >>> from_address("Qwen/Qwen3-0.6B").name
    'text-prior:Qwen/Qwen3-0.6B'
    """
    found = address_of(address, _SCHEME)
    return TextPrior(found.repo, found.revision, found.is_local)


def _check(config: Mapping[str, Any], name: str) -> None:
    """DataError for what is not a causal language model."""
    given = architecture(config)
    if not given.endswith(_CAUSAL):
        what = f"is a {given}" if given else "names no class in its config.json"
        raise DataError(f"model {name!r} {what}; expected a causal language model (...{' or ...'.join(_CAUSAL)})")
