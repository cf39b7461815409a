"""Reads regular files of bounded size, and nothing that could block, never end or fill the memory."""

from __future__ import annotations

import errno
import io
import os
import stat
import zipfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from compbench.core import disk
from compbench.core._image_limits import limits
from compbench.core.errors import DataError

__all__ = ["MOST_BYTES", "opened", "read_file", "read_member"]

MOST_BYTES = 2**30  # of one encoded image, or of one member of an archive
_KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


@contextmanager
def opened(path: Path) -> Generator[io.BufferedReader]:
    """A regular file, or a link that ends at one; DataError for anything that could block or never end."""
    handle = _descriptor(path)
    with os.fdopen(handle, "rb") as file:
        yield file


def _descriptor(path: Path) -> int:
    where = repr(str(path))
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
    try:
        if not limits().follows_links and path.is_symlink():
            raise DataError(f"{where} is a link, and links are not followed here; copy the file, or follow links")
        _check_regular(os.stat(path), where)  # before it is opened: opening a device can do something
        handle = os.open(path, flags)
    except (OSError, ValueError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{where} cannot be opened ({_reason(error)}); check it, or copy it again") from error
    try:
        _check_regular(os.fstat(handle), where)
    except BaseException:
        os.close(handle)
        raise
    return handle


def _check_regular(status: os.stat_result, where: str) -> None:
    if not stat.S_ISREG(status.st_mode):
        kind = next((words for is_it, words in _KINDS if is_it(status.st_mode)), "something else")
        raise DataError(f"{where} is {kind}; expected a regular file")


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.errno == errno.ELOOP:
        return "its links form a loop"
    return str(getattr(error, "strerror", None) or error)


def read_file(path: Path, most: int = MOST_BYTES) -> bytes:
    """The bytes of a regular file; DataError for one of more than `most` bytes."""
    with opened(path) as file:
        return _bounded(file, os.fstat(file.fileno()).st_size, most, repr(str(path)))


def read_member(archive: zipfile.ZipFile, name: str, most: int = MOST_BYTES) -> bytes:
    """The bytes of a member; DataError for one of more than `most` bytes, whatever the archive says of its size."""
    where = f"member {name!r} of {str(archive.filename)!r}"
    with archive.open(name) as file:
        return _bounded(file, archive.getinfo(name).file_size, most, where)


def _bounded(file: IO[bytes], promised: int, most: int, where: str) -> bytes:
    content = disk.read_at_most(file.read, most + 1) if promised <= most else b""
    if promised > most or len(content) > most:
        size = max(promised, len(content))
        raise DataError(f"{where} has {size:,} bytes or more; expected at most {most:,}")
    return content
