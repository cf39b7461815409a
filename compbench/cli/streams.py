"""stdout and stderr as they are found: closed, full, or in an encoding that cannot hold every character."""

from __future__ import annotations

import codecs
import io
import os
import sys
from contextlib import suppress

from compbench.core.errors import RunError
from compbench.core.printable import escaped

__all__ = ["prepare", "settle", "write"]

_PLAIN = {
    "±": "+-", "–": "-", "—": "-", "−": "-", "×": "x", "·": "*", "†": "+", "…": "...", "→": "->", "≤": "<=", "≥": ">=",
    "Δ": "delta", "α": "alpha", "σ": "sigma", "ε": "eps", "²": "2", "µ": "u", "‖": "||", "’": "'", "“": '"', "”": '"',
}  # fmt: skip
_HANDLER = "compbench-plain"
_UNREADY = ("strict", "backslashreplace", "surrogateescape")  # the last is that of stdout in the C locale


def prepare() -> None:
    """Make the streams fit to be written to: what their encoding cannot hold is written in plain letters instead.

    A closed standard stream is opened on the null device, so that no file of a run takes its number.
    """
    codecs.register_error(_HANDLER, _plain)
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free: this one
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.errors in _UNREADY:
            stream.reconfigure(errors=_HANDLER)


def write(text: str) -> None:
    """Text and a newline to stdout; RunError where it cannot be written, since it is what was asked for."""
    if sys.stdout is None:  # pyright: ignore[reportUnnecessaryComparison]
        raise RunError("the result cannot be written: stdout is closed; use --output FILE")
    try:
        sys.stdout.write(text + "\n")
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise RunError(f"the result cannot be written to stdout ({reason}); use --output FILE") from error


def settle() -> None:
    """Flush both streams; one that cannot be flushed is sent to nowhere, so that leaving does not fail on it."""
    for stream in (sys.stdout, sys.stderr):
        if stream is None:  # pyright: ignore[reportUnnecessaryComparison]
            continue
        try:
            stream.flush()
        except (OSError, ValueError):
            with suppress(OSError, ValueError):
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, stream.fileno())
                os.close(nowhere)


def _plain(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    letters = error.object[error.start : error.end]
    return "".join(_PLAIN.get(letter) or escaped(letter) for letter in letters), error.end
