"""CLIPs in memory, your own fine-tune perhaps, as models to run: of open_clip and of transformers. Torch-free.

The model is left as it is: it computes where it lies, in the precision that it has, in evaluation mode for as long as a
batch takes. A run is named by a digest of the weights as they are when it starts, and of the settings of the
preprocessing and the tokenizer.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Self

from compbench.core.aliases import Json
from compbench.core.errors import UsageError
from compbench.core.examples import Task
from compbench.core.models import ModelSpec, ResolvedModel, Runtime, Scorer, Source
from compbench_baselines.clip._templates import OPTION, digest_for

__all__ = ["InMemory", "from_open_clip", "from_transformers", "refuse_open_clip", "refuse_transformers"]

Family = Literal["open-clip", "clip", "siglip", "blip-itm", "metaclip2", "siglip2", "blip-2-itm"]
_FIXED = {"option": False}
_FAMILIES: dict[str, Family] = {
    "CLIPModel": "clip",
    "SiglipModel": "siglip",
    "BlipForImageTextRetrieval": "blip-itm",
    "MetaClip2Model": "metaclip2",
    "Siglip2Model": "siglip2",
    "Blip2ForImageTextRetrieval": "blip-2-itm",
}


def from_open_clip(
    model: Any, preprocess: Any, tokenizer: Any, name: str | None = None, *, identity: str | None = None
) -> InMemory:
    """An open_clip model in memory as a model to run: what `open_clip.create_model_and_transforms` gives.

    `preprocess` is the transform for evaluation, the last of the three. `identity` is your own word for a preprocessing
    or a tokenizer whose settings cannot be told, one with a lambda in it say; without it such a model is measured every
    time.

    >>> import compbench, open_clip
    >>> from pathlib import Path
    >>> folder = f"local-dir:{Path(compbench.__file__).parent / 'tiny' / 'tiny-clip'}"
    >>> model, preprocess = open_clip.create_model_from_pretrained(folder)
    >>> mine = from_open_clip(model, preprocess, open_clip.get_tokenizer(folder), name="mine")
    >>> len(compbench.run("shapes", model=mine, limit=6).done())
    6
    """
    lacks = [part for part in ("encode_image", "encode_text", "state_dict") if not hasattr(model, part)]
    if lacks:
        raise UsageError(
            f"model cannot be a {type(model).__name__}, which has no {', '.join(lacks)}; expected a CLIP of open_clip"
        )
    for what, value in (("preprocess", preprocess), ("tokenizer", tokenizer)):
        if not callable(value):
            raise UsageError(f"{what} cannot be {value!r}; expected what open_clip gives with the model")
    if not _takes(tokenizer, "context_length"):
        raise UsageError("tokenizer takes no context_length; expected one of open_clip.get_tokenizer")
    return InMemory(_named(name, "my-open-clip"), "open-clip", model, preprocess, tokenizer, identity)


def from_transformers(model: Any, processor: Any, name: str | None = None, *, identity: str | None = None) -> InMemory:
    """A model of transformers in memory, with its processor, as a model to run.

    CLIPs and SigLIPs score by the cosine of their embeddings, BLIPs for image-text retrieval by how much likelier their
    matching head finds a match, in log-odds. `identity`: see `from_open_clip`.

    >>> import compbench, transformers
    >>> from pathlib import Path
    >>> folder = Path(compbench.__file__).parent / "tiny" / "tiny-sd" / "tokenizer"
    >>> tokenizer = transformers.CLIPTokenizer.from_pretrained(folder)
    >>> small = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
    >>> ends = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id}
    >>> text = {**small, **ends, "vocab_size": len(tokenizer)}
    >>> config = transformers.CLIPConfig(text_config=text, vision_config={**small, "image_size": 32, "patch_size": 16})
    >>> images = transformers.CLIPImageProcessor(size={"shortest_edge": 32}, crop_size=32)
    >>> model, processor = transformers.CLIPModel(config), transformers.CLIPProcessor(images, tokenizer)
    >>> len(compbench.run("shapes", model=from_transformers(model, processor, "mine"), limit=2).done())
    2
    """
    names = [kind.__name__ for kind in type(model).__mro__]
    family: Family | None = next((_FAMILIES[name] for name in names if name in _FAMILIES), None)
    if family is None:
        raise UsageError(
            f"model cannot be a {type(model).__name__}; known of transformers are {', '.join(_FAMILIES)}. A function "
            "(images, captions) -> scores takes any other"
        )
    parts = [getattr(processor, part, None) for part in ("image_processor", "tokenizer")]
    if not all(map(callable, parts)):
        raise UsageError(
            f"processor cannot be a {type(processor).__name__}; expected the model's own, with an image_processor and "
            "a tokenizer: AutoProcessor.from_pretrained gives it"
        )
    return InMemory(_named(name, f"my-{family}"), family, model, parts[0], parts[1], identity)


def refuse_open_clip(model: object) -> ModelSpec:
    """UsageError: what belongs to the model is not in it."""
    raise UsageError(
        f"model cannot be a {type(model).__name__} of open_clip alone, without the preprocessing and the tokenizer "
        "that it was trained with; use compbench.from_open_clip(model, preprocess, tokenizer)"
    )


def refuse_transformers(model: object) -> ModelSpec:
    """UsageError: what belongs to the model is not in it."""
    raise UsageError(
        f"model cannot be a {type(model).__name__} of transformers alone, without its processor; use "
        "compbench.from_transformers(model, processor)"
    )


@dataclass(frozen=True)
class InMemory(ModelSpec):
    """A model in memory as a spec; `from_open_clip` and `from_transformers` make it."""

    name: str = field(metadata=_FIXED)
    family: Family = field(metadata=_FIXED)
    model: Any = field(repr=False, compare=False, metadata=_FIXED)
    preprocess: Any = field(repr=False, compare=False, metadata=_FIXED)
    tokenizer: Any = field(repr=False, compare=False, metadata=_FIXED)
    identity_given: str | None = field(default=None, metadata=_FIXED)
    templates: str = field(default="auto", metadata=OPTION)
    classes: str | None = field(default=None, metadata=_FIXED)  # digest of the templates and names of the task
    told: Any = field(default=None, metadata=_FIXED)  # as the model is when a run starts

    def resolve(self, task: Task | None) -> ResolvedModel:
        settled = self._told()
        if task is not None:
            is_matcher = self.family.endswith("-itm")
            settled = replace(settled, classes=None if is_matcher else digest_for(self.templates, task))
        unknown = settled.told.unknown
        why = f"the settings of {unknown} are unknown" if unknown and self.identity_given is None else ""
        has_text_tower = self.family != "blip-itm"
        return replace(ModelSpec.resolve(settled, task), why_anew=why, embeds_text=has_text_tower)

    def _told(self) -> Self:
        from compbench_baselines.clip import _in_memory

        return self if self.told else replace(self, told=_in_memory.told(self.model, self.preprocess, self.tokenizer))

    def identity(self) -> Mapping[str, Json]:
        identity: dict[str, Json] = {"scorer": self._scorer, "version": 1, **self._told().told.to_json()}
        for word, value in (("identity", self.identity_given), ("templates", self.classes)):
            identity |= {word: value} if value else {}
        return identity

    @property
    def _scorer(self) -> str:
        return self.family if self.family == "open-clip" else f"transformers-{self.family}"

    def build(self, source: Source | None, runtime: Runtime) -> Scorer:
        from compbench_baselines.clip import _in_memory

        lent = _in_memory.Lent(self.name, self.model, self.preprocess, self.tokenizer)
        return _in_memory.scorer(self.family, lent, self.templates, runtime)


def _named(name: str | None, default: str) -> str:
    if name is not None and not name.strip():
        raise UsageError("a model's name cannot be empty; expected a name such as 'my-model'")
    return name or default


def _takes(function: Any, keyword: str) -> bool:
    """Whether a function takes a keyword; also where its signature cannot be read."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return True
    return any(parameter.name == keyword or parameter.kind is parameter.VAR_KEYWORD for parameter in parameters)
