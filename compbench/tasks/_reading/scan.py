"""Which files of a folder are pictures: by the ends of their names, else by how the files begin.

What an operating system leaves behind (._*, .DS_Store, Thumbs.db) is passed over; every other file that is not a
picture is reported to the caller, so that nothing vanishes without a word.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from compbench.core import disk
from compbench.core.errors import DataError
from compbench.core.plain_text import half_character
from compbench.tasks._reading.texts import is_lfs_pointer

__all__ = ["PICTURES", "Found", "files_below", "folders_in", "holds_pictures", "is_junk", "left_out", "pictures_below"]

PICTURES = frozenset(
    {".j2c", ".j2k", ".jp2", ".jpc", ".jpf", ".jpx"}
    | {".apng", ".avif", ".avifs", ".bmp", ".dib", ".gif", ".jfif", ".jpe", ".jpeg", ".jpg"}
    | {".pbm", ".pgm", ".png", ".pnm", ".ppm", ".tif", ".tiff", ".webp"}
)
_JUNK = frozenset({"__macosx", "thumbs.db", "ehthumbs.db", "desktop.ini", "@eadir", "$recycle.bin", "lost+found"})
_HIDDEN_JUNK = ("._", ".ds_store", ".git", ".cache", ".ipynb_checkpoints", ".directory", ".spotlight", ".trash", ".nfs")
_STARTS = (
    b"\xff\xd8\xff",
    b"\x89PNG\r\n\x1a\n",
    b"GIF87a",
    b"GIF89a",
    b"II*\0",
    b"MM\0*",
    b"\0\0\0\x0cjP  ",
    b"\xff\x4f\xff\x51",
)
_BMP_HEADERS = frozenset({12, 40, 52, 56, 64, 108, 124})  # sizes of the header that follows "BM" and 12 bytes
_SMALLEST_PICTURE = 200  # bytes; a pointer of Git LFS has about 130


@dataclass(frozen=True, slots=True)
class Found:
    """The pictures below a folder, by their paths relative to it, and what else is there."""

    pictures: Sequence[Path]
    others: Sequence[Path] = field(default_factory=list[Path])


def pictures_below(folder: Path) -> Found:
    """Every picture in a folder and in the folders below it; DataError for a Git LFS pointer in a picture's place."""
    pictures: list[Path] = []
    others: list[Path] = []
    for file in files_below(folder):
        is_shown = not file.name.startswith(".")
        (pictures if is_shown and _is_picture(file) else others).append(file)
    return Found(pictures, others)


def files_below(folder: Path, above: tuple[tuple[int, int], ...] = ()) -> Iterator[Path]:
    """The files in a folder and below it, in the order of their names; links are followed.

    DataError for a link that leads back to a folder above it, and for a name that is not UTF-8.
    """
    place = _identity(folder)
    if place in above:
        raise DataError(f"{str(folder)!r} is a link to a folder that holds it; remove the link")
    for entry in _entries(folder):
        path = folder / entry.name
        if _is_folder(entry):
            yield from files_below(path, (*above, place))
        else:
            yield path


def folders_in(folder: Path) -> list[Path]:
    """The folders in a folder, in the order of their names, but for what an operating system leaves behind."""
    return [folder / entry.name for entry in _entries(folder) if _is_folder(entry)]


def holds_pictures(folder: Path) -> bool:
    """Whether a picture lies in the folder itself."""
    files = (folder / entry.name for entry in _entries(folder) if not _is_folder(entry))
    return any(not file.name.startswith(".") and _is_picture(file) for file in files)


def is_junk(name: str) -> bool:
    """Whether a file or folder is known to be no data: what macOS, Windows or a tool left there."""
    return name.lower() in _JUNK or name.lower().startswith(_HIDDEN_JUNK)


def left_out(others: Sequence[Path], root: Path, what: str = "not pictures") -> tuple[str, ...]:
    """The note that some files were left out, by name; nothing where there are none."""
    if not others:
        return ()
    names = [file.relative_to(root).as_posix() for file in others[:3]]
    more = f" and {len(others) - 3} more" if len(others) > 3 else ""
    n_files = "1 file" if len(others) == 1 else f"{len(others)} files"
    return (f"{n_files} in {str(root)!r} left out, {what}: {', '.join(names)}{more}",)


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            found = sorted((entry for entry in entries if not is_junk(entry.name)), key=lambda present: present.name)
    except OSError as error:
        raise DataError(f"folder {str(folder)!r} cannot be read ({error.strerror}); copy it again") from error
    for present in found:
        if half_character(disk.text_of(present.name)):
            raise DataError(
                f"folder {str(folder)!r} has a name that is not UTF-8, {os.fsencode(present.name)!r}; rename it"
            )
    return found


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself: named when it is opened
        return False


def _identity(folder: Path) -> tuple[int, int]:
    try:
        status = folder.stat()
    except OSError as error:
        raise DataError(f"folder {str(folder)!r} cannot be read ({error.strerror}); copy it again") from error
    return status.st_dev, status.st_ino


def _is_picture(file: Path) -> bool:
    is_named = file.suffix.lower() in PICTURES
    try:
        is_small = file.is_file() and file.stat().st_size < _SMALLEST_PICTURE
    except OSError:
        return is_named
    if is_named and not is_small:
        return True
    start = _start(file)
    if is_lfs_pointer(start):
        raise DataError(f"{str(file)!r} is a Git LFS pointer, not the picture: run `git lfs pull` there")
    return is_named or _is_picture_start(start)


def _start(file: Path) -> bytes:
    if not file.is_file():  # a pipe or a device would wait for ever
        return b""
    try:
        with file.open("rb") as opened:
            return opened.read(32)
    except OSError:
        return b""


def _is_picture_start(start: bytes) -> bool:
    is_netpbm = len(start) > 2 and start[:1] == b"P" and start[1:2] in b"123456" and start[2:3].isspace()
    is_webp = start[:4] == b"RIFF" and start[8:12] == b"WEBP"
    is_bmp = start[:2] == b"BM" and int.from_bytes(start[14:18], "little") in _BMP_HEADERS
    is_avif = start[4:8] == b"ftyp" and start[8:12] in (b"avif", b"avis")
    return start.startswith(_STARTS) or is_netpbm or is_webp or is_bmp or is_avif
