"""Networks, tokenizers and image processors of transformers, loaded whole or refused from the hub's layout."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import nn

from compbench.core.errors import DataError
from compbench.core.file_list import FileList
from compbench.core.models import Runtime, Source
from compbench.diffusion.silence import quiet
from compbench.diffusion.weights import LOADING_ERRORS, load_whole
from compbench.registry import repositories
from compbench_baselines.hub_models import CONFIG, weight_files

__all__ = ["fetched", "image_processor", "load_network", "processor", "tokenizer"]

_BUFFERS = "position_ids"  # kept among the weights by versions of transformers before 4.31


def fetched(source: Source, runtime: Runtime) -> tuple[Path, dict[str, Any]]:
    """The folder with all files of a model, and its configuration."""
    folder = repositories.fetch_opened(source, runtime.is_offline, runtime.say)
    return folder, FileList.of_folder(folder).json(CONFIG)


def load_network(kind: Any, folder: Path, dtype: str, say: Callable[[str], None]) -> Any:
    """The network of a class of transformers, every tensor found; in evaluation mode. DataError names what is not."""
    files = weight_files(FileList.of_folder(folder), str(folder))

    def blank(config: Mapping[str, Any]) -> nn.Module:
        with torch.device("meta"):
            return _from_config(kind, folder)

    def load() -> tuple[nn.Module, Mapping[str, Any]]:
        with quiet():
            network, info = kind.from_pretrained(
                folder,
                dtype=getattr(torch, dtype),
                local_files_only=True,
                use_safetensors=files[0].endswith(".safetensors"),
                output_loading_info=True,
                ignore_mismatched_sizes=True,
            )
        left = [name for name in info["unexpected_keys"] if not name.endswith(_BUFFERS)]
        return network, {**info, "unexpected_keys": left}

    return load_whole(folder, ".", files, blank, load, say, getattr(torch, dtype)).eval()


def tokenizer(folder: Path) -> Any:
    """The tokenizer beside the weights."""
    return _read(transformers.AutoTokenizer, "tokenizer", folder)


def image_processor(folder: Path) -> Any:
    """The image processor beside the weights."""
    return _read(transformers.AutoImageProcessor, "image processor", folder)


def processor(folder: Path) -> Any:
    """The processor beside the weights: a tokenizer and an image processor that know of each other."""
    return _read(transformers.AutoProcessor, "processor", folder)


def _from_config(kind: Any, folder: Path) -> nn.Module:
    config = transformers.AutoConfig.from_pretrained(folder, local_files_only=True)
    return kind.from_config(config) if hasattr(kind, "from_config") else kind(config)  # an Auto class, or a network


def _read(kind: Any, what: str, folder: Path) -> Any:
    try:
        with quiet():
            return kind.from_pretrained(folder, local_files_only=True)
    except LOADING_ERRORS as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise DataError(
            f"the {what} in {str(folder)!r} cannot be loaded ({reason[:300]}); fetch or copy it again"
        ) from error
