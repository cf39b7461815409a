"""Pictures to pixels: the published transform and compbench's own."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import PIL.Image
import torch
from torch import Tensor
from torchvision.transforms import CenterCrop, Compose, InterpolationMode, Resize

from compbench.core.image_transforms import on_white, opaque, trimmed, upright

__all__ = ["Transform", "adm_centre_crop", "centre_crop", "overlooked", "rgb_centre_crop", "squeezed", "whole_picture"]

Transform = Callable[[PIL.Image.Image, int], Tensor]  # picture, side in pixels -> [3, side, side] float32 in [-1, 1]


def centre_crop(image: PIL.Image.Image, size_px: int) -> Tensor:
    """The published transform: shorter side to `size_px`, bicubic; centre crop; RGB only then.

    The sides of wide pictures are lost, and a palette picture is resized by nearest neighbour in its own mode.
    """
    resize = Compose([Resize(size_px, InterpolationMode.BICUBIC), CenterCrop(size_px)])
    return _to_range(resize(opaque(trimmed(image, size_px))).convert("RGB"))


def adm_centre_crop(image: PIL.Image.Image, size_px: int) -> Tensor:
    """The transform of ADM and DiT (Dhariwal & Nichol, 2021): the middle of the picture, RGB first.

    Halved by a box filter while the shorter side is at least twice as long; then bicubic; then cropped.
    """
    image = opaque(trimmed(image, size_px)).convert("RGB")
    while min(image.size) >= 2 * size_px:
        image = image.resize((image.width // 2, image.height // 2), PIL.Image.Resampling.BOX)
    scale = size_px / min(image.size)
    image = image.resize((round(image.width * scale), round(image.height * scale)), PIL.Image.Resampling.BICUBIC)
    left, top = (image.width - size_px) // 2, (image.height - size_px) // 2
    return _to_range(image.crop((left, top, left + size_px, top + size_px)))


def rgb_centre_crop(image: PIL.Image.Image, size_px: int) -> Tensor:
    """The published transform after the data sets' published loaders, which convert to RGB as they read."""
    return centre_crop(opaque(image).convert("RGB"), size_px)


def whole_picture(image: PIL.Image.Image, size_px: int) -> Tensor:
    """Upright (EXIF), transparency over white, RGB; then the whole picture to a square, bicubic: nothing cropped."""
    image = on_white(upright(image))
    return _to_range(image.resize((size_px, size_px), PIL.Image.Resampling.BICUBIC))


def squeezed(image: PIL.Image.Image, size_px: int) -> Tensor:
    """The transform of DiffusionITM and Self-Bench: RGB, then the whole picture to a square, bicubic."""
    return _to_range(opaque(image).convert("RGB").resize((size_px, size_px), PIL.Image.Resampling.BICUBIC))


def overlooked(transform: Transform) -> frozenset[str]:
    """The traits that a transform ignores: the published ones take the pixels as they lie in the file."""
    return frozenset() if transform is whole_picture else frozenset({"orientation", "transparency"})


def _to_range(image: PIL.Image.Image) -> Tensor:
    pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1)  # HWC uint8 -> CHW
    return pixels.float() / 255 * 2 - 1
