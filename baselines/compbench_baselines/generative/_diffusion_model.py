"""The Stable Diffusion that a baseline takes its features or its pictures from. Torch-free until `components`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from compbench.core import disk
from compbench.core.errors import DataError, UsageError
from compbench.core.models import Runtime, Source
from compbench.core.suggestions import did_you_mean
from compbench.diffusion.families import stable_diffusion
from compbench.diffusion.families.addresses import stable_diffusion_at
from compbench.diffusion.families.stable_diffusion import Dtype, StableDiffusion
from compbench.registry import hub

if TYPE_CHECKING:
    from compbench.diffusion import Parts

__all__ = ["Sizes", "base_model", "components", "known_word", "settled_dtype", "sizes_of", "source_of", "word_for"]

_BASES: Mapping[str, StableDiffusion] = {
    spec.name: spec
    for spec in (
        stable_diffusion.SD2,
        stable_diffusion.SD2_1_BASE,
        stable_diffusion.SD2_1,
        stable_diffusion.SD1_5,
        stable_diffusion.SD1_4,
        stable_diffusion.TINY_SD,
    )
}
# the U-Net and the autoencoder of Stable Diffusion 1 and 2
_SD: Mapping[str, Any] = {"in_channels": 4, "sample_size": 64, "block_out_channels": [320, 640, 1280, 1280]}
_SD_VAE: Mapping[str, Any] = {"block_out_channels": [128, 256, 512, 512]}


def base_model(base: str, model: str) -> StableDiffusion:
    """The model by one of compbench's names, by a folder in the diffusers layout, or by org/name[@revision]."""
    if base in _BASES:
        return _BASES[base]
    if "/" in base or disk.expanded(base).is_dir():
        return stable_diffusion_at(base)
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


def components(base: StableDiffusion, source: Source | None, runtime: Runtime, *, owner: str) -> Parts:
    """The parts of the pipeline, loaded once a command for all tasks of their owner, who may cast them."""
    from compbench.diffusion import loading
    from compbench.diffusion.families import sd_unet
    from compbench.registry import checkpoints

    if source is None:
        raise UsageError(f"model {base.name!r} has no weights to load; expected a hub repository or a folder")
    weights = source

    def load() -> Parts:
        opens = checkpoints.stable_diffusion
        folder = loading.fetch_folder(weights, opens, runtime.is_offline, base.name, runtime.say)
        return sd_unet.load(folder, runtime.say, base.name)

    return runtime.kept(("components", owner, weights), load)


def word_for(source: Source) -> str:
    """The word that identifies the weights: a commit or a digest, never a path."""
    return hub.resolve(source, is_offline=True, say=lambda message: None)[1]


def known_word(source: Source | None) -> str | None:
    """The same; None where there are no weights to name."""
    try:
        return None if source is None else word_for(source)
    except DataError:  # what is wrong with them is told where they are loaded
        return None


@dataclass(frozen=True, slots=True)
class Sizes:
    """The bytes kept for a picture."""

    px: int  # its side
    latents: int  # numbers
    middle_channels: int  # of the U-Net's middle block
    middle_side: int


def sizes_of(base: StableDiffusion, source: Source | None, px: int | None = None) -> Sizes | None:
    """The sizes from the weights' configuration, or as published where that is not here; None where unknown.

    `px`: the side of pictures where it is another than the configuration says.
    """
    unet, vae = _config(source, "unet"), _config(source, "vae")
    if unet is None or vae is None:
        if base.name not in _BASES:
            return None
        unet, vae = _published(base), _SD_VAE
    factor, channels = 2 ** (len(vae["block_out_channels"]) - 1), unet["block_out_channels"]
    side = int(unet["sample_size"]) if px is None else px // factor
    middle = side // 2 ** (len(channels) - 1)
    return Sizes(side * factor, int(unet["in_channels"]) * side**2, int(channels[-1]), middle)


def _published(base: StableDiffusion) -> Mapping[str, Any]:
    """The U-Net of a model that has a name here: all have one shape, and 2.1 larger pictures."""
    return {**_SD, "sample_size": 96} if base.name == stable_diffusion.SD2_1.name else _SD


def _config(source: Source | None, part: str) -> Mapping[str, Any] | None:
    """The configuration of a part of the pipeline; None where it is not here."""
    if source is None:
        return None
    name = f"{part}/config.json"
    try:
        found = json.loads((hub.fetch(source, [name], is_offline=True) / name).read_text(encoding="utf-8"))
    except (DataError, OSError, ValueError):
        return None
    known = isinstance(found, dict) and isinstance(found.get("block_out_channels"), list)  # pyright: ignore
    return found if known else None  # pyright: ignore
