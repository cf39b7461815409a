"""Pictures that a caller has in hand: PIL images, paths, numpy arrays and tensors.

An array is [height, width] or [height, width, channels], a tensor [height, width] or [channels, height, width], as
numpy and torch lay pictures out; 1, 3 or 4 channels. Both are uint8, or floating point from 0 to 1, which becomes 0 to
255, rounded. What has been normalised is refused: nobody could tell by what.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from compbench.core.errors import UsageError
from compbench.core.examples import Image

if TYPE_CHECKING:
    import PIL.Image

__all__ = ["Picture", "pictures"]

Picture = Any  # a PIL image, a path, a numpy array or a tensor
_CHANNELS = (1, 3, 4)


def pictures(given: Sequence[Picture]) -> tuple[Image, ...]:
    """The images; UsageError names the one that cannot be taken."""
    shape = getattr(given, "shape", None)
    if shape is not None and len(shape) != 4:
        raise UsageError(f"images cannot be one array of shape {tuple(shape)}; expected a list of pictures")
    if isinstance(given, str | bytes | os.PathLike) or not hasattr(given, "__len__"):
        raise UsageError(f"images cannot be one {type(given).__name__}; expected a list of pictures")
    return tuple(_image(picture, number) for number, picture in enumerate(given))


def _image(given: Picture, number: int) -> Image:
    import PIL.Image

    if isinstance(given, Image):
        return given
    if isinstance(given, str | os.PathLike):
        return Image(os.fspath(given), Path(given))  # pyright: ignore[reportUnknownArgumentType]
    name = f"image {number}"
    if isinstance(given, PIL.Image.Image):
        given.load()  # here, since several threads may look at it
        return Image(name, lambda: given)
    if isinstance(given, np.ndarray):
        picture = _of_array(given, name, "[height, width, channels]")  # pyright: ignore[reportUnknownArgumentType]
    elif hasattr(given, "detach"):
        picture = _of_tensor(given, name)
    else:
        raise UsageError(
            f"{name} cannot be a {type(given).__name__}; expected a PIL image, a path, a numpy array or a tensor"
        )
    return Image(name, lambda: picture)


def _of_tensor(tensor: Any, name: str) -> PIL.Image.Image:
    if tensor.is_floating_point():
        tensor = tensor.double()  # bfloat16 is none of numpy's
    values: NDArray[Any] = tensor.detach().cpu().numpy()
    expected = "[channels, height, width]"
    if values.ndim == 3:
        if values.shape[0] not in _CHANNELS:
            raise _wrong_shape(name, values, expected)
        values = values.transpose(1, 2, 0)
    return _of_array(values, name, expected)


def _of_array(values: NDArray[Any], name: str, expected: str) -> PIL.Image.Image:
    import PIL.Image

    is_flat = values.ndim == 2
    if not values.size or not (is_flat or (values.ndim == 3 and values.shape[2] in _CHANNELS)):
        raise _wrong_shape(name, values, expected)
    levels = _levels(values, name)
    return PIL.Image.fromarray(np.ascontiguousarray(levels if is_flat or levels.shape[2] > 1 else levels[:, :, 0]))


def _levels(values: NDArray[Any], name: str) -> NDArray[np.uint8]:
    """0 to 255, of uint8 or of 0 to 1."""
    if values.dtype == np.uint8:
        return values
    if values.dtype.kind != "f":
        raise UsageError(f"{name} has dtype {values.dtype}; expected uint8, or floating point from 0 to 1")
    low, high = values.min(), values.max()
    if not (low >= 0 and high <= 1):  # NaN is neither
        raise UsageError(
            f"{name} has values from {low:.4g} to {high:.4g}; expected uint8, or floating point from 0 to 1: give the "
            "picture as it was before it was normalised"
        )
    return np.rint(values * 255).astype(np.uint8)


def _wrong_shape(name: str, values: NDArray[Any], expected: str) -> UsageError:
    return UsageError(f"{name} has shape {values.shape}; expected {expected} with 1, 3 or 4 channels")
