"""Links among the files of a local copy of a data set: how many lead out of its folder, or that none may."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

from compbench.core import disk, image_files
from compbench.core.errors import DataError
from compbench.core.examples import Task

__all__ = ["tell"]


def tell(task: Task, data: Path | str | None, say: Callable[[str], None]) -> None:
    """Say the notes of a task that was just read, and what there is to say of links among its files."""
    for note in task.notes:
        say(note)
    _look_at_links(task, data, say)


def _look_at_links(task: Task, data: Path | str | None, say: Callable[[str], None]) -> None:
    """Say how many of the task's image files lie outside `data` behind links; DataError where none may be followed.

    Hub caches are made of links, and a folder of links to a large store is common: they are followed, and what they
    end at is digested.
    """
    if data is None:
        return
    root = disk.expanded(data)
    real_root, folder_of = os.path.realpath(root), lru_cache(maxsize=None)(os.path.realpath)
    n_outside, n_files = 0, 0
    for path in _files(task):
        n_files += 1
        real = os.path.realpath(path) if path.is_symlink() else os.path.join(folder_of(path.parent), path.name)
        if not image_files.limits().follows_links and real != os.path.join(real_root, os.path.relpath(path, root)):
            raise DataError(
                f"{str(path)!r} is reached by a link to {real!r}, and links are not followed here; copy the files, or "
                "leave --no-follow-links out"
            )
        n_outside += not real.startswith(real_root + os.sep)
    if n_outside:
        say(f"{task.name}: {n_outside:,} of {n_files:,} image files are links that lead out of {str(root)!r}")


def _files(task: Task) -> list[Path]:
    return [image.source for each in task.examples for image in each.images if isinstance(image.source, Path)]
