"""By what a table is divided: tags of the task, of one's own, captions by length, margins, and crossed."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import fakes
from compbench.cli.app import main
from compbench.core.errors import DataError, UsageError
from compbench.core.examples import Example, Task
from compbench.core.measurements import ScoreMatrix
from compbench.core.metrics import MATCHING
from compbench.store import StoredExamples
from compbench.store.key import RunKey
from compbench.store.run import Run
from compbench.store.store import Store
from compbench.store.stored_examples import examples_table
from compbench.store.writer import RunWriter
from compbench_analysis.frames import curves, tables
from compbench_analysis.frames.breakdowns import Breakdown, read_tags, tag_groups
from compbench_analysis.frames.compare import compare
from compbench_analysis.text import show

N_WORDS = (3, 3, 4, 5, 5, 6, 9, 9, 12)
SIDES = ("left", "right", "left")


def _examples() -> list[Example]:
    """Example n has captions of N_WORDS[n] words, the tag number n modulo 3 and a side."""
    return [
        dataclasses.replace(
            fakes.example(n),
            captions=tuple(" ".join([letter] * n_words) for letter in "ab"),
            tags={"tag": (fakes.TAGS[n % 3],), "side": (SIDES[n % 2],)},
        )
        for n, n_words in enumerate(N_WORDS)
    ]


def _run(root: Path, model: str = "model") -> Run:
    """Example n is right by a margin of n - 4: the first four are wrong, the fifth is tied."""
    task = Task("fake", _examples(), MATCHING, tag_order={"tag": fakes.TAGS})
    run = Store(root).open(RunKey("fake", task.revision, model, None, {}), task)
    RunWriter(run).append([ScoreMatrix(example.id, (n - 4) * np.eye(2)) for n, example in enumerate(task.examples)])
    RunWriter(run).settle(None)
    return run


def _file(folder: Path, rows: dict[str, str], name: str = "mine.csv") -> Path:
    path = folder / name
    frame = pd.DataFrame({"id": list(rows), "mood": list(rows.values())})
    frame.to_parquet(path) if name.endswith(".parquet") else frame.to_csv(path, index=False)
    return path


def _sizes(frame: pd.DataFrame, metric: str = "text") -> dict[str, int]:
    part = frame[frame["metric"] == metric]
    return dict(zip(part["tag"], part["n"], strict=True))


def test_captions_are_divided_by_their_words_in_thirds_with_the_edges_shown(tmp_path: Path) -> None:
    frame = tables.tidy(_run(tmp_path), "caption_length")
    assert _sizes(frame) == {"3–4 words": 3, "5–6 words": 3, "9–12 words": 3, "overall": 9}
    assert frame.query("metric == 'text'")["value"].tolist() == [0, pytest.approx(1 / 3), 1, pytest.approx(4 / 9)]


def test_captions_of_one_length_are_one_group() -> None:
    images, matches = (fakes.task(1).examples[0].images[0],), np.ones((1, 1), bool)
    told = [Example(name, images, (caption,), matches) for name, caption in (("a", "x y"), ("b", "y z"))]
    examples = StoredExamples(examples_table(told))
    assert tag_groups(examples, "caption_length", {})[0] == ("caption_length", "2 words", ["a", "b"])


def test_a_margin_divides_by_how_clear_a_decision_was(tmp_path: Path) -> None:
    frame = tables.tidy(_run(tmp_path), "margin")
    # sizes of the margins: 4 3 2 1 0 1 2 3 4; equal ones stay together
    assert _sizes(frame) == {"closest third": 3, "middle third": 4, "clearest third": 2, "overall": 9}
    assert frame.query("metric == 'group'")["value"].tolist()[:3] == [pytest.approx(1 / 3), 0.5, 0.5]
    run = _run(tmp_path)
    with pytest.raises(UsageError, match="each run has its own margins: only tables can be broken down by margin"):
        compare([run, _run(tmp_path, "other")], "margin")


def test_two_columns_can_be_crossed(tmp_path: Path) -> None:
    run = _run(tmp_path)
    frame = tables.tidy(run, Breakdown(("tag", "side"), is_crossed=True))
    assert _sizes(frame) == {
        "Object & left": 2,
        "Object & right": 1,
        "Relation & left": 1,
        "Relation & right": 2,
        "Both & left": 2,
        "Both & right": 1,
        "overall": 9,
    }
    assert set(frame["column"]) == {"tag & side", ""}
    assert len(tables.tidy(run, ["tag", "side"])) == 3 * (3 + 2 + 1)
    with pytest.raises(UsageError, match="crossed tags need two columns, got tag; name another one"):
        Breakdown(("tag",), is_crossed=True)


def test_comparisons_take_crossed_tags_too(tmp_path: Path) -> None:
    outcomes = compare([_run(tmp_path), _run(tmp_path, "other")], Breakdown(("tag", "side"), is_crossed=True)).outcomes
    assert "Both & right" in set(outcomes["tag"])


@pytest.mark.parametrize("name", ["mine.csv", "mine.parquet"])
def test_tags_of_ones_own_are_joined_by_id(name: str, tmp_path: Path) -> None:
    run = _run(tmp_path)
    tags = read_tags(_file(tmp_path, {"0000": "calm", "0008": "wild;odd", "0003": "", "0004": "wild"}, name))
    frame = tables.tidy(run, Breakdown(tags=tags))
    assert _sizes(frame) == {"calm": 1, "odd": 1, "wild": 2, "overall": 9}
    both = tables.tidy(run, Breakdown(("tag", "mood"), tags=tags, is_crossed=True))
    assert _sizes(both) == {"Object & calm": 1, "Relation & wild": 1, "Both & odd": 1, "Both & wild": 1, "overall": 9}


def test_examples_without_a_row_are_counted_and_named(tmp_path: Path) -> None:
    tags = read_tags(_file(tmp_path, {f"{n:04d}": "calm" for n in range(3)}))
    text = " ".join(show.to_text([_run(tmp_path)], by=Breakdown(tags=tags)).split())
    assert "6 of 9 examples are not in the file of tags and count only overall: '0003', '0004'," in text


def test_ids_that_are_no_examples_are_an_error_that_counts_them(tmp_path: Path) -> None:
    tags = read_tags(_file(tmp_path, {"0000": "calm", "x": "wild", "y": "wild"}))
    with pytest.raises(
        UsageError, match="2 of the 3 ids in the file of tags are not examples of this task, 'x' the fir"
    ):
        tables.tidy(_run(tmp_path), Breakdown(tags=tags))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("name,mood\n0000,calm\n", "has the columns name, mood; expected id"),
        ("id\n0000\n", "expected id, with ids of examples, and one or more columns of tags"),
        ("id,mood\n0000,calm\n0000,wild\n", "has 1 ids in several rows, '0000' the first"),
        ("", "cannot read"),
    ],
)
def test_a_file_that_is_no_table_of_tags_is_told(text: str, expected: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    path.write_text(text)
    with pytest.raises(DataError, match=expected):
        read_tags(path)
    with pytest.raises(DataError, match="is not a file"):
        read_tags(tmp_path / "absent.parquet")


def test_a_column_that_the_task_has_too_needs_another_name(tmp_path: Path) -> None:
    tags = read_tags(_file(tmp_path, {"0000": "calm"})).rename(columns={"mood": "side"})
    with pytest.raises(UsageError, match="the task has tags named 'side' of its own"):
        tables.tidy(_run(tmp_path), Breakdown(tags=tags))


def test_curves_are_divided_in_the_same_ways(tmp_path: Path) -> None:
    task = Task("fake", _examples(), MATCHING)
    import compbench

    run = compbench.run(task, model=fakes.Spec("errors"), runs=tmp_path)
    frame = curves.by_draws(run, Breakdown(("caption_length", "side"), is_crossed=True), n_subsets=2)
    assert "9–12 words & left" in set(frame["tag"])


def test_the_command_takes_a_file_of_tags(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run, path = _run(tmp_path / "runs"), _file(tmp_path, {"0000": "calm", "0001": "wild"})
    asked = ["fake/model", "--runs", str(tmp_path / "runs"), "--tags", str(path), "--format", "json"]
    assert main(["show", *asked, "--by", "mood", "--by", "side", "--cross"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["tag"] for row in rows if row["metric"] == "text"] == ["calm & left", "wild & right", "overall"]
    assert main(["show", "fake/model", "--runs", str(tmp_path / "runs"), "--by", "side", "--cross"]) == 2
    assert "crossed tags need two columns" in capsys.readouterr().err
    assert run.path.exists()


def test_a_column_of_margins_of_one_s_own_needs_another_name(tmp_path: Path) -> None:
    tags = read_tags(_file(tmp_path, {"0000": "calm"})).rename(columns={"mood": "margin"})
    with pytest.raises(UsageError, match="'margin' is a breakdown of every task's"):
        tables.tidy(_run(tmp_path), Breakdown(("margin",), tags=tags))


def test_a_mapping_in_a_cell_is_no_tag(tmp_path: Path) -> None:
    path = tmp_path / "mine.jsonl"
    path.write_text('{"id": "0000", "mood": {"a": 1}}\n')
    with pytest.raises(DataError, match=r"holds \{'a': 1\}; expected text, a number, or a list of them"):
        read_tags(path)
