"""The lead of a crew of workers: it hands out blocks of examples, hears what became of them, and measures nothing.

Torch is not imported here. The workers write their own parts into the run's folder; when one is lost, the store is
asked what it had measured, and the rest is handed out again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from compbench.core import stages
from compbench.core.errors import (
    DataError,
    MissingPackage,
    RunError,
    UnreadableImage,
    UnreadableImages,
    UsageError,
)
from compbench.core.examples import Example
from compbench.core.models import ResolvedModel
from compbench.runs import _wave
from compbench.runs._blocks import Blocks
from compbench.runs._loop import n_lacking
from compbench.runs._messages import Advanced, Died, Failed, Finished, Joined, Message, Order, Said, Stopped
from compbench.runs.interrupts import Interrupts
from compbench.runs.reporter import Reporter
from compbench.runs.request import RunRequest
from compbench.runs.resolve import ResolvedRun
from compbench.schedules.schedule import Full
from compbench.store import provenance
from compbench.store.run import Run
from compbench.store.writer import RunWriter

__all__ = ["Crew", "Lead"]

_PATIENCE = 1.0  # seconds that messages are waited for at once
_SECONDS_BETWEEN_COMPACTIONS = 600.0
_SECONDS_BETWEEN_LOOKS = 10.0  # for stragglers
_STRAGGLER = 0.5  # of the usual pace
_LOST = (
    10  # workers in a row, none of which has finished a block: then the run ends; three times its size of a large crew
)
_MOST_NAMED = 5
_KNOWN = {kind.__name__: kind for kind in (DataError, MissingPackage, RunError, UsageError)}


class Crew(Protocol):
    """The workers, however they are started; see `_ray.py`."""

    @property
    def n_wanted(self) -> int:
        """The number of workers that it has or would have."""
        ...

    def begin(self, order: Order) -> None:
        """Have every worker join in `order`, those that come later too; who was at work before has to join anew."""
        ...

    def measure(self, worker: str, ids: Sequence[str]) -> None: ...
    def conclude(self, worker: str) -> None: ...

    def heard(self, seconds: float) -> list[tuple[str, Message]]:
        """The messages of workers, after at most so many seconds of waiting for the first."""
        ...

    def replace(self, worker: str) -> None:
        """End a worker, and start another in its place."""
        ...

    def retire(self, worker: str) -> None:
        """End a worker for good."""
        ...

    def rest(self) -> None:
        """Have every worker store what it has measured and stop."""
        ...

    def close(self) -> None:
        """End all of them."""
        ...

    def settled(self, label: str, model: ResolvedModel, device: str, say: Callable[[str], None]) -> ResolvedModel:
        """`model` in the dtype that a worker's device computes in; see emulation.py."""
        ...


class Lead:
    """Measures what a run lacks by a crew."""

    def __init__(
        self,
        crew: Crew,
        request: RunRequest,
        asked: ResolvedRun,
        writer: RunWriter,
        reporter: Reporter,
        interrupts: Interrupts,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._crew, self._asked, self._writer = crew, asked, writer
        self._reporter, self._interrupts, self._now = reporter, interrupts, now
        self._run: Run = writer.run.under(asked.rule)
        self._order = _order(request, asked)
        self._pairs = _pairs(asked.task.examples)
        self._where: dict[str, str] = {}  # worker -> where it runs, of those that have joined
        self._idle: set[str] = set()
        self._devices: set[str] = set()
        self._told: set[str] = set()
        self._n_lost = 0  # since a block was last finished

    def measure(self, ids: Sequence[str], left_out: set[str]) -> None:
        """Measure what the run lacks of `ids`; of a race that is waiting for its first wave, that comes first."""
        self._crew.begin(self._order)
        try:
            _wave.measure_first(self._asked.task, self._writer, self._hand_out, self._reporter.say, left_out)
            self._hand_out(ids, concludes=True)  # before the wave has taught something nothing can be
        finally:
            self._crew.rest()

    def _hand_out(self, ids: Sequence[str], *, concludes: bool = False) -> None:
        """Have `ids` measured; UnreadableImages, or RunError, once all that can be is."""
        wanted = set(ids) - self._run.done_of(ids)
        examples = [example for example in self._asked.task.examples if example.id in wanted]
        if not examples:
            return
        # the pairs of an example: what they cost beside it is the same for all
        blocks = Blocks({example.id: float(self._pairs[example.id]) for example in examples}, self._now)
        unreadable: dict[str, str] = {}  # name and fault of each image
        try:
            self._await_a_worker(blocks, unreadable)
            self._tell_start(ids, examples)
            compacted = looked = self._now()
            while not blocks.is_done:
                self._interrupts.check()
                self._employ(blocks)
                for worker, message in self._crew.heard(_PATIENCE):
                    self._hear(worker, message, blocks, unreadable)
                if self._now() - looked >= _SECONDS_BETWEEN_LOOKS:
                    looked = self._now()
                    self._tell_stragglers(blocks)
                if self._now() - compacted >= _SECONDS_BETWEEN_COMPACTIONS:
                    compacted = self._now()
                    self._writer.compact()
            if concludes:
                self._conclude(blocks, unreadable)
        finally:
            self._reporter.stop()
        self._check_all_is_there(examples, blocks, unreadable)

    def _await_a_worker(self, blocks: Blocks, unreadable: dict[str, str]) -> None:
        """Until one has joined: the time that takes says nothing of how long the run will."""
        stages.tell(f"waiting for {self._crew.n_wanted} workers" if self._crew.n_wanted > 1 else "waiting for a worker")
        while not self._where:
            self._interrupts.check()
            for worker, message in self._crew.heard(_PATIENCE):
                self._hear(worker, message, blocks, unreadable)

    def _tell_start(self, ids: Sequence[str], examples: Sequence[Example]) -> None:
        seen = self._run.seen()
        known = self._run.known([example.id for example in examples if example.id in seen])
        n_pairs = sum(self._pairs[example.id] for example in examples)
        label = f"{self._run.key.task} · {self._run.key.model}"
        n_evaluations = n_lacking(self._run.rule, examples, known)
        self._reporter.start(label, len(ids), len(ids) - len(examples), n_pairs, n_evaluations)

    def _conclude(self, blocks: Blocks, unreadable: dict[str, str]) -> None:
        """Have each worker replay what a schedule concludes of its own examples, which takes long."""
        if isinstance(self._run.schedule, Full):
            return
        busy = set(self._idle)
        for worker in busy:
            self._idle.discard(worker)
            self._crew.conclude(worker)
        while busy := {worker for worker in busy if worker in self._where and worker not in self._idle}:
            self._interrupts.check()
            for worker, message in self._crew.heard(_PATIENCE):
                self._hear(worker, message, blocks, unreadable)

    def _employ(self, blocks: Blocks) -> None:
        for worker in sorted(self._idle):
            block = blocks.next(worker)
            if block is None:
                break
            self._idle.discard(worker)
            self._crew.measure(worker, block.ids)

    def _hear(self, worker: str, message: Message, blocks: Blocks, unreadable: dict[str, str]) -> None:
        match message:
            case Said():  # by every worker alike, as a rule
                self._say_once(message.message)
            case Advanced():
                self._reporter.advance(evaluations=message.evaluations)
            case Joined():
                self._welcome(worker, message)
            case Finished() if worker in self._where:
                self._n_lost = 0
                unreadable.update(message.unreadable)
                self._count(blocks.finished(worker))
                self._idle.add(worker)
            case Stopped() if worker in self._where:  # nobody told it to, as far as is known here
                blocks.lost(worker, self._run.done_of(blocks.held(worker)), is_its_fault=False)
                self._idle.add(worker)
            case Died():
                self._bury(worker, message, blocks)
            case Failed():
                self._judge(worker, message, blocks)
            case _:  # of a worker that was given up
                pass

    def _welcome(self, worker: str, joined: Joined) -> None:
        self._where[worker] = f"process {joined.pid} on {joined.host}"
        self._idle.add(worker)
        kind = joined.device.partition(" ")[2] or joined.device.partition(":")[0]  # the card's name
        self._devices.add(kind)
        if len(self._devices) > 1:
            self._say_once(
                f"the workers compute on unlike devices ({', '.join(sorted(self._devices))}): their errors are the "
                "same up to rounding, and parts.jsonl says which are which"
            )

    def _count(self, ids: Sequence[str]) -> None:
        """Tell the progress of examples that nobody finished before."""
        self._reporter.advance(examples=len(ids), pairs=sum(self._pairs[name] for name in ids))

    def _bury(self, worker: str, died: Died, blocks: Blocks) -> None:
        """Hand out again what a lost worker had not stored; another worker takes its place."""
        where = self._where.pop(worker, None)
        self._idle.discard(worker)
        self._n_lost += died.is_its_own
        if self._n_lost >= max(_LOST, 3 * self._crew.n_wanted):
            raise RunError(f"{self._n_lost} workers in a row died before any of them finished a block: {died.why}")
        if where is None:
            self._reporter.say(f"lost a worker while it started ({died.why})")
            return
        held = blocks.held(worker)
        stored = self._run.done_of(held) if held else set[str]()
        left = blocks.left
        blocks.lost(worker, stored, is_its_fault=died.is_its_own)
        self._count([name for name in held if name in stored and name in left])
        again = f": {len(held) - len(stored)} of its {len(held)} examples are handed out again" if held else ""
        self._reporter.say(f"lost worker {where} ({died.why}){again}")

    def _judge(self, worker: str, failed: Failed, blocks: Blocks) -> None:
        """End the run where any worker would fail alike; else go on with the others."""
        why = f"{failed.why}" if failed.kind in _KNOWN else f"{failed.kind}: {failed.why}"
        if failed.is_at_start or failed.is_of_disk:
            self._reporter.say(f"a worker on {failed.host} cannot be used: {why}")
            self._where.pop(worker, None)
            self._idle.discard(worker)
            blocks.lost(worker, self._run.done_of(blocks.held(worker)), is_its_fault=False)
            self._crew.retire(worker)
            if self._crew.n_wanted == 0:
                raise _KNOWN.get(failed.kind, RunError)(why)
        elif failed.kind in _KNOWN:
            raise _KNOWN[failed.kind](failed.why)
        else:
            for line in failed.details.splitlines():
                self._say_once(line)
            self._crew.replace(worker)
            self._bury(worker, Died(why), blocks)

    def _tell_stragglers(self, blocks: Blocks) -> None:
        """Name, once, each worker that is far slower than the others, or late with its block."""
        for worker, where in self._where.items():
            pace = blocks.relative_pace(worker)
            if pace is not None and pace < _STRAGGLER:
                self._say_once(f"worker {where} is slow: {pace:.2g} times the usual pace", f"{worker} is slow")
            if blocks.is_late(worker):
                n_examples = len(blocks.held(worker))
                self._say_once(
                    f"worker {where} is late with {n_examples} {'example' if n_examples == 1 else 'examples'}; whoever "
                    "has nothing else to do measures them too",
                    f"{worker} is late",
                )

    def _check_all_is_there(self, examples: Sequence[Example], blocks: Blocks, unreadable: dict[str, str]) -> None:
        done = self._run.done_of([example.id for example in examples])
        unmeasured = [example for example in examples if example.id not in done]
        aside = {name for block in blocks.set_aside for name in block.ids}
        if names := [example.id for example in unmeasured if example.id in aside]:
            named = ", ".join(map(repr, names[:_MOST_NAMED])) + (", ..." if len(names) > _MOST_NAMED else "")
            what = "1 example is" if len(names) == 1 else f"{len(names)} examples are"
            raise RunError(
                f"{what} set aside, since three workers died of it: {named}. All else is measured and stored; look at "
                "what is special about it (memory, above all), and rerun the command to try it again"
            )
        lost = [example.id for example in unmeasured if any(image.name in unreadable for image in example.images)]
        if astray := sorted({example.id for example in unmeasured}.difference(lost)):
            what = "1 example" if len(astray) == 1 else f"{len(astray)} examples"
            raise RunError(
                f"workers have measured {what}, {astray[0]!r} the first, that cannot be found in the store: does every "
                f"worker see the folder {str(self._run.path)!r}?"
            )
        if unreadable:
            raise UnreadableImages([UnreadableImage(name, why) for name, why in unreadable.items()], len(lost))

    def _say_once(self, message: str, topic: str = "") -> None:
        """Say it unless that was said before, or something else on the topic."""
        if (topic or message) not in self._told:
            self._told.add(topic or message)
            self._reporter.say(message)


def _order(request: RunRequest, asked: ResolvedRun) -> Order:
    """The request as a worker on another machine, with another environment, is to resolve it."""
    there = replace(
        request,
        shard="1/1",  # all of it, whatever a launcher's environment says there
        workers=None,
        ray_address=None,
        refresh=False,  # the run says which commit it is
        runs=asked.store.root.absolute(),
    )
    return Order(there, asked.key.digest, provenance.version(), str(Path.cwd()))


def _pairs(examples: Sequence[Example]) -> dict[str, int]:
    """The number of pairs of an image and a caption, by example."""
    return {example.id: len(example.images) * len(example.captions) for example in examples}
