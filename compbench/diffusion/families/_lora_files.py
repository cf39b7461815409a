"""Where a LoRA lies: a file, a folder, or a repository of the hub; and the digest that names it. Torch-free."""

from __future__ import annotations

import os
import re
from pathlib import Path

from compbench.core import disk
from compbench.core.errors import DataError, UsageError
from compbench.core.models import Source
from compbench.registry import hub, repositories
from compbench.registry.model_files import file_digest
from compbench.registry.tensors import named

__all__ = ["lora_digest", "lora_file"]

_USUAL = "pytorch_lora_weights.safetensors"  # as diffusers saves it
_ON_THE_HUB = re.compile(r"(?P<repo>[\w.-]+/[\w.-]+?)(@(?P<revision>[\w./-]+))?(:(?P<file>[\w./ -]+))?")
_FORMS = "PATH, or org/name[@revision][:file.safetensors] on the hub"


def lora_file(address: str, name: str, digest: str | None = None) -> Path:
    """The file of weights; one that lies on the hub is fetched. UsageError or DataError says what is there instead.

    `digest`: what it was when the run was named.
    """
    file = _file(address, name)
    if digest is not None and f"sha256:{file_digest(file)}" != digest:
        raise DataError(f"model {name!r}: its LoRA {address!r} changed after the run was named; rerun the command")
    return file


def lora_digest(address: str, name: str) -> str:
    """The SHA-256 of its weights: where they lie does not change a score."""
    return f"sha256:{file_digest(lora_file(address, name))}"


def _file(address: str, name: str) -> Path:
    place = disk.expanded(address)
    if place.is_file():
        if place.suffix != ".safetensors":
            raise UsageError(
                f"model {name!r} cannot take lora={address!r}; compbench reads safetensors alone, since other files "
                "can run code: load it with diffusers yourself and save it with safe_serialization=True"
            )
        return place
    if place.is_dir():
        return place / _the_one([file.name for file in sorted(place.iterdir())], address, name)
    found = _ON_THE_HUB.fullmatch(address)
    if found is None or address.startswith((".", "/", "~")):
        raise UsageError(f"model {name!r}: no file or folder {address!r} for its LoRA; expected {_FORMS}")
    is_offline = hub.stays_offline(os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE"))
    wanted = Source(found["repo"], found["revision"], instead="a local copy with -o lora=PATH")
    source, _ = hub.resolve(wanted, is_offline=is_offline, say=lambda message: None)
    file = found["file"]
    if file is None:
        file = _the_one(sorted(repositories.file_list(source, is_offline).names), address, name)
    folder = hub.fetch_whole(source, [file], is_offline, lambda folder: folder)
    repositories.verify(folder, [file])
    return folder / file


def _the_one(files: list[str], address: str, name: str) -> str:
    """The file of weights among others."""
    if _USUAL in files:
        return _USUAL
    weights = [file for file in files if file.endswith(".safetensors") and "/" not in file]
    if len(weights) == 1:
        return weights[0]
    if not weights:
        raise DataError(f"model {name!r}: {address!r} holds no LoRA in safetensors; expected {_USUAL}")
    raise UsageError(
        f"model {name!r}: {address!r} holds {len(weights)} files of weights ({named(weights, 4)}); name the one that "
        f"is the LoRA: {_FORMS}"
    )
