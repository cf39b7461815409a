"""The network and the processor of a model that is asked a question, by the class in its config.json."""

from __future__ import annotations

from typing import Any

import transformers

from compbench.core.models import Runtime, Source
from compbench_baselines import hub_loading
from compbench_baselines.hub_models import architecture
from compbench_baselines.vlm import _clip_t5
from compbench_baselines.vlm._families import CLIP_T5

__all__ = ["load"]


def load(source: Source, dtype: str, runtime: Runtime) -> tuple[Any, Any]:
    """That of transformers, or CLIP-FlanT5's."""
    folder, config = hub_loading.fetched(source, runtime)
    if architecture(config) == CLIP_T5:
        return _clip_t5.load_clip_t5(folder, config, dtype, runtime)
    network = hub_loading.load_network(transformers.AutoModelForImageTextToText, folder, dtype, runtime.say)
    return network, hub_loading.processor(folder)
