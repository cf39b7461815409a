"""Pictures small enough that a page of them can be sent to somebody, each distinct one once."""

from __future__ import annotations

import base64
import hashlib
import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import PIL.Image

from compbench.core.errors import DataError
from compbench.core.examples import Image
from compbench.core.image_transforms import on_white, upright

__all__ = ["Album", "album", "data_uri"]

_BUDGET_BYTES = 9_000_000  # of all pictures; a third more as text
_FEWEST_BYTES = 600  # of a picture that still shows something
# the longer side in pixels and the WebP quality, tried in this order until a picture is small enough
_RUNGS = ((160, 78), (160, 55), (128, 45), (96, 38), (72, 32), (48, 28), (32, 15), (24, 1))
_LARGEST = _RUNGS[0][0]


@dataclass(frozen=True, slots=True)
class Album:
    """The pictures of a page."""

    uris: tuple[str, ...]
    sizes: tuple[tuple[int, int], ...]  # of each in pixels, so that the page keeps its place while they load
    place: Mapping[Image, int]  # into uris; None of it where a picture could not be read, or there was no room
    notes: tuple[str, ...] = ()


def album(images: Iterable[Image], budget_bytes: int = _BUDGET_BYTES) -> Album:
    """Thumbnails that take `budget_bytes` together at most: the more pictures, the smaller each.

    Beyond what is left to see of them, the first ones are kept; what is left out or cannot be read is noted.
    """
    distinct = list(dict.fromkeys(images))
    kept = distinct[: budget_bytes // _FEWEST_BYTES]
    allowance = budget_bytes // max(1, len(kept))
    place: dict[Image, int] = {}
    row_of: dict[bytes, int] = {}  # digest of what is seen -> its row
    uris: list[str] = []
    sizes: list[tuple[int, int]] = []
    unreadable: list[str] = []
    rung = 0
    for image in kept:
        try:
            flat = _flat(image.decode())
        except DataError as error:
            unreadable.append(str(error))
            continue
        seen = hashlib.sha256(repr(flat.size).encode() + flat.tobytes()).digest()
        place[image] = row_of.setdefault(seen, len(uris))
        if place[image] == len(uris):
            encoded, size, rung = _encoded(flat, allowance, rung)
            uris.append(data_uri(encoded, "image/webp"))
            sizes.append(size)
    return Album(tuple(uris), tuple(sizes), place, tuple(_notes(len(distinct), len(kept), unreadable)))


def data_uri(content: bytes, media_type: str) -> str:
    """A file as an address that holds it."""
    return f"data:{media_type};base64,{base64.b64encode(content).decode('ascii')}"


def _encoded(flat: PIL.Image.Image, allowance: int, first: int) -> tuple[bytes, tuple[int, int], int]:
    """WebP of at most `allowance` bytes, or as small as the last rung makes it; its size; the rung for the next one.

    Pictures of a task are alike: each begins at the rung of the one before, or one above if that left much room.
    Small drawings stay without loss.
    """
    if _fits(flat) and len(exact := _webp(flat, lossless=True)) <= allowance:
        return exact, flat.size, first
    encoded, size, rung = b"", flat.size, first
    for rung in range(first, len(_RUNGS)):
        side, quality = _RUNGS[rung]
        small = flat.copy()
        small.thumbnail((side, side), PIL.Image.Resampling.LANCZOS)
        encoded, size = _webp(small, quality=quality), small.size
        if len(encoded) <= allowance:
            break
    return encoded, size, max(0, rung - 1) if 2 * len(encoded) < allowance else rung


def _flat(picture: PIL.Image.Image) -> PIL.Image.Image:
    """Upright, RGB, what is transparent over white, no larger than it can be shown."""
    flat = on_white(upright(picture))
    if not _fits(flat):
        flat.thumbnail((2 * _LARGEST, 2 * _LARGEST), PIL.Image.Resampling.LANCZOS, reducing_gap=2.0)
    return flat


def _fits(picture: PIL.Image.Image) -> bool:
    return max(picture.size) <= _LARGEST


def _webp(picture: PIL.Image.Image, **options: int | bool) -> bytes:
    out = io.BytesIO()
    picture.save(out, "WEBP", **options)
    return out.getvalue()


def _notes(n_distinct: int, n_kept: int, unreadable: list[str]) -> Iterable[str]:
    if n_kept < n_distinct:
        yield f"The first {n_kept:,} of {n_distinct:,} pictures are shown: more would make the page too large."
    if unreadable:
        what = "1 image" if len(unreadable) == 1 else f"{len(unreadable):,} images"
        yield f"{what} cannot be read, the first: {unreadable[0]}"
