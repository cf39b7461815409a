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
    from compbench.runs.harness import load_model, load_run, run, score_pairs
    from compbench.store.run import Run
    from compbench.store.store import Store
    from compbench_baselines.clip.in_memory import from_open_clip, from_transformers
    from compbench_baselines.functions import from_function

__version__ = metadata.version("compbench")

_HOMES = {  # within compbench, but for a written exception: what makes a spec of a model in memory
    "run": "runs.harness",
    "load_run": "runs.harness",
    "load_model": "runs.harness",
    "score_pairs": "runs.harness",
    "from_function": "compbench_baselines.functions",
    "from_open_clip": "compbench_baselines.clip.in_memory",
    "from_transformers": "compbench_baselines.clip.in_memory",
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
    "from_function",
    "from_open_clip",
    "from_pipeline",
    "from_transformers",
    "load_model",
    "load_run",
    "model",
    "report",
    "run",
    "score_pairs",
    "task",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'compbench' has no attribute {name!r}")
    home = _HOMES[name]
    return getattr(import_module(home if home.startswith("compbench_") else f"compbench.{home}"), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
