"""Models in transformers' layout: their address, the files that are opened, what config.json says. Torch-free.

A repository has a config.json, weights (safetensors, or a pickle that is read as weights alone) and the files of a
tokenizer and of an image processor. Nothing else of it is fetched, and no code of it is run.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from compbench.core import disk
from compbench.core.errors import DataError, UsageError
from compbench.core.examples import Task
from compbench.core.file_list import FileList
from compbench.core.models import HalfPrecision, ModelSpec, ResolvedModel, Source

__all__ = ["Address", "address_of", "architecture", "resolved", "source_of", "weight_files"]

CONFIG = "config.json"
_SAFE, _INDEX, _PICKLE = "model.safetensors", "model.safetensors.index.json", "pytorch_model.bin"
_BESIDE = (
    "preprocessor_config.json",
    "processor_config.json",
    "video_preprocessor_config.json",
    "generation_config.json",
    "chat_template.json",
    "chat_template.jinja",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
    "spiece.model",
    "tokenizer.model",
    "sentencepiece.bpe.model",
)
_VOCABULARIES = ("tokenizer.json", "vocab.json", "vocab.txt", "spiece.model", "tokenizer.model")


@dataclass(frozen=True, slots=True)
class Address:
    """A repository of a hub at a revision, or a folder."""

    repo: str
    revision: str | None = None
    is_local: bool = False

    def __str__(self) -> str:
        return f"{self.repo}@{self.revision}" if self.revision else self.repo


def address_of(text: str, scheme: str) -> Address:
    """The address after `scheme:`; UsageError for anything but a folder with a config.json or ORG/NAME[@REVISION].

    >>> str(address_of("google/siglip2-so400m-patch14-384@main", "transformers"))
    'google/siglip2-so400m-patch14-384@main'
    """
    folder = disk.expanded(text)
    if text.startswith(("/", ".", "~")) or (folder / CONFIG).is_file():
        if not (folder / CONFIG).is_file():
            what = f"has no {CONFIG}" if folder.is_dir() else "does not exist"
            raise UsageError(f"folder {str(folder)!r} {what}; expected what `model.save_pretrained(PATH)` writes")
        return Address(str(folder.resolve()), is_local=True)
    repo, _, revision = text.partition("@")
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", repo):
        raise UsageError(
            f"no hub repository {repo!r}; expected {scheme}:ORG/NAME, {scheme}:ORG/NAME@REVISION or a folder"
        )
    return Address(repo, revision or None)


def source_of(address: Address, name: str, check: Callable[[Mapping[str, Any], str], object], scheme: str) -> Source:
    """The weights of an address. `check` of the configuration raises DataError for another kind of model."""
    opened = partial(_opened, name=name, check=check)
    instead = f"a folder that `save_pretrained` wrote, with --model {scheme}:PATH"
    return Source(address.repo, address.revision, address.is_local, instead=instead, opened=opened)


def resolved(spec: Any, dtype: str, task: Task | None) -> ResolvedModel:
    """A spec with an option `dtype`, settled as `dtype`; in float32 where a device only emulates half precision."""
    in_float32 = replace(spec, dtype="float32")
    precision = HalfPrecision(dtype, spec.dtype == dtype, lambda: in_float32.resolve(task))
    return replace(ModelSpec.resolve(replace(spec, dtype=dtype), task), precision=precision)


def architecture(config: Mapping[str, Any]) -> str:
    """The class that config.json names, "" where it names none.

    >>> architecture({"architectures": ["SiglipModel"], "model_type": "siglip"})
    'SiglipModel'
    """
    given: Any = config.get("architectures")
    return str(given[0]) if isinstance(given, list) and given else ""  # pyright: ignore[reportUnknownArgumentType]


def weight_files(files: FileList, name: str) -> tuple[str, ...]:
    """The files with tensors: one safetensors file, its shards, or a pickle where there is no other; DataError."""
    if _SAFE in files.names:
        return (_SAFE,)
    if _INDEX in files.names:
        placed: Any = files.json(_INDEX).get("weight_map")
        shards = sorted({str(shard) for shard in placed.values()}) if isinstance(placed, dict) else []  # pyright: ignore
        lacking = [shard for shard in shards if shard not in files.names]
        if lacking or not shards:
            raise DataError(
                f"model {name!r} has no {lacking[0] if lacking else 'weight_map'} in {files.where!r}, which its "
                f"{_INDEX} asks for; fetch or copy it again"
            )
        return tuple(shards)
    if _PICKLE in files.names:
        return (_PICKLE,)
    raise DataError(
        f"model {name!r} has no {_SAFE}, {_INDEX} or {_PICKLE} in {files.where!r}; expected weights in the layout of "
        "transformers"
    )


def _opened(files: FileList, name: str, check: Callable[[Mapping[str, Any], str], object]) -> tuple[str, ...]:
    """All files that are opened; DataError says what the repository is instead."""
    if CONFIG not in files.names:
        raise DataError(f"model {name!r} has no {CONFIG} in {files.where!r}; expected the layout of transformers")
    config = files.json(CONFIG)
    if config.get("quantization_config") is not None:
        raise DataError(f"model {name!r} in {files.where!r} is of quantized weights, which are not supported")
    check(config, name)
    if not any(vocabulary in files.names for vocabulary in _VOCABULARIES):
        raise DataError(f"model {name!r} has no tokenizer in {files.where!r}; expected {_VOCABULARIES[0]}")
    weights = weight_files(files, name)
    index = () if set(weights) <= {_SAFE, _PICKLE} else (_INDEX,)
    return (CONFIG, *weights, *index, *(file for file in _BESIDE if file in files.names))
