"""Networks loaded from files that must fit them whole: no tensor missing, left over, of another shape or not finite.

The libraries only warn of a missing tensor and leave it random. Their own account of the loading decides here; the
files' headers are looked at first, so that nothing absurd is built.
"""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError
from torch import nn

from compbench.core.errors import DataError
from compbench.core.file_list import FileList
from compbench.registry.checkpoints import Weights
from compbench.registry.tensors import Tensor, check_counts, check_floats, n_numbers, named, read_headers, tell_of_casts

__all__ = [
    "LOADING_ERRORS",
    "check_finite",
    "check_size",
    "described",
    "load_network",
    "load_whole",
    "read_as",
    "tensors_in",
]

# what the libraries raise for files and configurations that they cannot make a network of
LOADING_ERRORS = (
    OSError,
    ValueError,
    KeyError,
    IndexError,
    TypeError,
    AttributeError,
    NotImplementedError,
    RuntimeError,
    OverflowError,
    ZeroDivisionError,
    MemoryError,
    EOFError,
    ImportError,
    SafetensorError,
    pickle.UnpicklingError,
)
_ROOM = 2.0  # times as many numbers as the files hold may be built before their names are compared
_SLACK = 4_000_000
_MAX_SIDE = 512  # latents; a transformer's table of positions grows with its square
_DTYPES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.uint8: "U8",
    torch.int8: "I8",
    torch.bool: "BOOL",
}

Module = TypeVar("Module", bound=nn.Module)


def load_whole(
    folder: Path,
    part: str,
    files: Sequence[str],
    blank: Callable[[Mapping[str, Any]], nn.Module],
    load: Callable[[], tuple[Module, Mapping[str, Any]]],
    say: Callable[[str], None],
    dtype: torch.dtype = torch.float32,
) -> Module:
    """The network of folder/part in `dtype`, whose weights are in `files`; DataError names file and tensors.

    `blank` builds it of its configuration, on the meta device; `load` gives it with the library's loading info. `say`
    hears of weights that lose digits.
    """
    paths = [folder / file for file in files]
    what = repr(str(paths[0])) + (f" and {len(paths) - 1} more files" if len(paths) > 1 else "")
    config = FileList.of_folder(folder).json(f"{part}/config.json")
    tensors = tensors_in(paths)
    check_floats(tensors, what)
    where = repr(str(folder / part / "config.json"))
    check_counts(config, len(tensors), where)
    if isinstance(side := config.get("sample_size"), int) and side > _MAX_SIDE:
        raise DataError(f"{where} has sample_size {side:,}; expected at most {_MAX_SIDE} latents")
    check_size(_understood(lambda: blank(config), where), tensors, where, what)
    module, info = _understood(load, what)
    _check_info(info, len(tensors), what)
    module = module.to(dtype)
    check_finite(module.named_parameters(), what)
    tell_of_casts(tensors, what, say, str(dtype).removeprefix("torch."))
    return module


def load_network(
    kind: Any,
    folder: Path,
    part: str,
    weights: Weights,
    say: Callable[[str], None],
    dtype: torch.dtype = torch.float32,
) -> Any:
    """`load_whole` for a network class of diffusers, `kind`."""
    dtype = read_as(dtype, [folder / file for file in weights.files])
    options: dict[str, Any] = {"use_safetensors": weights.files[0].endswith(".safetensors"), "local_files_only": True}
    options |= {"variant": weights.variant, "low_cpu_mem_usage": False}
    options |= {"output_loading_info": True, "ignore_mismatched_sizes": True}
    options |= {} if dtype == torch.float32 else {"torch_dtype": dtype}

    def blank(config: Mapping[str, Any]) -> nn.Module:
        with torch.device("meta"):
            return kind.from_config(config)

    def load() -> Any:
        return kind.from_pretrained(folder, subfolder=part, **options)

    return load_whole(folder, part, weights.files, blank, load, say, dtype)


def read_as(dtype: torch.dtype, paths: Sequence[Path]) -> torch.dtype:
    """The dtype that weights are read in to be rounded to `dtype` once: itself where no file has more digits.

    Half the memory of float32, and the same numbers. float16 would not do: its range is smaller.
    """
    is_double = any(tensor.dtype == "F64" for tensor in tensors_in(paths).values())
    return dtype if dtype == torch.bfloat16 and not is_double else torch.float32


def tensors_in(paths: Sequence[Path]) -> dict[str, Tensor]:
    """The tensors of safetensors files, or of pickles, which are read as weights alone."""
    tensors = read_headers([path for path in paths if path.suffix == ".safetensors"])
    for path in paths:
        if path.suffix != ".safetensors":
            state = _unpickled(path)
            tensors |= described({name: tensor for name, tensor in state.items() if isinstance(tensor, torch.Tensor)})
    return tensors


def described(state: Mapping[str, torch.Tensor]) -> dict[str, Tensor]:
    """Tensors in memory as a file's header would have them."""
    return {
        name: Tensor(_DTYPES.get(tensor.dtype, str(tensor.dtype)), tuple(tensor.shape))
        for name, tensor in state.items()
    }


def check_size(blank: nn.Module, tensors: Mapping[str, Tensor], where: str, what: str) -> None:
    """DataError where a configuration describes a far larger network than the weights are of, before it is built."""
    n_asked = sum(tensor.numel() for tensor in (*blank.parameters(), *blank.buffers()))
    n_held = n_numbers(tensors)
    if n_asked > _ROOM * n_held + _SLACK:
        raise DataError(
            f"{where} describes a network of {n_asked:,} numbers ({_in_bytes(4 * n_asked)} in float32), and {what} "
            f"holds {n_held:,}; they do not belong together: fetch or copy the model again"
        )


def check_finite(parameters: Iterable[tuple[str, torch.Tensor]], what: str) -> None:
    """DataError names the tensors that hold NaN or infinity."""
    wrong: list[str] = []
    n_tensors = 0
    for name, parameter in parameters:
        n_tensors += 1
        values = parameter.detach()
        if not torch.isfinite(values.sum(dtype=torch.float32)):  # one pass over memory; overflow alone proves nothing
            n_bad = int((~torch.isfinite(values)).sum())
            wrong += [f"{name} ({n_bad:,} of {values.numel():,} numbers)"] if n_bad else []
    if wrong:
        raise DataError(
            f"{what} has {len(wrong)} of {n_tensors} tensors with NaN or infinity: {named(wrong)}; expected numbers: "
            "fetch or copy the model again"
        )


def _check_info(info: Mapping[str, Any], n_tensors: int, what: str) -> None:
    """DataError for what a library says of tensors that it did not find, did not use, or could not fit."""
    misshapen = sorted(
        f"{key} {tuple(given)} for {tuple(expected)}" for key, given, expected in info["mismatched_keys"]
    )
    missing, unexpected = sorted(info["missing_keys"]), sorted(info["unexpected_keys"])
    faults = [
        f"{len(names)} {word} ({named(names)})"
        for names, word in ((missing, "missing"), (misshapen, "of another shape"), (unexpected, "unknown"))
        if names
    ]
    if faults:
        raise DataError(
            f"{what} does not hold the network that its config.json describes: of {n_tensors} tensors "
            f"{', '.join(faults)}; fetch or copy the model again"
        )


def _understood(make: Callable[[], Any], what: str) -> Any:
    try:
        return make()
    except LOADING_ERRORS as error:
        if isinstance(error, DataError):
            raise
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise DataError(f"{what} cannot be loaded ({reason[:300]}); fetch or copy the model again") from error


def _unpickled(path: Path) -> Mapping[str, Any]:
    try:
        with warnings.catch_warnings():  # of protocols that torch does not write itself
            warnings.simplefilter("ignore", UserWarning)
            try:
                state = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
            except RuntimeError:  # the format before torch 1.6, which cannot be mapped
                state = torch.load(path, map_location="cpu", weights_only=True)
    except LOADING_ERRORS as error:
        raise DataError(
            f"{str(path)!r} cannot be loaded: it is damaged, or a pickle that holds more than tensors, which could run "
            "code; convert it to safetensors with the library that wrote it, or fetch it again"
        ) from error
    if not isinstance(state, dict):
        raise DataError(f"{str(path)!r} cannot be loaded: it holds a {type(state).__name__}; expected tensors by name")
    nested: Any = state.get("state_dict")  # as training scripts write it
    return nested if isinstance(nested, dict) else state  # pyright: ignore[reportUnknownVariableType]


def _in_bytes(n: float) -> str:
    """
    >>> _in_bytes(35.2e12), _in_bytes(3e6)
    ('35 TB', '3 MB')
    """
    for word in ("bytes", "kB", "MB", "GB"):
        if n < 1000:
            return f"{n:.0f} {word}"
        n /= 1000
    return f"{n:,.0f} TB"
