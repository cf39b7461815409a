"""A number stands under its own name: margins that are normalised or not, runs of one seed or of several, 100 %."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import test_curves
import test_seeds
import test_tables

import compbench
import fakes
from compbench.cli.app import main
from compbench.core.examples import Task
from compbench.core.measurements import Measurement
from compbench.core.metrics import MATCHING
from compbench.core.rules import Rule
from compbench.store.key import RunKey
from compbench.store.run import Run
from compbench.store.store import Store
from compbench.store.writer import RunWriter
from compbench_analysis.frames import breakdowns, tables
from compbench_analysis.frames.compare import compare
from compbench_analysis.frames.margins import margins
from compbench_analysis.frames.signature import labels
from compbench_analysis.report import Look, render
from compbench_analysis.statistics import intervals, paired_tests

TASK = Task("fake", fakes.task(24).examples, MATCHING)
N_DRAWS = 6


@pytest.fixture
def normalised(tmp_path: Path) -> Run:
    """24 examples of random errors, with those without a caption: raw and normalised image scores often differ."""
    view = {"n_draws": N_DRAWS, "target": "native", "unconditional": True}
    run = Store(tmp_path).open(RunKey("fake", TASK.revision, "model", None, {}), TASK, view=view)
    RunWriter(run).write_draws(test_curves._bank(N_DRAWS))
    rng, every = np.random.default_rng(0), np.ones((2, 3, N_DRAWS), bool)
    results = [
        Measurement(
            example.id,
            np.arange(N_DRAWS, dtype=np.int32),
            {"l2": rng.random((2, 3, N_DRAWS), np.float32)},
            every,
            has_null_caption=True,
        )
        for example in TASK.examples
    ]
    RunWriter(run).append(results)
    RunWriter(run).settle(None)
    return run


def test_margins_stand_under_the_score_that_they_are_of(normalised: Run) -> None:
    found = margins(normalised)
    frame = normalised.to_frame().set_index("id")
    assert set(found["metric"]) == {"text", "image", "image_raw"}
    for row in found.to_dict("records"):
        assert row["margin"] == pytest.approx(frame.loc[row["id"], f"{row['metric']}_margin"])
        assert row["is_right"] == frame.loc[row["id"], row["metric"]]
    assert not frame["image"].equals(frame["image_raw"].rename("image"))


def test_the_standard_error_is_that_of_the_normalised_margin(normalised: Run) -> None:
    shown = margins(normalised).query("metric == 'image'").set_index("id")
    raw = margins(normalised).query("metric == 'image_raw'").set_index("id")
    plain = margins(normalised, Rule("native", N_DRAWS)).query("metric == 'image'").set_index("id")
    assert raw["se"].equals(plain["se"])
    assert (shown["se"] != raw["se"]).all()


def test_the_report_shows_the_normalised_margin_with_its_error(normalised: Run) -> None:
    page = render(normalised, Look(n_resamples=9))
    assert "model, raw image" in _unpacked(page)
    assert '"image_raw": [' in page


def test_a_breakdown_by_margin_is_by_the_margin_of_its_own_score(normalised: Run) -> None:
    frame = normalised.to_frame().set_index("id")
    rows = tables.tidy(normalised, breakdowns.Breakdown(("margin",))).query("column == 'margin'")
    for metric in ("image", "image_raw"):
        (nearest, *_) = rows.query(f"metric == '{metric}'").to_dict("records")
        ids = frame[f"{metric}_margin"].abs().sort_values().index[: nearest["n"]]
        assert nearest["n_right"] == frame.loc[ids, metric].sum()


def test_raw_image_scores_are_compared_by_their_margins_too(normalised: Run, tmp_path: Path) -> None:
    other = Store(tmp_path).open(RunKey("fake", TASK.revision, "other", None, {}), TASK, view=normalised.info.view)
    RunWriter(other).write_draws(test_curves._bank(N_DRAWS))
    RunWriter(other).append(list(normalised.measurements().values()))
    RunWriter(other).settle(None)
    assert set(compare([normalised, other]).margins["metric"]) == {"text", "image", "image_raw"}


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """tiny-dit on six digits, every draw."""
    return compbench.run("digits", model="tiny-dit", draws=4, limit=6, runs=tmp_path_factory.mktemp("runs"))


def test_a_classification_has_margins_of_its_top_class(digits: Run) -> None:
    found, frame = margins(digits).set_index("id"), digits.to_frame().set_index("id")
    assert set(found["metric"]) == {"top1"}
    assert found["margin"].to_numpy() == pytest.approx(frame["top1_margin"].to_numpy())
    assert found["is_right"].equals(frame["top1"].rename("is_right"))
    assert found["p_flip"].between(0, 0.5).all()


def test_a_classification_of_every_draw_has_a_report(digits: Run, tmp_path: Path) -> None:
    assert main(["report", str(digits.path), "--output", str(tmp_path / "page.html")]) == 0
    assert "tiny-dit, top-1" in _unpacked((tmp_path / "page.html").read_text(encoding="utf-8"))


def test_seeds_are_counted_in_place_of_the_first_one_s_name(tmp_path: Path) -> None:
    every = [True] * 60
    runs = [test_seeds._run(tmp_path, every, seed) for seed in (0, 1, 2)]
    runs += [test_seeds._run(tmp_path, every, seed, protocol="paper") for seed in (7, 8)]
    runs += [test_seeds._run(tmp_path, every[:40], 5), test_seeds._run(tmp_path, every, 9, protocol="x")]
    shown = list(dict.fromkeys(tables.over_seeds(runs)["model"]))
    assert shown == ["sd (3 seeds)", "sd (paper protocol, 2 seeds)", "sd (seed 5)", "sd (x protocol, seed 9)"]
    assert labels(runs)[3:5] == ["sd (seed 7, paper protocol)", "sd (seed 8, paper protocol)"]


def test_families_that_words_cannot_tell_apart_are_told_by_digest(tmp_path: Path) -> None:
    runs = [test_seeds._run(tmp_path, [True] * n, seed) for n, seeds in ((60, (0, 1)), (40, (2, 3))) for seed in seeds]
    first, second = dict.fromkeys(tables.over_seeds(runs)["model"])
    assert first == f"sd ({runs[0].key.digest[:6]}, 2 seeds)"
    assert second == f"sd ({runs[2].key.digest[:6]}, 2 seeds)"


def test_the_interval_of_all_right_ends_at_one_and_of_all_wrong_at_zero() -> None:
    for n in range(1, 500):
        assert intervals.wilson(n, n)[1] == 1.0
        assert intervals.wilson(0, n)[0] == 0.0
    for sizes in ((3, 4, 5), (7, 3), (1, 2, 9, 11)):
        classes = [str(k) for k, size in enumerate(sizes) for _ in range(size)]
        sample = intervals.Sample.of([str(n) for n in range(len(classes))], classes)
        for value in (0.0, 1.0):
            values = np.full(len(classes), value)
            assert sample.mean(values) == value
            assert intervals.interval(values, sample)[int(value)] == value


def test_the_interval_of_a_difference_stays_within_its_range() -> None:
    for n in range(1, 300):
        alone, lost = paired_tests.Agreement(0, n, 0, 0), paired_tests.Agreement(0, 0, n, 0)
        assert paired_tests.interval(alone)[1] <= 1.0
        assert paired_tests.interval(lost)[0] >= -1.0
        assert paired_tests.gain_interval(alone, lost)[1] <= 2.0
        assert paired_tests.gain_interval(lost, alone)[0] >= -2.0


def test_a_table_of_all_right_says_exactly_one(tmp_path: Path) -> None:
    run = test_tables._stored(tmp_path, test_seeds.TASK, [test_seeds.RIGHT] * 60, "sd")
    assert set(tables.tidy(run)["high"]) == {1.0}


def _unpacked(page: str) -> str:
    """The page with the text of its charts, which are pictures in data URIs."""
    import base64
    import re

    charts = re.findall(r"data:image/svg\+xml;base64,([A-Za-z0-9+/=]+)", page)
    return "\n".join([page, *(base64.b64decode(chart).decode("utf-8") for chart in charts)])
