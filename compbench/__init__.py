"""compbench: does this model bind words to the right things in a picture?"""

from __future__ import annotations

from importlib import import_module, metadata
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from compbench.explained import explain
    from compbench.harness import load_model, load_run, run
    from compbench.models import from_pipeline
    from compbench.page import report
    from compbench.plugins import model, task
    from compbench.rules import Rule
    from compbench.store import Run, Store
    from compbench.types import Example, Image, ModelSpec, ScoreMatrix, Task

__version__ = metadata.version("compbench")

_HOMES = {
    "run": "harness",
    "load_run": "harness",
    "load_model": "harness",
    "from_pipeline": "models",
    "explain": "explained",
    "report": "page",
    "model": "plugins",
    "task": "plugins",
    "Rule": "rules",
    "Run": "store",
    "Store": "store",
    "Example": "types",
    "Image": "types",
    "ModelSpec": "types",
    "ScoreMatrix": "types",
    "Task": "types",
}

__all__ = [
    "Example",
    "Image",
    "ModelSpec",
    "Rule",
    "Run",
    "ScoreMatrix",
    "Store",
    "Task",
    "explain",
    "from_pipeline",
    "load_model",
    "load_run",
    "model",
    "report",
    "run",
    "task",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'compbench' has no attribute {name!r}")
    return getattr(import_module(f"compbench.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
