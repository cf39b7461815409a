"""VQAScore of a service: the log-probability of Yes, or an upper bound where Yes is not among the tokens it tells."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from compbench.core.aliases import Json
from compbench.core.examples import Example
from compbench.core.measurements import ScoreMatrix
from compbench_baselines.api._answers import Reply
from compbench_baselines.api._scorer import Query
from compbench_baselines.captions import quoted

__all__ = ["YesNo", "log_probability"]

_ROUNDING = 1e-6  # of what a service's probabilities sum to


@dataclass(frozen=True)
class YesNo:
    """Asks about each picture and caption."""

    question: str
    answer: str
    n_told: int
    doubtful = "upper_bounds"

    @property
    def settings(self) -> Mapping[str, Json]:
        """The fields of a request for the first token and the likeliest ones in its place, as the model has them."""
        return {"max_tokens": 1, "temperature": 1, "top_p": 1, "logprobs": True, "top_logprobs": self.n_told}

    def queries(self, example: Example) -> list[Query]:
        """Image by image, with each caption."""
        return [
            Query((image, self.question.replace("{}", caption)), f"image {image.name!r} and caption {quoted(caption)}")
            for image in example.images
            for caption in example.captions
        ]

    def lack(self, reply: Reply) -> str:
        """Log-probabilities, where there are none."""
        if reply.top:
            return ""
        return (
            "the service tells no log-probabilities; expected one that does (top_logprobs): api-choice:MODEL asks "
            "others to choose"
        )

    def result(self, example: Example, replies: Sequence[Reply]) -> tuple[ScoreMatrix, int]:
        """The scores, and how many of them are upper bounds."""
        found = [log_probability(reply, self.answer) for reply in replies]
        scores = np.array([score for score, _ in found]).reshape(example.shape)
        return ScoreMatrix(example.id, scores), sum(is_bound for _, is_bound in found)


def log_probability(reply: Reply, answer: str) -> tuple[float, bool]:
    """The log-probability of the answer, with or without a space before it, and whether it is an upper bound.

    An answer that is not told is at most as likely as the least likely token that is, and as all that is left.

    >>> top = (("No", math.log(0.75)), ("Maybe", math.log(0.125)))
    >>> round(math.exp(log_probability(Reply("No", top, "", ""), "Yes")[0]), 3)
    0.125
    """
    if found := [value for token, value in reply.top if token.strip() == answer.strip()]:
        return min(float(np.logaddexp.reduce(found)), 0.0), False
    left = max(1 - sum(math.exp(value) for _, value in reply.top), 0.0) + _ROUNDING
    return min(*(value for _, value in reply.top), math.log(left)), True
