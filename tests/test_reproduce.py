"""`compbench reproduce`: what can be run is run and stands beside the paper's number; what cannot says why."""

from __future__ import annotations

import json
from importlib import resources
from pathlib import Path

import pytest
import torch
import torchvision.models

from compbench.cli import main
from compbench.tasks import prompt_files
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
    assert "100 images of each data set" in err
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
    (row,) = [each for each in json.loads(out) if each["ours [95 %]"] != "–"]
    assert (row["model"], row["task"], row["paper"], row["n"]) == ("ResNet-18", "imagenet-a", "1.1", "3")


def test_what_a_table_does_not_have_is_refused(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    code, _, err = reproduce(capsys, tmp_path, "table2", "-m", "dit-256")
    assert code == 2
    assert "table2 has no model 'dit-256'; expected some of clip-vit-l-14, openclip-vit-h-14, sd2" in err


def _wnids() -> list[str]:
    """Of the 200 classes of ImageNet-A, in order."""
    lines = (resources.files("compbench.tasks") / "prompts" / "imagenet-labels.csv").read_text().splitlines()
    labels = [int(line.split(",")[2]) for line in lines if line.startswith("imagenet-a,")]
    return [prompt_files.wnids()[label] for label in labels]
