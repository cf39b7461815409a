"""Pictures small enough that a page of them can be sent to somebody, each distinct one once."""

from __future__ import annotations

import base64
import hashlib
import io
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass

import PIL.Image

from compbench.core.errors import DataError
from compbench.core.examples import Image
from compbench.core.image_transforms import on_white, upright

__all__ = ["Album", "album", "data_uri"]

_BUDGET_BYTES = 9_000_000  # of all pictures; a third more as text
_FEWEST_BYTES = 600  # of a picture that still shows something
_SAMPLE = 48  # pictures that tell how large all of them will be
_AT_ONCE = 64  # pictures in the hands of the threads
# the longer side in pixels and the WebP quality, tried in this order until pictures are small enough
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
    """Thumbnails that take about `budget_bytes` together at most: the more pictures, the smaller each.

    A sample tells how small they have to be, so that each is decoded and encoded once. Beyond what is left to see of
    them, the first ones are kept; what is left out or cannot be read is noted.
    """
    distinct = list(dict.fromkeys(images))
    kept = distinct[: budget_bytes // _FEWEST_BYTES]
    rung = _rung(kept[:: max(1, len(kept) // _SAMPLE)], budget_bytes // max(1, len(kept)))
    place: dict[Image, int] = {}
    row_of: dict[bytes, int] = {}  # digest of what is seen -> its row
    uris: list[str] = []
    sizes: list[tuple[int, int]] = []
    unreadable: list[str] = []
    for image, made in zip(kept, _in_threads(lambda image: _thumbnail(image, rung), kept), strict=True):
        if isinstance(made, str):
            unreadable.append(made)
            continue
        place[image] = row_of.setdefault(made.digest, len(uris))
        if place[image] == len(uris):
            uris.append(data_uri(made.encoded, "image/webp"))
            sizes.append(made.size)
    return Album(tuple(uris), tuple(sizes), place, tuple(_notes(len(distinct), len(kept), unreadable)))


def data_uri(content: bytes, media_type: str) -> str:
    """A file as an address that holds it."""
    return f"data:{media_type};base64,{base64.b64encode(content).decode('ascii')}"


@dataclass(frozen=True, slots=True)
class _Thumbnail:
    digest: bytes  # of the picture's pixels
    encoded: bytes
    size: tuple[int, int]


def _rung(sample: Sequence[Image], allowance: int) -> int:
    """The first rung on which the pictures of a sample take no more than their allowance on average; -1: lossless."""
    flats: list[PIL.Image.Image] = []
    for image in sample:
        with suppress(DataError):  # noted when all are read
            flats.append(_flat(image.decode()))
    if not flats:
        return 0
    if all(map(_fits, flats)) and sum(len(_webp(flat, lossless=True)) for flat in flats) <= allowance * len(flats):
        return -1  # drawings stay without loss
    for rung in range(len(_RUNGS) - 1):
        if sum(len(_encoded(flat, rung)[0]) for flat in flats) <= allowance * len(flats):
            return rung
    return len(_RUNGS) - 1


def _thumbnail(image: Image, rung: int) -> _Thumbnail | str:
    """The picture, or why it cannot be read."""
    try:
        flat = _flat(image.decode(), _RUNGS[max(0, rung)][0])
    except DataError as error:
        return str(error)
    digest = hashlib.sha256(repr(flat.size).encode() + flat.tobytes()).digest()
    return _Thumbnail(digest, *_encoded(flat, rung))


def _encoded(flat: PIL.Image.Image, rung: int) -> tuple[bytes, tuple[int, int]]:
    """The picture as WebP on a rung, and its size."""
    if rung < 0 and _fits(flat):
        return _webp(flat, lossless=True), flat.size
    side, quality = _RUNGS[max(0, rung)]
    small = flat.copy()
    small.thumbnail((side, side), PIL.Image.Resampling.LANCZOS)
    return _webp(small, quality=quality, method=1), small.size


def _in_threads(make: Callable[[Image], _Thumbnail | str], images: Sequence[Image]) -> Iterator[_Thumbnail | str]:
    """Thumbnails in order, a few at a time, so that no more than these are in memory as pixels."""
    with ThreadPoolExecutor(max(1, min(8, os.cpu_count() or 1))) as pool:
        waiting: deque[Future[_Thumbnail | str]] = deque()
        for image in images:
            waiting.append(pool.submit(make, image))
            if len(waiting) >= _AT_ONCE:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def _flat(picture: PIL.Image.Image, side: int = _LARGEST) -> PIL.Image.Image:
    """Upright, RGB, what is transparent over white, twice as large as it is shown with `side` pixels at most."""
    flat = on_white(upright(picture))
    if not _fits(flat):
        flat.thumbnail((2 * side, 2 * side), PIL.Image.Resampling.LANCZOS, reducing_gap=2.0)
    return flat


def _fits(picture: PIL.Image.Image) -> bool:
    return max(picture.size) <= _LARGEST


def _webp(picture: PIL.Image.Image, **options: int | bool) -> bytes:
    out = io.BytesIO()
    picture.save(out, "WEBP", **options)
    return out.getvalue()


def _notes(n_distinct: int, n_kept: int, unreadable: list[str]) -> Iterable[str]:
    if n_kept < n_distinct:
        yield f"The first {n_kept:,} of {n_distinct:,} pictures are shown, to keep the page small."
    if unreadable:
        what = "1 image" if len(unreadable) == 1 else f"{len(unreadable):,} images"
        yield f"{what} cannot be read, the first: {unreadable[0]}"
