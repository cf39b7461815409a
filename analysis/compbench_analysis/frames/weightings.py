"""Every scoring rule that errors of a loss have, as weights over the draws: targets, published weightings, windows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from compbench.core.aliases import Floats, Ints
from compbench.core.errors import UsageError
from compbench.core.measurements import DrawTable
from compbench.core.rules import NORM, TARGETS, Rule
from compbench.core.weights import NAMED

__all__ = ["Weighting", "Window", "weightings"]

Window = tuple[float, float]  # first and last timestep, both within
_SOURCES = {
    "native": "the network's own training loss, every draw alike",
    NORM: "Krojer et al., Are Diffusion Models Vision-And-Language Reasoners?, NeurIPS 2023 (DiffusionITM); the "
    "root of each draw's squared error",
    "eps": "Li et al., Your Diffusion Model is Secretly a Zero-Shot Classifier, ICCV 2023; the error in x0 by the SNR",
    "v": "Salimans and Ho, Progressive Distillation, ICLR 2022; the error in x0 by SNR + 1",
    "x0": "Salimans and Ho, Progressive Distillation, ICLR 2022",
    "flow": "Lipman et al., Flow Matching for Generative Modeling, ICLR 2023; the velocity of a flow, eps - x0",
}


@dataclass(frozen=True)
class Weighting:
    """A scoring rule: its name, where it comes from, and what it multiplies each draw's stored error by."""

    name: str
    source: str
    weights: Floats  # [D], of no fixed sum: a score's scale decides nothing


def weightings(
    bank: DrawTable, draw_ids: Ints, loss: str = "l2", windows: Sequence[Window] | None = None, where: str = ""
) -> Iterator[Weighting]:
    """Every rule for errors of that loss on the draws `draw_ids` [D] of a bank.

    Errors that are not squares have only the native rule and the windows. `windows` None: thirds of the draws.
    UsageError names `where` if one holds no draw.
    """
    prefix, timesteps = ("" if loss == "l2" else f"{loss}, "), bank.timesteps[draw_ids]
    n_draws = len(timesteps)
    for name, rule in _of_squares(bank).items() if loss == "l2" else [("native", Rule(loss=loss))]:
        source = _SOURCES[NORM if loss == NORM else name] if name not in NAMED else NAMED[name].source
        yield Weighting(f"{prefix}{name}", source, rule.weights(bank)[draw_ids] / n_draws)
    for first, last in _thirds(timesteps) if windows is None else windows:
        is_inside = (timesteps >= first) & (timesteps <= last)
        if not is_inside.any():
            raise UsageError(
                f"no draw has a timestep from {first:g} to {last:g}; those of run {where!r} lie from "
                f"{timesteps.min():g} to {timesteps.max():g}"
            )
        yield Weighting(
            f"{prefix}native, t {first:g}–{last:g}",
            "native, within a window of timesteps",
            is_inside / is_inside.sum(),
        )


def _of_squares(bank: DrawTable) -> Mapping[str, Rule]:
    """The rules of a squared error, by name; the SNR as a weight is the target eps under another name."""
    is_flow = bank.target == "flow"
    of_targets = {target: Rule(target) for target in TARGETS if target != "flow" or is_flow}
    n_timesteps = len(np.unique(bank.timesteps))
    fit = [
        name
        for name, weighting in NAMED.items()
        if name != "snr" and (weighting.target != "flow" or is_flow) and (name != "elbo" or n_timesteps > 1)
    ]
    return of_targets | {name: Rule(NAMED[name].target, weight=name) for name in fit}


def _thirds(timesteps: Floats) -> list[Window]:
    parts = np.array_split(np.sort(timesteps), min(3, len(timesteps)))
    return [(float(part[0]), float(part[-1])) for part in parts]
