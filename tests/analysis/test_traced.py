"""`compbench curves` and the draws' part of a table: what stored errors tell, and what they cannot."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import test_curves

from compbench.cli.app import main
from compbench.core.errors import UsageError
from compbench.core.examples import Task
from compbench.core.measurements import Measurement, ScoreMatrix
from compbench.core.metrics import MATCHING
from compbench.core.rules import Rule
from compbench.schedules.racing import Racing
from compbench.schedules.schedule import entry_of
from compbench.store.key import RunKey
from compbench.store.run import Run
from compbench.store.store import Store
from compbench.store.writer import RunWriter
from compbench_analysis.frames import curves
from compbench_analysis.frames.margins import margins
from compbench_analysis.frames.weightings import weightings
from compbench_analysis.text import curves as traced
from compbench_analysis.text import show
from compbench_analysis.text.render import FORMATS

Captured = pytest.CaptureFixture[str]


def _run(root: Path, n: int = 12, n_draws: int = 16) -> Run:
    return test_curves._run(root, test_curves._noisy(n, n_draws))


def _scores(root: Path) -> Run:
    task = Task("fake", test_curves.fakes.task(12).examples, MATCHING)
    run = Store(root).open(RunKey("fake", task.revision, "clip", None, {}), task)
    RunWriter(run).append([ScoreMatrix(example.id, np.eye(2)) for example in task.examples])
    RunWriter(run).settle(None)
    return run


@pytest.mark.parametrize("style", FORMATS)
def test_every_view_is_told_in_every_format(style: str, tmp_path: Path) -> None:
    text = traced.to_text([_run(tmp_path)], style=style, full=True)
    assert "nan" not in text.lower()
    assert "truncated" in text
    if style == "json":
        assert {row["view"] for row in json.loads(text)} == set(traced.VIEWS)
    elif style != "csv":
        assert "16 draws" in text
        assert "Clark and Jaini" in text


@pytest.mark.parametrize("view", traced.VIEWS)
def test_a_view_can_be_a_picture(view: str, tmp_path: Path, capsys: Captured) -> None:
    _run(tmp_path / "runs")
    picture = tmp_path / "view.png"
    asked = ["curves", "fake/model", "--runs", str(tmp_path / "runs"), "--view", view]
    assert main([*asked, "--output", str(picture)]) == 0
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert f"picture written to {picture}" in capsys.readouterr().err


def test_the_command_prints_what_the_function_says(tmp_path: Path, capsys: Captured) -> None:
    run = _run(tmp_path)
    assert main(["curves", "fake/model", "--runs", str(tmp_path), "--view", "rules", "--window", "0-70"]) == 0
    said = capsys.readouterr().out
    assert said.strip() == traced.to_text([run], ["rules"], traced.Asked(windows=((0, 70),))).strip()
    assert "native, t 0–70" in said
    assert main(["curves", "fake/model", "--runs", str(tmp_path), "--window", "early"]) == 2
    assert "'early' is not a window of timesteps; expected two numbers such as 0-333" in capsys.readouterr().err


def test_weightings_worked_by_hand() -> None:
    draws = test_curves._bank(6)  # errors in v
    alpha, sigma = (np.asarray(column, float) for column in (draws.alpha, draws.sigma))
    of_x0, snr, t = sigma**2, alpha**2 / sigma**2, np.asarray(draws.timesteps) / 1000
    found = {weighting.name: weighting.weights * 6 for weighting in weightings(draws, np.arange(6))}
    assert found["x0"] == pytest.approx(of_x0)
    assert found["eps"] == pytest.approx(of_x0 * snr)
    assert found["v"] == pytest.approx(of_x0 * (snr + 1), rel=1e-6)  # alpha^2 + sigma^2 = 1
    assert found["truncated"] == pytest.approx(of_x0 * np.maximum(snr, 1))
    assert found["min-snr-5"] == pytest.approx(of_x0 * np.minimum(snr, 5))
    assert found["exp(-7t)"] == pytest.approx(of_x0 * np.exp(-7 * t))


def test_further_losses_have_the_native_rule_and_windows_alone() -> None:
    names = [weighting.name for weighting in weightings(test_curves._bank(6), np.arange(6), "l1", [(0, 20)])]
    assert names == ["l1, native", "l1, native, t 0–20"]


def test_every_loss_that_is_stored_is_read(tmp_path: Path) -> None:
    task = Task("fake", test_curves.fakes.task(6).examples, MATCHING)
    run = Store(tmp_path).open(RunKey("fake", task.revision, "model", None, {}), task, view={"n_draws": 4})
    RunWriter(run).write_draws(test_curves._bank(4))
    draws, every = np.arange(4, dtype=np.int32), np.ones((2, 2, 4), bool)
    wrong = np.repeat((1 - np.eye(2))[..., None], 4, axis=-1).astype(np.float32)
    RunWriter(run).append(
        [Measurement(example.id, draws, {"l2": wrong, "l1": -wrong}, every) for example in task.examples]
    )
    RunWriter(run).settle(None)
    frame = curves.by_rule(run).query("tag == 'overall' and metric == 'text'").set_index("rule")["value"]
    assert frame["native"] == 1
    assert frame["l1, native"] == 0  # by that error the wrong captions are better
    assert curves.by_draws(run, rule=Rule(draws=4, loss="l1"), n_subsets=2)["value"].max() == 0


def test_scores_normalised_by_no_caption_stand_beside_raw_ones(tmp_path: Path) -> None:
    task = Task("fake", test_curves.fakes.task(6).examples, MATCHING)
    view = {"n_draws": 4, "unconditional": True}
    run = Store(tmp_path).open(RunKey("fake", task.revision, "model", None, {}), task, view=view)
    RunWriter(run).write_draws(test_curves._bank(4))
    errors = np.zeros((2, 2, 4), np.float32) + np.array([[2, 3], [13, 12]])[..., None]  # the second picture is harder
    without = np.array([[4.0], [14.0]], np.float32) * np.ones((1, 4), np.float32)
    errors = np.concatenate([errors, without[:, None]], axis=1, dtype=np.float32)
    draws, every = np.arange(4, dtype=np.int32), np.ones((2, 3, 4), bool)
    writer = RunWriter(run)
    writer.append(
        [Measurement(example.id, draws, {"l2": errors}, every, has_null_caption=True) for example in task.examples]
    )
    RunWriter(run).settle(None)
    frame = curves.by_draws(run, n_subsets=2).query("tag == 'overall' and n_draws == 4")
    assert dict(zip(frame["metric"], frame["value"], strict=True)) == {
        "text": 1,
        "image": 1,
        "group": 1,
        "image_raw": 0,
        "group_raw": 0,
    }
    text = show.to_text([run], full=True)
    blocks = [line.split(" score")[0] for line in text.splitlines() if " score, %" in line]
    assert blocks == ["text", "image", "group", "raw image", "raw group"]


def test_a_run_of_scores_is_refused_by_the_command(tmp_path: Path, capsys: Captured) -> None:
    _scores(tmp_path)
    assert main(["curves", "fake/clip", "--runs", str(tmp_path)]) == 2
    assert "stores scores and no errors per draw" in capsys.readouterr().err


def test_a_run_that_stopped_where_it_was_sure_is_refused_with_what_to_do(tmp_path: Path) -> None:
    task = Task("fake", test_curves.fakes.task(3).examples, MATCHING)
    key = RunKey("fake", task.revision, "model", None, entry_of(Racing(4)))
    run = Store(tmp_path).open(key, task, view={"n_draws": 4})
    RunWriter(run).write_draws(test_curves._bank(4))
    mask = np.ones((2, 2, 4), bool)
    mask[0, 1, 2:] = False
    draws = np.arange(4, dtype=np.int32)
    writer = RunWriter(run)
    writer.append(
        [Measurement(example.id, draws, {"l2": np.ones((2, 2, 4), np.float32)}, mask) for example in task.examples]
    )
    expected = "measured with schedule=racing, which leaves out draws .* needs a run with schedule=full"
    for view in (curves.by_draws, curves.monte_carlo, curves.by_timestep, curves.differences, curves.by_rule, margins):
        with pytest.raises(UsageError, match=expected):
            view(run)
    assert "No ±draws: run " in " ".join(show.to_text([run], full=True).split())


def test_the_draws_part_stands_in_a_column_of_its_own_in_every_format(tmp_path: Path) -> None:
    run, scores = _run(tmp_path, 40, 32), _scores(tmp_path / "clip")
    expected = curves.monte_carlo(run, n_resamples=400).query("tag == 'overall' and metric == 'text'").iloc[0]
    text = show.to_text([run], full=True)
    header, row = (next(line for line in text.splitlines() if line.startswith(word)) for word in ("text sc", "model "))
    assert header.endswith("±draws")
    assert row.endswith(f"±{100 * expected['draws_se']:.1f}")
    for style in ("markdown", "latex"):
        assert "±draws" in show.to_text([run], style, full=True)
    rows = json.loads(show.to_text([run], "json"))
    assert rows[-3]["draws_se"] == pytest.approx(expected["draws_se"])
    assert "±draws" not in show.to_text([scores], full=True)
    assert "±draws" not in show.to_text([run], draws=False, full=True)


def test_too_few_draws_have_no_figure_and_are_told_how_many_are_enough(tmp_path: Path) -> None:
    run = _run(tmp_path, 12, 31)
    text = " ".join(show.to_text([run], full=True).split())
    assert "No ±draws for model: from 31 draws the figure could be off by a factor of two" in text
    assert "-o draws=32 is enough" in text
    assert "±draws, points" not in text
    assert all(row["draws_se"] is None for row in json.loads(show.to_text([run], "json")))
    assert curves.monte_carlo(run, n_resamples=20)["is_unsure"].all()
    assert not curves.monte_carlo(_run(tmp_path / "enough", 12, 32), n_resamples=20)["is_unsure"].any()


def test_a_run_whose_errors_are_not_whole_says_why_it_has_no_draws_part(tmp_path: Path) -> None:
    run = test_curves._run(tmp_path, test_curves._noisy(4, 6), view=6)
    RunWriter(run).mark("partial", view={"n_draws": 1, "target": "native"})
    assert "No ±draws: one draw says nothing about other draws" in show.to_text([run], full=True)
