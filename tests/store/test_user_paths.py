"""A path may begin with ~ wherever one is given; one that cannot be is a line and no traceback."""

from __future__ import annotations

from pathlib import Path

import pytest

import compbench
import fakes
from compbench.cli.app import main
from compbench.core import disk
from compbench.core.errors import DataError, RunError, UsageError
from compbench.runs import harness
from compbench.store.store import Store
from compbench_analysis.frames.breakdowns import read_tags

Captured = pytest.CaptureFixture[str]
RUN = ["run", "shapes", "-m", "chance", "--limit", "3", "-q"]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home folder, and another folder to work in."""
    (tmp_path / "home").mkdir()
    (tmp_path / "work").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path / "home"


def test_runs_and_output_of_every_command_may_lie_below_home(home: Path) -> None:
    assert main([*RUN, "--runs", "~/r", "--output", "~/table"]) == 0
    assert main(["show", "shapes/chance", "--runs", "~/r", "--output", "~/shown"]) == 0
    assert main(["export", "shapes/chance", "--runs=~/r", "--output=~/scores.csv"]) == 0
    assert main(["report", "shapes/chance", "--runs", "~/r", "--output", "~/page.html", "--no-images"]) == 0
    assert main(["doctor", "--runs", "~/r"]) in (0, 1)
    (folder,) = (home / "r").glob("shapes/chance/*")
    assert main(["show", f"~/r/shapes/chance/{folder.name}"]) == 0
    assert {path.name for path in home.iterdir()} >= {"r", "table", "shown", "scores.csv", "page.html"}
    assert list(Path().iterdir()) == []


def test_the_environment_and_a_grid_may_say_home(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / "grid.toml").write_text(
        'tasks = ["shapes"]\nmodels = ["chance"]\nlimit = 3\nruns = "~/grid"\n', encoding="utf-8"
    )
    assert main(["run", "--config", "~/grid.toml", "-q"]) == 0
    assert (home / "grid" / "shapes").is_dir()
    monkeypatch.setenv("COMPBENCH_RUNS", "~/from-environment")
    assert main(RUN) == 0
    assert (home / "from-environment" / "shapes").is_dir()
    assert main(["list", "runs"]) == 0
    assert list(Path().iterdir()) == []


def test_python_takes_home_as_the_command_does(home: Path) -> None:
    run = compbench.run("shapes", model="chance", limit=3, runs="~/r")
    assert run.path.is_relative_to(home / "r")
    assert compbench.load_run("shapes/chance", "~/r").path == run.path
    assert compbench.load_run(f"~/r/shapes/chance/{run.path.name}").path == run.path
    assert compbench.report("shapes/chance", "~/page.html", root="~/r", with_images=False) == home / "page.html"
    (home / "tags.csv").write_text("id,mine\na,b\n", encoding="utf-8")
    read_tags(Path("~/tags.csv"))
    with pytest.raises(DataError, match=str(home / "scores.csv")):
        harness.import_scores("~/scores.csv", task=fakes.task(1), name="x")
    assert list(Path().iterdir()) == []


def test_a_user_that_does_not_exist_is_a_name_like_others() -> None:
    assert disk.expanded("~nobody-of-this-name/r") == Path("~nobody-of-this-name/r")


def test_runs_that_cannot_be_a_folder_are_one_line(tmp_path: Path, capsys: Captured) -> None:
    file = tmp_path / "file"
    file.write_text("", encoding="utf-8")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    for runs in (file, tmp_path / ("x" * 300), tmp_path / "loop", file / "below"):
        for command in (RUN, ["list", "runs"], ["show", "shapes/chance"], ["show", "x" * 300]):
            capsys.readouterr()
            code = main([*command, "--runs", str(runs)])
            said = capsys.readouterr()
            assert code in ((0, 1, 2) if command == ["list", "runs"] else (1, 2))
            assert len(said.err.splitlines()) == 1, said.err


def test_a_lock_that_is_a_link_is_refused_in_one_line(tmp_path: Path) -> None:
    run = harness.run(fakes.task(), model=fakes.Spec(), runs=tmp_path / "r", limit=2)
    precious = tmp_path / "precious"
    precious.write_text("kept", encoding="utf-8")
    for name in ("lock", "write.lock"):
        (run.path / name).unlink()
        (run.path / name).symlink_to(precious)
        with pytest.raises(RunError, match=rf"'{run.path / name}' is a symbolic link; expected a file of its own"):
            harness.run(fakes.task(), model=fakes.Spec(), runs=tmp_path / "r")
        (run.path / name).unlink()
    assert precious.read_text(encoding="utf-8") == "kept"


def test_a_store_that_is_a_file_is_told() -> None:
    Path("r").write_text("", encoding="utf-8")
    with pytest.raises(UsageError, match="'r' is a file; expected the folder of runs"):
        Store("r").runs()
