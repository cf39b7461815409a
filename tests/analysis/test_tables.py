"""Tables of stored runs: known numbers, what is partial, empty or tied, and one look in every format."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

import fakes
from compbench.core.errors import UsageError
from compbench.core.examples import Example, Task
from compbench.core.measurements import ScoreMatrix
from compbench.core.metrics import MATCHING
from compbench.store.key import RunKey
from compbench.store.run import Run
from compbench.store.store import Store
from compbench.store.writer import RunWriter
from compbench_analysis.frames import tables
from compbench_analysis.frames.signature import labels, partial, signature
from compbench_analysis.text import show
from compbench_analysis.text.render import FORMATS, Grid, render

RIGHT, WRONG, TIED = np.eye(2), 1 - np.eye(2), np.ones((2, 2))
# the published counts of CLIP ViT-L/14: right, of n
PUBLISHED = {"Object": (38, 141), "Relation": (60, 233), "Both": (15, 26)}


def _task(tags: Sequence[str], column: str = "tag", shape: tuple[int, int] = (2, 2)) -> Task:
    examples = [
        Example(
            example.id,
            example.images[: shape[0]],
            example.captions,
            np.eye(*shape, dtype=bool),
            {column: (tag,)} if tag else {},
        )
        for number, tag in enumerate(tags)
        for example in [fakes.example(number)]
    ]
    return Task("fake", tuple(examples), MATCHING, tag_order={"tag": fakes.TAGS}, citation="@misc{fake}")


def _stored(
    root: Path, task: Task, scores: Sequence[np.ndarray], model: str = "model", **measurement: str | int
) -> Run:
    """A run of which the first len(scores) examples are done."""
    run = Store(root).open(RunKey(task.name, task.revision, model, "hf:org/name@0123456789abcdef", measurement), task)
    if len(scores):
        done = [ScoreMatrix(example.id, score) for example, score in zip(task.examples, scores, strict=False)]
        RunWriter(run).append(done, seconds=75.0, device="cpu")
    RunWriter(run).settle(None)
    return run


def _published(root: Path, *, is_reversed: bool = False) -> Run:
    tags = [tag for tag, (_, n) in PUBLISHED.items() for _ in range(n)]
    scores = [RIGHT if i < right else WRONG for right, n in PUBLISHED.values() for i in range(n)]
    task = _task(tags)
    if is_reversed:
        task = Task(task.name, task.examples[::-1], task.metrics, tag_order=task.tag_order)
        scores = scores[::-1]
    return _stored(root, task, scores)


def test_published_counts_give_published_percentages(tmp_path: Path) -> None:
    frame = tables.tidy(_published(tmp_path)).query("metric == 'text'").set_index("tag")
    assert list(frame["n"]) == [141, 233, 26, 400]
    assert list(frame["n_right"]) == [38, 60, 15, 113]
    text = show.to_text([_published(tmp_path)], full=True)
    row = next(line for line in text.splitlines() if line.startswith("model "))
    assert [cell.split(" [")[0].strip() for cell in row.removeprefix("model").split("]")[:4]] == [
        "27.0",
        "25.8",
        "57.7",
        "28.2",
    ]
    assert "Object (141)" in text
    assert "overall (400)" in text


@pytest.mark.parametrize(("n_right", "n"), [(38, 141), (60, 233), (15, 26), (113, 400), (0, 5), (5, 5), (1, 2)])
def test_the_interval_is_the_wilson_interval(n_right: int, n: int) -> None:
    # Wilson (1927), worked here by itself, and scipy's
    z = stats.norm.ppf(0.975)
    p = n_right / n
    centre = (p + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * math.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    theirs = stats.binomtest(n_right, n).proportion_ci(0.95, method="wilson")
    low, high = tables.wilson(n_right, n)
    assert low == pytest.approx(centre - half, abs=1e-12) == pytest.approx(theirs.low, abs=1e-12)
    assert high == pytest.approx(centre + half, abs=1e-12) == pytest.approx(theirs.high, abs=1e-12)


@pytest.mark.parametrize("n", [26, 141])
def test_the_interval_covers_as_often_as_it_says(n: int) -> None:
    intervals = np.array([tables.wilson(k, n) for k in range(n + 1)])
    truths = np.linspace(0.05, 0.95, 181)[:, None]
    is_covered = (intervals[:, 0] <= truths) & (truths <= intervals[:, 1])
    coverage = (stats.binom.pmf(np.arange(n + 1), n, truths) * is_covered).sum(1)
    assert coverage.mean() == pytest.approx(0.95, abs=0.006)
    assert coverage.min() > 0.9


def test_the_order_of_the_examples_changes_nothing(tmp_path: Path) -> None:
    one, other = _published(tmp_path / "a"), _published(tmp_path / "b", is_reversed=True)
    assert tables.tidy(one).equals(tables.tidy(other))


def test_a_run_that_is_given_twice_is_one_run(tmp_path: Path) -> None:
    run = _published(tmp_path)
    assert tables.tidy([run, run]).equals(tables.tidy(run))
    assert show.to_text([run, run]) == show.to_text([run])


def test_an_unfinished_run_is_marked_as_partial_wherever_it_is_printed(tmp_path: Path) -> None:
    task = _task(["Object"] * 6 + ["Relation"] * 4)
    run = _stored(tmp_path, task, [RIGHT] * 5 + [WRONG] * 2)
    assert partial(run) == "partial: 7 of 10 examples"
    frame = tables.tidy(run)
    assert frame["is_partial"].all()
    assert set(frame.query("tag == 'Relation'")["n"]) == {1}
    assert set(frame.query("tag == 'Relation'")["n_total"]) == {4}
    for style in ("table", "markdown", "latex"):
        text = show.to_text([run], style)
        assert "partial: 7 of 10 examples" in text
        assert text.count("model (partial)") == 3  # tags
        assert show.to_text([run], style, full=True).count("model (partial)") == 3  # metrics
    assert "|n:7/10|" in signature(run)


def test_an_empty_run_is_said_to_be_empty(tmp_path: Path) -> None:
    run = _stored(tmp_path, _task(["Object", "Both"]), [])
    assert set(tables.tidy(run)["n"]) == {0}
    assert "partial: 0 of 2 examples" in show.to_text([run])
    assert "Object (0)" in show.to_text([run])
    for style in FORMATS:
        assert "nan" not in show.to_text([run], style).lower()


def test_models_that_saw_different_examples_get_a_table_of_n(tmp_path: Path) -> None:
    task = _task(["Object"] * 3)
    runs = [_stored(tmp_path, task, [RIGHT] * 3, "whole"), _stored(tmp_path, task, [RIGHT] * 2, "half")]
    short, text = show.to_text(runs), show.to_text(runs, full=True)
    for printed in (short, text):
        assert "half: partial: 2 of 3 examples" in printed
        assert "The models did not see the same examples" in printed
    assert short.startswith("No winner is named: cannot compare 'fake/whole'")
    assert ["half (partial)", "2", "2"] in [line.rsplit(maxsplit=2) for line in text.splitlines()]


def test_ties_are_wrong_and_counted(tmp_path: Path) -> None:
    run = _stored(tmp_path, _task(["Object"] * 4), [RIGHT, TIED, TIED, WRONG])
    overall = tables.tidy(run).query("tag == 'overall' and metric == 'text'").iloc[0]
    assert (overall["n_right"], overall["ties"]) == (1, 2)
    assert "ties, text" in show.to_text([run], full=True)
    assert "Ties count as wrong. model has 2 (text score)" in show.to_text([run])


def test_ties_are_not_mentioned_when_there_are_none(tmp_path: Path) -> None:
    assert "tie" not in show.to_text([_stored(tmp_path, _task(["Object"]), [RIGHT])])


def test_a_metric_that_does_not_apply_is_absent(tmp_path: Path) -> None:
    run = _stored(tmp_path, _task(["Object"] * 2, shape=(1, 2)), [np.array([[1.0, 0.0]])] * 2)
    assert set(tables.tidy(run)["metric"]) == {"text"}
    assert "image score" not in show.to_text([run])


def test_chance_is_the_closed_form_value(tmp_path: Path) -> None:
    frame = tables.tidy(_stored(tmp_path, _task(["Object"]), [RIGHT])).query("tag == 'overall'")
    assert list(frame["chance"]) == [0.25, 0.25, pytest.approx(1 / 6)]
    chance_rows = [
        line
        for line in show.to_text([_published(tmp_path)], full=True).splitlines()
        if line.startswith("random chance")
    ]
    assert [line.split()[2:] for line in chance_rows] == [["25.0"] * 4, ["25.0"] * 4, ["16.7"] * 4]
    (line,) = [line for line in show.to_text([_published(tmp_path)]).splitlines() if line.startswith("random scores")]
    assert line.split()[2:] == ["25.0", "25.0", "16.7"]  # once


def test_an_example_with_two_tags_counts_under_both(tmp_path: Path) -> None:
    task = _task(["x"])
    both = Example("0000", task.examples[0].images, ("a", "b"), np.eye(2, dtype=bool), {"fine": ("one", "two")})
    run = _stored(tmp_path, Task("fake", (both,), MATCHING), [RIGHT])
    assert list(tables.tidy(run, "fine").query("metric == 'text'")["tag"]) == ["one", "two", "overall"]


def test_a_task_without_the_usual_tags_has_an_overall_score(tmp_path: Path) -> None:
    run = _stored(tmp_path, _task(["Object"], column="axis"), [RIGHT])
    assert set(tables.tidy(run)["tag"]) == {"overall"}


def test_an_unknown_tag_column_is_told_with_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no tag column named 'tga'; did you mean 'tag'"):
        tables.tidy(_published(tmp_path), "tga")


def test_many_tags_go_down_the_side(tmp_path: Path) -> None:
    run = _stored(tmp_path, _task([f"kind {i}" for i in range(9)], column="fine"), [RIGHT] * 9)
    lines = show.to_text([run], by="fine").splitlines()
    assert max(map(len, lines[:12])) < 100
    assert any(line.startswith("kind 8 (1)") for line in lines)


def test_tables_of_three_models_fit_a_terminal(tmp_path: Path) -> None:
    runs = [_stored(tmp_path, _task(fakes.TAGS * 40), [RIGHT] * 120, name) for name in ("tiny-sd", "openclip-vit-h-14")]
    before_signatures = show.to_text(runs, full=True).split("Signatures")[0]
    assert max(map(len, before_signatures.splitlines())) <= 110


def test_tasks_of_different_revisions_are_never_in_one_table(tmp_path: Path) -> None:
    runs = [_stored(tmp_path, _task(["Object"] * n), [RIGHT] * n) for n in (2, 3)]
    assert show.to_text(runs).count("text, %") == 2


def test_csv_and_json_are_tidy_and_say_the_same(tmp_path: Path) -> None:
    run = _published(tmp_path)
    from_json = json.loads(show.to_text([run], "json"))
    from_csv = list(csv.DictReader(io.StringIO(show.to_text([run], "csv"))))
    assert len(from_json) == len(from_csv) == 12
    assert [row["tag"] for row in from_json] == [row["tag"] for row in from_csv]
    assert float(from_csv[0]["value"]) == from_json[0]["value"] == 38 / 141
    assert from_json[0]["signature"] == signature(run)
    assert from_json[0]["seconds"] == 75.0


def test_markdown_and_latex_hold_the_same_cells(tmp_path: Path) -> None:
    run = _published(tmp_path)
    assert "| model | 27.0 [20.3, 34.8] |" in show.to_text([run], "markdown")
    full = show.to_text([run], "latex", full=True)
    assert r"model & 27.0 [20.3, 34.8] &" in full
    assert r"text score, \% & Object (141)" in full
    assert r"Object (141) & model & 27.0(79) &" in show.to_text([run], "latex")


def test_special_letters_are_escaped() -> None:
    grid = Grid(("a|b",), (("x_1 & y",),))
    assert "a\\|b" in render([grid], "markdown")
    assert r"x\_1 \& y" in render([grid], "latex")


def test_a_signature_is_one_word_that_names_everything(tmp_path: Path) -> None:
    run = _stored(tmp_path, _task(["Object"]), [RIGHT], "sd2", protocol="paper", seed=42)
    said = signature(run)
    assert " " not in said
    assert said == (
        f"task:fake@{run.key.task_revision}|n:1|model:sd2@hf:org/name@0123456789ab|protocol:paper|seed:42"
        f"|run:{run.key.digest}|compbench:{run.info.compbench}"
    )


def test_runs_of_one_model_are_told_apart_by_what_differs(tmp_path: Path) -> None:
    task = _task(["Object"])
    runs = [_stored(tmp_path, task, [RIGHT], "sd2", protocol=protocol, seed=1) for protocol in ("paper", "compbench")]
    assert labels(runs) == ["sd2 (paper protocol)", "sd2 (compbench protocol)"]
    assert labels(runs[:1]) == ["sd2"]


def test_the_cost_is_what_all_parts_took(tmp_path: Path) -> None:
    import compbench

    run = compbench.run(fakes.task(4), model=fakes.Spec("errors", draws=3), runs=tmp_path)
    run = compbench.run(fakes.task(4), model=fakes.Spec("errors", draws=5), runs=tmp_path)
    assert show.cost(run).n_evaluations == 4 * 4 * 5
    assert "80" in show.to_text([run], full=True)
    assert "|draws:5|target:native|" in signature(run)
