"""Errors to scores: the one place where the sign flips.

With x_t = alpha x_0 + sigma eps and v = alpha eps - sigma x_0 (Salimans & Ho, 2022), for the same network
output |eps - eps_hat|^2 = alpha^2 |v - v_hat|^2 and |x_0 - x_0_hat|^2 = sigma^2 |v - v_hat|^2; hence errors
stored in one target are errors in every target after a weight per draw.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from compbench.types import DrawTable, Floats, Measurement, ScoreMatrix, UsageError

__all__ = ["TARGETS", "Rule", "score", "scores_under"]

# what multiplies an error in v to give the error in the named target
_FROM_V: Mapping[str, Callable[[DrawTable], Floats]] = {
    "v": lambda draws: np.ones_like(draws.alpha, dtype=np.float64),
    "eps": lambda draws: draws.alpha.astype(np.float64) ** 2,
    "x0": lambda draws: draws.sigma.astype(np.float64) ** 2,
}
TARGETS = ("native", *_FROM_V)


@dataclass(frozen=True, slots=True)
class Rule:
    """How stored errors become scores: the target whose squared error is averaged, over the first `n_draws` draws.

    `native` is the target that the network was trained to predict; `eps` is the paper's.
    """

    target: str = "native"
    n_draws: int | None = None  # None: all that were measured

    def __post_init__(self) -> None:
        if self.target not in TARGETS:
            raise UsageError(f"no scoring rule named {self.target!r}; expected one of {', '.join(TARGETS)}")

    def weights(self, draws: DrawTable) -> Floats:
        """[D] float64, what each draw's stored error is multiplied by."""
        if self.target == "native":
            return np.ones(len(draws.alpha))
        return _FROM_V[self.target](draws) / _FROM_V[draws.target](draws)


def score(measurement: Measurement, draws: DrawTable, rule: Rule) -> ScoreMatrix:
    """Minus the mean weighted error over the rule's draws, float64 [I, C].

    Raises ValueError when a draw that the rule asks for was not measured.
    """
    kept = measurement.draws < rule.n_draws if rule.n_draws is not None else np.ones(len(measurement.draws), bool)
    if not kept.any() or (rule.n_draws is not None and kept.sum() < rule.n_draws):
        raise ValueError(
            f"example {measurement.example_id!r} has {int(kept.sum())} of the {rule.n_draws} draws asked for; "
            "give the run command again with that many draws"
        )
    if not measurement.measured[..., kept].all():
        raise ValueError(f"example {measurement.example_id!r} was not measured on every draw")
    weights = rule.weights(draws)[measurement.draws[kept]]
    mean_error = (measurement.errors[..., kept].astype(np.float64) * weights).mean(-1)
    return ScoreMatrix(measurement.example_id, -mean_error)


def scores_under(errors: Floats, weights: Floats) -> Floats:
    """[R, N, I, C] float64: minus the errors [N, I, C, D] summed under each of `weights` [R, D].

    An example stands in the same row of every pair's product, so that equal errors give equal scores, bit for bit.
    """
    by_pair = np.ascontiguousarray(errors.transpose(1, 2, 0, 3), dtype=np.float64)  # [I, C, N, D]
    return -(by_pair @ weights.T).transpose(3, 2, 0, 1)
