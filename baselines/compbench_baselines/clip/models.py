"""CLIP and its relatives by open_clip: which weights, and by what name. Torch-free; the scorer is in clip/_scorer.py.

`--model open-clip:ARCHITECTURE/TAG` takes any pair that open_clip lists, `open-clip:FOLDER` a local copy with an
open_clip_config.json, `open-clip:hf-hub:ORG/NAME` a hub repository with one; @REVISION pins a hub revision.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from compbench.core import disk
from compbench.core.aliases import Json
from compbench.core.errors import DataError, UsageError
from compbench.core.examples import Task
from compbench.core.file_list import FileList
from compbench.core.models import ModelSpec, ResolvedModel, Runtime, Source, in_precision
from compbench_baselines.clip._catalogue import Pretrained, pretrained
from compbench_baselines.clip._papers import paper_of
from compbench_baselines.clip._places import place_of_url, weights_file
from compbench_baselines.clip._templates import OPTION, digest_for

if TYPE_CHECKING:
    from compbench_baselines.clip._scorer import ClipScorer

__all__ = [
    "CLIP_RN50",
    "CLIP_VIT_B_16",
    "CLIP_VIT_B_32",
    "CLIP_VIT_L_14",
    "CLIP_VIT_L_14_336",
    "DFN_H_14",
    "EVA02_E_14_PLUS",
    "EVA02_L_14",
    "METACLIP2_H_14",
    "METACLIP_H_14",
    "MOBILECLIP2_S4",
    "OPENCLIP_VIT_BIGG_14",
    "OPENCLIP_VIT_B_32",
    "OPENCLIP_VIT_H_14",
    "OPENCLIP_VIT_L_14",
    "SIGLIP2_B_16",
    "SIGLIP2_GOPT",
    "SIGLIP2_L_16",
    "SIGLIP2_SO400M",
    "SIGLIP_SO400M",
    "EMOJI_CLIP",
    "TINY_CLIP",
    "OpenClip",
    "from_address",
]

Dtype = Literal["auto", "float32", "bfloat16", "float16"]
_CONFIG = "open_clip_config.json"
_INSTEAD = "a local copy of an open_clip repository with --model open-clip:PATH"
_TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "vocab.txt",
    "spiece.model",
    "tokenizer.model",
    "sentencepiece.bpe.model",
    "config.json",
)
_CLIP = """@inproceedings{radford2021clip,
  title     = {Learning Transferable Visual Models From Natural Language Supervision},
  author    = {Radford, Alec and Kim, Jong Wook and Hallacy, Chris and Ramesh, Aditya and Goh, Gabriel and Agarwal,
               Sandhini and Sastry, Girish and Askell, Amanda and Mishkin, Pamela and Clark, Jack and Krueger, Gretchen
               and Sutskever, Ilya},
  booktitle = {International Conference on Machine Learning},
  year      = {2021}
}
"""
_OPENCLIP = """@software{ilharco2021openclip,
  title  = {OpenCLIP},
  author = {Ilharco, Gabriel and Wortsman, Mitchell and Wightman, Ross and Gordon, Cade and Carlini, Nicholas and
            Taori, Rohan and Dave, Achal and Shankar, Vaishaal and Namkoong, Hongseok and Miller, John and Hajishirzi,
            Hannaneh and Farhadi, Ali and Schmidt, Ludwig},
  year   = {2021},
  doi    = {10.5281/zenodo.5143773}
}
@inproceedings{cherti2023scaling,
  title     = {Reproducible scaling laws for contrastive language-image learning},
  author    = {Cherti, Mehdi and Beaumont, Romain and Wightman, Ross and Wortsman, Mitchell and Ilharco, Gabriel and
               Gordon, Cade and Schuhmann, Christoph and Schmidt, Ludwig and Jitsev, Jenia},
  booktitle = {IEEE/CVF Conference on Computer Vision and Pattern Recognition},
  year      = {2023}
}
"""


def _no_option(default: Any) -> Any:
    return field(default=default, metadata={"option": False})


@dataclass(frozen=True)
class OpenClip(ModelSpec):
    """An open_clip model scored by cosine similarity: an architecture and tag, or a repository that names its own."""

    architecture: str = _no_option("")  # empty: `repo` holds an open_clip_config.json
    tag: str = _no_option("")
    repo: str = _no_option("")  # a local folder or a hub repository; empty: where open_clip says the tag's weights are
    revision: str | None = _no_option(None)
    is_local: bool = _no_option(False)
    dtype: Dtype = field(
        default="auto",
        metadata={"help": "dtype of the towers; auto is float32, half precision makes ties (scores are float32)"},
    )
    templates: str = field(default="auto", metadata=OPTION)
    folder: Path | None = field(
        default=None,
        metadata={
            "help": "a local copy in open_clip's layout (open_clip_config.json and weights), instead of the hub's"
        },
    )
    classes: str | None = _no_option(None)  # digest of the templates and names, of a task that is classified with them

    def __post_init__(self) -> None:
        if self.folder is not None:
            _check_folder(disk.expanded(self.folder))

    @property
    def name(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The address of this model."""
        at = f"@{self.revision}" if self.revision else ""
        if self.architecture:
            return f"open-clip:{self.architecture}/{self.tag}{at}"
        return f"open-clip:{self.repo}" if self.is_local else f"open-clip:hf-hub:{self.repo}{at}"

    @property
    def citation(self) -> str:
        """BibTeX: of CLIP, of OpenCLIP and its scaling study for weights that are not OpenAI's, and of the weights."""
        return _CLIP if self.tag == "openai" else _CLIP + _OPENCLIP + paper_of(self.architecture, self.tag)

    def resolve(self, task: Task | None) -> ResolvedModel:
        classes = self.classes if task is None else digest_for(self.templates, task)
        settled = dataclasses.replace(self, classes=classes, dtype=self._dtype)
        return in_precision(settled, self.dtype == settled.dtype, OpenClip._resolved)

    def _resolved(self) -> ResolvedModel:
        return dataclasses.replace(super().resolve(None), bytes_to_fetch=self.bytes_to_fetch, embeds_text=True)

    @property
    def _dtype(self) -> Dtype:
        return "float32" if self.dtype == "auto" else self.dtype

    def source(self) -> Source | None:
        """The hub repository or folder; None for a tag that has only a url, which open_clip fetches itself."""
        if self.folder is not None:
            opened = partial(_files_of_repository, name=str(self.folder))
            return Source(str(disk.expanded(self.folder).resolve()), is_local=True, opened=opened)
        if self.repo:
            opened = partial(_files_of_repository, name=self.name)
            return Source(self.repo, self.revision, self.is_local, instead=_INSTEAD, opened=opened)
        repo, file = _split_hub(self.weights().hub)
        opened = partial(_files_of_tag, file=file, name=self.name)
        return Source(repo, self.revision, instead=_INSTEAD, opened=opened) if repo else None

    def bytes_to_fetch(self) -> int | None:
        """0 where the file of a tag that is on no hub lies in open_clip's cache; None where it must be fetched."""
        return 0 if place_of_url(self.weights().url).is_file() else None

    def weights(self) -> Pretrained:
        """The open_clip entry for the tag."""
        return pretrained(self.architecture, self.tag)[1]

    def identity(self) -> Mapping[str, Json]:
        identity: dict[str, Json] = {"scorer": "open-clip", "version": 1, "dtype": self._dtype}
        if self.architecture and self.folder is None:  # a folder says itself which architecture it holds
            identity |= {"architecture": self.architecture, "tag": self.tag}
            if not self.weights().hub:
                identity["url"] = self.weights().url
        return identity | ({"templates": self.classes} if self.classes else {})

    def build(self, source: Source | None, runtime: Runtime) -> ClipScorer:
        from compbench_baselines.clip import _weights as clip_weights
        from compbench_baselines.clip._scorer import ClipScorer

        dtype = self._dtype

        def load() -> clip_weights.Loaded:
            if source is not None and (source.is_local or not self.architecture):
                return clip_weights.load_repository(source, dtype, is_offline=runtime.is_offline, say=runtime.say)
            file = _split_hub(self.weights().hub)[1]
            return clip_weights.load_tag(
                self.architecture, self.tag, source, file, dtype, is_offline=runtime.is_offline, say=runtime.say
            )

        loaded = runtime.kept(("open-clip", self.architecture, self.tag, source, dtype), load)
        return ClipScorer.on_device(*loaded, runtime, templates=self.templates)


def from_address(address: str) -> OpenClip:
    """The model of `open-clip:ADDRESS`; UsageError for what open_clip does not list, with the nearest names.

    >>> from_address("ViT-B-32,laion2b_s34b_b79k").name
    'open-clip:ViT-B-32/laion2b_s34b_b79k'
    """
    if address.startswith("hf-hub:"):
        return _from_hub(address.removeprefix("hf-hub:"))
    folder = disk.expanded(address.removeprefix("local-dir:"))
    if address.startswith(("local-dir:", "/", ".", "~")) or (folder / _CONFIG).is_file():
        return _from_folder(folder)
    pair, _, revision = address.partition("@")
    architecture, _, tag = pair.replace(",", "/", 1).partition("/")
    tag, _ = pretrained(architecture, tag)
    return OpenClip(architecture, tag, revision=revision or None)


def _files_of_repository(files: FileList, name: str) -> tuple[str, ...]:
    """The files opened of a repository in open_clip's layout: configuration, weights and tokenizer."""
    if _CONFIG not in files.names:
        raise DataError(f"model {name!r} has no {_CONFIG} in {files.where!r}; expected an open_clip repository")
    return (_CONFIG, weights_file(files, name), *(file for file in _TOKENIZER_FILES if file in files.names))


def _files_of_tag(files: FileList, file: str, name: str) -> tuple[str, ...]:
    """The weights of a tag, safetensors where there are any."""
    if not file:
        return (weights_file(files, name),)
    candidates = (str(Path(file).with_suffix(".safetensors")), file)
    found = [candidate for candidate in candidates if candidate in files.names]
    if not found:
        raise DataError(f"model {name!r} has no {' or '.join(candidates)} in {files.where!r}; expected its weights")
    return (found[0],)


def _from_hub(address: str) -> OpenClip:
    repo, _, revision = address.partition("@")
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", repo):
        raise UsageError(f"no hub repository {repo!r}; expected open-clip:hf-hub:ORG/NAME or ORG/NAME@REVISION")
    return OpenClip(repo=repo, revision=revision or None)


def _from_folder(folder: Path) -> OpenClip:
    _check_folder(folder)
    return OpenClip(repo=str(folder.resolve()), is_local=True)


def _check_folder(folder: Path) -> None:
    """UsageError for one that is not a copy of an open_clip repository."""
    if not (folder / _CONFIG).is_file():
        what = f"has no {_CONFIG}" if folder.is_dir() else "does not exist"
        raise UsageError(
            f"folder {str(folder)!r} {what}; expected a copy of an open_clip hub repository: its {_CONFIG}, "
            "open_clip_model.safetensors and, where it has one, tokenizer"
        )


def _split_hub(hub: str) -> tuple[str, str]:
    """(repository, file) of open_clip's "org/name/file"; the file is empty where it is the usual one.

    >>> _split_hub("laion/CLIP-ViT-H-14/"), _split_hub("jienengchen/ViTamin-S/pytorch_model.bin")
    (('laion/CLIP-ViT-H-14', ''), ('jienengchen/ViTamin-S', 'pytorch_model.bin'))
    """
    repo, _, file = hub.rpartition("/")
    return repo, file


def _shipped(name: str) -> str:
    """The folder of a model that ships with the package."""
    spec = find_spec("compbench.tiny")
    return str(Path(spec.origin or "").parent / name) if spec else name


TINY_CLIP = OpenClip(repo=_shipped("tiny-clip"), is_local=True)
EMOJI_CLIP = OpenClip(repo=_shipped("emoji-clip"), is_local=True)
CLIP_RN50 = OpenClip("RN50", "openai")
CLIP_VIT_B_32 = OpenClip("ViT-B-32", "openai")
CLIP_VIT_B_16 = OpenClip("ViT-B-16", "openai")
CLIP_VIT_L_14 = OpenClip("ViT-L-14", "openai")
CLIP_VIT_L_14_336 = OpenClip("ViT-L-14-336", "openai")
OPENCLIP_VIT_B_32 = OpenClip("ViT-B-32", "laion2b_s34b_b79k")
OPENCLIP_VIT_L_14 = OpenClip("ViT-L-14", "laion2b_s32b_b82k")
OPENCLIP_VIT_H_14 = OpenClip("ViT-H-14", "laion2b_s32b_b79k")
OPENCLIP_VIT_BIGG_14 = OpenClip("ViT-bigG-14", "laion2b_s39b_b160k")
SIGLIP_SO400M = OpenClip("ViT-SO400M-14-SigLIP-384", "webli")
SIGLIP2_B_16 = OpenClip("ViT-B-16-SigLIP2", "webli")
SIGLIP2_L_16 = OpenClip("ViT-L-16-SigLIP2-384", "webli")
SIGLIP2_SO400M = OpenClip("ViT-SO400M-14-SigLIP2-378", "webli")
SIGLIP2_GOPT = OpenClip("ViT-gopt-16-SigLIP2-384", "webli")
MOBILECLIP2_S4 = OpenClip("MobileCLIP2-S4", "dfndr2b")
EVA02_L_14 = OpenClip("EVA02-L-14-336", "merged2b_s6b_b61k")
EVA02_E_14_PLUS = OpenClip("EVA02-E-14-plus", "laion2b_s9b_b144k")
METACLIP_H_14 = OpenClip("ViT-H-14", "metaclip_fullcc")
METACLIP2_H_14 = OpenClip("ViT-H-14-worldwide", "metaclip2_worldwide")
DFN_H_14 = OpenClip("ViT-H-14", "dfn5b")
