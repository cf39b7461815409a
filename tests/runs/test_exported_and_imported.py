"""What is exported of a run is read back: as scores by import, as the same task beside its pictures."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

import compbench
from compbench import registry
from compbench.core.errors import DataError, UsageError
from compbench.core.examples import Task
from compbench.runs.harness import import_scores
from compbench.store import Run, to_manifest
from own_pictures import draw, write_lines

ROWS = [
    {"id": "a;b", "image": "1.png", "caption": "a cat", "foil": " a dog\u2028 ", "kind": ["x, y", "z"]},
    {"image_0": "1.png", "image_1": "in/2.png", "caption_0": "=1+1", "caption_1": "'b", "group": "g", "n": 2.5},
    {"images": ["1.png", "in/2.png"], "captions": ["a", "b", "c"], "matches": [[1, 0, 0], [0, 1, 1]]},
    {"images": ["1.png", "in/2.png", "3.png"], "captions": ["a"], "matches": [0, 1, 0]},
]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    write_lines(draw(tmp_path / "my-set", "1.png", "in/2.png", "3.png"), ROWS)
    return compbench.run(tmp_path / "my-set", model="chance", runs=tmp_path / "runs")


def described(task: Task) -> list[object]:
    return [
        (
            example.id,
            example.captions,
            example.matches.tolist(),
            [image.name for image in example.images],
            example.group,
            example.tags,
        )
        for example in task.examples
    ]


def test_an_exported_run_is_a_manifest_of_the_same_task(run: Run, tmp_path: Path) -> None:
    before = registry.task(tmp_path / "my-set")
    exported = to_manifest(run)
    (tmp_path / "my-set" / "metadata.jsonl").write_bytes(exported)
    after = registry.task(tmp_path / "my-set")
    assert described(after) == described(before)
    assert after.revision == before.revision
    again = compbench.run(tmp_path / "my-set", model="chance", runs=tmp_path / "runs")
    assert again.path == run.path
    assert to_manifest(again) == exported


def test_an_exported_run_is_imported_with_the_same_scores(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "scores.jsonl"
    path.write_bytes(to_manifest(run))
    imported = import_scores(path, task=tmp_path / "my-set", name="again", runs=tmp_path / "runs")
    assert imported.tables().keys() == run.tables().keys()
    for shape, table in run.tables().items():
        np.testing.assert_array_equal(imported.tables()[shape].scores, table.scores)
    assert to_manifest(imported) == to_manifest(run)


@pytest.mark.parametrize("scores", ["x", None, [1.0, 2.0], [["a", "b"]], [[1.0]]])
def test_scores_that_are_no_table_are_told(run: Run, tmp_path: Path, scores: object) -> None:
    rows = [json.loads(line) for line in to_manifest(run).decode().split("\n")[:-1]]
    rows[0]["scores"] = scores
    path = write_lines(tmp_path / "bad", rows) / "metadata.jsonl"
    with pytest.raises(DataError, match=r"metadata.jsonl"):
        import_scores(path, task=tmp_path / "my-set", name="again", runs=tmp_path / "runs")


def test_choices_and_gated_captions_are_not_exported(run: Run, tmp_path: Path) -> None:
    write_lines(draw(tmp_path / "one", "1.png"), ROWS[:1])
    path = write_lines(tmp_path / "choices", [{"example_id": "a;b", "image": 0, "choice": 0}]) / "metadata.jsonl"
    imported = import_scores(path, task=tmp_path / "one", name="chooser", runs=tmp_path / "runs")
    with pytest.raises(UsageError, match="holds choices, not scores"):
        to_manifest(imported)
    task = dataclasses.replace(registry.task(tmp_path / "one"), is_gated=True)
    with pytest.raises(UsageError, match="may not be shared: its data is gated"):
        to_manifest(compbench.run(task, model="chance", runs=tmp_path / "gated"))


def test_the_command_exports_what_the_command_imports(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from compbench.cli.app import main

    monkeypatch.chdir(tmp_path)
    assert main(["export", "my-set/chance", "--output", "scores.jsonl"]) == 0
    assert main(["import", "scores.jsonl", "--task", "./my-set", "--as", "again"]) == 0
    assert main(["export", "my-set/again", "--output", "again.jsonl"]) == 0
    assert Path("scores.jsonl").read_bytes() == Path("again.jsonl").read_bytes()
    said = capsys.readouterr().err
    assert "4 examples written to scores.jsonl" in said
    assert "have no scores" not in said


def test_an_export_says_which_examples_have_no_scores(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from compbench.cli.app import main

    monkeypatch.chdir(tmp_path)
    _ = compbench.run("shapes", model="chance", limit=6)
    assert main(["export", "shapes/chance", "--output", "scores.jsonl"]) == 0
    assert "394 of 400 examples are not measured and have no scores" in capsys.readouterr().err
