"""Every documented default runs by its very command, from data in its source's layout to the printed table."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

import small_copies
import small_sd
from compbench.cli.app import main
from compbench.core.models import Runtime
from compbench.diffusion.families import stable_diffusion
from compbench.runs.request import RunRequest
from compbench.runs.resolve import resolve
from compbench.store.run import Run
from compbench.store.writer import RunWriter

Captured = pytest.CaptureFixture[str]

_FOUR = "schedule.kind:paper|schedule.n_draws:1000|schedule.target:eps|schedule.to_keep:[20,10,5,1]"
_L1 = "schedule.target:eps|schedule.reduction:l1|schedule.to_keep:"
# what the signature of sd2's default says on a task, and the evaluations that two examples take
PUBLISHED = {
    "winoground": ("protocol:paper|seed:42", 8_000),
    "food101": (_FOUR, None),
    "cifar10": (_L1 + "[5,1]|schedule.n_samples:[50,500]", 5_500),
    "fgvc-aircraft": (_FOUR, None),
    "pets": (_L1 + "[5,1]|schedule.n_samples:[25,250]", None),
    "flowers102": (_L1 + "[20,10,5,1]", None),
    "stl10": (_L1 + "[5,1]|schedule.n_samples:[100,500]", None),
    "imagenet": ("schedule.to_keep:[500,50,10,1]|schedule.n_samples:[50,100,500,1000]", None),
    "objectnet": ("schedule.to_keep:[25,10,5,1]|schedule.n_samples:[50,100,500,1000]", None),
    "imagenet-v2": ("schedule.to_keep:[500,50,10,1]", None),
    "imagenet-a": ("schedule.to_keep:[100,50,10,1]", None),
}
OURS = ("imagefolder", "shapes", "shape-classes", "digits", "digits-rotation", "digits-noise", "digits-blur")
# a hundred thousand evaluations an image: in larger batches, which are no part of what is measured
_LARGE = {"imagenet", "imagenet-v2", "imagenet-a", "objectnet"}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one folder a task."""
    return small_copies.write(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model for `-o folder=`."""
    return small_sd.save(tmp_path_factory.mktemp("small") / "sd")


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the command stores what it measures when it is not told."""
    monkeypatch.setenv("COMPBENCH_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "runs"


def command(task: str, small: Path, data: Path) -> list[str]:
    """Of a user who has the weights and the data on disk and no hub."""
    at_hand = ["--data", str(data / task)] if task in small_copies.TASKS else []
    larger = ["--batch-size", "512", "--dtype", "float32"] if task in _LARGE else []
    return ["run", task, *at_hand, "--model", "sd2", "-o", f"folder={small}", "--offline", "--limit", "2", *larger]


def stored(runs: Path) -> Run:
    (path,) = runs.glob("*/*/*/run.json")
    return Run(path.parent)


@pytest.mark.slow
@pytest.mark.parametrize("task", [*PUBLISHED, *OURS])
def test_the_default_of_a_task_runs_to_the_table_and_is_found_again(
    task: str, small: Path, data: Path, runs: Path, capsys: Captured
) -> None:
    asked = command(task, small, data)
    assert main([*asked, "--dry-run"]) == 0
    planned = capsys.readouterr()
    assert f"{task}/sd2:tobestoredin{runs / task / 'sd2'}" in "".join(planned.out.split())  # however it is wrapped
    assert not runs.exists()

    assert main(asked) == 0
    first = capsys.readouterr().out
    run = stored(runs)
    assert len(run.done()) == 2
    score = "text, %" if task in ("winoground", "shapes") else "top-1, %"
    assert score in first
    assert re.search(r"\bsd2( \(partial\))? .*\d\.\d \[", first)
    assert main(["show", f"{task}/sd2", "--full"]) == 0
    said, n_evaluations = PUBLISHED.get(task, ("protocol:compbench|seed:0", None))
    signature = "".join(capsys.readouterr().out.split()).partition("task:")[2]  # however it is wrapped
    assert said in signature
    assert ("|target:eps|" in signature) == (task in PUBLISHED)
    measured = sum(int(str(part["n_errors"])) for part in run.parts())
    assert measured == (n_evaluations or measured) > 0

    before = {path: path.stat().st_mtime_ns for path in runs.rglob("*") if path.is_file()}
    assert main(asked) == 0
    assert capsys.readouterr().out == first
    assert main([*asked, "--dry-run"]) == 0
    assert "all of it is stored" in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in runs.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(("model", "loss"), [("tiny-dit", word) for word in ("l2", "l1", "vlb", "l2+vlb")])
def test_a_raced_transformer_can_be_read_by_each_of_its_errors(
    model: str, loss: str, runs: Path, capsys: Captured
) -> None:
    asked = ["run", "digits", "-m", model, "-o", "schedule=racing", "-o", f"loss={loss}", "--limit", "2"]
    asked += ["-o", "bound=asymptotic"]  # a first wave would measure sixteen more
    assert main([*asked, "-o", "draws=8"]) == 0
    first = capsys.readouterr().out
    assert len(stored(runs).done()) == 2
    assert main([*asked, "-o", "draws=8"]) == 0
    assert capsys.readouterr().out == first


def test_a_run_that_was_stopped_before_its_first_error_has_a_price_and_goes_on(
    small: Path, data: Path, runs: Path, capsys: Captured
) -> None:
    spec = replace(stable_diffusion.SD2, folder=small, dtype="float32")
    request = RunRequest(task="cifar10", model=spec, data=data / "cifar10", runs=runs, limit=2, is_offline=True)
    asked = resolve(request, print, is_computed=False)
    scorer = asked.model.build(asked.model.source, Runtime("cpu"))
    run = asked.open()
    for reader in (["curves", str(run.path)], ["explain", str(run.path), "test/0"]):
        assert main(reader) == 2
        assert "has no measured examples yet: rerun its command" in capsys.readouterr().err
    RunWriter(run).write_draws(scorer.draw_table())
    assert (run.losses(), run.done(), run.verdicts()) == ((), set(), {})
    assert all(not table.ids for table in run.tables().values())
    again = [*command("cifar10", small, data), "--dtype", "float32"]
    assert main([*again, "--dry-run"]) == 0
    assert "20,000" in capsys.readouterr().out
    assert main(again) == 0
    assert len(stored(runs).done()) == 2
    assert set(stored(runs).losses()) == {"l2", "l1"}


@pytest.mark.slow
def test_a_table_of_the_paper_is_priced_and_run_whatever_its_published_losses(
    small: Path, data: Path, runs: Path, capsys: Captured
) -> None:
    tasks = "cifar10,stl10,pets,flowers102"  # those whose published loss is the absolute error
    asked = ["reproduce", "table1", "-m", "sd2", "-t", tasks, "-o", f"folder={small}", "--data", str(data)]
    asked += ["--limit", "2", "--offline"]
    assert main([*asked, "--dry-run"]) == 0
    assert capsys.readouterr().out.count("to be stored in") == 4
    assert main([*asked, "--format", "json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert {row["task"] for row in rows if str(row["n"]) == "2"} == set(tasks.split(","))
    assert len(list(runs.glob("*/sd2/*/run.json"))) == 4
