"""parts.jsonl: a line per part that was stored or given up, each with a checksum of itself."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from compbench.core.aliases import Json
from compbench.store import _sealed
from compbench.store._damage import Damaged

__all__ = ["NAME", "Lines", "checked", "line", "read"]

NAME = "parts.jsonl"
_PART = re.compile(r"(errors|scores)/\d+-[0-9a-f]{12}\.parquet")


@dataclass(frozen=True)
class Lines:
    """The lines of the file; damaged ones are left out."""

    records: dict[str, dict[str, Json]] = field(default_factory=dict[str, dict[str, Json]])  # by part
    discarded: frozenset[str] = frozenset()  # parts that were given up
    compacted: frozenset[str] = frozenset()  # parts that were put into others
    is_whole: bool = True  # whether every line could be read


def read(content: bytes) -> Lines:
    """The lines in the bytes of the file."""
    found: dict[str, dict[str, Json]] = {}
    discarded: set[str] = set()
    compacted: set[str] = set()
    lines = [line for line in content.split(b"\n") if line.strip()]
    n_good = 0
    for line in lines:
        try:
            words = _sealed.opened(line)
        except Damaged:
            continue
        name = words.pop("part", None)
        if not isinstance(name, str) or not _PART.fullmatch(name):
            continue
        if words.get("discarded") is True:
            discarded.add(name)
        elif (record := checked(words)) is not None:
            found[name] = record
            holds = record.get("holds")
            compacted.update(map(str, holds if isinstance(holds, list) else ()))
        else:
            continue
        n_good += 1
    return Lines(
        found, frozenset(discarded), frozenset(compacted), n_good == len(lines) and content[-1:] in (b"", b"\n")
    )


def line(name: str, content: bytes | memoryview, words: Mapping[str, Json]) -> dict[str, Json]:
    """The line of the part with this content; `words` say who measured it."""
    digest = hashlib.sha256(content).hexdigest()
    return _sealed.sealed({"part": name, "size": len(content), "sha256": digest, **words})


def checked(words: dict[str, Any] | None) -> dict[str, Json] | None:
    """The record of a part; None where its counts are not numbers."""
    if words is None:
        return None
    counts = [words.get(name, 0) for name in ("n_examples", "n_errors", "n_evaluations")]
    seconds = words.get("seconds", 0)
    is_right = all(isinstance(count, int) and not isinstance(count, bool) and count >= 0 for count in counts)
    is_right &= isinstance(seconds, int | float) and not isinstance(seconds, bool) and 0 <= seconds < math.inf
    is_right &= isinstance(words.get("versions", {}), dict) and isinstance(words.get("holds", []), list)
    return words if is_right else None
