"""What is measured: errors for each draw, or scores. A score is higher for a better match; an error is lower."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from compbench.core.aliases import Bools, Floats, Ints

if TYPE_CHECKING:
    pass

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
    """What a diffusion model was measured to: raw errors of one example, per draw."""

    example_id: str
    draw_ids: Ints  # [D] int32, indices into the run's bank, ascending
    errors: Floats  # [I, C, D] float32
    measured: Bools  # [I, C, D]; False where a policy found the draw unnecessary
    others: Mapping[str, Floats] = field(default_factory=dict[str, Floats])  # further losses: name -> [I, C, D]
    unconditional: Floats | None = None  # [I, D] float32: the error under the empty caption
    has_unconditional: Bools | None = None  # [I, D] where that was measured
    is_last: bool = True  # whether no further piece of the example follows


def joined(pieces: Iterable[Measurement]) -> list[Measurement]:
    """One Measurement per example, in the order of their first pieces; no two pieces hold the same error."""
    by_example: dict[str, list[Measurement]] = {}
    for piece in pieces:
        by_example.setdefault(piece.example_id, []).append(piece)
    wholes = [
        Measurement(
            example_id,
            np.concatenate([piece.draw_ids for piece in its]),
            np.concatenate([piece.errors for piece in its], axis=-1),
            np.concatenate([piece.measured for piece in its], axis=-1),
            {name: np.concatenate([piece.others[name] for piece in its], axis=-1) for name in its[0].others},
            *_joined_unconditional(its),
            its[-1].is_last,
        )
        for example_id, its in by_example.items()
    ]
    return [_once(each) for each in wholes]


def _once(whole: Measurement) -> Measurement:
    """Each draw once: an example that takes long is handed on in parts of a draw."""
    draws, place = np.unique(whole.draw_ids, return_inverse=True)
    if len(draws) == len(whole.draw_ids):
        return whole

    def merged(values: NDArray[Any], mask: Bools) -> NDArray[Any]:
        into = np.zeros((*values.shape[:-1], len(draws)), values.dtype)
        *pair, column = np.nonzero(mask)
        into[(*pair, place[column])] = values[mask]
        return into

    measured, has = whole.measured, whole.has_unconditional
    return replace(
        whole,
        draw_ids=draws,
        errors=merged(whole.errors, measured),
        measured=merged(measured, measured),
        others={name: merged(each, measured) for name, each in whole.others.items()},
        unconditional=None if whole.unconditional is None or has is None else merged(whole.unconditional, has),
        has_unconditional=None if has is None else merged(has, has),
    )


def _joined_unconditional(pieces: Sequence[Measurement]) -> tuple[Floats, Bools] | tuple[None, None]:
    if all(piece.unconditional is None for piece in pieces):
        return None, None
    errors: list[Floats] = []
    masks: list[Bools] = []
    for piece in pieces:
        shape = piece.errors.shape[0], len(piece.draw_ids)
        errors.append(np.zeros(shape, np.float32) if piece.unconditional is None else piece.unconditional)
        masks.append(np.zeros(shape, bool) if piece.has_unconditional is None else piece.has_unconditional)
    return np.concatenate(errors, axis=-1), np.concatenate(masks, axis=-1)


@dataclass(frozen=True, slots=True)
class ScoreMatrix:
    """The scores of one example, [I, C]; higher is a better match."""

    example_id: str
    scores: Floats
    unconditional: Floats | None = None  # [I]: the score of no caption at all
