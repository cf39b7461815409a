"""Weights of double precision are rounded, and that is said once per file."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
import torchvision
from safetensors.torch import load_file, save_file

from compbench.cli.app import main
from compbench.core.models import Runtime
from compbench.diffusion.families.dit import TINY_DIT
from compbench.diffusion.families.stable_diffusion import TINY_SD
from compbench.registry import names
from compbench_baselines.clip.models import TINY_CLIP

Captured = pytest.CaptureFixture[str]
FILES = {
    "tiny-sd": (TINY_SD, ("unet/diffusion_pytorch_model.safetensors", "text_encoder/model.safetensors")),
    "tiny-dit": (TINY_DIT, ("transformer/diffusion_pytorch_model.safetensors",)),
    "tiny-clip": (TINY_CLIP, ("open_clip_model.safetensors",)),
}


def doubled(path: Path) -> None:
    state = {
        name: tensor.double() if tensor.is_floating_point() else tensor for name, tensor in load_file(path).items()
    }
    save_file(state, path, {"format": "pt"})


@pytest.mark.parametrize("model", FILES)
def test_each_file_of_float64_is_named_once(model: str, tmp_path: Path, capsys: Captured) -> None:
    spec, files = FILES[model]
    folder = tmp_path / "model"
    shutil.copytree(spec.repo, folder)
    for name in files:
        doubled(folder / name)
    given = f"open-clip:{folder}" if model == "tiny-clip" else f"sd:{folder}"
    options = ["-o", "draws=1"] if model != "tiny-clip" else []
    if model == "tiny-dit":
        given, options = "tiny-dit", [*options, "-o", f"folder={folder}"]
    task = "digits" if model == "tiny-dit" else "shapes"
    assert main(["run", task, "-m", given, *options, "--limit", "1", "--runs", str(tmp_path / "runs")]) == 0
    said = capsys.readouterr().err
    for name in files:
        assert said.count(f"{folder / name}' has ") == 1
    assert said.count("tensors in float64; they are rounded to float32") == len(files)


def test_float32_weights_are_loaded_without_a_word(tmp_path: Path, capsys: Captured) -> None:
    at = ["--limit", "1", "-o", "tiny-sd.draws=1", "--runs", str(tmp_path / "runs")]
    assert main(["run", "shapes", "-m", "tiny-sd", "-m", "tiny-clip", *at]) == 0
    assert "rounded" not in capsys.readouterr().err


def test_torchvision_s_weights_too(tmp_path: Path) -> None:
    path, state = tmp_path / "weights.pth", torchvision.models.resnet18().state_dict()
    torch.save(
        {name: tensor.double() if tensor.is_floating_point() else tensor for name, tensor in state.items()}, path
    )
    _, spec = names.model("resnet18", {"weights": path})
    said: list[str] = []
    spec.build(spec.source(), Runtime("cpu", say=said.append))
    n_floats = sum(tensor.is_floating_point() for tensor in state.values())
    assert said == [f"{str(path)!r} has {n_floats} of {n_floats} tensors in float64; they are rounded to float32"]
