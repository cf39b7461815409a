"""Ctrl-C and SIGTERM end a run as KeyboardInterrupt, and never in the middle of storing a result."""

from __future__ import annotations

import signal
import threading
from collections.abc import Generator
from contextlib import contextmanager
from types import FrameType

__all__ = ["Interrupts"]


class Interrupts:
    """Signals of the main thread while a run lasts; elsewhere they are left alone."""

    def __init__(self) -> None:
        self._is_asked = self._is_held = False

    @contextmanager
    def watched(self) -> Generator[None]:
        """SIGTERM and SIGINT raise KeyboardInterrupt; what they did before is restored at the end."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        # an ignored SIGINT stays ignored: so a shell starts what runs in the background
        watched = [number for number in (signal.SIGTERM, signal.SIGINT) if signal.getsignal(number) != signal.SIG_IGN]
        before = [signal.signal(number, self._hear) for number in watched]
        try:
            yield
        finally:
            for number, handler in zip(watched, before, strict=True):
                signal.signal(number, signal.SIG_DFL if handler is None else handler)

    @property
    def is_asked(self) -> bool:
        """Whether a signal came that nobody has answered, as when its exception was turned into another."""
        return self._is_asked

    def ask(self) -> None:
        """As if a signal had come, from another thread: it takes effect at the next `check`."""
        self._is_asked = True

    @contextmanager
    def held(self) -> Generator[None]:
        """A signal that comes now takes effect at the end."""
        self._is_held = True
        try:
            yield
        finally:
            self._is_held = False
        self.check()

    def check(self) -> None:
        """Raise for a signal that was held back, or whose exception was lost in a destructor or a callback."""
        if self._is_asked:
            self._is_asked = False
            raise KeyboardInterrupt

    def _hear(self, signal_number: int, frame: FrameType | None) -> None:
        self._is_asked = True
        if not self._is_held:
            raise KeyboardInterrupt
