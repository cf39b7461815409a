"""Transforms of a decoded image before a scorer's own: turn it upright, flatten it on white, trim it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import PIL.Image

__all__ = ["on_white", "opaque", "orientation", "trimmed", "upright"]

_MOST_RESIZED = 2**28  # pixels, before the middle is cut out of them
_ORIENTATION = 0x0112  # a tag of EXIF
_EXIF_KEYS = ("exif", "xmp", "XML:com.adobe.xmp", "Raw profile type exif")


def upright(image: PIL.Image.Image) -> PIL.Image.Image:
    """The image turned as its EXIF block says; a damaged block is ignored, here and so by every scorer."""
    import PIL.Image

    methods = PIL.Image.Transpose
    turns = {
        2: methods.FLIP_LEFT_RIGHT,
        3: methods.ROTATE_180,
        4: methods.FLIP_TOP_BOTTOM,
        5: methods.TRANSPOSE,
        6: methods.ROTATE_270,
        7: methods.TRANSVERSE,
        8: methods.ROTATE_90,
    }
    method = turns.get(orientation(image) or 1)
    if method is None:
        return image
    turned = image.transpose(method)
    turned.info = {key: value for key, value in image.info.items() if key not in _EXIF_KEYS}  # it is upright now
    return turned


def on_white(image: PIL.Image.Image) -> PIL.Image.Image:
    """RGB, what is transparent over white."""
    import PIL.Image

    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = PIL.Image.alpha_composite(PIL.Image.new("RGBA", image.size, "white"), image)
    return image.convert("RGB")


def opaque(image: PIL.Image.Image) -> PIL.Image.Image:
    """The same pixels without a transparent colour beside them, of which Pillow would warn when it drops it."""
    if "transparency" not in image.info:
        return image
    plain = image.copy()
    del plain.info["transparency"]
    return plain


def trimmed(image: PIL.Image.Image, size_px: int) -> PIL.Image.Image:
    """The middle of an image so thin that it would be huge with its shorter side at `size_px`; others as they are."""
    shorter, longer = sorted(image.size)
    longest = max(1, _MOST_RESIZED // size_px**2) * shorter
    if longer <= longest:
        return image
    width, height = min(image.width, longest), min(image.height, longest)
    left, top = (image.width - width) // 2, (image.height - height) // 2
    return image.crop((left, top, left + width, top + height))


def orientation(image: PIL.Image.Image) -> int | None:
    """The EXIF orientation, 1 where there is none; None where the block is damaged."""
    try:
        found = image.getexif().get(_ORIENTATION, 1)
    except Exception:  # Pillow parses it only now, and raises anything
        return None
    return found if isinstance(found, int) else 1
