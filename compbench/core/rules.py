"""Errors to scores: the one place where the sign flips.

With x_t = alpha x_0 + sigma eps, a network's eps_hat and x_0_hat are tied by x_t = alpha x_0_hat + sigma eps_hat. So
the residuals of all targets are one residual e times a number: alpha e in eps, -sigma e in x_0, (alpha^2 + sigma^2) e
in v = alpha eps - sigma x_0 (Salimans & Ho, 2022), (alpha + sigma) e in a flow's velocity eps - x_0. Hence errors
stored in one target are errors in every target after a weight per draw.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from compbench.core.aliases import Floats, Ints
from compbench.core.errors import UsageError
from compbench.core.measurements import DrawTable, Measurement, ScoreMatrix
from compbench.core.weights import UNIFORM, Window, at, named

__all__ = [
    "CAPTIONS",
    "INNER",
    "NORM",
    "NO_GUIDANCE",
    "TARGETS",
    "VIEW_KEYS",
    "WITHOUT",
    "Rule",
    "errors_of",
    "is_alone",
    "loss_of",
    "n_known",
    "score",
    "scores_under",
    "stored_loss",
    "why_alone",
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
CAPTIONS = "captions"  # what an image's scores are normalised by: their mean over the captions of the example
INNER, WITHOUT = "inner", "l2-without"  # stored for guidance, in the same pass: see Rule.guidance
_MOST_GUIDANCE, _LEAST_GUIDANCE = 1e6, 1e-6  # beyond, squares of it overflow, or the caption's part is lost
NO_GUIDANCE = (
    "guidance=0 is the prediction without a caption, which is the same for all captions: nothing could be compared; "
    "guidance=none is the plain prediction"
)
# the words for a rule in run.json
VIEW_KEYS = ("n_draws", "target", "reduction", "unconditional", "weight", "timesteps", "normalise", "guidance")
_STORED = {"l2": "mse"}  # the word for a loss in run.json, in a key and in what a pilot taught; it stays as it is
_READ = {stored: loss for loss, stored in _STORED.items()}


@dataclass(frozen=True, slots=True)
class Rule:
    """The way stored errors become scores: the target whose error is averaged, over the first `draws` draws.

    `native` is the target that the network was trained to predict; `eps` is the paper's. `loss` names how a
    residual became a number, or several joined by + for their sum: l2 (squared), l1, huber, vlb, or norm, the root of
    each draw's squared error. A stored squared error is a mean over the elements of the residual, so its root is the
    residual's L2 norm over the root of their number, which is the same for all pairs of a model and decides nothing.

    `unconditional` compares the images of a caption by what the caption brings them: the error without a caption minus
    the error with it. With norm that is DiffusionITM's rule (Krojer et al., "Are Diffusion Models Vision-And-Language
    Reasoners?", NeurIPS 2023), whose text score has the norm too; of squared errors it is our own variant.
    `normalise="captions"` takes the mean error over the example's own captions in place of that without one.

    `weight` multiplies each draw's error by a w(t): a published weighting (core/weights.py), which is of the error in
    a target of its own, or the `table` of (t, w) that stands under the name. `timesteps` reads no more than a window,
    FIRST:LAST:STRIDE, of those draws.

    `guidance` w reads the error of the guided prediction e_w = e_0 + w (e_c - e_0), where e_0 is that without a
    caption (Ho & Salimans, "Classifier-Free Diffusion Guidance", 2022; as a score: Jeong et al., "Diffusion Classifiers
    Understand Compositionality, but Conditions Apply", NeurIPS 2025): |r_w|^2 = w^2 |r_c|^2 + (1 - w)^2 |r_0|^2
    + 2 w (1 - w) <r_c, r_0>, of which all three terms are stored where a run measured them.

    >>> Rule(target="eps", draws=100)
    Rule(target='eps', draws=100, loss='l2')
    >>> Rule("x0", weight="min-snr-5", timesteps="200:800")
    Rule(target='x0', draws=None, loss='l2', weight='min-snr-5', timesteps='200:800')
    """

    target: str = "native"
    draws: int | None = None  # None: all that were measured
    loss: str = "l2"
    unconditional: bool = False
    weight: str = UNIFORM
    timesteps: str = ""
    normalise: str = ""
    guidance: float | None = None
    table: tuple[tuple[float, float], ...] = ()  # of (t, w), ascending in t, where the weight is none of the published

    def __repr__(self) -> str:
        told = {"target": self.target, "draws": self.draws, "loss": self.loss}
        told |= {"unconditional": True} if self.unconditional else {}
        told |= {name: value for name, value in self._further().items() if value}
        return f"Rule({', '.join(f'{name}={value!r}' for name, value in told.items())})"

    def __post_init__(self) -> None:
        if self.target not in TARGETS:
            raise UsageError(f"no scoring rule named {self.target!r}; expected one of {', '.join(TARGETS)}")
        if self.target != "native" and not set(self.loss.split("+")) <= {"l2", "l1", NORM}:
            raise UsageError(f"the error {self.loss!r} has no form in {self.target!r}; expected target native")
        if self.draws is not None and (isinstance(self.draws, bool) or not _is_count(self.draws)):
            raise UsageError(f"draws cannot be {self.draws!r}; expected a whole number, at least 1, or None for all")
        self._check_weight()
        self._check_normalisation()
        if self.guidance is not None and (not math.isfinite(self.guidance) or self.loss not in ("l2", NORM)):
            raise UsageError(
                f"guidance={self.guidance:g} cannot be read with loss={self.loss}; expected a number, and loss l2 or "
                f"{NORM}; guidance=none leaves it out"
            )
        if self.guidance and not _LEAST_GUIDANCE <= abs(self.guidance) <= _MOST_GUIDANCE:
            raise UsageError(
                f"guidance={self.guidance:g} is out of range; expected from {_LEAST_GUIDANCE:g} to {_MOST_GUIDANCE:g}, "
                "such as 3"
            )

    def _check_weight(self) -> None:
        if self.weight != UNIFORM and not self.table:
            weighed = named(self.weight).target
            if self.target != weighed or self.loss != "l2":
                raise UsageError(
                    f"weight={self.weight} is of the squared error in {weighed} and cannot weigh loss={self.loss} of "
                    f"target={self.target}; leave target and loss out, or give w(t) as a table: -o weight=FILE.csv"
                )
        if self.timesteps:
            Window.parse(self.timesteps)

    def _check_normalisation(self) -> None:
        if self.normalise not in ("", CAPTIONS):
            raise UsageError(f"normalise cannot be {self.normalise!r}; expected {CAPTIONS} or none")
        if self.normalise and self.unconditional:
            raise UsageError(
                f"normalise={self.normalise} and unconditional=true both say what an image's scores are compared "
                "with; expected one of them: unconditional=false or normalise=none leaves the other"
            )

    @classmethod
    def of_view(cls, view: Mapping[str, Any]) -> Rule:
        """The rule that a spec's view, or that of a stored run, stands for."""
        guidance = view.get("guidance")
        return cls(
            str(view.get("target") or "native"),
            view.get("n_draws"),
            loss_of(str(view.get("reduction") or "mse")),
            bool(view.get("unconditional")),
            weight=str(view.get("weight") or UNIFORM),
            timesteps=str(view.get("timesteps") or ""),
            normalise=str(view.get("normalise") or ""),
            guidance=None if guidance is None else float(guidance),
        )

    def words(self) -> dict[str, str]:
        """The rule as the -o words that ask for it: all that is not as it is by default, and target and loss."""
        words = {} if self.draws is None else {"draws": str(self.draws)}
        words |= {"target": self.target, "loss": self.loss} | ({"unconditional": "true"} if self.unconditional else {})
        return words | {name: value for name, value in self._further().items() if value}

    def _further(self) -> dict[str, str]:
        return {
            "weight": "" if self.weight == UNIFORM else self.weight,
            "timesteps": self.timesteps,
            "normalise": self.normalise,
            "guidance": "" if self.guidance is None else f"{self.guidance:g}",
        }

    @property
    def is_normalised(self) -> bool:
        """Whether images are compared by scores of which something of each image's own is taken away."""
        return self.unconditional or bool(self.normalise)

    @property
    def losses(self) -> tuple[str, ...]:
        """The names of the stored errors that are read."""
        losses = tuple("l2" if name == NORM else name for name in self.loss.split("+"))
        return losses if self.guidance is None else (*losses, INNER, WITHOUT)

    @property
    def is_as_stored(self) -> bool:
        """Whether the errors that are averaged are stored as they are."""
        return self.losses == (self.loss,)

    def of_stored(self, stored: Sequence[Floats]) -> Floats:
        """The errors that are averaged, float64, from those stored under the names in `losses`."""
        if self.guidance is not None:
            squared = _guided(self.guidance, *(errors.astype(np.float64) for errors in stored))
            return np.sqrt(squared) if self.loss == NORM else squared
        terms = zip(self.loss.split("+"), stored, strict=True)
        wide = ((name, errors.astype(np.float64)) for name, errors in terms)
        return sum(np.sqrt(errors) if name == NORM else errors for name, errors in wide)  # pyright: ignore[reportReturnType]

    def weights(self, draws: DrawTable) -> Floats:
        """[D] float64, what each draw's stored error is multiplied by; `draws` is the whole bank of the run."""
        weights = self._of_target(draws)
        if self.table:
            read = self.read_draws(draws)
            of_table = np.zeros(len(weights))
            of_table[read] = at(draws.timesteps[read], self.table, self.weight)
            weights = weights * of_table
        elif self.weight != UNIFORM:
            weights = weights * named(self.weight).of(draws)
        if not self.timesteps:
            return weights
        read, n_draws = self.read_draws(draws), self.n_leading(draws)
        is_read = np.zeros(len(weights))
        is_read[read] = n_draws / len(read)  # their mean, where the sum is divided by all
        return weights * is_read

    def read_draws(self, draws: DrawTable) -> Ints:
        """Which draws of a whole bank are read, ascending: the first `draws`, within the window; UsageError if none."""
        n_draws = self.n_leading(draws)
        if not self.timesteps:
            return np.arange(n_draws)
        timesteps = draws.timesteps[:n_draws]
        read = Window.parse(self.timesteps).of(timesteps)
        if not len(read):
            raise UsageError(
                f"no draw that is read has a timestep in {self.timesteps}; the {n_draws} draws lie from "
                f"{timesteps.min():g} to {timesteps.max():g}"
            )
        return read

    def n_leading(self, draws: DrawTable) -> int:
        """The number of leading draws of a whole bank that are read, or lie around the window."""
        return len(draws.alpha) if self.draws is None else min(self.draws, len(draws.alpha))

    def _of_target(self, draws: DrawTable) -> Floats:
        if self.target == "native":
            return np.ones(len(draws.alpha))
        squared = _SQUARED[self.target](draws) / _SQUARED[draws.target](draws)
        return np.sqrt(squared) if self.loss in ("l1", NORM) else squared


def is_alone(shape: tuple[int, ...]) -> bool:
    """Whether an example [I, C] has several images and one caption, by which normalising them leaves nothing."""
    return shape[0] > 1 and shape[1] == 1


def why_alone(examples: Sequence[str]) -> str:
    """The reason why images of a single caption cannot be normalised by their captions."""
    count = f"{len(examples):,} examples have" if len(examples) > 1 else "an example has"
    return (
        f"{count} several images and a single caption ({examples[0]!r} the first), and an image's scores less their "
        "mean over one caption are 0 for every image; leave normalise=captions out"
    )


def _is_count(value: object) -> bool:
    return isinstance(value, int | np.integer) and bool(value >= 1)


def _guided(guidance: float, conditional: Floats, inner: Floats, without: Floats) -> Floats:
    """|w r_c + (1 - w) r_0|^2 over the number of elements; not below 0, where rounding would put it."""
    mixed = 2 * guidance * (1 - guidance) * inner
    return np.maximum(guidance**2 * conditional + (1 - guidance) ** 2 * without + mixed, 0.0)


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
    if rule.normalise:
        return ScoreMatrix(measurement.example_id, -mean_error, -mean_error.mean(-1))
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
