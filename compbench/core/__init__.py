"""The shared vocabulary: tasks and examples, measurements, scores, rules, metrics, errors, and plain files."""

from __future__ import annotations

from typing import TYPE_CHECKING

from compbench.core.faces import lazily

if TYPE_CHECKING:
    from compbench.core.aliases import Bools, Floats, Ints, Json
    from compbench.core.errors import (
        DataError,
        MissingPackage,
        RunError,
        UnreadableImage,
        UnreadableImages,
        UsageError,
    )
    from compbench.core.examples import Classes, ErrorTable, Example, Image, Metric, ScoreTable, Task
    from compbench.core.measurements import DrawTable, Measurement, ScoreMatrix
    from compbench.core.models import ModelSpec, ResolvedModel, Runtime, Scorer, Source
    from compbench.core.rules import Rule

__all__ = [
    "Bools",
    "Classes",
    "DataError",
    "DrawTable",
    "ErrorTable",
    "Example",
    "Floats",
    "Image",
    "Ints",
    "Json",
    "Measurement",
    "Metric",
    "MissingPackage",
    "ModelSpec",
    "ResolvedModel",
    "Rule",
    "RunError",
    "Runtime",
    "ScoreMatrix",
    "ScoreTable",
    "Scorer",
    "Source",
    "Task",
    "UnreadableImage",
    "UnreadableImages",
    "UsageError",
]

__getattr__ = lazily(
    __name__,
    {
        ".aliases": ["Bools", "Floats", "Ints", "Json"],
        ".errors": ["DataError", "MissingPackage", "RunError", "UnreadableImage", "UnreadableImages", "UsageError"],
        ".examples": ["Classes", "ErrorTable", "Example", "Image", "Metric", "ScoreTable", "Task"],
        ".measurements": ["DrawTable", "Measurement", "ScoreMatrix"],
        ".models": ["ModelSpec", "ResolvedModel", "Runtime", "Scorer", "Source"],
        ".rules": ["Rule"],
    },
)
