"""Locks on measuring a run: by one process, or by several that each have a shard of it.

A process holds the file "lock", or "lock-2-of-3" for its shard, as long as it measures; the operating system frees
the lock of a process that dies. What is written, it writes while it also holds "write.lock", for moments only.
Locks are those of exclusion.py: on a network drive they hold between machines where the drive passes flock(2) on, as
NFS 4, Lustre mounted with `flock` and GPFS do. Where it does not, what each holder says of itself beside its lock
stands in: it touches that every few seconds, and a process that still does is never taken over.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from compbench.core import disk
from compbench.core.aliases import Json
from compbench.core.errors import RunError
from compbench.core.exclusion import BEAT_SECONDS, Exclusion, Heartbeat, Holder, holder_in
from compbench.core.printable import say as say_to_stderr
from compbench.store.shards import Shard, words_for_an_array

__all__ = ["WAIT_SECONDS", "Guard", "HeldRun", "holder_elsewhere", "is_held", "is_shared", "left_behind", "locked"]

WAIT_SECONDS = 3_600.0  # most writes hold write.lock for milliseconds; settling a large race, for minutes
_WHOLE = "lock"  # beside each lock stands who holds it, for the message: "lock.json", "lock-2-of-3.json"
_SHARD = re.compile(r"lock-(\d+)-of-(\d+)")
_SILENCE_SECONDS = 4.5 * BEAT_SECONDS  # after so long without a beat a process of another host is dead
_TELL_AFTER_SECONDS, _TELL_EVERY_SECONDS = 3.0, 60.0
_POLL_SECONDS = 0.05
_told_of_markers: set[Path] = set()


class HeldRun(RunError):
    """A run, or a shard of it, that another process measures."""


class Guard:
    """Alone with the files of a run for the moment of a change; a process may enter again what it has entered.

    Another process that is inside is waited for up to `wait` seconds, and named to `say` after a few.
    """

    def __init__(self, folder: Path, say: Callable[[str], None] = say_to_stderr, wait: float = WAIT_SECONDS) -> None:
        self._folder, self._say, self._wait, self._depth = folder, say, wait, 0
        self._lock = Exclusion(folder / "write.lock")

    @contextmanager
    def __call__(self) -> Generator[None]:
        if self._depth == 0:
            with disk.writing(self._folder):
                self._enter()
        self._depth += 1
        try:
            yield
        finally:
            self._depth -= 1
            if self._depth == 0:
                self._lock.release()

    def _enter(self) -> None:
        began, next_told = time.monotonic(), _TELL_AFTER_SECONDS
        while not self._lock.acquire():
            waited = time.monotonic() - began
            who = str(self._lock.holder() or "another process")
            if waited >= self._wait:
                raise RunError(
                    f"{who} is writing to run {str(self._folder)!r}, and {self._wait:g} seconds of waiting have "
                    "passed: check it (is it stopped?), then rerun the command; --wait SECONDS waits longer"
                )
            if waited >= next_told:
                self._say(f"waiting for {who}, which is writing to run {str(self._folder)!r}")
                next_told = waited + _TELL_EVERY_SECONDS
            time.sleep(min(_POLL_SECONDS, max(0.0, self._wait - waited)))
        if self._lock.is_by_marker and self._folder not in _told_of_markers:
            _told_of_markers.add(self._folder)
            self._say(
                f"the file system of {str(self._folder)!r} has no file locks: files ending in .taken keep other "
                f"processes out instead"
            )


@contextmanager
def locked(
    folder: Path,
    say: Callable[[str], None],
    shard: Shard | None = None,
    asked: Mapping[str, Json] | None = None,
    wait: float = WAIT_SECONDS,
) -> Generator[None]:
    """Hold the run in `folder`, or a shard of it; RunError names the host and the process that are in the way.

    The whole run excludes every shard, a shard itself and all of another number of shards, which would overlap.
    `asked` is how the run is to be read: shards that are at work at one time have to agree on it.
    """
    with disk.writing(folder):
        lock = _alone(folder, shard, say, asked or {}, wait)
    path = _holder_path(folder, _name(shard))
    beat = Heartbeat(path)
    try:
        beat.start()
        yield
    finally:
        beat.stop()
        with suppress(OSError):
            path.unlink()
        lock.release()


def is_held(folder: Path) -> bool:
    """Whether a process that locked the run or a shard still lives; see `Holder.lives` of one on another host."""
    return any(holder.lives for holder in _holders(folder))


def holder_elsewhere(folder: Path) -> Holder | None:
    """The process on another host that holds the run, or held it when it was last heard of; the latest of several."""
    return max((holder for holder in _holders(folder) if not holder.is_here), key=lambda each: each.heard, default=None)


def is_shared(folder: Path, shard: Shard | None) -> bool:
    """Whether other shards than `shard` are held; the caller holds write.lock, so that none starts meanwhile."""
    return any(_is_locked(folder / name) for name in _shards(folder) if name != _name(shard))


def left_behind(folder: Path, shard: Shard, asked: Mapping[str, Json]) -> Iterator[tuple[Shard, Holder]]:
    """The other shards of as many whose processes died while they measured what `asked` says, and who had them."""
    for name in _shards(folder):
        found, path = _SHARD.fullmatch(name), _holder_path(folder, name)
        if found is None or int(found[2]) != shard.count or int(found[1]) == shard.number:
            continue
        holder = holder_in(path)
        if holder is None or holder.lives or _is_locked(folder / name):
            continue
        if _asked_of(path) == json.loads(json.dumps(asked)):
            yield Shard(int(found[1]), shard.count), holder


def _alone(
    folder: Path, shard: Shard | None, say: Callable[[str], None], asked: Mapping[str, Json], wait: float
) -> Exclusion:
    """The lock, after every process of another host that may still live was listened for."""
    guard = Guard(folder, say, wait)
    for is_heard_out in (False, True):
        with guard():
            lock = _acquired(folder, shard)
            try:
                doubtful = [] if is_heard_out else _doubtful(folder, shard)
                if not doubtful:
                    _check_others(folder, shard, asked)
                    _take_over(folder, shard, say, asked)
                    return lock
            except BaseException:
                lock.release()
                raise
            lock.release()
        for name in doubtful:
            _listen(folder, name, shard, say)
    raise AssertionError("the second turn has no doubts")


def _acquired(folder: Path, shard: Shard | None) -> Exclusion:
    """The lock. The caller holds write.lock: to see whether a lock is free is to take it for a moment."""
    for name in _excluded_by(folder, shard):
        if _is_locked(folder / name):
            raise HeldRun(_refusal(folder, name, shard))
    lock = Exclusion(folder / _name(shard))
    if not lock.acquire():
        raise HeldRun(_refusal(folder, _name(shard), shard))
    return lock


def _doubtful(folder: Path, shard: Shard | None) -> list[str]:
    """Locks that are free, and whose holders on other hosts were heard of a moment ago."""
    found: list[str] = []
    for name in (_name(shard), *_excluded_by(folder, shard)):
        holder = holder_in(_holder_path(folder, name))
        if holder is not None and not holder.is_here and time.time() - holder.heard < _SILENCE_SECONDS:
            found.append(name)
    return found


def _listen(folder: Path, name: str, shard: Shard | None, say: Callable[[str], None]) -> None:
    """Until the holder has been silent for long enough; RunError when it is heard of."""
    first = holder_in(_holder_path(folder, name))
    if first is None:
        return
    seconds = max(0.0, min(_SILENCE_SECONDS, first.heard + _SILENCE_SECONDS - time.time()))
    say(f"{first} held {name} of run {str(folder)!r} a moment ago: listening {seconds:.0f} s for a sign of life")
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        time.sleep(min(0.2, seconds))
        now = holder_in(_holder_path(folder, name))
        if now is None:
            return
        if now.heard > first.heard or (now.pid, now.since) != (first.pid, first.since):
            raise HeldRun(_refusal(folder, name, shard))


def _check_others(folder: Path, shard: Shard | None, asked: Mapping[str, Json]) -> None:
    """RunError where another shard that is at work was asked for something else."""
    if shard is None:
        return
    for name in _shards(folder):
        if name == _name(shard) or not _is_locked(folder / name):
            continue
        its = _asked_of(_holder_path(folder, name))
        if its is not None and its != json.loads(json.dumps(asked)):
            holder = holder_in(_holder_path(folder, name)) or "another process"
            raise RunError(
                f"shard {shard} of run {str(folder)!r} is asked for {_said(asked)}, and {holder} measures "
                f"{name.removeprefix('lock-').replace('-of-', '/')} of it for {_said(its)}: give all shards of a run "
                "the same options and limits"
            )


def _said(asked: Mapping[str, Json]) -> str:
    return ", ".join(f"{name}={'none' if value is None else value}" for name, value in asked.items()) or "nothing"


def _asked_of(path: Path) -> dict[str, Json] | None:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))["asked"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _excluded_by(folder: Path, shard: Shard | None) -> list[str]:
    """The locks beside its own that must be free."""
    if shard is None:
        return _shards(folder)
    return [_WHOLE, *(name for name in _shards(folder) if not name.endswith(f"-of-{shard.count}"))]


def _is_locked(path: Path) -> bool:
    return not Exclusion(path).is_free()


def _take_over(folder: Path, shard: Shard | None, say: Callable[[str], None], asked: Mapping[str, Json]) -> None:
    for name in (_name(shard), *_excluded_by(folder, shard)):
        if (dead := holder_in(_holder_path(folder, name))) is not None:
            say(f"resuming a run that process {dead.pid} on {dead.host} left unfinished")
        _holder_path(folder, name).unlink(missing_ok=True)
    words: dict[str, Json] = {**Holder.here().to_json(), "asked": asked}
    disk.write_json(_holder_path(folder, _name(shard)), words)


def _refusal(folder: Path, name: str, shard: Shard | None) -> str:
    who = holder_in(_holder_path(folder, name)) or Exclusion(folder / name).holder() or "another process"
    wait = "wait for it, or stop it and rerun the command"
    held = _SHARD.fullmatch(name)
    if held is None:
        alone = f"run {str(folder)!r} is being measured by {who}: {wait}"
        return alone if shard is not None else alone + words_for_an_array()
    what = f"shard {held[1]}/{held[2]} of run {str(folder)!r} is being measured by {who}"
    if shard is None:
        return f"{what}, so the whole run cannot be measured at the same time: {wait}"
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


def _holders(folder: Path) -> list[Holder]:
    found = (holder_in(_holder_path(folder, name)) for name in (_WHOLE, *_shards(folder)))
    return [holder for holder in found if holder is not None]
