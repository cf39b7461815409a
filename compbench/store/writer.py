"""Writing a run: alone with it, or with a shard of it, from the moment the context is entered until it is left."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, suppress
from pathlib import Path
from types import TracebackType

from compbench.core import disk
from compbench.core.aliases import Json
from compbench.core.errors import RunError
from compbench.core.measurements import DrawTable, Measurement, ScoreMatrix, joined
from compbench.core.rules import Rule
from compbench.schedules.racing import Racing
from compbench.schedules.schedule import Full
from compbench.schedules.wave import Wave
from compbench.store import _compaction, _damage, _pairs, _parquet, provenance, run_file
from compbench.store._damage import Damaged
from compbench.store._fullest import fullest
from compbench.store._reader import words_of
from compbench.store.lock import Guard, is_shared, locked
from compbench.store.run import Run
from compbench.store.shards import Shard

__all__ = ["RunWriter"]


class RunWriter:
    """Measures into `run`; RunError, on entering, names the process that is there already.

    `asked` is how a shard is to be read: RunError where another shard at work was asked for something else. Each change
    of the files is made under a guard, so that shards that measure at one time do not mix them up.
    """

    def __init__(self, run: Run, shard: Shard | None = None, asked: Mapping[str, Json] | None = None) -> None:
        self.run, self._shard, self._asked = run, shard, asked
        self._guard = Guard(run.path, run.say, run.wait)
        self._held = ExitStack()
        self._derived: tuple[object, memoryview] | None = None  # scores, and what they rest on

    def __enter__(self) -> RunWriter:
        self._held.enter_context(locked(self.run.path, self.run.say, self._shard, self._asked, self.run.wait))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._held.close()

    def guarded(self) -> AbstractContextManager[None]:
        """Alone with the files for the moment of a change, whichever processes measure; every change enters it."""
        return self._guard()

    def append(self, results: Sequence[Measurement | ScoreMatrix], **record: Json) -> Path:
        """Store results as one part, whole or not at all; `record` says who measured them."""
        measurements = joined(result for result in results if isinstance(result, Measurement))
        matrices = [result for result in results if isinstance(result, ScoreMatrix)]
        if measurements and matrices:
            raise TypeError("one part holds Measurements or ScoreMatrix objects, not both")
        table = _pairs.errors_table(measurements) if measurements else _pairs.scores_table(matrices)
        words: dict[str, Json] = {
            "n_examples": len(measurements) + len(matrices),
            "n_errors": sum(int(measurement.measured.sum()) for measurement in measurements),
            **record,
        }
        # write.lock is held for a moment, so that no two parts get one number and no lines are mixed
        return self.run.contents.parts.append(table, words, "errors" if measurements else "scores", self.guarded)

    def write_examples(self, content: bytes | memoryview, **task: Json) -> None:
        """Replace the file of the examples by another one of the same ids; `task` is what run.json says otherwise."""
        with self.guarded(), disk.writing(self.run.path):
            disk.write(self.run.path / "examples.parquet", content)
            info = run_file.words(self.run.path)
            self._write({**info, "task": {**info["task"], **task}, "files": self._digests("examples.parquet")})
        self.run.__dict__.pop("contents", None)  # what it had read of the old one

    def keep_wave(self, wave: Wave) -> Racing:
        """Store the first wave of a race, unless one is frozen, and return the schedule as it is then."""
        with self.guarded():
            stored = self.run.info.wave
            if stored is None or stored.lesson is None:
                self._write({**run_file.words(self.run.path), "wave": wave.to_json()})
        schedule = self.run.schedule
        assert isinstance(schedule, Racing)
        return schedule

    def write_draws(self, draws: DrawTable) -> None:
        """Store the bank; RunError when the run was measured with another."""
        path, table = self.run.path / "draws.parquet", _parquet.draws_table(draws)
        with self.guarded():
            try:
                self.run.contents.check_digest(path)
                stored = _parquet.read(path)
            except (FileNotFoundError, Damaged):
                stored = None
            if stored is not None and not stored.equals(table):
                raise RunError(
                    f"run {str(self.run.path)!r} holds errors of other draws than this model's: "
                    "the model's identity() leaves out the change; move the folder away and start again"
                )
            if stored is None:
                with disk.writing(self.run.path):
                    disk.write(path, _parquet.encode(table))
                self._write({**run_file.words(self.run.path), "files": self._digests("draws.parquet")})
                if self.run.contents.parts.usable().parts:  # errors of these draws
                    self.run.say(_damage.rewritten(self.run.path, ["draws.parquet"], "from the model's options"))

    def repair(self) -> None:
        """Set damaged parts aside, so that their examples are measured again, and compact the small ones."""
        with self.guarded():
            self.run.contents.parts.repair()
            self._compact()

    def compact(self) -> None:
        """Put small parts together where there are many, while others measure."""
        with self.guarded():
            self._compact()

    def settle(self, limit: int | None, view: Mapping[str, Json] | None = None) -> None:
        """Derive the scores of an error run by its own rule, its verdicts if it has any, and say how far it is.

        `view` is how the command that ends here reads the run; it becomes the run's own where it reads more of it.
        """
        with self.guarded():
            self._settle_verdicts()
            own, n_done = fullest(self.run, view)
            is_whole = n_done == self.run.info.n_task_examples
            has_errors = self.run.contents.has_errors
            if has_errors:
                self._write_scores(Rule.of_view(own))
            files = self._digests(*(["scores/scores.parquet"] if has_errors else []))
            status, limit = ("done", None) if is_whole else ("partial", limit)
            self.mark(status, view=own, limit=limit, files=files, sharded=None)
            self._compact()

    def conclude(self, ids: Sequence[str]) -> None:
        """Store what the schedule concludes of examples, so that no reader has to replay it; takes write.lock."""
        contents = self.run.contents
        if not isinstance(contents.schedule, Full) and contents.has_errors and contents.done_of(ids, None):
            contents.verdicts.store(ids, self.guarded)

    def derive(self, view: Mapping[str, Json] | None = None) -> None:
        """Do what takes long in `settle` beforehand, so that `settle` keeps other writers waiting only briefly."""
        self.conclude(list(self.run.contents.matches))
        if self.run.contents.has_errors:
            self._derived_scores(Rule.of_view(fullest(self.run, view)[0]))

    def discard(self) -> None:
        """Remove the folder of a run that holds no measurement, and those above it that this leaves empty.

        The last of several shards does it.
        """
        path = self.run.path
        with self.guarded(), disk.writing(path):
            has_measured = (path / "parts.jsonl").exists() or any(path.glob("*/*.parquet*"))
            if has_measured or is_shared(path, self._shard):
                return
            shutil.rmtree(path)
            with suppress(OSError):  # not empty
                for folder in list(path.parents)[:2]:  # of the model, of the task
                    folder.rmdir()

    def leave(self) -> None:
        """A shard ends while others lack examples: the last to leave says that the run is not whole."""
        with self.guarded():
            info = self.run.info
            if not is_shared(self.run.path, self._shard) and info.status == "running":
                is_seen = len(self.run.seen()) == info.n_task_examples  # sooner known than what is done
                is_whole = is_seen and fullest(self.run, None)[1] == info.n_task_examples
                self.mark("done" if is_whole else "partial")

    def mark(self, status: str, **changes: Json) -> None:
        """Write the status, and other lines of run.json."""
        with self.guarded():
            changed = {**run_file.words(self.run.path), **changes, "status": status, "updated": provenance.now()}
            self._write({name: value for name, value in changed.items() if (name, value) != ("sharded", None)})

    def _compact(self) -> None:
        """Put small parts together where there are many; the caller holds write.lock."""
        parts = self.run.contents.parts
        if _compaction.is_worthwhile(parts):
            self._write(
                {**run_file.words(self.run.path), "format": run_file.COMPACTED}
            )  # before an older version finds parts missing
            _compaction.compact(parts)

    def _settle_verdicts(self) -> None:
        contents = self.run.contents
        if not isinstance(contents.schedule, Full) and contents.has_errors and contents.done(None):
            contents.verdicts.store(list(contents.matches), self.guarded)
            contents.verdicts.remove_unused()

    def _write_scores(self, rule: Rule) -> None:
        """Derive scores/ from the errors under `rule`, so that any Parquet reader finds them."""
        contents, content = self.run.contents, self._derived_scores(rule)
        with disk.writing(self.run.path):
            contents.derived.parent.mkdir(exist_ok=True)
            disk.write(contents.derived, content)

    def _derived_scores(self, rule: Rule) -> memoryview:
        """The file of the scores of all that is done; derived once as long as no part is added."""
        contents = self.run.contents
        key = rule, contents.parts.usable()
        if self._derived is None or self._derived[0] != key:
            done = contents.done(rule.draws, rule.unconditional)
            ids = [name for name in contents.matches if name in done]
            table = _pairs.whole_scores_table(contents.tables(rule, ids).values(), ids)
            self._derived = key, _parquet.encode(table.replace_schema_metadata(words_of(rule)))
        return self._derived[1]

    def _write(self, info: Mapping[str, Json]) -> None:
        with disk.writing(self.run.path):
            run_file.write(self.run.path, info)

    def _digests(self, *written: str) -> dict[str, Json]:
        """Digests of the files beside the parts: of those just `written`, and of all where a run has none yet."""
        path = self.run.path
        known: dict[str, Json] = dict(self.run.info.files)
        wanted = [*written, *(name for name in ("examples.parquet", "draws.parquet") if name not in known)]
        return known | {name: _parquet.digest(path / name) for name in wanted if (path / name).is_file()}
