"""The folder layouts of diffusers pipelines: the parts of each kind, from names and configurations alone.

A layout names the files that its loader opens, and refuses with a sentence of its own what is something else.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from compbench.core.errors import DataError
from compbench.core.file_list import FileList
from compbench.registry import checkpoints
from compbench.registry.checkpoints import VAE, Part, check_components, class_name, config_of, weights_of

__all__ = ["CLIP", "GEMMA", "T5", "Layout", "TextPart", "n_tokens_of", "pipeline_of"]

_INDEX = "model_index.json"
_SUFFIXES = (".safetensors", "-*-of-*.safetensors", ".safetensors.index.json")
CLIP = ("CLIPTokenizer", "CLIPTokenizerFast")
T5 = ("T5Tokenizer", "T5TokenizerFast")
GEMMA = ("GemmaTokenizer", "GemmaTokenizerFast")


@dataclass(frozen=True, slots=True)
class TextPart:
    """A text encoder and its tokenizer."""

    encoder: Part
    tokenizer: str  # its folder
    tokenizer_classes: tuple[str, ...]
    length: int | None = None  # of a padded caption in tokens, for a T5; a CLIP says itself how many it takes
    is_lowered: bool = False  # whether the pipeline gives it captions in lower case, without space around them
    left_out_by: str = ""  # the option that does without it, where the pipeline runs without it too


@dataclass(frozen=True, slots=True)
class Layout:
    """The parts of one kind of pipeline."""

    pipelines: tuple[str, ...]  # the classes that model_index.json may name
    words: str  # what it is, for messages
    network: Part
    texts: tuple[TextPart, ...]
    vae: Part = VAE

    def texts_in(self, files: FileList, left_out: Collection[str] = ()) -> tuple[TextPart, ...]:
        """The text encoders that a folder has, but for those that are left out."""
        index = files.json(_INDEX)

        def is_there(text: TextPart) -> bool:
            given: Any = index.get(text.encoder.name)
            return not text.left_out_by or (isinstance(given, list) and given[-1:] != [None])

        return tuple(text for text in self.texts if text.encoder.name not in left_out and is_there(text))

    def parts_in(self, files: FileList, left_out: Collection[str] = ()) -> tuple[Part, ...]:
        """The networks that a folder has."""
        return (self.network, self.vae, *(text.encoder for text in self.texts_in(files, left_out)))

    def opened(self, files: FileList, name: str, left_out: Collection[str] = ()) -> tuple[str, ...]:
        """The files that a model is loaded from; DataError says what the repository is instead, or lacks."""
        pipeline = pipeline_of(files, name)
        if pipeline not in self.pipelines:
            raise DataError(
                f"model {name!r} in {files.where!r} is a {pipeline}; expected {self.words} "
                f"({' or '.join(self.pipelines)}): --model diffusion:{files.where} finds out what runs it"
            )
        texts, parts = self.texts_in(files, left_out), self.parts_in(files, left_out)
        self._check_folders(files, name, parts, texts)
        expected = {part.name: part.classes for part in (self.network, self.vae)}
        expected |= {text.encoder.name: text.encoder.classes for text in self.texts}
        expected |= {text.tokenizer: text.tokenizer_classes for text in self.texts}
        check_components(_without_null(files.json(_INDEX)), expected, files, name)
        for part in parts:
            config_of(files, part, name)
        tokenizers = [file for text in texts for file in checkpoints.tokenizer_files(files, text.tokenizer)]
        weights = [file for part in parts for file in weights_of(files, part, name).names]
        scheduler = checkpoints.present(files, name, "scheduler/scheduler_config.json")
        return (_INDEX, *(f"{part.name}/config.json" for part in parts), *weights, *tokenizers, *scheduler)

    @property
    def patterns(self) -> tuple[str, ...]:
        """The patterns of the files that may be fetched from a repository."""
        parts = (self.network, self.vae, *(text.encoder for text in self.texts))
        return (
            _INDEX,
            *(f"{part.name}/config.json" for part in parts),
            *(f"{part.name}/{part.stem}{suffix}" for part in parts for suffix in _SUFFIXES),
            *(f"{text.tokenizer}/*" for text in self.texts),
            "scheduler/scheduler_config.json",
        )

    def _check_folders(self, files: FileList, name: str, parts: Collection[Part], texts: Collection[TextPart]) -> None:
        needed = [*(part.name for part in parts), *(text.tokenizer for text in texts), "scheduler"]
        lacking = [folder for folder in needed if not any(file.startswith(f"{folder}/") for file in files.names)]
        if lacking:
            spare = [text for text in texts if text.left_out_by and {text.encoder.name, text.tokenizer} >= {*lacking}]
            hint = f", or do without {spare[0].encoder.name}: -o {spare[0].left_out_by}" if spare else ""
            raise DataError(
                f"model {name!r} is {self.words} and has no {', '.join(f'{folder}/' for folder in lacking)} in "
                f"{files.where!r}; expected {', '.join(needed)}: fetch or copy it again{hint}"
            )
        if loras := [part.name for part in parts if f"{part.name}/adapter_config.json" in files.names]:
            raise DataError(
                f"model {name!r} has a LoRA beside its {loras[0]} in {files.where!r}; {checkpoints.MERGE_A_LORA}"
            )


def n_tokens_of(files: FileList, encoder: Part) -> int:
    """The number of tokens of a caption that a CLIP takes."""
    return int(files.json(f"{encoder.name}/config.json").get("max_position_embeddings", 77))


def pipeline_of(files: FileList, name: str) -> str:
    """The class of pipeline that a folder or repository holds; DataError where it holds none."""
    if _INDEX not in files.names:
        other = checkpoints.no_pipeline(files) or (
            f"{files.where!r} has no {_INDEX}; expected a folder or repository that diffusers' `save_pretrained` wrote"
        )
        raise DataError(f"model {name!r}: {other}")
    if not (given := class_name(files.json(_INDEX))):
        raise DataError(f"model {name!r}: {_INDEX} of {files.where!r} names no pipeline (_class_name)")
    return given


def _without_null(index: Mapping[str, Any]) -> Mapping[str, Any]:
    """Without the components that a pipeline was saved without."""
    return {part: given for part, given in index.items() if given != [None, None]}
