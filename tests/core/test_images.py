import numpy as np
import PIL.Image
import pytest
import torch

from compbench.diffusion.images import centre_crop, whole_picture

BOTH = [centre_crop, whole_picture]


def halves(width=40, height=20):
    """Left half black, right half white."""
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[:, width // 2 :] = 255
    return PIL.Image.fromarray(pixels)


@pytest.mark.parametrize("transform", BOTH)
@pytest.mark.parametrize("mode", ["RGB", "L", "P", "RGBA", "LA", "CMYK", "1"])
def test_every_mode_becomes_three_channels_between_minus_one_and_one(transform, mode):
    pixels = transform(halves().convert(mode), 16)
    assert pixels.shape == (3, 16, 16)
    assert pixels.dtype == torch.float32
    assert pixels.min() == -1
    assert pixels.max() == 1


def test_a_picture_of_the_right_size_is_not_resampled():
    pixels = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    expected = torch.from_numpy(pixels).permute(2, 0, 1) / 255 * 2 - 1
    for transform in BOTH:
        assert torch.allclose(transform(PIL.Image.fromarray(pixels), 16), expected)


def test_the_centre_crop_loses_the_sides_and_the_whole_picture_keeps_them():
    pixels = np.full((20, 60, 3), 128, np.uint8)
    pixels[:, :15] = 255
    wide = PIL.Image.fromarray(pixels)
    assert centre_crop(wide, 16).max() < 0.5
    assert whole_picture(wide, 16)[:, :, 0].min() == 1


def test_transparency_lies_over_white():
    clear = PIL.Image.new("RGBA", (8, 8), (0, 0, 0, 0))
    assert (whole_picture(clear, 8) == 1).all()
    assert (centre_crop(clear, 8) == -1).all()  # as published: the alpha channel is dropped


def test_the_whole_picture_is_turned_upright():
    image = halves(16, 16)
    image.getexif()[0x0112] = 6  # to be turned clockwise by a quarter
    path_bytes = image_bytes(image)
    upright = whole_picture(PIL.Image.open(path_bytes), 16)
    assert upright[:, 0].max() < -0.9
    assert upright[:, -1].min() > 0.9


def image_bytes(image):
    import io

    stream = io.BytesIO()
    image.save(stream, "PNG", exif=image.getexif())
    stream.seek(0)
    return stream
