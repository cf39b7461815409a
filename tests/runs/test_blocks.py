"""Which worker measures which examples, by a simulated clock: nothing is lost, and all end together."""

from __future__ import annotations

import heapq
import tracemalloc
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import numpy as np
import pytest

from compbench.runs._blocks import Blocks

HOUR = 3_600.0


@dataclass
class Clock:
    now: float = 0.0

    def __call__(self) -> float:
        return self.now


def blocks(costs: dict[str, float] | int) -> tuple[Blocks, Clock]:
    clock = Clock()
    named = {f"{number:03d}": 1.0 for number in range(costs)} if isinstance(costs, int) else costs
    return Blocks(named, clock), clock


def test_the_longest_examples_are_handed_out_first() -> None:
    shared, _ = blocks({"short": 1.0, "long": 9.0, "middle": 4.0})
    taken = [block.ids for worker in "abc" if (block := shared.next(worker))]
    assert [name for ids in taken for name in ids] == ["long", "middle", "short"]


def test_a_block_is_as_large_as_a_worker_measures_in_five_minutes() -> None:
    shared, clock = blocks(100_000)
    first = shared.next("quick")
    assert first is not None
    clock.now = len(first.ids) / 8
    shared.finished("quick")
    second = shared.next("quick")
    assert second is not None
    assert len(second.ids) == 2400


def test_blocks_shrink_towards_the_end() -> None:
    shared, clock = blocks(64)
    sizes: list[int] = []
    while block := shared.next("one"):
        shared.next("two")
        sizes.append(len(block.ids))
        clock.now += 10.0 * len(block.ids)
        shared.finished("one")
        shared.finished("two")
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[-1] == 1
    assert shared.is_done


def test_of_a_lost_block_only_what_the_store_lacks_is_handed_out_again() -> None:
    shared, _ = blocks(4)
    block = shared.next("one")
    assert block is not None
    shared.lost("one", stored=block.ids[:1])
    again = shared.next("two")
    assert again is not None
    assert again.ids == block.ids[1:]
    assert again.n_deaths == 1


def test_the_example_that_kills_three_workers_is_set_aside_and_its_neighbours_are_not() -> None:
    shared, _ = blocks(40)
    n_workers = 0
    while not shared.is_done and n_workers < 200:
        worker = f"worker {n_workers}"
        n_workers += 1
        while block := shared.next(worker):
            if "007" in block.ids:
                shared.lost(worker)
                break
            shared.finished(worker)
    assert [aside.ids for aside in shared.set_aside] == [("007",)]
    assert shared.set_aside[0].n_deaths == 3
    assert shared.is_done


def test_a_machine_that_goes_away_is_not_blamed_on_the_block() -> None:
    shared, _ = blocks(1)
    for number in range(10):
        assert shared.next(f"worker {number}") is not None
        shared.lost(f"worker {number}", is_its_fault=False)
    assert not shared.set_aside


def test_an_idle_worker_takes_a_copy_of_the_block_that_another_is_late_with() -> None:
    shared, clock = blocks(4)
    for _ in range(3):
        assert shared.next("quick") is not None
        clock.now += 1
        shared.finished("quick")
        if shared.next("stuck") is not None:
            break
    while shared.next("quick"):
        clock.now += 1
        shared.finished("quick")
        if shared.held("stuck") and len(shared.left) == len(shared.held("stuck")):
            break
    assert shared.next("quick") is None  # it is not late yet
    clock.now += 100
    assert shared.is_late("stuck")
    copy = shared.next("quick")
    assert copy is not None
    assert copy.ids == shared.held("stuck")
    assert shared.next("third") is None  # one copy is enough
    shared.finished("quick")
    assert shared.is_done
    shared.lost("stuck")
    assert shared.is_done
    assert not shared.set_aside


def test_the_rest_of_a_block_that_a_copy_is_made_of_is_not_handed_out_a_third_time() -> None:
    shared, clock = blocks(2)
    assert shared.next("stuck") is not None
    assert shared.next("quick") is not None
    clock.now += 1
    shared.finished("quick")
    clock.now += 100
    assert shared.next("quick") is not None
    shared.lost("stuck")
    assert shared.next("third") is None


@dataclass
class Node:
    """A machine of the simulated cluster; `works` tells how much it gets done between two times."""

    name: str
    pace: float
    slow_from: float = np.inf  # it loses most of its pace then
    away: list[tuple[float, float]] = field(default_factory=list[tuple[float, float]])

    def end(self, start: float, cost: float) -> float:
        """When work of `cost` begun at `start` ends, if the machine stays."""
        if start < self.slow_from:
            until = start + cost / self.pace
            if until <= self.slow_from:
                return until
            cost -= (self.slow_from - start) * self.pace
            start = self.slow_from
        return start + cost / (self.pace / 5)

    def works(self, start: float, end: float) -> float:
        """What it gets done from `start` to `end`, its absences aside."""
        done = max(0.0, min(end, self.slow_from) - start) * self.pace
        done += max(0.0, end - max(start, self.slow_from)) * self.pace / 5
        for gone, back in self.away:
            lost_from, lost_to = max(start, gone), min(end, back)
            if lost_to > lost_from:
                done -= Node(self.name, self.pace, self.slow_from).works(lost_from, lost_to)
        return done


OVERHEAD = 3.0  # seconds at the beginning of a block: the store is looked at, captions are encoded
BETWEEN_PARTS = 300.0


class Cluster:
    """Machines and a driver that hands out blocks, event by event."""

    def __init__(self, costs: dict[str, float], nodes: list[Node]) -> None:
        self.clock = Clock()
        self.blocks = Blocks(costs, self.clock)
        self.n_blocks = self.n_parts = 0
        self.measured: dict[str, int] = {}
        self._costs, self._nodes = costs, {node.name: node for node in nodes}
        self._life, self._since = dict.fromkeys(self._nodes, 0), dict.fromkeys(self._nodes, 0.0)
        self._given: dict[str, tuple[str, ...]] = {}
        self._events: list[tuple[float, int, str, str, int | None]] = []  # time, order, what, machine, its life
        for node in nodes:
            self._at(0.0, self.ask, node.name)
            for gone, back in node.away:
                self._at(gone, self.go, node.name, is_of_life=False)
                self._at(back, self.ask, node.name, is_of_life=False)

    def run(self) -> None:
        """Until everything is measured."""
        while not self.blocks.is_done:
            self.clock.now, _, what, name, life = heapq.heappop(self._events)
            if life is None or life == self._life[name]:
                getattr(self, what)(name)

    def ask(self, name: str) -> None:
        """The machine asks for a block."""
        self._since[name] = self.clock.now
        block = self.blocks.next(name)
        if block is None:
            self._at(self.clock.now + 5.0, self.ask, name)
            return
        self.n_blocks += 1
        self._given[name] = block.ids
        self._at(self._nodes[name].end(self.clock.now + OVERHEAD, block.cost), self.end, name)

    def end(self, name: str) -> None:
        """The machine has measured its block."""
        self.n_parts += 1 + int((self.clock.now - self._since[name]) // BETWEEN_PARTS)
        self._count(self._given[name])
        self.blocks.finished(name)
        self.ask(name)

    def go(self, name: str) -> None:
        """The machine goes away; of its block the store has what was in its last part."""
        self._life[name] += 1
        stored, cost = list[str](), 0.0
        until = self.clock.now - (self.clock.now - self._since[name]) % BETWEEN_PARTS
        for example in self.blocks.held(name):
            cost += self._costs[example]
            if self._nodes[name].end(self._since[name] + OVERHEAD, cost) <= until:
                stored.append(example)
        self._count(stored)
        self.blocks.lost(name, stored, is_its_fault=False)

    def _count(self, ids: Iterable[str]) -> None:
        for example in ids:
            self.measured[example] = self.measured.get(example, 0) + 1

    def _at(self, time: float, what: Callable[[str], None], name: str, *, is_of_life: bool = True) -> None:
        life = self._life[name] if is_of_life else None
        heapq.heappush(self._events, (time, len(self._events), what.__name__, name, life))


def ideal(cost: float, nodes: list[Node]) -> float:
    """When all of it would be done if it could be shared out to the second, and nothing had to be begun twice."""
    low, high = 0.0, 1e9
    while high - low > 1.0:
        middle = (low + high) / 2
        done = sum(node.works(0.0, middle) for node in nodes)
        low, high = (middle, high) if done < cost else (low, middle)
    return high


def cluster(rng: np.random.Generator, n_nodes: int, hours: float) -> list[Node]:
    """Machines of unlike paces: one in sixteen is four times slower, as many become slow; each goes away at times."""
    nodes: list[Node] = []
    for number in range(n_nodes):
        pace = float(rng.normal(1.0, 0.05)) * (0.25 if number % 16 == 3 else 1.0)
        slow_from = float(rng.uniform(0, hours * HOUR)) if number % 16 == 9 else np.inf
        away, time = [], float(rng.exponential(6 * HOUR))
        while time < 2 * hours * HOUR:
            back = time + float(rng.uniform(120, 1200))
            away.append((time, back))
            time = back + float(rng.exponential(6 * HOUR))
        nodes.append(Node(f"node {number}", pace, slow_from, away))
    return nodes


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(1, 6))])
def test_sixty_four_nodes_with_stragglers_and_pre_emption_end_within_a_twentieth_of_the_ideal(seed: int) -> None:
    rng = np.random.default_rng(seed)
    costs = {f"{number:05d}": float(cost) for number, cost in enumerate(rng.lognormal(np.log(80), 0.4, 50_000))}
    nodes = cluster(rng, 64, hours=22)
    tracemalloc.start()
    simulated = Cluster(costs, nodes)
    simulated.run()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    makespan, best = simulated.clock.now, ideal(sum(costs.values()), nodes)
    n_twice = sum(simulated.measured.values()) - len(costs)
    print(
        f"\n{makespan / HOUR:.2f} h, ideal {best / HOUR:.2f} h (+{100 * (makespan / best - 1):.1f} %), "
        f"{simulated.n_blocks} blocks, {simulated.n_parts} parts, head {peak / 1e6:.0f} MB, {n_twice} measured twice"
    )
    assert makespan <= 1.05 * best
    assert simulated.measured.keys() == costs.keys()
    assert not simulated.blocks.set_aside
    assert n_twice < 100
    assert peak < 20_000_000
    assert simulated.n_parts < 40_000
