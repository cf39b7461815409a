"""JSON that is remembered from one command to the next, in the user's cache folder: losing it costs time alone."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from compbench.core import disk
from compbench.core.aliases import Json

__all__ = ["cache_folder", "recalled", "remember"]


def cache_folder() -> Path:
    """$XDG_CACHE_HOME/compbench, or ~/.cache/compbench.

    For a user without a home, as in some containers, it is a folder that cannot exist, so that nothing is remembered.
    """
    if named := os.environ.get("XDG_CACHE_HOME"):
        return disk.expanded(named) / "compbench"
    try:
        return Path.home() / ".cache" / "compbench"
    except RuntimeError:
        return Path(os.devnull) / "compbench"


def recalled(name: str) -> dict[str, Any]:
    """The object remembered under `name`, a path below the cache folder; empty where nothing readable is there."""
    try:
        stored: Any = json.loads((cache_folder() / name).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return stored if isinstance(stored, dict) else {}  # pyright: ignore[reportUnknownVariableType]


def remember(name: str, content: Mapping[str, Json]) -> None:
    """Store an object for `recalled`; nothing happens where the cache folder cannot be written."""
    place = cache_folder() / name
    with suppress(OSError):
        place.parent.mkdir(parents=True, exist_ok=True)
        disk.write_json(place, content)
