"""Several tasks and models in one command: loaded once, in a file if one likes, and no cell takes others with it."""

from __future__ import annotations

import dataclasses
import io
import json
import re
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

import compbench
import fakes
from compbench.cli import progress
from compbench.cli.app import main
from compbench.core.aliases import Json
from compbench.core.errors import DataError, UsageError
from compbench.core.examples import Example, Task
from compbench.core.measurements import Measurement, ScoreMatrix
from compbench.core.models import ModelSpec, ResolvedModel, Runtime, Source
from compbench.core.subsets import subset_per_class
from compbench.runs import grid, harness
from compbench.runs.reporter import QuietReporter
from compbench.store.store import Store

Captured = pytest.CaptureFixture[str]
CLASSES = ("cat", "dog", "owl")


@compbench.task("grid-one")
def _one() -> Task:
    return fakes.task(6, "grid-one")


@compbench.task("grid-two")
def _two() -> Task:
    return fakes.task(9, "grid-two")


@compbench.task("grid-classes")
def _classes() -> Task:
    """Class n modulo 3, but for one picture more of the first."""
    examples = [dataclasses.replace(fakes.example(n), tags={"class": (CLASSES[n % 3],)}) for n in range(12)]
    extra = dataclasses.replace(fakes.example(12), tags={"class": ("cat",)})
    return dataclasses.replace(fakes.task(1, "grid-classes"), examples=(*examples, extra), tag_order={})


@compbench.task("grid-unreadable")
def _unreadable() -> Task:
    raise DataError("the disk with it is not here")


@compbench.model("grid-model")
@dataclass(frozen=True)
class GridSpec(fakes.Spec):
    """A model that remembers what it built, and one that goes wrong on the task named in `fails_on`."""

    fails_on: str = ""
    how: str = "run"
    protocol: str = ""

    built: ClassVar[list[str]] = []
    loaded: ClassVar[list[Hashable]] = []

    def resolve(self, task: Task | None) -> ResolvedModel:
        name = "" if task is None else task.name
        if self.how == "usage" and name == self.fails_on:
            raise UsageError(f"task {name!r} is not for this model")
        settled = dataclasses.replace(self, protocol="other" if name == "grid-classes" else "same")
        return ModelSpec.resolve(settled, task)

    def identity(self) -> Mapping[str, Json]:
        return {"kind": self.kind, "protocol": self.protocol}

    def build(self, source: Source | None, runtime: Runtime) -> fakes.PerfectScorer:
        self.built.append(self.protocol)
        runtime.kept("weights", lambda: self.loaded.append("weights"))
        return _Failing(fails_on=self.fails_on, how=self.how)


@compbench.model("grid-other")
@dataclass(frozen=True)
class OtherSpec(GridSpec):
    """The same under another name."""


@dataclass
class _Failing(fakes.PerfectScorer):
    fails_on: str = ""
    how: str = "run"

    def score(self, examples: Sequence[Example], known: Mapping[str, Measurement]) -> Iterator[ScoreMatrix]:
        if self.task.name == self.fails_on:
            if self.how == "fault":
                raise ZeroDivisionError("division by zero")
            raise DataError("no such picture")
        return super().score(examples, known)


@pytest.fixture(autouse=True)
def _anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COMPBENCH_RUNS", str(tmp_path / "runs"))
    GridSpec.built.clear()
    GridSpec.loaded.clear()


def test_a_model_is_built_once_for_all_tasks_that_want_it_the_same(capsys: Captured) -> None:
    assert main(["run", "grid-one", "grid-two", "-m", "grid-model", "-m", "grid-other", "-q"]) == 0
    assert GridSpec.built == ["same", "same"]  # one a model, not one a cell
    assert len(GridSpec.loaded) == 2
    assert "grid-one, 6 examples" in capsys.readouterr().out
    assert [(run.key.task, run.key.model, run.status) for run in Store().runs()] == [
        ("grid-one", "grid-model", "done"),
        ("grid-one", "grid-other", "done"),
        ("grid-two", "grid-model", "done"),
        ("grid-two", "grid-other", "done"),
    ]


def test_a_task_that_wants_it_otherwise_has_it_built_anew_from_the_same_weights() -> None:
    assert main(["run", "grid-one", "grid-classes", "grid-two", "-m", "grid-model", "-q"]) == 0
    assert GridSpec.built == ["same", "other", "same"]
    assert GridSpec.loaded == ["weights"]


@pytest.mark.parametrize(
    ("how", "error"),
    [
        ("run", "no such picture"),
        ("fault", "raised ZeroDivisionError (division by zero)"),
        ("usage", "is not for this model"),
    ],
)
def test_a_cell_that_fails_is_listed_and_the_others_are_measured(how: str, error: str, capsys: Captured) -> None:
    options = ["-o", "grid-model.fails-on=grid-one", "-o", f"grid-model.how={how}"]
    assert main(["run", "grid-one,grid-two", "-m", "grid-model,grid-other", *options]) == 1
    said = capsys.readouterr()
    assert said.err.splitlines()[-1].startswith("error: grid-one · grid-model: ")
    assert error in said.err.splitlines()[-1]
    assert "grid-one · grid-model failed; the others continue: " in said.err
    assert len(Store().find("grid-two/grid-model").done()) == 9
    assert len(Store().find("grid-one/grid-other").done()) == 6
    summary = said.out[said.out.index("Summary") :].splitlines()
    (row,) = [line for line in summary if line.startswith("grid-one") and " text " in line]
    assert row.count("–") == 1  # the cell that failed


def test_a_task_that_cannot_be_read_fails_its_own_cells_alone(capsys: Captured) -> None:
    assert main(["run", "grid-unreadable", "grid-one", "-m", "grid-model,grid-other"]) == 1
    said = capsys.readouterr()
    assert said.err.splitlines()[-2:] == [
        "error: grid-unreadable · grid-model: the disk with it is not here",
        "error: grid-unreadable · grid-other: the disk with it is not here",
    ]
    assert "grid-one, 6 examples" in said.out


def test_a_grid_of_which_nothing_can_be_measured_is_a_misuse(capsys: Captured) -> None:
    assert main(["run", "grid-one", "grid-two", "-m", "grid-model", "--images-per-class", "2"]) == 2
    assert "images_per_class does not apply to task 'grid-one': it has no classes" in capsys.readouterr().err
    assert not Path(Store().root).exists()


def test_a_single_job_that_goes_wrong_is_no_grid(capsys: Captured) -> None:
    command = ["run", "grid-one", "-m", "grid-model", "-o", "fails-on=grid-one", "-o"]
    assert main([*command, "how=run"]) == 1
    said = capsys.readouterr().err
    assert said.endswith("error: grid-one · grid-model: no such picture\n")
    assert "the others continue" not in said
    assert main([*command, "how=fault"]) == 1
    (line,) = capsys.readouterr().err.splitlines()[-1:]
    assert "'_Failing' of module test_jobs raised ZeroDivisionError (division by zero) while it scored" in line
    assert f"{Path(__file__).name}, line " in line


def test_the_summary_has_a_row_a_task_and_metric_and_a_column_a_model(capsys: Captured) -> None:
    assert main(["run", "grid-one", "grid-two", "-m", "grid-model,chance", "-q"]) == 0
    out = capsys.readouterr().out
    lines = [line.split() for line in out[out.index("Summary") : out.index("Stored in")].splitlines()]
    assert lines[1] == ["task", "score,", "%", "n", "random", "grid-model", "chance"]
    rows = [line for line in lines if line and line[0].startswith("grid-")]
    assert [(row[0], row[1], row[2], row[3]) for row in rows] == [
        (task, metric, n, chance)
        for task, n in (("grid-one", "6"), ("grid-two", "9"))
        for metric, chance in (("text", "25.0"), ("image", "25.0"), ("group", "16.7"))
    ]
    assert all(row[4] == "100.0" for row in rows)


def test_the_command_that_is_offered_next_works_for_every_task(capsys: Captured) -> None:
    assert main(["run", "grid-one", "grid-classes", "-m", "chance", "-q"]) == 0
    offered = capsys.readouterr().out.splitlines()[-1].split()
    assert offered[:2] == ["compbench", "show"]
    assert main(offered[1:]) == 0


def test_one_task_has_no_summary(capsys: Captured) -> None:
    assert main(["run", "grid-one", "-m", "grid-model,chance", "-q"]) == 0
    assert "Summary" not in capsys.readouterr().out


def test_progress_spans_the_grid_and_passes_the_cells_that_failed() -> None:
    out, times = io.StringIO(), [0.0]
    reporter = progress.LineReporter(out, lambda: times[0])
    reporter.begin_grid([10, 20, 30])
    reporter.next_cell()
    reporter.next_cell()  # the first said nothing
    reporter.start("shapes · tiny-sd", 20, 4, 16, None)
    times[0] = 80.0
    reporter.advance(examples=1, pairs=4)
    reporter.next_cell()
    reporter.start("shapes · chance", 30, 0, 120, None)
    reporter.stop()
    assert out.getvalue().splitlines() == [
        "[2/3] shapes · tiny-sd: 5 of 20 examples, 4 min left, 15 of all 60",
        "[3/3] shapes · chance: 0 of 30 examples in 0.0 s",
    ]


def test_a_grid_stands_in_a_file_and_the_command_line_wins(tmp_path: Path, capsys: Captured) -> None:
    grid = _grid(
        tmp_path,
        """
        tasks = ["grid-one", "grid-two"]
        models = ["grid-model", "chance"]
        limit = 4
        quiet = true
        format = "json"
        [options]
        seed = 7
        grid-model = { how = "run", protocol = "from-the-file" }
        """,
    )
    assert main(["run", "--config", grid]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert {(row["task"], row["model"]) for row in rows} == {
        (task, model) for task in ("grid-one", "grid-two") for model in ("grid-model", "chance")
    }
    assert {row["n"] for row in rows if row["tag"] == "overall"} == {4}
    assert "|seed:7|" in next(row["signature"] for row in rows if row["model"] == "chance")

    assert main(["run", "grid-two", "--config", grid, "-m", "chance", "--limit", "3", "-o", "seed=8"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert {(row["task"], row["model"], row["n"]) for row in rows if row["tag"] == "overall"} == {
        ("grid-two", "chance", 3)
    }
    assert "|seed:8|" in rows[0]["signature"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('task = "grid-one"', "unknown key 'task'; did you mean 'tasks'?"),
        ("limmit = 3", "unknown key 'limmit'; did you mean 'limit'?"),
        ("shard = '1/2'", "unknown key 'shard'"),
        ("tasks = 3", "tasks of grid .* cannot be 3; expected a list of names"),
        ("limit = true", "limit of grid .* cannot be True; expected one value"),
        ("limit = [3]", r"limit of grid .* cannot be \[3\]; expected one value"),
        ("offline = 1", "offline of grid .* cannot be 1; expected true or false"),
        ("options = 'draws=8'", "expected a table such as"),
        ("[options]\ndraws = [1]", r"options.draws of grid .* cannot be \[1\]"),
        ("[options]\nsed = 1", "no option 'sed' of grid-model; did you mean|no option 'sed'"),
        ("limit = 0", "'--limit'"),
        ("tasks = [", "cannot read grid .*; expected a TOML file"),
    ],
)
def test_a_wrong_grid_is_told_before_anything_is_measured(
    content: str, message: str, tmp_path: Path, capsys: Captured
) -> None:
    task = [] if "task" in content else ["grid-one"]
    assert main(["run", *task, "-m", "grid-model", "--config", _grid(tmp_path, content)]) == 2
    said = capsys.readouterr()
    assert len(said.err.splitlines()) == 1
    assert re.search(message, said.err), said.err
    assert not (tmp_path / "runs").exists()


def test_a_grid_that_is_not_there_is_told(capsys: Captured) -> None:
    assert main(["run", "--config", "no/such/grid.toml"]) == 2
    assert "cannot read grid 'no/such/grid.toml'" in capsys.readouterr().err


@pytest.mark.parametrize("n", [1, 2, 3, 4])
def test_images_per_class_are_that_many_of_each_and_part_of_more(n: int) -> None:
    class_of = {example.id: example.tags["class"][0] for example in _classes().examples}
    chosen, more = subset_per_class(class_of, n), subset_per_class(class_of, n + 1)
    assert [kind for kind in class_of if kind in set(chosen)] == chosen
    assert [sum(class_of[example_id] == name for example_id in chosen) for name in CLASSES] == [n, n, n]
    assert set(chosen) < set(more)


def test_images_per_class_are_measured_said_and_read_the_same_for_every_model(capsys: Captured) -> None:
    command = ["run", "grid-classes", "-m", "grid-model,chance", "--images-per-class"]
    assert main([*command, "2"]) == 0
    said = capsys.readouterr()
    assert said.err.count("grid-classes: 13 → 6 examples, at most 2 of each class, the same for every model") == 1
    assert "partial: 6 of 13 examples" in said.out
    runs = [Store().find(f"grid-classes/{model}") for model in ("grid-model", "chance")]
    few = runs[0].table().ids
    assert few == runs[1].table().ids
    assert runs[0].info.limit == 6
    larger = harness.run("grid-classes", model="grid-model", images_per_class=4)
    assert len(larger.table().ids) == 12
    assert set(few) < set(larger.table().ids)
    again = harness.run("grid-classes", model="grid-model", images_per_class=2, reporter=QuietReporter())
    assert again.table().ids == few  # of what is stored, only what was asked for is read


def test_a_limit_cuts_what_images_per_class_leave() -> None:
    run = harness.run("grid-classes", model="grid-model", images_per_class=2, limit=4)
    wider = harness.run("grid-classes", model="grid-model", images_per_class=2)
    assert len(run.table().ids) == 4
    assert set(run.table().ids) < set(wider.table().ids)


def test_more_images_per_class_than_there_are_is_all_of_them() -> None:
    run = harness.run("grid-classes", model="grid-model", images_per_class=5)
    assert (run.status, run.info.limit, len(run.table().ids)) == ("done", None, 13)


def test_a_dry_run_of_a_grid_builds_no_model_twice() -> None:
    reporter = QuietReporter()
    cells = grid.cells(["grid-one", "grid-two"], ["grid-model"], [], {}, reporter.say)
    plans, _ = grid.planned(cells, reporter)
    assert [(plan.task, plan.examples) for plan in plans] == [("grid-one", 6), ("grid-two", 9)]
    assert GridSpec.built == ["same"]
    np.testing.assert_equal(Store().runs(), [])


def _grid(folder: Path, content: str) -> str:
    path = folder / "grid.toml"
    path.write_text("\n".join(line.strip() for line in content.splitlines()))
    return str(path)
