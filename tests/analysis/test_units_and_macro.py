"""Pairs, sets and macro means from stored scores to tables, comparisons and frames: counts worked by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import fakes
from compbench.core.examples import Example, Task
from compbench.core.measurements import Measurement, ScoreMatrix
from compbench.core.metrics import BY_NAME
from compbench.schedules.racing import Racing
from compbench.schedules.schedule import entry_of
from compbench.store.key import RunKey
from compbench.store.run import Run
from compbench.store.store import Store
from compbench.store.writer import RunWriter
from compbench_analysis.frames import tables
from compbench_analysis.frames.compare import compare
from compbench_analysis.frames.stored_errors import Stored

RIGHT, WRONG, TIED = (np.array([row], float) for row in ([2, 1, 1, 0], [1, 2, 0, 0], [2, 2, 1, 0]))
METRICS = {name: BY_NAME[name] for name in ("text", "pair", "set", "macro")}


def _task(n_sets: int = 3) -> Task:
    """Sets of four with two pairs each; the examples of the last set are left out of the macro mean."""
    examples = [
        Example(
            f"{number:02d}",
            fakes.example(number).images[:1],
            ("a", "b", "c", "d"),
            np.array([[True, False, False, False]]),
            {"in_set": (f"s{number // 4}",), "in_pair": (f"p{number // 2}",), "in_macro": macro},
            group=f"s{number // 4}",
        )
        for number in range(4 * n_sets)
        for macro in [(("on", "under")[number % 4 // 2],) if number // 4 < n_sets - 1 else ()]
    ]
    return Task("sets", tuple(examples), METRICS)


def _stored(root: Path, task: Task, scores: list[np.ndarray], model: str = "model") -> Run:
    run = Store(root).open(RunKey(task.name, task.revision, model, None, {}), task)
    RunWriter(run).append(
        [ScoreMatrix(example.id, score) for example, score in zip(task.examples, scores, strict=False)], device="cpu"
    )
    RunWriter(run).settle(None)
    return run


#          set 0, all right        set 1: one wrong                  set 2: one tied
SCORES = [RIGHT] * 4 + [RIGHT, RIGHT, WRONG, RIGHT] + [RIGHT, RIGHT, RIGHT, TIED]


def _row(run: Run, metric: str) -> dict[str, object]:
    frame = tables.tidy(run)
    rows = frame[(frame["metric"] == metric) & (frame["tag"] == tables.OVERALL)]
    return dict(rows.iloc[0])


def test_pairs_sets_and_macro_means_are_counted_by_hand(tmp_path: Path) -> None:
    run = _stored(tmp_path, _task(), SCORES)
    found = {name: _row(run, name) for name in METRICS}
    assert {name: (row["n_right"], row["n"]) for name, row in found.items()} == {
        "text": (10, 12),
        "pair": (8, 12),  # four of six pairs
        "set": (4, 12),  # one of three sets
        "macro": (7, 8),  # the third set is excluded
    }
    assert found["macro"]["value"] == pytest.approx((4 / 4 + 3 / 4) / 2)
    assert {name: row["ties"] for name, row in found.items()} == {"text": 1, "pair": 2, "set": 4, "macro": 0}
    assert {name: row["chance"] for name, row in found.items()} == {
        "text": 1 / 4,
        "pair": 1 / 16,
        "set": 1 / 256,
        "macro": 1 / 4,
    }
    assert found["set"]["method"] == "clustered"  # a set counts as one, not as four


def test_a_set_that_is_not_whole_yet_does_not_count(tmp_path: Path) -> None:
    row = _row(_stored(tmp_path, _task(), SCORES[:7]), "set")
    assert (row["n"], row["n_right"], row["n_total"], row["is_partial"]) == (4, 4, 12, True)


def test_the_frame_has_the_outcome_of_the_whole_unit_and_none_outside_it(tmp_path: Path) -> None:
    frame = _stored(tmp_path, _task(), SCORES[:11]).to_frame()
    assert frame["pair"].dropna().tolist() == [True] * 6 + [False, False, True, True]
    assert frame["pair"].isna().tolist() == [False] * 10 + [True]
    assert frame["set"].isna().tolist() == [False] * 8 + [True] * 3
    assert frame["macro"].isna().tolist() == [False] * 8 + [True] * 3


def test_two_models_are_compared_on_the_units_that_count(tmp_path: Path) -> None:
    task = _task()
    runs = [_stored(tmp_path, task, SCORES, "a"), _stored(tmp_path, task, [WRONG] * 12, "b")]
    rows = compare(runs).outcomes
    overall = rows[rows["tag"] == tables.OVERALL].set_index("metric")
    assert overall["n"].to_dict() == {"text": 12, "pair": 12, "set": 12, "macro": 8}
    assert overall.loc["set", "difference"] == pytest.approx(1 / 3)


def test_readings_of_stored_errors_judge_whole_units(tmp_path: Path) -> None:
    task = _task()
    key = RunKey(task.name, task.revision, "model", None, {"bank": 4})
    run = Store(tmp_path).open(key, task, view={"n_draws": 2, "target": "native"})
    errors = [np.repeat(-score[..., None], 2, axis=-1).astype(np.float32) for score in SCORES]
    RunWriter(run).append(
        [
            Measurement(example.id, np.arange(2, dtype=np.int32), {"l2": error}, np.ones(error.shape, bool))
            for example, error in zip(task.examples, errors, strict=True)
        ],
        device="cpu",
    )
    RunWriter(run).write_draws(fakes.ErrorScorer(2).draw_table())
    RunWriter(run).settle(None)
    outcomes = Stored(run).outcomes(np.ones((3, 2)))
    assert outcomes["set"].is_right.sum(0).tolist() == [4, 4, 4]
    assert outcomes["macro"].is_right.shape == (8, 3)


@pytest.mark.parametrize(
    ("outcomes", "told"),
    [
        (["text", "image", "group"], ["text", "image", "pair", "macro"]),
        (["text"], ["text", "pair", "macro"]),
        (["image"], ["image"]),
    ],
)
def test_a_race_tells_only_the_metrics_that_its_outcomes_decide(
    tmp_path: Path, outcomes: list[str], told: list[str]
) -> None:
    names = ["text", "image", "pair", "macro", "ipos_2t", "group_match", "text_r5"]
    plain = _task()
    task = Task("sets", plain.examples, {name: BY_NAME[name] for name in names})
    schedule = entry_of(Racing(16, outcomes=tuple(outcomes)))
    raced = Store(tmp_path).open(RunKey(task.name, task.revision, "raced", None, schedule), task)
    whole = Store(tmp_path).open(RunKey(task.name, task.revision, "whole", None, {}), task)
    assert list(raced.info.task.metrics) == told
    assert list(whole.info.task.metrics) == names
