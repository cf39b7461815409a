"""A diffusers pipeline in memory as a model. Torch-free."""

from __future__ import annotations

from typing import Any

from compbench.core.errors import UsageError
from compbench.diffusion.families.stable_diffusion import StableDiffusion
from compbench.registry.names import with_options

__all__ = ["from_pipeline", "of_pipeline"]

_OTHERWISE = ": save one of a later family, `pipeline.save_pretrained(PATH)`, then model='diffusion:PATH'"
_COMPONENTS = ("unet", "vae", "text_encoder", "tokenizer", "scheduler")
_KNOWN = ("StableDiffusionPipeline",)


def of_pipeline(given: object) -> StableDiffusion:
    """The spec of a StableDiffusionPipeline, or of a class that inherits from it; UsageError for another class."""
    if any(kind.__name__ in _KNOWN for kind in type(given).__mro__):
        return from_pipeline(given)
    raise UsageError(
        f"model cannot be a {type(given).__name__} of diffusers; known are {', '.join(_KNOWN)}, and by "
        "compbench.from_pipeline any pipeline with the same parts"
    )


def from_pipeline(pipeline: Any, name: str = "my-pipeline", **options: object) -> StableDiffusion:
    """A StableDiffusionPipeline in memory, your own fine-tune perhaps, as a model to run; it is left as it is.

    Options are those of the built-in models. A run is named by the digest of the weights as they are when it starts.

    >>> import compbench, diffusers
    >>> from pathlib import Path
    >>> folder = Path(compbench.__file__).parent / "tiny" / "tiny-sd"
    >>> pipeline = diffusers.StableDiffusionPipeline.from_pretrained(folder, safety_checker=None)
    >>> len(compbench.run("shapes", model=from_pipeline(pipeline, "mine", draws=4), limit=2).done())
    2
    """
    if lacking := [part for part in _COMPONENTS if getattr(pipeline, part, None) is None]:
        raise UsageError(
            f"{type(pipeline).__name__} has no {', '.join(lacking)}; expected a pipeline like StableDiffusionPipeline"
            f"{_OTHERWISE}"
        )
    if getattr(pipeline, "text_encoder_2", None) is not None:
        raise UsageError(
            f"{type(pipeline).__name__} has two text encoders; expected one, as StableDiffusionPipeline has{_OTHERWISE}"
        )
    return with_options(StableDiffusion(name, pipeline=pipeline), options, model=name)
