from __future__ import annotations

import numpy as np
import PIL.Image
import pytest

from compbench.core.aliases import Bools
from compbench.core.examples import Example, Image
from compbench.tasks.gallery import contact_sheet

RED, GREEN = (200, 30, 30), (30, 160, 30)


def _example(colour: tuple[int, int, int], matches: Bools, captions: tuple[str, ...] = ("one", "two")) -> Example:
    images = tuple(Image(str(i), lambda: PIL.Image.new("RGB", (20, 10), colour)) for i in range(len(matches)))
    return Example("id", images, captions, matches, {"tag": ("Object",), "visual": ()})


def _n_pixels(sheet: PIL.Image.Image, colour: tuple[int, int, int]) -> int:
    return int((np.asarray(sheet) == colour).all(-1).sum())


def test_a_sheet_shows_every_image_whole_and_in_its_own_shape() -> None:
    sheet = contact_sheet([_example(RED, np.eye(2, dtype=bool))])
    assert _n_pixels(sheet, RED) == 2 * 256 * 128


def test_a_sheet_is_spread_over_the_examples() -> None:
    examples = [_example(RED, np.eye(2, dtype=bool))] * 5 + [_example(GREEN, np.eye(2, dtype=bool))] * 5
    sheet = contact_sheet(examples, 2)
    assert _n_pixels(sheet, RED) == _n_pixels(sheet, GREEN) > 0
    assert contact_sheet(examples, 99).size == contact_sheet(examples, 10).size


def test_a_long_caption_is_wrapped_and_makes_the_sheet_longer() -> None:
    short = contact_sheet([_example(RED, np.eye(2, dtype=bool))])
    long = contact_sheet([_example(RED, np.eye(2, dtype=bool), ("many words " * 20, "two"))])
    assert long.width == short.width
    assert long.height > short.height + 100


@pytest.mark.parametrize("shape", [(1, 2), (2, 1), (1, 4), (3, 2), (0, 2)])
def test_a_sheet_shows_examples_of_every_shape(shape: tuple[int, int]) -> None:
    matches = np.zeros(shape, dtype=bool)
    matches[:1, 0] = True
    captions = tuple(f"caption {c}" for c in range(shape[1]))
    two_by_two = contact_sheet([_example(RED, np.eye(2, dtype=bool))])
    sheet = contact_sheet([_example(RED, matches, captions)])
    assert _n_pixels(sheet, RED) == shape[0] * 256 * 128
    assert shape == (0, 2) or sheet.height >= two_by_two.height


def test_transparent_palette_and_sixteen_bit_pictures_are_shown() -> None:
    modes = ("RGBA", "P", "LA", "L", "I;16", "CMYK", "1")
    images = tuple(Image(mode, lambda mode=mode: PIL.Image.new(mode, (8, 8))) for mode in modes)
    contact_sheet([Example("id", images, ("one",), np.zeros((len(modes), 1), dtype=bool))])


def test_an_empty_sheet_is_refused() -> None:
    with pytest.raises(ValueError, match="cannot show 12 of 0 examples"):
        contact_sheet([])


def test_of_a_thousand_captions_only_the_true_one_stands_under_the_picture() -> None:
    few, many = (tuple(f"caption {c}" for c in range(n)) for n in (3, 1000))
    sheets = [contact_sheet([_example(RED, np.arange(len(c))[None] == 1, c)]) for c in (few, many)]
    assert sheets[1].height < sheets[0].height  # which lists the two others
