"""`diffusion:ADDRESS`: a pipeline in a folder or on the hub, of whichever family its model_index.json names."""

from __future__ import annotations

from contextlib import suppress
from importlib import import_module
from typing import Any

from compbench.core import disk
from compbench.core.errors import DataError, UsageError
from compbench.core.file_list import FileList
from compbench.core.models import Source
from compbench.diffusion.families import stable_diffusion
from compbench.diffusion.families._places import placed
from compbench.diffusion.families.stable_diffusion import StableDiffusion
from compbench.registry import hub
from compbench.registry.layouts import pipeline_of

__all__ = ["FAMILIES", "from_address"]

FAMILIES = ("sdxl", "pixart", "sd3")  # the files beside this one that say what they read
_STABLE_DIFFUSION = "StableDiffusionPipeline"


def from_address(address: str) -> StableDiffusion:
    """The model of `diffusion:PATH`, a folder, or of `diffusion:org/name[@revision]` on the hub.

    One of Stable Diffusion 1 or 2 is that of `sd:ADDRESS`, and its runs are found by either name.
    """
    name = f"diffusion:{address}"
    repo, revision, is_local = placed(name, address)
    kind = pipeline_of(_listed(Source(repo, revision, is_local)), name)
    if kind.startswith(_STABLE_DIFFUSION):
        return stable_diffusion.from_address(address)
    for module in FAMILIES:
        of_module: Any = import_module(f"compbench.diffusion.families.{module}")
        for make, family in of_module.READS:
            if kind in family.layout.pipelines:
                return make(name, repo, revision, is_local=is_local, family=family)
    raise UsageError(f"model {name!r} is a {kind}, which is not supported; expected {', '.join(_known())}")


def _listed(source: Source) -> FileList:
    """The file that says which pipeline it is: of a folder, of the hub's cache, else of the hub."""
    if source.is_local:
        return FileList.of_folder(disk.expanded(source.repo))
    with suppress(DataError):
        return FileList.of_folder(hub.fetch(source, ["model_index.json"], is_offline=True))
    return FileList.of_folder(hub.fetch(source, ["model_index.json"], is_offline=False))


def _known() -> list[str]:
    """The pipelines that some family here reads."""
    modules: list[Any] = [import_module(f"compbench.diffusion.families.{module}") for module in FAMILIES]
    return [
        _STABLE_DIFFUSION,
        *(kind for module in modules for _, family in module.READS for kind in family.layout.pipelines[:1]),
    ]
