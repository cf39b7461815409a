"""What importing costs, and which way imports go."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = ("torch", "torchvision", "diffusers", "transformers", "open_clip", "datasets", "matplotlib", "scipy")
LIGHT = (
    "compbench",
    "compbench.core",
    "compbench.core.metrics",
    "compbench.core.rules",
    "compbench.registry.names",
    "compbench.cli.app",
    "compbench.diffusion.families.stable_diffusion",
    "compbench.tasks.shapes",
    "compbench.tasks.matching.winoground",
    "compbench_baselines.clip.models",
    "compbench_baselines.chance",
    "compbench_baselines.classifiers.torchvision",
    "compbench_baselines.generative.features",
    "compbench_baselines.generative.synthetic",
    "compbench_baselines.classifiers.trained",
)


@pytest.mark.parametrize("module", [*LIGHT, "compbench.runs.harness", "compbench.store.run", "compbench_analysis"])
def test_importing_the_harness_imports_no_deep_learning_library(module: str) -> None:
    code = f"import sys, {module}; print([m for m in {HEAVY!r} if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


def test_every_public_name_exists() -> None:
    import compbench

    for name in compbench.__all__:
        assert getattr(compbench, name) is not None


def test_an_unknown_public_name_is_an_attribute_error() -> None:
    import compbench

    with pytest.raises(AttributeError, match="no attribute 'runn'"):
        _ = compbench.runn  # type: ignore[attr-defined]
