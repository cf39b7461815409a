"""The tasks `digits` and `digits-rotation`, `-noise`, `-blur`: real handwritten digits as a classification task.

The pictures are the 1,797 handwritten digits that come with scikit-learn (8x8 pixels of 17 grey levels, the test set
of UCI's optical recognition of handwritten digits), enlarged to 24x24 pixels in the middle of a black picture of 32x32.
597 of them, chosen by a hash of their number, are the test examples; the other 1,200 are the training split.
scikit-learn does not tell the 13 writers apart, so both splits hold digits of the same hands.

The shifted tasks show the same test examples, changed:

- digits-rotation: turned by 20 to 40 degrees, to the left or to the right.
- digits-noise: Gaussian noise of standard deviation 0.3 of the grey range on every one of the 32x32 pixels, clipped.
- digits-blur: Gaussian blur of radius 3 pixels, which is one of the original ones.

Angle and noise are drawn from a generator seeded by the example alone. The training split is never changed.
"""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Callable, Sequence
from functools import cache, partial
from pathlib import Path

import numpy as np
import PIL
import PIL.Image
import PIL.ImageFilter

from compbench.core.aliases import Floats, Ints
from compbench.core.examples import Classes, Example, Image, Task
from compbench.core.metrics import CLASSIFYING
from compbench.tasks._reading.digests import with_digests

__all__ = ["NAMES", "SIZE_PX", "digits", "digits_blur", "digits_noise", "digits_rotation", "training_examples"]

SIZE_PX = 32
NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
CLASSES = Classes(NAMES, tuple(range(10)), label_space="digits", labels=tuple(range(10)))

_N_TEST = 597
_MARGIN_PX = 4  # so that turning cuts nothing off
_HIGHEST = 16  # the grey level of full ink
_SEED = 0
_ROTATION_STREAM, _NOISE_STREAM = 1, 2
_CAPTIONS = tuple(f"a handwritten digit: {name}" for name in NAMES)

# a picture and its number among the 1,797 -> the changed picture
Change = Callable[[PIL.Image.Image, int], PIL.Image.Image]


def digits() -> Task:
    """The 597 test digits as they are; nothing is fetched."""
    return _task("digits", _unchanged)


def digits_rotation() -> Task:
    """The same digits, turned by 20 to 40 degrees to either side."""
    return _task("digits-rotation", _turned)


def digits_noise() -> Task:
    """The same digits under Gaussian noise of standard deviation 0.3."""
    return _task("digits-noise", _noisy)


def digits_blur() -> Task:
    """The same digits under Gaussian blur of radius 3 pixels."""
    return _task("digits-blur", _blurred)


@cache
def training_examples() -> Sequence[Example]:
    """The 1,200 digits of the training split, unchanged: the same for all four tasks."""
    _, training = _split()
    return _examples("digits", training, _unchanged)


@cache
def _task(name: str, change: Change) -> Task:
    test, _ = _split()
    return Task(
        name=name,
        examples=_examples(name, test, change),
        metrics=CLASSIFYING,
        description=__doc__ or "",
        citation=_BIBTEX,
        tag_order={"class": NAMES},
        classes=CLASSES,
        training=training_examples,
    )


def _examples(name: str, numbers: Sequence[int], change: Change) -> Sequence[Example]:
    _, labels = _handwritten()
    examples = [_example(name, number, int(labels[number]), change) for number in numbers]
    return with_digests(examples, [*_origin(), name, *(str(number) for number in numbers)])


def _example(name: str, number: int, label: int, change: Change) -> Example:
    picture = Image(f"{name}-{number:04d}.png", partial(_picture, number, change))
    matches = np.arange(10)[None] == label
    return Example(f"digit-{number:04d}", (picture,), _CAPTIONS, matches, {"class": (NAMES[label],)})


def _picture(number: int, change: Change) -> PIL.Image.Image:
    """32x32, mode L, white ink on black."""
    pixels, _ = _handwritten()
    grey = np.rint(pixels[number] * (255 / _HIGHEST)).astype(np.uint8)
    inner = SIZE_PX - 2 * _MARGIN_PX
    picture = PIL.Image.new("L", (SIZE_PX, SIZE_PX))
    enlarged = PIL.Image.fromarray(grey).resize((inner, inner), PIL.Image.Resampling.BICUBIC)
    picture.paste(enlarged, (_MARGIN_PX, _MARGIN_PX))
    return change(picture, number)


def _unchanged(picture: PIL.Image.Image, number: int) -> PIL.Image.Image:
    return picture


def _turned(picture: PIL.Image.Image, number: int) -> PIL.Image.Image:
    rng = np.random.default_rng([_SEED, _ROTATION_STREAM, number])
    degrees = rng.choice((-1, 1)) * rng.uniform(20, 40)
    return picture.rotate(degrees, PIL.Image.Resampling.BICUBIC)


def _noisy(picture: PIL.Image.Image, number: int) -> PIL.Image.Image:
    rng = np.random.default_rng([_SEED, _NOISE_STREAM, number])
    noisy = np.asarray(picture) + rng.normal(0, 0.3 * 255, (SIZE_PX, SIZE_PX))
    return PIL.Image.fromarray(np.rint(noisy.clip(0, 255)).astype(np.uint8))


def _blurred(picture: PIL.Image.Image, number: int) -> PIL.Image.Image:
    return picture.filter(PIL.ImageFilter.GaussianBlur(3))


@cache
def _handwritten() -> tuple[Floats, Ints]:
    """Pixels [1797, 8, 8] of 0 to 16, and labels [1797]."""
    from sklearn.datasets import load_digits  # half a second that only these tasks should pay

    bunch = load_digits()
    return bunch.images, bunch.target  # pyright: ignore[reportAttributeAccessIssue]


@cache
def _split() -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The numbers of the test and of the training digits, each in ascending order."""
    pixels, _ = _handwritten()
    by_hash = sorted(range(len(pixels)), key=lambda number: hashlib.sha256(f"digits {number}".encode()).digest())
    return tuple(sorted(by_hash[:_N_TEST])), tuple(sorted(by_hash[_N_TEST:]))


def _origin() -> list[str]:
    """All that the pixels come from: this code and the libraries that hold and draw them."""
    import sklearn

    return [
        Path(__file__).read_text(encoding="utf-8"),
        sklearn.__version__,
        PIL.__version__,
        np.__version__,
        platform.machine(),
    ]


_BIBTEX = """@misc{alpaydin1998optical,
  title     = {Optical Recognition of Handwritten Digits},
  author    = {Alpaydin, Ethem and Kaynak, Cenk},
  year      = {1998},
  publisher = {UCI Machine Learning Repository},
  doi       = {10.24432/C50P49}
}"""
