"""Files that a stored run lost are rewritten by the command, which says so once and measures nothing again."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import fakes
from compbench.runs import harness
from compbench.runs.reporter import QuietReporter
from compbench.store.run import Run

TASK = fakes.task(5)


def measured(root: Path, said: list[str] | None = None, limit: int | None = None) -> Run:
    reporter = QuietReporter()
    reporter.say = (said if said is not None else []).append  # type: ignore[method-assign]
    return harness.run(TASK, model=fakes.HashSpec(4), runs=root, limit=limit, reporter=reporter)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    measured(tmp_path, limit=2)
    return measured(tmp_path)


def test_a_run_that_lost_nothing_says_nothing(run: Run, tmp_path: Path) -> None:
    said: list[str] = []
    measured(tmp_path, said)
    assert [message for message in said if "rewritten" in message] == []


@pytest.mark.parametrize(
    ("names", "source"),
    [
        (["run.json"], "from this command and what the parts say"),
        (["run.json", "examples.parquet"], "from this command and what the parts say"),
        (["run.json", "parts.jsonl"], "from this command and what the parts say"),
        (["examples.parquet"], "from the task's data"),
        (["draws.parquet"], "from the model's options"),
    ],
    ids=lambda value: "+".join(value) if isinstance(value, list) else "",
)
def test_a_lost_file_is_named_when_it_is_written_anew(names: list[str], source: str, run: Run, tmp_path: Path) -> None:
    before, parts = run.table().scores.tolist(), run.parts()
    for name in names:
        (run.path / name).unlink()
    said: list[str] = []
    again = measured(tmp_path, said)
    (told, *_) = [message for message in said if "rewritten" in message]
    assert source in told
    for name in names:
        assert sum(name in message for message in said if "rewritten" in message) == 1, name
    assert str(run.path) in told
    assert again.table().scores.tolist() == before
    assert [part["part"] for part in again.parts()] == [part["part"] for part in parts]
    said.clear()
    measured(tmp_path, said)
    assert said == [message for message in said if "rewritten" not in message]


def test_lines_of_parts_jsonl_are_written_anew_by_the_command_that_goes_on(tmp_path: Path) -> None:
    run = measured(tmp_path, limit=2)
    (run.path / "parts.jsonl").unlink()
    said: list[str] = []
    measured(tmp_path, said)
    (told,) = [message for message in said if "rewritten" in message]
    assert f"parts.jsonl of run {str(run.path)!r} was damaged or missing" in told
    assert "(1 of 1 lines)" in told


def test_a_folder_without_any_part_is_a_new_run_and_nothing_is_said(run: Run, tmp_path: Path) -> None:
    shutil.rmtree(run.path)
    run.path.mkdir()
    said: list[str] = []
    measured(tmp_path, said)
    assert [message for message in said if "rewritten" in message] == []
