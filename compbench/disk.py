"""Files that are whole or absent: written under another name, flushed to the disk, renamed."""

from __future__ import annotations

import errno
import json
import os
import tempfile
from collections.abc import Generator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from compbench.types import Json, RunError

__all__ = ["TEMPORARY", "append_line", "read_lines", "write", "write_json", "writing"]

TEMPORARY = ".partial-"  # a leading dot: pandas and pyarrow pass over such files in a folder
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_FORBIDDEN = {errno.EACCES, errno.EPERM, errno.EROFS}
_NO_FOLDER = {errno.ENOTDIR, errno.EEXIST, errno.ELOOP, errno.ENAMETOOLONG}


def write(path: Path, content: bytes | memoryview) -> None:
    """Put `content` at `path` at once: whoever looks sees the old file, none, or the whole new one."""
    handle, name = tempfile.mkstemp(prefix=TEMPORARY, dir=path.parent)
    partial = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        partial.chmod(0o666 & ~_umask())  # mkstemp makes files that nobody else may read
        partial.replace(path)
    except BaseException:
        with suppress(OSError):
            partial.unlink()
        raise
    _flush_folder(path.parent)


def write_json(path: Path, content: Mapping[str, Json]) -> None:
    """`write` for a JSON object."""
    write(path, (json.dumps(content, indent=1, ensure_ascii=False) + "\n").encode())


def append_line(path: Path, content: Mapping[str, Json]) -> None:
    """One JSON object as a line at the end of `path`; a line torn by a crash before it stays a line of its own."""
    with path.open("ab+") as file:
        is_torn = False
        if file.tell() > 0:
            file.seek(-1, os.SEEK_END)
            is_torn = file.read(1) != b"\n"
        file.write((b"\n" if is_torn else b"") + json.dumps(content, ensure_ascii=False).encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())


def read_lines(path: Path) -> list[dict[str, Json]]:
    """The JSON objects of a file of lines, without torn ones; none where there is no file."""
    lines: list[dict[str, Json]] = []
    with suppress(FileNotFoundError):
        for line in path.read_text(errors="replace").splitlines():
            with suppress(ValueError):
                lines.append(json.loads(line))
    return lines


@contextmanager
def writing(folder: Path) -> Generator[None]:
    """Whatever the disk refuses becomes a RunError that names `folder` and says what to do."""
    try:
        yield
    except OSError as error:
        raise RunError(f"cannot write to {str(folder)!r} ({error.strerror or error}): {_advice(error)}") from error


def _advice(error: OSError) -> str:
    if error.errno in _FULL:
        return "free some space, then give the same command again; what was stored stays"
    if error.errno in _FORBIDDEN:
        return "make it writable, or choose another place with --runs DIR"
    if error.errno in _NO_FOLDER:
        return "expected a folder; choose another place with --runs DIR"
    return "see to the disk, then give the same command again; what was stored stays"


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _flush_folder(folder: Path) -> None:
    """The rename itself reaches the disk, where folders can be flushed at all."""
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
