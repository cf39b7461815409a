"""Every row of the paper's tables can be run on weights in a folder of the user's own, and how ours was says so."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from compbench import registry
from compbench.cli.app import main
from compbench.core.errors import UsageError
from compbench.diffusion.families.dit import TINY_DIT
from compbench_analysis.frames import paper
from compbench_baselines.clip.models import CLIP_RN50, OpenClip
from layouts_on_disk import cifar_python

# the option of each model of the three tables that names local weights
OPTION_OF = {
    "sd2": "folder",
    "dit-256": "folder",
    "dit-512": "folder",
    "clip-rn50": "folder",
    "clip-vit-l-14": "folder",
    "openclip-vit-h-14": "folder",
    "sd-features": "base",
    "synthetic-sd": "base",
    **{f"resnet{n}": "weights" for n in (18, 34, 50, 101)},
    **{f"vit-{size}": "weights" for size in ("b-16", "l-16", "l-32")},
}


@pytest.mark.parametrize("table", paper.TABLES)
def test_every_row_takes_local_weights(
    table: str, tiny_pipeline_folder: Path, tiny_clip_folder: Path, tmp_path: Path
) -> None:
    file = tmp_path / "weights.pth"
    file.touch()
    for model in dict.fromkeys(cell["model"] for cell in paper.cells(table)):
        option = OPTION_OF[model]
        copies = {"dit": Path(TINY_DIT.repo), "clip": tiny_clip_folder}
        copy = next((copy for kind, copy in copies.items() if kind in model), tiny_pipeline_folder)
        place = file if option == "weights" else copy
        _, spec = registry.model(model, {option: str(place)})
        source = spec.resolve(None).source
        assert source is not None, model
        assert source.is_local, model
        assert Path(source.repo) == place.resolve(), model


def test_a_local_clip_is_the_model_in_the_folder(tiny_clip_folder: Path, tmp_path: Path) -> None:
    local = OpenClip("RN50", "openai", folder=tiny_clip_folder)
    assert "architecture" not in local.identity()
    assert local.identity() != CLIP_RN50.identity()
    with pytest.raises(UsageError, match=r"has no open_clip_config\.json"):
        OpenClip("RN50", "openai", folder=tmp_path)
    with pytest.raises(UsageError, match="does not exist"):
        OpenClip("RN50", "openai", folder=tmp_path / "absent")


@pytest.mark.slow
def test_table_1_runs_on_local_weights_alone(
    tiny_pipeline_folder: Path,
    tiny_clip_folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    cifar_python(tmp_path / "data" / "cifar10", list(range(10)))
    options = [
        f"sd2.folder={tiny_pipeline_folder}", "sd2.protocol=compbench", "sd2.draws=1", "sd2.schedule=full",
        "sd2.dtype=float32",
        f"clip-rn50.folder={tiny_clip_folder}",
        f"openclip-vit-h-14.folder={tiny_clip_folder}",
        f"sd-features.base={tiny_pipeline_folder}", "sd-features.epochs=1", "sd-features.dtype=float32",
        "sd-features.train_per_class=2",
        f"synthetic-sd.base={tiny_pipeline_folder}", "synthetic-sd.n_per_class=2", "synthetic-sd.steps=1",
        "synthetic-sd.architecture=small-resnet", "synthetic-sd.epochs=1", "synthetic-sd.dtype=float32",
    ]  # fmt: skip
    given = [part for option in options for part in ("-o", option)]
    where = ["--data", str(tmp_path / "data"), "--runs", str(tmp_path / "runs"), "--limit", "2"]
    code = main(["reproduce", "table1", "-t", "cifar10", *given, *where, "--format", "json"])
    said = capsys.readouterr()
    assert code == 0, said.err
    rows = [load for load in json.loads(said.out) if load["task"] == "cifar10"]
    assert len(rows) == 5
    for row in rows:
        assert np.isfinite(row["value"]), row
        assert "local" in row["how"], row["how"]
