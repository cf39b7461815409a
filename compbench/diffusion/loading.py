"""The parts of a diffusers pipeline, from a hub's cache or a folder: each network whole, in float32, on the CPU.

They are loaded one by one, so no safety checker is fetched, and no code from a folder is run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import diffusers
import torch
import transformers
from diffusers.schedulers.scheduling_utils import SchedulerMixin
from safetensors.torch import load_file
from torch import Tensor, nn

from compbench.core.errors import DataError
from compbench.core.file_list import FileList
from compbench.core.models import Source
from compbench.diffusion._tokenizers import load_gemma_tokenizer, load_t5_tokenizer, load_tokenizer
from compbench.diffusion.denoiser import Target
from compbench.diffusion.parts import Text
from compbench.diffusion.silence import quiet
from compbench.diffusion.weights import LOADING_ERRORS, load_network, load_whole, read_as
from compbench.registry import checkpoints, repositories
from compbench.registry.checkpoints import Part, Weights
from compbench.registry.layouts import GEMMA, TextPart
from compbench.registry.tensors import read_headers

__all__ = [
    "MAX_TIMESTEPS",
    "alphas_cumprod_of",
    "check_betas",
    "fetch_folder",
    "load_part",
    "load_scheduler",
    "load_text",
    "load_text_encoder",
    "load_tokenizer_of",
    "target_of",
    "text_of",
    "weights_of",
]

MAX_TIMESTEPS = 100_000
_TEXT_PREFIX = "text_model."
_TARGET_OF: dict[str, Target] = {"epsilon": "eps", "v_prediction": "v", "sample": "x0"}
Opens = Callable[..., Sequence[str]]  # (files, name) -> the files that are opened


def fetch_folder(
    source: Source, opens: Opens, is_offline: bool, name: str, say: Callable[[str], None] | None = None
) -> Path:
    """The folder with the model's files; DataError, before any weight, for another kind of model."""
    opened = source.opened or partial(opens, name=name)
    return repositories.fetch_opened(replace(source, opened=opened), is_offline, say)


def weights_of(
    files: FileList, parts: Iterable[Part], name: str, say: Callable[[str], None], *, takes_pickles: bool = False
) -> dict[str, Weights]:
    """The weights' files by part; `say` hears of fp16 weights where there are no others, and of pickles.

    Pickles are read by torch with weights_only, which runs no code of theirs.
    """
    weights = {part.name: checkpoints.weights_of(files, part, name, takes_pickles=takes_pickles) for part in parts}
    if pickled := [part for part, found in weights.items() if found.files[0].endswith(".bin")]:
        say(f"{name}: {' and '.join(pickled)} are pickles (.bin), read as weights only: none of their code is run")
    if halves := [part for part, found in weights.items() if found.variant]:
        say(f"{name}: {', '.join(halves)} from the fp16 weights, the only ones there")
    return weights


def load_part(
    part: Part, folder: Path, weights: Weights, say: Callable[[str], None], dtype: torch.dtype = torch.float32
) -> Any:
    """A network of diffusers of the part's class, the first where it may be of several."""
    return load_network(getattr(diffusers, part.classes[0]), folder, part.name, weights, say, dtype)


def text_of(encoder: Any, tokenizer: Any) -> Text:
    """A CLIP as it reads captions: of as many tokens as both take."""
    return Text(tokenizer, encoder, min(int(tokenizer.model_max_length), int(encoder.config.max_position_embeddings)))


def load_text(
    text: TextPart, folder: Path, weights: Weights, say: Callable[[str], None], dtype: torch.dtype = torch.float32
) -> Text:
    """A text encoder and its tokenizer, as the pipeline reads captions. `dtype`: of one that is large."""
    dtype = torch.float32 if text.length is None else dtype
    encoder = load_text_encoder(text.encoder, folder, weights, say, dtype)
    if text.length is None:
        return replace(text_of(encoder, load_tokenizer_of(folder, text.tokenizer)), name=text.encoder.name)
    load = load_gemma_tokenizer if text.tokenizer_classes == GEMMA else load_t5_tokenizer
    tokenizer = load_tokenizer_of(folder, text.tokenizer, load)
    return Text(
        tokenizer,
        encoder,
        text.length,
        is_large=True,
        spelled=_lowered if text.is_lowered else str,
        name=text.encoder.name,
    )


def load_text_encoder(
    part: Part, folder: Path, weights: Weights, say: Callable[[str], None], dtype: torch.dtype = torch.float32
) -> Any:
    """A text encoder of transformers, of the part's class."""
    place, paths = folder / part.name, [folder / file for file in weights.files]
    dtype = read_as(dtype, paths)
    kind: Any = getattr(transformers, part.classes[0])

    def blank(config: Mapping[str, Any]) -> nn.Module:
        with torch.device("meta"):
            return kind(kind.config_class.from_pretrained(place, local_files_only=True))

    def load() -> tuple[Any, Mapping[str, Any]]:
        if _lacks_prefix(blank({}).state_dict(), read_headers(paths)):
            return _prefixed(kind, place, paths)
        return kind.from_pretrained(
            place,
            use_safetensors=True,
            local_files_only=True,
            variant=weights.variant,
            output_loading_info=True,
            ignore_mismatched_sizes=True,
            **({} if dtype == torch.float32 else {"dtype": dtype}),
        )

    return load_whole(folder, part.name, weights.files, blank, load, say, dtype)


def load_tokenizer_of(folder: Path, name: str = "tokenizer", load: Callable[[Path], Any] = load_tokenizer) -> Any:
    """The tokenizer in a subfolder; DataError where it is damaged."""
    try:
        return load(folder / name)
    except DataError:
        raise
    except Exception as error:  # tokenizers raises bare Exception for a damaged file
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise DataError(f"{str(folder / name)!r} cannot be loaded ({reason}); fetch or copy it again") from error


def load_scheduler(folder: Path, files: FileList) -> Any:
    """The scheduler of scheduler_config.json; DataError where model_index.json names one of another schedule."""
    config = files.json("scheduler/scheduler_config.json")
    scheduler = _scheduler(config.get("_class_name"), config, folder)
    named_too = files.json("model_index.json").get("scheduler") if "model_index.json" in files.names else None
    if isinstance(named_too, list) and named_too and named_too[-1] != config.get("_class_name"):  # pyright: ignore
        other = _scheduler(named_too[-1], config, folder)  # pyright: ignore[reportUnknownArgumentType]
        ours, its = (getattr(holder, "alphas_cumprod", None) for holder in (scheduler, other))
        if isinstance(ours, Tensor) and not (isinstance(its, Tensor) and torch.equal(ours, its)):
            raise DataError(
                f"{str(folder)!r} names the scheduler {named_too[-1]!r} in model_index.json and "
                f"{config.get('_class_name')!r} in scheduler/scheduler_config.json, whose noise differs"
            )
    return scheduler


def target_of(scheduler: Any, name: str) -> Target:
    """The quantity that a network was trained to predict, as the scheduler's configuration says."""
    prediction_type = scheduler.config.get("prediction_type", "epsilon")
    if prediction_type not in _TARGET_OF:
        raise DataError(
            f"model {name!r} predicts {prediction_type!r} (scheduler/scheduler_config.json); "
            f"expected one of {', '.join(_TARGET_OF)}"
        )
    return _TARGET_OF[prediction_type]


def check_betas(config: Mapping[str, Any], where: str) -> None:
    """DataError where the ends of a noise schedule, as far as it has them, are not numbers from 0 to 1."""
    for key in ("beta_start", "beta_end"):
        given = config.get(key, 0.0)
        if not isinstance(given, int | float) or isinstance(given, bool) or not 0 <= given <= 1:
            raise DataError(
                f"{where!r} has {key} {given!r} in scheduler/scheduler_config.json; expected a number from 0 to 1: "
                "fetch or copy it again"
            )


def alphas_cumprod_of(scheduler: Any, name: str) -> Tensor:
    """[T] float32 of a variance-preserving schedule: the choice of scheduler makes no difference."""
    alphas_cumprod = getattr(scheduler, "alphas_cumprod", None)
    if not isinstance(alphas_cumprod, Tensor):
        raise DataError(
            f"model {name!r} has a {type(scheduler).__name__} without alphas_cumprod; "
            "expected the variance-preserving schedule of Stable Diffusion"
        )
    return alphas_cumprod.detach().float()


def _lowered(caption: str) -> str:
    return caption.lower().strip()


def _lacks_prefix(own: Iterable[str], stored: Iterable[str]) -> bool:
    """Whether a network's tensors are all called `text_model....` here and never so in the file.

    So transformers of another age calls them: later ones write none and read either, earlier ones read their own alone.

    >>> _lacks_prefix(["text_model.embeddings.weight"], ["embeddings.weight"])
    True
    """
    is_prefixed = all(name.startswith(_TEXT_PREFIX) for name in own)
    return is_prefixed and not any(name.startswith(_TEXT_PREFIX) for name in stored)


def _prefixed(kind: Any, place: Path, paths: Sequence[Path]) -> tuple[Any, Mapping[str, Any]]:
    """The text encoder with the prefix put before its tensors, and what did not fit, as transformers says it."""
    network = kind(kind.config_class.from_pretrained(place, local_files_only=True))
    own = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    stored = {_TEXT_PREFIX + name: tensor for path in paths for name, tensor in load_file(path).items()}
    misshapen = [
        (name, tuple(tensor.shape), own[name])
        for name, tensor in stored.items()
        if name in own and tuple(tensor.shape) != own[name]
    ]
    wrong = {name for name, _, _ in misshapen}
    found = network.load_state_dict(
        {name: tensor for name, tensor in stored.items() if name not in wrong}, strict=False
    )
    missing = set(found.missing_keys) - wrong
    return network, {"missing_keys": missing, "unexpected_keys": found.unexpected_keys, "mismatched_keys": misshapen}


def _scheduler(class_name: object, config: Mapping[str, Any], folder: Path) -> Any:
    kind = getattr(diffusers, str(class_name), None)
    if not (isinstance(kind, type) and issubclass(kind, SchedulerMixin)):
        raise DataError(
            f"{str(folder)!r} names a scheduler {class_name!r} that diffusers {diffusers.__version__} "
            "does not have; compbench runs no code from a model's folder"
        )
    n_timesteps = config.get("num_train_timesteps", 1000)
    if not isinstance(n_timesteps, int) or not 0 < n_timesteps <= MAX_TIMESTEPS:
        raise DataError(
            f"{str(folder)!r} has num_train_timesteps {n_timesteps!r} in scheduler/scheduler_config.json; expected "
            f"1 to {MAX_TIMESTEPS:,}"
        )
    check_betas(config, str(folder))
    try:
        with quiet():
            return kind.from_config(config)  # pyright: ignore[reportAttributeAccessIssue]
    except LOADING_ERRORS as error:
        raise DataError(f"scheduler/scheduler_config.json of {str(folder)!r} cannot be used ({error})") from error
