"""Models in transformers' layout: their address, the files that are opened, what config.json says. Torch-free.

A repository has a config.json, weights (safetensors, or a pickle that is read as weights alone) and the files of a
tokenizer and of an image processor. Nothing else of it is fetched, and no code of it is run.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

from compbench.core import disk
from compbench.core.errors import DataError, UsageError
from compbench.core.examples import Task
from compbench.core.file_list import FileList
from compbench.core.models import ModelSpec, ResolvedModel, Runtime, Source, in_precision

__all__ = ["CONFIG", "FOLDER", "Address", "Dtype", "HubModel", "address_of", "architecture", "not_a", "weight_files"]

FOLDER: Mapping[str, str] = {"help": "a local copy instead of the hub's"}
Dtype = Literal["auto", "float32", "bfloat16", "float16"]

CONFIG = "config.json"
_SAFE, _PICKLE = "model.safetensors", "pytorch_model.bin"
_INDICES = ("model.safetensors.index.json", "pytorch_model.bin.index.json")
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
_FIXED = {"option": False}
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


@dataclass(frozen=True)
class HubModel(ModelSpec):
    """A model at an address in transformers' layout. What inherits from it says what it checks and how it scores."""

    scheme: ClassVar[str]  # what its address begins with

    repo: str = field(default="", metadata=_FIXED)
    revision: str | None = field(default=None, metadata=_FIXED)
    is_local: bool = field(default=False, metadata=_FIXED)
    dtype: Dtype = field(default="auto", metadata={"help": "dtype of the network; auto is float32"})
    folder: Path | None = field(default=None, metadata=_FIXED)  # an option of the models that have names here

    def __post_init__(self) -> None:
        if self.folder is not None:
            address_of(str(disk.expanded(self.folder).absolute()), self.scheme)

    @classmethod
    def at(cls, text: str) -> Self:
        """The model of what follows the scheme."""
        found = address_of(text, cls.scheme)
        return cls(found.repo, found.revision, found.is_local)

    @property
    def name(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The address of this model."""
        return f"{self.scheme}:{self.address}"

    @property
    def address(self) -> Address:
        """Where its weights are."""
        if self.folder is not None:
            return Address(str(disk.expanded(self.folder).resolve()), is_local=True)
        return Address(self.repo, self.revision, self.is_local)

    @property
    def settled_dtype(self) -> Dtype:
        """The dtype that the network runs in."""
        return "float32" if self.dtype == "auto" else self.dtype

    def check(self, config: Mapping[str, Any], name: str) -> None:
        """DataError where config.json is that of another kind of model."""
        raise NotImplementedError

    def on(self, task: Task) -> Self:
        """With what depends on the task."""
        return self

    def resolve(self, task: Task | None) -> ResolvedModel:
        settled = replace(self if task is None else self.on(task), dtype=self.settled_dtype)
        return in_precision(settled, self.dtype == settled.dtype, lambda spec: spec.resolved())

    def resolved(self) -> ResolvedModel:
        """The resolved model, once its dtype is settled."""
        return ModelSpec.resolve(self, None)

    def source(self) -> Source:
        address, opened = self.address, partial(_opened, name=self.name, check=self.check)
        instead = f"a folder that `save_pretrained` wrote, with --model {self.scheme}:PATH"
        return Source(address.repo, address.revision, address.is_local, instead=instead, opened=opened)

    def loaded(
        self, load: Callable[[Source, str, Runtime], tuple[Any, Any]], source: Source | None, runtime: Runtime
    ) -> tuple[Any, Any]:
        """The parts that `load` makes of the weights, kept for the next task."""
        assert source is not None
        dtype = self.settled_dtype
        return runtime.kept((load, source, dtype), lambda: load(source, dtype, runtime))


def architecture(config: Mapping[str, Any]) -> str:
    """The class that config.json names, "" where it names none.

    >>> architecture({"architectures": ["SiglipModel"], "model_type": "siglip"})
    'SiglipModel'
    """
    given: Any = config.get("architectures")
    return str(given[0]) if isinstance(given, list) and given else ""  # pyright: ignore[reportUnknownArgumentType]


def not_a(expected: str, config: Mapping[str, Any], name: str) -> DataError:
    """Says what class the model `name` is, and what was expected."""
    what = f"is a {given}" if (given := architecture(config)) else "names no class in its config.json"
    return DataError(f"model {name!r} {what}; expected {expected}")


def weight_files(files: FileList, name: str) -> tuple[str, ...]:
    """The files with tensors: safetensors, whole or in parts, or else pickles; DataError where there is neither."""
    if _SAFE in files.names:
        return (_SAFE,)
    if (index := _index(files)) is not None and not (index == _INDICES[1] and _PICKLE in files.names):
        placed: Any = files.json(index).get("weight_map")
        shards = sorted({str(shard) for shard in placed.values()}) if isinstance(placed, dict) else []  # pyright: ignore
        lacking = [shard for shard in shards if shard not in files.names]
        if lacking or not shards:
            raise DataError(
                f"model {name!r} has no {lacking[0] if lacking else 'weight_map'} in {files.where!r}, which its "
                f"{index} asks for; fetch or copy it again"
            )
        return tuple(shards)
    if _PICKLE in files.names:
        return (_PICKLE,)
    raise DataError(
        f"model {name!r} has no {_SAFE}, {_PICKLE} or index of their parts in {files.where!r}; expected weights in the "
        "layout of transformers"
    )


def _index(files: FileList) -> str | None:
    """The file that says which parts hold the tensors, where there is one."""
    return next((name for name in _INDICES if name in files.names), None)


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
    index = None if set(weights) <= {_SAFE, _PICKLE} else _index(files)
    return (CONFIG, *weights, *([] if index is None else [index]), *(file for file in _BESIDE if file in files.names))
