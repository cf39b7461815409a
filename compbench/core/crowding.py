"""A note for a run that makes slow progress because its threads wait for each other on cores that others use."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable

__all__ = ["Crowding", "advice"]

_LEAST_SECONDS = 60.0  # a shorter run needs no advice
_MUCH_LOAD, _LITTLE_SHARE = 1.5, 0.6  # runnable threads per core; of the time that the threads could compute


class Crowding:
    """Watches how much of the processor this process gets, from when it is made."""

    def __init__(
        self,
        least_seconds: float = _LEAST_SECONDS,
        load: Callable[[], float] | None = None,
        n_threads: Callable[[], int] | None = None,
    ) -> None:
        self._began, self._computed = time.perf_counter(), time.process_time()
        self._least_seconds, self._load, self._n_threads = least_seconds, load or _load, n_threads or _n_threads
        self._is_over = False

    def told(self) -> str | None:
        """The advice, once, after a minute; None at any other time."""
        seconds = time.perf_counter() - self._began
        if self._is_over or seconds < self._least_seconds:
            return None
        self._is_over = True
        return advice(self._n_threads(), os.cpu_count() or 1, self._load(), self._n_used(seconds))

    def _n_used(self, seconds: float) -> float:
        """The cores whose time this process got, on average."""
        return (time.process_time() - self._computed) / seconds


def advice(n_threads: int, n_cores: int, load: float, n_used: float) -> str | None:
    """A sentence where `n_threads` get the time of `n_used` cores alone, and `load` threads want `n_cores` cores.

    >>> advice(2, 2, 5.0, 0.3)
    'other programs are using the 2 cores (load 5.0), so 2 threads mostly wait for each other: rerunning the command ...
    >>> advice(1, 2, 5.0, 0.3), advice(2, 2, 2.1, 1.9)
    (None, None)
    """
    if n_threads < 2 or load < _MUCH_LOAD * n_cores or n_used > _LITTLE_SHARE * min(n_threads, n_cores):
        return None
    return (
        f"other programs are using the {n_cores} cores (load {load:.1f}), so {n_threads} threads mostly wait for each "
        "other: rerunning the command with OMP_NUM_THREADS=1 before it may be many times faster"
    )


def _n_threads() -> int:
    """The threads with which torch computes on the CPU; 1 where it is not loaded, or a GPU computes."""
    torch = sys.modules.get("torch")
    if torch is None or torch.cuda.is_initialized() or torch.backends.mps.is_available():
        return 1
    return torch.get_num_threads()


def _load() -> float:
    """The mean number of threads that wanted a core in the last minute; 0 where the system does not tell."""
    try:
        return os.getloadavg()[0]
    except (AttributeError, OSError):  # Windows
        return 0.0
