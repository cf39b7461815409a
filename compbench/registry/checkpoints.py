"""The contents of a model's repository, from file names and configurations, before any weight is fetched or read.

`stable_diffusion` and `dit` name the files that their loaders open, weights of a `fp16` variant where there are no
others, and refuse with a sentence of its own what is something else: another family, a LoRA, a single file.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from compbench.core.errors import DataError
from compbench.core.file_list import FileList
from compbench.registry.tensors import named, read_headers

__all__ = [
    "MAX_PX",
    "TEXT_ENCODER",
    "TRANSFORMER",
    "UNET",
    "MERGE_A_LORA",
    "VAE",
    "Part",
    "Weights",
    "check_components",
    "class_name",
    "config_of",
    "dit",
    "no_pipeline",
    "no_pipeline_file",
    "present",
    "tokenizer_files",
    "sizes_px",
    "stable_diffusion",
    "weights_of",
]

_VARIANTS = ("", "fp16")  # in the order of preference
_INDEX = "model_index.json"
MAX_PX = 4096  # of a side; above, one picture does not fit a device
_FORMER_SIDE = 64  # latents, where diffusers corrects the configurations of its versions below 0.9


@dataclass(frozen=True, slots=True)
class Part:
    """A network of a pipeline: its folder, its weights' file and the classes that model_index.json may name."""

    name: str
    stem: str
    classes: tuple[str, ...]
    prefers_shards: bool = True  # diffusers does, transformers takes the single file


@dataclass(frozen=True, slots=True)
class Weights:
    """The files that hold a part's weights."""

    variant: str | None  # None: the plain ones
    files: tuple[str, ...]  # those with tensors
    index: str | None  # which tensor is in which of them

    @property
    def names(self) -> tuple[str, ...]:
        """All of the files."""
        return (*self.files, *((self.index,) if self.index else ()))


UNET = Part("unet", "diffusion_pytorch_model", ("UNet2DConditionModel",))
VAE = Part("vae", "diffusion_pytorch_model", ("AutoencoderKL",))
TEXT_ENCODER = Part("text_encoder", "model", ("CLIPTextModel",), prefers_shards=False)
TRANSFORMER = Part("transformer", "diffusion_pytorch_model", ("DiTTransformer2DModel", "Transformer2DModel"))
_CLIP_TOKENIZERS = ("CLIPTokenizer", "CLIPTokenizerFast")
_TOKENIZER_FILES = (
    "vocab.json",
    "merges.txt",
    "spiece.model",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
)
_OPTIONAL = ("safety_checker", "feature_extractor", "image_encoder")  # change no error
_FAMILIES = {
    "StableDiffusionXL": "SDXL",
    "StableDiffusion3": "Stable Diffusion 3",
    "StableCascade": "Stable Cascade",
    "StableVideo": "Stable Video Diffusion",
    "StableUnCLIP": "Stable unCLIP",
    "FluxControl": "FLUX for editing pictures",
    "FluxFill": "FLUX for editing pictures",
    "FluxKontext": "FLUX for editing pictures",
    "Flux2": "FLUX.2",
    "Flux": "FLUX",
    "PixArt": "PixArt",
    "SanaSprint": "SANA-Sprint",
    "SanaControlNet": "Sana with a ControlNet",
    "SanaVideo": "SANA-Video",
    "Sana": "Sana",
    "Lumina": "Lumina",
    "QwenImage": "Qwen-Image",
    "ZImage": "Z-Image",
    "HunyuanDiT": "HunyuanDiT",
    "AuraFlow": "AuraFlow",
    "Kandinsky": "Kandinsky",
    "Wuerstchen": "Würstchen",
    "Kolors": "Kolors",
    "CogView": "CogView",
    "Chroma": "Chroma",
    "IF": "DeepFloyd IF",
    "AltDiffusion": "AltDiffusion",
}

_RUN = ("SDXL", "PixArt", "Stable Diffusion 3", "FLUX", "Sana")  # the families of `compbench.diffusion.families`


def stable_diffusion(files: FileList, name: str) -> tuple[str, ...]:
    """The files that a Stable Diffusion 1 or 2 is loaded from; DataError says what the repository is instead."""
    index = _pipeline(files, name, "StableDiffusion", "Stable Diffusion 1 or 2 (StableDiffusionPipeline)")
    for part in ("unet", "vae", "text_encoder", "tokenizer", "scheduler"):
        if not any(name.startswith(f"{part}/") for name in files.names):
            if part == "unet" and (other := no_pipeline(files)):
                raise DataError(f"model {name!r}: {other}")
            kind = f"is a {class_name(index)} and " if index and "unet" not in index else ""
            raise DataError(
                f"model {name!r} {kind}has no {part}/ in {files.where!r}; expected the diffusers layout of Stable "
                "Diffusion (unet, vae, text_encoder, tokenizer, scheduler)"
            )
    parts = (UNET, VAE, TEXT_ENCODER)
    check_components(index, {part.name: part.classes for part in parts} | {"tokenizer": _CLIP_TOKENIZERS}, files, name)
    configs = {part.name: config_of(files, part, name) for part in parts}
    _check_unet(configs["unet"], configs["vae"], files, name)
    if "text_encoder/adapter_config.json" in files.names:
        raise DataError(f"model {name!r} has a LoRA beside its text encoder in {files.where!r}; {MERGE_A_LORA}")
    tokenizer = tokenizer_files(files, "tokenizer")
    others = present(files, name, "scheduler/scheduler_config.json")
    weights = [file for part in parts for file in weights_of(files, part, name).names]
    optional = [_INDEX] if _INDEX in files.names else []
    return (*optional, *(f"{part.name}/config.json" for part in parts), *weights, *tokenizer, *others)


def dit(files: FileList, name: str) -> tuple[str, ...]:
    """The files that a DiT is loaded from; DataError says what the repository is instead."""
    parts = (TRANSFORMER, VAE)
    needed = (*(f"{part.name}/config.json" for part in parts), "scheduler/scheduler_config.json", _INDEX)
    if _INDEX in files.names:
        index = _pipeline(files, name, "DiT", "a class-conditional DiT (DiTPipeline)")
        check_components(index, {part.name: part.classes for part in parts}, files, name)
    lacking = [file for file in needed if file not in files.names]
    weights: list[str] = []
    for part in parts:
        try:
            weights += weights_of(files, part, name, takes_pickles=True).names
        except DataError:
            if any(file.startswith(f"{part.name}/{part.stem}") for file in files.names | files.lost):
                raise
            lacking.append(f"{part.name}/{part.stem}.safetensors (or .bin)")
    if lacking:
        raise DataError(
            f"model {name!r} has no {', '.join(lacking)} in {files.where!r}; expected the layout of diffusers' "
            "DiTPipeline: fetch or copy it again"
        )
    for part in parts:
        config_of(files, part, name)
    return (*needed, *weights)


def weights_of(files: FileList, part: Part, name: str, *, takes_pickles: bool = False) -> Weights:
    """The weights that a part is loaded from: the plain ones, else those of the variant fp16; DataError without any."""
    for variant in _VARIANTS:
        if (found := _of_variant(files, part, variant)) is not None:
            if variant and not files.is_whole:
                raise DataError(
                    f"model {name!r} has only {variant} weights of {part.name} in the cache of {files.where!r}, "
                    f"and the hub may have others: run once without --offline to find out"
                )
            return found
    if takes_pickles and (pickled := f"{part.name}/{part.stem}.bin") in files.names:
        return Weights(None, (pickled,), None)
    _check_whole(files, part, name)
    rest = sorted(
        file.removeprefix(f"{part.name}/")
        for file in files.names
        if file.startswith(f"{part.name}/") and not file.endswith(".json")
    )
    raise DataError(
        f"model {name!r} has {f'{named(rest, 4)} in {part.name}/ but ' if rest else ''}no whole "
        f"{part.name}/{part.stem}.safetensors; "
        "compbench reads safetensors alone, since other files can run code: load the pipeline with diffusers yourself, "
        "`pipeline.save_pretrained(PATH, safe_serialization=True)`, then --model diffusion:PATH"
    )


def tokenizer_files(files: FileList, folder: str) -> list[str]:
    """The files of a folder that a tokenizer is made of."""
    return [f"{folder}/{name}" for name in _TOKENIZER_FILES if f"{folder}/{name}" in files.names]


def sizes_px(files: FileList, name: str) -> tuple[int, int, int]:
    """The side of a Stable Diffusion's pictures as configured, the side as diffusers corrects it, and their grain.

    Configurations written by diffusers below 0.9 often say 32 latents where the network was trained on 64.
    """
    unet, vae = (files.json(f"{part}/config.json") for part in ("unet", "vae"))
    grain = 2 ** max(len(vae.get("block_out_channels") or ()) - 1, 0)
    side = unet.get("sample_size")
    if not isinstance(side, int) or isinstance(side, bool) or not 0 < side * grain <= MAX_PX:
        raise DataError(
            f"model {name!r} has sample_size {side!r} in unet/config.json of {files.where!r}; expected a number of "
            f"latents, at most {MAX_PX // grain}"
        )
    is_former = _version(unet.get("_diffusers_version")) < (0, 9) and side < _FORMER_SIDE
    return side * grain, (_FORMER_SIDE if is_former else side) * grain, grain


def no_pipeline(files: FileList) -> str | None:
    """A sentence on what a repository without a pipeline holds and what to do with it; None where that is unknown."""
    roots = sorted(name for name in files.names if "/" not in name)
    loras = [root for root in roots if root.startswith(("pytorch_lora_weights", "adapter_")) or "lora" in root.lower()]
    loras = [lora for lora in loras if lora.endswith((".safetensors", ".bin"))]
    single = [root for root in roots if root.endswith((".safetensors", ".ckpt"))]
    loras += [file for file in single if file not in loras and _is_lora(Path(files.where) / file)]
    if loras:
        return f"{files.where!r} holds a LoRA ({named(loras)}); {MERGE_A_LORA}"
    if single and "config.json" not in roots:
        return f"{files.where!r} holds a single-file checkpoint ({named(single)}), and compbench {_CONVERT}"
    return None


def no_pipeline_file(path: Path) -> str:
    """A sentence on a file that was given in place of a folder, and what to do with it."""
    if _is_lora(path) or "lora" in path.name.lower():
        return f"{str(path)!r} is a LoRA; {MERGE_A_LORA}"
    return f"{str(path)!r} is a single-file checkpoint, and compbench {_CONVERT}"


_NOWHERE = "is a link that leads to no file"
_CONVERT = (
    "reads the diffusers layout: convert it with diffusers, "
    "`StableDiffusionPipeline.from_single_file(FILE).save_pretrained(PATH)`, then --model sd:PATH"
)
_LCM = (
    "is a latent consistency model (LCM), which is not supported: its network takes a guidance scale and is distilled "
    "to jump, so its error does not say how well a caption fits; expected the model it was distilled from"
)
MERGE_A_LORA = (
    "a LoRA modifies another model and is not one itself: measure that model with it, --model MODEL -o lora=PATH, or "
    "merge it with diffusers, `pipeline.load_lora_weights(PATH)`, `pipeline.fuse_lora()`, "
    "`pipeline.unload_lora_weights()`, `pipeline.save_pretrained(MERGED)`, then --model diffusion:MERGED"
)


def _pipeline(files: FileList, name: str, prefix: str, expected: str) -> Mapping[str, Any]:
    """model_index.json, empty where there is none; DataError where it names a pipeline of another family."""
    if _INDEX not in files.names:
        return {}
    index = files.json(_INDEX)
    given = class_name(index)
    if given.startswith("LatentConsistencyModel"):
        raise DataError(f"model {name!r} in {files.where!r} {_LCM}")
    family = next((words for start, words in _FAMILIES.items() if given.startswith(start)), None)
    if family is None and given.startswith(("DiT", "StableDiffusion")) and not given.startswith(prefix):
        family = (
            "a DiT here (see dit-256 -o folder=PATH)" if prefix != "DiT" else "a Stable Diffusion here (see sd:PATH)"
        )
    if family is not None:
        runs = f", which --model diffusion:{files.where} runs" if family in _RUN else " is not supported"
        raise DataError(f"model {name!r} in {files.where!r} is a {given}: {family}{runs}; expected {expected}")
    return index


def _is_lora(path: Path) -> bool:
    """Whether a local file holds a LoRA, by the names of its tensors."""
    if path.suffix != ".safetensors" or not path.is_file():
        return False
    try:
        names = read_headers([path])
    except DataError:
        return False
    return any("lora_" in name or ".lora" in name for name in names)


def class_name(index: Mapping[str, Any]) -> str:
    given: Any = index.get("_class_name")
    return str(given[-1] if isinstance(given, list) and given else given or "")  # pyright: ignore


def check_components(
    index: Mapping[str, Any], expected: Mapping[str, Sequence[str]], files: FileList, name: str
) -> None:
    """DataError where model_index.json names other classes than those loaded, or a further network."""
    pipeline = class_name(index) or "a pipeline"
    for part, classes in expected.items():
        given = index.get(part)
        if isinstance(given, list) and given and given[-1] not in classes:  # pyright: ignore
            raise DataError(
                f"model {name!r}: {_INDEX} of {files.where!r} ({pipeline}) names {given[-1]!r} as {part}; "
                f"expected {' or '.join(classes)}"
            )
    for part, given in index.items():
        is_component = isinstance(given, list) and len(given) == 2 and given[-1] is not None  # pyright: ignore
        if is_component and part not in (*expected, *_OPTIONAL, "scheduler", "_class_name"):
            raise DataError(
                f"model {name!r}: {_INDEX} of {files.where!r} ({pipeline}) has a {part} ({given[-1]}) besides; "
                f"expected {', '.join(expected)} and scheduler alone"
            )


def config_of(files: FileList, part: Part, name: str) -> Mapping[str, Any]:
    (path,) = present(files, name, f"{part.name}/config.json")
    config = files.json(path)
    given = config.get("_class_name")
    if given is not None and given not in part.classes:
        raise DataError(f"model {name!r}: {path} of {files.where!r} names a class {given}; expected {part.classes[0]}")
    if config.get("quantization_config") is not None:
        raise DataError(f"model {name!r}: {path} of {files.where!r} is of quantized weights, which are not supported")
    return config


def _check_unet(config: Mapping[str, Any], vae: Mapping[str, Any], files: FileList, name: str) -> None:
    if config.get("time_cond_proj_dim") is not None:
        raise DataError(f"model {name!r} in {files.where!r} {_LCM}")
    if config.get("addition_embed_type") is not None or config.get("class_embed_type") is not None:
        raise DataError(
            f"model {name!r} is conditioned on more than one text encoder's states, as SDXL is; expected a pipeline of "
            "its own kind (StableDiffusionXLPipeline), which --model diffusion:PATH runs"
        )
    n_in, n_latents = config.get("in_channels", 4), vae.get("latent_channels", 4)
    if n_in != n_latents:
        raise DataError(
            f"model {name!r} has a U-Net of {n_in} input channels on latents of {n_latents} in {files.where!r}: "
            "inpainting, depth and editing models cannot be scored by their captions alone"
        )


def _of_variant(files: FileList, part: Part, variant: str) -> Weights | None:
    dotted = f".{variant}" if variant else ""
    single = f"{part.name}/{part.stem}{dotted}.safetensors"
    index = f"{part.name}/{part.stem}.safetensors.index{dotted}.json"
    has_single = single in files.names
    if index in files.names and (part.prefers_shards or not has_single):
        shards = _shards(files.json(index), part.name)
        return Weights(variant or None, shards, index) if shards and files.names.issuperset(shards) else None
    return Weights(variant or None, (single,), None) if has_single else None


def _check_whole(files: FileList, part: Part, name: str) -> None:
    """DataError where safetensors were meant to be there: an index names others, or a link leads nowhere."""
    start = f"model {name!r} has no whole {part.name}/{part.stem}.safetensors in {files.where!r}: "
    if links := sorted(file for file in files.lost if file.startswith(f"{part.name}/")):
        raise DataError(f"{start}{links[0]} {_NOWHERE}; fetch or copy it again")
    for path in sorted(files.names):
        if path.startswith(f"{part.name}/{part.stem}.safetensors.index."):
            shards = _shards(files.json(path), part.name)
            lacking = [file for file in shards if file not in files.names]
            what = f"{named(lacking, 4)}, not there" if shards else "no files beside it (weight_map)"
            raise DataError(f"{start}{path.partition('/')[2]} names {what}; fetch or copy it again")


def _shards(index: Mapping[str, Any], folder: str) -> tuple[str, ...]:
    """The files that an index names, none where it names others than its neighbours."""
    placed: Any = index.get("weight_map")
    names = sorted({str(file) for file in placed.values()}) if isinstance(placed, dict) else []  # pyright: ignore
    return () if any("/" in name or "\\" in name for name in names) else tuple(f"{folder}/{name}" for name in names)


def present(files: FileList, name: str, *paths: str) -> Iterable[str]:
    if lacking := [path for path in paths if path not in files.names]:
        is_lost = files.lost.issuperset(lacking)
        why = f", which {_NOWHERE}" if is_lost else ""
        raise DataError(f"model {name!r} has no {', '.join(lacking)} in {files.where!r}{why}; fetch or copy it again")
    return paths


def _version(given: object) -> tuple[int, int]:
    """
    >>> _version("0.6.0.dev0"), _version(None)
    ((0, 6), (99, 0))
    """
    found = re.match(r"(\d+)\.(\d+)", str(given))
    return (int(found[1]), int(found[2])) if found else (99, 0)
