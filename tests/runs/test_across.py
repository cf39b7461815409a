"""What one part of the product promises holds where it meets the others: real models, damaged files, odd streams."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

import compbench
from compbench import Example, ModelSpec, ScoreMatrix, Task
from compbench.cli.app import main
from compbench.core.aliases import Json
from compbench.core.errors import RunError
from compbench.store.store import Store
from noise_pictures import cats_and_dogs

Captured = pytest.CaptureFixture[str]


def _halved(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.mark.parametrize("kept", ["errors", "scores"])
def test_the_same_command_repairs_any_file_of_a_diffusion_model_s_run(
    kept: str, tmp_path: Path, capsys: Captured
) -> None:
    command = ["run", "shapes", "-m", "tiny-sd", "-o", "draws=2", "--keep", kept, "-L", "2", "--runs", str(tmp_path)]
    assert main(command) == 0
    before = _table(capsys.readouterr().out)
    (folder,) = tmp_path.glob("shapes/tiny-sd/*")
    damages: list[Callable[[Path], None]] = [_halved, Path.unlink]
    for name in ("run.json", "examples.parquet"):
        for damage in damages:
            damage(folder / name)
            assert main(command) == 0, f"{damage.__name__} {name}"
            assert _table(capsys.readouterr().out) == before, f"{damage.__name__} {name}"
    assert len(list(tmp_path.glob("shapes/tiny-sd/*"))) == 1


def _table(shown: str) -> str:
    """Without how long it took."""
    return shown.partition("model    network")[0]


@dataclass(frozen=True)
class _Masked(ModelSpec):
    def identity(self) -> dict[str, Json]:
        return {"scorer": "masked", "version": 1}

    def build(self, source: object, runtime: object) -> _Masked:
        return self

    def prepare(self, task: Task) -> None: ...

    def score(self, examples: Sequence[Example], known: object) -> Iterator[ScoreMatrix]:
        for example in examples:
            yield ScoreMatrix(example.id, np.ma.masked_less(np.eye(2), 0.5))


def test_a_masked_score_is_no_score(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="of which some are masked; expected a number for each"):
        compbench.run("shapes", model=_Masked(), limit=2, runs=tmp_path)


def test_a_table_is_printed_in_an_ascii_locale(tmp_path: Path) -> None:
    for name in ("日本", "cat"):
        (tmp_path / "data" / name).mkdir(parents=True)
        PIL.Image.new("RGB", (8, 8)).save(tmp_path / "data" / name / "0.png")
    command = ["imagefolder", "--data", str(tmp_path / "data"), "-m", "chance", "--runs", str(tmp_path / "runs")]
    assert main(["run", *command]) == 0
    ascii_alone = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    show = ["show", "imagefolder/chance", "--by", "class", "--runs", str(tmp_path / "runs")]
    done = subprocess.run(
        [sys.executable, "-m", "compbench", *show], env=os.environ | ascii_alone, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert b"\\u65e5\\u672c" in done.stdout


def test_a_model_that_learns_without_the_test_s_pictures_learns_again_when_one_is_repaired(
    tmp_path: Path, capsys: Captured
) -> None:
    rng = np.random.default_rng(0)
    for split in ("train", "test"):
        cats_and_dogs(tmp_path / "data" / split, 5, rng)
    repaired = tmp_path / "data" / "test" / "cat" / "000.png"
    repaired.write_bytes(b"")
    command = ["run", "imagefolder", "--data", str(tmp_path / "data"), "-m", "logistic-regression", "--runs"]
    assert main([*command, str(tmp_path / "runs")]) == 1
    repaired.write_bytes((tmp_path / "data" / "train" / "cat" / "002.png").read_bytes())  # it learns from this no more
    assert main([*command, str(tmp_path / "runs")]) == 0
    assert "1 of 10 training pictures are test pictures too" in capsys.readouterr().err
    assert main([*command, str(tmp_path / "fresh")]) == 0
    (fresh,) = Store(tmp_path / "fresh").runs()
    found = Store(tmp_path / "runs").get(fresh.key)
    assert found is not None
    np.testing.assert_array_equal(found.table().scores, fresh.table().scores)
