"""A deadline for a whole exchange over HTTP: a socket's own timeout starts again with every byte that arrives."""

from __future__ import annotations

import http.client
import socket
import threading
import urllib.request
from collections.abc import Generator
from contextlib import contextmanager, suppress
from typing import Any

__all__ = ["HANDLERS", "within"]

_exchange = threading.local()  # the deadline of the request that a thread is making


class _Deadline:
    """Ends the connection when its time is over; what reads from it then finds it closed."""

    def __init__(self) -> None:
        self.is_over = False
        self._socket: socket.socket | None = None
        self._lock = threading.Lock()

    def watch(self, connected: socket.socket) -> None:
        with self._lock:
            self._socket = connected
            if self.is_over:
                raise TimeoutError

    def end(self) -> None:
        with self._lock:
            self.is_over = True
            if self._socket is not None:
                with suppress(OSError):  # it was closed meanwhile
                    socket.socket.shutdown(self._socket, socket.SHUT_RDWR)  # also of TLS, without a farewell


@contextmanager
def within(seconds: float) -> Generator[None]:
    """TimeoutError where the request that this thread makes inside is not over in so many seconds."""
    deadline = _Deadline()
    timer = threading.Timer(seconds, deadline.end)
    timer.daemon = True
    _exchange.deadline = deadline
    timer.start()
    try:
        yield
    except Exception as error:
        if deadline.is_over:  # whatever was made of half an answer
            raise TimeoutError(f"no whole answer in {seconds:g} s") from error
        raise
    finally:
        timer.cancel()
        _exchange.deadline = None
    if deadline.is_over:  # an answer without a length looks whole where it is cut
        raise TimeoutError(f"no whole answer in {seconds:g} s")


def _watch(connected: Any) -> None:
    if (deadline := getattr(_exchange, "deadline", None)) is not None:
        deadline.watch(connected)


class _Connection(http.client.HTTPConnection):
    def connect(self) -> None:
        super().connect()
        _watch(self.sock)


class _SecureConnection(http.client.HTTPSConnection):
    def connect(self) -> None:
        super().connect()
        _watch(self.sock)


class _Plain(urllib.request.HTTPHandler):
    def http_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(_Connection, req)


class _Secure(urllib.request.HTTPSHandler):
    def https_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(_SecureConnection, req)


HANDLERS = (_Plain, _Secure)  # of an opener whose requests are to be ended in time
