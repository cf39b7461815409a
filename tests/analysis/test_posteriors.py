"""Posteriors in a run's frame are those of `calibrate`, at a temperature that is named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import scipy.special
import test_calibration

import pages
from compbench.cli.app import main
from compbench.core.errors import UsageError
from compbench.store.run import Run
from compbench_analysis.frames.calibration import calibrate, class_scores


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """400 examples of four classes, whose labels follow the softmax at temperature 0.3."""
    return test_calibration.stored(tmp_path_factory.mktemp("runs"), 400, temperature=0.3)


def test_the_frame_has_what_calibrate_says_of_the_examples_it_judges(run: Run) -> None:
    frame, found = run.to_frame(), calibrate(run)
    assert set(frame["temperature"]) == {found.temperature}
    judged = frame[~frame["is_fitted_on"]].set_index("id").loc[found.examples["id"]]
    assert len(judged) == 320
    assert judged["posterior_true"].tolist() == found.examples["probability_true"].tolist()
    assert judged["posterior_prediction"].tolist() == found.examples["probability"].tolist()
    assert not any(name.endswith("_high") for name in frame)


def test_they_stand_beside_the_scores_and_the_rest_of_the_frame_is_as_it_was(run: Run) -> None:
    frame, without = run.to_frame(), run.to_frame(with_posteriors=False)
    new = ["posterior_true", "posterior_prediction", "temperature", "is_fitted_on"]
    place = list(frame).index("score_false")
    assert list(frame.columns[place + 1 : place + 5]) == new
    assert frame.drop(columns=new).equals(without)


def test_at_temperature_1_they_are_the_papers_equation(run: Run) -> None:
    every, frame, scores = run.posteriors(temperature=1), run.to_frame(temperature=1), class_scores(run)
    assert every.to_numpy() == pytest.approx(scipy.special.softmax(scores.low, axis=-1))
    assert every.attrs == {"temperature": 1}
    assert list(every.columns) == list(test_calibration.NAMES)
    assert every.sum(axis=1).to_numpy() == pytest.approx(1)
    true = [every.loc[example, name] for example, name in zip(frame["id"], frame["class"], strict=True)]
    assert frame["posterior_true"].tolist() == pytest.approx(true)
    assert frame["posterior_prediction"].tolist() == pytest.approx(every.max(axis=1).tolist())
    assert not frame["is_fitted_on"].to_numpy().any()
    assert set(frame["temperature"]) == {1}


def test_where_no_temperature_fits_best_it_is_1_and_that_is_said_once(tmp_path: Path) -> None:
    told: list[str] = []
    some = test_calibration.stored(tmp_path, 12, temperature=0.001).heard(told.append)  # never wrong
    frame = some.to_frame()
    assert set(frame["temperature"]) == {1}
    assert not frame["is_fitted_on"].to_numpy().any()
    some.to_frame()
    assert len(told) == 1
    assert "its posteriors have temperature 1" in told[0]


def test_two_examples_are_too_few_to_fit_on(tmp_path: Path) -> None:
    told: list[str] = []
    test_calibration.stored(tmp_path, 2).heard(told.append).posteriors()
    assert ["2 measured examples are too few" in message for message in told] == [True]


def test_classes_that_were_given_up_have_the_least_and_the_most(tmp_path: Path) -> None:
    raced, _ = test_calibration.scheduled(tmp_path, test_calibration.RACING)
    frame = raced.to_frame(temperature=1)
    assert (frame["posterior_true"] <= frame["posterior_true_high"]).to_numpy().all()
    assert (frame["posterior_prediction"] < frame["posterior_prediction_high"]).to_numpy().all()
    assert (raced.posteriors(temperature=1).sum(axis=1) < 1).to_numpy().all()


def test_a_task_of_pairs_has_none(tmp_path: Path) -> None:
    pairs = pages.scored(tmp_path, pages.task(3), "one", lambda i: pages.RIGHT)
    assert not {"posterior_true", "temperature"} & set(pairs.to_frame())
    with pytest.raises(UsageError, match="is not a classification"):
        pairs.posteriors()


@pytest.mark.parametrize("temperature", [0.0, -1.0, float("nan")])
def test_a_temperature_is_more_than_0(run: Run, temperature: float) -> None:
    with pytest.raises(UsageError, match="expected more than 0"):
        run.to_frame(temperature=temperature)


def test_the_exported_table_has_them(run: Run, tmp_path: Path) -> None:
    assert main(["export", str(run.path), "--output", str(tmp_path / "scores.parquet")]) == 0
    exported = pd.read_parquet(tmp_path / "scores.parquet")
    assert np.array_equal(exported["posterior_true"], run.to_frame()["posterior_true"])
