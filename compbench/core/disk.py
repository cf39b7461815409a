"""Files that are whole or absent: written under another name, flushed to the disk, renamed.

File systems that have no owners, cannot flush a folder or refuse a rename are written to as well as they allow.
"""

from __future__ import annotations

import errno
import json
import os
import re
import secrets
import stat
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from compbench.core.errors import RunError, UsageError

if TYPE_CHECKING:
    from compbench.core.aliases import Json

__all__ = [
    "TEMPORARY",
    "append_line",
    "aside",
    "expanded",
    "flush",
    "given",
    "is_file",
    "output",
    "read_at_most",
    "stamp",
    "text_of",
    "write",
    "write_json",
    "writing",
]

_PART = 1 << 20  # bytes
TEMPORARY = ".partial-"  # a leading dot: pandas and pyarrow pass over such files in a folder
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_FORBIDDEN = {errno.EACCES, errno.EPERM, errno.EROFS}
_NO_FOLDER = {errno.ENOTDIR, errno.EEXIST}
_CANNOT_FLUSH = {errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EPERM, errno.EACCES, errno.EBADF}
_CANNOT_RENAME = {errno.EACCES, errno.EPERM, errno.EBUSY, errno.EXDEV}  # a file mounted alone, a folder of others
_DESCRIPTORS = {"stdin": 0, "stdout": 1, "stderr": 2}
_DESCRIPTOR = re.compile(r"/dev/(stdin|stdout|stderr)|(?:/dev|/proc/self)/fd/(\d+)")


def expanded(path: Path | str) -> Path:
    """The path with `~` as the home folder, as a shell would give it; UsageError where there is no home folder."""
    found = Path(os.path.expanduser(path))
    if found.parts[:1] == ("~",):
        raise UsageError(f"{str(path)!r} begins with ~, and this user has no home folder: give the full path")
    return found


def given(path: Path | str | None) -> Path | None:
    """`expanded` for what may be left out."""
    return None if path is None else expanded(path)


def stamp(status: os.stat_result) -> tuple[int, int, int, int, int]:
    """Device, inode, size and both times of a file: whoever changes or replaces it changes one of them."""
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def text_of(name: str) -> str:
    """The name of a file as text: its bytes are UTF-8 where they can be, whatever the locale took them for."""
    try:
        return os.fsencode(name).decode("utf-8")
    except UnicodeError:
        return name


def is_file(path: Path) -> bool:
    """Whether there is such a file; False also where no file could have this name."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def read_at_most(read: Callable[[int], bytes], most: int) -> bytes:
    """At most `most` bytes from the `read` of an open file, without allocating more memory than needed."""
    parts: list[bytes] = []
    while most > 0 and (part := read(min(most, _PART))):  # read(most) would take `most` bytes first
        parts.append(part)
        most -= len(part)
    return b"".join(parts)


def write(path: Path, content: bytes | memoryview) -> None:
    """Put `content` at `path` at once: whoever looks sees the old file, none, or the whole new one."""
    partial = aside(path.parent, content)
    try:
        partial.replace(path)
    except BaseException:
        with suppress(OSError):
            partial.unlink()
        raise
    flush(path.parent)


def aside(folder: Path, content: bytes | memoryview, mark: str = "") -> Path:
    """A new file of `content` on the disk, under a name that readers pass over; whoever renames it flushes its folder.

    `mark` stands in the name.
    """
    partial = folder / f"{TEMPORARY}{mark}{secrets.token_hex(6)}"
    # made with the mode it keeps, since some file systems refuse chmod
    handle = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o666)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            _flush(file.fileno())
    except BaseException:
        with suppress(OSError):
            partial.unlink()
        raise
    return partial


def output(path: Path, content: bytes) -> None:
    """Put a result where a user wants it: a regular file is replaced whole or not at all, all else is written to.

    A link stays a link, and what it leads to is written. A pipe, a terminal or another device is never replaced.
    """
    if found := _DESCRIPTOR.fullmatch(str(path)):
        number = _DESCRIPTORS[found[1]] if found[1] else int(found[2])
        with os.fdopen(os.dup(number), "wb") as file:
            file.write(content)
        return
    target = Path(os.path.realpath(path))
    try:
        mode = target.stat().st_mode
    except FileNotFoundError:
        write(target, content)
        return
    if stat.S_ISREG(mode) and _replaced(target, content, stat.S_IMODE(mode)):
        return
    with path.open("wb") as file:
        file.write(content)


def write_json(path: Path, content: Mapping[str, Json]) -> None:
    """`write` for a JSON object."""
    write(path, _encoded(content, indent=1))


def append_line(path: Path, content: Mapping[str, Json], *, is_flushed: bool = True) -> None:
    """Append a JSON object to `path` as a line; a line torn by an earlier crash stays a line of its own.

    `is_flushed`: on the disk when this returns; else after `flush`.
    """
    with path.open("ab+") as file:
        is_torn = False
        if file.tell() > 0:
            file.seek(-1, os.SEEK_END)
            is_torn = file.read(1) != b"\n"
        file.write((b"\n" if is_torn else b"") + _encoded(content))
        file.flush()
        if is_flushed:
            _flush(file.fileno())


@contextmanager
def writing(folder: Path, option: str = "--runs DIR") -> Generator[None]:
    """Whatever the disk refuses becomes a RunError that names `folder` and the `option` that chooses another."""
    try:
        yield
    except OSError as error:
        raise RunError(
            f"cannot write to {str(folder)!r} ({error.strerror or error}): {_advice(error, option)}"
        ) from error


def _advice(error: OSError, option: str) -> str:
    if error.errno in _FULL:
        return "free some space, then rerun the command; stored measurements are kept"
    if error.errno in _FORBIDDEN:
        return f"make it writable, or choose another place with {option}"
    if error.errno in _NO_FOLDER:
        return f"expected a folder; choose another place with {option}"
    if error.errno == errno.ELOOP:
        return f"{error.filename!r} is a symbolic link; expected a file of its own: remove the link"
    if error.errno == errno.ENAMETOOLONG:
        return f"expected names of at most 255 bytes; choose another place with {option}"
    return "check the disk, then rerun the command; stored measurements are kept"


def _encoded(content: Mapping[str, Json], indent: int | None = None) -> bytes:
    """JSON in UTF-8; a text that UTF-8 cannot hold, as the name of a file may be, stands as escapes."""
    try:
        return (json.dumps(content, indent=indent, ensure_ascii=False) + "\n").encode("utf-8")
    except UnicodeEncodeError:
        return (json.dumps(content, indent=indent) + "\n").encode("ascii")


def _replaced(target: Path, content: bytes, mode: int) -> bool:
    """Whether the file could be replaced by a new one of the same mode; else it has to be written in place."""
    try:
        write(target, content)
    except OSError as error:
        if error.errno in _CANNOT_RENAME and os.access(target, os.W_OK):
            return False
        raise
    with suppress(OSError):
        target.chmod(mode)
    return True


def _flush(handle: int) -> None:
    """Flush to the disk, where the file system can."""
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in _CANNOT_FLUSH:
            raise


def flush(path: Path) -> None:
    """Flush a file, or the renames in a folder, to the disk, where it can be opened and flushed at all."""
    if os.name != "posix":
        return
    try:
        handle = os.open(path, os.O_RDONLY)
    except OSError:  # one that may be written to and not be read
        return
    try:
        _flush(handle)
    finally:
        os.close(handle)


def slug(name: str, otherwise: str = "_") -> str:
    """A name as one component of a path, readable and never "." or ".."; `otherwise` where nothing of it is left."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip(".-")[:80] or otherwise
