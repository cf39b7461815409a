"""Choices of a service: which caption describes a picture, or which picture a caption describes. No scores.

The options are listed in an order drawn for each question, since models prefer the first, and answered by a letter.
"""

from __future__ import annotations

import hashlib
import re
import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from compbench.core.aliases import Floats, Ints, Json
from compbench.core.errors import DataError
from compbench.core.examples import Example
from compbench.core.measurements import ScoreMatrix
from compbench_baselines.api._answers import Reply
from compbench_baselines.api._scorer import Query
from compbench_baselines.captions import quoted

__all__ = ["AmongCaptions", "AmongImages", "chosen"]

_SETTINGS: Mapping[str, Json] = {"max_tokens": 5, "temperature": 0}
_LETTERS = string.ascii_uppercase
_ALONE = "Answer with its letter alone."


@dataclass(frozen=True)
class _Choice:
    """A question whose options are listed in an order that follows from `seed`."""

    seed: int
    doubtful = "abstentions"
    settings = _SETTINGS

    def lack(self, reply: Reply) -> str:
        """Nothing: any text is a choice or an abstention."""
        return ""


class AmongCaptions(_Choice):
    """Asks for the caption of each picture."""

    def queries(self, example: Example) -> list[Query]:
        """A question for each image."""
        questions: list[Query] = []
        for number, image in enumerate(example.images):
            order = _order(example, self.seed, number, len(example.captions))
            listed = "\n".join(f"{_LETTERS[place]}. {example.captions[c]}" for place, c in enumerate(order))
            text = f"Which caption describes this picture? {_ALONE}\n{listed}"
            questions.append(Query((image, text), f"image {image.name!r}"))
        return questions

    def result(self, example: Example, replies: Sequence[Reply]) -> tuple[ScoreMatrix, int]:
        """1 for what was chosen, and how often nothing was."""
        rows, n_none = _rows(example, replies, self.seed, len(example.captions))
        return ScoreMatrix(example.id, rows), n_none


class AmongImages(_Choice):
    """Asks for the picture of each caption."""

    def queries(self, example: Example) -> list[Query]:
        """A question for each caption."""
        questions: list[Query] = []
        for number, caption in enumerate(example.captions):
            order = _order(example, self.seed, number, len(example.images))
            listed = [part for place, i in enumerate(order) for part in (f"{_LETTERS[place]}.", example.images[i])]
            text = f'Which of these pictures shows "{caption}"? {_ALONE}'
            questions.append(Query((*listed, text), f"caption {quoted(caption)}"))
        return questions

    def result(self, example: Example, replies: Sequence[Reply]) -> tuple[ScoreMatrix, int]:
        """1 for what was chosen, and how often nothing was."""
        rows, n_none = _rows(example, replies, self.seed, len(example.images))
        return ScoreMatrix(example.id, rows.T.copy()), n_none


def _order(example: Example, seed: int, number: int, n: int) -> Ints:
    """[n] the options as they are listed for a question."""
    if n > len(_LETTERS):
        raise DataError(f"example {example.id!r} has {n} options; expected at most {len(_LETTERS)} to choose from")
    digest = hashlib.sha256(f"{seed}\x1f{example.id}\x1f{number}".encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:8])).permutation(n)


def _rows(example: Example, replies: Sequence[Reply], seed: int, n: int) -> tuple[Floats, int]:
    """[question, option] and the number of questions without a choice, whose options tie, which is wrong."""
    rows = np.zeros((len(replies), n))
    for number, reply in enumerate(replies):
        if (place := chosen(reply.text, n)) is not None:
            rows[number, _order(example, seed, number, n)[place]] = 1
    return rows, int((rows.sum(1) == 0).sum())


def chosen(text: str, n: int) -> int | None:
    """The place of the letter that an answer begins with, None where there is none of the `n` offered.

    >>> chosen("B", 2), chosen(" **B**.", 2), chosen("A red", 2), chosen("Both", 2), chosen("C", 2)
    (1, 1, None, None, None)
    """
    found = re.match(r"[^A-Za-z]*([A-Za-z])(?!\w)(?! +\w)", text)  # "A red ..." begins with an article
    place = -1 if found is None else _LETTERS.index(found[1].upper())
    return place if 0 <= place < n else None
