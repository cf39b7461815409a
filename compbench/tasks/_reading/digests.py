"""Image digests that are remembered between runs, so that a finished run answers without reading its images again."""

from __future__ import annotations

import hashlib
import stat
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from compbench.core.examples import UNREADABLE, Example
from compbench.core.remembered import recalled, remember

__all__ = ["file_stamp", "with_digests"]

_TICK_NS = 20_000_000  # two files changed within so little time may have one time of change
_COARSE_TICK_NS = 2_000_000_000  # likewise where the file system keeps whole seconds


def with_digests(examples: Sequence[Example], origin: Sequence[str]) -> tuple[Example, ...]:
    """The same examples, every image knowing its SHA-256.

    `origin` must change whenever an image may have changed: the stamps of the files, or the code that draws.
    Images of a new origin are read once, here. One that cannot be read has an identity that says so; UnreadableImage
    names the first where none can be read.
    """
    key = hashlib.sha256("\n".join(["2", *origin]).encode(errors="surrogatepass")).hexdigest()[:32]
    memory = f"images/{key}.json"
    shown = {id(example.images): example.images for example in examples}  # a tuple that examples share counts once
    names = [image.name for images in shown.values() for image in images]
    known = {name: digest for name, digest in recalled(memory).items() if isinstance(digest, str)}
    if not known.keys() >= set(names):
        known = {image.name: image.identity() for images in shown.values() for image in images}
        if set(known.values()) == {UNREADABLE}:  # no single image is damaged, the data set is
            examples[0].images[0].digest()
        if UNREADABLE not in known.values():  # what cannot be read now may be readable at the next start
            remember(memory, known)
    stamped = {
        place: tuple(replace(image, sha256=known[image.name]) for image in images) for place, images in shown.items()
    }
    return tuple(replace(example, images=stamped[id(example.images)]) for example in examples)


def file_stamp(path: Path) -> str:
    """Path, size, times of change and number of the file behind all links: no way of replacing it keeps all of them.

    That there is none, where it cannot be checked: whoever reads it says so. Waits until a later change must get a
    later time: up to two seconds after a change, where times are whole seconds.
    """
    try:
        path = path.resolve(strict=True)
        status = path.stat()
    except (OSError, RuntimeError):  # RuntimeError: a link that leads back to itself, before Python 3.13
        return f"{path} is not there"
    if not stat.S_ISREG(status.st_mode):
        return f"{path} is not a file"
    _let_the_clock_move_on(status.st_ctime_ns)
    return f"{path} {status.st_size} {status.st_mtime_ns} {status.st_ctime_ns} {status.st_dev} {status.st_ino}"


def _let_the_clock_move_on(changed_ns: int) -> None:
    tick_ns = _TICK_NS if changed_ns % 1_000_000_000 else _COARSE_TICK_NS
    left_ns = changed_ns + tick_ns - time.time_ns()
    if 0 < left_ns <= tick_ns:
        time.sleep(left_ns / 1e9)
