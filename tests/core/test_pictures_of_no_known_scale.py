"""32-bit pictures are refused whatever their values: a dark one must not be read where its neighbours are refused."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from compbench.cli.app import main
from compbench.core.errors import UnreadableImage
from compbench.core.examples import Image

Captured = pytest.CaptureFixture[str]
WITHIN_A_BYTE = np.arange(256, dtype=np.int32).reshape(16, 16)
REFUSED = r"holds 32-bit integers, and nothing says which of them are black and white.*convert it to 8 or 16 bits"


@pytest.mark.parametrize("factor", [0, 1, 1000])
def test_a_file_of_32_bit_integers_is_refused_by_name(factor: int) -> None:
    out = io.BytesIO()
    PIL.Image.fromarray(WITHIN_A_BYTE * factor).save(out, "TIFF")
    with pytest.raises(UnreadableImage, match=rf"image 'mask\.tif' {REFUSED}"):
        Image("mask.tif", out.getvalue()).decode()


def test_a_picture_in_memory_is_refused_likewise() -> None:
    picture = PIL.Image.fromarray(WITHIN_A_BYTE)
    with pytest.raises(UnreadableImage, match=REFUSED):
        Image("own", lambda: picture).decode()


def test_it_costs_its_own_example_alone(tmp_path: Path, capsys: Captured) -> None:
    for name in ("cat", "dog"):
        (tmp_path / "data" / name).mkdir(parents=True)
        for n in range(2):
            PIL.Image.fromarray(WITHIN_A_BYTE.astype(np.uint8)).save(tmp_path / "data" / name / f"{n}.png")
    PIL.Image.fromarray(WITHIN_A_BYTE).save(tmp_path / "data" / "cat" / "wide.tif")
    at = ["--data", str(tmp_path / "data"), "--runs", str(tmp_path / "runs")]
    assert main(["run", "imagefolder", "-m", "tiny-clip", *at]) == 1
    said = capsys.readouterr()
    assert "partial: 4 of 5 examples (1 unreadable)" in said.out
    assert "image 'test/cat/wide.tif'" in said.err
    assert "holds 32-bit integers, and nothing says" in said.err
