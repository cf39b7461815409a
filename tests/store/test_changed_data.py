"""Data that change after a run: other pictures are another run, other tags are the run's new tags."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest

import compbench
from compbench.cli.app import main
from compbench.tasks._reading import digests
from winoground_files import ROWS, encoded, write_jsonl


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def loose(tmp_path: Path) -> Path:
    """A data set with a folder of pictures in the place of the archive."""
    folder = write_jsonl(tmp_path / "loose", ROWS[:3]) / "data"
    (folder / "images.zip").unlink()
    (folder / "images").mkdir()
    for n in range(3):
        for side in (0, 1):
            (folder / "images" / f"ex_{n}_img_{side}.png").write_bytes(encoded(n, side))
    return folder


def run(data: Path, runs: Path) -> list[compbench.Run]:
    assert main(["run", "winoground", "--data", str(data), "-m", "chance", "--runs", str(runs)]) == 0
    return compbench.Store(runs).runs()


@pytest.mark.parametrize("how", ["in place", "same size and time", "replaced, same size and time"])
def test_a_picture_overwritten_in_a_loose_folder_is_another_run(tmp_path: Path, loose: Path, how: str) -> None:
    assert len(run(loose, tmp_path / "runs")) == 1
    file = loose / "images" / "ex_0_img_0.png"
    before = file.stat()
    content = encoded(1, 0).ljust(before.st_size, b"\0")
    if how == "in place":
        file.write_bytes(content)
    else:
        content = content[: before.st_size] if len(content) > before.st_size else content
        if how.startswith("replaced"):
            file.unlink()
        file.write_bytes(content)
        assert file.stat().st_size == before.st_size
        os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert len(run(loose, tmp_path / "runs")) == 2


def test_a_stamp_is_another_one_after_every_change(tmp_path: Path) -> None:
    file = tmp_path / "picture.png"
    file.write_bytes(b"0000")
    os.utime(file, (1e9, 1e9))
    stamps: list[str] = []
    for n in range(30):  # a tick of the file system's clock is longer than one of these turns
        stamps.append(digests.file_stamp(file))
        file.write_bytes(b"%04d" % n)
        os.utime(file, (1e9, 1e9))
    assert len(set(stamps)) == 30


def test_only_files_have_stamps(tmp_path: Path) -> None:
    assert digests.file_stamp(tmp_path).endswith("is not a file")


def test_changed_tags_are_the_runs_new_tags_and_its_scores_stay(
    tmp_path: Path, loose: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (old,) = run(loose, tmp_path / "runs")
    scores, parts = old.table().scores, [file.read_bytes() for file in sorted((old.path / "scores").iterdir())]
    path = loose / "examples.jsonl"
    path.write_text(path.read_text().replace('"collapsed_tag": "Relation"', '"collapsed_tag": "Object"'))
    capsys.readouterr()
    (new,) = run(loose, tmp_path / "runs")
    said = capsys.readouterr()
    assert [list(tags["tag"]) for tags in new.examples()["tags"]] == [["Object"], ["Object"], ["Both"]]
    assert "the tags of 1 of 3 examples have changed since they were stored" in said.err
    assert "Object (2)" in said.out
    assert "Relation" not in said.out
    np.testing.assert_array_equal(new.table().scores, scores)
    assert [file.read_bytes() for file in sorted((new.path / "scores").iterdir())] == parts
    run(loose, tmp_path / "runs")
    assert "have changed" not in capsys.readouterr().err  # said once


def test_other_names_of_classes_are_the_runs_new_names(tmp_path: Path) -> None:
    import layouts_on_disk as layouts

    data = layouts.class_folders(tmp_path / "data", ["cat", "dog"])
    prompts, runs = tmp_path / "own.csv", tmp_path / "runs"
    for names in (("cat", "dog"), ("Cat", "Dog")):
        lines = [f"{text},{name},{n}" for n, (text, name) in enumerate(zip(("a cat", "a dog"), names, strict=True))]
        prompts.write_text("\n".join(["prompt,classname,classidx", *lines]))
        run = ["run", "imagefolder", "--data", str(data), "--prompts", str(prompts), "-m", "chance"]
        assert main([*run, "--runs", str(runs)]) == 0
        (stored,) = compbench.Store(runs).runs()
        assert stored.classes is not None
        assert stored.classes.names == names
        assert [tags["class"] for tags in stored.examples()["tags"]] == [[name] for name in names]
        assert json.loads((stored.path / "run.json").read_text())["task"]["tag_order"] == {"class": list(names)}


def test_a_part_of_a_published_data_set_does_not_pass_for_the_whole(
    tmp_path: Path, loose: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import layouts_on_disk as layouts

    run(loose, tmp_path / "runs")
    assert "winoground: 3 examples; the published data set has 400" in capsys.readouterr().err
    layouts.cifar_binary(tmp_path / "cifar", [3, *range(10)])
    command = ["run", "cifar10", "--data", str(tmp_path / "cifar"), "-m", "chance", "-m", "tiny-clip", "--limit", "1"]
    assert main([*command, "--runs", str(tmp_path / "runs")]) == 0
    said = capsys.readouterr().err
    assert said.count("cifar10: 11 pictures in the test split; the published one has 10,000") == 1
