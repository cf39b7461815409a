"""compbench: does this model bind words to the right things in a picture?"""

from __future__ import annotations

from importlib import metadata
from typing import TYPE_CHECKING

from compbench.core.faces import lazily

if TYPE_CHECKING:
    from compbench.cli.report import report
    from compbench.core.examples import Example, Image, Task
    from compbench.core.measurements import ScoreMatrix
    from compbench.core.models import ModelSpec, ResolvedModel
    from compbench.core.rules import Rule
    from compbench.diffusion.families.in_memory import from_pipeline
    from compbench.registry.plugins import model, task
    from compbench.runs.explain import explain
    from compbench.runs.harness import load_model, load_run, run, score_pairs
    from compbench.store.run import Run
    from compbench.store.store import Store
    from compbench_analysis.figures import plots
    from compbench_analysis.frames import curves
    from compbench_analysis.frames.compare import compare
    from compbench_analysis.frames.tables import tidy
    from compbench_baselines.clip.in_memory import from_open_clip, from_transformers
    from compbench_baselines.functions import from_function

__version__ = metadata.version("compbench")

__all__ = [
    "Example",
    "Image",
    "ModelSpec",
    "ResolvedModel",
    "Rule",
    "Run",
    "ScoreMatrix",
    "Store",
    "Task",
    "compare",
    "curves",
    "explain",
    "from_function",
    "from_open_clip",
    "from_pipeline",
    "from_transformers",
    "load_model",
    "load_run",
    "model",
    "plots",
    "report",
    "run",
    "score_pairs",
    "task",
    "tidy",
]

__getattr__ = lazily(
    __name__,
    {
        ".cli.report": ["report"],
        ".core.examples": ["Example", "Image", "Task"],
        ".core.measurements": ["ScoreMatrix"],
        ".core.models": ["ModelSpec", "ResolvedModel"],
        ".core.rules": ["Rule"],
        ".diffusion.families.in_memory": ["from_pipeline"],
        ".registry.plugins": ["model", "task"],
        ".runs.explain": ["explain"],
        ".runs.harness": ["load_model", "load_run", "run", "score_pairs"],
        ".store.run": ["Run"],
        ".store.store": ["Store"],
        # a written exception: what reads runs
        "compbench_analysis.figures": ["plots"],
        "compbench_analysis.frames": ["curves"],
        "compbench_analysis.frames.compare": ["compare"],
        "compbench_analysis.frames.tables": ["tidy"],
        # another: what makes a spec of a model in memory
        "compbench_baselines.clip.in_memory": ["from_open_clip", "from_transformers"],
        "compbench_baselines.functions": ["from_function"],
    },
)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
