"""Commands that read stored runs: how runs are addressed, and how they are read without being changed."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pytest

import fakes
from compbench.cli import listing
from compbench.cli.app import main
from compbench.core.aliases import Json
from compbench.core.errors import RunError, UsageError
from compbench.runs import harness
from compbench.store.run import Run
from compbench.store.store import Store
from compbench_analysis.frames.tables import tidy

Captured = pytest.CaptureFixture[str]
TASK = fakes.task()


@dataclass(frozen=True)
class Seeded(fakes.HashSpec):
    """A model whose runs differ by their seed."""

    seed: int = 0

    def identity(self) -> Mapping[str, Json]:
        return {**super().identity(), "seed": self.seed}


@pytest.fixture(autouse=True)
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A store of the test's own, the working directory beside it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("COMPBENCH_RUNS", raising=False)
    return tmp_path / "runs"


def _measured(seed: int = 0, limit: int | None = None, draws: int = 4) -> Run:
    run = harness.run(TASK, model=Seeded(draws, seed=seed), limit=limit)
    time.sleep(0.002)  # so that no two are as late
    return run


def _show(capsys: Captured, *arguments: str) -> tuple[list[dict[str, object]], str]:
    assert main(["show", *arguments, "--format", "json", "--no-draws"]) == 0
    said = capsys.readouterr()
    return json.loads(said.out), said.err


def test_every_address_finds_its_run(runs: Path) -> None:
    run, other = _measured(), harness.run(TASK, model=fakes.Spec("perfect"))
    store, digest = Store(), run.key.digest
    folder = f"runs/fake/Seeded/{digest}"
    for name in (folder, f"{folder}/", "runs/fake/Seeded", "runs/fake/Seeded/", "fake/Seeded", digest[:6]):
        assert [found.path.resolve() for found in store.find_all(name)] == [run.path.resolve()], name
    for name in (f"fake/Seeded/{digest[:6]}", f"fake/Seeded/{digest}"):
        assert store.find(name).path == run.path
    for name in ("fake", "fake/", "runs/fake", "runs/fake/"):
        assert {found.path.resolve() for found in store.find_all(name)} == {run.path.resolve(), other.path.resolve()}
        with pytest.raises(UsageError, match="matches 2 runs: fake/Seeded, fake/Spec; expected one"):
            store.find(name)
    for name in ("fake/seeded", "fake/Seeded/zzz", "", "runs"):
        with pytest.raises(UsageError, match="no run"):
            store.find_all(name)


def test_the_latest_whole_run_of_a_model_is_taken_and_the_others_are_named_once(capsys: Captured) -> None:
    whole, later, partial = _measured(0), _measured(1), _measured(2, limit=3)
    rows, said = _show(capsys, "fake/Seeded", "fake")
    assert {row["run"] for row in rows} == {later.key.digest}
    assert said.count("using the latest whole run") == 1
    assert f"{later.key.digest[:6]} (seed 1); the others are " in said
    assert f"{whole.key.digest[:6]} (seed 0)" in said
    assert f"{partial.key.digest[:6]} (seed 2, partial)" in said


def test_models_that_measured_nothing_are_left_out_of_a_task_and_named(capsys: Captured) -> None:
    run = _measured()

    def broken(images: object, captions: object) -> list[float]:
        return [0.0]

    with pytest.raises(RunError):
        harness.run(TASK, model=broken)
    rows, said = _show(capsys, "fake")
    assert {row["run"] for row in rows} == {run.key.digest}
    assert "left out, since nothing is measured of them: fake/broken (failed)" in said
    assert main(["show", "fake/broken"]) == 0
    assert "None of 12 examples is measured yet" in capsys.readouterr().out


def test_where_no_run_is_whole_the_latest_is_taken_and_that_is_said(capsys: Captured) -> None:
    _measured(0, limit=3)
    later = _measured(1, limit=3)
    rows, said = _show(capsys, "runs/fake/Seeded")
    assert {row["run"] for row in rows} == {later.key.digest}
    assert "using the latest run" in said


def test_a_run_that_failed_before_it_measured_anything_is_not_taken(
    capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured = _measured(0, limit=3)

    def fails(*_: object) -> None:
        raise RuntimeError("out of memory")

    monkeypatch.setattr(Seeded, "build", fails)
    with pytest.raises(RuntimeError, match="out of memory"):
        _measured(1, limit=3)
    rows, said = _show(capsys, "fake/Seeded")
    assert {row["run"] for row in rows} == {measured.key.digest}
    assert "(seed 1, failed)" in said


def test_a_task_stands_for_all_its_models_in_every_command_that_takes_several(capsys: Captured, tmp_path: Path) -> None:
    _measured()
    harness.run(TASK, model=fakes.Spec("perfect"))
    rows, _ = _show(capsys, "fake")
    assert {row["model"] for row in rows} == {"Seeded", "Spec"}
    assert main(["compare", "fake"]) == 0
    assert main(["report", "fake", "--output", str(tmp_path / "page.html")]) == 0
    assert main(["cite", "fake"]) == 0
    assert main(["export", "fake", "--output", "x.csv"]) == 2  # one run is written to one file
    assert "matches 2 runs" in capsys.readouterr().err


def test_show_reads_fewer_draws_and_a_subset_and_leaves_the_run_as_it_was(capsys: Captured) -> None:
    run, other = _measured(), _measured(1)
    before = {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in run.path.rglob("*")}
    rows, _ = _show(capsys, run.key.digest, "-o", "draws=2", "--limit", "3")
    assert "draws:2|" in str(rows[0]["signature"])
    assert {row["n"] for row in rows if row["tag"] == "overall"} == {3}
    for command in (
        ["compare", other.key.digest],
        ["curves"],
        ["export", "--output", "x.csv"],
        ["report", "--output", "x.html"],
    ):
        command = [*command, run.key.digest, "-o", "draws=2", "-o", "target=eps", "-L", "3"]
        assert main(command) == 0, capsys.readouterr().err
    capsys.readouterr()
    assert len(pd.read_csv("x.csv")) == 3
    rows, _ = _show(capsys, run.key.digest)
    assert {row["n"] for row in rows if row["tag"] == "overall"} == {12}
    assert "draws:4|" in str(rows[0]["signature"])
    assert {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in run.path.rglob("*")} == before


@pytest.mark.parametrize(
    ("command", "file", "expected"),
    [
        (["show", "fake"], "table.png", ".txt, .md, .csv, .json or .tex"),
        (["compare", "fake", "fake"], "table.pdf", ".txt, .md, .csv, .json or .tex"),
        (["curves", "fake"], "curves.eps", ".png, .pdf, .svg"),
        (["calibrate", "fake"], "calibration.xlsx", ".png, .pdf, .svg"),
        (["show-task", "shapes"], "examples.pdf", ".png, .jpg, .jpeg, .webp"),
        (["list", "models"], "models.html", ".txt, .md, .csv, .json or .tex"),
    ],
)
def test_no_table_is_written_into_a_file_that_cannot_hold_it(
    capsys: Captured, command: list[str], file: str, expected: str
) -> None:
    _measured()
    assert main([*command, "--output", file]) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert f"{file!r} cannot be written; expected {expected}" in said
    assert not Path(file).exists()


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("draws=9", "it has 4 draws of each example"),
        ("draws=some", "draws cannot be 'some'"),
        ("draws", "-o draws has no value"),
        ("unconditional=true", "none without a caption"),
        ("loss=l1", "holds no errors 'l1'; it has l2"),
        ("drawz=2", "no way of reading a run named 'drawz'; did you mean 'draws'?"),
    ],
)
def test_a_reading_that_the_stored_errors_cannot_answer_is_refused(capsys: Captured, option: str, message: str) -> None:
    _measured()
    assert main(["show", "fake/Seeded", "-o", option]) == 2
    said = capsys.readouterr()
    assert (said.out, message in said.err) == ("", True)


def test_a_run_of_scores_beside_one_of_errors_is_read_as_it_is_and_that_is_said(capsys: Captured) -> None:
    _measured()
    harness.run(TASK, model=fakes.Spec("perfect"))
    rows, said = _show(capsys, "fake/Seeded", "fake/Spec", "-o", "draws=2")
    assert {row["model"] for row in rows} == {"Seeded", "Spec"}
    assert "fake/Spec stores scores: -o draws=2 changes nothing for it" in said
    assert main(["show", "fake/Spec", "-o", "draws=2"]) == 2


def test_the_list_of_runs_tells_runs_of_one_model_apart(capsys: Captured) -> None:
    _measured(0)
    _measured(1, limit=3, draws=6)
    assert main(["list", "runs", "--format", "json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [(row["seed"], row["draws"], row["status"], row["examples"]) for row in rows] == [
        ("0", "4", "whole", "12 of 12"),
        ("1", "6", "partial", "3 of 12"),
    ]
    assert {row["schedule"] for row in rows} == {"full"}
    assert {row["target/loss"] for row in rows} == {"native/l2"}


def test_a_run_read_in_two_ways_is_not_one_run_of_a_table() -> None:
    run = _measured()
    assert len(tidy([run, run])) == len(tidy(run))
    with pytest.raises(UsageError, match="given twice with two readings"):
        tidy([run, run.read(draws=2)])


def test_a_run_command_tells_how_to_read_again_what_it_read(capsys: Captured) -> None:
    run = _measured()
    read = run.read(draws=2)
    assert "-o draws=2 -o target=native -o loss=l2" in listing.where([read], None)
    assert "-o" not in listing.where([run], None)


def test_explain_says_which_models_have_maps_where_there_can_be_none(capsys: Captured) -> None:
    harness.run(TASK, model="chance", limit=2)
    assert main(["explain", f"{TASK.name}/chance", "0000"]) != 0
    said = capsys.readouterr().err
    assert "gives one score per picture and caption" in said
    assert "stores by position ('janus-pro-1b')" in said


@pytest.mark.parametrize("address", ["runs/fake/Seeded/", "fake/Seeded", "fake/Seeded/{letters}"])
@pytest.mark.parametrize("command", [["calibrate"], ["explain"]])
def test_calibrate_and_explain_find_runs_as_show_does(capsys: Captured, command: list[str], address: str) -> None:
    run = _measured()
    reference = address.format(letters=run.key.digest[:6])
    assert main([*command, reference, *(["0000"] if command == ["explain"] else [])]) != 0  # it is no run of theirs
    said = capsys.readouterr().err
    assert "no run" not in said
    assert "Traceback" not in said


def test_a_limited_run_command_tells_how_to_see_its_table_again_where_more_is_stored(capsys: Captured) -> None:
    few = _measured(limit=3)
    assert "--limit" not in listing.where([few], None)
    _measured(limit=6)
    again = _measured(limit=3)
    assert "compbench show fake/hash --limit 3\n".replace("fake/hash", f"{again.key.task}/{again.key.model}") in (
        listing.where([again], None)
    )
    shown, _ = _show(capsys, f"{again.key.task}/{again.key.model}", "--limit", "3")
    assert {row["n"] for row in shown if row["tag"] == "overall"} == {3}
