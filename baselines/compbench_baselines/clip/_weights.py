"""Loads open_clip models from fetched files: the network, its image transform and its tokenizer.

open_clip builds an architecture without quick-GELU even where its tag was trained with it, and only warns; here the
tag decides. Weights are read from safetensors where there are any, never by unpickling code.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import open_clip
import PIL.Image
import torch
from open_clip.transform import PreprocessCfg, image_transform_v2
from torch import Tensor, nn

from compbench.core.errors import DataError
from compbench.core.file_list import FileList
from compbench.core.models import Source
from compbench.diffusion.weights import LOADING_ERRORS, check_finite, check_size, tensors_in
from compbench.registry import hub
from compbench.registry import tensors as tensors_of
from compbench.registry.checkpoints import MAX_PX
from compbench.registry.repositories import verify
from compbench_baselines.clip._places import place_of_url, weights_file
from compbench_baselines.clip._quick_gelu import check_open_clip

__all__ = ["Loaded", "build_architecture", "load_repository", "load_tag"]

_SAFE, _PICKLED = "open_clip_model.safetensors", "open_clip_pytorch_model.bin"
_TOKENIZER_FILES = ("*.json", "*.txt", "*.model")
_PRECISION = {"float32": "fp32", "bfloat16": "bf16", "float16": "fp16"}  # open_clip keeps layer norms in float32
_PREPROCESSING = ("mean", "std", "interpolation", "resize_mode")


class Loaded(NamedTuple):
    """The parts of a scorer."""

    model: nn.Module
    transform: Callable[[PIL.Image.Image], Tensor]  # -> CHW float32, as the model was evaluated by its authors
    tokenize: Callable[..., Tensor]  # (texts, context_length) -> [n, context_length] int64
    dtype: str


def load_tag(
    architecture: str,
    tag: str,
    source: Source | None,
    file: str,
    dtype: str,
    *,
    is_offline: bool,
    say: Callable[[str], None] | None = None,
) -> Loaded:
    """The weights that open_clip lists as `tag`, from the hub repository `source`; from their url where it is None."""
    if source is None:
        weights = _by_url(architecture, tag, is_offline=is_offline)
    else:
        weights = _weights_file(source, _candidates(file), is_offline=is_offline, say=say)
    model = build_architecture(architecture, tag, dtype, weights, say=say)
    name = _hub_tokenizer(architecture)
    options: dict[str, Any] = {"local_files_only": True} if is_offline and name else {}
    with _explained(name):
        tokenizer = open_clip.get_tokenizer(architecture, **options)
    return Loaded(model, _eval_transform(model), tokenizer, dtype)


def load_repository(
    source: Source, dtype: str, *, is_offline: bool, say: Callable[[str], None] | None = None
) -> Loaded:
    """A local folder or hub repository with an open_clip_config.json and weights."""
    folder = hub.fetch_first(source, [_TOKENIZER_FILES], is_offline)
    if not source.is_local:
        _weights_file(source, _candidates(""), is_offline=is_offline, say=say)
    files = FileList.of_folder(folder)
    weights = folder / weights_file(files, source.repo)
    verify(folder, [weights.name])
    config = files.json("open_clip_config.json")
    tensors = _checked(weights)
    where = repr(str(folder / "open_clip_config.json"))
    _check_config(config, tensors, where, folder, weights)
    if say is not None:
        check_open_clip(config["model_cfg"], [folder.name if source.is_local else source.repo], say)
    try:
        model: Any = open_clip.create_model(f"local-dir:{folder}", precision=_PRECISION[dtype], require_pretrained=True)
    except LOADING_ERRORS as error:
        raise DataError(
            f"model {source.repo!r} cannot be loaded by open_clip ({_reason(error)}); fetch or copy it again"
        ) from error
    _check_loaded(model, tensors, weights)
    if say is not None:
        tensors_of.tell_of_casts(tensors, repr(str(weights)), say, dtype)
    return Loaded(model, _eval_transform(model), _tokenizer(folder, config, is_offline=is_offline), dtype)


def build_architecture(
    architecture: str,
    tag: str,
    dtype: str,
    weights: Path | None,
    *,
    device: str = "cpu",
    say: Callable[[str], None] | None = None,
) -> nn.Module:
    """The network as `tag` was trained: its activation and its preprocessing; untrained where `weights` is None."""
    config: dict[str, Any] = open_clip.get_pretrained_cfg(architecture, tag)
    if weights is not None:
        verify(weights.parent, [weights.name])
    tensors = {} if weights is None or weights.suffix != ".safetensors" else _checked(weights)
    try:
        model = open_clip.create_model(
            architecture,
            pretrained=None if weights is None else str(weights),
            precision=_PRECISION[dtype],
            device=device,
            force_quick_gelu=config.get("quick_gelu", False),
            force_preprocess_cfg={key: config[key] for key in _PREPROCESSING if key in config},
            pretrained_text=False,
        )
    except LOADING_ERRORS as error:
        raise DataError(
            f"weights {tag!r} of {architecture!r} cannot be loaded ({_reason(error)}); fetch them again"
        ) from error
    if weights is not None:
        _check_loaded(model, tensors, weights)
        if say is not None:
            tensors_of.tell_of_casts(tensors or tensors_in([weights]), repr(str(weights)), say, dtype)
    return model


def _checked(weights: Path) -> dict[str, tensors_of.Tensor]:
    """The tensors of a file, all of them of numbers; DataError where it is damaged or could run code."""
    tensors = tensors_in([weights])
    tensors_of.check_floats(tensors, repr(str(weights)))
    return tensors


def _check_config(
    config: dict[str, Any], tensors: dict[str, tensors_of.Tensor], where: str, folder: Path, weights: Path
) -> None:
    """DataError for a network that the weights cannot be of, before it is built."""
    model_config = config.get("model_cfg")
    if not isinstance(model_config, dict):
        raise DataError(f"{where} cannot be loaded by open_clip: it has no model_cfg; fetch or copy it again")
    tensors_of.check_counts(model_config, len(tensors), where)  # pyright: ignore[reportUnknownArgumentType]
    vision: Any = model_config.get("vision_cfg")  # pyright: ignore[reportUnknownMemberType]
    size = vision.get("image_size") if isinstance(vision, dict) else None  # pyright: ignore
    largest = max(size) if isinstance(size, list) and size else size  # pyright: ignore
    if isinstance(largest, int) and largest > MAX_PX:
        raise DataError(f"{where} has image_size {largest:,}; expected at most {MAX_PX} px")
    try:
        with torch.device("meta"), _unheard():  # it would warn that the weights are random
            blank = open_clip.create_model(
                f"local-dir:{folder}", load_weights=False, device="meta", pretrained_image=False, pretrained_text=False
            )
    except LOADING_ERRORS:  # a network of timm's that cannot be built without memory; the loading says what is wrong
        return
    check_size(blank, tensors, where, repr(str(weights)))


@contextmanager
def _unheard() -> Generator[None]:
    """No warnings by the logging module."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(level)


def _check_loaded(model: nn.Module, tensors: dict[str, tensors_of.Tensor], weights: Path) -> None:
    """DataError for tables of positions that open_clip resized without a word, and for numbers that are none."""
    built = model.state_dict()
    wrong = [
        f"{name} {tensor.shape} for {tuple(built[name].shape)}"
        for name, tensor in tensors.items()
        if name in built and "positional_embedding" in name and tensor.shape != tuple(built[name].shape)
    ]
    if wrong:
        raise DataError(
            f"{str(weights)!r} was trained on other sizes than its configuration says: {tensors_of.named(wrong)}; "
            "expected the configuration that belongs to the weights"
        )
    check_finite(model.named_parameters(), repr(str(weights)))


def _reason(error: BaseException) -> str:
    """A one-line version of open_clip's error, naming the first tensors, without torch's advice to load code."""
    text = str(error)
    kinds = re.findall(r"(Missing|Unexpected) key\(s\) in state_dict: (.*?)\.\s*(?:\n|$)", text)
    quoted = re.compile(r'"([^"]+)"')
    said = [f"{kind.lower()} {tensors_of.named(quoted.findall(names))}" for kind, names in kinds]
    said += re.findall(r"size mismatch for [^\n]*", text)[:3]
    first = (text.strip().splitlines() or [type(error).__name__])[0]
    return "; ".join(said) or ("it could run code" if "weights_only" in first else first[:300])


def _by_url(architecture: str, tag: str, *, is_offline: bool) -> Path:
    """The file of a tag that is on no hub, in open_clip's own cache, fetched where it may be."""
    config: dict[str, Any] = open_clip.get_pretrained_cfg(architecture, tag)
    path = place_of_url(str(config["url"]))
    by_hand = f"put the file of {config['url']} at {str(path)!r}"
    if is_offline and not path.is_file():
        raise DataError(
            f"weights {tag!r} of {architecture!r} are not here, and --offline forbids fetching them: {by_hand}"
        )
    try:
        return Path(open_clip.download_pretrained(config))
    except (OSError, ValueError, RuntimeError) as error:
        raise DataError(
            f"weights {tag!r} of {architecture!r} could not be fetched ({error}): try again, or {by_hand}"
        ) from error


def _candidates(file: str) -> list[str]:
    """Names under which the weights may be, safetensors first."""
    if not file:
        return [_SAFE, _PICKLED]
    return [str(Path(file).with_suffix(".safetensors")), file]


def _weights_file(source: Source, names: Sequence[str], *, is_offline: bool, say: Callable[[str], None] | None) -> Path:
    folder = hub.fetch_first(source, [[name] for name in names], is_offline, say=say)
    return next(folder / name for name in names if (folder / name).is_file())


def _eval_transform(model: Any) -> Callable[[PIL.Image.Image], Tensor]:
    transform: Any = image_transform_v2(PreprocessCfg(**model.visual.preprocess_cfg), is_train=False)
    return transform


def _hub_tokenizer(architecture: str) -> str:
    """The repository of the architecture's tokenizer; empty where open_clip ships it."""
    return (open_clip.get_model_config(architecture) or {}).get("text_cfg", {}).get("hf_tokenizer_name") or ""


@contextmanager
def _explained(repo: str) -> Generator[None]:
    """Turn what transformers raises for a tokenizer on the hub into a DataError that says what to do."""
    try:
        yield
    except (OSError, ValueError, RuntimeError) as error:
        if not repo:
            raise
        raise hub.explain(error, repo) from error


def _tokenizer(folder: Path, config: dict[str, Any], *, is_offline: bool) -> Callable[..., Tensor]:
    """The tokenizer beside the weights, or the one that the configuration names on the hub."""
    text = config["model_cfg"].get("text_cfg", {})
    name = text.get("hf_tokenizer_name", "")
    has_own = any((folder / file).is_file() for file in ("tokenizer.json", "tokenizer_config.json", "vocab.json"))
    if name and not has_own:
        with _explained(name):
            return open_clip.tokenizer.HFTokenizer(
                name,
                context_length=text.get("context_length", 77),
                tokenizer_mode=text.get("tokenizer_mode"),
                local_files_only=is_offline,
                **text.get("tokenizer_kwargs", {}),
            )
    return open_clip.get_tokenizer(f"local-dir:{folder}")
