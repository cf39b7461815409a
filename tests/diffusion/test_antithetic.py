"""Antithetic noise: pairs are units of every statistic over draws, and a short bank leans to neither side."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

import fakes
from compbench.core.examples import Task
from compbench.core.measurements import DrawTable, Measurement
from compbench.core.metrics import MATCHING
from compbench.diffusion.draws import antithetic_bank, balanced_timesteps
from compbench.diffusion.families import stable_diffusion
from compbench.store.key import RunKey
from compbench.store.run import Run
from compbench.store.store import Store
from compbench.store.writer import RunWriter
from compbench_analysis.frames import curves
from compbench_analysis.frames.margins import margins
from compbench_analysis.statistics.resampling import balanced_subsets, contrasts, resamples, standard_error

N_EXAMPLES = 120


def _bank(n_draws: int) -> DrawTable:
    timesteps = antithetic_bank(0).timesteps[:n_draws].astype(np.float64)
    ramp = (timesteps + 1) / 1001
    return DrawTable(timesteps, np.sqrt(1 - ramp**2).astype(np.float32), ramp.astype(np.float32), "v")


def _run(root: Path, errors: np.ndarray, noise: str = "antithetic-2") -> Run:
    """A run of 2x2 examples with the given errors [N, 2, 2, D]."""
    n_draws = errors.shape[-1]
    task = Task("fake", tuple(fakes.example(number) for number in range(len(errors))), MATCHING)
    identity = {"noise": noise} if noise != "independent" else {}
    view = {"n_draws": n_draws, "target": "native"}
    run = Store(root).open(RunKey("fake", task.revision, "model", None, identity), task, view=view)
    RunWriter(run).write_draws(_bank(n_draws))
    draws, mask = np.arange(n_draws, dtype=np.int32), np.ones(errors.shape[1:], bool)
    RunWriter(run).append(
        [
            Measurement(example.id, draws, {"l2": errors[int(example.id)].astype(np.float32)}, mask)
            for example in task.examples
        ]
    )
    RunWriter(run).settle(None)
    return run


def _paired(rng: np.random.Generator, n_draws: int, own: float = 0.1) -> np.ndarray:
    """Errors [N, 2, 2, D] whose noise is shared by all examples and all but cancels within a pair; t has a trend.

    The second picture is never in doubt.
    """
    of_example = np.random.default_rng(99)
    gaps = of_example.normal(0.4, 0.5, (N_EXAMPLES, 1, 1, 1)) * (1 - np.eye(2))[None, :, :, None]
    trend = 1 + 3 * (_bank(n_draws).timesteps / 1000) ** 4  # as steep towards noise as tiny-sd's
    n_pairs = n_draws // 2
    opposite = np.repeat(rng.normal(0, 1, (1, 2, 2, n_pairs)), 2, axis=-1) * np.tile([1.0, -1.0], n_pairs)
    left = rng.normal(0, own, (1, 2, 2, n_pairs)) + rng.normal(0, own, (N_EXAMPLES, 2, 2, n_pairs))
    clear = np.array([[0.0, 0.0], [9.0, 0.0]])[None, :, :, None]
    return 5 + clear + gaps * trend + opposite + np.repeat(left, 2, axis=-1)


@pytest.fixture(scope="module")
def banks(tmp_path_factory: pytest.TempPathFactory) -> list[Run]:
    """The same examples under 30 seeds of the noise."""
    root, rng = tmp_path_factory.mktemp("banks"), np.random.default_rng(0)
    return [_run(root / str(seed), _paired(rng, 64)) for seed in range(30)]


@pytest.mark.slow
def test_the_scatter_told_is_the_scatter_over_seeds(banks: list[Run]) -> None:
    frames = [_overall(bank) for bank in banks]
    spread = np.std([frame["value"].iloc[0] for frame in frames], ddof=1)
    told = np.sqrt(np.mean([frame["draws_se"].iloc[0] ** 2 for frame in frames]))
    assert 0.7 < told / spread < 1.4
    assert not any(frame["is_unsure"].iloc[0] for frame in frames)  # 32 pairs
    torn = [_as_independent(bank) for bank in banks[:3]]
    assert min(torn) > 2 * told  # what draws taken one by one would say


def _as_independent(run: Run) -> float:
    stored = np.stack([measurement.errors["l2"] for measurement in run.measurements().values()])
    run = _run(run.path.parents[2] / "torn", stored, "independent")
    return float(_overall(run)["draws_se"].iloc[0])


def _overall(run: Run) -> pd.DataFrame:
    return curves.monte_carlo(run, n_resamples=120).query("tag == 'overall' and metric == 'text'")


@pytest.mark.slow
def test_the_margins_are_covered_and_flips_are_counted(banks: list[Run]) -> None:
    frames = [margins(bank).query("metric == 'text'") for bank in banks]
    by_seed = np.array([frame["margin"].to_numpy() for frame in frames])  # [seeds, N]
    se = np.array([frame["se"].to_numpy() for frame in frames])
    truth = by_seed.std(0, ddof=1)
    assert np.sqrt((se**2).mean() / (truth**2).mean()) == pytest.approx(1, abs=0.2)
    covered = np.abs(by_seed - by_seed.mean(0)) <= 1.96 * se
    assert 0.87 < covered.mean() < 0.98
    flips = (by_seed[:15] > 0) != (by_seed[15:] > 0)
    expected = np.mean([frame["p_flip"].sum() for frame in frames])
    assert expected == pytest.approx(flips.sum(1).mean(), rel=0.4)


@pytest.mark.parametrize("n_pairs", [8, 16, 32])
def test_the_standard_error_of_a_mean_of_pairs_takes_the_trend_out(n_pairs: int) -> None:
    rng, n_draws = np.random.default_rng(n_pairs), 2 * n_pairs
    timesteps, units = _bank(n_draws).timesteps, np.arange(n_draws) // 2
    means = rng.normal(0, 0.05, (4000, n_pairs)) * (0.2 + timesteps[::2] / 1000)
    trend = (timesteps / 1000) ** 3
    values = np.repeat(means, 2, axis=1) + trend + np.tile([1.0, -1.0], n_pairs) * rng.normal(size=(4000, 1))
    truth = means.mean(1).std()
    told = np.sqrt((standard_error(values, timesteps, units) ** 2).mean())
    assert told / truth == pytest.approx(1, abs={8: 0.35, 16: 0.15, 32: 0.1}[n_pairs])
    assert np.sqrt((standard_error(values, timesteps) ** 2).mean()) > 5 * truth


def test_the_labels_of_pairs_and_the_order_of_draws_mean_nothing() -> None:
    rng = np.random.default_rng(0)
    timesteps, units = _bank(24).timesteps, np.arange(24) // 2
    values = rng.normal(size=(5, 24))
    shuffled = rng.permutation(24)
    ours = standard_error(values, timesteps, units)
    assert standard_error(values[:, shuffled], timesteps[shuffled], units[shuffled]) == pytest.approx(ours)
    assert standard_error(values, timesteps, 1000 - 7 * units) == pytest.approx(ours)
    assert standard_error(values + 3, timesteps, units) == pytest.approx(ours)


def test_pairs_of_one_draw_are_independent_draws() -> None:
    timesteps, values = np.array([3, 1, 2, 9, 5]), np.random.default_rng(0).normal(size=(4, 5))
    alone = np.array([4, 2, 0, 1, 3])
    assert np.array_equal(standard_error(values, timesteps, alone), standard_error(values, timesteps))
    assert np.array_equal(contrasts(timesteps, alone), contrasts(timesteps))
    by_contrasts = np.sqrt(((values @ contrasts(timesteps).T) ** 2).sum(-1))
    assert by_contrasts == pytest.approx(standard_error(values, timesteps))


def test_two_pairs_are_known_by_their_difference() -> None:
    values, timesteps = np.array([1.0, 3.0, 6.0, 8.0]), np.array([0, 1, 10, 11])
    # means 2 and 7: half their difference
    assert standard_error(values, timesteps, np.array([0, 0, 1, 1])) == pytest.approx(2.5)
    assert np.isnan(standard_error(values[:2], timesteps[:2], np.array([0, 0])))


@pytest.mark.parametrize("n_draws", [4, 6, 9, 16, 33])
def test_resampled_means_of_pairs_vary_as_the_standard_error_says(n_draws: int) -> None:
    timesteps, units = _bank(n_draws).timesteps, np.arange(n_draws) // 2
    weights = resamples(timesteps, 6000, 0, units)
    assert np.allclose(weights.sum(1), 1)
    values = np.random.default_rng(1).normal(size=(3, n_draws))
    assert (values @ weights.T).std(1) == pytest.approx(standard_error(values, timesteps, units), rel=0.06)


@pytest.mark.parametrize("n_draws", [1, 2, 5, 8, 15, 16])
def test_a_subset_holds_whole_pairs_but_for_one(n_draws: int) -> None:
    timesteps, units = _bank(16).timesteps, np.arange(16) // 2
    weights = balanced_subsets(timesteps, n_draws, 500, 0, units)
    taken = weights > 0
    assert (taken.sum(1) == n_draws).all()
    assert np.allclose(weights.sum(1), 1)
    halves = taken.reshape(500, 8, 2).sum(-1) == 1
    assert (halves.sum(1) == n_draws % 2).all()
    assert taken.mean(0) == pytest.approx(np.full(16, n_draws / 16), abs=0.1)


@given(st.integers(1, 250))
def test_a_prefix_leans_neither_to_low_noise_nor_to_high(n_quads: int) -> None:
    assert antithetic_bank(0).timesteps[: 4 * n_quads].mean() == 499.5


@pytest.mark.parametrize("n_draws", [8, 16, 32, 64, 128])
def test_a_short_prefix_gives_the_mean_of_a_curve_over_t(n_draws: int) -> None:
    t = np.arange(1000)
    curve = 1 + (t / 999) ** 2  # lower where there is less noise
    old = (2 * balanced_timesteps(500)[:, None] + np.arange(2)).ravel()[:n_draws]
    ours = antithetic_bank(0).timesteps[:n_draws]
    assert abs(curve[ours].mean() / curve.mean() - 1) < 0.011
    assert abs(curve[ours].mean() - curve.mean()) < abs(curve[old].mean() - curve.mean())


@pytest.mark.parametrize("n_timesteps", [2, 7, 50, 1000, 1001])
def test_every_pair_of_neighbours_comes_once(n_timesteps: int) -> None:
    timesteps = antithetic_bank(0, n_timesteps).timesteps
    assert sorted(timesteps.tolist()) == list(range(n_timesteps // 2 * 2))


def test_bins_of_timesteps_hold_whole_pairs(tmp_path: Path) -> None:
    run = _run(tmp_path, _paired(np.random.default_rng(0), 24))
    frame = curves.differences(run, n_bins=5).query("tag == 'overall'")
    assert frame["n_draws"].tolist() == [6, 6, 4, 4, 4]
    assert curves.differences(run, n_bins=24).query("tag == 'overall'")["n_draws"].tolist() == [1] * 24


def test_a_run_of_the_old_bank_is_another_run_and_is_read_in_pairs(tmp_path: Path) -> None:
    spec = stable_diffusion.TINY_SD
    assert spec.identity().get("noise") is None
    ours = stable_diffusion.StableDiffusion(**{**_fields(spec), "noise": "antithetic"})
    assert ours.identity()["noise"] == "antithetic-2"  # so that it is never mixed with runs called antithetic
    errors = _paired(np.random.default_rng(0), 32)
    old, new = (margins(_run(tmp_path / name, errors, name)) for name in ("antithetic", "antithetic-2"))
    assert old["se"].tolist() == new["se"].tolist()
    assert (old["se"] < margins(_run(tmp_path / "no", errors, "independent"))["se"]).mean() > 0.95


def _fields(spec: stable_diffusion.StableDiffusion) -> dict[str, object]:
    return {field.name: getattr(spec, field.name) for field in dataclasses.fields(spec)}
