"""The list of a run's parts: which are there and whole, which are damaged or lost, and who measured each.

A damaged part is named once and left out, and so is one that parts.jsonl has and the disk has not. Who measured a part
stands in the part itself, under the digest in its name, and once more in parts.jsonl, a line per part. A small part is
read once, its bytes checked and its rows kept in memory as far as `bytes_to_keep` allows. A part that was compacted
(_compaction.py) stands for those it was made of, from the moment it is there, whether they still are or not.
"""

from __future__ import annotations

import json
import os
import re
import socket
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from compbench.core import disk
from compbench.core.aliases import Json
from compbench.core.errors import RunError
from compbench.core.exclusion import Holder, changed_at
from compbench.store import _damage, _lines, _parquet, _sealed
from compbench.store._damage import Damaged
from compbench.store._parquet import Member
from compbench.store._rows import Rows, together

__all__ = ["Part", "PartList", "Parts"]

_LOOKS = 3  # at the folder, while parts vanish from it
_PART_NAME = re.compile(r"^_?(\d+)-")
_MARKED = re.compile(re.escape(disk.TEMPORARY) + r"(\d+)-(.*)-at-[0-9a-f]+$")


@dataclass(frozen=True, eq=False)
class Part:
    """A file as it was when it was checked."""

    path: Path
    name: str  # relative to the run's folder
    stamp: tuple[int, ...]
    ids: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()
    damage: str | None = None
    record: dict[str, Json] | None = None  # who measured it, where the part says so
    rows: Any = None  # a table of all of it, where it is small enough to be kept
    members: tuple[Member, ...] = ()  # the parts that it was made of, where it was compacted, as they were written
    replaced: tuple[str, ...] = ()  # compacted parts that it was made of

    @property
    def size(self) -> int:
        """The size in bytes."""
        return self.stamp[2]

    @property
    def as_written(self) -> tuple[Member, ...]:
        """Itself, or the parts that it was made of."""
        return self.members or (Member(self.name, self.record or {}, self.ids),)

    @property
    def stands_for(self) -> tuple[str, ...]:
        """The names of the files that count no more since it is there."""
        return (*(member.name for member in self.members), *self.replaced)


@dataclass(frozen=True, eq=False)
class PartList:
    """The usable parts, oldest first, as they were at one look."""

    parts: tuple[Part, ...] = ()

    @cached_property
    def numbers_of(self) -> dict[str, list[int]]:
        """Example id -> the numbers of the parts that hold something of it, ascending."""
        found: dict[str, list[int]] = {}
        for number, part in enumerate(self.parts):
            for example_id in part.ids:
                found.setdefault(example_id, []).append(number)
        return found

    @cached_property
    def written_in(self) -> dict[str, list[str]]:
        """Example id -> the names of the parts that hold something of it as they were written, oldest first."""
        found: dict[str, list[str]] = {}
        for part in self.parts:
            for member in part.as_written:
                for example_id in member.ids:
                    found.setdefault(example_id, []).append(member.name)
        return found

    def holding(self, ids: Sequence[str]) -> list[Part]:
        """The parts that hold something of `ids`, oldest first."""
        numbers = {number for example_id in ids for number in self.numbers_of.get(example_id, ())}
        return [self.parts[number] for number in sorted(numbers)]


@dataclass
class Parts:
    """The parts in `folder`; those that appear later are seen."""

    folder: Path
    say: Callable[[str], None]
    bytes_to_keep: int = 96_000_000  # of rows in memory
    _told: set[str] = field(default_factory=set[str])  # what was said already
    _lines_read: tuple[tuple[int, ...], _lines.Lines] | None = None
    _lost: tuple[str, ...] = ()  # parts that parts.jsonl has and the disk has not
    _index: dict[str, Part] = field(default_factory=dict[str, "Part"])  # by name
    _list: PartList = field(default_factory=PartList)
    _n_kept: int = 0  # bytes
    _numbered: tuple[int, int] = (0, 0)  # the time of the folder after the last part was added here, and its number

    @property
    def has_errors(self) -> bool:
        """Whether it is the run of a scorer that measures errors."""
        return (self.folder / "draws.parquet").exists() or (self.folder / "errors").exists()

    def usable(self) -> PartList:
        """The usable parts as they are now: the same object as before where nothing has changed."""
        before = self._index
        for _ in range(_LOOKS):
            known_as_lost = self._lost
            self._index, self._lost, has_vanished = self._look()
            if not has_vanished and self._lost == known_as_lost:
                break  # else they may have been compacted during this look, and the next one sees into what
        for name in self._missing():
            self.say_once(
                f"part {str(self.folder / name)!r} is missing: its examples are left out; rerun the command to measure "
                "them again"
            )
        if self._index.keys() != before.keys() or any(before[name] is not part for name, part in self._index.items()):
            hidden = self.compacted()
            whole = (part for part in self._index.values() if part.damage is None and part.name not in hidden)
            self._list = PartList(tuple(whole))
        return self._list

    def compacted(self) -> frozenset[str]:
        """The parts that are there, or were, and that a whole part was made of."""
        return frozenset(name for part in self._index.values() for name in part.stands_for)

    def read_each(self, seen: PartList, ids: Sequence[str], read: Callable[[Rows], None]) -> None:
        """`read` the rows of each part in `seen` that holds something of `ids`, oldest first.

        Where one is gone, since another process compacted it, all are read again, as they are now: to no other end,
        where the later part counts.
        """
        for _ in range(_LOOKS):
            try:
                for rows in together(seen.holding(ids)):
                    read(rows)
            except FileNotFoundError:
                seen = self.usable()
            else:
                return
        raise RunError(f"the parts of run {str(self.folder)!r} disappear while they are read: check the disk")

    def damaged(self) -> list[str]:
        """The parts that cannot be used, or are no longer there."""
        self.usable()
        hidden = self.compacted()
        damaged = [part.name for part in self._index.values() if part.damage is not None and part.name not in hidden]
        return damaged + self._missing()

    def records(self) -> list[dict[str, Json]]:
        """The record of each usable part, oldest first; n_examples alone where nothing else is known."""
        lines = self._lines().records
        found: list[dict[str, Json]] = []
        for part in self.usable().parts:
            for written in part.as_written:
                told = _told(written.words) or _told(lines.get(written.name, {}))
                if not told:
                    self.say_once(
                        f"parts.jsonl of run {str(self.folder)!r} has no readable line for part "
                        f"{written.name!r}: its evaluations and its time are not counted"
                    )
                found.append({"part": written.name, "n_examples": len(written.ids), **told})
        return found

    def append(
        self, table: Any, words: Mapping[str, Json], kind: str, guarded: Callable[[], AbstractContextManager[None]]
    ) -> Path:
        """Store a table as one new part, and who measured it.

        The disk is waited for before and after the guard is held, so that writers do not wait for each other's.
        """
        folder = self.folder / kind
        with disk.writing(self.folder):
            folder.mkdir(exist_ok=True)
            content = _parquet.encode(_parquet.recorded(table, words))
            partial = disk.aside(self.folder, content, _mark())  # not in `folder`, whose time then tells of others
            try:
                with guarded():
                    number = self._next_number(folder)
                    path = folder / _parquet.name(number, content)
                    partial.replace(path)
                    self._numbered = folder.stat().st_mtime_ns, number
                    line = _lines.line(f"{kind}/{path.name}", content, words)
                    disk.append_line(self.folder / _lines.NAME, line, is_flushed=False)
            except BaseException:
                with suppress(OSError):
                    partial.unlink()
                raise
            disk.flush(folder)
            disk.flush(self.folder / _lines.NAME)
        return path

    def repair(self) -> None:
        """Set damaged parts aside under a name that readers pass over, and count what is missing no more.

        What parts.jsonl lacks of the parts that are there is written again. A partial file was left by a crashed
        process unless its name is that of a live one; live writers of all other files hold write.lock.
        """
        with disk.writing(self.folder):
            for name in self.damaged():
                path = self.folder / name
                disk.append_line(self.folder / _lines.NAME, _sealed.sealed({"part": name, "discarded": True}))
                if path.exists():
                    _damage.set_aside(path)
            self._restore_lines()
            self.remove_compacted()
            for leftover in self.folder.rglob(f"{disk.TEMPORARY}*"):
                if not _is_in_use(leftover):
                    leftover.unlink(missing_ok=True)

    def say_once(self, message: str) -> None:
        """Say what was not said before."""
        if message not in self._told:
            self._told.add(message)
            self.say(message)

    def line_of(self, part: Part) -> dict[str, Json]:
        """The line of a part that is there."""
        words: dict[str, Json] = dict(part.record or {})
        if part.members:
            words = {"n_examples": len(part.ids), "holds": list(part.stands_for)}
        return _lines.line(part.name, part.path.read_bytes(), words)

    def lines_of_members(self, part: Part) -> list[dict[str, Json]]:
        """The lines of the parts that it was made of, or its own: who measured what it holds."""
        if part.members:
            return [{"part": own.name, **own.words} for own in part.members]
        words = part.record or _told(self._lines().records.get(part.name, {}))
        return [_lines.line(part.name, part.path.read_bytes(), words)]

    def remove_compacted(self) -> None:
        """Remove the parts that are in others by now; the caller holds write.lock."""
        with disk.writing(self.folder):
            for name in sorted(self.compacted() & self._index.keys()):
                (self.folder / name).unlink(missing_ok=True)

    def _look(self) -> tuple[dict[str, Part], tuple[str, ...], bool]:
        """The parts that are there, by name, those that parts.jsonl has beside, and whether one vanished meanwhile."""
        kind, fresh, has_vanished = self._kind, dict[str, Part](), False
        lines = self._lines()  # before the parts: a part is there before its line is
        folder = os.fspath(self.folder)
        for name in self._on_disk(kind):
            try:
                stamp = disk.stamp(os.stat(f"{folder}/{name}"))
                known = self._index.get(name)
                is_known = known is not None and known.stamp == stamp
                fresh[name] = known if is_known else self._look_at(name, stamp, lines.records)  # pyright: ignore[reportArgumentType]
            except FileNotFoundError:  # another process has just set it aside or compacted it
                has_vanished = True
        held = lines.compacted.union(name for part in fresh.values() for name in part.stands_for)
        gone = lines.records.keys() - fresh.keys() - lines.discarded - held
        return (
            fresh,
            tuple(name for name in lines.records if name in gone and name.startswith(f"{kind}/")),
            has_vanished,
        )

    def _on_disk(self, kind: str) -> list[str]:
        """The files of parts, oldest first."""
        try:
            with os.scandir(self.folder / kind) as entries:
                found = [
                    entry.name for entry in entries if entry.name.endswith(".parquet") and entry.name[0] not in "_."
                ]
        except (FileNotFoundError, NotADirectoryError):
            return []
        return [f"{kind}/{name}" for name in sorted(found)]

    def _look_at(self, name: str, stamp: tuple[int, ...], records: Mapping[str, Mapping[str, Json]]) -> Part:
        path = self.folder / name
        digest = records.get(name, {}).get("sha256")
        try:
            found = _parquet.checked(path, digest if isinstance(digest, str) else None)
        except Damaged as error:
            self.say(_damage.said(path, error, "its examples are left out; rerun the command to measure them again"))
            return Part(path, name, stamp, damage=str(error))
        except PermissionError as error:
            raise RunError(f"part {str(path)!r} cannot be read ({error.strerror}): make it readable") from error
        rows = found.rows
        if rows is not None:
            self._n_kept += rows.nbytes
            rows = rows if self._n_kept <= self.bytes_to_keep else None
        record = _lines.checked(found.record)
        return Part(path, name, stamp, found.ids, found.columns, None, record, rows, found.members, found.replaced)

    def _missing(self) -> list[str]:
        """The parts that parts.jsonl has and the disk has not, but for those that were set aside."""
        return [name for name in self._lost if not _damage.aside(self.folder / name).exists()]

    @property
    def _kind(self) -> str:
        return "errors" if self.has_errors else "scores"

    def _lines(self) -> _lines.Lines:
        """The contents of parts.jsonl, read again when it has changed."""
        path = self.folder / _lines.NAME
        try:
            stamp = disk.stamp(path.stat())
            if self._lines_read is None or self._lines_read[0] != stamp:
                self._lines_read = stamp, _lines.read(path.read_bytes())
        except FileNotFoundError:
            return _lines.Lines()
        except OSError as error:
            raise RunError(f"{str(path)!r} cannot be read ({error.strerror or error}): make it readable") from error
        return self._lines_read[1]

    def _restore_lines(self) -> None:
        """Write parts.jsonl again where a line is damaged, or a part that knows who measured it has none."""
        lines = self._lines()
        made: dict[str, dict[str, Json]] = {}
        for part in self.usable().parts:
            if part.record is not None or part.members:
                made |= {own.name: _sealed.sealed({"part": own.name, **own.words}) for own in part.members}
                made[part.name] = {}  # only looked at where it lacks a line
        if lines.is_whole and made.keys() <= lines.records.keys():
            return
        made |= {part.name: self.line_of(part) for part in self.usable().parts if part.name in made}
        kept = {name: {"part": name, **words} for name, words in lines.records.items() if name not in made}
        gone = [_sealed.sealed({"part": name, "discarded": True}) for name in sorted(lines.discarded)]
        text = "".join(json.dumps(line) + "\n" for line in [*kept.values(), *made.values(), *gone])
        disk.write(self.folder / _lines.NAME, text.encode())
        n_new = len(made.keys() - lines.records.keys())
        self.say(
            f"{_lines.NAME} of run {str(self.folder)!r} was damaged or missing: it is rewritten from what the parts "
            f"say ({n_new} of {len(made)} lines)"
        )

    def _next_number(self, folder: Path) -> int:
        """The next free part number; the folder is listed only when another process may have added a part."""
        time, number = self._numbered
        if time != folder.stat().st_mtime_ns:
            numbers = [int(found[1]) for name in os.listdir(folder) if (found := _PART_NAME.match(name))]
            number = max(numbers, default=0)
        return number + 1


def _told(words: Mapping[str, Json]) -> dict[str, Json]:
    """The part of a line about who measured a part, not about its bytes."""
    return {name: value for name, value in words.items() if name not in ("size", "sha256", "check")}


def _mark() -> str:
    """The mark of a partial file that is written while others may repair the run."""
    return f"{os.getpid()}-{disk.slug(socket.gethostname())}-at-"


def _is_in_use(partial: Path) -> bool:
    """Whether the process that its name tells of still writes it, as far as can be known; see `Holder.lives`."""
    found = _MARKED.match(partial.name)
    try:
        heard = changed_at(partial, partial.stat())
    except OSError:
        return False
    if found is None:
        return False
    host = socket.gethostname() if found[2] == disk.slug(socket.gethostname()) else found[2]
    return Holder(host, int(found[1]), "", heard).lives
