"""The list of a run's parts: which are there and whole, which are damaged or lost, and who measured each.

A damaged part is named once and left out, and so is one that parts.jsonl has and the disk has not. Who measured a part
stands in the part itself, under the digest in its name, and once more in parts.jsonl, a line per part. A small part is
read once, its bytes checked and its rows kept in memory as far as `bytes_to_keep` allows.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from compbench.core import disk
from compbench.core.aliases import Json
from compbench.core.errors import RunError
from compbench.store import _lines, _parquet, _sealed
from compbench.store._parquet import DamagedPart

__all__ = ["Part", "PartList", "Parts"]

_PART_NAME = re.compile(r"^_?(\d+)-")


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
        kind = self._kind
        lines = self._lines()  # before the parts: a part is there before its line is
        fresh: dict[str, Part] = {}
        for name, stamp in self._on_disk(kind):
            known = self._index.get(name)
            if known is not None and known.stamp == stamp:
                fresh[name] = known
            else:
                with suppress(FileNotFoundError):  # another process has just set it aside
                    fresh[name] = self._look_at(name, stamp, lines.records)
        self._lost = tuple(
            name
            for name in lines.records
            if name.startswith(f"{kind}/") and name not in lines.discarded and name not in fresh
        )
        for name in self._missing():
            self.say_once(
                f"part {str(self.folder / name)!r} is missing: its examples are left out; rerun the command to measure "
                "them again"
            )
        is_same = len(fresh) == len(self._index) and all(self._index.get(name) is part for name, part in fresh.items())
        self._index = fresh
        if not is_same:
            self._list = PartList(tuple(part for part in fresh.values() if part.damage is None))
        return self._list

    def damaged(self) -> list[str]:
        """The parts that cannot be used, or are no longer there."""
        self.usable()
        return [part.name for part in self._index.values() if part.damage is not None] + self._missing()

    def records(self) -> list[dict[str, Json]]:
        """The record of each usable part, oldest first; n_examples alone where nothing else is known."""
        lines = self._lines().records
        found: list[dict[str, Json]] = []
        for part in self.usable().parts:
            words = part.record or lines.get(part.name)
            if words is None:
                self.say_once(
                    f"parts.jsonl of run {str(self.folder)!r} has no line that can be read for part {part.name!r}: its "
                    "evaluations and its time are not counted"
                )
            found.append({"part": part.name, "n_examples": len(part.ids), **(words or {})})
        return found

    def append(self, table: Any, words: Mapping[str, Json], kind: str) -> Path:
        """Store a table as one new part, and who measured it; under the guard."""
        folder = self.folder / kind
        with disk.writing(self.folder):
            folder.mkdir(exist_ok=True)
            content = _parquet.encode(_parquet.recorded(table, words))
            number = self._next_number(folder)
            path = folder / _parquet.name(number, content)
            disk.write(path, content)
            self._numbered = folder.stat().st_mtime_ns, number
            disk.append_line(self.folder / _lines.NAME, self._line(self._name(path), content, words))
        return path

    def repair(self) -> None:
        """Set damaged parts aside under a name that readers pass over, and count what is missing no more.

        What parts.jsonl lacks of the parts that are there is written again; any partial file was left by a crash.
        """
        with disk.writing(self.folder):
            for name in self.damaged():
                path = self.folder / name
                disk.append_line(self.folder / _lines.NAME, _sealed.sealed({"part": name, "discarded": True}))
                if path.exists():
                    path.rename(path.with_name(f"_{path.name}.damaged"))
            self._mend_lines()
            for leftover in self.folder.rglob(f"{disk.TEMPORARY}*"):
                leftover.unlink()

    def say_once(self, message: str) -> None:
        """Say what was not said before."""
        if message not in self._told:
            self._told.add(message)
            self.say(message)

    def _on_disk(self, kind: str) -> list[tuple[str, tuple[int, ...]]]:
        """The files of parts, oldest first, each with its stamp."""
        try:
            with os.scandir(self.folder / kind) as entries:
                found = [each for each in entries if each.name.endswith(".parquet") and each.name[0] not in "_."]
        except (FileNotFoundError, NotADirectoryError):
            return []
        stamped: list[tuple[str, tuple[int, ...]]] = []
        for entry in sorted(found, key=lambda each: each.name):
            with suppress(FileNotFoundError):
                stamped.append((f"{kind}/{entry.name}", disk.stamp(os.stat(entry.path))))
        return stamped

    def _look_at(self, name: str, stamp: tuple[int, ...], records: Mapping[str, Mapping[str, Json]]) -> Part:
        path = self.folder / name
        digest = records.get(name, {}).get("sha256")
        try:
            found = _parquet.checked(path, digest if isinstance(digest, str) else None)
        except DamagedPart as error:
            damage = str(error).splitlines()[0]
            self.say(
                f"part {str(path)!r} is damaged ({damage}): its examples are left out; "
                "rerun the command to measure them again"
            )
            return Part(path, name, stamp, damage=damage)
        except PermissionError as error:
            raise RunError(f"part {str(path)!r} cannot be read ({error.strerror}): make it readable") from error
        rows = found.rows
        if rows is not None:
            self._n_kept += rows.nbytes
            rows = rows if self._n_kept <= self.bytes_to_keep else None
        return Part(path, name, stamp, found.ids, found.columns, record=_lines.checked(found.record), rows=rows)

    def _missing(self) -> list[str]:
        """The parts that parts.jsonl has and the disk has not, but for those that were set aside."""
        return [
            name for name in self._lost if not (self.folder / name).with_name(f"_{Path(name).name}.damaged").exists()
        ]

    @property
    def _kind(self) -> str:
        return "errors" if self.has_errors else "scores"

    def _name(self, path: Path) -> str:
        return f"{path.parent.name}/{path.name}"

    def _line(self, name: str, content: bytes | memoryview, words: Mapping[str, Json]) -> dict[str, Json]:
        digest = hashlib.sha256(content).hexdigest()
        return _sealed.sealed({"part": name, "size": len(content), "sha256": digest, **words})

    def _lines(self) -> _lines.Lines:
        """What parts.jsonl says, read again where it has changed."""
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

    def _mend_lines(self) -> None:
        """Write parts.jsonl again where a line is damaged, or a part that knows who measured it has none."""
        lines = self._lines()
        known = {part.name: part for part in self.usable().parts if part.record is not None}
        if lines.is_whole and known.keys() <= lines.records.keys():
            return
        made = {name: self._line(name, part.path.read_bytes(), part.record or {}) for name, part in known.items()}
        kept = {name: {"part": name, **words} for name, words in lines.records.items() if name not in made}
        gone = [_sealed.sealed({"part": name, "discarded": True}) for name in sorted(lines.discarded)]
        text = "".join(json.dumps(line) + "\n" for line in [*kept.values(), *made.values(), *gone])
        disk.write(self.folder / _lines.NAME, text.encode())

    def _next_number(self, folder: Path) -> int:
        """One more than any part has; the folder is listed only where another process may have added one."""
        time, number = self._numbered
        if time != folder.stat().st_mtime_ns:
            numbers = [int(found[1]) for name in os.listdir(folder) if (found := _PART_NAME.match(name))]
            number = max(numbers, default=0)
        return number + 1
