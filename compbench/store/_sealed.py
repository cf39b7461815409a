"""JSON objects that carry a checksum of themselves, so that a changed digit is seen and not believed.

The checksum stands under "check": the first sixteen hex digits of the SHA-256 of the rest as canonical JSON. An
object without one was written before there were any, and is taken as it is.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from compbench.core.aliases import Json
from compbench.core.digests import digest_of
from compbench.store._damage import Damaged

__all__ = ["is_sealed", "opened", "sealed", "unchecked"]

_CHECK = "check"


def sealed(content: Mapping[str, Json]) -> dict[str, Json]:
    """The object with its checksum.

    >>> sealed({"seed": 0})["check"] == sealed({"seed": 1})["check"]
    False
    """
    return {**content, _CHECK: _check_of(content)}


def opened(content: bytes | str) -> dict[str, Any]:
    """The object without its checksum; Damaged where the bytes hold no object or another one than was sealed."""
    found = _parsed(content)
    check = found.pop(_CHECK, None)
    if check is not None and check != _check_of(found):
        raise Damaged("its checksum does not match its content")
    return found


def unchecked(content: bytes | str) -> dict[str, Any]:
    """The object without its checksum, whether that fits or not."""
    found = _parsed(content)
    found.pop(_CHECK, None)
    return found


def is_sealed(content: bytes | str) -> bool:
    """Whether the object has a checksum, right or wrong."""
    try:
        return _CHECK in _parsed(content)
    except Damaged:
        return False


def _parsed(content: bytes | str) -> dict[str, Any]:
    try:
        text = content if isinstance(content, str) else content.decode("utf-8")
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise Damaged(f"it is not JSON: {error}") from error
    if not isinstance(found, dict):
        raise Damaged(f"expected a JSON object, got {type(found).__name__}")
    return found


def _check_of(content: Mapping[str, Json]) -> str:
    plain = {name: value for name, value in content.items() if name != _CHECK}
    try:
        return digest_of(plain, 16, is_compact=True)
    except (ValueError, RecursionError) as error:
        raise Damaged(str(error)) from error
