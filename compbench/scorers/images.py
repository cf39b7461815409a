"""Pictures to pixels: the published transform and compbench's own."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import PIL.Image
import PIL.ImageOps
import torch
from torch import Tensor
from torchvision.transforms import CenterCrop, Compose, InterpolationMode, Resize

__all__ = ["Transform", "adm_centre_crop", "centre_crop", "whole_picture"]

Transform = Callable[[PIL.Image.Image, int], Tensor]  # picture, side in pixels -> [3, side, side] float32 in [-1, 1]


def centre_crop(image: PIL.Image.Image, size_px: int) -> Tensor:
    """The published transform: shorter side to `size_px`, bicubic; centre crop; RGB only then.

    The sides of wide pictures are lost, and a palette picture is resized by nearest neighbour in its own mode.
    """
    resize = Compose([Resize(size_px, InterpolationMode.BICUBIC), CenterCrop(size_px)])
    return _to_range(resize(image).convert("RGB"))


def adm_centre_crop(image: PIL.Image.Image, size_px: int) -> Tensor:
    """The transform of ADM and DiT (Dhariwal & Nichol, 2021): the middle of the picture, RGB first.

    Halved by a box filter while the shorter side is at least twice as long; then bicubic; then cropped.
    """
    image = image.convert("RGB")
    while min(image.size) >= 2 * size_px:
        image = image.resize((image.width // 2, image.height // 2), PIL.Image.Resampling.BOX)
    scale = size_px / min(image.size)
    image = image.resize((round(image.width * scale), round(image.height * scale)), PIL.Image.Resampling.BICUBIC)
    left, top = (image.width - size_px) // 2, (image.height - size_px) // 2
    return _to_range(image.crop((left, top, left + size_px, top + size_px)))


def whole_picture(image: PIL.Image.Image, size_px: int) -> Tensor:
    """Upright (EXIF), transparency over white, RGB; then the whole picture to a square, bicubic: nothing cropped."""
    image = PIL.ImageOps.exif_transpose(image)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = PIL.Image.alpha_composite(PIL.Image.new("RGBA", image.size, "white"), image)
    return _to_range(image.convert("RGB").resize((size_px, size_px), PIL.Image.Resampling.BICUBIC))


def _to_range(image: PIL.Image.Image) -> Tensor:
    pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1)  # HWC uint8 -> CHW
    return pixels.float() / 255 * 2 - 1
