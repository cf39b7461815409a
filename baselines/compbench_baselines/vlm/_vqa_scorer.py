"""Log-probabilities of the answer Yes, of each picture and caption, by a vision-language model.

The soft-max is over the whole vocabulary, at the first token of the answer, in float64; nothing is sampled. The
probability is exp(score).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from compbench.core.errors import DataError
from compbench.core.models import Runtime
from compbench_baselines.vlm._families import AFTER_A_SPACE
from compbench_baselines.vlm._pair_scorer import PairScorer

__all__ = ["VQAScorer"]


class VQAScorer(PairScorer):
    """Asks about each picture and caption."""

    def __init__(self, network: Any, processor: Any, question: str, answer: str, runtime: Runtime) -> None:
        super().__init__(network, processor, question, runtime)
        self._token = self._token_of(self._as_taught(answer))

    def text(self, caption: str) -> Tensor:
        return self._after_picture(self._rendered(self._question.replace("{}", caption)))

    def n_logits(self, captions: Sequence[str]) -> int:
        return 1

    def by_logits(self, captions: Sequence[str], logits: Tensor) -> list[float]:
        return logits[:, -1].float().double().log_softmax(-1)[:, self._token].tolist()

    def _as_taught(self, answer: str) -> str:
        """After a space, where the model was taught to answer so; that is said."""
        if type(self._network).__name__ not in AFTER_A_SPACE or answer[0].isspace():
            return answer
        self._say(f"this model answers after 'Assistant:' and a space, so {' ' + answer!r} is scored")
        return f" {answer}"

    def _token_of(self, answer: str) -> int:
        """The first token of the answer; that there are more is said."""
        tokenizer = self._processor.tokenizer
        tokens: list[int] = tokenizer(answer, add_special_tokens=False)["input_ids"]
        if not tokens:
            raise DataError(f"the tokenizer reads nothing in the answer {answer!r}; expected a word such as Yes")
        if len(tokens) > 1:
            first = tokenizer.convert_ids_to_tokens(tokens[0])
            self._say(f"{answer!r} is {len(tokens)} tokens of this tokenizer; the first, {first!r}, is scored")
        return tokens[0]
