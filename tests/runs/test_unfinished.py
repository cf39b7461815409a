"""Runs that are not whole: each is said, and none crashes a command."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import test_classifying
import test_curves

import fakes
from compbench.cli.app import main
from compbench.core.examples import Task
from compbench.core.measurements import Measurement, ScoreMatrix
from compbench.core.metrics import CLASSIFYING, MATCHING
from compbench.core.rules import Rule
from compbench.store.key import RunKey
from compbench.store.run import Run
from compbench.store.store import Store
from compbench.store.writer import RunWriter
from compbench_analysis.frames import tables
from compbench_analysis.frames.compare import compare
from compbench_analysis.statistics.intervals import Sample, interval
from compbench_analysis.text import show as results

Captured = pytest.CaptureFixture[str]
N, N_DRAWS = 9, 4
TASK = fakes.task(N)


def _open(root: Path, model: str) -> Run:
    view = {"n_draws": N_DRAWS, "target": "native"}
    run = Store(root).open(RunKey("fake", TASK.revision, model, None, {}), TASK, view=view)
    RunWriter(run).write_draws(test_curves._bank(N_DRAWS))
    return run


def _measure(run: Run, n: int, n_draws: int = N_DRAWS) -> None:
    errors = test_curves._noisy(N, N_DRAWS)[..., :n_draws].astype(np.float32)
    draws, every = np.arange(n_draws, dtype=np.int32), np.ones((2, 2, n_draws), bool)
    writer = RunWriter(run)
    writer.append(
        [Measurement(example.id, draws, {"l2": errors[int(example.id)]}, every) for example in TASK.examples[:n]]
    )


def _whole(root: Path) -> None:
    run = _open(root, "whole")
    _measure(run, N)
    RunWriter(run).settle(None)


def _empty(root: Path) -> None:
    _open(root, "model")


def _interrupted(root: Path) -> None:
    run = _open(root, "model")
    RunWriter(run).mark("running")  # its process is gone
    _measure(run, 5)


def _partial(root: Path) -> None:
    run = _open(root, "model")
    _measure(run, 5)
    RunWriter(run).settle(5)


def _lacking_draws(root: Path) -> None:
    run = _open(root, "model")
    _measure(run, N, 2)


def _lacking_a_part(root: Path) -> None:
    run = _open(root, "model")
    _measure(run, 5)
    _measure(run, N)
    RunWriter(run).settle(None)
    for path in sorted((run.path / "errors").glob("*.parquet"))[1:]:
        path.unlink()


def _damaged(root: Path) -> None:
    _lacking_a_part(root)
    (part,) = (root / "fake" / "model").glob("*/errors/*.parquet")
    part.write_bytes(part.read_bytes()[:-7] + b"no part")


def _newer(root: Path) -> None:
    run = _open(root, "model")
    _measure(run, N)
    path = run.path / "run.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "format": 999}))


# what is said by show, curves, compare and export: (exit code, words) each
SAID: dict[str, tuple[Callable[[Path], None], tuple[int, str], tuple[int, str], tuple[int, str], tuple[int, str]]] = {
    "empty": (
        _empty,
        (0, "partial: 0 of 9 examples"),
        (2, "no measured examples yet"),
        (2, "0 examples are in both, 9 only in 'fake/whole'"),
        (0, "0 examples written"),
    ),
    "interrupted": (
        _interrupted,
        (0, "partial: 5 of 9 examples (interrupted)"),
        (0, "model (partial) (5)"),
        (2, "5 examples are in both, 4 only in 'fake/whole'"),
        (0, "5 examples written"),
    ),
    "partial": (
        _partial,
        (0, "partial: 5 of 9 examples"),
        (0, "model (partial) (5)"),
        (2, "5 examples are in both, 4 only in"),
        (0, "5 examples written"),
    ),
    "lacking draws": (
        _lacking_draws,
        (0, "partial: 0 of 9 examples"),
        (2, "9 of its 9 measured examples, '0000' the first, lack some of the first 4 draws"),
        (2, "0 examples are in both"),
        (0, "0 examples written"),
    ),
    "lacking a part": (
        _lacking_a_part,
        (0, "partial: 5 of 9 examples"),
        (0, "model (partial) (5)"),
        (2, "5 examples are in both"),
        (0, "5 examples written"),
    ),
    "damaged": (
        _damaged,
        (0, "is damaged"),
        (2, "no measured examples yet"),
        (2, "0 examples are in both"),
        (0, "0 examples written"),
    ),
    "newer": (
        _newer,
        (1, "written by a newer compbench (format 999"),
        (1, "written by a newer compbench (format 999"),
        (1, "written by a newer compbench (format 999"),
        (1, "written by a newer compbench (format 999"),
    ),
}


@pytest.mark.parametrize("state", SAID)
def test_every_command_says_what_is_not_whole(state: str, tmp_path: Path, capsys: Captured) -> None:
    make, show, curves, comparing, export = SAID[state]
    root = tmp_path / "runs"
    _whole(root)
    make(root)
    (folder,) = (str(path) for path in (root / "fake" / "model").iterdir())
    written = tmp_path / "scores.csv"
    for arguments, (code, words) in (
        (["show", folder], show),
        (["show", folder, "--by", "caption_length", "--by", "margin", "--format", "csv"], (show[0], "")),
        (["curves", folder], curves),
        (["compare", "fake/whole", folder], comparing),
        (["export", folder, "--output", str(written)], export),
    ):
        assert main([*arguments, "--runs", str(root)]) == code, arguments
        said = capsys.readouterr()
        assert words in said.out + said.err
        assert "nan" not in said.out.lower()
    if export[0] == 0:
        assert len(pd.read_csv(written)) == int(export[1].split()[0])


def test_draws_that_are_missing_are_said_beside_the_scores_that_are_there(tmp_path: Path) -> None:
    run = _open(tmp_path, "model")
    _measure(run, N)
    text = results.to_text([run], rule=Rule(draws=1), full=True)
    assert "No ±draws: one draw says nothing" in text
    assert "overall (9)" in text


def _classified(root: Path, labels: list[int], right: list[bool], model: str = "model") -> Run:
    task = test_classifying._task(labels)
    run = Store(root).open(RunKey(task.name, task.revision, model, None, {}), task)
    for example, is_right in zip(task.examples, right, strict=True):
        RunWriter(run).append([ScoreMatrix(example.id, example.matches if is_right else ~example.matches)])
    RunWriter(run).settle(None)
    return run


def test_classification_has_top1_and_the_mean_per_class_each_with_its_own_interval(tmp_path: Path) -> None:
    labels, right = [0] * 10 + [1] * 4 + [2] * 2, [True] * 9 + [False] + [True, False] * 2 + [False] * 2
    run = _classified(tmp_path, labels, right)
    rows = tables.tidy(run).query("tag == 'overall'").set_index("metric")
    assert rows.index.tolist() == list(CLASSIFYING) == ["top1", "mean_per_class"]
    assert rows["value"].tolist() == [11 / 16, pytest.approx((0.9 + 0.5 + 0) / 3)]
    assert rows["method"].tolist() == ["wilson", "stratified"]
    sample = Sample.of([str(n) for n in range(16)], [str(label) for label in labels])
    low, high = interval(np.array(right, float), sample)
    assert rows.loc["mean_per_class", ["low", "high"]].tolist() == pytest.approx([float(low), float(high)])
    text = results.to_text([run])
    assert "Wilson at the effective sample size, within classes" in text
    assert "mean per class, %" in text


def test_means_per_class_are_compared_by_weighted_gains(tmp_path: Path) -> None:
    labels = [0] * 12 + [1] * 3
    runs = [
        _classified(tmp_path, labels, [True] * 12 + [False] * 3, "common"),
        _classified(tmp_path, labels, [False] * 12 + [True] * 3, "rare"),
    ]
    rows = compare(runs).outcomes.query("tag == 'overall'").set_index("metric")
    assert rows["difference"].tolist() == pytest.approx([0.6, 0.0], abs=1e-12)  # each has one of two classes
    assert rows.loc["mean_per_class", "low"] < 0 < rows.loc["mean_per_class", "high"]
    assert rows["p"].tolist() == [pytest.approx(0.0352, abs=1e-4), 1.0]
    assert compare(runs).interactions.empty


def test_a_single_class_is_a_plain_share(tmp_path: Path) -> None:
    run = _classified(tmp_path, [0] * 8, [True] * 6 + [False] * 2)
    rows = tables.tidy(run, "class").set_index(["metric", "tag"])[["value", "low", "high"]]
    assert np.allclose(rows.loc[("top1", "overall")], rows.loc[("mean_per_class", "overall")])
    assert np.allclose(rows.loc[("top1", "ant")], rows.loc[("mean_per_class", "ant")])


def test_classes_may_be_measured_in_part(tmp_path: Path) -> None:
    task = test_classifying._task([0, 0, 1, 2])
    run = Store(tmp_path).open(RunKey(task.name, task.revision, "model", None, {}), task)
    RunWriter(run).append([ScoreMatrix(example.id, example.matches.astype(float)) for example in task.examples[:3]])
    rows = tables.tidy(run).query("tag == 'overall'")
    assert rows["n"].tolist() == [3, 3]
    assert rows["value"].tolist() == [1, 1]
    assert rows["is_partial"].all()
    assert pd.notna(rows[["low", "high"]]).all(axis=None)


def test_metrics_stand_in_one_order_whatever_the_task_calls_first(tmp_path: Path) -> None:
    task = Task("fake", TASK.examples, dict(reversed(MATCHING.items())))
    run = Store(tmp_path).open(RunKey("fake", task.revision, "model", None, {}), task)
    RunWriter(run).append([ScoreMatrix(example.id, np.eye(2)) for example in task.examples])
    assert list(dict.fromkeys(tables.tidy(run)["metric"])) == ["text", "image", "group"]
