"""Metrics: whole-array functions of a ScoreTable. A tie is wrong, and counted.

Matching. text: every image scores each of its captions above every other caption; image: every caption scores each
of its images above every other image; group: both (Thrush et al., "Winoground", CVPR 2022, eqs. 1-3).
A metric that does not apply to a shape is absent: text needs two captions, image two images, group both.

Classifying. top1: the best of the true class's captions scores above every caption of another class, so that a class
may have several prompts; mean_per_class: the same outcome, its number the mean over classes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from fractions import Fraction
from functools import cache
from math import comb, factorial, prod

import numpy as np

from compbench.core.aliases import Bools, Floats
from compbench.core.examples import Metric, ScoreTable

__all__ = [
    "BY_NAME",
    "CLASSIFYING",
    "GROUP",
    "IMAGE",
    "MATCHING",
    "MEAN_PER_CLASS",
    "RAW",
    "TEXT",
    "TOP1",
    "image_scores",
    "named",
]


def _wins(scores: Floats, matches: Bools, *, or_ties: bool) -> Bools:
    """[N]: along the last axis, the lowest true score beats the highest false one, in every row."""
    # candidates first: a reduction over many short rows is slow along the axis that is contiguous
    scores, matches = np.ascontiguousarray(scores.T), np.ascontiguousarray(matches.T)  # [C, I, N]
    lowest_true = np.where(matches, scores, np.inf).min(0)
    highest_false = np.where(matches, -np.inf, scores).max(0)
    beats = lowest_true >= highest_false if or_ties else lowest_true > highest_false
    return beats.all(0)


def _text(table: ScoreTable, *, or_ties: bool = False) -> Bools:
    return _wins(table.scores, table.matches, or_ties=or_ties)


def _image_raw(table: ScoreTable, *, or_ties: bool = False) -> Bools:
    return _wins(table.scores.swapaxes(1, 2), table.matches.swapaxes(1, 2), or_ties=or_ties)


def _image(table: ScoreTable, *, or_ties: bool = False) -> Bools:
    return _wins(image_scores(table).swapaxes(1, 2), table.matches.swapaxes(1, 2), or_ties=or_ties)


def image_scores(table: ScoreTable) -> Floats:
    """[N, I, C], what images are compared by: one that is easy under any caption, and under none, gains nothing."""
    return table.scores if table.unconditional is None else table.scores - table.unconditional[:, :, None]


def _group(table: ScoreTable, *, or_ties: bool = False) -> Bools:
    return _text(table, or_ties=or_ties) & _image(table, or_ties=or_ties)


def _top1(table: ScoreTable, *, or_ties: bool = False) -> Bools:
    """[N]: in every row, the highest true score beats the highest false one."""
    highest_true = np.where(table.matches, table.scores, -np.inf).max(-1)
    highest_false = np.where(table.matches, -np.inf, table.scores).max(-1)
    beats = highest_true >= highest_false if or_ties else highest_true > highest_false
    return beats.all(-1)


def _top1_chance(matches: Bools) -> float:
    """Rows are independent; the highest of n scores is one of the k true ones with probability k / n."""
    return float(prod(Fraction(int(k), matches.shape[1]) for k in matches.sum(1)))


def _group_raw(table: ScoreTable, *, or_ties: bool = False) -> Bools:
    return _text(table, or_ties=or_ties) & _image_raw(table, or_ties=or_ties)


def _only_by_a_tie(outcome: Callable[..., Bools]) -> Callable[[ScoreTable], Bools]:
    """Whether an outcome is wrong for no other reason than that two scores are equal."""
    return lambda table: outcome(table, or_ties=True) & ~outcome(table)


def _text_chance(matches: Bools) -> float:
    """Rows are independent; k true among n scores come first with probability 1 / C(n, k)."""
    return float(prod(Fraction(1, comb(matches.shape[1], int(k))) for k in matches.sum(1)))


def _image_chance(matches: Bools) -> float:
    return _text_chance(matches.T)


def _group_chance(matches: Bools) -> float | None:
    """Known for n images with one caption each; None for other patterns."""
    n = matches.shape[0]
    is_one_to_one = matches.shape == (n, n) and (matches.sum(0) == 1).all() and (matches.sum(1) == 1).all()
    if not is_one_to_one:
        return None
    return float(Fraction(_orders(n, 0, 0), factorial(n * n)))


@cache
def _orders(n: int, n_true: int, n_false: int) -> int:
    """Descending orders of an n x n matrix in which a false entry comes after both true ones of its row and column."""
    if n_true + n_false == n * n:
        return 1
    total = 0
    if n_true < n:
        total += (n - n_true) * _orders(n, n_true + 1, n_false)
    free = n_true * (n_true - 1) - n_false
    if free > 0:
        total += free * _orders(n, n_true, n_false + 1)
    return total


TEXT = Metric(
    name="text",
    outcome=_text,
    ties=_only_by_a_tie(_text),
    chance=_text_chance,
    applies=lambda shape: shape[0] >= 1 and shape[1] >= 2,
)
IMAGE = Metric(
    name="image",
    outcome=_image,
    ties=_only_by_a_tie(_image),
    chance=_image_chance,
    applies=lambda shape: shape[0] >= 2 and shape[1] >= 1,
)
GROUP = Metric(
    name="group",
    outcome=_group,
    ties=_only_by_a_tie(_group),
    chance=_group_chance,
    applies=lambda shape: shape[0] >= 2 and shape[1] >= 2,
)
TOP1 = Metric(
    name="top1",
    outcome=_top1,
    ties=_only_by_a_tie(_top1),
    chance=_top1_chance,
    applies=lambda shape: shape[0] >= 1 and shape[1] >= 2,
)
MEAN_PER_CLASS = replace(TOP1, name="mean_per_class", is_per_class=True)
MATCHING = {metric.name: metric for metric in (TEXT, IMAGE, GROUP)}
CLASSIFYING = {metric.name: metric for metric in (TOP1, MEAN_PER_CLASS)}
BY_NAME = MATCHING | CLASSIFYING
# beside image and group, where those are of scores that are normalised by the score of no caption
RAW = {
    "image": replace(IMAGE, name="image_raw", outcome=_image_raw, ties=_only_by_a_tie(_image_raw)),
    "group": replace(GROUP, name="group_raw", outcome=_group_raw, ties=_only_by_a_tie(_group_raw)),
}


def named(names: Iterable[str], *, unconditional: bool = False) -> list[Metric]:
    """The metrics that a stored run's `names` stand for; names that are unknown here are passed over.

    `unconditional`: the raw forms too of those that the score without a caption normalises.
    """
    known = [BY_NAME[name] for name in names if name in BY_NAME]
    return [*known, *(RAW[metric.name] for metric in known if unconditional and metric.name in RAW)]
