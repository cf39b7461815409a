"""compbench: does this model bind words to the right things in a picture?"""

from __future__ import annotations

from importlib import import_module, metadata
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from compbench.cli.report import report
    from compbench.core.examples import Example, Image, Task
    from compbench.core.measurements import ScoreMatrix
    from compbench.core.models import ModelSpec
    from compbench.core.rules import Rule
    from compbench.diffusion.families.stable_diffusion import from_pipeline
    from compbench.registry.plugins import model, task
    from compbench.runs.explain import explain
    from compbench.runs.harness import load_model, load_run, run
    from compbench.store.run import Run
    from compbench.store.store import Store

__version__ = metadata.version("compbench")

_HOMES = {
    "run": "runs.harness",
    "load_run": "runs.harness",
    "load_model": "runs.harness",
    "from_pipeline": "diffusion.families.stable_diffusion",
    "explain": "runs.explain",
    "report": "cli.report",
    "model": "registry.plugins",
    "task": "registry.plugins",
    "Rule": "core.rules",
    "Run": "store.run",
    "Store": "store.store",
    "Example": "core.examples",
    "Image": "core.examples",
    "ModelSpec": "core.models",
    "ScoreMatrix": "core.measurements",
    "Task": "core.examples",
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
