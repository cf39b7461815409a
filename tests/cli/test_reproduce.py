"""`compbench reproduce`: what can be run is run and stands beside the paper's number; what cannot says why."""

from __future__ import annotations

import json
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision.models

from compbench.cli.app import main
from compbench.cli.progress import SilentReporter
from compbench.cli.reproduce import DataFolders, asked_for, data_folders
from compbench.core.errors import UsageError
from compbench.core.examples import Classes, Example, Image, Task
from compbench.core.measurements import ScoreMatrix
from compbench.core.metrics import CLASSIFYING
from compbench.store.key import RunKey
from compbench.store.store import Store
from compbench.store.writer import RunWriter
from compbench.tasks.classification import _prompt_files
from compbench_analysis.text import paper as paper_text
from layouts_on_disk import cifar_python, picture


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A folder with one folder a task, as --data takes it; only cifar10 is there."""
    cifar_python(tmp_path / "data" / "cifar10", [0, 1, 2, 3])
    return tmp_path / "data"


def reproduce(capsys: pytest.CaptureFixture[str], tmp_path: Path, *arguments: str) -> tuple[int, str, str]:
    code = main(["reproduce", *arguments, "--runs", str(tmp_path / "runs"), "--offline"])
    said = capsys.readouterr()
    return code, said.out, said.err


def test_cells_that_cannot_be_run_say_why_and_the_paper_s_numbers_stand(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, data: Path
) -> None:
    code, out, err = reproduce(
        capsys, tmp_path, "table1", "-m", "clip-rn50", "-t", "cifar10", "-t", "stl10", "--data", str(data)
    )
    assert code == 1
    assert "75.6" in out  # CLIP RN50 on CIFAR-10, as printed
    assert "94.3" in out
    assert "table1, clip-rn50: all images" in err
    assert out.count("–") >= 2  # nothing of ours, and no number in its place


def test_a_cell_that_can_be_run_stands_beside_the_paper_s(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    folder = tmp_path / "data" / "imagenet-a"
    for k, wnid in enumerate(_wnids()):
        (folder / wnid).mkdir(parents=True)
        picture(folder / wnid / f"0.{k:03d}_one.jpg", k, 32)
    weights = tmp_path / "resnet18.pth"
    torch.save(torchvision.models.resnet18(weights=None).state_dict(), weights)
    code, out, err = reproduce(
        capsys,
        tmp_path,
        "table3",
        "-m",
        "resnet18",
        "-t",
        "imagenet-a",
        "--data",
        str(tmp_path / "data"),
        "-o",
        f"weights={weights}",
        "--format",
        "json",
        "--limit",
        "3",
    )
    assert code == 0, err
    (row,) = [load for load in json.loads(out) if load["value"] is not None]
    assert (row["row"], row["task"], row["paper"], row["n"]) == ("ResNet-18", "imagenet-a", 0.011, 3)
    assert "weights from a local folder" in row["how"]
    assert "3 of 200" in row["how"]


def test_each_row_has_a_budget_of_its_own() -> None:
    asked = asked_for("table1", [], ["cifar10"], [], {}, SilentReporter())
    requests = {cell.model: cell.request for cell in asked.cells}
    assert {name: request.limit for name, request in requests.items()} == {
        "synthetic-sd": None,
        "sd-features": 1000,
        "sd2": 100,
        "clip-rn50": None,
        "openclip-vit-h-14": None,
    }
    assert requests["synthetic-sd"].options == {"n_per_class": "50"}
    assert requests["sd-features"].options == {"train_per_class": "50"}
    (given,) = asked_for(
        "table1", ["synthetic-sd"], ["cifar10"], ["n_per_class=7"], {"limit": 3}, SilentReporter()
    ).cells
    assert (given.request.limit, given.request.options) == (3, {"n_per_class": "7"})


def test_every_task_can_be_given_a_folder_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "all" / "pets").mkdir(parents=True)
    (tmp_path / "c=d").mkdir()
    root, folders = data_folders([str(tmp_path / "all"), f"cifar10={tmp_path / 'c=d'}"])
    given = DataFolders(root, folders)
    assert given.of("cifar10") == tmp_path / "c=d"
    assert given.of("pets") == tmp_path / "all" / "pets"
    assert given.of("stl10") is None
    assert data_folders([str(tmp_path / "c=d")]) == (tmp_path / "c=d", {})
    with pytest.raises(UsageError, match="no folder"):
        data_folders([f"cifar10={tmp_path / 'absent'}"])
    with pytest.raises(UsageError, match="names two folders of all tasks"):
        data_folders([str(tmp_path), str(tmp_path / "all")])


def test_effective_robustness_stands_below_table_3(tmp_path: Path) -> None:
    for task, n_right in (("imagenet", (70, 80)), ("imagenet-a", (10, 25))):
        for model, right in zip(("resnet18", "resnet50"), n_right, strict=True):
            _classified(tmp_path, task, model, right)
        _classified(tmp_path, task, "dit-256", 60 if task == "imagenet" else 30)
    runs = Store(tmp_path).runs()
    text = paper_text.to_text("table3", runs)
    assert "Effective robustness, points" in text
    rows = [row for row in json.loads(paper_text.to_text("table3", runs, "json")) if "rho" in row]
    rho = {row["model"]: row["rho"] for row in rows}
    assert abs(rho["resnet18"]) < 1e-9  # on the line
    assert rho["dit-256"] > 0.1
    assert "no model was run on imagenet" in paper_text.to_text("table3", [])


def _classified(folder: Path, task_name: str, model: str, n_right: int) -> None:
    matches = np.array([[True, False]])
    examples = [
        Example(f"{k:03d}", (Image("0.png", b"", "0"),), ("a", "b"), matches, {"class": ("a",)}) for k in range(100)
    ]
    task = Task(task_name, examples, CLASSIFYING, classes=Classes(("a", "b"), (0, 1)))
    run = Store(folder).open(RunKey(task_name, "0", model, None, {}), task)
    RunWriter(run).append(
        [
            ScoreMatrix(example.id, np.array([[1.0, 0.0] if k < n_right else [0.0, 1.0]]))
            for k, example in enumerate(examples)
        ]
    )
    RunWriter(run).settle(None)


def test_what_a_table_does_not_have_is_refused(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    code, _, err = reproduce(capsys, tmp_path, "table2", "-m", "dit-256")
    assert code == 2
    assert "table2 has no model 'dit-256'; expected some of clip-vit-l-14, openclip-vit-h-14, sd2" in err


def _wnids() -> list[str]:
    """Of the 200 classes of ImageNet-A, in order."""
    lines = (
        (resources.files("compbench.tasks.classification") / "prompts" / "imagenet-labels.csv").read_text().splitlines()
    )
    labels = [int(line.split(",")[2]) for line in lines if line.startswith("imagenet-a,")]
    return [_prompt_files.wnids()[label] for label in labels]
