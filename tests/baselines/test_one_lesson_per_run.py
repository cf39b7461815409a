"""All parts of a run are of one trained model: what can be read later must not change what it learned from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from compbench.cli.app import main
from compbench.store.run import Run
from compbench.store.store import Store
from noise_pictures import cats_and_dogs

Captured = pytest.CaptureFixture[str]
LARGE = 60 * 60  # pixels, of one test picture


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(PIL.Image, "MAX_IMAGE_PIXELS", LARGE // 4)  # half of what is refused


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Two classes, a training split with the large test picture saved once more, smaller."""
    rng = np.random.default_rng(0)
    for split, n in (("train", 6), ("test", 4)):
        cats_and_dogs(tmp_path / "data" / split, n, rng, side=16)
    pixels = rng.integers(0, 256, (6, 6, 3), np.uint8)
    picture = PIL.Image.fromarray(pixels).resize((60, 60), PIL.Image.Resampling.BICUBIC)
    picture.save(tmp_path / "data" / "test" / "cat" / "large.png")
    picture.resize((24, 24)).save(tmp_path / "data" / "train" / "cat" / "large.png")
    return tmp_path / "data"


def run(data: Path, *more: str) -> int:
    runs = ["--runs", str(data.parent / "runs")]
    model = ["-m", "logistic-regression", "-o", "size_px=4"]
    return main(["run", "imagefolder", "--data", str(data), *model, *runs, *more])


def stored(data: Path) -> Run:
    (found,) = Store(data.parent / "runs").runs()
    return found


def test_a_larger_limit_on_a_rerun_never_mixes_two_trained_models(data: Path, capsys: Captured) -> None:
    assert run(data) == 1  # the large picture cannot be read
    (first,) = (part["learned_from"] for part in stored(data).parts())
    scores = stored(data).table().scores
    capsys.readouterr()
    assert run(data, "--max-pixels", str(LARGE)) == 1
    said = capsys.readouterr().err
    assert "1 of 13 training pictures are also test pictures" in said  # now that they can be compared
    assert "trained on other pictures than it would be trained on now" in said
    assert "Traceback" not in said
    assert [part["learned_from"] for part in stored(data).parts()] == [first]
    np.testing.assert_array_equal(stored(data).table().scores, scores)
    assert run(data, "--skip-unreadable") == 0  # with the limit of the first part it is completed as it was


def test_measured_anew_the_model_learns_without_the_copy(data: Path, tmp_path: Path) -> None:
    assert run(data) == 1
    before = stored(data).path.rename(tmp_path / "moved")
    assert run(data, "--max-pixels", str(LARGE)) == 0
    assert len(stored(data).done()) == 9
    (now,), (then,) = ({part["learned_from"] for part in run.parts()} for run in (stored(data), Run(before)))
    assert now != then


def test_the_same_limit_goes_on_with_the_same_model(data: Path) -> None:
    at = ["--max-pixels", str(LARGE)]
    assert run(data, *at, "--limit", "3") == 0
    assert run(data, *at) == 0
    assert len({part["learned_from"] for part in stored(data).parts()}) == 1
