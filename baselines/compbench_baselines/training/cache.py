"""A cache of expensive results (trained models, features, generated pictures) in the user's cache folder.

A folder is named by the digest of all that decides its contents, and holds that as `about.json`. One process at a
time works in it; a second one waits and then finds the work done.
"""

from __future__ import annotations

import atexit
import errno
import hashlib
import shutil
import tempfile
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compbench.core import disk
from compbench.core.aliases import Json
from compbench.core.digests import digest_of
from compbench.core.errors import DataError, RunError
from compbench.core.exclusion import Exclusion
from compbench.core.printable import say as say_to_stderr
from compbench.core.remembered import cache_folder

__all__ = ["Arrays", "folder", "locked", "place", "writing"]

_SECONDS_BETWEEN_PARTS = 15.0
_POLL_SECONDS = 0.2
_NOWHERE = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR}
_MAX_WAITING_BYTES = 256 << 20


def place(kind: str, about: Mapping[str, Json]) -> Path:
    """Where the folder for what `about` decides would be: `$XDG_CACHE_HOME/compbench/KIND/DIGEST`."""
    return cache_folder() / kind / digest_of(about)


def folder(kind: str, about: Mapping[str, Json]) -> Path:
    """The folder for what `about` decides, made if there is none."""
    path = place(kind, about)
    try:
        return _made(path, about)
    except OSError as error:
        if error.errno not in _NOWHERE:
            raise RunError(
                f"cannot write to {str(path)!r} ({error.strerror or error}); expected a writable cache folder: "
                f"set XDG_CACHE_HOME to a place with room"
            ) from error
    return _made(_passing() / kind / path.name, about)


def _made(path: Path, about: Mapping[str, Json]) -> Path:
    path.mkdir(parents=True, exist_ok=True)
    if not (path / "about.json").is_file():
        disk.write_json(path / "about.json", about)
    return path


@cache
def _passing() -> Path:
    """A folder for this process alone, where the user has no cache folder that can be written."""
    path = Path(tempfile.mkdtemp(prefix="compbench-"))
    atexit.register(shutil.rmtree, path, ignore_errors=True)
    say_to_stderr(
        "no cache folder is writable, so the next process repeats this work; set XDG_CACHE_HOME to a place with room"
    )
    return path


@contextmanager
def locked(path: Path, say: Callable[[str], None]) -> Generator[None]:
    """Work in `path` alone; `say` hears when another process has to be waited for."""
    lock = Exclusion(path / "lock")
    with writing(path):
        if not lock.acquire():
            say(f"{lock.holder() or 'another process'} works in {str(path)!r}; waiting for it")
            while not lock.acquire():
                time.sleep(_POLL_SECONDS)
    try:
        yield
    finally:
        lock.release()


def writing(path: Path) -> AbstractContextManager[None]:
    """`disk.writing` for a folder of these."""
    return disk.writing(path, "XDG_CACHE_HOME")


class Arrays:
    """Arrays of one shape and dtype by name, on disk in parts that are written while they are made."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._where: dict[str, tuple[Path, int]] = {}  # name -> its part and its row there
        self._waiting: dict[str, NDArray[np.generic]] = {}
        self._flushed = time.monotonic()
        self._open: dict[Path, Any] = {}

    def count(self) -> int:
        """The number of entries kept."""
        self._look()
        return len(self._where)

    def lacking(self, names: Sequence[str]) -> list[str]:
        """Those that are not kept yet, each once; what another process has written meanwhile is found."""
        self._look()
        return [name for name in dict.fromkeys(names) if name not in self._where and name not in self._waiting]

    def add(self, names: Sequence[str], values: NDArray[np.generic]) -> None:
        """values: [n, ...]; written now and then, and at `flush`."""
        self._waiting.update(zip(names, values, strict=True))
        n_bytes = len(self._waiting) * values[0].nbytes if len(values) else 0
        if time.monotonic() - self._flushed > _SECONDS_BETWEEN_PARTS or n_bytes > _MAX_WAITING_BYTES:
            self.flush()

    def flush(self) -> None:
        """Everything that was added is on the disk."""
        if self._waiting:
            from safetensors.numpy import save  # here, so that a model can be listed where it is not installed

            names = list(self._waiting)
            part = self._path / f"{hashlib.sha256(''.join(names).encode()).hexdigest()[:16]}.safetensors"
            values = np.stack([self._waiting[name] for name in names])
            with writing(self._path):
                disk.write(part, save({"values": values}, metadata={"names": "\n".join(names)}))
            self._index(part)
            self._waiting.clear()
        self._flushed = time.monotonic()

    def read(self, names: Sequence[str]) -> NDArray[np.generic]:
        """[n, ...] in the order of `names`; read from the disk part by part."""
        rows: dict[Path, list[tuple[int, int]]] = {}
        values: dict[int, NDArray[np.generic]] = {}
        for number, name in enumerate(names):
            if name in self._waiting:
                values[number] = self._waiting[name]
            else:
                part, row = self._where[name]
                rows.setdefault(part, []).append((number, row))
        for part, wanted in rows.items():
            slices = self._opened(part).get_slice("values")
            values.update((number, slices[row]) for number, row in wanted)
        return np.stack([values[number] for number in range(len(names))])

    def _look(self) -> None:
        for part in sorted(set(self._path.glob("*.safetensors")) - self._open.keys()):
            self._index(part)

    def _opened(self, part: Path) -> Any:
        """The part, mapped into memory as long as this lives."""
        if part not in self._open:
            from safetensors import safe_open

            self._open[part] = safe_open(part, framework="numpy")
        return self._open[part]

    def _index(self, part: Path) -> None:
        from safetensors import SafetensorError

        try:
            names = self._opened(part).metadata()["names"].split("\n")
        except (OSError, KeyError, SafetensorError) as error:
            raise DataError(f"{str(part)!r} is damaged ({error}); delete it and it will be made again") from error
        self._where.update((name, (part, row)) for row, name in enumerate(names))
