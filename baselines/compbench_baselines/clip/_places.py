"""The place of a CLIP's weights: the file of a repository that open_clip takes, the file it keeps of a url."""

from __future__ import annotations

import os
from pathlib import Path

from compbench.core.errors import DataError
from compbench.core.file_list import FileList

__all__ = ["place_of_url", "weights_file"]

_WEIGHTS = (".safetensors", ".bin", ".pth")
_USUAL_WEIGHTS = (  # in open_clip's own order
    "open_clip_model.safetensors",
    "open_clip_pytorch_model.safetensors",
    "open_clip_pytorch_model.bin",
    "open_clip_pytorch_model.pth",
    "model.safetensors",
    "pytorch_model.bin",
    "pytorch_model.pth",
    "model.pth",
)


def weights_file(files: FileList, name: str) -> str:
    """The file that open_clip takes the weights from: the first of its usual names, else of the alphabet."""
    roots = [name for name in sorted(files.names) if name.endswith(_WEIGHTS) and "/" not in name]
    usual = [weight for weight in _USUAL_WEIGHTS if weight in roots]
    safe_first = sorted(roots, key=lambda each: not each.endswith(".safetensors"))
    if not roots:
        raise DataError(
            f"model {name!r} has no weights in {files.where!r}; it cannot be loaded by open_clip: expected "
            f"{_USUAL_WEIGHTS[0]}"
        )
    return (usual or safe_first)[0]


def place_of_url(url: str) -> Path:
    """The file in which open_clip keeps what it fetched from a url."""
    return Path(os.path.expanduser("~/.cache/clip")) / url.rpartition("/")[2]
