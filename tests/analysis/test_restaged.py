"""What other draws would have made of a staged run: known answers, and the scatter over simulated banks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import compbench
from compbench.core.models import Runtime, Source
from compbench.diffusion.classifier import DiffusionClassifier
from compbench.diffusion.draws import per_image
from compbench.schedules.racing import Racing
from compbench.schedules.staged import Pruning, Staged
from compbench_analysis.frames import curves
from compbench_analysis.frames._restaged import Read, Stage, stages_again, stages_of
from compbench_analysis.text import show
from noisy import Noisy, NoisySpec, classes

TIMESTEPS = np.arange(1000)
SHORT = Staged((4, 1), (20, 100))


def _measured(errors: np.ndarray, schedule: Staged) -> tuple[np.ndarray, int]:
    """What the published loop measures of one image's errors [C, D], and what it predicts."""
    policy, measured = Pruning(TIMESTEPS, schedule), np.zeros((1, *errors.shape), bool)
    while (wanted := policy.wanted(errors[None], measured) & ~measured).any():
        measured |= wanted
    return measured[0], policy.verdict(errors[None], measured).predictions[0]


def _read(errors: np.ndarray) -> Read:
    return lambda captions, draws: errors[np.ix_(captions, draws)]


def test_errors_without_noise_give_the_one_prediction() -> None:
    errors = np.array([3.0, 1.0, 2.0, 5.0, 4.0, 6.0])[:, None] + np.zeros(1000)
    measured, winner = _measured(errors, SHORT)
    assert not measured[5, 500:].all()  # given up after the first stage
    assert winner == 1
    assert (stages_again(_read(errors), measured, winner, stages_of(TIMESTEPS, SHORT, 50, 0)) == 1).all()


def test_a_class_that_was_given_up_keeps_its_distance_by_hand() -> None:
    # two stages of one draw each; in the only resample class 2, given up first, is moved into the second stage and wins
    stages = [
        Stage(np.array([0]), 2, np.array([[1.0]]), {}),
        Stage(np.array([1]), 1, np.array([[0.0]]), {1: np.array([[0.0]])}),
    ]
    errors = np.array([[1.0, 1.0], [-1.0, 5.0], [-1.5, 0.0]])
    measured = np.array([[True, True], [True, True], [True, False]])
    # first stage, each error doubled: 2, -2, -3; class 1 and 2 stay. Second: class 1 has 5, class 2 -1.5 - 1 + 1
    assert stages_again(_read(errors), measured, 0, stages).tolist() == [2]
    # with class 2 as far away as 9 it is class 0 that stays with class 1, and wins: 2 + 1 against -2 + 6
    errors = np.array([[1.0, 1.0], [-1.0, 6.0], [9.0, 0.0]])
    assert stages_again(_read(errors), measured, 0, stages).tolist() == [0]


@pytest.mark.slow
@pytest.mark.parametrize("is_shared", [False, True], ids=["noise of each image's own", "shared noise"])
def test_the_scatter_told_is_that_over_banks(is_shared: bool) -> None:
    rng, n, n_classes, n_banks = np.random.default_rng(0), 30, 10, 25
    stages = stages_of(TIMESTEPS, SHORT, 100, 0)
    centres = rng.normal(0, 0.5, (n, n_classes, 1)) - np.r_[1.2, np.zeros(n_classes - 1)][:, None]
    trend, load = rng.normal(size=(n, n_classes, 1)) * (TIMESTEPS / 1000) ** 3, rng.normal(size=(n, n_classes, 3))
    values, told = [], []
    for _ in range(n_banks):
        factors = rng.normal(size=(3, 1000))
        is_right = np.zeros((n, 100), bool)
        right = 0
        for image in range(n):
            factors = factors if is_shared else rng.normal(size=(3, 1000))
            noise = 2 * load[image] @ factors + 3 * rng.normal(size=(n_classes, 1000))
            errors = centres[image] + trend[image] + noise
            measured, winner = _measured(errors, SHORT)
            right += winner == 0
            is_right[image] = stages_again(_read(errors), measured, winner, stages) == 0
        values.append(right / n)
        variances = is_right.mean(0).var(ddof=1) if is_shared else is_right.var(1, ddof=1).sum() / n**2
        told.append(variances)
    assert 0.65 < np.sqrt(np.mean(told)) / np.std(values, ddof=1) < 1.55


class _Staged(NoisySpec):
    """tiny banks cannot be staged: all thousand timesteps, on a denoiser of three multiplications."""

    noise = "independent"

    def identity(self) -> dict[str, object]:  # pyright: ignore[reportIncompatibleMethodOverride]
        return {**super().identity(), **({"noise": self.noise} if self.noise != "independent" else {})}

    def view(self) -> dict[str, object]:  # pyright: ignore[reportIncompatibleMethodOverride]
        return {"n_draws": 1000, "target": "native"}

    def build(self, source: Source | None, runtime: Runtime) -> DiffusionClassifier:
        scorer = super().build(source, runtime)
        bank = per_image(scorer.bank, 0) if self.noise == "per-image" else scorer.bank
        return DiffusionClassifier(Noisy(), bank, 1000, Runtime("cpu", 64), schedule=self.schedule)


class _OwnNoise(_Staged):
    noise = "per-image"


@pytest.mark.parametrize(
    ("spec", "note"), [(_Staged, "all examples share"), (_OwnNoise, "each image has its own noise")]
)
def test_a_staged_run_has_its_draws_part_and_the_table_says_how(spec: type[_Staged], note: str, tmp_path: Path) -> None:
    run = compbench.run(classes(), model=spec(SHORT), runs=tmp_path)
    frame = curves.monte_carlo(run)
    assert set(frame["metric"]) == {"top1", "mean_per_class"}
    assert frame["draws_se"].notna().all()
    assert not frame["is_unsure"].any()
    text = " ".join(show.to_text([run], full=True).split())
    assert "±draws" in text
    assert note in text
    assert "the published stages are replayed" in text
    assert "No ±draws" not in text


def test_a_raced_run_has_none_and_says_why(tmp_path: Path) -> None:
    run = compbench.run(classes(), model=NoisySpec(Racing(64)), runs=tmp_path)
    text = " ".join(show.to_text([run], full=True).split())
    assert "No ±draws: run " in text
    assert "schedule=racing, which leaves out draws" in text
