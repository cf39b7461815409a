"""Metrics: whole-array functions of a ScoreTable. A tie is wrong, and counted.

Matching. text: every image scores each of its captions above every other caption; image: every caption scores each
of its images above every other image; group: both (Thrush et al., "Winoground", CVPR 2022, eqs. 1-3).
A metric that does not apply to a shape is absent: text needs two captions, image two images, group both.

Classifying. top1: the best of the true class's captions scores above every caption of another class, so that a class
may have several prompts; mean_per_class: the same outcome, its number the mean over classes.

Suites. What their papers print beside these:
- pair, set: text, and an example is right where both of its pair, or all four of its set, are (tags in_pair, in_set)
- macro, image_macro: text or image, its number the mean over the values of the tag in_macro; examples without it are
  the published exclusions
- ipos_2t, ineg_2t, tpos_2i, tneg_2i: one image's captions, or one caption's images, alone (BiVLC)
- tot: the first image with its caption above either of them with the other (SugarCrepe++, of captions alone)
- p_c, p_f: the caption scores above 0, its foil below, for scores that are log-odds; p_c_half and p_f_half above and
  below 0.5, for probabilities (VALSE). Of scores on another scale, cosines for one, they say nothing
- group_match: the true pairs have the highest sum of all assignments of images to captions
- text_r5, image_r10 ...: a right one is among the first five or ten
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

import numpy as np

from compbench.core import _chances, _outcomes
from compbench.core._chances import Chance
from compbench.core._outcomes import Outcome, image_scores, only_by_a_tie
from compbench.core.aliases import Bools, Ints
from compbench.core.examples import ALL_SCORES, Metric

__all__ = [
    "ABSOLUTE",
    "BY_NAME",
    "CLASSIFYING",
    "GROUP",
    "GROUP_MATCH",
    "IMAGE",
    "IMAGE_MACRO",
    "MACRO",
    "MATCHING",
    "MEAN_PER_CLASS",
    "ONE_SIDED",
    "PAIR",
    "RAW",
    "RECALL",
    "SET",
    "TEXT",
    "TOP1",
    "TOT",
    "column_of",
    "image_scores",
    "named",
    "over_units",
]

_MOST_ASSIGNED = 12  # images: beyond, group_match takes too many sums


def _metric(name: str, outcome: Outcome, chance: Chance, n_images: int, n_captions: int, hangs_on: str = "") -> Metric:
    """A metric of the shapes with at least so many images and captions."""
    return _of_shapes(name, outcome, chance, lambda shape: shape[0] >= n_images and shape[1] >= n_captions, hangs_on)


def _of_shapes(
    name: str, outcome: Outcome, chance: Chance, applies: Callable[[tuple[int, int]], bool], hangs_on: str = ""
) -> Metric:
    return Metric(
        name=name,
        outcome=outcome,
        ties=only_by_a_tie(outcome),
        chance=chance,
        applies=applies,
        hangs_on=hangs_on,
    )


TEXT = _metric("text", _outcomes.text, _chances.text, 1, 2, "text")
IMAGE = _metric("image", _outcomes.image, _chances.image, 2, 1, "image")
GROUP = _metric("group", _outcomes.group, _chances.group, 2, 2, "group")
TOP1 = _metric("top1", _outcomes.top1, _chances.top1, 1, 2)
MEAN_PER_CLASS = replace(TOP1, name="mean_per_class", is_per_class=True)
PAIR = replace(TEXT, name="pair", unit="in_pair", unit_size=2, chance=_chances.power(_chances.text, 2))
SET = replace(TEXT, name="set", unit="in_set", unit_size=4, chance=_chances.power(_chances.text, 4))
MACRO = replace(TEXT, name="macro", is_per_class=True, column="in_macro")
IMAGE_MACRO = replace(IMAGE, name="image_macro", is_per_class=True, column="in_macro")
GROUP_MATCH = _of_shapes(
    "group_match",
    _outcomes.group_match,
    _chances.group_match,
    lambda shape: 2 <= shape[0] == shape[1] <= _MOST_ASSIGNED,
    ALL_SCORES,
)
# the positive image or caption is the first of its example
_OF_ONE: dict[str, tuple[Outcome, Chance]] = {
    "ipos_2t": (_outcomes.of_image(0), _chances.of_image(0)),
    "ineg_2t": (_outcomes.of_image(1), _chances.of_image(1)),
    "tpos_2i": (_outcomes.of_caption(0), _chances.of_caption(0)),
    "tneg_2i": (_outcomes.of_caption(1), _chances.of_caption(1)),
}
ONE_SIDED = {
    name: _of_shapes(name, outcome, chance, lambda shape: shape == (2, 2), ALL_SCORES)
    for name, (outcome, chance) in _OF_ONE.items()
}
# the score that a model takes for "as likely true as false": of log-odds, of probabilities
_AT = {"": 0.0, "_half": 0.5}
ABSOLUTE = {
    f"{name}{suffix}": _of_shapes(
        f"{name}{suffix}", outcome(threshold), lambda matches: None, lambda shape: shape == (1, 2), ALL_SCORES
    )
    for suffix, threshold in _AT.items()
    for name, outcome in (("p_c", _outcomes.caption_above), ("p_f", _outcomes.foil_below))
}
TOT = _of_shapes("tot", _outcomes.tot, _chances.tot, lambda shape: shape == (2, 2), ALL_SCORES)
_AMONG_FIRST = [
    _metric(f"text_r{k}", _outcomes.recalled_text(k), _chances.among_first(k), 1, k + 1, ALL_SCORES) for k in (5, 10)
] + [
    _metric(f"image_r{k}", _outcomes.recalled_image(k), _chances.among_first(k, is_image=True), k + 1, 1, ALL_SCORES)
    for k in (5, 10)
]
RECALL = {metric.name: metric for metric in _AMONG_FIRST}
MATCHING = {metric.name: metric for metric in (TEXT, IMAGE, GROUP)}
CLASSIFYING = {metric.name: metric for metric in (TOP1, MEAN_PER_CLASS)}
BY_NAME = (
    MATCHING
    | CLASSIFYING
    | {metric.name: metric for metric in (PAIR, SET, MACRO, IMAGE_MACRO, GROUP_MATCH, TOT)}
    | ONE_SIDED
    | ABSOLUTE
    | RECALL
)
# beside image and group, where those are of scores that are normalised by the score of no caption
RAW = {
    "image": replace(IMAGE, name="image_raw", outcome=_outcomes.image_raw, ties=only_by_a_tie(_outcomes.image_raw)),
    "group": replace(GROUP, name="group_raw", outcome=_outcomes.group_raw, ties=only_by_a_tie(_outcomes.group_raw)),
}


def named(names: Iterable[str], *, unconditional: bool = False) -> list[Metric]:
    """The metrics that a stored run's `names` stand for; names that are unknown here are passed over.

    `unconditional`: the raw forms too of those that the score without a caption normalises.
    """
    known = [BY_NAME[name] for name in names if name in BY_NAME]
    return [*known, *(RAW[metric.name] for metric in known if unconditional and metric.name in RAW)]


def column_of(metric: Metric) -> str:
    """The tag column without which an example does not count in the metric; "" where every example counts.

    The class of a classification is not such a column: every example has one.
    """
    return metric.unit or (metric.column if metric.is_per_class and metric.column != "class" else "")


def over_units(metric: Metric, values: Sequence[str], is_right: Bools) -> tuple[Ints, Bools]:
    """The rows [M] of [N] that count in a metric and whether they are right [M, ...]; `values` [N] are of its column.

    A row without a value does not count, nor does one of a unit that lacks some of its examples.

    >>> rows, right = over_units(PAIR, ["a", "a", "b", "c", "c", ""], np.array([1, 1, 1, 1, 0, 1], bool))
    >>> rows.tolist(), right.tolist()
    ([0, 1, 3, 4], [True, True, False, False])
    """
    rows = np.flatnonzero(np.array([bool(value) for value in values], bool))
    if not metric.unit or not len(rows):
        return rows, is_right[rows]
    _, unit_of, sizes = np.unique(np.array(values)[rows], return_inverse=True, return_counts=True)
    is_whole = sizes[unit_of] == metric.unit_size
    rows, unit_of = rows[is_whole], unit_of[is_whole]
    all_right = np.ones((len(sizes), *is_right.shape[1:]), bool)
    np.logical_and.at(all_right, unit_of, is_right[rows])
    return rows, all_right[unit_of]
