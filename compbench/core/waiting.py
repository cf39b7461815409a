"""Time that a measurement waits for pictures, which threads decode."""

from __future__ import annotations

import time
from collections.abc import Generator
from contextlib import contextmanager

__all__ = ["Waiting"]

_LEAST_SECONDS, _LEAST_SHARE = 10.0, 0.1  # less is not worth a line


class Waiting:
    """Counts the seconds that are waited, from when it is made.

    >>> waiting = Waiting()
    >>> with waiting.counted():
    ...     pass
    >>> waiting.told()
    """

    def __init__(self) -> None:
        self._began, self.seconds = time.perf_counter(), 0.0

    @contextmanager
    def counted(self) -> Generator[None]:
        """Count what happens inside as waiting."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self.seconds += time.perf_counter() - began

    def told(self) -> str | None:
        """A sentence on the share of the time that was waited; None where that is little."""
        share = self.seconds / max(time.perf_counter() - self._began, 1e-9)
        if self.seconds < _LEAST_SECONDS or share < _LEAST_SHARE:
            return None
        percent = f"{100 * share:.0f} %"
        return f"{percent} of the time went into waiting for pictures: reading and decoding them is the slow part"
