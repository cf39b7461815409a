"""The stages before anything is measured: importing, fetching, loading, encoding, training.

Whoever does it tells; a command that shows progress listens. Where nobody listens nothing happens.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from contextvars import ContextVar

__all__ = ["Listener", "heard", "listener", "tell"]

# what is done, how much of it and of how much (0: not known), in which unit; whether that is shown while it lasts
Listener = Callable[[str, int, int, str], bool]


def _deaf(what: str, n_done: int, n_all: int, unit: str) -> bool:
    return False


_listener: ContextVar[Listener] = ContextVar("listener", default=_deaf)


@contextmanager
def heard(listener: Listener) -> Generator[None]:
    """Send the stages announced inside to `listener`."""
    before = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(before)


def tell(what: str, n_done: int = 0, n_all: int = 0, unit: str = "") -> bool:
    """Say what is done from now on, or how far it is; whether somebody shows it while it lasts."""
    return _listener.get()(what, n_done, n_all, unit)


def listener() -> Listener:
    """The listener of this thread, to pass on to a library's own threads."""
    return _listener.get()
