"""Log-likelihoods of captions as what a vision-language model answers to a picture.

A caption stands where the model's answer would, token after token, and its end is not a part of its score. Less its
log-likelihood by the same model and prompt without the picture, where that is asked for: each distinct caption once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from compbench.core.examples import Example
from compbench.core.measurements import ScoreMatrix
from compbench.core.models import Cost, Runtime
from compbench.diffusion.devices import fitting
from compbench_baselines.evaluations import of_captions
from compbench_baselines.probing import first_readable
from compbench_baselines.vlm._families import AFTER_A_SPACE, JANUS
from compbench_baselines.vlm._pair_scorer import PairScorer, padded_left
from compbench_baselines.vlm._text_prior_scorer import log_likelihoods

__all__ = ["CaptionScorer"]


class CaptionScorer(PairScorer):
    """Scores captions as answers to pictures."""

    def __init__(
        self, network: Any, processor: Any, question: str, is_mean: bool, is_less_text: bool, runtime: Runtime
    ) -> None:
        super().__init__(network, processor, question, runtime)
        self._is_mean, self._is_less_text = is_mean, is_less_text
        self._gap = " " if type(network).__name__ in (*AFTER_A_SPACE, JANUS) else ""
        self._asked = self._after_picture(self._rendered(question))
        self._blind = self._tokenized(self._rendered(question, is_seen=False))
        self._tokens: dict[str, Tensor] = {}  # of the captions met
        self._unseen: dict[str, float] = {}  # captions' log-likelihoods without a picture

    def _scored(self, window: Sequence[Example]) -> Iterator[ScoreMatrix]:
        captions = dict.fromkeys(caption for example in window for caption in example.captions)
        self._tokens |= {caption: self._tokens_of(caption) for caption in captions if caption not in self._tokens}
        if self._is_less_text:
            self._read_blindly()
        yield from super()._scored(window)

    def scoring_cost(self, examples: Sequence[Example]) -> Cost:
        """That of the pairs, and of each distinct caption without a picture, where that is subtracted."""
        caption = first_readable(examples)[0].captions[0]
        self._tokens |= {caption: self._tokens_of(caption)}
        seen = super().scoring_cost(examples)
        if not self._is_less_text:
            return seen
        probe, n = self._probed(lambda n: self._unseen_of([caption] * n, n)), of_captions(examples)
        return replace(
            seen,
            evaluations=seen.evaluations + n,
            flops=seen.flops + n * probe.flops,
            seconds=seen.seconds + n * probe.seconds,
        )

    def text(self, caption: str) -> Tensor:
        return torch.cat([self._asked, self._tokens[caption]])

    def n_logits(self, captions: Sequence[str]) -> int:
        return 1 + max(len(self._tokens[caption]) for caption in captions)

    def by_logits(self, captions: Sequence[str], logits: Tensor) -> list[float]:
        found = self._likelihoods(captions, logits)
        return [value - self._unseen.get(caption, 0.0) for caption, value in zip(captions, found, strict=True)]

    def _likelihoods(self, captions: Sequence[str], logits: Tensor) -> list[float]:
        tokens, is_token = padded_left([self._tokens[caption] for caption in captions], self.device)  # [n, longest]
        total = (log_likelihoods(logits[:, :-1], tokens) * is_token).sum(1, dtype=torch.float64)
        return (total / is_token.sum(1) if self._is_mean else total).tolist()

    def _tokens_of(self, caption: str) -> Tensor:
        return torch.tensor(self._processor.tokenizer(self._gap + caption, add_special_tokens=False)["input_ids"])

    def _read_blindly(self) -> None:
        """The log-likelihoods of captions that are still to be read without a picture."""
        new = sorted(self._tokens.keys() - self._unseen.keys(), key=lambda text: (len(self._tokens[text]), text))
        while new:
            found, self._batch_size = fitting(partial(self._unseen_of, new), self._batch_size, self.device, self._say)
            self._advance(len(found))
            self._unseen.update(zip(new, found, strict=False))
            new = new[len(found) :]

    @torch.inference_mode()
    def _unseen_of(self, captions: Sequence[str], n: int) -> list[float]:
        captions = captions[:n]
        rows = [torch.cat([self._blind, self._tokens[caption]]) for caption in captions]
        words, mask = padded_left(rows, self.device)
        return self._likelihoods(captions, self._logits(words, mask, None, self.n_logits(captions)))
