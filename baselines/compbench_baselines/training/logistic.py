"""Logistic regression by scikit-learn, in rounds of iterations that are stored: an interrupted one goes on."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from compbench.core import disk, stages
from compbench.core.aliases import Floats, Ints
from compbench.core.errors import DataError
from compbench_baselines.training.cache import writing
from compbench_baselines.training.fit import one_thread

__all__ = ["Line", "fit_logistic", "line_bytes"]

_FILE = "logistic.npz"
_ITERATIONS_A_ROUND = 50
_MAX_ROUNDS = 40


@dataclass(frozen=True, slots=True)
class Line:
    """A linear classifier of standardised inputs."""

    weights: Floats  # [K, d] float64
    bias: Floats  # [K]
    mean: Floats  # [d]
    scale: Floats  # [d]

    def scores(self, inputs: Floats) -> Floats:
        """[n, d] -> [n, K] float64, the logarithms of odds that scikit-learn calls its decision function."""
        return (inputs - self.mean) / self.scale @ self.weights.T + self.bias


def line_bytes(n_classes: int, n_inputs: int) -> int:
    """Of what is kept of a fit to `n_inputs` numbers."""
    n_lines = 1 if n_classes == 2 else n_classes
    return 8 * (n_lines * (n_inputs + 1) + 2 * n_inputs)


def fit_logistic(
    inputs: Floats, labels: Ints, path: Path, *, c: float, name: str, say: Callable[[str], None] = lambda message: None
) -> Line:
    """The classifier of inputs [n, d]; one that was fitted before is only loaded.

    `c` is scikit-learn's C, the inverse of the L2 penalty. Every round restarts L-BFGS, whether or not it was
    interrupted before it, so that a continued fit is an uninterrupted one.
    """
    kept = _load(path)
    if kept is not None and kept["is_finished"]:
        return _line(kept)
    scaler = StandardScaler().fit(inputs)
    standardised = np.asarray(scaler.transform(inputs))
    model = LogisticRegression(C=c, max_iter=_ITERATIONS_A_ROUND, warm_start=True)
    first = 0
    if kept is not None:
        model.classes_, model.coef_, model.intercept_ = np.unique(labels), kept["weights"], kept["bias"]
        first = int(kept["n_rounds"])
        say(f"{name}: resuming the fit after {first * _ITERATIONS_A_ROUND} iterations")
    for n_rounds in range(first + 1, _MAX_ROUNDS + 1):
        stages.tell(f"{name}: fitting to {len(labels):,} pictures, round {n_rounds}")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # a round is seldom enough
            warnings.filterwarnings("ignore", "The number of unique classes")  # labels are classes, however few
            with one_thread():
                model.fit(standardised, labels)
        is_finished = int(model.n_iter_[0]) < _ITERATIONS_A_ROUND or n_rounds == _MAX_ROUNDS
        kept = {
            "weights": model.coef_,
            "bias": model.intercept_,
            "mean": scaler.mean_,
            "scale": scaler.scale_,
            "n_rounds": n_rounds,
            "is_finished": is_finished,
        }
        _save(path, kept)
        if is_finished:
            break
    assert kept is not None  # there is at least one round
    say(f"{name}: fitted to {len(labels):,} pictures")
    return _line(kept)


def _line(kept: dict[str, Any]) -> Line:
    weights, bias = kept["weights"], kept["bias"]
    if len(weights) == 1:  # of two classes scikit-learn keeps the second one's alone
        weights, bias = np.concatenate([-weights, weights]) / 2, np.concatenate([-bias, bias]) / 2
    return Line(weights, bias, kept["mean"], kept["scale"])


def _save(path: Path, kept: dict[str, Any]) -> None:
    out = io.BytesIO()
    np.savez(out, **kept)
    with writing(path):
        disk.write(path / _FILE, out.getbuffer())


def _load(path: Path) -> dict[str, Any] | None:
    if not (path / _FILE).is_file():
        return None
    try:
        with np.load(path / _FILE, allow_pickle=False) as file:
            return dict(file)
    except (OSError, ValueError) as error:
        raise DataError(f"{str(path / _FILE)!r} is damaged ({error}); delete it to fit again") from error
