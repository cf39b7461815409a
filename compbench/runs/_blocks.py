"""The sharing out of examples among workers: bookkeeping alone, with the clock handed in.

Examples are handed out in blocks, as workers ask for them, longest expected first. A worker's block is as large as it
measures in five minutes at the pace it has shown, and smaller towards the end, so that all workers end together.
Whoever finds nothing left takes a copy of a block that another worker is late with: results are keyed, so a block
measured twice is harmless. The rest of a lost worker's block is handed out again; after its second worker it is handed
out one example at a time, and an example that was at work when three workers died is set aside.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from statistics import median

__all__ = ["Block", "Blocks"]

_SECONDS = (2.0, 300.0)  # of a block, at least and at most
_FIRST_SECONDS = 60.0  # at most, of the block of a worker whose pace is not known yet
_FIRST_EXAMPLES = 16  # at most, before any pace is known
_SHARE = 0.5  # of what each worker would get of the rest, if that were shared out now
_DEATHS = 3  # of workers that had an example, until it is set aside
_COMPARED_SECONDS = 10.0  # of a block, at least, for its pace to be compared with the others'
_LATE = 3.0  # times as long as expected
_LATE_SECONDS = 30.0  # at least, until a worker counts as late
_GAIN = 0.8  # a copy has to end in this share of the time that is expected of the original
_GAINED_SECONDS = 5.0  # at least


@dataclass(frozen=True, slots=True)
class Block:
    """Examples that are handed out together."""

    number: int
    ids: tuple[str, ...]
    cost: float  # in the unit of the costs that Blocks was given
    n_deaths: int = 0  # of workers that had these examples


@dataclass(slots=True)
class _Worker:
    block: Block | None = None
    since: float = 0.0
    pace: float | None = None  # cost per second, of its last block
    seconds: float = 0.0  # that took


class Blocks:
    """The examples of `costs` (what each is expected to take, in any unit), handed out until all are finished."""

    def __init__(self, costs: Mapping[str, float], now: Callable[[], float]) -> None:
        self._costs, self._now = costs, now
        self._queue = deque(sorted(costs, key=lambda name: -costs[name]))  # stable: else in the order given
        self._queued = float(sum(costs.values()))  # the cost of the queue
        self._left = set(costs)
        self._again: deque[Block] = deque()
        self._workers: dict[str, _Worker] = {}
        self._n_blocks = 0
        self.set_aside: list[Block] = []

    @property
    def is_done(self) -> bool:
        """Whether every example is finished or set aside."""
        return not self._left

    @property
    def left(self) -> frozenset[str]:
        """The examples that are neither finished nor set aside."""
        return frozenset(self._left)

    def next(self, worker: str) -> Block | None:
        """The examples that `worker` is to measure now; None where nothing is left to hand out."""
        taking = self._workers.setdefault(worker, _Worker())
        block = self._returned() or self._cut(taking) or self._copied(taking)
        if block is not None:
            taking.block, taking.since = block, self._now()
        return block

    def finished(self, worker: str) -> tuple[str, ...]:
        """`worker` has finished its block: the examples that nobody had finished before."""
        working = self._workers.get(worker)
        if working is None or (block := working.block) is None:
            return ()
        working.block = None
        working.seconds = max(self._now() - working.since, 1e-3)
        working.pace = block.cost / working.seconds
        fresh = tuple(name for name in block.ids if name in self._left)
        self._left.difference_update(fresh)
        return fresh

    def held(self, worker: str) -> tuple[str, ...]:
        """The examples that `worker` is at."""
        working = self._workers.get(worker)
        return () if working is None or working.block is None else working.block.ids

    def lost(self, worker: str, stored: Collection[str] = (), *, is_its_fault: bool = True) -> None:
        """`worker` is gone, and of its block the store holds `stored`; the rest is handed out again.

        `is_its_fault`: whether the block may have killed the worker; not where its machine went away.
        """
        gone = self._workers.pop(worker, None)
        if gone is None or gone.block is None:
            return
        self._left.difference_update(set(stored).intersection(gone.block.ids))
        elsewhere = {name for other in self._workers.values() if other.block for name in other.block.ids}
        lacking = tuple(name for name in gone.block.ids if name in self._left and name not in elsewhere)
        if not lacking:
            return
        n_deaths = gone.block.n_deaths + is_its_fault
        if n_deaths >= _DEATHS:
            self.set_aside.append(self._made(lacking, n_deaths))
            self._left.difference_update(lacking)
            return
        is_apart = n_deaths == _DEATHS - 1
        self._again.extend(
            self._made(names, n_deaths) for names in ([(name,) for name in lacking] if is_apart else [lacking])
        )

    def is_late(self, worker: str) -> bool:
        """Whether `worker` has been at its block far longer than the paces so far let expect."""
        working = self._workers.get(worker)
        if working is None or working.block is None or (pace := working.pace or self._usual_pace()) is None:
            return False
        return self._now() - working.since > max(_LATE * working.block.cost / pace, _LATE_SECONDS)

    def relative_pace(self, worker: str) -> float | None:
        """The pace of `worker` as a multiple of the usual one; None before it is known from more than a moment."""
        working, usual = self._workers.get(worker), self._usual_pace()
        if working is None or working.pace is None or not usual or working.seconds < _COMPARED_SECONDS:
            return None
        return working.pace / usual

    def _returned(self) -> Block | None:
        """A block whose worker was lost, but for what others have finished since."""
        while self._again:
            block = self._again.popleft()
            if lacking := tuple(name for name in block.ids if name in self._left):
                return block if lacking == block.ids else self._made(lacking, block.n_deaths)
        return None

    def _cut(self, worker: _Worker) -> Block | None:
        """The next examples of the queue, as many as the worker is to get."""
        names: list[str] = []
        cost, most, most_examples = 0.0, self._most(worker), len(self._queue)
        if worker.pace is None and self._usual_pace() is None:
            most_examples = _FIRST_EXAMPLES
        while self._queue and len(names) < most_examples:
            if names and cost + self._costs[self._queue[0]] > most:
                break
            name = self._queue.popleft()
            names.append(name)
            cost += self._costs[name]
        self._queued -= cost
        return self._made(tuple(names), 0) if names else None

    def _most(self, worker: _Worker) -> float:
        """The most that its next block may cost."""
        pace = worker.pace or self._usual_pace()
        share = _SHARE * self._queued / max(len(self._workers), 1)
        if pace is None:
            return share
        least, longest = _SECONDS
        usual = self._usual_pace() or pace
        longest = longest if worker.pace is not None else _FIRST_SECONDS
        return max(pace * least, min(pace * longest, share * pace / usual))

    def _copied(self, worker: _Worker) -> Block | None:
        """The block that another worker will be longest at, where a copy of it would end sooner."""
        now, usual = self._now(), self._usual_pace()
        pace = worker.pace or usual
        if pace is None:
            return None
        held = [other.block.number for other in self._workers.values() if other.block]
        best, gain = None, _GAINED_SECONDS
        for other in self._workers.values():
            if other.block is None or held.count(other.block.number) > 1:
                continue
            seconds, expected = now - other.since, other.block.cost / (other.pace or usual or pace)
            # one that is late takes as long again as it has been at it
            left = expected - seconds if seconds < expected else seconds
            own = other.block.cost / pace
            if own < _GAIN * left and left - own > gain:
                best, gain = other.block, left - own
        return best

    def _usual_pace(self) -> float | None:
        paces = [worker.pace for worker in self._workers.values() if worker.pace]
        return median(paces) if paces else None

    def _made(self, names: Iterable[str], n_deaths: int) -> Block:
        self._n_blocks += 1
        ids = tuple(names)
        return Block(self._n_blocks, ids, sum(self._costs[name] for name in ids), n_deaths)
