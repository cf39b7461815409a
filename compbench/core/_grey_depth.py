"""Grey images of more than 8 bits: which of them have a known range, and how that becomes 0 to 255."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import PIL.Image

__all__ = ["is_scaled", "is_within_a_byte", "scaled"]

_BITS, _PHOTOMETRIC = 258, 262  # tags of TIFF


def is_scaled(image: PIL.Image.Image) -> bool:
    """Whether an image is grey of a known range above 255: Pillow brings PPM and PNG to 65,535."""
    return image.mode.startswith("I;16") or (image.mode == "I" and image.format in ("PPM", "PNG"))


def is_within_a_byte(image: PIL.Image.Image) -> bool:
    least, most = image.getextrema()
    return least >= 0 and most <= 255  # pyright: ignore[reportOperatorIssue]  # of one band: two numbers


def scaled(image: PIL.Image.Image) -> PIL.Image.Image:
    """16-bit grey as 8-bit, 0 to 65,535 becoming 0 to 255; a TIFF says itself if it has fewer bits, or white at 0."""
    import PIL.Image

    tags: Any = getattr(image, "tag_v2", {})
    most = 2 ** int(np.ravel(tags.get(_BITS, 16))[0]) - 1
    values = np.asarray(image).astype(np.int64).clip(0, most)
    eight = ((values * 255 + most // 2) // most).astype(np.uint8)
    made = PIL.Image.fromarray(255 - eight if tags.get(_PHOTOMETRIC) == 0 else eight)
    made.info = {key: value for key, value in image.info.items() if key != "transparency"}
    clear = image.info.get("transparency")
    if isinstance(clear, int):  # one grey is transparent, named in 16 bits
        made.putalpha(PIL.Image.fromarray(np.where(values == clear, 0, 255).astype(np.uint8)))
    return made
