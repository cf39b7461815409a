"""The pictures beside a manifest, by the names it gives: none outside its folder, each looked at once, none decoded."""

from __future__ import annotations

import os
import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from compbench.core import disk, image_files
from compbench.core.errors import DataError, UnreadableImage
from compbench.tasks._reading.names import nfc
from compbench.tasks._reading.texts import check_text

__all__ = ["Picture", "Pictures"]

_DRIVE = re.compile(r"[A-Za-z]:")
_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")


@dataclass(frozen=True, slots=True)
class Picture:
    """The result of looking up a picture's name: the file, and what is wrong with it."""

    name: str  # composed, with "/" between folders
    path: Path | None = None  # None: there is none
    fault: str = ""


@dataclass(slots=True)
class Pictures:
    """The pictures in and below a folder."""

    folder: Path
    formats: Counter[str] = field(default_factory=Counter[str])
    sizes: set[tuple[int, int]] = field(default_factory=set[tuple[int, int]])  # width, height
    _known: dict[str, Picture] = field(default_factory=dict[str, Picture])
    _seen: dict[Path, Picture] = field(default_factory=dict[Path, Picture])
    _names: set[str] = field(default_factory=set[str])
    _digests: dict[Path, str] = field(default_factory=dict[Path, str])
    _listed: dict[Path, dict[str, list[str]]] = field(default_factory=dict[Path, dict[str, list[str]]])

    def get(self, wanted: str) -> Picture:
        """The picture of this name; two spellings of a name give one picture."""
        if wanted not in self._known:
            self._known[wanted] = self._look(wanted)
        return self._known[wanted]

    def paths(self) -> list[Path]:
        """The files of all that were asked for and are there."""
        return list(self._seen)

    def are_copies(self, first: Path, second: Path) -> bool:
        """Whether two files hold the same bytes; they are read only where they are of one size."""
        try:
            if first.stat().st_size != second.stat().st_size:
                return False
            return self._digest(first) == self._digest(second)
        except (OSError, DataError):  # what cannot be read is told as such
            return False

    def _digest(self, path: Path) -> str:
        if path not in self._digests:
            self._digests[path] = image_files.digest(path)
        return self._digests[path]

    def _look(self, wanted: str) -> Picture:
        name = wanted.strip().replace("\\", "/")
        if fault := _why_outside(name):
            return Picture(name, fault=f"{fault}: {_shown(wanted)}")
        path = self._found(wanted) or self._found(name)
        if path is None:
            return Picture(name, fault=self._missing(name))
        if path not in self._seen:
            self._seen[path] = self._opened(path)
        return self._seen[path]

    def _opened(self, path: Path) -> Picture:
        own = disk.text_of(path.relative_to(self.folder).as_posix())
        name = own if nfc(own) in self._names else nfc(own)  # two files may differ in nothing but that
        self._names.add(name)
        try:
            header = image_files.header(name, path)
        except UnreadableImage as error:
            return Picture(name, path, str(error))
        self.formats[header.format] += 1
        self.sizes.add((header.width, header.height))
        return Picture(name, path)

    def _found(self, name: str) -> Path | None:
        """The file of this name, however its accents are composed."""
        path = self.folder
        for part in [part for part in name.split("/") if part not in ("", ".")]:
            spellings = self._names_in(path).get(nfc(part), [])
            if not spellings:
                return None
            path = path / (part if part in spellings else spellings[0])
        return None if path == self.folder else path

    def _names_in(self, folder: Path) -> dict[str, list[str]]:
        """Composed name -> the names of a folder; empty where it is not a folder."""
        if folder not in self._listed:
            names: dict[str, list[str]] = {}
            try:
                for name in os.listdir(folder):
                    names.setdefault(nfc(name), []).append(name)
            except (OSError, ValueError):
                names = {}
            self._listed[folder] = names
        return self._listed[folder]

    def _missing(self, name: str) -> str:
        where = str(self.folder)
        folder = self._found(name.rpartition("/")[0]) if "/" in name else self.folder
        if folder is None:
            return f"no file {_shown(name)} in {where!r}"
        last = nfc(name.rpartition("/")[2]).casefold()
        close = [
            found
            for found in self._names_in(folder)
            if last in (found.casefold(), Path(found).stem.casefold()) or Path(last).stem == Path(found).stem.casefold()
        ]
        hint = f"; did you mean {disk.text_of(min(close))!r}?" if close else ""
        return f"no file {_shown(name)} in {where!r}{hint}"


def _why_outside(name: str) -> str:
    """The reason why a name cannot be that of a file in the folder; "" where it can."""
    if not name:
        return "expected the name of a picture"
    try:
        check_text(name, "the name of the picture")
    except ValueError as error:
        return str(error)
    if _ADDRESS.match(name):
        return "expected the name of a file, not an address; fetch the picture and name its file"
    if name.startswith("/") or _DRIVE.match(name):
        return "expected a name relative to the manifest's folder, not an absolute path"
    if ".." in name.split("/"):
        return "leads out of the manifest's folder; expected a file in it"
    return ""


def _shown(name: str) -> str:
    return repr(name if len(name) <= 120 else name[:120] + "...")
