from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import fakes
from compbench.core.errors import DataError
from compbench.runs.harness import import_scores

ROWS = [
    {"example_id": f"{n:04d}", "image": i, "caption": c, "score": float(10 * n + 2 * (i == c) + c)}
    for n in range(3)
    for i in range(2)
    for c in range(2)
]


@pytest.mark.parametrize("suffix", ["csv", "tsv", "parquet", "jsonl"])
def test_scores_of_any_file_make_a_run(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"scores.{suffix}"
    frame = pd.DataFrame(ROWS)
    if suffix == "parquet":
        frame.to_parquet(path)
    elif suffix == "jsonl":
        path.write_text("\n".join(json.dumps(row) for row in ROWS))
    else:
        frame.to_csv(path, sep={"csv": ",", "tsv": "\t"}[suffix], index=False)
    run = import_scores(path, task=fakes.task(3), name="gpt-4o", runs=tmp_path / "runs")
    assert (run.key.model, run.status) == ("gpt-4o", "done")
    assert run.table().ids == ("0000", "0001", "0002")
    np.testing.assert_array_equal(run.table().scores[1], [[12, 11], [10, 13]])
    assert import_scores(path, task=fakes.task(3), name="gpt-4o", runs=tmp_path / "runs").path == run.path


def test_other_scores_under_the_same_name_are_another_run(tmp_path: Path) -> None:
    first = import_scores(_csv(tmp_path, ROWS), task=fakes.task(3), name="m", runs=tmp_path)
    changed = [{**ROWS[0], "score": 99.0}, *ROWS[1:]]
    second = import_scores(_csv(tmp_path, changed), task=fakes.task(3), name="m", runs=tmp_path)
    shuffled = import_scores(_csv(tmp_path, ROWS[::-1]), task=fakes.task(3), name="m", runs=tmp_path)
    assert first.path != second.path
    assert shuffled.path == first.path


def test_choices_answer_one_metric_and_the_others_are_absent(tmp_path: Path) -> None:
    rows = [{"example_id": f"{n:04d}", "image": i, "choice": i if n else 0} for n in range(3) for i in range(2)]
    frame = import_scores(_csv(tmp_path, rows), task=fakes.task(3), name="m", runs=tmp_path).to_frame()
    assert frame["text"].tolist() == [False, True, True]
    assert "image" not in frame
    assert "group" not in frame
    rows = [{"example_id": f"{n:04d}", "caption": c, "choice_image": 1 - c} for n in range(3) for c in range(2)]
    frame = import_scores(_csv(tmp_path, rows), task=fakes.task(3), name="m", runs=tmp_path).to_frame()
    assert frame["image"].tolist() == [False] * 3
    assert "text" not in frame


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (ROWS[4:], r"1 \('0000'\) of 3 examples have no row"),
        ([*ROWS, {**ROWS[0], "example_id": "zebra"}], r"1 \('zebra'\) are not examples of the task, such as '0000'"),
        ([*ROWS, ROWS[0]], r"two rows for the same image and caption in 1 \('0000'\)"),
        (ROWS[:-1], "'0002' in .* lacks a finite score for 1 of its 4 pairs"),
        ([*ROWS[:-1], {**ROWS[-1], "score": "none"}], r"row 12 of 'scores.csv' has score 'none'; expected a number"),
        ([*ROWS[:-1], {**ROWS[-1], "caption": 2}], r"has caption .* expected whole numbers from 0 to 1"),
        (
            [{**ROWS[0], "score": str(2**60)}, {**ROWS[1], "score": str(2**60 + 1)}, *ROWS[2:]],
            "example '0000' .* has the scores 1152921504606846976 and 1152921504606846977, which are equal in float64",
        ),
        (
            [{**ROWS[0], "score": "0.12345678901234567890"}, {**ROWS[1], "score": "0.12345678901234567891"}, *ROWS[2:]],
            "which are equal in float64",
        ),
        ([{"id": "0000", "score": 1}], "has columns id, score; expected example_id, image, caption, score; or"),
    ],
)
def test_what_does_not_fit_the_task_is_counted_and_named(tmp_path: Path, rows: list[object], message: str) -> None:
    with pytest.raises(DataError, match=message):
        import_scores(_csv(tmp_path, rows), task=fakes.task(3), name="m", runs=tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


def test_a_file_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    for name, message in [("scores.xlsx", "expected one of .csv"), ("missing.csv", "is not a file")]:
        with pytest.raises(DataError, match=message):
            import_scores(tmp_path / name, task=fakes.task(3), name="m", runs=tmp_path)
    (tmp_path / "broken.jsonl").write_text("{")
    with pytest.raises(DataError, match=r"line 1 of .* is not JSON"):
        import_scores(tmp_path / "broken.jsonl", task=fakes.task(3), name="m", runs=tmp_path)


def _csv(folder: Path, rows: list[object]) -> Path:
    path = folder / "scores.csv"
    pd.DataFrame(rows).to_csv(path, index=False)
    return path
