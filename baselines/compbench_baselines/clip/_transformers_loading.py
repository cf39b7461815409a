"""Loads CLIP's relatives and image-text matchers of transformers, and makes their scorers."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import torch
import transformers

from compbench.core.models import Runtime, Scorer, Source
from compbench.diffusion.devices import pick_device
from compbench_baselines import hub_loading
from compbench_baselines.clip import _transformers
from compbench_baselines.clip._kinds import Head, Kind, kind_of
from compbench_baselines.clip._quick_gelu import check_activation
from compbench_baselines.clip._scorer import ClipScorer, default_batch_size
from compbench_baselines.hub_models import architecture

__all__ = ["Loaded", "load", "scorer"]


class Loaded(NamedTuple):
    """A network, its tokenizer and its image processor."""

    kind: Kind
    network: Any
    tokenizer: Any
    image_processor: Any
    dtype: str


def load(source: Source, name: str, dtype: str, runtime: Runtime) -> Loaded:
    """The parts from a folder or from the hub, in `dtype`; DataError where one is not whole."""
    folder, config = hub_loading.fetched(source, runtime)
    kind = kind_of(config, name)
    check_activation(config, _names(source, config, folder), runtime.say)
    network = hub_loading.load_network(getattr(transformers, architecture(config)), folder, dtype, runtime.say)
    return Loaded(kind, network, hub_loading.tokenizer(folder), hub_loading.image_processor(folder), dtype)


def scorer(loaded: Loaded, head: Head, templates: str, runtime: Runtime) -> Scorer:
    """The scorer on the runtime's device."""
    device = pick_device(runtime.device)
    network = loaded.network.to(device)
    transform = _transformers.Transform(loaded.image_processor)
    if loaded.kind.has_matching_head and head == "auto":
        from compbench_baselines.clip._matching import MatchingScorer, matcher

        return MatchingScorer(matcher(network), transform, loaded.tokenizer, device, runtime, templates)
    tokenize = _transformers.Tokenize(
        network, loaded.tokenizer, padding_side="right", is_lower_case=loaded.kind.is_lower_case
    )
    face: Any = _transformers.borrowed(network, loaded.tokenizer.pad_token_id if loaded.kind.needs_mask else None)
    return ClipScorer(
        face,
        transform,
        tokenize,
        getattr(torch, loaded.dtype),
        device=device,
        batch_size=runtime.batch_size or default_batch_size(face, device),
        say=runtime.say,
        templates=templates,
    )


def _names(source: Source, config: dict[str, Any], folder: Path) -> tuple[str, ...]:
    """All that may say what a checkpoint was derived from."""
    return source.repo if not source.is_local else folder.name, str(config.get("_name_or_path", ""))
