"""Mutual exclusion of processes: a file lock by flock(2), or a marker beside it where the file system has no flock.

The operating system frees the lock of a process that dies. A marker stays behind; it counts as long as its process
lives on this host, or, on another host, as long as it was heard of in the last minutes: whoever holds a marker
touches it every few seconds. When that was is read on this host's clock, however far it is from the file system's.
"""

from __future__ import annotations

import errno
import json
import os
import secrets
import socket
import stat
import sys
import tempfile
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from compbench.core import disk
from compbench.core.errors import RunError

__all__ = ["BEAT_SECONDS", "Exclusion", "Heartbeat", "Holder", "changed_at", "holder_in"]

BEAT_SECONDS = 10.0
_LEASE_SECONDS = 600.0  # unheard of for so long, a process of another host counts as dead
_NO_FLOCK = {errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EINVAL, errno.EPERM}
_HELD = {errno.EAGAIN, errno.EWOULDBLOCK, errno.EACCES}
_MARKER = ".taken"
_EQUAL_SECONDS = 5.0  # clocks that differ by less are taken for the same: some file systems round to two seconds
_behind: dict[int, float] = {}  # device -> the seconds that the clock of its file system is behind this host's


@dataclass(frozen=True, slots=True)
class Holder:
    """A process that holds something, by its own words."""

    host: str
    pid: int
    since: str  # ISO 8601, UTC
    heard: float  # seconds since the epoch, by this host's clock

    @classmethod
    def here(cls) -> Holder:
        """This process, now."""
        return cls(socket.gethostname(), os.getpid(), datetime.now(UTC).isoformat(timespec="seconds"), time.time())

    def __str__(self) -> str:
        return f"process {self.pid} on host {self.host} since {self.since}"

    @property
    def is_here(self) -> bool:
        """Whether it runs, or ran, on this host."""
        return self.host == socket.gethostname()

    @property
    def lives(self) -> bool:
        """Whether it still runs; one on another host is believed to while it was heard of in the last minutes."""
        if not self.is_here:
            return time.time() - self.heard < _LEASE_SECONDS
        try:
            os.kill(self.pid, 0)
        except PermissionError:
            return True
        except OSError:
            return False
        return True

    @property
    def last_heard(self) -> str:
        """The time it was last heard of, in UTC, to the minute."""
        return datetime.fromtimestamp(self.heard, UTC).strftime("%Y-%m-%d %H:%M UTC")

    def to_json(self) -> dict[str, str | int]:
        """The words that a lock file holds on it."""
        return {"host": self.host, "pid": self.pid, "since": self.since}


def holder_in(path: Path) -> Holder | None:
    """The holder that a file names; None where it names none."""
    try:
        with path.open("rb") as file:
            status, words = os.fstat(file.fileno()), json.loads(file.read(4096).decode("utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    if not isinstance(words, dict):
        return None
    host, pid, since = words.get("host"), words.get("pid"), words.get("since")
    if not (isinstance(host, str) and isinstance(pid, int) and isinstance(since, str)):
        return None
    if isinstance(pid, bool) or not 0 < pid < 1 << 31:
        return None
    return Holder(host, pid, since, status.st_mtime if host == socket.gethostname() else changed_at(path, status))


def changed_at(path: Path, status: os.stat_result) -> float:
    """The time of a file's last change by this host's clock, where it may have been another's that stamped it."""
    if status.st_dev not in _behind:
        now = _time_of_a_change(path.parent)
        lag = 0.0 if now is None else time.time() - now
        _behind[status.st_dev] = lag if abs(lag) > _EQUAL_SECONDS else 0.0
    return status.st_mtime + _behind[status.st_dev]


def _time_of_a_change(folder: Path) -> float | None:
    """The time that the file system stamps a change with now; None where nothing can be written."""
    try:
        with tempfile.TemporaryFile(dir=folder) as file:  # without a name, where that can be
            file.write(b".")
            file.flush()
            return os.fstat(file.fileno()).st_mtime
    except OSError:
        return None


class Heartbeat:
    """Touches a file every few seconds, so that other hosts hear of its process."""

    def __init__(self, path: Path, seconds: float = BEAT_SECONDS) -> None:
        self._path, self._seconds, self._ended = path, seconds, threading.Event()
        self._thread = threading.Thread(target=self._beat, name="compbench-heartbeat", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._ended.set()
        self._thread.join()

    def _beat(self) -> None:
        while not self._ended.wait(self._seconds):
            with suppress(OSError):
                os.utime(self._path)


class Exclusion:
    """The lock on one file; `acquire` never waits."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._handle: int | None = None
        self._beat: Heartbeat | None = None
        self._marker = path.with_name(path.name + _MARKER)
        self.is_by_marker = False  # since the file system has no flock

    def acquire(self) -> bool:
        """Whether this process has it now; RunError where the lock is not a file."""
        handle = self._opened()
        try:
            is_mine = self._locked(handle)
            if is_mine:
                with suppress(OSError):  # for the message of those who wait
                    os.ftruncate(handle, 0)
                    os.lseek(handle, 0, os.SEEK_SET)
                    os.write(handle, json.dumps(Holder.here().to_json()).encode())
        except BaseException:
            os.close(handle)
            raise
        if not is_mine:
            os.close(handle)
            return False
        self._handle = handle
        return True

    def release(self) -> None:
        """Free it; nothing where it is not held."""
        if self._beat is not None:
            self._beat.stop()
            self._beat = None
            with suppress(OSError):
                self._marker.unlink()
        if self._handle is not None:
            os.close(self._handle)  # which frees the lock
            self._handle = None

    def is_free(self) -> bool:
        """Whether nobody has it at this moment."""
        if not self.path.exists():
            return True
        probe = Exclusion(self.path)
        is_free = probe.acquire()
        probe.release()
        return is_free

    def holder(self) -> Holder | None:
        """The process that has it, where that can be read."""
        return holder_in(self._marker) or holder_in(self.path)

    def _opened(self) -> int:
        flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOFOLLOW", 0)
        handle = os.open(self.path, flags | getattr(os, "O_NONBLOCK", 0), 0o666)
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            os.close(handle)
            raise RunError(f"{str(self.path)!r} is not a regular file, as a lock must be: remove it")
        return handle

    def _locked(self, handle: int) -> bool:
        try:
            is_mine = _flock(handle)
        except OSError as error:
            if error.errno not in _NO_FLOCK:
                raise
            self.is_by_marker = True
            return self._marked()
        other = holder_in(self._marker)  # of a host that has no flock on this file system
        return is_mine and (other is None or not other.lives)

    def _marked(self) -> bool:
        """Whether the marker is this process's now: made, or taken over from a process that died."""
        other = holder_in(self._marker)
        if other is not None and other.lives:
            return False
        own = self._aside()
        disk.write(own, json.dumps(Holder.here().to_json()).encode())
        try:
            for _ in range(2):
                if _linked(own, self._marker):
                    self._beat = Heartbeat(self._marker)
                    self._beat.start()
                    return True
                other = holder_in(self._marker)
                if other is not None and other.lives:
                    return False
                if other is None and self._marker.exists() and _age(self._marker) < _LEASE_SECONDS:
                    return False  # not to be read: it may be anybody's
                self._set_aside(other)
            return False
        finally:
            with suppress(OSError):
                own.unlink()

    def _set_aside(self, dead: Holder | None) -> None:
        """Remove the marker of a process that died, unless another process has just done so and made its own."""
        aside = self._aside()
        with suppress(OSError):
            self._marker.rename(aside)
            found = holder_in(aside)
            if found is not None and found != dead and found.lives:
                _linked(aside, self._marker)
            aside.unlink()

    def _aside(self) -> Path:
        return self._marker.with_name(f".{self._marker.name}-{secrets.token_hex(6)}")


def _flock(handle: int) -> bool:
    """Whether the file is locked by this process now; OSError where it cannot be locked at all."""
    if sys.platform == "win32":
        import msvcrt

        os.lseek(handle, 1 << 30, os.SEEK_SET)  # beyond what the file says of its holder
        try:
            msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
        except OSError as error:
            if error.errno in (*_HELD, errno.EDEADLK):
                return False
            raise
        return True
    import fcntl

    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in _HELD:
            return False
        raise
    return True


def _linked(source: Path, target: Path) -> bool:
    """Whether `target` was made, by this process alone; hard links are atomic everywhere, where there are any."""
    try:
        os.link(source, target)
    except FileExistsError:
        return False
    except OSError:
        return _made(target, source.read_bytes())
    return True


def _made(target: Path, content: bytes) -> bool:
    try:
        handle = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    except FileExistsError:
        return False
    with os.fdopen(handle, "wb") as file:
        file.write(content)
    return True


def _age(path: Path) -> float:
    try:
        return time.time() - changed_at(path, path.stat())
    except OSError:
        return 0.0
