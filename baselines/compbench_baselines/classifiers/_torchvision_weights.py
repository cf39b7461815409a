"""Loads torchvision's networks: from its own pinned file, or from a file of the user's that is checked to fit."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol
from urllib.error import URLError

import numpy as np
import PIL.Image
import torch
import torchvision.models
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from compbench.core.errors import DataError
from compbench.core.image_transforms import opaque
from compbench.diffusion import weights as weights_of
from compbench.registry.model_files import file_digest
from compbench.registry.tensors import check_floats, tell_of_casts
from compbench_baselines.training.images import Transform

__all__ = ["load"]


class Pinned(Protocol):
    """A network of torchvision's with weights at a known digest."""

    @property
    def name(self) -> str: ...
    @property
    def builder(self) -> str: ...  # the function of torchvision.models that makes the network
    @property
    def pinned(self) -> str: ...  # torchvision's name of the weights
    @property
    def file(self) -> str: ...  # whose name ends in the digest


def load(
    spec: Pinned, file: Path | None, *, is_offline: bool, say: Callable[[str], None]
) -> tuple[nn.Module, Transform]:
    """The network, and the transform of its published weights; DataError says what does not fit."""
    weights: Any = torchvision.models.get_weight(spec.pinned)
    network: nn.Module = torchvision.models.get_model(spec.builder, weights=None)
    path = _published(spec, weights, is_offline=is_offline) if file is None else file
    state = _read(path)
    _check_fits(state, network.state_dict(), path, spec.builder)
    floats = {name: tensor for name, tensor in state.items() if not name.endswith("num_batches_tracked")}
    check_floats(weights_of.described(floats), repr(str(path)))
    weights_of.check_finite(floats.items(), repr(str(path)))
    tell_of_casts(weights_of.described(floats), repr(str(path)), say)
    network.load_state_dict(state)
    evaluated = weights.transforms()

    def transform(image: PIL.Image.Image, rng: np.random.Generator | None) -> Tensor:
        return evaluated(opaque(image).convert("RGB"))

    return network, transform


def _published(spec: Pinned, weights: Any, *, is_offline: bool) -> Path:
    """torchvision's file in its own cache, fetched where it may be; its contents must have the digest in its name."""
    path = Path(torch.hub.get_dir()) / "checkpoints" / spec.file
    by_hand = (
        f"put the file of {weights.url} at {str(path)!r} (TORCH_HOME moves it), or give -o {spec.name}.weights=FILE"
    )
    if not path.is_file():
        if is_offline:
            raise DataError(f"model {spec.name!r} has no weights here, and --offline forbids fetching them: {by_hand}")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            torch.hub.download_url_to_file(weights.url, str(path), _hash_prefix(spec.file), progress=False)
        except (OSError, URLError, RuntimeError) as error:  # a wrong digest is a RuntimeError
            raise DataError(f"the weights of model {spec.name!r} could not be fetched ({error}): {by_hand}") from error
    digest = file_digest(path)
    if not digest.startswith(_hash_prefix(spec.file)):
        raise DataError(
            f"{str(path)!r} has the SHA-256 {digest[:12]}…, which does not match its name: delete it, or {by_hand}"
        )
    return path


def _hash_prefix(file: str) -> str:
    """
    >>> _hash_prefix("resnet18-f37072fd.pth")
    'f37072fd'
    """
    return file.rpartition("-")[2].removesuffix(".pth")


def _read(path: Path) -> Mapping[str, Tensor]:
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError, SafetensorError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise DataError(f"{str(path)!r} cannot be read ({reason}); expected a state dict with only tensors") from error
    if not isinstance(state, dict) or not all(isinstance(tensor, Tensor) for tensor in state.values()):
        raise DataError(
            f"{str(path)!r} is not a state dict (it is a {type(state).__name__}); expected name to tensor, as "
            "torch.save(network.state_dict(), FILE) writes it"
        )
    return state


def _check_fits(given: Mapping[str, Tensor], expected: Mapping[str, Tensor], path: Path, architecture: str) -> None:
    lacking = [f"no {key}" for key in expected if key not in given]
    unknown = [f"{key} unknown" for key in given if key not in expected]
    misshapen = [
        f"{key} {tuple(given[key].shape)} for {tuple(expected[key].shape)}"
        for key in expected
        if key in given and given[key].shape != expected[key].shape
    ]
    if wrong := [*misshapen, *lacking, *unknown]:
        more = f" and {len(wrong) - 3} more" if len(wrong) > 3 else ""
        raise DataError(
            f"{str(path)!r} does not fit {architecture}: {'; '.join(wrong[:3])}{more}; expected the state dict of "
            f"torchvision's {architecture} with its 1,000 classes"
        )
