"""Vision-language models of transformers that can be asked about a picture, by the class in config.json. Torch-free."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import metadata
from importlib.util import find_spec
from typing import Any

from packaging.version import Version

from compbench.core.errors import UsageError
from compbench_baselines.hub_models import architecture, not_a

__all__ = ["AFTER_A_SPACE", "CLASSES", "CLIP_T5", "JANUS", "PALIGEMMA", "check_class", "too_old"]

_QWENS = ("Qwen2VLForConditionalGeneration", "Qwen2_5_VLForConditionalGeneration", "Qwen3VLForConditionalGeneration")
_IDEFICS3, _SMOLVLM = "Idefics3ForConditionalGeneration", "SmolVLMForConditionalGeneration"
JANUS = "JanusForConditionalGeneration"
CLIP_T5 = "CLIPT5ForConditionalGeneration"  # a class of its authors' own
PALIGEMMA = "PaliGemmaForConditionalGeneration"
CLASSES = (  # those whose scores are tested against their own forward
    *_QWENS,
    JANUS,
    "LlavaOnevisionForConditionalGeneration",
    "InternVLForConditionalGeneration",
    _IDEFICS3,
    _SMOLVLM,
)
# the oldest versions of transformers that give a pair the score it has alone, and as today's do; those before score
# it otherwise in a batch or after a picture that was read before, and Qwen2.5-VL altogether
_OLDEST: Mapping[str, str] = dict(zip(_QWENS, ("5.3", "5.6.2", "5.3"), strict=True))
AFTER_A_SPACE = (_IDEFICS3, _SMOLVLM)  # those taught "Assistant: Yes"


def check_class(config: Mapping[str, Any], name: str, classes: Sequence[str] = CLASSES) -> None:
    """DataError for a class that is not listed, UsageError for one that needs a package that is missing."""
    if architecture(config) not in classes:
        raise not_a(f"one of {', '.join(classes)}", config, name)
    if too_old(architecture(config), installed := metadata.version("transformers")):
        oldest = _OLDEST[architecture(config)]
        raise UsageError(
            f"model {name!r} is a {architecture(config)}, which transformers {installed} scores wrongly; "
            f"expected version {oldest} or newer: pip install -U 'transformers>={oldest}'"
        )
    if architecture(config) == _SMOLVLM and find_spec("num2words") is None:
        raise UsageError(
            f"model {name!r} is a SmolVLM, whose processor needs the package num2words; install it with: "
            "pip install num2words"
        )


def too_old(name: str, installed: str) -> bool:
    """Whether a version of transformers scores the models of a class wrongly.

    >>> too_old("Qwen3VLForConditionalGeneration", "5.2.0"), too_old("Qwen3VLForConditionalGeneration", "5.3.0")
    (True, False)
    """
    return name in _OLDEST and Version(installed) < Version(_OLDEST[name])
