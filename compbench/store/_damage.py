"""Damage: the one error for a stored file that is not what was written, what is said of it, and where it is put.

Each file is checked where it is read: JSON by the checksum that it carries (`_sealed`), Parquet by a digest of its
bytes and by what pyarrow makes of it (`_parquet`).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

__all__ = ["Damaged", "aside", "check_digest", "rewritten", "said", "set_aside"]


class Damaged(ValueError):
    """A stored file is not, or no longer, what was written; the message says how that is known."""


def check_digest(found: str, expected: str | None) -> None:
    """Damaged where a digest is not the one that was kept of what was written; None: none was kept."""
    if expected not in (None, found):
        raise Damaged("its bytes have changed since it was written")


def said(path: Path, why: Exception | str, then: str) -> str:
    """The sentence on a damaged file: which it is, how that is known, and what follows from it."""
    return f"{str(path)!r} is damaged ({str(why).splitlines()[0]}): {then}"


def rewritten(folder: Path, names: Sequence[str], source: str) -> str:
    """The sentence on files of a run that were damaged or missing and are written again."""
    files, (was, it) = " and ".join(names), ("was", "it is") if len(names) == 1 else ("were", "they are")
    return f"{files} of run {str(folder)!r} {was} damaged or missing: {it} rewritten {source}; the parts are kept"


def aside(path: Path) -> Path:
    """The name under which a damaged file is kept and readers pass over it."""
    return path.with_name(f"_{path.name}.damaged")


def set_aside(path: Path) -> None:
    """Rename a damaged file to that name."""
    path.rename(aside(path))
