"""The digest of plain values, which names what was measured, learned or left out: SHA-256 of their canonical JSON."""

from __future__ import annotations

import hashlib
import json
from typing import Any

__all__ = ["digest_of", "sha256_of"]

_COMPACT = (",", ":")


def sha256_of(value: object, *, is_compact: bool = False, allow_nan: bool = True) -> Any:
    """The SHA-256, to go on with or to read, of a value's JSON with sorted keys.

    `is_compact`: without blanks, as keys of runs and checksums have it. Both spellings are in names of stored files.
    ValueError for NaN where that is not allowed.
    """
    separators = _COMPACT if is_compact else None
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=separators, allow_nan=allow_nan).encode())


def digest_of(value: object, n_digits: int = 12, *, is_compact: bool = False, allow_nan: bool = True) -> str:
    """The first hex digits of `sha256_of`.

    >>> digest_of({"a": 1, "b": [2]}) == digest_of({"b": [2], "a": 1})
    True
    """
    return sha256_of(value, is_compact=is_compact, allow_nan=allow_nan).hexdigest()[:n_digits]
