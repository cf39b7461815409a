"""The tensors of a model's files by their headers alone: names, dtypes and shapes, before any weight is read."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from compbench.core.errors import DataError

__all__ = ["Tensor", "check_counts", "check_floats", "n_numbers", "named", "read_headers", "tell_of_casts"]

_MAX_HEADER_BYTES = 100_000_000  # safetensors' own limit
_FLOATS = ("F64", "F32", "F16", "BF16", "F8_E4M3", "F8_E5M2")
# counters and indices, kept with some weights
_WHOLE_BY_DESIGN = ("position_ids", "num_batches_tracked", "input_resolution", "context_length", "vocab_size")
# settings of diffusers, transformers and open_clip that say how many layers are built; each layer has tensors
_COUNTS = (
    "layers_per_block",
    "transformer_layers_per_block",
    "reverse_transformer_layers_per_block",
    "num_layers",
    "num_hidden_layers",
    "layers",
)
_LISTS = ("down_block_types", "up_block_types", "block_out_channels")


@dataclass(frozen=True, slots=True)
class Tensor:
    """A tensor in a file."""

    dtype: str  # as safetensors writes it: "F32", "I64"
    shape: tuple[int, ...]


def read_headers(files: Sequence[Path]) -> dict[str, Tensor]:
    """All tensors of some safetensors files; DataError names a file that is truncated or no safetensors file."""
    tensors: dict[str, Tensor] = {}
    for path in files:
        tensors.update(_header(path))
    return tensors


def n_numbers(tensors: Mapping[str, Tensor]) -> int:
    """The number of elements of all tensors together."""
    return sum(math.prod(tensor.shape) for tensor in tensors.values())


def check_floats(tensors: Mapping[str, Tensor], what: str) -> None:
    """DataError names tensors of whole numbers or truth values: a library would cast them without a word."""
    if not tensors:
        raise DataError(f"{what} holds no tensor; expected the weights of a network: fetch or copy the model again")
    wrong = [
        f"{name} ({tensor.dtype})"
        for name, tensor in tensors.items()
        if tensor.dtype not in _FLOATS and not name.endswith(_WHOLE_BY_DESIGN)
    ]
    if wrong:
        raise DataError(
            f"{what} has {len(wrong)} of {len(tensors)} tensors that are not floating point: {named(wrong)}; expected "
            "float32, float16 or bfloat16 weights: fetch or copy the model again (quantized weights are not supported)"
        )


def tell_of_casts(tensors: Mapping[str, Tensor], what: str, say: Callable[[str], None], dtype: str = "float32") -> None:
    """Say how many tensors are of double precision, which no network here computes in."""
    n_double = sum(tensor.dtype == "F64" and not name.endswith(_WHOLE_BY_DESIGN) for name, tensor in tensors.items())
    if n_double:
        say(f"{what} has {n_double} of {len(tensors)} tensors in float64; they are rounded to {dtype}")


def check_counts(config: Mapping[str, Any], n_tensors: int, what: str) -> None:
    """DataError for a configuration that asks for more layers than its weights have tensors, before any is built."""
    for key, value in config.items():
        if isinstance(value, dict):
            check_counts(value, n_tensors, what)  # pyright: ignore[reportUnknownArgumentType]
        n_asked = _n_asked(key, value)
        if n_asked > n_tensors:
            raise DataError(
                f"{what} asks for {n_asked:,} ({key}) and its weights hold {n_tensors:,} tensors; they do not belong "
                "together: fetch or copy the model again"
            )


def named(wrong: Iterable[str], n_shown: int = 3) -> str:
    """
    >>> named(["a", "b", "c", "d", "e"])
    'a, b, c and 2 more'
    """
    wrong = list(wrong)
    more = f" and {len(wrong) - n_shown} more" if len(wrong) > n_shown else ""
    return ", ".join(wrong[:n_shown]) + more


def _n_asked(key: str, value: Any) -> int:
    if key in _LISTS and isinstance(value, list):
        return len(value)  # pyright: ignore[reportUnknownArgumentType]
    if key not in _COUNTS:
        return 0
    if isinstance(value, list):
        return sum(_n_asked(key, part) for part in value)  # pyright: ignore[reportUnknownVariableType]
    return value if isinstance(value, int) else 0


def _header(path: Path) -> dict[str, Tensor]:
    try:
        with path.open("rb") as file:
            size = path.stat().st_size
            n_header = int.from_bytes(file.read(8), "little")
            if size < 8 or n_header > min(size - 8, _MAX_HEADER_BYTES):
                raise ValueError(f"its {size:,} bytes hold no whole header")
            header: dict[str, Any] = json.loads(file.read(n_header))
        header.pop("__metadata__", None)
        tensors = {name: Tensor(entry["dtype"], tuple(entry["shape"])) for name, entry in header.items()}
        end = max((entry["data_offsets"][1] for entry in header.values()), default=0)
        if 8 + n_header + end > size:
            raise ValueError(f"it has {size:,} of {8 + n_header + end:,} bytes")
    except OSError as error:
        raise DataError(f"{str(path)!r} cannot be read ({error.strerror}); fetch or copy it again") from error
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError) as error:
        raise DataError(
            f"{str(path)!r} is truncated or not a safetensors file ({error}); fetch or copy it again"
        ) from error
    return tensors
