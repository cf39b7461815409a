"""Whether each example of a ScoreTable is right, one function per outcome; a tie is wrong unless `or_ties`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np

from compbench.core.aliases import Bools, Floats
from compbench.core.examples import ScoreTable

__all__ = [
    "Outcome",
    "caption_above",
    "foil_below",
    "group",
    "group_match",
    "group_raw",
    "image",
    "image_raw",
    "image_scores",
    "of_caption",
    "of_image",
    "only_by_a_tie",
    "recalled_image",
    "recalled_text",
    "text",
    "top1",
    "tot",
]


class Outcome(Protocol):
    def __call__(self, table: ScoreTable, *, or_ties: bool = False) -> Bools: ...  # [N]


def only_by_a_tie(outcome: Outcome) -> Callable[[ScoreTable], Bools]:
    """Whether an outcome is wrong for no other reason than that two scores are equal."""
    return lambda table: outcome(table, or_ties=True) & ~outcome(table)


def image_scores(table: ScoreTable) -> Floats:
    """[N, I, C], what images are compared by: one that is easy under any caption, and under none, gains nothing."""
    return table.scores if table.unconditional is None else table.scores - table.unconditional[:, :, None]


def text(table: ScoreTable, *, or_ties: bool = False) -> Bools:
    return _wins(table.scores, table.matches, or_ties=or_ties)


def image(table: ScoreTable, *, or_ties: bool = False) -> Bools:
    return _wins(image_scores(table).swapaxes(1, 2), table.matches.swapaxes(1, 2), or_ties=or_ties)


def image_raw(table: ScoreTable, *, or_ties: bool = False) -> Bools:
    return _wins(table.scores.swapaxes(1, 2), table.matches.swapaxes(1, 2), or_ties=or_ties)


def group(table: ScoreTable, *, or_ties: bool = False) -> Bools:
    return text(table, or_ties=or_ties) & image(table, or_ties=or_ties)


def group_raw(table: ScoreTable, *, or_ties: bool = False) -> Bools:
    return text(table, or_ties=or_ties) & image_raw(table, or_ties=or_ties)


def of_image(place: int) -> Outcome:
    """`text` of one image alone."""

    def outcome(table: ScoreTable, *, or_ties: bool = False) -> Bools:
        row = slice(place, place + 1)
        return _wins(table.scores[:, row], table.matches[:, row], or_ties=or_ties)

    return outcome


def of_caption(place: int) -> Outcome:
    """`image` of one caption alone."""

    def outcome(table: ScoreTable, *, or_ties: bool = False) -> Bools:
        row = slice(place, place + 1)
        scores, matches = image_scores(table).swapaxes(1, 2), table.matches.swapaxes(1, 2)
        return _wins(scores[:, row], matches[:, row], or_ties=or_ties)

    return outcome


def tot(table: ScoreTable, *, or_ties: bool = False) -> Bools:
    """[N]: the first true pair beats its image with the other caption, and its caption with the other image."""
    return of_image(0)(table, or_ties=or_ties) & of_caption(0)(table, or_ties=or_ties)


def caption_above(threshold: float) -> Outcome:
    """Whether the true caption of one image is taken for true."""
    return lambda table, *, or_ties=False: (np.greater_equal if or_ties else np.greater)(
        table.scores[:, 0, 0], threshold
    )


def foil_below(threshold: float) -> Outcome:
    """Whether the other caption of one image is taken for false."""
    return lambda table, *, or_ties=False: (np.less_equal if or_ties else np.less)(table.scores[:, 0, 1], threshold)


def top1(table: ScoreTable, *, or_ties: bool = False) -> Bools:
    """[N]: in every row, the highest true score beats the highest false one."""
    return _among_first(table.scores, table.matches, 1, or_ties=or_ties)


def recalled_text(k: int) -> Outcome:
    """For every image, one of its captions is among the first `k`."""
    return lambda table, *, or_ties=False: _among_first(table.scores, table.matches, k, or_ties=or_ties)


def recalled_image(k: int) -> Outcome:
    """For every caption, one of its images is among the first `k`."""

    def outcome(table: ScoreTable, *, or_ties: bool = False) -> Bools:
        return _among_first(image_scores(table).swapaxes(1, 2), table.matches.swapaxes(1, 2), k, or_ties=or_ties)

    return outcome


def group_match(table: ScoreTable, *, or_ties: bool = False) -> Bools:
    """[N]: the sum of the true pairs exceeds that of every other way to give each of k images a caption of its own.

    The score of no caption is in every sum alike and changes nothing. Takes k 2^k sums.
    """
    k = table.scores.shape[1]
    caption_of = table.matches.argmax(-1)[:, None, :].repeat(k, 1)
    scores = np.take_along_axis(table.scores, caption_of, -1)  # [N, k, k], the true pairs on the diagonal
    true = np.cumsum(np.diagonal(scores, axis1=1, axis2=2), axis=-1)  # [N, k], of the first images
    # captions given to the first images, as bits -> the best sum that is not the true one
    best = {0: np.full(len(scores), -np.inf)}
    for given in range(1, 1 << k):
        last = given.bit_count() - 1
        captions = [c for c in range(k) if given >> c & 1]
        sums = [best[given & ~(1 << c)] + scores[:, last, c] for c in captions]
        so_far_true = [c for c in captions if given & ~(1 << c) == (1 << last) - 1 and c != last]
        sums += [(true[:, last - 1] if last else 0.0) + scores[:, last, c] for c in so_far_true]
        best[given] = np.max(sums, axis=0)
    other = best[(1 << k) - 1]
    return true[:, -1] >= other if or_ties else true[:, -1] > other


def _wins(scores: Floats, matches: Bools, *, or_ties: bool) -> Bools:
    """[N]: along the last axis, the lowest true score beats the highest false one, in every row."""
    lowest_true = np.where(matches, scores, np.inf).min(-1)
    highest_false = np.where(matches, -np.inf, scores).max(-1)
    beats = lowest_true >= highest_false if or_ties else lowest_true > highest_false
    return beats.all(-1)


def _among_first(scores: Floats, matches: Bools, k: int, *, or_ties: bool) -> Bools:
    """[N]: along the last axis, fewer than `k` false scores reach the highest true one, in every row."""
    highest_true = np.where(matches, scores, -np.inf).max(-1, keepdims=True)
    before = ~(scores <= highest_true) if or_ties else ~(scores < highest_true)  # NaN beats everything
    return ((before & ~matches).sum(-1) < k).all(-1)
