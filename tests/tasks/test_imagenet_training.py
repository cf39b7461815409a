"""The training split of the test sets of ImageNet's classes is ImageNet's, wherever a copy of it lies."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from compbench.cli.app import main
from compbench.core.errors import DataError
from compbench.core.examples import Task
from compbench.tasks.classification import _prompt_files, catalogue
from layouts_on_disk import picture

WNIDS = _prompt_files.wnids()
OBJECTNET = _prompt_files.shipped("objectnet").names
LABELS = {name: _prompt_files.labels(name) for name in ("objectnet", "imagenet-a")}


def imagenet_training(root: Path, labels: list[int], *, size: int = 8) -> Path:
    """`train` as it is distributed, one picture per WordNet id, and a class that no task asks for."""
    for label in labels:
        picture(root / "train" / WNIDS[label] / f"{WNIDS[label]}_{10_000 + label}.JPEG", label, size)
    return root


def objectnet(root: Path, size: int = 12) -> Path:
    """objectnet-1.0 with one picture of each of its classes."""
    for number, name in enumerate([*OBJECTNET, "squeegee"]):
        picture(root / "objectnet-1.0" / "images" / name / f"{number:x}.png", 5000 + number, size)
    return root


def imagenet_a(root: Path) -> Path:
    for (label,) in LABELS["imagenet-a"]:
        picture(root / "imagenet-a" / WNIDS[label] / f"0.{label:06d}_x.jpg", 7000 + label)
    return root


def of_all(name: str) -> list[int]:
    return [label for labels in LABELS[name] for label in labels]


def training(task: Task) -> dict[str, str]:
    """Id -> class."""
    assert task.training is not None
    return {picture.id: picture.tags["class"][0] for picture in task.training()}


@pytest.mark.parametrize("where", ["inside", "beside"])
def test_objectnet_learns_from_a_picture_of_any_of_a_class_s_labels(where: str, tmp_path: Path) -> None:
    data = objectnet(tmp_path / "objectnet")
    unused = next(label for label in range(1000) if label not in of_all("objectnet"))
    imagenet_training(data if where == "inside" else tmp_path / "imagenet", [*of_all("objectnet"), unused])
    task = catalogue.objectnet(data)
    assert len(task.examples) == 113
    found = training(task)
    expected = {
        f"train/{WNIDS[label]}/{WNIDS[label]}_{10_000 + label}.JPEG": name
        for name, labels in zip(task.classes.names if task.classes else (), LABELS["objectnet"], strict=True)
        for label in labels
    }
    assert len(found) == 125
    assert found == expected


def test_imagenet_a_and_v2_learn_from_the_classes_that_they_have(tmp_path: Path) -> None:
    imagenet_training(tmp_path / "imagenet", list(range(1000)))
    of_a = training(catalogue.imagenet_a(imagenet_a(tmp_path / "imagenet-a")))
    assert len(of_a) == 200
    for label in range(1000):
        picture(tmp_path / "v2" / "imagenetv2-matched-frequency-format-val" / str(label) / "0.jpeg", 9000 + label)
    of_v2 = training(catalogue.imagenet_v2(tmp_path / "v2"))
    assert len(of_v2) == 1000
    assert of_a == {key: of_v2[key] for key in of_a}


def test_a_training_split_that_is_nowhere_says_where_to_put_it(tmp_path: Path) -> None:
    task = catalogue.objectnet(objectnet(tmp_path / "objectnet"))
    with pytest.raises(DataError) as refused:
        training(task)
    for place in (tmp_path / "objectnet" / "train", tmp_path / "imagenet" / "train"):
        assert repr(str(place)) in str(refused.value)
    (tmp_path / "imagenet" / "train" / "not-a-wordnet-id").mkdir(parents=True)
    with pytest.raises(DataError, match="task 'objectnet' has no training split"):
        training(task)


def test_a_label_without_pictures_is_named(tmp_path: Path) -> None:
    labels = of_all("objectnet")
    imagenet_training(tmp_path / "imagenet", labels[1:])
    with pytest.raises(DataError, match=rf"1 of 125 classes have no picture .*{WNIDS[labels[0]]}"):
        training(catalogue.objectnet(objectnet(tmp_path / "objectnet")))


@pytest.mark.slow
@pytest.mark.parametrize("layout", ["root", "folders"])
def test_sd_features_of_objectnet_are_reproduced_end_to_end(
    layout: str,
    tiny_pipeline_folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    root = tmp_path / "data"
    root.mkdir()
    is_root = layout == "root"
    objectnet(root / "objectnet" if is_root else tmp_path / "one" / "o")
    imagenet_training(root / "imagenet" if is_root else tmp_path / "two" / "i", of_all("objectnet"))
    given = ["--data", str(root)]
    if not is_root:
        given = ["--data", f"objectnet={tmp_path / 'one' / 'o'}", "--data", f"imagenet={tmp_path / 'two' / 'i'}"]
    arguments = [
        "reproduce",
        "table1",
        "-m",
        "sd-features",
        "-t",
        "objectnet",
        *given,
        "--runs",
        str(tmp_path / "runs"),
    ]
    options = ["-o", f"base={tiny_pipeline_folder}", "-o", "head=logistic", "--limit", "4"]
    assert main([*arguments, *options, "--dry-run"]) == 0
    priced = capsys.readouterr().out
    assert "at most 129 evaluations of half a network" in priced  # 125 to learn from and 4 that are scored
    assert main([*arguments, *options, "--format", "json"]) == 0
    said = capsys.readouterr()
    (row,) = [load for load in json.loads(said.out) if load["value"] is not None]
    assert (row["row"], row["task"], row["n"]) == ("SD Features", "objectnet", 4)
    assert np.isfinite(row["value"])
    assert "fitted to 125 pictures" in said.err
