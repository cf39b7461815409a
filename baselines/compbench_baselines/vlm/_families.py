"""Vision-language models of transformers that can be asked about a picture, by the class in config.json. Torch-free."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from typing import Any

from compbench.core.errors import UsageError
from compbench_baselines.hub_models import architecture, not_a

__all__ = ["AFTER_A_SPACE", "CLASSES", "JANUS", "PALIGEMMA", "check_class"]

_IDEFICS3, _SMOLVLM = "Idefics3ForConditionalGeneration", "SmolVLMForConditionalGeneration"
JANUS = "JanusForConditionalGeneration"
PALIGEMMA = "PaliGemmaForConditionalGeneration"
CLASSES = (  # those whose scores are tested against their own forward
    "Qwen2VLForConditionalGeneration",
    "Qwen2_5_VLForConditionalGeneration",
    "Qwen3VLForConditionalGeneration",
    JANUS,
    "LlavaOnevisionForConditionalGeneration",
    "InternVLForConditionalGeneration",
    _IDEFICS3,
    _SMOLVLM,
)
AFTER_A_SPACE = (_IDEFICS3, _SMOLVLM)  # those taught "Assistant: Yes"


def check_class(config: Mapping[str, Any], name: str, classes: Sequence[str] = CLASSES) -> None:
    """DataError for a class that is not listed, UsageError for one that needs a package that is missing."""
    if architecture(config) not in classes:
        raise not_a(f"one of {', '.join(classes)}", config, name)
    if architecture(config) == _SMOLVLM and find_spec("num2words") is None:
        raise UsageError(
            f"model {name!r} is a SmolVLM, whose processor needs the package num2words; install it with: "
            "pip install num2words"
        )
