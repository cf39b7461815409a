"""Measurements: errors for each draw, or scores. A score is higher for a better match; an error is lower."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compbench.core.aliases import Bools, Floats, Ints

__all__ = ["DrawTable", "Measurement", "ScoreMatrix", "joined"]


@dataclass(frozen=True, slots=True)
class DrawTable:
    """The draws of a bank as stored with a run: what a rule needs to weigh them."""

    timesteps: Floats  # [D] of the noise schedule; whole numbers for Stable Diffusion
    alpha: Floats  # [D] float32, x_t = alpha x_0 + sigma eps
    sigma: Floats  # [D] float32
    target: str  # what the network predicts, hence what the stored errors are of: "eps" or "v"


@dataclass(frozen=True, slots=True)
class Measurement:
    """The raw errors of one example, per draw, in each loss that was computed."""

    example_id: str
    draw_ids: Ints  # [D] int32, indices into the run's bank, ascending
    errors: Mapping[str, Floats]  # loss -> [I, C (+1), D] float32
    measured: Bools  # [I, C (+1), D]; False where a schedule found the draw unnecessary
    has_null_caption: bool = False  # the last caption is the empty one
    is_last: bool = True  # whether no further piece of the example follows

    @property
    def shape(self) -> tuple[int, int]:
        """Images and captions of the example; the empty caption is not one of them."""
        return self.measured.shape[0], self.measured.shape[1] - self.has_null_caption


def joined(pieces: Iterable[Measurement]) -> list[Measurement]:
    """A Measurement for each example, in the order of their first pieces; no two pieces hold the same error."""
    by_example: dict[str, list[Measurement]] = {}
    for piece in pieces:
        by_example.setdefault(piece.example_id, []).append(piece)
    return [_once(_side_by_side(members)) for members in by_example.values()]


def _side_by_side(pieces: Sequence[Measurement]) -> Measurement:
    """The draws of the pieces one after the other; a draw of several pieces comes as often."""
    has_null = any(piece.has_null_caption for piece in pieces)
    alike = [_with_null_caption(piece) if has_null else piece for piece in pieces]
    return Measurement(
        pieces[0].example_id,
        np.concatenate([piece.draw_ids for piece in alike]),
        {loss: np.concatenate([piece.errors[loss] for piece in alike], axis=-1) for loss in pieces[0].errors},
        np.concatenate([piece.measured for piece in alike], axis=-1),
        has_null,
        pieces[-1].is_last,
    )


def _with_null_caption(piece: Measurement) -> Measurement:
    """The same with the empty caption, not measured, where the piece has none."""
    if piece.has_null_caption:
        return piece

    def wider(values: NDArray[Any]) -> NDArray[Any]:
        return np.concatenate([values, np.zeros_like(values[:, :1])], axis=1)

    errors = {loss: wider(values) for loss, values in piece.errors.items()}
    return replace(piece, errors=errors, measured=wider(piece.measured), has_null_caption=True)


def _once(whole: Measurement) -> Measurement:
    """Each draw once: an example that takes long is handed on in parts of a draw."""
    draw_ids, place = np.unique(whole.draw_ids, return_inverse=True)
    if len(draw_ids) == len(whole.draw_ids):
        return whole
    mask = whole.measured
    *pair, column = np.nonzero(mask)

    def merged(values: NDArray[Any]) -> NDArray[Any]:
        into = np.zeros((*values.shape[:-1], len(draw_ids)), values.dtype)
        into[(*pair, place[column])] = values[mask]
        return into

    errors = {loss: merged(values) for loss, values in whole.errors.items()}
    return replace(whole, draw_ids=draw_ids, errors=errors, measured=merged(mask))


@dataclass(frozen=True, slots=True)
class ScoreMatrix:
    """The scores of one example, [I, C]; higher is a better match.

    >>> ScoreMatrix("1", np.array([[0.9, 0.2]])).scores.shape
    (1, 2)
    """

    example_id: str
    scores: Floats
    unconditional: Floats | None = None  # [I]: the score of no caption at all
    # [I, C, h, w] float32: what each position of a grid over the image adds to a score, which is their sum
    by_position: Floats | None = None
