"""`diffusion:ADDRESS`: a pipeline in a folder or on the hub, of whichever family its model_index.json names."""

from __future__ import annotations

from contextlib import suppress

from compbench.core import disk
from compbench.core.errors import DataError, MissingPackage, UsageError
from compbench.core.file_list import FileList
from compbench.core.models import Source
from compbench.diffusion.families._places import placed
from compbench.diffusion.families.stable_diffusion import StableDiffusion
from compbench.diffusion.families.text_to_image import TextToImage
from compbench.diffusion.pipeline import PipelineFamily
from compbench.registry import hub, plugins
from compbench.registry.layouts import pipeline_of

__all__ = ["from_address", "stable_diffusion_at"]

_INDEX = "model_index.json"
_STABLE_DIFFUSION = "StableDiffusionPipeline"


def from_address(address: str) -> StableDiffusion:
    """The model of `diffusion:PATH`, a folder, or of `diffusion:org/name[@revision]` on the hub.

    One of Stable Diffusion 1 or 2 is that of `sd:ADDRESS`, and its runs are found by either name.
    """
    name = f"diffusion:{address}"
    repo, revision, is_local = placed(name, address)
    kind = pipeline_of(_listed(Source(repo, revision, is_local)), name)
    if kind.startswith(_STABLE_DIFFUSION):
        return stable_diffusion_at(address)
    known, broken = _readers()
    for make, family in known:
        if kind in family.layout.pipelines:
            return make(name, repo, revision, is_local=is_local, family=family)
    offered = ", ".join((_STABLE_DIFFUSION, *(family.layout.pipelines[0] for _, family in known)))
    raise UsageError(f"model {name!r} is a {kind}, which is not supported; expected {offered}{broken}")


def stable_diffusion_at(address: str) -> StableDiffusion:
    """The model of `sd:PATH`, a folder in the diffusers layout, or of `sd:org/name[@revision]` on the hub.

    >>> stable_diffusion_at("org/name@main").source()
    Source(repo='org/name', revision='main', is_local=False)
    """
    name = f"sd:{address}"
    repo, revision, is_local = placed(name, address)
    return StableDiffusion(name, repo, revision, is_local=is_local)


def _readers() -> tuple[list[tuple[type[TextToImage], PipelineFamily]], str]:
    """The specs' classes and families that installed packages declare, and what is wrong with those that fail."""
    readers: list[tuple[type[TextToImage], PipelineFamily]] = []
    broken = ""
    for entry in plugins.entries("family"):
        try:
            readers += plugins.load(entry)
        except (MissingPackage, UsageError) as error:
            broken += f". {error}"
    return readers, broken


def _listed(source: Source) -> FileList:
    """The file that says which pipeline it is: of a folder, of the hub's cache, else of the hub."""
    if source.is_local:
        return FileList.of_folder(disk.expanded(source.repo))
    with suppress(DataError):
        if (files := FileList.of_folder(hub.fetch(source, [_INDEX], is_offline=True))) and _INDEX in files.names:
            return files
    folder = hub.fetch(source, [_INDEX], is_offline=False)
    return FileList.of_folder(folder) if folder.is_dir() else FileList(source.repo, frozenset(), _nothing)


def _nothing(name: str) -> bytes:
    raise DataError(f"no {name} is there")
