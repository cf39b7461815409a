"""A model that cannot be used leaves nothing behind, and what takes long is said once."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from safetensors.numpy import load_file, save_file

from compbench.cli.app import main
from compbench.store.store import Store


def run(runs: Path, *arguments: str) -> int:
    return main(["run", "shapes", "--limit", "2", "--device", "cpu", "--runs", str(runs), *arguments])


@pytest.fixture
def damaged(tiny_pipeline_folder: Path, tmp_path: Path) -> Path:
    """A pipeline whose U-Net is cut off."""
    folder = shutil.copytree(tiny_pipeline_folder, tmp_path / "damaged")
    weights = folder / "unet" / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    return folder


def test_a_refused_model_leaves_no_folder(damaged: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs = tmp_path / "runs"
    assert run(runs, "-m", f"sd:{damaged}") == 1
    assert "error: " in capsys.readouterr().err
    assert not list(runs.rglob("*"))
    assert run(runs, "-m", "chance", "-m", f"sd:{damaged}") == 1
    assert [path.name for path in (runs / "shapes").iterdir()] == ["chance"]


def test_shards_of_a_refused_model_leave_no_folder(damaged: Path, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    for shard in ("1/2", "2/2"):
        assert run(runs, "-m", f"sd:{damaged}", "--shard", shard) == 1
    assert not list(runs.rglob("*"))


def test_what_was_measured_before_a_model_is_refused_stays(
    tiny_pipeline_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, runs = shutil.copytree(tiny_pipeline_folder, tmp_path / "model"), tmp_path / "runs"
    assert run(runs, "-m", f"sd:{folder}", "-o", "draws=2") == 0
    capsys.readouterr()
    (folder / "scheduler" / "scheduler_config.json").rename(folder / "scheduler" / "moved.md")
    assert run(runs, "-m", f"sd:{folder}", "-o", "draws=4") == 1
    (folder / "scheduler" / "moved.md").rename(folder / "scheduler" / "scheduler_config.json")
    (stored,) = Store(runs).runs()
    assert len(stored.done(2)) == 2
    assert run(runs, "-m", f"sd:{folder}", "-o", "draws=4") == 0


@pytest.mark.slow
def test_loading_is_said_once_for_all_tasks_of_a_model(
    tiny_pipeline_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = shutil.copytree(tiny_pipeline_folder, tmp_path / "my-model")
    command = ["run", "shapes", "digits", "-m", f"sd:{folder}", "-m", "chance", "-o", f"sd:{folder}.draws=1"]
    more = ["--limit", "2", "--device", "cpu", "--runs", str(tmp_path / "runs")]
    assert main([*command, *more]) == 0
    said = capsys.readouterr().err
    assert said.count("loading ") == 1
    assert " MB) ..." in said.partition("loading ")[2].partition("\n")[0]
    assert "%|" not in said  # no bar of a library
    assert main([*command, *more]) == 0
    assert "loading " not in capsys.readouterr().err  # nothing is to be measured
    assert main([*command, *more, "--quiet", "--runs", str(tmp_path / "other")]) == 0
    assert capsys.readouterr().err == ""


def test_a_network_in_several_files_loads_without_a_bar(
    tiny_pipeline_folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = shutil.copytree(tiny_pipeline_folder, tmp_path / "my-model")
    whole = folder / "unet" / "diffusion_pytorch_model.safetensors"
    tensors = load_file(whole)
    whole.unlink()
    names = sorted(tensors)
    weight_map: dict[str, str] = {}
    for part, own_names in enumerate((names[::2], names[1::2]), start=1):
        name = f"diffusion_pytorch_model-0000{part}-of-00002.safetensors"
        save_file({tensor_name: tensors[tensor_name] for tensor_name in own_names}, folder / "unet" / name)
        weight_map |= dict.fromkeys(own_names, name)
    index = {"metadata": {}, "weight_map": weight_map}
    (folder / "unet" / f"{whole.name}.index.json").write_text(json.dumps(index), encoding="utf-8")
    assert run(tmp_path / "runs", "-m", f"sd:{folder}", "-o", "draws=1") == 0
    assert "%|" not in capfd.readouterr().err
