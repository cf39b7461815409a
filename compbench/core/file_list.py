"""The files of a model's repository by name, wherever it is, with the contents of the small ones."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import Any

from compbench.core import disk
from compbench.core.errors import DataError

__all__ = ["FileList", "opened"]

_MAX_JSON_BYTES = 64 << 20  # a configuration, a list of shards: real ones are below 1 MB


@dataclass(frozen=True, slots=True)
class FileList:
    """The names of a repository's files, relative to it and with "/", and the contents of the small ones."""

    where: str  # as a message names it
    names: frozenset[str]
    read: Callable[[str], bytes]
    sizes: dict[str, int] | None = None  # bytes by name, where the hub told
    is_whole: bool = True  # False: what a cache holds of a repository that could not be asked
    lost: frozenset[str] = frozenset()  # links that lead to no file, as where a cache was pruned

    @classmethod
    def of_folder(cls, folder: Path) -> FileList:
        """The files of a folder and of its direct subfolders, as deep as any layout goes; links are followed."""

        def read(name: str) -> bytes:
            with opened(folder / name) as file:
                return disk.read_at_most(file.read, _MAX_JSON_BYTES + 1)

        paths = {path.relative_to(folder).as_posix(): path for path in _paths(folder)}
        names = frozenset(name for name, path in paths.items() if path.is_file())
        lost = frozenset(name for name, path in paths.items() if name not in names and path.is_symlink())
        return cls(str(folder), names, read, lost=lost)

    def json(self, name: str) -> dict[str, Any]:
        """The JSON object in a file; DataError where it is none."""
        content = self.read(name)
        if len(content) > _MAX_JSON_BYTES:
            raise DataError(
                f"{name} of {self.where!r} is larger than {_MAX_JSON_BYTES >> 20} MB; expected a small JSON"
            )
        try:
            value: Any = json.loads(content)
        except (ValueError, RecursionError) as error:
            raise DataError(f"{name} of {self.where!r} is not JSON ({error}); fetch or copy it again") from error
        if not isinstance(value, dict):
            raise DataError(f"{name} of {self.where!r} holds a {type(value).__name__}; expected a JSON object")
        return value  # pyright: ignore[reportUnknownVariableType]


def opened(path: Path) -> BufferedReader:
    """A regular file opened for reading; DataError where it is none."""
    if path.exists() and not path.is_file():
        raise DataError(f"{str(path)!r} is not a regular file; expected a file of a model")
    try:
        return path.open("rb")
    except OSError as error:
        raise DataError(f"{str(path)!r} cannot be read ({error.strerror}); copy it again") from error


def _paths(folder: Path) -> Iterator[Path]:
    try:
        for entry in sorted(folder.iterdir()):
            if entry.is_dir() and not entry.name.startswith("."):
                yield from (path for path in sorted(entry.iterdir()) if not path.is_dir())
            elif not entry.is_dir():
                yield entry
    except OSError as error:
        raise DataError(f"{str(folder)!r} cannot be read ({error.strerror}); check its permissions") from error
