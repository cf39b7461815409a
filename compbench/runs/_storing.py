"""Results in memory until they are worth a part: what a process measured, and who it was, stored as it comes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from compbench.core.aliases import Json
from compbench.core.errors import RunError
from compbench.core.measurements import Measurement, ScoreMatrix
from compbench.core.models import Scorer, TellsEngine, TellsLesson
from compbench.registry.plugins import blamed
from compbench.runs._online import OnlineScorer
from compbench.runs._told import told
from compbench.runs.interrupts import Interrupts
from compbench.schedules.schedule import Schedule
from compbench.store import provenance
from compbench.store.run import Run
from compbench.store.writer import RunWriter

__all__ = ["Led", "StoredParts", "check_lesson"]

# results wait in memory for a hundredth of the time so far, within these bounds, and are then written as one part
_SECONDS_BETWEEN_PARTS = (0.5, 60.0)
_SECONDS_OF_THE_LED = 300.0  # of one of many processes: each part costs all of them a look at it


@dataclass(slots=True)
class Led:
    """The state that a process keeps which is given one block of examples after another."""

    prepared_for: Schedule | None = None  # the schedule by which its scorer is prepared for the task
    engine: dict[str, Json] = field(default_factory=dict[str, Json])  # that computed the part before


class Records(Protocol):
    """Notes on what was measured, for the record of a part."""

    def record(self, results: Iterable[Measurement | ScoreMatrix]) -> dict[str, Json]: ...


class StoredParts:
    """Results in memory, written as one part when the time has come and at the end."""

    def __init__(
        self,
        run: Run,
        writer: RunWriter,
        interrupts: Interrupts,
        device: str | None,
        online: OnlineScorer | None,
        notes: Records,
        scorer: Scorer,
        say: Callable[[str], None],
        led: Led | None,
    ) -> None:
        self._run, self._writer, self._interrupts, self._device, self._notes = run, writer, interrupts, device, notes
        self._scorer, self._say = scorer, say
        self._led = led or Led(engine=_engine_of_last_part(run) if isinstance(scorer, TellsEngine) else {})
        self._bounds = _SECONDS_BETWEEN_PARTS if led is None else (_SECONDS_OF_THE_LED,) * 2
        self.online, self._n_counted = online, 0
        self._results: list[Measurement | ScoreMatrix] = []
        self._began = self._flushed = time.monotonic()

    def add(self, result: Measurement | ScoreMatrix) -> None:
        self._results.append(result)
        now = time.monotonic()
        shortest, longest = self._bounds
        if now - self._flushed >= min(max((now - self._began) / 100, shortest), longest):
            self.flush()

    def flush(self) -> None:
        if not self._results:
            return
        with self._interrupts.held():
            self._writer.append(
                self._results,
                seconds=round(time.monotonic() - self._flushed, 3),
                **self._evaluations(),
                **self._notes.record(self._results),
                **self._engine(),
                **told(self._scorer),
                **provenance.here(self._device),
            )
            self._results, self._flushed = [], time.monotonic()

    def _engine(self) -> dict[str, Json]:
        """The engine and batch size of this part; a difference from the part before is said."""
        if not isinstance(self._scorer, TellsEngine):
            return {}
        engine = dict(self._scorer.computed_with())
        if self._led.engine and self._led.engine != engine:
            self._say(
                f"{self._run.key.task} · {self._run.key.model}: errors stored before were computed with "
                f"{_words(self._led.engine)}, these with {_words(engine)}; the errors are the same up to "
                f"rounding, and parts.jsonl says which are which"
            )
        self._led.engine = engine
        return engine

    def _evaluations(self) -> dict[str, int]:
        """The number of errors behind the scores of this part, which are not stored themselves."""
        if self.online is None:
            return {}
        n_errors = self.online.n_evaluations - self._n_counted
        self._n_counted = self.online.n_evaluations
        return {"n_errors": n_errors}


def check_lesson(scorer: Scorer, run: Run) -> None:
    """RunError where the model learned from other pictures than it had when the run's first part was measured."""
    if not isinstance(scorer, TellsLesson):
        return
    with blamed(scorer, "when asked what it learned from"):
        now = scorer.learned_from()
    parts = [part for part in run.parts() if "learned_from" in part]
    if parts and parts[-1]["learned_from"] != now:
        raise RunError(
            f"run {str(run.path)!r} was begun with {run.key.model!r} trained on other pictures than it would be "
            "trained on now: training pictures that look like a test picture are left out, and the pictures that can "
            "be read have changed. Rerun with the --max-pixels and link options of the first part, or move the run's "
            "folder away to measure all of it again"
        )


def _engine_of_last_part(run: Run) -> dict[str, Json]:
    """Empty where no part says how it was computed, as none did once."""
    parts = [part for part in run.parts() if "engine" in part and "batch_size" in part]
    return {name: parts[-1][name] for name in ("engine", "batch_size")} if parts else {}


def _words(engine: Mapping[str, Json]) -> str:
    """'engine eager, batch size 64'."""
    return ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in engine.items())
