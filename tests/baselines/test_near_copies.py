"""Training pictures that are test pictures in other bytes are found; pictures that only look alike mostly are not."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from colours import colours
from compbench import registry
from compbench.core.examples import Image
from compbench_baselines.training._near_copies import copies_of
from compbench_baselines.training.labels import training_images


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "compbench"


def _silent(message: str) -> None:
    raise AssertionError(message)


def _noise(side: int, n: int, seed: int) -> list[PIL.Image.Image]:
    rng = np.random.default_rng(seed)
    return [PIL.Image.fromarray(rng.integers(0, 256, (side, side, 3), dtype=np.uint8)) for _ in range(n)]


def _saved(picture: PIL.Image.Image, kind: str, quality: int = 75, scale: float = 1.0) -> bytes:
    out = io.BytesIO()
    size = round(picture.width * scale), round(picture.height * scale)
    picture.resize(size, PIL.Image.Resampling.BICUBIC).save(out, kind, quality=quality)
    return out.getvalue()


def _images(contents: list[bytes]) -> list[Image]:
    return [Image(f"{n}", content) for n, content in enumerate(contents)]


SAVED: dict[str, Callable[[PIL.Image.Image], bytes]] = {
    "png": lambda picture: _saved(picture, "PNG"),
    "jpeg, quality 95": lambda picture: _saved(picture, "JPEG", 95),
    "jpeg, quality 75": lambda picture: _saved(picture, "JPEG"),
    "webp": lambda picture: _saved(picture, "WEBP"),
    "gif": lambda picture: _saved(picture, "GIF"),
    "twice the size": lambda picture: _saved(picture, "JPEG", 75, 2.0),
}


@pytest.mark.parametrize("how", SAVED)
def test_pure_noise_that_was_saved_again_is_found_and_other_noise_is_not(how: str) -> None:
    pictures = _noise(64, 30, seed=0)
    tested = _images([_saved(picture, "PNG", scale=1.0) for picture in pictures])
    again = _images([SAVED[how](picture) for picture in pictures])
    others = _images([SAVED[how](draw) for draw in _noise(64, 30, seed=1)])
    assert copies_of(tested, [*again, *others], _silent) == [True] * 30 + [False] * 30


@pytest.mark.parametrize("how", ["png", "jpeg, quality 95", "twice the size"])
def test_digits_that_were_saved_again_are_found(how: str) -> None:
    pictures = [example.images[0].decode().convert("RGB") for example in registry.task("digits").examples[:100]]
    tested = _images([_saved(picture, "PNG") for picture in pictures])
    assert all(copies_of(tested, _images([SAVED[how](picture) for picture in pictures]), _silent))


@pytest.mark.parametrize(("name", "share"), [("digits", 0.02), ("shape-classes", 0.12)])
def test_few_pictures_that_merely_look_alike_are_taken_for_copies(name: str, share: float) -> None:
    task = registry.task(name)
    assert task.training is not None
    shown = [picture.images[0] for picture in task.training()]
    found = copies_of([example.images[0] for example in task.examples], shown, _silent)
    assert sum(found) <= share * len(shown)


def test_looks_are_kept_and_a_broken_picture_is_no_copy(cache: Path) -> None:
    (picture,) = _noise(32, 1, seed=0)
    good, broken = _saved(picture, "PNG"), b"no picture"
    for _ in range(2):
        assert copies_of(_images([good]), _images([_saved(picture, "JPEG", 95), broken]), _silent) == [True, False]
    assert len(list((cache / "looks").glob("*/*.safetensors"))) == 1


def test_a_picture_saved_again_is_not_learned_from() -> None:
    task = colours()
    copies = [
        dataclasses.replace(
            example, id=f"copy-{example.id}", images=(Image("x", _saved(example.images[0].decode(), "PNG", scale=2.0)),)
        )
        for example in task.examples
    ]
    leaking = dataclasses.replace(task, training=lambda: [*colours().training(), *copies])  # pyright: ignore
    said: list[str] = []
    shown = training_images(leaking, "m", said.append)
    assert shown.digest == training_images(task, "m", _silent).digest
    assert said == [
        "m: 12 of 30 training pictures are also test pictures, or look like one; they are left out of training"
    ]


def test_a_subset_of_the_training_pictures_holds_as_many_of_each_class() -> None:
    task = colours(n_training=6)
    few, fewer = (training_images(task, "m", _silent, per_class=n) for n in (4, 2))
    assert np.bincount(few.labels).tolist() == [4, 4, 4]
    names = {image.name for image in few.images}
    assert {image.name for image in fewer.images} < names
