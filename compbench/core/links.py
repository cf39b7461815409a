"""Links among the files of a data set: how many lead out of its folder, or that none may."""

from __future__ import annotations

import os
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

from compbench.core import image_files
from compbench.core.errors import DataError

__all__ = ["n_outside"]


def n_outside(files: Iterable[Path], root: Path) -> int:
    """The number of files that are below `root` by name but outside it once links are followed.

    Hub caches are made of links, and a folder of links to a large store is common: they are followed, and what they
    end at is digested. DataError names the first where links may not be followed.
    """
    real_root, folder_of = os.path.realpath(root), lru_cache(maxsize=None)(os.path.realpath)
    n_found = 0
    for path in files:
        real = os.path.realpath(path) if path.is_symlink() else os.path.join(folder_of(path.parent), path.name)
        if not image_files.limits().follows_links and real != os.path.join(real_root, os.path.relpath(path, root)):
            raise DataError(
                f"{str(path)!r} is reached by a link to {real!r}, and links are not followed here; copy the files, or "
                "leave --no-follow-links out"
            )
        n_found += not real.startswith(real_root + os.sep)
    return n_found
