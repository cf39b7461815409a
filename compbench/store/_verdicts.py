"""A schedule's conclusions on examples: read where they are stored and still valid, else derived by a replay.

A replay of a policy takes long: of a race among a thousand classes, a second an example. The writer stores what comes
of it in `verdicts/`, with a digest of all that it rests on; a reader believes it where that fits, and otherwise derives
it and keeps it in memory.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from compbench.core import disk
from compbench.core.aliases import Bools, Floats
from compbench.core.digests import sha256_of
from compbench.core.examples import Classes
from compbench.core.measurements import DrawTable
from compbench.schedules.policies import Unfinished, Verdict
from compbench.schedules.racing import Racing
from compbench.schedules.schedule import entry_of
from compbench.schedules.staged import Staged
from compbench.store import _damage, _parquet, _verdict_files
from compbench.store._damage import Damaged
from compbench.store._parts import PartList
from compbench.store._verdict_files import Concluded, Stored

__all__ = ["Verdicts"]

NAME = "verdicts"
_VERSION = 1  # of the policies: raised where one concludes otherwise from the same errors
_AT_ONCE = 1_024  # examples in one file: 50 MB of a thousand classes

Errors = Iterator[tuple[str, Floats, Bools]]  # example id, errors and mask [I, C, D]


@dataclass
class Verdicts:
    """The conclusions of `schedule` on the examples of a run in `folder`; `errors_of` reads those of some examples."""

    folder: Path
    schedule: Staged | Racing
    matches: Mapping[str, Bools]
    draws: DrawTable
    classes: Classes | None
    errors_of: Callable[[Sequence[str]], Errors]
    usable: Callable[[], PartList]
    say_once: Callable[[str], None]
    bytes_to_keep: int = 512_000_000  # of comparisons in memory, 11,000 examples of a thousand classes
    _files: dict[str, Stored] = field(default_factory=dict[str, Stored])  # by name
    _derived: dict[str, tuple[str, Concluded | None]] = field(  # None: unfinished; with the parts they rest on
        default_factory=dict[str, "tuple[str, Concluded | None]"]
    )
    _n_kept: int = 0

    def concluded(self, ids: Sequence[str]) -> dict[str, Concluded]:
        """The conclusion on each of `ids` that is finished, in their order."""
        rests_on = self._rests_on(ids)
        found = self._stored(rests_on)
        self._derive([name for name in rests_on if name not in found], rests_on)
        either = {name: found.get(name) or self._derived[name][1] for name in rests_on}
        return {name: own for name, own in either.items() if own is not None}

    def verdicts(self, ids: Sequence[str], *, comparisons: bool) -> Iterator[tuple[str, Verdict]]:
        """The verdict on each of `ids` that is finished, with its comparisons or without any."""
        for start in range(0, len(ids), _AT_ONCE):
            found = self.concluded(ids[start : start + _AT_ONCE])
            compared = self._compared(found) if comparisons else {}
            for name, own in found.items():
                yield name, _verdict_files.with_comparisons(own, compared[name]) if comparisons else own.verdict

    def are_stored(self, ids: Sequence[str]) -> bool:
        """Whether all that follows of finished examples `ids` is stored, and nothing there is damaged."""
        rests_on = self._rests_on(ids)
        return len(self._stored(rests_on)) == len(rests_on) and not any(file.damage for file in self._files.values())

    def store(self, ids: Sequence[str], guarded: Callable[[], AbstractContextManager[None]]) -> None:
        """Store what is not stored yet of finished examples `ids`; write.lock is held while each file is written."""
        folder = self.folder / NAME
        rests_on = self._rests_on(ids)
        stored = self._stored(rests_on)
        lacking = [name for name in rests_on if name not in stored]
        for start in range(0, len(lacking), _AT_ONCE):
            own = self.concluded(lacking[start : start + _AT_ONCE])
            if not own:
                continue
            compared = self._compared(own)
            whole = {name: replace(conclusion, compared=compared[name]) for name, conclusion in own.items()}
            content = _verdict_files.encoded(whole, rests_on, self._basis)
            with guarded(), disk.writing(self.folder):
                folder.mkdir(exist_ok=True)
                self._look()
                number = max((int(name.split("-")[0]) for name in self._files if name[:6].isdecimal()), default=0) + 1
                disk.write(folder / _parquet.name(number, content), content)
            self._look()
        self._derived.clear()  # so that nothing is in memory twice
        self._n_kept = 0

    def remove_unused(self) -> None:
        """Remove what no longer fits; the caller holds write.lock."""
        rests_on = self._rests_on(list(self.matches))
        self._look()
        taken: set[str] = set()
        with disk.writing(self.folder):
            for stored in sorted(self._files.values(), key=lambda each: each.path.name, reverse=True):
                own = {name for name in self._fitting(stored, rests_on) if name not in taken}
                if not own and stored.path.is_dir():  # whatever it is, it is not ours
                    _damage.set_aside(stored.path)
                elif not own:
                    stored.path.unlink(missing_ok=True)
                taken |= own

    def _rests_on(self, ids: Sequence[str]) -> dict[str, str]:
        """The digest of the parts that hold something of an example, for each of `ids` that any part holds.

        Parts count as they were written, so that compacting them changes nothing.
        """
        written_in = self.usable().written_in
        return {name: _digest(written_in[name]) for name in ids if name in written_in}

    def _stored(self, rests_on: Mapping[str, str]) -> dict[str, Concluded]:
        """The stored conclusions that are still valid; damaged or outdated ones are reported."""
        self._look()
        found: dict[str, Concluded] = {}
        outdated: set[str] = set()
        for _, stored in sorted(self._files.items()):
            if stored.damage is not None:
                then = (
                    "the schedule's conclusions are derived from the errors again; rerun the command that made "
                    "the run to store them"
                )
                self.say_once(_damage.said(stored.path, stored.damage, then))
            fitting = self._fitting(stored, rests_on)
            outdated |= {name for name in rests_on if name in stored.concluded}.difference(fitting)
            found |= {name: stored.concluded[name] for name in fitting}
        if lacking := outdated - found.keys():
            self.say_once(
                f"{str(self.folder / NAME)!r} is outdated for {len(lacking)} of {len(self.matches)} examples, "
                f"whose parts or settings have changed: the schedule's conclusions on them are derived from the "
                f"errors again; rerun the command that made the run to store them"
            )
        return {name: found[name] for name in rests_on if name in found}

    def _fitting(self, stored: Stored, rests_on: Mapping[str, str]) -> list[str]:
        if stored.basis != self._basis:
            return []
        return [name for name, parts in rests_on.items() if stored.parts.get(name) == parts]

    def _look(self) -> None:
        """Read the files that are new, and forget those that are gone."""
        fresh: dict[str, Stored] = {}
        with suppress(FileNotFoundError, NotADirectoryError):
            for entry in os.scandir(self.folder / NAME):
                if not entry.name.endswith(".parquet") or entry.name[0] in "_.":
                    continue
                with suppress(FileNotFoundError):
                    stamp = disk.stamp(os.stat(entry.path))
                    known = self._files.get(entry.name)
                    if known is None or known.stamp != stamp:
                        known = _verdict_files.read(Path(entry.path), stamp)
                    fresh[entry.name] = known
        self._files = fresh

    def _derive(self, ids: Sequence[str], rests_on: Mapping[str, str]) -> None:
        """Keep the conclusions on `ids` in memory, with their comparisons as far as there is room."""
        known = self._derived
        for name, own in self._replayed([name for name in ids if known.get(name, ("",))[0] != rests_on[name]]):
            if own is not None and own.compared is not None:
                self._n_kept += own.compared.nbytes
                own = own if self._n_kept <= self.bytes_to_keep else replace(own, compared=None)
            known[name] = rests_on[name], own

    def _replayed(self, ids: Sequence[str]) -> Iterator[tuple[str, Concluded | None]]:
        for name, errors, measured in self.errors_of(ids):
            try:
                policy = self.schedule.policy(name, self.matches[name], self.draws, self.classes)
                yield name, Concluded.of(*policy.concluded(errors, measured))
            except Unfinished:
                yield name, None

    def _compared(self, found: Mapping[str, Concluded]) -> dict[str, np.ndarray]:
        """The comparisons of each, from the files where they are not in memory."""
        compared = {name: own.compared for name, own in found.items() if own.compared is not None}
        for stored in self._files.values():
            own = [name for name, conclusion in found.items() if stored.concluded.get(name) is conclusion]
            with suppress(Damaged):  # it was whole when it was read
                compared |= _verdict_files.comparisons(stored, own) if own else {}
        replayed = self._replayed([name for name in found if name not in compared])
        return compared | {name: own.compared for name, own in replayed if own and own.compared is not None}

    @cached_property
    def _basis(self) -> str:
        """The digest of all that conclusions rest on but for the errors."""
        of_caption = None if self.classes is None else list(self.classes.of_caption)
        words = {"version": _VERSION, **entry_of(self.schedule), "target": self.draws.target}
        words |= {"of_caption": of_caption}
        if isinstance(self.schedule, Racing) and self.schedule.wave is not None:
            words |= {"wave": self.schedule.wave.to_json()}
        hashed = sha256_of(words)
        for array in (self.draws.timesteps, self.draws.alpha, self.draws.sigma):
            hashed.update(np.ascontiguousarray(array).tobytes())
        for name, matches in self.matches.items():
            hashed.update(f"{name}\0{matches.shape}".encode() + matches.tobytes())
        return hashed.hexdigest()


def _digest(names: Sequence[str]) -> str:
    return hashlib.sha256("\n".join(names).encode()).hexdigest()[:16]
