"""Messages about files of a run that have to be written again."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

__all__ = ["anew"]


def anew(folder: Path, names: Sequence[str], source: str) -> str:
    """The sentence on files of a run that are written anew."""
    files, (was, it) = " and ".join(names), ("was", "it is") if len(names) == 1 else ("were", "they are")
    return f"{files} of run {str(folder)!r} {was} damaged or missing: {it} written anew {source}; the parts are kept"
