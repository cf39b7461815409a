"""VQAScore: how likely a vision-language model is to answer Yes when it is asked whether a picture shows a caption.

`--model vqascore:ORG/NAME` or `vqascore:PATH` (Lin et al., ECCV 2024). The question is a part of a run's identity, and
so is the chat template, which is among the files that name the weights. Torch-free.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

from compbench.core.aliases import Json
from compbench.core.errors import UsageError
from compbench.core.examples import Example
from compbench.core.file_list import FileList
from compbench.core.models import ResolvedModel, Runtime, Scorer, Source
from compbench_baselines.evaluations import of_images_by_window, of_pairs
from compbench_baselines.hub_models import CONFIG, Dtype, HubModel, architecture
from compbench_baselines.vlm._families import CLASSES, CLIP_T5, PALIGEMMA, check_class

__all__ = ["ANSWER", "QUESTION", "VQAScore", "check_question", "from_address"]

QUESTION = 'Does this figure show "{}"? Please answer yes or no.'
ANSWER = "Yes"

_VQASCORE = """@inproceedings{lin2024vqascore,
  title     = {Evaluating Text-to-Visual Generation with Image-to-Text Generation},
  author    = {Lin, Zhiqiu and Pathak, Deepak and Li, Baiqi and Li, Jiayao and Xia, Xide and Neubig, Graham and Zhang,
               Pengchuan and Ramanan, Deva},
  booktitle = {European Conference on Computer Vision},
  year      = {2024}
}
"""


@dataclass(frozen=True)
class VQAScore(HubModel):
    """A vision-language model that is asked about each picture and caption."""

    scheme: ClassVar[str] = "vqascore"

    dtype: Dtype = field(
        default="auto", metadata={"help": "dtype of the network; auto is float32, and the scores always are"}
    )
    question: str = field(default=QUESTION, metadata={"help": "the question about a picture, with {} for the caption"})
    answer: str = field(default=ANSWER, metadata={"help": "the answer whose first token is scored"})

    def __post_init__(self) -> None:
        super().__post_init__()
        check_question(self.question, self.answer)

    @property
    def citation(self) -> str:
        """BibTeX of the method."""
        return _VQASCORE

    def identity(self) -> Mapping[str, Json]:
        return {
            "scorer": self.scheme,
            "version": 1,
            "question": self.question,
            "answer": self.answer,
            "dtype": self.settled_dtype,
        }

    def resolved(self) -> ResolvedModel:
        return replace(super().resolved(), evaluations=_evaluations)

    def check(self, config: Mapping[str, Any], name: str) -> None:
        check_class(config, name, (*CLASSES, PALIGEMMA, CLIP_T5))

    def build(self, source: Source | None, runtime: Runtime) -> Scorer:
        from compbench_baselines.vlm._clip_t5 import ClipT5, ClipT5Scorer
        from compbench_baselines.vlm._paligemma_scorer import PaliGemmaScorer
        from compbench_baselines.vlm._vqa_loading import load
        from compbench_baselines.vlm._vqa_scorer import VQAScorer

        network, processor = self.loaded(load, source, runtime)
        kinds = {PALIGEMMA: PaliGemmaScorer, ClipT5.__name__: ClipT5Scorer}
        kind = kinds.get(type(network).__name__, VQAScorer)
        return kind(network, processor, self.question, self.answer, runtime)


def _evaluations(examples: Sequence[Example], files: Callable[[], FileList]) -> int:
    is_apart = architecture(files().json(CONFIG)) != PALIGEMMA  # whether pictures go through the network by themselves
    return of_pairs(examples) + (of_images_by_window(examples) if is_apart else 0)


def check_question(question: str, answer: str) -> None:
    """UsageError for a question without a place for the caption, or no answer."""
    if question.count("{}") != 1:
        raise UsageError(f"option 'question' cannot be {question!r}; expected one {{}} for the caption")
    if not answer.strip():
        raise UsageError("option 'answer' cannot be empty; expected a word such as Yes")


def from_address(address: str) -> VQAScore:
    """The model of `vqascore:ADDRESS`.

    >>> from_address("Qwen/Qwen2.5-VL-7B-Instruct").name
    'vqascore:Qwen/Qwen2.5-VL-7B-Instruct'
    """
    return VQAScore.at(address)
