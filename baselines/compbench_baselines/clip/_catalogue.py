"""The models of open_clip, read from its source: importing open_clip takes seconds, since it imports torch."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from compbench.core.errors import UsageError
from compbench.core.suggestions import unknown

__all__ = ["Pretrained", "catalogue", "pretrained"]

_UNREADABLE = (OSError, SyntaxError, KeyError, TypeError, ValueError, AttributeError)


@dataclass(frozen=True, slots=True)
class Pretrained:
    """The weights behind a tag of an architecture."""

    hub: str  # "org/name/" or "org/name/file"; empty where there is only a url
    url: str
    uses_quick_gelu: bool


def pretrained(architecture: str, tag: str) -> tuple[str, Pretrained]:
    """The tag as open_clip writes it, and its weights; UsageError names the nearest architectures or tags."""
    offered = catalogue()
    if architecture not in offered:
        raise unknown("open_clip architecture with weights", architecture, offered)
    tags = offered[architecture]
    cleaned = tag.lower().replace("-", "_")
    if not tag:
        raise UsageError(f"architecture {architecture!r} needs a tag, one of {', '.join(sorted(tags))}")
    if cleaned not in tags:
        raise unknown(f"weights of {architecture!r}", tag, tags)
    return cleaned, tags[cleaned]


@cache
def catalogue() -> Mapping[str, Mapping[str, Pretrained]]:
    """All architectures that have weights, and their tags."""
    try:
        return _from_source(_source())
    except _UNREADABLE:  # another version of open_clip, written another way: ask it, which takes longer
        return _from_open_clip()


def _source() -> str:
    spec = find_spec("open_clip")  # does not import it
    if spec is None or spec.origin is None:
        raise UsageError("open_clip is not installed; install it with: pip install open_clip_torch")
    return (Path(spec.origin).parent / "pretrained.py").read_text(encoding="utf-8")


def _from_source(source: str) -> dict[str, dict[str, Pretrained]]:
    """Module-level `_NAME = dict(tag=_pcfg(...))` and `_PRETRAINED = {"architecture": _NAME or dict(...)}`."""
    values = {
        statement.targets[0].id: statement.value
        for statement in ast.parse(source).body
        if isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name)
    }
    table = values["_PRETRAINED"]
    if not isinstance(table, ast.Dict):
        raise ValueError("_PRETRAINED is not written as a dict")
    offered: dict[str, dict[str, Pretrained]] = {}
    for key, value in zip(table.keys, table.values, strict=True):
        tags = values[value.id] if isinstance(value, ast.Name) else value
        offered[ast.literal_eval(key or "")] = {name: _weights(call) for name, call in _keywords(tags).items()}
    return _with_quick_gelu_twins(offered)


def _keywords(call: ast.expr) -> dict[str, ast.expr]:
    if not isinstance(call, ast.Call) or call.args:
        raise ValueError(f"expected a call with keywords, got {ast.unparse(call)}")
    return {keyword.arg: keyword.value for keyword in call.keywords if keyword.arg}


def _weights(call: ast.expr) -> Pretrained:
    keywords = _keywords(call)
    hub, url, quick_gelu = (keywords.get(name) for name in ("hf_hub", "url", "quick_gelu"))
    return Pretrained(
        hub=ast.literal_eval(hub) if hub else "",
        url=ast.literal_eval(url) if url else "",
        uses_quick_gelu=bool(ast.literal_eval(quick_gelu)) if quick_gelu else False,
    )


def _with_quick_gelu_twins(offered: dict[str, dict[str, Pretrained]]) -> dict[str, dict[str, Pretrained]]:
    """open_clip lists weights that use quick-GELU a second time, under `ARCHITECTURE-quickgelu`."""
    twins = {
        f"{architecture}-quickgelu": {tag: weights for tag, weights in tags.items() if weights.uses_quick_gelu}
        for architecture, tags in offered.items()
    }
    return offered | {architecture: tags for architecture, tags in twins.items() if tags}


def _from_open_clip() -> dict[str, dict[str, Pretrained]]:
    import open_clip

    offered: dict[str, dict[str, Pretrained]] = {}
    for architecture, tag in open_clip.list_pretrained():
        config: dict[str, Any] = open_clip.get_pretrained_cfg(architecture, tag)
        offered.setdefault(architecture, {})[tag] = Pretrained(
            config.get("hf_hub", ""), config.get("url", ""), config.get("quick_gelu", False)
        )
    return offered
