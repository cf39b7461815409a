"""Addresses of diffusers pipelines: a folder, or a repository of the hub at a revision."""

from __future__ import annotations

import re

from compbench.core import disk
from compbench.core.errors import UsageError
from compbench.registry import checkpoints

__all__ = ["placed"]

_HUB_NAME = re.compile(r"(?P<repo>[\w.-]+/[\w.-]+)(@(?P<revision>[\w./-]+))?")


def placed(name: str, address: str) -> tuple[str, str | None, bool]:
    """Folder or repository, revision, whether it is local; UsageError for another address of the model `name`.

    >>> placed("sd:org/name@main", "org/name@main")
    ('org/name', 'main', False)
    """
    place = disk.expanded(address)
    if place.is_dir():
        return str(place), None, True
    if place.is_file():
        raise UsageError(f"model {name!r}: {checkpoints.no_pipeline_file(place)}")
    hub_name = _HUB_NAME.fullmatch(address)
    if hub_name is None or address.startswith((".", "/", "~")):
        raise UsageError(
            f"model {name!r}: no folder {address!r}, and it is not a hub name; expected PATH or org/name@revision"
        )
    return hub_name["repo"], hub_name["revision"], False
