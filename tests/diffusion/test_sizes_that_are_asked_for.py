"""A size of pictures that was asked for is not announced as another one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import small_sd
from compbench.cli.app import main

Captured = pytest.CaptureFixture[str]


def test_an_old_configuration_is_corrected_aloud_unless_the_size_is_given(tmp_path: Path, capsys: Captured) -> None:
    model = small_sd.save(tmp_path / "sd")
    path = model / "unet" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"_diffusers_version": "0.6.0", "sample_size": 4}))
    command = ["run", "shapes", "-m", f"sd:{model}", "-o", "draws=1", "-L", "1", "--runs", str(tmp_path / "runs")]
    assert main([*command, "-o", "size_px=32"]) == 0
    assert "corrects it" not in capsys.readouterr().err
    assert main([*command, "--dry-run"]) == 0
    assert "says 32 px (sample_size 4); scored at 512 px, as diffusers corrects it" in capsys.readouterr().err


def test_export_names_the_file_that_it_cannot_write(tmp_path: Path, capsys: Captured) -> None:
    assert main(["export", "shapes/chance", "--output", str(tmp_path / "scores")]) == 2
    said = capsys.readouterr().err
    assert (
        f"cannot export to {str(tmp_path / 'scores')!r}; expected a name that ends in .parquet, .csv or .jsonl" in said
    )
