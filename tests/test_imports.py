"""What importing costs, and which way imports go."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = ("torch", "torchvision", "diffusers", "transformers", "open_clip", "datasets", "matplotlib", "scipy")
LIGHT = (
    "compbench",
    "compbench.types",
    "compbench.metrics",
    "compbench.rules",
    "compbench.registry",
    "compbench.cli",
    "compbench.models",
    "compbench.tasks.shapes",
    "compbench.tasks.winoground",
    "compbench_baselines.open_clip",
    "compbench_baselines.chance",
    "compbench_baselines.image_classifiers",
    "compbench_baselines.sd_features",
    "compbench_baselines.synthetic_sd",
    "compbench_baselines.trained",
)


@pytest.mark.parametrize("module", [*LIGHT, "compbench.harness", "compbench.store", "compbench_analysis"])
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
