"""Checks a model's results before they are stored: a plugin's mistake must not become a number in a table.

Results wait in memory before they are written, so they are copied: a model may fill one array again and again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from compbench.core.aliases import Floats, Ints
from compbench.core.errors import RunError, nan_advice
from compbench.core.examples import Example
from compbench.core.measurements import Measurement, ScoreMatrix

__all__ = ["LARGEST_SCORE", "checked_result"]

LARGEST_SCORE = 1e100  # squares and differences of larger ones overflow


def checked_result(
    result: object, examples: Mapping[str, Example], n_bank: int | None, dtype: object = None
) -> ScoreMatrix | Measurement:
    """The result in arrays of its own; RunError for one that is not what it should be: kind, shape, values, draws.

    `n_bank`: how many draws the bank has; `dtype`: of the network. Whether an example of another name was asked for is
    the caller's to check.
    """
    if not isinstance(result, ScoreMatrix | Measurement):
        raise RunError(f"the model gave a {type(result).__name__}; expected a ScoreMatrix or a Measurement")
    if (example := examples.get(result.example_id)) is None:
        return result
    where = f"example {example.id!r}"
    if isinstance(result, ScoreMatrix):
        _check_array("scores", result.scores, example.shape, where)
        if result.unconditional is not None:
            _check_array("unconditional scores", result.unconditional, example.shape[:1], where)
        _check_by_position(result, where)
        for scores in (result.scores, result.unconditional):
            if scores is not None:
                _check_size(scores, where)
                _check_digits(scores, where)
    else:
        _check_measurement(result, example, n_bank, where)
    _check_finite(result, example, dtype)
    return _copied(result)


def _copied(result: ScoreMatrix | Measurement) -> ScoreMatrix | Measurement:
    if isinstance(result, ScoreMatrix):
        without, grids = result.unconditional, result.by_position
        return ScoreMatrix(
            result.example_id,
            np.array(result.scores, np.float64),
            None if without is None else np.array(without, np.float64),
            None if grids is None else np.array(grids),
        )
    errors = {loss: np.array(values) for loss, values in result.errors.items()}
    return replace(result, draw_ids=np.array(result.draw_ids), errors=errors, measured=np.array(result.measured))


def _check_size(scores: Floats, where: str) -> None:
    wide = np.abs(scores[np.isfinite(scores)].astype(np.float64))  # 1e100 is beyond float16
    if (wide > LARGEST_SCORE).any():
        raise RunError(
            f"the model gave a score of {wide.max():.3g} for {where}; "
            f"expected scores between -{LARGEST_SCORE:g} and {LARGEST_SCORE:g}"
        )


def _check_digits(scores: Floats, where: str) -> None:
    """RunError for scores that would tie when they are stored and do not."""
    if scores.dtype.itemsize >= 8 and len(np.unique(scores.astype(np.float64))) < len(np.unique(scores)):
        raise RunError(
            f"the model gave scores of dtype {scores.dtype} for {where} that are equal in float64, in which they are "
            "stored; take away what they have in common"
        )


def _check_finite(result: Measurement | ScoreMatrix, example: Example, dtype: object) -> None:
    values, bad = _not_finite(result)
    if len(bad):
        image, caption, *draw = (int(place) for place in bad[0])
        where = f", draw {int(result.draw_ids[draw[0]])}" if isinstance(result, Measurement) else ""
        raise RunError(
            f"the model gave {values[tuple(bad[0])]} for example {example.id!r}, image {image}, "
            f"{_caption(example, caption)}{where}, and {len(bad) - 1} more such values there; stored measurements "
            f"are kept: {nan_advice(dtype)}"
        )


def _check_by_position(result: ScoreMatrix, where: str) -> None:
    """RunError for anything but a grid per score, all of one size."""
    grids: Any = result.by_position
    if grids is None:
        return
    grid: tuple[int, ...] = np.shape(grids)[2:]
    if len(grid) != 2 or 0 in grid:
        raise RunError(f"the model gave scores by position {_kind(grids)} for {where}; expected a grid per score")
    _check_array("scores by position", grids, (*result.scores.shape, *grid), where)


def _check_measurement(result: Measurement, example: Example, n_bank: int | None, where: str) -> None:
    _check_draws(result.draw_ids, n_bank, where)
    n_images, n_captions = example.shape
    shape = n_images, n_captions + result.has_null_caption, len(result.draw_ids)
    by_loss: Any = result.errors
    if not isinstance(by_loss, Mapping) or not by_loss:
        raise RunError(f"the model gave errors {_kind(by_loss)} for {where}; expected an array for each loss, by name")
    for loss, values in result.errors.items():
        _check_array(f"errors {loss!r}", values, shape, where)
    _check_mask("measured", result.measured, shape, where)


def _check_draws(draws: Any, n_bank: int | None, where: str) -> None:
    if not isinstance(draws, np.ndarray) or draws.ndim != 1 or draws.dtype.kind not in "iu":
        raise RunError(f"the model gave draws {_kind(draws)} for {where}; expected whole numbers in one dimension")
    last = "" if n_bank is None else f" to {n_bank - 1}"
    if len(draws) and (draws.min() < 0 or (n_bank is not None and draws.max() >= n_bank)):
        wrong = draws[(draws < 0) | (draws >= (np.inf if n_bank is None else n_bank))]
        raise RunError(f"the model gave draw {int(wrong[0])} for {where}; expected draws of the bank, 0{last}")
    if len(np.unique(draws)) < len(draws):
        raise RunError(f"the model gave the same draw twice for {where}; expected each once")


def _check_array(name: str, values: Any, shape: tuple[int, ...], where: str) -> None:
    if not isinstance(values, np.ndarray) or values.dtype.kind not in "fiub":
        raise RunError(f"the model gave {name} {_kind(values)} for {where}; expected a numpy array of real numbers")
    if np.ma.is_masked(values):
        raise RunError(f"the model gave {name} for {where} of which some are masked; expected a number for each")
    if values.shape != shape:
        raise RunError(f"the model gave {name} of shape {values.shape} for {where}; expected {shape}")


def _check_mask(name: str, values: Any, shape: tuple[int, ...], where: str) -> None:
    if not isinstance(values, np.ndarray) or values.dtype.kind != "b" or values.shape != shape:
        raise RunError(f"the model gave {name} {_kind(values)} for {where}; expected true and false of shape {shape}")


def _kind(values: Any) -> str:
    if isinstance(values, np.ndarray):
        return f"of dtype {values.dtype} and shape {values.shape}"
    return f"as a {type(values).__module__}.{type(values).__qualname__}"


def _not_finite(result: Measurement | ScoreMatrix) -> tuple[Floats, Ints]:
    """Values and the places of those that are not finite numbers, [k, 2 or 3]; errors as they are stored, float32.

    The caption after the last stands for no caption.
    """
    if isinstance(result, ScoreMatrix):
        values = result.scores if result.unconditional is None else np.c_[result.scores, result.unconditional]
        return values, np.argwhere(~np.isfinite(values))
    for errors in result.errors.values():
        with np.errstate(over="ignore"):
            bad = np.argwhere(result.measured & ~np.isfinite(errors.astype(np.float32)))
        if len(bad):
            return errors, bad
    return np.zeros(0), np.zeros((0, 3), int)


def _caption(example: Example, number: int) -> str:
    if number == len(example.captions):
        return "no caption"
    return f"caption {number} ({example.captions[number]!r})"
