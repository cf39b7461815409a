"""Effective robustness: on a line nothing is special, and above it by so much."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit, logit

from compbench.core.errors import UsageError
from compbench_analysis.figures import robustness
from compbench_analysis.frames import tables
from compbench_analysis.frames.robustness import effective_robustness

FITTED = ["a", "b", "c"]
PLAIN = {"a": 0.6, "b": 0.7, "c": 0.9, "other": 0.8}


def _frame(shifted: dict[str, float], *, plain: dict[str, float] = PLAIN, n: int = 100_000) -> pd.DataFrame:
    rows = [
        {"task": task, "model": model, "tag": tables.OVERALL, "metric": "top1", "n": n, "value": value}
        for task, values in (("plain", plain), ("shifted", shifted))
        for model, value in values.items()
    ]
    for row in rows:
        row["low"], row["high"] = tables.wilson(row["value"] * n, n)
    return pd.DataFrame(rows)


def _line(slope: float, intercept: float) -> dict[str, float]:
    return {model: float(expit(slope * logit(value) + intercept)) for model, value in PLAIN.items()}


def _rho(frame: pd.DataFrame) -> dict[str, float]:
    result = effective_robustness(frame, "plain", FITTED)
    return dict(zip(result["model"], result["rho"], strict=True))


def test_models_on_one_line_are_not_effectively_robust() -> None:
    result = effective_robustness(_frame(_line(0.8, -0.7)), "plain", FITTED)
    np.testing.assert_allclose(result["rho"], 0, atol=1e-12)
    np.testing.assert_allclose(result[["slope", "intercept"]].to_numpy(), [[0.8, -0.7]] * 4)


def test_a_model_above_the_line_is_so_by_the_difference_of_accuracies() -> None:
    shifted = _line(1.0, -1.0)
    foretold = shifted["other"]  # expit(logit(0.8) - 1): odds 4/e
    assert foretold == pytest.approx(4 / np.e / (1 + 4 / np.e))
    rho = _rho(_frame(shifted | {"other": foretold + 0.05}))
    assert rho["other"] == pytest.approx(0.05)
    assert rho["a"] == pytest.approx(0, abs=1e-12)


def test_models_that_are_not_fitted_do_not_move_the_line() -> None:
    low, high = (_rho(_frame(_line(1.0, -1.0) | {"other": value})) for value in (0.1, 0.9))
    assert low["a"] == pytest.approx(high["a"], abs=1e-12)
    assert high["other"] - low["other"] == pytest.approx(0.8)


def test_the_line_is_that_of_least_squares_in_logits() -> None:
    shifted = {"a": 0.3, "b": 0.55, "c": 0.6, "other": 0.5}
    result = effective_robustness(_frame(shifted), "plain", FITTED)
    slope, intercept = np.polyfit(logit([PLAIN[name] for name in FITTED]), logit([0.3, 0.55, 0.6]), 1)
    np.testing.assert_allclose(result[["slope", "intercept"]].iloc[0], [slope, intercept])


def test_an_accuracy_of_zero_counts_as_half_an_example() -> None:
    rho = _rho(_frame({"a": 0.0, "b": 0.1, "c": 0.2, "other": 0.0}, n=100))
    half = _rho(_frame({"a": 0.005, "b": 0.1, "c": 0.2, "other": 0.0}, n=100))
    assert rho["b"] == pytest.approx(half["b"])
    assert np.isfinite(list(rho.values())).all()


def test_the_interval_holds_the_truth_in_most_worlds() -> None:
    rng = np.random.default_rng(0)
    truth, n, hits = _line(0.9, -0.5), 2000, 0
    for _ in range(30):
        worlds = [{model: rng.binomial(n, value) / n for model, value in values.items()} for values in (PLAIN, truth)]
        result = effective_robustness(_frame(worlds[1], plain=worlds[0], n=n), "plain", FITTED)
        row = result[result["model"] == "other"].iloc[0]
        hits += row["rho_low"] <= 0 <= row["rho_high"]
    assert 25 <= hits <= 30


def test_the_same_seed_gives_the_same_interval() -> None:
    one, same = (effective_robustness(_frame(_line(1, 0)), "plain", FITTED, seed=3) for _ in range(2))
    pd.testing.assert_frame_equal(one, same)


def test_a_model_without_the_shifted_task_is_left_out_and_each_shift_has_a_line_of_its_own() -> None:
    frame = _frame(_line(1.0, -1.0))
    second = frame[frame["task"] == "shifted"].assign(task="second", value=lambda rows: rows["value"] / 2)
    result = effective_robustness(
        pd.concat([frame[(frame["task"] == "plain") | (frame["model"] != "other")], second]), "plain", FITTED
    )
    assert [tuple(row) for row in result[["task", "model"]].to_numpy()] == [
        *(("shifted", model) for model in FITTED),
        *(("second", model) for model in PLAIN),
    ]
    assert result["intercept"].nunique() == 2


@pytest.mark.parametrize(
    ("plain", "fitted", "words"),
    [
        ("other task", FITTED, "expected 'other task' and at least one other"),
        ("plain", ["a", "z"], "model 'z' has no result on 'plain'"),
        ("plain", ["a"], "a line needs two models"),
    ],
)
def test_what_cannot_be_fitted_is_told(plain: str, fitted: list[str], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        effective_robustness(_frame(_line(1, 0)), plain, fitted)


def test_several_metrics_need_a_choice() -> None:
    frame = _frame(_line(1, 0))
    both = pd.concat([frame, frame.assign(metric="mean_per_class")])
    with pytest.raises(UsageError, match="top1, mean_per_class; expected one"):
        effective_robustness(both, "plain", FITTED)
    chosen = effective_robustness(both, "plain", FITTED, metric="mean_per_class")
    assert set(chosen["metric"]) == {"mean_per_class"}


def test_the_picture_shows_each_model_at_its_accuracies() -> None:
    result = effective_robustness(_frame(_line(0.9, -0.5)), "plain", FITTED)
    (axis,) = robustness.plot(result).axes
    assert (axis.get_xscale(), axis.get_yscale()) == ("logit", "logit")
    marks = {text.get_label(): text[0].get_xydata()[0] for text in axis.containers}
    assert list(marks) == ["a (fitted)", "b (fitted)", "c (fitted)", "other"]
    np.testing.assert_allclose(marks["other"], [0.8, _line(0.9, -0.5)["other"]])
