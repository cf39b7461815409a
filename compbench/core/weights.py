"""Weightings over the timesteps of a bank: what w(t) a published score multiplies each draw's squared error by.

With x_t = alpha x_0 + sigma eps and SNR = alpha^2 / sigma^2, |eps - eps_hat|^2 = SNR |x_0 - x_0_hat|^2 for one output
of a network; hence a weighting means something only beside the target whose error it weighs, which is named with it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from compbench.core.aliases import Floats, Ints
from compbench.core.errors import UsageError
from compbench.core.measurements import DrawTable
from compbench.core.suggestions import unknown

__all__ = ["NAMED", "UNIFORM", "Weighting", "Window", "at", "named"]

UNIFORM = "uniform"
_N_TIMESTEPS = 1000  # of a network's own time, which a paper counts from 0 to 1
_MIN_SNR = re.compile(r"min-snr-(\d+(?:\.\d+)?)")


@dataclass(frozen=True)
class Weighting:
    """A weighting: the target whose squared error it weighs, where it was published, and its w."""

    target: str
    source: str
    of: Callable[[DrawTable], Floats]  # a whole bank -> [D] float64, of no fixed sum: a score's scale decides nothing


def _snr(draws: DrawTable) -> Floats:
    return (draws.alpha.astype(np.float64) / draws.sigma.astype(np.float64)) ** 2


def _elbo(draws: DrawTable) -> Floats:
    """(SNR(s) - SNR(t)) / 2, s the timestep before t; the first, before which it diverges, has the second's."""
    timesteps, first, inverse = np.unique(draws.timesteps, return_index=True, return_inverse=True)
    if len(timesteps) < 2:
        raise UsageError("weight=elbo takes differences of neighbouring timesteps; this run's bank has only one")
    falls = -np.diff(_snr(draws)[first]) / 2
    return np.concatenate([falls[:1], falls])[inverse]


def _sigma(draws: DrawTable) -> Floats:
    """The sigma of a straight flow at the same signal-to-noise ratio, [D] from 0 to 1."""
    alpha, sigma = draws.alpha.astype(np.float64), draws.sigma.astype(np.float64)
    return sigma / (alpha + sigma)


def _cosmap(draws: DrawTable) -> Floats:
    sigma = _sigma(draws)
    return 2 / (math.pi * (1 - 2 * sigma + 2 * sigma**2))


def _min_snr(most: float) -> Weighting:
    source = "Hang et al., Efficient Diffusion Training via Min-SNR Weighting Strategy, ICCV 2023"
    about = f"{source}; the error in x0 by min(SNR, {most:g})"
    return Weighting("x0", about, lambda draws: np.minimum(_snr(draws), most))


_SD3_SOURCE = "Esser et al., Scaling Rectified Flow Transformers for High-Resolution Image Synthesis, ICML 2024"
NAMED: Mapping[str, Weighting] = {
    "elbo": Weighting(
        "x0",
        "Kingma et al., Variational Diffusion Models, NeurIPS 2021; the error in x0 by (SNR(t - 1) - SNR(t)) / 2",
        _elbo,
    ),
    "snr": Weighting("x0", "Ho et al., DDPM, NeurIPS 2020; the error in x0 by the SNR, which is that in eps", _snr),
    "truncated": Weighting(
        "x0",
        "Salimans and Ho, Progressive Distillation, ICLR 2022; the error in x0 by max(SNR, 1)",
        lambda draws: np.maximum(_snr(draws), 1.0),
    ),
    "min-snr-5": _min_snr(5),
    "exp(-7t)": Weighting(
        "x0",
        "Clark and Jaini, Text-to-Image Diffusion Models are Zero-Shot Classifiers, NeurIPS 2023; the error in x0 by "
        "exp(-7t), t = timestep / 1000",
        lambda draws: np.exp(-7 * draws.timesteps.astype(np.float64) / _N_TIMESTEPS),
    ),
    "sigma-sqrt": Weighting(
        "flow", f"{_SD3_SOURCE}, as diffusers trains it; the error in flow by sigma^-2", lambda d: _sigma(d) ** -2.0
    ),
    "cosmap": Weighting("flow", f"{_SD3_SOURCE}; the error in flow by 2 / (pi (1 - 2 sigma + 2 sigma^2))", _cosmap),
}


def named(name: str) -> Weighting:
    """The published weighting of that name; UsageError for another."""
    if (found := _MIN_SNR.fullmatch(name)) and (most := float(found[1])) > 0:
        return _min_snr(most)
    if name not in NAMED:
        raise unknown("weighting", name, (UNIFORM, *NAMED))
    return NAMED[name]


def at(timesteps: Floats, table: Sequence[tuple[float, float]], name: str) -> Floats:
    """[D] float64: w of a table of (t, w), ascending in t, on straight lines between its rows; UsageError outside."""
    known, weights = np.array(table, dtype=np.float64).T
    wanted = np.asarray(timesteps, dtype=np.float64)
    if wanted.min() < known[0] or wanted.max() > known[-1]:
        raise UsageError(
            f"weight={name} has weights for timesteps {known[0]:g} to {known[-1]:g}; those that are read lie from "
            f"{wanted.min():g} to {wanted.max():g}: add rows for them, or narrow what is read with -o timesteps"
        )
    return np.interp(wanted, known, weights)


@dataclass(frozen=True, slots=True)
class Window:
    """Which timesteps are read: those from `first` to `last`, both within, and of these every `stride`-th.

    >>> Window.parse("200:800:2")
    Window(first=200.0, last=800.0, stride=2)
    >>> Window.parse(":500").of(np.array([900.0, 100.0, 300.0, 500.0])).tolist()
    [1, 2, 3]
    """

    first: float = -math.inf
    last: float = math.inf
    stride: int = 1

    @classmethod
    def parse(cls, text: str) -> Window:
        """The window that FIRST:LAST or FIRST:LAST:STRIDE names; each number may be left out; UsageError."""
        parts = text.split(":")
        try:
            numbers = [float(part) if part else None for part in parts[:2]]
            stride = int(parts[2]) if len(parts) > 2 and parts[2] else 1
        except ValueError:
            numbers, stride = [], 0
        is_fit = len(parts) in (2, 3) and len(numbers) == 2 and stride >= 1
        first, last = (*numbers, None, None)[:2]
        window = cls(-math.inf if first is None else first, math.inf if last is None else last, stride)
        if not is_fit or not window.first <= window.last:
            raise UsageError(
                f"timesteps cannot be {text!r}; expected FIRST:LAST or FIRST:LAST:STRIDE, such as 200:800 or 200:800:2"
            )
        return window

    def of(self, timesteps: Floats) -> Ints:
        """Which of [D] timesteps lie within, ascending numbers; of these every `stride`-th in the order of t."""
        inside = np.flatnonzero((timesteps >= self.first) & (timesteps <= self.last))
        in_order = inside[np.argsort(timesteps[inside], kind="stable")]
        return np.sort(in_order[:: self.stride])
