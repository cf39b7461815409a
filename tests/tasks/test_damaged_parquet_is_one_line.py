"""A damaged Parquet file is told in our words alone: the library that reads it adds no line of its own."""

from __future__ import annotations

import logging
from pathlib import Path

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import layouts_on_disk as layouts
from compbench.cli.app import main

Captured = pytest.CaptureFixture[str]


@pytest.fixture
def copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "cache" / "datasets"))
    for n in range(10):
        layouts.picture(tmp_path / "pictures" / f"{n}.png", n)
    pictures = [{"bytes": (tmp_path / "pictures" / f"{n}.png").read_bytes(), "path": None} for n in range(10)]
    (tmp_path / "copy" / "data").mkdir(parents=True)
    table = pa.table({"img": pictures, "label": list(range(10))})
    pq.write_table(table, tmp_path / "copy" / "data" / "test-00000-of-00001.parquet")
    return tmp_path / "copy"


@pytest.mark.parametrize("how", ["cut", "zeroed"])
def test_no_line_of_the_library_comes_before_ours(
    how: str, copy: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    file = copy / "data" / "test-00000-of-00001.parquet"
    content = file.read_bytes()
    n = len(content) // 4
    file.write_bytes(content[: 2 * n] if how == "cut" else content[:n] + bytes(2 * n) + content[3 * n :])
    before = datasets.logging.get_verbosity()
    capfd.readouterr()
    code = main(["run", "cifar10", "--data", str(copy), "-m", "chance", "--runs", str(copy.parent / "runs")])
    said = capfd.readouterr()
    assert code == 1
    assert said.out == ""
    assert len(said.err.splitlines()) == 1, said.err
    assert said.err.startswith("error: test-00000-of-00001.parquet of ")
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []
    assert datasets.logging.get_verbosity() == before


def test_a_good_copy_is_read_without_a_line_or_a_bar(copy: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "cifar10", "--data", str(copy), "-m", "chance", "--runs", str(copy.parent / "runs")]) == 0
    said = capfd.readouterr().err
    assert "Generating" not in said
    assert all(line.startswith(("cifar10", repr(str(copy)))) for line in said.splitlines()), said
