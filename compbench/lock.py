"""Who may measure a run: one process, or several that each have a shard of it.

A process holds the file "lock", or "lock-2-of-3" for its shard, as long as it measures; the operating system frees
the lock of a process that dies. What is written, it writes while it also holds "write.lock", for moments only.
Locks are those of flock(2): on a network drive they hold between machines where the drive passes them on, as NFS 4,
Lustre mounted with `flock` and GPFS do. Where it does not, nothing stops two processes from taking the same shard:
both would measure the same, and the later part of each pair would count.
"""

from __future__ import annotations

import json
import os
import re
import socket
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

import filelock

from compbench import disk
from compbench.shards import Shard
from compbench.types import Json, RunError

__all__ = ["Guard", "is_held", "is_shared", "locked"]

_WHOLE = "lock"  # beside each lock stands who holds it, for the message: "lock.json", "lock-2-of-3.json"
_SHARD = re.compile(r"lock-(\d+)-of-(\d+)")
_PATIENCE_SECONDS = 3_600.0  # most of what is done under the guard takes milliseconds; settling a large race, minutes


class Guard:
    """Alone with the files of a run for the moment of a change; a process may enter again what it has entered."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = filelock.FileLock(folder / "write.lock", timeout=_PATIENCE_SECONDS, thread_local=False)

    @contextmanager
    def __call__(self) -> Generator[None]:
        with disk.writing(self._folder):
            try:
                self._lock.acquire()
            except filelock.Timeout:
                raise RunError(
                    f"another process has been writing to run {str(self._folder)!r} for {_PATIENCE_SECONDS:.0f} "
                    "seconds: see to it (is it stopped?), then give the same command again"
                ) from None
        try:
            yield
        finally:
            self._lock.release()


@contextmanager
def locked(folder: Path, say: Callable[[str], None], shard: Shard | None = None) -> Generator[None]:
    """Hold the run in `folder`, or a shard of it; RunError names the host and the process that are in the way.

    The whole run excludes every shard, a shard itself and all of another number of shards, which would overlap.
    """
    with disk.writing(folder), Guard(folder)():
        lock = _acquired(folder, shard)
        try:
            _take_over(folder, shard, say)
        except BaseException:
            lock.release()
            raise
    try:
        yield
    finally:
        with suppress(OSError):
            _holder_path(folder, _name(shard)).unlink()
        lock.release()


def is_held(folder: Path) -> bool:
    """Whether a process that locked the run or a shard still lives; one on another host is taken to live."""
    return any(_lives(holder) for name in (_WHOLE, *_shards(folder)) if (holder := _holder(folder, name)) is not None)


def is_shared(folder: Path, shard: Shard | None) -> bool:
    """Whether other shards than `shard` are held; to be asked under the guard."""
    return any(_is_locked(folder / name) for name in _shards(folder) if name != _name(shard))


def _acquired(folder: Path, shard: Shard | None) -> filelock.BaseFileLock:
    """The lock; under the guard, so that looking at the others' locks takes them from nobody."""
    for name in _excluded_by(folder, shard):
        if _is_locked(folder / name):
            raise RunError(_refusal(folder, name, shard))
    lock = filelock.FileLock(folder / _name(shard), timeout=0, thread_local=False)
    try:
        lock.acquire()
    except filelock.Timeout:
        raise RunError(_refusal(folder, _name(shard), shard)) from None
    return lock


def _excluded_by(folder: Path, shard: Shard | None) -> list[str]:
    """The locks beside its own that must be free."""
    if shard is None:
        return _shards(folder)
    return [_WHOLE, *(name for name in _shards(folder) if not name.endswith(f"-of-{shard.count}"))]


def _is_locked(path: Path) -> bool:
    if not path.exists():
        return False
    try:
        with filelock.FileLock(path, timeout=0):
            return False
    except filelock.Timeout:
        return True


def _take_over(folder: Path, shard: Shard | None, say: Callable[[str], None]) -> None:
    for name in (_name(shard), *_excluded_by(folder, shard)):
        if (dead := _holder(folder, name)) is not None:
            say(f"going on with a run that process {dead['pid']} on {dead['host']} left unfinished")
            _holder_path(folder, name).unlink(missing_ok=True)
    now = datetime.now(UTC).isoformat(timespec="seconds")
    holder: dict[str, Json] = {"host": socket.gethostname(), "pid": os.getpid(), "since": now}
    disk.write_json(_holder_path(folder, _name(shard)), holder)


def _refusal(folder: Path, name: str, shard: Shard | None) -> str:
    holder = _holder(folder, name)
    who = "another process"
    if holder is not None:
        who = f"process {holder['pid']} on host {holder['host']} since {holder['since']}"
    wait = "wait for it, or stop it and give the same command again"
    held = _SHARD.fullmatch(name)
    if held is None:
        return f"run {str(folder)!r} is being measured by {who}: {wait}"
    what = f"shard {held[1]}/{held[2]} of run {str(folder)!r} is being measured by {who}"
    if shard is None:
        return f"{what}, and the whole of it cannot be at the same time: {wait}"
    if str(shard) != f"{held[1]}/{held[2]}":
        return f"{what}, and shard {shard} would overlap with it: give --shard k/{held[2]}, or {wait}"
    return f"{what}: {wait}"


def _name(shard: Shard | None) -> str:
    return _WHOLE if shard is None else f"lock-{shard.number}-of-{shard.count}"


def _shards(folder: Path) -> list[str]:
    """The names of the locks of shards, held or not."""
    return sorted({found[0] for path in folder.glob("lock-*") if (found := _SHARD.match(path.name))})


def _holder_path(folder: Path, name: str) -> Path:
    return folder / f"{name}.json"


def _holder(folder: Path, name: str) -> dict[str, Json] | None:
    try:
        holder = json.loads(_holder_path(folder, name).read_text())
    except (OSError, ValueError):
        return None
    return holder if isinstance(holder, dict) and {"host", "pid", "since"} <= holder.keys() else None


def _lives(holder: dict[str, Json]) -> bool:
    if holder["host"] != socket.gethostname():
        return True
    try:
        os.kill(int(str(holder["pid"])), 0)
    except PermissionError:
        return True
    except (OSError, ValueError):
        return False
    return True
