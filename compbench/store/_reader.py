"""What a run folder holds, as arrays: streamed over its parts, each read for a bounded number of examples at a time.

Reading needs no lock. A damaged part is named once and left out, and so is one that _parquet.jsonl has and the disk has
not. Where two parts hold the same draw of the same pair the later part counts; how the draws are spread over parts
changes no bit of a result. Who measured a part stands in the part itself, under the digest in its name, and once more
in _parquet.jsonl, a line per part.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd

from compbench.core import disk, rules
from compbench.core.aliases import Bools, Floats, Json
from compbench.core.errors import RunError, UsageError
from compbench.core.examples import Classes, ErrorTable, ScoreTable
from compbench.core.measurements import DrawTable, Measurement, ScoreMatrix, joined
from compbench.core.rules import Rule
from compbench.schedules.adaptive import Adaptive, Weighted
from compbench.schedules.policies import Verdict
from compbench.store import _parquet, _sealed
from compbench.store._parquet import DamagedPart

__all__ = ["Contents", "Shape"]

Shape = tuple[int, int]  # (I, C)
_LINES = "parts.jsonl"
_PART = re.compile(r"(errors|scores)/\d+-[0-9a-f]{12}\.parquet")
_PART_NAME = re.compile(r"^_?(\d+)-")


@dataclass
class Contents:
    """The examples, draws and parts in `folder`; parts that appear later are seen."""

    folder: Path
    say: Callable[[str], None]
    adaptive: Adaptive | None = None  # the schedule of a run that does not measure every draw
    classes: Classes | None = None
    bytes_at_once: int = 64_000_000  # of errors and their mask in memory, whatever the size of the run
    digest_of: Callable[[str], str | None] = lambda name: None  # of a file in the folder, where run.json has it
    _told: set[str] = field(default_factory=set[str])  # what was said already
    _lines_read: tuple[tuple[int, ...], dict[str, dict[str, Json]], set[str], bool] | None = None
    _lost: tuple[str, ...] = ()  # parts that _parquet.jsonl has and the disk has not
    _index: dict[Path, _Part] = field(default_factory=dict["Path", "_Part"])
    _done: dict[tuple[object, ...], frozenset[str]] = field(default_factory=dict[tuple[object, ...], frozenset[str]])
    _whole: dict[tuple[object, ...], frozenset[str]] = field(default_factory=dict[tuple[object, ...], frozenset[str]])

    @property
    def has_errors(self) -> bool:
        """Whether it is the run of a scorer that measures errors."""
        return (self.folder / "draws.parquet").exists() or (self.folder / "errors").exists()

    @cached_property
    def examples(self) -> pd.DataFrame:
        """One row an example in the task's order; `tags` are mappings and `matches` arrays [I, C]."""
        try:
            path = self.folder / "examples.parquet"
            self._check_digest(path)
            return _parquet.read_examples(path)
        except (DamagedPart, FileNotFoundError) as error:
            raise RunError(
                f"{str(self.folder / 'examples.parquet')!r} is damaged or missing ({error}): rerun the command that "
                "made the run"
            ) from error

    @cached_property
    def matches(self) -> dict[str, Bools]:
        """Example id -> [I, C], in the task's order."""
        return dict(zip(self.examples["id"], self.examples["matches"], strict=True))

    def draws(self) -> DrawTable:
        """The bank of the run."""
        try:
            path = self.folder / "draws.parquet"
            self._check_digest(path)
            return _parquet.read_draws(path)
        except (DamagedPart, FileNotFoundError) as error:
            raise RunError(
                f"the draws of run {str(self.folder)!r} cannot be read ({error}): rerun its command"
            ) from error

    def done(self, n_draws: int | None, unconditional: bool = False) -> frozenset[str]:
        """The examples of which every pair has a score, or the first `n_draws` draws (None: equally many, and some).

        `unconditional`: also each image without a caption. An example of a run with a schedule is done when that
        wants nothing more.
        """
        stamps = tuple((path, part.stamp) for path, part in self._parts().items())
        key = n_draws, unconditional, self._bank_size(), stamps
        if key not in self._done:
            self._done = {key: frozenset(self._measured_ids(n_draws, unconditional))}
        return self._done[key]

    def whole(self, n_draws: int, unconditional: bool = False) -> frozenset[str]:
        """The examples of which every pair has each of the first `n_draws` draws, whatever a schedule wanted."""
        key = n_draws, unconditional, tuple((path, part.stamp) for path, part in self._parts().items())
        if key not in self._whole:
            n_read = min(n_draws, self._bank_size())
            pieces = self._errors(list(self.matches), n_read, unconditional=unconditional) if n_read == n_draws else ()
            whole = {each for chunk, _, mask in pieces for each, its in zip(chunk, mask, strict=True) if its.all()}
            self._whole = {key: frozenset(whole)}
        return self._whole[key]

    def measurements(self, ids: Sequence[str] | None) -> dict[str, Measurement]:
        """The stored errors of each example that has any."""
        n_bank = self._bank_size() if self.has_errors else 0
        if not n_bank:
            return {}
        found: dict[str, Measurement] = {}
        columns = self._columns()
        for chunk, errors, measured in self._errors(self._known(ids), n_bank, columns, unconditional=True):
            for n, example_id in enumerate(chunk):
                one = _measurement(example_id, {name: each[n] for name, each in errors.items()}, measured[n])
                if len(one.draw_ids):
                    found[example_id] = one
        return found

    def tables(self, rule: Rule, ids: Sequence[str]) -> dict[Shape, ScoreTable]:
        """The scores of `ids`, all of them done, in their order; a table for each shape of examples."""
        scores = self._scores_by_rule(rule, ids) if self.has_errors else self._scores(ids)
        by_shape: dict[Shape, list[str]] = {}
        for each in ids:
            by_shape.setdefault(_shape(self.matches[each]), []).append(each)
        return {
            shape: _table([scores[each] for each in members], [self.matches[each] for each in members])
            for shape, members in by_shape.items()
        }

    def seen(self) -> frozenset[str]:
        """The examples of which anything is stored."""
        return frozenset().union(*(part.id_set for part in self._parts().values()))

    def n_common_draws(self, ids: Sequence[str]) -> int:
        """How many leading draws of the bank every pair of each of `ids` was measured on."""
        n_common = self._bank_size() if ids else 0
        for _, _, measured in self._errors(ids, n_common) if n_common else ():
            lacking = np.flatnonzero(~measured.all((0, 1, 2)))
            n_common = min([n_common, *lacking[:1].tolist()])
        return n_common

    def losses(self) -> tuple[str, ...]:
        """The names of the errors that are stored, as a rule knows them; none before anything is."""
        return tuple(map(_parquet.loss_in, self._columns()))

    def error_tables(self, ids: Sequence[str], n_draws: int, rule: Rule) -> Iterator[ErrorTable]:
        """The errors of `ids` that `rule` reads, in pieces that fit in memory; a part's examples stand together.

        All of `ids` are done.
        """
        columns, without = self._columns_of(rule), rule.unconditional
        for chunk, by_column, _ in self._errors(ids, n_draws, columns, unconditional=without):
            is_stored = rule.loss == rule.losses[0]  # as it is: float32 takes half the memory
            errors = by_column[columns[0]] if is_stored else rule.of_stored([by_column[name] for name in columns])
            matches = np.stack([self.matches[each] for each in chunk])
            if without:
                yield ErrorTable(tuple(chunk), errors[:, :, :-1], matches, errors[:, :, -1])
            else:
                yield ErrorTable(tuple(chunk), errors, matches)

    def append(self, results: Sequence[Measurement | ScoreMatrix], record: Mapping[str, Json]) -> Path:
        """Store results as one new part, and who measured them."""
        measurements = joined(each for each in results if isinstance(each, Measurement))
        matrices = [each for each in results if isinstance(each, ScoreMatrix)]
        if measurements and matrices:
            raise TypeError("one part holds Measurements or ScoreMatrix objects, not both")
        table = _parquet.errors_table(measurements) if measurements else _parquet.scores_table(matrices)
        folder = self.folder / ("errors" if measurements else "scores")
        with disk.writing(self.folder):
            folder.mkdir(exist_ok=True)
            words: dict[str, Json] = {
                "n_examples": len(measurements) + len(matrices),
                "n_errors": sum(_n_errors(each) for each in measurements),
                **record,
            }
            content = _parquet.encode(_parquet.recorded(table, words))
            path = folder / _parquet.name(self._next_number(folder), content)
            disk.write(path, content)
            disk.append_line(self.folder / _LINES, self._line(path, content, words))
        return path

    def records(self) -> list[dict[str, Json]]:
        """The record of each usable part, oldest first; n_examples alone where nothing else is known."""
        lines, _ = self._lines()
        found: list[dict[str, Json]] = []
        for path, part in self._parts().items():
            name = self._name(path)
            words = part.record or lines.get(name)
            if words is None:
                self._say_once(
                    f"parts.jsonl of run {str(self.folder)!r} has no line that can be read for part {name!r}: its "
                    "evaluations and its time are not counted"
                )
            found.append({"part": name, "n_examples": len(part.ids), **(words or {})})
        return found

    def write_draws(self, draws: DrawTable) -> bool:
        """Store the bank, and whether it was not there yet; RunError when the folder holds another one."""
        path, table = self.folder / "draws.parquet", _parquet.draws_table(draws)
        try:
            self._check_digest(path)
            stored = _parquet.read(path)
        except (FileNotFoundError, DamagedPart):
            stored = None
        if stored is not None and not stored.equals(table):
            raise RunError(
                f"run {str(self.folder)!r} holds errors of other draws than this model's: "
                "the model's identity() lacks what changed; move the folder away and start again"
            )
        if stored is None:
            with disk.writing(self.folder):
                disk.write(path, _parquet.encode(table))
        return stored is None

    def write_scores(self, rule: Rule) -> None:
        """Derive scores/ from the errors under `rule`, so that any Parquet reader finds them."""
        done = self.done(rule.draws, rule.unconditional)
        scores = self._scores_by_rule(rule, [each for each in self.matches if each in done])
        table = _parquet.scores_table([scores[each] for each in self.matches if each in done])
        with disk.writing(self.folder):
            (self.folder / "scores").mkdir(exist_ok=True)
            disk.write(self._derived, _parquet.encode(table.replace_schema_metadata(_words(rule))))

    def has_scores(self, rule: Rule) -> bool:
        """Whether scores/ was derived under `rule`, and is still what was derived."""
        try:
            self._check_digest(self._derived)
            stored = _parquet.metadata(self._derived).metadata or {}
        except (DamagedPart, FileNotFoundError):
            return False
        return stored == {name.encode(): value.encode() for name, value in _words(rule).items()}

    def damaged(self) -> list[str]:
        """The parts that cannot be used, or are no longer there."""
        self._parts()
        return [self._name(path) for path, part in self._index.items() if part.damage is not None] + self._missing()

    def repair(self) -> None:
        """Set damaged parts aside under a name that readers pass over, and count what is missing no more.

        What _parquet.jsonl lacks of the parts that are there is written again; any partial file was left by a crash.
        """
        with disk.writing(self.folder):
            for name in self.damaged():
                path = self.folder / name
                disk.append_line(self.folder / _LINES, _sealed.sealed({"part": name, "discarded": True}))
                if path.exists():
                    path.rename(path.with_name(f"_{path.name}.damaged"))
            self._mend_lines()
            for leftover in self.folder.rglob(f"{disk.TEMPORARY}*"):
                leftover.unlink()

    @property
    def _derived(self) -> Path:
        return self.folder / "scores" / "scores.parquet"

    def _parts(self) -> dict[Path, _Part]:
        """The usable parts, oldest first; each is read and checked once."""
        folder = self.folder / self._kind
        lines, discarded = self._lines()  # before the parts: a part is there before its line is
        fresh: dict[Path, _Part] = {}
        for path in sorted(folder.glob("*.parquet")):
            if path.name.startswith(("_", ".")):
                continue
            with suppress(FileNotFoundError):  # another process has just set it aside
                status = path.stat()
                stamp = disk.stamp(status)
                known = self._index.get(path)
                fresh[path] = known if known is not None and known.stamp == stamp else self._look_at(path, stamp, lines)
        self._index = fresh
        self._lost = tuple(
            name
            for name in lines
            if name.startswith(f"{self._kind}/") and name not in discarded and self.folder / name not in fresh
        )
        for name in self._missing():
            self._say_once(
                f"part {str(self.folder / name)!r} is missing: its examples are left out; rerun the command to measure "
                "them again"
            )
        return {path: part for path, part in fresh.items() if part.damage is None}

    def _look_at(self, path: Path, stamp: tuple[int, ...], lines: Mapping[str, Mapping[str, Json]]) -> _Part:
        digest = lines.get(self._name(path), {}).get("sha256")
        try:
            ids = _parquet.check(path, digest if isinstance(digest, str) else None)
            return _Part(stamp, tuple(ids), record=_checked_record(_parquet.record(path)))
        except DamagedPart as error:
            damage = str(error).splitlines()[0]
            self.say(
                f"part {str(path)!r} is damaged ({damage}): its examples are left out; "
                "rerun the command to measure them again"
            )
            return _Part(stamp, (), damage)
        except PermissionError as error:
            raise RunError(f"part {str(path)!r} cannot be read ({error.strerror}): make it readable") from error

    def _missing(self) -> list[str]:
        """The parts that _parquet.jsonl has and the disk has not, but for those that were set aside."""
        return [
            name for name in self._lost if not (self.folder / name).with_name(f"_{Path(name).name}.damaged").exists()
        ]

    @property
    def _kind(self) -> str:
        return "errors" if self.has_errors else "scores"

    def _name(self, path: Path) -> str:
        return path.relative_to(self.folder).as_posix()

    def _line(self, path: Path, content: bytes | memoryview, words: Mapping[str, Json]) -> dict[str, Json]:
        digest = hashlib.sha256(content).hexdigest()
        return _sealed.sealed({"part": self._name(path), "size": len(content), "sha256": digest, **words})

    def _lines(self) -> tuple[dict[str, dict[str, Json]], set[str]]:
        """The records in _parquet.jsonl by part, and the parts that were given up; damaged lines are left out."""
        path = self.folder / _LINES
        try:
            status = path.stat()
            stamp = disk.stamp(status)
            if self._lines_read is None or self._lines_read[0] != stamp:
                self._lines_read = stamp, *_read_lines(path.read_bytes())
        except FileNotFoundError:
            return {}, set()
        except OSError as error:
            raise RunError(f"{str(path)!r} cannot be read ({error.strerror or error}): make it readable") from error
        return self._lines_read[1], self._lines_read[2]

    def _mend_lines(self) -> None:
        """Write _parquet.jsonl again where a line is damaged, or a part that knows who measured it has none."""
        lines, discarded = self._lines()
        known = {self._name(path): part for path, part in self._parts().items() if part.record is not None}
        is_whole = self._lines_read is None or self._lines_read[3]
        if is_whole and known.keys() <= lines.keys():
            return
        made = {
            name: self._line(self.folder / name, (self.folder / name).read_bytes(), part.record or {})
            for name, part in known.items()
        }
        kept = {name: {"part": name, **words} for name, words in lines.items() if name not in made}
        gone = [_sealed.sealed({"part": name, "discarded": True}) for name in sorted(discarded)]
        text = "".join(json.dumps(each) + "\n" for each in [*kept.values(), *made.values(), *gone])
        disk.write(self.folder / _LINES, text.encode())

    def _check_digest(self, path: Path) -> None:
        """DamagedPart where a file is not the one that run.json tells of."""
        expected = self.digest_of(self._name(path))
        if expected is not None and _parquet.digest(path) != expected:
            raise DamagedPart("its bytes are not those that were written")

    def _say_once(self, message: str) -> None:
        if message not in self._told:
            self._told.add(message)
            self.say(message)

    def _known(self, ids: Iterable[str] | None) -> list[str]:
        return list(self.matches) if ids is None else [each for each in ids if each in self.matches]

    def _measured_ids(self, n_draws: int | None, unconditional: bool) -> Iterator[str]:
        if not self.has_errors:
            yield from self._scores(list(self.matches))
            return
        n_asked = n_draws or self._bank_size()
        if not 0 < n_asked <= self._bank_size():  # also where the bank is damaged: then all must be asked again
            return
        if self.adaptive is not None:
            yield from (
                example_id for example_id, policy, its in self._raced(list(self.matches)) if _is_over(policy, its)
            )
            return
        for chunk, _, measured in self._errors(list(self.matches), n_asked, unconditional=unconditional):
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
            self._say_once(str(error))
            return 0

    def _scores(self, ids: Sequence[str]) -> dict[str, ScoreMatrix]:
        """Of each of `ids` that has all its scores."""
        found: dict[str, ScoreMatrix] = {}
        for (n_images, n_captions), members in self._by_shape(ids):
            scores = np.zeros((len(members), n_images, n_captions + 1))
            measured = np.zeros(scores.shape, bool)
            for path in self._parts():
                _parquet.fill_scores(path, members, scores, measured, with_no_caption=True)
            for n, each in enumerate(members):
                if measured[n, :, :-1].all():
                    without = scores[n, :, -1] if measured[n, :, -1].all() else None
                    found[each] = ScoreMatrix(each, scores[n, :, :-1], without)
        return found

    def _scores_by_rule(self, rule: Rule, ids: Sequence[str]) -> dict[str, ScoreMatrix]:
        if self.adaptive is not None:
            self._check(rule, self.adaptive)
            return {each: ScoreMatrix(each, policy.scores(*its)) for each, policy, its in self._raced(ids)}
        draws = self.draws()
        n_draws = rule.draws or len(draws.alpha)
        found: dict[str, ScoreMatrix] = {}
        columns = self._columns_of(rule)
        for chunk, errors, measured in self._errors(ids, n_draws, columns, unconditional=rule.unconditional):
            for n, example_id in enumerate(chunk):
                its = {name: each[n] for name, each in errors.items()}
                one = _measurement(example_id, its, measured[n], with_no_caption=rule.unconditional)
                found[example_id] = rules.score(one, draws, rule)
        return found

    def verdicts(self, ids: Sequence[str]) -> Iterator[tuple[str, Verdict]]:
        """What the schedule concludes of each of `ids`, all of them done."""
        yield from ((each, policy.verdict(*its)) for each, policy, its in self._raced(ids))

    def _raced(self, ids: Sequence[str]) -> Iterator[tuple[str, Weighted, tuple[Floats, Bools]]]:
        """Each example's policy with its errors and mask [I, C, D]."""
        adaptive, draws = cast(Adaptive, self.adaptive), self.draws()
        for chunk, errors, measured in self._errors(ids, adaptive.draws, self._columns_of(adaptive.rule)):
            for n, each in enumerate(chunk):
                policy = adaptive.policy(each, self.matches[each], draws, self.classes)
                whole = adaptive.rule.of_stored([its[n] for its in errors.values()])
                yield each, policy, (whole, measured[n])

    def _check(self, rule: Rule, adaptive: Adaptive) -> None:
        if rule != adaptive.rule:
            raise UsageError(
                f"run {str(self.folder)!r} stopped measuring where its own rule ({adaptive.rule.target}, "
                f"{adaptive.rule.draws} draws) had decided and cannot be read by another; run it with schedule=full"
            )

    def _columns_of(self, rule: Rule) -> tuple[str, ...]:
        """The columns that a rule reads; UsageError where the run lacks one. A run of no parts lacks none yet."""
        stored = self.losses()
        if stored and (lacking := set(rule.losses).difference(stored)):
            raise UsageError(
                f"run {str(self.folder)!r} holds no errors {', '.join(sorted(lacking))!r}; it has {', '.join(stored)}"
            )
        return tuple(map(_parquet.column_of, rule.losses))

    def _columns(self) -> tuple[str, ...]:
        """The columns of the errors: `errors` and one for each further loss, as in the first part; none yet."""
        first = next(iter(self._parts()), None)
        names = [] if first is None else _parquet.metadata(first).names
        return tuple(name for name in names if name not in ("example_id", "image", "caption", "draws"))

    def _errors(
        self, ids: Sequence[str], n_draws: int, columns: Sequence[str] = (), *, unconditional: bool = False
    ) -> Iterator[tuple[list[str], dict[str, Floats], Bools]]:
        """(ids, errors [n, I, C, D] by column, mask) in pieces that fit in memory, each part read for few of them.

        `unconditional`: the last caption of the arrays is no caption at all.
        """
        usable = self._parts()
        first = {each: n for n, part in reversed(list(enumerate(usable.values()))) for each in part.ids}
        for (n_images, n_captions), members in self._by_shape(each for each in ids if each in first):
            members.sort(key=lambda each: first[each])  # so that a part's examples stand together; the sort is stable
            shape = n_images, n_captions + unconditional, n_draws
            size = max(1, self.bytes_at_once // (int(np.prod(shape)) * (4 * max(len(columns), 1) + 1)))
            for start in range(0, len(members), size):
                chunk = members[start : start + size]
                measured = np.zeros((len(chunk), *shape), bool)
                errors = {name: np.zeros(measured.shape, np.float32) for name in columns}
                for path in (path for path, part in usable.items() if not part.id_set.isdisjoint(chunk)):
                    _parquet.fill_errors(path, chunk, errors, measured, with_no_caption=unconditional)
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

    stamp: tuple[int, ...]
    ids: tuple[str, ...]
    damage: str | None = None
    record: dict[str, Json] | None = None  # who measured it, where the part says so

    @cached_property
    def id_set(self) -> frozenset[str]:
        return frozenset(self.ids)


def _read_lines(content: bytes) -> tuple[dict[str, dict[str, Json]], set[str], bool]:
    """The records by part, the parts that were given up, and whether every line is whole."""
    found: dict[str, dict[str, Json]] = {}
    discarded: set[str] = set()
    lines = [line for line in content.split(b"\n") if line.strip()]
    n_good = 0
    for line in lines:
        try:
            words = _sealed.opened(line)
        except _sealed.Damaged:
            continue
        name = words.pop("part", None)
        if not isinstance(name, str) or not _PART.fullmatch(name):
            continue
        if words.get("discarded") is True:
            discarded.add(name)
        elif (record := _checked_record(words)) is not None:
            found[name] = record
        else:
            continue
        n_good += 1
    return found, discarded, n_good == len(lines) and content[-1:] in (b"", b"\n")


def _checked_record(words: dict[str, Any] | None) -> dict[str, Json] | None:
    """The record of a part; None where its counts are not numbers."""
    if words is None:
        return None
    counts = [words.get(name, 0) for name in ("n_examples", "n_errors", "n_evaluations")]
    seconds = words.get("seconds", 0)
    is_right = all(isinstance(each, int) and not isinstance(each, bool) and each >= 0 for each in counts)
    is_right &= isinstance(seconds, int | float) and not isinstance(seconds, bool) and 0 <= seconds < math.inf
    return words if is_right and isinstance(words.get("versions", {}), dict) else None


def _shape(matches: Bools) -> Shape:
    return matches.shape[0], matches.shape[1]


def _is_over(policy: Weighted, its: tuple[Floats, Bools]) -> bool:
    return not (policy.wanted(*its) & ~its[1]).any()


def _measurement(
    example_id: str, errors: Mapping[str, Floats], measured: Bools, *, with_no_caption: bool = True
) -> Measurement:
    """Of arrays [I, C, D], the last caption of which is none if `with_no_caption`."""
    draws = np.flatnonzero(measured.any((0, 1)))
    is_there = with_no_caption and bool(measured[:, -1, draws].any())
    kept = slice(None, -1 if with_no_caption and not is_there else None)
    by_loss = {_parquet.loss_in(column): values[:, kept, draws] for column, values in errors.items()}
    return Measurement(example_id, draws.astype(np.int32), by_loss, measured[:, kept, draws], is_there)


def _n_errors(measurement: Measurement) -> int:
    return int(measurement.measured.sum())


def _table(matrices: Sequence[ScoreMatrix], matches: Sequence[Bools]) -> ScoreTable:
    known = [each.unconditional for each in matrices if each.unconditional is not None]
    return ScoreTable(
        tuple(each.example_id for each in matrices),
        np.stack([each.scores for each in matrices]),
        np.stack(matches),
        np.stack(known) if len(known) == len(matrices) else None,
    )


def _words(rule: Rule) -> dict[str, str]:
    words = {"target": rule.target, "n_draws": "" if rule.draws is None else str(rule.draws)}
    extra = {"reduction": rules.stored_loss(rule.loss)} if rule.loss != "l2" else {}
    return words | extra | ({"unconditional": "true"} if rule.unconditional else {})
