"""Limits on the images that are read: up to how many pixels, and whether through links."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, replace

__all__ = ["limited", "limits"]


@dataclass(frozen=True, slots=True)
class _Limits:
    max_pixels: int | None = None  # None: Pillow's own limit, 178,956,970 unless it was changed
    follows_links: bool = True


# of the whole process, the last one holds: images are decoded in threads, behind scorers that no argument reaches
_held = [_Limits()]


def limits() -> _Limits:
    """The limits that hold now."""
    return _held[-1]


@contextmanager
def limited(*, max_pixels: int | None = None, follows_links: bool | None = None) -> Generator[None]:
    """Within it images of up to `max_pixels` are read, and links only if `follows_links`; None leaves it as it is."""
    import PIL.Image

    inner, allowed = limits(), PIL.Image.MAX_IMAGE_PIXELS
    if max_pixels is not None:
        inner = replace(inner, max_pixels=max_pixels)
        PIL.Image.MAX_IMAGE_PIXELS = max_pixels / 2  # pyright: ignore[reportAttributeAccessIssue]  # it refuses at twice that
    if follows_links is not None:
        inner = replace(inner, follows_links=follows_links)
    _held.append(inner)
    try:
        yield
    finally:
        _held.pop()
        PIL.Image.MAX_IMAGE_PIXELS = allowed
