"""Arrays of stored errors as measurements, coverage and scores; how they are spread over parts plays no part here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from compbench.core import rules
from compbench.core.aliases import Bools, Floats, Ints
from compbench.core.measurements import DrawTable, Measurement, ScoreMatrix
from compbench.core.rules import Rule
from compbench.store import _parquet

__all__ = ["Coverage", "measurement_of", "scored"]

_ERRORS_AT_ONCE = 262_144  # float64, 2 MB


@dataclass(frozen=True, slots=True)
class Coverage:
    """Which draws of the bank examples were measured on."""

    ids: tuple[str, ...]
    n_leading: Ints  # [N] leading draws that every pair has
    n_leading_without: Ints  # likewise, each image without a caption too
    is_even: Bools  # [N] all pairs have the same draws, and some
    is_even_without: Bools

    @classmethod
    def of(cls, pieces: Iterable[tuple[Sequence[str], Bools]]) -> Coverage:
        """The coverage from ids and masks [N, I, C + 1, D]; the last caption stands for no caption."""
        ids, counts, claims = list[str](), [np.zeros((2, 0), int)], [np.zeros((2, 0), bool)]
        for chunk, measured in pieces:
            ids += chunk
            (leading, even), (leading_without, even_without) = _covered(measured[:, :, :-1]), _covered(measured)
            counts.append(np.stack([leading, leading_without]))
            claims.append(np.stack([even, even_without]))
        return cls(tuple(ids), *np.concatenate(counts, axis=1), *np.concatenate(claims, axis=1))

    def named(self, wanted: Bools) -> list[str]:
        """The ids at which a mask [N] holds."""
        return [self.ids[place] for place in np.flatnonzero(wanted).tolist()]


def measurement_of(
    example_id: str, errors: Mapping[str, Floats], measured: Bools, *, with_no_caption: bool = True
) -> Measurement:
    """A measurement from arrays [I, C, D], the last caption of which is none if `with_no_caption`."""
    draws = np.flatnonzero(measured.any((0, 1)))
    is_there = with_no_caption and bool(measured[:, -1, draws].any())
    kept = slice(None, -1 if with_no_caption and not is_there else None)
    by_loss = {_parquet.loss_in(column): values[:, kept, draws] for column, values in errors.items()}
    return Measurement(example_id, draws.astype(np.int32), by_loss, measured[:, kept, draws], is_there)


def _covered(measured: Bools) -> tuple[Ints, Bools]:
    """[N]: how many leading draws every pair of a mask [N, I, C, D] has; whether all have the same draws, and some."""
    some: Bools = np.logical_or.reduce(measured, axis=(1, 2))  # [N, D]
    every: Bools = np.logical_and.reduce(measured, axis=(1, 2))
    n_leading = np.where(every.all(axis=-1), every.shape[1], every.argmin(-1))
    return n_leading, some.any(axis=-1) & (some == every).all(axis=-1)


def scored(chunk: Sequence[str], errors: Mapping[str, Floats], measured: Bools, draws: DrawTable, rule: Rule) -> Floats:
    """[N, I, C] float64, in blocks that fit in a cache; the last C stands for no caption where `rule` asks."""
    if rule.draws is None or not measured.all():
        return np.stack(
            [
                _whole_matrix(
                    _scored_alone(name, {of: of_loss[n] for of, of_loss in errors.items()}, measured[n], draws, rule),
                    rule,
                )
                for n, name in enumerate(chunk)
            ]
        )
    weights = rule.weights(draws)[: rule.draws]
    size = max(1, _ERRORS_AT_ONCE // int(np.prod(measured.shape[1:])))
    found: list[Floats] = []
    for start in range(0, len(chunk), size):
        some = slice(start, start + size)
        block = rule.of_stored([error[some] for error in errors.values()])
        own = slice(None, -1 if rule.unconditional else None)
        scores = [rules.mean_scores(block[:, :, own], weights)]
        if rule.unconditional:
            scores.append(rules.mean_scores(block[:, :, -1:], weights))
        found.append(np.concatenate(scores, axis=-1))
    return np.concatenate(found)


def _scored_alone(
    name: str, errors: Mapping[str, Floats], measured: Bools, draws: DrawTable, rule: Rule
) -> ScoreMatrix:
    return rules.score(measurement_of(name, errors, measured, with_no_caption=rule.unconditional), draws, rule)


def _whole_matrix(matrix: ScoreMatrix, rule: Rule) -> Floats:
    """[I, C], with the score of no caption last where the rule reads it; a mean over captions follows from the rest."""
    without = matrix.unconditional if rule.unconditional else None
    return matrix.scores if without is None else np.concatenate([matrix.scores, without[:, None]], axis=-1)
