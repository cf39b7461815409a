"""The messages between a driver and its workers: plain values, since they travel between machines."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from compbench.runs.request import RunRequest

__all__ = ["Advanced", "Died", "Failed", "Finished", "Joined", "Message", "Order", "Said", "Stopped"]


@dataclass(frozen=True, slots=True)
class Order:
    """The run that workers are to measure together; each resolves the request by itself, and has to find that run."""

    request: RunRequest
    digest: str  # of the run's key
    compbench: str  # the driver's version
    folder: str  # that the driver works in, for relative paths


@dataclass(frozen=True, slots=True)
class Joined:
    """A worker has its model loaded and can be given examples."""

    host: str
    pid: int
    device: str


@dataclass(frozen=True, slots=True)
class Advanced:
    """Network evaluations since it was told last."""

    evaluations: int


@dataclass(frozen=True, slots=True)
class Said:
    """A note for the user."""

    message: str


@dataclass(frozen=True, slots=True)
class Finished:
    """A block is measured and stored, but for the examples of images that could not be read."""

    unreadable: tuple[tuple[str, str], ...] = ()  # name and fault of each image


@dataclass(frozen=True, slots=True)
class Stopped:
    """A worker was told to stop, and has stored what it had measured by then."""


@dataclass(frozen=True, slots=True)
class Failed:
    """A worker could not do what it was told, and why; its process lives."""

    kind: str  # the name of the exception's class
    why: str
    host: str
    details: str  # the trace
    is_of_disk: bool = False  # whether it is the worker's file system that failed
    is_at_start: bool = False  # whether it never joined


@dataclass(frozen=True, slots=True)
class Died:
    """A worker's process is gone."""

    why: str
    is_its_own: bool = True  # not where its machine went away with it


Message = Joined | Advanced | Said | Finished | Stopped | Failed | Died
