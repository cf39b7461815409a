"""Scoring rules as weights over a bank's draws: targets, weightings by signal-to-noise ratio or time, windows.

With x_t = alpha x_0 + sigma eps and SNR = alpha^2 / sigma^2, |eps - eps_hat|^2 = SNR |x_0 - x_0_hat|^2 for the same
network output; hence the error in eps is the error in x_0 weighted by the SNR, that in v is it weighted by SNR + 1.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from compbench.core.aliases import Floats
from compbench.core.errors import UsageError
from compbench.core.measurements import DrawTable
from compbench.core.rules import NORM, TARGETS, Rule

__all__ = ["Weighting", "Window", "weightings"]

Window = tuple[float, float]  # first and last timestep, both within
_N_TIMESTEPS = 1000  # of a network's own time, which a paper counts from 0 to 1
_MIN_SNR = 5.0
_SOURCES = {
    "native": "the network's own training loss, every draw alike",
    NORM: "Krojer et al., Are Diffusion Models Vision-And-Language Reasoners?, NeurIPS 2023 (DiffusionITM); the "
    "root of each draw's squared error",
    "eps": "Li et al., Your Diffusion Model is Secretly a Zero-Shot Classifier, ICCV 2023; the error in x0 by the SNR",
    "v": "Salimans and Ho, Progressive Distillation, ICLR 2022; the error in x0 by SNR + 1",
    "x0": "Salimans and Ho, Progressive Distillation, ICLR 2022",
    "flow": "Lipman et al., Flow Matching for Generative Modeling, ICLR 2023; the velocity of a flow, eps - x0",
    "truncated SNR": "Salimans and Ho, Progressive Distillation, ICLR 2022; the error in x0 by max(SNR, 1)",
    "min-SNR-5": "Hang et al., Efficient Diffusion Training via Min-SNR Weighting Strategy, ICCV 2023; the error in x0 "
    "by min(SNR, 5)",
    "exp(-7t)": "Clark and Jaini, Text-to-Image Diffusion Models are Zero-Shot Classifiers, NeurIPS 2023; the error in "
    "x0 by exp(-7t), t = timestep / 1000",
}


@dataclass(frozen=True)
class Weighting:
    """A scoring rule: its name, where it comes from, and what it multiplies each draw's stored error by."""

    name: str
    source: str
    weights: Floats  # [D], of no fixed sum: a score's scale decides nothing


def weightings(
    draws: DrawTable, loss: str = "l2", windows: Sequence[Window] | None = None, where: str = ""
) -> Iterator[Weighting]:
    """Every rule for errors of that loss; those that are not squares have the native rule and the windows alone.

    `windows` None stands for thirds of the draws. UsageError names `where` if one holds no draw.
    """
    prefix, n_draws = ("" if loss == "l2" else f"{loss}, "), len(draws.alpha)
    for name, weights in _of_squares(draws).items() if loss == "l2" else [("native", np.ones(n_draws))]:
        source = _SOURCES[NORM if loss == NORM else name]
        yield Weighting(f"{prefix}{name}", source, weights / n_draws)
    for first, last in _thirds(draws.timesteps) if windows is None else windows:
        is_inside = (draws.timesteps >= first) & (draws.timesteps <= last)
        if not is_inside.any():
            raise UsageError(
                f"no draw has a timestep from {first:g} to {last:g}; those of run {where!r} lie from "
                f"{draws.timesteps.min():g} to {draws.timesteps.max():g}"
            )
        yield Weighting(
            f"{prefix}native, t {first:g}–{last:g}",
            "native, within a window of timesteps",
            is_inside / is_inside.sum(),
        )


def _of_squares(draws: DrawTable) -> dict[str, Floats]:
    """[D] by name: what a squared error in the network's target is multiplied by."""
    of_x0, by_snr = Rule("x0").weights(draws), Rule("eps").weights(draws)
    return {
        **{target: Rule(target).weights(draws) for target in TARGETS if target != "flow" or draws.target == "flow"},
        "truncated SNR": np.maximum(by_snr, of_x0),
        "min-SNR-5": np.minimum(by_snr, _MIN_SNR * of_x0),
        "exp(-7t)": of_x0 * np.exp(-7 * draws.timesteps.astype(np.float64) / _N_TIMESTEPS),
    }


def _thirds(timesteps: Floats) -> list[Window]:
    parts = np.array_split(np.sort(timesteps), min(3, len(timesteps)))
    return [(float(part[0]), float(part[-1])) for part in parts]
