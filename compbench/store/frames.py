"""A run as a data frame: one row per example."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from compbench.core.aliases import Bools, Floats, Ints
from compbench.core.examples import Classes, Metric, ScoreTable
from compbench.core.metrics import TOP1, column_of, image_scores, named, over_units
from compbench.core.printable import printable, to_cell

if TYPE_CHECKING:
    from compbench.store.stored_examples import StoredExamples

__all__ = ["as_cells", "predicted", "to_frame"]

Shape = tuple[int, int]


def to_frame(
    tables: Mapping[Shape, ScoreTable], examples: StoredExamples, metrics: Sequence[str], classes: Classes | None = None
) -> pd.DataFrame:
    """The rows of `tables` in the order of `examples`.

    id; text, image, group as far as they apply; text_tie ...: wrong only because two scores are equal; text_margin,
    image_margin: lowest true minus highest false score, where that is worst; one column for each kind of tag;
    score_i_c of image i and caption c. An example that does not count in a metric has none of its outcome. Where the
    score without a caption was measured, score_i_without, by which image and group are normalised, and image_raw,
    image_raw_margin and group_raw, which are not.

    Of a classification, whatever the number of classes: id; top1 and top1_tie; prediction, the class of the highest
    score (empty where two classes share it); top1_margin; score_true and score_false, the highest of the true class
    and of all others; the tags, among them class.
    """
    is_normalised = any(table.unconditional is not None for table in tables.values())
    judging = named(metrics, unconditional=is_normalised)
    of_one_shape = partial(_of_one_shape, judging) if classes is None else partial(_of_classes, classes)
    frame = pd.concat([of_one_shape(shape, table) for shape, table in tables.items()], ignore_index=True)
    tags = pd.DataFrame([_joined(tags) for tags in examples.tags], index=examples.ids)
    described = frame[["id"]].join(tags, on="id").drop(columns="id")
    for metric in judging:
        if metric.name in frame and column_of(metric):
            frame = _counted(frame, metric, described)
    is_score = frame.columns.str.fullmatch(r"score_\d+_(\d+|without)")
    ordered = pd.concat([frame.loc[:, ~is_score], described, frame.loc[:, is_score]], axis=1)
    order = pd.Series(range(len(examples.ids)), index=examples.ids)
    return ordered.sort_values("id", key=lambda ids: ids.map(order)).reset_index(drop=True)


def as_cells(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame as a CSV file should hold it: no text, and no name of a column, that a spreadsheet takes for a formula.

    `compbench import` and files of tags are read with the apostrophes taken away again.
    """
    cells = frame.map(lambda cell: to_cell(printable(cell)) if isinstance(cell, str) else cell)
    return cells.rename(columns=lambda name: to_cell(printable(str(name))))


def _of_classes(classes: Classes, shape: Shape, table: ScoreTable) -> pd.DataFrame:
    scores, matches = table.scores[:, 0], table.matches[:, 0]  # [N, C]
    best_true = np.where(matches, scores, -np.inf).max(-1)
    best_false = np.where(matches, -np.inf, scores).max(-1)
    names = np.array([*classes.names, ""], dtype=object)
    return pd.DataFrame(
        {
            "id": list(table.ids),
            "top1": TOP1.outcome(table),
            "top1_tie": TOP1.ties(table),
            "prediction": names[predicted(scores, classes)],
            "top1_margin": best_true - best_false,
            "score_true": best_true,
            "score_false": best_false,
        }
    )


def predicted(scores: Floats, classes: Classes) -> Ints:
    """[N]: the class of each row's highest score [N, C]; -1 where captions of several classes share it."""
    of_caption = np.array(classes.of_caption)
    if not scores.size:
        return np.zeros(len(scores), int)
    is_best = scores == scores.max(-1, keepdims=True)
    lowest = np.where(is_best, of_caption, len(classes.names)).min(-1)
    highest = np.where(is_best, of_caption, -1).max(-1)
    return np.where(lowest == highest, lowest, -1)


def _of_one_shape(metrics: Sequence[Metric], shape: Shape, table: ScoreTable) -> pd.DataFrame:
    applying = {metric.name: metric for metric in metrics if metric.applies(shape)}
    columns: dict[str, object] = {"id": list(table.ids)}
    columns |= {name: metric.outcome(table) for name, metric in applying.items()}
    columns |= {f"{name}_tie": metric.ties(table) for name, metric in applying.items()}
    if "text" in applying:
        columns["text_margin"] = _margin(table.scores, table.matches)
    if "image" in applying:
        columns["image_margin"] = _margin(image_scores(table).swapaxes(1, 2), table.matches.swapaxes(1, 2))
    if "image_raw" in applying:
        columns["image_raw_margin"] = _margin(table.scores.swapaxes(1, 2), table.matches.swapaxes(1, 2))
    columns |= {f"score_{i}_{c}": table.scores[:, i, c] for i, c in np.ndindex(shape)}
    if table.unconditional is not None:
        columns |= {f"score_{i}_without": table.unconditional[:, i] for i in range(shape[0])}
    return pd.DataFrame(columns)


def _counted(frame: pd.DataFrame, metric: Metric, described: pd.DataFrame) -> pd.DataFrame:
    """The frame with a metric's outcomes of whole units, and none for the examples that do not count in it."""
    tie = f"{metric.name}_tie"
    applies = np.flatnonzero(frame[metric.name].notna())
    values = described[column_of(metric)].fillna("") if column_of(metric) in described else pd.Series("", frame.index)
    own = [str(value) for value in values.iloc[applies]]
    is_right = frame[metric.name].iloc[applies].to_numpy(bool)
    or_tied = is_right | frame[tie].iloc[applies].to_numpy(bool)
    rows, right = over_units(metric, own, np.stack([is_right, or_tied], axis=1))
    found = pd.DataFrame(index=frame.index, columns=[metric.name, tie], dtype=object)
    found.iloc[applies[rows]] = np.stack([right[:, 0], right[:, 1] & ~right[:, 0]], axis=1).astype(object)
    return frame.assign(**{name: found[name] for name in found})


def _margin(scores: Floats, matches: Bools) -> Floats:
    """[N]: along the last axis, the lowest true minus the highest false score, in the worst row."""
    lowest_true = np.where(matches, scores, np.inf).min(-1)
    highest_false = np.where(matches, -np.inf, scores).max(-1)
    return (lowest_true - highest_false).min(-1)


def _joined(tags: Mapping[str, Sequence[str]]) -> dict[str, str]:
    return {name: ", ".join(values) for name, values in tags.items()}
