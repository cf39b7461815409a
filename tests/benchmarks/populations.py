"""Made-up differences that try a race's bounds, in two forms, raced by the product's own decision code.

*Shared*: a draw that is heavy is heavy for every example, since all examples share the draws. *Private*: each example
has heavy draws of its own. An example has one comparison, and the sign of its mean over the bank is the truth.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from compbench.core.aliases import Floats
from compbench.core.measurements import DrawTable
from compbench.schedules.policies import full_scores
from compbench.schedules.racing import Racing
from compbench.schedules.wave import N_WAVE, Lesson, Wave
from compbench_analysis.statistics.intervals import wilson

__all__ = ["FORMS", "POPULATIONS", "Outcome", "Population", "bounds", "raced"]

FORMS = ("shared", "private")
MATCHES = np.array([[True, False]])


@dataclass(frozen=True)
class Population:
    """How large the differences of each draw are, and what decides."""

    name: str
    n_draws: int
    sizes: Callable[[np.random.Generator, Floats], Floats]  # (generator, t [D]) -> [D], the pattern of heavy draws
    is_skewed: bool = False  # differences are large to one side
    one_sided: bool = False  # what is heavy stands alone against the rest, of which `margins` are shares
    margins: tuple[float, ...] = (0.5, 1, 2, 4)  # of the mean over the bank, in deviations of a mean of D draws

    def differences(self, rng: np.random.Generator, n: int, form: str, margin: float) -> Floats:
        """[n, D], of n examples."""
        steps = np.arange(float(self.n_draws))
        shared = self.sizes(rng, steps)
        found = np.empty((n, self.n_draws))
        for example in range(n):
            sizes = shared if form == "shared" else self.sizes(rng, steps)
            noise = rng.normal(size=self.n_draws)
            if self.one_sided:
                rest = noise - noise.mean()
                found[example] = (rest + sizes * (1 + 0.1 * noise)) * rng.choice((-1, 1))
                found[example] -= margin * found[example].mean()
                continue
            differ = sizes > 0  # the others are exact ties
            spread = sizes * (1 + 0.3 * noise if self.is_skewed else noise)
            spread = np.where(differ, spread - spread[differ].mean(), 0)
            shift = rng.choice((-1, 1)) * margin * spread.std() / np.sqrt(self.n_draws)
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


_HALVES = (0.25, 0.5, 0.75)
POPULATIONS = (
    Population("Gaussian", 1000, lambda rng, t: np.ones(len(t))),
    Population("heavy tails, t3", 1000, lambda rng, t: np.sqrt(3 / rng.chisquare(3, len(t)))),
    Population("heavy tails, t1.5", 1000, lambda rng, t: np.sqrt(1.5 / rng.chisquare(1.5, len(t)))),
    Population("sd like 1/(t+1)", 1000, lambda rng, t: 1 / (t + 1)),
    Population("sd like exp(-t/20)", 200, lambda rng, t: np.exp(-t / 20)),
    Population("log-normal sizes, s = 1", 1000, lambda rng, t: rng.lognormal(0, 1, len(t)), is_skewed=True),
    Population("log-normal sizes, s = 2", 1000, lambda rng, t: rng.lognormal(0, 2, len(t)), is_skewed=True),
    Population("98 % exact ties", 200, _ties),
    Population("2 % one-sided x 20", 1000, _few(0.02, 20), one_sided=True, margins=_HALVES),
    Population("1 % one-sided x 50", 1000, _few(0.01, 50), one_sided=True, margins=_HALVES),
    Population("one draw against all others", 1000, _few(0.001, 500), one_sided=True, margins=_HALVES),
)


def bounds(risk: float = 0.05, tolerances: Sequence[float] = ()) -> Mapping[str, Racing]:
    """The races that are compared; their banks are set by the population."""
    learned = Racing(1, bound="pooled", n_wave=N_WAVE)
    return {
        "asymptotic": Racing(1, risk=risk),
        "pooled": Racing(1, risk=risk, bound="pooled", n_wave=N_WAVE),
        "guaranteed": Racing(1, risk=risk, bound="guaranteed", n_wave=N_WAVE),
        **{f"tolerance {tolerance:g}": replace(learned, tolerance=tolerance) for tolerance in tolerances},
    }


@dataclass(frozen=True, slots=True)
class Outcome:
    """Of one bound on one population, at its worst margin."""

    population: str
    form: str
    bound: str
    margin: float
    n: int
    n_changed: int  # examples whose outcome is not the full bank's
    evaluations: float  # share, the wave not counted
    full: float  # share of the examples that went to the end

    @property
    def changed(self) -> tuple[float, float, float]:
        """Share, and its 95 % interval."""
        return self.n_changed / self.n, *wilson(self.n_changed, self.n)


def raced(
    population: Population,
    form: str,
    race: Racing,
    n: int,
    *,
    seed: int = 0,
    banks: int = 4,
    taught: Callable[[Lesson], Lesson] = lambda lesson: lesson,
) -> Iterator[Outcome]:
    """At each margin: `n` examples over some banks, each with a first wave of its own where the race has one.

    `taught` may change what a wave taught, to see that a wrong lesson is noticed.
    """
    level = np.full(population.n_draws, np.sqrt(0.5))
    table = DrawTable(np.arange(population.n_draws) * 1000.0 / population.n_draws, level, level, "eps")
    for margin in population.margins:
        n_changed, used, full = 0, 0.0, 0
        for bank in range(banks):
            found = population.differences(np.random.default_rng([seed, bank]), N_WAVE + n // banks, form, margin)
            errors = np.stack([np.zeros(found.shape), found], axis=1)[:, None]  # [N, 1, 2, D]
            own = replace(race, draws=population.n_draws, seed=bank)
            if own.n_wave:
                wave = {f"wave {number}": errors[number] for number in range(N_WAVE)}
                lesson = taught(own.lesson(wave, dict.fromkeys(wave, MATCHES), table, None))
                own = replace(own, wave=Wave(frozenset(wave), lesson))
            for number in range(N_WAVE, len(errors)):
                verdict = own.policy(str(number), MATCHES, table, None).verdict(
                    errors[number], np.ones(errors[number].shape, bool)
                )
                scores = full_scores(errors[number])[0]
                n_changed += int(verdict.outcomes["text"].is_right != (scores[0] > scores[1]))
                used += float(verdict.n_draws.mean()) / verdict.n_bank
                full += verdict.is_full
        total = banks * (n // banks)
        yield Outcome(population.name, form, race.bound, margin, total, n_changed, used / total, full / total)
