"""Pictures in hand, of any library, and captions to scores."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import torch

import compbench
import fakes
from compbench.core.errors import RunError, UsageError
from compbench.core.measurements import ScoreMatrix
from compbench.core.rules import Rule
from compbench.runs._loading import LoadedModel

LEVELS = np.random.default_rng(0).integers(0, 256, (12, 9, 3), dtype=np.uint8)
CAPTIONS = ["a red circle", "a blue square"]


def seen_of(picture: Any) -> PIL.Image.Image:
    """The picture as a function gets it."""
    seen: list[PIL.Image.Image] = []

    def look(images: list[PIL.Image.Image], captions: list[str]) -> Any:
        seen.extend(images)
        return np.zeros((len(images), len(captions)))

    compbench.score_pairs(look, [picture], ["a"])
    return seen[0]


@pytest.mark.parametrize("kind", ["PIL", "path", "text", "array", "unit array", "tensor", "unit tensor", "half tensor"])
def test_a_picture_is_the_same_from_every_library(kind: str, tmp_path: Path) -> None:
    file = tmp_path / "picture.png"
    PIL.Image.fromarray(LEVELS).save(file)
    tensor = torch.from_numpy(LEVELS.transpose(2, 0, 1).copy())
    given = {
        "PIL": PIL.Image.fromarray(LEVELS),
        "path": file,
        "text": str(file),
        "array": LEVELS,
        "unit array": (LEVELS / 255).astype(np.float32),
        "tensor": tensor,
        "unit tensor": (tensor.float() / 255).requires_grad_(),
        "half tensor": (tensor.float() / 255).half(),
    }[kind]
    assert np.array_equal(np.asarray(seen_of(given)), LEVELS)


@pytest.mark.parametrize("picture", [LEVELS[:, :, 0], LEVELS[:, :, :1], torch.from_numpy(LEVELS[None, :, :, 0].copy())])
def test_one_channel_is_grey(picture: Any) -> None:
    assert np.array_equal(np.asarray(seen_of(picture)), np.repeat(LEVELS[:, :, :1], 3, axis=2))


@pytest.mark.parametrize(
    ("picture", "said"),
    [
        (LEVELS.transpose(2, 0, 1), r"image 0 has shape \(3, 12, 9\); expected \[height, width, channels\]"),
        (torch.from_numpy(LEVELS), r"image 0 has shape \(12, 9, 3\); expected \[channels, height, width\]"),
        (LEVELS[:0], "has shape"),
        (LEVELS.astype(np.int64), "dtype int64; expected uint8, or floating point from 0 to 1"),
        (LEVELS > 9, "dtype bool"),
        (LEVELS.astype(float), "values from 0 to 255; expected uint8, or floating point from 0 to 1"),
        ((LEVELS / 255 - 0.5) / 0.5, "before it was normalised"),
        (np.full((4, 4, 3), np.nan), "values from nan to nan"),
        (3, "image 0 cannot be a int; expected a PIL image"),
        (None, "image 0 cannot be a NoneType"),
    ],
)
def test_what_is_no_picture_is_refused(picture: Any, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        compbench.score_pairs("chance", [picture], CAPTIONS)


@pytest.mark.parametrize("images", ["a.png", Path("a.png"), PIL.Image.new("RGB", (4, 4)), LEVELS, 3])
def test_one_picture_in_place_of_a_list_is_refused(images: Any) -> None:
    with pytest.raises(UsageError, match=r"images cannot be one .*; expected a list of pictures"):
        compbench.score_pairs("chance", images, CAPTIONS)


def test_a_batch_is_a_list_of_pictures() -> None:
    batch = np.stack([LEVELS, LEVELS[::-1]])
    listed = compbench.score_pairs("tiny-clip", list(batch), CAPTIONS, device="cpu")
    assert np.array_equal(compbench.score_pairs("tiny-clip", batch, CAPTIONS, device="cpu"), listed)
    assert listed.shape == (2, 2)
    assert listed.dtype == np.float64


def test_names_specs_and_functions_are_scored_and_nothing_is_stored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert compbench.score_pairs(fakes.Spec("perfect"), [LEVELS], CAPTIONS).shape == (1, 2)
    assert compbench.score_pairs(lambda images, captions: [[1, 2]], [LEVELS], CAPTIONS).tolist() == [[1, 2]]
    assert compbench.score_pairs("tiny-sd", [LEVELS], CAPTIONS, draws=2, device="cpu").shape == (1, 2)
    assert not list(tmp_path.iterdir())


class _Gives:
    """A scorer that gives these results, whatever it is asked."""

    device = "cpu"

    def __init__(self, *names: str) -> None:
        self._names = names

    def prepare(self, task: Any) -> None: ...

    def score(self, examples: Any, known: Any) -> Any:
        return (ScoreMatrix(name, np.ones((1, 2))) for name in self._names)


@pytest.mark.parametrize(
    ("names", "said"),
    [
        ((), "gave 0 arrays of scores for the pairs; expected one"),
        (("pairs", "pairs"), "gave 2 arrays of scores"),
        (("other",), "a result for 'other', which it was not asked for"),
    ],
)
def test_a_model_gives_one_array_for_the_pairs(names: tuple[str, ...], said: str) -> None:
    with pytest.raises(RunError, match=said):
        LoadedModel("odd", _Gives(*names), Rule()).score_pairs([LEVELS], CAPTIONS)


def test_captions_may_come_one_by_one_and_are_text() -> None:
    def ones(images: list[PIL.Image.Image], captions: list[str]) -> Any:
        return np.ones((len(images), len(captions)))

    one_by_one: Any = (caption for caption in CAPTIONS)
    assert compbench.score_pairs(ones, [LEVELS], one_by_one).shape == (1, 2)
    odd: Any = ["a", None]
    with pytest.raises(UsageError, match="caption 1 is None; expected text"):
        compbench.score_pairs(ones, [LEVELS], odd)
