"""VQAScore by PaliGemma 1 and 2, whose prompts attend both ways: picture and question go through them together.

So nothing of a picture can be kept for its next caption. There is no chat template: a prompt is the picture, the
beginning of a text, the task `answer en` with the question, and the end of a line.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from compbench.core.examples import Image
from compbench.core.image_transforms import opaque
from compbench_baselines.vlm._pair_scorer import Pair, padded_left
from compbench_baselines.vlm._vqa_scorer import VQAScorer

__all__ = ["PaliGemmaScorer"]


@dataclass(frozen=True)
class _Pictures:
    row_of: Mapping[Image, int]
    pixels: Tensor  # [pictures, 3, side, side]


class PaliGemmaScorer(VQAScorer):
    """The picture of each pair is encoded for that pair."""

    _has_prefix = False

    def _look_at(self, images: Sequence[Image], n: int) -> _Pictures:
        pictures = [opaque(image.decode()).convert("RGB") for image in images[:n]]
        pixels = self._placed(self._processor.image_processor(pictures, return_tensors="pt"))["pixel_values"]
        return _Pictures({image: row for row, image in enumerate(images[:n])}, pixels)

    def _read(self, pairs: Sequence[Pair], seen: _Pictures, texts: Sequence[Tensor]) -> Tensor:
        picture = torch.full((self._processor.image_seq_length,), self._picture)
        words, mask = padded_left([torch.cat([picture, text]) for text in texts], self.device)
        self._check_lengths(pairs, mask)
        return self._network(
            input_ids=words,
            attention_mask=mask,
            token_type_ids=torch.zeros_like(words),  # a prompt throughout, without the answer
            position_ids=mask.cumsum(1),  # from 1
            pixel_values=seen.pixels[[seen.row_of[image] for image, _ in pairs]],
            logits_to_keep=1,
        ).logits

    def _rendered(self, question: str, is_seen: bool = True) -> str:
        return f"{self._processor.image_token}{self._processor.tokenizer.bos_token}answer en {question}\n"

    def _check_template(self) -> None:
        """There is none."""

    def _as_taught(self, answer: str) -> str:
        """In lower case, as the model was taught to answer questions; that is said."""
        if answer != answer.lower():
            self._say(f"PaliGemma answers in lower case, so {answer.lower()!r} is scored")
        return answer.lower()
