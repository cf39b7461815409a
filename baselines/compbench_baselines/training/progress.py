"""One line now and then about work that has no bar of its own."""

from __future__ import annotations

import time
from collections.abc import Callable

__all__ = ["Paced"]

_SECONDS_BETWEEN_NOTES = 20.0


class Paced:
    """Says how far something is, every twenty seconds."""

    def __init__(self, say: Callable[[str], None], what: str, n: int) -> None:
        self._say, self._what, self._n = say, what, n
        self._began = self._noted = time.monotonic()

    def note(self, n_done: int) -> None:
        now = time.monotonic()
        if now - self._noted >= _SECONDS_BETWEEN_NOTES and n_done:
            self._noted = now
            left = (now - self._began) / n_done * (self._n - n_done)
            self._say(f"{self._what}: {n_done:,} of {self._n:,}, about {left / 60:.0f} min left")
