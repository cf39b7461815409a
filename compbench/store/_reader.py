"""The contents of a run folder as arrays, streamed over its parts for a bounded number of examples at a time.

Reading needs no lock, and costs time linear in what is read. Where two parts hold the same draw of the same pair the
later part counts; how the draws are spread over parts changes no bit of a result.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import cast

import numpy as np

from compbench.core import disk, rules
from compbench.core.aliases import Bools, Floats
from compbench.core.errors import RunError, UsageError
from compbench.core.examples import Classes, ErrorTable, ScoreTable
from compbench.core.measurements import DrawTable, Measurement
from compbench.core.rules import Rule
from compbench.schedules.racing import Racing
from compbench.schedules.schedule import Full, Schedule
from compbench.schedules.staged import Staged
from compbench.store import _parquet, _rows
from compbench.store._damage import Damaged, check_digest
from compbench.store._known import KnownErrors
from compbench.store._measured import Coverage, measurement_of, scored
from compbench.store._parts import Parts
from compbench.store._verdicts import Verdicts
from compbench.store.stored_examples import NAME, StoredExamples, read_examples

__all__ = ["Contents", "Shape", "words_of"]

Shape = tuple[int, int]  # (I, C)
_FEW = 8  # of so many times as many examples, whether they are done is looked up without looking at the others


@dataclass
class Contents:
    """The examples, draws and parts in `folder`; parts that appear later are seen."""

    folder: Path
    say: Callable[[str], None]
    schedule_of: Callable[[], Schedule]  # it changes when the first wave of a race is frozen
    classes: Classes | None = None
    bytes_at_once: int = 64_000_000  # of errors and their mask in memory, whatever the size of the run
    digest_of: Callable[[str], str | None] = lambda name: None  # of a file in the folder, where run.json has it
    _bank: tuple[tuple[int, ...], DrawTable] | None = None
    _covered: tuple[object, Coverage] | None = None
    _done: dict[tuple[object, ...], frozenset[str]] = field(default_factory=dict[tuple[object, ...], frozenset[str]])
    _verdicts: Verdicts | None = None
    _scored: tuple[tuple[object, ...], dict[Shape, ScoreTable]] | None = None

    @property
    def schedule(self) -> Schedule:
        """The schedule of the draws that are measured."""
        return self.schedule_of()

    @cached_property
    def parts(self) -> Parts:
        """The list of its parts."""
        return Parts(self.folder, self.say)

    @property
    def has_errors(self) -> bool:
        """Whether it is the run of a scorer that measures errors."""
        return self.parts.has_errors

    @cached_property
    def examples(self) -> StoredExamples:
        """All examples of the task, in its order."""
        path = self.folder / NAME
        try:
            return read_examples(path, is_known=self.check_digest(path))
        except (Damaged, FileNotFoundError) as error:
            raise RunError(
                f"{str(path)!r} is damaged or missing ({error}): rerun the command that made the run"
            ) from error

    @cached_property
    def matches(self) -> dict[str, Bools]:
        """Example id -> [I, C], in the task's order."""
        return dict(zip(self.examples.ids, self.examples.matches, strict=True))

    def draws(self) -> DrawTable:
        """The bank of the run, read again where its file has changed."""
        path = self.folder / "draws.parquet"
        try:
            stamp = disk.stamp(path.stat())
            if self._bank is None or self._bank[0] != stamp:
                self.check_digest(path)
                self._bank = stamp, _parquet.read_draws(path)
            return self._bank[1]
        except (Damaged, FileNotFoundError) as error:
            raise RunError(
                f"the draws of run {str(self.folder)!r} cannot be read ({error}): rerun its command"
            ) from error

    def done(self, n_draws: int | None, unconditional: bool = False) -> frozenset[str]:
        """The examples of which every pair has a score, or the first `n_draws` draws (None: equally many, and some).

        `unconditional`: also each image without a caption. An example of a run with a schedule is done when that
        wants nothing more.
        """
        key = n_draws, unconditional, self._bank_size(), self.parts.usable(), self.schedule
        if key not in self._done:
            self._done = {key: frozenset(self._measured_ids(None, n_draws, unconditional))}
        return self._done[key]

    def done_of(self, ids: Sequence[str], n_draws: int | None, unconditional: bool = False) -> frozenset[str]:
        """Those of `ids` that are done; of a run with a schedule only they are looked at, which may mean a replay."""
        if not isinstance(self.schedule, Full) and self.has_errors and self._bank_size():
            return frozenset(self.verdicts.concluded(self._known(ids)))
        is_known = (n_draws, unconditional, self._bank_size(), self.parts.usable(), self.schedule) in self._done
        if is_known or _FEW * len(ids) > len(self.matches):
            return self.done(n_draws, unconditional).intersection(ids)
        return frozenset(self._measured_ids(self._known(ids), n_draws, unconditional))

    def whole(self, n_draws: int, unconditional: bool = False) -> frozenset[str]:
        """The examples of which every pair has each of the first `n_draws` draws, whatever a schedule wanted."""
        found = self._coverage()
        return frozenset(found.named((found.n_leading_without if unconditional else found.n_leading) >= n_draws))

    def known(self, ids: Sequence[str]) -> Mapping[str, Measurement]:
        """The stored errors of each of `ids` that has any, read as they are asked for."""
        seen = self.seen() if self.has_errors and self._bank_size() else frozenset[str]()
        return KnownErrors([name for name in ids if name in seen], self._near, self.measurements)

    def _near(self, ids: Sequence[str]) -> int:
        """The number of the first `ids` that fit in memory at once."""
        n_bytes = 4 * max(len(self._columns()), 1) + 1
        sizes = np.cumsum([self.matches[name].size * self._bank_size() * n_bytes for name in ids])
        return max(1, int(np.searchsorted(sizes, self.bytes_at_once, side="right")))

    def measurements(self, ids: Sequence[str] | None) -> dict[str, Measurement]:
        """The stored errors of each example that has any."""
        n_bank = self._bank_size() if self.has_errors else 0
        if not n_bank:
            return {}
        found: dict[str, Measurement] = {}
        columns = self._columns()
        for chunk, errors, measured in self._errors(self._known(ids), n_bank, columns, unconditional=True):
            for n, example_id in enumerate(chunk):
                one = measurement_of(example_id, {name: rows[n] for name, rows in errors.items()}, measured[n])
                if len(one.draw_ids):
                    found[example_id] = one
        return found

    def tables(self, rule: Rule, ids: Sequence[str]) -> dict[Shape, ScoreTable]:
        """The scores of `ids`, all of them done, in their order; a table for each shape of examples."""
        key = rule, tuple(ids), self.parts.usable()
        if self._scored is None or self._scored[0] != key:
            scored = self._scores_by_rule(rule, ids) if self.has_errors else self._scores(ids)
            self._scored = key, {_shape(table.matches[0]): table for table in scored}
        return dict(self._scored[1])

    def no_tables(self) -> dict[Shape, ScoreTable]:
        """A table without a row, of the first shape of examples."""
        shape = self._shapes[0] if self._shapes else (0, 0)
        return {shape: ScoreTable((), np.zeros((0, *shape)), np.zeros((0, *shape), bool))}

    def seen(self) -> frozenset[str]:
        """The examples of which anything is stored."""
        return frozenset(self.parts.usable().numbers_of)

    def n_common_draws(self, ids: Sequence[str]) -> int:
        """The number of leading draws of the bank on which every pair of each of `ids` was measured."""
        covered, wanted = self._coverage(), set(ids)
        n_of = [n for name, n in zip(covered.ids, covered.n_leading.tolist(), strict=True) if name in wanted]
        return min(n_of, default=self._bank_size() if wanted else 0)

    def losses(self) -> tuple[str, ...]:
        """The names of the errors that are stored, as a rule knows them; none before anything is."""
        return tuple(map(_parquet.loss_in, self._columns()))

    def error_tables(self, ids: Sequence[str], n_draws: int, rule: Rule) -> Iterator[ErrorTable]:
        """The errors of `ids` that `rule` reads, in pieces that fit in memory; a part's examples stand together.

        All of `ids` are done.
        """
        columns, without = self._columns_of(rule), rule.unconditional
        for chunk, by_column, _ in self._errors(ids, n_draws, columns, unconditional=without):
            stored = [by_column[name] for name in columns]
            errors = stored[0] if rule.is_as_stored else rule.of_stored(stored)  # float32 takes half the memory
            matches = np.stack([self.matches[example] for example in chunk])
            if without:
                yield ErrorTable(tuple(chunk), errors[:, :, :-1], matches, errors[:, :, -1])
            else:
                yield ErrorTable(
                    tuple(chunk), errors, matches, errors.mean(2, dtype=np.float64) if rule.normalise else None
                )

    def has_derived(self, rule: Rule) -> bool:
        """Whether all that the writer derives under `rule` is stored, and still what was derived."""
        done = frozenset[str]() if isinstance(self.schedule, Full) else self.done(rule.draws)
        if done and not self.verdicts.are_stored(list(done)):
            return False
        try:
            self.check_digest(self.derived)
            stored = _parquet.metadata(self.derived).metadata or {}
        except (Damaged, FileNotFoundError):
            return False
        return stored == {name.encode(): value.encode() for name, value in words_of(rule).items()}

    @property
    def derived(self) -> Path:
        return self.folder / "scores" / "scores.parquet"

    def check_digest(self, path: Path) -> bool:
        """Whether run.json has the digest of a file; Damaged where the file is another."""
        expected = self.digest_of(path.relative_to(self.folder).as_posix())
        if expected is not None:
            check_digest(_parquet.digest(path), expected)
        return expected is not None

    def _known(self, ids: Iterable[str] | None) -> list[str]:
        return list(self.matches) if ids is None else [example_id for example_id in ids if example_id in self.matches]

    def _measured_ids(self, ids: Sequence[str] | None, n_draws: int | None, unconditional: bool) -> Iterator[str]:
        """Those of `ids` (None: of all) that are measured; only the parts that hold something of them are read."""
        if not self.has_errors:
            for members, _, measured in self._stored_scores(self._known(ids)):
                is_whole = np.logical_and.reduce(measured[:, :, :-1], axis=(1, 2))
                yield from (members[place] for place in np.flatnonzero(is_whole).tolist())
            return
        n_asked = n_draws or self._bank_size()
        if not 0 < n_asked <= self._bank_size():  # also where the bank is damaged: then all must be asked again
            return
        if not isinstance(self.schedule, Full):
            yield from self.verdicts.concluded(self._known(ids))
            return
        found = self._coverage() if ids is None else self._coverage_of(ids)
        if n_draws is not None:
            yield from found.named((found.n_leading_without if unconditional else found.n_leading) >= n_draws)
        else:
            yield from found.named(found.is_even_without if unconditional else found.is_even)

    def _coverage(self) -> Coverage:
        """The draws that each example was measured on, from one pass over their numbers."""
        key = self.parts.usable(), self._bank_size()
        if self._covered is None or self._covered[0] != key:
            self._covered = key, self._coverage_of(list(self.matches))
        return self._covered[1]

    def _coverage_of(self, ids: Sequence[str]) -> Coverage:
        n_bank = self._bank_size()
        pieces = self._errors(ids, n_bank, unconditional=True) if n_bank else ()
        return Coverage.of((chunk, measured) for chunk, _, measured in pieces)

    def _bank_size(self) -> int:
        """0 where the draws cannot be read: the scorer rewrites them."""
        if not self.has_errors:
            return 0
        try:
            return len(self.draws().alpha)
        except RunError as error:
            self.parts.say_once(str(error))
            return 0

    def _stored_scores(self, ids: Iterable[str]) -> Iterator[tuple[list[str], Floats, Bools]]:
        """For each shape of examples, those with scores and mask [N, I, C + 1]; the last stands for no caption."""
        usable = self.parts.usable()
        for (n_images, n_captions), members in self._by_shape(ids):
            scores = np.zeros((len(members), n_images, n_captions + 1))
            measured = np.zeros(scores.shape, bool)
            place_of = {name: place for place, name in enumerate(members)}
            fill = partial(_rows.fill_scores, place_of=place_of, scores=scores, measured=measured, with_no_caption=True)
            self.parts.read_each(usable, members, fill)
            yield members, scores, measured

    def _scores(self, ids: Sequence[str]) -> Iterator[ScoreTable]:
        for members, scores, measured in self._stored_scores(ids):
            without = scores[:, :, -1] if measured[:, :, -1].all() else None
            yield self._table(members, scores[:, :, :-1], without)

    def _scores_by_rule(self, rule: Rule, ids: Sequence[str]) -> Iterator[ScoreTable]:
        if not isinstance(self.schedule, Full):
            self._check(rule, self.schedule)
            concluded = self.verdicts.concluded(ids)
            for _, members in self._by_shape(ids):
                yield self._table(members, np.stack([concluded[name].scores for name in members]))
            return
        if not ids:
            return  # a run whose draws are lost has measured nothing, and can still be shown
        draws, columns = self.draws(), self._columns_of(rule)
        n_draws = rule.draws or len(draws.alpha)
        for shape, members in self._by_shape(ids):
            found = np.zeros((len(members), shape[0], shape[1] + rule.unconditional))
            place_of = {name: place for place, name in enumerate(members)}
            for chunk, errors, measured in self._errors(members, n_draws, columns, unconditional=rule.unconditional):
                found[[place_of[name] for name in chunk]] = scored(chunk, errors, measured, draws, rule)
            scores = found[:, :, : shape[1]]
            without = found[:, :, -1] if rule.unconditional else scores.mean(2) if rule.normalise else None
            yield self._table(members, scores, without)

    def _table(self, members: Sequence[str], scores: Floats, without: Floats | None = None) -> ScoreTable:
        """A table that several readers share: it cannot be written to."""
        scores, matches = np.ascontiguousarray(scores), np.stack([self.matches[name] for name in members])
        for array in (scores, matches):
            array.setflags(write=False)
        return ScoreTable(tuple(members), scores, matches, without)

    @property
    def verdicts(self) -> Verdicts:
        """The conclusions of the schedule; only of a run that has one."""
        schedule = cast(Staged | Racing, self.schedule)
        if self._verdicts is None or self._verdicts.schedule != schedule:
            self._verdicts = Verdicts(
                self.folder,
                schedule,
                self.matches,
                self.draws(),
                self.classes,
                self._to_replay,
                self.parts.usable,
                self.parts.say_once,
            )
        return self._verdicts

    def _to_replay(self, ids: Sequence[str]) -> Iterator[tuple[str, Floats, Bools]]:
        """Each example's errors and mask [I, C, D], as its policy reads them."""
        schedule = cast(Staged | Racing, self.schedule)
        for chunk, errors, measured in self._errors(ids, schedule.draws, self._columns_of(schedule.rule)):
            for n, name in enumerate(chunk):
                yield name, schedule.rule.of_stored([own[n] for own in errors.values()]), measured[n]

    def _check(self, rule: Rule, schedule: Staged | Racing) -> None:
        if rule != schedule.rule:
            raise UsageError(
                f"run {str(self.folder)!r} stopped measuring where its own rule ({schedule.rule.target}, "
                f"{schedule.rule.draws} draws) had decided, so it cannot be read by another; run it with schedule=full"
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
        usable = self.parts.usable().parts
        names = usable[0].columns if usable else ()
        return tuple(name for name in names if name not in ("example_id", "image", "caption", "draws"))

    def _errors(
        self, ids: Sequence[str], n_draws: int, columns: Sequence[str] = (), *, unconditional: bool = False
    ) -> Iterator[tuple[list[str], dict[str, Floats], Bools]]:
        """(ids, errors [n, I, C, D] by column, mask) in pieces that fit in memory, each part read for few of them.

        `unconditional`: the last caption of the arrays stands for no caption.
        """
        usable = self.parts.usable()
        first = usable.numbers_of
        for (n_images, n_captions), members in self._by_shape(name for name in ids if name in first):
            members.sort(key=lambda name: first[name][0])  # a part's examples stand together; the sort is stable
            shape = n_images, n_captions + unconditional, n_draws
            size = max(1, self.bytes_at_once // (int(np.prod(shape)) * (4 * max(len(columns), 1) + 1)))
            for start in range(0, len(members), size):
                chunk = members[start : start + size]
                place_of = {name: place for place, name in enumerate(chunk)}
                measured = np.zeros((len(chunk), *shape), bool)
                errors = {name: np.zeros(measured.shape, np.float32) for name in columns}
                fill = partial(
                    _rows.fill_errors,
                    place_of=place_of,
                    errors=errors,
                    measured=measured,
                    with_no_caption=unconditional,
                )
                self.parts.read_each(usable, chunk, fill)
                yield chunk, errors, measured

    @cached_property
    def _shapes(self) -> tuple[Shape, ...]:
        return tuple(dict.fromkeys(map(_shape, self.matches.values())))

    def _by_shape(self, ids: Iterable[str]) -> list[tuple[Shape, list[str]]]:
        by_shape: dict[Shape, list[str]] = {}
        if len(self._shapes) == 1 and (members := list(ids)):
            return [(self._shapes[0], members)]
        for example_id in ids:
            by_shape.setdefault(_shape(self.matches[example_id]), []).append(example_id)
        return list(by_shape.items())


def _shape(matches: Bools) -> Shape:
    return matches.shape[0], matches.shape[1]


def words_of(rule: Rule) -> dict[str, str]:
    """The metadata in the file of derived scores about the rule they were derived under."""
    words = {name: word for name, word in rule.words().items() if name not in ("draws", "loss")}
    words |= {"n_draws": "" if rule.draws is None else str(rule.draws)}
    return words | ({"reduction": rules.stored_loss(rule.loss)} if rule.loss != "l2" else {})
