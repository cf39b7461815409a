"""The files of a Stable Diffusion pipeline: what is fetched of a hub repository, and a folder that holds them."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from compbench.core.errors import UsageError
from compbench.core.file_list import FileList
from compbench.core.models import Source
from compbench.registry import checkpoints

__all__ = ["FILES", "local_source"]

_WEIGHTS = {"unet": "diffusion_pytorch_model", "vae": "diffusion_pytorch_model", "text_encoder": "model"}
_SUFFIXES = (".safetensors", "-*-of-*.safetensors", ".safetensors.index.json")
FILES = (
    *(f"{part}/config.json" for part in _WEIGHTS),
    *(f"{part}/{stem}{suffix}" for part, stem in _WEIGHTS.items() for suffix in _SUFFIXES),
    "scheduler/scheduler_config.json",
    "tokenizer/*",
    "model_index.json",
)


def local_source(name: str, folder: Path, *, is_small: bool) -> Source:
    """The folder as a source; UsageError, before torch is imported, where no pipeline is."""
    if not (folder / "unet").is_dir():
        if folder.is_dir() and (other := checkpoints.no_pipeline(FileList.of_folder(folder))):
            raise UsageError(f"model {name!r}: {other}")
        hint = "; `compbench doctor` says what makes it" if is_small else ""
        raise UsageError(
            f"model {name!r} has no unet/ in {str(folder)!r}; expected the diffusers layout of Stable "
            f"Diffusion (unet, vae, text_encoder, tokenizer, scheduler){hint}"
        )
    return Source(str(folder), is_local=True, opened=partial(checkpoints.stable_diffusion, name=name))
