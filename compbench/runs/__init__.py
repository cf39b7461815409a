"""From a request to a finished run: resolve, plan, measure, import, explain."""

from __future__ import annotations

from typing import TYPE_CHECKING

from compbench.core.faces import lazily

if TYPE_CHECKING:
    from compbench.runs.harness import import_scores, load_model, load_run, run, score_pairs

__all__ = [
    "import_scores",
    "load_model",
    "load_run",
    "run",
    "score_pairs",
]

__getattr__ = lazily(
    __name__,
    {
        ".harness": ["import_scores", "load_model", "load_run", "run", "score_pairs"],
    },
)
