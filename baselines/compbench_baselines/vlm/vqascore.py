"""VQAScore: how likely a vision-language model is to answer Yes when it is asked whether a picture shows a caption.

`--model vqascore:ORG/NAME` or `vqascore:PATH` (Lin et al., ECCV 2024). The question is a part of a run's identity, and
so is the chat template, which is among the files that name the weights. Torch-free.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from compbench.core.aliases import Json
from compbench.core.errors import DataError, UsageError
from compbench.core.examples import Task
from compbench.core.models import ModelSpec, ResolvedModel, Runtime, Scorer, Source
from compbench_baselines.hub_models import Address, address_of, architecture, resolved, source_of

__all__ = ["CLASSES", "VQAScore", "from_address"]

Dtype = Literal["auto", "float32", "bfloat16", "float16"]
CLASSES = (  # those whose scores are tested against their own forward
    "Qwen2VLForConditionalGeneration",
    "Qwen2_5_VLForConditionalGeneration",
    "Qwen3VLForConditionalGeneration",
)
_SCHEME = "vqascore"
_FIXED = {"option": False}
_VQASCORE = """@inproceedings{lin2024vqascore,
  title     = {Evaluating Text-to-Visual Generation with Image-to-Text Generation},
  author    = {Lin, Zhiqiu and Pathak, Deepak and Li, Baiqi and Li, Jiayao and Xia, Xide and Neubig, Graham and Zhang,
               Pengchuan and Ramanan, Deva},
  booktitle = {European Conference on Computer Vision},
  year      = {2024}
}
"""


@dataclass(frozen=True)
class VQAScore(ModelSpec):
    """A vision-language model that is asked about each picture and caption."""

    repo: str = field(default="", metadata=_FIXED)
    revision: str | None = field(default=None, metadata=_FIXED)
    is_local: bool = field(default=False, metadata=_FIXED)
    question: str = field(
        default='Does this figure show "{}"? Please answer yes or no.',
        metadata={"help": "the question about a picture, with {} for the caption"},
    )
    answer: str = field(default="Yes", metadata={"help": "the answer whose first token is scored"})
    dtype: Dtype = field(
        default="auto", metadata={"help": "dtype of the network; auto is float32, and the scores always are"}
    )

    def __post_init__(self) -> None:
        if self.question.count("{}") != 1:
            raise UsageError(f"option 'question' cannot be {self.question!r}; expected one {{}} for the caption")
        if not self.answer.strip():
            raise UsageError("option 'answer' cannot be empty; expected a word such as Yes")

    @property
    def name(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The address of this model."""
        return f"{_SCHEME}:{self._address}"

    @property
    def citation(self) -> str:
        """BibTeX of the method."""
        return _VQASCORE

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
        return {
            "scorer": _SCHEME,
            "version": 1,
            "question": self.question,
            "answer": self.answer,
            "dtype": self._dtype,
        }

    def build(self, source: Source | None, runtime: Runtime) -> Scorer:
        from compbench_baselines.vlm import _vqa_scorer as scorer

        assert source is not None
        loaded = runtime.kept((_SCHEME, source, self._dtype), lambda: scorer.load(source, self._dtype, runtime))
        return scorer.VQAScorer(*loaded, self.question, self.answer, runtime)


def from_address(address: str) -> VQAScore:
    """The model of `vqascore:ADDRESS`.

    >>> from_address("Qwen/Qwen2.5-VL-7B-Instruct").name
    'vqascore:Qwen/Qwen2.5-VL-7B-Instruct'
    """
    found = address_of(address, _SCHEME)
    return VQAScore(found.repo, found.revision, found.is_local)


def _check(config: Mapping[str, Any], name: str) -> None:
    """DataError for a class that is not known here."""
    given = architecture(config)
    if given not in CLASSES:
        what = f"is a {given}" if given else "names no class in its config.json"
        raise DataError(f"model {name!r} {what}; expected one of {', '.join(CLASSES)}")
