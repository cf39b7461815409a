"""The classes of transformers that are scored, and how. Torch-free."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from compbench.core.errors import DataError
from compbench_baselines.hub_models import architecture

__all__ = ["KINDS", "Head", "Kind", "kind_of"]

Head = Literal["auto", "itc"]


@dataclass(frozen=True, slots=True)
class Kind:
    """The way the models of a class are scored."""

    name: str
    has_matching_head: bool = False
    is_lower_case: bool = False  # captions, as in training
    needs_mask: bool = False  # the text tower attends to padding unless it is told not to


KINDS: Mapping[str, Kind] = {
    "CLIPModel": Kind("clip"),
    "MetaClip2Model": Kind("metaclip2"),
    "SiglipModel": Kind("siglip", is_lower_case=True),
    "Siglip2Model": Kind("siglip2", is_lower_case=True),
    "BlipForImageTextRetrieval": Kind("blip", has_matching_head=True, needs_mask=True),
    "Blip2ForImageTextRetrieval": Kind("blip-2", has_matching_head=True, needs_mask=True),
}


def kind_of(config: Mapping[str, Any], name: str) -> Kind:
    """The kind that a configuration's model is scored as; DataError for an unknown class."""
    given = architecture(config)
    if given in KINDS:
        return KINDS[given]
    what = f"is a {given}" if given else f"names no class (model_type {config.get('model_type')!r})"
    headless = ", which has no image-text matching head" if str(config.get("model_type")) in ("blip", "blip-2") else ""
    raise DataError(
        f"model {name!r} {what}{headless}; expected one of {', '.join(KINDS)}. A function (images, captions) -> scores "
        "takes any other: compbench.run(TASK, model=FUNCTION)"
    )
