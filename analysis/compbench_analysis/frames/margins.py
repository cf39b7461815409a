"""The certainty of a run on each example: its decision margin, the margin's standard error, and whether it may flip."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from compbench.core.aliases import Bools, Floats
from compbench.core.errors import UsageError
from compbench.core.examples import ErrorTable
from compbench.core.metrics import TOP1
from compbench.core.packages import named
from compbench.core.rules import Rule, scores_under
from compbench_analysis.frames.signature import labels
from compbench_analysis.frames.stored_errors import Stored
from compbench_analysis.statistics.resampling import standard_error

if TYPE_CHECKING:
    from compbench.store.run import Run

__all__ = ["flip_probability", "margins"]


def margins(runs: Run | Iterable[Run], rule: Rule | None = None) -> pd.DataFrame:
    """A row per run, example and metric: margin, its standard error over draws, p_flip, tags.

    The metric is text, image or top1, and image_raw beside an image score that is normalised by that of no caption.
    `margin` is the lowest true minus the highest false score (top1: the highest true one), where that is worst, as in
    `Run.to_frame`. `se` is that of the mean paired difference between those two pairs (resampling.standard_error);
    `p_flip` is `flip_probability`. Both take the deciding pairs as given: where others come close, they say too little.
    """
    given = runs if isinstance(runs, Iterable) else [runs]
    runs = list({run.path: run for run in given}.values())
    return pd.concat(
        [_of_run(run, label, rule) for run, label in zip(runs, labels(runs), strict=True)], ignore_index=True
    )


def flip_probability(margin: Floats, se: Floats) -> Floats:
    """The chance that as many other draws decide otherwise: Phi(-|margin| / (sqrt(2) se)); 0.5 for a margin of 0.

    Both margins err normally around the same unknown one, hence the root of two (Killeen, Psychological Science 16,
    2005, whose p_rep is one minus this). NaN where the standard error is not known.

    >>> flip_probability(np.array([0.0, 2.0]), np.array([1.0, 1.0])).round(3).tolist()
    [0.5, 0.079]
    """
    with named():
        from scipy import special

    with np.errstate(divide="ignore", invalid="ignore"):
        z = np.where(np.asarray(margin) == 0, np.where(np.isnan(se), np.nan, 0.0), np.abs(margin) / se)
    return special.ndtr(-z / np.sqrt(2))


def _of_run(run: Run, label: str, rule: Rule | None) -> pd.DataFrame:
    stored = Stored(run, rule)
    pieces = list(_of_pieces(stored))
    if not pieces:
        raise UsageError(f"run {str(run.path)!r} has no text or image metric for a margin to be measured on")
    found = pd.concat(pieces, ignore_index=True)
    found.insert(0, "model", label)
    found.insert(0, "task", run.key.task)
    found["is_right"] = found["margin"] > 0
    found["p_flip"] = flip_probability(found["margin"].to_numpy(), found["se"].to_numpy())
    found["n_draws"] = stored.n_draws
    found["run"] = run.key.digest
    examples = run.examples()
    order = {example_id: number for number, example_id in enumerate(examples["id"])}
    ordered = found.sort_values("id", key=lambda ids: ids.map(order), kind="stable", ignore_index=True)
    tags = pd.DataFrame(
        [{name: ", ".join(values) for name, values in example.items()} for example in examples["tags"]],
        index=list(examples["id"]),
    )
    return ordered.join(tags.rename(columns=lambda name: f"{name}_tag" if name in ordered else name), on="id")


def _of_pieces(stored: Stored) -> Iterator[pd.DataFrame]:
    names = {metric.name for metric in stored.metrics}
    weights = stored.weights[None] / stored.n_draws
    for table in stored.tables():
        for name, (errors, scores, matches) in _sides(table, weights).items():
            if name in names and matches.shape[2] >= 2:
                margin, se = _decided(errors, scores, matches, stored, is_any=name == TOP1.name)
                yield pd.DataFrame({"id": table.ids, "metric": name, "margin": margin, "se": se})


def _sides(table: ErrorTable, weights: Floats) -> dict[str, tuple[Floats, Floats, Bools]]:
    """Errors, scores and matches [N, rows, alternatives] by metric; the alternatives of a row are compared."""
    errors, matches = table.errors, table.matches
    (scores,) = scores_under(errors, weights)  # [N, I, C]
    raw = errors.swapaxes(1, 2), scores.swapaxes(1, 2), matches.swapaxes(1, 2)
    by_caption = errors, scores, matches
    sides = {"text": by_caption, TOP1.name: by_caption, "image": raw}
    if table.unconditional is None:
        return sides
    (without,) = scores_under(table.unconditional[:, :, None], weights)  # [N, I, 1]
    gained = errors.astype(np.float64) - table.unconditional[:, :, None]
    return {**sides, "image": (gained.swapaxes(1, 2), (scores - without).swapaxes(1, 2), raw[2]), "image_raw": raw}


def _decided(errors: Floats, scores: Floats, matches: Bools, stored: Stored, *, is_any: bool) -> tuple[Floats, Floats]:
    """The margin [N] of the worst row, and its standard error; `is_any`: the best of a row's true scores counts."""
    true = np.where(matches, scores, -np.inf).argmax(-1) if is_any else np.where(matches, scores, np.inf).argmin(-1)
    false = np.where(matches, -np.inf, scores).argmax(-1)  # [N, rows]
    every, rows = np.arange(len(scores))[:, None], np.arange(scores.shape[1])
    by_row = scores[every, rows, true] - scores[every, rows, false]
    worst = by_row.argmin(-1)  # [N]
    every = every[:, 0]
    paired = errors[every, worst, false[every, worst]].astype(np.float64)
    paired -= errors[every, worst, true[every, worst]]  # [N, D]
    return by_row[every, worst], standard_error(paired * stored.weights, stored.draws.timesteps, stored.units)
