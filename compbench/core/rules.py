"""Errors to scores: the one place where the sign flips.

With x_t = alpha x_0 + sigma eps, a network's eps_hat and x_0_hat are tied by x_t = alpha x_0_hat + sigma eps_hat. So
the residuals of all targets are one residual e times a number: alpha e in eps, -sigma e in x_0, (alpha^2 + sigma^2) e
in v = alpha eps - sigma x_0 (Salimans & Ho, 2022), (alpha + sigma) e in a flow's velocity eps - x_0. Hence errors
stored in one target are errors in every target after a weight per draw.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from compbench.core.aliases import Floats
from compbench.core.errors import UsageError
from compbench.core.measurements import DrawTable, Measurement, ScoreMatrix

__all__ = [
    "NORM",
    "TARGETS",
    "VIEW_KEYS",
    "Rule",
    "errors_of",
    "loss_of",
    "n_known",
    "score",
    "scores_under",
    "stored_loss",
]

# the squared error in each target over the square of what all residuals share
_SQUARED: Mapping[str, Callable[[DrawTable], Floats]] = {
    "v": lambda draws: _total(draws) ** 2,
    "eps": lambda draws: draws.alpha.astype(np.float64) ** 2,
    "x0": lambda draws: draws.sigma.astype(np.float64) ** 2,
    "flow": lambda draws: (draws.alpha.astype(np.float64) + draws.sigma.astype(np.float64)) ** 2,
}
TARGETS = ("native", *_SQUARED)
NORM = "norm"  # the square root of a stored squared error: no error of its own is stored
VIEW_KEYS = ("n_draws", "target", "reduction", "unconditional")  # the words for a rule in run.json
_STORED = {"l2": "mse"}  # the word for a loss in run.json, in a key and in what a pilot taught; it stays as it is
_READ = {stored: loss for loss, stored in _STORED.items()}


@dataclass(frozen=True, slots=True)
class Rule:
    """The way stored errors become scores: the target whose error is averaged, over the first `draws` draws.

    `native` is the target that the network was trained to predict; `eps` is the paper's. `loss` names how a
    residual became a number, or several joined by + for their sum: l2 (squared), l1, vlb, or norm, the root of each
    draw's squared error. A stored squared error is a mean over the elements of the residual, so its root is the
    residual's L2 norm over the root of their number, which is the same for all pairs of a model and decides nothing.

    `unconditional` compares the images of a caption by what the caption brings them: the error without a caption minus
    the error with it. With norm that is DiffusionITM's rule (Krojer et al., "Are Diffusion Models Vision-And-Language
    Reasoners?", NeurIPS 2023), whose text score has the norm too; of squared errors it is our own variant.

    >>> Rule(target="eps", draws=100)
    Rule(target='eps', draws=100, loss='l2', unconditional=False)
    """

    target: str = "native"
    draws: int | None = None  # None: all that were measured
    loss: str = "l2"
    unconditional: bool = False

    def __post_init__(self) -> None:
        if self.target not in TARGETS:
            raise UsageError(f"no scoring rule named {self.target!r}; expected one of {', '.join(TARGETS)}")
        if self.target != "native" and not set(self.losses) <= {"l2", "l1"}:
            raise UsageError(f"the error {self.loss!r} has no form in {self.target!r}; expected target native")

    @classmethod
    def of_view(cls, view: Mapping[str, Any]) -> Rule:
        """The rule that a spec's view, or that of a stored run, stands for."""
        return cls(
            str(view.get("target") or "native"),
            view.get("n_draws"),
            loss_of(str(view.get("reduction") or "mse")),
            bool(view.get("unconditional")),
        )

    @property
    def losses(self) -> tuple[str, ...]:
        """The names of the stored errors that are read."""
        return tuple("l2" if name == NORM else name for name in self.loss.split("+"))

    def of_stored(self, stored: Sequence[Floats]) -> Floats:
        """The errors that are averaged, float64, from those stored under the names in `losses`."""
        named = zip(self.loss.split("+"), stored, strict=True)
        wide = ((name, errors.astype(np.float64)) for name, errors in named)
        return sum(np.sqrt(errors) if name == NORM else errors for name, errors in wide)  # pyright: ignore[reportReturnType]

    def weights(self, draws: DrawTable) -> Floats:
        """[D] float64, what each draw's stored error is multiplied by."""
        if self.target == "native":
            return np.ones(len(draws.alpha))
        squared = _SQUARED[self.target](draws) / _SQUARED[draws.target](draws)
        return np.sqrt(squared) if self.loss in ("l1", NORM) else squared


def _total(draws: DrawTable) -> Floats:
    """[D] alpha^2 + sigma^2: 1 for every model but a flow, whatever the rounding of the stored alpha and sigma says."""
    if draws.target != "flow":
        return np.ones_like(draws.alpha, dtype=np.float64)
    return draws.alpha.astype(np.float64) ** 2 + draws.sigma.astype(np.float64) ** 2


def stored_loss(loss: str) -> str:
    """The stored word for a loss.

    >>> stored_loss("l2+vlb"), loss_of("mse+vlb")
    ('mse+vlb', 'l2+vlb')
    """
    return "+".join(_STORED.get(name, name) for name in loss.split("+"))


def loss_of(stored: str) -> str:
    """The loss that a stored word stands for."""
    return "+".join(_READ.get(name, name) for name in stored.split("+"))


def score(measurement: Measurement, draws: DrawTable, rule: Rule) -> ScoreMatrix:
    """Minus the mean weighted error over the rule's draws, float64 [I, C].

    Raises ValueError when a draw that the rule asks for was not measured.
    """
    draw_ids, name = measurement.draw_ids, f"example {measurement.example_id!r}"
    kept = draw_ids < rule.draws if rule.draws is not None else np.ones(len(draw_ids), bool)
    if not kept.any() or (rule.draws is not None and kept.sum() < rule.draws):
        raise ValueError(
            f"{name} has {int(kept.sum())} of the {rule.draws} draws asked for; rerun its command with that many draws"
        )
    n_captions = measurement.shape[1]
    if not measurement.measured[:, :n_captions, kept].all():
        raise ValueError(f"{name} was not measured on every draw")
    weights = rule.weights(draws)[draw_ids[kept]]
    mean_error = (errors_of(measurement, rule)[..., kept] * weights).mean(-1)
    if not rule.unconditional:
        return ScoreMatrix(measurement.example_id, -mean_error)
    if not measurement.has_null_caption:
        raise ValueError(f"{name} was not measured without a caption")
    if not measurement.measured[:, -1, kept].all():
        raise ValueError(f"{name} was not measured without a caption on every draw")
    stored = [measurement.errors[loss][:, -1][:, kept] for loss in rule.losses]
    without = (rule.of_stored(stored) * weights).mean(-1)  # [I]
    return ScoreMatrix(measurement.example_id, -mean_error, -without)


def mean_scores(errors: Floats, weights: Floats) -> Floats:
    """[N, I, C] float64: minus the mean of the errors [N, I, C, D] times the weights [D].

    Draws are added one after the other, as stored scores always were (but those of a single pair, by halves), so that
    the same errors give the same score, bit for bit, however many examples are scored at once.
    """
    if errors.shape[1] * errors.shape[2] == 1:
        return -(np.ascontiguousarray(errors, np.float64) * weights).mean(-1)
    by_draw = np.ascontiguousarray(np.moveaxis(errors, -1, 0), np.float64)  # [D, N, I, C]
    by_draw *= weights[:, None, None, None]
    return -by_draw.mean(0)


def errors_of(measurement: Measurement, rule: Rule) -> Floats:
    """[I, C, D] float64: the errors under the example's own captions that `rule` reads, before its weights."""
    n_captions = measurement.shape[1]
    return rule.of_stored([measurement.errors[loss][:, :n_captions] for loss in rule.losses])


def n_known(measured: Measurement, rule: Rule) -> int:
    """The number of measured errors among those that `rule` reads."""
    n_read = measured.measured.shape[1] if rule.unconditional else measured.shape[1]
    return int(measured.measured[:, :n_read, measured.draw_ids < (rule.draws or 0)].sum())


def scores_under(errors: Floats, weights: Floats) -> Floats:
    """[R, N, I, C] float64: minus the errors [N, I, C, D] summed under each of `weights` [R, D].

    An example stands in the same row of every pair's product, so that equal errors give equal scores, bit for bit.
    """
    by_pair = np.ascontiguousarray(errors.transpose(1, 2, 0, 3), dtype=np.float64)  # [I, C, N, D]
    return -(by_pair @ weights.T).transpose(3, 2, 0, 1)
