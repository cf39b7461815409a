"""What a run folder holds, as arrays: streamed over its parts, each read for a bounded number of examples at a time.

Reading needs no lock. A damaged part is named once and left out. Where two parts hold the same draw of the same
pair the later part counts; how the draws are spread over parts changes no bit of a result.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from compbench import disk, parts, rules
from compbench.parts import DamagedPart
from compbench.rules import Rule
from compbench.types import Bools, DrawTable, ErrorTable, Floats, Json, Measurement, RunError, ScoreMatrix, ScoreTable

__all__ = ["Contents", "Shape"]

Shape = tuple[int, int]  # (I, C)
_PART_NAME = re.compile(r"^_?(\d+)-")


@dataclass
class Contents:
    """The examples, draws and parts in `folder`; parts that appear later are seen."""

    folder: Path
    say: Callable[[str], None]
    bytes_at_once: int = 64_000_000  # of errors and their mask in memory, whatever the size of the run
    _is_told: bool = False  # that the draws are damaged
    _index: dict[Path, _Part] = field(default_factory=dict["Path", "_Part"])
    _done: dict[tuple[object, ...], frozenset[str]] = field(default_factory=dict[tuple[object, ...], frozenset[str]])

    @property
    def has_errors(self) -> bool:
        """Whether it is the run of a scorer that measures errors."""
        return (self.folder / "draws.parquet").exists() or (self.folder / "errors").exists()

    @cached_property
    def examples(self) -> pd.DataFrame:
        """One row an example in the task's order; `tags` are mappings and `matches` arrays [I, C]."""
        try:
            frame = parts.read(self.folder / "examples.parquet").to_pandas()
        except (DamagedPart, FileNotFoundError) as error:
            raise RunError(
                f"{str(self.folder / 'examples.parquet')!r} is damaged or missing ({error}): give the run command again"
            ) from error
        frame["tags"] = [json.loads(each) for each in frame["tags"]]
        frame["matches"] = [np.array([list(row) for row in each], dtype=bool) for each in frame["matches"]]
        frame["captions"] = [tuple(each) for each in frame["captions"]]
        frame["image_names"] = [tuple(each) for each in frame["image_names"]]
        return frame

    @cached_property
    def matches(self) -> dict[str, Bools]:
        """Example id -> [I, C], in the task's order."""
        return dict(zip(self.examples["id"], self.examples["matches"], strict=True))

    def draws(self) -> DrawTable:
        """The bank of the run."""
        try:
            return parts.read_draws(self.folder / "draws.parquet")
        except (DamagedPart, FileNotFoundError) as error:
            raise RunError(
                f"the draws of run {str(self.folder)!r} cannot be read ({error}): give the run command again"
            ) from error

    def done(self, n_draws: int | None) -> frozenset[str]:
        """The examples of which every pair has a score, or the first `n_draws` draws (None: equally many, and some)."""
        key = n_draws, self._bank_size(), tuple((path, part.stamp) for path, part in self._parts().items())
        if key not in self._done:
            self._done = {key: frozenset(self._measured_ids(n_draws))}
        return self._done[key]

    def measurements(self, ids: Sequence[str] | None) -> dict[str, Measurement]:
        """The stored errors of each example that has any."""
        n_bank = self._bank_size() if self.has_errors else 0
        if not n_bank:
            return {}
        found: dict[str, Measurement] = {}
        for chunk, errors, measured in self._errors(self._known(ids), n_bank):
            for example_id, its_errors, its_mask in zip(chunk, errors, measured, strict=True):
                draws = np.flatnonzero(its_mask.any((0, 1)))
                if len(draws):
                    found[example_id] = Measurement(
                        example_id, draws.astype(np.int32), its_errors[..., draws], its_mask[..., draws]
                    )
        return found

    def tables(self, rule: Rule, ids: Sequence[str]) -> dict[Shape, ScoreTable]:
        """The scores of `ids`, all of them done, in their order; a table for each shape of examples."""
        scores = self._scores_by_rule(rule, ids) if self.has_errors else self._scores(ids)
        by_shape: dict[Shape, list[str]] = {}
        for each in ids:
            by_shape.setdefault(_shape(self.matches[each]), []).append(each)
        return {
            shape: ScoreTable(
                tuple(members),
                np.stack([scores[each] for each in members]),
                np.stack([self.matches[each] for each in members]),
            )
            for shape, members in by_shape.items()
        }

    def seen(self) -> frozenset[str]:
        """The examples of which anything is stored."""
        return frozenset().union(*(part.id_set for part in self._parts().values()))

    def n_common_draws(self, ids: Sequence[str]) -> int:
        """How many leading draws of the bank every pair of each of `ids` was measured on."""
        n_common = self._bank_size() if ids else 0
        for _, _, measured in self._errors(ids, n_common, with_errors=False) if n_common else ():
            lacking = np.flatnonzero(~measured.all((0, 1, 2)))
            n_common = min([n_common, *lacking[:1].tolist()])
        return n_common

    def error_tables(self, ids: Sequence[str], n_draws: int) -> Iterator[ErrorTable]:
        """The errors of `ids`, all of them done, in pieces that fit in memory; a part's examples stand together."""
        for chunk, errors, _ in self._errors(ids, n_draws):
            yield ErrorTable(tuple(chunk), errors, np.stack([self.matches[each] for each in chunk]))

    def append(self, results: Sequence[Measurement | ScoreMatrix], record: Mapping[str, Json]) -> Path:
        """Store results as one new part, and who measured them."""
        measurements = [each for each in results if isinstance(each, Measurement)]
        matrices = [each for each in results if isinstance(each, ScoreMatrix)]
        if measurements and matrices:
            raise TypeError("one part holds Measurements or ScoreMatrix objects, not both")
        table = (
            parts.errors_table(measurements)
            if measurements
            else parts.scores_table([each.example_id for each in matrices], [each.scores for each in matrices])
        )
        folder = self.folder / ("errors" if measurements else "scores")
        with disk.writing(self.folder):
            folder.mkdir(exist_ok=True)
            content = parts.encode(table)
            path = folder / parts.name(self._next_number(folder), content)
            disk.write(path, content)
            line: dict[str, Json] = {
                "part": path.relative_to(self.folder).as_posix(),
                "n_examples": len(results),
                "n_errors": sum(int(each.measured.sum()) for each in measurements),
            }
            disk.append_line(self.folder / "parts.jsonl", {**line, **record})
        return path

    def write_draws(self, draws: DrawTable) -> None:
        """Store the bank; RunError when the folder holds another one, for its errors would be read with it."""
        path, table = self.folder / "draws.parquet", parts.draws_table(draws)
        try:
            stored = parts.read(path)
        except (FileNotFoundError, DamagedPart):
            stored = None
        if stored is not None and not stored.equals(table):
            raise RunError(
                f"run {str(self.folder)!r} holds errors of other draws than this model's: "
                "the model's identity() lacks what changed; move the folder away and start again"
            )
        if stored is None:
            with disk.writing(self.folder):
                disk.write(path, parts.encode(table))

    def write_scores(self, rule: Rule) -> None:
        """Derive scores/ from the errors under `rule`, so that any Parquet reader finds them."""
        done = self.done(rule.n_draws)
        ids = [each for each in self.matches if each in done]
        scores = self._scores_by_rule(rule, ids)
        table = parts.scores_table(ids, [scores[each] for each in ids])
        with disk.writing(self.folder):
            (self.folder / "scores").mkdir(exist_ok=True)
            disk.write(self._derived, parts.encode(table.replace_schema_metadata(_words(rule))))

    def has_scores(self, rule: Rule) -> bool:
        """Whether scores/ was derived under `rule`."""
        try:
            stored = parts.metadata(self._derived).metadata or {}
        except DamagedPart:
            return False
        return stored == {name.encode(): value.encode() for name, value in _words(rule).items()}

    def damaged(self) -> list[Path]:
        """The parts that cannot be used."""
        self._parts()
        return [path for path, part in self._index.items() if part.damage is not None]

    def repair(self) -> None:
        """Set damaged parts aside under a name that readers pass over; sweep away what a crash left half-written."""
        with disk.writing(self.folder):
            for path in self.damaged():
                path.rename(path.with_name(f"_{path.name}.damaged"))
            for leftover in self.folder.rglob(f"{disk.TEMPORARY}*"):
                leftover.unlink()

    @property
    def _derived(self) -> Path:
        return self.folder / "scores" / "scores.parquet"

    def _parts(self) -> dict[Path, _Part]:
        """The usable parts, oldest first; each is read and checked once."""
        folder = self.folder / ("errors" if self.has_errors else "scores")
        fresh: dict[Path, _Part] = {}
        for path in sorted(folder.glob("*.parquet")):
            if path.name.startswith(("_", ".")):
                continue
            with suppress(FileNotFoundError):  # another process has just set it aside
                status = path.stat()
                stamp = status.st_size, status.st_mtime_ns
                known = self._index.get(path)
                fresh[path] = known if known is not None and known.stamp == stamp else self._look_at(path, stamp)
        self._index = fresh
        return {path: part for path, part in fresh.items() if part.damage is None}

    def _look_at(self, path: Path, stamp: tuple[int, int]) -> _Part:
        try:
            return _Part(stamp, tuple(parts.check(path)))
        except DamagedPart as error:
            damage = str(error).splitlines()[0]
            self.say(
                f"part {str(path)!r} is damaged ({damage}): its examples are left out; "
                "the run command given again measures them anew"
            )
            return _Part(stamp, (), damage)

    def _known(self, ids: Iterable[str] | None) -> list[str]:
        return list(self.matches) if ids is None else [each for each in ids if each in self.matches]

    def _measured_ids(self, n_draws: int | None) -> Iterator[str]:
        if not self.has_errors:
            yield from self._scores(list(self.matches))
            return
        n_asked = n_draws or self._bank_size()
        if not 0 < n_asked <= self._bank_size():  # also where the bank is damaged: then all must be asked again
            return
        for chunk, _, measured in self._errors(list(self.matches), n_asked, with_errors=False):
            for example_id, mask in zip(chunk, measured, strict=True):
                some, every = mask.any((0, 1)), mask.all((0, 1))  # [D] over the pairs
                if bool(every.all()) if n_draws else bool(some.any() and (some == every).all()):
                    yield example_id

    def _bank_size(self) -> int:
        """0 where the draws cannot be read: the scorer writes them anew."""
        if not self.has_errors:
            return 0
        try:
            return len(self.draws().alpha)
        except RunError as error:
            if not self._is_told:
                self.say(str(error))
            self._is_told = True
            return 0

    def _scores(self, ids: Sequence[str]) -> dict[str, Floats]:
        """[I, C] float64 of each of `ids` that has them all."""
        found: dict[str, Floats] = {}
        for shape, members in self._by_shape(ids):
            scores = np.zeros((len(members), *shape))
            measured = np.zeros(scores.shape, bool)
            for path in self._parts():
                parts.fill_scores(path, members, scores, measured)
            found |= {each: scores[n] for n, each in enumerate(members) if measured[n].all()}
        return found

    def _scores_by_rule(self, rule: Rule, ids: Sequence[str]) -> dict[str, Floats]:
        draws = self.draws()
        n_draws = rule.n_draws or len(draws.alpha)
        found: dict[str, Floats] = {}
        for chunk, errors, measured in self._errors(ids, n_draws):
            for example_id, its_errors, its_mask in zip(chunk, errors, measured, strict=True):
                used = np.flatnonzero(its_mask.any((0, 1)))
                one = Measurement(example_id, used, its_errors[..., used], its_mask[..., used])
                found[example_id] = rules.score(one, draws, rule).scores
        return found

    def _errors(
        self, ids: Sequence[str], n_draws: int, *, with_errors: bool = True
    ) -> Iterator[tuple[list[str], Floats, Bools]]:
        """(ids, errors [n, I, C, D], mask) in pieces that fit in memory, each part read for few of them."""
        usable = self._parts()
        first = {each: n for n, part in reversed(list(enumerate(usable.values()))) for each in part.ids}
        for shape, members in self._by_shape(each for each in ids if each in first):
            members.sort(key=lambda each: first[each])  # so that a part's examples stand together; the sort is stable
            size = max(1, self.bytes_at_once // (5 * shape[0] * shape[1] * n_draws))
            for start in range(0, len(members), size):
                chunk = members[start : start + size]
                measured = np.zeros((len(chunk), *shape, n_draws), bool)
                errors = np.zeros(measured.shape, np.float32) if with_errors else np.zeros(0, np.float32)
                for path in (path for path, part in usable.items() if not part.id_set.isdisjoint(chunk)):
                    parts.fill_errors(path, chunk, errors if with_errors else None, measured)
                yield chunk, errors, measured

    def _by_shape(self, ids: Iterable[str]) -> list[tuple[Shape, list[str]]]:
        by_shape: dict[Shape, list[str]] = {}
        for each in ids:
            by_shape.setdefault(_shape(self.matches[each]), []).append(each)
        return list(by_shape.items())

    def _next_number(self, folder: Path) -> int:
        numbers = [int(found[1]) for name in os.listdir(folder) if (found := _PART_NAME.match(name))]
        return max(numbers, default=0) + 1


@dataclass(frozen=True)
class _Part:
    """A file as it was when it was checked."""

    stamp: tuple[int, int]  # size, time of change
    ids: tuple[str, ...]
    damage: str | None = None

    @cached_property
    def id_set(self) -> frozenset[str]:
        return frozenset(self.ids)


def _shape(matches: Bools) -> Shape:
    return matches.shape[0], matches.shape[1]


def _words(rule: Rule) -> dict[str, str]:
    return {"target": rule.target, "n_draws": "" if rule.n_draws is None else str(rule.n_draws)}
