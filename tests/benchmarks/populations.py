"""Made-up differences that try a race's bounds, in two forms, raced by the product's own decision code.

*Shared*: a draw that is heavy is heavy for every example, since all examples share the draws. *Private*: each example
has heavy draws of its own. An example has one comparison, and the sign of its mean over the bank is the truth.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from compbench.core.aliases import Floats
from compbench.core.measurements import DrawTable
from compbench.schedules.racing import Racing
from compbench.schedules.wave import N_WAVE, Lesson
from tests.benchmarks.raced import Budget, Raced, joined, raced

__all__ = ["POPULATIONS", "Population", "bounds", "of_bank", "races"]

_BOTH = ("shared", "private")
_SAME = ("either",)  # all draws, or the same ones, are as heavy for any example


@dataclass(frozen=True)
class Population:
    """How large the differences of each draw are, and what decides."""

    name: str
    n_draws: int
    sizes: Callable[[np.random.Generator, Floats], Floats]  # (generator, t [D]) -> [D], the pattern of heavy draws
    is_skewed: bool = False  # differences are large to one side
    one_sided: bool = False  # what is heavy stands alone against the rest, of which `margins` are shares
    forms: tuple[str, ...] = _BOTH
    margins: tuple[float, ...] = (0.5, 2)  # of the mean over the bank, in deviations of a mean of D draws
    times: tuple[float, ...] = ()  # by one of which each example's margin is multiplied

    def differences(self, rng: np.random.Generator, n: int, form: str, margin: float) -> Floats:
        """[n, D], of n examples."""
        steps = np.arange(float(self.n_draws))
        shared = self.sizes(rng, steps)
        found = np.empty((n, self.n_draws))
        for example in range(n):
            sizes = self.sizes(rng, steps) if form == "private" else shared
            noise = rng.normal(size=self.n_draws)
            if self.one_sided:
                rest = noise - noise.mean()
                found[example] = (rest + sizes * (1 + 0.1 * noise)) * rng.choice((-1, 1))
                found[example] -= margin * found[example].mean()
                continue
            differ = sizes > 0  # the others are exact ties
            spread = sizes * (1 + 0.3 * noise if self.is_skewed else noise)
            spread = np.where(differ, spread - spread[differ].mean(), 0)
            own = margin * rng.choice(self.times) if self.times else margin
            shift = rng.choice((-1, 1)) * own * spread.std() / np.sqrt(self.n_draws)
            found[example] = np.where(differ, spread + shift / differ.mean(), 0)
        return found


def _few(share: float, size: float) -> Callable[[np.random.Generator, Floats], Floats]:
    def sizes(rng: np.random.Generator, steps: Floats) -> Floats:
        found = np.zeros(len(steps))
        found[rng.choice(len(steps), max(1, round(share * len(steps))), replace=False)] = size
        return found

    return sizes


def _ties(rng: np.random.Generator, steps: Floats) -> Floats:
    return _few(0.02, 1.0)(rng, steps)


_SHARES = (0.25, 0.75)
POPULATIONS = (
    Population("Gaussian", 1000, lambda rng, t: np.ones(len(t)), forms=_SAME),
    Population("Gaussian, small and large margins", 1000, lambda rng, t: np.ones(len(t)), forms=_SAME, times=(0.25, 4)),
    Population("heavy tails, t3", 1000, lambda rng, t: np.sqrt(3 / rng.chisquare(3, len(t)))),
    Population("heavy tails, t1.5", 1000, lambda rng, t: np.sqrt(1.5 / rng.chisquare(1.5, len(t)))),
    Population("sd like 1/(t+1)", 1000, lambda rng, t: 1 / (t + 1), forms=_SAME),
    Population("sd like exp(-t/20)", 200, lambda rng, t: np.exp(-t / 20), forms=_SAME),
    Population("log-normal sizes, s = 1", 1000, lambda rng, t: rng.lognormal(0, 1, len(t)), is_skewed=True),
    Population("log-normal sizes, s = 2", 1000, lambda rng, t: rng.lognormal(0, 2, len(t)), is_skewed=True),
    Population("98 % exact ties", 200, _ties),
    Population("2 % one-sided x 20", 1000, _few(0.02, 20), one_sided=True, margins=_SHARES),
    Population("1 % one-sided x 50", 1000, _few(0.01, 50), one_sided=True, margins=_SHARES),
    Population("one draw against all others", 1000, _few(0.001, 500), one_sided=True, margins=_SHARES),
)


def bounds(risk: float = 0.05, tolerance: float = 0.01) -> Mapping[str, Racing]:
    """The races that are compared; their banks are set by the population."""
    learned = Racing(1, bound="pooled", n_wave=N_WAVE)
    return {
        "tolerance": replace(learned, tolerance=tolerance),
        "pooled": replace(learned, risk=risk),
        "guaranteed": replace(learned, risk=risk, bound="guaranteed"),
        "asymptotic": Racing(1, risk=risk),
    }


def races(
    population: Population,
    form: str,
    race: Racing,
    n: int,
    margin: float,
    *,
    banks: int = 4,
    taught: Callable[[Lesson], Lesson] = lambda lesson: lesson,
) -> Raced:
    """`n` examples over some banks, each with a first wave of its own, which is not among them."""
    return joined(
        raced(*of_bank(population, form, race, n // banks, margin, bank), taught=taught) for bank in range(banks)
    )


def of_bank(
    population: Population, form: str, race: Racing, n: int, margin: float, bank: int
) -> tuple[Racing, Budget, Sequence[int]]:
    """A race over the draws of one bank, a first wave and `n` examples there, and the places of the wave."""
    level = np.full(population.n_draws, np.sqrt(0.5))
    table = DrawTable(np.arange(population.n_draws) * 1000.0 / population.n_draws, level, level, "eps")
    found = population.differences(np.random.default_rng([0, bank]), N_WAVE + n, form, margin)
    errors = np.stack([np.zeros(found.shape), found], axis=1)[:, None]  # [N, 1, 2, D]
    names = [f"wave {number}" if number < N_WAVE else str(number) for number in range(len(errors))]
    matches = np.repeat(np.array([[[True, False]]]), len(errors), axis=0)
    return replace(race, draws=population.n_draws, seed=bank), Budget(names, table, errors, matches), range(N_WAVE)
