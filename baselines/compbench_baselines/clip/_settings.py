"""The settings of an object in memory as plain values, so that two of them can be told apart; never a pickle.

A preprocessing or a tokenizer is told by its class and all its attributes, a function by where it can be imported from.
What cannot be told, such as a lambda or a class of a notebook, is Untold: to guess would be to show stale scores.
"""

from __future__ import annotations

import enum
import functools
import hashlib
import json
import math
import sys
from collections.abc import Callable, Mapping
from pathlib import PurePath
from typing import Any

import numpy as np
import torch
from torch import nn

from compbench.core.aliases import Json
from compbench.core.digests import sha256_of

__all__ = ["Untold", "settings", "structure", "weights_digest"]

# what grows or changes with use and decides nothing, and where a file was read from
_PASSING = frozenset({"cache", "training", "grad_checkpointing", "gradient_checkpointing", "name_or_path"})
_TOLD = frozenset({"_active_adapter", "_disable_adapters"})  # which of a network's adapters are at work
_OF_TOKENIZERS = ("padding_side", "truncation_side", "model_max_length", "special_tokens_map")


class Untold(Exception):
    """An object whose settings cannot be told; its text names it."""


def settings(value: Any, within: tuple[int, ...] = ()) -> Json:
    """Plain values that differ where the settings do; Untold where they cannot be told. `within`: what holds it."""
    if id(value) in within:
        return "itself"
    tell = next(tell for is_one, tell in _TELLERS if is_one(value))
    return tell(value, within)


def structure(model: nn.Module) -> Json:
    """Classes and settings of all modules: heads, activations and epsilons, which no weight tells."""
    return [[name, _class(module), _plain_attributes(module)] for name, module in model.named_modules()]


def weights_digest(model: nn.Module) -> str:
    """SHA-256 of the structure and of all weights: their names, dtypes, shapes and bytes, by name."""
    digest = sha256_of(structure(model))
    for name, weights in sorted(model.state_dict().items()):
        if not isinstance(weights, torch.Tensor):  # a module's own extra state
            digest.update(f"{name} {json.dumps(settings(weights), sort_keys=True)}".encode())
            continue
        digest.update(f"{name} {weights.dtype} {tuple(weights.shape)}".encode())
        digest.update(_bytes(weights))
    return digest.hexdigest()


def _bytes(tensor: torch.Tensor) -> Any:
    if tensor.device.type == "meta" or tensor.layout != torch.strided:
        raise Untold(f"a tensor of device {tensor.device} and layout {tensor.layout}")
    return tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy()


def _plain_attributes(module: nn.Module) -> dict[str, Json]:
    return {
        name: settings(value)
        for name, value in sorted(vars(module).items())
        if (not name.startswith("_") or name in _TOLD) and name not in _PASSING and _is_plain(value)
    }


def _is_plain(value: Any) -> bool:
    """Whether it is made of numbers, truth values and text alone."""
    if isinstance(value, Mapping):
        return all(map(_is_plain, (*value.keys(), *value.values())))
    if isinstance(value, list | tuple | set | frozenset):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, bool | int | float | str)


def _of_mapping(value: Mapping[Any, Any], within: tuple[int, ...]) -> Json:
    within = (*within, id(value))
    pairs: list[Json] = [
        [settings(key, within), settings(held, within)] for key, held in value.items() if key not in _PASSING
    ]
    return sorted(pairs, key=lambda pair: json.dumps(pair, sort_keys=True))


def _of_array(value: Any, within: tuple[int, ...]) -> Json:
    tensor = value if isinstance(value, torch.Tensor) else torch.as_tensor(np.array(value))
    return [str(tensor.dtype), list(tensor.shape), hashlib.sha256(_bytes(tensor)).hexdigest()]


def _of_module(value: nn.Module, within: tuple[int, ...]) -> Json:
    within = (*within, id(value))
    public = {name: held for name, held in vars(value).items() if not name.startswith("_")}
    children = [[name, settings(child, within)] for name, child in value.named_children()]
    return [_class(value), settings(public, within), children, settings(dict(value.state_dict()), within)]


def _of_tokenizer(value: Any, within: tuple[int, ...]) -> Json:
    """The settings of a tokenizer of transformers, without what its last call has left in it."""
    backend = getattr(value, "backend_tokenizer", None)
    if backend is None:
        vocabulary: Json = settings(value.get_vocab(), within)
    else:
        vocabulary = {
            name: held for name, held in json.loads(backend.to_str()).items() if name not in ("padding", "truncation")
        }
    return [_class(value), vocabulary, [settings(getattr(value, name, None), within) for name in _OF_TOKENIZERS]]


def _of_function(value: Any, within: tuple[int, ...]) -> Json:
    owner = getattr(value, "__self__", None)
    if owner is not None and not isinstance(owner, type(sys)):  # a method
        return [settings(owner, within), str(value.__name__)]
    module, name = getattr(value, "__module__", None), value.__qualname__
    found: Any = sys.modules.get(module or "")
    for part in name.split("."):
        found = getattr(found, part, None)
    if module == "__main__" or found is not value:
        raise Untold(f"the function {name!r}")
    return f"{module}.{name}"


def _of_expression(value: Any, within: tuple[int, ...]) -> Json:
    """The settings of a regular expression, of whichever library."""
    return [str(value.pattern), int(value.flags)]


def _of_object(value: Any, within: tuple[int, ...]) -> Json:
    if not hasattr(value, "__dict__"):
        raise Untold(f"a {type(value).__qualname__}")
    return [_class(value), settings(vars(value), (*within, id(value)))]


def _class(value: Any) -> str:
    kind = type(value)
    if kind.__module__ == "__main__" or "<locals>" in kind.__qualname__:
        raise Untold(f"the class {kind.__qualname__!r}")
    return f"{kind.__module__}.{kind.__qualname__}"


def _of_list(value: Any, within: tuple[int, ...]) -> Json:
    within = (*within, id(value))
    return [settings(held, within) for held in value]


def _of_set(value: Any, within: tuple[int, ...]) -> Json:
    return sorted(_of_list(value, within), key=lambda held: json.dumps(held, sort_keys=True))  # pyright: ignore


def _kinds(*kinds: type) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, kinds)


def _is_of_transformers(value: Any) -> bool:
    return type(value).__module__.startswith("transformers.") and callable(getattr(value, "to_dict", None))


# the first that takes a value tells its settings
_TELLERS: tuple[tuple[Callable[[Any], bool], Callable[[Any, tuple[int, ...]], Json]], ...] = (
    (_kinds(enum.Enum), lambda value, within: f"{type(value).__qualname__}.{value.name}"),
    (_kinds(type(None), bool, int, str), lambda value, within: value),
    (_kinds(float), lambda value, within: value if math.isfinite(value) else repr(value)),
    (_kinds(torch.dtype, torch.device, PurePath), lambda value, within: str(value)),
    (_kinds(torch.Tensor, np.ndarray, np.generic), _of_array),
    (_kinds(nn.Module), _of_module),
    (_kinds(bytes), lambda value, within: value.hex()),
    (_kinds(Mapping), _of_mapping),
    (_kinds(list, tuple), _of_list),
    (_kinds(set, frozenset), _of_set),
    (_kinds(type), lambda value, within: f"{value.__module__}.{value.__qualname__}"),
    (_kinds(functools.partial), lambda value, within: _of_list([value.func, value.args, value.keywords], within)),
    (lambda value: hasattr(value, "pattern") and hasattr(value, "flags"), _of_expression),
    (lambda value: hasattr(value, "get_vocab"), _of_tokenizer),
    (_is_of_transformers, lambda value, within: [_class(value), settings(value.to_dict(), (*within, id(value)))]),
    (lambda value: callable(value) and hasattr(value, "__qualname__"), _of_function),
    (lambda value: True, _of_object),
)
