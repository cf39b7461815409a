"""The first wave of a raced run: measured in full before any other example, whichever process is there, and frozen."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from typing import Protocol, runtime_checkable

import numpy as np

from compbench.core.errors import RunError, UnreadableImages
from compbench.core.examples import Task
from compbench.core.measurements import Measurement
from compbench.core.models import Scorer
from compbench.core.rules import errors_of
from compbench.schedules.racing import Racing
from compbench.schedules.schedule import Schedule
from compbench.schedules.wave import Wave, wave_ids
from compbench.store.writer import RunWriter

__all__ = ["measure_first", "tell"]


@runtime_checkable
class Follows(Protocol):
    """A scorer that can be told how far the schedule of its run has got."""

    def follow(self, schedule: Schedule) -> None: ...


def tell(scorer: Scorer, schedule: Schedule) -> None:
    """Tell a scorer what a first wave has taught; RunError for one that would race without knowing."""
    if not isinstance(schedule, Racing) or not schedule.n_wave:
        return
    if not isinstance(scorer, Follows):
        raise RunError(
            f"bound={schedule.bound} needs a scorer with a method follow(schedule), to pass on the first wave's "
            f"lesson; {type(scorer).__name__} has none"
        )
    scorer.follow(schedule)


def measure_first(
    task: Task,
    writer: RunWriter,
    measure: Callable[[Sequence[str]], None],
    say: Callable[[str], None],
    left_out: Collection[str] = (),
) -> None:
    """Have the first wave of a race measured, unless it is frozen already, and freeze what it taught.

    Several processes may measure it at the same time: the errors are the same, and the first to end freezes them.
    """
    schedule = writer.run.schedule
    if not isinstance(schedule, Racing) or not schedule.is_waiting:
        return
    if schedule.wave is None:
        ids = wave_ids((example.id for example in task.examples), schedule.n_wave, schedule.seed)
        schedule = writer.keep_wave(Wave(frozenset(ids)))
    assert schedule.wave is not None
    first = [example.id for example in task.examples if example.id in schedule.wave.ids and example.id not in left_out]
    n_left = len(set(first) - writer.run.contents.done(None))
    say(f"{task.name}: a first wave of {len(first)} examples is measured in full ({n_left} are left)")
    with suppress(UnreadableImages):  # told with those of the other examples
        measure(first)
    measured = writer.run.contents.measurements(first)
    # in the task's order, whoever stored first: sums in another order are rounded otherwise
    known = {name: measured[name] for name in first if name in measured}
    if not known:
        raise RunError(f"task {task.name!r}: no image of the first wave's {len(first)} examples can be read")
    wave = {name: errors_of(measurement, schedule.rule) for name, measurement in known.items()}
    matches = {example.id: example.matches for example in task.examples if example.id in known}
    lesson = schedule.lesson(wave, matches, writer.run.contents.draws(), task.classes)
    writer.keep_wave(Wave(schedule.wave.ids, lesson, _digest(known)))


def _digest(known: dict[str, Measurement]) -> str:
    """Twelve hex digits of the errors that a wave was learned from."""
    hashed = hashlib.sha256()
    for name, measurement in sorted(known.items()):
        hashed.update(f"{name}\0{measurement.shape}".encode())
        for loss in sorted(measurement.errors):
            hashed.update(np.ascontiguousarray(measurement.errors[loss]).tobytes())
    return hashed.hexdigest()[:12]
