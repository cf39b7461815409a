"""The files of a model, wherever they are, and the digest that names a local copy: of what a loader opens, no more.

A digest of a file is remembered by everything that changes with its contents: path, device, inode, size and both
times. A file that was touched within the last seconds is not remembered, since a second change could not be told.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterable, Iterator, Sequence
from io import BufferedReader
from pathlib import Path, PurePosixPath

from compbench.core import disk
from compbench.core.errors import DataError
from compbench.core.file_list import FileList, opened
from compbench.core.models import Source
from compbench.core.remembered import recalled, remember

__all__ = [
    "digest_of",
    "existing",
    "file_digest",
    "folder_digest",
    "former_digest",
    "local_digest",
]

_SETTLED_NS = 2_000_000_000  # the coarsest clock of a file system still in use
_MEMORY = "file-digests.json"


def existing(path: Path) -> Path:
    """The path without links; DataError where there is nothing."""
    path = disk.expanded(path)
    if not path.exists():
        raise DataError(f"no folder {str(path)!r}; expected a local copy of a model")
    return path.resolve()


def digest_of(folder: Path, names: Iterable[str]) -> str:
    """SHA-256 of the names and contents of some of a folder's files."""
    ordered = sorted(names, key=lambda name: PurePosixPath(name).parts)
    digests = _file_digests([folder / name for name in ordered])
    lines = [f"{name} {digest}" for name, digest in zip(ordered, digests, strict=True)]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def folder_digest(path: Path) -> str:
    """`digest_of` all files of a folder (or of one file), without hidden files and Markdown; links are followed."""
    path = existing(path)
    if path.is_file():
        return file_digest(path)
    return digest_of(path, (name for name in _walked(path) if _counts(name)))


def local_digest(source: Source) -> str:
    """`digest_of` the files that a loader opens of a local folder, or of the one file that it is."""
    place = existing(Path(source.repo))
    if source.opened is None or place.is_file():
        return folder_digest(place)
    return digest_of(place, source.opened(FileList.of_folder(place)))


def former_digest(source: Source) -> str | None:
    """The digest by which compbench 0.1 knew a local folder: of all its files, but of none behind a linked folder.

    None where it leaves out some of the files that are opened, or is the same digest as today's.
    """
    place = existing(Path(source.repo))
    if place.is_file():
        return None
    opened = _walked(place) if source.opened is None else source.opened(FileList.of_folder(place))
    found = (file.relative_to(place).as_posix() for file in place.rglob("*") if file.is_file())
    counted = {name for name in found if _counts(name)}
    return digest_of(place, counted) if counted.issuperset(filter(_counts, opened)) else None


def file_digest(path: Path) -> str:
    """SHA-256 of one file's contents."""
    return _file_digests([path])[0]


def _walked(folder: Path) -> Iterator[str]:
    """All files below a folder; a linked folder that holds itself is entered once."""
    stack: list[tuple[Path, frozenset[str]]] = [(folder, frozenset({os.path.realpath(folder)}))]
    while stack:
        place, above = stack.pop()
        try:
            entries = sorted(place.iterdir())
        except OSError as error:
            raise DataError(f"{str(place)!r} cannot be read ({error.strerror}); check its permissions") from error
        for entry in entries:
            if entry.is_file():
                yield entry.relative_to(folder).as_posix()
            elif entry.is_dir() and (real := os.path.realpath(entry)) not in above:
                stack.append((entry, above | {real}))


def _counts(name: str) -> bool:
    path = PurePosixPath(name)
    return path.suffix != ".md" and not any(part.startswith(".") for part in path.parts)


def _file_digests(paths: Sequence[Path]) -> list[str]:
    known: dict[str, list[int | str]] = {
        path: entry for path, entry in recalled(_MEMORY).items() if isinstance(entry, list) and len(entry) == 6
    }
    before = dict(known)
    digests = [_digest(path, known) for path in paths]
    if known != before:
        remember(_MEMORY, known)
    return digests


def _digest(path: Path, known: dict[str, list[int | str]]) -> str:
    entry = known.pop(str(path), None)
    with opened(path) as file:
        stamp, now = _stamp(file), time.time_ns()
        if entry is None or entry[:-1] != stamp:
            entry = [*stamp, hashlib.file_digest(file, "sha256").hexdigest()]
        is_settled = _stamp(file) == stamp and max(stamp[-2:]) < now - _SETTLED_NS
    if is_settled:
        known[str(path)] = entry
    return str(entry[-1])


def _stamp(file: BufferedReader) -> list[int]:
    return list(disk.stamp(os.fstat(file.fileno())))
