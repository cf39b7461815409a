"""Workers as Ray actors: one per GPU of a cluster, or of this machine; without a GPU, as many as are asked for.

An actor that dies is replaced by a new one. Nodes that join the cluster get actors, and those that leave are missed.
"""

# pyright: reportUnknownParameterType=false, reportMissingTypeStubs=false
# ray is optional, and only partly typed

from __future__ import annotations

import os
import re
import signal
import socket
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from compbench.core.errors import MissingPackage, RunError, UsageError
from compbench.core.models import ResolvedModel
from compbench.runs._messages import Died, Failed, Finished, Joined, Message, Order, Stopped
from compbench.runs._worker import Worker

__all__ = ["RayCrew"]

_HEARING_SECONDS = 5.0  # a worker waits so long for something to tell
_SECONDS_BETWEEN_LOOKS = 5.0  # at the nodes of the cluster
_REST_SECONDS = 15.0  # for workers to store what they have
_STORE_BYTES = 100_000_000  # of Ray's own shared memory on this machine: nothing large is sent
_CONNECT_SECONDS = 10.0
_ADDRESS = re.compile(r"(?P<scheme>ray://)?(?P<host>[^/]+):(?P<port>\d{1,5})")
_ACTOR_THREADS = 3  # to be listened to while it is told something


@dataclass(slots=True)
class _Actor:
    handle: Any
    node: Any  # the reference of the node that it runs on
    heard: Any  # the reference of what it tells next
    is_busy: bool = True  # from the beginning: it joins in an order
    node_id: str = ""  # once it has joined


class _RayWorker(Worker):
    """A worker that knows its node."""

    def node(self) -> str:
        return _ray().get_runtime_context().get_node_id()


class RayCrew:
    """A crew of actors; see _crew.Crew. `n_asked` is how many at most, None for one per GPU."""

    def __init__(self, address: str | None, n_asked: int | None, device: str) -> None:
        self._ray = _ray()
        self._n_asked, self._device = n_asked, device
        self._is_ours = _connect(self._ray, address)
        self._actors: dict[str, _Actor] = {}
        self._order: Order | None = None
        self._n_started = self._n_retired = 0
        self._looked = -float("inf")
        self._uses_gpus = device != "cpu" and self._total("GPU") > 0
        self._n_slots = self._count_slots()

    @property
    def n_wanted(self) -> int:
        return max(0, self._n_slots - self._n_retired)

    def begin(self, order: Order) -> None:
        self._order, self._n_retired = order, 0
        for actor in self._actors.values():
            actor.is_busy = True
            actor.handle.begin.remote(order)
        self._fill()

    def measure(self, worker: str, ids: Sequence[str]) -> None:
        actor = self._actors[worker]
        actor.is_busy = True
        actor.handle.measure.remote(tuple(ids))

    def conclude(self, worker: str) -> None:
        actor = self._actors[worker]
        actor.is_busy = True
        actor.handle.conclude.remote()

    def heard(self, seconds: float) -> list[tuple[str, Message]]:
        self._fill()
        waiting = {actor.heard: worker for worker, actor in self._actors.items()}
        if not waiting:
            time.sleep(seconds)
            return []
        ready, _ = self._ray.wait(list(waiting), num_returns=1, timeout=seconds)
        if ready:  # and whoever else is, without waiting
            ready, _ = self._ray.wait(list(waiting), num_returns=len(waiting), timeout=0)
        return [(waiting[reference], message) for reference in ready for message in self._take(waiting[reference])]

    def replace(self, worker: str) -> None:
        self._end(worker)
        self._fill()

    def retire(self, worker: str) -> None:
        self._n_retired += 1
        self._end(worker)

    def rest(self) -> None:
        until = time.monotonic() + _REST_SECONDS
        for actor in self._actors.values():
            if actor.is_busy:
                actor.handle.stop.remote()
        with suppress(KeyboardInterrupt):
            while any(actor.is_busy for actor in self._actors.values()) and time.monotonic() < until:
                self.heard(0.2)
        for worker in [worker for worker, actor in self._actors.items() if actor.is_busy]:
            self._end(worker)
        self._order = None

    def close(self) -> None:
        """End every worker, and Ray where it was started here."""
        for worker in list(self._actors):
            self._end(worker)
        if self._is_ours:
            with _signals_kept():
                self._ray.shutdown()

    def settled(self, label: str, model: ResolvedModel, device: str, say: Callable[[str], None]) -> ResolvedModel:
        precision = model.precision
        if precision is None or precision.dtype == "float32":
            return model
        has_float32 = precision.in_float32 is not None
        asked = self._ray.remote(_falls_back).options(**self._resources(), max_retries=3)
        falls_back, said, refusal = self._ray.get(
            asked.remote(label, precision.dtype, device, is_asked_for=precision.is_asked_for, has_float32=has_float32)
        )
        for message in said:
            say(message)
        if refusal is not None:
            raise UsageError(refusal)
        return precision.in_float32() if falls_back and precision.in_float32 is not None else model

    def _take(self, worker: str) -> list[Message]:
        """The messages of a worker, or that it is gone."""
        actor = self._actors[worker]
        try:
            found: list[Message] = self._ray.get(actor.heard)
        except self._ray.exceptions.RayActorError as error:
            del self._actors[worker]
            return [Died(_first_line(error), is_its_own=self._is_its_own(error, actor))]
        actor.heard = actor.handle.heard.remote(_HEARING_SECONDS)
        if any(isinstance(message, Finished | Stopped | Failed) for message in found):
            actor.is_busy = False
        if any(isinstance(message, Joined) for message in found):
            actor.is_busy, actor.node_id = False, self._ray.get(actor.node)
        return found

    def _fill(self) -> None:
        """Start the actors that lack, on the nodes there are now."""
        if self._order is None:
            return
        if time.monotonic() - self._looked >= _SECONDS_BETWEEN_LOOKS:
            self._looked, self._n_slots = time.monotonic(), self._count_slots()
        while len(self._actors) < self.n_wanted:
            self._n_started += 1
            made = self._ray.remote(max_restarts=0, max_task_retries=0, max_concurrency=_ACTOR_THREADS)(_RayWorker)
            handle = made.options(**self._resources()).remote()
            handle.begin.remote(self._order)
            actor = _Actor(handle, handle.node.remote(), handle.heard.remote(_HEARING_SECONDS))
            self._actors[f"worker {self._n_started:04d}"] = actor

    def _end(self, worker: str) -> None:
        actor = self._actors.pop(worker, None)
        if actor is not None:
            with suppress(Exception):  # it may be dead already, and Ray with it
                self._ray.kill(actor.handle)

    def _count_slots(self) -> int:
        if self._n_asked is not None:
            return self._n_asked
        return max(1, int(self._total("GPU"))) if self._uses_gpus else max(1, self._n_nodes())

    def _resources(self) -> dict[str, float]:
        """The resources of one actor; on a CPU its share of what the cluster has, so that all of them fit."""
        if self._uses_gpus:
            return {"num_gpus": 1, "num_cpus": 1}
        n_nodes = self._n_nodes()
        n_on_a_node = -(-(self._n_asked or n_nodes) // n_nodes)
        n_cpus = self._total("CPU") / n_nodes / n_on_a_node
        return {"num_cpus": n_cpus if n_cpus < 1 else int(n_cpus)}

    def _total(self, resource: str) -> float:
        return float(self._ray.cluster_resources().get(resource, 0))

    def _n_nodes(self) -> int:
        """The number of nodes that can compute: a head may offer nothing."""
        nodes = [node for node in self._ray.nodes() if node["Alive"] and node["Resources"].get("CPU", 0) >= 1]
        return max(1, len(nodes))

    def _is_its_own(self, error: Exception, actor: _Actor) -> bool:
        """Whether an actor died alone, and not with its node."""
        if getattr(error, "preempted", False) or "node has died" in str(error):
            return False
        alive = {found["NodeID"] for found in self._ray.nodes() if found["Alive"]}
        return not actor.node_id or actor.node_id in alive


def _ray() -> Any:
    try:
        import ray  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise MissingPackage("ray is not installed: pip install 'compbench[ray]'") from error
    return ray


def _connect(ray: Any, address: str | None) -> bool:
    """Whether Ray was started or joined here, and not by the caller before."""
    if ray.is_initialized():
        return False
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    address = address or os.environ.get("RAY_ADDRESS") or "local"
    there = _reached(address)
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    if address == "local":
        quiet |= {"include_dashboard": False, "object_store_memory": _STORE_BYTES}
    try:
        with _signals_kept():
            ray.init(address=there, **quiet)
    except (ConnectionError, ValueError, RuntimeError, ray.exceptions.RayError) as error:
        raise RunError(
            f"Ray cannot be joined at {address!r} ({_first_line(error)}): check that the cluster has this version of "
            "Python and of Ray, and the RAY_AUTH_MODE of this command"
        ) from error
    return True


def _reached(address: str) -> str:
    """HOST:PORT with the host as a number: the names that only a machine's own files know are none to Ray's workers.

    RunError where nobody listens there, for which Ray itself would wait a quarter of an hour.
    """
    found = _ADDRESS.fullmatch(address)
    if found is None:
        return address
    try:
        with socket.create_connection((found["host"].strip("[]"), int(found["port"])), _CONNECT_SECONDS) as connection:
            number = str(connection.getpeername()[0])
    except OSError as error:
        raise RunError(
            f"no Ray cluster answers at {address!r} ({error.strerror or error}): check the address, and that the head "
            "is up (ray start --head)"
        ) from error
    if found["host"] == "localhost":  # which Ray takes for this node, whatever its number
        return address
    return f"{found['scheme'] or ''}{f'[{number}]' if ':' in number else number}:{found['port']}"


@contextmanager
def _signals_kept() -> Generator[None]:
    """Ray's own handler of SIGTERM ends the process at once."""
    numbers = (signal.SIGTERM, signal.SIGINT)
    before = [signal.getsignal(number) for number in numbers]
    try:
        yield
    finally:
        with suppress(ValueError):  # not in the main thread
            for number, handler in zip(numbers, before, strict=True):
                signal.signal(number, signal.SIG_DFL if handler is None else handler)


def _falls_back(label: str, dtype: str, device: str, **about: bool) -> tuple[bool, list[str], str | None]:
    """Asked where an actor runs: whether its device needs float32, what is to be said, and why it cannot be."""
    from compbench.diffusion import emulation

    said: list[str] = []
    try:
        return emulation.falls_back(label, dtype, device, said.append, **about), said, None
    except UsageError as error:
        return False, said, str(error)


def _first_line(error: Exception) -> str:
    """The cause, of the many lines that Ray tells."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0].rstrip(".:") if lines else type(error).__name__
