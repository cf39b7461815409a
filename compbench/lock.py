"""One process at a time measures a run. The operating system frees the lock of a process that dies."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

import filelock

from compbench import disk
from compbench.types import Json, RunError

__all__ = ["is_held", "locked"]

_HOLDER = "lock.json"  # who holds the lock, for the message; the lock itself is the file "lock"


@contextmanager
def locked(folder: Path, say: Callable[[str], None]) -> Generator[None]:
    """Hold the run in `folder`; RunError names the host and the process that hold it already."""
    lock = filelock.FileLock(folder / "lock", timeout=0, thread_local=False)
    with disk.writing(folder):
        try:
            lock.acquire()
        except filelock.Timeout:
            raise RunError(_refusal(folder)) from None
    try:
        with disk.writing(folder):
            _take_over(folder, say)
        yield
    finally:
        with suppress(OSError):
            (folder / _HOLDER).unlink()
        lock.release()


def is_held(folder: Path) -> bool:
    """Whether the process that last locked the run still lives; one on another host is taken to live."""
    holder = _holder(folder)
    if holder is None:
        return False
    if holder["host"] != socket.gethostname():
        return True
    try:
        os.kill(int(str(holder["pid"])), 0)
    except PermissionError:
        return True
    except (OSError, ValueError):
        return False
    return True


def _take_over(folder: Path, say: Callable[[str], None]) -> None:
    if (dead := _holder(folder)) is not None:
        say(f"going on with a run that process {dead['pid']} on {dead['host']} left unfinished")
    now = datetime.now(UTC).isoformat(timespec="seconds")
    disk.write_json(folder / _HOLDER, {"host": socket.gethostname(), "pid": os.getpid(), "since": now})


def _refusal(folder: Path) -> str:
    holder = _holder(folder)
    who = "another process"
    if holder is not None:
        who = f"process {holder['pid']} on host {holder['host']} since {holder['since']}"
    return f"run {str(folder)!r} is being measured by {who}: wait for it, or stop it and give the same command again"


def _holder(folder: Path) -> dict[str, Json] | None:
    try:
        holder = json.loads((folder / _HOLDER).read_text())
    except (OSError, ValueError):
        return None
    return holder if isinstance(holder, dict) and {"host", "pid", "since"} <= holder.keys() else None
