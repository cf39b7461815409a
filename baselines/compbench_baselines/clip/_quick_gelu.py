"""Whether a checkpoint derived from OpenAI's CLIP is run with the activation that it was trained with.

OpenAI's towers use x·sigmoid(1.702 x), quick-GELU. The same weights under the plain GELU still give plausible scores,
several points lower, and no library says so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from compbench.core.errors import DataError

__all__ = ["check_activation", "check_open_clip"]

_QUICK = "quick_gelu"


def check_activation(config: Mapping[str, Any], names: Iterable[str], say: Callable[[str], None]) -> None:
    """Check a config.json of transformers: DataError where its two towers differ, said where OpenAI's name is on it."""
    if config.get("model_type") != "clip":
        return
    towers = [_mapping(config.get(part)).get("hidden_act", _QUICK) for part in ("text_config", "vision_config")]
    if len(set(towers)) > 1:
        raise DataError(
            f"its config.json has activation {towers[0]!r} for text and {towers[1]!r} for images; expected one"
        )
    if towers[0] != _QUICK:
        _say_where_openai(names, f"hidden_act {towers[0]!r}", "hidden_act", say)


def check_open_clip(model_config: Mapping[str, Any], names: Iterable[str], say: Callable[[str], None]) -> None:
    """Check an open_clip_config.json."""
    if not model_config.get(_QUICK, False) and not _mapping(model_config.get("vision_cfg")).get("timm_model_name"):
        _say_where_openai(names, "no quick_gelu", _QUICK, say)


def _say_where_openai(names: Iterable[str], what: str, key: str, say: Callable[[str], None]) -> None:
    named = next((name for name in names if "openai" in name.lower()), None)
    if named is not None:
        say(
            f"{named}: its name says OpenAI, whose weights were trained with quick-GELU, and its configuration has "
            f"{what}; if the weights derive from OpenAI's, these scores are not theirs: correct {key}"
        )


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}  # pyright: ignore[reportUnknownVariableType]
