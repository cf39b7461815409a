"""Pictures as tensors: what each becomes, and batches of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import PIL.Image
import torch
from torch import Tensor

from compbench.core.aliases import Ints
from compbench.core.examples import Image
from compbench.core.image_transforms import opaque
from compbench_baselines.decoding import decoders

__all__ = ["OVERLOOKED", "Transform", "batches", "cropped", "to_pixels"]

# in images, by all that makes RGB of the pixels as they lie in the file
OVERLOOKED = frozenset({"orientation", "transparency"})

Transform = Callable[[PIL.Image.Image, np.random.Generator | None], Tensor]  # None: no augmentation -> [c, h, w]
_BICUBIC = PIL.Image.Resampling.BICUBIC


def batches(
    images: Sequence[Image],
    chunks: Iterable[Ints],
    transform: Transform,
    say: Callable[[str], None],
    seed: tuple[int, int] | None = None,
) -> Iterator[Tensor]:
    """[b, c, h, w] float32 for each chunk of indices; with a seed, image i is augmented from (*seed, i) alone."""

    def pixels(index: int) -> Tensor:
        rng = None if seed is None else np.random.default_rng([*seed, index])
        return transform(images[index].decode(), rng)

    with decoders(say) as decoding:
        for _, inputs in decoding.decoded((chunk.tolist() for chunk in chunks), pixels):
            yield inputs


@dataclass(frozen=True, slots=True)
class to_pixels:  # used as a function that remembers its size
    """The whole picture as [3, size_px, size_px] in [-1, 1]."""

    size_px: int

    def __call__(self, image: PIL.Image.Image, rng: np.random.Generator | None) -> Tensor:
        resized = opaque(image).convert("RGB").resize((self.size_px, self.size_px), _BICUBIC)
        return _in_range(resized)


@dataclass(frozen=True, slots=True)
class cropped:
    """The usual pipeline of ImageNet: a random part, perhaps mirrored, to learn from; the centre to be tested on."""

    size_px: int

    def __call__(self, image: PIL.Image.Image, rng: np.random.Generator | None) -> Tensor:
        image = opaque(image).convert("RGB")
        if rng is None:
            side = min(image.size) * 224 / 256
            left, top = (image.width - side) / 2, (image.height - side) / 2
            return _in_range(image.resize((self.size_px, self.size_px), _BICUBIC, (left, top, left + side, top + side)))
        left, top, width, height = _random_box(*image.size, rng)
        box = (left, top, left + width, top + height)
        part = image.resize((self.size_px, self.size_px), _BICUBIC, box)
        return _in_range(part.transpose(PIL.Image.Transpose.FLIP_LEFT_RIGHT) if rng.random() < 0.5 else part)


def _random_box(width: int, height: int, rng: np.random.Generator) -> tuple[float, float, float, float]:
    """(left, top, width, height): 8 to 100 % of the area, sides within 3:4 and 4:3 where the picture allows."""
    area = width * height * rng.uniform(0.08, 1.0)
    ratio = np.exp(rng.uniform(np.log(3 / 4), np.log(4 / 3)))
    across, down = min(width, float(np.sqrt(area * ratio))), min(height, float(np.sqrt(area / ratio)))
    return rng.uniform(0, width - across), rng.uniform(0, height - down), across, down


def _in_range(image: PIL.Image.Image) -> Tensor:
    pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1)  # HWC uint8 -> CHW
    return pixels.float() / 127.5 - 1
