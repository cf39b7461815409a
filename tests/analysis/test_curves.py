"""Curves, margins and Monte Carlo errors from stored errors: known answers, laws, and what is refused."""

from __future__ import annotations

import math
import tracemalloc
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import fakes
from compbench.core.errors import UsageError
from compbench.core.examples import Example, Task
from compbench.core.measurements import DrawTable, Measurement, ScoreMatrix
from compbench.core.metrics import MATCHING
from compbench.core.rules import Rule
from compbench.store.key import RunKey
from compbench.store.run import Run
from compbench.store.store import Store
from compbench.store.writer import RunWriter
from compbench_analysis.frames import curves, tables
from compbench_analysis.frames.margins import flip_probability, margins
from compbench_analysis.statistics.resampling import balanced_subsets, resamples, standard_error


def _bank(n_draws: int) -> DrawTable:
    ramp = np.linspace(0.1, 0.9, n_draws, dtype=np.float32)
    timesteps = np.random.default_rng(0).permutation(n_draws) * 10
    return DrawTable(timesteps, np.sqrt(1 - ramp**2), ramp, "v")


def _run(
    root: Path, errors: np.ndarray, *, order: Sequence[int] | None = None, bank: DrawTable | None = None, view: int = 0
) -> Run:
    """A run of 2x2 examples with the given errors [N, 2, 2, D]."""
    n_draws = errors.shape[-1]
    examples = [fakes.example(number) for number in (range(len(errors)) if order is None else order)]
    task = Task("fake", tuple(examples), MATCHING, tag_order={"tag": fakes.TAGS})
    run = Store(root).open(
        RunKey("fake", task.revision, "model", None, {}), task, view={"n_draws": view or n_draws, "target": "native"}
    )
    RunWriter(run).write_draws(bank or _bank(n_draws))
    draws, mask = np.arange(n_draws, dtype=np.int32), np.ones(errors.shape[1:], bool)
    RunWriter(run).append(
        [
            Measurement(example.id, draws, {"l2": errors[int(example.id)].astype(np.float32)}, mask)
            for example in examples
        ]
    )
    RunWriter(run).settle(None)
    return run


def _noisy(n: int, n_draws: int, seed: int = 0, *, gap: float = 0.3) -> np.ndarray:
    """Errors whose wrong pairs are worse by a gap that differs from example to example, under noise."""
    rng = np.random.default_rng(seed)
    gaps = rng.normal(gap, 0.5, (n, 1, 1, 1)) * (1 - np.eye(2))[None, :, :, None]
    return 5 + gaps + rng.normal(0, 1, (n, 2, 2, n_draws))


def _overall(frame: pd.DataFrame, metric: str = "text") -> pd.DataFrame:
    return frame[(frame["tag"] == tables.OVERALL) & (frame["metric"] == metric)].reset_index(drop=True)


def test_the_last_point_of_the_draws_curve_is_the_table(tmp_path: Path) -> None:
    run = _run(tmp_path, _noisy(30, 12))
    for rule in (None, Rule("eps", 12), Rule("x0", 7)):
        frame = curves.by_draws(run, rule=rule, n_subsets=5)
        last = frame[frame["n_draws"] == frame["n_draws"].max()]
        table = tables.tidy(run, rule=rule)
        assert last["value"].tolist() == table["value"].tolist()
        assert (last["low"] == last["high"]).all()  # all draws: there is one subset


def test_each_point_of_the_draws_curve_is_the_table_of_that_many_draws(tmp_path: Path) -> None:
    run = _run(tmp_path, _noisy(30, 12))
    frame = curves.by_draws(run, counts=[1, 5, 12], n_subsets=5)
    for n_draws in (1, 5, 12):
        expected = tables.tidy(run, rule=Rule(draws=n_draws))["value"].tolist()
        assert frame[frame["n_draws"] == n_draws]["value"].tolist() == expected


def test_the_draws_curve_worked_by_hand(tmp_path: Path) -> None:
    # wrong minus right is -1, 3 at the two draws: one draw decides wrongly, both decide rightly
    errors = np.zeros((3, 2, 2, 2)) + np.array([-1, 3]) * (1 - np.eye(2))[..., None]
    frame = _overall(curves.by_draws(_run(tmp_path, errors), n_subsets=400))
    assert frame["value"].tolist() == [0, 1]
    assert frame["mean"].tolist() == pytest.approx([0.5, 1], abs=0.1)  # either draw, equally often
    assert frame["low"].tolist() == [0, 1]  # jointly: all three examples turn together
    assert frame["high"].tolist() == [1, 1]


def test_ties_are_ties_in_every_reading(tmp_path: Path) -> None:
    same = np.random.default_rng(0).random((40, 1, 1, 9)) * np.ones((1, 2, 2, 1))
    frame = curves.by_draws(_run(tmp_path, same), n_subsets=20)
    assert (frame[["value", "mean", "high"]] == 0).all(axis=None)


def test_timesteps_worked_by_hand(tmp_path: Path) -> None:
    by_timestep = np.array([-2.0, -2.0, 1.0, 5.0])  # of timesteps 0, 10, 20, 30
    bank = _bank(4)
    errors = np.zeros((6, 2, 2, 4)) + by_timestep[(bank.timesteps // 10).astype(int)] * (1 - np.eye(2))[..., None]
    run = _run(tmp_path, errors, bank=bank)
    frame = _overall(curves.by_timestep(run, n_bins=2))
    assert frame["value"].tolist() == [0, 1]
    assert frame[["first", "last", "timestep", "n_draws"]].to_numpy().tolist() == [[0, 10, 5, 2], [20, 30, 25, 2]]
    differences = curves.differences(run, n_bins=2)
    assert differences[differences["tag"] == "overall"]["difference"].tolist() == [-2, 3]
    assert differences["low"].tolist() == pytest.approx(differences["high"].tolist())  # the examples are alike


def test_rules_stand_side_by_side_and_agree_with_the_tables(tmp_path: Path) -> None:
    run = _run(tmp_path, _noisy(30, 12))
    frame = _overall(curves.by_rule(run, windows=[(0, 50), (60, 200)])).set_index("rule")
    for target in ("native", "eps", "v", "x0"):
        table = _overall(tables.tidy(run, rule=Rule(target))).iloc[0]
        assert frame.loc[target, ["value", "low", "high"]].tolist() == table[["value", "low", "high"]].tolist()
    bins = _overall(curves.by_timestep(run, n_bins=2))["value"].tolist()
    assert frame.loc[["native, t 0–50", "native, t 60–200"], "value"].tolist() == bins
    with pytest.raises(UsageError, match="no draw has a timestep from 500 to 600"):
        curves.by_rule(run, windows=[(500, 600)])


def test_nothing_depends_on_the_order_of_examples(tmp_path: Path) -> None:
    errors = _noisy(15, 8)
    plain = _run(tmp_path / "plain", errors)
    mixed = _run(tmp_path / "mixed", errors, order=np.random.default_rng(1).permutation(15).tolist())
    for view in (
        lambda run: curves.by_draws(run, n_subsets=10),
        lambda run: curves.monte_carlo(run, n_resamples=50),
        lambda run: curves.by_timestep(run, n_bins=4),
        lambda run: curves.differences(run, n_bins=4),
        curves.by_rule,
        lambda run: margins(run).sort_values(["id", "metric"], ignore_index=True),
    ):
        pd.testing.assert_frame_equal(view(plain), view(mixed))


def test_margins_are_those_of_the_run_and_their_error_is_that_of_the_paired_difference(tmp_path: Path) -> None:
    run = _run(tmp_path, _noisy(20, 8))
    frame, table = margins(run), run.to_frame()
    for metric in ("text", "image"):
        part = frame[frame["metric"] == metric]
        assert part["id"].tolist() == table["id"].tolist()
        assert part["margin"].to_numpy() == pytest.approx(table[f"{metric}_margin"].to_numpy())
        assert part["is_right"].tolist() == table[metric].tolist()
    errors = run.measurements()["0003"].errors["l2"].astype(float)
    by_image = np.stack([errors[0, 1] - errors[0, 0], errors[1, 0] - errors[1, 1]])
    paired = by_image[by_image.mean(1).argmin()][np.argsort(run.draws().timesteps)]
    expected = math.sqrt(((paired[1:] - paired[:-1]) ** 2).sum() / (2 * 8 * 7))
    row = frame[(frame["id"] == "0003") & (frame["metric"] == "text")].iloc[0]
    assert row["se"] == pytest.approx(expected)
    assert row["tag"] == "Object"


def test_the_standard_error_is_that_of_independent_noise_at_each_timestep() -> None:
    # a trend over t, noise that grows with t, many banks
    timesteps = np.arange(40)
    noise = np.random.default_rng(0).normal(size=(4000, 40)) * np.linspace(0.2, 1.5, 40)
    values = noise + np.linspace(3, 0, 40)
    truth = values.mean(1).std()
    assert np.sqrt((standard_error(values, timesteps) ** 2).mean()) == pytest.approx(truth, rel=0.05)
    naive = values.std(1, ddof=1).mean() / math.sqrt(40)
    assert naive > 1.25 * truth  # counts the trend as noise


@pytest.mark.parametrize("n_draws", [2, 3, 20, 21])
def test_resamples_have_the_variance_of_other_noise(n_draws: int) -> None:
    timesteps, rng = np.arange(n_draws)[::-1].copy(), np.random.default_rng(0)
    weights = resamples(timesteps, 2000, seed=0)
    assert np.allclose(weights.sum(1), 1)
    values = rng.normal(size=(2000, n_draws))
    resampled = (values @ weights.T).var(1).mean()
    assert resampled == pytest.approx(1 / n_draws, rel=0.1)


def test_balanced_subsets_favour_no_draw_and_take_one_of_each_stretch() -> None:
    weights = balanced_subsets(np.arange(12), 5, 6000, seed=0)
    assert ((weights > 0).sum(1) == 5).all()
    assert np.allclose(weights.sum(1), 1)
    assert weights.mean(0) == pytest.approx(np.full(12, 1 / 12), rel=0.1)
    gaps = np.diff(np.nonzero(weights)[1].reshape(-1, 5), axis=1)
    assert gaps.max() <= 5  # never far from the even distance of 2.4


def test_the_monte_carlo_error_is_the_spread_over_other_banks(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    gaps = rng.normal(0.1, 0.5, (150, 1, 1, 1)) * (1 - np.eye(2))[None, :, :, None]
    # noise that all examples share moves them together: more examples do not average it away
    banks = [gaps + rng.normal(0, 1, (150, 2, 2, 16)) + rng.normal(0, 1, (1, 2, 2, 16)) for _ in range(24)]
    frames = [
        _overall(curves.monte_carlo(_run(tmp_path / str(n), errors), n_resamples=100)) for n, errors in enumerate(banks)
    ]
    spread = np.std([frame["value"].iloc[0] for frame in frames], ddof=1)
    told = np.sqrt(np.mean([frame["draws_se"].iloc[0] ** 2 for frame in frames]))
    assert told == pytest.approx(spread, rel=0.3)
    alone = np.sqrt(0.25 / 150)
    assert spread > 1.3 * alone  # what independent noise could do at the very most


def test_the_monte_carlo_part_stands_beside_the_table(tmp_path: Path) -> None:
    run = _run(tmp_path, _noisy(30, 12))
    frame, table = curves.monte_carlo(run, n_resamples=100), tables.tidy(run)
    pd.testing.assert_frame_equal(frame[list(table.columns)], table)
    assert (frame["draws_low"] <= frame["value"]).all()
    assert (frame["draws_high"] >= frame["value"]).all()
    steady = np.zeros((30, 2, 2, 12)) + (1 - np.eye(2))[..., None]
    assert (curves.monte_carlo(_run(tmp_path / "steady", steady), n_resamples=50)["draws_se"] == 0).all()


def test_a_margin_of_nothing_flips_every_other_time() -> None:
    flips = flip_probability(np.array([0.0, 0.0, 1.0, -1.0, 1.0]), np.array([1.0, 0.0, 0.0, 0.5, np.nan]))
    assert flips[:3].tolist() == [0.5, 0.5, 0]
    assert flips[3] == pytest.approx(0.0786, abs=1e-4)  # Phi(-2 / sqrt 2)
    assert np.isnan(flips[4])


def test_as_many_decisions_flip_under_other_draws_as_were_expected(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    gaps = rng.normal(0, 0.6, (600, 1)) * np.ones((1, 20))
    shape = np.array([[0.0, 1.0], [9.0, 0.0]])[None, :, :, None]  # the second picture is never in doubt

    def measured() -> np.ndarray:
        errors = np.zeros((600, 2, 2, 20)) + shape
        errors[:, 0, 1] = gaps + rng.normal(0, 1, (600, 20))
        return errors

    first, second = (margins(_run(tmp_path / str(n), measured())).query("metric == 'text'") for n in range(2))
    flipped = (first["is_right"] != second["is_right"]).sum()
    assert first["p_flip"].sum() == pytest.approx(flipped, rel=0.2)


def test_a_run_of_scores_is_refused(tmp_path: Path) -> None:
    task = fakes.task(4)
    run = Store(tmp_path).open(RunKey("fake", task.revision, "clip", None, {}), task)
    RunWriter(run).append([ScoreMatrix(example.id, np.eye(2)) for example in task.examples])
    for view in (curves.by_draws, curves.monte_carlo, curves.by_timestep, curves.differences, curves.by_rule, margins):
        with pytest.raises(UsageError, match="'clip' stores scores and no errors per draw: only a run of a diffusion"):
            view(run)


def test_examples_that_lack_draws_are_refused_and_counted(tmp_path: Path) -> None:
    run = _run(tmp_path, _noisy(4, 6), view=8)
    with pytest.raises(UsageError, match=r"4 of its 4 measured examples, '0000' the first, lack .* first 8 draws"):
        curves.by_draws(run)
    with pytest.raises(UsageError, match="draws=8, or read it with draws=6"):
        margins(run)
    assert curves.by_draws(run, rule=Rule(draws=6))["n_draws"].max() == 6
    with pytest.raises(UsageError, match="7 draws were asked for; expected 1 to 6"):
        curves.by_draws(run, rule=Rule(draws=6), counts=[7])


def test_a_pruned_pair_is_refused_where_it_was_pruned(tmp_path: Path) -> None:
    run = _run(tmp_path, _noisy(3, 4))
    task = fakes.task(5)
    run = Store(tmp_path / "pruned").open(RunKey("fake", task.revision, "model", None, {}), task, view={"n_draws": 4})
    RunWriter(run).write_draws(_bank(4))
    mask = np.ones((2, 2, 4), bool)
    mask[0, 1, 2:] = False
    whole = Measurement(
        "0000", np.arange(4, dtype=np.int32), {"l2": np.ones((2, 2, 4), np.float32)}, np.ones((2, 2, 4), bool)
    )
    pruned = Measurement("0001", np.arange(4, dtype=np.int32), {"l2": np.ones((2, 2, 4), np.float32)}, mask)
    RunWriter(run).append([whole, pruned])
    with pytest.raises(UsageError, match=r"1 of its 2 measured examples, '0001' the first.*read it with draws=2"):
        curves.monte_carlo(run)
    frame = curves.by_draws(run, rule=Rule(draws=2))
    assert frame["is_partial"].all()
    assert _overall(frame)["n"].tolist() == [2, 2]


def test_a_run_of_nothing_and_a_single_draw_are_said(tmp_path: Path) -> None:
    task = fakes.task(2)
    empty = Store(tmp_path / "empty").open(RunKey("fake", task.revision, "model", None, {}), task, view={"n_draws": 4})
    RunWriter(empty).write_draws(_bank(4))
    with pytest.raises(UsageError, match="no measured examples yet"):
        curves.differences(empty)
    single = _run(tmp_path / "single", _noisy(3, 1))
    with pytest.raises(UsageError, match="one draw says nothing"):
        curves.monte_carlo(single)
    assert margins(single)["se"].isna().all()
    with pytest.raises(UsageError, match="10 bins of 1 draws"):
        curves.by_timestep(single)


def test_examples_of_several_shapes_keep_to_the_metrics_they_have(tmp_path: Path) -> None:
    square = fakes.example(0)
    wide = Example("wide", square.images[:1], ("a", "b", "c"), np.array([[True, False, False]]), {"tag": ("Object",)})
    task = Task("mixed", (square, wide), MATCHING)
    run = Store(tmp_path).open(RunKey("mixed", task.revision, "model", None, {}), task, view={"n_draws": 3})
    RunWriter(run).write_draws(_bank(3))
    draws = np.arange(3, dtype=np.int32)
    for example in task.examples:
        errors = np.repeat((~example.matches)[..., None], 3, axis=-1).astype(np.float32)
        RunWriter(run).append([Measurement(example.id, draws, {"l2": errors}, np.ones(errors.shape, bool))])
    frame = curves.by_draws(run, n_subsets=3)
    assert {metric: _overall(frame, metric)["n"].iloc[0] for metric in MATCHING} == {"text": 2, "image": 1, "group": 1}
    assert (frame["value"] == 1).all()
    assert margins(run)[["id", "metric"]].to_numpy().tolist() == [["0000", "text"], ["0000", "image"], ["wide", "text"]]
    differences = curves.differences(run, n_bins=1)
    assert differences[differences["tag"] == "overall"]["difference"].tolist() == [1]


def test_two_runs_stand_in_one_frame_in_their_order(tmp_path: Path) -> None:
    first, second = _run(tmp_path / "a", _noisy(6, 4)), _run(tmp_path / "b", _noisy(6, 4, seed=1))
    frame = curves.by_draws([first, second], n_subsets=2)
    assert len(frame) == 2 * len(curves.by_draws(first, n_subsets=2))


def test_memory_does_not_grow_with_the_run(tmp_path: Path) -> None:
    run = _run(tmp_path, _noisy(2000, 250).astype(np.float32))  # 8 MB of errors; more would be slow here
    run.contents.bytes_at_once = 4_000_000
    tracemalloc.start()
    margins(run)
    curves.differences(run)
    curves.by_draws(run, n_subsets=20, counts=[10, 250])
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 200_000_000
