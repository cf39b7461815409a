"""A diffusers pipeline in memory as a model: which classes are known. Torch-free."""

from __future__ import annotations

from compbench.core.errors import UsageError
from compbench.diffusion.families.stable_diffusion import StableDiffusion, from_pipeline

__all__ = ["of_pipeline"]

_KNOWN = ("StableDiffusionPipeline",)


def of_pipeline(given: object) -> StableDiffusion:
    """The spec of a StableDiffusionPipeline, or of a class that inherits from it; UsageError for another class."""
    if any(kind.__name__ in _KNOWN for kind in type(given).__mro__):
        return from_pipeline(given)
    raise UsageError(
        f"model cannot be a {type(given).__name__} of diffusers; known are {', '.join(_KNOWN)}, and by "
        "compbench.from_pipeline any pipeline with the same parts"
    )
