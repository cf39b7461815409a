"""Which training pictures are test pictures too: the same file, the same pixels, or the same picture saved once more.

A picture saved again as a JPEG, or at another size, has other bytes and nearly the same look: 16 by 16 mean colours, a
perceptual hash that is not cut down to bits. Pictures of a data set may all look alike, as scanned digits do; so a
training picture is a copy of the test picture that it looks most like only where it is nearly the same, or where no
other test picture comes near it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import PIL.Image

from compbench.core.aliases import Bools, Floats
from compbench.core.errors import DataError, RunError
from compbench.core.examples import Image
from compbench_baselines.training import cache as kept

__all__ = ["are_looks_kept", "copies_of", "look"]

_SIDE, _COARSE = 16, 4
_KEPT_AS = {"of": "look", "side": _SIDE, "version": 2}
_N_NEIGHBOURS = 8
# distances between looks, in standard deviations of the test picture's own
_NEARLY_THE_SAME, _SIMILAR = 0.04, 0.5
_NEARER_THAN_THE_NEXT = 0.5  # a copy is so many times nearer than the next test picture


def copies_of(tested: Sequence[Image], shown: Sequence[Image], say: Callable[[str], None]) -> list[bool]:
    """For each of `shown`, whether it is a copy of one of `tested`. Pictures that cannot be decoded are not copies.

    Every picture is decoded once; looks are kept in the cache folder by the picture's digest.
    """
    digests = {image.digest() for image in tested}
    found = np.array([image.digest() in digests for image in shown], bool)
    looks = _looks([*tested, *shown], say)  # [n, 16, 16, 3]; NaN where a picture cannot be read
    of_tested, of_shown = looks[: len(tested)], looks[len(tested) :]
    of_tested = of_tested[np.isfinite(of_tested).all((1, 2, 3))]
    candidates = np.flatnonzero(~found & np.isfinite(of_shown).all((1, 2, 3)))
    if len(of_tested) and len(candidates):
        found[candidates] = _are_copies(of_tested, of_shown[candidates])
    return found.tolist()


def are_looks_kept(images: Sequence[Image]) -> bool:
    """Whether the looks of all images are kept, so that `copies_of` would decode none."""
    place = kept.place("looks", _KEPT_AS)
    if not place.is_dir():
        return False
    stored = kept.Arrays(place)
    if 2 * stored.count() < len(images):  # told without reading every file of a large set
        return False
    return not _unknown(stored, [image.digest() for image in images])


def _are_copies(tested: Floats, shown: Floats) -> Bools:
    """[n]: whether each of the looks `shown` is of a picture among `tested`."""
    from scipy.spatial import KDTree  # here, since a list of models must not wait for it

    n_near = min(_N_NEIGHBOURS, len(tested))
    tree: Any = KDTree(_coarse(tested))
    _, near = tree.query(_coarse(shown), list(range(1, n_near + 1)), p=1)  # [n, k]
    copies = np.zeros(len(shown), bool)
    for number, neighbours in enumerate(near):
        looks = tested[neighbours]
        distances = _distances(looks, shown[number])
        nearest = int(distances.argmin())
        spread = max(float(looks[nearest].std()), 1.0)
        # a test set may hold a picture twice: its double is not the next one
        others = distances[_distances(looks, looks[nearest]) > _NEARLY_THE_SAME * spread]
        next_one = float(others.min(initial=np.inf))
        is_alone = distances[nearest] <= min(_SIMILAR * spread, _NEARER_THAN_THE_NEXT * next_one)
        copies[number] = distances[nearest] <= _NEARLY_THE_SAME * spread or is_alone
    return copies


def _distances(looks: Floats, other: Floats) -> Floats:
    return np.abs(looks - other).mean((1, 2, 3))


def look(picture: PIL.Image.Image) -> Floats:
    """[16, 16, 3] float32 in 0..255: the mean colour of each of 256 parts of the picture."""
    small = picture.convert("RGB").resize((_SIDE, _SIDE), PIL.Image.Resampling.BOX)
    return np.asarray(small, np.float32)


def _looks(images: Sequence[Image], say: Callable[[str], None]) -> Floats:
    """The looks of all images, those that are kept already read from the disk; NaN of those that cannot be read."""
    names = [image.digest() for image in images]
    by_name = dict(zip(names, images, strict=True))
    try:
        stored = kept.Arrays(kept.folder("looks", _KEPT_AS))
    except RunError as error:
        say(f"looks of pictures are not kept: {error}")
        made = {name: _look_of(image) for name, image in by_name.items()}
        return np.stack([made[name] for name in names])
    for name in _unknown(stored, names):
        its = _look_of(by_name[name])
        stored.add([name if np.isfinite(its).all() else _unread(name)], its[None])
    stored.flush()
    lacking = set(stored.lacking(names))
    return np.asarray(stored.read([_unread(name) if name in lacking else name for name in names]), np.float32)


def _unknown(stored: kept.Arrays, names: Sequence[str]) -> list[str]:
    """Those of which nothing is kept: neither the look, nor that the picture cannot be read within today's limit."""
    not_tried = set(stored.lacking([_unread(name) for name in names]))
    return [name for name in stored.lacking(names) if _unread(name) in not_tried]


def _unread(name: str) -> str:
    return f"{name} not within {PIL.Image.MAX_IMAGE_PIXELS}"


def _look_of(image: Image) -> Floats:
    try:
        return look(image.decode())
    except DataError:  # told where the picture is to be learned from or scored
        return np.full((_SIDE, _SIDE, 3), np.nan, np.float32)


def _coarse(looks: Floats) -> Floats:
    """[n, 48]: the means of 4 by 4 parts."""
    step = _SIDE // _COARSE
    return looks.reshape(len(looks), _COARSE, step, _COARSE, step, 3).mean((2, 4)).reshape(len(looks), -1)
