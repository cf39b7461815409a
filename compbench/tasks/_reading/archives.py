"""Pictures beside a list that names them, in images.zip or in a folder `images`: which one is meant, and its bytes.

A picture is found by the name that the list gives. Its path counts as far as it is given, and where no file has that
name exactly, one that has it without its extension is taken if it is the only one.
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path, PurePosixPath

from compbench.core import image_files, regular_files
from compbench.core.errors import DataError
from compbench.tasks._reading.names import nfc
from compbench.tasks._reading.parquet_files import not_data
from compbench.tasks._reading.scan import files_below, is_junk
from compbench.tasks._reading.texts import is_lfs_pointer

__all__ = ["Pictures", "open_archive", "open_pictures"]

_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
_METHOD_NAMES = {9: "Deflate64", 93: "Zstandard", 95: "XZ", 98: "PPMd", 99: "AES encryption"}
_UTF8_NAME, _ENCRYPTED = 0x800, 0x1  # bits of a member's flags
_DAMAGE = (zipfile.BadZipFile, zlib.error, EOFError, OSError, NotImplementedError, RuntimeError, ValueError)


class Pictures:
    """The pictures of an archive or a folder, each read when its function is called."""

    def __init__(self, source: Path, readers: Mapping[str, Callable[[], bytes]], files: tuple[Path, ...]) -> None:
        """`readers` are by path within `source`, with "/" between folders; `files` is all that is read."""
        self.source, self.files = source, files
        self._readers = {nfc(path): read for path, read in readers.items()}
        self._by_name = _grouped(self._readers, lambda path: path.name)
        self._by_stem = _grouped(self._readers, lambda path: path.stem)

    def reader(self, wanted: object, where: str) -> Callable[[], bytes]:
        """The function that reads the picture `wanted`; DataError where there is none, or more than one."""
        if not isinstance(wanted, int | str) or isinstance(wanted, bool) or not str(wanted).strip():
            raise DataError(f"{where} is {wanted!r}; expected the name of a picture in {str(self.source)!r}")
        path = PurePosixPath(nfc(str(wanted).replace("\\", "/")))
        if str(path) in self._readers:
            return self._readers[str(path)]
        by_name, by_own_stem, by_stem = (
            [PurePosixPath(place) for place in found]
            for found in (
                self._by_name.get(path.name, ()),
                self._by_stem.get(path.name, ()),
                self._by_stem.get(path.stem, ()),
            )
        )
        for named in (
            [place for place in by_name if _ends_with(place, path)],
            [place for place in by_own_stem if _ends_with(place.with_suffix(""), path)],
            [place for place in by_stem if _ends_with(place.with_suffix(""), path.with_suffix(""))],
            by_name,
            by_own_stem,
            by_stem,
        ):
            if len(named) == 1:
                return self._readers[str(named[0])]
            if named:
                names = " and ".join(sorted(repr(str(place)) for place in named)[:3])
                raise DataError(
                    f"{where} is {wanted!r}, which is {names} in {str(self.source)!r}; expected a name that only one "
                    "of them has"
                )
        raise DataError(
            f"{where}: no image {wanted!r} in {str(self.source)!r} ({len(self._readers)} images); "
            "fetch or copy it again"
        )


def open_pictures(folder: Path) -> Pictures:
    """Open images.zip in `folder`, or its folder `images`; DataError where there is neither."""
    archive, loose = folder / "images.zip", folder / "images"
    if archive.is_file():
        return open_archive(archive)
    if loose.is_dir():
        files = tuple(files_below(loose))
        names = {file.relative_to(loose).as_posix(): file for file in files}
        readers = {
            name: image_files.Stored(partial(_read_loose, loose, file), repr(str(file))) for name, file in names.items()
        }
        return Pictures(loose, readers, files)
    raise DataError(
        f"examples without images in {str(folder)!r}: expected images.zip (or images/) beside examples.jsonl"
    )


def open_archive(archive: Path) -> Pictures:
    """The members of a zip, whatever they are; DataError where it is none."""
    try:
        with zipfile.ZipFile(archive) as file:
            members = [member for member in file.infolist() if not member.is_dir()]
    except _DAMAGE as error:
        raise DataError(f"{str(archive)!r} {not_data(archive)} ({error})") from error
    readers: dict[str, Callable[[], bytes]] = {}
    for member in members:
        path = _path_of(member)
        if any(is_junk(part) for part in PurePosixPath(path).parts):
            continue
        if path in readers:
            raise DataError(f"{str(archive)!r} holds {path!r} twice; expected one picture per name: pack it again")
        where = f"{path!r} in {str(archive)!r}"
        readers[path] = image_files.Stored(partial(_read_member, archive, member.filename, path), where)
    return Pictures(archive, readers, (archive,))


def _path_of(member: zipfile.ZipInfo) -> str:
    """The member's path: with "/" whatever the packer wrote, in UTF-8 where it is UTF-8 and not marked as such."""
    name = member.filename
    if not member.flag_bits & _UTF8_NAME and not name.isascii():
        with suppress(UnicodeError):  # then it is what the standard says, code page 437
            name = name.encode("cp437").decode("utf-8")
    return name.replace("\\", "/").removeprefix("./")


def _check_is_readable(archive: Path, member: zipfile.ZipInfo, path: str) -> None:
    """DataError for a member that no damage keeps from being read, but its packer."""
    if member.flag_bits & _ENCRYPTED:
        raise DataError(f"image {path!r} in {str(archive)!r} is encrypted; pack the images without a password")
    if member.compress_type not in _METHODS:
        method = _METHOD_NAMES.get(member.compress_type, f"method {member.compress_type}")
        raise DataError(
            f"image {path!r} in {str(archive)!r} is packed with {method}, which cannot be read; pack the images with "
            "Deflate, or unpack them into a folder images/"
        )


def _read_member(archive: Path, name: str, path: str) -> bytes:
    # opened again each time: an open archive cannot be shared with worker processes
    try:
        with zipfile.ZipFile(archive) as file:
            _check_is_readable(archive, file.getinfo(name), path)
            content = regular_files.read_member(file, name)
    except DataError:
        raise
    except (*_DAMAGE, KeyError) as error:
        raise DataError(f"image {path!r} in {str(archive)!r} cannot be read ({error}); copy it again") from error
    return _checked(content, path, archive)


def _read_loose(folder: Path, file: Path) -> bytes:
    name = file.relative_to(folder).as_posix()
    try:
        content = regular_files.read_file(file)
    except DataError as error:
        raise DataError(f"image {name!r} in {str(folder)!r} cannot be read ({error}); copy it again") from error
    return _checked(content, name, folder)


def _checked(content: bytes, name: str, source: Path) -> bytes:
    if is_lfs_pointer(content):
        raise DataError(
            f"image {name!r} in {str(source)!r} is a Git LFS pointer, not the image: run `git lfs pull` where it was "
            "copied from"
        )
    return content


def _grouped(paths: Iterable[str], key: Callable[[PurePosixPath], str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for path in paths:
        found.setdefault(key(PurePosixPath(path)), []).append(path)
    return found


def _ends_with(path: PurePosixPath, wanted: PurePosixPath) -> bool:
    """Whether the last parts of a path are those that are wanted."""
    return path.parts[-len(wanted.parts) :] == wanted.parts
