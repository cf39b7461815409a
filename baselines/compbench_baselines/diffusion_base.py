"""The Stable Diffusion that a baseline takes its features or its pictures from. Torch-free until `components`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from compbench import disk, hub, models
from compbench.models import Dtype, StableDiffusion
from compbench.options import did_you_mean
from compbench.types import Runtime, Source, UsageError

if TYPE_CHECKING:
    from compbench.scorers.pipelines import Components

__all__ = ["base_model", "components", "settled_dtype", "source_of", "word_for"]

_BASES: Mapping[str, StableDiffusion] = {
    spec.name: spec
    for spec in (models.SD2, models.SD2_1_BASE, models.SD2_1, models.SD1_5, models.SD1_4, models.TINY_SD)
}


def base_model(base: str, model: str) -> StableDiffusion:
    """The model by one of compbench's names, by a folder in the diffusers layout, or by org/name[@revision]."""
    if base in _BASES:
        return _BASES[base]
    if "/" in base or disk.expanded(base).is_dir():
        return models.from_address(base)
    raise UsageError(
        f"model {model!r} cannot take base={base!r}; {did_you_mean(base, _BASES)}, or a folder in the diffusers layout"
    )


def source_of(base: StableDiffusion) -> Source | None:
    """The source of the base model's weights; a message says how to give a local copy of them."""
    source = base.source()
    return None if source is None else replace(source, instead="a local copy with -o base=PATH")


def settled_dtype(dtype: Dtype, base: StableDiffusion) -> Dtype:
    """auto is float32 for a model that is quick on a CPU, else bfloat16 where the device does not emulate it."""
    if dtype != "auto":
        return dtype
    return "float32" if base.is_small else "bfloat16"


def components(base: StableDiffusion, source: Source | None, runtime: Runtime, *, owner: str) -> Components:
    """The parts of the pipeline, loaded once a command for all tasks of their owner, who may cast them."""
    from compbench.scorers import pipelines

    if source is None:
        raise UsageError(f"model {base.name!r} has no weights to load; expected a hub repository or a folder")
    weights = source

    def load() -> Components:
        folder = pipelines.fetch_folder(weights, runtime.is_offline, base.name, runtime.say)
        return pipelines.load_components(folder, runtime.say, base.name)

    return runtime.kept(("components", owner, weights), load)


def word_for(source: Source) -> str:
    """What names the weights: a commit or a digest, never a path."""
    return hub.resolve(source, is_offline=True, say=lambda message: None)[1]
